/* Values of parameters: what is taken is ASCII, fits where it is kept, and reads as the same again.
 */
#include <stdlib.h>
#include <string.h>

#include "msa/mail/esmtp.h"
#include "msa/mail/utf8.h"

static void printable(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			abort();
}

static void notify(const char *s, size_t size)
{
	char buf[ESMTP_NOTIFY_MAX];
	uint8_t bits, again;

	if (!esmtp_notify(s, size, &bits))
		return;
	esmtp_notify_text(bits, buf);
	if (bits == 0 || !esmtp_notify(buf, strlen(buf), &again) || again != bits)
		abort();
}

static void orcpt(const char *s, size_t size, bool utf8)
{
	char out[ESMTP_ORCPT_MAX + 1], again[ESMTP_ORCPT_MAX + 1], text[ESMTP_ORCPT_MAX + 1];

	if (!esmtp_orcpt(s, size, utf8, out))
		return;
	printable(out);
	if (!esmtp_orcpt(out, strlen(out), false, again) || strcmp(out, again) != 0 ||
	    !esmtp_orcpt_text(out, text))
		abort();
	printable(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data;
	char text[200], *copy = malloc(size + 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	copy[size] = '\0';
	notify(s, size);
	orcpt(s, size, false);
	orcpt(s, size, true);
	if (esmtp_xtext(s, size, text, sizeof(text)))
		printable(text);
	if (esmtp_address_text(copy, text, sizeof(text)) &&
	    (!utf8_valid(copy, strlen(copy)) || utf8_any(text, strlen(text))))
		abort();
	free(copy);
	return 0;
}
