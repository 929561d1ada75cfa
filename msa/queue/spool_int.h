/*
 * spool_int - what the files of the writing side share: the handle and its transaction.
 */
#ifndef MSA_QUEUE_SPOOL_INT_H
#define MSA_QUEUE_SPOOL_INT_H

#include <pthread.h>
#include <sys/types.h>

#include "msa/queue/spool.h"
#include "msa/queue/spool_file.h"
#include "msa/queue/spool_table.h"

#define SPOOL_FORMAT 1 /* of the segments; one that is newer is refused */

struct hold {
	char *account, *why; /* talloc'd under the hold */
	struct hold *next;
};

/* A row of the outbox that accounting has not acknowledged. Numbers follow each other. */
struct row {
	int64_t place;
	uint32_t n, len;
};

/* Octets of its record. */
static inline uint64_t row_size(const struct row *r)
{
	return record_align(RECORD_HEADER + 12 + (uint64_t)r->len);
}

struct rows {
	pthread_mutex_t lock; /* of all of it */
	uint64_t first;	      /* number of row[0] */
	size_t start, n, cap; /* row[start .. start + n) are kept */
	struct row *row;
	uint64_t bytes;
};

struct spool {
	char *path;
	struct spool_files files;
	struct table table;
	struct hold *holds;
	struct rows rows;
	char instance[SPOOL_INSTANCE_MAX];
	char why[256];
	enum spool_found unread; /* why spool_get() or spool_get_body() gave QUEUE_ERROR: FAILED,
				    DAMAGED; FOUND when it was not for reading */
	struct {
		char *hostname, *postmaster;
	} own;
	struct dsn_host host;
	struct ceiling *ceiling;     /* of notices */
	struct signer *signer;	     /* of notices */
	uint64_t acked, outbox_last; /* committed */
	uint64_t segment_bytes, reserve_bytes;
	uint64_t keep_bytes;		/* of the disk that new mail leaves free */
	uint64_t reserved;		/* octets of the reserve that is kept; 0: none */
	uint32_t pieces;		/* of the reserve for results */
	_Atomic uint64_t results, kept; /* octets: of results to come; of the pieces */
	uint64_t free;			/* of the disk, at the last look */
	_Atomic int room;		/* enum spool_room */
	bool no_indices;		/* they were removed to make room */
	struct {
		uint32_t seg;  /* that is being emptied; 0: none */
		size_t slot;   /* of the table, where to look on */
		uint32_t last; /* the one before: not again when there is another */
		bool again;    /* it is that one all the same */
		bool rest;     /* one has gone: its room comes free when readers let go of it */
	} clean;
	uint32_t next_seg;
	uint64_t batch;

	/* the segment being written */
	struct {
		uint32_t no; /* 0: none yet */
		int fd;
		uint64_t limit; /* where it ends at the latest */
		uint64_t ahead; /* up to here its blocks were written before */
		bool piece;	/* it was one of the reserve for results */
		bool broken; /* what follows its end on the disk is not known: go on in another */
	} cur;
	/* its records with their heads, for the index file it gets at its end */
	uint8_t *shadow;
	size_t shadow_len, shadow_cap;

	/* the transaction */
	uint8_t *buf; /* of what is not written yet, from buf_at on */
	size_t buf_len, buf_cap;
	uint64_t buf_at;
	size_t shadow_was;
	struct entry *undo;
	size_t n_undo, undo_cap;
	struct tomb *gone;
	size_t n_gone, gone_cap;
	struct hold *new_holds, **new_holds_end; /* why NULL: released */
	uint64_t new_acked, new_outbox;
	struct row *new_rows;
	size_t n_new_rows;
	struct {
		uint64_t seq;
		int64_t place;
	} * moved; /* rows of the outbox */
	size_t n_moved, moved_cap;
	uint8_t *records; /* events for the outbox */
	size_t records_len, records_cap;
	uint32_t records_n;
};

