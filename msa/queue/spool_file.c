/*
 * spool_file - see spool_file.h.
 *
 * Purpose: find a record by its place, and tell whether it is what was written. Trusted with:
 * reading the spool, writing damaged/. Diagnostics: enum spool_found, errno. Known gaps: none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "msa/queue/crc32c.h"
#include "msa/queue/spool_file.h"

#define FIRST_READ 4096 /* most envelopes, in one call */
#define COPY_BYTES (64u << 10)

int spool_files_open(struct spool_files *f, const char *dir)
{
	*f = (struct spool_files){.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	return f->dir;
}

void spool_files_close(struct spool_files *f)
{
	for (size_t i = 0; i < SEG_OPEN; i++)
		if (f->slot[i].no)
			close(f->slot[i].fd);
	if (f->dir >= 0)
		close(f->dir);
	*f = (struct spool_files){.dir = -1};
}

void spool_file_name(uint32_t no, const char *ending, char out[static SEG_NAME_MAX])
{
	snprintf(out, SEG_NAME_MAX, "%08x.%s", no, ending);
}

/* A file that was removed keeps its room on the disk as long as it is open. */
void spool_files_trim(struct spool_files *f)
{
	struct stat st;

	for (size_t i = 0; i < SEG_OPEN; i++)
		if (f->slot[i].no && fstat(f->slot[i].fd, &st) == 0 && st.st_nlink == 0) {
			close(f->slot[i].fd);
			f->slot[i].no = 0;
			f->slot[i].used = 0;
		}
}

int spool_files_get(struct spool_files *f, uint32_t no)
{
	size_t oldest = 0;
	char name[SEG_NAME_MAX];

	for (size_t i = 0; i < SEG_OPEN; i++) {
		if (f->slot[i].no == no) {
			f->slot[i].used = ++f->tick;
			return f->slot[i].fd;
		}
		if (f->slot[i].used < f->slot[oldest].used)
			oldest = i;
	}
	spool_file_name(no, "seg", name);
	int fd = openat(f->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -1;
	if (f->slot[oldest].no)
		close(f->slot[oldest].fd);
	f->slot[oldest].no = no;
	f->slot[oldest].fd = fd;
	f->slot[oldest].used = ++f->tick;
	return fd;
}

void spool_files_forget(struct spool_files *f, uint32_t no)
{
	for (size_t i = 0; i < SEG_OPEN; i++)
		if (f->slot[i].no == no) {
			close(f->slot[i].fd);
			f->slot[i].no = 0;
			f->slot[i].used = 0;
		}
}

bool spool_pread(int fd, void *buf, size_t n, uint64_t at)
{
	size_t got = 0;

	while (got < n) {
		ssize_t k = pread(fd, (char *)buf + got, n - got, (off_t)(at + got));
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) {
			if (k == 0)
				errno = 0;
			return false;
		}
		got += (size_t)k;
	}
	return true;
}

#define READ_TRIES 3

bool spool_pread_often(int fd, void *buf, size_t n, uint64_t at)
{
	for (int i = 0; i < READ_TRIES; i++)
		if (spool_pread(fd, buf, n, at))
			return true;
		else if (errno == 0)
			break;
	return false;
}

/* What was read is not what was written: the disk is to be asked the next time, not its copy in
 * memory. */
static enum spool_found not_sound(int fd)
{
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return SPOOL_DAMAGED;
}

/* At least n octets of fd at at, in *raw of *have. */
static bool more(int fd, void *ctx, uint64_t at, size_t n, uint8_t **raw, size_t *have)
{
	if (n <= *have)
		return true;
	uint8_t *bigger = talloc_realloc(ctx, *raw, uint8_t, n);
	if (!bigger)
		return false;
	*raw = bigger;
	if (!spool_pread(fd, bigger + *have, n - *have, at + *have))
		return false;
	*have = n;
	return true;
}

/* FAILED with errno: not read. */
static enum spool_found read_record(int fd, void *ctx, int64_t place, struct record *r,
				    uint8_t **raw)
{
	ssize_t k = pread(fd, *raw, FIRST_READ, (off_t)place_at(place));
	size_t have = k > 0 ? (size_t)k : 0;

	if (k < 0)
		return SPOOL_FAILED;
	if (have < RECORD_HEADER || !record_parse(*raw, r) || r->seg != place_seg(place))
		return not_sound(fd);
	if (!more(fd, ctx, place_at(place), RECORD_HEADER + r->head_len, raw, &have))
		return errno ? SPOOL_FAILED : not_sound(fd);
	return record_sound(*raw, r) ? SPOOL_FOUND : not_sound(fd);
}

enum spool_found spool_record_at(struct spool_files *f, void *ctx, int64_t place, struct record *r,
				 uint8_t **raw)
{
	int fd = place ? spool_files_get(f, place_seg(place)) : -1;

	*raw = NULL;
	if (fd < 0)
		return !place || errno == ENOENT ? SPOOL_GONE : SPOOL_FAILED;
	*raw = talloc_array(ctx, uint8_t, FIRST_READ);
	if (!*raw)
		return SPOOL_FAILED;
	enum spool_found found = read_record(fd, ctx, place, r, raw);
	if (found != SPOOL_FOUND) {
		int e = errno;
		talloc_free(*raw);
		*raw = NULL;
		errno = e;
	}
	return found;
}

enum spool_found spool_envelope_at(struct spool_files *f, void *ctx, int64_t place,
				   struct record *r, struct envelope *e)
{
	uint8_t *raw;
	enum spool_found found = spool_record_at(f, ctx, place, r, &raw);

	if (found != SPOOL_FOUND)
		return found;
	if ((r->type != REC_MESSAGE && r->type != REC_ENVELOPE) ||
	    !envelope_decode(raw, raw + RECORD_HEADER, r->head_len, e))
		return SPOOL_DAMAGED;
	return SPOOL_FOUND;
}

uint64_t spool_body_at(const struct record *r, int64_t place)
{
	return place_at(place) + record_align((uint64_t)RECORD_HEADER + r->head_len);
}

enum spool_found spool_body_sound(struct spool_files *f, const struct record *r, int64_t place)
{
	int fd = spool_files_get(f, place_seg(place));
	uint64_t at = spool_body_at(r, place);
	uint32_t crc = 0, left = r->body_len;
	uint8_t buf[COPY_BYTES];

	if (fd < 0)
		return errno == ENOENT ? SPOOL_GONE : SPOOL_FAILED;
	while (left) {
		size_t n = left < sizeof(buf) ? left : sizeof(buf);
		if (!spool_pread(fd, buf, n, at))
			return errno ? SPOOL_FAILED : SPOOL_DAMAGED;
		crc = crc32c(crc, buf, n);
		at += n;
		left -= (uint32_t)n;
	}
	return crc == r->body_crc ? SPOOL_FOUND : not_sound(fd);
}

/* What cannot be read is zeros: the rest may still be of use to somebody. */
static bool copy(int from, int to, uint64_t at, uint64_t n)
{
	uint8_t buf[COPY_BYTES];

	for (uint64_t done = 0; done < n;) {
		size_t k = n - done < sizeof(buf) ? (size_t)(n - done) : sizeof(buf);
		if (!spool_pread(from, buf, k, at + done)) {
			if (errno == 0)
				break;
			memset(buf, 0, k);
		}
		if (write(to, buf, k) != (ssize_t)k)
			return false;
		done += k;
	}
	return true;
}

bool spool_put_aside(struct spool_files *f, uint32_t seg, uint64_t at, uint64_t n)
{
	char name[64];
	int from = spool_files_get(f, seg), to;

	if (from < 0 || (mkdirat(f->dir, "damaged", 0700) != 0 && errno != EEXIST))
		return false;
	snprintf(name, sizeof(name), "damaged/%08x-%llx", seg, (unsigned long long)at);
	to = openat(f->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return false;
	bool ok = copy(from, to, at, n) && fsync(to) == 0;
	close(to);
	return ok;
}
