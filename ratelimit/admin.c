/*
 * admin - what people may ask of and tell the limiter.
 *
 * Trusted with JSON from acctd, which has checked who asks and keeps the audit trail; every member
 * is checked here again. Diagnostics: an error in words that says what to change. Known gaps: none.
 */
#include "ratelimit/admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"

#define MAX_LIMIT 1000000000

static const char *const mode_names[] = {[MODE_ENFORCE] = "enforce", [MODE_OBSERVE] = "observe"};
static const char *const stage_names[] = {
    [RL_NORMAL] = "normal", [1] = "", [RL_HOLD] = "hold", [RL_SUSPEND] = "suspend"};

/* Text that may have come from elsewhere: JSON takes UTF-8 only. */
static json_t *text_json(const char *s)
{
	json_t *j = json_string(s);
	return j ? j : json_string("(not UTF-8 text)");
}

static void fail(struct admin_result *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void fail(struct admin_result *out, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	out->ok = false;
	out->value = text_json(text);
}

static bool index_of(const char *name, const char *const *names, int n, int *out)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0) {
			*out = i;
			return true;
		}
	return false;
}

/* --- limit.show ---------------------------------------------------------------------------------
 */

static json_t *row_json(const struct limiter_view *v, int u, int w, const struct moment *now)
{
	int64_t limit = v->row[u][w].limit, used = (int64_t)v->row[u][w].used,
		empty = v->row[u][w].empty_in_ms;
	json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:b, s:I}", "unit", unit_names[u], "window",
			      window_names[w], "limit", (json_int_t)limit, "used", (json_int_t)used,
			      "override", v->row[u][w].overridden, "resets_ms",
			      (json_int_t)(empty ? now->utc_ms + empty : 0));
	json_object_set_new(j, "left",
			    limit ? json_integer(limit > used ? limit - used : 0) : json_null());
	if (v->row[u][w].overridden) {
		const struct override *o = &v->row[u][w].over;
		json_object_set_new(j, "reason", text_json(o->reason));
		json_object_set_new(j, "expires_ms",
				    o->expires_ms ? json_integer(o->expires_ms) : json_null());
	}
	return j;
}

static json_t *rows_json(const struct limiter_view *v, const struct moment *now)
{
	json_t *rows = json_array();
	for (int u = 0; u < N_UNITS; u++)
		for (int w = 0; w < N_WINDOWS; w++)
			json_array_append_new(rows, row_json(v, u, w, now));
	return rows;
}

static json_t *detector_json(const struct limiter_conf *c, const struct limiter_view *v)
{
	char window[CLOCK_STRLEN];
	clock_format_duration(c->detect.window_ms, window);
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "window", window, "distinct",
			 (json_int_t)v->detect.distinct, "distinct_limit",
			 (json_int_t)c->detect.recipients, "rate", (json_int_t)v->detect.rate,
			 "rate_limit", (json_int_t)c->detect.rate, "refused",
			 (json_int_t)v->detect.refused, "refused_limit",
			 (json_int_t)c->detect.refused, "grace_left", (json_int_t)v->grace_left_ms);
}

static json_t *first_json(const struct limiter_view *v)
{
	if (v->first < 0)
		return json_null();
	return json_sprintf("%s per %s", unit_names[v->first / N_WINDOWS],
			    window_words[v->first % N_WINDOWS]);
}

static void show(struct limiter *l, const json_t *args, const struct moment *now,
		 struct admin_result *out)
{
	(void)args;
	struct limiter_view v;
	const struct limiter_conf *c = limiter_config(l);
	limiter_view(l, out->account, now, &v);
	out->ok = true;
	out->value = json_pack(
	    "{s:o, s:s, s:I, s:o, s:o, s:o, s:s, s:o, s:o, s:{s:I, s:I}, s:o}", "account",
	    text_json(out->account), "stage", stage_names[v.penalty ? v.penalty->stage : RL_NORMAL],
	    "since_ms", (json_int_t)(v.penalty ? v.penalty->since_ms : 0), "rule",
	    text_json(v.penalty ? v.penalty->rule : ""), "why",
	    text_json(v.penalty ? v.penalty->why : ""), "actor",
	    text_json(v.penalty ? v.penalty->actor : ""), "mode", mode_names[c->mode], "first",
	    first_json(&v), "limits", rows_json(&v, now), "held", "used", (json_int_t)v.held,
	    "limit", (json_int_t)c->held_per_day, "detector", detector_json(c, &v));
}

/* --- limit.set, limit.reset, stats
 * ----------------------------------------------------------------- */

static bool get_cell(const json_t *args, int *u, int *w, struct admin_result *out)
{
	const char *unit = json_string_value(json_object_get(args, "unit"));
	const char *window = json_string_value(json_object_get(args, "window"));
	if (!unit || !index_of(unit, unit_names, N_UNITS, u))
		fail(out, "unit is messages or recipients");
	else if (!window || !index_of(window, window_names, N_WINDOWS, w))
		fail(out, "window is 1m, 1h or 1d");
	else
		return true;
	return false;
}

