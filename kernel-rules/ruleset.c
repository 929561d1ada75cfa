/*
 * ruleset - see ruleset.h.
 *
 * The templates of ruleset_text.c are filled with the values below, once for each family.
 *
 * Trusted with: what every forwarded packet meets. Diagnostics: none. Known gaps: those of
 * ruleset_text.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/addr.h"
#include "lib/proc.h"

#include "kernel-rules/family.h"
#include "kernel-rules/ruleset.h"
#include "kernel-rules/ruleset_text.h"
#include "kernel-rules/template.h"

/* --- the values ------------------------------------------------------------------ */

struct render {
	void *tmp;
	const struct rules_conf *c;
	const struct ruleset_how *how;
	const struct family *f;
	struct template_values v;
	struct rules_class classes[RULES_MAX_CLASSES + 2];
	size_t n_classes;
};

static const char *number(struct render *r, int64_t n)
{
	return talloc_asprintf(r->tmp, "%" PRId64, n);
}

static const char *hex(struct render *r, uint32_t n)
{
	return talloc_asprintf(r->tmp, "0x%08" PRIx32, n);
}

static const char *when(bool condition)
{
	return condition ? "y" : "";
}

static const char *wait_for(const struct rules_conf *c, const struct rules_pool *p)
{
	return (p ? p->fail : c->fail) == RULES_FAIL_OPEN ? "goto wait_open" : "goto wait_closed";
}

static const char *reaction(const struct rules_conf *c, const struct rules_pool *p)
{
	static const char *const actions[] = {[RULES_RESET] = "goto answer_reset",
					      [RULES_ICMP] = "goto answer_icmp",
					      [RULES_DROP] = "goto answer_drop"};
	return actions[p ? p->reaction : c->reaction];
}

static const char *hush(const struct rules_conf *c, const struct rules_pool *p)
{
	(void)c;
	return p && p->notice ? "goto hush" : "goto refuse";
}

static const char *notice_pool(const struct rules_conf *c, const struct rules_pool *p)
{
	(void)c;
	return p && p->notice ? "goto notice_line" : "accept";
}

static bool reacts(const struct rules_conf *c, enum rules_reaction how)
{
	bool any = c->reaction == (int)how;
	for (size_t i = 0; i < c->pools.n; i++)
		any |= rules_pool(c, i)->reaction == (int)how;
	return any;
}

/* nft's queue statement. */
static const char *queue(struct render *r, enum rules_fail fail)
{
	struct rules_queues q = rules_queues(r->c, fail);
	const char *bypass = fail == RULES_FAIL_OPEN ? "bypass" : "";
	if (!r->how->native)
		return "";
	if (q.first == q.last)
		return talloc_asprintf(r->tmp, "\t\tqueue %s%s to %u\n", *bypass ? "flags " : "",
				       bypass, q.first);
	return talloc_asprintf(r->tmp, "\t\tqueue flags fanout%s%s to %u-%u\n", *bypass ? "," : "",
			       bypass, q.first, q.last);
}

/* The allow sets and class maps of hosts, or of prefixes, or both, most specific first. */
static const char *lookups(struct render *r, const char *allowed, bool hosts, bool prefixes)
{
	char *out = talloc_strdup(r->tmp, "");
	for (const uint8_t *l = r->f->levels; *l; l++) {
		char *key = family_source(r->tmp, r->f, *l);
		if (l == r->f->levels ? hosts : prefixes)
			out = talloc_asprintf_append(out,
						     "\t\t%s @allow_%u %s\n\t\t%s vmap @class_%u\n",
						     key, *l, allowed, key, *l);
	}
	return out;
}

/* Is that the length of IPv6 lines of anybody? */
static bool delegated(const struct rules_conf *c, unsigned len)
{
	bool any = c->delegated == len;
	for (size_t i = 0; i < c->pools.n; i++)
		any |= rules_pool(c, i)->delegated == len;
	return any;
}

