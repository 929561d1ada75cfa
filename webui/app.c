/*
 * app - the dispatcher: who may ask for what.
 *
 * Purpose: one table of routes, and one order of checks for all of them: HTTPS, route, method,
 * origin, session, role, CSRF token, page. Trusted with: nothing of its own. acctd checks session
 * and role again for every change. Diagnostics: each refusal is a page that says what to do. Known
 * gaps: no rate limit here; acctd slows down wrong passwords, lighttpd bounds connections.
 */
#include "webui/app.h"

#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"
#include "webui/session.h"

/* In a path '#' stands for one positive number. */
static const struct route {
	enum cgi_method method;
	enum web_role role; /* ROLE_NONE: without a session */
	const char *path;
	void (*run)(struct web *w);
} routes[] = {
    {CGI_GET, ROLE_NONE, "/login", page_login},
    {CGI_POST, ROLE_NONE, "/login", post_login},
    {CGI_POST, ROLE_VIEWER, "/logout", post_logout},
    {CGI_GET, ROLE_VIEWER, "/overview", page_overview},
    {CGI_GET, ROLE_VIEWER, "/exemptions", page_exemptions},
    {CGI_POST, ROLE_ADMIN, "/exemptions/add", post_exempt_add},
    {CGI_POST, ROLE_DESK, "/exemptions/request", post_exempt_request},
    {CGI_POST, ROLE_ADMIN, "/exemptions/remove", post_exempt_remove},
    {CGI_GET, ROLE_VIEWER, "/exemptions/#", page_exemption},
    {CGI_POST, ROLE_DESK, "/exemptions/#/verify", post_exempt_verify},
    {CGI_POST, ROLE_ADMIN, "/exemptions/#/activate", post_exempt_activate},
    {CGI_POST, ROLE_DESK, "/exemptions/#/suspend", post_exempt_suspend},
    {CGI_POST, ROLE_ADMIN, "/exemptions/#/resume", post_exempt_resume},
    {CGI_POST, ROLE_ADMIN, "/exemptions/#/remove", post_exempt_end},
    {CGI_GET, ROLE_VIEWER, "/incidents", page_incidents},
    {CGI_GET, ROLE_VIEWER, "/incidents/#", page_incident},
    {CGI_POST, ROLE_DESK, "/incidents/#/ack", post_incident_ack},
    {CGI_POST, ROLE_DESK, "/incidents/#/hold", post_incident_hold},
    {CGI_POST, ROLE_DESK, "/incidents/#/release", post_incident_release},
    {CGI_POST, ROLE_DESK, "/incidents/#/resolve", post_incident_resolve},
    {CGI_POST, ROLE_DESK, "/incidents/#/note", post_incident_note},
    {CGI_POST, ROLE_DESK, "/accounts/hold", post_account_hold},
    {CGI_POST, ROLE_DESK, "/accounts/release", post_account_release},
    {CGI_GET, ROLE_VIEWER, "/reports", page_reports},
    {CGI_GET, ROLE_VIEWER, "/reports/#", page_report},
    {CGI_POST, ROLE_DESK, "/reports/import", post_report_import},
    {CGI_POST, ROLE_DESK, "/reports/#/attach", post_report_attach},
    {CGI_GET, ROLE_VIEWER, "/limits", page_limits},
    {CGI_POST, ROLE_DESK, "/limits/reset", post_limit_reset},
    {CGI_POST, ROLE_ADMIN, "/limits/set", post_limit_set},
    {CGI_GET, ROLE_VIEWER, "/alerts", page_alerts},
    {CGI_GET, ROLE_VIEWER, "/alerts/#", page_alert},
    {CGI_POST, ROLE_ADMIN, "/alerts/test", post_alert_test},
    {CGI_POST, ROLE_DESK, "/alerts/#/resend", post_alert_resend},
    {CGI_GET, ROLE_VIEWER, "/queue", page_queue},
    {CGI_GET, ROLE_DESK, "/queue/act", page_queue_act},
    {CGI_POST, ROLE_DESK, "/queue/act", post_queue_act},
    {CGI_GET, ROLE_VIEWER, "/who", page_who},
    {CGI_GET, ROLE_VIEWER, "/messages", page_mail},
    {CGI_GET, ROLE_VIEWER, "/audit", page_audit},
};
enum { N_ROUTES = sizeof(routes) / sizeof(*routes) };

/* True when path fits pattern; *id is the number in it, 0 when it has none. */
static bool fits(const char *pattern, const char *path, int64_t *id)
{
	const char *hash = strchr(pattern, '#');
	*id = 0;
	if (!hash)
		return strcmp(pattern, path) == 0;
	size_t lead = (size_t)(hash - pattern);
	if (strncmp(pattern, path, lead) != 0)
		return false;
	char num[24];
	size_t digits = strspn(path + lead, "0123456789");
	if (digits >= sizeof(num) || strcmp(path + lead + digits, hash + 1) != 0)
		return false;
	memcpy(num, path + lead, digits);
	num[digits] = '\0';
	return cgi_id(num, id);
}

static const struct route *find(struct web *w, const char **allow)
{
	enum cgi_method m = w->req.method == CGI_HEAD ? CGI_GET : w->req.method;
	int64_t id;
	*allow = NULL;
	for (size_t i = 0; i < N_ROUTES; i++) {
		if (!fits(routes[i].path, w->req.path, &id))
			continue;
		if (routes[i].method == m) {
			w->id = id;
			return &routes[i];
		}
		*allow = routes[i].method == CGI_POST ? "POST" : "GET, HEAD";
	}
	return NULL;
}

