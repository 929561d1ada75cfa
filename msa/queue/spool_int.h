/*
 * spool_int - what spool.c and spool_settle.c share: the writing handle. Includes sqlite3.h, so
 * only spool*.c may include it.
 */
#ifndef MSA_QUEUE_SPOOL_INT_H
#define MSA_QUEUE_SPOOL_INT_H

#include <sys/types.h>

#include "msa/queue/spool.h"
#include "msa/queue/spool_sql.h"

/* Recipient states. WAITING: to be tried in the coming or current round; DEFERRED: tried in the
 * current round. */
enum { R_WAITING = 0, R_DEFERRED = 1, R_DELIVERED = 2, R_BOUNCED = 3 };

enum {
	Q_BEGIN,
	Q_COMMIT,
	Q_ROLLBACK,
	Q_ADD_MESSAGE,
	Q_ADD_RECIPIENT,
	Q_ADD_BODY,
	Q_ADD_OUTBOX,
	Q_GET_MESSAGE,
	Q_DONE_RECIPIENT,
	Q_DEFER_RECIPIENT,
	Q_WAITING,
	Q_COUNT,
	Q_NEW_ROUND,
	Q_DELAY_TOLD,
	Q_SET_MESSAGE,
	Q_HEADERS,
	Q_DEL_MESSAGE,
	Q_DEL_RECIPIENTS,
	Q_DEL_BODY,
	Q_HOLD,
	Q_RELEASE,
	Q_UPDATE_HOLD,
	Q_UPDATE_TIMES,
	Q_FORGET,
	Q_LOAD,
	Q_LOAD_HOLDS,
	Q_N
};

struct spool {
	sqlite3 *db;
	sqlite3_stmt *st[Q_N];
	char instance[SPOOL_INSTANCE_MAX];
	char why[256];
	struct {
		char *hostname, *postmaster, *smarthost;
	} own;
	struct dsn_host host;
	uint8_t *records; /* for the outbox, of the transaction under way */
	size_t records_len, records_cap;
	uint32_t records_n;
	uint64_t outbox_row, outbox_last; /* newest in the transaction, newest committed */
	int wal_pages;
	char *reserve;	    /* path */
	off_t reserve_size; /* 0: not kept now */
};

/* The result that rc stands for; keeps the database's words for spool_why(). */
enum queue_result spool_failed(struct spool *s, int rc);
/* Run the bound statement q, which returns no rows. */
enum queue_result spool_run(struct spool *s, int q);

#endif
