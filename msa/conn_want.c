/*
 * conn_want - what a session asks of the authenticator, the limiter and the queue, and their
 * answers.
 *
 * Diagnostics: `smtp` lines: login, login-failed, refused, accepted, accepted-held.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/conn_int.h"
#include "msa/handover.h"
#include "msa/mail/authres.h"
#include "msa/mail/received.h"
#include "msa/tell.h"

void conn_count(struct conn *c, enum msa_count what)
{
	metric_add(c->srv->count[what], 1);
}

void conn_random_hex(char *out, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t b[32];

	bug_on(n > 2 * sizeof(b));
	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		fatal_errno("getrandom");
	for (size_t i = 0; i < n; i++)
		out[i] = hex[b[i / 2] >> (i % 2 ? 0 : 4) & 15];
	out[n] = '\0';
}

/* --- notes for accounting --- */

static const char *fingerprint(const struct conn *c)
{
	return c->tls_up ? tls_fingerprint(c->bev) : "";
}

static struct tell_from tell_from(const struct conn *c)
{
	return (struct tell_from){c->id, c->client, c->port, clock_utc_ms(), fingerprint(c)};
}

static void note_login(struct conn *c)
{
	const struct smtp_note *n = &c->step.note;

	log_event(n->ok ? LOG_INFO : LOG_NOTICE, c->id, "smtp", n->ok ? "login" : "login-failed",
		  LS("account", n->account), LS("mech", c->s->mech), LA("client", &c->client),
		  LS("reason", n->reason), LS("tls", fingerprint(c)));
	conn_count(c, n->ok ? COUNT_AUTH_OK : COUNT_AUTH_FAILED);
	limits_saw_login(c->srv->limits, n->ok, n->account, &c->client, c->s->helo, fingerprint(c));
}

static void note_refuse(struct conn *c)
{
	const struct smtp_note *n = &c->step.note;

	log_event(LOG_INFO, c->id, "smtp", "refused", LS("account", c->s->account),
		  LS("status", n->status), LS("reason", n->reason), LI("rcpts", n->rcpts));
	conn_count(c, n->status[0] == '4' ? COUNT_DEFERRED : COUNT_REFUSED);
	if (strncmp(n->status, "5.1.", 4) == 0 && n->rcpts > 0)
		limits_saw_rejected(c->srv->limits, c->s->account, &c->client, n->status, n->rcpts);
}

static void tell_accounting(const struct conn *c, const struct event *e)
{
	if (c->srv->leaving)
		handover_event(c->srv->leaving, e);
	else
		queue_event(c->srv->queue, e);
}

void conn_take_note(struct conn *c)
{
	struct tell_from from;
	struct event e;

	if (c->step.note.what == SMTP_NOTE_NONE)
		return;
	from = tell_from(c);
	tell_note(&from, c->s, &c->step.note, &e);
	tell_accounting(c, &e);
	if (c->step.note.what == SMTP_NOTE_LOGIN)
		note_login(c);
	else
		note_refuse(c);
	c->step.note.what = SMTP_NOTE_NONE;
}

void conn_drop_auth(struct conn *c)
{
	if (c->auth)
		auth_end(c->auth);
	c->auth = NULL;
	c->auth_waiting = false;
}

/* --- what a step wants --- */

/* --- failed logins --- */

#define LEVEL_MS 100

/* How long the back end took shall not tell whether there is such a user: answers come at whole
 * steps of time. */
static void level_time(struct conn *c)
{
	c->step.delay_ms += LEVEL_MS - (clock_mono_ms() - c->asked_ms) % LEVEL_MS;
}

static void say_blocked(struct conn *c, int64_t wait, const char *account)
{
	char text[CLOCK_STRLEN];

	conn_count(c, COUNT_AUTH_BLOCKED);
	clock_format_duration((wait + 999) / 1000 * 1000, text);
	smtp_session_auth(c->s, SMTP_AUTH_BLOCKED, text, account, "too many failed logins before",
			  &c->step);
}

static void say_sprayed(struct conn *c, uint32_t accounts)
{
	struct tell_from from = tell_from(c);
	struct event e;

	conn_count(c, COUNT_AUTH_SPRAYED);
	log_event(LOG_WARNING, c->id, "auth", "spraying", LA("client", &c->client),
		  LI("accounts", accounts), LS("within", "1h"));
	tell_spray(&from, accounts, false, &e);
	tell_accounting(c, &e);
}

