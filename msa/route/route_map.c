/*
 * route_map - the transport map: one line a rule.
 *
 * Purpose: from text to entries of a hash, found by address, domain or suffix. Trusted with:
 * nothing. Diagnostics: static texts; file:line of a file. Known gaps: the whole map is in memory
 * (about 200 bytes a line).
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/mail/path.h"
#include "msa/route/route_int.h"

#define FILE_MAX	(256u << 20)
#define LINE_MAX_OCTETS 1024

static uint64_t hash(const char *s, size_t n)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a: the operator's own keys */

	while (n--)
		h = (h ^ (uint8_t)*s++) * 1099511628211u;
	return h ^ (h >> 32);
}

const struct map_entry *route_map_find(const struct route_table *t, const char *key, size_t len)
{
	const struct map_entry *e = t->hash[hash(key, len) & (t->hash_cap - 1)];

	while (e && (strncmp(e->key, key, len) != 0 || e->key[len] != '\0'))
		e = e->hash_next;
	return e;
}

static void link_entry(struct route_table *t, struct map_entry *e)
{
	struct map_entry **slot = &t->hash[hash(e->key, strlen(e->key)) & (t->hash_cap - 1)];

	e->hash_next = *slot;
	*slot = e;
}

static void grow(struct route_table *t)
{
	talloc_free(t->hash);
	t->hash_cap *= 2;
	t->hash = talloc_zero_array(t, struct map_entry *, (unsigned)t->hash_cap);
	if (!t->hash)
		fatal("out of memory");
	for (size_t i = 0; i < t->n_entries; i++)
		link_entry(t, t->entries[i]);
}

static void add_entry(struct route_table *t, struct map_entry *e)
{
	if (t->n_entries == t->entries_cap) {
		t->entries_cap = t->entries_cap ? t->entries_cap * 2 : 64;
		t->entries =
		    talloc_realloc(t, t->entries, struct map_entry *, (unsigned)t->entries_cap);
		if (!t->entries)
			fatal("out of memory");
	}
	t->entries[t->n_entries++] = e;
	link_entry(t, e);
	if (t->n_entries > t->hash_cap)
		grow(t);
}

/* --- a line ------------------------------------------------------------------------------ */

struct word {
	const char *s;
	size_t n;
};

/* The next word, or everything to the end. */
static struct word next(const char **p, const char *end, bool rest)
{
	struct word w;

	while (*p < end && isblank((unsigned char)**p))
		(*p)++;
	w.s = *p;
	while (*p < end && (rest || !isblank((unsigned char)**p)))
		(*p)++;
	w.n = (size_t)(*p - w.s);
	while (rest && w.n && isspace((unsigned char)w.s[w.n - 1]))
		w.n--;
	return w;
}

static bool is(struct word w, const char *text)
{
	return w.n == strlen(text) && strncasecmp(w.s, text, w.n) == 0;
}

