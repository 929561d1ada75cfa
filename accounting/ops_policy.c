/*
 * ops_policy - exemptions from the port-25 block: their life, one request at a time.
 *
 * A change of what is in force is answered when nfqd says that it is in the kernel, or after
 * WAIT_MS. The audit row, the history, the policy version and the exemption are one transaction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/proc.h"
#include "accounting/acctd.h"
#include "accounting/evidence_run.h"
#include "accounting/exempt_args.h"
#include "accounting/reflex.h"

#define WAIT_MS	       1000
#define CHANGES_PER_MS 2       /* nfqd is waited for at least at this pace */
#define EXPIRY_MAX_MS  3600000 /* the clock may be set: look at least so often */
#define EXPIRY_MIN_MS  10      /* one that could not be written: not in a tight loop */

struct policy_wait {
	struct acctd *a;
	struct op_call *c;
	uint64_t version;
	json_t *result;
	struct event *timer;
	struct policy_wait *next;
};

/* --- waiting for nfqd --- */

static void end_wait(struct policy_wait *w, bool in_force)
{
	struct policy_wait **p = &w->a->waits;
	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	json_object_set_new(w->result, "in_force", json_boolean(in_force));
	op_done(w->c, w->result);
	event_free(w->timer);
	free(w);
}

static void on_wait_over(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what;
	end_wait(arg, false);
}

void policy_applied(struct acctd *a, const char *program, uint64_t version)
{
	struct policy_wait *w = a->waits, *next;
	if (strcmp(program, "nfqd") != 0)
		return;
	for (; w; w = next) {
		next = w->next;
		if (w->version <= version)
			end_wait(w, true);
	}
}

void policy_waits_end(struct acctd *a)
{
	while (a->waits)
		end_wait(a->waits, false);
}

static void answer_within(struct op_call *c, uint64_t version, json_t *result, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	json_object_set_new(result, "version", json_integer((json_int_t)version));
	struct policy_wait *w = calloc(1, sizeof *w);
	if (!w)
		fatal("out of memory");
	*w = (struct policy_wait){
	    .a = c->a, .c = c, .version = version, .result = result, .next = c->a->waits};
	w->timer = evtimer_new(c->a->base, on_wait_over, w);
	if (!w->timer)
		fatal("out of memory");
	c->a->waits = w;
	if (feed_server_connected(c->a->feed, "nfqd"))
		(void)event_add(w->timer, &tv);
	else
		end_wait(w, false);
}

void policy_answer(struct op_call *c, uint64_t version, json_t *result)
{
	answer_within(c, version, result, WAIT_MS);
}

/* Many changes take nfqd longer. */
bool policy_commit(struct op_call *c, uint64_t before, json_t *result)
{
	uint64_t version = store_policy_version(c->a->store);
	if (!op_commit(c)) {
		json_decref(result);
		return false;
	}
	policy_plan_expiry(c->a);
	evidence_plan(c->a);
	if (version == before)
		op_done(c, result);
	else
		answer_within(c, version, result,
			      WAIT_MS + (int64_t)(version - before) / CHANGES_PER_MS);
	return true;
}

/* --- expiry --- */

void policy_plan_expiry(struct acctd *a)
{
	int64_t now = clock_utc_ms(), next = store_exemptions_expire(a->store, now);
	int64_t ms = next ? next - now : EXPIRY_MAX_MS;
	if (ms > EXPIRY_MAX_MS)
		ms = EXPIRY_MAX_MS;
	if (ms < EXPIRY_MIN_MS)
		ms = EXPIRY_MIN_MS;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	(void)event_add(a->expiry, &tv);
}

/* --- add and request --- */

/* In a transaction. False after having failed the call. */
static bool none_there(struct op_call *c, const struct prefix *p)
{
	struct store *st = c->a->store;
	char exists[256];
	int64_t old = store_exemption(st, p);
	if (!old)
		return true;
	store_exemption_text(st, old, exists, sizeof exists);
	store_rollback(st);
	op_fail(c, "exists", "%s: remove it first to change it", exists);
	return false;
}

