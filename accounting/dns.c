/*
 * dns - see dns.h. The one file that talks to libunbound.
 *
 * Trusted with: nothing; every byte of an answer goes through dns_answer_parse(). A question that
 * libunbound has not answered after DEADLINE_MS is DNS_TROUBLE. Diagnostics: the words of the
 * answer. Known gaps: none.
 */
#include "accounting/dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <unbound-event.h>
#include <unbound.h>

#include "lib/proc.h"

#define DEADLINE_MS 4000
#define CLASS_IN    1

/* One that was late, or whose asker has gone, stays until the library answers: it cannot be taken
 * back on a loop of ours. */
struct question {
	struct dns *d;
	void *ctx;
	enum dns_type type;
	dns_cb *cb; /* NULL: nobody waits for it any more */
	void *arg;
	struct event *timer;
	LIST_ENTRY(question) link;
};

struct dns {
	struct event_base *base;
	struct ub_ctx *ub;
	LIST_HEAD(, question) questions;
};

/* Small: a few thousand names at most are asked for in a day's round. */
static const struct {
	const char *option, *value;
} options[] = {
    {"msg-cache-size:", "4m"},
    {"rrset-cache-size:", "8m"},
    {"outgoing-range:", "128"},
    {"so-reuseport:", "no"},
    {"do-not-query-localhost:", "no"},
    {"outgoing-num-tcp:", "10"},
    {"infra-cache-numhosts:", "1000"},
    {"use-syslog:", "no"},
    /* Private and documentation addresses have reverse zones too, inside. */
    {"unblock-lan-zones:", "yes"},
    {"insecure-lan-zones:", "yes"},
    {"unwanted-reply-threshold:", "10000"},
};

static int configure(struct ub_ctx *ub, const char *server, const char *anchor)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < sizeof options / sizeof *options; i++)
		rc = ub_ctx_set_option(ub, options[i].option, options[i].value);
	if (rc == 0 && !anchor[0])
		rc = ub_ctx_set_option(ub, "module-config:", "iterator");
	if (rc == 0 && server[0])
		rc = ub_ctx_set_fwd(ub, server);
	else if (rc == 0 && ub_ctx_resolvconf(ub, NULL) != 0)
		rc = 0; /* no such file: the library asks the roots itself */
	if (rc == 0 && anchor[0])
		rc = ub_ctx_add_ta_file(ub, anchor);
	return rc;
}

/* "192.0.2.53:5353" and "[2001:db8::53]:5353" as libunbound writes them: "192.0.2.53@5353". */
static bool server_text(const char *server, char *out, size_t n, const char **err)
{
	struct addr a;
	uint16_t port = 53;
	char text[ADDR_STRLEN];
	out[0] = '\0';
	if (!server[0])
		return true;
	if (!addr_parse(server, &a, err) && !addr_parse_port(server, &a, &port, err))
		return false;
	snprintf(out, n, "%s@%u", addr_format(&a, text), port);
	return true;
}

struct dns *dns_new(struct event_base *base, const char *server, const char *anchor,
		    const char **err)
{
	char fwd[ADDR_STRLEN + 8];
	if (!server_text(server, fwd, sizeof fwd, err))
		return NULL;
	struct dns *d = calloc(1, sizeof *d);
	if (!d)
		fatal("out of memory");
	d->base = base;
	d->ub = ub_ctx_create_event(base);
	if (!d->ub)
		fatal("out of memory");
	(void)ub_ctx_debuglevel(d->ub, 0);
	LIST_INIT(&d->questions);
	int rc = configure(d->ub, fwd, anchor);
	if (rc == 0)
		return d;
	*err = ub_strerror(rc);
	dns_free(d);
	return NULL;
}

static void tell(struct question *q, const struct dns_answer *a)
{
	dns_cb *cb = q->cb;
	q->cb = NULL;
	(void)event_del(q->timer);
	if (cb)
		cb(a, q->arg);
}

static void tell_trouble(struct question *q, const char *why)
{
	struct dns_answer a = {.status = DNS_TROUBLE};
	snprintf(a.why, sizeof a.why, "%s", why);
	tell(q, &a);
}

static void free_question(struct question *q)
{
	LIST_REMOVE(q, link);
	event_free(q->timer);
	free(q);
}

static void on_answer(void *arg, int rcode, void *packet, int len, int sec, char *why_bogus,
		      int limited)
{
	struct question *q = arg;
	struct dns_answer a;
	(void)limited, (void)why_bogus;
	if (!q->cb) {
		; /* too late */
	} else if (sec == 1) {
		tell_trouble(q, "its DNSSEC signatures do not hold");
	} else if (rcode != 0 || !packet || len <= 0) {
		tell_trouble(q, "SERVFAIL: no server gives an answer");
	} else {
		(void)dns_answer_parse(q->ctx, packet, (size_t)len, q->type, &a);
		a.secure = sec == 2 && a.status != DNS_TROUBLE;
		tell(q, &a);
	}
	free_question(q);
}

static void on_late(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what;
	tell_trouble(arg, "no server answers in time");
}

void dns_ask(struct dns *d, void *ctx, enum dns_type type, const char *name, dns_cb *cb, void *arg)
{
	struct timeval tv = {.tv_sec = DEADLINE_MS / 1000};
	struct question *q = calloc(1, sizeof *q);
	if (!q)
		fatal("out of memory");
	*q = (struct question){.d = d, .ctx = ctx, .type = type, .cb = cb, .arg = arg};
	q->timer = evtimer_new(d->base, on_late, q);
	if (!q->timer)
		fatal("out of memory");
	LIST_INSERT_HEAD(&d->questions, q, link);
	(void)event_add(q->timer, &tv);
	/* When it says 0 the callback comes, maybe before this returns: q is not ours any more. */
	int rc = ub_resolve_event(d->ub, name, (int)type, CLASS_IN, q, on_answer, NULL);
	if (rc == 0)
		return;
	tell_trouble(q, ub_strerror(rc));
	free_question(q);
}

void dns_free(struct dns *d)
{
	struct question *q;
	if (!d)
		return;
	LIST_FOREACH(q, &d->questions, link)
	q->cb = NULL;
	ub_ctx_delete(d->ub);
	while ((q = LIST_FIRST(&d->questions)) != NULL)
		free_question(q);
	free(d);
}
