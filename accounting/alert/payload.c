/*
 * payload - see payload.h: the JSON of an alert. payload_text.c says it in words.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: none.
 */
#include "accounting/alert/payload.h"

#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/proc.h"

#define TEXT_MAX 600

/* --- foreign text --- */

/* Bytes of a control character, or of one that turns the direction of writing, at p; else 0. */
static size_t harmful(const unsigned char *p)
{
	if (*p < 0x20 || *p == 0x7f)
		return 1;
	if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
		return 2;
	bool bidi =
	    p[0] == 0xe2 &&
	    ((p[1] == 0x80 && ((p[2] >= 0xaa && p[2] <= 0xae) || (p[2] >= 0x8e && p[2] <= 0x8f))) ||
	     (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
	return bidi || (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) ? 3 : 0;
}

char *payload_clean(void *ctx, const char *text, size_t max)
{
	const unsigned char *p = (const unsigned char *)(text ? text : "");
	char *out = talloc_size(ctx, strlen((const char *)p) + 1);
	size_t n = 0;
	if (!out)
		fatal("out of memory");
	while (*p) {
		size_t bad = harmful(p);
		out[n++] = (char)(bad ? '?' : *p);
		p += bad ? bad : 1;
	}
	if (n > max)
		for (n = max; n > 0 && ((unsigned char)out[n] & 0xc0) == 0x80;)
			n--; /* not inside a character */
	out[n] = '\0';
	return out;
}

char *payload_quote(void *ctx, const char *word)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789@%_+=:,./-";
	char *clean = payload_clean(ctx, word, TEXT_MAX);
	if (clean[0] && clean[0] != '-' && clean[strspn(clean, safe)] == '\0')
		return clean;
	char *out = talloc_strdup(ctx, "'");
	for (const char *p = clean; *p; p++)
		out = *p == '\'' ? talloc_strdup_append_buffer(out, "'\\''")
				 : talloc_strndup_append_buffer(out, p, 1);
	return talloc_strdup_append_buffer(out, "'");
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static int64_t int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void put_text(void *ctx, json_t *o, const char *key, const char *text)
{
	(void)json_object_set_new(o, key, json_string(payload_clean(ctx, text, TEXT_MAX)));
}

static void put_time(json_t *o, const char *key, int64_t ms)
{
	char buf[CLOCK_STRLEN];
	(void)json_object_set_new(o, key, ms ? json_string(clock_format(ms, buf)) : json_null());
}

/* --- one case --- */

static const char *stage_words(const char *stage)
{
	static const char *const words[][2] = {{"watch", "watched"},
					       {"throttle", "slowed down"},
					       {"hold", "mail held"},
					       {"suspend", "suspended"}};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(stage, words[i][0]) == 0)
			return words[i][1];
	return NULL;
}

/* What it is now, in two or three words. */
static const char *now_words(const json_t *c, const char *kind)
{
	static const char *const words[][2] = {{"zombie", "line behaves like a zombie"},
					       {"spraying", "passwords are tried from here"},
					       {"complaint", "complaint about its mail"}};
	const char *state = text_of(c, "state"), *stage = stage_words(text_of(c, "stage"));
	if (strcmp(kind, "appliance") == 0)
		return json_is_true(json_object_get(c, "over")) ? "over" : "needs attention";
	if (strcmp(state, "released") == 0 || strcmp(state, "resolved") == 0)
		return state;
	if (strcmp(state, "contained") == 0)
		return stage ? stage : "mail held";
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(kind, words[i][0]) == 0)
			return words[i][1];
	return stage ? stage : "needs attention";
}

static void add_next(json_t *list, const char *say, const char *run)
{
	(void)json_array_append_new(list, json_pack("{s:s, s:s}", "say", say, "run", run));
}

