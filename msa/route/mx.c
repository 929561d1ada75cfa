/*
 * mx - see mx.h.
 *
 * Purpose: from a domain, or a route's hosts, to addresses in the order to try. Trusted with:
 * nothing; every record is foreign. Diagnostics: status and words of the list. Known gaps: none.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/route/mx.h"

struct judge {
	void *ctx;
	const struct mx_ask *ask;
	struct dns_facts *f;
	struct mx_list *out;
	uint32_t random;
	bool waits, withheld;
	char trouble[96]; /* the first one, in words */
};

static uint32_t draw(struct judge *j, uint32_t n)
{
	uint32_t x = j->random ? j->random : 1;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	j->random = x;
	return n ? x % n : 0;
}

static const struct dns_answer *look(struct judge *j, enum dns_type type, const char *name)
{
	const struct dns_answer *a = dns_fact(j->f, type, name);

	j->waits |= !a;
	if (a && a->status == DNS_TROUBLE && !j->trouble[0])
		snprintf(j->trouble, sizeof(j->trouble), "%s: %s", dns_type_name(type), a->why);
	return a;
}

static void verdict(struct judge *j, enum mx_status r, const char *status, const char *fmt,
		    const char *name, const char *why)
{
	j->out->result = r;
	snprintf(j->out->status, sizeof(j->out->status), "%s", status);
	snprintf(j->out->why, sizeof(j->out->why), "%.255s: %s%s", name, fmt, why);
}

/* --- who is named -------------------------------------------------------------------------- */

static bool is_self(const struct judge *j, const char *name)
{
	for (size_t i = 0; i < j->ask->n_self; i++)
		if (strcasecmp(j->ask->self[i], name) == 0)
			return true;
	return false;
}

/* Sorted by preference; among equals a random place. False when it is full of better ones. */
static void add_host(struct judge *j, size_t base, const char *name, uint16_t pref, uint16_t port,
		     bool secure)
{
	struct mx_list *l = j->out;
	size_t lo = base, hi, at;

	while (lo < l->n_hosts && l->hosts[lo].pref < pref)
		lo++;
	for (hi = lo; hi < l->n_hosts && l->hosts[hi].pref == pref;)
		hi++;
	at = lo + draw(j, (uint32_t)(hi - lo + 1));
	if (at >= MX_HOSTS_MAX)
		return;
	if (l->n_hosts == MX_HOSTS_MAX)
		l->n_hosts--;
	memmove(&l->hosts[at + 1], &l->hosts[at], (l->n_hosts - at) * sizeof(l->hosts[0]));
	l->n_hosts++;
	l->hosts[at] = (struct mx_host){.pref = pref, .port = port, .mx_secure = secure};
	snprintf(l->hosts[at].name, sizeof(l->hosts[at].name), "%s", name);
}

static bool null_mx(const struct dns_answer *mx)
{
	return mx->n == 1 && mx->dropped == 0 && mx->rr[0].text && mx->rr[0].text[0] == '\0';
}

/* False: the verdict is in. */
static bool name_servers(struct judge *j, const char *domain)
{
	size_t base = j->out->n_hosts;
	const struct dns_answer *mx = look(j, DNS_MX, domain);

	if (!mx)
		return true;
	switch (mx->status) {
	case DNS_TROUBLE:
		verdict(j, MX_LATER, "4.4.3", "its mail servers cannot be looked up now: ", domain,
			mx->why);
		return false;
	case DNS_NXDOMAIN:
		verdict(j, MX_REFUSED, "5.1.2", "there is no such domain", domain, "");
		return false;
	case DNS_NODATA:
		add_host(j, base, domain, 0, ROUTE_SMTP_PORT, mx->secure);
		return true;
	case DNS_FOUND:
		break;
	}
	if (null_mx(mx)) {
		verdict(j, MX_REFUSED, "5.1.10", "the domain takes no mail (null MX)", domain, "");
		return false;
	}
	for (size_t i = 0; i < mx->n; i++)
		if (mx->rr[i].text && mx->rr[i].text[0])
			add_host(j, base, mx->rr[i].text, mx->rr[i].pref, ROUTE_SMTP_PORT,
				 mx->secure);
	if (j->out->n_hosts > base)
		return true;
	verdict(j, MX_REFUSED, "5.4.4", "its MX records name no host", domain, "");
	return false;
}

static bool name_literal(struct judge *j, const char *text)
{
	char inner[ADDR_STRLEN + 8] = "";
	struct mx_list *l = j->out;
	struct addr a;
	const char *why, *p = inner;
	size_t n = strlen(text);

	if (n > 2 && n < sizeof(inner) && text[n - 1] == ']')
		snprintf(inner, sizeof(inner), "%.*s", (int)n - 2, text + 1);
	if (strncasecmp(p, "IPv6:", 5) == 0)
		p += 5;
	if (!addr_parse(p, &a, &why)) {
		verdict(j, MX_REFUSED, "5.1.2", "not an address that mail can be sent to", text,
			"");
		return false;
	}
	l->n_hosts = 1;
	l->hosts[0] = (struct mx_host){.port = ROUTE_SMTP_PORT, .literal = true};
	addr_format(&a, l->hosts[0].name);
	return true;
}

