/*
 * test_cli - the tables, the parser, the help, suggestions and completion.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <talloc.h>

#include "lib/proc.h"

#include "webui/ctl/cli.h"
#include "webui/ctl/help.h"

#define NOW 1795352890000 /* 2026-11-22T13:08:10Z */

/* One run of the whole program with streams in memory. */
struct run {
	char *out, *err;
	size_t out_len, err_len;
	int status;
};

static int split(char *line, char **argv)
{
	int n = 0;
	char *save = NULL;
	argv[n++] = (char *)"sekishoctl";
	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = strcmp(w, "''") == 0 ? (char *)"" : w;
	return n;
}

static void run(struct run *r, const char *words)
{
	char *line = strdup(words), *argv[64];
	struct cli_io io = {.in = fopen("/dev/null", "re"), .now_ms = NOW};
	io.out = open_memstream(&r->out, &r->out_len);
	io.err = open_memstream(&r->err, &r->err_len);
	r->status = cli_main(split(line, argv), argv, &io);
	fclose(io.in);
	fclose(io.out);
	fclose(io.err);
	free(line);
}

static void done(struct run *r)
{
	free(r->out);
	free(r->err);
}

/* Parses only; c is valid until talloc_free(c->pool). */
static bool parse(struct cli *c, struct cli_io *io, const char *words, int *status)
{
	static char line[512];
	static char *argv[64];
	static struct cli_io dummy;
	if (!io)
		io = &dummy;
	*io = (struct cli_io){.in = stdin, .now_ms = NOW};
	io->out = fopen("/dev/null", "we");
	io->err = fopen("/dev/null", "we");
	snprintf(line, sizeof(line), "%s", words);
	*c = (struct cli){.pool = talloc_new(NULL), .io = io};
	bool ok = cli_parse(c, split(line, argv), argv, status);
	fclose(io->out);
	fclose(io->err);
	return ok;
}

/* --- every row --- */

static void check_help(const char *words, const struct cli_verb *v)
{
	struct run r;
	char opt[160];
	run(&r, words);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.err, "");
	assert_non_null(strstr(r.out, "usage: sekishoctl"));
	for (const struct cli_opt *o = v ? v->opts : NULL; o && o->name; o++) {
		snprintf(opt, sizeof(opt), "--%s%s%s", o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		if (!strstr(r.out, opt))
			fail_msg("%s does not name %s", words, opt);
		assert_true(o->help && *o->help);
		assert_true((o->type == CLI_FLAG) == (o->value == NULL));
	}
	done(&r);
}

static void test_every_help(void **state)
{
	char words[128];
	(void)state;
	check_help("--help", NULL);
	for (size_t i = 0; i < cli_n_nouns; i++) {
		const struct cli_noun *n = cli_nouns[i];
		for (size_t k = 0; k < n->n_verbs; k++) {
			const struct cli_verb *v = &n->verbs[k];
			snprintf(words, sizeof(words), "%s --help", n->name);
			check_help(words, v);
			if (!v->name) {
				assert_int_equal(n->n_verbs, 1);
				continue;
			}
			snprintf(words, sizeof(words), "%s %s --help", n->name, v->name);
			check_help(words, v);
			snprintf(words, sizeof(words), "-c /none --json %s %s -h", n->name,
				 v->name);
			check_help(words, v);
		}
	}
}

static void test_help_lists_nouns(void **state)
{
	struct run r;
	char row[64];
	(void)state;
	run(&r, "--help");
	for (size_t i = 0; i < cli_n_nouns; i++) {
		snprintf(row, sizeof(row), "\n  %-12s ", cli_nouns[i]->name);
		assert_non_null(strstr(r.out, row));
	}
	done(&r);
}

