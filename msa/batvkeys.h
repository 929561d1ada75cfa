/*
 * batvkeys - the file with the tag keys, and the questions about tags that come from the command
 * line and the dashboard.
 *
 * The file: one key a line, "NUMBER KEY". NUMBER is one digit; KEY is the secret itself, 16 to 64
 * printable characters, or "hex:" and 16 to 64 bytes in hexadecimal. The last line's key signs; the
 * others still verify. '#' starts a comment line.
 */
#ifndef MSA_BATVKEYS_H
#define MSA_BATVKEYS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/batv.h"

/* Pure: the text of a keys file. False: *line is where, *err why. text is wiped by the caller. */
bool batv_keys_parse(const char *text, size_t len, struct batv_keys *out, int *line,
		     const char **err);

/* Read path; when there is no such file, make one with a random key. False: *err (talloc'd under
 * ctx) says why. */
bool batv_keys_load(void *ctx, const char *path, struct batv_keys *out, char **err);
/* The same for those who only verify: a file that is not there is an error. */
bool batv_keys_read(void *ctx, const char *path, struct batv_keys *out, char **err);
/* Add a random key under the next number, write the file, and sign with it; a key that had that
 * number is gone. */
bool batv_keys_rotate(void *ctx, const char *path, struct batv_keys *keys, char **err);

/*
 * "batv.sign" "batv.verify" "batv.explain" "batv.rotate" as in docs/protocols/control.md. A new
 * reference; *ok false: a string saying why.
 */
json_t *batv_request(const char *path, struct batv_keys *keys, const char *op, const json_t *args,
		     int64_t now_ms, bool *ok);

#endif
