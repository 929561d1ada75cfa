/*
 * policy - bytes of a policy entry, the same for acctd and for the daemons it feeds (contract in
 * feed.h). Pure.
 */
#include "lib/wire.h"

#include "accounting/feed.h"

void policy_entry_put(struct wire_out *w, const struct policy_entry *e)
{
	wire_u8(w, e->prefix.len);
	wire_addr(w, &e->prefix.a);
	wire_u8(w, (uint8_t)e->class);
	wire_i64(w, e->starts_ms);
	wire_i64(w, e->expires_ms);
	wire_i64(w, e->exemption_id);
}

static bool prefix_valid(const struct prefix *p)
{
	struct addr masked;
	if (p->len > (addr_is4(&p->a) ? 32 : 128))
		return false;
	addr_mask(&p->a, p->len, &masked);
	return addr_eq(&masked, &p->a);
}

bool policy_entry_get(struct wire_in *r, struct policy_entry *e)
{
	*e = (struct policy_entry){.class = POLICY_FULL};
	e->prefix.len = wire_get_u8(r);
	wire_get_addr(r, &e->prefix.a);
	uint8_t class = wire_get_u8(r);
	e->starts_ms = wire_get_i64(r);
	e->expires_ms = wire_get_i64(r);
	e->exemption_id = wire_get_i64(r);
	if (class != POLICY_FULL && class != POLICY_THROTTLED)
		r->bad = true;
	else
		e->class = class;
	if (!r->bad && !prefix_valid(&e->prefix))
		r->bad = true;
	return !r->bad;
}
