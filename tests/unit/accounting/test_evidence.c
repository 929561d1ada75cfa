/* evidence: names that are made from addresses, and verdicts over facts of the DNS, in words. */
#include "kit.h"

#include "accounting/evidence.h"
#include "zone.h"

#define G EVIDENCE_GOOD
#define W EVIDENCE_WEAK
#define B EVIDENCE_BAD
#define U EVIDENCE_UNKNOWN
#define N EVIDENCE_NONE

static const struct {
	const char *addr, *name;
	enum evidence_verdict want;
} names[] = {
    /* names of their own */
    {"192.0.2.25", "mail.example.com", G},
    {"192.0.2.25", "mx1.example.co.jp", G},
    {"192.0.2.25", "smtp-out-25.example.net", G},
    {"192.0.2.25", "mail2.example.com", G},
    {"192.0.2.25", "mail.cable-news.example", G}, /* a company's name, not a modem's */
    {"192.0.2.25", "mail.dsl.ne.jp", G},
    {"192.0.2.25", "example.com", G},
    {"192.0.2.25", "m25.example.com", G},
    {"192.0.2.25", "mx192.example.com", G},
    {"192.0.2.25", "poolside.example.com", G},
    {"192.0.2.25", "mail.hostel.example.com", G},
    {"2001:db8::25", "mail.example.com", G},
    {"2001:db8:1::25", "mx-2001.example.com", G},
    /* octets */
    {"192.0.2.25", "192-0-2-25.isp.example", B},
    {"192.0.2.25", "25-2-0-192.isp.example", B},
    {"192.0.2.25", "25.2.0.192.isp.example", B},
    {"192.0.2.25", "host192.0.2.25.isp.example", B},
    {"192.0.2.25", "ip192x0x2x25.isp.example", B},
    {"192.0.2.25", "p192000002025.isp.example", B},
    {"192.0.2.25", "192-000-002-025.isp.example", B},
    {"192.0.2.25", "static-192-0-2-25.isp.example", B},
    {"192.0.2.25", "2-25.0.192.isp.example", W},  /* two of them, in no order that counts */
    {"192.0.2.25", "host-0-2-25.isp.example", B}, /* three octets */
    {"192.0.2.25", "25-2-0.isp.example", B},
    {"192.0.2.25", "h2-25.isp.example", W}, /* two octets */
    {"192.0.2.25", "192-0-2-26.isp.example",
     B}, /* a neighbour's: made from addresses all the same */
    {"198.51.100.7", "c633-6407.isp.example", G},
    {"198.51.100.7", "c6336407.isp.example", B},
    {"198.51.100.7", "076433c6.isp.example", B},
    {"198.51.100.7", "c6-33-64-07.isp.example", B},
    {"198.51.100.7", "3325256711.isp.example", B},
    {"198.51.100.7", "198051100007.isp.example", B},
    {"203.0.113.9", "mail.203-0-113-9.example.com", B},
    {"203.0.113.9", "9.113-0-203.example.com", B},
    /* words */
    {"192.0.2.25", "dyn.isp.example.net", B},
    {"192.0.2.25", "x1.dynamic.isp.example", B},
    {"192.0.2.25", "dhcp7.isp.example", B},
    {"192.0.2.25", "ppp.tokyo.isp.ne.jp", B},
    {"192.0.2.25", "pool-7.isp.example", B},
    {"192.0.2.25", "dialup9.isp.example", B},
    {"192.0.2.25", "DHCP7.ISP.Example", B},
    {"192.0.2.25", "x.unassigned.isp.example", B},
    {"192.0.2.25", "cable7.isp.example", W},
    {"192.0.2.25", "adsl.isp.example.net", W},
    {"192.0.2.25", "customer7.isp.example", W},
    {"192.0.2.25", "static7.isp.example", W},
    {"192.0.2.25", "mail.customer.isp.example", W},
    {"192.0.2.25", "c7.ftth.isp.ne.jp", W},
    /* IPv6 */
    {"2001:db8:1::25", "20010db8000100000000000000000025.isp.example", B},
    {"2001:db8:1::25", "2001-0db8-0001-0000-0000-0000-0000-0025.isp.example", B},
    {"2001:db8:1::25",
     "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.isp.example", B},
    {"2001:db8:1::25", "2001-db8-1--25.isp.example", B},
    {"2001:db8:1::25", "2001.db8.1..25.isp.example", B},
    {"2001:db8:1:2:a:b:c:d", "h-000a-000b-000c-000d.isp.example", B},
    {"2001:db8:1::25", "pool.isp.example.net", B},
};

