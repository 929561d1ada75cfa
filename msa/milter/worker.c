/*
 * worker - what libmilter asks (see milter.h).
 *
 * Of each message only the envelope and the fields BOUNCE_FIELD are looked at; of mail from the
 * null sender to a valid tag also what it says of recipients that were not reached. A recipient
 * with a tag of our form, in a domain of ours, loses it, whoever the sender is: the tag is no part
 * of the mailbox's name. What msa/mail/bounce says of mail from the null sender is answered at
 * RCPT, or put into one field at the end of the message, the worst of its recipients' (a bounce has
 * one, as a rule). A field of that name that came with the message is taken out, in every mode.
 *
 * Every function here may run in several threads at once. Sessions have talloc trees of their own;
 * shared is what milter.h says.
 *
 * Trusted with: the tag keys; what a mail server says. Diagnostics: `batv bounce` lines, results in
 * shared memory. Known gaps: libmilter has no bound on sessions: the socket is for mail servers
 * that have one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#include "accounting/event.h"
#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/milter/milter.h"

#define ARGS_MAX 1024 /* ESMTP arguments of a recipient */
#define BACKLOG	 128
#define ACTIONS	 (SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT)

struct recipient {
	const char *as_given, *stripped, *args;
	struct recipient *next;
};

struct message {
	bool null_sender, marked;
	enum batv_reason mark; /* the worst */
	struct recipient *changed;
	int fields;			/* named as ours, that came with it */
	struct returned_reader *reader; /* of mail to a valid tag */
	const char *sender;		/* whose tag that is, without it */
};

struct session {
	char client[ADDR_STRLEN]; /* "local" when it is no address */
	struct addr addr;	  /* or none */
	uint64_t hash;
	struct message *m;
};

static const struct milter_work *work; /* set before any thread is there */
static atomic_int sessions;
static pthread_rwlock_t rules = PTHREAD_RWLOCK_INITIALIZER;

/* --- sessions --- */

static sfsistat on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *sa)
{
	struct session *s = talloc_zero(NULL, struct session);
	(void)name;
	if (sa && addr_from_sockaddr(sa, &s->addr, NULL))
		addr_format(&s->addr, s->client);
	else
		snprintf(s->client, sizeof(s->client), "local");
	s->hash = bounce_client(s->client);
	if (smfi_setpriv(ctx, s) != MI_SUCCESS) {
		talloc_free(s);
		return SMFIS_TEMPFAIL;
	}
	sessions++;
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	if (!s)
		return SMFIS_CONTINUE;
	smfi_setpriv(ctx, NULL);
	talloc_free(s);
	sessions--;
	return SMFIS_CONTINUE;
}

static sfsistat on_abort(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	if (s)
		TALLOC_FREE(s->m);
	return SMFIS_CONTINUE;
}

static sfsistat on_from(SMFICTX *ctx, char **args)
{
	struct session *s = smfi_getpriv(ctx);

	if (!s)
		return SMFIS_TEMPFAIL;
	talloc_free(s->m);
	s->m = talloc_zero(s, struct message);
	s->m->null_sender = strcmp(args[0], "<>") == 0 || args[0][0] == '\0';
	return SMFIS_CONTINUE;
}

/* --- recipients --- */

/* The mailbox without brackets; false for what no mail server should let through. */
static bool mailbox(const char *text, struct path *p)
{
	size_t len = strlen(text), used;
	const char *err;

	if (text[0] == '<')
		return path_parse_utf8(text, len, p, &used, &err) && used == len && !p->null;
	return path_parse_mailbox_utf8(text, len, p, &err);
}

