/*
 * incident - the logic between ratelimitd's penalties and the incidents in the store (contract in
 * incident.h).
 *
 * A penalty is named by its account and the time it began. The store remembers that time with the
 * incident, also after the release: so a late word of an old penalty is told from a new one.
 *
 * Diagnostics: "incident" log lines; each case's timeline. Known gaps: none.
 */
#include "accounting/incident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/log.h"
#include "lib/proc.h"
#include "accounting/reflex.h"

struct incidents {
	struct store *store;
	bool (*set)(const struct rl_penalty *p, void *arg);
	void *arg;
	const struct reflex_rules *reflexes;
	json_t *named; /* accounts on hold named since the connection came up */
	json_t *told;  /* account → the time of the last stage below a hold that was put down */
};

struct incidents *incidents_new(struct store *store,
				bool (*set)(const struct rl_penalty *p, void *arg), void *arg)
{
	struct incidents *in = calloc(1, sizeof *in);
	if (!in)
		fatal("out of memory");
	*in = (struct incidents){
	    .store = store, .set = set, .arg = arg, .named = json_object(), .told = json_object()};
	return in;
}

void incidents_reflexes(struct incidents *in, const struct reflex_rules *r)
{
	in->reflexes = r;
}

void incidents_follow(struct incidents *in, int64_t id, int64_t now_ms)
{
	if (in->reflexes)
		reflex_held(in->store, in->reflexes, id, now_ms);
}

void incidents_free(struct incidents *in)
{
	if (!in)
		return;
	json_decref(in->named);
	json_decref(in->told);
	free(in);
}

static void make_penalty(struct rl_penalty *p, const char *account, enum rl_stage stage,
			 int64_t since_ms, const char *rule, const char *why, const char *actor)
{
	*p = (struct rl_penalty){.stage = stage, .since_ms = since_ms};
	snprintf(p->account, sizeof p->account, "%s", account);
	snprintf(p->rule, sizeof p->rule, "%s", rule);
	snprintf(p->why, sizeof p->why, "%s", why);
	snprintf(p->actor, sizeof p->actor, "%s", actor);
}

/* --- what ratelimitd says --- */

static void lift(struct incidents *in, const struct rl_penalty *p)
{
	struct rl_penalty normal;
	log_event(LOG_NOTICE, p->account, "incident", "lift", LS("why", "it was released already"));
	make_penalty(&normal, p->account, RL_NORMAL, p->since_ms, p->rule, "released", "reconcile");
	(void)in->set(&normal, in->arg);
}

static const char *actor_of(const struct rl_penalty *p)
{
	return p->actor[0] ? p->actor : "detector";
}

static int64_t open_for(struct store *st, const struct rl_penalty *p, const char *severity,
			int64_t now_ms)
{
	int64_t account = store_account_seen(st, p->account, now_ms);
	struct store_incident_new n = {.subject_type = "account",
				       .subject = p->account,
				       .account = account,
				       .subscriber = store_account_subscriber(st, account),
				       .detector = p->rule,
				       .why = p->why,
				       .severity = severity,
				       .actor = actor_of(p)};
	return store_incident_open(st, &n, now_ms);
}

/* A penalty nobody here knew of: into the account's unresolved incident of that rule, or a new one.
 */
static void take_new(struct incidents *in, const struct rl_penalty *p, int64_t now_ms)
{
	struct store *st = in->store;
	struct store_incident inc;
	int64_t id;
	if (store_incident_of(st, p->account, p->rule, &inc)) {
		id = inc.id;
		store_incident_why(st, id, p->why);
	} else {
		id = open_for(st, p, "high", now_ms);
	}
	store_incident_contain(st, id, p->since_ms, now_ms);
	store_incident_stage(st, id, rl_stage_name(p->stage));
	store_incident_note(st, id, actor_of(p), "contained", p->why, now_ms);
	incidents_follow(in, id, now_ms);
	log_event(LOG_NOTICE, p->account, "incident", "contained", LI("id", id),
		  LS("rule", p->rule), LS("why", p->why));
}

/* The detector's stages below a hold. Whoever is slowed down has an incident; who is only watched
 * has none for that, but what becomes of an incident that there is is put down. */
