/*
 * config - one row a key: parse, default, range, reload, documentation; and what rows cannot say.
 *
 * Diagnostics: those of lib/conf, with file and line; of a group, its name. Known gaps: none.
 */
#include "ratelimit/config.h"

#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "lib/login.h"
#include "lib/proc.h"

#define AT(member) offsetof(struct ratelimit_conf, member)
#define MAX_COUNT  1000000000
#define SECOND	   1000
#define MINUTE	   (60 * SECOND)
#define DAY	   (24LL * 60 * MINUTE)
#define MAX_BYTES  (1LL << 40)
#define ROW(name, type, off, dflt, min, max, choices, reload, doc)                                 \
	{                                                                                          \
		"ratelimit", name, type, off, dflt, min, max, choices, reload, doc, false          \
	}
#define COUNT_ROW(name, off, dflt, max, doc) ROW(name, CONF_INT, off, dflt, 0, max, NULL, true, doc)
#define GROUP_ROW(group, name, type, s, member, dflt, min, max, choices, doc)                      \
	{                                                                                          \
		group, name, type, offsetof(struct s, member), dflt, min, max, choices, true, doc, \
		    false                                                                          \
	}
#define LIMIT_ROW(name, type, member, dflt, min, max, choices, doc)                                \
	GROUP_ROW("limit", name, type, limit_conf, member, dflt, min, max, choices, doc)
#define CLASS_ROW(name, type, member, dflt, min, max, choices, doc)                                \
	GROUP_ROW("account-class", name, type, class_conf, member, dflt, min, max, choices, doc)

