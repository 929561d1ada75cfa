/*
 * sts_cache - see sts_cache.h.
 *
 * Purpose: RFC 8461 5.1: a policy that was seen holds until it is too old, whatever is missing
 * today; a record with a new id, or one for a domain without a policy, leads to a fetch. Trusted
 * with: <state_dir>/msa/sts, one file a domain. Diagnostics: log lines sts-policy, sts-unfetched.
 * Known gaps: a policy that nobody's mail asks for is not fetched again before it runs out.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/sts_cache.h"
#include "msa/route/https.h"

#define LOOK_MS	  300000 /* between two looks at the record */
#define HASH	  1024
#define ADDRS_MAX 8
#define KNOWN_MAX 20000 /* domains in memory; then everything is forgotten, files are not */

struct waiter {
	void (*cb)(struct sts_policy *policy, void *arg);
	void *arg;
	struct waiter *next;
};

/* talloc'd under the cache. */
struct known {
	struct sts_cache *c;
	char domain[DNS_NAME_MAX];
	char *text; /* of the policy that holds; NULL none */
	size_t len;
	char id[STS_ID_MAX + 1], coming[STS_ID_MAX + 1];
	int64_t until_ms;  /* UTC */
	int64_t looked_ms; /* CLOCK_MONOTONIC; 0 never */
	bool busy;
	struct addr addrs[ADDRS_MAX];
	size_t n_addrs;
	unsigned pending;
	struct waiter *waiters;
	struct known *next;
};

struct sts_cache {
	struct event_base *base;
	struct https *https;
	struct dns *(*dns)(struct relay *r);
	void (*unfetched)(struct relay *r, const char *domain, enum tlsrpt_result result,
			  const char *why);
	struct relay *r;
	char *folder, *ca;
	struct known *hash[HASH];
	size_t n, n_busy;
};

/* --- files: "ID UNTIL\n" and the policy ------------------------------------------------------- */

static char *file_of(struct known *k)
{
	char *p = talloc_asprintf(k, "%s/%s", k->c->folder, k->domain);

	if (!p)
		fatal("out of memory");
	return p;
}

static void set_text(struct known *k, const char *text, size_t len)
{
	talloc_free(k->text);
	k->text = talloc_memdup(k, text, len + 1);
	k->len = len;
	if (!k->text)
		fatal("out of memory");
}

static void load(struct known *k)
{
	char *file = file_of(k), *text, *end;
	size_t len;

	text = proc_read_file(file, STS_POLICY_MAX + 128, &len);
	talloc_free(file);
	if (!text)
		return;
	size_t n = strcspn(text, " ");
	if (n && n <= STS_ID_MAX && text[n] == ' ') {
		k->until_ms = strtoll(text + n + 1, &end, 10);
		if (*end == '\n') {
			memcpy(k->id, text, n);
			k->id[n] = '\0';
			set_text(k, end + 1, len - (size_t)(end + 1 - text));
		}
	}
	free(text);
}

static void save(struct known *k)
{
	char *file = file_of(k);
	char *text =
	    talloc_asprintf(k, "%s %" PRId64 "\n%.*s", k->id, k->until_ms, (int)k->len, k->text);

	if (!text)
		fatal("out of memory");
	if (!proc_write_file(file, text, strlen(text), 0600))
		log_event(LOG_ERR, "-", "relay", "sts-unwritten", LS("file", file),
			  LS("why", strerror(errno)));
	talloc_free(text);
	talloc_free(file);
}

/* --- answers ---------------------------------------------------------------------------------- */

static struct sts_policy *current(struct known *k)
{
	struct sts_policy *p;

	if (!k->text || clock_utc_ms() >= k->until_ms)
		return NULL;
	p = sts_parse(NULL, k->text, k->len);
	if (p)
		snprintf(p->id, sizeof(p->id), "%s", k->id);
	return p;
}

static void answer(struct known *k)
{
	struct waiter *w;

	k->busy = false;
	k->c->n_busy--;
	k->looked_ms = clock_mono_ms();
	while ((w = k->waiters)) {
		void (*cb)(struct sts_policy * policy, void *arg) = w->cb;
		void *arg = w->arg;
		k->waiters = w->next;
		talloc_free(w);
		cb(current(k), arg);
	}
}

static enum tlsrpt_result fault_of(const char *text, enum https_fault fault)
{
	return text		       ? TLSRPT_STS_INVALID
	       : fault == HTTPS_WEBPKI ? TLSRPT_STS_WEBPKI_INVALID
				       : TLSRPT_STS_FETCH_ERROR;
}

static void on_policy(const char *text, size_t len, enum https_fault fault, const char *why,
		      void *arg)
{
	struct known *k = arg;
	struct sts_policy *p = text ? sts_parse(k, text, len) : NULL;

	if (!p) {
		log_event(LOG_WARNING, "-", "relay", "sts-unfetched", LS("domain", k->domain),
			  LS("why", why ? why : "it is not a valid policy"));
		k->c->unfetched(k->c->r, k->domain, fault_of(text, fault),
				why ? why : "it is not a valid policy");
	} else {
		static const char *const modes[] = {"none", "testing", "enforce"};
		log_event(LOG_INFO, "-", "relay", "sts-policy", LS("domain", k->domain),
			  LS("mode", modes[p->mode]), LI("max_age_s", p->max_age_s));
		set_text(k, text, len);
		memcpy(k->id, k->coming, sizeof(k->id));
		k->until_ms = clock_utc_ms() + p->max_age_s * 1000;
		save(k);
	}
	talloc_free(p);
	answer(k);
}

