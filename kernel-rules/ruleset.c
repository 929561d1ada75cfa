/*
 * ruleset - see ruleset.h; kernel-rules/README.md gives the picture and the reason of each rule.
 *
 * The text is put together from the templates below, once for each family. In a template @NAME@
 * stands for a value, and a line that begins with ?NAME is there only if that value is not empty.
 *
 * Trusted with: what every forwarded packet meets. Diagnostics: none. Known gaps: two exemptions of
 * one class whose prefixes begin with the same address share a meter.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/addr.h"
#include "lib/proc.h"

#include "kernel-rules/family.h"
#include "kernel-rules/ruleset.h"

static const char head[] =
    "# Sekisho: port 25 of subscribers is closed but for exempt sources. Rendered by "
    "sekisho-rules(8)\n"
    "# from the configuration; see kernel-rules/README.md. Mark bits @mask@: @allow@ let through,\n"
    "# @reject@ refuse.\n";

static const char sets[] =
    "table @ip@ sekisho {\n"
    "\tcounter c_refused { }\n"
    "\tcounter c_noted { }\n"
    "\tcounter c_passed { }\n"
    "\tcounter c_passed_noted { }\n"
    "\tcounter c_throttled { }\n"
    "\tcounter c_queued { }\n"
    "\tcounter c_judged { }\n"
    "\tcounter c_unfiltered { }\n"
    "\tcounter c_malformed { }\n"
    "\tcounter c_spoofed { }\n"
    "\tcounter c_tunnels { }\n"
    "\tcounter c_unattributed { }\n"
    "\tcounter c_noticed { }\n"
    "\tset alive { type inet_proto; flags timeout; }\n"
    "\tset near { @near_type@; size 262144; }\n"
    "\tset busy_passed { type inet_proto; flags dynamic,timeout; gc-interval 1s; size 1024; }\n"
    "?reset\tset busy_reset { type inet_proto; flags dynamic,timeout; gc-interval 1s; size 1024; "
    "}\n"
    "?icmp\tset busy_icmp { type inet_proto; flags dynamic,timeout; gc-interval 1s; size 1024; }\n"
    "?drop\tset busy_drop { type inet_proto; flags dynamic,timeout; gc-interval 1s; size 1024; }\n"
    "?subject\tset subject { type @type@; flags interval; auto-merge; }\n"
    "?mta_set\tset own_mta { type @type@; flags interval; auto-merge; }\n"
    "@level_sets@"
    "\tset listed { type @type@ . @type@; flags timeout; gc-interval 1m; size @size@; }\n"
    "\tset refused { type @type@ . @type@; flags dynamic; size 65536; }\n"
    "\tset passed { type @type@ . @type@; flags dynamic; size 65536; }\n"
    "\tset seen { type @type@; flags dynamic; size @size@; }\n"
    "@class_sets@"
    "\tchain steer { type filter hook forward priority -160; policy accept; }\n"
    "?notice_chain\tchain notice { type filter hook prerouting priority -150; policy accept; }\n"
    "}\n";

static const char level_sets[] =
    "\tset allow_@len@ { type @type@; flags timeout; gc-interval 1m; size @size@; }\n"
    "\tmap class_@len@ { type @type@ : verdict; flags timeout; size @size@; }\n";

static const char chains[] =
    "\n"
    "table @ip@ sekisho {\n"
    "\tchain steer {\n"
    "?v4\t\t# Non-first IPv4 fragments first: a port match would read their payload.\n"
    "?v4\t\t@nh,32,32 & 0x00001fff != 0 goto frag4\n"
    "\t\ttcp dport != 25 accept\n"
    "\t\tmeta l4proto != tcp goto odd\n"
    "\t\tmeta mark != 0 jump marked\n"
    "\t\t# Exempt mail: no other chain is entered.\n"
    "\t\t@th,96,32 & 0x00120000 != 0x00020000 @first_key@ @allow_@first_len@ accept\n"
    "\t\t@th,16,16 25 @near_key@ != @near goto far\n"
    "\t\t@th,16,16 25 @first_key@ @allow_@first_len@ goto exempt_syn\n"
    "\t\t@th,16,16 25 goto smtp\n"
    "\t\tgoto odd\n"
    "\t}\n"
    "?v4\n"
    "?v4\tchain frag4 {\n"
    "?v4\t\t# RFC 3128: offset 1 could rewrite TCP flags. Others are harmless without the first.\n"
    "?v4\t\tip protocol != tcp accept\n"
    "?v4\t\tip frag-off & 0x1fff != 1 accept\n"
    "?v4\t\t@outside@accept\n"
    "?v4\t\tcounter name c_malformed drop\n"
    "?v4\t}\n"
    "\n"
    "\tchain smtp {\n"

    "?v4\t\tip saddr @deny goto denied\n"
    "@lookups@"
    "@not_exempt@"
    "\t}\n"
    "\n"
    "?v4\tchain denied {\n"
    "?v4\t\t@outside@accept\n"
    "?v4@own_mta@"
    "?v4_subject\t\t@no_pool@@ip@ saddr != @subject goto stranger\n"
    "?v4\t\t@th,96,32 & 0x00070000 == 0x00040000 ip frag-off & 0x2000 == 0 goto closing\n"
    "?v4\t\tgoto refuse\n"
    "?v4\t}\n"
    "?v4\n"
    "?subject\tchain stranger {\n"
    "?subject_fib\t\t# Nobody's business, but not a subscriber with a forged source either.\n"
    "?subject_fib\t\t@fib@counter name c_spoofed drop\n"
    "?subject\t\taccept\n"
    "?subject\t}\n"
    "?subject\n"
    "\tchain far {\n"
    "\t\t# Exempt are none of these: no need to look for them in large sets.\n"
    "?v4\t\tip saddr @deny goto denied\n"
    "@not_exempt@"
    "\t}\n"
    "\n"
    "\tchain marked {\n"
    "\t\t# The second walk: nfqd has judged it.\n"
    "\t\tmeta mark & @mask@ != 0 goto judged\n"
    "\t}\n"
    "\n"
    "\tchain exempt {\n"
    "\t\t# Whoever forges a source gets no session: it is looked at when one begins.\n"
    "\t\t@th,96,32 & 0x00120000 != 0x00020000 accept\n"
    "\t\tgoto exempt_syn\n"
    "\t}\n"
    "\n"
    "\tchain exempt_syn {\n"
    "?fib\t\t@fib@goto forged\n"
    "@passed@"
    "\t}\n"
    "\n"
    "\tchain passed {\n"
    "@passed@"
    "\t}\n"
    "?fib\n"
    "?fib\tchain forged {\n"
    "?fib\t\t@outside@accept\n"
    "?fib\t\tcounter name c_spoofed drop\n"
    "?fib\t}\n"
    "\n"
    "\tchain closing {\n"
    "\t\t# A reset ends a session on the far side, and carries nothing. One in a fragment could\n"
    "\t\t# become something else: it does not come here.\n"
    "?fib\t\t@fib@counter name c_spoofed drop\n"
    "\t\taccept\n"
    "\t}\n"
    "\n"
    "\tchain pend {\n"
    "\t\tmeta mark & @mask@ != 0 goto judged\n"
    "\t\tgoto ask\n"
    "\t}\n"
    "\n"
    "\tchain ask {\n"
    "@ask@"
    "\t}\n"
    "?closed\n"
    "?closed\tchain wait_closed {\n"
    "?closed\t\tmeta l4proto @alive counter name c_queued jump queue_closed\n"
    "?closed\t\tmeta l4proto ah counter name c_queued jump queue_closed\n"
    "?closed\t\t# Nobody there to judge it.\n"
    "?closed\t\tcounter name c_unfiltered goto refuse\n"
    "?closed\t}\n"
    "?closed\n"
    "?closed\tchain queue_closed {\n"
    "?closed@queue_closed@"
    "?closed\t}\n"
    "?open\n"
    "?open\tchain wait_open {\n"
    "?open\t\tmeta l4proto @alive counter name c_queued jump queue_open\n"
    "?open\t\tmeta l4proto ah counter name c_queued jump queue_open\n"
    "?open\t\tcounter name c_unfiltered accept\n"
    "?open\t}\n"
    "?open\n"
    "?open\tchain queue_open {\n"
    "?open@queue_open@"
    "?open\t}\n"
    "\n"
    "\tchain judged {\n"
    "\t\tmeta mark & @mask@ == @reject@ counter name c_judged goto @rejected@\n"
    "\t\tmeta mark & @mask@ == @allow@ counter name c_judged meta mark set meta mark & @keep@ "
    "goto through\n"
    "\t\t# Nobody but nfqd may set these bits.\n"
    "\t\tmeta mark set meta mark & @keep@\n"
    "\t\tgoto ask\n"
    "\t}\n"
    "\n"
    "\tchain through {\n"
    "\t\ttcp flags & (syn | ack) == syn goto passed\n"
    "\t\taccept\n"
    "\t}\n"
    "\n"
    "\tchain odd {\n"
    "\t\tmeta l4proto udp accept\n"
    "\t\tmeta l4proto != { 4, 6, 41, 47, 51 } accept\n"
    "\t\t@outside@accept\n"
    "?subject\t\tmeta l4proto { 4, 41, 47 } @no_pool@@ip@ saddr != @subject accept\n"
    "\t\tmeta l4proto { 4, 41, 47 } counter name c_tunnels @tunnels@\n"
    "?v6\t\tfrag frag-off != 0 accept\n"
    "?subject\t\t@no_pool@@ip@ saddr != @subject goto stranger\n"
    "\t\t# nft does not look behind an authentication header: nfqd does.\n"
    "\t\tmeta l4proto ah goto pend\n"
    "\t\t# What is left is TCP without ports, or a header chain that does not parse (RFC 7112).\n"
    "\t\tcounter name c_malformed drop\n"
    "\t}\n"
    "?hush\n"
    "?hush\tchain rejected {\n"
    "?hush\t\ttcp flags & (fin | syn | rst | ack) != syn goto refuse\n"
    "?hush@hush@"
    "?hush\t}\n"
    "?hush\n"
    "?hush\tchain hush {\n"
    "?hush\t\t# The next try meets the responder.\n"
    "?hush\t\tcounter name c_refused\n"
    "?hush\t\tlimit rate @gate@ jump note\n"
    "?hush\t\tdrop\n"
    "?hush\t}\n"
    "\n"
    "\tchain refuse {\n"
    "\t\tcounter name c_refused\n"
    "@reactions@"
    "\t}\n"
    "\n"
    "\tchain note {\n"
    "\t\tcounter name c_noted\n"
    "?fib\t\t# A forged packet blames nobody.\n"
    "?fib\t\t@fib@return\n"
    "\t\t# By source and destination; when that set is full (a scan), by source alone.\n"
    "\t\tadd @refused { @ip@ saddr . @ip@ daddr counter } return\n"
    "\t\tadd @seen { @line@ counter } return\n"
    "\t\tcounter name c_unattributed\n"
    "\t}\n"
    "?reset\n"
    "?reset\tchain answer_reset {\n"
    "?reset\t\tmeta l4proto @busy_reset drop\n"
    "?reset\t\tlimit rate over @gate@ update @busy_reset { meta l4proto timeout 100ms } drop\n"
    "?reset\t\tjump note\n"
    "?reset\t\tlimit rate over @replies@ drop\n"
    "?reset_fib\t\t@fib@drop\n"
    "?reset\t\treject with tcp reset\n"
    "?reset\t\tdrop\n"
    "?reset\t}\n"
    "?icmp\n"
    "?icmp\tchain answer_icmp {\n"
    "?icmp\t\tmeta l4proto @busy_icmp drop\n"
    "?icmp\t\tlimit rate over @gate@ update @busy_icmp { meta l4proto timeout 100ms } drop\n"
    "?icmp\t\tjump note\n"
    "?icmp\t\tlimit rate over @replies@ drop\n"
    "?icmp_fib\t\t@fib@drop\n"
    "?icmp\t\treject with @icmp@\n"
    "?icmp\t}\n"
    "?drop\n"
    "?drop\tchain answer_drop {\n"
    "?drop\t\tmeta l4proto @busy_drop drop\n"
    "?drop\t\tlimit rate over @gate@ update @busy_drop { meta l4proto timeout 100ms } drop\n"
    "?drop\t\tjump note\n"
    "?drop\t\tdrop\n"
    "?drop\t}\n"
    "@class_chains@"
    "@notice_rules@"
    "\n"
    "\tchain about {\n"
    "\t\taccept comment \"@note@\"\n"
    "\t}\n"
    "}\n";

static const char ask[] = "?fib\t\t@fib@counter name c_spoofed drop\n"
			  "@wait@";

/* Who is not exempt, as far as the sets know. */
static const char not_exempt[] =
    "?v6\t\tfrag frag-off != 0 accept\n"
    "\t\t@outside@accept\n"
    "@own_mta@"
    "?subject\t\t@no_pool@@ip@ saddr != @subject goto stranger\n"
    "?v4\t\t@th,96,32 & 0x00070000 == 0x00040000 ip frag-off & 0x2000 == 0 goto closing\n"
    "?v6\t\t@th,96,32 & 0x00070000 == 0x00040000 exthdr frag missing goto closing\n"
    "?v6@deny@"
    "@ask@";

