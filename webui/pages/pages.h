/*
 * pages - one function a page or form, dispatched by the table in webui/app.c.
 *
 * GET functions write a page; POST functions make a change and redirect, or show the page again
 * with w->error. The role was checked by the dispatcher, and is checked again by acctd.
 */
#ifndef WEBUI_PAGES_H
#define WEBUI_PAGES_H

#include "webui/page.h"

void page_login(struct web *w);
void post_login(struct web *w);
void post_logout(struct web *w);

void page_overview(struct web *w);

void page_exemptions(struct web *w);
void post_exempt_add(struct web *w);
void post_exempt_request(struct web *w);
void post_exempt_remove(struct web *w);
void page_exemption(struct web *w); /* one of them */
void post_exempt_verify(struct web *w);
void post_exempt_activate(struct web *w);
void post_exempt_suspend(struct web *w);
void post_exempt_resume(struct web *w);
void post_exempt_end(struct web *w); /* removes the one of the path */
/* What the DNS says of one, as a chip; nothing when nobody has looked. */
void exemption_evidence(struct web *w, const json_t *x);

void page_incidents(struct web *w);
void page_incident(struct web *w);
void post_incident_ack(struct web *w);
void post_incident_hold(struct web *w);
void post_incident_release(struct web *w);
void post_incident_resolve(struct web *w);
void post_incident_note(struct web *w);
void post_account_hold(struct web *w); /* form: account, reason */
void post_account_release(struct web *w);
/* "watched", "throttled" or "suspended" beside the state, where that is so. */
void incident_stage(struct html *h, const json_t *x);
/* The form that releases an account. by_id: of this incident, else by the account's name. */
void release_form(struct web *w, int64_t by_id, const char *account);
/* The rows of a list of incidents, as a table; also on the overview and the look-up page. */
void incident_table(struct web *w, const json_t *rows);

void page_reports(struct web *w);
void page_report(struct web *w);
void post_report_import(struct web *w);
void post_report_attach(struct web *w);
void report_table(struct web *w, const json_t *rows);

void page_who(struct web *w);
void message_table(struct web *w, const json_t *rows);
void lease_table(struct web *w, const json_t *rows);

/* Cards of the look-up page. about: an account, or a subscriber's ref. */
void incidents_of(struct web *w, struct query *q, const char *about);
/* A subscriber by number, or by a part of the name. */
void about_name(struct web *w, const char *name);
/* The lines inside p at t_ms, and its exemptions. */
void about_prefix(struct web *w, const struct prefix *p, int64_t t_ms);
void page_mail(struct web *w); /* one message: ?id=QUEUE-ID */

void page_limits(struct web *w);
void post_limit_reset(struct web *w);
void post_limit_set(struct web *w);
/* What may be sent, what is used of it, and the forms to change that. kind: "account" or "address".
 * The stage the account is in, "" when it is not known. */
const char *limits_card(struct web *w, const char *kind, const char *whom);

void page_alerts(struct web *w);
void page_alert(struct web *w);
void post_alert_test(struct web *w);
void post_alert_resend(struct web *w); /* form: send; the number in the path is the alert's */
/* A receiver without what may be its password. */
const char *alert_way(struct web *w, const char *to);
/* Sent, waiting, retrying, failed: how often, when next, when last. */
void alert_outcome(struct web *w, const json_t *x);
/* The button that sends it again, for who may, when it has not arrived. alert: its number. */
void alert_resend_form(struct web *w, const json_t *x, int64_t alert);
/* After that. */
void alert_done(struct web *w);

void page_queue(struct web *w);
void page_queue_act(struct web *w); /* how many it would be */
void post_queue_act(struct web *w);

void page_audit(struct web *w);

#endif
