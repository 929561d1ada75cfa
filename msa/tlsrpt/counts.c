/*
 * counts - see counts.h.
 *
 * Trusted with: files of its folder. Diagnostics: errno. Known gaps: a machine that loses power
 * loses the last half minute of counts.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/proc.h"
#include "lib/wire.h"

#include "msa/queue/crc32c.h"
#include "msa/tlsrpt/counts.h"

#define MAGIC	 0x534b5431u /* "SKT1" */
#define SLOTS	 (2 * TLSRPT_ROWS)
#define HEAD_LEN 8
#define SENT_MAX (4u << 20)

struct tlsrpt_counts {
	int fd;
	bool write;
	struct tlsrpt_row *rows;
	size_t n, cap;
	uint64_t dropped;
	uint16_t slots[SLOTS]; /* row + 1; 0 none */
};

/* --- words ------------------------------------------------------------------------------------ */

const char *tlsrpt_day(int64_t utc_ms, char buf[static TLSRPT_DAY_LEN])
{
	char text[CLOCK_STRLEN];

	snprintf(buf, TLSRPT_DAY_LEN, "%.10s", clock_format(utc_ms, text));
	return buf;
}

bool tlsrpt_day_valid(const char *day)
{
	for (size_t i = 0; i < TLSRPT_DAY_LEN - 1; i++)
		if (i == 4 || i == 7 ? day[i] != '-' : day[i] < '0' || day[i] > '9')
			return false;
	return day[TLSRPT_DAY_LEN - 1] == '\0';
}

const char *tlsrpt_policy_word(enum tlsrpt_policy p)
{
	static const char *const words[TLSRPT_POLICIES] = {"", "no-policy-found", "sts", "tlsa"};

	return p < TLSRPT_POLICIES ? words[p] : "";
}

const char *tlsrpt_result_word(enum tlsrpt_result r)
{
	static const char *const words[TLSRPT_RESULTS] = {"",
							  "starttls-not-supported",
							  "certificate-host-mismatch",
							  "certificate-expired",
							  "certificate-not-trusted",
							  "validation-failure",
							  "tlsa-invalid",
							  "dnssec-invalid",
							  "dane-required",
							  "sts-policy-fetch-error",
							  "sts-policy-invalid",
							  "sts-webpki-invalid"};

	return r < TLSRPT_RESULTS ? words[r] : "";
}

/* --- rows as bytes ---------------------------------------------------------------------------- */

static void encode(const struct tlsrpt_row *t, uint8_t out[static TLSRPT_ROW_BYTES])
{
	struct wire_out w;

	memset(out, 0, TLSRPT_ROW_BYTES);
	wire_out_init(&w, out + HEAD_LEN, TLSRPT_ROW_BYTES - HEAD_LEN);
	wire_u8(&w, t->kind);
	wire_u8(&w, t->policy);
	wire_u8(&w, t->result);
	wire_u64(&w, t->ok);
	wire_u64(&w, t->failed);
	wire_str(&w, t->domain);
	wire_str(&w, t->policy_domain);
	wire_str(&w, t->mx);
	wire_addr(&w, &t->from);
	wire_addr(&w, &t->to);
	wire_str(&w, t->text);
	bug_on(w.bad);
	wire_out_init(&w, out, HEAD_LEN);
	wire_u32(&w, MAGIC);
	wire_u32(&w, crc32c(0, out + HEAD_LEN, TLSRPT_ROW_BYTES - HEAD_LEN));
}

static bool decode(const uint8_t in[static TLSRPT_ROW_BYTES], struct tlsrpt_row *t)
{
	struct wire_in r;

	wire_in_init(&r, in, HEAD_LEN);
	if (wire_get_u32(&r) != MAGIC ||
	    wire_get_u32(&r) != crc32c(0, in + HEAD_LEN, TLSRPT_ROW_BYTES - HEAD_LEN))
		return false;
	wire_in_init(&r, in + HEAD_LEN, TLSRPT_ROW_BYTES - HEAD_LEN);
	t->kind = wire_get_u8(&r);
	t->policy = wire_get_u8(&r);
	t->result = wire_get_u8(&r);
	t->ok = wire_get_u64(&r);
	t->failed = wire_get_u64(&r);
	wire_get_str(&r, t->domain, sizeof(t->domain));
	wire_get_str(&r, t->policy_domain, sizeof(t->policy_domain));
	wire_get_str(&r, t->mx, sizeof(t->mx));
	wire_get_addr(&r, &t->from);
	wire_get_addr(&r, &t->to);
	wire_get_str(&r, t->text, sizeof(t->text));
	return !r.bad && t->kind >= TLSRPT_DOMAIN && t->kind <= TLSRPT_FAILURE &&
	       t->policy < TLSRPT_POLICIES && t->result < TLSRPT_RESULTS;
}

