/*
 * queue_request - what operators ask of the queue: docs/protocols/control.md, queue.*.
 *
 * Purpose: select messages, show them, change them. A change is in the spool before it is answered.
 * However many are queued, one request looks at a bounded number: what it did not come to is for
 * the next one, which begins after the id that the answer's "next" names. Trusted with: nothing of
 * its own; args are foreign and checked. Diagnostics: the error text says what to change. Known
 * gaps: bounce and delete of a message under delivery wait for its outcome and are forgotten when
 * msad ends before it.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/queue_ask.h"
#include "msa/route/route.h"

#define LIST_DEFAULT 100
#define LIST_MAX     1000
#define IDS_MAX	     1000
#define CHANGE_MAX   1000  /* messages changed in one request */
#define LOOK_MAX     20000 /* messages looked at in one request: a few milliseconds */
#define READ_MAX     2000  /* of them, read from the disk */
#define ROUTE_MAX    200
#define SYNC_MS	     2000

/* --- selection --------------------------------------------------------------------------- */

static const char *state_name(const struct ask *a, const struct msg *m)
{
	if (m->state == MSG_ACTIVE || m->state == MSG_SETTLING)
		return "active";
	if (index_is_held(m))
		return "held";
	if (m->unread)
		return "unreadable";
	return m->attempts > 0 && m->next_ms > a->now ? "deferred" : "due";
}

static bool is_state(const char *s)
{
	return strcmp(s, "due") == 0 || strcmp(s, "held") == 0 || strcmp(s, "deferred") == 0 ||
	       strcmp(s, "active") == 0 || strcmp(s, "unreadable") == 0;
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

static bool take_ms(struct ask *a, const char *key, const json_t *v, int64_t *out)
{
	*out = json_integer_value(v);
	if (!json_is_integer(v) || *out < 0)
		a->err = talloc_asprintf(a, "%s must be a number of milliseconds", key);
	a->any = true;
	return !a->err;
}

static bool take_after(struct ask *a, const json_t *v)
{
	const char *id = json_string_value(v);

	if (!id || !queue_id_valid(id))
		a->err = "after must be the id that the last answer gave as next";
	else
		a->after = queue_id_key(id);
	return !a->err;
}

static const char *no_such_route(const struct ask *a)
{
	const char *name;
	char *known = talloc_strdup(a, "");
	for (size_t i = 0; (name = route_name(a->q->routes, i)); i++)
		known = talloc_asprintf_append(known, "%s %s", i ? "," : ":", name);
	return talloc_asprintf(a, "there is no route %s; routes of the configuration%s", a->route,
			       known[0] ? known : ": none");
}

/* The name of a route of the configuration; "" takes it back. */
static bool take_route(struct ask *a, const json_t *v)
{
	a->route = json_string_value(v);
	if (!a->route || strlen(a->route) > ROUTE_MAX ||
	    a->route[strspn(a->route,
			    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			    "._:[]-")])
		a->err = "route must be the name of a route: letters, digits, . _ : - [ ]";
	else if (a->route[0] && !route_find(a->q->routes, a->route))
		a->err = no_such_route(a);
	return !a->err;
}

/* What the rows of a grid are. */
static bool take_by(struct ask *a, const json_t *v)
{
	const char *by = json_string_value(v);

	a->by_account = by && strcmp(by, "account") == 0;
	if (!a->by_account && (!by || strcmp(by, "domain") != 0))
		a->err = "by must be domain or account";
	return !a->err;
}

static bool take_arg(struct ask *a, const char *key, const json_t *v, enum asked what)
{
	bool list = what == ASK_LOOK || what == ASK_GRID;

	if (strcmp(key, "after") == 0)
		return take_after(a, v);
	if (strcmp(key, "older_ms") == 0)
		return take_ms(a, key, v, &a->older_ms);
	if (strcmp(key, "younger_ms") == 0)
		return take_ms(a, key, v, &a->younger_ms);
	if (strcmp(key, "reason") == 0)
		return take_text(a, key, v, &a->reason);
	if (what == ASK_MOVE && strcmp(key, "route") == 0)
		return take_route(a, v);
	if (what == ASK_GRID && strcmp(key, "by") == 0)
		return take_by(a, v);
	if (strcmp(key, "ids") == 0)
		return take_ids(a, v);
	if (strcmp(key, "account") == 0)
		return take_text(a, key, v, &a->account);
	if (strcmp(key, "domain") == 0)
		return take_text(a, key, v, &a->domain);
	if (strcmp(key, "state") == 0) {
		if (take_text(a, key, v, &a->state) && !is_state(a->state))
			a->err = "state must be due, held, deferred, active or unreadable";
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

bool queue_ask_args(struct ask *a, enum asked what)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)(uintptr_t)a->args, key, v)
		if (!take_arg(a, key, v, what))
			return false;
	if (what != ASK_LOOK && what != ASK_GRID && !a->any && !a->everything)
		a->err = "say which: ids, account, domain, state, older_ms, younger_ms, reason, or "
			 "all";
	if (what == ASK_MOVE && !a->route && !a->err)
		a->err = "say which route; \"\" goes by the rules again";
	return !a->err;
}

