/*
 * batv - Bounce Address Tag Validation, the PRVS scheme: prvs=KDDDSSSSSS=local@domain.
 *
 * K is the key's number, DDD the day (days since 1970 mod 1000) on which the tag expires, SSSSSS
 * the first three bytes, in hex, of HMAC-SHA1(key, K DDD local "@" domain). The MAC covers the
 * address in lower case, so that a bounce whose case was folded on the way still verifies; for an
 * address in lower case that is exactly what Exim and batv-tools make. A local part that needs
 * quoting is tagged inside its quotes. Tags over the local part's own case, as Exim makes them of
 * such addresses, verify too: keys can move here from there. Of UTF-8 the octets count, with only
 * ASCII letters folded.
 *
 * Pure, but for the keys' memory; the keys' file is msa/batvkeys.
 */
#ifndef MSA_MAIL_BATV_H
#define MSA_MAIL_BATV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/path.h"

#define BATV_KEY_MIN	   16 /* of a keys file; bytes */
#define BATV_KEY_MAX	   64
#define BATV_LIFETIME_DAYS 7
#define BATV_KEYS	   10

struct batv_keys {
	struct {
		uint8_t key[BATV_KEY_MAX];
		size_t len; /* 0: no such key */
	} k[BATV_KEYS];
	int newest; /* signs; -1 when there are none */
};

enum batv_reason {
	BATV_VALID = 0,
	BATV_EXPIRED,	  /* our tag, but its day is over */
	BATV_FORGED,	  /* the MAC is wrong */
	BATV_NOT_TAGGED,  /* no prvs tag of this form */
	BATV_UNKNOWN_KEY, /* no key of that number */
};

struct batv_result {
	enum batv_reason reason;
	struct path original; /* without the tag; as given when not tagged */
	int key;	      /* -1 when not tagged */
	int expiry_day;	      /* 0..999, -1 when not tagged */
};

/* The day a tag made or judged at t belongs to, 0..999. */
int batv_day(int64_t utc_ms);

enum batv_sign { BATV_SIGNED = 0, BATV_NULL, BATV_TOO_LONG, BATV_ALREADY, BATV_NO_KEY };

/*
 * Tag address with key number key (-1: the newest), to expire BATV_LIFETIME_DAYS after now. Not
 * BATV_SIGNED: out is the address unchanged, and the result says why: the null sender and an
 * address with anybody's tag (batv_form()) are left alone, and a local part must keep within 64
 * octets.
 */
enum batv_sign batv_sign(const struct batv_keys *keys, const struct path *address, int key,
			 int64_t now_ms, struct path *out);
/* The address a tag was put before, whoever made it; false when it carries none of this form. */
bool batv_strip(const struct path *address, struct path *out);
/*
 * The same for the tags of others, whose forms differ (batv_form()): lenient, for reading only.
 * Tags within tags are taken off together, SRS with its domain put back. False when there is none.
 */
bool batv_strip_any(const struct path *address, struct path *out);
void batv_verify(const struct batv_keys *keys, const struct path *address, int64_t now_ms,
		 struct batv_result *out);

/* "valid", "expired", "forged", "not tagged", "unknown key". */
const char *batv_reason_name(enum batv_reason r);
/* One sentence. */
const char *batv_reason_text(enum batv_reason r);
/* What kind of tag an address seems to carry, ours or not: "prvs", "prvs-suffix", "btv1",
 * "msprvs1", "plus-prvs", "srs", "none". */
const char *batv_form(const struct path *address);
void batv_wipe(struct batv_keys *keys);

#endif
