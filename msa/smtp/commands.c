/*
 * commands - what each SMTP command does in a session; the table at the end says when it may come.
 *
 * Check, then proceed: a handler either replies, or asks for something (step.want) and is finished
 * in its _proceed() half once session.c has got the answer. See session.h.
 */
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "msa/mail/batv.h"
#include "msa/mail/identity.h"
#include "msa/mail/utf8.h"
#include "msa/smtp/session.h"

/* --- EHLO, HELO, STARTTLS --- */

static bool take_name(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	bool ok = c->arg_len > 0 && c->arg_len < sizeof(s->helo);

	for (size_t i = 0; ok && i < c->arg_len; i++)
		ok = (unsigned char)c->arg[i] > ' ' && c->arg[i] != 0x7f;
	if (!ok) {
		smtp_error(s, out, "501 5.5.4 %s needs your host name or address literal",
			   smtp_verb_name(c->verb));
		return false;
	}
	memcpy(s->helo, c->arg, c->arg_len);
	s->helo[c->arg_len] = '\0';
	return true;
}

/* Some mechanisms need what not every connection has. */
static bool possible(const struct smtp_session *s, const char *mech)
{
	size_t n = strlen(mech);

	if (strcmp(mech, "EXTERNAL") == 0)
		return s->external;
	return s->bound || n < 5 || strcmp(mech + n - 5, "-PLUS") != 0;
}

static void offer_auth(const struct smtp_session *s, struct smtp_step *out)
{
	char mechs[512] = "";

	for (size_t i = 0; i < s->n_mechs; i++) {
		if (!possible(s, s->mechs[i]))
			continue;
		strncat(mechs, " ", sizeof(mechs) - strlen(mechs) - 1);
		strncat(mechs, s->mechs[i], sizeof(mechs) - strlen(mechs) - 1);
	}
	if (mechs[0])
		smtp_reply(out, "250-AUTH%s", mechs);
}

static void ehlo(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	if (!take_name(s, c, out))
		return;
	smtp_tx_drop(s, out);
	s->esmtp = true;
	s->bdat_failed = false;
	smtp_set_state(s, SMTP_S_READY);
	smtp_reply(out, "250-%s", s->policy->hostname);
	smtp_reply(out, "250-PIPELINING");
	smtp_reply(out, "250-SIZE %lld", (long long)s->max_message);
	smtp_reply(out, "250-8BITMIME");
	smtp_reply(out, "250-BINARYMIME");
	smtp_reply(out, "250-CHUNKING");
	smtp_reply(out, "250-SMTPUTF8");
	smtp_reply(out, "250-DSN");
	smtp_reply(out, "250-LIMITS RCPTMAX=%lld", (long long)s->policy->max_rcpts);
	if (s->tls)
		smtp_reply(out, "250-REQUIRETLS");
	else
		smtp_reply(out, "250-STARTTLS");
	if (s->tls && s->account[0] == '\0')
		offer_auth(s, out);
	smtp_reply(out, "250 ENHANCEDSTATUSCODES");
}

static void helo(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	if (!take_name(s, c, out))
		return;
	smtp_tx_drop(s, out);
	s->esmtp = false;
	smtp_set_state(s, SMTP_S_READY);
	smtp_reply(out, "250 %s", s->policy->hostname);
}

static void starttls(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	if (s->tls) {
		smtp_error(s, out, "503 5.5.1 TLS is already on");
		return;
	}
	if (c->arg_len > 0) {
		smtp_error(s, out, "501 5.5.4 STARTTLS takes no argument");
		return;
	}
	smtp_reply(out, "220 2.0.0 Ready to start TLS");
	smtp_want(s, out, SMTP_WANT_TLS);
}

/* --- AUTH (RFC 4954) ----------------------------------------------------------------------------
 */

static const char *known_mech(const struct smtp_session *s, const char *name, size_t len)
{
	for (size_t i = 0; i < s->n_mechs; i++)
		if (strlen(s->mechs[i]) == len && strncasecmp(s->mechs[i], name, len) == 0 &&
		    possible(s, s->mechs[i]))
			return s->mechs[i];
	return NULL;
}