static const char *deny_rules(struct render *r, const char *denied)
{
	char *out = talloc_strdup(r->tmp, "");
	if (!r->f->is6)
		return talloc_asprintf(r->tmp, "\t\tip saddr @deny goto %s\n", denied);
	for (unsigned len = 128; len > 0; len--)
		if (delegated(r->c, len))
			out = talloc_asprintf_append(out, "\t\t%s @deny_%u goto %s\n",
						     family_source(r->tmp, r->f, len), len, denied);
	return out;
}

static const char *all_level_sets(struct render *r)
{
	char *out = talloc_strdup(r->tmp, "");
	size_t mark = r->v.n;
	for (const uint8_t *l = r->f->levels; *l; l++) {
		template_put(&r->v, "len", number(r, *l));
		out = template_expand(out, text_level_sets, &r->v);
		r->v.n = mark;
	}
	if (!r->f->is6)
		return template_expand(
		    out,
		    "\tset deny { type @type@; flags timeout; gc-interval 10s; size @size@; }\n",
		    &r->v);
	for (unsigned len = 128; len > 0; len--)
		if (delegated(r->c, len))
			out =
			    talloc_asprintf_append(out,
						   "\tset deny_%u { type ipv6_addr; flags timeout; "
						   "gc-interval 10s; size %" PRId64 "; }\n",
						   len, r->c->set_size);
	return out;
}

#define FEW 4 /* so many destinations are cheaper compared one by one than looked up */

/* Addresses of this family in a list, as text. */
static struct conf_list of_family(struct render *r, const struct conf_list *all)
{
	char err[128];
	struct prefix p;
	struct conf_list l = {talloc_array(r->tmp, char *, (unsigned)all->n + 1), 0};
	for (size_t i = 0; i < all->n; i++) {
		bug_on(!prefix_parse(all->items[i], &p, err));
		if (addr_is4(&p.a) != r->f->is6)
			l.items[l.n++] = all->items[i];
	}
	return l;
}

static const char *own_mta(struct render *r, const struct conf_list *mta)
{
	char *out = talloc_strdup(r->tmp, "");
	if (mta->n > FEW)
		return talloc_asprintf(r->tmp, "\t\t%s daddr @own_mta accept\n", r->f->name);
	for (size_t i = 0; i < mta->n; i++)
		out = talloc_asprintf_append(out, "\t\t%s daddr %s accept\n", r->f->name,
					     mta->items[i]);
	return out;
}

/* Prefixes that are subject; none when every source is. */
static struct conf_list subject(struct render *r)
{
	struct conf_list l = of_family(r, &r->c->subscriber_prefixes);
	for (size_t i = 0; i < r->c->pools.n; i++) {
		struct conf_list p = of_family(r, &rules_pool(r->c, i)->prefixes);
		l.items = talloc_realloc(r->tmp, l.items, char *, (unsigned)(l.n + p.n + 1));
		for (size_t j = 0; j < p.n; j++)
			l.items[l.n++] = p.items[j];
	}
	return l;
}

/* Prefixes of either family make the sources of both matter. */
static bool by_prefix(const struct rules_conf *c)
{
	bool any = c->subscriber_prefixes.n > 0;
	for (size_t i = 0; i < c->pools.n; i++)
		any |= rules_pool(c, i)->prefixes.n > 0;
	return any;
}

/* --- classes --------------------------------------------------------------------- */

static void put_class(struct render *r, const struct rules_class *k)
{
	bool limits = k->rate || k->concurrent || k->destinations;
	/* A meter that was idle so long has its whole burst again anyway. */
	int64_t idle = k->rate ? k->burst / k->rate + 10 : 0;
	template_put(&r->v, "class", k->name);
	template_put(&r->v, "listed", when(k->listed));
	template_put(&r->v, "concurrent", k->concurrent ? number(r, k->concurrent) : "");
	template_put(&r->v, "rate", k->rate ? number(r, k->rate) : "");
	template_put(&r->v, "burst", number(r, k->burst));
	template_put(&r->v, "idle", number(r, idle));
	template_put(&r->v, "destinations", k->destinations ? number(r, k->destinations) : "");
	template_put(&r->v, "limits_fib", when(limits && r->c->antispoof));
	template_put(&r->v, "limits", when(limits));
	template_put(&r->v, "no_limits", when(!limits));
}

