"""Pauses, queues, limits and receipts in the file: what is only read, and what may befall it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.ports import Mark, Note, Query, Store
from ci360_twilio.stores.backup import backup, check, restore
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import SCHEMA

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]
Act = Callable[[Store], object]

PACE = Rate("demo/sender", 0.01)


def pause_of(now: datetime, scope: Scope = Scope.ALL, value: str | None = None) -> Pause:
    """Give a pause that a person set."""
    return Pause(scope=scope, value=value, cause=Cause.PERSON, reason="paused", since=now)


def lease(now: datetime, worker: str = "worker") -> Lease:
    """Make a lease of a minute."""
    return Lease(token=worker, until=now + timedelta(minutes=1))


def claim(store: Store, now: datetime, *, limit: int = 9, paced: bool = False) -> list[Entry]:
    """Claim what is due, as a worker does."""
    rate = PACE if paced else None
    claimed = store.claim(now=now, lease=lease(now), limit=limit, rate_of=lambda _: rate)
    return claimed.entries


def other(path: Path) -> closing[sqlite3.Connection]:
    """Open the file as another program would."""
    return closing(sqlite3.connect(path, isolation_level=None, timeout=0))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep everybody from writing."""
    with other(path) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


def writer(store: SqliteStore) -> sqlite3.Connection:
    """Give the connection that a store writes with, to put SQLite's own limits on it."""
    store.probe()
    assert store._file._writer is not None
    return store._file._writer


# What is only read


