/*
 * queues - the workers and their queues, from start to start (see daemon.h).
 *
 * A queue lives as long as its socket. SIGUSR2 runs the program's file again in this process with
 * the sockets open, once that file has accepted the configuration (-n): what is queued meanwhile
 * waits. A service manager that keeps descriptors (sd_notify(3), FDSTORE) gives the sockets back
 * after a crash.
 *
 * Trusted with: running our own file. Diagnostics: log lines "queue ...", "process upgrade...",
 * metrics. Known gaps: the number of upgrades is not remembered over them.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/upgrade.h"

#include "nfq/daemon.h"
#include "nfq/procq.h"

#define NAME_BYTES 16

static void name_queue(unsigned number, char name[static NAME_BYTES])
{
	(void)snprintf(name, NAME_BYTES, "nfq-%u", number);
}

/* --- start ----------------------------------------------------------------------- */

void queues_open_proc(struct nfqd *d)
{
	d->proc_queues = upgrade_take("procq", NULL);
	if (d->proc_queues < 0)
		d->proc_queues = open(PROCQ_PATH, O_RDONLY | O_CLOEXEC);
}

/* One that cannot be taken over must not come back at every start. */
static struct worker *take_over(struct nfqd *d, struct worker_place *place, const char *name)
{
	char err[256];
	bool stored = false;
	place->fd = upgrade_take(name, &stored);
	struct worker *w = place->fd < 0 ? NULL : worker_start(d->shared, place, err);
	if (w) {
		log_event(LOG_NOTICE, "-", "queue", "taken-over", LI("queue", place->queue),
			  LS("from", stored ? "service-manager" : "upgrade"));
	} else if (place->fd >= 0) {
		log_event(LOG_ERR, "-", "queue", "not-taken-over", LI("queue", place->queue),
			  LS("reason", err), LS("hint", "it is bound anew"));
		(void)close(place->fd);
		if (stored)
			upgrade_forget(name);
	}
	place->fd = -1;
	return w;
}

static void start_one(struct nfqd *d, unsigned number, unsigned cpu, bool fail_open)
{
	struct worker_place place = {(uint16_t)number,
				     cpu,
				     -1,
				     {(uint32_t)d->conf.queue_length, fail_open},
				     tally_slot(d->tally, d->n_workers)};
	char name[NAME_BYTES], err[256];
	name_queue(number, name);
	struct worker *w = take_over(d, &place, name);
	if (!w) {
		w = worker_start(d->shared, &place, err);
		if (!w)
			fatal("%s", err);
		upgrade_store(name, worker_fd(w));
	}
	d->queues[d->n_workers] = (uint16_t)number;
	d->workers[d->n_workers++] = w;
}

void queues_start(struct nfqd *d)
{
	struct nfq_ranges r = nfq_conf_ranges(&d->conf);
	for (unsigned i = 0; i < r.closed; i++)
		start_one(d, (unsigned)d->conf.queue_first + i, i, false);
	for (unsigned i = 0; i < r.open; i++)
		start_one(d, (unsigned)d->conf.queue_first + r.closed + i, i, true);
	unsigned n = upgrade_drop_rest();
	if (n > 0)
		log_event(LOG_NOTICE, "-", "queue", "let-go", LI("sockets", n),
			  LS("reason", "the configuration has no such queues"));
}

bool queues_fail_open(const struct nfqd *d, unsigned i)
{
	return i >= nfq_conf_ranges(&d->conf).closed;
}

/* --- do they keep up? ------------------------------------------------------------ */

