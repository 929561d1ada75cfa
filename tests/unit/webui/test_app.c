/*
 * The dispatcher: HTTPS, routes, methods, sessions, roles, tokens and headers, against a child that
 * plays acctd on a socket of its own. It knows the sessions viewer-0123456789, desk-0123456789 and
 * admin-0123456789, and says yes to every change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/ipc.h"

#include "webui/app.h"
#include "webui/session.h"

#define TOKEN "csrf-0123456789abcdef"

static char dir[] = "/tmp/sekisho-test-app-XXXXXX";
static char nowhere[] = "/nonexistent";
static pid_t acctd;

/* --- the child that plays acctd
 * ------------------------------------------------------------------- */

static json_t *session_of(const char *id)
{
	static const char *const roles[] = {"viewer", "desk", "admin"};
	for (size_t i = 0; id && i < 3; i++)
		if (strncmp(id, roles[i], strlen(roles[i])) == 0)
			return json_pack("{s:b,s:{s:s,s:s,s:s}}", "ok", 1, "result", "user", "taro",
					 "role", roles[i], "csrf", TOKEN);
	return json_pack("{s:b,s:s,s:s}", "ok", 0, "code", "denied", "error", "log in");
}

static json_t *answer(const json_t *q)
{
	const char *op = jstr(q, "op");
	const json_t *args = json_object_get(q, "args");
	if (strcmp(op, "session.check") == 0)
		return session_of(json_string_value(json_object_get(q, "session")));
	if (strcmp(op, "session.login") == 0 && strcmp(jstr(args, "password"), "right") != 0)
		return json_pack("{s:b,s:s,s:s}", "ok", 0, "code", "denied", "error",
				 "wrong name or password");
	if (strcmp(op, "session.login") == 0)
		return json_pack("{s:b,s:{s:s}}", "ok", 1, "result", "session", "admin-0123456789");
	if (strcmp(jstr(args, "prefix"), "bad") == 0)
		return json_pack("{s:b,s:s,s:s}", "ok", 0, "code", "invalid", "error",
				 "<b>bad</b> is no prefix");
	return json_pack("{s:b,s:{s:i,s:b}}", "ok", 1, "result", "id", 7, "in_force", 1);
}

static void serve_one(int fd)
{
	uint16_t type;
	uint8_t *data;
	size_t len;
	const char *err;
	while (ipc_read(fd, &type, &data, &len, 5000, &err)) {
		json_t *q = json_loadb((char *)data, len, 0, NULL), *a = answer(q);
		char *text = json_dumps(a, 0);
		ipc_write(fd, CONTROL_RESPONSE, text, strlen(text), 5000, &err);
		free(text);
		free(data);
		json_decref(a);
		json_decref(q);
	}
	close(fd);
}

static int start(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control.sock", dir);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 8) < 0)
		return -1;
	acctd = fork();
	if (acctd == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			int c = accept(fd, NULL, NULL);
			if (c >= 0)
				serve_one(c);
		}
	}
	close(fd);
	return acctd > 0 ? 0 : -1;
}

static void *ctx; /* of the last response */

static int stop(void **state)
{
	char path[128];
	(void)state;
	talloc_free(ctx);
	kill(acctd, SIGKILL);
	waitpid(acctd, NULL, 0);
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	unlink(path);
	return rmdir(dir);
}

/* --- one request
 * ------------------------------------------------------------------------------------ */

struct ask {
	const char *method, *path, *query, *cookie, *form, *site;
	bool plain; /* not over TLS */
	bool alone; /* acctd is away */
};

static const struct ask *now;
static size_t body_at;

static const char *env(const char *name, void *arg)
{
	static char length[24];
	const struct {
		const char *name, *value;
	} rows[] = {
	    {"REQUEST_METHOD", now->method},
	    {"PATH_INFO", now->path},
	    {"QUERY_STRING", now->query},
	    {"HTTP_COOKIE", now->cookie},
	    {"HTTPS", now->plain ? NULL : "on"},
	    {"HTTP_SEC_FETCH_SITE", now->site},
	    {"REMOTE_ADDR", "192.0.2.1"},
	    {"CONTENT_TYPE", now->form ? "application/x-www-form-urlencoded" : NULL},
	    {"CONTENT_LENGTH", now->form ? length : NULL},
	};
	(void)arg;
	if (now->form)
		snprintf(length, sizeof(length), "%zu", strlen(now->form));
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].value;
	return NULL;
}

