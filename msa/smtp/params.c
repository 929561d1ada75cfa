/*
 * params - what MAIL and RCPT say after the address: one table for each, keyword by keyword.
 *
 * Every parameter may come once; what is not in the table is refused with 555 (RFC 5321 4.1.1.11).
 * See session.h.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "msa/smtp/session.h"

/* What a parameter is about. */
struct about {
	struct smtp_session *s;
	struct smtp_tx *tx;
	struct smtp_rcpt *rcpt; /* NULL for MAIL */
};

/* --- MAIL --- */

static bool take_size(const struct about *a, const char *v, size_t len)
{
	int64_t n = 0;

	if (len > 20) /* RFC 1870 3 */
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)v[i]))
			return false;
		n = n > (INT64_MAX - 9) / 10 ? INT64_MAX : n * 10 + (v[i] - '0');
	}
	a->tx->size = n;
	return true;
}

static bool is_word(const char *v, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(v, word, len) == 0;
}

static bool take_body(const struct about *a, const char *v, size_t len)
{
	static const char *const words[] = {
	    [ESMTP_7BIT] = "7BIT", [ESMTP_8BIT] = "8BITMIME", [ESMTP_BINARY] = "BINARYMIME"};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!is_word(v, len, words[i]))
			continue;
		a->tx->esmtp.body = (uint8_t)i;
		return true;
	}
	return false;
}

static bool take_auth(const struct about *a, const char *v, size_t len)
{
	(void)a; /* RFC 4954 5: accepted, and not believed */
	(void)v;
	(void)len;
	return true;
}

static bool take_ret(const struct about *a, const char *v, size_t len)
{
	a->tx->esmtp.ret = is_word(v, len, "FULL")   ? ESMTP_RET_FULL
			   : is_word(v, len, "HDRS") ? ESMTP_RET_HDRS
						     : ESMTP_RET_ANY;
	return a->tx->esmtp.ret != ESMTP_RET_ANY;
}

static bool take_envid(const struct about *a, const char *v, size_t len)
{
	char text[ESMTP_ENVID_MAX + 1];

	if (len > ESMTP_ENVID_MAX || !esmtp_xtext(v, len, text, sizeof(text)))
		return false;
	memcpy(a->tx->envid, v, len);
	a->tx->envid[len] = '\0';
	a->tx->esmtp.envid = a->tx->envid;
	return true;
}

static bool take_smtputf8(const struct about *a, const char *v, size_t len)
{
	(void)v;
	(void)len;
	return a->tx->esmtp.smtputf8 = true;
}

static bool take_requiretls(const struct about *a, const char *v, size_t len)
{
	(void)v;
	(void)len;
	return a->tx->esmtp.requiretls = a->s->tls;
}

/* --- RCPT --- */

static bool take_notify(const struct about *a, const char *v, size_t len)
{
	return esmtp_notify(v, len, &a->rcpt->esmtp.notify);
}

static bool take_orcpt(const struct about *a, const char *v, size_t len)
{
	char orcpt[ESMTP_ORCPT_MAX + 1];

	if (!esmtp_orcpt(v, len, a->tx->esmtp.smtputf8, orcpt))
		return false;
	a->rcpt->esmtp.orcpt = talloc_strdup(a->tx, orcpt);
	return true;
}

/* --- the tables --- */

enum value { NONE, SOME };

struct row {
	const char *key;
	enum value value;
	bool (*take)(const struct about *a, const char *v, size_t len); /* false: it is no good */
	const char *expected;
};

static const struct row mail_rows[] = {
    {"SIZE", SOME, take_size, "SIZE needs a number of octets"},
    {"BODY", SOME, take_body, "BODY is 7BIT, 8BITMIME or BINARYMIME"},
    {"AUTH", SOME, take_auth, "AUTH needs a mailbox or <>"},
    {"RET", SOME, take_ret, "RET is FULL or HDRS"},
    {"ENVID", SOME, take_envid, "ENVID needs printable xtext of at most 100 characters"},
    {"SMTPUTF8", NONE, take_smtputf8, "SMTPUTF8 takes no value"},
    {"REQUIRETLS", NONE, take_requiretls, "REQUIRETLS takes no value, and needs TLS"},
};

static const struct row rcpt_rows[] = {
    {"NOTIFY", SOME, take_notify, "NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY"},
    {"ORCPT", SOME, take_orcpt, "ORCPT needs TYPE;ADDRESS in xtext of at most 500 characters"},
};

static const struct row *find(const struct row *rows, size_t n, const struct smtp_param *p)
{
	for (size_t i = 0; i < n; i++)
		if (smtp_param_is(p, rows[i].key))
			return &rows[i];
	return NULL;
}

/* One parameter; false when it was refused. */
static bool take(const struct about *a, const struct row *rows, size_t n,
		 const struct smtp_param *p, unsigned *seen, struct smtp_step *out)
{
	const struct row *r = find(rows, n, p);
	unsigned bit = r ? 1u << (r - rows) : 0;

	if (!r)
		smtp_error(a->s, out, "555 5.5.4 Parameter %.*s is not known",
			   (int)(p->key_len > 64 ? 64 : p->key_len), p->key);
	else if (*seen & bit)
		smtp_error(a->s, out, "501 5.5.4 %s may come once", r->key);
	else if ((p->value != NULL) != (r->value == SOME) || !r->take(a, p->value, p->value_len))
		smtp_error(a->s, out, "501 5.5.4 %s", r->expected);
	else
		return *seen |= bit;
	return false;
}

static bool take_all(const struct about *a, const struct row *rows, size_t n, const char *p,
		     const char *end, struct smtp_step *out)
{
	struct smtp_param param;
	unsigned seen = 0;
	int r;

	if (!a->s->esmtp && p < end) {
		smtp_error(a->s, out, "555 5.5.4 Parameters need EHLO");
		return false;
	}
	while ((r = smtp_param_next(&p, end, &param)) == 1)
		if (!take(a, rows, n, &param, &seen, out))
			return false;
	if (r == 0)
		return true;
	smtp_error(a->s, out,
		   "501 5.5.4 Not a parameter: keyword=value is expected after the address");
	return false;
}

bool smtp_mail_params(struct smtp_session *s, struct smtp_tx *tx, const char *p, const char *end,
		      struct smtp_step *out)
{
	const struct about a = {.s = s, .tx = tx};

	return take_all(&a, mail_rows, sizeof(mail_rows) / sizeof(*mail_rows), p, end, out);
}

bool smtp_rcpt_params(struct smtp_session *s, struct smtp_rcpt *rcpt, const char *p,
		      const char *end, struct smtp_step *out)
{
	const struct about a = {.s = s, .tx = s->tx, .rcpt = rcpt};

	return take_all(&a, rcpt_rows, sizeof(rcpt_rows) / sizeof(*rcpt_rows), p, end, out);
}
