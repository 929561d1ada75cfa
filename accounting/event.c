/*
 * event - the one encode/decode pair of the records daemons send to accounting.
 *
 * A record: u32 length of what follows, u8 kind, i64 t_ms, addr src, u16 src_port, then the fields
 * of its kind in the order of event.h (docs/protocols/feed.md). Pure: bytes in, struct out. The
 * decoder is strict, so that encode(decode(x)) is x for every x it takes.
 *
 * Trusted with: nothing. Known gaps: text is any bytes but NUL; whoever shows it escapes it.
 */
#include "accounting/event.h"

#include <string.h>

#include "lib/proc.h"
#include "lib/wire.h"

/* A text field in its array; without a NUL in it the caller broke the contract. */
#define PUT(w, field) put_text((w), (field), sizeof(field))
#define GET(r, field) wire_get_str((r), (field), sizeof(field))

static void put_text(struct wire_out *w, const char *s, size_t cap)
{
	bug_on(strnlen(s, cap) == cap);
	wire_str(w, s);
}

static void get_bool(struct wire_in *r, bool *out)
{
	uint8_t v = wire_get_u8(r);
	if (v > 1)
		r->bad = true;
	*out = v == 1;
}

static void put_block(struct wire_out *w, const struct event *e)
{
	wire_i64(w, e->u.block.first_ms);
	wire_addr(w, &e->u.block.last_dst);
	wire_u32(w, e->u.block.packets);
	wire_u32(w, e->u.block.dsts);
	if (e->u.block.plen)
		wire_u8(w, e->u.block.plen);
}

static void get_block(struct wire_in *r, struct event *e)
{
	e->u.block.first_ms = wire_get_i64(r);
	wire_get_addr(r, &e->u.block.last_dst);
	e->u.block.packets = wire_get_u32(r);
	e->u.block.dsts = wire_get_u32(r);
	if (wire_done(r))
		return;
	e->u.block.plen = wire_get_u8(r);
	if (e->u.block.plen == 0 || e->u.block.plen > (addr_is4(&e->src) ? 32 : 128))
		r->bad = true;
}

static void put_login(struct wire_out *w, const struct event *e)
{
	PUT(w, e->u.login.account);
	PUT(w, e->u.login.mech);
	PUT(w, e->u.login.session);
	PUT(w, e->u.login.reason);
	wire_u8(w, e->u.login.ok);
	if (e->u.login.tls[0])
		PUT(w, e->u.login.tls);
}

static void get_login(struct wire_in *r, struct event *e)
{
	GET(r, e->u.login.account);
	GET(r, e->u.login.mech);
	GET(r, e->u.login.session);
	GET(r, e->u.login.reason);
	get_bool(r, &e->u.login.ok);
	if (r->bad || wire_done(r)) /* of a msad that did not say more, or of no TLS */
		return;
	GET(r, e->u.login.tls);
	if (!e->u.login.tls[0])
		r->bad = true;
}

static void put_message(struct wire_out *w, const struct event *e)
{
	PUT(w, e->u.message.account);
	PUT(w, e->u.message.session);
	PUT(w, e->u.message.queue_id);
	PUT(w, e->u.message.token);
	PUT(w, e->u.message.mail_from);
	PUT(w, e->u.message.message_id);
	PUT(w, e->u.message.rcpt_domains);
	wire_u32(w, e->u.message.rcpts);
	wire_u64(w, e->u.message.size);
	wire_u8(w, e->u.message.held);
}

static void get_message(struct wire_in *r, struct event *e)
{
	GET(r, e->u.message.account);
	GET(r, e->u.message.session);
	GET(r, e->u.message.queue_id);
	GET(r, e->u.message.token);
	GET(r, e->u.message.mail_from);
	GET(r, e->u.message.message_id);
	GET(r, e->u.message.rcpt_domains);
	e->u.message.rcpts = wire_get_u32(r);
	e->u.message.size = wire_get_u64(r);
	get_bool(r, &e->u.message.held);
}

