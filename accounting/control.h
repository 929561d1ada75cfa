/*
 * control - ask acctd for a change: one JSON request, one JSON response, over
 * <run_dir>/control.sock.
 *
 * For the CGI and sekishoctl. The requests are listed in docs/protocols/control.md. Who asks is
 * known from SO_PEERCRED: root (and the users in accounting.admins) act as themselves; everybody
 * else must present a session got by session.login.
 */
#ifndef ACCOUNTING_CONTROL_H
#define ACCOUNTING_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

enum { CONTROL_REQUEST = 1, CONTROL_RESPONSE = 2 }; /* u16 type of lib/ipc; payload is JSON text */

struct control_error {
	char code[32];	/* "invalid" "exists" "notfound" "denied" "unavailable" "internal" */
	char text[512]; /* says what to do */
};

/*
 * One request. args is borrowed (may be NULL); session may be NULL. Returns the result, a new
 * reference the caller drops, or NULL with *e. Deadline 10 s.
 */
json_t *control_call(const char *run_dir, const char *op, json_t *args, const char *session,
		     struct control_error *e);
/* The same with a deadline of its own, for what takes long. */
json_t *control_call_within(const char *run_dir, const char *op, json_t *args, const char *session,
			    int ms, struct control_error *e);
/* The sysexits(3) code for an error: 64 invalid, 1 notfound, 73 exists, 77 denied, 69 unavailable,
 * 70 internal. */
int control_exit_code(const struct control_error *e);

#endif
