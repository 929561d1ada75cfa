/*
 * One command line at a time, in every state of a session: the first byte says how far the session
 * is, what follows are lines (CR LF or not). Each state has its own session, so that a line meets
 * the command table, the parameters, the paths or the AUTH exchange and nothing else of a dialogue.
 * Whatever comes, a line has one answer, in whole lines and with an enhanced code that fits it, and
 * an address that was taken reads as the same again.
 */
#include "tests/unit/msa/stream.h"

#define LOGIN "EHLO me\r\nAUTH PLAIN AGEAYg==\r\n"
#define MAIL  LOGIN "MAIL FROM:<user01@isp.example> SMTPUTF8 BODY=8BITMIME\r\n"

static const char *const states[] = {
    "",
    "EHLO me\r\n",
    "EHLO me\r\nAUTH PLAIN\r\n",
    LOGIN,
    MAIL,
    MAIL "RCPT TO:<a@far.example> NOTIFY=FAILURE ORCPT=rfc822;a@far.example\r\n",
    LOGIN "MAIL FROM:<user01@isp.example>\r\nRCPT TO:<a@far.example>\r\nBDAT 2\r\nx\n",
};
#define N_STATES (sizeof(states) / sizeof(*states))

/* 2xx and 5xx and so on begin their enhanced code with the same digit (RFC 2034 4). */
static void check_reply(const char *s, size_t len)
{
	const char *end = s + len;

	if (len > 0 && (len < 5 || memcmp(end - 2, "\r\n", 2) != 0))
		abort();
	while (s < end) {
		const char *nl = memchr(s, '\n', (size_t)(end - s));

		if (!nl || nl - s < 4 || nl[-1] != '\r' || s[0] < '2' || s[0] > '5' ||
		    (s[3] != ' ' && s[3] != '-') || (s[3] == '-' && nl + 1 == end))
			abort();
		if (s[4] >= '2' && s[4] <= '5' && s[5] == '.' && s[4] != s[0])
			abort();
		s = nl + 1;
	}
}

static void check_path(const struct path *p)
{
	struct path again;
	const char *err;

	if (p->text[0] && (!path_parse_mailbox(p->text, strlen(p->text), &again, &err) ||
			   strcmp(again.text, p->text) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stream t;
	const char *state;

	if (size == 0)
		return 0;
	state = states[data[0] % N_STATES];
	stream_open(&t);
	stream_feed(&t, state, strlen(state), SIZE_MAX);
	for (const uint8_t *at = data + 1, *end = data + size; at < end && !t.closed;) {
		size_t before = t.replies_len;

		if (t.s->want != SMTP_WANT_LINE)
			break;
		at += stream_take(&t, at, (size_t)(end - at));
		check_reply(t.replies + before, t.replies_len - before);
		if (t.s->tx)
			check_path(&t.s->tx->from);
	}
	stream_close(&t);
	return 0;
}
