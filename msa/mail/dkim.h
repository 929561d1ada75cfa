/*
 * dkim - signs messages (RFC 6376) with the keys of a table.
 *
 * The table (msa.dkim) has one key a line:
 *
 *   DOMAIN SELECTOR KEYFILE [from=TIME] [until=TIME]
 *
 * A key signs from `from` on and until `until`, so that a rotation is two lines written beforehand.
 * Several keys of a domain that are due sign each. KEYFILE is a PEM private key, RSA of 1024 bits
 * at least.
 */
#ifndef MSA_MAIL_DKIM_H
#define MSA_MAIL_DKIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dkim_table;

/*
 * Pure: the text of a table, without the keys themselves. A new struct under ctx; freeing it wipes
 * the keys. NULL: *line and *err (talloc'd under ctx).
 */
struct dkim_table *dkim_table_parse(void *ctx, const char *text, size_t len, int *line, char **err);
size_t dkim_table_size(const struct dkim_table *t);
/* The file of key i. */
const char *dkim_table_file(const struct dkim_table *t, size_t i);
/* Give key i its PEM text and try it. False: *err (talloc'd under t) says why. The caller wipes
 * its copy. */
bool dkim_table_key(struct dkim_table *t, size_t i, const char *pem, size_t len, const char **err);

/* Is there a key due for domain, or a domain above it? Then the d= it signs as, else NULL. */
const char *dkim_table_domain(const struct dkim_table *t, const char *domain, int64_t utc_ms);

/*
 * The signatures of every key of a d= from dkim_table_domain() that is due at utc_ms: complete
 * DKIM-Signature: fields with CRLF, talloc'd under ctx, "" for none. NULL: *err (talloc'd under
 * ctx) says why not. data is the final message: CRLF lines, everything added.
 */
char *dkim_table_sign(void *ctx, const struct dkim_table *t, const char *signer, const char *id,
		      const uint8_t *data, size_t len, int64_t utc_ms, char **err);

#endif
