/*
 * signer - DKIM signatures of our own notices: made on the writer's thread, while the keys may be
 * replaced on the main one.
 */
#ifndef MSA_QUEUE_SIGNER_H
#define MSA_QUEUE_SIGNER_H

#include <stddef.h>
#include <stdint.h>

#include "msa/mail/dkim.h"

struct signer;

/* talloc'd; of mail from address. Signs nothing before signer_set(). */
struct signer *signer_new(void *ctx, const char *address);
/* The keys from now on; the caller's until the next call has returned. NULL: none. */
void signer_set(struct signer *s, const struct dkim_table *keys);
/* The fields to put before text: talloc'd under ctx, "" when there is no key, or it cannot be
 * signed. Any thread. s may be NULL. */
const char *signer_fields(struct signer *s, void *ctx, const char *id, const char *text, size_t len,
			  int64_t now_ms);

#endif
