-- A feed has an audience: its members as ROLE:ID with a space between, nothing for the public.
CREATE TABLE feeds_2(
  id INTEGER PRIMARY KEY,
  party TEXT NOT NULL,
  kind INTEGER NOT NULL,
  audience TEXT NOT NULL DEFAULT '',
  operator_id TEXT NOT NULL DEFAULT '',
  operator_name TEXT NOT NULL DEFAULT '',
  horizon_seq INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER,
  incarnation INTEGER,
  seq INTEGER,
  count INTEGER,
  root BLOB,
  created_unix_ms INTEGER,
  base_seq INTEGER,
  body BLOB,
  signed BLOB,
  received_unix_ms INTEGER,
  UNIQUE(party, kind, audience)
);
INSERT INTO feeds_2(id, party, kind, operator_id, operator_name, horizon_seq, epoch, incarnation, seq, count, root,
  created_unix_ms, base_seq, body, signed, received_unix_ms)
SELECT id, party, kind, operator_id, operator_name, horizon_seq, epoch, incarnation, seq, count, root,
  created_unix_ms, base_seq, body, signed, received_unix_ms FROM feeds;
DROP TABLE feeds;
ALTER TABLE feeds_2 RENAME TO feeds;

-- visible is 1 in the view of everybody, 2 in that of the feed's audience alone, 0 if shadowed: whoever does
-- not name an audience sees nothing of a closed one.
CREATE INDEX data_closed ON data(key, born, died) WHERE visible = 2;
