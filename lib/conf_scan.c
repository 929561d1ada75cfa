/*
 * conf_scan - see conf_scan.h.
 *
 * Trusted with: nothing; text in, text out. Diagnostics: static texts with a line.
 * Known gaps: none.
 */
#include <stdbool.h>
#include <string.h>

#include <talloc.h>

#include "lib/conf_scan.h"

struct scan {
	const char *s; /* what is left */
	char *out;
	size_t n;
	int line;
	const char *why;
	int depth, opened; /* braces, and the line of the last outer one: libconfuse takes the end
			      of a file for a brace */
	char last[2];	   /* the two significant characters before, to know an empty list */
};

static void emit(struct scan *c, char ch)
{
	c->out[c->n++] = ch;
	c->line += ch == '\n';
}

static void significant(struct scan *c, char ch)
{
	c->last[0] = c->last[1];
	c->last[1] = ch;
}

static bool scan_fail(struct scan *c, const char *why)
{
	c->why = why;
	return false;
}

static void skip_line(struct scan *c)
{
	while (*c->s && *c->s != '\n')
		c->s++;
}

static bool skip_comment(struct scan *c)
{
	const char *end = strstr(c->s + 2, "*/");
	if (!end)
		return scan_fail(c, "this comment is not closed");
	emit(c, ' ');
	for (; c->s < end + 2; c->s++)
		if (*c->s == '\n')
			emit(c, '\n');
	return true;
}

/*
 * A quoted string, copied whole. The escapes let through are those that mean the same to everybody.
 */
static bool copy_string(struct scan *c)
{
	char q = *c->s;
	emit(c, *c->s++);
	while (*c->s != q) {
		unsigned char ch = (unsigned char)*c->s;
		if (!ch || ch == '\n' || ch == '\r')
			return scan_fail(c, "this string is not closed on its line");
		if (ch < 0x20 && ch != '\t')
			return scan_fail(c, "a control character in a string");
		if (q == '"' && ch == '$' && c->s[1] == '{')
			return scan_fail(c, "environment variables are not replaced here; for the "
					    "characters ${ write \\${");
		if (ch == '\\') {
			if (!c->s[1] || !strchr(q == '"' ? "\\\"$nt" : "\\'", c->s[1]))
				return scan_fail(c, "unknown escape; for a backslash write \\\\");
			emit(c, *c->s++);
		}
		emit(c, *c->s++);
	}
	emit(c, *c->s++);
	significant(c, 's');
	return true;
}

static void copy_blanks(struct scan *c)
{
	while (*c->s && strchr(" \t\n", *c->s))
		emit(c, *c->s++);
}

/* ("FILE"), whole: libconfuse loses memory on an argument list that breaks off. */
static bool copy_argument(struct scan *c)
{
	if (c->depth)
		return scan_fail(
		    c, "( and ) belong to include(\"FILE\") outside the sections; quote a "
		       "value that holds them");
	emit(c, *c->s++);
	copy_blanks(c);
	if (*c->s == '"' || *c->s == '\'') {
		if (!copy_string(c))
			return false;
		copy_blanks(c);
		if (*c->s == ')') {
			emit(c, *c->s++);
			return true;
		}
	}
	return scan_fail(c, "include takes one file name, quoted: include(\"site.conf\")");
}

static bool copy_plain(struct scan *c)
{
	char ch = *c->s++;
	if (ch == '\r' && *c->s == '\n')
		return true;
	if ((ch > 0 && ch < 0x20 && ch != '\t' && ch != '\n') || ch == 0x7f)
		return scan_fail(c, "a control character outside a string");
	if (strchr("\\$+*)", ch))
		return scan_fail(c, "a value that holds \\, $, +, * or ) must be quoted");
	if (ch == '}' && c->last[1] == '{' && c->last[0] == '=') {
		/* libconfuse is silent about an empty list; an empty item makes it speak, and
		 * read_list() drops it. */
		emit(c, '"');
		emit(c, '"');
	}
	if (ch == '{' && c->depth++ == 0)
		c->opened = c->line;
	c->depth -= ch == '}';
	emit(c, ch);
	if (ch != ' ' && ch != '\t' && ch != '\n')
		significant(c, ch);
	return true;
}

/* Is the character before part of a word? A comment must not cut one: http://example */
static bool in_word(const struct scan *c)
{
	return c->n && !strchr(" \t\n{}(),=\"'", c->out[c->n - 1]);
}

static bool step(struct scan *c)
{
	bool line = *c->s == '#' || (c->s[0] == '/' && c->s[1] == '/');
	bool block = c->s[0] == '/' && c->s[1] == '*';
	if ((line || block) && in_word(c))
		return scan_fail(c,
				 "a value that holds #, // or /* must be quoted; before a comment "
				 "leave a blank");
	if (line) {
		skip_line(c);
		return true;
	}
	if (block)
		return skip_comment(c);
	if (*c->s == '"' || *c->s == '\'')
		return copy_string(c);
	if (*c->s == '(')
		return copy_argument(c);
	return copy_plain(c);
}

char *conf_scan(void *pool, const char *text, size_t len, const char **why, int *line)
{
	struct scan c = {.s = text, .line = 1};
	*line = 0;
	if (memchr(text, '\0', len)) {
		*why = "the file holds NUL bytes; it is not text";
		return NULL;
	}
	c.out = talloc_array(pool, char, 2 * len + 2); /* "{}" becomes four characters */
	while (*c.s)
		if (!step(&c)) {
			*why = c.why;
			*line = c.line;
			return NULL;
		}
	if (c.depth > 0) {
		*why = "the section that begins here is not closed";
		*line = c.opened;
		return NULL;
	}
	c.out[c.n] = '\0';
	return c.out;
}
