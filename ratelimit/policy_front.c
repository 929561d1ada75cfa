/*
 * policy_front - sockets of the policy protocol.
 *
 * A question is read (policy), its amounts are found (policy_charge), the limiter is asked as msad
 * asks it, and the answer goes back; what does not keep to the protocol ends its connection.
 *
 * Trusted with its sockets. Who reaches them may learn whether an account is over a limit and count
 * mail for it: keep TCP on loopback or a network of mail servers. Diagnostics: `policy
 * bad-request`, `policy cannot-bite` once a day for a server that asks so that no limit can bite.
 * Known gaps: at most MAX_CONNS connections; further ones are closed.
 */
#include "ratelimit/policy_front.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "ratelimit/policy_charge.h"

#define MAX_CONNS  2048
#define WARN_EVERY (24LL * 3600 * 1000)
#define IDLE_S	   3600

struct conn {
	TAILQ_ENTRY(conn) link;
	struct policy_front *f;
	struct bufferevent *bev;
	struct addr server;
	struct policy_parser p;
};

struct listening {
	struct evconnlistener *lev;
	char path[108]; /* "": TCP */
};

struct policy_front {
	struct event_base *base;
	void (*ask)(void *arg, const struct rl_ask *ask, struct rl_verdict *v);
	void *arg;
	struct policy_charges *charges;
	struct listening *at; /* n of them */
	size_t n, n_conns;
	char *realm;
	enum login_case login_case;
	bool defer;
	TAILQ_HEAD(, conn) conns;
};

static void conn_free(struct conn *c)
{
	TAILQ_REMOVE(&c->f->conns, c, link);
	c->f->n_conns--;
	bufferevent_free(c->bev);
	free(c);
}

/* --- a question ------------------------------------------------------------------------------- */

/* The domain in lower case, as our own server has it; NULL: no @. */
static char *domain_of(char *address)
{
	char *at = strrchr(address, '@');
	login_fold(address, LOGIN_KEEP);
	return at ? at + 1 : NULL;
}

static void add_realm(const struct policy_front *f, char account[static RL_ACCOUNT_MAX + 1])
{
	size_t len = strlen(account);
	if (len == 0 || strchr(account, '@') || !f->realm[0])
		return;
	snprintf(account + len, RL_ACCOUNT_MAX + 1 - len, "@%s", f->realm);
}

static void warn(struct policy_client *k, int64_t now)
{
	bool bites;
	char text[ADDR_STRLEN];
	static const struct addr none;
	const char *why = policy_verdict(k, &bites);
	if (bites || (k->warned_ms && now - k->warned_ms < WARN_EVERY))
		return;
	k->warned_ms = now;
	log_event(
	    LOG_WARNING, "-", "policy", "cannot-bite",
	    LS("server", addr_eq(&k->address, &none) ? "unix" : addr_format(&k->address, text)),
	    LI("requests", k->requests), LS("why", why));
}

static void decide(struct conn *c, struct policy_request *r, struct rl_verdict *v)
{
	struct policy_front *f = c->f;
	int64_t now = clock_mono_ms() + 1; /* 0 is never */
	add_realm(f, r->account);
	login_fold(r->account, f->login_case);
	const char *sender_domain = domain_of(r->sender), *rcpt_domain = domain_of(r->recipient);
	const struct policy_rcpt named = {rl_hash(r->recipient),
					  rl_hash(rcpt_domain ? rcpt_domain : "")};
	const struct policy_rcpt *rcpt = r->recipient[0] ? &named : NULL;
	struct rl_ask ask = {.account = r->account,
			     .client = r->address,
			     .t_ms = clock_utc_ms(),
			     .sender_hash = r->sender[0] ? rl_hash(r->sender) : 0,
			     .sender_domain = sender_domain};
	struct policy_client *k = policy_note(f->charges, &c->server, r, now);
	v->answer = RL_OK;
	v->why[0] = '\0';
	warn(k, now);
	if (!policy_amounts(f->charges, k, r, rcpt, now, &ask))
		return;
	f->ask(f->arg, &ask, v);
	if (v->answer == RL_OK || v->answer == RL_HELD)
		policy_passed(f->charges, k, r, rcpt, now, &ask);
}

