/*
 * status - are the daemons up, and what does each say of itself.
 *
 * What a daemon says is printed member by member, so that a new figure needs no change here.
 * Trusted with: reading. Diagnostics: on stderr. Known gaps: with acctd away the state of the
 * others is unknown, since acctd is asked for it.
 */
#include <string.h>

#include <talloc.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define TIME_FROM                                                                                  \
	100000000000 /* a *_ms value from here on is a point in time, below it a duration */
#define NAME_COLS 20
#define MAX_COLS  100

static const char *const daemons[] = {"acctd", "nfqd", "msad", "ratelimitd"};

static bool ends_in(const char *key, const char *end)
{
	size_t n = strlen(key), m = strlen(end);
	return n >= m && strcmp(key + n - m, end) == 0;
}

/* Texts have no need of the ending that says milliseconds. */
static const char *shown_name(const struct cli *c, const char *key)
{
	const char *name = out_escape(c->pool, key);
	size_t n = strlen(name);
	return ends_in(name, "_ms") ? talloc_strndup(c->pool, name, n - 3) : name;
}

static const char *value_text(const struct cli *c, const char *key, const json_t *v)
{
	enum col_type type = COL_NUM;
	if (ends_in(key, "_ms"))
		type = json_integer_value(v) >= TIME_FROM ? COL_TIME : COL_SPAN;
	else if (ends_in(key, "bytes"))
		type = COL_SIZE;
	return out_value(c, type, v);
}

/* "queues.0", or "feeds.nfqd" for an element that names its program. */
static const char *element_name(const struct cli *c, const char *list, size_t i, const json_t *v)
{
	const char *who = json_string_value(json_object_get(v, "program"));
	if (who)
		return talloc_asprintf(c->pool, "%s.%s", list, out_escape(c->pool, who));
	return talloc_asprintf(c->pool, "%s.%zu", list, i);
}

static bool is_list_of_objects(const json_t *v)
{
	return json_is_object(json_array_get(v, 0));
}

/* --- tab-separated: one value a line, groups by name --- */

static void tsv_members(const struct cli *c, const char *daemon, const char *outer,
			const json_t *obj);

static void tsv_value(const struct cli *c, const char *daemon, const char *name, const char *key,
		      const json_t *v)
{
	size_t i;
	json_t *e;
	if (json_is_object(v))
		tsv_members(c, daemon, name, v);
	else if (is_list_of_objects(v))
		json_array_foreach (v, i, e)
			tsv_members(c, daemon, element_name(c, name, i, e), e);
	else
		fprintf(c->io->out, "%s\t%s\t%s\n", daemon, name, value_text(c, key, v));
}

static void tsv_members(const struct cli *c, const char *daemon, const char *outer,
			const json_t *obj)
{
	const char *key;
	json_t *v;
	json_object_foreach ((json_t *)obj, key, v) {
		const char *name = talloc_asprintf(c->pool, "%s%s%s", outer, *outer ? "." : "",
						   shown_name(c, key));
		tsv_value(c, daemon, name, key, v);
	}
}

/* --- a terminal: one group a line, without its zeros --- */

static void tty_line(const struct cli *c, const char *name, const char *value)
{
	FILE *f = c->io->out;
	int col = fprintf(f, "  %-*s ", NAME_COLS, name);
	for (const char *p = value; *p; p += strspn(p, " ")) {
		int len = (int)strcspn(p, " ");
		if (p != value && col + 1 + len > MAX_COLS)
			col = fprintf(f, "\n%*s", NAME_COLS + 3, "") - 1;
		else if (p != value)
			col += fprintf(f, " ");
		col += fprintf(f, "%.*s", len, p);
		p += len;
	}
	fputc('\n', f);
}

static const char *group_text(const struct cli *c, const json_t *obj)
{
	char *out = talloc_strdup(c->pool, "");
	const char *key;
	json_t *v;
	json_object_foreach ((json_t *)obj, key, v)
		if (!json_is_integer(v) || json_integer_value(v) != 0)
			out = talloc_asprintf_append(out, "%s%s=%s", *out ? " " : "",
						     shown_name(c, key), value_text(c, key, v));
	return *out ? out : "all 0";
}

static void tty_members(const struct cli *c, const json_t *obj)
{
	const char *key;
	json_t *v, *e;
	size_t i;
	json_object_foreach ((json_t *)obj, key, v) {
		const char *name = shown_name(c, key);
		if (json_is_object(v))
			tty_line(c, name, group_text(c, v));
		else if (is_list_of_objects(v))
			json_array_foreach (v, i, e)
				tty_line(c, element_name(c, name, i, e), group_text(c, e));
		else
			tty_line(c, name, value_text(c, key, v));
	}
}

/* --- both --- */

/* process is "up", "away", or why it is not known. */
static void print_daemon(const struct cli *c, const char *name, const json_t *obj,
			 const char *process)
{
	const char *color = !c->io->color ? "" : obj ? "\033[32m" : "\033[31m";
	if (!c->io->out_tty) {
		fprintf(c->io->out, "%s\tprocess\t%s\n", name, process);
		tsv_members(c, name, "", obj);
		return;
	}
	fprintf(c->io->out, "%-*s %s%s%s\n", NAME_COLS + 2, name, color, process,
		c->io->color ? "\033[0m" : "");
	tty_members(c, obj);
}

/* r may be NULL: acctd is away, and with it what the others say. */
static int print(const struct cli *c, const json_t *r)
{
	bool all = true;
	for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++) {
		const json_t *d = json_object_get(r, daemons[i]);
		const char *process = "away";
		d = json_is_object(d) ? d : NULL;
		all &= d != NULL;
		if (d)
			process = "up";
		else if (!r && i > 0)
			process = "unknown: acctd is asked for it";
		if (!c->json)
			print_daemon(c, daemons[i], d, process);
	}
	/* Worse than a daemon that is away. */
	const json_t *enforcing = json_object_get(json_object_get(r, "nfqd"), "enforcing");
	if (json_is_false(enforcing))
		return CLI_NO;
	return all ? EX_OK : EX_UNAVAILABLE;
}

static json_t *nobody(void)
{
	json_t *r = json_object();
	for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++)
		json_object_set_new(r, daemons[i], json_null());
	return r;
}

static int run_status(struct cli *c)
{
	struct control_error e;
	int status = EX_OK;
	if (!ask_conf(c, &status))
		return status;
	json_t *r = ask_control_quiet(c, "status", NULL, &e);
	bool away = !r && strcmp(e.code, "unavailable") == 0;
	if (!r)
		status = ask_failed(c, &e);
	if (r || away) {
		int all = print(c, r);
		status = r ? all : status;
	}
	if (away)
		r = nobody();
	if (r && c->json)
		out_json(c, r);
	json_decref(r);
	return status;
}

static const struct cli_verb verbs[] = {
    {NULL, "", "Show whether each daemon is up, and what it says of itself.",
     "Exit status 1 when nothing is enforced on port 25, else 69 when one of them is away. On a "
     "terminal figures that belong together are on "
     "one line, without those that are 0.",
     NULL, run_status},
};
const struct cli_noun noun_status = {"status", "are the daemons up, and how are they",
				     CLI_VERBS(verbs)};
