/*
 * query_stmts - every statement of the readers, in one list (X(name, sql)). Included by query.c
 * only.
 */
#ifndef ACCOUNTING_QUERY_STMTS_H
#define ACCOUNTING_QUERY_STMTS_H

#define SUM_OF(m, as)                                                                              \
	"ifnull((SELECT sum(n) FROM rollup WHERE metric = '" m                                     \
	"' AND t_ms >= ?1 AND t_ms < ?3), 0) AS " as

/* The one subscriber that held the address at the time; NULL when nobody did, or several. */
#define HOLDER(addr, t)                                                                            \
	"(" HOLDING_LEASES(addr, "-1", t) "SELECT CASE WHEN count(DISTINCT subscriber_id) = 1 "    \
					  "THEN min(subscriber_id) END FROM "                      \
					  "holding)"

#define INCIDENT_COLUMNS                                                                           \
	"SELECT i.id, i.state, i.subject, i.subject_type, s.ref AS subscriber, s.name AS "         \
	"subscriber_name, i.detector, i.why, "                                                     \
	"i.severity, i.stage, i.opened_ms, i.updated_ms, i.contained_ms, i.released_ms, i.resolved_ms, "    \
	"i.owner, "                                                                                \
	"(SELECT count(*) FROM report r WHERE r.incident_id = i.id AND r.feedback_type <> "        \
	"'not-spam') AS reports, "                                                                 \
	"(SELECT count(*) FROM ev_message m WHERE i.state = 'contained' AND m.account_id = "       \
	"i.account_id "                                                                            \
	"AND m.t_ms >= i.contained_ms AND m.held) AS held_since "                                  \
	"FROM incident i LEFT JOIN subscriber s ON s.id = i.subscriber_id "

#define REPORT_COLUMNS(more)                                                                       \
	"SELECT r.id, r.received_ms, r.format, r.feedback_type, r.reporter, r.source_ip, "         \
	"r.source_port, r.arrival_ms, r.match, "                                                   \
	"a.login AS account, s.ref AS subscriber, r.incident_id AS incident, r.token, "            \
	"r.queue_id, r.sha256, r.error" more                                                       \
	" FROM report r LEFT JOIN account a ON a.id = r.account_id LEFT JOIN subscriber s ON "     \
	"s.id = r.subscriber_id "

/* Nobody was found for it, and nobody has put it under an incident either. */
#define UNMATCHED "r.match = 'none' AND r.incident_id IS NULL"

#define LEASE_COLUMNS                                                                              \
	"SELECT l.id, prefix_text(l.first, l.plen) AS prefix, l.port_lo, l.port_hi, s.ref AS "     \
	"subscriber, l.from_ms, l.to_ms, "                                                         \
	"l.source FROM lease l JOIN subscriber s ON s.id = l.subscriber_id "

#define MESSAGE_COLUMNS                                                                            \
	"SELECT t_ms, queue_id, token, addr_text(src) AS src, mail_from, rcpts, rcpt_domains, "    \
	"size, held AS \"?held\", message_id "                                                     \
	"FROM ev_message "

/* As it is shown: one that starts later is pending. ?3 is now. */
#define EXEMPTION_STATE                                                                            \
	"CASE WHEN e.state = 'active' AND e.starts_ms > ?3 THEN 'pending' ELSE e.state END"

#define EXEMPTION_COLUMNS(more)                                                                    \
	"SELECT e.id, prefix_text(e.first, e.plen) AS prefix, e.class, replace(e.dst, ' ', ',') "  \
	"AS \"to\", " EXEMPTION_STATE                                                              \
	" AS state, s.ref AS subscriber, s.name AS subscriber_name, e.contract, e.service, "       \
	"e.static, e.access_port, "                                                                \
	"e.contact, e.abuse_contact, e.usage AS \"use\", e.software, e.volume, e.helo, e.domain, " \
	"e.aup_ms, e.approver, "                                                                   \
	"e.ticket, e.reason, e.actor, e.created_ms, e.starts_ms, e.expires_ms, e.review_ms, "      \
	"e.ended_ms, CASE WHEN e.state = 'suspended' AND EXISTS (SELECT 1 FROM reflex r WHERE "    \
	"r.exemption_id = e.id AND r.did = 'suspend' AND r.undone_ms IS NULL) THEN 'reflex' ELSE " \
	"e.suspended_by END AS suspended_by, "                                                     \
	"e.suspended_until_ms, e.evidence, e.evidence_ms, e.evidence_bad_ms, e.evidence_held_ms, " \
	"e.last_seen_ms, e.packets" more                                                           \
	" FROM exemption e LEFT JOIN subscriber s ON s.id = e.subscriber_id "

