/*
 * login - the name of an account (contract in login.h).
 *
 * Trusted with names from outside, of any bytes. Diagnostics: none. Known gaps: letters beyond
 * ASCII keep their case.
 */
#include "lib/login.h"

#include <string.h>

void login_fold(char *login, enum login_case rule)
{
	char *at = strrchr(login, '@');
	char *c = rule == LOGIN_LOWER ? login : at;
	for (; c && *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
}
