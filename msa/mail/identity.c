/*
 * identity - see identity.h.
 *
 * Three sorted arrays, searched by halves: grants by address and account, rules by their scope, the
 * domains that take no tags. All keys in lower case.
 *
 * Trusted with: the file of an operator. Diagnostics: none, results only. Fuzzed by
 * tests/fuzz/msa/fuzz_identity.c.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "msa/mail/identity.h"
#include "msa/mail/lines.h"

#define UNSET (-1)

enum rule_key {
	R_MAIL_FROM,
	R_FROM_HEADER,
	R_SENDER,
	R_BATV,
	R_HIDE_CLIENT,
	R_AUTH_RESULTS,
	RULES
};

struct grant {
	const char *address; /* local@domain or @domain */
	const char *account;
	enum identity_right right;
	int line;
};

struct rule {
	const char *scope; /* an account, a domain, or of recipients a domain or .domain */
	int v[RULES];	   /* index of the value, or UNSET */
	int line;
};

struct list {
	struct rule *r;
	size_t n;
};

struct identities {
	struct grant *grants;
	size_t n_grants;
	struct list rules;	/* accounts (with @) and domains (without) */
	struct list recipients; /* of a match only v[R_BATV] counts */
};

static const struct {
	const char *key;
	const char *values[4]; /* as the enums count, NULL at the end */
} rule_keys[RULES] = {
    [R_MAIL_FROM] = {"mail_from", {"rewrite", "owned", "any"}},
    [R_FROM_HEADER] = {"from_header", {"any", "owned"}},
    [R_SENDER] = {"sender", {"when-different", "always", "off"}},
    [R_BATV] = {"batv", {"no", "yes"}},
    [R_HIDE_CLIENT] = {"hide_client", {"no", "yes"}},
    [R_AUTH_RESULTS] = {"auth_results", {"no", "yes"}},
};

/* --- the file --- */

struct word {
	const char *s;
	size_t len;
};

