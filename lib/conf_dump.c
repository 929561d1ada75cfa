/*
 * conf_dump - the dump of a configuration, and what of it may change while a program runs; see
 * conf.h.
 *
 * Trusted with: nothing. Diagnostics: one text from conf_may_reload(). Known gaps: none.
 */
#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "lib/conf.h"
#include "lib/conf_value.h"

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
		(void)fputs(conf_format_value(k, *(const int64_t *)field, buf), f);
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
	case CONF_GROUP:
		break; /* see dump_groups() */
	}
}

static void dump_keys(FILE *f, const struct conf_key *keys, size_t n, const char *section,
		      const void *base)
{
	for (size_t i = 0; i < n; i++) {
		if (keys[i].type == CONF_GROUP || strcmp(keys[i].section, section) != 0)
			continue;
		if (keys[i].doc)
			(void)fprintf(f, "\t# %s\n", keys[i].doc);
		(void)fprintf(f, "\t%s = ", keys[i].name);
		dump_value(f, &keys[i], conf_cfield(&keys[i], base));
		(void)fputc('\n', f);
	}
}

static const char *item_at(const struct conf_key *row, const struct conf_items *l, size_t i)
{
	return (const char *)l->items + (size_t)row->max * i;
}

static const char *title_of(const char *item)
{
	const char *title;
	memcpy(&title, item, sizeof title);
	return title;
}

static void dump_groups(FILE *f, const struct conf_key *keys, size_t n, const struct conf_key *row,
			const struct conf_items *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const char *item = item_at(row, l, i);
		(void)fprintf(f, "%s %s {\n", row->section, title_of(item));
		dump_keys(f, keys, n, row->section, item);
		(void)fputs("}\n", f);
	}
}

static bool has_keys(const struct conf_key *keys, size_t n, const char *section)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(keys[i].section, section) == 0)
			return true;
	return false;
}

void conf_dump(FILE *f, const struct conf_key *keys, size_t n, const void *out)
{
	for (const char *const *s = conf_sections; *s; s++)
		if (has_keys(keys, n, *s)) {
			(void)fprintf(f, "%s {\n", *s);
			dump_keys(f, keys, n, *s, out);
			(void)fputs("}\n", f);
		}
	for (const char *const *s = conf_groups; *s; s++) {
		const struct conf_key *row = conf_group_row(keys, n, *s);
		if (row)
			dump_groups(f, keys, n, row, conf_cfield(row, out));
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
	case CONF_GROUP:
		break; /* see same_groups() */
	}
	return false;
}

static bool refuse(void *ctx, const struct conf_key *k, const char *title, char **err)
{
	*err = talloc_asprintf(ctx, "%s%s%s%s%s cannot change while running; restart to apply it",
			       k->section, title ? " " : "", title ? title : "",
			       *k->name ? "." : "", k->name);
	return false;
}

/* The keys of one section, or of one group that is there before and after. */
static bool keys_may_reload(void *ctx, const struct conf_key *keys, size_t n, const char *section,
			    const void *old, const void *fresh, const char *title, char **err)
{
	for (size_t i = 0; i < n; i++) {
		const struct conf_key *k = &keys[i];
		if (k->type != CONF_GROUP && strcmp(k->section, section) == 0 && !k->reload &&
		    !same_value(k, conf_cfield(k, old), conf_cfield(k, fresh)))
			return refuse(ctx, k, title, err);
	}
	return true;
}

static const char *find_item(const struct conf_key *row, const struct conf_items *l,
			     const char *title)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(title_of(item_at(row, l, i)), title) == 0)
			return item_at(row, l, i);
	return NULL;
}

static bool groups_may_reload(void *ctx, const struct conf_key *keys, size_t n,
			      const struct conf_key *row, const struct conf_items *old,
			      const struct conf_items *fresh, char **err)
{
	if (!row->reload && old->n != fresh->n)
		return refuse(ctx, row, NULL, err);
	for (size_t i = 0; i < old->n; i++) {
		const char *was = item_at(row, old, i), *title = title_of(was);
		const char *is = find_item(row, fresh, title);
		if (!is && !row->reload)
			return refuse(ctx, row, title, err);
		if (is && !keys_may_reload(ctx, keys, n, row->section, was, is, title, err))
			return false;
	}
	return true;
}

bool conf_may_reload(void *ctx, const struct conf_key *keys, size_t n, const void *old,
		     const void *fresh, char **err)
{
	for (const char *const *s = conf_sections; *s; s++)
		if (!keys_may_reload(ctx, keys, n, *s, old, fresh, NULL, err))
			return false;
	for (const char *const *s = conf_groups; *s; s++) {
		const struct conf_key *row = conf_group_row(keys, n, *s);
		if (row && !groups_may_reload(ctx, keys, n, row, conf_cfield(row, old),
					      conf_cfield(row, fresh), err))
			return false;
	}
	return true;
}
