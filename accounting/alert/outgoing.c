/*
 * outgoing - see outgoing.h.
 *
 * An alert stays in the outbox until its receiver's answer is put down. When acctd is killed in
 * between it is sent again, with the same id and the same bytes (but for the signature's time).
 *
 * Trusted with: names of files with secrets. Diagnostics: "alert" log lines; metrics
 * sekisho_alert_*. Known gaps: none.
 */
#include "accounting/alert/outgoing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "accounting/acctd.h"
#include "accounting/alert/mail.h"
#include "accounting/alert/pace.h"
#include "accounting/alert/payload.h"
#include "accounting/alert/sender.h"
#include "accounting/store_alert.h"
#include "accounting/token.h"

#define UNDER_WAY_MAX 16
#define AGAIN_MS      5000 /* after trouble with the database */

/* One row of the outbox that is with the sender, or whose answer could not be put down yet. */
struct flight {
	TAILQ_ENTRY(flight) link;
	struct outgoing *o;
	int64_t id, made_ms;
	int attempts;
	char rule[CONF_TITLE_MAX + 1], dest[512], uuid[TOKEN_HEX];
	bool answered, ok;
	char answer[512];
};

struct outgoing {
	struct acctd *a;
	struct sender *sender;
	const char *host;
	void (*answered)(void *arg);
	void *arg;
	TAILQ_HEAD(, flight) flights;
	int n;
	LIST_HEAD(, test) tests;
	struct metric *m_sent, *m_retried, *m_failed;
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static int64_t int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* --- jobs --- */

static json_t *webhook_job(const struct alert_rule *r, const char *uuid, const char *body)
{
	json_t *j = json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:s, s:s, s:I}", "how", "webhook",
			      "url", r->url, "plain_http", (int)r->plain_http, "type",
			      "application/json; charset=utf-8", "secret_file", r->secret_file,
			      "uuid", uuid, "body", body, "ca_file", r->ca_file, "timeout_ms",
			      (json_int_t)r->timeout_ms);
	json_t *headers = json_array();
	for (size_t i = 0; i < r->headers.n; i++)
		(void)json_array_append_new(headers, json_string(r->headers.items[i]));
	if (!j)
		bug("a webhook that is not UTF-8");
	(void)json_object_set_new(j, "headers", headers);
	return j;
}

static json_t *mail_job(const struct alert_rule *r, const char *to, const char *helo,
			const char *message)
{
	json_t *j = json_pack(
	    "{s:s, s:s, s:I, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "how", "mail", "host",
	    r->smtp_host, "port", (json_int_t)r->smtp_port, "tls", r->smtp_tls, "user",
	    r->smtp_user, "password_file", r->smtp_password_file, "from", r->from, "to", to, "helo",
	    helo, "body", message, "ca_file", r->ca_file, "timeout_ms", (json_int_t)r->timeout_ms);
	if (!j)
		bug("a mail that is not UTF-8");
	return j;
}

static json_t *job_by_mail(const struct outgoing *o, const struct alert_rule *r, const char *to,
			   const json_t *payload, int64_t made_ms)
{
	void *ctx = talloc_new(NULL);
	bool over = json_is_true(json_object_get(payload, "resolved"));
	const struct mail_head h = {
	    .from = r->from,
	    .to = to,
	    .host = o->host,
	    .uuid = text_of(payload, "id"),
	    .made_ms = made_ms,
	    .subject = talloc_asprintf(ctx, "[Sekisho %s] %s",
				       over ? "resolved" : text_of(payload, "severity"),
				       text_of(payload, "title"))};
	json_t *j = mail_job(r, to, o->host, mail_make(ctx, &h, text_of(payload, "text")));
	talloc_free(ctx);
	return j;
}

static json_t *job_for(const struct outgoing *o, const struct alert_rule *r, const char *dest,
		       const json_t *payload, int64_t made_ms)
{
	if (strcmp(dest, r->url) != 0)
		return job_by_mail(o, r, dest, payload, made_ms);
	json_t *slack = r->format == ALERT_SLACK ? payload_slack(payload) : NULL;
	char *body = json_dumps(slack ? slack : payload, JSON_COMPACT);
	if (!body)
		fatal("out of memory");
	json_t *j = webhook_job(r, text_of(payload, "id"), body);
	free(body);
	json_decref(slack);
	return j;
}

/* --- the outbox --- */

static bool is_dest(const struct alert_rule *r, const char *dest)
{
	const char *d;
	for (size_t i = 0; r && (d = rules_dest(r, i)) != NULL; i++)
		if (strcmp(d, dest) == 0)
			return true;
	return false;
}

