/*
 * backoff - how long somebody who keeps failing must wait. Keys are text ("user:taro",
 * "address:192.0.2.1"); a bounded number is remembered, the longest unseen goes first. Times are
 * monotonic milliseconds, passed in.
 */
#ifndef ACCOUNTING_BACKOFF_H
#define ACCOUNTING_BACKOFF_H

#include <stdint.h>

struct backoff;

/* After `free` failures each further one doubles the wait, from 1 s to 5 minutes; 15 minutes
 * without one forget. */
struct backoff *backoff_new(void);
/* Milliseconds still to wait, 0: go on. */
int64_t backoff_wait(const struct backoff *b, const char *key, int64_t now_ms);
void backoff_fail(struct backoff *b, const char *key, int free, int64_t now_ms);
void backoff_forget(struct backoff *b, const char *key);
void backoff_free(struct backoff *b);

#endif