static bool get_limit(const json_t *args, struct override *o, struct admin_result *out)
{
	const json_t *limit = json_object_get(args, "limit");
	o->set = !json_is_null(limit);
	o->limit = json_integer_value(limit);
	if (!limit || (o->set && !json_is_integer(limit)) || o->limit < 0 || o->limit > MAX_LIMIT) {
		fail(out,
		     "limit is a number from 0 (no limit) to %d, or null to remove the override",
		     MAX_LIMIT);
		return false;
	}
	return true;
}

static bool get_terms(const json_t *args, struct override *o, const struct moment *now,
		      struct admin_result *out)
{
	const json_t *reason = json_object_get(args, "reason"),
		     *expires = json_object_get(args, "expires_ms");
	if (reason && !json_is_null(reason)) {
		const char *text = json_string_value(reason);
		if (!text || json_string_length(reason) >= sizeof o->reason ||
		    strlen(text) != json_string_length(reason)) {
			fail(out, "reason is a text of less than %zu bytes", sizeof o->reason);
			return false;
		}
		memcpy(o->reason, text, strlen(text) + 1);
	}
	if (expires && !json_is_null(expires)) {
		o->expires_ms = json_integer_value(expires);
		if (!json_is_integer(expires) || o->expires_ms <= now->utc_ms) {
			fail(out, "expires_ms is a time to come, in UTC milliseconds");
			return false;
		}
	}
	return true;
}

static void set(struct limiter *l, const json_t *args, const struct moment *now,
		struct admin_result *out)
{
	struct override o = {0};
	int u, w;
	if (!get_cell(args, &u, &w, out) || !get_limit(args, &o, out) ||
	    !get_terms(args, &o, now, out))
		return;
	if (!limiter_override(l, out->account, (enum unit)u, (enum window)w, o.set ? &o : NULL,
			      now)) {
		fail(out, "no room for another account: raise ratelimit.accounts");
		return;
	}
	out->standing_changed = true;
	show(l, args, now, out);
}

static void reset(struct limiter *l, const json_t *args, const struct moment *now,
		  struct admin_result *out)
{
	limiter_reset(l, out->account);
	show(l, args, now, out);
}

static void stats(struct limiter *l, const json_t *args, const struct moment *now,
		  struct admin_result *out)
{
	(void)args;
	(void)now;
	const struct limiter_stats *s = limiter_stats(l);
	out->ok = true;
	out->value = json_pack(
	    "{s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "accounts", (json_int_t)limiter_accounts(l),
	    "asks", (json_int_t)s->checks + (json_int_t)s->charges, "limited",
	    (json_int_t)s->answers[RL_LIMIT], "held", (json_int_t)s->penalised[RL_HOLD],
	    "suspended", (json_int_t)s->penalised[RL_SUSPEND], "detections",
	    (json_int_t)s->detections, "mode", mode_names[limiter_config(l)->mode]);
}

/* --- dispatch
 * ---------------------------------------------------------------------------------------- */

static const struct op {
	const char *name;
	const char *members; /* allowed in args, blank before and after each */
	void (*run)(struct limiter *l, const json_t *args, const struct moment *now,
		    struct admin_result *out);
	bool account;
} ops[] = {
    {"limit.show", " account ", show, true},
    {"limit.set", " account unit window limit reason expires_ms ", set, true},
    {"limit.reset", " account ", reset, true},
    {"stats", " ", stats, false},
};

static bool member_allowed(const char *members, const char *key)
{
	char want[64];
	int n = snprintf(want, sizeof want, " %s ", key);
	return n > 0 && (size_t)n < sizeof want && !strchr(key, ' ') && strstr(members, want);
}

static bool members_ok(const struct op *op, json_t *args, struct admin_result *out)
{
	const char *key;
	json_t *value;
	json_object_foreach (args, key, value) {
		if (!member_allowed(op->members, key)) {
			fail(out, "%s takes no argument %.40s", op->name, key);
			return false;
		}
	}
	return true;
}

static bool get_account(const json_t *args, struct admin_result *out)
{
	const json_t *account = json_object_get(args, "account");
	const char *name = json_string_value(account);
	size_t len = json_string_length(account);
	if (!name || len == 0 || len > RL_ACCOUNT_MAX || strlen(name) != len) {
		fail(out, "account is a login such as user@example.net, of at most %d bytes",
		     RL_ACCOUNT_MAX);
		return false;
	}
	memcpy(out->account, name, len + 1);
	return true;
}

static void dispatch(struct limiter *l, const json_t *request, const struct moment *now,
		     struct admin_result *out)
{
	const char *name = json_string_value(json_object_get(request, "op"));
	json_t *args = json_object_get(request, "args");
	for (size_t i = 0; name && i < sizeof ops / sizeof ops[0]; i++) {
		if (strcmp(name, ops[i].name) != 0)
			continue;
		out->op = ops[i].name;
		if (members_ok(&ops[i], args, out) && (!ops[i].account || get_account(args, out)))
			ops[i].run(l, args, now, out);
		return;
	}
	fail(out, "op is limit.show, limit.set, limit.reset or stats");
}

void admin_run(struct limiter *l, const char *text, size_t len, const struct moment *now,
	       struct admin_result *out)
{
	json_error_t e;
	*out = (struct admin_result){0};
	json_t *request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (request)
		dispatch(l, request, now, out);
	else
		fail(out, "not JSON: %s", e.text);
	json_decref(request);
}
