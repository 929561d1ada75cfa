/*
 * auth_wire - see auth_wire.h.
 *
 * Purpose: the grammar of the auth processes' socket. Trusted with: what it copies, and nothing
 * after. Diagnostics: none; who reads a frame that breaks the rules ends its sender. Known gaps:
 * none.
 */
#include <string.h>

#include "msa/auth/auth_wire.h"

static bool get_flag(struct wire_in *in)
{
	uint8_t v = wire_get_u8(in);

	in->bad = in->bad || v > 1;
	return v == 1;
}

void auth_wire_put_config(struct wire_out *w, const struct auth_mech_config *c, const char *user)
{
	wire_str(w, c->hostname);
	wire_str(w, c->realm);
	wire_str(w, c->sasldb);
	wire_str(w, c->conf_path);
	wire_str(w, c->mechs);
	wire_str(w, user);
	wire_u8(w, c->keep_case);
}

bool auth_wire_get_config(const uint8_t *data, size_t len, struct auth_wire_config *c)
{
	struct wire_in in;

	wire_in_init(&in, data, len);
	for (size_t i = 0; i < sizeof(c->text) / sizeof(*c->text); i++)
		wire_get_str(&in, c->text[i], sizeof(c->text[i]));
	wire_get_str(&in, c->user, sizeof(c->user));
	c->keep_case = get_flag(&in);
	return wire_done(&in);
}

void auth_wire_put_start(struct wire_out *w, uint64_t id, const char *mech, const char *initial,
			 size_t len, const struct auth_context *ctx)
{
	wire_u64(w, id);
	wire_str(w, mech);
	wire_u8(w, initial != NULL);
	wire_bytes(w, initial, initial ? len : 0);
	wire_u8(w, ctx->plus);
	wire_bytes(w, ctx->tls.exporter, ctx->tls.exporter_len);
	wire_bytes(w, ctx->tls.endpoint, ctx->tls.endpoint_len);
	wire_str(w, ctx->external);
	wire_str(w, ctx->realm);
}

static size_t get_binding(struct wire_in *in, uint8_t *out, size_t max)
{
	size_t len;
	const uint8_t *data = wire_get_bytes(in, max, &len);

	if (!data)
		return 0;
	memcpy(out, data, len);
	return len;
}

bool auth_wire_get_start(const uint8_t *data, size_t len, struct auth_wire_start *s)
{
	struct wire_in in;
	bool initial;

	memset(s, 0, sizeof(*s));
	wire_in_init(&in, data, len);
	s->id = wire_get_u64(&in);
	wire_get_str(&in, s->mech, sizeof(s->mech));
	initial = get_flag(&in);
	s->data = wire_get_bytes(&in, initial ? SMTP_AUTH_LINE_MAX : 0, &s->len);
	if (!initial)
		s->data = NULL;
	s->ctx.plus = get_flag(&in);
	s->ctx.tls.exporter_len =
	    get_binding(&in, s->ctx.tls.exporter, sizeof(s->ctx.tls.exporter));
	s->ctx.tls.endpoint_len =
	    get_binding(&in, s->ctx.tls.endpoint, sizeof(s->ctx.tls.endpoint));
	wire_get_str(&in, s->external, sizeof(s->external));
	wire_get_str(&in, s->realm, sizeof(s->realm));
	s->ctx.external = s->external;
	s->ctx.realm = s->realm;
	return wire_done(&in);
}

void auth_wire_put_step(struct wire_out *w, uint64_t id, const void *text, size_t len)
{
	wire_u64(w, id);
	wire_bytes(w, text, len);
}

bool auth_wire_get_step(const uint8_t *data, size_t len, uint64_t *id, const uint8_t **text,
			size_t *text_len)
{
	struct wire_in in;

	wire_in_init(&in, data, len);
	*id = wire_get_u64(&in);
	*text = wire_get_bytes(&in, SMTP_AUTH_LINE_MAX, text_len);
	return wire_done(&in);
}

void auth_wire_put_end(struct wire_out *w, uint64_t id)
{
	wire_u64(w, id);
}

bool auth_wire_get_end(const uint8_t *data, size_t len, uint64_t *id)
{
	struct wire_in in;

	wire_in_init(&in, data, len);
	*id = wire_get_u64(&in);
	return wire_done(&in);
}

void auth_wire_put_answer(struct wire_out *w, uint64_t id, const struct auth_answer *a)
{
	wire_u64(w, id);
	wire_u8(w, (uint8_t)a->result);
	wire_str(w, a->challenge);
	wire_str(w, a->account);
	wire_str(w, a->detail);
}

bool auth_wire_get_answer(const uint8_t *data, size_t len, struct auth_wire_answer *a)
{
	struct wire_in in;
	uint8_t result;

	wire_in_init(&in, data, len);
	a->id = wire_get_u64(&in);
	result = wire_get_u8(&in);
	wire_get_str(&in, a->challenge, sizeof(a->challenge));
	wire_get_str(&in, a->account, sizeof(a->account));
	wire_get_str(&in, a->detail, sizeof(a->detail));
	if (!wire_done(&in) || result < AUTH_CONTINUE || result > AUTH_UNAVAILABLE)
		return false;
	a->result = (enum auth_result)result;
	return true;
}
