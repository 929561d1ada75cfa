/* conf: what a file may say, every refusal with its file and line, includes, the dump, reloading.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/conf.h"
#include "lib/proc.h"

#define N(a) (sizeof(a) / sizeof *(a))

struct test_class {
	char *name;
	int64_t rate;
	struct conf_list list;
};

struct test_conf {
	struct conf_common common;
	struct conf_items classes;
	bool on;
	int64_t port, any, size, wait;
	char *host, *cert;
	int fail;
	struct conf_list list;
	char *peeked;
};

#define AT(field) offsetof(struct test_conf, field)
static const struct conf_key keys[] = {
    CONF_COMMON_ROWS,
    {"nfq", "on", CONF_BOOL, AT(on), "yes", 0, 0, NULL, true, "on or off", false},
    {"nfq", "port", CONF_INT, AT(port), "25", 1, 65535, NULL, true, "the port", false},
    {"nfq", "any", CONF_INT, AT(any), "-7", 0, 0, NULL, true, "any number", false},
    {"nfq", "size", CONF_SIZE, AT(size), "10M", 1, 1 << 30, NULL, true, "bytes", false},
    {"nfq", "wait", CONF_DURATION, AT(wait), "1h30m", 1000, 86400000, NULL, false, "time", false},
    {"nfq", "host", CONF_STRING, AT(host), "", 0, 0, NULL, false, "a name", false},
    {"nfq", "cert", CONF_PATH, AT(cert), "", 0, 0, NULL, false, "a file", false},
    {"nfq", "fail", CONF_ENUM, AT(fail), "closed", 0, 0, "closed|open|observe", true, "policy",
     false},
    {"nfq", "list", CONF_LIST, AT(list), "a b", 0, 0, NULL, false, "some", false},
    {"msa", "hostname", CONF_STRING, AT(peeked), "mx", 0, 0, NULL, true, "theirs", true},
    {"class", "", CONF_GROUP, AT(classes), NULL, 0, sizeof(struct test_class), NULL, true, NULL,
     false},
    {"class", "rate", CONF_INT, offsetof(struct test_class, rate), "60", 1, 1000, NULL, false,
     "a rate", false},
    {"class", "list", CONF_LIST, offsetof(struct test_class, list), "x", 0, 0, NULL, true, "a list",
     false},
};

static char dir[] = "/tmp/sekisho-test-conf.XXXXXX";

static const char *put(const char *name, const char *text)
{
	static char path[64];
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_true(proc_write_file(path, text, strlen(text), 0600));
	return path;
}

static bool load(void *ctx, const char *text, struct test_conf *out, char **err)
{
	*out = (struct test_conf){.port = 0};
	*err = NULL;
	return conf_load(ctx, put("t.conf", text), keys, N(keys), out, err);
}

/* What is in force, in one line. */
static char *shown(void *ctx, const struct test_conf *c)
{
	char *list = talloc_strdup(ctx, "");
	for (size_t i = 0; i < c->list.n; i++)
		list = talloc_asprintf_append(list, "%s%s", i ? "," : "", c->list.items[i]);
	return talloc_asprintf(ctx, "%d %lld %lld %lld %lld [%s] [%s] %d {%s} %s %s", c->on,
			       (long long)c->port, (long long)c->any, (long long)c->size,
			       (long long)c->wait, c->host, c->cert, c->fail, list, c->peeked,
			       c->common.user);
}

