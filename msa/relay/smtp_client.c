/*
 * smtp_client - RFC 5321 as a client, with PIPELINING (2920), SIZE (1870), 8BITMIME (6152),
 * STARTTLS (3207), SMTPUTF8 (6531), DSN (3461), BINARYMIME with CHUNKING (3030), REQUIRETLS (8689).
 * A host that refuses a verb or a parameter that it offers gets the transaction again without it,
 * where that loses nothing but convenience: no mail bounces because of our choice of words.
 *
 * Purpose: from replies to results of recipients. Diagnostics: each result carries the reply that
 * decided it. AUTH PLAIN and LOGIN (4954, 4616),
 * LMTP (2033). Trusted with: a password for a smart host. Known gaps: what needs SMTPUTF8 is not
 * downgraded: it goes back to the sender (RFC 6531 3.2).
 */
#include <stdio.h>
#include <string.h>

#include "lib/proc.h"

#include "msa/mail/utf8.h"
#include "msa/relay/base64.h"
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

static enum client_action fail_here(struct smtp_client *c, const char *what)
{
	snprintf(c->why, sizeof(c->why), "%s%s%s", c->policy ? c->policy : "",
		 c->policy ? ": " : "", what);
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
	return r->code / 100 == 2 ? say_hello(c, c->lmtp ? "LHLO" : "EHLO", CLIENT_EHLO, out)
				  : fail(c, r);
}

static enum client_action come_up(struct smtp_client *c)
{
	c->state = CLIENT_IDLE;
	return CLIENT_READY;
}

/* At most 255 octets of a name and as many of a password: what is longer is no login. */
static bool add_base64(struct evbuffer *out, const char *const *parts, size_t n)
{
	uint8_t raw[520] = {0};
	char text[BASE64_ROOM(sizeof(raw))];
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = strlen(parts[i]);
		if (k > 255 || len + k + 1 > sizeof(raw))
			return false;
		memcpy(raw + len, parts[i], k);
		len += k;
		if (i + 1 < n)
			raw[len++] = '\0';
	}
	size_t w = base64_put(raw, len, text);
	bool ok = evbuffer_add(out, text, w) == 0 && evbuffer_add(out, "\r\n", 2) == 0;
	explicit_bzero(raw, sizeof(raw));
	explicit_bzero(text, sizeof(text));
	return ok;
}

static enum client_action log_in(struct smtp_client *c, struct evbuffer *out)
{
	const char *const plain[] = {"", c->user, c->password};

	if (!c->tls)
		return fail_here(c, "a login would go over the line in clear text");
	c->auth_step = 0;
	c->state = CLIENT_AUTH;
	if (c->offers.auth_plain) {
		c->auth_step = 2;
		evbuffer_add(out, "AUTH PLAIN ", 11);
		if (!add_base64(out, plain, 3))
			return fail_here(c, "the name or password is too long");
	} else if (c->offers.auth_login) {
		evbuffer_add_printf(out, "AUTH LOGIN\r\n");
	} else {
		c->locked_out = true;
		return fail_here(c, "the next mail server offers neither AUTH PLAIN nor LOGIN");
	}
	return CLIENT_WAIT;
}

/* Until somebody mends the password nothing leaves this way; the mail waits. */
static enum client_action no_login(struct smtp_client *c, const struct reply *r)
{
	char line[RELAY_REPLY_MAX + 1];

	reply_line(r, line, sizeof(line));
	if (r->code / 100 != 5)
		return fail(c, r);
	c->locked_out = true;
	snprintf(c->why, sizeof(c->why), "the login as %.64s was refused: %.300s", c->user, line);
	c->state = CLIENT_CLOSED;
	return CLIENT_FAILED;
}

static enum client_action on_auth(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	const char *const answers[] = {c->user, c->password};

	if (r->code == 235)
		return come_up(c);
	if (r->code != 334 || c->auth_step >= 2)
		return no_login(c, r);
	if (!add_base64(out, &answers[c->auth_step++], 1))
		return fail_here(c, "the name or password is too long");
	return CLIENT_WAIT;
}

