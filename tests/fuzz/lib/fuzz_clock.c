/* clock: any text; what is taken must come back from its own canonical text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), buf[40];
	const char *err = NULL;
	int64_t ms = 0, back = 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (clock_parse_duration(text, &ms, &err))
		must(clock_parse_duration(clock_format_duration(ms, buf), &back, &err) &&
		     back == ms);
	else
		must(err != NULL);
	if (clock_parse(text, INT64_C(1795352890123), &ms, &err)) {
		/* Text has four digits for the year; "@" and "+" reach further. */
		bool fits = ms >= INT64_C(-62167219200000) && ms < INT64_C(253402300800000);
		(void)clock_format(ms, buf);
		must(!fits || (clock_parse(buf, 0, &back, &err) && back == ms));
		(void)clock_format_5322(ms, buf);
	} else {
		must(err != NULL);
	}
	free(text);
	return 0;
}
