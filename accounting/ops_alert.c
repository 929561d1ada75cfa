/*
 * ops_alert - try out where alerts go, and send again what did not arrive.
 */
#include <stdio.h>

#include "accounting/acctd.h"
#include "accounting/alert/alerts.h"
#include "accounting/store_alert.h"

static void on_tested(json_t *result, void *arg)
{
	struct op_call *c = arg;
	op_done(c, json_pack("{s:o}", "results", result));
}

static void alert_test(struct op_call *c)
{
	const char *name = op_text(c->args, "name");
	struct store *st = c->a->store;
	store_begin(st);
	store_audit(st, &c->who, c->now_ms, c->op, name ? name : "", "", "");
	if (!op_commit(c))
		return;
	if (alerts_test(c->a->alerts, name, c->now_ms, on_tested, c))
		return;
	if (name)
		op_fail(c, "notfound", "there is no alert %s in the configuration", name);
	else
		op_fail(c, "notfound", "no alert is configured: see alert in sekisho.conf(5)");
}

/* One more attempt at once. After it the row is what that attempt made of it: the time to give up
 * is counted from when the alert was made. */
static void alert_resend(struct op_call *c)
{
	struct store *st = c->a->store;
	int64_t id = op_int(c->args, "id", 0);
	char object[32];
	int arrived = store_alert_arrived(st, id);
	if (arrived == 0) {
		op_fail(c, "notfound",
			"no alert was to be sent as number %lld: alert list has them",
			(long long)id);
		return;
	}
	if (arrived == 2) {
		op_fail(c, "exists", "that alert has arrived: there is nothing to send again");
		return;
	}
	snprintf(object, sizeof object, "alert send %lld", (long long)id);
	store_begin(st);
	store_alert_resend(st, id, c->now_ms);
	store_audit(st, &c->who, c->now_ms, c->op, object, op_text(c->args, "reason"), "");
	if (!op_commit(c))
		return;
	alerts_wake(c->a->alerts);
	op_done(c, json_object());
}

static const struct op_arg resend_args[] = {
    {"id", OP_ID, true}, {"reason", OP_TEXT, false}, {.name = NULL}};
static const struct op_arg test_args[] = {{"name", OP_TEXT, false}, {.name = NULL}};

const struct op ops_alert[] = {
    {"alert.test", ROLE_ADMIN, test_args, alert_test},
    {"alert.resend", ROLE_DESK, resend_args, alert_resend},
    {.name = NULL},
};