/* A new connection of an exempt line. */
static const char passed[] =
    "\t\tcounter name c_passed\n"
    "\t\tmeta l4proto @busy_passed accept\n"
    "\t\tlimit rate over @gate@ update @busy_passed { meta l4proto timeout 100ms } accept\n"
    "\t\tcounter name c_passed_noted\n"
    "\t\tadd @passed { @ip@ saddr . @ip@ daddr counter } accept\n"
    "\t\tcounter name c_unattributed accept\n";

/* One class, for exemptions of one prefix length. */
static const char class_chain[] =
    "\n"
    "\tchain class_@class@_@len@ {\n"
    "?hush\t\toif 0 accept\n"
    "\t\t@outside@accept\n"
    "@own_mta@"
    "?listed\t\t@key@ . @ip@ daddr != @listed goto pend\n"
    "\t\ttcp flags & (syn | ack) != syn goto exempt\n"
    "?limits_fib\t\t@fib@goto forged\n"
    "?concurrent\t\tadd @conc_@class@ { @key@ ct count over @concurrent@ } counter name "
    "c_throttled goto refuse\n"
    "?rate\t\tupdate @rate_@class@ { @key@ timeout @idle@m limit rate over @rate@/minute burst "
    "@burst@ packets } counter name c_throttled goto refuse\n"
    "?destinations\t\t@key@ . @ip@ daddr @dest_@class@ goto passed\n"
    "?destinations\t\tupdate @dmeter_@class@ { @key@ timeout 2h limit rate over "
    "@destinations@/hour burst @destinations@ packets } counter name c_throttled goto refuse\n"
    "?destinations\t\tadd @dest_@class@ { @key@ . @ip@ daddr timeout 1h }\n"
    "?limits\t\tgoto passed\n"
    "?no_limits\t\tgoto exempt\n"
    "\t}\n";