bool queues_look(void *arg)
{
	struct nfqd *d = arg;
	int64_t mono = clock_mono_ms();
	bool stalled = false;
	for (unsigned i = 0; i < d->n_workers; i++) {
		bool was = worker_healthy(d->workers[i]);
		worker_look(d->workers[i], mono, d->conf.stall);
		bool is = worker_healthy(d->workers[i]);
		stalled |= !is;
		if (was == is)
			continue;
		d->stalls += !is;
		log_event(is ? LOG_NOTICE : LOG_CRIT, "-", "queue", is ? "goes-on" : "stalled",
			  LI("queue", d->queues[i]), LI("waiting", worker_waiting(d->workers[i])));
	}
	d->stalled = stalled;
	return !stalled;
}

bool queues_fine(void *arg)
{
	struct nfqd *d = arg;
	return nfqd_healthy(d) && alive_works(d->alive);
}

/* --- upgrade --------------------------------------------------------------------- */

/* The workers end, their sockets stay. */
static unsigned release(struct nfqd *d, struct upgrade_fd fds[static MAX_WORKERS],
			char names[static MAX_WORKERS][NAME_BYTES])
{
	for (unsigned i = 0; i < d->n_workers; i++) {
		name_queue(d->queues[i], names[i]);
		fds[i] = (struct upgrade_fd){names[i], worker_release(d->workers[i])};
	}
	unsigned n = d->n_workers;
	d->n_workers = 0;
	return n;
}

/* The new program was there a moment ago, for it checked the configuration; now it cannot even be
 * run. */
static void go_on(struct nfqd *d, const struct upgrade_fd *fds, unsigned n)
{
	struct nfq_ranges r = nfq_conf_ranges(&d->conf);
	char err[256];
	for (unsigned i = 0; i < n; i++) {
		struct worker_place place = {d->queues[i],
					     i < r.closed ? i : i - r.closed,
					     fds[i].fd,
					     {(uint32_t)d->conf.queue_length, i >= r.closed},
					     tally_slot(d->tally, i)};
		d->workers[i] = worker_start(d->shared, &place, err);
		if (!d->workers[i])
			fatal("%s", err);
		d->n_workers++;
	}
}

static void upgrade(const char *why_not, void *arg)
{
	struct nfqd *d = arg;
	struct upgrade_fd fds[MAX_WORKERS + 1];
	static char names[MAX_WORKERS][NAME_BYTES];
	if (why_not) {
		d->upgrades_refused++;
		log_event(LOG_ERR, "-", "process", "upgrade-refused", LS("reason", why_not),
			  LS("hint", "this one goes on as before"));
		return;
	}
	log_event(LOG_NOTICE, "-", "process", "upgrading", LS("file", proc_own_file()));
	proc_reloading();
	nfqd_save(d);
	alive_pause(d->alive);
	/* From here on packets wait. */
	unsigned n = release(d, fds, names);
	if (d->proc_queues >= 0)
		fds[n] = (struct upgrade_fd){"procq", d->proc_queues};
	upgrade_exec(fds, n + (d->proc_queues >= 0));
	d->upgrades_refused++;
	log_event(LOG_ERR, "-", "process", "upgrade-failed", LS("file", proc_own_file()),
		  LS("reason", strerror(errno)), LS("hint", "this one goes on as before"));
	go_on(d, fds, n);
	alive_resume(d->alive);
	nfqd_resume(d);
	proc_ready(nfqd_shown_state(d));
}

static void on_upgrade(evutil_socket_t nr, short what, void *arg)
{
	struct nfqd *d = arg;
	(void)nr, (void)what;
	if (!upgrade_check(d->base, &d->args, upgrade, d))
		log_event(LOG_NOTICE, "-", "process", "upgrade-under-way");
}

void queues_reload(struct nfqd *d, const struct nfq_ranges *was)
{
	const struct nfq_ranges is = nfq_conf_ranges(&d->conf);
	if (is.closed != was->closed || is.open != was->open)
		upgrade(NULL, d);
}

void queues_watch_upgrade(struct nfqd *d)
{
	struct event *ev = evsignal_new(d->base, SIGUSR2, on_upgrade, d);
	if (!ev || evsignal_add(ev, NULL) != 0)
		fatal("out of memory");
}
