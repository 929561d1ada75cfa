/*
 * record - see record.h.
 *
 * Purpose: one place where the spool's bytes are made and taken apart. Trusted with: nothing; what
 * it reads may be anything. Diagnostics: bool. Known gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/queue/crc32c.h"
#include "msa/queue/record.h"

#define TEXT_MAX  (64u << 10)
#define RCPTS_MAX 1000000u
/* The least that a recipient takes: four texts of a NUL, two octets. */
#define RCPT_MIN (4 * 5 + 2)

uint64_t record_align(uint64_t n)
{
	return (n + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
}

uint64_t record_size(const struct record *r)
{
	return record_align((uint64_t)RECORD_HEADER + r->head_len) + record_align(r->body_len);
}

void record_seal(uint8_t out[static RECORD_HEADER], const struct record *r, const uint8_t *head)
{
	struct wire_out w;

	wire_out_init(&w, out + 8, RECORD_HEADER - 8);
	wire_u8(&w, (uint8_t)r->type);
	wire_u8(&w, 0);
	wire_u16(&w, 0);
	wire_u32(&w, r->seg);
	wire_u64(&w, r->batch);
	wire_u32(&w, r->head_len);
	wire_u32(&w, r->body_len);
	wire_u32(&w, r->body_crc);
	wire_u32(&w, 0);
	bug_on(w.bad || w.len != RECORD_HEADER - 8);
	uint32_t crc = crc32c(0, out + 8, RECORD_HEADER - 8);
	crc = crc32c(crc, head, r->head_len);
	wire_out_init(&w, out, 8);
	wire_u32(&w, RECORD_MAGIC);
	wire_u32(&w, crc);
}

bool record_parse(const uint8_t in[static RECORD_HEADER], struct record *r)
{
	struct wire_in w;

	wire_in_init(&w, in, RECORD_HEADER);
	if (wire_get_u32(&w) != RECORD_MAGIC)
		return false;
	(void)wire_get_u32(&w);
	uint8_t type = wire_get_u8(&w);
	(void)wire_get_u8(&w);
	(void)wire_get_u16(&w);
	r->type = (enum record_type)type;
	r->seg = wire_get_u32(&w);
	r->batch = wire_get_u64(&w);
	r->head_len = wire_get_u32(&w);
	r->body_len = wire_get_u32(&w);
	r->body_crc = wire_get_u32(&w);
	return type >= REC_START && type < REC_TYPES && r->head_len <= RECORD_HEAD_MAX &&
	       (r->body_len == 0 || type == REC_MESSAGE);
}

bool record_sound(const uint8_t *in, const struct record *r)
{
	struct wire_in w;
	uint32_t crc = crc32c(0, in + 8, RECORD_HEADER - 8);

	wire_in_init(&w, in + 4, 4);
	return crc32c(crc, in + RECORD_HEADER, r->head_len) == wire_get_u32(&w);
}

bool record_find(const uint8_t *data, size_t n, uint32_t seg, uint64_t min_batch, size_t *at,
		 struct record *r)
{
	for (size_t i = (size_t)record_align(*at); i <= n && n - i >= RECORD_HEADER;
	     i += RECORD_ALIGN)
		if (record_parse(data + i, r) && r->seg == seg && r->batch >= min_batch &&
		    r->head_len <= n - i - RECORD_HEADER && record_sound(data + i, r)) {
			*at = i;
			return true;
		}
	return false;
}

/* --- envelopes ----------------------------------------------------------------------------- */

/* With its NUL, so that what is read back is a C string where it lies. */
static void put_text(struct wire_out *w, const char *s)
{
	wire_bytes(w, s ? s : "", s ? strlen(s) + 1 : 1);
}

static const char *get_text(struct wire_in *r)
{
	size_t n;
	const char *s = (const char *)wire_get_bytes(r, TEXT_MAX, &n);

	if (s && n && !memchr(s, '\0', n - 1) && s[n - 1] == '\0')
		return s;
	r->bad = true;
	return "";
}

static size_t text_bound(const char *s)
{
	return 5 + (s ? strlen(s) : 0);
}

size_t envelope_bound(const struct envelope *e)
{
	size_t n = 200 + text_bound(e->account) + text_bound(e->mail_from) +
		   text_bound(e->mail_from_out) + text_bound(e->route) + text_bound(e->last_reply) +
		   text_bound(e->esmtp.envid);

	for (uint32_t i = 0; i < e->n; i++)
		n += 2 + text_bound(e->rcpts[i].address) + text_bound(e->rcpts[i].orcpt) +
		     text_bound(e->rcpts[i].status) + text_bound(e->rcpts[i].reply);
	return n;
}

static void put_facts(struct wire_out *w, const struct envelope *e)
{
	wire_i64(w, e->key);
	wire_i64(w, e->body);
	wire_u32(w, e->origin);
	wire_bytes(w, e->id, QUEUE_ID_LEN);
	wire_u32(w, e->size);
	wire_i64(w, e->received_ms);
	wire_i64(w, e->life_from_ms);
	wire_i64(w, e->next_ms);
	wire_u32(w, e->attempts);
	wire_u8(w, e->hold);
	wire_u8(w, e->esmtp.body);
	wire_u8(w, e->esmtp.ret);
	wire_u8(w, (uint8_t)(e->esmtp.smtputf8 | e->esmtp.requiretls << 1));
	wire_addr(w, &e->src);
	wire_u16(w, e->src_port);
}

size_t envelope_encode(const struct envelope *e, uint8_t *buf, size_t cap)
{
	struct wire_out w;

	wire_out_init(&w, buf, cap);
	put_facts(&w, e);
	put_text(&w, e->account);
	put_text(&w, e->mail_from);
	put_text(&w, e->mail_from_out);
	put_text(&w, e->route);
	put_text(&w, e->last_reply);
	put_text(&w, e->esmtp.envid);
	wire_u32(&w, e->n);
	for (uint32_t i = 0; i < e->n; i++) {
		const struct env_rcpt *t = &e->rcpts[i];
		wire_u8(&w, t->state);
		wire_u8(&w, t->notify);
		put_text(&w, t->address);
		put_text(&w, t->orcpt);
		put_text(&w, t->status);
		put_text(&w, t->reply);
	}
	bug_on(w.bad);
	return w.len;
}

static void get_id(struct wire_in *r, char out[static QUEUE_ID_LEN + 1])
{
	size_t n;
	const uint8_t *p = wire_get_bytes(r, QUEUE_ID_LEN, &n);

	memset(out, 0, QUEUE_ID_LEN + 1);
	if (p && n == QUEUE_ID_LEN && !memchr(p, '\0', n))
		memcpy(out, p, n);
	else
		r->bad = true;
}

static void get_facts(struct wire_in *r, struct envelope *e)
{
	e->key = wire_get_i64(r);
	e->body = wire_get_i64(r);
	e->origin = wire_get_u32(r);
	get_id(r, e->id);
	e->size = wire_get_u32(r);
	e->received_ms = wire_get_i64(r);
	e->life_from_ms = wire_get_i64(r);
	e->next_ms = wire_get_i64(r);
	e->attempts = wire_get_u32(r);
	e->hold = wire_get_u8(r);
	e->esmtp.body = wire_get_u8(r);
	e->esmtp.ret = wire_get_u8(r);
	uint8_t flags = wire_get_u8(r);
	e->esmtp.smtputf8 = flags & 1;
	e->esmtp.requiretls = flags & 2;
	wire_get_addr(r, &e->src);
	e->src_port = wire_get_u16(r);
}

static void get_rcpts(struct wire_in *r, struct envelope *e)
{
	for (uint32_t i = 0; i < e->n && !r->bad; i++) {
		struct env_rcpt *t = &e->rcpts[i];
		t->state = wire_get_u8(r);
		t->notify = wire_get_u8(r);
		t->address = get_text(r);
		t->orcpt = get_text(r);
		t->status = get_text(r);
		t->reply = get_text(r);
		r->bad |= t->state > R_BOUNCED;
	}
}

bool envelope_decode(void *ctx, const uint8_t *buf, size_t len, struct envelope *e)
{
	struct wire_in r;

	*e = (struct envelope){.key = 0};
	wire_in_init(&r, buf, len);
	get_facts(&r, e);
	e->account = get_text(&r);
	e->mail_from = get_text(&r);
	e->mail_from_out = get_text(&r);
	e->route = get_text(&r);
	e->last_reply = get_text(&r);
	e->esmtp.envid = get_text(&r);
	uint32_t n = wire_get_u32(&r);
	if (r.bad || n == 0 || n > RCPTS_MAX || n > (size_t)(r.end - r.p) / RCPT_MIN)
		return false;
	e->rcpts = talloc_zero_array(ctx, struct env_rcpt, n);
	if (!e->rcpts)
		return false;
	e->n = n;
	get_rcpts(&r, e);
	return wire_done(&r);
}

bool envelope_peek(const uint8_t *buf, size_t len, struct envelope_key *k)
{
	struct wire_in r;

	wire_in_init(&r, buf, len);
	k->key = wire_get_i64(&r);
	k->body = wire_get_i64(&r);
	k->origin = wire_get_u32(&r);
	size_t n;
	(void)wire_get_bytes(&r, QUEUE_ID_LEN, &n);
	k->size = wire_get_u32(&r);
	return !r.bad;
}

uint32_t envelope_count(const struct envelope *e, uint8_t state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->n; i++)
		n += e->rcpts[i].state == state;
	return n;
}
