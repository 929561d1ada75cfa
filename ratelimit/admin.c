/*
 * admin - what people may ask of and tell the limiter.
 *
 * Trusted with JSON from acctd, which has checked who asks and keeps the audit trail; every member
 * is checked here again. Diagnostics: an error in words that says what to change. Known gaps: none.
 */
#include "ratelimit/admin_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_LIMIT 1000000000000LL

json_t *admin_text(const char *s)
{
	json_t *j = json_string(s);
	return j ? j : json_string("(not UTF-8 text)");
}

json_t *admin_time(int64_t ms)
{
	return ms ? json_integer(ms) : json_null();
}

void admin_put_terms(json_t *j, const struct terms *t)
{
	json_object_set_new(j, "reason", admin_text(t->reason));
	json_object_set_new(j, "actor", admin_text(t->actor));
	json_object_set_new(j, "set_ms", admin_time(t->set_ms));
	json_object_set_new(j, "expires_ms", admin_time(t->expires_ms));
}

void admin_fail(struct admin_result *out, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	out->ok = false;
	out->value = admin_text(text);
}

/* NULL: not there, or null. */
static const char *text_arg(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

static bool given(const json_t *args, const char *name)
{
	const json_t *j = json_object_get(args, name);
	return j && !json_is_null(j);
}

/* False: it is there, and no text of 1 to max bytes. */
static bool text_ok(const json_t *args, const char *name, size_t max)
{
	const json_t *j = json_object_get(args, name);
	size_t len = json_string_length(j);
	return !given(args, name) ||
	       (json_is_string(j) && len > 0 && len <= max && strlen(json_string_value(j)) == len);
}

/* --- whom ------------------------------------------------------------------------------------- */

static bool get_account(const json_t *args, struct admin_whom *w, struct admin_result *out)
{
	if (!text_ok(args, "account", RL_ACCOUNT_MAX)) {
		admin_fail(out, "account is a login such as user@example.net, of at most %d bytes",
			   RL_ACCOUNT_MAX);
		return false;
	}
	w->who.account = text_arg(args, "account");
	return true;
}

static bool get_address(const struct limiter *l, const json_t *args, struct admin_whom *w,
			struct admin_result *out)
{
	const struct limiter_conf *c = limiter_config(l);
	const char *text = text_arg(args, "address"), *why;
	struct prefix p;
	if (!given(args, "address"))
		return true;
	if (!text || !addr_parse(text, &w->address, &why)) {
		admin_fail(out, "address is one such as 192.0.2.7 or 2001:db8::7");
		return false;
	}
	w->who.address = &w->address;
	p.len = (uint8_t)(addr_is4(&w->address) ? c->prefix4 : c->prefix6);
	addr_mask(&w->address, p.len, &p.a);
	prefix_format(&p, w->prefix);
	return true;
}

static bool get_domain(const json_t *args, struct admin_whom *w, struct admin_result *out)
{
	if (!text_ok(args, "domain", 253)) {
		admin_fail(out, "domain is one such as example.net");
		return false;
	}
	w->who.domain = text_arg(args, "domain");
	return true;
}

static bool get_class_target(const struct limiter *l, const json_t *args, struct admin_whom *w,
			     struct admin_result *out)
{
	const char *class = text_arg(args, "class");
	if (!class)
		return true;
	if (limits_class(&limiter_config(l)->limits, class) < 0) {
		admin_fail(out, "there is no account-class %.40s in the configuration", class);
		return false;
	}
	w->target = TARGET_CLASS;
	w->name = class;
	return true;
}

static bool get_whom(const struct limiter *l, const json_t *args, bool class, struct admin_whom *w,
		     struct admin_result *out)
{
	memset(w, 0, sizeof *w);
	if (!get_account(args, w, out) || !get_address(l, args, w, out) ||
	    !get_domain(args, w, out) || (class && !get_class_target(l, args, w, out)))
		return false;
	if (w->who.account) {
		w->target = TARGET_ACCOUNT;
		w->name = w->who.account;
	} else if (w->who.address) {
		w->target = TARGET_ADDRESS;
		w->name = w->prefix;
	} else if (w->who.domain) {
		w->target = TARGET_DOMAIN;
		w->name = w->who.domain;
	} else if (!w->name) {
		admin_fail(out,
			   "account is a login such as user@example.net; or give address or "
			   "domain%s",
			   class ? " or class" : "");
		return false;
	}
	snprintf(out->name, sizeof out->name, "%s", w->name);
	return true;
}

/* --- terms ------------------------------------------------------------------------------------ */

static bool get_terms(const json_t *args, struct terms *t, const struct moment *now,
		      struct admin_result *out)
{
	const json_t *expires = json_object_get(args, "expires_ms");
	memset(t, 0, sizeof *t);
	t->set_ms = now->utc_ms;
	if (!text_ok(args, "reason", sizeof t->reason - 1)) {
		admin_fail(out, "reason is a text of less than %zu bytes", sizeof t->reason);
		return false;
	}
	if (text_arg(args, "reason"))
		snprintf(t->reason, sizeof t->reason, "%s", text_arg(args, "reason"));
	if (text_arg(args, "actor"))
		snprintf(t->actor, sizeof t->actor, "%s", text_arg(args, "actor"));
	if (!given(args, "expires_ms"))
		return true;
	t->expires_ms = json_integer_value(expires);
	if (!json_is_integer(expires) || t->expires_ms <= now->utc_ms) {
		admin_fail(out, "expires_ms is a time to come, in UTC milliseconds");
		return false;
	}
	return true;
}

/* --- which limit ------------------------------------------------------------------------------ */

static bool index_of(const char *name, const char *const *names, int n, int *out)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0) {
			*out = i;
			return true;
		}
	return false;
}

