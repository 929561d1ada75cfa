/*
 * policy - which sources are exempt. Pure.
 *
 * Holds every entry that acctd sent, those to come and those over included; each question names the
 * time. Not thread-safe: its owner guards it (nfq/worker.h).
 */
#ifndef NFQ_POLICY_H
#define NFQ_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/feed.h"
#include "lib/addr.h"
#include "lib/wire.h"

struct policy;

/* What a class means to a verdict; the first is the most. */
enum policy_kind {
	POLICY_KIND_FULL,    /* no limits */
	POLICY_KIND_LIMITED, /* the kernel meters its connections */
	POLICY_KIND_LISTED,  /* only to the destinations of the entry */
};
enum { POLICY_CLASS_FULL = 0, POLICY_CLASS_THROTTLED = 1 }; /* indexes that every policy has */

struct policy_dsts {
	uint8_t n;
	struct prefix v[];
};

/* An entry as it is held: 56 bytes, of which there may be a million. */
struct policy_item {
	struct addr a;
	int64_t starts_ms, expires_ms, id; /* UTC; expires 0: never */
	struct policy_dsts *dsts;	   /* NULL: none */
	uint32_t next;			   /* policy's own */
	uint8_t len;			   /* prefix length, in the address's own family */
	uint8_t class;			   /* index of its name, see policy_class() */
};

/* Allocated under ctx (talloc); version 0 and empty: nothing is known. */
struct policy *policy_new(void *ctx);
void policy_free(struct policy *p);
uint64_t policy_version(const struct policy *p);
void policy_set_version(struct policy *p, uint64_t version);
size_t policy_count(const struct policy *p);
/* Those of one family with lo..hi bits. */
size_t policy_count_lengths(const struct policy *p, bool is4, unsigned lo, unsigned hi);

/* Add, or replace the entry with this exemption id and prefix. */
void policy_put(struct policy *p, const struct policy_entry *e);
/* Entries with this prefix and id; false when there was none. */
bool policy_remove(struct policy *p, const struct policy_entry *e);

/*
 * Classes have an index within a policy, in the order they came; a name beyond POLICY_CLASSES is
 * taken for throttled. kind() is asked for each name once, here or when the name comes; until it is
 * set, all but full are LIMITED.
 */
#define POLICY_CLASSES 64
void policy_set_kinds(struct policy *p, enum policy_kind (*kind)(const char *name, void *arg),
		      void *arg);
/* What a class limits for each line; 0: it does not. */
struct policy_limits {
	uint32_t rate, burst;  /* new connections a minute, and how many at once */
	uint32_t destinations; /* distinct ones an hour */
};
/* limits() is asked as kind() is; until it is set, nothing is limited. */
void policy_set_limits(struct policy *p,
		       void (*limits)(const char *name, struct policy_limits *out, void *arg),
		       void *arg);
/* NULL: the class has none of these. */
const struct policy_limits *policy_limits(const struct policy *p, const struct policy_item *i);
unsigned policy_classes(const struct policy *p);
const char *policy_class(const struct policy *p, unsigned index);
enum policy_kind policy_kind(const struct policy *p, const struct policy_item *i);

struct prefix policy_prefix(const struct policy_item *i);
void policy_entry_of(const struct policy *p, const struct policy_item *i, struct policy_entry *out);
/* In force at now_ms: starts_ms <= now_ms < expires_ms. */
bool policy_active(const struct policy_item *i, int64_t now_ms);
/* May an entry of kind LISTED go there? */
bool policy_listed(const struct policy_item *i, const struct addr *dst);

/*
 * The entry that decides for a at now_ms, or NULL: the longest prefix in force of lo..hi bits (of
 * a's own family); of several with this prefix the one whose class is the most, then the one that
 * ends last. until_ms (may be NULL) is set to the end of the last of all entries in force that
 * contain a (0: no end). The result is good until the next change.
 */
const struct policy_item *policy_find(const struct policy *p, const struct addr *a, unsigned lo,
				      unsigned hi, int64_t now_ms, int64_t *until_ms);
/* policy_find() over all lengths. */
const struct policy_item *policy_match(const struct policy *p, const struct addr *a,
				       int64_t now_ms);
/* The entry that decides for exactly this prefix, among those with it. */
const struct policy_item *policy_exact(const struct policy *p, const struct prefix *x,
				       int64_t now_ms);
/* Every entry, in no order. fn returns false to stop. */
void policy_each(const struct policy *p, bool (*fn)(const struct policy_item *i, void *arg),
		 void *arg);
/* The same from position *at on (0 to begin with), at most max positions; *at moves on. Entries
 * that come and go between two calls may be told or not. False: there are no more. */
bool policy_some(const struct policy *p, uint32_t *at, uint32_t max,
		 bool (*fn)(const struct policy_item *i, void *arg), void *arg);
/* Entries of exactly these lengths only; nothing is walked when there are none. */
void policy_each_length(const struct policy *p, bool is4, unsigned lo, unsigned hi,
			bool (*fn)(const struct policy_item *i, void *arg), void *arg);

/*
 * The moments at which an entry starts or ends, in order, from from_ms on. They are looked up for a
 * window ahead, so that only its end costs a walk over all entries.
 */
void policy_edges_start(struct policy *p, int64_t from_ms);
/* Take out the next one that is due at now_ms: the prefix of its entry. False: none is. */
bool policy_edge(struct policy *p, int64_t now_ms, struct prefix *out);
/* When to come again; 0: never. Not before policy_edge() said false. */
int64_t policy_next_edge(const struct policy *p);

/*
 * On disk (policy_file.c): "SKNP", u32 2, u64 version, then pieces of u32 n > 0 and n entries of
 * policy_entry_put(), then u32 0, u64 count of all, u32 CRC of what comes before. Files of version
 * 1 are read, too.
 */
#define POLICY_FILE_HEADER 16
#define POLICY_FILE_END	   12 /* without the CRC */
void policy_file_begin(struct wire_out *w, uint64_t version);
/*
 * A piece of the entries from position *at on (0 to begin with), as many as there is room for and
 * at most max_items positions; *at moves on, n is added to *count. False: there are no more.
 * Entries that come and go between two calls may be in or not.
 */
bool policy_file_piece(const struct policy *p, uint32_t *at, uint32_t max_items, uint64_t *count,
		       struct wire_out *w);
void policy_file_end(struct wire_out *w, uint64_t count);
uint32_t policy_crc(uint32_t crc, const uint8_t *data, size_t len); /* 0 to begin with */

/* All of it; talloc'd bytes under ctx. */
uint8_t *policy_encode(const struct policy *p, void *ctx, size_t *len);
/* A new policy under ctx, or NULL with *err (static text): nothing of a damaged file is used. */
struct policy *policy_decode(void *ctx, const uint8_t *data, size_t len, const char **err);

/*
 * A change in the journal: u32 length of what follows the CRC, u32 CRC, u64 version, u8 op, entry.
 */
#define POLICY_CHANGE_MAX (8 + 8 + 1 + POLICY_ENTRY_MAX)
void policy_change_put(struct wire_out *w, uint64_t version, enum policy_op op,
		       const struct policy_entry *e);
/*
 * Apply the changes that are later than the policy's version; what a crash cut short ends it.
 * Returns the bytes that were whole; *changes (may be NULL) counts those applied.
 */
size_t policy_replay(struct policy *p, const uint8_t *data, size_t len, size_t *changes);

#endif
