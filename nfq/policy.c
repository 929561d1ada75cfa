/*
 * policy - see policy.h.
 *
 * One hash table of (prefix, id) in a pool of nodes linked by index, and a count of entries for
 * each prefix length and family, so that a question probes only the lengths that exist.
 *
 * Trusted with: who may pass. Diagnostics: none. Known gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"
#include "lib/wire.h"

#include "nfq/policy.h"

#define NIL	    UINT32_MAX
#define MIN_BUCKETS 64
#define MAX_ENTRIES (1u << 24)

struct node {
	struct policy_entry e;
	uint32_t next; /* in its bucket, or in the free list */
};

struct policy {
	uint64_t version;
	struct node *nodes;
	uint32_t *buckets;
	uint32_t n_buckets; /* a power of two */
	uint32_t used, high, cap, free;
	uint32_t by_length[2][129]; /* [is IPv6][length] */
};

static uint32_t hash(const struct addr *a, unsigned len)
{
	uint64_t x, y;
	memcpy(&x, a->b, 8);
	memcpy(&y, a->b + 8, 8);
	x = (x ^ (y * 0x9e3779b97f4a7c15u) ^ len) * 0xbf58476d1ce4e5b9u;
	x ^= x >> 29;
	x *= 0x94d049bb133111ebu;
	return (uint32_t)(x >> 32);
}

static uint32_t *bucket(const struct policy *p, const struct addr *a, unsigned len)
{
	return &p->buckets[hash(a, len) & (p->n_buckets - 1)];
}

static uint32_t *length_count(struct policy *p, const struct prefix *x)
{
	return &p->by_length[addr_is4(&x->a) ? 0 : 1][x->len];
}

struct policy *policy_new(void *ctx)
{
	struct policy *p = talloc_zero(ctx, struct policy);
	bug_on(!p);
	p->n_buckets = MIN_BUCKETS;
	p->buckets = talloc_array(p, uint32_t, p->n_buckets);
	bug_on(!p->buckets);
	memset(p->buckets, 0xff, p->n_buckets * sizeof *p->buckets);
	p->free = NIL;
	return p;
}

void policy_free(struct policy *p)
{
	talloc_free(p);
}

uint64_t policy_version(const struct policy *p)
{
	return p->version;
}

void policy_set_version(struct policy *p, uint64_t version)
{
	p->version = version;
}

size_t policy_count(const struct policy *p)
{
	return p->used;
}

size_t policy_count_lengths(const struct policy *p, bool is4, unsigned lo, unsigned hi)
{
	size_t n = 0;
	for (unsigned len = lo; len <= hi; len++)
		n += p->by_length[is4 ? 0 : 1][len];
	return n;
}

static void rehash(struct policy *p, uint32_t n)
{
	uint32_t *old = p->buckets, old_n = p->n_buckets;
	p->buckets = talloc_array(p, uint32_t, n);
	bug_on(!p->buckets);
	memset(p->buckets, 0xff, n * sizeof *p->buckets);
	p->n_buckets = n;
	for (uint32_t i = 0; i < old_n; i++)
		for (uint32_t j = old[i], next; j != NIL; j = next) {
			struct node *node = &p->nodes[j];
			uint32_t *b = bucket(p, &node->e.prefix.a, node->e.prefix.len);
			next = node->next;
			node->next = *b;
			*b = j;
		}
	talloc_free(old);
}

static uint32_t take_node(struct policy *p)
{
	if (p->free != NIL) {
		uint32_t i = p->free;
		p->free = p->nodes[i].next;
		return i;
	}
	if (p->high == p->cap) {
		p->cap = p->cap ? p->cap * 2 : MIN_BUCKETS;
		p->nodes = talloc_realloc(p, p->nodes, struct node, p->cap);
		bug_on(!p->nodes);
	}
	return p->high++;
}

static bool same(const struct policy_entry *x, const struct policy_entry *y)
{
	return x->exemption_id == y->exemption_id && prefix_eq(&x->prefix, &y->prefix);
}