static enum client_action on_ehlo(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	if (r->code / 100 == 5 && !c->lmtp && !c->must_tls && !c->user && !c->tls)
		return say_hello(c, "HELO", CLIENT_HELO, out);
	if (r->code / 100 != 2)
		return fail(c, r);
	reply_ehlo(r, &c->offers);
	c->offered = c->offers;
	if (c->must_tls && !c->tls && !c->offers.starttls) {
		c->insecure = true;
		return fail_here(c, "the next mail server does not offer TLS");
	}
	if (c->use_tls && !c->tls && c->offers.starttls) {
		evbuffer_add_printf(out, "STARTTLS\r\n");
		c->state = CLIENT_STARTTLS;
		return CLIENT_WAIT;
	}
	return c->user ? log_in(c, out) : come_up(c);
}

static enum client_action on_helo(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	(void)out;
	if (r->code / 100 != 2)
		return fail(c, r);
	c->offered = c->offers = (struct reply_ehlo){.pipelining = false};
	c->state = CLIENT_IDLE;
	return CLIENT_READY;
}

static enum client_action on_starttls(struct smtp_client *c, const struct reply *r,
				      struct evbuffer *out)
{
	if (r->code == 220) {
		c->state = CLIENT_HANDSHAKE;
		return CLIENT_DO_TLS;
	}
	if (c->must_tls) {
		c->insecure = true;
		return fail(c, r);
	}
	/* Opportunistic: offered and then refused means clear text, as if it had not been offered.
	 */
	return c->user ? log_in(c, out) : come_up(c);
}

void client_tls_done(struct smtp_client *c, bool verified, struct evbuffer *out)
{
	bug_on(c->state != CLIENT_HANDSHAKE);
	c->tls = true;
	c->verified = verified;
	/* RFC 3207 4.2: what was learnt before is forgotten. */
	c->offers = (struct reply_ehlo){.pipelining = false};
	say_hello(c, c->lmtp ? "LHLO" : "EHLO", CLIENT_EHLO, out);
}

/* --- a transaction ----------------------------------------------------------------------- */

/* Which of its addresses, or its header, needs SMTPUTF8. */
static bool has_utf8(const char *s)
{
	return utf8_any(s, strlen(s));
}

static bool needs_utf8(const struct smtp_tx *tx)
{
	bool any = tx->esmtp.smtputf8 || has_utf8(tx->mail_from);

	for (uint32_t i = 0; i < tx->n && !any; i++)
		any = !tx->rcpts[i].skip && has_utf8(tx->rcpts[i].address);
	return any;
}

static bool is_binary(const struct smtp_tx *tx)
{
	return tx->esmtp.body == ESMTP_BINARY;
}

/* It must leave as another than it came. RFC 6531 3.1: SMTPUTF8 takes 8 bit with it. */
static bool must_convert(const struct smtp_client *c, const struct smtp_tx *tx)
{
	const struct reply_ehlo *o = &c->offers;

	if (is_binary(tx))
		return !(o->binarymime && o->chunking);
	return tx->esmtp.body == ESMTP_8BIT && !o->eightbitmime &&
	       !(tx->esmtp.smtputf8 && o->smtputf8);
}

/* --- offers that do not hold --- */

static const struct {
	unsigned lie;
	const char *word;
} lie_words[] = {
    {LIE_PIPELINING, "PIPELINING"}, {LIE_SIZE, "SIZE"},		{LIE_DSN, "DSN"},
    {LIE_SMTPUTF8, "SMTPUTF8"},	    {LIE_CHUNKING, "CHUNKING"}, {LIE_8BITMIME, "8BITMIME"},
    {LIE_BINARYMIME, "BINARYMIME"}};

