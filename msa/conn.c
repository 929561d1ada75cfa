/*
 * conn - see conn.h.
 *
 * Reads are taken from the bufferevent only while the session wants them: while an answer of the
 * authenticator, the limiter or the queue is awaited, pipelined input waits in its buffer, bounded
 * by a high-water mark. Replies made in one turn leave in one write.
 *
 * A reply that is to come late (step.delay_ms), and the greeting when greet_delay is set, wait for
 * a timer; input is not taken meanwhile, and nobody else waits. A line has idle_timeout to be
 * complete, a message must come at min_rate.
 *
 * Diagnostics: `smtp` lines: tls, tls-failed, and one at the end of the session with its totals.
 */
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/conn_int.h"
#include "msa/io.h"

/* With libevent's head a block of 4 KB, wiped when it is freed; 32 KB without this. The rest of a
 * longer TLS record is read into a block of its size. */
#define READ_MAX    4000
#define OUT_ROOM    256	       /* replies of one turn; it grows to the longest */
#define INPUT_MAX   (64 << 10) /* unread input per connection */
#define OUTPUT_MAX  (64 << 10) /* unsent replies before reading stops */
#define TURN_LINES  64	       /* commands handled before others get a turn */
#define LINGER_S    2
#define OVERTIME_MS 300000 /* for a message under way when the session's time is up */

struct conn_link *conn_link(struct conn *c)
{
	return &c->link;
}

const struct addr *conn_client(const struct conn *c)
{
	return &c->client;
}

/* --- ending --- */

static bool handshaking(const struct conn *c)
{
	return c->s->tls && !c->tls_up;
}

/* A connection that breaks is told of by its events. What is said before TLS is up waits for it. */
static void flush(struct conn *c)
{
	if (c->out_len == 0 || handshaking(c))
		return;
	if (c->tls_up)
		(void)tls_write(c->bev, c->out, c->out_len);
	else
		(void)bufferevent_write(c->bev, c->out, c->out_len);
	explicit_bzero(c->out, c->out_len); /* a challenge may be in it */
	c->out_len = 0;
}

void conn_free(struct conn *c)
{
	struct smtp_session *s = c->s;

	smtp_session_gone(s, &c->step);
	conn_take_note(c);
	log_event(LOG_INFO, c->id, "smtp", "end", LA("client", &c->client), LI("port", c->port),
		  LS("account", s->account), LS("why", c->why), LI("commands", s->commands),
		  LI("errors", s->errors), LI("messages", s->messages),
		  LI("rcpts", s->rcpts_accepted), LI("rcpts_refused", s->rcpts_refused),
		  LI("ms", clock_mono_ms() - s->started_ms));
	conn_drop_auth(c);
	flush(c);
	if (c->rl)
		rl_cancel(c->rl);
	if (c->ticket)
		c->ticket->c = NULL;
	if (handshaking(c))
		tls_give_up(c->bev);
	bufferevent_free(c->bev);
	event_free(c->again);
	event_free(c->timer);
	event_free(c->late);
	event_free(c->pace);
	event_free(c->flush);
	smtp_line_wipe(&c->line);
	io_remove(c->srv, c);
	talloc_free(c);
}

static void say_goodbye(struct conn *c)
{
	const struct timeval tv = {LINGER_S, 0};

	/* Unread input would turn the close into a reset that can overtake the last reply: read on
	 * for a moment. */
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
	if (c->tls_up)
		tls_hold(c->bev);
	flush(c);
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		say_goodbye(c);
}

static void abort_session(struct conn *c, const char *code, const char *text, const char *why)
{
	if (c->closing)
		return;
	c->why = why;
	smtp_session_abort(c->s, code, text, &c->step);
	conn_act(c);
}

/* --- steps --- */

