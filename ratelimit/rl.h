/*
 * rl - client of sekisho-ratelimitd: ask before accepting, be told of penalties.
 *
 * Socket: <run_dir>/ratelimitd.sock, frames of lib/ipc (docs/protocols/ratelimit.md). The
 * connection reconnects by itself. An answer later than the deadline is reported as RL_DOWN, once;
 * what the caller does then is its configured policy, not an accident.
 */
#ifndef RATELIMIT_RL_H
#define RATELIMIT_RL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "ratelimit/answer.h"

#define RL_ACCOUNT_MAX 320
#define RL_WHY_MAX     512

/* Order of severity. Watched mail goes out, by the route of suspects where there is one; throttled
 * mail is slowed down as well. */
enum rl_stage { RL_NORMAL, RL_WATCH, RL_THROTTLE, RL_HOLD, RL_SUSPEND, RL_N_STAGES };
/* "normal" "watch" "throttle" "hold" "suspend" */
const char *rl_stage_name(enum rl_stage stage);

enum rl_answer {
	RL_OK = 0,     /* go on */
	RL_LIMIT = 1,  /* one more would be over a limit: refuse now, come back after retry_ms */
	RL_HELD = 2,   /* accept into the queue, on hold: the sender learns nothing */
	RL_REFUSE = 3, /* suspended: refuse for good */
	RL_DOWN = 4,   /* no answer within the deadline, or not connected */
};

struct rl_verdict {
	enum rl_answer answer;
	bool too_many;	      /* RL_LIMIT: one message has too many recipients (452 4.5.3) */
	int64_t retry_ms;     /* RL_LIMIT: when it may pass again; 0: with fewer recipients */
	int64_t delay_ms;     /* RL_OK to a charge: keep the reply back so long */
	char why[RL_WHY_MAX]; /* RL_LIMIT: "31 messages in 1m, limit 30"; RL_HELD/RL_REFUSE: the
				 penalty's reason */
};

/* What is asked. Nothing is charged by a check; a charge counts everything at once, or nothing when
 * the answer is RL_LIMIT. */
struct rl_ask {
	const char *account; /* canonical */
	struct addr client;
	int64_t t_ms;		   /* UTC; the server uses its own monotonic clock for windows */
	bool charge;		   /* false: RCPT, would it pass? true: end of DATA */
	uint32_t messages;	   /* 1 */
	uint32_t rcpts;		   /* of this message so far, this one included */
	uint64_t bytes;		   /* of the message; at a check what was declared, 0: not known */
	uint64_t sender_hash;	   /* rl_hash() of the envelope sender; 0: none */
	const char *sender_domain; /* of the envelope sender, lower case; NULL: none */
	/* For the detector; 0 and NULL: not known. */
	const char *ehlo, *sender;	 /* what the client calls itself; the envelope sender */
	uint64_t ehlo_hash, tls_hash;	 /* rl_hash() of what the client calls itself, of its TLS
					    fingerprint */
	uint64_t body;			 /* similarity hash of the content */
	const uint64_t *rcpt_hash;	 /* rl_hash() of each recipient, in the order they came */
	const uint64_t *domain_hash;	 /* the same of its domain; NULL: not known */
	const struct rl_name *rcpt_name; /* how it begins; of a charge only; NULL: not known */
	uint32_t n_hash;
};

/* The first 16 bytes of a local part, in lower case: enough for the order of the alphabet. */
struct rl_name {
	uint64_t half[2]; /* the first byte is the highest */
};
struct rl_name rl_name_of(const char *address);

