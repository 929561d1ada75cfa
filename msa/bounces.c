/*
 * bounces - see bounces.h.
 *
 * Trusted with: asking the tag keys. Who may ask is a question of where it listens: it is meant for
 * the loopback or a network of mail servers. Bounds: CONNS connections, REQUEST_MAX bytes a
 * request, IDLE_S seconds between two; whoever breaks one is disconnected, and Postfix then goes on
 * as its own configuration says. Diagnostics: `batv bounce` lines.
 */
#include <errno.h>
#include <string.h>
#include <talloc.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/bounces.h"
#include "msa/listening.h"
#include "msa/mail/bounce.h"

#define CONNS	    200
#define REQUEST_MAX 16384
#define IDLE_S	    1000 /* Postfix keeps one open that long (smtpd_policy_service_max_ttl) */

struct place {
	struct evconnlistener *ev;
	char name[LISTENING_NAME];
};

struct bounces {
	struct place *listeners;
	size_t n_listeners, n_conns;
	struct asker *askers;
	struct bounce_probes probes;
};

struct asker {
	struct server *srv;
	struct bufferevent *bev;
	struct asker *next, **at;
};

static void drop(struct asker *a)
{
	*a->at = a->next;
	if (a->next)
		a->next->at = a->at;
	a->srv->bounces->n_conns--;
	bufferevent_free(a->bev);
	talloc_free(a);
}

static void tell(const struct bounce_request *r, const struct bounce_verdict *v)
{
	if (v->result != BOUNCE_NOT_OURS)
		log_event(LOG_INFO, "-", "batv", "bounce",
			  LS("result", bounce_result_name(v->result)),
			  LS("reason", batv_reason_name(v->reason)), LS("recipient", r->recipient),
			  LS("client", r->client));
}

/* Whoever answers a tag of ours answers to mail of that account. What it says of the recipient only
 * the message itself tells, which is not here: the limiter counts it, the detector cannot weigh it.
 */
static void observe(struct server *srv, const struct bounce_request *r,
		    const struct bounce_verdict *v)
{
	struct path tagged, plain;
	const char *err;

	if (v->result == BOUNCE_VALID &&
	    path_parse_mailbox(r->recipient, strlen(r->recipient), &tagged, &err) &&
	    batv_strip(&tagged, &plain))
		limits_saw_bounce(srv->limits, plain.text, "");
}

static bool answer(struct asker *a, const char *text, size_t len)
{
	struct server *srv = a->srv;
	const struct msa_config *cfg = srv->cfg;
	struct bounce_about about = {.keys = &srv->batv,
				     .ids = cfg->policy.identities,
				     .mode = (enum bounce_mode)cfg->bounce_check,
				     .strict = cfg->bounce_strict.items,
				     .n_strict = cfg->bounce_strict.n};
	struct bounce_request r;
	struct bounce_verdict v;
	struct path realm;
	char action[BOUNCE_ACTION_MAX];

	if (!bounce_parse(text, len, &r) || !path_make("postmaster", 10, cfg->sasl_realm, &realm))
		return false;
	about.realm = &realm;
	bounce_judge(&about, &srv->bounces->probes, &r, bounce_client(r.client), clock_utc_ms(),
		     &v);
	tell(&r, &v);
	observe(srv, &r, &v);
	bounce_action(&v, action);
	evbuffer_add_printf(bufferevent_get_output(a->bev), "action=%s\n\n", action);
	return true;
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct asker *a = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	struct evbuffer_ptr end;

	while ((end = evbuffer_search(in, "\n\n", 2, NULL)).pos >= 0) {
		size_t len = (size_t)end.pos;
		const unsigned char *text = evbuffer_pullup(in, end.pos + 2);

		if (!text || !answer(a, (const char *)text, len)) {
			log_event(LOG_NOTICE, "-", "batv", "bad-request");
			drop(a);
			return;
		}
		evbuffer_drain(in, len + 2);
	}
	if (evbuffer_get_length(in) > REQUEST_MAX)
		drop(a);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	drop(arg);
}

static void accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
		     void *arg)
{
	const struct timeval idle = {IDLE_S, 0};
	struct server *srv = arg;
	struct bounces *b = srv->bounces;
	struct asker *a;

	(void)l;
	(void)sa;
	(void)len;
	if (b->n_conns >= CONNS) {
		evutil_closesocket(fd);
		return;
	}
	a = talloc_zero(b, struct asker);
	a->srv = srv;
	a->bev = bufferevent_socket_new(srv->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!a->bev) {
		evutil_closesocket(fd);
		talloc_free(a);
		return;
	}
	a->next = b->askers;
	a->at = &b->askers;
	if (a->next)
		a->next->at = &a->next;
	b->askers = a;
	b->n_conns++;
	bufferevent_setcb(a->bev, on_read, NULL, on_event, a);
	bufferevent_setwatermark(a->bev, EV_READ, 0, (size_t)2 * REQUEST_MAX);
	bufferevent_set_timeouts(a->bev, &idle, &idle);
	bufferevent_enable(a->bev, EV_READ | EV_WRITE);
}

bool bounces_listen(struct server *srv, char **err)
{
	const struct conf_list *l = &srv->cfg->bounce_listen;
	struct bounces *b = talloc_zero(NULL, struct bounces);

	srv->bounces = b;
	b->listeners = talloc_zero_array(b, struct place, (unsigned)l->n);
	for (size_t i = 0; i < l->n; i++) {
		struct place *p = &b->listeners[i];

		p->ev = listening_open(srv->base, l->items[i], 0, accepted, srv, p->name);
		if (!p->ev) {
			*err = talloc_asprintf(srv->cfg, "cannot listen on %s: %s", l->items[i],
					       strerror(errno));
			return false;
		}
		b->n_listeners++;
		log_event(LOG_INFO, "-", "batv", "listening", LS("address", l->items[i]));
	}
	return true;
}

void bounces_free(struct server *srv)
{
	struct bounces *b = srv->bounces;

	if (!b)
		return;
	while (b->askers)
		drop(b->askers);
	for (size_t i = 0; i < b->n_listeners; i++)
		evconnlistener_free(b->listeners[i].ev);
	talloc_free(b);
	srv->bounces = NULL;
}

size_t bounces_release(const struct server *srv, struct upgrade_fd *fds, size_t max)
{
	/* The names outlive what they are the names of. */
	static char names[BOUNCES_LISTENERS_MAX][LISTENING_NAME];
	const struct bounces *b = srv->bounces;
	size_t n = 0;

	for (size_t i = 0; b && i < b->n_listeners && n < max && i < BOUNCES_LISTENERS_MAX; i++) {
		memcpy(names[i], b->listeners[i].name, LISTENING_NAME);
		n += listening_copy(b->listeners[i].ev, names[i], &fds[n]);
	}
	return n;
}
