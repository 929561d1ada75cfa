/*
 * payload - what an alert says: JSON (docs/protocols/alert.md), and the same in words. Pure.
 *
 * Names and texts that came from outside are made harmless here: control characters and characters
 * that turn the direction of writing become "?", long texts are cut, and what stands in a command
 * is quoted for a shell.
 */
#ifndef ACCOUNTING_ALERT_PAYLOAD_H
#define ACCOUNTING_ALERT_PAYLOAD_H

#include <jansson.h>
#include <stdint.h>

#define PAYLOAD_SCHEMA "sekisho.alert/1"
#define PAYLOAD_CASES  50 /* listed; of more the number is told */

struct payload_head {
	const char *uuid, *rule, *kind;
	const char *host;      /* the gateway's name */
	const char *dashboard; /* its URL, "": not known */
	int64_t now_ms;
};

/* cases: as store_alert_cases() gives them, at most PAYLOAD_CASES; all: how many there are. A new
 * reference. */
json_t *payload_make(const struct payload_head *h, const json_t *cases, int64_t all);
/* Of a test, which no case is the reason for. */
json_t *payload_test(const struct payload_head *h);
/* The payload in words, several lines ended by line feeds; talloc'd under ctx. */
char *payload_text(void *ctx, const json_t *payload);
/* {"text":…}, which Slack, Mattermost and Rocket.Chat take. A new reference. */
json_t *payload_slack(const json_t *payload);

/* text with what could harm a terminal, a mail header or a reader replaced, at most max bytes;
 * talloc'd under ctx. */
char *payload_clean(void *ctx, const char *text, size_t max);
/* The same for a word of a command line: quoted where a shell needs it. */
char *payload_quote(void *ctx, const char *word);

#endif