/* What else was seen, told without an answer. */
enum rl_seen {
	RL_SEEN_LOGIN,	      /* a session has logged in. text: its EHLO */
	RL_SEEN_LOGIN_FAILED, /* text: its EHLO; account: whom it named, may be "" */
	RL_SEEN_REJECTED, /* n recipients were refused for good. text: the answer, "550 5.1.1" */
	RL_SEEN_RESULT,	  /* n recipients were answered by the next host. text: the answer; class:
			     what it says, where somebody has read it whole */
	RL_SEEN_BOUNCE,	  /* a failure came back later. text: its status, "5.1.1" */
	RL_SEEN_SYN25,	  /* n refused packets to port 25, to m destinations */
	RL_SEEN_REPORT,	  /* a complaint. text: its kind, "abuse" */
	RL_N_SEEN
};
#define RL_TEXT_MAX 255

struct rl_observation {
	enum rl_seen what;
	const char *account; /* "": not known */
	struct addr client;
	int64_t t_ms;				 /* UTC, when it happened */
	const char *text;			 /* NULL: "" */
	const char *rcpt;			 /* RESULT: who was answered; NULL: not known */
	uint64_t ehlo_hash, tls_hash, rcpt_hash; /* 0: not known */
	uint64_t message; /* RESULT: a number of the account's message, 0: not known */
	uint32_t n, m;
	uint8_t plen;		 /* SYN25: client is in a line of so many bits; 0: 32 or 64 */
	enum answer_class class; /* RESULT; ANSWER_NONE: text says it */
};

/* Of a RESULT: what it says. */
enum answer_class rl_class(const struct rl_observation *o);

/* Keyed by nothing but the text. The case of ASCII letters does not matter: Bob@ and bob@ are one
 * recipient to nearly every server. */
uint64_t rl_hash(const char *text);

/* A release that says: what the account did is its own way. The detector learns it. */
#define RL_RULE_MISTAKE	 "mistake"
#define RL_RULE_DETECTOR "detector"

struct rl;
struct rl_penalty {
	char account[RL_ACCOUNT_MAX + 1];
	enum rl_stage stage;  /* RL_NORMAL: released */
	int64_t since_ms;     /* UTC; identifies the penalty */
	char rule[32];	      /* "detector", "burst", "operator"; of a release
				 RL_RULE_MISTAKE, when it was one */
	char why[RL_WHY_MAX]; /* one sentence with the numbers */
	char actor[64];	      /* "detector" or who did it */
};

struct rl_handlers {
	/* Every penalty in force when the connection comes up (then synced() once), and each change
	 * after it. NULL: do not subscribe. */
	void (*penalty)(const struct rl_penalty *p, void *arg);
	void (*synced)(void *arg); /* those not named since the connection came up are released */
	void (*state)(bool connected, void *arg);
};

struct rl *rl_new(struct event_base *base, const char *run_dir, int deadline_ms,
		  const struct rl_handlers *h, void *arg);
/* cb is called exactly once, never from inside rl_ask(), unless the returned handle is cancelled or
 * the client freed first. What ask points to is copied. */
struct rl_pending;
struct rl_pending *rl_ask(struct rl *r, const struct rl_ask *ask,
			  void (*cb)(const struct rl_verdict *v, void *arg), void *arg);
void rl_cancel(struct rl_pending *p); /* NULL is allowed; not after cb was called */
/* False when not connected: it is not told later. */
bool rl_observe(struct rl *r, const struct rl_observation *o);
/* A charge that came to nothing after all (the spool refused it): give it back. */
void rl_refund(struct rl *r, const struct rl_ask *ask);
/*
 * Set, replace or (stage RL_NORMAL) lift a penalty (acctd only; it carries the audit trail). False
 * when not connected. It comes back to every subscriber as penalty(), to us also when it was
 * already so: then it is durable.
 */
bool rl_set(struct rl *r, const struct rl_penalty *p);
/* An admin request in JSON ("limit.show" {"account"}, "limit.set", …); cb gets a
 * borrowed value: the result, when not ok a string that says what to change, NULL when unavailable.
 * Deadline 2 s. */
void rl_admin(struct rl *r, const char *op, const json_t *args,
	      void (*cb)(bool ok, const json_t *result, void *arg), void *arg);
bool rl_connected(const struct rl *r);
void rl_free(struct rl *r);

#endif
