/*
 * lines - see lines.h. Pure.
 *
 * Trusted with: nothing. Diagnostics: those of its callers. Known gaps: none.
 */
#include <stdarg.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/lines.h"

bool lines_wrong(struct lines *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	*l->err = talloc_vasprintf(l->ctx, fmt, ap);
	va_end(ap);
	return false;
}

bool lines_each(struct lines *l, const char *text, size_t len, bool (*row)(void *arg), void *arg)
{
	const char *end = text + len;

	for (*l->line = 1; text < end; ++*l->line) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));

		l->p = text;
		l->end = nl ? nl : end;
		text = nl ? nl + 1 : end;
		if (!row(arg))
			return false;
	}
	return true;
}
