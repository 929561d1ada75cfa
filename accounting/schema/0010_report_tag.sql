-- A report can be matched by the tag in its envelope sender (BATV). A CHECK cannot be changed: the table is made anew.
CREATE TABLE report_new (
	id INTEGER PRIMARY KEY,
	received_ms INTEGER NOT NULL,
	format TEXT NOT NULL,
	feedback_type TEXT NOT NULL,
	reporter TEXT NOT NULL,
	source_ip TEXT, -- text: what the reporter wrote, canonical
	source_port INTEGER,
	arrival_ms INTEGER,
	match TEXT NOT NULL CHECK (match IN ('token', 'queue_id', 'tag', 'lease', 'none')),
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
INSERT INTO report_new SELECT id, received_ms, format, feedback_type, reporter, source_ip, source_port, arrival_ms, match, account_id,
	subscriber_id, incident_id, token, queue_id, sha256, error, fields, original_headers FROM report;
DROP TABLE report;
ALTER TABLE report_new RENAME TO report;
CREATE INDEX report_incident ON report(incident_id);
CREATE INDEX report_received ON report(received_ms);
CREATE INDEX report_unmatched ON report(id) WHERE match = 'none';
CREATE INDEX report_account ON report(account_id);
CREATE INDEX report_subscriber ON report(subscriber_id);