/* Few accounts from each of many networks. An owner who mistypes at home is none of it. */
static void check_spray(struct conn *c, const struct auth_answer *a, int64_t now)
{
	struct tell_from from = tell_from(c);
	const struct guard_config *cfg = &c->cfg->guard;
	struct spray_state s;
	struct event e;

	if (guard_knows(c->srv->guard, a->account, &c->client, now) ||
	    !spray_wide_failed(c->srv->spray, cfg->spray_wide, cfg->spray, a->account, &c->client,
			       strcmp(a->detail, AUTH_NO_SUCH_USER) == 0, now, &s))
		return;
	conn_count(c, COUNT_AUTH_SPRAYED_WIDE);
	log_event(LOG_WARNING, c->id, "auth", "spraying-wide", LI("accounts", s.accounts),
		  LI("networks", s.networks), LI("attempts", s.attempts), LI("unknown", s.unknown),
		  LI("usual", s.usual), LS("within", "1h"));
	tell_spray(&from, s.accounts, true, &e);
	tell_accounting(c, &e);
}

/* Counts what came out; true when the account has to wait, be the password right or wrong. */
static bool conn_blocked(struct conn *c, const struct auth_answer *a)
{
	struct guard *g = c->srv->guard;
	int64_t now = clock_mono_ms(), wait;
	uint32_t accounts;

	if (a->result != AUTH_OK && a->result != AUTH_FAILED)
		return false;
	wait = guard_wait(g, a->account, &c->client, now);
	if (wait > 0) {
		say_blocked(c, wait, a->account);
		level_time(c);
		conn_act(c);
		conn_turn(c);
		return true;
	}
	if (a->result == AUTH_OK) {
		guard_ok(g, a->account, &c->client, now);
		return false;
	}
	accounts = guard_failed(g, &c->cfg->guard, a->account, &c->client, now);
	if (accounts > 0)
		say_sprayed(c, accounts);
	check_spray(c, a, now);
	return false;
}

/* The right password by the wrong way is a failed login like any other. */
static void check_realm(const struct conn *c, struct auth_answer *a)
{
	if (a->result != AUTH_OK ||
	    msa_config_may_login(c->cfg, a->account, c->s->mech, c->listener))
		return;
	a->result = AUTH_FAILED;
	a->detail = "its realm does not allow this mechanism, or this listener";
}

static void answered_auth(const struct auth_answer *given, void *arg)
{
	static const enum smtp_auth_result results[] = {
	    [AUTH_CONTINUE] = SMTP_AUTH_CONTINUE,	[AUTH_OK] = SMTP_AUTH_OK,
	    [AUTH_FAILED] = SMTP_AUTH_FAILED,		[AUTH_MALFORMED] = SMTP_AUTH_MALFORMED,
	    [AUTH_UNAVAILABLE] = SMTP_AUTH_UNAVAILABLE,
	};
	struct conn *c = arg;
	struct auth_answer answer = *given;
	const struct auth_answer *a = &answer;
	const char *text = answer.challenge, *suspended = NULL;
	enum smtp_auth_result r;

	c->auth_waiting = false;
	check_realm(c, &answer);
	r = results[answer.result];
	if (conn_blocked(c, a))
		return;
	if (r == SMTP_AUTH_OK) {
		text = a->account;
		suspended = limits_suspended(c->srv->limits, a->account);
	} else if (r == SMTP_AUTH_MALFORMED) {
		text = "501 5.5.2 This is not what the mechanism expects";
	} else if (r == SMTP_AUTH_UNAVAILABLE) {
		conn_count(c, COUNT_AUTH_UNAVAILABLE);
	}
	if (suspended)
		smtp_session_auth(c->s, SMTP_AUTH_SUSPENDED, suspended, a->account, "suspended",
				  &c->step);
	else
		smtp_session_auth(c->s, r, text, a->account, a->detail, &c->step);
	if (r == SMTP_AUTH_FAILED)
		level_time(c);
	conn_act(c);
	conn_turn(c);
}

/* A mechanism that ties the login to the connection; the others need not know what it is. */
static bool binds(const char *mech)
{
	return strcasestr(mech, "-PLUS");
}

static bool has_plus(const struct smtp_session *s)
{
	for (size_t i = 0; i < s->n_mechs; i++)
		if (binds(s->mechs[i]))
			return true;
	return false;
}

static void start_auth(struct conn *c)
{
	struct smtp_session *s = c->s;
	struct auth_context ctx = {.plus = s->bound && has_plus(s),
				   .external = c->external ? c->external : "",
				   .realm = msa_config_realm_of(c->cfg, c->listener)};

	if (s->bound && binds(s->auth_mech))
		tls_bindings(c->bev, &ctx.tls);
	c->auth = auth_start(c->srv->auth, s->auth_mech, s->auth_data, s->auth_len, &ctx,
			     answered_auth, c);
	explicit_bzero(&ctx.tls, sizeof(ctx.tls));
}

