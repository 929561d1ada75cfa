/*
 * exempt_args - see exempt_args.h.
 *
 * An error begins with the name of the argument, which is the column of an import.
 */
#include "accounting/exempt_args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "accounting/dns_answer.h"

#define MIN_LEN4 16 /* a shorter prefix is a mistake: it would open port 25 for a whole region */
#define MIN_LEN6 32

#define COMMON_ARGS                                                                                \
	{"prefix", OP_TEXT, true}, {"class", OP_TEXT, false}, {"to", OP_LONG, false},              \
	    {"subscriber", OP_TEXT, false}, {"contract", OP_TEXT, false},                          \
	    {"service", OP_TEXT, false}, {"static", OP_TEXT, false},                               \
	    {"access_port", OP_TEXT, false}, {"contact", OP_TEXT, false},                          \
	    {"abuse_contact", OP_TEXT, false}, {"use", OP_TEXT, false},                            \
	    {"software", OP_TEXT, false}, {"volume", OP_TEXT, false}, {"helo", OP_TEXT, false},    \
	    {"domain", OP_TEXT, false}, {"aup_ms", OP_TIME, false}, {"approver", OP_TEXT, false},  \
	    {"ticket", OP_TEXT, false}, {"reason", OP_TEXT, false}, {"starts_ms", OP_TIME, false}, \
	    {"expires_ms", OP_TIME, false},                                                        \
	{                                                                                          \
		"review_ms", OP_TIME, false                                                        \
	}

const struct op_arg exempt_add_args[] = {COMMON_ARGS, {.name = NULL}};
const struct op_arg exempt_row_args[] = {
    COMMON_ARGS, {"state", OP_TEXT, false}, {"suspended_until_ms", OP_TIME, false}, {.name = NULL}};

