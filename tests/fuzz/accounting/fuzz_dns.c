/*
 * fuzz_dns: any bytes as the answer to every question of a judgement. The parser stays inside its
 * input, the verdict comes within its bounds of questions.
 */
#include <stdint.h>
#include <string.h>

#include <talloc.h>

#include "lib/proc.h"
#include "accounting/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char ours[] = "25.2.0.192.in-addr.arpa";
	struct evidence_subject s = {.helo = "mail.c.example", .domain = "c.example"};
	struct dns_facts *f = dns_facts_new(NULL);
	struct dns_need needs[DNS_NEEDS_MAX];
	struct evidence e;
	char err[128];
	int rounds = 0;
	bug_on(!prefix_parse("192.0.2.25", &s.prefix, err));
	while (!evidence_judge(&s, f, &e)) {
		size_t n = dns_facts_needs(f, needs);
		bug_on(n == 0 || ++rounds > DNS_FACTS_MAX);
		for (size_t i = 0; i < n; i++) {
			struct dns_answer a;
			bool ok = dns_answer_parse(f, data, size, needs[i].type, &a);
			bug_on(!ok && a.status != DNS_TROUBLE);
			bug_on(a.n > DNS_RR_MAX);
			for (size_t k = 0; k < a.n; k++)
				bug_on(a.rr[k].text && strlen(a.rr[k].text) >= DNS_TEXT_MAX);
			dns_fact_put(f, needs[i].type, needs[i].name, &a);
		}
	}
	json_t *j = evidence_json(&e);
	bug_on(!j);
	json_decref(j);
	talloc_free(f);
	/* As the SPF record and as the name of a line. */
	char text[512];
	struct dns_rr one = {.text = text};
	size_t n = size < sizeof text - 1 ? size : sizeof text - 1;
	for (size_t i = 0; i < n; i++)
		text[i] = data[i] >= 0x20 && data[i] < 0x7f ? (char)data[i] : ' ';
	text[n] = '\0';
	f = dns_facts_new(NULL);
	for (rounds = 0; !evidence_judge(&s, f, &e); rounds++) {
		bug_on(rounds > DNS_FACTS_MAX);
		n = dns_facts_needs(f, needs);
		for (size_t i = 0; i < n; i++) {
			struct dns_answer a = {.status = DNS_NODATA};
			if (needs[i].type == DNS_TXT || strcmp(needs[i].name, ours) == 0)
				a = (struct dns_answer){.status = DNS_FOUND, .n = 1, .rr = &one};
			dns_fact_put(f, needs[i].type, needs[i].name, &a);
		}
	}
	talloc_free(f);
	return 0;
}