static bool name_hosts(struct judge *j)
{
	size_t from[ROUTE_HOSTS_MAX];
	size_t n = j->ask->n_hosts < ROUTE_HOSTS_MAX ? j->ask->n_hosts : ROUTE_HOSTS_MAX;

	/* By preference; equals in a random order, so that they share the load. */
	for (size_t i = 0; i < n; i++) {
		size_t lo = 0, hi;
		while (lo < i && j->ask->hosts[from[lo]].pref < j->ask->hosts[i].pref)
			lo++;
		for (hi = lo; hi < i && j->ask->hosts[from[hi]].pref == j->ask->hosts[i].pref;)
			hi++;
		lo += draw(j, (uint32_t)(hi - lo + 1));
		memmove(&from[lo + 1], &from[lo], (i - lo) * sizeof(from[0]));
		from[lo] = i;
	}
	for (size_t i = 0; i < n; i++) {
		const struct route_host *h = &j->ask->hosts[from[i]];
		size_t before = j->out->n_hosts;
		if (h->mx && !name_servers(j, h->name))
			return false;
		if (!h->mx) {
			add_host(j, before, h->name, h->pref, h->port, true);
			if (j->out->n_hosts > before)
				j->out->hosts[j->out->n_hosts - 1].literal = h->literal;
		}
	}
	return true;
}

/* We are in the list: whoever is not better than us would send it back (RFC 5321 5.1). */
static bool cut_at(struct judge *j, size_t me)
{
	struct mx_list *l = j->out;
	size_t n = 0;

	while (n < l->n_hosts && l->hosts[n].pref < l->hosts[me].pref)
		n++;
	l->n_hosts = n;
	while (l->n_addrs && l->addrs[l->n_addrs - 1].host >= n)
		l->n_addrs--;
	if (n)
		return true;
	verdict(j, MX_REFUSED, "5.4.6",
		"the best mail server of the domain is this one, which "
		"does not keep its mail",
		j->ask->domain, "");
	return false;
}

static bool cut_names(struct judge *j)
{
	for (size_t i = 0; i < j->out->n_hosts; i++)
		if (is_self(j, j->out->hosts[i].name))
			return cut_at(j, i);
	return true;
}

/* --- where they are ------------------------------------------------------------------------ */

static void add_addr(struct judge *j, size_t host, const struct addr *a)
{
	struct mx_list *l = j->out;

	if (l->n_addrs < MX_ADDRS_MAX)
		l->addrs[l->n_addrs++] = (struct mx_addr){.a = *a, .host = (uint8_t)host};
}

/* Some of one family, beginning anywhere. */
static void add_addrs(struct judge *j, size_t host, const struct dns_answer *a)
{
	uint32_t first = draw(j, (uint32_t)a->n);

	for (size_t i = 0; i < a->n && i < MX_EACH_MAX; i++)
		add_addr(j, host, &a->rr[(first + i) % a->n].a);
}

static bool take_tlsa(struct judge *j, struct mx_host *h, const struct dns_rr *rr)
{
	struct mx_tlsa *t;

	/* RFC 7672 3.1: PKIX-TA and PKIX-EE are not for SMTP between servers. */
	if (rr->len < 4 || rr->data[0] < 2 || rr->data[0] > 3 || rr->data[1] > 1 ||
	    rr->data[2] > 2 || h->n_tlsa == MX_TLSA_MAX)
		return false;
	if (!h->tlsa)
		h->tlsa = talloc_array(j->ctx, struct mx_tlsa, MX_TLSA_MAX);
	if (!h->tlsa)
		fatal("out of memory");
	t = &h->tlsa[h->n_tlsa++];
	*t = (struct mx_tlsa){.usage = rr->data[0],
			      .selector = rr->data[1],
			      .matching = rr->data[2],
			      .len = (uint16_t)(rr->len - 3)};
	memcpy(t->data, rr->data + 3, t->len);
	return true;
}

/* The records of base, one of the names of h. False: there are none, look at the next name. */
static bool find_tlsa(struct judge *j, struct mx_host *h, const char *base)
{
	char name[DNS_NAME_MAX + 16];
	const struct dns_answer *a;

	snprintf(name, sizeof(name), "_%u._tcp.%s", h->port, base);
	a = dns_fact(j->f, DNS_TLSA, name);
	j->waits |= !a;
	if (!a)
		return true;
	/* RFC 7672 2.1.1: an answer that is withheld must not look like "there is none". */
	h->unsure = a->status == DNS_TROUBLE;
	h->dane = a->status == DNS_FOUND && a->secure;
	for (size_t i = 0; h->dane && i < a->n; i++)
		(void)take_tlsa(j, h, &a->rr[i]);
	if (h->dane && strcmp(base, h->name) != 0)
		snprintf(h->base, sizeof(h->base), "%s", base);
	return h->unsure || h->dane;
}