static void next_of_account(void *ctx, json_t *list, const json_t *c, int64_t id)
{
	const char *who = payload_quote(ctx, text_of(c, "subject"));
	bool held = strcmp(text_of(c, "state"), "contained") == 0;
	if (held)
		add_next(list, "its mail in the queue",
			 talloc_asprintf(ctx, "sekishoctl queue list --account %s", who));
	if (held)
		add_next(list, "stolen: have the password changed, then throw its mail away",
			 talloc_asprintf(ctx, "sekishoctl queue delete --account %s", who));
	else
		add_next(list, "stolen: hold its mail, then have the password changed",
			 talloc_asprintf(ctx, "sekishoctl incident hold %lld --reason stolen",
					 (long long)id));
	add_next(list, "a mistake: let its mail go, and let the detector learn",
		 talloc_asprintf(ctx, "sekishoctl incident release %lld --false-positive",
				 (long long)id));
}

static json_t *next_of_incident(void *ctx, const json_t *c)
{
	json_t *list = json_array();
	int64_t id = int_of(c, "incident");
	const char *state = text_of(c, "state");
	add_next(list, "what was noticed",
		 talloc_asprintf(ctx, "sekishoctl incident show %lld", (long long)id));
	if (strcmp(state, "resolved") == 0)
		return list;
	if (strcmp(text_of(c, "subject_type"), "account") == 0 && strcmp(state, "released") != 0)
		next_of_account(ctx, list, c, id);
	else if (strcmp(text_of(c, "subject_type"), "line") == 0 &&
		 !strchr(text_of(c, "subject"), '/'))
		add_next(list, "whose line it is",
			 talloc_asprintf(ctx, "sekishoctl who %s now",
					 payload_quote(ctx, text_of(c, "subject"))));
	if (strcmp(state, "contained") != 0)
		add_next(list, "dealt with: close it",
			 talloc_asprintf(ctx, "sekishoctl incident resolve %lld", (long long)id));
	return list;
}

static json_t *next_of_state(const json_t *c)
{
	static const char *const table[][3] = {
	    {"nfqd-", "its log says why", "journalctl -u sekisho-nfqd -n 50"},
	    {"msad-", "its log says why", "journalctl -u sekisho-msad -n 50"},
	    {"ratelimitd-", "its log says why", "journalctl -u sekisho-ratelimitd -n 50"},
	    {"not-enforcing", "what is in force on port 25", "sekisho-rules status"},
	    {"queue-", "what waits, by domain and age", "sekishoctl queue grid"},
	    {"spool-damaged", "which messages were put aside",
	     "journalctl -u sekisho-msad -g damaged"},
	    {"", "what takes the room", "df -h"},
	};
	json_t *list = json_array();
	const char *name = text_of(c, "case");
	size_t i = 0;
	while (strncmp(name, table[i][0], strlen(table[i][0])) != 0)
		i++;
	add_next(list, "how the daemons are", "sekishoctl status");
	add_next(list, table[i][1], table[i][2]);
	return list;
}

/* "score 75, held from 60; burst: … (+30)" as its parts: the first is the sum, the rest are
 * signals. */
static json_t *signals_of(void *ctx, const json_t *c)
{
	json_t *list = json_array();
	const char *p = text_of(c, "why");
	if (strcmp(text_of(c, "detector"), "detector") != 0)
		return list;
	while ((p = strstr(p, "; ")) != NULL) {
		p += 2;
		const char *end = strstr(p, "; ");
		char *part = talloc_strndup(ctx, p, end ? (size_t)(end - p) : strlen(p));
		(void)json_array_append_new(list, json_string(payload_clean(ctx, part, TEXT_MAX)));
	}
	return list;
}

static json_t *changes_of(void *ctx, const json_t *c)
{
	size_t i;
	json_t *row, *list = json_array();
	json_array_foreach (json_object_get(c, "changes"), i, row) {
		json_t *o = json_object();
		put_time(o, "time", int_of(row, "t_ms"));
		put_text(ctx, o, "actor", text_of(row, "actor"));
		put_text(ctx, o, "what", text_of(row, "what"));
		put_text(ctx, o, "text", text_of(row, "text"));
		(void)json_array_append_new(list, o);
	}
	return list;
}