static const char *state_after(const struct outgoing *o, const struct flight *f, int64_t now_ms,
			       int64_t *next_ms)
{
	const struct alert_rule *r = rules_named(&o->a->conf.alerts.rules, f->rule);
	*next_ms = now_ms;
	if (f->ok)
		return "sent";
	if (!is_dest(r, f->dest))
		return "failed";
	*next_ms = now_ms + pace_retry(r, f->attempts + 1);
	return *next_ms - f->made_ms > r->give_up_ms ? "failed" : "waiting";
}

static void tell(const struct outgoing *o, const struct flight *f, const char *state)
{
	bool sent = f->ok, failed = strcmp(state, "failed") == 0;
	metric_add(sent ? o->m_sent : failed ? o->m_failed : o->m_retried, 1);
	log_event(sent	   ? LOG_NOTICE
		  : failed ? LOG_ERR
			   : LOG_WARNING,
		  f->uuid, "alert",
		  sent	   ? "sent"
		  : failed ? "failed"
			   : "not-sent",
		  LS("alert", f->rule), LS("to", f->dest), LI("attempt", f->attempts + 1),
		  LS("answer", f->answer));
}

/* False: the database does not take it; it is tried again at the next turn. */
static bool put_down(struct outgoing *o, struct flight *f, int64_t now_ms)
{
	int64_t next;
	const char *state = state_after(o, f, now_ms, &next);
	store_begin(o->a->store);
	store_alert_result(o->a->store, f->id, state, f->attempts + 1, next, f->answer, now_ms);
	if (!store_commit(o->a->store, NULL, NULL))
		return false;
	tell(o, f, state);
	TAILQ_REMOVE(&o->flights, f, link);
	o->n--;
	free(f);
	return true;
}

static bool put_down_all(struct outgoing *o, int64_t now_ms)
{
	struct flight *f = TAILQ_FIRST(&o->flights), *next;
	for (; f; f = next) {
		next = TAILQ_NEXT(f, link);
		if (f->answered && !put_down(o, f, now_ms))
			return false;
	}
	return true;
}

static void on_answer(bool ok, const char *answer, void *arg)
{
	struct flight *f = arg;
	f->answered = true;
	f->ok = ok;
	snprintf(f->answer, sizeof f->answer, "%s", answer);
	f->o->answered(f->o->arg);
}

static struct flight *new_flight(struct outgoing *o, const json_t *row)
{
	struct flight *f = calloc(1, sizeof *f);
	if (!f)
		fatal("out of memory");
	f->o = o;
	f->id = int_of(row, "id");
	f->made_ms = int_of(row, "made_ms");
	f->attempts = (int)int_of(row, "attempts");
	snprintf(f->rule, sizeof f->rule, "%s", text_of(row, "rule"));
	snprintf(f->dest, sizeof f->dest, "%s", text_of(row, "dest"));
	snprintf(f->uuid, sizeof f->uuid, "%s", text_of(row, "uuid"));
	TAILQ_INSERT_TAIL(&o->flights, f, link);
	o->n++;
	return f;
}

static void send_row(struct outgoing *o, const json_t *row)
{
	struct flight *f = new_flight(o, row);
	const struct alert_rule *r = rules_named(&o->a->conf.alerts.rules, f->rule);
	json_t *payload = json_loads(text_of(row, "body"), 0, NULL);
	if (is_dest(r, f->dest) && payload)
		sender_send(o->sender, job_for(o, r, f->dest, payload, f->made_ms), on_answer, f);
	else
		on_answer(false, "the configuration does not name this receiver any more", f);
	json_decref(payload);
}

/* " 3 17 ": the rows that are not to be touched. */
static void busy_text(const struct outgoing *o, char *buf, size_t n)
{
	const struct flight *f;
	size_t len = (size_t)snprintf(buf, n, " ");
	TAILQ_FOREACH(f, &o->flights, link)
	len += (size_t)snprintf(buf + len, n - len, "%lld ", (long long)f->id);
}

int64_t outgoing_turn(struct outgoing *o, int64_t now_ms)
{
	char busy[UNDER_WAY_MAX * 21 + 2];
	json_t *row;
	if (!put_down_all(o, now_ms))
		return now_ms + AGAIN_MS;
	for (;;) {
		busy_text(o, busy, sizeof busy);
		if (o->n >= UNDER_WAY_MAX)
			return 0; /* an answer makes room, and a turn */
		row = store_alert_due(o->a->store, busy, now_ms);
		if (!row)
			return store_alert_next_due(o->a->store, busy);
		send_row(o, row);
		json_decref(row);
	}
}

