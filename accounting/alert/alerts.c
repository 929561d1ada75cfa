/*
 * alerts - see alerts.h: the part that decides what is told, and when. outgoing.c sends it.
 *
 * A turn: what is new in the timelines and among the states of the appliance becomes waiting items
 * (in the transaction that marks it as seen); what is due becomes an alert, with a row of the
 * outbox for each receiver (in the transaction that marks it as told); what is due there is handed
 * to the sender. Turns come after commits that touched a timeline, when something falls due, and
 * after each answer.
 *
 * Trusted with: nothing beyond acctd. Diagnostics: "alert" log lines; metrics sekisho_alert_*.
 * Known gaps: when the database cannot be written nothing new is told (disk-low says so before).
 */
#include "accounting/alert/alerts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "accounting/acctd.h"
#include "accounting/alert/outgoing.h"
#include "accounting/alert/pace.h"
#include "accounting/alert/payload.h"
#include "accounting/alert/rules.h"
#include "accounting/alert/watch.h"
#include "accounting/store_alert.h"
#include "accounting/token.h"

#define BATCH	 200	      /* lines of timelines in one transaction */
#define KEEP_MS	 2592000000LL /* what was sent is remembered for 30 days */
#define PRUNE_MS 3600000
#define AGAIN_MS 5000 /* after trouble with the database */
#define DAY_MS	 86400000

/* Of one account: asked when a rule cares for classes. */
struct class_known {
	char account[EVENT_ACCOUNT_MAX + 1], class[32];
	bool asking, asked;
};

struct alerts {
	struct acctd *a;
	struct outgoing *out;
	struct watch *watch;
	struct event *turn;
	struct class_known class;
	char host[256];
	int64_t pruned_ms;
	struct metric *m_made;
};

/* The soonest of several times; 0: none. */
static void sooner(int64_t *t, int64_t other)
{
	if (other && (!*t || other < *t))
		*t = other;
}

static void turn_at(struct alerts *al, int64_t at_ms, int64_t now_ms)
{
	int64_t in = at_ms > now_ms ? at_ms - now_ms : 0;
	const struct timeval tv = {.tv_sec = (time_t)(in / 1000),
				   .tv_usec = (suseconds_t)(in % 1000 * 1000)};
	(void)event_add(al->turn, &tv);
}

/* Something may be to do: from inside a commit, so not now. */
static void wake(void *arg)
{
	struct alerts *al = arg;
	event_active(al->turn, EV_TIMEOUT, 0);
}

static const struct alert_rule *rule_at(const struct alerts *al, size_t i)
{
	const struct conf_items *rules = &al->a->conf.alerts.rules;
	return i < rules->n ? &((const struct alert_rule *)rules->items)[i] : NULL;
}

/* --- what is new --- */

static void item_over(struct store *s, const struct alert_rule *r, struct store_alert_item *i,
		      int64_t now_ms)
{
	if (i->over)
		return;
	i->over = true;
	i->rank = 0;
	if (i->told && r->resolved && !i->new_ms && !i->change_ms)
		i->change_ms = now_ms;
	store_alert_item_put(s, i);
}

/* A change that is worse than what was told is news; a complaint more is a change; what else is
 * like what was told is not told again. */
static void item_more(struct store *s, struct store_alert_item *i, bool known,
		      const struct alert_change *c, int64_t now_ms)
{
	int rank = rules_rank(c);
	bool news = !known || rank > i->rank, more = strcmp(c->what, "complaint") == 0;
	if (!news && !more)
		return;
	if (news && !i->new_ms)
		i->new_ms = now_ms;
	else if (!news && !i->change_ms)
		i->change_ms = now_ms;
	if (news)
		i->rank = rank;
	i->over = false;
	store_alert_item_put(s, i);
}

