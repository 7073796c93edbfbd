-- Sessions of our parties. Those that are open are read at a start, and those of the last day.
CREATE TABLE sessions(
    session TEXT PRIMARY KEY,
    is_over INTEGER NOT NULL,
    changed_unix_ms INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_change ON sessions(is_over, changed_unix_ms);
