/*
 * tell - see tell.h. Pure.
 */
#include <string.h>

#include "msa/auth/guard.h"
#include "msa/tell.h"

/* Copies what fits; a cut text stays whole characters only where it is ASCII, which all of these
 * are. */
static void copy(char *to, size_t cap, const char *from)
{
	size_t n = strlen(from);

	if (n > cap - 1)
		n = cap - 1;
	memcpy(to, from, n);
	to[n] = '\0';
}
#define COPY(field, from) copy((field), sizeof(field), (from))

static void head(const struct tell_from *from, enum event_kind kind, struct event *e)
{
	memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->t_ms = from->t_ms;
	e->src = from->client;
	e->src_port = from->port;
}

void tell_note(const struct tell_from *from, const struct smtp_session *s,
	       const struct smtp_note *note, struct event *out)
{
	if (note->what == SMTP_NOTE_LOGIN) {
		head(from, EVENT_LOGIN, out);
		COPY(out->u.login.account, note->account);
		COPY(out->u.login.mech, s->mech);
		COPY(out->u.login.session, from->session);
		COPY(out->u.login.reason, note->reason);
		out->u.login.ok = note->ok;
		COPY(out->u.login.tls, from->tls ? from->tls : "");
		return;
	}
	head(from, EVENT_REFUSE, out);
	COPY(out->u.refuse.account, s->account);
	COPY(out->u.refuse.session, from->session);
	COPY(out->u.refuse.status, note->status);
	COPY(out->u.refuse.reason, note->reason);
	out->u.refuse.rcpts = note->rcpts;
}

void tell_spray(const struct tell_from *from, uint32_t accounts, bool wide, struct event *out)
{
	head(from, EVENT_SPRAY, out);
	out->u.spray.first_ms = from->t_ms - GUARD_SPRAY_MS;
	out->u.spray.accounts = accounts;
	out->u.spray.plen = addr_is4(&from->client) ? 32 : 64;
	if (!wide)
		return;
	out->src = (struct addr){0};
	out->src_port = 0;
	out->u.spray.plen = 0;
}

static const char *domain_of(const char *address)
{
	const char *at = strrchr(address, '@');

	return at ? at + 1 : "";
}

/* Is word one of the blank-separated words of list? */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)) != NULL; p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

static void add_domain(char *list, size_t cap, const char *domain)
{
	size_t used = strlen(list), n = strlen(domain);

	if (n == 0 || used + n + 2 > cap || has_word(list, domain))
		return;
	if (used > 0)
		list[used++] = ' ';
	memcpy(list + used, domain, n + 1);
}

void tell_message(const struct tell_from *from, const struct smtp_session *s,
		  const struct tell_message *m, struct event *out)
{
	const struct smtp_tx *tx = s->tx;

	head(from, EVENT_MESSAGE, out);
	COPY(out->u.message.account, s->account);
	COPY(out->u.message.session, from->session);
	COPY(out->u.message.queue_id, tx->queue_id);
	COPY(out->u.message.token, m->token);
	COPY(out->u.message.mail_from, tx->from.text);
	COPY(out->u.message.message_id, m->message_id);
	for (uint32_t i = 0; i < tx->n_rcpts; i++)
		add_domain(out->u.message.rcpt_domains, sizeof(out->u.message.rcpt_domains),
			   domain_of(tx->rcpts[i].address));
	out->u.message.rcpts = tx->n_rcpts;
	out->u.message.size = m->size;
	out->u.message.held = m->held;
}
