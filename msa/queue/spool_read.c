/*
 * spool_read - the reading side of the queue on disk.
 *
 * Purpose: envelopes and bodies for the relay role; details for operators and records for
 * accounting on the main thread. Trusted with: reading <state_dir>/msa/spool. Diagnostics: enum
 * spool_found and bool. Known gaps: none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/proc.h"

#include "msa/queue/spool_int.h"

#define HEADERS_MAX (64u << 10)
#define BODIES	    64 /* whose place is remembered */

struct spool_reader {
	struct spool_files files;
	/* Where bodies are, of messages that were read lately: they are read in pieces. */
	struct body {
		int64_t place; /* of the envelope */
		int64_t body;
		uint64_t at;
		uint32_t len;
	} bodies[BODIES];
	char mail_from[1024], route[256], domains[513], last_reply[RELAY_REPLY_MAX + 1];
};

struct spool_reader *spool_reader_open(const char *dir, char **err)
{
	struct spool_reader *r = talloc_zero(NULL, struct spool_reader);

	if (r && spool_files_open(&r->files, dir) >= 0)
		return r;
	if (asprintf(err, "%s: %s", dir, strerror(errno)) < 0)
		*err = NULL;
	talloc_free(r);
	return NULL;
}

void spool_reader_close(struct spool_reader *r)
{
	if (!r)
		return;
	spool_files_close(&r->files);
	talloc_free(r);
}

void spool_reader_trim(struct spool_reader *r)
{
	spool_files_trim(&r->files);
}

static void copy(char *to, size_t cap, const char *from)
{
	size_t n = strnlen(from, cap - 1);

	memcpy(to, from, n);
	to[n] = '\0';
}

/* --- for the relay --------------------------------------------------------------------------- */

static struct body *body_slot(struct spool_reader *r, int64_t place)
{
	return &r->bodies[(uint64_t)(place ^ place >> 32) % BODIES];
}

/* Where the body of the envelope at place is. NULL: not readable. */
static const struct body *find_body(struct spool_reader *r, int64_t place, enum spool_found *found)
{
	struct body *b = body_slot(r, place);
	struct envelope_key k;
	struct record rec;
	uint8_t *raw;
	void *ctx;

	*found = SPOOL_FOUND;
	if (place && b->place == place)
		return b;
	ctx = talloc_new(r);
	*found = ctx ? spool_record_at(&r->files, ctx, place, &rec, &raw) : SPOOL_FAILED;
	int64_t body = place;
	if (*found == SPOOL_FOUND && rec.type == REC_ENVELOPE) {
		bool ok = envelope_peek(raw + RECORD_HEADER, rec.head_len, &k);
		body = k.body;
		*found = ok ? spool_record_at(&r->files, ctx, body, &rec, &raw) : SPOOL_FAILED;
	}
	if (*found == SPOOL_FOUND && rec.type != REC_MESSAGE)
		*found = SPOOL_FAILED;
	if (*found == SPOOL_FOUND)
		*b = (struct body){place, body, spool_body_at(&rec, body), rec.body_len};
	talloc_free(ctx);
	return *found == SPOOL_FOUND ? b : NULL;
}

static bool copy_rcpts(struct spool_envelope *to, const struct envelope *e, uint32_t max)
{
	uint32_t waiting = envelope_count(e, R_WAITING);

	to->rcpts = talloc_array(to, struct spool_rcpt, waiting < max ? waiting : max);
	for (uint32_t i = 0; to->rcpts && i < e->n && to->n < max; i++) {
		if (e->rcpts[i].state != R_WAITING)
			continue;
		struct spool_rcpt *t = &to->rcpts[to->n];
		*t = (struct spool_rcpt){.idx = i,
					 .address = talloc_strdup(to, e->rcpts[i].address),
					 .status = talloc_strdup(to, e->rcpts[i].status),
					 .esmtp = {.notify = e->rcpts[i].notify & NOTIFY_ASKED,
						   .orcpt = talloc_strdup(to, e->rcpts[i].orcpt)}};
		if (!t->address || !t->status || !t->esmtp.orcpt)
			return false;
		to->n++;
	}
	return to->rcpts != NULL;
}

static bool copy_envelope(struct spool_envelope *to, const struct envelope *e, uint32_t max)
{
	memcpy(to->id, e->id, sizeof(to->id));
	to->mail_from_out = talloc_strdup(to, e->mail_from_out);
	to->route = talloc_strdup(to, e->route);
	to->size = e->size;
	to->esmtp = e->esmtp;
	to->esmtp.envid = talloc_strdup(to, e->esmtp.envid);
	return to->mail_from_out && to->route && to->esmtp.envid && copy_rcpts(to, e, max);
}

