/* Tags and keys files: what we sign verifies, and comes back as it was; a keys file never yields a
 * short key. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/batvkeys.h"
#include "msa/mail/batv.h"

static void check_keys(const struct batv_keys *k)
{
	if (k->newest < 0 || k->newest >= BATV_KEYS)
		abort();
	for (int i = 0; i < BATV_KEYS; i++)
		if (k->k[i].len != 0 && (k->k[i].len < BATV_KEY_MIN || k->k[i].len > BATV_KEY_MAX))
			abort();
}

static void sign_and_verify(const struct batv_keys *keys, const struct path *p, int64_t now)
{
	struct batv_result r;
	struct path tagged;

	if (batv_sign(keys, p, -1, now, &tagged) != BATV_SIGNED)
		return;
	batv_verify(keys, &tagged, now, &r);
	if (r.reason != BATV_VALID || strcmp(r.original.text, p->text) != 0)
		abort();
	if (batv_sign(keys, &tagged, -1, now, &tagged) != BATV_ALREADY)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char file[] = "3 0123456789abcdef\n";
	struct batv_keys keys, other;
	struct batv_result r;
	struct path p, other_address;
	const char *err;
	int line;

	if (!batv_keys_parse(file, sizeof(file) - 1, &keys, &line, &err))
		abort();
	if (batv_keys_parse((const char *)data, size, &other, &line, &err))
		check_keys(&other);
	if (!path_parse_mailbox_utf8((const char *)data, size, &p, &err))
		return 0;
	for (int64_t now = 0; now < INT64_C(86400000) * 2000; now += INT64_C(86400000) * 333)
		sign_and_verify(&keys, &p, now);
	/* What is taken off is taken off: the rest is shorter, and an address. */
	if (batv_strip_any(&p, &other_address) &&
	    (!other_address.local[0] || strlen(other_address.local) >= strlen(p.local)))
		abort();
	batv_verify(&keys, &p, 0, &r);
	if (r.reason > BATV_UNKNOWN_KEY || !batv_form(&p)[0])
		abort();
	return 0;
}
