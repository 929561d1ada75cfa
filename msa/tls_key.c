/*
 * tls_key - see tls_key.h; the parent's side.
 *
 * The socket is watched: a role that ends is noticed at once, not at the next handshake. A new one
 * comes up in the background, then reads the same files; a key that is not the one of before is not
 * taken, for the certificate here would not go with it.
 *
 * Trusted with: nothing secret. Diagnostics: `key` lines; sekisho_msa_key_* metrics. Known gaps: a
 * role that takes its deadline holds up everybody for that time, once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/role.h"

#include "msa/tls_key.h"

#define RESPAWN_MIN_MS 1000 /* between two starts */

enum state { DOWN, COMING, UP };

struct key {
	char *file;
	uint8_t *spki;
	size_t len;
};

struct tls_keys {
	struct tls_keys *next, **at; /* of all */
	struct event_base *base;
	char *exe, *user;
	int refs, holds;
	enum state state;
	bool told; /* that it does not come up, and why */
	int fd;
	pid_t pid;
	int64_t started_ms;
	struct event *ev, *respawn;
	struct key *keys;
	size_t n;
};

static struct tls_key_counts counts;
static struct tls_keys *all;

/* --- one question ------------------------------------------------------------------------------
 */

/* The answer's payload is malloc'd. False: there was none. */
static bool ask(const struct tls_keys *k, uint16_t type, const struct wire_out *w, int timeout_ms,
		uint16_t *answer, uint8_t **data, size_t *len, const char **err)
{
	return ipc_write(k->fd, type, w->buf, w->len, timeout_ms, err) &&
	       ipc_read(k->fd, answer, data, len, timeout_ms, err);
}

/* --- its life ----------------------------------------------------------------------------------
 */

static void plan_respawn(struct tls_keys *k)
{
	int64_t lived = clock_mono_ms() - k->started_ms;
	int64_t wait = lived < RESPAWN_MIN_MS ? RESPAWN_MIN_MS - lived : 0;
	const struct timeval tv = {wait / 1000, wait % 1000 * 1000};

	event_add(k->respawn, &tv);
}

static void end(struct tls_keys *k)
{
	if (k->ev)
		event_free(k->ev);
	if (k->fd >= 0)
		close(k->fd);
	role_kill(k->pid);
	k->ev = NULL;
	k->fd = -1;
	k->pid = 0;
	k->state = DOWN;
}

static void down(struct tls_keys *k, const char *why)
{
	pid_t pid = k->pid;

	if (!k->told)
		log_event(LOG_ERR, "-", "key", "down", LI("pid", pid), LS("reason", why),
			  LS("state", "new TLS sessions fail until it is there again"));
	k->told = k->state == COMING; /* once, while it does not come up */
	end(k);
	plan_respawn(k);
}

static bool load_file(struct tls_keys *k, const char *file, int timeout_ms, uint8_t **spki,
		      size_t *len, char why[static TLS_KEY_TEXT_MAX])
{
	uint8_t buf[TLS_KEY_PATH_MAX + 8], *data = NULL;
	const uint8_t *bytes;
	const char *err = "an answer that breaks the rules";
	struct wire_out w;
	struct wire_in in;
	uint16_t type;
	size_t n;

	wire_out_init(&w, buf, sizeof(buf));
	wire_str(&w, file);
	why[0] = '\0';
	if (w.bad || !ask(k, KEY_F_LOAD, &w, timeout_ms, &type, &data, &n, &err)) {
		snprintf(why, TLS_KEY_TEXT_MAX, "%s", w.bad ? "the name is too long" : err);
		return false;
	}
	wire_in_init(&in, data, n);
	bytes = type == KEY_F_LOADED ? wire_get_bytes(&in, TLS_KEY_SPKI_MAX, len) : NULL;
	if (type == KEY_F_REFUSED)
		wire_get_str(&in, why, TLS_KEY_TEXT_MAX);
	else if (bytes && wire_done(&in))
		*spki = talloc_memdup(NULL, bytes, *len);
	if (!*spki && why[0] == '\0')
		snprintf(why, TLS_KEY_TEXT_MAX, "%s", err);
	free(data);
	return *spki;
}