static void on_addrs(const struct dns_answer *a, void *arg)
{
	struct known *k = arg;
	char host[DNS_NAME_MAX + 16];

	for (size_t i = 0; a->status == DNS_FOUND && i < a->n && k->n_addrs < ADDRS_MAX; i++)
		k->addrs[k->n_addrs++] = a->rr[i].a;
	if (--k->pending)
		return;
	if (k->n_addrs == 0) {
		on_policy(NULL, 0, HTTPS_FAILED, "the host mta-sts has no address", k);
		return;
	}
	snprintf(host, sizeof(host), "mta-sts.%s", k->domain);
	https_get(k->c->https, host, "/.well-known/mta-sts.txt", k->addrs, k->n_addrs,
		  STS_POLICY_MAX, on_policy, k);
}

static void fetch(struct known *k, struct dns *dns)
{
	char name[DNS_NAME_MAX + 16], host[DNS_NAME_MAX];

	snprintf(name, sizeof(name), "mta-sts.%s", k->domain);
	k->n_addrs = 0;
	if (!k->c->https)
		k->c->https = https_new(k->c->base, k->c->ca);
	if (!k->c->https || !dns_name(name, host)) {
		answer(k);
		return;
	}
	k->pending = 2;
	dns_ask(dns, k, DNS_AAAA, host, on_addrs, k);
	dns_ask(dns, k, DNS_A, host, on_addrs, k);
}

static void on_record(const struct dns_answer *a, void *arg)
{
	struct known *k = arg;
	char id[STS_ID_MAX + 1];
	unsigned n = 0;

	/* RFC 8461 3.1: more than one record is none. */
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++)
		if (sts_record(a->rr[i].text, id) && ++n == 1)
			memcpy(k->coming, id, sizeof(k->coming));
	bool same = strcmp(k->coming, k->id) == 0 && k->text && clock_utc_ms() < k->until_ms;
	if (n != 1 || same)
		answer(k);
	else
		fetch(k, k->c->dns(k->c->r));
}

/* --- the cache -------------------------------------------------------------------------------- */

static size_t slot_of(const char *name)
{
	uint64_t h = 14695981039346656037u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 1099511628211u;
	return (size_t)((h ^ (h >> 32)) % HASH);
}

static void forget_all(struct sts_cache *c)
{
	for (size_t i = 0; i < HASH; i++)
		while (c->hash[i]) {
			struct known *k = c->hash[i];
			c->hash[i] = k->next;
			talloc_free(k);
		}
	c->n = 0;
}

static struct known *know(struct sts_cache *c, const char *domain)
{
	struct known **slot = &c->hash[slot_of(domain)], *k;

	for (k = *slot; k; k = k->next)
		if (strcmp(k->domain, domain) == 0)
			return k;
	if (c->n >= KNOWN_MAX && c->n_busy == 0)
		forget_all(c);
	k = talloc_zero(c, struct known);
	if (!k)
		fatal("out of memory");
	k->c = c;
	snprintf(k->domain, sizeof(k->domain), "%s", domain);
	load(k);
	k->next = *slot;
	*slot = k;
	c->n++;
	return k;
}

void sts_get(struct sts_cache *c, const char *domain,
	     void (*cb)(struct sts_policy *policy, void *arg), void *arg)
{
	char name[DNS_NAME_MAX], record[DNS_NAME_MAX + 16], asked[DNS_NAME_MAX];
	struct dns *dns = c->dns(c->r);

	snprintf(record, sizeof(record), "_mta-sts.%s", domain);
	if (!dns || !dns_name(domain, name) || !dns_name(record, asked)) {
		cb(NULL, arg);
		return;
	}
	struct known *k = know(c, name);
	if (!k->busy && k->looked_ms && clock_mono_ms() - k->looked_ms < LOOK_MS) {
		cb(current(k), arg);
		return;
	}
	struct waiter *w = talloc(k, struct waiter);
	if (!w)
		fatal("out of memory");
	*w = (struct waiter){cb, arg, k->waiters};
	k->waiters = w;
	if (k->busy)
		return;
	k->busy = true;
	c->n_busy++;
	k->coming[0] = '\0';
	dns_ask(dns, k, DNS_TXT, asked, on_record, k);
}

struct sts_cache *sts_cache_new(struct event_base *base, const char *folder, const char *ca,
				struct dns *(*dns)(struct relay *r),
				void (*unfetched)(struct relay *r, const char *domain,
						  enum tlsrpt_result result, const char *why),
				struct relay *r)
{
	struct sts_cache *c = talloc_zero(NULL, struct sts_cache);

	if (!c)
		fatal("out of memory");
	c->base = base;
	c->dns = dns;
	c->unfetched = unfetched;
	c->r = r;
	c->folder = talloc_asprintf(c, "%s/sts", folder);
	c->ca = talloc_strdup(c, ca);
	if (!c->folder || !c->ca)
		fatal("out of memory");
	if (mkdir(c->folder, 0700) < 0 && errno != EEXIST)
		log_event(LOG_ERR, "-", "relay", "sts-folder", LS("folder", c->folder),
			  LS("why", strerror(errno)));
	return c;
}

void sts_cache_free(struct sts_cache *c)
{
	if (!c)
		return;
	https_free(c->https);
	talloc_free(c);
}
