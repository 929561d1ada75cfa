/*
 * orphan - see orphan.h.
 *
 * Purpose: a successor that starts at once. Trusted with: <state_dir>/msa/orphan.*. Diagnostics:
 * errno; log lines orphan-damaged. Known gaps: no fsync, as with the journal.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/journal.h"
#include "msa/relay/orphan.h"

#define PREFIX	"orphan."
#define IDS_MAX 100000

struct orphan {
	int fd;
	uint64_t seq;
	char *path;
};

static bool write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		ssize_t w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

struct orphan *orphan_begin(const char *folder, const char (*ids)[QUEUE_ID_LEN + 1], size_t n)
{
	struct orphan *o = talloc_zero(NULL, struct orphan);
	char *text = talloc_asprintf(o, "%zu\n", n), *part;

	if (!o || !text || !(o->path = talloc_asprintf(o, "%s/" PREFIX "%d", folder, getpid())))
		fatal("out of memory");
	for (size_t i = 0; i < n; i++)
		if (!(text = talloc_asprintf_append(text, "%s\n", ids[i])))
			fatal("out of memory");
	part = talloc_asprintf(o, "%s.part", o->path);
	if (!part)
		fatal("out of memory");
	/* Whole and locked before it has its name. */
	o->fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_APPEND, 0600);
	if (o->fd >= 0 && flock(o->fd, LOCK_EX | LOCK_NB) == 0 &&
	    write_all(o->fd, text, strlen(text)) && rename(part, o->path) == 0)
		return o;
	int e = errno;
	if (o->fd >= 0)
		close(o->fd);
	unlink(part);
	talloc_free(o);
	errno = e;
	return NULL;
}

bool orphan_append(struct orphan *o, struct relay_outcome *outcome)
{
	uint8_t slot[JOURNAL_SLOT_BYTES];
	bool ok = true;

	for (uint32_t i = 0; i < outcome->n; i++) {
		struct journal_record r = {
		    .seq = ++o->seq, .attempt = outcome->attempt, .rcpt = outcome->rcpts[i]};
		memcpy(r.id, outcome->id, sizeof(r.id));
		journal_encode(&r, slot);
		ok &= write_all(o->fd, slot, sizeof(slot));
	}
	outcome->seq = 0;
	return ok;
}

void orphan_end(struct orphan *o)
{
	if (!o)
		return;
	close(o->fd);
	talloc_free(o);
}

/* --- the successor's side ------------------------------------------------------------------ */

struct remains {
	char *path;
	int fd;
	char (*ids)[QUEUE_ID_LEN + 1];
	size_t n;
	size_t data; /* where the records begin */
	struct remains *next;
};

struct orphans {
	struct remains *first;
};

/* False: not one of ours. */
static bool read_ids(struct remains *m)
{
	char head[32] = "", line[QUEUE_ID_LEN + 1];
	ssize_t got = pread(m->fd, head, sizeof(head) - 1, 0);
	char *end = NULL;
	unsigned long n = got > 0 ? strtoul(head, &end, 10) : 0;

	if (!end || end == head || *end != '\n' || n > IDS_MAX)
		return false;
	m->data = (size_t)(end + 1 - head);
	m->ids = talloc_zero_size(m, (n + 1) * sizeof(*m->ids));
	if (!m->ids)
		fatal("out of memory");
	for (; m->n < n; m->n++, m->data += sizeof(line)) {
		if (pread(m->fd, line, sizeof(line), (off_t)m->data) != (ssize_t)sizeof(line) ||
		    line[QUEUE_ID_LEN] != '\n')
			return false;
		line[QUEUE_ID_LEN] = '\0';
		if (!queue_id_valid(line))
			return false;
		memcpy(m->ids[m->n], line, sizeof(line));
	}
	return true;
}

static void open_one(struct orphans *o, const char *folder, const char *name)
{
	struct remains *m = talloc_zero(o, struct remains);

	if (!m || !(m->path = talloc_asprintf(m, "%s/%s", folder, name)))
		fatal("out of memory");
	m->fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (m->fd >= 0 && read_ids(m)) {
		m->next = o->first;
		o->first = m;
		return;
	}
	log_event(LOG_ERR, "-", "relay", "orphan-damaged", LS("file", m->path),
		  LS("action", "left out; what it was about may be sent again"));
	if (m->fd >= 0)
		close(m->fd);
	unlink(m->path);
	talloc_free(m);
}

struct orphans *orphans_find(const char *folder)
{
	struct orphans *o = talloc_zero(NULL, struct orphans);
	DIR *d = opendir(folder);
	struct dirent *e;

	if (!o)
		fatal("out of memory");
	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0 && !strstr(e->d_name, ".part"))
			open_one(o, folder, e->d_name);
	if (d)
		closedir(d);
	if (o->first)
		return o;
	talloc_free(o);
	return NULL;
}

void orphans_free(struct orphans *o)
{
	for (struct remains *m = o ? o->first : NULL; m; m = m->next)
		close(m->fd);
	talloc_free(o);
}

void orphans_each_id(const struct orphans *o, void (*fn)(const char *id, void *arg), void *arg)
{
	for (const struct remains *m = o->first; m; m = m->next)
		for (size_t i = 0; i < m->n; i++)
			fn(m->ids[i], arg);
}

static void answered(struct remains *m, const char *id)
{
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->ids[i], id) == 0)
			m->ids[i][0] = '\0';
}

/* All records from m->data on; false when one was not taken. */
static bool take_records(struct remains *m, const struct orphans_handlers *h, void *arg)
{
	struct relay_outcome *o = talloc_zero(m, struct relay_outcome);
	uint8_t slot[JOURNAL_SLOT_BYTES];
	struct journal_record r;
	bool ok = true;

	if (!o)
		fatal("out of memory");
	while (ok && pread(m->fd, slot, sizeof(slot), (off_t)m->data) == (ssize_t)sizeof(slot)) {
		if (journal_decode(slot, &r)) {
			memcpy(o->id, r.id, sizeof(o->id));
			o->attempt = r.attempt;
			o->n = 1;
			o->rcpts[0] = r.rcpt;
			ok = h->take(o, arg);
			if (ok)
				answered(m, r.id);
		}
		m->data += ok ? sizeof(slot) : 0;
	}
	talloc_free(o);
	return ok;
}

static bool through(struct remains *m, const struct orphans_handlers *h, void *arg)
{
	if (flock(m->fd, LOCK_SH | LOCK_NB) != 0 || !take_records(m, h, arg))
		return false;
	for (size_t i = 0; i < m->n; i++)
		if (m->ids[i][0])
			h->lost(m->ids[i], arg);
	unlink(m->path);
	close(m->fd);
	return true;
}

bool orphans_poll(struct orphans *o, const struct orphans_handlers *h, void *arg)
{
	for (struct remains **p = &o->first; *p;) {
		struct remains *m = *p;
		if (!through(m, h, arg)) {
			p = &m->next;
			continue;
		}
		*p = m->next;
		talloc_free(m);
	}
	return !o->first;
}
