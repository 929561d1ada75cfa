/*
 * queue_request - what operators ask of the queue: docs/protocols/control.md, queue.*.
 *
 * Purpose: select messages, show them, change them. A change is in the spool before it is answered.
 * Trusted with: nothing of its own; args are foreign and checked. Diagnostics: the error text says
 * what to change. Known gaps: a list reads the disk on the main loop, at most 2 s; bounce and
 * delete of a message under delivery wait for its outcome and are forgotten when msad ends before
 * it.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/queue_int.h"

#define LIST_DEFAULT 100
#define LIST_MAX     1000
#define IDS_MAX	     10000
#define SYNC_MS	     2000

struct ask {
	struct queue *q;
	const json_t *args;
	int64_t now;
	/* the selection */
	bool everything, any; /* "all" was said; some criterion was */
	const json_t *ids;
	const char *account, *domain, *state;
	bool dry_run;
	int64_t limit;
	struct msg **found; /* talloc'd under the ask */
	size_t n;
	const char *err;
};

/* --- selection --------------------------------------------------------------------------- */

static const char *state_name(const struct ask *a, const struct msg *m)
{
	if (m->state == MSG_ACTIVE || m->state == MSG_SETTLING)
		return "active";
	if (index_is_held(m))
		return "held";
	return m->attempts > 0 && m->next_ms > a->now ? "deferred" : "due";
}

static bool is_state(const char *s)
{
	return strcmp(s, "due") == 0 || strcmp(s, "held") == 0 || strcmp(s, "deferred") == 0 ||
	       strcmp(s, "active") == 0;
}

static bool take_text(struct ask *a, const char *key, const json_t *v, const char **out)
{
	*out = json_string_value(v);
	if (!*out || strlen(*out) != json_string_length(v)) {
		a->err = talloc_asprintf(a, "%s must be text", key);
		return false;
	}
	a->any = true;
	return true;
}

static bool take_flag(struct ask *a, const char *key, const json_t *v, bool *out)
{
	if (!json_is_boolean(v))
		a->err = talloc_asprintf(a, "%s must be true or false", key);
	*out = json_is_true(v);
	return !a->err;
}

static bool take_ids(struct ask *a, const json_t *v)
{
	size_t i;
	const json_t *id;

	if (!json_is_array(v) || json_array_size(v) > IDS_MAX) {
		a->err =
		    talloc_asprintf(a, "ids must be an array of at most %d queue ids", IDS_MAX);
		return false;
	}
	json_array_foreach (v, i, id)
		if (!json_is_string(id) || !queue_id_valid(json_string_value(id))) {
			a->err = "ids holds something that is not a queue id (16 characters, 0-9 "
				 "and a-z)";
			return false;
		}
	a->ids = v;
	a->any = true;
	return true;
}

static bool take_arg(struct ask *a, const char *key, const json_t *v, bool list)
{
	if (strcmp(key, "ids") == 0)
		return take_ids(a, v);
	if (strcmp(key, "account") == 0)
		return take_text(a, key, v, &a->account);
	if (strcmp(key, "domain") == 0)
		return take_text(a, key, v, &a->domain);
	if (strcmp(key, "state") == 0) {
		if (take_text(a, key, v, &a->state) && !is_state(a->state))
			a->err = "state must be due, held, deferred or active";
		return !a->err;
	}
	if (strcmp(key, "all") == 0)
		return take_flag(a, key, v, &a->everything);
	if (!list && strcmp(key, "dry_run") == 0)
		return take_flag(a, key, v, &a->dry_run);
	if (list && strcmp(key, "limit") == 0) {
		a->limit = json_integer_value(v);
		if (a->limit < 1 || a->limit > LIST_MAX)
			a->err = talloc_asprintf(a, "limit must be 1 to %d", LIST_MAX);
		return !a->err;
	}
	a->err = talloc_asprintf(a, "unknown member %s", key);
	return false;
}

