/*
 * store_stmts - every statement of the writer, in one list (X(name, sql)). Included by store_int.h
 * and store.c only.
 */
#ifndef ACCOUNTING_STORE_STMTS_H
#define ACCOUNTING_STORE_STMTS_H

/* Those of the prefix ?1..?2 of length ?3, or inside it, ... */
#define LEASES_INSIDE "FROM lease l WHERE l.first BETWEEN ?1 AND ?2 AND l.plen >= ?3 "
/* those of the prefix, or around it, ... */
#define LEASES_AROUND                                                                              \
	"FROM len JOIN lease l ON l.plen = len.n AND l.first = addr_mask(?1, len.n) WHERE len.n "  \
	"<= ?3 "
/* ... that share a port of ?4..?5, are not subscriber ?6's, and go on after ?7. */
#define LEASES_MET                                                                                 \
	"AND (l.to_ms IS NULL OR l.to_ms > ?7) "                                                   \
	"AND l.port_lo <= ?5 AND l.port_hi >= ?4 AND l.subscriber_id <> ?6 "
#define RADIUS_COLUMNS                                                                             \
	"SELECT id, nas, subscriber_id, port, started, start_ms, first_ms, last_ms, "              \
	"ifnull(stop_ms, 0), ifnull(silent_ms, 0), interims, seen_ms FROM radius_session "
/* Leases told by other sessions, or otherwise to other subscribers, that share a port. */
#define CLAIMS_MET                                                                                 \
	"AND l.port_lo <= ?5 AND l.port_hi >= ?4 AND CASE WHEN l.session_id IS NULL THEN "         \
	"l.subscriber_id <> ?6 ELSE l.session_id <> ?8 END "

/* The prefix lengths of exemptions that live, and of all there were. */
#define EXEMPT_LENGTHS                                                                             \
	"WITH RECURSIVE len(n) AS (SELECT min(plen) FROM exemption WHERE ended_ms IS NULL UNION "  \
	"ALL "                                                                                     \
	"SELECT (SELECT min(plen) FROM exemption WHERE ended_ms IS NULL AND plen > n) FROM len "   \
	"WHERE n IS NOT NULL) "

/* Those that live and share an address with ?1..?2 of length ?3. */
#define EXEMPT_MET                                                                                 \
	EXEMPT_LENGTHS                                                                             \
	", hit(id) AS (SELECT id FROM exemption WHERE ended_ms IS NULL AND first "                 \
	"BETWEEN ?1 AND ?2 AND plen >= ?3 UNION SELECT e.id FROM len JOIN "                        \
	"exemption e ON e.plen = len.n AND e.first = addr_mask(?1, len.n) AND "                    \
	"e.ended_ms IS NULL WHERE len.n < ?3) SELECT e.id FROM hit JOIN exemption e ON e.id = "    \
	"hit.id "

#define EXEMPT_LENGTHS_EVER                                                                        \
	"WITH RECURSIVE len(n) AS (SELECT min(plen) FROM exemption UNION ALL "                     \
	"SELECT (SELECT min(plen) FROM exemption WHERE plen > n) FROM len WHERE n IS NOT NULL) "

/* What store_policy.c reads of one: struct store_exempt. */
#define EXEMPT_ROW                                                                                 \
	"SELECT e.id, e.plen, e.first, e.class, e.starts_ms, ifnull(e.expires_ms, 0), e.dst, "     \
	"e.state, "                                                                                \
	"ifnull(e.subscriber_id, 0), e.suspended_by, ifnull(e.suspended_until_ms, 0), "            \
	"e.evidence, "                                                                             \
	"ifnull(e.evidence_ms, 0), ifnull(e.evidence_held_ms, 0), ifnull(e.evidence_bad_ms, 0), "  \
	"e.helo, e.domain, e.contract FROM exemption e "

