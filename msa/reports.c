/*
 * reports - see reports.h.
 *
 * Purpose: a report is mail of ours with the null sender that asks for no notices: one that does
 * not arrive bothers nobody. What was sent is written to <day>.sent beside the counts when it is in
 * the queue, so that a restart sends nothing twice but what was on its way to the disk; the
 * report's id is the same then. Trusted with: nothing; addresses come from the DNS. Diagnostics:
 * log lines tlsrpt-sent, tlsrpt-unsent. A domain that names only https: gets its report by the
 * relay role (msa/relay/tls_post.h), which is asked again each hour, two, four, until the day after
 * next (RFC 8460 5.5). Known gaps: what was tried is forgotten with a restart: then it is tried at
 * once.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/mail/path.h"
#include "msa/relay/frames.h"
#include "msa/reports.h"
#include "msa/tlsrpt/gzip.h"
#include "msa/tlsrpt/report.h"

#define DAY_MS	  INT64_C(86400000)
#define LOOK_S	  600
#define SPREAD_MS (INT64_C(4) * 3600 * 1000) /* RFC 8460 4.1: not everybody at midnight */
#define AT_ONCE	  50
#define POST_FIRST                                                                                 \
	INT64_C(3600000) /* RFC 8460 5.5 asks for about an hour before the second try              \
			  */
#define POSTS_MAX 1000
#define SHOWN_MAX 300

/* A report over HTTPS that was tried. */
struct posting {
	char day[TLSRPT_DAY_LEN], domain[TLSRPT_NAME_MAX];
	int64_t wait_ms, next_ms; /* monotonic */
	struct posting *next;
};

struct reports {
	struct server *srv;
	struct event *timer;
	unsigned on_their_way;
	struct posting *posts; /* the newest first */
	size_t n_posts;
};

struct sending {
	struct reports *r;
	char day[TLSRPT_DAY_LEN], domain[TLSRPT_NAME_MAX];
};

static char *folder_of(void *ctx, const struct reports *r)
{
	return talloc_asprintf(ctx, "%s/msa/tlsrpt", r->srv->cfg->common.state_dir);
}

static struct tlsrpt_who who_of(const struct reports *r)
{
	const struct msa_config *c = r->srv->cfg;

	return (struct tlsrpt_who){c->hostname, c->sasl_realm, c->postmaster};
}

static void mark_sent(const struct sending *s)
{
	char *folder = folder_of(NULL, s->r);

	if (!tlsrpt_mark_sent(folder, s->day, s->domain))
		log_event(LOG_ERR, "-", "reports", "tlsrpt-unmarked", LS("folder", folder),
			  LS("why", strerror(errno)), LS("action", "the report may be sent again"));
	talloc_free(folder);
}

/* --- sending ---------------------------------------------------------------------------------- */

static void on_queued(enum queue_result result, void *arg)
{
	struct sending *s = arg;

	s->r->on_their_way--;
	if (result == QUEUE_OK)
		mark_sent(s);
	else
		log_event(LOG_ERR, "-", "reports", "tlsrpt-unsent", LS("domain", s->domain),
			  LS("day", s->day), LS("why", "the queue did not take it"));
	talloc_free(s);
}

/* RFC 8460 3: a report is signed by the domain it is from. */
static char *sign(const struct reports *r, void *ctx, char *mail, size_t *len, const char *id)
{
	const struct msa_config *c = r->srv->cfg;
	const char *at = strrchr(c->postmaster, '@'), *signer = NULL;
	int64_t now = clock_utc_ms();
	char *err = NULL, *fields = NULL;

	if (c->dkim_table && at)
		signer = dkim_table_domain(c->dkim_table, at + 1, now);
	if (signer)
		fields = dkim_table_sign(ctx, c->dkim_table, signer, id, (const uint8_t *)mail,
					 *len, now, &err);
	if (!fields) {
		log_event(LOG_WARNING, id, "reports", "tlsrpt-unsigned",
			  LS("why", err ? err : "there is no DKIM key for the postmaster's domain"),
			  LS("action", "sent, but receivers may not believe it"));
		return mail;
	}
	mail = talloc_asprintf(ctx, "%s%s", fields, mail);
	*len = strlen(mail);
	return mail;
}

/* The first address of rua that mail can go to. */
static bool address_of(const char *rua, char address[static TLSRPT_URI_MAX])
{
	char uri[TLSRPT_URI_MAX];
	struct path p;
	const char *why;

	while (tlsrpt_uri(&rua, uri))
		if (tlsrpt_mailto(uri, address) &&
		    path_parse_mailbox(address, strlen(address), &p, &why))
			return true;
	return false;
}

