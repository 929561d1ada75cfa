/*
 * store - the accounting database, <state_dir>/accounting/control.db, and its one writer.
 *
 * A change is store_begin(), any of the calls below, store_commit(). Errors of the database stick:
 * calls after one do nothing and answer 0 or false, and the commit reports it. What an operator may
 * have got wrong is a result of its own call (an id of 0, a text in *why); the caller then rolls
 * back. Times are passed in.
 */
#ifndef ACCOUNTING_STORE_H
#define ACCOUNTING_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/login.h"
#include "accounting/event.h"
#include "accounting/exempt_state.h"
#include "accounting/feed.h"

struct store;

struct store_hooks {
	/* The open group of batches was committed (ok) or rolled back. */
	void (*flushed)(bool ok, void *arg);
	/* After a commit, once for each change of policy in it, in the order of their versions. */
	void (*policy)(uint64_t version, enum policy_op op, const struct policy_entry *e,
		       void *arg);
};

/* Who does something, for the audit trail. */
struct store_who {
	const char *actor; /* "unix:root", an operator's name, "detector", "expiry" */
	const char *peer;  /* "uid=0", an address */
};

/* Opens, creates, migrates. The folder exists. NULL with *err (malloc'd). */
struct store *store_open(const char *state_dir, char **err);
void store_hooks(struct store *s, const struct store_hooks *h, void *arg);
/* changed() is called after each commit that has put a line into an incident's timeline. */
void store_on_incident(struct store *s, void (*changed)(void *arg), void *arg);
/* fn() is called for each notification of failure that came back and is news of a message of login
 * (an EVENT_BOUNCE), before it is committed. It must not use the store. */
void store_on_bounce(struct store *s,
		     void (*fn)(const char *login, const struct event *e, void *arg), void *arg);
void store_close(struct store *s); /* flushes */
int store_schema(struct store *s); /* number of the last migration */

/* Flushes an open group of batches first. */
void store_begin(struct store *s);
/* False: rolled back; *err says why, *passes whether trying again later may help. err and passes
 * may be NULL. */
bool store_commit(struct store *s, const char **err, bool *passes);
void store_rollback(struct store *s);

void store_audit(struct store *s, const struct store_who *w, int64_t now_ms, const char *action,
		 const char *object, const char *reason, const char *detail);

/* --- events (store_event.c) --- */

enum store_batch { BATCH_STORED, BATCH_SEEN, BATCH_FAILED };
/*
 * Puts a batch (n records, already known to decode) and its number in the open group, which begins
 * one when there is none. FAILED: the whole group is rolled back and flushed(false) was called.
 */
enum store_batch store_batch(struct store *s, const char *program, const char *instance,
			     uint64_t seq, uint32_t n, const uint8_t *records, size_t len,
			     int64_t now_ms);
bool store_group_open(const struct store *s);
void store_flush(struct store *s); /* commits the group; calls flushed() */

/* --- who (store_who.c) --- */

int64_t store_subscriber(struct store *s, const char *ref); /* id, 0: none */
int64_t store_subscriber_put(struct store *s, const char *ref, const char *name,
			     const char *contact, int64_t now_ms);
int64_t store_account(struct store *s, const char *login);			/* id, 0: none */
int64_t store_account_seen(struct store *s, const char *login, int64_t now_ms); /* made when new */
int64_t store_account_put(struct store *s, const char *login, int64_t subscriber, int64_t now_ms);
int64_t store_account_subscriber(struct store *s, int64_t account); /* 0: not known */
/* Accounts that were registered by another spelling than the rule has: renamed; where the one name
 * is there already, it gets their subscriber, if it has none. At start. */
void store_accounts_fold(struct store *s, enum login_case rule);

struct store_lease {
	struct prefix prefix;
	uint16_t port_lo, port_hi;
	int64_t subscriber, from_ms, to_ms; /* to_ms 0: open */
	const char *source;
};
/*
 * Open leases of other subscribers inside the prefix end at from_ms; one around it goes on for the
 * rest. Exemptions of others that share an address with it are revoked, or end then when from_ms is
 * still to come. The same lease again is the same lease. Returns the id; *ended counts.
 */
int64_t store_lease_add(struct store *s, const struct store_lease *l, const struct store_who *w,
			int64_t now_ms, int *ended);
/* After store_lease_add(): exemptions that were suspended when the line ended are in force again,
 * if it is the subscriber's now. How many. */
int store_lease_back(struct store *s, const struct store_lease *l, const struct store_who *w,
		     int64_t now_ms);
