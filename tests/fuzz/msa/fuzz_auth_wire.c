/*
 * The socket between sekisho-msad and its auth processes, both directions: the first byte is the
 * type of the frame. What is taken comes out the same when it is written again, and a name that is
 * seen in a client's message has no NUL and fits.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/auth/auth_name.h"
#include "msa/auth/auth_wire.h"

static uint8_t buf[AUTH_ASK_MAX + AUTH_CONFIG_MAX];

static void same(const struct wire_out *w, const uint8_t *data, size_t size)
{
	if (w->bad || w->len != size || memcmp(buf, data, size) != 0)
		abort();
}

static void names(const char *text, size_t len)
{
	static const char *const mechs[] = {"PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5"};
	char out[64];

	for (size_t i = 0; i < sizeof(mechs) / sizeof(*mechs); i++)
		if (auth_name(mechs[i], text, len, out, sizeof(out)) !=
		    (strnlen(out, sizeof(out)) > 0 && strnlen(out, sizeof(out)) < sizeof(out)))
			abort();
}

static void config(struct wire_out *w, const uint8_t *data, size_t size)
{
	static struct auth_wire_config c;

	if (!auth_wire_get_config(data, size, &c))
		return;
	const struct auth_mech_config m = {c.text[0], c.text[1], c.text[2],
					   c.text[3], c.text[4], c.keep_case};

	auth_wire_put_config(w, &m, c.user);
	same(w, data, size);
}

static void start(struct wire_out *w, const uint8_t *data, size_t size)
{
	struct auth_wire_start s;

	if (!auth_wire_get_start(data, size, &s))
		return;
	auth_wire_put_start(w, s.id, s.mech, (const char *)s.data, s.len, &s.ctx);
	same(w, data, size);
	if (s.data)
		names((const char *)s.data, s.len);
}

static void step(struct wire_out *w, const uint8_t *data, size_t size)
{
	const uint8_t *text;
	size_t len;
	uint64_t id;

	if (!auth_wire_get_step(data, size, &id, &text, &len))
		return;
	auth_wire_put_step(w, id, text, len);
	same(w, data, size);
	names((const char *)text, len);
}

static void end(struct wire_out *w, const uint8_t *data, size_t size)
{
	uint64_t id;

	if (!auth_wire_get_end(data, size, &id))
		return;
	auth_wire_put_end(w, id);
	same(w, data, size);
}

static void answer(struct wire_out *w, const uint8_t *data, size_t size)
{
	struct auth_wire_answer a;

	if (!auth_wire_get_answer(data, size, &a))
		return;
	const struct auth_answer out = {a.result, a.challenge, a.account, a.detail};

	auth_wire_put_answer(w, a.id, &out);
	same(w, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const frames[])(struct wire_out *, const uint8_t *,
				      size_t) = {config, start, step, end, answer};
	struct wire_out w;

	if (size == 0)
		return 0;
	wire_out_init(&w, buf, sizeof(buf));
	frames[data[0] % (sizeof(frames) / sizeof(*frames))](&w, data + 1, size - 1);
	return 0;
}