static void judge(const struct session *s, const struct path *to, struct bounce_verdict *v)
{
	struct milter_shared *sh = work->shared;
	struct bounce_request r = {.policy = true};

	if (!s->m->null_sender)
		r.sender[0] = '?';
	snprintf(r.recipient, sizeof(r.recipient), "%s", to->text);
	if (pthread_mutex_lock(&sh->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&sh->lock); /* a count more or less */
	bounce_judge(&work->about, &sh->probes, &r, s->hash, clock_utc_ms(), v);
	pthread_mutex_unlock(&sh->lock);
	sh->results[v->result]++;
	if (v->result != BOUNCE_NOT_OURS)
		log_event(LOG_INFO, "-", "batv", "bounce",
			  LS("result", bounce_result_name(v->result)),
			  LS("reason", batv_reason_name(v->reason)), LS("recipient", to->text),
			  LS("client", s->client));
}

static char *join(void *ctx, char **args)
{
	char *all = talloc_strdup(ctx, "");

	for (; *args && talloc_get_size(all) + strlen(*args) < ARGS_MAX; args++)
		all = talloc_asprintf_append(all, "%s%s", all[0] ? " " : "", *args);
	return all;
}

static void note_tag(struct message *m, char **args, const struct path *to)
{
	struct recipient *r;
	struct path plain;

	if (!batv_strip(to, &plain))
		return;
	r = talloc_zero(m, struct recipient);
	r->as_given = talloc_strdup(r, args[0]);
	r->stripped = talloc_asprintf(r, "<%s>", plain.text);
	r->args = join(r, args + 1);
	r->next = m->changed;
	m->changed = r;
}

/* The first valid tag is whose mail it is about: a notification has one recipient. */
static void listen_to(struct message *m, const struct path *to)
{
	struct path plain;

	if (work->tell < 0 || m->reader || !batv_strip(to, &plain) ||
	    strlen(plain.text) > EVENT_ACCOUNT_MAX)
		return;
	m->sender = talloc_strdup(m, plain.text);
	m->reader = returned_new(m);
}

/* A tag that is right says least against a message, a forged one most. */
static int badness(enum batv_reason r)
{
	static const int of[] = {[BATV_VALID] = 0,
				 [BATV_NOT_TAGGED] = 1,
				 [BATV_EXPIRED] = 2,
				 [BATV_UNKNOWN_KEY] = 3,
				 [BATV_FORGED] = 4};

	return of[r];
}

static void note_mark(struct message *m, enum batv_reason reason)
{
	if (!m->marked || badness(reason) > badness(m->mark))
		m->mark = reason;
	m->marked = true;
}

static sfsistat refuse(SMFICTX *ctx, const char *code, const char *status, const char *text,
		       sfsistat answer)
{
	char copy[BOUNCE_ACTION_MAX];

	snprintf(copy, sizeof(copy), "%s", text);
	if (smfi_setreply(ctx, (char *)code, (char *)status, copy) != MI_SUCCESS)
		log_event(LOG_WARNING, "-", "milter", "reply-not-set");
	return answer;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **args)
{
	struct session *s = smfi_getpriv(ctx);
	struct bounce_verdict v;
	struct path to;
	bool ours;

	if (!s || !s->m)
		return SMFIS_TEMPFAIL;
	if (!mailbox(args[0], &to))
		return SMFIS_CONTINUE;
	pthread_rwlock_rdlock(&rules);
	judge(s, &to, &v);
	ours = bounce_ours(&work->about, to.domain);
	pthread_rwlock_unlock(&rules);
	if (v.answer == BOUNCE_REFUSE)
		return refuse(ctx, "550", "5.7.1", v.text, SMFIS_REJECT);
	if (v.answer == BOUNCE_DEFER)
		return refuse(ctx, "450", "4.7.1", v.text, SMFIS_TEMPFAIL);
	if (v.result == BOUNCE_VALID)
		listen_to(s->m, &to);
	if (v.answer == BOUNCE_MARK)
		note_mark(s->m, v.reason);
	if (ours)
		note_tag(s->m, args, &to);
	return SMFIS_CONTINUE;
}

/* --- the message --- */

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	struct session *s = smfi_getpriv(ctx);

	if (s && s->m && strcasecmp(name, BOUNCE_FIELD) == 0)
		s->m->fields++;
	if (s && s->m && s->m->reader)
		returned_field(s->m->reader, name, value);
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *data, size_t len)
{
	const struct session *s = smfi_getpriv(ctx);

	if (!s || !s->m || !s->m->reader)
		return SMFIS_SKIP;
	returned_body(s->m->reader, data, len);
	return SMFIS_CONTINUE;
}

#define CUT(field, from) snprintf((field), sizeof(field), "%.*s", (int)sizeof(field) - 1, (from))

