"""A ledger of schema 4 becomes one of schema 5, and processes of both share it meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.unit.stores.migrating import break_off, schema

import ci360_twilio.stores
from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.ports import Counted, Query
from ci360_twilio.stores.backup import backup, check, restore
from ci360_twilio.stores.columns import columns_of, ms, recipient_of
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import APPLICATION_ID, SCHEMA

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]

SCRIPTS = [
    Path(ci360_twilio.stores.__file__).with_name(f"sqlite_{version:04}.sql")
    for version in range(1, 5)
]
HASH_KEY = b"k" * 32
ROBIN, KIM = "+12015550101", "+447700900123"
COLUMNS = "status, work, due_at, sid, correlation, place, lane, ends_at, report_at, aside"
INSERT = (
    f"INSERT INTO entries (tenant, guid, created_at, recipient, data, {COLUMNS})"  # noqa: S608
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE = (
    f"UPDATE entries SET ({COLUMNS}, data) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " WHERE guid = ?"
)


def write_old(path: Path, *entries: Entry) -> None:
    """Write entries as a process of schema 4 does."""
    with closing(sqlite3.connect(path)) as db, db:
        for entry in entries:
            ours = entry.tenant_id, entry.guid, ms(entry.created_at), recipient_of(entry)
            db.execute(INSERT, (*ours, msgspec.json.encode(entry), *columns_of(entry)))


def rewrite_old(path: Path, entry: Entry) -> None:
    """Write an entry that was read as a process of schema 4 does."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(UPDATE, (*columns_of(entry), msgspec.json.encode(entry), entry.guid))


def delete_old(path: Path, entry: Entry) -> None:
    """Delete an entry as a process of schema 4 does."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM entries WHERE guid = ?", (entry.guid,))


def make_old(path: Path, *entries: Entry) -> None:
    """Make a ledger of schema 4, as the version before this one left it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        for script in SCRIPTS:
            db.executescript(script.read_text())
        db.execute("PRAGMA user_version = 4")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    write_old(path, *entries)


def counted(store: SqliteStore | MemoryStore, now: datetime) -> list[Counted]:
    """Count everything, in an order."""
    found = store.counts(since=now - timedelta(days=99), before=now + timedelta(days=99))
    assert found.whole_since is None
    return sorted(found.counted, key=str)


def recounted(entries: list[Entry], now: datetime) -> list[Counted]:
    """Count entries in a ledger of their own."""
    memory = MemoryStore()
    memory.insert_many(entries)
    return counted(memory, now)


def lived(entry: Make, now: datetime) -> list[Entry]:
    """Make entries of every status over several days, of two people."""
    text = Message(to=f"whatsapp:{KIM}", sender="Acme")
    about = Origin(task_code="TSK_1", identities={"datahub_id": "d-1", "subject_id": "s-1"})
    return [
        *[
            entry(f"g-{status}", status=status, created_at=now - timedelta(hours=7 * number))
            for number, status in enumerate(Status)
        ],
        entry("kim", message=text, origin=about, job="job-1", bulk=True),
        entry("bare", message=None, status=Status.REFUSED, reason="no_message", error_code=1),
    ]


def test_the_schema_of_a_migrated_ledger_is_that_of_a_new_one(
    entry: Make, open_store: Open, path: Path, tmp_path: Path
) -> None:
    """Table by table, index by index and trigger by trigger, and the columns in their order."""
    make_old(path, entry())
    open_store().close()
    SqliteStore(tmp_path / "new.db", hash_key=HASH_KEY).close()
    assert schema(path) == schema(tmp_path / "new.db")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


def test_a_migrated_ledger_has_counted_what_it_held(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Every entry, in its slot; and it is sound, before and after."""
    old = lived(entry, now)
    make_old(path, *old)
    assert check(path).problems == ()
    store = open_store()
    assert store.get_many([one.key for one in old]) == old
    assert counted(store, now) == recounted(old, now)
    assert store.recount() == 0
    assert check(path).problems == ()


def test_a_migrated_ledger_finds_what_it_held(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """By all that can be asked for."""
    make_old(path, *lived(entry, now))
    store = open_store()
    queries = (
        *(Query(recipient=KIM), Query(identity="s-1"), Query(country="GB"), Query(job="job-1")),
        *(Query(task="TSK_1"), Query(sender="Acme")),
    )
    for query in queries:
        assert [one.guid for one in store.find(query)] == ["kim"]
    assert [one.guid for one in store.find(Query(error_code=1))] == ["bare"]
    assert len(store.find(Query(recipient=ROBIN))) == len(Status)


def test_an_entry_that_cannot_be_read_is_left_aside(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """The others are counted and found; the damage is told as before."""
    make_old(path, entry("a"), entry("b"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE entries SET data = CAST('{' AS BLOB) WHERE guid = 'a'")
    store = open_store()
    assert counted(store, now) == recounted([entry("b")], now)
    assert [one.guid for one in store.find(Query(recipient=ROBIN))] == ["b"]
    assert [one.guid for one in store.find(Query(tenant_id=entry().tenant_id))] == ["b"]
    assert store.recount() == 0
    assert check(path).problems == ("1 entries cannot be read",)


def test_a_backup_of_schema_4_can_be_restored(
    entry: Make, open_store: Open, path: Path, tmp_path: Path, now: datetime
) -> None:
    """Into a ledger of this one, or of the one before."""
    saved = entry("saved", status=Status.SENT, sid="SM1")
    make_old(tmp_path / "old.db", saved)
    backup(tmp_path / "old.db", tmp_path / "backup.db")
    store = open_store()
    store.insert_many([entry("lost"), entry("lost too")])
    assert restore(tmp_path / "backup.db", path, hash_key=HASH_KEY, now=now) is not None
    assert counted(store, now) == recounted([saved], now)
    assert store.recount() == 0
    restore(tmp_path / "backup.db", tmp_path / "old.db", hash_key=HASH_KEY, now=now)
    assert check(path).problems == check(tmp_path / "old.db").problems == ()


def test_a_migration_that_breaks_off_leaves_schema_4(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Whole; the next try goes through."""
    make_old(path, entry())
    break_off(path, open_store, version=4, at="counts")  # in the way of the last steps
    store = open_store()
    assert store.find(Query(recipient=ROBIN)) == [entry()]


def test_of_many_that_migrate_at_once_all_find_it_done(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """And nothing is counted twice."""
    old = [entry(f"g{n}") for n in range(2500)]
    make_old(path, *old)
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_store(busy_seconds=10), range(6)))
    for store in stores:
        assert counted(store, now) == recounted(old, now)


