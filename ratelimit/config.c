/*
 * config - one row a key: parse, default, range, reload, documentation.
 *
 * Diagnostics: those of lib/conf, with file and line. Known gaps: none.
 */
#include "ratelimit/config.h"

#define AT(member)  offsetof(struct ratelimit_conf, member)
#define LIMIT(u, w) AT(limiter.limit[u][w])
#define MAX_COUNT   1000000000
#define SECOND	    1000
#define MINUTE	    (60 * SECOND)
#define ROW(name, type, off, dflt, min, max, choices, reload, doc)                                 \
	{                                                                                          \
		"ratelimit", name, type, off, dflt, min, max, choices, reload, doc, false          \
	}
#define COUNT_ROW(name, off, dflt, max, doc) ROW(name, CONF_INT, off, dflt, 0, max, NULL, true, doc)

const struct conf_key ratelimit_keys[] = {
    CONF_COMMON_ROWS,
    ROW("mode", CONF_ENUM, AT(limiter.mode), "enforce", 0, 0, "enforce|observe", true,
	"observe: answer yes, count and log what would have been done"),
    COUNT_ROW("messages_per_minute", LIMIT(UNIT_MESSAGES, WINDOW_MINUTE), "30", MAX_COUNT,
	      "an account; 0: no limit"),
    COUNT_ROW("messages_per_hour", LIMIT(UNIT_MESSAGES, WINDOW_HOUR), "300", MAX_COUNT,
	      "an account; 0: no limit"),
    COUNT_ROW("messages_per_day", LIMIT(UNIT_MESSAGES, WINDOW_DAY), "1000", MAX_COUNT,
	      "an account; 0: no limit"),
    COUNT_ROW("recipients_per_minute", LIMIT(UNIT_RECIPIENTS, WINDOW_MINUTE), "100", MAX_COUNT,
	      "an account; 0: no limit"),
    COUNT_ROW("recipients_per_hour", LIMIT(UNIT_RECIPIENTS, WINDOW_HOUR), "250", MAX_COUNT,
	      "an account; 0: no limit"),
    COUNT_ROW("recipients_per_day", LIMIT(UNIT_RECIPIENTS, WINDOW_DAY), "1000", MAX_COUNT,
	      "an account; 0: no limit"),
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
	"remembered at once"),
    ROW("snapshot_interval", CONF_DURATION, AT(snapshot_interval_ms), "10s", SECOND, 10 * MINUTE,
	NULL, true, "how often counters go to disk"),
    ROW("metrics", CONF_STRING, AT(metrics), "127.0.0.1:9427", 0, 0, NULL, false,
	"Prometheus metrics on this address and port; empty: none"),
};
const size_t ratelimit_n_keys = sizeof ratelimit_keys / sizeof ratelimit_keys[0];