/* The domain is among those that still wait. */
static bool goes_to(const struct msg *m, const char *domain)
{
	size_t n = strlen(domain);

	for (const char *p = m->dest->text; *p;) {
		size_t k = strcspn(p, " ");
		if (k == n && strncasecmp(p, domain, n) == 0)
			return true;
		p += k + (p[k] == ' ');
		p += strcspn(p, " ");
		p += *p == ' ';
	}
	return false;
}

static const char *why(const struct msg *m, const char *last_reply)
{
	if (m->account->held)
		return m->account->why;
	if (m->hold & HOLD_PENALTY)
		return "held when it was accepted";
	if (m->hold & HOLD_OPERATOR)
		return "held by the operator";
	return m->unread ? "the disk does not give it" : last_reply;
}

/* What is said of it holds the text, whatever the case. Without an attempt there is no reply. */
static bool has_reason(struct ask *a, const struct msg *m)
{
	struct spool_detail d = {.last_reply = ""};

	if (!index_is_held(m) && m->attempts) {
		a->reads++;
		if (spool_read_detail(a->q->reader, m->place, &d) != SPOOL_FOUND)
			return false;
	}
	return strcasestr(why(m, d.last_reply), a->reason) != NULL;
}

static bool wanted(struct ask *a, const struct msg *m)
{
	int64_t age = a->now - m->received_ms;

	return m->state != MSG_COMMITTING &&
	       (!a->account || strcmp(a->account, m->account->name) == 0) &&
	       (!a->state || strcmp(a->state, state_name(a, m)) == 0) &&
	       (a->older_ms < 0 || age >= a->older_ms) &&
	       (a->younger_ms < 0 || age < a->younger_ms) &&
	       (!a->domain || goes_to(m, a->domain)) && (!a->reason || has_reason(a, m));
}

static void add_found(struct ask *a, struct msg *m)
{
	if (a->n % 256 == 0)
		a->found = talloc_realloc(a, a->found, struct msg *, a->n + 256);
	if (!a->found)
		fatal("out of memory");
	a->found[a->n++] = m;
	a->bytes += m->size;
}

static int by_arrival(const void *x, const void *y)
{
	const struct msg *const *a = x, *const *b = y;

	return (*a)->key < (*b)->key ? -1 : (*a)->key > (*b)->key;
}

/* Ids as they were given may come in any order, and twice. */
static void look_up(struct ask *a)
{
	size_t i, kept = 0;
	const json_t *id;

	json_array_foreach (a->ids, i, id) {
		struct msg *m = index_find(a->q->ix, json_string_value(id));
		if (m && wanted(a, m))
			add_found(a, m);
	}
	if (a->n)
		qsort(a->found, a->n, sizeof(void *), by_arrival);
	a->bytes = 0;
	for (i = 0; i < a->n; i++)
		if (kept == 0 || a->found[kept - 1] != a->found[i]) {
			a->bytes += a->found[i]->size;
			a->found[kept++] = a->found[i];
		}
	a->n = kept;
}