#define LOGINS_OF_S                                                                                \
	"(SELECT json_group_array(login) FROM (SELECT login FROM account WHERE subscriber_id = "   \
	"s.id ORDER BY login)) "                                                                   \
	"AS \"=accounts\" "

/* The subscriber's exemptions that have not ended and share an address with the lease: "PREFIX
 * STATE". */
#define EXEMPTIONS_OF_L                                                                            \
	"(SELECT json_group_array(prefix_text(e.first, e.plen) || ' ' || e.state) FROM exemption " \
	"e WHERE e.subscriber_id = s.id AND e.ended_ms IS NULL AND e.first <= l.last AND e.last "  \
	">= l.first) AS \"=exemptions\""
/* Port-25 packets of the address (IPv6: of the whole lease, for they are summed by prefix) that
 * were refused in the day before, while the lease was theirs. */
#define BLOCKED_OF_L(addr, t)                                                                      \
	"ifnull((SELECT sum(b.packets) FROM ev_block b WHERE b.src BETWEEN CASE WHEN l.plen > 32 " \
	"THEN l.first ELSE " addr " END AND CASE WHEN l.plen > 32 THEN l.last ELSE " addr " END "  \
	"AND b.kind = 1 AND b.t_ms > " t " - 86400000 AND b.t_ms <= " t                            \
	" AND b.last_ms >= l.from_ms), 0) AS blocked"
#define INCIDENTS_OF_S                                                                             \
	"(SELECT json_group_array(id) FROM (SELECT i.id FROM incident i WHERE i.subscriber_id = "  \
	"s.id AND i.state <> 'resolved' ORDER BY i.id DESC LIMIT 20)) AS \"=incident_ids\""

