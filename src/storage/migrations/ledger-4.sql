-- A feed has an audience: its members as ROLE:ID with a space between, nothing for the public.
CREATE TABLE own_feeds_4(
  id INTEGER PRIMARY KEY,
  party TEXT NOT NULL,
  kind INTEGER NOT NULL,
  audience TEXT NOT NULL DEFAULT '',
  operator_id TEXT NOT NULL DEFAULT '',
  operator_name TEXT NOT NULL DEFAULT '',
  epoch INTEGER,
  incarnation INTEGER,
  seq INTEGER,
  count INTEGER,
  root BLOB,
  created_unix_ms INTEGER,
  base_seq INTEGER,
  body BLOB,
  signed BLOB,
  UNIQUE(party, kind, audience)
);
INSERT INTO own_feeds_4(id, party, kind, operator_id, operator_name, epoch, incarnation, seq, count, root,
  created_unix_ms, base_seq, body, signed)
SELECT id, party, kind, operator_id, operator_name, epoch, incarnation, seq, count, root,
  created_unix_ms, base_seq, body, signed FROM own_feeds;
DROP TABLE own_feeds;
ALTER TABLE own_feeds_4 RENAME TO own_feeds;
