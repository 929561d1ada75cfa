/*
 * sekisho-nfqd - judges port 25 packets of subscribers that the kernel's sets do not decide.
 *
 * One thread a queue answers packets from the policy (worker.c). The main thread keeps the kernel's
 * sets equal to the policy that acctd feeds (kernel.c), learns refused sources into the kernel,
 * sums up what the kernel counted and tells acctd (stats.c, outbox.c), and answers requests
 * (answers.c). Packets wait for none of these.
 *
 * State on disk, <state_dir>/nfq/: policy and its changes (policy_store.c; nfqd starts from it when
 * acctd is away),
 * events (what acctd has not acknowledged; written while acctd is away and at stop).
 *
 * Trusted with: CAP_NET_ADMIN, the queues, the sets. Not with any database or mail. Diagnostics:
 * log lines "kernel ...", "feed ...", "queue ...", metrics, nfq.status. Known gaps: without a
 * service manager that keeps descriptors, what waits in the queues when the process dies is
 * dropped.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <talloc.h>
#include <unistd.h>

#include "accounting/feed.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/upgrade.h"

#include "nfq/daemon.h"

#define STATS_MAX	(256u << 10) /* sources an interval */
#define BACKLOG_SAVE_MS 60000
#define EVENT_BYTES	64 /* of one event of ours, at most */
#define HARVEST_PART	50 /* summing up is at most one part in so many of the time */
#define HARVEST_MAX_MS	60000
#define HARVEST_SOON	2000 /* sources that are not left to the end of the interval */

/* --- files ----------------------------------------------------------------------- */

static char *state_path(const struct nfqd *d, void *ctx, const char *name)
{
	return talloc_asprintf(ctx, "%s/nfq%s%s", d->conf.common.state_dir, *name ? "/" : "", name);
}

/* NULL when there is none; *bytes is malloc'd. */
static char *read_state(const struct nfqd *d, const char *name, size_t max, size_t *len)
{
	char *path = state_path(d, NULL, name);
	char *data = proc_read_file(path, max, len);
	if (!data && errno != ENOENT)
		log_event(LOG_ERR, "-", "state", "unreadable", LS("file", path),
			  LS("reason", strerror(errno)));
	talloc_free(path);
	return data;
}

static void write_state(const struct nfqd *d, const char *name, const uint8_t *data, size_t len)
{
	char *path = state_path(d, NULL, name);
	if (!proc_write_file(path, data, len, 0640))
		log_event(LOG_ERR, "-", "state", "unwritable", LS("file", path),
			  LS("reason", strerror(errno)));
	talloc_free(path);
}

static struct outbox *new_outbox(const struct nfqd *d)
{
	uint64_t random;
	char instance[OUTBOX_INSTANCE];
	if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
		fatal_errno("no random bytes");
	(void)snprintf(instance, sizeof instance, "nfqd-%016llx", (unsigned long long)random);
	return outbox_new(NULL, instance, (size_t)d->conf.event_backlog);
}

static struct outbox *load_outbox(const struct nfqd *d)
{
	size_t len;
	char *data = read_state(d, "events", (size_t)d->conf.event_backlog * 2 + 4096, &len);
	struct outbox *o =
	    data ? outbox_decode(NULL, (const uint8_t *)data, len, (size_t)d->conf.event_backlog)
		 : NULL;
	if (data && !o)
		log_event(LOG_ERR, "-", "state", "events-damaged", LS("hint", "they are lost"));
	free(data);
	return o ? o : new_outbox(d);
}

static void save_outbox(struct nfqd *d)
{
	size_t len;
	uint8_t *data = outbox_encode(d->outbox, NULL, &len);
	write_state(d, "events", data, len);
	talloc_free(data);
	d->saved_ms = clock_mono_ms();
}

/* Once numbers behind it are in use, the file would give them out again after a crash. */
static void forget_outbox_file(const struct nfqd *d)
{
	char *path = state_path(d, NULL, "events");
	if (unlink(path) < 0 && errno != ENOENT)
		log_event(LOG_ERR, "-", "state", "unremovable", LS("file", path),
			  LS("reason", strerror(errno)));
	talloc_free(path);
}

