/*
 * log - see log.h.
 *
 * A line is built in a buffer on the stack and leaves in one write(2), so lines of several threads
 * never mix. It holds at most LINE_MAX_BYTES, which a pipe takes in one piece (PIPE_BUF); a longer
 * one ends in cut=1.
 *
 * Trusted with: foreign text in values, which it escapes. Diagnostics: none of its own; errno is
 * left as it was. Known gaps: when stderr is a full non-blocking pipe or a full disk, the line is
 * lost.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/log.h"

#define LINE_MAX_BYTES PIPE_BUF
#define VALUE_MAX      512

/* Written at start-up only, but for the level. */
static struct {
	char program[32];
	bool journal; /* stderr is the journal's socket */
	void (*sink)(const char *line, size_t len, void *arg);
	void *sink_arg;
} g;
static atomic_int g_max = LOG_INFO;

struct line {
	char buf[LINE_MAX_BYTES];
	size_t len;
	bool cut;
};

#define TAIL_MARK " cut=1"

static void put(struct line *l, const char *s, size_t n)
{
	/* The newline and the mark always fit. */
	if (l->cut || n > sizeof l->buf - l->len - sizeof TAIL_MARK - 1) {
		l->cut = true;
		return;
	}
	memcpy(l->buf + l->len, s, n);
	l->len += n;
}

static void put_str(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* --- escaping ------------------------------------------------------------------------ */

/* Length of the UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates), its character in
 * *cp; 0: not UTF-8. */
static size_t utf8_at(const unsigned char *s, size_t n, unsigned *cp)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t want = s[0] < 0x80   ? 1
		      : s[0] < 0xc2 ? 0
		      : s[0] < 0xe0 ? 2
		      : s[0] < 0xf0 ? 3
		      : s[0] < 0xf5 ? 4
				    : 0;
	if (!want || want > n)
		return 0;
	unsigned v = want == 1 ? s[0] : s[0] & (0xffu >> (want + 1));
	for (size_t i = 1; i < want; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (s[i] & 0x3f);
	}
	if (v < least[want] || (v >= 0xd800 && v <= 0xdfff) || v > 0x10ffff)
		return 0;
	*cp = v;
	return want;
}

/* Characters that move the cursor, break lines or turn the direction of writing, so that a line
 * could lie. */
static bool is_control(unsigned cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x200b && cp <= 0x200f) ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff;
}

/* A character that is neither escaped nor a reason for quotes. */
static bool is_word(unsigned char c)
{
	return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=';
}

/* Escapes into buf (n bytes with the NUL). Returns bytes written; *plain is false when quotes are
 * needed around it. */
static size_t escape(const char *text, size_t len, char *buf, size_t n, bool *plain)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)text;
	size_t out = 0;
	*plain = len > 0;
	for (size_t i = 0, step; i < len; i += step) {
		unsigned cp = 0;
		if (is_word(s[i]) && out + 1 < n) { /* nearly all of what is logged */
			buf[out++] = (char)s[i];
			step = 1;
			continue;
		}
		step = utf8_at(s + i, len - i, &cp);
		bool esc = !step || is_control(cp) || cp == '"' || cp == '\\';
		step = step ? step : 1;
		size_t need = esc ? 4 * step : step;
		if (out + need >= n)
			break;
		*plain = *plain && !esc && cp > ' ' && cp < 0x7f && cp != '=';
		for (size_t k = 0; k < step; k++) {
			unsigned char c = s[i + k];
			if (esc) {
				memcpy(buf + out, "\\x", 2);
				buf[out + 2] = hex[c >> 4];
				buf[out + 3] = hex[c & 15];
				out += 4;
			} else {
				buf[out++] = (char)c;
			}
		}
	}
	buf[out] = '\0';
	return out;
}

const char *log_escape(const char *text, size_t len, char *buf, size_t n)
{
	bool plain;
	if (n)
		(void)escape(text, len, buf, n, &plain);
	return buf;
}

static void put_value(struct line *l, const char *s, size_t len)
{
	char buf[VALUE_MAX + 1];
	bool plain;
	size_t n = escape(s, len, buf, sizeof buf, &plain);
	if (!plain)
		put_str(l, "\"");
	put(l, buf, n);
	if (!plain)
		put_str(l, "\"");
}

