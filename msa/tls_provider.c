/*
 * tls_provider - see tls_provider.h.
 *
 * The least a TLS server needs of an OpenSSL provider: key management that imports and compares
 * public halves, and a signature in one call. It lives in a library context of its own, so that
 * nothing else in this process is ever served by it. It exports nothing: when OpenSSL wants to take
 * a key to another provider, that fails, and it comes back to ours.
 *
 * A signature is made inside a job of OpenSSL's (ASYNC_start_job(3), which SSL_MODE_ASYNC does for
 * a handshake): it sends the question, pauses, and the loop serves others. Without a job there is
 * none.
 *
 * Trusted with: nothing secret. Diagnostics: a signature that fails ends the handshake with an
 * alert; tls_key says why. Known gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include <openssl/async.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

#include "lib/proc.h"

#include "msa/tls_provider.h"

#define KEY_PARAM "sekisho-key" /* an octet pointer to struct remote */
#define GROUP_MAX 80

/* What a key is when it is ours. */
struct remote {
	struct tls_keys *keys;
	uint32_t number;
	int bits, security_bits, size;
};

/* A key's data: the public half, and for ours where the other half is. */
struct half {
	BIGNUM *n, *e; /* RSA */
	uint8_t *pub;  /* the others; talloc'd, as are all of these */
	size_t pub_len;
	char group[GROUP_MAX];
	struct remote remote; /* keys NULL: not ours */
};

/* --- key management ------------------------------------------------------------------------------
 */

static void *half_new(void *provider)
{
	(void)provider;
	return talloc_zero(NULL, struct half);
}

static void half_free(void *data)
{
	struct half *h = data;

	if (!h)
		return;
	BN_free(h->n);
	BN_free(h->e);
	tls_keys_unref(h->remote.keys);
	talloc_free(h);
}

static int half_has(const void *data, int selection)
{
	(void)selection;
	return data != NULL;
}

static bool same_number(const BIGNUM *x, const BIGNUM *y)
{
	return (!x && !y) || (x && y && BN_cmp(x, y) == 0);
}

static int half_match(const void *one, const void *two, int selection)
{
	const struct half *x = one, *y = two;

	(void)selection;
	return same_number(x->n, y->n) && same_number(x->e, y->e) && x->pub_len == y->pub_len &&
	       (x->pub_len == 0 || memcmp(x->pub, y->pub, x->pub_len) == 0) &&
	       strcmp(x->group, y->group) == 0;
}

static bool get_number(const OSSL_PARAM *params, const char *name, BIGNUM **out)
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);

	return !p || OSSL_PARAM_get_BN(p, out) == 1;
}

static bool get_point(const OSSL_PARAM *params, struct half *h)
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PUB_KEY);

	if (!p || p->data_type != OSSL_PARAM_OCTET_STRING)
		return !p;
	h->pub = talloc_memdup(h, p->data, p->data_size);
	h->pub_len = p->data_size;
	return h->pub;
}

static bool get_group(const OSSL_PARAM *params, struct half *h)
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME);
	char *to = h->group;

	return !p || OSSL_PARAM_get_utf8_string(p, &to, sizeof(h->group)) == 1;
}

static int half_import(void *data, int selection, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, KEY_PARAM);
	struct half *h = data;

	(void)selection;
	if (p && p->data_size == sizeof(h->remote)) {
		memcpy(&h->remote, p->data, sizeof(h->remote));
		tls_keys_ref(h->remote.keys);
	}
	return get_number(params, OSSL_PKEY_PARAM_RSA_N, &h->n) &&
	       get_number(params, OSSL_PKEY_PARAM_RSA_E, &h->e) && get_point(params, h) &&
	       get_group(params, h);
}

static const OSSL_PARAM *half_import_types(int selection)
{
	static const OSSL_PARAM types[] = {
	    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
	    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
	    OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
	    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
	    OSSL_PARAM_octet_string(KEY_PARAM, NULL, 0),
	    OSSL_PARAM_END,
	};

	(void)selection;
	return types;
}

static int half_get(void *data, OSSL_PARAM params[])
{
	const struct half *h = data;
	OSSL_PARAM *p;

	if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_BITS)) &&
	    !OSSL_PARAM_set_int(p, h->remote.bits))
		return 0;
	if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_SECURITY_BITS)) &&
	    !OSSL_PARAM_set_int(p, h->remote.security_bits))
		return 0;
	if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MAX_SIZE)) &&
	    !OSSL_PARAM_set_int(p, h->remote.size))
		return 0;
	if (h->group[0] && (p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_GROUP_NAME)) &&
	    !OSSL_PARAM_set_utf8_string(p, h->group))
		return 0;
	return 1;
}

static const OSSL_PARAM *half_gettable(void *provider)
{
	static const OSSL_PARAM types[] = {
	    OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
	    OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
	    OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
	    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
	    OSSL_PARAM_END,
	};

	(void)provider;
	return types;
}

