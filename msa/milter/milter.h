/*
 * milter - what the two halves of sekisho-batv-milter agree on.
 *
 * The process that is started (main.c) has the configuration, the listening socket and no threads.
 * The mail servers are served by a worker (worker.c), a child of it in which libmilter has its
 * threads; whenever the configuration changes, a new worker takes the place of the old one, which
 * still ends the sessions it has. What must outlive a worker is in shared memory.
 */
#ifndef MSA_MILTER_MILTER_H
#define MSA_MILTER_MILTER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "msa/mail/bounce.h"

/* How long a worker that was told to stop waits for its sessions, and how long it is waited for. */
#define MILTER_LINGER_S 10
#define MILTER_KILL_S	(MILTER_LINGER_S + 2)

/* In memory that all workers share. */
struct milter_shared {
	pthread_mutex_t lock; /* robust; of probes */
	struct bounce_probes probes;
	_Atomic(int64_t) results[BOUNCE_PUT_OFF + 1], stripped;
};

/* What a worker works by; constant while it lives. */
struct milter_work {
	struct bounce_about about;
	struct batv_keys keys;
	struct milter_shared *shared;
};

/*
 * Opens the socket that all workers take connections from: address is "ADDRESS:PORT". Before the
 * first worker, once. False with *err (static text or strerror()).
 */
bool milter_open(const char *address, const char **err);
/* The worker's whole life: until SIGTERM. Its exit status. */
int milter_work(const struct milter_work *w);

#endif
