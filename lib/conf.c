/*
 * conf - see conf.h.
 *
 * A file is read whole, cleaned by conf_scan, and parsed by libconfuse with every key as text; the
 * values are then read by the rows of the table.
 *
 * An included file is parsed by itself, and its keys laid over those of the file that includes it.
 *
 * Trusted with: a file that root wrote. Diagnostics: one text, "FILE:LINE: what is wrong and what
 * to do". Known gaps: not for two threads at once (libconfuse is global).
 */
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <confuse.h>
#include <talloc.h>

#include "lib/conf.h"
#include "lib/conf_scan.h"
#include "lib/conf_value.h"
#include "lib/log.h"
#include "lib/proc.h"

#define MAX_FILE    (1u << 20)
#define MAX_INCLUDE 8

const char *const conf_sections[] = {
    "common", "kernel-rules", "nfq",	    "notice", "msa",
    "milter", "ratelimit",    "detector",   "accounting", "webui",  NULL,
};
const char *const conf_groups[] = {"class", "pool",	     "route", "realm",
				   "limit", "account-class", "alert", NULL};
#define N_SECTIONS (sizeof conf_sections / sizeof *conf_sections - 1)
#define N_GROUPS   (sizeof conf_groups / sizeof *conf_groups - 1)

/* The text of one key as some file set it. */
struct setting {
	const char *file; /* NULL: not set */
	int line;
	struct conf_list text; /* one item unless it is a list */
};

/* One group, of all files read so far. */
struct group {
	const char *kind, *title;
	struct setting *set; /* of every row, though only the kind's are used */
	struct group *next;
};

struct include {
	const char *path;
	int line;
	struct include *next;
};

/* One file while libconfuse works on it. */
struct parse {
	void *pool; /* everything of this load */
	const char *file;
	const struct conf_key *keys;
	size_t n;
	struct setting *set; /* n of them, this file's own */
	struct group *groups, **last_group;
	const cfg_t *top;
	struct include *includes, **last;
	char *err;	 /* the first one */
	bool unreadable; /* the file itself could not be read */
};

static struct parse *current; /* libconfuse's callbacks carry no pointer of ours */

static void fail(struct parse *p, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void fail(struct parse *p, int line, const char *fmt, ...)
{
	va_list ap;
	if (p->err)
		return;
	va_start(ap, fmt);
	char *why = talloc_vasprintf(p->pool, fmt, ap);
	va_end(ap);
	p->err = line ? talloc_asprintf(p->pool, "%s:%d: %s", p->file, line, why)
		      : talloc_asprintf(p->pool, "%s: %s", p->file, why);
}

/* --- names
 * ---------------------------------------------------------------------------------------- */

/*
 * Edits needed to make one word of the other (Levenshtein); words above 31 characters count as far.
 */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t n = strlen(b);
	if (n > 31 || strlen(a) > 31)
		return 99;
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 0; a[i]; i++) {
		unsigned diag = row[0];
		row[0] = (unsigned)i + 1;
		for (size_t j = 0; j < n; j++) {
			unsigned best = diag + (a[i] != b[j]);
			diag = row[j + 1];
			best = diag + 1 < best ? diag + 1 : best;
			row[j + 1] = row[j] + 1 < best ? row[j] + 1 : best;
		}
	}
	return row[n];
}

/* The key of that section that was probably meant, or NULL. */
static const char *nearest(const struct parse *p, const char *section, const char *name)
{
	const char *best = NULL;
	unsigned least = 1 + (unsigned)strlen(name) / 3;
	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->keys[i].section, section) != 0)
			continue;
		unsigned d = distance(name, p->keys[i].name);
		if (d <= least) {
			least = d;
			best = p->keys[i].name;
		}
	}
	return best;
}

