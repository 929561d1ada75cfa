/*
 * notice - see notice.h.
 *
 * Trusted with: nothing. Diagnostics: the caller's. Known gaps: a client that pipelines DATA gets a
 * 503 for each line of its message, until the tenth.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/amap.h"
#include "nfq/notice.h"

/* --- one connection -------------------------------------------------------------- */

/* Printable ASCII (RFC 5321 4.2: textstring). */
static bool is_text(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			return false;
	return true;
}

bool notice_greeting(const char *hostname, const char *text, const char *url,
		     char out[static NOTICE_REPLY])
{
	if (!*hostname || strchr(hostname, ' ') || !is_text(hostname) || !is_text(text) ||
	    !is_text(url))
		return false;
	int n = snprintf(out, NOTICE_REPLY, "554 5.7.1 %s %s%s%s\r\n", hostname, text,
			 *url ? " see " : "", url);
	return n > 0 && n < NOTICE_REPLY;
}

/* "QUIT", with blanks behind it. */
static bool is_quit(const struct notice *n)
{
	size_t len = n->len < sizeof n->start ? n->len : sizeof n->start;
	return len >= 4 && strncasecmp(n->start, "QUIT", 4) == 0 &&
	       (len == 4 || strchr(" \t\r", n->start[4]));
}

static const char *reply(struct notice *n)
{
	if (is_quit(n)) {
		n->over = true;
		return "221 2.0.0 Bye\r\n";
	}
	if (++n->errors >= NOTICE_ERRORS) {
		n->over = true;
		return "421 4.7.0 Too many errors\r\n";
	}
	return n->too_long ? "500 5.5.2 Line too long\r\n"
			   : "503 5.5.1 Port 25 is closed here: only QUIT is taken\r\n";
}

static void take_byte(struct notice *n, char c)
{
	if (n->len < sizeof n->start)
		n->start[n->len] = c;
	if (n->len < NOTICE_LINE)
		n->len++;
	n->too_long = n->len == NOTICE_LINE;
}

size_t notice_feed(struct notice *n, const char *data, size_t len, char *out, size_t cap,
		   size_t *out_len)
{
	size_t i = 0;
	for (; i < len && !n->over; i++) {
		if (data[i] != '\n') {
			take_byte(n, data[i]);
			continue;
		}
		if (cap - *out_len < NOTICE_REPLY)
			break;
		*out_len += (size_t)snprintf(out + *out_len, cap - *out_len, "%s", reply(n));
		n->len = 0;
		n->too_long = false;
	}
	return i;
}

/* --- who may have one ------------------------------------------------------------ */

struct notice_gate {
	struct amap *sources;
	unsigned max, each, inside;
};

struct notice_gate *notice_gate_new(void *ctx, unsigned max)
{
	struct notice_gate *g = talloc_zero(ctx, struct notice_gate);
	bug_on(!g);
	g->max = max;
	g->each = max / 10 < 2 ? 2 : max / 10;
	g->sources = amap_new(g, sizeof(unsigned), max);
	return g;
}

static struct addr line_of(const struct addr *source)
{
	struct addr key;
	addr_mask(source, addr_is4(source) ? 32 : 64, &key);
	return key;
}

bool notice_enter(struct notice_gate *g, const struct addr *source)
{
	const struct addr key = line_of(source);
	if (g->inside >= g->max)
		return false;
	unsigned *n = amap_put(g->sources, &key, 0, NULL);
	if (!n || *n >= g->each)
		return false;
	++*n;
	g->inside++;
	return true;
}

void notice_leave(struct notice_gate *g, const struct addr *source)
{
	const struct addr key = line_of(source);
	unsigned *n = amap_get(g->sources, &key, 0);
	bug_on(!n || *n == 0 || g->inside == 0);
	if (--*n == 0)
		(void)amap_remove(g->sources, &key, 0);
	g->inside--;
}

unsigned notice_inside(const struct notice_gate *g)
{
	return g->inside;
}
