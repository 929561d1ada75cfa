/*
 * spool_clean - segments that are nearly empty, and messages that are damaged.
 *
 * Purpose: a segment goes when nothing in it is needed; what stays long (held, deferred) is moved
 * on, so that it does not keep the room of what has left: always when it is less than a quarter of
 * its segment; up to a half while all segments are more than twice what is of use; up to seven
 * eighths while the disk is short. Trusted with: the writing
 * handle. Diagnostics: log line "damaged". Known gaps: none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/spool_int.h"

#define KEEP_NEWEST  2	    /* segments that are left alone: most of their mail is about to leave */
#define LOOK_AT_ONCE 200000 /* entries of the table: some milliseconds */

/* Is so little of it of use that it is worth to move that? over: all of them together are more than
 * twice what is of use, so that one of them is. */
static bool worth_it(const struct spool *s, const struct segment *g, bool over)
{
	return g->bytes * 4 <= g->end || (over && g->bytes * 2 <= g->end) ||
	       (spool_room(s) != ROOM_ENOUGH && g->bytes * 8 <= g->end * 7);
}

/* What was moved out of segments that are still there, because some of their mail is with the
 * relay, is on the disk twice. */
static uint64_t twice(const struct spool *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->table.n_segs; i++) {
		const struct segment *g = &s->table.segs[i];
		uint64_t rest = g->end - (g->bytes < g->end ? g->bytes : g->end);
		sum += g->moved < rest ? g->moved : rest;
	}
	return sum;
}

/* With a short disk one segment is emptied after the other: a copy that frees nothing would take
 * the room that results need. */
static bool can_empty(const struct spool *s, const struct segment *g, uint64_t copies)
{
	if (spool_room(s) == ROOM_ENOUGH)
		return true;
	return (g->moved || copies + g->bytes <= s->segment_bytes) &&
	       spool_room_to_move(s, g->bytes);
}

static bool less_used(const struct segment *a, const struct segment *b)
{
	return !b || (double)a->bytes * (double)b->end < (double)b->bytes * (double)a->end;
}

/* The emptiest of those that are worth it; last, which was looked through just now and has some
 * that could not move, only when there is no other. */
static const struct segment *emptiest(const struct spool *s, uint32_t last)
{
	const struct segment *best = NULL, *again = NULL;
	uint64_t all = 0, used = 0, copies = twice(s);
	size_t n = s->table.n_segs;

	if (spool_room(s) == ROOM_ENOUGH)
		n = n > KEEP_NEWEST ? n - KEEP_NEWEST : 0;
	for (size_t i = 0; i < n; i++) {
		all += s->table.segs[i].end;
		used += s->table.segs[i].bytes;
	}
	for (size_t i = 0; i < n; i++) {
		const struct segment *g = &s->table.segs[i];
		if (!g->live || g->no == s->cur.no || g->unread ||
		    !worth_it(s, g, all > 2 * used) || !can_empty(s, g, copies))
			continue;
		if (g->no == last)
			again = g;
		else if (less_used(g, best))
			best = g;
	}
	return best ? best : again;
}

/* The segment that is being emptied, or the next one. */
static const struct segment *to_empty(struct spool *s)
{
	const struct segment *g = s->clean.seg ? table_segment(&s->table, s->clean.seg) : NULL;

	if (g && g->live && s->clean.slot < s->table.cap)
		return g;
	g = emptiest(s, s->clean.seg ? s->clean.seg : s->clean.last);
	s->clean.last = s->clean.seg;
	s->clean.seg = g ? g->no : 0;
	s->clean.again = g && g->no == s->clean.last;
	s->clean.slot = 0;
	return g;
}

int64_t *spool_stragglers(struct spool *s, size_t max, uint64_t bytes, size_t *n, uint32_t *seg,
			  bool *more)
{
	bool rest = s->clean.rest && spool_room(s) != ROOM_ENOUGH;
	const struct segment *g = rest ? NULL : to_empty(s);
	int64_t *keys = g ? malloc((max + 1) * sizeof(*keys)) : NULL;
	size_t i = s->clean.slot, end = i + LOOK_AT_ONCE;
	uint64_t taken = 0;

	s->clean.rest = false;
	*n = 0;
	*seg = keys ? g->no : 0;
	for (; keys && i < s->table.cap && i < end && *n < max && taken < bytes; i++) {
		const struct entry *e = &s->table.slots[i];
		if (e->env && (place_seg(e->env) == g->no || place_seg(e->body) == g->no)) {
			keys[(*n)++] = e->key;
			taken += (uint64_t)e->env_size + e->body_size;
		}
	}
	s->clean.slot = i;
	*more = keys && !(s->clean.again && i >= s->table.cap);
	return keys;
}

static enum queue_result move_row(struct spool *s, uint64_t seq, const struct row *row)
{
	void *ctx = talloc_new(s);
	struct record r;
	uint8_t *raw;
	int64_t place;
	enum queue_result q = QUEUE_OK;