static void test_words_of_the_contract(void **state)
{
	static const char *const settled[] = {
	    "status",
	    "top",
	    "watch",
	    "explain",
	    "who",
	    "exempt add",
	    "exempt remove",
	    "exempt list",
	    "exempt import",
	    "exempt export",
	    "lease add",
	    "lease end",
	    "lease list",
	    "lease import",
	    "incident list",
	    "incident show",
	    "incident ack",
	    "incident hold",
	    "incident release",
	    "incident resolve",
	    "limit show",
	    "limit set",
	    "limit reset",
	    "queue list",
	    "queue show",
	    "queue hold",
	    "queue release",
	    "queue retry",
	    "queue bounce",
	    "queue delete",
	    "queue move",
	    "queue flush",
	    "queue grid",
	    "batv sign",
	    "batv verify",
	    "batv explain",
	    "batv rotate",
	    "report import",
	    "report list",
	    "report show",
	    "check",
	    "init",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(settled) / sizeof(settled[0]); i++) {
		struct run r;
		char words[64];
		snprintf(words, sizeof(words), "%s --help", settled[i]);
		run(&r, words);
		assert_int_equal(r.status, 0);
		done(&r);
	}
}

/* The manual names each verb and, below it and before the next, each option. */
static void check_manual(const char *man, const struct cli_noun *n, const struct cli_verb *v)
{
	char line[128];
	snprintf(line, sizeof(line), "\n.It Cm %s%s%s%s%s\n", n->name, v->name ? " " : "",
		 v->name ? v->name : "", *v->args ? " Ar " : "", v->args);
	const char *at = strstr(man, line);
	if (!at)
		fail_msg("sekishoctl.8 lacks %s", line);
	const char *end = strstr(at + 1, "\n.It Cm ");
	for (const struct cli_opt *o = v->opts; o && o->name; o++) {
		snprintf(line, sizeof(line), "\n.It Fl -%s%s%s\n", o->name, o->value ? " Ar " : "",
			 o->value ? o->value : "");
		const char *opt = strstr(at, line);
		if (!opt || (end && opt > end))
			fail_msg("sekishoctl.8: %s %s lacks %s", n->name, v->name ? v->name : "",
				 line);
	}
}

static void test_manual(void **state)
{
	size_t len;
	char *man = proc_read_file("docs/man/sekishoctl.8", 1 << 20, &len);
	(void)state;
	if (!man)
		skip(); /* not run from the top of the tree */
	for (size_t i = 0; i < cli_n_nouns; i++)
		for (size_t k = 0; k < cli_nouns[i]->n_verbs; k++)
			check_manual(man, cli_nouns[i], &cli_nouns[i]->verbs[k]);
	free(man);
}

/* --- refusals --- */