/* --- lines --------------------------------------------------------------------------- */

/* printf(3) takes ten times as long, several times a line. */
static void put_int(struct line *l, int64_t v)
{
	char buf[24], *p = buf + sizeof buf;
	uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	do
		*--p = (char)('0' + left % 10);
	while (left /= 10);
	if (v < 0)
		*--p = '-';
	put(l, p, (size_t)(buf + sizeof buf - p));
}

static void put_kv(struct line *l, const struct log_kv *kv)
{
	char text[ADDR_STRLEN];
	size_t before = l->len;
	put_str(l, " ");
	put_str(l, kv->key);
	put_str(l, "=");
	switch (kv->type) {
	case LOG_T_INT:
		put_int(l, kv->v.i);
		break;
	case LOG_T_ADDR:
		put_str(l, kv->v.a ? addr_format(kv->v.a, text) : "-");
		break;
	case LOG_T_STR:
	case LOG_T_BYTES:
		if (!kv->v.s)
			put_str(l, "-");
		else if (kv->type == LOG_T_STR && strcmp(kv->v.s, "-") == 0)
			put_str(l, "\"-\""); /* not the NULL one */
		else
			put_value(l, kv->v.s, kv->type == LOG_T_STR ? strlen(kv->v.s) : kv->len);
		break;
	}
	if (l->cut)
		l->len = before; /* a pair is whole or absent */
}

/* What stands before the id; returns its length. */
static size_t put_prefix(struct line *l, int prio)
{
	char t[CLOCK_STRLEN];
	if (g.journal) {
		put_str(l, "<");
		put_int(l, prio);
		put_str(l, ">");
	} else {
		put_str(l, clock_format(clock_utc_ms(), t));
		put_str(l, " ");
		put_str(l, g.program);
		put_str(l, g.program[0] ? ": " : "");
	}
	return l->len;
}

static void write_line(const char *s, size_t n)
{
	while (n) {
		ssize_t w = write(STDERR_FILENO, s, n);
		if (w < 0 && errno != EINTR)
			return;
		if (w > 0) {
			s += w;
			n -= (size_t)w;
		}
	}
}

void log_emit(int prio, const char *id, const char *subsystem, const char *event,
	      const struct log_kv *kv)
{
	int saved = errno;
	struct line l;
	if (prio > atomic_load_explicit(&g_max, memory_order_relaxed))
		return;
	l.len = 0;
	l.cut = false;
	size_t skip = put_prefix(&l, prio);
	put_value(&l, id ? id : "-", id ? strlen(id) : 1);
	put_str(&l, " ");
	put_str(&l, subsystem);
	put_str(&l, " ");
	put_str(&l, event);
	for (; kv && kv->key && !l.cut; kv++)
		put_kv(&l, kv);
	if (l.cut) {
		memcpy(l.buf + l.len, TAIL_MARK, sizeof TAIL_MARK - 1);
		l.len += sizeof TAIL_MARK - 1;
	}
	if (g.sink) {
		g.sink(l.buf + skip, l.len - skip, g.sink_arg);
	} else {
		l.buf[l.len++] = '\n';
		write_line(l.buf, l.len);
	}
	errno = saved;
}

/* sd-daemon: JOURNAL_STREAM is "device:inode" of the stream; a child with another stderr inherits
 * the variable too. */
static bool stderr_is_journal(void)
{
	struct stat st;
	char want[64];
	const char *s = getenv("JOURNAL_STREAM");
	if (!s || fstat(STDERR_FILENO, &st) != 0)
		return false;
	(void)snprintf(want, sizeof want, "%llu:%llu", (unsigned long long)st.st_dev,
		       (unsigned long long)st.st_ino);
	return strcmp(s, want) == 0;
}

void log_open(const char *program, int max_priority)
{
	(void)snprintf(g.program, sizeof g.program, "%s", program);
	g.journal = stderr_is_journal();
	log_level(max_priority);
}

void log_level(int max_priority)
{
	atomic_store_explicit(&g_max, max_priority, memory_order_relaxed);
}

void log_sink(void (*write_line_fn)(const char *line, size_t len, void *arg), void *arg)
{
	g.sink = write_line_fn;
	g.sink_arg = arg;
}
