-- The latest version of each price of each feed. changed_unix_ms is this node's own time: what a pull of changes is
-- compared with.
CREATE TABLE price(
  feed INTEGER NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  value BLOB NOT NULL,
  visible INTEGER NOT NULL,
  changed_unix_ms INTEGER NOT NULL,
  PRIMARY KEY(feed, key)
) WITHOUT ROWID;
