/*
 * ruleset - see ruleset.h; kernel-rules/README.md gives the picture and the reason of each rule.
 *
 * The text is put together from the templates below. In a template @NAME@ stands for a value of the
 * configuration; a chain's rules come once, after `flush chain`.
 *
 * Trusted with: what every forwarded packet meets. Diagnostics: none. Known gaps: a throttled
 * prefix is metered per set element (an IPv4 /29 has eight meters, an IPv6 /52 sixteen).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/addr.h"
#include "lib/proc.h"

#include "kernel-rules/ruleset.h"

/* The allow sets: one a prefix length, most specific first. nfq/nftset.c names the same. */
static const struct length {
	const char *name, *type, *match, *rate;
} lengths[] = {
    {"4_32", "ipv4_addr", "ip saddr", "rate4"},
    {"4_24", "ipv4_addr", "ip saddr & 255.255.255.0", "rate4"},
    {"6_128", "ipv6_addr", "ip6 saddr", "rate6"},
    {"6_64", "ipv6_addr", "ip6 saddr & ffff:ffff:ffff:ffff::", "rate6"},
    {"6_56", "ipv6_addr", "ip6 saddr & ffff:ffff:ffff:ff00::", "rate6"},
    {"6_48", "ipv6_addr", "ip6 saddr & ffff:ffff:ffff::", "rate6"},
};
#define N_LENGTHS (sizeof lengths / sizeof *lengths)

static const char head[] =
    "# Sekisho: port 25 of subscribers is closed but for exempt sources. Rendered by "
    "sekisho-rules(8)\n"
    "# from the configuration; see kernel-rules/README.md. Mark bits @mask@: @pend@ to be judged,\n"
    "# @allow@ let through, @reject@ refuse.\n"
    "table inet sekisho {\n"
    "\tcounter c_unfiltered { }\n"
    "\tcounter c_refused { }\n"
    "\tcounter c_passed { }\n"
    "\tcounter c_throttled { }\n"
    "\tcounter c_malformed { }\n"
    "\tcounter c_spoofed { }\n"
    "\tcounter c_tunnels { }\n"
    "\tcounter c_unattributed { }\n"
    "\tset sub_if { type ifname; flags interval; }\n"
    "\tset own_mta4 { type ipv4_addr; flags interval; auto-merge; }\n"
    "\tset own_mta6 { type ipv6_addr; flags interval; auto-merge; }\n";

static const char allow_sets[] =
    "\tset allow@name@ { type @type@; flags timeout; size @size@; }\n"
    "\tset throttle@name@ { type @type@; flags timeout; size @size@; }\n";

static const char sets[] =
    "\tset deny4 { type ipv4_addr; flags timeout; size @size@; }\n"
    "\tset deny6 { type ipv6_addr; flags timeout; size @size@; }\n"
    "\tset refused4 { type ipv4_addr . ipv4_addr; flags dynamic; size 65536; }\n"
    "\tset refused6 { type ipv6_addr . ipv6_addr; flags dynamic; size 65536; }\n"
    "\tset passed4 { type ipv4_addr . ipv4_addr; flags dynamic; size 65536; }\n"
    "\tset passed6 { type ipv6_addr . ipv6_addr; flags dynamic; size 65536; }\n"
    "\tset seen4 { type ipv4_addr; flags dynamic; size @size@; }\n"
    "\tset seen6 { type ipv6_addr; flags dynamic; size @size@; }\n"
    "\tset rate4 { type ipv4_addr; flags dynamic,timeout; size @size@; timeout 10m; }\n"
    "\tset rate6 { type ipv6_addr; flags dynamic,timeout; size @size@; timeout 10m; }\n"
    "\tchain steer { type filter hook forward priority -160; policy accept; }\n";

static const char queue_chain[] =
    "\tchain q { type filter hook forward priority -150; policy accept; }\n";

static const char apply_chain[] =
    "\tchain apply { type filter hook forward priority -140; policy accept; }\n";

