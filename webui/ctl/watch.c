/*
 * watch - what happens now: events and changes of state, one line each, until interrupted.
 *
 * Nothing pushes to a terminal: each look compares what acctd and the database say with the look
 * before. The first look prints the state as it is and remembers the rest.
 *
 * Trusted with: reading. Diagnostics: on stderr. Known gaps: of two changes between two looks the
 * second is seen; lines beyond --limit in one look are not printed, `top` has them all.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define DAY_MS	   (24 * 3600 * 1000LL)
#define ROW_MS	   300000 /* the database keeps refused packets in rows of so long */
#define AUDIT_ROWS 1000

struct watch {
	struct cli *c;
	int64_t now_ms, incident_ms, audit_seq, since_ms, limit;
	bool first;
	json_t *states; /* name: text */
	json_t *lines;	/* source: packets */
};

static const struct col event_cols[] = {
    {"TIME", "t_ms", COL_TIME},
    {"KIND", "kind", COL_TEXT},
    {"SUBJECT", "subject", COL_TEXT},
    {"TEXT", "text", COL_TEXT},
    COL_END,
};

/* Takes text (a talloc'd or static one is copied). was may be NULL. */
static void emit(const struct watch *w, int64_t t_ms, const char *kind, const char *subject,
		 const char *text, const char *was)
{
	const struct cli *c = w->c;
	json_t *e = json_pack("{s:I, s:s, s:s, s:s, s:s?}", "t_ms", (json_int_t)t_ms, "kind", kind,
			      "subject", subject, "text", text, "was", was);
	if (c->json) {
		out_json_line(c, e);
	} else {
		const char *const gap = c->io->out_tty ? "  " : "\t";
		for (const struct col *k = event_cols; k->head; k++)
			fprintf(c->io->out, "%s%s", k == event_cols ? "" : gap,
				out_value(c, k->type, json_object_get(e, k->key)));
		fputc('\n', c->io->out);
	}
	json_decref(e);
}

/* --- state --- */

/* The members whose change is news; the rest are figures. */
static const char *const watched[] = {"state",
				      "backend",
				      "enforcing",
				      "set_alarm",
				      "set_full",
				      "fail",
				      "connected",
				      "applied",
				      "healthy",
				      "unfiltered",
				      "stalls",
				      "now",
				      "schema",
				      "limiter",
				      "process",
				      "unknown_class",
				      "class_without_chain"};

static bool is_watched(const char *key)
{
	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
		if (strcmp(watched[i], key) == 0)
			return true;
	return false;
}

static void state(struct watch *w, const char *name, const char *text)
{
	const char *was = json_string_value(json_object_get(w->states, name));
	if (was && strcmp(was, text) == 0)
		return;
	emit(w, w->now_ms, "state", name, text, was);
	json_object_set_new(w->states, name, json_string(text));
}

static void walk(struct watch *w, const char *outer, const json_t *v)
{
	const char *key;
	json_t *m;
	size_t i;
	if (json_is_array(v)) {
		json_array_foreach (v, i, m) {
			const json_t *id = json_object_get(m, "queue");
			if (!id)
				id = json_object_get(m, "pool");
			if (json_is_object(m))
				walk(w,
				     talloc_asprintf(w->c->pool, "%s.%s", outer,
						     out_value(w->c, COL_TEXT, id)),
				     m);
		}
		return;
	}
	json_object_foreach ((json_t *)v, key, m) {
		const char *name = talloc_asprintf(w->c->pool, "%s.%s", outer, key);
		if (strcmp(key, "counters") == 0)
			continue;
		if (json_is_object(m) || json_is_array(m))
			walk(w, name, m);
		else if (is_watched(key))
			state(w, name, out_value(w->c, COL_TEXT, m));
	}
}

static void look_states(struct watch *w)
{
	static const char *const daemons[] = {"acctd", "nfqd", "msad", "ratelimitd"};
	struct control_error e;
	json_t *r = ask_control_quiet(w->c, "status", NULL, &e);
	for (size_t i = 0; i < sizeof daemons / sizeof *daemons; i++) {
		const json_t *d = json_object_get(r, daemons[i]);
		bool up = json_is_object(d);
		/* acctd is asked for the others. */
		if (!r && i > 0)
			break;
		state(w, talloc_asprintf(w->c->pool, "%s.process", daemons[i]), up ? "up" : "away");
		if (up)
			walk(w, daemons[i], d);
	}
	json_decref(r);
}

/* --- the database --- */

static bool failed(struct watch *w, const json_t *r, const char *err, int *status)
{
	if (!r)
		*status = cli_fail(w->c, EX_UNAVAILABLE, "%s", err ? err : "no answer");
	return !r;
}

static int64_t number(const json_t *row, const char *key)
{
	return json_integer_value(json_object_get(row, key));
}

static const char *text(const struct watch *w, const json_t *row, const char *key)
{
	return out_value(w->c, COL_TEXT, json_object_get(row, key));
}

/* Oldest first: the lists are newest first. */
static bool look_incidents(struct watch *w, struct query *q, int *status)
{
	const char *err = NULL;
	int64_t newest = w->incident_ms;
	json_t *r = query_incidents(q, &(struct query_list){.state = "all"}, ASK_ROWS, &err);
	if (failed(w, r, err, status))
		return false;
	for (size_t i = json_array_size(r); i-- > 0;) {
		const json_t *row = json_array_get(r, i);
		int64_t t = number(row, "updated_ms");
		newest = t > newest ? t : newest;
		if (t <= w->incident_ms)
			continue;
		emit(w, t, "incident", text(w, row, "subject"),
		     talloc_asprintf(w->c->pool, "%s %s %s: %s", text(w, row, "id"),
				     text(w, row, "state"), text(w, row, "detector"),
				     text(w, row, "why")),
		     NULL);
	}
	w->incident_ms = newest;
	json_decref(r);
	return true;
}