static char *class_chains(struct render *r, char *out)
{
	size_t mark = r->v.n;
	for (size_t half = 0; half < 2; half++)
		for (unsigned len = r->f->lengths[half][0]; len <= r->f->lengths[half][1]; len++) {
			template_put(&r->v, "len", number(r, len));
			template_put(&r->v, "key", family_source(r->tmp, r->f, len));
			out = template_expand(out, text_class_chain, &r->v);
			r->v.n = mark;
		}
	return out;
}

static const char *orphans(struct render *r)
{
	char *out = talloc_strdup(r->tmp, "");
	for (const char *const *o = r->how->orphans; o && *o; o++) {
		size_t len = strlen(r->f->name);
		if (strncmp(*o, r->f->name, len) == 0 && (*o)[len] == ' ')
			out = talloc_asprintf_append(out, "\n\tchain %s {\n\t\tgoto pend\n\t}\n",
						     *o + len + 1);
	}
	return out;
}

static void put_classes(struct render *r)
{
	char *declared = talloc_strdup(r->tmp, ""), *rules = talloc_strdup(r->tmp, "");
	size_t mark = r->v.n;
	for (size_t i = 0; i < r->n_classes; i++) {
		put_class(r, &r->classes[i]);
		declared = template_expand(declared, text_class_sets, &r->v);
		rules = class_chains(r, rules);
		r->v.n = mark;
	}
	template_put(&r->v, "class_sets", declared);
	template_put(&r->v, "class_chains", talloc_strdup_append_buffer(rules, orphans(r)));
}

/* --- the whole ------------------------------------------------------------------- */

static void put_marks(struct render *r)
{
	struct marks m;
	const char *err;
	bug_on(!marks_parse(r->c->mark_mask, &m, &err));
	template_put(&r->v, "mask", hex(r, m.mask));
	template_put(&r->v, "keep", hex(r, ~m.mask));
	template_put(&r->v, "notice", hex(r, m.notice));
	template_put(&r->v, "allow", hex(r, m.allow));
	template_put(&r->v, "reject", hex(r, m.reject));
}

static void put_who(struct render *r)
{
	struct conf_list interfaces = subject_interfaces(r->tmp, r->c),
			 pools = pool_interfaces(r->tmp, r->c), mta = of_family(r, &r->c->own_mta);
	char *unchecked = text_not_in(r->tmp, &r->c->antispoof_except);
	template_put(&r->v, "outside", text_not_in(r->tmp, &interfaces));
	template_put(&r->v, "no_pool", text_not_in(r->tmp, &pools));
	template_put(&r->v, "subject", when(by_prefix(r->c)));
	template_put(&r->v, "v4_subject", when(by_prefix(r->c) && !r->f->is6));
	template_put(&r->v, "subject_fib", when(by_prefix(r->c) && r->c->antispoof));
	template_put(&r->v, "own_mta", own_mta(r, &mta));
	template_put(&r->v, "mta_set", when(mta.n > FEW));
	template_put(&r->v, "fib",
		     r->c->antispoof
			 ? talloc_asprintf(r->tmp, "%sfib saddr . iif oif missing ", unchecked)
			 : "");
	template_put(&r->v, "hosts_key", r->f->is6 ? "@nh,96,32" : "ip saddr & 255.255.255.240");
	template_put(&r->v, "hosts_type", r->f->is6 ? "typeof @nh,96,32" : "type ipv4_addr");
	template_put(&r->v, "near_key", r->f->is6 ? "@nh,80,32" : "ip saddr & 255.255.255.0");
	template_put(&r->v, "near_type", r->f->is6 ? "typeof @nh,80,32" : "type ipv4_addr");
	/* Data of exempt hosts of IPv4 left before. */
	template_put(&r->v, "lookups_hosts",
		     lookups(r, r->f->is6 ? "goto exempt" : "goto exempt_syn", true, false));
	template_put(&r->v, "lookups", lookups(r, "goto exempt", false, true));
	template_put(&r->v, "deny", deny_rules(r, "refuse"));
	/* Lines of an IPv6 pool are told apart by nfqd; here a /64 is fine enough. */
	template_put(&r->v, "line", family_source(r->tmp, r->f, r->f->is6 ? 64 : 32));
}

