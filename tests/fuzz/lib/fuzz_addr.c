/* addr: any text; what is taken must come back from its own canonical text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void one_address(const char *text)
{
	struct addr a, b;
	char buf[ADDR_STRLEN];
	const char *err = NULL;
	if (!addr_parse(text, &a, &err)) {
		must(err != NULL);
		return;
	}
	must(addr_parse(addr_format(&a, buf), &b, &err) && addr_eq(&a, &b));
	struct sockaddr_storage ss;
	uint16_t port;
	(void)addr_to_sockaddr(&a, 25, &ss);
	must(addr_from_sockaddr((struct sockaddr *)&ss, &b, &port) && addr_eq(&a, &b) &&
	     port == 25);
}

static void one_prefix(const char *text)
{
	struct prefix p, q;
	struct addr first, last;
	char buf[PREFIX_STRLEN], err[128] = "";
	if (!prefix_parse(text, &p, err)) {
		must(err[0] != '\0');
		return;
	}
	must(prefix_parse(prefix_format(&p, buf), &q, err) && prefix_eq(&p, &q));
	prefix_range(&p, &first, &last);
	must(addr_cmp(&first, &last) <= 0 && addr_is4(&first) == addr_is4(&last));
	must(prefix_contains(&p, &first) && prefix_contains(&p, &last));
	must(prefix_is_host(&p) == addr_eq(&first, &last));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct addr a;
	uint16_t port = 0;
	const char *err = NULL;
	memcpy(text, data, size);
	text[size] = '\0';
	one_address(text);
	one_prefix(text);
	must(addr_parse_port(text, &a, &port, &err) ? port != 0 : err != NULL);
	free(text);
	return 0;
}