bool app_is_page(const char *target)
{
	static const char in_query[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				       "0123456789-._~/%=&";
	int64_t id;
	char path[64];
	size_t len = strcspn(target, "?");
	if (len >= sizeof(path) ||
	    (target[len] && target[len + 1 + strspn(target + len + 1, in_query)]))
		return false;
	memcpy(path, target, len);
	path[len] = '\0';
	for (size_t i = 0; i < N_ROUTES; i++)
		if (routes[i].method == CGI_GET && routes[i].role != ROLE_NONE &&
		    fits(routes[i].path, path, &id))
			return true;
	return false;
}

static void refuse_parse(struct web *w, int status, const char *why)
{
	if (status == 405)
		w->allow = "GET, HEAD, POST";
	page_message(w, status, "That request was not understood", why,
		     "Go back and try again, or start from the overview.");
}

static void no_route(struct web *w, const char *allow)
{
	w->allow = allow;
	if (allow)
		page_message(w, 405, "That address does not take this",
			     "It is there for another method of HTTP.",
			     "Start from the overview and use the buttons there.");
	else
		page_message(w, 404, "There is no such page",
			     "The address may be mistyped, or what it showed may be gone.",
			     "Start from the overview, or look it up by address, account or "
			     "incident number.");
}

/* Every check that comes before a form is believed. False: an answer is written. */
static bool post_allowed(struct web *w, const struct route *r)
{
	if (!w->req.same_origin) {
		page_message(w, 403, "That form came from another site",
			     "Your browser says that this request was not sent from here. Nothing "
			     "was changed.",
			     "Open the page here and use its own buttons.");
		return false;
	}
	if (r->role != ROLE_NONE && !session_csrf_ok(w)) {
		page_message(w, 403, "That form is out of date",
			     "It was made for another session. Nothing was changed.",
			     "Go back, reload the page and send it again.");
		return false;
	}
	return true;
}

static bool role_allowed(struct web *w, const struct route *r)
{
	if (w->role >= r->role)
		return true;
	page_message(
	    w, 403, "Your role does not allow that", "Nothing was changed.",
	    "Ask an administrator: sekishoctl operator add USER --role ROLE changes a role.");
	return false;
}

static void run(struct web *w, const struct route *r)
{
	if (r->role != ROLE_NONE) {
		if (!session_need(w) || !role_allowed(w, r))
			return;
	} else {
		session_try(w);
	}
	if (w->req.method == CGI_POST && !post_allowed(w, r))
		return;
	r->run(w);
}

static void dispatch(struct web *w)
{
	const char *allow;
	if (!w->req.https) {
		page_message(w, 403, "Only over HTTPS",
			     "The dashboard is served over TLS only; its session cookie is never "
			     "sent without.",
			     "Use the https:// address, or set HTTPS=on in the web server if TLS "
			     "ends elsewhere.");
		return;
	}
	if (strcmp(w->req.path, "/") == 0 && w->req.method != CGI_POST) {
		web_redirect(w, "/overview", NULL);
		return;
	}
	const struct route *r = find(w, &allow);
	if (r) {
		run(w, r);
	} else {
		session_try(w);
		no_route(w, allow);
	}
}

void app_answer(struct web *w, int parse_status, const char *why)
{
	w->status = 200;
	w->h = html_new(w->pool, w->now_ms);
	if (!w->h)
		return;
	if (parse_status)
		refuse_parse(w, parse_status, why);
	else
		dispatch(w);
	query_close(w->query);
	w->query = NULL;
}

/* --- the response ----------------------------------------------------------------------------- */

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} rows[] = {
	    {200, "OK"},
	    {303, "See Other"},
	    {400, "Bad Request"},
	    {403, "Forbidden"},
	    {404, "Not Found"},
	    {405, "Method Not Allowed"},
	    {409, "Conflict"},
	    {411, "Length Required"},
	    {413, "Content Too Large"},
	    {414, "URI Too Long"},
	    {415, "Unsupported Media Type"},
	    {422, "Unprocessable Content"},
	    {500, "Internal Server Error"},
	    {503, "Service Unavailable"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].status == status)
			return rows[i].text;
	return "Error";
}

static const char security_headers[] =
    "Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; img-src "
    "'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    /* not no-referrer: that makes browsers send Origin: null with our own forms */
    "Referrer-Policy: same-origin\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Permissions-Policy: camera=(), geolocation=(), microphone=(), payment=(), usb=()\r\n"
    "Cache-Control: no-store\r\n";

char *app_response(struct web *w, size_t *len)
{
	size_t body_len = 0;
	if (!w->h || !html_ok(w->h))
		return NULL;
	const char *body = w->location ? "" : html_data(w->h, &body_len);
	int status = w->location ? 303 : w->status;
	char *out = talloc_asprintf(w->pool, "Status: %d %s\r\n%s", status, reason(status),
				    security_headers);
	if (w->location)
		out = talloc_asprintf_append(out, "Location: %s\r\n", w->location);
	if (w->allow)
		out = talloc_asprintf_append(out, "Allow: %s\r\n", w->allow);
	if (status == 503)
		out = talloc_asprintf_append(out, "Retry-After: 5\r\n");
	for (size_t i = 0; i < 2; i++)
		if (w->set_cookie[i])
			out = talloc_asprintf_append(out, "Set-Cookie: %s\r\n", w->set_cookie[i]);
	if (!w->location)
		out = talloc_asprintf_append(out, "Content-Type: text/html; charset=utf-8\r\n");
	out = talloc_asprintf_append(out, "\r\n%s", w->req.method == CGI_HEAD ? "" : body);
	*len = out ? strlen(out) : 0;
	return out;
}
