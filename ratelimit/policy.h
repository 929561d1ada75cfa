/*
 * policy - the words of Postfix's policy protocol (SMTPD_POLICY_README): requests in, piece by
 * piece, and answers out. Pure.
 *
 * A request is lines NAME=VALUE and an empty line. Strict: a name is 1 to 64 of a-z, 0-9 and _; a
 * line is at most POLICY_LINE bytes, without control characters; an attribute we use comes once;
 * request is smtpd_access_policy. Addresses longer than an address can be are cut.
 */
#ifndef RATELIMIT_POLICY_H
#define RATELIMIT_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "ratelimit/rl.h"

#define POLICY_LINE	4096
#define POLICY_ATTRS	128 /* of one request */
#define POLICY_INSTANCE 64

enum policy_stage { POLICY_RCPT, POLICY_DATA, POLICY_END, POLICY_OTHER };

struct policy_request {
	char request[24], state[20];
	char account[RL_ACCOUNT_MAX + 1]; /* sasl_username as it was typed; "": none */
	char sender[RL_ACCOUNT_MAX + 1], recipient[RL_ACCOUNT_MAX + 1];
	char instance[POLICY_INSTANCE + 1]; /* "": not given */
	char client[ADDR_STRLEN], size_text[24], count_text[16];
	/* Of those, when it is whole. */
	enum policy_stage stage;
	struct addr address; /* zero: not known */
	uint64_t size;
	uint32_t recipients;
};

struct policy_parser {
	struct policy_request r;
	uint32_t seen; /* a bit an attribute */
	unsigned n;    /* lines */
	size_t len;
	char line[POLICY_LINE];
};

enum policy_result { POLICY_MORE, POLICY_REQUEST, POLICY_BAD };

void policy_init(struct policy_parser *p);
/*
 * Reads of data[len] up to the end of one request at most; *used bytes are done with.
 * POLICY_REQUEST: p->r is it; call policy_init() before going on. POLICY_BAD: *err (static) says
 * why.
 */
enum policy_result policy_feed(struct policy_parser *p, const char *data, size_t len, size_t *used,
			       const char **err);
/* "action=…" with its empty line. defer: DEFER_IF_PERMIT in place of 452. Returns its length. */
size_t policy_answer(const struct rl_verdict *v, bool defer, char *buf, size_t cap);

#endif
