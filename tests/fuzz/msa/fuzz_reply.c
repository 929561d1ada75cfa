/*
 * fuzz_reply - the smart host's bytes: reply parser and client state machine. The first octet
 * chooses how the stream is cut and what the client wants; whatever is said, a recipient gets at
 * most one result, and none is delivered without a 2xx to its final dot.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/relay/smtp_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct smtp_rcpt rcpts[3];
static struct smtp_tx tx;

static void fresh(uint8_t how)
{
	memset(rcpts, 0, sizeof(rcpts));
	for (size_t i = 0; i < 3; i++)
		rcpts[i].address = how & 0x40 && i == 1 ? "\xc3\xb6@example.net" : "a@example.net";
	tx = (struct smtp_tx){.mail_from = "",
			      .size = 500,
			      .esmtp = {.body = !(how & 4)   ? ESMTP_7BIT
						: how & 0x80 ? ESMTP_BINARY
							     : ESMTP_8BIT,
					.requiretls = how & 0x20},
			      .rcpts = rcpts,
			      .n = 1 + (how >> 3) % 3};
}

static void check_done(const struct smtp_client *c, bool dotted, int code)
{
	if (c->tx)
		abort();
	for (uint32_t i = 0; i < tx.n; i++) {
		const struct relay_rcpt *o = &rcpts[i].out;
		if (o->result < RELAY_DELIVERED || o->result > RELAY_DEFERRED || !o->status[0])
			abort();
		if (o->result == RELAY_DELIVERED &&
		    (!dotted || code / 100 != 2 || !rcpts[i].accepted))
			abort();
		for (const char *p = o->reply; *p; p++)
			if (*p < 0x20 || *p > 0x7e)
				abort();
	}
}

/* What the rim would do. False: the connection is closed. */
static bool act(struct smtp_client *c, enum client_action a, bool *dotted, int code, uint8_t how,
		struct evbuffer *out)
{
	switch (a) {
	case CLIENT_DO_TLS:
		client_tls_done(c, how & 0x80, out);
		return true;
	case CLIENT_DO_BODY:
		client_body_sent(c);
		*dotted = true;
		return true;
	case CLIENT_DONE:
		check_done(c, *dotted, code);
		if (c->state != CLIENT_IDLE)
			return c->state != CLIENT_CLOSED;
		break;
	case CLIENT_READY:
		break;
	case CLIENT_WAIT:
		return true;
	case CLIENT_AGAIN:
		/* Says less each time, so that it ends; and nobody's message was taken. */
		if (c->tx || !tx.without || c->state != CLIENT_CLOSED || code / 100 != 5)
			abort();
		return false;
	default:
		return false;
	}
	*dotted = false;
	fresh(how);
	if (client_begin(c, &tx, out) != CLIENT_DONE)
		return true;
	check_done(c, false, 0);
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reply_parser p;
	struct smtp_client c;
	struct evbuffer *out = evbuffer_new();
	bool dotted = false, open = true;
	size_t used;

	if (!size || !out) {
		evbuffer_free(out);
		return 0;
	}
	uint8_t how = *data++;
	size--;
	size_t piece = how & 1 ? 1 + (size_t)(how >> 5) : size;
	reply_init(&p);
	client_init(&c, "me.example", how & 2);
	while (size && open) {
		size_t n = size < piece ? size : piece;
		enum reply_result r = reply_feed(&p, data, n, &used);
		if (used > n || p.reply.len >= sizeof(p.reply.text) || p.reply.text[p.reply.len])
			abort();
		data += used;
		size -= used;
		if (r == REPLY_BAD)
			break;
		if (r == REPLY_DONE) {
			struct reply_ehlo e;
			char line[32];
			reply_ehlo(&p.reply, &e);
			reply_line(&p.reply, line, sizeof(line));
			open = act(&c, client_reply(&c, &p.reply, out), &dotted, p.reply.code, how,
				   out);
		}
	}
	bool had = c.tx != NULL;
	if (client_lost(&c, "end of input")) {
		if (!had)
			abort();
		check_done(&c, false, 0);
	}
	evbuffer_free(out);
	return 0;
}
