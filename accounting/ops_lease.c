/*
 * ops_lease - many leases at once, all or nothing: an import adds them; a resync makes them the
 * only open ones of their source.
 *
 * The rows come as import.h says.
 *
 * Trusted with: every lease. Diagnostics: an error names the row, counted over all requests. Known
 * gaps: while a hundred thousand rows are applied, the daemon does nothing else for some seconds;
 * packets and mail do not wait for it.
 */
#include "accounting/ops_lease.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/proc.h"
#include "accounting/acctd.h"
#include "accounting/import.h"

#define REF_MAX 128

struct row {
	struct store_lease lease;
	const char *ref;
};

struct counts {
	int added, same, ended, subscribers, back, suspended;
};

const struct op_arg lease_import_args[] = {{"rows", OP_LIST, true},
					   {"more", OP_BOOL, false},
					   {"import", OP_TEXT, false},
					   {"resync", OP_TEXT, false},
					   {"dry_run", OP_BOOL, false},
					   {"create", OP_BOOL, false},
					   {.name = NULL}};

/* --- checking --- */

static struct row *row_of(const struct import *m, size_t i)
{
	return (struct row *)m->rows + i;
}

/* Few sources, many rows: the one of the row before is the usual one. */
static const char *kept_source(struct import *m, const char *source)
{
	const char *last = m->n ? row_of(m, m->n - 1)->lease.source : NULL;
	if (!source)
		return NULL;
	return last && strcmp(last, source) == 0 ? last : import_text(m, source);
}

static bool take_row(struct op_call *c, struct import *m, const json_t *args)
{
	char err[256];
	struct store_lease l;
	if (!op_check("a row", lease_args, args, err, sizeof err))
		return import_bad_row(c, "invalid", m->n + 1, err);
	const char *ref = op_text(args, "subscriber");
	const char *bad = lease_from_args(args, c->now_ms, &l, err);
	if (!bad && (!ref[0] || strlen(ref) > REF_MAX))
		bad = "a subscriber's ref is 1 to 128 bytes";
	if (bad)
		return import_bad_row(c, "invalid", m->n + 1, bad);
	l.source = kept_source(m, l.source);
	*(struct row *)import_row(m) = (struct row){l, import_text(m, ref)};
	m->n++;
	return true;
}

static int by_line(const void *a, const void *b)
{
	const struct store_lease *x = &(*(const struct row *const *)a)->lease,
				 *y = &(*(const struct row *const *)b)->lease;
	int d = addr_cmp(&x->prefix.a, &y->prefix.a);
	if (d == 0)
		d = (int)x->prefix.len - (int)y->prefix.len;
	if (d == 0)
		d = (int)x->port_lo - (int)y->port_lo;
	return d ? d : (x > y) - (x < y);
}

/* A state of affairs has each line and port once; false after having failed the call. */
static bool no_twins(struct op_call *c, struct import *m)
{
	char why[128], prefix[PREFIX_STRLEN];
	const struct row **list = talloc_array(m, const struct row *, m->n + 1);
	for (size_t i = 0; i < m->n; i++)
		list[i] = row_of(m, i);
	qsort(list, m->n, sizeof(void *), by_line);
	for (size_t i = 1; i < m->n; i++) {
		const struct store_lease *x = &list[i - 1]->lease, *y = &list[i]->lease;
		if (!prefix_eq(&x->prefix, &y->prefix) || y->port_lo > x->port_hi)
			continue;
		snprintf(why, sizeof why, "%s and its ports are in row %zu already",
			 prefix_format(&y->prefix, prefix),
			 (size_t)(list[i - 1] - row_of(m, 0)) + 1);
		return import_bad_row(c, "invalid", (size_t)(list[i] - row_of(m, 0)) + 1, why);
	}
	talloc_free(list);
	return true;
}

/* --- applying --- */

