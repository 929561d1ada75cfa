/*
 * sekisho.cgi - the dashboard, one process a request, behind a web server that speaks CGI (RFC
 * 3875) and TLS.
 *
 * Purpose: read the environment and the body, hand them to app, write what it answers.
 * Trusted with: a read-only database handle and the control socket; it writes no file and opens no
 * network connection. Before the first byte of the request is looked at it has given up its
 * capabilities, new privileges and most system calls; a timer ends it with a 503 when it takes too
 * long. Diagnostics: configuration errors go to standard error (the web server's log) and end in a
 * 500 page that says so. Known gaps: none known.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "webui/app.h"

static const char *env_get(const char *name, void *arg)
{
	(void)arg;
	return getenv(name);
}

static long stdin_read(void *buf, size_t len, void *arg)
{
	(void)arg;
	return (long)read(STDIN_FILENO, buf, len);
}

static bool write_all(const char *s, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, s, len);
		if (n <= 0)
			return false;
		s += n;
		len -= (size_t)n;
	}
	return true;
}

/* --- when things go wrong before there is a page ---------------------------------------------- */

#define PLAIN(status, words)                                                                       \
	"Status: " status                                                                          \
	"\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"               \
	"Content-Security-Policy: default-src 'none'; frame-ancestors "                            \
	"'none'\r\nX-Content-Type-Options: nosniff\r\n\r\n" words "\n"

static const char too_late[] =
    PLAIN("503 Service Unavailable", "This took too long and was stopped. Reload; if it stays so, "
				     "the database or the machine is overloaded.");
static const char broken[] = PLAIN(
    "500 Internal Server Error",
    "The dashboard could not start. The web server's error log says why (configuration, memory).");

static volatile sig_atomic_t answered;

/* Async-signal-safe: the page is written in one go, so nothing of it is out yet unless answered is
 * set. */
static void on_deadline(int sig)
{
	(void)sig;
	if (!answered && write(STDOUT_FILENO, too_late, sizeof(too_late) - 1) < 0)
		_exit(71);
	_exit(0);
}

static void set_deadline(int64_t ms)
{
	struct sigaction sa = {.sa_handler = on_deadline};
	struct itimerval t = {.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}};
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

static void set_limits(void)
{
	static const struct {
		int what;
		rlim_t max;
	} rows[] = {{RLIMIT_CPU, 20}, {RLIMIT_NOFILE, 32}, {RLIMIT_CORE, 0}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rlimit r = {rows[i].max, rows[i].max};
		setrlimit((__rlimit_resource_t)rows[i].what, &r);
	}
}

/* --- one request ------------------------------------------------------------------------------ */

static struct web_conf *load(void *pool, const char *file)
{
	char *err = NULL;
	struct web_conf *conf = talloc_zero(pool, struct web_conf);
	if (conf && conf_load(conf, file, web_keys, web_keys_n, conf, &err))
		return conf;
	log_event(LOG_CRIT, "-", "cgi", "configuration", LS("error", err ? err : "out of memory"));
	return NULL;
}

static int serve(void *pool, const struct web_conf *conf)
{
	static const struct cgi_source src = {env_get, stdin_read, NULL};
	struct cgi_limits lim = {
	    .body_bytes = (size_t)conf->max_body, .query_bytes = 4096, .fields = 24};
	struct web *w = talloc_zero(pool, struct web);
	const char *why = "";
	size_t len = 0;
	if (!w)
		return 1;
	*w = (struct web){.pool = w, .conf = conf, .now_ms = clock_utc_ms()};
	int status = cgi_parse(w, &src, &lim, &w->req, &why);
	app_answer(w, status, why);
	char *out = app_response(w, &len);
	if (!out)
		return 1;
	answered = 1;
	return write_all(out, len) ? 0 : 71;
}

static int answer(const char *conf_file)
{
	static const struct proc_identity stay = {.change = false};
	void *pool = talloc_new(NULL);
	set_limits();
	proc_drop(&stay, NULL, 0);
	proc_seccomp(false);
	struct web_conf *conf = load(pool, conf_file);
	if (conf)
		set_deadline(conf->deadline_ms);
	int rc = conf ? serve(pool, conf) : 1;
	if (rc == 1)
		rc = write_all(broken, sizeof(broken) - 1) ? 0 : 71;
	talloc_free(pool);
	return rc;
}

static int check(const char *conf_file)
{
	void *pool = talloc_new(NULL);
	bool ok = load(pool, conf_file) != NULL;
	if (ok)
		puts("configuration OK");
	talloc_free(pool);
	return ok ? 0 : 78;
}

int main(int argc, char **argv)
{
	struct proc_args args = {.conf_file = NULL};
	const char *conf = getenv("SEKISHO_CONF");
	log_open("sekisho.cgi", LOG_NOTICE);
	signal(SIGPIPE, SIG_IGN);
	/* RFC 3875 4.4 lets a server pass words of the query as arguments: under CGI they are never
	 * looked at. */
	if (getenv("GATEWAY_INTERFACE"))
		return answer(conf && *conf ? conf : "/etc/sekisho/sekisho.conf");
	proc_args(argc, argv, "sekisho.cgi",
		  "the dashboard of Sekisho, to be started by a web server", &args);
	if (args.check_only)
		return check(args.conf_file);
	fprintf(stderr, "sekisho.cgi is started by a web server (CGI); see sekisho.cgi(8). -n "
			"checks the configuration.\n");
	return 64;
}
