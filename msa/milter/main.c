/*
 * sekisho-batv-milter - checks the tags of bounces where mail comes in, as a milter of Postfix or
 * Sendmail, and takes them off.
 *
 * This process has the socket and the metrics; it has no threads. Its child, the worker, talks to
 * the mail servers (milter.h). SIGHUP reads configuration, keys and identities again here and, when
 * all of it is right, in the worker. A worker that dies is followed by another a second later;
 * meanwhile mail servers find the socket open and wait. What workers have read in notifications
 * that came back is told to the accounting (outbox.h); they are not believed beyond one well-formed
 * event.
 *
 * Trusted with: the tag keys, to verify; it never makes any, so that a copy of msad's file is all
 * that an MX elsewhere needs. No capability once the port is bound. Diagnostics: `milter` lines,
 * metrics. Known gaps: libmilter itself logs to syslog(3).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "ratelimit/answer.h"

#include "msa/batvkeys.h"
#include "msa/keyfiles.h"
#include "msa/milter/milter.h"
#include "msa/milter/outbox.h"

#define AGAIN_S	  1
#define KILL_S	  (MILTER_LINGER_S + 6)
#define RESULTS	  (BOUNCE_PUT_OFF + 1)
#define PIECE_MAX 256
#define AT_ONCE	  200 /* events of one turn */

struct milter_conf {
	struct conf_common common;
	char *listen, *metrics;
	char *hostname, *sasl_realm, *identities, *batv_keys, *answers; /* of msa */
	bool tell;
	struct conf_list bounce_strict;
	int bounce_check;
	struct path realm;
	struct answer_table *table; /* or NULL */
};

#define OFF(n) offsetof(struct milter_conf, n)
static const struct conf_key keys[] = {
    CONF_COMMON_ROWS,
    {"milter", "listen", CONF_STRING, OFF(listen), "127.0.0.1:10026", 0, 0, NULL, false,
     "where mail servers find the milter", false},
    {"milter", "metrics", CONF_STRING, OFF(metrics), "127.0.0.1:9430", 0, 0, NULL, false,
     "where GET /metrics is answered; empty: nowhere", false},
    {"milter", "tell", CONF_BOOL, OFF(tell), "true", 0, 0, NULL, false,
     "what bounces say is told to sekisho-acctd; false: on a machine where there is none", false},
    {"msa", "hostname", CONF_STRING, OFF(hostname), "", 0, 0, NULL, true, "", true},
    {"msa", "sasl_realm", CONF_STRING, OFF(sasl_realm), "", 0, 0, NULL, true, "", true},
    {"msa", "identities", CONF_PATH, OFF(identities), "", 0, 0, NULL, true, "", true},
    {"msa", "batv_keys", CONF_PATH, OFF(batv_keys), "", 0, 0, NULL, true, "", true},
    {"msa", "answers", CONF_PATH, OFF(answers), "", 0, 0, NULL, true, "", true},
    {"msa", "bounce_check", CONF_ENUM, OFF(bounce_check), "tag", 0, 0, "log|tag|reject", true, "",
     true},
    {"msa", "bounce_strict", CONF_LIST, OFF(bounce_strict), "", 0, 0, NULL, true, "", true},
};
static const size_t n_keys = sizeof(keys) / sizeof(*keys);

struct milter {
	struct proc_args args;
	struct event_base *base;
	struct milter_conf *conf; /* the talloc tree of everything that is configured */
	struct milter_work work;
	pid_t worker; /* 0: none */
	struct event *child, *again, *kill, *told;
	int hear; /* the other end of work.tell */
	struct outbox *outbox;
	struct metric *results[RESULTS], *stripped, *restarts;
	struct metric *returned[RETURNED_FORMS], *bounces, *lost, *waiting, *up;
	bool stopping;
};

/* --- configuration --- */

static bool realm_of(struct milter_conf *c, char **err)
{
	char host[PIECE_MAX] = "localhost";
	const char *realm = c->sasl_realm[0] ? c->sasl_realm : c->hostname;

	if (realm[0] == '\0' && gethostname(host, sizeof(host) - 1) == 0)
		realm = host;
	if (path_make("postmaster", 10, realm, &c->realm))
		return true;
	*err = talloc_asprintf(c, "msa.sasl_realm: \"%s\" is not a domain", realm);
	return false;
}