static int by_id(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static int64_t subscriber_of(struct op_call *c, const char *ref, struct counts *n)
{
	struct store *st = c->a->store;
	int64_t id = store_subscriber(st, ref);
	if (id || !json_is_true(json_object_get(c->args, "create")))
		return id;
	n->subscribers++;
	return store_subscriber_put(st, ref, NULL, NULL, c->now_ms);
}

/* NULL, or what is wrong with it. Its lease's id goes to have. */
static const char *apply_row(struct op_call *c, struct row *r, struct import_ids *have,
			     struct counts *n, char why[static 192])
{
	struct store *st = c->a->store;
	int ended = 0;
	r->lease.subscriber = subscriber_of(c, r->ref, n);
	if (!r->lease.subscriber) {
		snprintf(why, 192, "there is no subscriber %.100s: add it first, or ask for create",
			 r->ref);
		return why;
	}
	bool same = store_lease_same(st, &r->lease) != 0;
	int64_t id = store_lease_add(st, &r->lease, &c->who, c->now_ms, &ended);
	n->back += store_lease_back(st, &r->lease, &c->who, c->now_ms);
	n->ended += ended;
	++*(same ? &n->same : &n->added);
	import_add_id(id, have);
	return NULL;
}

/* What the source has open and no row says has ended. */
static void end_others(struct op_call *c, const char *source, struct import_ids *have,
		       struct counts *n)
{
	struct import_ids open = {.ctx = have->ctx};
	if (have->n)
		qsort(have->list, have->n, sizeof have->list[0], by_id);
	store_leases_of_source(c->a->store, source, import_add_id, &open);
	for (size_t i = 0; i < open.n; i++) {
		if (i % IMPORT_BUSY_ROWS == 0)
			proc_busy();
		if (have->n &&
		    bsearch(&open.list[i], have->list, have->n, sizeof *have->list, by_id))
			continue;
		n->suspended += store_lease_end_one(c->a->store, open.list[i], &c->who, c->now_ms);
		n->ended++;
	}
}

static bool apply_rows(struct op_call *c, struct import *m, struct counts *n)
{
	struct import_ids have = {.ctx = m};
	const char *resync = op_text(c->args, "resync"), *bad = NULL;
	char why[192];
	for (size_t i = 0; i < m->n; i++) {
		if (i % IMPORT_BUSY_ROWS == 0)
			proc_busy();
		struct row *r = row_of(m, i);
		if (resync && !r->lease.source)
			r->lease.source = resync;
		bad = apply_row(c, r, &have, n, why);
		if (!bad)
			continue;
		store_rollback(c->a->store);
		return import_bad_row(c, "notfound", i + 1, bad);
	}
	if (resync)
		end_others(c, resync, &have, n);
	return true;
}

static void apply(struct op_call *c, struct import *m)
{
	struct store *st = c->a->store;
	struct counts n = {.added = 0};
	const char *resync = op_text(c->args, "resync");
	bool dry = json_is_true(json_object_get(c->args, "dry_run"));
	char detail[128];
	store_begin(st);
	uint64_t before = store_policy_version(st);
	if (!apply_rows(c, m, &n))
		return;
	json_t *result = json_pack("{s:i, s:i, s:i, s:i, s:b}", "added", n.added, "same", n.same,
				   "ended", n.ended, "subscribers", n.subscribers, "dry_run", dry);
	if (dry) {
		json_object_set_new(result, "revoked",
				    json_integer((json_int_t)(store_policy_version(st) - before) -
						 n.back - n.suspended));
		store_rollback(st);
		op_done(c, result);
		return;
	}
	snprintf(detail, sizeof detail, "{\"added\":%d,\"same\":%d,\"ended\":%d}", n.added, n.same,
		 n.ended);
	store_audit(st, &c->who, c->now_ms, resync ? "lease.resync" : "lease.import",
		    resync ? resync : "", "", detail);
	lease_answer(c, before, n.back + n.suspended, result);
}

void lease_import(struct op_call *c)
{
	const char *resync = op_text(c->args, "resync");
	struct import *m = import_of(c, sizeof(struct row));
	bool ok = false;
	if (!m)
		return;
	if (resync && !resync[0])
		op_fail(c, "invalid", "resync names the source whose leases these rows are");
	else
		ok = import_take(c, m, false, take_row);
	if (ok && import_more(c, m))
		return;
	if (ok && (!resync || no_twins(c, m)))
		apply(c, m);
	import_forget(m);
}