const char *client_lies_text(unsigned lies, char buf[static CLIENT_LIES_TEXT])
{
	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(lie_words) / sizeof(lie_words[0]); i++)
		if (lies & lie_words[i].lie) {
			size_t n = strlen(buf);
			snprintf(buf + n, CLIENT_LIES_TEXT - n, "%s%s", n ? ", " : "",
				 lie_words[i].word);
		}
	return buf;
}

static void leave_out(struct smtp_client *c, unsigned lies)
{
	struct reply_ehlo *o = &c->offers;

	*o = c->offered;
	o->pipelining &= !(lies & LIE_PIPELINING);
	o->size &= !(lies & LIE_SIZE);
	o->dsn &= !(lies & LIE_DSN);
	o->smtputf8 &= !(lies & LIE_SMTPUTF8);
	o->chunking &= !(lies & LIE_CHUNKING);
	o->eightbitmime &= !(lies & LIE_8BITMIME);
	o->binarymime &= !(lies & LIE_BINARYMIME);
}

/* "I do not know that word": not an answer to the message, nor to who it is from or for. */
static bool refuses_words(const struct reply *r)
{
	static const char *const statuses[] = {"5.5.0", "5.5.1", "5.5.2", "5.5.4"};

	if (r->code / 100 != 5)
		return false;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (strcmp(r->status, statuses[i]) == 0)
			return true;
	return !r->status[0] && (r->code <= 504 || r->code == 555);
}

static enum client_action again(struct smtp_client *c, unsigned lies)
{
	c->tx->without |= lies;
	c->tx = NULL;
	c->state = CLIENT_CLOSED;
	return CLIENT_AGAIN;
}

/* It went well without: so it is this host, and the next message need not try. */
static void learn(struct smtp_client *c)
{
	c->lies |= c->tx->without;
}

bool client_pipelines(const struct smtp_client *c)
{
	return c->state == CLIENT_ENVELOPE && c->offers.pipelining;
}

/* Where it may be: nothing is stuffed, nothing is looked for in the text at the other end. Of what
 * is converted the size is not known before. */
static bool by_chunk(const struct smtp_client *c)
{
	return !c->converts && (is_binary(c->tx) || c->offers.chunking);
}

static uint64_t size_there(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return c->converts && tx->plan ? tx->plan->size : tx->size;
}

bool client_sends_chunk(const struct smtp_client *c)
{
	return c->tx && by_chunk(c);
}

static void send_mail(const struct smtp_client *c, struct evbuffer *out)
{
	const struct smtp_tx *tx = c->tx;
	const struct esmtp_mail *m = &tx->esmtp;

	evbuffer_add_printf(out, "MAIL FROM:<%s>", tx->mail_from);
	if (c->offers.size)
		evbuffer_add_printf(out, " SIZE=%llu", (unsigned long long)size_there(c, tx));
	if (m->body != ESMTP_7BIT && !c->converts)
		evbuffer_add_printf(out, " BODY=%s", is_binary(tx) ? "BINARYMIME" : "8BITMIME");
	if (needs_utf8(tx))
		evbuffer_add_printf(out, " SMTPUTF8");
	if (m->requiretls)
		evbuffer_add_printf(out, " REQUIRETLS");
	if (c->offers.dsn && m->ret)
		evbuffer_add_printf(out, " RET=%s", m->ret == ESMTP_RET_FULL ? "FULL" : "HDRS");
	if (c->offers.dsn && m->envid && m->envid[0])
		evbuffer_add_printf(out, " ENVID=%s", m->envid);
	evbuffer_add_printf(out, "\r\n");
}

static void send_rcpt(const struct smtp_client *c, const struct smtp_rcpt *t, struct evbuffer *out)
{
	char buf[ESMTP_NOTIFY_MAX];

	evbuffer_add_printf(out, "RCPT TO:<%s>", t->address);
	if (c->offers.dsn && t->esmtp.notify & NOTIFY_ASKED)
		evbuffer_add_printf(out, " NOTIFY=%s", esmtp_notify_text(t->esmtp.notify, buf));
	if (c->offers.dsn && t->esmtp.orcpt && t->esmtp.orcpt[0])
		evbuffer_add_printf(out, " ORCPT=%s", t->esmtp.orcpt);
	evbuffer_add_printf(out, "\r\n");
}