static bool take_args(struct ask *a, bool list)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)(uintptr_t)a->args, key, v)
		if (!take_arg(a, key, v, list))
			return false;
	if (!list && !a->any && !a->everything)
		a->err = "say which: ids, account, domain, state, or all";
	return !a->err;
}

static int by_key(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;

	return a < b ? -1 : a > b;
}

struct keys {
	int64_t *v;
	size_t n, cap;
};

static void add_key(int64_t key, void *arg)
{
	struct keys *k = arg;

	if (k->n == k->cap) {
		k->cap = k->cap ? k->cap * 2 : 256;
		k->v = talloc_realloc(NULL, k->v, int64_t, k->cap);
		if (!k->v)
			fatal("out of memory");
	}
	k->v[k->n++] = key;
}

static bool wanted(const struct ask *a, const struct msg *m, const struct keys *domain)
{
	return m->state != MSG_COMMITTING &&
	       (!a->account || strcmp(a->account, m->account->name) == 0) &&
	       (!a->state || strcmp(a->state, state_name(a, m)) == 0) &&
	       (!a->domain ||
		(domain->n && bsearch(&m->key, domain->v, domain->n, sizeof(int64_t), by_key)));
}

static void add_found(struct ask *a, struct msg *m)
{
	if (a->n % 256 == 0)
		a->found = talloc_realloc(a, a->found, struct msg *, a->n + 256);
	if (!a->found)
		fatal("out of memory");
	a->found[a->n++] = m;
}

static int by_arrival(const void *x, const void *y)
{
	const struct msg *const *a = x, *const *b = y;

	return by_key(&(*a)->key, &(*b)->key);
}

/* Ids as they were given may come in any order, and twice. */
static void look_up(struct ask *a, const struct keys *domain)
{
	size_t i, kept = 0;
	const json_t *id;

	json_array_foreach (a->ids, i, id) {
		struct msg *m = index_find(a->q->ix, json_string_value(id));
		if (m && wanted(a, m, domain))
			add_found(a, m);
	}
	if (a->n)
		qsort(a->found, a->n, sizeof(void *), by_arrival);
	for (i = 0; i < a->n; i++)
		if (kept == 0 || a->found[kept - 1] != a->found[i])
			a->found[kept++] = a->found[i];
	a->n = kept;
}

/* Oldest first. */
static void walk(struct ask *a, const struct keys *domain)
{
	if (a->ids) {
		look_up(a, domain);
		return;
	}
	for (struct msg *m = index_first(a->q->ix); m; m = m->next)
		if (wanted(a, m, domain))
			add_found(a, m);
}

static bool find(struct ask *a)
{
	struct keys domain = {.n = 0};
	bool ok = !a->domain || spool_read_domain(a->q->reader, a->domain, add_key, &domain);

	if (ok)
		walk(a, &domain);
	else
		a->err = "the spool could not be read in time: ask for less, or again";
	talloc_free(domain.v);
	return ok;
}

/* --- list and show ------------------------------------------------------------------------- */

/* Foreign octets may not be UTF-8; jansson wants it. */
static json_t *text(const char *s)
{
	json_t *v = json_string(s);
	size_t n = strlen(s);

	if (v)
		return v;
	char *clean = talloc_strdup(NULL, s);
	if (!clean)
		fatal("out of memory");
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)clean[i] > 0x7e)
			clean[i] = '?';
	v = json_string(clean);
	talloc_free(clean);
	return v;
}

static const char *why(const struct msg *m, const char *last_reply)
{
	if (m->account->held)
		return m->account->why;
	if (m->hold & HOLD_PENALTY)
		return "held when it was accepted";
	return m->hold & HOLD_OPERATOR ? "held by the operator" : last_reply;
}