static void test_values(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
	    {"", "1 25 -7 10485760 5400000 [] [] 0 {a,b} mx sekisho"},
	    {"# only a comment\n", "1 25 -7 10485760 5400000 [] [] 0 {a,b} mx sekisho"},
	    {"common { user = \"\" }\nnfq {\n on = off\n port = 65535\n any = "
	     "-9223372036854775808\n"
	     " size = 4096\n wait = 10s\n host = \"mx.isp.example\"\n cert = \"/etc/x.pem\"\n"
	     " fail = open\n list = {\"x y\", z}\n}\nmsa { hostname = h }\n",
	     "0 65535 -9223372036854775808 4096 10000 [mx.isp.example] [/etc/x.pem] 1 {x y,z} h "},
	    {"nfq { on = TRUE size = 64k wait = \"1h\" fail = 'observe' }",
	     "1 25 -7 65536 3600000 [] [] 2 {a,b} mx sekisho"},
	    {"nfq { on = no size = 1G list = {} }",
	     "0 25 -7 1073741824 5400000 [] [] 0 {} mx sekisho"},
	    {"nfq { list = { # comment\n } }", "1 25 -7 10485760 5400000 [] [] 0 {} mx sekisho"},
	    {"nfq{# c\nport=1 # c\nlist={a,# c\n\"b\"# c\n}// c\n}# c",
	     "1 1 -7 10485760 5400000 [] [] 0 {a,b} mx sekisho"},
	    {"nfq { cert = /etc/x.pem }",
	     "1 25 -7 10485760 5400000 [] [/etc/x.pem] 0 {a,b} mx sekisho"},
	    {"nfq { list = one }", "1 25 -7 10485760 5400000 [] [] 0 {one} mx sekisho"},
	    {"nfq { list = {one,} }", "1 25 -7 10485760 5400000 [] [] 0 {one} mx sekisho"},
	    /* The same section twice is fine; the same key is not. */
	    {"nfq { port = 1 }\r\nnfq { any = 2 }\r\n",
	     "1 1 2 10485760 5400000 [] [] 0 {a,b} mx sekisho"},
	    {"nfq { host = \"a\\\"b\\\\c\\$d # no comment // /* \" }",
	     "1 25 -7 10485760 5400000 [a\"b\\c$d # no comment // /* ] [] 0 {a,b} mx sekisho"},
	    {"nfq { host = 'a\"b$d' } // end",
	     "1 25 -7 10485760 5400000 [a\"b$d] [] 0 {a,b} mx sekisho"},
	    {"/* a\n comment */ nfq { port /* here */ = 3 }",
	     "1 3 -7 10485760 5400000 [] [] 0 {a,b} mx sekisho"},
	    /* Other programs' keys are not ours to check. */
	    {"msa { what = 1 so = {1, 2} hostname = h ever = \"}\" }\nwebui { x = {} }\nratelimit "
	     "{ }",
	     "1 25 -7 10485760 5400000 [] [] 0 {a,b} h sekisho"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		void *ctx = talloc_new(NULL);
		struct test_conf c;
		char *err;
		if (!load(ctx, cases[i].text, &c, &err))
			fail_msg("case %zu: %s", i, err);
		assert_string_equal(shown(ctx, &c), cases[i].want);
		talloc_free(ctx);
	}
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *at, *why;
	} cases[] = {
	    {"nfq {\n# c\n# c\n port = 0\n}", ":4: ", "port must be from 1 to 65535"},
	    {"nfq {\n port = 65536\n}", ":2: ", "port must be from 1 to 65535"},
	    {"nfq { port = 25x }", ":1: ", "whole number"},
	    {"nfq { port = \"\" }", ":1: ", "whole number"},
	    {"nfq { port = \" 25\" }", ":1: ", "whole number"},
	    {"nfq { port = \"+25\" }", ":1: ", "whole number"},
	    {"nfq { port = 0x19 }", ":1: ", "whole number"},
	    {"nfq { any = 9223372036854775808 }", ":1: ", "whole number"},
	    {"nfq { on = maybe }", ":1: ", "true or false"},
	    {"nfq { size = 10m }", ":1: ", "bytes"},
	    {"nfq { size = 10kB }", ":1: ", "bytes"},
	    {"nfq { size = 10kk }", ":1: ", "bytes"},
	    {"nfq { size = -1 }", ":1: ", "bytes"},
	    {"nfq { size = 9223372036854775807G }", ":1: ", "bytes"},
	    {"nfq { size = 2G }", ":1: ", "from 1 to 1G"},
	    {"nfq { wait = 10 }", ":1: ", "unit is missing"},
	    {"nfq { wait = 1ms }", ":1: ", "from 1s to 1d"},
	    {"nfq { cert = x.pem }", ":1: ", "full path"},
	    {"nfq { fail = ope }", ":1: ", "one of closed|open|observe"},
	    {"nfq { fail = \"closed|open\" }", ":1: ", "one of"},
	    {"nfq {\n prot = 1\n}",
	     ":2: ", "unknown key 'prot' in section nfq; did you mean 'port'?"},
	    {"nfq { zzzzzz = 1 }", ":1: ", "unknown key 'zzzzzz' in section nfq"},
	    {"common { usr = x }", ":1: ", "did you mean 'user'?"},
	    {"nqf { }", ":1: ", "unknown section 'nqf'; known are common, kernel-rules, nfq"},
	    {"port = 1", ":1: ", "unknown section 'port'"},
	    {"nfq|port = 1", ":1: ", "inside its section"},
	    {"nfq {\n port = 1\n port = 2\n}",
	     ":3: ", "port is set twice in this file, first in line 2"},
	    {"nfq { port = 1 }\nnfq {\n port = 1 }", ":3: ", "set twice"},
	    {"nfq {\n list = {a}\n list = {b} }",
	     ":3: ", "list is set twice in this file, first in line 2"},
	    {"nfq {\n list = a\n list = b }", ":3: ", "list is set twice"},
	    {"nfq {\n list = {}\n list = {b} }", ":3: ", "list is set twice"},
	    {"nfq {\n list = {}\n list = {} }", ":3: ", "list is set twice"},
	    {"nfq { list = {a b} }", ":1: ", "unexpected token"},
	    {"nfq { list += {a} }", ":1: ", "quoted"},
	    {"nfq { port 1 }", ":1: ", "equal sign"},
	    {"nfq { port = }", ":1: ", "unexpected token"},
	    {"nfq port = 1", ":1: ", "brace"},
	    {"nfq {\n port = 1\n", ":1: ", "not closed"},
	    {"\nnfq { list = {a\n", ":2: ", "not closed"},
	    {"nfq { } }", ":1: ", "closing brace"},
	    {"nfq {\n host = \"x\n}\n", ":2: ", "string is not closed"},
	    {"nfq {\n host = 'x\n}\n", ":2: ", "string is not closed"},
	    {"nfq { }\n/* x\n\n", ":2: ", "comment is not closed"},
	    {"nfq { host = \"${HOME}\" }", ":1: ", "environment"},
	    {"nfq { host = ${HOME} }", ":1: ", "quoted"},
	    {"nfq { host = \"a\\qb\" }", ":1: ", "unknown escape"},
	    {"nfq { host = \"a\\9b\" }", ":1: ", "unknown escape"},
	    {"nfq { host = a\\b }", ":1: ", "quoted"},
	    {"nfq { host = a\x01 }", ":1: ", "control character"},
	    {"nfq { host = \"a\x01\" }", ":1: ", "control character"},
	    {"nfq { a\x1b[2J = 1 }", ":1: ", "control character"},
	    {"nfq { host = *.example }", ":1: ", "quoted"},
	    {"nfq { host = http://x }", ":1: ", "quoted"},
	    {"nfq {\n host = a#b }", ":2: ", "quoted"},
	    {"nfq { host = a/*b*/ }", ":1: ", "quoted"},
	    {"nfq { wait = +10s }", ":1: ", "quoted"},
	    {"include()", ":1: ", "one file name"},
	    {"include(\"a\", \"b\")", ":1: ", "one file name"},
	    {"include(a)", ":1: ", "one file name, quoted"},
	    {"include(\n\"a\"", ":2: ", "one file name, quoted"},
	    {"include(\"\")", ":1: ", "one file name"},
	    {"include \"a\"", ":1: ", "parenthesis"},
	    {"other(\"a\")", ":1: ", "unknown section 'other'"},
	    {"nfq { host = a)b }", ":1: ", "quoted"},
	    {"\ninclude(\"absent.conf\")", ":2: ", "cannot include "},
	    {"\n\ninclude(\"t.conf\")", ":3: ", "more than 8 deep"},
	    {"nfq { include(\"x\") }", ":1: ", "outside the sections"},
	    {"class { }", ":1: ", "title"},
	    {"class A { }", ":1: ", "class \"A\": a name is 1 to 15"},
	    {"\nclass a_b {\n\n\n rate = 1 }", ":2: ", "class \"a_b\": a name"},
	    {"class abcdefghijklmnop { rate = 1 }", ":1: ", "a name is 1 to 15"},
	    {"class '' { }", ":1: ", "a name is 1 to 15"},
	    {"class a {\n rat = 1 }", ":2: ", "unknown key 'rat' in section class; did you mean"},
	    {"class a {\n rate = 1\n rate = 2 }",
	     ":3: ", "set twice in this file, first in line 2"},
	    {"class a { rate = 1 }\nclass b { }\nclass a { rate = 1 }", ":3: ", "set twice"},
	    {"class a {\n rate = 0 }", ":2: ", "rate must be from 1 to 1000"},
	    {"'class=a|rate' = 1", ":1: ", ""},
	    {"class a { rate = 1 }\n'class=a|rate' = 1", ":2: ", "inside its section"},
	    {"nfq x { }", ":1: ", "brace"},
	    {"class a b { }", ":1: ", "brace"},
	    {"nfq { class a { } }", ":1: ", "unknown key 'class'"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		void *ctx = talloc_new(NULL);
		struct test_conf c;
		char *err, *where = talloc_asprintf(ctx, "%s/t.conf%s", dir, cases[i].at);
		if (load(ctx, cases[i].text, &c, &err))
			fail_msg("taken: %s", cases[i].text);
		if (strncmp(err, where, strlen(where)) != 0 || !strstr(err, cases[i].why))
			fail_msg("%s\n%s", cases[i].text, err);
		/* A broken file leaves nothing behind in libconfuse: the next good one loads. */
		if (!load(ctx, "nfq { port = 99 } # good\n", &c, &err))
			fail_msg("after %s: %s", cases[i].text, err);
		assert_int_equal(c.port, 99);
		talloc_free(ctx);
	}
}

