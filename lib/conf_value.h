/*
 * conf_value - one value of a configuration: its text read, and written. For conf*.c alone.
 */
#ifndef LIB_CONF_VALUE_H
#define LIB_CONF_VALUE_H

#include <string.h>

#include "lib/conf.h"

/* The names that may stand at the top, in the order of the dump; ended by NULL. */
extern const char *const conf_sections[], *const conf_groups[];

/*
 * NULL when s is a good value of k's type, now in field; else what is wrong (talloc'd under pool).
 * Lists and groups are not for it.
 */
char *conf_read_value(void *pool, const struct conf_key *k, const char *s, void *field);
/* A copy under pool. Empty items count as absent: `{}` comes as one. */
void conf_read_list(void *pool, const struct conf_list *text, struct conf_list *out);
/* "a b c" as a list, for defaults. */
struct conf_list conf_split_blanks(void *pool, const char *s);
/* An INT, SIZE or DURATION as it would be typed. */
const char *conf_format_value(const struct conf_key *k, int64_t v, char buf[static 32]);

/* The field of k in the struct at base. */
static inline void *conf_field(const struct conf_key *k, void *base)
{
	return (char *)base + k->offset;
}

static inline const void *conf_cfield(const struct conf_key *k, const void *base)
{
	return (const char *)base + k->offset;
}

/* The row of that kind of group, or NULL when section is an ordinary one. */
static inline const struct conf_key *conf_group_row(const struct conf_key *keys, size_t n,
						    const char *section)
{
	for (size_t i = 0; i < n; i++)
		if (keys[i].type == CONF_GROUP && strcmp(keys[i].section, section) == 0)
			return &keys[i];
	return NULL;
}

#endif
