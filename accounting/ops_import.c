/*
 * ops_import - many exemptions at once, all or nothing.
 *
 * The rows of an import may come in several requests ("more"): they are checked as they come, kept,
 * and applied by the last one in one transaction. An import that nobody goes on with is forgotten
 * after IDLE_MS. A row is what the whole entry is to be: what it does not say is empty; state,
 * start and subscriber stay as they are.
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
#include "accounting/token.h"

#define ROWS_MAX    1000    /* of one request */
#define IMPORT_ROWS 1000000 /* of one import */
#define IMPORTS_MAX 4
#define IDLE_MS	    60000
#define BLOCK	    65536
#define BUSY_ROWS   10000 /* the watchdog is told after so many */
#define SPREAD_MS   250	  /* between the looks at the evidence of two rows, at most */

struct import {
	struct acctd *a;
	struct import *next;
	char id[TOKEN_HEX], actor[80];
	struct store_exemption *rows; /* their texts are in blocks under this */
	size_t n, cap;
	char *block;
	size_t used;
	struct event *idle;
};

struct counts {
	int added, updated, unchanged, removed;
};

/* --- rows that wait --- */

static void forget(struct import *m)
{
	struct import **p = &m->a->imports;
	while (*p && *p != m)
		p = &(*p)->next;
	if (*p)
		*p = m->next;
	event_free(m->idle);
	talloc_free(m);
}

static void on_idle(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what;
	forget(arg);
}

void imports_end(struct acctd *a)
{
	while (a->imports)
		forget(a->imports);
}

static struct import *new_import(struct acctd *a)
{
	struct import *m = talloc_zero(NULL, struct import);
	m->a = a;
	m->idle = evtimer_new(a->base, on_idle, m);
	if (!m->idle)
		fatal("out of memory");
	return m;
}

static void keep(struct import *m, const char *actor)
{
	struct timeval tv = {.tv_sec = IDLE_MS / 1000};
	if (!m->id[0]) {
		token_new(m->id);
		snprintf(m->actor, sizeof m->actor, "%s", actor);
		m->next = m->a->imports;
		m->a->imports = m;
	}
	(void)event_add(m->idle, &tv);
}

/* The one this request goes on with, or a new one; NULL after having failed the call. */
static struct import *import_of(struct op_call *c)
{
	const char *id = op_text(c->args, "import");
	struct import *m = c->a->imports;
	int n = 0;
	for (; m && !(id && strcmp(m->id, id) == 0 && strcmp(m->actor, c->who.actor) == 0);
	     m = m->next)
		n++;
	if (m)
		return m;
	if (id) {
		op_fail(c, "notfound",
			"there is no such import: it ended, or was idle for a "
			"minute; begin again");
		return NULL;
	}
	if (n >= IMPORTS_MAX) {
		op_fail(c, "unavailable", "%d imports are under way: try again in a minute", n);
		return NULL;
	}
	return new_import(c->a);
}

/* s kept as long as the import. */
static const char *kept(struct import *m, const char *s)
{
	size_t n = s ? strlen(s) + 1 : 1;
	if (n == 1)
		return "";
	if (!m->block || m->used + n > BLOCK) {
		m->block = talloc_size(m, BLOCK > n ? BLOCK : n);
		m->used = 0;
	}
	char *to = m->block + m->used;
	memcpy(to, s, n);
	m->used += n;
	return to;
}

static void keep_texts(struct import *m, struct store_exemption *e)
{
	const char **texts[] = {&e->class,	 &e->contract, &e->service,	  &e->fixed,
				&e->access_port, &e->contact,  &e->abuse_contact, &e->usage,
				&e->software,	 &e->volume,   &e->helo,	  &e->domain,
				&e->approver,	 &e->ticket,   &e->reason};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		*texts[i] = kept(m, *texts[i]);
	e->actor = m->actor;
}

/* --- checking --- */

static bool bad_row(struct op_call *c, const char *code, size_t row, const char *why)
{
	op_fail(c, code, "row %zu: %s; nothing was changed", row, why);
	return false;
}

static bool take_row(struct op_call *c, struct import *m, const json_t *row)
{
	struct exempt_error e;
	char err[256];
	if (!op_check("a row", exempt_row_args, row, err, sizeof err))
		return bad_row(c, "invalid", m->n + 1, err);
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 256;
		m->rows = talloc_realloc(m, m->rows, struct store_exemption, m->cap);
	}
	struct store_exemption *x = &m->rows[m->n];
	if (!exempt_from_args(c->a, m, row, c->now_ms, x, &e))
		return bad_row(c, e.code, m->n + 1, e.text);
	keep_texts(m, x);
	m->n++;
	return true;
}

/* False after having failed the call. */
static bool take_rows(struct op_call *c, struct import *m)
{
	const json_t *rows = json_object_get(c->args, "rows");
	size_t n = json_array_size(rows);
	/* The last request of several may have none left; so may a list that takes everything away.
	 */
	bool may_be_empty = m->n > 0 || json_is_true(json_object_get(c->args, "replace_missing"));
	if (n > ROWS_MAX || (n == 0 && !may_be_empty)) {
		op_fail(c, "invalid", "rows has 1 to %d rows a request", ROWS_MAX);
		return false;
	}
	if (m->n + n > IMPORT_ROWS) {
		op_fail(c, "invalid", "an import has at most %d rows: split the file", IMPORT_ROWS);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (!take_row(c, m, json_array_get(rows, i)))
			return false;
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
		list[i].e = &m->rows[i];
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
			 prefix_format(&e->prefix, prefix), (size_t)(before - m->rows) + 1);
		return bad_row(c, "invalid", (size_t)(e - m->rows) + 1, why);
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
	struct store_exemption *e = &m->rows[i];
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

struct ids {
	int64_t *list;
	size_t n, cap;
	void *ctx;
};

static void add_id(int64_t id, void *arg)
{
	struct ids *l = arg;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 256;
		l->list = talloc_realloc(l->ctx, l->list, int64_t, l->cap);
	}
	l->list[l->n++] = id;
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
	struct ids ids = {.ctx = m};
	struct store_exempt x;
	const struct ref *list = sorted_rows(m);
	store_exemptions_each(c->a->store, add_id, &ids);
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
		if (i % BUSY_ROWS == 0)
			proc_busy();
		const char *bad = apply_row(c, m, i, &n, why);
		if (bad) {
			store_rollback(st);
			(void)bad_row(c, "invalid", i + 1, bad);
			return;
		}
	}
	if (json_is_true(json_object_get(c->args, "replace_missing")))
		remove_missing(c, m, &n);
	finish(c, &n, before);
}

static void exempt_import(struct op_call *c)
{
	struct import *m = import_of(c);
	if (!m)
		return;
	bool more = json_is_true(json_object_get(c->args, "more"));
	if (!take_rows(c, m)) {
		forget(m);
		return;
	}
	if (more) {
		keep(m, c->who.actor);
		op_done(c, json_pack("{s:s, s:I}", "import", m->id, "rows", (json_int_t)m->n));
		return;
	}
	if (no_twins(c, m))
		apply(c, m);
	forget(m);
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
