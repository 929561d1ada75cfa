/*
 * snapshot - what ratelimitd remembers across a restart. Pure: bytes in and out.
 *
 * Record of counters: str account, i64 ms since last use, 8 buckets (messages and recipients by
 * minute, hour, day; held; refused), each u16 n and n times (u32 age of the slot's start in ms, u32
 * count); u16 n and n times (u64 hash, u32 age in ms) of recipients. Record of standing: str
 * account, u8 stage, i64 since, str rule, str why, str actor, i64 ms of grace left, i64 ms since it
 * began, u8 n and n times (u8 unit, u8 window, i64 limit, i64 expires, str reason).
 *
 * Trusted with a file that only we write; it is read as if anybody could have. The whole file is
 * checked before anything of it is taken. Diagnostics: the reason. Known gap: a file restored after
 * the UTC clock went back counts as written now.
 */
#include "ratelimit/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"
#include "lib/wire.h"
#include "ratelimit/hash.h"
#include "ratelimit/proto.h"

#define MAGIC	   0x534b524cu /* "SKRL" */
#define VERSION	   1
#define HEAD_BYTES 20
#define N_BUCKETS  (N_UNITS * N_WINDOWS + 2)
#define MAX_SLOTS  512
#define MAX_AGE_MS (int64_t) UINT32_MAX
#define BUCKET_MAX (2 + 8 * MAX_SLOTS)
/* The most one record takes: its buckets, the largest set of recipients, names and texts. */
#define RECORD_MAX (4096 + N_BUCKETS * BUCKET_MAX + 12 * UINT16_MAX)

struct out {
	struct limiter *l;
	const struct moment *now;
	struct wire_out w;
	uint32_t n;
};

static struct bucket *bucket_at(struct account *a, int i)
{
	if (i < N_UNITS * N_WINDOWS)
		return &a->used[i / N_WINDOWS][i % N_WINDOWS];
	return i == N_UNITS * N_WINDOWS ? &a->held : &a->refused;
}

static struct bucket_shape shape_at(const struct limiter *l, int i)
{
	if (i < N_UNITS * N_WINDOWS)
		return *limiter_shape(i % N_WINDOWS);
	return i == N_UNITS * N_WINDOWS ? *limiter_shape(WINDOW_DAY) : limiter_refused_shape(l);
}

/* Room for one more record, by doubling. */
static void reserve(struct wire_out *w)
{
	if (w->cap - w->len >= RECORD_MAX)
		return;
	size_t cap = w->cap * 2 + RECORD_MAX;
	uint8_t *p = realloc(w->buf, cap);
	if (!p)
		fatal("out of memory for a snapshot of %zu bytes", cap);
	w->buf = p;
	w->cap = cap;
}