static void arm_event(struct event *e, int64_t ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	event_add(e, &tv);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

static void make_room(struct conn *c, size_t need)
{
	if (need <= c->out_cap)
		return;
	c->out_cap = need < OUT_ROOM ? OUT_ROOM : need;
	c->out = talloc_realloc_size(c, c->out, c->out_cap);
	if (!c->out)
		fatal("out of memory");
}

/* What is said to a connection in one turn of the loop leaves in one write, a TLS record. */
static void say(struct conn *c, const char *text, size_t len)
{
	if (c->out_len + len > c->out_cap)
		flush(c);
	make_room(c, c->out_len + len);
	memcpy(c->out + c->out_len, text, len);
	c->out_len += len;
	if (c->out_len == len)
		event_active(c->flush, EV_TIMEOUT, 0);
}

/* False: the reply waits. */
static bool emit(struct conn *c)
{
	conn_take_note(c);
	if (c->step.delay_ms > 0) {
		c->delayed = true;
		arm_event(c->late, c->step.delay_ms);
		return false;
	}
	if (c->step.reply_len > 0)
		say(c, c->step.reply, c->step.reply_len);
	explicit_bzero(c->step.reply, c->step.reply_len); /* a challenge may be in it */
	c->step.reply_len = 0;
	if (c->auth && c->s->state != SMTP_S_AUTHING)
		conn_drop_auth(c);
	if (!c->s->tx)
		c->msg = NULL;
	return true;
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
		smtp_session_abort(c->s, "4.4.2", "The session has lasted too long; connect again",
				   &c->step);
	return true;
}

static void chunk_done(struct conn *c)
{
	struct smtp_data_end end = {.fault = DOT_CLEAN};

	if (c->s->chunk.keep)
		message_chunk_end(c->msg, c->s->chunk.last, &end);
	smtp_session_chunk(c->s, &end, &c->step);
}

/* Do what the step wants, and the steps after it, until input or somebody's answer is needed. */
void conn_act(struct conn *c)
{
	for (;;) {
		if (!emit(c))
			return;
		switch (c->s->want) {
		case SMTP_WANT_LINE:
			if (!must_end(c))
				return;
			break;
		case SMTP_WANT_ROOM:
			conn_want_room(c);
			break;
		case SMTP_WANT_DATA:
			conn_begin_message(c);
			event_del(c->pace); /* measured from here */
			return;
		case SMTP_WANT_CHUNK:
			if (c->s->chunk.keep && !c->msg)
				conn_begin_message(c);
			event_del(c->pace);
			if (c->s->chunk.left > 0)
				return;
			chunk_done(c);
			break;
		case SMTP_WANT_TLS:
			flush(c);
			c->tls_next = true;
			bufferevent_disable(c->bev, EV_READ);
			return;
		case SMTP_WANT_AUTH:
			if (!conn_want_auth(c))
				return;
			break;
		case SMTP_WANT_CHECK:
		case SMTP_WANT_CHARGE:
			conn_want_limit(c, c->s->want == SMTP_WANT_CHARGE);
			return;
		case SMTP_WANT_SUBMIT:
			conn_want_submit(c);
			return;
		case SMTP_WANT_CLOSE:
			close_after_flush(c, "quit");
			return;
		}
	}
}

/* --- bytes in --- */

static bool waiting(const struct conn *c)
{
	return c->auth_waiting || c->rl || c->ticket || c->tls_next || c->closing || c->delayed ||
	       c->greeting;
}

static void got_line(struct conn *c, enum smtp_line_result r)
{
	conn_count(c, COUNT_COMMANDS);
	if (r == SMTP_LINE_OK)
		smtp_session_line(c->s, c->line.buf, c->line.len, clock_mono_ms(), &c->step);
	else
		smtp_session_bad_line(c->s, r, &c->step);
	conn_act(c);
	smtp_line_wipe(&c->line);
}

static void take_line(struct conn *c, struct evbuffer *in, const struct evbuffer_iovec *v)
{
	size_t used;
	enum smtp_line_result r =
	    smtp_line_feed(&c->line, smtp_session_line_max(c->s), v->iov_base, v->iov_len, &used);

	evbuffer_drain(in, used);
	if (r == SMTP_LINE_MORE) {
		if (c->line_ms == 0)
			c->line_ms = clock_mono_ms();
		return;
	}
	c->line_ms = 0;
	got_line(c, r);
}

static void take_data(struct conn *c, struct evbuffer *in, const struct evbuffer_iovec *v)
{
	struct smtp_data_end end;
	size_t used;
	bool done = message_feed(c->msg, v->iov_base, v->iov_len, &used, &end);

	evbuffer_drain(in, used);
	c->paced += (int64_t)used;
	if (!done)
		return;
	smtp_session_data(c->s, &end, &c->step);
	conn_act(c);
}

static void take_chunk(struct conn *c, struct evbuffer *in, const struct evbuffer_iovec *v)
{
	struct smtp_session *s = c->s;
	size_t n = (int64_t)v->iov_len < s->chunk.left ? v->iov_len : (size_t)s->chunk.left;

	if (s->chunk.keep)
		message_chunk(c->msg, v->iov_base, n);
	evbuffer_drain(in, n);
	c->paced += (int64_t)n;
	s->chunk.left -= (int64_t)n;
	if (s->chunk.left > 0)
		return;
	chunk_done(c);
	conn_act(c);
}

/* Take what has come, as far as the session wants it, and not more than is fair to the others. */
static void take_input(struct conn *c)
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
		else if (c->s->want == SMTP_WANT_CHUNK)
			take_chunk(c, in, &v);
		else
			take_line(c, in, &v);
	}
}

