/*
 * store_event - batches of events become rows and rollups (contract in store.h).
 *
 * Several batches may share one transaction (a group): the first begins it, store_flush() commits
 * it. Rollups are written in the transaction of the rows they count. Port-25 packets, logins and
 * refusals are rows of 5 minutes, never one a packet.
 *
 * Diagnostics: metrics of feed_server; the store's error lines. Known gaps: dsts of a 5-minute row
 * is the most seen in one interval of nfqd, an estimate from below.
 */
#include <string.h>

#include "lib/log.h"
#include "lib/proc.h"
#include "accounting/store_int.h"

#define MINUTE_MS 60000
#define ROW_MS	  (5 * MINUTE_MS)

static int64_t bucket(int64_t t_ms, int64_t width)
{
	int64_t r = t_ms % width;
	return t_ms - (r < 0 ? r + width : r);
}

void store_count(struct store *s, const char *metric, int64_t t_ms, int64_t n)
{
	if (n)
		sql_run(DB, ST_ROLLUP, QS(metric), QI(bucket(t_ms, MINUTE_MS)), QI(n));
}

struct account_counts {
	int64_t messages, rcpts, held, refused, bounced;
};

static void count_account(struct store *s, int64_t account, int64_t t_ms,
			  const struct account_counts *c)
{
	if (account)
		sql_run(DB, ST_ACCOUNT_ROLLUP, QI(bucket(t_ms, ROW_MS)), QI(account),
			QI(c->messages), QI(c->rcpts), QI(c->held), QI(c->refused), QI(c->bounced),
			QI(t_ms));
}

void store_count_bounced(struct store *s, int64_t account, int64_t t_ms)
{
	count_account(s, account, t_ms, &(struct account_counts){.bounced = 1});
}

static void put_block(struct store *s, const struct event *e)
{
	sql_run(DB, ST_EV_BLOCK, QI(bucket(e->t_ms, ROW_MS)), QI(e->kind), QA(&e->src),
		QI(e->u.block.packets), QI(e->u.block.dsts), QI(e->u.block.first_ms), QI(e->t_ms),
		QA(&e->u.block.last_dst), QI(e->u.block.plen));
	if (e->kind == EVENT_BLOCK) {
		store_count(s, "blocked", e->t_ms, e->u.block.packets);
		return;
	}
	store_count(s, "passed", e->t_ms, e->u.block.packets);
	/* Told after the interval: by now another exemption may be there, or none. */
	sql_run(DB, ST_EXEMPT_SEEN, QA(&e->src), QI(e->u.block.packets), QI(e->t_ms),
		QI(e->u.block.first_ms));
}

static void put_login(struct store *s, const struct event *e)
{
	/* Only a login that succeeded makes an account: the names of failed ones are anybody's
	 * invention. */
	if (e->u.login.ok && e->u.login.account[0])
		(void)store_account_seen(s, e->u.login.account, e->t_ms);
	sql_run(DB, ST_EV_LOGIN, QI(bucket(e->t_ms, ROW_MS)), QS(e->u.login.account), QA(&e->src),
		QI(e->u.login.ok), QI(e->t_ms), QS(e->u.login.mech), QS(e->u.login.session),
		QS(e->u.login.reason), QS(e->u.login.tls));
	if (e->u.login.ok && e->u.login.account[0])
		store_spray_login(s, e);
	store_count(s, e->u.login.ok ? "login_ok" : "login_failed", e->t_ms, 1);
}

static void put_message(struct store *s, const struct event *e)
{
	int64_t account = store_account_seen(s, e->u.message.account, e->t_ms);
	sql_run(DB, ST_EV_MESSAGE, QI(e->t_ms), QI(account), QA(&e->src), QI(e->src_port),
		QS(e->u.message.session), QS(e->u.message.queue_id), QS(e->u.message.token),
		QS(e->u.message.mail_from), QS(e->u.message.message_id),
		QS(e->u.message.rcpt_domains), QI(e->u.message.rcpts), QI(e->u.message.size),
		QI(e->u.message.held));
	store_count(s, "accepted", e->t_ms, 1);
	store_count(s, "held", e->t_ms, e->u.message.held);
	count_account(s, account, e->t_ms,
		      &(struct account_counts){
			  .messages = 1, .rcpts = e->u.message.rcpts, .held = e->u.message.held});
}

