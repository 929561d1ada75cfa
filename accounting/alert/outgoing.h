/*
 * outgoing - the outbox on its way: what is due is handed to the sender, what came of it is put
 * down. Inside acctd.
 */
#ifndef ACCOUNTING_ALERT_OUTGOING_H
#define ACCOUNTING_ALERT_OUTGOING_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct acctd;
struct outgoing;

/* answered() after each answer: there may be more to do. host: this gateway's name; borrowed. */
struct outgoing *outgoing_new(struct acctd *a, const char *exe, const char *host,
			      void (*answered)(void *arg), void *arg);
/* What is under way is forgotten, and sent again by the next one. */
void outgoing_free(struct outgoing *o);
/* Hands over what is due, as far as there is room. When the next is due; 0: none waits. */
int64_t outgoing_turn(struct outgoing *o, int64_t now_ms);
/* alerts_test() of alerts.h. */
bool outgoing_test(struct outgoing *o, const char *name, int64_t now_ms,
		   void (*done)(json_t *result, void *arg), void *arg);

#endif
