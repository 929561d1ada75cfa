/*
 * base64 - octets as text (RFC 4648 4). Pure.
 */
#ifndef MSA_RELAY_BASE64_H
#define MSA_RELAY_BASE64_H

#include <stddef.h>
#include <stdint.h>

#define BASE64_ROOM(n) (((n) + 2) / 3 * 4)

/* n octets to out, which has BASE64_ROOM(n); no NUL is added. Returns how many were written. */
size_t base64_put(const uint8_t *in, size_t n, char *out);

#endif
