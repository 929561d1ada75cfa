/*
 * policy_store - see policy_store.h.
 *
 * Trusted with: that a start without acctd has the last policy that was told to be in force.
 * Diagnostics: log lines "state ...". Known gaps: while the disk is full or broken, changes are in
 * force without being on it; a snapshot is tried again every ten seconds.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "nfq/policy_store.h"

#define SNAPSHOT    "policy"
#define TEMPORARY   "policy.new"
#define PART	    "changes-"
#define SLICE	    1024	 /* entries between two looks at the journal */
#define BUFFER	    (512u << 10) /* of a slice: more than it can need */
#define SYNC_BYTES  (4u << 20)
#define JOURNAL_MIN (4u << 20) /* bytes of the journal that are worth no snapshot */
#define RETRY_MS    10000

struct buffer {
	uint8_t *v;
	size_t n, cap;
};

struct policy_store {
	char *folder;
	struct shared *shared;
	int wake_fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	struct buffer fresh; /* the main thread's */
	uint64_t fresh_version;
	/* under the lock */
	struct buffer pending;
	uint64_t pending_version, journal_version, done_version;
	bool replaced, replacing, busy, stop, broken;
	/* the thread's */
	struct buffer writing;
	int fd; /* of the journal's part; -1: none yet */
	unsigned part;
	size_t journal_bytes, snapshot_bytes;
	int64_t failed_ms;
};

/* --- files ----------------------------------------------------------------------- */

static char *path_of(void *ctx, const char *folder, const char *name)
{
	return talloc_asprintf(ctx, "%s/%s", folder, name);
}

/* The number of a journal's part; 0: it is none. */
static unsigned part_number(const char *name)
{
	unsigned n = 0;
	if (strncmp(name, PART, strlen(PART)) != 0)
		return 0;
	for (const char *p = name + strlen(PART); *p; p++) {
		if (*p < '0' || *p > '9' || n > UINT32_MAX / 10 - 1)
			return 0;
		n = n * 10 + (unsigned)(*p - '0');
	}
	return n;
}

static int compare_parts(const void *x, const void *y)
{
	const unsigned a = *(const unsigned *)x, b = *(const unsigned *)y;
	return a < b ? -1 : a > b;
}

/* The numbers of all parts, in order; talloc'd. */
static unsigned *list_parts(const char *folder, size_t *count)
{
	unsigned *list = NULL;
	DIR *dir = opendir(folder);
	*count = 0;
	for (const struct dirent *e; dir && (e = readdir(dir));) {
		unsigned n = part_number(e->d_name);
		if (n == 0)
			continue;
		list = talloc_realloc(NULL, list, unsigned, *count + 1);
		bug_on(!list);
		list[(*count)++] = n;
	}
	if (dir)
		(void)closedir(dir);
	if (*count > 0)
		qsort(list, *count, sizeof *list, compare_parts);
	return list;
}

static char *part_path(void *ctx, const char *folder, unsigned n)
{
	return talloc_asprintf(ctx, "%s/" PART "%06u", folder, n);
}

static bool unreadable(const char *path)
{
	if (errno != ENOENT)
		log_event(LOG_ERR, "-", "state", "unreadable", LS("file", path),
			  LS("reason", strerror(errno)));
	return false;
}

/* Hands over the file's bytes without a copy of them. */
static bool with_file(const char *path, void (*fn)(const uint8_t *data, size_t len, void *arg),
		      void *arg)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return unreadable(path);
	void *map = MAP_FAILED;
	bool ok = fstat(fd, &st) == 0 && st.st_size > 0;
	if (ok)
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	(void)close(fd);
	if (map == MAP_FAILED) {
		if (ok)
			return unreadable(path);
		fn((const uint8_t *)"", 0, arg);
		return true;
	}
	fn(map, (size_t)st.st_size, arg);
	(void)munmap(map, (size_t)st.st_size);
	return true;
}

/* --- load ------------------------------------------------------------------------ */

struct loading {
	void *ctx;
	struct policy *policy;
	size_t changes, cut;
};

