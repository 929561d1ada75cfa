/*
 * restart - see restart.h.
 *
 * The order: the new program's own check (-n), ours, then without a turn of the loop: the spool is
 * closed (who waits for a commit has it now), fork, the child says that it has the connections, the
 * parent runs the new program. What the child's sessions complete from then on waits in a socket
 * until the new program reads it.
 *
 * Trusted with: running our own file. Diagnostics: `process upgrade` and `handover` lines. Known
 * gaps: sessions of the leaving process are not counted against the new one's limits; a new program
 * that passes its check and dies at its start takes the sockets with it, but for the service
 * manager's copies.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/upgrade.h"

#include "msa/bounces.h"
#include "msa/handover.h"
#include "msa/handover_wire.h"
#include "msa/heirs.h"
#include "msa/io.h"
#include "msa/queue/queue_leave.h"
#include "msa/restart.h"

#define LISTENERS_MAX 64
#define PIDS_MAX      96
#define HELLO_MS      5000
#define FLUSH_MS      2000
#define FLUSH_STEP_MS 20

static struct {
	struct server *srv;
	const struct proc_args *args;
	struct restart_hooks hooks;
	void *arg;
	bool wanted;
	struct event *limit; /* in the process that leaves */
	int flushes;
} g;

/* --- may it? -------------------------------------------------------------------------------------
 */

static void refused(const char *why)
{
	log_event(LOG_ERR, "-", "process", "upgrade-refused", LS("reason", why),
		  LS("hint", "this one goes on as before"));
}

static void checked(const char *why_not, void *arg)
{
	void *tmp = talloc_new(NULL);
	char *why = NULL;

	(void)arg;
	if (g.srv->stopping)
		log_event(LOG_NOTICE, "-", "process", "upgrade-forgotten");
	else if (why_not)
		refused(why_not);
	else if (!g.hooks.possible(tmp, g.arg, &why))
		refused(why);
	else
		g.wanted = event_base_loopbreak(g.srv->base) == 0;
	talloc_free(tmp);
}

static void on_upgrade(evutil_socket_t nr, short what, void *arg)
{
	(void)nr;
	(void)what;
	(void)arg;
	if (g.srv->leaving || g.srv->stopping)
		return;
	if (heirs_leaving(g.srv->heirs) >= HEIRS_LEAVING_MAX - 1)
		refused("too many processes still end their sessions");
	else if (!upgrade_check(g.srv->base, g.args, checked, NULL))
		log_event(LOG_NOTICE, "-", "process", "upgrade-under-way");
}

void restart_watch(struct server *srv, const struct proc_args *args,
		   const struct restart_hooks *hooks, void *arg)
{
	struct event *ev = evsignal_new(srv->base, SIGUSR2, on_upgrade, NULL);

	if (!ev || evsignal_add(ev, NULL) != 0)
		fatal("out of memory");
	g.srv = srv;
	g.args = args;
	g.hooks = *hooks;
	g.arg = arg;
}

bool restart_wanted(void)
{
	return g.wanted;
}

/* --- the process that leaves --- */

/* The last session is gone; what it said last may still wait in the socket. */
static void look(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval soon = {0, FLUSH_STEP_MS * 1000};
	struct server *srv = arg;

	(void)fd;
	(void)what;
	if (handover_flushed(srv->leaving) || g.flushes++ >= FLUSH_MS / FLUSH_STEP_MS)
		event_base_loopbreak(srv->base);
	else
		event_base_once(srv->base, -1, EV_TIMEOUT, look, srv, &soon);
}

/* Perhaps before the loop turns, when breaking it would not be noticed. */
static void gone(void *arg)
{
	static const struct timeval now = {0, 0};
	struct server *srv = arg;

	event_base_once(srv->base, -1, EV_TIMEOUT, look, srv, &now);
}

/* Its sessions have had their time. */
static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct server *srv = arg;

	(void)fd;
	(void)what;
	log_event(LOG_NOTICE, "-", "handover", "limit", LI("sessions", io_sessions(srv)));
	srv->stopping = true;
	io_stop(srv, srv->cfg->stop_timeout, gone, srv);
}

