-- Counters and marks of this database.
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- One row for each commit that changed data records: versions of the view. last_row is the largest
-- data.id of that moment, shown the number of records in the view.
CREATE TABLE commits(
  version INTEGER PRIMARY KEY,
  at_unix_ms INTEGER NOT NULL,
  last_row INTEGER NOT NULL,
  shown INTEGER NOT NULL
);
CREATE INDEX commits_at ON commits(at_unix_ms);

-- Feeds with the head that their records add up to. The head is missing after the feed was dropped;
-- the operator's names stay for the history of its records. Changes up to horizon_seq cannot be
-- listed: their tombstones are gone or were never seen.
CREATE TABLE feeds(
  id INTEGER PRIMARY KEY,
  party TEXT NOT NULL,
  kind INTEGER NOT NULL,
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
  UNIQUE(party, kind)
);

-- Versions of EVSE data records: valid from commit `born` until before commit `died`. A record that
-- enters or leaves the view gets a new version, so that the difference of two commits is complete.
CREATE TABLE data(
  id INTEGER PRIMARY KEY,
  feed INTEGER NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  hash BLOB NOT NULL,
  visible INTEGER NOT NULL,
  born INTEGER NOT NULL,
  died INTEGER,
  evse_id TEXT,
  lat REAL,
  lon REAL,
  country TEXT,
  accessibility TEXT,
  calibration TEXT,
  renewable INTEGER,
  hubject INTEGER,
  open_24_hours INTEGER,
  auth_modes TEXT
);
CREATE UNIQUE INDEX data_live ON data(feed, key) WHERE died IS NULL;
CREATE INDEX data_view ON data(key, born, died) WHERE visible = 1;
CREATE INDEX data_dead ON data(died) WHERE died IS NOT NULL;

-- The records' text apart from what is filtered by: a filter then reads a tenth of the pages.
CREATE TABLE payloads(id INTEGER PRIMARY KEY, body BLOB NOT NULL);

-- Live records of the view by place, in millionths of a degree.
CREATE VIRTUAL TABLE geo USING rtree_i32(id, lon_min, lon_max, lat_min, lat_max);

-- The latest status of each EVSE of each feed.
CREATE TABLE status(
  feed INTEGER NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  status BLOB NOT NULL,
  visible INTEGER NOT NULL,
  PRIMARY KEY(feed, key)
) WITHOUT ROWID;
CREATE INDEX status_view ON status(key) WHERE visible = 1;

-- Deleted records, so that "changes since" can tell of them.
CREATE TABLE tombstones(
  feed INTEGER NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  kept_since_unix_ms INTEGER NOT NULL,
  PRIMARY KEY(feed, key)
) WITHOUT ROWID;

-- Credential chains that were verified, by the hash of their delegation.
CREATE TABLE chains(
  hash BLOB PRIMARY KEY,
  credential BLOB NOT NULL,
  delegation BLOB NOT NULL
) WITHOUT ROWID;

-- Pairs of contradicting heads of one writer: kept as proof.
CREATE TABLE equivocations(
  feed INTEGER NOT NULL,
  first BLOB NOT NULL,
  second BLOB NOT NULL,
  PRIMARY KEY(feed, first, second)
) WITHOUT ROWID;

-- EVSEs that several parties claim. claimed_by: party texts, one a line.
CREATE TABLE conflicts(
  key TEXT NOT NULL,
  kind INTEGER NOT NULL,
  shown TEXT,
  claimed_by TEXT NOT NULL,
  PRIMARY KEY(key, kind)
) WITHOUT ROWID;
