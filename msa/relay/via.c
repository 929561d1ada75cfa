/*
 * via - see via.h.
 *
 * Trusted with: text of the relay role. Diagnostics: none. Known gaps: none.
 */
#include <string.h>

#include "msa/relay/via.h"

static const char *word(const char *s, char *out, size_t cap)
{
	size_t n = strcspn(s, " ");

	if (n < cap)
		memcpy(out, s, n);
	out[n < cap ? n : 0] = '\0';
	s += n;
	return s + strspn(s, " ");
}

void via_parse(const char *text, struct via *out)
{
	memset(out, 0, sizeof(*out));
	text = word(text, out->server, sizeof(out->server));
	text = word(text, out->tls, sizeof(out->tls));
	text = word(text, out->cipher, sizeof(out->cipher));
	word(text, out->proof, sizeof(out->proof));
	size_t n = strcspn(out->server, "[");
	if (n == 0)
		n = strcspn(out->server, "]") + 1;
	if (n <= strlen(out->server))
		memcpy(out->mta, out->server, n);
}
