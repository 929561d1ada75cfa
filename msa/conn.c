/*
 * conn - see conn.h.
 *
 * Reads are taken from the bufferevent only while the session wants them: while an answer of the authenticator, the limiter or the
 * queue is awaited, pipelined input waits in its buffer, bounded by a high-water mark. Replies made in one turn leave in one write.
 *
 * Diagnostics: `smtp` lines: tls, login, accepted, refused, and one at the end of the session with its totals.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <talloc.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/conn.h"
#include "msa/io.h"
#include "msa/mail/received.h"
#include "msa/message.h"
#include "msa/tell.h"

#define INPUT_MAX   (64 << 10) /* unread input per connection */
#define OUTPUT_MAX  (64 << 10) /* unsent replies before reading stops */
#define TURN_LINES  64         /* commands handled before others get a turn */
#define LINGER_S    2
#define OVERTIME_MS 300000     /* for a message under way when the session's time is up */

/* What the queue calls back with; outlives the connection if need be. */
struct ticket {
	struct conn *c;
};

struct conn {
	struct conn_link link;
	struct server *srv;
	struct msa_config *cfg;
	struct bufferevent *bev;
	struct event *again, *timer;
	struct smtp_session *s;
	struct smtp_step step;
	struct smtp_line line;
	struct message *msg;
	struct auth_exchange *auth;
	struct rl_pending *rl;
	struct rl_ask ask; /* the charge, kept for a refund */
	struct ticket *ticket;
	struct addr client;
	uint16_t port;
	bool auth_waiting, tls_next, closing, lingering, overtime, tls_up;
	char id[17], token[TOKEN_LEN + 1];
	const char *why; /* how it ended */
	int64_t received_ms;
};

static void turn(struct conn *c);
static void act(struct conn *c);

struct conn_link *conn_link(struct conn *c)
{
	return &c->link;
}

const struct addr *conn_client(const struct conn *c)
{
	return &c->client;
}

static void count(struct conn *c, enum msa_count what)
{
	metric_add(c->srv->count[what], 1);
}

static void random_hex(char *out, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t b[32];

	bug_on(n > 2 * sizeof(b));
	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		fatal_errno("getrandom");
	for (size_t i = 0; i < n; i++)
		out[i] = hex[b[i / 2] >> (i % 2 ? 0 : 4) & 15];
	out[n] = '\0';
}

/* --- notes for accounting -------------------------------------------------------------------------- */

static struct tell_from tell_from(const struct conn *c)
{
	return (struct tell_from){c->id, c->client, c->port, clock_utc_ms()};
}

static void note_login(struct conn *c)
{
	const struct smtp_note *n = &c->step.note;

	log_event(n->ok ? LOG_INFO : LOG_NOTICE, c->id, "smtp", n->ok ? "login" : "login-failed", LS("account", n->account),
		  LS("mech", c->s->mech), LA("client", &c->client), LS("reason", n->reason));
	count(c, n->ok ? COUNT_AUTH_OK : COUNT_AUTH_FAILED);
}

static void note_refuse(struct conn *c)
{
	const struct smtp_note *n = &c->step.note;

	log_event(LOG_INFO, c->id, "smtp", "refused", LS("account", c->s->account), LS("status", n->status),
		  LS("reason", n->reason), LI("rcpts", n->rcpts));
	count(c, n->status[0] == '4' ? COUNT_DEFERRED : COUNT_REFUSED);
}

static void take_note(struct conn *c)
{
	struct tell_from from;
	struct event e;

	if (c->step.note.what == SMTP_NOTE_NONE)
		return;
	from = tell_from(c);
	tell_note(&from, c->s, &c->step.note, &e);
	queue_event(c->srv->queue, &e);
	if (c->step.note.what == SMTP_NOTE_LOGIN)
		note_login(c);
	else
		note_refuse(c);
	c->step.note.what = SMTP_NOTE_NONE;
}