static const char *ec_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

#define F(f) ((void (*)(void))(f))

/* clang-format off */
#define KEY_FUNCTIONS                                                                              \
	{OSSL_FUNC_KEYMGMT_NEW, F(half_new)}, {OSSL_FUNC_KEYMGMT_FREE, F(half_free)},              \
	{OSSL_FUNC_KEYMGMT_HAS, F(half_has)}, {OSSL_FUNC_KEYMGMT_MATCH, F(half_match)},            \
	{OSSL_FUNC_KEYMGMT_IMPORT, F(half_import)},                                                \
	{OSSL_FUNC_KEYMGMT_IMPORT_TYPES, F(half_import_types)},                                    \
	{OSSL_FUNC_KEYMGMT_GET_PARAMS, F(half_get)},                                               \
	{OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, F(half_gettable)}
/* clang-format on */

static const OSSL_DISPATCH key_functions[] = {KEY_FUNCTIONS, {0, NULL}};
static const OSSL_DISPATCH ec_functions[] = {
    KEY_FUNCTIONS, {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, F(ec_operation)}, {0, NULL}};

static const OSSL_ALGORITHM key_managers[] = {
    {"RSA:rsaEncryption", "provider=sekisho", key_functions, NULL},
    {"RSA-PSS:RSASSA-PSS", "provider=sekisho", key_functions, NULL},
    {"EC:id-ecPublicKey", "provider=sekisho", ec_functions, NULL},
    {"ED25519", "provider=sekisho", key_functions, NULL},
    {"ED448", "provider=sekisho", key_functions, NULL},
    {NULL, NULL, NULL, NULL}};

/* --- signatures --- */

struct signing {
	struct half *h; /* lives as long as the EVP_PKEY, which the caller holds */
	enum tls_key_kind kind;
	char digest[32]; /* "": none */
};

static void *rsa_new(void *provider, const char *props)
{
	struct signing *s = talloc_zero(NULL, struct signing);

	(void)provider;
	(void)props;
	s->kind = KEY_RSA_PKCS1;
	return s;
}

static void *ecdsa_new(void *provider, const char *props)
{
	struct signing *s = rsa_new(provider, props);

	s->kind = KEY_ECDSA;
	return s;
}

static void *ed25519_new(void *provider, const char *props)
{
	struct signing *s = rsa_new(provider, props);

	s->kind = KEY_ED25519;
	return s;
}

static void *ed448_new(void *provider, const char *props)
{
	struct signing *s = rsa_new(provider, props);

	s->kind = KEY_ED448;
	return s;
}

static void signing_free(void *ctx)
{
	talloc_free(ctx);
}

static int set_params(void *ctx, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p =
	    params ? OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE) : NULL;
	struct signing *s = ctx;
	int mode = 0;

	if (!p)
		return 1;
	if (p->data_type == OSSL_PARAM_UTF8_STRING)
		mode = strcmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0 ? RSA_PKCS1_PSS_PADDING
		       : strcmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING
									      : 0;
	else if (!OSSL_PARAM_get_int(p, &mode))
		return 0;
	if (mode != RSA_PKCS1_PADDING && mode != RSA_PKCS1_PSS_PADDING)
		return 0;
	s->kind = mode == RSA_PKCS1_PADDING ? KEY_RSA_PKCS1 : KEY_RSA_PSS;
	return 1;
}

static const OSSL_PARAM *settable(void *ctx, void *provider)
{
	static const OSSL_PARAM types[] = {
	    OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
	    OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0), /* the digest's */
	    OSSL_PARAM_END,
	};

	(void)ctx;
	(void)provider;
	return types;
}

static int sign_init(void *ctx, const char *digest, void *data, const OSSL_PARAM params[])
{
	struct signing *s = ctx;
	struct half *h = data;

	if (!h || !h->remote.keys || (digest && strlen(digest) >= sizeof(s->digest)))
		return 0;
	s->h = h;
	snprintf(s->digest, sizeof(s->digest), "%s", digest ? digest : "");
	return set_params(ctx, params);
}

/* A handshake that waits for its signature: it is on the stack of the handshake's job. */
struct wait {
	ASYNC_JOB *job;
	uint8_t *sig;
	size_t max, len;
	bool answered;
};

/* On the main stack: the job goes on. */
static void answered(void *arg, const uint8_t *sig, size_t len)
{
	struct wait *w = arg;
	ASYNC_callback_fn go_on = NULL;
	void *who = NULL;

	w->answered = true;
	w->len = len <= w->max ? len : 0;
	if (sig)
		memcpy(w->sig, sig, w->len);
	if (ASYNC_WAIT_CTX_get_callback(ASYNC_get_wait_ctx(w->job), &go_on, &who) == 1 && go_on)
		(void)go_on(who);
}

/* The answer comes while the job is paused. If it goes on without, or there is none, nobody wants
 * the signature any more. */