/* Commits and answers. */
static void begin_exemption(struct op_call *c, struct store_exemption *e, const char *action)
{
	struct store *st = c->a->store;
	char prefix[PREFIX_STRLEN];
	bool later = e->starts_ms > c->now_ms;
	uint64_t before = store_policy_version(st);
	e->evidence_due_ms = c->a->conf.evidence_interval_ms ? c->now_ms : 0;
	int64_t id = store_exemption_add(st, e, c->now_ms);
	store_audit(st, &c->who, c->now_ms, action, prefix_format(&e->prefix, prefix), e->reason,
		    e->contract);
	json_t *result = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)id, "prefix", prefix,
				   "state", exempt_state_name(e->state));
	if (later && e->state == EXEMPT_ACTIVE) { /* its time is still to come: nobody waits */
		json_object_set_new(result, "version",
				    json_integer((json_int_t)store_policy_version(st)));
		json_object_set_new(result, "in_force", json_false());
		before = store_policy_version(st);
	}
	policy_commit(c, before, result);
}

static void add_as(struct op_call *c, enum exempt_state state, const char *action)
{
	struct store *st = c->a->store;
	struct store_exemption e;
	struct exempt_error err;
	void *ctx = talloc_new(NULL);
	(void)store_exemptions_expire(st, c->now_ms); /* what ends now is not in the way */
	store_begin(st);
	if (!exempt_from_args(c->a, ctx, c->args, c->now_ms, &e, &err)) {
		store_rollback(st);
		op_fail(c, err.code, "%s", err.text);
	} else if (none_there(c, &e.prefix)) {
		e.state = state;
		e.actor = c->who.actor;
		e.starts_ms = e.starts_ms ? e.starts_ms : c->now_ms;
		begin_exemption(c, &e, action);
	}
	talloc_free(ctx);
}

static void exempt_add(struct op_call *c)
{
	if (c->a->conf.evidence_required)
		op_fail(
		    c, "invalid",
		    "accounting.evidence_required is set: use exempt request, exempt verify and "
		    "exempt activate");
	else
		add_as(c, EXEMPT_ACTIVE, "exempt.add");
}

static void exempt_request(struct op_call *c)
{
	add_as(c, EXEMPT_REQUESTED, "exempt.request");
}

/* --- from state to state --- */

/* The exemption the arguments name; false after having failed the call. */
static bool find_exemption(struct op_call *c, struct store_exempt *x)
{
	struct prefix p;
	char err[128], prefix[PREFIX_STRLEN];
	if (!prefix_parse(op_text(c->args, "prefix"), &p, err)) {
		op_fail(c, "invalid", "%.50s: %s", op_text(c->args, "prefix"), err);
		return false;
	}
	(void)store_exemptions_expire(c->a->store, c->now_ms);
	if (store_exempt_of(c->a->store, &p, x))
		return true;
	op_fail(c, "notfound", "%s is not exempt", prefix_format(&p, prefix));
	return false;
}

static bool may_move(struct op_call *c, const struct store_exempt *x, enum exempt_state to)
{
	enum exempt_state path[EXEMPT_PATH_MAX];
	char prefix[PREFIX_STRLEN];
	prefix_format(&x->entry.prefix, prefix);
	if (x->state == to) {
		op_fail(c, "exists", "%s is %s already", prefix, exempt_state_name(to));
		return false;
	}
	if (exempt_path(x->state, to, path) > 0)
		return true;
	op_fail(c, "invalid", "%s: %s", prefix, exempt_advice(x->state, to));
	return false;
}

/* What follows from the exemption's suspension for abuse, or its end, for accounts. */
static size_t follow(struct op_call *c, const struct store_exempt *x,
		     const struct store_exempt_move *m, struct rl_penalty *out)
{
	struct acctd *a = c->a;
	bool abuse = json_is_true(json_object_get(c->args, "abuse"));
	if (m->to == EXEMPT_ACTIVE && x->state == EXEMPT_SUSPENDED)
		return reflex_resumed(a->store, x->entry.exemption_id, &c->who, c->now_ms, out);
	if (m->to == EXEMPT_SUSPENDED && abuse)
		return reflex_suspended(a->store, a->incidents, &a->conf.reflex,
					x->entry.exemption_id, m->reason, c->now_ms, out);
	return 0;
}