static void test_generic(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char why[300] = "";
		struct addr a = kit_addr(names[i].addr);
		enum evidence_verdict v = evidence_generic(names[i].name, &a, why, sizeof why);
		if (v != names[i].want || !why[0])
			fail_msg("%s for %s: %s, want %s (%s)", names[i].name, names[i].addr,
				 evidence_word(v), evidence_word(names[i].want), why);
	}
}

static const struct record zone[] = {
    /* good */
    {"25.2.0.192.in-addr.arpa", DNS_PTR, "mail.good.example"},
    {"mail.good.example", DNS_A, "192.0.2.25"},
    {"mail.good.example", DNS_AAAA, "2001:db8::25"},
    {"good.example", DNS_MX, "10 mail.good.example"},
    {"good.example", DNS_TXT, "v=spf1 mx -all"},
    {"5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", DNS_PTR,
     "mail.good.example"},
    {"elsewhere.example", DNS_MX, "10 mx.big.example"},
    {"elsewhere.example", DNS_TXT, "v=spf1 ip4:192.0.2.25 -all"},
    {"mx.big.example", DNS_A, "198.51.100.1"},
    {"plain.example", DNS_A, "192.0.2.25"},
    {"plain.example", DNS_TXT, "v=spf1 a -all"},
    {"plainaway.example", DNS_A, "198.51.100.1"},
    {"null.example", DNS_MX, "0 "},
    {"null.example", DNS_TXT, "v=spf1 ip4:192.0.2.25 -all"},
    {"nomail.example", DNS_TXT, "v=spf1 ip4:192.0.2.25 -all"},
    {"nospf.example", DNS_MX, "10 mx.big.example"},
    {"fail.example", DNS_MX, "10 mail.good.example"},
    {"fail.example", DNS_TXT, "v=spf1 -all"},
    {"macro.example", DNS_MX, "10 mail.good.example"},
    {"macro.example", DNS_TXT, "v=spf1 exists:%{i}.x.example -all"},
    {"spfdown.example", DNS_MX, "10 mail.good.example"},
    {"spfdown.example", DNS_TXT, "!"},
    {"mxdown.example", DNS_MX, "!"},
    {"mxdown.example", DNS_TXT, "v=spf1 ip4:192.0.2.25 -all"},
    {"alias.example", DNS_A, "192.0.2.25"},
    {"other.example", DNS_A, "192.0.2.99"},
    {"helodown.example", DNS_A, "!"},
    /* others */
    {"30.2.0.192.in-addr.arpa", DNS_PTR, "192-0-2-30.pool.isp.example"},
    {"192-0-2-30.pool.isp.example", DNS_A, "192.0.2.30"},
    {"31.2.0.192.in-addr.arpa", DNS_PTR, "mail.wrong.example"},
    {"mail.wrong.example", DNS_A, "192.0.2.99"},
    {"32.2.0.192.in-addr.arpa", DNS_PTR, "mail.gone.example"},
    {"33.2.0.192.in-addr.arpa", DNS_PTR, "!"},
    {"34.2.0.192.in-addr.arpa", DNS_PTR, "mail.down.example"},
    {"mail.down.example", DNS_A, "!"},
    {"35.2.0.192.in-addr.arpa", DNS_PTR, "192-0-2-35.pool.isp.example"},
    {"35.2.0.192.in-addr.arpa", DNS_PTR, "mail.second.example"},
    {"mail.second.example", DNS_A, "192.0.2.35"},
    {"net.example", DNS_A, "192.0.2.42"},
    {"42.2.0.192.in-addr.arpa", DNS_PTR, "net.example"},
    {NULL, 0, NULL},
};