static void send_step(struct smtp_client *c, uint32_t step, struct evbuffer *out)
{
	const struct smtp_tx *tx = c->tx;

	if (step == 0)
		send_mail(c, out);
	else if (step <= tx->n)
		send_rcpt(c, &tx->rcpts[step - 1], out);
	else if (!by_chunk(c))
		evbuffer_add_printf(out, "DATA\r\n");
}

/* Whose reply comes after that of step. */
static uint32_t step_after(const struct smtp_tx *tx, uint32_t step)
{
	do
		step++;
	while (step <= tx->n && tx->rcpts[step - 1].skip);
	return step;
}

/* --- what this host cannot have --- */

/* One reason why a host may not get a message, or one of its recipients. */
struct obstacle {
	uint8_t result;
	const char *status, *why;
};

static bool too_large(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return c->offers.max_size && size_there(c, tx) > c->offers.max_size;
}

static bool no_utf8_header(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return tx->esmtp.smtputf8 && !c->offers.smtputf8;
}

static bool no_utf8_sender(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return has_utf8(tx->mail_from) && !c->offers.smtputf8;
}

/* A handshake failed a moment ago: clear text is for a minute only. */
static bool no_tls_now(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return tx->esmtp.requiretls && !c->use_tls;
}

static bool no_tls(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return tx->esmtp.requiretls && !c->tls;
}

static bool not_verified(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return tx->esmtp.requiretls && !c->verified;
}

static bool no_requiretls(const struct smtp_client *c, const struct smtp_tx *tx)
{
	return tx->esmtp.requiretls && !c->offers.requiretls;
}

static const struct {
	bool (*is)(const struct smtp_client *c, const struct smtp_tx *tx);
	struct obstacle o;
} obstacles[] = {
    {too_large, {RELAY_BOUNCED, "5.3.4", "larger than the next mail server takes"}},
    {no_utf8_header,
     {RELAY_BOUNCED, "5.6.9", "has UTF-8 in its header, which the next mail server does not take"}},
    {no_utf8_sender,
     {RELAY_BOUNCED, "5.6.7", "has a non-ASCII sender, which the next mail server does not take"}},
    {no_tls_now, {RELAY_DEFERRED, "4.7.10", "needs TLS, which could not be had just now"}},
    {no_tls, {RELAY_BOUNCED, "5.7.10", "needs TLS, which the next mail server does not offer"}},
    {not_verified,
     {RELAY_BOUNCED, "5.7.10",
      "needs TLS, and the certificate of the next mail server is not proven to be its own"}},
    {no_requiretls,
     {RELAY_BOUNCED, "5.7.30",
      "needs TLS all the way, which the next mail server does not promise (REQUIRETLS)"}},
};

static void refuse_unconverted(const struct smtp_client *c, struct smtp_tx *tx)
{
	char why[RELAY_REPLY_MAX + 1];

	if (!c->converts || !tx->plan || !tx->plan->status[0])
		return;
	snprintf(why, sizeof(why),
		 "the next mail server takes 7-bit mail alone, and this holds %s: %s",
		 is_binary(tx) ? "binary data" : "8-bit text", tx->plan->why);
	settle_rest_local(tx, RELAY_BOUNCED, tx->plan->status, why);
}

/* Settles what cannot go there; false when nothing is left. */
static bool any_possible(const struct smtp_client *c, struct smtp_tx *tx)
{
	bool any = false;

	for (size_t i = 0; i < sizeof(obstacles) / sizeof(obstacles[0]); i++)
		if (obstacles[i].is(c, tx)) {
			const struct obstacle *o = &obstacles[i].o;
			settle_rest_local(tx, o->result, o->status, o->why);
		}
	refuse_unconverted(c, tx);
	for (uint32_t i = 0; i < tx->n; i++) {
		struct smtp_rcpt *t = &tx->rcpts[i];
		if (!t->out.result && !c->offers.smtputf8 && has_utf8(t->address))
			set_result(t, RELAY_BOUNCED, "5.6.7",
				   "a non-ASCII address, which the next mail server does not take");
		t->skip = t->out.result != 0;
		any |= !t->skip;
	}
	return any;
}