/* --- how fast it comes --- */

static bool in_message(const struct conn *c)
{
	return c->s->want == SMTP_WANT_DATA || c->s->want == SMTP_WANT_CHUNK;
}

/* Only who has not sent all of it at once is looked at. */
static void watch_pace(struct conn *c)
{
	if (waiting(c) || event_pending(c->pace, EV_TIMEOUT, NULL))
		return;
	if (in_message(c) && c->cfg->min_rate > 0) {
		c->paced = 0;
		arm_event(c->pace, c->cfg->min_rate_after);
	} else if (c->line_ms > 0) {
		arm_event(c->pace, c->cfg->idle_timeout);
	}
}

static void on_pace(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->closing || handshaking(c))
		return;
	/* While it is we who do not read, nothing can be held against the client. */
	if (in_message(c) && !waiting(c) &&
	    evbuffer_get_length(bufferevent_get_input(c->bev)) == 0 &&
	    c->paced < c->cfg->min_rate * c->cfg->min_rate_after / 1000)
		abort_session(c, "4.4.2", "The message comes too slowly", "too slow");
	else if (!in_message(c) && c->line_ms > 0 &&
		 clock_mono_ms() - c->line_ms >= c->cfg->idle_timeout)
		abort_session(c, "4.4.2", "The command comes too slowly", "too slow");
	else
		watch_pace(c);
}

void conn_turn(struct conn *c)
{
	take_input(c);
	watch_pace(c);
	if (c->tls_up && !waiting(c))
		tls_read_on(c->bev);
	if (c->no_more && !waiting(c) && evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
		close_after_flush(c, "client closed");
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	conn_turn(arg);
}

static void greet(struct conn *c)
{
	c->greeting = false;
	smtp_session_open(c->s, &c->step);
	conn_act(c);
}

/* RFC 5321 4.3.1: who does not wait for the greeting is no mail client. */
static void spoke_early(struct conn *c)
{
	c->greeting = false;
	event_del(c->late);
	c->why = "spoke before the greeting";
	smtp_session_early(c->s, &c->step);
	conn_act(c);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->greeting) {
		greet(c);
	} else {
		c->delayed = false;
		c->step.delay_ms = 0;
		conn_act(c);
	}
	conn_turn(c);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	if (c->lingering)
		evbuffer_drain(bufferevent_get_input(bev),
			       evbuffer_get_length(bufferevent_get_input(bev)));
	else if (c->greeting)
		spoke_early(c);
	else
		conn_turn(c);
}

