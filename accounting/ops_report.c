/*
 * ops_report - abuse reports in.
 *
 * The raw message is kept under <state_dir>/accounting/reports, named by its SHA-256, written
 * before the row that names it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"
#include "accounting/acctd.h"
#include "accounting/arf_child.h"
#include "accounting/report.h"
#include "accounting/token.h"

struct import {
	struct op_call *c;
	uint8_t *raw;
	size_t len;
	char sha256[SHA256_HEX];
	struct arf *arf; /* read, while msad is asked about its tag */
	struct report_tag tag;
	char sender[EVENT_ACCOUNT_MAX + 1];
};

static void free_import(struct import *im)
{
	free(im->raw);
	free(im);
}

static char *raw_path(const struct acctd *a, const char *sha256)
{
	char *path = NULL;
	if (asprintf(&path, "%s/accounting/reports/%s", a->conf.common.state_dir, sha256) < 0)
		fatal("out of memory");
	return path;
}

/* {"id","match",…} of a stored one; NULL when the store fails or has none. */
static json_t *known_report(struct acctd *a, const char *sha256, bool duplicate)
{
	json_t *row = store_report_row(a->store, sha256, 0);
	if (row)
		json_object_set_new(row, "duplicate", json_boolean(duplicate));
	return row;
}

/* Enough complaints hold an account by themselves, when the configuration says so. */
static void maybe_hold(struct acctd *a, const struct report_match *m, int64_t incident,
		       int64_t now_ms)
{
	struct incident_change done;
	const char *code;
	char why[64];
	int64_t n = a->conf.complaints_hold;
	if (n == 0 || !m->account || !incident || store_report_count(a->store, incident) < n ||
	    !rl_connected(a->rl))
		return;
	snprintf(why, sizeof why, "%lld complaints", (long long)n);
	store_begin(a->store);
	if (incidents_hold(a->incidents, incident, NULL, "complaint", why, "reports", now_ms, &done,
			   &code)) {
		store_rollback(a->store); /* held already, or about a line */
		return;
	}
	store_audit(a->store, &(struct store_who){"reports", ""}, now_ms, "incident.hold", m->login,
		    why, "");
	incidents_follow(a->incidents, done.id, now_ms);
	if (store_commit(a->store, NULL, NULL))
		(void)incidents_apply(a->incidents, &done);
}

static bool write_raw(const struct import *im)
{
	char *path = raw_path(im->c->a, im->sha256);
	bool ok = proc_write_file(path, im->raw, im->len, 0640);
	if (!ok)
		log_event(LOG_ERR, "-", "report", "write-failed", LS("path", path),
			  LS("why", strerror(errno)));
	free(path);
	return ok;
}

static void tell_detector(struct acctd *a, const struct arf *arf, const struct report_match *m,
			  int64_t now_ms)
{
	struct rl_observation o = {.what = RL_SEEN_REPORT,
				   .account = m->login,
				   .t_ms = now_ms,
				   .text = arf->feedback_type,
				   .n = 1};
	/* Who has one message of an account cannot make it look as if many had complained. */
	if (m->login[0] && !m->again && strcmp(arf->feedback_type, "not-spam") != 0)
		(void)rl_observe(a->rl, &o);
}

static void store_it(struct import *im, const struct arf *arf)
{
	struct op_call *c = im->c;
	struct acctd *a = c->a;
	struct report_match m;
	int64_t incident = 0;
	char object[32];
	if (!write_raw(im)) {
		op_fail(c, "unavailable",
			"the report could not be written to disk: nothing was changed");
		return;
	}
	store_begin(a->store);
	int64_t id = report_file(a->store, a->incidents, arf, &im->tag, im->sha256, c->now_ms, &m,
				 &incident);
	snprintf(object, sizeof object, "report %lld", (long long)id);
	store_audit(a->store, &c->who, c->now_ms, "report.import", object, "", m.login);
	if (!op_commit(c))
		return;
	tell_detector(a, arf, &m, c->now_ms);
	maybe_hold(a, &m, incident, c->now_ms);
	json_t *row = known_report(a, im->sha256, false);
	if (row)
		op_done(c, row);
	else
		op_fail(c, "internal", "the report is stored but cannot be read");
}

static void finish_import(struct import *im, struct arf *arf, const char *err)
{
	json_t *row =
	    known_report(im->c->a, im->sha256, true); /* the same one came while this was read */
	if (row)
		op_done(im->c, row);
	else if (!arf)
		op_fail(im->c, "invalid", "%s", err);
	else
		store_it(im, arf);
	talloc_free(arf);
	free_import(im);
}

