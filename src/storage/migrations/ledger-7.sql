-- Charge detail records of our parties, sent and received. One counts per session; a correction names what it replaces.
CREATE TABLE cdrs(
    number INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    hash BLOB NOT NULL,
    incoming INTEGER NOT NULL,
    ours TEXT NOT NULL,
    partner TEXT NOT NULL,
    operator TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    state INTEGER NOT NULL,
    stored_unix_ms INTEGER NOT NULL,
    ended_unix_ms INTEGER NOT NULL,
    replaces BLOB,
    signed BLOB,
    record BLOB NOT NULL,
    UNIQUE(session, hash, incoming)
);
CREATE INDEX cdrs_open ON cdrs(stored_unix_ms) WHERE is_open = 1;
CREATE INDEX cdrs_by_arrival ON cdrs(ours, incoming, stored_unix_ms);
CREATE INDEX cdrs_by_end ON cdrs(ours, partner, ended_unix_ms);
