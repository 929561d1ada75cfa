/*
 * tls_key - see tls_key.h; the parent's side.
 *
 * The first role is started before there is a loop, so its keys are loaded by blocking calls. From
 * then on nothing blocks: a connection of lib/ipc, questions in a list until they are answered, and
 * one timer for the answer that is due. A role that ends is noticed at once, not at the next
 * handshake. A new one comes up in the background and reads the same files; a key that is not the
 * one of before is not taken, for the certificate here would not go with it.
 *
 * Trusted with: nothing secret. Diagnostics: `key` lines; sekisho_msa_key_* metrics. Known gaps:
 * what a role was asked when it ended is not asked again of its successor.
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

/* One signature that was asked for. */
struct tls_key_ask {
	struct tls_key_ask *next;
	uint32_t number;
	tls_key_done *done; /* NULL: forgotten */
	void *arg;
};

struct tls_keys {
	struct tls_keys *next, **at; /* of all */
	struct event_base *base;
	char *exe, *user;
	int refs, holds;
	enum state state;
	bool told; /* that it does not come up, and why */
	int fd;	   /* at the start; -1 when conn has it */
	struct ipc_conn *conn;
	pid_t pid;
	int64_t started_ms;
	struct event *respawn, *due; /* the next answer */
	struct key *keys;
	size_t n, again; /* keys; how many of them the successor has read */
	struct tls_key_ask *asked, **last;
	uint32_t number;
};

static struct tls_key_counts counts;
static struct tls_keys *all;
static void (*room)(void);

/* --- at the start, blocking ----------------------------------------------------------------------
 */

/* The answer's payload is malloc'd. False: there was none. */
static bool ask(const struct tls_keys *k, uint16_t type, const struct wire_out *w, uint16_t *answer,
		uint8_t **data, size_t *len, const char **err)
{
	return ipc_write(k->fd, type, w->buf, w->len, TLS_KEY_START_MS, err) &&
	       ipc_read(k->fd, answer, data, len, TLS_KEY_START_MS, err);
}

static bool put_text(struct wire_out *w, uint8_t *buf, size_t cap, const char *file)
{
	wire_out_init(w, buf, cap);
	wire_str(w, file);
	return !w->bad;
}

/* What the role says to KEY_F_LOAD: the public half, a view. NULL with why not. */
static const uint8_t *take_loaded(uint16_t type, const uint8_t *data, size_t n, size_t *len,
				  char why[static TLS_KEY_TEXT_MAX])
{
	const uint8_t *spki = NULL;
	struct wire_in in;

	why[0] = '\0';
	wire_in_init(&in, data, n);
	if (type == KEY_F_LOADED)
		spki = wire_get_bytes(&in, TLS_KEY_SPKI_MAX, len);
	else if (type == KEY_F_REFUSED)
		wire_get_str(&in, why, TLS_KEY_TEXT_MAX);
	if (!wire_done(&in))
		spki = NULL;
	if (!spki && why[0] == '\0')
		snprintf(why, TLS_KEY_TEXT_MAX, "an answer that breaks the rules");
	return spki;
}

static uint8_t *load_file(struct tls_keys *k, const char *file, size_t *len,
			  char why[static TLS_KEY_TEXT_MAX])
{
	uint8_t buf[TLS_KEY_PATH_MAX + 8], *data = NULL, *out = NULL;
	const char *err = "the name is too long";
	const uint8_t *spki;
	struct wire_out w;
	uint16_t type;
	size_t n;

	if (!put_text(&w, buf, sizeof(buf), file) ||
	    !ask(k, KEY_F_LOAD, &w, &type, &data, &n, &err)) {
		snprintf(why, TLS_KEY_TEXT_MAX, "%s", err);
		return NULL;
	}
	spki = take_loaded(type, data, n, len, why);
	if (spki)
		out = talloc_memdup(k, spki, *len);
	free(data);
	return out;
}