# Processes of both schemas


def test_what_an_older_process_accepts_is_found_and_counted(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """At once, before anybody has given it traits; and when its status changes."""
    ours, theirs = entry("ours"), entry("theirs", message=Message(to=KIM, sender="Acme"))
    store = open_store()
    store.insert_many([ours])
    write_old(path, theirs)
    assert check(path).problems == ()
    assert counted(store, now) == recounted([ours, theirs], now)
    for query in (Query(recipient=KIM), Query(country="GB"), Query(sender="Acme")):
        assert store.find(query) == [theirs]
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    store.claim(now=now, lease=lease, limit=9)
    started = Fact(kind=Kind.STARTED, at=now, lease=lease)
    changed = store.record_many([(ours.key, started), (theirs.key, started)])
    assert all(one is not None and one.status is Status.SENDING for one in changed)
    assert store.find(Query(statuses=frozenset({Status.SENDING}))) == changed[::-1]
    assert counted(store, now) == recounted([one for one in changed if one], now)


def test_what_an_older_process_changes_is_counted_as_it_is(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """And found so; by nothing that it was."""
    store, one = open_store(), entry(status=Status.SENT, sid="SM1")
    store.insert_many([one, entry("another")])
    changed = msgspec.structs.replace(one, status=Status.FAILED, error_code=30008)
    rewrite_old(path, changed)
    assert counted(store, now) == recounted([changed, entry("another")], now)
    assert store.find(Query(statuses=frozenset({Status.SENT}))) == []
    assert store.find(Query(error_code=30008)) == [changed]
    assert store.find(Query(recipient=ROBIN))[-1] == changed
    assert check(path).problems == ()


def test_what_an_older_process_deletes_is_not_counted(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Its row went, and so did its count."""
    store = open_store()
    store.insert_many([entry("a"), entry("b"), entry("c", message=None)])
    delete_old(path, entry("a"))
    delete_old(path, entry("c"))
    assert counted(store, now) == recounted([entry("b")], now)


def test_a_purge_counts_what_an_older_process_wrote(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """So that it need not be looked at one by one for ever."""
    store = open_store()
    write_old(path, *[entry(f"g{n}") for n in range(5)])
    store.purge(now=now, limit=3)
    store.purge(now=now, limit=3)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM entries WHERE traits IS NULL").fetchone() == (0,)
        assert db.execute("SELECT entries FROM counts").fetchall() == [(5,)]
    assert store.recount() == 0
    assert counted(store, now) == recounted([entry(f"g{n}") for n in range(5)], now)


# Recounting


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        ("UPDATE counts SET entries = 7", 1),
        ("DELETE FROM counts", 1),
        ("INSERT INTO counts VALUES (1, 1, 3), (5, 99, 1)", 2),
        ("UPDATE entries SET names = NULL WHERE guid = 'a'", 1),
        ("UPDATE entries SET traits = NULL, names = x'00'", 4),
        ("UPDATE entries SET traits = 0 WHERE guid = 'a'", 1),
        ("UPDATE traits SET task = 'another'", 6),
        ("INSERT INTO traits (tenant, status) VALUES ('gone', 'sent')", 0),
    ],
)
def test_a_recount_sets_right_what_is_wrong(
    entry: Make, open_store: Open, path: Path, now: datetime, damage: str, wrong: int
) -> None:
    """Tells how much it was, and finds nothing after it."""
    store = open_store()
    kept = [entry(guid) for guid in "abcd"]
    store.insert_many(kept)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    assert store.recount() == wrong
    assert store.recount() == 0
    assert counted(store, now) == recounted(kept, now)
    assert store.find(Query(recipient=ROBIN)) == kept[::-1]
    assert store.find(Query(country="US")) == kept[::-1]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM traits").fetchone() == (1,)


def test_nothing_is_left_of_traits_that_nobody_has(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Nor of names: they go with the last entry of their task, also those that were passed through."""
    store = open_store()
    one = entry("a", origin=Origin(task_code="TSK_1"), purge_at=now)
    store.insert_many([one, entry("b", origin=Origin(task_code="TSK_2"))])
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    store.claim(now=now, lease=lease, limit=9, keys=[one.key])
    facts = [
        Fact(kind=Kind.STARTED, at=now, lease=lease),
        Fact(kind=Kind.REFUSED, at=now, lease=lease, reason="refused", error_code=21211),
    ]
    assert None not in store.record_many([(one.key, fact) for fact in facts])
    assert store.purge(now=now, limit=9) == 1
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT DISTINCT task FROM traits").fetchall() == [("TSK_2",)]
        assert db.execute("SELECT sum(entries) FROM counts").fetchone() == (1,)
