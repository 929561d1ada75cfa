/*
 * dkim - see dkim.h; the only file that calls libopendkim.
 *
 * Relaxed canonicalization of header and body. Signed are the fields of RFC 6376 5.4.1 and those of
 * RFC 9477; the ones a reader sees, and those that decide how the body is read, are oversigned:
 * adding another of them later breaks the signature.
 *
 * Trusted with: the private keys. Diagnostics: results only. Known gaps: signing is done on the
 * caller's thread (an RSA-2048 signature takes about a millisecond); the t= of a signature is
 * libopendkim's own clock; no Ed25519: dkim_free() of libopendkim 2.11.0~beta2 does not free such a
 * key, which is half a kilobyte a message.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <talloc.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <dkim.h>

#include "lib/clock.h"

#include "msa/mail/dkim.h"
#include "msa/mail/lines.h"
#include "msa/mail/path.h"

#define SELECTOR_MAX 63
#define RSA_MIN_BITS 1024

struct row {
	const char *domain, *selector, *file;
	int64_t from_ms, until_ms; /* until 0: for ever */
	char *pem;		   /* NUL-terminated */
};

struct dkim_table {
	struct row *rows; /* of a domain together, in the order of the file */
	size_t n;
	DKIM_LIB *lib;
};

/* --- libopendkim --- */

static const char *const sign_hdrs[] = {"From",
					"Sender",
					"Reply-To",
					"Subject",
					"Date",
					"Message-ID",
					"To",
					"Cc",
					"MIME-Version",
					"Content-Type",
					"In-Reply-To",
					"References",
					"Content-Transfer-Encoding",
					"Content-ID",
					"Content-Description",
					"Resent-Date",
					"Resent-From",
					"Resent-Sender",
					"Resent-To",
					"Resent-Cc",
					"List-Id",
					"List-Help",
					"List-Unsubscribe",
					"List-Unsubscribe-Post",
					"List-Subscribe",
					"List-Post",
					"List-Owner",
					"List-Archive",
					"CFBL-Address",
					"CFBL-Feedback-ID",
					"Resent-Message-ID",
					NULL};
static const char *const oversign_hdrs[] = {
    "From",	    "Sender", "Reply-To",   "Subject",	    "Date",
    "To",	    "Cc",     "Message-ID", "Content-Type", "Content-Transfer-Encoding",
    "MIME-Version", NULL};

static bool open_lib(struct dkim_table *t)
{
	u_int flags = DKIM_LIBFLAGS_NONE;

	t->lib = dkim_init(NULL, NULL);
	return t->lib &&
	       dkim_options(t->lib, DKIM_OP_SETOPT, DKIM_OPTS_FLAGS, &flags, sizeof(flags)) ==
		   DKIM_STAT_OK &&
	       dkim_options(t->lib, DKIM_OP_SETOPT, DKIM_OPTS_SIGNHDRS, (void *)sign_hdrs,
			    sizeof(const char **)) == DKIM_STAT_OK &&
	       dkim_options(t->lib, DKIM_OP_SETOPT, DKIM_OPTS_OVERSIGNHDRS, (void *)oversign_hdrs,
			    sizeof(const char **)) == DKIM_STAT_OK;
}

static int destroy(struct dkim_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i].pem)
			OPENSSL_cleanse(t->rows[i].pem, talloc_get_size(t->rows[i].pem));
	if (t->lib)
		dkim_close(t->lib);
	return 0;
}

/* --- the table --- */

struct reader {
	struct lines l;
	struct dkim_table *t;
};

/* The next word of the line, talloc'd under the table; NULL at its end. */
static char *next(struct reader *r)
{
	struct lines *l = &r->l;
	const char *s;

	while (l->p < l->end && strchr(" \t\r", *l->p))
		l->p++;
	s = l->p;
	while (l->p < l->end && !strchr(" \t\r", *l->p))
		l->p++;
	return l->p > s ? talloc_strndup(r->t, s, (size_t)(l->p - s)) : NULL;
}

static void lower(char *s)
{
	for (; *s; s++)
		*s = (char)tolower((unsigned char)*s);
}

/* Labels with dots between them, as in a host name. */
static bool selector_ok(const char *s)
{
	return strlen(s) <= SELECTOR_MAX && s[0] != '[' && path_domain_ok(s, strlen(s));
}

static bool read_time(struct reader *r, const char *text, const char *key, int64_t *out)
{
	size_t n = strlen(key);
	const char *why;

	if (strncmp(text, key, n) != 0)
		return false;
	if (isdigit((unsigned char)text[n]) && clock_parse(text + n, 0, out, &why) && *out > 0)
		return true;
	lines_wrong(&r->l, "%s: a time such as 2026-12-01T00:00:00Z is expected", text);
	return false;
}

