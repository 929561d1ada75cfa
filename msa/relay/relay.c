/*
 * relay - the process that delivers: sekisho-msad -x relay.
 *
 * Purpose: take messages from the parent over fd 3, deliver them, tell what became of each
 * recipient. It outlives its parent's death by the time of the replies it waits for: the outcome of
 * a transaction is in relay.journal before anything else happens, and the relay role of the next
 * msad tells it before it takes work (relay.lock orders the two; orphan.h says how the next one
 * begins at once). So a message whose final 250 was read is never sent again. Trusted with: reading
 * the spool, writing the journal and the cache of MTA-STS policies, connections to mail servers,
 * the DNS. It never writes the spool. Diagnostics: RELAY_HOST frames, log lines of subsystem relay.
 * Known gaps: none.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/relay_int.h"

#define LOCK_LOOK_MS   20
#define ORPHAN_LOOK_MS 100
#define FLUSH_MS       2000
#define SWEEP_S	       30
#define WINDOW_MORE    1000 /* messages beyond those on connections: for slow destinations */

static void drain(struct relay *r, const char *why);

uint32_t relay_random(void)
{
	uint32_t x;

	if (getrandom(&x, sizeof(x), 0) != (ssize_t)sizeof(x))
		bug("getrandom failed");
	return x;
}

/* --- telling the parent -------------------------------------------------------------------- */

static void tell(struct relay *r, uint16_t type, const struct wire_out *w)
{
	bug_on(w->bad);
	if (r->parent && !ipc_send(r->parent, type, w->buf, w->len))
		event_active(r->give_up, EV_TIMEOUT, 0);
}

void relay_tell_outcome(const struct relay_outcome *o, void *relay)
{
	static uint8_t buf[RELAY_OUTCOME_BYTES];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	relay_outcome_put(&w, o);
	tell(relay, RELAY_OUTCOME, &w);
}

void relay_tell_back(struct relay *r, const char *id, enum relay_back why, const char *lane,
		     int64_t wait_ms)
{
	struct relay_returned b = {.why = (uint8_t)why, .wait_ms = wait_ms};
	uint8_t buf[sizeof(b) + 64];
	struct wire_out w;

	snprintf(b.id, sizeof(b.id), "%s", id);
	snprintf(b.lane, sizeof(b.lane), "%s", lane);
	wire_out_init(&w, buf, sizeof(buf));
	relay_returned_put(&w, &b);
	tell(r, RELAY_BACK, &w);
}

void relay_tell_lane(struct relay *r, const struct dest *d, uint32_t limit)
{
	struct relay_lane l = {.limit = limit, .closed_ms = dest_wait(d)};
	uint8_t buf[sizeof(l) + 64];
	struct wire_out w;

	snprintf(l.name, sizeof(l.name), "%s", d->name);
	wire_out_init(&w, buf, sizeof(buf));
	relay_lane_put(&w, &l);
	tell(r, RELAY_LANE, &w);
}

void relay_tell_host(struct relay *r, bool up, const char *why)
{
	uint8_t buf[RELAY_REPLY_MAX + 64];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	wire_u8(&w, up);
	wire_str(&w, why);
	tell(r, RELAY_HOST, &w);
}

/* --- the end --------------------------------------------------------------------------------- */

void relay_exit_when_done(struct relay *r)
{
	if (r->draining && r->n_peers == 0)
		event_base_loopexit(r->base, NULL);
}

static char *path(const struct relay *r, const char *name)
{
	char *p = talloc_asprintf(NULL, "%s/msa%s%s", r->cfg.state_dir, name[0] ? "/" : "", name);

	if (!p)
		fatal("out of memory");
	return p;
}

