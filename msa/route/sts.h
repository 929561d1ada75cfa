/*
 * sts - MTA-STS: the TXT record and the policy (RFC 8461 3.1, 3.2), as text. Pure; both are
 * foreign.
 */
#ifndef MSA_ROUTE_STS_H
#define MSA_ROUTE_STS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STS_POLICY_MAX (64u << 10)
#define STS_ID_MAX     32
#define STS_MX_MAX     64
#define STS_AGE_MAX    31557600 /* seconds */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

struct sts_policy {
	enum sts_mode mode;
	int64_t max_age_s;
	char id[STS_ID_MAX + 1]; /* of the record it was fetched for; the parser leaves it "" */
	size_t n_mx;
	char *mx[STS_MX_MAX]; /* lower case; "*.example.net" stands for one label; talloc'd under
				 the policy */
};

/* "v=STSv1; id=20160831085700Z;". False when it is not such a record. */
bool sts_record(const char *text, char id[static STS_ID_MAX + 1]);
/* A policy file; talloc'd under ctx, NULL when it is not valid. */
struct sts_policy *sts_parse(void *ctx, const char *text, size_t len);
/* Whether host (lower case) is one of the policy's. */
bool sts_allows(const struct sts_policy *p, const char *host);

#endif
