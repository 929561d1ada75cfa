/*
 * work - messages while they are with the relay role: split by destination, settled part by part.
 *
 * Purpose: every recipient gets one outcome, or the whole message goes back as if it had never been
 * here. Trusted with: reading the spool, the order journal before parent. Diagnostics: log lines of
 * outcomes the journal did not take. Known gaps: none.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/relay_int.h"

static void append(struct work_list *l, struct work *w)
{
	w->prev = l->last;
	w->next = NULL;
	*(l->last ? &l->last->next : &l->first) = w;
	l->last = w;
	l->n++;
}

static void take_out(struct work_list *l, struct work *w)
{
	*(w->prev ? &w->prev->next : &l->first) = w->next;
	*(w->next ? &w->next->prev : &l->last) = w->prev;
	w->prev = w->next = NULL;
	l->n--;
}

static struct work *find(const struct work_list *l, const char *id)
{
	struct work *w = l->first;

	while (w && strcmp(w->k.id, id) != 0)
		w = w->next;
	return w;
}

/* Out of our hands: no part of it is in a queue or on a connection any more. */
static void forget(struct relay *r, struct work *w)
{
	r->reserved -= w->reserved;
	take_out(&r->works, w);
	talloc_free(w);
}

/* --- results ----------------------------------------------------------------------------- */

static bool tx_settled(const struct smtp_tx *tx)
{
	for (uint32_t i = 0; i < tx->n; i++)
		if (!tx->rcpts[i].out.result)
			return false;
	return true;
}

static void fill_outcome(struct relay_outcome *o, const struct part *p, const char *via)
{
	memcpy(o->id, p->w->k.id, sizeof(o->id));
	o->attempt = p->w->k.attempt;
	o->more = p->w->open > 0;
	snprintf(o->via, sizeof(o->via), "%s", via);
	o->n = p->tx.n;
	for (uint32_t i = 0; i < o->n; i++)
		o->rcpts[i] = p->tx.rcpts[i].out;
}

void work_part_done(struct relay *r, struct part *p, const char *via)
{
	static struct relay_outcome o;
	struct work *w = p->w;

	bug_on(p->settled || !tx_settled(&p->tx));
	p->settled = true;
	p->peer = NULL;
	w->open--;
	fill_outcome(&o, p, via);
	bool ok = r->self ? orphan_append(r->self, &o) : journal_append(r->journal, &o);
	if (!ok)
		log_event(
		    LOG_CRIT, o.id, "relay", "journal-failed", LS("why", strerror(errno)),
		    LS("action", "a crash of msad in this moment would send the message again"));
	r->reserved -= o.n;
	w->reserved -= o.n;
	relay_tell_outcome(&o, r);
	if (w->open == 0)
		forget(r, w);
}

void work_part_settle(struct relay *r, struct part *p, uint8_t result, const char *status,
		      const char *why)
{
	for (uint32_t i = 0; i < p->tx.n; i++) {
		struct relay_rcpt *t = &p->tx.rcpts[i].out;
		if (t->result)
			continue;
		t->result = result;
		snprintf(t->status, sizeof(t->status), "%s", status);
		snprintf(t->reply, sizeof(t->reply), "%s", why);
	}
	work_part_done(r, p, "");
}

/* Nothing of w has an outcome, and nothing is on a connection, but for p. */
static bool only_waits(const struct work *w, const struct part *p)
{
	for (const struct part *s = w->parts; s; s = s->sibling)
		if (s != p && !s->settled)
			return false;
	return p->sibling == NULL && w->parts == p;
}

void work_part_later(struct relay *r, struct part *p, int64_t wait_ms, const char *why)
{
	struct work *w = p->w;

	if (!only_waits(w, p) || w->k.flags & WORK_SETTLE) {
		work_part_settle(r, p, RELAY_DEFERRED, dest_status(p->d, "4.4.1"), why);
		return;
	}
	relay_tell_back(r, w->k.id, BACK_LATER, dest_lane(p->d), wait_ms);
	forget(r, w);
}

