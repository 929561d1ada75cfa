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

#include "msa/mail/batv.h"
#include "msa/mail/token_mac.h"

#define DAY_MS	(86400 * INT64_C(1000))
#define TAG_LEN 16 /* "prvs=" KDDDSSSSSS "=" */
#define MAC_LEN 3

int batv_day(int64_t utc_ms)
{
	return (int)(utc_ms / DAY_MS % 1000);
}

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The domain is in lower case already; as_given keeps the local part's case. */
static void mac(const struct batv_keys *keys, int key, int day, const struct path *a, bool as_given,
		uint8_t out[MAC_LEN])
{
	char text[PATH_TEXT_MAX + 8];
	uint8_t md[TOKEN_MAC_MAX];
	int n = snprintf(text, sizeof(text), "%d%03d%s", key, day, a->text);

	for (int i = 0; i < n && !as_given; i++)
		text[i] = fold(text[i]);
	(void)token_mac(TOKEN_MAC_SHA1, keys->k[key].key, keys->k[key].len, text, (size_t)n, md);
	memcpy(out, md, MAC_LEN);
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
	if (strcmp(batv_form(address), "none") != 0)
		return BATV_ALREADY;
	if (key == -1)
		key = keys->newest;
	if (!key_known(keys, key))
		return BATV_NO_KEY;
	mac(keys, key, day, address, false, m);
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
	uint8_t folded[MAC_LEN], given[MAC_LEN], got[MAC_LEN];
	int differs[2];

	if (!key_known(keys, r->key))
		return BATV_UNKNOWN_KEY;
	for (size_t i = 0; i < MAC_LEN; i++)
		got[i] = hex_byte(local + 9 + 2 * i);
	mac(keys, r->key, r->expiry_day, &r->original, false, folded);
	mac(keys, r->key, r->expiry_day, &r->original, true, given);
	/* Both are compared, whatever the first one says. */
	differs[0] = CRYPTO_memcmp(folded, got, MAC_LEN);
	differs[1] = CRYPTO_memcmp(given, got, MAC_LEN);
	if (differs[0] && differs[1])
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
	if ((strncasecmp(l, "SRS0", 4) == 0 || strncasecmp(l, "SRS1", 4) == 0) && l[4] &&
	    strchr("=+-", l[4]))
		return "srs";
	return strcasestr(l, "+prvs=") ? "plus-prvs" : "none";
}

/* A piece that can be a tag: PRVS has ten characters, Cisco's has nine. */
static bool tag_like(const char *s, size_t n)
{
	return n >= 8 && n <= 12 && digits(s, 3) && hexes(s + 3, n - 3);
}

/* The local part without the outermost tag: [*from, *to) of l; false when there is no tag there. */
static bool inner(const char *l, const char **from, const char **to)
{
	const char *eq, *plus = strcasestr(l, "+prvs=");

	*to = l + strlen(l);
	if (strncasecmp(l, "prvs=", 5) == 0) {
		eq = strchr(l + 5, '=');
		if (eq && tag_like(l + 5, (size_t)(eq - l - 5))) {
			*from = eq + 1;
			return eq[1] != '\0';
		}
		eq = strrchr(l + 5, '=');
		*from = l + 5;
		*to = eq ? eq : *to;
		return eq && eq > l + 5 && tag_like(eq + 1, strlen(eq + 1));
	}
	if (strncasecmp(l, "btv1==", 6) == 0) {
		eq = strstr(l + 6, "==");
		*from = eq ? eq + 2 : l;
		return eq && eq[2];
	}
	if (strncasecmp(l, "msprvs1=", 8) == 0) {
		eq = strchr(l + 8, '=');
		*from = eq ? eq + 1 : l;
		return eq && eq[1];
	}
	*from = l;
	*to = plus ? plus : l;
	return plus && plus > l && tag_like(plus + 6, strlen(plus + 6));
}

/* SRS0=HHH=TT=domain=local; SRS1=HHH=hop==HHH=TT=domain=local (libsrs2's forms). */
static bool from_srs(const struct path *a, struct path *out)
{
	const char *p = a->local + 5, *domain, *local;
	char name[PATH_DOMAIN_MAX + 1];

	if (strcmp(batv_form(a), "srs") != 0)
		return false;
	if (a->local[3] == '1') {
		p = strstr(p, "==");
		p = p ? p + 2 : "";
	}
	domain = strchr(p, '=');
	domain = domain ? strchr(domain + 1, '=') : NULL;
	local = domain ? strchr(domain + 1, '=') : NULL;
	if (!local || !local[1] || !path_domain_ok(domain + 1, (size_t)(local - domain - 1)))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)(local - domain - 1), domain + 1);
	return path_make(local + 1, strlen(local + 1), name, out);
}

static bool strip_one(const struct path *a, struct path *out)
{
	const char *from, *to;

	if (from_srs(a, out))
		return true;
	return inner(a->local, &from, &to) && path_make(from, (size_t)(to - from), a->domain, out);
}

bool batv_strip_any(const struct path *address, struct path *out)
{
	struct path next;
	int n = 0;

	*out = *address;
	while (!address->null && n < 4 && strip_one(out, &next)) {
		*out = next;
		n++;
	}
	return n > 0;
}

void batv_wipe(struct batv_keys *keys)
{
	OPENSSL_cleanse(keys, sizeof(*keys));
	token_mac_forget();
	keys->newest = -1;
}
