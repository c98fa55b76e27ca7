"""A ledger of schema 1 becomes one of schema 2, and processes of both share it meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.unit.stores.migrating import break_off, schema

import ci360_twilio.stores
from ci360_twilio.core.due import due
from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.ports import Query
from ci360_twilio.stores.backup import backup, check, restore
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import APPLICATION_ID, SCHEMA

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]

FIRST = Path(ci360_twilio.stores.__file__).with_name("sqlite_0001.sql")
HASH_KEY = b"k" * 32
INSERT = (
    "INSERT INTO entries (tenant, guid, created_at, status, work, due_at, sid, data)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE = "UPDATE entries SET status = ?, work = ?, due_at = ?, sid = ?, data = ? WHERE guid = ?"


def ms(moment: datetime) -> int:
    """Give a moment as the columns have it."""
    return round(moment.timestamp() * 1000)


def repeated(entry: Entry) -> tuple[object, ...]:
    """Give the columns of schema 1."""
    work, at = due(entry)
    return entry.status, work, ms(at), entry.sid, msgspec.json.encode(entry)


def write_old(db: sqlite3.Connection, entry: Entry) -> None:
    """Write an entry as a process of schema 1 does."""
    made = entry.tenant_id, entry.guid, ms(entry.created_at)
    db.execute(INSERT, (*made, *repeated(entry)))


def make_old(path: Path, *entries: Entry, **state: str) -> None:
    """Make a ledger of schema 1, as the version before this one left it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(FIRST.read_text())
        for entry in entries:
            write_old(db, entry)
        for item in state.items():
            db.execute("INSERT INTO state (name, value) VALUES (?, ?)", item)
        db.execute("PRAGMA user_version = 1")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def test_the_schema_of_a_migrated_ledger_is_that_of_a_new_one(
    entry: Make, open_store: Open, path: Path, tmp_path: Path
) -> None:
    """Table by table and index by index."""
    make_old(path, entry())
    open_store().close()
    SqliteStore(tmp_path / "new.db", hash_key=HASH_KEY).close()
    assert schema(path) == schema(tmp_path / "new.db")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