/* What of w waits in queues is taken out of them, and off connections when with_peers. */
static void pull(struct work *w, bool with_peers)
{
	for (struct part *p = w->parts; p; p = p->sibling) {
		if (p->settled || (p->peer && (!with_peers || peer_committed(p->peer))))
			continue;
		if (p->peer)
			/* Closing without the final dot takes everything back. */
			peer_abort(p->peer);
		else if (p->d)
			dest_take_out(p->d, p);
		p->peer = NULL;
		p->settled = true;
		w->open--;
	}
}

void work_part_unreadable(struct relay *r, struct part *p)
{
	struct work *w = p->w;
	char id[QUEUE_ID_LEN + 1];

	memcpy(id, w->k.id, sizeof(id));
	p->peer = NULL;
	p->settled = true;
	w->open--;
	pull(w, true);
	if (w->open == 0) {
		forget(r, w);
		relay_tell_back(r, id, BACK_UNREADABLE, "", 0);
	}
}

bool work_recall(struct relay *r, const char *id)
{
	struct work *w = find(&r->intake, id);

	if (w) {
		take_out(&r->intake, w);
		talloc_free(w);
		relay_tell_back(r, id, BACK_RECALLED, "", 0);
		return true;
	}
	w = find(&r->works, id);
	if (!w)
		return false;
	pull(w, true);
	if (w->open == 0) {
		forget(r, w);
		relay_tell_back(r, id, BACK_RECALLED, "", 0);
	}
	return true;
}

void work_drop_all(struct relay *r)
{
	struct work *next;

	while ((next = r->intake.first)) {
		take_out(&r->intake, next);
		talloc_free(next);
	}
	for (struct work *w = r->works.first; w; w = next) {
		next = w->next;
		pull(w, true);
		if (w->open == 0)
			forget(r, w);
	}
}

/* --- splitting ----------------------------------------------------------------------------- */

static struct part *part_for(struct work *w, struct dest *d, uint32_t room)
{
	struct part *p = w->parts, **end = &w->parts;

	for (; p; end = &p->sibling, p = p->sibling)
		if (p->d == d)
			return p;
	p = talloc_zero(w, struct part);
	if (!p)
		fatal("out of memory");
	p->w = w;
	p->d = d;
	p->tx = (struct smtp_tx){
	    .mail_from = w->env->mail_from_out, .size = w->env->size, .esmtp = w->env->esmtp};
	p->tx.rcpts = talloc_zero_array(p, struct smtp_rcpt, room);
	if (!p->tx.rcpts)
		fatal("out of memory");
	*end = p;
	w->open++;
	return p;
}

static struct smtp_rcpt *add_rcpt(struct part *p, const struct spool_rcpt *t)
{
	struct smtp_rcpt *x = &p->tx.rcpts[p->tx.n++];

	x->address = t->address;
	x->esmtp = t->esmtp;
	x->out.idx = t->idx;
	return x;
}

static void decide_here(struct smtp_rcpt *t, const struct route_choice *c)
{
	bool discard = c->act == ROUTE_DISCARD;

	t->out.result = discard ? RELAY_DELIVERED : RELAY_BOUNCED;
	snprintf(t->out.status, sizeof(t->out.status), "%s", discard ? "2.0.0" : c->status);
	snprintf(t->out.reply, sizeof(t->out.reply), "%s",
		 discard ? "discarded, as the transport map says" : c->text);
	t->out.dsn = discard;
}

/* The fallback is for servers that are down. What was kept back for the sake of its safety does not
 * go another way that proves nothing. */
static bool stays_safe(const struct work *w, const struct spool_rcpt *t,
		       const struct route_choice *c)
{
	bool kept_back = w->env->esmtp.requiretls || strcmp(t->status, STATUS_INSECURE) == 0 ||
			 strcmp(t->status, "4.7.10") == 0;

	return !c->fallback || c->route->tls == ROUTE_TLS_VERIFY || !kept_back;
}

static void choose(struct relay *r, const struct work *w, const struct spool_rcpt *t,
		   struct route_choice *c)
{
	struct route_ask ask = {
	    .rcpt = t->address, .attempts = w->k.attempt, .suspect = w->k.flags & WORK_SUSPECT};

	route_choose(r->table, &ask, c);
	if (!stays_safe(w, t, c)) {
		ask.attempts = 0;
		route_choose(r->table, &ask, c);
	}
	route_override(r->table, w->env->route, &ask, c);
}

