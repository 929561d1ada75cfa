-- The accounting database. Times are UTC milliseconds. Addresses are 16-byte blobs, IPv4 v4-mapped; a prefix is its
-- first address and its length in its own family. Every table is STRICT. A migration, once released, is never edited.

-- Single numbers: policy_version.
CREATE TABLE setting (
	key TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO setting VALUES ('policy_version', 1);

-- Who ------------------------------------------------------------------------------------------------------------

CREATE TABLE subscriber (
	id INTEGER PRIMARY KEY,
	ref TEXT NOT NULL UNIQUE, -- the ISP's own customer number
	name TEXT NOT NULL DEFAULT '',
	contact TEXT NOT NULL DEFAULT '',
	created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE account (
	id INTEGER PRIMARY KEY,
	login TEXT NOT NULL UNIQUE, -- user@realm, canonical
	subscriber_id INTEGER REFERENCES subscriber(id), -- NULL: not known
	created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX account_subscriber ON account(subscriber_id);

-- Half-open [from_ms, to_ms); to_ms NULL: still theirs. Ports lo..hi inclusive.
CREATE TABLE lease (
	id INTEGER PRIMARY KEY,
	plen INTEGER NOT NULL,
	first BLOB NOT NULL CHECK (length(first) = 16),
	last BLOB NOT NULL CHECK (length(last) = 16),
	port_lo INTEGER NOT NULL DEFAULT 0,
	port_hi INTEGER NOT NULL DEFAULT 65535 CHECK (port_hi >= port_lo),
	subscriber_id INTEGER NOT NULL REFERENCES subscriber(id),
	from_ms INTEGER NOT NULL,
	to_ms INTEGER CHECK (to_ms >= from_ms),
	source TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX lease_prefix ON lease(plen, first, from_ms);
CREATE INDEX lease_first ON lease(first);
CREATE INDEX lease_subscriber ON lease(subscriber_id, from_ms);
CREATE INDEX lease_to ON lease(to_ms) WHERE to_ms IS NOT NULL;

-- Port 25 ----------------------------------------------------------------------------------------------------------

CREATE TABLE exemption (
	id INTEGER PRIMARY KEY,
	plen INTEGER NOT NULL,
	first BLOB NOT NULL CHECK (length(first) = 16),
	last BLOB NOT NULL CHECK (length(last) = 16),
	class INTEGER NOT NULL CHECK (class IN (1, 2)), -- enum policy_class
	state TEXT NOT NULL CHECK (state IN ('active', 'expired', 'removed', 'revoked')),
	subscriber_id INTEGER REFERENCES subscriber(id),
	contract TEXT NOT NULL DEFAULT '',
	contact TEXT NOT NULL DEFAULT '',
	reason TEXT NOT NULL DEFAULT '',
	actor TEXT NOT NULL,
	created_ms INTEGER NOT NULL,
	starts_ms INTEGER NOT NULL,
	expires_ms INTEGER, -- NULL: never
	ended_ms INTEGER,
	last_seen_ms INTEGER, -- a packet passed because of it
	packets INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX exemption_active ON exemption(plen, first) WHERE state = 'active';
CREATE INDEX exemption_prefix ON exemption(plen, first);
CREATE INDEX exemption_first ON exemption(first) WHERE state = 'active';
CREATE INDEX exemption_subscriber ON exemption(subscriber_id) WHERE state = 'active';
CREATE INDEX exemption_expires ON exemption(expires_ms) WHERE state = 'active';

-- What happened ------------------------------------------------------------------------------------------------------

-- The last batch stored of each sender's numbering: a batch sent again is not counted twice.
CREATE TABLE feed_source (
	program TEXT NOT NULL,
	instance TEXT NOT NULL,
	last_seq INTEGER NOT NULL,
	updated_ms INTEGER NOT NULL,
	PRIMARY KEY (program, instance)
) STRICT, WITHOUT ROWID;

-- Port-25 packets, one row a source, verdict and 5 minutes. kind: enum event_kind (1 block, 2 pass).
CREATE TABLE ev_block (
	t_ms INTEGER NOT NULL, -- start of the 5 minutes
	kind INTEGER NOT NULL,
	src BLOB NOT NULL CHECK (length(src) = 16),
	packets INTEGER NOT NULL,
	dsts INTEGER NOT NULL, -- the most seen in one interval: an estimate from below
	first_ms INTEGER NOT NULL,
	last_ms INTEGER NOT NULL,
	last_dst BLOB NOT NULL,
	PRIMARY KEY (t_ms, kind, src)
) STRICT, WITHOUT ROWID;
CREATE INDEX ev_block_src ON ev_block(src, t_ms);

CREATE TABLE ev_message (
	id INTEGER PRIMARY KEY,
	t_ms INTEGER NOT NULL,
	account_id INTEGER NOT NULL REFERENCES account(id),
	src BLOB NOT NULL,
	src_port INTEGER NOT NULL,
	session TEXT NOT NULL,
	queue_id TEXT NOT NULL,
	token TEXT NOT NULL,
	mail_from TEXT NOT NULL,
	message_id TEXT NOT NULL,
	rcpt_domains TEXT NOT NULL,
	rcpts INTEGER NOT NULL,
	size INTEGER NOT NULL,
	held INTEGER NOT NULL
) STRICT;
CREATE INDEX ev_message_account ON ev_message(account_id, t_ms);
CREATE INDEX ev_message_src ON ev_message(src, t_ms);
CREATE INDEX ev_message_token ON ev_message(token);
CREATE INDEX ev_message_queue ON ev_message(queue_id);
CREATE INDEX ev_message_t ON ev_message(t_ms);

-- One recipient each time it reached a final or deferred state. result: 1 delivered, 2 bounced, 3 deferred.
CREATE TABLE ev_delivery (
	id INTEGER PRIMARY KEY,
	t_ms INTEGER NOT NULL,
	account_id INTEGER REFERENCES account(id), -- NULL: our own notification
	queue_id TEXT NOT NULL,
	rcpt TEXT NOT NULL,
	status TEXT NOT NULL,
	reply TEXT NOT NULL,
	result INTEGER NOT NULL
) STRICT;
CREATE INDEX ev_delivery_queue ON ev_delivery(queue_id);
CREATE INDEX ev_delivery_t ON ev_delivery(t_ms);
CREATE INDEX ev_delivery_account ON ev_delivery(account_id);

-- Logins, one row a name, source, outcome and 5 minutes. The name is text: most failed ones are nobody's.
CREATE TABLE ev_login (
	t_ms INTEGER NOT NULL,
	login TEXT NOT NULL,
	src BLOB NOT NULL,
	ok INTEGER NOT NULL,
	n INTEGER NOT NULL,
	last_ms INTEGER NOT NULL,
	mech TEXT NOT NULL,
	session TEXT NOT NULL, -- of the last one
	reason TEXT NOT NULL,
	PRIMARY KEY (t_ms, login, src, ok)
) STRICT, WITHOUT ROWID;
CREATE INDEX ev_login_login ON ev_login(login, t_ms);

-- Refusals, one row an account, source, status and 5 minutes. account "": before a login.
CREATE TABLE ev_refuse (
	t_ms INTEGER NOT NULL,
	login TEXT NOT NULL,
	src BLOB NOT NULL,
	status TEXT NOT NULL,
	n INTEGER NOT NULL,
	rcpts INTEGER NOT NULL,
	last_ms INTEGER NOT NULL,
	session TEXT NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (t_ms, login, src, status)
) STRICT, WITHOUT ROWID;
CREATE INDEX ev_refuse_login ON ev_refuse(login, t_ms);

-- Each account's 5 minutes, kept in the transaction that stores the events.
CREATE TABLE account_rollup (
	t_ms INTEGER NOT NULL,
	account_id INTEGER NOT NULL REFERENCES account(id),
	messages INTEGER NOT NULL DEFAULT 0,
	rcpts INTEGER NOT NULL DEFAULT 0,
	held INTEGER NOT NULL DEFAULT 0,
	refused INTEGER NOT NULL DEFAULT 0,
	bounced INTEGER NOT NULL DEFAULT 0,
	last_ms INTEGER NOT NULL,
	PRIMARY KEY (t_ms, account_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_rollup_account ON account_rollup(account_id, t_ms);

-- The whole system's minutes: blocked, passed, accepted, held, refused, delivered, bounced, deferred, login_ok, login_failed.
CREATE TABLE rollup (
	metric TEXT NOT NULL,
	t_ms INTEGER NOT NULL,
	n INTEGER NOT NULL,
	PRIMARY KEY (metric, t_ms)
) STRICT, WITHOUT ROWID;

-- Cases --------------------------------------------------------------------------------------------------------------

CREATE TABLE incident (
	id INTEGER PRIMARY KEY,
	state TEXT NOT NULL CHECK (state IN ('open', 'acknowledged', 'contained', 'released', 'resolved')),
	subject_type TEXT NOT NULL CHECK (subject_type IN ('account', 'line')),
	subject TEXT NOT NULL, -- the account's login, or the line's address
	account_id INTEGER REFERENCES account(id),
	subscriber_id INTEGER REFERENCES subscriber(id),
	detector TEXT NOT NULL, -- burst, complaint, operator
	why TEXT NOT NULL,
	severity TEXT NOT NULL CHECK (severity IN ('low', 'medium', 'high')),
	owner TEXT NOT NULL DEFAULT '',
	opened_ms INTEGER NOT NULL,
	updated_ms INTEGER NOT NULL,
	contained_ms INTEGER,
	released_ms INTEGER,
	resolved_ms INTEGER,
	penalty_ms INTEGER -- since_ms of ratelimitd's penalty: its name
) STRICT;
-- One unresolved case a subject and detector; an address that changed hands is another subject.
CREATE UNIQUE INDEX incident_subject ON incident(subject_type, subject, detector, ifnull(subscriber_id, 0))
	WHERE state <> 'resolved';
CREATE INDEX incident_state ON incident(state, opened_ms);
CREATE INDEX incident_account ON incident(account_id);
CREATE INDEX incident_subscriber ON incident(subscriber_id);

CREATE TABLE incident_event (
	id INTEGER PRIMARY KEY,
	incident_id INTEGER NOT NULL REFERENCES incident(id),
	t_ms INTEGER NOT NULL,
	actor TEXT NOT NULL,
	what TEXT NOT NULL,
	text TEXT NOT NULL
) STRICT;
CREATE INDEX incident_event_incident ON incident_event(incident_id);

CREATE TABLE report (
	id INTEGER PRIMARY KEY,
	received_ms INTEGER NOT NULL,
	format TEXT NOT NULL,
	feedback_type TEXT NOT NULL,
	reporter TEXT NOT NULL,
	source_ip TEXT, -- text: what the reporter wrote, canonical
	source_port INTEGER,
	arrival_ms INTEGER,
	match TEXT NOT NULL CHECK (match IN ('token', 'queue_id', 'lease', 'none')),
	account_id INTEGER REFERENCES account(id),
	subscriber_id INTEGER REFERENCES subscriber(id),
	incident_id INTEGER REFERENCES incident(id),
	token TEXT NOT NULL,
	queue_id TEXT NOT NULL,
	sha256 TEXT NOT NULL UNIQUE, -- of the raw message, and its file's name
	error TEXT NOT NULL, -- why nothing matched
	fields TEXT NOT NULL, -- JSON: every field of the report, arrays of text
	original_headers TEXT NOT NULL
) STRICT;
CREATE INDEX report_incident ON report(incident_id);
CREATE INDEX report_received ON report(received_ms);
CREATE INDEX report_unmatched ON report(id) WHERE match = 'none';
CREATE INDEX report_account ON report(account_id);
CREATE INDEX report_subscriber ON report(subscriber_id);

-- Doors --------------------------------------------------------------------------------------------------------------

CREATE TABLE operator (
	user TEXT PRIMARY KEY,
	hash TEXT NOT NULL, -- crypt(5), yescrypt
	role TEXT NOT NULL CHECK (role IN ('viewer', 'desk', 'admin')),
	created_ms INTEGER NOT NULL,
	changed_ms INTEGER NOT NULL,
	login_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
	hash TEXT PRIMARY KEY, -- SHA-256 of the token
	user TEXT NOT NULL REFERENCES operator(user) ON DELETE CASCADE,
	address TEXT NOT NULL,
	created_ms INTEGER NOT NULL,
	seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_user ON session(user);

CREATE TABLE audit (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	t_ms INTEGER NOT NULL,
	actor TEXT NOT NULL,
	peer TEXT NOT NULL,
	action TEXT NOT NULL,
	object TEXT NOT NULL,
	reason TEXT NOT NULL,
	detail TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_fixed BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit trail is not edited'); END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit trail is not cut'); END;