/* The open lease of that very line, ports and subscriber that began by then: its id, 0: none. */
int64_t store_lease_same(struct store *s, const struct store_lease *l);
/*
 * Ends open leases of exactly this prefix (port_lo -1: any) at t; the number ended. Exemptions of
 * the line are revoked when somebody has a lease around it, else suspended until it comes back
 * (*suspended counts).
 */
int store_lease_end(struct store *s, const struct prefix *p, int port_lo, int64_t t_ms,
		    const struct store_who *w, int64_t now_ms, int *suspended);
/* Ends this one now; how many exemptions are suspended by that. */
int store_lease_end_one(struct store *s, int64_t id, const struct store_who *w, int64_t now_ms);
/* Calls fn for every open lease with this source; fn must not use the store. */
void store_leases_of_source(struct store *s, const char *source, void (*fn)(int64_t id, void *arg),
			    void *arg);
/* Who has the whole prefix by the narrowest open lease that began by t; 0: nobody. */
int64_t store_prefix_holder(struct store *s, const struct prefix *p, int64_t t_ms);
/* Somebody who is not subscriber and has the prefix at t, an address of it or ports of one; 0:
 * nobody. */
int64_t store_prefix_other(struct store *s, const struct prefix *p, int64_t subscriber,
			   int64_t t_ms);
/* Subscribers that held addr (port -1: any) at t: the number found, up to max. */
int store_lease_holders(struct store *s, const struct addr *a, int port, int64_t t_ms, int64_t *ids,
			int max);

/* --- exemptions (store_policy.c) --- */

/* What is recorded of one. Texts may be NULL: "". */
struct store_exemption {
	struct prefix prefix;
	const char *class; /* NULL: full */
	uint8_t n_dst;	   /* of a class for listed destinations */
	const struct prefix *dst;
	int64_t subscriber; /* 0: whoever holds the lease of the whole prefix now, if anybody */
	enum exempt_state state; /* NONE: active */
	const char *contract, *service, *fixed /* by provisioning: "yes", "no" */, *access_port,
	    *contact, *abuse_contact, *usage, *software, *volume, *helo, *domain, *approver,
	    *ticket, *reason, *actor;
	int64_t starts_ms, expires_ms; /* expires 0: never */
	int64_t aup_ms, review_ms;     /* 0: none */
	int64_t until_ms;	       /* of a suspended one; 0: until it is resumed */
	int64_t evidence_due_ms;       /* 0: not by itself */
};

/* One that is there. */
struct store_exempt {
	struct policy_entry entry;
	enum exempt_state state;
	int64_t subscriber, until_ms;
	char suspended_by[12]; /* "operator" "evidence" "line" "" */
	char evidence[8];      /* "good" "weak" "unknown" "bad" "" */
	int64_t evidence_ms, held_ms, bad_ms;
	char helo[256], domain[256], contract[128];
};

uint64_t store_policy_version(struct store *s);
/* The exemption of exactly this prefix that has not ended: its id or 0. */
int64_t store_exemption(struct store *s, const struct prefix *p);
bool store_exempt_of(struct store *s, const struct prefix *p, struct store_exempt *out);
bool store_exempt(struct store *s, int64_t id, struct store_exempt *out);
/* One sentence about it: "192.0.2.1 is exempt already (id 3, contract K-7, never expires)". buf of
 * n bytes. */
void store_exemption_text(struct store *s, int64_t id, char *buf, size_t n);
/* Each state on its way is in the history, with the actor and the reason; the audit row is the
 * caller's. */
int64_t store_exemption_add(struct store *s, const struct store_exemption *e, int64_t now_ms);
/* What is recorded becomes e's; the state stays, and a subscriber e does not name. False: it was so
 * already. */
bool store_exemption_update(struct store *s, const struct store_exempt *old,
			    const struct store_exemption *e, int64_t now_ms);
/* Its state, by the way exempt_path() knows; false when there is none. by and until_ms are of a
 * suspension (NULL, 0). With its rows in history and, with an action, in the audit trail. */
struct store_exempt_move {
	enum exempt_state to;
	const char *action, *reason; /* action NULL: no audit row of its own */
	const char *by;
	int64_t until_ms;
};
bool store_exemption_move(struct store *s, int64_t id, const struct store_exempt_move *m,
			  const struct store_who *w, int64_t now_ms);
/* A line in its history without a change of state. */
void store_exemption_note(struct store *s, int64_t id, const struct store_who *w, const char *old,
			  const char *now, const char *reason, int64_t now_ms);
/* Expires what is due and resumes what was suspended until now, with audit rows; in its own
 * transaction. The time of the next one, 0: none. */
