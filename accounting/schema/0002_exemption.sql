-- Exemptions with a life: requested, verified, active, suspended, then expired, revoked or removed. A class is a name of
-- the configuration. What is recorded with one, the evidence of the DNS, and each change with its actor and reason.

CREATE TABLE exemption_new (
	id INTEGER PRIMARY KEY,
	plen INTEGER NOT NULL,
	first BLOB NOT NULL CHECK (length(first) = 16),
	last BLOB NOT NULL CHECK (length(last) = 16),
	class TEXT NOT NULL CHECK (length(class) BETWEEN 1 AND 15),
	dst TEXT NOT NULL DEFAULT '', -- prefixes, a blank between them: of a class for listed destinations
	state TEXT NOT NULL CHECK (state IN ('requested', 'verified', 'active', 'suspended', 'expired', 'revoked', 'removed')),
	subscriber_id INTEGER REFERENCES subscriber(id),
	contract TEXT NOT NULL DEFAULT '',
	service TEXT NOT NULL DEFAULT '',
	static TEXT NOT NULL DEFAULT '' CHECK (static IN ('', 'yes', 'no')), -- by provisioning
	access_port TEXT NOT NULL DEFAULT '',
	contact TEXT NOT NULL DEFAULT '', -- technical
	abuse_contact TEXT NOT NULL DEFAULT '',
	usage TEXT NOT NULL DEFAULT '',
	software TEXT NOT NULL DEFAULT '',
	volume TEXT NOT NULL DEFAULT '',
	helo TEXT NOT NULL DEFAULT '',
	domain TEXT NOT NULL DEFAULT '',
	aup_ms INTEGER, -- when the acceptable use policy was accepted
	approver TEXT NOT NULL DEFAULT '',
	ticket TEXT NOT NULL DEFAULT '',
	reason TEXT NOT NULL DEFAULT '',
	actor TEXT NOT NULL,
	created_ms INTEGER NOT NULL,
	starts_ms INTEGER NOT NULL,
	expires_ms INTEGER, -- NULL: never
	review_ms INTEGER,
	ended_ms INTEGER, -- NULL: it lives
	suspended_by TEXT NOT NULL DEFAULT '' CHECK (suspended_by IN ('', 'operator', 'evidence', 'line')),
	suspended_until_ms INTEGER,
	evidence TEXT NOT NULL DEFAULT '' CHECK (evidence IN ('', 'good', 'weak', 'unknown', 'bad')),
	evidence_detail TEXT NOT NULL DEFAULT '[]', -- JSON: [{"item","verdict","words"}]
	evidence_ms INTEGER, -- of the last look
	evidence_due_ms INTEGER, -- of the next
	evidence_held_ms INTEGER, -- it was last good or weak
	evidence_bad_ms INTEGER, -- bad since
	last_seen_ms INTEGER, -- a packet passed because of it
	packets INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO exemption_new(id, plen, first, last, class, state, subscriber_id, contract, contact, reason, actor, created_ms,
		starts_ms, expires_ms, ended_ms, last_seen_ms, packets)
	SELECT id, plen, first, last, CASE class WHEN 2 THEN 'throttled' ELSE 'full' END, state, subscriber_id, contract, contact,
		reason, actor, created_ms, starts_ms, expires_ms,
		CASE state WHEN 'active' THEN NULL ELSE ifnull(ended_ms, created_ms) END, last_seen_ms, packets FROM exemption;
DROP TABLE exemption;
ALTER TABLE exemption_new RENAME TO exemption;

CREATE UNIQUE INDEX exemption_live ON exemption(plen, first) WHERE ended_ms IS NULL;
CREATE INDEX exemption_prefix ON exemption(plen, first);
CREATE INDEX exemption_first ON exemption(first) WHERE ended_ms IS NULL;
CREATE INDEX exemption_subscriber ON exemption(subscriber_id) WHERE ended_ms IS NULL;
CREATE INDEX exemption_expires ON exemption(expires_ms) WHERE ended_ms IS NULL AND expires_ms IS NOT NULL;
CREATE INDEX exemption_until ON exemption(suspended_until_ms) WHERE suspended_until_ms IS NOT NULL;
CREATE INDEX exemption_evidence ON exemption(evidence_due_ms) WHERE ended_ms IS NULL AND evidence_due_ms IS NOT NULL;

-- Every change of state, and of evidence.
CREATE TABLE exemption_event (
	id INTEGER PRIMARY KEY,
	exemption_id INTEGER NOT NULL REFERENCES exemption(id),
	t_ms INTEGER NOT NULL,
	actor TEXT NOT NULL,
	old TEXT NOT NULL, -- "": it begins
	new TEXT NOT NULL,
	reason TEXT NOT NULL
) STRICT;
CREATE INDEX exemption_event_exemption ON exemption_event(exemption_id);
INSERT INTO exemption_event(exemption_id, t_ms, actor, old, new, reason)
	SELECT id, created_ms, actor, '', 'active', reason FROM exemption;
INSERT INTO exemption_event(exemption_id, t_ms, actor, old, new, reason)
	SELECT id, ended_ms, '', 'active', state, '' FROM exemption WHERE ended_ms IS NOT NULL;
