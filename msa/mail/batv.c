/*
 * batv - see batv.h.
 *
 * Trusted with: the tag keys. Diagnostics: none, results only. The day counter wraps at 999 (next
 * on 2027-07-01), so that ages are compared modulo 1000, and the MAC in constant time, as bytes:
 * hex in upper case is the same tag.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "msa/mail/batv.h"

#define DAY_MS	(86400 * INT64_C(1000))
#define TAG_LEN 16 /* "prvs=" KDDDSSSSSS "=" */
#define MAC_LEN 3

int batv_day(int64_t utc_ms)
{
	return (int)(utc_ms / DAY_MS % 1000);
}

static bool mac(const struct batv_keys *keys, int key, int day, const struct path *a,
		uint8_t out[MAC_LEN])
{
	char text[PATH_TEXT_MAX + 8];
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned md_len = 0;
	int n = snprintf(text, sizeof(text), "%d%03d%s", key, day, a->text);

	for (int i = 0; i < n; i++)
		text[i] = (char)tolower((unsigned char)text[i]);
	if (!HMAC(EVP_sha1(), keys->k[key].key, (int)keys->k[key].len, (const uint8_t *)text,
		  (size_t)n, md, &md_len))
		return false;
	memcpy(out, md, MAC_LEN);
	return true;
}

static bool digits(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return true;
}

static bool hexes(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return true;
}

static bool is_tagged(const char *local)
{
	size_t len = strlen(local);

	return len > TAG_LEN && strncasecmp(local, "prvs=", 5) == 0 && digits(local + 5, 4) &&
	       hexes(local + 9, 6) && local[15] == '=';
}

static bool key_known(const struct batv_keys *keys, int key)
{
	return key >= 0 && key < BATV_KEYS && keys->k[key].len > 0;
}

enum batv_sign batv_sign(const struct batv_keys *keys, const struct path *address, int key,
			 int64_t now_ms, struct path *out)
{
	char local[TAG_LEN + PATH_LOCAL_MAX + 1];
	uint8_t m[MAC_LEN];
	int day = (int)((now_ms / DAY_MS + BATV_LIFETIME_DAYS) % 1000), n;

	*out = *address;
	if (address->null)
		return BATV_NULL;
	if (is_tagged(address->local))
		return BATV_ALREADY;
	if (key == -1)
		key = keys->newest;
	if (!key_known(keys, key) || !mac(keys, key, day, address, m))
		return BATV_NO_KEY;
	n = snprintf(local, sizeof(local), "prvs=%d%03d%02x%02x%02x=%s", key, day, m[0], m[1], m[2],
		     address->local);
	if (n > PATH_LOCAL_MAX || !path_make(local, (size_t)n, address->domain, out)) {
		*out = *address;
		return BATV_TOO_LONG;
	}
	return BATV_SIGNED;
}

static uint8_t hex_byte(const char *s)
{
	uint8_t v = 0;

	for (int i = 0; i < 2; i++) {
		int c = tolower((unsigned char)s[i]);

		v = (uint8_t)(v << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
	}
	return v;
}

static int number(const char *s, size_t n)
{
	int v = 0;

	for (size_t i = 0; i < n; i++)
		v = v * 10 + (s[i] - '0');
	return v;
}

static enum batv_reason judge(const struct batv_keys *keys, const char *local, int64_t now_ms,
			      const struct batv_result *r)
{
	uint8_t want[MAC_LEN], got[MAC_LEN];

	if (!key_known(keys, r->key))
		return BATV_UNKNOWN_KEY;
	for (size_t i = 0; i < MAC_LEN; i++)
		got[i] = hex_byte(local + 9 + 2 * i);
	if (!mac(keys, r->key, r->expiry_day, &r->original, want) ||
	    CRYPTO_memcmp(want, got, MAC_LEN) != 0)
		return BATV_FORGED;
	if ((r->expiry_day - batv_day(now_ms) + 1000) % 1000 > BATV_LIFETIME_DAYS)
		return BATV_EXPIRED;
	return BATV_VALID;
}

bool batv_strip(const struct path *address, struct path *out)
{
	const char *local = address->local;

	return !address->null && is_tagged(local) &&
	       path_make(local + TAG_LEN, strlen(local) - TAG_LEN, address->domain, out);
}

void batv_verify(const struct batv_keys *keys, const struct path *address, int64_t now_ms,
		 struct batv_result *out)
{
	const char *local = address->local;

	*out = (struct batv_result){
	    .reason = BATV_NOT_TAGGED, .original = *address, .key = -1, .expiry_day = -1};
	if (!batv_strip(address, &out->original))
		return;
	out->key = local[5] - '0';
	out->expiry_day = number(local + 6, 3);
	out->reason = judge(keys, local, now_ms, out);
}

static const struct {
	const char *name, *text;
} reasons[] = {
    [BATV_VALID] = {"valid", "The tag is ours and has not expired."},
    [BATV_EXPIRED] = {"expired", "The tag is ours, but its last day is over."},
    [BATV_FORGED] = {"forged", "The tag was not made with our key for this address."},
    [BATV_NOT_TAGGED] = {"not tagged",
			 "The address carries no tag of the form prvs=KDDDSSSSSS=local@domain."},
    [BATV_UNKNOWN_KEY] = {"unknown key",
			  "The tag names a key number that is not in the keys file."},
};

const char *batv_reason_name(enum batv_reason r)
{
	return reasons[r].name;
}

const char *batv_reason_text(enum batv_reason r)
{
	return reasons[r].text;
}

/* local ends in "=" and a ten-character tag: prvs=user=TAG. */
static bool suffix_form(const char *local)
{
	size_t len = strlen(local);

	return len > TAG_LEN && local[len - 11] == '=' && digits(local + len - 10, 4) &&
	       hexes(local + len - 6, 6);
}

const char *batv_form(const struct path *address)
{
	const char *l = address->local;

	if (is_tagged(l))
		return "prvs";
	if (strncasecmp(l, "prvs=", 5) == 0)
		return suffix_form(l) ? "prvs-suffix" : "prvs";
	if (strncasecmp(l, "btv1==", 6) == 0)
		return "btv1";
	if (strncasecmp(l, "msprvs1=", 8) == 0)
		return "msprvs1";
	if (strncasecmp(l, "SRS0", 4) == 0 || strncasecmp(l, "SRS1", 4) == 0)
		return "srs";
	return strcasestr(l, "+prvs=") ? "plus-prvs" : "none";
}

void batv_wipe(struct batv_keys *keys)
{
	OPENSSL_cleanse(keys, sizeof(*keys));
	keys->newest = -1;
}