def test_a_migrated_ledger_has_everything_in_place(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Every entry as it was, found by all that it was found by; and it is sound."""
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    old = [entry(f"g-{status}", status=status) for status in Status]
    old.append(entry("leaving", status=Status.SENDING, lease=lease))
    old.append(entry("named", status=Status.SENT, sid="SM1", provider_status="queued"))
    make_old(path, *old)
    assert check(path).problems == ()
    store = open_store()
    assert store.get_many([one.key for one in old]) == old
    assert store.find(Query(sid="SM1")) == [old[-1]]
    assert len(store.find(Query(statuses=frozenset({Status.ACCEPTED})))) == 1
    assert [one.guid for one in store.claim(now=now, lease=lease, limit=9).entries] == [
        "g-accepted"
    ]
    assert store.look(now=now, limit=9)[0].guid == "g-unknown"
    assert (store.pauses(), store.waiting(now), store.notes(9)) == ([], [], [])
    assert check(path).problems == ()


def test_what_was_sent_before_the_migration_is_not_asked_for(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """There may be millions of them; they are purged in their time."""
    make_old(path, *[entry(f"g{n}", status=Status.SENT, sid=f"SM{n}") for n in range(9)])
    store = open_store()
    assert store.look(now=now + timedelta(days=80), limit=9) == []
    assert store.purge(now=now + timedelta(days=91), limit=99) == 9


def test_what_came_before_the_migration_counts_for_its_recipient(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """As far as it would count else."""
    old = [entry(f"g{n}") for n in range(2)]
    old.append(entry("refused", status=Status.REFUSED))
    old.append(entry("bare", status=Status.EXPIRED, message=None))
    make_old(path, *old)
    store = open_store()
    limits = {old[0].tenant_id: 3}
    results = store.insert_many([entry("a"), entry("b")], recipient_limits=limits)
    assert [one.entry.status for one in results] == [Status.ACCEPTED, Status.SUPPRESSED]


@pytest.mark.parametrize("restored", [True, False])
def test_a_restored_ledger_stays_paused(
    entry: Make, open_store: Open, path: Path, now: datetime, restored: bool
) -> None:
    """By a pause that a person lifts, since the time of the restore."""
    state = {"paused": "1"} | ({"restored_at": now.isoformat()} if restored else {})
    make_old(path, entry(), **state)
    store = open_store()
    [pause] = store.pauses()
    expected = Pause(scope=Scope.ALL, cause=Cause.RESTORE, reason="restored", since=pause.since)
    assert (pause, pause.name) == (expected, "restore:all:*:*")
    if restored:
        assert pause.since == now == store.summary(now).restored_at
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    assert store.claim(now=now, lease=lease, limit=9).entries == []
    assert store.resume([pause.name]) == 1
    assert len(store.claim(now=now, lease=lease, limit=9).entries) == 1
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT 1 FROM state WHERE name = 'paused'").fetchall() == []


def test_a_backup_of_schema_1_can_be_restored(
    entry: Make, open_store: Open, path: Path, tmp_path: Path, now: datetime
) -> None:
    """Into a ledger of this one, or of the one before."""
    make_old(tmp_path / "old.db", entry("saved", status=Status.SENT, sid="SM1"))
    backup(tmp_path / "old.db", tmp_path / "backup.db")
    open_store().insert_many([entry("lost")])
    kept = restore(tmp_path / "backup.db", path, hash_key=HASH_KEY, now=now)
    assert kept is not None
    assert [one.guid for one in open_store().find(Query())] == ["saved"]
    restore(tmp_path / "backup.db", tmp_path / "old.db", hash_key=HASH_KEY, now=now)
    assert check(path).problems == check(tmp_path / "old.db").problems == ()


def test_a_migration_that_breaks_off_leaves_schema_1(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Whole; the next try goes through."""
    make_old(path, entry())
    break_off(path, open_store, version=1, at="audit")  # in the way of the last steps
    assert open_store().get_many([entry().key]) == [entry()]


# Processes of both schemas


def old_sees(entry: Entry) -> Entry:
    """Give an entry as a process of schema 1 writes it back: without what it does not know."""
    return msgspec.structs.replace(
        entry, bulk=False, place=None, correlation=None, started_at=None, lost_at=None, looks=0
    )


def test_what_an_older_process_accepts_is_sent_by_the_newer(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Its rows lack the newer columns, which is no damage."""
    store = open_store()
    with closing(sqlite3.connect(path)) as db, db:
        write_old(db, entry("old"))
        write_old(db, entry("refused", status=Status.REFUSED))
    assert check(path).problems == ()
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    [taken] = store.claim(now=now, lease=lease, limit=9).entries
    started = Fact(kind=Kind.STARTED, at=now, lease=lease, correlation="token")
    sid = Receipt(sid="SM1", status="queued")
    made = Fact(kind=Kind.MADE, at=now, lease=lease, receipt=sid)
    results = store.record_many([(taken.key, started), (taken.key, made)])
    assert [one and one.status for one in results] == [Status.SENDING, Status.SENT]
    assert check(path).problems == ()


@pytest.mark.parametrize("kind", ["parked", "paced", "bulk", "sending", "sent"])
def test_what_an_older_process_writes_back_is_not_lost(
    entry: Make, open_store: Open, path: Path, now: datetime, kind: str
) -> None:
    """It forgets where an entry waited; that is claimed by its time, then, and no damage."""
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    started = {"started_at": now, "correlation": "token"}
    entries = {
        "parked": entry(
            place=Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=now).place
        ),
        "paced": entry(place="paced:a", bulk=True),
        "bulk": entry(bulk=True),
        "sending": entry(status=Status.SENDING, lease=lease, **started),
        "sent": entry(status=Status.SENT, sid="SM1", **started),
    }
    store = open_store()
    store.insert_many([entries[kind]])
    with closing(sqlite3.connect(path)) as db, db:
        known = old_sees(entries[kind])
        db.execute(UPDATE, (*repeated(known), known.guid))
    assert check(path).problems == ()
    assert store.waiting(now) == []
    claimed = store.claim(now=now, lease=lease, limit=9)
    assert len(claimed.entries) == (kind in ("parked", "paced", "bulk"))
    later = now + timedelta(days=99)
    store.claim(now=later, lease=lease, limit=9)
    assert store.look(now=later, limit=9) == [] or kind == "sending"
    assert check(path).problems == ()
