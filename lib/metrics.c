/*
 * metrics - see metrics.h.
 *
 * A metric is registered once and lives as long as the process; adding to it is one atomic add. The
 * list only grows at its head, under a lock.
 *
 * Trusted with: one HTTP port that answers GET /metrics. Diagnostics: the result of
 * metrics_serve(). Known gaps: no histograms, no TLS, no authentication: the port belongs on the
 * loopback or a management network.
 */
#include <errno.h>
#include <event2/http.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/metrics.h"
#include "lib/proc.h"

struct metric {
	enum metric_type type;
	char *name, *labels, *help; /* labels: "" for none */
	_Atomic int64_t v;
	struct metric *next; /* in order of registration */
};

static struct metric *all;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the list, not the values */

static char *copy(const char *s)
{
	char *c = strdup(s ? s : "");
	if (!c)
		fatal("metrics: out of memory");
	return c;
}

/* The metric, or where to link a new one. Under the lock. */
static struct metric **find(const char *name, const char *labels)
{
	struct metric **m = &all;
	while (*m && (strcmp((*m)->name, name) != 0 || strcmp((*m)->labels, labels) != 0))
		m = &(*m)->next;
	return m;
}

struct metric *metric_new(enum metric_type type, const char *name, const char *labels,
			  const char *help)
{
	(void)pthread_mutex_lock(&lock);
	struct metric **at = find(name, labels ? labels : "");
	if (!*at) {
		struct metric *m = calloc(1, sizeof *m);
		if (!m)
			fatal("metrics: out of memory");
		m->type = type;
		m->name = copy(name);
		m->labels = copy(labels);
		m->help = copy(help);
		*at = m;
	}
	struct metric *found = *at;
	(void)pthread_mutex_unlock(&lock);
	return found;
}

void metric_add(struct metric *m, int64_t n)
{
	atomic_fetch_add_explicit(&m->v, n, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t v)
{
	atomic_store_explicit(&m->v, v, memory_order_relaxed);
}

int64_t metric_get(const struct metric *m)
{
	return atomic_load_explicit(&m->v, memory_order_relaxed);
}

static void render_one(struct evbuffer *out, const struct metric *m)
{
	bool labels = *m->labels != '\0';
	(void)evbuffer_add_printf(out, "%s%s%s%s %" PRId64 "\n", m->name, labels ? "{" : "",
				  m->labels, labels ? "}" : "", metric_get(m));
}

/* Is m the first of its name? */
static bool leads(const struct metric *m)
{
	const struct metric *o = all;
	while (o != m && strcmp(o->name, m->name) != 0)
		o = o->next;
	return o == m;
}

void metrics_render(struct evbuffer *out)
{
	(void)pthread_mutex_lock(&lock);
	for (const struct metric *m = all; m; m = m->next) {
		if (!leads(m))
			continue;
		(void)evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help,
					  m->name, m->type == METRIC_COUNTER ? "counter" : "gauge");
		for (const struct metric *o = m; o; o = o->next)
			if (strcmp(o->name, m->name) == 0)
				render_one(out, o);
	}
	(void)pthread_mutex_unlock(&lock);
}

/* --- HTTP
 * ----------------------------------------------------------------------------------------- */

/* One a process: a daemon has one metrics port. */
static struct {
	struct evhttp *http;
	void (*refresh)(void *arg);
	void *arg;
} server;

static void on_metrics(struct evhttp_request *req, void *arg)
{
	(void)arg;
	struct evbuffer *out = evbuffer_new();
	if (!out) {
		evhttp_send_error(req, HTTP_SERVUNAVAIL, NULL);
		return;
	}
	if (server.refresh)
		server.refresh(server.arg);
	metrics_render(out);
	(void)evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type",
				"text/plain; version=0.0.4; charset=utf-8");
	evhttp_send_reply(req, HTTP_OK, "OK", out);
	evbuffer_free(out);
}

static void on_other(struct evhttp_request *req, void *arg)
{
	(void)arg;
	evhttp_send_error(req, HTTP_NOTFOUND, NULL);
}

bool metrics_serve(struct event_base *base, const char *listen, void (*refresh)(void *arg),
		   void *arg, const char **err)
{
	struct addr a;
	uint16_t port;
	char host[ADDR_STRLEN];
	if (!listen || !*listen)
		return true;
	if (!addr_parse_port(listen, &a, &port, err))
		return false;
	if (server.http) {
		*err = "metrics are served already";
		return false;
	}
	struct evhttp *http = evhttp_new(base);
	if (!http)
		fatal("metrics: out of memory");
	evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_timeout(http, 10);
	evhttp_set_max_headers_size(http, 8192);
	evhttp_set_max_body_size(http, 0);
	server.refresh = refresh;
	server.arg = arg;
	(void)evhttp_set_cb(http, "/metrics", on_metrics, NULL);
	evhttp_set_gencb(http, on_other, NULL);
	errno = 0;
	if (evhttp_bind_socket(http, addr_format(&a, host), port) != 0) {
		*err = errno ? strerror(errno) : "cannot listen there";
		evhttp_free(http);
		return false;
	}
	server.http = http;
	return true;
}

void metrics_close(void)
{
	if (server.http)
		evhttp_free(server.http);
	server.http = NULL;
}
