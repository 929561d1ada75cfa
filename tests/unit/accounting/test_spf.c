/* spf: RFC 7208 over facts: mechanisms, qualifiers, redirect and include, every limit, and what is
 * not evaluated. */
#include "kit.h"

#include "accounting/spf.h"
#include "zone.h"

#define TXT(name, text)                                                                            \
	{                                                                                          \
		name, DNS_TXT, text                                                                \
	}

static const struct record zone[] = {
    TXT("ip4.example", "v=spf1 ip4:192.0.2.0/24 -all"),
    TXT("ip4host.example", "v=spf1 ip4:192.0.2.7 ~all"),
    TXT("ip6.example", "v=spf1 ip6:2001:db8:1::/48 -all"),
    TXT("upper.example", "V=SPF1 IP4:192.0.2.7 -ALL"),
    TXT("a.example", "v=spf1 a -all"),
    {"a.example", DNS_A, "192.0.2.7"},
    {"a.example", DNS_AAAA, "2001:db8:1::7"},
    TXT("a24.example", "v=spf1 a:a.example/24 -all"),
    TXT("a2464.example", "v=spf1 a:a.example/24//64 -all"),
    TXT("a64.example", "v=spf1 a:a.example//64 -all"),
    TXT("mx.example", "v=spf1 mx -all"),
    {"mx.example", DNS_MX, "10 a.example"},
    {"mx.example", DNS_MX, "20 other.example"},
    {"other.example", DNS_A, "198.51.100.9"},
    TXT("inc.example", "v=spf1 include:ip4.example ?all"),
    TXT("redir.example", "v=spf1 redirect=ip4.example"),
    TXT("redirnone.example", "v=spf1 redirect=none.example"),
    TXT("none.example", "some other text"),
    TXT("two.example", "v=spf1 -all"),
    TXT("two.example", "v=spf1 +all"),
    TXT("bare.example", "v=spf1"),
    TXT("neutral.example", "v=spf1 ?all"),
    TXT("pass.example", "v=spf1 all"),
    TXT("spf10.example", "v=spf10 -all"),
    TXT("many.example",
	"v=spf1 a:n1.example a:a.example a:a.example a:a.example a:a.example "
	"a:a.example a:a.example a:a.example a:a.example a:a.example a:a.example -all"),
    TXT("ten.example", "v=spf1 a:other.example a:other.example a:other.example a:other.example "
		       "a:other.example a:other.example a:other.example a:other.example "
		       "a:other.example a:other.example ip4:192.0.2.7 -all"),
    TXT("eleven.example", "v=spf1 a:other.example a:other.example a:other.example a:other.example "
			  "a:other.example a:other.example a:other.example a:other.example "
			  "a:other.example a:other.example a:other.example ip4:192.0.2.7 -all"),
    TXT("void3.example", "v=spf1 a:x1.example a:x2.example a:x3.example ip4:192.0.2.7 -all"),
    TXT("void2.example", "v=spf1 a:x1.example a:x2.example ip4:192.0.2.7 -all"),
    TXT("loop.example", "v=spf1 include:loop.example -all"),
    TXT("incnone.example", "v=spf1 include:none.example -all"),
    TXT("bad.example", "v=spf1 ip4:192.0.2.0/33 -all"),
    TXT("badip.example", "v=spf1 ip4:2001:db8::1 -all"),
    TXT("unknown.example", "v=spf1 frobnicate:x -all"),
    TXT("modifier.example", "v=spf1 exp=why.example x-new=1 ip4:192.0.2.7 -all"),
    TXT("macro.example", "v=spf1 exists:%{i}.list.example -all"),
    TXT("macropass.example", "v=spf1 exists:%{i}.list.example ip4:192.0.2.7 -all"),
    TXT("ptr.example", "v=spf1 ptr -all"),
    TXT("trouble.example", "!"),
    TXT("atrouble.example", "v=spf1 a:down.example -all"),
    {"down.example", DNS_A, "!"},
    TXT("early.example", "v=spf1 ip4:192.0.2.7 a:down.example -all"),
    TXT("mx11.example", "v=spf1 mx -all"),
    {"mx11.example", DNS_MX, "1 h1.example"},
    {"mx11.example", DNS_MX, "1 h2.example"},
    {"mx11.example", DNS_MX, "1 h3.example"},
    {"mx11.example", DNS_MX, "1 h4.example"},
    {"mx11.example", DNS_MX, "1 h5.example"},
    {"mx11.example", DNS_MX, "1 h6.example"},
    {"mx11.example", DNS_MX, "1 h7.example"},
    {"mx11.example", DNS_MX, "1 h8.example"},
    {"mx11.example", DNS_MX, "1 h9.example"},
    {"mx11.example", DNS_MX, "1 h10.example"},
    {"mx11.example", DNS_MX, "1 h11.example"},
    TXT("emptydom.example", "v=spf1 a: -all"),
    TXT("include0.example", "v=spf1 include -all"),
    TXT("len0.example", "v=spf1 ip4:192.0.2.0/024 -all"),
    {NULL, 0, NULL},
};

