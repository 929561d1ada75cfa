/*
 * html - the escaping writer.
 *
 * Purpose: the one place where text becomes markup. Pure: memory only.
 * Trusted with: keeping the text of strangers text, and visible. Subject, HELO, From and report
 * fields are written by people who would like the reader to see something else than what is there.
 * Diagnostics: none; a failed allocation shows in html_ok().
 * Known gaps: look-alike letters (homographs) are shown as they are.
 */
#include "webui/html.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

struct html {
	char *buf;
	size_t len, cap;
	int64_t now_ms;
	bool bad;
};

struct html *html_new(void *ctx, int64_t now_ms)
{
	struct html *h = talloc_zero(ctx, struct html);
	if (!h)
		return NULL;
	h->now_ms = now_ms;
	h->cap = 16384;
	h->buf = talloc_array(h, char, h->cap);
	h->bad = !h->buf;
	if (h->buf)
		h->buf[0] = '\0';
	return h;
}

int64_t html_now(const struct html *h)
{
	return h->now_ms;
}

bool html_ok(const struct html *h)
{
	return !h->bad;
}

const char *html_data(const struct html *h, size_t *len)
{
	*len = h->bad ? 0 : h->len;
	return h->bad ? "" : h->buf;
}

static bool grow(struct html *h, size_t need)
{
	size_t cap = h->cap;
	while (cap - h->len <= need)
		cap *= 2;
	if (cap == h->cap)
		return true;
	char *buf = talloc_realloc(h, h->buf, char, cap);
	if (!buf) {
		h->bad = true;
		return false;
	}
	h->buf = buf;
	h->cap = cap;
	return true;
}

static void add(struct html *h, const char *s, size_t n)
{
	if (h->bad || !grow(h, n))
		return;
	memcpy(h->buf + h->len, s, n);
	h->len += n;
	h->buf[h->len] = '\0';
}

static void adds(struct html *h, const char *s)
{
	add(h, s, strlen(s));
}

/* --- text ------------------------------------------------------------------------------------- */

bool html_is_hidden(uint32_t cp)
{
	static const struct {
		uint32_t lo, hi;
	} rows[] = {
	    {0x00, 0x08},     {0x0b, 0x1f},	{0x7f, 0x9f},	  {0xad, 0xad},
	    {0x61c, 0x61c},   {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},
	    {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (cp >= rows[i].lo && cp <= rows[i].hi)
			return true;
	return false;
}

/* How long the sequence is that begins with c; 0: none does. */
static size_t utf8_expect(unsigned char c)
{
	static const struct {
		unsigned char lo, hi, n;
	} rows[] = {{0x00, 0x7f, 1}, {0xc2, 0xdf, 2}, {0xe0, 0xef, 3}, {0xf0, 0xf4, 4}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (c >= rows[i].lo && c <= rows[i].hi)
			return rows[i].n;
	return 0;
}

/* One character of UTF-8: its length and code point; length 0 when the byte at s begins none. */
static size_t utf8_next(const unsigned char *s, uint32_t *cp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = utf8_expect(s[0]);
	*cp = s[0];
	if (n < 2)
		return n;
	*cp = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) /* also the NUL at the end */
			return 0;
		*cp = *cp << 6 | (s[i] & 0x3f);
	}
	if (*cp < least[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
		return 0;
	return n;
}

static const char *entity(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return NULL;
	}
}

/* A hidden character or a stray byte, made visible. */
static void add_mark(struct html *h, bool in_markup, const char *what)
{
	adds(h, in_markup ? "<span class=\"hid\" title=\"hidden character\">" : "[");
	adds(h, what);
	adds(h, in_markup ? "</span>" : "]");
}

enum where { IN_TEXT, IN_PRE, IN_ATTR };

static void escape(struct html *h, const char *s, enum where w)
{
	const unsigned char *p = (const unsigned char *)s;
	char mark[16];
	while (*p) {
		uint32_t cp;
		size_t n = utf8_next(p, &cp);
		const char *ent = n == 1 ? entity((char)*p) : NULL;
		if (w == IN_PRE && *p == '\r' && p[1] == '\n') {
			/* the line end of mail */
		} else if (!n) {
			snprintf(mark, sizeof(mark), "\\x%02x", *p);
			add_mark(h, w != IN_ATTR, mark);
			n = 1;
		} else if (html_is_hidden(cp)) {
			snprintf(mark, sizeof(mark), "U+%04" PRIX32, cp);
			add_mark(h, w != IN_ATTR, mark);
		} else if (ent) {
			adds(h, ent);
		} else {
			add(h, (const char *)p, n);
		}
		p += n;
	}
}

static void foreign(struct html *h, const char *s)
{
	if (!s || !*s) {
		adds(h, "<span class=\"none\">&ndash;</span>");
		return;
	}
	adds(h, "<bdi>");
	escape(h, s, IN_TEXT);
	adds(h, "</bdi>");
}

static void url_part(struct html *h, const char *s)
{
	static const char plain[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	for (; *s; s++) {
		char pct[4];
		if (strchr(plain, *s)) {
			add(h, s, 1);
			continue;
		}
		snprintf(pct, sizeof(pct), "%%%02X", (unsigned char)*s);
		add(h, pct, 3);
	}
}

/* --- numbers and times ------------------------------------------------------------------------ */

static void number(struct html *h, int64_t v)
{
	char digits[24], out[32];
	uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, u);
	size_t w = 0;
	if (v < 0)
		out[w++] = '-';
	for (int i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0)
			out[w++] = ',';
		out[w++] = digits[i];
	}
	add(h, out, w);
}

static void integer(struct html *h, int64_t v)
{
	char out[24];
	snprintf(out, sizeof(out), "%" PRId64, v);
	adds(h, out);
}

/* 12345 → "12.345", 12300 → "12.3", 12000 → "12". Never negative. */
static void milli(struct html *h, int64_t v)
{
	char out[32];
	int n = snprintf(out, sizeof(out), "%" PRId64 ".%03" PRId64, v / 1000, v % 1000);
	while (n > 0 && out[n - 1] == '0')
		out[--n] = '\0';
	if (n > 0 && out[n - 1] == '.')
		out[--n] = '\0';
	adds(h, out);
}

const char *html_span(int64_t ms, char buf[static 40])
{
	static const struct {
		int64_t ms;
		const char *name;
	} units[] = {
	    {86400000, "d"},
	    {3600000, "h"},
	    {60000, "min"},
	    {1000, "s"},
	};
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		/* Keep two digits of meaning: 90 minutes, not 1 hour. */
		int64_t n = ms / units[i].ms;
		bool last = i + 1 == sizeof(units) / sizeof(*units);
		if (n >= 2 || (n == 1 && ms % units[i].ms == 0) || last) {
			snprintf(buf, 40, "%" PRId64 " %s", n, units[i].name);
			return buf;
		}
	}
	return buf;
}