/* --- ending -------------------------------------------------------------------------------------------- */

static void drop_auth(struct conn *c)
{
	if (c->auth)
		auth_end(c->auth);
	c->auth = NULL;
	c->auth_waiting = false;
}

void conn_free(struct conn *c)
{
	struct smtp_session *s = c->s;

	smtp_session_gone(s, &c->step);
	take_note(c);
	log_event(LOG_INFO, c->id, "smtp", "end", LA("client", &c->client), LI("port", c->port), LS("account", s->account),
		  LS("why", c->why), LI("commands", s->commands), LI("errors", s->errors), LI("messages", s->messages),
		  LI("rcpts", s->rcpts_accepted), LI("rcpts_refused", s->rcpts_refused),
		  LI("ms", clock_mono_ms() - s->started_ms));
	drop_auth(c);
	if (c->rl)
		rl_cancel(c->rl);
	if (c->ticket)
		c->ticket->c = NULL;
	bufferevent_free(c->bev);
	event_free(c->again);
	event_free(c->timer);
	smtp_line_wipe(&c->line);
	io_remove(c->srv, c);
	talloc_free(c);
}

static void say_goodbye(struct conn *c)
{
	const struct timeval tv = {LINGER_S, 0};

	/* Unread input would turn the close into a reset that can overtake the last reply: read on for a moment. */
	c->lingering = true;
	if (c->tls_up)
		tls_close_notify(c->bev);
	shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	bufferevent_set_timeouts(c->bev, &tv, NULL);
	bufferevent_enable(c->bev, EV_READ);
}

static void close_after_flush(struct conn *c, const char *why)
{
	c->closing = true;
	if (!c->why)
		c->why = why;
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		say_goodbye(c);
}

static void abort_session(struct conn *c, const char *code, const char *text, const char *why)
{
	if (c->closing)
		return;
	c->why = why;
	smtp_session_abort(c->s, code, text, &c->step);
	act(c);
}

/* --- what a step wants ------------------------------------------------------------------------------------ */

static void answered_auth(const struct auth_answer *a, void *arg)
{
	static const enum smtp_auth_result results[] = {
	    [AUTH_CONTINUE] = SMTP_AUTH_CONTINUE,     [AUTH_OK] = SMTP_AUTH_OK,
	    [AUTH_FAILED] = SMTP_AUTH_FAILED,         [AUTH_MALFORMED] = SMTP_AUTH_MALFORMED,
	    [AUTH_UNAVAILABLE] = SMTP_AUTH_UNAVAILABLE,
	};
	struct conn *c = arg;
	enum smtp_auth_result r = results[a->result];
	const char *text = a->challenge, *suspended = NULL;

	c->auth_waiting = false;
	if (r == SMTP_AUTH_OK) {
		text = a->account;
		suspended = limits_suspended(c->srv->limits, a->account);
	} else if (r == SMTP_AUTH_MALFORMED) {
		text = "501 5.5.2 This is not what the mechanism expects";
	} else if (r == SMTP_AUTH_UNAVAILABLE) {
		count(c, COUNT_AUTH_UNAVAILABLE);
	}
	if (suspended)
		smtp_session_auth(c->s, SMTP_AUTH_SUSPENDED, suspended, a->account, "suspended", &c->step);
	else
		smtp_session_auth(c->s, r, text, a->account, a->detail, &c->step);
	act(c);
	turn(c);
}

static void want_auth(struct conn *c)
{
	struct smtp_session *s = c->s;

	c->auth_waiting = true;
	if (s->auth_mech)
		c->auth = auth_start(c->srv->auth, s->auth_mech, s->auth_data, s->auth_len, answered_auth, c);
	else
		auth_step(c->auth, s->auth_data, s->auth_len);
}

