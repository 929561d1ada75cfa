/*
 * ops_door - sessions and operators.
 *
 * A password is hashed with yescrypt on acctd's own loop: 50 to 100 ms during which nothing else is
 * served. The back-off bounds how often. A wrong name takes as long as a wrong password and gets
 * the same answer.
 */
#include <stdio.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "accounting/acctd.h"
#include "accounting/token.h"

#define FREE_BY_ADDRESS 5
#define FREE_BY_USER	10
#define PASSWORD_MIN	8

struct login {
	const char *user;
	char address[ADDR_STRLEN], by_user[96], by_address[96];
};

/* Who has one address of an IPv6 /64 has them all. */
static void network_of(struct addr a, char out[static ADDR_STRLEN])
{
	if (!addr_is4(&a))
		memset(a.b + 8, 0, 8);
	addr_format(&a, out);
}

static bool login_target(struct op_call *c, struct login *l)
{
	struct addr a;
	char network[ADDR_STRLEN];
	const char *err = NULL;
	l->user = op_text(c->args, "user");
	if (!addr_parse(op_text(c->args, "address"), &a, &err)) {
		op_fail(c, "invalid", "address: %s", err);
		return false;
	}
	addr_format(&a, l->address);
	network_of(a, network);
	snprintf(l->by_user, sizeof l->by_user, "user:%s", l->user);
	snprintf(l->by_address, sizeof l->by_address, "address:%s", network);
	return true;
}

static bool must_wait(struct op_call *c, const struct login *l)
{
	int64_t now = clock_mono_ms();
	int64_t u = backoff_wait(c->a->backoff, l->by_user, now);
	int64_t d = backoff_wait(c->a->backoff, l->by_address, now);
	int64_t wait = u > d ? u : d;
	if (wait > 0)
		op_fail(c, "denied", "too many failed logins: try again in %lld s",
			(long long)(wait + 999) / 1000);
	return wait > 0;
}

static void refuse_login(struct op_call *c, const struct login *l)
{
	int64_t now = clock_mono_ms();
	backoff_fail(c->a->backoff, l->by_user, FREE_BY_USER, now);
	backoff_fail(c->a->backoff, l->by_address, FREE_BY_ADDRESS, now);
	log_event(LOG_WARNING, l->user, "control", "login-denied", LS("address", l->address),
		  LS("by", c->who.actor));
	op_fail(c, "denied", "wrong user or password");
}

static json_t *session_json(const struct op_call *c, const char *token,
			    const struct store_session *s)
{
	char csrf[TOKEN_HEX];
	token_csrf(token, csrf);
	json_t *j = json_pack("{s:s, s:s, s:s, s:I}", "csrf", csrf, "user", s->user, "role",
			      store_role_name(s->role), "expires_ms",
			      (json_int_t)control_session_expires(&c->a->rules, s));
	explicit_bzero(csrf, sizeof csrf);
	return j;
}

static void begin_session(struct op_call *c, const struct login *l, enum store_role role)
{
	char token[TOKEN_HEX], hash[SHA256_HEX];
	struct store *st = c->a->store;
	struct store_session s = {.role = role, .created_ms = c->now_ms, .seen_ms = c->now_ms};
	snprintf(s.user, sizeof s.user, "%s", l->user);
	token_new(token);
	token_sha256(token, strlen(token), hash);
	store_begin(st);
	store_session_add(st, hash, l->user, l->address, c->now_ms);
	store_audit(st, &(struct store_who){l->user, l->address}, c->now_ms, "session.login",
		    l->user, "", "");
	if (op_commit(c)) {
		json_t *j = session_json(c, token, &s);
		json_object_set_new(j, "session", json_string(token));
		op_done(c, j);
	}
	explicit_bzero(token, sizeof token);
}

