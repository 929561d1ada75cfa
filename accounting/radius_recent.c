/*
 * radius_recent - see radius_recent.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: a packet that another has pushed out is
 * stored once more when it comes again, which changes nothing.
 */
#include "accounting/radius_recent.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#define PLACES	8192 /* a power of two */
#define KEEP_MS 30000

struct place {
	struct sockaddr_storage from;
	uint8_t id, authenticator[16];
	bool used, answered;
	int64_t ms;
};

struct radius_recent {
	struct place places[PLACES];
};

struct radius_recent *radius_recent_new(void)
{
	struct radius_recent *m = calloc(1, sizeof *m);
	if (!m)
		fatal("out of memory");
	return m;
}

void radius_recent_free(struct radius_recent *m)
{
	free(m);
}

/* FNV-1a of sender, port and identifier: what a sender keeps apart by itself. */
static struct place *place_of(struct radius_recent *m, const struct sockaddr_storage *from,
			      const uint8_t *header)
{
	const uint8_t *b = (const uint8_t *)from;
	uint32_t h = (2166136261U ^ header[1]) * 16777619U;
	for (size_t i = 0; i < 32; i++) /* both families' address and port are in there */
		h = (h ^ b[i]) * 16777619U;
	return &m->places[(h ^ h >> 16) & (PLACES - 1)];
}

static bool is_it(const struct place *p, const struct sockaddr_storage *from, const uint8_t *header,
		  int64_t now_ms)
{
	return p->used && now_ms - p->ms < KEEP_MS && p->id == header[1] &&
	       memcmp(p->authenticator, header + 4, 16) == 0 &&
	       memcmp(&p->from, from, sizeof *from) == 0;
}

bool radius_recent(struct radius_recent *m, const struct sockaddr_storage *from,
		   const uint8_t header[static 20], int64_t now_ms, bool *answered)
{
	struct place *p = place_of(m, from, header);
	bool again = is_it(p, from, header, now_ms);
	*answered = again && p->answered;
	if (again)
		return true;
	*p = (struct place){.from = *from, .id = header[1], .used = true, .ms = now_ms};
	memcpy(p->authenticator, header + 4, 16);
	return false;
}

void radius_recent_answered(struct radius_recent *m, const struct sockaddr_storage *from,
			    const uint8_t header[static 20], int64_t now_ms)
{
	struct place *p = place_of(m, from, header);
	if (is_it(p, from, header, now_ms))
		p->answered = true;
}

void radius_recent_forget(struct radius_recent *m, const struct sockaddr_storage *from,
			  const uint8_t header[static 20], int64_t now_ms)
{
	struct place *p = place_of(m, from, header);
	if (is_it(p, from, header, now_ms))
		p->used = false;
}
