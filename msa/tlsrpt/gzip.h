/*
 * gzip - octets as one gzip member (RFC 1952). Pure.
 */
#ifndef MSA_TLSRPT_GZIP_H
#define MSA_TLSRPT_GZIP_H

#include <stddef.h>
#include <stdint.h>

/* talloc'd under ctx; NULL when out of memory. */
uint8_t *gzip_pack(void *ctx, const void *data, size_t n, size_t *len);

#endif