static void test_unreadable(void **state)
{
	void *ctx = talloc_new(NULL);
	struct test_conf c = {.port = 0};
	char *err = NULL;
	static const char nul[] = "nfq {\0}";
	char path[64];
	(void)state;
	assert_false(conf_load(ctx, "/nonexistent/x.conf", keys, N(keys), &c, &err));
	assert_string_equal(err, "/nonexistent/x.conf: No such file or directory");
	assert_false(conf_load(ctx, dir, keys, N(keys), &c, &err));
	assert_non_null(strstr(err, "Is a directory"));
	(void)snprintf(path, sizeof path, "%s/nul", dir);
	assert_true(proc_write_file(path, nul, sizeof nul, 0600));
	assert_false(conf_load(ctx, path, keys, N(keys), &c, &err));
	assert_non_null(strstr(err, "NUL"));
	talloc_free(ctx);
}

static void test_include(void **state)
{
	void *ctx = talloc_new(NULL);
	struct test_conf c;
	char *err;
	(void)state;
	/* An included file overrides wherever it is included; a later one an earlier; deeper ones
	 * too. */
	put("site.conf", "nfq { port = 2 list = {s} }\ninclude(\"deep.conf\")\nnfq { any = 2 }");
	put("deep.conf", "nfq { any = 3 size = 3 }");
	put("late.conf", "nfq { size = 4 }");
	if (!load(ctx,
		  "include(\"site.conf\")\nnfq { port = 1 any = 1 host = h }\n"
		  "include(\"late.conf\")\n",
		  &c, &err))
		fail_msg("%s", err);
	assert_string_equal(shown(ctx, &c), "1 2 3 4 5400000 [h] [] 0 {s} mx sekisho");
	/* Errors are told where they are, not where the include is. */
	put("site.conf", "\nnfq { port = 0 }");
	assert_false(load(ctx, "include(\"site.conf\")", &c, &err));
	assert_non_null(strstr(err, "/site.conf:2: port must be"));
	put("site.conf", "\n\nnfq { prot = 1 }");
	assert_false(load(ctx, "include(\"site.conf\")", &c, &err));
	assert_non_null(strstr(err, "/site.conf:3: unknown key"));
	/* The file that cannot be read and the line that wants it. */
	put("site.conf", "\n\ninclude(\"gone.conf\")");
	assert_false(load(ctx, "include(\"site.conf\")", &c, &err));
	assert_non_null(strstr(err, "/site.conf:3: cannot include "));
	assert_non_null(strstr(err, "/gone.conf: No such file"));
	assert_null(strstr(err, "t.conf"));
	/* A full path. */
	char *abs = talloc_asprintf(ctx, "include(\"%s\")", put("abs.conf", "nfq { port = 7 }"));
	assert_true(load(ctx, abs, &c, &err));
	assert_int_equal(c.port, 7);
	talloc_free(ctx);
}

