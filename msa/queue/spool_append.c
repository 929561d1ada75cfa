/*
 * spool_append - segment files as they are written: begun, appended to, ended, removed.
 *
 * Purpose: everything that makes the spool's files grow or go. Trusted with: the writing handle.
 * Diagnostics: enum queue_result, errno. Known gaps: none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/spool_int.h"

#define AHEAD_BYTES  (256u << 10)
#define AHEAD_COMMIT (64u << 10)

/* --- segments ------------------------------------------------------------------------------ */

/* What holds now, malloc'd: with it, what is older need not be kept. before: the segment that ended
 * before this one. */
uint8_t *spool_state(struct spool *s, const struct segment *before, size_t *len)
{
	uint32_t n = 0;
	size_t cap = 100;

	for (const struct hold *h = s->holds; h; h = h->next, n++)
		cap += 10 + strlen(h->account) + strlen(h->why);
	uint8_t *buf = malloc(cap);
	struct wire_out w;
	if (!buf)
		return NULL;
	wire_out_init(&w, buf, cap);
	wire_u32(&w, SPOOL_FORMAT);
	wire_str(&w, s->instance);
	wire_u64(&w, s->outbox_last);
	wire_u64(&w, s->acked);
	wire_u32(&w, before ? before->no : 0);
	wire_u64(&w, before ? before->end : 0);
	wire_u32(&w, n);
	for (const struct hold *h = s->holds; h; h = h->next) {
		wire_str(&w, h->account);
		wire_str(&w, h->why);
	}
	bug_on(w.bad);
	*len = w.len;
	return buf;
}

enum queue_result spool_put_start(struct spool *s)
{
	size_t n;
	uint8_t *buf =
	    spool_state(s, s->table.n_segs > 1 ? &s->table.segs[s->table.n_segs - 2] : NULL, &n);
	enum queue_result r =
	    buf ? spool_put(s, REC_START, buf, n, NULL, 0, NULL) : spool_no_memory(s);

	free(buf);
	return r;
}

void spool_close_segment(struct spool *s)
{
	const struct segment *g = s->cur.no ? table_segment(&s->table, s->cur.no) : NULL;

	/* What a failed commit left, and room that was the reserve's. */
	if (g && ftruncate(s->cur.fd, (off_t)g->end) != 0)
		log_event(LOG_ERR, "-", "queue", "segment-not-cut", LI("segment", g->no),
			  LS("why", strerror(errno)));
	if (s->cur.fd >= 0)
		close(s->cur.fd);
	if (g && g->end && spool_room(s) == ROOM_ENOUGH)
		spool_write_index(s, g);
	s->cur.no = 0;
	s->cur.fd = -1;
	s->cur.broken = false;
	s->cur.limit = s->segment_bytes;
	s->cur.ahead = 0;
	s->cur.piece = false;
	s->shadow_len = 0;
}

bool spool_new_segment(struct spool *s)
{
	char name[SEG_NAME_MAX];
	uint32_t no = s->next_seg++; /* one that was begun in vain is not tried again */

	bug_on(no > SEG_NUMBER_MAX);
	spool_file_name(no, "seg", name);
	int fd =
	    openat(s->files.dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	if (fsync(s->files.dir) != 0) {
		int e = errno;
		close(fd);
		unlinkat(s->files.dir, name, 0);
		errno = e;
		return false;
	}
	spool_close_segment(s);
	s->cur.no = no;
	s->cur.fd = fd;
	table_add_segment(&s->table, no);
	return true;
}

void spool_unlink_segment(struct spool *s, uint32_t no)
{
	char name[SEG_NAME_MAX];

	s->clean.rest |= table_segment(&s->table, no) && table_segment(&s->table, no)->moved;
	spool_files_forget(&s->files, no);
	table_drop_segment(&s->table, no);
	spool_file_name(no, "idx", name);
	(void)unlinkat(s->files.dir, name, 0);
	spool_file_name(no, "seg", name);
	if (unlinkat(s->files.dir, name, 0) != 0)
		log_event(LOG_ERR, "-", "queue", "segment-not-removed", LS("file", name),
			  LS("why", strerror(errno)));
}

/*
 * A sync of blocks that were written before is one write and one flush: nothing of the file but its
 * data has changed. So zeros go ahead of small commits, and are synced with one of them. A large
 * one gains less than that costs. What cannot be written ahead is written when it is needed.
 */
static void write_ahead(struct spool *s, size_t commit)
{
	static const uint8_t zeros[AHEAD_BYTES];

	if (s->buf_at <= s->cur.ahead || commit > AHEAD_COMMIT || spool_room(s) != ROOM_ENOUGH)
		return;
	ssize_t k = pwrite(s->cur.fd, zeros, sizeof(zeros), (off_t)s->buf_at);
	s->cur.ahead = s->buf_at + (k > 0 ? (uint64_t)k : 0);
}

enum queue_result spool_flush(struct spool *s)
{
	size_t commit = s->buf_len;

	for (size_t done = 0; done < s->buf_len;) {
		ssize_t k =
		    pwrite(s->cur.fd, s->buf + done, s->buf_len - done, (off_t)(s->buf_at + done));
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return spool_errno(s, "writing the spool");
		done += (size_t)k;
	}
	s->buf_at += s->buf_len;
	s->buf_len = 0;
	write_ahead(s, commit);
	return QUEUE_OK;
}
