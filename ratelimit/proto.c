/*
 * proto - the bytes of ratelimitd's frames. Pure.
 *
 * Trusted with nothing: every length and enumeration is checked here, so that server and client see
 * valid values only. Diagnostics: a false result; who reads ends that connection. Known gaps: none.
 */
#include "ratelimit/proto.h"

#include <string.h>

/* Stages as they are sent and kept on disk: what came later has higher numbers. */
static const uint8_t stage_codes[RL_N_STAGES] = {
    [RL_NORMAL] = 0, [RL_WATCH] = 4, [RL_THROTTLE] = 5, [RL_HOLD] = 2, [RL_SUSPEND] = 3};

static bool stage_of_code(uint8_t code, enum rl_stage *out)
{
	for (int i = 0; i < RL_N_STAGES; i++)
		if (stage_codes[i] == code) {
			*out = (enum rl_stage)i;
			return true;
		}
	return false;
}

const char *rl_stage_name(enum rl_stage stage)
{
	static const char *const names[RL_N_STAGES] = {"normal", "watch", "throttle", "hold",
						       "suspend"};
	return stage < RL_N_STAGES ? names[stage] : "unknown";
}

static void put_text(struct wire_out *w, const char *text, size_t max)
{
	wire_bytes(w, text ? text : "", text ? strnlen(text, max) : 0);
}

static void put_names(struct wire_out *w, const struct rl_name *name, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		wire_u64(w, name ? name[i].half[0] : 0);
		wire_u64(w, name ? name[i].half[1] : 0);
	}
}

void proto_put_ask(struct wire_out *w, uint32_t id, uint8_t flags, const struct rl_ask *ask)
{
	uint32_t n = ask->n_hash < PROTO_MAX_HASHES ? ask->n_hash : PROTO_MAX_HASHES;
	wire_u32(w, id);
	wire_u8(w, flags);
	wire_str(w, ask->account);
	wire_addr(w, &ask->client);
	wire_i64(w, ask->t_ms);
	wire_u32(w, ask->messages);
	wire_u32(w, ask->rcpts);
	wire_u64(w, ask->bytes);
	wire_u64(w, ask->sender_hash);
	wire_str(w, ask->sender_domain);
	wire_u64(w, ask->ehlo_hash);
	wire_u64(w, ask->tls_hash);
	wire_u64(w, ask->body);
	wire_u32(w, n);
	for (uint32_t i = 0; i < n; i++) {
		wire_u64(w, ask->rcpt_hash[i]);
		wire_u64(w, ask->domain_hash ? ask->domain_hash[i] : 0);
	}
	if (flags != PROTO_CHARGE)
		return;
	put_text(w, ask->ehlo, RL_TEXT_MAX);
	put_text(w, ask->sender, RL_ACCOUNT_MAX);
	put_names(w, ask->rcpt_name, n);
}

static bool flags_known(uint8_t flags)
{
	return flags == 0 || flags == PROTO_CHARGE || flags == PROTO_REFUND;
}

static void get_facts(struct wire_in *r, struct proto_ask *out)
{
	out->ask.bytes = wire_get_u64(r);
	out->ask.sender_hash = wire_get_u64(r);
	wire_get_str(r, out->sender_domain, sizeof out->sender_domain);
	out->ask.sender_domain = out->sender_domain;
	out->ask.ehlo_hash = wire_get_u64(r);
	out->ask.tls_hash = wire_get_u64(r);
	out->ask.body = wire_get_u64(r);
}

static void get_texts(struct wire_in *r, struct proto_ask *out)
{
	wire_get_str(r, out->ehlo, sizeof out->ehlo);
	wire_get_str(r, out->sender, sizeof out->sender);
	out->ask.ehlo = out->ehlo;
	out->ask.sender = out->sender;
	out->ask.rcpt_name = out->name;
	for (uint32_t i = 0; i < out->ask.n_hash; i++) {
		out->name[i].half[0] = wire_get_u64(r);
		out->name[i].half[1] = wire_get_u64(r);
	}
}

bool proto_get_ask(const uint8_t *data, size_t len, struct proto_ask *out)
{
	struct wire_in r;
	wire_in_init(&r, data, len);
	out->id = wire_get_u32(&r);
	out->flags = wire_get_u8(&r);
	wire_get_str(&r, out->account, sizeof out->account);
	out->ask = (struct rl_ask){.account = out->account,
				   .rcpt_hash = out->hash,
				   .domain_hash = out->domain,
				   .charge = out->flags == PROTO_CHARGE};
	wire_get_addr(&r, &out->ask.client);
	out->ask.t_ms = wire_get_i64(&r);
	out->ask.messages = wire_get_u32(&r);
	out->ask.rcpts = wire_get_u32(&r);
	get_facts(&r, out);
	out->ask.n_hash = wire_get_u32(&r);
	if (r.bad || out->ask.n_hash > PROTO_MAX_HASHES || !flags_known(out->flags) ||
	    out->account[0] == '\0' || out->ask.t_ms < 0)
		return false;
	for (uint32_t i = 0; i < out->ask.n_hash; i++) {
		out->hash[i] = wire_get_u64(&r);
		out->domain[i] = wire_get_u64(&r);
	}
	if (out->ask.charge)
		get_texts(&r, out);
	return wire_done(&r);
}

