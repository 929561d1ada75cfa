/*
 * mail - see mail.h.
 *
 * The body is quoted-printable and the subject encoded words, so that any relay can carry it
 * without 8BITMIME or SMTPUTF8. Both are written out here: GMime stays in the process that reads
 * strangers' reports (arf_child.c) and out of acctd's own, and what is made here is one text part
 * of known bounds. It is marked Auto-Submitted, so that nobody's vacation answers.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: none.
 */
#include "accounting/alert/mail.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/base64.h"
#include "lib/clock.h"
#include "lib/proc.h"

#define WORD_BYTES 42 /* of UTF-8 in one encoded word: 56 of base64 */
#define QP_COLS	   75

static bool is_ascii(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s > 0x7e || (unsigned char)*s < 0x20)
			return false;
	return true;
}

/* Whole characters, at most WORD_BYTES. */
static size_t word_length(const char *s)
{
	size_t n = strlen(s);
	if (n <= WORD_BYTES)
		return n;
	for (n = WORD_BYTES; n > 1 && ((unsigned char)s[n] & 0xc0) == 0x80;)
		n--;
	return n;
}

/* RFC 2047; ASCII as it is, on lines of its own where it is long. */
static char *encoded(void *ctx, const char *s)
{
	char *out = talloc_strdup(ctx, "");
	if (is_ascii(s) && strlen(s) <= 60)
		return talloc_strdup(ctx, s);
	while (*s) {
		size_t n = word_length(s);
		out = talloc_asprintf_append_buffer(out, "%s=?UTF-8?B?%s?=", *out ? "\r\n " : "",
						    base64_encode(ctx, s, n));
		s += n;
	}
	return out;
}

/* RFC 2045 6.7. */
static char *quoted_printable(void *ctx, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t len = strlen(text), col = 0;
	/* Three octets for each, and a soft line end of three every 72. */
	char *out = talloc_size(ctx, len * 4 + 16), *o = out;
	if (!out)
		fatal("out of memory");
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		bool end = p[1] == '\n' || p[1] == '\0';
		bool plain = (*p >= 0x21 && *p <= 0x7e && *p != '=') || (*p == ' ' && !end);
		if (*p == '\n') {
			*o++ = '\r', *o++ = '\n', col = 0;
			continue;
		}
		if (col + (plain ? 1 : 3) > QP_COLS) {
			*o++ = '=', *o++ = '\r', *o++ = '\n', col = 0;
		}
		if (plain) {
			*o++ = (char)*p, col++;
		} else {
			*o++ = '=', *o++ = hex[*p >> 4], *o++ = hex[*p & 15], col += 3;
		}
	}
	*o = '\0';
	return out;
}

char *mail_make(void *ctx, const struct mail_head *h, const char *text)
{
	char date[40];
	void *tmp = talloc_new(NULL);
	char *m = talloc_asprintf(
	    ctx,
	    "Date: %s\r\nFrom: Sekisho <%s>\r\nTo: <%s>\r\nSubject: %s\r\n"
	    "Message-ID: <%s@%s>\r\nSekisho-Alert-Id: %s\r\nAuto-Submitted: auto-generated\r\n"
	    "Precedence: bulk\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n\r\n%s",
	    clock_format_5322(h->made_ms, date), h->from, h->to, encoded(tmp, h->subject), h->uuid,
	    h->host, h->uuid, quoted_printable(tmp, text));
	if (!m)
		fatal("out of memory");
	talloc_free(tmp);
	return m;
}
