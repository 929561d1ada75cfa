/*
 * admin_show - the answers of limit.show, limit.list and limit.selftest as JSON.
 *
 * Trusted with counters. Diagnostics: none. Known gap: of more overrides than an answer holds, the
 * first are listed, and how many more there are.
 */
#include <stdio.h>
#include <string.h>

#include "ratelimit/admin_int.h"

#define LIST_MAX 96 /* overrides and classes of one answer */

static const char *const mode_names[] = {"enforce", "observe"};

/* Bytes are kept in KiB, and spoken of as bytes. */
static json_int_t shown(const struct limit *r, int64_t n)
{
	return r->unit == UNIT_BYTES ? n * 1024 : n;
}

static json_t *row_json(const struct limiter *l, const struct limiter_row *r,
			const struct moment *now)
{
	const struct limit *lim = r->limit;
	const struct limits *ls = &limiter_config(l)->limits;
	int64_t left = r->max - (int64_t)r->used;
	json_t *j = json_pack(
	    "{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:I, s:s, s:s}", "name", lim->name, "key",
	    key_names[lim->key], "unit", unit_names[lim->unit], "window", lim->window, "limit",
	    shown(lim, r->max), "used", shown(lim, (int64_t)r->used), "override", r->over != NULL,
	    "resets_ms", (json_int_t)(r->empty_in_ms ? now->utc_ms + r->empty_in_ms : 0), "mode",
	    mode_names[r->observe], "class",
	    lim->class == CLASS_ALL ? "*" : ls->class[lim->class].name);
	json_object_set_new(j, "left",
			    r->max ? json_integer(shown(lim, left > 0 ? left : 0)) : json_null());
	if (r->estimated)
		json_object_set_new(j, "estimated", json_true());
	if (r->over) {
		json_object_set_new(j, "override_of", json_string(target_names[r->over_of]));
		admin_put_terms(j, &r->over->terms);
	}
	return j;
}