static const char class_sets[] =
    "?concurrent\tset conc_@class@ { type @type@; flags dynamic; size @size@; }\n"
    "?rate\tset rate_@class@ { type @type@; flags dynamic,timeout; gc-interval 1m; size @size@; }\n"
    "?destinations\tset dest_@class@ { type @type@ . @type@; flags dynamic,timeout; gc-interval "
    "1m; size @size@; "
    "}\n"
    "?destinations\tset dmeter_@class@ { type @type@; flags dynamic,timeout; gc-interval 1m; size "
    "@size@; }\n";

/* Hands connections of lines that were refused lately to the local responder. */
static const char notice_rules[] =
    "\n"
    "\tchain notice {\n"
    "?v4\t\tip frag-off & 0x1fff != 0 accept\n"
    "\t\ttcp dport != 25 accept\n"
    "\t\tmeta l4proto != tcp accept\n"
    "\t\t@outside@accept\n"
    "?v6\t\tfrag frag-off != 0 accept\n"
    "\t\tfib daddr type local accept\n"
    "@own_mta@"
    "@notice_pools@"
    "\t}\n"
    "\n"
    "\tchain notice_line {\n"
    "\t\tsocket transparent 1 meta mark set meta mark & @keep@ | @notice@ accept\n"
    "\t\ttcp flags & (fin | syn | rst | ack) != syn accept\n"
    "@notice_lookups@"
    "@notice_deny@"
    "\t}\n"
    "\n"
    "\tchain hand_over {\n"
    "\t\t# Without a listener there nothing matches, and the line is refused when it is "
    "forwarded.\n"
    "\t\tmeta l4proto tcp tproxy to @local@:@notice_port@ meta mark set meta mark & @keep@ | "
    "@notice@ goto "
    "noticed\n"
    "\t}\n"
    "\n"
    "\tchain noticed {\n"
    "\t\tcounter name c_refused\n"
    "\t\tcounter name c_noticed\n"
    "\t\tlimit rate @gate@ jump note\n"
    "\t\taccept\n"
    "\t}\n";