static bool look_audit(struct watch *w, struct query *q, int *status)
{
	const char *err = NULL;
	int64_t newest = w->audit_seq;
	json_t *r = query_audit(q, &(struct query_list){.state = NULL}, AUDIT_ROWS, &err);
	if (failed(w, r, err, status))
		return false;
	for (size_t i = json_array_size(r); i-- > 0;) {
		const json_t *row = json_array_get(r, i);
		int64_t seq = number(row, "seq");
		newest = seq > newest ? seq : newest;
		if (seq <= w->audit_seq || (w->first && number(row, "t_ms") < w->since_ms))
			continue;
		emit(w, number(row, "t_ms"), "change", text(w, row, "object"),
		     talloc_asprintf(w->c->pool, "%s by %s: %s", text(w, row, "action"),
				     text(w, row, "actor"), text(w, row, "reason")),
		     NULL);
	}
	w->audit_seq = newest;
	json_decref(r);
	return true;
}

static void line(struct watch *w, const json_t *row, int64_t *left)
{
	const char *source = text(w, row, "source");
	int64_t packets = number(row, "packets");
	int64_t before = json_integer_value(json_object_get(w->lines, source));
	json_object_set_new(w->lines, source, json_integer(packets));
	if (packets <= before || (w->first && number(row, "last_ms") < w->since_ms) ||
	    (*left)-- <= 0)
		return;
	emit(w, number(row, "last_ms"), "blocked", source,
	     talloc_asprintf(w->c->pool, "%lld packets on port 25 to %s servers (%s)",
			     (long long)(packets - before), text(w, row, "dsts"),
			     text(w, row, "subscriber")),
	     NULL);
}

static bool look_lines(struct watch *w, struct query *q, int *status)
{
	const char *err = NULL;
	int64_t left = w->limit;
	size_t i;
	json_t *row, *r = query_top(q, w->since_ms - ROW_MS, w->now_ms + ROW_MS, 10000, &err);
	if (failed(w, r, err, status))
		return false;
	json_array_foreach (json_object_get(r, "lines"), i, row)
		line(w, row, &left);
	json_decref(r);
	return true;
}

static int look(struct watch *w, struct query *q)
{
	int status = EX_OK;
	void *keep = w->c->pool;
	w->c->pool = talloc_new(keep);
	look_states(w);
	if (look_incidents(w, q, &status) && look_audit(w, q, &status))
		(void)look_lines(w, q, &status);
	w->first = false;
	talloc_free(w->c->pool);
	w->c->pool = keep;
	return fflush(w->c->io->out) == 0 ? status : EX_IOERR;
}

/* --- until interrupted --- */

/* True when a signal asked to stop before the time was over. */
static bool stopped_within(const sigset_t *stop, int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	int sig;
	do
		sig = sigtimedwait(stop, NULL, &t);
	while (sig < 0 && errno == EINTR);
	return sig > 0;
}

static int run_watch(struct cli *c)
{
	bool totals = cli_flag(c, "totals");
	int64_t interval = totals ? 5000 : 1000, count = INT64_MAX;
	struct watch w = {.c = c,
			  .now_ms = c->io->now_ms,
			  .since_ms = c->io->now_ms,
			  .limit = 20,
			  .first = true,
			  .states = json_object(),
			  .lines = json_object()};
	sigset_t stop, old;
	int status = EX_OK;
	cli_number(c, "interval", &interval);
	cli_number(c, "count", &count);
	cli_number(c, "since", &w.since_ms);
	cli_number(c, "limit", &w.limit);
	w.incident_ms = w.since_ms - 1;
	struct query *q = ask_query(c, &status); /* outlives a round's pool */
	if (q)
		(void)ask_conf(c, &status);
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigprocmask(SIG_BLOCK, &stop, &old);
	for (int64_t i = 0; q && i < count && status == EX_OK; i++) {
		if (i > 0 && stopped_within(&stop, interval))
			break;
		w.now_ms = i ? clock_utc_ms() : c->io->now_ms;
		status = totals ? show_totals(c, w.now_ms) : look(&w, q);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	json_decref(w.states);
	json_decref(w.lines);
	return status;
}

static const struct cli_opt watch_opts[] = {
    {"totals", CLI_FLAG, NULL, "the totals and top instead, again and again", 0, 0, false},
    {"interval", CLI_DURATION, "DURATION",
     "from one look to the next, such as 2s or 1m; default 1s, of totals 5s", 100, DAY_MS, false},
    {"count", CLI_INT, "N", "stop after so many looks; default: on Ctrl-C", 1, 1000000000, false},
    {"since", CLI_TIME, "TIME",
     "begin with what happened since then; default now, of totals the 24 hours before each look", 0,
     0, false},
    {"limit", CLI_INT, "N", "at most so many lines refused a look; default 20", 1, 10000, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb watch_verbs[] = {
    {NULL, "", "Show new events and changes of state as they happen, until Ctrl-C.",
     "A line each: time, kind (state, incident, change, blocked), subject, text. The first lines "
     "are the state as it is. With --json each is one line of JSON, with \"was\" for a change of "
     "state.",
     watch_opts, run_watch},
};
const struct cli_noun noun_watch = {"watch", "events and changes of state, as they happen",
				    CLI_VERBS(watch_verbs)};