enum client_action client_begin(struct smtp_client *c, struct smtp_tx *tx, struct evbuffer *out)
{
	bug_on(c->state != CLIENT_IDLE || tx->n == 0);
	leave_out(c, c->lies | tx->without);
	for (uint32_t i = 0; i < tx->n; i++)
		tx->rcpts[i].accepted = false;
	c->converts = must_convert(c, tx);
	if (!any_possible(c, tx))
		return CLIENT_DONE;
	if (c->converts && !tx->plan)
		return CLIENT_DO_PLAN;
	c->tx = tx;
	c->next = 0;
	c->mail_ok = c->touched = false;
	c->state = CLIENT_ENVELOPE;
	send_step(c, 0, out);
	for (uint32_t i = step_after(tx, 0); c->offers.pipelining; i = step_after(tx, i)) {
		send_step(c, i, out);
		if (i > tx->n)
			break;
	}
	return CLIENT_WAIT;
}

static enum client_action reset(struct smtp_client *c, struct evbuffer *out)
{
	evbuffer_add_printf(out, "RSET\r\n");
	return finish(c, CLIENT_RSET);
}

/* One chunk; nothing is said before somebody is known to take it. */
static enum client_action begin_chunk(struct smtp_client *c, struct evbuffer *out)
{
	if (!any_accepted(c->tx))
		return reset(c, out);
	evbuffer_add_printf(out, "BDAT %llu LAST\r\n", (unsigned long long)c->tx->size);
	c->state = CLIENT_BODY;
	return CLIENT_DO_BODY;
}

/* After a reply that was not the one to DATA: when not pipelining, what to say next. */
static enum client_action next_command(struct smtp_client *c, struct evbuffer *out)
{
	c->next = step_after(c->tx, c->next);
	if (c->next == c->tx->n + 1 && by_chunk(c))
		return begin_chunk(c, out);
	if (c->offers.pipelining)
		return CLIENT_WAIT;
	if (!c->mail_ok || (c->next == c->tx->n + 1 && !any_accepted(c->tx)))
		return reset(c, out);
	send_step(c, c->next, out);
	return CLIENT_WAIT;
}

/* The server is going away; what it has not decided is for later. */
static enum client_action closing(struct smtp_client *c, const struct reply *r);

/* What was said with MAIL that can be left unsaid: first what only informs, then 8 bit, for which
 * there is another way, then UTF-8, which some recipients may need and others not. */
static unsigned spare_of_mail(const struct smtp_client *c)
{
	const struct smtp_tx *tx = c->tx;
	const struct esmtp_mail *m = &tx->esmtp;
	unsigned said = (c->offers.size ? LIE_SIZE : 0) |
			(c->offers.dsn && (m->ret || (m->envid && m->envid[0])) ? LIE_DSN : 0);
	bool ascii = false;

	if (!said && m->body != ESMTP_7BIT && !c->converts && !m->smtputf8)
		return is_binary(tx) ? LIE_BINARYMIME : LIE_8BITMIME;

	for (uint32_t i = 0; i < tx->n; i++)
		ascii |= !tx->rcpts[i].skip && !has_utf8(tx->rcpts[i].address);
	if (!said && ascii && needs_utf8(tx) && !m->smtputf8 && !has_utf8(tx->mail_from))
		said = LIE_SMTPUTF8;
	return said;
}