static void test_usage_errors(void **state)
{
	static const struct {
		const char *words;
		int status;
		const char *says;
	} cases[] = {
	    {"", 64, "usage: sekishoctl"},
	    {"exempt", 64, "exempt add PREFIX"},
	    {"exmpt list", 64, "did you mean exempt?"},
	    {"xyzzy", 64, "unknown command xyzzy\n"},
	    {"exempt lst", 64, "did you mean list?"},
	    {"exempt rm", 64, "exempt has no rm\n"},
	    {"exempt add", 64, "exempt add needs PREFIX"},
	    {"exempt add 192.0.2.1 more", 64, "more is one word too many"},
	    {"exempt add 192.0.2.1 --expire +1d", 64, "did you mean --expires?"},
	    {"exempt add 192.0.2.1 --expires", 64, "--expires needs its TIME"},
	    {"exempt add 192.0.2.1 --expires soon", 64, "--expires soon: "},
	    {"exempt add 192.0.2.1 --static perhaps", 64, "give one of yes|no"},
	    {"exempt add 192.0.2.1 --static ye", 64, "give one of yes|no"},
	    {"exempt add 192.0.2.1 --static ''", 64, "give one of yes|no"},
	    {"exempt add 192.0.2.1 --reason a --reason b", 64, "--reason is given twice"},
	    {"exempt add 192.0.2.1/24", 64, "192.0.2.0/24"},
	    {"exempt add nowhere", 64, "nowhere: "},
	    {"exempt list --all=yes", 64, "--all takes no value"},
	    {"top --limit 0", 64, "whole number from 1 to 10000"},
	    {"top --limit 10001", 64, "whole number from 1 to 10000"},
	    {"top --limit 5x", 64, "whole number"},
	    {"top --limit 99999999999999999999", 64, "whole number"},
	    {"watch --interval 5", 64, "--interval 5: "},
	    {"watch --interval 1ms", 64, "out of range"},
	    {"-x", 64, "unknown option -x"},
	    {"-c", 64, "-c needs its FILE"},
	    {"-c a -c b status", 64, "-c is given twice"},
	    {"--cnfig a status", 64, "did you mean --config?"},
	    {"who 192.0.2.1", 64, "who needs IP [PORT] TIME"},
	    {"limit show", 64, "say whose: an ACCOUNT, --address or --domain"},
	    {"limit reset", 64, "say whose: an ACCOUNT, --address or --domain"},
	    {"who 192.0.2.1 now now now", 64, "one word too many"},
	    {"who 192.0.2.1 99999 now", 64, "99999 is not a port"},
	    {"who 192.0.2.1/32 now", 64, "is not an address"},
	    {"explain host.example", 64, "host.example is not an address"},
	    {"incident show one", 64, "one is not a number"},
	    {"incident show 0", 64, "0 is not a number"},
	    {"incident ack a@b", 64, "a@b is not a number"},
	    {"limit set a@b --unit messages", 64,
	     "limit set needs --name, or --unit and --window; and --limit"},
	    {"limit set a@b --unit messages --window 1h --limit -1", 64, "--limit -1: "},
	    {"lease add 192.0.2.1", 64, "needs --subscriber REF"},
	    {"lease add 192.0.2.1 --subscriber x --ports 5", 64, "ports are LO-HI"},
	    {"lease add 192.0.2.1 --subscriber x --ports 9-5", 64, "ports are LO-HI"},
	    {"lease add 192.0.2.1 --subscriber x --ports 1-65536", 64, "ports are LO-HI"},
	    {"account add a@b", 64, "needs --subscriber REF"},
	    {"queue hold", 64, "say which messages"},
	    {"queue hold 1 --all", 64, "say which messages"},
	    {"queue delete --all", 64, "say --yes"},
	    {"queue flush", 64, "say --yes"},
	    {"queue move slow", 64, "say which messages"},
	    {"queue list --older soon", 64, ""},
	    {"queue delete --all --state held", 64, "say which messages"},
	    {"queue list --state lost", 64, "give one of due|held|deferred|active"},
	    {"explain 192.0.2.1 2001:db8::1", 64, "one is IPv4, the other IPv6"},
	    {"incident list --state closed", 64, "give one of open|acknowledged"},
	    {"incident hold alice", 64, "neither an incident's ID nor an account"},
	    {"limit show alice", 64, "an account is user@realm"},
	    {"limit set a@l.example --unit messages --window 1m --limit 0", 64, "unlimited"},
	    {"report list --matched --unmatched", 64, "not both"},
	    {"batv sign", 64, "no address"},
	    {"exempt add 192.0.2.1 --reason \xff", 64, "word 5 is not UTF-8 text"},
	    {"init --hostname localhost", 64, "not a full host name"},
	    {"init --hostname a.example --smarthost b.example:25", 64, "--smarthost"},
	    {"init --hostname a.example --interface a/b", 64, "not the name of an interface"},
	    {"-c /nonexistent/sekisho.conf status", 78, "/nonexistent/sekisho.conf"},
	    {"report import /nonexistent/file", 66, "/nonexistent/file"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run r;
		run(&r, cases[i].words);
		if (r.status != cases[i].status || !strstr(r.err, cases[i].says))
			fail_msg("%s: status %d, says %s", cases[i].words, r.status, r.err);
		assert_string_equal(r.out, "");
		done(&r);
	}
}

/* With acctd away and no database every command says so, and none says that it is done. */
static void test_all_away(void **state)
{
	static const char *const asks_acctd[] = {
	    "explain 192.0.2.1",
	    "explain 192.0.2.1 198.51.100.1",
	    "exempt add 192.0.2.1 --class full",
	    "exempt remove 192.0.2.1",
	    "lease add 192.0.2.1 --subscriber x --ports 1-2",
	    "lease end 192.0.2.1",
	    "subscriber add x --name y",
	    "account add a@b --subscriber x",
	    "operator list",
	    "operator remove x",
	    "operator add x",
	    "incident ack 1",
	    "incident hold a@b",
	    "incident release 1",
	    "incident resolve 1 --reason r",
	    "incident note 1 text",
	    "limit show a@b",
	    "limit set a@b --unit messages --window 1m --limit none",
	    "limit reset a@b",
	    "queue list",
	    "queue show 1",
	    "queue hold 1",
	    "queue release --all --yes",
	    "queue retry --account a@b --yes",
	    "queue bounce --domain b --state held --yes",
	    "queue delete --destination b --older 1h --reason full --yes",
	    "queue move slow 1",
	    "queue flush --yes",
	    "queue delete 1 2",
	    "queue grid",
	    "batv sign a@b",
	    "batv verify a@b c@d",
	    "batv explain a@b --at now",
	    "batv rotate",
	    "report import /proc/version",
	    "report attach 1 2",
	};
	static const char *const asks_database[] = {
	    "top",
	    "watch --count 1",
	    "who 192.0.2.1 now",
	    "exempt list --all",
	    "exempt export",
	    "lease list",
	    "subscriber list",
	    "incident list --state all",
	    "incident show 1",
	    "report list --matched",
	    "report show 1",
	    "audit list --limit 5",
	};
	char dir[] = "/tmp/ctl-test-XXXXXX", conf[64], words[256];
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(conf, sizeof(conf), "%s/sekisho.conf", dir);
	FILE *f = fopen(conf, "we");
	fprintf(f, "common {\n\trun_dir = \"%s/run\"\n\tstate_dir = \"%s/state\"\n}\n", dir, dir);
	fclose(f);
	for (size_t i = 0; i < sizeof(asks_acctd) / sizeof(asks_acctd[0]); i++) {
		struct run r;
		snprintf(words, sizeof(words), "-c %s %s", conf, asks_acctd[i]);
		run(&r, words);
		if (r.status != 69 || !strstr(r.err, "sekisho-acctd does not answer"))
			fail_msg("%s: status %d, says %s", words, r.status, r.err);
		assert_string_equal(r.out, "");
		done(&r);
	}
	for (size_t i = 0; i < sizeof(asks_database) / sizeof(asks_database[0]); i++) {
		struct run r;
		snprintf(words, sizeof(words), "-c %s %s", conf, asks_database[i]);
		run(&r, words);
		if (r.status != 69 || !strstr(r.err, "database"))
			fail_msg("%s: status %d, says %s", words, r.status, r.err);
		assert_string_equal(r.out, "");
		done(&r);
	}
	struct run r;
	snprintf(words, sizeof(words), "-c %s status --json", conf);
	run(&r, words);
	assert_int_equal(r.status, 69);
	assert_non_null(strstr(r.out, "\"nfqd\": null"));
	done(&r);
	unlink(conf);
	rmdir(dir);
}

static void test_message_is_escaped(void **state)
{
	struct run r;
	(void)state;
	run(&r, "explain \033[31mred\nsekishoctl:");
	assert_null(strchr(r.err, '\033'));
	assert_non_null(strstr(r.err, "\\x1b[31mred\\x0asekishoctl: is not an address"));
	done(&r);
}

/* --- what a verb sees --- */

static void test_options_and_words(void **state)
{
	struct cli c;
	int status;
	int64_t n = 0;
	(void)state;
	assert_true(
	    parse(&c, NULL,
		  "--json -c /x exempt add --expires=2026-12-31 --class throttled 192.0.2.1 "
		  "--reason --all",
		  &status));
	assert_true(c.json);
	assert_string_equal(c.conf_file, "/x");
	assert_string_equal(c.noun->name, "exempt");
	assert_string_equal(c.verb->name, "add");
	assert_int_equal(c.n_args, 1);
	assert_string_equal(c.args[0], "192.0.2.1");
	assert_true(cli_number(&c, "expires", &n));
	assert_int_equal(n, 1798675200000);
	assert_string_equal(cli_text(&c, "class"), "throttled");
	assert_string_equal(cli_text(&c, "reason"), "--all");
	assert_null(cli_text(&c, "contract"));
	n = 7;
	assert_false(cli_number(&c, "starts", &n));
	assert_int_equal(n, 7);
	talloc_free(c.pool);
}

static void test_json_anywhere(void **state)
{
	static const char *const lines[] = {"--json status", "status --json",
					    "-c /x --json status"};
	struct cli c;
	int status;
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_true(parse(&c, NULL, lines[i], &status));
		assert_true(c.json);
		talloc_free(c.pool);
	}
	assert_true(parse(&c, NULL, "status", &status));
	assert_false(c.json);
	assert_string_equal(c.conf_file, "/etc/sekisho/sekisho.conf");
	talloc_free(c.pool);
}

