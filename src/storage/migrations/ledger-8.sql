-- The log of signed messages. Salt and message go when personal data is deleted; all else stays, so that the chain of
-- hashes can be verified.
CREATE TABLE evidence(
    number INTEGER PRIMARY KEY,
    at_unix_ms INTEGER NOT NULL,
    direction INTEGER NOT NULL,
    session TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    hash BLOB NOT NULL,
    signer BLOB NOT NULL,
    ours TEXT NOT NULL,
    partner TEXT NOT NULL,
    what TEXT NOT NULL,
    salt BLOB,
    message BLOB
);
CREATE INDEX evidence_by_session ON evidence(session, number);
CREATE INDEX evidence_with_message ON evidence(at_unix_ms) WHERE message IS NOT NULL;
-- The credential chains of who signed.
CREATE TABLE evidence_chains(
    delegation BLOB PRIMARY KEY,
    credential BLOB NOT NULL,
    signed BLOB NOT NULL
) WITHOUT ROWID;
-- Sessions whose driver was forgotten.
ALTER TABLE sessions ADD COLUMN is_forgotten INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_not_forgotten ON sessions(changed_unix_ms) WHERE is_over = 1 AND is_forgotten = 0;