static bool auth_allowed(struct smtp_session *s, struct smtp_step *out)
{
	if (!s->tls)
		smtp_error(s, out, "538 5.7.11 Encryption is required: STARTTLS first");
	else if (s->account[0])
		smtp_error(s, out, "503 5.5.1 Already authenticated");
	else if (s->state != SMTP_S_READY || !s->esmtp)
		smtp_error(s, out, "503 5.5.1 EHLO first");
	else
		return true;
	return false;
}

static void auth(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	const char *sp = memchr(c->arg, ' ', c->arg_len), *end = c->arg + c->arg_len;
	const char *mech;

	if (!auth_allowed(s, out))
		return;
	if (c->arg_len == 0) {
		smtp_error(s, out, "501 5.5.4 AUTH needs a mechanism");
		return;
	}
	mech = known_mech(s, c->arg, sp ? (size_t)(sp - c->arg) : c->arg_len);
	if (!mech) {
		smtp_error(s, out, "504 5.5.4 This mechanism is not offered; see EHLO");
		return;
	}
	strncpy(s->mech, mech, sizeof(s->mech) - 1);
	s->auth_mech = s->mech;
	s->auth_data = NULL;
	s->auth_len = 0;
	if (sp) {
		while (sp < end && *sp == ' ')
			sp++;
		s->auth_data = sp;
		s->auth_len = (size_t)(end - sp);
		if (s->auth_len == 1 && *sp == '=') /* an empty initial response */
			s->auth_len = 0;
	}
	smtp_set_state(s, SMTP_S_AUTHING);
	smtp_want(s, out, SMTP_WANT_AUTH);
}

void smtp_auth_line(struct smtp_session *s, const char *line, size_t len, struct smtp_step *out)
{
	if (len == 1 && line[0] == '*') {
		smtp_session_auth(s, SMTP_AUTH_MALFORMED, "501 5.7.0 Authentication cancelled", "",
				  "cancelled by the client", out);
		return;
	}
	s->auth_mech = NULL;
	s->auth_data = line;
	s->auth_len = len;
	smtp_want(s, out, SMTP_WANT_AUTH);
}

/* --- MAIL --- */

static bool mail_allowed(struct smtp_session *s, struct smtp_step *out)
{
	if (s->tx)
		smtp_error(s, out, "503 5.5.1 One MAIL at a time; RSET starts anew");
	else if (s->stopping || s->suspended)
		smtp_close(s, s->stopping ? "4.3.2" : "4.7.0",
			   s->stopping ? "Going down for a moment; try again" : s->suspended, out);
	else
		return true;
	return false;
}

/* After FROM: or TO:, blanks tolerated; NULL when it is not there. */
static const char *after_word(const struct smtp_command *c, const char *word)
{
	size_t n = strlen(word), i = n;

	if (c->arg_len < n || strncasecmp(c->arg, word, n) != 0)
		return NULL;
	while (i < c->arg_len && c->arg[i] == ' ')
		i++;
	return c->arg + i;
}

/* May this account use that sender? Rewrites it if so configured; false when it was refused. */
static bool mail_identity(struct smtp_session *s, struct smtp_tx *tx, struct smtp_step *out)
{
	const struct identities *ids = s->policy->identities;
	struct path untagged;

	identity_rules(ids, &s->account_path, &s->policy->rules, &tx->rules);
	/* Mail that is sent on may carry our tag of the first time: it gets a new one. */
	if (batv_strip(&tx->from, &untagged) &&
	    identity_right(ids, &s->account_path, &untagged) != IDENTITY_NONE)
		tx->from = untagged;
	if (tx->from.null || tx->rules.mail_from == MAIL_FROM_ANY ||
	    identity_right(ids, &s->account_path, &tx->from) != IDENTITY_NONE)
		return true;
	if (tx->rules.mail_from == MAIL_FROM_REWRITE) {
		tx->from = s->account_path;
		return true;
	}
	smtp_note_refuse(out, "5.7.1", "sender address not owned", 0);
	smtp_error(s, out, "553 5.7.1 <%s> is not an address of this account; send as <%s>",
		   tx->from.text, s->account);
	return false;
}

