/*
 * admin_int - what admin.c, admin_show.c and admin_list.c share. For them alone.
 */
#ifndef RATELIMIT_ADMIN_INT_H
#define RATELIMIT_ADMIN_INT_H

#include "ratelimit/admin.h"

/* Whom a request is about. */
struct admin_whom {
	struct limiter_who who;
	struct addr address;
	enum target target; /* of what is set; strongest of those given */
	const char *name;   /* the target's, as standings know it */
	char prefix[PREFIX_STRLEN];
};

void admin_fail(struct admin_result *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Text that may have come from elsewhere: JSON takes UTF-8 only. */
json_t *admin_text(const char *s);
/* Milliseconds, null for 0. */
json_t *admin_time(int64_t ms);
void admin_put_terms(json_t *j, const struct terms *t);

json_t *admin_show(struct limiter *l, const struct admin_whom *w, const struct moment *now);
json_t *admin_list(struct limiter *l, const struct moment *now);
json_t *admin_selftest(struct limiter *l);

#endif