static bool sign_remotely(const struct remote *r, uint16_t code, const uint8_t *tbs, size_t tbs_len,
			  struct wait *w)
{
	struct tls_key_ask *a =
	    w->job ? tls_keys_sign(r->keys, r->number, code, tbs, tbs_len, answered, w) : NULL;

	if (!a)
		return false;
	(void)ASYNC_pause_job();
	if (!w->answered)
		tls_keys_forget(a);
	return w->len > 0;
}

static int sign_once(void *ctx, unsigned char *sig, size_t *len, size_t max,
		     const unsigned char *tbs, size_t tbs_len)
{
	const struct signing *s = ctx;
	const struct remote *r = &s->h->remote;
	uint16_t code = tls_key_code(s->kind, s->digest[0] ? s->digest : NULL);
	struct wait w = {.job = ASYNC_get_current_job(),
			 .sig = sig,
			 .max = max < (size_t)r->size ? max : (size_t)r->size};

	if (!sig) {
		*len = (size_t)r->size;
		return 1;
	}
	if (code == 0 || !sign_remotely(r, code, tbs, tbs_len, &w))
		return 0;
	*len = w.len;
	return 1;
}

/* clang-format off */
#define SIGNING(new)                                                                               \
	{                                                                                          \
		{OSSL_FUNC_SIGNATURE_NEWCTX, F(new)},                                              \
		{OSSL_FUNC_SIGNATURE_FREECTX, F(signing_free)},                                    \
		{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, F(sign_init)},                              \
		{OSSL_FUNC_SIGNATURE_DIGEST_SIGN, F(sign_once)},                                   \
		{OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, F(set_params)},                               \
		{OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, F(settable)},                            \
		{0, NULL}                                                                          \
	}
/* clang-format on */

static const OSSL_DISPATCH rsa_signing[] = SIGNING(rsa_new);
static const OSSL_DISPATCH ecdsa_signing[] = SIGNING(ecdsa_new);
static const OSSL_DISPATCH ed25519_signing[] = SIGNING(ed25519_new);
static const OSSL_DISPATCH ed448_signing[] = SIGNING(ed448_new);

static const OSSL_ALGORITHM signatures[] = {
    {"RSA:rsaEncryption", "provider=sekisho", rsa_signing, NULL},
    {"RSA-PSS:RSASSA-PSS", "provider=sekisho", rsa_signing, NULL},
    {"ECDSA", "provider=sekisho", ecdsa_signing, NULL},
    {"ED25519", "provider=sekisho", ed25519_signing, NULL},
    {"ED448", "provider=sekisho", ed448_signing, NULL},
    {NULL, NULL, NULL, NULL}};

/* --- the provider --- */

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
	(void)provider;
	*no_cache = 0;
	return operation == OSSL_OP_KEYMGMT	? key_managers
	       : operation == OSSL_OP_SIGNATURE ? signatures
						: NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
			 const OSSL_DISPATCH **out, void **provider)
{
	static const OSSL_DISPATCH functions[] = {{OSSL_FUNC_PROVIDER_QUERY_OPERATION, F(query)},
						  {0, NULL}};

	(void)core;
	(void)in;
	*out = functions;
	*provider = (void *)(uintptr_t)functions;
	return 1;
}

/* Made once, for the life of the process. */
static OSSL_LIB_CTX *context(void)
{
	static OSSL_LIB_CTX *ctx;

	if (ctx)
		return ctx;
	ctx = OSSL_LIB_CTX_new();
	if (!ctx || OSSL_PROVIDER_add_builtin(ctx, "sekisho", provider_init) != 1 ||
	    !OSSL_PROVIDER_load(ctx, "sekisho"))
		fatal("cannot set up TLS: OpenSSL refuses a provider");
	return ctx;
}

EVP_PKEY *tls_provider_key(struct tls_keys *k, uint32_t key, EVP_PKEY *pub)
{
	struct remote r = {.keys = k,
			   .number = key,
			   .bits = EVP_PKEY_get_bits(pub),
			   .security_bits = EVP_PKEY_get_security_bits(pub),
			   .size = EVP_PKEY_get_size(pub)};
	OSSL_PARAM extra[] = {OSSL_PARAM_octet_string(KEY_PARAM, &r, sizeof(r)), OSSL_PARAM_END};
	OSSL_PARAM *half = NULL, *all = NULL;
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(context(), EVP_PKEY_get0_type_name(pub), NULL);
	EVP_PKEY *out = NULL;

	if (c && EVP_PKEY_todata(pub, EVP_PKEY_PUBLIC_KEY, &half) == 1 &&
	    (all = OSSL_PARAM_merge(half, extra)) && EVP_PKEY_fromdata_init(c) == 1 &&
	    EVP_PKEY_fromdata(c, &out, EVP_PKEY_KEYPAIR, all) != 1)
		out = NULL;
	OSSL_PARAM_free(all);
	OSSL_PARAM_free(half);
	EVP_PKEY_CTX_free(c);
	return out;
}
