/*
 * mailbox - who a From: field names (RFC 5322 3.4), read with suspicion.
 *
 * Used to decide whether From: is the account's own address. Whatever is not plainly one mailbox
 * counts as "not": groups, obsolete routes, text after the address, unbalanced quotes.
 */
#ifndef MSA_MAIL_MAILBOX_H
#define MSA_MAIL_MAILBOX_H

#include <stddef.h>

#include "msa/mail/path.h"

/*
 * The number of mailboxes in a field body (folding CRLFs allowed): 0, 1, 2 for two or more; -1 when
 * it is anything else. out is filled when the result is 1.
 */
int mailbox_list(const char *body, size_t len, struct path *out);

#endif
