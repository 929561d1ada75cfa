/*
 * authres - the Authentication-Results: field this server adds (RFC 8601): who logged in, for those
 * who handle the mail after us.
 */
#ifndef MSA_MAIL_AUTHRES_H
#define MSA_MAIL_AUTHRES_H

#include <stddef.h>

#define AUTHRES_MAX 1024

/*
 * Writes the folded field with its last CRLF; returns its length. host is our authserv-id, mech the
 * SASL mechanism, account the mailbox (path's text: quoted where it must be).
 */
size_t authres_format(const char *host, const char *mech, const char *account,
		      char buf[static AUTHRES_MAX]);

#endif