/* A damaged body must not be sent: it is looked at before the first octet leaves. */
static enum spool_found check_body(struct spool_reader *r, int64_t place, const struct record *rec,
				   const struct envelope *e)
{
	void *ctx;
	struct record other;
	uint8_t *raw;
	enum spool_found f = SPOOL_FOUND;
	int64_t body = rec->type == REC_MESSAGE ? place : e->body;

	if (body != place) {
		ctx = talloc_new(r);
		f = ctx ? spool_record_at(&r->files, ctx, body, &other, &raw) : SPOOL_FAILED;
		talloc_free(ctx);
		rec = &other;
	}
	if (f == SPOOL_FOUND && rec->type != REC_MESSAGE)
		f = SPOOL_FAILED;
	if (f == SPOOL_FOUND)
		f = spool_body_sound(&r->files, rec, body);
	if (f == SPOOL_FOUND)
		*body_slot(r, place) =
		    (struct body){place, body, spool_body_at(rec, body), rec->body_len};
	return f;
}

enum spool_found spool_read_envelope(struct spool_reader *r, void *ctx, int64_t place, uint32_t max,
				     struct spool_envelope **out)
{
	struct spool_envelope *to = talloc_zero(ctx, struct spool_envelope);
	void *raw = talloc_new(r);
	struct record rec;
	struct envelope e;
	enum spool_found f =
	    to && raw ? spool_envelope_at(&r->files, raw, place, &rec, &e) : SPOOL_FAILED;

	if (f == SPOOL_FOUND && !copy_envelope(to, &e, max))
		f = SPOOL_FAILED;
	if (f == SPOOL_FOUND)
		f = check_body(r, place, &rec, &e);
	talloc_free(raw);
	if (f == SPOOL_FOUND)
		*out = to;
	else
		talloc_free(to);
	return f;
}

bool spool_read_body(struct spool_reader *r, int64_t place, uint64_t off, uint8_t *buf, size_t cap,
		     size_t *got)
{
	enum spool_found f;
	const struct body *b = find_body(r, place, &f);

	*got = 0;
	if (!b)
		return false;
	size_t n = off >= b->len ? 0 : b->len - off < cap ? (size_t)(b->len - off) : cap;
	int fd = spool_files_get(&r->files, place_seg(b->body));
	if (fd < 0 || !spool_pread(fd, buf, n, b->at + off))
		return false;
	*got = n;
	return true;
}

/* --- for accounting -------------------------------------------------------------------------- */

bool spool_read_outbox(struct spool *s, struct spool_reader *r, uint64_t after,
		       bool (*fn)(uint64_t seq, uint32_t n, const uint8_t *records, size_t len,
				  void *arg),
		       void *arg)
{
	bool ok = true, more = true;
	struct row row;

	while (ok && more && rows_get(s, after, &after, &row)) {
		void *ctx = talloc_new(r);
		struct record rec;
		uint8_t *raw;
		enum spool_found f =
		    ctx ? spool_record_at(&r->files, ctx, row.place, &rec, &raw) : SPOOL_FAILED;
		ok = f == SPOOL_FOUND && rec.type == REC_OUTBOX && rec.head_len == 12 + row.len;
		/* Moved while we looked: the next time. */
		if (ok)
			more = fn(after, row.n, raw + RECORD_HEADER + 12, row.len, arg);
		talloc_free(ctx);
	}
	return ok;
}

/* --- for operators -----------------------------------------------------------------------------
 */

/* The names of spool_dests() without the numbers, as many as fit. */
static void domains_of(const char *dests, char *out, size_t cap)
{
	size_t len = 0;

	out[0] = '\0';
	for (const char *p = dests; *p;) {
		size_t n = strcspn(p, " ");
		const char *next = p + n + (p[n] == ' ');
		next += strcspn(next, " ");
		if (len + n + 2 <= cap) {
			if (len)
				out[len++] = ' ';
			memcpy(out + len, p, n);
			len += n;
			out[len] = '\0';
		}
		p = next + (*next == ' ');
	}
}

enum spool_found spool_read_detail(struct spool_reader *r, int64_t place, struct spool_detail *d)
{
	void *ctx = talloc_new(r);
	struct record rec;
	struct envelope e;
	enum spool_found f =
	    ctx ? spool_envelope_at(&r->files, ctx, place, &rec, &e) : SPOOL_FAILED;

	if (f == SPOOL_FOUND) {
		char *dests = spool_envelope_dests(&e);
		domains_of(dests, r->domains, sizeof(r->domains));
		free(dests);
		copy(r->mail_from, sizeof(r->mail_from), e.mail_from);
		copy(r->route, sizeof(r->route), e.route);
		copy(r->last_reply, sizeof(r->last_reply), e.last_reply);
		*d = (struct spool_detail){.mail_from = r->mail_from,
					   .route = r->route,
					   .rcpts = envelope_count(&e, R_WAITING) +
						    envelope_count(&e, R_DEFERRED),
					   .rcpt_domains = r->domains,
					   .last_reply = r->last_reply};
	}
	talloc_free(ctx);
	return f;
}

