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

#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/conf_scan.h"
#include "lib/log.h"
#include "lib/proc.h"

#define MAX_FILE    (1u << 20)
#define MAX_INCLUDE 8

static const char *const sections[] = {
    "common", "kernel-rules", "nfq", "msa", "ratelimit", "accounting", "webui",
};
#define N_SECTIONS (sizeof sections / sizeof *sections)

/* The text of one key as some file set it. */
struct setting {
	const char *file; /* NULL: not set */
	int line;
	struct conf_list text; /* one item unless it is a list */
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

static bool known_section(const char *name)
{
	for (size_t i = 0; i < N_SECTIONS; i++)
		if (strcmp(name, sections[i]) == 0)
			return true;
	return false;
}

static void unknown_name(struct parse *p, const cfg_t *cfg, const char *name)
{
	char shown[128];
	log_escape(name, strlen(name), shown, sizeof shown);
	if (!known_section(cfg->name)) {
		fail(p, cfg->line,
		     "unknown section '%s'; known are common, kernel-rules, nfq, msa, ratelimit, "
		     "accounting, webui, and include(\"FILE\")",
		     shown);
		return;
	}
	const char *meant = nearest(p, cfg->name, name);
	fail(p, cfg->line, "unknown key '%s' in section %s%s%s%s", shown, cfg->name,
	     meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
}

/* --- libconfuse
 * --------------------------------------------------------------------------------------- */

static void on_error(cfg_t *cfg, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	if (strncmp(fmt, "no such option", 14) == 0) {
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

/* Called for each value, once an item for lists; opt->nvalues already counts this one. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct parse *p = current;
	size_t i = row_of(p, cfg->name, opt->name);
	if (i == p->n) { /* "section|key" at the top, which libconfuse would take */
		fail(p, cfg->line, "a key stands inside its section");
		return 1;
	}
	struct setting *s = &p->set[i];
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
		if (strcmp(p->keys[i].section, section) == 0)
			opts[k++] = (cfg_opt_t){
			    .name = p->keys[i].name,
			    .type = CFGT_STR,
			    .flags = CFGF_NODEFAULT |
				     (p->keys[i].type == CONF_LIST ? CFGF_LIST : CFGF_NONE),
			    .parsecb = on_value,
			};
	return opts;
}

/* Does the program itself have keys there? If not, the section's keys are not checked. */
static bool is_own(const struct parse *p, const char *section)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->keys[i].peek && strcmp(p->keys[i].section, section) == 0)
			return true;
	return false;
}

static cfg_t *make_cfg(struct parse *p)
{
	cfg_opt_t *top = talloc_zero_array(p->pool, cfg_opt_t, N_SECTIONS + 2);
	for (size_t i = 0; i < N_SECTIONS; i++)
		top[i] = (cfg_opt_t){
		    .name = sections[i], .type = CFGT_SEC, .subopts = section_opts(p, sections[i])};
	top[N_SECTIONS] = (cfg_opt_t){.name = "include", .type = CFGT_FUNC, .func = on_include};
	cfg_t *cfg = cfg_init(top, CFGF_NONE);
	if (!cfg)
		return NULL;
	(void)setlocale(
	    LC_ALL, "C"); /* cfg_init() takes the environment's; our texts and numbers stay ours */
	(void)cfg_set_error_function(cfg, on_error);
	for (size_t i = 0; i < N_SECTIONS; i++)
		if (!is_own(p, sections[i]))
			cfg_getsec(cfg, sections[i])->flags |= CFGF_IGNORE_UNKNOWN;
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
	if (*text && cfg_parse_buf(cfg, text) != CFG_SUCCESS)
		fail(p, cfg->line, "syntax error");
	current = NULL;
	(void)cfg_free(cfg);
}

/* --- files
 * ---------------------------------------------------------------------------------------------- */

static bool load_file(struct parse *out, int depth, const char *file);

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
		for (size_t k = 0; k < p->n; k++)
			if (sub.set[k].file)
				p->set[k] = sub.set[k];
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

/* --- values
 * ---------------------------------------------------------------------------------------------- */

static bool read_bool(const char *s, bool *out)
{
	int b = cfg_parse_boolean(s);
	*out = b == 1;
	return b == 0 || b == 1;
}

static bool read_int(const char *s, int64_t *out, const char **rest)
{
	char *end;
	errno = 0;
	if (*s != '-' && (*s < '0' || *s > '9'))
		return false;
	*out = strtoll(s, &end, 10);
	*rest = end;
	return errno == 0 && end != s;
}

