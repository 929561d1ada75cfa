/*
 * store_wal - the write-ahead log of a database goes back into it on a thread of its own, so that
 * nobody who commits waits for that: it is thousands of pages, and a wait for the disk.
 */
#ifndef ACCOUNTING_STORE_WAL_H
#define ACCOUNTING_STORE_WAL_H

struct sqlite3;
struct store_wal;

/* Takes the place of writer's own checkpoints; writer has path open, in WAL mode. NULL: no thread
 * can be had, and writer goes on as before. Threads have the rights of who calls: after the drop.
 */
struct store_wal *store_wal_start(struct sqlite3 *writer, const char *path);
/* Ends the thread. NULL: nothing. writer is still open, and makes its checkpoints itself again. */
void store_wal_stop(struct store_wal *w);

#endif