/* RFC 7672 2.2.2: of an alias the name that it leads to comes first, when the way there is secure;
 * else the alias counts by itself, when that much is. */
static void find_tlsa_of(struct judge *j, struct mx_host *h, const char *owner, bool secure)
{
	const struct dns_answer *alias;

	if (!owner || strcmp(owner, h->name) == 0) {
		if (secure)
			(void)find_tlsa(j, h, h->name);
		return;
	}
	if (secure) {
		if (!find_tlsa(j, h, owner))
			(void)find_tlsa(j, h, h->name);
		return;
	}
	alias = look(j, DNS_CNAME, h->name);
	if (!alias)
		return;
	if (alias->status == DNS_TROUBLE)
		h->unsure = true;
	else if (alias->status == DNS_FOUND && alias->secure)
		(void)find_tlsa(j, h, h->name);
}

static void find_host(struct judge *j, size_t i)
{
	struct mx_host *h = &j->out->hosts[i];
	const struct dns_answer *six, *four;
	struct addr a;
	const char *why;

	if (addr_parse(h->name, &a, &why)) {
		if (h->literal)
			add_addr(j, i, &a);
		return;
	}
	six = look(j, DNS_AAAA, h->name);
	four = look(j, DNS_A, h->name);
	if (!six || !four)
		return;
	add_addrs(j, i, six);
	add_addrs(j, i, four);
	bool secure = (six->status != DNS_FOUND || six->secure) &&
		      (four->status != DNS_FOUND || four->secure);
	if (j->ask->dane && h->mx_secure && (six->n || four->n))
		find_tlsa_of(j, h, six->n ? six->owner : four->owner, secure);
}

static bool is_own(const struct judge *j, const struct mx_addr *a)
{
	return own_is(j->ask->own, &a->a, j->out->hosts[a->host].port);
}

static bool cut_addrs(struct judge *j)
{
	for (size_t i = 0; i < j->out->n_addrs; i++)
		if (is_own(j, &j->out->addrs[i]))
			return cut_at(j, j->out->addrs[i].host);
	return true;
}

/* The operator's hosts: what is us is passed over. False: nothing else is there, and it waits until
 * somebody mends that. */
static bool drop_own(struct judge *j, const char *name)
{
	struct mx_list *l = j->out;
	size_t n = 0, before = l->n_addrs;

	for (size_t i = 0; i < before; i++)
		if (!is_own(j, &l->addrs[i]))
			l->addrs[n++] = l->addrs[i];
	l->n_addrs = n;
	if (n || !before)
		return true;
	verdict(j, MX_LATER, "4.4.6", "that is this server itself: name another host", name, "");
	return false;
}

/* Hosts about whose TLSA records nothing is known get nothing. */
static void drop_unsure(struct judge *j)
{
	struct mx_list *l = j->out;
	size_t n = 0;

	for (size_t i = 0; i < l->n_addrs; i++)
		if (!l->hosts[l->addrs[i].host].unsure)
			l->addrs[n++] = l->addrs[i];
	j->withheld = n < l->n_addrs;
	if (j->withheld && !j->trouble[0])
		snprintf(j->trouble, sizeof(j->trouble), "its TLSA records cannot be looked up");
	l->n_addrs = n;
}

void mx_judge(void *ctx, const struct mx_ask *ask, struct dns_facts *f, struct mx_list *out)
{
	struct judge j = {.ctx = ctx, .ask = ask, .f = f, .out = out, .random = ask->random};
	const char *name = ask->domain[0] ? ask->domain : ask->n_hosts ? ask->hosts[0].name : "";

	*out = (struct mx_list){.result = MX_FOUND};
	bool ok = ask->domain[0] == '[' ? name_literal(&j, ask->domain)
		  : ask->domain[0]	? name_servers(&j, ask->domain)
					: name_hosts(&j);
	if (ok && !j.waits && ask->domain[0])
		ok = cut_names(&j);
	for (size_t i = 0; ok && i < out->n_hosts; i++)
		find_host(&j, i);
	if (j.waits && ok) {
		out->result = MX_WAIT;
		return;
	}
	if (ok)
		ok = ask->domain[0] ? cut_addrs(&j) : drop_own(&j, name);
	if (!ok)
		return;
	drop_unsure(&j);
	if (out->n_addrs)
		return;
	if (j.trouble[0])
		verdict(&j, MX_LATER, j.withheld ? "4.7.5" : "4.4.3",
			"no address of its mail servers can be looked up now: ", name, j.trouble);
	else if (ask->domain[0])
		verdict(&j, MX_REFUSED, "5.1.2", "it has no mail server with an address", name, "");
	else
		verdict(&j, MX_LATER, "4.4.3", "the hosts of the route have no address", name, "");
}
