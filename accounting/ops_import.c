/*
 * ops_import - many exemptions at once, all or nothing.
 *
 * The rows come as import.h says. A row is what the whole entry is to be: what it does not say is
 * empty; state, start and subscriber stay as they are.
 *
 * Trusted with: every exemption. Diagnostics: an error names the row, counted over all requests,
 * and the column. Known gaps: while a hundred thousand rows are applied, the daemon does nothing
 * else for some seconds; packets and mail do not wait for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/proc.h"
#include "accounting/acctd.h"
#include "accounting/exempt_args.h"
#include "accounting/import.h"

#define SPREAD_MS 250 /* between the looks at the evidence of two rows, at most */

struct counts {
	int added, updated, unchanged, removed;
};

/* --- checking --- */

static struct store_exemption *row_of(const struct import *m, size_t i)
{
	return (struct store_exemption *)m->rows + i;
}

static void keep_texts(struct import *m, struct store_exemption *e)
{
	const char **texts[] = {&e->class,	 &e->contract, &e->service,	  &e->fixed,
				&e->access_port, &e->contact,  &e->abuse_contact, &e->usage,
				&e->software,	 &e->volume,   &e->helo,	  &e->domain,
				&e->approver,	 &e->ticket,   &e->reason};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		*texts[i] = import_text(m, *texts[i]);
	e->actor = m->actor;
}

static bool take_row(struct op_call *c, struct import *m, const json_t *row)
{
	struct exempt_error e;
	struct store_exemption *x = import_row(m);
	char err[256];
	if (!op_check("a row", exempt_row_args, row, err, sizeof err))
		return import_bad_row(c, "invalid", m->n + 1, err);
	if (!exempt_from_args(c->a, m, row, c->now_ms, x, &e))
		return import_bad_row(c, e.code, m->n + 1, e.text);
	keep_texts(m, x);
	m->n++;
	return true;
}

struct ref {
	const struct store_exemption *e;
};

static int by_prefix(const void *a, const void *b)
{
	const struct store_exemption *x = ((const struct ref *)a)->e,
				     *y = ((const struct ref *)b)->e;
	int d = addr_cmp(&x->prefix.a, &y->prefix.a);
	if (d == 0)
		d = (int)x->prefix.len - (int)y->prefix.len;
	return d ? d : (x > y) - (x < y);
}

/* The rows in the order of their prefixes; of m. */
static struct ref *sorted_rows(struct import *m)
{
	struct ref *list = talloc_array(m, struct ref, m->n + 1);
	for (size_t i = 0; i < m->n; i++)
		list[i].e = row_of(m, i);
	qsort(list, m->n, sizeof *list, by_prefix);
	return list;
}

/* No prefix twice; false after having failed the call. */
static bool no_twins(struct op_call *c, struct import *m)
{
	char why[128], prefix[PREFIX_STRLEN];
	struct ref *list = sorted_rows(m);
	for (size_t i = 1; i < m->n; i++) {
		const struct store_exemption *e = list[i].e, *before = list[i - 1].e;
		if (!prefix_eq(&e->prefix, &before->prefix))
			continue;
		snprintf(why, sizeof why, "prefix: %s is in row %zu already",
			 prefix_format(&e->prefix, prefix), (size_t)(before - row_of(m, 0)) + 1);
		return import_bad_row(c, "invalid", (size_t)(e - row_of(m, 0)) + 1, why);
	}
	talloc_free(list);
	return true;
}

/* --- applying --- */

static int64_t evidence_due(const struct op_call *c, const struct import *m, size_t i)
{
	int64_t interval = c->a->conf.evidence_interval_ms, step = interval / (int64_t)m->n;
	if (!interval)
		return 0;
	return c->now_ms + (int64_t)i * (step > SPREAD_MS ? SPREAD_MS : step);
}

/* The state the row asks for, by the way there is; NULL, or what is wrong. */
static const char *apply_state(struct op_call *c, const struct store_exempt *old,
			       const struct store_exemption *e, char why[static 192], bool *changed)
{
	struct store_exempt now = *old;
	char prefix[PREFIX_STRLEN];
	enum exempt_state path[EXEMPT_PATH_MAX];
	const struct store_exempt_move m = {
	    .to = e->state, .reason = "import", .by = "operator", .until_ms = e->until_ms};
	if (!e->state || e->state == old->state)
		return NULL;
	if (exempt_path(old->state, e->state, path) == 0) {
		snprintf(why, 192, "state: %s cannot become %s: %s",
			 prefix_format(&e->prefix, prefix), exempt_state_name(e->state),
			 exempt_advice(old->state, e->state));
		return why;
	}
	*changed = true;
	(void)store_exemption_move(c->a->store, now.entry.exemption_id, &m, &c->who, c->now_ms);
	return NULL;
}

