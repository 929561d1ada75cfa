/*
 * evidence_run - see evidence_run.h.
 *
 * A look asks the DNS in rounds: what the verdict lacks is asked for all at once, and the verdict
 * is made again. It takes LOOK_MS and one question's deadline at most; what is not known by then is
 * trouble. LOOKS_MAX of the schedule are under way at once, so that a day's round of a hundred
 * thousand is a few questions a second.
 *
 * Trusted with: suspending. Diagnostics: "evidence" log lines, the exemption's history. Known gaps:
 * none.
 */
#include "accounting/evidence_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "accounting/dns.h"

#define LOOKS_MAX 16
#define LOOK_MS	  5000
#define AGAIN_MS  900000  /* after trouble of the DNS */
#define PLAN_MAX  3600000 /* the clock may be set */

struct look {
	struct evidence_runner *r;
	struct look *next;
	int64_t id, began_ms; /* monotonic */
	bool scheduled;
	struct evidence_subject subject;
	char helo[256], domain[256];
	void *ctx;
	struct dns_facts *facts;
	int waiting;
	bool asking; /* answers that come at once do not begin a round of their own */
	evidence_done *cb;
	void *arg;
};

struct question {
	struct look *look;
	struct dns_need q;
};

struct evidence_runner {
	struct acctd *a;
	struct dns *dns;
	struct event *timer;
	struct look *looks;
	int n_scheduled;
};

static const struct store_who evidence_who = {"evidence", "dns"};

/* --- the rule --- */

void evidence_follow(const struct evidence_rules *rules, const struct store_exempt *x,
		     enum evidence_verdict found, int64_t now_ms, struct evidence_next *out)
{
	bool holds = found == EVIDENCE_GOOD || found == EVIDENCE_WEAK;
	bool bad = found == EVIDENCE_BAD, counts = x->held_ms || rules->required;
	int64_t in = rules->interval_ms;
	*out = (struct evidence_next){.held_ms = holds ? now_ms : x->held_ms};
	out->bad_ms = holds ? 0 : bad && !x->bad_ms ? now_ms : x->bad_ms;
	if (bad && counts && x->state == EXEMPT_ACTIVE) {
		int64_t left = out->bad_ms + rules->grace_ms - now_ms;
		out->suspend = left <= 0;
		out->warn = !out->suspend && !x->bad_ms;
		in = !out->suspend && left < in ? left : in;
	}
	if (found == EVIDENCE_UNKNOWN && in > AGAIN_MS)
		in = AGAIN_MS;
	out->due_ms = rules->interval_ms ? now_ms + in : 0;
}

static void note(struct acctd *a, const struct store_exempt *x, const struct evidence *e,
		 const char *words, int64_t now_ms)
{
	char line[480];
	const char *state = exempt_state_name(x->state);
	if (strcmp(x->evidence, evidence_word(e->overall)) == 0)
		return;
	snprintf(line, sizeof line, "evidence %s%s%s", x->evidence[0] ? "was " : "is ",
		 x->evidence[0] ? x->evidence : "", x->evidence[0] ? ", now " : "");
	size_t used = strlen(line);
	snprintf(line + used, sizeof line - used, "%s", words);
	store_exemption_note(a->store, x->entry.exemption_id, &evidence_who, state, state, line,
			     now_ms);
}

static void tell(const struct store_exempt *x, const struct evidence_next *next, const char *words)
{
	char prefix[PREFIX_STRLEN];
	prefix_format(&x->entry.prefix, prefix);
	if (next->suspend)
		log_event(LOG_WARNING, prefix, "evidence", "suspended", LS("why", words));
	else if (next->warn)
		log_event(LOG_WARNING, prefix, "evidence", "lost", LS("why", words),
			  LS("hint", "it is suspended after accounting.evidence_grace"));
	else if (x->bad_ms && !next->bad_ms)
		log_event(LOG_NOTICE, prefix, "evidence", "back", LS("found", words));
	else
		log_event(LOG_INFO, prefix, "evidence", "looked", LS("found", words));
}

/* In a transaction of its own; false when it has ended or nothing could be written. */
static bool apply(struct acctd *a, int64_t id, const struct evidence *e)
{
	const struct evidence_rules rules = {a->conf.evidence_interval_ms,
					     a->conf.evidence_grace_ms, a->conf.evidence_required};
	struct store *st = a->store;
	struct store_exempt x;
	struct evidence_next next;
	char words[400];
	int64_t now = clock_utc_ms();
	evidence_summary(e, words, sizeof words);
	store_begin(st);
	if (!store_exempt(st, id, &x) || !exempt_lives(x.state)) {
		store_rollback(st);
		return false;
	}
	evidence_follow(&rules, &x, e->overall, now, &next);
	json_t *items = evidence_json(e);
	char *detail = json_dumps(items, JSON_COMPACT);
	json_decref(items);
	store_evidence_put(st, id,
			   &(struct store_evidence){evidence_word(e->overall), detail, next.due_ms,
						    next.held_ms, next.bad_ms},
			   now);
	free(detail);
	note(a, &x, e, words, now);
	if (next.suspend || (x.state == EXEMPT_VERIFIED && e->overall == EVIDENCE_BAD)) {
		const struct store_exempt_move m = {
		    .to = next.suspend ? EXEMPT_SUSPENDED : EXEMPT_REQUESTED,
		    .action = next.suspend ? "exempt.suspend" : "exempt.unverify",
		    .reason = words,
		    .by = "evidence"};
		(void)store_exemption_move(st, id, &m, &evidence_who, now);
	}
	bool ok = store_commit(st, NULL, NULL);
	if (ok)
		tell(&x, &next, words);
	return ok;
}

/* --- a look --- */

static void step(struct look *l);