const struct conf_key ratelimit_keys[] = {
    CONF_COMMON_ROWS,
    ROW("mode", CONF_ENUM, AT(limiter.mode), "enforce", 0, 0, "enforce|observe", true,
	"observe: answer yes, count and log what would have been done"),
    COUNT_ROW("messages_per_minute", AT(simple[0][0]), "30", MAX_COUNT, "an account; 0: no limit"),
    COUNT_ROW("messages_per_hour", AT(simple[0][1]), "300", MAX_COUNT, "an account; 0: no limit"),
    COUNT_ROW("messages_per_day", AT(simple[0][2]), "1000", MAX_COUNT, "an account; 0: no limit"),
    COUNT_ROW("recipients_per_minute", AT(simple[1][0]), "100", MAX_COUNT,
	      "an account; 0: no limit"),
    COUNT_ROW("recipients_per_hour", AT(simple[1][1]), "250", MAX_COUNT, "an account; 0: no limit"),
    COUNT_ROW("recipients_per_day", AT(simple[1][2]), "1000", MAX_COUNT, "an account; 0: no limit"),
    ROW("address_prefix4", CONF_INT, AT(limiter.prefix4), "32", 8, 32, NULL, true,
	"bits of an IPv4 address that are one key"),
    ROW("address_prefix6", CONF_INT, AT(limiter.prefix6), "64", 16, 128, NULL, true,
	"bits of an IPv6 address that are one key: the prefix a customer is given"),
    ROW("burst_window", CONF_DURATION, AT(limiter.detect.window_ms), "10m", MINUTE, 60 * MINUTE,
	NULL, true, "the detector looks back this far"),
    COUNT_ROW("burst_recipients", AT(limiter.detect.recipients), "30", 1000,
	      "different recipients in the window; 0: no detector"),
    COUNT_ROW("burst_rate", AT(limiter.detect.rate), "20", 1000000,
	      "messages in the last minute; 0: rule off"),
    COUNT_ROW("burst_refused", AT(limiter.detect.refused), "50", 1000000,
	      "refusals by a limit in the window; 0: rule off"),
    ROW("release_grace", CONF_DURATION, AT(limiter.release_grace_ms), "10m", 0, 24 * 60 * MINUTE,
	NULL, true, "after a release the detector leaves the account alone for this long"),
    COUNT_ROW("held_messages_per_day", AT(limiter.held_per_day), "2000", MAX_COUNT,
	      "taken on hold for one account; 0: no limit"),
    ROW("accounts", CONF_INT, AT(limiter.accounts), "1000000", 100, 10000000, NULL, false,
	"remembered at once, addresses and domains included"),
    ROW("memory", CONF_SIZE, AT(limiter.memory), "224M", 1 << 20, 32LL << 30, NULL, false,
	"for their counters, never more"),
    ROW("snapshot_interval", CONF_DURATION, AT(snapshot_interval_ms), "10s", SECOND, 10 * MINUTE,
	NULL, true, "how often counters go to disk"),
    ROW("policy_listen", CONF_LIST, AT(policy_listen), "", 0, 0, NULL, false,
	"where Postfix and Exim may ask: unix:/PATH or inet:ADDRESS:PORT"),
    ROW("policy_realm", CONF_STRING, AT(policy_realm), "", 0, 0, NULL, true,
	"the realm of logins without one"),
    {"msa", "login_case", CONF_ENUM, AT(login_case), LOGIN_CASE_DEFAULT, 0, 0, LOGIN_CASE_CHOICES,
     false, "what is before the @ of a login", true},
    ROW("policy_action", CONF_ENUM, AT(policy_action), "452", 0, 0, "452|defer", true,
	"what a mail server is told over a limit: 452 at once, or DEFER_IF_PERMIT"),
    ROW("metrics", CONF_STRING, AT(metrics), "127.0.0.1:9427", 0, 0, NULL, false,
	"Prometheus metrics on this address and port; empty: none"),
    {"limit", "", CONF_GROUP, AT(limits), NULL, 0, sizeof(struct limit_conf), NULL, true,
     "limits beside those of section ratelimit", false},
    LIMIT_ROW("key", CONF_ENUM, key, "account", 0, 0, KEY_CHOICES,
	      "for each different one of these"),
    LIMIT_ROW("unit", CONF_ENUM, unit, "recipients", 0, 0, UNIT_CHOICES, "what is counted"),
    LIMIT_ROW("window", CONF_DURATION, window_ms, "1h", SECOND, 31 * DAY, NULL,
	      "in any time of this length"),
    LIMIT_ROW("max", CONF_SIZE, max, "0", 0, MAX_BYTES, NULL, "so many pass; 0: no limit"),
    LIMIT_ROW("class", CONF_STRING, class, "*", 0, 0, NULL,
	      "for accounts of this account-class; *: for all"),
    LIMIT_ROW("mode", CONF_ENUM, mode, "enforce", 0, 0, "enforce|observe",
	      "observe: count and log what would have been refused"),
    {"account-class", "", CONF_GROUP, AT(classes), NULL, 0, sizeof(struct class_conf), NULL, true,
     "accounts with limits of their own: honest bulk", false},
    CLASS_ROW("max_recipients", CONF_INT, max_recipients, "0", 0, MAX_COUNT, NULL,
	      "the declared size: recipients of one message; 0: no limit of the class's own"),
    CLASS_ROW(
	"hours", CONF_LIST, hours, "", 0, 0, NULL,
	"local time when the class is in force, such as \"Mon-Fri 08:00-18:00\"; empty: always"),
    CLASS_ROW("members", CONF_LIST, members, "", 0, 0, NULL, "accounts, or @REALM"),
    CLASS_ROW("detector", CONF_ENUM, detector.mode, "enforce", 0, 0, "enforce|observe",
	      "observe: what the detector would do to them is only counted and logged"),
    CLASS_ROW("watch", CONF_INT, detector.watch, "0", 0, 1000000, NULL,
	      "the score from which they are watched; 0: that of section detector"),
    CLASS_ROW("throttle", CONF_INT, detector.throttle, "0", 0, 1000000, NULL,
	      "slowed down; 0: the same"),
    CLASS_ROW("hold", CONF_INT, detector.hold, "0", 0, 1000000, NULL, "held; 0: the same"),
    CLASS_ROW("suspend", CONF_INT, detector.suspend, "0", 0, 1000000, NULL,
	      "suspended; 0: the same"),
    CLASS_ROW(
	"weights", CONF_LIST, weights, "", 0, 0, NULL,
	"how much signals of the detector count for them, such as \"contacts 50\": percent of "
	"their points and limit in section detector; empty: as there"),
    CLASS_ROW("throttle_delay", CONF_INT, detector.throttle_delay_ms, "-1", -1, 60 * SECOND, NULL,
	      "milliseconds by which the reply to each message of a throttled one is late; -1: as "
	      "in section detector"),
    CLASS_ROW("throttle_recipients", CONF_INT, detector.throttle_recipients, "-1", -1, 1000000,
	      NULL, "in a minute of a throttled one; 0: no limit; -1: as in section detector"),
};
const size_t ratelimit_n_keys = sizeof ratelimit_keys / sizeof ratelimit_keys[0];

