/*
 * evidence - see evidence.h.
 *
 * Each item is judged over the facts there are; one that lacks a fact notes the need and is judged
 * again when it is there. A round costs microseconds, so that nothing is kept between rounds.
 *
 * Trusted with: names and texts of strangers' zones. Diagnostics: the words. Known gaps: of a
 * prefix one address is judged, the one its HELO name has in it.
 */
#include "accounting/evidence.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "accounting/spf.h"

#define NAMES_MAX 10 /* of an address; further ones are not looked at */

struct judge {
	const struct evidence_subject *s;
	struct dns_facts *f;
	struct evidence *out;
	struct addr a;
	bool have_addr, pending;
	const char *names[NAMES_MAX]; /* the PTR's */
	bool confirmed[NAMES_MAX];
	size_t n_names;
	char shown[ADDR_STRLEN];
};

static void set(struct judge *j, enum evidence_item i, enum evidence_verdict v, const char *fmt,
		...) __attribute__((format(printf, 4, 5)));

static void set(struct judge *j, enum evidence_item i, enum evidence_verdict v, const char *fmt,
		...)
{
	va_list ap;
	va_start(ap, fmt);
	j->out->item[i].verdict = v;
	vsnprintf(j->out->item[i].words, sizeof j->out->item[i].words, fmt, ap);
	va_end(ap);
}

static void set_unknown(struct judge *j, enum evidence_item i, enum dns_type type, const char *name,
			const struct dns_answer *a)
{
	set(j, i, EVIDENCE_UNKNOWN, "%s of %.120s cannot be looked up now: %s", dns_type_name(type),
	    name, a->why);
}

/* NULL: it is not known yet. */
static const struct dns_answer *look(struct judge *j, enum dns_type type, const char *name)
{
	const struct dns_answer *a = dns_fact(j->f, type, name);
	if (!a)
		j->pending = true;
	return a;
}

static enum dns_type family(const struct judge *j)
{
	return addr_is4(&j->s->prefix.a) ? DNS_A : DNS_AAAA;
}

static bool stated(const char *s)
{
	return s && s[0];
}

static bool has_addr(const struct dns_answer *a, const struct addr *addr)
{
	for (size_t i = 0; i < a->n; i++)
		if (addr_eq(&a->rr[i].a, addr))
			return true;
	return false;
}

/* --- which address --- */

static void find_addr(struct judge *j)
{
	char prefix[PREFIX_STRLEN];
	prefix_format(&j->s->prefix, prefix);
	if (prefix_is_host(&j->s->prefix)) {
		j->a = j->s->prefix.a;
		j->have_addr = true;
		return;
	}
	if (!stated(j->s->helo)) {
		set(j, ITEM_PTR, EVIDENCE_WEAK,
		    "%s is more than one address: state the HELO name of the mail server, so that "
		    "its address can be judged",
		    prefix);
		return;
	}
	const struct dns_answer *a = look(j, family(j), j->s->helo);
	if (!a)
		return;
	if (a->status == DNS_TROUBLE) {
		set_unknown(j, ITEM_HELO, family(j), j->s->helo, a);
		return;
	}
	for (size_t i = 0; i < a->n && !j->have_addr; i++) {
		j->a = a->rr[i].a;
		j->have_addr = prefix_contains(&j->s->prefix, &j->a);
	}
	if (!j->have_addr)
		set(j, ITEM_HELO, EVIDENCE_BAD, "%.120s has no address in %s", j->s->helo, prefix);
}

/* --- PTR, generic, forward --- */