static bool listed(const char *const *names, const char *name)
{
	for (; *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

static bool known_section(const char *name)
{
	return listed(conf_sections, name) || listed(conf_groups, name);
}

static void unknown_name(struct parse *p, const cfg_t *cfg, const char *name)
{
	char shown[128];
	log_escape(name, strlen(name), shown, sizeof shown);
	if (!known_section(cfg->name)) {
		fail(p, cfg->line,
		     "unknown section '%s'; known are common, kernel-rules, nfq, msa, ratelimit, detector, "
		     "accounting, webui, class NAME, pool NAME, limit NAME, account-class NAME, and include(\"FILE\")",
		     shown);
		return;
	}
	const char *meant = nearest(p, cfg->name, name);
	fail(p, cfg->line, "unknown key '%s' in section %s%s%s%s", shown, cfg->name,
	     meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
}

/* --- libconfuse
 * --------------------------------------------------------------------------------------- */

/* Does the program itself have keys there? If not, the section's keys are not checked. */
static bool is_own(const struct parse *p, const char *section)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->keys[i].peek && strcmp(p->keys[i].section, section) == 0)
			return true;
	return false;
}

static void on_error(cfg_t *cfg, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	if (strncmp(fmt, "no such option", 14) == 0) {
		/* libconfuse makes a group when it meets it: this is the first occasion to tell it
		 * that the rest of one of another program is not to be checked. */
		if (listed(conf_groups, cfg->name) && !is_own(current, cfg->name)) {
			cfg->flags |= CFGF_IGNORE_UNKNOWN;
			return;
		}
		unknown_name(current, cfg, va_arg(ap, const char *));
		return;
	}
	char *why = talloc_vasprintf(current->pool, fmt, ap);
	fail(current, cfg->line, "%s", why ? why : "out of memory");
}

static int on_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	struct parse *p = current;
	const char *slash = strrchr(p->file, '/');
	(void)opt;
	if (argc != 1 || !*argv[0]) {
		fail(p, cfg->line, "include takes one file name: include(\"site.conf\")");
		return 1;
	}
	struct include *i = talloc_zero(p->pool, struct include);
	if (argv[0][0] == '/' || !slash)
		i->path = talloc_strdup(i, argv[0]);
	else
		i->path = talloc_asprintf(i, "%.*s/%s", (int)(slash - p->file), p->file, argv[0]);
	i->line = cfg->line;
	*p->last = i;
	p->last = &i->next;
	return 0;
}

static size_t row_of(const struct parse *p, const char *section, const char *name)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->keys[i].section, section) == 0 && strcmp(p->keys[i].name, name) == 0)
			return i;
	return p->n;
}

static bool title_valid(const char *t)
{
	size_t len = strlen(t);
	return len > 0 && len <= CONF_TITLE_MAX &&
	       strspn(t, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

/* The group of that kind and title; made when it is new. */
static struct group *group_of(struct parse *p, const char *kind, const char *title)
{
	struct group *g = p->groups;
	while (g && (strcmp(g->kind, kind) != 0 || strcmp(g->title, title) != 0))
		g = g->next;
	if (g)
		return g;
	g = talloc_zero(p->pool, struct group);
	g->kind = talloc_strdup(g, kind);
	g->title = talloc_strdup(g, title);
	g->set = talloc_zero_array(g, struct setting, (unsigned)p->n);
	*p->last_group = g;
	p->last_group = &g->next;
	return g;
}

/* The same of what is being parsed; NULL when its name is not valid. */
static struct group *group_here(struct parse *p, const cfg_t *section)
{
	char shown[64];
	if (title_valid(section->title))
		return group_of(p, section->name, section->title);
	log_escape(section->title, strlen(section->title), shown, sizeof shown);
	/* The top's line is still that of the group's beginning, unless the group is empty. */
	fail(p, p->top->line, "%s \"%s\": a name is 1 to %d of a-z, 0-9 and -", section->name,
	     shown, CONF_TITLE_MAX);
	return NULL;
}

/* At a group's end; it may be empty, and is one all the same. */
static int on_group(cfg_t *cfg, cfg_opt_t *opt)
{
	(void)cfg;
	return group_here(current, opt->values[opt->nvalues - 1]->section) ? 0 : 1;
}

/* Called for each value, once an item for lists; opt->nvalues already counts this one. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct parse *p = current;
	size_t i = row_of(p, cfg->name, opt->name);
	if (i == p->n) { /* "section|key" at the top, which libconfuse would take */
		fail(p, cfg->line, "a key stands inside its section");
		return 1;
	}
	struct group *g = cfg->title ? group_here(p, cfg) : NULL;
	if (cfg->title && !g)
		return 1;
	struct setting *s = g ? &g->set[i] : &p->set[i];
	if (s->file && opt->nvalues <= 1) {
		fail(p, cfg->line, "%s is set twice in this file, first in line %d", opt->name,
		     s->line);
		return 1;
	}
	if (!s->file) {
		s->file = p->file;
		s->line = cfg->line;
	}
	s->text.items = talloc_realloc(p->pool, s->text.items, char *, (unsigned)s->text.n + 1);
	s->text.items[s->text.n++] = talloc_strdup(p->pool, value);
	*(const char **)result = value;
	return 0;
}

