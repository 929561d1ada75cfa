/*
 * smtp_client - RFC 5321 as a client, with PIPELINING (2920), SIZE (1870), 8BITMIME (6152),
 * STARTTLS (3207).
 *
 * Purpose: from replies to results of recipients. Trusted with: nothing. Diagnostics: each result
 * carries the reply that decided it. Known gaps: no AUTH towards the smart host, no SMTPUTF8, no
 * conversion of 8-bit mail (it is returned, RFC 6152 3).
 */
#include <stdio.h>
#include <string.h>

#include "lib/proc.h"

#include "msa/relay/smtp_client.h"

void client_init(struct smtp_client *c, const char *hostname, bool use_tls)
{
	*c = (struct smtp_client){
	    .state = CLIENT_GREETING, .hostname = hostname, .use_tls = use_tls};
}

/* --- results ----------------------------------------------------------------------------- */

static void set_result(struct smtp_rcpt *t, uint8_t result, const char *status, const char *reply)
{
	t->out.result = result;
	snprintf(t->out.status, sizeof(t->out.status), "%s", status);
	snprintf(t->out.reply, sizeof(t->out.reply), "%s", reply);
}

static uint8_t result_of(const struct reply *r)
{
	return r->code / 100 == 2   ? RELAY_DELIVERED
	       : r->code / 100 == 5 ? RELAY_BOUNCED
				    : RELAY_DEFERRED;
}

static void set_from_reply(struct smtp_rcpt *t, const struct reply *r)
{
	static const char *const plain[] = {
	    [RELAY_DELIVERED] = "2.0.0", [RELAY_BOUNCED] = "5.0.0", [RELAY_DEFERRED] = "4.0.0"};
	uint8_t result = result_of(r);
	char line[RELAY_REPLY_MAX + 1];

	/* A 3xx where none belongs is treated as a failure for now, and must not carry a status of
	 * class 3. */
	bool usable = r->status[0] == plain[result][0];
	set_result(t, result, usable ? r->status : plain[result],
		   reply_line(r, line, sizeof(line)));
}

/* For those that have no result yet. */
static void settle_rest(struct smtp_tx *tx, const struct reply *r)
{
	for (uint32_t i = 0; i < tx->n; i++)
		if (!tx->rcpts[i].out.result)
			set_from_reply(&tx->rcpts[i], r);
}

static void settle_rest_local(struct smtp_tx *tx, uint8_t result, const char *status,
			      const char *why)
{
	for (uint32_t i = 0; i < tx->n; i++)
		if (!tx->rcpts[i].out.result)
			set_result(&tx->rcpts[i], result, status, why);
}

static bool any_accepted(const struct smtp_tx *tx)
{
	for (uint32_t i = 0; i < tx->n; i++)
		if (tx->rcpts[i].accepted)
			return true;
	return false;
}

static enum client_action finish(struct smtp_client *c, enum client_state next)
{
	c->tx = NULL;
	c->done_tx++;
	c->state = next;
	return CLIENT_DONE;
}

/* --- coming up --------------------------------------------------------------------------- */

static enum client_action fail(struct smtp_client *c, const struct reply *r)
{
	reply_line(r, c->why, sizeof(c->why));
	c->state = CLIENT_CLOSED;
	return CLIENT_FAILED;
}

static enum client_action say_hello(struct smtp_client *c, const char *verb, enum client_state s,
				    struct evbuffer *out)
{
	evbuffer_add_printf(out, "%s %s\r\n", verb, c->hostname);
	c->state = s;
	return CLIENT_WAIT;
}

static enum client_action on_greeting(struct smtp_client *c, const struct reply *r,
				      struct evbuffer *out)
{
	return r->code / 100 == 2 ? say_hello(c, "EHLO", CLIENT_EHLO, out) : fail(c, r);
}

static enum client_action on_ehlo(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	if (r->code / 100 == 5)
		return say_hello(c, "HELO", CLIENT_HELO, out);
	if (r->code / 100 != 2)
		return fail(c, r);
	reply_ehlo(r, &c->offers);
	if (c->use_tls && !c->tls && c->offers.starttls) {
		evbuffer_add_printf(out, "STARTTLS\r\n");
		c->state = CLIENT_STARTTLS;
		return CLIENT_WAIT;
	}
	c->state = CLIENT_IDLE;
	return CLIENT_READY;
}

