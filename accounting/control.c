/*
 * control - the blocking client of acctd's control socket, for the CGI and sekishoctl (contract in
 * control.h).
 *
 * Trusted with: the session it is handed, which it wipes from the text it built. Diagnostics: the
 * error it returns. Known gaps: one connection a call.
 */
#include "accounting/control.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/ipc.h"

#define DEADLINE_MS 10000

__attribute__((format(printf, 3, 4))) static json_t *fail(struct control_error *e, const char *code,
							  const char *fmt, ...)
{
	va_list ap;
	snprintf(e->code, sizeof e->code, "%s", code);
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return NULL;
}

static char *request_text(const char *op, json_t *args, const char *session)
{
	json_t *msg = json_pack("{s:s, s:O}", "op", op, "args", args ? args : json_null());
	if (msg && !args)
		json_object_set_new(msg, "args", json_object());
	if (msg && session)
		json_object_set_new(msg, "session", json_string(session));
	char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	json_decref(msg);
	return text;
}

static int left(int64_t end_ms)
{
	int64_t ms = end_ms - clock_mono_ms();
	return ms > 0 ? (int)ms : 0;
}

/* A malloc'd response, or NULL with *err. */
static uint8_t *exchange(const char *path, const char *text, int ms, size_t *len, const char **err)
{
	int64_t end = clock_mono_ms() + ms;
	uint8_t *data = NULL;
	uint16_t type = 0;
	int fd = ipc_dial(path, left(end), err);
	if (fd < 0)
		return NULL;
	if (ipc_write(fd, CONTROL_REQUEST, text, strlen(text), left(end), err) &&
	    ipc_read(fd, &type, &data, len, left(end), err) && type != CONTROL_RESPONSE) {
		*err = "the answer is not a response";
		free(data);
		data = NULL;
	}
	close(fd);
	return data;
}

static json_t *read_response(const uint8_t *data, size_t len, struct control_error *e)
{
	json_t *msg = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *result = NULL;
	if (json_is_true(json_object_get(msg, "ok"))) {
		result = json_object_get(msg, "result");
		result = result ? json_incref(result) : json_null();
	} else {
		const char *code = json_string_value(json_object_get(msg, "code"));
		const char *text = json_string_value(json_object_get(msg, "error"));
		fail(e, code ? code : "internal", "%s",
		     text ? text : "acctd gave no answer in its format");
	}
	json_decref(msg);
	return result;
}

json_t *control_call(const char *run_dir, const char *op, json_t *args, const char *session,
		     struct control_error *e)
{
	return control_call_within(run_dir, op, args, session, DEADLINE_MS, e);
}

json_t *control_call_within(const char *run_dir, const char *op, json_t *args, const char *session,
			    int ms, struct control_error *e)
{
	const char *err = NULL;
	char *path = NULL;
	size_t len = 0;
	char *text = request_text(op, args, session);
	if (!text)
		return fail(e, "invalid", "%s: the arguments are not JSON text", op);
	if (strlen(text) > IPC_MAX_FRAME - 2) {
		free(text);
		return fail(e, "invalid", "%s: the request is longer than 1 MiB", op);
	}
	if (asprintf(&path, "%s/control.sock", run_dir) < 0)
		path = NULL;
	uint8_t *data = path ? exchange(path, text, ms, &len, &err) : NULL;
	explicit_bzero(text, strlen(text));
	free(text);
	free(path);
	if (!data)
		return fail(e, "unavailable", "sekisho-acctd does not answer: %s",
			    err ? err : "no memory");
	json_t *result = read_response(data, len, e);
	explicit_bzero(data, len);
	free(data);
	return result;
}

int control_exit_code(const struct control_error *e)
{
	static const struct {
		const char *code;
		int exit;
	} map[] = {
	    {"invalid", EX_USAGE},	     {"notfound", 1},
	    {"exists", EX_CANTCREAT},	     {"denied", EX_NOPERM},
	    {"unavailable", EX_UNAVAILABLE},
	};
	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
		if (strcmp(map[i].code, e->code) == 0)
			return map[i].exit;
	return EX_SOFTWARE;
}
