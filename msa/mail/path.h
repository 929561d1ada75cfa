/*
 * path - RFC 5321 paths and mailboxes, strictly parsed, in one canonical form.
 *
 * The domain is kept in lower case, the local part as given but unescaped: "a\b"@x and ab@x are the
 * same mailbox. Where UTF-8 is allowed (RFC 6531 3.3) a domain becomes its A-labels (RFC 5891), so
 * that one domain has one name; the local part is kept octet by octet.
 */
#ifndef MSA_MAIL_PATH_H
#define MSA_MAIL_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define PATH_LOCAL_MAX	64  /* RFC 5321 4.5.3.1.1, octets as written, quotes included */
#define PATH_DOMAIN_MAX 255 /* RFC 5321 4.5.3.1.2 */
#define PATH_TEXT_MAX	(PATH_LOCAL_MAX + 1 + PATH_DOMAIN_MAX)

struct path {
	bool null;			  /* <>: everything else is empty */
	bool utf8;			  /* the local part is not ASCII: SMTPUTF8 is needed */
	char local[PATH_LOCAL_MAX + 1];	  /* without quotes and backslashes */
	char domain[PATH_DOMAIN_MAX + 1]; /* lower case; "" only for <Postmaster> */
	char text[PATH_TEXT_MAX + 1];	  /* local@domain, the local part quoted when it must be */
};

/*
 * Parse a path in angle brackets at the start of s: <>, <a@b>, <@relay:a@b> (the route is dropped,
 * RFC 5321 appendix C), <Postmaster>. *used is the length consumed. False: *err says in words what
 * is wrong (static text).
 */
bool path_parse(const char *s, size_t len, struct path *out, size_t *used, const char **err);
/* Exactly one mailbox, local@domain, without brackets. */
bool path_parse_mailbox(const char *s, size_t len, struct path *out, const char **err);
/* The same two for those who have said SMTPUTF8: strict UTF-8, no C1 controls. */
bool path_parse_utf8(const char *s, size_t len, struct path *out, size_t *used, const char **err);
bool path_parse_mailbox_utf8(const char *s, size_t len, struct path *out, const char **err);
/* Builds a path from an unescaped local part, ASCII or UTF-8, and an ASCII domain; false when the
 * written form would be too long or a character is not allowed. */
bool path_make(const char *local, size_t local_len, const char *domain, struct path *out);
/* A host name, RFC 5321 Domain (underscores tolerated), or an address literal; len as given. */
bool path_domain_ok(const char *s, size_t len);

/*
 * Whose address is p? True for the account's own mailbox, compared without case, and its
 * sub-addresses (user+tag@domain). The null path belongs to nobody.
 */
bool path_owned(const struct path *account, const struct path *p);

#endif
