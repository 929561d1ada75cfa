/*
 * spool_index - index files: what of a finished segment would be needed at a start.
 *
 * Purpose: NNNNNNNN.idx has the envelopes that still matter, the outbox's rows, what is done and
 * what holds, so that bodies are not read at a start. It is a shortcut: one that is missing or not
 * sound is made again from the segment. Trusted with: <state_dir>/msa/spool. Diagnostics: none.
 * Known gaps: none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/proc.h"

#include "msa/queue/crc32c.h"
#include "msa/queue/spool_int.h"

#define INDEX_MAGIC  0x53656b69u /* "Seki" */
#define INDEX_HEADER 24
#define READ_BYTES   (64u << 10)

struct out {
	uint8_t *buf;
	size_t len, cap;
};

static void out_record(struct out *o, uint64_t at, const struct record *r, const uint8_t *head)
{
	struct wire_out w;
	size_t n = 8 + RECORD_HEADER + r->head_len;

	o->buf = spool_grow(o->buf, o->len + n, &o->cap, 1);
	wire_out_init(&w, o->buf + o->len, 8);
	wire_u64(&w, at);
	memcpy(o->buf + o->len + 8 + RECORD_HEADER, head, r->head_len);
	record_seal(o->buf + o->len + 8, r, head);
	o->len += n;
}

/* Envelopes that are still of use. */
static void out_envelopes(struct spool *s, const struct segment *g, struct out *o)
{
	for (size_t i = 0; i < s->shadow_len;) {
		struct wire_in w;
		struct record r;
		struct envelope_key k;
		wire_in_init(&w, s->shadow + i, 8);
		uint64_t at = wire_get_u64(&w);
		const uint8_t *raw = s->shadow + i + 8;
		bug_on(!record_parse(raw, &r));
		const struct entry *e = envelope_peek(raw + RECORD_HEADER, r.head_len, &k)
					    ? table_find(&s->table, k.key)
					    : NULL;
		int64_t place = place_of(g->no, at);
		if (e && (e->env == place || e->body == place))
			out_record(o, at, &r, raw + RECORD_HEADER);
		i += 8 + RECORD_HEADER + r.head_len;
	}
}

static void out_rows(struct spool *s, const struct segment *g, struct out *o)
{
	uint64_t seq = s->acked;
	struct row row;

	while (rows_get(s, seq, &seq, &row)) {
		struct record r = {
		    .type = REC_OUTBOX, .seg = g->no, .batch = s->batch, .head_len = 16};
		uint8_t head[16];
		struct wire_out w;
		if (place_seg(row.place) != g->no)
			continue;
		wire_out_init(&w, head, sizeof(head));
		wire_u64(&w, seq);
		wire_u32(&w, row.n);
		wire_u32(&w, row.len);
		out_record(o, place_at(row.place), &r, head);
	}
}

static void out_tombs(struct spool *s, const struct segment *g, struct out *o)
{
	struct record r = {.type = REC_COMMIT,
			   .seg = g->no,
			   .batch = s->batch,
			   .head_len = (uint32_t)(4 + 12 * g->n_tombs)};
	uint8_t *head = malloc(r.head_len);
	struct wire_out w;

	if (!head)
		fatal("out of memory");
	wire_out_init(&w, head, r.head_len);
	wire_u32(&w, (uint32_t)g->n_tombs);
	for (size_t i = 0; i < g->n_tombs; i++) {
		wire_i64(&w, g->tombs[i].key);
		wire_u32(&w, g->tombs[i].origin);
	}
	out_record(o, 0, &r, head);
	free(head);
}

/* What held at its end. */
static void out_state(struct spool *s, const struct segment *g, struct out *o)
{
	size_t n;
	uint8_t *head = spool_state(s, NULL, &n);
	struct record r = {
	    .type = REC_START, .seg = g->no, .batch = s->batch, .head_len = (uint32_t)n};

	if (!head)
		fatal("out of memory");
	out_record(o, 0, &r, head);
	free(head);
}

static bool write_file(struct spool *s, uint32_t no, const struct out *o)
{
	char tmp[SEG_NAME_MAX], name[SEG_NAME_MAX];

	spool_file_name(no, "tmp", tmp);
	spool_file_name(no, "idx", name);
	int fd =
	    openat(s->files.dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	bool ok = write(fd, o->buf, o->len) == (ssize_t)o->len;
	close(fd);
	ok = ok && renameat(s->files.dir, tmp, s->files.dir, name) == 0;
	if (!ok)
		(void)unlinkat(s->files.dir, tmp, 0);
	return ok;
}

/* Not synced: after a power cut it may be anything, and its CRC says so. */
void spool_write_index(struct spool *s, const struct segment *g)
{
	struct out o = {.len = INDEX_HEADER};
	struct wire_out w;

	o.buf = spool_grow(NULL, INDEX_HEADER, &o.cap, 1);
	out_state(s, g, &o);
	out_envelopes(s, g, &o);
	out_rows(s, g, &o);
	out_tombs(s, g, &o);
	wire_out_init(&w, o.buf + 8, INDEX_HEADER - 8);
	wire_u64(&w, g->end);
	wire_u64(&w, 0);
	uint32_t crc = crc32c(0, o.buf + 8, o.len - 8);
	wire_out_init(&w, o.buf, 8);
	wire_u32(&w, INDEX_MAGIC);
	wire_u32(&w, crc);
	(void)write_file(s, g->no, &o);
	free(o.buf);
}

uint8_t *spool_read_whole(int dir, const char *name, size_t *len, unsigned *errors)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t *buf = NULL;

	*len = 0;
	*errors = 0;
	if (fd >= 0 && fstat(fd, &st) == 0 && (buf = malloc((size_t)st.st_size + 1))) {
		*len = (size_t)st.st_size;
		for (size_t i = 0; i < *len; i += READ_BYTES) {
			size_t n = *len - i < READ_BYTES ? *len - i : READ_BYTES;
			if (spool_pread_often(fd, buf + i, n, i))
				continue;
			memset(buf + i, 0, n);
			*errors += errno != 0;
		}
	} else {
		*errors = fd < 0 ? errno != ENOENT : 1;
	}
	if (fd >= 0)
		close(fd);
	return buf;
}

uint8_t *spool_read_index(struct spool *s, uint32_t no, size_t *len)
{
	char name[SEG_NAME_MAX];

	unsigned errors;

	spool_file_name(no, "idx", name);
	uint8_t *buf = spool_read_whole(s->files.dir, name, len, &errors);
	struct wire_in w;
	wire_in_init(&w, buf, buf ? *len : 0);
	if (wire_get_u32(&w) == INDEX_MAGIC && *len >= INDEX_HEADER &&
	    wire_get_u32(&w) == crc32c(0, buf + 8, *len - 8))
		return buf;
	free(buf);
	return NULL;
}

void spool_walk_index(const uint8_t *buf, size_t len, uint32_t no,
		      void (*fn)(uint64_t at, const struct record *r, const uint8_t *head,
				 void *arg),
		      void *arg)
{
	for (size_t i = INDEX_HEADER; len - i >= 8 + RECORD_HEADER;) {
		struct wire_in w;
		struct record r;
		wire_in_init(&w, buf + i, 8);
		uint64_t at = wire_get_u64(&w);
		const uint8_t *raw = buf + i + 8;
		if (!record_parse(raw, &r) || r.seg != no ||
		    r.head_len > len - i - 8 - RECORD_HEADER)
			return;
		fn(at, &r, raw + RECORD_HEADER, arg);
		i += 8 + RECORD_HEADER + r.head_len;
	}
}
