/*
 * sizes - the configured list of accounts and domains with a message size of their own. Pure.
 */
#ifndef MSA_SIZES_H
#define MSA_SIZES_H

#include "lib/conf.h"
#include "msa/smtp/session.h"

/*
 * Each item is "ACCOUNT OCTETS" or "@DOMAIN OCTETS", octets with K, M or G, from 1024 to most.
 * False: *err (talloc'd under ctx) says which item is no good and why. *out has list->n rows, under
 * pool.
 */
bool sizes_parse(void *ctx, void *pool, const struct conf_list *list, int64_t most,
		 struct smtp_size **out, char **err);

#endif