static void answer(struct conn *c)
{
	char text[1024];
	struct rl_verdict v = {.answer = RL_OK};
	decide(c, &c->p.r, &v);
	size_t n = policy_answer(&v, c->f->defer, text, sizeof text);
	(void)bufferevent_write(c->bev, text, n);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	const char *why = "";
	for (;;) {
		size_t len = evbuffer_get_contiguous_space(in), used;
		if (len == 0)
			return;
		const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)len);
		enum policy_result r = policy_feed(&c->p, data, len, &used, &why);
		(void)evbuffer_drain(in, used);
		if (r == POLICY_BAD)
			break;
		if (r == POLICY_REQUEST) {
			answer(c);
			policy_init(&c->p);
		}
	}
	log_event(LOG_WARNING, "-", "policy", "bad-request", LA("server", &c->server),
		  LS("reason", why));
	conn_free(c);
}

static void on_written(struct bufferevent *bev, void *arg)
{
	(void)bev;
	conn_free(arg);
}

/* Exim's readsocket ends its side after the question, and waits for our end after the answer. */
static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;
	if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_output(bev)) > 0) {
		(void)bufferevent_disable(bev, EV_READ);
		bufferevent_setcb(bev, NULL, on_written, on_event, c);
		return;
	}
	conn_free(c);
}

