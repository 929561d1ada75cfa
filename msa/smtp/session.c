/*
 * session - see session.h; the commands themselves are in commands.c.
 *
 * Trusted with: what the client says, and the password bytes passing by (never copied here).
 * Diagnostics: notes for accounting in each step. Tested by tests/unit/msa/test_smtp_session.c
 * and test_smtp_extensions.c without sockets. Known gaps: none.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/mail/utf8.h"
#include "msa/smtp/session.h"

/* --- small tools --- */

/* What a client sent comes back in some replies; it must stay on its line. */
static void clean(char *s, size_t len, bool utf8)
{
	utf8 = utf8 && utf8_valid(s, len);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < ' ' || c == 0x7f || (c > 0x7f && !utf8))
			s[i] = '?';
	}
}

static void __attribute__((format(printf, 2, 0)))
vreply(struct smtp_step *out, const char *fmt, va_list ap)
{
	size_t room = sizeof(out->reply) - out->reply_len;
	int n = vsnprintf(out->reply + out->reply_len, room, fmt, ap);

	bug_on(n < 0);
	if ((size_t)n > room - 3)
		n = (int)room - 3;
	clean(out->reply + out->reply_len, (size_t)n, out->utf8);
	out->reply_len += (size_t)n;
	memcpy(out->reply + out->reply_len, "\r\n", 3);
	out->reply_len += 2;
}

static const char *help(const struct smtp_session *s)
{
	return s->policy->help ? s->policy->help : "";
}

void smtp_reply(struct smtp_step *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreply(out, fmt, ap);
	va_end(ap);
}

void smtp_error(struct smtp_session *s, struct smtp_step *out, const char *fmt, ...)
{
	va_list ap;

	if (++s->errors > s->policy->max_errors) {
		smtp_close(s, "4.7.0", "Too many errors", out);
		return;
	}
	if (s->errors > s->policy->free_errors)
		out->delay_ms = s->policy->error_delay_ms;
	va_start(ap, fmt);
	vreply(out, fmt, ap);
	va_end(ap);
}

void smtp_note_refuse(struct smtp_step *out, const char *status, const char *reason, uint32_t rcpts)
{
	out->note.what = SMTP_NOTE_REFUSE;
	out->note.rcpts = rcpts;
	snprintf(out->note.status, sizeof(out->note.status), "%s", status);
	snprintf(out->note.reason, sizeof(out->note.reason), "%s", reason);
}

void smtp_want(struct smtp_session *s, struct smtp_step *out, enum smtp_want want)
{
	s->want = out->want = want;
}

void smtp_set_state(struct smtp_session *s, enum smtp_state state)
{
	s->state = state;
}

void smtp_count_refused(struct smtp_session *s, const char *status, const char *reason)
{
	s->rcpts_refused++;
	if (s->refused.n++ > 0)
		return;
	snprintf(s->refused.status, sizeof(s->refused.status), "%s", status);
	snprintf(s->refused.reason, sizeof(s->refused.reason), "%.255s", reason);
}

void smtp_tx_drop(struct smtp_session *s, struct smtp_step *out)
{
	TALLOC_FREE(s->tx);
	s->chunk.total = 0;
	if (s->refused.n == 0)
		return;
	if (out->note.what == SMTP_NOTE_NONE)
		smtp_note_refuse(out, s->refused.status, s->refused.reason, 0);
	if (out->note.what == SMTP_NOTE_REFUSE)
		out->note.rcpts += s->refused.n;
	s->refused.n = 0;
}

static void begin(struct smtp_session *s, struct smtp_step *out)
{
	out->reply[0] = '\0';
	out->reply_len = 0;
	out->delay_ms = 0;
	out->utf8 = s->tx && s->tx->esmtp.smtputf8;
	out->note.what = SMTP_NOTE_NONE;
	smtp_want(s, out, SMTP_WANT_LINE);
}

/* --- life of a session --- */

struct smtp_session *smtp_session_new(void *ctx, const struct smtp_policy *policy, bool tls,
				      int64_t mono_ms)
{
	struct smtp_session *s = talloc_zero(ctx, struct smtp_session);

	s->policy = policy;
	s->mechs = policy->mechs;
	s->n_mechs = policy->n_mechs;
	s->tls = tls;
	s->started_ms = mono_ms;
	s->max_message = policy->max_message;
	smtp_set_state(s, SMTP_S_GREET);
	return s;
}