static uint32_t age_of(const struct moment *now, int64_t t_ms)
{
	int64_t age = now->mono_ms - t_ms;
	return (uint32_t)(age < 0 ? 0 : age > MAX_AGE_MS ? MAX_AGE_MS : age);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void put_bucket(struct out *o, struct account *a, int i)
{
	struct bucket *b = bucket_at(a, i);
	struct bucket_shape s = shape_at(o->l, i);
	bucket_used(b, &s, o->now->mono_ms);
	wire_u16(&o->w, b->n);
	for (uint16_t k = 0; k < b->n; k++) {
		wire_u32(&o->w, age_of(o->now, (int64_t)b->slot[k].at * s.slot_ms));
		wire_u32(&o->w, b->slot[k].n);
	}
}

static void put_counters(struct account *a, void *arg)
{
	struct out *o = arg;
	reserve(&o->w);
	wire_str(&o->w, a->name);
	wire_i64(&o->w, age_of(o->now, a->node.used_ms));
	for (int i = 0; i < N_BUCKETS; i++)
		put_bucket(o, a, i);
	distinct_count(&a->seen, o->now->mono_ms, limiter_config(o->l)->detect.window_ms);
	wire_u16(&o->w, a->seen.n);
	for (uint16_t i = 0; i < a->seen.n; i++) {
		wire_u64(&o->w, a->seen.seen[i].hash);
		wire_u32(&o->w, age_of(o->now, a->seen.seen[i].last_ms));
	}
	o->n++;
}

static void put_overrides(struct out *o, const struct account *a)
{
	size_t count_at = o->w.len;
	uint8_t n = 0;
	wire_u8(&o->w, 0);
	for (uint8_t i = 0; a->over && i < N_UNITS * N_WINDOWS; i++) {
		if (!a->over[i].set)
			continue;
		wire_u8(&o->w, i / N_WINDOWS);
		wire_u8(&o->w, i % N_WINDOWS);
		wire_i64(&o->w, a->over[i].limit);
		wire_i64(&o->w, a->over[i].expires_ms);
		wire_str(&o->w, a->over[i].reason);
		n++;
	}
	o->w.buf[count_at] = n;
}

static void put_standing(struct account *a, void *arg)
{
	struct out *o = arg;
	struct rl_penalty none = {.stage = RL_NORMAL};
	int64_t grace = a->grace_until_ms - o->now->mono_ms;
	if (!a->penalty && !a->over && grace <= 0)
		return;
	reserve(&o->w);
	memcpy(none.account, a->name, strlen(a->name));
	proto_put_penalty(&o->w, a->penalty ? a->penalty : &none);
	wire_i64(&o->w, grace > 0 ? grace : 0);
	wire_i64(&o->w, grace > 0 ? age_of(o->now, a->released_ms) : 0);
	put_overrides(o, a);
	o->n++;
}

static void (*const writers[])(struct account *a, void *arg) = {
    [SNAPSHOT_COUNTERS] = put_counters,
    [SNAPSHOT_STANDING] = put_standing,
};

uint8_t *snapshot_encode(struct limiter *l, enum snapshot_kind kind, const struct moment *now,
			 size_t *len)
{
	struct out o = {.l = l, .now = now};
	wire_out_init(&o.w, NULL, 0);
	reserve(&o.w);
	wire_u32(&o.w, MAGIC);
	wire_u16(&o.w, VERSION);
	wire_u16(&o.w, (uint16_t)kind);
	wire_i64(&o.w, now->utc_ms);
	wire_u32(&o.w, 0);
	limiter_each(l, writers[kind], &o);
	reserve(&o.w);
	struct wire_out count;
	wire_out_init(&count, o.w.buf + HEAD_BYTES - 4, 4);
	wire_u32(&count, o.n);
	wire_u64(&o.w, hash_bytes(MAGIC, o.w.buf, o.w.len));
	bug_on(o.w.bad);
	*len = o.w.len;
	return o.w.buf;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct in {
	struct limiter *l;
	const struct moment *now;
	int64_t older_ms; /* time that went by since it was written */
	struct wire_in r;
	bool take; /* false: only check */
	size_t left_out;
};

/* Oldest slot first, each within the years a slot number can tell. */
static void get_bucket(struct in *in, struct account *a, int i)
{
	struct bucket_shape s = shape_at(in->l, i);
	uint16_t n = wire_get_u16(&in->r);
	int64_t last = INT64_MAX;
	if (n > MAX_SLOTS)
		in->r.bad = true;
	for (uint16_t k = 0; k < n && !in->r.bad; k++) {
		int64_t age = wire_get_u32(&in->r);
		uint32_t count = wire_get_u32(&in->r);
		if (age > last)
			in->r.bad = true;
		last = age;
		if (in->take && a)
			bucket_restore(bucket_at(a, i), &s, in->now->mono_ms, age + in->older_ms,
				       count);
	}
}

static void get_seen(struct in *in, struct account *a)
{
	int64_t window = limiter_config(in->l)->detect.window_ms;
	uint16_t n = wire_get_u16(&in->r);
	for (uint16_t i = 0; i < n && !in->r.bad; i++) {
		uint64_t hash = wire_get_u64(&in->r);
		int64_t t = in->now->mono_ms - in->older_ms - wire_get_u32(&in->r);
		if (in->take && a && in->now->mono_ms - t < window)
			distinct_add(&a->seen, t, window, limiter_distinct_max(in->l), &hash, 1);
	}
}

static struct account *account_for(struct in *in, const char *name, bool force)
{
	if (!in->take)
		return NULL;
	struct account *a = limiter_account(in->l, name, in->now, force);
	if (!a)
		in->left_out++;
	return a;
}

static void get_counters(struct in *in)
{
	char name[RL_ACCOUNT_MAX + 1];
	wire_get_str(&in->r, name, sizeof name);
	int64_t idle = wire_get_i64(&in->r);
	if (in->r.bad || name[0] == '\0' || idle < 0 || idle > MAX_AGE_MS) {
		in->r.bad = true;
		return;
	}
	struct account *a = account_for(in, name, false);
	if (a)
		a->node.used_ms = in->now->mono_ms - in->older_ms - idle;
	for (int i = 0; i < N_BUCKETS && !in->r.bad; i++)
		get_bucket(in, a, i);
	get_seen(in, a);
}

static void get_overrides(struct in *in, struct account *a)
{
	uint8_t n = wire_get_u8(&in->r);
	for (uint8_t i = 0; i < n && !in->r.bad; i++) {
		struct override o = {.set = true};
		uint8_t u = wire_get_u8(&in->r), w = wire_get_u8(&in->r);
		o.limit = wire_get_i64(&in->r);
		o.expires_ms = wire_get_i64(&in->r);
		wire_get_str(&in->r, o.reason, sizeof o.reason);
		if (u >= N_UNITS || w >= N_WINDOWS || o.limit < 0 || o.expires_ms < 0)
			in->r.bad = true;
		if (!in->r.bad && a)
			limiter_override(in->l, a->name, u, w, &o, in->now);
	}
}

/* What was seen before the release; the counters on disk may be older than it. */
static void forget_before_release(const struct in *in, struct account *a)
{
	int64_t now_ms = in->now->mono_ms;
	struct bucket_shape s = limiter_refused_shape(in->l);
	distinct_count(&a->seen, now_ms, now_ms - a->released_ms + 1);
	s.slots = (uint32_t)(now_ms / s.slot_ms - a->released_ms / s.slot_ms);
	bucket_used(&a->refused, &s, now_ms);
}

static void get_grace(struct in *in, struct account *a)
{
	int64_t left = wire_get_i64(&in->r), age = wire_get_i64(&in->r);
	if (left < 0 || left > MAX_AGE_MS || age < 0 || age > MAX_AGE_MS)
		in->r.bad = true;
	if (in->r.bad || !a || left <= in->older_ms)
		return;
	a->grace_until_ms = in->now->mono_ms + left - in->older_ms;
	a->released_ms = in->now->mono_ms - age - in->older_ms;
	forget_before_release(in, a);
}

static void get_standing(struct in *in)
{
	struct rl_penalty p;
	if (!proto_read_penalty(&in->r, &p))
		return;
	struct account *a = account_for(in, p.account, true);
	if (a && p.stage != RL_NORMAL)
		limiter_set_penalty(in->l, &p, in->now);
	get_grace(in, a);
	get_overrides(in, a);
}

static void (*const readers[])(struct in *in) = {
    [SNAPSHOT_COUNTERS] = get_counters,
    [SNAPSHOT_STANDING] = get_standing,
};

static bool checksum_ok(const uint8_t *data, size_t len)
{
	struct wire_in r;
	wire_in_init(&r, data + len - 8, 8);
	return wire_get_u64(&r) == hash_bytes(MAGIC, data, len - 8);
}

static bool head_ok(struct wire_in *r, enum snapshot_kind kind, int64_t *utc_ms, uint32_t *n,
		    const char **err)
{
	uint32_t magic = wire_get_u32(r);
	uint16_t version = wire_get_u16(r), k = wire_get_u16(r);
	*utc_ms = wire_get_i64(r);
	*n = wire_get_u32(r);
	if (r->bad || magic != MAGIC || k != kind || *utc_ms < 0)
		*err = "not a snapshot of this kind";
	else if (version != VERSION)
		*err = "written by another version of this program";
	else
		return true;
	return false;
}

static bool read_records(struct in *in, enum snapshot_kind kind, uint32_t n)
{
	for (uint32_t i = 0; i < n && !in->r.bad; i++)
		readers[kind](in);
	return wire_done(&in->r);
}

bool snapshot_decode(struct limiter *l, enum snapshot_kind kind, const struct moment *now,
		     const uint8_t *data, size_t len, size_t *left_out, const char **err)
{
	struct in in = {.l = l, .now = now};
	int64_t utc_ms;
	uint32_t n;
	*left_out = 0;
	*err = "cut short";
	if (len < HEAD_BYTES + 8)
		return false;
	wire_in_init(&in.r, data, len - 8);
	if (!head_ok(&in.r, kind, &utc_ms, &n, err))
		return false;
	*err = "damaged: its checksum is wrong";
	if (!checksum_ok(data, len))
		return false;
	struct wire_in records = in.r;
	*err = "damaged: a record is not valid";
	if (!read_records(&in, kind, n))
		return false;
	in.older_ms = now->utc_ms > utc_ms ? now->utc_ms - utc_ms : 0;
	in.r = records;
	in.take = true;
	bug_on(!read_records(&in, kind, n));
	*left_out = in.left_out;
	*err = NULL;
	return true;
}