/* What cannot be taken back stays ours; the journal and its lock are for whoever comes next. */
static void hand_over(struct relay *r)
{
	size_t n = 0;
	char(*ids)[QUEUE_ID_LEN + 1] = talloc_array_size(NULL, sizeof(*ids), r->works.n + 1);
	char *folder = path(r, "");

	if (!ids)
		fatal("out of memory");
	for (const struct work *w = r->works.first; w; w = w->next)
		memcpy(ids[n++], w->k.id, sizeof(*ids));
	r->self = orphan_begin(folder, (const char(*)[QUEUE_ID_LEN + 1]) ids, n);
	if (!r->self)
		log_event(LOG_ERR, "-", "relay", "no-handover", LS("why", strerror(errno)),
			  LS("action", "the next relay role waits for this one"));
	else if (close(r->lock_fd) == 0)
		r->lock_fd = -1;
	if (r->tls_counts) /* the file is the next one's from now on */
		tls_counts_end(r->tls_counts);
	r->tls_counts = NULL;
	talloc_free(ids);
	talloc_free(folder);
}

static void settle_peer(struct peer *c)
{
	if (peer_idle(c))
		peer_quit(c);
	else if (!peer_committed(c))
		peer_abort(c);
}

/* Nothing new; what cannot be taken back is waited for. */
static void drain(struct relay *r, const char *why)
{
	if (r->draining)
		return;
	r->draining = true;
	log_event(LOG_INFO, "-", "relay", "stopping", LS("why", why),
		  LI("messages", r->intake.n + r->works.n), LI("connections", r->n_peers));
	work_drop_all(r);
	dest_each_peer(r, settle_peer);
	if (!r->parent && r->works.first && r->journal)
		hand_over(r);
	relay_exit_when_done(r);
}

/* --- frames ---------------------------------------------------------------------------------- */

static void add_self(struct relay *r, const char *word, size_t n)
{
	char *text = talloc_strndup(r->pool, word, n);

	if (!text)
		fatal("out of memory");
	if (own_add_text(r->own, text))
		return;
	r->self_names =
	    talloc_realloc(r->pool, r->self_names, char *, (unsigned)r->n_self_names + 1);
	if (!r->self_names)
		fatal("out of memory");
	r->self_names[r->n_self_names++] = text;
}

static bool on_config(struct relay *r, struct wire_in *in)
{
	const struct timeval now = {0};

	if (!relay_config_get(in, &r->cfg))
		return false;
	r->window = r->cfg.connections * 4 + WINDOW_MORE;
	r->own = own_new(r->pool);
	add_self(r, r->cfg.hostname, strlen(r->cfg.hostname));
	for (const char *p = r->cfg.self; *p;) {
		size_t n = strcspn(p, " ");
		if (n)
			add_self(r, p, n);
		p += n + (p[n] == ' ');
	}
	event_add(r->lock_timer, &now);
	return true;
}

static bool on_routes(struct relay *r, struct wire_in *in)
{
	bool last = wire_get_u8(in);

	if (in->bad || !route_table_get(r->pool, in, &r->coming))
		return false;
	if (!last)
		return true;
	/* Destinations in use keep the old one until they meet the new. */
	if (r->table)
		talloc_unlink(r->pool, r->table);
	r->table = r->coming;
	r->coming = NULL;
	work_intake(r);
	return true;
}

static bool on_work(struct relay *r, struct wire_in *in)
{
	struct relay_work k;

	if (!relay_work_get(in, &k))
		return false;
	if (!r->draining)
		work_add(r, &k);
	return true;
}

static bool on_recall(struct relay *r, struct wire_in *in)
{
	char id[QUEUE_ID_LEN + 1];

	wire_get_str(in, id, sizeof(id));
	if (!wire_done(in))
		return false;
	if (work_recall(r, id))
		event_active(r->pump, EV_TIMEOUT, 0);
	return true;
}

static bool on_committed(struct relay *r, struct wire_in *in)
{
	uint64_t seq = wire_get_u64(in);

	if (!wire_done(in) || !r->journal)
		return false;
	if (!r->self)
		journal_committed(r->journal, seq);
	spool_reader_trim(r->spool);
	work_intake(r);
	return true;
}

static bool on_retry(struct relay *r, struct wire_in *in)
{
	(void)in;
	dest_reopen_all(r);
	return true;
}