/* ?1 since, to the minute; ?2 since, to the 5 minutes; ?3 now */
#define QUERY_STATEMENTS(X)                                                                                                                                                                                                                                                       \
	X(Q_OVERVIEW,                                                                                                                                                                                                                                                             \
	  "SELECT " SUM_OF(                                                                                                                                                                                                                                                       \
	      "blocked",                                                                                                                                                                                                                                                          \
	      "blocked_packets") ", "                                                                                                                                                                                                                                             \
				 "(SELECT count(DISTINCT src) FROM ev_block WHERE t_ms >= ?2 AND "                                                                                                                                                                                \
				 "t_ms < ?3 AND kind = 1 AND last_ms >= ?1) AS "                                                                                                                                                                                                  \
				 "blocked_sources, " SUM_OF("accepted", "accepted") ", " SUM_OF("held", "held") ", " SUM_OF("refused", "refused") ", " SUM_OF(                                                                                                                    \
				     "delivered",                                                                                                                                                                                                                                 \
				     "delivered") ", " SUM_OF("bounced",                                                                                                                                                                                                          \
							      "bounced") ", " SUM_OF("deferred",                                                                                                                                                                                  \
										     "deferred") ", " SUM_OF("login_ok",                                                                                                                                                          \
													     "logins_ok") ", " SUM_OF("login_failed",                                                                                                                             \
																      "logins_failed") ", "                                                                                                                       \
																		       "(SELECT count(*) FROM incident WHERE state IN ('open', 'acknowledged')) AS incidents_open, "                              \
																		       "(SELECT count(*) FROM incident WHERE state = 'contained') AS incidents_contained, (SELECT count(*) FROM incident WHERE state = 'released') AS incidents_released, " "(SELECT count(*) FROM alert_send WHERE state = 'waiting' AND attempts > 0) AS alerts_retrying, "                                       \
																		       "(SELECT count(*) FROM report r WHERE " UNMATCHED                                                                          \
																		       ") AS reports_unmatched, "                                                                                                 \
																		       "(SELECT count(*) FROM exemption WHERE state = 'active' AND starts_ms <= ?3 AND (expires_ms IS NULL OR expires_ms > ?3)) " \
																		       "AS exemptions_active, "                                                                                                   \
																		       "(SELECT count(*) FROM exemption WHERE state = 'active' AND expires_ms > ?3 AND expires_ms <= ?3 + 2592000000) "           \
																		       "AS exemptions_expiring_30d")                                                                                              \
	/* What stands beside the links of every page: each by an index, whatever there is. */                                                                                                                                                                                                   \
	X(Q_NAV, "SELECT (SELECT count(*) FROM incident WHERE state IN ('open', 'acknowledged')) AS incidents_open, (SELECT count(*) FROM alert_send " \
		 "WHERE state = 'waiting' AND attempts > 0) AS alerts_retrying, (SELECT count(*) FROM report r WHERE " UNMATCHED ") AS reports_unmatched") \
	X(Q_TOP_LINES, "SELECT addr_text(t.src) || iif(t.plen, '/' || t.plen, '') AS source, s.ref AS subscriber, s.name AS "                                                                                                                                                     \
		       "subscriber_name, t.packets, t.dsts, "                                                                                                                                                                                                                     \
		       "t.first_ms, t.last_ms FROM (SELECT src, sum(packets) AS packets, "                                                                                                                                                                                        \
		       "max(dsts) AS dsts, min(first_ms) AS first_ms, "                                                                                                                                                                                                           \
		       "max(last_ms) AS last_ms, max(plen) AS plen FROM ev_block WHERE t_ms >= ?2 AND t_ms < ?3 AND "                                                                                                                                                             \
		       "kind = 1 AND last_ms >= ?1 GROUP BY src "                                                                                                                                                                                                                 \
		       "ORDER BY 2 DESC LIMIT ?4) t LEFT JOIN subscriber s ON s.id = " HOLDER(                                                                                                                                                                                    \
			   "t.src", "t.last_ms") " ORDER BY t.packets DESC")                                                                                                                                                                                                      \
	X(Q_TOP_ACCOUNTS, "SELECT a.login AS account, s.ref AS subscriber, t.messages, t.rcpts, "                                                                                                                                                                                 \
			  "t.refused, t.bounced, t.held, "                                                                                                                                                                                                                        \
			  "CASE WHEN EXISTS (SELECT 1 FROM incident i WHERE i.account_id = a.id "                                                                                                                                                                                 \
			  "AND i.state = 'contained') THEN 'hold' "                                                                                                                                                                                                               \
			  "ELSE 'normal' END AS stage, t.last_ms FROM (SELECT account_id, "                                                                                                                                                                                       \
			  "sum(messages) AS messages, sum(rcpts) AS rcpts, "                                                                                                                                                                                                      \
			  "sum(refused) AS refused, sum(bounced) AS bounced, sum(held) AS held, "                                                                                                                                                                                 \
			  "max(last_ms) AS last_ms FROM account_rollup "                                                                                                                                                                                                          \
			  "WHERE t_ms >= ?2 AND t_ms < ?3 AND last_ms >= ?1 GROUP BY account_id "                                                                                                                                                                                 \
			  "ORDER BY sum(rcpts) + sum(refused) + sum(bounced) DESC LIMIT ?4) t "                                                                                                                                                                                   \
			  "JOIN account a ON a.id = t.account_id "                                                                                                                                                                                                                \
			  "LEFT JOIN subscriber s ON s.id = a.subscriber_id ORDER BY t.rcpts + "                                                                                                                                                                                  \
			  "t.refused + t.bounced DESC")                                                                                                                                                                                                                           \
	X(Q_CHART, "SELECT metric, (t_ms - ?1) / 900000, sum(n) FROM rollup WHERE metric IN "                                                                                                                                                                                     \
		   "('blocked', 'accepted', 'held', 'refused') "                                                                                                                                                                                                                  \
		   "AND t_ms >= ?1 AND t_ms < ?2 GROUP BY 1, 2")                                                                                                                                                                                                                  \
	X(Q_EXEMPTIONS,                                                                                                                                                                                                                                                           \
	  EXEMPTION_COLUMNS(                                                                                                                                                                                                                                                      \
	      "") "WHERE (?1 OR e.ended_ms IS NULL) AND (?11 = 0 OR e.id < ?11) AND (?4 IS NULL "                                                                                                                                                                                 \
		  "OR " EXEMPTION_STATE " = ?4) "                                                                                                                                                                                                                                 \
		  "AND (?5 IS NULL OR e.class = ?5) AND (?6 IS NULL OR s.ref = ?6) "                                                                                                                                                                                              \
		  "AND (?7 = 0 OR e.expires_ms <= ?7) AND (?8 IS NULL OR (e.first >= ?8 AND "                                                                                                                                                                                     \
		  "e.last <= ?9)) "                                                                                                                                                                                                                                               \
		  "AND (?10 IS NULL OR e.evidence = ?10) ORDER BY e.id DESC LIMIT ?2")                                                                                                                                                                                            \
	X(Q_EXEMPTION,                                                                                                                                                                                                                                                            \
	  EXEMPTION_COLUMNS(                                                                                                                                                                                                                                                      \
	      ", e.evidence_detail AS \"=evidence_items\"") "WHERE e.id = ?1 AND ?2 IS NULL")                                                                                                                                                                                     \
	X(Q_EXEMPTION_OF, "SELECT id FROM exemption WHERE plen = ?1 AND first = ?2 ORDER BY "                                                                                                                                                                                     \
			  "ended_ms IS NULL DESC, id DESC LIMIT 1")                                                                                                                                                                                                               \
	X(Q_EXEMPTION_HISTORY, "SELECT t_ms, actor, old, new, reason FROM exemption_event WHERE "                                                                                                                                                                                 \
			       "exemption_id = ?1 ORDER BY id")                                                                                                                                                                                                                   \
	X(Q_INCIDENTS, INCIDENT_COLUMNS \
	  "WHERE CASE ifnull(?1, '') WHEN '' THEN i.state <> 'resolved' WHEN 'all' THEN 1 ELSE i.state = ?1 END AND " \
	  "(?2 IS NULL OR i.subject = ?2 OR s.ref = ?2) AND (?3 = 0 OR i.id < ?3) ORDER BY i.id DESC LIMIT ?4") \
	X(Q_INCIDENT, INCIDENT_COLUMNS "WHERE i.id = ?1")                                                                                                                                                                                                                         \
	X(Q_TIMELINE,                                                                                                                                                                                                                                                             \
	  "SELECT t_ms, actor, what, text FROM incident_event WHERE incident_id = ?1 ORDER BY id")                                                                                                                                                                                \
	X(Q_INCIDENT_REPORTS,                                                                                                                                                                                                                                                     \
	  REPORT_COLUMNS("") "WHERE r.incident_id = ?1 ORDER BY r.id DESC LIMIT 100")                                                                                                                                                                                             \
	X(Q_INCIDENT_MESSAGES,                                                                                                                                                                                                                                                    \
	  MESSAGE_COLUMNS "WHERE account_id = (SELECT account_id FROM incident WHERE id = ?1) "                                                                                                                                                                                   \
			  "ORDER BY t_ms DESC LIMIT 20")                                                                                                                                                                                                                          \
	X(Q_INCIDENT_LINES, LEASE_COLUMNS                                                                                                                                                                                                                                         \
	  "WHERE l.subscriber_id = (SELECT subscriber_id FROM incident WHERE id = ?1) "                                                                                                                                                                                           \
	  "ORDER BY l.from_ms DESC LIMIT 50")                                                                                                                                                                                                                                     \
	X(Q_REPORTS, REPORT_COLUMNS("") "WHERE CASE ifnull(?1, '') WHEN 'matched' THEN NOT (" UNMATCHED ") WHEN 'unmatched' THEN " UNMATCHED \
	  " ELSE 1 END AND (?2 IS NULL OR a.login IN (?2, lower(?2)) OR s.ref = ?2 OR r.source_ip = ?2 OR instr(lower(r.reporter), lower(?2))) " \
	  "AND (?3 = 0 OR r.id < ?3) ORDER BY r.id DESC LIMIT ?4") \
	X(Q_REPORT,                                                                                                                                                                                                                                                               \
	  REPORT_COLUMNS(", r.fields AS \"=fields\", r.original_headers") "WHERE r.id = ?1")                                                                                                                                                                                      \
	X(Q_WHO,                                                                                                                                                                                                                                                                  \
	  HOLDING_LEASES("?1", "?2",                                                                                                                                                                                                                                              \
			 "?3") "SELECT s.ref AS subscriber, s.name AS subscriber_name, "                                                                                                                                                                                          \
			       "prefix_text(l.first, l.plen) AS prefix, l.port_lo, "                                                                                                                                                                                              \
			       "l.port_hi, l.from_ms, l.to_ms, l.source, " LOGINS_OF_S                                                                                                                                                                                            \
			       ", " EXEMPTIONS_OF_L ", " BLOCKED_OF_L(                                                                                                                                                                                                            \
				   "?1", "?3") ", " INCIDENTS_OF_S " "                                                                                                                                                                                                            \
					       "FROM holding l JOIN subscriber s ON s.id = "                                                                                                                                                                                      \
					       "l.subscriber_id ORDER BY l.plen DESC, l.id")                                                                                                                                                                                      \
	X(Q_LEASES, LEASE_COLUMNS "WHERE ?1 OR l.to_ms IS NULL ORDER BY l.id DESC LIMIT ?2")                                                                                                                                                                                      \
	X(Q_SUBSCRIBERS, "SELECT s.id, s.ref, s.name, s.contact, " LOGINS_OF_S                                                                                                                                                                                                    \
			 "FROM subscriber s ORDER BY s.id DESC LIMIT ?1")                                                                                                                                                                                                         \
	X(Q_SUBSCRIBERS_NAMED, "SELECT s.id, s.ref, s.name, s.contact, " LOGINS_OF_S \
	  "FROM subscriber s WHERE s.ref = ?1 OR instr(lower(s.name), lower(?1)) ORDER BY s.ref = ?1 DESC, s.id DESC LIMIT ?2") \
	X(Q_SUBSCRIBER, "SELECT s.id, s.ref, s.name, s.contact, " LOGINS_OF_S "FROM subscriber s WHERE s.ref = ?1") \
	X(Q_ACCOUNT, "SELECT a.login AS login, s.ref AS subscriber, s.name AS subscriber_name FROM account a LEFT JOIN subscriber s ON " \
		     "s.id = a.subscriber_id WHERE a.login IN (?1, lower(?1)) ORDER BY a.login = ?1 DESC LIMIT 1") \
	X(Q_SUBSCRIBER_LINES, LEASE_COLUMNS "WHERE s.ref = ?1 ORDER BY l.from_ms DESC LIMIT 50") \
	X(Q_LEASES_WITHIN, LEASE_COLUMNS \
	  "WHERE l.first BETWEEN ?1 AND ?2 AND l.last <= ?2 AND l.from_ms <= ?3 AND (l.to_ms IS NULL OR l.to_ms > ?3) " \
	  "ORDER BY l.first, l.plen, l.port_lo LIMIT ?4") \
	X(Q_FIND, "SELECT m.t_ms, m.queue_id, m.token, addr_text(m.src) AS src, m.mail_from, m.rcpts, m.rcpt_domains, m.size, " \
	  "m.held AS \"?held\", m.message_id, a.login AS account FROM ev_message m LEFT JOIN account a ON a.id = m.account_id " \
	  "WHERE m.id IN (SELECT id FROM ev_message WHERE queue_id = ?1 UNION SELECT id FROM ev_message WHERE token = ?1 UNION " \
	  "SELECT id FROM ev_message WHERE message_id IN (?1, '<' || ?1 || '>') AND message_id <> '') ORDER BY m.t_ms DESC LIMIT ?2") \
	X(Q_AUDIT, "SELECT seq, t_ms, actor, peer, action, object, reason, detail FROM audit WHERE ?1 IS NULL AND (?2 IS NULL OR " \
	  "instr(actor, ?2) OR instr(action, ?2) OR instr(object, ?2)) AND (?3 = 0 OR seq < ?3) ORDER BY seq DESC LIMIT ?4") \
	X(Q_LOGINS, "SELECT prefix_text(addr_mask(src, len), len) AS network, sum(n * ok) AS ok, sum(n * (1 - ok)) AS failed, " \
		    "count(DISTINCT src) AS addresses, min(t_ms) AS first_ms, max(last_ms) AS last_ms, mech, max(tls) AS tls FROM (SELECT *, CASE WHEN " \
		    "substr(src, 1, 12) = x'00000000000000000000FFFF' THEN 24 ELSE 48 END AS len FROM ev_login WHERE login IN (?1, lower(?1)) AND " \
		    "t_ms >= ?2) GROUP BY network ORDER BY sum(n * ok) > 0 DESC, max(last_ms) DESC LIMIT ?3") \
	X(Q_MESSAGES, MESSAGE_COLUMNS "WHERE account_id = ifnull((SELECT id FROM account WHERE login = ?1), " \
	  "(SELECT id FROM account WHERE login = lower(?1))) ORDER BY t_ms DESC LIMIT ?2") \
	X(Q_MESSAGE, "SELECT m.t_ms, m.queue_id, a.login AS account, m.session, m.token, addr_text(m.src) AS src, m.src_port, " \
		     "m.mail_from, m.rcpts, m.rcpt_domains, m.size, m.held AS \"?held\", m.message_id FROM ev_message m LEFT JOIN " \
		     "account a ON a.id = m.account_id WHERE m.queue_id = ?1 ORDER BY m.t_ms LIMIT 1") \
	X(Q_DELIVERIES, "SELECT t_ms, rcpt, CASE result WHEN 1 THEN 'delivered' WHEN 2 THEN 'bounced' ELSE 'deferred' END AS result, " \
			"answer, status, reply, server, tls, cipher, proof, returned AS \"?returned\" FROM ev_delivery WHERE queue_id = ?1 ORDER BY id DESC " \
			"LIMIT ?2") \
	X(Q_ALERTS, "SELECT o.id, o.alert_id AS alert, a.uuid, a.rule, a.kind, json_extract(a.body, '$.severity') AS severity, a.made_ms, " \
	  "a.title, o.dest AS \"to\", o.state, o.attempts, CASE o.state WHEN 'waiting' THEN o.next_ms END AS next_ms, o.done_ms, o.answer " \
	  "FROM alert_send o JOIN alert a ON a.id = o.alert_id WHERE (?1 IS NULL OR o.state = ?1) AND (?2 IS NULL OR a.rule = ?2 OR " \
	  "a.kind = ?2) AND (?3 = 0 OR o.id < ?3) ORDER BY o.id DESC LIMIT ?4") \
	X(Q_ALERT, "SELECT id, uuid, rule, kind, made_ms, title, body AS \"=body\" FROM alert WHERE id = ?1") \
	X(Q_ALERT_SENDS, "SELECT id, dest AS \"to\", state, attempts, CASE state WHEN 'waiting' THEN next_ms END AS next_ms, done_ms, answer " \
	  "FROM alert_send WHERE alert_id = ?1 ORDER BY id") \
	X(Q_INCIDENT_ANSWERS, "SELECT d.answer, count(*) AS n, sum(d.returned) AS returned, min(d.t_ms) AS first_ms, max(d.t_ms) AS last_ms FROM ev_delivery d JOIN " \
			      "incident i ON i.account_id = d.account_id WHERE i.id = ?1 AND d.answer > 0 AND d.t_ms >= i.opened_ms - " \
			      "86400000 GROUP BY d.answer ORDER BY n DESC")

#endif
