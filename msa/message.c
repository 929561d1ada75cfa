/*
 * message - see message.h.
 *
 * A message that cannot be accepted any more (too large, too much in flight, a bare LF) is read on
 * to its end without being kept.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/simhash.h"
#include "msa/mail/utf8.h"
#include "msa/message.h"

#define FIRST_ROOM (16 << 10)
#define HINT_MAX   (1 << 20)
#define DRAIN_MAX  (INT64_C(64) << 20) /* read for nothing beyond max, at most */

struct message {
	struct dot dot;
	struct crlf crlf; /* for chunks */
	struct header_editor *header;
	struct message_opts o;
	uint8_t *data;
	size_t len, cap;
	int64_t size; /* as the client sent it */
	int64_t wire; /* octets taken, whatever became of them */
	bool lost, no_memory;
};

static void drop(struct message *m)
{
	*m->o.in_flight -= (int64_t)m->cap;
	free(m->data);
	m->data = NULL;
	m->len = m->cap = 0;
	m->lost = true;
}

static int destroy(struct message *m)
{
	drop(m);
	return 0;
}

static bool grow(struct message *m, size_t need)
{
	size_t cap = m->cap ? m->cap : FIRST_ROOM;
	uint8_t *data;

	while (cap < need)
		cap *= 2;
	if (cap == m->cap)
		return true;
	if (*m->o.in_flight + (int64_t)(cap - m->cap) > m->o.max_in_flight)
		return false;
	data = realloc(m->data, cap);
	if (!data)
		return false;
	*m->o.in_flight += (int64_t)(cap - m->cap);
	m->data = data;
	m->cap = cap;
	return true;
}

/* Edited bytes. */
static void keep(const void *data, size_t len, void *arg)
{
	struct message *m = arg;

	if (m->lost || len == 0)
		return;
	if (!grow(m, m->len + len)) {
		m->no_memory = true;
		drop(m);
		return;
	}
	memcpy(m->data + m->len, data, len);
	m->len += len;
}

/* Unstuffed bytes. */
static void unstuffed(const uint8_t *data, size_t len, void *arg)
{
	struct message *m = arg;

	m->size += (int64_t)len;
	if (m->size > m->o.max && !m->lost)
		drop(m);
	if (!m->lost)
		header_feed(m->header, data, len);
}

struct message *message_new(void *ctx, const struct message_opts *o)
{
	struct message *m = talloc_zero(ctx, struct message);
	int64_t hint = o->size_hint < HINT_MAX ? o->size_hint : HINT_MAX;

	m->o = *o;
	talloc_set_destructor(m, destroy);
	dot_init(&m->dot);
	crlf_init(&m->crlf);
	m->crlf.binary = o->binary;
	if (hint > 0 && !grow(m, (size_t)hint + 2048)) {
		m->no_memory = true;
		m->lost = true;
	}
	m->header = header_new(m, &m->o.header, keep, m);
	return m;
}

/* What of it is not ASCII. */
static void look(const struct message *m, struct smtp_data_end *end)
{
	const char *s = (const char *)m->data;
	const char *empty;
	size_t n;

	if (!utf8_any(s, m->len))
		return;
	empty = memmem(s, m->len, "\r\n\r\n", 4);
	n = empty ? (size_t)(empty - s) : m->len;
	end->any_8bit = true;
	end->header_8bit = utf8_any(s, n);
	end->header_utf8 = utf8_valid(s, n);
}

static void state_of(struct message *m, enum dot_fault fault, bool complete,
		     struct smtp_data_end *end)
{
	if (complete && !m->lost && fault == DOT_CLEAN)
		header_end(m->header);
	*end = (struct smtp_data_end){.fault = fault,
				      .size = m->size,
				      .hops = header_hops(m->header),
				      .no_memory = m->no_memory};
	if (!complete || m->lost || fault != DOT_CLEAN)
		return;
	end->from_foreign = m->o.from_owned && header_from(m->header) < HEADER_FROM_MAY;
	look(m, end);
}

bool message_feed(struct message *m, const uint8_t *in, size_t len, size_t *used,
		  struct smtp_data_end *end)
{
	bool done = dot_feed(&m->dot, in, len, used, unstuffed, m);
	bool endless = false;

	m->wire += (int64_t)*used;
	endless = !done && m->wire > m->o.max + DRAIN_MAX;
	if (!done && !endless)
		return false;
	state_of(m, m->dot.fault, done, end);
	end->endless = endless;
	return true;
}

void message_chunk(struct message *m, const uint8_t *in, size_t len)
{
	if (crlf_feed(&m->crlf, in, len))
		unstuffed(in, len, m);
}

void message_chunk_end(struct message *m, bool last, struct smtp_data_end *end)
{
	if (last && crlf_end(&m->crlf) && m->crlf.any && !m->crlf.line_end && !m->o.binary)
		unstuffed((const uint8_t *)"\r\n", 2, m); /* text is lines */
	state_of(m, m->crlf.fault, last, end);
	end->binary = m->o.binary && m->crlf.not_text;
}

const uint8_t *message_data(const struct message *m, size_t *len)
{
	*len = m->len;
	return m->data;
}

uint8_t *message_take(struct message *m, size_t *len)
{
	uint8_t *data = m->data;

	*len = m->len;
	m->data = NULL;
	return data;
}

const struct header_editor *message_header(const struct message *m)
{
	return m->header;
}

bool message_prepend(struct message *m, const char *fields)
{
	size_t n = strlen(fields);

	if (!grow(m, m->len + n))
		return false;
	memmove(m->data + n, m->data, m->len);
	memcpy(m->data, fields, n);
	m->len += n;
	return true;
}

uint64_t message_similarity(const struct message *m)
{
	const char *s = (const char *)m->data, *empty = s ? memmem(s, m->len, "\r\n\r\n", 4) : NULL;
	struct simhash h;

	if (!empty)
		return 0;
	simhash_init(&h);
	simhash_feed(&h, empty + 4, m->len - (size_t)(empty + 4 - s));
	return simhash_end(&h);
}