static const char *apply_row(struct op_call *c, const struct import *m, size_t i, struct counts *n,
			     char why[static 192])
{
	struct store *st = c->a->store;
	struct store_exempt old;
	struct store_exemption *e = row_of(m, i);
	e->actor = c->who.actor;
	e->evidence_due_ms = evidence_due(c, m, i);
	if (!store_exempt_of(st, &e->prefix, &old)) {
		e->starts_ms = e->starts_ms ? e->starts_ms : c->now_ms;
		(void)store_exemption_add(st, e, c->now_ms);
		n->added++;
		return NULL;
	}
	e->starts_ms = e->starts_ms ? e->starts_ms : old.entry.starts_ms;
	if (e->expires_ms && e->expires_ms <= e->starts_ms)
		return "expires: it must expire after it starts";
	bool changed = store_exemption_update(st, &old, e, c->now_ms);
	const char *bad = apply_state(c, &old, e, why, &changed);
	++*(changed ? &n->updated : &n->unchanged);
	return bad;
}

static int by_row(const void *key, const void *row)
{
	const struct prefix *p = key;
	const struct store_exemption *e = ((const struct ref *)row)->e;
	int d = addr_cmp(&p->a, &e->prefix.a);
	return d ? d : (int)p->len - (int)e->prefix.len;
}

/* Those that are in no row are removed. */
static void remove_missing(struct op_call *c, struct import *m, struct counts *n)
{
	static const struct store_exempt_move gone = {.to = EXEMPT_REMOVED,
						      .reason = "it is not in the import"};
	struct import_ids ids = {.ctx = m};
	struct store_exempt x;
	const struct ref *list = sorted_rows(m);
	store_exemptions_each(c->a->store, import_add_id, &ids);
	for (size_t i = 0; i < ids.n; i++) {
		if (!store_exempt(c->a->store, ids.list[i], &x) ||
		    bsearch(&x.entry.prefix, list, m->n, sizeof *list, by_row))
			continue;
		n->removed +=
		    store_exemption_move(c->a->store, ids.list[i], &gone, &c->who, c->now_ms);
	}
}

static json_t *result_of(const struct counts *n)
{
	return json_pack("{s:i, s:i, s:i, s:i}", "added", n->added, "updated", n->updated,
			 "unchanged", n->unchanged, "removed", n->removed);
}

static void finish(struct op_call *c, const struct counts *n, uint64_t before)
{
	struct store *st = c->a->store;
	json_t *result = result_of(n);
	if (json_is_true(json_object_get(c->args, "dry_run"))) {
		store_rollback(st);
		json_object_set_new(result, "dry_run", json_true());
		op_done(c, result);
		return;
	}
	char *detail = json_dumps(result, JSON_COMPACT);
	store_audit(st, &c->who, c->now_ms, "exempt.import", "", op_text(c->args, "reason"),
		    detail);
	free(detail);
	policy_commit(c, before, result);
}

static void apply(struct op_call *c, struct import *m)
{
	struct store *st = c->a->store;
	struct counts n = {0};
	char why[192];
	(void)store_exemptions_expire(st, c->now_ms);
	store_begin(st);
	uint64_t before = store_policy_version(st);
	for (size_t i = 0; i < m->n; i++) {
		if (i % IMPORT_BUSY_ROWS == 0)
			proc_busy();
		const char *bad = apply_row(c, m, i, &n, why);
		if (bad) {
			store_rollback(st);
			(void)import_bad_row(c, "invalid", i + 1, bad);
			return;
		}
	}
	if (json_is_true(json_object_get(c->args, "replace_missing")))
		remove_missing(c, m, &n);
	finish(c, &n, before);
}

static void exempt_import(struct op_call *c)
{
	struct import *m = import_of(c, sizeof(struct store_exemption));
	if (!m)
		return;
	/* A list that takes everything away is empty. */
	bool all_gone = json_is_true(json_object_get(c->args, "replace_missing"));
	bool ok = import_take(c, m, all_gone, take_row);
	if (ok && import_more(c, m))
		return;
	if (ok && no_twins(c, m))
		apply(c, m);
	import_forget(m);
}

static const struct op_arg import_args[] = {{"rows", OP_LIST, true},
					    {"import", OP_TEXT, false},
					    {"more", OP_BOOL, false},
					    {"dry_run", OP_BOOL, false},
					    {"replace_missing", OP_BOOL, false},
					    {"reason", OP_TEXT, false},
					    {.name = NULL}};

const struct op ops_import[] = {
    {"exempt.import", ROLE_ADMIN, import_args, exempt_import},
    {.name = NULL},
};
