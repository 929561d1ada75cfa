/*
 * nlq - one netfilter queue: packets in, verdicts out. One thread owns one of these.
 *
 * A packet goes back with a new mark and walks the chain that queued it again (NF_REPEAT), so one
 * base chain is enough. The queue lives as long as its socket: nlq_release() and nlq_adopt() hand
 * it from one process to the next, and what waits in it waits on.
 */
#ifndef NFQ_NLQ_H
#define NFQ_NLQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlq;

struct nlq_options {
	uint32_t max_packets; /* that may wait */
	bool fail_open;	      /* what does not fit goes on unjudged; false: the kernel drops it */
};

struct nlq_packet {
	uint32_t id, mark;
	uint32_t indev;	     /* interface it came in by; 0: not told */
	const uint8_t *data; /* from the IP header; valid during the call */
	size_t len, total;   /* captured, and on the wire */
};
typedef void nlq_packet_fn(struct nlq *q, const struct nlq_packet *p, void *arg);

struct nlq_counts {
	uint64_t packets, verdict_errors, unreadable;
};

/*
 * Bind queue number. NULL: err says why, and who holds the number if it is taken. Needs
 * CAP_NET_ADMIN.
 */
struct nlq *nlq_open(uint16_t number, const struct nlq_options *o, char err[static 256]);
/*
 * Take over fd, the socket of queue number, from a process that released it or died: it must be a
 * netfilter socket to which the kernel says that the queue is its own; length, copy range and flags
 * are set anew. What waits is answered by packet() meanwhile, and what the other had received but
 * not answered is queued once more. NULL with err; fd is then still open. Up to three seconds.
 */
struct nlq *nlq_adopt(int fd, uint16_t number, const struct nlq_options *o, nlq_packet_fn *packet,
		      void *arg, char err[static 256]);

int nlq_fd(const struct nlq *q);
/* Wait until something has come and take it, at most one batch: one system call. False when the
 * socket is broken (errno). */
bool nlq_receive(struct nlq *q);
/*
 * packet() answers each of the batch with nlq_verdict(), then the verdicts go out: one system call,
 * none when there was no packet. Returns the number of packets, -1 when the socket is broken.
 */
int nlq_answer(struct nlq *q, nlq_packet_fn *packet, void *arg);
/* Inside packet(): let it go on with this mark. */
void nlq_verdict(struct nlq *q, uint32_t id, uint32_t mark);
/* Inside packet(), instead: this is where it ends. */
void nlq_drop(struct nlq *q, uint32_t id);
/* From any thread: nlq_receive() returns soon. */
void nlq_wake(const struct nlq *q);

struct nlq_counts nlq_counts(const struct nlq *q);
/* From any thread: bytes that wait in the socket, and packets it had no room for. False: not known.
 */
bool nlq_waiting(const struct nlq *q, uint32_t *bytes, uint32_t *drops);

int nlq_release(struct nlq *q); /* frees q; the socket, open still */
void nlq_close(struct nlq *q);	/* what is queued is dropped by the kernel */

#endif
