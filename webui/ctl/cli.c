/*
 * cli - from words to a verb and its checked options; dispatch.
 *
 * Trusted with: nothing. Diagnostics: usage errors on stderr with what to do, exit status 64.
 * Options may stand anywhere after the verb, the global ones
 * (-c, --json, --help) anywhere; "--" ends them. A word that starts with a minus and a digit is an
 * argument ("-5m" is a time). Known gaps: long options cannot be abbreviated.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "accounting/query.h"
#include "lib/clock.h"
#include "lib/proc.h"

#include "webui/ctl/cli.h"
#include "webui/ctl/complete.h"
#include "webui/ctl/help.h"
#include "webui/ctl/out.h"

#define DEFAULT_CONF "/etc/sekisho/sekisho.conf"

/* --- messages --- */

__attribute__((format(printf, 2, 0))) static void say(const struct cli *c, const char *fmt,
						      va_list ap)
{
	char *text = talloc_vasprintf(c->pool, fmt, ap);
	fprintf(c->io->err, "sekishoctl: %s\n", out_escape(c->pool, text));
}

int cli_fail(const struct cli *c, int status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say(c, fmt, ap);
	va_end(ap);
	return status;
}

void cli_warn(const struct cli *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say(c, fmt, ap);
	va_end(ap);
}

/* --- options --- */

static const struct cli_opt *find_opt(const struct cli_opt *o, const char *name, size_t len)
{
	for (; o && o->name; o++)
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

static const struct cli_opt *global_opt(const char *name)
{
	const struct cli_opt *o = find_opt(help_globals, name, strlen(name));
	bug_on(!o);
	return o;
}

static bool choice_ok(const char *choices, const char *text)
{
	size_t len = strlen(text);
	for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
		if (len > 0 && strcspn(p, "|") == len && memcmp(p, text, len) == 0)
			return true;
	return false;
}

static bool int_ok(const struct cli_opt *o, const char *text, int64_t *out)
{
	char *end;
	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18)
		return false;
	*out = strtoll(text, &end, 10);
	return !*end && *out >= o->min && *out <= o->max;
}

static bool usage(const struct cli *c, int *status, const char *what)
{
	*status = cli_fail(c, EX_USAGE, "%s", what);
	help_hint(c);
	return false;
}

static bool bad_value(const struct cli *c, const struct cli_opt *o, const char *text,
		      const char *why, int *status)
{
	return usage(c, status, talloc_asprintf(c->pool, "--%s %s: %s", o->name, text, why));
}

/* Checks text by the option's type and remembers it. */
static bool take_value(struct cli *c, const struct cli_opt *o, const char *text, int *status)
{
	struct cli_given g = {.opt = o, .text = text};
	const char *err = NULL;
	bool ok = true;
	switch (o->type) {
	case CLI_FLAG:
	case CLI_TEXT:
		break;
	case CLI_TIME:
		ok = clock_parse(text, c->io->now_ms, &g.n, &err);
		break;
	case CLI_END:
		ok = strcmp(text, "never") == 0 || clock_parse(text, c->io->now_ms, &g.n, &err);
		break;
	case CLI_DURATION:
		ok = clock_parse_duration(text, &g.n, &err);
		if (ok && (g.n < o->min || g.n > o->max)) {
			ok = false;
			err = "out of range";
		}
		break;
	case CLI_INT:
		ok = int_ok(o, text, &g.n);
		err = talloc_asprintf(c->pool, "give a whole number from %lld to %lld",
				      (long long)o->min, (long long)o->max);
		break;
	case CLI_CHOICE:
		ok = choice_ok(o->value, text);
		err = talloc_asprintf(c->pool, "give one of %s", o->value);
		break;
	}
	if (!ok)
		return bad_value(c, o, text, err, status);
	c->given[c->n_given++] = g;
	return true;
}

static bool already(const struct cli *c, const struct cli_opt *o)
{
	for (size_t i = 0; i < c->n_given; i++)
		if (c->given[i].opt == o)
			return true;
	return false;
}

static bool unknown_opt(const struct cli *c, const char *word, size_t len, int *status)
{
	char *name = talloc_strndup(c->pool, word, len);
	const char *near = help_near_opt(c, name);
	return usage(c, status,
		     talloc_asprintf(c->pool, "unknown option --%s%s%s%s", name,
				     near ? ": did you mean --" : "", near ? near : "",
				     near ? "?" : ""));
}