static bool seal(struct tls_keys *k, int timeout_ms, const char **err)
{
	uint8_t buf[128], *data = NULL;
	struct wire_out w;
	uint16_t type = 0;
	size_t n;

	wire_out_init(&w, buf, sizeof(buf));
	wire_str(&w, k->user);
	if (w.bad || !ask(k, KEY_F_SEAL, &w, timeout_ms, &type, &data, &n, err))
		return false;
	free(data);
	*err = "an answer that breaks the rules";
	return type == KEY_F_SEALED;
}

/* The successor reads what its predecessor had. */
static bool load_again(struct tls_keys *k, char why[static TLS_KEY_TEXT_MAX])
{
	const char *err = NULL;

	for (size_t i = 0; i < k->n; i++) {
		uint8_t *spki = NULL;
		size_t len = 0;
		char text[TLS_KEY_TEXT_MAX];
		bool ok = load_file(k, k->keys[i].file, TLS_KEY_DEADLINE_MS, &spki, &len, text);
		bool same = ok && len == k->keys[i].len && memcmp(spki, k->keys[i].spki, len) == 0;

		talloc_free(spki);
		if (same)
			continue;
		snprintf(why, TLS_KEY_TEXT_MAX, "%.120s: %.120s", k->keys[i].file,
			 ok ? "it is another key now: reload" : text);
		return false;
	}
	if (seal(k, TLS_KEY_DEADLINE_MS, &err))
		return true;
	snprintf(why, TLS_KEY_TEXT_MAX, "%s", err);
	return false;
}

static void came_up(struct tls_keys *k)
{
	char why[TLS_KEY_TEXT_MAX];
	uint8_t *data = NULL;
	const char *err = NULL;
	uint16_t type;
	size_t n;

	if (!ipc_read(k->fd, &type, &data, &n, TLS_KEY_DEADLINE_MS, &err)) {
		down(k, err);
		return;
	}
	free(data);
	if (!load_again(k, why)) {
		down(k, why);
		return;
	}
	k->state = UP;
	k->told = false;
	log_event(LOG_NOTICE, "-", "key", "up-again", LI("pid", k->pid), LI("keys", k->n));
}

/* Nothing is asked now: either it has come up, or it has ended, or it talks out of turn. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct tls_keys *k = arg;

	(void)fd;
	(void)what;
	if (k->state == COMING)
		came_up(k);
	else
		down(k, "it ended");
}

static const char *spawn(struct tls_keys *k)
{
	int r;

	k->started_ms = clock_mono_ms();
	r = role_start(k->exe, "key", &k->fd, &k->pid);
	if (r != 0) {
		k->fd = -1;
		k->pid = 0;
		return strerror(r);
	}
	k->state = COMING;
	k->ev = event_new(k->base, k->fd, EV_READ | EV_PERSIST, on_readable, k);
	if (!k->ev || event_add(k->ev, NULL) != 0)
		fatal("out of memory");
	return NULL;
}

static void on_respawn(evutil_socket_t fd, short what, void *arg)
{
	struct tls_keys *k = arg;
	const char *err;

	(void)fd;
	(void)what;
	counts.restarts++;
	err = spawn(k);
	if (err)
		down(k, err);
}

static int destroy(struct tls_keys *k)
{
	*k->at = k->next;
	if (k->next)
		k->next->at = k->at;
	end(k); /* it keeps nothing that could be lost */
	if (k->respawn)
		event_free(k->respawn);
	return 0;
}

static bool wait_ready(struct tls_keys *k, const char **err)
{
	uint8_t *data = NULL;
	uint16_t type;
	size_t len;

	if (!ipc_read(k->fd, &type, &data, &len, TLS_KEY_START_MS, err))
		return false;
	free(data);
	*err = "it does not say what it should";
	return type == KEY_F_READY;
}

