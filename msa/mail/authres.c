/*
 * authres - see authres.h. Nothing of it comes from the client: host and mechanism are configured,
 * the account is what the authenticator said.
 */
#include <stdio.h>

#include "msa/mail/authres.h"

size_t authres_format(const char *host, const char *mech, const char *account,
		      char buf[static AUTHRES_MAX])
{
	int n = snprintf(buf, AUTHRES_MAX,
			 "Authentication-Results: %.255s;\r\n\tauth=pass (%.32s)\r\n"
			 "\tsmtp.auth=%.512s\r\n",
			 host, mech, account);

	return (size_t)n;
}
