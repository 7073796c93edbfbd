-- What EMPs of this node uploaded: their media, so that the node can answer for them. Never leaves the node.
CREATE TABLE media(
    party TEXT NOT NULL,
    medium TEXT NOT NULL,
    pin_hash TEXT,
    until_unix_ms INTEGER,
    PRIMARY KEY(party, medium)
) WITHOUT ROWID;
