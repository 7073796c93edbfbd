-- Agreements and offers that a party of this node has a part in, by the hash of the offer, with all that proves
-- them.
CREATE TABLE agreements(id BLOB PRIMARY KEY, papers BLOB NOT NULL) WITHOUT ROWID;
