/*
 * auth_cyrus - AUTH mechanisms by Cyrus SASL; the only file that knows it.
 *
 * Trusted with: passwords in clear, decoded, for the length of one call; wiped after it.
 * Without a configuration folder the options are given by callback: auxprop with sasldb at the
 * configured path. With one, Cyrus reads sekisho.conf there and only mech_list is ours.
 *
 * An unknown user looks like a known one: Cyrus ends SCRAM at once when there is no such user, so a
 * decoy challenge is given here instead, stable for each name as a real one is, and the next
 * message fails.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <talloc.h>

#include <sasl/sasl.h>
#include <sasl/saslutil.h>

#include "lib/log.h"
#include "lib/login.h"
#include "lib/proc.h"

#include "msa/auth/auth.h"
#include "msa/mail/path.h"
#include "msa/smtp/parser.h"
#include "msa/tls.h"

#define DECODED_MAX (SMTP_AUTH_LINE_MAX / 4 * 3 + 3)

typedef int sasl_cb(void);

struct sasl_exchange {
	sasl_conn_t *conn;
	sasl_callback_t callbacks[2];
	char account[PATH_TEXT_MAX + 1]; /* last name made canonical */
	char challenge[AUTH_CHALLENGE_MAX + 1];
	char detail[256];
	char mech[24];		   /* a SCRAM that has not begun: its client has yet to speak */
	const struct scram *scram; /* or NULL */
	sasl_channel_binding_t binding; /* what was given to the library; points into ctx */
	struct auth_context ctx;
	bool decoy, started;
	bool no_name; /* the client named what can be no mailbox */
};

/* Ours by the name of the digest, for the decoy. */
static const struct scram {
	const char *mech, *digest;
} scrams[] = {
    {"SCRAM-SHA-1", "SHA1"},
    {"SCRAM-SHA-256", "SHA256"},
    {"SCRAM-SHA-512", "SHA512"},
};

static struct auth_mech_config config;
static uint8_t decoy_key[32];

/* --- what Cyrus asks us ------------------------------------------------------------------------
 */

static int getopt_cb(void *ctx, const char *plugin, const char *option, const char **result,
		     unsigned *len)
{
	const struct {
		const char *name, *value;
		bool always;
	} options[] = {
	    {"mech_list", config.mechs, true},
	    {"pwcheck_method", "auxprop", false},
	    {"auxprop_plugin", "sasldb", false},
	    {"sasldb_path", config.sasldb, false},
	};

	(void)ctx;
	(void)plugin;
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		if (strcmp(options[i].name, option) != 0 ||
		    !(options[i].always || config.conf_path[0] == '\0'))
			continue;
		*result = options[i].value;
		if (len)
			*len = (unsigned)strlen(options[i].value);
		return SASL_OK;
	}
	return SASL_FAIL;
}

static int log_cb(void *ctx, int level, const char *message)
{
	(void)ctx;
	if (level == SASL_LOG_ERR)
		log_event(LOG_WARNING, "-", "auth", "sasl", LS("message", message));
	else if (level != SASL_LOG_NONE && level < SASL_LOG_TRACE)
		log_event(LOG_DEBUG, "-", "auth", "sasl", LS("message", message));
	return SASL_OK;
}

/*
 * user@realm, one name for one account even where the back end does not look at case: else each
 * spelling would have limits and holds of its own. False for what can be no mailbox.
 */
static bool canonical(const char *in, unsigned len, const char *realm, struct path *p)
{
	char text[PATH_TEXT_MAX + 1];
	const char *err;
	int n;

	if (len == 0 || len > PATH_TEXT_MAX || memchr(in, '\0', len))
		return false;
	if (memchr(in, '@', len))
		n = snprintf(text, sizeof(text), "%.*s", (int)len, in);
	else
		n = snprintf(text, sizeof(text), "%.*s@%s", (int)len, in, realm);
	if (n < 0 || (size_t)n >= sizeof(text) || !path_parse_mailbox(text, (size_t)n, p, &err))
		return false;
	login_fold(p->text, config.keep_case ? LOGIN_KEEP : LOGIN_LOWER);
	return true;
}

