-- Notifications that came back, by mail with a valid tag, are deliveries that failed or wait after all: returned 1.
ALTER TABLE ev_delivery ADD COLUMN returned INTEGER NOT NULL DEFAULT 0;
-- What the TLS of the client of the last login is called; '' not known.
ALTER TABLE ev_login ADD COLUMN tls TEXT NOT NULL DEFAULT '';