/* Bytes, with k, M or G for powers of 1024. */
static bool read_size(const char *s, int64_t *out)
{
	static const char units[] = "kMG";
	const char *rest, *u;
	if (*s == '-' || !read_int(s, out, &rest))
		return false;
	if (!*rest)
		return true;
	u = strchr(units, *rest == 'K' ? 'k' : *rest);
	if (!u || rest[1])
		return false;
	return !__builtin_mul_overflow(*out, INT64_C(1) << (10 * (u - units + 1)), out);
}

/* The index of word in "a|b|c", or -1. */
static int choice_of(const char *choices, const char *word)
{
	size_t len = strlen(word);
	int i = 0;
	for (const char *c = choices;; i++) {
		size_t n = strcspn(c, "|");
		if (n == len && memcmp(c, word, n) == 0)
			return i;
		if (!c[n])
			return -1;
		c += n + 1;
	}
}

static const char *format_value(const struct conf_key *k, int64_t v, char buf[static 32])
{
	static const char units[] = "GMk";
	if (k->type == CONF_DURATION)
		return clock_format_duration(v, buf);
	for (int i = 0; k->type == CONF_SIZE && v && i < 3; i++) {
		int64_t unit = INT64_C(1) << (10 * (3 - i));
		if (v % unit == 0) {
			(void)snprintf(buf, 32, "%" PRId64 "%c", v / unit, units[i]);
			return buf;
		}
	}
	(void)snprintf(buf, 32, "%" PRId64, v);
	return buf;
}

/* NULL when s is a good value of k's type; what is wrong else (talloc'd). Lists are taken apart
 * elsewhere. */
static char *read_value(void *pool, const struct conf_key *k, const char *s, void *field)
{
	const char *why = NULL, *rest = "";
	char lo[32], hi[32];
	int64_t v = 0;
	switch (k->type) {
	case CONF_BOOL:
		if (!read_bool(s, field))
			return talloc_strdup(pool, "is true or false (or yes, no, on, off)");
		return NULL;
	case CONF_PATH:
		if (*s && *s != '/')
			return talloc_strdup(pool, "is a full path, starting with /");
		*(char **)field = talloc_strdup(pool, s);
		return NULL;
	case CONF_STRING:
		*(char **)field = talloc_strdup(pool, s);
		return NULL;
	case CONF_ENUM:
		*(int *)field = choice_of(k->choices, s);
		if (*(int *)field < 0)
			return talloc_asprintf(pool, "is one of %s", k->choices);
		return NULL;
	case CONF_INT:
		if (!read_int(s, &v, &rest) || *rest)
			return talloc_strdup(pool, "is a whole number");
		break;
	case CONF_SIZE:
		if (!read_size(s, &v))
			return talloc_strdup(
			    pool, "is a number of bytes, or one with k, M or G: 64k, 10M");
		break;
	case CONF_DURATION:
		if (!clock_parse_duration(s, &v, &why))
			return talloc_asprintf(pool, "is not a duration: %s", why);
		break;
	case CONF_LIST:
		bug("conf: a list is read by read_list()");
	}
	if ((k->min || k->max) && (v < k->min || v > k->max))
		return talloc_asprintf(pool, "must be from %s to %s", format_value(k, k->min, lo),
				       format_value(k, k->max, hi));
	*(int64_t *)field = v;
	return NULL;
}

/* Empty items count as absent: `{}` comes as one. */
static void read_list(void *pool, const struct conf_list *text, struct conf_list *out)
{
	out->items = talloc_array(pool, char *, (unsigned)text->n + 1);
	out->n = 0;
	for (size_t i = 0; i < text->n; i++)
		if (*text->items[i])
			out->items[out->n++] = talloc_strdup(out->items, text->items[i]);
	out->items[out->n] = NULL;
}

/* "a b c" as a list, for defaults. */
static struct conf_list split_blanks(void *pool, const char *s)
{
	struct conf_list l = {NULL, 0};
	for (s += strspn(s, " "); *s; s += strspn(s, " ")) {
		size_t n = strcspn(s, " ");
		l.items = talloc_realloc(pool, l.items, char *, (unsigned)l.n + 1);
		l.items[l.n++] = talloc_strndup(pool, s, n);
		s += n;
	}
	return l;
}

static void *field_of(const struct conf_key *k, void *out)
{
	return (char *)out + k->offset;
}

static const void *cfield_of(const struct conf_key *k, const void *out)
{
	return (const char *)out + k->offset;
}

static void fill_default(void *ctx, void *pool, const struct conf_key *k, void *out)
{
	const char *d = k->dflt ? k->dflt : "";
	if (k->type == CONF_LIST) {
		struct conf_list l = split_blanks(pool, d);
		read_list(ctx, &l, field_of(k, out));
		return;
	}
	char *why = read_value(ctx, k, d, field_of(k, out));
	if (why)
		bug("conf: the default of %s.%s %s", k->section, k->name, why);
}