static void change_seen(struct alerts *al, const struct alert_change *c, const char *kase,
			int64_t incident, int64_t now_ms)
{
	struct store *s = al->a->store;
	const struct alert_rule *r;
	for (size_t n = 0; (r = rule_at(al, n)) != NULL; n++) {
		struct store_alert_item i = {
		    .rule = r->name, .kase = kase, .kind = c->kind, .incident = incident};
		bool known = store_alert_item(s, &i);
		if (known && rules_rank(c) < 0)
			item_over(s, r, &i, now_ms);
		else if (rules_wants(r, c))
			item_more(s, &i, known, c, now_ms);
	}
}

static void line_seen(struct alerts *al, const struct store_alert_change *l, int64_t now_ms)
{
	char kase[32];
	struct alert_change c = {.kind = rules_kind(l->detector),
				 .what = l->what,
				 .severity = l->severity,
				 .stage = l->stage,
				 .class = l->account ? al->class.class : "",
				 .account = l->account};
	snprintf(kase, sizeof kase, "incident %lld", (long long)l->incident);
	change_seen(al, &c, kase, l->incident, now_ms);
	store_alert_seen(al->a->store, l->event);
}

static void on_class(bool ok, const json_t *result, void *arg)
{
	struct alerts *al = arg;
	const json_t *class = json_object_get(result, "class");
	const char *name = json_string_value(json_object_get(class, "name"));
	al->class.asking = false;
	al->class.asked = true;
	/* Away: not known, which is no reason to be silent. */
	snprintf(al->class.class, sizeof al->class.class, "%s",
		 name		? name
		 : ok && result ? "none"
				: "");
	wake(al);
}

static bool classes_matter(const struct alerts *al)
{
	const struct alert_rule *r;
	for (size_t n = 0; (r = rule_at(al, n)) != NULL; n++)
		if (r->classes.n)
			return true;
	return false;
}

/* May this line be looked at now? Else its account's class is being asked for. */
static bool class_known(struct alerts *al, const struct store_alert_change *l)
{
	if (!l->account || !classes_matter(al))
		return true;
	bool same = strcmp(al->class.account, l->subject) == 0;
	if (al->class.asking || (same && al->class.asked))
		return !al->class.asking;
	snprintf(al->class.account, sizeof al->class.account, "%s", l->subject);
	al->class.class[0] = '\0';
	al->class.asked = false;
	if (!rl_connected(al->a->rl))
		return al->class.asked = true;
	json_t *args = json_pack("{s:s}", "account", l->subject);
	al->class.asking = true;
	rl_admin(al->a->rl, "limit.show", args, on_class, al);
	json_decref(args);
	return !al->class.asking;
}

/* False: the database does not take it, or something must be asked first. */
static bool look_at_timelines(struct alerts *al, int64_t now_ms)
{
	struct store *s = al->a->store;
	struct store_alert_change l;
	bool more = store_alert_next(s, &l), ok = true;
	while (more && ok && class_known(al, &l)) {
		store_begin(s);
		for (int n = 0; n < BATCH && (more = store_alert_next(s, &l)) != false; n++) {
			if (!class_known(al, &l))
				break;
			line_seen(al, &l, now_ms);
		}
		ok = store_commit(s, NULL, NULL);
	}
	/* The next line of the same account may be after a change of its class. */
	if (!al->class.asking)
		al->class.asked = false;
	return ok;
}

static bool held(const char *name, void *arg)
{
	struct alerts *al = arg;
	return store_alert_condition(al->a->store, name);
}

static void on_condition(const struct condition *c, void *arg)
{
	struct alerts *al = arg;
	struct store *s = al->a->store;
	bool before = store_alert_condition(s, c->name);
	struct alert_change ch = {.kind = "appliance",
				  .what = c->holds ? "begun" : "ended",
				  .severity = c->severity,
				  .stage = "",
				  .class = ""};
	int64_t now = clock_utc_ms();
	if (before == c->holds)
		return;
	log_event(c->holds ? LOG_WARNING : LOG_NOTICE, "-", "alert", ch.what, LS("state", c->name),
		  LS("why", c->why));
	if (c->holds)
		store_alert_condition_put(s, c->name, c->severity, c->why, now);
	else
		store_alert_condition_end(s, c->name, now);
	change_seen(al, &ch, c->name, 0, now);
}

