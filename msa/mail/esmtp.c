/*
 * esmtp - see esmtp.h.
 *
 * Trusted with: nothing but its arguments; fuzzed by tests/fuzz/msa/fuzz_esmtp.c. Known gaps: the
 * address inside ORCPT is not parsed, it is only carried.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "msa/mail/esmtp.h"
#include "msa/mail/utf8.h"

/* --- NOTIFY --- */

static const struct {
	const char *name;
	uint8_t bit;
} notifies[] = {{"NEVER", NOTIFY_NEVER},
		{"SUCCESS", NOTIFY_SUCCESS},
		{"FAILURE", NOTIFY_FAILURE},
		{"DELAY", NOTIFY_DELAY}};
#define N_NOTIFIES (sizeof(notifies) / sizeof(*notifies))

static uint8_t notify_bit(const char *v, size_t len)
{
	for (size_t i = 0; i < N_NOTIFIES; i++)
		if (strlen(notifies[i].name) == len && strncasecmp(notifies[i].name, v, len) == 0)
			return notifies[i].bit;
	return 0;
}

bool esmtp_notify(const char *v, size_t len, uint8_t *out)
{
	const char *end = v + len;

	for (*out = 0;; v++) {
		const char *comma = memchr(v, ',', (size_t)(end - v));
		uint8_t bit = notify_bit(v, (size_t)((comma ? comma : end) - v));

		if (bit == 0 || (*out & bit))
			return false;
		*out |= bit;
		if (!comma)
			return !(*out & NOTIFY_NEVER) || *out == NOTIFY_NEVER;
		v = comma;
	}
}

const char *esmtp_notify_text(uint8_t notify, char buf[static ESMTP_NOTIFY_MAX])
{
	buf[0] = '\0';
	for (size_t i = 0; i < N_NOTIFIES; i++) {
		if (!(notify & notifies[i].bit))
			continue;
		if (buf[0])
			strncat(buf, ",", ESMTP_NOTIFY_MAX - strlen(buf) - 1);
		strncat(buf, notifies[i].name, ESMTP_NOTIFY_MAX - strlen(buf) - 1);
	}
	return buf;
}

/* --- xtext --- */

static int upper_hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One character at v; 0: not xtext. */
static size_t xtext_next(const char *v, size_t len, char *c)
{
	if (v[0] != '+') {
		*c = v[0];
		return v[0] >= '!' && v[0] <= '~' && v[0] != '=' ? 1 : 0;
	}
	if (len < 3 || upper_hex(v[1]) < 0 || upper_hex(v[2]) < 0)
		return 0;
	*c = (char)(upper_hex(v[1]) << 4 | upper_hex(v[2]));
	return *c >= ' ' && *c <= '~' ? 3 : 0;
}

bool esmtp_xtext(const char *v, size_t len, char *out, size_t cap)
{
	size_t n = 0, step;

	for (size_t i = 0; i < len; i += step) {
		char c;

		if (n + 1 >= cap || (step = xtext_next(v + i, len - i, &c)) == 0)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return n > 0;
}

/* --- utf-8 addresses --- */

/* QCHAR of RFC 6533 3. */
static bool plain(uint32_t c)
{
	return c >= '!' && c <= '~' && c != '+' && c != '=' && c != '\\';
}

static bool put_escaped(uint32_t cp, char *out, size_t *n, size_t cap)
{
	int w = snprintf(out + *n, cap - *n, "\\x{%02X}", (unsigned)cp);

	*n += w > 0 ? (size_t)w : 0;
	return w > 0 && *n < cap;
}

/* \x{HEX} at v; its length, 0 when it is none. */
static size_t embedded(const char *v, size_t len)
{
	uint32_t cp = 0;
	size_t i = 3;

	if (len < 6 || memcmp(v, "\\x{", 3) != 0)
		return 0;
	for (; i < len && i < 9 && upper_hex(v[i]) >= 0; i++)
		cp = cp << 4 | (uint32_t)upper_hex(v[i]);
	if (i < 5 || i >= len || v[i] != '}' || (i > 5 && v[3] == '0'))
		return 0;
	if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp > 0x10ffff ||
	    (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	return i + 1;
}

/* The address of an ORCPT of type utf-8, in ASCII. */
static bool utf8_address(const char *v, size_t len, bool utf8, char *out, size_t cap)
{
	size_t n = 0, step;
	uint32_t cp;

	for (size_t i = 0; i < len; i += step) {
		if ((step = embedded(v + i, len - i)) > 0) {
			if (n + step >= cap)
				return false;
			memcpy(out + n, v + i, step);
			n += step;
			continue;
		}
		step = utf8_next(v + i, len - i, &cp);
		if (step == 0 || (cp < 0x80 && !plain(cp)) || (cp >= 0x80 && (!utf8 || cp < 0xa0)))
			return false;
		if (cp >= 0x80 ? !put_escaped(cp, out, &n, cap) : n + 1 >= cap)
			return false;
		if (cp < 0x80)
			out[n++] = (char)cp;
	}
	out[n] = '\0';
	return n > 0;
}

/* The length of the address type before the ";"; 0: there is none. */
static size_t type_len(const char *v, size_t len)
{
	size_t n = 0;

	while (n < len && (isalnum((unsigned char)v[n]) || v[n] == '-') && !(v[n] & 0x80))
		n++;
	return n < len && v[n] == ';' ? n : 0;
}

static bool is_utf8_type(const char *v, size_t n)
{
	return n == 5 && strncasecmp(v, "utf-8", 5) == 0;
}

bool esmtp_orcpt(const char *v, size_t len, bool utf8, char out[static ESMTP_ORCPT_MAX + 1])
{
	size_t n = len > ESMTP_ORCPT_MAX ? 0 : type_len(v, len);
	char decoded[ESMTP_ORCPT_MAX + 1];

	if (n == 0)
		return false;
	memcpy(out, v, n + 1);
	v += n + 1;
	len -= n + 1;
	if (is_utf8_type(out, n))
		return utf8_address(v, len, utf8, out + n + 1, ESMTP_ORCPT_MAX - n);
	if (!esmtp_xtext(v, len, decoded, sizeof(decoded)))
		return false;
	memcpy(out + n + 1, v, len);
	out[n + 1 + len] = '\0';
	return true;
}

bool esmtp_orcpt_text(const char *orcpt, char out[static ESMTP_ORCPT_MAX + 1])
{
	size_t len = strlen(orcpt), n = len > ESMTP_ORCPT_MAX ? 0 : type_len(orcpt, len);

	if (n == 0)
		return false;
	memcpy(out, orcpt, len + 1);
	return is_utf8_type(orcpt, n) ||
	       esmtp_xtext(orcpt + n + 1, len - n - 1, out + n + 1, ESMTP_ORCPT_MAX - n);
}

bool esmtp_address_text(const char *address, char *out, size_t cap)
{
	size_t len = strlen(address), n = 0, step;
	bool any = utf8_any(address, len);
	uint32_t cp;

	for (size_t i = 0; i < len; i += step) {
		step = utf8_next(address + i, len - i, &cp);
		if (step == 0 || n + 1 >= cap)
			return false;
		if (!any || plain(cp))
			out[n++] = (char)cp;
		else if (!put_escaped(cp, out, &n, cap))
			return false;
	}
	out[n] = '\0';
	return true;
}
