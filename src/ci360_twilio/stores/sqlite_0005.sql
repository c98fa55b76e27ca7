-- Schema 5: what entries have in common, how many there are of it over time, and whom they name.

-- One row for all entries that are alike in all of this, so that few rows tell what there is at all.
CREATE TABLE traits (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    task TEXT,
    job TEXT,
    sender TEXT,
    country TEXT,
    status TEXT NOT NULL,
    reason TEXT,
    error_code INTEGER
);
CREATE INDEX traits_all ON traits (
    tenant, task, job, sender, country, status, reason, error_code
);

-- An entry's row there, and hashes of whom it names: four bytes of its recipient's number, and of each
-- identity. Both are absent where a process of an older schema wrote the entry, which knows of neither;
-- where it cannot be read, they are 0 and empty.
ALTER TABLE entries ADD COLUMN traits INTEGER;
ALTER TABLE entries ADD COLUMN names BLOB;

-- Whom somebody looks for is looked for in all of this index: an index of names would cost as much as
-- all else that is written of an entry, as its rows come in no order.
DROP INDEX entries_created;
CREATE INDEX entries_created ON entries (created_at, names);

-- The newest entries of some traits. What is written lately of one kind is written side by side.
CREATE INDEX entries_traits ON entries (traits, created_at);

-- How many entries of some traits were created in a slot of five minutes, counted from 1970.
CREATE TABLE counts (
    slot INTEGER NOT NULL,
    traits INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (slot, traits)
) WITHOUT ROWID;

CREATE TRIGGER counts_ended AFTER UPDATE ON counts WHEN new.entries <= 0
BEGIN
    DELETE FROM counts WHERE slot = new.slot AND traits = new.traits;
END;

-- What is added and changed is counted when its transaction ends, many entries at one time; what is
-- deleted, at once, whoever deletes it.
CREATE TRIGGER entries_deleted AFTER DELETE ON entries WHEN old.traits IS NOT NULL
BEGIN
    UPDATE counts SET entries = entries - 1
    WHERE slot = old.created_at / 300000 AND traits = old.traits;
END;

-- A process of an older schema changes a status and leaves the traits as they are: they are none then.
CREATE TRIGGER entries_outdated AFTER UPDATE OF status ON entries
WHEN new.status <> old.status AND new.traits = old.traits AND new.traits <> 0
BEGIN
    UPDATE entries SET traits = NULL WHERE id = new.id;
    UPDATE counts SET entries = entries - 1
    WHERE slot = old.created_at / 300000 AND traits = old.traits;
END;