static json_t *replies_of(void *ctx, const json_t *c)
{
	size_t i;
	json_t *row, *list = json_array();
	json_array_foreach (json_object_get(c, "replies"), i, row) {
		json_t *o = json_object();
		put_text(ctx, o, "reply", text_of(row, "reply"));
		put_text(ctx, o, "server", text_of(row, "server"));
		(void)json_object_set(o, "n", json_object_get(row, "n"));
		(void)json_array_append_new(list, o);
	}
	return list;
}

static json_t *evidence_of(void *ctx, const json_t *c)
{
	static const char *const as_is[] = {"totals", "networks", "blocked", "reports"};
	json_t *o = json_object();
	(void)json_object_set_new(o, "signals", signals_of(ctx, c));
	for (size_t i = 0; i < sizeof as_is / sizeof as_is[0]; i++)
		if (json_object_get(c, as_is[i]))
			(void)json_object_set(o, as_is[i], json_object_get(c, as_is[i]));
	if (json_object_get(c, "replies"))
		(void)json_object_set_new(o, "replies", replies_of(ctx, c));
	return o;
}

static void put_link(void *ctx, json_t *o, const struct payload_head *h, int64_t incident)
{
	const char *slash =
	    h->dashboard[0] && h->dashboard[strlen(h->dashboard) - 1] != '/' ? "/" : "";
	char *url = incident ? talloc_asprintf(ctx, "%s%sincidents/%lld", h->dashboard, slash,
					       (long long)incident)
			     : talloc_strdup(ctx, h->dashboard);
	(void)json_object_set_new(o, "link", h->dashboard[0] ? json_string(url) : json_null());
}

static void put_incident(void *ctx, json_t *o, const struct payload_head *h, const json_t *c)
{
	static const char *const texts[] = {"state",   "stage",	     "subject_type",
					    "subject", "subscriber", "subscriber_name",
					    "detector"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		put_text(ctx, o, texts[i], text_of(c, texts[i]));
	(void)json_object_set(o, "incident", json_object_get(c, "incident"));
	(void)json_object_set_new(o, "changes", changes_of(ctx, c));
	(void)json_object_set_new(o, "evidence", evidence_of(ctx, c));
	(void)json_object_set_new(o, "next", next_of_incident(ctx, c));
	put_link(ctx, o, h, int_of(c, "incident"));
}

static json_t *case_json(void *ctx, const struct payload_head *h, const json_t *c)
{
	json_t *o = json_object();
	put_text(ctx, o, "case", text_of(c, "case"));
	put_text(ctx, o, "now", now_words(c, h->kind));
	put_text(ctx, o, "severity", text_of(c, "severity"));
	put_text(ctx, o, "cause", text_of(c, "why"));
	put_time(o, "since", int_of(c, "opened_ms"));
	put_time(o, "ended", int_of(c, "resolved_ms"));
	(void)json_object_set_new(o, "over",
				  json_boolean(json_is_true(json_object_get(c, "over"))));
	(void)json_object_set_new(o, "told_before",
				  json_boolean(json_is_true(json_object_get(c, "told_before"))));
	if (int_of(c, "incident")) {
		put_incident(ctx, o, h, c);
	} else {
		put_text(ctx, o, "subject", text_of(c, "case"));
		(void)json_object_set_new(o, "next", next_of_state(c));
		put_link(ctx, o, h, 0);
	}
	return o;
}

/* --- the whole --- */

static const char *kind_words(const char *kind, bool one)
{
	static const char *const words[][3] = {{"account", "account", "accounts"},
					       {"operator", "account", "accounts"},
					       {"zombie", "line", "lines"},
					       {"spraying", "network", "networks"},
					       {"complaint", "subject", "subjects"},
					       {"appliance", "state", "states of the appliance"}};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(kind, words[i][0]) == 0)
			return words[i][one ? 1 : 2];
	return "cases";
}

