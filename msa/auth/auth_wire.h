/*
 * auth_wire - the frames between sekisho-msad and its auth processes: written and read in one
 * place, both directions (lib/ipc carries them over fd 3, lib/wire holds the fields).
 *
 * Pure. A frame that is taken comes out the same when it is written again. What *_get() fills are
 * views into the frame, or copies bounded by the arrays they go to.
 */
#ifndef MSA_AUTH_AUTH_WIRE_H
#define MSA_AUTH_AUTH_WIRE_H

#include "lib/wire.h"

#include "msa/auth/auth.h"
#include "msa/mail/path.h"
#include "msa/smtp/parser.h"

#define AUTH_MECH_MAX	 32
#define AUTH_ACCOUNT_MAX 1024
#define AUTH_DETAIL_MAX	 512
#define AUTH_ANSWER_MAX	 8192			     /* octets of an answer */
#define AUTH_ASK_MAX	 (SMTP_AUTH_LINE_MAX + 2048) /* octets of a start or a step */
#define AUTH_CONFIG_MAX	 8192

enum auth_frame {
	AUTH_F_CONFIG = 1,  /* > str hostname, realm, sasldb, conf_path, mechs, user, u8 keep case:
			       first, once */
	AUTH_F_START = 2,   /* > u64 id, str mech, u8 has initial, bytes base64, u8 plus, bytes
			       tls-exporter, bytes tls-server-end-point, str external, str realm */
	AUTH_F_STEP = 3,    /* > u64 id, bytes base64 */
	AUTH_F_END = 4,	    /* > u64 id: forget it */
	AUTH_F_READY = 16,  /* < (empty): configured, privileges dropped */
	AUTH_F_ANSWER = 17, /* < u64 id, u8 result, str challenge, str account, str detail */
};

struct auth_wire_config {
	char text[5][1024]; /* hostname, realm, sasldb, conf_path, mechs */
	char user[64];
	bool keep_case;
};

struct auth_wire_start {
	uint64_t id;
	char mech[AUTH_MECH_MAX];
	const uint8_t *data; /* NULL: no initial response */
	size_t len;
	struct auth_context ctx; /* its strings are the two below */
	char external[PATH_TEXT_MAX + 1], realm[PATH_TEXT_MAX + 1];
};

struct auth_wire_answer {
	uint64_t id;
	enum auth_result result;
	char challenge[AUTH_CHALLENGE_MAX + 1], account[AUTH_ACCOUNT_MAX], detail[AUTH_DETAIL_MAX];
};

void auth_wire_put_config(struct wire_out *w, const struct auth_mech_config *c, const char *user);
bool auth_wire_get_config(const uint8_t *data, size_t len, struct auth_wire_config *c);

/* initial NULL: none. ctx's strings are not NULL. */
void auth_wire_put_start(struct wire_out *w, uint64_t id, const char *mech, const char *initial,
			 size_t len, const struct auth_context *ctx);
/* s is the caller's to wipe: the bindings are secrets of a session. */
bool auth_wire_get_start(const uint8_t *data, size_t len, struct auth_wire_start *s);

void auth_wire_put_step(struct wire_out *w, uint64_t id, const void *text, size_t len);
bool auth_wire_get_step(const uint8_t *data, size_t len, uint64_t *id, const uint8_t **text,
			size_t *text_len);

void auth_wire_put_end(struct wire_out *w, uint64_t id);
bool auth_wire_get_end(const uint8_t *data, size_t len, uint64_t *id);

void auth_wire_put_answer(struct wire_out *w, uint64_t id, const struct auth_answer *a);
bool auth_wire_get_answer(const uint8_t *data, size_t len, struct auth_wire_answer *a);

#endif
