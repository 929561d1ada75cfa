-- What a delivery's answer says (the numbers of ratelimit/answer.h; 0: not known), who gave it, and how safe the way was.
ALTER TABLE ev_delivery ADD COLUMN answer INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ev_delivery ADD COLUMN server TEXT NOT NULL DEFAULT '';
ALTER TABLE ev_delivery ADD COLUMN tls TEXT NOT NULL DEFAULT '';
ALTER TABLE ev_delivery ADD COLUMN cipher TEXT NOT NULL DEFAULT '';
ALTER TABLE ev_delivery ADD COLUMN proof TEXT NOT NULL DEFAULT '';