/* Only where a policy of the recipient's domain may have a say. REQUIRETLS is stronger (RFC 8689
 * 5). */
static bool goes_lax(struct relay *r, const struct work *w, const struct route_choice *c,
		     int *asked)
{
	if (w->env->esmtp.requiretls || !c->domain[0] || c->route->tls != ROUTE_TLS_DANE)
		return false;
	if (*asked < 0)
		*asked = body_tls_optional(r, w);
	return *asked;
}

static void split(struct relay *r, struct work *w)
{
	int asked = -1;

	for (uint32_t i = 0; i < w->env->n; i++) {
		const struct spool_rcpt *t = &w->env->rcpts[i];
		struct route_choice c;
		choose(r, w, t, &c);
		bool to = c.act == ROUTE_TO;
		struct part *p =
		    part_for(w, to ? dest_of(r, &c, goes_lax(r, w, &c, &asked)) : NULL, w->env->n);
		struct smtp_rcpt *x = add_rcpt(p, t);
		if (c.act != ROUTE_TO)
			decide_here(x, &c);
	}
}

/* Everything of it would have to wait. */
static const struct part *all_wait(const struct work *w, int64_t *wait)
{
	*wait = INT64_MAX;
	for (const struct part *p = w->parts; p; p = p->sibling) {
		if (!p->d)
			return NULL;
		int64_t ms = dest_wait(p->d);
		if (ms == 0 && !dest_full(p->d))
			return NULL;
		if (ms == 0)
			ms = 200 + relay_random() % 200;
		*wait = ms < *wait ? ms : *wait;
	}
	return w->parts;
}

/* Each part goes where it belongs; what has an outcome at once gets it last, when the others are in
 * their queues. */
static void begin(struct relay *r, struct work *w)
{
	struct part *first = w->parts, *here = NULL, *next;
	uint32_t left = w->open;

	for (struct part *p = first; p; p = p->sibling) {
		if (!p->d)
			here = p;
		else if (dest_wait(p->d) == 0)
			dest_put(p->d, p);
	}
	for (struct part *p = first; p && left; p = next, left--) {
		next = p->sibling;
		if (p == here || dest_wait(p->d) == 0)
			continue;
		bool last = w->open == 1;
		char why[RELAY_REPLY_MAX + 1];
		snprintf(why, sizeof(why), "not tried, it was down a moment ago: %.390s",
			 p->d->why);
		work_part_settle(r, p, RELAY_DEFERRED, dest_status(p->d, "4.4.1"), why);
		if (last)
			return;
	}
	if (here)
		work_part_done(r, here, "");
}

/* False: it waits for room in the journal. */
static bool take_in(struct relay *r, struct work *w)
{
	if (!w->env) {
		enum spool_found f =
		    spool_read_envelope(r->spool, w, w->k.key, RELAY_RCPTS_MAX, &w->env);
		if (f != SPOOL_FOUND || w->env->n == 0 || strcmp(w->env->id, w->k.id) != 0) {
			take_out(&r->intake, w);
			relay_tell_back(r, w->k.id,
					f == SPOOL_GONE ? BACK_RECALLED : BACK_UNREADABLE, "", 0);
			talloc_free(w);
			return true;
		}
	}
	if (journal_room(r->journal) < r->reserved + w->env->n)
		return false;
	take_out(&r->intake, w);
	append(&r->works, w);
	r->reserved += w->reserved = w->env->n;
	split(r, w);
	int64_t wait;
	const struct part *p = w->k.flags & WORK_SETTLE ? NULL : all_wait(w, &wait);
	if (p) {
		relay_tell_back(r, w->k.id, BACK_LATER, p->sibling ? "" : dest_lane(p->d), wait);
		forget(r, w);
	} else {
		begin(r, w);
	}
	return true;
}

void work_intake(struct relay *r)
{
	if (r->draining || !r->up || !r->table)
		return;
	while (r->intake.first && take_in(r, r->intake.first))
		;
	dest_pump_all(r);
}

void work_add(struct relay *r, const struct relay_work *k)
{
	struct work *w = talloc_zero(NULL, struct work);

	if (!w)
		fatal("out of memory");
	w->k = *k;
	append(&r->intake, w);
	work_intake(r);
}