static void submit(struct reports *r, void *ctx, const struct tlsrpt_row *d, const char *day,
		   const char *to, const char *report)
{
	struct queue_msg m = {.account = "", .mail_from = "", .mail_from_out = "", .n_rcpts = 1};
	struct queue_rcpt rcpt = {.address = to, .esmtp = {.notify = NOTIFY_NEVER}};
	struct tlsrpt_who who = who_of(r);
	struct sending *s = talloc_zero(r, struct sending);
	size_t gz_len = 0;
	uint8_t *gz = gzip_pack(ctx, report, strlen(report), &gz_len);

	if (!s || !gz)
		fatal("out of memory");
	m.received_ms = clock_utc_ms();
	queue_new_id(r->srv->queue, m.received_ms, m.id);
	struct tlsrpt_letter l = {.who = &who,
				  .id = m.id,
				  .to = to,
				  .domain = d->domain,
				  .day = day,
				  .now_ms = m.received_ms,
				  .gz = gz,
				  .gz_len = gz_len};
	char *mail = tlsrpt_mail(ctx, &l, &m.len);
	m.data = (const uint8_t *)sign(r, ctx, mail, &m.len, m.id);
	m.rcpts = &rcpt;
	s->r = r;
	memcpy(s->day, day, sizeof(s->day));
	memcpy(s->domain, d->domain, sizeof(s->domain));
	r->on_their_way++;
	log_event(LOG_INFO, m.id, "reports", "tlsrpt-sent", LS("domain", d->domain), LS("day", day),
		  LS("to", to));
	queue_submit(r->srv->queue, &m, false, on_queued, s);
}

/* The first URL of rua that a report can be posted to. */
static bool url_of(const char *rua, char url[static TLSRPT_URI_MAX])
{
	char host[TLSRPT_URI_MAX], at[TLSRPT_URI_MAX];

	while (tlsrpt_uri(&rua, url))
		if (tlsrpt_https(url, host, at))
			return true;
	return false;
}

static struct posting *find_posting(struct reports *r, const char *domain, const char *day)
{
	struct posting *p = r->posts;

	while (p && (strcmp(p->day, day) != 0 || strcmp(p->domain, domain) != 0))
		p = p->next;
	return p;
}

/* Those of days that are over for good. */
static void forget_postings(struct reports *r)
{
	int64_t now = clock_mono_ms();

	for (struct posting **at = &r->posts, *p; (p = *at);)
		if (now - p->next_ms > DAY_MS * 2) {
			*at = p->next;
			talloc_free(p);
			r->n_posts--;
		} else {
			at = &p->next;
		}
}

/* Each try that fails doubles the wait. at_once: whoever asked does not wait. */
static bool due(struct reports *r, const char *domain, const char *day, bool at_once)
{
	struct posting *p = find_posting(r, domain, day);
	int64_t now = clock_mono_ms();

	if (p && now < p->next_ms && !at_once)
		return false;
	if (!p && r->n_posts >= POSTS_MAX)
		return false;
	if (!p) {
		p = talloc_zero(r, struct posting);
		if (!p)
			fatal("out of memory");
		snprintf(p->day, sizeof(p->day), "%s", day);
		snprintf(p->domain, sizeof(p->domain), "%s", domain);
		p->next = r->posts;
		r->posts = p;
		r->n_posts++;
	}
	p->wait_ms = p->wait_ms ? p->wait_ms * 2 : POST_FIRST;
	p->next_ms = now + p->wait_ms;
	return true;
}

/* Without an address for mail: the relay role has the way out, and marks it sent. */
static bool post_one(struct reports *r, const struct tlsrpt_row *d, const char *day, bool at_once)
{
	struct tlsrpt_who who = who_of(r);
	struct relay_post p;

	if (!url_of(d->text, p.url) || !due(r, d->domain, day, at_once))
		return false;
	snprintf(p.day, sizeof(p.day), "%s", day);
	snprintf(p.domain, sizeof(p.domain), "%s", d->domain);
	snprintf(p.organization, sizeof(p.organization), "%s", who.organization);
	snprintf(p.contact, sizeof(p.contact), "%s", who.contact);
	return queue_post(r->srv->queue, &p);
}

static bool send_one(struct reports *r, void *ctx, const struct tlsrpt_row *rows, size_t n,
		     const struct tlsrpt_row *d, const char *day, bool at_once)
{
	struct tlsrpt_who who = who_of(r);
	char to[TLSRPT_URI_MAX];
	json_t *report;

	if (!address_of(d->text, to))
		return post_one(r, d, day, at_once);
	if (!(report = tlsrpt_report(rows, n, d->domain, day, &who)))
		return false;
	char *text = json_dumps(report, JSON_COMPACT);
	if (!text)
		fatal("out of memory");
	submit(r, ctx, d, day, to, text);
	free(text);
	json_decref(report);
	return true;
}

/* Of day, to who has got none: how many left; those beyond most wait for the next look. */
static size_t send_day(struct reports *r, const char *day, const char *only, size_t most,
		       bool at_once)
{
	void *ctx = talloc_new(r);
	struct tlsrpt_counts *c = tlsrpt_open(ctx, folder_of(ctx, r), day, false);
	size_t n = 0, sent = 0;
	const struct tlsrpt_row *rows = c ? tlsrpt_rows(c, &n) : NULL;
	const char *done = tlsrpt_sent(ctx, folder_of(ctx, r), day);

	for (size_t i = 0; i < n && sent < most; i++)
		if (rows[i].kind == TLSRPT_DOMAIN && rows[i].text[0] &&
		    (!only || strcmp(only, rows[i].domain) == 0) &&
		    !tlsrpt_is_sent(done, rows[i].domain))
			sent += send_one(r, ctx, rows, n, &rows[i], day, at_once);
	talloc_free(ctx);
	return sent;
}