int64_t store_exemptions_expire(struct store *s, int64_t now_ms);
/* p goes to subscriber at t: the exemptions of others that share an address with it end, or are
 * shortened when t is to come. One that is nobody's stays. Used by store_lease_add(). */
void store_exemptions_revoke(struct store *s, int64_t subscriber, const struct prefix *p,
			     int64_t t_ms, const struct store_who *w, int64_t now_ms);
/*
 * The line p has ended (its lease, ports 0 to 65535): the active exemptions inside it of subscriber
 * (0: of anybody) are suspended, "line ended", unless another lease of theirs still holds the whole
 * of the prefix; one that is nobody's stays. It has come back to subscriber: those suspended by
 * that are in force again. In the caller's transaction, after its change of leases. How many.
 */
int store_exemptions_line_ended(struct store *s, int64_t subscriber, const struct prefix *p,
				const struct store_who *w, int64_t now_ms);
int store_exemptions_line_back(struct store *s, int64_t subscriber, const struct prefix *p,
			       const struct store_who *w, int64_t now_ms);
/* Calls fn for every one that has not ended; fn must not use the store. */
void store_exemptions_each(struct store *s, void (*fn)(int64_t id, void *arg), void *arg);

/* Evidence: the next one whose look is due by t (0: none), and when the next is due (0: never). */
int64_t store_evidence_due(struct store *s, int64_t t_ms);
int64_t store_evidence_next(struct store *s);
void store_evidence_plan(struct store *s, int64_t id, int64_t due_ms); /* 0: not by itself */
struct store_evidence {
	const char *word, *detail; /* "good"; JSON */
	int64_t due_ms, held_ms, bad_ms;
};
void store_evidence_put(struct store *s, int64_t id, const struct store_evidence *e,
			int64_t now_ms);
/* Every active entry, told one by one, for a snapshot of *version. False on error: what was told is
 * then nothing. fn must not use the store. */
bool store_policy_snapshot(struct store *s, void (*fn)(const struct policy_entry *e, void *arg),
			   void *arg, uint64_t *version);

/* --- incidents (store_incident.c) --- */

struct store_incident {
	int64_t id, account, subscriber;
	char state[16], subject_type[16], subject[EVENT_ACCOUNT_MAX + 1], detector[32];
	int64_t penalty_ms, released_ms;
};
bool store_incident(struct store *s, int64_t id, struct store_incident *out);
/* The newest unresolved one of the account with this detector (NULL: any). */
bool store_incident_of(struct store *s, const char *account, const char *detector,
		       struct store_incident *out);
/* The newest unresolved one of the subscriber. */
bool store_incident_of_subscriber(struct store *s, int64_t subscriber, struct store_incident *out);
struct store_incident_new {
	const char *subject_type, *subject;
	int64_t account, subscriber; /* 0: none */
	const char *detector, *why, *severity, *actor;
};
int64_t store_incident_open(struct store *s, const struct store_incident_new *n, int64_t now_ms);
void store_incident_note(struct store *s, int64_t id, const char *actor, const char *what,
			 const char *text, int64_t now_ms);
void store_incident_contain(struct store *s, int64_t id, int64_t penalty_ms, int64_t now_ms);
/* why is what is known now; "": leave it. */
void store_incident_why(struct store *s, int64_t id, const char *why);
/* The stage of its penalty, as ratelimit/rl.h names it. */
void store_incident_stage(struct store *s, int64_t id, const char *stage);
void store_incident_state(struct store *s, int64_t id, const char *state, const char *owner,
			  int64_t now_ms);
/* The contained incidents of an account become released; how many. */
int store_incident_release(struct store *s, const char *account, const char *actor,
			   const char *text, int64_t now_ms);
/* A penalty of this account and time was released here before. */
bool store_penalty_released(struct store *s, const char *account, int64_t penalty_ms);
/* A contained incident of this account carries this penalty. */
bool store_penalty_known(struct store *s, const char *account, int64_t penalty_ms);
/* Contained incidents about accounts, for the reconciliation: calls f for each. */
void store_incidents_contained(struct store *s,
			       void (*f)(const char *account, int64_t penalty_ms,
					 const char *detector, const char *why, void *arg),
			       void *arg);

/* --- reflexes (store_reflex.c) --- */

/* Addresses from which the account logged in or sent since then, the last used first: the number,
 * up to max. */
int store_account_sources(struct store *s, const char *login, int64_t since_ms, struct addr *out,
			  int max);