static void judge_forward(struct judge *j)
{
	const struct dns_answer *trouble = NULL;
	const char *name = NULL;
	bool waits = false;
	size_t good = j->n_names;
	for (size_t i = 0; i < j->n_names; i++) {
		const struct dns_answer *a =
		    look(j, addr_is4(&j->a) ? DNS_A : DNS_AAAA, j->names[i]);
		if (!a) {
			waits = true;
			continue;
		}
		if (a->status == DNS_TROUBLE) {
			trouble = a;
			name = j->names[i];
		}
		j->confirmed[i] = has_addr(a, &j->a);
		if (j->confirmed[i] && good == j->n_names)
			good = i;
	}
	if (waits)
		return;
	if (good < j->n_names)
		set(j, ITEM_FORWARD, EVIDENCE_GOOD, "%s leads back to %s", j->names[good],
		    j->shown);
	else if (trouble)
		set_unknown(j, ITEM_FORWARD, addr_is4(&j->a) ? DNS_A : DNS_AAAA, name, trouble);
	else
		set(j, ITEM_FORWARD, EVIDENCE_BAD,
		    "%s does not lead back to %s: give it that address", j->names[0], j->shown);
}

/* The name that is looked at: one that leads back, if any does. */
static void judge_generic(struct judge *j)
{
	char why[300];
	size_t i = 0;
	while (i < j->n_names && !j->confirmed[i])
		i++;
	const char *name = j->names[i < j->n_names ? i : 0];
	enum evidence_verdict v = evidence_generic(name, &j->a, why, sizeof why);
	set(j, ITEM_GENERIC, v, "%s", why);
}

static void judge_ptr(struct judge *j)
{
	char name[DNS_NAME_MAX];
	dns_reverse_name(&j->a, name);
	const struct dns_answer *a = look(j, DNS_PTR, name);
	if (!a)
		return;
	if (a->status == DNS_TROUBLE) {
		set_unknown(j, ITEM_PTR, DNS_PTR, j->shown, a);
		return;
	}
	for (size_t i = 0; i < a->n && j->n_names < NAMES_MAX; i++)
		if (a->rr[i].text[0])
			j->names[j->n_names++] = a->rr[i].text;
	if (j->n_names == 0) {
		set(j, ITEM_PTR, EVIDENCE_BAD,
		    "%s has no name: set a PTR record for its mail server", j->shown);
		return;
	}
	if (j->n_names == 1)
		set(j, ITEM_PTR, EVIDENCE_GOOD, "%s is %s", j->shown, j->names[0]);
	else
		set(j, ITEM_PTR, EVIDENCE_GOOD, "%s is %.160s and %zu more", j->shown, j->names[0],
		    j->n_names - 1);
	judge_forward(j);
	judge_generic(j);
}

/* --- HELO --- */

static bool is_ptr(const struct judge *j, const char *name)
{
	for (size_t i = 0; i < j->n_names; i++)
		if (strcmp(j->names[i], name) == 0)
			return true;
	return false;
}

static void judge_helo(struct judge *j)
{
	char name[DNS_NAME_MAX];
	if (!stated(j->s->helo))
		return;
	if (!dns_name(j->s->helo, name) || !strchr(name, '.')) {
		set(j, ITEM_HELO, EVIDENCE_BAD,
		    "%.120s is no host name with a domain (RFC 5321 2.3.5)", j->s->helo);
		return;
	}
	if (is_ptr(j, name)) {
		set(j, ITEM_HELO, EVIDENCE_GOOD, "%s is the name of %s", name, j->shown);
		return;
	}
	const struct dns_answer *a = look(j, addr_is4(&j->a) ? DNS_A : DNS_AAAA, name);
	if (!a)
		return;
	if (a->status == DNS_TROUBLE)
		set_unknown(j, ITEM_HELO, addr_is4(&j->a) ? DNS_A : DNS_AAAA, name, a);
	else if (!has_addr(a, &j->a))
		set(j, ITEM_HELO, EVIDENCE_BAD, "%s does not lead to %s", name, j->shown);
	else if (j->out->item[ITEM_PTR].verdict == EVIDENCE_UNKNOWN)
		set(j, ITEM_HELO, EVIDENCE_UNKNOWN,
		    "%s leads to %s; whether it is its name cannot be looked up now", name,
		    j->shown);
	else
		set(j, ITEM_HELO, EVIDENCE_WEAK, "%s leads to %s, whose name is %.100s", name,
		    j->shown, j->n_names ? j->names[0] : "none");
}

