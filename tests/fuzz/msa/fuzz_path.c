/* Addresses: what is taken has a canonical form that parses to itself, in <> and without. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "msa/mail/mailbox.h"
#include "msa/mail/path.h"
#include "msa/mail/utf8.h"

static void check(const struct path *p)
{
	char bracket[PATH_TEXT_MAX + 3];
	struct path again;
	const char *err;
	size_t used;

	if (p->null) {
		if (p->text[0] || p->local[0] || p->domain[0])
			abort();
		return;
	}
	snprintf(bracket, sizeof(bracket), "<%s>", p->text);
	if (!(p->utf8 ? path_parse_utf8 : path_parse)(bracket, strlen(bracket), &again, &used,
						      &err) ||
	    used != strlen(bracket))
		abort();
	if (memcmp(&again, p, sizeof(again)) != 0)
		abort();
	for (const char *c = p->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f || (!p->utf8 && *c > '~'))
			abort();
	if (p->utf8 != utf8_any(p->text, strlen(p->text)) || !utf8_valid(p->text, strlen(p->text)))
		abort();
}

static void keep(const struct path *p, void *arg)
{
	*(struct path *)arg = *p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data, *err;
	struct path p;
	size_t used;

	if (path_parse(s, size, &p, &used, &err)) {
		if (used > size)
			abort();
		check(&p);
	}
	if (path_parse_mailbox(s, size, &p, &err)) {
		check(&p);
		if (p.utf8)
			abort();
	}
	if (path_parse_utf8(s, size, &p, &used, &err))
		check(&p);
	if (path_parse_mailbox_utf8(s, size, &p, &err))
		check(&p);
	if (mailbox_each(s, size, keep, &p) == 1)
		check(&p);
	path_domain_ok(s, size);
	return 0;
}
