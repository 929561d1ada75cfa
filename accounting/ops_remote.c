/*
 * ops_remote - requests that another daemon answers: the queue and BATV (msad), the verdict (nfqd),
 * limits (ratelimitd), and the status of all.
 *
 * This is still the one door: role and audit are decided here, arguments there. What changes
 * something is audited when the daemon says it is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/proc.h"
#include "accounting/acctd.h"

/* --- forwarding --- */

/* The object an audit row names: an account, an address, a queue id, or "". */
static const char *object_of(const json_t *args)
{
	static const char *const names[] = {"account", "address", "id", "domain", "class"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (op_text(args, names[i]))
			return op_text(args, names[i]);
	const json_t *ids = json_object_get(args, "ids");
	const char *only = json_string_value(json_array_get(ids, 0));
	return only && json_array_size(ids) == 1 ? only : "";
}

/* Why it was done. Of a change of the queue "reason" chooses messages. */
static const char *why_of(const struct op_call *c)
{
	return op_text(c->args, strncmp(c->op, "queue.", 6) == 0 ? "note" : "reason");
}

static bool changes_something(const struct op_call *c)
{
	static const char *const reads[] = {
	    "limit.show",   "limit.list",  "limit.selftest", "queue.list",  "queue.show",
	    "queue.grid",   "queue.stats", "queue.damaged",  "batv.sign",   "batv.verify",
	    "batv.explain", "nfq.explain", "nfq.status",     "msad.status", "tlsrpt.show"};
	for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++)
		if (strcmp(c->op, reads[i]) == 0)
			return false;
	return !json_is_true(json_object_get(c->args, "dry_run"));
}

static bool audit_change(struct op_call *c)
{
	struct store *st = c->a->store;
	char *detail = json_dumps(c->args, JSON_COMPACT);
	store_begin(st);
	store_audit(st, &c->who, c->now_ms, c->op, object_of(c->args), why_of(c), detail);
	free(detail);
	return store_commit(st, NULL, NULL);
}

/* A daemon says what is wrong in words; those that begin so say which code it is. */
static const char *code_of(const char *text)
{
	static const struct {
		const char *start, *code;
	} map[] = {{"not found", "notfound"},	{"no such", "notfound"},
		   {"there is no", "notfound"}, {"unavailable", "unavailable"},
		   {"denied", "denied"},	{"internal", "internal"}};
	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
		if (strncmp(text, map[i].start, strlen(map[i].start)) == 0)
			return map[i].code;
	return "invalid";
}

static void finish(struct op_call *c, bool ok, const json_t *result)
{
	const char *text = json_string_value(result);
	if (!ok)
		op_fail(c, code_of(text ? text : ""), "%s",
			text ? text : "the daemon refused without a reason");
	else if (changes_something(c) && !audit_change(c))
		op_fail(c, "internal", "it was done, but the audit trail could not be written");
	else
		op_done(c, json_incref((json_t *)(uintptr_t)result));
}

static void on_answer(bool answered, bool ok, const json_t *result, void *arg)
{
	struct op_call *c = arg;
	if (answered)
		finish(c, ok, result);
	else
		op_fail(c, "unavailable", "sekisho-%s does not answer: is it running?",
			strncmp(c->op, "nfq.", 4) == 0 ? "nfqd" : "msad");
}

static void to_msad(struct op_call *c)
{
	feed_server_request(c->a->feed, "msad", c->op, (json_t *)(uintptr_t)c->args, on_answer, c);
}

/* The note is for the audit trail, not for msad. */
static void to_queue(struct op_call *c)
{
	static const struct op_arg known[] = {{"note", OP_TEXT, false}, {.name = NULL}};
	char err[200];
	json_t *args = json_copy((json_t *)(uintptr_t)c->args), *note = json_object();
	json_object_set(note, "note", json_object_get(args, "note"));
	bool ok = op_check(c->op, known, note, err, sizeof err);
	json_decref(note);
	json_object_del(args, "note");
	if (ok)
		feed_server_request(c->a->feed, "msad", c->op, args, on_answer, c);
	else
		op_fail(c, "invalid", "%s", err);
	json_decref(args);
}

static void to_nfqd(struct op_call *c)
{
	feed_server_request(c->a->feed, "nfqd", c->op, (json_t *)(uintptr_t)c->args, on_answer, c);
}

static void on_limit(bool ok, const json_t *result, void *arg)
{
	struct op_call *c = arg;
	if (result)
		finish(c, ok, result);
	else
		op_fail(c, "unavailable", "sekisho-ratelimitd does not answer: is it running?");
}

static void to_ratelimitd(struct op_call *c)
{
	rl_admin(c->a->rl, c->op, c->args, on_limit, c);
}

