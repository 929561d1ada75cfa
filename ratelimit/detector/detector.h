/*
 * detector - is this account still its owner's? Observations in, changes of stage out.
 *
 * Pure: no clock, no files, no randomness of its own; the same observations in the same order give
 * the same answers. Times are UTC milliseconds and are passed in; one that goes backwards counts as
 * the latest seen. Memory is taken once, by the capacity: at most 130 bytes a known account, and a
 * larger state for the accounts that are active now.
 *
 * The score is a sum of signals (detector_signal), each with its own weight, limit and half-life in
 * struct detector_conf: what the account sent, to whom, from where, and what was answered. Nothing
 * is raised in the first `learn_ms` of all, but for plain evidence; an account younger than that is
 * judged mildly on novelty.
 *
 * Use: for each message, detector_attempt() before it leaves; its answer is in force for that very
 * message. When the replies are known, detector_replies(). The other observations as they come.
 * docs/detector.md has the reasoning.
 */
#ifndef RATELIMIT_DETECTOR_DETECTOR_H
#define RATELIMIT_DETECTOR_DETECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/addr.h"
#include "ratelimit/answer.h"

enum detector_stage {
	STAGE_NORMAL,	/* nothing to say */
	STAGE_WATCH,	/* unusual; an operator may like to know */
	STAGE_THROTTLE, /* slow it down, so that a person has time to look */
	STAGE_HOLD,	/* its mail, new and queued, does not leave */
	STAGE_SUSPEND,	/* and it is not taken any more */
	STAGE_COUNT
};

enum detector_signal {
	SIGNAL_NEW_CLIENT, /* first contacts from a client that is not the owner's */
	SIGNAL_CONTACTS,   /* more first contacts than the account's habit, from its own client */
	SIGNAL_RATE,	   /* more recipients an hour than the habit of this hour of the week */
	SIGNAL_UNKNOWN,	   /* first contacts that do not exist */
	SIGNAL_SPAM,	   /* replies that call it spam */
	SIGNAL_NETWORKS,   /* one account, many networks it never used */
	SIGNAL_SILENCE,	   /* a new client after weeks without mail */
	SIGNAL_SENDERS,	   /* senders the account never used */
	SIGNAL_DICTIONARY, /* recipients in the order of the alphabet, at one domain */
	SIGNAL_SAME_BODY,  /* one text to many, from a new client */
	SIGNAL_CAMPAIGN,   /* the same text from other accounts' new clients */
	SIGNAL_SHARED,	   /* one client, other accounts that never used it */
	SIGNAL_SYN,	   /* refused port-25 connections of the same line */
	SIGNAL_COMPLAINTS, /* abuse reports */
	SIGNAL_PASSWORDS,  /* passwords were tried before this client came in */
	SIGNAL_PROBE,	   /* one try from a new client, then more */
	SIGNAL_TLS,	   /* a TLS client the account never used */
	SIGNAL_COUNT
};

struct detector_weight {
	int64_t points;	      /* a unit of evidence, in hundredths of a point */
	int64_t max;	      /* the signal's share of the score never exceeds this, in points */
	int64_t half_life_ms; /* of what it has raised */
};

/* What may differ by class of accounts: scores, in points, and how much each signal counts. */
struct detector_levels {
	int64_t watch, throttle, hold, suspend;
	const uint16_t *percent; /* of each signal's points and limit; NULL: 100 of each */
};

struct detector_conf {
	int64_t learn_ms;
	int64_t watch, throttle, hold, suspend; /* as in struct detector_levels */
	int64_t near_bits; /* bodies that differ in so many bits are one text */
	struct detector_weight weight[SIGNAL_COUNT];
};
/* The defaults, the same as those of the configuration keys (detector/config.h). */
void detector_conf_default(struct detector_conf *c);

struct detector_attempt {
	int64_t t_ms;
	const char *account;
	struct addr client;
	bool has_client, has_body;
	const char *ehlo, *from; /* NULL: not known */
	const char *const *rcpt; /* in the client's order */
	size_t n_rcpt;
	int64_t bytes;
	uint64_t tls;  /* hash of the name of its TLS; 0: not known */
	uint64_t body; /* similarity hash, compared by Hamming distance */
};

