/*
 * reflex - see reflex.h.
 *
 * Which line a held account's mail came from is known by what msad told: logins and messages of the
 * last hour. A thief who is abroad does not take the customer's server down with him: nothing came
 * from that line.
 *
 * Diagnostics: "reflex" log lines; the case's timeline; the audit trail. Known gaps: of an account
 * with many addresses the newest ADDRESSES are looked at.
 */
#include "accounting/reflex.h"

#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "accounting/incident.h"

#define ADDRESSES 64
#define TEXT_MAX  400

static const struct store_who reflex_who = {REFLEX_ACTOR, ""};

/* --- from an account to its line --- */

static void suspend(struct store *s, const struct store_exempt *x, int64_t incident,
		    const char *account, int64_t now_ms)
{
	char why[TEXT_MAX], prefix[PREFIX_STRLEN], text[TEXT_MAX];
	prefix_format(&x->entry.prefix, prefix);
	snprintf(why, sizeof why, "incident %lld: mail of %.320s is held, and came from this line",
		 (long long)incident, account);
	const struct store_exempt_move m = {
	    .to = EXEMPT_SUSPENDED, .action = "exempt.suspend", .reason = why, .by = "operator"};
	(void)store_exemption_move(s, x->entry.exemption_id, &m, &reflex_who, now_ms);
	snprintf(text, sizeof text,
		 "the mail came from %s: its exemption from the port-25 block is suspended; "
		 "undone by: exempt resume %s, or a release as a false positive",
		 prefix, prefix);
	store_incident_note(s, incident, REFLEX_ACTOR, "line", text, now_ms);
	log_event(LOG_WARNING, prefix, "reflex", "suspended", LI("incident", incident),
		  LS("account", account));
}

static void note(struct store *s, const struct store_exempt *x, int64_t incident, int64_t now_ms)
{
	char text[TEXT_MAX], prefix[PREFIX_STRLEN];
	prefix_format(&x->entry.prefix, prefix);
	snprintf(text, sizeof text,
		 "the mail came from %s, which may use port 25 by itself; to stop that: exempt "
		 "suspend %s --abuse",
		 prefix, prefix);
	store_incident_note(s, incident, REFLEX_ACTOR, "line", text, now_ms);
}

static void held_from(struct store *s, const struct reflex_rules *r,
		      const struct store_incident *inc, const struct addr *from, int64_t now_ms)
{
	struct store_exempt x;
	int64_t id = store_exemption_covering(s, from, now_ms);
	bool stop = r->exemption == REFLEX_EXEMPTION_SUSPEND;
	if (!id || store_reflex_known(s, inc->id, id) || !store_exempt(s, id, &x))
		return;
	store_reflex_put(s, inc->id, id, stop ? "suspend" : "note", now_ms);
	if (stop)
		suspend(s, &x, inc->id, inc->subject, now_ms);
	else
		note(s, &x, inc->id, now_ms);
}

void reflex_held(struct store *s, const struct reflex_rules *r, int64_t incident, int64_t now_ms)
{
	struct store_incident inc;
	struct addr from[ADDRESSES];
	if (r->exemption == REFLEX_EXEMPTION_OFF || !store_incident(s, incident, &inc) ||
	    strcmp(inc.state, "contained") != 0)
		return;
	int n = store_account_sources(s, inc.subject, now_ms - REFLEX_HELD_MS, from, ADDRESSES);
	for (int i = 0; i < n; i++)
		held_from(s, r, &inc, &from[i], now_ms);
}

static void put_back(struct store *s, const struct store_reflex *did, const struct store_exempt *x,
		     const struct store_who *w, int64_t now_ms)
{
	char why[TEXT_MAX], prefix[PREFIX_STRLEN], text[TEXT_MAX];
	prefix_format(&x->entry.prefix, prefix);
	snprintf(why, sizeof why, "incident %lld was released as a false positive by %.64s",
		 (long long)did->incident, w->actor);
	const struct store_exempt_move m = {
	    .to = EXEMPT_ACTIVE, .action = "exempt.resume", .reason = why};
	(void)store_exemption_move(s, did->exemption, &m, &reflex_who, now_ms);
	snprintf(text, sizeof text, "the exemption of %s is in force again", prefix);
	store_incident_note(s, did->incident, REFLEX_ACTOR, "line", text, now_ms);
	store_reflex_undone(s, did->id, now_ms);
	log_event(LOG_NOTICE, prefix, "reflex", "resumed", LI("incident", did->incident));
}

static void leave(struct store *s, const struct store_reflex *did, const struct store_exempt *x,
		  int64_t now_ms)
{
	char prefix[PREFIX_STRLEN], text[TEXT_MAX];
	prefix_format(&x->entry.prefix, prefix);
	snprintf(text, sizeof text,
		 "the exemption of %s stays suspended; when the line is clean: exempt resume %s",
		 prefix, prefix);
	store_incident_note(s, did->incident, REFLEX_ACTOR, "line", text, now_ms);
}