static const char chains[] =
    "\n"
    "\tchain steer {\n"
    "\t\t# Non-first IPv4 fragments first: a port match would read their payload.\n"
    "\t\tip frag-off & 0x1fff != 0 goto frag4\n"
    "\t\ttcp dport != 25 accept\n"
    "\t\tmeta l4proto { icmp, udp, ipv6-icmp, sctp } accept\n"
    "\t\tiifname != @sub_if accept\n"
    "\t\ttcp dport 25 goto smtp\n"
    "\t\tgoto odd\n"
    "\t}\n"
    "\n"
    "\tchain frag4 {\n"
    "\t\t# RFC 3128: offset 1 could rewrite TCP flags. Other non-first fragments are harmless "
    "without the first.\n"
    "\t\tip protocol tcp ip frag-off & 0x1fff == 1 iifname @sub_if counter name c_malformed drop\n"
    "\t\taccept\n"
    "\t}\n"
    "\n"
    "\tchain smtp {\n"
    "@antispoof@"
    "\t\t# A reset ends a session on the far side, and carries nothing.\n"
    "\t\ttcp flags & (fin | syn | rst | ack) == rst accept\n"
    "\t\ttcp flags & (fin | syn | rst | ack) == (rst | ack) accept\n"
    "\t\tmeta nfproto ipv4 goto smtp4\n"
    "\t\tgoto smtp6\n"
    "\t}\n"
    "\n"
    "\tchain smtp4 {\n"
    "\t\tip daddr @own_mta4 accept\n"
    "@allow4@"
    "\t\tip saddr @deny4 goto refuse\n"
    "\t\tmeta mark set meta mark & @keep@ | @pend@ accept\n"
    "\t}\n"
    "\n"
    "\tchain smtp6 {\n"
    "\t\tfrag frag-off != 0 accept\n"
    "\t\tip6 daddr @own_mta6 accept\n"
    "@allow6@"
    "\t\tip6 saddr & ffff:ffff:ffff:ffff:: @deny6 goto refuse\n"
    "\t\tmeta mark set meta mark & @keep@ | @pend@ accept\n"
    "\t}\n";

static const char allowed_chain[] = "\n"
				    "\tchain allowed@name@ {\n"
				    "\t\ttcp flags & (syn | ack) == syn @match@ @throttle@name@ "
				    "update @@rate@ { @match@ limit rate "
				    "over @throttle_rate@/minute burst @throttle_burst@ packets } "
				    "counter name c_throttled goto refuse\n"
				    "\t\tgoto pass\n"
				    "\t}\n";

static const char rest[] =
    "\n"
    "\tchain pass {\n"
    "\t\tcounter name c_passed\n"
    "\t\tadd @passed4 { ip saddr . ip daddr counter } accept\n"
    "\t\tadd @passed6 { ip6 saddr . ip6 daddr counter } accept\n"
    "\t\tcounter name c_unattributed accept\n"
    "\t}\n"
    "\n"
    "\tchain odd {\n"
    "\t\t# nft does not look behind an authentication header: nfqd does.\n"
    "\t\tmeta l4proto ah meta mark set meta mark & @keep@ | @pend@ accept\n"
    "\t\tmeta l4proto { 4, 41, 47 } counter name c_tunnels @tunnels@\n"
    "\t\tmeta l4proto != tcp accept\n"
    "\t\tfrag frag-off != 0 accept\n"
    "\t\t# What is left is TCP without ports, or a header chain that does not parse (RFC 7112).\n"
    "\t\tcounter name c_malformed drop\n"
    "\t}\n"
    "\n"
    "\tchain refuse {\n"
    "\t\tcounter name c_refused\n"
    "\t\t# By source and destination; when that set is full (a scan), by source alone.\n"
    "\t\tadd @refused4 { ip saddr . ip daddr counter } goto answer\n"
    "\t\tadd @refused6 { ip6 saddr . ip6 daddr counter } goto answer\n"
    "\t\tadd @seen4 { ip saddr counter } goto answer\n"
    "\t\tadd @seen6 { ip6 saddr & ffff:ffff:ffff:ffff:: counter } goto answer\n"
    "\t\tcounter name c_unattributed goto answer\n"
    "\t}\n"
    "\n"
    "\tchain answer {\n"
    "@reaction@"
    "\t\tdrop\n"
    "\t}\n";

static const char queue_rules[] =
    "\n"
    "\tchain q {\n"
    "\t\tmeta mark & @mask@ == @pend@ queue flags @fanout@bypass to @queues@\n"
    "\t}\n";

