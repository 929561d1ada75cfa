/*
 * sender - acctd's end of the process that sends alerts (role.h): starts it when there is something
 * to send, starts it again when it dies, and answers every job once.
 */
#ifndef ACCOUNTING_ALERT_SENDER_H
#define ACCOUNTING_ALERT_SENDER_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

struct sender;

/* answer is one line for people, valid during the call. */
typedef void sender_done(bool ok, const char *answer, void *arg);

/* exe: the program to run as `-x alert`. */
struct sender *sender_new(struct event_base *base, const char *exe);
/* Jobs under way are forgotten. */
void sender_free(struct sender *s);
/*
 * Takes job, as role.h describes it, without "id". done is called once, never from inside this
 * call; when the process does not answer within the job's timeout_ms and five seconds more, that is
 * the answer, and it is started again.
 */
void sender_send(struct sender *s, json_t *job, sender_done *done, void *arg);

#endif
