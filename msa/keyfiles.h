/*
 * keyfiles - the files beside the configuration: who may write as whom, the DKIM keys, the trace
 * key. Reading only; what they mean is in msa/mail/identity.h, dkim.h and token.h.
 */
#ifndef MSA_KEYFILES_H
#define MSA_KEYFILES_H

#include <stdbool.h>

#include "msa/mail/dkim.h"
#include "msa/mail/identity.h"
#include "msa/mail/token.h"

/* New structs under ctx; NULL: *err (talloc'd under ctx) is "FILE:LINE: what is wrong". */
struct identities *keyfiles_identities(void *ctx, const char *path, char **err);
struct dkim_table *keyfiles_dkim(void *ctx, const char *path, char **err);
/* Read path, one line of 64 hexadecimal digits; when there is no such file, make one. */
bool keyfiles_token(void *ctx, const char *path, struct token_key *out, char **err);

#endif
