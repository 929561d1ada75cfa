/* Requests to the policy service: whatever comes, an answer is one line, and a right tag is never
 * refused to a client that does not guess. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/mail/bounce.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bounce_probes probes;
	struct batv_keys keys = {.newest = 0};
	struct bounce_about about = {.keys = &keys};
	struct bounce_request r;
	struct bounce_verdict v;
	char domain[] = "test.ex", *strict[] = {domain}, action[BOUNCE_ACTION_MAX];
	struct path realm;

	if (!path_make("x", 1, "test.ex", &realm))
		abort();
	about.realm = &realm;
	keys.k[0].len = 6;
	memcpy(keys.k[0].key, "secret", 6);
	if (!bounce_parse((const char *)data, size, &r))
		return 0;
	memset(&probes, 0, sizeof(probes));
	for (int mode = BOUNCE_LOG; mode <= BOUNCE_REJECT; mode++) {
		about.mode = (enum bounce_mode)mode;
		about.strict = strict;
		about.n_strict = size % 2;
		bounce_judge(&about, &probes, &r, bounce_client(r.client), INT64_C(1800000000000),
			     &v);
		bounce_action(&v, action);
		if (!action[0] || strchr(action, '\n') || v.result == BOUNCE_PUT_OFF)
			abort();
		if (v.result == BOUNCE_VALID && strncmp(action, "550", 3) == 0)
			abort();
	}
	return 0;
}
