/*
 * evidence - does the DNS speak for a line as a mail server's? Facts in, a verdict in words out.
 * Pure.
 *
 * Items: PTR (there is a name), generic (the name is not one a pool gives everybody), forward (it
 * leads back to the address), HELO (the stated name is the PTR's), MX and SPF of the stated mail
 * domain. The whole is as its worst item: bad before unknown before weak before good. Trouble of
 * the DNS is unknown, never bad; what the operator has not stated is not judged.
 */
#ifndef ACCOUNTING_EVIDENCE_H
#define ACCOUNTING_EVIDENCE_H

#include <jansson.h>

#include "accounting/dns_answer.h"

enum evidence_verdict {
	EVIDENCE_NONE, /* not judged */
	EVIDENCE_GOOD,
	EVIDENCE_WEAK,
	EVIDENCE_UNKNOWN,
	EVIDENCE_BAD,
};

enum evidence_item {
	ITEM_PTR,
	ITEM_GENERIC,
	ITEM_FORWARD,
	ITEM_HELO,
	ITEM_MX,
	ITEM_SPF,
	EVIDENCE_ITEMS
};

struct evidence_subject {
	struct prefix prefix;
	const char *helo, *domain; /* "" or NULL: not stated */
};

struct evidence {
	enum evidence_verdict overall;
	struct {
		enum evidence_verdict verdict;
		char words[320];
	} item[EVIDENCE_ITEMS];
};

/*
 * False: the facts have needs first (dns_facts_needs()); ask, put the answers in, and judge again.
 * A prefix of more than one address is judged by the address its HELO name has in it.
 */
bool evidence_judge(const struct evidence_subject *s, struct dns_facts *f, struct evidence *out);

const char *evidence_word(enum evidence_verdict v);	/* "good"; "" for NONE */
enum evidence_verdict evidence_parse(const char *word); /* NONE when it is no such word */
const char *evidence_item_word(enum evidence_item i);	/* "ptr" */
/* [{"item","verdict","words"}], of the judged items. */
json_t *evidence_json(const struct evidence *e);
/* The words of the worst item: "bad: PTR: there is no name for 192.0.2.1". Returns buf. */
const char *evidence_summary(const struct evidence *e, char *buf, size_t n);

/*
 * Is a host name one that is made from the address, or given to every line of a pool? BAD: it holds
 * the address, or says dynamic. WEAK: words of access lines. GOOD: none of it. why gets the words.
 */
enum evidence_verdict evidence_generic(const char *name, const struct addr *a, char *why, size_t n);

#endif