void reflex_released(struct store *s, int64_t incident, bool mistake, const struct store_who *w,
		     int64_t now_ms)
{
	struct store_reflex did = {.id = 0};
	struct store_exempt x;
	while (store_reflex_next(s, incident, 0, did.id, &did)) {
		if (strcmp(did.did, "suspend") != 0 || !store_exempt(s, did.exemption, &x) ||
		    x.state != EXEMPT_SUSPENDED)
			continue;
		if (mistake)
			put_back(s, &did, &x, w, now_ms);
		else
			leave(s, &did, &x, now_ms);
	}
}

/* --- from a line to its accounts --- */

static int64_t watch(struct store *s, const char *account, const char *why, int64_t now_ms,
		     struct rl_penalty *out)
{
	struct store_incident inc;
	int64_t id = store_account(s, account);
	if (store_incident_of(s, account, NULL, &inc))
		return 0; /* somebody has that account in hand already */
	struct store_incident_new n = {.subject_type = "account",
				       .subject = account,
				       .account = id,
				       .subscriber = store_account_subscriber(s, id),
				       .detector = REFLEX_RULE,
				       .why = why,
				       .severity = "medium",
				       .actor = REFLEX_ACTOR};
	id = store_incident_open(s, &n, now_ms);
	store_incident_stage(s, id, rl_stage_name(RL_WATCH));
	*out = (struct rl_penalty){
	    .stage = RL_WATCH, .since_ms = now_ms, .rule = REFLEX_RULE, .actor = REFLEX_ACTOR};
	snprintf(out->account, sizeof out->account, "%.320s", account);
	snprintf(out->why, sizeof out->why, "%s", why);
	return id;
}

static int64_t hold(struct incidents *in, const char *account, const char *why, int64_t now_ms,
		    struct rl_penalty *out)
{
	struct incident_change done;
	const char *code;
	if (incidents_hold(in, 0, account, REFLEX_RULE, why, REFLEX_ACTOR, now_ms, &done, &code))
		return 0; /* held already */
	*out = done.penalty;
	return done.id;
}

size_t reflex_suspended(struct store *s, struct incidents *in, const struct reflex_rules *r,
			int64_t exemption, const char *reason, int64_t now_ms,
			struct rl_penalty *out)
{
	struct store_login who[REFLEX_ACCOUNTS];
	struct store_exempt x;
	char why[TEXT_MAX], prefix[PREFIX_STRLEN];
	bool stop = r->accounts == REFLEX_ACCOUNTS_HOLD;
	size_t n = 0;
	if (r->accounts == REFLEX_ACCOUNTS_OFF || !store_exempt(s, exemption, &x))
		return 0;
	int found =
	    store_line_accounts(s, &x.entry.prefix, now_ms - REFLEX_LINE_MS, who, REFLEX_ACCOUNTS);
	snprintf(
	    why, sizeof why,
	    "used from %s, whose exemption from the port-25 block was suspended for abuse%s%.200s",
	    prefix_format(&x.entry.prefix, prefix), *reason ? ": " : "", reason);
	for (int i = 0; i < found; i++) {
		int64_t id = stop ? hold(in, who[i].login, why, now_ms, &out[n])
				  : watch(s, who[i].login, why, now_ms, &out[n]);
		if (!id)
			continue;
		store_reflex_put(s, id, exemption, stop ? "hold" : "watch", now_ms);
		store_audit(s, &reflex_who, now_ms, stop ? "incident.hold" : "incident.watch",
			    who[i].login, why, "");
		n++;
	}
	return n;
}

/* False: it is in other hands by now. */
static bool unwatch(struct store *s, const struct store_reflex *did, const struct store_who *w,
		    int64_t now_ms, struct rl_penalty *out)
{
	struct store_incident inc;
	if (!store_incident(s, did->incident, &inc) || strcmp(inc.detector, REFLEX_RULE) != 0 ||
	    strcmp(inc.state, "open") != 0)
		return false;
	store_incident_note(s, inc.id, REFLEX_ACTOR, "released",
			    "the exemption of its line is in force again", now_ms);
	store_incident_state(s, inc.id, "resolved", NULL, now_ms);
	*out = (struct rl_penalty){.stage = RL_NORMAL, .since_ms = now_ms, .rule = REFLEX_RULE};
	snprintf(out->account, sizeof out->account, "%s", inc.subject);
	snprintf(out->actor, sizeof out->actor, "%s", w->actor);
	snprintf(out->why, sizeof out->why, "the exemption of its line is in force again");
	return true;
}

size_t reflex_resumed(struct store *s, int64_t exemption, const struct store_who *w, int64_t now_ms,
		      struct rl_penalty *out)
{
	struct store_reflex did = {.id = 0};
	size_t n = 0;
	while (n < REFLEX_ACCOUNTS && store_reflex_next(s, 0, exemption, did.id, &did)) {
		if (strcmp(did.did, "watch") == 0)
			n += unwatch(s, &did, w, now_ms, &out[n]);
		store_reflex_undone(s, did.id, now_ms);
	}
	return n;
}
