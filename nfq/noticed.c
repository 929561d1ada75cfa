/*
 * sekisho-noticed - answers refused connections to port 25 in the place of who they were for, so
 * that the bounce says why.
 *
 * sekisho-rules hands the connections of pools with notice = true to a local port (tproxy); here
 * they are greeted with 554 and the provider's help page, and sent off (notice.c). A connection is
 * one small structure; how many there are at once, of one source, and for how long is bounded, and
 * what does not fit is closed at once.
 *
 * Trusted with: CAP_NET_ADMIN until its sockets are open (IP_TRANSPARENT), then nothing: it has no
 * files and no other sockets. Diagnostics: log lines "process ...", metrics. Known gaps: none.
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"

#include "nfq/notice.h"

#define BACKLOG	  1024
#define READ_ONCE 2048

struct noticed_conf {
	struct conf_common common;
	char *hostname, *help_url, *text, *metrics;
	int64_t max_connections, timeout;
	int64_t port; /* of kernel-rules */
};

#define OFF(n) offsetof(struct noticed_conf, n)
static const struct conf_key keys[] = {
    CONF_COMMON_ROWS,
    {"notice", "hostname", CONF_STRING, OFF(hostname), "", 0, 0, NULL, true,
     "name in the greeting; empty: the system's host name", false},
    {"notice", "help_url", CONF_STRING, OFF(help_url), "", 0, 0, NULL, true,
     "the provider's page about port 25, named in the greeting", false},
    {"notice", "text", CONF_STRING, OFF(text),
     "Port 25 is closed on this line: submit mail on port 587 or 465", 0, 0, NULL, true,
     "what the greeting says before it", false},
    {"notice", "max_connections", CONF_INT, OFF(max_connections), "1000", 10, 100000, NULL, false,
     "connections at once; one source may have a tenth of them", false},
    {"notice", "timeout", CONF_DURATION, OFF(timeout), "30s", 1000, 300000, NULL, true,
     "the longest a connection may take", false},
    {"notice", "metrics", CONF_STRING, OFF(metrics), "127.0.0.1:9429", 0, 0, NULL, false,
     "where Prometheus metrics are served; empty: nowhere", false},
    {"kernel-rules", "notice_port", CONF_INT, OFF(port), "2525", 1, 65535, NULL, true,
     "local port of the responder for pools that give notice", true},
};
static const size_t n_keys = sizeof keys / sizeof *keys;

struct noticed {
	struct proc_args args;
	void *conf_ctx;
	struct noticed_conf conf;
	char greeting[NOTICE_REPLY];
	struct event_base *base;
	struct notice_gate *gate;
	struct metric *greeted, *turned_away, *timed_out, *inside;
};

struct conn {
	struct noticed *d;
	int fd;
	struct addr source;
	struct event *readable, *limit;
	struct notice notice;
};

/* --- configuration --------------------------------------------------------------- */

static bool load(void *ctx, const char *file, struct noticed_conf *out,
		 char greeting[static NOTICE_REPLY], char **err)
{
	char host[256] = "localhost";
	*out = (struct noticed_conf){0};
	if (!conf_load(ctx, file, keys, n_keys, out, err))
		return false;
	(void)gethostname(host, sizeof host - 1);
	if (notice_greeting(*out->hostname ? out->hostname : host, out->text, out->help_url,
			    greeting))
		return true;
	*err = talloc_asprintf(ctx,
			       "%s: notice: hostname, text and help_url must be printable ASCII "
			       "and fit one line of %d",
			       file, NOTICE_REPLY);
	return false;
}

/* --- a connection ---------------------------------------------------------------- */

static void end(struct conn *c)
{
	notice_leave(c->d->gate, &c->source);
	metric_set(c->d->inside, notice_inside(c->d->gate));
	event_free(c->readable);
	event_free(c->limit);
	(void)close(c->fd);
	free(c);
}

/* A client that does not read its few replies is not waited for. */
static bool say(const struct conn *c, const char *text, size_t len)
{
	return send(c->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	char in[READ_ONCE], out[(NOTICE_ERRORS + 1) * NOTICE_REPLY];
	size_t len = 0;
	(void)what;
	ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end(c);
		return;
	}
	(void)notice_feed(&c->notice, in, (size_t)n, out, sizeof out, &len);
	if ((len > 0 && !say(c, out, len)) || c->notice.over)
		end(c);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	static const char bye[] = "421 4.4.2 Timeout\r\n";
	struct conn *c = arg;
	(void)fd, (void)what;
	metric_add(c->d->timed_out, 1);
	(void)say(c, bye, sizeof bye - 1);
	end(c);
}

