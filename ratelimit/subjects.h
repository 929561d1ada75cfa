/*
 * subjects - whom counts are kept for: an account, an account at an address, an address, a domain,
 * a realm; found by name, at most `max` of them, the longest unused first in line to go.
 *
 * All memory is one pool; a subject with few counts takes one record: 28 bytes, its name, and 8
 * bytes an entry of its main series (messages, recipients). What only active ones need hangs off it
 * (struct extra). A handle is good until the subject is changed in size or forgotten: the functions
 * that may do that return the new one.
 */
#ifndef RATELIMIT_SUBJECTS_H
#define RATELIMIT_SUBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/limits.h"
#include "ratelimit/pool.h"
#include "ratelimit/series.h"
#include "ratelimit/uniq.h"

#define SUBJECT_NAME_MAX 400 /* an account, a blank, an address */

struct subject {
	uint32_t hash;
	uint32_t older, newer; /* by last use; handles */
	uint32_t used_s;       /* limiter time in seconds, modulo 2^32 */
	uint32_t extra;	       /* struct extra; 0: none */
	uint16_t n, cap;       /* entries of the main series */
	uint16_t name_len;
	uint8_t kind; /* enum limit_key */
	uint8_t wide; /* the main series' entries */
	char name[];  /* with its NUL; the entries follow, aligned */
};

/* One of the series that few need. */
struct more {
	uint32_t entries; /* handle */
	uint16_t n, cap;
	uint32_t wide;
};

enum {
	MORE_TRAFFIC,
	MORE_LOGIN,
	MORE_WATCH,
	N_MORE
}; /* bytes/rejected, failures/sessions,
      refused/held */

struct said {
	uint32_t row; /* the limit's number plus one; 0: none */
	uint32_t at;  /* milliseconds modulo 2^32 */
};

#define N_SAID 8

struct extra {
	struct more more[N_MORE];
	uint32_t set[LIMITS_MAX_SETS]; /* struct uniq of the distinct limits, by their place */
	uint32_t seen;		       /* of the detector: recipients */
	uint32_t refused_at; /* when a refusal was last counted, ms modulo 2^32; 0: never */
	uint32_t quiet_hold; /* the same: when a hold was last spoken of */
	struct said said[N_SAID];
};

struct subjects;

/* bytes: of the pool. Ends the process when memory is out. */
struct subjects *subjects_new(size_t max, size_t bytes, uint64_t seed);
void subjects_free(struct subjects *t);
struct subject *subject_at(const struct subjects *t, uint32_t handle);
/* 0: none. */
uint32_t subjects_find(const struct subjects *t, enum limit_key kind, const char *name, size_t len);
/* Found or made, and marked as used. 0: no room, even after one idle for idle_ms was forgotten. */
uint32_t subjects_get(struct subjects *t, enum limit_key kind, const char *name, size_t len,
		      int64_t now_ms, int64_t idle_ms);
/* The same when reading a snapshot: a new one has room for n entries; nobody is forgotten. */
uint32_t subjects_restore(struct subjects *t, enum limit_key kind, const char *name, size_t len,
			  int64_t now_ms, size_t n, bool wide);
void subjects_touch(struct subjects *t, uint32_t handle, int64_t now_ms);
/* used: when it was last used, for restoring. */
void subject_set_used(struct subject *s, int64_t used_ms);
int64_t subject_idle_ms(const struct subject *s, int64_t now_ms);
void subjects_forget(struct subjects *t, uint32_t handle);

/* A view of the main series, and its state back after a change of n. */
struct series subject_series(struct subject *s);
void subject_series_done(struct subject *s, const struct series *v);
/* Counts in the main series; the new handle. Never fails: without memory the oldest are joined. */
uint32_t subjects_add(struct subjects *t, uint32_t handle, const struct series_windows *ws,
		      int64_t now_ms, uint32_t a, uint32_t b);

/* NULL: none. */
struct extra *subject_extra(const struct subjects *t, const struct subject *s);
/* Made when there is none; NULL: no memory. */
struct extra *subjects_need_extra(struct subjects *t, struct subject *s);
struct series more_series(const struct subjects *t, const struct more *m);
void subjects_more_add(struct subjects *t, struct more *m, const struct series_windows *ws,
		       int64_t now_ms, uint32_t a, uint32_t b);
/* NULL for 0. */
const struct uniq *subjects_set(const struct subjects *t, uint32_t handle);
/* Adds what was seen at t_ms to the set at *handle, making or growing it as needed. */
void subjects_set_add(struct subjects *t, uint32_t *handle, int64_t now_ms, int64_t w_ms,
		      int64_t t_ms, const uint64_t *hash, uint32_t n);
/* An empty one of that cap in the place of what is there; NULL: no memory. */
struct uniq *subjects_set_new(struct subjects *t, uint32_t *handle, uint32_t cap);
void subjects_set_drop(struct subjects *t, uint32_t *handle);
/* No counts at all; name and place stay. The new handle. */
uint32_t subjects_clear(struct subjects *t, uint32_t handle);

/*
 * Tidies the next n places of the table: drops what counts no more, makes small what is idle, and
 * forgets who has nothing left. Call often; windows by key and series, sets by place.
 */
void subjects_sweep(struct subjects *t, const struct limits *l, int64_t now_ms, size_t n);
/* Every one, longest unused first; f must not add or remove. */
void subjects_each(struct subjects *t, void (*f)(struct subject *s, void *arg), void *arg);
/* Empties the sets of those places (a bit each) everywhere. */
void subjects_drop_sets(struct subjects *t, uint32_t places);

size_t subjects_count(const struct subjects *t);
size_t subjects_evicted(const struct subjects *t);
/* Pool and table, touched and in use. */
size_t subjects_memory(const struct subjects *t, size_t *used);

#endif
