/*
 * store_spray - a network from which many accounts are tried becomes one incident, and whoever then
 * logs in from there is named in it (see store_int.h).
 *
 * msad says when (EVENT_SPRAY); who was tried, how often, and who got in are read from the logins
 * kept here. An account that logs in from such a network while its case is open is a suspect: its
 * password may have been found. It may as well be its owner, behind the same address: nothing is
 * done to it. Once the case is resolved, only attempts since open another.
 *
 * From ever new addresses, few tries each, it is a case of its own, whose line is every address
 * (::/0): who logged in from there would say nothing.
 *
 * Diagnostics: "incident" log lines; the case's timeline. Known gaps: none.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "accounting/store_int.h"

#define DETECTOR     "spraying"
#define ACTOR	     "msad"
#define WHY_MAX	     1024
#define NAMES_MAX    300 /* octets of names; the rest is counted */
#define ONE_WIDTH(a) (addr_is4(a) ? 32 : 64)

struct words {
	char text[WHY_MAX];
	size_t len;
};

static void add(struct words *w, const char *text)
{
	size_t n = strlen(text);
	if (n > sizeof w->text - 1 - w->len)
		n = sizeof w->text - 1 - w->len;
	memcpy(w->text + w->len, text, n);
	w->len += n;
	w->text[w->len] = '\0';
}

static void network_of(const struct addr *src, uint8_t len, struct prefix *p,
		       char text[static PREFIX_STRLEN])
{
	p->len = len;
	addr_mask(src, len, &p->a);
	prefix_format(p, text);
}

/* The names of one outcome, most attempts first, and how many did not fit. */
static void add_names(struct store *s, struct words *w, const struct event *e,
		      const struct addr *lo, const struct addr *hi, bool ok)
{
	size_t end = w->len + NAMES_MAX;
	int n = 0, more = 0;
	char rest[32];

	for (bool row =
		 sql_first(DB, ST_SPRAY_NAMES, QI(e->u.spray.first_ms), QA(lo), QA(hi), QI(ok));
	     row; row = sql_next(DB, ST_SPRAY_NAMES)) {
		const char *name = sql_text(DB, ST_SPRAY_NAMES, 0);
		if (w->len + strlen(name) + 2 > end) {
			more++;
			continue;
		}
		add(w, n++ ? ", " : "");
		add(w, name);
	}
	sql_end(DB, ST_SPRAY_NAMES);
	(void)snprintf(rest, sizeof rest, " and %d more", more);
	if (more)
		add(w, rest);
}

static void add_extent(struct store *s, struct words *w, const struct event *e)
{
	char text[96];

	(void)snprintf(text, sizeof text,
		       ", from %" PRId64 " addresses; %" PRId64 " accounts an hour are usual",
		       sql_value(DB, ST_SPRAY_NETWORKS, QI(e->u.spray.first_ms)),
		       sql_value(DB, ST_SPRAY_USUAL, QI(e->u.spray.first_ms)));
	add(w, text);
}

static void say_why(struct store *s, const struct event *e, const struct prefix *p, struct words *w)
{
	char head[192], from[CLOCK_STRLEN], to[CLOCK_STRLEN];
	struct addr lo, hi;

	prefix_range(p, &lo, &hi);
	int64_t tried = sql_value(DB, ST_SPRAY_COUNT, QI(e->u.spray.first_ms), QA(&lo), QA(&hi));
	int64_t times = sql_value(DB, ST_SPRAY_TIMES, QI(e->u.spray.first_ms), QA(&lo), QA(&hi));
	if (tried < e->u.spray.accounts)
		tried = e->u.spray.accounts;
	(void)snprintf(head, sizeof head,
		       "password spraying%s: %" PRId64 " accounts failed in %" PRId64
		       " attempts from %s to %s",
		       p->len == 0 ? " from many networks" : "", tried, times,
		       clock_format(e->u.spray.first_ms / 1000 * 1000, from),
		       clock_format(e->t_ms / 1000 * 1000, to));
	w->len = 0;
	add(w, head);
	if (p->len == 0)
		add_extent(s, w, e);
	add(w, ": ");
	add_names(s, w, e, &lo, &hi, false);
	if (p->len == 0)
		return;
	if (sql_value(DB, ST_SPRAY_IN, QI(e->u.spray.first_ms), QA(&lo), QA(&hi)) == 0)
		return;
	add(w, "; logged in from there: ");
	add_names(s, w, e, &lo, &hi, true);
}

void store_spray(struct store *s, const struct event *e)
{
	char network[PREFIX_STRLEN];
	struct prefix p;
	struct words w;
	int64_t ids[2], subscriber = 0;

	network_of(&e->src, e->u.spray.plen, &p, network);
	if (p.len > 0 && store_lease_holders(s, &e->src, -1, e->t_ms, ids, 2) == 1)
		subscriber = ids[0];
	say_why(s, e, &p, &w);
	int64_t id = sql_value(DB, ST_SUSPECT_OPEN, QS(network), QI(subscriber), QS(DETECTOR));
	if (id) {
		store_incident_why(s, id, w.text);
		store_incident_note(s, id, ACTOR, "evidence", w.text, e->t_ms);
		return;
	}
	if (e->t_ms <=
	    sql_value(DB, ST_SUSPECT_RESOLVED, QS(network), QI(subscriber), QS(DETECTOR)))
		return;
	struct store_incident_new n = {.subject_type = "line",
				       .subject = network,
				       .subscriber = subscriber,
				       .detector = DETECTOR,
				       .why = w.text,
				       .severity = "medium",
				       .actor = ACTOR};
	id = store_incident_open(s, &n, e->t_ms);
	log_event(LOG_NOTICE, network, "incident", "opened", LI("id", id), LS("rule", DETECTOR),
		  LS("why", w.text));
}

void store_spray_login(struct store *s, const struct event *e)
{
	char network[PREFIX_STRLEN], text[EVENT_ACCOUNT_MAX + 128];
	struct prefix p;

	network_of(&e->src, ONE_WIDTH(&e->src), &p, network);
	int64_t id = sql_value(DB, ST_SPRAY_OPEN, QS(network), QS(DETECTOR));
	if (id == 0)
		return;
	(void)snprintf(text, sizeof text,
		       "%s logged in from there: its password may have been found",
		       e->u.login.account);
	if (sql_value(DB, ST_SPRAY_NAMED, QI(id), QS(text)) > 0)
		return;
	store_incident_note(s, id, ACTOR, "suspect", text, e->t_ms);
	sql_run(DB, ST_SPRAY_HIGH, QI(id));
	log_event(LOG_WARNING, e->u.login.account, "incident", "suspect", LI("id", id),
		  LS("rule", DETECTOR), LA("client", &e->src));
}