static bool put(struct tlsrpt_counts *c, const struct tlsrpt_row *t)
{
	uint8_t buf[TLSRPT_ROW_BYTES];
	off_t at = (off_t)(t - c->rows) * (off_t)TLSRPT_ROW_BYTES;

	if (!c->write)
		return true;
	encode(t, buf);
	ssize_t n = pwrite(c->fd, buf, sizeof(buf), at);
	if (n >= 0 && n < (ssize_t)sizeof(buf))
		errno = ENOSPC;
	return n == (ssize_t)sizeof(buf);
}

/* --- finding ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n--)
		h = (h ^ *p++) * 1099511628211u;
	return h;
}

static bool same(const struct tlsrpt_row *x, const struct tlsrpt_row *y)
{
	return x->kind == y->kind && x->policy == y->policy && x->result == y->result &&
	       strcmp(x->domain, y->domain) == 0 &&
	       strcmp(x->policy_domain, y->policy_domain) == 0 && strcmp(x->mx, y->mx) == 0 &&
	       addr_eq(&x->from, &y->from) && addr_eq(&x->to, &y->to);
}

/* Where it is, or would be. */
static const uint16_t *look(const struct tlsrpt_counts *c, const struct tlsrpt_row *t)
{
	uint64_t h = 14695981039346656037u;

	h = mix(h, &t->kind, 1);
	h = mix(h, &t->policy, 1);
	h = mix(h, &t->result, 1);
	h = mix(h, t->domain, strlen(t->domain) + 1);
	h = mix(h, t->policy_domain, strlen(t->policy_domain) + 1);
	h = mix(h, t->mx, strlen(t->mx) + 1);
	h = mix(h, &t->from, sizeof(t->from));
	h = mix(h, &t->to, sizeof(t->to));
	for (size_t i = (size_t)((h ^ h >> 32) % SLOTS);; i = (i + 1) % SLOTS)
		if (!c->slots[i] || same(&c->rows[c->slots[i] - 1], t))
			return &c->slots[i];
}

static uint16_t *slot_of(struct tlsrpt_counts *c, const struct tlsrpt_row *t)
{
	return &c->slots[look(c, t) - c->slots];
}

static struct tlsrpt_row *append(struct tlsrpt_counts *c, const struct tlsrpt_row *t)
{
	if (c->n == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 16;
		c->rows = talloc_realloc(c, c->rows, struct tlsrpt_row, (unsigned)c->cap);
		if (!c->rows)
			fatal("out of memory");
	}
	c->rows[c->n] = *t;
	return &c->rows[c->n++];
}

/* NULL: there is no room. */
static struct tlsrpt_row *find_or_add(struct tlsrpt_counts *c, const struct tlsrpt_row *t)
{
	uint16_t *slot = slot_of(c, t);

	if (*slot)
		return &c->rows[*slot - 1];
	if (c->n == TLSRPT_ROWS) {
		c->dropped++;
		return NULL;
	}
	append(c, t);
	*slot = (uint16_t)c->n;
	return &c->rows[c->n - 1];
}

/* --- the file --------------------------------------------------------------------------------- */

static bool load(struct tlsrpt_counts *c)
{
	uint8_t buf[TLSRPT_ROW_BYTES];
	ssize_t n = 0;

	for (off_t at = 0; c->n < TLSRPT_ROWS; at += (off_t)sizeof(buf)) {
		struct tlsrpt_row t;
		n = pread(c->fd, buf, sizeof(buf), at);
		if (n < (ssize_t)sizeof(buf))
			break;
		memset(&t, 0, sizeof(t));
		bool ok = decode(buf, &t);
		if (!ok) {
			/* Its place stays taken: rows after it must keep theirs. */
			c->dropped++;
			memset(&t, 0, sizeof(t));
		}
		append(c, &t);
		if (ok)
			*slot_of(c, &t) = (uint16_t)c->n;
	}
	return n >= 0;
}

