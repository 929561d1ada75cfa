/*
 * sekisho-rules - load the kernel ruleset, take it out, say what is there, keep it there.
 *
 * A command, and with `watch` a small daemon: it runs nft(8) and ends. Exit status: 0 done, 1 no
 * (not loaded, or not complete), 64 usage, 69 a tool refused or is missing, 78 the configuration.
 *
 * Trusted with: root, for one command. Diagnostics: standard error. Known gaps: see loader.c.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "kernel-rules/loader.h"
#include "kernel-rules/rules_conf.h"
#include "kernel-rules/watch.h"

static const char usage_text[] =
    "usage: sekisho-rules [-c FILE] COMMAND\n"
    "\n"
    "  load              put the ruleset into the kernel, or bring it up to date\n"
    "  unload            remove everything that load made\n"
    "  check             let the kernel check the ruleset; nothing is changed\n"
    "  status [--json]   what is loaded\n"
    "  show              print the ruleset\n"
    "  watch             load, stay, and load again when somebody has removed rules\n"
    "\n"
    "  -c, --config FILE the configuration (/etc/sekisho/sekisho.conf)\n"
    "      --fallback FILE\n"
    "                    with load: keep a copy of the good configuration in FILE, and load that\n"
    "                    when the configuration is not valid, as at boot\n"
    "  -n                check the configuration and exit\n"
    "  -h, --help        this text\n"
    "      --version     the version\n";

struct run {
	void *ctx;
	const char *file, *fallback;
	bool json;
	struct rules_backend_choice how;
	struct rules_conf conf;
};

static int complain(const char *text, int status)
{
	(void)fprintf(stderr, "sekisho-rules: %s\n", text);
	return status;
}

static int read_conf(struct run *r, bool strict)
{
	char *err;
	return rules_conf_load(r->ctx, r->file, strict, &r->conf, &err) ? 0
									: complain(err, EX_CONFIG);
}

static int choose(struct run *r)
{
	char *err;
	int status = read_conf(r, true);
	if (status != 0)
		return status;
	if (!loader_choose(r->ctx, &r->conf, &r->how, &err))
		return complain(err, EX_UNAVAILABLE);
	return 0;
}

static bool keep_copy(const struct run *r)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return false;
	conf_dump(f, rules_keys, rules_keys_n, &r->conf);
	bool ok = fclose(f) == 0 && proc_write_file(r->fallback, text, len, 0600);
	free(text);
	return ok;
}

static void tell_loaded(const struct run *r)
{
	enum rules_fail how =
	    rules_fails(&r->conf, RULES_FAIL_OPEN) ? RULES_FAIL_OPEN : RULES_FAIL_CLOSED;
	(void)printf("loaded: queue step by %s (%s), queues %" PRId64 "-%u, fail %s\n",
		     r->how.native ? "nft queue" : "xt NFQUEUE", r->how.why, r->conf.queue_first,
		     rules_queues(&r->conf, how).last,
		     how == RULES_FAIL_CLOSED			? "closed"
		     : rules_fails(&r->conf, RULES_FAIL_CLOSED) ? "by pool"
								: "open");
}

static int do_load(struct run *r)
{
	char *err;
	int status = choose(r);
	if (status == EX_CONFIG && r->fallback) {
		complain("the last good configuration is loaded instead", 0);
		r->file = r->fallback;
		status = choose(r);
	}
	if (status != 0)
		return status;
	if (!loader_load(r->ctx, &r->conf, r->how, &err))
		return complain(err, EX_UNAVAILABLE);
	if (r->fallback && r->file != r->fallback && !keep_copy(r))
		complain(talloc_asprintf(r->ctx, "%s: %s; there will be nothing to fall back on",
					 r->fallback, strerror(errno)),
			 0);
	tell_loaded(r);
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
	if (!loader_check(r->ctx, &r->conf, r->how, &err))
		return complain(err, EX_UNAVAILABLE);
	(void)printf("ruleset OK (queue step: %s, %s)\n", r->how.native ? "nft" : "xt", r->how.why);
	return 0;
}

static int do_show(struct run *r)
{
	int status = choose(r);
	if (status == 0)
		(void)fputs(loader_text(r->ctx, &r->conf, r->how), stdout);
	return status;
}

static int do_watch(struct run *r)
{
	int status = read_conf(r, true);
	return status ? status : watch_run(r->file);
}

static const char *const fails[] = {[RULES_FAIL_CLOSED] = "closed", [RULES_FAIL_OPEN] = "open"};
static const char *const reactions[] = {
    [RULES_RESET] = "reset", [RULES_ICMP] = "icmp", [RULES_DROP] = "drop"};

static const char *loaded(const struct rules_status *s)
{
	return s->loaded[0] && s->loaded[1] ? "yes" : s->loaded[0] || s->loaded[1] ? "half" : "no";
}

static void print_status(const struct run *r, const struct rules_status *s)
{
	(void)printf("loaded\t%s\ncomplete\t%s\nqueue_step\t%s\nloaded_as\t%s\n", loaded(s),
		     s->complete ? "yes" : "no", s->step, *s->note ? s->note : "-");
	for (unsigned i = 0; i < s->n_counters; i++)
		(void)printf("%s\t%" PRIu64 "\n", s->counters[i].name, s->counters[i].packets);
	for (unsigned i = 0; i < s->n_sets; i++)
		(void)printf("set\t%s\t%s\t%" PRIu64 "\t%" PRIu32 "\n", s->sets[i].family,
			     s->sets[i].name, s->sets[i].elements, s->sets[i].size);
	(void)printf("pool\t-\t%s\t%s\t-\n", fails[r->conf.fail], reactions[r->conf.reaction]);
	for (size_t i = 0; i < r->conf.pools.n; i++) {
		const struct rules_pool *p = rules_pool(&r->conf, i);
		(void)printf("pool\t%s\t%s\t%s\t%s\n", p->name, fails[p->fail],
			     reactions[p->reaction], p->notice ? "notice" : "-");
	}
}

static void print_pool_json(const char *name, int fail, int reaction, bool notice)
{
	(void)printf("{\"name\":\"%s\",\"fail\":\"%s\",\"reaction\":\"%s\",\"notice\":%s}", name,
		     fails[fail], reactions[reaction], notice ? "true" : "false");
}

static void print_status_json(const struct run *r, const struct rules_status *s)
{
	(void)printf("{\"loaded\":%s,\"complete\":%s,\"queue_step\":\"%s\",\"loaded_as\":\"%s\","
		     "\"counters\":{",
		     s->loaded[0] && s->loaded[1] ? "true" : "false",
		     s->complete ? "true" : "false", s->step, s->note);
	for (unsigned i = 0; i < s->n_counters; i++)
		(void)printf("%s\"%s\":%" PRIu64, i ? "," : "", s->counters[i].name,
			     s->counters[i].packets);
	(void)fputs("},\"sets\":[", stdout);
	for (unsigned i = 0; i < s->n_sets; i++)
		(void)printf("%s{\"family\":\"%s\",\"name\":\"%s\",\"elements\":%" PRIu64
			     ",\"size\":%" PRIu32 "}",
			     i ? "," : "", s->sets[i].family, s->sets[i].name, s->sets[i].elements,
			     s->sets[i].size);
	(void)fputs("],\"pools\":[", stdout);
	print_pool_json("", r->conf.fail, r->conf.reaction, false);
	for (size_t i = 0; i < r->conf.pools.n; i++) {
		const struct rules_pool *p = rules_pool(&r->conf, i);
		(void)fputs(",", stdout);
		print_pool_json(p->name, p->fail, p->reaction, p->notice);
	}
	(void)puts("]}");
}

static int do_status(struct run *r)
{
	struct rules_status s;
	char *err;
	int status = read_conf(r, false);
	if (status != 0)
		return status;
	if (!loader_status(r->ctx, &r->conf, &s, &err))
		return complain(err, EX_UNAVAILABLE);
	(r->json ? print_status_json : print_status)(r, &s);
	return s.complete ? 0 : 1;
}

static const struct command {
	const char *name;
	int (*run)(struct run *r);
} commands[] = {
    {"load", do_load},	   {"unload", do_unload}, {"check", do_check},
    {"status", do_status}, {"show", do_show},	  {"watch", do_watch},
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
	int status = read_conf(r, false);
	if (status == 0)
		(void)puts("configuration OK");
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'}, {"fallback", required_argument, NULL, 'F'},
	    {"json", no_argument, NULL, 'j'},	      {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0}};
	struct run r = {.ctx = talloc_new(NULL), .file = "/etc/sekisho/sekisho.conf"};
	bool check_conf = false;
	int opt, status;
	log_open("sekisho-rules", LOG_INFO);
	while ((opt = getopt_long(argc, argv, "c:nh", options, NULL)) != -1)
		switch (opt) {
		case 'c':
			r.file = optarg;
			break;
		case 'F':
			r.fallback = optarg;
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
