/*
 * trace - one line of a trace of submissions (JSON): what sekishoctl replay reads.
 *
 * Lines, by the member that tells them apart: an attempt ("rcpt", with "result", one reply a
 * recipient), "auth", "syn25", "report", "bounce". Members that are not known are not read. A line
 * is wrong when it is no JSON object, has no time, or no account where one is needed; another
 * member that makes no sense counts as absent.
 */
#ifndef WEBUI_CTL_TRACE_H
#define WEBUI_CTL_TRACE_H

#include <jansson.h>

#include "ratelimit/detector/detector.h"

enum trace_kind {
	TRACE_ATTEMPT,
	TRACE_AUTH,
	TRACE_SYN,
	TRACE_REPORT,
	TRACE_BOUNCE,
	TRACE_OTHER, /* something we do not know: to be passed over */
};

struct trace {
	enum trace_kind kind;
	int64_t t_ms;
	struct detector_attempt a; /* account and client of every kind */
	const char **reply;	   /* a.n_rcpt of them, NULL where there is none */
	bool auth_ok;
	uint64_t syn, dst;
	const char *code;
	const char *class; /* of accounts; NULL: not said */
	/* Private: what the texts above point into, and arrays that are used again. */
	json_t *root;
	const char **rcpt;
	size_t cap;
};

/* t: all zeros, or used before; its texts live until the next call. False: *err (static). */
bool trace_parse(struct trace *t, const char *line, size_t len, const char **err);
void trace_clear(struct trace *t);

#endif
