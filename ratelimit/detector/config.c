/*
 * config - one row a key. The defaults of the library are read from these rows, too: there is one
 * table.
 *
 * Diagnostics: those of lib/conf, with file and line. Known gaps: none.
 */
#include "ratelimit/detector/config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/proc.h"

#define AT(member) offsetof(struct detector_settings, member)
#define SECOND	   1000
#define DAY	   (INT64_C(86400) * SECOND)
#define ROW(key, type, off, dflt, min, max, doc)                                                   \
	{                                                                                          \
		"detector", key, type, off, dflt, min, max, NULL, true, doc, false                 \
	}
#define SCORE(key, member, dflt, doc) ROW(key, CONF_INT, AT(detector.member), dflt, 1, 1000000, doc)
/* Three keys a signal: hundredths of a point a unit, points at most, half-life. */
#define SIGNAL(key, sig, each, most, fade, unit)                                                   \
	ROW(key "_points", CONF_INT, AT(detector.weight[sig].points), each, 0, 1000000,            \
	    "hundredths of a point " unit),                                                        \
	    ROW(key "_max", CONF_INT, AT(detector.weight[sig].max), most, 0, 1000000,              \
		"points this signal may add; 0: it is off"),                                       \
	    ROW(key "_fade", CONF_DURATION, AT(detector.weight[sig].half_life_ms), fade, SECOND,   \
		400 * DAY, "half of its points are gone after this")

const struct conf_key detector_keys[] = {
    CONF_COMMON_ROWS,
    {"detector", "mode", CONF_ENUM, AT(mode), "enforce", 0, 0, "enforce|observe", true,
     "observe: only count and log what would have been done", false},
    ROW("learn", CONF_DURATION, AT(detector.learn_ms), "14d", 0, 400 * DAY,
	"nothing is judged by habit before, of all and of each account"),
    SCORE("watch", watch, "40", "the score from which an account is watched"),
    SCORE("throttle", throttle, "60", "slowed down"),
    SCORE("hold", hold, "100", "held"),
    SCORE("suspend", suspend, "250", "suspended"),
    ROW("throttle_delay", CONF_DURATION, AT(throttle_delay_ms), "10s", 0, 60 * SECOND,
	"each message of a throttled account is answered so late"),
    ROW("throttle_recipients", CONF_INT, AT(throttle_recipients), "10", 0, 1000000,
	"a throttled account writes to so many in a minute; 0: no limit"),
    ROW("near_bits", CONF_INT, AT(detector.near_bits), "12", 0, 20,
	"bodies whose hashes differ in so many bits are one text"),
    SIGNAL("new_client", SIGNAL_NEW_CLIENT, "500", "150", "5d", "a first contact"),
    SIGNAL("contacts", SIGNAL_CONTACTS, "100", "90", "12h", "a first contact above the habit"),
    SIGNAL("rate", SIGNAL_RATE, "1000", "25", "1h", "each time the habit is doubled"),
    SIGNAL("unknown", SIGNAL_UNKNOWN, "1100", "120", "3d", "a recipient that does not exist"),
    SIGNAL("spam", SIGNAL_SPAM, "1400", "120", "3d", "a reply"),
    SIGNAL("networks", SIGNAL_NETWORKS, "1000", "50", "12h", "a network above two"),
    SIGNAL("silence", SIGNAL_SILENCE, "1000", "10", "1d", "the client"),
    SIGNAL("senders", SIGNAL_SENDERS, "600", "30", "12h", "a sender"),
    SIGNAL("dictionary", SIGNAL_DICTIONARY, "300", "40", "12h", "a recipient from the sixth on"),
    SIGNAL("same_body", SIGNAL_SAME_BODY, "250", "60", "12h", "a recipient above the habit"),
    SIGNAL("campaign", SIGNAL_CAMPAIGN, "1500", "110", "12h", "an account"),
    SIGNAL("shared", SIGNAL_SHARED, "1500", "110", "12h", "an account"),
    SIGNAL("syn", SIGNAL_SYN, "1000", "40", "12h", "10 connections, and each doubling"),
    SIGNAL("complaints", SIGNAL_COMPLAINTS, "3000", "90", "3d", "a report on a small sender"),
    SIGNAL("passwords", SIGNAL_PASSWORDS, "300", "30", "12h", "a failure"),
    SIGNAL("probe", SIGNAL_PROBE, "2000", "20", "1d", "the probe"),
    SIGNAL("tls", SIGNAL_TLS, "1000", "20", "1d", "a TLS client never seen for the account"),
    ROW("snapshot_interval", CONF_DURATION, AT(snapshot_interval_ms), "5m", SECOND, DAY,
	"how often what was learnt goes to disk"),
    {"detector", "accounts", CONF_INT, AT(accounts), "1000000", 100, 10000000, NULL, false,
     "remembered at once", false},
};
const size_t detector_n_keys = sizeof detector_keys / sizeof detector_keys[0];

static int64_t value_of(const struct conf_key *k)
{
	int64_t v = 0;
	const char *err = NULL;
	char *end;
	if (k->type == CONF_DURATION) {
		bug_on(!clock_parse_duration(k->dflt, &v, &err));
		return v;
	}
	v = strtoll(k->dflt, &end, 10);
	bug_on(*end);
	return v;
}

void detector_conf_default(struct detector_conf *c)
{
	struct detector_settings s = {.accounts = 0};
	for (size_t i = 0; i < detector_n_keys; i++)
		if (strcmp(detector_keys[i].section, "detector") == 0 &&
		    detector_keys[i].type != CONF_ENUM) {
			int64_t v = value_of(&detector_keys[i]);
			memcpy((char *)&s + detector_keys[i].offset, &v, sizeof(v));
		}
	*c = s.detector;
}
