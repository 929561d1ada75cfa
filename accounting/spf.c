/*
 * spf - see spf.h.
 *
 * Trusted with: text from the DNS of strangers; depth and number of look-ups are bounded as RFC
 * 7208 4.6.4 says. Diagnostics: the words of the result. Known gaps: see spf.h; explanations (exp=)
 * are not read.
 */
#include "accounting/spf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOOKUPS_MAX 10
#define VOIDS_MAX   2
#define MX_MAX	    10

struct check {
	struct dns_facts *f;
	const struct addr *a;
	struct spf *out;
	int lookups, voids;
};

/* One mechanism. */
enum match { NO, YES, PENDING, TEMPERROR, PERMERROR };

struct term {
	char name[12];
	char domain[DNS_NAME_MAX]; /* or the address of ip4 and ip6 */
	int len4, len6;
	bool macro;
};

static enum spf_result check_domain(struct check *c, const char *domain);

static void say(struct check *c, const char *what, const char *more)
{
	snprintf(c->out->why, sizeof c->out->why, "%s%.90s", what, more);
}

static enum match perm(struct check *c, const char *what, const char *more)
{
	say(c, what, more);
	return PERMERROR;
}

/* NULL with *m when it cannot be had. */
static const struct dns_answer *look(struct check *c, enum dns_type type, const char *name,
				     enum match *m)
{
	const struct dns_answer *a = dns_fact(c->f, type, name);
	*m = PENDING;
	if (!a)
		return NULL;
	if (a->status == DNS_TROUBLE) {
		snprintf(c->out->why, sizeof c->out->why, "%s of %.80s: %.40s", dns_type_name(type),
			 name, a->why);
		*m = TEMPERROR;
		return NULL;
	}
	*m = NO;
	return a;
}

static enum match count_void(struct check *c, const struct dns_answer *a)
{
	if (a->status == DNS_FOUND || ++c->voids <= VOIDS_MAX)
		return NO;
	return perm(c, "more than two of its names do not exist", "");
}

static enum match one_more(struct check *c)
{
	return ++c->lookups <= LOOKUPS_MAX ? NO : perm(c, "it needs more than ten look-ups", "");
}

/* --- terms --- */

static bool get_len(const char *text, int max, int *out)
{
	size_t n = strspn(text, "0123456789");
	if (n == 0 || n > 3 || text[n] || (n > 1 && text[0] == '0'))
		return false;
	*out = (int)strtol(text, NULL, 10);
	return *out <= max;
}

/* "/24", "/24//64", "//64" at the end of text, cut off. */
static bool cut_lengths(char *text, struct term *t)
{
	char *six = strstr(text, "//");
	if (six) {
		*six = '\0';
		if (!get_len(six + 2, 128, &t->len6))
			return false;
	}
	char *four = strrchr(text, '/');
	if (four) {
		*four = '\0';
		return get_len(four + 1, 32, &t->len4);
	}
	return true;
}

/* NAME[:DOMAIN][/LENGTHS]; ip4 and ip6 keep what follows as it is. */
static bool parse_term(const char *text, size_t n, struct term *t)
{
	char buf[DNS_NAME_MAX];
	size_t k = 0;
	*t = (struct term){.len4 = 32, .len6 = 128};
	while (k < n && text[k] != ':' && text[k] != '/')
		k++;
	if (k == 0 || k >= sizeof t->name || n - k >= sizeof buf)
		return false;
	memcpy(t->name, text, k);
	memcpy(buf, text + k, n - k);
	buf[n - k] = '\0';
	char *rest = buf;
	bool colon = *rest == ':';
	if (strncasecmp(t->name, "ip", 2) != 0 && !strchr(rest, '%') && !cut_lengths(rest, t))
		return false;
	if (colon && !rest[1])
		return false;
	snprintf(t->domain, sizeof t->domain, "%s", colon ? rest + 1 : "");
	t->macro = strchr(t->domain, '%') != NULL;
	return true;
}

