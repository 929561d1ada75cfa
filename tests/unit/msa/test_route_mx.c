/* Which servers a domain has: RFC 5321 5.1, RFC 7505, RFC 7672 as a table of zones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include <cmocka.h>

#include "msa/route/mx.h"

/* "TYPE NAME[>OWNER][!] VALUE VALUE ...": ">" an alias of OWNER; "!" without DNSSEC; a value of MX
 * is "PREF:HOST"; "SERVFAIL" is trouble, "NXDOMAIN" no name. What is not listed has no such
 * records, securely. */
struct zone {
	const char *name, *records[14];
	const char *ask; /* a domain; or "@HOST..." of a route */
	enum mx_status result;
	const char *status;
	const char *want; /* "HOST=ADDRESS HOST=ADDRESS"; "*N" after a host: N by TLSA, "(NAME)" of
			     that name */
};

static const struct zone zones[] = {
    {"preferences",
     {"MX d 20:b 10:a", "A a 192.0.2.1", "A b 192.0.2.2"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1 b=192.0.2.2"},
    {"IPv6 first",
     {"MX d 10:a", "A a 192.0.2.1", "AAAA a 2001:db8::1"},
     "d",
     MX_FOUND,
     "",
     "a=2001:db8::1 a=192.0.2.1"},
    {"no MX, an address", {"A d 192.0.2.1"}, "d", MX_FOUND, "", "d=192.0.2.1"},
    {"no MX, no address", {NULL}, "d", MX_REFUSED, "5.1.2", NULL},
    {"no domain", {"MX d NXDOMAIN"}, "d", MX_REFUSED, "5.1.2", NULL},
    {"null MX", {"MX d 0:.", "A d 192.0.2.1"}, "d", MX_REFUSED, "5.1.10", NULL},
    {"null MX among others", {"MX d 0:. 10:a", "A a 192.0.2.1"}, "d", MX_FOUND, "", "a=192.0.2.1"},
    {"servfail", {"MX d SERVFAIL"}, "d", MX_LATER, "4.4.3", NULL},
    {"hosts without addresses", {"MX d 10:a 20:b"}, "d", MX_REFUSED, "5.1.2", NULL},
    {"a host that cannot be looked up",
     {"MX d 10:a", "A a SERVFAIL"},
     "d",
     MX_LATER,
     "4.4.3",
     NULL},
    {"another that can",
     {"MX d 10:a 20:b", "A a SERVFAIL", "A b 192.0.2.2"},
     "d",
     MX_FOUND,
     "",
     "b=192.0.2.2"},
    {"we are the best", {"MX d 10:self 20:b", "A b 192.0.2.2"}, "d", MX_REFUSED, "5.4.6", NULL},
    {"we are one of them",
     {"MX d 10:a 20:self 30:b", "A a 192.0.2.1", "A b 192.0.2.2"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1"},
    {"equal to us",
     {"MX d 10:a 20:self 20:b", "A a 192.0.2.1", "A b 192.0.2.2"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1"},
    {"us by address",
     {"MX d 10:a 20:b 30:c", "A a 192.0.2.1", "A b 192.0.2.99", "A c 192.0.2.3"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1"},
    {"us by address, the best", {"MX d 10:b", "A b 192.0.2.99"}, "d", MX_REFUSED, "5.4.6", NULL},
    {"an address", {NULL}, "[192.0.2.5]", MX_FOUND, "", "192.0.2.5=192.0.2.5"},
    {"an IPv6 address", {NULL}, "[IPv6:2001:db8::5]", MX_FOUND, "", "2001:db8::5=2001:db8::5"},
    {"no address", {NULL}, "[x400:foo]", MX_REFUSED, "5.1.2", NULL},
    {"MX to an address", {"MX d 10:192.0.2.1"}, "d", MX_REFUSED, "5.1.2", NULL},
    {"DANE",
     {"MX d 10:a", "A a 192.0.2.1", "TLSA _25._tcp.a 0301010203"},
     "d",
     MX_FOUND,
     "",
     "a*1=192.0.2.1"},
    {"TLSA without DNSSEC",
     {"MX d 10:a", "A a 192.0.2.1", "TLSA _25._tcp.a! 0301010203"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1"},
    {"MX without DNSSEC",
     {"MX d! 10:a", "A a 192.0.2.1", "TLSA _25._tcp.a 0301010203"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1"},
    {"addresses without DNSSEC",
     {"MX d 10:a", "A a! 192.0.2.1", "TLSA _25._tcp.a SERVFAIL"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1"},
    {"TLSA withheld",
     {"MX d 10:a", "A a 192.0.2.1", "TLSA _25._tcp.a SERVFAIL"},
     "d",
     MX_LATER,
     "4.7.5",
     NULL},
    {"TLSA withheld of one",
     {"MX d 10:a 20:b", "A a 192.0.2.1", "A b 192.0.2.2", "TLSA _25._tcp.a SERVFAIL"},
     "d",
     MX_FOUND,
     "",
     "b=192.0.2.2"},
    {"only records of PKIX",
     {"MX d 10:a", "A a 192.0.2.1", "TLSA _25._tcp.a 0101010203 00010102"},
     "d",
     MX_FOUND,
     "",
     "a*0=192.0.2.1"},
    {"usable and not",
     {"MX d 10:a", "A a 192.0.2.1", "TLSA _25._tcp.a 0101010203 0200010203 03010202"},
     "d",
     MX_FOUND,
     "",
     "a*2=192.0.2.1"},
    {"hosts of a route",
     {"A a 192.0.2.1", "A b 192.0.2.2"},
     "@20 b:26|10 a",
     MX_FOUND,
     "",
     "a=192.0.2.1 b=192.0.2.2"},
    {"a literal host", {NULL}, "@[192.0.2.9]:26", MX_FOUND, "", "192.0.2.9=192.0.2.9"},
    {"MX of a route",
     {"MX d 10:a", "A a 192.0.2.1", "A b 192.0.2.2"},
     "@10 mx:d|20 b",
     MX_FOUND,
     "",
     "a=192.0.2.1 b=192.0.2.2"},
    {"a route to ourselves", {NULL}, "@[192.0.2.99]:25", MX_LATER, "4.4.6", NULL},
    {"a route to ourselves by name", {"A a 192.0.2.99"}, "@a", MX_LATER, "4.4.6", NULL},
    {"a route to our machine, where somebody else listens",
     {NULL},
     "@[192.0.2.98]:26",
     MX_FOUND,
     "",
     "192.0.2.98=192.0.2.98"},
    {"a route to where we listen", {NULL}, "@[192.0.2.98]:25", MX_LATER, "4.4.6", NULL},
    {"a route that has another host",
     {"A a 192.0.2.99", "A b 192.0.2.2"},
     "@a|b",
     MX_FOUND,
     "",
     "b=192.0.2.2"},
    {"an alias: the records of what it stands for",
     {"MX d 10:a", "A a>b 192.0.2.1", "TLSA _25._tcp.b 0301010203",
      "TLSA _25._tcp.a 0301010203 03010104"},
     "d",
     MX_FOUND,
     "",
     "a*1(b)=192.0.2.1"},
    {"an alias: its own, when that has none",
     {"MX d 10:a", "A a>b 192.0.2.1", "TLSA _25._tcp.a 0301010203"},
     "d",
     MX_FOUND,
     "",
     "a*1=192.0.2.1"},
    {"an alias: neither has any",
     {"MX d 10:a", "AAAA a>b 2001:db8::1"},
     "d",
     MX_FOUND,
     "",
     "a=2001:db8::1"},
    {"an alias: those of its target are withheld",
     {"MX d 10:a", "A a>b 192.0.2.1", "TLSA _25._tcp.b SERVFAIL", "TLSA _25._tcp.a 0301010203"},
     "d",
     MX_LATER,
     "4.7.5",
     NULL},
    {"an alias that leads out of DNSSEC: its own",
     {"MX d 10:a", "A a>b! 192.0.2.1", "CNAME a b", "TLSA _25._tcp.b 0301010203",
      "TLSA _25._tcp.a 0301010203 03010104"},
     "d",
     MX_FOUND,
     "",
     "a*2=192.0.2.1"},
    {"an alias that is not in DNSSEC itself",
     {"MX d 10:a", "A a>b! 192.0.2.1", "CNAME a! b", "TLSA _25._tcp.b 0301010203",
      "TLSA _25._tcp.a 0301010203"},
     "d",
     MX_FOUND,
     "",
     "a=192.0.2.1"},
    {"an alias of which nobody says whether it is in DNSSEC",
     {"MX d 10:a", "A a>b! 192.0.2.1", "CNAME a SERVFAIL"},
     "d",
     MX_LATER,
     "4.7.5",
     NULL},
    {"a route without addresses", {NULL}, "@a", MX_LATER, "4.4.3", NULL},
};

static void *ctx;

static void hex(struct dns_rr *rr, const char *text)
{
	rr->len = strlen(text) / 2;
	rr->data = talloc_array(ctx, uint8_t, rr->len);
	for (size_t i = 0; i < rr->len; i++) {
		char two[3] = {text[2 * i], text[2 * i + 1], 0};
		rr->data[i] = (uint8_t)strtoul(two, NULL, 16);
	}
}

static void add_value(struct dns_answer *a, enum dns_type type, char *v)
{
	struct dns_rr *rr = &a->rr[a->n];
	const char *err;
	if (strcmp(v, "SERVFAIL") == 0) {
		a->status = DNS_TROUBLE;
		a->secure = false;
		return;
	}
	if (strcmp(v, "NXDOMAIN") == 0) {
		a->status = DNS_NXDOMAIN;
		return;
	}
	if (type == DNS_CNAME) {
		rr->text = talloc_strdup(ctx, v);
	} else if (type == DNS_MX) {
		char *colon = strchr(v, ':');
		rr->pref = (uint16_t)strtoul(v, NULL, 10);
		rr->text = talloc_strdup(ctx, strcmp(colon + 1, ".") == 0 ? "" : colon + 1);
	} else if (type == DNS_TLSA) {
		hex(rr, v);
	} else {
		assert_true(addr_parse(v, &rr->a, &err));
	}
	a->n++;
	a->status = DNS_FOUND;
}

static struct dns_answer answer(const struct zone *z, const struct dns_need *q)
{
	struct dns_answer a = {
	    .status = DNS_NODATA, .secure = true, .rr = talloc_zero_array(ctx, struct dns_rr, 40)};
	for (size_t i = 0; i < 14 && z->records[i]; i++) {
		char line[1200], *save, *type, *name, *v;
		snprintf(line, sizeof(line), "%s", z->records[i]);
		type = strtok_r(line, " ", &save);
		name = strtok_r(NULL, " ", &save);
		bool insecure = name[strlen(name) - 1] == '!';
		if (insecure)
			name[strlen(name) - 1] = '\0';
		char *owner = strchr(name, '>');
		if (owner)
			*owner++ = '\0';
		if (strcmp(type, dns_type_name(q->type)) != 0 || strcmp(name, q->name) != 0)
			continue;
		a.secure = !insecure;
		a.owner = talloc_strdup(ctx, owner ? owner : name);
		while ((v = strtok_r(NULL, " ", &save)))
			add_value(&a, q->type, v);
	}
	return a;
}

static void judge(const struct zone *z, struct mx_list *l, uint32_t random)
{
	static const char *const self[] = {"self"};
	struct own *own = own_new(ctx);
	struct route_host hosts[4];
	struct mx_ask ask = {.domain = z->ask[0] == '@' ? "" : z->ask,
			     .hosts = hosts,
			     .self = self,
			     .n_self = 1,
			     .own = own,
			     .dane = true,
			     .random = random};
	struct dns_facts *f = dns_facts_new(ctx);
	const char *err = "";
	assert_true(own_add_text(own, "192.0.2.99"));
	assert_true(own_add_text(own, "192.0.2.98:25"));
	if (z->ask[0] == '@') {
		char text[200], *save, *h;
		snprintf(text, sizeof(text), "%s", z->ask + 1);
		static const char *names[4] = {"a", "b", "d"};
		for (h = strtok_r(text, "|", &save); h; h = strtok_r(NULL, "|", &save)) {
			struct route_host *x = &hosts[ask.n_hosts++];
			unsigned pref = 10, port = 25;
			char word[64], *p = word;
			if (sscanf(h, "%u %63s", &pref, word) != 2) {
				pref = 10;
				snprintf(word, sizeof(word), "%.63s", h);
			}
			*x = (struct route_host){.pref = (uint16_t)pref};
			if (strncmp(p, "mx:", 3) == 0) {
				x->mx = true;
				p += 3;
			}
			if (*p == '[') {
				char *end = strchr(p, ']');
				port = (unsigned)strtoul(end + 2, NULL, 10);
				*end = '\0';
				x->literal = addr_parse(p + 1, &x->addr, &err);
				x->name = talloc_strdup(ctx, p + 1);
			} else {
				char *colon = strchr(p, ':');
				if (colon) {
					port = (unsigned)strtoul(colon + 1, NULL, 10);
					*colon = '\0';
				}
				for (size_t i = 0; i < 3; i++)
					if (strcmp(names[i], p) == 0)
						x->name = names[i];
			}
			x->port = (uint16_t)port;
		}
	}
	for (int turns = 0;; turns++) {
		struct dns_need needs[DNS_NEEDS_MAX];
		mx_judge(ctx, &ask, f, l);
		if (l->result != MX_WAIT)
			return;
		size_t n = dns_facts_needs(f, needs);
		assert_true(n > 0 && turns < 10);
		for (size_t i = 0; i < n; i++) {
			struct dns_answer a = answer(z, &needs[i]);
			dns_fact_put(f, needs[i].type, needs[i].name, &a);
		}
	}
}

static void show(const struct mx_list *l, char *out, size_t cap)
{
	size_t n = 0;
	out[0] = '\0';
	for (size_t i = 0; i < l->n_addrs; i++) {
		const struct mx_host *h = &l->hosts[l->addrs[i].host];
		char text[ADDR_STRLEN], dane[32] = "";
		if (h->dane)
			snprintf(dane, sizeof(dane), "*%zu%s%.3s%s", h->n_tlsa,
				 h->base[0] ? "(" : "", h->base, h->base[0] ? ")" : "");
		n += (size_t)snprintf(out + n, cap - n, "%s%s%s=%s", n ? " " : "", h->name, dane,
				      addr_format(&l->addrs[i].a, text));
	}
}

static void zones_are_judged(void **state)
{
	static struct mx_list l;
	char got[1000];
	(void)state;
	for (size_t i = 0; i < sizeof(zones) / sizeof(*zones); i++) {
		const struct zone *z = &zones[i];
		ctx = talloc_new(NULL);
		judge(z, &l, 7);
		show(&l, got, sizeof(got));
		if (l.result != z->result || strcmp(l.status, z->status) != 0 ||
		    (z->want && strcmp(got, z->want) != 0))
			fail_msg("%s: %d %s %s, %s", z->name, (int)l.result, l.status, got, l.why);
		if (z->result != MX_FOUND)
			assert_true(strlen(l.why) > 10);
		talloc_free(ctx);
	}
}

static void equals_share(void **state)
{
	static const struct zone z = {
	    "equals", {"MX d 10:a 10:b 10:c", "A a 192.0.2.1", "A b 192.0.2.2", "A c 192.0.2.3"},
	    "d",      MX_FOUND,
	    "",	      NULL};
	static struct mx_list l;
	unsigned first[3] = {0};
	(void)state;
	for (uint32_t r = 1; r <= 300; r++) {
		ctx = talloc_new(NULL);
		judge(&z, &l, r * 2654435761u);
		assert_int_equal(l.n_addrs, 3);
		first[l.hosts[l.addrs[0].host].name[0] - 'a']++;
		talloc_free(ctx);
	}
	for (int i = 0; i < 3; i++)
		assert_true(first[i] > 50);
}

static void too_many_are_cut(void **state)
{
	static struct mx_list l;
	static char records[200][40];
	struct zone z = {"many", {NULL}, "d", MX_FOUND, "", NULL};
	char mx[1200] = "MX d";
	(void)state;
	for (int i = 30; i >= 1; i--)
		snprintf(mx + strlen(mx), sizeof(mx) - strlen(mx), " %d:h%d", i, i);
	/* only the names that are asked for matter */
	z.records[0] = mx;
	for (int i = 1; i <= 12; i++) {
		snprintf(records[i], sizeof(records[i]), "A h%d 192.0.2.%d", i, i);
		z.records[i] = records[i];
	}
	ctx = talloc_new(NULL);
	static char line[1200];
	memcpy(line, mx, sizeof(line));
	z.records[0] = line;
	judge(&z, &l, 1);
	assert_int_equal(l.n_hosts, MX_HOSTS_MAX);
	assert_int_equal(l.n_addrs, 12);
	assert_string_equal(l.hosts[0].name, "h1");
	talloc_free(ctx);
}

/* What we are: an address with any port, one with one, those of the interfaces. */
static void ends_that_are_us(void **state)
{
	static const struct {
		const char *text, *address;
		uint16_t port;
		bool is;
	} cases[] = {
	    {"192.0.2.1", "192.0.2.1", 25, true},
	    {"192.0.2.1:587", "192.0.2.1", 587, true},
	    {"192.0.2.1:587", "192.0.2.1", 25, false},
	    {"192.0.2.1:587", "192.0.2.2", 587, false},
	    {"[2001:db8::1]:25", "2001:db8::1", 25, true},
	    {"0.0.0.0:25", "127.0.0.1", 25, true},
	    {"0.0.0.0:25", "127.0.0.1", 26, false},
	    {"0.0.0.0:25", "127.0.0.2", 25, false}, /* no interface has it */
	    {"0.0.0.0:25", "192.0.2.1", 25, false},
	    {"[::]:25", "127.0.0.1", 25, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct own *o = own_new(NULL);
		struct addr a;
		const char *err;
		assert_true(addr_parse(cases[i].address, &a, &err));
		assert_true(own_add_text(o, cases[i].text));
		if (own_is(o, &a, cases[i].port) != cases[i].is)
			fail_msg("%s, %s port %u", cases[i].text, cases[i].address, cases[i].port);
		talloc_free(o);
	}
	struct own *o = own_new(NULL);
	assert_false(own_add_text(o, "mail.example"));
	assert_false(own_is(NULL, &(struct addr){{0}}, 25));
	talloc_free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(zones_are_judged),
	    cmocka_unit_test(ends_that_are_us),
	    cmocka_unit_test(equals_share),
	    cmocka_unit_test(too_many_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
