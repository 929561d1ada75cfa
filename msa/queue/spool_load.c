/*
 * spool_load - what the segments say, at a start.
 *
 * Purpose: replay the log in order: a commit counts when its last record is there (or when a later
 * commit follows, which nobody would have begun before it was on the disk). What ends the newest
 * segment without that was told to nobody, and is cut off. What is damaged in the middle is copied
 * to damaged/, reported, and the rest goes on. A finished segment has an index file, NNNNNNNN.idx,
 * with the envelopes and what else would be needed of it: bodies are not read at a start. It is a
 * shortcut: one that is missing or not sound is made again from the segment. Trusted with:
 * <state_dir>/msa/spool. Diagnostics: log lines "damaged", "cut". Known gaps: a message whose body
 * was damaged on the disk is noticed when it is read, not at the start.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/crc32c.h"
#include "msa/queue/spool_int.h"

/* --- what records say ------------------------------------------------------------------------ */

static void replay_start(struct spool *s, struct wire_in *w)
{
	char account[1024], why[1024], instance[SPOOL_INSTANCE_MAX];

	bool newer = wire_get_u32(w) > SPOOL_FORMAT;
	wire_get_str(w, instance, sizeof(instance));
	uint64_t last = wire_get_u64(w), acked = wire_get_u64(w);
	(void)wire_get_u32(w);
	(void)wire_get_u64(w);
	uint32_t n = wire_get_u32(w);
	if (w->bad || newer)
		return;
	memcpy(s->instance, instance, sizeof(instance));
	s->outbox_last = last > s->outbox_last ? last : s->outbox_last;
	s->acked = acked > s->acked ? acked : s->acked;
	rows_forget(s, s->acked);
	while (s->holds)
		spool_set_hold(s, s->holds->account, NULL);
	for (uint32_t i = 0; i < n && !w->bad; i++) {
		wire_get_str(w, account, sizeof(account));
		wire_get_str(w, why, sizeof(why));
		if (!w->bad)
			spool_set_hold(s, account, why);
	}
}

static void replay_hold(struct spool *s, struct wire_in *w)
{
	char account[1024], why[1024];

	wire_get_str(w, account, sizeof(account));
	bool held = wire_get_u8(w);
	wire_get_str(w, why, sizeof(why));
	if (!w->bad)
		spool_set_hold(s, account, held ? why : NULL);
}

static void replay_outbox(struct spool *s, struct wire_in *w, int64_t place, uint32_t len)
{
	uint64_t seq = wire_get_u64(w), place_was = 0;
	struct row r = {.n = wire_get_u32(w), .len = len, .place = place}, old;

	if (w->bad || seq <= s->acked)
		return;
	/* Moved: it was there already. */
	if (rows_get(s, seq - 1, &place_was, &old) && place_was == seq)
		table_live(&s->table, old.place, -1, row_size(&old));
	rows_add(s, seq, &r);
	table_live(&s->table, place, 1, row_size(&r));
	s->outbox_last = seq > s->outbox_last ? seq : s->outbox_last;
}

static void replay_commit(struct spool *s, struct wire_in *w, struct segment *g)
{
	uint32_t n = wire_get_u32(w);

	for (uint32_t i = 0; i < n; i++) {
		int64_t key = wire_get_i64(w);
		uint32_t origin = wire_get_u32(w);
		if (w->bad)
			return;
		(void)table_set(&s->table, (struct entry){.key = key});
		if (origin != g->no)
			table_tomb(g, key, origin);
	}
}

static void replay_envelope(struct spool *s, const struct record *r, const uint8_t *head,
			    int64_t place)
{
	struct envelope_key k;

	if (!envelope_peek(head, r->head_len, &k))
		return;
	if (r->type == REC_MESSAGE)
		k.body = place;
	uint32_t body = (uint32_t)record_align(k.size);
	(void)table_set(&s->table, (struct entry){.key = k.key,
						  .env = place,
						  .body = k.body,
						  .env_size = (uint32_t)record_align(
						      RECORD_HEADER + (uint64_t)r->head_len),
						  .body_size = body});
}

