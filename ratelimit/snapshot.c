/*
 * snapshot - what ratelimitd remembers across a restart. Pure: bytes in and out.
 *
 * Record of counters: u8 key, bytes name, u32 seconds since last use, series main, u8 more; when
 * more is 1: three series (traffic, login, watch), u32 ms since a refusal was counted plus one (0:
 * never), u8 n and n sets, each str limit ("": the detector's), u32 cap, then for cap 0: nine times
 * u32 slots ago plus one (0: unused) and, when used, 1024 registers; else u32 n and n times u64
 * hash, u32 age in ms. A series: u16 n, u8 wide, n times u32 age in ms and two counts (u16, or u32
 * when wide).
 *
 * Record of standing: u8 target, str name, u8 what follows: 1 penalty, 2 class (str, terms), 4
 * grace (i64 ms left, i64 ms since it began), 8 overrides (u8 n, n times str limit, i64 max, u8
 * mode, terms). terms: i64 expires, i64 set, str reason, str actor.
 *
 * Version 2 is the first that a program outside its makers wrote. Whoever changes a record raises it
 * and goes on reading the one before: holds and overrides are in these files.
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
#include "ratelimit/proto.h"

#define MAGIC	    0x534b524cu /* "SKRL" */
#define VERSION	    2
#define HEAD_BYTES  20
#define MAX_AGE_MS  (int64_t) UINT32_MAX
#define MAX_ENTRIES (POOL_MAX / SERIES_NARROW_BYTES)
#define SERIES_MAX  (3 + (size_t)SERIES_WIDE_BYTES * MAX_ENTRIES)
#define SET_MAX	    (64 + UNIQ_SLOTS * (4 + UNIQ_REGISTERS) + 12 * UNIQ_MAX_CAP)
/* The most one record takes. */
#define RECORD_MAX (4096 + 4 * SERIES_MAX + (LIMITS_MAX_SETS + 1) * SET_MAX)

enum { HAS_PENALTY = 1, HAS_CLASS = 2, HAS_GRACE = 4, HAS_OVERRIDES = 8 };

struct out {
	struct limiter *l;
	const struct moment *now;
	struct wire_out w;
	uint32_t n;
};

/* Room for one more record, by doubling. */
static void reserve(struct wire_out *w, size_t need)
{
	if (w->cap - w->len >= need)
		return;
	size_t cap = w->cap * 2 + need;
	uint8_t *p = realloc(w->buf, cap);
	if (!p)
		fatal("out of memory for a snapshot of %zu bytes", cap);
	w->buf = p;
	w->cap = cap;
}

/* A checksum of eight bytes at a time: a file of a million accounts is read within the second. */
uint64_t snapshot_sum(const uint8_t *data, size_t len)
{
	uint64_t h[4] = {MAGIC, 1, 2, len}, v;
	size_t i = 0;
	for (; i + 32 <= len; i += 32)
		for (int k = 0; k < 4; k++) {
			memcpy(&v, data + i + 8 * (size_t)k, 8);
			h[k] = (h[k] ^ v) * 0x9e3779b97f4a7c15ULL;
			h[k] ^= h[k] >> 32;
		}
	for (; i < len; i++)
		h[0] = (h[0] ^ data[i]) * 0x100000001b3ULL;
	for (int k = 1; k < 4; k++)
		h[0] = (h[0] ^ h[k]) * 0xff51afd7ed558ccdULL ^ h[0] >> 29;
	return h[0] ^ h[0] >> 31;
}

/* --- writing counters ------------------------------------------------------------------------- */

static uint32_t age_of(const struct out *o, uint32_t t)
{
	uint32_t age = (uint32_t)o->now->mono_ms - t;
	return age > UINT32_MAX - (1u << 29) ? 0 : age;
}

static void put_series(struct out *o, const struct series *v)
{
	wire_u16(&o->w, (uint16_t)v->n);
	wire_u8(&o->w, v->wide);
	for (uint32_t i = 0; i < v->n; i++) {
		uint32_t t, a, b;
		series_get(v, i, &t, &a, &b);
		wire_u32(&o->w, age_of(o, t));
		if (v->wide) {
			wire_u32(&o->w, a);
			wire_u32(&o->w, b);
		} else {
			wire_u16(&o->w, (uint16_t)a);
			wire_u16(&o->w, (uint16_t)b);
		}
	}
}