static uint64_t held_version(void *arg)
{
	const struct nfqd *d = arg;
	return d->applied;
}

/* --- events to acctd ------------------------------------------------------------- */

static bool send_batch(uint64_t seq, uint32_t n, const uint8_t *data, size_t len, void *arg)
{
	struct nfqd *d = arg;
	return feed_send(d->feed, seq, n, data, len);
}

static void on_acked(uint64_t seq, void *arg)
{
	struct nfqd *d = arg;
	d->heard_ms = clock_mono_ms();
	outbox_acked(d->outbox, seq);
	outbox_send(d->outbox, send_batch, d);
}

static void on_state(bool connected, void *arg)
{
	struct nfqd *d = arg;
	d->connected = connected;
	if (!connected)
		return;
	d->heard_ms = clock_mono_ms();
	forget_outbox_file(d);
	outbox_resend(d->outbox);
	outbox_send(d->outbox, send_batch, d);
	d->told = 0;
	kernel_tell(d);
}

/* The next summing up, after the interval or a longer pause. */
static void set_interval(struct nfqd *d, int64_t pause_ms)
{
	int64_t ms = pause_ms > d->conf.interval ? pause_ms : d->conf.interval;
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	if (event_add(d->interval_event, &tv) < 0)
		fatal("out of memory");
}

static void add_event(const struct event *e, void *arg)
{
	struct nfqd *d = arg;
	struct event told = *e;
	struct addr key;
	uint8_t len = verdict_line(shared_lines(d->shared), &e->src, 0, &key);
	if (e->kind == EVENT_BLOCK && len < (addr_is4(&e->src) ? 32 : 128))
		told.u.block.plen = len;
	outbox_add(d->outbox, &told);
}

/* As many sources as stats and the backlog have room for: the rest is safe in the kernel's sets,
 * and nothing is given up because acctd is slow or away. */
static size_t room(const struct nfqd *d)
{
	size_t bytes = (size_t)d->conf.event_backlog / 2, used = outbox_bytes(d->outbox);
	size_t n = used < bytes ? (bytes - used) / EVENT_BYTES : 0;
	return n < STATS_MAX ? n : STATS_MAX;
}

static void sum_up(struct nfqd *d)
{
	kernel_learn(d);
	kernel_harvest(d, room(d));
	stats_close(d->stats, clock_utc_ms(), add_event, d);
	lines_close(d);
	outbox_seal(d->outbox);
}

