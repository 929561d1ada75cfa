/*
 * nlq - one netfilter queue: packets in, verdicts out. One thread owns one of these.
 */
#ifndef NFQ_NLQ_H
#define NFQ_NLQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlq;

struct nlq_packet {
	uint32_t id, mark;
	const uint8_t *data; /* from the IP header; valid during the call */
	size_t len, total;   /* captured, and on the wire */
};

struct nlq_counts {
	uint64_t packets, verdict_errors, unreadable;
};

/*
 * Bind queue number with room for max_packets. NULL: err says why, and who holds the number if it
 * is taken. Needs CAP_NET_ADMIN.
 */
struct nlq *nlq_open(uint16_t number, uint32_t max_packets, char err[static 256]);
int nlq_fd(const struct nlq *q); /* readable when there are packets; for poll(2) */
/*
 * Take what has arrived, at most one batch, without waiting; packet() answers each with
 * nlq_verdict(). Then the verdicts go out in one system call. Returns the number of packets, -1
 * when the socket is broken (errno).
 */
int nlq_run(struct nlq *q, void (*packet)(const struct nlq_packet *p, void *arg), void *arg);
/* Inside packet(): let it go on with this mark. */
void nlq_verdict(struct nlq *q, uint32_t id, uint32_t mark);
struct nlq_counts nlq_counts(const struct nlq *q);
void nlq_close(struct nlq *q); /* what is queued is dropped by the kernel */

#endif
