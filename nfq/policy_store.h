/*
 * policy_store - the policy on disk: a snapshot, and a journal of the changes since. Its own thread
 * writes, so that neither packets nor the kernel's sets wait for the disk.
 *
 * Files in the folder: `policy` (a snapshot, see nfq/policy.h) and changes-N, the journal's parts;
 * a new snapshot makes the parts before it superfluous. The snapshot is written while the policy
 * changes; what it missed is in the journal.
 */
#ifndef NFQ_POLICY_STORE_H
#define NFQ_POLICY_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "nfq/policy.h"
#include "nfq/worker.h"

struct policy_store;

/*
 * The last policy, with the changes since; *known false and an empty policy when there is none, or
 * when it is damaged (logged). Allocated under ctx.
 */
struct policy *policy_store_load(void *ctx, const char *folder, bool *known);

/* Starts the thread. wake_fd: an eventfd that is written when something came to disk. */
struct policy_store *policy_store_open(const char *folder, struct shared *shared, int wake_fd);
/* From the main thread: a change that is in the policy already; and those so far, to disk. */
void policy_store_change(struct policy_store *s, uint64_t version, enum policy_op op,
			 const struct policy_entry *e);
void policy_store_commit(struct policy_store *s);
/* The whole policy was replaced: a new snapshot. */
void policy_store_replaced(struct policy_store *s);
/* Would a start from the disk now have this version, or a later one? True when the disk is broken,
 * too: that is logged, and the policy is in force all the same. */
bool policy_store_has(struct policy_store *s, uint64_t version);
/* Wait until everything is on disk. */
void policy_store_sync(struct policy_store *s);
/* policy_store_sync(), and end. */
void policy_store_close(struct policy_store *s);

#endif