static void on_looked(const struct conditions_facts *f, void *arg)
{
	struct alerts *al = arg;
	store_begin(al->a->store);
	conditions_look(&al->a->conf.alerts.limits, f, held, on_condition, al);
	(void)store_commit(al->a->store, NULL, NULL);
	wake(al);
}

/* --- what is due --- */

struct due {
	const struct alert_rule *r;
	struct pace_hour hour;
	int64_t now_ms, next_ms;
	char kind[16]; /* of an alert that is due; "" none */
};

static void on_waiting(const struct store_alert_waits *w, void *arg)
{
	struct due *d = arg;
	struct pace_kind k = {
	    .new_ms = w->new_ms, .change_ms = w->change_ms, .told_ms = w->told_ms, .told = w->told};
	int64_t at = pace_due(d->r, &k, &d->hour);
	if (at && at <= d->now_ms)
		snprintf(d->kind, sizeof d->kind, "%s", w->kind);
	else
		sooner(&d->next_ms, at);
}

static void make_payload(struct alerts *al, const struct due *d, const char *uuid,
			 struct store_alert *out, json_t **keep)
{
	int64_t all = 0;
	const struct payload_head h = {.uuid = uuid,
				       .rule = d->r->name,
				       .kind = d->kind,
				       .host = al->host,
				       .dashboard = al->a->conf.alerts.dashboard_url,
				       .now_ms = d->now_ms};
	json_t *cases = store_alert_cases(al->a->store, d->r->name, d->kind, PAYLOAD_CASES,
					  d->now_ms - DAY_MS, &all);
	json_t *p = payload_make(&h, cases, all);
	json_decref(cases);
	*keep = p;
	*out = (struct store_alert){.uuid = uuid,
				    .rule = d->r->name,
				    .kind = d->kind,
				    .title = json_string_value(json_object_get(p, "title")),
				    .made_ms = d->now_ms};
}

static bool make_alert(struct alerts *al, const struct due *d)
{
	struct store *s = al->a->store;
	struct store_alert alert;
	char uuid[TOKEN_HEX];
	json_t *payload;
	const char *dest;
	token_new(uuid);
	store_begin(s);
	make_payload(al, d, uuid, &alert, &payload);
	char *body = json_dumps(payload, JSON_COMPACT);
	alert.body = body;
	int64_t id = store_alert_add(s, &alert);
	for (size_t i = 0; id && (dest = rules_dest(d->r, i)) != NULL; i++)
		store_alert_add_send(s, id, dest, d->now_ms);
	store_alert_told(s, d->r->name, d->kind, d->now_ms);
	bool ok = store_commit(s, NULL, NULL);
	if (ok) {
		metric_add(al->m_made, 1);
		log_event(LOG_NOTICE, uuid, "alert", "made", LS("alert", d->r->name),
			  LS("kind", d->kind), LS("title", alert.title));
	}
	free(body);
	json_decref(payload);
	return ok;
}

/* Every alert of a rule that is due; *next is when the next one will be. */
static bool make_due(struct alerts *al, const struct alert_rule *r, int64_t now_ms, int64_t *next)
{
	struct due d = {.r = r, .now_ms = now_ms};
	do {
		d.kind[0] = '\0';
		d.next_ms = 0;
		d.hour.told = store_alert_made(al->a->store, r->name, now_ms - PACE_HOUR_MS,
					       &d.hour.first_ms);
		store_alert_waiting(al->a->store, r->name, now_ms - PACE_HOUR_MS, on_waiting, &d);
		if (d.kind[0] && !make_alert(al, &d))
			return false;
	} while (d.kind[0]);
	sooner(next, d.next_ms);
	return true;
}