static void move_to(struct op_call *c, const struct store_exempt *x,
		    const struct store_exempt_move *m)
{
	struct store *st = c->a->store;
	char prefix[PREFIX_STRLEN];
	struct rl_penalty *penalty = calloc(REFLEX_ACCOUNTS, sizeof *penalty);
	if (!penalty)
		fatal("out of memory");
	store_begin(st);
	uint64_t before = store_policy_version(st);
	(void)store_exemption_move(st, x->entry.exemption_id, m, &c->who, c->now_ms);
	size_t n = follow(c, x, m, penalty);
	json_t *result =
	    json_pack("{s:I, s:s, s:s}", "id", (json_int_t)x->entry.exemption_id, "prefix",
		      prefix_format(&x->entry.prefix, prefix), "state", exempt_state_name(m->to));
	if (n)
		json_object_set_new(result, "accounts", json_integer((json_int_t)n));
	struct acctd *a = c->a;
	if (policy_commit(c, before, result)) /* c may be gone */
		for (size_t i = 0; i < n; i++)
			(void)rl_set(a->rl, &penalty[i]);
	free(penalty);
}

static const char *reason_of(const struct op_call *c)
{
	const char *s = op_text(c->args, "reason");
	return s ? s : "";
}

static void exempt_remove(struct op_call *c)
{
	struct store_exempt x;
	const struct store_exempt_move m = {
	    .to = EXEMPT_REMOVED, .action = "exempt.remove", .reason = reason_of(c)};
	if (find_exemption(c, &x) && may_move(c, &x, m.to))
		move_to(c, &x, &m);
}

static void exempt_suspend(struct op_call *c)
{
	struct store_exempt x;
	const struct store_exempt_move m = {.to = EXEMPT_SUSPENDED,
					    .action = "exempt.suspend",
					    .reason = reason_of(c),
					    .by = "operator",
					    .until_ms = op_int(c->args, "until_ms", 0)};
	char prefix[PREFIX_STRLEN];
	if (!find_exemption(c, &x))
		return;
	if (m.until_ms && m.until_ms <= c->now_ms) {
		op_fail(c, "invalid", "until: that time is over: give a later one, or none");
		return;
	}
	if (x.state == EXEMPT_REQUESTED || x.state == EXEMPT_VERIFIED)
		op_fail(c, "invalid", "%s: %s", prefix_format(&x.entry.prefix, prefix),
			exempt_advice(x.state, m.to));
	else if (may_move(c, &x, m.to))
		move_to(c, &x, &m);
}

static void exempt_resume(struct op_call *c)
{
	struct store_exempt x;
	char prefix[PREFIX_STRLEN];
	const struct store_exempt_move m = {
	    .to = EXEMPT_ACTIVE, .action = "exempt.resume", .reason = reason_of(c)};
	if (!find_exemption(c, &x))
		return;
	if (x.state == EXEMPT_REQUESTED || x.state == EXEMPT_VERIFIED)
		op_fail(c, "invalid", "%s: %s", prefix_format(&x.entry.prefix, prefix),
			exempt_advice(x.state, EXEMPT_SUSPENDED));
	else if (may_move(c, &x, m.to))
		move_to(c, &x, &m);
}

/* With evidence that holds, where it is required. */
static bool may_activate(struct op_call *c, const struct store_exempt *x)
{
	char prefix[PREFIX_STRLEN];
	enum evidence_verdict v = evidence_parse(x->evidence);
	prefix_format(&x->entry.prefix, prefix);
	if (x->state == EXEMPT_SUSPENDED)
		op_fail(c, "invalid", "%s: %s", prefix, exempt_advice(x->state, EXEMPT_VERIFIED));
	else if (c->a->conf.evidence_required && x->state == EXEMPT_REQUESTED)
		op_fail(c, "invalid", "%s: %s", prefix, exempt_advice(x->state, EXEMPT_ACTIVE));
	else if (c->a->conf.evidence_required && v != EVIDENCE_GOOD && v != EVIDENCE_WEAK)
		op_fail(c, "invalid", "%s: its evidence is %s: verify it again", prefix,
			x->evidence[0] ? x->evidence : "not known");
	else
		return may_move(c, x, EXEMPT_ACTIVE);
	return false;
}

