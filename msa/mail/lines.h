/*
 * lines - the operator's files of one row a line: where the reader is, and what is wrong there.
 */
#ifndef MSA_MAIL_LINES_H
#define MSA_MAIL_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct lines {
	const char *p, *end; /* what is left of the current line, without its LF */
	int *line;	     /* its number, from 1: of the caller */
	void *ctx;	     /* talloc owner of what is wrong */
	char **err;	     /* of the caller */
};

/* What is wrong, in words; false, for the caller to give back. */
bool lines_wrong(struct lines *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Each line to row(), the last with or without an LF, until one gives false: that one is *line.
 * True when all were read; *line is then the one after the last. */
bool lines_each(struct lines *l, const char *text, size_t len, bool (*row)(void *arg), void *arg);

#endif