/* Nobody takes messages any more. */
static void successor_lost(void *arg)
{
	struct server *srv = arg;

	if (srv->stopping)
		return;
	srv->stopping = true;
	io_stop(srv, srv->cfg->stop_timeout, gone, srv);
}

static void limit_time(struct server *srv)
{
	const struct timeval tv = {srv->cfg->handover_timeout / 1000,
				   srv->cfg->handover_timeout % 1000 * 1000};

	g.limit = event_new(srv->base, -1, 0, on_limit, srv);
	if (!g.limit || event_add(g.limit, &tv) != 0)
		fatal("out of memory");
}

static bool say_hello(int fd)
{
	const struct handover_datagram d = {.kind = HANDOVER_HELLO};
	uint8_t buf[HANDOVER_DATAGRAM_MAX];
	size_t n = handover_put(&d, buf, sizeof(buf));

	return send(fd, buf, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void leave(struct server *srv, int fd, const int *listeners, size_t n)
{
	prctl(PR_SET_NAME, "sekisho-leaving", 0, 0, 0);
	(void)unsetenv("NOTIFY_SOCKET"); /* the service manager's business is the parent's */
	(void)unsetenv("WATCHDOG_USEC");
	if (event_reinit(srv->base) != 0)
		fatal("the event loop does not survive a fork");
	for (size_t i = 0; i < n; i++)
		close(listeners[i]);
	heirs_drop(srv->heirs);
	auth_disown(srv->auth);
	tls_keys_disown_all();
	if (!say_hello(fd))
		fatal_errno("the handover's socket");
	log_event(LOG_NOTICE, "-", "handover", "leaving", LI("sessions", io_sessions(srv)),
		  LI("pid", getpid()));
	limit_time(srv);
	handover_attach(srv->leaving, fd, successor_lost, srv);
	io_drain(srv, gone, srv);
}

/* --- the process that becomes the new program --- */

/* Until the child has closed what the new program opens. */
static bool has_left(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t buf[HANDOVER_DATAGRAM_MAX];

	return poll(&p, 1, HELLO_MS) == 1 && recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0;
}

static size_t children(const struct server *srv, pid_t relay, pid_t child, pid_t *out)
{
	size_t n = 0;

	out[n++] = child;
	out[n++] = relay;
	n += auth_pids(srv->auth, out + n, PIDS_MAX - n);
	n += tls_keys_pids(out + n, PIDS_MAX - n);
	return n;
}

static _Noreturn void become_new(struct server *srv, int fd, struct upgrade_fd *fds, size_t n,
				 const pid_t *pids, size_t n_pids)
{
	static char names[HEIRS_FDS_MAX][HEIRS_NAME];

	if (!has_left(fd))
		log_event(LOG_CRIT, "-", "handover", "sessions-lost",
			  LS("why", "the process that was to keep them did not come up"));
	n += heirs_pass_on(srv->heirs, fd, pids, n_pids, fds + n, names);
	upgrade_exec(fds, n);
	fatal_errno("cannot run %s: this process has nothing left to serve with", proc_own_file());
}

void restart_now(struct server *srv)
{
	static struct upgrade_fd fds[LISTENERS_MAX + HEIRS_FDS_MAX];
	pid_t pids[PIDS_MAX], relay, child;
	int pair[2], listeners[LISTENERS_MAX];
	size_t n;

	g.wanted = false;
	log_event(LOG_NOTICE, "-", "process", "upgrading", LS("file", proc_own_file()),
		  LI("sessions", io_sessions(srv)));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		refused(strerror(errno));
		return;
	}
	proc_reloading();
	n = io_release(srv, fds, LISTENERS_MAX);
	n += bounces_release(srv, fds + n, LISTENERS_MAX - n);
	for (size_t i = 0; i < n; i++)
		listeners[i] = fds[i].fd;
	g.hooks.let_go(g.arg);
	metrics_close();
	srv->leaving = handover_new(srv->base, heirs_free_number(srv->heirs));
	limits_leave_queue(srv->limits);
	relay = queue_leave(srv->queue);
	srv->queue = NULL;
	child = fork();
	if (child == 0) {
		close(pair[0]);
		leave(srv, pair[1], listeners, n);
		return;
	}
	close(pair[1]);
	become_new(srv, pair[0], fds, n, pids, children(srv, relay, child, pids));
}
