/*
 * bounce - what an inbound MX asks about mail from the null sender, and the answer: the check of
 * the tags that batv.h makes, for a Postfix policy service (SMTPD_POLICY_README) and a milter.
 *
 * A request of the policy service is lines NAME=VALUE; those that matter are request, sender,
 * recipient and client_address. Only mail with the null sender is judged; of that, mail to an
 * address with a tag of our form, and mail without one to a domain whose senders are tagged here.
 * Without a tag it is refused in strict domains alone: all of their mail leaves here, so that every
 * bounce has one. Their postmaster is written to without a tag as well (RFC 5321 4.5.1).
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
#define BOUNCE_FIELD	  "X-Sekisho-BATV"

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

enum bounce_answer {
	BOUNCE_PASS,   /* nothing is said of it */
	BOUNCE_MARK,   /* a field BOUNCE_FIELD: batv_reason_name(reason) */
	BOUNCE_REFUSE, /* 550 5.7.1 text */
	BOUNCE_DEFER,  /* 450 4.7.1 text */
};

struct bounce_verdict {
	enum bounce_result result;
	enum batv_reason reason;
	enum bounce_answer answer;
	const char *text; /* static; "" unless refused or deferred */
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
	char *const *strict; /* domains, without case */
	size_t n_strict;
};

/* Whom a client's guesses count for: its address, of IPv6 the /64; a text that is no address is
 * somebody too. Never 0. */
uint64_t bounce_client(const char *address);

/* client is from bounce_client(). now_ms is UTC. */
void bounce_judge(const struct bounce_about *about, struct bounce_probes *probes,
		  const struct bounce_request *r, uint64_t client, int64_t now_ms,
		  struct bounce_verdict *out);
/* Is this domain one whose senders are tagged here, so that tags of our form are ours to take off?
 */
bool bounce_ours(const struct bounce_about *about, const char *domain);
/* What the policy service says, behind "action=". */
void bounce_action(const struct bounce_verdict *v, char out[static BOUNCE_ACTION_MAX]);
/* "not-ours" "untagged" "valid" "invalid" "put-off" */
const char *bounce_result_name(enum bounce_result r);

#endif