static void end_look(struct look *l, const struct evidence *e)
{
	struct evidence_runner *r = l->r;
	struct look **p = &r->looks;
	bool ok = apply(r->a, l->id, e);
	while (*p != l)
		p = &(*p)->next;
	*p = l->next;
	r->n_scheduled -= l->scheduled;
	if (l->cb)
		l->cb(ok ? e : NULL, l->arg);
	bool plan = l->scheduled || ok;
	talloc_free(l->ctx);
	free(l);
	if (plan)
		evidence_plan(r->a);
}

static void on_fact(const struct dns_answer *a, void *arg)
{
	struct question *q = arg;
	struct look *l = q->look;
	dns_fact_put(l->facts, q->q.type, q->q.name, a);
	if (--l->waiting == 0 && !l->asking)
		step(l);
}

static void ask_one(struct look *l, const struct dns_need *need, bool late)
{
	static const struct dns_answer no_time = {.status = DNS_TROUBLE,
						  .why = "no server answers in time"};
	if (late) {
		dns_fact_put(l->facts, need->type, need->name, &no_time);
		return;
	}
	struct question *q = talloc_zero(l->ctx, struct question);
	q->look = l;
	q->q = *need;
	l->waiting++;
	dns_ask(l->r->dns, l->ctx, need->type, need->name, on_fact, q);
}

/* Rounds, until the verdict is there or answers have to be waited for. */
static void step(struct look *l)
{
	struct evidence e;
	struct dns_need needs[DNS_NEEDS_MAX];
	while (!evidence_judge(&l->subject, l->facts, &e)) {
		bool late = clock_mono_ms() - l->began_ms > LOOK_MS;
		size_t n = dns_facts_needs(l->facts, needs);
		l->asking = true;
		for (size_t i = 0; i < n; i++)
			ask_one(l, &needs[i], late);
		l->asking = false;
		if (l->waiting)
			return;
	}
	end_look(l, &e);
}

static void begin_look(struct evidence_runner *r, const struct store_exempt *x, bool scheduled,
		       evidence_done *cb, void *arg)
{
	struct look *l = calloc(1, sizeof *l);
	if (!l)
		fatal("out of memory");
	*l = (struct look){.r = r,
			   .next = r->looks,
			   .id = x->entry.exemption_id,
			   .began_ms = clock_mono_ms(),
			   .scheduled = scheduled,
			   .ctx = talloc_new(NULL),
			   .cb = cb,
			   .arg = arg};
	memcpy(l->helo, x->helo, sizeof l->helo);
	memcpy(l->domain, x->domain, sizeof l->domain);
	l->subject = (struct evidence_subject){
	    .prefix = x->entry.prefix, .helo = l->helo, .domain = l->domain};
	l->facts = dns_facts_new(l->ctx);
	r->looks = l;
	r->n_scheduled += scheduled;
	step(l);
}

void evidence_look(struct acctd *a, int64_t id, evidence_done *cb, void *arg)
{
	struct store_exempt x;
	if (store_exempt(a->store, id, &x))
		begin_look(a->evidence, &x, false, cb, arg);
	else if (cb)
		cb(NULL, arg);
}

/* --- the schedule --- */

/* Takes one that is due, and puts its next look off, so that it is not taken again meanwhile. */
static bool take_due(struct evidence_runner *r, struct store_exempt *x)
{
	struct store *st = r->a->store;
	int64_t now = clock_utc_ms(), id = store_evidence_due(st, now);
	int64_t wait = r->a->conf.evidence_interval_ms;
	if (!id)
		return false;
	store_begin(st);
	bool ok = store_exempt(st, id, x);
	store_evidence_plan(st, id, wait ? now + (wait < PLAN_MAX ? wait : PLAN_MAX) : 0);
	return store_commit(st, NULL, NULL) && ok;
}

static void plan_in(struct evidence_runner *r, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	(void)event_add(r->timer, &tv);
}

static void on_due(evutil_socket_t none, short what, void *arg)
{
	struct evidence_runner *r = arg;
	struct store_exempt x;
	(void)none, (void)what;
	if (r->n_scheduled < LOOKS_MAX && r->a->conf.evidence_interval_ms && take_due(r, &x))
		begin_look(r, &x, true, NULL, NULL);
	evidence_plan(r->a);
}

void evidence_plan(struct acctd *a)
{
	struct evidence_runner *r = a->evidence;
	if (!r || r->n_scheduled >= LOOKS_MAX || !a->conf.evidence_interval_ms)
		return; /* planned again when one ends */
	int64_t next = store_evidence_next(a->store), now = clock_utc_ms();
	int64_t ms = next ? next - now : PLAN_MAX;
	plan_in(r, ms < 1 ? 1 : ms > PLAN_MAX ? PLAN_MAX : ms);
}

struct evidence_runner *evidence_runner_new(struct acctd *a, const char **err)
{
	struct evidence_runner *r = calloc(1, sizeof *r);
	if (!r)
		fatal("out of memory");
	r->a = a;
	r->dns = dns_new(a->base, a->conf.dns_server, a->conf.dns_trust_anchor, err);
	r->timer = evtimer_new(a->base, on_due, r);
	if (!r->timer)
		fatal("out of memory");
	if (r->dns)
		return r;
	event_free(r->timer);
	free(r);
	return NULL;
}

void evidence_runner_free(struct evidence_runner *r)
{
	struct look *l;
	if (!r)
		return;
	r->a->evidence = NULL; /* who is told may ask again */
	dns_free(r->dns);
	while ((l = r->looks) != NULL) {
		r->looks = l->next;
		if (l->cb)
			l->cb(NULL, l->arg);
		talloc_free(l->ctx);
		free(l);
	}
	event_free(r->timer);
	free(r);
}