static void take_stage(struct incidents *in, const struct rl_penalty *p, int64_t now_ms)
{
	struct store *st = in->store;
	struct store_incident inc;
	json_int_t told = json_integer_value(json_object_get(in->told, p->account));
	bool open = store_incident_of(st, p->account, p->rule, &inc);
	if (told == p->since_ms || (!open && p->stage < RL_THROTTLE))
		return;
	(void)json_object_set_new(in->told, p->account, json_integer(p->since_ms));
	if (!open)
		inc.id = open_for(st, p, "medium", now_ms);
	store_incident_why(st, inc.id, p->why);
	store_incident_stage(st, inc.id, rl_stage_name(p->stage));
	store_incident_note(st, inc.id, actor_of(p), rl_stage_name(p->stage), p->why, now_ms);
	log_event(LOG_NOTICE, p->account, "incident", rl_stage_name(p->stage), LI("id", inc.id),
		  LS("why", p->why));
}

/* The score has faded before anybody looked. */
static void take_faded(struct incidents *in, const struct rl_penalty *p, int64_t now_ms)
{
	struct store_incident inc;
	if (!json_object_get(in->told, p->account))
		return;
	(void)json_object_del(in->told, p->account);
	if (!store_incident_of(in->store, p->account, p->rule, &inc))
		return;
	store_incident_note(in->store, inc.id, actor_of(p), "faded", p->why, now_ms);
	if (strcmp(inc.state, "open") == 0)
		store_incident_state(in->store, inc.id, "resolved", NULL, now_ms);
}

/* Only the penalty that was lifted is released: a later one of the same account stays. */
static void take_released(struct incidents *in, const struct rl_penalty *p, int64_t now_ms)
{
	store_begin(in->store);
	if (strcmp(p->rule, RL_RULE_DETECTOR) == 0 && strcmp(actor_of(p), "detector") == 0)
		take_faded(in, p, now_ms);
	if (store_penalty_known(in->store, p->account, p->since_ms))
		(void)store_incident_release(in->store, p->account, actor_of(p), p->why, now_ms);
	(void)store_commit(in->store, NULL, NULL);
}

void incidents_penalty(struct incidents *in, const struct rl_penalty *p, int64_t now_ms)
{
	if (p->stage == RL_NORMAL) {
		(void)json_object_del(in->named, p->account);
		take_released(in, p, now_ms);
		return;
	}
	if (p->stage < RL_HOLD) {
		store_begin(in->store);
		take_stage(in, p, now_ms);
		(void)store_commit(in->store, NULL, NULL);
		return;
	}
	(void)json_object_set_new(in->named, p->account, json_true());
	store_flush(in->store);
	if (store_penalty_known(in->store, p->account, p->since_ms))
		return;
	if (store_penalty_released(in->store, p->account, p->since_ms)) {
		lift(in, p);
		return;
	}
	store_begin(in->store);
	take_new(in, p, now_ms);
	(void)store_commit(in->store, NULL, NULL);
}

void incidents_connected(struct incidents *in)
{
	(void)json_object_clear(in->named);
}

static void restore(const char *account, int64_t penalty_ms, const char *detector, const char *why,
		    void *arg)
{
	struct incidents *in = arg;
	struct rl_penalty p;
	if (json_object_get(in->named, account))
		return;
	log_event(LOG_NOTICE, account, "incident", "restore",
		  LS("why", "ratelimitd has lost the penalty"));
	make_penalty(&p, account, RL_HOLD, penalty_ms, detector, why, "reconcile");
	(void)in->set(&p, in->arg);
}

void incidents_synced(struct incidents *in, int64_t now_ms)
{
	(void)now_ms;
	store_flush(in->store);
	store_incidents_contained(in->store, restore, in);
}

/* --- what people do --- */

static const char *find_by_id(struct incidents *in, int64_t id, struct store_incident *inc,
			      const char **code)
{
	*code = "notfound";
	if (!store_incident(in->store, id, inc))
		return "there is no such incident";
	*code = "invalid";
	if (strcmp(inc->subject_type, "account") != 0)
		return "this incident is about a line: it has no account whose mail could be held";
	return NULL;
}