/* The six of section ratelimit, by the names that overrides use. */
static bool add_simple(struct ratelimit_conf *c, char err[static 256])
{
	static const int64_t windows[3] = {MINUTE, 60 * MINUTE, DAY};
	static const char *const names[2][3] = {
	    {"messages-1m", "messages-1h", "messages-1d"},
	    {"recipients-1m", "recipients-1h", "recipients-1d"}};
	for (int u = 0; u < 2; u++)
		for (int w = 0; w < 3; w++) {
			char name[LIMIT_NAME_MAX], all[] = "*";
			snprintf(name, sizeof name, "%s", names[u][w]);
			struct limit_conf row = {.name = name,
						 .key = KEY_ACCOUNT,
						 .unit = u ? UNIT_RECIPIENTS : UNIT_MESSAGES,
						 .window_ms = windows[w],
						 .max = c->simple[u][w],
						 .class = all};
			if (!limits_add(&c->limiter.limits, &row, err))
				return false;
		}
	return true;
}

static bool add_groups(struct ratelimit_conf *c, char err[static 256])
{
	const struct class_conf *class = c->classes.items;
	const struct limit_conf *row = c->limits.items;
	for (size_t i = 0; i < c->classes.n; i++)
		if (!limits_add_class(&c->limiter.limits, &class[i], err))
			return false;
	for (size_t i = 0; i < c->limits.n; i++)
		if (!limits_add(&c->limiter.limits, &row[i], err))
			return false;
	return true;
}

static bool add_members(struct ratelimit_conf *c, char err[static 256])
{
	const struct class_conf *class = c->classes.items;
	struct class_member *all = NULL;
	size_t n = 0;
	for (size_t i = 0; i < c->classes.n; i++)
		for (size_t k = 0; k < class[i].members.n; k++) {
			char *name = class[i].members.items[k], *at = strrchr(name, '@');
			if (!at || !at[1] || strlen(name) > RL_ACCOUNT_MAX) {
				snprintf(err, 256,
					 "account-class %s: %.80s is neither an account "
					 "(user@realm) nor @REALM",
					 class[i].name, name);
				return false;
			}
			login_fold(name, (enum login_case)c->login_case);
			all = talloc_realloc(c, all, struct class_member, (unsigned)n + 1);
			all[n++] = (struct class_member){name, class[i].name};
		}
	c->limiter.members = all;
	c->limiter.n_members = n;
	return true;
}

static bool thresholds_rise(const struct detector_conf *d)
{
	return d->watch <= d->throttle && d->throttle <= d->hold && d->hold <= d->suspend;
}

/* The class's, or those of everybody. */
static bool class_rises(const struct ratelimit_conf *c, const struct class_detector *k)
{
	struct detector_levels l;
	const struct account_class class = {.detector = *k};
	class_levels(&class, &c->detector.detector, &l);
	return l.watch <= l.throttle && l.throttle <= l.hold && l.hold <= l.suspend;
}

static bool classes_rise(const struct ratelimit_conf *c, char err[static 256])
{
	const struct class_conf *class = c->classes.items;
	for (size_t i = 0; i < c->classes.n; i++)
		if (!class_rises(c, &class[i].detector)) {
			snprintf(err, 256,
				 "account-class %s: watch, throttle, hold and suspend must rise, "
				 "with those of section detector where it has none",
				 class[i].name);
			return false;
		}
	return true;
}

bool config_finish(struct ratelimit_conf *c, char **err)
{
	char why[256];
	uint32_t stale;
	limits_init(&c->limiter.limits);
	c->limiter.throttle_delay_ms = c->detector.throttle_delay_ms;
	c->limiter.throttle_recipients = c->detector.throttle_recipients;
	if (!thresholds_rise(&c->detector.detector)) {
		*err = talloc_strdup(c, "detector.watch, throttle, hold and suspend must rise");
		return false;
	}
	if (classes_rise(c, why) && add_simple(c, why) && add_groups(c, why) &&
	    add_members(c, why) &&
	    limits_finish(&c->limiter.limits, NULL, c->limiter.detect.window_ms, &stale, why))
		return true;
	*err = talloc_strdup(c, why);
	return false;
}

struct ratelimit_conf *config_load(const char *file, char **err)
{
	struct ratelimit_conf *conf = talloc_zero(NULL, struct ratelimit_conf);
	if (!conf)
		fatal("out of memory");
	if (conf_load(conf, file, ratelimit_keys, ratelimit_n_keys, conf, err) &&
	    conf_load(conf, file, detector_keys, detector_n_keys, &conf->detector, err)) {
		if (config_finish(conf, err))
			return conf;
		*err = talloc_asprintf(conf, "%s: %s", file, *err);
	}
	*err = talloc_steal(NULL, *err);
	talloc_free(conf);
	return NULL;
}
