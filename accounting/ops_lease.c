/*
 * ops_lease - many leases at once, all or nothing: an import adds them; a resync makes them the
 * only open ones of their source.
 *
 * The rows may come in several requests ("more"): they are checked as they come, kept, and applied
 * by the last one in one transaction. What nobody goes on with is forgotten after IDLE_MS.
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
#include "accounting/token.h"

#define ROWS_MAX    1000 /* of one request */
#define IMPORT_ROWS 1000000
#define BUSY_ROWS   10000 /* the watchdog is told after so many */
#define IMPORTS_MAX 4
#define IDLE_MS	    60000
#define REF_MAX	    128

struct row {
	struct store_lease lease;
	const char *ref;
};

struct lease_import {
	struct acctd *a;
	struct lease_import *next;
	char id[TOKEN_HEX], actor[80];
	void *texts; /* a pool */
	struct row *rows;
	size_t n, cap;
	struct event *idle;
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

/* --- rows that wait --- */

static void forget(struct lease_import *m)
{
	struct lease_import **p = &m->a->lease_imports;
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

void lease_imports_end(struct acctd *a)
{
	while (a->lease_imports)
		forget(a->lease_imports);
}

static struct lease_import *new_import(struct op_call *c)
{
	struct lease_import *m = talloc_zero(NULL, struct lease_import);
	m->a = c->a;
	m->texts = talloc_pool(m, 65536);
	m->idle = evtimer_new(c->a->base, on_idle, m);
	if (!m->idle)
		fatal("out of memory");
	token_new(m->id);
	snprintf(m->actor, sizeof m->actor, "%s", c->who.actor);
	m->next = c->a->lease_imports;
	c->a->lease_imports = m;
	return m;
}

/* The one this request goes on with, or a new one; NULL after having failed the call. */
static struct lease_import *import_of(struct op_call *c)
{
	const char *id = op_text(c->args, "import");
	struct timeval tv = {.tv_sec = IDLE_MS / 1000};
	struct lease_import *m = c->a->lease_imports;
	int n = 0;
	for (; m && !(id && strcmp(m->id, id) == 0 && strcmp(m->actor, c->who.actor) == 0);
	     m = m->next)
		n++;
	if (!m && id)
		op_fail(c, "notfound",
			"there is no such import: it ended, or was idle for a minute; begin again");
	else if (!m && n >= IMPORTS_MAX)
		op_fail(c, "unavailable", "%d imports are under way: try again in a minute", n);
	else if (!m)
		m = new_import(c);
	if (m)
		(void)event_add(m->idle, &tv);
	return m;
}

/* --- checking --- */

static bool bad_row(struct op_call *c, const char *code, size_t row, const char *why)
{
	op_fail(c, code, "row %zu: %s; nothing was changed", row, why);
	return false;
}

/* Few sources, many rows: the one of the row before is the usual one. */
static const char *kept_source(struct lease_import *m, const char *source)
{
	const char *last = m->n ? m->rows[m->n - 1].lease.source : NULL;
	if (!source)
		return NULL;
	return last && strcmp(last, source) == 0 ? last : talloc_strdup(m->texts, source);
}

static bool take_row(struct op_call *c, struct lease_import *m, const json_t *args)
{
	char err[256];
	struct store_lease l;
	if (!op_check("a row", lease_args, args, err, sizeof err))
		return bad_row(c, "invalid", m->n + 1, err);
	const char *ref = op_text(args, "subscriber");
	const char *bad = lease_from_args(args, c->now_ms, &l, err);
	if (!bad && (!ref[0] || strlen(ref) > REF_MAX))
		bad = "a subscriber's ref is 1 to 128 bytes";
	if (bad)
		return bad_row(c, "invalid", m->n + 1, bad);
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 1024;
		m->rows = talloc_realloc(m, m->rows, struct row, m->cap);
	}
	l.source = kept_source(m, l.source);
	m->rows[m->n++] = (struct row){l, talloc_strdup(m->texts, ref)};
	return true;
}

/* False after having failed the call. */
static bool take_rows(struct op_call *c, struct lease_import *m)
{
	const json_t *rows = json_object_get(c->args, "rows");
	size_t n = json_array_size(rows);
	if (n > ROWS_MAX || (n == 0 && m->n == 0)) {
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
static bool no_twins(struct op_call *c, struct lease_import *m)
{
	char why[128], prefix[PREFIX_STRLEN];
	const struct row **list = talloc_array(m, const struct row *, m->n + 1);
	for (size_t i = 0; i < m->n; i++)
		list[i] = &m->rows[i];
	qsort(list, m->n, sizeof(void *), by_line);
	for (size_t i = 1; i < m->n; i++) {
		const struct store_lease *x = &list[i - 1]->lease, *y = &list[i]->lease;
		if (!prefix_eq(&x->prefix, &y->prefix) || y->port_lo > x->port_hi)
			continue;
		snprintf(why, sizeof why, "%s and its ports are in row %zu already",
			 prefix_format(&y->prefix, prefix), (size_t)(list[i - 1] - m->rows) + 1);
		return bad_row(c, "invalid", (size_t)(list[i] - m->rows) + 1, why);
	}
	talloc_free(list);
	return true;
}

/* --- applying --- */

struct ids {
	int64_t *list;
	size_t n, cap;
	void *ctx;
};

static void add_id(int64_t id, void *arg)
{
	struct ids *l = arg;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 1024;
		l->list = talloc_realloc(l->ctx, l->list, int64_t, l->cap);
	}
	l->list[l->n++] = id;
}

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
static const char *apply_row(struct op_call *c, struct row *r, struct ids *have, struct counts *n,
			     char why[static 192])
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
	add_id(id, have);
	return NULL;
}

/* What the source has open and no row says has ended. */
static void end_others(struct op_call *c, const char *source, struct ids *have, struct counts *n)
{
	struct ids open = {.ctx = have->ctx};
	if (have->n)
		qsort(have->list, have->n, sizeof have->list[0], by_id);
	store_leases_of_source(c->a->store, source, add_id, &open);
	for (size_t i = 0; i < open.n; i++) {
		if (i % BUSY_ROWS == 0)
			proc_busy();
		if (have->n &&
		    bsearch(&open.list[i], have->list, have->n, sizeof *have->list, by_id))
			continue;
		n->suspended += store_lease_end_one(c->a->store, open.list[i], &c->who, c->now_ms);
		n->ended++;
	}
}

static bool apply_rows(struct op_call *c, struct lease_import *m, struct counts *n)
{
	struct ids have = {.ctx = m};
	const char *resync = op_text(c->args, "resync"), *bad = NULL;
	char why[192];
	for (size_t i = 0; i < m->n; i++) {
		if (i % BUSY_ROWS == 0)
			proc_busy();
		if (resync && !m->rows[i].lease.source)
			m->rows[i].lease.source = resync;
		bad = apply_row(c, &m->rows[i], &have, n, why);
		if (!bad)
			continue;
		store_rollback(c->a->store);
		return bad_row(c, "notfound", i + 1, bad);
	}
	if (resync)
		end_others(c, resync, &have, n);
	return true;
}

static void apply(struct op_call *c, struct lease_import *m)
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
	struct lease_import *m = import_of(c);
	if (!m)
		return;
	if (resync && !resync[0])
		op_fail(c, "invalid", "resync names the source whose leases these rows are");
	else if (!take_rows(c, m))
		;
	else if (json_is_true(json_object_get(c->args, "more"))) {
		op_done(c, json_pack("{s:s, s:I}", "import", m->id, "rows", (json_int_t)m->n));
		return;
	} else if (!resync || no_twins(c, m))
		apply(c, m);
	forget(m);
}