/* An address as the parser of RCPT writes it, a domain in lower case, or a suffix. */
static bool take_key(struct map_entry *e, struct word w, const char **err)
{
	struct path p;
	const char *name = w.s;
	size_t n = w.n;

	if (is(w, "*")) {
		e->key = talloc_strdup(e, "*");
		return true;
	}
	if (memchr(w.s, '@', w.n)) {
		if (!path_parse_mailbox_utf8(w.s, w.n, &p, err))
			return false;
		e->key = talloc_strdup(e, p.text);
		return true;
	}
	if (n > 1 && name[0] == '.') {
		name++;
		n--;
	}
	*err = "neither an address, nor a domain, nor .domain, nor *";
	if (name[0] == '[' || !path_domain_ok(name, n))
		return false;
	e->key = talloc_strndup(e, w.s, w.n);
	for (char *c = e->key; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return true;
}

/* "5.7.1 words", "words" */
static bool take_error(struct map_entry *e, struct word w, const char **err)
{
	struct word rest = w;
	size_t n = 0;

	while (n < w.n && (w.s[n] == '.' || isdigit((unsigned char)w.s[n])))
		n++;

	e->act = ROUTE_ERROR;
	e->status = "5.1.2";
	if (n >= 5 && n < 10 && n < w.n && w.s[0] == '5' && w.s[1] == '.' && w.s[n] == ' ') {
		e->status = talloc_strndup(e, w.s, n);
		rest.s += n + 1;
		rest.n -= n + 1;
	}
	for (size_t i = 0; i < rest.n; i++)
		if (rest.s[i] < 0x20 || rest.s[i] > 0x7e) {
			*err = "the text of error: is printable ASCII";
			return false;
		}
	e->text = talloc_strndup(e, rest.s, rest.n);
	*err = "error: wants a text for the sender";
	return rest.n > 0;
}

static bool take_route_name(const struct route_table *t, struct map_entry *e, struct word w,
			    const char **err)
{
	char name[CONF_TITLE_MAX + 1] = "";

	*err = "no such route";
	if (w.n == 0 || w.n > CONF_TITLE_MAX)
		return false;
	memcpy(name, w.s, w.n);
	e->route = route_find(t, name);
	return e->route != NULL;
}

static bool take_host(struct map_entry *e, struct word w, const char **err)
{
	struct route_host *h = talloc(e, struct route_host);

	if (!h)
		fatal("out of memory");
	if (!route_parse_host(e, w.s, w.n, ROUTE_SMTP_PORT, h, err))
		return false;
	e->host = h->mx ? NULL : h;
	e->domain = h->mx ? h->name : NULL;
	return true;
}

static bool take_target(const struct route_table *t, struct map_entry *e, const char *p,
			const char *end, const char **err)
{
	struct word w = next(&p, end, false);

	e->act = ROUTE_TO;
	if (w.n >= 6 && strncasecmp(w.s, "error:", 6) == 0) {
		p = w.s + 6;
		return take_error(e, next(&p, end, true), err);
	}
	if (is(w, "route")) {
		if (!take_route_name(t, e, next(&p, end, false), err))
			return false;
	} else if (is(w, "discard")) {
		e->act = ROUTE_DISCARD;
	} else if (w.n == 0) {
		*err = "where to? route NAME, HOST[:PORT], mx, mx:DOMAIN, error:TEXT or discard";
		return false;
	} else if (!is(w, "mx") && !take_host(e, w, err)) {
		return false;
	}
	*err = "something after the target";
	return next(&p, end, false).n == 0;
}

bool route_map_line(struct route_table *t, const char *line, size_t len, const char **err)
{
	const char *end = line + len, *p = line;

	*err = "the line is too long, or holds a NUL";
	if (len > LINE_MAX_OCTETS || memchr(line, '\0', len))
		return false;
	while (end > line && isspace((unsigned char)end[-1]))
		end--;
	struct word key = next(&p, end, false);
	if (key.n == 0 || key.s[0] == '#')
		return true;
	struct map_entry *e = talloc_zero(t, struct map_entry);
	if (!e || !(e->line = talloc_strndup(e, line, (size_t)(end - line))))
		fatal("out of memory");
	bool ok = take_key(e, key, err) && take_target(t, e, p, end, err);
	if (ok && !e->key)
		fatal("out of memory");
	if (ok && route_map_find(t, e->key, strlen(e->key))) {
		*err = "this one is in the map already";
		ok = false;
	}
	if (ok)
		add_entry(t, e);
	else
		talloc_free(e);
	return ok;
}

bool route_map_load(struct route_table *t, const char *file, void *ctx, char **err)
{
	size_t len;
	char *text = proc_read_file(file, FILE_MAX, &len);
	const char *why = NULL;
	unsigned n = 0;

	if (!text) {
		*err = talloc_asprintf(ctx, "%s: %s", file, strerror(errno));
		return false;
	}
	for (const char *p = text, *end = text + len; p < end && !why;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t line = (size_t)((nl ? nl : end) - p);
		n++;
		if (route_map_line(t, p, line, &why))
			why = NULL;
		p += line + 1;
	}
	if (why)
		*err = talloc_asprintf(ctx, "%s:%u: %s", file, n, why);
	free(text);
	return !why;
}

size_t route_map_size(const struct route_table *t)
{
	return t->n_entries;
}