/* spool.c */
enum queue_result spool_errno(struct spool *s, const char *what);
enum queue_result spool_no_memory(struct spool *s);
/* Append a record to the transaction; *place when not NULL. */
enum queue_result spool_put(struct spool *s, enum record_type type, const uint8_t *head,
			    size_t head_len, const uint8_t *body, size_t body_len, int64_t *place);
/* The same of an envelope: a message with its body, or (body NULL) a newer envelope of one. Sets
 * the entry. */
enum queue_result spool_put_envelope(struct spool *s, struct envelope *e, const uint8_t *body);
/* The message is done with: at the commit. */
void spool_gone(struct spool *s, const struct envelope *e);
/* After s->unread and errno were set; says so in why. */
enum queue_result spool_not_read(struct spool *s, const char *what, int64_t place);
/* The newest envelope, views into memory under ctx, what this transaction wrote included. */
enum queue_result spool_get(struct spool *s, void *ctx, int64_t key, struct record *r,
			    struct envelope *e, bool *found);
/* The same; one that is damaged is put aside and then not found. */
enum queue_result spool_get_sound(struct spool *s, void *ctx, int64_t key, struct record *r,
				  struct envelope *e, bool *found);
/* Up to cap octets of a body; NULL with *r. talloc'd under ctx. */
uint8_t *spool_get_body(struct spool *s, void *ctx, int64_t body, size_t cap, size_t *len,
			bool whole, enum queue_result *r);
void *spool_grow(void *p, size_t n, size_t *cap, size_t size);
void spool_set_hold(struct spool *s, const char *account, const char *why);
uint8_t *spool_state(struct spool *s, const struct segment *before, size_t *len);

/* spool_append.c */
/* Begin a segment, and end the one before; false with errno. */
bool spool_new_segment(struct spool *s);
void spool_close_segment(struct spool *s);
void spool_unlink_segment(struct spool *s, uint32_t no);
/* The first record of a segment. */
enum queue_result spool_put_start(struct spool *s);
/* What the transaction has gathered, to the file. */
enum queue_result spool_flush(struct spool *s);

/* spool_room.c */
void spool_choose_sizes(struct spool *s);
/* How much room the disk has; index files go when it is short. */
void spool_look_at_room(struct spool *s);
/* What an earlier run kept, before the first spool_reserve_keep(). */
void spool_reserve_find(struct spool *s);
/* Is there room to move that much and be through with it? Results' room is not for that. */
bool spool_room_to_move(const struct spool *s, uint64_t bytes);

/* The outbox rows in memory, by number; each locks. */
void rows_add(struct spool *s, uint64_t seq, const struct row *r);
void rows_forget(struct spool *s, uint64_t upto);
bool rows_get(struct spool *s, uint64_t after, uint64_t *seq, struct row *r);
void rows_moved(struct spool *s, uint64_t seq, int64_t place);

/* spool_load.c */
bool spool_recover(struct spool *s, char **err);

/* spool_index.c */
/* The index file of a finished segment: what of it would be needed at a start. */
void spool_write_index(struct spool *s, const struct segment *g);
/* One that is sound, malloc'd; NULL: there is none. */
uint8_t *spool_read_index(struct spool *s, uint32_t no, size_t *len);
/* Calls fn for each record of an index file: its offset in the segment, and its head. */
void spool_walk_index(const uint8_t *buf, size_t len, uint32_t no,
		      void (*fn)(uint64_t at, const struct record *r, const uint8_t *head,
				 void *arg),
		      void *arg);
/* A whole file, malloc'd. *errors: pieces that the disk did not give, however often it was asked;
 * they are zeros. */
uint8_t *spool_read_whole(int dir, const char *name, size_t *len, unsigned *errors);

/* spool_dests() of the recipients who still wait. */
char *spool_envelope_dests(const struct envelope *e);

/* spool_old.c: takes <dir>.db over, when it is there. */
bool spool_take_over(struct spool *s, char **err);

#endif
