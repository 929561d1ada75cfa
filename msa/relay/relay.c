/*
 * relay - the process that delivers: sekisho-msad -x relay.
 *
 * Purpose: take messages from the parent over fd 3, deliver them to the smart host, tell what
 * became of each recipient. It outlives its parent's death by the time of the replies it waits for:
 * the outcome of a transaction is in relay.journal before anything else happens, and the relay role
 * of the next msad tells it before it takes work (relay.lock orders the two). So a message whose
 * final 250 was read is never sent again. Trusted with: reading the spool, writing the journal,
 * connections to the smart host. It never writes the spool. Diagnostics: RELAY_HOST frames, log
 * lines of subsystem relay. Known gaps: one smart host; a reply to the final dot is waited for as
 * long as the configured timeout, also by a role whose parent is gone, and its successor waits with
 * it.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/relay_int.h"

#define PAUSE_MIN_MS 1000
#define PAUSE_MAX_MS 30000
#define LOCK_LOOK_MS 20
#define FLUSH_MS     2000

static void pump(struct relay *r);
static void drain(struct relay *r, const char *why);

/* --- telling the parent -------------------------------------------------------------------- */

static void tell(struct relay *r, uint16_t type, const struct wire_out *w)
{
	bug_on(w->bad);
	if (r->parent && !ipc_send(r->parent, type, w->buf, w->len))
		event_active(r->give_up, EV_TIMEOUT, 0);
}

static void tell_outcome(const struct relay_outcome *o, void *arg)
{
	static uint8_t buf[RELAY_OUTCOME_BYTES];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	relay_outcome_put(&w, o);
	tell(arg, RELAY_OUTCOME, &w);
}

static void tell_back(struct relay *r, const char *id, enum relay_back why)
{
	uint8_t buf[64];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	wire_str(&w, id);
	wire_u8(&w, (uint8_t)why);
	tell(r, RELAY_BACK, &w);
}

static void tell_host(struct relay *r, bool up, const char *why)
{
	uint8_t buf[RELAY_REPLY_MAX + 64];
	struct wire_out w;

	if (r->host_said && r->host_up == up)
		return;
	r->host_said = true;
	r->host_up = up;
	wire_out_init(&w, buf, sizeof(buf));
	wire_u8(&w, up);
	wire_str(&w, why);
	tell(r, RELAY_HOST, &w);
}

/* --- work ------------------------------------------------------------------------------------ */

static void append(struct relay *r, struct work *w)
{
	w->prev = r->last;
	w->next = NULL;
	*(r->last ? &r->last->next : &r->first) = w;
	r->last = w;
	r->n_pending++;
}

static void prepend(struct relay *r, struct work *w)
{
	w->prev = NULL;
	w->next = r->first;
	*(r->first ? &r->first->prev : &r->last) = w;
	r->first = w;
	r->n_pending++;
}

static void take_out(struct relay *r, struct work *w)
{
	*(w->prev ? &w->prev->next : &r->first) = w->next;
	*(w->next ? &w->next->prev : &r->last) = w->prev;
	w->prev = w->next = NULL;
	r->n_pending--;
}

/* Read the envelope and keep room for its outcome in the journal. False: w is gone, or waits for
 * room (*wait). */
static bool prepare(struct relay *r, struct work *w, bool *wait)
{
	*wait = false;
	if (!w->env) {
		enum spool_found f =
		    spool_read_envelope(r->spool, w, w->k.key, RELAY_RCPTS_MAX, &w->env);
		if (f != SPOOL_FOUND || w->env->n == 0 || strcmp(w->env->id, w->k.id) != 0) {
			take_out(r, w);
			tell_back(r, w->k.id, f == SPOOL_GONE ? BACK_RECALLED : BACK_UNREADABLE);
			talloc_free(w);
			return false;
		}
	}
	*wait = journal_room(r->journal) < r->reserved + w->env->n;
	return !*wait;
}

static void fill_tx(struct work *w)
{
	const struct spool_envelope *e = w->env;

	talloc_free(w->tx.rcpts);
	w->tx = (struct smtp_tx){
	    .mail_from = e->mail_from_out, .size = e->size, .esmtp = e->esmtp, .n = e->n};
	w->tx.rcpts = talloc_zero_array(w, struct smtp_rcpt, e->n);
	if (!w->tx.rcpts)
		fatal("out of memory");
	for (uint32_t i = 0; i < e->n; i++) {
		w->tx.rcpts[i].address = e->rcpts[i].address;
		w->tx.rcpts[i].esmtp = e->rcpts[i].esmtp;
		w->tx.rcpts[i].out.idx = e->rcpts[i].idx;
	}
}

/* The first pending message that can be begun now, taken out of the list; NULL when none. */
static struct work *next_work(struct relay *r)
{
	bool wait;