void smtp_session_open(struct smtp_session *s, struct smtp_step *out)
{
	begin(s, out);
	if (s->stopping)
		smtp_close(s, "4.3.2", "Going down for a moment; try again", out);
	else
		smtp_reply(out, "220 %s ESMTP Sekisho", s->policy->hostname);
}

void smtp_session_early(struct smtp_session *s, struct smtp_step *out)
{
	begin(s, out);
	smtp_set_state(s, SMTP_S_CLOSED);
	smtp_reply(out, "554 5.5.1 %s Wait for the greeting before you speak", s->policy->hostname);
	smtp_want(s, out, SMTP_WANT_CLOSE);
}

void smtp_close(struct smtp_session *s, const char *code, const char *text, struct smtp_step *out)
{
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_CLOSED);
	smtp_reply(out, "421 %s %s %s", code, s->policy->hostname, text);
	smtp_want(s, out, SMTP_WANT_CLOSE);
}

void smtp_session_abort(struct smtp_session *s, const char *code, const char *text,
			struct smtp_step *out)
{
	begin(s, out);
	smtp_close(s, code, text, out);
}

void smtp_session_gone(struct smtp_session *s, struct smtp_step *out)
{
	begin(s, out);
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_CLOSED);
}

bool smtp_session_idle(const struct smtp_session *s)
{
	return s->want == SMTP_WANT_LINE && !s->tx && s->state != SMTP_S_AUTHING;
}

size_t smtp_session_line_max(const struct smtp_session *s)
{
	/* AUTH with an initial response is a command line, and as long as any line of the exchange
	 * (RFC 4954 4). */
	return s->state == SMTP_S_AUTHING || (s->state == SMTP_S_READY && s->tls && !s->account[0])
		   ? SMTP_AUTH_LINE_MAX
		   : SMTP_LINE_MAX;
}

void smtp_session_line(struct smtp_session *s, const char *line, size_t len, int64_t mono_ms,
		       struct smtp_step *out)
{
	struct smtp_command c;

	begin(s, out);
	if (s->state == SMTP_S_AUTHING) {
		smtp_auth_line(s, line, len, out);
		return;
	}
	if (++s->commands > s->policy->max_commands) {
		smtp_close(s, "4.7.0", "Too many commands", out);
		return;
	}
	if (!s->tx && mono_ms - s->started_ms > s->policy->session_ms) {
		smtp_close(s, "4.4.2", "The session has lasted too long; connect again", out);
		return;
	}
	smtp_command_parse(line, len, &c);
	smtp_command(s, &c, out);
}

void smtp_session_bad_line(struct smtp_session *s, enum smtp_line_result how, struct smtp_step *out)
{
	begin(s, out);
	if (how == SMTP_LINE_LONG) {
		if (s->state == SMTP_S_AUTHING)
			smtp_session_auth(s, SMTP_AUTH_MALFORMED, "500 5.5.6 Line too long", "",
					  "line too long", out);
		else
			smtp_error(s, out, "500 5.5.2 Line too long");
		return;
	}
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_CLOSED);
	smtp_reply(out, "500 5.5.2 Lines end with CR LF; a CR, LF or NUL elsewhere is not allowed");
	smtp_want(s, out, SMTP_WANT_CLOSE);
}

void smtp_session_tls(struct smtp_session *s, struct smtp_step *out)
{
	begin(s, out);
	/* Nothing said before TLS counts (RFC 3207 4.2). */
	smtp_tx_drop(s, out);
	s->tls = true;
	s->esmtp = false;
	s->helo[0] = '\0';
	smtp_set_state(s, SMTP_S_GREET);
}

/* --- AUTH --- */

static void note_login(struct smtp_step *out, bool ok, const char *account, const char *detail)
{
	out->note.what = SMTP_NOTE_LOGIN;
	out->note.ok = ok;
	snprintf(out->note.account, sizeof(out->note.account), "%s", account);
	snprintf(out->note.reason, sizeof(out->note.reason), "%s", ok ? "" : detail);
}

static int64_t max_message_of(const struct smtp_policy *p, const struct path *account)
{
	int64_t max = p->max_message;

	for (size_t i = 0; i < p->n_sizes; i++) {
		if (strcmp(p->sizes[i].who, account->text) == 0)
			return p->sizes[i].bytes;
		if (p->sizes[i].who[0] == '@' && strcmp(p->sizes[i].who + 1, account->domain) == 0)
			max = p->sizes[i].bytes;
	}
	return max;
}

