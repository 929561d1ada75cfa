/*
 * limits - the penalties in force, kept in step with sekisho-ratelimitd.
 *
 * A penalty goes to the queue at once (held mail is held there) and is remembered here, so that a
 * suspended account is refused at login. What was in force stays in force while ratelimitd is away.
 */
#ifndef MSA_LIMITS_H
#define MSA_LIMITS_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "ratelimit/rl.h"
#include "msa/queue/queue.h"

struct limits;

/* suspended() is called when an account becomes suspended. Never NULL. */
struct limits *limits_new(struct event_base *base, const char *run_dir, int deadline_ms,
			  struct queue *q,
			  void (*suspended)(const char *account, const char *why, void *arg),
			  void *arg);
struct rl *limits_rl(struct limits *l); /* for rl_ask() */
bool limits_connected(const struct limits *l);
/* Why an account is suspended, NULL when it is not; valid until the next penalty. */
const char *limits_suspended(const struct limits *l, const char *account);
/* What the limiter counts without a question: a login that ended, recipients refused for good
 * (status: "5.1.1"). account may be NULL or ""; tls is the name of the client's hello (tls_hello.h).
 * Nothing is kept while ratelimitd is away. */
void limits_saw_login(struct limits *l, bool ok, const char *account, const struct addr *client,
		      const char *ehlo, const char *tls);
void limits_saw_rejected(struct limits *l, const char *account, const struct addr *client,
			 const char *status, uint32_t n);
/* An EVENT_DELIVERY: what the next host said to one recipient. Of our own notices: nothing. */
void limits_saw_delivery(struct limits *l, const struct event *e);
/* A bounce came back that is really of the account's mail. status: "5.1.1", "" when not known. */
void limits_saw_bounce(struct limits *l, const char *account, const char *status);
/* What the limiter knows a text by; of "": 0, not known. */
uint64_t limits_hash(const char *text);
size_t limits_penalties(const struct limits *l);
/* The queue is somebody else's now: penalties are for the sessions alone. */
void limits_leave_queue(struct limits *l);
void limits_free(struct limits *l);

#endif
