/*
 * tls_post - see tls_post.h.
 *
 * Purpose: a report to a domain that takes no mail for it. Trusted with: POSTs to port 443 of hosts
 * that a stranger's DNS record names: no redirects, no other port, nothing of the answer is used
 * but its code. Diagnostics: log lines tlsrpt-sent, tlsrpt-unsent. Known gaps: none.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/tls_post.h"
#include "msa/route/https.h"
#include "msa/tlsrpt/gzip.h"
#include "msa/tlsrpt/report.h"

#define POSTS_MAX 50
#define ADDRS_MAX 8

struct tls_post {
	struct event_base *base;
	struct https *https;
	char *folder, *hostname, *ca;
	struct dns *(*dns)(struct relay *r);
	struct relay *r;
	unsigned under_way;
};

struct post { /* talloc'd */
	struct tls_post *t;
	struct relay_post p;
	char host[TLSRPT_URI_MAX], path[TLSRPT_URI_MAX];
	struct addr addrs[ADDRS_MAX];
	size_t n_addrs;
	unsigned pending;
	uint8_t *gz;
	size_t gz_len;
};

struct tls_post *tls_post_new(struct event_base *base, const char *folder, const char *hostname,
			      const char *ca, struct dns *(*dns)(struct relay *r), struct relay *r)
{
	struct tls_post *t = talloc_zero(NULL, struct tls_post);

	if (!t)
		fatal("out of memory");
	t->base = base;
	t->folder = talloc_asprintf(t, "%s/tlsrpt", folder);
	t->hostname = talloc_strdup(t, hostname);
	t->ca = talloc_strdup(t, ca);
	if (!t->folder || !t->hostname || !t->ca)
		fatal("out of memory");
	t->dns = dns;
	t->r = r;
	return t;
}

void tls_post_free(struct tls_post *t)
{
	if (!t)
		return;
	https_free(t->https);
	talloc_free(t);
}

static void end(struct post *p, const char *why)
{
	if (why)
		log_event(LOG_WARNING, "-", "relay", "tlsrpt-unsent", LS("domain", p->p.domain),
			  LS("day", p->p.day), LS("to", p->p.url), LS("why", why),
			  LS("action", "tried again for a day"));
	else
		log_event(LOG_INFO, "-", "relay", "tlsrpt-sent", LS("domain", p->p.domain),
			  LS("day", p->p.day), LS("to", p->p.url));
	p->t->under_way--;
	talloc_free(p);
}

static void on_posted(const char *text, size_t len, enum https_fault fault, const char *why,
		      void *arg)
{
	struct post *p = arg;

	(void)text;
	(void)len;
	(void)fault;
	if (!why && !tlsrpt_mark_sent(p->t->folder, p->p.day, p->p.domain))
		log_event(LOG_ERR, "-", "relay", "tlsrpt-unmarked", LS("domain", p->p.domain),
			  LS("action", "the report may be sent again"));
	end(p, why);
}

static void on_addrs(const struct dns_answer *a, void *arg)
{
	struct post *p = arg;
	struct tls_post *t = p->t;
	const struct https_content what = {"application/tlsrpt+gzip", p->gz, p->gz_len};

	for (size_t i = 0; i < a->n && p->n_addrs < ADDRS_MAX; i++)
		p->addrs[p->n_addrs++] = a->rr[i].a;
	if (--p->pending)
		return;
	if (!t->https)
		t->https = https_new(t->base, t->ca);
	if (!p->n_addrs)
		end(p, "its host has no address");
	else if (!t->https)
		end(p, "HTTPS cannot be spoken here");
	else
		https_post(t->https, p->host, p->path, p->addrs, p->n_addrs, &what, on_posted, p);
}

/* False: there is nothing to report. */
static bool pack(struct post *p)
{
	const struct tlsrpt_who who = {p->t->hostname, p->p.organization, p->p.contact};
	struct tlsrpt_counts *c = tlsrpt_open(p, p->t->folder, p->p.day, false);
	size_t n = 0;
	const struct tlsrpt_row *rows = c ? tlsrpt_rows(c, &n) : NULL;
	json_t *report = tlsrpt_report(rows, n, p->p.domain, p->p.day, &who);
	char *text = report ? json_dumps(report, JSON_COMPACT) : NULL;

	if (text)
		p->gz = gzip_pack(p, text, strlen(text), &p->gz_len);
	free(text);
	json_decref(report);
	tlsrpt_close(c);
	return p->gz != NULL;
}

void tls_post_send(struct tls_post *t, const struct relay_post *what)
{
	struct dns *dns = t->dns(t->r);
	char name[DNS_NAME_MAX];
	struct post *p;

	if (t->under_way >= POSTS_MAX || !dns)
		return;
	p = talloc_zero(t, struct post);
	if (!p)
		fatal("out of memory");
	p->t = t;
	p->p = *what;
	t->under_way++;
	if (!tlsrpt_https(what->url, p->host, p->path) || !dns_name(p->host, name)) {
		end(p, "the URL cannot be used");
		return;
	}
	if (!pack(p)) {
		end(p, "there is nothing to report");
		return;
	}
	p->pending = 2;
	dns_ask(dns, p, DNS_AAAA, name, on_addrs, p);
	dns_ask(dns, p, DNS_A, name, on_addrs, p);
}