static bool seal(struct tls_keys *k, const char **err)
{
	uint8_t buf[128], *data = NULL;
	struct wire_out w;
	uint16_t type = 0;
	size_t n;

	*err = "the user's name is too long";
	if (!put_text(&w, buf, sizeof(buf), k->user) ||
	    !ask(k, KEY_F_SEAL, &w, &type, &data, &n, err))
		return false;
	free(data);
	*err = "an answer that breaks the rules";
	return type == KEY_F_SEALED;
}

/* --- answers -------------------------------------------------------------------------------------
 */

static void expect(struct tls_keys *k, int64_t ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	event_add(k->due, &tv);
}

/* Takes what at leads to out of the list. */
static struct tls_key_ask *unlink_ask(struct tls_keys *k, struct tls_key_ask **at)
{
	struct tls_key_ask *a = *at;

	*at = a->next;
	if (k->last == &a->next)
		k->last = at;
	counts.asked--;
	return a;
}

/* NULL: that was not asked. */
static struct tls_key_ask *take_ask(struct tls_keys *k, uint32_t number)
{
	struct tls_key_ask **at = &k->asked;

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return *at ? unlink_ask(k, at) : NULL;
}

/* done() may let go of the role. */
static void finish(struct tls_key_ask *a, const uint8_t *sig, size_t len)
{
	tls_key_done *done = a->done;
	void *arg = a->arg;

	counts.signatures += sig != NULL;
	counts.failures += !sig && done;
	free(a);
	if (done)
		done(arg, sig, len);
}

static void tell_room(void)
{
	if (room && tls_keys_room())
		room();
}

static void fail_all(struct tls_keys *k)
{
	while (k->asked)
		finish(unlink_ask(k, &k->asked), NULL, 0);
	tell_room();
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
	ipc_free(k->conn, false);
	if (k->fd >= 0)
		close(k->fd);
	event_del(k->due);
	role_kill(k->pid);
	k->conn = NULL;
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
	tls_keys_ref(k);
	fail_all(k);
	tls_keys_unref(k);
}

/* --- a successor reads what its predecessor had --- */

static void next_file(struct tls_keys *k)
{
	uint8_t buf[TLS_KEY_PATH_MAX + 8];
	bool more = k->again < k->n;
	struct wire_out w;

	if (!put_text(&w, buf, sizeof(buf), more ? k->keys[k->again].file : k->user) ||
	    !ipc_send(k->conn, more ? KEY_F_LOAD : KEY_F_SEAL, buf, w.len))
		bug("the key role takes no question"); /* it took the same at the start */
	expect(k, TLS_KEY_START_MS);
}

static void on_loaded(struct tls_keys *k, uint16_t type, const uint8_t *data, size_t n)
{
	const struct key *key = &k->keys[k->again];
	char text[TLS_KEY_TEXT_MAX], why[TLS_KEY_TEXT_MAX];
	size_t len = 0;
	const uint8_t *spki = take_loaded(type, data, n, &len, text);

	if (spki && len == key->len && memcmp(spki, key->spki, len) == 0) {
		k->again++;
		next_file(k);
		return;
	}
	snprintf(why, sizeof(why), "%.120s: %.120s", key->file,
		 spki ? "it is another key now: reload" : text);
	down(k, why);
}

static void came_up(struct tls_keys *k)
{
	event_del(k->due);
	k->state = UP;
	k->told = false;
	log_event(LOG_NOTICE, "-", "key", "up-again", LI("pid", k->pid), LI("keys", k->n));
}

static void on_coming(struct tls_keys *k, uint16_t type, const uint8_t *data, size_t len)
{
	if (type == KEY_F_READY && k->again == 0)
		next_file(k);
	else if (type == KEY_F_SEALED && k->again == k->n)
		came_up(k);
	else if (k->again < k->n)
		on_loaded(k, type, data, len);
	else
		down(k, "an answer that breaks the rules");
}