static bool read_row(struct reader *r, char *domain)
{
	struct dkim_table *t = r->t;
	struct row row = {.domain = domain, .selector = next(r)};
	const char *word;

	lower(domain);
	row.file = next(r);
	if (!row.selector || !row.file)
		return lines_wrong(&r->l, "DOMAIN SELECTOR KEYFILE is expected");
	if (domain[0] == '[' || !path_domain_ok(domain, strlen(domain)))
		return lines_wrong(&r->l, "%s is not a domain", domain);
	if (!selector_ok(row.selector))
		return lines_wrong(&r->l, "%s is not a selector", row.selector);
	if (row.file[0] != '/')
		return lines_wrong(&r->l, "%s: the key's path must begin with /", row.file);
	while ((word = next(r)) != NULL)
		if (!read_time(r, word, "from=", &row.from_ms) &&
		    !read_time(r, word, "until=", &row.until_ms))
			return *r->l.err ||
			       lines_wrong(&r->l, "%s: from=TIME and until=TIME may follow the key",
					   word);
	if (row.until_ms && row.until_ms <= row.from_ms)
		return lines_wrong(&r->l, "until= is not after from=");
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].domain, domain) == 0 &&
		    strcasecmp(t->rows[i].selector, row.selector) == 0)
			return lines_wrong(&r->l, "%s has this selector twice", domain);
	t->rows = talloc_realloc(t, t->rows, struct row, t->n + 1);
	t->rows[t->n++] = row;
	return true;
}

static bool read_line(void *arg)
{
	struct reader *r = arg;
	char *word = next(r);

	return !word || word[0] == '#' || (read_row(r, word) && !*r->l.err);
}

struct dkim_table *dkim_table_parse(void *ctx, const char *text, size_t len, int *line, char **err)
{
	struct reader r = {.l = {.line = line, .ctx = ctx, .err = err},
			   .t = talloc_zero(ctx, struct dkim_table)};
	bool ok;

	*err = NULL;
	talloc_set_destructor(r.t, destroy);
	ok = lines_each(&r.l, text, len, read_line, &r);
	if (ok && open_lib(r.t))
		return r.t;
	if (ok)
		lines_wrong(&r.l, "libopendkim does not start");
	talloc_free(r.t);
	return NULL;
}

size_t dkim_table_size(const struct dkim_table *t)
{
	return t->n;
}

const char *dkim_table_file(const struct dkim_table *t, size_t i)
{
	return t->rows[i].file;
}

/* --- keys --- */

static EVP_PKEY *read_pem(const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;

	BIO_free(bio);
	return key;
}

static bool key_ok(const EVP_PKEY *key, const char **err)
{
	int kind = EVP_PKEY_get_base_id(key);

	if (kind == EVP_PKEY_ED25519)
		*err =
		    "Ed25519 keys are not taken: libopendkim loses memory with each such signature";
	else if (kind != EVP_PKEY_RSA)
		*err = "an RSA key is expected";
	else if (EVP_PKEY_get_bits(key) < RSA_MIN_BITS)
		*err = "an RSA key has 1024 bits at least";
	else
		return true;
	return false;
}

static char *sign_one(void *ctx, const struct dkim_table *t, const struct row *row, const char *id,
		      const uint8_t *data, size_t len, char **err);

bool dkim_table_key(struct dkim_table *t, size_t i, const char *pem, size_t len, const char **err)
{
	static const char trial[] = "From: a@b.example\r\n\r\nx\r\n";
	struct row *row = &t->rows[i];
	EVP_PKEY *key = len < INT32_MAX ? read_pem(pem, len) : NULL;
	char *why = NULL, *field;
	bool ok;

	*err = "this is not a private key in PEM without a password";
	ok = key && key_ok(key, err);
	EVP_PKEY_free(key);
	if (!ok)
		return false;
	row->pem = talloc_strndup(t, pem, len);
	field = sign_one(t, t, row, "trial", (const uint8_t *)trial, sizeof(trial) - 1, &why);
	*err = why ? why : "";
	talloc_free(field);
	return field != NULL;
}

/* --- signing --- */

static bool due(const struct row *r, int64_t utc_ms)
{
	return r->pem && r->from_ms <= utc_ms && (r->until_ms == 0 || utc_ms < r->until_ms);
}

const char *dkim_table_domain(const struct dkim_table *t, const char *domain, int64_t utc_ms)
{
	for (const char *d = domain; d; d = strchr(d, '.') ? strchr(d, '.') + 1 : NULL)
		for (size_t i = 0; i < t->n; i++)
			if (strcmp(t->rows[i].domain, d) == 0 && due(&t->rows[i], utc_ms))
				return t->rows[i].domain;
	return NULL;
}

