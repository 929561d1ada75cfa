/*
 * answer - what a mail server's answer says: one of a few classes, from its code, its enhanced
 * status code (RFC 3463, 5248) and its words, by a table that a file can extend.
 *
 * The file's lines are asked before the built-in ones; the first that fits decides:
 *   CLASS<TAB>CODE<TAB>TEXT
 * CODE: "*" any; "550", "5xx"; "5.7.1", "5.7.*". TEXT: words that occur in the answer whatever
 * their case; /REGEX/ an extended one (POSIX); "*" any. A line that is empty or begins with # is
 * skipped. Pure, but for answer_load().
 */
#ifndef RATELIMIT_ANSWER_H
#define RATELIMIT_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

/* The numbers are in events and in the database: new ones go to the end. */
enum answer_class {
	ANSWER_NONE = 0,      /* nothing was said */
	ANSWER_OK = 1,	      /* taken */
	ANSWER_UNKNOWN = 2,   /* there is no such recipient, or no such domain */
	ANSWER_BLOCKED = 3,   /* this sender, or this server, is not wanted */
	ANSWER_SPAM = 4,      /* called spam, or listed as a source of it */
	ANSWER_RATE = 5,      /* too much, too fast */
	ANSWER_FULL = 6,      /* the mailbox, or the server, has no room */
	ANSWER_POLICY = 7,    /* the message breaks a rule: authentication, size, contents */
	ANSWER_TEMPORARY = 8, /* later: greylisting, a server in trouble */
	ANSWER_NETWORK = 9,   /* not reached, or lost on the way; the DNS */
	ANSWER_TLS = 10,      /* not as safe as it must be */
	ANSWER_OTHER = 11,
	ANSWER_CLASSES
};

#define ANSWER_LINE_MAX	 1024
#define ANSWER_LINES_MAX 10000
#define ANSWER_TEXT_MAX	 4096 /* octets of an answer that are looked at */

struct answer_table;

/* An empty table, for answer_line(). NULL: no memory. */
struct answer_table *answer_table_new(void);
void answer_table_free(struct answer_table *t); /* NULL is fine */
/* One line without its end; *err is static text. */
bool answer_line(struct answer_table *t, const char *line, size_t len, const char **err);
/* A file; NULL with *err (malloc'd), which is file:line and what is wrong. */
struct answer_table *answer_load(const char *file, char **err);
size_t answer_table_size(const struct answer_table *t);

/*
 * text: the answer, "550 5.1.1 No such user", or our own words where no server said anything.
 * status: the enhanced code when the text holds none; NULL or "" not known. t NULL: only what is
 * built in.
 */
enum answer_class answer_classify(const struct answer_table *t, const char *status,
				  const char *text);
/*
 * text in at most n - 1 octets: where it is longer, its beginning and, if that alone would be of
 * another class and there is room, what decides: "550 Dear sender, ... spam". n > 0.
 */
void answer_abridge(char *out, size_t n, const char *text);
/* "unknown-user", "blocked"; "none" for what is no class. */
const char *answer_class_name(enum answer_class c);
/* False: there is no such word. */
bool answer_class_find(const char *name, enum answer_class *out);

/* What it is evidence of, when an account is under suspicion. */
enum answer_kind {
	ANSWER_KIND_NONE,    /* nothing was said */
	ANSWER_KIND_OK,	     /* taken */
	ANSWER_KIND_UNKNOWN, /* recipients that do not exist */
	ANSWER_KIND_SPAM,    /* it, or its sender, is called spam */
	ANSWER_KIND_OTHER,   /* says nothing about the sender */
};
enum answer_kind answer_kind(enum answer_class c);

#endif
