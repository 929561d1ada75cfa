/*
 * spool_room - how much room the disk has, and what the spool keeps of it for itself.
 *
 * Purpose: a spool that has filled its disk must be able to empty itself. New mail leaves
 * keep_bytes free. When less is free (ROOM_SHORT) deferrals are not written down and index files
 * go; when half of that is (ROOM_TIGHT), or somebody else has taken it all, nothing is written that
 * makes no room: results that free their message, and what moves messages out of segments that are
 * partly empty. Behind that is the reserve, whose blocks nobody else can have: as large as a
 * segment, so that one can always be emptied. Trusted with: the writing handle. Diagnostics: log
 * lines "room", spool_room(). Known gaps: none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/log.h"

#include "msa/queue/spool_int.h"

#define SIZE_MIN  (256u << 10) /* of segment and reserve */
#define DISK_PART 16	       /* of the disk, for a segment; twice that is what is left free */

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
	uint64_t free = (uint64_t)v.f_bavail * v.f_frsize;
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

/* Half of it, or a quarter, when the disk has not got more; the rest when it has. */
bool spool_reserve_keep(struct spool *s)
{
	uint64_t size = s->reserve_bytes;

	if (s->reserved == size || (s->reserved && spool_room(s) != ROOM_ENOUGH))
		return true;
	int fd = openat(s->files.dir, "reserve", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return s->reserved > 0;
	while (size > s->reserved && size >= SIZE_MIN && posix_fallocate(fd, 0, (off_t)size) != 0) {
		size = ftruncate(fd, (off_t)s->reserved) == 0 ? size / 2 : 0;
	}
	if (size > s->reserved && size >= SIZE_MIN)
		s->reserved = size;
	if (!s->reserved)
		(void)unlinkat(s->files.dir, "reserve", 0);
	close(fd);
	return s->reserved > 0;
}

/* It becomes the segment that is written next: nobody else can have its room. */
bool spool_reserve_use(struct spool *s)
{
	char name[SEG_NAME_MAX];
	uint32_t no = s->next_seg;

	if (!s->reserved)
		return false;
	spool_file_name(no, "seg", name);
	int fd = openat(s->files.dir, "reserve", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || renameat(s->files.dir, "reserve", s->files.dir, name) != 0 ||
	    fsync(s->files.dir) != 0) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	spool_close_segment(s);
	s->reserved = 0;
	s->next_seg = no + 1;
	s->cur.no = no;
	s->cur.fd = fd;
	table_add_segment(&s->table, no);
	return true;
}
