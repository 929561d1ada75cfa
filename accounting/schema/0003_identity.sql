-- Sessions told by RADIUS accounting, and what ties leases to them.

-- One life of an Acct-Session-Id at a NAS. What is kept is order-free: the earliest and the latest of what was heard,
-- so that packets that come late, twice or never lead to the same leases (docs/protocols/radius.md).
CREATE TABLE radius_session (
	id INTEGER PRIMARY KEY,
	nas TEXT NOT NULL, -- its address or NAS-Identifier
	session TEXT NOT NULL, -- Acct-Session-Id
	subscriber_id INTEGER NOT NULL REFERENCES subscriber(id),
	port TEXT NOT NULL, -- NAS-Port-Id or NAS-Port
	calling TEXT NOT NULL,
	started INTEGER NOT NULL, -- a Start was heard
	start_ms INTEGER NOT NULL, -- its time; without one the earliest time known
	first_ms INTEGER NOT NULL, -- of the earliest packet
	last_ms INTEGER NOT NULL, -- of the latest packet
	stop_ms INTEGER, -- its Stop
	silent_ms INTEGER, -- when its silence ended it
	interims INTEGER NOT NULL, -- it sends them
	seen_ms INTEGER NOT NULL, -- when we last heard of it, by our clock
	end_ms INTEGER -- of all that can end it, the earliest; NULL: it lives
) STRICT;
CREATE INDEX radius_session_key ON radius_session(nas, session, start_ms);
CREATE INDEX radius_session_port ON radius_session(nas, port, start_ms);
CREATE INDEX radius_session_end ON radius_session(nas, end_ms, last_ms);
CREATE INDEX radius_session_silent ON radius_session(seen_ms) WHERE end_ms IS NULL AND interims > 0;
CREATE INDEX radius_session_lives ON radius_session(id) WHERE end_ms IS NULL;
CREATE INDEX radius_session_last ON radius_session(last_ms);

-- Accounting-On and -Off of a NAS. done: every session it ends has been ended.
CREATE TABLE radius_restart (
	nas TEXT NOT NULL,
	t_ms INTEGER NOT NULL,
	done INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (nas, t_ms)
) STRICT, WITHOUT ROWID;

-- Of a lease told by RADIUS: its session, when that named it first and last, and when it gave it back (port blocks).
ALTER TABLE lease ADD COLUMN session_id INTEGER REFERENCES radius_session(id);
ALTER TABLE lease ADD COLUMN framed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN named_first_ms INTEGER;
ALTER TABLE lease ADD COLUMN named_last_ms INTEGER;
ALTER TABLE lease ADD COLUMN back_ms INTEGER;
CREATE INDEX lease_session ON lease(session_id) WHERE session_id IS NOT NULL;
CREATE INDEX lease_source ON lease(source) WHERE to_ms IS NULL;