static void put_delivery(struct store *s, const struct event *e)
{
	static const char *const metric[] = {[EVENT_DELIVERED] = "delivered",
					     [EVENT_BOUNCED] = "bounced",
					     [EVENT_DEFERRED] = "deferred"};
	const char *login = e->u.delivery.account;
	int64_t account = login[0] ? store_account_seen(s, login, e->t_ms) : 0;
	sql_run(DB, ST_EV_DELIVERY, QI(e->t_ms), QZ(account), QS(e->u.delivery.queue_id),
		QS(e->u.delivery.rcpt), QS(e->u.delivery.status), QS(e->u.delivery.reply),
		QI(e->u.delivery.result), QI(e->u.delivery.answer), QS(e->u.delivery.server),
		QS(e->u.delivery.tls), QS(e->u.delivery.cipher), QS(e->u.delivery.proof));
	store_count(s, metric[e->u.delivery.result], e->t_ms, 1);
	if (e->u.delivery.result == EVENT_BOUNCED)
		store_count_bounced(s, account, e->t_ms);
}

static void put_refuse(struct store *s, const struct event *e)
{
	const char *login = e->u.refuse.account;
	int64_t account = login[0] ? store_account_seen(s, login, e->t_ms) : 0;
	sql_run(DB, ST_EV_REFUSE, QI(bucket(e->t_ms, ROW_MS)), QS(login), QA(&e->src),
		QS(e->u.refuse.status), QI(e->u.refuse.rcpts), QI(e->t_ms), QS(e->u.refuse.session),
		QS(e->u.refuse.reason));
	store_count(s, "refused", e->t_ms, 1);
	count_account(s, account, e->t_ms, &(struct account_counts){.refused = 1});
}

static void put_bounce(struct store *s, const struct event *e)
{
	(void)store_bounce(s, e);
}

static void put_event(struct store *s, const struct event *e)
{
	static void (*const put[])(struct store *, const struct event *) = {
	    [EVENT_BLOCK] = put_block,	     [EVENT_PASS] = put_block,
	    [EVENT_LOGIN] = put_login,	     [EVENT_MESSAGE] = put_message,
	    [EVENT_DELIVERY] = put_delivery, [EVENT_REFUSE] = put_refuse,
	    [EVENT_SUSPECT] = store_suspect, [EVENT_SPRAY] = store_spray,
	    [EVENT_BOUNCE] = put_bounce,
	};
	put[e->kind](s, e);
}

static void put_records(struct store *s, uint32_t n, const uint8_t *p, size_t len)
{
	struct event e;
	for (uint32_t i = 0; i < n && !sql_error(DB); i++) {
		size_t used = event_decode(p, len, &e);
		bug_on(used == 0); /* the feed server has looked at each */
		put_event(s, &e);
		p += used;
		len -= used;
	}
}

static void end_group(struct store *s, bool ok)
{
	s->group = false;
	if (s->hooks.flushed)
		s->hooks.flushed(ok, s->arg);
}

static void open_group(struct store *s)
{
	if (s->group)
		return;
	store_begin(s);
	s->group = true;
}

enum store_batch store_batch(struct store *s, const char *program, const char *instance,
			     uint64_t seq, uint32_t n, const uint8_t *records, size_t len,
			     int64_t now_ms)
{
	bool seen = false;
	open_group(s);
	if (sql_first(DB, ST_SEQ, QS(program), QS(instance))) {
		seen = (uint64_t)sql_int(DB, ST_SEQ, 0) >= seq;
		sql_end(DB, ST_SEQ);
	}
	if (!seen) {
		put_records(s, n, records, len);
		sql_run(DB, ST_SEQ_SET, QS(program), QS(instance), QI(seq), QI(now_ms));
	}
	if (!sql_error(DB))
		return seen ? BATCH_SEEN : BATCH_STORED;
	log_event(LOG_ERR, program, "store", "batch-failed", LI("seq", seq),
		  LS("why", sql_error(DB)));
	store_rollback(s);
	end_group(s, false);
	return BATCH_FAILED;
}

bool store_group_open(const struct store *s)
{
	return s->group;
}

void store_flush(struct store *s)
{
	if (!s->group)
		return;
	s->group = false; /* so that whatever the hook does begins anew */
	end_group(s, store_commit(s, NULL, NULL));
}