static long body(void *buf, size_t len, void *arg)
{
	(void)arg;
	size_t left = strlen(now->form) - body_at;
	if (len > left)
		len = left;
	memcpy(buf, now->form + body_at, len);
	body_at += len;
	return (long)len;
}

/* The whole response; freed with the next call. */
static const char *got(const struct ask *a)
{
	static const struct cgi_source src = {env, body, NULL};
	static const struct cgi_limits lim = {4096, 4096, 24};
	struct web_conf conf = {
	    .common = {.state_dir = nowhere, .run_dir = a->alone ? nowhere : dir}, .rows = 100};
	const char *why = "";
	size_t len;
	talloc_free(ctx);
	ctx = talloc_new(NULL);
	struct web *w = talloc_zero(ctx, struct web);
	*w = (struct web){.pool = w, .conf = &conf, .now_ms = INT64_C(1795352890000)};
	now = a;
	body_at = 0;
	int status = cgi_parse(w, &src, &lim, &w->req, &why);
	app_answer(w, status, why);
	const char *out = app_response(w, &len);
	assert_non_null(out);
	return out;
}
#define get(...)  got(&(struct ask){.method = "GET", __VA_ARGS__})
#define post(...) got(&(struct ask){.method = "POST", __VA_ARGS__})

static bool status_is(const char *out, int status)
{
	if (atoi(out + strlen("Status: ")) == status)
		return true;
	print_message("wanted %d, got %.200s\n", status, out);
	return false;
}
#define has(out, text)	 assert_non_null(strstr((out), (text)))
#define lacks(out, text) assert_null(strstr((out), (text)))

#define VIEWER "__Host-sekisho=viewer-0123456789"
#define DESK   "__Host-sekisho=desk-0123456789ab"
#define ADMIN  "__Host-sekisho=admin-0123456789"

/* --- cases
 * --------------------------------------------------------------------------------------------- */

static void headers(void **state)
{
	(void)state;
	const char *out = get(.path = "/login");
	assert_true(status_is(out, 200));
	has(out, "\r\nContent-Security-Policy: default-src 'none'; style-src 'self'; script-src "
		 "'self'; img-src 'self'; "
		 "form-action 'self'; frame-ancestors 'none'; base-uri 'none'\r\n");
	has(out, "\r\nX-Content-Type-Options: nosniff\r\n");
	has(out, "\r\nCache-Control: no-store\r\n");
	has(out, "\r\nReferrer-Policy: same-origin\r\n");
	has(out, "\r\nContent-Type: text/html; charset=utf-8\r\n");
	out = got(&(struct ask){.method = "HEAD", .path = "/login"});
	assert_true(status_is(out, 200));
	lacks(out, "<html");
}

