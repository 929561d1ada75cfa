/*
 * payload_text - an alert's payload in words: for mail, for chat, and for the member "text".
 *
 * Trusted with: nothing; what it prints was made harmless when the payload was made. Diagnostics:
 * none. Known gaps: none.
 */
#include <stdbool.h>
#include <string.h>

#include <talloc.h>

#include "accounting/alert/payload.h"

struct out {
	char *s;
};

#define ADD(o, ...) ((o)->s = talloc_asprintf_append_buffer((o)->s, __VA_ARGS__))

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static long long int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void say_totals(struct out *o, const json_t *t)
{
	if (!t || int_of(t, "messages") + int_of(t, "refused") == 0)
		return;
	ADD(o,
	    "  Mail of the last day: %lld messages to %lld recipients; %lld held, %lld refused, "
	    "%lld "
	    "bounced\n",
	    int_of(t, "messages"), int_of(t, "recipients"), int_of(t, "held"), int_of(t, "refused"),
	    int_of(t, "bounced"));
}

static void say_networks(struct out *o, const json_t *list)
{
	size_t i;
	json_t *n;
	json_array_foreach ((json_t *)(uintptr_t)list, i, n)
		ADD(o, "%s%s (%lld messages, %lld recipients)",
		    i ? ", " : "  From: ", text_of(n, "network"), int_of(n, "messages"),
		    int_of(n, "recipients"));
	if (json_array_size(list))
		ADD(o, "\n");
}

static void say_replies(struct out *o, const json_t *list)
{
	size_t i;
	json_t *r;
	json_array_foreach ((json_t *)(uintptr_t)list, i, r)
		ADD(o, "  Answered %lld times: \"%s\"%s%s\n", int_of(r, "n"), text_of(r, "reply"),
		    *text_of(r, "server") ? " by " : "", text_of(r, "server"));
}

static void say_evidence(struct out *o, const json_t *e)
{
	size_t i;
	json_t *s;
	const json_t *blocked = json_object_get(e, "blocked");
	json_array_foreach (json_object_get(e, "signals"), i, s)
		ADD(o, "  - %s\n", json_string_value(s));
	say_totals(o, json_object_get(e, "totals"));
	say_networks(o, json_object_get(e, "networks"));
	say_replies(o, json_object_get(e, "replies"));
	if (int_of(blocked, "packets"))
		ADD(o, "  Refused on port 25 from the same line: %lld packets to %lld servers\n",
		    int_of(blocked, "packets"), int_of(blocked, "destinations"));
	if (int_of(e, "reports"))
		ADD(o, "  Abuse reports: %lld\n", int_of(e, "reports"));
}

static void say_changes(struct out *o, const json_t *list)
{
	size_t i;
	json_t *c;
	json_array_foreach ((json_t *)(uintptr_t)list, i, c)
		ADD(o, "  %s %s by %s%s%s\n", text_of(c, "time"), text_of(c, "what"),
		    text_of(c, "actor"), *text_of(c, "text") ? ": " : "",
		    payload_clean(o->s, text_of(c, "text"), 160));
}

static void say_next(struct out *o, const json_t *c)
{
	size_t i;
	json_t *n;
	json_array_foreach (json_object_get(c, "next"), i, n)
		ADD(o, "%s %s:\n      %s\n", i ? "       " : "  Next:", text_of(n, "say"),
		    text_of(n, "run"));
	if (*text_of(c, "link"))
		ADD(o, "  %s\n", text_of(c, "link"));
}

static void say_head(struct out *o, const json_t *c)
{
	const char *ref = text_of(c, "subscriber");
	ADD(o, "\n%s: %s (%s, since %s%s%s)\n", text_of(c, "subject"), text_of(c, "now"),
	    text_of(c, "case"), text_of(c, "since"), *ref ? ", subscriber " : "", ref);
}

/* The signals have lines of their own. */
static void say_cause(struct out *o, const json_t *c)
{
	const char *cause = text_of(c, "cause");
	bool listed = json_array_size(json_object_get(json_object_get(c, "evidence"), "signals"));
	size_t n = listed ? strcspn(cause, ";") : strlen(cause);
	ADD(o, "  Cause: %.*s\n", (int)n, cause);
}

static void say_case(struct out *o, const json_t *c, bool whole)
{
	if (!whole) {
		ADD(o, "  %s: %s (%s)\n", text_of(c, "subject"), text_of(c, "now"),
		    text_of(c, "case"));
		return;
	}
	say_head(o, c);
	say_cause(o, c);
	say_evidence(o, json_object_get(c, "evidence"));
	say_changes(o, json_object_get(c, "changes"));
	say_next(o, c);
}

#define WHOLE 5 /* cases with everything; the others are a line */

char *payload_text(void *ctx, const json_t *payload)
{
	struct out o = {talloc_strdup(ctx, "")};
	const json_t *cases = json_object_get(payload, "cases");
	bool over = json_is_true(json_object_get(payload, "resolved"));
	size_t i;
	json_t *c;
	ADD(&o, "[%s] %s: %s\n", over ? "resolved" : text_of(payload, "severity"),
	    text_of(payload, "host"), text_of(payload, "title"));
	json_array_foreach ((json_t *)(uintptr_t)cases, i, c) {
		if (i == WHOLE)
			ADD(&o, "\nAnd:\n");
		say_case(&o, c, i < WHOLE);
	}
	if (int_of(payload, "more"))
		ADD(&o, "  and %lld more: sekishoctl incident list\n", int_of(payload, "more"));
	return o.s;
}
