/*
 * spool - the writing side of the queue on disk: transactions at the end of a log.
 *
 * Purpose: messages, results, holds and the event outbox change together: one write, one
 * fdatasync(2), and only then is anybody told. Trusted with: <state_dir>/msa/spool. Diagnostics:
 * enum queue_result and spool_why(). Known gaps: bodies are neither compressed nor encrypted.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/ceiling.h"
#include "msa/queue/signer.h"
#include "msa/queue/crc32c.h"
#include "msa/queue/spool_int.h"

#define NOTICED_ADDRESSES 10000	     /* that the ceiling of notices knows at once */
#define FLUSH_BYTES	  (4u << 20) /* of a transaction, before its end */

/* --- results ------------------------------------------------------------------------------- */

enum queue_result spool_errno(struct spool *s, const char *what)
{
	int e = errno;

	snprintf(s->why, sizeof(s->why), "%s: %s", what, e ? strerror(e) : "it ends too early");
	return e == ENOSPC || e == EDQUOT || e == EFBIG ? QUEUE_FULL : QUEUE_ERROR;
}

enum queue_result spool_no_memory(struct spool *s)
{
	snprintf(s->why, sizeof(s->why), "out of memory");
	return QUEUE_ERROR;
}

const char *spool_why(const struct spool *s)
{
	return s->why;
}

const char *spool_instance(const struct spool *s)
{
	return s->instance;
}

uint64_t spool_outbox_last(const struct spool *s)
{
	return s->outbox_last;
}

void spool_ahead(const struct spool *s, int64_t key)
{
	table_ahead(&s->table, key);
}

int64_t spool_place(const struct spool *s, int64_t key)
{
	const struct entry *e = table_find(&s->table, key);

	return e ? e->env : 0;
}

/* Room for n things of size in p, which has *cap; ends the process when there is none. */
void *spool_grow(void *p, size_t n, size_t *cap, size_t size)
{
	if (n <= *cap)
		return p;
	size_t want = *cap ? *cap : 16;
	while (want < n)
		want *= 2;
	void *q = realloc(p, want * size);
	if (!q)
		fatal("out of memory: the spool needs %zu bytes", want * size);
	*cap = want;
	return q;
}

/* --- what is over ---------------------------------------------------------------------------- */

static bool still_needed(const struct spool *s, const struct segment *g, const struct tomb *t)
{
	return !table_find(&s->table, t->key) && table_any_between(&s->table, t->origin, g->no);
}

/* Segments in which nothing lives. What they say of messages done is said again in this commit,
 * where an older segment still tells of those. */
static void carry_tombs(struct spool *s)
{
	for (size_t i = 0; i < s->table.n_segs; i++) {
		struct segment *g = &s->table.segs[i];
		g->carried = !g->live && g->no != s->cur.no && !g->unread;
		for (size_t k = 0; g->carried && k < g->n_tombs; k++)
			if (still_needed(s, g, &g->tombs[k])) {
				s->gone = spool_grow(s->gone, s->n_gone + 1, &s->gone_cap,
						     sizeof(*s->gone));
				s->gone[s->n_gone++] = g->tombs[k];
			}
	}
}

static bool may_go(const struct spool *s, const struct segment *g)
{
	bool needed = false;

	for (size_t k = 0; k < g->n_tombs && !g->carried && !needed; k++)
		needed = still_needed(s, g, &g->tombs[k]);
	return !needed;
}

/* Oldest first: what one tells of an older one is then needed no more. */
static void remove_dead(struct spool *s)
{
	for (size_t i = 0; i < s->table.n_segs;) {
		const struct segment *g = &s->table.segs[i];
		if (!g->live && g->no != s->cur.no && !g->unread && may_go(s, g))
			spool_unlink_segment(s, g->no);
		else
			i++;
	}
}

/* --- the transaction ----------------------------------------------------------------------- */

/* What fits no more begins a new segment. */
enum queue_result spool_begin(struct spool *s)
{
	struct segment *g = s->cur.no ? table_segment(&s->table, s->cur.no) : NULL;