/* NULL: not in the spool any more, or not readable (then a->err). */
static json_t *describe(struct ask *a, const struct msg *m)
{
	struct spool_detail d;
	enum spool_found f = spool_read_detail(a->q->reader, m->key, &d);

	if (f == SPOOL_FAILED)
		a->err = "the spool could not be read in time: ask for less, or again";
	if (f != SPOOL_FOUND)
		return NULL;
	json_t *o = json_object();
	json_object_set_new(o, "id", text(m->id));
	json_object_set_new(o, "account", text(m->account->name));
	json_object_set_new(o, "mail_from", text(d.mail_from));
	json_object_set_new(o, "rcpts", json_integer(d.rcpts));
	json_object_set_new(o, "rcpt_domains", text(d.rcpt_domains));
	json_object_set_new(o, "size", json_integer((json_int_t)m->size));
	json_object_set_new(o, "state", text(state_name(a, m)));
	json_object_set_new(o, "why", text(why(m, d.last_reply)));
	json_object_set_new(o, "received_ms", json_integer(m->received_ms));
	json_object_set_new(o, "next_ms", json_integer(m->next_ms));
	json_object_set_new(o, "attempts", json_integer(m->attempts));
	json_object_set_new(o, "last_reply", text(d.last_reply));
	return o;
}

static json_t *list(struct ask *a)
{
	json_t *rows = json_array(), *o;

	a->limit = LIST_DEFAULT;
	if (take_args(a, true) && find(a))
		for (size_t i = 0; i < a->n && !a->err && (int64_t)json_array_size(rows) < a->limit;
		     i++)
			if ((o = describe(a, a->found[i])))
				json_array_append_new(rows, o);
	o = json_object();
	json_object_set_new(o, "total", json_integer((json_int_t)a->n));
	json_object_set_new(o, "messages", rows);
	return o;
}

static void add_recipient(const struct spool_recipient *t, void *arg)
{
	json_t *o = json_object();

	json_object_set_new(o, "address", text(t->address));
	json_object_set_new(o, "state", text(t->state));
	json_object_set_new(o, "status", text(t->status));
	json_object_set_new(o, "reply", text(t->reply));
	json_array_append_new(arg, o);
}

static json_t *show(struct ask *a)
{
	const char *id = json_string_value(json_object_get(a->args, "id"));
	struct msg *m = id && queue_id_valid(id) ? index_find(a->q->ix, id) : NULL;
	json_t *rcpts = json_array(), *o = NULL;

	if (!id || json_object_size(a->args) != 1)
		a->err = "give id, and nothing else";
	else if (!m || m->state == MSG_COMMITTING)
		a->err = "no such message";
	else if (!(o = describe(a, m)) && !a->err)
		a->err = "no such message";
	char *headers = o ? spool_read_headers(a->q->reader, a, m->key) : NULL;
	if (o && (!headers || !spool_read_recipients(a->q->reader, m->key, add_recipient, rcpts)))
		a->err = "the spool could not be read";
	json_object_set_new(o, "recipients", rcpts);
	json_object_set_new(o, "headers", text(headers ? headers : ""));
	return o;
}

/* --- changes ------------------------------------------------------------------------------- */

/* One message; true when it changes (or would). */
static bool hold_one(struct ask *a, struct msg *m)
{
	if (m->hold & HOLD_OPERATOR)
		return false;
	if (a->dry_run)
		return true;
	m->hold |= HOLD_OPERATOR;
	index_update(a->q->ix, m);
	relay_recall(a->q, m);
	return true;
}

static bool release_one(struct ask *a, struct msg *m)
{
	if (!(m->hold & HOLD_OPERATOR))
		return false;
	if (a->dry_run)
		return true;
	m->hold &= (uint8_t)~HOLD_OPERATOR;
	m->next_ms = m->life_from_ms = a->now;
	index_update(a->q->ix, m);
	return true;
}

static bool retry_one(struct ask *a, struct msg *m)
{
	if (index_is_held(m) || m->state != MSG_READY)
		return false;
	if (a->dry_run)
		return true;
	m->next_ms = a->now;
	index_update(a->q->ix, m);
	return true;
}