def test_a_worker_behind_pauses_and_empty_budgets_does_not_write(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Thousands may wait: nobody who accepts waits behind a claim that cannot take them."""
    store = open_store()
    waiting = [entry(f"p{n}", place=pause_of(now).place) for n in range(2000)]
    store.insert_many(waiting + [entry(f"q{n}", place=PACE.place) for n in range(2000)])
    store.pause(pause_of(now, Scope.TASK, "another"))
    assert len(claim(store, now, limit=9999, paced=True)) == 1
    while store.summary(now).waiting < 3999:
        claim(store, now, limit=9999, paced=True)
    store.pause(pause_of(now))
    while {place.place for place in store.waiting(now)} != {pause_of(now).place}:
        claim(store, now, paced=True)
    with locked(path):
        assert claim(store, now, paced=True) == []
    store.resume([pause_of(now).name])
    while {place.place for place in store.waiting(now)} != {PACE.place}:
        claim(store, now, paced=True)
    with locked(path):
        assert claim(store, now, paced=True) == []
        assert store.look(now=now, limit=9) == []
        assert store.take_probe(pause_of(now).name, now=now, until=now) is None


def test_a_pause_that_waits_for_a_probe_is_only_read(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Where nothing waits that could be one, or what waits is kept by another such pause."""
    store = open_store()
    probed = [
        Pause(
            scope=scope,
            value=value,
            cause=Cause.CONFIG,
            reason="twilio_21606",
            since=now,
            probe_at=now + timedelta(days=at),
        )
        for scope, value, at in ((Scope.ALL, None, 0), (Scope.COUNTRY, "US", 1))
    ]
    for pause in probed:
        store.pause(pause)
    with locked(path):
        assert claim(store, now) == []
    store.insert_many([entry()])
    assert claim(store, now) == []
    with locked(path):
        assert claim(store, now) == []
    assert len(claim(store, now + timedelta(hours=23, minutes=59))) == 0
    store.pause(msgspec.structs.replace(probed[1], probe_at=now), replace=True)
    assert len(claim(store, now)) == 1


def plans(store: SqliteStore, act: Act) -> list[str]:
    """Give how SQLite goes about the statements that a call makes."""
    seen: list[str] = []
    connections = [store._file._writer, store._file._reader]
    for db in connections:
        assert db is not None
        db.set_trace_callback(seen.append)
    act(store)
    for db in connections:
        assert db is not None
        db.set_trace_callback(None)
    reader = connections[1]
    assert reader is not None
    asked = [sql for sql in dict.fromkeys(seen) if " entries" in sql]
    assert asked
    return [row[3] for sql in asked for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}")]


def test_no_call_of_a_worker_or_a_server_goes_through_all_entries(
    entry: Make, open_store: Open, now: datetime
) -> None:
    """Nor does it sort them: however many there are, an index leads to those that are wanted."""
    store = open_store()
    pause = pause_of(now, Scope.TASK, "T")
    store.pause(
        Pause(scope=Scope.ALL, cause=Cause.CONFIG, reason="x", since=now, probe_at=now, probe=None)
    )
    store.insert_many(
        [
            entry("a"),
            entry("b", bulk=True),
            entry("c", place=pause.place),
            entry("d", place=PACE.place),
            entry("e", status=Status.UNKNOWN),
            entry("f", status=Status.SENT, sid="SM1", started_at=now, purge_at=now),
        ]
    )
    store.purge(now=now + timedelta(days=-1), limit=1)
    later = now + timedelta(minutes=2)
    found = Fact(kind=Kind.MADE, at=now, receipt=Receipt(sid="SM2", status="queued"), guessed=True)
    acts: dict[str, Act] = {
        "accept": lambda one: one.insert_many(
            [entry("new"), entry("a")], recipient_limits={entry().tenant_id: 9}
        ),
        "claim": lambda one: one.claim(now=now, lease=lease(now), limit=9, rate_of=lambda _: PACE),
        "claim again": lambda one: one.claim(now=later, lease=lease(later), limit=9),
        "claim named": lambda one: one.claim(
            now=later, lease=lease(later), limit=9, keys=[entry("a").key]
        ),
        "record": lambda one: one.record_many([(entry("e").key, found)]),
        "marked": lambda one: one.marked([Mark(entry().tenant_id, "token", "SM1")]),
        "look": lambda one: one.look(now=now + timedelta(days=1), limit=9),
        "purge": lambda one: one.purge(now=now + timedelta(days=1), limit=9),
        "get": lambda one: one.get_many([entry().key]),
    }
    steps = {name: plans(store, act) for name, act in acts.items()}
    wrong = {
        name: [step for step in done if step.startswith("SCAN entries") or "TEMP B-TREE" in step]
        for name, done in steps.items()
    }
    assert wrong == {name: [] for name in acts}


@pytest.mark.parametrize("status", ["accepted", "sending", "unknown", "held"])
def test_what_has_no_end_is_not_looked_for_among_all(
    entry: Make, open_store: Open, status: str
) -> None:
    """A console lists what is unknown among millions that were delivered."""
    store = open_store()
    text = Message(to="+12015550101", sender="Acme")
    store.insert_many([entry(status=Status(status), message=text)])
    query = Query(statuses=frozenset({Status(status)}), sender="Acme")
    steps = plans(store, lambda one: one.find(query))
    assert len(store.find(query)) == 1
    assert any("INDEX entries_traits (traits=?" in step for step in steps)
    assert not any(step.startswith("SCAN entries") for step in steps)


# What may befall an open ledger


def busy_store(store: SqliteStore, entry: Make, now: datetime) -> Key:
    """Fill a ledger so that every call has something to write; give the key of what is leased."""
    store.insert_many([entry(f"due{n}") for n in range(40)])
    store.insert_many([entry("taken", lease=lease(now, "taken"))])
    store.insert_many([entry(f"lost{n}", status=Status.UNKNOWN) for n in range(40)])
    probed = Pause(
        scope=Scope.TASK,
        value="another",
        cause=Cause.CONFIG,
        reason="twilio_21606",
        since=now,
        probe_at=now,
    )
    store.pause(probed)
    return entry("taken").key


def changes(entry: Make, now: datetime) -> dict[str, Act]:
    """Give every call that changes something in such a ledger, in one commit."""
    taken = entry("taken").key
    words = "x" * 9000
    note = Note(at=now, by="ada", action="pause", subject="all", detail=words)
    start = Fact(kind=Kind.STARTED, at=now, lease=lease(now, "taken"), correlation=words)
    wide = pause_of(now, Scope.TASK, words)
    probe = "config:task:*:another"
    return {
        "insert_many": lambda one: one.insert_many(
            [entry("new", problems=(("field", words),))], recipient_limits={entry().tenant_id: 99}
        ),
        "claim": lambda one: claim(one, now, limit=40),
        "claim_paced": lambda one: claim(one, now, limit=40, paced=True),
        "claim_named": lambda one: one.claim(
            now=now, lease=lease(now), limit=40, keys=[entry(f"due{n}").key for n in range(40)]
        ),
        "record_many": lambda one: one.record_many(
            [(taken, start)], hourly_limits={entry().tenant_id: 9}
        ),
        "look": lambda one: one.look(now=now, limit=40),
        "pause": lambda one: one.pause(wide, note=note),
        "resume": lambda one: one.resume([probe], note=note),
        "take_probe": lambda one: one.take_probe(probe, now=now, until=now + timedelta(days=1)),
        "write_note": lambda one: one.write_note(note),
    }


def contents(path: Path) -> list[list[tuple[object, ...]]]:
    """Give all that a ledger holds, but for the trace of a probe."""
    tables = ("entries", "tombstones", "pauses", "budgets", "tallies", "audit")
    with other(path) as db:
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608


CALLS = [
    "insert_many",
    "claim",
    "claim_paced",
    "claim_named",
    "record_many",
    "look",
    "pause",
    "resume",
    "take_probe",
    "write_note",
]


def refused(store: SqliteStore, act: Act, path: Path, match: str) -> None:
    """Require that a call fails with our error and has written nothing."""
    before = contents(path)
    with pytest.raises(LedgerUnavailable, match=match) as raised:
        act(store)
    assert not isinstance(raised.value, LedgerUnusable)
    assert contents(path) == before


@pytest.mark.parametrize("call", CALLS)
def test_a_locked_ledger_refuses_every_change_and_comes_back(
    entry: Make, open_store: Open, path: Path, now: datetime, call: str
) -> None:
    """Another connection is writing, for longer than is waited."""
    store = open_store()
    busy_store(store, entry, now)
    act = changes(entry, now)[call]
    with locked(path):
        refused(store, act, path, "BUSY")
    act(store)
    assert check(path).problems == ()


@pytest.mark.parametrize("call", CALLS)
def test_a_read_only_ledger_refuses_every_change_and_comes_back(
    entry: Make, open_store: Open, path: Path, now: datetime, call: str
) -> None:
    """By SQLite's own switch; the next call opens the file afresh."""
    store = open_store()
    busy_store(store, entry, now)
    act = changes(entry, now)[call]
    before = contents(path)
    writer(store).execute("PRAGMA query_only = ON")
    refused(store, act, path, "READONLY")
    act(store)
    assert contents(path) != before
    assert check(path).problems == ()


@pytest.mark.parametrize("call", ["insert_many", "record_many", "pause", "resume", "write_note"])
def test_a_full_ledger_writes_nothing_of_a_call_and_comes_back(
    entry: Make, open_store: Open, path: Path, now: datetime, call: str
) -> None:
    """By SQLite's own limit on pages: neither the change without its note, nor the reverse."""
    store = open_store()
    busy_store(store, entry, now)
    act = changes(entry, now)[call]
    before = contents(path)
    pages = writer(store).execute("PRAGMA page_count").fetchone()[0]
    writer(store).execute(f"PRAGMA max_page_count = {pages}")
    refused(store, act, path, "FULL")
    act(store)
    assert contents(path) != before
    assert check(path).problems == ()


def test_a_claim_on_a_full_ledger_takes_nothing(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """What was swept, placed and taken by it is as it was; then it is done over."""
    store = open_store()
    store.insert_many([entry(f"g{n}", problems=(("f", "x" * 1150),)) for n in range(300)])
    store.pause(pause_of(now))
    with other(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        free = db.execute("PRAGMA freelist_count").fetchone()[0]
    assert free == 0
    pages = writer(store).execute("PRAGMA page_count").fetchone()[0]
    writer(store).execute(f"PRAGMA max_page_count = {pages}")
    refused(store, lambda one: claim(one, now), path, "FULL")
    claim(store, now)
    assert store.summary(now).waiting > 0


def test_a_broken_pause_is_called_damage(open_store: Open, path: Path, now: datetime) -> None:
    """Nothing is sent that it might cover."""
    store = open_store()
    store.pause(pause_of(now))
    with other(path) as db:
        db.execute("UPDATE pauses SET data = ?", (b'{"scope":"world"}',))
    acts: list[Act] = [lambda one: one.pauses(), lambda one: claim(one, now)]
    for act in acts:
        with pytest.raises(LedgerUnusable, match="cannot be read"):
            act(store)


def test_a_newer_schema_is_steered_but_not_asked_about(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """This version claims and looks for nothing; a person's pause still counts for the newer one."""
    store = open_store()
    busy_store(store, entry, now)
    with other(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    assert claim(store, now) == []
    assert store.look(now=now, limit=9) == []
    assert store.pause(pause_of(now))
    assert store.resume([pause_of(now).name]) == 1


# Backup, restore and check


def test_a_backup_holds_pauses_budgets_and_notes(
    entry: Make, open_store: Open, path: Path, tmp_path: Path, now: datetime
) -> None:
    """A restore brings all of it back, and adds its own pause."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(3)])
    [taken] = claim(store, now, paced=True)
    start = Fact(kind=Kind.STARTED, at=now, lease=taken.lease, correlation="token")
    store.record_many([(taken.key, start)], hourly_limits={taken.tenant_id: 1})
    note = Note(at=now, by="ada", action="pause", subject="task TSK_1")
    store.pause(pause_of(now, Scope.TASK, "TSK_1"), note=note)
    held = contents(path)
    assert all(held[number] for number in (0, 2, 3, 4, 5))
    backup(path, tmp_path / "backup.db")
    store.resume([pause_of(now, Scope.TASK, "TSK_1").name])
    store.purge(now=now + timedelta(days=999), limit=9)
    restore(tmp_path / "backup.db", path, hash_key=b"k" * 32, now=now)
    again = contents(path)
    assert [again[number] for number in (3, 4, 5)] == [held[number] for number in (3, 4, 5)]
    causes = [pause.cause for pause in open_store().pauses()]
    assert sorted(causes) == [Cause.PERSON, Cause.RESTORE]
    assert check(path).problems == ()


@pytest.mark.parametrize(
    "change",
    [
        "recipient = '+12015550199'",
        "correlation = 'x'",
        "correlation = NULL",
        "place = 'paced:x'",
        "place = NULL",
        "lane = 1",
        "ends_at = 1",
        "ends_at = NULL",
    ],
)
def test_a_row_that_says_other_than_its_entry_is_found(
    entry: Make, open_store: Open, path: Path, change: str
) -> None:
    """By these columns it is counted, found by its receipt, and taken from its place."""
    store = open_store()
    store.insert_many([entry(place=PACE.place, correlation="token")])
    store.close()
    assert check(path).problems == ()
    with other(path) as db:
        db.execute(f"UPDATE entries SET {change}")  # noqa: S608 - the changes are above
    assert len(check(path).problems) == 1


# What is deleted is gone


def test_nothing_of_a_purged_note_is_left(open_store: Open, path: Path, now: datetime) -> None:
    """Neither in the file nor beside it."""
    store = open_store()
    store.write_note(Note(at=now, by="ada.lovelace", action="cancel", subject="demo/guid-of-old"))
    store.purge(now=now + timedelta(days=401), limit=9)
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert [text for text in (b"lovelace", b"guid-of-old") if text in left] == []


def test_what_was_counted_is_forgotten(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """After it has ceased to count."""
    store = open_store()
    store.insert_many([entry(lease=lease(now))])
    start = Fact(kind=Kind.STARTED, at=now, lease=lease(now))
    store.record_many([(entry().key, start)], hourly_limits={entry().tenant_id: 1})
    for hours, left in ((1, 1), (2, 0)):
        store.purge(now=now + timedelta(hours=hours), limit=9)
        assert len(contents(path)[4]) == left
