/*
 * login - signing in and out.
 *
 * Known gaps: no second factor yet; acctd slows down wrong passwords per user and address.
 */
#include <string.h>

#include <talloc.h>

#include "webui/app.h"
#include "webui/pages/pages.h"
#include "webui/session.h"

static const char *next_of(struct web *w)
{
	const char *next =
	    cgi_get(w->req.method == CGI_POST ? &w->req.form : &w->req.query, "next");
	return next && app_is_page(next) ? next : "/overview";
}

static const struct page_done done[] = {
    {"out", "You are signed out."},
    {"ended", "Your session has ended, so the change was not made. Sign in and do it again."},
    {NULL, NULL},
};

void page_login(struct web *w)
{
	const char *token = session_login_token(w);
	if (w->session && w->req.method != CGI_POST) {
		web_redirect(w, next_of(w), NULL);
		return;
	}
	page_begin(w, "Sign in", NAV_NONE);
	page_done(w, done);
	put(w->h,
	    LIT("<section class=\"card login\"><form method=\"post\" action=\"/login\">"
		"<input type=\"hidden\" name=\"csrf\" value=\""),
	    ATT(token), LIT("\"><input type=\"hidden\" name=\"next\" value=\""), ATT(next_of(w)),
	    LIT("\"><div class=\"field\"><label for=\"user\">Name</label><input id=\"user\" "
		"name=\"user\" maxlength=\"64\" required "
		"autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" autofocus "
		"value=\""),
	    ATT(form_value(w, "user")),
	    LIT("\"></div><div class=\"field\"><label for=\"password\">Password</label><input "
		"id=\"password\" name=\"password\" "
		"type=\"password\" maxlength=\"512\" required "
		"autocomplete=\"current-password\"></div>"
		"<button class=\"primary wide\">Sign in</button></form>"
		"<p class=\"hint\">No account yet? As root on the gateway: <code>sekishoctl "
		"operator add NAME --role desk</code></p></section>"));
	page_end(w);
}

static void refused(struct web *w, int status, const char *why)
{
	w->status = status;
	w->error = talloc_strdup(w->pool, why);
	page_login(w);
}

static void refused_by(struct web *w, const struct control_error *e)
{
	if (strcmp(e->code, "unavailable") == 0)
		refused(w, 503,
			"The accounting daemon does not answer, so nobody can sign in. On the "
			"gateway: systemctl status sekisho-acctd");
	else
		refused(w, web_status_of(e), e->text);
}

void post_login(struct web *w)
{
	struct control_error e = {.code = ""};
	const char *user = cgi_trimmed(w->pool, &w->req.form, "user"),
		   *password = cgi_get(&w->req.form, "password");
	if (!session_login_token_ok(w)) {
		refused(w, 403,
			"The form was too old, or your browser keeps no cookies. Try once more.");
		return;
	}
	if (!*user || !password || !*password) {
		refused(w, 422, "Fill in name and password.");
		return;
	}
	w->session = NULL; /* a new one, whatever there was */
	json_t *r = web_call(w, "session.login",
			     json_pack("{s:s,s:s,s:s}", "user", user, "password", password,
				       "address", w->req.remote),
			     &e);
	if (!r) {
		refused_by(w, &e);
		return;
	}
	if (session_set(w, jstr(r, "session")))
		web_redirect(w, next_of(w), NULL);
	else
		page_message(w, 500, "No session was made",
			     "The accounting daemon answered with something unexpected.",
			     "Try again; if it stays so, look at journalctl -u sekisho-acctd.");
	json_decref(r);
}

void post_logout(struct web *w)
{
	struct control_error e;
	json_decref(web_call(w, "session.logout", NULL, &e));
	session_clear(w);
	web_redirect(w, "/login", "out");
}