static const struct limit *by_shape(const struct limits *ls, int key, int unit, int64_t window_ms)
{
	for (unsigned i = 0; i < ls->n; i++)
		if (ls->row[i].key == (enum limit_key)key && ls->row[i].unit == (enum unit)unit &&
		    ls->row[i].window_ms == window_ms)
			return &ls->row[i];
	return NULL;
}

static const struct limit *named(const struct limits *ls, const char *name,
				 struct admin_result *out)
{
	const struct limit *r = limits_find(ls, name);
	if (!r)
		admin_fail(out, "there is no limit %.40s: limit list shows their names", name);
	return r;
}

static const struct limit *get_limit(const struct limiter *l, const json_t *args,
				     const struct admin_whom *w, struct admin_result *out)
{
	const struct limits *ls = &limiter_config(l)->limits;
	const char *unit = text_arg(args, "unit"), *window = text_arg(args, "window"), *why;
	int u, key = w->target == TARGET_ADDRESS ? KEY_ADDRESS : KEY_ACCOUNT;
	int64_t ms;
	if (text_arg(args, "name"))
		return named(ls, text_arg(args, "name"), out);
	if (!unit || !index_of(unit, unit_names, N_UNITS, &u))
		admin_fail(out, "unit is messages or recipients or another that a limit counts; or "
				"say the limit's name");
	else if (!window || !clock_parse_duration(window, &ms, &why))
		admin_fail(out, "window is a time such as 1m, 1h or 1d");
	else if (!by_shape(ls, key, u, ms))
		admin_fail(out,
			   "there is no limit of %s for an %s: limit list shows those there are; "
			   "its window is one of theirs",
			   unit, key_names[key]);
	else
		return by_shape(ls, key, u, ms);
	return NULL;
}

static bool get_max(const json_t *args, const struct limit *r, struct override *o,
		    struct admin_result *out)
{
	const json_t *max = json_object_get(args, "limit");
	o->max = -1;
	if (!max || json_is_null(max))
		return true;
	o->max = json_integer_value(max);
	if (!json_is_integer(max) || o->max < 0 || o->max > MAX_LIMIT) {
		admin_fail(out,
			   "limit is a number from 0 (no limit) to %lld, or null to remove the "
			   "override",
			   MAX_LIMIT);
		return false;
	}
	if (r->unit == UNIT_BYTES)
		o->max = (o->max + 1023) / 1024;
	return true;
}

static bool get_mode(const json_t *args, struct override *o, struct admin_result *out)
{
	static const char *const words[] = {"same", "enforce", "observe"};
	const char *mode = text_arg(args, "mode");
	if (!mode || index_of(mode, words, 3, &o->mode))
		return true;
	admin_fail(out, "mode is enforce, observe or same");
	return false;
}

/* --- operations ------------------------------------------------------------------------------- */

static void show(struct limiter *l, const json_t *args, const struct moment *now,
		 struct admin_result *out)
{
	struct admin_whom w;
	if (!get_whom(l, args, false, &w, out))
		return;
	out->ok = true;
	out->value = admin_show(l, &w, now);
}

/* What was done is shown; a class has no counters to show. */
static void show_done(struct limiter *l, const struct admin_whom *w, const struct moment *now,
		      struct admin_result *out)
{
	out->ok = out->changed = true;
	out->value = w->target == TARGET_CLASS ? admin_list(l, now) : admin_show(l, w, now);
}

