/*
 * What clients say in AUTH, to the real mechanisms with a real sasldb: the first byte says which,
 * the second how it comes; each further line is one of the client's, raw or to be put into base64.
 * Whatever it is, a challenge is base64 that fits one reply, and nobody is in but under the name
 * that the database has, with a reason to be.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "msa/auth/auth.h"

#define ONE 768

static const char *const mechs[] = {"PLAIN",
				    "LOGIN",
				    "CRAM-MD5",
				    "DIGEST-MD5",
				    "SCRAM-SHA-1",
				    "SCRAM-SHA-256",
				    "SCRAM-SHA-512",
				    "EXTERNAL",
				    "SCRAM-SHA-1-PLUS",
				    "SCRAM-SHA-256-PLUS",
				    "SCRAM-SHA-512-PLUS",
				    "ANONYMOUS"};
#define N_MECHS (sizeof(mechs) / sizeof(*mechs))

static char dir[] = "/tmp/fuzz-sasl.XXXXXX", db[64];

/* Cyrus SASL's DIGEST-MD5 forgets what it had read of an answer that breaks off; it is off by
 * default. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libdigestmd5.so";
}

static void no_log(const char *line, size_t len, void *arg)
{
	(void)line;
	(void)len;
	(void)arg;
}

static void clean(void)
{
	unlink(db);
	rmdir(dir);
}

static void start(void)
{
	static struct auth_mech_config cfg = {
	    "smtp.isp.example", "isp.example", db, "",
	    "PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512 EXTERNAL",
	    false};
	char command[256];
	const char *err;

	if (!mkdtemp(dir))
		abort();
	snprintf(db, sizeof(db), "%s/sasldb2", dir);
	atexit(clean);
	snprintf(command, sizeof(command),
		 "printf secret01 | PATH=$PATH:/usr/sbin saslpasswd2 -p -c -f %s -u isp.example "
		 "user01",
		 db);
	if (system(command) != 0) /* NOLINT(cert-env33-c): a fixed command of a test */
		abort();
	log_sink(no_log, NULL);
	if (!auth_cyrus_init(&cfg, &err))
		abort();
}

static size_t b64(const uint8_t *in, size_t len, char *out)
{
	static const char abc[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16;

		v |= i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0;
		v |= i + 2 < len ? in[i + 2] : 0;
		out[n++] = abc[v >> 18 & 63];
		out[n++] = abc[v >> 12 & 63];
		out[n++] = i + 1 < len ? abc[v >> 6 & 63] : '=';
		out[n++] = i + 2 < len ? abc[v & 63] : '=';
	}
	out[n] = '\0';
	return n;
}

static void check(const struct auth_answer *a, bool external)
{
	size_t n = strlen(a->challenge);

	if (n > AUTH_CHALLENGE_MAX || strspn(a->challenge, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm"
							   "nopqrstuvwxyz0123456789+/=") != n)
		abort();
	for (const char *s = a->account; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f) /* a quoted blank is one */
			abort();
	if (a->result == AUTH_OK && strcmp(a->account, "user01@isp.example") != 0 &&
	    !(external && strcmp(a->account, "someone@isp.example") == 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	struct auth_context ctx = {.external = "", .realm = ""};
	struct sasl_exchange *x;
	struct auth_answer a = {.result = AUTH_CONTINUE};
	const char *mech;
	bool raw;

	if (!started)
		start();
	started = true;
	if (size < 2)
		return 0;
	mech = mechs[data[0] % N_MECHS];
	raw = data[1] & 1;
	ctx.plus = data[1] & 2;
	if (data[1] & 4)
		ctx.external = "someone@isp.example";
	memset(ctx.tls.exporter, 'x', sizeof(ctx.tls.exporter));
	ctx.tls.exporter_len = data[1] & 2 ? sizeof(ctx.tls.exporter) : 0;
	x = auth_cyrus_new(&ctx);
	for (const uint8_t *at = data + 2, *end = data + size;
	     at <= end && a.result == AUTH_CONTINUE;) {
		const uint8_t *nl = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
		size_t n = (size_t)((nl ? nl : end) - at);
		bool first = at == data + 2;
		char text[ONE * 4 / 3 + 8];

		if (n > ONE)
			n = ONE;
		if (raw)
			memcpy(text, at, n);
		/* An empty first line: no initial response. */
		auth_cyrus_step(x, first ? mech : NULL, first && n == 0 ? NULL : text,
				raw ? n : b64(at, n, text), &a);
		check(&a, ctx.external[0]);
		at = nl ? nl + 1 : end + 1;
	}
	auth_cyrus_free(x);
	return 0;
}