	s->batch++;
	s->buf_len = 0;
	s->shadow_was = s->shadow_len;
	s->n_undo = s->n_gone = s->n_new_rows = s->n_moved = 0;
	spool_look_at_room(s);
	s->records_len = 0;
	s->records_n = 0;
	s->new_acked = s->acked;
	s->new_outbox = s->outbox_last;
	if (!g || g->end >= s->cur.limit || s->cur.broken) {
		if (!spool_new_segment(s))
			return spool_errno(s, "cannot begin a segment of the spool");
		g = table_segment(&s->table, s->cur.no);
	}
	s->buf_at = g->end;
	s->shadow_was = s->shadow_len;
	return g->end == 0 ? spool_put_start(s) : QUEUE_OK;
}

static void add_shadow(struct spool *s, const struct record *r, uint64_t at, const uint8_t *raw)
{
	size_t n = 8 + RECORD_HEADER + r->head_len;
	struct wire_out w;

	s->shadow = spool_grow(s->shadow, s->shadow_len + n, &s->shadow_cap, 1);
	wire_out_init(&w, s->shadow + s->shadow_len, 8);
	wire_u64(&w, at);
	memcpy(s->shadow + s->shadow_len + 8, raw, n - 8);
	s->shadow_len += n;
}

enum queue_result spool_put(struct spool *s, enum record_type type, const uint8_t *head,
			    size_t head_len, const uint8_t *body, size_t body_len, int64_t *place)
{
	struct record r = {.type = type,
			   .seg = s->cur.no,
			   .batch = s->batch,
			   .head_len = (uint32_t)head_len,
			   .body_len = (uint32_t)body_len,
			   .body_crc = body_len ? crc32c(0, body, body_len) : 0};
	uint64_t size = record_size(&r), body_from = size - record_align(body_len);

	if (head_len > RECORD_HEAD_MAX || body_len > UINT32_MAX) {
		errno = EFBIG;
		return spool_errno(s, "a message is too large");
	}
	enum queue_result q = s->buf_len > FLUSH_BYTES ? spool_flush(s) : QUEUE_OK;
	if (q != QUEUE_OK)
		return q;
	s->buf = spool_grow(s->buf, s->buf_len + (size_t)size, &s->buf_cap, 1);
	uint8_t *to = s->buf + s->buf_len;
	memset(to + RECORD_HEADER + head_len, 0, (size_t)body_from - RECORD_HEADER - head_len);
	if (head_len)
		memcpy(to + RECORD_HEADER, head, head_len);
	record_seal(to, &r, to + RECORD_HEADER);
	if (body_len) {
		memcpy(to + body_from, body, body_len);
		memset(to + body_from + body_len, 0, (size_t)(size - body_from) - body_len);
	}
	uint64_t at = s->buf_at + s->buf_len;
	if (place)
		*place = place_of(s->cur.no, at);
	if (type == REC_MESSAGE || type == REC_ENVELOPE)
		add_shadow(s, &r, at, to);
	s->buf_len += (size_t)size;
	return QUEUE_OK;
}

static void set_entry(struct spool *s, struct entry e)
{
	s->undo = spool_grow(s->undo, s->n_undo + 1, &s->undo_cap, sizeof(*s->undo));
	s->undo[s->n_undo++] = table_set(&s->table, e);
}

enum queue_result spool_put_envelope(struct spool *s, struct envelope *e, const uint8_t *body)
{
	size_t cap = envelope_bound(e);
	uint8_t *head = malloc(cap);
	int64_t place;

	if (!head)
		return spool_no_memory(s);
	if (body)
		e->body = 0;
	size_t n = envelope_encode(e, head, cap);
	enum queue_result r = spool_put(s, body ? REC_MESSAGE : REC_ENVELOPE, head, n, body,
					body ? e->size : 0, &place);
	free(head);
	if (r != QUEUE_OK)
		return r;
	const struct entry *was = table_find(&s->table, e->key);
	uint32_t body_size = (uint32_t)record_align(e->size);
	set_entry(s, (struct entry){.key = e->key,
				    .env = place,
				    .body = body ? place : e->body,
				    .env_size = (uint32_t)record_align(RECORD_HEADER + n),
				    .body_size = body || !was ? body_size : was->body_size});
	return QUEUE_OK;
}

void spool_gone(struct spool *s, const struct envelope *e)
{
	s->gone = spool_grow(s->gone, s->n_gone + 1, &s->gone_cap, sizeof(*s->gone));
	s->gone[s->n_gone++] = (struct tomb){e->key, e->origin};
	set_entry(s, (struct entry){.key = e->key});
}

/* With the outbox's rows and what became of messages, the commit is complete. */
static enum queue_result put_commit(struct spool *s)
{
	size_t cap = 4 + s->n_gone * 12;
	uint8_t *buf = malloc(cap);
	struct wire_out w;

