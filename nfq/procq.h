/*
 * procq - /proc/net/netfilter/nfnetlink_queue: what the kernel says about each queue. Pure.
 */
#ifndef NFQ_PROCQ_H
#define NFQ_PROCQ_H

#include <stdbool.h>

#define PROCQ_PATH "/proc/net/netfilter/nfnetlink_queue"

struct procq {
	unsigned long port;	    /* netlink port id of its owner, most often the process id */
	unsigned long depth;	    /* packets that wait */
	unsigned long dropped;	    /* for want of room in the queue */
	unsigned long user_dropped; /* for want of room in the socket */
};

/* The row of one queue in the text of that file; false when there is none, *out is then zero. */
bool procq_find(const char *text, unsigned number, struct procq *out);

#endif