/* An address that is not ASCII, without SMTPUTF8 or no address at all, has a code of its own (RFC
 * 6531 3.5). */
static const char *path_code(const char *s, size_t len, const char *otherwise)
{
	return utf8_any(s, len) ? "553 5.6.7" : otherwise;
}

/* The address and what follows it; false when it was refused. */
static bool mail_parse(struct smtp_session *s, struct smtp_tx *tx, const char *p, const char *end,
		       struct smtp_step *out)
{
	const char *err;
	size_t used;

	if (!path_parse_utf8(p, (size_t)(end - p), &tx->from, &used, &err)) {
		smtp_error(s, out, "%s Sender: %s", path_code(p, (size_t)(end - p), "501 5.1.7"),
			   err);
		return false;
	}
	if (!tx->from.null && tx->from.domain[0] == '\0') {
		smtp_error(s, out, "501 5.1.7 Sender: the domain is missing");
		return false;
	}
	if (!smtp_mail_params(s, tx, p + used, end, out))
		return false;
	if (utf8_any(p, used) && !tx->esmtp.smtputf8) {
		smtp_error(s, out, "553 5.6.7 Sender: a non-ASCII address needs SMTPUTF8");
		return false;
	}
	return true;
}

static void mail(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	const char *p, *end = c->arg + c->arg_len;
	struct smtp_tx *tx;

	if (!mail_allowed(s, out))
		return;
	p = after_word(c, "FROM:");
	if (!p) {
		smtp_error(s, out, "501 5.5.4 MAIL FROM:<address> is expected");
		return;
	}
	tx = talloc_zero(s, struct smtp_tx);
	if (mail_parse(s, tx, p, end, out) && mail_identity(s, tx, out)) {
		if (tx->size <= s->max_message) {
			s->tx = tx;
			s->bdat_failed = false;
			s->pending = SMTP_MAIL;
			smtp_want(s, out, SMTP_WANT_ROOM);
			return;
		}
		smtp_note_refuse(out, "5.3.4", "declared size over the limit", 0);
		smtp_error(s, out, "552 5.3.4 At most %lld octets a message",
			   (long long)s->max_message);
	}
	talloc_free(tx);
}

void smtp_mail_proceed(struct smtp_session *s, struct smtp_step *out)
{
	smtp_set_state(s, SMTP_S_MAIL);
	if (s->tx->from.null)
		smtp_reply(out, "250 2.1.0 Null sender ok");
	else
		smtp_reply(out, "250 2.1.0 <%s> sender ok", s->tx->from.text);
}

/* --- RCPT --- */

static bool rcpt_allowed(struct smtp_session *s, struct smtp_step *out)
{
	if (s->state != SMTP_S_MAIL && s->state != SMTP_S_RCPT) {
		smtp_error(s, out, "503 5.5.1 MAIL first");
		return false;
	}
	if (s->tx->n_rcpts >= s->policy->max_rcpts) {
		smtp_count_refused(s, "4.5.3", "too many recipients in one message");
		smtp_reply(out,
			   "452 4.5.3 At most %lld recipients a message; send the rest separately",
			   (long long)s->policy->max_rcpts);
		return false;
	}
	/* A null sender is for disposition notifications, which have one recipient (RFC 8098 2.1).
	 */
	if (s->tx->from.null && s->tx->n_rcpts > 0) {
		smtp_count_refused(s, "5.7.1", "null sender with several recipients");
		smtp_error(s, out, "550 5.7.1 Mail from <> may have one recipient only");
		return false;
	}
	return true;
}