static void remove_old(const char *folder, const char *today)
{
	int64_t now, then;
	const char *err;
	char oldest[TLSRPT_DAY_LEN], text[CLOCK_STRLEN];
	DIR *d;

	snprintf(text, sizeof(text), "%sT00:00:00Z", today);
	if (!clock_parse(text, 0, &now, &err) || !(d = opendir(folder)))
		return;
	then = now - INT64_C(86400000) * TLSRPT_KEEP_DAYS;
	tlsrpt_day(then > 0 ? then : 0, oldest);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char day[TLSRPT_DAY_LEN];
		snprintf(day, sizeof(day), "%.10s", e->d_name);
		if (tlsrpt_day_valid(day) && strcmp(day, oldest) < 0)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

static int close_file(struct tlsrpt_counts *c)
{
	if (c->fd >= 0)
		close(c->fd);
	return 0;
}

struct tlsrpt_counts *tlsrpt_open(void *ctx, const char *folder, const char *day, bool write)
{
	struct tlsrpt_counts *c = talloc_zero(ctx, struct tlsrpt_counts);
	char *path = talloc_asprintf(c, "%s/%s", folder, day);

	if (!c || !path)
		fatal("out of memory");
	c->write = write;
	if (write) {
		if (mkdir(folder, 0700) < 0 && errno != EEXIST)
			goto bad;
		remove_old(folder, day);
	}
	c->fd = open(path, (write ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->fd < 0)
		goto bad;
	talloc_set_destructor(c, close_file);
	if (load(c))
		return c;
bad:;
	int e = errno;
	talloc_free(c);
	errno = e;
	return NULL;
}

void tlsrpt_close(struct tlsrpt_counts *c)
{
	talloc_free(c);
}

/* --- counting --------------------------------------------------------------------------------- */

/* Printable ASCII of any case as it is, '\n' where lines may be. */
static void copy(char *to, size_t cap, const char *from, bool lines)
{
	size_t n = 0;

	for (; *from && n + 1 < cap; from++)
		to[n++] = (*from == '\n' && lines) || (*from >= 0x20 && *from < 0x7f) ? *from : '?';
	to[n] = '\0';
}

static void copy_name(char *to, const char *from)
{
	copy(to, TLSRPT_NAME_MAX, from ? from : "", false);
	for (; *to; to++)
		if (*to >= 'A' && *to <= 'Z')
			*to = (char)(*to + 32);
}

/* A policy that is too long loses whole lines. */
static void copy_lines(char *to, const char *from)
{
	copy(to, TLSRPT_TEXT_MAX, from, true);
	if (strlen(from) >= TLSRPT_TEXT_MAX) {
		char *last = strrchr(to, '\n');
		to[last ? last - to : 0] = '\0';
	}
}

static bool count_failure(struct tlsrpt_counts *c, const struct tlsrpt_row *of,
			  const struct tlsrpt_session *s)
{
	struct tlsrpt_row t = *of, *at;

	t.kind = TLSRPT_FAILURE;
	t.result = s->result;
	copy_name(t.mx, s->mx);
	if (s->from)
		t.from = *s->from;
	if (s->to)
		t.to = *s->to;
	t.ok = t.failed = 0;
	copy(t.text, TLSRPT_REASON_MAX, s->reason ? s->reason : "", false);
	at = find_or_add(c, &t);
	if (!at)
		return true;
	at->failed++;
	memcpy(at->text, t.text, sizeof(t.text));
	return put(c, at);
}

bool tlsrpt_count(struct tlsrpt_counts *c, const struct tlsrpt_session *s)
{
	struct tlsrpt_row t = {.kind = TLSRPT_POLICY, .policy = (uint8_t)s->policy}, *at;

	copy_name(t.domain, s->domain);
	copy_name(t.policy_domain, s->policy_domain);
	at = find_or_add(c, &t);
	if (!at)
		return true;
	if (s->policy_text && s->policy_text[0])
		copy_lines(at->text, s->policy_text);
	*(s->result == TLSRPT_OK ? &at->ok : &at->failed) += 1;
	bool ok = put(c, at);
	return s->result == TLSRPT_OK ? ok : count_failure(c, &t, s) && ok;
}

bool tlsrpt_knows(const struct tlsrpt_counts *c, const char *domain)
{
	struct tlsrpt_row t = {.kind = TLSRPT_DOMAIN};

	copy_name(t.domain, domain);
	return *look(c, &t) != 0;
}

bool tlsrpt_set_rua(struct tlsrpt_counts *c, const char *domain, const char *rua)
{
	struct tlsrpt_row t = {.kind = TLSRPT_DOMAIN}, *at;

	copy_name(t.domain, domain);
	at = find_or_add(c, &t);
	if (!at)
		return true;
	copy(at->text, sizeof(at->text), rua, false);
	return put(c, at);
}

const struct tlsrpt_row *tlsrpt_rows(const struct tlsrpt_counts *c, size_t *n)
{
	*n = c->n;
	return c->rows;
}

uint64_t tlsrpt_dropped(const struct tlsrpt_counts *c)
{
	return c->dropped;
}

/* --- who has got a report -----------------------------------------------------------------------
 */

static char *sent_file(void *ctx, const char *folder, const char *day)
{
	char *file = talloc_asprintf(ctx, "%s/%s.sent", folder, day);

	if (!file)
		fatal("out of memory");
	return file;
}

char *tlsrpt_sent(void *ctx, const char *folder, const char *day)
{
	size_t len;
	char *text = proc_read_file(sent_file(ctx, folder, day), SENT_MAX, &len);
	char *copy = talloc_asprintf(ctx, "\n%s", text ? text : "");

	free(text);
	if (!copy)
		fatal("out of memory");
	return copy;
}

bool tlsrpt_is_sent(const char *sent, const char *domain)
{
	size_t n = strlen(domain);

	for (const char *p = sent; n && (p = strstr(p, domain)); p += n)
		if (p[-1] == '\n' && p[n] == '\n')
			return true;
	return false;
}

bool tlsrpt_mark_sent(const char *folder, const char *day, const char *domain)
{
	char *file = sent_file(NULL, folder, day), line[TLSRPT_NAME_MAX + 1];
	int n = snprintf(line, sizeof(line), "%s\n", domain);
	int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool ok = fd >= 0 && write(fd, line, (size_t)n) == n;

	if (fd >= 0)
		close(fd);
	talloc_free(file);
	return ok;
}