/*
 * user -> user@realm. A name that is none becomes somebody who does not exist, and is not let in
 * even if he did: so it is answered as any other unknown user is, and the plug-in for LOGIN, which
 * forgets to free the password when this fails, keeps nothing.
 */
static int canon_cb(sasl_conn_t *conn, void *ctx, const char *in, unsigned len, unsigned flags,
		    const char *realm, char *out, unsigned max, unsigned *out_len)
{
	struct sasl_exchange *x = ctx;
	struct path p;
	int n;

	(void)conn;
	(void)flags;
	(void)realm;
	if (!canonical(in, len, x->ctx.realm, &p)) {
		x->no_name = true;
		n = snprintf(out, max, "nobody@invalid");
	} else {
		n = snprintf(out, max, "%s", p.text);
	}
	if (n < 0 || (unsigned)n >= max)
		return SASL_BADAUTH;
	*out_len = (unsigned)n;
	snprintf(x->account, sizeof(x->account), "%s", x->no_name ? "" : p.text);
	return SASL_OK;
}

/* --- life --- */

/* A mechanism nobody has a plug-in for would only be seen when somebody wants to log in with it. */
static void tell_missing(void)
{
	char *list = talloc_strdup(NULL, config.mechs), *save = NULL;

	for (char *m = strtok_r(list, " ", &save); m; m = strtok_r(NULL, " ", &save)) {
		const char **have = sasl_global_listmech();

		while (have && *have && strcasecmp(*have, m) != 0)
			have++;
		if (!have || !*have)
			log_event(LOG_WARNING, "-", "auth", "mechanism-missing", LS("mech", m),
				  LS("hint", "Cyrus SASL has no plug-in for it"));
	}
	talloc_free(list);
}

bool auth_cyrus_init(const struct auth_mech_config *cfg, const char **err)
{
	static sasl_callback_t global[] = {
	    {SASL_CB_GETOPT, (sasl_cb *)(void *)getopt_cb, NULL},
	    {SASL_CB_LOG, (sasl_cb *)(void *)log_cb, NULL},
	    {SASL_CB_LIST_END, NULL, NULL},
	};
	int r;

	config = *cfg;
	if (getrandom(decoy_key, sizeof(decoy_key), 0) != (ssize_t)sizeof(decoy_key))
		fatal_errno("getrandom");
	if (cfg->conf_path[0]) {
		r = sasl_set_path(SASL_PATH_TYPE_CONFIG, (char *)(uintptr_t)cfg->conf_path);
		if (r != SASL_OK) {
			*err = sasl_errstring(r, NULL, NULL);
			return false;
		}
	}
	r = sasl_server_init(global, "sekisho");
	*err = sasl_errstring(r, NULL, NULL);
	if (r == SASL_OK)
		tell_missing();
	return r == SASL_OK;
}

static int destroy(struct sasl_exchange *x)
{
	sasl_dispose(&x->conn);
	explicit_bzero(&x->ctx.tls, sizeof(x->ctx.tls));
	explicit_bzero(x->challenge, sizeof(x->challenge));
	return 0;
}

struct sasl_exchange *auth_cyrus_new(const struct auth_context *ctx)
{
	struct sasl_exchange *x = talloc_zero(NULL, struct sasl_exchange);

	x->ctx = *ctx;
	x->ctx.external = talloc_strdup(x, ctx->external);
	x->ctx.realm = talloc_strdup(x, ctx->realm[0] ? ctx->realm : config.realm);

	x->callbacks[0] = (sasl_callback_t){SASL_CB_CANON_USER, (sasl_cb *)(void *)canon_cb, x};
	x->callbacks[1] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
	talloc_set_destructor(x, destroy);
	return x;
}

void auth_cyrus_free(struct sasl_exchange *x)
{
	talloc_free(x);
}

static int new_conn(struct sasl_exchange *x)
{
	sasl_security_properties_t props = {.security_flags = SASL_SEC_NOANONYMOUS};
	sasl_ssf_t ssf = 256; /* TLS is on, always */
	int r = sasl_server_new("smtp", config.hostname, x->ctx.realm, NULL, NULL, x->callbacks, 0,
				&x->conn);

	if (r == SASL_OK)
		r = sasl_setprop(x->conn, SASL_SSF_EXTERNAL, &ssf);
	if (r == SASL_OK)
		r = sasl_setprop(x->conn, SASL_SEC_PROPS, &props);
	if (r == SASL_OK && x->ctx.external[0])
		r = sasl_setprop(x->conn, SASL_AUTH_EXTERNAL, x->ctx.external);
	return r;
}

