/* Mail to a tagged sender: fields, an empty line, a body. Whatever it says, recipients are
 * addresses, texts are one line, and it says the same when it comes octet by octet. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/mail/returned.h"

static void fields(struct returned_reader *r, const char **p, const char *end)
{
	while (*p < end && **p != '\n') {
		const char *nl = memchr(*p, '\n', (size_t)(end - *p)), *to = nl ? nl : end;
		char line[2000];
		size_t n = (size_t)(to - *p);

		if (n < sizeof(line) && !memchr(*p, '\0', n)) {
			memcpy(line, *p, n);
			line[n] = '\0';
			char *colon = strchr(line, ':');
			if (colon) {
				*colon = '\0';
				returned_field(r, line, colon + 1);
			}
		}
		*p = nl ? nl + 1 : end;
	}
	if (*p < end)
		++*p;
}

static void read_it(const uint8_t *data, size_t size, bool slowly, struct returned *out)
{
	struct returned_reader *r = returned_new(NULL);
	const char *p = (const char *)data, *end = p + size;

	fields(r, &p, end);
	if (!slowly)
		returned_body(r, p, (size_t)(end - p));
	for (; slowly && p < end; p++)
		returned_body(r, p, 1);
	returned_end(r, out);
}

static void one_line(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 32 || *s == 127)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct returned a, b;

	if (size == 0)
		return 0;
	read_it(data, size, false, &a);
	read_it(data, size, true, &b);
	if (memcmp(&a, &b, sizeof(a)) != 0 || a.n > RETURNED_RCPTS)
		abort();
	if (a.n && a.form != RETURNED_DSN && a.form != RETURNED_EXIM && a.form != RETURNED_QMAIL)
		abort();
	one_line(a.mta);
	for (uint32_t i = 0; i < a.n; i++) {
		if (!strchr(a.rcpt[i].rcpt, '@'))
			abort();
		one_line(a.rcpt[i].rcpt);
		one_line(a.rcpt[i].original);
		one_line(a.rcpt[i].text);
		if (a.rcpt[i].status[0] && !isdigit((unsigned char)a.rcpt[i].status[0]))
			abort();
	}
	return 0;
}
