/*
 * session - one submission session as a pure state machine: a command in, a reply and what is
 * wanted next out.
 *
 * No sockets, no clock, no processes: each call gets what happened and fills a step, and the caller
 * (msa/conn.c, or a test) does what step.want says and comes back with the call named there.
 * Nothing else may be called in between, but for smtp_session_abort(). RFC 5321, 6409 (submission),
 * 3207 (STARTTLS), 4954 (AUTH), 1870 (SIZE), 6152 (8BITMIME), 3030 (CHUNKING, BINARYMIME), 6531
 * (SMTPUTF8), 3461 (DSN), 8689 (REQUIRETLS), 9422 (LIMITS), 2034 and 3463 (codes).
 *
 *   state       what has happened                          what may come
 *   GREET       connected, or TLS has just come up         EHLO
 *   READY       EHLO                                       STARTTLS, AUTH, MAIL
 *   AUTHING     inside an AUTH exchange                    one line of it
 *   MAIL        MAIL accepted                              RCPT
 *   RCPT        at least one RCPT accepted                 RCPT, DATA, BDAT
 *   DATA        354 said                                   message bytes
 *   BDAT        a chunk has come, not the last             BDAT
 *   CLOSED      221 or 421 said                            nothing
 */
#ifndef MSA_SMTP_SESSION_H
#define MSA_SMTP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "ratelimit/rl.h"
#include "msa/mail/esmtp.h"
#include "msa/mail/header.h"
#include "msa/mail/identity.h"
#include "msa/mail/path.h"
#include "msa/queue/queue.h"
#include "msa/smtp/data.h"
#include "msa/smtp/parser.h"

enum limiter_down { LIMITER_DEFER, LIMITER_ACCEPT };

/* "user@domain", or "@domain" for all of it, may send messages of so many octets. */
struct smtp_size {
	const char *who;
	int64_t bytes;
};

/* What is configured; shared by sessions, unchanged while they use it. */
struct smtp_policy {
	const char *hostname;
	const char *local_domain; /* completes <Postmaster> */
	const char *const *mechs; /* offered in AUTH, in order */
	size_t n_mechs;
	int64_t max_message;	   /* bytes */
	int64_t max_rcpts;	   /* a message */
	int64_t max_commands;	   /* a session */
	int64_t max_errors;	   /* a session */
	int64_t max_auth_failures; /* a session */
	int64_t session_ms;	   /* longest life of a session; a message under way is finished */
	int max_hops;		   /* Received: fields */
	struct identity_rules rules;	     /* of whom the next has nothing to say about */
	const struct identities *identities; /* or NULL */
	enum limiter_down limiter_down;
	const struct smtp_size
	    *sizes; /* other than max_message; an account goes before its domain */
	size_t n_sizes;
	int64_t max_idle_commands; /* between two messages, that bring none on: NOOP, RSET, ... */
	int64_t free_errors;	   /* a session; the replies to further ones come late */
	int64_t error_delay_ms;	   /* so late; to a failed login always */
	bool strict_8bit;	   /* 8-bit text needs BODY=8BITMIME */
	bool strict_header;	   /* a non-ASCII header needs SMTPUTF8 */
	const char *help;	   /* "; see URL", after bad news; or NULL */
	bool tell_held;		   /* the reply to a message that is held says so */
};

enum smtp_state {
	SMTP_S_GREET,
	SMTP_S_READY,
	SMTP_S_AUTHING,
	SMTP_S_MAIL,
	SMTP_S_RCPT,
	SMTP_S_DATA,
	SMTP_S_BDAT,
	SMTP_S_CLOSED
};

enum smtp_want {
	SMTP_WANT_LINE = 0, /* next line: smtp_session_line(), or smtp_session_bad_line() */
	SMTP_WANT_TLS,	    /* flush, drop what was pipelined, handshake: smtp_session_tls() */
	SMTP_WANT_AUTH,	    /* give auth_mech (not NULL: start) and auth_data to the authenticator:
			       smtp_session_auth() */
	SMTP_WANT_ROOM,	    /* does the queue take tx->size bytes more: smtp_session_room() */
	SMTP_WANT_CHECK,  /* would the limiter let tx->rcpts' newest pass: smtp_session_verdict() */
	SMTP_WANT_DATA,	  /* message bytes until the final dot: smtp_session_data() */
	SMTP_WANT_CHUNK,  /* s->chunk.left octets, for the message or for nothing:
			   * smtp_session_chunk()
			   */
	SMTP_WANT_CHARGE, /* the limiter counts the message: smtp_session_verdict() */
	SMTP_WANT_SUBMIT, /* into the queue, on hold if tx->hold: smtp_session_submitted() */
	SMTP_WANT_CLOSE,  /* flush and close */
};