static unsigned spare_of_rcpt(const struct smtp_client *c, const struct reply *r)
{
	const struct esmtp_rcpt *t = &c->tx->rcpts[c->next - 1].esmtp;
	bool asked = t->notify & NOTIFY_ASKED || (t->orcpt && t->orcpt[0]);

	if (c->offers.dsn && asked)
		return LIE_DSN;
	/* A wrong address is a 501 too; what comes of pipelining is out of order or unknown. */
	return c->offers.pipelining && r->code != 501 && r->code != 555 ? LIE_PIPELINING : 0;
}

/* What to leave out for this reply to help; 0: it stands. */
static unsigned spare(const struct smtp_client *c, const struct reply *r)
{
	if (!refuses_words(r))
		return 0;
	if (c->next == 0)
		return spare_of_mail(c);
	if (!c->mail_ok)
		return 0;
	if (c->next <= c->tx->n)
		return spare_of_rcpt(c, r);
	return c->offers.pipelining && any_accepted(c->tx) ? LIE_PIPELINING : 0;
}

/* RFC 3030: whoever offers CHUNKING takes BDAT. One that does not may take the message for
 * commands: the connection must end here. */
static bool refuses_chunk(const struct smtp_client *c, const struct reply *r)
{
	if (!by_chunk(c) || !refuses_words(r))
		return false;
	for (uint32_t i = 0; i < c->tx->n; i++)
		if (c->tx->rcpts[i].accepted && c->tx->rcpts[i].out.result)
			return false;
	return true;
}

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
		learn(c);
		c->state = CLIENT_BODY;
		return CLIENT_DO_BODY;
	}
	if (r->code == 354) {
		/* LMTP has a reply for each that was taken: none would come. */
		if (c->lmtp)
			return finish(c, CLIENT_CLOSED);
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
	unsigned lies = spare(c, r);
	if (lies)
		return again(c, lies);
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

/* The next recipient that was accepted, after c->next; n + 1: none. */
static void next_accepted(struct smtp_client *c)
{
	do
		c->next++;
	while (c->next <= c->tx->n && !c->tx->rcpts[c->next - 1].accepted);
}

void client_body_sent(struct smtp_client *c)
{
	bug_on(c->state != CLIENT_BODY);
	c->state = CLIENT_DOT;
	c->next = 0;
	if (c->lmtp)
		next_accepted(c);
}

/* A reply while the body is still being written is one we did not ask for: the server has given up
 * on it. */
static enum client_action on_body(struct smtp_client *c, const struct reply *r,
				  struct evbuffer *out)
{
	(void)out;
	if (refuses_chunk(c, r))
		return again(c, LIE_CHUNKING);
	if (r->code / 100 == 2)
		settle_rest_local(c->tx, RELAY_DEFERRED, "4.5.0",
				  "the next mail server answered before the end of the message");
	return closing(c, r);
}

static enum client_action on_dot(struct smtp_client *c, const struct reply *r, struct evbuffer *out)
{
	(void)out;
	if (refuses_chunk(c, r))
		return again(c, LIE_CHUNKING);
	learn(c);
	if (c->lmtp && r->code != 421) {
		set_from_reply(&c->tx->rcpts[c->next - 1], r);
		next_accepted(c);
		if (c->next <= c->tx->n)
			return CLIENT_WAIT;
	}
	settle_rest(c->tx, r);
	for (uint32_t i = 0; i < c->tx->n; i++) {
		struct relay_rcpt *o = &c->tx->rcpts[i].out;
		o->dsn = c->offers.dsn && o->result == RELAY_DELIVERED;
		o->final = c->lmtp && o->result == RELAY_DELIVERED;
	}
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
	    [CLIENT_HANDSHAKE] = on_close,   [CLIENT_AUTH] = on_auth,
	    [CLIENT_IDLE] = on_close,	     [CLIENT_ENVELOPE] = on_envelope,
	    [CLIENT_BODY] = on_body,	     [CLIENT_DOT] = on_dot,
	    [CLIENT_RSET] = on_rset,	     [CLIENT_QUIT] = on_close,
	    [CLIENT_CLOSED] = on_close,
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