static uint32_t slot_number(int64_t now_ms, int64_t w_ms)
{
	return (uint32_t)(now_ms / (w_ms < 8 ? 1 : w_ms / 8)) + 1;
}

static void put_estimate(struct out *o, const struct uniq *u, int64_t w_ms)
{
	uint32_t now = slot_number(o->now->mono_ms, w_ms);
	for (uint32_t k = 0; k < UNIQ_SLOTS; k++) {
		uint32_t slot = u->u.e->slot[k];
		bool used = slot != 0 && now - slot < UNIQ_SLOTS;
		wire_u32(&o->w, used ? now - slot + 1 : 0);
		for (uint32_t i = 0; used && i < UNIQ_REGISTERS; i++)
			wire_u8(&o->w, u->u.e->r[k][i]);
	}
}

static void put_members(struct out *o, const struct uniq *u)
{
	wire_u32(&o->w, u->n);
	for (uint32_t i = 0; i < u->cap; i++) {
		const struct uniq_member *m = &u->u.m[i];
		if (m->lo == 0 && m->hi == 0)
			continue;
		wire_u64(&o->w, (uint64_t)m->hi << 32 | m->lo);
		wire_u32(&o->w, age_of(o, m->t));
	}
}

static uint8_t put_set(struct out *o, const char *name, int64_t w_ms, uint32_t handle)
{
	const struct uniq *u = subjects_set(limiter_subjects(o->l), handle);
	if (!u)
		return 0;
	wire_str(&o->w, name);
	wire_u32(&o->w, u->cap);
	if (u->cap)
		put_members(o, u);
	else
		put_estimate(o, u, w_ms);
	return 1;
}

static void put_extra(struct out *o, const struct extra *x)
{
	const struct limiter_conf *c = limiter_config(o->l);
	for (int i = 0; i < N_MORE; i++) {
		struct series v = more_series(limiter_subjects(o->l), &x->more[i]);
		put_series(o, &v);
	}
	wire_u32(&o->w, x->refused_at ? age_of(o, x->refused_at) + 1 : 0);
	size_t n_at = o->w.len;
	wire_u8(&o->w, 0);
	uint8_t n = put_set(o, "", c->detect.window_ms, x->seen);
	for (unsigned i = 0; i < c->limits.n; i++)
		if (c->limits.row[i].set >= 0)
			n += put_set(o, c->limits.row[i].name, c->limits.row[i].window_ms,
				     x->set[c->limits.row[i].set]);
	o->w.buf[n_at] = n;
}

static void put_subject(struct subject *s, void *arg)
{
	struct out *o = arg;
	struct series v = subject_series(s);
	const struct extra *x = subject_extra(limiter_subjects(o->l), s);
	reserve(&o->w, x ? RECORD_MAX : 64 + SUBJECT_NAME_MAX + v.n * (size_t)SERIES_WIDE_BYTES);
	wire_u8(&o->w, s->kind);
	wire_bytes(&o->w, s->name, s->name_len);
	wire_u32(&o->w, (uint32_t)(subject_idle_ms(s, o->now->mono_ms) / 1000));
	put_series(o, &v);
	wire_u8(&o->w, x != NULL);
	if (x)
		put_extra(o, x);
	o->n++;
}

/* --- writing standing ------------------------------------------------------------------------- */

static void put_terms(struct out *o, const struct terms *t)
{
	wire_i64(&o->w, t->expires_ms);
	wire_i64(&o->w, t->set_ms);
	wire_str(&o->w, t->reason);
	wire_str(&o->w, t->actor);
}

static void put_overrides(struct out *o, const struct standing *s)
{
	wire_u8(&o->w, (uint8_t)s->n_over);
	for (unsigned i = 0; i < s->n_over; i++) {
		wire_str(&o->w, s->over[i].limit);
		wire_i64(&o->w, s->over[i].max);
		wire_u8(&o->w, (uint8_t)s->over[i].mode);
		put_terms(o, &s->over[i].terms);
	}
}

