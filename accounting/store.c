/*
 * store - opening, migrations and transactions of the accounting database (contract in store.h).
 *
 * Migrations are the files schema/NNNN.sql, built into the program; user_version counts those done.
 * Each runs in one transaction. A database newer than the program is refused.
 *
 * Trusted with: being the one writer. Diagnostics: log lines "store ...". Known gaps: one thread; a
 * commit is one fsync.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/proc.h"
#include "accounting/store_int.h"

/* The file's bytes and a NUL. The Makefile has a row that says that store.o depends on them. */
#define EMBED(symbol, file)                                                                        \
	__asm__(".pushsection .rodata\n"                                                           \
		".global " #symbol "\n" #symbol ":\n"                                              \
		".incbin \"" file "\"\n"                                                           \
		".byte 0\n"                                                                        \
		".popsection\n");                                                                  \
	extern const char(symbol)[] __attribute__((visibility("hidden")))

EMBED(store_schema_0001, "accounting/schema/0001.sql");
EMBED(store_schema_0002, "accounting/schema/0002_exemption.sql");
EMBED(store_schema_0003, "accounting/schema/0003_identity.sql");
EMBED(store_schema_0004, "accounting/schema/0004_line.sql");
EMBED(store_schema_0005, "accounting/schema/0005_delivery.sql");
EMBED(store_schema_0006, "accounting/schema/0006_alert.sql");
EMBED(store_schema_0007, "accounting/schema/0007_reflex.sql");
EMBED(store_schema_0008, "accounting/schema/0008_message_id.sql");
EMBED(store_schema_0009, "accounting/schema/0009_returned.sql");
EMBED(store_schema_0010, "accounting/schema/0010_report_tag.sql");

static const char *const migrations[] = {store_schema_0001, store_schema_0002, store_schema_0003,
					 store_schema_0004, store_schema_0005, store_schema_0006,
					 store_schema_0007, store_schema_0008, store_schema_0009,
					 store_schema_0010};

#define N_MIGRATIONS ((int)(sizeof migrations / sizeof migrations[0]))

/* The statements of this file's own business come after those of the list. */
enum { ST_VERSION = ST_COUNT, ST_ALL };

static const char *const statements[] = {
#define X(name, sql) [name] = (sql),
    STORE_STATEMENTS(X)
#undef X
	[ST_VERSION] = "PRAGMA user_version",
};

static bool migrate_one(struct store *s, int i)
{
	char mark[64];
	snprintf(mark, sizeof mark, "PRAGMA user_version = %d", i + 1);
	bool ok = sql_script(DB, "BEGIN IMMEDIATE") && sql_script(DB, migrations[i]) &&
		  sql_script(DB, mark) && sql_script(DB, "COMMIT");
	if (ok)
		log_event(LOG_NOTICE, "-", "store", "migrated", LI("schema", i + 1));
	return ok;
}

static bool migrate(struct store *s, char **err)
{
	s->schema = (int)sql_value(DB, ST_VERSION);
	if (s->schema > N_MIGRATIONS) {
		if (asprintf(
			err,
			"the database has schema %d, this program knows %d: use the newer program",
			s->schema, N_MIGRATIONS) < 0)
			fatal("out of memory");
		return false;
	}
	for (; s->schema < N_MIGRATIONS; s->schema++)
		if (!migrate_one(s, s->schema))
			break;
	if (s->schema == N_MIGRATIONS && sql_prepare_all(DB))
		return true;
	if (asprintf(err, "schema %d: %s", s->schema + 1, sql_error(DB)) < 0)
		fatal("out of memory");
	return false;
}

struct store *store_open(const char *state_dir, char **err)
{
	char *path = NULL;
	struct store *s = calloc(1, sizeof *s);
	if (!s || asprintf(&path, "%s/accounting/control.db", state_dir) < 0)
		fatal("out of memory");
	DB = sql_open(path, SQL_WRITER, 0, statements, ST_ALL, err);
	free(path);
	if (DB && migrate(s, err))
		return s;
	sql_close(DB);
	free(s);
	return NULL;
}

void store_hooks(struct store *s, const struct store_hooks *h, void *arg)
{
	s->hooks = *h;
	s->arg = arg;
}

