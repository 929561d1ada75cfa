/*
 * store_suspect - a refused line that behaves like a zombie becomes one incident (see store_int.h).
 *
 * Nothing but packets is known of it: the subject is the line's address or prefix, the subscriber
 * is whoever has its lease, if anybody. While the case is unresolved, further evidence brings its
 * words up to date and makes at most one line an hour of its timeline. Once it is resolved, only
 * packets seen since open another.
 *
 * Diagnostics: "incident" log lines; the case's timeline. Known gaps: behind a shared address
 * (several leases by port) no subscriber is named.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "accounting/store_int.h"

#define NOTE_EVERY_MS 3600000
#define DETECTOR      "zombie"
#define ACTOR	      "nfqd"
#define WHY_MAX	      512

static int64_t subscriber_of(struct store *s, const struct event *e)
{
	int64_t ids[2];
	return store_lease_holders(s, &e->src, -1, e->t_ms, ids, 2) == 1 ? ids[0] : 0;
}

static void say_why(const struct event *e, char why[static WHY_MAX])
{
	char from[CLOCK_STRLEN], to[CLOCK_STRLEN], dst[ADDR_STRLEN];
	(void)snprintf(
	    why, WHY_MAX,
	    "zombie suspected: %" PRIu32 " refused attempts on port 25 to at least %" PRIu32
	    " servers in %" PRIu32 " networks from %s to %s, the last to %s; a mail "
	    "program goes to one or two",
	    e->u.suspect.packets, e->u.suspect.dsts, e->u.suspect.nets,
	    clock_format(e->u.suspect.first_ms / 1000 * 1000, from),
	    clock_format(e->t_ms / 1000 * 1000, to), addr_format(&e->u.suspect.last_dst, dst));
}

static void more_evidence(struct store *s, int64_t id, const char *why, int64_t t_ms)
{
	store_incident_why(s, id, why);
	if (sql_value(DB, ST_SUSPECT_NOTED, QI(id)) + NOTE_EVERY_MS <= t_ms)
		store_incident_note(s, id, ACTOR, "evidence", why, t_ms);
	else
		sql_run(DB, ST_INCIDENT_TOUCH, QI(id), QI(t_ms));
}

void store_suspect(struct store *s, const struct event *e)
{
	char why[WHY_MAX], line[PREFIX_STRLEN];
	struct prefix p = {.len = e->u.suspect.plen};
	addr_mask(&e->src, p.len, &p.a);
	prefix_format(&p, line);
	int64_t subscriber = subscriber_of(s, e);
	say_why(e, why);
	int64_t id = sql_value(DB, ST_SUSPECT_OPEN, QS(line), QI(subscriber), QS(DETECTOR));
	if (id) {
		more_evidence(s, id, why, e->t_ms);
		return;
	}
	if (e->u.suspect.first_ms <=
	    sql_value(DB, ST_SUSPECT_RESOLVED, QS(line), QI(subscriber), QS(DETECTOR)))
		return;
	struct store_incident_new n = {.subject_type = "line",
				       .subject = line,
				       .subscriber = subscriber,
				       .detector = DETECTOR,
				       .why = why,
				       .severity = "high",
				       .actor = ACTOR};
	id = store_incident_open(s, &n, e->t_ms);
	log_event(LOG_NOTICE, line, "incident", "opened", LI("id", id), LS("rule", DETECTOR),
		  LS("why", why));
}