/* name:rate[list] of each group, in the order of the file. */
static char *classes(void *ctx, const struct test_conf *c)
{
	const struct test_class *t = c->classes.items;
	char *out = talloc_strdup(ctx, "");
	for (size_t i = 0; i < c->classes.n; i++) {
		out = talloc_asprintf_append(out, "%s:%lld[", t[i].name, (long long)t[i].rate);
		for (size_t j = 0; j < t[i].list.n; j++)
			out = talloc_asprintf_append(out, "%s,", t[i].list.items[j]);
		out = talloc_asprintf_append(out, "] ");
	}
	return out;
}

static void test_groups(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
	    {"", ""},
	    {"class a { }", "a:60[x,] "},
	    {"class 0-z { rate = 5 list = {} }", "0-z:5[] "},
	    {"class abcdefghijklmno { }", "abcdefghijklmno:60[x,] "},
	    {"class b { rate = 2 } nfq { port = 3 } class 'a' { list = {p, q} } class \"c\" { }",
	     "b:2[x,] a:60[p,q,] c:60[x,] "},
	    /* Twice is one; the order is that of the first lines, whatever is set when. */
	    {"class b { } class a { rate = 1 } class b { rate = 2 }", "b:2[x,] a:1[x,] "},
	    /* Another program's kind of group is not ours to check. */
	    {"pool P_ { x = 1 y = {1, \"}\"} z = on } pool q { } class a { }", "a:60[x,] "},
	    {"include(\"over.conf\") class a { rate = 1 list = {p} } class b { rate = 2 }",
	     "a:1[o,] b:9[x,] n:60[x,] "},
	};
	(void)state;
	put("over.conf", "class b { rate = 9 }\nclass n { }\nclass a { list = {o} }");
	for (size_t i = 0; i < N(cases); i++) {
		void *ctx = talloc_new(NULL);
		struct test_conf c;
		char *err;
		if (!load(ctx, cases[i].text, &c, &err))
			fail_msg("case %zu: %s", i, err);
		assert_string_equal(classes(ctx, &c), cases[i].want);
		talloc_free(ctx);
	}
}

