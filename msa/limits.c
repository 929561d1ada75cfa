/*
 * limits - see limits.h.
 *
 * Diagnostics: `limits` lines for each penalty and when ratelimitd comes or goes.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/limits.h"

struct penalty {
	char *account, *why;
	enum rl_stage stage;
	uint64_t seen; /* the connection that named it last */
};

struct limits {
	struct rl *rl;
	struct queue *q;
	struct penalty *p; /* sorted by account */
	size_t n;
	uint64_t connection;
	void (*suspended)(const char *account, const char *why, void *arg);
	void *arg;
};

/* The place of account, or where it would go. */
static size_t place(const struct limits *l, const char *account, bool *there)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(l->p[mid].account, account);

		if (c == 0) {
			*there = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*there = false;
	return lo;
}

static void erase(struct limits *l, size_t i)
{
	if (l->q)
		queue_suspect_account(l->q, l->p[i].account, false);
	talloc_free(l->p[i].account);
	talloc_free(l->p[i].why);
	l->n--;
	memmove(&l->p[i], &l->p[i + 1], (l->n - i) * sizeof(*l->p));
}

static struct penalty *insert(struct limits *l, size_t i, const char *account)
{
	if (l->n % 64 == 0)
		l->p = talloc_realloc(l, l->p, struct penalty, (unsigned)l->n + 64);
	memmove(&l->p[i + 1], &l->p[i], (l->n - i) * sizeof(*l->p));
	l->p[i] = (struct penalty){.account = talloc_strdup(l, account)};
	l->n++;
	return &l->p[i];
}

static void release(struct limits *l, const char *account)
{
	bool there;
	size_t i = place(l, account, &there);

	if (l->q && (!there || l->p[i].stage >= RL_HOLD))
		queue_release_account(l->q, account);
	if (there)
		erase(l, i);
}

/* What is only watched or slowed down goes out, by the route of suspects; the rest stays here. */
static void take_to_queue(struct limits *l, const struct rl_penalty *p)
{
	if (!l->q)
		return;
	queue_suspect_account(l->q, p->account, true);
	if (p->stage >= RL_HOLD)
		queue_hold_account(l->q, p->account, p->why);
}

static void on_penalty(const struct rl_penalty *p, void *arg)
{
	struct limits *l = arg;
	struct penalty *mine;
	bool there;
	size_t i = place(l, p->account, &there);

	if (!there || l->p[i].stage != p->stage)
		log_event(LOG_NOTICE, p->account, "limits", rl_stage_name(p->stage),
			  LS("rule", p->rule), LS("why", p->why), LS("actor", p->actor));
	if (p->stage == RL_NORMAL) {
		release(l, p->account);
		return;
	}
	mine = there ? &l->p[i] : insert(l, i, p->account);
	mine->stage = p->stage;
	mine->seen = l->connection;
	talloc_free(mine->why);
	mine->why = talloc_strdup(l, p->why);
	take_to_queue(l, p);
	if (p->stage == RL_SUSPEND)
		l->suspended(p->account, p->why, l->arg);
}

static void on_synced(void *arg)
{
	struct limits *l = arg;
	const char **held;
	size_t n = 0;

	for (size_t i = l->n; i-- > 0;)
		if (l->p[i].seen != l->connection)
			erase(l, i);
	held = talloc_array(l, const char *, (unsigned)l->n + 1);
	for (size_t i = 0; i < l->n; i++)
		if (l->p[i].stage >= RL_HOLD)
			held[n++] = l->p[i].account;
	if (l->q)
		queue_holds_synced(l->q, held, n);
	talloc_free(held);
	log_event(LOG_INFO, "-", "limits", "synced", LI("penalties", l->n));
}

static void on_state(bool connected, void *arg)
{
	struct limits *l = arg;

	if (connected)
		l->connection++;
	log_event(connected ? LOG_INFO : LOG_WARNING, "-", "limits",
		  connected ? "connected" : "disconnected");
}

struct limits *limits_new(struct event_base *base, const char *run_dir, int deadline_ms,
			  struct queue *q,
			  void (*suspended)(const char *account, const char *why, void *arg),
			  void *arg)
{
	static const struct rl_handlers handlers = {
	    .penalty = on_penalty, .synced = on_synced, .state = on_state};
	struct limits *l = talloc_zero(NULL, struct limits);

	l->q = q;
	l->suspended = suspended;
	l->arg = arg;
	l->rl = rl_new(base, run_dir, deadline_ms, &handlers, l);
	return l;
}

struct rl *limits_rl(struct limits *l)
{
	return l->rl;
}

bool limits_connected(const struct limits *l)
{
	return rl_connected(l->rl);
}

const char *limits_suspended(const struct limits *l, const char *account)
{
	bool there;
	size_t i = place(l, account, &there);

	return there && l->p[i].stage == RL_SUSPEND ? l->p[i].why : NULL;
}

uint64_t limits_hash(const char *text)
{
	return text[0] ? rl_hash(text) : 0;
}

void limits_saw_login(struct limits *l, bool ok, const char *account, const struct addr *client,
		      const char *ehlo, const char *tls)
{
	struct rl_observation o = {.what = ok ? RL_SEEN_LOGIN : RL_SEEN_LOGIN_FAILED,
				   .account = account ? account : "",
				   .client = *client,
				   .t_ms = clock_utc_ms(),
				   .text = ehlo,
				   .ehlo_hash = rl_hash(ehlo),
				   .tls_hash = limits_hash(tls),
				   .n = 1};

	(void)rl_observe(l->rl, &o);
}

void limits_saw_rejected(struct limits *l, const char *account, const struct addr *client,
			 const char *status, uint32_t n)
{
	struct rl_observation o = {.what = RL_SEEN_REJECTED,
				   .account = account ? account : "",
				   .client = *client,
				   .t_ms = clock_utc_ms(),
				   .text = status,
				   .n = n};

	(void)rl_observe(l->rl, &o);
}

void limits_saw_delivery(struct limits *l, const struct event *e)
{
	char text[RL_TEXT_MAX + 1];
	const char *reply = e->u.delivery.reply, *status = e->u.delivery.status;
	struct rl_observation o = {.what = RL_SEEN_RESULT,
				   .account = e->u.delivery.account,
				   .client = e->src,
				   .rcpt = e->u.delivery.rcpt,
				   .t_ms = e->t_ms,
				   .text = text,
				   .rcpt_hash = rl_hash(e->u.delivery.rcpt),
				   .message = limits_hash(e->u.delivery.queue_id),
				   .n = 1,
				   .class = e->u.delivery.answer};

	if (o.account[0] == '\0')
		return;
	/* What was no reply of a server has a status alone. */
	if (reply[0] >= '2' && reply[0] <= '5')
		answer_abridge(text, sizeof(text), reply);
	else
		snprintf(text, sizeof(text), "%c50 %s", status[0], status);
	(void)rl_observe(l->rl, &o);
}

void limits_saw_bounce(struct limits *l, const char *account, const char *status)
{
	struct rl_observation o = {.what = RL_SEEN_BOUNCE,
				   .account = account,
				   .t_ms = clock_utc_ms(),
				   .text = status,
				   .n = 1};

	(void)rl_observe(l->rl, &o);
}

size_t limits_penalties(const struct limits *l)
{
	return l->n;
}

void limits_leave_queue(struct limits *l)
{
	l->q = NULL;
}

void limits_free(struct limits *l)
{
	rl_free(l->rl);
	talloc_free(l);
}
