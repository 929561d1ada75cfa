/*
 * body - the octets of a message on their way from the spool to a connection: as they are, stuffed,
 * or converted to 7 bit.
 *
 * Purpose: a piece at a time, whatever the size. Trusted with: reading the spool. Diagnostics:
 * none; who asks says what it means that the spool does not give a message. Known gaps: none.
 */
#include <event2/buffer.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "msa/relay/mime_walk.h"
#include "msa/relay/relay_int.h"

#define CHUNK (64u << 10)

void body_rewind(struct part *p)
{
	p->body_off = 0;
	p->dot = (struct dot){.last = 0};
	TALLOC_FREE(p->seven);
}

static bool binary(const struct part *p)
{
	return p->tx.esmtp.body == ESMTP_BINARY;
}

static bool read_piece(struct relay *r, struct part *p, uint8_t raw[static CHUNK], size_t *got)
{
	if (!spool_read_body(r->spool, p->w->k.key, p->body_off, raw, CHUNK, got))
		return false;
	p->body_off += *got;
	return *got > 0 || p->body_off == p->w->env->size;
}

static bool add_stuffed(struct part *p, struct evbuffer *out, const void *data, size_t n)
{
	struct evbuffer_iovec v;

	if (evbuffer_reserve_space(out, (ev_ssize_t)DOT_ROOM(n), &v, 1) != 1)
		return false;
	v.iov_len = dot_stuff(&p->dot, data, n, v.iov_base);
	return evbuffer_commit_space(out, &v, 1) == 0;
}

/* What the converter gives comes in small pieces; they are put together. */
struct gather {
	struct part *p;
	struct evbuffer *out;
	bool ok;
	size_t n;
	uint8_t buf[4096];
};

static void pass_on(struct gather *g)
{
	g->ok = add_stuffed(g->p, g->out, g->buf, g->n) && g->ok;
	g->n = 0;
}

static void gather(const void *data, size_t n, void *arg)
{
	struct gather *g = arg;

	for (const uint8_t *p = data; n;) {
		size_t k = sizeof(g->buf) - g->n < n ? sizeof(g->buf) - g->n : n;
		memcpy(g->buf + g->n, p, k);
		g->n += k;
		p += k;
		n -= k;
		if (g->n == sizeof(g->buf))
			pass_on(g);
	}
}

/* n 0: the end. */
static bool add_converted(struct part *p, struct evbuffer *out, const uint8_t *raw, size_t n)
{
	static struct gather g; /* of whichever part is at it */
	bool same = true;

	g.p = p;
	g.out = out;
	g.ok = true;
	g.n = 0;
	if (!p->seven)
		p->seven = sevenbit_convert(p, binary(p), p->tx.plan, gather, &g);
	if (n)
		sevenbit_feed(p->seven, raw, n);
	else
		same = sevenbit_end(p->seven);
	pass_on(&g);
	return g.ok && same;
}

static bool add_end(struct part *p, struct evbuffer *out)
{
	uint8_t end[DOT_END_MAX];

	return evbuffer_add(out, end, dot_end(&p->dot, end)) == 0;
}

bool body_add(struct relay *r, struct part *p, enum body_as as, struct evbuffer *out, size_t *got)
{
	static uint8_t raw[CHUNK];

	if (!read_piece(r, p, raw, got))
		return false;
	if (as == BODY_AS_IS)
		return evbuffer_add(out, raw, *got) == 0;
	if (as == BODY_CONVERTED ? !add_converted(p, out, raw, *got)
				 : !add_stuffed(p, out, raw, *got))
		return false;
	return *got > 0 || add_end(p, out);
}

bool body_plan(struct relay *r, struct part *p, bool *done)
{
	static uint8_t raw[CHUNK];
	size_t got;

	*done = false;
	if (!read_piece(r, p, raw, &got))
		return false;
	if (!p->seven)
		p->seven = sevenbit_scan(p, binary(p));
	if (got) {
		sevenbit_feed(p->seven, raw, got);
		return true;
	}
	(void)sevenbit_end(p->seven); /* what troubled it is in the plan */
	p->tx.plan = sevenbit_plan(p->seven, p);
	*done = true;
	return true;
}

/* --- what its header asks for ------------------------------------------------------------------
 */

static bool says_no(const char *f, size_t n)
{
	const char *v = memchr(f, ':', n);

	if (!v)
		return false;
	n -= (size_t)(v + 1 - f);
	for (v++; n && strchr(" \t\r\n", *v); v++)
		n--;
	while (n && strchr(" \t\r\n", v[n - 1]))
		n--;
	return n == 2 && strncasecmp(v, "No", 2) == 0;
}

bool header_tls_optional(const char *text, size_t len)
{
	unsigned there = 0, no = 0;

	for (size_t at = 0, n; at < len; at += n) {
		const char *f = text + at;
		n = mime_field_len(f, len - at);
		if (f[0] == '\r' || f[0] == '\n') /* the section's end */
			break;
		if (!mime_field_is(f, n, "TLS-Required"))
			continue;
		there++;
		no += says_no(f, n);
	}
	return there == 1 && no == 1;
}

/* A header section is read to its first CHUNK. */
bool body_tls_optional(struct relay *r, const struct work *w)
{
	static uint8_t raw[CHUNK];
	size_t got;

	return spool_read_body(r->spool, w->k.key, 0, raw, CHUNK, &got) &&
	       header_tls_optional((const char *)raw, got);
}