static const struct {
	const char *prefix, *helo, *domain;
	enum evidence_verdict overall, item[EVIDENCE_ITEMS];
	const char *words;
} cases[] = {
    {"192.0.2.25", "", "", G, {G, G, G, N, N, N}, "good: ptr: 192.0.2.25 is mail.good.example"},
    {"192.0.2.25", "mail.good.example", "good.example", G, {G, G, G, G, G, G}, "good"},
    {"192.0.2.25", "MAIL.Good.Example.", "Good.Example", G, {G, G, G, G, G, G}, "good"},
    {"2001:db8::25", "mail.good.example", "good.example", G, {G, G, G, G, G, G}, "good"},
    {"192.0.2.25", "", "elsewhere.example", G, {G, G, G, N, G, G}, "good"},
    {"192.0.2.25", "", "plain.example", G, {G, G, G, N, G, G}, "good"},
    {"192.0.2.25", "", "plainaway.example", W, {G, G, G, N, W, W}, "weak: mx"},
    {"192.0.2.25", "", "null.example", B, {G, G, G, N, B, G}, "null MX"},
    {"192.0.2.25", "", "nomail.example", B, {G, G, G, N, B, G}, "takes no mail"},
    {"192.0.2.25", "", "nowhere.example", B, {G, G, G, N, B, W}, "there is no domain"},
    {"192.0.2.25", "", "nospf.example", W, {G, G, G, N, W, W}, "mx.big.example"},
    {"192.0.2.25", "", "fail.example", B, {G, G, G, N, G, B}, "does not allow 192.0.2.25"},
    {"192.0.2.25", "", "macro.example", W, {G, G, G, N, G, W}, "not evaluated: exists:"},
    {"192.0.2.25", "", "spfdown.example", U, {G, G, G, N, G, U}, "unknown: spf"},
    {"192.0.2.25", "", "mxdown.example", U, {G, G, G, N, U, G}, "unknown: mx"},
    {"192.0.2.25", "", "no domain", B, {G, G, G, N, B, N}, "is no domain name"},
    {"192.0.2.25", "alias.example", "", W, {G, G, G, W, N, N}, "whose name is mail.good.example"},
    {"192.0.2.25", "other.example", "", B, {G, G, G, B, N, N}, "does not lead to 192.0.2.25"},
    {"192.0.2.25", "helodown.example", "", U, {G, G, G, U, N, N}, "cannot be looked up"},
    {"192.0.2.25", "localhost", "", B, {G, G, G, B, N, N}, "RFC 5321"},
    {"192.0.2.25", "[192.0.2.25]", "", B, {G, G, G, B, N, N}, "no host name"},
    {"192.0.2.30", "", "", B, {G, B, G, N, N, N}, "made from the address"},
    {"192.0.2.31", "", "", B, {G, G, B, N, N, N}, "does not lead back to 192.0.2.31"},
    {"192.0.2.32", "", "", B, {G, G, B, N, N, N}, "does not lead back"},
    {"192.0.2.33",
     "",
     "",
     U,
     {U, N, N, N, N, N},
     "PTR of 192.0.2.33 cannot be looked up now: SERVFAIL"},
    {"192.0.2.33", "alias.example", "", B, {U, N, N, B, N, N}, "alias.example does not lead"},
    {"192.0.2.34", "", "", U, {G, G, U, N, N, N}, "cannot be looked up"},
    {"192.0.2.35", "", "", G, {G, G, G, N, N, N}, "and 1 more"},
    {"192.0.2.36", "", "", B, {B, N, N, N, N, N}, "has no name"},
    {"192.0.2.36", "mail.good.example", "", B, {B, N, N, B, N, N}, "has no name"},
    {"192.0.2.40/29", "", "", W, {W, N, N, N, N, N}, "more than one address"},
    {"192.0.2.40/29", "net.example", "", G, {G, G, G, G, N, N}, "192.0.2.42 is net.example"},
    {"192.0.2.40/29",
     "mail.good.example",
     "",
     B,
     {N, N, N, B, N, N},
     "no address in 192.0.2.40/29"},
    {"192.0.2.40/29", "helodown.example", "", U, {N, N, N, U, N, N}, "cannot be looked up"},
};

