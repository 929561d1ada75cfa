/*
 * auth_name - see auth_name.h.
 *
 * Purpose: routing, not authentication: whoever answers still finds out who it is by itself, and
 * auth.c lets nobody in whom the wrong back end vouched for. Trusted with: a password, for the
 * length of one call. Diagnostics: none. Known gaps: in CRAM-MD5 and DIGEST-MD5 the server speaks
 * first, so these go by the listener's realm.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "accounting/token.h"

#include "msa/auth/auth_name.h"

/* Octets at *len in a decoded message, or NULL. */
typedef const char *find_fn(const char *msg, size_t *len);

static const char *find_plain(const char *msg, size_t *len) /* RFC 4616: zid NUL cid NUL password */
{
	const char *end = msg + *len, *cid = memchr(msg, '\0', *len), *stop;

	if (!cid)
		return NULL;
	cid++;
	stop = memchr(cid, '\0', (size_t)(end - cid));
	if (!stop)
		return NULL;
	*len = (size_t)(stop - cid);
	return cid;
}

static const char *find_login(const char *msg, size_t *len)
{
	(void)len;
	return msg;
}

static const char *find_scram(const char *msg, size_t *len) /* RFC 5802 7: flag,[a=],n=NAME,r= */
{
	const char *end = msg + *len, *at = msg, *stop;

	for (int i = 0; i < 2; i++) {
		at = memchr(at, ',', (size_t)(end - at));
		if (!at)
			return NULL;
		at++;
	}
	if (end - at < 2 || memcmp(at, "n=", 2) != 0)
		return NULL;
	at += 2;
	stop = memchr(at, ',', (size_t)(end - at));
	if (!stop)
		return NULL;
	*len = (size_t)(stop - at);
	return at;
}

static const struct {
	const char *prefix;
	bool whole; /* the prefix is the name */
	const char *prompt;
	find_fn *find;
} known[] = {
    {"PLAIN", true, "", find_plain},
    {"LOGIN", true, "VXNlcm5hbWU6" /* Username: */, find_login},
    {"SCRAM-", false, "", find_scram},
};
#define N_KNOWN (sizeof(known) / sizeof(*known))

static size_t find_mech(const char *mech)
{
	size_t i = 0;

	while (i < N_KNOWN &&
	       (known[i].whole ? strcasecmp(mech, known[i].prefix)
			       : strncasecmp(mech, known[i].prefix, strlen(known[i].prefix))) != 0)
		i++;
	return i;
}

bool auth_name_first(const char *mech)
{
	return find_mech(mech) < N_KNOWN;
}

const char *auth_name_prompt(const char *mech)
{
	size_t i = find_mech(mech);

	return i < N_KNOWN ? known[i].prompt : "";
}

/* False: a NUL in it, or an = that is neither =2C nor =3D. */
static bool undo(const char *in, size_t len, bool scram, char *out)
{
	for (size_t i = 0; i < len; i++) {
		if (in[i] == '\0')
			return false;
		if (!scram || in[i] != '=') {
			*out++ = in[i];
			continue;
		}
		if (len - i < 3 || (memcmp(in + i, "=2C", 3) != 0 && memcmp(in + i, "=3D", 3) != 0))
			return false;
		*out++ = in[i + 1] == '2' ? ',' : '=';
		i += 2;
	}
	*out = '\0';
	return true;
}

bool auth_name(const char *mech, const char *text, size_t len, char *out, size_t cap)
{
	size_t which = find_mech(mech), n = 0, name_len;
	uint8_t *msg = which < N_KNOWN ? token_unbase64(text, len, &n) : NULL;
	const char *name;
	bool ok;

	out[0] = '\0';
	if (!msg)
		return false;
	name_len = n;
	name = known[which].find((const char *)msg, &name_len);
	ok = name && name_len > 0 && name_len < cap &&
	     undo(name, name_len, known[which].find == find_scram, out);
	if (!ok)
		out[0] = '\0';
	explicit_bzero(msg, n);
	free(msg);
	return ok;
}
