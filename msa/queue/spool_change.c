/*
 * spool_change - changes of messages and accounts: holds, times, routes, moves; what accounting
 * has.
 *
 * Purpose: each is a record of the transaction under way. Trusted with: the writing handle.
 * Diagnostics: enum queue_result. Known gaps: none.
 */
#include <errno.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/queue/spool_int.h"

/* Nothing but times: with a short disk they are not written down. */
static bool only_times(const struct envelope *e, const struct spool_change *c)
{
	return e->hold == c->hold && (!c->route || strcmp(e->route, c->route) == 0);
}

enum queue_result spool_update(struct spool *s, int64_t key, const struct spool_change *c)
{
	void *ctx = talloc_new(s);
	struct record r;
	struct envelope e;
	bool found = false;
	enum queue_result q =
	    ctx ? spool_get_sound(s, ctx, key, &r, &e, &found) : spool_no_memory(s);

	if (q == QUEUE_OK && found && !(spool_room(s) != ROOM_ENOUGH && only_times(&e, c))) {
		e.hold = c->hold;
		e.next_ms = c->next_ms < 0 ? e.next_ms : c->next_ms;
		e.life_from_ms = c->life_from_ms < 0 ? e.life_from_ms : c->life_from_ms;
		e.route = c->route ? c->route : e.route;
		q = spool_put_envelope(s, &e, NULL);
	}
	talloc_free(ctx);
	return q;
}

static enum queue_result no_room_to_move(struct spool *s)
{
	errno = ENOSPC;
	return spool_errno(s, "moving a message");
}

static void count_moved(struct spool *s, const struct entry *was)
{
	struct segment *env = table_segment(&s->table, place_seg(was->env)),
		       *body = table_segment(&s->table, place_seg(was->body));

	if (env)
		env->moved += was->env_size;
	if (body)
		body->moved += was->body_size;
}

/* One that the disk does not give now stays where it is. */
enum queue_result spool_move(struct spool *s, int64_t key)
{
	void *ctx = talloc_new(s);
	struct record r;
	struct envelope e;
	bool found = false;
	size_t len;
	enum spool_found f;
	enum queue_result q =
	    ctx ? spool_get_sound(s, ctx, key, &r, &e, &found) : spool_no_memory(s);

	if (q == QUEUE_OK && found) {
		const struct entry was = *table_find(&s->table, key);
		const uint8_t *body = spool_get_body(s, ctx, e.body, SIZE_MAX, &len, true, &q);
		if (body && s->cur.piece && spool_room(s) == ROOM_TIGHT)
			q = no_room_to_move(s);
		else if (body && (q = spool_put_envelope(s, &e, body)) == QUEUE_OK)
			count_moved(s, &was);
		else if (!body)
			if (q == QUEUE_ERROR && s->unread != SPOOL_FOUND)
				q = spool_check(s, key, &f);
	} else if (q == QUEUE_ERROR && s->unread == SPOOL_FAILED) {
		q = QUEUE_OK;
	}
	talloc_free(ctx);
	return q;
}

/* --- holds, outbox ------------------------------------------------------------------------- */

void spool_set_hold(struct spool *s, const char *account, const char *why)
{
	struct hold **p = &s->holds;

	while (*p && strcmp((*p)->account, account) != 0)
		p = &(*p)->next;
	struct hold *old = *p, *h;
	if (old) {
		*p = old->next;
		talloc_free(old);
	}
	if (!why)
		return;
	h = talloc_zero(s, struct hold);
	if (!h || !(h->account = talloc_strdup(h, account)) || !(h->why = talloc_strdup(h, why)))
		fatal("out of memory");
	h->next = *p;
	*p = h;
}

static enum queue_result change_hold(struct spool *s, const char *account, const char *why)
{
	struct hold *h = talloc_zero(s, struct hold);
	size_t cap = 20 + strlen(account) + (why ? strlen(why) : 0);
	uint8_t *buf = talloc_size(h, cap);
	struct wire_out w;

	if (!h || !buf)
		return spool_no_memory(s);
	h->account = talloc_strdup(h, account);
	h->why = why ? talloc_strdup(h, why) : NULL;
	wire_out_init(&w, buf, cap);
	wire_str(&w, account);
	wire_u8(&w, why != NULL);
	wire_str(&w, why ? why : "");
	*s->new_holds_end = h;
	s->new_holds_end = &h->next;
	return h->account && (!why || h->why) ? spool_put(s, REC_HOLD, buf, w.len, NULL, 0, NULL)
					      : spool_no_memory(s);
}

enum queue_result spool_hold_account(struct spool *s, const char *account, const char *why)
{
	return change_hold(s, account, why);
}

enum queue_result spool_release_account(struct spool *s, const char *account)
{
	return change_hold(s, account, NULL);
}

enum queue_result spool_outbox_forget(struct spool *s, uint64_t seq)
{
	uint8_t buf[8];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	wire_u64(&w, seq);
	if (seq > s->new_acked)
		s->new_acked = seq;
	return spool_put(s, REC_ACK, buf, w.len, NULL, 0, NULL);
}
