/*
 * replies - what next hosts say to the recipients of a message, put together until it is counted:
 * their order, and which host was the faster, say nothing.
 *
 * A message waits REPLIES_WAIT_MS from its first reply on, or until its account does something
 * else. Fixed memory: where there is no room the message that waits longest goes first. Pure: times
 * are passed in, monotonic.
 */
#ifndef RATELIMIT_REPLIES_H
#define RATELIMIT_REPLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/answer.h"
#include "ratelimit/rl.h"

#define REPLIES_WAIT_MS	  5000
#define REPLIES_MESSAGES  4096
#define REPLIES_RCPTS	  32768
#define REPLIES_NAME_SIZE 56 /* with its NUL */

struct replies;

struct replies *replies_new(void);    /* NULL: no memory */
void replies_free(struct replies *r); /* NULL is fine */

/* Is there no room for one more? Then take first. */
bool replies_full(const struct replies *r);
/* message: any number that tells it from others of its account. A name longer than fits is cut. */
void replies_add(struct replies *r, const char *account, uint64_t message, int64_t now_ms,
		 const char *name, enum answer_kind kind);

/* All that is known of one message. */
struct replies_of {
	char account[RL_ACCOUNT_MAX + 1];
	size_t n;
	const char *const *name; /* n of them, in the order they came */
	const enum answer_kind *kind;
};
/*
 * Takes out one message: of this account (NULL: of any), the one that waits longest, if it has
 * waited since before_ms or longer. False: there is none. *out lives until the next call.
 */
bool replies_take(struct replies *r, const char *account, int64_t before_ms,
		  struct replies_of *out);

#endif
