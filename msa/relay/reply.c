/*
 * reply - what the smart host says.
 *
 * Purpose: turn its bytes into code, enhanced status and text. Trusted with: nothing; every byte is
 * foreign. Diagnostics: err in words. Known gaps: none.
 */
#include <string.h>
#include <strings.h>

#include "ratelimit/answer.h"

#include "msa/relay/reply.h"

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

void reply_init(struct reply_parser *p)
{
	p->line_len = 0;
	p->done = p->dead = false;
	p->err = NULL;
	p->reply = (struct reply){.code = 0};
}

static enum reply_result bad(struct reply_parser *p, const char *why)
{
	p->dead = true;
	p->err = why;
	return REPLY_BAD;
}

static size_t number(const char *s, size_t n, size_t max_digits)
{
	size_t i = 0;

	while (i < n && i < max_digits && digit(s[i]))
		i++;
	return i;
}

/* "5.1.1" followed by a blank or the end, its class that of the code (RFC 3463 2). */
static void take_status(struct reply *r, const char *s, size_t n)
{
	size_t i = 1, k;

	if (n < 5 || s[0] != (char)('0' + r->code / 100) || s[1] != '.')
		return;
	for (int part = 0; part < 2; part++) {
		if (i >= n || s[i] != '.' || (k = number(s + i + 1, n - i - 1, 3)) == 0)
			return;
		i += 1 + k;
	}
	if (i < n && s[i] != ' ')
		return;
	memcpy(r->status, s, i);
	r->status[i] = '\0';
}

static void add_text(struct reply *r, const char *s, size_t n)
{
	if (r->lines > 1 && r->len + 1 < sizeof(r->text))
		r->text[r->len++] = '\n';
	size_t room = sizeof(r->text) - 1 - r->len;
	if (n > room)
		n = room;
	for (size_t i = 0; i < n; i++) {
		char c = s[i];
		r->text[r->len++] = c == '\0' || c == '\r' || c == '\n' ? ' ' : c;
	}
	r->text[r->len] = '\0';
}

static enum reply_result take_line(struct reply_parser *p)
{
	const char *s = p->line;
	size_t n = p->line_len;
	struct reply *r = &p->reply;

	if (n && s[n - 1] == '\r')
		n--;
	p->line_len = 0;
	if (n < 3 || !digit(s[0]) || !digit(s[1]) || !digit(s[2]) ||
	    (n > 3 && s[3] != ' ' && s[3] != '-'))
		return bad(p, "a line that is no SMTP reply");
	int code = (s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0');
	if (code < 200 || code > 599)
		return bad(p, "a reply code outside 200 to 599");
	if (r->lines && code != r->code)
		return bad(p, "a reply of several lines that changes its code");
	if (++r->lines > REPLY_LINES_MAX)
		return bad(p, "a reply without end: more lines than any server needs");
	r->code = code;
	const char *text = n > 4 ? s + 4 : "";
	size_t len = n > 4 ? n - 4 : 0;
	take_status(r, text, len);
	add_text(r, text, len);
	p->done = n == 3 || s[3] == ' ';
	return p->done ? REPLY_DONE : REPLY_MORE;
}

enum reply_result reply_feed(struct reply_parser *p, const uint8_t *data, size_t len, size_t *used)
{
	*used = 0;
	if (p->dead)
		return REPLY_BAD;
	if (p->done)
		reply_init(p);
	while (*used < len) {
		char c = (char)data[(*used)++];
		if (c == '\n') {
			enum reply_result r = take_line(p);
			if (r != REPLY_MORE)
				return r;
		} else if (p->line_len == sizeof(p->line)) {
			return bad(p, "a reply line that is too long");
		} else {
			p->line[p->line_len++] = c;
		}
	}
	return REPLY_MORE;
}

static bool keyword(const char *line, size_t n, const char *word)
{
	size_t k = strlen(word);

	return n >= k && strncasecmp(line, word, k) == 0 && (n == k || line[k] == ' ');
}

static uint64_t size_value(const char *s, size_t n)
{
	uint64_t v = 0;
	size_t k = number(s, n, 19);

	for (size_t i = 0; i < k; i++)
		v = v * 10 + (uint64_t)(s[i] - '0');
	return k == n ? v : 0;
}

/* "AUTH PLAIN LOGIN" (RFC 4954 4). */
static bool lists(const char *line, size_t n, const char *word)
{
	size_t k = strlen(word);

	for (size_t i = 4; i + k < n; i++)
		if (line[i] == ' ' && strncasecmp(line + i + 1, word, k) == 0 &&
		    (i + 1 + k == n || line[i + 1 + k] == ' '))
			return true;
	return false;
}

void reply_ehlo(const struct reply *r, struct reply_ehlo *out)
{
	const struct {
		const char *word;
		bool *flag;
	} flags[] = {
	    {"PIPELINING", &out->pipelining},
	    {"STARTTLS", &out->starttls},
	    {"8BITMIME", &out->eightbitmime},
	    {"SMTPUTF8", &out->smtputf8},
	    {"DSN", &out->dsn},
	    {"CHUNKING", &out->chunking},
	    {"BINARYMIME", &out->binarymime},
	    {"REQUIRETLS", &out->requiretls},
	};
	const char *s = strchr(r->text, '\n');

	*out = (struct reply_ehlo){.pipelining = false};
	while (s) {
		const char *line = s + 1, *end = strchr(line, '\n');
		size_t n = end ? (size_t)(end - line) : strlen(line);
		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			*flags[i].flag |= keyword(line, n, flags[i].word);
		if (keyword(line, n, "AUTH")) {
			out->auth_plain |= lists(line, n, "PLAIN");
			out->auth_login |= lists(line, n, "LOGIN");
		}
		if (keyword(line, n, "SIZE")) {
			out->size = true;
			out->max_size = n > 5 ? size_value(line + 5, n - 5) : 0;
		}
		s = end;
	}
}

const char *reply_line(const struct reply *r, char *buf, size_t n)
{
	size_t w = 0;
	char all[REPLY_TEXT_MAX + 4],
	    code[4] = {(char)('0' + r->code / 100 % 10), (char)('0' + r->code / 10 % 10),
		       (char)('0' + r->code % 10), ' '};

	for (size_t i = 0; i < r->len + 4 && w + 1 < sizeof(all); i++) {
		char c = i < 4 ? code[i] : r->text[i - 4];
		if (c == '\n' || c == '\t')
			c = ' ';
		all[w++] = c < 0x20 || c > 0x7e ? '?' : c;
	}
	while (w && all[w - 1] == ' ')
		w--;
	all[w] = '\0';
	if (n > 0)
		answer_abridge(buf, n, all);
	return buf;
}
