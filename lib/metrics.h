/*
 * metrics - Prometheus text format 0.0.4 over a local HTTP port (evhttp).
 *
 * Names follow the convention sekisho_<subsystem>_<what>_<unit|total>. Values are atomics: any
 * thread may add.
 */
#ifndef LIB_METRICS_H
#define LIB_METRICS_H

#include <event2/event.h>
#include <event2/buffer.h>
#include <stdbool.h>
#include <stdint.h>

struct metric;

enum metric_type { METRIC_COUNTER, METRIC_GAUGE };

/* labels: NULL or `name="value",...` (escaped by the caller's choice of static text). Registered
 * for ever; same name and labels return the same metric. */
struct metric *metric_new(enum metric_type type, const char *name, const char *labels,
			  const char *help);
void metric_add(struct metric *m, int64_t n);
void metric_set(struct metric *m, int64_t v);
int64_t metric_get(const struct metric *m);

/* All metrics as text, grouped by name, HELP and TYPE once a name. */
void metrics_render(struct evbuffer *out);
/* Serve GET /metrics on "ADDRESS:PORT" ("" = do nothing). refresh (may be NULL) is called before
 * each answer. One port a process. False with *err. */
bool metrics_serve(struct event_base *base, const char *listen, void (*refresh)(void *arg),
		   void *arg, const char **err);
/* Close the port, if one is open; the metrics stay. */
void metrics_close(void);

#endif