/* --- SPF and MX --- */

static void judge_spf(struct judge *j, const char *domain)
{
	struct spf r;
	spf_check(j->f, &j->a, domain, &r);
	const char *also = r.skipped[0] ? "; not evaluated: " : "";
	switch (r.result) {
	case SPF_PENDING:
		j->pending = true;
		return;
	case SPF_PASS:
		set(j, ITEM_SPF, EVIDENCE_GOOD, "SPF of %.80s allows %s (%s)", domain, j->shown,
		    r.why);
		return;
	case SPF_NONE:
		set(j, ITEM_SPF, EVIDENCE_WEAK, "%.120s has no SPF record", domain);
		return;
	case SPF_TEMPERROR:
		set(j, ITEM_SPF, EVIDENCE_UNKNOWN, "SPF of %.80s cannot be evaluated now: %s",
		    domain, r.why);
		return;
	case SPF_PERMERROR:
		set(j, ITEM_SPF, EVIDENCE_BAD, "SPF of %.80s is wrong: %s%s%s", domain, r.why, also,
		    r.skipped);
		return;
	case SPF_NEUTRAL:
		set(j, ITEM_SPF, EVIDENCE_WEAK, "SPF of %.80s says nothing of %s (%s)%s%s", domain,
		    j->shown, r.why, also, r.skipped);
		return;
	case SPF_SOFTFAIL:
	case SPF_FAIL:
		/* A term that was passed over might have matched. */
		set(j, ITEM_SPF, r.skipped[0] ? EVIDENCE_WEAK : EVIDENCE_BAD,
		    "SPF of %.80s does not allow %s (%s, %s)%s%s", domain, j->shown,
		    spf_word(r.result), r.why, also, r.skipped);
		return;
	}
}

/* No MX: the domain's own address takes its mail (RFC 5321 5.1). */
static void judge_no_mx(struct judge *j, const char *domain)
{
	const struct dns_answer *four = look(j, DNS_A, domain), *six = look(j, DNS_AAAA, domain);
	if (!four || !six)
		return;
	if (four->n || six->n)
		set(j, ITEM_MX,
		    has_addr(four, &j->a) || has_addr(six, &j->a) ? EVIDENCE_GOOD : EVIDENCE_WEAK,
		    "%.120s has no MX record, its own address takes its mail", domain);
	else if (four->status == DNS_TROUBLE || six->status == DNS_TROUBLE)
		set_unknown(j, ITEM_MX, DNS_A, domain, four->status == DNS_TROUBLE ? four : six);
	else
		set(j, ITEM_MX, EVIDENCE_BAD,
		    "%.120s takes no mail: it has neither MX nor address, bounces go nowhere",
		    domain);
}

/* Is one of the MX hosts the line itself? *waits when not all are known. */
static bool mx_is_line(struct judge *j, const struct dns_answer *mx, bool *waits)
{
	bool found = false;
	for (size_t i = 0; i < mx->n && i < NAMES_MAX; i++) {
		if (!mx->rr[i].text[0])
			continue;
		const struct dns_answer *a =
		    look(j, addr_is4(&j->a) ? DNS_A : DNS_AAAA, mx->rr[i].text);
		if (!a)
			*waits = true;
		else if (has_addr(a, &j->a))
			found = true;
	}
	return found;
}

