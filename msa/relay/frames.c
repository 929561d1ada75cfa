/*
 * frames - the codec of the socket between msad and its relay role.
 *
 * Purpose: one encode/decode pair a frame, strict on the reading side. Trusted with: nothing.
 * Diagnostics: a bool. Known gaps: none.
 */
#include <string.h>

#include "msa/relay/frames.h"

bool queue_id_valid(const char *id)
{
	return strlen(id) == QUEUE_ID_LEN &&
	       strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz") == QUEUE_ID_LEN;
}

void relay_config_put(struct wire_out *w, const struct relay_config *c)
{
	wire_str(w, c->state_dir);
	wire_str(w, c->hostname);
	wire_str(w, c->dns_server);
	wire_str(w, c->dns_anchor);
	wire_str(w, c->self);
	wire_str(w, c->ca);
	wire_u8(w, c->sts);
	wire_u8(w, c->tlsrpt);
	wire_u32(w, c->connections);
	wire_i64(w, c->timeout_ms);
	wire_i64(w, c->pause_min_ms);
	wire_i64(w, c->pause_max_ms);
}

bool relay_config_get(struct wire_in *r, struct relay_config *c)
{
	wire_get_str(r, c->state_dir, sizeof(c->state_dir));
	wire_get_str(r, c->hostname, sizeof(c->hostname));
	wire_get_str(r, c->dns_server, sizeof(c->dns_server));
	wire_get_str(r, c->dns_anchor, sizeof(c->dns_anchor));
	wire_get_str(r, c->self, sizeof(c->self));
	wire_get_str(r, c->ca, sizeof(c->ca));
	c->sts = wire_get_u8(r);
	c->tlsrpt = wire_get_u8(r);
	c->connections = wire_get_u32(r);
	c->timeout_ms = wire_get_i64(r);
	c->pause_min_ms = wire_get_i64(r);
	c->pause_max_ms = wire_get_i64(r);
	return wire_done(r) && c->connections > 0 && c->timeout_ms > 0 && c->pause_min_ms > 0 &&
	       c->pause_max_ms >= c->pause_min_ms;
}

void relay_work_put(struct wire_out *w, const struct relay_work *k)
{
	wire_str(w, k->id);
	wire_i64(w, k->key);
	wire_u32(w, k->attempt);
	wire_u8(w, k->flags);
}

bool relay_work_get(struct wire_in *r, struct relay_work *k)
{
	wire_get_str(r, k->id, sizeof(k->id));
	k->key = wire_get_i64(r);
	k->attempt = wire_get_u32(r);
	k->flags = wire_get_u8(r);
	return wire_done(r) && queue_id_valid(k->id);
}

void relay_returned_put(struct wire_out *w, const struct relay_returned *b)
{
	wire_str(w, b->id);
	wire_u8(w, b->why);
	wire_str(w, b->lane);
	wire_i64(w, b->wait_ms);
}

bool relay_returned_get(struct wire_in *r, struct relay_returned *b)
{
	wire_get_str(r, b->id, sizeof(b->id));
	b->why = wire_get_u8(r);
	wire_get_str(r, b->lane, sizeof(b->lane));
	b->wait_ms = wire_get_i64(r);
	return wire_done(r) && queue_id_valid(b->id) && b->why <= BACK_LATER && b->wait_ms >= 0;
}

void relay_post_put(struct wire_out *w, const struct relay_post *p)
{
	wire_str(w, p->day);
	wire_str(w, p->domain);
	wire_str(w, p->url);
	wire_str(w, p->organization);
	wire_str(w, p->contact);
}

bool relay_post_get(struct wire_in *r, struct relay_post *p)
{
	wire_get_str(r, p->day, sizeof(p->day));
	wire_get_str(r, p->domain, sizeof(p->domain));
	wire_get_str(r, p->url, sizeof(p->url));
	wire_get_str(r, p->organization, sizeof(p->organization));
	wire_get_str(r, p->contact, sizeof(p->contact));
	return wire_done(r);
}

void relay_lane_put(struct wire_out *w, const struct relay_lane *l)
{
	wire_str(w, l->name);
	wire_u32(w, l->limit);
	wire_i64(w, l->closed_ms);
}

bool relay_lane_get(struct wire_in *r, struct relay_lane *l)
{
	wire_get_str(r, l->name, sizeof(l->name));
	l->limit = wire_get_u32(r);
	l->closed_ms = wire_get_i64(r);
	return wire_done(r) && l->limit > 0 && l->closed_ms >= 0;
}

void relay_outcome_put(struct wire_out *w, const struct relay_outcome *o)
{
	wire_str(w, o->id);
	wire_u32(w, o->attempt);
	wire_u64(w, o->seq);
	wire_u8(w, o->more);
	wire_str(w, o->via);
	wire_u32(w, o->n);
	for (uint32_t i = 0; i < o->n; i++) {
		const struct relay_rcpt *t = &o->rcpts[i];
		wire_u32(w, t->idx);
		wire_u8(w, t->result);
		wire_str(w, t->status);
		wire_str(w, t->reply);
		wire_u8(w, (uint8_t)(t->dsn | t->final << 1));
	}
}

bool relay_outcome_get(struct wire_in *r, struct relay_outcome *o)
{
	wire_get_str(r, o->id, sizeof(o->id));
	o->attempt = wire_get_u32(r);
	o->seq = wire_get_u64(r);
	o->more = wire_get_u8(r);
	wire_get_str(r, o->via, sizeof(o->via));
	o->n = wire_get_u32(r);
	if (r->bad || o->n > RELAY_RCPTS_MAX || !queue_id_valid(o->id))
		return false;
	for (uint32_t i = 0; i < o->n; i++) {
		struct relay_rcpt *t = &o->rcpts[i];
		t->idx = wire_get_u32(r);
		t->result = wire_get_u8(r);
		wire_get_str(r, t->status, sizeof(t->status));
		wire_get_str(r, t->reply, sizeof(t->reply));
		uint8_t told = wire_get_u8(r);
		t->dsn = told & 1;
		t->final = told & 2;
		t->answer = 0;
		if (told > 3 || t->result < RELAY_DELIVERED || t->result > RELAY_DEFERRED)
			return false;
	}
	return wire_done(r);
}
