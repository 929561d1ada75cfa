/*
 * A whole session on bytes, logged in or not: however they are cut, the same is said and the same
 * goes into the queue; a reply is whole lines; text in the queue is text, and what needs a word of
 * MAIL has it.
 */
#include "msa/mail/utf8.h"
#include "tests/unit/msa/stream.h"

#define LOGIN "EHLO me\r\nAUTH PLAIN AGEAYg==\r\n"

static void check_replies(const struct stream *t)
{
	for (const char *s = t->replies; *s;) {
		const char *end = strstr(s, "\r\n");

		if (!end || end - s < 3 || s[0] < '2' || s[0] > '5')
			abort();
		for (; s < end; s++)
			if ((unsigned char)*s < ' ' || *s == 0x7f)
				abort();
		s = end + 2;
	}
}

static void check_text(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] == 0 || (p[i] == '\n' && (i == 0 || p[i - 1] != '\r')) ||
		    (p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n')))
			abort();
}

static void check_message(const struct stream_message *m)
{
	const uint8_t *empty = memmem(m->data, m->len, "\r\n\r\n", 4);
	size_t header = empty ? (size_t)(empty - m->data) + 2 : m->len;
	bool any = utf8_any((const char *)m->data, m->len);

	check_text(m->data, m->esmtp.body == ESMTP_BINARY ? header : m->len);
	if (any && m->esmtp.body == ESMTP_7BIT)
		abort();
	if (utf8_any((const char *)m->data, header) &&
	    (!m->esmtp.smtputf8 || !utf8_valid((const char *)m->data, header)))
		abort();
	if (!utf8_valid(m->rcpt, strlen(m->rcpt)) || !utf8_valid(m->from, strlen(m->from)))
		abort();
}

static void run(struct stream *t, bool login, const uint8_t *data, size_t size, size_t step)
{
	stream_open(t);
	if (login)
		stream_feed(t, LOGIN, strlen(LOGIN), SIZE_MAX);
	stream_feed(t, data, size, step);
	check_replies(t);
	for (size_t i = 0; i < t->n && i < STREAM_MESSAGES; i++)
		check_message(&t->messages[i]);
}

static void same(const struct stream *a, const struct stream *b)
{
	if (a->replies_len != b->replies_len || memcmp(a->replies, b->replies, a->replies_len) ||
	    a->n != b->n || a->closed != b->closed)
		abort();
	for (size_t i = 0; i < a->n && i < STREAM_MESSAGES; i++)
		if (a->messages[i].len != b->messages[i].len ||
		    memcmp(a->messages[i].data, b->messages[i].data, a->messages[i].len))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stream whole, parts;

	if (size == 0)
		return 0;
	run(&whole, data[0] & 1, data + 1, size - 1, SIZE_MAX);
	for (size_t step = 1; step <= 7; step += 6) {
		run(&parts, data[0] & 1, data + 1, size - 1, step);
		same(&whole, &parts);
		stream_close(&parts);
	}
	stream_close(&whole);
	if (whole.in_flight != 0)
		abort();
	return 0;
}