/* "alice@isp.example: mail held", "7 accounts: mail held and others". */
static char *title_of(void *ctx, const struct payload_head *h, const json_t *cases, int64_t all)
{
	const json_t *first = json_array_get(cases, 0);
	const char *now = text_of(first, "now");
	bool same = true;
	size_t i;
	json_t *c;
	json_array_foreach ((json_t *)(uintptr_t)cases, i, c)
		same = same && strcmp(text_of(c, "now"), now) == 0;
	if (all <= 1)
		return talloc_asprintf(ctx, "%s: %s",
				       payload_clean(ctx, text_of(first, "subject"), 200), now);
	return talloc_asprintf(ctx, "%lld %s: %s%s", (long long)all, kind_words(h->kind, false),
			       now, same ? "" : " and others");
}

static const char *worst(const json_t *cases)
{
	static const char *const words[] = {"low", "medium", "high"};
	size_t i, w, max = 0;
	json_t *c;
	json_array_foreach ((json_t *)(uintptr_t)cases, i, c)
		for (w = max; w < 3; w++)
			if (strcmp(text_of(c, "severity"), words[w]) == 0)
				max = w;
	return words[max];
}

static bool all_over(const json_t *cases)
{
	size_t i;
	json_t *c;
	json_array_foreach ((json_t *)(uintptr_t)cases, i, c)
		if (!json_is_true(json_object_get(c, "over")))
			return false;
	return true;
}

static json_t *head_json(const struct payload_head *h)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "schema", PAYLOAD_SCHEMA, "id", h->uuid,
			      "alert", h->rule, "kind", h->kind, "host", h->host);
	if (!o)
		bug("an alert's head is not UTF-8");
	put_time(o, "time", h->now_ms);
	return o;
}

json_t *payload_make(const struct payload_head *h, const json_t *cases, int64_t all)
{
	void *ctx = talloc_new(NULL);
	json_t *o = head_json(h), *list = json_array(), *c;
	size_t i;
	json_array_foreach ((json_t *)(uintptr_t)cases, i, c)
		(void)json_array_append_new(list, case_json(ctx, h, c));
	(void)json_object_set_new(o, "test", json_false());
	(void)json_object_set_new(o, "resolved", json_boolean(all_over(list)));
	(void)json_object_set_new(o, "severity", json_string(worst(list)));
	(void)json_object_set_new(o, "title", json_string(title_of(ctx, h, list, all)));
	(void)json_object_set_new(o, "more",
				  json_integer((json_int_t)(all - (int64_t)json_array_size(list))));
	(void)json_object_set_new(o, "cases", list);
	(void)json_object_set_new(o, "text", json_string(payload_text(ctx, o)));
	talloc_free(ctx);
	return o;
}

json_t *payload_test(const struct payload_head *h)
{
	json_t *o = head_json(h);
	(void)json_object_set_new(o, "test", json_true());
	(void)json_object_set_new(o, "resolved", json_false());
	(void)json_object_set_new(o, "severity", json_string("low"));
	(void)json_object_set_new(o, "title", json_string("a test of this alert"));
	(void)json_object_set_new(o, "more", json_integer(0));
	(void)json_object_set_new(o, "cases", json_array());
	(void)json_object_set_new(
	    o, "text",
	    json_sprintf("[test] %s: this is a test of the alert %s; nothing has happened.\n",
			 h->host, h->rule));
	return o;
}

json_t *payload_slack(const json_t *payload)
{
	json_t *o = json_object();
	const char *text = text_of(payload, "text");
	json_t *escaped;
	char *s = talloc_strdup(NULL, "");
	/* Slack's three: without them a foreign name could write "<!channel>". */
	for (; *text; text++)
		s = *text == '&'   ? talloc_strdup_append_buffer(s, "&amp;")
		    : *text == '<' ? talloc_strdup_append_buffer(s, "&lt;")
		    : *text == '>' ? talloc_strdup_append_buffer(s, "&gt;")
				   : talloc_strndup_append_buffer(s, text, 1);
	escaped = json_string(s);
	(void)json_object_set_new(o, "text", escaped);
	talloc_free(s);
	return o;
}