static void put_what(struct render *r)
{
	const struct rules_conf *c = r->c;
	bool fib = c->antispoof;
	template_put(&r->v, "wait", text_by_pool(r->tmp, c, r->f, wait_for));
	template_put(&r->v, "reactions", text_by_pool(r->tmp, c, r->f, reaction));
	template_put(&r->v, "closed", when(rules_fails(c, RULES_FAIL_CLOSED)));
	template_put(&r->v, "open", when(rules_fails(c, RULES_FAIL_OPEN)));
	template_put(&r->v, "queue_closed", queue(r, RULES_FAIL_CLOSED));
	template_put(&r->v, "queue_open", queue(r, RULES_FAIL_OPEN));
	template_put(&r->v, "drop", when(reacts(c, RULES_DROP)));
	template_put(&r->v, "reset", when(reacts(c, RULES_RESET)));
	template_put(&r->v, "reset_fib", when(reacts(c, RULES_RESET) && fib));
	template_put(&r->v, "icmp_fib", when(reacts(c, RULES_ICMP) && fib));
	template_put(&r->v, "icmp", reacts(c, RULES_ICMP) ? r->f->icmp : "");
	template_put(&r->v, "tunnels", c->tunnels == RULES_TUNNELS_DROP ? "drop" : "accept");
	template_put(&r->v, "gate",
		     talloc_asprintf(r->tmp, "%" PRId64 "/second burst %" PRId64 " packets",
				     c->count_rate, 10 * c->count_rate));
	template_put(&r->v, "replies",
		     talloc_asprintf(r->tmp, "%" PRId64 "/second burst %" PRId64 " packets",
				     c->reply_rate, c->reply_rate));
}

static void put_notice(struct render *r)
{
	bool on = rules_notices(r->c);
	template_put(&r->v, "local", r->f->local);
	template_put(&r->v, "notice_port", number(r, r->c->notice_port));
	template_put(&r->v, "hush", on ? text_by_pool(r->tmp, r->c, r->f, hush) : "");
	template_put(&r->v, "rejected", on ? "rejected" : "refuse");
	template_put(&r->v, "notice_chain", when(on));
	template_put(&r->v, "notice_pools", text_by_pool(r->tmp, r->c, r->f, notice_pool));
	template_put(&r->v, "notice_lookups", lookups(r, "accept", true, true));
	template_put(&r->v, "notice_deny", deny_rules(r, "hand_over"));
	const char *text = "";
	if (on)
		text = template_expand(talloc_strdup(r->tmp, ""), text_notice_rules, &r->v);
	else if (r->how->notice_there)
		text = "\n\tchain notice {\n\t}\n"; /* unload takes it away */
	template_put(&r->v, "notice_rules", text);
}

static const char *note(struct render *r)
{
	char *text = talloc_asprintf(r->tmp, RULES_NOTE "%s", r->how->note);
	bug_on(!text || strlen(text) > 127 || strchr(text, '"'));
	return text;
}

/* A chain that is not there yet is made, so that the flush finds it. */
static void flush_chain(const char *family, const char *chain, unsigned rules, void *arg)
{
	char **out = arg;
	bool keep = rules == 0 && strncmp(chain, "queue_", 6) == 0;
	*out = talloc_asprintf_append_buffer(*out, "add chain %s sekisho %s\n", family, chain);
	if (!keep)
		*out = talloc_asprintf_append_buffer(*out, "flush chain %s sekisho %s\n", family,
						     chain);
}

/* Empty the set, and fill it if there is anything. */
static char *put_elements(struct render *r, char *out, const char *set, struct conf_list l)
{
	const char *f = r->f->name;
	out = talloc_asprintf_append_buffer(out, "flush set %s sekisho %s\n", f, set);
	for (size_t i = 0; i < l.n; i++)
		out = talloc_asprintf_append_buffer(out, "add element %s sekisho %s { %s }\n", f,
						    set, l.items[i]);
	return out;
}