/* --- templates ------------------------------------------------------------------- */

struct value {
	const char *name;
	const char *text;
};

/* Values of one family, those of one class laid over them. */
struct values {
	struct value list[80];
	size_t n;
};

static void put(struct values *v, const char *name, const char *text)
{
	bug_on(v->n == sizeof v->list / sizeof *v->list || !text);
	v->list[v->n++] = (struct value){name, text};
}

static const char *lookup(const struct values *v, const char *name, size_t len)
{
	for (size_t i = v->n; i-- > 0;)
		if (strlen(v->list[i].name) == len && memcmp(v->list[i].name, name, len) == 0)
			return v->list[i].text;
	return NULL;
}

/* Steps over a ?NAME; false when the line is not to be there. */
static bool line_wanted(const char **line, const struct values *v)
{
	if (**line != '?')
		return true;
	size_t len = strcspn(++*line, "\t\n@");
	const char *text = lookup(v, *line, len);
	bug_on(!text);
	*line += len;
	return *text != '\0';
}

/* @NAME@ of a known name is replaced; any other @ (a set's) stays. */
static char *expand_line(char *out, const char *p, size_t len, const struct values *v)
{
	const char *end = p + len;
	while (p < end) {
		const char *at = memchr(p, '@', (size_t)(end - p));
		const char *close =
		    at && at + 1 < end ? memchr(at + 1, '@', (size_t)(end - at - 1)) : NULL;
		const char *text = close ? lookup(v, at + 1, (size_t)(close - at - 1)) : NULL;
		size_t plain = text ? (size_t)(at - p)
			       : at ? (size_t)(at - p) + 1
				    : (size_t)(end - p);
		out = talloc_strndup_append_buffer(out, p, plain);
		p += plain;
		if (text) {
			out = talloc_strdup_append_buffer(out, text);
			p = close + 1;
		}
		bug_on(!out);
	}
	return out;
}

