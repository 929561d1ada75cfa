/*
 * conf_value - see conf_value.h.
 *
 * Trusted with: nothing; text in, values out. Diagnostics: what is wrong with a value, in words.
 * Known gaps: none.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/conf_value.h"
#include "lib/proc.h"

static bool read_bool(const char *s, bool *out)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcasecmp(s, words[i]) == 0) {
			*out = i % 2 == 1;
			return true;
		}
	return false;
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

const char *conf_format_value(const struct conf_key *k, int64_t v, char buf[static 32])
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

char *conf_read_value(void *pool, const struct conf_key *k, const char *s, void *field)
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
	case CONF_GROUP:
		bug("conf: %s.%s is not one value", k->section, k->name);
	}
	if ((k->min || k->max) && (v < k->min || v > k->max))
		return talloc_asprintf(pool, "must be from %s to %s",
				       conf_format_value(k, k->min, lo),
				       conf_format_value(k, k->max, hi));
	*(int64_t *)field = v;
	return NULL;
}

void conf_read_list(void *pool, const struct conf_list *text, struct conf_list *out)
{
	out->items = talloc_array(pool, char *, (unsigned)text->n + 1);
	out->n = 0;
	for (size_t i = 0; i < text->n; i++)
		if (*text->items[i])
			out->items[out->n++] = talloc_strdup(out->items, text->items[i]);
	out->items[out->n] = NULL;
}

struct conf_list conf_split_blanks(void *pool, const char *s)
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
