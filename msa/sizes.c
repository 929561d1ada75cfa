/*
 * sizes - see sizes.h. Trusted with: the configuration. Diagnostics: *err.
 */
#include <ctype.h>
#include <string.h>
#include <talloc.h>

#include "msa/sizes.h"

static bool octets(const char *s, int64_t most, int64_t *out)
{
	static const char units[] = "KMG";
	const char *unit;
	int64_t n = 0;

	if (!isdigit((unsigned char)*s))
		return false;
	for (; isdigit((unsigned char)*s); s++) {
		if (n > most)
			return false;
		n = n * 10 + (*s - '0');
	}
	if (*s && (unit = strchr(units, toupper((unsigned char)*s)))) {
		for (const char *u = units; u <= unit; u++)
			n = n > most ? n : n * 1024;
		s++;
	}
	*out = n;
	return *s == '\0' && n >= 1024 && n <= most;
}

/* The account in its one form, or "@" and the domain in lower case; NULL: neither. */
static char *who(void *ctx, const char *s, size_t len)
{
	struct path p;
	const char *err;

	if (len > 1 && s[0] == '@' && path_domain_ok(s + 1, len - 1) &&
	    path_make("x", 1, talloc_strndup(ctx, s + 1, len - 1), &p))
		return talloc_asprintf(ctx, "@%s", p.domain);
	return path_parse_mailbox(s, len, &p, &err) ? talloc_strdup(ctx, p.text) : NULL;
}

bool sizes_parse(void *ctx, void *pool, const struct conf_list *list, int64_t most,
		 struct smtp_size **out, char **err)
{
	struct smtp_size *rows = talloc_array(pool, struct smtp_size, (unsigned)list->n);

	for (size_t i = 0; i < list->n; i++) {
		const char *item = list->items[i], *blank = strchr(item, ' ');

		rows[i].who = blank ? who(rows, item, (size_t)(blank - item)) : NULL;
		if (rows[i].who && octets(blank + strspn(blank, " "), most, &rows[i].bytes))
			continue;
		*err = talloc_asprintf(ctx,
				       "msa.max_message_of: \"%s\" is not \"ACCOUNT OCTETS\" or "
				       "\"@DOMAIN OCTETS\", from 1K to msa.max_in_flight",
				       item);
		return false;
	}
	*out = rows;
	return true;
}