static void replay(struct spool *s, struct segment *g, const struct record *r, const uint8_t *head,
		   int64_t place)
{
	struct wire_in w;

	wire_in_init(&w, head, r->head_len);
	switch (r->type) {
	case REC_START:
		replay_start(s, &w);
		break;
	case REC_MESSAGE:
	case REC_ENVELOPE:
		replay_envelope(s, r, head, place);
		break;
	case REC_OUTBOX:
		replay_outbox(s, &w, place, r->head_len - 12);
		break;
	case REC_HOLD:
		replay_hold(s, &w);
		break;
	case REC_ACK: {
		uint64_t seq = wire_get_u64(&w);
		if (!w.bad && seq > s->acked)
			rows_forget(s, s->acked = seq);
		break;
	}
	case REC_COMMIT:
		replay_commit(s, &w, g);
		break;
	}
	if (r->batch > s->batch)
		s->batch = r->batch;
}

/* --- segments with an index file -------------------------------------------------------------- */

struct walk {
	struct spool *s;
	struct segment *g;
};

static void replay_indexed(uint64_t at, const struct record *r, const uint8_t *head, void *arg)
{
	struct walk *k = arg;
	struct record full = *r;

	if (r->type == REC_OUTBOX && r->head_len == 16) {
		struct wire_in w;
		wire_in_init(&w, head + 12, 4);
		full.head_len = 12 + wire_get_u32(&w);
		struct wire_in h;
		wire_in_init(&h, head, 12);
		replay_outbox(k->s, &h, place_of(k->g->no, at), full.head_len - 12);
		return;
	}
	replay(k->s, k->g, r, head, place_of(k->g->no, at));
}

static bool load_index(struct spool *s, struct segment *g)
{
	size_t len;
	uint8_t *buf = spool_read_index(s, g->no, &len);
	struct wire_in w;

	if (!buf)
		return false;
	wire_in_init(&w, buf + 8, 8);
	g->end = wire_get_u64(&w);
	spool_walk_index(buf, len, g->no, replay_indexed, &(struct walk){s, g});
	free(buf);
	return true;
}

/* --- segments without one
 * -------------------------------------------------------------------------- */

struct scan {
	struct spool *s;
	struct segment *g;
	const uint8_t *data;
	size_t len;
	size_t *pending; /* offsets of the commit under way */
	size_t n, cap;
	uint64_t batch;
	size_t from, end; /* of the commit under way: where it begins; behind its last record */
	bool whole;	  /* its last record is there */
	bool gap;	  /* something in it is not */
	size_t keep;	  /* behind the last commit that counts */
};

static void damaged(struct scan *k, size_t from, size_t to, const char *what)
{
	if (k->g->unread) /* not known to be */
		return;
	bool kept = spool_put_aside(&k->s->files, k->g->no, from, to - from);

	log_event(LOG_CRIT, "-", "queue", "damaged", LS("what", what), LI("segment", k->g->no),
		  LI("offset", from), LI("bytes", to - from),
		  LS("kept", kept ? "in damaged/" : strerror(errno)));
}

static void scan_one(struct scan *k, size_t at)
{
	struct record r;

	bug_on(!record_parse(k->data + at, &r));
	const uint8_t *raw = k->data + at, *head = raw + RECORD_HEADER;
	uint64_t body = at + record_align((uint64_t)RECORD_HEADER + r.head_len);
	if (r.type == REC_MESSAGE &&
	    (body + r.body_len > k->len || crc32c(0, k->data + body, r.body_len) != r.body_crc)) {
		damaged(k, at,
			at + record_size(&r) < k->len ? at + (size_t)record_size(&r) : k->len,
			"a message");
		return;
	}
	replay(k->s, k->g, &r, head, place_of(k->g->no, at));
	if (r.type == REC_MESSAGE || r.type == REC_ENVELOPE) {
		struct spool *s = k->s;
		struct wire_out w;
		size_t n = 8 + RECORD_HEADER + r.head_len;
		s->shadow = spool_grow(s->shadow, s->shadow_len + n, &s->shadow_cap, 1);
		wire_out_init(&w, s->shadow + s->shadow_len, 8);
		wire_u64(&w, at);
		memcpy(s->shadow + s->shadow_len + 8, raw, n - 8);
		s->shadow_len += n;
	}
}