/* A change carries who made it. */
static void to_ratelimitd_named(struct op_call *c)
{
	json_t *args = json_copy((json_t *)(uintptr_t)c->args);
	json_object_set_new(args, "actor", json_string(c->who.actor));
	rl_admin(c->a->rl, c->op, args, on_limit, c);
	json_decref(args);
}

/* --- status --- */

struct status {
	struct op_call *c;
	json_t *result;
	int waiting;
};

static void status_part(struct status *s, const char *name, bool ok, const json_t *part)
{
	json_object_set_new(s->result, name,
			    ok && part ? json_incref((json_t *)(uintptr_t)part) : json_null());
	if (--s->waiting > 0)
		return;
	op_done(s->c, s->result);
	free(s);
}

static void on_nfqd(bool answered, bool ok, const json_t *result, void *arg)
{
	status_part(arg, "nfqd", answered && ok, result);
}

static void on_msad(bool answered, bool ok, const json_t *result, void *arg)
{
	status_part(arg, "msad", answered && ok, result);
}

static void on_ratelimitd(bool ok, const json_t *result, void *arg)
{
	status_part(arg, "ratelimitd", ok, result);
}

static json_t *own_status(struct acctd *a, int64_t now_ms)
{
	json_t *j = store_status(a->store);
	if (!j)
		return json_null();
	json_object_set_new(j, "version", json_string(SEKISHO_VERSION));
	json_object_set_new(j, "pid", json_integer(getpid()));
	json_object_set_new(j, "uptime_ms", json_integer(now_ms - a->started_ms));
	json_object_set_new(j, "feeds", feed_server_status(a->feed));
	if (a->alerts)
		json_object_set_new(j, "alerts", alerts_status(a->alerts, now_ms));
	if (a->radius)
		json_object_set_new(j, "radius", radius_server_status(a->radius));
	return j;
}

static void status(struct op_call *c)
{
	struct acctd *a = c->a;
	struct status *s = calloc(1, sizeof *s);
	if (!s)
		fatal("out of memory");
	*s = (struct status){.c = c, .result = json_object(), .waiting = 4};
	feed_server_request(a->feed, "nfqd", "nfq.status", NULL, on_nfqd, s);
	feed_server_request(a->feed, "msad", "msad.status", NULL, on_msad, s);
	rl_admin(a->rl, "stats", NULL, on_ratelimitd, s);
	json_t *own = own_status(a, c->now_ms);
	status_part(s, "acctd", true, own);
	json_decref(own);
}

static const struct op_arg none[] = {{.name = NULL}};

const struct op ops_remote[] = {
    {"status", ROLE_VIEWER, none, status},
    {"nfq.explain", ROLE_VIEWER, NULL, to_nfqd},
    {"nfq.status", ROLE_VIEWER, NULL, to_nfqd},
    {"msad.status", ROLE_VIEWER, NULL, to_msad},
    {"queue.list", ROLE_VIEWER, NULL, to_msad},
    {"queue.show", ROLE_VIEWER, NULL, to_msad},
    {"queue.grid", ROLE_VIEWER, NULL, to_msad},
    {"queue.stats", ROLE_VIEWER, NULL, to_msad},
    {"queue.damaged", ROLE_VIEWER, NULL, to_msad},
    {"queue.hold", ROLE_DESK, NULL, to_queue},
    {"queue.move", ROLE_DESK, NULL, to_queue},
    {"queue.release", ROLE_DESK, NULL, to_queue},
    {"queue.retry", ROLE_DESK, NULL, to_queue},
    {"queue.bounce", ROLE_DESK, NULL, to_queue},
    {"queue.delete", ROLE_DESK, NULL, to_queue},
    {"tlsrpt.show", ROLE_VIEWER, NULL, to_msad},
    {"tlsrpt.send", ROLE_DESK, NULL, to_msad},
    {"batv.sign", ROLE_ADMIN, NULL, to_msad},
    {"batv.verify", ROLE_VIEWER, NULL, to_msad},
    {"batv.explain", ROLE_VIEWER, NULL, to_msad},
    {"batv.rotate", ROLE_ADMIN, NULL, to_msad},
    {"limit.show", ROLE_VIEWER, NULL, to_ratelimitd},
    {"limit.list", ROLE_VIEWER, none, to_ratelimitd},
    {"limit.selftest", ROLE_VIEWER, none, to_ratelimitd},
    {"limit.set", ROLE_ADMIN, NULL, to_ratelimitd_named},
    {"limit.class", ROLE_ADMIN, NULL, to_ratelimitd_named},
    {"limit.reset", ROLE_DESK, NULL, to_ratelimitd_named},
    {.name = NULL},
};