static void judge_mx(struct judge *j, const char *domain)
{
	bool waits = false;
	const struct dns_answer *mx = look(j, DNS_MX, domain);
	if (!mx)
		return;
	if (mx->status == DNS_TROUBLE) {
		set_unknown(j, ITEM_MX, DNS_MX, domain, mx);
		return;
	}
	if (mx->status == DNS_NXDOMAIN) {
		set(j, ITEM_MX, EVIDENCE_BAD, "there is no domain %.120s", domain);
		return;
	}
	if (mx->n == 0) {
		judge_no_mx(j, domain);
		return;
	}
	if (mx->n == 1 && !mx->rr[0].text[0]) {
		set(j, ITEM_MX, EVIDENCE_BAD, "%.120s takes no mail (null MX): bounces go nowhere",
		    domain);
		return;
	}
	bool line = mx_is_line(j, mx, &waits);
	if (waits)
		return;
	if (line)
		set(j, ITEM_MX, EVIDENCE_GOOD, "an MX host of %.120s is %s", domain, j->shown);
	else if (j->out->item[ITEM_SPF].verdict == EVIDENCE_GOOD)
		set(j, ITEM_MX, EVIDENCE_GOOD, "%.100s takes mail at %.100s, and its SPF allows %s",
		    domain, mx->rr[0].text, j->shown);
	else
		set(j, ITEM_MX, EVIDENCE_WEAK,
		    "%.100s takes mail at %.100s; nothing there names %s", domain, mx->rr[0].text,
		    j->shown);
}

static void judge_domain(struct judge *j)
{
	char domain[DNS_NAME_MAX];
	if (!stated(j->s->domain))
		return;
	if (!dns_name(j->s->domain, domain)) {
		set(j, ITEM_MX, EVIDENCE_BAD, "%.120s is no domain name", j->s->domain);
		return;
	}
	judge_spf(j, domain);
	judge_mx(j, domain);
}

static enum evidence_verdict worst(const struct evidence *e)
{
	enum evidence_verdict v = EVIDENCE_NONE;
	for (int i = 0; i < EVIDENCE_ITEMS; i++)
		if (e->item[i].verdict > v)
			v = e->item[i].verdict;
	return v;
}

bool evidence_judge(const struct evidence_subject *s, struct dns_facts *f, struct evidence *out)
{
	struct judge j = {.s = s, .f = f, .out = out};
	memset(out, 0, sizeof *out);
	find_addr(&j);
	if (j.have_addr) {
		addr_format(&j.a, j.shown);
		judge_ptr(&j);
		judge_helo(&j);
		judge_domain(&j);
	}
	out->overall = worst(out);
	return !j.pending;
}

/* --- words --- */

static const char *const verdict_words[] = {"", "good", "weak", "unknown", "bad"};
static const char *const item_words[] = {"ptr", "generic", "forward", "helo", "mx", "spf"};

const char *evidence_word(enum evidence_verdict v)
{
	return verdict_words[v];
}

enum evidence_verdict evidence_parse(const char *word)
{
	for (int v = EVIDENCE_GOOD; v <= EVIDENCE_BAD; v++)
		if (strcmp(verdict_words[v], word) == 0)
			return (enum evidence_verdict)v;
	return EVIDENCE_NONE;
}

const char *evidence_item_word(enum evidence_item i)
{
	return item_words[i];
}

json_t *evidence_json(const struct evidence *e)
{
	json_t *list = json_array();
	for (int i = 0; i < EVIDENCE_ITEMS; i++)
		if (e->item[i].verdict != EVIDENCE_NONE)
			json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "item",
							      item_words[i], "verdict",
							      evidence_word(e->item[i].verdict),
							      "words", e->item[i].words));
	return list;
}

const char *evidence_summary(const struct evidence *e, char *buf, size_t n)
{
	snprintf(buf, n, "nothing was judged");
	for (int i = 0; i < EVIDENCE_ITEMS; i++)
		if (e->overall != EVIDENCE_NONE && e->item[i].verdict == e->overall) {
			snprintf(buf, n, "%s: %s: %s", evidence_word(e->overall), item_words[i],
				 e->item[i].words);
			break;
		}
	return buf;
}
