/*
 * sekisho-rules - load the kernel ruleset, take it out, say what is there.
 *
 * A command, not a daemon: it runs nft(8) and iptables-nft(8) and ends. Exit status: 0 done, 1 no
 * (not loaded, or not complete), 64 usage, 69 a tool refused or is missing, 78 the configuration.
 *
 * Trusted with: root, for one command. Diagnostics: standard error. Known gaps: see loader.c.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <talloc.h>

#include "lib/log.h"

#include "kernel-rules/loader.h"
#include "kernel-rules/rules_conf.h"

static const char usage_text[] =
    "usage: sekisho-rules [-c FILE] COMMAND\n"
    "\n"
    "  load              put the ruleset into the kernel, or bring it up to date\n"
    "  unload            remove everything that load made\n"
    "  check             let the kernel check the ruleset; nothing is changed\n"
    "  status [--json]   what is loaded\n"
    "  show              print the ruleset\n"
    "\n"
    "  -c, --config FILE the configuration (/etc/sekisho/sekisho.conf)\n"
    "  -n                check the configuration and exit\n"
    "  -h, --help        this text\n"
    "      --version     the version\n";

struct run {
	void *ctx;
	const char *file;
	bool json, native;
	const char *why;
	struct rules_conf conf;
};

static int complain(const char *text, int status)
{
	(void)fprintf(stderr, "sekisho-rules: %s\n", text);
	return status;
}

static int read_conf(struct run *r)
{
	char *err, text[256];
	if (!conf_load(r->ctx, r->file, rules_keys, rules_keys_n, &r->conf, &err))
		return complain(err, EX_CONFIG);
	if (!rules_conf_check(&r->conf, text))
		return complain(talloc_asprintf(r->ctx, "%s: %s", r->file, text), EX_CONFIG);
	return 0;
}

static int choose(struct run *r)
{
	char *err;
	int status = read_conf(r);
	if (status != 0)
		return status;
	/* Valid, as the sample is; but rules for nobody would close nothing. */
	if (r->conf.subscriber_interfaces.n == 0)
		return complain("kernel-rules.subscriber_interfaces is empty: name the interfaces "
				"that subscribers are behind",
				EX_CONFIG);
	if (!loader_choose(r->ctx, &r->conf, &r->native, &r->why, &err))
		return complain(err, EX_UNAVAILABLE);
	return 0;
}

static int do_load(struct run *r)
{
	char *err;
	int status = choose(r);
	if (status != 0)
		return status;
	if (!loader_load(r->ctx, &r->conf, r->native, r->why, &err))
		return complain(err, EX_UNAVAILABLE);
	(void)printf("loaded: queue step by %s (%s), queues %" PRId64 "-%u, fail %s\n",
		     r->native ? "nft queue" : "xt NFQUEUE in mangle/FORWARD", r->why,
		     r->conf.queue_first, rules_queue_last(&r->conf),
		     r->conf.fail == RULES_FAIL_OPEN ? "open" : "closed");
	return 0;
}

static int do_unload(struct run *r)
{
	char *err;
	return loader_unload(r->ctx, &err) ? 0 : complain(err, EX_UNAVAILABLE);
}

static int do_check(struct run *r)
{
	char *err;
	int status = choose(r);
	if (status != 0)
		return status;
	if (!loader_check(r->ctx, &r->conf, r->native, r->why, &err))
		return complain(err, EX_UNAVAILABLE);
	(void)printf("ruleset OK (queue step: %s, %s)\n", r->native ? "nft" : "xt", r->why);
	return 0;
}

static int do_show(struct run *r)
{
	int status = choose(r);
	if (status == 0)
		(void)fputs(loader_text(r->ctx, &r->conf, r->native, r->why), stdout);
	return status;
}

static const char *step(const struct rules_status *s)
{
	if (s->native_step)
		return "nft";
	if (s->xt_step4 && s->xt_step6)
		return "xt";
	return s->xt_step4   ? "xt, IPv6 rule missing"
	       : s->xt_step6 ? "xt, IPv4 rule missing"
			     : "none";
}

static void print_status(const struct rules_status *s, bool complete)
{
	(void)printf("loaded\t%s\ncomplete\t%s\nqueue_step\t%s\nloaded_as\t%s\n",
		     s->loaded ? "yes" : "no", complete ? "yes" : "no", step(s),
		     *s->note ? s->note : "-");
	for (unsigned i = 0; i < s->n_counters; i++)
		(void)printf("%s\t%" PRIu64 "\n", s->counters[i].name, s->counters[i].packets);
}

static void print_status_json(const struct rules_status *s, bool complete)
{
	(void)printf("{\"loaded\":%s,\"complete\":%s,\"queue_step\":\"%s\",\"loaded_as\":\"%s\","
		     "\"counters\":{",
		     s->loaded ? "true" : "false", complete ? "true" : "false", step(s), s->note);
	for (unsigned i = 0; i < s->n_counters; i++)
		(void)printf("%s\"%s\":%" PRIu64, i ? "," : "", s->counters[i].name,
			     s->counters[i].packets);
	(void)puts("}}");
}

static int do_status(struct run *r)
{
	struct rules_status s;
	char *err;
	if (!loader_status(r->ctx, &s, &err))
		return complain(err, EX_UNAVAILABLE);
	bool complete = s.loaded && (s.native_step || (s.xt_step4 && s.xt_step6));
	(r->json ? print_status_json : print_status)(&s, complete);
	return complete ? 0 : 1;
}

static const struct command {
	const char *name;
	int (*run)(struct run *r);
} commands[] = {
    {"load", do_load},	   {"unload", do_unload}, {"check", do_check},
    {"status", do_status}, {"show", do_show},
};

static int usage(FILE *to, int status)
{
	(void)fputs(usage_text, to);
	return status;
}

static int run_command(struct run *r, const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(r);
	return usage(stderr, EX_USAGE);
}

static int check_configuration(struct run *r)
{
	int status = read_conf(r);
	if (status == 0)
		(void)puts("configuration OK");
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"json", no_argument, NULL, 'j'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{NULL, 0, NULL, 0}};
	struct run r = {.ctx = talloc_new(NULL), .file = "/etc/sekisho/sekisho.conf"};
	bool check_conf = false;
	int opt, status;
	log_open("sekisho-rules", LOG_INFO);
	while ((opt = getopt_long(argc, argv, "c:nh", options, NULL)) != -1)
		switch (opt) {
		case 'c':
			r.file = optarg;
			break;
		case 'j':
			r.json = true;
			break;
		case 'n':
			check_conf = true;
			break;
		case 'h':
			return usage(stdout, 0);
		case 'V':
			(void)puts("sekisho-rules " SEKISHO_VERSION);
			return 0;
		default:
			return usage(stderr, EX_USAGE);
		}
	if (check_conf && optind == argc)
		status = check_configuration(&r);
	else if (!check_conf && optind == argc - 1)
		status = run_command(&r, argv[optind]);
	else
		status = usage(stderr, EX_USAGE);
	talloc_free(r.ctx);
	return status;
}
