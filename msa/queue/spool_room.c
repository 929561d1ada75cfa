/*
 * spool_room - how much room the disk has, and what the spool keeps of it for itself.
 *
 * Purpose: a spool that has filled its disk must be able to empty itself. New mail leaves
 * keep_bytes free. When less is free (ROOM_SHORT) deferrals are not written down and index files
 * go; when half of that is (ROOM_TIGHT), or somebody else has taken it all, nothing is written that
 * makes no room: results that free their message, and what moves messages out of segments that are
 * partly empty. Behind that is the reserve, whose blocks nobody else can have: a file as large as a
 * segment, so that one can always be emptied, and pieces for the results of everybody who waits:
 * no mail that has left is kept waiting for room to say so, whoever else fills the disk. Trusted
 * with: the writing handle. Diagnostics: log lines "room", spool_room(). Known gaps: none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/log.h"

#include "msa/queue/spool_int.h"

#define SIZE_MIN       (256u << 10) /* of segment and reserve */
#define DISK_PART      16 /* of the disk, for a segment; twice that is what is left free */
#define PIECES	       4  /* of a segment's size, each for results */
#define PIECES_AT_ONCE 16
#define PIECES_MAX     9999
#define ENVELOPE_AGAIN 768	   /* an envelope once more: all but who waits */
#define RCPT_AGAIN     160	   /* each who waits */
#define MOVE_SLACK     (64u << 10) /* results that come meanwhile, and what surrounds records */

/* --- sizes ----------------------------------------------------------------------------------- */

static uint64_t disk_bytes(const struct spool *s)
{
	struct statvfs v;

	return fstatvfs(s->files.dir, &v) == 0 ? (uint64_t)v.f_blocks * v.f_frsize : 0;
}

void spool_choose_sizes(struct spool *s)
{
	uint64_t part = disk_bytes(s) / DISK_PART;

	s->segment_bytes = SPOOL_SEGMENT;
	if (part && part < s->segment_bytes)
		s->segment_bytes = part < SIZE_MIN ? SIZE_MIN : part;
	s->cur.limit = s->reserve_bytes = s->segment_bytes;
	spool_set_keep(s, 0);
}

void spool_set_keep(struct spool *s, uint64_t bytes)
{
	uint64_t part = disk_bytes(s) / DISK_PART * 2;

	if (part && bytes > part)
		bytes = part;
	if (bytes < 2 * s->segment_bytes)
		bytes = 2 * s->segment_bytes;
	s->keep_bytes = bytes;
}

uint64_t spool_keep(const struct spool *s)
{
	return s->keep_bytes;
}

/* --- room ------------------------------------------------------------------------------------ */

enum spool_room spool_room(const struct spool *s)
{
	return (enum spool_room)s->room;
}

/* They make a start quick; the segments say the same. */
static void drop_indices(struct spool *s)
{
	char name[SEG_NAME_MAX];

	for (size_t i = 0; i < s->table.n_segs; i++) {
		spool_file_name(s->table.segs[i].no, "idx", name);
		(void)unlinkat(s->files.dir, name, 0);
	}
	s->no_indices = true;
}

void spool_look_at_room(struct spool *s)
{
	static const char *const names[] = {"enough", "short", "tight"};
	struct statvfs v;
	enum spool_room was = spool_room(s), now = ROOM_ENOUGH;

	if (fstatvfs(s->files.dir, &v) != 0)
		return;
	uint64_t free = s->free = (uint64_t)v.f_bavail * v.f_frsize;
	if (free < s->keep_bytes)
		now = free < s->keep_bytes / 2 ? ROOM_TIGHT : ROOM_SHORT;
	/* Not to and fro: it was short until a quarter more is free. */
	if (was != ROOM_ENOUGH && now == ROOM_ENOUGH && free < s->keep_bytes + s->keep_bytes / 4)
		now = ROOM_SHORT;
	s->room = now;
	if (now != ROOM_ENOUGH && !s->no_indices)
		drop_indices(s);
	s->no_indices &= now != ROOM_ENOUGH;
	if (now != was)
		log_event(now > was ? LOG_WARNING : LOG_NOTICE, "-", "queue", "room",
			  LS("disk", names[now]), LI("free", free), LI("keep", s->keep_bytes));
}

/* --- the reserve ----------------------------------------------------------------------------- */

static void piece_name(uint32_t i, char name[static SEG_NAME_MAX])
{
	snprintf(name, SEG_NAME_MAX, "reserve.%04u", i);
}

static uint64_t piece_bytes(const struct spool *s)
{
	uint64_t part = s->reserve_bytes / PIECES;

	return part < SIZE_MIN ? SIZE_MIN : part;
}

static void set_pieces(struct spool *s, uint32_t n)
{
	s->pieces = n;
	s->kept = n * piece_bytes(s);
}

