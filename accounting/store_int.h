/*
 * store_int - what the store's own files share. Nobody else includes it.
 */
#ifndef ACCOUNTING_STORE_INT_H
#define ACCOUNTING_STORE_INT_H

#include "accounting/store.h"
#include "accounting/store_sql.h"
#include "accounting/store_stmts.h"

enum store_stmt {
#define X(name, sql) name,
	STORE_STATEMENTS(X)
#undef X
	    ST_COUNT
};

struct store_change {
	uint64_t version;
	enum policy_op op;
	struct policy_entry entry;
};

struct store {
	struct sql *db;
	struct store_hooks hooks;
	void *arg;
	bool open;  /* a transaction */
	bool group; /* it is a group of batches */
	bool noted; /* it has put a line into a timeline */
	void (*on_incident)(void *arg);
	void *incident_arg;
	void (*on_bounce)(const char *login, const struct event *e, void *arg);
	void *bounce_arg;
	int schema;
	struct store_change *changes; /* of the open transaction, told after its commit */
	size_t n_changes, cap_changes;
	uint64_t version; /* of the policy, 0: not read yet */
};

#define DB (s->db)

/* One more policy version, written with the commit and told after it. */
void store_policy_changed(struct store *s, enum policy_op op, const struct policy_entry *e);
/* The current row of a statement that begins with EXEMPT_ROW. */
struct store_exempt;
void store_exempt_read(struct store *s, int stmt, struct store_exempt *out);

/* EVENT_SUSPECT: opens the line's incident, or brings it up to date (store_suspect.c). */
void store_suspect(struct store *s, const struct event *e);
/* EVENT_SPRAY: opens the network's incident, or brings it up to date. A good login from a network
 * with such an incident: its account is named there, once (store_spray.c). */
void store_spray(struct store *s, const struct event *e);
void store_spray_login(struct store *s, const struct event *e);
/* EVENT_BOUNCE: true when it was news of a message we know (store_bounce.c). */
bool store_bounce(struct store *s, const struct event *e);
/* Rollups: of the system's minutes, of the account's bounces. */
void store_count(struct store *s, const char *metric, int64_t t_ms, int64_t n);
void store_count_bounced(struct store *s, int64_t account, int64_t t_ms);

#endif