static void scan_commit(struct scan *k)
{
	for (size_t i = 0; i < k->n; i++)
		scan_one(k, k->pending[i]);
	k->n = 0;
	k->keep = k->end;
	k->whole = k->gap = false;
}

static bool body_sound(const struct scan *k, size_t at)
{
	struct record r;

	bug_on(!record_parse(k->data + at, &r));
	uint64_t body = at + record_align((uint64_t)RECORD_HEADER + r.head_len);
	return r.type != REC_MESSAGE ||
	       (body + r.body_len <= k->len && crc32c(0, k->data + body, r.body_len) == r.body_crc);
}

/* The end of the newest segment: a commit that lacks something was not on the disk when the machine
 * stopped, and nobody was told. All of it is undone, so that a message and its event stay together.
 * It is kept aside all the same: it could be damage. */
static bool was_cut_short(struct scan *k)
{
	bool sound = k->whole && !k->gap;

	for (size_t i = 0; i < k->n && sound; i++)
		sound = body_sound(k, k->pending[i]);
	if (sound || !k->n)
		return false;
	if (k->whole)
		damaged(k, k->from, k->end, "the last commit");
	return true;
}

static void scan_records(struct scan *k)
{
	size_t at = 0, next = 0;
	struct record r;

	while (at = next, record_find(k->data, k->len, k->g->no, k->batch, &at, &r)) {
		bool lost = at > next;
		if (r.batch != k->batch) {
			/* One without its last record: that is what is damaged. Nobody would have
			 * begun this one before that was on the disk. */
			bool ours = lost && (k->whole || !k->n);
			if (k->n && lost && !k->whole)
				k->end = next;
			if (k->n)
				scan_commit(k);
			k->from = ours ? next : at;
			k->gap = ours;
			k->whole = false;
		} else {
			k->gap |= lost;
		}
		if (lost)
			damaged(k, next, at, "records");
		k->batch = r.batch;
		k->pending = spool_grow(k->pending, k->n + 1, &k->cap, sizeof(*k->pending));
		k->pending[k->n++] = at;
		uint64_t size = record_size(&r);
		next = size > k->len - at ? k->len : at + (size_t)size;
		k->end = next;
		k->whole |= r.type == REC_COMMIT;
	}
}

/* It may be read at the next start: it is neither cut, put aside nor removed. */
static void unread(struct segment *g, unsigned errors)
{
	g->unread = true;
	log_event(LOG_CRIT, "-", "queue", "unreadable", LI("segment", g->no), LI("pieces", errors),
		  LS("action", "mail in them waits for the next start; look at the disk"));
}

