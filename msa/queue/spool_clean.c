/*
 * spool_clean - segments that are nearly empty, and messages that are damaged.
 *
 * Purpose: a segment goes when nothing in it is needed; a few that stay long (held, deferred) are
 * moved on, so that they do not keep the room of those that have left. Trusted with: the writing
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

#define KEEP_NEWEST 2 /* segments that are left alone: most of their mail is about to leave */
#define KEEP_RATIO  4 /* one that is fuller than a quarter is left alone, too */

/* The emptiest of those that are worth it. */
static const struct segment *nearly_empty(const struct spool *s)
{
	const struct segment *best = NULL;

	for (size_t i = 0; i + KEEP_NEWEST < s->table.n_segs; i++) {
		const struct segment *g = &s->table.segs[i];
		/* A message counts twice, for its envelope and its body. */
		if (g->live && g->no != s->cur.no &&
		    (uint64_t)g->live * KEEP_RATIO <= 2 * (uint64_t)g->messages + KEEP_RATIO &&
		    (!best || g->live < best->live))
			best = g;
	}
	return best;
}

int64_t *spool_stragglers(struct spool *s, size_t max, size_t *n, uint32_t *seg)
{
	const struct segment *g = nearly_empty(s);
	int64_t *keys = g ? malloc((max + 1) * sizeof(*keys)) : NULL;

	*n = 0;
	for (size_t i = 0; keys && i < s->table.cap && *n < max; i++) {
		const struct entry *e = &s->table.slots[i];
		if (e->env && (place_seg(e->env) == g->no || place_seg(e->body) == g->no))
			keys[(*n)++] = e->key;
	}
	*seg = g ? g->no : 0;
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

	while (q == QUEUE_OK && rows_get(s, seq, &seq, &row))
		if (place_seg(row.place) == seg)
			q = move_row(s, seq, &row);
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

static bool body_damaged(struct spool *s, void *ctx, int64_t body)
{
	struct record r;
	uint8_t *raw;

	return spool_record_at(&s->files, ctx, body, &r, &raw) != SPOOL_FOUND ||
	       r.type != REC_MESSAGE || spool_body_sound(&s->files, &r, body) != SPOOL_FOUND;
}

/* What cannot be read must not stop what comes after it. */
enum queue_result spool_get_sound(struct spool *s, void *ctx, int64_t key, struct record *r,
				  struct envelope *e, bool *found)
{
	enum queue_result q = spool_get(s, ctx, key, r, e, found);
	bool damaged;

	if (q != QUEUE_ERROR || spool_check(s, key, &damaged) != QUEUE_OK || !damaged)
		return q;
	*found = false;
	return QUEUE_OK;
}

enum queue_result spool_check(struct spool *s, int64_t key, bool *damaged)
{
	void *ctx = talloc_new(s);
	struct record r;
	struct envelope e = {.key = key, .origin = 1};
	bool found;
	const struct entry *t = table_find(&s->table, key);

	*damaged = !t;
	if (!t || !ctx) {
		talloc_free(ctx);
		return QUEUE_OK;
	}
	struct entry was = *t;
	/* Out of descriptors, say: that is no damage. */
	if ((spool_files_get(&s->files, place_seg(was.env)) < 0 && errno != ENOENT) ||
	    (spool_files_get(&s->files, place_seg(was.body)) < 0 && errno != ENOENT)) {
		talloc_free(ctx);
		return spool_errno(s, "a segment of the spool");
	}
	bool bad = spool_get(s, ctx, key, &r, &e, &found) != QUEUE_OK;
	bool bad_body = body_damaged(s, ctx, was.body);
	if (bad)
		put_aside(s, was.env, key);
	if (bad_body && (!bad || was.body != was.env))
		put_aside(s, was.body, key);
	if (bad || bad_body) {
		/* Where it came first is not known then: anywhere. */
		e = bad ? (struct envelope){.key = key, .origin = 1} : e;
		spool_gone(s, &e);
		*damaged = true;
	}
	talloc_free(ctx);
	return QUEUE_OK;
}