static bool within(const struct check *c, const struct addr *base, const struct term *t)
{
	struct prefix p = {.len = (uint8_t)(addr_is4(base) ? t->len4 : t->len6)};
	if (addr_is4(base) != addr_is4(c->a))
		return false;
	addr_mask(base, p.len, &p.a);
	return prefix_contains(&p, c->a);
}

static enum match match_ip(struct check *c, const struct term *t, bool four)
{
	char text[DNS_NAME_MAX];
	struct term w = *t;
	struct addr a;
	const char *err = NULL;
	snprintf(text, sizeof text, "%s", t->domain);
	char *slash = strchr(text, '/');
	if (slash) {
		*slash = '\0';
		if (!get_len(slash + 1, four ? 32 : 128, four ? &w.len4 : &w.len6))
			return perm(c, "a term that is wrong: ip:", t->domain);
	}
	if (!addr_parse(text, &a, &err) || addr_is4(&a) != four)
		return perm(c, "a term that is wrong: ip:", t->domain);
	return within(c, &a, &w) ? YES : NO;
}

static enum match match_host(struct check *c, const char *name, const struct term *t, bool counts)
{
	enum match m;
	const struct dns_answer *a = look(c, addr_is4(c->a) ? DNS_A : DNS_AAAA, name, &m);
	for (size_t i = 0; a && i < a->n; i++)
		if (within(c, &a->rr[i].a, t))
			return YES;
	return a && counts ? count_void(c, a) : m;
}

static enum match match_mx(struct check *c, const char *name, const struct term *t)
{
	enum match m, all = NO;
	const struct dns_answer *a = look(c, DNS_MX, name, &m);
	if (!a)
		return m;
	if (a->n + a->dropped > MX_MAX)
		return perm(c, "more than ten MX hosts: ", name);
	for (size_t i = 0; i < a->n; i++) {
		if (!a->rr[i].text[0])
			continue;
		m = match_host(c, a->rr[i].text, t, false);
		if (m == YES)
			return YES;
		all = m == NO ? all : m; /* the others are asked for meanwhile */
	}
	return all == NO ? count_void(c, a) : all;
}

static enum match match_include(struct check *c, const char *name)
{
	switch (check_domain(c, name)) {
	case SPF_PASS:
		return YES;
	case SPF_PENDING:
		return PENDING;
	case SPF_TEMPERROR:
		return TEMPERROR;
	case SPF_NONE:
		return perm(c, "it includes a domain without an SPF record: ", name);
	case SPF_PERMERROR:
		return PERMERROR;
	default:
		return NO;
	}
}

static void note_skipped(struct check *c, const char *text, size_t n)
{
	size_t used = strlen(c->out->skipped);
	snprintf(c->out->skipped + used, sizeof c->out->skipped - used, "%s%.*s", used ? " " : "",
		 n > 60 ? 60 : (int)n, text);
}

static enum match match_term(struct check *c, const struct term *t, const char *domain)
{
	const char *name = t->domain[0] ? t->domain : domain;
	if (strcasecmp(t->name, "all") == 0)
		return YES;
	if (strcasecmp(t->name, "ip4") == 0)
		return match_ip(c, t, true);
	if (strcasecmp(t->name, "ip6") == 0)
		return match_ip(c, t, false);
	if (one_more(c) == PERMERROR)
		return PERMERROR;
	if (strcasecmp(t->name, "a") == 0)
		return match_host(c, name, t, true);
	if (strcasecmp(t->name, "mx") == 0)
		return match_mx(c, name, t);
	if (strcasecmp(t->name, "include") == 0 && t->domain[0])
		return match_include(c, name);
	return perm(c, "a term that is not known: ", t->name);
}

/* --- records --- */

static bool is_spf(const char *text)
{
	return strncasecmp(text, "v=spf1", 6) == 0 && (text[6] == ' ' || !text[6]);
}

static enum spf_result qualified(char q)
{
	return q == '-' ? SPF_FAIL : q == '~' ? SPF_SOFTFAIL : q == '?' ? SPF_NEUTRAL : SPF_PASS;
}

