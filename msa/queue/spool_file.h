/*
 * spool_file - the files of the spool: segments by number, records by place, what is put aside.
 *
 * Segments are <dir>/NNNNNNNN.seg. A handle belongs to one thread. Nothing here writes a segment;
 * spool.c alone does.
 */
#ifndef MSA_QUEUE_SPOOL_FILE_H
#define MSA_QUEUE_SPOOL_FILE_H

#include "msa/queue/record.h"
#include "msa/queue/spool.h"

#define SEG_OPEN       8 /* files kept open by a handle */
#define SEG_NAME_MAX   32
#define SEG_NUMBER_MAX 0x7fffffffu

struct spool_files {
	int dir;
	uint64_t tick;
	struct {
		uint32_t no; /* 0: free */
		int fd;
		uint64_t used;
	} slot[SEG_OPEN];
};

/* -1 with errno when the folder cannot be opened. */
int spool_files_open(struct spool_files *f, const char *dir);
void spool_files_close(struct spool_files *f);
/* NNNNNNNN.seg, or with another ending. */
void spool_file_name(uint32_t no, const char *ending, char out[static SEG_NAME_MAX]);
/* A descriptor that stays f's; -1 with errno. */
int spool_files_get(struct spool_files *f, uint32_t no);
/* Closes what was removed meanwhile. */
void spool_files_trim(struct spool_files *f);
void spool_files_forget(struct spool_files *f, uint32_t no);

/* n octets exactly; false with errno (0: the file ends before). */
bool spool_pread(int fd, void *buf, size_t n, uint64_t at);
/* The same, asked again a few times when the disk does not give it. */
bool spool_pread_often(int fd, void *buf, size_t n, uint64_t at);

/*
 * The record at a place: *r, and its header and head in one piece, talloc'd under ctx (*raw). GONE:
 * there is no such file any more. FAILED: not readable now, errno. DAMAGED: read, and not what was
 * written there; with it the file's pages were dropped, so that the next try asks the disk.
 */
enum spool_found spool_record_at(struct spool_files *f, void *ctx, int64_t place, struct record *r,
				 uint8_t **raw);
/* The same for a message's envelope; *e has views into memory under ctx. */
enum spool_found spool_envelope_at(struct spool_files *f, void *ctx, int64_t place,
				   struct record *r, struct envelope *e);
/* Where the octets of a message's body begin in the file of the record r at place. */
uint64_t spool_body_at(const struct record *r, int64_t place);
/* Is the body of record r at place as it was written? */
enum spool_found spool_body_sound(struct spool_files *f, const struct record *r, int64_t place);

/* Copies n octets of a segment to damaged/NNNNNNNN-OFFSET. False with errno. */
bool spool_put_aside(struct spool_files *f, uint32_t seg, uint64_t at, uint64_t n);

#endif