static bool fill(void *ctx, struct parse *p, void *out)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct conf_key *k = &p->keys[i];
		const struct setting *s = &p->set[i];
		if (!s->file) {
			fill_default(ctx, p->pool, k, out);
			continue;
		}
		if (k->type == CONF_LIST) {
			read_list(ctx, &s->text, field_of(k, out));
			continue;
		}
		char *why = read_value(ctx, k, s->text.items[0], field_of(k, out));
		if (!why)
			continue;
		p->file = s->file;
		fail(p, s->line, "%s %s", k->name, why);
		talloc_free(why);
		return false;
	}
	return true;
}

static void check_table(const struct conf_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!known_section(keys[i].section))
			bug("conf: key %s is in unknown section %s", keys[i].name, keys[i].section);
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

/* --- the dump, and reloading
 * ------------------------------------------------------------------------------- */

static void dump_string(FILE *f, const char *s)
{
	(void)fputc('"', f);
	for (; s && *s; s++) {
		const char *esc = strchr("\\\"$", *s);
		if (*s == '\n' || *s == '\t')
			(void)fputs(*s == '\n' ? "\\n" : "\\t", f);
		else
			(void)fprintf(f, "%s%c", esc ? "\\" : "", *s);
	}
	(void)fputc('"', f);
}

static void dump_value(FILE *f, const struct conf_key *k, const void *field)
{
	const struct conf_list *l = field;
	const char *c = k->choices;
	char buf[32];
	switch (k->type) {
	case CONF_BOOL:
		(void)fputs(*(const bool *)field ? "true" : "false", f);
		break;
	case CONF_INT:
	case CONF_SIZE:
	case CONF_DURATION:
		(void)fputs(format_value(k, *(const int64_t *)field, buf), f);
		break;
	case CONF_STRING:
	case CONF_PATH:
		dump_string(f, *(char *const *)field);
		break;
	case CONF_ENUM:
		for (int i = 0; i < *(const int *)field && strchr(c, '|'); i++)
			c = strchr(c, '|') + 1;
		(void)fprintf(f, "\"%.*s\"", (int)strcspn(c, "|"), c);
		break;
	case CONF_LIST:
		(void)fputs("{", f);
		for (size_t i = 0; i < l->n; i++) {
			(void)fputs(i ? ", " : "", f);
			dump_string(f, l->items[i]);
		}
		(void)fputs("}", f);
		break;
	}
}

void conf_dump(FILE *f, const struct conf_key *keys, size_t n, const void *out)
{
	for (size_t s = 0; s < N_SECTIONS; s++) {
		bool open = false;
		for (size_t i = 0; i < n; i++) {
			if (strcmp(keys[i].section, sections[s]) != 0)
				continue;
			if (!open)
				(void)fprintf(f, "%s {\n", sections[s]);
			open = true;
			if (keys[i].doc)
				(void)fprintf(f, "\t# %s\n", keys[i].doc);
			(void)fprintf(f, "\t%s = ", keys[i].name);
			dump_value(f, &keys[i], cfield_of(&keys[i], out));
			(void)fputc('\n', f);
		}
		if (open)
			(void)fputs("}\n", f);
	}
}

static bool same_string(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_value(const struct conf_key *k, const void *a, const void *b)
{
	const struct conf_list *x = a, *y = b;
	switch (k->type) {
	case CONF_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case CONF_ENUM:
		return *(const int *)a == *(const int *)b;
	case CONF_INT:
	case CONF_SIZE:
	case CONF_DURATION:
		return *(const int64_t *)a == *(const int64_t *)b;
	case CONF_STRING:
	case CONF_PATH:
		return same_string(*(char *const *)a, *(char *const *)b);
	case CONF_LIST:
		for (size_t i = 0; x->n == y->n && i < x->n; i++)
			if (!same_string(x->items[i], y->items[i]))
				return false;
		return x->n == y->n;
	}
	return false;
}

bool conf_may_reload(void *ctx, const struct conf_key *keys, size_t n, const void *old,
		     const void *fresh, char **err)
{
	for (size_t i = 0; i < n; i++) {
		const struct conf_key *k = &keys[i];
		if (k->reload || same_value(k, cfield_of(k, old), cfield_of(k, fresh)))
			continue;
		*err =
		    talloc_asprintf(ctx, "%s.%s cannot change while running; restart to apply it",
				    k->section, k->name);
		return false;
	}
	return true;
}
