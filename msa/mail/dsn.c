/*
 * dsn - tell a sender what could not be delivered.
 *
 * Purpose: a notice that people can read (first part), programs can read (second part), and that
 * carries the failed message's headers with its trace token (third part). Trusted with: nothing;
 * replies, addresses and headers are foreign text and are reduced to printable ASCII before they
 * are placed. Diagnostics: none. Known gaps: English only; the body of the failed message is not
 * returned.
 */
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"

#include "msa/mail/dsn.h"

#define LINE_MAX_OCTETS 990
#define TEXT_MAX	600 /* of one foreign text in one field */

struct out {
	char *s; /* talloc string */
	size_t len, cap;
	int bad;
};

static void put(struct out *o, const char *s, size_t n)
{
	if (o->bad)
		return;
	if (o->len + n + 1 > o->cap) {
		size_t cap = (o->len + n + 1) * 2;
		char *bigger = talloc_realloc(NULL, o->s, char, cap);
		if (!bigger) {
			o->bad = 1;
			return;
		}
		o->s = bigger;
		o->cap = cap;
	}
	memcpy(o->s + o->len, s, n);
	o->len += n;
	o->s[o->len] = '\0';
}

static void text(struct out *o, const char *s)
{
	put(o, s, strlen(s));
}

/* Foreign text on one line. */
static void foreign(struct out *o, const char *s)
{
	size_t n = strnlen(s, TEXT_MAX);

	for (size_t i = 0; i < n; i++) {
		char c = s[i] == '\t' ? ' ' : s[i];
		if (c < 0x20 || c > 0x7e)
			c = '?';
		put(o, &c, 1);
	}
}

/* strings and foreign texts in turn: text, foreign, text, ... NULL ends. */
static void line(struct out *o, const char *const *parts)
{
	for (size_t i = 0; parts[i]; i++)
		(i % 2 ? foreign : text)(o, parts[i]);
	text(o, "\r\n");
}
#define LINE(o, ...) line((o), (const char *const[]){__VA_ARGS__, NULL})

static void top(struct out *o, const struct dsn *d)
{
	char when[40];

	LINE(o, "From: Mail Delivery System <", d->host->postmaster, ">");
	LINE(o, "To: <", d->to, ">");
	LINE(o, "Subject: Your message could not be delivered");
	LINE(o, "Date: ", clock_format_5322(d->now_ms, when));
	LINE(o, "Message-ID: <", d->id, "@", d->host->hostname, ">");
	LINE(o, "Auto-Submitted: auto-replied");
	LINE(o, "MIME-Version: 1.0");
	LINE(o, "Content-Type: multipart/report; report-type=delivery-status;");
	LINE(o, "\tboundary=\"=_", d->id, "\"");
	text(o, "\r\n");
}

static void part(struct out *o, const struct dsn *d, const char *type)
{
	LINE(o, "\r\n--=_", d->id);
	LINE(o, "Content-Type: ", type);
	text(o, "\r\n");
}

static void for_people(struct out *o, const struct dsn *d)
{
	char when[40];

	part(o, d, "text/plain; charset=us-ascii");
	LINE(o, "This is the mail system at ", d->host->hostname, ".");
	text(o, "\r\n");
	LINE(o, "The message you sent on ", clock_format_5322(d->received_ms, when),
	     " could not be");
	text(o, "delivered to the recipients below, and will not be tried again.\r\n");
	for (size_t i = 0; i < d->n; i++) {
		LINE(o, "\r\n  <", d->failures[i].address, ">");
		LINE(o, d->failures[i].remote ? "    the other server said: " : "    ",
		     d->failures[i].reply);
	}
	text(o, "\r\nIf you need help, answer to this message and keep the text below.\r\n");
}

/* RFC 3464 2: per-message fields, an empty line, then fields of each recipient. */
static void for_programs(struct out *o, const struct dsn *d)
{
	char when[40];

	part(o, d, "message/delivery-status");
	LINE(o, "Reporting-MTA: dns; ", d->host->hostname);
	LINE(o, "X-Sekisho-Queue-Id: ", d->failed_id);
	LINE(o, "Arrival-Date: ", clock_format_5322(d->received_ms, when));
	for (size_t i = 0; i < d->n; i++) {
		const struct dsn_failure *f = &d->failures[i];
		LINE(o, "\r\nFinal-Recipient: rfc822; ", f->address);
		LINE(o, "Action: failed");
		LINE(o, "Status: ", f->status);
		if (f->remote)
			LINE(o, "Remote-MTA: x-address; ", d->host->smarthost);
		LINE(o, f->remote ? "Diagnostic-Code: smtp; " : "Diagnostic-Code: x-sekisho; ",
		     f->reply);
	}
}

/* Up to the empty line that ends the header section; long lines are cut, so that none can break the
 * notice. */
static void headers(struct out *o, const struct dsn *d)
{
	size_t column = 0;

	part(o, d, "text/rfc822-headers");
	for (size_t i = 0; i < d->headers_len; i++) {
		char c = d->headers[i];
		if (c == '\r')
			continue;
		if (c == '\n') {
			if (column == 0)
				break;
			text(o, "\r\n");
			column = 0;
			continue;
		}
		if (c != '\t' && (c < 0x20 || c > 0x7e))
			c = '?';
		if (column++ < LINE_MAX_OCTETS)
			put(o, &c, 1);
	}
	if (column)
		text(o, "\r\n");
}

char *dsn_build(void *ctx, const struct dsn *d, size_t *len)
{
	struct out o = {.bad = 0};

	top(&o, d);
	text(&o, "This is a delivery status notification in MIME format.\r\n");
	for_people(&o, d);
	for_programs(&o, d);
	headers(&o, d);
	LINE(&o, "\r\n--=_", d->id, "--");
	if (o.bad) {
		talloc_free(o.s);
		return NULL;
	}
	*len = o.len;
	return talloc_steal(ctx, o.s);
}