static void tell(const struct session *s, const struct returned *r, const struct returned_rcpt *to)
{
	struct event e = {.kind = EVENT_BOUNCE, .t_ms = clock_utc_ms(), .src = s->addr};
	uint8_t buf[EVENT_MAX_BYTES];
	size_t len;

	CUT(e.u.bounce.sender, s->m->sender);
	CUT(e.u.bounce.token, r->token);
	CUT(e.u.bounce.rcpt, to->rcpt);
	CUT(e.u.bounce.original, to->original);
	CUT(e.u.bounce.status, to->status);
	CUT(e.u.bounce.reply, to->text);
	CUT(e.u.bounce.mta, r->mta);
	e.u.bounce.result = to->action == RETURNED_FAILED ? EVENT_BOUNCED : EVENT_DEFERRED;
	len = event_encode(&e, buf, sizeof(buf));
	if (send(work->tell, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
		work->shared->untold++;
}

/* What it says, once the mail server may take it. */
static void tell_all(const struct session *s)
{
	struct returned *r = talloc(s->m, struct returned);

	if (!r)
		fatal("out of memory");
	returned_end(s->m->reader, r);
	s->m->reader = NULL;
	work->shared->returned[r->form]++;
	log_event(LOG_INFO, "-", "batv", "returned", LS("form", returned_form_name(r->form)),
		  LS("sender", s->m->sender), LI("recipients", r->n),
		  LS("status", r->n ? r->rcpt[0].status : ""), LS("client", s->client));
	for (uint32_t i = 0; i < r->n; i++)
		if (r->rcpt[i].action != RETURNED_ARRIVED)
			tell(s, r, &r->rcpt[i]);
}

static bool strip(SMFICTX *ctx, const struct recipient *r)
{
	int added;

	if (smfi_delrcpt(ctx, (char *)r->as_given) != MI_SUCCESS)
		return false;
	added = r->args[0] ? smfi_addrcpt_par(ctx, (char *)r->stripped, (char *)r->args)
			   : smfi_addrcpt(ctx, (char *)r->stripped);
	work->shared->stripped++;
	return added == MI_SUCCESS;
}

static bool edit(SMFICTX *ctx, const struct message *m)
{
	char field[] = BOUNCE_FIELD, text[32];

	for (int i = m->fields; i > 0; i--)
		if (smfi_chgheader(ctx, field, i, NULL) != MI_SUCCESS)
			return false;
	for (const struct recipient *r = m->changed; r; r = r->next)
		if (!strip(ctx, r))
			return false;
	snprintf(text, sizeof(text), "%s", batv_reason_name(m->mark));
	return !m->marked || smfi_insheader(ctx, 0, field, text) == MI_SUCCESS;
}

static sfsistat on_end(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);
	bool ok = s && s->m && edit(ctx, s->m);

	if (ok && s->m->reader)
		tell_all(s);
	if (s)
		TALLOC_FREE(s->m);
	if (ok)
		return SMFIS_CONTINUE;
	log_event(LOG_ERR, "-", "milter", "edit-failed");
	return SMFIS_TEMPFAIL;
}

/* --- the process --- */

/* What is not asked for is not sent; a body that nobody reads stops with its first piece. */
static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps,
			     unsigned long none1, unsigned long none2, unsigned long *want,
			     unsigned long *without, unsigned long *out1, unsigned long *out2)
{
	(void)ctx;
	(void)none1;
	(void)none2;
	*want = actions & ACTIONS;
	*without = steps & (SMFIP_NOHELO | SMFIP_NOEOH | SMFIP_NODATA | SMFIP_NOUNKNOWN |
			    SMFIP_SKIP | (work->tell < 0 ? SMFIP_NOBODY : 0));
	*out1 = *out2 = 0;
	return (actions & ACTIONS) == ACTIONS ? SMFIS_CONTINUE : SMFIS_REJECT;
}

static void describe(struct smfiDesc *d)
{
	static char name[] = "sekisho-batv";

	*d = (struct smfiDesc){.xxfi_name = name,
			       .xxfi_version = SMFI_VERSION,
			       .xxfi_flags = ACTIONS,
			       .xxfi_negotiate = on_negotiate,
			       .xxfi_connect = on_connect,
			       .xxfi_envfrom = on_from,
			       .xxfi_envrcpt = on_rcpt,
			       .xxfi_header = on_header,
			       .xxfi_body = on_body,
			       .xxfi_eom = on_end,
			       .xxfi_abort = on_abort,
			       .xxfi_close = on_close};
}

bool milter_open(const char *address, const char **err)
{
	struct smfiDesc d;
	struct addr a;
	uint16_t port;
	char text[ADDR_STRLEN], conn[ADDR_STRLEN + 16];

	if (!addr_parse_port(address, &a, &port, err))
		return false;
	snprintf(conn, sizeof(conn), "%s:%u@%s", addr_is4(&a) ? "inet" : "inet6", (unsigned)port,
		 addr_format(&a, text));
	describe(&d);
	errno = 0;
	if (smfi_register(d) == MI_SUCCESS && smfi_setconn(conn) == MI_SUCCESS &&
	    smfi_setbacklog(BACKLOG) == MI_SUCCESS && smfi_opensocket(false) == MI_SUCCESS)
		return true;
	*err = errno ? strerror(errno) : "libmilter refuses it";
	return false;
}

void milter_change(bool begin)
{
	if (begin)
		pthread_rwlock_wrlock(&rules);
	else
		pthread_rwlock_unlock(&rules);
}

static void *renewals(void *arg)
{
	int sig;

	for (;;)
		if (sigwait(arg, &sig) == 0 && sig == MILTER_RENEW)
			work->renew(work->arg);
	return NULL;
}

int milter_work(const struct milter_work *w)
{
	static sigset_t renew;
	pthread_t thread;
	int r;

	work = w;
	sigemptyset(&renew);
	sigaddset(&renew, MILTER_RENEW);
	if (pthread_sigmask(SIG_BLOCK, &renew, NULL) != 0 ||
	    pthread_create(&thread, NULL, renewals, &renew) != 0)
		fatal("no thread");
	r = smfi_main();
	/* No new sessions; those that are there may end. */
	for (int i = 0; i < MILTER_LINGER_S * 20 && sessions > 0; i++)
		usleep(50000);
	return r == MI_SUCCESS ? 0 : 1;
}