static void put_delivery(struct wire_out *w, const struct event *e)
{
	PUT(w, e->u.delivery.account);
	PUT(w, e->u.delivery.queue_id);
	PUT(w, e->u.delivery.rcpt);
	PUT(w, e->u.delivery.status);
	PUT(w, e->u.delivery.reply);
	wire_u8(w, (uint8_t)e->u.delivery.result);
	if (!e->u.delivery.answer)
		return;
	wire_u8(w, e->u.delivery.answer);
	PUT(w, e->u.delivery.server);
	PUT(w, e->u.delivery.tls);
	PUT(w, e->u.delivery.cipher);
	PUT(w, e->u.delivery.proof);
}

static void get_delivery(struct wire_in *r, struct event *e)
{
	GET(r, e->u.delivery.account);
	GET(r, e->u.delivery.queue_id);
	GET(r, e->u.delivery.rcpt);
	GET(r, e->u.delivery.status);
	GET(r, e->u.delivery.reply);
	uint8_t v = wire_get_u8(r);
	if (v < EVENT_DELIVERED || v > EVENT_DEFERRED)
		r->bad = true;
	else
		e->u.delivery.result = v;
	if (r->bad || wire_done(r)) /* of a msad that did not say more */
		return;
	e->u.delivery.answer = wire_get_u8(r);
	GET(r, e->u.delivery.server);
	GET(r, e->u.delivery.tls);
	GET(r, e->u.delivery.cipher);
	GET(r, e->u.delivery.proof);
	if (e->u.delivery.answer == 0)
		r->bad = true;
}

static void put_refuse(struct wire_out *w, const struct event *e)
{
	PUT(w, e->u.refuse.account);
	PUT(w, e->u.refuse.session);
	PUT(w, e->u.refuse.status);
	PUT(w, e->u.refuse.reason);
	wire_u32(w, e->u.refuse.rcpts);
}

static void get_refuse(struct wire_in *r, struct event *e)
{
	GET(r, e->u.refuse.account);
	GET(r, e->u.refuse.session);
	GET(r, e->u.refuse.status);
	GET(r, e->u.refuse.reason);
	e->u.refuse.rcpts = wire_get_u32(r);
}

static void put_suspect(struct wire_out *w, const struct event *e)
{
	wire_i64(w, e->u.suspect.first_ms);
	wire_addr(w, &e->u.suspect.last_dst);
	wire_u32(w, e->u.suspect.packets);
	wire_u32(w, e->u.suspect.dsts);
	wire_u32(w, e->u.suspect.nets);
	wire_u8(w, e->u.suspect.plen);
}

static void get_suspect(struct wire_in *r, struct event *e)
{
	e->u.suspect.first_ms = wire_get_i64(r);
	wire_get_addr(r, &e->u.suspect.last_dst);
	e->u.suspect.packets = wire_get_u32(r);
	e->u.suspect.dsts = wire_get_u32(r);
	e->u.suspect.nets = wire_get_u32(r);
	e->u.suspect.plen = wire_get_u8(r);
	if (e->u.suspect.plen > (addr_is4(&e->src) ? 32 : 128))
		r->bad = true;
}

static void put_spray(struct wire_out *w, const struct event *e)
{
	wire_i64(w, e->u.spray.first_ms);
	wire_u32(w, e->u.spray.accounts);
	wire_u8(w, e->u.spray.plen);
}

static void get_spray(struct wire_in *r, struct event *e)
{
	e->u.spray.first_ms = wire_get_i64(r);
	e->u.spray.accounts = wire_get_u32(r);
	e->u.spray.plen = wire_get_u8(r);
	if (e->u.spray.plen > (addr_is4(&e->src) ? 32 : 128))
		r->bad = true;
}