static void before_login(void **state)
{
	static const char *const paths[] = {"/overview",   "/incidents", "/incidents/7", "/reports",
					    "/exemptions", "/who",	 "/audit"};
	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		char want[64];
		const char *out = get(.path = paths[i]);
		snprintf(want, sizeof(want), "\r\nLocation: /login?next=%s\r\n", paths[i]);
		assert_true(status_is(out, 303));
		has(out, want);
		lacks(out, "<html");
		/* A session that acctd does not know, or that cannot be one, is none. */
		assert_true(status_is(
		    get(.path = paths[i], .cookie = "__Host-sekisho=unknown-0123456789"), 303));
		assert_true(status_is(get(.path = paths[i], .cookie = "__Host-sekisho=a b"), 303));
		assert_true(status_is(get(.path = paths[i], .cookie = VIEWER "; " ADMIN), 303));
	}
	assert_true(status_is(post(.path = "/exemptions/add", .form = "prefix=192.0.2.1"), 303));
	has(get(.path = "/login", .query = "next=//example.org"),
	    "name=\"next\" value=\"/overview\"");
	has(get(.path = "/login", .query = "next=/incidents/7"),
	    "name=\"next\" value=\"/incidents/7\"");
	has(get(.path = "/login", .query = "next=/logout"), "name=\"next\" value=\"/overview\"");
	/* A link from a ticket keeps its question, and nothing else comes along. */
	has(get(.path = "/who", .query = "q=2001:db8::7&time=-2h%20%22&done=x"),
	    "\r\nLocation: "
	    "/login?next=/who%3Fq%3D2001%253Adb8%253A%253A7%26time%3D-2h%2520%2522\r\n");
	char deep[1200] = "q=";
	memset(deep + 2, '/', sizeof(deep) - 3);
	has(get(.path = "/who", .query = deep), "\r\nLocation: /login?next=/who\r\n");
	has(get(.path = "/login", .query = "next=/who%3Fq%3D2001%253Adb8%253A%253A7%26time%3D-2h"),
	    "name=\"next\" value=\"/who?q=2001%3Adb8%3A%3A7&amp;time=-2h\"");
	has(get(.path = "/login", .query = "next=/who?q=%22%3E"),
	    "name=\"next\" value=\"/overview\"");
	has(get(.path = "/login", .query = "next=/who?q=%0a"), "control characters");
	has(get(.path = "/login", .query = "next=/logout?/who"), "value=\"/overview\"");
	has(get(.path = "/login", .query = "next=/%3F//example.org"), "value=\"/overview\"");
	has(get(.path = "/"), "\r\nLocation: /overview\r\n");
	has(get(.path = "/overview", .plain = true), "Only over HTTPS");
	has(get(.path = "/incidents", .site = "cross-site"),
	    "http-equiv=\"refresh\" content=\"0;url=/incidents\"");
	has(get(.path = "/who", .query = "q=192.0.2.7&x=%22", .site = "cross-site"),
	    "http-equiv=\"refresh\" content=\"0;url=/who?q=192.0.2.7&amp;x=%22\"");
}

static void signing_in(void **state)
{
	static const char jar[] = "__Host-sekisho-login=0123456789abcdef";
	static const char good[] =
	    "csrf=0123456789abcdef&user=taro&password=right&next=/incidents/7";
	(void)state;
	const char *out = get(.path = "/login");
	has(out, "\r\nSet-Cookie: __Host-sekisho-login=");
	has(out, "; Path=/; Secure; HttpOnly; SameSite=Strict\r\n");
	out = post(.path = "/login", .cookie = jar, .form = good);
	assert_true(status_is(out, 303));
	has(out, "\r\nLocation: /incidents/7\r\n");
	has(out, "\r\nSet-Cookie: __Host-sekisho=admin-0123456789; Path=/; Secure; HttpOnly; "
		 "SameSite=Strict\r\n");
	/* The token of that form has done its work. */
	has(out, "\r\nSet-Cookie: __Host-sekisho-login=; Max-Age=0; Path=/; Secure; HttpOnly; "
		 "SameSite=Strict\r\n");
	out = post(.path = "/logout", .cookie = VIEWER, .form = "csrf=" TOKEN);
	has(out, "\r\nLocation: /login?done=out\r\n");
	has(out, "\r\nSet-Cookie: __Host-sekisho=; Max-Age=0; Path=/; Secure; HttpOnly; "
		 "SameSite=Strict\r\n");
	/* A token that could be guessed is none. */
	assert_true(
	    status_is(post(.path = "/login", .cookie = "__Host-sekisho-login=0123456789abcde",
			   .form = "csrf=0123456789abcde&user=taro&password=right"),
		      403));
	/* No cookie, another cookie, another site. */
	assert_true(status_is(post(.path = "/login", .form = good), 403));
	assert_true(status_is(
	    post(.path = "/login", .cookie = "__Host-sekisho-login=0123456789abcdeX", .form = good),
	    403));
	out = post(.path = "/login", .cookie = jar, .form = good, .site = "cross-site");
	assert_true(status_is(out, 403));
	lacks(out, "Set-Cookie: __Host-sekisho=");
	/* A wrong password: words, the name kept, the password not. */
	out = post(.path = "/login", .cookie = jar,
		   .form = "csrf=0123456789abcdef&user=t%3Caro&password=wrong9");
	assert_true(status_is(out, 403));
	has(out, "wrong name or password");
	has(out, "value=\"t&lt;aro\"");
	lacks(out, "wrong9");
	assert_true(status_is(
	    post(.path = "/login", .cookie = jar, .form = "csrf=0123456789abcdef&user=taro"), 422));
	assert_true(
	    status_is(post(.path = "/login", .cookie = jar, .form = good, .alone = true), 503));
}

