/*
 * lookup - see lookup.h.
 *
 * Purpose: carry answers from accounting/dns to msa/route/mx. Trusted with: nothing. Diagnostics:
 * words of the list. Known gaps: none.
 */
#include <talloc.h>

#include "lib/proc.h"

#include "msa/relay/lookup.h"

struct lookup {
	struct dns *dns;
	struct mx_ask ask;
	struct dns_facts *facts;
	struct mx_list *list;
	lookup_cb *cb; /* NULL: cancelled, or done */
	void *arg;
	unsigned pending;
	bool stepping, again;
};

struct question {
	struct lookup *l;
	struct dns_need need;
};

static void step(struct lookup *l);

static void on_fact(const struct dns_answer *a, void *arg)
{
	struct question *q = arg;
	struct lookup *l = q->l;

	dns_fact_put(l->facts, q->need.type, q->need.name, a);
	talloc_free(q);
	l->pending--;
	if (l->stepping)
		l->again = true;
	else if (l->pending == 0)
		step(l);
}

static void ask(struct lookup *l)
{
	struct dns_need needs[DNS_NEEDS_MAX];
	size_t n = dns_facts_needs(l->facts, needs);

	l->pending += (unsigned)n;
	for (size_t i = 0; i < n; i++) {
		struct question *q = talloc(l, struct question);
		if (!q)
			fatal("out of memory");
		*q = (struct question){l, needs[i]};
		dns_ask(l->dns, l->facts, needs[i].type, needs[i].name, on_fact, q);
	}
}

/* Frees l when it is through. */
static void step(struct lookup *l)
{
	l->stepping = true;
	do {
		l->again = false;
		if (!l->cb)
			break;
		mx_judge(l->list, &l->ask, l->facts, l->list);
		if (l->list->result != MX_WAIT)
			break;
		ask(l);
	} while (l->again && l->pending == 0);
	l->stepping = false;
	if (l->pending)
		return;
	if (l->cb) {
		lookup_cb *cb = l->cb;
		l->cb = NULL;
		cb(talloc_steal(NULL, l->list), l->arg);
	}
	talloc_free(l);
}

struct lookup *lookup_start(struct dns *dns, const struct mx_ask *a, lookup_cb *cb, void *arg)
{
	struct lookup *l = talloc_zero(NULL, struct lookup);

	if (!l)
		fatal("out of memory");
	l->dns = dns;
	l->ask = *a;
	l->facts = dns_facts_new(l);
	l->list = talloc_zero(l, struct mx_list);
	if (!l->facts || !l->list)
		fatal("out of memory");
	l->cb = cb;
	l->arg = arg;
	l->pending = 1; /* ours, so that l lives to the end of this */
	l->stepping = true;
	mx_judge(l->list, &l->ask, l->facts, l->list);
	if (l->list->result == MX_WAIT)
		ask(l);
	l->stepping = false;
	l->pending--;
	if (l->pending)
		return l;
	step(l);
	return NULL;
}

void lookup_cancel(struct lookup *l)
{
	if (l)
		l->cb = NULL; /* the answers that are under way free it */
}
