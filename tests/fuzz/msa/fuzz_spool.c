/*
 * Segments of the spool as a disk may give them back. First the octets as they are, for the search
 * of records; then as heads of records that are sealed properly, so that what reads them is
 * reached: a spool made of them is opened, loaded, read and closed.
 *
 * Input: for the second part, pieces of u8 type, u16 length, that many octets.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "msa/queue/spool_int.h"

static const struct dsn_host host = {"h.example", "p@h.example"};
static char dir[64], path[80];

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(name);
}

static void search(const uint8_t *data, size_t len)
{
	struct record r;
	struct envelope e;
	struct envelope_key k;
	void *ctx = talloc_new(NULL);
	size_t at = 0;

	while (record_find(data, len, 1, 0, &at, &r)) {
		if (!record_size(&r) || at + RECORD_HEADER + r.head_len > len)
			abort();
		at += RECORD_ALIGN;
	}
	if (envelope_decode(ctx, data, len, &e)) {
		/* What can be read can be written, and reads the same. */
		size_t cap = envelope_bound(&e);
		uint8_t *again = talloc_size(ctx, cap);
		if (envelope_encode(&e, again, cap) != len || memcmp(again, data, len) != 0)
			abort();
		free(spool_envelope_dests(&e));
	}
	(void)envelope_peek(data, len, &k);
	talloc_free(ctx);
}

/* A segment of what the input says, each commit ended. */
static void write_segment(const uint8_t *data, size_t len)
{
	char name[100];
	uint64_t batch = 1;
	uint32_t seg = 1;

	snprintf(name, sizeof(name), "%s/00000001.seg", path);
	FILE *f = fopen(name, "wb");
	while (f && len >= 3) {
		size_t n = (size_t)data[1] << 8 | data[2];
		n = n < len - 3 ? n : len - 3;
		uint8_t out[RECORD_HEADER], pad[8] = {0};
		struct record r = {.type = (enum record_type)(data[0] % REC_TYPES),
				   .seg = seg,
				   .batch = batch,
				   .head_len = (uint32_t)n};
		record_seal(out, &r, data + 3);
		fwrite(out, 1, sizeof(out), f);
		fwrite(data + 3, 1, n, f);
		fwrite(pad, 1, (size_t)(record_align(RECORD_HEADER + n) - RECORD_HEADER - n), f);
		batch += r.type == REC_COMMIT;
		data += 3 + n;
		len -= 3 + n;
	}
	if (f)
		fclose(f);
}

static void take_row(const struct spool_row *row, void *arg)
{
	struct spool_reader *r = arg;
	struct spool_envelope *e = NULL;
	struct spool_detail d;
	size_t got;
	uint8_t buf[64];

	if (spool_read_envelope(r, NULL, row->place, 100, &e) == SPOOL_FOUND)
		talloc_free(e);
	(void)spool_read_detail(r, row->place, &d);
	(void)spool_read_body(r, row->place, 0, buf, sizeof(buf), &got);
}

static void no_hold(const char *account, const char *why, void *arg)
{
	(void)account;
	(void)why;
	(void)arg;
}

static bool no_rows(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg)
{
	(void)seq;
	(void)n;
	(void)records;
	(void)len;
	(void)arg;
	return true;
}

static void run(const uint8_t *data, size_t len)
{
	char *err = NULL;

	if (mkdir(path, 0700) != 0)
		return;
	write_segment(data, len);
	for (int twice = 0; twice < 2; twice++) { /* the second time by the index file */
		struct spool *s = spool_open(path, &host, &err);
		if (s) {
			struct spool_reader *r = spool_reader_open(path, &err);
			(void)spool_load(s, take_row, no_hold, r, &err);
			(void)spool_read_outbox(s, r, 0, no_rows, NULL);
			if (spool_begin(s) != QUEUE_OK || spool_outbox_forget(s, 1) != QUEUE_OK ||
			    spool_commit(s) != QUEUE_OK)
				abort();
			spool_reader_close(r);
			spool_close(s);
		}
		free(err);
		err = NULL;
	}
	nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void leave(void)
{
	rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!dir[0]) {
		log_open("fuzz", LOG_EMERG);
		snprintf(dir, sizeof(dir), "%s/sekisho-fuzz-XXXXXX",
			 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		if (!mkdtemp(dir))
			abort();
		snprintf(path, sizeof(path), "%s/spool", dir);
		atexit(leave);
	}
	search(data, len);
	run(data, len);
	return 0;
}
