/*
 * spool_rows - rows of the outbox that accounting has not acknowledged: where they are.
 *
 * Purpose: the writer's thread adds, moves and forgets them, the main thread reads them; one lock.
 * Trusted with: nothing. Diagnostics: none. Known gaps: none.
 */
#include <string.h>

#include "msa/queue/spool_int.h"

/* Slots for every number from first to seq; what was never told of stays empty. With the lock. */
static void rows_room(struct rows *t, uint64_t seq)
{
	size_t had = t->cap, before = seq < t->first ? (size_t)(t->first - seq) : 0;
	size_t n = before ? t->n + before : (size_t)(seq - t->first) + 1;

	if (t->start && t->start + n > t->cap) {
		memmove(t->row, t->row + t->start, t->n * sizeof(*t->row));
		memset(t->row + t->n, 0, t->start * sizeof(*t->row));
		t->start = 0;
	}
	t->row = spool_grow(t->row, t->start + n, &t->cap, sizeof(*t->row));
	memset(t->row + had, 0, (t->cap - had) * sizeof(*t->row));
	if (before) { /* moved to a later segment, while newer rows are where they were */
		memmove(t->row + t->start + before, t->row + t->start, t->n * sizeof(*t->row));
		memset(t->row + t->start, 0, before * sizeof(*t->row));
		t->first = seq;
	}
	t->n = n;
}

void rows_add(struct spool *s, uint64_t seq, const struct row *r)
{
	struct rows *t = &s->rows;

	pthread_mutex_lock(&t->lock);
	if (t->n == 0) {
		t->first = seq;
		t->start = 0;
	}
	if (seq < t->first || seq >= t->first + t->n)
		rows_room(t, seq);
	struct row *to = &t->row[t->start + (size_t)(seq - t->first)];
	t->bytes = t->bytes + r->len - to->len; /* it may be told of again at a start */
	*to = *r;
	pthread_mutex_unlock(&t->lock);
}

void rows_forget(struct spool *s, uint64_t upto)
{
	struct rows *t = &s->rows;

	pthread_mutex_lock(&t->lock);
	while (t->n && t->first <= upto) {
		struct row *r = &t->row[t->start];
		if (r->place)
			table_live(&s->table, r->place, -1, row_size(r));
		t->bytes -= r->len;
		*r = (struct row){.place = 0};
		t->start++;
		t->first++;
		t->n--;
	}
	pthread_mutex_unlock(&t->lock);
}

bool rows_get(struct spool *s, uint64_t after, uint64_t *seq, struct row *r)
{
	struct rows *t = &s->rows;
	bool found = false;

	pthread_mutex_lock(&t->lock);
	for (uint64_t i = after < t->first ? t->first : after + 1; i < t->first + t->n && !found;
	     i++) {
		*r = t->row[t->start + (size_t)(i - t->first)];
		*seq = i;
		found = r->place != 0;
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

void rows_moved(struct spool *s, uint64_t seq, int64_t place)
{
	struct rows *t = &s->rows;

	pthread_mutex_lock(&t->lock);
	if (seq >= t->first && seq < t->first + t->n) {
		struct row *r = &t->row[t->start + (size_t)(seq - t->first)];
		table_live(&s->table, r->place, -1, row_size(r));
		table_live(&s->table, place, 1, row_size(r));
		r->place = place;
	}
	pthread_mutex_unlock(&t->lock);
}

uint64_t spool_outbox_bytes(struct spool *s)
{
	pthread_mutex_lock(&s->rows.lock);
	uint64_t n = s->rows.bytes;
	pthread_mutex_unlock(&s->rows.lock);
	return n;
}