/* Something accounting wants to know; the caller adds account, client, time, session. */
struct smtp_note {
	enum { SMTP_NOTE_NONE = 0, SMTP_NOTE_LOGIN, SMTP_NOTE_REFUSE } what;
	bool ok;			     /* LOGIN */
	char account[EVENT_ACCOUNT_MAX + 1]; /* LOGIN: who tried */
	char status[16];		     /* REFUSE: enhanced code */
	char reason[EVENT_TEXT_MAX + 1];
	uint32_t rcpts; /* REFUSE */
};

#define SMTP_REPLY_MAX 2048

struct smtp_step {
	enum smtp_want want;
	char reply[SMTP_REPLY_MAX]; /* "" for none yet; complete lines with CRLF */
	size_t reply_len;
	int64_t delay_ms; /* keep the reply back so long, and take no input meanwhile */
	bool utf8;	  /* the client has said SMTPUTF8: replies may hold UTF-8 */
	struct smtp_note note;
};

struct smtp_rcpt {
	char *address; /* canonical */
	uint64_t hash; /* rl_hash(address) */
	struct esmtp_rcpt esmtp;
};

/* One message under way; everything in it is freed with it. */
struct smtp_tx {
	struct path from;	     /* as it will be used: rewritten if so configured */
	struct identity_rules rules; /* the account's */
	int64_t size;		     /* as declared, 0 unknown */
	struct esmtp_mail esmtp;     /* as MAIL said it; from the end of the message on as it is */
	char envid[ESMTP_ENVID_MAX + 1];
	bool hold;
	int64_t slow_ms; /* its reply is kept back so long: the account is slowed down */
	struct smtp_rcpt *rcpts;
	uint32_t n_rcpts;
	char queue_id[QUEUE_ID_LEN + 1]; /* set by the caller at SMTP_WANT_DATA */
};

struct smtp_session {
	const struct smtp_policy *policy;
	enum smtp_state state;
	enum smtp_want want;
	bool tls, esmtp;
	bool stopping;	       /* the server is going down: 421 when nothing is under way */
	const char *suspended; /* set by the caller when the account is suspended meanwhile: why */
	char helo[256];
	char account[PATH_TEXT_MAX + 1]; /* "" before AUTH */
	struct path account_path;
	char mech[24];
	const char *const *mechs; /* offered here, in order; the policy's, or the listener's */
	size_t n_mechs;
	bool external, bound;  /* a client certificate names an account; TLS has a binding */
	const char *auth_mech; /* for SMTP_WANT_AUTH; NULL: a further line */
	const char *auth_data; /* base64 as it came; NULL: no initial response */
	size_t auth_len;
	enum smtp_verb pending; /* the command that SMTP_WANT_ROOM belongs to */
	struct {
		int64_t left;  /* octets to come */
		int64_t size;  /* of this one */
		int64_t total; /* of this message, this one included */
		bool keep;     /* for the message; else for nothing */
		bool last;
		char reply[256]; /* when it is for nothing: what is said then */
	} chunk;
	bool bdat_failed;      /* the chunks still on their way belong to nothing */
	int64_t max_message;   /* this account's */
	int64_t idle_commands; /* since the last message */
	struct smtp_tx *tx;
	int64_t started_ms;
	int64_t commands, errors, auth_failures;
	int64_t messages, rcpts_accepted, rcpts_refused; /* totals for the log */
	struct {
		char status[16];
		char reason[256];
		uint32_t n;
	} refused; /* recipients of this transaction, told to accounting in one note at its end */
};

/* talloc'd under ctx. tls: the connection began with TLS. */
struct smtp_session *smtp_session_new(void *ctx, const struct smtp_policy *policy, bool tls,
				      int64_t mono_ms);

void smtp_session_open(struct smtp_session *s, struct smtp_step *out); /* the greeting */
void smtp_session_line(struct smtp_session *s, const char *line, size_t len, int64_t mono_ms,
		       struct smtp_step *out);
/* SMTP_LINE_LONG or SMTP_LINE_BAD */
void smtp_session_bad_line(struct smtp_session *s, enum smtp_line_result how,
			   struct smtp_step *out);
void smtp_session_tls(struct smtp_session *s, struct smtp_step *out);

enum smtp_auth_result {
	SMTP_AUTH_CONTINUE,  /* text is the challenge, base64 */
	SMTP_AUTH_OK,	     /* text is the account */
	SMTP_AUTH_FAILED,    /* wrong, whatever was: the client is not told */
	SMTP_AUTH_MALFORMED, /* not base64, too long, cancelled: text is the reply with its codes */
	SMTP_AUTH_UNAVAILABLE, /* our trouble */
	SMTP_AUTH_SUSPENDED,   /* right, but the account is suspended: text is why */
	SMTP_AUTH_BLOCKED, /* right or wrong, too many were wrong before: text is for how long */
};

