/*
 * journal - the ring of outcomes beside the spool.
 *
 * Purpose: remember each reply to a final dot from the moment it is read. Trusted with:
 * <state_dir>/msa/relay.journal. Diagnostics: errno, and a count of damaged records. Known gaps: no
 * fsync, on purpose.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/proc.h"
#include "lib/wire.h"

#include "msa/queue/crc32c.h"
#include "msa/relay/journal.h"

#define MAGIC_FLOOR  0x534b4a46u /* "SKJF" */
#define MAGIC_RECORD 0x534b4a52u /* "SKJR" */

struct journal {
	int fd;
	uint64_t floor, last;
	unsigned damaged;
};

/* Every slot: u32 magic, u32 crc of all that follows, then the fields; zeros to the end. */
static void seal(uint32_t magic, uint8_t slot[static JOURNAL_SLOT_BYTES])
{
	struct wire_out w;

	wire_out_init(&w, slot, 8);
	wire_u32(&w, magic);
	wire_u32(&w, crc32c(0, slot + 8, JOURNAL_SLOT_BYTES - 8));
}

static bool sealed(uint32_t magic, const uint8_t slot[static JOURNAL_SLOT_BYTES])
{
	struct wire_in r;

	wire_in_init(&r, slot, 8);
	return wire_get_u32(&r) == magic &&
	       wire_get_u32(&r) == crc32c(0, slot + 8, JOURNAL_SLOT_BYTES - 8);
}

void journal_encode(const struct journal_record *r, uint8_t out[static JOURNAL_SLOT_BYTES])
{
	struct wire_out w;

	memset(out, 0, JOURNAL_SLOT_BYTES);
	wire_out_init(&w, out + 8, JOURNAL_SLOT_BYTES - 8);
	wire_u64(&w, r->seq);
	wire_str(&w, r->id);
	wire_u32(&w, r->attempt);
	wire_u32(&w, r->rcpt.idx);
	wire_u8(&w, r->rcpt.result);
	wire_str(&w, r->rcpt.status);
	wire_str(&w, r->rcpt.reply);
	wire_u8(&w,
		(uint8_t)(r->rcpt.dsn |
			  r->rcpt.final << 1)); /* 0 in records of versions that did not know it */
	bug_on(w.bad);
	seal(MAGIC_RECORD, out);
}

bool journal_decode(const uint8_t in[static JOURNAL_SLOT_BYTES], struct journal_record *r)
{
	struct wire_in w;

	if (!sealed(MAGIC_RECORD, in))
		return false;
	wire_in_init(&w, in + 8, JOURNAL_SLOT_BYTES - 8);
	r->seq = wire_get_u64(&w);
	wire_get_str(&w, r->id, sizeof(r->id));
	r->attempt = wire_get_u32(&w);
	r->rcpt.idx = wire_get_u32(&w);
	r->rcpt.result = wire_get_u8(&w);
	wire_get_str(&w, r->rcpt.status, sizeof(r->rcpt.status));
	wire_get_str(&w, r->rcpt.reply, sizeof(r->rcpt.reply));
	uint8_t told = wire_get_u8(&w);
	r->rcpt.dsn = told & 1;
	r->rcpt.final = told & 2;
	r->rcpt.answer = 0;
	return !w.bad && r->seq > 0 && queue_id_valid(r->id) && r->rcpt.result >= RELAY_DELIVERED &&
	       r->rcpt.result <= RELAY_DEFERRED;
}

static off_t slot_offset(uint64_t seq)
{
	return (off_t)((1 + seq % JOURNAL_SLOTS) * JOURNAL_SLOT_BYTES);
}

static bool read_slot(const struct journal *j, off_t at, uint8_t slot[static JOURNAL_SLOT_BYTES])
{
	ssize_t n;

	while ((n = pread(j->fd, slot, JOURNAL_SLOT_BYTES, at)) < 0 && errno == EINTR)
		;
	return n == (ssize_t)JOURNAL_SLOT_BYTES;
}

static bool write_slot(const struct journal *j, off_t at,
		       const uint8_t slot[static JOURNAL_SLOT_BYTES])
{
	ssize_t n;

	while ((n = pwrite(j->fd, slot, JOURNAL_SLOT_BYTES, at)) < 0 && errno == EINTR)
		;
	if (n >= 0 && n != (ssize_t)JOURNAL_SLOT_BYTES)
		errno = ENOSPC;
	return n == (ssize_t)JOURNAL_SLOT_BYTES;
}

