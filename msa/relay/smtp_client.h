/*
 * smtp_client - our side of one SMTP connection to the smart host, as a pure state machine.
 *
 * Replies go in (client_reply), commands come out in an evbuffer, and the result says what the rim
 * must do. No socket, no clock. The transaction belongs to the caller and stays until CLIENT_DONE.
 *
 *   greeting -> EHLO (-> HELO) (-> STARTTLS -> tls -> EHLO) (-> AUTH) -> idle <-> envelope -> body
 * -> final dot (-> RSET) -> idle
 *
 * With LMTP (RFC 2033) it begins with LHLO, and there is a reply for each recipient after the dot.
 */
#ifndef MSA_RELAY_SMTP_CLIENT_H
#define MSA_RELAY_SMTP_CLIENT_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/esmtp.h"
#include "msa/relay/frames.h"
#include "msa/relay/reply.h"
#include "msa/relay/sevenbit.h"

struct smtp_rcpt {
	const char *address;
	struct esmtp_rcpt esmtp;
	bool skip;	       /* this host cannot have it: not asked about */
	bool accepted;	       /* RCPT was answered 2xx */
	struct relay_rcpt out; /* idx is the caller's; result 0 until it is known */
};

/* What a host offers and then does not do. */
enum client_lie {
	LIE_PIPELINING = 1,
	LIE_SIZE = 2,
	LIE_DSN = 4,
	LIE_SMTPUTF8 = 8,
	LIE_CHUNKING = 16,
	LIE_8BITMIME = 32,
	LIE_BINARYMIME = 64,
};

struct smtp_tx {
	const char *mail_from; /* as MAIL FROM carries it; "" for the null sender */
	uint64_t size;
	struct esmtp_mail esmtp;
	struct smtp_rcpt *rcpts;
	uint32_t n;			  /* at least 1 */
	unsigned without;		  /* enum client_lie: tried and refused; not said again */
	const struct sevenbit_plan *plan; /* for hosts without 8 bit; NULL: not made yet */
};

enum client_state {
	CLIENT_GREETING,
	CLIENT_EHLO,
	CLIENT_HELO,
	CLIENT_STARTTLS,
	CLIENT_HANDSHAKE, /* the rim does TLS, then client_tls_done() */
	CLIENT_AUTH,
	CLIENT_IDLE,
	CLIENT_ENVELOPE,
	CLIENT_BODY, /* the rim sends it, then client_body_sent() */
	CLIENT_DOT,  /* the final dot is out: from here on the message may be theirs */
	CLIENT_RSET,
	CLIENT_QUIT,
	CLIENT_CLOSED,
};

enum client_action {
	CLIENT_WAIT,	/* nothing but to write what is in out and to read on */
	CLIENT_READY,	/* idle: client_begin() may follow */
	CLIENT_DO_TLS,	/* drop what was read but not used, shake hands */
	CLIENT_DO_BODY, /* stream the body: by tx->plan when converts; dot-stuffed and ended with a
			   dot, as it is for client_sends_chunk() */
	CLIENT_DO_PLAN, /* of client_begin(): this host takes 7 bit alone. Make tx->plan, begin
			 * again
			 */
	CLIENT_DONE, /* every recipient has its result. The state says whether the connection can be
			used again */
	CLIENT_AGAIN,  /* it refused what it offers: begin the transaction again, with what is in
			  tx->without left out, on another connection. Close this one */
	CLIENT_FAILED, /* before any transaction: this host takes no mail now; why is in c->why.
			  Close */
	CLIENT_CLOSE,  /* close, nothing was lost */
};

struct smtp_client {
	enum client_state state;
	const char *hostname; /* for EHLO; the caller's */
	/* The caller's, after client_init(). */
	bool lmtp, must_tls;	     /* without TLS nothing is said; who wants that: policy */
	const char *policy;	     /* "dane"; may be NULL */
	const char *user, *password; /* AUTH; NULL: none. Only said under TLS */
	bool use_tls, tls;	     /* wanted when offered; on */
	bool insecure;		     /* it failed because it was not as safe as it must be */
	bool locked_out;	     /* because the login was refused, or cannot be made */
	bool verified;		     /* its certificate is the host's own */
	struct reply_ehlo offered;   /* in EHLO */
	struct reply_ehlo offers;    /* what of it is used now */
	unsigned lies;	    /* enum client_lie, of this host; grows when a transaction shows it */
	struct smtp_tx *tx; /* NULL outside one */
	uint32_t
	    next; /* whose reply comes: 0 MAIL, 1..n RCPT, n+1 DATA; LMTP after the dot: 1..n */
	int auth_step;
	bool converts;	       /* the message leaves by tx->plan */
	bool mail_ok, touched; /* MAIL was accepted; any reply came for this transaction */
	uint32_t done_tx;      /* transactions finished on this connection */
	char why[RELAY_REPLY_MAX + 1];
};

void client_init(struct smtp_client *c, const char *hostname, bool use_tls);
enum client_action client_reply(struct smtp_client *c, const struct reply *r, struct evbuffer *out);
/* verified: who is at the other end is proven (RFC 8689 4.2.1). */
void client_tls_done(struct smtp_client *c, bool verified, struct evbuffer *out);
/* Only when CLIENT_IDLE. CLIENT_WAIT, CLIENT_DO_PLAN, or CLIENT_DONE at once when this host cannot
 * take it at all (size, 8 bit that cannot be converted, UTF-8, TLS). What is in lies and
 * tx->without counts as not offered. */
enum client_action client_begin(struct smtp_client *c, struct smtp_tx *tx, struct evbuffer *out);
/* In CLIENT_BODY: by BDAT, octet by octet (RFC 3030). */
bool client_sends_chunk(const struct smtp_client *c);
/* Said in words: "CHUNKING, DSN". Returns buf. */
#define CLIENT_LIES_TEXT 96
const char *client_lies_text(unsigned lies, char buf[static CLIENT_LIES_TEXT]);
/* It went on pipelined and no reply comes: some swallow what they do not expect. */
bool client_pipelines(const struct smtp_client *c);
/* The final dot, or the last octet of the chunk, was written. */
void client_body_sent(struct smtp_client *c);
void client_quit(struct smtp_client *c, struct evbuffer *out);
/*
 * The connection is gone (why in words, c->why for what it says already) or must be given up. True:
 * there was a transaction and each recipient now has its result (deferred where it had none).
 * False: none, or one that no reply was seen for on a connection that had worked before: it may be
 * begun again elsewhere as if nothing had happened.
 */
bool client_lost(struct smtp_client *c, const char *why);

#endif