	while (r->first) {
		struct work *w = r->first;
		if (prepare(r, w, &wait)) {
			take_out(r, w);
			fill_tx(w);
			r->reserved += w->tx.n;
			return w;
		}
		if (wait)
			break;
	}
	return NULL;
}

void relay_work_done(struct relay *r, struct work *w)
{
	static struct relay_outcome o;

	o.attempt = w->k.attempt;
	o.n = w->tx.n;
	memcpy(o.id, w->k.id, sizeof(o.id));
	for (uint32_t i = 0; i < o.n; i++)
		o.rcpts[i] = w->tx.rcpts[i].out;
	if (!journal_append(r->journal, &o))
		log_event(
		    LOG_CRIT, o.id, "relay", "journal-failed", LS("why", strerror(errno)),
		    LS("action", "a crash of msad in this moment would send the message again"));
	r->reserved -= o.n;
	tell_outcome(&o, r);
	talloc_free(w);
}

void relay_work_unreadable(struct relay *r, struct work *w)
{
	r->reserved -= w->tx.n;
	tell_back(r, w->k.id, BACK_UNREADABLE);
	talloc_free(w);
}

/* --- connections -------------------------------------------------------------------------------
 */

static struct peer *idle_peer(const struct relay *r)
{
	struct peer *c = r->peers;

	while (c && !peer_idle(c))
		c = peer_next(c);
	return c;
}

/* A host that is down gets one probe at a time. */
static bool may_open(const struct relay *r)
{
	size_t most = r->host_said && !r->host_up ? 1 : r->cfg.connections;

	return r->n_peers < most && r->n_coming_up < r->n_pending &&
	       !event_pending(r->resume, EV_TIMEOUT, NULL);
}

static void pump(struct relay *r)
{
	struct peer *c;
	struct work *w;

	if (r->draining || !r->up)
		return;
	while (r->first && (c = idle_peer(r)) && (w = next_work(r)))
		peer_give(c, w);
	while (r->first && !idle_peer(r) && may_open(r))
		peer_open(r);
}

static void exit_when_done(struct relay *r)
{
	if (r->draining && !r->peers)
		event_base_loopexit(r->base, NULL);
}

void relay_peer_ready(struct relay *r, struct peer *c)
{
	struct work *w;

	if (r->draining) {
		peer_quit(c);
		return;
	}
	r->pause_ms = 0;
	tell_host(r, true, "connected");
	if (peer_idle(c) && (w = next_work(r)))
		peer_give(c, w);
}

/* One message tells the story of the failed connection; the others wait where they are. */
static void defer_one(struct relay *r, const char *why)
{
	struct work *w = next_work(r);

	if (!w)
		return;
	for (uint32_t i = 0; i < w->tx.n; i++) {
		struct relay_rcpt *t = &w->tx.rcpts[i].out;
		t->result = RELAY_DEFERRED;
		snprintf(t->status, sizeof(t->status), "4.4.1");
		snprintf(t->reply, sizeof(t->reply), "%s", why);
	}
	relay_work_done(r, w);
}

static void host_failed(struct relay *r, const char *why)
{
	tell_host(r, false, why);
	defer_one(r, why);
	if (event_pending(r->resume, EV_TIMEOUT, NULL))
		return;
	r->pause_ms = !r->pause_ms		       ? PAUSE_MIN_MS
		      : r->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS
						       : r->pause_ms * 2;
	struct timeval tv = {.tv_sec = r->pause_ms / 1000, .tv_usec = r->pause_ms % 1000 * 1000};
	event_add(r->resume, &tv);
}

