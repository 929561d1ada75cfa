/* The files an operator writes, identities and DKIM tables: whatever is in them, questions have
 * answers; a file that is wrong has a line and a reason. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/dkim.h"
#include "msa/mail/identity.h"

static void ask(const struct identities *ids, const struct path *account, const struct path *p)
{
	static const struct identity_rules dflt = {.batv = true};
	struct identity_rules r;

	identity_rules(ids, account, &dflt, &r);
	if (r.mail_from > MAIL_FROM_ANY || r.sender > SENDER_OFF ||
	    r.from_header > FROM_HEADER_OWNED)
		abort();
	if (identity_right(ids, account, account) != IDENTITY_OWN ||
	    identity_right(ids, account, p) > IDENTITY_OWN)
		abort();
	identity_batv_domain(ids, account, p->domain);
	identity_batv_recipient(ids, p->domain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void *ctx = talloc_new(NULL);
	struct identities *ids;
	struct dkim_table *t;
	struct path a, p;
	char *err = NULL;
	int line = 0;

	if (!path_make("a", 1, "b.example", &a) || !path_make("x+y", 3, "shop.example", &p))
		abort();
	ids = identities_parse(ctx, (const char *)data, size, &line, &err);
	if (ids)
		ask(ids, &a, &p);
	else if (!err || line < 1)
		abort();
	err = NULL;
	t = dkim_table_parse(ctx, (const char *)data, size, &line, &err);
	if (!t && (!err || line < 1))
		abort();
	for (size_t i = 0; t && i < dkim_table_size(t); i++)
		if (dkim_table_file(t, i)[0] != '/' ||
		    dkim_table_domain(t, "shop.example", INT64_C(1795352890000)))
			abort(); /* without its key none is due */
	talloc_free(ctx);
	return 0;
}
