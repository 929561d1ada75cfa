-- How many bits of a refused source are its line's; 0: all of them (IPv4, and rows from before).
ALTER TABLE ev_block ADD COLUMN plen INTEGER NOT NULL DEFAULT 0;