/* A value that is whole lines stands alone at a line's start. */
static size_t line_length(const char *line)
{
	size_t len = strcspn(line, "\n");
	const char *close = *line == '@' ? strchr(line + 1, '@') : NULL;
	if (close && (size_t)(close - line) < len && close[1] != '\n')
		return (size_t)(close - line) + 1;
	return len + (line[len] == '\n');
}

static char *expand(char *out, const char *template, const struct values *v)
{
	for (const char *line = template; *line;) {
		bool wanted = line_wanted(&line, v);
		size_t len = line_length(line);
		if (wanted)
			out = expand_line(out, line, len, v);
		line += len;
	}
	return out;
}

/* --- the values ------------------------------------------------------------------ */

struct render {
	void *tmp;
	const struct rules_conf *c;
	const struct ruleset_how *how;
	const struct family *f;
	struct values v;
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

/* The allow sets and class maps, most specific first; the very first lookup is told apart. */
static const char *lookups(struct render *r, const char *allowed, bool first, bool rest)
{
	char *out = talloc_strdup(r->tmp, "");
	for (const uint8_t *l = r->f->levels; *l; l++) {
		char *key = family_source(r->tmp, r->f, *l);
		if (l == r->f->levels ? first : rest)
			out =
			    talloc_asprintf_append(out, "\t\t%s @allow_%u %s\n", key, *l, allowed);
		if (rest)
			out = talloc_asprintf_append(out, "\t\t%s vmap @class_%u\n", key, *l);
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
		put(&r->v, "len", number(r, *l));
		out = expand(out, level_sets, &r->v);
		r->v.n = mark;
	}
	if (!r->f->is6)
		return expand(
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
	put(&r->v, "class", k->name);
	put(&r->v, "listed", when(k->listed));
	put(&r->v, "concurrent", k->concurrent ? number(r, k->concurrent) : "");
	put(&r->v, "rate", k->rate ? number(r, k->rate) : "");
	put(&r->v, "burst", number(r, k->burst));
	put(&r->v, "idle", number(r, idle));
	put(&r->v, "destinations", k->destinations ? number(r, k->destinations) : "");
	put(&r->v, "limits_fib", when(limits && r->c->antispoof));
	put(&r->v, "limits", when(limits));
	put(&r->v, "no_limits", when(!limits));
}

static char *class_chains(struct render *r, char *out)
{
	size_t mark = r->v.n;
	for (size_t half = 0; half < 2; half++)
		for (unsigned len = r->f->lengths[half][0]; len <= r->f->lengths[half][1]; len++) {
			put(&r->v, "len", number(r, len));
			put(&r->v, "key", family_source(r->tmp, r->f, len));
			out = expand(out, class_chain, &r->v);
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
		declared = expand(declared, class_sets, &r->v);
		rules = class_chains(r, rules);
		r->v.n = mark;
	}
	put(&r->v, "class_sets", declared);
	put(&r->v, "class_chains", talloc_strdup_append_buffer(rules, orphans(r)));
}

/* --- the whole ------------------------------------------------------------------- */

static void put_marks(struct render *r)
{
	struct marks m;
	const char *err;
	bug_on(!marks_parse(r->c->mark_mask, &m, &err));
	put(&r->v, "mask", hex(r, m.mask));
	put(&r->v, "keep", hex(r, ~m.mask));
	put(&r->v, "notice", hex(r, m.notice));
	put(&r->v, "allow", hex(r, m.allow));
	put(&r->v, "reject", hex(r, m.reject));
}

static void put_who(struct render *r)
{
	struct conf_list interfaces = subject_interfaces(r->tmp, r->c),
			 pools = pool_interfaces(r->tmp, r->c), mta = of_family(r, &r->c->own_mta);
	char *unchecked = text_not_in(r->tmp, &r->c->antispoof_except);
	put(&r->v, "outside", text_not_in(r->tmp, &interfaces));
	put(&r->v, "no_pool", text_not_in(r->tmp, &pools));
	put(&r->v, "subject", when(by_prefix(r->c)));
	put(&r->v, "v4_subject", when(by_prefix(r->c) && !r->f->is6));
	put(&r->v, "subject_fib", when(by_prefix(r->c) && r->c->antispoof));
	put(&r->v, "own_mta", own_mta(r, &mta));
	put(&r->v, "mta_set", when(mta.n > FEW));
	put(&r->v, "fib",
	    r->c->antispoof ? talloc_asprintf(r->tmp, "%sfib saddr . iif oif missing ", unchecked)
			    : "");
	put(&r->v, "first_key", family_source(r->tmp, r->f, r->f->levels[0]));
	put(&r->v, "near_key", r->f->is6 ? "@nh,80,32" : "ip saddr & 255.255.255.0");
	put(&r->v, "near_type", r->f->is6 ? "typeof @nh,80,32" : "type ipv4_addr");
	put(&r->v, "first_len", number(r, r->f->levels[0]));
	put(&r->v, "lookups", lookups(r, "goto exempt", false, true));
	put(&r->v, "deny", deny_rules(r, "refuse"));
	/* Lines of an IPv6 pool are told apart by nfqd; here a /64 is fine enough. */
	put(&r->v, "line", family_source(r->tmp, r->f, r->f->is6 ? 64 : 32));
}

static void put_what(struct render *r)
{
	const struct rules_conf *c = r->c;
	bool fib = c->antispoof;
	put(&r->v, "wait", text_by_pool(r->tmp, c, r->f, wait_for));
	put(&r->v, "reactions", text_by_pool(r->tmp, c, r->f, reaction));
	put(&r->v, "closed", when(rules_fails(c, RULES_FAIL_CLOSED)));
	put(&r->v, "open", when(rules_fails(c, RULES_FAIL_OPEN)));
	put(&r->v, "queue_closed", queue(r, RULES_FAIL_CLOSED));
	put(&r->v, "queue_open", queue(r, RULES_FAIL_OPEN));
	put(&r->v, "drop", when(reacts(c, RULES_DROP)));
	put(&r->v, "reset", when(reacts(c, RULES_RESET)));
	put(&r->v, "reset_fib", when(reacts(c, RULES_RESET) && fib));
	put(&r->v, "icmp_fib", when(reacts(c, RULES_ICMP) && fib));
	put(&r->v, "icmp", reacts(c, RULES_ICMP) ? r->f->icmp : "");
	put(&r->v, "tunnels", c->tunnels == RULES_TUNNELS_DROP ? "drop" : "accept");
	put(&r->v, "gate",
	    talloc_asprintf(r->tmp, "%" PRId64 "/second burst %" PRId64 " packets", c->count_rate,
			    10 * c->count_rate));
	put(&r->v, "replies",
	    talloc_asprintf(r->tmp, "%" PRId64 "/second burst %" PRId64 " packets", c->reply_rate,
			    c->reply_rate));
}

static void put_notice(struct render *r)
{
	bool on = rules_notices(r->c);
	put(&r->v, "local", r->f->local);
	put(&r->v, "notice_port", number(r, r->c->notice_port));
	put(&r->v, "hush", on ? text_by_pool(r->tmp, r->c, r->f, hush) : "");
	put(&r->v, "rejected", on ? "rejected" : "refuse");
	put(&r->v, "notice_chain", when(on));
	put(&r->v, "notice_pools", text_by_pool(r->tmp, r->c, r->f, notice_pool));
	put(&r->v, "notice_lookups", lookups(r, "accept", true, true));
	put(&r->v, "notice_deny", deny_rules(r, "hand_over"));
	const char *text = "";
	if (on)
		text = expand(talloc_strdup(r->tmp, ""), notice_rules, &r->v);
	else if (r->how->notice_there)
		text = "\n\tchain notice {\n\t}\n"; /* unload takes it away */
	put(&r->v, "notice_rules", text);
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
	put(&r->v, "ip", r->f->name);
	put(&r->v, "type", r->f->type);
	put(&r->v, "v4", when(!r->f->is6));
	put(&r->v, "v6", when(r->f->is6));
	put(&r->v, "size", number(r, r->c->set_size));
	put(&r->v, "note", note(r));
	put_who(r);
	put_what(r);
	put(&r->v, "ask", expand(talloc_strdup(r->tmp, ""), ask, &r->v));
	put(&r->v, "not_exempt", expand(talloc_strdup(r->tmp, ""), not_exempt, &r->v));
	put(&r->v, "passed", expand(talloc_strdup(r->tmp, ""), passed, &r->v));
	put(&r->v, "level_sets", all_level_sets(r));
	put_notice(r);
	put_classes(r);
	out = expand(out, sets, &r->v);
	out = talloc_strdup_append_buffer(out, "\n");
	rules = expand(talloc_strdup(r->tmp, ""), chains, &r->v);
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
	out = expand(out, head, &r.v);
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
