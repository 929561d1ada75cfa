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
	wire_str(w, c->smarthost);
	wire_str(w, c->smarthost_name);
	wire_str(w, c->smarthost_ca);
	wire_u32(w, c->connections);
	wire_i64(w, c->timeout_ms);
}

bool relay_config_get(struct wire_in *r, struct relay_config *c)
{
	wire_get_str(r, c->state_dir, sizeof(c->state_dir));
	wire_get_str(r, c->hostname, sizeof(c->hostname));
	wire_get_str(r, c->smarthost, sizeof(c->smarthost));
	wire_get_str(r, c->smarthost_name, sizeof(c->smarthost_name));
	wire_get_str(r, c->smarthost_ca, sizeof(c->smarthost_ca));
	c->connections = wire_get_u32(r);
	c->timeout_ms = wire_get_i64(r);
	return wire_done(r) && c->connections > 0 && c->timeout_ms > 0;
}

void relay_work_put(struct wire_out *w, const struct relay_work *k)
{
	wire_str(w, k->id);
	wire_i64(w, k->key);
	wire_u32(w, k->attempt);
}

bool relay_work_get(struct wire_in *r, struct relay_work *k)
{
	wire_get_str(r, k->id, sizeof(k->id));
	k->key = wire_get_i64(r);
	k->attempt = wire_get_u32(r);
	return wire_done(r) && queue_id_valid(k->id);
}

void relay_outcome_put(struct wire_out *w, const struct relay_outcome *o)
{
	wire_str(w, o->id);
	wire_u32(w, o->attempt);
	wire_u64(w, o->seq);
	wire_u32(w, o->n);
	for (uint32_t i = 0; i < o->n; i++) {
		const struct relay_rcpt *t = &o->rcpts[i];
		wire_u32(w, t->idx);
		wire_u8(w, t->result);
		wire_str(w, t->status);
		wire_str(w, t->reply);
		wire_u8(w, t->dsn);
	}
}

bool relay_outcome_get(struct wire_in *r, struct relay_outcome *o)
{
	wire_get_str(r, o->id, sizeof(o->id));
	o->attempt = wire_get_u32(r);
	o->seq = wire_get_u64(r);
	o->n = wire_get_u32(r);
	if (r->bad || o->n > RELAY_RCPTS_MAX || !queue_id_valid(o->id))
		return false;
	for (uint32_t i = 0; i < o->n; i++) {
		struct relay_rcpt *t = &o->rcpts[i];
		t->idx = wire_get_u32(r);
		t->result = wire_get_u8(r);
		wire_get_str(r, t->status, sizeof(t->status));
		wire_get_str(r, t->reply, sizeof(t->reply));
		t->dsn = wire_get_u8(r);
		if (t->result < RELAY_DELIVERED || t->result > RELAY_DEFERRED)
			return false;
	}
	return wire_done(r);
}