bool conn_want_auth(struct conn *c)
{
	struct smtp_session *s = c->s;
	int64_t now = clock_mono_ms(), wait;

	wait = s->auth_mech ? guard_wait(c->srv->guard, NULL, &c->client, now) : 0;
	if (wait > 0) {
		say_blocked(c, wait, "");
		return true;
	}
	c->asked_ms = now;
	c->auth_waiting = true;
	if (s->auth_mech)
		start_auth(c);
	else
		auth_step(c->auth, s->auth_data, s->auth_len);
	return false;
}

void conn_tls_up(struct conn *c)
{
	char address[PATH_TEXT_MAX + 1];
	const char *why;

	/* On TLS 1.2 many clients would take tls-unique, which is broken (RFC 9266 1). */
	c->s->bound = tls_can_bind(c->bev);
	if (c->cfg->tls_client_ca[0] == '\0')
		return;
	if (tls_client_address(c->bev, clock_utc_ms(), address, sizeof(address), &why)) {
		c->external = talloc_strdup(c, address);
		c->s->external = true;
	} else if (why) {
		log_event(LOG_INFO, c->id, "smtp", "client-certificate", LA("client", &c->client),
			  LS("why", why));
	}
}

void conn_want_room(struct conn *c)
{
	struct smtp_session *s = c->s;
	/* Where the queue is another process's, it says when the message is complete. */
	enum queue_result r =
	    c->srv->leaving ? QUEUE_OK
			    : queue_may_accept(c->srv->queue, s->account, (uint64_t)s->tx->size);

	if (r == QUEUE_OK && c->srv->in_flight + s->tx->size > c->cfg->max_in_flight)
		r = QUEUE_FULL;
	smtp_session_room(s, r, &c->step);
}

void conn_begin_message(struct conn *c)
{
	struct smtp_tx *tx = c->s->tx;
	char *received = talloc_array(tx, char, RECEIVED_MAX), *date = talloc_array(tx, char, 40);
	char *auth_results = NULL;
	struct received r;
	struct message_opts o;

	c->received_ms = clock_utc_ms();
	if (c->srv->leaving)
		handover_new_id(c->srv->leaving, c->received_ms, tx->queue_id);
	else
		queue_new_id(c->srv->queue, c->received_ms, tx->queue_id);
	token_make(&c->srv->trace, tx->queue_id, c->s->account, c->token);
	if (tx->rules.auth_results) {
		auth_results = talloc_array(tx, char, AUTHRES_MAX);
		authres_format(c->cfg->hostname, c->s->mech, c->s->account, auth_results);
	}
	r = (struct received){
	    .helo = c->s->helo,
	    .client = c->client,
	    .hide_client = tx->rules.hide_client,
	    .host = c->cfg->hostname,
	    .with = received_with(c->s->esmtp, c->tls_up, true, tx->esmtp.smtputf8),
	    .tls_version = tls_version(c->bev),
	    .tls_cipher = tls_cipher(c->bev),
	    .queue_id = tx->queue_id,
	    .rcpt = tx->n_rcpts == 1 ? tx->rcpts[0].address : NULL,
	    .t_ms = c->received_ms,
	};
	received_format(&r, received);
	o = (struct message_opts){
	    .header = {.account = &c->s->account_path,
		       .ids = c->cfg->policy.identities,
		       .sender = tx->rules.sender,
		       .received = received,
		       .auth_results = auth_results,
		       .authserv_id = c->cfg->hostname,
		       .cfbl_address = c->cfg->cfbl_address[0] ? c->cfg->cfbl_address : NULL,
		       .trace = c->token,
		       .message_id = talloc_asprintf(tx, "%s@%s", tx->queue_id, c->cfg->hostname),
		       .date = clock_format_5322(c->received_ms, date)},
	    .from_owned = tx->rules.from_header == FROM_HEADER_OWNED,
	    .size_hint = tx->size,
	    .max = c->s->max_message,
	    .in_flight = &c->srv->in_flight,
	    .max_in_flight = c->cfg->max_in_flight,
	    .binary = tx->esmtp.body == ESMTP_BINARY,
	};
	c->msg = message_new(tx, &o);
}

