/*
 * mailbox - who a From: field names (RFC 5322 3.4), read with suspicion.
 *
 * Used to decide whether From: is the account's own address. Whatever is not plainly a list of
 * mailboxes counts as "not": groups, obsolete routes, text after the address, unbalanced quotes.
 */
#ifndef MSA_MAIL_MAILBOX_H
#define MSA_MAIL_MAILBOX_H

#include <stddef.h>

#include "msa/mail/path.h"

/*
 * The number of mailboxes in a field body (folding CRLFs allowed), each of them told to each in
 * turn; -1 when it is anything else, which may show only after some were told.
 */
int mailbox_each(const char *body, size_t len, void (*each)(const struct path *p, void *arg),
		 void *arg);

#endif
