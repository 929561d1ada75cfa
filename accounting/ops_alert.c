/*
 * ops_alert - try out where alerts go.
 */
#include "accounting/acctd.h"
#include "accounting/alert/alerts.h"

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

static const struct op_arg test_args[] = {{"name", OP_TEXT, false}, {.name = NULL}};

const struct op ops_alert[] = {
    {"alert.test", ROLE_ADMIN, test_args, alert_test},
    {.name = NULL},
};
