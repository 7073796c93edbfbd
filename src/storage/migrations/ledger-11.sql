-- In which two parties' account a session is, for comparisons with the partner's node: NULL while several are asked.
-- known_as is the SessionID that both nodes know, NULL if it goes through the hub. A refused one (6) is in no books.
ALTER TABLE sessions ADD COLUMN ours TEXT;
ALTER TABLE sessions ADD COLUMN partner TEXT;
ALTER TABLE sessions ADD COLUMN opened_unix_ms INTEGER;
ALTER TABLE sessions ADD COLUMN phase INTEGER;
ALTER TABLE sessions ADD COLUMN known_as TEXT;
CREATE INDEX sessions_by_opening ON sessions(ours, partner, opened_unix_ms, phase, known_as)
    WHERE known_as IS NOT NULL AND phase != 6;
