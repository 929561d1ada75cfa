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

size_t received_format(const struct received *r, char buf[static RECEIVED_MAX])
{
	char helo[256], ip[ADDR_STRLEN], date[40], tls[160] = "", rcpt[360] = "";
	int n;

	safe_name(r->helo, helo);
	addr_format(&r->client, ip);
	if (r->tls_version)
		snprintf(tls, sizeof(tls), "\r\n\t(using %s with cipher %s)", r->tls_version,
			 r->tls_cipher);
	if (r->rcpt)
		snprintf(rcpt, sizeof(rcpt), "\r\n\tfor <%s>", r->rcpt);
	n = snprintf(
	    buf, RECEIVED_MAX,
	    "Received: from %s ([%s%s])%s\r\n\tby %s (Sekisho) with %s id %s%s;\r\n\t%s\r\n", helo,
	    addr_is4(&r->client) ? "" : "IPv6:", ip, tls, r->host, r->with, r->queue_id, rcpt,
	    clock_format_5322(r->t_ms, date));
	return n < RECEIVED_MAX ? (size_t)n : RECEIVED_MAX - 1;
}