/* account: who it was about, also when it failed ("" unknown). detail: for the note and the log,
 * never for the client. */
void smtp_session_auth(struct smtp_session *s, enum smtp_auth_result r, const char *text,
		       const char *account, const char *detail, struct smtp_step *out);
void smtp_session_room(struct smtp_session *s, enum queue_result r, struct smtp_step *out);
void smtp_session_verdict(struct smtp_session *s, const struct rl_verdict *v,
			  struct smtp_step *out);

struct smtp_data_end {
	enum dot_fault fault;
	int64_t size; /* bytes as the client sent them, unstuffed */
	unsigned hops;
	bool no_memory; /* dropped because too much was in flight */
	bool endless;	/* far more than allowed has come, and no end */
	/* at the end of the message only */
	bool from_foreign;			 /* From: names somebody else, and must not */
	bool any_8bit, header_8bit, header_utf8; /* octets that are not ASCII; those of the header
						    are UTF-8 */
	bool binary; /* no text: bare CR or LF, NUL, or a line longer than text has */
};
void smtp_session_data(struct smtp_session *s, const struct smtp_data_end *d,
		       struct smtp_step *out);
/* The octets of a chunk have come: d is how the message stands, unless the chunk was for nothing
 * (then not looked at). */
void smtp_session_chunk(struct smtp_session *s, const struct smtp_data_end *d,
			struct smtp_step *out);
/* Something was said before our greeting. */
void smtp_session_early(struct smtp_session *s, struct smtp_step *out);
void smtp_session_submitted(struct smtp_session *s, enum queue_result r, struct smtp_step *out);

/* Nothing is under way: a 421 may be said now. */
bool smtp_session_idle(const struct smtp_session *s);
/* 421 with the given enhanced code and text; the session is over. */
void smtp_session_abort(struct smtp_session *s, const char *code, const char *text,
			struct smtp_step *out);
/* The connection is gone: only step.note matters. */
void smtp_session_gone(struct smtp_session *s, struct smtp_step *out);
/* The longest line that may come next, for smtp_line_feed(). */
size_t smtp_session_line_max(const struct smtp_session *s);

/* --- between session.c and commands.c --- */

void smtp_reply(struct smtp_step *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* smtp_reply() that counts as an error of the client; too many end the session. */
void smtp_error(struct smtp_session *s, struct smtp_step *out, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void smtp_note_refuse(struct smtp_step *out, const char *status, const char *reason,
		      uint32_t rcpts);
/* One recipient refused; told with the transaction's end. */
void smtp_count_refused(struct smtp_session *s, const char *status, const char *reason);
/* 421, without touching what is in out already. */
void smtp_close(struct smtp_session *s, const char *code, const char *text, struct smtp_step *out);
void smtp_want(struct smtp_session *s, struct smtp_step *out, enum smtp_want want);
void smtp_set_state(struct smtp_session *s, enum smtp_state state);
void smtp_tx_drop(struct smtp_session *s, struct smtp_step *out);
void smtp_command(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out);
/* A line inside AUTH. */
void smtp_auth_line(struct smtp_session *s, const char *line, size_t len, struct smtp_step *out);
/* The second half of MAIL and DATA, and of RCPT: the queue or the limiter has answered well. */
void smtp_mail_proceed(struct smtp_session *s, struct smtp_step *out);
void smtp_data_proceed(struct smtp_session *s, struct smtp_step *out);
void smtp_rcpt_proceed(struct smtp_session *s, struct smtp_step *out);
void smtp_bdat_proceed(struct smtp_session *s, struct smtp_step *out);
/* The end of the message: refuses it, or wants it charged. */
void smtp_data_end(struct smtp_session *s, const struct smtp_data_end *d, struct smtp_step *out);
/* It cannot become a good message any more; says so, and false, when it is one of these faults. */
bool smtp_data_fine(struct smtp_session *s, const struct smtp_data_end *d, struct smtp_step *out);

/* chunk.c */
void smtp_bdat(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out);
/* The queue has no room for the message that begins with this chunk. */
void smtp_bdat_refuse(struct smtp_session *s, struct smtp_step *out, const char *reply);

/* params.c: what follows the address; false when it was refused. */
bool smtp_mail_params(struct smtp_session *s, struct smtp_tx *tx, const char *p, const char *end,
		      struct smtp_step *out);
bool smtp_rcpt_params(struct smtp_session *s, struct smtp_rcpt *rcpt, const char *p,
		      const char *end, struct smtp_step *out);

#endif
