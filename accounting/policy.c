/*
 * policy - bytes of a policy entry, the same for acctd and for the daemons it feeds (contract in
 * feed.h). Pure.
 */
#include <string.h>

#include "lib/wire.h"

#include "accounting/feed.h"

static void put_prefix(struct wire_out *w, const struct prefix *p)
{
	wire_u8(w, p->len);
	wire_addr(w, &p->a);
}

void policy_entry_put(struct wire_out *w, const struct policy_entry *e)
{
	put_prefix(w, &e->prefix);
	wire_str(w, e->class);
	wire_i64(w, e->starts_ms);
	wire_i64(w, e->expires_ms);
	wire_i64(w, e->exemption_id);
	wire_u8(w, e->n_dst);
	for (unsigned i = 0; i < e->n_dst; i++)
		put_prefix(w, &e->dst[i]);
}

static void get_prefix(struct wire_in *r, struct prefix *p)
{
	struct addr masked;
	p->len = wire_get_u8(r);
	wire_get_addr(r, &p->a);
	if (r->bad || p->len > (addr_is4(&p->a) ? 32 : 128)) {
		r->bad = true;
		return;
	}
	addr_mask(&p->a, p->len, &masked);
	if (!addr_eq(&masked, &p->a))
		r->bad = true;
}

bool policy_class_valid(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return len > 0 && len < POLICY_CLASS && name[len] == '\0';
}

bool policy_entry_get(struct wire_in *r, struct policy_entry *e)
{
	*e = (struct policy_entry){0};
	get_prefix(r, &e->prefix);
	wire_get_str(r, e->class, sizeof e->class);
	e->starts_ms = wire_get_i64(r);
	e->expires_ms = wire_get_i64(r);
	e->exemption_id = wire_get_i64(r);
	uint8_t n = wire_get_u8(r);
	if (!r->bad && (!policy_class_valid(e->class) || n > POLICY_DST_MAX))
		r->bad = true;
	for (; e->n_dst < n && !r->bad; e->n_dst++)
		get_prefix(r, &e->dst[e->n_dst]);
	return !r->bad;
}
