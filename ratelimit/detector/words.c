/*
 * words - the reasons of a score, the heaviest first, for people. Pure.
 *
 * Trusted with nothing. Diagnostics: none. Known gaps: English only.
 */
#include <inttypes.h>
#include <string.h>

#include "ratelimit/detector/inside.h"

#define LEAST_POINTS 1

struct saying {
	const char *name, *text; /* %u: the signal's count */
};

static const struct saying sayings[SIGNAL_COUNT] = {
    [SIGNAL_NEW_CLIENT] = {"new_client",
			   "%u first contacts from a client that is not the account's own"},
    [SIGNAL_CONTACTS] = {"contacts", "%u first contacts, more than the account's habit"},
    [SIGNAL_RATE] = {"rate", "%u recipients an hour, above the habit of this hour of the week"},
    [SIGNAL_UNKNOWN] = {"unknown", "%u recipients that do not exist"},
    [SIGNAL_SPAM] = {"spam", "%u replies call it spam"},
    [SIGNAL_NETWORKS] = {"networks", "%u new client networks in a day"},
    [SIGNAL_SILENCE] = {"silence", "a new client after %u days without mail"},
    [SIGNAL_SENDERS] = {"senders", "%u sender addresses it never used"},
    [SIGNAL_DICTIONARY] = {"dictionary", "%u recipients of one domain in alphabetical order"},
    [SIGNAL_SAME_BODY] = {"same_body", "the same text to %u recipients from a new client"},
    [SIGNAL_CAMPAIGN] = {"campaign", "%u other accounts send the same text to strangers"},
    [SIGNAL_SHARED] = {"shared", "%u other accounts write to strangers from the same new client"},
    [SIGNAL_SYN] = {"syn", "%u refused port-25 connections from the same line"},
    [SIGNAL_COMPLAINTS] = {"complaints", "%u abuse reports"},
    [SIGNAL_PASSWORDS] = {"passwords", "%u wrong passwords or accounts tried before"},
    [SIGNAL_PROBE] = {"probe", "a single try from a new client, then more"},
    [SIGNAL_TLS] = {"tls", "a TLS client never seen for this account (%u today)"},
};

static const char *const stages[STAGE_COUNT] = {"normal", "watch", "throttle", "hold", "suspend"};

const char *detector_stage_name(enum detector_stage stage)
{
	return stages[stage];
}

const char *detector_signal_name(enum detector_signal signal)
{
	return sayings[signal].name;
}

static int heaviest(const struct active *s, uint32_t done)
{
	int best = -1;
	for (int i = 0; i < SIGNAL_COUNT; i++)
		if (!(done >> i & 1) && s->points[i] >= LEAST_POINTS &&
		    (best < 0 || s->points[i] > s->points[best]))
			best = i;
	return best;
}

static void say(char *buf, const struct active *s, int sig)
{
	char part[DETECTOR_WHY_SIZE];
	const char *text = sayings[sig].text, *at = strstr(text, "%u");
	if (at)
		snprintf(part, sizeof(part), "%.*s%" PRIu32 "%s", (int)(at - text), text,
			 s->count[sig], at + 2);
	else
		snprintf(part, sizeof(part), "%s", text);
	snprintf(buf, DETECTOR_WHY_SIZE, "%s: %.120s (+%.0f)", sayings[sig].name, part,
		 s->points[sig]);
}

void words(const struct detector *d, const struct active *s, struct detector_change *out)
{
	uint32_t done = 0;
	(void)d;
	out->n_why = 0;
	for (int i; out->n_why < DETECTOR_WHY && (i = heaviest(s, done)) >= 0; done |= 1u << i)
		say(out->why[out->n_why++], s, i);
}

void detector_say(const struct detector_conf *conf, const struct detector_change *c, char *buf,
		  size_t cap)
{
	static const char *const words_of[STAGE_COUNT] = {"", "watched", "slowed down", "held",
							  "suspended"};
	const int64_t at[STAGE_COUNT] = {0, conf->watch, conf->throttle, conf->hold, conf->suspend};
	int n = snprintf(buf, cap, "score %" PRId64, c->score);
	if (c->stage != STAGE_NORMAL && n > 0 && (size_t)n < cap)
		n += snprintf(buf + n, cap - (size_t)n, ", %s from %" PRId64, words_of[c->stage],
			      at[c->stage]);
	for (int i = 0; i < c->n_why && n > 0; i++) {
		size_t len = strlen(c->why[i]);
		if ((size_t)n + len + 3 > cap)
			return;
		n += snprintf(buf + n, cap - (size_t)n, "; %s", c->why[i]);
	}
}
