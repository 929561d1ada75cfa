-- Alerts: what waits to be told of which case, what was told, and whether it has arrived.

-- The detector's stage of the incident's penalty: watch, throttle, hold, suspend; '' for others.
ALTER TABLE incident ADD COLUMN stage TEXT NOT NULL DEFAULT '';

-- Up to here the lines of timelines were looked at; what is there already is not told.
INSERT INTO setting SELECT 'alert_event', ifnull(max(id), 0) FROM incident_event;

-- States of the appliance that somebody should know of. ended_ms: of the last one that is over.
CREATE TABLE alert_condition (
	name TEXT PRIMARY KEY,
	severity TEXT NOT NULL CHECK (severity IN ('low', 'medium', 'high')),
	begun_ms INTEGER NOT NULL,
	ended_ms INTEGER,
	why TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a rule (a group `alert` of the configuration) has told of a case, and since when something waits.
CREATE TABLE alert_item (
	rule TEXT NOT NULL,
	kase TEXT NOT NULL, -- 'incident 12', 'nfqd-away'
	kind TEXT NOT NULL,
	incident_id INTEGER REFERENCES incident(id), -- NULL: a state of the appliance
	rank INTEGER NOT NULL, -- of the worst that was told, or waits
	over INTEGER NOT NULL DEFAULT 0,
	told_ms INTEGER,
	told_event INTEGER NOT NULL DEFAULT 0, -- the last line of the timeline that was told
	new_ms INTEGER, -- since when a new case waits, or one that is worse
	change_ms INTEGER, -- since when another change waits
	PRIMARY KEY (rule, kase)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_item_waits ON alert_item(rule, kind) WHERE new_ms IS NOT NULL OR change_ms IS NOT NULL;

CREATE TABLE alert (
	id INTEGER PRIMARY KEY,
	uuid TEXT NOT NULL UNIQUE, -- the receiver's means against telling twice
	rule TEXT NOT NULL,
	kind TEXT NOT NULL,
	made_ms INTEGER NOT NULL,
	title TEXT NOT NULL,
	body TEXT NOT NULL -- JSON, docs/protocols/alert.md
) STRICT;
CREATE INDEX alert_made ON alert(rule, made_ms);
CREATE INDEX alert_old ON alert(made_ms);

-- The outbox: one row an alert and receiver.
CREATE TABLE alert_send (
	id INTEGER PRIMARY KEY,
	alert_id INTEGER NOT NULL REFERENCES alert(id) ON DELETE CASCADE,
	dest TEXT NOT NULL, -- the URL or the address
	state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed')),
	attempts INTEGER NOT NULL DEFAULT 0,
	next_ms INTEGER NOT NULL,
	done_ms INTEGER,
	answer TEXT NOT NULL DEFAULT '' -- the receiver's last answer, or why there was none
) STRICT;
CREATE INDEX alert_send_due ON alert_send(next_ms) WHERE state = 'waiting';
CREATE INDEX alert_send_alert ON alert_send(alert_id);