	if (!buf)
		return spool_no_memory(s);
	wire_out_init(&w, buf, cap);
	wire_u32(&w, (uint32_t)s->n_gone);
	for (size_t i = 0; i < s->n_gone; i++) {
		wire_i64(&w, s->gone[i].key);
		wire_u32(&w, s->gone[i].origin);
	}
	bug_on(w.bad);
	enum queue_result r = spool_put(s, REC_COMMIT, buf, w.len, NULL, 0, NULL);
	free(buf);
	return r;
}

static enum queue_result flush_records(struct spool *s)
{
	struct wire_out w;
	int64_t place;

	if (!s->records_n)
		return QUEUE_OK;
	wire_out_init(&w, s->records, 12); /* kept free for it */
	wire_u64(&w, s->new_outbox + 1);
	wire_u32(&w, s->records_n);
	enum queue_result r = spool_put(s, REC_OUTBOX, s->records, s->records_len, NULL, 0, &place);
	if (r != QUEUE_OK)
		return r;
	struct row *rows = realloc(s->new_rows, (s->n_new_rows + 1) * sizeof(*rows));
	if (!rows)
		return spool_no_memory(s);
	s->new_rows = rows;
	rows[s->n_new_rows++] = (struct row){place, s->records_n, (uint32_t)(s->records_len - 12)};
	s->new_outbox++;
	s->records_len = 0;
	s->records_n = 0;
	return QUEUE_OK;
}

static void take_holds(struct spool *s)
{
	for (struct hold *h = s->new_holds, *next; h; h = next) {
		next = h->next;
		spool_set_hold(s, h->account, h->why);
		talloc_free(h);
	}
	s->new_holds = NULL;
	s->new_holds_end = &s->new_holds;
}

static void drop_holds(struct spool *s)
{
	for (struct hold *h = s->new_holds, *next; h; h = next) {
		next = h->next;
		talloc_free(h);
	}
	s->new_holds = NULL;
	s->new_holds_end = &s->new_holds;
}

/* It is on the disk: what is in memory follows. */
static void committed(struct spool *s)
{
	struct segment *g = table_segment(&s->table, s->cur.no);

	g->end = s->buf_at;
	for (size_t i = 0; i < s->n_gone; i++)
		if (s->gone[i].origin != g->no)
			table_tomb(g, s->gone[i].key, s->gone[i].origin);
	for (size_t i = 0; i < s->n_new_rows; i++) {
		rows_add(s, s->outbox_last + 1 + i, &s->new_rows[i]);
		table_live(&s->table, s->new_rows[i].place, 1, row_size(&s->new_rows[i]));
	}
	for (size_t i = 0; i < s->n_moved; i++)
		rows_moved(s, s->moved[i].seq, s->moved[i].place);
	s->outbox_last = s->new_outbox;
	if (s->new_acked > s->acked) {
		s->acked = s->new_acked;
		rows_forget(s, s->acked);
	}
	take_holds(s);
	s->n_undo = 0;
}

/* Nobody waits for an empty one. */
static bool is_empty(const struct spool *s)
{
	return s->buf_at == table_segment(&s->table, s->cur.no)->end && s->buf_len == 0 &&
	       s->n_gone == 0;
}

enum queue_result spool_commit(struct spool *s)
{
	enum queue_result r = flush_records(s);

	if (r != QUEUE_OK)
		return r;
	carry_tombs(s);
	if (is_empty(s))
		return QUEUE_OK;
	r = put_commit(s);
	if (r == QUEUE_OK)
		r = spool_flush(s);
	if (r == QUEUE_OK && fdatasync(s->cur.fd) != 0) {
		r = spool_errno(s, "syncing the spool");
		/* What the kernel has dropped of it is not known: never append to it again. */
		s->cur.broken = true;
	}
	if (r != QUEUE_OK)
		return r;
	committed(s);
	remove_dead(s);
	return QUEUE_OK;
}

void spool_rollback(struct spool *s)
{
	while (s->n_undo) {
		struct entry e = s->undo[--s->n_undo];
		(void)table_set(&s->table, e);
	}
	drop_holds(s);
	s->shadow_len = s->shadow_was;
	s->buf_len = 0;
	s->n_gone = s->n_new_rows = 0;
	for (size_t i = 0; i < s->table.n_segs; i++)
		s->table.segs[i].carried = false;
}