/* DDD of "prvs=KDDDSSSSSS=…", which it was found by; what is no number there is verified by nobody.
 */
static int expiry_day(const char *tagged)
{
	int day = 0;
	for (int i = 6; i < 9; i++)
		day = day * 10 + (tagged[i] >= '0' && tagged[i] <= '9' ? tagged[i] - '0' : 0);
	return day;
}

/* msad has the keys. One whose days are over is ours all the same. */
static void on_verified(bool answered, bool ok, const json_t *result, void *arg)
{
	struct import *im = arg;
	const json_t *r = answered && ok ? json_array_get(result, 0) : NULL;
	const char *reason = json_string_value(json_object_get(r, "reason")),
		   *sender = json_string_value(json_object_get(r, "original"));
	if (sender && reason && (strcmp(reason, "valid") == 0 || strcmp(reason, "expired") == 0)) {
		snprintf(im->sender, sizeof im->sender, "%s", sender);
		report_tag_day(expiry_day(im->arf->tagged), im->c->now_ms, &im->tag);
	}
	finish_import(im, im->arf, NULL);
}

/* What is certain needs no tag. */
static bool needs_tag(const struct arf *arf)
{
	return arf && arf->tagged[0] && !arf->token[0] && !arf->queue_id[0];
}

static void on_parsed(struct arf *arf, const char *err, void *arg)
{
	struct import *im = arg;
	im->tag.sender = im->sender;
	if (!needs_tag(arf)) {
		finish_import(im, arf, err);
		return;
	}
	json_t *args = json_pack("{s:[s%]}", "addresses", arf->tagged, strlen(arf->tagged));
	im->arf = arf;
	if (args) {
		feed_server_request(im->c->a->feed, "msad", "batv.verify", args, on_verified, im);
		json_decref(args);
	} else { /* no UTF-8, so none of ours */
		finish_import(im, arf, NULL);
	}
}

static void report_import(struct op_call *c)
{
	const json_t *b64 = json_object_get(c->args, "raw");
	struct import *im = calloc(1, sizeof *im);
	if (!im)
		fatal("out of memory");
	im->c = c;
	im->raw = token_unbase64(json_string_value(b64), json_string_length(b64), &im->len);
	if (!im->raw || im->len == 0 || im->len > ARF_RAW_MAX) {
		op_fail(c, "invalid",
			!im->raw  ? "raw is not base64"
			: im->len ? "the message is longer than 700 KB"
				  : "the message is empty");
		free_import(im);
		return;
	}
	token_sha256(im->raw, im->len, im->sha256);
	json_t *row = known_report(c->a, im->sha256, true);
	if (row) {
		op_done(c, row);
		free_import(im);
		return;
	}
	arf_child_run(c->a->base, im->raw, im->len, c->a->conf.hostname, on_parsed, im);
}

static void report_attach(struct op_call *c)
{
	struct store *st = c->a->store;
	struct store_incident inc;
	char object[32], text[64];
	int64_t id = op_int(c->args, "id", 0), incident = op_int(c->args, "incident", 0);
	store_begin(st);
	json_t *row = store_report_row(st, NULL, id);
	bool have = row && store_incident(st, incident, &inc);
	json_decref(row);
	if (!have) {
		store_rollback(st);
		op_fail(c, "notfound",
			row ? "there is no incident %lld" : "there is no report %lld",
			(long long)(row ? incident : id));
		return;
	}
	snprintf(object, sizeof object, "report %lld", (long long)id);
	snprintf(text, sizeof text, "report %lld was attached", (long long)id);
	store_report_attach(st, id, incident);
	store_incident_note(st, incident, c->who.actor, "report", text, c->now_ms);
	store_audit(st, &c->who, c->now_ms, "report.attach", object, "", inc.subject);
	if (op_commit(c))
		op_done(c, NULL);
}

static const struct op_arg import_args[] = {{"raw", OP_BLOB, true}, {.name = NULL}};
static const struct op_arg attach_args[] = {
    {"id", OP_ID, true}, {"incident", OP_ID, true}, {.name = NULL}};

const struct op ops_report[] = {
    {"report.import", ROLE_DESK, import_args, report_import},
    {"report.attach", ROLE_DESK, attach_args, report_attach},
    {.name = NULL},
};
