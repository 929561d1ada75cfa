/*
 * conditions - see conditions.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: acctd itself cannot say that it is away:
 * watch its unit, or its metrics.
 */
#include "accounting/alert/conditions.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"

struct look {
	const struct conditions_limits *l;
	const struct conditions_facts *facts;
	bool (*held)(const char *name, void *arg);
	void (*f)(const struct condition *c, void *arg);
	void *arg;
};

#define SAY(c, ...) (void)snprintf((c)->why, sizeof(c)->why, __VA_ARGS__)

static int64_t int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *span(int64_t ms, char buf[static CLOCK_STRLEN])
{
	return clock_format_duration(ms / 1000 * 1000, buf);
}

static void absent(const struct look *k, int which, const char *name, const char *words)
{
	struct condition c = {.name = name, .severity = "high"};
	char buf[CLOCK_STRLEN], at[CLOCK_STRLEN];
	int64_t since = k->facts->absent_since[which], for_ms = k->facts->now_ms - since;
	c.holds = since && for_ms >= k->l->away_ms;
	if (c.holds)
		SAY(&c, "%s since %s (%s)", words, clock_format(since / 1000 * 1000, at),
		    span(for_ms, buf));
	k->f(&c, k->arg);
}

/* Over the limit, or over four fifths of it when it was over before. */
static bool over(const struct look *k, const char *name, int64_t v, int64_t limit)
{
	return limit && (v > limit || (k->held(name, k->arg) && v > limit / 5 * 4));
}

static void queue(const struct look *k, const json_t *q)
{
	struct condition depth = {.name = "queue-depth", .severity = "medium"};
	struct condition age = {.name = "queue-age", .severity = "medium"};
	char a[CLOCK_STRLEN], b[CLOCK_STRLEN];
	int64_t n = int_of(q, "queued") + int_of(q, "deferred") + int_of(q, "active");
	int64_t oldest = int_of(q, "oldest_ms"), old = oldest ? k->facts->now_ms - oldest : 0;
	depth.holds = over(k, depth.name, n, k->l->queue_depth);
	age.holds = over(k, age.name, old, k->l->queue_age_ms);
	SAY(&depth, "%" PRId64 " messages wait in the queue, the limit is %" PRId64, n,
	    k->l->queue_depth);
	SAY(&age, "the oldest message has waited for %s, the limit is %s", span(old, a),
	    span(k->l->queue_age_ms, b));
	k->f(&depth, k->arg);
	k->f(&age, k->arg);
}

static void spool(const struct look *k, const json_t *q)
{
	struct condition full = {.name = "spool-full", .severity = "high"};
	struct condition damaged = {.name = "spool-damaged", .severity = "high"};
	const char *room = json_string_value(json_object_get(q, "disk"));
	if (room) {
		full.holds = strcmp(room, "enough") != 0;
		SAY(&full, "the spool's disk is short (%.32s): new mail is put off with 452", room);
		k->f(&full, k->arg);
	}
	if (!json_object_get(q, "damaged"))
		return;
	damaged.holds = int_of(q, "damaged") > 0;
	SAY(&damaged, "%" PRId64 " messages could not be read from the spool and were put aside",
	    int_of(q, "damaged"));
	k->f(&damaged, k->arg);
}

static void roles(const struct look *k, const json_t *msad)
{
	struct condition auth = {.name = "msad-auth", .severity = "high"};
	struct condition key = {.name = "msad-key", .severity = "high"};
	const json_t *workers = json_object_get(msad, "auth_workers");
	auth.holds = workers && json_integer_value(workers) < 1;
	key.holds = json_is_false(json_object_get(msad, "key_up"));
	SAY(&auth, "no process that checks passwords is up: nobody can log in");
	SAY(&key, "the process with the private keys is away: no new TLS session is possible");
	k->f(&auth, k->arg);
	k->f(&key, k->arg);
}

static void disk(const struct look *k)
{
	struct condition c = {.name = "disk-low", .severity = "high"};
	int64_t free = k->facts->disk_free, limit = k->l->disk_free;
	if (free < 0)
		return;
	c.holds =
	    free < limit || (limit && k->held(c.name, k->arg) && free < limit + limit / 5 + 1);
	SAY(&c, "%" PRId64 " %% of the disk with state_dir are free, %" PRId64 " %% are wanted",
	    free, limit);
	k->f(&c, k->arg);
}

void conditions_look(const struct conditions_limits *l, const struct conditions_facts *facts,
		     bool (*held)(const char *name, void *arg),
		     void (*f)(const struct condition *c, void *arg), void *arg)
{
	const struct look k = {l, facts, held, f, arg};
	const json_t *q = json_object_get(facts->msad, "queue");
	absent(&k, ABSENT_NFQD, "nfqd-away", "sekisho-nfqd is away");
	absent(&k, ABSENT_MSAD, "msad-away", "sekisho-msad is away: customers cannot submit mail");
	absent(&k, ABSENT_RATELIMITD, "ratelimitd-away", "sekisho-ratelimitd is away: no limits");
	absent(&k, ABSENT_RULES, "not-enforcing", "nothing is enforced on port 25");
	if (facts->msad)
		roles(&k, facts->msad);
	if (json_is_object(q)) {
		queue(&k, q);
		spool(&k, q);
	}
	disk(&k);
}
