/*
 * chunk - BDAT (RFC 3030): a command that is followed by so many octets.
 *
 * Whatever becomes of it, the octets announced are taken off the wire before anything is said, so
 * that none of them can be read as a command; when their number cannot be read, the connection
 * ends. After a chunk that was refused the transaction is over, and those already on their way are
 * answered with 503. See session.h.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "msa/smtp/session.h"

/* Octets taken off the wire for nothing, at most, beyond those of the largest message. */
#define DRAIN_MAX (INT64_C(64) << 20)

/* "SIZE" or "SIZE LAST". */
static bool parse(const struct smtp_command *c, int64_t *size, bool *last)
{
	size_t i = 0;

	*size = 0;
	for (; i < c->arg_len && isdigit((unsigned char)c->arg[i]); i++) {
		if (i == 18)
			return false;
		*size = *size * 10 + (c->arg[i] - '0');
	}
	if (i == 0)
		return false;
	*last = i < c->arg_len;
	if (!*last)
		return true;
	while (i < c->arg_len && c->arg[i] == ' ')
		i++;
	return c->arg[i - 1] == ' ' && c->arg_len - i == 4 &&
	       strncasecmp(c->arg + i, "LAST", 4) == 0;
}

static void end_here(struct smtp_session *s, struct smtp_step *out)
{
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_CLOSED);
	smtp_want(s, out, SMTP_WANT_CLOSE);
}

/* Its octets first, then smtp_session_chunk(), also when there are none. */
static void take(struct smtp_session *s, bool keep, struct smtp_step *out)
{
	s->chunk.left = s->chunk.size;
	s->chunk.keep = keep;
	smtp_want(s, out, SMTP_WANT_CHUNK);
}

void smtp_bdat_refuse(struct smtp_session *s, struct smtp_step *out, const char *reply)
{
	snprintf(s->chunk.reply, sizeof(s->chunk.reply), "%s", reply);
	take(s, false, out);
}

static const char *out_of_place(const struct smtp_session *s)
{
	if (s->bdat_failed)
		return "503 5.5.1 The message has been refused; begin again with MAIL";
	if (s->state == SMTP_S_MAIL)
		return "503 5.5.1 No valid recipients";
	return s->state == SMTP_S_RCPT || s->state == SMTP_S_BDAT ? NULL
								  : "503 5.5.1 MAIL and RCPT first";
}

static void too_large(struct smtp_session *s, struct smtp_step *out)
{
	char reply[sizeof(s->chunk.reply)];

	snprintf(reply, sizeof(reply), "552 5.3.4 At most %lld octets a message",
		 (long long)s->max_message);
	smtp_note_refuse(out, "5.3.4", "size over the limit", s->tx->n_rcpts);
	smtp_tx_drop(s, out);
	smtp_set_state(s, SMTP_S_READY);
	smtp_bdat_refuse(s, out, reply);
}

void smtp_bdat(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	const char *why = out_of_place(s);
	int64_t size;
	bool last;

	if (!parse(c, &size, &last)) {
		smtp_error(s, out,
			   "501 5.5.4 BDAT needs a number of octets, and LAST with the last");
		end_here(s, out);
		return;
	}
	if (size > s->max_message + DRAIN_MAX) {
		smtp_error(s, out, "552 5.3.4 At most %lld octets a message",
			   (long long)s->max_message);
		end_here(s, out);
		return;
	}
	s->chunk.size = size;
	s->chunk.last = last;
	if (why) {
		smtp_bdat_refuse(s, out, why);
	} else if (s->chunk.total + size > s->max_message) {
		too_large(s, out);
	} else if (s->state == SMTP_S_BDAT) {
		smtp_bdat_proceed(s, out);
	} else {
		if (s->tx->size < size)
			s->tx->size = size;
		s->pending = SMTP_BDAT;
		smtp_want(s, out, SMTP_WANT_ROOM);
	}
}

void smtp_bdat_proceed(struct smtp_session *s, struct smtp_step *out)
{
	smtp_set_state(s, SMTP_S_BDAT);
	s->chunk.total += s->chunk.size;
	take(s, true, out);
}
