/*
 * tls_counts - see tls_counts.h.
 *
 * Trusted with: <state_dir>/msa/tlsrpt. Diagnostics: a log line tlsrpt-unwritten, once a day. Known
 * gaps: a TLSA policy or one of MTA-STS that is longer than 430 octets is reported in part.
 */
#include <errno.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/tls_counts.h"
#include "msa/tlsrpt/report.h"

#define ASKING_MAX                                                                                 \
	200 /* questions at once; who is not asked about now is with the next session              \
	     */

struct tls_counts {
	char *folder;
	char day[TLSRPT_DAY_LEN];
	struct tlsrpt_counts *counts; /* NULL: cannot be opened */
	bool ask, said;
	unsigned asking;
	struct dns *(*dns)(struct relay *r);
	struct relay *r;
};

struct question {
	struct tls_counts *t;
	char day[TLSRPT_DAY_LEN], domain[DNS_NAME_MAX];
};

struct tls_counts *tls_counts_new(void *ctx, const char *folder, bool ask,
				  struct dns *(*dns)(struct relay *r), struct relay *r)
{
	struct tls_counts *t = talloc_zero(ctx, struct tls_counts);

	if (!t)
		fatal("out of memory");
	t->folder = talloc_asprintf(t, "%s/tlsrpt", folder);
	if (!t->folder)
		fatal("out of memory");
	t->ask = ask;
	t->dns = dns;
	t->r = r;
	return t;
}

void tls_counts_end(struct tls_counts *t)
{
	tlsrpt_close(t->counts);
	t->counts = NULL;
}

static void say(struct tls_counts *t)
{
	if (!t->said)
		log_event(LOG_ERR, "-", "relay", "tlsrpt-unwritten", LS("folder", t->folder),
			  LS("why", strerror(errno)), LS("action", "mail is not affected"));
	t->said = true;
}

/* The file of today. */
static struct tlsrpt_counts *today(struct tls_counts *t)
{
	char day[TLSRPT_DAY_LEN];

	if (strcmp(tlsrpt_day(clock_utc_ms(), day), t->day) == 0)
		return t->counts;
	memcpy(t->day, day, sizeof(t->day));
	tlsrpt_close(t->counts);
	t->said = false;
	t->counts = tlsrpt_open(t, t->folder, day, true);
	if (!t->counts)
		say(t);
	return t->counts;
}

/* --- who wants reports ------------------------------------------------------------------------ */

/* RFC 8460 3: more than one record is none. */
static void on_record(const struct dns_answer *a, void *arg)
{
	struct question *q = arg;
	struct tls_counts *t = q->t;
	char rua[TLSRPT_RUA_MAX], it[TLSRPT_RUA_MAX] = "";
	unsigned n = 0;

	t->asking--;
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++)
		if (tlsrpt_record(a->rr[i].text, rua) && ++n == 1)
			memcpy(it, rua, sizeof(it));
	if (a->status != DNS_TROUBLE && strcmp(q->day, t->day) == 0 && t->counts &&
	    !tlsrpt_set_rua(t->counts, q->domain, n == 1 ? it : ""))
		say(t);
	talloc_free(q);
}

static void ask(struct tls_counts *t, const char *domain)
{
	char name[DNS_NAME_MAX + 16], asked[DNS_NAME_MAX];
	struct dns *dns = t->dns(t->r);

	snprintf(name, sizeof(name), "_smtp._tls.%s", domain);
	if (!dns || t->asking >= ASKING_MAX || !dns_name(name, asked))
		return;
	struct question *q = talloc_zero(t, struct question);
	if (!q)
		fatal("out of memory");
	q->t = t;
	memcpy(q->day, t->day, sizeof(q->day));
	snprintf(q->domain, sizeof(q->domain), "%s", domain);
	/* Asked about once: the answer takes this row's place. */
	(void)tlsrpt_set_rua(t->counts, domain, "");
	t->asking++;
	dns_ask(dns, q, DNS_TXT, asked, on_record, q);
}

/* --- what it was held to ---------------------------------------------------------------------- */

static size_t add(char *buf, size_t cap, size_t at, const char *text)
{
	if (at < cap)
		at += (size_t)snprintf(buf + at, cap - at, "%s", text);
	return at < cap ? at : cap;
}