/* --- one step --- */

static bool set_challenge(struct sasl_exchange *x, const char *out, unsigned len)
{
	unsigned n;

	return sasl_encode64(out ? out : "", len, x->challenge, sizeof(x->challenge), &n) ==
	       SASL_OK;
}

/* A SCRAM challenge for a user that does not exist; false when the client's message has no nonce.
 */
static bool decoy(struct sasl_exchange *x, const char *first, size_t len)
{
	const char *r = memmem(first, len, ",r=", 3), *end;
	uint8_t rnd[24], salt[64];
	char nonce[40], salt64[92], text[1024];
	size_t salt_len;
	unsigned n;
	int m;

	if (!r)
		return false;
	r += 3;
	end = memchr(r, ',', len - (size_t)(r - first));
	m = (int)(end ? end - r : first + len - r);
	if (m > 512 || getrandom(rnd, sizeof(rnd), 0) != (ssize_t)sizeof(rnd))
		return false;
	tls_prf(decoy_key, x->account, salt);
	tls_prf(salt, x->account, salt + 32);
	salt_len = tls_scram_work(x->scram->digest, x->account);
	sasl_encode64((const char *)rnd, sizeof(rnd), nonce, sizeof(nonce), &n);
	sasl_encode64((const char *)salt, (unsigned)salt_len, salt64, sizeof(salt64), &n);
	n = (unsigned)snprintf(text, sizeof(text), "r=%.*s%s,s=%s,i=4096", m, r, nonce, salt64);
	x->decoy = set_challenge(x, text, n);
	return x->decoy;
}

static enum auth_result result_of(int r)
{
	switch (r) {
	case SASL_OK:
		return AUTH_OK;
	case SASL_CONTINUE:
		return AUTH_CONTINUE;
	case SASL_NOUSER:
	case SASL_BADAUTH:
	case SASL_NOAUTHZ:
	case SASL_NOVERIFY:
	case SASL_EXPIRED:
	case SASL_DISABLED:
	case SASL_TRANS:
	case SASL_WEAKPASS:
	case SASL_BADBINDING:
		return AUTH_FAILED;
	case SASL_BADPROT:
	case SASL_BADPARAM:
	case SASL_BADMAC:
		return AUTH_MALFORMED;
	default:
		return AUTH_UNAVAILABLE;
	}
}

static void take_account(struct sasl_exchange *x, struct auth_answer *out)
{
	const void *user = NULL;

	/* What canon_cb() made of it; the library must agree. */
	if (x->no_name || sasl_getprop(x->conn, SASL_USERNAME, &user) != SASL_OK || !user ||
	    strcmp(user, x->account) != 0) {
		out->result = AUTH_FAILED;
		out->detail = "no user name";
	}
}

static void finish(struct sasl_exchange *x, int r, const char *server, unsigned server_len,
		   const char *in, size_t in_len, struct auth_answer *out)
{
	out->result = result_of(r);
	/* A decoy cannot tell one bad answer from another, so nobody is told. */
	if (x->scram && x->started && out->result == AUTH_MALFORMED)
		out->result = AUTH_FAILED;
	if (r == SASL_NOUSER && x->scram && !x->started && decoy(x, in, in_len))
		out->result = AUTH_CONTINUE;
	else if (r == SASL_CONTINUE && !set_challenge(x, server, server_len))
		out->result = AUTH_UNAVAILABLE;
	else if (r == SASL_OK)
		take_account(x, out);
	if (in_len > 0)
		x->started = true;
	if (out->result == AUTH_CONTINUE || out->result == AUTH_OK)
		return;
	snprintf(x->detail, sizeof(x->detail), "%s",
		 r == SASL_NOUSER || x->decoy ? AUTH_NO_SUCH_USER
		 : r == SASL_BADBINDING	      ? "channel binding"
		 : x->conn		      ? sasl_errdetail(x->conn)
					      : sasl_errstring(r, NULL, NULL));
	out->detail = x->detail;
}

