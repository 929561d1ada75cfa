/* A stranger's hello: a name of the one length, or none; the same bytes have the same name, and who
 * says another random says the same hello. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/tls_hello.h"

#define RANDOM_AT 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[TLS_HELLO_TEXT], again[TLS_HELLO_TEXT];
	uint8_t *copy;

	if (!tls_hello_name(data, size, name)) {
		if (name[0])
			abort();
		return 0;
	}
	if (strlen(name) != strlen("13-31-10-h2-8daaf6152771-e5627efa2ab1"))
		abort();
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	memset(copy + RANDOM_AT, 0x55, 32);
	if (!tls_hello_name(copy, size, again) || strcmp(name, again) != 0)
		abort();
	free(copy);
	return 0;
}
