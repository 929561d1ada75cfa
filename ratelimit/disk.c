/*
 * disk - snapshot files of ratelimitd.
 *
 * The child of disk_save_counters() is a copy of the daemon that encodes, writes, and leaves its
 * errno as exit status; it keeps no descriptor but the pipe that tells us of its end, so a daemon
 * that is killed and started again finds its socket free, and it dies with its parent, so it never
 * writes over the file of a later daemon.
 *
 * Trusted with the folder <state_dir>/ratelimit. Diagnostics: `ratelimit snapshot-*` log lines,
 * error counts. Known gap: a crash loses the counts of the last snapshot_interval, and what the
 * detector learnt in its own; penalties and overrides are never lost.
 */
#include "ratelimit/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "ratelimit/snapshot.h"

#define MAX_FILE ((size_t)4 << 30)

struct disk {
	struct event_base *base;
	char *folder;
	pid_t child; /* 0: none */
	int child_end;
	struct event *child_event;
	int64_t child_ms, counters_ms;
	const struct sentry *sentry;
	int64_t detector_ms, detector_every_ms; /* when it was written last; limiter time */
	bool child_detector;			/* the child writes it as well */
	uint64_t errors, damaged;
	int64_t fork_ms; /* how long everybody waited for the last fork */
};

enum { DETECTOR_FILE = SNAPSHOT_STANDING + 1, N_FILES };
static const char *const names[N_FILES] = {[SNAPSHOT_COUNTERS] = "snapshot",
					   [SNAPSHOT_STANDING] = "standing",
					   [DETECTOR_FILE] = "detector"};

static const char *path_of(const struct disk *d, const char *name, const char *suffix,
			   char path[static PATH_MAX])
{
	if (snprintf(path, PATH_MAX, "%s/%s%s", d->folder, name, suffix) >= PATH_MAX)
		fatal_config("common.state_dir is too long");
	return path;
}

/* "snapshot.AbCdEf": a temporary name of proc_write_file(). */
static bool is_leftover(const char *entry)
{
	for (int k = SNAPSHOT_COUNTERS; k < N_FILES; k++) {
		size_t n = strlen(names[k]);
		if (strncmp(entry, names[k], n) == 0 && entry[n] == '.' && strlen(entry + n) == 7)
			return true;
	}
	return false;
}

static void remove_leftovers(const struct disk *d)
{
	char path[PATH_MAX];
	DIR *dir = opendir(d->folder);
	const struct dirent *e;
	while (dir && (e = readdir(dir)))
		if (is_leftover(e->d_name))
			(void)unlink(path_of(d, e->d_name, "", path));
	if (dir)
		closedir(dir);
}