/* What is with the relay is asked back first, and then dealt with (queue_apply_wish). */
static bool wish(struct ask *a, struct msg *m, enum msg_wish w)
{
	if (a->dry_run)
		return true;
	m->wish = (uint8_t)w;
	if (m->state == MSG_READY)
		queue_apply_wish(a->q, m);
	else
		relay_recall(a->q, m);
	return true;
}

static bool bounce_one(struct ask *a, struct msg *m)
{
	return wish(a, m, WISH_BOUNCE);
}

static bool delete_one(struct ask *a, struct msg *m)
{
	return wish(a, m, WISH_DELETE);
}

enum persist { SETTLED_BY_ITSELF, HOLD_ONLY, TIME_TOO, NEW_LIFE };

static json_t *change(struct ask *a, bool (*one)(struct ask *a, struct msg *m), enum persist p)
{
	struct queue_change *c;
	size_t changed = 0;

	if (!take_args(a, false) || !find(a))
		return NULL;
	c = talloc_array(a, struct queue_change, a->n + 1);
	if (!c)
		fatal("out of memory");
	for (size_t i = 0; i < a->n; i++)
		if (one(a, a->found[i]))
			c[changed++] = (struct queue_change){a->found[i]->key, a->found[i]->hold};
	if (!a->dry_run && changed) {
		if (p != SETTLED_BY_ITSELF)
			queue_op_update(a->q, c, changed, p == HOLD_ONLY ? -1 : a->now,
					p == NEW_LIFE ? a->now : -1);
		queue_kick(a->q);
		if (!writer_sync(a->q->writer, SYNC_MS))
			a->err = "taken, but the spool cannot be written now (is the disk full?); "
				 "it is tried again until it can";
	}
	json_t *o = json_object();
	json_object_set_new(o, "matched", json_integer((json_int_t)a->n));
	json_object_set_new(o, "changed", json_integer((json_int_t)changed));
	return o;
}

static json_t *hold(struct ask *a)
{
	return change(a, hold_one, HOLD_ONLY);
}

static json_t *release(struct ask *a)
{
	return change(a, release_one, NEW_LIFE);
}

static json_t *retry(struct ask *a)
{
	json_t *o = change(a, retry_one, TIME_TOO);

	if (!a->dry_run && !a->err)
		relay_retry(a->q);
	return o;
}

static json_t *bounce(struct ask *a)
{
	return change(a, bounce_one, SETTLED_BY_ITSELF);
}

static json_t *delete_(struct ask *a)
{
	return change(a, delete_one, SETTLED_BY_ITSELF);
}

/* --- figures --------------------------------------------------------------------------------- */

#define BUCKETS 6
static const struct {
	const char *name;
	int64_t below_ms;
} buckets[BUCKETS] = {{"5m", 300000},	{"20m", 1200000}, {"1h", 3600000},
		      {"6h", 21600000}, {"1d", 86400000}, {"older", INT64_MAX}};

struct grid {
	const struct ask *a;
	struct keys only; /* the selection, when there is one */
	struct grid_row {
		char *domain;
		int64_t total, counts[BUCKETS];
	} * rows;
	size_t n;
	json_t *by_name; /* domain -> number of its row */
};

static void grid_row(int64_t key, const char *domain, int64_t received_ms, uint32_t rcpts,
		     void *arg)
{
	struct grid *g = arg;

	if (g->a->any && (!g->only.n || !bsearch(&key, g->only.v, g->only.n, sizeof(key), by_key)))
		return;
	const json_t *at = json_object_get(g->by_name, domain);
	size_t i = at ? (size_t)json_integer_value(at) : g->n, b = 0;

	if (!at) {
		g->rows = talloc_realloc(NULL, g->rows, struct grid_row, g->n + 1);
		if (!g->rows)
			fatal("out of memory");
		g->rows[g->n++] = (struct grid_row){.domain = talloc_strdup(g->rows, domain)};
		json_object_set_new(g->by_name, domain, json_integer((json_int_t)i));
	}
	while (g->a->now - received_ms >= buckets[b].below_ms)
		b++;
	g->rows[i].counts[b] += rcpts;
	g->rows[i].total += rcpts;
}

