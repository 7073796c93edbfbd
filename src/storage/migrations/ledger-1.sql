-- Counters and marks of this database.
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- Feeds that this node writes, with the last head that it signed.
CREATE TABLE own_feeds(
  id INTEGER PRIMARY KEY,
  party TEXT NOT NULL,
  kind INTEGER NOT NULL,
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
  UNIQUE(party, kind)
);

-- Their records; value is NULL for a deleted one.
CREATE TABLE own_records(
  id INTEGER PRIMARY KEY,
  feed INTEGER NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  hash BLOB NOT NULL,
  value BLOB,
  UNIQUE(feed, key)
);

-- Pushes that wait for confirmation.
CREATE TABLE held(
  id INTEGER PRIMARY KEY,
  party TEXT NOT NULL,
  kind INTEGER NOT NULL,
  digest BLOB NOT NULL,
  body BLOB NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  removes INTEGER NOT NULL,
  of_records INTEGER NOT NULL
);
