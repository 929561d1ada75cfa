-- Who asks about a message mostly knows its Message-ID and nothing else.
CREATE INDEX ev_message_message_id ON ev_message(message_id) WHERE message_id <> '';