static void roles_and_tokens(void **state)
{
	static const struct {
		const char *path, *form, *least; /* form: behind the token */
	} rows[] = {
	    {"/exemptions/add", "&prefix=192.0.2.1&reason=x", "admin"},
	    {"/exemptions/remove", "&prefix=192.0.2.1&reason=x", "admin"},
	    {"/exemptions/request", "&prefix=192.0.2.1&reason=x", "desk"},
	    {"/exemptions/1/verify", "&prefix=192.0.2.1", "desk"},
	    {"/exemptions/1/activate", "&prefix=192.0.2.1&reason=x", "admin"},
	    {"/exemptions/1/suspend", "&prefix=192.0.2.1&reason=x", "desk"},
	    {"/exemptions/1/resume", "&prefix=192.0.2.1&reason=x", "admin"},
	    {"/exemptions/1/remove", "&prefix=192.0.2.1&reason=x", "admin"},
	    {"/incidents/7/ack", "", "desk"},
	    {"/incidents/7/hold", "", "desk"},
	    {"/incidents/7/release", "&reason=x", "desk"},
	    {"/incidents/7/resolve", "&reason=x", "desk"},
	    {"/incidents/7/note", "&text=x", "desk"},
	    {"/accounts/hold", "&account=a@isp.example", "desk"},
	    {"/accounts/release", "&account=a@isp.example", "desk"},
	    {"/reports/import", "&raw=x", "desk"},
	    {"/reports/7/attach", "&incident=3", "desk"},
	    {"/logout", "", "viewer"},
	};
	static const char *const jars[] = {VIEWER, DESK, ADMIN};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t least = rows[i].least[0] == 'v' ? 0 : rows[i].least[0] == 'd' ? 1 : 2;
		char form[128], forged[128];
		snprintf(form, sizeof(form), "csrf=" TOKEN "%s", rows[i].form);
		snprintf(forged, sizeof(forged), "csrf=csrf-0123456789abcdeX%s", rows[i].form);
		for (size_t r = 0; r < 3; r++) {
			const char *out =
			    post(.path = rows[i].path, .cookie = jars[r], .form = form);
			if (!status_is(out, r >= least ? 303 : 403))
				fail_msg("%s as %s", rows[i].path, jars[r]);
			assert_true(status_is(
			    post(.path = rows[i].path, .cookie = jars[r], .form = forged), 403));
			assert_true(status_is(
			    post(.path = rows[i].path, .cookie = jars[r], .form = rows[i].form),
			    403));
			assert_true(status_is(post(.path = rows[i].path, .cookie = jars[r],
						   .form = form, .site = "same-site"),
					      403));
		}
		const char *out = get(.path = rows[i].path, .cookie = ADMIN);
		assert_true(status_is(out, 405));
		has(out, "\r\nAllow: POST\r\n");
	}
}

/* `required` is a word to browsers; what is changed without one needs its reason as well. */
static void reasons(void **state)
{
	static const char *const paths[] = {"/exemptions/add",	     "/exemptions/request",
					    "/exemptions/remove",    "/exemptions/1/activate",
					    "/exemptions/1/suspend", "/exemptions/1/resume",
					    "/exemptions/1/remove"};
	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		const char *out = post(.path = paths[i], .cookie = ADMIN,
				       .form = "csrf=" TOKEN "&prefix=192.0.2.1&reason=%20");
		/* The page of one exemption needs the database. */
		if (!status_is(out, strchr(paths[i], '1') ? 503 : 422))
			fail_msg("%s", paths[i]);
		if (!strchr(paths[i], '1'))
			has(out, "Say why");
	}
}

