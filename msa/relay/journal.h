/*
 * journal - outcomes of deliveries that msad may not have committed yet; what makes kill -9 of msad
 * harmless.
 *
 * One file of fixed size, a ring of JOURNAL_SLOTS checksummed records of 512 bytes (never across a
 * page), space taken from the disk in advance, so that a full disk cannot stop it. Plain pwrite(2):
 * it must survive the death of processes; when the whole machine dies the spool decides, and a
 * message may be delivered twice (docs/decisions/0004-spool.md). Only the holder of relay.lock
 * opens it.
 *
 * Records have numbers that rise for ever. The floor is the number up to which msad has committed;
 * records above it are told again to the next msad. A record that does not check (torn, foreign) is
 * skipped and counted.
 */
#ifndef MSA_RELAY_JOURNAL_H
#define MSA_RELAY_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/relay/frames.h"

#define JOURNAL_SLOTS	   8192u
#define JOURNAL_SLOT_BYTES 512u

struct journal;

/* NULL with *err (static or strerror text). Reads what is there. */
struct journal *journal_open(const char *path, const char **err);
void journal_close(struct journal *j);
/* Damaged records found by journal_open(). */
unsigned journal_damaged(const struct journal *j);
/* Records that can be written before msad commits some. */
size_t journal_room(const struct journal *j);
uint64_t journal_last(const struct journal *j); /* number of the last record; 0: none ever */

/* Writes o's recipients, at most journal_room() of them, and sets o->seq. False with errno when the
 * file took none or not all. */
bool journal_append(struct journal *j, struct relay_outcome *o);
/* msad has committed everything up to seq. Errors are left to the next call: an old floor only
 * repeats what msad knows. */
void journal_committed(struct journal *j, uint64_t seq);
/* Calls fn for what is above the floor, oldest first; records of one transaction come together. */
void journal_replay(struct journal *j, void (*fn)(const struct relay_outcome *o, void *arg),
		    void *arg);

/* The bytes of one record; for tests. */
struct journal_record {
	uint64_t seq;
	char id[QUEUE_ID_LEN + 1];
	uint32_t attempt;
	struct relay_rcpt rcpt;
};
void journal_encode(const struct journal_record *r, uint8_t out[static JOURNAL_SLOT_BYTES]);
bool journal_decode(const uint8_t in[static JOURNAL_SLOT_BYTES], struct journal_record *r);

#endif
