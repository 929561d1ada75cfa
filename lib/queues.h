/*
 * queues - how many netfilter queues there are.
 *
 * Shared by what writes the rules and what binds the queues: both must read
 * kernel-rules.queue_count alike.
 */
#ifndef LIB_QUEUES_H
#define LIB_QUEUES_H

#include <stdint.h>

#define QUEUES_MAX 64 /* of one range; a second one follows where some pools fail open */

/* queue_count as it is configured, 0 for one a processor: 1 to QUEUES_MAX. */
unsigned queues_count(int64_t configured);

#endif