void policy_put(struct policy *p, const struct policy_entry *e)
{
	for (uint32_t i = *bucket(p, &e->prefix.a, e->prefix.len); i != NIL; i = p->nodes[i].next)
		if (same(&p->nodes[i].e, e)) {
			p->nodes[i].e = *e;
			return;
		}
	if (p->used >= p->n_buckets)
		rehash(p, p->n_buckets * 2);
	uint32_t i = take_node(p), *b = bucket(p, &e->prefix.a, e->prefix.len);
	p->nodes[i] = (struct node){*e, *b};
	*b = i;
	p->used++;
	++*length_count(p, &e->prefix);
}

bool policy_remove(struct policy *p, const struct policy_entry *e)
{
	uint32_t *link = bucket(p, &e->prefix.a, e->prefix.len);
	for (; *link != NIL; link = &p->nodes[*link].next) {
		uint32_t i = *link;
		if (!same(&p->nodes[i].e, e))
			continue;
		*link = p->nodes[i].next;
		p->nodes[i].next = p->free;
		p->free = i;
		p->used--;
		--*length_count(p, &e->prefix);
		return true;
	}
	return false;
}

bool policy_active(const struct policy_entry *e, int64_t now_ms)
{
	return e->starts_ms <= now_ms && (e->expires_ms == 0 || now_ms < e->expires_ms);
}

/* An end of 0 is later than any other. */
static bool ends_later(int64_t x, int64_t y)
{
	return y != 0 && (x == 0 || x > y);
}

static bool better(const struct policy_entry *x, const struct policy_entry *y)
{
	if (!y)
		return true;
	bool full = strcmp(x->class, "full") == 0;
	if (full != (strcmp(y->class, "full") == 0))
		return full;
	return ends_later(x->expires_ms, y->expires_ms);
}

const struct policy_entry *policy_find(const struct policy *p, const struct addr *a, unsigned lo,
				       unsigned hi, int64_t now_ms, int64_t *until_ms)
{
	const struct policy_entry *found = NULL;
	const uint32_t *by_length = p->by_length[addr_is4(a) ? 0 : 1];
	int64_t until = -1;
	for (unsigned len = hi + 1; len-- > lo;) {
		const struct policy_entry *best = NULL;
		struct prefix want = {.len = (uint8_t)len};
		if (by_length[len] == 0)
			continue;
		addr_mask(a, want.len, &want.a);
		for (uint32_t i = *bucket(p, &want.a, len); i != NIL; i = p->nodes[i].next) {
			const struct policy_entry *e = &p->nodes[i].e;
			if (!prefix_eq(&e->prefix, &want) || !policy_active(e, now_ms))
				continue;
			if (better(e, best))
				best = e;
			if (until == -1 || ends_later(e->expires_ms, until))
				until = e->expires_ms;
		}
		if (!found)
			found = best;
		if (found && !until_ms)
			break;
	}
	if (until_ms)
		*until_ms = until == -1 ? 0 : until;
	return found;
}

const struct policy_entry *policy_match(const struct policy *p, const struct addr *a,
					int64_t now_ms)
{
	return policy_find(p, a, 0, addr_is4(a) ? 32 : 128, now_ms, NULL);
}

void policy_each(const struct policy *p, bool (*fn)(const struct policy_entry *e, void *arg),
		 void *arg)
{
	for (uint32_t b = 0; b < p->n_buckets; b++)
		for (uint32_t i = p->buckets[b]; i != NIL; i = p->nodes[i].next)
			if (!fn(&p->nodes[i].e, arg))
				return;
}

struct edge {
	int64_t now_ms, next_ms;
};

static bool note_edge(const struct policy_entry *e, void *arg)
{
	struct edge *x = arg;
	const int64_t times[] = {e->starts_ms, e->expires_ms};
	for (size_t i = 0; i < 2; i++)
		if (times[i] > x->now_ms && (x->next_ms == 0 || times[i] < x->next_ms))
			x->next_ms = times[i];
	return true;
}