	if (ctx && spool_record_at(&s->files, ctx, row->place, &r, &raw) == SPOOL_FOUND &&
	    r.type == REC_OUTBOX) {
		q = spool_put(s, REC_OUTBOX, raw + RECORD_HEADER, r.head_len, NULL, 0, &place);
		s->moved = spool_grow(s->moved, s->n_moved + 1, &s->moved_cap, sizeof(*s->moved));
		s->moved[s->n_moved].seq = seq;
		s->moved[s->n_moved++].place = place;
	}
	talloc_free(ctx);
	return q;
}

enum queue_result spool_move_rows(struct spool *s, uint32_t seg)
{
	enum queue_result q = QUEUE_OK;
	uint64_t seq = s->acked;
	struct row row;
	struct segment *g = table_segment(&s->table, seg);

	while (g && q == QUEUE_OK && rows_get(s, seq, &seq, &row))
		if (place_seg(row.place) == seg) {
			q = move_row(s, seq, &row);
			g->moved += row_size(&row);
		}
	return q;
}

static void put_aside(struct spool *s, int64_t place, int64_t key)
{
	struct record r;
	uint8_t *raw;
	void *ctx = talloc_new(s);
	const struct segment *g = table_segment(&s->table, place_seg(place));
	uint64_t size = RECORD_HEADER;

	if (spool_record_at(&s->files, ctx, place, &r, &raw) == SPOOL_FOUND)
		size = record_size(&r);
	else if (g && g->end > place_at(place)) /* its length is not known */
		size = g->end - place_at(place) < 65536 ? g->end - place_at(place) : 65536;
	bool kept = spool_put_aside(&s->files, place_seg(place), place_at(place), size);
	log_event(LOG_CRIT, "-", "queue", "damaged", LS("what", "a message"), LI("key", key),
		  LI("segment", place_seg(place)), LI("offset", place_at(place)), LI("bytes", size),
		  LS("kept", kept ? "in damaged/" : "not"));
	talloc_free(ctx);
}

static enum spool_found body_at(struct spool *s, void *ctx, int64_t body)
{
	struct record r;
	uint8_t *raw;
	enum spool_found f = spool_record_at(&s->files, ctx, body, &r, &raw);

	if (f == SPOOL_FOUND && r.type != REC_MESSAGE)
		f = SPOOL_DAMAGED;
	return f == SPOOL_FOUND ? spool_body_sound(&s->files, &r, body) : f;
}

#define CHECK_TRIES 3

/* Damaged is what is so each time; one time that it is not readable, or sound, is enough. */
static enum spool_found look(struct spool *s, void *ctx, const struct entry *t, struct envelope *e,
			     bool *bad_env, bool *bad_body)
{
	struct record r;
	bool found;

	for (int i = 0; i < CHECK_TRIES; i++) {
		enum spool_found env = spool_get(s, ctx, t->key, &r, e, &found) == QUEUE_OK
					   ? SPOOL_FOUND
					   : s->unread,
				 body;
		if (env == SPOOL_FAILED)
			return SPOOL_FAILED;
		body = body_at(s, ctx, t->body);
		if (body == SPOOL_FAILED) {
			s->unread = SPOOL_FAILED;
			(void)spool_not_read(s, "a body", t->body);
			return SPOOL_FAILED;
		}
		*bad_env = env != SPOOL_FOUND;
		*bad_body = body != SPOOL_FOUND;
		if (!*bad_env && !*bad_body)
			return SPOOL_FOUND;
	}
	return SPOOL_DAMAGED;
}

enum queue_result spool_check(struct spool *s, int64_t key, enum spool_found *found)
{
	void *ctx = talloc_new(s);
	struct envelope e = {.key = key};
	const struct entry *t = table_find(&s->table, key);
	bool bad = false, bad_body = false;

	*found = SPOOL_GONE;
	if (t && ctx) {
		struct entry was = *t;
		*found = look(s, ctx, &was, &e, &bad, &bad_body);
		if (*found == SPOOL_DAMAGED) {
			if (bad)
				put_aside(s, was.env, key);
			if (bad_body && (!bad || was.body != was.env))
				put_aside(s, was.body, key);
			/* Where it came first is not known then: anywhere. */
			e = bad ? (struct envelope){.key = key, .origin = 1} : e;
			spool_gone(s, &e);
		}
	}
	talloc_free(ctx);
	return QUEUE_OK;
}

/* What is damaged must not stop what comes after it. */
enum queue_result spool_get_sound(struct spool *s, void *ctx, int64_t key, struct record *r,
				  struct envelope *e, bool *found)
{
	enum spool_found f;
	enum queue_result q = spool_get(s, ctx, key, r, e, found);

	if (q != QUEUE_ERROR || s->unread != SPOOL_DAMAGED || spool_check(s, key, &f) != QUEUE_OK)
		return q;
	if (f == SPOOL_FOUND)
		return spool_get(s, ctx, key, r, e, found);
	if (f == SPOOL_FAILED)
		return QUEUE_ERROR;
	*found = false;
	return QUEUE_OK;
}
