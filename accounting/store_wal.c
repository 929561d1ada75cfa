/*
 * store_wal - see store_wal.h.
 *
 * The thread has a connection of its own and makes passive checkpoints: they wait for nobody and
 * hold up nobody. The log begins anew with the first commit that finds all of it in the database;
 * as long as commits follow each other too closely for that it grows, and from PAGES_MAX on the
 * writer lends a hand.
 *
 * Trusted with: the database file. Diagnostics: a line when the thread cannot work. Known gaps:
 * none.
 */
#include "accounting/store_wal.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/proc.h"

#define PAGES_WORTH 1000   /* as SQLite has it */
#define PAGES_MAX   262144 /* 1 GB: whoever commits then waits for it */

struct store_wal {
	sqlite3 *writer;
	char *path;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool wanted, stop; /* under the lock */
};

static sqlite3 *open_again(const char *path)
{
	int persist = 1;
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(
	    path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
	    NULL);
	if (rc == SQLITE_OK) {
		(void)sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
		/* Only a connection that has read knows of the log. */
		rc = sqlite3_exec(db, "PRAGMA synchronous = FULL; SELECT 1 FROM sqlite_schema",
				  NULL, NULL, NULL);
	}
	if (rc == SQLITE_OK)
		return db;
	log_event(LOG_WARNING, "-", "store", "no-checkpoints", LS("why", sqlite3_errstr(rc)),
		  LS("hint", "commits do them themselves, and take longer"));
	(void)sqlite3_close(db);
	return NULL;
}

/* False: the end. */
static bool wait_for_work(struct store_wal *w)
{
	(void)pthread_mutex_lock(&w->lock);
	while (!w->wanted && !w->stop)
		(void)pthread_cond_wait(&w->work, &w->lock);
	w->wanted = false;
	bool go_on = !w->stop;
	(void)pthread_mutex_unlock(&w->lock);
	return go_on;
}

static void *work(void *arg)
{
	struct store_wal *w = arg;
	sqlite3 *db = open_again(w->path);
	/* What fails is tried again with the next commits; the disk's errors they meet themselves.
	 */
	while (db && wait_for_work(w))
		(void)sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	(void)sqlite3_close(db);
	return NULL;
}

static int on_commit(void *arg, sqlite3 *writer, const char *name, int pages)
{
	struct store_wal *w = arg;
	if (pages >= PAGES_MAX)
		(void)sqlite3_wal_checkpoint_v2(writer, name, SQLITE_CHECKPOINT_PASSIVE, NULL,
						NULL);
	else if (pages >= PAGES_WORTH) {
		(void)pthread_mutex_lock(&w->lock);
		w->wanted = true;
		(void)pthread_cond_signal(&w->work);
		(void)pthread_mutex_unlock(&w->lock);
	}
	return SQLITE_OK;
}

struct store_wal *store_wal_start(struct sqlite3 *writer, const char *path)
{
	struct store_wal *w = calloc(1, sizeof *w);
	if (!w || !(w->path = strdup(path)) || pthread_mutex_init(&w->lock, NULL) != 0 ||
	    pthread_cond_init(&w->work, NULL) != 0)
		fatal("out of memory");
	w->writer = writer;
	if (pthread_create(&w->thread, NULL, work, w) != 0) {
		free(w->path);
		free(w);
		return NULL;
	}
	(void)sqlite3_wal_hook(writer, on_commit, w);
	return w;
}

void store_wal_stop(struct store_wal *w)
{
	if (!w)
		return;
	(void)sqlite3_wal_autocheckpoint(w->writer, PAGES_WORTH);
	(void)pthread_mutex_lock(&w->lock);
	w->stop = true;
	(void)pthread_cond_signal(&w->work);
	(void)pthread_mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL);
	(void)pthread_cond_destroy(&w->work);
	(void)pthread_mutex_destroy(&w->lock);
	free(w->path);
	free(w);
}