static void answered_limit(const struct rl_verdict *v, void *arg)
{
	struct conn *c = arg;

	c->rl = NULL;
	if (v->answer == RL_DOWN)
		conn_count(c, COUNT_LIMITER_DOWN);
	smtp_session_verdict(c->s, v, &c->step);
	conn_act(c);
	conn_turn(c);
}

/* Hashes of recipients and of their domains, in the order they came. */
static uint64_t *rcpt_hashes(struct smtp_tx *tx, const uint64_t **domains)
{
	uint64_t *hash = talloc_array(tx, uint64_t, 2 * tx->n_rcpts), *domain = hash + tx->n_rcpts;
	const char *at;

	for (uint32_t i = 0; i < tx->n_rcpts; i++) {
		at = strrchr(tx->rcpts[i].address, '@');
		hash[i] = tx->rcpts[i].hash;
		domain[i] = rl_hash(at ? at + 1 : "");
	}
	*domains = domain;
	return hash;
}

static struct rl_name *rcpt_names(struct smtp_tx *tx)
{
	struct rl_name *names = talloc_array(tx, struct rl_name, tx->n_rcpts);

	for (uint32_t i = 0; names && i < tx->n_rcpts; i++)
		names[i] = rl_name_of(tx->rcpts[i].address);
	return names;
}

void conn_want_limit(struct conn *c, bool charge)
{
	struct smtp_tx *tx = c->s->tx;
	const uint64_t *domains;
	uint64_t *hash = rcpt_hashes(tx, &domains);
	size_t len = (size_t)tx->size;

	if (charge)
		message_data(c->msg, &len);
	c->ask = (struct rl_ask){
	    .account = c->s->account,
	    .client = c->client,
	    .t_ms = clock_utc_ms(),
	    .charge = charge,
	    .messages = 1,
	    .rcpts = tx->n_rcpts,
	    .bytes = len,
	    .sender_hash = tx->from.null ? 0 : rl_hash(tx->from.text),
	    .sender_domain = tx->from.null ? NULL : tx->from.domain,
	    .ehlo_hash = rl_hash(c->s->helo),
	    .tls_hash = limits_hash(tls_fingerprint(c->bev)),
	    .rcpt_hash = hash,
	    .domain_hash = domains,
	    .n_hash = tx->n_rcpts,
	};
	if (charge) {
		c->ask.ehlo = c->s->helo;
		c->ask.sender = tx->from.text;
		c->ask.rcpt_name = rcpt_names(tx);
		c->ask.body = message_similarity(c->msg);
	}
	c->rl = rl_ask(limits_rl(c->srv->limits), &c->ask, answered_limit, c);
	if (!charge)
		talloc_free(hash);
}

/* --- into the queue --- */

static void log_accepted(struct conn *c)
{
	struct smtp_tx *tx = c->s->tx;
	size_t len;

	message_data(c->msg, &len);
	log_event(LOG_INFO, tx->queue_id, "smtp", tx->hold ? "accepted-held" : "accepted",
		  LS("session", c->id), LS("account", c->s->account), LS("from", tx->from.text),
		  LI("rcpts", tx->n_rcpts), LI("size", len), LA("client", &c->client),
		  LS("trace", c->token),
		  LS("sender", header_sender_added(message_header(c->msg)) ? "added" : "-"));
	conn_count(c, tx->hold ? COUNT_HELD : COUNT_ACCEPTED);
}

static void submitted(enum queue_result r, void *arg)
{
	struct ticket *t = arg;
	struct conn *c = t->c;

	talloc_free(t);
	if (!c)
		return;
	c->ticket = NULL;
	if (r == QUEUE_OK)
		log_accepted(c);
	else
		rl_refund(limits_rl(c->srv->limits), &c->ask);
	c->msg = NULL; /* goes with the transaction */
	smtp_session_submitted(c->s, r, &c->step);
	conn_act(c);
	conn_turn(c);
}

/* One recipient that takes no tagged sender decides for all: they share the envelope. */
static bool rcpts_take_tags(const struct identities *ids, const struct smtp_tx *tx)
{
	const char *at;

	for (uint32_t i = 0; ids && i < tx->n_rcpts; i++) {
		at = strrchr(tx->rcpts[i].address, '@');
		if (at && !identity_batv_recipient(ids, at + 1))
			return false;
	}
	return true;
}

/* The sender as it will leave: tagged when it is of a domain that is ours to verify, and nobody has
 * something against it. */
