/*
 * proto - the frames of ratelimitd's socket: one encode and decode pair each, for both ends.
 * docs/protocols/ratelimit.md
 *
 * Encoders write into w (which goes bad when it does not fit); decoders are strict and return false
 * for anything that is not exactly one well-formed payload.
 */
#ifndef RATELIMIT_PROTO_H
#define RATELIMIT_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/wire.h"
#include "ratelimit/rl.h"

enum proto_frame { /* u16 type of lib/ipc */
		   PROTO_ASK = 1,
		   PROTO_SUBSCRIBE = 2,
		   PROTO_SET = 3,
		   PROTO_ADMIN = 4,
		   PROTO_OBSERVE = 5,
		   PROTO_ANSWER = 17,
		   PROTO_PENALTY = 18,
		   PROTO_SYNCED = 19,
		   PROTO_ADMIN_REPLY = 20,
};

enum { PROTO_CHARGE = 1, PROTO_REFUND = 2 }; /* flags of ASK */

#define PROTO_MAX_HASHES 4096
#define PROTO_ASK_MAX	 (256 + RL_ACCOUNT_MAX * 2 + RL_TEXT_MAX * 2 + 32 * PROTO_MAX_HASHES)
#define PROTO_SMALL_MAX	 2048 /* ANSWER, PENALTY, SET */
#define PROTO_JSON_MAX	 65536
#define PROTO_ADMIN_MAX	 (PROTO_JSON_MAX + 16)

struct proto_ask {
	uint32_t id;
	uint8_t flags;
	char account[RL_ACCOUNT_MAX + 1];
	char sender_domain[RL_TEXT_MAX + 1], ehlo[RL_TEXT_MAX + 1], sender[RL_ACCOUNT_MAX + 1];
	struct rl_ask ask; /* its texts and hashes point into this struct */
	uint64_t hash[PROTO_MAX_HASHES], domain[PROTO_MAX_HASHES];
	struct rl_name name[PROTO_MAX_HASHES];
};

struct proto_observe {
	char account[RL_ACCOUNT_MAX + 1], text[RL_TEXT_MAX + 1], rcpt[RL_ACCOUNT_MAX + 1];
	struct rl_observation o; /* its texts point into this struct */
};

/* Of more than PROTO_MAX_HASHES hashes the first are sent. */
void proto_put_ask(struct wire_out *w, uint32_t id, uint8_t flags, const struct rl_ask *ask);
bool proto_get_ask(const uint8_t *data, size_t len, struct proto_ask *out);

/* A text longer than RL_TEXT_MAX is cut. */
void proto_put_observe(struct wire_out *w, const struct rl_observation *o);
bool proto_get_observe(const uint8_t *data, size_t len, struct proto_observe *out);

void proto_put_answer(struct wire_out *w, uint32_t id, const struct rl_verdict *v);
bool proto_get_answer(const uint8_t *data, size_t len, uint32_t *id, struct rl_verdict *v);

void proto_put_penalty(struct wire_out *w, const struct rl_penalty *p);
/* One penalty out of r; false leaves r bad. */
bool proto_read_penalty(struct wire_in *r, struct rl_penalty *p);
bool proto_get_penalty(const uint8_t *data, size_t len, struct rl_penalty *p);

/* json: n bytes of text. */
void proto_put_admin(struct wire_out *w, uint32_t id, const char *json, size_t n);
bool proto_get_admin(const uint8_t *data, size_t len, uint32_t *id, const char **json, size_t *n);
void proto_put_reply(struct wire_out *w, uint32_t id, bool ok, const char *json, size_t n);
bool proto_get_reply(const uint8_t *data, size_t len, uint32_t *id, bool *ok, const char **json,
		     size_t *n);

#endif