static void on_signed(struct tls_keys *k, uint16_t type, const uint8_t *data, size_t len)
{
	struct tls_key_signature s;
	struct tls_key_ask *a = NULL;

	if (tls_key_signature_get(type, data, len, &s))
		a = take_ask(k, s.number);
	if (!a) {
		down(k, "an answer that breaks the rules");
		return;
	}
	if (k->asked)
		expect(k, TLS_KEY_DEADLINE_MS);
	else
		event_del(k->due);
	finish(a, s.sig, s.len);
	tell_room();
}

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct tls_keys *k = tls_keys_ref(arg);

	(void)c;
	if (k->state == COMING)
		on_coming(k, type, data, len);
	else
		on_signed(k, type, data, len);
	tls_keys_unref(k);
}

static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	struct tls_keys *k = arg;

	(void)c;
	(void)reason;
	k->conn = NULL; /* it frees itself */
	down(k, "it ended");
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	down(arg, "no answer in time");
}

static void connect_it(struct tls_keys *k)
{
	static const struct ipc_handlers handlers = {.frame = on_frame, .closed = on_closed};

	k->conn = ipc_from_fd(k->base, k->fd, &handlers, k);
	k->fd = -1;
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
	k->again = 0;
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
	if (err) {
		down(k, err);
		return;
	}
	connect_it(k);
	expect(k, TLS_KEY_START_MS);
}

static int destroy(struct tls_keys *k)
{
	*k->at = k->next;
	if (k->next)
		k->next->at = k->at;
	end(k); /* it keeps nothing that could be lost */
	while (k->asked)
		free(unlink_ask(k, &k->asked));
	event_free(k->respawn);
	event_free(k->due);
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
	k->last = &k->asked;
	k->respawn = event_new(base, -1, 0, on_respawn, k);
	k->due = event_new(base, -1, 0, on_due, k);
	if (!k->respawn || !k->due)
		fatal("out of memory");
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
	uint8_t *bytes = load_file(k, file, len, why);

	if (!bytes) {
		*err = talloc_asprintf(ctx, "cannot read the key %s: %s", file, why);
		return -1;
	}
	k->keys = talloc_realloc(k, k->keys, struct key, k->n + 1);
	k->keys[k->n] = (struct key){.file = talloc_strdup(k, file), .spki = bytes, .len = *len};
	*spki = talloc_memdup(ctx, bytes, *len);
	return (int)k->n++;
}

bool tls_keys_seal(struct tls_keys *k, const char **err)
{
	if (!seal(k, err))
		return false;
	connect_it(k);
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
	fail_all(k); /* nobody waits for them: who does, holds */
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

bool tls_keys_room(void)
{
	return counts.asked < TLS_KEY_ASKED_MAX;
}

void tls_keys_on_room(void (*cb)(void))
{
	room = cb;
}

static bool send_request(struct tls_keys *k, uint32_t key, uint16_t scheme, const uint8_t *tbs,
			 size_t len)
{
	uint8_t buf[TLS_KEY_TBS_MAX + 16];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	tls_key_request_put(&w, ++k->number, key, scheme, tbs, len);
	return !w.bad && ipc_send(k->conn, KEY_F_SIGN, buf, w.len);
}

struct tls_key_ask *tls_keys_sign(struct tls_keys *k, uint32_t key, uint16_t scheme,
				  const uint8_t *tbs, size_t len, tls_key_done *done, void *arg)
{
	struct tls_key_ask *a;

	if (k->state != UP || !tls_keys_room() || !send_request(k, key, scheme, tbs, len)) {
		counts.failures++;
		return NULL;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		fatal("out of memory");
	*a = (struct tls_key_ask){.number = k->number, .done = done, .arg = arg};
	if (!k->asked)
		expect(k, TLS_KEY_DEADLINE_MS);
	*k->last = a;
	k->last = &a->next;
	counts.asked++;
	return a;
}

void tls_keys_forget(struct tls_key_ask *a)
{
	a->done = NULL;
}
