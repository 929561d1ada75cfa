/*
 * parser - see parser.h.
 *
 * Trusted with: nothing but its arguments; fuzzed by tests/fuzz/msa/fuzz_parser.c, whole and split.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "msa/smtp/parser.h"

static void keep_track(struct smtp_line *l)
{
	if (l->used < l->len)
		l->used = l->len;
}

static enum smtp_line_result finish(struct smtp_line *l, enum smtp_line_result r)
{
	l->done = true;
	l->buf[l->len] = '\0';
	keep_track(l);
	return r;
}

enum smtp_line_result smtp_line_feed(struct smtp_line *l, size_t max, const uint8_t *in, size_t len,
				     size_t *used)
{
	if (l->done) {
		l->len = 0;
		l->cr = l->skip = l->done = false;
	}
	for (*used = 0; *used < len;) {
		uint8_t c = in[(*used)++];

		if (l->cr)
			return finish(l, c != '\n' ? SMTP_LINE_BAD
					 : l->skip ? SMTP_LINE_LONG
						   : SMTP_LINE_OK);
		if (c == '\r') {
			l->cr = true;
			continue;
		}
		if (c == '\n' || c == '\0')
			return finish(l, SMTP_LINE_BAD);
		if (l->len + 2 >= max)
			l->skip = true;
		else
			l->buf[l->len++] = (char)c;
	}
	return SMTP_LINE_MORE;
}

void smtp_line_wipe(struct smtp_line *l)
{
	keep_track(l);
	explicit_bzero(l->buf, l->used);
	l->len = l->used = 0;
	l->cr = l->skip = l->done = false;
}

static const struct {
	const char *name;
	enum smtp_verb verb;
} verbs[] = {
    {"EHLO", SMTP_EHLO}, {"HELO", SMTP_HELO}, {"STARTTLS", SMTP_STARTTLS}, {"AUTH", SMTP_AUTH},
    {"MAIL", SMTP_MAIL}, {"RCPT", SMTP_RCPT}, {"DATA", SMTP_DATA},	   {"RSET", SMTP_RSET},
    {"NOOP", SMTP_NOOP}, {"QUIT", SMTP_QUIT}, {"VRFY", SMTP_VRFY},	   {"HELP", SMTP_HELP},
    {"BDAT", SMTP_BDAT}, {"EXPN", SMTP_EXPN},
};

static enum smtp_verb verb_of(const char *s, size_t len)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strlen(verbs[i].name) == len && strncasecmp(verbs[i].name, s, len) == 0)
			return verbs[i].verb;
	return SMTP_UNKNOWN;
}

const char *smtp_verb_name(enum smtp_verb v)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (verbs[i].verb == v)
			return verbs[i].name;
	return "unknown";
}

void smtp_command_parse(const char *line, size_t len, struct smtp_command *out)
{
	size_t n = 0;

	while (n < len && line[n] != ' ')
		n++;
	out->verb = verb_of(line, n);
	while (n < len && line[n] == ' ')
		n++;
	while (len > n && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	out->arg = line + n;
	out->arg_len = len - n;
}

static bool key_char(unsigned char c)
{
	return c < 0x80 && (isalnum(c) || c == '-');
}

/* RFC 5321 4.1.2 esmtp-value, with what RFC 6531 3.3 adds to it. */
static bool value_char(unsigned char c)
{
	return c > ' ' && c != 0x7f && c != '=';
}

int smtp_param_next(const char **p, const char *end, struct smtp_param *out)
{
	const char *s = *p;

	while (s < end && *s == ' ')
		s++;
	if (s == end) {
		*p = s;
		return 0;
	}
	/* A parameter is set off by a blank from what precedes it. */
	if (s == *p || *s == '-' || !key_char((unsigned char)*s))
		return -1;
	*out = (struct smtp_param){.key = s};
	while (s < end && key_char((unsigned char)*s))
		s++;
	out->key_len = (size_t)(s - out->key);
	if (s < end && *s == '=') {
		out->value = ++s;
		while (s < end && value_char((unsigned char)*s))
			s++;
		out->value_len = (size_t)(s - out->value);
		if (out->value_len == 0)
			return -1;
	}
	*p = s;
	return s == end || *s == ' ' ? 1 : -1;
}

bool smtp_param_is(const struct smtp_param *p, const char *key)
{
	return p->key_len == strlen(key) && strncasecmp(p->key, key, p->key_len) == 0;
}
