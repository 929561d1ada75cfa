-- What followed by itself: from a held account for the exemption of its line, from a suspension for the accounts of the line.
-- It is undone with what it followed from, and not done twice for one case.
CREATE TABLE reflex (
	id INTEGER PRIMARY KEY,
	incident_id INTEGER NOT NULL REFERENCES incident(id),
	exemption_id INTEGER NOT NULL REFERENCES exemption(id),
	did TEXT NOT NULL CHECK (did IN ('note', 'suspend', 'watch', 'hold')), -- the first two to the exemption, the others to the account
	done_ms INTEGER NOT NULL,
	undone_ms INTEGER
) STRICT;
CREATE INDEX reflex_incident ON reflex(incident_id);
CREATE INDEX reflex_exemption ON reflex(exemption_id);
