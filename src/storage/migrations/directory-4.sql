-- What came through the central hub. It is in no feed, nobody here signed for it, and it is told to no other node.
-- born and died are versions of the view as in `data`; visible is 0 where the view has a signed record of the EVSE.
CREATE TABLE bridged(
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  operator TEXT NOT NULL,
  operator_id TEXT NOT NULL,
  operator_name TEXT NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  hash BLOB NOT NULL,
  visible INTEGER NOT NULL,
  born INTEGER NOT NULL,
  died INTEGER,
  evse_id TEXT NOT NULL,
  lat REAL,
  lon REAL,
  country TEXT,
  accessibility TEXT,
  calibration TEXT,
  renewable INTEGER,
  hubject INTEGER,
  open_24_hours INTEGER,
  auth_modes TEXT,
  body BLOB NOT NULL
);
CREATE UNIQUE INDEX bridged_live ON bridged(key) WHERE died IS NULL;
CREATE INDEX bridged_view ON bridged(key, born, died) WHERE visible = 1;
CREATE INDEX bridged_born ON bridged(born);
CREATE INDEX bridged_dead ON bridged(died) WHERE died IS NOT NULL;
CREATE INDEX bridged_operator ON bridged(operator, key) WHERE died IS NULL;
CREATE INDEX bridged_place ON bridged(lat, lon) WHERE lat IS NOT NULL;

CREATE TABLE bridged_status(
  key TEXT PRIMARY KEY,
  at_unix_ms INTEGER NOT NULL,
  status TEXT NOT NULL
) WITHOUT ROWID;

-- The EMPs of this node that are partners of the hub: whom it is shown to.
CREATE TABLE hub_partners(party TEXT PRIMARY KEY) WITHOUT ROWID;

-- A signed record that enters the view takes the place of what the hub says of the same EVSE, and leaves it again.
CREATE TRIGGER bridged_shadowed AFTER INSERT ON data WHEN new.visible = 1 AND new.died IS NULL BEGIN
  UPDATE bridged SET visible = 0 WHERE key = new.key AND died IS NULL AND visible = 1;
END;
CREATE TRIGGER bridged_unshadowed AFTER UPDATE OF died ON data
WHEN old.visible = 1 AND old.died IS NULL AND new.died IS NOT NULL BEGIN
  UPDATE bridged SET visible = 1, born = new.died
  WHERE key = new.key AND died IS NULL AND visible = 0
    AND NOT EXISTS (SELECT 1 FROM data d WHERE d.key = new.key AND d.visible = 1 AND d.died IS NULL);
END;

-- What the hub took of ours last: the hash of each record, so that only differences are pushed.
CREATE TABLE hub_acknowledged(
  party TEXT NOT NULL,
  kind INTEGER NOT NULL,
  key TEXT NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY(party, kind, key)
) WITHOUT ROWID;

-- When what was done with the hub, in unix milliseconds.
CREATE TABLE hub_marks(name TEXT PRIMARY KEY, at_unix_ms INTEGER NOT NULL) WITHOUT ROWID;