static void test_verdicts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_facts *f = dns_facts_new(NULL);
		struct evidence_subject s = {.prefix = kit_prefix(cases[i].prefix),
					     .helo = cases[i].helo,
					     .domain = cases[i].domain};
		struct evidence e;
		char words[400];
		int rounds = 0;
		while (!evidence_judge(&s, f, &e)) {
			assert_true(zone_fill(f, zone));
			assert_true(++rounds < 12);
		}
		for (int k = 0; k < EVIDENCE_ITEMS; k++)
			if (e.item[k].verdict != cases[i].item[k])
				fail_msg("case %zu, %s: %s is %s, want %s (%s)", i, cases[i].prefix,
					 evidence_item_word((enum evidence_item)k),
					 evidence_word(e.item[k].verdict),
					 evidence_word(cases[i].item[k]), e.item[k].words);
		evidence_summary(&e, words, sizeof words);
		if (e.overall != cases[i].overall || !strstr(words, cases[i].words))
			fail_msg("case %zu, %s: \"%s\" lacks \"%s\"", i, cases[i].prefix, words,
				 cases[i].words);
		json_t *j = evidence_json(&e);
		assert_true(json_array_size(j) >= 1);
		json_decref(j);
		talloc_free(f);
	}
}

static void test_words(void **state)
{
	(void)state;
	assert_int_equal(evidence_parse("bad"), B);
	assert_int_equal(evidence_parse("good"), G);
	assert_int_equal(evidence_parse(""), N);
	assert_int_equal(evidence_parse("x"), N);
}

/* --- answers from the wire --- */

static const uint8_t mx_answer[] = {
    0,	  1,   0x81, 0x80, 0,	 1,  0,	  3,   0,   0,	 0,   0, /* header: 1 question, 3 answers */
    4,	  'G', 'o',  'o',  'd',	 7,  'e', 'x', 'a', 'm', 'p', 'l', 'e', 0,   0,	   15,	0,
    1,										       /* at 12 */
    0xc0, 12,  0,    5,	   0,	 1,  0,	  0,   0,   9,	 0,   4,   1,	'x', 0xc0, 12, /* CNAME:
											  passed
											  over */
    0xc0, 12,  0,    15,   0,	 1,  0,	  0,   0,   9,	 0,   9,   0,	10,  4,	   'M', 'a',
    'i',  'l', 0xc0, 12,   0xc0, 12, 0,	  15,  0,   1,	 0,   0,   0,	9,   0,	   3,	0,
    20,	  0, /* the root: null MX */
};

static void test_parse(void **state)
{
	struct dns_answer a;
	void *ctx = talloc_new(NULL);
	(void)state;
	assert_true(dns_answer_parse(ctx, mx_answer, sizeof mx_answer, DNS_MX, &a));
	assert_int_equal(a.status, DNS_FOUND);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.rr[0].pref, 10);
	assert_string_equal(a.rr[0].text, "mail.good.example");
	assert_string_equal(a.rr[1].text, "");
	assert_string_equal(a.owner, "good.example");
	assert_true(dns_answer_parse(ctx, mx_answer, sizeof mx_answer, DNS_CNAME, &a));
	assert_string_equal(a.rr[0].text, "x.good.example");
	assert_true(dns_answer_parse(ctx, mx_answer, sizeof mx_answer, DNS_A, &a));
	assert_int_equal(a.status, DNS_NODATA);
	assert_null(a.owner);
	/* every cut is seen */
	for (size_t n = 0; n < sizeof mx_answer; n++) {
		assert_false(dns_answer_parse(ctx, mx_answer, n, DNS_MX, &a));
		assert_int_equal(a.status, DNS_TROUBLE);
	}
	uint8_t loop[sizeof mx_answer];
	memcpy(loop, mx_answer, sizeof loop);
	loop[sizeof mx_answer - 13 - 2] = 0; /* not a response to lose */
	memcpy(loop, mx_answer, sizeof loop);
	loop[31] = 30; /* the first answer's name points to itself */
	assert_false(dns_answer_parse(ctx, loop, sizeof loop, DNS_MX, &a));
	memcpy(loop, mx_answer, sizeof loop);
	loop[3] = 0x83; /* NXDOMAIN, with an alias only */
	loop[7] = 1;
	assert_true(dns_answer_parse(ctx, loop, sizeof loop, DNS_MX, &a));
	assert_int_equal(a.status, DNS_NXDOMAIN);
	loop[3] = 0x82;
	assert_true(dns_answer_parse(ctx, loop, sizeof loop, DNS_MX, &a));
	assert_int_equal(a.status, DNS_TROUBLE);
	assert_string_equal(a.why, "SERVFAIL");
	talloc_free(ctx);
}