void proto_put_observe(struct wire_out *w, const struct rl_observation *o)
{
	const char *text = o->text ? o->text : "";
	wire_u8(w, (uint8_t)o->what);
	wire_str(w, o->account);
	wire_addr(w, &o->client);
	wire_i64(w, o->t_ms);
	wire_bytes(w, text, strnlen(text, RL_TEXT_MAX));
	put_text(w, o->rcpt, RL_ACCOUNT_MAX);
	wire_u64(w, o->ehlo_hash);
	wire_u64(w, o->tls_hash);
	wire_u64(w, o->rcpt_hash);
	wire_u64(w, o->message);
	wire_u32(w, o->n);
	wire_u32(w, o->m);
	wire_u8(w, o->plen);
	wire_u8(w, (uint8_t)o->class);
}

bool proto_get_observe(const uint8_t *data, size_t len, struct proto_observe *out)
{
	struct wire_in r;
	wire_in_init(&r, data, len);
	uint8_t what = wire_get_u8(&r);
	out->o = (struct rl_observation){.what = (enum rl_seen)what,
					 .account = out->account,
					 .text = out->text,
					 .rcpt = out->rcpt};
	wire_get_str(&r, out->account, sizeof out->account);
	wire_get_addr(&r, &out->o.client);
	out->o.t_ms = wire_get_i64(&r);
	wire_get_str(&r, out->text, sizeof out->text);
	wire_get_str(&r, out->rcpt, sizeof out->rcpt);
	out->o.ehlo_hash = wire_get_u64(&r);
	out->o.tls_hash = wire_get_u64(&r);
	out->o.rcpt_hash = wire_get_u64(&r);
	out->o.message = wire_get_u64(&r);
	out->o.n = wire_get_u32(&r);
	out->o.m = wire_get_u32(&r);
	out->o.plen = wire_get_u8(&r);
	uint8_t class = wire_get_u8(&r);
	out->o.class = (enum answer_class) class;
	return wire_done(&r) && what < RL_N_SEEN && class < ANSWER_CLASSES && out->o.plen <= 128 &&
	       out->o.t_ms >= 0;
}

void proto_put_answer(struct wire_out *w, uint32_t id, const struct rl_verdict *v)
{
	wire_u32(w, id);
	wire_u8(w, (uint8_t)v->answer);
	wire_u8(w, v->too_many);
	wire_i64(w, v->retry_ms);
	wire_i64(w, v->delay_ms);
	wire_str(w, v->why);
}

bool proto_get_answer(const uint8_t *data, size_t len, uint32_t *id, struct rl_verdict *v)
{
	struct wire_in r;
	wire_in_init(&r, data, len);
	*id = wire_get_u32(&r);
	uint8_t answer = wire_get_u8(&r), too_many = wire_get_u8(&r);
	v->answer = (enum rl_answer)answer;
	v->too_many = too_many == 1;
	v->retry_ms = wire_get_i64(&r);
	v->delay_ms = wire_get_i64(&r);
	wire_get_str(&r, v->why, sizeof v->why);
	return wire_done(&r) && answer <= RL_DOWN && too_many <= 1 && v->retry_ms >= 0 &&
	       v->delay_ms >= 0;
}

void proto_put_penalty(struct wire_out *w, const struct rl_penalty *p)
{
	wire_str(w, p->account);
	wire_u8(w, stage_codes[p->stage]);
	wire_i64(w, p->since_ms);
	wire_str(w, p->rule);
	wire_str(w, p->why);
	wire_str(w, p->actor);
}

bool proto_read_penalty(struct wire_in *r, struct rl_penalty *p)
{
	*p = (struct rl_penalty){0};
	wire_get_str(r, p->account, sizeof p->account);
	uint8_t stage = wire_get_u8(r);
	p->since_ms = wire_get_i64(r);
	wire_get_str(r, p->rule, sizeof p->rule);
	wire_get_str(r, p->why, sizeof p->why);
	wire_get_str(r, p->actor, sizeof p->actor);
	if (p->account[0] == '\0' || !stage_of_code(stage, &p->stage))
		r->bad = true;
	return !r->bad;
}

bool proto_get_penalty(const uint8_t *data, size_t len, struct rl_penalty *p)
{
	struct wire_in r;
	wire_in_init(&r, data, len);
	return proto_read_penalty(&r, p) && wire_done(&r);
}

void proto_put_admin(struct wire_out *w, uint32_t id, const char *json, size_t n)
{
	wire_u32(w, id);
	wire_bytes(w, json, n);
}

bool proto_get_admin(const uint8_t *data, size_t len, uint32_t *id, const char **json, size_t *n)
{
	struct wire_in r;
	wire_in_init(&r, data, len);
	*id = wire_get_u32(&r);
	*json = (const char *)wire_get_bytes(&r, PROTO_JSON_MAX, n);
	return wire_done(&r);
}

void proto_put_reply(struct wire_out *w, uint32_t id, bool ok, const char *json, size_t n)
{
	wire_u32(w, id);
	wire_u8(w, ok);
	wire_bytes(w, json, n);
}

bool proto_get_reply(const uint8_t *data, size_t len, uint32_t *id, bool *ok, const char **json,
		     size_t *n)
{
	struct wire_in r;
	wire_in_init(&r, data, len);
	*id = wire_get_u32(&r);
	uint8_t flag = wire_get_u8(&r);
	*ok = flag == 1;
	*json = (const char *)wire_get_bytes(&r, PROTO_JSON_MAX, n);
	return wire_done(&r) && flag <= 1;
}