/* --- every night ------------------------------------------------------------------------------ */

static int64_t delay_ms(const struct reports *r)
{
	uint64_t h = 14695981039346656037u;

	for (const char *s = r->srv->cfg->hostname; *s; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	return (int64_t)((h ^ h >> 32) % (uint64_t)SPREAD_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct reports *r = arg;
	int64_t late = clock_utc_ms() - delay_ms(r);
	char day[TLSRPT_DAY_LEN];

	(void)fd;
	(void)what;
	if (!r->srv->cfg->tlsrpt || !r->srv->queue || r->on_their_way)
		return;
	forget_postings(r);
	/* A day that was missed, too. */
	for (int64_t back = 2; back >= 1; back--)
		send_day(r, tlsrpt_day(late - back * DAY_MS, day), NULL, AT_ONCE, false);
}

struct reports *reports_new(struct server *srv)
{
	struct reports *r = talloc_zero(NULL, struct reports);
	struct timeval tv = {.tv_sec = LOOK_S};

	if (!r)
		fatal("out of memory");
	r->srv = srv;
	r->timer = event_new(srv->base, -1, EV_PERSIST, on_timer, r);
	if (!r->timer)
		fatal("out of memory");
	event_add(r->timer, &tv);
	return r;
}

void reports_free(struct reports *r)
{
	if (r)
		event_free(r->timer);
	talloc_free(r);
}

/* --- requests --------------------------------------------------------------------------------- */

static json_t *cannot(bool *ok, const char *why)
{
	*ok = false;
	return json_string(why);
}

/* NULL: *why. */
static const char *text_arg(const json_t *args, const char *key, const char *dflt, const char **why)
{
	const json_t *v = json_object_get(args, key);

	if (v && !json_is_string(v)) {
		*why = "day and domain must be text";
		return NULL;
	}
	return v ? json_string_value(v) : dflt;
}

/* Those with failures first. */
static json_t *shown(json_t *all, size_t *more)
{
	json_t *list = json_array(), *p;
	size_t i;

	*more = 0;
	for (int good = 0; good < 2; good++)
		json_array_foreach (all, i, p) {
			bool fine = json_integer_value(json_object_get(p, "failed")) == 0;
			if (fine != (good == 1))
				continue;
			if (json_array_size(list) < SHOWN_MAX)
				json_array_append(list, p);
			else
				++*more;
		}
	json_decref(all);
	return list;
}

static json_t *show(struct reports *r, const char *day, const char *domain, bool *ok)
{
	void *ctx = talloc_new(r);
	struct tlsrpt_counts *c = tlsrpt_open(ctx, folder_of(ctx, r), day, false);
	struct tlsrpt_who who = who_of(r);
	size_t n = 0, more = 0;
	const struct tlsrpt_row *rows = c ? tlsrpt_rows(c, &n) : NULL;
	json_t *report = NULL, *result, *list;

	if (domain && !(report = tlsrpt_report(rows, n, domain, day, &who))) {
		talloc_free(ctx);
		return cannot(ok, "no such report: nothing was counted for that domain and day");
	}
	list = shown(tlsrpt_summary(rows, n, domain), &more);
	result = json_pack("{s:s,s:I,s:I,s:o}", "day", day, "dropped",
			   (json_int_t)(c ? tlsrpt_dropped(c) : 0), "more", (json_int_t)more,
			   "rows", list);
	if (report)
		json_object_set_new(result, "report", report);
	talloc_free(ctx);
	return result;
}

static json_t *send_now(struct reports *r, const char *day, const char *domain, bool *ok)
{
	char today[TLSRPT_DAY_LEN];

	if (strcmp(day, tlsrpt_day(clock_utc_ms(), today)) >= 0)
		return cannot(ok, "the day is not over: a report is of a whole day (UTC)");
	if (!r->srv->queue || r->on_their_way)
		return cannot(ok, "unavailable: reports are being sent; try again in a moment");
	return json_pack("{s:s,s:I}", "day", day, "sent",
			 (json_int_t)send_day(r, day, domain, AT_ONCE, true));
}

json_t *reports_request(struct reports *r, const char *op, const json_t *args, bool *ok)
{
	char now[TLSRPT_DAY_LEN];
	bool sends = strcmp(op, "tlsrpt.send") == 0;
	const char *why = "", *day, *domain;

	*ok = true;
	tlsrpt_day(clock_utc_ms() - (sends ? DAY_MS : 0), now);
	day = text_arg(args, "day", now, &why);
	domain = text_arg(args, "domain", NULL, &why);
	if (!day || why[0])
		return cannot(ok, why);
	if (!tlsrpt_day_valid(day))
		return cannot(ok, "day must be YYYY-MM-DD");
	if (!sends && strcmp(op, "tlsrpt.show") != 0)
		return cannot(ok, "no such request");
	return sends ? send_now(r, day, domain, ok) : show(r, day, domain, ok);
}