void policy_front_adopt(struct policy_front *f, int fd, const struct addr *server)
{
	struct timeval idle = {.tv_sec = IDLE_S};
	struct conn *c = f->n_conns < MAX_CONNS ? calloc(1, sizeof *c) : NULL;
	(void)evutil_make_socket_nonblocking(fd);
	if (c)
		c->bev = bufferevent_socket_new(f->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!c || !c->bev) {
		free(c);
		(void)close(fd);
		return;
	}
	c->f = f;
	c->server = *server;
	policy_init(&c->p);
	TAILQ_INSERT_TAIL(&f->conns, c, link);
	f->n_conns++;
	bufferevent_setcb(c->bev, on_read, NULL, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, 65536);
	(void)bufferevent_set_timeouts(c->bev, &idle, &idle);
	(void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

static void on_accept(struct evconnlistener *lev, evutil_socket_t fd, struct sockaddr *sa, int len,
		      void *arg)
{
	struct addr server;
	(void)lev, (void)len;
	if (!addr_from_sockaddr(sa, &server, NULL))
		memset(&server, 0, sizeof server); /* over a unix socket */
	policy_front_adopt(arg, fd, &server);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static bool somebody_there(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there = fd >= 0 && connect(fd, (const struct sockaddr *)sun, sizeof *sun) == 0;
	if (fd >= 0)
		(void)close(fd);
	return there;
}

static const char *unix_address(const char *path, struct sockaddr_un *sun)
{
	struct stat st;
	memset(sun, 0, sizeof *sun);
	sun->sun_family = AF_UNIX;
	if (path[0] != '/' || strlen(path) >= sizeof sun->sun_path)
		return "a unix socket is a full path of at most 107 characters";
	memcpy(sun->sun_path, path, strlen(path));
	if (lstat(path, &st) != 0)
		return NULL;
	if (!S_ISSOCK(st.st_mode))
		return "something that is not a socket is there: remove it";
	if (somebody_there(sun))
		return "another process is listening there: stop it first";
	(void)unlink(path);
	return NULL;
}

/* -1 with *why. */
static int bind_at(const struct sockaddr *sa, socklen_t len, const char **why)
{
	int on = 1, fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(0111); /* 0666: who reaches the folder may ask */
	if (fd >= 0 && sa->sa_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	bool ok = fd >= 0 && bind(fd, sa, len) == 0 && listen(fd, 128) == 0;
	(void)umask(old);
	if (ok)
		return fd;
	*why = strerror(errno);
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

static int open_at(const char *spec, const char **why)
{
	struct sockaddr_storage ss;
	struct sockaddr_un sun;
	struct addr a;
	uint16_t port;
	if (strncmp(spec, "unix:", 5) == 0) {
		*why = unix_address(spec + 5, &sun);
		return *why ? -1 : bind_at((const struct sockaddr *)&sun, sizeof sun, why);
	}
	*why = "say unix:/PATH or inet:ADDRESS:PORT";
	if (strncmp(spec, "inet:", 5) != 0 || !addr_parse_port(spec + 5, &a, &port, why))
		return -1;
	socklen_t len = addr_to_sockaddr(&a, port, &ss);
	return bind_at((const struct sockaddr *)&ss, len, why);
}

static bool listen_on(struct policy_front *f, const char *spec, char **err)
{
	const char *why = "";
	struct listening *l = &f->at[f->n];
	int fd = open_at(spec, &why);
	if (fd < 0) {
		*err = talloc_asprintf(NULL, "ratelimit.policy_listen %s: %s", spec, why);
		return false;
	}
	l->lev = evconnlistener_new(f->base, on_accept, f,
				    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!l->lev)
		fatal("out of memory");
	if (strncmp(spec, "unix:", 5) == 0)
		snprintf(l->path, sizeof l->path, "%s", spec + 5);
	f->n++;
	return true;
}

void policy_front_configure(struct policy_front *f, const struct policy_front_conf *c)
{
	char *realm = strdup(c->realm ? c->realm : "");
	if (!realm)
		fatal("out of memory");
	free(f->realm);
	f->realm = realm;
	f->login_case = c->login_case;
	f->defer = c->defer;
}

struct policy_front *policy_front_new(struct event_base *base, const struct policy_front_conf *c,
				      void (*ask)(void *arg, const struct rl_ask *ask,
						  struct rl_verdict *v),
				      void *arg, char **err)
{
	struct policy_front *f = calloc(1, sizeof *f);
	if (!f || !(f->at = calloc(c->listen->n + 1, sizeof *f->at)))
		fatal("out of memory");
	TAILQ_INIT(&f->conns);
	f->base = base;
	f->ask = ask;
	f->arg = arg;
	f->charges = policy_charges_new();
	policy_front_configure(f, c);
	for (size_t i = 0; i < c->listen->n; i++)
		if (!listen_on(f, c->listen->items[i], err)) {
			policy_front_free(f);
			return NULL;
		}
	return f;
}

static void report_one(const struct policy_client *k, void *arg)
{
	static const struct addr none;
	char text[ADDR_STRLEN];
	bool bites;
	const char *verdict = policy_verdict(k, &bites);
	json_array_append_new(
	    arg, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:b}", "client",
			   addr_eq(&k->address, &none) ? "unix" : addr_format(&k->address, text),
			   "requests", (json_int_t)k->requests, "with_login",
			   (json_int_t)k->with_login, "rcpt", (json_int_t)k->stage[POLICY_RCPT],
			   "data", (json_int_t)k->stage[POLICY_DATA], "end",
			   (json_int_t)k->stage[POLICY_END], "other",
			   (json_int_t)k->stage[POLICY_OTHER], "verdict", verdict, "bites", bites));
}

json_t *policy_front_report(const struct policy_front *f)
{
	json_t *all = json_array();
	policy_each_client(f->charges, report_one, all);
	return all;
}

void policy_front_free(struct policy_front *f)
{
	if (!f)
		return;
	for (struct conn *c = TAILQ_FIRST(&f->conns), *next; c; c = next) {
		next = TAILQ_NEXT(c, link);
		conn_free(c);
	}
	for (size_t i = 0; i < f->n; i++) {
		evconnlistener_free(f->at[i].lev);
		if (f->at[i].path[0])
			(void)unlink(f->at[i].path);
	}
	policy_charges_free(f->charges);
	free(f->at);
	free(f->realm);
	free(f);
}