static bool check(struct milter_conf *c, char **err)
{
	struct addr a;
	uint16_t port;
	const char *why;

	if (!addr_parse_port(c->listen, &a, &port, &why)) {
		*err = talloc_asprintf(c, "milter.listen: \"%s\" is not ADDRESS:PORT: %s",
				       c->listen, why);
		return false;
	}
	if (c->batv_keys[0] == '\0')
		c->batv_keys = talloc_asprintf(c, "%s/msa/batv.keys", c->common.state_dir);
	return realm_of(c, err);
}

static int free_table(struct milter_conf *c)
{
	answer_table_free(c->table);
	return 0;
}

static bool read_answers(struct milter_conf *c, char **err)
{
	char *why = NULL;

	talloc_set_destructor(c, free_table);
	if (c->answers[0] == '\0')
		return true;
	c->table = answer_load(c->answers, &why);
	if (!c->table)
		*err = talloc_asprintf(c, "msa.answers: %s", why);
	free(why);
	return c->table;
}

/* Everything but the keys. NULL: *err, talloc'd under ctx. */
static struct milter_conf *load(void *ctx, const char *file, struct identities **ids, char **err)
{
	struct milter_conf *c = talloc_zero(ctx, struct milter_conf);

	*ids = NULL;
	if (conf_load(c, file, keys, n_keys, c, err) && check(c, err) && read_answers(c, err)) {
		if (c->identities[0] == '\0')
			return c;
		*ids = keyfiles_identities(c, c->identities, err);
		if (*ids)
			return c;
	}
	talloc_steal(ctx, *err);
	talloc_free(c);
	return NULL;
}

/* c, ids and the keys are what counts from now on. False: *err, talloc'd under c; nothing has
 * changed. */
static bool take(struct milter *m, struct milter_conf *c, const struct identities *ids, char **err)
{
	struct batv_keys fresh = {.newest = -1};

	if (!batv_keys_read(c, c->batv_keys, &fresh, err))
		return false;
	milter_change(true);
	m->work.keys = fresh;
	m->work.about = (struct bounce_about){.keys = &m->work.keys,
					      .ids = ids,
					      .realm = &c->realm,
					      .mode = (enum bounce_mode)c->bounce_check,
					      .strict = c->bounce_strict.items,
					      .n_strict = c->bounce_strict.n};
	m->conf = c;
	milter_change(false);
	explicit_bzero(&fresh, sizeof(fresh));
	return true;
}

static bool read_again(struct milter *m, char **err)
{
	struct identities *ids;
	struct milter_conf *before = m->conf, *c = load(NULL, m->args.conf_file, &ids, err);

	if (!c)
		return false;
	if (!conf_may_reload(c, keys, n_keys, before, c, err) || !take(m, c, ids, err)) {
		*err = talloc_steal(NULL, *err);
		talloc_free(c);
		return false;
	}
	talloc_free(before);
	return true;
}

static bool renew(struct milter *m)
{
	char *err = NULL;
	bool ok = read_again(m, &err);

	if (!ok)
		log_event(LOG_ERR, "-", "milter", "reload-failed", LS("error", err),
			  LS("state", "the old configuration stays"));
	talloc_free(err);
	return ok;
}

/* In the worker. */
static void on_renew(void *arg)
{
	if (renew(arg))
		log_event(LOG_NOTICE, "-", "milter", "reloaded");
}

/* --- what came back --- */

/* A worker that sends anything else is no reason to stop. */
static void hear_one(struct milter *m, const uint8_t *buf, size_t len)
{
	struct event e;

	if (event_decode(buf, len, &e) != len || e.kind != EVENT_BOUNCE) {
		log_event(LOG_ERR, "-", "milter", "bad-event", LI("octets", len));
		return;
	}
	e.u.bounce.answer =
	    (uint8_t)answer_classify(m->conf->table, e.u.bounce.status, e.u.bounce.reply);
	outbox_add(m->outbox, &e);
}