static void set(struct limiter *l, const json_t *args, const struct moment *now,
		struct admin_result *out)
{
	struct admin_whom w;
	struct override o = {0};
	const struct limit *r;
	if (!get_whom(l, args, true, &w, out) || !(r = get_limit(l, args, &w, out)))
		return;
	if (!json_object_get(args, "limit") && !given(args, "mode")) {
		admin_fail(out,
			   "limit is a number from 0 (no limit) to %lld, or null to remove "
			   "the override",
			   MAX_LIMIT);
		return;
	}
	if (!get_max(args, r, &o, out) || !get_mode(args, &o, out) ||
	    !get_terms(args, &o.terms, now, out))
		return;
	snprintf(o.limit, sizeof o.limit, "%s", r->name);
	bool none = o.max < 0 && o.mode == OVERRIDE_SAME;
	if (none)
		(void)limiter_drop_override(l, w.target, w.name, r->name, now);
	else if (!limiter_override(l, w.target, w.name, &o)) {
		admin_fail(out, "no room for another override");
		return;
	}
	out->standing_changed = true;
	show_done(l, &w, now, out);
}

static void class(struct limiter *l, const json_t *args, const struct moment *now,
		  struct admin_result *out)
{
	struct admin_whom w;
	struct terms t;
	const char *name = text_arg(args, "class");
	if (!get_whom(l, args, false, &w, out))
		return;
	if (w.target == TARGET_ADDRESS || !json_object_get(args, "class")) {
		admin_fail(out, "give account or domain, and class: its name, or null for none");
		return;
	}
	if (name && limits_class(&limiter_config(l)->limits, name) < 0) {
		admin_fail(out, "there is no account-class %.40s in the configuration", name);
		return;
	}
	if (!get_terms(args, &t, now, out))
		return;
	if (!limiter_give_class(l, w.target, w.name, name ? name : "", &t, now)) {
		admin_fail(out, "no room for another account with a class");
		return;
	}
	out->standing_changed = true;
	show_done(l, &w, now, out);
}

static void reset(struct limiter *l, const json_t *args, const struct moment *now,
		  struct admin_result *out)
{
	struct admin_whom w;
	if (!get_whom(l, args, false, &w, out))
		return;
	limiter_reset(l, &w.who, now);
	show_done(l, &w, now, out);
}

static void list(struct limiter *l, const json_t *args, const struct moment *now,
		 struct admin_result *out)
{
	(void)args;
	out->ok = true;
	out->value = admin_list(l, now);
}

static void selftest(struct limiter *l, const json_t *args, const struct moment *now,
		     struct admin_result *out)
{
	(void)args, (void)now;
	out->ok = true;
	out->value = json_pack("{s:o}", "limits", admin_selftest(l));
}

static void stats(struct limiter *l, const json_t *args, const struct moment *now,
		  struct admin_result *out)
{
	(void)args;
	(void)now;
	const struct limiter_stats *s = limiter_stats(l);
	size_t used, touched = subjects_memory(limiter_subjects(l), &used);
	out->ok = true;
	out->value =
	    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "accounts",
		      (json_int_t)subjects_count(limiter_subjects(l)), "asks",
		      (json_int_t)s->checks + (json_int_t)s->charges, "limited",
		      (json_int_t)s->answers[RL_LIMIT], "held", (json_int_t)s->penalised[RL_HOLD],
		      "suspended", (json_int_t)s->penalised[RL_SUSPEND], "detections",
		      (json_int_t)s->detections, "memory_bytes", (json_int_t)touched, "mode",
		      limiter_config(l)->mode == MODE_OBSERVE ? "observe" : "enforce");
}

/* --- dispatch --------------------------------------------------------------------------------- */

#define TERMS "reason expires_ms actor "

static const struct op {
	const char *name;
	const char *members; /* allowed in args, blank before and after each */
	void (*run)(struct limiter *l, const json_t *args, const struct moment *now,
		    struct admin_result *out);
} ops[] = {
    {"limit.show", " account address domain ", show},
    {"limit.set", " account address domain class name unit window limit mode " TERMS, set},
    {"limit.reset", " account address domain reason actor ", reset},
    {"limit.class", " account domain class " TERMS, class},
    {"limit.list", " ", list},
    {"limit.selftest", " ", selftest},
    {"stats", " ", stats},
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
			admin_fail(out, "%s takes no argument %.40s", op->name, key);
			return false;
		}
	}
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
		if (members_ok(&ops[i], args, out))
			ops[i].run(l, args, now, out);
		return;
	}
	admin_fail(out, "op is limit.show, limit.set, limit.reset, limit.class, limit.list, "
			"limit.selftest or stats");
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
		admin_fail(out, "not JSON: %s", e.text);
	json_decref(request);
}
