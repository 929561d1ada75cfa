/*
 * wire - bounded writer and reader for binary records, big-endian.
 *
 * Every frame between our processes is written and read with these, so that a length is checked in
 * one place. Both sides keep a sticky `bad` flag: call as many as needed, test once at the end.
 */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

struct wire_out {
	uint8_t *buf;
	size_t cap, len;
	bool bad; /* did not fit */
};

struct wire_in {
	const uint8_t *p, *end;
	bool bad; /* ran out, or a value out of its range */
};

void wire_out_init(struct wire_out *w, void *buf, size_t cap);
void wire_u8(struct wire_out *w, uint8_t v);
void wire_u16(struct wire_out *w, uint16_t v);
void wire_u32(struct wire_out *w, uint32_t v);
void wire_u64(struct wire_out *w, uint64_t v);
void wire_i64(struct wire_out *w, int64_t v);
void wire_addr(struct wire_out *w, const struct addr *a);
/* u32 length and the bytes. */
void wire_bytes(struct wire_out *w, const void *data, size_t len);
/* wire_bytes() of a C string; NULL is written as "". */
void wire_str(struct wire_out *w, const char *s);

void wire_in_init(struct wire_in *r, const void *data, size_t len);
uint8_t wire_get_u8(struct wire_in *r);
uint16_t wire_get_u16(struct wire_in *r);
uint32_t wire_get_u32(struct wire_in *r);
uint64_t wire_get_u64(struct wire_in *r);
int64_t wire_get_i64(struct wire_in *r);
void wire_get_addr(struct wire_in *r, struct addr *a);
/* A view into the input, not a copy; NULL and *len 0 when bad. A length above max is bad. */
const uint8_t *wire_get_bytes(struct wire_in *r, size_t max, size_t *len);
/* Copies into buf (cap bytes with the NUL). A string that does not fit, or that holds a NUL, is
 * bad; buf is then "". */
void wire_get_str(struct wire_in *r, char *buf, size_t cap);
/* True when nothing is bad and every byte was read. */
bool wire_done(const struct wire_in *r);

#endif