static int by_total(const void *x, const void *y)
{
	const struct grid_row *a = x, *b = y;

	return a->total != b->total ? (a->total > b->total ? -1 : 1) : strcmp(a->domain, b->domain);
}

static json_t *grid_json(const struct grid *g)
{
	json_t *o = json_object(), *names = json_array(), *rows = json_array();

	for (size_t b = 0; b < BUCKETS; b++)
		json_array_append_new(names, text(buckets[b].name));
	for (size_t i = 0; i < g->n; i++) {
		json_t *row = json_object(), *counts = json_array();
		for (size_t b = 0; b < BUCKETS; b++)
			json_array_append_new(counts, json_integer(g->rows[i].counts[b]));
		json_object_set_new(row, "domain", text(g->rows[i].domain));
		json_object_set_new(row, "total", json_integer(g->rows[i].total));
		json_object_set_new(row, "counts", counts);
		json_array_append_new(rows, row);
	}
	json_object_set_new(o, "buckets", names);
	json_object_set_new(o, "rows", rows);
	return o;
}

/* Recipients still waiting, by domain and age, the fullest domain first. */
static json_t *grid(struct ask *a)
{
	if (!take_args(a, true) || !find(a))
		return NULL;
	struct grid g = {.a = a, .by_name = json_object()};
	for (size_t i = 0; i < a->n; i++)
		add_key(a->found[i]->key, &g.only);
	if (!spool_read_grid(a->q->reader, grid_row, &g))
		a->err = "the spool could not be read in time: try again";
	if (g.n)
		qsort(g.rows, g.n, sizeof(*g.rows), by_total);
	json_t *o = grid_json(&g);
	json_decref(g.by_name);
	talloc_free(g.rows);
	talloc_free(g.only.v);
	return o;
}

static json_t *stats(struct ask *a)
{
	struct index_counts c = index_counts(a->q->ix);
	const struct msg *oldest = index_first(a->q->ix);
	int64_t deferred = 0;
	json_t *o = json_object();

	if (json_object_size(a->args))
		a->err = "queue.stats takes no arguments";
	for (const struct msg *m = oldest; m; m = m->next)
		deferred += strcmp(state_name(a, m), "deferred") == 0;
	json_object_set_new(o, "queued", json_integer((json_int_t)c.queued));
	json_object_set_new(o, "held", json_integer((json_int_t)c.held));
	json_object_set_new(o, "deferred", json_integer(deferred));
	json_object_set_new(o, "active", json_integer((json_int_t)c.active));
	json_object_set_new(o, "bytes", json_integer((json_int_t)c.bytes));
	json_object_set_new(o, "oldest_ms", json_integer(oldest ? oldest->received_ms : 0));
	return o;
}

/* --- the door -------------------------------------------------------------------------------- */

static const struct {
	const char *op;
	json_t *(*fn)(struct ask *a);
} table[] = {
    {"queue.list", list},	{"queue.show", show},	{"queue.hold", hold},
    {"queue.release", release}, {"queue.retry", retry}, {"queue.bounce", bounce},
    {"queue.delete", delete_},	{"queue.grid", grid},	{"queue.stats", stats},
};

json_t *queue_request(struct queue *q, const char *op, const json_t *args, bool *ok)
{
	struct ask *a = talloc_zero(NULL, struct ask);
	json_t *none = json_object(), *result = NULL;

	if (!a || !none)
		fatal("out of memory");
	a->q = q;
	a->args = args ? args : none;
	a->now = clock_utc_ms();
	a->err = json_is_object(a->args) ? "there is no such request" : "args must be an object";
	for (size_t i = 0; json_is_object(a->args) && i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(table[i].op, op) != 0)
			continue;
		a->err = NULL;
		result = table[i].fn(a);
	}
	*ok = !a->err;
	if (a->err) {
		json_decref(result);
		result = text(a->err);
	}
	json_decref(none);
	talloc_free(a);
	return result;
}
