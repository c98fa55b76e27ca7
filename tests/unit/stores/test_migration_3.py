"""A ledger of schema 2 becomes one of schema 3, and processes of both share it meanwhile."""

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
from ci360_twilio.core.advance import owing
from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Answer, Outcome, Verdict
from ci360_twilio.ports import About, Conversation, InboundQuery, Mark, Note, Query, Verified
from ci360_twilio.stores.backup import backup, check, restore
from ci360_twilio.stores.columns import columns_of, ms, recipient_of
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import APPLICATION_ID, SCHEMA
from ci360_twilio.stores.tombstone import tombstone

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]

SCRIPTS = [
    Path(ci360_twilio.stores.__file__).with_name(f"sqlite_{version:04}.sql") for version in (1, 2)
]
HASH_KEY = b"k" * 32
CUSTOMER, OURS = "+12015550101", "+15005550006"
COLUMNS = "status, work, due_at, sid, correlation, place, lane, ends_at"
INSERT = (
    f"INSERT INTO entries (tenant, guid, created_at, recipient, data, {COLUMNS})"  # noqa: S608
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE = f"UPDATE entries SET ({COLUMNS}, data) = (?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE guid = ?"  # noqa: S608


def write_old(db: sqlite3.Connection, entry: Entry) -> None:
    """Write an entry as a process of schema 2 does."""
    ours = entry.tenant_id, entry.guid, ms(entry.created_at), recipient_of(entry)
    db.execute(INSERT, (*ours, msgspec.json.encode(entry), *columns_of(entry)[:8]))


def rewrite_old(db: sqlite3.Connection, entry: Entry) -> None:
    """Write an entry back as a process of schema 2 does: without what it does not know."""
    known = msgspec.structs.replace(entry, tells=(), reports=(), consent_group=None, via=None)
    values = (*columns_of(known)[:8], msgspec.json.encode(known))
    db.execute(UPDATE, (*values, known.guid))


def make_old(path: Path, *entries: Entry, version: int = 2) -> None:
    """Make a ledger of schema 2, as the version before this one left it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        for script in SCRIPTS:
            db.executescript(script.read_text())
        for entry in entries:
            write_old(db, entry)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def order_of_columns(path: Path) -> dict[str, list[str]]:
    """Give the columns of each table; what is copied from one ledger to another goes by them."""
    with closing(sqlite3.connect(path)) as db:
        tables = [name for kind, name, *_ in schema(path) if kind == "table"]
        sql = "SELECT name FROM pragma_table_info(?)"
        return {table: [name for (name,) in db.execute(sql, (table,))] for table in tables}


def lease_of(now: datetime) -> Lease:
    """Make a lease of a minute."""
    return Lease(token="worker", until=now + timedelta(minutes=1))


def opt_out(store: SqliteStore, entry: Entry, now: datetime) -> None:
    """Have an entry's recipient opt out."""
    evidence = Evidence(sign=Sign.OUT, source=Source.PERSON, heard_at=now, by="ada")
    subject = Subject(entry.tenant_id, CUSTOMER)
    assert store.attest_many([(subject, evidence)], now=now) != [None]


def test_the_schema_of_a_migrated_ledger_is_that_of_a_new_one(
    entry: Make, open_store: Open, path: Path, tmp_path: Path
) -> None:
    """Table by table and index by index, and the columns in their order."""
    make_old(path, entry())
    open_store().close()
    SqliteStore(tmp_path / "new.db", hash_key=HASH_KEY).close()
    assert schema(path) == schema(tmp_path / "new.db")
    assert order_of_columns(path) == order_of_columns(tmp_path / "new.db")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


def lived(entry: Make, now: datetime) -> list[Entry]:
    """Make entries of every status, and what schema 2 searched by."""
    place = Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=now).place
    known = {"status": Status.SENT, "provider_status": "queued", "started_at": now}
    return [
        *[entry(f"g-{status}", status=status) for status in Status],
        entry("leaving", status=Status.SENDING, lease=lease_of(now), started_at=now),
        entry("named", sid="SM1", correlation="token", **known),
        entry("parked", place=place),
        entry("paced", place="paced:a", bulk=True),
        entry("bulk", bulk=True),
    ]