int64_t policy_next_edge(const struct policy *p, int64_t now_ms)
{
	struct edge x = {now_ms, 0};
	policy_each(p, note_edge, &x);
	return x.next_ms;
}

/* --- the snapshot on disk -------------------------------------------------------- */

#define MAGIC	     "SKNP"
#define FILE_VERSION 2
#define HEADER	     (4 + 4 + 8 + 4)
#define TRAILER	     4

/* CRC-32 (IEEE 802.3), bit by bit: a file is read once. */
static uint32_t crc32(const uint8_t *data, size_t len)
{
	uint32_t crc = ~0u;
	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

static bool encode_entry(const struct policy_entry *e, void *arg)
{
	policy_entry_put(arg, e);
	return true;
}

uint8_t *policy_encode(const struct policy *p, void *ctx, size_t *len)
{
	size_t cap = HEADER + (size_t)p->used * POLICY_ENTRY_MAX + TRAILER;
	struct wire_out w;
	uint8_t *buf = talloc_array(ctx, uint8_t, cap);
	bug_on(!buf);
	wire_out_init(&w, buf, cap);
	for (const char *m = MAGIC; *m; m++)
		wire_u8(&w, (uint8_t)*m);
	wire_u32(&w, FILE_VERSION);
	wire_u64(&w, p->version);
	wire_u32(&w, p->used);
	policy_each(p, encode_entry, &w);
	wire_u32(&w, crc32(buf, w.len));
	bug_on(w.bad);
	*len = w.len;
	return buf;
}

/* The version of the file; 0: it is none of ours. */
static uint32_t read_header(struct wire_in *r)
{
	for (const char *m = MAGIC; *m; m++)
		if (wire_get_u8(r) != (uint8_t)*m)
			r->bad = true;
	uint32_t version = wire_get_u32(r);
	return !r->bad && version <= FILE_VERSION ? version : 0;
}

/* An entry of file version 1: the class was a number, and there were no destinations. */
static bool entry_get_1(struct wire_in *r, struct policy_entry *e)
{
	uint8_t buf[POLICY_ENTRY_MAX];
	struct wire_out w;
	struct wire_in again;
	struct addr a;
	wire_out_init(&w, buf, sizeof buf);
	wire_u8(&w, wire_get_u8(r));
	wire_get_addr(r, &a);
	wire_addr(&w, &a);
	uint8_t class = wire_get_u8(r);
	wire_str(&w, class == 1 ? "full" : class == 2 ? "throttled" : "");
	for (int i = 0; i < 3; i++)
		wire_i64(&w, wire_get_i64(r));
	wire_u8(&w, 0);
	wire_in_init(&again, buf, w.len);
	if (!policy_entry_get(&again, e))
		r->bad = true;
	return !r->bad;
}

struct policy *policy_decode(void *ctx, const uint8_t *data, size_t len, const char **err)
{
	struct wire_in r, end;
	*err = "it is cut short";
	if (len < HEADER + TRAILER)
		return NULL;
	wire_in_init(&end, data + len - TRAILER, TRAILER);
	wire_in_init(&r, data, len - TRAILER);
	*err = "it is not a policy snapshot of this version";
	uint32_t version = read_header(&r);
	if (version == 0)
		return NULL;
	*err = "its checksum is wrong";
	if (wire_get_u32(&end) != crc32(data, len - TRAILER))
		return NULL;
	struct policy *p = policy_new(ctx);
	p->version = wire_get_u64(&r);
	uint32_t n = wire_get_u32(&r);
	for (uint32_t i = 0; i < n && n <= MAX_ENTRIES && !r.bad; i++) {
		struct policy_entry e;
		if (version == 1 ? entry_get_1(&r, &e) : policy_entry_get(&r, &e))
			policy_put(p, &e);
	}
	if (wire_done(&r))
		return p;
	*err = "its entries are damaged";
	policy_free(p);
	return NULL;
}