static void on_told(evutil_socket_t fd, short what, void *arg)
{
	uint8_t buf[EVENT_MAX_BYTES];
	ssize_t n;

	(void)what;
	for (int i = 0; i < AT_ONCE && (n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0; i++)
		hear_one(arg, buf, (size_t)n);
}

static void start_telling(struct milter *m)
{
	char instance[64];
	int ends[2];

	m->work.tell = m->hear = -1;
	if (!m->conf->tell)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
		fatal_errno("no pair of sockets");
	m->hear = ends[0];
	m->work.tell = ends[1];
	snprintf(instance, sizeof(instance), "%lld-%d", (long long)clock_utc_ms(), (int)getpid());
	m->outbox = outbox_new(m->base, m->conf->common.run_dir, instance);
	m->told = event_new(m->base, m->hear, EV_READ | EV_PERSIST, on_told, m);
	if (!m->told || event_add(m->told, NULL) != 0)
		fatal("no event loop");
}

/* --- workers --- */

static void in_child(const struct milter *m)
{
	static const int handled[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	sigset_t none;

	for (size_t i = 0; i < sizeof(handled) / sizeof(*handled); i++)
		signal(handled[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	prctl(PR_SET_NAME, "sekisho-batv", 0, 0, 0);
	_exit(milter_work(&m->work));
}

/* A signal that arrives between fork(2) and in_child() must not reach the handlers of this process:
 * they would wake the loop that both have. */
static void start_worker(struct milter *m)
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	m->worker = fork();
	if (m->worker == 0)
		in_child(m);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (m->worker < 0)
		fatal_errno("cannot start a worker");
	log_event(LOG_INFO, "-", "milter", "worker", LI("pid", m->worker),
		  LI("key", m->work.keys.newest));
}

static void after(struct event *timer, int seconds)
{
	const struct timeval tv = {seconds, 0};

	if (evtimer_add(timer, &tv) != 0)
		fatal("no timer");
}

static void on_kill(evutil_socket_t fd, short what, void *arg)
{
	struct milter *m = arg;

	(void)fd;
	(void)what;
	if (m->worker > 0)
		kill(m->worker, SIGKILL);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct milter *m = arg;

	(void)fd;
	(void)what;
	if (m->stopping || m->worker != 0)
		return;
	metric_add(m->restarts, 1);
	start_worker(m);
}

static void ended(struct milter *m, pid_t pid, int status)
{
	if (pid != m->worker)
		return;
	m->worker = 0;
	if (m->stopping) {
		event_base_loopbreak(m->base);
		return;
	}
	log_event(LOG_ERR, "-", "milter", "worker-died", LI("pid", pid), LI("status", status));
	after(m->again, AGAIN_S);
}

static void on_child(evutil_socket_t fd, short what, void *arg)
{
	int status;
	pid_t pid;

	(void)fd;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		ended(arg, pid, status);
}

/* --- signals --- */

static void on_stop(void *arg)
{
	struct milter *m = arg;

	if (m->stopping) { /* asked twice: now */
		on_kill(-1, 0, m);
		return;
	}
	m->stopping = true;
	proc_stopping();
	if (m->worker == 0 || kill(m->worker, SIGTERM) != 0)
		event_base_loopbreak(m->base);
	after(m->kill, KILL_S);
}

static void on_reload(void *arg)
{
	struct milter *m = arg;

	proc_reloading();
	if (renew(m) && m->worker > 0)
		kill(m->worker, MILTER_RENEW);
	proc_ready(NULL);
}

/* --- metrics --- */

static void setup_returned(struct milter *m)
{
	static char labels[RETURNED_FORMS][PIECE_MAX];

	for (int i = 0; i < RETURNED_FORMS; i++) {
		snprintf(labels[i], sizeof(labels[i]), "form=\"%s\"",
			 returned_form_name((enum returned_form)i));
		m->returned[i] = metric_new(METRIC_COUNTER, "sekisho_milter_returned_total",
					    labels[i], "Mail to a valid tag by what it is.");
	}
	m->bounces = metric_new(METRIC_COUNTER, "sekisho_milter_told_total", NULL,
				"Recipients not reached that the accounting knows of.");
	m->lost = metric_new(METRIC_COUNTER, "sekisho_milter_untold_total", NULL,
			     "Recipients not reached that it never hears of.");
	m->waiting = metric_new(METRIC_GAUGE, "sekisho_milter_waiting", NULL,
				"Recipients not reached that wait to be told.");
	m->up = metric_new(METRIC_GAUGE, "sekisho_milter_accounting_up", NULL,
			   "1 while sekisho-acctd listens.");
}

static void metrics_setup(struct milter *m)
{
	static char labels[RESULTS][PIECE_MAX];

	for (int i = 0; i < RESULTS; i++) {
		snprintf(labels[i], sizeof(labels[i]), "result=\"%s\"",
			 bounce_result_name((enum bounce_result)i));
		m->results[i] = metric_new(METRIC_COUNTER, "sekisho_milter_recipients_total",
					   labels[i], "Recipients by what their address says.");
	}
	m->stripped = metric_new(METRIC_COUNTER, "sekisho_milter_stripped_total", NULL,
				 "Recipients whose tag was taken off.");
	m->restarts = metric_new(METRIC_COUNTER, "sekisho_milter_restarts_total", NULL,
				 "Workers that had died.");
	setup_returned(m);
}

static void refresh_returned(const struct milter *m)
{
	struct outbox_state s = {.told = 0};

	for (int i = 0; i < RETURNED_FORMS; i++)
		metric_set(m->returned[i], m->work.shared->returned[i]);
	if (m->outbox)
		outbox_state(m->outbox, &s);
	metric_set(m->bounces, s.told);
	metric_set(m->lost, s.lost + m->work.shared->untold);
	metric_set(m->waiting, s.waiting);
	metric_set(m->up, s.connected);
}

static void metrics_refresh(void *arg)
{
	struct milter *m = arg;

	for (int i = 0; i < RESULTS; i++)
		metric_set(m->results[i], m->work.shared->results[i]);
	metric_set(m->stripped, m->work.shared->stripped);
	refresh_returned(m);
}

/* --- up and down --- */

static struct milter_shared *share(void)
{
	struct milter_shared *sh =
	    mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;

	if (sh == MAP_FAILED)
		fatal_errno("no shared memory");
	if (pthread_mutexattr_init(&attr) != 0 ||
	    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) != 0 ||
	    pthread_mutex_init(&sh->lock, &attr) != 0)
		fatal("no lock that processes can share");
	return sh;
}

static void privileged(struct milter *m)
{
	struct proc_identity id;
	const char *why;

	if (!proc_identity(m->conf->common.user, &id, &why))
		fatal_config("common.user = \"%s\": %s", m->conf->common.user, why);
	if (!milter_open(m->conf->listen, &why))
		fatal("cannot listen on %s: %s", m->conf->listen, why);
	metrics_setup(m);
	if (!metrics_serve(m->base, m->conf->metrics, metrics_refresh, m, &why))
		fatal("milter.metrics = \"%s\": %s", m->conf->metrics, why);
	proc_drop(&id, NULL, 0);
	proc_seccomp(false);
}

static void start_loop(struct milter *m)
{
	m->again = evtimer_new(m->base, on_again, m);
	m->kill = evtimer_new(m->base, on_kill, m);
	m->child = evsignal_new(m->base, SIGCHLD, on_child, m);
	if (!m->again || !m->kill || !m->child || event_add(m->child, NULL) != 0)
		fatal("no event loop");
	proc_signals(m->base, on_stop, on_reload, m);
	proc_watchdog(m->base);
}

static void down(struct milter *m)
{
	event_free(m->again);
	event_free(m->kill);
	event_free(m->child);
	if (m->told)
		event_free(m->told);
	outbox_free(m->outbox);
	batv_wipe(&m->work.keys);
	talloc_free(m->conf);
	munmap(m->work.shared, sizeof(*m->work.shared));
	log_event(LOG_NOTICE, "-", "milter", "stopped");
}

int main(int argc, char **argv)
{
	static struct milter m;
	struct identities *ids;
	char *err = NULL;

	proc_args(argc, argv, "sekisho-batv-milter", "checks the tags of bounces for an inbound MX",
		  &m.args);
	m.conf = load(NULL, m.args.conf_file, &ids, &err);
	if (!m.conf)
		fatal_config("%s", err);
	if (m.args.check_only) {
		puts("configuration OK");
		talloc_free(m.conf);
		return 0;
	}
	m.base = event_base_new();
	if (!m.base)
		fatal("no event loop");
	privileged(&m);
	m.work.shared = share();
	m.work.renew = on_renew;
	m.work.arg = &m;
	if (!take(&m, m.conf, ids, &err))
		fatal("%s", err);
	start_loop(&m);
	start_telling(&m);
	start_worker(&m);
	proc_ready("the milter is open");
	log_event(LOG_NOTICE, "-", "milter", "ready", LS("listen", m.conf->listen),
		  LS("realm", m.conf->realm.domain));
	event_base_dispatch(m.base);
	down(&m);
	return 0;
}
