/*
 * query - every question the dashboard and sekishoctl ask of the accounting database, read-only.
 *
 * Opens the database mode=ro with query_only and a progress-handler deadline of 2 s; works while
 * acctd is away. Each call returns a new jansson value (the caller drops it) or NULL with *err
 * (static or database text). Times in JSON are integers, UTC milliseconds, in keys ending in _ms;
 * addresses and prefixes are text. Lists are arrays of flat objects, newest first, at most `limit`
 * rows.
 */
#ifndef ACCOUNTING_QUERY_H
#define ACCOUNTING_QUERY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

struct query;

struct query *query_open(const char *state_dir,
			 const char **err); /* <state_dir>/accounting/control.db */
void query_close(struct query *q);

/*
 * {"blocked_packets":n,"blocked_sources":n,   in [since,now)
 *  "accepted":n,"held":n,"refused":n,"delivered":n,"bounced":n,"deferred":n,"logins_ok":n,"logins_failed":n,
 *  "incidents_open":n,"incidents_contained":n,"incidents_released":n,"reports_unmatched":n,"exemptions_active":n,
 *  "exemptions_expiring_30d":n,"alerts_retrying":n}; alerts_retrying were tried and have not
 * arrived.
 */
json_t *query_overview(struct query *q, int64_t since_ms, int64_t now_ms, const char **err);
/* {"incidents_open","alerts_retrying","reports_unmatched"} of it: what every page shows. */
json_t *query_nav(struct query *q, const char **err);
/*
 * Who is hurting us in [since,now):
 * {"lines":[{"source","subscriber","subscriber_name","packets","dsts","first_ms","last_ms"}],
 *  "accounts":[{"account","subscriber","messages","rcpts","refused","bounced","held","stage","last_ms"}]}
 * worst first. source is an address, or a line of several as nfqd counts them: "2001:db8:1::/64".
 */
json_t *query_top(struct query *q, int64_t since_ms, int64_t now_ms, int limit, const char **err);
/* 24 h ending now in 15-minute buckets: [{"t_ms","blocked","accepted","held","refused"}], oldest
 * first, 96 rows, zeros included. */
json_t *query_chart(struct query *q, int64_t now_ms, const char **err);

/*
 * [{"id","prefix","class","to","state","subscriber","subscriber_name","contract","service","static",
 *   "access_port","contact","abuse_contact","use","software","volume","helo","domain","aup_ms",
 *   "approver","ticket","reason","actor","created_ms","starts_ms","expires_ms","review_ms",
 *   "ended_ms","suspended_by","suspended_until_ms","evidence","evidence_ms","evidence_bad_ms",
 *   "evidence_held_ms","last_seen_ms","packets"}];
 * state is as exempt_state.h names it, or "pending" for an active one that starts later; expires_ms
 * is null for never; to has commas between its prefixes; suspended_by is "operator", "evidence" or
 * "line"; evidence is "good", "weak", "unknown", "bad" or "".
 */
struct query_exempt {
	bool all;	   /* ended ones too */
	const char *state; /* NULL here and below: any */
	const char *class, *subscriber, *evidence;
	int64_t expires_ms; /* those that expire by then; 0: any */
	const struct prefix *within;
	int64_t before_id; /* the next page of a list that ended with this id; 0: the first */
};
json_t *query_exemptions(struct query *q, const struct query_exempt *f, int limit, int64_t now_ms,
			 const char **err);
/* One of them, with "evidence_items":[{"item","verdict","words"}] and
 * "history":[{"t_ms","actor","old","new","reason"}], oldest first. Of a prefix the one that lives,
 * else the last. NULL with *err "not found" when there is none. */
json_t *query_exemption(struct query *q, int64_t id, int64_t now_ms, const char **err);
json_t *query_exemption_of(struct query *q, const struct prefix *p, int64_t now_ms,
			   const char **err);

/* Which rows of a list. */
struct query_list {
	const char *state; /* see each list; NULL: its default */
	const char *about; /* what the rows have to do with, see each list; NULL: anything */
	int64_t before_id; /* the next page of a list that ended with this id; 0: the first */
};

/* [{"id","state","subject","subject_type","subscriber","subscriber_name","detector","why","severity","stage","opened_ms","updated_ms","contained_ms","released_ms","resolved_ms",
 *   "owner","reports","held_since"}]. state NULL: all that are not resolved; "all"; or one state.
 * about: the subject, or the subscriber's ref. stage is the detector's: "watch", "throttle",
 * "hold", "suspend" or "". subject_type is "account" or "line"; why is one sentence; held_since
 * counts the messages that came in since the hold (what was queued before it is msad's to say:
 * queue.list). */
