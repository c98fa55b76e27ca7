-- Schema 3: what CI360 is owed, what customers write and wish, chores, receipts of strangers.

-- When the first report that an entry still owes is due; how many were set aside.
ALTER TABLE entries ADD COLUMN report_at INTEGER;
ALTER TABLE entries ADD COLUMN aside INTEGER;

-- Reports are taken tenant by tenant, longest due first.
CREATE INDEX entries_reports ON entries (tenant, report_at) WHERE report_at IS NOT NULL;
CREATE INDEX entries_aside ON entries (tenant) WHERE aside IS NOT NULL;

-- One row per message that a customer sent. `data` is the whole of it as JSON.
CREATE TABLE inbound (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    sid TEXT NOT NULL,
    customer TEXT NOT NULL,
    heard_at INTEGER NOT NULL,
    purge_at INTEGER NOT NULL,
    report_at INTEGER,
    aside INTEGER,
    data BLOB NOT NULL
);

-- Twilio may post one twice.
CREATE UNIQUE INDEX inbound_key ON inbound (sid, tenant);
CREATE INDEX inbound_customer ON inbound (customer, tenant);
CREATE INDEX inbound_heard ON inbound (heard_at);
CREATE INDEX inbound_purge ON inbound (purge_at);
CREATE INDEX inbound_reports ON inbound (tenant, report_at) WHERE report_at IS NOT NULL;
CREATE INDEX inbound_aside ON inbound (tenant) WHERE aside IS NOT NULL;

-- Recipients' wishes, under a keyed hash of tenant, group and number: it outlives the number.
CREATE TABLE consents (
    id INTEGER PRIMARY KEY,
    subject BLOB NOT NULL,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    recipient TEXT,
    ask_at INTEGER,
    data BLOB NOT NULL
);

CREATE UNIQUE INDEX consents_subject ON consents (subject);
CREATE INDEX consents_review ON consents (tenant) WHERE state = 'review';
CREATE INDEX consents_ask ON consents (ask_at) WHERE ask_at IS NOT NULL;

-- What is done again and again; `mark` says how far it has come.
CREATE TABLE chores (
    name TEXT PRIMARY KEY,
    due_at INTEGER NOT NULL,
    mark TEXT
) WITHOUT ROWID;

-- The last receipt of each message that belongs to no entry.
CREATE TABLE strays (
    sid TEXT NOT NULL,
    tenant TEXT NOT NULL,
    last_at INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (sid, tenant)
) WITHOUT ROWID;
CREATE INDEX strays_last ON strays (last_at);
