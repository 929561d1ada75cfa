/*
 * app - from a parsed request to a whole response.
 */
#ifndef WEBUI_APP_H
#define WEBUI_APP_H

#include "webui/page.h"

/*
 * Answer w->req. pool, conf, req and now_ms are set by the caller; the rest is zero. parse_status
 * is what cgi_parse() returned (then why says what was wrong). Afterwards status, location, allow,
 * set_cookie and h say what to send. Never fails: what goes wrong becomes a page.
 */
void app_answer(struct web *w, int parse_status, const char *why);
/* Status line, headers (security headers too) and body, as RFC 3875 6 wants them; talloc'd under
 * w->pool. NULL: out of memory. */
char *app_response(struct web *w, size_t *len);
/* A page of ours that a login may lead to: a path, perhaps with a query as cgi_target() writes it.
 */
bool app_is_page(const char *target);

#endif