#define STORE_STATEMENTS(X)                                                                        \
	X(ST_SETTING, "SELECT value FROM setting WHERE key = ?1")                                  \
	X(ST_POLICY_SET, "UPDATE setting SET value = ?1 WHERE key = 'policy_version'")             \
	X(ST_AUDIT, "INSERT INTO audit(t_ms, actor, peer, action, object, reason, detail) VALUES " \
		    "(?1,?2,?3,?4,?5,?6,?7)")                                                      \
	/* events */                                                                               \
	X(ST_SEQ, "SELECT last_seq FROM feed_source WHERE program = ?1 AND instance = ?2")         \
	X(ST_SEQ_SET,                                                                              \
	  "INSERT INTO feed_source VALUES (?1,?2,?3,?4) ON CONFLICT(program, instance) "           \
	  "DO UPDATE SET last_seq = excluded.last_seq, updated_ms = excluded.updated_ms")          \
	X(ST_EV_BLOCK,                                                                             \
	  "INSERT INTO ev_block(t_ms, kind, src, packets, dsts, first_ms, last_ms, last_dst, "     \
	  "plen) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(t_ms, kind, src) DO UPDATE SET "           \
	  "packets = packets + excluded.packets, dsts = max(dsts, excluded.dsts), "                \
	  "first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, "                   \
	  "excluded.last_ms), "                                                                    \
	  "last_dst = excluded.last_dst, plen = excluded.plen")                                    \
	X(ST_EV_MESSAGE, "INSERT INTO ev_message(t_ms, account_id, src, src_port, session, "       \
			 "queue_id, token, mail_from, "                                            \
			 "message_id, rcpt_domains, rcpts, size, held) VALUES "                    \
			 "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)")                           \
	X(ST_EV_DELIVERY,                                                                          \
	  "INSERT INTO ev_delivery(t_ms, account_id, queue_id, rcpt, status, reply, result, "       \
	  "answer, server, tls, cipher, proof) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)")   \
	X(ST_EV_BOUNCE,                                                                            \
	  "INSERT INTO ev_delivery(t_ms, account_id, queue_id, rcpt, status, reply, result, "      \
	  "answer, server, returned) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,1)")                       \
	X(ST_BOUNCE_TOKEN, "SELECT m.account_id, a.login, m.queue_id, m.rcpts FROM ev_message m "  \
			   "JOIN account a ON a.id = m.account_id WHERE m.token = ?1 AND "         \
			   "m.mail_from = ?2 COLLATE NOCASE")                                      \
	X(ST_BOUNCE_SENT,                                                                          \
	  "SELECT d.account_id, a.login, d.queue_id, 0 FROM (SELECT * FROM ev_delivery WHERE "     \
	  "account_id = (SELECT id FROM account WHERE login = ?1) ORDER BY id DESC LIMIT 2000) d " \
	  "JOIN account a ON a.id = d.account_id WHERE d.t_ms >= ?4 AND d.returned = 0 AND "       \
	  "(d.rcpt = ?2 COLLATE NOCASE OR d.rcpt = ?3 COLLATE NOCASE) ORDER BY d.id DESC LIMIT 1") \
	X(ST_BOUNCE_RCPT, "SELECT rcpt FROM ev_delivery WHERE queue_id = ?1 AND returned = 0 AND " \
			  "(rcpt = ?2 COLLATE NOCASE OR rcpt = ?3 COLLATE NOCASE) LIMIT 1")        \
	X(ST_BOUNCE_COUNT, "SELECT count(*) FROM ev_delivery WHERE queue_id = ?1 AND returned")    \
	X(ST_BOUNCE_KNOWN, "SELECT count(*) FROM ev_delivery WHERE queue_id = ?1 AND rcpt = ?2 "   \
			   "COLLATE NOCASE AND result = ?3")                                       \
	X(ST_EV_LOGIN,                                                                             \
	  "INSERT INTO ev_login VALUES (?1,?2,?3,?4,1,?5,?6,?7,?8,?9) ON CONFLICT(t_ms, login, "   \
	  "src, ok) "                                                                              \
	  "DO UPDATE SET n = n + 1, last_ms = excluded.last_ms, mech = excluded.mech, "            \
	  "session = excluded.session, reason = excluded.reason, tls = excluded.tls")              \
	X(ST_EV_REFUSE,                                                                            \
	  "INSERT INTO ev_refuse VALUES (?1,?2,?3,?4,1,?5,?6,?7,?8) ON CONFLICT(t_ms, login, "     \
	  "src, status) "                                                                          \
	  "DO UPDATE SET n = n + 1, rcpts = rcpts + excluded.rcpts, last_ms = excluded.last_ms, "  \
	  "session = excluded.session, reason = excluded.reason")                                  \
	X(ST_ACCOUNT_ROLLUP,                                                                       \
	  "INSERT INTO account_rollup VALUES (?1,?2,?3,?4,?5,?6,?7,?8) "                           \
	  "ON CONFLICT(t_ms, account_id) DO UPDATE SET messages = messages + excluded.messages, "  \
	  "rcpts = rcpts + excluded.rcpts, held = held + excluded.held, refused = refused + "      \
	  "excluded.refused, "                                                                     \
	  "bounced = bounced + excluded.bounced, last_ms = max(last_ms, excluded.last_ms)")        \
	X(ST_ROLLUP, "INSERT INTO rollup VALUES (?1,?2,?3) ON CONFLICT(metric, t_ms) DO UPDATE "   \
		     "SET n = n + excluded.n")                                                     \
	X(ST_EXEMPT_SEEN,                                                                          \
	  "UPDATE exemption SET packets = packets + ?2, last_seen_ms = max(ifnull(last_seen_ms, "  \
	  "0), ?3) "                                                                               \
	  "WHERE id = (" EXEMPT_LENGTHS_EVER                                                       \
	  "SELECT e.id FROM len JOIN exemption e ON e.plen = len.n "                               \
	  "AND e.first = addr_mask(?1, len.n) WHERE e.starts_ms <= ?3 AND (e.ended_ms IS NULL OR " \
	  "e.ended_ms >= ?4) ORDER BY e.starts_ms <= ?4 DESC, e.plen DESC, e.id DESC LIMIT 1)")    \
	/* who */                                                                                  \
	X(ST_SUBSCRIBER, "SELECT id FROM subscriber WHERE ref = ?1")                               \
	X(ST_SUBSCRIBER_PUT,                                                                       \
	  "INSERT INTO subscriber(ref, name, contact, created_ms) "                                \
	  "VALUES (?1, ifnull(?2,''), ifnull(?3,''), ?4) "                                         \
	  "ON CONFLICT(ref) DO UPDATE SET name = ifnull(?2, name), contact = ifnull(?3, contact)") \
	X(ST_ACCOUNT, "SELECT id FROM account WHERE login = ?1")                                   \
	X(ST_ACCOUNT_ADD,                                                                          \
	  "INSERT INTO account(login, subscriber_id, created_ms) VALUES (?1,?2,?3)")               \
	X(ST_ACCOUNT_SPELLED, "SELECT id, login, subscriber_id FROM account WHERE id > ?1 AND "    \
			      "login GLOB '*[A-Z]*' ORDER BY id LIMIT 1")                          \
	X(ST_ACCOUNT_NAME, "UPDATE account SET login = ?2 WHERE id = ?1")                          \
	X(ST_ACCOUNT_MOVE, "UPDATE account SET subscriber_id = ?2 WHERE id = ?1")                  \
	X(ST_ACCOUNT_MOVE_INCIDENTS,                                                               \
	  "UPDATE incident SET subscriber_id = ?2 WHERE account_id = ?1 AND state <> 'resolved'")  \
	X(ST_ACCOUNT_SUBSCRIBER, "SELECT subscriber_id FROM account WHERE id = ?1")                \
	X(ST_LEASE_SAME,                                                                           \
	  "SELECT id FROM lease WHERE plen = ?1 AND first = ?2 AND port_lo = ?3 AND port_hi = ?4 " \
	  "AND subscriber_id = ?5 AND to_ms IS NULL AND from_ms <= ?6")                            \
	X(ST_LEASE_TO, "UPDATE lease SET to_ms = ?2 WHERE id = ?1")                                \
	X(ST_LEASE_COVERING,                                                                       \
	  "SELECT l.id " LEASES_INSIDE LEASES_MET "AND l.from_ms <= ?7 LIMIT 1")                   \
	X(ST_LEASE_LATER,                                                                          \
	  LEASE_LENGTHS "SELECT min(l.from_ms) " LEASES_AROUND LEASES_MET "AND l.from_ms > ?7")    \
	X(ST_LEASE_ADD, "INSERT INTO lease(plen, first, last, port_lo, port_hi, subscriber_id, "   \
			"from_ms, to_ms, source) "                                                 \
			"VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)")                                     \
	X(ST_LEASE_END, "UPDATE lease SET to_ms = max(?3, from_ms) WHERE plen = ?1 AND first = "   \
			"?2 AND to_ms IS NULL "                                                    \
			"AND from_ms <= ?3 AND (?4 < 0 OR port_lo = ?4)")                          \
	X(ST_LEASE_OTHER, "SELECT l.subscriber_id " LEASES_INSIDE "AND l.subscriber_id <> ?4 AND " \
			  "l.from_ms <= ?5 AND (l.to_ms IS NULL OR l.to_ms > ?5) LIMIT 1")         \
	X(ST_LEASE_GET, "SELECT plen, first FROM lease WHERE id = ?1")                             \
	X(ST_LEASE_TO_NOW, "UPDATE lease SET to_ms = max(?2, from_ms) WHERE id = ?1")              \
	X(ST_LEASES_OF_SOURCE, "SELECT id FROM lease WHERE source = ?1 AND to_ms IS NULL")         \
	X(ST_LEASE_HOLDERS,                                                                        \
	  HOLDING_LEASES("?1", "?2", "?3") "SELECT DISTINCT subscriber_id FROM holding")           \
	X(ST_LEASE_COVER, LEASE_LENGTHS                                                            \
	  "SELECT l.subscriber_id FROM len JOIN lease l "                                          \
	  "ON l.plen = len.n AND l.first = addr_mask(?1, len.n) WHERE len.n <= ?2 "                \
	  "AND l.to_ms IS NULL "                                                                   \
	  "AND l.port_lo = 0 AND l.port_hi = 65535 AND l.from_ms <= ?3 ORDER BY l.plen DESC, "     \
	  "l.id DESC LIMIT 1")                                                                     \
	/* RADIUS (store_radius.c) */                                                               \
	X(ST_SAVEPOINT, "SAVEPOINT radius")                                                        \
	X(ST_SAVEPOINT_BACK, "ROLLBACK TO radius")                                                 \
	X(ST_SAVEPOINT_GO, "RELEASE radius")                                                       \
	X(ST_RADIUS_BEFORE, RADIUS_COLUMNS                                                         \
	  "WHERE nas = ?1 AND session = ?2 AND subscriber_id = ?3 AND start_ms <= ?4 "             \
	  "ORDER BY start_ms DESC LIMIT 1")                                                        \
	X(ST_RADIUS_AFTER, RADIUS_COLUMNS                                                          \
	  "WHERE nas = ?1 AND session = ?2 AND subscriber_id = ?3 AND start_ms > ?4 "              \
	  "ORDER BY start_ms LIMIT 1")                                                             \
	X(ST_RADIUS_GET, RADIUS_COLUMNS "WHERE id = ?1")                                           \
	X(ST_RADIUS_ADD,                                                                           \
	  "INSERT INTO radius_session(nas, session, subscriber_id, port, calling, started, "       \
	  "start_ms, first_ms, last_ms, stop_ms, silent_ms, interims, seen_ms) "                   \
	  "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)")                                   \
	X(ST_RADIUS_SET,                                                                           \
	  "UPDATE radius_session SET started = ?2, start_ms = ?3, first_ms = ?4, last_ms = ?5, "   \
	  "stop_ms = ?6, silent_ms = ?7, interims = ?8, seen_ms = ?9, end_ms = ?10 WHERE id = ?1") \
	X(ST_RADIUS_RESTART, "INSERT OR IGNORE INTO radius_restart(nas, t_ms) VALUES (?1,?2)")     \
	X(ST_RADIUS_RESTART_AFTER,                                                                 \
	  "SELECT min(t_ms) FROM radius_restart WHERE nas = ?1 AND t_ms >= ?2 AND t_ms > ?3")      \
	X(ST_RADIUS_RESTART_OPEN, "SELECT nas, t_ms FROM radius_restart WHERE NOT done LIMIT 1")   \
	X(ST_RADIUS_RESTART_DONE,                                                                  \
	  "UPDATE radius_restart SET done = 1 WHERE nas = ?1 AND t_ms = ?2")                       \
	X(ST_RADIUS_RESTARTED,                                                                     \
	  "SELECT id FROM radius_session WHERE nas = ?1 AND end_ms IS NULL AND last_ms <= ?2 "     \
	  "AND start_ms < ?2 UNION ALL SELECT id FROM radius_session WHERE nas = ?1 AND end_ms "   \
	  "> ?2 AND last_ms <= ?2 AND start_ms < ?2 LIMIT 1")                                      \
	X(ST_RADIUS_TAKEN, "SELECT min(start_ms) FROM radius_session WHERE nas = ?1 AND port = "   \
			   "?2 AND id <> ?3 AND start_ms >= ?4 AND start_ms > ?5")                 \
	X(ST_RADIUS_ON_PORT, "SELECT id FROM radius_session WHERE nas = ?1 AND port = ?2 AND id "  \
			     "<> ?3 AND start_ms < ?4 AND last_ms <= ?4 AND (end_ms IS NULL OR "   \
			     "end_ms > ?4) LIMIT 1")                                               \
	X(ST_RADIUS_SILENT, "SELECT id FROM radius_session WHERE end_ms IS NULL AND interims > 0 " \
			    "AND seen_ms <= ?1 LIMIT 1")                                           \
	X(ST_RADIUS_OPEN, "SELECT count(*) FROM radius_session WHERE end_ms IS NULL")              \
	X(ST_CLAIMS, "SELECT id, plen, first, port_lo, port_hi, from_ms, ifnull(to_ms, 0), "       \
		     "framed, named_first_ms, named_last_ms, ifnull(back_ms, 0) FROM lease "       \
		     "WHERE session_id = ?1 ORDER BY id")                                          \
	X(ST_CLAIM_ADD,                                                                            \
	  "INSERT INTO lease(plen, first, last, port_lo, port_hi, subscriber_id, from_ms, to_ms, " \
	  "source, session_id, framed, named_first_ms, named_last_ms, back_ms) "                   \
	  "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,'radius',?9,?10,?11,?12,?13)")                          \
	X(ST_CLAIM_SET, "UPDATE lease SET from_ms = ?2, to_ms = ?3, named_first_ms = ?4, "         \
			"named_last_ms = ?5, back_ms = ?6 WHERE id = ?1")                          \
	X(ST_CLAIM_LATER,                                                                          \
	  LEASE_LENGTHS "SELECT min(l.from_ms) " LEASES_AROUND CLAIMS_MET                          \
			"AND l.from_ms >= ?7 AND (l.from_ms > ?7 OR (l.id > ?9 AND (l.to_ms IS "   \
			"NULL OR l.to_ms > l.from_ms)))")                                          \
	X(ST_CLAIM_CUT,                                                                            \
	  "UPDATE lease SET to_ms = ?7 WHERE id IN (SELECT l.id " LEASES_INSIDE CLAIMS_MET         \
	  "AND (l.to_ms IS NULL OR l.to_ms > ?7) AND (l.from_ms < ?7 OR (l.from_ms = ?7 AND "      \
	  "l.id < ?9)))")                                                                          \
	X(ST_CLAIM_UNCUT, "SELECT l.session_id " LEASES_INSIDE CLAIMS_MET                          \
			  "AND l.session_id > ?9 AND l.to_ms = ?7 ORDER BY l.session_id LIMIT 1")  \
	X(ST_PRUNE_RADIUS,                                                                         \
	  "DELETE FROM radius_session WHERE id IN (SELECT id FROM radius_session r WHERE last_ms " \
	  "< ?1 AND NOT EXISTS (SELECT 1 FROM lease WHERE session_id = r.id) LIMIT 2000)")         \
	X(ST_PRUNE_RESTART, "DELETE FROM radius_restart WHERE t_ms < ?1 AND done")                 \
	/* exemptions */                                                                           \
	X(ST_EXEMPT_LIVE, EXEMPT_ROW "WHERE e.plen = ?1 AND e.first = ?2 AND e.ended_ms IS NULL")  \
	X(ST_EXEMPT_GET, EXEMPT_ROW "WHERE e.id = ?1")                                             \
	X(ST_EXEMPT_ADD,                                                                           \
	  "INSERT INTO exemption(plen, first, last, class, dst, state, subscriber_id, contract, "  \
	  "service, static, access_port, contact, abuse_contact, usage, software, volume, helo, "  \
	  "domain, approver, ticket, reason, actor, aup_ms, created_ms, starts_ms, expires_ms, "   \
	  "review_ms, suspended_by, suspended_until_ms, evidence_due_ms) VALUES "                  \
	  "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,"   \
	  "?24,?25,?26,?27,?28,?29,?30)")                                                          \
	X(ST_EXEMPT_UPDATE,                                                                        \
	  "UPDATE exemption SET class = ?2, dst = ?3, subscriber_id = ?4, contract = ?5, "         \
	  "service = ?6, static = ?7, access_port = ?8, contact = ?9, abuse_contact = ?10, "       \
	  "usage = ?11, software = ?12, volume = ?13, evidence_due_ms = CASE WHEN helo <> ?14 OR " \
	  "domain <> ?15 THEN ifnull(?23, evidence_due_ms) ELSE evidence_due_ms END, helo = ?14, " \
	  "domain = ?15, approver = ?16, ticket = ?17, reason = ?18, aup_ms = ?19, starts_ms = "   \
	  "?20, "                                                                                  \
	  "expires_ms = ?21, review_ms = ?22, actor = ?24 WHERE id = ?1 AND (class, dst, "         \
	  "subscriber_id, contract, service, static, access_port, contact, abuse_contact, usage, " \
	  "software, volume, helo, domain, approver, ticket, reason, aup_ms, starts_ms, "          \
	  "expires_ms, "                                                                           \
	  "review_ms) IS NOT "                                                                     \
	  "(?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,"                  \
	  "?21,?22)")                                                                              \
	X(ST_EXEMPT_STATE,                                                                         \
	  "UPDATE exemption SET state = ?2, ended_ms = ?3, suspended_by = ?4, suspended_until_ms " \
	  "= "                                                                                     \
	  "?5, evidence_due_ms = CASE WHEN ?3 IS NULL THEN evidence_due_ms END WHERE id = ?1")     \
	X(ST_EXEMPT_EVENT,                                                                         \
	  "INSERT INTO exemption_event(exemption_id, t_ms, actor, old, new, reason) "              \
	  "VALUES (?1,?2,?3,?4,?5,?6)")                                                            \
	X(ST_EXEMPT_SHORTEN, "UPDATE exemption SET expires_ms = ?2 WHERE id = ?1 AND (expires_ms " \
			     "IS NULL OR expires_ms > ?2)")                                        \
	X(ST_EXEMPT_DUE, "SELECT id FROM exemption WHERE ended_ms IS NULL AND expires_ms <= ?1 "   \
			 "ORDER BY expires_ms LIMIT 1")                                            \
	X(ST_EXEMPT_NEXT, "SELECT min(expires_ms) FROM exemption WHERE ended_ms IS NULL AND "      \
			  "expires_ms IS NOT NULL")                                                \
	X(ST_EXEMPT_BACK, "SELECT id FROM exemption WHERE suspended_until_ms <= ?1 "               \
			  "ORDER BY suspended_until_ms LIMIT 1")                                   \
	X(ST_EXEMPT_NEXT_BACK, "SELECT min(suspended_until_ms) FROM exemption WHERE "              \
			       "suspended_until_ms IS NOT NULL")                                   \
	X(ST_EXEMPT_OF_OTHERS,                                                                     \
	  EXEMPT_MET "WHERE e.subscriber_id <> ?4 AND e.id > ?5 ORDER BY e.id LIMIT 1")            \
	X(ST_EXEMPT_OF_LINE,                                                                       \
	  "SELECT id FROM exemption WHERE ended_ms IS NULL AND first BETWEEN ?1 "                  \
	  "AND ?2 AND plen >= ?3 AND state = ?4 AND id > ?5 AND (?6 IS NULL OR "                   \
	  "subscriber_id = ?6) AND subscriber_id IS NOT NULL AND (state <> "                       \
	  "'suspended' OR suspended_by = 'line') ORDER BY id LIMIT 1")                             \
	X(ST_EXEMPT_SNAPSHOT, EXEMPT_ROW "WHERE e.state = 'active' ORDER BY e.id")                 \
	X(ST_EXEMPT_ABSENT, "SELECT id FROM exemption WHERE ended_ms IS NULL ORDER BY id")         \
	X(ST_EVIDENCE_DUE,                                                                         \
	  "SELECT id FROM exemption WHERE ended_ms IS NULL AND evidence_due_ms <= "                \
	  "?1 ORDER BY evidence_due_ms LIMIT 1")                                                   \
	X(ST_EVIDENCE_NEXT,                                                                        \
	  "SELECT min(evidence_due_ms) FROM exemption WHERE ended_ms IS NULL AND "                 \
	  "evidence_due_ms IS NOT NULL")                                                           \
	X(ST_EVIDENCE_PLAN,                                                                        \
	  "UPDATE exemption SET evidence_due_ms = ?2 WHERE id = ?1 AND ended_ms IS "               \
	  "NULL")                                                                                  \
	X(ST_EVIDENCE_PUT,                                                                         \
	  "UPDATE exemption SET evidence = ?2, evidence_detail = ?3, evidence_ms = "               \
	  "?4, evidence_due_ms = ?5, evidence_held_ms = ?6, evidence_bad_ms = ?7 "                 \
	  "WHERE id = ?1")                                                                         \
	/* incidents */                                                                            \
	X(ST_INCIDENT, "SELECT id, ifnull(account_id,0), ifnull(subscriber_id,0), state, "         \
		       "subject_type, subject, detector, "                                         \
		       "ifnull(penalty_ms,0), ifnull(released_ms,0) FROM incident WHERE id = ?1")  \
	X(ST_INCIDENT_OF, "SELECT id, ifnull(account_id,0), ifnull(subscriber_id,0), state, "      \
			  "subject_type, subject, detector, "                                      \
			  "ifnull(penalty_ms,0), ifnull(released_ms,0) FROM incident WHERE "       \
			  "subject_type = 'account' AND subject = ?1 "                             \
			  "AND state <> 'resolved' AND (?2 IS NULL OR detector = ?2) ORDER BY "    \
			  "state = 'contained' DESC, id DESC LIMIT 1")                             \
	X(ST_INCIDENT_OF_SUBSCRIBER,                                                               \
	  "SELECT id, ifnull(account_id,0), ifnull(subscriber_id,0), state, subject_type, "        \
	  "subject, detector, "                                                                    \
	  "ifnull(penalty_ms,0), ifnull(released_ms,0) FROM incident WHERE subscriber_id = ?1 "    \
	  "AND state <> 'resolved' ORDER BY id DESC LIMIT 1")                                      \
	X(ST_INCIDENT_ADD, "INSERT INTO incident(state, subject_type, subject, account_id, "       \
			   "subscriber_id, detector, why, severity, "                              \
			   "opened_ms, updated_ms) VALUES ('open',?1,?2,?3,?4,?5,?6,?7,?8,?8)")    \
	X(ST_INCIDENT_NOTE, "INSERT INTO incident_event(incident_id, t_ms, actor, what, text) "    \
			    "VALUES (?1,?2,?3,?4,?5)")                                             \
	X(ST_INCIDENT_TOUCH, "UPDATE incident SET updated_ms = ?2 WHERE id = ?1")                  \
	X(ST_INCIDENT_CONTAIN, "UPDATE incident SET state = 'contained', contained_ms = ?3, "      \
			       "penalty_ms = ?2, updated_ms = ?3 "                                 \
			       "WHERE id = ?1")                                                    \
	X(ST_INCIDENT_WHY, "UPDATE incident SET why = ?2 WHERE id = ?1")                           \
	X(ST_INCIDENT_STATE,                                                                       \
	  "UPDATE incident SET state = ?2, owner = ifnull(?3, owner), updated_ms = ?4, "           \
	  "resolved_ms = CASE WHEN ?2 = 'resolved' THEN ?4 ELSE resolved_ms END WHERE id = ?1")    \
	X(ST_INCIDENT_CONTAINED_OF,                                                                \
	  "SELECT id FROM incident WHERE subject_type = 'account' AND subject = ?1 "               \
	  "AND state = 'contained' LIMIT 1")                                                       \
	X(ST_INCIDENT_RELEASE, "UPDATE incident SET state = 'released', released_ms = ?2, "        \
			       "updated_ms = ?2 WHERE id = ?1")                                    \
	X(ST_PENALTY_RELEASED, "SELECT count(*) FROM incident WHERE subject_type = 'account' AND " \
			       "subject = ?1 AND penalty_ms = ?2 "                                 \
			       "AND state <> 'contained' AND released_ms IS NOT NULL")             \
	X(ST_PENALTY_KNOWN, "SELECT count(*) FROM incident WHERE subject_type = 'account' AND "    \
			    "subject = ?1 AND penalty_ms = ?2 "                                    \
			    "AND state = 'contained'")                                             \
	X(ST_INCIDENTS_CONTAINED,                                                                  \
	  "SELECT subject, penalty_ms, detector, why FROM incident WHERE state = 'contained' "     \
	  "AND subject_type = 'account' ORDER BY id")                                              \
	X(ST_SUSPECT_OPEN,                                                                         \
	  "SELECT id FROM incident WHERE subject_type = 'line' AND subject = ?1 "                  \
	  "AND ifnull(subscriber_id, 0) = ?2 AND detector = ?3 AND state <> 'resolved'")           \
	X(ST_SUSPECT_RESOLVED,                                                                     \
	  "SELECT ifnull(max(resolved_ms), 0) FROM incident WHERE subject_type = 'line' "          \
	  "AND subject = ?1 AND ifnull(subscriber_id, 0) = ?2 AND detector = ?3")                  \
	X(ST_SUSPECT_NOTED,                                                                        \
	  "SELECT ifnull(max(t_ms), 0) FROM incident_event WHERE incident_id = ?1 "                \
	  "AND what IN ('opened', 'evidence')")                                                    \
	X(ST_SPRAY_COUNT, "SELECT count(DISTINCT login) FROM ev_login WHERE t_ms >= ?1 - 300000 "  \
			  "AND last_ms >= ?1 AND src BETWEEN ?2 AND ?3 AND ok = 0 "                \
			  "AND login <> ''")                                                       \
	X(ST_SPRAY_TIMES, "SELECT ifnull(sum(n), 0) FROM ev_login WHERE t_ms >= ?1 - 300000 "      \
			  "AND last_ms >= ?1 AND src BETWEEN ?2 AND ?3 AND ok = 0")                \
	X(ST_SPRAY_NETWORKS, "SELECT count(DISTINCT src) FROM ev_login WHERE t_ms >= ?1 - 300000 " \
			     "AND last_ms >= ?1 AND ok = 0 AND login <> ''")                       \
	X(ST_SPRAY_USUAL, "SELECT count(*) / 24 FROM (SELECT DISTINCT login, t_ms / 3600000 "      \
			  "FROM ev_login WHERE t_ms >= ?1 - 86400000 AND last_ms < ?1 "            \
			  "AND ok = 0 AND login <> '')")                                           \
	X(ST_SPRAY_IN, "SELECT count(*) FROM ev_login WHERE t_ms >= ?1 - 300000 "                  \
		       "AND last_ms >= ?1 AND src BETWEEN ?2 AND ?3 AND ok = 1")                   \
	X(ST_SPRAY_NAMES, "SELECT login FROM ev_login WHERE t_ms >= ?1 - 300000 "                  \
			  "AND last_ms >= ?1 AND src BETWEEN ?2 AND ?3 AND ok = ?4 "               \
			  "AND login <> '' GROUP BY login ORDER BY sum(n) DESC, login")            \
	X(ST_SPRAY_OPEN, "SELECT id FROM incident WHERE subject_type = 'line' AND subject = ?1 "   \
			 "AND detector = ?2 AND state <> 'resolved' ORDER BY id DESC LIMIT 1")     \
	X(ST_SPRAY_NAMED, "SELECT count(*) FROM incident_event WHERE incident_id = ?1 "            \
			  "AND what = 'suspect' AND text = ?2")                                    \
	X(ST_SPRAY_HIGH, "UPDATE incident SET severity = 'high' WHERE id = ?1")                    \
	/* reflexes (store_reflex.c) */                                                            \
	X(ST_ACCOUNT_SOURCES,                                                                      \
	  "SELECT src FROM (SELECT src, t_ms FROM ev_message WHERE account_id = (SELECT id FROM "  \
	  "account WHERE login = ?1) AND t_ms >= ?2 UNION ALL SELECT src, last_ms FROM ev_login "  \
	  "WHERE login = ?1 AND t_ms >= ?2 - 300000 AND last_ms >= ?2 AND ok = 1) GROUP BY src "   \
	  "ORDER BY max(t_ms) DESC LIMIT ?3")                                                      \
	X(ST_LINE_ACCOUNTS,                                                                        \
	  "SELECT a.login FROM ev_message m JOIN account a ON a.id = m.account_id WHERE m.src "    \
	  "BETWEEN ?1 AND ?2 AND m.t_ms >= ?3 UNION SELECT login FROM ev_login WHERE t_ms >= ?3 "  \
	  "- 300000 AND last_ms >= ?3 AND src BETWEEN ?1 AND ?2 AND ok = 1 AND login <> '' "       \
	  "ORDER BY 1 LIMIT ?4")                                                                   \
	X(ST_EXEMPT_COVERING,                                                                      \
	  EXEMPT_LENGTHS "SELECT e.id FROM len JOIN exemption e ON e.plen = len.n AND e.first = "  \
			 "addr_mask(?1, len.n) WHERE e.ended_ms IS NULL AND e.state = 'active' "   \
			 "AND e.starts_ms <= ?2 ORDER BY e.plen DESC LIMIT 1")                     \
	X(ST_REFLEX_PUT, "INSERT INTO reflex(incident_id, exemption_id, did, done_ms) VALUES "     \
			 "(?1,?2,?3,?4)")                                                          \
	X(ST_REFLEX_KNOWN,                                                                         \
	  "SELECT count(*) FROM reflex WHERE incident_id = ?1 AND exemption_id = ?2")              \
	X(ST_REFLEX_NEXT,                                                                          \
	  "SELECT id, incident_id, exemption_id, did FROM reflex WHERE (?1 IS NULL OR "            \
	  "incident_id = ?1) AND (?2 IS NULL OR exemption_id = ?2) AND id > ?3 AND undone_ms IS "  \
	  "NULL ORDER BY id LIMIT 1")                                                              \
	X(ST_REFLEX_UNDONE, "UPDATE reflex SET undone_ms = ?2 WHERE id = ?1")                      \
	/* alerts (store_alert.c) */                                                              \
	X(ST_INCIDENT_STAGE, "UPDATE incident SET stage = ?2 WHERE id = ?1")                       \
	X(ST_ALERT_NEXT,                                                                           \
	  "SELECT e.id, i.id, i.subject_type = 'account', e.what, i.detector, i.severity, "        \
	  "i.stage, i.subject FROM incident_event e JOIN incident i ON i.id = e.incident_id "      \
	  "WHERE e.id > (SELECT value FROM setting WHERE key = 'alert_event') ORDER BY e.id "      \
	  "LIMIT 1")                                                                               \
	X(ST_ALERT_SEEN, "UPDATE setting SET value = ?1 WHERE key = 'alert_event'")                \
	X(ST_ALERT_ITEM, "SELECT rank, over, told_ms IS NOT NULL, ifnull(new_ms, 0), "             \
			 "ifnull(change_ms, 0) FROM alert_item WHERE rule = ?1 AND kase = ?2")     \
	X(ST_ALERT_ITEM_PUT,                                                                       \
	  "INSERT INTO alert_item(rule, kase, kind, incident_id, rank, over, new_ms, change_ms) "  \
	  "VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT(rule, kase) DO UPDATE SET kind = ?3, "     \
	  "rank = ?5, over = ?6, new_ms = ?7, change_ms = ?8")                                     \
	X(ST_ALERT_WAITING,                                                                        \
	  "SELECT kind, ifnull(min(new_ms), 0), ifnull(min(change_ms), 0), "                       \
	  "ifnull((SELECT max(made_ms) FROM alert a WHERE a.rule = ?1 AND a.kind = i.kind AND "    \
	  "made_ms > ?2), 0), (SELECT count(*) FROM alert a WHERE a.rule = ?1 AND a.kind = "       \
	  "i.kind AND made_ms > ?2) FROM alert_item i WHERE rule = ?1 AND (new_ms IS NOT NULL "    \
	  "OR change_ms IS NOT NULL) GROUP BY kind")                                               \
	X(ST_ALERT_MADE, "SELECT count(*), ifnull(min(made_ms), 0) FROM alert WHERE rule = ?1 "    \
			 "AND made_ms > ?2")                                                       \
	X(ST_ALERT_CASES,                                                                          \
	  "SELECT t.kase AS \"case\", t.incident_id AS incident, t.over AS \"?over\", "            \
	  "t.told_ms IS NOT NULL AS \"?told_before\", t.rank, i.state, i.stage, "                  \
	  "i.subject_type, i.subject, s.ref AS subscriber, s.name AS subscriber_name, "            \
	  "i.detector, ifnull(i.severity, c.severity) AS severity, ifnull(i.why, c.why) AS why, "  \
	  "ifnull(i.opened_ms, c.begun_ms) AS opened_ms, ifnull(i.resolved_ms, c.ended_ms) AS "    \
	  "resolved_ms, ifnull(i.account_id, 0) AS account_id, t.told_event FROM alert_item t "    \
	  "LEFT JOIN incident i ON i.id = t.incident_id LEFT JOIN subscriber s ON s.id = "         \
	  "i.subscriber_id LEFT JOIN alert_condition c ON t.incident_id IS NULL AND c.name = "     \
	  "t.kase WHERE t.rule = ?1 AND t.kind = ?2 AND (t.new_ms IS NOT NULL OR t.change_ms IS "  \
	  "NOT NULL) ORDER BY t.over, t.rank DESC, t.kase LIMIT ?3")                               \
	X(ST_ALERT_N_CASES, "SELECT count(*) FROM alert_item WHERE rule = ?1 AND kind = ?2 AND "   \
			    "(new_ms IS NOT NULL OR change_ms IS NOT NULL)")                       \
	X(ST_ALERT_CHANGES, "SELECT t_ms, actor, what, text FROM (SELECT * FROM incident_event "   \
			    "WHERE incident_id = ?1 AND id > ?2 ORDER BY id DESC LIMIT 10) "       \
			    "ORDER BY id")                                                         \
	X(ST_ALERT_TOTALS,                                                                         \
	  "SELECT ifnull(sum(messages), 0) AS messages, ifnull(sum(rcpts), 0) AS recipients, "     \
	  "ifnull(sum(held), 0) AS held, ifnull(sum(refused), 0) AS refused, "                     \
	  "ifnull(sum(bounced), 0) AS bounced FROM account_rollup WHERE account_id = ?1 AND t_ms " \
	  ">= ?2")                                                                                 \
	X(ST_ALERT_NETWORKS,                                                                       \
	  "SELECT prefix_text(addr_mask(src, len), len) AS network, count(*) AS messages, "        \
	  "sum(rcpts) AS recipients FROM (SELECT src, rcpts, CASE WHEN substr(src, 1, 12) = "      \
	  "x'00000000000000000000FFFF' THEN 24 ELSE 48 END AS len FROM ev_message WHERE "          \
	  "account_id = ?1 AND t_ms >= ?2 ORDER BY t_ms DESC LIMIT 1000) GROUP BY network "        \
	  "ORDER BY messages DESC LIMIT 5")                                                        \
	X(ST_ALERT_REPLIES,                                                                        \
	  "SELECT substr(reply, 1, 200) AS reply, count(*) AS n, max(server) AS server FROM "      \
	  "(SELECT reply, server, result, t_ms FROM ev_delivery WHERE account_id = ?1 ORDER BY "   \
	  "id DESC LIMIT 1000) WHERE result <> 1 AND t_ms >= ?2 GROUP BY 1 ORDER BY n DESC "       \
	  "LIMIT 5")                                                                               \
	X(ST_ALERT_BLOCKED,                                                                        \
	  "SELECT ifnull(sum(packets), 0) AS packets, ifnull(max(dsts), 0) AS destinations FROM "  \
	  "ev_block WHERE kind = 1 AND t_ms >= ?2 AND src IN (SELECT DISTINCT src FROM (SELECT "   \
	  "src FROM ev_message WHERE account_id = ?1 AND t_ms >= ?2 ORDER BY t_ms DESC LIMIT "     \
	  "1000))")                                                                                \
	X(ST_ALERT_BLOCKED_LINE,                                                                   \
	  "SELECT ifnull(sum(packets), 0) AS packets, ifnull(max(dsts), 0) AS destinations FROM "  \
	  "ev_block WHERE kind = 1 AND src BETWEEN ?1 AND ?2 AND t_ms >= ?3")                      \
	X(ST_ALERT_TOLD,                                                                           \
	  "UPDATE alert_item SET told_ms = ?3, new_ms = NULL, change_ms = NULL, told_event = "     \
	  "ifnull((SELECT max(id) FROM incident_event e WHERE e.incident_id = "                    \
	  "alert_item.incident_id), 0) WHERE rule = ?1 AND kind = ?2 AND (new_ms IS NOT NULL OR "  \
	  "change_ms IS NOT NULL)")                                                                \
	X(ST_ALERT_ADD, "INSERT INTO alert(uuid, rule, kind, made_ms, title, body) VALUES "        \
			"(?1,?2,?3,?4,?5,?6)")                                                     \
	X(ST_ALERT_SEND, "INSERT INTO alert_send(alert_id, dest, state, next_ms) VALUES "          \
			 "(?1,?2,'waiting',?3)")                                                   \
	X(ST_ALERT_DUE,                                                                            \
	  "SELECT o.id, a.uuid, a.rule, o.dest, o.attempts, a.made_ms, a.title, a.body FROM "      \
	  "alert_send o JOIN alert a ON a.id = o.alert_id WHERE o.state = 'waiting' AND "          \
	  "o.next_ms <= ?1 AND NOT instr(?2, ' ' || o.id || ' ') ORDER BY o.next_ms, o.id LIMIT "  \
	  "1")                                                                                     \
	X(ST_ALERT_NEXT_DUE, "SELECT next_ms FROM alert_send WHERE state = 'waiting' AND NOT "     \
			     "instr(?1, ' ' || id || ' ') ORDER BY next_ms LIMIT 1")               \
	X(ST_ALERT_RESULT,                                                                         \
	  "UPDATE alert_send SET state = ?2, attempts = ?3, next_ms = ?4, answer = ?5, done_ms = " \
	  "CASE ?2 WHEN 'waiting' THEN NULL ELSE ?6 END WHERE id = ?1")                            \
	X(ST_ALERT_STATE, "SELECT CASE state WHEN 'sent' THEN 2 ELSE 1 END FROM alert_send WHERE " \
			  "id = ?1")                                                               \
	X(ST_ALERT_RESEND, "UPDATE alert_send SET state = 'waiting', next_ms = ?2, done_ms = "     \
			   "NULL WHERE id = ?1")                                                   \
	X(ST_ALERT_CONDITION, "SELECT 1 FROM alert_condition WHERE name = ?1 AND ended_ms IS "     \
			      "NULL")                                                              \
	X(ST_ALERT_CONDITION_PUT,                                                                  \
	  "INSERT INTO alert_condition(name, severity, begun_ms, why) VALUES (?1,?2,?3,?4) ON "    \
	  "CONFLICT(name) DO UPDATE SET severity = ?2, why = ?4, begun_ms = CASE WHEN ended_ms "   \
	  "IS NULL THEN begun_ms ELSE ?3 END, ended_ms = NULL")                                    \
	X(ST_ALERT_CONDITION_END, "UPDATE alert_condition SET ended_ms = ?2 WHERE name = ?1 AND "  \
				  "ended_ms IS NULL")                                              \
	X(ST_ALERT_STATUS,                                                                         \
	  "SELECT (SELECT count(*) FROM alert_send WHERE state = 'waiting') AS waiting, (SELECT "  \
	  "count(*) FROM alert_send o JOIN alert a ON a.id = o.alert_id WHERE o.state = 'sent' "   \
	  "AND a.made_ms >= ?1) AS sent, (SELECT count(*) FROM alert_send o JOIN alert a ON a.id " \
	  "= o.alert_id WHERE o.state = 'failed' AND a.made_ms >= ?1) AS failed, ifnull((SELECT "  \
	  "min(a.made_ms) FROM alert_send o JOIN alert a ON a.id = o.alert_id WHERE o.state = "    \
	  "'waiting' AND o.attempts > 0), 0) AS retrying_ms, (SELECT o.answer FROM alert_send o "  \
	  "WHERE o.state = 'waiting' AND o.attempts > 0 ORDER BY o.id LIMIT 1) AS answer, "        \
	  "(SELECT o.answer FROM alert_send o JOIN alert a ON a.id = o.alert_id WHERE o.state = "  \
	  "'failed' AND a.made_ms >= ?1 ORDER BY o.id DESC LIMIT 1) AS failed_answer")             \
	X(ST_ALERT_PRUNE, "DELETE FROM alert WHERE made_ms < ?1 AND NOT EXISTS (SELECT 1 FROM "    \
			  "alert_send o WHERE o.alert_id = alert.id AND o.state = 'waiting')")     \
	X(ST_ALERT_PRUNE_ITEMS, "DELETE FROM alert_item WHERE over AND told_ms < ?1 AND new_ms "   \
				"IS NULL AND change_ms IS NULL")                                   \
	/* reports */                                                                              \
	X(ST_MESSAGE_TOKEN, "SELECT m.account_id, a.login, m.queue_id, m.token FROM ev_message m " \
			    "JOIN account a ON a.id = m.account_id "                               \
			    "WHERE m.token = ?1 ORDER BY m.id DESC LIMIT 1")                       \
	X(ST_MESSAGE_QUEUE, "SELECT m.account_id, a.login, m.queue_id, m.token FROM ev_message m " \
			    "JOIN account a ON a.id = m.account_id "                               \
			    "WHERE m.queue_id = ?1 ORDER BY m.id DESC LIMIT 1")                    \
	/* Mostly a login is the sender; else the day is looked through, as far as is cheap. */          \
	X(ST_SENDER_LOGIN,                                                                         \
	  "SELECT m.account_id, a.login, min(m.queue_id), min(m.token), count(*) FROM "            \
	  "ev_message m JOIN account a ON a.id = m.account_id WHERE m.account_id = "               \
	  "(SELECT id FROM account WHERE login = ?1) AND m.t_ms >= ?2 AND m.t_ms < ?3 AND "        \
	  "m.mail_from = ?1 COLLATE NOCASE GROUP BY m.account_id")                                 \
	X(ST_SENDER_DAY,                                                                           \
	  "SELECT m.account_id, a.login, min(m.queue_id), min(m.token), count(*) FROM "            \
	  "(SELECT * FROM ev_message WHERE t_ms >= ?2 AND t_ms < ?3 ORDER BY t_ms LIMIT 200000) "  \
	  "m JOIN account a ON a.id = m.account_id WHERE m.mail_from = ?1 COLLATE NOCASE "         \
	  "GROUP BY m.account_id LIMIT 2")                                                         \
	X(ST_ACCOUNT_AT, "SELECT DISTINCT m.account_id, a.login FROM ev_message m JOIN account a " \
			 "ON a.id = m.account_id "                                                 \
			 "WHERE m.src = ?1 AND m.t_ms BETWEEN ?2 AND ?3 AND EXISTS (SELECT 1 "     \
			 "FROM lease l WHERE l.subscriber_id = ?4 AND m.src BETWEEN l.first AND "  \
			 "l.last AND m.src_port BETWEEN l.port_lo AND l.port_hi AND l.from_ms <= " \
			 "m.t_ms AND (l.to_ms IS NULL OR l.to_ms > m.t_ms)) LIMIT 2")              \
	X(ST_REPORT_ADD, "INSERT INTO report(received_ms, format, feedback_type, reporter, "       \
			 "source_ip, source_port, arrival_ms, match, "                             \
			 "account_id, subscriber_id, incident_id, token, queue_id, sha256, "       \
			 "error, fields, original_headers) "                                       \
			 "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)")    \
	X(ST_REPORT_ROW, "SELECT r.id, r.match, a.login AS account, s.ref AS subscriber, "         \
			 "r.incident_id AS incident FROM report r "                                \
			 "LEFT JOIN account a ON a.id = r.account_id LEFT JOIN subscriber s ON "   \
			 "s.id = r.subscriber_id "                                                 \
			 "WHERE r.sha256 = ?1 OR r.id = ?2")                                       \
	X(ST_REPORT_ATTACH, "UPDATE report SET incident_id = ?2 WHERE id = ?1")                    \
	X(ST_REPORT_COUNT,                                                                         \
	  "SELECT count(DISTINCT CASE WHEN queue_id <> '' AND account_id IS NOT NULL THEN "        \
	  "queue_id ELSE id END) FROM report WHERE incident_id = ?1 AND feedback_type <> "         \
	  "'not-spam'")                                                                            \
	X(ST_REPORT_AGAIN, "SELECT count(*) FROM report WHERE account_id = ?1 AND queue_id = ?2 "  \
			   "AND feedback_type <> 'not-spam'")                                      \
	/* doors */                                                                                \
	X(ST_OPERATOR, "SELECT hash, role FROM operator WHERE user = ?1")                          \
	X(ST_OPERATOR_PUT, "INSERT INTO operator(user, hash, role, created_ms, changed_ms) "       \
			   "VALUES (?1,?2,?3,?4,?4) "                                              \
			   "ON CONFLICT(user) DO UPDATE SET hash = excluded.hash, role = "         \
			   "excluded.role, changed_ms = excluded.changed_ms")                      \
	X(ST_OPERATOR_LOGIN, "UPDATE operator SET login_ms = ?2 WHERE user = ?1")                  \
	X(ST_OPERATOR_REMOVE, "DELETE FROM operator WHERE user = ?1")                              \
	X(ST_OPERATOR_LIST,                                                                        \
	  "SELECT user, role, created_ms, changed_ms, login_ms FROM operator ORDER BY user")       \
	X(ST_ADMINS, "SELECT count(*) FROM operator WHERE role = 'admin'")                         \
	X(ST_SESSION_ADD,                                                                          \
	  "INSERT INTO session(hash, user, address, created_ms, seen_ms) VALUES (?1,?2,?3,?4,?4)") \
	X(ST_SESSION, "SELECT s.user, s.address, o.role, s.created_ms, s.seen_ms FROM session s "  \
		      "JOIN operator o ON o.user = s.user "                                        \
		      "WHERE s.hash = ?1")                                                         \
	X(ST_SESSION_SEEN, "UPDATE session SET seen_ms = ?2 WHERE hash = ?1")                      \
	X(ST_SESSION_REMOVE, "DELETE FROM session WHERE hash = ?1")                                \
	X(ST_SESSIONS_OF, "DELETE FROM session WHERE user = ?1")                                   \
	/* retention */                                                                            \
	X(ST_PRUNE_BLOCK, "DELETE FROM ev_block WHERE (t_ms, kind, src) IN (SELECT t_ms, kind, "   \
			  "src FROM ev_block WHERE t_ms < ?1 LIMIT 2000)")                         \
	X(ST_PRUNE_MESSAGE, "DELETE FROM ev_message WHERE id IN (SELECT id FROM ev_message WHERE " \
			    "t_ms < ?1 LIMIT 2000)")                                               \
	X(ST_PRUNE_DELIVERY, "DELETE FROM ev_delivery WHERE id IN (SELECT id FROM ev_delivery "    \
			     "WHERE t_ms < ?1 LIMIT 2000)")                                        \
	X(ST_PRUNE_LOGIN,                                                                          \
	  "DELETE FROM ev_login WHERE (t_ms, login, src, ok) IN "                                  \
	  "(SELECT t_ms, login, src, ok FROM ev_login WHERE t_ms < ?1 LIMIT 2000)")                \
	X(ST_PRUNE_REFUSE,                                                                         \
	  "DELETE FROM ev_refuse WHERE (t_ms, login, src, status) IN "                             \
	  "(SELECT t_ms, login, src, status FROM ev_refuse WHERE t_ms < ?1 LIMIT 2000)")           \
	X(ST_PRUNE_ACCOUNT_ROLLUP,                                                                 \
	  "DELETE FROM account_rollup WHERE (t_ms, account_id) IN "                                \
	  "(SELECT t_ms, account_id FROM account_rollup WHERE t_ms < ?1 LIMIT 2000)")              \
	X(ST_PRUNE_ROLLUP, "DELETE FROM rollup WHERE (metric, t_ms) IN (SELECT metric, t_ms FROM " \
			   "rollup WHERE t_ms < ?1 LIMIT 2000)")                                   \
	X(ST_PRUNE_LEASE,                                                                          \
	  "DELETE FROM lease WHERE id IN (SELECT id FROM lease WHERE to_ms < ?1 LIMIT 2000)")      \
	X(ST_PRUNE_SESSION, "DELETE FROM session WHERE seen_ms < ?1")                              \
	X(ST_PRUNE_REPORTS, "SELECT id, sha256 FROM report WHERE received_ms < ?1 LIMIT 200")      \
	X(ST_PRUNE_REPORT, "DELETE FROM report WHERE id = ?1")                                     \
	X(ST_STATUS,                                                                               \
	  "SELECT (SELECT value FROM setting WHERE key = 'policy_version') AS policy_version, "    \
	  "(SELECT count(*) FROM account) AS accounts, (SELECT count(*) FROM subscriber) AS "      \
	  "subscribers, "                                                                          \
	  "(SELECT count(*) FROM exemption WHERE state = 'active') AS exemptions, "                \
	  "(SELECT count(*) FROM incident WHERE state <> 'resolved') AS incidents_unresolved, "    \
	  "(SELECT count(*) FROM operator) AS operators")

#endif