/* The address; *rest is what follows it. */
static bool rcpt_path(struct smtp_session *s, const struct smtp_command *c, struct path *path,
		      const char **rest, struct smtp_step *out)
{
	const char *p = after_word(c, "TO:"), *end = c->arg + c->arg_len, *err;
	size_t used;

	if (!p) {
		smtp_error(s, out, "501 5.5.4 RCPT TO:<address> is expected");
		return false;
	}
	if (!(s->tx->esmtp.smtputf8 ? path_parse_utf8 : path_parse)(p, (size_t)(end - p), path,
								    &used, &err) ||
	    path->null) {
		smtp_error(s, out, "%s Recipient: %s", path_code(p, (size_t)(end - p), "501 5.1.3"),
			   path->null ? "the null address takes no mail" : err);
		return false;
	}
	if (path->domain[0] == '\0' &&
	    !path_make("postmaster", 10, s->policy->local_domain, path)) {
		smtp_error(s, out, "501 5.1.3 Recipient: the domain is missing");
		return false;
	}
	*rest = p + used;
	return true;
}

static bool rcpt_known(const struct smtp_tx *tx, uint64_t hash, const char *address)
{
	for (uint32_t i = 0; i < tx->n_rcpts; i++)
		if (tx->rcpts[i].hash == hash && strcmp(tx->rcpts[i].address, address) == 0)
			return true;
	return false;
}

static void rcpt(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	struct smtp_tx *tx = s->tx;
	struct smtp_rcpt t = {.address = NULL};
	struct path path;
	const char *p;

	if (!rcpt_allowed(s, out) || !rcpt_path(s, c, &path, &p, out) ||
	    !smtp_rcpt_params(s, &t, p, c->arg + c->arg_len, out))
		return;
	t.hash = rl_hash(path.text);
	if (rcpt_known(tx, t.hash, path.text)) {
		smtp_reply(out, "250 2.1.5 <%s> recipient ok", path.text);
		return;
	}
	if (tx->n_rcpts % 16 == 0)
		tx->rcpts = talloc_realloc(tx, tx->rcpts, struct smtp_rcpt, tx->n_rcpts + 16);
	t.address = talloc_strdup(tx, path.text);
	tx->rcpts[tx->n_rcpts++] = t;
	smtp_want(s, out, SMTP_WANT_CHECK);
}

void smtp_rcpt_proceed(struct smtp_session *s, struct smtp_step *out)
{
	s->rcpts_accepted++;
	smtp_set_state(s, SMTP_S_RCPT);
	smtp_reply(out, "250 2.1.5 <%s> recipient ok", s->tx->rcpts[s->tx->n_rcpts - 1].address);
}

/* --- DATA and the small ones --- */

static void data(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	if (c->arg_len > 0) {
		smtp_error(s, out, "501 5.5.4 DATA takes no argument");
	} else if (s->state == SMTP_S_MAIL) {
		smtp_error(s, out, "554 5.5.1 No valid recipients");
	} else if (s->state == SMTP_S_BDAT) {
		smtp_error(s, out, "503 5.5.1 What BDAT has begun, BDAT must end");
	} else if (s->tx && s->tx->esmtp.body == ESMTP_BINARY) {
		smtp_error(s, out, "503 5.5.1 BODY=BINARYMIME needs BDAT");
	} else if (s->state != SMTP_S_RCPT) {
		smtp_error(s, out, "503 5.5.1 MAIL and RCPT first");
	} else {
		s->pending = SMTP_DATA;
		smtp_want(s, out, SMTP_WANT_ROOM);
	}
}

void smtp_data_proceed(struct smtp_session *s, struct smtp_step *out)
{
	smtp_set_state(s, SMTP_S_DATA);
	smtp_reply(out, "354 End with a dot on a line of its own");
	smtp_want(s, out, SMTP_WANT_DATA);
}

static void rset(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	if (c->arg_len > 0) {
		smtp_error(s, out, "501 5.5.4 RSET takes no argument");
		return;
	}
	smtp_tx_drop(s, out);
	s->bdat_failed = false;
	if (s->state != SMTP_S_GREET)
		smtp_set_state(s, SMTP_S_READY);
	smtp_reply(out, "250 2.0.0 Ok");
}

static void noop(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	(void)s;
	(void)c;
	smtp_reply(out, "250 2.0.0 Ok");
}

