-- Schema 4: bulk jobs.

-- One row per job, also of one that ended long ago: the same task must not run twice.
-- `data` is the whole of it as JSON.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    version INTEGER NOT NULL,
    data BLOB NOT NULL
);

CREATE INDEX jobs_created ON jobs (created_at);
CREATE INDEX jobs_open ON jobs (created_at) WHERE is_open;