void relay_peer_gone(struct relay *r, struct work *w, bool came_up, const char *host_why)
{
	(void)came_up;
	if (w) {
		r->reserved -= w->tx.n;
		if (r->draining)
			talloc_free(w);
		else
			prepend(r, w);
	}
	if (host_why && !r->draining)
		host_failed(r, host_why);
	pump(r);
	exit_when_done(r);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

/* --- the end --------------------------------------------------------------------------------- */

/* Nothing new; what cannot be taken back is waited for. */
static void drain(struct relay *r, const char *why)
{
	struct peer *next;

	if (r->draining)
		return;
	r->draining = true;
	log_event(LOG_INFO, "-", "relay", "stopping", LS("why", why), LI("pending", r->n_pending),
		  LI("connections", r->n_peers));
	for (struct peer *c = r->peers; c; c = next) {
		next = peer_next(c);
		if (peer_idle(c))
			peer_quit(c);
		else if (!peer_committed(c))
			talloc_free(peer_abort(c));
	}
	while (r->first) {
		struct work *w = r->first;
		take_out(r, w);
		talloc_free(w);
	}
	exit_when_done(r);
}

/* --- frames ------------------------------------------------------------------------------------
 */

static bool on_config(struct relay *r, struct wire_in *in)
{
	const char *err = NULL;
	const struct timeval now = {0};

	if (!relay_config_get(in, &r->cfg) ||
	    !addr_parse_port(r->cfg.smarthost, &r->host, &r->port, &err))
		return false;
	r->tls = (struct relay_tls_host){.address = addr_format(&r->host, r->host_text),
					 .name = r->cfg.smarthost_name,
					 .ca = r->cfg.smarthost_ca};
	event_add(r->lock_timer, &now);
	return true;
}

static bool on_work(struct relay *r, struct wire_in *in)
{
	struct work *w = talloc_zero(NULL, struct work);

	if (!w)
		fatal("out of memory");
	if (!relay_work_get(in, &w->k)) {
		talloc_free(w);
		return false;
	}
	if (r->draining) {
		talloc_free(w);
		return true;
	}
	append(r, w);
	pump(r);
	return true;
}

static struct work *find_pending(const struct relay *r, const char *id)
{
	struct work *w = r->first;

	while (w && strcmp(w->k.id, id) != 0)
		w = w->next;
	return w;
}

static bool on_recall(struct relay *r, struct wire_in *in)
{
	char id[QUEUE_ID_LEN + 1];
	struct work *w;

	wire_get_str(in, id, sizeof(id));
	if (!wire_done(in))
		return false;
	if ((w = find_pending(r, id))) {
		take_out(r, w);
		tell_back(r, id, BACK_RECALLED);
		talloc_free(w);
		return true;
	}
	for (struct peer *c = r->peers; c; c = peer_next(c)) {
		w = peer_work(c);
		if (!w || strcmp(w->k.id, id) != 0 || peer_committed(c))
			continue;
		/* Closing without the final dot takes everything back. */
		peer_abort(c);
		r->reserved -= w->tx.n;
		tell_back(r, id, BACK_RECALLED);
		talloc_free(w);
		pump(r);
		break;
	}
	return true;
}

static bool on_committed(struct relay *r, struct wire_in *in)
{
	uint64_t seq = wire_get_u64(in);

	if (!wire_done(in) || !r->journal)
		return false;
	journal_committed(r->journal, seq);
	pump(r);
	return true;
}

static bool on_retry(struct relay *r, struct wire_in *in)
{
	(void)in;
	event_del(r->resume);
	r->pause_ms = 0;
	pump(r);
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
	drain(r, reason);
}

static const struct ipc_handlers handlers = {.frame = on_frame, .closed = on_parent_gone};

/* --- coming up -----------------------------------------------------------------------------------
 */

static char *path(const struct relay *r, const char *name)
{
	char *p = talloc_asprintf(NULL, "%s/msa/%s", r->cfg.state_dir, name);

	if (!p)
		fatal("out of memory");
	return p;
}

/* True when the role before us is through. */
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
	char *spool = path(r, "spool.db"), *journal = path(r, "relay.journal"), *err = NULL;
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

static void on_lock_timer(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	uint8_t buf[4];
	struct wire_out w;

	(void)fd;
	(void)what;
	if (r->draining)
		return;
	if (!locked(r)) {
		struct timeval tv = {.tv_usec = LOCK_LOOK_MS * 1000};
		event_add(r->lock_timer, &tv);
		return;
	}
	open_files(r);
	journal_replay(r->journal, tell_outcome, r);
	wire_out_init(&w, buf, sizeof(buf));
	wire_u32(&w, r->cfg.connections * 2);
	r->up = true;
	tell(r, RELAY_READY, &w);
}

/* From the loop, since connections are freed. The journal has what the parent was not told. */
static void on_give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg, "the parent does not read");
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

int relay_main(void)
{
	struct relay r = {.lock_fd = -1};

	log_open("sekisho-msad", LOG_INFO);
	proc_drop(&(struct proc_identity){.change = false}, NULL, 0);
	r.base = event_base_new();
	if (!r.base)
		fatal("out of memory");
	r.lock_timer = event_new(r.base, -1, 0, on_lock_timer, &r);
	r.resume = event_new(r.base, -1, 0, on_resume, &r);
	r.give_up = event_new(r.base, -1, 0, on_give_up, &r);
	if (!r.lock_timer || !r.resume || !r.give_up)
		fatal("out of memory");
	proc_signals(r.base, on_signal, NULL, &r);
	r.parent = ipc_from_fd(r.base, 3, &handlers, &r);
	proc_seccomp(false);
	event_base_dispatch(r.base);
	flush(&r);
	event_free(r.lock_timer);
	event_free(r.resume);
	event_free(r.give_up);
	spool_reader_close(r.spool);
	journal_close(r.journal);
	event_base_free(r.base);
	return 0;
}