static void quit(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	(void)c;
	smtp_set_state(s, SMTP_S_CLOSED);
	smtp_reply(out, "221 2.0.0 Bye");
	smtp_want(s, out, SMTP_WANT_CLOSE);
}

static void vrfy(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	if (c->arg_len == 0)
		smtp_error(s, out, "501 5.5.4 VRFY needs an address");
	else
		smtp_reply(out, "252 2.5.2 Send the mail and see");
}

static void expn(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	(void)c;
	smtp_error(s, out, "502 5.5.1 EXPN is not done here");
}

static void help(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	(void)s;
	(void)c;
	smtp_reply(out, "214 2.0.0 Mail submission, RFC 6409: EHLO STARTTLS AUTH MAIL RCPT DATA "
			"BDAT RSET NOOP QUIT");
}

/* --- the table --- */

enum {
	PLAIN_OK = 1,  /* allowed before TLS */
	ANON_OK = 2,   /* allowed before AUTH */
	EARLY_OK = 4,  /* allowed before EHLO */
	IDLE = 8,      /* brings no message on: only so many of them */
	FOLLOWED = 16, /* by octets that are no commands: when it may not come, nothing more may */
};

static const struct {
	void (*run)(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out);
	unsigned flags;
} commands[SMTP_VERBS] = {
    [SMTP_EHLO] = {ehlo, PLAIN_OK | ANON_OK | EARLY_OK | IDLE},
    [SMTP_HELO] = {helo, PLAIN_OK | ANON_OK | EARLY_OK | IDLE},
    [SMTP_STARTTLS] = {starttls, PLAIN_OK | ANON_OK | EARLY_OK}, /* gsasl says no EHLO first */
    [SMTP_AUTH] = {auth, PLAIN_OK | ANON_OK | EARLY_OK},	 /* has its own, better replies */
    [SMTP_MAIL] = {mail, 0},
    [SMTP_RCPT] = {rcpt, 0},
    [SMTP_DATA] = {data, 0},
    [SMTP_BDAT] = {smtp_bdat, FOLLOWED},
    [SMTP_RSET] = {rset, PLAIN_OK | ANON_OK | EARLY_OK | IDLE},
    [SMTP_NOOP] = {noop, PLAIN_OK | ANON_OK | EARLY_OK | IDLE},
    [SMTP_QUIT] = {quit, PLAIN_OK | ANON_OK | EARLY_OK},
    [SMTP_VRFY] = {vrfy, IDLE},
    [SMTP_EXPN] = {expn, IDLE},
    [SMTP_HELP] = {help, PLAIN_OK | ANON_OK | EARLY_OK | IDLE},
};

/* May it come now? Says why not. */
static bool may_come(struct smtp_session *s, const struct smtp_command *c, unsigned flags,
		     struct smtp_step *out)
{
	if (c->verb == SMTP_UNKNOWN)
		smtp_error(s, out, "500 5.5.2 Command not known");
	else if (s->state == SMTP_S_GREET && !(flags & EARLY_OK))
		smtp_error(s, out, "503 5.5.1 EHLO first");
	else if (!s->tls && !(flags & PLAIN_OK))
		smtp_error(s, out, "530 5.7.0 STARTTLS first");
	else if (s->account[0] == '\0' && !(flags & ANON_OK))
		smtp_error(s, out, "530 5.7.0 Authentication is required");
	else
		return true;
	return false;
}

void smtp_command(struct smtp_session *s, const struct smtp_command *c, struct smtp_step *out)
{
	unsigned flags = commands[c->verb].flags;

	if (flags & IDLE && ++s->idle_commands > s->policy->max_idle_commands) {
		smtp_close(s, "4.7.0", "Too many commands without mail", out);
	} else if (may_come(s, c, flags, out)) {
		commands[c->verb].run(s, c, out);
	} else if (flags & FOLLOWED) {
		smtp_set_state(s, SMTP_S_CLOSED);
		smtp_want(s, out, SMTP_WANT_CLOSE);
	}
}