static void read_snapshot(const uint8_t *data, size_t len, void *arg)
{
	struct loading *l = arg;
	const char *err;
	l->policy = policy_decode(l->ctx, data, len, &err);
	if (!l->policy)
		log_event(LOG_ERR, "-", "state", "policy-damaged", LS("reason", err),
			  LS("hint", "going on without; acctd sends a new one"));
}

static void read_changes(const uint8_t *data, size_t len, void *arg)
{
	struct loading *l = arg;
	l->cut += len - policy_replay(l->policy, data, len, &l->changes);
}

struct policy *policy_store_load(void *ctx, const char *folder, bool *known)
{
	struct loading l = {.ctx = ctx};
	char *path = path_of(NULL, folder, SNAPSHOT);
	size_t n;
	unsigned *parts = list_parts(folder, &n);
	*known = with_file(path, read_snapshot, &l) && l.policy;
	talloc_free(path);
	for (size_t i = 0; i < n && *known; i++) {
		path = part_path(NULL, folder, parts[i]);
		(void)with_file(path, read_changes, &l);
		talloc_free(path);
	}
	talloc_free(parts);
	if (*known)
		log_event(LOG_INFO, "-", "state", "policy-loaded",
			  LI("version", policy_version(l.policy)),
			  LI("entries", policy_count(l.policy)), LI("changes", l.changes),
			  LI("cut", l.cut));
	return l.policy ? l.policy : policy_new(ctx);
}

/* --- the thread: the journal ----------------------------------------------------- */

static bool write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* Once for each time that it begins. */
static void failed(struct policy_store *s, const char *what)
{
	int error = errno;
	(void)pthread_mutex_lock(&s->lock);
	bool was = s->broken;
	s->broken = true;
	(void)pthread_mutex_unlock(&s->lock);
	s->failed_ms = clock_mono_ms();
	if (!was)
		log_event(LOG_ERR, "-", "state", "unwritable", LS("file", what),
			  LS("folder", s->folder), LS("reason", strerror(error)),
			  LS("hint", "the policy is in force, but a restart would not have it"));
}

static void sync_folder(const struct policy_store *s)
{
	int fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	(void)close(fd);
}

static bool next_part(struct policy_store *s)
{
	char *path = part_path(NULL, s->folder, s->part + 1);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	talloc_free(path);
	if (fd < 0)
		return false;
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = fd;
	s->part++;
	sync_folder(s);
	return true;
}

/* What the main thread handed over: on disk when this returns. */
static void write_pending(struct policy_store *s)
{
	(void)pthread_mutex_lock(&s->lock);
	const struct buffer take = s->pending;
	uint64_t version = s->pending_version;
	s->pending = s->writing;
	s->pending.n = 0;
	s->writing = take;
	(void)pthread_mutex_unlock(&s->lock);
	if (take.n == 0)
		return;
	if ((s->fd < 0 && !next_part(s)) || !write_all(s->fd, take.v, take.n) ||
	    fdatasync(s->fd) < 0)
		failed(s, PART);
	s->journal_bytes += take.n;
	(void)pthread_mutex_lock(&s->lock);
	s->journal_version = version;
	if (!s->replaced && !s->replacing)
		s->done_version = version;
	(void)pthread_mutex_unlock(&s->lock);
	(void)eventfd_write(s->wake_fd, 1);
}

/* --- the thread: snapshots ------------------------------------------------------- */

struct snapshot {
	struct policy_store *s;
	int fd;
	uint8_t *buf;
	struct wire_out w;
	uint32_t crc, at;
	uint64_t count, version, replaced;
	size_t bytes, unsynced;
};

static bool put_out(struct snapshot *x)
{
	x->crc = policy_crc(x->crc, x->buf, x->w.len);
	if (!write_all(x->fd, x->buf, x->w.len))
		return false;
	x->bytes += x->w.len;
	x->unsynced += x->w.len;
	x->w.len = 0;
	if (x->unsynced < SYNC_BYTES)
		return true;
	x->unsynced = 0; /* bit by bit: a big one would hold up the journal's */
	return fdatasync(x->fd) == 0;
}

/* A slice of the policy; *more false at its end. False: it was replaced, or the disk failed. */
static bool put_slice(struct snapshot *x, bool *more)
{
	uint64_t replaced;
	const struct policy *p = shared_read_begin(x->s->shared, &replaced);
	bool same = replaced == x->replaced;
	if (same)
		*more = policy_file_piece(p, &x->at, SLICE, &x->count, &x->w);
	shared_read_end(x->s->shared);
	errno = ECANCELED;
	return same && put_out(x);
}

