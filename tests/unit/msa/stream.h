/*
 * stream - a whole submission session on bytes, without sockets: parser, session and message as
 * msa/conn.c puts them together. Everything it is asked for is granted. For unit tests and fuzzers.
 */
#ifndef TESTS_STREAM_H
#define TESTS_STREAM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/message.h"
#include "msa/smtp/session.h"

#define STREAM_REPLIES	(64 << 10)
#define STREAM_MESSAGES 64

struct stream_message {
	struct esmtp_mail esmtp;
	char from[PATH_TEXT_MAX + 1], envid[ESMTP_ENVID_MAX + 1];
	uint32_t n_rcpts;
	char rcpt[PATH_TEXT_MAX + 1]; /* the first */
	struct esmtp_rcpt rcpt_esmtp;
	uint8_t *data;
	size_t len;
};

struct stream {
	struct smtp_policy policy;
	struct smtp_session *s;
	struct smtp_step step;
	struct smtp_line line;
	struct message *msg;
	int64_t in_flight;
	enum queue_result room;
	char *replies; /* NUL-terminated */
	size_t replies_len;
	bool closed;
	struct stream_message messages[STREAM_MESSAGES];
	size_t n;
};

static const char *const stream_mechs[] = {"PLAIN"};

static void stream_reply(struct stream *t)
{
	if (t->replies_len + t->step.reply_len < STREAM_REPLIES) {
		memcpy(t->replies + t->replies_len, t->step.reply, t->step.reply_len);
		t->replies_len += t->step.reply_len;
		t->replies[t->replies_len] = '\0';
	}
	t->step.reply_len = 0;
	t->step.note.what = SMTP_NOTE_NONE;
	if (!t->s->tx)
		t->msg = NULL;
}

static void stream_begin_message(struct stream *t)
{
	struct smtp_tx *tx = t->s->tx;
	struct message_opts o = {.header = {.account = &t->s->account_path,
					    .sender = SENDER_OFF,
					    .received = "Received: by t\r\n",
					    .trace = "0123",
					    .message_id = "1@t",
					    .date = "today"},
				 .max = t->s->max_message,
				 .in_flight = &t->in_flight,
				 .max_in_flight = 1 << 24,
				 .binary = tx->esmtp.body == ESMTP_BINARY};

	snprintf(tx->queue_id, sizeof(tx->queue_id), "0123456789abcdef");
	t->msg = message_new(tx, &o);
}

static void stream_chunk_done(struct stream *t)
{
	struct smtp_data_end end = {.fault = DOT_CLEAN};

	if (t->s->chunk.keep)
		message_chunk_end(t->msg, t->s->chunk.last, &end);
	smtp_session_chunk(t->s, &end, &t->step);
}

static void stream_keep(struct stream *t)
{
	struct stream_message *m = &t->messages[t->n % STREAM_MESSAGES];
	const struct smtp_tx *tx = t->s->tx;
	const uint8_t *data;

	free(m->data);
	*m = (struct stream_message){
	    .esmtp = tx->esmtp, .n_rcpts = tx->n_rcpts, .rcpt_esmtp = tx->rcpts[0].esmtp};
	memcpy(m->envid, tx->envid, sizeof(m->envid));
	snprintf(m->from, sizeof(m->from), "%s", tx->from.text);
	snprintf(m->rcpt, sizeof(m->rcpt), "%s", tx->rcpts[0].address);
	data = message_data(t->msg, &m->len);
	m->data = malloc(m->len + 1);
	if (!m->data)
		abort();
	memcpy(m->data, data, m->len);
	m->data[m->len] = '\0';
	t->n++;
}