static void test_minus_words(void **state)
{
	struct cli c;
	int status;
	(void)state;
	assert_true(parse(&c, NULL, "who 192.0.2.1 -5m", &status));
	assert_string_equal(c.args[1], "-5m");
	talloc_free(c.pool);
	assert_true(parse(&c, NULL, "report import -", &status));
	assert_string_equal(c.args[0], "-");
	talloc_free(c.pool);
	assert_true(parse(&c, NULL, "incident note 1 -- --all", &status));
	assert_string_equal(c.args[1], "--all");
	talloc_free(c.pool);
}

static void test_many(void **state)
{
	struct cli c;
	int status;
	size_t at = 0;
	(void)state;
	assert_true(
	    parse(&c, NULL, "init --interface eth1 --hostname h --interface eth2", &status));
	assert_string_equal(cli_next(&c, "interface", &at), "eth1");
	assert_string_equal(cli_next(&c, "interface", &at), "eth2");
	assert_null(cli_next(&c, "interface", &at));
	talloc_free(c.pool);
}

/* --- near words and completion --- */

static void test_distance(void **state)
{
	static const struct {
		const char *a, *b;
		int d;
	} cases[] = {
	    {"", "", 0},
	    {"add", "add", 0},
	    {"ad", "add", 1},
	    {"dad", "add", 1},
	    {"lsit", "list", 1},
	    {"list", "limit", 2},
	    {"", "top", 3},
	    {"abc", "xyz", 3},
	    {"exempt", "exepmt", 1},
	    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a", 99},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(help_distance(cases[i].a, cases[i].b), cases[i].d);
		assert_int_equal(help_distance(cases[i].b, cases[i].a), cases[i].d);
	}
}

