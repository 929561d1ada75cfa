/*
 * handover_wire - see handover_wire.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: both sides are to be of versions that write
 * the same; a datagram of another one is refused, and its message with it (451).
 */
#include <string.h>
#include <talloc.h>

#include "lib/wire.h"

#include "msa/handover_wire.h"
#include "msa/mail/path.h"

#define VERSION	  1
#define TEXT_MAX  4096 /* of one text */
#define RCPT_ROOM (PATH_TEXT_MAX + 1024)

/* --- datagrams ---------------------------------------------------------------------------------
 */

size_t handover_put(const struct handover_datagram *d, uint8_t *buf, size_t cap)
{
	struct wire_out w;

	wire_out_init(&w, buf, cap);
	wire_u8(&w, (uint8_t)d->kind);
	if (d->kind == HANDOVER_SUBMIT || d->kind == HANDOVER_REPLY)
		wire_u32(&w, d->number);
	if (d->kind == HANDOVER_SUBMIT)
		wire_u8(&w, d->hold);
	if (d->kind == HANDOVER_REPLY)
		wire_u8(&w, (uint8_t)d->result);
	if (d->kind == HANDOVER_EVENT)
		wire_bytes(&w, d->record, d->record_len);
	return w.bad ? 0 : w.len;
}

bool handover_get(const uint8_t *data, size_t len, struct handover_datagram *out)
{
	struct wire_in in;
	uint8_t kind, v = 0;

	wire_in_init(&in, data, len);
	kind = wire_get_u8(&in);
	*out = (struct handover_datagram){.kind = (enum handover_kind)kind};
	if (kind < HANDOVER_HELLO || kind > HANDOVER_REPLY)
		return false;
	if (kind == HANDOVER_SUBMIT || kind == HANDOVER_REPLY) {
		out->number = wire_get_u32(&in);
		v = wire_get_u8(&in);
	}
	out->hold = kind == HANDOVER_SUBMIT && v == 1;
	out->result = (enum queue_result)v;
	if (kind == HANDOVER_EVENT)
		out->record = wire_get_bytes(&in, EVENT_MAX_BYTES, &out->record_len);
	return wire_done(&in) && v <= (kind == HANDOVER_SUBMIT ? 1 : QUEUE_ERROR);
}

/* --- messages --- */

static void put_envelope(struct wire_out *w, const struct queue_msg *m)
{
	wire_u8(w, VERSION);
	wire_str(w, m->id);
	wire_str(w, m->account);
	wire_str(w, m->mail_from);
	wire_str(w, m->mail_from_out);
	wire_i64(w, m->received_ms);
	wire_u8(w, m->esmtp.body);
	wire_u8(w, m->esmtp.ret);
	wire_u8(w, (uint8_t)(m->esmtp.smtputf8 | m->esmtp.requiretls << 1));
	wire_str(w, m->esmtp.envid);
	wire_u32(w, m->n_rcpts);
	for (uint32_t i = 0; i < m->n_rcpts; i++) {
		wire_str(w, m->rcpts[i].address);
		wire_u8(w, m->rcpts[i].esmtp.notify);
		wire_str(w, m->rcpts[i].esmtp.orcpt);
	}
}

uint8_t *handover_put_message(void *ctx, const struct queue_msg *m, size_t *len)
{
	size_t cap = (size_t)8 * TEXT_MAX + (size_t)m->n_rcpts * RCPT_ROOM;
	uint8_t *buf = talloc_size(ctx, cap), record[EVENT_MAX_BYTES];
	struct wire_out w, head;
	size_t n = m->event ? event_encode(m->event, record, sizeof(record)) : 0;

	if (!buf)
		return NULL;
	wire_out_init(&w, buf + HANDOVER_HEAD, cap - HANDOVER_HEAD);
	put_envelope(&w, m);
	wire_bytes(&w, record, n);
	wire_out_init(&head, buf, HANDOVER_HEAD);
	wire_u32(&head, (uint32_t)w.len);
	*len = HANDOVER_HEAD + w.len;
	return w.bad ? NULL : buf;
}

static const char *get_text(void *ctx, struct wire_in *in)
{
	char text[TEXT_MAX];

	wire_get_str(in, text, sizeof(text));
	return in->bad ? "" : talloc_strdup(ctx, text);
}

static bool get_id(struct wire_in *in, char id[static QUEUE_ID_LEN + 1])
{
	wire_get_str(in, id, QUEUE_ID_LEN + 1);
	return !in->bad && strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz") == QUEUE_ID_LEN;
}

static bool get_rcpts(void *ctx, struct wire_in *in, struct queue_msg *m)
{
	struct queue_rcpt *r;

	m->n_rcpts = wire_get_u32(in);
	/* Each takes nine octets at the least. */
	if (in->bad || m->n_rcpts == 0 || m->n_rcpts > HANDOVER_RCPTS_MAX ||
	    m->n_rcpts > (size_t)(in->end - in->p) / 9)
		return false;
	m->rcpts = r = talloc_zero_array(ctx, struct queue_rcpt, m->n_rcpts);
	for (uint32_t i = 0; i < m->n_rcpts && !in->bad; i++) {
		r[i].address = get_text(ctx, in);
		r[i].esmtp.notify = wire_get_u8(in);
		r[i].esmtp.orcpt = get_text(ctx, in);
	}
	return !in->bad;
}

static void get_esmtp(void *ctx, struct wire_in *in, struct esmtp_mail *e)
{
	uint8_t flags;

	e->body = wire_get_u8(in);
	e->ret = wire_get_u8(in);
	flags = wire_get_u8(in);
	e->smtputf8 = flags & 1;
	e->requiretls = flags & 2;
	e->envid = get_text(ctx, in);
	in->bad |= e->body > ESMTP_BINARY || e->ret > ESMTP_RET_HDRS || flags > 3;
}

static bool get_event(struct wire_in *in, struct queue_msg *m, struct event *e)
{
	size_t n = 0;
	const uint8_t *record = wire_get_bytes(in, EVENT_MAX_BYTES, &n);

	if (!wire_done(in) || !record)
		return false;
	m->event = n > 0 ? e : NULL;
	return n == 0 || event_decode(record, n, e) == n;
}

bool handover_get_message(void *ctx, const uint8_t *data, size_t len, struct queue_msg *m,
			  struct event *e)
{
	struct wire_in in;
	size_t n = 0;
	const uint8_t *envelope;

	*m = (struct queue_msg){.n_rcpts = 0};
	wire_in_init(&in, data, len);
	envelope = wire_get_bytes(&in, len, &n);
	if (!envelope)
		return false;
	m->data = envelope + n;
	m->len = len - HANDOVER_HEAD - n;
	wire_in_init(&in, envelope, n);
	if (wire_get_u8(&in) != VERSION || !get_id(&in, m->id))
		return false;
	m->account = get_text(ctx, &in);
	m->mail_from = get_text(ctx, &in);
	m->mail_from_out = get_text(ctx, &in);
	m->received_ms = wire_get_i64(&in);
	get_esmtp(ctx, &in, &m->esmtp);
	return get_rcpts(ctx, &in, m) && get_event(&in, m, e);
}