static const uint8_t alias_answer[] = {
    0,	  1,   0x81, 0x80, 0,	1, 0, 2, 0, 0, 0, 0, /* header: 1 question, 2 answers */
    1,	  'A', 2,    'x',  'y', 0, 0, 1, 0, 1,	     /* at 12: a.xy A */
    0xc0, 12,  0,    5,	   0,	1, 0, 0, 0, 9, 0, 4, 1,	  'B', 0xc0, 14, /* an alias; at 34: b.xy */
    0xc0, 34,  0,    1,	   0,	1, 0, 0, 0, 9, 0, 4, 192, 0,   2,    1,
};

static void test_parse_alias(void **state)
{
	struct dns_answer a;
	void *ctx = talloc_new(NULL);

	(void)state;
	assert_true(dns_answer_parse(ctx, alias_answer, sizeof alias_answer, DNS_A, &a));
	assert_int_equal(a.n, 1);
	assert_string_equal(a.owner, "b.xy");
	assert_true(dns_answer_parse(ctx, alias_answer, sizeof alias_answer, DNS_CNAME, &a));
	assert_string_equal(a.owner, "a.xy");
	assert_string_equal(a.rr[0].text, "b.xy");
	talloc_free(ctx);
}

static const uint8_t txt_answer[] = {
    0, 1, 0x81, 0x80, 0, 0, 0, 1, 0,   0,   0,	 0, 0,	 0,   16, 0,
    1, 0, 0,	0,    9, 0, 9, 3, 'v', '=', 's', 4, 'p', 'f', 1,  '1',
};

static void test_parse_text(void **state)
{
	struct dns_answer a;
	void *ctx = talloc_new(NULL);
	uint8_t bad[sizeof txt_answer];
	(void)state;
	assert_true(dns_answer_parse(ctx, txt_answer, sizeof txt_answer, DNS_TXT, &a));
	assert_int_equal(a.n, 1);
	assert_string_equal(a.rr[0].text, "v=spf?1"); /* its strings as one, nothing that acts */
	memcpy(bad, txt_answer, sizeof bad);
	bad[27] = 9; /* a string longer than its record */
	assert_false(dns_answer_parse(ctx, bad, sizeof bad, DNS_TXT, &a));
	talloc_free(ctx);
}

static void test_names(void **state)
{
	char out[DNS_NAME_MAX];
	struct addr a = kit_addr("192.0.2.25"), b = kit_addr("2001:db8::25");
	(void)state;
	assert_true(dns_name("Mail.Example.", out));
	assert_string_equal(out, "mail.example");
	assert_true(dns_name("_spf.example", out));
	assert_false(dns_name("", out));
	assert_false(dns_name(".", out));
	assert_false(dns_name("a..b", out));
	assert_false(dns_name(".a", out));
	assert_false(dns_name("a b", out));
	assert_false(dns_name("\xc3\xa9.example", out));
	char lng[300];
	memset(lng, 'a', sizeof lng);
	lng[64] = '\0';
	assert_false(dns_name(lng, out));
	lng[63] = '\0';
	assert_true(dns_name(lng, out));
	assert_string_equal(dns_reverse_name(&a, out), "25.2.0.192.in-addr.arpa");
	assert_string_equal(
	    dns_reverse_name(&b, out),
	    "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_generic),	cmocka_unit_test(test_verdicts),
	    cmocka_unit_test(test_words),	cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_parse_alias), cmocka_unit_test(test_parse_text),
	    cmocka_unit_test(test_names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