static void test_complete(void **state)
{
	static const struct {
		const char *words, *out;
	} cases[] = {
	    {"--complete exe", "exempt\n"},
	    {"--complete exempt a", "add\nactivate\n"},
	    {"--complete -c /x exempt rem", "remove\n"},
	    {"--complete exempt add --cl", "--class\n"},
	    {"--complete exempt add --static ''", "yes\nno\n"},
	    {"--complete exempt list --state s", "suspended\n"},
	    {"--complete exempt add --reason ''", ""},
	    {"--complete -c ''", ""},
	    {"--complete status --js", "--json\n"},
	    {"--complete nothing ''", NULL},
	    {"--complete", ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run r;
		run(&r, cases[i].words);
		assert_int_equal(r.status, 0);
		if (cases[i].out)
			assert_string_equal(r.out, cases[i].out);
		assert_string_equal(r.err, "");
		done(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_help),
	    cmocka_unit_test(test_help_lists_nouns),
	    cmocka_unit_test(test_words_of_the_contract),
	    cmocka_unit_test(test_manual),
	    cmocka_unit_test(test_usage_errors),
	    cmocka_unit_test(test_all_away),
	    cmocka_unit_test(test_message_is_escaped),
	    cmocka_unit_test(test_options_and_words),
	    cmocka_unit_test(test_json_anywhere),
	    cmocka_unit_test(test_minus_words),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_distance),
	    cmocka_unit_test(test_complete),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