static json_t *first_json(const struct limiter_view *v)
{
	static const char *const words[][2] = {{"1m", "minute"}, {"1h", "hour"}, {"1d", "day"}};
	if (v->first < 0)
		return json_null();
	const struct limit *r = v->row[v->first].limit;
	const char *window = r->window;
	for (size_t i = 0; i < 3; i++)
		if (strcmp(words[i][0], r->window) == 0)
			window = words[i][1];
	return r->key == KEY_ACCOUNT ? json_sprintf("%s per %s", unit_names[r->unit], window)
				     : json_sprintf("%s per %s for one %s", unit_names[r->unit],
						    window, key_names[r->key]);
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

static json_t *class_json(const struct account_class *c)
{
	char hours[256];
	return json_pack("{s:s, s:I, s:s}", "name", c->name, "max_recipients",
			 (json_int_t)c->max_recipients, "hours",
			 class_hours(c, hours, sizeof hours));
}

static void put_class(json_t *j, const struct limiter_view *v)
{
	json_t *c;
	if (!v->class)
		return;
	c = class_json(v->class);
	json_object_set_new(c, "open", json_boolean(v->class_open));
	if (v->standing && v->standing->class[0])
		admin_put_terms(c, &v->standing->class_terms);
	json_object_set_new(j, "class", c);
}

static json_t *account_json(struct limiter *l, const struct admin_whom *w,
			    const struct limiter_view *v)
{
	const struct limiter_conf *c = limiter_config(l);
	const struct rl_penalty *p = v->penalty;
	json_t *j =
	    json_pack("{s:o, s:s, s:I, s:o, s:o, s:o, s:{s:I, s:I}, s:o}", "account",
		      admin_text(w->who.account), "stage", rl_stage_name(p ? p->stage : RL_NORMAL),
		      "since_ms", (json_int_t)(p ? p->since_ms : 0), "rule",
		      admin_text(p ? p->rule : ""), "why", admin_text(p ? p->why : ""), "actor",
		      admin_text(p ? p->actor : ""), "held", "used", (json_int_t)v->held, "limit",
		      (json_int_t)c->held_per_day, "detector", detector_json(c, v));
	put_class(j, v);
	return j;
}

json_t *admin_show(struct limiter *l, const struct admin_whom *w, const struct moment *now)
{
	static struct limiter_view v; /* large; there is one thread */
	limiter_view(l, &w->who, now, &v);
	json_t *rows = json_array(), *j = w->who.account ? account_json(l, w, &v) : json_object();
	if (w->who.address)
		json_object_set_new(j, "address", admin_text(w->prefix));
	if (w->who.domain)
		json_object_set_new(j, "domain", admin_text(w->who.domain));
	for (unsigned i = 0; i < v.n; i++)
		json_array_append_new(rows, row_json(l, &v.row[i], now));
	json_object_set_new(j, "mode", json_string(mode_names[limiter_config(l)->mode]));
	json_object_set_new(j, "first", first_json(&v));
	json_object_set_new(j, "limits", rows);
	return j;
}

/* --- limit.list ------------------------------------------------------------------------------- */

struct listing {
	json_t *overrides, *given;
	const struct limits *limits;
	json_int_t more;
	int64_t utc_ms;
};

static void list_override(struct listing *ls, const struct standing *s, const struct override *o)
{
	static const char *const modes[] = {"same", "enforce", "observe"};
	const struct limit *r = limits_find(ls->limits, o->limit);
	json_t *j = json_pack("{s:s, s:o, s:s, s:s}", "of", target_names[s->target], "whom",
			      admin_text(s->name), "limit", o->limit, "mode", modes[o->mode]);
	json_object_set_new(j, "max",
			    o->max < 0 ? json_null() : json_integer(r ? shown(r, o->max) : o->max));
	admin_put_terms(j, &o->terms);
	json_array_append_new(ls->overrides, j);
}

static void list_standing(struct standing *s, void *arg)
{
	struct listing *ls = arg;
	for (unsigned i = 0; i < s->n_over; i++) {
		if (!standing_override(s, s->over[i].limit, ls->utc_ms))
			continue;
		if (json_array_size(ls->overrides) + json_array_size(ls->given) < LIST_MAX)
			list_override(ls, s, &s->over[i]);
		else
			ls->more++;
	}
	const char *class = standing_class(s, ls->utc_ms);
	if (!class)
		return;
	if (json_array_size(ls->overrides) + json_array_size(ls->given) >= LIST_MAX) {
		ls->more++;
		return;
	}
	json_t *j = json_pack("{s:s, s:o, s:s}", "of", target_names[s->target], "whom",
			      admin_text(s->name), "class", class);
	if (class == s->class)
		admin_put_terms(j, &s->class_terms);
	json_array_append_new(ls->given, j);
}

static json_t *limit_json(const struct limits *ls, unsigned i, const struct limiter_stats *st)
{
	const struct limit *r = &ls->row[i];
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I}", "name", r->name, "key",
			 key_names[r->key], "unit", unit_names[r->unit], "window", r->window, "max",
			 shown(r, r->max), "class",
			 r->class == CLASS_ALL ? "*" : ls->class[r->class].name, "mode",
			 mode_names[r->observe], "refused", (json_int_t)st->refused_by[i],
			 "would_refuse", (json_int_t)st->would_by[i]);
}

json_t *admin_list(struct limiter *l, const struct moment *now)
{
	const struct limits *ls = &limiter_config(l)->limits;
	struct listing all = {
	    .overrides = json_array(), .given = json_array(), .limits = ls, .utc_ms = now->utc_ms};
	json_t *limits = json_array(), *classes = json_array();
	for (unsigned i = 0; i < ls->n; i++)
		json_array_append_new(limits, limit_json(ls, i, limiter_stats(l)));
	for (unsigned i = 0; i < ls->n_classes; i++)
		json_array_append_new(classes, class_json(&ls->class[i]));
	standings_each(limiter_standings(l), list_standing, &all);
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:I}", "mode",
			 mode_names[limiter_config(l)->mode], "limits", limits, "classes", classes,
			 "overrides", all.overrides, "members", all.given, "more", all.more);
}

/* --- limit.selftest --------------------------------------------------------------------------- */

#define TEST_HASHES UNIQ_EXACT