/* Accounts that logged in or sent from p since then; the same. */
struct store_login {
	char login[EVENT_ACCOUNT_MAX + 1];
};
int store_line_accounts(struct store *s, const struct prefix *p, int64_t since_ms,
			struct store_login *out, int max);
/* The narrowest exemption in force that covers a: its id, 0: none. */
int64_t store_exemption_covering(struct store *s, const struct addr *a, int64_t now_ms);
/* What was done of itself to an exemption or an account, because of one another. */
struct store_reflex {
	int64_t id, incident, exemption;
	char did[8]; /* "note" "suspend": the exemption; "watch" "hold": the account */
};
void store_reflex_put(struct store *s, int64_t incident, int64_t exemption, const char *did,
		      int64_t now_ms);
bool store_reflex_known(struct store *s, int64_t incident, int64_t exemption);
/* The next after that id of the incident (0: any) and the exemption (0: any) that is not undone. */
bool store_reflex_next(struct store *s, int64_t incident, int64_t exemption, int64_t after,
		       struct store_reflex *out);
void store_reflex_undone(struct store *s, int64_t id, int64_t now_ms);

/* --- reports (store_report.c) --- */

struct store_message { /* of ev_message */
	int64_t account;
	char login[EVENT_ACCOUNT_MAX + 1], queue_id[EVENT_ID_MAX + 1], token[EVENT_ID_MAX + 1];
};
bool store_message_by_token(struct store *s, const char *token, struct store_message *out);
bool store_message_by_queue_id(struct store *s, const char *queue_id, struct store_message *out);
/* The one account that sent as mail_from in [from,to); out->queue_id and token are "" when it was
 * more than one message. False: none, or several accounts (*several). */
bool store_message_by_sender(struct store *s, const char *mail_from, int64_t from_ms, int64_t to_ms,
			     struct store_message *out, bool *several);
/* The one account that submitted from src, by a port of the subscriber's lease, in [from,to]: 0
 * when none or several. */
int64_t store_account_at(struct store *s, const struct addr *src, int64_t subscriber,
			 int64_t from_ms, int64_t to_ms, char *login, size_t n);

struct store_report {
	int64_t received_ms;
	const char *format, *feedback_type, *reporter, *source_ip, *match, *token, *queue_id,
	    *sha256, *error, *fields, *original_headers;
	int source_port; /* 0: not said */
	int64_t arrival_ms, account, subscriber, incident;
};
int64_t store_report_add(struct store *s, const struct store_report *r);
/* {"id","match","account","subscriber","incident"} of the one with this sha256 (NULL) or id; NULL:
 * none. */
json_t *store_report_row(struct store *s, const char *sha256, int64_t id);
void store_report_attach(struct store *s, int64_t id, int64_t incident);
/* Has the account's message been complained of before? */
bool store_report_again(struct store *s, int64_t account, const char *queue_id);
/* Complaints (not-spam aside) filed under an incident; all of one message are one. */
int64_t store_report_count(struct store *s, int64_t incident);

/* --- doors (store_door.c) --- */

enum store_role { ROLE_NONE = 0, ROLE_VIEWER = 1, ROLE_DESK = 2, ROLE_ADMIN = 3 };
const char *store_role_name(enum store_role r);
enum store_role store_role_parse(const char *name); /* ROLE_NONE: no such role */

/* hash: buf for the crypt(5) text. False: no such operator. */
bool store_operator(struct store *s, const char *user, char *hash, size_t n, enum store_role *role);
void store_operator_put(struct store *s, const char *user, const char *hash, enum store_role role,
			int64_t now_ms);
bool store_operator_remove(struct store *s, const char *user); /* its sessions go with it */
json_t *store_operator_list(struct store *s);
int64_t store_admins(struct store *s); /* operators with the role admin */

struct store_session {
	char user[65], address[ADDR_STRLEN];
	enum store_role role;
	int64_t created_ms, seen_ms;
};
void store_session_add(struct store *s, const char *hash, const char *user, const char *address,
		       int64_t now_ms);
bool store_session(struct store *s, const char *hash, struct store_session *out);
void store_session_seen(struct store *s, const char *hash, int64_t now_ms);
void store_session_remove(struct store *s, const char *hash);

/* One bounded step of retention: events, rollups, ended leases and reports before `before`,
 * sessions not seen since then or older. True: call again soon. Raw reports to unlink go to f. */
bool store_prune(struct store *s, int64_t before_ms, int64_t sessions_before_ms,
		 void (*f)(const char *sha256, void *arg), void *arg);

/* {"schema","policy_version","events","accounts","incidents_open","exemptions"} and sizes */
json_t *store_status(struct store *s);

#endif
