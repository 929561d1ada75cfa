/*
 * session - cookie, role and CSRF token of a request.
 *
 * Purpose: decide who asks, by asking acctd.
 * Trusted with: the session id of one operator for the time of one request.
 * Diagnostics: redirects to the login page; 503 when acctd is away, because nobody else can say
 * whose session it is. Known gaps: none known.
 */
#include "webui/session.h"

#include <string.h>
#include <sys/random.h>

#include <talloc.h>

#include "webui/app.h"

#define ATTRIBUTES "; Path=/; Secure; HttpOnly; SameSite=Strict"

bool session_token_ok(const char *s)
{
	size_t n = s ? strlen(s) : 0;
	return n >= 16 && n <= 128 &&
	       strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-") == n;
}

bool session_same(const char *x, const char *y)
{
	if (!x || !y)
		return false;
	size_t n = strlen(x);
	volatile unsigned char differ = 0;
	if (!n || n != strlen(y))
		return false;
	for (size_t i = 0; i < n; i++)
		differ = differ | ((unsigned char)x[i] ^ (unsigned char)y[i]);
	return differ == 0;
}

static enum web_role role_of(const char *name)
{
	static const struct {
		const char *name;
		enum web_role role;
	} rows[] = {{"viewer", ROLE_VIEWER}, {"desk", ROLE_DESK}, {"admin", ROLE_ADMIN}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(name, rows[i].name) == 0)
			return rows[i].role;
	return ROLE_NONE;
}

/* True: a session is set. False: none, or *e says why it could not be checked. */
static bool check(struct web *w, struct control_error *e)
{
	const char *id = cgi_get(&w->req.cookies, SESSION_COOKIE);
	*e = (struct control_error){.code = "denied"};
	if (!session_token_ok(id))
		return false;
	w->session = id;
	json_t *r = web_call(w, "session.check", NULL, e);
	w->session = NULL;
	if (!r)
		return false;
	enum web_role role = role_of(jstr(r, "role"));
	if (role != ROLE_NONE && session_token_ok(jstr(r, "csrf"))) {
		w->session = id;
		w->role = role;
		w->user = talloc_strdup(w->pool, jstr(r, "user"));
		w->csrf = talloc_strdup(w->pool, jstr(r, "csrf"));
	}
	json_decref(r);
	return w->session != NULL;
}

void session_try(struct web *w)
{
	struct control_error e;
	check(w, &e);
}

/* This page, question and all, if it can be asked for again. */
static const char *here(struct web *w)
{
	const char *target = cgi_target(w->pool, &w->req, "done");
	/* Encoded once more it must fit into the next request. */
	if (target && strlen(target) <= 1000 && app_is_page(target))
		return target;
	return app_is_page(w->req.path) ? w->req.path : "/overview";
}

/* Where to go after login. */
static void to_login(struct web *w)
{
	if (w->req.method == CGI_POST) {
		web_redirect(w, "/login", "ended");
		return;
	}
	w->location = talloc_asprintf(w->pool, "/login?next=%s", cgi_encode(w->pool, here(w)));
}

/*
 * A link from a mail or a ticket: browsers keep a SameSite=Strict cookie back when another site
 * leads here. Ask once more from our own origin, and the cookie comes along.
 */
static void ask_again(struct web *w)
{
	const char *target = here(w);
	put(w->h,
	    LIT("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sekisho</title>"
		"<meta http-equiv=\"refresh\" content=\"0;url="),
	    ATT(target), LIT("\"><p><a href=\""), ATT(target), LIT("\">Continue</a></p></html>"));
}

bool session_need(struct web *w)
{
	struct control_error e;
	if (check(w, &e))
		return true;
	if (strcmp(e.code, "denied") == 0 || strcmp(e.code, "notfound") == 0) {
		if (!w->req.same_origin && w->req.method == CGI_GET && app_is_page(w->req.path))
			ask_again(w);
		else
			to_login(w);
		return false;
	}
	page_message(
	    w, 503, "The accounting daemon does not answer",
	    "It alone can say whose session this is, so nothing is shown until it is back. Mail "
	    "and port 25 go on by the last known rules.",
	    "On the gateway: systemctl status sekisho-acctd, and journalctl -u sekisho-acctd for "
	    "the reason. As root, sekishoctl incident list reads the database without it.");
	return false;
}

bool session_csrf_ok(const struct web *w)
{
	return session_same(w->csrf, cgi_get(&w->req.form, "csrf"));
}

/* --- before login ----------------------------------------------------------------------------- */

static const char *random_token(struct web *w)
{
	unsigned char b[16];
	char *out = talloc_strdup(w->pool, "");
	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return NULL;
	for (size_t i = 0; out && i < sizeof(b); i++)
		out = talloc_asprintf_append(out, "%02x", b[i]);
	return out;
}

const char *session_login_token(struct web *w)
{
	const char *have = cgi_get(&w->req.cookies, LOGIN_COOKIE);
	if (session_token_ok(have))
		return have;
	const char *token = random_token(w);
	if (!token)
		return "";
	w->set_cookie[1] = talloc_asprintf(w->pool, LOGIN_COOKIE "=%s" ATTRIBUTES, token);
	return token;
}

bool session_login_token_ok(const struct web *w)
{
	const char *have = cgi_get(&w->req.cookies, LOGIN_COOKIE);
	return session_token_ok(have) && session_same(have, cgi_get(&w->req.form, "csrf"));
}

bool session_set(struct web *w, const char *id)
{
	if (!session_token_ok(id))
		return false;
	w->set_cookie[0] = talloc_asprintf(w->pool, SESSION_COOKIE "=%s" ATTRIBUTES, id);
	w->set_cookie[1] = LOGIN_COOKIE "=; Max-Age=0" ATTRIBUTES;
	return w->set_cookie[0] != NULL;
}

void session_clear(struct web *w)
{
	w->set_cookie[0] = SESSION_COOKIE "=; Max-Age=0" ATTRIBUTES;
}
