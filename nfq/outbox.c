/*
 * outbox - see outbox.h.
 *
 * Trusted with: that no count is told twice: a batch keeps its number, and the numbering its
 * instance, over restarts. Diagnostics: outbox_lost(). Known gaps: after a crash what was not
 * acknowledged is lost.
 */
#include <string.h>
#include <sys/queue.h>
#include <talloc.h>

#include "lib/proc.h"
#include "lib/wire.h"

#include "nfq/outbox.h"

#define MAGIC	  0x534b4e4fu /* "SKNO" */
#define FORMAT	  1
#define WINDOW	  4	       /* acctd has changes of policy to see to, too */
#define BATCH_MAX (256u << 10) /* that earlier versions wrote */

struct batch {
	STAILQ_ENTRY(batch) link;
	uint64_t seq;
	uint32_t n;
	bool sent;
	size_t len;
	uint8_t data[];
};

struct outbox {
	char instance[OUTBOX_INSTANCE];
	uint64_t next_seq, lost;
	size_t max_bytes, bytes, batches;
	STAILQ_HEAD(, batch) list;
	uint32_t n; /* of the batch being filled */
	size_t len;
	uint8_t filling[OUTBOX_BATCH_BYTES];
};

struct outbox *outbox_new(void *ctx, const char *instance, size_t max_bytes)
{
	struct outbox *o = talloc_zero(ctx, struct outbox);
	bug_on(!o || strlen(instance) >= sizeof o->instance);
	memcpy(o->instance, instance, strlen(instance));
	o->next_seq = 1;
	o->max_bytes = max_bytes;
	STAILQ_INIT(&o->list);
	return o;
}

const char *outbox_instance(const struct outbox *o)
{
	return o->instance;
}

static void drop_first(struct outbox *o)
{
	struct batch *b = STAILQ_FIRST(&o->list);
	STAILQ_REMOVE_HEAD(&o->list, link);
	o->bytes -= b->len;
	o->batches--;
	talloc_free(b);
}

static void append(struct outbox *o, uint64_t seq, uint32_t n, const uint8_t *data, size_t len)
{
	struct batch *b = talloc_size(o, sizeof *b + len);
	bug_on(!b);
	*b = (struct batch){.seq = seq, .n = n, .len = len};
	memcpy(b->data, data, len);
	STAILQ_INSERT_TAIL(&o->list, b, link);
	o->bytes += len;
	o->batches++;
	while (o->bytes > o->max_bytes && o->batches > 1) {
		o->lost += STAILQ_FIRST(&o->list)->n;
		drop_first(o);
	}
}

void outbox_seal(struct outbox *o)
{
	if (o->n == 0)
		return;
	append(o, o->next_seq++, o->n, o->filling, o->len);
	o->n = 0;
	o->len = 0;
}

void outbox_add(struct outbox *o, const struct event *e)
{
	size_t n = event_encode(e, o->filling + o->len, sizeof o->filling - o->len);
	if (n == 0) {
		outbox_seal(o);
		n = event_encode(e, o->filling, sizeof o->filling);
		bug_on(n == 0);
	}
	o->len += n;
	o->n++;
}

void outbox_send(struct outbox *o,
		 bool (*send)(uint64_t seq, uint32_t n, const uint8_t *data, size_t len, void *arg),
		 void *arg)
{
	struct batch *b;
	unsigned window = WINDOW;
	STAILQ_FOREACH(b, &o->list, link)
	{
		if (window-- == 0)
			return;
		if (!b->sent && !send(b->seq, b->n, b->data, b->len, arg))
			return;
		b->sent = true;
	}
}

void outbox_acked(struct outbox *o, uint64_t seq)
{
	while (!STAILQ_EMPTY(&o->list) && STAILQ_FIRST(&o->list)->seq <= seq)
		drop_first(o);
}

void outbox_resend(struct outbox *o)
{
	struct batch *b;
	STAILQ_FOREACH(b, &o->list, link)
	b->sent = false;
}

size_t outbox_bytes(const struct outbox *o)
{
	return o->bytes + o->len;
}

size_t outbox_batches(const struct outbox *o)
{
	return o->batches;
}

uint64_t outbox_lost(const struct outbox *o)
{
	return o->lost;
}

uint8_t *outbox_encode(struct outbox *o, void *ctx, size_t *len)
{
	struct wire_out w;
	struct batch *b;
	outbox_seal(o);
	size_t cap = 64 + sizeof o->instance + o->bytes + o->batches * 16;
	uint8_t *buf = talloc_array(ctx, uint8_t, cap);
	bug_on(!buf);
	wire_out_init(&w, buf, cap);
	wire_u32(&w, MAGIC);
	wire_u32(&w, FORMAT);
	wire_str(&w, o->instance);
	wire_u64(&w, o->next_seq);
	wire_u32(&w, (uint32_t)o->batches);
	STAILQ_FOREACH(b, &o->list, link)
	{
		wire_u64(&w, b->seq);
		wire_u32(&w, b->n);
		wire_bytes(&w, b->data, b->len);
	}
	bug_on(w.bad);
	*len = w.len;
	return buf;
}

/* A batch is what it says: n whole records. */
static bool batch_valid(const uint8_t *data, size_t len, uint32_t n)
{
	struct event e;
	while (n-- > 0) {
		size_t used = event_decode(data, len, &e);
		if (used == 0)
			return false;
		data += used;
		len -= used;
	}
	return len == 0;
}

struct outbox *outbox_decode(void *ctx, const uint8_t *data, size_t len, size_t max_bytes)
{
	struct wire_in r;
	char instance[OUTBOX_INSTANCE];
	wire_in_init(&r, data, len);
	if (wire_get_u32(&r) != MAGIC || wire_get_u32(&r) != FORMAT)
		return NULL;
	wire_get_str(&r, instance, sizeof instance);
	struct outbox *o = outbox_new(ctx, instance, max_bytes);
	o->next_seq = wire_get_u64(&r);
	uint64_t last = 0;
	for (uint32_t i = wire_get_u32(&r); i > 0 && !r.bad; i--) {
		size_t bytes;
		uint64_t seq = wire_get_u64(&r);
		uint32_t n = wire_get_u32(&r);
		const uint8_t *records = wire_get_bytes(&r, BATCH_MAX, &bytes);
		if (r.bad || seq <= last || seq >= o->next_seq || !batch_valid(records, bytes, n)) {
			r.bad = true;
			break;
		}
		append(o, seq, n, records, bytes);
		last = seq;
	}
	if (wire_done(&r) && instance[0] && o->next_seq > 0)
		return o;
	talloc_free(o);
	return NULL;
}
