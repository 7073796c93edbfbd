-- The registry: credentials, tombstones, rotations, status lists, as they were signed.
CREATE TABLE identity(
  hash BLOB PRIMARY KEY,
  received_unix_s INTEGER NOT NULL,
  bytes BLOB NOT NULL
);
