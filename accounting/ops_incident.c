/*
 * ops_incident - what the desk does with a case.
 */
#include <stdio.h>
#include <string.h>

#include "accounting/acctd.h"
#include "accounting/reflex.h"

static void audit(struct op_call *c, int64_t id, const char *reason, const char *detail)
{
	char object[32];
	snprintf(object, sizeof object, "incident %lld", (long long)id);
	store_audit(c->a->store, &c->who, c->now_ms, c->op, object, reason, detail);
}

/* Begins a transaction and finds the incident; false after having failed the call. */
static bool begin_with(struct op_call *c, struct store_incident *inc)
{
	int64_t id = op_int(c->args, "id", 0);
	store_begin(c->a->store);
	if (store_incident(c->a->store, id, inc))
		return true;
	store_rollback(c->a->store);
	op_fail(c, "notfound", "there is no incident %lld", (long long)id);
	return false;
}

static void refuse(struct op_call *c, const char *code, const char *why)
{
	store_rollback(c->a->store);
	op_fail(c, code, "%s", why);
}

static void incident_ack(struct op_call *c)
{
	struct store *st = c->a->store;
	struct store_incident inc;
	const char *reason = op_text(c->args, "reason");
	if (!begin_with(c, &inc))
		return;
	if (strcmp(inc.state, "resolved") == 0) {
		refuse(c, "invalid", "it is resolved");
		return;
	}
	/* What is held or released stays so: somebody has it in hand now. */
	bool open = strcmp(inc.state, "open") == 0;
	store_incident_state(st, inc.id, open ? "acknowledged" : inc.state, c->who.actor,
			     c->now_ms);
	store_incident_note(st, inc.id, c->who.actor, "acknowledged", reason, c->now_ms);
	audit(c, inc.id, reason, "");
	if (op_commit(c))
		op_done(c, NULL);
}

static void incident_resolve(struct op_call *c)
{
	struct store *st = c->a->store;
	struct store_incident inc;
	const char *reason = op_text(c->args, "reason");
	if (!begin_with(c, &inc))
		return;
	if (strcmp(inc.state, "contained") == 0) {
		refuse(c, "invalid", "its mail is still held: release it first");
		return;
	}
	if (strcmp(inc.state, "resolved") == 0) {
		refuse(c, "exists", "it is resolved already");
		return;
	}
	store_incident_state(st, inc.id, "resolved", NULL, c->now_ms);
	store_incident_note(st, inc.id, c->who.actor, "resolved", reason, c->now_ms);
	audit(c, inc.id, reason, "");
	if (op_commit(c))
		op_done(c, NULL);
}

static void incident_note(struct op_call *c)
{
	struct store_incident inc;
	if (!begin_with(c, &inc))
		return;
	store_incident_note(c->a->store, inc.id, c->who.actor, "note", op_text(c->args, "text"),
			    c->now_ms);
	audit(c, inc.id, "", "");
	if (op_commit(c))
		op_done(c, NULL);
}

typedef const char *change_fn(struct incidents *in, int64_t id, const char *account,
			      const char *reason, const char *actor, int64_t now_ms,
			      struct incident_change *out, const char **code);

static const char *hold(struct incidents *in, int64_t id, const char *account, const char *reason,
			const char *actor, int64_t now_ms, struct incident_change *out,
			const char **code)
{
	return incidents_hold(in, id, account, "operator", reason, actor, now_ms, out, code);
}

static void change(struct op_call *c, change_fn *fn)
{
	struct acctd *a = c->a;
	struct incident_change done;
	const char *code, *reason = op_text(c->args, "reason"),
			  *account = op_text(c->args, "account");
	int64_t id = op_int(c->args, "id", 0);
	if ((id != 0) == (account != NULL)) {
		op_fail(c, "invalid", "%s needs either \"id\" or \"account\"", c->op);
		return;
	}
	if (!rl_connected(a->rl)) {
		op_fail(c, "unavailable",
			"sekisho-ratelimitd is away; nothing was changed, try again");
		return;
	}
	store_begin(a->store);
	const char *bad =
	    fn(a->incidents, id, account, reason, c->who.actor, c->now_ms, &done, &code);
	if (bad) {
		refuse(c, code, bad);
		return;
	}
	bool mistake = json_is_true(json_object_get(c->args, "mistake"));
	if (mistake)
		snprintf(done.penalty.rule, sizeof done.penalty.rule, "%s", RL_RULE_MISTAKE);
	if (done.penalty.stage == RL_NORMAL)
		reflex_released(a->store, done.id, mistake, &c->who, c->now_ms);
	audit(c, done.id, reason, done.penalty.account);
	if (!op_commit(c))
		return;
	(void)incidents_apply(a->incidents,
			      &done); /* lost on the way: the reconciliation does it again */
	op_done(c, json_pack("{s:I}", "id", (json_int_t)done.id));
}

static void incident_hold(struct op_call *c)
{
	change(c, hold);
}

static void incident_release(struct op_call *c)
{
	change(c, incidents_release);
}

static const struct op_arg id_args[] = {
    {"id", OP_ID, true}, {"reason", OP_TEXT, false}, {.name = NULL}};
static const struct op_arg note_args[] = {
    {"id", OP_ID, true}, {"text", OP_LONG, true}, {.name = NULL}};
static const struct op_arg change_args[] = {
    {"id", OP_ID, false}, {"account", OP_TEXT, false}, {"reason", OP_TEXT, false}, {.name = NULL}};

static const struct op_arg release_args[] = {{"id", OP_ID, false},
					     {"account", OP_TEXT, false},
					     {"reason", OP_TEXT, false},
					     {"mistake", OP_BOOL, false},
					     {.name = NULL}};

const struct op ops_incident[] = {
    {"incident.ack", ROLE_DESK, id_args, incident_ack},
    {"incident.hold", ROLE_DESK, change_args, incident_hold},
    {"incident.release", ROLE_DESK, release_args, incident_release},
    {"incident.resolve", ROLE_DESK, id_args, incident_resolve},
    {"incident.note", ROLE_DESK, note_args, incident_note},
    {.name = NULL},
};