static char *configured_sets(struct render *r, char *out)
{
	static const char *const meters[] = {"conc", "rate", "dmeter", "dest"};
	struct conf_list mta = of_family(r, &r->c->own_mta);
	if (by_prefix(r->c))
		out = put_elements(r, out, "subject", subject(r));
	if (mta.n > FEW)
		out = put_elements(r, out, "own_mta", mta);
	/* Meters keep the rate they were made with. */
	for (size_t i = 0; i < r->n_classes; i++) {
		const struct rules_class *k = &r->classes[i];
		const int64_t wants[] = {k->concurrent, k->rate, k->destinations, k->destinations};
		for (size_t j = 0; j < 4; j++)
			if (wants[j])
				out = talloc_asprintf_append_buffer(out,
								    "flush set %s sekisho %s_%s\n",
								    r->f->name, meters[j], k->name);
	}
	return out;
}

static char *render_family(struct render *r, char *out)
{
	char *rules;
	template_put(&r->v, "ip", r->f->name);
	template_put(&r->v, "type", r->f->type);
	template_put(&r->v, "v4", when(!r->f->is6));
	template_put(&r->v, "v6", when(r->f->is6));
	template_put(&r->v, "size", number(r, r->c->set_size));
	template_put(&r->v, "note", note(r));
	put_who(r);
	put_what(r);
	template_put(&r->v, "ask", template_expand(talloc_strdup(r->tmp, ""), text_ask, &r->v));
	template_put(&r->v, "not_exempt",
		     template_expand(talloc_strdup(r->tmp, ""), text_not_exempt, &r->v));
	template_put(&r->v, "passed",
		     template_expand(talloc_strdup(r->tmp, ""), text_passed, &r->v));
	template_put(&r->v, "level_sets", all_level_sets(r));
	put_notice(r);
	put_classes(r);
	out = template_expand(out, text_sets, &r->v);
	out = talloc_strdup_append_buffer(out, "\n");
	rules = template_expand(talloc_strdup(r->tmp, ""), text_chains, &r->v);
	ruleset_chains(rules, flush_chain, &out);
	out = configured_sets(r, out);
	return talloc_strdup_append_buffer(out, rules);
}

char *ruleset_render(void *ctx, const struct rules_conf *c, const struct ruleset_how *how)
{
	struct render r = {.tmp = talloc_new(ctx), .c = c, .how = how};
	char *out = talloc_strdup(ctx, "");
	r.n_classes = rules_classes(c, r.classes);
	put_marks(&r);
	out = template_expand(out, text_head, &r.v);
	size_t mark = r.v.n;
	for (size_t i = 0; i < 2; i++) {
		r.v.n = mark;
		r.f = &families[i];
		out = talloc_strdup_append_buffer(out, "\n");
		out = render_family(&r, out);
	}
	bug_on(!out);
	talloc_free(r.tmp);
	return out;
}

void ruleset_chains(const char *text,
		    void (*fn)(const char *family, const char *chain, unsigned rules, void *arg),
		    void *arg)
{
	char family[8] = "", chain[128] = "";
	unsigned rules = 0;
	for (const char *l = text; *l; l += strcspn(l, "\n"), l += *l == '\n') {
		if (sscanf(l, "table %7s", family) == 1 || strncmp(l, "\t\t#", 3) == 0)
			continue;
		if (strncmp(l, "\tchain ", 7) == 0 && sscanf(l, " chain %127s {", chain) == 1) {
			rules = 0;
			if (strstr(l, "{ type") && strstr(l, "{ type") < l + strcspn(l, "\n"))
				*chain = '\0'; /* the making of a base chain */
		} else if (strncmp(l, "\t\t", 2) == 0) {
			rules++;
		} else if (strncmp(l, "\t}", 2) == 0 && *chain) {
			fn(family, chain, rules, arg);
			*chain = '\0';
		}
	}
}