struct disk *disk_new(struct event_base *base, const char *folder)
{
	struct disk *d = calloc(1, sizeof *d);
	if (!d || !(d->folder = strdup(folder)))
		fatal("out of memory");
	d->base = base;
	remove_leftovers(d);
	return d;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void set_aside(struct disk *d, const char *path, const char *why)
{
	char aside[PATH_MAX];
	d->damaged++;
	if (snprintf(aside, sizeof aside, "%s.damaged", path) < (int)sizeof aside &&
	    rename(path, aside) == 0)
		log_event(LOG_ERR, "-", "ratelimit", "snapshot-damaged", LS("file", path),
			  LS("reason", why), LS("kept_as", aside));
	else
		log_event(LOG_ERR, "-", "ratelimit", "snapshot-damaged", LS("file", path),
			  LS("reason", why), LS("rename", strerror(errno)));
}

static void load(struct disk *d, struct limiter *l, enum snapshot_kind kind,
		 const struct moment *now)
{
	char path[PATH_MAX];
	size_t len, left_out;
	const char *err;
	char *data = proc_read_file(path_of(d, names[kind], "", path), MAX_FILE, &len);
	if (!data) {
		if (errno != ENOENT)
			set_aside(d, path, strerror(errno));
		return;
	}
	if (!snapshot_decode(l, kind, now, (const uint8_t *)data, len, &left_out, &err))
		set_aside(d, path, err);
	else
		log_event(LOG_INFO, "-", "ratelimit", "snapshot-read", LS("file", path),
			  LI("bytes", len), LI("accounts", subjects_count(limiter_subjects(l))),
			  LI("left_out", left_out));
	free(data);
}

/* What the detector has learnt, read beside the counters: each is half of a second for a million
 * accounts. */
struct reader {
	const struct sentry *s;
	char path[PATH_MAX];
	struct detector *d;
	const char *err;
	pthread_t thread;
	bool beside;
};

static void *read_detector(void *arg)
{
	struct reader *r = arg;
	r->d = sentry_read(r->s, r->path, &r->err);
	return NULL;
}

static void begin_detector(const struct disk *d, struct reader *r)
{
	(void)path_of(d, names[DETECTOR_FILE], "", r->path);
	r->beside = pthread_create(&r->thread, NULL, read_detector, r) == 0;
}

static void end_detector(struct disk *d, struct reader *r, struct sentry *s,
			 const struct moment *now)
{
	if (r->beside)
		(void)pthread_join(r->thread, NULL);
	else
		(void)read_detector(r);
	sentry_take(s, r->d, now);
	if (r->d)
		log_event(LOG_INFO, "-", "ratelimit", "detector-read", LS("file", r->path));
	else if (r->err)
		set_aside(d, r->path, r->err);
}

void disk_load(struct disk *d, struct limiter *l, struct sentry *s, const struct moment *now)
{
	struct reader r = {.s = s};
	begin_detector(d, &r);
	load(d, l, SNAPSHOT_COUNTERS, now);
	load(d, l, SNAPSHOT_STANDING, now);
	end_detector(d, &r, s, now);
	d->sentry = s;
	d->counters_ms = d->detector_ms = now->mono_ms;
}

void disk_detector_every(struct disk *d, int64_t interval_ms)
{
	d->detector_every_ms = interval_ms;
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool write_file(const struct disk *d, struct limiter *l, enum snapshot_kind kind,
		       const struct moment *now)
{
	char path[PATH_MAX];
	size_t len;
	uint8_t *data = snapshot_encode(l, kind, now, &len);
	bool ok = proc_write_file(path_of(d, names[kind], "", path), data, len, 0640);
	int saved = errno;
	free(data);
	errno = saved;
	return ok;
}

static bool write_detector(const struct disk *d)
{
	char path[PATH_MAX];
	return sentry_save(d->sentry, path_of(d, names[DETECTOR_FILE], "", path));
}

static void failed(struct disk *d, int kind, const char *why)
{
	d->errors++;
	log_event(LOG_ERR, "-", "ratelimit", "snapshot-not-written", LS("file", names[kind]),
		  LS("folder", d->folder), LS("reason", why));
}

/* The child has ended; its status. */
static int reap_child(struct disk *d)
{
	int status = 0;
	while (waitpid(d->child, &status, 0) < 0 && errno == EINTR)
		;
	event_free(d->child_event);
	close(d->child_end);
	d->child = 0;
	return status;
}

/* What it writes would be older than what we know. */
static void stop_child(struct disk *d)
{
	if (d->child == 0)
		return;
	(void)kill(d->child, SIGKILL);
	(void)reap_child(d);
	remove_leftovers(d);
}

static void child_ended(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct disk *d = arg;
	int status = reap_child(d);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		d->counters_ms = d->child_ms;
		d->detector_ms = d->child_detector ? d->child_ms : d->detector_ms;
	} else
		failed(d, SNAPSHOT_COUNTERS,
		       WIFEXITED(status) ? strerror(WEXITSTATUS(status))
					 : "the writing process was killed");
}

_Noreturn static void child_main(const struct disk *d, struct limiter *l, const struct moment *now,
				 int end, pid_t parent)
{
	const int keep = 3; /* the pipe, so that our end is seen; nothing else */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	if (getppid() != parent || (end != keep && dup2(end, keep) < 0))
		_exit(EIO);
	(void)close_range((unsigned)keep + 1, ~0U, 0);
	proc_stand_back(); /* who asks does not wait for what nobody reads before the next start */
	if (!write_file(d, l, SNAPSHOT_COUNTERS, now) || (d->child_detector && !write_detector(d)))
		_exit(errno ? errno : EIO);
	_exit(0);
}

void disk_save_counters(struct disk *d, struct limiter *l, const struct moment *now)
{
	int ends[2];
	pid_t self = getpid();
	if (d->child)
		return;
	if (pipe2(ends, O_CLOEXEC) != 0) {
		failed(d, SNAPSHOT_COUNTERS, strerror(errno));
		return;
	}
	d->child_detector = now->mono_ms - d->detector_ms >= d->detector_every_ms;
	int64_t begin_ms = clock_mono_ms();
	d->child = fork();
	if (d->child == 0)
		child_main(d, l, now, ends[1], self);
	d->fork_ms = clock_mono_ms() - begin_ms;
	close(ends[1]);
	if (d->child < 0) {
		failed(d, SNAPSHOT_COUNTERS, strerror(errno));
		close(ends[0]);
		d->child = 0;
		return;
	}
	d->child_end = ends[0];
	d->child_ms = now->mono_ms;
	d->child_event = event_new(d->base, ends[0], EV_READ, child_ended, d);
	if (!d->child_event || event_add(d->child_event, NULL) != 0)
		fatal("out of memory");
}

bool disk_save_counters_now(struct disk *d, struct limiter *l, const struct moment *now)
{
	stop_child(d);
	if (!write_file(d, l, SNAPSHOT_COUNTERS, now)) {
		failed(d, SNAPSHOT_COUNTERS, strerror(errno));
		return false;
	}
	d->counters_ms = now->mono_ms;
	if (!write_detector(d)) {
		failed(d, DETECTOR_FILE, strerror(errno));
		return false;
	}
	d->detector_ms = now->mono_ms;
	return true;
}

bool disk_save_standing(struct disk *d, struct limiter *l, const struct moment *now)
{
	if (write_file(d, l, SNAPSHOT_STANDING, now))
		return true;
	failed(d, SNAPSHOT_STANDING, strerror(errno));
	return false;
}

int64_t disk_counters_ms(const struct disk *d)
{
	return d->counters_ms;
}

int64_t disk_fork_ms(const struct disk *d)
{
	return d->fork_ms;
}

uint64_t disk_errors(const struct disk *d)
{
	return d->errors;
}

uint64_t disk_damaged(const struct disk *d)
{
	return d->damaged;
}

void disk_free(struct disk *d)
{
	if (!d)
		return;
	stop_child(d);
	free(d->folder);
	free(d);
}
