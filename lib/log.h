/*
 * log - one line an event: `id subsystem event key=value ...` on stderr.
 *
 * Under journald/syslog (JOURNAL_STREAM set) each line starts with the <N> priority prefix of
 * sd-daemon(3); otherwise with an RFC 3339 UTC time. Values are quoted when they hold anything but
 * printable, unquoted-safe ASCII; control characters, quotes, backslashes and bytes that are not
 * UTF-8 are escaped as \xNN, so that foreign text can never forge a line. A value is cut at 512
 * bytes. The id names the object the line is about (session id, queue id, source address,
 * "-" for the process) and is the same in the event row and on the page. A secret never comes here.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

struct addr;

struct log_kv {
	const char *key; /* NULL ends the list */
	enum { LOG_T_STR, LOG_T_INT, LOG_T_ADDR, LOG_T_BYTES } type;
	union {
		const char *s; /* NULL prints as "-" */
		int64_t i;
		const struct addr *a;
	} v;
	size_t len; /* LOG_T_BYTES only */
};

/* clang-format off */
#define LS(k, val)    {.key = (k), .type = LOG_T_STR, .v.s = (val)}
#define LI(k, val)    {.key = (k), .type = LOG_T_INT, .v.i = (int64_t)(val)}
#define LA(k, val)    {.key = (k), .type = LOG_T_ADDR, .v.a = (val)}
#define LB(k, ptr, n) {.key = (k), .type = LOG_T_BYTES, .v.s = (const char *)(ptr), .len = (n)}
/* clang-format on */

/* log_event(LOG_INFO, sid, "smtp", "connected", LA("address", &a), LI("port", port)) */
#define log_event(prio, id, subsystem, event, ...)                                                 \
	log_emit((prio), (id), (subsystem), (event),                                               \
		 (const struct log_kv[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}})

/* Call once at start-up; lines less urgent than max_priority are dropped. Thread-safe afterwards:
 * one write(2) a line. */
void log_open(const char *program, int max_priority);
void log_level(int max_priority);
void log_emit(int prio, const char *id, const char *subsystem, const char *event,
	      const struct log_kv *kv);
/*
 * Where lines go instead of stderr, without priority, time and newline; for tests. NULL restores.
 */
void log_sink(void (*write_line)(const char *line, size_t len, void *arg), void *arg);
/* The escaping used for values, for others who print foreign text to a terminal. Writes at most n
 * bytes with the NUL; returns buf. */
const char *log_escape(const char *text, size_t len, char *buf, size_t n);

#endif