static enum rl_answer test_ask(struct limiter *t, const struct limit *r, uint32_t n, uint32_t first)
{
	static const struct moment now = {.mono_ms = 1LL << 40, .utc_ms = 1LL << 40};
	uint64_t hash[TEST_HASHES + 1] = {0};
	struct rl_verdict v;
	struct limiter_outcome o;
	struct rl_ask ask = {.account = "selftest@selftest.invalid",
			     .sender_domain = "selftest.invalid",
			     .t_ms = now.utc_ms,
			     .charge = true};
	addr_from_v4(&ask.client, (const uint8_t[4]){192, 0, 2, 1});
	if (r->unit == UNIT_MESSAGES)
		ask.messages = n;
	if (r->unit == UNIT_RECIPIENTS)
		ask.rcpts = n;
	if (r->unit == UNIT_BYTES)
		ask.bytes = (uint64_t)n * 1024;
	for (uint32_t i = 0; i < n && i <= TEST_HASHES; i++)
		hash[i] = (first + i + 1) * 0x9e3779b97f4a7c15ULL;
	ask.rcpt_hash = ask.domain_hash = hash;
	ask.n_hash = r->unit == UNIT_DISTINCT_RCPTS || r->unit == UNIT_DISTINCT_DOMAINS ? n : 0;
	ask.sender_hash = r->unit == UNIT_DISTINCT_SENDERS ? hash[0] : 0;
	limiter_ask(t, &ask, &now, &v, &o);
	return v.answer;
}

static void test_tell(struct limiter *t, const struct limit *r, uint32_t n)
{
	static const struct moment now = {.mono_ms = 1LL << 40, .utc_ms = 1LL << 40};
	struct rl_observation o = {.what = r->unit == UNIT_REJECTED	   ? RL_SEEN_REJECTED
					   : r->unit == UNIT_AUTH_FAILURES ? RL_SEEN_LOGIN_FAILED
									   : RL_SEEN_LOGIN,
				   .account = "selftest@selftest.invalid",
				   .t_ms = now.utc_ms,
				   .n = n};
	addr_from_v4(&o.client, (const uint8_t[4]){192, 0, 2, 1});
	limiter_observe(t, &o, &now);
}

/* max pass, and the next does not. */
static bool bites(struct limiter *t, const struct limit *r)
{
	uint32_t max = (uint32_t)r->max;
	if (r->unit == UNIT_REJECTED || r->unit == UNIT_AUTH_FAILURES || r->unit == UNIT_SESSIONS) {
		test_tell(t, r, max);
		if (test_ask(t, r, 0, 0) != RL_OK)
			return false;
		test_tell(t, r, 1);
		return test_ask(t, r, 0, 0) == RL_LIMIT;
	}
	if (r->unit == UNIT_DISTINCT_SENDERS) {
		for (uint32_t i = 0; i < max; i++)
			if (test_ask(t, r, 1, i) != RL_OK)
				return false;
		return test_ask(t, r, 1, max) == RL_LIMIT;
	}
	return test_ask(t, r, max, 0) == RL_OK && test_ask(t, r, 1, max) == RL_LIMIT;
}

static const char *test_row(const struct limiter_conf *c, const struct limit *r)
{
	static struct limiter_conf one; /* large; there is one thread */
	char err[256];
	uint32_t stale;
	if (r->max == 0)
		return "no limit";
	if (r->set >= 0 && r->max > TEST_HASHES)
		return "not tried: above 256 it is an estimate";
	memset(&one, 0, sizeof one);
	one.limits.row[0] = *r;
	one.limits.row[0].class = CLASS_ALL;
	one.limits.row[0].observe = false;
	one.limits.n = 1;
	one.detect.window_ms = c->detect.window_ms;
	one.accounts = 100;
	one.memory = 1 << 20;
	one.prefix4 = c->prefix4;
	one.prefix6 = c->prefix6;
	if (!limits_finish(&one.limits, NULL, one.detect.window_ms, &stale, err))
		return "failed";
	struct limiter *t = limiter_new(&one, 1);
	bool ok = bites(t, &one.limits.row[0]);
	limiter_free(t);
	return ok ? "ok" : "failed";
}

json_t *admin_selftest(struct limiter *l)
{
	const struct limiter_conf *c = limiter_config(l);
	json_t *all = json_array();
	for (unsigned i = 0; i < c->limits.n; i++) {
		const struct limit *r = &c->limits.row[i];
		bool observe = c->mode == MODE_OBSERVE || r->observe;
		json_array_append_new(all,
				      json_pack("{s:s, s:I, s:s, s:s, s:s}", "name", r->name, "max",
						shown(r, r->max), "window", r->window, "result",
						test_row(c, r), "mode", mode_names[observe]));
	}
	return all;
}