static bool put_end(struct snapshot *x)
{
	policy_file_end(&x->w, x->count);
	if (!put_out(x))
		return false;
	uint32_t crc = x->crc;
	wire_u32(&x->w, crc);
	return write_all(x->fd, x->buf, x->w.len) && fdatasync(x->fd) == 0;
}

static bool put_all(struct snapshot *x)
{
	bool more = true;
	x->version = policy_version(shared_read_begin(x->s->shared, &x->replaced));
	shared_read_end(x->s->shared);
	policy_file_begin(&x->w, x->version);
	while (more) {
		if (!put_slice(x, &more))
			return false;
		write_pending(x->s);
	}
	return put_end(x);
}

static bool put_in_place(struct policy_store *s)
{
	char *from = path_of(NULL, s->folder, TEMPORARY), *to = path_of(NULL, s->folder, SNAPSHOT);
	bool ok = rename(from, to) == 0;
	sync_folder(s);
	talloc_free(from);
	talloc_free(to);
	return ok;
}

static void drop_parts(const struct policy_store *s, unsigned before)
{
	size_t n;
	unsigned *parts = list_parts(s->folder, &n);
	for (size_t i = 0; i < n && parts[i] < before; i++) {
		char *path = part_path(NULL, s->folder, parts[i]);
		(void)unlink(path);
		talloc_free(path);
	}
	talloc_free(parts);
}

static bool write_snapshot(struct policy_store *s)
{
	struct snapshot x = {.s = s};
	char *path = path_of(NULL, s->folder, TEMPORARY);
	/* Before the version is read: later changes are in this part or a later one. */
	bool ok = next_part(s);
	unsigned first = s->part;
	x.fd = ok ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640) : -1;
	talloc_free(path);
	if (x.fd < 0)
		return false;
	x.buf = malloc(BUFFER);
	bug_on(!x.buf);
	wire_out_init(&x.w, x.buf, BUFFER);
	ok = put_all(&x);
	int error = errno;
	free(x.buf);
	(void)close(x.fd);
	errno = error;
	if (!ok || !put_in_place(s))
		return false;
	drop_parts(s, first);
	s->journal_bytes = 0;
	s->snapshot_bytes = x.bytes;
	(void)pthread_mutex_lock(&s->lock);
	uint64_t done = s->journal_version > x.version ? s->journal_version : x.version;
	if (!s->replaced && done > s->done_version)
		s->done_version = done;
	s->replacing = s->broken = false;
	(void)pthread_mutex_unlock(&s->lock);
	return true;
}

/* --- the thread ------------------------------------------------------------------ */

static bool snapshot_due(struct policy_store *s, bool replaced)
{
	if (replaced)
		return true;
	if (s->failed_ms != 0)
		return clock_mono_ms() - s->failed_ms >= RETRY_MS;
	return s->journal_bytes > JOURNAL_MIN + s->snapshot_bytes / 2;
}

static void snapshot(struct policy_store *s)
{
	if (write_snapshot(s))
		s->failed_ms = 0;
	else if (errno != ECANCELED) /* else another replacement comes */
		failed(s, SNAPSHOT);
	(void)eventfd_write(s->wake_fd, 1);
}

