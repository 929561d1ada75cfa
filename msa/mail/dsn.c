/*
 * dsn - tell a sender what could not be delivered, or is late, or was handed on.
 *
 * Purpose: a notice that people can read (first part), programs can read (second part), and that
 * carries the failed message's headers with its trace token (third part). Trusted with: nothing;
 * replies, addresses and headers are foreign text and are reduced to printable ASCII before they
 * are placed. Diagnostics: none. Known gaps: English only.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/clock.h"

#include "msa/mail/dsn.h"
#include "msa/mail/esmtp.h"
#include "msa/mail/utf8.h"

#define LINE_MAX_OCTETS 990
#define TEXT_MAX	600 /* of one foreign text in one field */

struct out {
	char *s; /* talloc string */
	size_t len, cap;
	int bad;
	bool global; /* UTF-8 may stand in it */
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

/* Foreign text on one line. UTF-8 stays where it may, when it is any and is cut nowhere. */
static void foreign(struct out *o, const char *s)
{
	size_t n = strnlen(s, TEXT_MAX);
	bool keep = o->global && s[n] == '\0' && utf8_valid(s, n);

	for (size_t i = 0; i < n; i++) {
		char c = s[i] == '\t' ? ' ' : s[i];
		bool high = (unsigned char)c >= 0x80;
		if ((unsigned char)c < 0x20 || c == 0x7f || (high && !keep))
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

static const struct {
	const char *subject, *action, *lead;
} words[DSN_ACTIONS] = {
    [DSN_FAILED] = {"Your message could not be delivered", "failed",
		    "It could not be delivered to these recipients, and will not be tried again:"},
    [DSN_DELAYED] = {"Your message is delayed", "delayed",
		     "It has not reached these recipients yet, and is tried again:"},
    [DSN_DELIVERED] = {"Your message was delivered", "delivered",
		       "It was delivered into the mailbox of these recipients:"},
    [DSN_RELAYED] =
	{"Your message was handed on", "relayed",
	 "It was handed on for these recipients, by a server that may not report more:"},
};

static bool has(const struct dsn *d, enum dsn_action a)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->rcpts[i].action == a)
			return true;
	return false;
}

static const char *subject(const struct dsn *d)
{
	enum dsn_action a = DSN_FAILED;

	if (d->double_bounce)
		return "A message could not be delivered, nor could its sender be told";
	if (d->summary)
		return "What became of several of your messages";
	while (a < DSN_RELAYED && !has(d, a))
		a++;
	return words[a].subject;
}

static void top(struct out *o, const struct dsn *d)
{
	char when[40];

	LINE(o, "From: Mail Delivery System <", d->host->postmaster, ">");
	text(o, "To: <");
	text(o, d->to); /* an address of ours, parsed when it came in: RFC 6532 allows UTF-8 here */
	text(o, ">\r\n");
	LINE(o, "Subject: ", subject(d));
	LINE(o, "Date: ", clock_format_5322(d->now_ms, when));
	LINE(o, "Message-ID: <", d->id, "@", d->host->hostname, ">");
	LINE(o, "Auto-Submitted: auto-replied");
	LINE(o, "MIME-Version: 1.0");
	LINE(o, "Content-Type: multipart/report; report-type=delivery-status;");
	LINE(o, "\tboundary=\"=_", d->id, "\"");
	text(o, "\r\n");
}

/* An address as it may stand there. */
static const char *shown(const struct out *o, const char *address, char *buf, size_t cap)
{
	if (o->global)
		return address;
	return esmtp_address_text(address, buf, cap) ? buf : address;
}
#define ADDRESS_MAX 3300 /* every octet of one escaped */

static void part(struct out *o, const struct dsn *d, const char *type)
{
	LINE(o, "\r\n--=_", d->id);
	LINE(o, "Content-Type: ", type);
	text(o, "\r\n");
}

static void opening(struct out *o, const struct dsn *d)
{
	char when[40], n[16];

	LINE(o, "This is the mail system at ", d->host->hostname, ".");
	text(o, "\r\n");
	if (d->summary) {
		text(o, "There were more notices for you than are sent one by one within an hour. "
			"This is about\r\nseveral of the messages you sent.\r\n");
		snprintf(n, sizeof(n), "%u", d->more);
		if (d->more)
			LINE(o, "Recipients that there was no room to list: ", n);
		return;
	}
	if (d->double_bounce)
		text(o, "The message below could not be delivered, and has no sender who could "
			"be told. You get\r\nthis as the postmaster.\r\n\r\n");
	LINE(o, d->double_bounce ? "It was taken on " : "This is about the message you sent on ",
	     clock_format_5322(d->received_ms, when), ".");
}

static void for_people(struct out *o, const struct dsn *d)
{
	char address[ADDRESS_MAX];

	part(o, d, o->global ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii");
	opening(o, d);
	for (enum dsn_action a = 0; a < DSN_ACTIONS; a++) {
		if (!has(d, a))
			continue;
		LINE(o, "\r\n", words[a].lead);
		for (size_t i = 0; i < d->n; i++) {
			const struct dsn_rcpt *t = &d->rcpts[i];
			if (t->action != a)
				continue;
			LINE(o, "\r\n  <", shown(o, t->address, address, sizeof(address)), ">");
			LINE(o, t->remote ? "    the other server said: " : "    ", t->reply);
		}
	}
	text(o, "\r\nIf you need help, answer to this message and keep the text below.\r\n");
}

/* RFC 6533 3: in UTF-8 the address itself, in ASCII utf-8-addr-xtext. */
static void recipients(struct out *o, const struct dsn_rcpt *t)
{
	char address[ADDRESS_MAX], orcpt[ESMTP_ORCPT_MAX + 1];
	bool ascii = !utf8_any(t->address, strlen(t->address));

	if (t->orcpt && t->orcpt[0] && esmtp_orcpt_text(t->orcpt, orcpt))
		LINE(o, "Original-Recipient: ", orcpt);
	LINE(o, ascii ? "Final-Recipient: rfc822; " : "Final-Recipient: utf-8; ",
	     shown(o, t->address, address, sizeof(address)));
}

static void for_programs_rcpt(struct out *o, const struct dsn *d, const struct dsn_rcpt *t)
{
	char when[40];

	text(o, "\r\n");
	recipients(o, t);
	LINE(o, "Action: ", words[t->action].action);
	LINE(o, "Status: ", t->status);
	if (t->mta && t->mta[0])
		LINE(o, "Remote-MTA: dns; ", t->mta);
	LINE(o, t->remote ? "Diagnostic-Code: smtp; " : "Diagnostic-Code: x-sekisho; ", t->reply);
	if (t->last_ms)
		LINE(o, "Last-Attempt-Date: ", clock_format_5322(t->last_ms, when));
	LINE(o, "Final-Log-Id: ", t->about ? t->about : d->failed_id);
	if (t->action == DSN_DELAYED && !d->summary)
		LINE(o, "Will-Retry-Until: ", clock_format_5322(d->until_ms, when));
}

/* RFC 3464 2: per-message fields, an empty line, then fields of each recipient. */
static void for_programs(struct out *o, const struct dsn *d)
{
	char when[40], envid[ESMTP_ENVID_MAX + 1];

	part(o, d, o->global ? "message/global-delivery-status" : "message/delivery-status");
	if (!d->summary && d->envid &&
	    esmtp_xtext(d->envid, strlen(d->envid), envid, sizeof(envid)))
		LINE(o, "Original-Envelope-Id: ", envid);
	LINE(o, "Reporting-MTA: dns; ", d->host->hostname);
	if (!d->summary) {
		LINE(o, "X-Sekisho-Queue-Id: ", d->failed_id);
		LINE(o, "Arrival-Date: ", clock_format_5322(d->received_ms, when));
	}
	for (size_t i = 0; i < d->n; i++)
		for_programs_rcpt(o, d, &d->rcpts[i]);
}

/* Mail that requires TLS comes back on a way that may not have it: no more of it than what names it
 * (RFC 8689 5). */
static bool names_it(const char *field, size_t len)
{
	static const char *const names[] = {"Message-ID:", "Date:", "X-Sekisho-Trace:"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (len >= strlen(names[i]) && strncasecmp(field, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static void header_line(struct out *o, const char *s, size_t len)
{
	bool keep = o->global && len <= LINE_MAX_OCTETS && utf8_valid(s, len);

	for (size_t i = 0; i < len && i < LINE_MAX_OCTETS; i++) {
		bool high = (unsigned char)s[i] >= 0x80;
		char c = s[i];
		if (high ? !keep : c != '\t' && (c < 0x20 || c == 0x7f))
			c = '?';

		put(o, &c, 1);
	}
	text(o, "\r\n");
}

/* Up to the empty line that ends the header section; long lines are cut, so that none can break the
 * notice. */
static void headers(struct out *o, const struct dsn *d)
{
	const char *s = d->message, *end = s + d->message_len;
	bool keep = true;

	part(o, d, o->global ? "message/global-headers" : "text/rfc822-headers");
	while (s < end) {
		const char *lf = memchr(s, '\n', (size_t)(end - s));
		size_t len = (size_t)((lf ? lf : end) - s);

		if (len > 0 && s[len - 1] == '\r')
			len--;
		if (len == 0)
			break;
		if (d->give == DSN_SECRET && *s != ' ' && *s != '\t')
			keep = names_it(s, len);
		if (keep)
			header_line(o, s, len);
		s = lf ? lf + 1 : end;
	}
}

/* As it came, and as its sender asked (RET=FULL). */
static void whole(struct out *o, const struct dsn *d)
{
	const char *s = d->message;
	size_t len = d->message_len;
	bool eight = false;

	for (size_t i = 0; i < len && !eight; i++)
		eight = s[i] & 0x80;
	LINE(o, "\r\n--=_", d->id);
	text(o,
	     o->global ? "Content-Type: message/global\r\n" : "Content-Type: message/rfc822\r\n");
	text(o, eight ? "Content-Transfer-Encoding: 8bit\r\n\r\n" : "\r\n");
	put(o, s, len);
	if (len < 2 || memcmp(s + len - 2, "\r\n", 2) != 0)
		text(o, "\r\n");
}

char *dsn_build(void *ctx, const struct dsn *d, size_t *len)
{
	struct out o = {.global = utf8_any(d->to, strlen(d->to))};

	top(&o, d);
	text(&o, "This is a delivery status notification in MIME format.\r\n");
	for_people(&o, d);
	for_programs(&o, d);
	if (!d->summary)
		(d->give == DSN_FULL ? whole : headers)(&o, d);
	LINE(&o, "\r\n--=_", d->id, "--");
	if (o.bad) {
		talloc_free(o.s);
		return NULL;
	}
	*len = o.len;
	return talloc_steal(ctx, o.s);
}
