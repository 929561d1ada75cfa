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

void page_audit(struct web *w);

#endif