/* What this thread has used: on a busy machine less than the time that went by. */
static int64_t processor_ms(void)
{
	struct rusage u;
	if (getrusage(RUSAGE_THREAD, &u) < 0)
		return 0;
	return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static void on_interval(evutil_socket_t fd, short what, void *arg)
{
	struct nfqd *d = arg;
	int64_t begin = processor_ms();
	(void)fd;
	(void)what;
	sum_up(d);
	d->harvested = 0;
	outbox_send(d->outbox, send_batch, d);
	if (!d->connected && outbox_batches(d->outbox) > 0 &&
	    clock_mono_ms() - d->saved_ms > BACKLOG_SAVE_MS)
		save_outbox(d);
	/* Summing up a flood must not cost more than a small part of a processor: the kernel counts
	 * meanwhile. */
	int64_t pause = (processor_ms() - begin) * HARVEST_PART;
	set_interval(d, pause < HARVEST_MAX_MS ? pause : HARVEST_MAX_MS);
}

/* Taking out a flood's sources all at once would hold up changes: a part of them each second. */
static void harvest_soon(struct nfqd *d)
{
	int64_t mono = clock_mono_ms(), begin = processor_ms();
	if (mono < d->harvest_ms)
		return;
	size_t n = kernel_counting(d);
	if (n < HARVEST_SOON || d->harvested + n > room(d) / 2)
		return;
	kernel_harvest(d, room(d));
	d->harvested += n;
	d->harvest_ms = mono + (processor_ms() - begin) * HARVEST_PART;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	kernel_tick(arg);
	harvest_soon(arg);
	exempt_watch_edges(arg);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct nfqd *d = arg;
	eventfd_t n;
	(void)what;
	(void)eventfd_read((int)fd, &n);
	kernel_learn(d);
	kernel_tell(d); /* the policy came to disk */
	for (unsigned i = 0; i < d->n_workers; i++)
		if (!worker_alive(d->workers[i]))
			(void)event_base_loopbreak(
			    d->base); /* end, so that the service manager starts it again */
}

/* --- start, reload, stop --------------------------------------------------------- */

static void on_stop(void *arg)
{
	struct nfqd *d = arg;
	proc_stopping();
	(void)event_base_loopbreak(d->base);
}

static void set_rates(struct nfqd *d)
{
	unsigned learn = d->conf.deny_timeout > 0 ? LEARN_RATE / nfq_conf_queues(&d->conf) + 1 : 0;
	shared_set_rates(d->shared, d->conf.count_rate, learn);
}

static void on_reload(void *arg)
{
	struct nfqd *d = arg;
	void *ctx = talloc_new(NULL);
	struct nfq_conf fresh;
	struct marks marks;
	char *err;
	proc_reloading();
	if (!nfq_conf_load(ctx, d->args.conf_file, &fresh, &marks, &err) ||
	    !conf_may_reload(ctx, nfq_keys, nfq_keys_n, &d->conf, &fresh, &err)) {
		log_event(LOG_ERR, "-", "process", "reload-refused", LS("reason", err));
		talloc_free(ctx);
	} else {
		const struct nfq_ranges was = nfq_conf_ranges(&d->conf);
		alive_pause(d->alive);
		talloc_free(d->conf_ctx);
		d->conf_ctx = ctx;
		d->conf = fresh;
		alive_resume(d->alive);
		set_rates(d);
		set_interval(d, 0);
		lines_reload(d);
		exempt_reload(d);
		log_event(LOG_NOTICE, "-", "process", "reloaded");
		queues_reload(d, &was);
	}
	proc_ready(NULL);
}

static struct event *timer(struct nfqd *d, event_callback_fn fn, int64_t every_ms)
{
	const struct timeval tv = {every_ms / 1000, every_ms % 1000 * 1000};
	struct event *ev = event_new(d->base, -1, every_ms ? EV_PERSIST : 0, fn, d);
	if (!ev || (every_ms && event_add(ev, &tv) < 0))
		fatal("out of memory");
	return ev;
}

static void open_sources(struct nfqd *d)
{
	d->base = event_base_new();
	d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!d->base || d->wake_fd < 0)
		fatal_errno("cannot make an event loop");
	queues_open_proc(d);
	lines_start(d);
	d->ksync = ksync_new(NULL, (size_t)d->conf.set_size);
	d->stats = stats_new(NULL, STATS_MAX);
	d->shared = shared_new(exempt_load(d), &d->marks, d->wake_fd);
	shared_set_lines(d->shared, nfq_conf_lines(NULL, &d->conf));
	set_rates(d);
	d->outbox = load_outbox(d);
}

/* Threads take the capabilities and the filter of the one that starts them: after the drop. */
static void start_workers(struct nfqd *d)
{
	char err[256];
	char *file = state_path(d, NULL, "dropped");
	d->tally = tally_open(file, err);
	if (*err)
		log_event(LOG_ERR, "-", "process", "no-tally", LS("reason", err),
			  LS("hint", "what is dropped in a flood is forgotten when nfqd ends"));
	talloc_free(file);
	queues_start(d);
	/* After them: the first netlink socket has the process id as its port, and names the
	 * queue's holder. */
	d->sets = nftset_open(err);
	if (!d->sets)
		fatal("%s", err);
	d->alive = alive_start(queues_look, d, err);
	if (!d->alive)
		fatal("%s", err);
}