static void exempt_activate(struct op_call *c)
{
	struct store_exempt x;
	const struct store_exempt_move m = {
	    .to = EXEMPT_ACTIVE, .action = "exempt.activate", .reason = reason_of(c)};
	if (find_exemption(c, &x) && may_activate(c, &x))
		move_to(c, &x, &m);
}

/* --- verify --- */

/* One whose evidence holds is verified now. */
static bool become_verified(struct op_call *c, const struct store_exempt *x,
			    const struct evidence *e)
{
	char words[400];
	const struct store_exempt_move m = {.to = EXEMPT_VERIFIED,
					    .action = "exempt.verify",
					    .reason = evidence_summary(e, words, sizeof words)};
	if (x->state != EXEMPT_REQUESTED ||
	    (e->overall != EVIDENCE_GOOD && e->overall != EVIDENCE_WEAK))
		return true;
	store_begin(c->a->store);
	(void)store_exemption_move(c->a->store, x->entry.exemption_id, &m, &c->who, c->now_ms);
	return op_commit(c);
}

static json_t *verified_result(const struct store_exempt *x, const struct evidence *e)
{
	char prefix[PREFIX_STRLEN];
	return json_pack("{s:I, s:s, s:s, s:s, s:o}", "id", (json_int_t)x->entry.exemption_id,
			 "prefix", prefix_format(&x->entry.prefix, prefix), "state",
			 exempt_state_name(x->state), "evidence", evidence_word(e->overall),
			 "items", evidence_json(e));
}

struct verify {
	struct op_call *c;
	int64_t id;
};

static void on_verified(const struct evidence *e, void *arg)
{
	struct verify *v = arg;
	struct op_call *c = v->c;
	struct store_exempt x;
	if (!e || !store_exempt(c->a->store, v->id, &x))
		op_fail(c, "unavailable",
			"it could not be verified: it has ended meanwhile, or "
			"sekisho-acctd stops");
	else if (become_verified(c, &x, e) && store_exempt(c->a->store, v->id, &x))
		op_done(c, verified_result(&x, e));
	free(v);
}

static void exempt_verify(struct op_call *c)
{
	struct store_exempt x;
	if (!find_exemption(c, &x))
		return;
	if (!c->a->evidence) {
		op_fail(c, "unavailable", "nothing is looked up here");
		return;
	}
	struct verify *v = calloc(1, sizeof *v);
	if (!v)
		fatal("out of memory");
	*v = (struct verify){.c = c, .id = x.entry.exemption_id};
	evidence_look(c->a, v->id, on_verified, v);
}

static const struct op_arg change_args[] = {
    {"prefix", OP_TEXT, true}, {"reason", OP_TEXT, false}, {.name = NULL}};
static const struct op_arg suspend_args[] = {{"prefix", OP_TEXT, true},
					     {"reason", OP_TEXT, false},
					     {"until_ms", OP_TIME, false},
					     {"abuse", OP_BOOL, false},
					     {.name = NULL}};
static const struct op_arg verify_args[] = {{"prefix", OP_TEXT, true}, {.name = NULL}};

const struct op ops_policy[] = {
    {"exempt.add", ROLE_ADMIN, exempt_add_args, exempt_add},
    {"exempt.request", ROLE_DESK, exempt_add_args, exempt_request},
    {"exempt.verify", ROLE_DESK, verify_args, exempt_verify},
    {"exempt.activate", ROLE_ADMIN, change_args, exempt_activate},
    {"exempt.suspend", ROLE_DESK, suspend_args, exempt_suspend},
    {"exempt.resume", ROLE_ADMIN, change_args, exempt_resume},
    {"exempt.remove", ROLE_ADMIN, change_args, exempt_remove},
    {.name = NULL},
};