/* The limit is for the whole connection, whatever the client sends. */
static void begin(struct noticed *d, int fd, const struct addr *source)
{
	const struct timeval limit = {d->conf.timeout / 1000, d->conf.timeout % 1000 * 1000};
	struct conn *c = calloc(1, sizeof *c);
	if (!c)
		fatal("out of memory");
	*c = (struct conn){.d = d, .fd = fd, .source = *source};
	c->readable = event_new(d->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->limit = evtimer_new(d->base, on_limit, c);
	if (!c->readable || event_add(c->readable, NULL) != 0 || !c->limit ||
	    evtimer_add(c->limit, &limit) != 0)
		fatal("out of memory");
	metric_add(d->greeted, 1);
	metric_set(d->inside, notice_inside(d->gate));
	if (!say(c, d->greeting, strlen(d->greeting)))
		end(c);
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
	struct noticed *d = arg;
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	struct addr source;
	(void)what;
	int fd = accept4((int)listener, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (!addr_from_sockaddr((struct sockaddr *)&ss, &source, NULL) ||
	    !notice_enter(d->gate, &source)) {
		metric_add(d->turned_away, 1);
		(void)close(fd);
		return;
	}
	begin(d, fd, &source);
}

/* --- start ----------------------------------------------------------------------- */

/* On the loopback address alone: only what the rules hand over gets here. */
static void listen_on(struct noticed *d, int family)
{
	struct sockaddr_storage ss;
	struct addr local;
	static const uint8_t loop4[4] = {127, 0, 0, 1}, loop6[16] = {[15] = 1};
	const int one = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (family == AF_INET)
		addr_from_v4(&local, loop4);
	else
		addr_from_v6(&local, loop6);
	socklen_t len = addr_to_sockaddr(&local, (uint16_t)d->conf.port, &ss);
	bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0;
	if (ok && family == AF_INET6)
		ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0 &&
		     setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof one) == 0;
	else if (ok)
		ok = setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof one) == 0;
	if (!ok || bind(fd, (struct sockaddr *)&ss, len) != 0 || listen(fd, BACKLOG) != 0)
		fatal_errno("cannot listen on port %d of IPv%d for redirected connections",
			    (int)d->conf.port, family == AF_INET ? 4 : 6);
	struct event *ev = event_new(d->base, fd, EV_READ | EV_PERSIST, on_accept, d);
	if (!ev || event_add(ev, NULL) != 0)
		fatal("out of memory");
}

static void on_stop(void *arg)
{
	struct noticed *d = arg;
	proc_stopping();
	(void)event_base_loopbreak(d->base);
}

static void on_reload(void *arg)
{
	struct noticed *d = arg;
	void *ctx = talloc_new(NULL);
	struct noticed_conf fresh;
	char greeting[NOTICE_REPLY], *err;
	proc_reloading();
	if (!load(ctx, d->args.conf_file, &fresh, greeting, &err) ||
	    !conf_may_reload(ctx, keys, n_keys, &d->conf, &fresh, &err)) {
		log_event(LOG_ERR, "-", "process", "reload-refused", LS("reason", err));
		talloc_free(ctx);
	} else {
		talloc_free(d->conf_ctx);
		d->conf_ctx = ctx;
		d->conf = fresh;
		memcpy(d->greeting, greeting, sizeof greeting);
		log_event(LOG_NOTICE, "-", "process", "reloaded");
	}
	proc_ready(NULL);
}

static void serve_metrics(struct noticed *d)
{
	const char *err;
	d->greeted = metric_new(METRIC_COUNTER, "sekisho_notice_connections_total", NULL,
				"Connections told that port 25 is closed.");
	d->turned_away = metric_new(METRIC_COUNTER, "sekisho_notice_turned_away_total", NULL,
				    "Connections beyond a limit, closed without a word.");
	d->timed_out = metric_new(METRIC_COUNTER, "sekisho_notice_timeouts_total", NULL,
				  "Connections that took too long.");
	d->inside =
	    metric_new(METRIC_GAUGE, "sekisho_notice_connections", NULL, "Connections open now.");
	if (!metrics_serve(d->base, d->conf.metrics, NULL, NULL, &err))
		fatal("notice.metrics = \"%s\": %s", d->conf.metrics, err);
}

int main(int argc, char **argv)
{
	static struct noticed d;
	struct proc_identity id;
	const char *why;
	char *err;
	proc_args(argc, argv, "sekisho-noticed", "tell refused clients of port 25 why", &d.args);
	d.conf_ctx = talloc_new(NULL);
	if (!load(d.conf_ctx, d.args.conf_file, &d.conf, d.greeting, &err))
		fatal_config("%s", err);
	if (d.args.check_only) {
		(void)puts("configuration OK");
		return 0;
	}
	if (!proc_identity(d.conf.common.user, &id, &why))
		fatal_config("common.user: %s", why);
	d.base = event_base_new();
	if (!d.base)
		fatal("cannot make an event loop");
	d.gate = notice_gate_new(NULL, (unsigned)d.conf.max_connections);
	listen_on(&d, AF_INET);
	listen_on(&d, AF_INET6);
	proc_drop(&id, NULL, 0);
	proc_seccomp(false);
	serve_metrics(&d);
	proc_signals(d.base, on_stop, on_reload, &d);
	proc_watchdog(d.base);
	log_event(LOG_NOTICE, "-", "process", "ready", LI("port", d.conf.port));
	proc_ready(NULL);
	(void)event_base_dispatch(d.base);
	log_event(LOG_NOTICE, "-", "process", "stopped");
	return 0;
}