/* Counts a failed exchange; true when it was one too many and the session is over. */
static bool auth_failed(struct smtp_session *s, struct smtp_step *out)
{
	if (++s->auth_failures < s->policy->max_auth_failures)
		return false;
	smtp_set_state(s, SMTP_S_CLOSED);
	smtp_want(s, out, SMTP_WANT_CLOSE);
	return true;
}

static void auth_done(struct smtp_session *s, const char *account, struct smtp_step *out)
{
	const char *err;

	if (strlen(account) > PATH_TEXT_MAX ||
	    !path_parse_mailbox(account, strlen(account), &s->account_path, &err)) {
		note_login(out, false, "", "the account is not a mailbox");
		auth_failed(s, out);
		smtp_reply(out, "535 5.7.8 Authentication failed");
		return;
	}
	snprintf(s->account, sizeof(s->account), "%s", s->account_path.text);
	s->max_message = max_message_of(s->policy, &s->account_path);
	s->idle_commands = 0;
	note_login(out, true, s->account, "");
	smtp_reply(out, "235 2.7.0 Authentication successful");
}

void smtp_session_auth(struct smtp_session *s, enum smtp_auth_result r, const char *text,
		       const char *account, const char *detail, struct smtp_step *out)
{
	begin(s, out);
	s->auth_data = NULL;
	s->auth_len = 0;
	if (r == SMTP_AUTH_CONTINUE) {
		smtp_reply(out, "334 %s", text);
		return;
	}
	smtp_set_state(s, SMTP_S_READY);
	if (r == SMTP_AUTH_OK) {
		auth_done(s, text, out);
		return;
	}
	note_login(out, false, account, detail);
	if (r == SMTP_AUTH_UNAVAILABLE) {
		smtp_reply(out, "454 4.7.0 Authentication is not possible just now; try again");
		return;
	}
	out->delay_ms = s->policy->error_delay_ms;
	if (auth_failed(s, out))
		smtp_reply(out, "421 4.7.0 %s Too many failed logins", s->policy->hostname);
	else if (r == SMTP_AUTH_FAILED)
		smtp_reply(out, "535 5.7.8 Authentication failed");
	else if (r == SMTP_AUTH_SUSPENDED)
		smtp_reply(out, "535 5.7.8 This account is suspended: %s%s", text, help(s));
	else if (r == SMTP_AUTH_BLOCKED)
		smtp_reply(out, "454 4.7.0 Too many failed logins; try again in %s", text);
	else
		smtp_reply(out, "%s", text);
}

/* --- answers of the queue and the limiter --- */

static const char *no_room(enum queue_result r)
{
	return r == QUEUE_FULL ? "452 4.3.1 No room for the message just now; try again later"
			       : "451 4.3.0 The queue is in trouble; try again later";
}

void smtp_session_room(struct smtp_session *s, enum queue_result r, struct smtp_step *out)
{
	begin(s, out);
	if (r == QUEUE_OK) {
		if (s->pending == SMTP_MAIL)
			smtp_mail_proceed(s, out);
		else if (s->pending == SMTP_DATA)
			smtp_data_proceed(s, out);
		else
			smtp_bdat_proceed(s, out);
		return;
	}
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_READY);
	if (s->pending == SMTP_BDAT)
		smtp_bdat_refuse(s, out, no_room(r));
	else
		smtp_reply(out, "%s", no_room(r));
}

/* The recipient asked about does not go in; the others stay. */
static void rcpt_take_back(struct smtp_session *s)
{
	struct smtp_tx *tx = s->tx;

	tx->n_rcpts--;
	TALLOC_FREE(
	    tx->rcpts[tx->n_rcpts].address); /* a macro: evaluates its argument more than once */
}

static long long seconds(int64_t ms)
{
	return ms <= 0 ? 1 : (long long)((ms + 999) / 1000);
}

/* What accounting is told of a refusal. */
static const char *refusal(const struct rl_verdict *v, const char **status)
{
	*status = v->answer == RL_LIMIT	  ? v->too_many ? "4.5.3" : "4.7.28"
		  : v->answer == RL_REFUSE ? "5.7.1"
					   : "4.3.0";
	return v->answer == RL_DOWN ? "the limiter does not answer" : v->why;
}