static enum client_action on_helo(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	(void)out;
	if (r->code / 100 != 2)
		return fail(c, r);
	c->offers = (struct reply_ehlo){.pipelining = false};
	c->state = CLIENT_IDLE;
	return CLIENT_READY;
}

static enum client_action on_starttls(struct smtp_client *c, const struct reply *r,
				      struct evbuffer *out)
{
	(void)out;
	/* Opportunistic: offered and then refused means clear text, as if it had not been offered.
	 */
	c->state = r->code == 220 ? CLIENT_HANDSHAKE : CLIENT_IDLE;
	return r->code == 220 ? CLIENT_DO_TLS : CLIENT_READY;
}

void client_tls_done(struct smtp_client *c, struct evbuffer *out)
{
	bug_on(c->state != CLIENT_HANDSHAKE);
	c->tls = true;
	/* RFC 3207 4.2: what was learnt before is forgotten. */
	c->offers = (struct reply_ehlo){.pipelining = false};
	say_hello(c, "EHLO", CLIENT_EHLO, out);
}

/* --- a transaction ----------------------------------------------------------------------- */

static void send_step(struct smtp_client *c, uint32_t step, struct evbuffer *out)
{
	const struct smtp_tx *tx = c->tx;

	if (step == 0) {
		evbuffer_add_printf(out, "MAIL FROM:<%s>", tx->mail_from);
		if (c->offers.size)
			evbuffer_add_printf(out, " SIZE=%llu", (unsigned long long)tx->size);
		if (c->offers.eightbitmime && tx->body_8bit)
			evbuffer_add_printf(out, " BODY=8BITMIME");
		evbuffer_add_printf(out, "\r\n");
	} else if (step <= tx->n) {
		evbuffer_add_printf(out, "RCPT TO:<%s>\r\n", tx->rcpts[step - 1].address);
	} else {
		evbuffer_add_printf(out, "DATA\r\n");
	}
}

enum client_action client_begin(struct smtp_client *c, struct smtp_tx *tx, struct evbuffer *out)
{
	bug_on(c->state != CLIENT_IDLE || tx->n == 0);
	if (c->offers.max_size && tx->size > c->offers.max_size)
		settle_rest_local(tx, RELAY_BOUNCED, "5.3.4",
				  "larger than the next mail server takes");
	else if (tx->body_8bit && !c->offers.eightbitmime)
		settle_rest_local(tx, RELAY_BOUNCED, "5.6.3",
				  "holds 8-bit text, which the next mail server does not take");
	if (tx->rcpts[0].out.result)
		return CLIENT_DONE;
	c->tx = tx;
	c->next = 0;
	c->mail_ok = c->touched = false;
	c->state = CLIENT_ENVELOPE;
	for (uint32_t i = 0; i <= (c->offers.pipelining ? tx->n + 1 : 0); i++)
		send_step(c, i, out);
	return CLIENT_WAIT;
}

static enum client_action reset(struct smtp_client *c, struct evbuffer *out)
{
	evbuffer_add_printf(out, "RSET\r\n");
	return finish(c, CLIENT_RSET);
}

/* After a reply that was not the one to DATA: when not pipelining, what to say next. */
static enum client_action next_command(struct smtp_client *c, struct evbuffer *out)
{
	c->next++;
	if (c->offers.pipelining)
		return CLIENT_WAIT;
	if (!c->mail_ok || (c->next == c->tx->n + 1 && !any_accepted(c->tx)))
		return reset(c, out);
	send_step(c, c->next, out);
	return CLIENT_WAIT;
}

/* The server is going away; what it has not decided is for later. */
static enum client_action closing(struct smtp_client *c, const struct reply *r)
{
	settle_rest(c->tx, r);
	return finish(c, CLIENT_CLOSED);
}