static void prune(struct alerts *al, int64_t now_ms)
{
	if (now_ms - al->pruned_ms < PRUNE_MS)
		return;
	al->pruned_ms = now_ms;
	store_begin(al->a->store);
	store_alert_prune(al->a->store, now_ms - KEEP_MS);
	(void)store_commit(al->a->store, NULL, NULL);
}

static void on_turn(evutil_socket_t none, short what, void *arg)
{
	struct alerts *al = arg;
	const struct alert_rule *r;
	int64_t now = clock_utc_ms(), next = now + PRUNE_MS;
	bool ok = look_at_timelines(al, now);
	(void)none, (void)what;
	for (size_t n = 0; ok && (r = rule_at(al, n)) != NULL; n++)
		ok = make_due(al, r, now, &next);
	sooner(&next, outgoing_turn(al->out, now));
	prune(al, now);
	turn_at(al, ok ? next : now + AGAIN_MS, now);
}

/* --- life --- */

static void name_host(struct alerts *al)
{
	const char *host = al->a->conf.hostname;
	if (host && *host)
		snprintf(al->host, sizeof al->host, "%s", host);
	else if (gethostname(al->host, sizeof al->host - 1) != 0)
		snprintf(al->host, sizeof al->host, "sekisho");
}

void alerts_reloaded(struct alerts *al)
{
	const struct alert_rule *r;
	bool wanted = false;
	for (size_t n = 0; (r = rule_at(al, n)) != NULL; n++) {
		struct alert_change any = {.kind = "appliance",
					   .what = "begun",
					   .severity = "high",
					   .stage = "",
					   .class = ""};
		wanted |= rules_wants(r, &any);
	}
	watch_want(al->watch, wanted);
	wake(al);
}

struct alerts *alerts_new(struct acctd *a, const char *exe)
{
	struct alerts *al = calloc(1, sizeof *al);
	if (!al)
		fatal("out of memory");
	al->a = a;
	name_host(al);
	al->m_made = metric_new(METRIC_COUNTER, "sekisho_alert_made_total", NULL, "Alerts made.");
	al->turn = evtimer_new(a->base, on_turn, al);
	if (!al->turn)
		fatal("out of memory");
	al->out = outgoing_new(a, exe, al->host, wake, al);
	al->watch = watch_new(a, on_looked, al);
	store_on_incident(a->store, wake, al);
	alerts_reloaded(al);
	return al;
}

void alerts_free(struct alerts *al)
{
	if (!al)
		return;
	store_on_incident(al->a->store, NULL, NULL);
	watch_free(al->watch);
	outgoing_free(al->out);
	event_free(al->turn);
	free(al);
}

/* --- for people --- */

static json_t *state_text(const struct alerts *al, const json_t *o)
{
	char at[CLOCK_STRLEN];
	int64_t since = json_integer_value(json_object_get(o, "retrying_ms"));
	const char *answer = json_string_value(json_object_get(o, "answer"));
	const char *failed = json_string_value(json_object_get(o, "failed_answer"));
	if (!rule_at(al, 0))
		return json_string("off");
	if (since)
		return json_sprintf("retrying: %s since %s", answer ? answer : "",
				    clock_format(since / 1000 * 1000, at));
	return failed ? json_sprintf("failed: %s", failed) : json_string("ok");
}

json_t *alerts_status(struct alerts *al, int64_t now_ms)
{
	json_t *o = store_alert_status(al->a->store, now_ms - DAY_MS);
	if (!o)
		return json_null();
	json_t *j = json_object();
	(void)json_object_set_new(j, "state", state_text(al, o));
	for (size_t i = 0; i < 3; i++) {
		static const char *const keys[] = {"waiting", "sent", "failed"};
		(void)json_object_set(j, keys[i], json_object_get(o, keys[i]));
	}
	json_decref(o);
	return j;
}

void alerts_wake(struct alerts *al)
{
	wake(al);
}

bool alerts_test(struct alerts *al, const char *name, int64_t now_ms,
		 void (*done)(json_t *result, void *arg), void *arg)
{
	return outgoing_test(al->out, name, now_ms, done, arg);
}