def test_a_migrated_ledger_has_every_entry_in_place(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """As it was, found by all that it was found by; and it is sound, before and after."""
    old = lived(entry, now)
    make_old(path, *old)
    assert check(path).problems == ()
    assert check(path).schema == 2
    store = open_store()
    assert store.get_many([one.key for one in old]) == old
    assert store.find(Query(sid="SM1")) == store.marked([Mark(old[0].tenant_id, "token", None)])
    assert {one.place for one in store.waiting(now)} == {"paced:a", old[-3].place}
    claimed = store.claim(now=now, lease=lease_of(now), limit=9).entries
    assert {one.guid for one in claimed} == {"g-accepted", "parked", "paced", "bulk"}
    assert store.look(now=now, limit=9)[0].guid == "g-unknown"
    assert check(path).problems == ()
    assert check(path).schema == SCHEMA


def test_a_migrated_ledger_has_all_else_in_place(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Pauses, the audit, budgets, what was counted, tombstones, and when it was restored."""
    make_old(path)
    pause = Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=now)
    note = Note(at=now, by="ada", action="pause", subject="all")
    with closing(sqlite3.connect(path)) as db, db:
        rows: list[tuple[str, tuple[object, ...]]] = [
            ("pauses VALUES (?, ?)", (pause.name, msgspec.json.encode(pause))),
            ("audit VALUES (1, ?, ?)", (ms(now), msgspec.json.encode(note))),
            ("budgets VALUES (?, ?)", ("paced:a", 5)),
            ("tallies VALUES (?, ?, ?)", ("first", 1, 1)),
            ("tombstones VALUES (?)", (tombstone(entry("gone").key, HASH_KEY),)),
            ("state VALUES (?, ?)", ("restored_at", now.isoformat())),
        ]
        for table, values in rows:
            db.execute(f"INSERT INTO {table}", values)
    store = open_store()
    assert (store.pauses(), store.notes(9)) == ([pause], [note])
    assert store.summary(now).restored_at == now
    assert store.insert_many([entry("gone")])[0].entry.reason == "purged"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM budgets").fetchall() == [("paced:a", 5)]
        assert db.execute("SELECT * FROM tallies").fetchall() == [("first", 1, 1)]


def test_in_a_migrated_ledger_nothing_is_owed_and_nobody_has_a_wish(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """What came before tells nothing, to its end and after it."""
    old = lived(entry, now)
    make_old(path, *old)
    store = open_store()
    end = Receipt(sid="SM1", status="delivered")
    named = next(one for one in old if one.guid == "named")
    delivered = Fact(kind=Kind.DELIVERED, at=now, receipt=end)
    assert store.record_many([(named.key, delivered)]) != [None]
    summary = store.summary(now)
    assert (summary.owed, summary.aside, summary.review, summary.strays) == (0, 0, 0, 0)
    assert summary.oldest_owed_at is None
    assert (store.owing(now, most=9), store.aside(None, 9)) == ([], [])
    assert store.list_consents(entry().tenant_id, limit=9) == ([], None)
    assert store.verify_consents(limit=9) == Verified(0, (), None)
    assert store.find_inbound(InboundQuery()) == []


def test_a_migrated_ledger_does_all_that_is_new(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """With entries of before: they are answered, found of a person, and kept from somebody's phone."""
    make_old(
        path,
        entry("answered", status=Status.SENT, started_at=now, sid="SM1"),
        entry("waits", lease=lease_of(now)),
    )
    store = open_store()
    tenant_id = entry().tenant_id
    [found] = store.conversations([Conversation(tenant_id, CUSTOMER, [OURS])])
    assert found == entry("answered", status=Status.SENT, started_at=now, sid="SM1")
    opt_out(store, entry(), now)
    start = Fact(kind=Kind.STARTED, at=now, lease=lease_of(now))
    [stopped] = store.record_many([(entry("waits").key, start)])
    assert stopped is not None
    assert (stopped.status, stopped.reason) == (Status.SUPPRESSED, "opted_out")
    about = store.about(tenant_id, recipients=[CUSTOMER])
    assert {one.guid for one in about.entries} == {"answered", "waits"}
    store.erase(
        tenant_id,
        entries=[one.key for one in about.entries],
        inbound=[],
        recipients=[CUSTOMER],
        words=[],
        note=Note(at=now, by="ada", action="erase", subject="demo"),
    )
    assert store.about(tenant_id, recipients=[CUSTOMER]) == About([], [], [])
    assert check(path).problems == ()


def test_a_backup_of_schema_2_can_be_restored(
    entry: Make, open_store: Open, path: Path, tmp_path: Path, now: datetime
) -> None:
    """Into a ledger of this one, whose wishes and chores stay, or of the one before."""
    make_old(tmp_path / "old.db", entry("saved", status=Status.SENT, sid="SM1"))
    backup(tmp_path / "old.db", tmp_path / "backup.db")
    store = open_store()
    store.insert_many([entry("lost")])
    opt_out(store, entry(), now)
    store.add_chores(["hear:a"], due_at=now)
    assert restore(tmp_path / "backup.db", path, hash_key=HASH_KEY, now=now) is not None
    assert [one.guid for one in store.find(Query())] == ["saved"]
    assert len(store.list_consents(entry().tenant_id, limit=9)[0]) == 1
    assert store.take_chore("hear", now=now, until=now) is not None
    restore(tmp_path / "backup.db", tmp_path / "old.db", hash_key=HASH_KEY, now=now)
    assert check(path).problems == check(tmp_path / "old.db").problems == ()


def test_a_migration_that_breaks_off_leaves_schema_2(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Whole; the next try goes through."""
    make_old(path, entry())
    break_off(path, open_store, version=2, at="strays")  # in the way of the last steps
    assert open_store().get_many([entry().key]) == [entry()]


def test_of_many_that_migrate_at_once_all_find_it_done(
    entry: Make, open_store: Open, path: Path
) -> None:
    """As when every process is started anew."""
    make_old(path, *[entry(f"g{n}") for n in range(500)])
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_store(busy_seconds=10), range(6)))
    assert [len(store.find(Query(limit=999))) for store in stores] == [500] * 6
    assert check(path).problems == ()


# Processes of both schemas


def test_what_an_older_process_accepts_is_kept_from_whoever_opted_out(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """It knows of no wishes; whoever sends it does, and its row is no damage."""
    store = open_store()
    opt_out(store, entry(), now)
    with closing(sqlite3.connect(path)) as db, db:
        write_old(db, entry("old"))
    assert check(path).problems == ()
    [taken] = store.claim(now=now, lease=lease_of(now), limit=9).entries
    start = Fact(kind=Kind.STARTED, at=now, lease=lease_of(now))
    [stopped] = store.record_many([(taken.key, start)])
    assert stopped is not None
    assert (stopped.status, stopped.reason) == (Status.SUPPRESSED, "opted_out")


def owed(entry: Make, guid: str, now: datetime) -> Entry:
    """Make an entry that owes a report."""
    return owing(entry(guid, status=Status.SENT, sid="SM1", tells=tuple(Outcome)), now)


@pytest.mark.parametrize("state", ["owed", "told", "aside"])
def test_what_an_older_process_writes_back_owes_nothing_any_more(
    entry: Make, open_store: Open, path: Path, now: datetime, state: str
) -> None:
    """It forgets what was owed; that is no damage, and nobody is sent after it for ever."""
    store, one = open_store(), owed(entry, "g1", now)
    store.insert_many([one])
    verdicts = {"told": Verdict.TOLD, "aside": Verdict.ASIDE}
    if state in verdicts:
        said = Answer(verdicts[state], now)
        store.answer_reports([(one.key, one.reports[0].key, said)])
    with closing(sqlite3.connect(path)) as db, db:
        rewrite_old(db, one)
    assert check(path).problems == ()
    later = now + timedelta(days=1)
    tenant_id = entry().tenant_id
    assert store.take_reports(tenant_id, now=now, until=later, limit=9) == []
    assert store.owe_again(None, now=now) == 0
    assert store.owing(later, most=9) == []
    assert store.summary(now).owed == store.summary(now).aside == 0
    with closing(sqlite3.connect(path)) as db:
        sql = "SELECT report_at, aside FROM entries"
        assert db.execute(sql).fetchall() == [(None, None)]


def test_what_an_older_process_writes_back_does_not_stop_the_others(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Their reports are due later, and are taken in their turn."""
    store = open_store()
    batch = [owed(entry, f"g{n}", now + timedelta(seconds=n)) for n in range(6)]
    store.insert_many([msgspec.structs.replace(one, sid=f"SM-{one.guid}") for one in batch])
    with closing(sqlite3.connect(path)) as db, db:
        for one in batch[:3]:
            rewrite_old(db, one)
    later, found = now + timedelta(minutes=1), list[str]()
    for _ in range(4):
        taken = store.take_reports(
            entry().tenant_id, now=later, until=later + timedelta(days=1), limit=2
        )
        found += [one.of.key for one in taken]
    assert found == [one.key for one in batch[3:]]


def test_a_wish_counts_in_a_ledger_of_a_newer_schema(
    open_store: Open, path: Path, entry: Make, now: datetime
) -> None:
    """What this version accepts is kept from whoever opted out, as long as it may write."""
    store = open_store()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    assert store.summary(now).outdated
    opt_out(store, entry(), now)
    [inserted] = store.insert_many([entry()])
    assert inserted.entry.status is Status.SUPPRESSED