/* The incident a hold by people goes into: of any detector, else a new one of the rule. */
static int64_t hold_target(struct incidents *in, const char *account, const char *rule,
			   const char *why, const char *actor, int64_t now_ms)
{
	struct store_incident inc;
	if (store_incident_of(in->store, account, NULL, &inc))
		return inc.id;
	int64_t id = store_account(in->store, account);
	struct store_incident_new n = {.subject_type = "account",
				       .subject = account,
				       .account = id,
				       .subscriber = store_account_subscriber(in->store, id),
				       .detector = rule,
				       .why = why,
				       .severity = "high",
				       .actor = actor};
	return store_incident_open(in->store, &n, now_ms);
}

const char *incidents_hold(struct incidents *in, int64_t id, const char *account, const char *rule,
			   const char *reason, const char *actor, int64_t now_ms,
			   struct incident_change *out, const char **code)
{
	struct store_incident inc;
	char why[RL_WHY_MAX];
	snprintf(why, sizeof why, "held by %s%s%.400s", actor, reason && reason[0] ? ": " : "",
		 reason ? reason : "");
	if (id) {
		const char *bad = find_by_id(in, id, &inc, code);
		*code = bad ? *code : "invalid";
		if (bad || strcmp(inc.state, "resolved") == 0)
			return bad ? bad
				   : "this incident is resolved: hold by the account to open a new "
				     "one";
		account = inc.subject;
	} else {
		*code = "notfound";
		if (!store_account(in->store, account))
			return "nobody has seen this account: is it spelt right?";
		id = hold_target(in, account, rule, why, actor, now_ms);
		(void)store_incident(in->store, id, &inc);
	}
	*code = "exists";
	if (strcmp(inc.state, "contained") == 0)
		return "its mail is held already";
	store_incident_contain(in->store, id, now_ms, now_ms);
	store_incident_stage(in->store, id, rl_stage_name(RL_HOLD));
	store_incident_note(in->store, id, actor, "contained", why, now_ms);
	out->id = id;
	make_penalty(&out->penalty, account, RL_HOLD, now_ms, rule, why, actor);
	return NULL;
}

/* Not held, but slowed down, for all that is known here. */
static bool slowed(const struct store_incident *inc)
{
	return (strcmp(inc->detector, RL_RULE_DETECTOR) == 0 ||
		strcmp(inc->detector, REFLEX_RULE) == 0) &&
	       (strcmp(inc->state, "open") == 0 || strcmp(inc->state, "acknowledged") == 0);
}

const char *incidents_release(struct incidents *in, int64_t id, const char *account,
			      const char *reason, const char *actor, int64_t now_ms,
			      struct incident_change *out, const char **code)
{
	struct store_incident inc;
	if (id) {
		const char *bad = find_by_id(in, id, &inc, code);
		if (bad)
			return bad;
	} else {
		*code = "notfound";
		if (!store_incident_of(in->store, account, NULL, &inc))
			return "this account has no unresolved incident";
	}
	*code = "notfound";
	if (strcmp(inc.state, "contained") != 0 && !slowed(&inc))
		return "its mail is not held";
	if (slowed(&inc))
		store_incident_note(in->store, inc.id, actor, "released",
				    reason && reason[0] ? reason : "", now_ms);
	(void)store_incident_release(in->store, inc.subject, actor,
				     reason && reason[0] ? reason : "", now_ms);
	out->id = inc.id;
	make_penalty(&out->penalty, inc.subject, RL_NORMAL, inc.penalty_ms, inc.detector,
		     reason && reason[0] ? reason : "released", actor);
	return NULL;
}

bool incidents_apply(struct incidents *in, const struct incident_change *c)
{
	return in->set(&c->penalty, in->arg);
}

int64_t incidents_complaint(struct incidents *in, int64_t account, const char *login,
			    int64_t subscriber, const char *line, const char *why, int64_t now_ms)
{
	struct store_incident inc;
	if (account && store_incident_of(in->store, login, NULL, &inc))
		return inc.id;
	if (subscriber && store_incident_of_subscriber(in->store, subscriber, &inc))
		return inc.id;
	struct store_incident_new n = {.subject_type = account ? "account" : "line",
				       .subject = account ? login : line,
				       .account = account,
				       .subscriber = subscriber,
				       .detector = "complaint",
				       .why = why,
				       .severity = "medium",
				       .actor = "report"};
	return store_incident_open(in->store, &n, now_ms);
}
