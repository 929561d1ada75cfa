/*
 * replay - runs a fuzz target over its seed files without libFuzzer: each whole, and each cut at every 1/16.
 * Usage: fuzz_X SEEDFILE...  Prints TAP.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		uint8_t *buf = malloc(1u << 20);
		if (!f || !buf) {
			printf("not ok %d - %s: cannot read\n", i, argv[i]);
			return 1;
		}
		size_t n = fread(buf, 1, 1u << 20, f);
		fclose(f);
		for (size_t k = 0; k <= 16; k++) {
			/* An exact-size copy, so that a sanitizer sees one byte too far. */
			size_t len = n * k / 16;
			uint8_t *exact = malloc(len ? len : 1);
			for (size_t j = 0; j < len; j++)
				exact[j] = buf[j];
			LLVMFuzzerTestOneInput(exact, len);
			free(exact);
		}
		free(buf);
		printf("ok %d - seed %s\n", i, argv[i]);
	}
	return argc > 1 ? 0 : 1;
}