/* The length of the field at the start of s, folded lines and last CRLF included. */
static size_t field_len(const char *s, size_t len)
{
	size_t n = 0;

	do {
		const char *nl = memchr(s + n, '\n', len - n);

		if (!nl)
			return len;
		n = (size_t)(nl - s) + 1;
	} while (n < len && (s[n] == ' ' || s[n] == '\t'));
	return n;
}

static size_t without_crlf(const char *s, size_t n)
{
	if (n > 0 && s[n - 1] == '\n')
		n--;
	return n > 0 && s[n - 1] == '\r' ? n - 1 : n;
}

/* One field. The library takes no tab before the colon, which the relaxed form leaves out anyway.
 */
static DKIM_STAT feed_field(DKIM *d, const char *s, size_t n)
{
	const char *colon = memchr(s, ':', n);
	size_t name = colon ? (size_t)(colon - s) : 0;
	DKIM_STAT st;
	char *copy;

	while (name > 0 && (s[name - 1] == ' ' || s[name - 1] == '\t'))
		name--;
	if (!colon || s + name == colon)
		return dkim_header(d, (u_char *)s, n);
	copy = talloc_asprintf(NULL, "%.*s", (int)name, s);
	copy = talloc_strndup_append(copy, colon, n - (size_t)(colon - s));
	st = dkim_header(d, (u_char *)copy, strlen(copy));
	talloc_free(copy);
	return st;
}

/* What BDAT left without a last CRLF is signed as if it had one (RFC 6376 3.4.4), as it will be
 * read. */
static DKIM_STAT feed_body(DKIM *d, const char *s, size_t n)
{
	static u_char crlf[] = "\r\n";
	DKIM_STAT st = dkim_body(d, (u_char *)s, n);

	if (st == DKIM_STAT_OK && (n < 2 || memcmp(s + n - 2, "\r\n", 2) != 0))
		st = dkim_body(d, crlf, 2);
	return st;
}

static DKIM_STAT feed(DKIM *d, const uint8_t *data, size_t len)
{
	const char *s = (const char *)data, *end = s + len;
	DKIM_STAT st = DKIM_STAT_OK;
	size_t n;

	while (s < end && st == DKIM_STAT_OK && !(end - s >= 2 && memcmp(s, "\r\n", 2) == 0)) {
		n = field_len(s, (size_t)(end - s));
		st = feed_field(d, s, without_crlf(s, n));
		s += n;
	}
	if (st == DKIM_STAT_OK)
		st = dkim_eoh(d);
	if (end - s >= 2)
		s += 2;
	if (st == DKIM_STAT_OK && s < end)
		st = feed_body(d, s, (size_t)(end - s));
	return st == DKIM_STAT_OK ? dkim_eom(d, NULL) : st;
}

static char *field_text(void *ctx, DKIM *d, DKIM_STAT *st)
{
	static const char name[] = "DKIM-Signature: ";
	u_char *value = NULL;
	size_t n = 0;

	*st = dkim_getsighdr_d(d, sizeof(name) - 1, &value, &n);
	return *st == DKIM_STAT_OK
		   ? talloc_asprintf(ctx, "%s%.*s\r\n", name, (int)n, (const char *)value)
		   : NULL;
}

static char *sign_one(void *ctx, const struct dkim_table *t, const struct row *row, const char *id,
		      const uint8_t *data, size_t len, char **err)
{
	DKIM_STAT st = DKIM_STAT_OK;
	DKIM *d = dkim_sign(t->lib, (const u_char *)id, NULL, (u_char *)row->pem,
			    (const u_char *)row->selector, (const u_char *)row->domain,
			    DKIM_CANON_RELAXED, DKIM_CANON_RELAXED, DKIM_SIGN_RSASHA256, -1, &st);
	char *field = NULL;
	const char *why;

	if (d)
		st = feed(d, data, len);
	if (d && st == DKIM_STAT_OK)
		field = field_text(ctx, d, &st);
	if (!field) {
		why = d ? dkim_geterror(d) : NULL;
		*err = talloc_asprintf(ctx, "%s._domainkey.%s: %s", row->selector, row->domain,
				       why && *why ? why : dkim_getresultstr(st));
	}
	if (d)
		dkim_free(d);
	return field;
}

char *dkim_table_sign(void *ctx, const struct dkim_table *t, const char *signer, const char *id,
		      const uint8_t *data, size_t len, int64_t utc_ms, char **err)
{
	char *all = talloc_strdup(ctx, ""), *one;

	for (size_t i = 0; i < t->n; i++) {
		if (strcmp(t->rows[i].domain, signer) != 0 || !due(&t->rows[i], utc_ms))
			continue;
		one = sign_one(ctx, t, &t->rows[i], id, data, len, err);
		if (!one) {
			talloc_free(all);
			return NULL;
		}
		all = talloc_strdup_append(all, one);
		talloc_free(one);
	}
	return all;
}
