/*
 * session - who is asking: the cookie, and the token that ties a form to it.
 *
 * acctd makes, keeps (hashed) and ends sessions; the browser holds the id in `__Host-sekisho`,
 * which only this host can set and no script can read. Before login a form is tied to the browser
 * by a random value in `__Host-sekisho-login`, sent twice: as cookie and as field.
 */
#ifndef WEBUI_SESSION_H
#define WEBUI_SESSION_H

#include "webui/page.h"

#define SESSION_COOKIE "__Host-sekisho"
#define LOGIN_COOKIE   "__Host-sekisho-login"

/*
 * A session or an answer: true, and session, user, role and csrf are set; or false and the answer
 * (redirect to login, 503) is written.
 */
bool session_need(struct web *w);
/* A session if there is one; nothing is written. */
void session_try(struct web *w);
/* The form's csrf field is this session's. */
bool session_csrf_ok(const struct web *w);

/* The value for the login form; made, and its cookie set, when the browser has none. */
const char *session_login_token(struct web *w);
bool session_login_token_ok(const struct web *w);
/* Cookies after login and logout. False when id is not one that may stand in a cookie. */
bool session_set(struct web *w, const char *id);
void session_clear(struct web *w);

/* A token of ours: 16 to 128 characters of [0-9A-Za-z_-]. */
bool session_token_ok(const char *s);
/* Comparison whose time does not depend on where texts differ. */
bool session_same(const char *x, const char *y);

#endif
