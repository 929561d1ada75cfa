/*
 * peer_tls - the TLS of a connection to a mail server: what it is held to, how it begins, who turns
 * out to be there, and what reports say of it (RFC 8460).
 *
 * Trusted with: the decision whether a server is the one that was meant. Diagnostics: log lines
 * `relay tls` (debug) and `relay tls-failed`. Known gaps: none.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

#include "msa/relay/peer_int.h"

#define NO_TLS_MS 60000

/* What the connection is held to; the strongest that applies. */
void peer_tls_policy(struct peer *c)
{
	struct dest *d = c->d;
	const struct route *t = d->route;
	const struct mx_host *h = c->host;
	bool fixed = !d->domain[0];
	bool sts = !h->dane && d->sts && d->sts->mode == STS_ENFORCE;

	c->wish = (struct relay_tls_wish){.name = h->dane && h->base[0] ? h->base
						  : t->tls_name[0]	? t->tls_name
									: h->name,
					  .also = h->dane ? d->domain : "",
					  .literal = h->literal && !t->tls_name[0],
					  .ca = t->tls_ca[0] ? t->tls_ca : d->r->cfg.ca,
					  .dane = h->dane,
					  .tlsa = h->tlsa,
					  .n_tlsa = h->n_tlsa};
	c->proves = fixed || h->mx_secure || h->dane || sts;
	c->must_tls = t->tls >= ROUTE_TLS_ENCRYPT || h->dane || sts;
	c->must_verify = t->tls == ROUTE_TLS_VERIFY || (h->dane && h->n_tlsa) || sts;
	c->policy = h->dane			  ? "dane"
		    : sts			  ? "sts"
		    : t->tls == ROUTE_TLS_VERIFY  ? "verify"
		    : t->tls == ROUTE_TLS_ENCRYPT ? "encrypt"
						  : "trusted";
}

/* How TLS went, for reports: once a connection, and only where the domain's policy has a say. */
void peer_tell_tls(struct peer *c, enum tlsrpt_result result, const char *why)
{
	struct dest *d = c->d;
	struct tls_policy p = {d->domain, c->host, d->sts};
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr from;
	uint16_t port;

	if (c->told || d->lax || !d->r->tls_counts || !c->client.use_tls || !d->domain[0] ||
	    d->domain[0] == '[')
		return;
	c->told = true;
	bool known = getsockname(bufferevent_getfd(c->bev), (struct sockaddr *)&ss, &len) == 0 &&
		     addr_from_sockaddr((struct sockaddr *)&ss, &from, &port);
	tls_count(d->r->tls_counts, &p, result, &c->addr, known ? &from : NULL, why);
}

/* TLS that was wanted and never began. */
void peer_tell_no_tls(struct peer *c)
{
	if (!c->client.tls)
		peer_tell_tls(c, TLSRPT_STARTTLS_NOT_SUPPORTED,
			      c->client.offers.starttls ? "STARTTLS was refused"
							: "STARTTLS is not offered");
}

/* Opportunistic: without, but not for good: one lost connection must not turn TLS off. */
void peer_without_tls(struct peer *c)
{
	struct dest *d = c->d;

	if (c->must_tls) {
		c->client.insecure = true;
		return;
	}
	c->again = true;
	if (!dest_is_clear(d, &c->addr))
		log_event(LOG_WARNING, "-", "relay", "tls-failed", LS("via", c->via),
			  LS("action", "clear text for a minute, then TLS is tried again"));
	dest_set_clear(d, &c->addr, clock_mono_ms() + NO_TLS_MS);
}

/* What came with the 220 in clear text is dropped with the old buffers (RFC 3207 6). */
void peer_start_tls(struct peer *c)
{
	int fd = dup(bufferevent_getfd(c->bev));
	struct bufferevent *tls = fd < 0 ? NULL : relay_tls_new(c->d->r->base, fd, &c->wish);

	if (!tls) {
		if (fd >= 0)
			close(fd);
		peer_without_tls(c);
		peer_over(c, "TLS could not be started here");
		return;
	}
	bufferevent_free(c->bev);
	c->bev = tls;
	reply_init(&c->parser);
	peer_listen(c);
}

static void add_via(struct peer *c, const char *a, const char *b, const char *d)
{
	size_t n = strlen(c->via);

	snprintf(c->via + n, sizeof(c->via) - n, " %s %s %s", a, b, d);
}

/* Without a policy whoever is there will do. */
static void tell_verdict(struct peer *c, bool good)
{
	const struct sts_policy *sts = c->d->sts;
	bool matters = c->host->dane ? c->host->n_tlsa > 0 : sts && sts->mode != STS_NONE;

	if (good || !matters)
		peer_tell_tls(c, TLSRPT_OK, "");
	else
		peer_tell_tls(c, tls_count_result(relay_tls_fault_number(c->bev)),
			      relay_tls_fault(c->bev));
}

/* The handshake is done; who is there? */
void peer_tls_up(struct peer *c)
{
	bool good = relay_tls_verified(c->bev);
	char why[RELAY_REPLY_MAX + 1];

	add_via(c, relay_tls_version(c->bev), relay_tls_cipher(c->bev),
		good		 ? c->policy
		: c->must_verify ? "not-verified"
				 : "unverified");
	log_event(LOG_DEBUG, "-", "relay", "tls", LS("via", c->via));
	tell_verdict(c, good);
	if (c->must_verify && !good) {
		snprintf(why, sizeof(why), "%s: the certificate of %s does not hold: %s", c->policy,
			 c->host->name, relay_tls_fault(c->bev));
		c->client.insecure = true;
		peer_over(c, why);
		return;
	}
	client_tls_done(&c->client, good && c->proves, bufferevent_get_output(c->bev));
}