/* word is "--name" or "--name=value"; *i is advanced when the value is the next word. */
static bool take_long(struct cli *c, int argc, char **argv, int *i, int *status)
{
	const char *name = argv[*i] + 2;
	size_t len = strcspn(name, "=");
	const struct cli_opt *o = find_opt(c->verb ? c->verb->opts : NULL, name, len);
	if (!o)
		o = find_opt(help_globals, name, len);
	if (!o)
		return unknown_opt(c, name, len, status);
	if (!o->many && already(c, o))
		return usage(c, status, talloc_asprintf(c->pool, "--%s is given twice", o->name));
	if (o->type == CLI_FLAG) {
		if (name[len])
			return usage(c, status,
				     talloc_asprintf(c->pool, "--%s takes no value", o->name));
		return take_value(c, o, "", status);
	}
	if (name[len])
		return take_value(c, o, name + len + 1, status);
	if (*i + 1 >= argc)
		return usage(c, status,
			     talloc_asprintf(c->pool, "--%s needs its %s", o->name, o->value));
	return take_value(c, o, argv[++*i], status);
}

static bool take_short(struct cli *c, int argc, char **argv, int *i, int *status)
{
	const char *w = argv[*i];
	if (strcmp(w, "-h") == 0)
		return take_value(c, global_opt("help"), "", status);
	if (w[1] != 'c')
		return usage(c, status, talloc_asprintf(c->pool, "unknown option %s", w));
	const struct cli_opt *conf = global_opt("config");
	if (already(c, conf))
		return usage(c, status, "-c is given twice");
	if (w[2])
		return take_value(c, conf, w + 2, status);
	if (*i + 1 >= argc)
		return usage(c, status, "-c needs its FILE");
	return take_value(c, conf, argv[++*i], status);
}

/* --- words --- */

static bool take_noun(struct cli *c, const char *word, int *status)
{
	for (size_t i = 0; i < cli_n_nouns; i++)
		if (strcmp(cli_nouns[i]->name, word) == 0) {
			c->noun = cli_nouns[i];
			if (!c->noun->verbs[0].name)
				c->verb = &c->noun->verbs[0];
			return true;
		}
	const char *near = help_near_noun(c, word);
	return usage(c, status,
		     talloc_asprintf(c->pool, "unknown command %s%s%s%s", word,
				     near ? ": did you mean " : "", near ? near : "",
				     near ? "?" : ""));
}

static bool take_verb(struct cli *c, const char *word, int *status)
{
	for (size_t i = 0; i < c->noun->n_verbs; i++)
		if (strcmp(c->noun->verbs[i].name, word) == 0) {
			c->verb = &c->noun->verbs[i];
			return true;
		}
	const char *near = help_near_verb(c, word);
	return usage(c, status,
		     talloc_asprintf(c->pool, "%s has no %s%s%s%s", c->noun->name, word,
				     near ? ": did you mean " : "", near ? near : "",
				     near ? "?" : ""));
}

static bool take_word(struct cli *c, const char *word, int *status)
{
	if (!c->noun)
		return take_noun(c, word, status);
	if (!c->verb)
		return take_verb(c, word, status);
	c->args[c->n_args++] = word;
	return true;
}

/* How many arguments does "IP [PORT] TIME" ask for? */
static void count_args(const char *spec, size_t *min, size_t *max)
{
	*min = *max = 0;
	for (const char *p = spec; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");
		*min += *p != '[';
		*max = memmem(p, len, "...", 3) || *max == SIZE_MAX ? SIZE_MAX : *max + 1;
		p += len;
	}
}

static bool check_args(struct cli *c, int *status)
{
	size_t min, max;
	count_args(c->verb->args, &min, &max);
	if (c->n_args < min)
		return usage(c, status,
			     talloc_asprintf(c->pool, "%s%s%s needs %s", c->noun->name,
					     c->verb->name ? " " : "",
					     c->verb->name ? c->verb->name : "", c->verb->args));
	if (c->n_args > max)
		return usage(c, status,
			     talloc_asprintf(c->pool, "%s is one word too many", c->args[max]));
	return true;
}