static enum client_action on_data(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	bool any = any_accepted(c->tx);

	if (r->code == 354 && any) {
		c->state = CLIENT_BODY;
		return CLIENT_DO_BODY;
	}
	if (r->code == 354) {
		/* RFC 2920 3.1: DATA was taken though nobody was; end it with nothing, and heed the
		 * reply to that. */
		evbuffer_add_printf(out, ".\r\n");
		return finish(c, CLIENT_RSET);
	}
	/* A 2xx to DATA makes no sense and must not count as delivered. */
	if (r->code / 100 == 2)
		settle_rest_local(c->tx, RELAY_DEFERRED, "4.5.0",
				  "the next mail server answered DATA with a success code");
	settle_rest(c->tx, r);
	return reset(c, out);
}

static enum client_action on_envelope(struct smtp_client *c, const struct reply *r,
				      struct evbuffer *out)
{
	c->touched = true;
	if (r->code == 421)
		return closing(c, r);
	if (c->next == c->tx->n + 1)
		return on_data(c, r, out);
	if (c->next == 0) {
		c->mail_ok = r->code / 100 == 2;
		if (!c->mail_ok)
			settle_rest(c->tx, r);
	} else if (c->mail_ok) {
		struct smtp_rcpt *t = &c->tx->rcpts[c->next - 1];
		t->accepted = r->code / 100 == 2;
		if (!t->accepted)
			set_from_reply(t, r);
	}
	return next_command(c, out);
}

void client_body_sent(struct smtp_client *c)
{
	bug_on(c->state != CLIENT_BODY);
	c->state = CLIENT_DOT;
}

/* A reply while the body is still being written is one we did not ask for: the server has given up
 * on it. */
static enum client_action on_body(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	(void)out;
	if (r->code / 100 == 2)
		settle_rest_local(c->tx, RELAY_DEFERRED, "4.5.0",
				  "the next mail server answered before the end of the message");
	return closing(c, r);
}

static enum client_action on_dot(struct smtp_client *c, const struct reply *r, struct evbuffer *out)
{
	(void)out;
	settle_rest(c->tx, r);
	return finish(c, r->code == 421 ? CLIENT_CLOSED : CLIENT_IDLE);
}

static enum client_action on_rset(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	(void)out;
	/* The reply to RSET, or to the lone dot of on_data(): then a 5xx is as good as a 2xx. */
	if (r->code == 421)
		return c->state = CLIENT_CLOSED, CLIENT_CLOSE;
	c->state = CLIENT_IDLE;
	return CLIENT_READY;
}

static enum client_action on_close(struct smtp_client *c, const struct reply *r,
				   struct evbuffer *out)
{
	(void)r;
	(void)out;
	c->state = CLIENT_CLOSED;
	return CLIENT_CLOSE;
}

enum client_action client_reply(struct smtp_client *c, const struct reply *r, struct evbuffer *out)
{
	static enum client_action (*const table[])(struct smtp_client *, const struct reply *,
						   struct evbuffer *) = {
	    [CLIENT_GREETING] = on_greeting, [CLIENT_EHLO] = on_ehlo,
	    [CLIENT_HELO] = on_helo,	     [CLIENT_STARTTLS] = on_starttls,
	    [CLIENT_HANDSHAKE] = on_close,   [CLIENT_IDLE] = on_close,
	    [CLIENT_ENVELOPE] = on_envelope, [CLIENT_BODY] = on_body,
	    [CLIENT_DOT] = on_dot,	     [CLIENT_RSET] = on_rset,
	    [CLIENT_QUIT] = on_close,	     [CLIENT_CLOSED] = on_close,
	};

	return table[c->state](c, r, out);
}

void client_quit(struct smtp_client *c, struct evbuffer *out)
{
	if (c->state == CLIENT_IDLE)
		evbuffer_add_printf(out, "QUIT\r\n");
	c->state = CLIENT_QUIT;
}

bool client_lost(struct smtp_client *c, const char *why)
{
	bool had = c->tx != NULL;

	if (why != c->why) /* a host that refused us has said why there */
		snprintf(c->why, sizeof(c->why), "%s", why);
	c->state = CLIENT_CLOSED;
	if (!had || (!c->touched && c->done_tx > 0)) {
		c->tx = NULL;
		return false;
	}
	settle_rest_local(c->tx, RELAY_DEFERRED, "4.4.2", why);
	c->tx = NULL;
	return true;
}