void queue_ask_find(struct ask *a, size_t max)
{
	struct msg *m = a->after < 0 ? index_first(a->q->ix) : index_above(a->q->ix, a->after);

	a->next = -1;
	if (a->ids) {
		look_up(a);
		return;
	}
	for (; m; m = m->next) {
		if (a->n == max || a->looked == LOOK_MAX || a->reads >= READ_MAX) {
			a->next = m->prev ? m->prev->key : -1;
			return;
		}
		a->looked++;
		if (wanted(a, m))
			add_found(a, m);
	}
}

void queue_ask_next(struct ask *a, json_t *o)
{
	const struct msg *m = a->next < 0 ? NULL : index_above(a->q->ix, a->next - 1);

	json_object_set_new(o, "next", m && m->key == a->next ? json_string(m->id) : json_null());
}

/* --- list and show ------------------------------------------------------------------------- */

json_t *queue_ask_text(const char *s)
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

/* NULL: not in the spool any more. What the disk does not give is empty. */
static json_t *describe(const struct ask *a, const struct msg *m)
{
	struct spool_detail d;
	enum spool_found f = spool_read_detail(a->q->reader, m->place, &d);

	if (f == SPOOL_GONE)
		return NULL;
	if (f != SPOOL_FOUND)
		d = (struct spool_detail){.mail_from = "",
					  .route = "",
					  .rcpts = m->dest->rcpts,
					  .rcpt_domains = "",
					  .last_reply = "the disk does not give it"};
	json_t *o = json_object();
	json_object_set_new(o, "id", queue_ask_text(m->id));
	json_object_set_new(o, "account", queue_ask_text(m->account->name));
	json_object_set_new(o, "mail_from", queue_ask_text(d.mail_from));
	json_object_set_new(o, "rcpts", json_integer(d.rcpts));
	json_object_set_new(o, "rcpt_domains", queue_ask_text(d.rcpt_domains));
	json_object_set_new(o, "size", json_integer((json_int_t)m->size));
	json_object_set_new(o, "state", queue_ask_text(state_name(a, m)));
	json_object_set_new(o, "why", queue_ask_text(why(m, d.last_reply)));
	json_object_set_new(o, "received_ms", json_integer(m->received_ms));
	json_object_set_new(o, "next_ms", json_integer(m->next_ms));
	json_object_set_new(o, "attempts", json_integer(m->attempts));
	json_object_set_new(o, "route", queue_ask_text(d.route));
	json_object_set_new(o, "last_reply", queue_ask_text(d.last_reply));
	return o;
}

/* How many there are in all, when that is known without looking at each; -1 else. */
static int64_t known_total(const struct ask *a)
{
	const struct index_counts c = index_counts(a->q->ix);
	const struct account *of = a->account ? index_account(a->q->ix, a->account, false) : NULL;
	bool held = a->state && strcmp(a->state, "held") == 0;

	if (a->ids || a->domain || a->reason || a->older_ms >= 0 || a->younger_ms >= 0 ||
	    (a->state && !held))
		return -1;
	if (a->account)
		return !of ? 0 : (int64_t)(held ? of->n_held : of->n);
	return (int64_t)(held ? c.held : c.queued);
}

static void put_total(struct ask *a, json_t *o, bool from_start)
{
	int64_t total = known_total(a);

	if (total < 0 && from_start && a->next < 0)
		total = (int64_t)a->n;
	json_object_set_new(o, "total", total < 0 ? json_null() : json_integer(total));
}

static json_t *list(struct ask *a)
{
	json_t *rows = json_array(), *o = json_object();

	a->limit = LIST_DEFAULT;
	json_object_set_new(o, "messages", rows);
	if (!queue_ask_args(a, ASK_LOOK))
		return o;
	queue_ask_find(a, a->ids ? SIZE_MAX : (size_t)a->limit);
	for (size_t i = 0; i < a->n && !a->err && i < (size_t)a->limit; i++)
		json_array_append_new(rows, describe(a, a->found[i]));
	queue_ask_next(a, o);
	put_total(a, o, a->after < 0);
	return o;
}

