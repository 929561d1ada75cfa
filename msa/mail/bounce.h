/*
 * bounce - what an inbound MX asks about mail from the null sender, and the answer: the check of
 * the tags that batv.h makes, as a Postfix policy service (SMTPD_POLICY_README).
 *
 * A request is lines NAME=VALUE; those that matter are request, sender, recipient and
 * client_address. Only mail with the null sender is judged; of that, mail to an address with a tag
 * of our form, and mail without one to a domain whose senders are tagged here.
 *
 * A tag has 24 bits, so that guesses are counted: a client with BOUNCE_PROBES wrong tags within an
 * hour is put off whatever it brings next, a right tag included, as that is what it looks for. The
 * table has a fixed size; a client that has been quiet longest gives way.
 *
 * Pure.
 */
#ifndef MSA_MAIL_BOUNCE_H
#define MSA_MAIL_BOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/batv.h"
#include "msa/mail/identity.h"

#define BOUNCE_VALUE_MAX  512
#define BOUNCE_ACTION_MAX 256
#define BOUNCE_PROBES	  20
#define BOUNCE_CLIENTS	  1024

struct bounce_request {
	bool policy; /* request=smtpd_access_policy */
	char sender[BOUNCE_VALUE_MAX], recipient[BOUNCE_VALUE_MAX], client[64];
};

/* The text of one request, its empty line not included. False: a line is no NAME=VALUE, or one of
 * the values above is too long. */
bool bounce_parse(const char *text, size_t len, struct bounce_request *out);

enum bounce_mode { BOUNCE_LOG, BOUNCE_TAG, BOUNCE_REJECT };

enum bounce_result {
	BOUNCE_NOT_OURS, /* no null sender, or not our domain: nothing to say */
	BOUNCE_UNTAGGED, /* to a domain of ours, without a tag */
	BOUNCE_VALID,
	BOUNCE_INVALID, /* reason says why */
	BOUNCE_PUT_OFF, /* the client guesses */
};

struct bounce_verdict {
	enum bounce_result result;
	enum batv_reason reason;
	char action[BOUNCE_ACTION_MAX]; /* for "action=" */
};

struct bounce_probes {
	struct {
		uint64_t client; /* hash, 0: free */
		uint32_t wrong;
		int64_t since_ms, last_ms;
	} c[BOUNCE_CLIENTS];
};

struct bounce_about {
	const struct batv_keys *keys;
	const struct identities *ids; /* or NULL */
	const struct path *realm;     /* any address of our own domain */
	enum bounce_mode mode;
};

/* client: a hash of the client's address, not 0. now_ms is UTC. */
void bounce_judge(const struct bounce_about *about, struct bounce_probes *probes,
		  const struct bounce_request *r, uint64_t client, int64_t now_ms,
		  struct bounce_verdict *out);
/* "not-ours" "untagged" "valid" "invalid" "put-off" */
const char *bounce_result_name(enum bounce_result r);

#endif
