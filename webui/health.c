/*
 * health - the strip that tells whether the appliance itself is well.
 *
 * Purpose: an operator sees at a glance which daemon is away, falls behind or drops.
 * Trusted with: nothing; reads JSON of our own daemons, and shows what is there.
 * Diagnostics: a figure that a daemon does not give is left out.
 * Known gaps: no history; Prometheus has it.
 */
#include "webui/health.h"

#include <string.h>

enum how {
	PLAIN,
	ALARM, /* anything but zero is marked */
	SINCE, /* a time: shown as an age, left out when 0 */
};

static const struct daemon {
	const char *key, *job;
	const char *word; /* a string of its own to show, or NULL */
	struct {
		const char *path, *label;
		enum how how;
	} figures[8];
} daemons[] = {
    {"nfqd",
     "judges port 25",
     "state",
     {{"queues[]/packets", "judged", PLAIN},
      {"policy/entries", "exempt", PLAIN},
      {"queues[]/depth", "waiting", PLAIN},
      {"unfiltered", "unjudged", PLAIN},
      {"queues[]/dropped", "dropped", ALARM},
      {"outbox/batches", "batches to send", PLAIN},
      {"outbox/events_lost", "events lost", ALARM}}},
    {"msad",
     "takes mail",
     NULL,
     {{"sessions", "sessions", PLAIN},
      {"queue/queued", "queued", PLAIN},
      {"queue/held", "held", PLAIN},
      {"queue/deferred", "deferred", PLAIN},
      {"queue/oldest_ms", "oldest", SINCE}}},
    {"ratelimitd",
     "counts",
     "mode",
     {{"accounts", "accounts", PLAIN}, {"limited", "limited", PLAIN}, {"held", "on hold", PLAIN}}},
    {"acctd",
     "records",
     NULL,
     {{"policy_version", "policy version", PLAIN},
      {"subscribers", "subscribers", PLAIN},
      {"accounts", "accounts", PLAIN},
      {"feeds[]/lost", "events lost", ALARM},
      {"alerts/waiting", "alerts waiting", PLAIN},
      {"alerts/failed", "alerts failed", ALARM}}},
};
enum { N_DAEMONS = sizeof(daemons) / sizeof(*daemons) };

/* The member of o whose name is the first len bytes of name. */
static json_t *member(json_t *o, const char *name, size_t len)
{
	const char *key;
	json_t *v;
	json_object_foreach (o, key, v)
		if (strlen(key) == len && memcmp(key, name, len) == 0)
			return v;
	return NULL;
}

static bool sum(json_t *list, const char *path, int64_t *out)
{
	size_t i;
	json_t *x;
	int64_t v;
	bool any = false;
	*out = 0;
	json_array_foreach (list, i, x) {
		if (health_figure(x, path, &v)) {
			*out += v;
			any = true;
		}
	}
	return any;
}

bool health_figure(json_t *o, const char *path, int64_t *out)
{
	size_t n = strcspn(path, "/[");
	json_t *v = member(o, path, n);
	path += n;
	if (strncmp(path, "[]/", 3) == 0)
		return json_is_array(v) && sum(v, path + 3, out);
	if (*path == '/')
		return health_figure(v, path + 1, out);
	if (!json_is_integer(v))
		return false;
	*out = json_integer_value(v);
	return true;
}

static void figure(struct html *h, int64_t v, const char *label, enum how how)
{
	if (how == SINCE && v > 0)
		put(h, LIT("<span>"), TXT(label), LIT(" <b>"), AGO(v), LIT("</b></span>"));
	if (how == SINCE)
		return;
	put(h, EITHER(how == ALARM && v != 0, "<span class=\"alarm\">! <b>", "<span><b>"), NUM(v),
	    LIT("</b> "), TXT(label), LIT("</span>"));
}

static void row(struct html *h, json_t *status, const struct daemon *d)
{
	json_t *o = json_object_get(status, d->key);
	const char *word = d->word ? json_string_value(json_object_get(o, d->word)) : NULL;
	bool up = json_is_object(o), idle = json_is_false(json_object_get(o, "enforcing"));
	int64_t v;
	put(h, LIT("<li><p>"));
	if (idle) /* it runs, and port 25 is not what it should be */
		put(h, LIT("<span class=\"chip need\"><i aria-hidden=\"true\">!</i>not "
			   "enforcing</span>"));
	else
		put(h,
		    EITHER(
			up,
			"<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>up</span>",
			"<span class=\"chip need\"><i aria-hidden=\"true\">!</i>away</span>"));
	put(h, LIT(" <strong>"), TXT(d->key), LIT("</strong> <span class=\"sub\">"), TXT(d->job));
	if (word)
		put(h, LIT(" &middot; "), FOR(word));
	put(h, LIT("</span></p><p class=\"figs\">"));
	for (size_t i = 0; up && d->figures[i].path; i++)
		if (health_figure(o, d->figures[i].path, &v))
			figure(h, v, d->figures[i].label, d->figures[i].how);
	put(h, LIT("</p></li>"));
}

void health_write(struct html *h, json_t *status)
{
	put(h, LIT("<ul class=\"health\">"));
	for (size_t i = 0; i < N_DAEMONS; i++)
		row(h, status, &daemons[i]);
	put(h, LIT("</ul>"));
}