static void routes(void **state)
{
	static const struct {
		const char *path;
		int status; /* 503: the page is there, the database is not */
	} rows[] = {
	    {"/overview", 503},	    {"/incidents", 503},
	    {"/incidents/7", 503},  {"/reports", 503},
	    {"/reports/7", 503},    {"/exemptions", 503},
	    {"/audit", 503},	    {"/who", 200},
	    {"/nope", 404},	    {"/overview/", 404},
	    {"/incidents/", 404},   {"/incidents/0", 404},
	    {"/incidents/x", 404},  {"/incidents/7x", 404},
	    {"/incidents/7/", 404}, {"/incidents/99999999999999999999", 404},
	    {"/Overview", 404},	    {"/incidents/07", 404},
	    {"/static/x", 404},	    {"/incidents/7/ack", 405},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *out = get(.path = rows[i].path, .cookie = ADMIN);
		if (!status_is(out, rows[i].status))
			fail_msg("%s", rows[i].path);
		has(out, "<h1>");
		has(out, "</html>");
	}
	assert_true(
	    status_is(post(.path = "/overview", .cookie = ADMIN, .form = "csrf=" TOKEN), 405));
}

/* The database away, acctd away: the page says which. */
static void away(void **state)
{
	(void)state;
	const char *out = get(.path = "/overview", .cookie = VIEWER);
	has(out, "cannot be read");
	has(out, "Health"); /* what can be had is shown */
	out = get(.path = "/overview", .cookie = VIEWER, .alone = true);
	assert_true(status_is(out, 503));
	has(out, "The accounting daemon does not answer");
	has(out, "\r\nRetry-After: ");
}

static void refused_change(void **state)
{
	(void)state;
	const char *out =
	    post(.path = "/exemptions/add", .cookie = ADMIN,
		 .form = "csrf=" TOKEN "&prefix=bad&contract=F-1&reason=%22own%22&expires=%2B90d");
	assert_true(status_is(out, 422));
	has(out, "&lt;b&gt;bad&lt;/b&gt; is no prefix");
	has(out, "name=\"prefix\" type=\"text\" maxlength=\"50\" value=\"bad\"");
	has(out, "value=\"&quot;own&quot;\"");
	has(out, "value=\"+90d\"");
	out = post(.path = "/exemptions/add", .cookie = ADMIN,
		   .form = "csrf=" TOKEN "&prefix=192.0.2.1&reason=x&expires=soon");
	assert_true(status_is(out, 422));
	has(out, "Expires: ");
	out = post(.path = "/exemptions/add", .cookie = ADMIN,
		   .form = "csrf=" TOKEN "&prefix=192.0.2.1&reason=x&expires=2020-01-01");
	assert_true(status_is(out, 422));
	has(out, "that time is over");
}

/* A viewer sees no form that changes anything but the one to sign out. */
static void viewer_has_no_forms(void **state)
{
	static const char *const paths[] = {"/overview", "/exemptions", "/incidents",
					    "/reports",	 "/who",	"/audit"};
	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		size_t forms = 0;
		for (const char *s = get(.path = paths[i], .cookie = VIEWER);
		     (s = strstr(s, "method=\"post\"")); s++)
			forms++;
		assert_int_equal(forms, 1);
	}
	has(get(.path = "/exemptions", .cookie = ADMIN), "action=\"/exemptions/add\"");
	has(get(.path = "/exemptions", .cookie = DESK), "action=\"/exemptions/request\"");
	has(get(.path = "/reports", .cookie = DESK), "action=\"/reports/import\"");
}

/* Tokens are the same only when there is one. */
static void tokens(void **state)
{
	(void)state;
	assert_true(session_same("a", "a"));
	assert_false(session_same("a", "b"));
	assert_false(session_same("a", "ab"));
	assert_false(session_same("", ""));
	assert_false(session_same(NULL, NULL));
	assert_false(session_same("a", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(headers),		cmocka_unit_test(tokens),
	    cmocka_unit_test(before_login),	cmocka_unit_test(signing_in),
	    cmocka_unit_test(roles_and_tokens), cmocka_unit_test(reasons),
	    cmocka_unit_test(routes),		cmocka_unit_test(away),
	    cmocka_unit_test(refused_change),	cmocka_unit_test(viewer_has_no_forms),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