/* False: the end. */
static bool wait_for_work(struct policy_store *s, bool *replaced)
{
	int64_t ms = clock_mono_ms() + RETRY_MS;
	const struct timespec until = {ms / 1000, ms % 1000 * 1000000};
	(void)pthread_mutex_lock(&s->lock);
	s->busy = s->pending.n > 0 || s->replaced;
	(void)pthread_cond_broadcast(&s->idle);
	while (s->pending.n == 0 && !s->replaced && !s->stop)
		if (pthread_cond_timedwait(&s->work, &s->lock, &until) == ETIMEDOUT)
			break;
	*replaced = s->replaced;
	s->replaced = false;
	s->replacing |= *replaced;
	bool go_on = !s->stop || s->pending.n > 0 || *replaced;
	s->busy = true;
	(void)pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void *work(void *arg)
{
	struct policy_store *s = arg;
	bool replaced;
	while (wait_for_work(s, &replaced)) {
		if (replaced)
			snapshot(s);
		write_pending(s);
		if (snapshot_due(s, false))
			snapshot(s);
	}
	(void)pthread_mutex_lock(&s->lock);
	s->busy = false;
	(void)pthread_cond_broadcast(&s->idle);
	(void)pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- from the main thread -------------------------------------------------------- */

struct policy_store *policy_store_open(const char *folder, struct shared *shared, int wake_fd)
{
	struct policy_store *s = calloc(1, sizeof *s);
	pthread_condattr_t attr;
	size_t n;
	if (!s || !(s->folder = strdup(folder)) || pthread_mutex_init(&s->lock, NULL) != 0 ||
	    pthread_condattr_init(&attr) != 0 ||
	    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
	    pthread_cond_init(&s->work, &attr) != 0 || pthread_cond_init(&s->idle, &attr) != 0)
		fatal("out of memory");
	(void)pthread_condattr_destroy(&attr);
	unsigned *parts = list_parts(folder, &n);
	s->part = n > 0 ? parts[n - 1] : 0;
	talloc_free(parts);
	s->shared = shared;
	s->wake_fd = wake_fd;
	s->fd = -1;
	s->done_version = policy_version(shared_policy(shared));
	errno = pthread_create(&s->thread, NULL, work, s);
	if (errno != 0)
		fatal_errno("cannot start a thread");
	return s;
}

static void make_room(struct buffer *b, size_t more)
{
	if (b->cap - b->n >= more)
		return;
	b->cap = b->cap * 2 + more;
	b->v = realloc(b->v, b->cap);
	if (!b->v)
		fatal("out of memory");
}

void policy_store_change(struct policy_store *s, uint64_t version, enum policy_op op,
			 const struct policy_entry *e)
{
	struct wire_out w;
	make_room(&s->fresh, POLICY_CHANGE_MAX);
	wire_out_init(&w, s->fresh.v + s->fresh.n, POLICY_CHANGE_MAX);
	policy_change_put(&w, version, op, e);
	bug_on(w.bad);
	s->fresh.n += w.len;
	s->fresh_version = version;
}

void policy_store_commit(struct policy_store *s)
{
	if (s->fresh.n == 0)
		return;
	(void)pthread_mutex_lock(&s->lock);
	make_room(&s->pending, s->fresh.n);
	memcpy(s->pending.v + s->pending.n, s->fresh.v, s->fresh.n);
	s->pending.n += s->fresh.n;
	s->pending_version = s->fresh_version;
	s->busy = true;
	(void)pthread_cond_signal(&s->work);
	(void)pthread_mutex_unlock(&s->lock);
	s->fresh.n = 0;
}

void policy_store_replaced(struct policy_store *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->replaced = s->busy = true;
	s->done_version = s->journal_version = 0;
	(void)pthread_cond_signal(&s->work);
	(void)pthread_mutex_unlock(&s->lock);
}

bool policy_store_has(struct policy_store *s, uint64_t version)
{
	(void)pthread_mutex_lock(&s->lock);
	bool has = s->broken || s->done_version >= version;
	(void)pthread_mutex_unlock(&s->lock);
	return has;
}

void policy_store_sync(struct policy_store *s)
{
	policy_store_commit(s);
	(void)pthread_mutex_lock(&s->lock);
	while (s->busy)
		(void)pthread_cond_wait(&s->idle, &s->lock);
	(void)pthread_mutex_unlock(&s->lock);
}

void policy_store_close(struct policy_store *s)
{
	policy_store_commit(s);
	(void)pthread_mutex_lock(&s->lock);
	s->stop = true;
	(void)pthread_cond_signal(&s->work);
	(void)pthread_mutex_unlock(&s->lock);
	(void)pthread_join(s->thread, NULL);
	if (s->fd >= 0)
		(void)close(s->fd);
	free(s->fresh.v);
	free(s->pending.v);
	free(s->writing.v);
	free(s->folder);
	(void)pthread_cond_destroy(&s->work);
	(void)pthread_cond_destroy(&s->idle);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}