static void tlsa_text(const struct mx_host *h, char *buf, size_t cap)
{
	char two[8];
	size_t at = 0;

	for (size_t i = 0; i < h->n_tlsa; i++) {
		const struct mx_tlsa *r = &h->tlsa[i];
		char head[24];
		snprintf(head, sizeof(head), "%s%u %u %u ", i ? "\n" : "", r->usage, r->selector,
			 r->matching);
		at = add(buf, cap, at, head);
		for (size_t k = 0; k < r->len; k++) {
			snprintf(two, sizeof(two), "%02X", r->data[k]);
			at = add(buf, cap, at, two);
		}
	}
}

static void sts_text(const struct sts_policy *p, char *buf, size_t cap)
{
	static const char *const modes[] = {"none", "testing", "enforce"};
	char line[DNS_NAME_MAX + 32];
	size_t at = add(buf, cap, 0, "version: STSv1\nmode: ");

	at = add(buf, cap, at, modes[p->mode]);
	for (size_t i = 0; i < p->n_mx; i++) {
		snprintf(line, sizeof(line), "\nmx: %s", p->mx[i]);
		at = add(buf, cap, at, line);
	}
	snprintf(line, sizeof(line), "\nmax_age: %lld", (long long)p->max_age_s);
	add(buf, cap, at, line);
}

static void describe(const struct tls_policy *p, struct tlsrpt_session *s, char *text, size_t cap)
{
	text[0] = '\0';
	s->domain = s->policy_domain = p->domain;
	s->policy = TLSRPT_NO_POLICY;
	if (p->host && p->host->dane) {
		s->policy = TLSRPT_TLSA;
		s->policy_domain = p->host->base[0] ? p->host->base : p->host->name;
		tlsa_text(p->host, text, cap);
	} else if (p->sts && p->sts->mode != STS_NONE) {
		s->policy = TLSRPT_STS;
		sts_text(p->sts, text, cap);
	}
	s->policy_text = text;
}

/* --- counting --------------------------------------------------------------------------------- */

static void count(struct tls_counts *t, const struct tlsrpt_session *s)
{
	struct tlsrpt_counts *c = today(t);

	if (!c)
		return;
	if (t->ask && !tlsrpt_knows(c, s->domain))
		ask(t, s->domain);
	if (!tlsrpt_count(c, s))
		say(t);
}

/* A session that came up is still a failure when the policy wanted another. */
static void judge(const struct tls_policy *p, struct tlsrpt_session *s)
{
	if (s->result != TLSRPT_OK)
		return;
	if (p->host && p->host->dane && !p->host->n_tlsa) {
		s->result = TLSRPT_TLSA_INVALID;
		s->reason = "none of the TLSA records can be used";
	} else if (s->policy == TLSRPT_STS && p->host && !sts_allows(p->sts, p->host->name)) {
		s->result = TLSRPT_VALIDATION_FAILURE;
		s->reason = "the policy does not name this server";
	}
}

void tls_count(struct tls_counts *t, const struct tls_policy *p, enum tlsrpt_result result,
	       const struct addr *to, const struct addr *from, const char *reason)
{
	char text[2 * TLSRPT_TEXT_MAX];
	struct tlsrpt_session s = {.result = result,
				   .mx = p->host ? p->host->name : "",
				   .from = from,
				   .to = to,
				   .reason = reason};

	describe(p, &s, text, sizeof(text));
	judge(p, &s);
	count(t, &s);
}

void tls_count_unfetched(struct tls_counts *t, const char *domain, enum tlsrpt_result result,
			 const char *reason)
{
	struct tlsrpt_session s = {.domain = domain,
				   .policy = TLSRPT_STS,
				   .policy_domain = domain,
				   .policy_text = "",
				   .result = result,
				   .mx = "",
				   .reason = reason};

	count(t, &s);
}

enum tlsrpt_result tls_count_result(int x509_error)
{
	switch (x509_error) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return TLSRPT_HOST_MISMATCH;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLSRPT_EXPIRED;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
	case X509_V_ERR_CERT_REVOKED:
	case X509_V_ERR_INVALID_CA:
		return TLSRPT_NOT_TRUSTED;
	default:
		return TLSRPT_VALIDATION_FAILURE;
	}
}
