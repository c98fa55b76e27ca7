"""How a SQLite ledger goes about a search: by indexes, and among few rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.message import Message
from ci360_twilio.ports import Note, Query
from ci360_twilio.stores.backup import backup, restore
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_traits import hash_of

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]
Act = Callable[[SqliteStore], object]

ROBIN, KIM = "+12015550101", "+447700900123"
HASH_KEY = b"k" * 32


def asked(store: SqliteStore, act: Act) -> list[str]:
    """Give the statements that a call makes."""
    seen: list[str] = []
    reader = store._file._reader
    assert reader is not None
    reader.set_trace_callback(seen.append)
    act(store)
    reader.set_trace_callback(None)
    return seen


def plans(store: SqliteStore, act: Act) -> list[str]:
    """Give how SQLite goes about these statements."""
    seen = [sql for sql in dict.fromkeys(asked(store, act)) if sql.startswith("SELECT")]
    reader = store._file._reader
    assert reader is not None
    return [row[3] for sql in seen for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}")]


SEARCHES = {
    "newest": Query(),
    "a day": Query(since=datetime(2026, 3, 2).astimezone()),
    "guid": Query(guid="g1"),
    "sid": Query(sid="SM1"),
    "task": Query(task="TSK_1"),
    "job": Query(job="job-1"),
    "sender": Query(sender="Acme"),
    "country": Query(country="US"),
    "reason": Query(reason="opted_out"),
    "error code": Query(error_code=30003),
    "tenant": Query(tenant_id=None, statuses=frozenset(Status)),
    "status": Query(statuses=frozenset({Status.FAILED}), before=datetime(2027, 1, 1).astimezone()),
}
BY_AGE = "USING COVERING INDEX entries_created"
"""Newest first, as far as it is gone through."""


@pytest.mark.parametrize("query", SEARCHES.values(), ids=SEARCHES)
def test_a_search_neither_goes_through_all_entries_nor_sorts_them(
    entry: Make, open_store: Open, query: Query
) -> None:
    """But for a guid's or SID's, and those of one millisecond, which are few."""
    store = open_store()
    store.insert_many([entry(f"g-{status}", status=status) for status in Status])
    steps = plans(store, lambda one: one.find(query))
    assert not [one for one in steps if one.startswith("SCAN entries") and BY_AGE not in one]
    is_named = query.guid is not None or query.sid is not None
    sorts = {one for one in steps if "TEMP B-TREE" in one}
    assert is_named or sorts <= {"USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"}


@pytest.mark.parametrize("query", [Query(recipient=ROBIN), Query(identity="d-1")])
def test_a_person_is_looked_for_in_one_index(entry: Make, open_store: Open, query: Query) -> None:
    """The entries themselves are read only where they may be the person's."""
    steps = plans(open_store(), lambda one: one.find(query))
    assert [one for one in steps if "entries" in one] == [
        f"SEARCH entries {BY_AGE} (created_at<?)",
        "SEARCH entries USING INDEX entries_traits (traits=? AND created_at>? AND created_at<?)",
    ]


def test_a_count_reads_no_entries(entry: Make, open_store: Open, now: datetime) -> None:
    """Unless an older process wrote them."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(9)])
    hours = timedelta(hours=1)
    seen = asked(store, lambda one: one.counts(since=now - hours, before=now + hours))
    assert not [sql for sql in seen if "FROM entries" in sql and "traits IS NULL" not in sql]


def test_a_hash_that_is_anothers_finds_nothing(entry: Make, open_store: Open, path: Path) -> None:
    """What is found by it is looked at."""
    store = open_store()
    store.insert_many([entry()])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE entries SET names = ?", (hash_of(KIM),))
    assert store.find(Query(recipient=KIM)) == []


def test_a_batch_is_counted_in_few_statements(entry: Make, open_store: Open) -> None:
    """However many entries it has."""
    store, seen = open_store(), list[str]()
    writer = store._file._writer
    assert writer is not None
    writer.set_trace_callback(seen.append)
    store.insert_many([entry(f"g{n}") for n in range(200)])
    writer.set_trace_callback(None)
    assert len([sql for sql in seen if " counts " in sql]) == 1
    assert len([sql for sql in seen if " traits " in sql and "entries" not in sql]) == 2


def test_what_fails_is_not_counted(entry: Make, open_store: Open, now: datetime) -> None:
    """Nothing of a transaction is there that was taken back."""
    store = open_store()
    store.insert_many([entry("a")])

    def fail() -> None:
        with store._writing() as rows:
            rows.add(entry("b"))
            rows.settle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    hours = timedelta(hours=1)
    [counted] = store.counts(since=now - hours, before=now + hours).counted
    assert counted.messages == 1
    assert store.recount() == 0


def test_a_restore_keeps_counts_right(
    entry: Make, open_store: Open, path: Path, tmp_path: Path, now: datetime
) -> None:
    """Those of the backup, without what was erased since; and nobody erased is found."""
    store = open_store()
    texts = [Message(to=to, sender="Acme") for to in (ROBIN, KIM)]
    done = {"status": Status.SENT}
    store.insert_many([entry("robin", message=texts[0], **done), entry("kim", message=texts[1])])
    backup(path, tmp_path / "backup.db")
    store.insert_many([entry("later", message=texts[1], **done)])
    gone = entry("robin")
    note = Note(at=now, by="ada", action="erase", subject="demo")
    store.erase(
        gone.tenant_id, entries=[gone.key], inbound=[], recipients=[ROBIN], words=[], note=note
    )
    restore(tmp_path / "backup.db", path, hash_key=HASH_KEY, now=now)
    hours = timedelta(hours=1)
    [counted] = store.counts(since=now - hours, before=now + hours).counted
    assert (counted.country, counted.status, counted.messages) == ("GB", Status.UNKNOWN, 1)
    assert store.find(Query(recipient=ROBIN)) == []
    assert [one.guid for one in store.find(Query(recipient=KIM))] == ["kim"]
    assert store.recount() == 0
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT DISTINCT country FROM traits").fetchall() == [("GB",)]