static void drop_privileges(struct nfqd *d)
{
	static const int keep[] = {CAP_NET_ADMIN};
	struct proc_identity id;
	const char *err;
	if (!proc_identity(d->conf.common.user, &id, &err))
		fatal_config("common.user: %s", err);
	char *dir = state_path(d, NULL, "");
	if (!proc_folder(d->conf.common.state_dir, 0755, NULL) || !proc_folder(dir, 0750, &id))
		fatal_errno("cannot make %s", dir);
	talloc_free(dir);
	proc_drop_for_upgrade(&id, keep, 1);
	proc_seccomp(true);
}

static void start_timers(struct nfqd *d)
{
	struct event *wake = event_new(d->base, d->wake_fd, EV_READ | EV_PERSIST, on_wake, d);
	if (!wake || event_add(wake, NULL) < 0)
		fatal("out of memory");
	exempt_start(d);
	(void)timer(d, on_tick, 1000);
	d->interval_event = timer(d, on_interval, 0);
	set_interval(d, 0);
}

static void start_feed(struct nfqd *d)
{
	static const struct feed_handlers handlers = {.policy_begin = exempt_begin,
						      .policy_entry = exempt_entry,
						      .policy_end = exempt_end,
						      .policy_change = exempt_change,
						      .acked = on_acked,
						      .request = answers_request,
						      .state = on_state};
	d->feed = feed_new(d->base, d->conf.common.run_dir, "nfqd", outbox_instance(d->outbox),
			   held_version, &handlers, d);
}

void nfqd_save(struct nfqd *d)
{
	sum_up(d);
	save_outbox(d);
	exempt_sync(d);
}

void nfqd_resume(struct nfqd *d)
{
	forget_outbox_file(d);
}

bool nfqd_healthy(const struct nfqd *d)
{
	return !d->stalled;
}

const char *nfqd_shown_state(const struct nfqd *d)
{
	return d->stalled ? "stalled" : nfqd_state_name(d->state);
}

static void stop(struct nfqd *d)
{
	/* The queues first: from here on the ruleset decides. */
	alive_stop(d->alive);
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_stop(d->workers[i]);
	d->n_workers = 0;
	sum_up(d);
	save_outbox(d);
	exempt_stop(d);
	feed_free(d->feed);
}

int main(int argc, char **argv)
{
	static struct nfqd d;
	char *err;
	proc_args(argc, argv, "sekisho-nfqd", "judge subscribers' packets to port 25", &d.args);
	d.conf_ctx = talloc_new(NULL);
	if (!nfq_conf_load(d.conf_ctx, d.args.conf_file, &d.conf, &d.marks, &err))
		fatal_config("%s", err);
	if (d.args.check_only) {
		(void)puts("configuration OK");
		return 0;
	}
	open_sources(&d);
	drop_privileges(&d);
	start_workers(&d);
	answers_metrics(&d);
	start_timers(&d);
	queues_watch_upgrade(&d); /* before the signals are let in */
	proc_signals(d.base, on_stop, on_reload, &d);
	proc_watchdog_while(d.base, queues_fine, &d);
	d.clock_offset_ms = clock_utc_ms() - clock_mono_ms();
	for (unsigned i = 0; i < HARVESTS; i++)
		d.harvested_ms[i] = clock_utc_ms();
	d.state = NFQD_NO_STEP; /* the first tick finds out */
	kernel_start(&d);
	start_feed(&d);
	log_event(LOG_NOTICE, "-", "process", "ready", LI("queues", d.n_workers),
		  LS("state", nfqd_shown_state(&d)));
	proc_ready(nfqd_shown_state(&d));
	(void)event_base_dispatch(d.base);
	bool broken = false;
	for (unsigned i = 0; i < d.n_workers; i++)
		broken |= !worker_alive(d.workers[i]);
	stop(&d);
	log_event(LOG_NOTICE, "-", "process", "stopped");
	return broken ? EXIT_FAILURE : 0;
}