static bool on_post(struct relay *r, struct wire_in *in)
{
	struct relay_post p;

	if (!relay_post_get(in, &p))
		return false;
	if (r->posts && !r->draining)
		tls_post_send(r->posts, &p);
	return true;
}

static bool on_stop(struct relay *r, struct wire_in *in)
{
	(void)in;
	drain(r, "told to");
	return true;
}

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	static bool (*const table[])(struct relay *, struct wire_in *) = {
	    [RELAY_CONFIG] = on_config,	      [RELAY_WORK] = on_work,	[RELAY_RECALL] = on_recall,
	    [RELAY_COMMITTED] = on_committed, [RELAY_RETRY] = on_retry, [RELAY_STOP] = on_stop,
	    [RELAY_ROUTES] = on_routes,	      [RELAY_POST] = on_post,
	};
	struct wire_in in;

	(void)c;
	wire_in_init(&in, data, len);
	if (type >= sizeof(table) / sizeof(table[0]) || !table[type] || !table[type](arg, &in))
		bug("the parent sent a frame %u that makes no sense", type);
}

static void on_parent_gone(struct ipc_conn *c, const char *reason, void *arg)
{
	struct relay *r = arg;

	(void)c;
	r->parent = NULL;
	if (r->draining && !r->self && r->works.first && r->journal)
		hand_over(r);
	drain(r, reason);
}

static const struct ipc_handlers handlers = {.frame = on_frame, .closed = on_parent_gone};

/* --- coming up -------------------------------------------------------------------------------- */

/* True when the role before us is through, or has handed over. */
static bool locked(struct relay *r)
{
	if (r->lock_fd < 0) {
		char *p = path(r, "relay.lock");
		r->lock_fd = open(p, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (r->lock_fd < 0)
			fatal_errno("%s", p);
		talloc_free(p);
	}
	return flock(r->lock_fd, LOCK_EX | LOCK_NB) == 0;
}

static void open_files(struct relay *r)
{
	char *spool = path(r, "spool"), *journal = path(r, "relay.journal"), *err = NULL;
	const char *why = NULL;

	r->spool = spool_reader_open(spool, &err);
	if (!r->spool)
		fatal("%s", err ? err : spool);
	r->journal = journal_open(journal, &why);
	if (!r->journal)
		fatal("%s: %s", journal, why);
	if (journal_damaged(r->journal))
		log_event(LOG_ERR, "-", "relay", "journal-damaged",
			  LI("records", journal_damaged(r->journal)));
	talloc_free(spool);
	talloc_free(journal);
}

static void tell_busy(const char *id, void *arg)
{
	uint8_t buf[64];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	wire_str(&w, id);
	tell(arg, RELAY_BUSY, &w);
}

/* An orphan's outcome becomes one of ours. */
static bool take_orphaned(struct relay_outcome *o, void *arg)
{
	struct relay *r = arg;

	if (journal_room(r->journal) < r->reserved + o->n)
		return false;
	if (!journal_append(r->journal, o))
		log_event(LOG_CRIT, o->id, "relay", "journal-failed", LS("why", strerror(errno)));
	o->more = false;
	relay_tell_outcome(o, r);
	return true;
}

static void lose_orphaned(const char *id, void *arg)
{
	relay_tell_back(arg, id, BACK_RECALLED, "", 0);
}

static void look_at_orphans(struct relay *r)
{
	static const struct orphans_handlers h = {take_orphaned, lose_orphaned};
	struct timeval tv = {.tv_usec = ORPHAN_LOOK_MS * 1000};

	if (!orphans_poll(r->orphans, &h, r)) {
		event_add(r->lock_timer, &tv);
		return;
	}
	orphans_free(r->orphans);
	r->orphans = NULL;
}

static void on_unfetched(struct relay *r, const char *domain, enum tlsrpt_result result,
			 const char *why)
{
	if (r->tls_counts)
		tls_count_unfetched(r->tls_counts, domain, result, why);
}

static void come_up(struct relay *r)
{
	uint8_t buf[4];
	struct wire_out w;
	char *folder = path(r, "");

	open_files(r);
	r->tls_counts = tls_counts_new(r->pool, folder, r->cfg.tlsrpt, relay_dns, r);
	r->posts = tls_post_new(r->base, folder, r->cfg.hostname, r->cfg.ca, relay_dns, r);
	if (r->cfg.sts)
		r->stss = sts_cache_new(r->base, folder, r->cfg.ca, relay_dns, on_unfetched, r);
	journal_replay(r->journal, relay_tell_outcome, r);
	r->orphans = orphans_find(folder);
	talloc_free(folder);
	if (r->orphans)
		orphans_each_id(r->orphans, tell_busy, r);
	wire_out_init(&w, buf, sizeof(buf));
	wire_u32(&w, r->window);
	r->up = true;
	tell(r, RELAY_READY, &w);
}

static void on_lock_timer(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	struct timeval tv = {.tv_usec = LOCK_LOOK_MS * 1000};

	(void)fd;
	(void)what;
	if (r->draining)
		return;
	if (!r->up && !locked(r)) {
		event_add(r->lock_timer, &tv);
		return;
	}
	if (!r->up)
		come_up(r);
	if (r->orphans)
		look_at_orphans(r);
}

struct dns *relay_dns(struct relay *r)
{
	const char *err = NULL;

	if (!r->dns && !(r->dns = dns_new(r->base, r->cfg.dns_server, r->cfg.dns_anchor, &err)))
		log_event(LOG_ERR, "-", "relay", "no-dns", LS("why", err ? err : "unknown"));
	return r->dns;
}

/* From the loop, since connections are freed. The journal has what the parent was not told. */
static void on_give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg, "the parent does not read");
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	dest_pump_all(arg);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	dest_sweep(arg);
}