static void put_bounce(struct wire_out *w, const struct event *e)
{
	PUT(w, e->u.bounce.sender);
	PUT(w, e->u.bounce.token);
	PUT(w, e->u.bounce.rcpt);
	PUT(w, e->u.bounce.original);
	PUT(w, e->u.bounce.status);
	PUT(w, e->u.bounce.reply);
	PUT(w, e->u.bounce.mta);
	wire_u8(w, e->u.bounce.result);
	wire_u8(w, e->u.bounce.answer);
}

static void get_bounce(struct wire_in *r, struct event *e)
{
	GET(r, e->u.bounce.sender);
	GET(r, e->u.bounce.token);
	GET(r, e->u.bounce.rcpt);
	GET(r, e->u.bounce.original);
	GET(r, e->u.bounce.status);
	GET(r, e->u.bounce.reply);
	GET(r, e->u.bounce.mta);
	e->u.bounce.result = wire_get_u8(r);
	e->u.bounce.answer = wire_get_u8(r);
	if (e->u.bounce.result != EVENT_BOUNCED && e->u.bounce.result != EVENT_DEFERRED)
		r->bad = true;
}

static const struct codec {
	const char *name;
	void (*put)(struct wire_out *w, const struct event *e);
	void (*get)(struct wire_in *r, struct event *e);
} codecs[] = {
    [EVENT_BLOCK] = {"block", put_block, get_block},
    [EVENT_PASS] = {"pass", put_block, get_block},
    [EVENT_LOGIN] = {"login", put_login, get_login},
    [EVENT_MESSAGE] = {"message", put_message, get_message},
    [EVENT_DELIVERY] = {"delivery", put_delivery, get_delivery},
    [EVENT_REFUSE] = {"refuse", put_refuse, get_refuse},
    [EVENT_SUSPECT] = {"suspect", put_suspect, get_suspect},
    [EVENT_SPRAY] = {"spray", put_spray, get_spray},
    [EVENT_BOUNCE] = {"bounce", put_bounce, get_bounce},
};

static const struct codec *codec_of(unsigned kind)
{
	return kind < sizeof(codecs) / sizeof(codecs[0]) && codecs[kind].name ? &codecs[kind]
									      : NULL;
}

const char *event_kind_name(enum event_kind k)
{
	const struct codec *c = codec_of(k);
	return c ? c->name : "unknown";
}

size_t event_encode(const struct event *e, uint8_t *buf, size_t cap)
{
	const struct codec *c = codec_of(e->kind);
	bug_on(!c);
	struct wire_out w;
	wire_out_init(&w, buf, cap);
	wire_u32(&w, 0); /* the length, known at the end */
	wire_u8(&w, (uint8_t)e->kind);
	wire_i64(&w, e->t_ms);
	wire_addr(&w, &e->src);
	wire_u16(&w, e->src_port);
	c->put(&w, e);
	if (w.bad)
		return 0;
	bug_on(w.len > EVENT_MAX_BYTES);
	struct wire_out head;
	wire_out_init(&head, buf, 4);
	wire_u32(&head, (uint32_t)(w.len - 4));
	return w.len;
}

size_t event_decode(const uint8_t *buf, size_t len, struct event *out)
{
	struct wire_in r;
	size_t body = 0;
	wire_in_init(&r, buf, len);
	const uint8_t *p = wire_get_bytes(&r, EVENT_MAX_BYTES - 4, &body);
	if (!p)
		return 0;
	wire_in_init(&r, p, body);
	const struct codec *c = codec_of(wire_get_u8(&r));
	if (!c)
		return 0;
	memset(out, 0, sizeof *out);
	out->kind = (enum event_kind)(c - codecs);
	out->t_ms = wire_get_i64(&r);
	wire_get_addr(&r, &out->src);
	out->src_port = wire_get_u16(&r);
	c->get(&r, out);
	return wire_done(&r) ? body + 4 : 0;
}