static const char apply_rules[] =
    "\n"
    "\tchain apply {\n"
    "\t\tmeta mark & @mask@ == 0 accept comment \"@note@\"\n"
    "\t\t# Nobody judged it: no listener, a full queue, a daemon that stalls.\n"
    "\t\tmeta mark & @mask@ == @pend@ counter name c_unfiltered @fail@\n"
    "\t\tmeta mark & @mask@ == @reject@ goto refuse\n"
    "\t\tmeta mark set meta mark & @keep@\n"
    "\t\ttcp dport 25 goto pass\n"
    "\t}\n";

/* --- templates ------------------------------------------------------------------- */

struct value {
	const char *name;
	const char *text;
};

static const char *lookup(const struct value *v, const char *name, size_t len)
{
	for (; v->name; v++)
		if (strlen(v->name) == len && memcmp(v->name, name, len) == 0)
			return v->text;
	return NULL;
}

/* @NAME@ of a known name is replaced; any other @ (a set's) stays. */
static char *expand(char *out, const char *template, const struct value *v)
{
	for (const char *p = template; *p;) {
		const char *end = *p == '@' ? strchr(p + 1, '@') : NULL;
		const char *text = end ? lookup(v, p + 1, (size_t)(end - p - 1)) : NULL;
		if (text) {
			out = talloc_strdup_append_buffer(out, text);
			p = end + 1;
		} else {
			out = talloc_strndup_append_buffer(out, p, 1);
			p++;
		}
		bug_on(!out);
	}
	return out;
}

static char *expand_lengths(char *out, const char *template, const char *family, struct value *v)
{
	for (size_t i = 0; i < N_LENGTHS; i++) {
		if (family && lengths[i].name[0] != *family)
			continue;
		v[0] = (struct value){"name", lengths[i].name};
		v[1] = (struct value){"type", lengths[i].type};
		v[2] = (struct value){"match", lengths[i].match};
		v[3] = (struct value){"rate", lengths[i].rate};
		out = expand(out, template, v);
	}
	return out;
}

static char *allow_rules(void *ctx, const char *family)
{
	struct value v[5] = {{0}};
	return expand_lengths(talloc_strdup(ctx, ""),
			      "\t\t@match@ @allow@name@ goto allowed@name@\n", family, v);
}

/* --- the whole ------------------------------------------------------------------- */

static char *add_element(char *list, const char *item)
{
	return talloc_asprintf_append_buffer(list, "%s%s", *list ? ", " : "", item);
}

/* Empty the set, and fill it if there is anything. */
static char *put_elements(char *out, const char *set, const char *list)
{
	out = talloc_asprintf_append_buffer(out, "flush set inet sekisho %s\n", set);
	if (*list)
		out = talloc_asprintf_append_buffer(out, "add element inet sekisho %s { %s }\n",
						    set, list);
	return out;
}

static char *put_configured_sets(char *out, void *tmp, const struct rules_conf *c)
{
	char err[128], text[PREFIX_STRLEN];
	char *interfaces = talloc_strdup(tmp, "");
	char *mta[2] = {talloc_strdup(tmp, ""), talloc_strdup(tmp, "")};
	struct prefix p;
	for (size_t i = 0; i < c->subscriber_interfaces.n; i++)
		interfaces = add_element(
		    interfaces, talloc_asprintf(tmp, "\"%s\"", c->subscriber_interfaces.items[i]));
	for (size_t i = 0; i < c->own_mta.n; i++) {
		bug_on(!prefix_parse(c->own_mta.items[i], &p, err));
		char **list = &mta[addr_is4(&p.a) ? 0 : 1];
		*list = add_element(*list, prefix_format(&p, text));
	}
	out = put_elements(out, "sub_if", interfaces);
	out = put_elements(out, "own_mta4", mta[0]);
	out = put_elements(out, "own_mta6", mta[1]);
	/* Meters keep the rate they were made with. */
	out = put_elements(out, "rate4", "");
	return put_elements(out, "rate6", "");
}

static char *flush_chains(char *out, const struct ruleset_how *how)
{
	static const char *const names[] = {"steer", "frag4", "smtp",	"smtp4",  "smtp6",
					    "pass",  "odd",   "refuse", "answer", "apply"};
	/* A chain that is not there yet is made, so that the flush finds it. */
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		out = talloc_asprintf_append_buffer(
		    out, "add chain inet sekisho %s\nflush chain inet sekisho %s\n", names[i],
		    names[i]);
	for (size_t i = 0; i < N_LENGTHS; i++)
		out = talloc_asprintf_append_buffer(out,
						    "add chain inet sekisho allowed%s\n"
						    "flush chain inet sekisho allowed%s\n",
						    lengths[i].name, lengths[i].name);
	if (how->native || how->clear_q)
		out = talloc_strdup_append_buffer(out, "flush chain inet sekisho q\n");
	return out;
}