/* --- operations ------------------------------------------------------------------------------ */

enum queue_result spool_record(struct spool *s, const uint8_t *record, size_t len)
{
	bug_on(len == 0 || len > EVENT_MAX_BYTES);
	if (s->records_len + len > SPOOL_OUTBOX_ROW) {
		enum queue_result r = flush_records(s);
		if (r != QUEUE_OK)
			return r;
	}
	if (s->records_len == 0)
		s->records_len = 12; /* number and count */
	s->records = spool_grow(s->records, s->records_len + len, &s->records_cap, 1);
	memcpy(s->records + s->records_len, record, len);
	s->records_len += len;
	s->records_n++;
	return QUEUE_OK;
}

enum queue_result spool_add(struct spool *s, const struct spool_message *m)
{
	struct envelope e = {.key = m->key,
			     .origin = s->cur.no,
			     .size = (uint32_t)m->len,
			     .account = m->account,
			     .mail_from = m->mail_from,
			     .mail_from_out = m->mail_from_out,
			     .route = m->route,
			     .esmtp = m->esmtp,
			     .received_ms = m->received_ms,
			     .life_from_ms = m->received_ms,
			     .next_ms = m->received_ms,
			     .hold = m->hold,
			     .src = m->src,
			     .src_port = m->src_port,
			     .n = m->n_rcpts};

	if (table_find(&s->table, m->key)) {
		snprintf(s->why, sizeof(s->why), "there is a message %s already", m->id);
		return QUEUE_ERROR;
	}
	if (m->len > UINT32_MAX - RECORD_ALIGN) {
		errno = EFBIG;
		return spool_errno(s, "the message");
	}
	snprintf(e.id, sizeof(e.id), "%s", m->id);
	e.rcpts = calloc(m->n_rcpts, sizeof(*e.rcpts));
	if (!e.rcpts)
		return spool_no_memory(s);
	for (uint32_t i = 0; i < m->n_rcpts; i++)
		e.rcpts[i] = (struct env_rcpt){.address = m->rcpts[i].address,
					       .orcpt = m->rcpts[i].esmtp.orcpt,
					       .notify = m->rcpts[i].esmtp.notify};
	enum queue_result r = spool_put_envelope(s, &e, m->data);
	free(e.rcpts);
	return r;
}

/* A record of this transaction that is not in the file yet. */
static bool in_buffer(const struct spool *s, int64_t place)
{
	return place_seg(place) == s->cur.no && place_at(place) >= s->buf_at;
}

/* A segment that is gone while its mail is queued is damage. */
enum queue_result spool_not_read(struct spool *s, const char *what, int64_t place)
{
	int e = errno;

	if (s->unread == SPOOL_GONE)
		s->unread = SPOOL_DAMAGED;
	snprintf(s->why, sizeof(s->why), "%s cannot be read at %08x-%llx: %s", what,
		 place_seg(place), (unsigned long long)place_at(place),
		 s->unread == SPOOL_DAMAGED ? "damaged" : strerror(e));
	return QUEUE_ERROR;
}

enum queue_result spool_get(struct spool *s, void *ctx, int64_t key, struct record *r,
			    struct envelope *e, bool *found)
{
	const struct entry *t = table_find(&s->table, key);

	*found = t != NULL;
	s->unread = SPOOL_FOUND;
	if (!t)
		return QUEUE_OK;
	if (in_buffer(s, t->env)) {
		enum queue_result q =
		    spool_flush(s); /* rare: two changes of one message in a commit */
		if (q != QUEUE_OK)
			return q;
	}
	s->unread = spool_envelope_at(&s->files, ctx, t->env, r, e);
	if (s->unread == SPOOL_FOUND && e->key != key)
		s->unread = SPOOL_DAMAGED;
	if (s->unread != SPOOL_FOUND)
		return spool_not_read(s, "a message", t->env);
	e->body = t->body;
	return QUEUE_OK;
}

/* NULL: s->unread. */
static uint8_t *read_body(struct spool *s, void *ctx, int64_t body, const struct record *r,
			  size_t cap, bool whole, size_t *len)
{
	int fd = spool_files_get(&s->files, place_seg(body));

	*len = r->body_len < cap ? r->body_len : cap;
	uint8_t *data = talloc_size(ctx, *len + 1);
	if (!data || fd < 0) {
		s->unread = SPOOL_FAILED;
		return NULL;
	}
	if (!spool_pread(fd, data, *len, spool_body_at(r, body)))
		s->unread = errno ? SPOOL_FAILED : SPOOL_DAMAGED;
	else if (whole && (*len != r->body_len || crc32c(0, data, *len) != r->body_crc))
		s->unread = SPOOL_DAMAGED;
	else
		return data;
	talloc_free(data);
	return NULL;
}