/* The options of one section, ended by CFG_END. */
static cfg_opt_t *section_opts(struct parse *p, const char *section)
{
	cfg_opt_t *opts = talloc_zero_array(p->pool, cfg_opt_t, (unsigned)p->n + 1);
	size_t k = 0;
	for (size_t i = 0; i < p->n; i++)
		if (p->keys[i].type != CONF_GROUP && strcmp(p->keys[i].section, section) == 0)
			opts[k++] = (cfg_opt_t){
			    .name = p->keys[i].name,
			    .type = CFGT_STR,
			    .flags = CFGF_NODEFAULT |
				     (p->keys[i].type == CONF_LIST ? CFGF_LIST : CFGF_NONE),
			    .parsecb = on_value,
			};
	return opts;
}

/* Everything that may stand at the top of a file. */
static cfg_opt_t *top_opts(struct parse *p)
{
	cfg_opt_t *top = talloc_zero_array(p->pool, cfg_opt_t, N_SECTIONS + N_GROUPS + 2), *o = top;
	for (size_t i = 0; i < N_SECTIONS; i++)
		*o++ = (cfg_opt_t){.name = conf_sections[i],
				   .type = CFGT_SEC,
				   .subopts = section_opts(p, conf_sections[i])};
	for (size_t i = 0; i < N_GROUPS; i++)
		*o++ = (cfg_opt_t){
		    .name = conf_groups[i],
		    .type = CFGT_SEC,
		    .flags = CFGF_MULTI | CFGF_TITLE,
		    .subopts = section_opts(p, conf_groups[i]),
		    .validcb = conf_group_row(p->keys, p->n, conf_groups[i]) ? on_group : NULL};
	*o = (cfg_opt_t){.name = "include", .type = CFGT_FUNC, .func = on_include};
	return top;
}

static cfg_t *make_cfg(struct parse *p)
{
	cfg_t *cfg = cfg_init(top_opts(p), CFGF_NONE);
	if (!cfg)
		return NULL;
	(void)setlocale(
	    LC_ALL, "C"); /* cfg_init() takes the environment's; our texts and numbers stay ours */
	(void)cfg_set_error_function(cfg, on_error);
	for (size_t i = 0; i < N_SECTIONS; i++)
		if (!is_own(p, conf_sections[i]))
			cfg_getsec(cfg, conf_sections[i])->flags |= CFGF_IGNORE_UNKNOWN;
	return cfg;
}

static void parse_text(struct parse *p, const char *text)
{
	cfg_t *cfg = make_cfg(p);
	if (!cfg) {
		fail(p, 0, "out of memory");
		return;
	}
	current = p;
	p->top = cfg;
	if (*text && cfg_parse_buf(cfg, text) != CFG_SUCCESS)
		fail(p, cfg->line, "syntax error");
	current = NULL;
	p->top = NULL;
	(void)cfg_free(cfg);
}

/* --- files
 * ---------------------------------------------------------------------------------------------- */

static bool load_file(struct parse *out, int depth, const char *file);

static void lay_over(struct setting *under, const struct setting *over, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (over[k].file)
			under[k] = over[k];
}

/* Each included file over what is there; a later one over an earlier. */
static bool load_includes(struct parse *p, int depth)
{
	for (const struct include *i = p->includes; i; i = i->next) {
		if (depth >= MAX_INCLUDE) {
			fail(p, i->line, "files include each other more than %d deep", MAX_INCLUDE);
			return false;
		}
		struct parse sub = {.pool = p->pool, .keys = p->keys, .n = p->n};
		if (!load_file(&sub, depth + 1, i->path)) {
			if (sub.unreadable)
				fail(p, i->line, "cannot include %s", sub.err);
			p->err = p->err ? p->err : sub.err;
			return false;
		}
		lay_over(p->set, sub.set, p->n);
		for (const struct group *g = sub.groups; g; g = g->next)
			lay_over(group_of(p, g->kind, g->title)->set, g->set, p->n);
	}
	return true;
}