static void put_standing(struct standing *s, void *arg)
{
	struct out *o = arg;
	int64_t grace = s->grace_until_ms - o->now->mono_ms;
	uint8_t has = (s->penalty ? HAS_PENALTY : 0) | (s->class[0] ? HAS_CLASS : 0) |
		      (grace > 0 ? HAS_GRACE : 0) | (s->n_over ? HAS_OVERRIDES : 0);
	if (!has)
		return;
	reserve(&o->w, 8192 + s->n_over * sizeof(struct override));
	wire_u8(&o->w, (uint8_t)s->target);
	wire_str(&o->w, s->name);
	wire_u8(&o->w, has);
	if (s->penalty)
		proto_put_penalty(&o->w, s->penalty);
	if (s->class[0]) {
		wire_str(&o->w, s->class);
		put_terms(o, &s->class_terms);
	}
	if (grace > 0) {
		wire_i64(&o->w, grace);
		wire_i64(&o->w, o->now->mono_ms - s->released_ms);
	}
	if (s->n_over)
		put_overrides(o, s);
	o->n++;
}

uint8_t *snapshot_encode(struct limiter *l, enum snapshot_kind kind, const struct moment *now,
			 size_t *len)
{
	struct out o = {.l = l, .now = now};
	wire_out_init(&o.w, NULL, 0);
	reserve(&o.w, RECORD_MAX);
	wire_u32(&o.w, MAGIC);
	wire_u16(&o.w, VERSION);
	wire_u16(&o.w, (uint16_t)kind);
	wire_i64(&o.w, now->utc_ms);
	wire_u32(&o.w, 0);
	if (kind == SNAPSHOT_COUNTERS)
		subjects_each(limiter_subjects(l), put_subject, &o);
	else
		standings_each(limiter_standings(l), put_standing, &o);
	reserve(&o.w, 8);
	struct wire_out count;
	wire_out_init(&count, o.w.buf + HEAD_BYTES - 4, 4);
	wire_u32(&count, o.n);
	wire_u64(&o.w, snapshot_sum(o.w.buf, o.w.len));
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

/* The moment of an age at writing; false: longer ago than can be told. */
static bool moment_of(const struct in *in, uint32_t age, int64_t *t)
{
	*t = in->now->mono_ms - in->older_ms - age;
	return in->older_ms + age < SERIES_MAX_WINDOW * 5 / 4;
}

typedef void take_fn(struct in *in, void *whom, int64_t t, uint32_t a, uint32_t b);

/* Oldest entry first. */
static void get_series(struct in *in, take_fn *f, void *whom)
{
	uint16_t n = wire_get_u16(&in->r);
	uint8_t wide = wire_get_u8(&in->r);
	uint32_t last = UINT32_MAX;
	int64_t t;
	if (n > MAX_ENTRIES || wide > 1)
		in->r.bad = true;
	for (uint16_t i = 0; i < n && !in->r.bad; i++) {
		uint32_t age = wire_get_u32(&in->r);
		uint32_t a = wide ? wire_get_u32(&in->r) : wire_get_u16(&in->r);
		uint32_t b = wide ? wire_get_u32(&in->r) : wire_get_u16(&in->r);
		if (age > last)
			in->r.bad = true;
		last = age;
		if (in->take && whom && !in->r.bad && moment_of(in, age, &t))
			f(in, whom, t, a, b);
	}
}

struct whom {
	uint32_t handle;
	enum limit_key key;
	int more;
};

static void take_main(struct in *in, void *whom, int64_t t, uint32_t a, uint32_t b)
{
	struct whom *w = whom;
	w->handle = subjects_add(limiter_subjects(in->l), w->handle,
				 &limiter_config(in->l)->limits.windows[w->key][0], t, a, b);
}

static void take_more(struct in *in, void *whom, int64_t t, uint32_t a, uint32_t b)
{
	const struct whom *w = whom;
	const struct limits *ls = &limiter_config(in->l)->limits;
	struct subjects *s = limiter_subjects(in->l);
	struct extra *x = subjects_need_extra(s, subject_at(s, w->handle));
	const struct series_windows *ws =
	    w->more == MORE_WATCH ? &ls->watch : &ls->windows[w->key][w->more + 1];
	if (x)
		subjects_more_add(s, &x->more[w->more], ws, t, a, b);
}

/* Where a set of that name belongs: its handle and window; NULL: nowhere any more. */
static uint32_t *set_place(struct in *in, const struct whom *w, const char *name, int64_t *w_ms)
{
	const struct limiter_conf *c = limiter_config(in->l);
	struct subjects *s = limiter_subjects(in->l);
	const struct limit *row = limits_find(&c->limits, name);
	struct extra *x = in->take && w ? subjects_need_extra(s, subject_at(s, w->handle)) : NULL;
	*w_ms = name[0] ? (row ? row->window_ms : 0) : c->detect.window_ms;
	if (!x || (name[0] && (!row || row->set < 0)))
		return NULL;
	return name[0] ? &x->set[row->set] : &x->seen;
}

static void get_members(struct in *in, uint32_t *place, int64_t w_ms)
{
	uint32_t n = wire_get_u32(&in->r);
	int64_t t;
	if (n > UNIQ_MAX_CAP)
		in->r.bad = true;
	for (uint32_t i = 0; i < n && !in->r.bad; i++) {
		uint64_t hash = wire_get_u64(&in->r);
		uint32_t age = wire_get_u32(&in->r);
		if (place && moment_of(in, age, &t) && in->now->mono_ms - t < w_ms)
			subjects_set_add(limiter_subjects(in->l), place, in->now->mono_ms, w_ms, t,
					 &hash, 1);
	}
}

static void get_estimate(struct in *in, uint32_t *place, int64_t w_ms)
{
	struct uniq *u = place ? subjects_set_new(limiter_subjects(in->l), place, 0) : NULL;
	uint8_t r[UNIQ_REGISTERS];
	for (uint32_t k = 0; k < UNIQ_SLOTS && !in->r.bad; k++) {
		uint32_t ago = wire_get_u32(&in->r);
		if (ago > UNIQ_SLOTS)
			in->r.bad = true;
		for (uint32_t i = 0; ago > 0 && i < UNIQ_REGISTERS; i++) {
			r[i] = wire_get_u8(&in->r);
			if (r[i] > 55)
				in->r.bad = true;
		}
		if (!u || ago == 0 || in->r.bad || w_ms == 0)
			continue;
		uint32_t at = slot_number(in->now->mono_ms - in->older_ms, w_ms) - (ago - 1);
		u->u.e->slot[at % UNIQ_SLOTS] = at;
		memcpy(u->u.e->r[at % UNIQ_SLOTS], r, sizeof r);
	}
}

static void get_set(struct in *in, const struct whom *w)
{
	char name[LIMIT_NAME_MAX];
	int64_t w_ms;
	wire_get_str(&in->r, name, sizeof name);
	uint32_t cap = wire_get_u32(&in->r);
	if (in->r.bad)
		return;
	uint32_t *place = set_place(in, w, name, &w_ms);
	if (cap)
		get_members(in, place, w_ms);
	else
		get_estimate(in, place, w_ms);
}

static void get_extra(struct in *in, struct whom *w)
{
	struct subjects *s = limiter_subjects(in->l);
	for (int i = 0; i < N_MORE && !in->r.bad; i++) {
		if (w)
			w->more = i;
		get_series(in, take_more, w);
	}
	uint32_t refused = wire_get_u32(&in->r);
	struct extra *x =
	    in->take && w && refused ? subjects_need_extra(s, subject_at(s, w->handle)) : NULL;
	if (x)
		x->refused_at = (uint32_t)(in->now->mono_ms - in->older_ms - (refused - 1)) | 1;
	uint8_t n = wire_get_u8(&in->r);
	for (uint8_t i = 0; i < n && !in->r.bad; i++)
		get_set(in, w);
}

static void get_subject(struct in *in)
{
	uint8_t key = wire_get_u8(&in->r), more;
	size_t len;
	const char *name = (const char *)wire_get_bytes(&in->r, SUBJECT_NAME_MAX, &len);
	int64_t idle = wire_get_u32(&in->r);
	struct whom w = {.key = key};
	if (in->r.bad || key >= N_KEYS || len == 0 || memchr(name, '\0', len)) {
		in->r.bad = true;
		return;
	}
	int64_t used = in->now->mono_ms - in->older_ms - idle * 1000;
	if (in->take) {
		struct wire_in ahead = in->r;
		uint16_t n = wire_get_u16(&ahead);
		w.handle = subjects_restore(limiter_subjects(in->l), w.key, name, len,
					    in->now->mono_ms, n, wire_get_u8(&ahead) == 1);
		in->left_out += w.handle == 0;
	}
	get_series(in, take_main, w.handle ? &w : NULL);
	more = wire_get_u8(&in->r);
	if (more > 1)
		in->r.bad = true;
	if (more == 1)
		get_extra(in, w.handle ? &w : NULL);
	if (w.handle)
		subject_set_used(subject_at(limiter_subjects(in->l), w.handle), used);
}

/* --- reading standing ------------------------------------------------------------------------- */

static void get_terms(struct in *in, struct terms *t)
{
	t->expires_ms = wire_get_i64(&in->r);
	t->set_ms = wire_get_i64(&in->r);
	wire_get_str(&in->r, t->reason, sizeof t->reason);
	wire_get_str(&in->r, t->actor, sizeof t->actor);
	if (t->expires_ms < 0 || t->set_ms < 0)
		in->r.bad = true;
}

static void get_overrides(struct in *in, struct standing *s)
{
	uint8_t n = wire_get_u8(&in->r);
	for (uint8_t i = 0; i < n && !in->r.bad; i++) {
		struct override o = {0};
		wire_get_str(&in->r, o.limit, sizeof o.limit);
		o.max = wire_get_i64(&in->r);
		o.mode = wire_get_u8(&in->r);
		get_terms(in, &o.terms);
		if (o.max < -1 || o.mode > OVERRIDE_OBSERVE || o.limit[0] == '\0')
			in->r.bad = true;
		if (!in->r.bad && s)
			(void)standing_put(s, &o);
	}
}

static void get_grace(struct in *in, struct standing *s)
{
	int64_t left = wire_get_i64(&in->r), age = wire_get_i64(&in->r);
	if (left < 0 || left > MAX_AGE_MS || age < 0 || age > MAX_AGE_MS)
		in->r.bad = true;
	if (in->r.bad || !s || left <= in->older_ms)
		return;
	s->grace_until_ms = in->now->mono_ms + left - in->older_ms;
	s->released_ms = in->now->mono_ms - age - in->older_ms;
	/* The counters on disk may be older than the release. */
	limiter_forget_seen(in->l, s->name, in->now);
}

static void get_penalty(struct in *in, struct standing *s)
{
	struct rl_penalty p;
	if (!proto_read_penalty(&in->r, &p))
		return;
	if (p.stage == RL_NORMAL)
		in->r.bad = true;
	else if (s)
		(void)limiter_set_penalty(in->l, &p, in->now);
}

static void get_standing(struct in *in)
{
	char name[SUBJECT_NAME_MAX + 1];
	uint8_t target = wire_get_u8(&in->r);
	wire_get_str(&in->r, name, sizeof name);
	uint8_t has = wire_get_u8(&in->r);
	if (in->r.bad || target >= N_TARGETS || name[0] == '\0' || has == 0 || has > 15) {
		in->r.bad = true;
		return;
	}
	struct standing *s =
	    in->take ? standing_need(limiter_standings(in->l), (enum target)target, name) : NULL;
	struct standing none = {0}, *to = s ? s : &none;
	in->left_out += in->take && !s;
	if (has & HAS_PENALTY)
		get_penalty(in, s);
	if (has & HAS_CLASS) {
		wire_get_str(&in->r, to->class, sizeof to->class);
		get_terms(in, &to->class_terms);
	}
	if (has & HAS_GRACE)
		get_grace(in, s);
	if (has & HAS_OVERRIDES)
		get_overrides(in, s);
	if (s)
		(void)standing_tidy(limiter_standings(in->l), s, in->now->mono_ms, in->now->utc_ms);
}

static void (*const readers[])(struct in *in) = {
    [SNAPSHOT_COUNTERS] = get_subject,
    [SNAPSHOT_STANDING] = get_standing,
};

static bool checksum_ok(const uint8_t *data, size_t len)
{
	struct wire_in r;
	wire_in_init(&r, data + len - 8, 8);
	return wire_get_u64(&r) == snapshot_sum(data, len - 8);
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
