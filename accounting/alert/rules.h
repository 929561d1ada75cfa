/*
 * rules - the groups `alert NAME { }` of the configuration: whom to tell, of what, and at what
 * pace.
 *
 * Pure but for rules_check(), which looks at the files that a rule names.
 */
#ifndef ACCOUNTING_ALERT_RULES_H
#define ACCOUNTING_ALERT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"

enum alert_format { ALERT_JSON, ALERT_SLACK };
enum alert_tls { ALERT_TLS_REQUIRED, ALERT_TLS_IMPLICIT, ALERT_TLS_OPPORTUNISTIC, ALERT_TLS_OFF };
enum alert_severity { ALERT_LOW, ALERT_MEDIUM, ALERT_HIGH };

struct alert_rule {
	char *name; /* first */
	char *url, *secret_file, *ca_file;
	bool plain_http, resolved;
	struct conf_list headers, to, kinds, classes;
	int format, smtp_tls, severity;
	int stage; /* index into "watch|throttle|hold|suspend" */
	char *smtp_host, *smtp_user, *smtp_password_file, *from;
	int64_t smtp_port, timeout_ms;
	int64_t gather_ms, repeat_ms, per_hour;
	int64_t retry_min_ms, retry_max_ms, give_up_ms;
};

#define ALERT_AT(f)  offsetof(struct alert_rule, f)
#define ALERT_DAY_MS 86400000LL
/* clang-format off */
#define ALERT_ROW(name, type, field, dflt, min, max, choices, doc) \
	{"alert", name, type, ALERT_AT(field), dflt, min, max, choices, true, doc, false}
/* offset: of the struct conf_items in the program's own struct */
#define ALERT_ROWS(offset) \
	{"alert", "", CONF_GROUP, offset, NULL, 0, sizeof(struct alert_rule), NULL, true, NULL, false}, \
	ALERT_ROW("url", CONF_STRING, url, "", 0, 0, NULL, "the webhook; empty: none"), \
	ALERT_ROW("plain_http", CONF_BOOL, plain_http, "false", 0, 0, NULL, \
		  "allow a webhook without TLS"), \
	ALERT_ROW("secret_file", CONF_PATH, secret_file, "", 0, 0, NULL, \
		  "the file whose first line is the key of the signature; empty: not signed"), \
	ALERT_ROW("headers", CONF_LIST, headers, "", 0, 0, NULL, "more header lines, \"Name: value\""), \
	ALERT_ROW("format", CONF_ENUM, format, "json", 0, 0, "json|slack", "what is posted"), \
	ALERT_ROW("ca_file", CONF_PATH, ca_file, "", 0, 0, NULL, \
		  "authorities for the receiver's certificate; empty: the system's"), \
	ALERT_ROW("timeout", CONF_DURATION, timeout_ms, "10s", 1000, 120000, NULL, \
		  "how long a receiver may take"), \
	ALERT_ROW("smtp_host", CONF_STRING, smtp_host, "", 0, 0, NULL, \
		  "the mail server that alerts are handed to, not our own queue; empty: none"), \
	ALERT_ROW("smtp_port", CONF_INT, smtp_port, "587", 1, 65535, NULL, "its port"), \
	ALERT_ROW("smtp_tls", CONF_ENUM, smtp_tls, "required", 0, 0, \
		  "required|implicit|opportunistic|off", "TLS with it"), \
	ALERT_ROW("smtp_user", CONF_STRING, smtp_user, "", 0, 0, NULL, "user for AUTH; empty: none"), \
	ALERT_ROW("smtp_password_file", CONF_PATH, smtp_password_file, "", 0, 0, NULL, \
		  "the file whose first line is the password"), \
	ALERT_ROW("from", CONF_STRING, from, "", 0, 0, NULL, "the sender's address"), \
	ALERT_ROW("to", CONF_LIST, to, "", 0, 0, NULL, "the receivers' addresses"), \
	ALERT_ROW("kinds", CONF_LIST, kinds, "", 0, 0, NULL, \
		  "account, operator, zombie, spraying, complaint, appliance; empty: all"), \
	ALERT_ROW("severity", CONF_ENUM, severity, "medium", 0, 0, "low|medium|high", \
		  "incidents below it are not told"), \
	ALERT_ROW("stage", CONF_ENUM, stage, "throttle", 0, 0, "watch|throttle|hold|suspend", \
		  "the first stage of the detector that is told"), \
	ALERT_ROW("classes", CONF_LIST, classes, "", 0, 0, NULL, \
		  "only accounts of these classes; empty: of all"), \
	ALERT_ROW("resolved", CONF_BOOL, resolved, "true", 0, 0, NULL, "tell when it is over, too"), \
	ALERT_ROW("gather", CONF_DURATION, gather_ms, "10s", 0, 3600000, NULL, \
		  "after an alert, how long new cases of its kind are gathered; doubled each time"), \
	ALERT_ROW("repeat", CONF_DURATION, repeat_ms, "5m", 1000, 3600000, NULL, \
		  "how long further changes of what was told are gathered"), \
	ALERT_ROW("per_hour", CONF_INT, per_hour, "20", 1, 1000, NULL, \
		  "at most so many alerts an hour; the rest in one"), \
	ALERT_ROW("retry_min", CONF_DURATION, retry_min_ms, "10s", 100, 3600000, NULL, \
		  "before the second attempt; doubled each time"), \
	ALERT_ROW("retry_max", CONF_DURATION, retry_max_ms, "10m", 100, ALERT_DAY_MS, NULL, \
		  "the longest wait between two attempts"), \
	ALERT_ROW("give_up", CONF_DURATION, give_up_ms, "1d", 1000, 7 * ALERT_DAY_MS, NULL, \
		  "an alert that could not be sent for so long has failed")
/* clang-format on */

/* Complete, and its files there? False with *err (talloc'd under ctx), which says what to do. */
bool rules_check(void *ctx, const struct conf_items *rules, char **err);

const struct alert_rule *rules_named(const struct conf_items *rules, const char *name);

/* Where a rule's alerts go: its URL first, then each address. NULL past the last. */
const char *rules_dest(const struct alert_rule *r, size_t i);

/* "account" "operator" "zombie" "spraying" "complaint" of an incident's detector. */
const char *rules_kind(const char *detector);

/* One line of an incident's timeline, or the begin or end of a state of the appliance. */
struct alert_change {
	const char *kind, *what;
	const char *severity; /* "low" "medium" "high" */
	const char *stage;    /* of the penalty: "throttle" ...; "": none */
	const char *class;    /* of the account; "": not known */
	bool account;	      /* the subject is an account */
};

/* How much it matters: 0 nothing to tell by itself, 1 to 4 as the stages, -1 it is over. */
int rules_rank(const struct alert_change *c);
/* Is this rule to tell it? An end is a matter of whether the case was told. */
bool rules_wants(const struct alert_rule *r, const struct alert_change *c);

#endif
