/*
 * report - finds whom a report is about and files it (contract in report.h).
 *
 * A token is random and only those who got the message know it; a queue id is next best; a tag is
 * signed by us, and only those who got mail of that day know it; an address
 * means something only with its time, and behind a shared address only with its port. Several
 * candidates are nobody: guessing would accuse.
 *
 * Known gaps: a report by address finds the account only when one alone submitted from it within
 * the hour.
 */
#include "accounting/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/clock.h"
#include "accounting/store_sql.h"

#define BEFORE_MS 3600000
#define AFTER_MS  300000

static bool take_message(struct store *s, const struct store_message *m, const char *how,
			 struct report_match *out)
{
	out->how = how;
	out->account = m->account;
	out->subscriber = store_account_subscriber(s, m->account);
	snprintf(out->login, sizeof out->login, "%s", m->login);
	snprintf(out->token, sizeof out->token, "%s", m->token);
	snprintf(out->queue_id, sizeof out->queue_id, "%s", m->queue_id);
	return true;
}

static bool by_token(struct store *s, const struct arf *a, struct report_match *out)
{
	struct store_message m;
	return a->token[0] && store_message_by_token(s, a->token, &m) &&
	       take_message(s, &m, "token", out);
}

static bool by_queue_id(struct store *s, const struct arf *a, struct report_match *out)
{
	struct store_message m;
	return a->queue_id[0] && store_message_by_queue_id(s, a->queue_id, &m) &&
	       take_message(s, &m, "queue_id", out);
}

#define DAY_MS	      INT64_C(86400000)
#define TAG_LIFE_DAYS 7 /* as msa/mail/batv.h makes them */

void report_tag_day(int ddd, int64_t received_ms, struct report_tag *out)
{
	int64_t today = received_ms / DAY_MS, made = (ddd - TAG_LIFE_DAYS + 1000) % 1000;
	int64_t ago = (today % 1000 - made + 1000) % 1000;
	out->from_ms = (today - ago) * DAY_MS;
	out->to_ms = out->from_ms + DAY_MS;
}

/* The tag proves who sent it, and says the day. */
static bool by_tag(struct store *s, const struct report_tag *tag, struct report_match *out)
{
	struct store_message m;
	bool several = false;
	if (!tag || !tag->sender[0])
		return false;
	if (store_message_by_sender(s, tag->sender, tag->from_ms, tag->to_ms, &m, &several))
		return take_message(s, &m, "tag", out);
	snprintf(out->error, sizeof out->error,
		 several ? "several accounts sent as %.200s that day"
			 : "its tag is ours, but nobody is known to have sent as %.200s that day",
		 tag->sender);
	return false;
}

/* When the message was under way: what the report says, else the message, else now. */
static int64_t time_of(const struct arf *a, int64_t received_ms)
{
	int64_t t = a->arrival_ms ? a->arrival_ms : a->original_ms;
	return t && t <= received_ms ? t : received_ms;
}

static bool by_lease(struct store *s, const struct arf *a, int64_t received_ms,
		     struct report_match *out)
{
	int64_t ids[2], t = time_of(a, received_ms);
	char when[CLOCK_STRLEN];
	int n = store_lease_holders(s, &a->source, a->source_port ? (int)a->source_port : -1, t,
				    ids, 2);
	clock_format(t, when);
	if (n == 0)
		snprintf(out->error, sizeof out->error, "nobody had a lease of %s at %s",
			 a->source_ip, when);
	else if (n > 1)
		snprintf(out->error, sizeof out->error, "several subscribers shared %s at %s%s",
			 a->source_ip, when, a->source_port ? "" : " and the report names no port");
	if (n != 1)
		return false;
	out->how = "lease";
	out->subscriber = ids[0];
	out->account = store_account_at(s, &a->source, out->subscriber, t - BEFORE_MS, t + AFTER_MS,
					out->login, sizeof out->login);
	return true;
}

void report_match(struct store *s, const struct arf *a, const struct report_tag *tag,
		  int64_t received_ms, struct report_match *out)
{
	*out = (struct report_match){.how = "none"};
	snprintf(out->token, sizeof out->token, "%.32s", a->token);
	snprintf(out->queue_id, sizeof out->queue_id, "%.32s", a->queue_id);
	if (by_token(s, a, out) || by_queue_id(s, a, out) || by_tag(s, tag, out))
		return;
	if (a->source_ip[0])
		(void)by_lease(s, a, received_ms, out);
	else if (!out->error[0])
		snprintf(out->error, sizeof out->error,
			 "it carries neither our trace token, nor our queue id, nor a valid tag in "
			 "the envelope sender, nor a Source-IP");
}

/* {"Source-IP":["192.0.2.1"],…}, malloc'd. */
static char *fields_json(const struct arf *a)
{
	json_t *o = json_object();
	for (uint32_t i = 0; i < a->n_fields; i++) {
		const struct arf_field *f = &a->fields[i];
		json_t *list = json_object_get(o, f->name);
		if (!list) {
			list = json_array();
			json_object_set_new(o, f->name, list);
		}
		json_array_append_new(list, sql_json_text(f->value, strlen(f->value)));
	}
	char *text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

/* What the case says about it, in one sentence. */
static void why_text(const struct arf *a, const struct report_match *m, char *buf, size_t n)
{
	snprintf(buf, n, "%s complaint from %.200s%s%s%s", a->feedback_type,
		 a->reporter[0] ? a->reporter : "an unnamed reporter",
		 a->source_ip[0] ? " about " : "", a->source_ip,
		 m->again ? ", of a message that was complained of before: not counted again" : "");
}

static int64_t incident_for(struct incidents *in, struct store *s, const struct arf *a,
			    const struct report_match *m, int64_t now_ms)
{
	char why[512];
	bool complaint = strcmp(a->feedback_type, "not-spam") != 0;
	if (!complaint || (!m->account && !m->subscriber))
		return 0;
	why_text(a, m, why, sizeof why);
	int64_t id =
	    incidents_complaint(in, m->account, m->login, m->subscriber, a->source_ip, why, now_ms);
	store_incident_note(s, id, "report", "complaint", why, now_ms);
	return id;
}

int64_t report_file(struct store *s, struct incidents *in, const struct arf *a,
		    const struct report_tag *tag, const char *sha256, int64_t received_ms,
		    struct report_match *match, int64_t *incident)
{
	report_match(s, a, tag, received_ms, match);
	match->again = store_report_again(s, match->account, match->queue_id);
	*incident = incident_for(in, s, a, match, received_ms);
	char *fields = fields_json(a);
	struct store_report r = {.received_ms = received_ms,
				 .format = a->format,
				 .feedback_type = a->feedback_type,
				 .reporter = a->reporter,
				 .source_ip = a->source_ip[0] ? a->source_ip : NULL,
				 .source_port = (int)a->source_port,
				 .arrival_ms = a->arrival_ms,
				 .match = match->how,
				 .account = match->account,
				 .subscriber = match->subscriber,
				 .incident = *incident,
				 .token = match->token,
				 .queue_id = match->queue_id,
				 .sha256 = sha256,
				 .error = match->error,
				 .fields = fields ? fields : "{}",
				 .original_headers = a->original_headers};
	int64_t id = store_report_add(s, &r);
	free(fields);
	return id;
}
