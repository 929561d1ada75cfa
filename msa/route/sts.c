/*
 * sts - see sts.h.
 *
 * Purpose: what a domain says about TLS of its mail servers. Trusted with: nothing. Diagnostics:
 * none: what is not a valid policy is no policy. Known gaps: none.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/route/sts.h"

static bool id_ok(const char *s, size_t n)
{
	if (n == 0 || n > STS_ID_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]))
			return false;
	return true;
}

bool sts_record(const char *text, char id[static STS_ID_MAX + 1])
{
	bool found = false;

	if (strncmp(text, "v=STSv1", 7) != 0)
		return false;
	text += 7;
	while (*text) {
		text += strspn(text, " \t");
		if (*text == '\0')
			break;
		if (*text++ != ';')
			return false;
		text += strspn(text, " \t");
		size_t n = strcspn(text, "; \t");
		if (n > 3 && strncmp(text, "id=", 3) == 0) {
			if (found || !id_ok(text + 3, n - 3))
				return false;
			memcpy(id, text + 3, n - 3);
			id[n - 3] = '\0';
			found = true;
		}
		text += n;
	}
	return found;
}

/* --- the policy ---------------------------------------------------------------------------- */

struct field {
	const char *value;
	size_t n;
};

static bool take_version(struct sts_policy *p, struct field f)
{
	(void)p;
	return f.n == 5 && memcmp(f.value, "STSv1", 5) == 0;
}

static bool take_mode(struct sts_policy *p, struct field f)
{
	static const char *const words[] = {"none", "testing", "enforce"};

	for (size_t i = 0; i < 3; i++)
		if (f.n == strlen(words[i]) && memcmp(f.value, words[i], f.n) == 0) {
			p->mode = (enum sts_mode)i;
			return true;
		}
	return false;
}

static bool take_age(struct sts_policy *p, struct field f)
{
	int64_t v = 0;

	if (f.n == 0 || f.n > 10)
		return false;
	for (size_t i = 0; i < f.n; i++) {
		if (!isdigit((unsigned char)f.value[i]))
			return false;
		v = v * 10 + (f.value[i] - '0');
	}
	p->max_age_s = v < STS_AGE_MAX ? v : STS_AGE_MAX;
	return true;
}

static bool take_mx(struct sts_policy *p, struct field f)
{
	size_t i = f.n > 2 && memcmp(f.value, "*.", 2) == 0 ? 2 : 0;

	if (f.n == 0 || f.n > 253 || p->n_mx == STS_MX_MAX)
		return false;
	for (; i < f.n; i++)
		if (!isalnum((unsigned char)f.value[i]) && !strchr("-._", f.value[i]))
			return false;
	char *s = talloc_strndup(p, f.value, f.n);
	if (!s)
		fatal("out of memory");
	for (char *c = s; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	p->mx[p->n_mx++] = s;
	return true;
}

static const struct {
	const char *name;
	bool (*take)(struct sts_policy *p, struct field f);
	bool once;
} fields[] = {{"version", take_version, true},
	      {"mode", take_mode, true},
	      {"max_age", take_age, true},
	      {"mx", take_mx, false}};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* "name: value"; unknown names are passed over. */
static bool take_line(struct sts_policy *p, const char *s, size_t n, bool seen[static N_FIELDS])
{
	const char *colon = memchr(s, ':', n);
	struct field f;

	if (!colon)
		return n == 0;
	f.value = colon + 1;
	f.n = n - (size_t)(colon + 1 - s);
	while (f.n && (*f.value == ' ' || *f.value == '\t'))
		f.value++, f.n--;
	while (f.n && (f.value[f.n - 1] == ' ' || f.value[f.n - 1] == '\t'))
		f.n--;
	for (size_t i = 0; i < N_FIELDS; i++) {
		if ((size_t)(colon - s) != strlen(fields[i].name) ||
		    memcmp(s, fields[i].name, (size_t)(colon - s)) != 0)
			continue;
		/* RFC 8461 3.2: of a field that is there again only the first counts. */
		if (fields[i].once && seen[i])
			return true;
		seen[i] = true;
		return fields[i].take(p, f);
	}
	return true;
}

struct sts_policy *sts_parse(void *ctx, const char *text, size_t len)
{
	struct sts_policy *p = talloc_zero(ctx, struct sts_policy);
	bool seen[N_FIELDS] = {false}, ok = len <= STS_POLICY_MAX;

	if (!p)
		fatal("out of memory");
	for (const char *s = text, *end = text + len; ok && s < end;) {
		const char *nl = memchr(s, '\n', (size_t)(end - s));
		size_t n = (size_t)((nl ? nl : end) - s), used = n + 1;
		if (n && s[n - 1] == '\r')
			n--;
		ok = take_line(p, s, n, seen);
		s += used;
	}
	if (ok && seen[0] && seen[1] && seen[2] && (seen[3] || p->mode == STS_NONE))
		return p;
	talloc_free(p);
	return NULL;
}

bool sts_allows(const struct sts_policy *p, const char *host)
{
	const char *rest = strchr(host, '.');

	for (size_t i = 0; i < p->n_mx; i++) {
		const char *mx = p->mx[i];
		if (strncmp(mx, "*.", 2) == 0 ? rest && rest != host && strcmp(mx + 1, rest) == 0
					      : strcmp(mx, host) == 0)
			return true;
	}
	return false;
}
