/*
 * tls_hello - see tls_hello.h.
 *
 * Trusted with: nothing; the bytes are a stranger's. OpenSSL judges them by itself: a hello without
 * a name here may still be one it takes. Diagnostics: the result. Known gaps: an SSLv2 hello has no
 * name. Fuzzed by tests/fuzz/msa/fuzz_tls_hello.c.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accounting/token.h"

#include "msa/tls_hello.h"

#define CLIENT_HELLO 1
#define MANY	     128 /* values of one list; it is on a small stack */
#define DIGITS	     12
#define LIST_TEXT    (3 * MANY * 5 + 8)

enum extension {
	EXT_SERVER_NAME = 0,
	EXT_GROUPS = 10,
	EXT_SIGALGS = 13,
	EXT_ALPN = 16,
	EXT_PADDING = 21,
	EXT_TICKET = 35,
	EXT_PRE_SHARED_KEY = 41,
	EXT_EARLY_DATA = 42,
	EXT_VERSIONS = 43,
	EXT_COOKIE = 44,
	EXT_PSK_MODES = 45,
	EXT_ENCRYPTED_HELLO = 0xfe0d, /* comes with what the DNS says */
};

#define FALLBACK 0x5600 /* RFC 7507: a second try */

struct view {
	const uint8_t *p;
	size_t n;
};

struct list {
	uint16_t v[MANY];
	size_t n;
};

struct hello {
	uint16_t version;
	struct list ciphers, exts, sigalgs, groups;
	char alpn[3];
};

/* --- bytes --- */

static bool take(struct view *in, size_t n, struct view *out)
{
	if (in->n < n)
		return false;
	*out = (struct view){in->p, n};
	in->p += n;
	in->n -= n;
	return true;
}

static bool number(struct view *in, size_t bytes, uint32_t *out)
{
	struct view v;

	*out = 0;
	if (!take(in, bytes, &v))
		return false;
	for (size_t i = 0; i < bytes; i++)
		*out = *out << 8 | v.p[i];
	return true;
}

/* What a length of so many bytes announces. */
static bool vector(struct view *in, size_t bytes, struct view *out)
{
	uint32_t n;

	return number(in, bytes, &n) && take(in, n, out);
}

static bool grease(uint16_t v)
{
	return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff);
}

/* All of in as values of two bytes, but GREASE. */
static bool values(struct view in, struct list *out)
{
	uint32_t v;

	if (in.n == 0 || in.n % 2)
		return false;
	while (number(&in, 2, &v))
		if (!grease((uint16_t)v)) {
			if (out->n == MANY)
				return false;
			out->v[out->n++] = (uint16_t)v;
		}
	return true;
}

/* --- extensions --- */

static bool only_list(struct view body, size_t bytes, struct list *out)
{
	struct view v;

	out->n = 0;
	return vector(&body, bytes, &v) && body.n == 0 && values(v, out);
}

static bool read_versions(struct hello *h, struct view body)
{
	struct list l;

	if (!only_list(body, 1, &l))
		return false;
	h->version = 0;
	for (size_t i = 0; i < l.n; i++)
		if (l.v[i] > h->version)
			h->version = l.v[i];
	return true;
}

static bool read_alpn(struct hello *h, struct view body)
{
	static const char hex[] = "0123456789abcdef";
	struct view names, first, other;

	if (!vector(&body, 2, &names) || body.n || !vector(&names, 1, &first) || first.n == 0)
		return false;
	while (names.n)
		if (!vector(&names, 1, &other) || other.n == 0)
			return false;
	uint8_t a = first.p[0], z = first.p[first.n - 1];
	bool plain = a < 128 && z < 128 && isalnum(a) && isalnum(z);
	h->alpn[0] = plain ? (char)a : hex[a >> 4];
	h->alpn[1] = plain ? (char)z : hex[z & 15];
	return true;
}

static bool comes_and_goes(uint32_t type)
{
	static const uint16_t types[] = {EXT_SERVER_NAME,    EXT_PADDING,	 EXT_TICKET,
					 EXT_PRE_SHARED_KEY, EXT_EARLY_DATA,	 EXT_COOKIE,
					 EXT_PSK_MODES,	     EXT_ENCRYPTED_HELLO};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (types[i] == type)
			return true;
	return grease((uint16_t)type);
}