bool spool_read_recipients(struct spool_reader *r, int64_t place,
			   void (*fn)(const struct spool_recipient *t, void *arg), void *arg)
{
	static const char *const states[] = {"waiting", "deferred", "delivered", "bounced"};
	void *ctx = talloc_new(r);
	struct record rec;
	struct envelope e;
	bool ok = ctx && spool_envelope_at(&r->files, ctx, place, &rec, &e) == SPOOL_FOUND;

	for (uint32_t i = 0; ok && i < e.n; i++) {
		const struct env_rcpt *from = &e.rcpts[i];
		/* One that waits for a further round was deferred in an earlier one. */
		struct spool_recipient t = {
		    .address = from->address,
		    .status = from->status,
		    .reply = from->reply,
		    .state = states[from->state == R_WAITING && from->status[0] ? R_DEFERRED
										: from->state]};
		fn(&t, arg);
	}
	talloc_free(ctx);
	return ok;
}

/* The length up to and with the line end before the empty line. */
static size_t header_section(const char *s, size_t n)
{
	const char *e = n >= 2 && memcmp(s, "\r\n", 2) == 0 ? s : memmem(s, n, "\r\n\r\n", 4);

	return !e ? n : e == s ? 0 : (size_t)(e - s) + 2;
}

char *spool_read_headers(struct spool_reader *r, void *ctx, int64_t place)
{
	char *text = talloc_size(ctx, HEADERS_MAX + 1);
	size_t n;

	if (!text || !spool_read_body(r, place, 0, (uint8_t *)text, HEADERS_MAX, &n)) {
		talloc_free(text);
		return NULL;
	}
	text[header_section(text, n)] = '\0';
	return text;
}

/* --- what was put aside ------------------------------------------------------------------------
 */

#define ENVELOPE_MOST (1u << 20) /* of a damaged piece, to find whose it was */

/* The envelope at the beginning of a piece; its texts live as long as ctx. */
static void name_piece(void *ctx, int fd, struct spool_damaged *d)
{
	size_t n = d->bytes < ENVELOPE_MOST ? (size_t)d->bytes : ENVELOPE_MOST;
	uint8_t *raw = talloc_array(ctx, uint8_t, n + 1);
	struct record rec;
	struct envelope *e = talloc_zero(ctx, struct envelope);

	if (!raw || !e || n < RECORD_HEADER || !spool_pread(fd, raw, n, 0) ||
	    !record_parse(raw, &rec) || rec.head_len > n - RECORD_HEADER ||
	    !record_sound(raw, &rec) || (rec.type != REC_MESSAGE && rec.type != REC_ENVELOPE) ||
	    !envelope_decode(ctx, raw + RECORD_HEADER, rec.head_len, e))
		return;
	d->id = e->id;
	d->account = e->account;
	d->mail_from = e->mail_from;
	d->rcpts = e->n;
}

static void show_piece(void *ctx, int dir, const char *name,
		       void (*fn)(const struct spool_damaged *d, void *arg), void *arg)
{
	struct spool_damaged d = {.file = name, .id = "", .account = "", .mail_from = ""};
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && fstat(fd, &st) == 0) {
		d.bytes = (uint64_t)st.st_size;
		d.since_ms = (int64_t)st.st_mtime * 1000;
		name_piece(ctx, fd, &d);
		fn(&d, arg);
	}
	if (fd >= 0)
		close(fd);
}

size_t spool_read_damaged(struct spool_reader *r, void *ctx, size_t max,
			  void (*fn)(const struct spool_damaged *d, void *arg), void *arg)
{
	int fd = openat(r->files.dir, "damaged", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	size_t n = 0;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		void *own = n < max ? talloc_new(ctx) : NULL;
		if (own)
			show_piece(own, fd, e->d_name, fn, arg);
		talloc_free(own);
		n++;
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	return n;
}

/* --- destinations --------------------------------------------------------------------------------
 */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The domain is what follows the last @. */
static const char *domain_of(const char *address)
{
	const char *at = strrchr(address, '@');

	return at && at[1] ? at + 1 : "-";
}

char *spool_dests(const char *const *addresses, size_t n)
{
	const char **v = malloc((n + 1) * sizeof(*v));
	size_t cap = 1, len = 0;

	for (size_t i = 0; v && i < n; i++) {
		v[i] = domain_of(addresses[i]);
		cap += strlen(v[i]) + 12;
	}
	char *out = v ? malloc(cap) : NULL;
	if (!out)
		fatal("out of memory");
	out[0] = '\0';
	if (n > 1)
		qsort(v, n, sizeof(*v), by_text);
	for (size_t i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && strcmp(v[i], v[k]) == 0; k++)
			;
		len +=
		    (size_t)snprintf(out + len, cap - len, "%s%s %zu", len ? " " : "", v[i], k - i);
	}
	free(v);
	return out;
}