/* The same at RCPT and after DATA, but for the code of a limit. */
static void reply_refused(struct smtp_session *s, const struct rl_verdict *v,
			  const char *limit_code, struct smtp_step *out)
{
	if (v->answer == RL_LIMIT && v->too_many)
		smtp_reply(out, "452 4.5.3 %s; send the others in another message", v->why);
	else if (v->answer == RL_LIMIT)
		smtp_reply(out, "%s 4.7.28 %s; try again in %lld s", limit_code, v->why,
			   seconds(v->retry_ms));
	else if (v->answer == RL_REFUSE)
		smtp_error(s, out, "550 5.7.1 This account is suspended: %s%s", v->why,
			   help(s));
	else
		smtp_reply(out, "451 4.3.0 Limits cannot be checked just now; try again later");
}

static bool passes(const struct smtp_session *s, const struct rl_verdict *v)
{
	return v->answer == RL_OK || v->answer == RL_HELD ||
	       (v->answer == RL_DOWN && s->policy->limiter_down == LIMITER_ACCEPT);
}

static void charge_refused(struct smtp_session *s, const struct rl_verdict *v,
			   struct smtp_step *out)
{
	const char *status, *reason = refusal(v, &status);

	smtp_note_refuse(out, status, reason, s->tx->n_rcpts);
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_READY);
	reply_refused(s, v, "451", out);
}

static void check_refused(struct smtp_session *s, const struct rl_verdict *v, struct smtp_step *out)
{
	const char *status, *reason = refusal(v, &status);

	smtp_count_refused(s, status, reason);
	rcpt_take_back(s);
	reply_refused(s, v, "452", out);
}

void smtp_session_verdict(struct smtp_session *s, const struct rl_verdict *v, struct smtp_step *out)
{
	bool charge = s->want == SMTP_WANT_CHARGE;

	begin(s, out);
	if (!passes(s, v)) {
		if (charge)
			charge_refused(s, v, out);
		else
			check_refused(s, v, out);
		return;
	}
	if (charge) {
		s->tx->hold = v->answer == RL_HELD;
		s->tx->slow_ms = v->answer == RL_OK ? v->delay_ms : 0;
		smtp_want(s, out, SMTP_WANT_SUBMIT);
		return;
	}
	smtp_rcpt_proceed(s, out);
}

/* --- the message --- */

/* Every way in which a message can be no good, in the order they are told. */
static bool data_faulty(const struct smtp_session *s, const struct smtp_data_end *d)
{
	(void)s;
	return d->fault != DOT_CLEAN;
}

static bool data_large(const struct smtp_session *s, const struct smtp_data_end *d)
{
	return d->size > s->max_message || d->endless;
}

static bool data_no_memory(const struct smtp_session *s, const struct smtp_data_end *d)
{
	(void)s;
	return d->no_memory;
}

static bool data_loops(const struct smtp_session *s, const struct smtp_data_end *d)
{
	return d->hops > (unsigned)s->policy->max_hops;
}

static bool data_foreign(const struct smtp_session *s, const struct smtp_data_end *d)
{
	(void)s;
	return d->from_foreign;
}

static bool data_header_8bit(const struct smtp_session *s, const struct smtp_data_end *d)
{
	return d->header_8bit && !s->tx->esmtp.smtputf8 && s->policy->strict_header;
}

static bool data_header_not_utf8(const struct smtp_session *s, const struct smtp_data_end *d)
{
	return d->header_8bit && s->tx->esmtp.smtputf8 && !d->header_utf8;
}

static bool data_body_8bit(const struct smtp_session *s, const struct smtp_data_end *d)
{
	return d->any_8bit && s->tx->esmtp.body == ESMTP_7BIT && s->policy->strict_8bit;
}

static const struct {
	bool (*is)(const struct smtp_session *s, const struct smtp_data_end *d);
	const char *status,
	    *reason; /* for accounting; NULL: not told; reason NULL: the fault's name */
	const char *reply;
} data_faults[] = {
    {data_faulty, "5.6.0", NULL, NULL},
    {data_large, "5.3.4", "size over the limit", NULL},
    {data_no_memory, NULL, NULL, "452 4.3.1 Too much mail is coming in just now; try again later"},
    {data_loops, "5.4.6", "too many Received: fields",
     "554 5.4.6 Too many hops: the mail seems to go round in a circle"},
    {data_foreign, "5.7.1", "From: address not owned", NULL},
    {data_header_8bit, "5.6.9", "8-bit header without SMTPUTF8",
     "550 5.6.9 The header has non-ASCII characters in it: encode them (RFC 2047), or say "
     "SMTPUTF8"},
    {data_header_not_utf8, "5.6.0", "header is not UTF-8",
     "550 5.6.0 The header is not UTF-8, as SMTPUTF8 wants it"},
    {data_body_8bit, "5.6.3", "8-bit text without BODY=8BITMIME",
     "550 5.6.3 The message has 8-bit text in it: say BODY=8BITMIME"},
};