static bool read_one(struct hello *h, uint32_t type, struct view body)
{
	for (size_t i = 0; i < h->exts.n; i++)
		if (h->exts.v[i] == type)
			return false;
	if (comes_and_goes(type))
		return true;
	if (h->exts.n == MANY)
		return false;
	h->exts.v[h->exts.n++] = (uint16_t)type;
	switch (type) {
	case EXT_GROUPS:
		return only_list(body, 2, &h->groups);
	case EXT_SIGALGS:
		return only_list(body, 2, &h->sigalgs);
	case EXT_VERSIONS:
		return read_versions(h, body);
	case EXT_ALPN:
		return read_alpn(h, body);
	default:
		return true;
	}
}

/* TLS 1.2 and before may leave all of them out. */
static bool read_extensions(struct hello *h, struct view in)
{
	struct view all, body;
	uint32_t type;

	if (in.n == 0)
		return true;
	if (!vector(&in, 2, &all) || in.n)
		return false;
	while (all.n)
		if (!number(&all, 2, &type) || !vector(&all, 2, &body) || !read_one(h, type, body))
			return false;
	return true;
}

/* --- the hello --- */

static void forget_fallback(struct list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->v[i] != FALLBACK)
			l->v[n++] = l->v[i];
	l->n = n;
}

static bool read_hello(struct hello *h, struct view in)
{
	struct view body, random, session, ciphers, compression;
	uint32_t kind, version;

	if (!number(&in, 1, &kind) || kind != CLIENT_HELLO || !vector(&in, 3, &body) || in.n ||
	    !number(&body, 2, &version) || !take(&body, 32, &random) ||
	    !vector(&body, 1, &session) || session.n > 32 || !vector(&body, 2, &ciphers) ||
	    !values(ciphers, &h->ciphers) || !vector(&body, 1, &compression) || compression.n == 0)
		return false;
	h->version = (uint16_t)version;
	forget_fallback(&h->ciphers);
	return read_extensions(h, body);
}

/* --- its name --- */

static int by_value(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void sort(struct list *l)
{
	qsort(l->v, l->n, sizeof(*l->v), by_value);
}

static size_t put_list(char *buf, size_t at, const struct list *l)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < l->n; i++) {
		if (i)
			buf[at++] = ',';
		for (int shift = 12; shift >= 0; shift -= 4)
			buf[at++] = hex[l->v[i] >> shift & 15];
	}
	return at;
}

/* The lists with a '_' between them. */
static void digest(const struct list *const *lists, size_t n, char hex[static SHA256_HEX])
{
	char text[LIST_TEXT];
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (i)
			text[len++] = '_';
		len = put_list(text, len, lists[i]);
	}
	token_sha256((const uint8_t *)text, len, hex);
}

static const char *version_word(uint16_t v)
{
	static const char *const words[] = {"s3", "10", "11", "12", "13"};

	return v >= 0x0300 && v <= 0x0304 ? words[v - 0x0300] : "00";
}

static unsigned at_most_99(size_t n)
{
	return n > 99 ? 99 : (unsigned)n;
}

static void name(struct hello *h, char out[static TLS_HELLO_TEXT])
{
	char a[SHA256_HEX], b[SHA256_HEX];
	const struct list *const rest[] = {&h->exts, &h->sigalgs, &h->groups};
	const struct list *const ciphers = &h->ciphers;

	sort(&h->ciphers);
	sort(&h->exts);
	digest(&ciphers, 1, a);
	digest(rest, 3, b);
	snprintf(out, TLS_HELLO_TEXT, "%s-%02u-%02u-%s-%.*s-%.*s", version_word(h->version),
		 at_most_99(h->ciphers.n), at_most_99(h->exts.n), h->alpn, DIGITS, a, DIGITS, b);
}

bool tls_hello_name(const uint8_t *msg, size_t len, char out[static TLS_HELLO_TEXT])
{
	struct hello h = {.alpn = "00"};

	out[0] = '\0';
	if (len > TLS_HELLO_MAX || !read_hello(&h, (struct view){msg, len}))
		return false;
	name(&h, out);
	return true;
}