static void add_recipient(const struct spool_recipient *t, void *arg)
{
	json_t *o = json_object();

	json_object_set_new(o, "address", queue_ask_text(t->address));
	json_object_set_new(o, "state", queue_ask_text(t->state));
	json_object_set_new(o, "status", queue_ask_text(t->status));
	json_object_set_new(o, "reply", queue_ask_text(t->reply));
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
	char *headers = o ? spool_read_headers(a->q->reader, a, m->place) : NULL;
	if (o && (!headers || !spool_read_recipients(a->q->reader, m->place, add_recipient, rcpts)))
		a->err = "the spool could not be read";
	json_object_set_new(o, "recipients", rcpts);
	json_object_set_new(o, "headers", queue_ask_text(headers ? headers : ""));
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

static bool move_one(struct ask *a, struct msg *m)
{
	if (m->state != MSG_READY)
		return false;
	if (a->dry_run)
		return true;
	m->routed = a->route[0] != '\0';
	m->next_ms = a->now;
	index_update(a->q->ix, m);
	return true;
}

enum persist { SETTLED_BY_ITSELF, HOLD_ONLY, TIME_TOO, NEW_LIFE };

static void persist(struct ask *a, const struct queue_change *c, size_t n, enum persist p)
{
	if (p != SETTLED_BY_ITSELF)
		queue_op_update(a->q, c, n, p == HOLD_ONLY ? -1 : a->now,
				p == NEW_LIFE ? a->now : -1, a->route);
	queue_kick(a->q);
	if (!writer_sync(a->q->writer, SYNC_MS))
		a->err = "taken, but the spool cannot be written now (is the disk full?); "
			 "it is tried again until it can";
}

static json_t *change(struct ask *a, bool (*one)(struct ask *a, struct msg *m), enum persist p)
{
	struct queue_change *c;
	size_t changed = 0;

	if (!queue_ask_args(a, one == move_one ? ASK_MOVE : ASK_CHANGE))
		return NULL;
	if (!a->dry_run && one != delete_one && one != retry_one &&
	    spool_room(a->q->spool) == ROOM_TIGHT) {
		a->err = "the disk of the spool has no room for this: delete, retry and holds of "
			 "accounts go on; the rest when there is room again";
		return NULL;
	}
	queue_ask_find(a, a->dry_run ? SIZE_MAX : CHANGE_MAX);
	json_t *o = json_object();
	queue_ask_next(a, o); /* before the messages may be gone */
	c = talloc_array(a, struct queue_change, a->n + 1);
	if (!c)
		fatal("out of memory");
	for (size_t i = 0; i < a->n; i++)
		if (one(a, a->found[i]))
			c[changed++] = (struct queue_change){.key = a->found[i]->key,
							     .hold = a->found[i]->hold};
	if (!a->dry_run && changed)
		persist(a, c, changed, p);
	json_object_set_new(o, "matched", json_integer((json_int_t)a->n));
	json_object_set_new(o, "changed", json_integer((json_int_t)changed));
	json_object_set_new(o, "bytes", json_integer((json_int_t)a->bytes));
	return o;
}

static json_t *move(struct ask *a)
{
	return change(a, move_one, TIME_TOO);
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

/* --- the door -------------------------------------------------------------------------------- */

static const struct {
	const char *op;
	json_t *(*fn)(struct ask *a);
} table[] = {
    {"queue.list", list},
    {"queue.show", show},
    {"queue.hold", hold},
    {"queue.release", release},
    {"queue.retry", retry},
    {"queue.bounce", bounce},
    {"queue.delete", delete_},
    {"queue.grid", queue_ask_grid},
    {"queue.stats", queue_ask_stats},
    {"queue.damaged", queue_ask_damaged},
    {"queue.move", move},
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
	a->older_ms = a->younger_ms = a->after = a->next = -1;
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
		result = queue_ask_text(a->err);
	}
	json_decref(none);
	talloc_free(a);
	return result;
}
