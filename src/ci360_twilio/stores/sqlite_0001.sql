-- Schema 1: entries, what is left of deleted ones, and the ledger's own state.

-- One row per message. `data` is the whole entry as JSON and the only truth; the other columns
-- repeat what is searched for. Times are milliseconds since 1970.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    guid TEXT NOT NULL,
    status TEXT NOT NULL,
    work TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    sid TEXT,
    data BLOB NOT NULL
);

-- The idempotency key; guid first, so that a trace needs no tenant.
CREATE UNIQUE INDEX entries_key ON entries (guid, tenant);

-- Claims and purges: what is due, oldest first. The status is there to be counted.
CREATE INDEX entries_due ON entries (work, due_at, status);

-- Listings, newest first; new rows come at its end.
CREATE INDEX entries_created ON entries (created_at);

-- Receipts and people look for a SID.
CREATE INDEX entries_sid ON entries (sid) WHERE sid IS NOT NULL;

-- Keyed hashes of the keys of deleted entries.
CREATE TABLE tombstones (
    hash BLOB PRIMARY KEY
) WITHOUT ROWID;

-- `restored_at`, `paused`, `writes_from` (the lowest schema that may still write), `probe`.
CREATE TABLE state (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