static void want_room(struct conn *c)
{
	struct smtp_session *s = c->s;
	enum queue_result r = queue_may_accept(c->srv->queue, s->account, (uint64_t)s->tx->size);

	if (r == QUEUE_OK && c->srv->in_flight + s->tx->size > c->cfg->max_in_flight)
		r = QUEUE_FULL;
	smtp_session_room(s, r, &c->step);
}

static void begin_message(struct conn *c)
{
	struct smtp_tx *tx = c->s->tx;
	char *received = talloc_array(tx, char, RECEIVED_MAX), *date = talloc_array(tx, char, 40);
	struct received r;
	struct message_opts o;

	c->received_ms = clock_utc_ms();
	queue_new_id(c->srv->queue, c->received_ms, tx->queue_id);
	random_hex(c->token, TOKEN_LEN);
	r = (struct received){
	    .helo = c->s->helo,
	    .client = c->client,
	    .host = c->cfg->hostname,
	    .with = "ESMTPSA",
	    .tls_version = tls_version(c->bev),
	    .tls_cipher = tls_cipher(c->bev),
	    .queue_id = tx->queue_id,
	    .rcpt = tx->n_rcpts == 1 ? tx->rcpts[0].address : NULL,
	    .t_ms = c->received_ms,
	};
	received_format(&r, received);
	o = (struct message_opts){
	    .header = {.account = &c->s->account_path,
		       .sender = (enum sender_mode)c->cfg->sender,
		       .received = received,
		       .trace = c->token,
		       .message_id = talloc_asprintf(tx, "%s@%s", tx->queue_id, c->cfg->hostname),
		       .date = clock_format_5322(c->received_ms, date)},
	    .size_hint = tx->size,
	    .max = c->cfg->max_message,
	    .in_flight = &c->srv->in_flight,
	    .max_in_flight = c->cfg->max_in_flight,
	};
	c->msg = message_new(tx, &o);
}

static void answered_limit(const struct rl_verdict *v, void *arg)
{
	struct conn *c = arg;

	c->rl = NULL;
	if (v->answer == RL_DOWN)
		count(c, COUNT_LIMITER_DOWN);
	smtp_session_verdict(c->s, v, &c->step);
	act(c);
	turn(c);
}

static void want_limit(struct conn *c, bool charge)
{
	struct smtp_tx *tx = c->s->tx;
	uint64_t *hash = talloc_array(tx, uint64_t, tx->n_rcpts);

	for (uint32_t i = 0; i < tx->n_rcpts; i++)
		hash[i] = tx->rcpts[i].hash;
	c->ask = (struct rl_ask){
	    .account = c->s->account,
	    .client = c->client,
	    .t_ms = clock_utc_ms(),
	    .charge = charge,
	    .messages = 1,
	    .rcpts = tx->n_rcpts,
	    .rcpt_hash = charge ? hash : NULL,
	    .n_hash = charge ? tx->n_rcpts : 0,
	};
	c->rl = rl_ask(limits_rl(c->srv->limits), &c->ask, answered_limit, c);
	if (!charge)
		talloc_free(hash);
}

/* --- into the queue ------------------------------------------------------------------------------------------ */

static void log_accepted(struct conn *c)
{
	struct smtp_tx *tx = c->s->tx;
	size_t len;

	message_data(c->msg, &len);
	log_event(LOG_INFO, tx->queue_id, "smtp", tx->hold ? "accepted-held" : "accepted", LS("session", c->id),
		  LS("account", c->s->account), LS("from", tx->from.text), LI("rcpts", tx->n_rcpts), LI("size", len),
		  LA("client", &c->client), LS("trace", c->token),
		  LS("sender", header_sender_added(message_header(c->msg)) ? "added" : "-"));
	count(c, tx->hold ? COUNT_HELD : COUNT_ACCEPTED);
}

static void submitted(enum queue_result r, void *arg)
{
	struct ticket *t = arg;
	struct conn *c = t->c;

	talloc_free(t);
	if (!c)
		return;
	c->ticket = NULL;
	if (r == QUEUE_OK)
		log_accepted(c);
	else
		rl_refund(limits_rl(c->srv->limits), &c->ask);
	c->msg = NULL; /* goes with the transaction */
	smtp_session_submitted(c->s, r, &c->step);
	act(c);
	turn(c);
}