static bool empty(const uint8_t slot[static JOURNAL_SLOT_BYTES])
{
	for (size_t i = 0; i < JOURNAL_SLOT_BYTES; i++)
		if (slot[i])
			return false;
	return true;
}

/* Where the numbering stands. A floor that is damaged counts as 0: everything is told again, and
 * msad knows what it has had. */
static void scan(struct journal *j)
{
	uint8_t slot[JOURNAL_SLOT_BYTES];
	struct journal_record r;
	struct wire_in w;

	if (read_slot(j, 0, slot)) {
		if (sealed(MAGIC_FLOOR, slot)) {
			wire_in_init(&w, slot + 8, 8);
			j->floor = wire_get_u64(&w);
		} else if (!empty(slot)) {
			j->damaged++;
		}
	}
	j->last = j->floor;
	for (uint64_t i = 0; i < JOURNAL_SLOTS; i++) {
		if (!read_slot(j, slot_offset(i), slot))
			break;
		if (!journal_decode(slot, &r) || r.seq % JOURNAL_SLOTS != i)
			j->damaged += !empty(slot);
		else if (r.seq > j->last)
			j->last = r.seq;
	}
	/* After a damaged floor only the last ring's worth can be there. */
	if (j->last - j->floor > JOURNAL_SLOTS)
		j->floor = j->last - JOURNAL_SLOTS;
}

struct journal *journal_open(const char *path, const char **err)
{
	struct journal *j = calloc(1, sizeof(*j));
	int e;

	if (!j) {
		*err = "out of memory";
		return NULL;
	}
	j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (j->fd < 0) {
		*err = strerror(errno);
		free(j);
		return NULL;
	}
	e = posix_fallocate(j->fd, 0, slot_offset(JOURNAL_SLOTS - 1) + JOURNAL_SLOT_BYTES);
	if (e && e != EOPNOTSUPP) {
		*err = strerror(e);
		journal_close(j);
		return NULL;
	}
	scan(j);
	return j;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	close(j->fd);
	free(j);
}

unsigned journal_damaged(const struct journal *j)
{
	return j->damaged;
}

size_t journal_room(const struct journal *j)
{
	return JOURNAL_SLOTS - (size_t)(j->last - j->floor);
}

uint64_t journal_last(const struct journal *j)
{
	return j->last;
}

bool journal_append(struct journal *j, struct relay_outcome *o)
{
	uint8_t slot[JOURNAL_SLOT_BYTES];
	bool ok = true;

	bug_on(o->n > journal_room(j));
	for (uint32_t i = 0; i < o->n; i++) {
		struct journal_record r = {
		    .seq = ++j->last, .attempt = o->attempt, .rcpt = o->rcpts[i]};
		memcpy(r.id, o->id, sizeof(r.id));
		journal_encode(&r, slot);
		ok &= write_slot(j, slot_offset(r.seq), slot);
	}
	o->seq = j->last;
	return ok;
}

void journal_committed(struct journal *j, uint64_t seq)
{
	uint8_t slot[JOURNAL_SLOT_BYTES] = {0};
	struct wire_out w;

	if (seq <= j->floor || seq > j->last)
		return;
	j->floor = seq;
	wire_out_init(&w, slot + 8, JOURNAL_SLOT_BYTES - 8);
	wire_u64(&w, seq);
	seal(MAGIC_FLOOR, slot);
	if (!write_slot(j, 0, slot))
		return;
}

void journal_replay(struct journal *j, void (*fn)(const struct relay_outcome *o, void *arg),
		    void *arg)
{
	struct relay_outcome *o = calloc(1, sizeof(*o));
	uint8_t slot[JOURNAL_SLOT_BYTES];
	struct journal_record r;

	if (!o)
		fatal("out of memory: cannot read the relay journal");
	for (uint64_t seq = j->floor + 1; seq <= j->last; seq++) {
		if (!read_slot(j, slot_offset(seq), slot) || !journal_decode(slot, &r) ||
		    r.seq != seq)
			continue;
		if (o->n && (o->n == RELAY_RCPTS_MAX || o->attempt != r.attempt ||
			     strcmp(o->id, r.id) != 0)) {
			fn(o, arg);
			o->n = 0;
		}
		memcpy(o->id, r.id, sizeof(o->id));
		o->attempt = r.attempt;
		o->seq = seq;
		o->rcpts[o->n++] = r.rcpt;
	}
	if (o->n)
		fn(o, arg);
	free(o);
}
