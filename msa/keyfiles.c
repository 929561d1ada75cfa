/*
 * keyfiles - see keyfiles.h.
 *
 * Trusted with: private keys while they are read; what was read is wiped. Diagnostics: *err, never
 * with a part of a key.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/keyfiles.h"

#define TABLE_MAX (64 << 20)
#define KEY_MAX	  65536
#define HEX_LEN	  ((size_t)2 * TOKEN_KEY)

/* malloc'd; NULL with *err */
static char *read_file(void *ctx, const char *path, size_t max, size_t *len, char **err)
{
	char *text = proc_read_file(path, max, len);

	if (!text)
		*err = talloc_asprintf(ctx, "cannot read %s: %s", path, strerror(errno));
	return text;
}

struct identities *keyfiles_identities(void *ctx, const char *path, char **err)
{
	struct identities *ids;
	size_t len;
	char *text = read_file(ctx, path, TABLE_MAX, &len, err);
	int line;

	if (!text)
		return NULL;
	ids = identities_parse(ctx, text, len, &line, err);
	if (!ids)
		*err = talloc_asprintf(ctx, "%s:%d: %s", path, line, *err);
	free(text);
	return ids;
}

static bool read_key(void *ctx, struct dkim_table *t, size_t i, char **err)
{
	const char *path = dkim_table_file(t, i), *why;
	size_t len;
	char *pem = read_file(ctx, path, KEY_MAX, &len, err);
	bool ok;

	if (!pem)
		return false;
	ok = dkim_table_key(t, i, pem, len, &why);
	if (!ok)
		*err = talloc_asprintf(ctx, "%s: %s", path, why);
	explicit_bzero(pem, len);
	free(pem);
	return ok;
}

struct dkim_table *keyfiles_dkim(void *ctx, const char *path, char **err)
{
	struct dkim_table *t;
	size_t len;
	char *text = read_file(ctx, path, TABLE_MAX, &len, err);
	int line;

	if (!text)
		return NULL;
	t = dkim_table_parse(ctx, text, len, &line, err);
	free(text);
	if (!t) {
		*err = talloc_asprintf(ctx, "%s:%d: %s", path, line, *err);
		return NULL;
	}
	for (size_t i = 0; i < dkim_table_size(t); i++)
		if (!read_key(ctx, t, i, err)) {
			talloc_free(t);
			return NULL;
		}
	return t;
}

/* --- the trace key --- */

static bool from_hex(const char *s, size_t len, struct token_key *out)
{
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		len--;
	if (len != HEX_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		int c = tolower((unsigned char)s[i]);

		if (!isxdigit(c))
			return false;
		out->key[i / 2] =
		    (uint8_t)(out->key[i / 2] << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
	}
	return true;
}

static bool make_token_key(void *ctx, const char *path, struct token_key *out, char **err)
{
	static const char hex[] = "0123456789abcdef";
	char text[HEX_LEN + 1];
	bool ok;

	if (getrandom(out->key, TOKEN_KEY, 0) != TOKEN_KEY)
		fatal_errno("getrandom");
	for (size_t i = 0; i < HEX_LEN; i++)
		text[i] = hex[out->key[i / 2] >> (i % 2 ? 0 : 4) & 15];
	text[HEX_LEN] = '\n';
	ok = proc_write_file(path, text, sizeof(text), 0600);
	if (!ok)
		*err = talloc_asprintf(ctx, "cannot write %s: %s", path, strerror(errno));
	explicit_bzero(text, sizeof(text));
	return ok;
}

bool keyfiles_token(void *ctx, const char *path, struct token_key *out, char **err)
{
	size_t len;
	char *text = proc_read_file(path, KEY_MAX, &len);
	bool ok;

	if (!text && errno == ENOENT)
		return make_token_key(ctx, path, out, err);
	if (!text) {
		*err = talloc_asprintf(ctx, "cannot read %s: %s", path, strerror(errno));
		return false;
	}
	ok = from_hex(text, len, out);
	if (!ok)
		*err = talloc_asprintf(ctx,
				       "%s: 64 hexadecimal digits are expected; remove the file to "
				       "have a key made",
				       path);
	explicit_bzero(text, len);
	free(text);
	return ok;
}