static void sender_out(struct conn *c, struct path *out)
{
	const struct smtp_tx *tx = c->s->tx;
	const struct path *from = &tx->from;
	const struct identities *ids = c->cfg->policy.identities;

	*out = *from;
	if (tx->rules.batv && !from->null &&
	    identity_batv_domain(ids, &c->s->account_path, from->domain) &&
	    rcpts_take_tags(ids, tx))
		batv_sign(&c->srv->batv, from, -1, c->received_ms, out);
}

/* --- DKIM --- */

/*
 * Who signs: the domain of From:, if the account may write in its name or is of that domain itself;
 * else the account's own. A customer can forge another's address, but not have it signed.
 */
static const char *signer(const struct conn *c)
{
	const struct header_editor *h = message_header(c->msg);
	const struct path *from = header_from_path(h), *account = &c->s->account_path;
	const char *d = NULL;

	if (from &&
	    (header_from(h) >= HEADER_FROM_MAY || strcmp(from->domain, account->domain) == 0))
		d = dkim_table_domain(c->cfg->dkim_table, from->domain, c->received_ms);
	return d ? d : dkim_table_domain(c->cfg->dkim_table, account->domain, c->received_ms);
}

static bool is_under(const char *domain, const char *name)
{
	size_t n = strlen(domain), m = strlen(name);

	return n >= m && strcmp(domain + n - m, name) == 0 && (n == m || domain[n - m - 1] == '.');
}

/* Of the domain that asks for complaints, when the first signature is of another (RFC 9477 3.1). */
static const char *second_signer(const struct conn *c, const char *first)
{
	const char *d = NULL;

	if (c->cfg->cfbl_domain[0] && !(first && is_under(c->cfg->cfbl_domain, first)))
		d = dkim_table_domain(c->cfg->dkim_table, c->cfg->cfbl_domain, c->received_ms);
	return d;
}

static void sign_as(struct conn *c, const char *domain)
{
	const char *id = c->s->tx->queue_id;
	char *err = NULL, *fields;
	size_t len;
	const uint8_t *data = message_data(c->msg, &len);

	fields = dkim_table_sign(c->s->tx, c->cfg->dkim_table, domain, id, data, len,
				 c->received_ms, &err);
	if (fields && message_prepend(c->msg, fields)) {
		conn_count(c, COUNT_DKIM_SIGNED);
		return;
	}
	conn_count(c, COUNT_DKIM_FAILED);
	log_event(LOG_ERR, id, "smtp", "dkim-failed", LS("domain", domain),
		  LS("error", err ? err : "no memory"));
}

/* A message that cannot be signed goes unsigned: it is the signature that is missing, not the mail.
 */
static void sign(struct conn *c)
{
	const char *first, *second;

	/* Without From: there is nothing to vouch for (RFC 6376 5.4). */
	if (!c->cfg->dkim_table || header_from(message_header(c->msg)) == HEADER_FROM_NONE)
		return;
	first = signer(c);
	second = second_signer(c, first);
	if (first)
		sign_as(c, first);
	if (second)
		sign_as(c, second);
}

void conn_want_submit(struct conn *c)
{
	struct smtp_tx *tx = c->s->tx;
	struct queue_rcpt *rcpts = talloc_zero_array(tx, struct queue_rcpt, tx->n_rcpts);
	struct tell_from from = tell_from(c);
	struct tell_message tm = {.token = c->token,
				  .message_id = header_message_id(message_header(c->msg)),
				  .held = tx->hold};
	struct queue_msg m = {.account = c->s->account,
			      .mail_from = tx->from.text,
			      .rcpts = rcpts,
			      .n_rcpts = tx->n_rcpts,
			      .received_ms = c->received_ms};
	struct path out;
	struct event e;

	for (uint32_t i = 0; i < tx->n_rcpts; i++)
		rcpts[i] = (struct queue_rcpt){tx->rcpts[i].address, tx->rcpts[i].esmtp};
	sign(c);
	/* The other process gets a copy, and this one keeps its own until it has. */
	m.own = c->srv->leaving ? NULL : message_take(c->msg, &m.len);
	m.data = m.own ? m.own : message_data(c->msg, &m.len);
	m.esmtp = tx->esmtp;
	snprintf(m.id, sizeof(m.id), "%s", tx->queue_id);
	sender_out(c, &out);
	m.mail_from_out = out.text;
	tm.size = m.len;
	tell_message(&from, c->s, &tm, &e);
	m.event = &e;
	c->ticket = talloc_zero(NULL, struct ticket);
	c->ticket->c = c;
	if (c->srv->leaving)
		handover_submit(c->srv->leaving, &m, tx->hold, submitted, c->ticket);
	else
		queue_submit(c->srv->queue, &m, tx->hold, submitted, c->ticket);
}