/* --- TLS and the socket's events --- */

static void use_bev(struct conn *c, struct bufferevent *bev);
static void tls_ended(void *arg, enum tls_end end, const char *why);

static struct bufferevent *accept_tls(struct conn *c, int fd)
{
	return tls_accept(c->srv->base, c->srv->tls, fd, c->cfg->idle_timeout, tls_ended, c);
}

/* The 220 is out: whatever was pipelined in plain text is dropped with the old buffer (RFC
 * 3207 4.2). */
static void start_tls(struct conn *c)
{
	struct bufferevent *old = c->bev;
	int fd = bufferevent_getfd(old);
	struct bufferevent *bev = accept_tls(c, fd);

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
	c->line_ms = 0;
	use_bev(c, bev);
	smtp_session_tls(c->s, &c->step);
	conn_act(c);
}

static void on_write(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	/* libevent may run this callback late, when there is something to write again. */
	if (c->lingering ||
	    ((c->closing || c->tls_next) && evbuffer_get_length(bufferevent_get_output(bev)) > 0))
		return;
	if (c->closing)
		say_goodbye(c);
	else if (c->tls_next)
		start_tls(c);
	else
		conn_turn(c);
}

static void tls_established(struct conn *c)
{
	c->tls_up = true;
	conn_tls_up(c);
	log_event(LOG_DEBUG, c->id, "smtp", "tls", LS("version", tls_version(c->bev)),
		  LS("cipher", tls_cipher(c->bev)), LS("host", tls_asked(c->bev)),
		  LI("resumed", tls_resumed(c->bev)));
	flush(c);
	tls_push(c->bev); /* there may have been nothing to say */
	bufferevent_enable(c->bev, EV_READ);
	tls_read_on(c->bev);
}

static void tls_failed(struct conn *c, const char *why)
{
	conn_count(c, COUNT_TLS_FAILED);
	log_event(LOG_INFO, c->id, "smtp", "tls-failed", LA("client", &c->client),
		  LS("why", why ? why : "connection lost"));
	c->why = "tls failed";
	conn_free(c);
}

static void tls_ended(void *arg, enum tls_end end, const char *why)
{
	struct conn *c = arg;

	tls_settle(c->bev);
	if (end == TLS_UP) {
		tls_established(c);
	} else if (end == TLS_FAILED) {
		tls_failed(c, why);
	} else {
		c->why = "timeout";
		conn_free(c);
	}
}

static void timed_out(struct conn *c, short what)
{
	if (c->lingering || (what & BEV_EVENT_WRITING)) {
		if (!c->why)
			c->why = "timeout";
		conn_free(c);
	} else if (waiting(c)) {
		bufferevent_enable(c->bev, EV_READ); /* it is not the client who is slow */
	} else {
		abort_session(c, "4.4.2", "Idle for too long", "idle timeout");
	}
}

/* The client may say all it has to say and close its side at once; it still reads our replies. */
static bool half_closed(struct conn *c, short what)
{
	if (!(what & BEV_EVENT_EOF) || c->no_more || c->lingering)
		return false;
	flush(c);
	c->no_more = waiting(c) || evbuffer_get_length(bufferevent_get_input(c->bev)) > 0 ||
		     evbuffer_get_length(bufferevent_get_output(c->bev)) > 0;
	return c->no_more;
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	if (what & BEV_EVENT_TIMEOUT) {
		timed_out(c, what);
	} else if (half_closed(c, what)) {
		bufferevent_disable(bev, EV_READ);
		bufferevent_enable(bev, EV_WRITE);
		conn_turn(c);
	} else {
		if (!c->why)
			c->why = what & BEV_EVENT_EOF ? "client closed" : "connection lost";
		conn_free(c);
	}
}

