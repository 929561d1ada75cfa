/*
 * tls_certs - see tls_certs.h.
 *
 * Trusted with: which private keys are read, by the key role. Diagnostics: `tls` lines: each
 * certificate with its names and its end, and an OCSP response that does not serve. Known gaps:
 * OCSP responses are not fetched here; whoever renews the file reloads.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <talloc.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/clock.h"
#include "lib/log.h"

#include "msa/tls_certs.h"
#include "msa/tls_provider.h"

#define OCSP_MAX  (64 << 10)
#define SOON_DAYS 14

/* --- names ---------------------------------------------------------------------------------------
 */

static char *lower(char *s)
{
	for (char *p = s; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return s;
}

bool tls_name_matches(const char *pattern, const char *name)
{
	const char *rest;

	if (strncmp(pattern, "*.", 2) != 0)
		return strcmp(pattern, name) == 0;
	rest = strchr(name, '.');
	return rest && rest != name && strcmp(rest, pattern + 1) == 0;
}

static void add_name(struct tls_cert *c, const char *name, size_t len)
{
	if (len == 0 || len > 253 || memchr(name, '\0', len))
		return;
	c->names = talloc_realloc(c, c->names, const char *, c->n_names + 1);
	c->names[c->n_names++] = lower(talloc_strndup(c->names, name, len));
}

static void add_common_name(struct tls_cert *c)
{
	X509_NAME *subject = X509_get_subject_name(c->x509);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	const ASN1_STRING *s;

	if (at < 0)
		return;
	s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
	add_name(c, (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
}

static void own_names(struct tls_cert *c)
{
	GENERAL_NAMES *list = X509_get_ext_d2i(c->x509, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(list, i);

		if (g->type == GEN_DNS)
			add_name(c, (const char *)ASN1_STRING_get0_data(g->d.dNSName),
				 (size_t)ASN1_STRING_length(g->d.dNSName));
	}
	GENERAL_NAMES_free(list);
	if (c->n_names == 0)
		add_common_name(c);
}

/* --- files --- */

static bool failed(void *ctx, const char *what, const char *file, char **err)
{
	unsigned long e = ERR_peek_last_error();
	const char *why = e ? ERR_reason_error_string(e) : NULL;

	if (e && ERR_SYSTEM_ERROR(e))
		why = strerror(ERR_GET_REASON(e));
	*err = talloc_asprintf(ctx, "%s %s: %s", what, file, why ? why : "unknown error");
	ERR_clear_error();
	return false;
}

/* An empty pass phrase: a daemon cannot ask for one, and a certificate needs none. */
static bool read_chain(struct tls_cert *c, void *ctx, char **err)
{
	BIO *b = BIO_new_file(c->file, "r");
	char no_password[] = "";
	X509 *x;

	c->x509 = b ? PEM_read_bio_X509_AUX(b, NULL, NULL, no_password) : NULL;
	if (!c->x509) {
		BIO_free(b);
		return failed(ctx, "cannot read the certificate", c->file, err);
	}
	c->chain = sk_X509_new_null();
	while ((x = PEM_read_bio_X509(b, NULL, NULL, no_password)))
		sk_X509_push(c->chain, x);
	BIO_free(b);
	/* The end of the file is an error, and the only one that is right. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return failed(ctx, "cannot read the certificate", c->file, err);
	ERR_clear_error();
	return true;
}

static bool set_kind(struct tls_cert *c, EVP_PKEY *pub, void *ctx, char **err)
{
	switch (EVP_PKEY_get_base_id(pub)) {
	case EVP_PKEY_EC:
		c->kind = TLS_ECDSA;
		return true;
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		c->kind = TLS_RSA;
		return true;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		c->kind = TLS_EDDSA;
		return true;
	default:
		*err =
		    talloc_asprintf(ctx, "the key of %s is neither ECDSA, RSA nor EdDSA", c->file);
		return false;
	}
}

/* The other half is read, and kept, by the key role. */
static bool take_key(struct tls_keys *keys, struct tls_cert *c, const char *file, void *ctx,
		     char **err)
{
	EVP_PKEY *pub = X509_get0_pubkey(c->x509), *told;
	uint8_t *spki = NULL;
	const uint8_t *p;
	size_t len = 0;
	int number = tls_keys_load(keys, file, ctx, &spki, &len, err);
	bool same;

	if (number < 0)
		return false;
	p = spki;
	told = d2i_PUBKEY(NULL, &p, (long)len);
	same = told && pub && EVP_PKEY_eq(told, pub) == 1;
	EVP_PKEY_free(told);
	talloc_free(spki);
	ERR_clear_error();
	if (!same) {
		*err = talloc_asprintf(ctx, "the key does not belong to the certificate: %s",
				       file);
		return false;
	}
	if (!set_kind(c, pub, ctx, err))
		return false;
	c->key = tls_provider_key(keys, (uint32_t)number, pub);
	return c->key || failed(ctx, "OpenSSL does not take the key", file, err);
}

/* --- OCSP --- */

static int64_t ms_of(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

/* The answer about this certificate; NULL: there is none. */
static OCSP_SINGLERESP *about(const struct tls_cert *c, OCSP_BASICRESP *basic)
{
	for (int i = 0; i < OCSP_resp_count(basic); i++) {
		OCSP_SINGLERESP *one = OCSP_resp_get0(basic, i);
		ASN1_INTEGER *serial = NULL;

		OCSP_id_get0_info(NULL, NULL, NULL, &serial,
				  (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(one));
		if (serial && ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(c->x509)) == 0)
			return one;
	}
	return NULL;
}

static const char *judge(struct tls_cert *c, OCSP_RESPONSE *r)
{
	OCSP_BASICRESP *basic;
	OCSP_SINGLERESP *one;
	ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
	const char *why = NULL;

	if (!r || OCSP_response_status(r) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		return "not a successful OCSP response in DER";
	basic = OCSP_response_get1_basic(r);
	one = basic ? about(c, basic) : NULL;
	if (!one) {
		why = "it is not about this certificate";
	} else if (OCSP_single_get0_status(one, NULL, NULL, &from, &until) !=
		   V_OCSP_CERTSTATUS_GOOD) {
		why = "it does not say that the certificate is good";
	} else {
		c->ocsp_from_ms = ms_of(from);
		c->ocsp_until_ms = ms_of(until);
	}
	OCSP_BASICRESP_free(basic);
	return why;
}

/* A response that does not serve is left out: the certificate is good without. */
static void read_ocsp(struct tls_cert *c)
{
	char *file = talloc_asprintf(c, "%s.ocsp", c->file);
	FILE *f = fopen(file, "rbe");
	const uint8_t *p;
	OCSP_RESPONSE *r;
	const char *why;

	if (!f)
		return;
	c->ocsp = talloc_size(c, OCSP_MAX);
	c->ocsp_len = fread(c->ocsp, 1, OCSP_MAX, f);
	fclose(f);
	p = c->ocsp;
	r = d2i_OCSP_RESPONSE(NULL, &p, (long)c->ocsp_len);
	why = judge(c, r);
	OCSP_RESPONSE_free(r);
	ERR_clear_error();
	if (!why)
		return;
	log_event(LOG_WARNING, "-", "tls", "no-stapling", LS("file", file), LS("why", why));
	c->ocsp = NULL;
}

/* --- one certificate --- */

static int destroy(struct tls_cert *c)
{
	X509_free(c->x509);
	sk_X509_pop_free(c->chain, X509_free);
	EVP_PKEY_free(c->key);
	return 0;
}

static void tell(const struct tls_cert *c)
{
	static const char *const kinds[TLS_KINDS] = {"ECDSA", "RSA", "EdDSA"};
	int64_t end = ms_of(X509_get0_notAfter(c->x509)), left = end - clock_utc_ms();
	char when[CLOCK_STRLEN];

	clock_format(end, when);
	log_event(left < SOON_DAYS * INT64_C(86400000) ? LOG_WARNING : LOG_INFO, "-", "tls",
		  left < 0 ? "certificate-expired" : "certificate", LS("file", c->file),
		  LS("name", c->n_names ? c->names[0] : ""), LI("names", (int64_t)c->n_names),
		  LS("key", kinds[c->kind]), LS("until", when), LI("stapling", c->ocsp != NULL));
}

static bool add(struct tls_certs *s, const char *cert, const char *key, const char *names,
		void *ctx, char **err)
{
	struct tls_cert *c = talloc_zero(s, struct tls_cert);
	size_t n;

	c->file = talloc_strdup(c, cert);
	talloc_set_destructor(c, destroy);
	ERR_clear_error();
	if (!read_chain(c, ctx, err) || !take_key(s->keys, c, key, ctx, err)) {
		talloc_free(c);
		return false;
	}
	for (; *names; names += n + strspn(names + n, " ")) {
		n = strcspn(names, " ");
		add_name(c, names, n);
	}
	if (c->n_names == 0)
		own_names(c);
	read_ocsp(c);
	s->certs = talloc_realloc(s, s->certs, struct tls_cert *, s->n + 1);
	s->certs[s->n++] = c;
	tell(c);
	return true;
}

/* --- folders --- */

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Entry `name` of the folder: 1 a certificate was added, 0 it is none, -1 failed. */
static int add_entry(struct tls_certs *s, const char *folder, const char *name, void *ctx,
		     char **err)
{
	size_t len = strlen(name);
	char *cert = talloc_asprintf(ctx, "%s/%s/fullchain.pem", folder, name), *key;
	struct stat st;
	int r = 0;

	if (len > 4 && strcmp(name + len - 4, ".crt") == 0) {
		cert = talloc_asprintf(ctx, "%s/%s", folder, name);
		key = talloc_asprintf(ctx, "%s/%.*s.key", folder, (int)len - 4, name);
		r = add(s, cert, key, "", ctx, err) ? 1 : -1;
	} else if (stat(cert, &st) == 0) {
		key = talloc_asprintf(ctx, "%s/%s/privkey.pem", folder, name);
		r = add(s, cert, key, "", ctx, err) ? 1 : -1;
	}
	return r;
}

static bool add_folder(struct tls_certs *s, const char *folder, void *ctx, char **err)
{
	struct dirent **list;
	int n = scandir(folder, &list, visible, alphasort), found = 0, r = 0;

	if (n < 0) {
		*err = talloc_asprintf(ctx, "cannot read the folder %s: %m", folder);
		return false;
	}
	for (int i = 0; i < n; i++) {
		if (r >= 0)
			r = add_entry(s, folder, list[i]->d_name, ctx, err);
		found += r > 0;
		free(list[i]);
	}
	free(list);
	if (r >= 0 && found == 0)
		*err = talloc_asprintf(ctx,
				       "%s has no certificate: neither X.crt with X.key, nor "
				       "X/fullchain.pem with X/privkey.pem",
				       folder);
	return r >= 0 && found > 0;
}

/* --- all of them --- */

struct tls_certs *tls_certs_new(void *ctx, struct tls_keys *keys)
{
	struct tls_certs *s = talloc_zero(ctx, struct tls_certs);

	s->keys = keys;
	return s;
}

bool tls_certs_add_pair(struct tls_certs *s, const char *cert, const char *key, void *ctx,
			char **err)
{
	return add(s, cert, key, "", ctx, err);
}

bool tls_certs_add(struct tls_certs *s, const char *line, void *ctx, char **err)
{
	size_t n = strcspn(line, " "), m;
	const char *key = line + n + strspn(line + n, " ");
	void *tmp = talloc_new(NULL);
	bool ok;

	m = strcspn(key, " ");
	if (m == 0) {
		ok = add_folder(s, talloc_strndup(tmp, line, n), tmp, err);
	} else {
		ok = add(s, talloc_strndup(tmp, line, n), talloc_strndup(tmp, key, m),
			 key + m + strspn(key + m, " "), tmp, err);
	}
	if (!ok)
		*err = talloc_strdup(ctx, *err);
	talloc_free(tmp);
	return ok;
}

static bool names_it(const struct tls_cert *c, const char *name, bool wildcards)
{
	for (size_t i = 0; i < c->n_names; i++)
		if ((c->names[i][0] == '*') == wildcards && tls_name_matches(c->names[i], name))
			return true;
	return false;
}

const struct tls_cert *tls_certs_find(const struct tls_certs *s, const char *name,
				      enum tls_kind kind)
{
	char text[256];

	if (s->n == 0)
		return NULL;
	if (!name && s->certs[0]->kind == kind)
		return s->certs[0];
	if (!name)
		name = s->certs[0]->n_names ? s->certs[0]->names[0] : "";
	snprintf(text, sizeof(text), "%s", name);
	lower(text);
	for (int wildcards = 0; wildcards < 2; wildcards++)
		for (size_t i = 0; i < s->n; i++)
			if (s->certs[i]->kind == kind && names_it(s->certs[i], text, wildcards))
				return s->certs[i];
	return NULL;
}