/* Until input is wanted. */
static void stream_act(struct stream *t)
{
	static const struct rl_verdict fine = {.answer = RL_OK};

	for (;;) {
		stream_reply(t);
		switch (t->s->want) {
		case SMTP_WANT_LINE:
			return;
		case SMTP_WANT_ROOM:
			smtp_session_room(t->s, t->room, &t->step);
			break;
		case SMTP_WANT_DATA:
			stream_begin_message(t);
			return;
		case SMTP_WANT_CHUNK:
			if (t->s->chunk.keep && !t->msg)
				stream_begin_message(t);
			if (t->s->chunk.left > 0)
				return;
			stream_chunk_done(t);
			break;
		case SMTP_WANT_TLS:
			smtp_session_tls(t->s, &t->step);
			break;
		case SMTP_WANT_AUTH:
			smtp_session_auth(t->s, SMTP_AUTH_OK, "user01@isp.example",
					  "user01@isp.example", "", &t->step);
			break;
		case SMTP_WANT_CHECK:
		case SMTP_WANT_CHARGE:
			smtp_session_verdict(t->s, &fine, &t->step);
			break;
		case SMTP_WANT_SUBMIT:
			stream_keep(t);
			t->msg = NULL;
			smtp_session_submitted(t->s, QUEUE_OK, &t->step);
			break;
		case SMTP_WANT_CLOSE:
			t->closed = true;
			return;
		}
	}
}

static inline void stream_open(struct stream *t)
{
	memset(t, 0, sizeof(*t));
	t->policy = (struct smtp_policy){.hostname = "mx.test",
					 .local_domain = "isp.example",
					 .mechs = stream_mechs,
					 .n_mechs = 1,
					 .max_message = 10000,
					 .max_rcpts = 3,
					 .max_commands = 1000,
					 .max_errors = 50,
					 .max_auth_failures = 3,
					 .session_ms = 60000,
					 .max_hops = 50,
					 .rules = {.mail_from = MAIL_FROM_OWNED},
					 .max_idle_commands = 1000,
					 .free_errors = 1000,
					 .strict_header = true};
	t->replies = calloc(1, STREAM_REPLIES);
	if (!t->replies)
		abort();
	t->s = smtp_session_new(NULL, &t->policy, true, 0);
	smtp_session_open(t->s, &t->step);
	stream_act(t);
}

static inline void stream_close(struct stream *t)
{
	smtp_session_gone(t->s, &t->step);
	for (size_t i = 0; i < STREAM_MESSAGES; i++)
		free(t->messages[i].data);
	free(t->replies);
	talloc_free(t->s);
}

static size_t stream_take(struct stream *t, const uint8_t *in, size_t len)
{
	struct smtp_data_end end;
	size_t used = len;

	if (t->s->want == SMTP_WANT_DATA) {
		if (!message_feed(t->msg, in, len, &used, &end))
			return used;
		smtp_session_data(t->s, &end, &t->step);
	} else if (t->s->want == SMTP_WANT_CHUNK) {
		if ((int64_t)used > t->s->chunk.left)
			used = (size_t)t->s->chunk.left;
		if (t->s->chunk.keep)
			message_chunk(t->msg, in, used);
		t->s->chunk.left -= (int64_t)used;
		if (t->s->chunk.left > 0)
			return used;
		stream_chunk_done(t);
	} else {
		enum smtp_line_result r =
		    smtp_line_feed(&t->line, smtp_session_line_max(t->s), in, len, &used);

		if (r == SMTP_LINE_MORE)
			return used;
		if (r == SMTP_LINE_OK)
			smtp_session_line(t->s, t->line.buf, t->line.len, 0, &t->step);
		else
			smtp_session_bad_line(t->s, r, &t->step);
	}
	stream_act(t);
	return used;
}

/* In pieces of step octets. */
static inline void stream_feed(struct stream *t, const void *in, size_t len, size_t step)
{
	for (size_t at = 0; at < len && !t->closed;) {
		size_t end = len - at < step ? len : at + step;

		while (at < end && !t->closed)
			at += stream_take(t, (const uint8_t *)in + at, end - at);
	}
}

#endif
