/*
 * ops_who - subscribers, accounts and leases.
 */
#include <stdio.h>
#include <string.h>

#include "accounting/acctd.h"
#include "accounting/ops_lease.h"

static void done_id(struct op_call *c, int64_t id)
{
	if (op_commit(c))
		op_done(c, json_pack("{s:I}", "id", (json_int_t)id));
}

/* A subscriber's ref: 1 to 128 bytes. */
static bool good_ref(struct op_call *c, const char *ref)
{
	bool good = ref[0] && strlen(ref) <= 128;
	if (!good)
		op_fail(c, "invalid", "a subscriber's ref is 1 to 128 bytes");
	return good;
}

static void subscriber_add(struct op_call *c)
{
	struct store *st = c->a->store;
	const char *ref = op_text(c->args, "ref");
	if (!good_ref(c, ref))
		return;
	store_begin(st);
	int64_t id = store_subscriber_put(st, ref, op_text(c->args, "name"),
					  op_text(c->args, "contact"), c->now_ms);
	store_audit(st, &c->who, c->now_ms, "subscriber.add", ref, "", "");
	done_id(c, id);
}

/* In a transaction: the id, or 0 after having failed the call. */
static int64_t find_subscriber(struct op_call *c, const char *ref)
{
	int64_t id = store_subscriber(c->a->store, ref);
	if (id)
		return id;
	store_rollback(c->a->store);
	op_fail(c, "notfound", "there is no subscriber %s: add it first", ref);
	return 0;
}

/* user@realm in canonical form; false when it is none. */
static bool canonical(const char *login, char *out, size_t n)
{
	const char *at = strrchr(login, '@');
	size_t len = strlen(login);
	if (!at || at == login || !at[1] || len > EVENT_ACCOUNT_MAX || len >= n ||
	    strpbrk(login, " \t"))
		return false;
	memcpy(out, login, len + 1);
	return true;
}

static void account_add(struct op_call *c)
{
	char login[EVENT_ACCOUNT_MAX + 1];
	struct store *st = c->a->store;
	const char *ref = op_text(c->args, "subscriber");
	if (!canonical(op_text(c->args, "login"), login, sizeof login)) {
		op_fail(c, "invalid", "a login is user@realm");
		return;
	}
	store_begin(st);
	int64_t subscriber = find_subscriber(c, ref);
	if (!subscriber)
		return;
	int64_t id = store_account_put(st, login, subscriber, c->now_ms);
	store_audit(st, &c->who, c->now_ms, "account.add", login, "", ref);
	done_id(c, id);
}

/* --- leases --- */

static bool parse_prefix(struct op_call *c, struct prefix *p)
{
	char err[128];
	bool ok = prefix_parse(op_text(c->args, "prefix"), p, err);
	if (!ok)
		op_fail(c, "invalid", "%.50s: %s", op_text(c->args, "prefix"), err);
	return ok;
}

const char *lease_from_args(const json_t *args, int64_t now_ms, struct store_lease *l,
			    char err[static 192])
{
	char why[128];
	int64_t lo = op_int(args, "port_lo", -1), hi = op_int(args, "port_hi", -1);
	bool has_lo = op_has(args, "port_lo"), has_hi = op_has(args, "port_hi");
	*l = (struct store_lease){.from_ms = op_int(args, "from_ms", now_ms),
				  .to_ms = op_int(args, "to_ms", 0),
				  .source = op_text(args, "source")};
	if (!prefix_parse(op_text(args, "prefix"), &l->prefix, why)) {
		snprintf(err, 192, "%.50s: %s", op_text(args, "prefix"), why);
		return err;
	}
	if (has_lo != has_hi || (has_lo && (lo < 0 || hi > 65535 || lo > hi)))
		return "port_lo and port_hi come together: 0 <= port_lo <= port_hi <= 65535";
	l->port_lo = has_lo ? (uint16_t)lo : 0;
	l->port_hi = has_lo ? (uint16_t)hi : 65535;
	return l->to_ms && l->to_ms <= l->from_ms ? "to_ms must be after from_ms" : NULL;
}

