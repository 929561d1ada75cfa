/*
 * outbox - see outbox.h.
 *
 * One batch is under way at a time, with a number of its own; the next is made when it is
 * acknowledged. After a reconnect the same batch goes out again under the same number, so that it
 * counts once.
 *
 * Diagnostics: `milter accounting-up` and `accounting-away` lines, the latter when something waits.
 * Known gaps: what waits is gone with the process.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "accounting/feed.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/milter/outbox.h"

#define BATCH 100

struct record {
	uint8_t *bytes;
	size_t len;
};

struct outbox {
	struct feed *feed;
	struct record ring[OUTBOX_MAX];
	size_t first, n;
	uint32_t under_way; /* of the first ones */
	uint64_t seq;	    /* of that batch */
	bool said;	    /* that it is away */
	struct outbox_state s;
};

static struct record *at(struct outbox *o, size_t i)
{
	return &o->ring[(o->first + i) % OUTBOX_MAX];
}

static void drop_first(struct outbox *o, size_t n)
{
	for (; n > 0; n--) {
		TALLOC_FREE(at(o, 0)->bytes);
		o->first = (o->first + 1) % OUTBOX_MAX;
		o->n--;
	}
}

static void send_batch(struct outbox *o)
{
	uint8_t *all;
	size_t len = 0;

	if (!o->under_way) {
		if (o->n == 0)
			return;
		o->under_way = o->n < BATCH ? (uint32_t)o->n : BATCH;
		o->seq++;
	}
	all = talloc_size(o, (size_t)BATCH * EVENT_MAX_BYTES);
	for (uint32_t i = 0; i < o->under_way; i++) {
		memcpy(all + len, at(o, i)->bytes, at(o, i)->len);
		len += at(o, i)->len;
	}
	(void)feed_send(o->feed, o->seq, o->under_way, all, len);
	talloc_free(all);
}

static void on_acked(uint64_t seq, void *arg)
{
	struct outbox *o = arg;

	if (!o->under_way || seq != o->seq)
		return;
	o->s.told += o->under_way;
	drop_first(o, o->under_way);
	o->under_way = 0;
	send_batch(o);
}

static void on_state(bool connected, void *arg)
{
	struct outbox *o = arg;

	if (connected && !o->s.connected)
		log_event(LOG_NOTICE, "-", "milter", "accounting-up", LI("waiting", o->n));
	o->s.connected = connected;
	o->said = false;
	if (connected)
		send_batch(o);
}

struct outbox *outbox_new(struct event_base *base, const char *run_dir, const char *instance)
{
	static const struct feed_handlers handlers = {.acked = on_acked, .state = on_state};
	struct outbox *o = talloc_zero(NULL, struct outbox);

	if (!o)
		fatal("out of memory");
	o->feed = feed_new(base, run_dir, "milter", instance, NULL, &handlers, o);
	return o;
}

/* What is under way may be on disk there already: it is kept, and the one after it goes. */
static void make_room(struct outbox *o)
{
	size_t gone = o->under_way;

	if (o->n < OUTBOX_MAX)
		return;
	talloc_free(at(o, gone)->bytes);
	for (size_t i = gone; i + 1 < o->n; i++)
		*at(o, i) = *at(o, i + 1);
	o->n--;
	o->s.lost++;
}

void outbox_add(struct outbox *o, const struct event *e)
{
	uint8_t buf[EVENT_MAX_BYTES];
	size_t len = event_encode(e, buf, sizeof(buf));

	bug_on(len == 0);
	make_room(o);
	*at(o, o->n) = (struct record){talloc_memdup(o, buf, len), len};
	if (!at(o, o->n)->bytes)
		fatal("out of memory");
	o->n++;
	if (!o->s.connected && !o->said) {
		o->said = true;
		log_event(LOG_WARNING, "-", "milter", "accounting-away", LI("waiting", o->n),
			  LS("action", "bounces wait in memory; start sekisho-acctd, or set "
				       "milter.tell = false"));
	}
	if (!o->under_way && o->s.connected)
		send_batch(o);
}

void outbox_state(const struct outbox *o, struct outbox_state *out)
{
	*out = o->s;
	out->waiting = (int64_t)o->n;
}

void outbox_free(struct outbox *o)
{
	if (!o)
		return;
	feed_free(o->feed);
	talloc_free(o);
}