static bool all_zeros(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* known: where a later segment says that this one ends; 0: nobody does. */
static void scan_segment(struct spool *s, struct segment *g, uint64_t known, bool newest)
{
	struct scan k = {.s = s, .g = g};
	char name[SEG_NAME_MAX];

	spool_file_name(g->no, "seg", name);
	unsigned errors;
	uint8_t *data = spool_read_whole(s->files.dir, name, &k.len, &errors);
	if (errors)
		unread(g, errors);
	if (known && known < k.len)
		k.len = (size_t)known;
	k.data = data;
	s->shadow_len = 0;
	scan_records(&k);
	if (k.n && !(newest && !g->unread && was_cut_short(&k)))
		scan_commit(&k);
	if (newest && !g->unread && k.keep < k.len) {
		if (!all_zeros(data + k.keep, k.len - k.keep)) /* written ahead */
			log_event(LOG_NOTICE, "-", "queue", "cut", LI("segment", g->no),
				  LI("offset", k.keep), LI("bytes", k.len - k.keep),
				  LI("records", k.n));
		int fd = openat(s->files.dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || ftruncate(fd, (off_t)k.keep) != 0 || fdatasync(fd) != 0)
			log_event(LOG_ERR, "-", "queue", "segment-not-cut", LI("segment", g->no),
				  LS("why", strerror(errno)));
		if (fd >= 0)
			close(fd);
	}
	g->end = newest && !g->unread ? k.keep : k.len;
	free(data);
	free(k.pending);
	if (g->end && !g->unread && spool_room(s) == ROOM_ENOUGH)
		spool_write_index(s, g);
	s->shadow_len = 0;
}

/* --- all of it -----------------------------------------------------------------------------------
 */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Numbers of the segments there are, in order; malloc'd. */
static uint32_t *list_segments(struct spool *s, size_t *n)
{
	DIR *d = opendir(s->path);
	uint32_t *v = NULL;
	size_t cap = 0;
	const struct dirent *e;

	*n = 0;
	while (d && (e = readdir(d))) {
		char *end;
		unsigned long no = strtoul(e->d_name, &end, 16);
		if (end != e->d_name + 8 || strcmp(end, ".seg") != 0 || no == 0 ||
		    no > SEG_NUMBER_MAX)
			continue;
		v = spool_grow(v, *n + 1, &cap, sizeof(*v));
		v[(*n)++] = (uint32_t)no;
	}
	if (d)
		closedir(d);
	if (*n)
		qsort(v, *n, sizeof(*v), by_number);
	return v;
}

/* Where segment no ends, as the next one says; 0: it does not. */
static uint64_t known_end(struct spool *s, uint32_t no, uint32_t next)
{
	void *ctx = talloc_new(s);
	struct record r;
	uint8_t *raw;
	uint64_t end = 0;
	char instance[SPOOL_INSTANCE_MAX];

	if (spool_record_at(&s->files, ctx, place_of(next, 0), &r, &raw) == SPOOL_FOUND &&
	    r.type == REC_START) {
		struct wire_in w;
		wire_in_init(&w, raw + RECORD_HEADER, r.head_len);
		(void)wire_get_u32(&w);
		wire_get_str(&w, instance, sizeof(instance));
		(void)wire_get_u64(&w);
		(void)wire_get_u64(&w);
		uint32_t which = wire_get_u32(&w);
		uint64_t at = wire_get_u64(&w);
		end = !w.bad && which == no ? at : 0;
	}
	talloc_free(ctx);
	return end;
}

/* Told by its first record, before anything is touched. */
static bool is_newer(struct spool *s, uint32_t no)
{
	void *ctx = talloc_new(s);
	struct record r;
	uint8_t *raw;
	struct wire_in w;
	bool newer = false;

	if (spool_record_at(&s->files, ctx, place_of(no, 0), &r, &raw) == SPOOL_FOUND &&
	    r.type == REC_START) {
		wire_in_init(&w, raw + RECORD_HEADER, r.head_len);
		newer = wire_get_u32(&w) > SPOOL_FORMAT && !w.bad;
	}
	talloc_free(ctx);
	return newer;
}

/* A message is nothing without its body, and what no segment holds cannot be read. */
static void drop_lost(struct spool *s)
{
	for (size_t i = 0; i < s->table.cap; i++) {
		struct entry e = s->table.slots[i];
		if (!e.env || (table_segment(&s->table, place_seg(e.env)) &&
			       table_segment(&s->table, place_seg(e.body))))
			continue;
		log_event(LOG_CRIT, "-", "queue", "lost", LI("key", e.key),
			  LI("segment", place_seg(e.body)));
		(void)table_set(&s->table, (struct entry){.key = e.key});
		i--; /* another may have come into its slot */
	}
}

bool spool_recover(struct spool *s, char **err)
{
	size_t n;
	uint32_t *no = list_segments(s, &n);

	for (size_t i = 0; i < n; i++)
		table_add_segment(&s->table, no[i]);
	if (n && is_newer(s, no[n - 1])) {
		if (asprintf(err,
			     "%s was made by a newer version of sekisho-msad: install that version "
			     "again",
			     s->path) < 0)
			*err = NULL;
		free(no);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		struct segment *g = table_segment(&s->table, no[i]);
		bool newest = i + 1 == n;
		if (!load_index(s, g))
			scan_segment(s, g, newest ? 0 : known_end(s, no[i], no[i + 1]), newest);
	}
	if (n)
		s->next_seg = no[n - 1] + 1;
	drop_lost(s);
	free(no);
	return true;
}

/* --- handing it over
 * --------------------------------------------------------------------------------- */

struct give {
	struct spool *s;
	uint32_t seg;
	void (*message)(const struct spool_row *r, void *arg);
	void *arg;
	size_t bad;
};

char *spool_envelope_dests(const struct envelope *e)
{
	const char **v = malloc((e->n + 1) * sizeof(*v));
	size_t n = 0;

	if (!v)
		fatal("out of memory");
	for (uint32_t i = 0; i < e->n; i++)
		if (e->rcpts[i].state < R_DELIVERED)
			v[n++] = e->rcpts[i].address;
	char *text = spool_dests(v, n);
	free(v);
	return text;
}

static void give_one(struct give *g, const struct envelope *e, int64_t place)
{
	char *dests = spool_envelope_dests(e);
	struct spool_row r = {.key = e->key,
			      .place = place,
			      .received_ms = e->received_ms,
			      .life_from_ms = e->life_from_ms,
			      .next_ms = e->next_ms,
			      .account = e->account,
			      .dests = dests,
			      .size = e->size,
			      .attempts = e->attempts,
			      .hold = e->hold,
			      .routed = e->route[0] != '\0'};

	memcpy(r.id, e->id, sizeof(r.id));
	if (queue_id_valid(r.id))
		g->message(&r, g->arg);
	else
		g->bad++;
	free(dests);
}

static void give_indexed(uint64_t at, const struct record *r, const uint8_t *head, void *arg)
{
	struct give *g = arg;
	struct envelope_key k;
	struct envelope e;
	int64_t place = place_of(g->seg, at);

	if ((r->type != REC_MESSAGE && r->type != REC_ENVELOPE) ||
	    !envelope_peek(head, r->head_len, &k))
		return;
	const struct entry *t = table_find(&g->s->table, k.key);
	if (!t || t->env != place)
		return;
	void *ctx = talloc_new(g->s);
	if (envelope_decode(ctx, head, r->head_len, &e))
		give_one(g, &e, place);
	else
		g->bad++;
	talloc_free(ctx);
}

/* Without an index file (the disk is full, say) each is read where it is. */
static void give_read(struct give *g)
{
	for (size_t i = 0; i < g->s->table.cap; i++) {
		const struct entry *t = &g->s->table.slots[i];
		struct record r;
		struct envelope e;
		if (!t->env || place_seg(t->env) != g->seg)
			continue;
		void *ctx = talloc_new(g->s);
		if (spool_envelope_at(&g->s->files, ctx, t->env, &r, &e) == SPOOL_FOUND)
			give_one(g, &e, t->env);
		else
			g->bad++;
		talloc_free(ctx);
	}
}

bool spool_load(struct spool *s, void (*message)(const struct spool_row *r, void *arg),
		void (*hold)(const char *account, const char *why, void *arg), void *arg,
		char **err)
{
	struct give g = {.s = s, .message = message, .arg = arg};

	(void)err;
	for (size_t i = 0; i < s->table.n_segs; i++) {
		size_t len;
		g.seg = s->table.segs[i].no;
		uint8_t *buf = s->table.segs[i].live ? spool_read_index(s, g.seg, &len) : NULL;
		if (buf && g.seg != s->cur.no)
			spool_walk_index(buf, len, g.seg, give_indexed, &g);
		else if (s->table.segs[i].live)
			give_read(&g);
		free(buf);
	}
	for (const struct hold *h = s->holds; h; h = h->next)
		hold(h->account, h->why, arg);
	if (g.bad)
		log_event(LOG_CRIT, "-", "queue", "damaged", LS("what", "envelopes"),
			  LI("messages", g.bad));
	return true;
}