static bool wrong(struct exempt_error *e, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool wrong(struct exempt_error *e, const char *code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	e->code = code;
	return false;
}

static const char *text(const json_t *args, const char *name)
{
	const char *s = op_text(args, name);
	return s ? s : "";
}

/* --- prefix, class, destinations --- */

static bool get_prefix(const json_t *args, struct prefix *p, struct exempt_error *e)
{
	char bad[128];
	if (!prefix_parse(op_text(args, "prefix"), p, bad))
		return wrong(e, "invalid", "prefix: %.50s: %s", op_text(args, "prefix"), bad);
	if (p->len >= (addr_is4(&p->a) ? MIN_LEN4 : MIN_LEN6))
		return true;
	char shown[PREFIX_STRLEN];
	return wrong(e, "invalid", "prefix: %s is too wide: at least /%d for IPv4, /%d for IPv6",
		     prefix_format(p, shown), MIN_LEN4, MIN_LEN6);
}

static const struct acctd_class *configured(const struct acctd *a, const char *name)
{
	const struct acctd_class *k = a->conf.classes.items;
	for (size_t i = 0; i < a->conf.classes.n; i++)
		if (strcmp(k[i].name, name) == 0)
			return &k[i];
	return NULL;
}

static const char *const built_in[] = {"full", "throttled", "listed"};

static bool is_built_in(const char *name)
{
	for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
		if (strcmp(built_in[i], name) == 0)
			return true;
	return false;
}

static bool no_class(const struct acctd *a, const char *name, struct exempt_error *e)
{
	const struct acctd_class *k = a->conf.classes.items;
	wrong(e, "invalid", "class: there is no class %.15s: there are full, throttled, listed",
	      name);
	for (size_t i = 0; i < a->conf.classes.n; i++) {
		size_t used = strlen(e->text);
		if (!is_built_in(k[i].name))
			snprintf(e->text + used, sizeof e->text - used, ", %s", k[i].name);
	}
	return false;
}

static bool get_class(const struct acctd *a, const json_t *args, struct store_exemption *out,
		      bool *listed, struct exempt_error *e)
{
	out->class = text(args, "class");
	if (!out->class[0])
		out->class = "full";
	const struct acctd_class *k = configured(a, out->class);
	*listed = k ? k->listed : strcmp(out->class, "listed") == 0;
	return k || is_built_in(out->class) || no_class(a, out->class, e);
}

static bool get_dst(const char *word, size_t n, struct prefix *p, struct exempt_error *e)
{
	char one[PREFIX_STRLEN], bad[128];
	snprintf(one, sizeof one, "%.*s", n < sizeof one ? (int)n : (int)sizeof one - 1, word);
	return (n < sizeof one && prefix_parse(one, p, bad)) ||
	       wrong(e, "invalid", "to: %s: %s", one,
		     n < sizeof one ? bad : "that is no address or prefix");
}

/* No connection goes from one family to the other. */
static bool reaches_any(const struct store_exemption *x, const struct prefix *list)
{
	for (unsigned i = 0; i < x->n_dst; i++)
		if (addr_is4(&list[i].a) == addr_is4(&x->prefix.a))
			return true;
	return false;
}

static bool get_dsts(void *ctx, const json_t *args, bool listed, struct store_exemption *out,
		     struct exempt_error *e)
{
	static const char between[] = ", \t";
	const char *p = text(args, "to");
	struct prefix list[POLICY_DST_MAX];
	for (p += strspn(p, between); *p; p += strspn(p, between)) {
		size_t n = strcspn(p, between);
		if (out->n_dst == POLICY_DST_MAX)
			return wrong(e, "invalid", "to: at most %d destinations", POLICY_DST_MAX);
		if (!get_dst(p, n, &list[out->n_dst++], e))
			return false;
		p += n;
	}
	if (listed && out->n_dst == 0)
		return wrong(e, "invalid", "to: class %.15s needs the destinations it may reach",
			     out->class);
	if (listed && !reaches_any(out, list))
		return wrong(e, "invalid", "to: none of these is IPv%c, as the prefix is",
			     addr_is4(&out->prefix.a) ? '4' : '6');
	if (!listed && out->n_dst > 0)
		return wrong(e, "invalid",
			     "to: class %.15s may reach any destination: leave this out, or choose "
			     "a class for listed destinations",
			     out->class);
	if (out->n_dst)
		out->dst = talloc_memdup(ctx, list, out->n_dst * sizeof *list);
	return true;
}

/* --- the rest --- */

static bool get_times(const json_t *args, int64_t now_ms, struct store_exemption *out,
		      struct exempt_error *e)
{
	out->starts_ms = op_int(args, "starts_ms", 0);
	out->expires_ms = op_int(args, "expires_ms", 0);
	out->aup_ms = op_int(args, "aup_ms", 0);
	out->review_ms = op_int(args, "review_ms", 0);
	out->until_ms = op_int(args, "suspended_until_ms", 0);
	if (op_has(args, "expires_ms") && out->expires_ms <= now_ms)
		return wrong(e, "invalid",
			     "expires: it would expire in the past: give a later time, or none");
	if (out->expires_ms && out->expires_ms <= out->starts_ms)
		return wrong(e, "invalid", "expires: it must expire after it starts");
	return true;
}

static bool get_name(const json_t *args, const char *name, const char **out, struct exempt_error *e)
{
	char canonical[DNS_NAME_MAX];
	*out = text(args, name);
	return !**out || dns_name(*out, canonical) ||
	       wrong(e, "invalid", "%s: %.100s is no host name", name, *out);
}

static bool get_static(const json_t *args, struct store_exemption *out, struct exempt_error *e)
{
	out->fixed = text(args, "static");
	return !out->fixed[0] || strcmp(out->fixed, "yes") == 0 || strcmp(out->fixed, "no") == 0 ||
	       wrong(e, "invalid", "static: %.20s: say yes, no or nothing", out->fixed);
}

static bool get_state(const json_t *args, struct store_exemption *out, struct exempt_error *e)
{
	const char *name = text(args, "state");
	if (strcmp(name, "pending") == 0) /* as a list shows one that starts later */
		name = "active";
	out->state = exempt_state_parse(name);
	if (!name[0] || exempt_lives(out->state))
		return true;
	return wrong(e, "invalid",
		     "state: %.20s: say requested, verified, active, suspended or nothing", name);
}

static bool get_subscriber(struct acctd *a, const json_t *args, struct store_exemption *out,
			   struct exempt_error *e)
{
	const char *ref = text(args, "subscriber");
	out->subscriber = ref[0] ? store_subscriber(a->store, ref) : 0;
	return !ref[0] || out->subscriber ||
	       wrong(e, "notfound", "subscriber: there is no subscriber %.100s: add it first", ref);
}

/* One that is in force serves whoever has the line. */
static bool is_theirs(struct acctd *a, const json_t *args, int64_t now_ms,
		      const struct store_exemption *x, struct exempt_error *e)
{
	char prefix[PREFIX_STRLEN];
	if (!x->subscriber || x->starts_ms > now_ms || x->state == EXEMPT_SUSPENDED ||
	    !store_prefix_other(a->store, &x->prefix, x->subscriber, now_ms))
		return true;
	return wrong(e, "invalid",
		     "subscriber: by the leases %s is not %.100s's, or not alone: see sekishoctl "
		     "who; for a line that is to be theirs say when it starts",
		     prefix_format(&x->prefix, prefix), text(args, "subscriber"));
}

bool exempt_from_args(struct acctd *a, void *ctx, const json_t *args, int64_t now_ms,
		      struct store_exemption *out, struct exempt_error *e)
{
	bool listed;
	*out = (struct store_exemption){.contract = text(args, "contract"),
					.service = text(args, "service"),
					.access_port = text(args, "access_port"),
					.contact = text(args, "contact"),
					.abuse_contact = text(args, "abuse_contact"),
					.usage = text(args, "use"),
					.software = text(args, "software"),
					.volume = text(args, "volume"),
					.approver = text(args, "approver"),
					.ticket = text(args, "ticket"),
					.reason = text(args, "reason")};
	return get_prefix(args, &out->prefix, e) && get_class(a, args, out, &listed, e) &&
	       get_dsts(ctx, args, listed, out, e) && get_times(args, now_ms, out, e) &&
	       get_name(args, "helo", &out->helo, e) && get_name(args, "domain", &out->domain, e) &&
	       get_static(args, out, e) && get_state(args, out, e) &&
	       get_subscriber(a, args, out, e) && is_theirs(a, args, now_ms, out, e);
}
