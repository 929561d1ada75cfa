/*
 * parser - from bytes to command lines, and from lines to commands.
 *
 * A line ends with CRLF and nothing else. A bare CR, a bare LF or a NUL is SMTP_LINE_BAD: the
 * caller answers and closes, for whoever sends that may be smuggling (RFC 5321 2.3.8). Results of
 * smtp_command_parse() are views into the line.
 */
#ifndef MSA_SMTP_PARSER_H
#define MSA_SMTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SMTP_LINE_MAX	   2048	 /* with CRLF; RFC 5321 asks for 512 and more for each extension */
#define SMTP_AUTH_LINE_MAX 12288 /* RFC 4954 4: a line of an AUTH exchange */

enum smtp_line_result {
	SMTP_LINE_MORE = 0, /* feed more */
	SMTP_LINE_OK,	    /* buf[0..len) is a line without its CRLF, NUL-terminated */
	SMTP_LINE_LONG,	    /* it was longer than max and has been skipped to its CRLF */
	SMTP_LINE_BAD,	    /* bare CR or LF, or NUL */
};

struct smtp_line {
	char buf[SMTP_AUTH_LINE_MAX + 1];
	size_t len;
	size_t used; /* so much of buf was written since it was wiped */
	bool cr, skip, done;
};

/*
 * Take bytes up to the end of one line; *used is how many. max bounds the line with its CRLF (at
 * most SMTP_AUTH_LINE_MAX). After a result other than SMTP_LINE_MORE the next call starts a new
 * line.
 */
enum smtp_line_result smtp_line_feed(struct smtp_line *l, size_t max, const uint8_t *in, size_t len,
				     size_t *used);
/* Forget what is in it, and wipe: it may be a password. */
void smtp_line_wipe(struct smtp_line *l);

enum smtp_verb {
	SMTP_UNKNOWN = 0,
	SMTP_EHLO,
	SMTP_HELO,
	SMTP_STARTTLS,
	SMTP_AUTH,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_BDAT,
	SMTP_RSET,
	SMTP_NOOP,
	SMTP_QUIT,
	SMTP_VRFY,
	SMTP_EXPN,
	SMTP_HELP,
	SMTP_VERBS
};

struct smtp_command {
	enum smtp_verb verb;
	const char *arg; /* after the verb, blanks trimmed at both ends */
	size_t arg_len;
};

void smtp_command_parse(const char *line, size_t len, struct smtp_command *out);
const char *smtp_verb_name(enum smtp_verb v);

/* One ESMTP parameter of MAIL or RCPT: keyword[=value]. */
struct smtp_param {
	const char *key, *value; /* value NULL when there is no "=" */
	size_t key_len, value_len;
};

/* Takes the next one from *p..end. 1: out is filled; 0: no more; -1: not a parameter (RFC
 * 5321 4.1.2 esmtp-param). */
int smtp_param_next(const char **p, const char *end, struct smtp_param *out);
bool smtp_param_is(const struct smtp_param *p, const char *key);

#endif
