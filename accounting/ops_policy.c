/*
 * ops_policy - exemptions from the port-25 block.
 *
 * A change is answered when nfqd says that it is in the kernel, or after WAIT_MS. The audit row,
 * the policy version and the exemption are one transaction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/proc.h"
#include "accounting/acctd.h"

#define WAIT_MS	      1000
#define EXPIRY_MAX_MS 3600000 /* the clock may be set: look at least so often */
#define EXPIRY_MIN_MS 10      /* one that could not be written: not in a tight loop */
#define ROWS_MAX      1000
#define MIN_LEN4      16 /* a shorter prefix is a mistake: it would open port 25 for a whole region */
#define MIN_LEN6      32

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

void policy_answer(struct op_call *c, uint64_t version, json_t *result)
{
	struct timeval tv = {.tv_sec = WAIT_MS / 1000, .tv_usec = WAIT_MS % 1000 * 1000};
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

/* --- arguments --- */

static const char *text_or(const json_t *args, const char *name)
{
	const char *s = op_text(args, name);
	return s ? s : "";
}

static bool parse_class(const char *name, enum policy_class *out)
{
	*out = name && strcmp(name, "throttled") == 0 ? POLICY_THROTTLED : POLICY_FULL;
	return !name || strcmp(name, "full") == 0 || strcmp(name, "throttled") == 0;
}

/* The sentence that says what is wrong, in err; NULL when all is right. */
static const char *check_exemption(const struct store_exemption *e, int64_t now_ms,
				   char err[static 192])
{
	char prefix[PREFIX_STRLEN];
	bool v4 = addr_is4(&e->prefix.a);
	prefix_format(&e->prefix, prefix);
	if (e->prefix.len < (v4 ? MIN_LEN4 : MIN_LEN6))
		snprintf(err, 192, "%s is too wide: at least /%d for IPv4, /%d for IPv6", prefix,
			 MIN_LEN4, MIN_LEN6);
	else if (e->expires_ms && e->expires_ms <= now_ms)
		snprintf(err, 192, "%s: it would expire in the past", prefix);
	else if (e->expires_ms && e->expires_ms <= e->starts_ms)
		snprintf(err, 192, "%s: it must expire after it starts", prefix);
	else
		return NULL;
	return err;
}

/* args -> exemption, in a transaction. NULL, or what is wrong in err with *code. */
static const char *parse_exemption(const struct op_call *c, const json_t *args,
				   struct store_exemption *e, char err[static 192],
				   const char **code)
{
	char bad[128];
	const char *ref = op_text(args, "subscriber");
	*code = "invalid";
	*e = (struct store_exemption){.contract = text_or(args, "contract"),
				      .contact = text_or(args, "contact"),
				      .reason = text_or(args, "reason"),
				      .actor = c->who.actor,
				      .starts_ms = op_int(args, "starts_ms", c->now_ms),
				      .expires_ms = op_int(args, "expires_ms", 0)};
	if (!prefix_parse(op_text(args, "prefix"), &e->prefix, bad)) {
		snprintf(err, 192, "%.50s: %s", op_text(args, "prefix"), bad);
		return err;
	}
	if (!parse_class(op_text(args, "class"), &e->class))
		return "class is full or throttled";
	if (check_exemption(e, c->now_ms, err))
		return err;
	e->subscriber = ref && ref[0] ? store_subscriber(c->a->store, ref) : 0;
	if (!ref || !ref[0] || e->subscriber)
		return NULL;
	*code = "notfound";
	snprintf(err, 192, "there is no subscriber %.100s: add it first", ref);
	return err;
}

/* --- the operations --- */

static void exempt_add(struct op_call *c)
{
	struct store *st = c->a->store;
	struct store_exemption e;
	char err[192], exists[256], prefix[PREFIX_STRLEN];
	const char *code;
	(void)store_exemptions_expire(st, c->now_ms); /* what ends now is not in the way */
	store_begin(st);
	const char *bad = parse_exemption(c, c->args, &e, err, &code);
	int64_t old = bad ? 0 : store_exemption(st, &e.prefix);
	if (old) {
		store_exemption_text(st, old, exists, sizeof exists);
		code = "exists";
		bad = exists;
	}
	if (bad) {
		store_rollback(st);
		op_fail(c, code, "%s%s", bad, old ? ": remove it first to change it" : "");
		return;
	}
	int64_t id = store_exemption_add(st, &e, c->now_ms);
	store_audit(st, &c->who, c->now_ms, "exempt.add", prefix_format(&e.prefix, prefix),
		    e.reason, e.contract);
	uint64_t version = store_policy_version(st);
	if (!op_commit(c))
		return;
	policy_plan_expiry(c->a);
	json_t *result = json_pack("{s:I, s:s}", "id", (json_int_t)id, "prefix", prefix);
	if (e.starts_ms <= c->now_ms) {
		policy_answer(c, version, result);
		return;
	}
	json_object_set_new(result, "version", json_integer((json_int_t)version));
	json_object_set_new(result, "in_force", json_false()); /* its time is still to come */
	op_done(c, result);
}

static void exempt_remove(struct op_call *c)
{
	struct store *st = c->a->store;
	struct prefix p;
	char err[128], prefix[PREFIX_STRLEN];
	if (!prefix_parse(op_text(c->args, "prefix"), &p, err)) {
		op_fail(c, "invalid", "%.50s: %s", op_text(c->args, "prefix"), err);
		return;
	}
	prefix_format(&p, prefix);
	store_begin(st);
	int64_t id = store_exemption(st, &p);
	if (!id) {
		store_rollback(st);
		op_fail(c, "notfound", "%s is not exempt", prefix);
		return;
	}
	store_exemption_end(st, id, "removed", c->now_ms);
	store_audit(st, &c->who, c->now_ms, "exempt.remove", prefix, op_text(c->args, "reason"),
		    "");
	uint64_t version = store_policy_version(st);
	if (op_commit(c))
		policy_answer(c, version, json_pack("{s:I}", "id", (json_int_t)id));
}

static const struct op_arg add_args[] = {
    {"prefix", OP_TEXT, true},	   {"class", OP_TEXT, false},	   {"subscriber", OP_TEXT, false},
    {"contract", OP_TEXT, false},  {"contact", OP_TEXT, false},	   {"reason", OP_TEXT, false},
    {"starts_ms", OP_TIME, false}, {"expires_ms", OP_TIME, false}, {.name = NULL}};

/* One row, in the transaction: NULL, or what is wrong with it. */
static const char *import_row(const struct op_call *c, const json_t *row, char err[static 256],
			      const char **code, int *added, int *updated)
{
	struct store *st = c->a->store;
	struct store_exemption e;
	*code = "invalid";
	if (!op_check("a row", add_args, row, err, 256))
		return err;
	const char *bad = parse_exemption(c, row, &e, err, code);
	if (bad)
		return bad;
	int64_t old = store_exemption(st, &e.prefix);
	if (old)
		store_exemption_update(st, old, &e, c->now_ms);
	else
		(void)store_exemption_add(st, &e, c->now_ms);
	++*(old ? updated : added);
	return NULL;
}

static void exempt_import(struct op_call *c)
{
	struct store *st = c->a->store;
	const json_t *rows = json_object_get(c->args, "rows");
	char err[256], detail[64];
	const char *code, *bad = NULL;
	int added = 0, updated = 0;
	size_t n = json_array_size(rows);
	if (n == 0 || n > ROWS_MAX) {
		op_fail(c, "invalid", "rows has 1 to %d rows a request", ROWS_MAX);
		return;
	}
	store_begin(st);
	for (size_t i = 0; i < n; i++) {
		bad = import_row(c, json_array_get(rows, i), err, &code, &added, &updated);
		if (bad) {
			store_rollback(st);
			op_fail(c, code, "row %zu: %s; nothing was changed", i + 1, bad);
			return;
		}
	}
	snprintf(detail, sizeof detail, "{\"added\":%d,\"updated\":%d}", added, updated);
	store_audit(st, &c->who, c->now_ms, "exempt.import", "", "", detail);
	uint64_t version = store_policy_version(st);
	if (!op_commit(c))
		return;
	policy_plan_expiry(c->a);
	policy_answer(c, version, json_pack("{s:i, s:i}", "added", added, "updated", updated));
}

static const struct op_arg remove_args[] = {
    {"prefix", OP_TEXT, true}, {"reason", OP_TEXT, false}, {.name = NULL}};
static const struct op_arg import_args[] = {{"rows", OP_LIST, true}, {.name = NULL}};

const struct op ops_policy[] = {
    {"exempt.add", ROLE_ADMIN, add_args, exempt_add},
    {"exempt.remove", ROLE_ADMIN, remove_args, exempt_remove},
    {"exempt.import", ROLE_ADMIN, import_args, exempt_import},
    {.name = NULL},
};