/* Fills out->set. */
static bool load_file(struct parse *out, int depth, const char *file)
{
	const char *why = NULL;
	int line = 0;
	size_t len = 0;
	out->file = talloc_strdup(out->pool, file);
	out->last = &out->includes;
	out->last_group = &out->groups;
	out->set = talloc_zero_array(out->pool, struct setting, (unsigned)out->n);
	char *text = proc_read_file(file, MAX_FILE, &len);
	if (!text) {
		fail(out, 0, "%s", strerror(errno));
		out->unreadable = true;
		return false;
	}
	char *clean = conf_scan(out->pool, text, len, &why, &line);
	free(text);
	if (clean)
		parse_text(out, clean);
	else
		fail(out, line, "%s", why);
	return !out->err && load_includes(out, depth);
}

/* --- filling the program's struct
 * --------------------------------------------------------------------------- */

static void fill_default(void *ctx, void *pool, const struct conf_key *k, void *out)
{
	const char *d = k->dflt ? k->dflt : "";
	if (k->type == CONF_LIST) {
		struct conf_list l = conf_split_blanks(pool, d);
		conf_read_list(ctx, &l, conf_field(k, out));
		return;
	}
	char *why = conf_read_value(ctx, k, d, conf_field(k, out));
	if (why)
		bug("conf: the default of %s.%s %s", k->section, k->name, why);
}

/* One key into the struct that holds it. */
static bool fill_key(void *ctx, struct parse *p, const struct conf_key *k, const struct setting *s,
		     void *out)
{
	if (!s->file) {
		fill_default(ctx, p->pool, k, out);
		return true;
	}
	if (k->type == CONF_LIST) {
		conf_read_list(ctx, &s->text, conf_field(k, out));
		return true;
	}
	char *why = conf_read_value(ctx, k, s->text.items[0], conf_field(k, out));
	if (!why)
		return true;
	p->file = s->file;
	fail(p, s->line, "%s %s", k->name, why);
	talloc_free(why);
	return false;
}

static bool fill_group(void *ctx, struct parse *p, const struct group *g, void *item)
{
	*(char **)item = talloc_strdup(ctx, g->title);
	for (size_t i = 0; i < p->n; i++)
		if (p->keys[i].type != CONF_GROUP && strcmp(p->keys[i].section, g->kind) == 0 &&
		    !fill_key(ctx, p, &p->keys[i], &g->set[i], item))
			return false;
	return true;
}

static bool fill_groups(void *ctx, struct parse *p, const struct conf_key *row,
			struct conf_items *out)
{
	size_t size = (size_t)row->max, n = 0, at = 0;
	for (const struct group *g = p->groups; g; g = g->next)
		n += strcmp(g->kind, row->section) == 0;
	out->items = talloc_zero_size(ctx, (n ? n : 1) * size);
	bug_on(!out->items);
	for (const struct group *g = p->groups; g; g = g->next)
		if (strcmp(g->kind, row->section) == 0 &&
		    !fill_group(ctx, p, g, (char *)out->items + size * at++))
			return false;
	out->n = n;
	return true;
}

static bool fill(void *ctx, struct parse *p, void *out)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct conf_key *k = &p->keys[i];
		if (k->type == CONF_GROUP) {
			if (!fill_groups(ctx, p, k, conf_field(k, out)))
				return false;
		} else if (!conf_group_row(p->keys, p->n, k->section)) {
			if (!fill_key(ctx, p, k, &p->set[i], out))
				return false;
		}
	}
	return true;
}

static void check_table(const struct conf_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!known_section(keys[i].section))
			bug("conf: key %s is in unknown section %s", keys[i].name, keys[i].section);
		if (listed(conf_groups, keys[i].section) !=
		    !!conf_group_row(keys, n, keys[i].section))
			bug("conf: %s and its row of type CONF_GROUP", keys[i].section);
		for (size_t j = 0; j < i; j++)
			if (strcmp(keys[i].name, keys[j].name) == 0 &&
			    strcmp(keys[i].section, keys[j].section) == 0)
				bug("conf: two rows for %s.%s", keys[i].section, keys[i].name);
	}
}

bool conf_load(void *ctx, const char *file, const struct conf_key *keys, size_t n, void *out,
	       char **err)
{
	check_table(keys, n);
	struct parse p = {.pool = talloc_new(NULL), .keys = keys, .n = n};
	bool ok = load_file(&p, 0, file) && fill(ctx, &p, out);
	if (!ok)
		*err = talloc_strdup(ctx, p.err ? p.err : "out of memory");
	talloc_free(p.pool);
	return ok;
}