static bool is_option(const char *w)
{
	return w[0] == '-' && w[1] && !(w[1] >= '0' && w[1] <= '9');
}

static bool take_all(struct cli *c, int argc, char **argv, int *status)
{
	bool words_only = false;
	for (int i = 1; i < argc; i++) {
		bool ok;
		if (!words_only && strcmp(argv[i], "--") == 0) {
			words_only = true;
			continue;
		}
		if (words_only || !is_option(argv[i]))
			ok = take_word(c, argv[i], status);
		else if (argv[i][1] == '-')
			ok = take_long(c, argc, argv, &i, status);
		else
			ok = take_short(c, argc, argv, &i, status);
		if (!ok)
			return false;
		if (already(c, global_opt("help")))
			break;
	}
	return true;
}

static const struct cli_given *given(const struct cli *c, const struct cli_opt *opts,
				     const char *name)
{
	const struct cli_opt *o = find_opt(opts, name, strlen(name));
	bug_on(!o);
	for (size_t i = 0; i < c->n_given; i++)
		if (c->given[i].opt == o)
			return &c->given[i];
	return NULL;
}

/* What is not UTF-8 could not be put into a request, and must not be dropped silently. */
static bool all_utf8(const struct cli *c, int argc, char **argv, int *status)
{
	for (int i = 1; i < argc; i++) {
		json_t *v = json_string(argv[i]);
		if (!v)
			return usage(c, status,
				     talloc_asprintf(c->pool, "word %d is not UTF-8 text", i));
		json_decref(v);
	}
	return true;
}

bool cli_parse(struct cli *c, int argc, char **argv, int *status)
{
	c->given = talloc_zero_array(c->pool, struct cli_given, (unsigned)argc + 1);
	c->args = talloc_zero_array(c->pool, const char *, (unsigned)argc + 1);
	*status = EX_OK;
	if (!all_utf8(c, argc, argv, status) || !take_all(c, argc, argv, status))
		return false;
	const struct cli_given *conf = given(c, help_globals, "config");
	c->conf_file = conf ? conf->text : DEFAULT_CONF;
	c->json = given(c, help_globals, "json") != NULL;
	if (given(c, help_globals, "help")) {
		help_print(c, c->io->out);
		return false;
	}
	if (given(c, help_globals, "version")) {
		fprintf(c->io->out, "sekishoctl %s\n", SEKISHO_VERSION);
		return false;
	}
	if (!c->verb) {
		help_print(c, c->io->err);
		*status = EX_USAGE;
		return false;
	}
	return check_args(c, status);
}

/* --- what a verb asks for --- */

bool cli_flag(const struct cli *c, const char *name)
{
	return given(c, c->verb->opts, name) != NULL;
}

const char *cli_text(const struct cli *c, const char *name)
{
	const struct cli_given *g = given(c, c->verb->opts, name);
	return g ? g->text : NULL;
}

bool cli_number(const struct cli *c, const char *name, int64_t *out)
{
	const struct cli_given *g = given(c, c->verb->opts, name);
	if (!g || (g->opt->type == CLI_END && g->n == 0))
		return false;
	*out = g->n;
	return true;
}

const char *cli_next(const struct cli *c, const char *name, size_t *at)
{
	const struct cli_opt *o = find_opt(c->verb->opts, name, strlen(name));
	bug_on(!o);
	while (*at < c->n_given) {
		const struct cli_given *g = &c->given[(*at)++];
		if (g->opt == o)
			return g->text;
	}
	return NULL;
}

/* --- the whole run --- */

static int flush_result(const struct cli *c, int status)
{
	/* A full disk or a closed pipe must not look like success. */
	if (fflush(c->io->out) != 0 || ferror(c->io->out))
		return cli_fail(c, EX_IOERR, "cannot write the output");
	return status;
}

int cli_main(int argc, char **argv, const struct cli_io *io)
{
	struct cli c = {.pool = talloc_new(NULL), .io = io};
	int status;
	if (argc > 1 && strcmp(argv[1], "--complete") == 0) {
		complete_print(&c, argc - 2, argv + 2);
		status = EX_OK;
	} else if (cli_parse(&c, argc, argv, &status)) {
		status = c.verb->run(&c);
	}
	status = flush_result(&c, status);
	if (c.query)
		query_close(c.query);
	talloc_free(c.pool);
	return status;
}