static void on_signal(void *arg)
{
	drain(arg, "signal");
}

/* What the parent has not read yet is in the journal; it gets a moment all the same. */
static void flush(struct relay *r)
{
	int64_t until = clock_mono_ms() + FLUSH_MS;

	while (r->parent && ipc_backlog(r->parent) > 0 && clock_mono_ms() < until)
		if (event_base_loop(r->base, EVLOOP_ONCE) != 0)
			break;
	if (r->parent)
		ipc_free(r->parent, true);
}

static struct event *new_event(struct relay *r, short what, event_callback_fn fn)
{
	struct event *e = event_new(r->base, -1, what, fn, r);

	if (!e)
		fatal("out of memory");
	return e;
}

static void start(struct relay *r)
{
	const struct timeval often = {.tv_sec = SWEEP_S};

	r->base = event_base_new();
	r->pool = talloc_named_const(NULL, 0, "relay");
	if (!r->base || !r->pool)
		fatal("out of memory");
	r->lock_timer = new_event(r, 0, on_lock_timer);
	r->give_up = new_event(r, 0, on_give_up);
	r->pump = new_event(r, 0, on_pump);
	r->sweep = new_event(r, EV_PERSIST, on_sweep);
	event_add(r->sweep, &often);
	proc_signals(r->base, on_signal, NULL, r);
}

static void stop(struct relay *r)
{
	orphan_end(r->self);
	dest_free_all(r);
	sts_cache_free(r->stss);
	dns_free(r->dns); /* before whom its answers are for */
	tls_post_free(r->posts);
	orphans_free(r->orphans);
	event_free(r->lock_timer);
	event_free(r->give_up);
	event_free(r->pump);
	event_free(r->sweep);
	spool_reader_close(r->spool);
	journal_close(r->journal);
	event_base_free(r->base);
	talloc_free(r->pool);
}

int relay_main(void)
{
	static struct relay r = {.lock_fd = -1};

	log_open("sekisho-msad", LOG_INFO);
	proc_stand_back(); /* what is on disk can wait for who is at the door */
	proc_drop(&(struct proc_identity){.change = false}, NULL, 0);
	start(&r);
	r.parent = ipc_from_fd(r.base, 3, &handlers, &r);
	proc_seccomp(false);
	event_base_dispatch(r.base);
	flush(&r);
	stop(&r);
	return 0;
}
