/*
 * milter - what the two halves of sekisho-batv-milter agree on.
 *
 * The process that is started (main.c) has the listening socket, the metrics and the house's
 * signals, and no threads. The mail servers are served by a worker (worker.c), a child of it in
 * which libmilter has its threads. Both have the configuration: each reads it again, the worker
 * when it is told to. What must outlive a worker is in shared memory.
 *
 * What mail to a valid tag says of a recipient the worker reads (msa/mail/returned.h) and hands to
 * the first process, one EVENT_BOUNCE a packet; that tells the accounting (outbox.h).
 */
#ifndef MSA_MILTER_MILTER_H
#define MSA_MILTER_MILTER_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "msa/mail/bounce.h"
#include "msa/mail/returned.h"

/* How long a worker that was told to stop waits for its sessions; libmilter needs up to five
 * seconds to notice. */
#define MILTER_LINGER_S 5
#define MILTER_RENEW	SIGUSR1 /* to the worker: read the configuration again */

/* In memory that workers share, one after the other. */
struct milter_shared {
	pthread_mutex_t lock; /* robust; of probes */
	struct bounce_probes probes;
	_Atomic(int64_t) results[BOUNCE_PUT_OFF + 1], stripped;
	_Atomic(int64_t) returned[RETURNED_FORMS];
	_Atomic(int64_t) untold; /* recipients the first process was too busy for */
};

struct milter_work {
	/* What a worker works by; changed between milter_change(true) and (false). */
	struct bounce_about about;
	struct batv_keys keys;
	/* Constant. renew reads the configuration again, in a thread of its own. */
	struct milter_shared *shared;
	int tell; /* SOCK_SEQPACKET, never waited for; -1: nobody wants to know */
	void (*renew)(void *arg);
	void *arg;
};

/*
 * Opens the socket that all workers take connections from: address is "ADDRESS:PORT". Before the
 * first worker, once. False with *err (static text or strerror()).
 */
bool milter_open(const char *address, const char **err);
/* The worker's whole life: until SIGTERM. Its exit status. */
int milter_work(const struct milter_work *w);
/* Nobody looks at the rules between true and false. */
void milter_change(bool begin);

#endif