uint64_t spool_result_room(uint64_t recipients, uint64_t outcomes)
{
	uint64_t again = outcomes > 1 ? outcomes - 1 : 0;

	return recipients * SPOOL_RESULT + again * (ENVELOPE_AGAIN + recipients * RCPT_AGAIN);
}

void spool_set_results(struct spool *s, uint64_t octets)
{
	s->results = octets;
}

uint64_t spool_results_missing(const struct spool *s)
{
	uint64_t need = s->results, kept = s->kept;

	return need > kept ? need - kept : 0;
}

/* A file whose blocks are all taken, from size `from` on. */
static bool take_blocks(struct spool *s, const char *name, uint64_t from, uint64_t size)
{
	int fd = openat(s->files.dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool ok = fd >= 0 && posix_fallocate(fd, 0, (off_t)size) == 0;

	if (fd >= 0 && !ok && ftruncate(fd, (off_t)from) != 0)
		log_event(LOG_ERR, "-", "queue", "reserve-not-cut", LS("why", strerror(errno)));
	if (!ok && from == 0)
		(void)unlinkat(s->files.dir, name, 0);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Half of it, or a quarter, when the disk has not got more; the rest when it has. */
static void keep_large(struct spool *s)
{
	uint64_t size = s->reserve_bytes;

	if (s->reserved == size || (s->reserved && spool_room(s) != ROOM_ENOUGH))
		return;
	while (size > s->reserved && size >= SIZE_MIN &&
	       !take_blocks(s, "reserve", s->reserved, size))
		size /= 2;
	if (size > s->reserved && size >= SIZE_MIN)
		s->reserved = size;
}

/* With enough room, such as leaves it enough. With less, what is missing all the same: it is
 * this that the room was left for. */
static void keep_pieces(struct spool *s)
{
	uint64_t size = piece_bytes(s);
	char name[SEG_NAME_MAX];

	for (int i = 0; i < PIECES_AT_ONCE && s->pieces < PIECES_MAX; i++) {
		if (!spool_results_missing(s) ||
		    (spool_room(s) == ROOM_ENOUGH && s->free < s->keep_bytes + size))
			return;
		piece_name(s->pieces + 1, name);
		if (!take_blocks(s, name, 0, size))
			return;
		s->free -= s->free < size ? s->free : size;
		set_pieces(s, s->pieces + 1);
	}
}

/* Two more than are needed stay, so that they need not come and go. */
static void give_up_pieces(struct spool *s)
{
	char name[SEG_NAME_MAX];

	for (int i = 0; i < PIECES_AT_ONCE && s->pieces; i++) {
		if (s->kept < s->results + 3 * piece_bytes(s))
			return;
		piece_name(s->pieces, name);
		if (unlinkat(s->files.dir, name, 0) != 0 && errno != ENOENT)
			return;
		set_pieces(s, s->pieces - 1);
	}
}

void spool_reserve_find(struct spool *s)
{
	char name[SEG_NAME_MAX];
	uint32_t n = 0;

	for (;;) {
		piece_name(n + 1, name);
		if (n == PIECES_MAX || faccessat(s->files.dir, name, F_OK, 0) != 0 ||
		    !take_blocks(s, name, 0, piece_bytes(s)))
			break;
		n++;
	}
	set_pieces(s, n);
}

bool spool_reserve_keep(struct spool *s)
{
	keep_large(s);
	keep_pieces(s);
	give_up_pieces(s);
	return s->reserved > 0;
}

/* A file of the reserve becomes the segment that is written next: nobody else can have its room. */
static bool make_segment(struct spool *s, const char *reserve)
{
	char name[SEG_NAME_MAX];
	uint32_t no = s->next_seg;

	spool_file_name(no, "seg", name);
	int fd = openat(s->files.dir, reserve, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || renameat(s->files.dir, reserve, s->files.dir, name) != 0 ||
	    fsync(s->files.dir) != 0) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	spool_close_segment(s);
	s->next_seg = no + 1;
	s->cur.no = no;
	s->cur.fd = fd;
	table_add_segment(&s->table, no);
	return true;
}

static bool use_piece(struct spool *s)
{
	char name[SEG_NAME_MAX];

	piece_name(s->pieces, name);
	set_pieces(s, s->pieces - 1);
	if (!make_segment(s, name))
		return false;
	s->cur.piece = true;
	return true;
}

bool spool_reserve_use(struct spool *s, enum reserve_for what)
{
	while (what == FOR_RESULTS && s->pieces)
		if (use_piece(s))
			return true;
	if (!s->reserved || (what == FOR_MOVING && spool_results_missing(s)))
		return false;
	s->reserved = 0;
	return make_segment(s, "reserve");
}

bool spool_room_to_move(const struct spool *s, uint64_t bytes)
{
	bool large = s->reserved >= bytes + MOVE_SLACK && !spool_results_missing(s);

	if (spool_room(s) == ROOM_SHORT && s->free >= bytes + s->keep_bytes / 2)
		return true;
	return large || (!s->cur.piece && s->free >= bytes + MOVE_SLACK);
}
