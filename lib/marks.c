/*
 * marks - see marks.h.
 *
 * Trusted with: nothing. Diagnostics: one text. Known gaps: none.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/marks.h"

bool marks_parse(const char *text, struct marks *out, const char **err)
{
	char *end = NULL;
	*err = "must be 2 to 8 neighbouring bits in hexadecimal, such as 0x00ff0000";
	if (strncmp(text, "0x", 2) != 0 || !isxdigit((unsigned char)text[2]) || strlen(text) > 10)
		return false;
	uint32_t mask = (uint32_t)strtoul(text, &end, 16);
	if (*end != '\0' || mask == 0)
		return false;
	unsigned shift = (unsigned)__builtin_ctz(mask);
	uint32_t bits = mask >> shift;
	if (bits < 3 || bits > 0xff || (bits & (bits + 1)) != 0)
		return false;
	*out = (struct marks){mask, 1u << shift, 2u << shift, 3u << shift};
	return true;
}
