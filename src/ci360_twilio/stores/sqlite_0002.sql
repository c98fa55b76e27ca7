-- Schema 2: places and pauses, budgets and limits, receipts, the audit.

-- A process of schema 1 leaves these as they are: `work`, which it does write, says whether the
-- place counts.
ALTER TABLE entries ADD COLUMN correlation TEXT;
-- For whom a message counts, as it was accepted; absent where it never did, or is too old to.
ALTER TABLE entries ADD COLUMN recipient TEXT;
-- Where an entry waits: behind a pause or in a sender's queue. Lane 0 is for single entries.
ALTER TABLE entries ADD COLUMN place TEXT;
ALTER TABLE entries ADD COLUMN lane INTEGER;
-- When the wait ends by itself: the deadline of what is paced, the purge of what may be asked for.
ALTER TABLE entries ADD COLUMN ends_at INTEGER;

-- Receipts look for their entry.
CREATE INDEX entries_correlation ON entries (correlation) WHERE correlation IS NOT NULL;

-- The messages that a recipient had in a day. Days go first, so that what is accepted is written
-- beside what was accepted lately, however many there are of old.
CREATE INDEX entries_recipient ON entries (created_at / 86400000, recipient)
WHERE recipient IS NOT NULL;

-- What waits in a place, in its order; and which places there are.
CREATE INDEX entries_place ON entries (work, place, lane, due_at) WHERE place IS NOT NULL;

-- What has waited too long, wherever it stands in its place.
CREATE INDEX entries_ends ON entries (work, ends_at) WHERE ends_at IS NOT NULL;

-- What is not sent for now; `data` is the whole pause as JSON.
CREATE TABLE pauses (
    name TEXT PRIMARY KEY,
    data BLOB NOT NULL
) WITHOUT ROWID;

-- When a queue's budget is full again, in microseconds since 1970.
CREATE TABLE budgets (
    place TEXT PRIMARY KEY,
    full_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Messages started in a minute, counted from 1970, by tenants that have a limit.
CREATE TABLE tallies (
    tenant TEXT NOT NULL,
    minute INTEGER NOT NULL,
    started INTEGER NOT NULL,
    PRIMARY KEY (tenant, minute)
) WITHOUT ROWID;

-- What people did; `data` is the whole note as JSON.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    data BLOB NOT NULL
);

-- What is older does not count any more, and may be a great deal.
UPDATE entries SET recipient = json_extract(CAST(data AS TEXT), '$.message.to')
WHERE created_at > (SELECT max(created_at) FROM entries) - 2 * 86400000
AND status NOT IN ('refused', 'suppressed', 'expired', 'canceled');

-- What a restore paused, a pause of everything now says.
INSERT INTO pauses (name, data)
SELECT 'restore:all:*:*', CAST(json_object(
    'scope', 'all', 'cause', 'restore', 'reason', 'restored',
    'since', coalesce(restored.value, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) AS BLOB)
FROM state AS paused LEFT JOIN state AS restored ON restored.name = 'restored_at'
WHERE paused.name = 'paused';
DELETE FROM state WHERE name = 'paused';