static void session_login(struct op_call *c)
{
	struct login l;
	char hash[PASSWORD_HASH_MAX] = "";
	enum store_role role = ROLE_NONE;
	if (!login_target(c, &l) || must_wait(c, &l))
		return;
	bool known = store_operator(c->a->store, l.user, hash, sizeof hash, &role);
	bool right = token_password_check(op_text(c->args, "password"), known ? hash : NULL);
	explicit_bzero(hash, sizeof hash);
	if (!right) {
		refuse_login(c, &l);
		return;
	}
	backoff_forget(c->a->backoff, l.by_user);
	backoff_forget(c->a->backoff, l.by_address);
	begin_session(c, &l, role);
}

static void session_check(struct op_call *c)
{
	struct store_session s;
	if (!c->session)
		op_done(c, json_pack("{s:s, s:n, s:s, s:n}", "user", c->who.actor, "csrf", "role",
				     store_role_name(c->role), "expires_ms"));
	else if (store_session(c->a->store, c->session_hash, &s))
		op_done(c, session_json(c, c->session, &s));
	else
		op_fail(c, "denied", "there is no such session: log in");
}

static void session_logout(struct op_call *c)
{
	struct store *st = c->a->store;
	if (!c->session) {
		op_fail(c, "invalid", "there is no session to end");
		return;
	}
	store_begin(st);
	store_session_remove(st, c->session_hash);
	store_audit(st, &c->who, c->now_ms, "session.logout", c->who.actor, "", "");
	if (op_commit(c))
		op_done(c, NULL);
}

static bool good_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@");
	return n > 0 && n <= 64 && s[n] == '\0';
}

static void operator_add(struct op_call *c)
{
	char hash[PASSWORD_HASH_MAX];
	struct store *st = c->a->store;
	const char *user = op_text(c->args, "user"), *password = op_text(c->args, "password");
	enum store_role role = store_role_parse(op_text(c->args, "role"));
	if (!good_name(user))
		op_fail(c, "invalid",
			"a user name is 1 to 64 letters, digits, '.', '_', '-' or '@'");
	else if (role == ROLE_NONE)
		op_fail(c, "invalid", "role is viewer, desk or admin");
	else if (strlen(password) < PASSWORD_MIN)
		op_fail(c, "invalid", "a password has at least %d bytes", PASSWORD_MIN);
	else if (!token_password_hash(password, hash, sizeof hash))
		op_fail(c, "internal", "libcrypt cannot hash with yescrypt");
	else {
		store_begin(st);
		store_operator_put(st, user, hash, role, c->now_ms);
		store_audit(st, &c->who, c->now_ms, "operator.add", user, "",
			    store_role_name(role));
		if (op_commit(c))
			op_done(c, NULL);
	}
}

static void operator_list(struct op_call *c)
{
	json_t *list = store_operator_list(c->a->store);
	if (list)
		op_done(c, list);
	else
		op_fail(c, "internal", "the operators cannot be read");
}

static void operator_remove(struct op_call *c)
{
	struct store *st = c->a->store;
	const char *user = op_text(c->args, "user");
	store_begin(st);
	if (!store_operator_remove(st, user)) {
		store_rollback(st);
		op_fail(c, "notfound", "there is no operator %s", user);
		return;
	}
	store_audit(st, &c->who, c->now_ms, "operator.remove", user, "", "");
	if (op_commit(c))
		op_done(c, NULL);
}

static const struct op_arg none[] = {{.name = NULL}};
static const struct op_arg login_args[] = {{"user", OP_TEXT, true},
					   {"password", OP_SECRET, true},
					   {"address", OP_TEXT, true},
					   {.name = NULL}};
static const struct op_arg add_args[] = {{"user", OP_TEXT, true},
					 {"password", OP_SECRET, true},
					 {"role", OP_TEXT, true},
					 {.name = NULL}};
static const struct op_arg user_args[] = {{"user", OP_TEXT, true}, {.name = NULL}};

const struct op ops_door[] = {
    {"session.login", ROLE_NONE, login_args, session_login},
    {"session.check", ROLE_VIEWER, none, session_check},
    {"session.logout", ROLE_VIEWER, none, session_logout},
    {"operator.add", ROLE_ADMIN, add_args, operator_add},
    {"operator.list", ROLE_ADMIN, none, operator_list},
    {"operator.remove", ROLE_ADMIN, user_args, operator_remove},
    {.name = NULL},
};
