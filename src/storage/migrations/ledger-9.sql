-- Charge detail records that the other side did not take: few, and looked for every minute.
CREATE INDEX cdrs_denied ON cdrs(stored_unix_ms) WHERE state IN (4, 5);
-- Corrections, by the record that each replaces.
CREATE INDEX cdrs_replacing ON cdrs(session, replaces) WHERE replaces IS NOT NULL;
-- Month-end statements on which both sides agree, with the envelopes in which each signed it.
CREATE TABLE statements(
    ours TEXT NOT NULL,
    partner TEXT NOT NULL,
    month TEXT NOT NULL,
    digest BLOB NOT NULL,
    records INTEGER NOT NULL,
    energy TEXT NOT NULL,
    agreed_unix_ms INTEGER NOT NULL,
    signed_by_us BLOB NOT NULL,
    signed_by_partner BLOB NOT NULL,
    PRIMARY KEY(ours, partner, month, digest)
) WITHOUT ROWID;
