/*
 * message - one message that went through here: who sent it, what became of it.
 *
 * Trusted with: reading. Diagnostics: on stderr. Known gaps: what still waits is `queue show`.
 */
#include <string.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col show_cols[] = {
    {"TIME", "t_ms", COL_TIME},
    {"QUEUE_ID", "queue_id", COL_TEXT},
    {"ACCOUNT", "account", COL_TEXT},
    {"SESSION", "session", COL_TEXT},
    {"TOKEN", "token", COL_TEXT},
    {"SRC", "src", COL_TEXT},
    {"SRC_PORT", "src_port", COL_NUM},
    {"MAIL_FROM", "mail_from", COL_TEXT},
    {"RCPTS", "rcpts", COL_NUM},
    {"DOMAINS", "rcpt_domains", COL_TEXT},
    {"SIZE", "size", COL_NUM},
    {"HELD", "held", COL_TEXT},
    {"MESSAGE_ID", "message_id", COL_TEXT},
    COL_END,
};
static const struct col delivery_cols[] = {
    {"TIME", "t_ms", COL_TIME},
    {"RCPT", "rcpt", COL_TEXT},
    {"RESULT", "result", COL_TEXT},
    {"CLASS", "answer", COL_TEXT},
    {"STATUS", "status", COL_TEXT},
    {"SERVER", "server", COL_TEXT},
    {"TLS", "tls", COL_TEXT},
    {"CIPHER", "cipher", COL_TEXT},
    {"PROOF", "proof", COL_TEXT},
    {"REPLY", "reply", COL_TEXT},
    COL_END,
};

static int run_show(struct cli *c)
{
	int status = EX_OK;
	int64_t limit = 100;
	const char *err = NULL;
	struct query *q = ask_query(c, &status);
	cli_number(c, "limit", &limit);
	json_t *r = q ? query_message(q, c->args[0], (int)limit, &err) : NULL;
	if (q && !r && err && strcmp(err, "not found") == 0)
		return cli_fail(c, CLI_NO, "nothing is known of a message %s", c->args[0]);
	r = q ? ask_got(c, r, err, &status) : NULL;
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		out_object(c, show_cols, r);
		out_rows(c, c->io->out_tty ? "Deliveries" : "delivery", delivery_cols,
			 json_object_get(r, "deliveries"));
	}
	json_decref(r);
	return status;
}

static const struct cli_opt show_opts[] = {
    {"limit", CLI_INT, "N", "at most so many deliveries, the newest; default 100", 1, ASK_ROWS,
     false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"show", "QUEUE_ID",
     "Show who sent a message and what mail servers answered: class, host, TLS.", NULL, show_opts,
     run_show},
};
const struct cli_noun noun_message = {"message", "what became of a message", CLI_VERBS(verbs)};
