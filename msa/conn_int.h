/*
 * conn_int - one connection's state, for conn.c (bytes in and out) and conn_want.c (what its
 * session asks of the others).
 */
#ifndef MSA_CONN_INT_H
#define MSA_CONN_INT_H

#include <event2/bufferevent.h>

#include "msa/conn.h"
#include "msa/mail/token.h"
#include "msa/message.h"

/* What the queue calls back with; outlives the connection if need be. */
struct ticket {
	struct conn *c;
};

struct conn {
	struct conn_link link;
	struct server *srv;
	struct msa_config *cfg;
	const char *listener; /* where it came in, as configured */
	struct bufferevent *bev;
	struct event *again, *timer;
	struct event *late;  /* a reply is kept back, or the greeting */
	struct event *pace;  /* a line or a message is coming; how fast is looked at */
	struct event *flush; /* replies are in out */
	char *out;
	size_t out_len, out_cap;
	struct smtp_session *s;
	struct smtp_step step;
	struct smtp_line line;
	struct message *msg;
	struct auth_exchange *auth;
	struct rl_pending *rl;
	struct rl_ask ask; /* the charge, kept for a refund */
	struct ticket *ticket;
	struct addr client;
	uint16_t port;
	bool login_over; /* login_timeout has passed, and a login was there */
	bool auth_waiting, tls_next, closing, lingering, overtime, tls_up;
	bool greeting, delayed; /* late is set for this */
	int64_t line_ms;	/* the line under way began then; CLOCK_MONOTONIC, 0 none */
	int64_t paced;		/* octets of the message since pace was set */
	bool no_more;	  /* the client has closed its side; what it said before still counts */
	int64_t asked_ms; /* the authenticator was; CLOCK_MONOTONIC */
	char *external;	  /* the address in the client's certificate, or NULL */
	char id[17], token[TOKEN_LEN + 1];
	const char *why; /* how it ended */
	int64_t received_ms;
};

/* conn.c: do what the session wants, until input or somebody's answer is needed. */
void conn_act(struct conn *c);
/* conn.c: take what input has come, as far as the session wants it. */
void conn_turn(struct conn *c);

/* conn_want.c: whoever answers later calls conn_act() and conn_turn(). */
void conn_take_note(struct conn *c);
void conn_drop_auth(struct conn *c);
/* True: it is answered already. */
bool conn_want_auth(struct conn *c);
/* What TLS has brought for AUTH. */
void conn_tls_up(struct conn *c);
void conn_want_room(struct conn *c);
void conn_want_limit(struct conn *c, bool charge);
void conn_want_submit(struct conn *c);
void conn_begin_message(struct conn *c);
void conn_count(struct conn *c, enum msa_count what);
void conn_random_hex(char *out, size_t n); /* n hexadecimal digits and a NUL; n at most 64 */

#endif
