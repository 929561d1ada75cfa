/*
 * received - see received.h.
 *
 * The client's own words (its EHLO name) are cut to host-name characters, so that they can neither
 * fold the line nor open a comment.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"

#include "msa/mail/received.h"

static void safe_name(const char *in, char out[256])
{
	size_t n = 0;

	for (; *in && n < 255; in++) {
		unsigned char c = (unsigned char)*in;

		out[n++] = c < 0x80 && (isalnum(c) || strchr("-._:[]", c)) ? (char)c : '?';
	}
	if (n == 0)
		out[n++] = '?';
	out[n] = '\0';
}

static void from_clause(const struct received *r, char *out, size_t cap)
{
	char helo[256], ip[ADDR_STRLEN];

	out[0] = '\0';
	if (r->hide_client)
		return;
	safe_name(r->helo, helo);
	addr_format(&r->client, ip);
	snprintf(out, cap, "from %s ([%s%s])", helo, addr_is4(&r->client) ? "" : "IPv6:", ip);
}

const char *received_with(bool esmtp, bool tls, bool auth, bool utf8)
{
	static const char *const names[2][2][2] = {
	    {{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}},
	    {{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}},
	};

	return esmtp ? names[utf8][tls][auth] : "SMTP";
}

size_t received_format(const struct received *r, char buf[static RECEIVED_MAX])
{
	char from[340], date[40], tls[160] = "", rcpt[360] = "";
	int n;

	from_clause(r, from, sizeof(from));
	if (r->tls_version)
		snprintf(tls, sizeof(tls), "%s(using %s with cipher %s)\r\n\t",
			 r->hide_client ? "" : "\r\n\t", r->tls_version, r->tls_cipher);
	else if (!r->hide_client)
		snprintf(tls, sizeof(tls), "\r\n\t");
	if (r->rcpt)
		snprintf(rcpt, sizeof(rcpt), "\r\n\tfor <%s>", r->rcpt);
	n = snprintf(buf, RECEIVED_MAX,
		     "Received: %s%sby %s (Sekisho) with %s id %s%s;\r\n\t%s\r\n", from, tls,
		     r->host, r->with, r->queue_id, rcpt, clock_format_5322(r->t_ms, date));
	return n < RECEIVED_MAX ? (size_t)n : RECEIVED_MAX - 1;
}