const char *html_ago(int64_t t_ms, int64_t now_ms, char buf[static 40])
{
	char span[40];
	int64_t d = now_ms - t_ms;
	if (d > -1000 && d < 1000) {
		snprintf(buf, 40, "just now");
		return buf;
	}
	html_span(d < 0 ? -d : d, span);
	snprintf(buf, 40, d < 0 ? "in %.30s" : "%.30s ago", span);
	return buf;
}

/* <time datetime="2026-11-22T13:08:10Z" ...>TEXT</time> */
static void time_open(struct html *h, int64_t ms, char iso[static CLOCK_STRLEN])
{
	clock_format(ms, iso);
	adds(h, "<time datetime=\"");
	adds(h, iso);
	adds(h, "\"");
}

static void when(struct html *h, int64_t ms)
{
	char iso[CLOCK_STRLEN];
	time_open(h, ms, iso);
	adds(h, ">");
	add(h, iso, strnlen(iso, 10));
	if (strlen(iso) >= 19) {
		adds(h, " ");
		add(h, iso + 11, 8);
	}
	adds(h, "</time>");
}

static void size(struct html *h, int64_t octets)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	char out[40];
	double v = (double)octets;
	size_t u = 0;
	while (v >= 999.5 && u + 1 < sizeof(units) / sizeof(*units)) {
		v /= 1000;
		u++;
	}
	snprintf(out, sizeof(out), "%.*f %s", u > 0 && v < 9.95 ? 1 : 0, v, units[u]);
	adds(h, out);
}

static void day(struct html *h, int64_t ms)
{
	char iso[CLOCK_STRLEN];
	time_open(h, ms, iso);
	adds(h, ">");
	add(h, iso, strnlen(iso, 10));
	adds(h, "</time>");
}

static void ago(struct html *h, int64_t ms)
{
	char iso[CLOCK_STRLEN], text[40];
	time_open(h, ms, iso);
	adds(h, " title=\"");
	adds(h, iso);
	adds(h, "\">");
	adds(h, html_ago(ms, h->now_ms, text));
	adds(h, "</time>");
}

/* --- dispatch --------------------------------------------------------------------------------- */

static void put_text(struct html *h, const struct html_piece *p)
{
	const char *s = p->s ? p->s : "";
	switch (p->type) {
	case HTML_LIT:
		adds(h, s);
		break;
	case HTML_TXT:
		escape(h, s, IN_TEXT);
		break;
	case HTML_FOR:
		foreign(h, s);
		break;
	case HTML_PRE:
		escape(h, s, IN_PRE);
		break;
	case HTML_ATT:
		escape(h, s, IN_ATTR);
		break;
	default:
		url_part(h, s);
		break;
	}
}

void html_put(struct html *h, const struct html_piece *p)
{
	for (; p->type != HTML_END; p++) {
		switch (p->type) {
		case HTML_NUM:
			number(h, p->i);
			break;
		case HTML_INT:
			integer(h, p->i);
			break;
		case HTML_SIZE:
			size(h, p->i);
			break;
		case HTML_MILLI:
			milli(h, p->i);
			break;
		case HTML_WHEN:
			when(h, p->i);
			break;
		case HTML_DAY:
			day(h, p->i);
			break;
		case HTML_AGO:
			ago(h, p->i);
			break;
		default:
			put_text(h, p);
			break;
		}
	}
}