#define DETECTOR_WHY	  8   /* reasons of one change */
#define DETECTOR_WHY_SIZE 160 /* bytes of one, with its NUL */

struct detector_change {
	int64_t t_ms;
	enum detector_stage stage, was;
	int64_t score;
	int n_why;
	char why[DETECTOR_WHY][DETECTOR_WHY_SIZE]; /* the heaviest first */
};

struct detector;

/* room for `accounts` known accounts; seed varies the hashes. NULL when there is no memory. */
struct detector *detector_new(const struct detector_conf *conf, uint64_t seed, size_t accounts);
void detector_free(struct detector *d);
void detector_set_conf(struct detector *d, const struct detector_conf *conf);
/* The levels of what is looked at next, until others are given; NULL: those of the configuration.
 * Copied. */
void detector_use_levels(struct detector *d, const struct detector_levels *l);
size_t detector_memory(const struct detector *d); /* bytes */

/*
 * Each returns true when the account's stage changed, with *out filled. The change of an attempt is
 * in force for that attempt. The other observations change the stage only when the evidence is far
 * beyond the threshold; else it counts at the next attempt.
 */
bool detector_attempt(struct detector *d, const struct detector_attempt *a,
		      struct detector_change *out);
/* What was answered for each recipient of a, in order. t_ms: when it was known. Of a only account
 * and recipients are looked at. */
bool detector_replies(struct detector *d, int64_t t_ms, const struct detector_attempt *a,
		      const enum answer_kind *kind, size_t n, struct detector_change *out);
bool detector_auth(struct detector *d, int64_t t_ms, const char *account, const struct addr *client,
		   bool ok, struct detector_change *out);
/* client is in a line of plen bits of its family; 0: of 32 or 64. Of IPv6 64, 56 and 48 are told
 * apart, what is between them counts as the narrower. */
void detector_syn25(struct detector *d, int64_t t_ms, const struct addr *client, unsigned plen,
		    uint64_t n, uint64_t destinations);
bool detector_complaint(struct detector *d, int64_t t_ms, const char *account,
			struct detector_change *out);
/* code: an enhanced status code, "5.1.1", of a notification that came back. */
bool detector_bounce(struct detector *d, int64_t t_ms, const char *account, const char *code,
		     struct detector_change *out);

enum detector_stage detector_stage(const struct detector *d, const char *account);
/*
 * A person has looked. false_positive: what it does is its own way (it is learnt, and the account
 * is judged more mildly for a month). Else it was right, and the account is judged more strictly.
 * False: the account is not known.
 */
bool detector_release(struct detector *d, int64_t t_ms, const char *account, bool false_positive);
/* Nobody decided: an account whose stage is not in force after all begins anew. */
void detector_forget(struct detector *d, int64_t t_ms, const char *account);
/* Is it still the time of learning? Nothing is judged by habit then. */
bool detector_learning(const struct detector *d, int64_t t_ms);
/* The score as it is now, with its reasons; false: the account is not known. */
bool detector_explain(struct detector *d, int64_t t_ms, const char *account,
		      struct detector_change *out);

/* A stage below a hold is left when the score is below this. */
double detector_leave(const struct detector *d, enum detector_stage stage);
/* How long until the score of the account has faded below `below`, if nothing more is seen; 0: it
 * is. */
int64_t detector_fades_ms(struct detector *d, int64_t t_ms, const char *account, double below);

/* "score 112; from 100 on hold. REASON; REASON" of what explain or a change said, as far as it
 * fits.
 */
void detector_say(const struct detector_conf *conf, const struct detector_change *c, char *buf,
		  size_t cap);
const char *detector_stage_name(enum detector_stage stage);
const char *detector_signal_name(enum detector_signal signal);

/*
 * Everything that is known, versioned and with a checksum. Save returns false when writing failed.
 * Load makes a new detector of the same seed and capacity; NULL with *err (static) when the file is
 * of another version, cut or damaged.
 */
bool detector_save(const struct detector *d, FILE *f);
struct detector *detector_load(const struct detector_conf *conf, FILE *f, const char **err);

#endif