void lease_answer(struct op_call *c, uint64_t before, int suspended, json_t *result)
{
	uint64_t version = store_policy_version(c->a->store);
	json_object_set_new(result, "revoked",
			    json_integer((json_int_t)(version - before) - suspended));
	if (!op_commit(c)) {
		json_decref(result);
		return;
	}
	if (version == before) {
		op_done(c, result);
		return;
	}
	policy_plan_expiry(c->a); /* exemptions may end with a lease that is still to come */
	policy_answer(c, version, result);
}

static void lease_add(struct op_call *c)
{
	struct store *st = c->a->store;
	struct store_lease l;
	char prefix[PREFIX_STRLEN];
	int ended = 0;
	char err[192];
	const char *ref = op_text(c->args, "subscriber");
	const char *bad = lease_from_args(c->args, c->now_ms, &l, err);
	if (bad) {
		op_fail(c, "invalid", "%s", bad);
		return;
	}
	store_begin(st);
	l.subscriber = find_subscriber(c, ref);
	if (!l.subscriber)
		return;
	uint64_t before = store_policy_version(st);
	int64_t id = store_lease_add(st, &l, &c->who, c->now_ms, &ended);
	int back = store_lease_back(st, &l, &c->who, c->now_ms);
	store_audit(st, &c->who, c->now_ms, "lease.add", prefix_format(&l.prefix, prefix), "", ref);
	/* Those that are the subscriber's own and come back are no losses. */
	lease_answer(c, before, back,
		     json_pack("{s:I, s:i}", "id", (json_int_t)id, "ended", ended));
}

static void lease_end(struct op_call *c)
{
	struct store *st = c->a->store;
	struct prefix p;
	char prefix[PREFIX_STRLEN];
	int64_t port = op_int(c->args, "port_lo", -1);
	int64_t t = op_int(c->args, "time_ms", c->now_ms);
	if (!parse_prefix(c, &p))
		return;
	store_begin(st);
	uint64_t before = store_policy_version(st);
	int suspended = 0;
	int n = store_lease_end(st, &p, port > 65535 ? 65535 : (int)port, t, &c->who, c->now_ms,
				&suspended);
	if (n == 0) {
		store_rollback(st);
		op_fail(c, "notfound", "nobody has an open lease of %s", prefix_format(&p, prefix));
		return;
	}
	store_audit(st, &c->who, c->now_ms, "lease.end", prefix_format(&p, prefix), "", "");
	lease_answer(c, before, suspended,
		     json_pack("{s:i, s:i}", "ended", n, "suspended", suspended));
}

static const struct op_arg subscriber_args[] = {
    {"ref", OP_TEXT, true}, {"name", OP_TEXT, false}, {"contact", OP_TEXT, false}, {.name = NULL}};
static const struct op_arg account_args[] = {
    {"login", OP_TEXT, true}, {"subscriber", OP_TEXT, true}, {.name = NULL}};
const struct op_arg lease_args[] = {{"prefix", OP_TEXT, true},	 {"subscriber", OP_TEXT, true},
				    {"from_ms", OP_TIME, false}, {"to_ms", OP_TIME, false},
				    {"port_lo", OP_INT, false},	 {"port_hi", OP_INT, false},
				    {"source", OP_TEXT, false},	 {.name = NULL}};
static const struct op_arg end_args[] = {{"prefix", OP_TEXT, true},
					 {"time_ms", OP_TIME, false},
					 {"port_lo", OP_INT, false},
					 {.name = NULL}};

const struct op ops_who[] = {
    {"subscriber.add", ROLE_ADMIN, subscriber_args, subscriber_add},
    {"account.add", ROLE_ADMIN, account_args, account_add},
    {"lease.add", ROLE_ADMIN, lease_args, lease_add},
    {"lease.end", ROLE_ADMIN, end_args, lease_end},
    {"lease.import", ROLE_ADMIN, lease_import_args, lease_import},
    {.name = NULL},
};
