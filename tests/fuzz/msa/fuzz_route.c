/* Lines of a transport map, MTA-STS records and policies: whatever comes, a table that was taken in
 * travels to the relay role unchanged, and what a policy allows is a host it names. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/route/route.h"
#include "msa/route/sts.h"

static char none[] = "";

static struct route_table *table(void *ctx)
{
	struct route d = {.name = none,
			  .auth_user = none,
			  .auth_password_file = none,
			  .tls_name = none,
			  .tls_ca = none,
			  .connections = 1};
	char *err;

	if (!route_prepare(ctx, &d, ctx, &err))
		abort();
	return route_table_new(ctx, &d, &d, 1);
}

static void travel(void *ctx, const struct route_table *t)
{
	static uint8_t buf[65536];
	struct route_table *back = NULL;
	struct wire_out w;
	struct wire_in in;
	size_t at = 0;

	for (bool more = true; more;) {
		wire_out_init(&w, buf, sizeof(buf));
		more = route_table_put(t, &at, &w);
		wire_in_init(&in, buf, w.len);
		if (w.bad || !route_table_get(ctx, &in, &back))
			abort();
	}
	if (route_map_size(back) != route_map_size(t))
		abort();
}

static void ask(const struct route_table *t, const char *s, size_t n)
{
	char rcpt[300] = "a@", name[ROUTE_NAME_MAX];
	struct route_choice c;

	if (n > 250 || memchr(s, '\0', n))
		return;
	memcpy(rcpt + 2, s, n);
	route_choose(t, &(struct route_ask){.rcpt = rcpt}, &c);
	if (c.act == ROUTE_TO)
		(void)route_destination(&c, name);
	else if (c.act == ROUTE_ERROR && (!c.status || !c.text))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data, *err = NULL;
	void *ctx = talloc_new(NULL);
	struct route_table *t = table(ctx);
	struct wire_in in;
	struct route_table *wild = NULL;
	char id[STS_ID_MAX + 1], *text = talloc_strndup(ctx, s, size);

	for (size_t i = 0, n; i < size; i += n + 1) {
		const char *nl = memchr(s + i, '\n', size - i);
		n = nl ? (size_t)(nl - s) - i : size - i;
		if (!route_map_line(t, s + i, n, &err) && !err)
			abort();
		ask(t, s + i, n);
	}
	travel(ctx, t);
	wire_in_init(&in, data, size);
	(void)route_table_get(ctx, &in, &wild);
	(void)sts_record(text, id);
	struct sts_policy *p = sts_parse(ctx, s, size);
	if (p && p->n_mx && p->mx[0][0] != '*' && !sts_allows(p, p->mx[0]))
		abort();
	talloc_free(ctx);
	return 0;
}