struct reader {
	struct lines l;
	struct identities *ids;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* A blank inside the quotes of a local part belongs to the word. */
static bool next(struct reader *r, struct word *w)
{
	struct lines *l = &r->l;
	bool quoted = false;

	while (l->p < l->end && blank(*l->p))
		l->p++;
	for (w->s = l->p; l->p < l->end && (quoted || !blank(*l->p)); l->p++) {
		if (*l->p == '"')
			quoted = !quoted;
		else if (*l->p == '\\' && quoted && l->p + 1 < l->end)
			l->p++;
	}
	w->len = (size_t)(l->p - w->s);
	return w->len > 0;
}

static bool word_is(const struct word *w, const char *text)
{
	return strlen(text) == w->len && memcmp(w->s, text, w->len) == 0;
}

static char *lower(void *ctx, const char *s, size_t len)
{
	char *out = talloc_strndup(ctx, s, len);

	for (char *p = out; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return out;
}

/* A mailbox in its canonical form; NULL with the reason. */
static const char *mailbox(struct reader *r, const struct word *w)
{
	const char *why;
	struct path p;

	if (path_parse_mailbox_utf8(w->s, w->len, &p, &why))
		return lower(r->ids, p.text, strlen(p.text));
	lines_wrong(&r->l, "%.*s is not an address: %s", (int)(w->len > 400 ? 400 : w->len), w->s,
		    why);
	return NULL;
}

static const char *domain(struct reader *r, const struct word *w, size_t skip)
{
	if (w->len > skip && path_domain_ok(w->s + skip, w->len - skip))
		return lower(r->ids, w->s, w->len);
	lines_wrong(&r->l, "%.*s is not a domain", (int)(w->len > 400 ? 400 : w->len), w->s);
	return NULL;
}

static bool read_grant(struct reader *r, enum identity_right right)
{
	struct identities *ids = r->ids;
	const char *address, *account;
	struct word w;

	if (!next(r, &w))
		return lines_wrong(&r->l, "an address or @DOMAIN is missing");
	address = w.s[0] == '@' ? domain(r, &w, 1) : mailbox(r, &w);
	if (!address)
		return false;
	if (!next(r, &w))
		return lines_wrong(&r->l, "the accounts are missing");
	do {
		account = mailbox(r, &w);
		if (!account)
			return false;
		if (ids->n_grants % 64 == 0)
			ids->grants =
			    talloc_realloc(ids, ids->grants, struct grant, ids->n_grants + 64);
		ids->grants[ids->n_grants++] = (struct grant){address, account, right, *r->l.line};
	} while (next(r, &w));
	return true;
}

static bool read_value(struct reader *r, const struct word *w, struct rule *rule)
{
	const char *eq = memchr(w->s, '=', w->len);
	struct word key = {w->s, eq ? (size_t)(eq - w->s) : w->len}, v;

	if (!eq)
		return lines_wrong(&r->l, "KEY=VALUE is expected");
	v = (struct word){eq + 1, w->len - key.len - 1};
	for (int k = 0; k < RULES; k++) {
		if (!word_is(&key, rule_keys[k].key))
			continue;
		if (rule->v[k] != UNSET)
			return lines_wrong(&r->l, "%s is there twice", rule_keys[k].key);
		for (int i = 0; rule_keys[k].values[i]; i++)
			if (word_is(&v, rule_keys[k].values[i]))
				rule->v[k] = i;
		return rule->v[k] != UNSET ||
		       lines_wrong(&r->l, "%s has no value of that name", rule_keys[k].key);
	}
	return lines_wrong(
	    &r->l, "this key is not known; mail_from, from_header, sender, batv, hide_client "
		   "and auth_results are");
}

static bool read_rules(struct reader *r, struct list *list, const char *scope)
{
	struct rule *rule;
	struct word w;

	if (list->n % 64 == 0)
		list->r = talloc_realloc(r->ids, list->r, struct rule, list->n + 64);
	rule = &list->r[list->n++];
	rule->scope = scope;
	rule->line = *r->l.line;
	for (int k = 0; k < RULES; k++)
		rule->v[k] = UNSET;
	if (!next(r, &w))
		return lines_wrong(&r->l, "KEY=VALUE is missing");
	do {
		if (!read_value(r, &w, rule))
			return false;
	} while (next(r, &w));
	return true;
}

static bool read_recipient(struct reader *r)
{
	const char *scope;
	struct word w;
	bool ok;

	if (!next(r, &w))
		return lines_wrong(&r->l, "a domain is missing");
	scope = domain(r, &w, w.s[0] == '.');
	ok = scope && read_rules(r, &r->ids->recipients, scope);
	if (!ok)
		return false;
	for (int k = 0; k < RULES; k++)
		if (k != R_BATV && r->ids->recipients.r[r->ids->recipients.n - 1].v[k] != UNSET)
			return lines_wrong(&r->l, "of recipients only batv can be said");
	return true;
}

static bool read_scope(struct reader *r, bool account)
{
	const char *scope;
	struct word w;

	if (!next(r, &w))
		return lines_wrong(&r->l,
				   account ? "an account is missing" : "a domain is missing");
	scope = account ? mailbox(r, &w) : domain(r, &w, 0);
	return scope && read_rules(r, &r->ids->rules, scope);
}

static bool read_line(void *arg)
{
	struct reader *r = arg;
	struct word w;

	if (!next(r, &w) || w.s[0] == '#')
		return true;
	if (word_is(&w, "own"))
		return read_grant(r, IDENTITY_OWN);
	if (word_is(&w, "delegate"))
		return read_grant(r, IDENTITY_DELEGATE);
	if (word_is(&w, "account"))
		return read_scope(r, true);
	if (word_is(&w, "domain"))
		return read_scope(r, false);
	if (word_is(&w, "recipient"))
		return read_recipient(r);
	return lines_wrong(&r->l, "a line begins with own, delegate, account, domain or recipient");
}

static int by_grant(const void *a, const void *b)
{
	const struct grant *x = a, *y = b;
	int r = strcmp(x->address, y->address);

	return r ? r : strcmp(x->account, y->account);
}

static int by_scope(const void *a, const void *b)
{
	return strcmp(((const struct rule *)a)->scope, ((const struct rule *)b)->scope);
}

/* What is wrong is in two lines: the later one is named. */
static bool wrong_at(struct reader *r, int a, int b, const char *what, const char *why)
{
	*r->l.line = a > b ? a : b;
	return lines_wrong(&r->l, "%s %s", what, why);
}

/* Two lines about the same thing: which one counts nobody could see. */
static bool twice(const struct list *l, struct reader *r)
{
	for (size_t i = 1; i < l->n; i++)
		if (strcmp(l->r[i - 1].scope, l->r[i].scope) == 0)
			return !wrong_at(r, l->r[i - 1].line, l->r[i].line, l->r[i].scope,
					 "has rules twice: say them in one line");
	return false;
}

static bool sort_all(struct reader *r)
{
	struct identities *ids = r->ids;

	if (ids->n_grants > 1)
		qsort(ids->grants, ids->n_grants, sizeof(*ids->grants), by_grant);
	if (ids->rules.n > 1)
		qsort(ids->rules.r, ids->rules.n, sizeof(*ids->rules.r), by_scope);
	if (ids->recipients.n > 1)
		qsort(ids->recipients.r, ids->recipients.n, sizeof(*ids->recipients.r), by_scope);
	for (size_t i = 1; i < ids->n_grants; i++)
		if (by_grant(&ids->grants[i - 1], &ids->grants[i]) == 0)
			return wrong_at(r, ids->grants[i - 1].line, ids->grants[i].line,
					ids->grants[i].address, "is given to one account twice");
	return !twice(&ids->rules, r) && !twice(&ids->recipients, r);
}

struct identities *identities_parse(void *ctx, const char *text, size_t len, int *line, char **err)
{
	struct reader r = {.l = {.line = line, .ctx = ctx, .err = err},
			   .ids = talloc_zero(ctx, struct identities)};

	if (lines_each(&r.l, text, len, read_line, &r) && sort_all(&r))
		return r.ids;
	talloc_free(r.ids);
	return NULL;
}

/* --- questions --- */

#define KEY_MAX (PATH_TEXT_MAX + 1)

static void lower_into(char out[static KEY_MAX], const char *s)
{
	size_t n = 0;

	for (; s[n] && n < KEY_MAX - 1; n++)
		out[n] = (char)tolower((unsigned char)s[n]);
	out[n] = '\0';
}

static enum identity_right granted(const struct identities *ids, const char *address,
				   const char *account)
{
	const struct grant key = {.address = address, .account = account}, *g = NULL;

	if (ids->n_grants > 0)
		g = bsearch(&key, ids->grants, ids->n_grants, sizeof(*ids->grants), by_grant);
	return g ? g->right : IDENTITY_NONE;
}

static enum identity_right better(enum identity_right a, enum identity_right b)
{
	return a > b ? a : b;
}

/* The address without the sub-address of its local part. */
static bool without_tag(const struct path *p, struct path *out)
{
	const char *plus = strchr(p->local, '+');

	return plus && plus > p->local &&
	       path_make(p->local, (size_t)(plus - p->local), p->domain, out);
}

enum identity_right identity_right(const struct identities *ids, const struct path *account,
				   const struct path *p)
{
	char who[KEY_MAX], address[KEY_MAX];
	enum identity_right right;
	struct path base;

	if (path_owned(account, p))
		return IDENTITY_OWN;
	if (!ids || p->null || p->domain[0] == '\0')
		return IDENTITY_NONE;
	lower_into(who, account->text);
	lower_into(address, p->text);
	right = granted(ids, address, who);
	if (without_tag(p, &base)) {
		lower_into(address, base.text);
		right = better(right, granted(ids, address, who));
	}
	snprintf(address, sizeof(address), "@%s", p->domain); /* a path's domain is in lower case */
	return better(right, granted(ids, address, who));
}

static const struct rule *find(const struct list *l, const char *scope)
{
	const struct rule key = {.scope = scope};

	return l->n > 0 ? bsearch(&key, l->r, l->n, sizeof(*l->r), by_scope) : NULL;
}

static int first_set(const struct rule *account, const struct rule *of_domain, enum rule_key k,
		     int dflt)
{
	if (account && account->v[k] != UNSET)
		return account->v[k];
	return of_domain && of_domain->v[k] != UNSET ? of_domain->v[k] : dflt;
}

void identity_rules(const struct identities *ids, const struct path *account,
		    const struct identity_rules *dflt, struct identity_rules *out)
{
	const struct rule *a, *d;
	char who[KEY_MAX];

	*out = *dflt;
	if (!ids || ids->rules.n == 0)
		return;
	lower_into(who, account->text);
	a = find(&ids->rules, who);
	d = find(&ids->rules, account->domain);
	out->mail_from = (enum mail_from_mode)first_set(a, d, R_MAIL_FROM, dflt->mail_from);
	out->from_header = (enum from_header_mode)first_set(a, d, R_FROM_HEADER, dflt->from_header);
	out->sender = (enum sender_mode)first_set(a, d, R_SENDER, dflt->sender);
	out->batv = first_set(a, d, R_BATV, dflt->batv);
	out->hide_client = first_set(a, d, R_HIDE_CLIENT, dflt->hide_client);
	out->auth_results = first_set(a, d, R_AUTH_RESULTS, dflt->auth_results);
}

bool identity_batv_domain(const struct identities *ids, const struct path *account,
			  const char *name)
{
	const struct rule *r = ids ? find(&ids->rules, name) : NULL;

	return strcmp(account->domain, name) == 0 || (r && r->v[R_BATV] == 1);
}

bool identity_batv_recipient(const struct identities *ids, const char *name)
{
	const struct rule *r = ids ? find(&ids->recipients, name) : NULL;

	for (const char *dot = name; ids && !r && (dot = strchr(dot, '.')) != NULL; dot++)
		r = find(&ids->recipients, dot);
	return !r || r->v[R_BATV] != 0;
}