static const struct {
	const char *domain, *addr;
	enum spf_result want;
	const char *words, *skipped;
} cases[] = {
    {"ip4.example", "192.0.2.7", SPF_PASS, "ip4:192.0.2.0/24 of ip4.example", ""},
    {"ip4.example", "192.0.3.7", SPF_FAIL, "-all", ""},
    {"ip4.example", "2001:db8:1::7", SPF_FAIL, "-all", ""},
    {"ip4host.example", "192.0.2.7", SPF_PASS, "", ""},
    {"ip4host.example", "192.0.2.8", SPF_SOFTFAIL, "~all", ""},
    {"ip6.example", "2001:db8:1:ff::7", SPF_PASS, "", ""},
    {"ip6.example", "2001:db8:2::7", SPF_FAIL, "", ""},
    {"upper.example", "192.0.2.7", SPF_PASS, "", ""},
    {"upper.example", "192.0.2.9", SPF_FAIL, "", ""},
    {"a.example", "192.0.2.7", SPF_PASS, "a of a.example", ""},
    {"a.example", "2001:db8:1::7", SPF_PASS, "", ""},
    {"a.example", "192.0.2.8", SPF_FAIL, "", ""},
    {"a24.example", "192.0.2.200", SPF_PASS, "", ""},
    {"a24.example", "2001:db8:1::8", SPF_FAIL, "", ""},
    {"a2464.example", "192.0.2.200", SPF_PASS, "", ""},
    {"a2464.example", "2001:db8:1::8", SPF_PASS, "", ""},
    {"a64.example", "2001:db8:1::8", SPF_PASS, "", ""},
    {"a64.example", "192.0.2.200", SPF_FAIL, "", ""},
    {"mx.example", "192.0.2.7", SPF_PASS, "mx of mx.example", ""},
    {"mx.example", "198.51.100.9", SPF_PASS, "", ""},
    {"mx.example", "198.51.100.10", SPF_FAIL, "", ""},
    {"inc.example", "192.0.2.7", SPF_PASS, "include:ip4.example", ""},
    {"inc.example", "192.0.3.7", SPF_NEUTRAL, "?all", ""},
    {"redir.example", "192.0.2.7", SPF_PASS, "", ""},
    {"redir.example", "192.0.3.7", SPF_FAIL, "", ""},
    {"redirnone.example", "192.0.2.7", SPF_PERMERROR, "none.example", ""},
    {"none.example", "192.0.2.7", SPF_NONE, "", ""},
    {"nowhere.example", "192.0.2.7", SPF_NONE, "", ""},
    {"two.example", "192.0.2.7", SPF_PERMERROR, "several", ""},
    {"bare.example", "192.0.2.7", SPF_NEUTRAL, "no term", ""},
    {"neutral.example", "192.0.2.7", SPF_NEUTRAL, "", ""},
    {"pass.example", "192.0.2.7", SPF_PASS, "", ""},
    {"spf10.example", "192.0.2.7", SPF_NONE, "", ""},
    {"ten.example", "192.0.2.7", SPF_PASS, "", ""},
    {"eleven.example", "192.0.2.7", SPF_PERMERROR, "ten look-ups", ""},
    {"many.example", "198.51.100.77", SPF_PERMERROR, "ten look-ups", ""},
    {"void2.example", "192.0.2.7", SPF_PASS, "", ""},
    {"void3.example", "192.0.2.7", SPF_PERMERROR, "do not exist", ""},
    {"loop.example", "192.0.2.7", SPF_PERMERROR, "ten look-ups", ""},
    {"incnone.example", "192.0.2.7", SPF_PERMERROR, "without an SPF record", ""},
    {"bad.example", "192.0.2.7", SPF_PERMERROR, "wrong", ""},
    {"badip.example", "192.0.2.7", SPF_PERMERROR, "wrong", ""},
    {"unknown.example", "192.0.2.7", SPF_PERMERROR, "frobnicate", ""},
    {"modifier.example", "192.0.2.7", SPF_PASS, "", ""},
    {"macro.example", "192.0.2.7", SPF_FAIL, "-all", "exists:%{i}.list.example"},
    {"macropass.example", "192.0.2.7", SPF_PASS, "ip4", "exists:%{i}.list.example"},
    {"ptr.example", "192.0.2.7", SPF_FAIL, "", "ptr"},
    {"trouble.example", "192.0.2.7", SPF_TEMPERROR, "SERVFAIL", ""},
    {"atrouble.example", "192.0.2.7", SPF_TEMPERROR, "down.example", ""},
    {"early.example", "192.0.2.7", SPF_PASS, "", ""},
    {"mx11.example", "192.0.2.7", SPF_PERMERROR, "ten MX", ""},
    {"emptydom.example", "192.0.2.7", SPF_PERMERROR, "wrong", ""},
    {"include0.example", "192.0.2.7", SPF_PERMERROR, "include", ""},
    {"len0.example", "192.0.2.7", SPF_PERMERROR, "wrong", ""},
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dns_facts *f = dns_facts_new(NULL);
		struct addr a = kit_addr(cases[i].addr);
		struct spf r;
		int rounds = 0;
		do {
			spf_check(f, &a, cases[i].domain, &r);
			assert_true(++rounds < 30);
		} while (zone_fill(f, zone) && r.result == SPF_PENDING);
		if (r.result != cases[i].want || !strstr(r.why, cases[i].words) ||
		    strcmp(r.skipped, cases[i].skipped) != 0)
			fail_msg("%s for %s: %s, want %s (\"%s\", skipped \"%s\")", cases[i].domain,
				 cases[i].addr, spf_word(r.result), spf_word(cases[i].want), r.why,
				 r.skipped);
		talloc_free(f);
	}
}

/* A record that asks for ever is cut off by its limits, not by us. */
static void test_bounded(void **state)
{
	struct dns_facts *f = dns_facts_new(NULL);
	struct addr a = kit_addr("192.0.2.7");
	struct spf r;
	(void)state;
	zone_questions = 0;
	do
		spf_check(f, &a, "loop.example", &r);
	while (zone_fill(f, zone));
	assert_int_equal(zone_questions, 1);
	talloc_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),
					   cmocka_unit_test(test_bounded)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
