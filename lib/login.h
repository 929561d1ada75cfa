/*
 * login - one account has one name, user@realm, however it is typed.
 *
 * The realm is a domain name and has no case (RFC 1035 2.3.3). Whether the user part has one is the
 * operator's rule (msa.login_case), the same for every program and every door. Only ASCII letters
 * are changed. Pure.
 */
#ifndef LIB_LOGIN_H
#define LIB_LOGIN_H

enum login_case { LOGIN_LOWER, LOGIN_KEEP };
#define LOGIN_CASE_CHOICES "lower|keep"
#define LOGIN_CASE_DEFAULT "lower"

/* In place. Without an @ all of it is the user part. */
void login_fold(char *login, enum login_case rule);

#endif