static void data_say(struct smtp_session *s, const struct smtp_data_end *d, size_t fault,
		     struct smtp_step *out)
{
	if (data_faults[fault].is == data_faulty)
		smtp_error(s, out,
			   "550 5.6.0 The message has a %s in it: lines must end with CR LF",
			   dot_fault_name(d->fault));
	else if (data_faults[fault].is == data_large)
		smtp_error(s, out, "552 5.3.4 At most %lld octets a message",
			   (long long)s->max_message);
	else if (data_faults[fault].is == data_foreign)
		smtp_error(
		    s, out,
		    "550 5.7.1 From: must name addresses of this account alone, such as <%s>",
		    s->account);
	else if (data_faults[fault].is == data_no_memory)
		smtp_reply(out, "%s", data_faults[fault].reply);
	else
		smtp_error(s, out, "%s", data_faults[fault].reply);
}

bool smtp_data_fine(struct smtp_session *s, const struct smtp_data_end *d, struct smtp_step *out)
{
	size_t i = 0, n = sizeof(data_faults) / sizeof(*data_faults);

	while (i < n && !data_faults[i].is(s, d))
		i++;
	if (i == n)
		return true;
	smtp_set_state(s, SMTP_S_READY);
	if (data_faults[i].status)
		smtp_note_refuse(out, data_faults[i].status,
				 data_faults[i].reason ? data_faults[i].reason
						       : dot_fault_name(d->fault),
				 s->tx->n_rcpts);
	data_say(s, d, i, out);
	if (s->tx)
		smtp_tx_drop(s, out);
	if (d->endless) { /* who would go on sending is not listened to */
		smtp_set_state(s, SMTP_S_CLOSED);
		smtp_want(s, out, SMTP_WANT_CLOSE);
	}
	return false;
}

void smtp_data_end(struct smtp_session *s, const struct smtp_data_end *d, struct smtp_step *out)
{
	struct esmtp_mail *m = &s->tx->esmtp;

	if (!smtp_data_fine(s, d, out))
		return;
	/* Many clients say 8BITMIME of everything; a smart host without it takes the rest all the
	 * same. */
	m->body = d->binary ? ESMTP_BINARY : d->any_8bit ? ESMTP_8BIT : ESMTP_7BIT;
	m->smtputf8 = m->smtputf8 && d->header_8bit;
	smtp_want(s, out, SMTP_WANT_CHARGE);
}

void smtp_session_data(struct smtp_session *s, const struct smtp_data_end *d, struct smtp_step *out)
{
	begin(s, out);
	smtp_data_end(s, d, out);
}

void smtp_session_chunk(struct smtp_session *s, const struct smtp_data_end *d,
			struct smtp_step *out)
{
	begin(s, out);
	if (!s->chunk.keep) {
		/* A chunk that was on its way when the transaction failed is not one more error. */
		if (s->bdat_failed)
			smtp_reply(out, "%s", s->chunk.reply);
		else
			smtp_error(s, out, "%s", s->chunk.reply);
		s->bdat_failed = true;
	} else if (s->chunk.last) {
		smtp_data_end(s, d, out);
		s->bdat_failed = s->want != SMTP_WANT_CHARGE;
	} else if (smtp_data_fine(s, d, out)) {
		smtp_reply(out, "250 2.0.0 %lld octets taken", (long long)s->chunk.size);
	} else {
		s->bdat_failed = true;
	}
}

void smtp_session_submitted(struct smtp_session *s, enum queue_result r, struct smtp_step *out)
{
	begin(s, out);
	out->delay_ms = s->tx->slow_ms;
	if (r == QUEUE_OK) {
		s->messages++;
		s->idle_commands = 0;
		smtp_reply(out, "250 2.0.0 Ok: queued as %s%s%s", s->tx->queue_id,
			   s->tx->hold && s->policy->tell_held ? ", held for a look at it" : "",
			   s->tx->hold && s->policy->tell_held ? help(s) : "");
	} else if (r == QUEUE_FULL) {
		smtp_reply(out, "452 4.3.1 No room for the message just now; try again later");
	} else {
		smtp_reply(out, "451 4.3.0 The message could not be stored; try again later");
	}
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_READY);
}