/* The dump of anything is a file that loads to the same. */
static void test_dump(void **state)
{
	static const char *const texts[] = {
	    "",
	    "nfq { on = off port = 1 any = 0 size = 1025 wait = 90s fail = observe list = {} }",
	    "nfq { host = \"a\\\"b\\\\c\\${d} \\n\\t'\" list = {\"x, y\", \"}\"} size = 64k }",
	    "common { state_dir = \"\" user = root }",
	    "class a { rate = 7 } class b { list = {\"1 2\"} }",
	};
	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		void *ctx = talloc_new(NULL);
		struct test_conf a, b;
		char *err, *text = NULL;
		size_t len;
		assert_true(load(ctx, texts[i], &a, &err));
		FILE *f = open_memstream(&text, &len);
		conf_dump(f, keys, N(keys), &a);
		fclose(f);
		if (!load(ctx, text, &b, &err))
			fail_msg("%s\n%s", err, text);
		assert_string_equal(shown(ctx, &a), shown(ctx, &b));
		assert_string_equal(classes(ctx, &a), classes(ctx, &b));
		assert_non_null(strstr(text, "\t# the port\n\tport = "));
		free(text);
		talloc_free(ctx);
	}
}

static void test_reload(void **state)
{
	static const struct {
		const char *old, *text, *names; /* NULL: may */
	} cases[] = {
	    {"", "", NULL},
	    {"", "nfq { on = no port = 1 any = 2 size = 3 fail = open } msa { hostname = x }",
	     NULL},
	    {"", "nfq { list = {a, b} wait = 90m }", NULL}, /* set, but the same */
	    {"", "nfq { wait = 5s }", "nfq.wait"},
	    {"", "nfq { host = x }", "nfq.host"},
	    {"", "nfq { cert = \"/x\" }", "nfq.cert"},
	    {"", "nfq { list = {a} }", "nfq.list"},
	    {"", "nfq { list = {a, c} }", "nfq.list"},
	    {"", "common { user = root }", "common.user"},
	    {"class a { }", "class b { } class c { rate = 2 }", NULL},
	    {"class b { } class a { }", "class a { list = {z} }", NULL},
	    {"class b { } class a { }", "class a { rate = 3 }", "class a.rate"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		void *ctx = talloc_new(NULL);
		struct test_conf old, fresh;
		char *err;
		assert_true(load(ctx, cases[i].old, &old, &err));
		assert_true(load(ctx, cases[i].text, &fresh, &err));
		bool ok = conf_may_reload(ctx, keys, N(keys), &old, &fresh, &err);
		assert_int_equal(ok, cases[i].names == NULL);
		if (!ok)
			assert_non_null(strstr(err, cases[i].names));
		talloc_free(ctx);
	}
}

/* A kind of group whose row says so neither comes nor goes. */
static void test_reload_fixed(void **state)
{
	struct conf_key fixed[N(keys)];
	void *ctx = talloc_new(NULL);
	struct test_conf none, a, b;
	char *err;
	(void)state;
	memcpy(fixed, keys, sizeof keys);
	for (size_t i = 0; i < N(fixed); i++)
		if (fixed[i].type == CONF_GROUP)
			fixed[i].reload = false;
	assert_true(load(ctx, "", &none, &err));
	assert_true(load(ctx, "class a { }", &a, &err));
	assert_true(load(ctx, "class b { }", &b, &err));
	assert_true(conf_may_reload(ctx, fixed, N(fixed), &a, &a, &err));
	assert_false(conf_may_reload(ctx, fixed, N(fixed), &none, &a, &err));
	assert_false(conf_may_reload(ctx, fixed, N(fixed), &a, &none, &err));
	assert_false(conf_may_reload(ctx, fixed, N(fixed), &a, &b, &err));
	assert_non_null(strstr(err, "class a cannot change"));
	talloc_free(ctx);
}

/* Everything hangs under ctx: what a load takes, it gives back. */
static void test_ownership(void **state)
{
	void *ctx = talloc_new(NULL);
	struct test_conf c;
	char *err;
	(void)state;
	assert_true(load(ctx, "nfq { list = {a, b} host = h }", &c, &err));
	assert_ptr_equal(talloc_parent(c.host), ctx);
	assert_ptr_equal(talloc_parent(c.list.items), ctx);
	assert_null(c.list.items[c.list.n]);
	assert_false(load(ctx, "nfq { port = x }", &c, &err));
	assert_ptr_equal(talloc_parent(err), ctx);
	talloc_free(ctx);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[128];
	(void)state;
	(void)snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),	 cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_unreadable),	 cmocka_unit_test(test_include),
	    cmocka_unit_test(test_dump),	 cmocka_unit_test(test_reload),
	    cmocka_unit_test(test_ownership),	 cmocka_unit_test(test_groups),
	    cmocka_unit_test(test_reload_fixed),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
