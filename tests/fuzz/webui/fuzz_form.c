/* Fields of a query, a body and a Cookie header; what comes out is text, and goes through the
 * escaping writer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "webui/cgi.h"
#include "webui/html.h"

static void show(struct html *h, const struct cgi_fields *f, enum cgi_text kind)
{
	for (size_t i = 0; i < f->n; i++) {
		if (!f->v[i].value)
			continue;
		if (!cgi_text_ok(f->v[i].value, strlen(f->v[i].value), kind))
			abort();
		put(h, FOR(f->v[i].name), ATT(f->v[i].value), URL(f->v[i].value),
		    PRE(f->v[i].value));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void *ctx = talloc_new(NULL);
	struct html *h = html_new(ctx, 0);
	struct cgi_fields f;
	const char *err = NULL;
	enum cgi_text kind = size && data[0] & 1 ? CGI_MANY_LINES : CGI_ONE_LINE;
	if (cgi_urlencoded(ctx, (const char *)data, size, 16, kind, &f, &err))
		show(h, &f, kind);
	if (cgi_cookies(ctx, (const char *)data, size, 16, &f, &err))
		show(h, &f, CGI_ONE_LINE);
	/* The raw bytes too, as the text of a stranger. */
	char *text = talloc_strndup(ctx, (const char *)data, size);
	put(h, TXT(text));
	size_t before, after;
	html_data(h, &before);
	put(h, ATT(text));
	const char *attr = html_data(h, &after) + before;
	if (strpbrk(attr, "<>\"'"))
		abort();
	talloc_free(ctx);
	return 0;
}