json_t *query_incidents(struct query *q, const struct query_list *l, int limit, const char **err);
/* One of them, with "timeline":[{"t_ms","actor","what","text"}] oldest first, "reports":[...] (the
 * list in place of the number),
 * "messages":[last 20 of the account], "lines":[leases of the subscriber],
 * "answers":[{"answer","n","first_ms","last_ms"}]: what mail servers said of the account's mail
 * from a day before on, by class. NULL with *err "not found" when there is none. */
json_t *query_incident(struct query *q, int64_t id, const char **err);

/* [{"id","received_ms","format","feedback_type","reporter","source_ip","source_port","arrival_ms","match","account","subscriber","incident","token","queue_id","sha256","error"}].
 * match is "token" "queue_id" "tag" "lease" "none"; state NULL (all), "matched" or "unmatched": match is
 * "none" and nobody has put it under an incident by hand. about: account, subscriber's ref, source
 * address, or a part of the reporter's name. */
json_t *query_reports(struct query *q, const struct query_list *l, int limit, const char **err);
/* One of them, with "fields":{ARF fields, arrays of text} and "original_headers" text. */
json_t *query_report(struct query *q, int64_t id, const char **err);

/* Who used addr (and port, -1 unknown) at t:
 * [{"subscriber","subscriber_name","prefix","port_lo","port_hi","from_ms","to_ms","source","accounts":[login…],
 *   "exemptions":["PREFIX STATE"…],"blocked":n,"incident_ids":[id…]}];
 * several when ambiguous, [] when nobody. exemptions are the subscriber's that share an address
 * with the lease and have not ended; blocked counts the refused port-25 packets of addr in the 24 h
 * before t, incident_ids are the subscriber's unresolved ones. */
json_t *query_who(struct query *q, const struct addr *a, int port, int64_t t_ms, const char **err);
/* [{"id","prefix","port_lo","port_hi","subscriber","from_ms","to_ms","source"}] */
json_t *query_leases(struct query *q, bool all, int limit, const char **err);
/* The same of those that begin inside p, in force at t, in the order of their addresses. */
json_t *query_leases_within(struct query *q, const struct prefix *p, int64_t t_ms, int limit,
			    const char **err);
/* [{"id","ref","name","contact","accounts":[login…]}] */
json_t *query_subscribers(struct query *q, int limit, const char **err);
/* The same of those whose ref is text, or whose name has it in it; the ref first. */
json_t *query_subscribers_named(struct query *q, const char *text, int limit, const char **err);
/* Whose the account is: {"login","subscriber","subscriber_name"}, null when nobody knows. NULL with
 * *err "not found" when nobody has seen it. */
json_t *query_account(struct query *q, const char *login, const char **err);
/* One of them, with "lines": their last leases. NULL with *err "not found". */
json_t *query_subscriber(struct query *q, const char *ref, const char **err);
/* [{"seq","t_ms","actor","peer","action","object","reason","detail"}]. about: a part of actor,
 * action or object; before_id is a seq. */
json_t *query_audit(struct query *q, const struct query_list *l, int limit, const char **err);
/* Messages of an account:
 * [{"t_ms","queue_id","token","src","mail_from","rcpts","rcpt_domains","size","held","message_id"}]
 */
json_t *query_messages(struct query *q, const char *account, int limit, const char **err);
/* Messages of that queue id, token or Message-ID (with or without its brackets), newest first: as
 * above with "account" */
json_t *query_find(struct query *q, const char *text, int limit, const char **err);
/* One message: {"t_ms","queue_id","account","session","token","src","src_port","mail_from","rcpts",
 *   "rcpt_domains","size","held","message_id",
 *   "deliveries":[{"t_ms","rcpt","result","answer","status","reply","server","tls","cipher","proof"}]},
 * newest first. Of a notice of ours only queue_id and deliveries. answer is a word of
 * ratelimit/answer.h; proof is what is known of who was there: "dane", "sts", "verify", "trusted",
 * "encrypt", "unverified". NULL with *err "not found". */
json_t *query_message(struct query *q, const char *queue_id, int limit, const char **err);
/* Networks (/24, /48) from which somebody logged in, or tried to, as account since since_ms, those
 * with a good login first: [{"network","ok","failed","addresses","first_ms","last_ms","mech"}] */
json_t *query_logins(struct query *q, const char *account, int64_t since_ms, int limit,
		     const char **err);

/* The outbox of alerts, a row a receiver:
 * [{"id","alert","uuid","rule","kind","severity","made_ms","title","to","state",
 * "attempts","next_ms","done_ms","answer"}]; alert is the number of the alert. state is "waiting",
 * "sent" or "failed"; NULL: all. about: the rule or the kind. */
json_t *query_alerts(struct query *q, const struct query_list *l, int limit, const char **err);
/* One alert: {"id","uuid","rule","kind","made_ms","title","body":{as sent, protocols/alert.md},
 * "sends":[{"id","to","state","attempts","next_ms","done_ms","answer"}]}. NULL with *err "not found". */
json_t *query_alert(struct query *q, int64_t id, const char **err);

#endif