/* The sender as it will leave: tagged when it is of the account's own domain, which is ours to verify. */
static void sender_out(struct conn *c, struct path *out)
{
	const struct path *from = &c->s->tx->from;

	*out = *from;
	if (c->cfg->batv && !from->null && strcmp(from->domain, c->s->account_path.domain) == 0)
		batv_sign(&c->srv->batv, from, -1, c->received_ms, out);
}

static void want_submit(struct conn *c)
{
	struct smtp_tx *tx = c->s->tx;
	struct queue_rcpt *rcpts = talloc_array(tx, struct queue_rcpt, tx->n_rcpts);
	struct tell_from from = tell_from(c);
	struct tell_message tm = {.token = c->token, .message_id = header_message_id(message_header(c->msg)), .held = tx->hold};
	struct queue_msg m = {.account = c->s->account, .mail_from = tx->from.text, .rcpts = rcpts, .n_rcpts = tx->n_rcpts,
			      .body_8bit = tx->body_8bit, .received_ms = c->received_ms};
	struct path out;
	struct event e;

	for (uint32_t i = 0; i < tx->n_rcpts; i++)
		rcpts[i].address = tx->rcpts[i].address;
	m.data = message_data(c->msg, &m.len);
	snprintf(m.id, sizeof(m.id), "%s", tx->queue_id);
	sender_out(c, &out);
	m.mail_from_out = out.text;
	tm.size = m.len;
	tell_message(&from, c->s, &tm, &e);
	m.event = &e;
	c->ticket = talloc_zero(NULL, struct ticket);
	c->ticket->c = c;
	queue_submit(c->srv->queue, &m, tx->hold, submitted, c->ticket);
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static void emit(struct conn *c)
{
	if (c->step.reply_len > 0)
		bufferevent_write(c->bev, c->step.reply, c->step.reply_len);
	explicit_bzero(c->step.reply, c->step.reply_len); /* a challenge may be in it */
	c->step.reply_len = 0;
	take_note(c);
	if (c->auth && c->s->state != SMTP_S_AUTHING)
		drop_auth(c);
	if (!c->s->tx)
		c->msg = NULL;
}

/* The server stops, or the account is suspended: not later than when nothing is under way. */
static bool must_end(struct conn *c)
{
	if (!smtp_session_idle(c->s) || !(c->srv->stopping || c->s->suspended || c->overtime))
		return false;
	c->why = c->srv->stopping ? "stopping" : c->s->suspended ? "suspended" : "session timeout";
	if (c->srv->stopping)
		smtp_session_abort(c->s, "4.3.2", "Going down for a moment; try again", &c->step);
	else if (c->s->suspended)
		smtp_session_abort(c->s, "4.7.0", c->s->suspended, &c->step);
	else
		smtp_session_abort(c->s, "4.4.2", "The session has lasted too long; connect again", &c->step);
	return true;
}

/* Do what the step wants, and the steps after it, until input or somebody's answer is needed. */
static void act(struct conn *c)
{
	for (;;) {
		emit(c);
		switch (c->s->want) {
		case SMTP_WANT_LINE:
			if (!must_end(c))
				return;
			break;
		case SMTP_WANT_ROOM:
			want_room(c);
			break;
		case SMTP_WANT_DATA:
			begin_message(c);
			return;
		case SMTP_WANT_TLS:
			c->tls_next = true;
			bufferevent_disable(c->bev, EV_READ);
			return;
		case SMTP_WANT_AUTH:
			want_auth(c);
			return;
		case SMTP_WANT_CHECK:
		case SMTP_WANT_CHARGE:
			want_limit(c, c->s->want == SMTP_WANT_CHARGE);
			return;
		case SMTP_WANT_SUBMIT:
			want_submit(c);
			return;
		case SMTP_WANT_CLOSE:
			close_after_flush(c, "quit");
			return;
		}
	}
}

/* --- bytes in --------------------------------------------------------------------------------------------------------- */

static bool waiting(const struct conn *c)
{
	return c->auth_waiting || c->rl || c->ticket || c->tls_next || c->closing;
}

static void got_line(struct conn *c, enum smtp_line_result r)
{
	count(c, COUNT_COMMANDS);
	if (r == SMTP_LINE_OK)
		smtp_session_line(c->s, c->line.buf, c->line.len, clock_mono_ms(), &c->step);
	else
		smtp_session_bad_line(c->s, r, &c->step);
	act(c);
	smtp_line_wipe(&c->line);
}

static void take_line(struct conn *c, struct evbuffer *in, const struct evbuffer_iovec *v)
{
	size_t used;
	enum smtp_line_result r = smtp_line_feed(&c->line, smtp_session_line_max(c->s), v->iov_base, v->iov_len, &used);

	evbuffer_drain(in, used);
	if (r != SMTP_LINE_MORE)
		got_line(c, r);
}

static void take_data(struct conn *c, struct evbuffer *in, const struct evbuffer_iovec *v)
{
	struct smtp_data_end end;
	size_t used;
	bool done = message_feed(c->msg, v->iov_base, v->iov_len, &used, &end);

	evbuffer_drain(in, used);
	if (!done)
		return;
	smtp_session_data(c->s, &end, &c->step);
	act(c);
}

/* Take what has come, as far as the session wants it, and not more than is fair to the others. */
static void turn(struct conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	struct evbuffer_iovec v;

	for (int i = 0; !waiting(c) && evbuffer_get_length(in) > 0; i++) {
		if (evbuffer_get_length(bufferevent_get_output(c->bev)) > OUTPUT_MAX)
			return; /* on_write comes back */
		if (i == TURN_LINES) {
			event_active(c->again, EV_TIMEOUT, 0);
			return;
		}
		if (evbuffer_peek(in, -1, NULL, &v, 1) < 1)
			return;
		if (c->s->want == SMTP_WANT_DATA)
			take_data(c, in, &v);
		else
			take_line(c, in, &v);
	}
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn(arg);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	if (c->lingering)
		evbuffer_drain(bufferevent_get_input(bev), evbuffer_get_length(bufferevent_get_input(bev)));
	else
		turn(c);
}

/* --- TLS and the socket's events -------------------------------------------------------------------------------------------- */

static void use_bev(struct conn *c, struct bufferevent *bev);

/* The 220 is out: whatever was pipelined in plain text is dropped with the old buffer (RFC 3207 4.2). */
static void start_tls(struct conn *c)
{
	struct bufferevent *old = c->bev;
	int fd = bufferevent_getfd(old);
	struct bufferevent *bev = tls_accept(c->srv->base, c->srv->tls, fd);

	c->tls_next = false;
	if (!bev) {
		c->why = "out of memory";
		conn_free(c);
		return;
	}
	bufferevent_disable(old, EV_READ | EV_WRITE);
	bufferevent_setfd(old, -1);
	bufferevent_free(old);
	smtp_line_wipe(&c->line);
	use_bev(c, bev);
	smtp_session_tls(c->s, &c->step);
	act(c);
}

static void on_write(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	/* libevent may run this callback late, when there is something to write again. */
	if (c->lingering || ((c->closing || c->tls_next) && evbuffer_get_length(bufferevent_get_output(bev)) > 0))
		return;
	if (c->closing)
		say_goodbye(c);
	else if (c->tls_next)
		start_tls(c);
	else
		turn(c);
}

static void tls_established(struct conn *c)
{
	c->tls_up = true;
	log_event(LOG_DEBUG, c->id, "smtp", "tls", LS("version", tls_version(c->bev)), LS("cipher", tls_cipher(c->bev)));
}

static void tls_failed(struct conn *c)
{
	const char *why = tls_error(c->bev);

	count(c, COUNT_TLS_FAILED);
	log_event(LOG_INFO, c->id, "smtp", "tls-failed", LA("client", &c->client), LS("why", why ? why : "connection lost"));
	c->why = "tls failed";
	conn_free(c);
}

static void timed_out(struct conn *c, short what)
{
	if (c->lingering || (what & BEV_EVENT_WRITING) || (c->s->tls && !c->tls_up)) {
		if (!c->why)
			c->why = "timeout";
		conn_free(c);
	} else if (waiting(c)) {
		bufferevent_enable(c->bev, EV_READ); /* it is not the client who is slow */
	} else {
		abort_session(c, "4.4.2", "Idle for too long", "idle timeout");
	}
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	(void)bev;
	if (what & BEV_EVENT_CONNECTED) {
		tls_established(c);
	} else if (what & BEV_EVENT_TIMEOUT) {
		timed_out(c, what);
	} else if (c->s->tls && !c->tls_up) {
		tls_failed(c);
	} else {
		if (!c->why)
			c->why = what & BEV_EVENT_EOF ? "client closed" : "connection lost";
		conn_free(c);
	}
}

static void use_bev(struct conn *c, struct bufferevent *bev)
{
	const struct timeval idle = {c->cfg->idle_timeout / 1000, c->cfg->idle_timeout % 1000 * 1000};

	c->bev = bev;
	bufferevent_setcb(bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(bev, EV_READ, 0, INPUT_MAX);
	bufferevent_set_timeouts(bev, &idle, &idle);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = {OVERTIME_MS / 1000, 0};
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->overtime) {
		c->why = "session timeout";
		conn_free(c);
		return;
	}
	c->overtime = true;
	event_add(c->timer, &tv);
	if (!waiting(c) && smtp_session_idle(c->s))
		act(c);
}

/* --- beginning -------------------------------------------------------------------------------------------------------------- */

void conn_new(struct server *srv, int fd, const struct addr *client, uint16_t port, bool implicit_tls)
{
	struct bufferevent *bev = implicit_tls ? tls_accept(srv->base, srv->tls, fd)
					       : bufferevent_socket_new(srv->base, fd, BEV_OPT_CLOSE_ON_FREE);
	struct conn *c;

	if (!bev) {
		log_event(LOG_ERR, "-", "io", "no-memory", LA("client", client));
		evutil_closesocket(fd);
		return;
	}
	c = talloc_zero(NULL, struct conn);
	c->srv = srv;
	c->cfg = talloc_reference(c, srv->cfg);
	c->client = *client;
	c->port = port;
	random_hex(c->id, 16);
	c->s = smtp_session_new(c, &c->cfg->policy, implicit_tls, clock_mono_ms());
	c->again = event_new(srv->base, -1, 0, on_again, c);
	c->timer = event_new(srv->base, -1, 0, on_timer, c);
	const struct timeval longest = {c->cfg->session_timeout / 1000, c->cfg->session_timeout % 1000 * 1000};

	event_add(c->timer, &longest);
	use_bev(c, bev);
	io_add(srv, c);
	count(c, COUNT_SESSIONS);
	smtp_session_open(c->s, &c->step);
	act(c);
}

void conn_stop(struct conn *c)
{
	c->s->stopping = true;
	if (c->s->tls && !c->tls_up) {
		c->why = "stopping";
		conn_free(c);
	} else if (!waiting(c) && smtp_session_idle(c->s)) {
		act(c);
	}
}

void conn_suspend(struct conn *c, const char *account, const char *why)
{
	if (strcmp(c->s->account, account) != 0)
		return;
	c->s->suspended = talloc_asprintf(c, "This account is suspended: %s", why);
	if (!waiting(c) && smtp_session_idle(c->s))
		act(c);
}