static const char *reaction(void *tmp, const struct rules_conf *c)
{
	static const char *const with[] = {[RULES_RESET] = "tcp reset",
					   [RULES_ICMP] = "icmpx type admin-prohibited",
					   [RULES_DROP] = NULL};
	if (!with[c->reaction])
		return "";
	return talloc_asprintf(
	    tmp, "\t\tlimit rate %" PRId64 "/second burst %" PRId64 " packets reject with %s\n",
	    c->reply_rate, c->reply_rate, with[c->reaction]);
}

static const char *number(void *tmp, int64_t n)
{
	return talloc_asprintf(tmp, "%" PRId64, n);
}

static const char *hex(void *tmp, uint32_t n)
{
	return talloc_asprintf(tmp, "0x%08" PRIx32, n);
}

static const char *queues(void *tmp, const struct rules_conf *c, const struct ruleset_how *how)
{
	if (how->queue_last == (unsigned)c->queue_first)
		return number(tmp, c->queue_first);
	return talloc_asprintf(tmp, "%" PRId64 "-%u", c->queue_first, how->queue_last);
}

static const char *note(void *tmp, const struct ruleset_how *how)
{
	char *text = talloc_asprintf(tmp, RULES_NOTE "%s", how->note);
	bug_on(!text || strlen(text) > 127 || strchr(text, '"'));
	return text;
}

char *ruleset_render(void *ctx, const struct rules_conf *c, const struct ruleset_how *how)
{
	void *tmp = talloc_new(ctx);
	struct rules_marks m;
	const char *err;
	bug_on(!rules_parse_mask(c->mark_mask, &m, &err));
	const char *keep = hex(tmp, ~m.mask);
	const char *open = talloc_asprintf(tmp, "meta mark set meta mark & %s accept", keep);
	/* The first four are set for each prefix length; see expand_lengths(). */
	struct value lengthwise[] = {{"", ""},
				     {"", ""},
				     {"", ""},
				     {"", ""},
				     {"size", number(tmp, c->set_size)},
				     {"throttle_rate", number(tmp, c->throttle_rate)},
				     {"throttle_burst", number(tmp, c->throttle_burst)},
				     {NULL, NULL}};
	const struct value v[] = {
	    {"mask", hex(tmp, m.mask)},
	    {"pend", hex(tmp, m.pend)},
	    {"allow", hex(tmp, m.allow)},
	    {"reject", hex(tmp, m.reject)},
	    {"keep", keep},
	    {"size", number(tmp, c->set_size)},
	    {"antispoof",
	     c->antispoof ? "\t\tfib saddr . iif oif missing counter name c_spoofed drop\n" : ""},
	    {"allow4", allow_rules(tmp, "4")},
	    {"allow6", allow_rules(tmp, "6")},
	    {"tunnels", c->tunnels == RULES_TUNNELS_DROP ? "drop" : "accept"},
	    {"reaction", reaction(tmp, c)},
	    {"fail", c->fail == RULES_FAIL_OPEN ? open : "goto refuse"},
	    {"fanout", how->queue_last == (unsigned)c->queue_first ? "" : "fanout,"},
	    {"queues", queues(tmp, c, how)},
	    {"note", note(tmp, how)},
	    {NULL, NULL},
	};
	char *out = expand(talloc_strdup(ctx, ""), head, v);
	out = expand_lengths(out, allow_sets, NULL, lengthwise);
	out = expand(out, sets, v);
	if (how->native)
		out = talloc_strdup_append_buffer(out, queue_chain);
	out = talloc_strdup_append_buffer(out, apply_chain);
	out = talloc_strdup_append_buffer(out, "}\n\n");
	out = flush_chains(out, how);
	out = put_configured_sets(out, tmp, c);
	out = talloc_strdup_append_buffer(out, "\ntable inet sekisho {");
	out = expand(out, chains, v);
	out = expand_lengths(out, allowed_chain, NULL, lengthwise);
	out = expand(out, rest, v);
	if (how->native)
		out = expand(out, queue_rules, v);
	out = expand(out, apply_rules, v);
	out = talloc_strdup_append_buffer(out, "}\n");
	bug_on(!out);
	talloc_free(tmp);
	return out;
}