struct tls_keys *tls_keys_start(struct event_base *base, const char *exe, const char *user,
				const char **err)
{
	struct tls_keys *k = talloc_zero(NULL, struct tls_keys);

	k->base = base;
	k->exe = talloc_strdup(k, exe);
	k->user = talloc_strdup(k, user);
	k->refs = k->holds = 1;
	k->fd = -1;
	k->respawn = event_new(base, -1, 0, on_respawn, k);
	k->next = all;
	k->at = &all;
	if (k->next)
		k->next->at = &k->next;
	all = k;
	talloc_set_destructor(k, destroy);
	*err = spawn(k);
	if (!*err && wait_ready(k, err))
		return k;
	talloc_free(k);
	return NULL;
}

int tls_keys_load(struct tls_keys *k, const char *file, void *ctx, uint8_t **spki, size_t *len,
		  char **err)
{
	char why[TLS_KEY_TEXT_MAX];
	uint8_t *bytes = NULL;
	struct key *key;

	if (!load_file(k, file, TLS_KEY_START_MS, &bytes, len, why)) {
		*err = talloc_asprintf(ctx, "cannot read the key %s: %s", file, why);
		return -1;
	}
	k->keys = talloc_realloc(k, k->keys, struct key, k->n + 1);
	key = &k->keys[k->n];
	*key = (struct key){
	    .file = talloc_strdup(k, file), .spki = talloc_steal(k, bytes), .len = *len};
	*spki = talloc_memdup(ctx, bytes, *len);
	return (int)k->n++;
}

bool tls_keys_seal(struct tls_keys *k, const char **err)
{
	if (!seal(k, TLS_KEY_START_MS, err))
		return false;
	k->state = UP;
	log_event(LOG_INFO, "-", "key", "ready", LI("pid", k->pid), LI("keys", k->n));
	return true;
}

struct tls_keys *tls_keys_ref(struct tls_keys *k)
{
	k->refs++;
	return k;
}

void tls_keys_unref(struct tls_keys *k)
{
	if (k && --k->refs == 0)
		talloc_free(k);
}

void tls_keys_hold(struct tls_keys *k)
{
	k->holds++;
}

void tls_keys_let(struct tls_keys *k)
{
	if (!k || --k->holds > 0)
		return;
	end(k);
	event_del(k->respawn);
}

bool tls_keys_up(const struct tls_keys *k)
{
	return k->state == UP;
}

size_t tls_keys_pids(pid_t *out, size_t max)
{
	size_t n = 0;

	for (const struct tls_keys *k = all; k && n < max; k = k->next)
		if (k->pid > 0)
			out[n++] = k->pid;
	return n;
}

void tls_keys_disown_all(void)
{
	for (struct tls_keys *k = all; k; k = k->next)
		k->pid = 0;
}

struct tls_key_counts tls_keys_counts(void)
{
	return counts;
}

/* --- signing ------------------------------------------------------------------------------------
 */

static bool take_signature(uint16_t type, const uint8_t *data, size_t n,
			   uint8_t out[static TLS_KEY_SIG_MAX], size_t *out_len)
{
	const uint8_t *sig;
	struct wire_in in;

	wire_in_init(&in, data, n);
	sig = type == KEY_F_SIGNED ? wire_get_bytes(&in, TLS_KEY_SIG_MAX, out_len) : NULL;
	if (!sig || !wire_done(&in))
		return false;
	memcpy(out, sig, *out_len);
	return true;
}

bool tls_keys_sign(struct tls_keys *k, uint32_t key, uint16_t scheme, const uint8_t *tbs,
		   size_t len, uint8_t out[static TLS_KEY_SIG_MAX], size_t *out_len)
{
	uint8_t buf[TLS_KEY_TBS_MAX + 16], *data = NULL;
	const char *err = "the handshake is longer than any";
	struct wire_out w;
	uint16_t type = 0;
	size_t n = 0;
	bool ok = false;

	wire_out_init(&w, buf, sizeof(buf));
	tls_key_request_put(&w, key, scheme, tbs, len);
	if (k->state == UP && !w.bad) {
		ok = ask(k, KEY_F_SIGN, &w, TLS_KEY_DEADLINE_MS, &type, &data, &n, &err);
		if (!ok)
			down(k, err);
		else
			ok = take_signature(type, data, n, out, out_len);
		free(data);
	}
	counts.signatures += ok;
	counts.failures += !ok;
	return ok;
}