/* NAME=VALUE: a modifier (RFC 7208 4.6.1). */
static bool is_modifier(const char *text, size_t n)
{
	size_t k = 0;
	while (k < n && (text[k] == '-' || text[k] == '_' || text[k] == '.' ||
			 (text[k] >= '0' && text[k] <= '9') ||
			 ((text[k] | 32) >= 'a' && (text[k] | 32) <= 'z')))
		k++;
	return k > 0 && k < n && text[k] == '=';
}

/* True when the record's result is known. */
static bool take_mechanism(struct check *c, const char *text, size_t n, const char *domain,
			   enum spf_result *r)
{
	struct term t;
	char q = strchr("+-~?", *text) ? *text : '\0';
	const char *body = q ? text + 1 : text;
	size_t len = q ? n - 1 : n;
	*r = SPF_PERMERROR;
	if (!parse_term(body, len, &t)) {
		snprintf(c->out->why, sizeof c->out->why, "a term that is wrong: %.*s",
			 n > 80 ? 80 : (int)n, text);
		return true;
	}
	if (t.macro || strcasecmp(t.name, "exists") == 0 || strcasecmp(t.name, "ptr") == 0) {
		note_skipped(c, text, n);
		return one_more(c) == PERMERROR;
	}
	switch (match_term(c, &t, domain)) {
	case NO:
		return false;
	case YES:
		*r = qualified(q);
		snprintf(c->out->why, sizeof c->out->why, "%.*s of %.60s", n > 80 ? 80 : (int)n,
			 text, domain);
		break;
	case PENDING:
		*r = SPF_PENDING;
		break;
	case TEMPERROR:
		*r = SPF_TEMPERROR;
		break;
	case PERMERROR:
		break;
	}
	return true;
}

static enum spf_result take_redirect(struct check *c, const char *target)
{
	if (!target[0]) {
		say(c, "no term of its record matches", "");
		return SPF_NEUTRAL;
	}
	if (strchr(target, '%')) {
		note_skipped(c, target, strlen(target));
		return SPF_NEUTRAL;
	}
	if (one_more(c) == PERMERROR)
		return SPF_PERMERROR;
	enum spf_result r = check_domain(c, target);
	if (r != SPF_NONE)
		return r;
	say(c, "it is redirected to a domain without an SPF record: ", target);
	return SPF_PERMERROR;
}

static enum spf_result take_record(struct check *c, const char *text, const char *domain)
{
	char redirect[DNS_NAME_MAX] = "";
	enum spf_result r;
	for (text += 6; *text;) {
		text += strspn(text, " ");
		size_t n = strcspn(text, " ");
		if (n == 0)
			break;
		if (is_modifier(text, n)) {
			if (strncasecmp(text, "redirect=", 9) == 0 && n - 9 < sizeof redirect)
				snprintf(redirect, sizeof redirect, "%.*s", (int)(n - 9), text + 9);
		} else if (take_mechanism(c, text, n, domain, &r)) {
			return r;
		}
		text += n;
	}
	return take_redirect(c, redirect);
}

static enum spf_result check_domain(struct check *c, const char *domain)
{
	enum match m;
	const char *record = NULL;
	const struct dns_answer *a = look(c, DNS_TXT, domain, &m);
	if (!a)
		return m == PENDING ? SPF_PENDING : SPF_TEMPERROR;
	for (size_t i = 0; i < a->n; i++) {
		if (!is_spf(a->rr[i].text))
			continue;
		if (record) {
			say(c, "there are several SPF records at ", domain);
			return SPF_PERMERROR;
		}
		record = a->rr[i].text;
	}
	return record ? take_record(c, record, domain) : SPF_NONE;
}

void spf_check(struct dns_facts *f, const struct addr *a, const char *domain, struct spf *out)
{
	struct check c = {.f = f, .a = a, .out = out};
	*out = (struct spf){.result = SPF_NONE};
	out->result = check_domain(&c, domain);
}

const char *spf_word(enum spf_result r)
{
	static const char *const words[] = {"pending",	"none", "pass",	     "neutral",
					    "softfail", "fail", "permerror", "temperror"};
	return words[r];
}