/* --- channel binding (RFC 5802 6) --- */

static bool is_plus(const char *mech)
{
	size_t n = strlen(mech);

	return n > 5 && strcasecmp(mech + n - 5, "-PLUS") == 0;
}

static const struct scram *scram_of(const char *mech)
{
	size_t len = strlen(mech) - (is_plus(mech) ? 5 : 0);

	for (size_t i = 0; i < sizeof(scrams) / sizeof(*scrams); i++)
		if (strlen(scrams[i].mech) == len && strncasecmp(scrams[i].mech, mech, len) == 0)
			return &scrams[i];
	return NULL;
}

/* Gives the library the binding the client names; it takes only one. */
static int bind_to(struct sasl_exchange *x, const char *name, size_t len)
{
	const struct {
		const char *name;
		const uint8_t *data;
		size_t len;
	} have[] = {
	    {"tls-exporter", x->ctx.tls.exporter, x->ctx.tls.exporter_len},
	    {"tls-server-end-point", x->ctx.tls.endpoint, x->ctx.tls.endpoint_len},
	};

	for (size_t i = 0; i < sizeof(have) / sizeof(*have); i++) {
		if (strlen(have[i].name) != len || memcmp(have[i].name, name, len) != 0 ||
		    have[i].len == 0)
			continue;
		x->binding = (sasl_channel_binding_t){
		    .name = have[i].name, .len = have[i].len, .data = have[i].data};
		return sasl_setprop(x->conn, SASL_CHANNEL_BINDING, &x->binding);
	}
	return SASL_BADPROT;
}

/* p=NAME, the client binds; n, it cannot; y, it could, and thinks that we cannot: then somebody
 * took -PLUS out of what we offered. */
static int check_binding(struct sasl_exchange *x, bool plus, const char *in, size_t len)
{
	const char *comma = memchr(in, ',', len);

	if (len < 3 || !comma || (in[0] == 'p') != plus)
		return SASL_BADPROT;
	if (in[0] == 'y')
		return x->ctx.plus ? SASL_BADBINDING : SASL_OK;
	if (!plus)
		return SASL_OK;
	return in[1] == '=' ? bind_to(x, in + 2, (size_t)(comma - in) - 2) : SASL_BADPROT;
}

/* The first message of a SCRAM client, which may come with AUTH or after. */
static int scram_start(struct sasl_exchange *x, const char *in, unsigned in_len,
		       const char **server, unsigned *server_len)
{
	int r = check_binding(x, is_plus(x->mech), in, in_len);

	if (r == SASL_OK)
		r = sasl_server_start(x->conn, x->mech, in, in_len, server, server_len);
	x->mech[0] = '\0';
	return r;
}

void auth_cyrus_step(struct sasl_exchange *x, const char *mech, const char *data, size_t len,
		     struct auth_answer *out)
{
	char in[DECODED_MAX];
	const char *server = NULL;
	unsigned in_len = 0, server_len = 0;
	int r = SASL_OK;

	*out = (struct auth_answer){AUTH_FAILED, x->challenge, x->account, ""};
	x->challenge[0] = '\0';
	if (mech) {
		x->scram = scram_of(mech);
		if (x->scram)
			snprintf(x->mech, sizeof(x->mech), "%s", mech);
		r = new_conn(x);
	}
	if (len > 0 && sasl_decode64(data, (unsigned)len, in, sizeof(in), &in_len) != SASL_OK) {
		out->result = AUTH_MALFORMED;
		out->detail = "not base64";
		explicit_bzero(in, sizeof(in));
		return;
	}
	if (x->decoy)
		r = SASL_NOUSER;
	else if (r == SASL_OK && mech && x->scram && !data)
		r = SASL_CONTINUE;
	else if (r == SASL_OK && x->mech[0])
		r = scram_start(x, in, in_len, &server, &server_len);
	else if (r == SASL_OK && mech)
		r = sasl_server_start(x->conn, mech, data ? in : NULL, in_len, &server,
				      &server_len);
	else if (r == SASL_OK)
		r = sasl_server_step(x->conn, in, in_len, &server, &server_len);
	finish(x, r, server, server_len, in, in_len, out);
	explicit_bzero(in, sizeof(in));
}
