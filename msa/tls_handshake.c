/*
 * tls_handshake - see tls_handshake.h.
 *
 * libevent's bufferevents do not know SSL_ERROR_WANT_ASYNC, so the socket is watched here until the
 * handshake is over. A job that is paused is always run to its end: by the answer, by the failure
 * of the key role, or, when the connection is given up, by going on without a signature, which
 * OpenSSL answers with the alert internal_error. OpenSSL would neither free its stack nor reuse it
 * otherwise. After the signature the handshake runs on the main stack.
 *
 * The stacks are OpenSSL's: 32 KB, not guarded by a page. What runs on them is OpenSSL's handshake
 * and the callbacks of tls.c and tls_watch.c; test_tls_handshake measures how deep that goes.
 *
 * Trusted with: nothing secret. Diagnostics: the caller's. Known gaps: stacks stay with OpenSSL's
 * pool, at most TLS_KEY_ASKED_MAX + 1.
 */
#include <stdlib.h>
#include <sys/queue.h>

#include <openssl/async.h>
#include <openssl/err.h>

#include "lib/proc.h"

#include "msa/tls_handshake.h"
#include "msa/tls_socket.h"

enum place {
	AT_SOCKET,
	IN_LINE, /* before it begins */
	PAUSED,	 /* the key role signs */
};

struct tls_handshake {
	TAILQ_ENTRY(tls_handshake) line;
	SSL *ssl;
	struct event *ev;
	struct timeval idle;
	short waits_for; /* EV_READ, EV_WRITE; 0 neither */
	enum place place;
	struct tls_keys *keys;
	tls_over *over;
	void *arg;
};

static TAILQ_HEAD(, tls_handshake) line = TAILQ_HEAD_INITIALIZER(line);

/* --- in line -------------------------------------------------------------------------------------
 */

static void leave_line(struct tls_handshake *h)
{
	TAILQ_REMOVE(&line, h, line);
	h->place = AT_SOCKET;
}

/* The first in line goes on in the loop; there it calls the next. */
static void call_next(void)
{
	struct tls_handshake *h = TAILQ_FIRST(&line);

	if (!h || !tls_keys_room())
		return;
	leave_line(h);
	event_active(h->ev, EV_READ, 0);
}

static void set_up(void)
{
	static bool done;

	if (done)
		return;
	/* One for a handshake that finds out that it needs no signature. */
	if (ASYNC_init_thread(TLS_KEY_ASKED_MAX + 1, 0) != 1)
		fatal("cannot set up TLS: OpenSSL has no asynchronous jobs");
	tls_keys_on_room(call_next);
	done = true;
}

/* --- the socket ----------------------------------------------------------------------------------
 */

static void on_ready(evutil_socket_t fd, short what, void *arg);

static void wait_for(struct tls_handshake *h, short what)
{
	if (h->waits_for == what)
		return;
	h->waits_for = what;
	event_del(h->ev);
	/* For nothing: call_next() can still activate it. It must not be the persistent one then,
	 * which libevent would add again. */
	event_assign(h->ev, event_get_base(h->ev), event_get_fd(h->ev),
		     what ? (short)(what | EV_PERSIST) : 0, on_ready, h);
	if (what)
		event_add(h->ev, &h->idle);
}

static void join_line(struct tls_handshake *h)
{
	wait_for(h, 0);
	h->place = IN_LINE;
	TAILQ_INSERT_TAIL(&line, h, line);
}

/* --- its end -------------------------------------------------------------------------------------
 */

static void run_out(struct tls_handshake *h)
{
	(void)SSL_do_handshake(h->ssl);
	if (SSL_want_async(h->ssl))
		bug("a handshake waits for a second signature");
	ERR_clear_error();
}

void tls_handshake_free(struct tls_handshake *h)
{
	if (h->place == PAUSED)
		run_out(h);
	else if (h->place == IN_LINE)
		leave_line(h);
	event_free(h->ev);
	SSL_clear_mode(h->ssl, SSL_MODE_ASYNC);
	tls_keys_let(h->keys);
	tls_keys_unref(h->keys);
	free(h);
	call_next(); /* it may have been called, and not gone yet */
}

static void finish(struct tls_handshake *h, enum tls_end end, const char *why)
{
	tls_over *over = h->over;
	void *arg = h->arg;

	tls_handshake_free(h);
	over(arg, end, why);
}

static void fail(struct tls_handshake *h)
{
	unsigned long e = ERR_peek_last_error();
	const char *why = e && !ERR_SYSTEM_ERROR(e) ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	finish(h, TLS_FAILED, why);
}

/* --- its way -------------------------------------------------------------------------------------
 */

/* The socket stays watched: the client has nothing to say as a rule, and epoll is not told twice.
 */
static void pause_it(struct tls_handshake *h)
{
	h->place = PAUSED;
}

/* Only what ends the handshake well may wait for what is said then. */
static void look(struct tls_handshake *h, int result)
{
	if (result != 1)
		tls_socket_push(h->ssl);
	tls_socket_hold(h->ssl, true);
	switch (SSL_get_error(h->ssl, result)) {
	case SSL_ERROR_NONE:
		finish(h, TLS_UP, NULL);
		break;
	case SSL_ERROR_WANT_READ:
		wait_for(h, EV_READ);
		break;
	case SSL_ERROR_WANT_WRITE:
		wait_for(h, EV_WRITE);
		break;
	default:
		fail(h);
	}
}

static void step(struct tls_handshake *h)
{
	bool again = h->place == PAUSED;
	int r;

	if (!again && (SSL_get_mode(h->ssl) & SSL_MODE_ASYNC) && !tls_keys_room()) {
		join_line(h);
		return;
	}
	h->place = AT_SOCKET;
	ERR_clear_error(); /* the queue is the thread's, not the job's */
	r = SSL_do_handshake(h->ssl);
	if (SSL_want_async(h->ssl)) {
		pause_it(h);
	} else {
		if (again)
			SSL_clear_mode(h->ssl, SSL_MODE_ASYNC);
		look(h, r);
	}
	call_next();
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct tls_handshake *h = arg;

	(void)fd;
	if (h->place == PAUSED)
		wait_for(h, 0); /* until there is a signature */
	else if (what & EV_TIMEOUT)
		finish(h, TLS_TIMED_OUT, NULL);
	else
		step(h);
}

/* OpenSSL's: the signature is there, or will never be. */
static int on_answer(SSL *ssl, void *arg)
{
	(void)ssl;
	step(arg);
	return 1;
}

struct tls_handshake *tls_handshake_new(struct event_base *base, SSL *ssl, struct tls_keys *keys,
					int64_t idle_ms, tls_over *over, void *arg)
{
	struct tls_handshake *h = calloc(1, sizeof(*h));

	set_up();
	if (!h)
		fatal("out of memory");
	h->ev = event_new(base, SSL_get_fd(ssl), EV_READ | EV_PERSIST, on_ready, h);
	if (!h->ev)
		fatal("out of memory");
	h->ssl = ssl;
	h->idle = (struct timeval){idle_ms / 1000, idle_ms % 1000 * 1000};
	h->keys = tls_keys_ref(keys);
	tls_keys_hold(keys);
	h->over = over;
	h->arg = arg;
	SSL_set_accept_state(ssl);
	SSL_set_mode(ssl, SSL_MODE_ASYNC);
	SSL_set_async_callback(ssl, on_answer);
	SSL_set_async_callback_arg(ssl, h);
	wait_for(h, EV_READ);
	return h;
}
