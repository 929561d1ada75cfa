/*
 * identity - which addresses an account may write as, and by which rules.
 *
 * An account owns its own address with all sub-addresses (user+tag@domain). A file (msa.identities)
 * gives it more, and gives domains and accounts rules of their own; sekisho.conf(5) has the format:
 *
 *   own       ADDRESS|@DOMAIN  ACCOUNT...    aliases; @DOMAIN: every address of a domain
 *   delegate  ADDRESS|@DOMAIN  ACCOUNT...    may write as it, but Sender: names the account
 *   account   ACCOUNT  KEY=VALUE...          rules of one account
 *   domain    DOMAIN   KEY=VALUE...          rules of the accounts of a domain
 *   recipient DOMAIN|.DOMAIN  batv=no        mail to there leaves untagged
 *
 * Pure. Addresses are compared without case, and an address of the file covers its sub-addresses.
 */
#ifndef MSA_MAIL_IDENTITY_H
#define MSA_MAIL_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

#include "msa/mail/path.h"

enum mail_from_mode { MAIL_FROM_REWRITE, MAIL_FROM_OWNED, MAIL_FROM_ANY };
enum from_header_mode { FROM_HEADER_ANY, FROM_HEADER_OWNED };
enum sender_mode { SENDER_WHEN_DIFFERENT, SENDER_ALWAYS, SENDER_OFF };

struct identity_rules {
	enum mail_from_mode mail_from;
	enum from_header_mode from_header;
	enum sender_mode sender;
	bool batv;	   /* tag envelope senders */
	bool hide_client;  /* Received: does not say where the mail came from */
	bool auth_results; /* Authentication-Results: names the account */
};

struct identities;

/*
 * The text of the file; a new struct under ctx. NULL: *line is where, *err (talloc'd under ctx)
 * what to change.
 */
struct identities *identities_parse(void *ctx, const char *text, size_t len, int *line, char **err);

enum identity_right { IDENTITY_NONE = 0, IDENTITY_DELEGATE, IDENTITY_OWN };

/* May account write as p? ids may be NULL: there is no file. The null path belongs to nobody. */
enum identity_right identity_right(const struct identities *ids, const struct path *account,
				   const struct path *p);

/* The rules for account: of itself, else of its domain, else dflt; for each key on its own. */
void identity_rules(const struct identities *ids, const struct path *account,
		    const struct identity_rules *dflt, struct identity_rules *out);

/*
 * Is an envelope sender of this domain ours to verify, so that it may be tagged? The account's own
 * domain is, and those the file says `domain DOMAIN batv=yes` of. The rules of the account are
 * another question.
 */
bool identity_batv_domain(const struct identities *ids, const struct path *account,
			  const char *domain);
/* Has the file nothing against tags on mail to this domain? */
bool identity_batv_recipient(const struct identities *ids, const char *domain);

#endif
