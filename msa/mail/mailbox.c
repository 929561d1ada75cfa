/*
 * mailbox - see mailbox.h.
 *
 * One pass: comments and folding white space are skipped, quoted strings are kept whole, and the
 * text outside and inside angle brackets is collected separately. Fuzzed by
 * tests/fuzz/msa/fuzz_header.c.
 */
#include <stdbool.h>
#include <string.h>

#include "msa/mail/mailbox.h"

#define SPEC_MAX 512 /* longer than any address, quoting included */

struct scan {
	const char *p, *end;
	char spec[SPEC_MAX]; /* candidate addr-spec of the mailbox being read */
	size_t spec_len;
	bool too_long;
	bool angle;	/* inside <> */
	bool had_angle; /* <...> seen: nothing but comments may follow */
	bool blank;	/* white space since the last character of spec */
	bool words;	/* more than one word outside <>: a display name, not an address */
};

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* At "(": past the matching ")"; false when there is none. */
static bool skip_comment(struct scan *s)
{
	int depth = 0;

	for (; s->p < s->end; s->p++) {
		if (*s->p == '\\')
			s->p++;
		else if (*s->p == '(')
			depth++;
		else if (*s->p == ')' && --depth == 0) {
			s->p++;
			return true;
		}
	}
	return false;
}

static void put(struct scan *s, char c)
{
	/* White space is allowed around "@" and "." (obs-local-part); between words it makes a
	 * phrase. */
	if (s->blank && s->spec_len > 0 && !strchr("@.", c) &&
	    !strchr("@.", s->spec[s->spec_len - 1]))
		s->words = true;
	s->blank = false;
	if (s->spec_len == SPEC_MAX)
		s->too_long = true;
	else
		s->spec[s->spec_len++] = c;
}

/* At a quote: copies the quoted string as it stands; false when it has no end. */
static bool take_quoted(struct scan *s)
{
	put(s, *s->p++);
	while (s->p < s->end && *s->p != '"') {
		if (*s->p == '\\' && s->p + 1 < s->end)
			put(s, *s->p++);
		if (*s->p != '\r' && *s->p != '\n')
			put(s, *s->p);
		s->p++;
	}
	if (s->p >= s->end)
		return false;
	put(s, *s->p++);
	return true;
}

static void reset(struct scan *s)
{
	s->spec_len = 0;
	s->too_long = s->had_angle = s->blank = s->words = false;
}

/* The end of one list element: 0 nothing there, 1 a mailbox in out, -1 something else. */
static int element(struct scan *s, struct path *out)
{
	const char *err;

	if (s->spec_len == 0 && !s->had_angle)
		return 0;
	if (s->too_long || s->words || s->spec_len == 0)
		return -1;
	return path_parse_mailbox_utf8(s->spec, s->spec_len, out, &err) ? 1 : -1;
}

static bool angle_open(struct scan *s)
{
	if (s->angle || s->had_angle)
		return false;
	reset(s); /* what stood before was a display name */
	s->angle = true;
	return true;
}

static bool angle_close(struct scan *s)
{
	if (!s->angle)
		return false;
	s->angle = false;
	s->had_angle = true;
	return true;
}

/* One token that is not a comma; false when it has no place in a mailbox. */
static bool token(struct scan *s)
{
	char c = *s->p;

	if (is_wsp(c)) {
		s->blank = true;
		s->p++;
		return true;
	}
	if (c == '(') {
		s->blank = true;
		return skip_comment(s);
	}
	if (c == '<' || c == '>') {
		s->p++;
		return c == '<' ? angle_open(s) : angle_close(s);
	}
	if (s->had_angle || c == ':' || c == ';' || c == ')' || c == '\0')
		return false;
	if (c == '"')
		return take_quoted(s);
	put(s, c);
	s->p++;
	return true;
}

int mailbox_each(const char *body, size_t len, void (*each)(const struct path *p, void *arg),
		 void *arg)
{
	struct scan s = {.p = body, .end = body + len};
	struct path one;
	int count = 0;

	for (;;) {
		if (s.p < s.end && (*s.p != ',' || s.angle)) {
			if (!token(&s))
				return -1;
			continue;
		}
		if (s.angle)
			return -1;
		switch (element(&s, &one)) {
		case -1:
			return -1;
		case 1:
			count++;
			each(&one, arg);
			break;
		default:
			break;
		}
		if (s.p >= s.end)
			return count;
		s.p++;
		reset(&s);
	}
}