uint8_t *spool_get_body(struct spool *s, void *ctx, int64_t body, size_t cap, size_t *len,
			bool whole, enum queue_result *q)
{
	struct record r;
	uint8_t *raw, *data = NULL;

	s->unread = SPOOL_FOUND;
	*q = in_buffer(s, body) ? spool_flush(s) : QUEUE_OK;
	if (*q != QUEUE_OK)
		return NULL;
	s->unread = spool_record_at(&s->files, ctx, body, &r, &raw);
	if (s->unread == SPOOL_FOUND)
		data = read_body(s, ctx, body, &r, cap, whole, len);
	if (!data)
		*q = spool_not_read(s, "a body", body);
	return data;
}

/* --- opening --------------------------------------------------------------------------------- */

static void new_instance(struct spool *s)
{
	uint8_t b[8];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		bug("getrandom failed");
	for (size_t i = 0; i < sizeof(b); i++)
		snprintf(s->instance + 2 * i, 3, "%02x", b[i]);
}

#define LOCK_TRIES 200 /* of 10 ms */

/* Two would write over each other. A child of one that was killed may have the lock until it has
 * come to its exec(). */
static bool lock_folder(int dir)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(dir, LOCK_EX | LOCK_NB) == 0)
			return true;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return false;
		(void)poll(NULL, 0, 10);
	}
	return false;
}

static bool open_dir(struct spool *s, char **err)
{
	if ((mkdir(s->path, 0700) != 0 && errno != EEXIST) ||
	    spool_files_open(&s->files, s->path) < 0) {
		if (asprintf(err, "%s: %s", s->path, strerror(errno)) < 0)
			*err = NULL;
		return false;
	}
	if (!lock_folder(s->files.dir)) {
		if (asprintf(err, "%s: another sekisho-msad has it open: stop that first",
			     s->path) < 0)
			*err = NULL;
		return false;
	}
	return true;
}

struct signer *spool_signer(struct spool *s)
{
	return s->signer;
}

void spool_set_notices(struct spool *s, uint32_t per_hour)
{
	talloc_free(s->ceiling);
	s->ceiling = ceiling_new(s, per_hour, NOTICED_ADDRESSES);
	if (!s->ceiling)
		fatal("out of memory");
}

struct spool *spool_open(const char *dir, const struct dsn_host *host, char **err)
{
	struct spool *s = talloc_zero(NULL, struct spool);

	if (!s)
		fatal("out of memory");
	s->host.hostname = s->own.hostname = talloc_strdup(s, host->hostname);
	s->host.postmaster = s->own.postmaster = talloc_strdup(s, host->postmaster);
	s->path = talloc_strdup(s, dir);
	spool_set_notices(s, 0);
	s->signer = signer_new(s, host->postmaster);
	if (!s->path || !s->own.hostname || !s->own.postmaster)
		fatal("out of memory");
	s->cur.fd = s->files.dir = -1;
	s->new_holds_end = &s->new_holds;
	s->next_seg = 1;
	pthread_mutex_init(&s->rows.lock, NULL);
	table_init(&s->table);
	bool ok = open_dir(s, err);
	if (ok) {
		spool_choose_sizes(s);
		spool_look_at_room(s);
		s->no_indices = false; /* of use for this start */
	}
	if (!ok || !spool_recover(s, err)) {
		spool_close(s);
		return NULL;
	}
	if (!s->instance[0])
		new_instance(s);
	spool_reserve_find(s);
	(void)spool_reserve_keep(s);
	if (!spool_take_over(s, err)) {
		spool_close(s);
		return NULL;
	}
	remove_dead(s);
	return s;
}

void spool_close(struct spool *s)
{
	if (!s)
		return;
	spool_close_segment(s);
	spool_files_close(&s->files);
	table_free(&s->table);
	pthread_mutex_destroy(&s->rows.lock);
	free(s->rows.row);
	free(s->new_rows);
	free(s->moved);
	free(s->records);
	free(s->shadow);
	free(s->buf);
	free(s->undo);
	free(s->gone);
	talloc_free(s);
}
