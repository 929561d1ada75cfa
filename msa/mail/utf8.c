/*
 * utf8 - see utf8.h. Trusted with: nothing but its arguments. Known gaps: no normal form is asked
 * for.
 */
#include <string.h>

#include "msa/mail/utf8.h"

static const struct {
	uint8_t mask, lead;
	size_t len;
	uint32_t least;
} forms[] = {
    {0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

size_t utf8_next(const char *s, size_t len, uint32_t *cp)
{
	uint8_t c = len > 0 ? (uint8_t)s[0] : 0xff;
	size_t f = 0;

	while (f < 4 && (c & forms[f].mask) != forms[f].lead)
		f++;
	if (f == 4 || forms[f].len > len)
		return 0;
	*cp = c & (uint8_t)~forms[f].mask;
	for (size_t i = 1; i < forms[f].len; i++) {
		if (((uint8_t)s[i] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | ((uint8_t)s[i] & 0x3f);
	}
	if (*cp < forms[f].least || *cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
		return 0;
	return forms[f].len;
}

bool utf8_valid(const char *s, size_t len)
{
	uint32_t cp;
	size_t n;

	for (size_t i = 0; i < len; i += n)
		if ((n = utf8_next(s + i, len - i, &cp)) == 0)
			return false;
	return true;
}

bool utf8_any(const char *s, size_t len)
{
	uint64_t any = 0, v;
	size_t i = 0;

	for (; len - i >= sizeof(v); i += sizeof(v)) {
		memcpy(&v, s + i, sizeof(v));
		any |= v;
	}
	for (; i < len; i++)
		any |= (uint64_t)(uint8_t)s[i];
	return any & 0x8080808080808080ULL;
}