/* --- tests --- */

struct test_one {
	struct test *t;
	char rule[CONF_TITLE_MAX + 1], dest[512];
};

struct test {
	LIST_ENTRY(test) link;
	struct outgoing *o;
	json_t *result;
	void (*done)(json_t *result, void *arg);
	void *arg;
	size_t n, waiting;
	struct test_one ones[]; /* a receiver each */
};

static void free_test(struct test *t)
{
	LIST_REMOVE(t, link);
	json_decref(t->result);
	free(t);
}

static void on_tested(bool ok, const char *answer, void *arg)
{
	struct test_one *one = arg;
	struct test *t = one->t;
	(void)json_array_append_new(t->result,
				    json_pack("{s:s, s:s, s:b, s:s}", "alert", one->rule, "to",
					      one->dest, "ok", (int)ok, "answer", answer));
	if (--t->waiting > 0)
		return;
	t->done(json_incref(t->result), t->arg);
	free_test(t);
}

static void test_rule(struct test *t, const struct alert_rule *r, int64_t now_ms)
{
	char uuid[TOKEN_HEX];
	const char *dest;
	token_new(uuid);
	const struct payload_head h = {.uuid = uuid,
				       .rule = r->name,
				       .kind = "test",
				       .host = t->o->host,
				       .dashboard = t->o->a->conf.alerts.dashboard_url,
				       .now_ms = now_ms};
	json_t *payload = payload_test(&h);
	for (size_t i = 0; (dest = rules_dest(r, i)) != NULL; i++) {
		struct test_one *one = &t->ones[t->n++];
		one->t = t;
		snprintf(one->rule, sizeof one->rule, "%s", r->name);
		snprintf(one->dest, sizeof one->dest, "%s", dest);
		t->waiting++;
		sender_send(t->o->sender, job_for(t->o, r, dest, payload, now_ms), on_tested, one);
	}
	json_decref(payload);
}

static bool chosen(const struct alert_rule *r, const char *name)
{
	return !name || strcmp(r->name, name) == 0;
}

bool outgoing_test(struct outgoing *o, const char *name, int64_t now_ms,
		   void (*done)(json_t *result, void *arg), void *arg)
{
	const struct conf_items *rules = &o->a->conf.alerts.rules;
	const struct alert_rule *all = rules->items;
	size_t n = 0;
	for (size_t i = 0; i < rules->n; i++)
		for (size_t d = 0; chosen(&all[i], name) && rules_dest(&all[i], d); d++)
			n++;
	if (n == 0)
		return false;
	struct test *t = calloc(1, sizeof *t + n * sizeof t->ones[0]);
	if (!t)
		fatal("out of memory");
	t->o = o;
	t->result = json_array();
	t->done = done;
	t->arg = arg;
	LIST_INSERT_HEAD(&o->tests, t, link);
	for (size_t i = 0; i < rules->n; i++)
		if (chosen(&all[i], name))
			test_rule(t, &all[i], now_ms);
	return true;
}

/* --- life --- */

struct outgoing *outgoing_new(struct acctd *a, const char *exe, const char *host,
			      void (*answered)(void *arg), void *arg)
{
	struct outgoing *o = calloc(1, sizeof *o);
	if (!o)
		fatal("out of memory");
	*o = (struct outgoing){.a = a, .host = host, .answered = answered, .arg = arg};
	TAILQ_INIT(&o->flights);
	LIST_INIT(&o->tests);
	o->sender = sender_new(a->base, exe);
	o->m_sent = metric_new(METRIC_COUNTER, "sekisho_alert_sends_total", "result=\"sent\"",
			       "Attempts to hand an alert to a receiver.");
	o->m_retried = metric_new(METRIC_COUNTER, "sekisho_alert_sends_total", "result=\"retried\"",
				  "Attempts to hand an alert to a receiver.");
	o->m_failed = metric_new(METRIC_COUNTER, "sekisho_alert_sends_total", "result=\"failed\"",
				 "Attempts to hand an alert to a receiver.");
	return o;
}

void outgoing_free(struct outgoing *o)
{
	struct flight *f;
	if (!o)
		return;
	sender_free(o->sender);
	while ((f = TAILQ_FIRST(&o->flights)) != NULL) {
		TAILQ_REMOVE(&o->flights, f, link);
		free(f);
	}
	for (struct test *t = LIST_FIRST(&o->tests), *next; t; t = next) {
		next = LIST_NEXT(t, link);
		free_test(t);
	}
	free(o);
}