static void use_bev(struct conn *c, struct bufferevent *bev)
{
	const struct timeval idle = {c->cfg->idle_timeout / 1000,
				     c->cfg->idle_timeout % 1000 * 1000};

	c->bev = bev;
	bufferevent_setcb(bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(bev, EV_READ, 0, INPUT_MAX);
	bufferevent_set_max_single_read(bev, READ_MAX);
	bufferevent_set_timeouts(bev, &idle, &idle);
}

static void arm(struct conn *c, int64_t ms)
{
	arm_event(c->timer, ms);
}

/* The time to log in is up; before TLS is there, nobody would read a reply. */
static void login_late(struct conn *c)
{
	if (handshaking(c)) {
		c->why = "login timeout";
		conn_free(c);
		return;
	}
	arm(c, OVERTIME_MS);
	abort_session(c, "4.4.2", "Log in sooner; connect again", "login timeout");
}

/* First the time to log in, then that of the session, then overtime for a message under way. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->overtime || c->closing) {
		c->why = c->why ? c->why : "session timeout";
		conn_free(c);
	} else if (!c->login_over && !c->s->account[0] && !waiting(c)) {
		login_late(c);
	} else if (!c->login_over && !c->s->account[0] && !c->auth_waiting) {
		arm(c, 1000); /* a reply is kept back */
	} else if (!c->login_over) {
		c->login_over = true;
		arm(c, c->cfg->session_timeout);
	} else {
		c->overtime = true;
		arm(c, OVERTIME_MS);
		if (!waiting(c) && smtp_session_idle(c->s))
			conn_act(c);
	}
}

/* --- beginning --- */

/* Where it came in may have mechanisms of its own. */
static void set_mechs(struct conn *c, const char *listener)
{
	const struct msa_listener *l = msa_config_listener(c->cfg, listener);

	if (l) {
		c->s->mechs = l->mechs;
		c->s->n_mechs = l->n_mechs;
	}
}

void conn_new(struct server *srv, int fd, const struct addr *client, uint16_t port,
	      const char *listener, bool implicit_tls)
{
	struct conn *c = talloc_zero(NULL, struct conn);
	struct bufferevent *bev;

	c->srv = srv;
	c->cfg = talloc_reference(c, srv->cfg);
	bev = implicit_tls ? accept_tls(c, fd)
			   : bufferevent_socket_new(srv->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		log_event(LOG_ERR, "-", "io", "no-memory", LA("client", client));
		evutil_closesocket(fd);
		talloc_free(c);
		return;
	}
	c->client = *client;
	c->port = port;
	conn_random_hex(c->id, 16);
	c->s = smtp_session_new(c, &c->cfg->policy, implicit_tls, clock_mono_ms());
	c->listener = listener;
	set_mechs(c, listener);
	c->again = event_new(srv->base, -1, 0, on_again, c);
	c->timer = event_new(srv->base, -1, 0, on_timer, c);
	c->late = event_new(srv->base, -1, 0, on_late, c);
	c->pace = event_new(srv->base, -1, 0, on_pace, c);
	c->flush = event_new(srv->base, -1, 0, on_flush, c);
	arm(c, c->cfg->login_timeout);
	use_bev(c, bev);
	if (!implicit_tls)
		bufferevent_enable(bev, EV_READ | EV_WRITE);
	io_add(srv, c);
	conn_count(c, COUNT_SESSIONS);
	if (c->cfg->greet_delay > 0) {
		c->greeting = true;
		arm_event(c->late, c->cfg->greet_delay);
	} else {
		greet(c);
	}
}

void conn_stop(struct conn *c)
{
	c->s->stopping = true;
	if (handshaking(c)) {
		c->why = "stopping";
		conn_free(c);
	} else if (!waiting(c) && smtp_session_idle(c->s)) {
		conn_act(c);
	}
}

void conn_suspend(struct conn *c, const char *account, const char *why)
{
	if (strcmp(c->s->account, account) != 0)
		return;
	c->s->suspended =
	    talloc_asprintf(c, "This account is suspended: %s%s", why, c->cfg->policy.help);
	if (!waiting(c) && smtp_session_idle(c->s))
		conn_act(c);
}