void store_on_incident(struct store *s, void (*changed)(void *arg), void *arg)
{
	s->on_incident = changed;
	s->incident_arg = arg;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_flush(s);
	bug_on(s->open);
	sql_close(DB);
	free(s->changes);
	free(s);
}

int store_schema(struct store *s)
{
	return s->schema;
}

/* --- transactions --- */

void store_begin(struct store *s)
{
	store_flush(s);
	bug_on(s->open);
	sql_clear(DB);
	(void)sql_script(DB, "BEGIN IMMEDIATE");
	s->open = true;
	s->noted = false;
	s->n_changes = 0;
}

static void roll_back(struct store *s)
{
	sql_clear(DB);
	(void)sql_script(
	    DB, "ROLLBACK"); /* SQLite may have done so itself: then this fails, and no harm */
	sql_clear(DB);
	s->open = false;
	s->n_changes = 0;
	s->version = 0;
}

bool store_commit(struct store *s, const char **err, bool *passes)
{
	static char why[256];
	bug_on(!s->open);
	if (s->n_changes)
		sql_run(DB, ST_POLICY_SET, QI(s->version));
	if (!sql_error(DB) && sql_script(DB, "COMMIT")) {
		s->open = false;
		for (size_t i = 0; i < s->n_changes; i++)
			if (s->hooks.policy)
				s->hooks.policy(s->changes[i].version, s->changes[i].op,
						&s->changes[i].entry, s->arg);
		s->n_changes = 0;
		if (s->noted && s->on_incident)
			s->on_incident(s->incident_arg);
		return true;
	}
	snprintf(why, sizeof why, "%s", sql_error(DB));
	if (err)
		*err = why;
	if (passes)
		*passes = sql_error_passes(DB);
	log_event(LOG_ERR, "-", "store", "failed", LS("why", why));
	roll_back(s);
	return false;
}

void store_rollback(struct store *s)
{
	bug_on(!s->open);
	roll_back(s);
}

static struct store_change *new_change(struct store *s)
{
	if (s->n_changes == s->cap_changes) {
		s->cap_changes = s->cap_changes ? 2 * s->cap_changes : 16;
		s->changes = realloc(s->changes, s->cap_changes * sizeof *s->changes);
		if (!s->changes)
			fatal("out of memory");
	}
	return &s->changes[s->n_changes++];
}

void store_policy_changed(struct store *s, enum policy_op op, const struct policy_entry *e)
{
	uint64_t version = store_policy_version(s) + 1;
	if (sql_error(DB))
		return;
	s->version = version;
	*new_change(s) = (struct store_change){.version = version, .op = op, .entry = *e};
}

/* Kept: nobody else writes it. */
uint64_t store_policy_version(struct store *s)
{
	if (!s->version)
		s->version = (uint64_t)sql_value(DB, ST_SETTING, QS("policy_version"));
	return s->version;
}

bool store_policy_snapshot(struct store *s, void (*fn)(const struct policy_entry *e, void *arg),
			   void *arg, uint64_t *version)
{
	struct store_exempt e;
	store_begin(s);
	*version = store_policy_version(s);
	for (bool row = sql_first(DB, ST_EXEMPT_SNAPSHOT); row;
	     row = sql_next(DB, ST_EXEMPT_SNAPSHOT)) {
		store_exempt_read(s, ST_EXEMPT_SNAPSHOT, &e);
		fn(&e.entry, arg);
	}
	return store_commit(s, NULL, NULL);
}

void store_audit(struct store *s, const struct store_who *w, int64_t now_ms, const char *action,
		 const char *object, const char *reason, const char *detail)
{
	sql_run(DB, ST_AUDIT, QI(now_ms), QS(w->actor), QS(w->peer), QS(action),
		QS(object ? object : ""), QS(reason ? reason : ""), QS(detail ? detail : ""));
	log_event(LOG_NOTICE, object && *object ? object : "-", "audit", action,
		  LS("actor", w->actor), LS("peer", w->peer), LS("reason", reason ? reason : ""));
}

json_t *store_status(struct store *s)
{
	json_t *o = sql_object(DB, ST_STATUS);
	sql_clear(DB);
	if (o)
		json_object_set_new(o, "schema", json_integer(s->schema));
	return o;
}
