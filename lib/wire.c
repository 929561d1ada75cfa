/*
 * wire - see wire.h.
 *
 * Trusted with: nothing; it touches only the buffer it was given.
 * Diagnostics: the sticky `bad` flag. A writer that is bad writes no more, a reader that is bad
 * returns zeros. Known gaps: none.
 */
#include <string.h>

#include "lib/wire.h"

void wire_out_init(struct wire_out *w, void *buf, size_t cap)
{
	*w = (struct wire_out){.buf = buf, .cap = cap};
}

/* Room for n bytes, or NULL and bad. */
static uint8_t *room(struct wire_out *w, size_t n)
{
	if (w->bad || n > w->cap - w->len) {
		w->bad = true;
		return NULL;
	}
	uint8_t *p = w->buf + w->len;
	w->len += n;
	return p;
}

/* The low n bytes of v, the most significant first. */
static void put(struct wire_out *w, uint64_t v, size_t n)
{
	uint8_t *p = room(w, n);
	for (size_t i = 0; p && i < n; i++)
		p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

void wire_u8(struct wire_out *w, uint8_t v)
{
	put(w, v, 1);
}

void wire_u16(struct wire_out *w, uint16_t v)
{
	put(w, v, 2);
}

void wire_u32(struct wire_out *w, uint32_t v)
{
	put(w, v, 4);
}

void wire_u64(struct wire_out *w, uint64_t v)
{
	put(w, v, 8);
}

void wire_i64(struct wire_out *w, int64_t v)
{
	put(w, (uint64_t)v, 8);
}

void wire_addr(struct wire_out *w, const struct addr *a)
{
	uint8_t *p = room(w, sizeof a->b);
	if (p)
		memcpy(p, a->b, sizeof a->b);
}

void wire_bytes(struct wire_out *w, const void *data, size_t len)
{
	if (len > UINT32_MAX) {
		w->bad = true;
		return;
	}
	wire_u32(w, (uint32_t)len);
	uint8_t *p = room(w, len);
	if (p && len)
		memcpy(p, data, len);
}

void wire_str(struct wire_out *w, const char *s)
{
	wire_bytes(w, s, s ? strlen(s) : 0);
}

void wire_in_init(struct wire_in *r, const void *data, size_t len)
{
	static const uint8_t nothing;
	const uint8_t *p = data ? data : &nothing;
	*r = (struct wire_in){.p = p, .end = p + (data ? len : 0)};
}

/* The next n bytes, or NULL and bad. */
static const uint8_t *take(struct wire_in *r, size_t n)
{
	if (r->bad || n > (size_t)(r->end - r->p)) {
		r->bad = true;
		return NULL;
	}
	const uint8_t *p = r->p;
	r->p += n;
	return p;
}

static uint64_t get(struct wire_in *r, size_t n)
{
	const uint8_t *p = take(r, n);
	uint64_t v = 0;
	for (size_t i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

uint8_t wire_get_u8(struct wire_in *r)
{
	return (uint8_t)get(r, 1);
}

uint16_t wire_get_u16(struct wire_in *r)
{
	return (uint16_t)get(r, 2);
}

uint32_t wire_get_u32(struct wire_in *r)
{
	return (uint32_t)get(r, 4);
}

uint64_t wire_get_u64(struct wire_in *r)
{
	return get(r, 8);
}

int64_t wire_get_i64(struct wire_in *r)
{
	return (int64_t)get(r, 8);
}

void wire_get_addr(struct wire_in *r, struct addr *a)
{
	const uint8_t *p = take(r, sizeof a->b);
	memset(a, 0, sizeof *a);
	if (p)
		memcpy(a->b, p, sizeof a->b);
}

const uint8_t *wire_get_bytes(struct wire_in *r, size_t max, size_t *len)
{
	size_t n = wire_get_u32(r);
	const uint8_t *p;
	if (n > max)
		r->bad = true;
	p = take(r, n);
	*len = p ? n : 0;
	return p;
}

void wire_get_str(struct wire_in *r, char *buf, size_t cap)
{
	size_t n = 0;
	const uint8_t *p = NULL;
	if (!cap) {
		r->bad = true;
		return;
	}
	p = wire_get_bytes(r, cap - 1, &n);
	buf[0] = '\0';
	if (!p)
		return;
	if (memchr(p, '\0', n)) {
		r->bad = true;
		return;
	}
	memcpy(buf, p, n);
	buf[n] = '\0';
}

bool wire_done(const struct wire_in *r)
{
	return !r->bad && r->p == r->end;
}
