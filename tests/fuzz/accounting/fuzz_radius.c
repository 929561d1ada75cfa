/* RADIUS packets: cut into attributes, read, checked against a secret, answered. */
#include <stdlib.h>
#include <string.h>

#include "accounting/radius.h"
#include "accounting/radius_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void want(bool ok)
{
	if (!ok)
		abort();
}

static void check_line(const struct radius_line *l)
{
	struct addr first, last;
	want(l->port_lo <= l->port_hi);
	want(l->prefix.len > 0 && l->prefix.len <= (addr_is4(&l->prefix.a) ? 32 : 128));
	prefix_range(&l->prefix, &first, &last);
	want(addr_eq(&first, &l->prefix.a)); /* no host bits */
}

static void check_key(const char *text)
{
	want(strlen(text) < RADIUS_TEXT);
	for (; *text; text++)
		want(*text > 0x20 && *text < 0x7f);
}

static void check_facts(const struct radius_request *r, size_t len)
{
	check_key(r->nas);
	check_key(r->session);
	check_key(r->port);
	check_key(r->calling);
	want(strlen(r->user) <= 253 && strlen(r->class) <= 253);
	want(r->n_lines <= RADIUS_LINES_MAX && (r->auth_at == 0 || r->auth_at + 16 <= len));
	for (size_t i = 0; !r->bad && i < r->n_lines; i++)
		check_line(&r->lines[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct radius_request r;
	uint8_t answer[RADIUS_MAX];
	size_t auth_at, n, len = size > 0 ? radius_packet(data + 1, size - 1) : 0;
	if (!len)
		return 0;
	const uint8_t *p = data + 1; /* the first byte is our configuration */
	want(radius_parse(p, len, data[0] & 1, &r) == !r.bad);
	check_facts(&r, len);
	want(radius_check(p, len, r.auth_at, true, "secret", 6) != RADIUS_GENUINE);
	n = radius_answer(p, len, answer, &auth_at);
	want(n >= RADIUS_HEADER && n <= len && (auth_at == 0 || auth_at + 16 <= n));
	radius_sign(answer, n, auth_at, p + 4, "secret", 6);
	return 0;
}
