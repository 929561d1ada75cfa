/*
 * A whole request: lines NAME=VALUE of the environment, an empty line, the body. Where it is
 * understood, it is answered: without a session, so that the answer is a redirect, the login page
 * or an error page.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "webui/app.h"

struct input {
	char *env;
	const uint8_t *body, *end;
};

static const char *env(const char *name, void *arg)
{
	struct input *in = arg;
	size_t n = strlen(name);
	for (char *line = in->env; *line; line += strlen(line) + 1)
		if (strncmp(line, name, n) == 0 && line[n] == '=')
			return line + n + 1;
	return NULL;
}

static long body(void *buf, size_t len, void *arg)
{
	struct input *in = arg;
	size_t left = (size_t)(in->end - in->body);
	if (len > left)
		len = left;
	memcpy(buf, in->body, len);
	in->body += len;
	return (long)len;
}

/* Lines become a list of strings that an empty one ends. */
static void split(void *ctx, const uint8_t *data, size_t size, struct input *in)
{
	const uint8_t *blank = size ? memmem(data, size, "\n\n", 2) : NULL;
	size_t head = blank ? (size_t)(blank - data) : size;
	in->env = talloc_zero_array(ctx, char, head + 2);
	for (size_t i = 0; i < head; i++)
		in->env[i] = data[i] == '\n' ? '\0' : (char)data[i];
	in->body = blank ? blank + 2 : data + size;
	in->end = data + size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void *ctx = talloc_new(NULL);
	struct input in;
	static char none[] = "/nonexistent";
	struct web_conf conf = {.common = {.state_dir = none, .run_dir = none}, .rows = 100};
	const struct cgi_limits lim = {.body_bytes = 65536, .query_bytes = 4096, .fields = 24};
	struct web *w = talloc_zero(ctx, struct web);
	const char *why = "";
	size_t len;
	split(ctx, data, size, &in);
	const struct cgi_source src = {env, body, &in};
	*w = (struct web){.pool = w, .conf = &conf, .now_ms = INT64_C(1795352890000)};
	int status = cgi_parse(w, &src, &lim, &w->req, &why);
	app_answer(w, status, why);
	char *out = app_response(w, &len);
	if (!out || strncmp(out, "Status: ", 8) != 0)
		abort();
	/* No header can be forged: the first empty line is ours, and no bare line feed comes before
	 * it. */
	const char *end = strstr(out, "\r\n\r\n");
	for (const char *p = out; p < end; p++)
		if (*p == '\n' && p[-1] != '\r')
			abort();
	talloc_free(ctx);
	return 0;
}
