/*
 * queue_figures - what operators ask of the queue as a whole: grid, counts, what is damaged.
 *
 * Purpose: sums, in requests of bounded length. Trusted with: nothing of its own. Diagnostics: the
 * error text. Known gaps: none.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/queue/queue_ask.h"

#define DAMAGED_MAX 1000 /* pieces of one answer */

/* --- figures --------------------------------------------------------------------------------- */

#define BUCKETS 6
static const struct {
	const char *name;
	int64_t below_ms;
} buckets[BUCKETS] = {{"5m", 300000},	{"20m", 1200000}, {"1h", 3600000},
		      {"6h", 21600000}, {"1d", 86400000}, {"older", INT64_MAX}};

struct grid {
	const struct ask *a;
	struct grid_row {
		char *name;
		int64_t total, counts[BUCKETS];
	} * rows;
	size_t n;
	json_t *by_name; /* name -> number of its row */
};

static struct grid_row *grid_row(struct grid *g, const char *name, size_t len)
{
	const json_t *at = json_object_getn(g->by_name, name, len);

	if (at)
		return &g->rows[json_integer_value(at)];
	g->rows = talloc_realloc(NULL, g->rows, struct grid_row, g->n + 1);
	if (!g->rows)
		fatal("out of memory");
	g->rows[g->n] = (struct grid_row){.name = talloc_strndup(g->rows, name, len)};
	json_object_set_new(g->by_name, g->rows[g->n].name, json_integer((json_int_t)g->n));
	return &g->rows[g->n++];
}

static void grid_count(struct grid_row *row, size_t bucket, int64_t n)
{
	row->counts[bucket] += n;
	row->total += n;
}

static void grid_add(struct grid *g, const struct msg *m)
{
	size_t b = 0;

	while (g->a->now - m->received_ms >= buckets[b].below_ms)
		b++;
	if (g->a->by_account) {
		grid_count(grid_row(g, m->account->name, strlen(m->account->name)), b, 1);
		return;
	}
	for (const char *p = m->dest->text; *p;) {
		size_t k = strcspn(p, " ");
		char *end;
		struct grid_row *row = grid_row(g, p, k);
		grid_count(row, b, strtol(p + k, &end, 10));
		p = *end ? end + 1 : end;
	}
}

static int by_total(const void *x, const void *y)
{
	const struct grid_row *a = x, *b = y;

	return a->total != b->total ? (a->total > b->total ? -1 : 1) : strcmp(a->name, b->name);
}

static json_t *grid_json(const struct grid *g)
{
	json_t *o = json_object(), *names = json_array(), *rows = json_array();

	for (size_t b = 0; b < BUCKETS; b++)
		json_array_append_new(names, queue_ask_text(buckets[b].name));
	for (size_t i = 0; i < g->n; i++) {
		json_t *row = json_object(), *counts = json_array();
		for (size_t b = 0; b < BUCKETS; b++)
			json_array_append_new(counts, json_integer(g->rows[i].counts[b]));
		json_object_set_new(row, g->a->by_account ? "account" : "domain",
				    queue_ask_text(g->rows[i].name));
		json_object_set_new(row, "total", json_integer(g->rows[i].total));
		json_object_set_new(row, "counts", counts);
		json_array_append_new(rows, row);
	}
	json_object_set_new(o, "buckets", names);
	json_object_set_new(o, "rows", rows);
	return o;
}

/* Recipients still waiting by domain and age, or messages by account and age, the fullest row
 * first: of as many messages as one request may look at. */
json_t *queue_ask_grid(struct ask *a)
{
	if (!queue_ask_args(a, ASK_GRID))
		return NULL;
	queue_ask_find(a, SIZE_MAX);
	struct grid g = {.a = a, .by_name = json_object()};
	for (size_t i = 0; i < a->n; i++)
		grid_add(&g, a->found[i]);
	if (g.n)
		qsort(g.rows, g.n, sizeof(*g.rows), by_total);
	json_t *o = grid_json(&g);
	queue_ask_next(a, o);
	json_decref(g.by_name);
	talloc_free(g.rows);
	return o;
}

json_t *queue_ask_stats(struct ask *a)
{
	static const char *const rooms[] = {"enough", "short", "tight"};
	struct index_counts c = index_counts(a->q->ix);
	size_t damaged = spool_read_damaged(a->q->reader, a, 0, NULL, NULL);
	const struct msg *oldest = index_first(a->q->ix);
	json_t *o = json_object();

	if (json_object_size(a->args))
		a->err = "queue.stats takes no arguments";
	json_object_set_new(o, "queued", json_integer((json_int_t)c.queued));
	json_object_set_new(o, "held", json_integer((json_int_t)c.held));
	json_object_set_new(o, "deferred", json_integer((json_int_t)c.deferred));
	json_object_set_new(o, "active", json_integer((json_int_t)c.active));
	json_object_set_new(o, "bytes", json_integer((json_int_t)c.bytes));
	json_object_set_new(o, "unreadable", json_integer((json_int_t)c.unread));
	json_object_set_new(o, "damaged", json_integer((json_int_t)damaged));
	json_object_set_new(o, "disk", queue_ask_text(rooms[spool_room(a->q->spool)]));
	if (damaged)
		json_object_set_new(
		    o, "damaged_where",
		    json_sprintf("%s/damaged: see sekishoctl queue damaged", a->q->spool_path));
	json_object_set_new(o, "oldest_ms", json_integer(oldest ? oldest->received_ms : 0));
	return o;
}

static void add_damaged(const struct spool_damaged *d, void *arg)
{
	json_t *o = json_object();

	json_object_set_new(o, "file", queue_ask_text(d->file));
	json_object_set_new(o, "bytes", json_integer((json_int_t)d->bytes));
	json_object_set_new(o, "put_aside_ms", json_integer(d->since_ms));
	json_object_set_new(o, "id", queue_ask_text(d->id));
	json_object_set_new(o, "account", queue_ask_text(d->account));
	json_object_set_new(o, "mail_from", queue_ask_text(d->mail_from));
	json_object_set_new(o, "rcpts", json_integer(d->rcpts));
	json_array_append_new(arg, o);
}

/* What was put aside, the message named when its envelope is whole. */
json_t *queue_ask_damaged(struct ask *a)
{
	json_t *o = json_object(), *rows = json_array();

	if (json_object_size(a->args))
		a->err = "queue.damaged takes no arguments";
	size_t n = spool_read_damaged(a->q->reader, a, DAMAGED_MAX, add_damaged, rows);
	json_object_set_new(o, "dir", json_sprintf("%s/damaged", a->q->spool_path));
	json_object_set_new(o, "total", json_integer((json_int_t)n));
	json_object_set_new(o, "pieces", rows);
	return o;
}
