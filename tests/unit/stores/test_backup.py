"""Backup, restore and check of the ledger in a file, at rest and while it is in use."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO

import pytest

from ci360_twilio.core.advance import advance
from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status
from ci360_twilio.core.inbound import Heard, Inbound, inbound_key
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause
from ci360_twilio.core.report import Outcome
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.ports import Hearing, InboundQuery, Note, Query, Stray
from ci360_twilio.stores.backup import Findings, backup, check, restore
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import SCHEMA

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]

HASH_KEY = b"k" * 32


def lease(now: datetime) -> Lease:
    """Make a lease of a minute."""
    return Lease(token="worker", until=now + timedelta(minutes=1))


def claim(store: SqliteStore, now: datetime) -> list[Entry]:
    """Claim what is due, as a worker does."""
    return store.claim(now=now, lease=lease(now), limit=1000).entries


def names(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(file.name for file in folder.iterdir())


def mode(path: Path) -> int:
    """Give a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def guids(store: SqliteStore) -> set[str]:
    """Give the guids of all entries."""
    return {one.guid for one in store.find(Query(limit=100_000))}


def reopened(path: Path) -> SqliteStore:
    """Open a file as a ledger."""
    return SqliteStore(path, hash_key=HASH_KEY)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Name a file for a backup, in a folder of its own."""
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "backup.db"


# backup


def test_a_backup_holds_what_the_ledger_held(
    entry: Make, open_store: Open, path: Path, target: Path
) -> None:
    """In one file, for its owner only, whatever the umask is; the ledger stays as it is."""
    store = open_store()
    batch = [entry(f"g{n}", status=status) for n, status in enumerate(Status)]
    store.insert_many(batch)
    before = os.umask(0)
    try:
        backup(path, target)
    finally:
        os.umask(before)
    assert names(target.parent) == ["backup.db"]
    assert mode(target) == 0o600
    with closing(reopened(target)) as copy:
        assert sorted(copy.find(Query()), key=lambda one: one.key) == sorted(
            store.find(Query()), key=lambda one: one.key
        )


def test_a_backup_of_a_ledger_in_use_is_consistent(
    entry: Make, open_store: Open, path: Path, target: Path
) -> None:
    """It holds every batch that was answered before it began, and no half of one."""
    store = open_store(busy_seconds=10)
    stop, written = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            store.insert_many([entry(f"{written[0]}-{part}") for part in range(5)])
            written[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(8):
            answered = written[0]
            copy = target.with_name(f"{number}.db")
            backup(path, copy)
            found = check(copy)
            assert found.problems == ()
            assert found.entries % 5 == 0
            assert found.entries >= answered * 5
    finally:
        stop.set()
        thread.join()


def test_a_backup_that_begins_at_rest_is_sound_when_a_process_starts_meanwhile(
    entry: Make, open_store: Open, path: Path, target: Path
) -> None:
    """Nobody has the ledger open when it begins; somebody opens, writes and closes it meanwhile."""
    words = (("field", "x" * 2000),)
    store = open_store()
    store.insert_many([entry(f"g{n}", problems=words) for n in range(15_000)])
    store.close()
    thread = threading.Thread(target=backup, args=(path, target))
    thread.start()
    while thread.is_alive() and not target.exists():
        time.sleep(0.0005)
    held = Fact(kind=Kind.HELD, at=entry().created_at, reason="because")
    for turn in range(3):
        with closing(reopened(path)) as other:
            other.insert_many([entry(f"{turn}-{n}", problems=words) for n in range(100)])
            other.record_many([(entry(f"g{n}").key, held) for n in range(turn, 15_000, 150)])
    thread.join()
    assert check(target).problems == ()
    assert check(target).entries >= 15_000


def test_a_backup_overwrites_nothing(
    entry: Make, open_store: Open, path: Path, target: Path
) -> None:
    """Neither a file nor what a link points to, were it empty or the ledger itself."""
    open_store().insert_many([entry()])
    target.write_bytes(b"precious")
    link = target.with_name("link.db")
    link.symlink_to(target.with_name("nothing.db"))
    for there in (target, link, target.parent, path):
        with pytest.raises(LedgerUnavailable):
            backup(path, there)
    assert target.read_bytes() == b"precious"
    assert names(target.parent) == ["backup.db", "link.db"]
    assert check(path).entries == 1


def test_a_backup_needs_a_ledger_and_a_folder(open_store: Open, path: Path, target: Path) -> None:
    """What is missing is told, and nothing is made."""
    with pytest.raises(LedgerUnavailable):
        backup(path, target)
    open_store()
    with pytest.raises(LedgerUnavailable):
        backup(path, target.parent / "missing" / "backup.db")
    assert names(target.parent) == []
    assert not path.with_name("missing").exists()


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path, target: Path) -> None:
    """A file that looks like a backup and is none would be worse than none."""
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database at all " * 999)
    with pytest.raises(LedgerUnavailable):
        backup(garbage, target)
    assert names(target.parent) == []


# check


def test_a_sound_ledger_is_counted(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """In use or at rest, and it is not changed."""
    store = open_store()
    batch = [entry(f"g{n}", status=status) for n, status in enumerate(Status)]
    store.insert_many([*batch, entry("old", status=Status.SENT, purge_at=now)])
    store.purge(now=now + timedelta(seconds=1), limit=9)
    sound = Findings(entries=len(batch), tombstones=1, schema=SCHEMA, problems=())
    assert check(path) == sound
    store.close()
    before = path.read_bytes()
    assert check(path) == sound
    assert path.read_bytes() == before


def test_looking_at_a_backup_leaves_nothing_beside_it(
    entry: Make, open_store: Open, path: Path, target: Path
) -> None:
    """It stays one file, that can be copied elsewhere."""
    open_store().insert_many([entry()])
    backup(path, target)
    assert check(target).problems == ()
    assert names(target.parent) == ["backup.db"]


def test_looking_at_a_ledger_at_rest_leaves_nothing_beside_it(
    entry: Make, open_store: Open, path: Path
) -> None:
    """No process has it open, before and afterwards."""
    store = open_store()
    store.insert_many([entry()])
    store.close()
    assert check(path).problems == ()
    assert names(path.parent) == ["ledger.db"]


def test_a_backup_in_a_folder_that_cannot_be_written_is_sound(
    entry: Make, unprivileged: Path
) -> None:
    """On a read-only disk, or in somebody else's folder; it can be restored from there."""
    path = unprivileged / "ledger.db"
    folder = unprivileged / "backups"
    folder.mkdir()
    with closing(reopened(path)) as store:
        store.insert_many([entry()])
        backup(path, folder / "backup.db")
        folder.chmod(0o500)
        try:
            assert check(folder / "backup.db").problems == ()
            restore(folder / "backup.db", path, hash_key=HASH_KEY, now=entry().created_at)
        finally:
            folder.chmod(0o700)


@pytest.mark.parametrize("start", [0, 16, 100, 4096])
def test_damage_is_found(entry: Make, open_store: Open, path: Path, start: int) -> None:
    """In the head, the schema or the pages."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(50)])
    store.close()
    sound = path.read_bytes()
    path.write_bytes(sound[:start] + b"\xff" * (len(sound) - start))
    assert len(check(path).problems) >= 1


def test_a_file_that_lost_its_end_is_found(entry: Make, open_store: Open, path: Path) -> None:
    """Half a copy is no copy."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(50)])
    store.close()
    os.truncate(path, path.stat().st_size // 2)
    assert len(check(path).problems) >= 1


@pytest.mark.parametrize(
    "value",
    [b'{"key":1}', b"", b"\xff", b'{"key":"\xff"}', b"[" * 5000, "text", 7, 1.5],
    ids=lambda value: repr(value)[:12],
)
def test_an_entry_that_cannot_be_read_is_found(
    entry: Make, open_store: Open, path: Path, value: object
) -> None:
    """Whatever stands in its place; the others are counted."""
    store = open_store()
    store.insert_many([entry("a"), entry("b")])
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE entries SET data = ? WHERE guid = 'a'", (value,))
    found = check(path)
    assert found.entries == 2
    assert len(found.problems) == 1


def test_a_key_that_cannot_be_read_is_found(entry: Make, open_store: Open, path: Path) -> None:
    """A wrong byte in a column is damage as much as one within an entry."""
    store = open_store()
    store.insert_many([entry("a"), entry("b")])
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE entries SET guid = CAST(x'ff61' AS TEXT) WHERE guid = 'a'")
    assert len(check(path).problems) == 1


@pytest.mark.parametrize(
    "change",
    ["guid = 'x'", "tenant = 'x'", "status = 'sent'", "sid = 'x'", "work = 'purge'", "due_at = 1"],
)
def test_a_row_that_says_other_than_its_entry_is_found(
    entry: Make, open_store: Open, path: Path, change: str
) -> None:
    """By its columns a message is found, sent and purged: a wrong one loses it."""
    store = open_store()
    store.insert_many([entry()])
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE entries SET {change}")  # noqa: S608 - the changes are above
    assert len(check(path).problems) == 1


def other_database(path: Path) -> None:
    """Make another program's database."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE customers (name)")
        db.execute("PRAGMA user_version = 1")


def newer_ledger(path: Path) -> None:
    """Make a ledger of a version to come."""
    reopened(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")


def broken_ledger(path: Path) -> None:
    """Make a ledger whose pages are damaged."""
    reopened(path).close()
    sound = path.read_bytes()
    path.write_bytes(sound[:4096] + b"\xff" * (len(sound) - 4096))


NO_LEDGERS: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"no database at all " * 999),
    "empty": lambda path: path.touch(),
    "other database": other_database,
    "newer ledger": newer_ledger,
    "broken ledger": broken_ledger,
}


@pytest.mark.parametrize("kind", NO_LEDGERS)
def test_a_file_that_is_no_ledger_of_ours_is_found(tmp_path: Path, kind: str) -> None:
    """Whatever else it is, in words and without an error."""
    path = tmp_path / "file.db"
    NO_LEDGERS[kind](path)
    assert len(check(path).problems) >= 1


def test_there_must_be_something_to_look_at(tmp_path: Path) -> None:
    """A missing file is no damage, nor is a folder."""
    for path in (tmp_path / "missing.db", tmp_path):
        with pytest.raises(LedgerUnavailable):
            check(path)


def test_a_ledger_that_is_locked_is_not_called_damaged(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Whoever reads that it is would restore an old backup over a sound ledger."""
    store = open_store()
    store.insert_many([entry()])
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable):
            check(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    entry: Make, unprivileged: Path, now: datetime
) -> None:
    """It is somebody else's; neither a backup nor the ledger is to be given up for that."""
    path, target = unprivileged / "ledger.db", unprivileged / "backup.db"
    with closing(reopened(path)) as store:
        store.insert_many([entry()])
        backup(path, target)
    for file in (path, target):
        file.chmod(0o000)
        try:
            with pytest.raises(LedgerUnavailable) as raised:
                check(file)
            assert not isinstance(raised.value, LedgerUnusable)
            with pytest.raises(LedgerUnavailable) as raised:
                restore(target, path, hash_key=HASH_KEY, now=now)
            assert not isinstance(raised.value, LedgerUnusable)
        finally:
            file.chmod(0o600)
    assert names(unprivileged) == ["backup.db", "ledger.db"]


def test_a_ledger_is_not_called_damaged_while_processes_open_and_close_it(
    entry: Make, open_store: Open, path: Path
) -> None:
    """A check that begins at rest may see a process start, write and end."""
    words = (("field", "x" * 2000),)
    store = open_store()
    store.insert_many([entry(f"g{n}", problems=words) for n in range(6_000)])
    store.close()
    stop, found = threading.Event(), list[Findings]()

    def look() -> None:
        while not stop.is_set():
            found.append(check(path))

    thread = threading.Thread(target=look)
    thread.start()
    held = Fact(kind=Kind.HELD, at=entry().created_at, reason="because")
    for turn in range(8):
        seen = len(found)
        while len(found) == seen and thread.is_alive():  # then the next one begins, at rest
            time.sleep(0.0005)
        with closing(reopened(path)) as other:
            other.insert_many([entry(f"{turn}-{n}", problems=words) for n in range(100)])
            other.record_many([(entry(f"g{n}").key, held) for n in range(turn, 6_000, 100)])
    stop.set()
    thread.join()
    assert {problem for one in found for problem in one.problems} == set()


# restore


def test_a_restore_brings_the_entries_back_and_marks_them(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """What was under way is unknown; what had an end has it; nothing is sent until the resume."""
    store = open_store()
    batch = [entry(f"g-{status}", status=status) for status in Status]
    batch.append(entry("leaving", status=Status.SENDING, lease=lease(now)))
    store.insert_many(batch)
    backup(path, target)
    store.insert_many([entry("lost")])
    store.close()
    at = now + timedelta(hours=1)
    restore(target, path, hash_key=HASH_KEY, now=at)
    store = open_store()
    fact = Fact(kind=Kind.RESTORED, at=at, reason="restored")
    assert store.get_many([one.key for one in batch]) == [
        advance(one, fact) if one.status in ("accepted", "sending") else one for one in batch
    ]
    assert store.get_many([entry("lost").key]) == [None]
    summary = store.summary(at)
    assert ([one.cause for one in summary.pauses], summary.restored_at) == ([Cause.RESTORE], at)
    assert set(summary.unfinished) == {Status.UNKNOWN, Status.HELD}


def test_after_a_restore_old_events_are_held_and_new_ones_wait_for_the_resume(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """The lost part of the ledger may have sent the old ones."""
    open_store().close()
    backup(path, target)
    at = now + timedelta(hours=1)
    restore(target, path, hash_key=HASH_KEY, now=at)
    store = open_store()
    old, new = entry("old", created_at=at), entry("new", created_at=at, generated_at=at)
    statuses = [one.entry.status for one in store.insert_many([old, new])]
    assert statuses == [Status.HELD, Status.ACCEPTED]
    assert claim(store, at) == []
    store.resume([one.name for one in store.pauses()])
    assert [one.guid for one in claim(store, at)] == ["new"]


def test_a_restore_keeps_the_ledger_as_it_was(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """Beside it, in a file of its owner's, sound and whole; nothing else is left over."""
    store = open_store()
    store.insert_many([entry("saved")])
    backup(path, target)
    store.insert_many([entry("later")])
    store.close()
    kept = restore(target, path, hash_key=HASH_KEY, now=now)
    assert kept is not None
    assert kept.is_carried_over
    assert names(path.parent) == ["ledger.db", kept.path.name]
    assert names(target.parent) == ["backup.db"]
    assert {mode(file) for file in (path, kept.path)} == {0o600}
    with closing(reopened(kept.path)) as before:
        assert guids(before) == {"saved", "later"}
        assert not before.summary(now).pauses
    assert guids(open_store()) == {"saved"}


def test_a_restore_where_there_was_no_ledger(
    entry: Make, tmp_path: Path, target: Path, now: datetime
) -> None:
    """On a new machine: the folder and the file are made, and are the owner's."""
    with closing(reopened(target)) as store:
        store.insert_many([entry()])
    path = tmp_path / "new" / "folder" / "ledger.db"
    assert restore(target, path, hash_key=HASH_KEY, now=now) is None
    assert names(path.parent) == ["ledger.db"]
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    with closing(reopened(path)) as store:
        assert guids(store) == {"g1"}
        assert store.summary(now).pauses


def test_a_restored_ledger_knows_the_events_it_has_purged(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """Tombstones come back with it."""
    store = open_store()
    store.insert_many([entry(status=Status.SENT, purge_at=now)])
    store.purge(now=now + timedelta(seconds=1), limit=9)
    backup(path, target)
    restore(target, path, hash_key=HASH_KEY, now=now)
    assert not store.insert_many([entry()])[0].created


def test_an_open_ledger_is_restored_under_its_process(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """It goes on with what was restored, and neither sends nor forgets the marks."""
    store, other = open_store(), open_store()
    store.insert_many([entry("saved")])
    backup(path, target)
    other.insert_many([entry("lost")])
    assert len(claim(other, now)) == 2
    at = now + timedelta(hours=1)
    restore(target, path, hash_key=HASH_KEY, now=at)
    for one in (store, other):
        assert guids(one) == {"saved"}
        assert one.summary(at).pauses
        assert one.summary(at).unfinished == {Status.UNKNOWN: 1}
    [held] = store.insert_many([entry("old", created_at=at)])
    assert held.entry.status is Status.HELD
    assert claim(other, at) == []
    started = Fact(kind=Kind.STARTED, at=now, lease=lease(now))
    assert other.record_many([(entry("saved").key, started)]) == [None]
    other.resume([one.name for one in other.pauses()])
    assert check(path).problems == ()


FOLLOW = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from ci360_twilio.core.entry import Lease
from ci360_twilio.ports import Query
from ci360_twilio.stores.sqlite import SqliteStore

store, now = SqliteStore(Path(sys.argv[1]), hash_key=b"k" * 32), datetime.fromisoformat(sys.argv[2])
lease = Lease(token="other", until=now + timedelta(minutes=1))
for _ in sys.stdin:
    claimed = [entry.guid for entry in store.claim(now=now, lease=lease, limit=1).entries]
    print(sorted(entry.guid for entry in store.find(Query())), claimed, flush=True)
store.close()
"""


def follow(stdin: IO[str], stdout: IO[str]) -> str:
    """Have the other process look, and give what it saw and what it claimed."""
    stdin.write("\n")
    stdin.flush()
    return stdout.readline().strip()


def test_a_ledger_is_restored_under_another_process(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """Which has it open all the time: a worker that was idle stays so until the resume."""
    store = open_store()
    store.insert_many([entry("saved", status=Status.SENT)])
    backup(path, target)
    store.insert_many([entry("lost")])
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(path), now.isoformat()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        ask = partial(follow, process.stdin, process.stdout)
        assert ask() == "['lost', 'saved'] ['lost']"
        restore(target, path, hash_key=HASH_KEY, now=now)
        store.insert_many([entry("new", generated_at=now + timedelta(hours=1))])
        assert ask() == "['new', 'saved'] []"
        store.resume([one.name for one in store.pauses()])
        assert ask() == "['new', 'saved'] ['new']"
        process.stdin.close()
        assert process.wait(20) == 0
    assert check(path).problems == ()


def test_no_event_that_was_answered_is_lost_between_the_ledger_and_what_is_kept(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """While a server goes on accepting, each event is in the one file or in the other."""
    store = open_store(busy_seconds=10)
    store.insert_many([entry(f"saved-{n}") for n in range(2000)])
    backup(path, target)
    stop, answered = threading.Event(), set[str]()

    def write() -> None:
        for number in count():
            if stop.wait(0.0005):
                return
            with suppress(LedgerUnavailable):  # then nobody was told that it is written
                store.insert_many([entry(f"new-{number}")])
                answered.add(f"new-{number}")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        kept = restore(target, path, hash_key=HASH_KEY, now=now)
    finally:
        stop.set()
        thread.join()
    assert kept is not None
    with closing(reopened(kept.path)) as before:
        assert answered - guids(before) - guids(store) == set()


@pytest.mark.parametrize("kind", NO_LEDGERS)
def test_a_file_that_is_no_ledger_is_not_restored(
    entry: Make, open_store: Open, path: Path, tmp_path: Path, now: datetime, kind: str
) -> None:
    """The ledger stays as it is, to the byte, and nothing is left over."""
    store = open_store()
    store.insert_many([entry()])
    store.close()
    before = path.read_bytes()
    source = tmp_path / "file.db"
    NO_LEDGERS[kind](source)
    with pytest.raises(LedgerUnusable):
        restore(source, path, hash_key=HASH_KEY, now=now)
    assert names(path.parent) == ["ledger.db"]
    assert path.read_bytes() == before


def test_a_refused_restore_does_not_disturb_an_open_ledger(
    entry: Make, open_store: Open, path: Path, tmp_path: Path, now: datetime
) -> None:
    """Sending goes on."""
    store = open_store()
    store.insert_many([entry()])
    for source in (tmp_path / "missing.db", tmp_path):
        with pytest.raises(LedgerUnavailable):
            restore(source, path, hash_key=HASH_KEY, now=now)
    assert len(claim(store, now)) == 1


@pytest.mark.parametrize("start", [0, 100, 4096])
def test_a_damaged_ledger_can_be_replaced_by_its_backup(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime, start: int
) -> None:
    """That is what a backup is for; the damaged file is kept to be looked at."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(50)])
    backup(path, target)
    store.close()
    sound = path.read_bytes()
    damaged = sound[:start] + b"\xff" * (len(sound) - start)
    path.write_bytes(damaged)
    kept = restore(target, path, hash_key=HASH_KEY, now=now)
    assert kept is not None
    assert not kept.is_carried_over
    assert kept.path.stat().st_size == len(damaged)
    assert check(path).problems == ()
    assert len(guids(open_store())) == 50


def test_a_restore_does_not_mix_in_what_a_deleted_ledger_left(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """Somebody removed the file after a crash; its WAL still lies there and belongs to nothing."""
    store = open_store()
    store.insert_many([entry("saved")])
    backup(path, target)
    store.insert_many([entry(f"lost-{n}") for n in range(99)])
    wal = path.with_name(f"{path.name}-wal")
    left = wal.read_bytes()
    store.close()
    path.unlink()
    wal.write_bytes(left)
    restore(target, path, hash_key=HASH_KEY, now=now)
    assert guids(open_store()) == {"saved"}
    assert open_store().summary(now).pauses


def test_a_ledger_that_was_damaged_under_an_open_process_is_replaced_under_it(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """It goes on with the restored one, without a restart."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(50)])
    backup(path, target)
    store.close()
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(LedgerUnusable):
        store.find(Query())
    restore(target, path, hash_key=HASH_KEY, now=now)
    assert len(guids(store)) == 50
    assert store.summary(now).pauses
    assert claim(store, now) == []


def test_what_may_not_be_read_or_written_is_told_of(
    entry: Make, unprivileged: Path, now: datetime
) -> None:
    """A folder that is closed, or only readable, is no reason for another error than ours."""
    path, target = unprivileged / "data" / "ledger.db", unprivileged / "backups" / "backup.db"
    target.parent.mkdir()
    with closing(reopened(path)) as store:
        store.insert_many([entry()])
        backup(path, target)
    for folder, permissions in ((path.parent, 0o000), (target.parent, 0o000), (path.parent, 0o500)):
        folder.chmod(permissions)
        try:
            with pytest.raises(LedgerUnavailable):
                restore(target, path, hash_key=HASH_KEY, now=now)
            if permissions == 0o000:
                with pytest.raises(LedgerUnavailable):
                    check(folder / ("ledger.db" if folder == path.parent else "backup.db"))
                with pytest.raises(LedgerUnavailable):
                    backup(path, target.with_name("another.db"))
        finally:
            folder.chmod(0o700)
    with closing(reopened(path)) as store:
        assert guids(store) == {"g1"}
        assert not store.summary(now).pauses


def test_a_second_restore_overwrites_nothing_that_the_first_kept(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """Also within the same second."""
    store = open_store()
    backup(path, target)
    store.insert_many([entry()])
    kept = restore(target, path, hash_key=HASH_KEY, now=now)
    assert kept is not None
    try:
        restore(target, path, hash_key=HASH_KEY, now=now)
    except LedgerUnavailable:
        assert names(path.parent)[0] == "ledger.db"
    with closing(reopened(kept.path)) as before:
        assert guids(before) == {"g1"}


def test_what_a_killed_restore_left_does_not_disturb_the_next(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """Neither its half-made file nor the WAL of it."""
    store = open_store()
    store.insert_many([entry()])
    backup(path, target)
    staged = path.with_name("ledger.db.restoring")
    leftover = reopened(staged)
    leftover.insert_many([entry(f"leftover-{n}") for n in range(99)])
    wal = staged.with_name(f"{staged.name}-wal").read_bytes()
    leftover.close()
    staged.write_bytes(b"half a file")
    staged.with_name(f"{staged.name}-wal").write_bytes(wal)
    restore(target, path, hash_key=HASH_KEY, now=now)
    assert guids(store) == {"g1"}
    assert [name for name in names(path.parent) if "restoring" in name] == []
    assert check(path).problems == ()


def test_a_ledger_may_be_restored_from_itself(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Which marks it: the way to say that a copied file is a restored one."""
    store = open_store()
    store.insert_many([entry()])
    restore(path, path, hash_key=HASH_KEY, now=now)
    assert store.summary(now).pauses
    assert guids(store) == {"g1"}


def test_a_restore_does_not_wait_for_ever_for_a_writer(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """A process that was stopped in the middle of a write would keep it waiting."""
    store = open_store()
    store.insert_many([entry()])
    backup(path, target)
    raised: list[Exception] = []

    def run() -> None:
        try:
            restore(target, path, hash_key=HASH_KEY, now=now)
        except LedgerUnavailable as exc:
            raised.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        thread.start()
        thread.join(8)
        waits = thread.is_alive()
        db.execute("ROLLBACK")
    thread.join(20)
    assert not waits
    assert len(raised) == 1
    assert guids(store) == {"g1"}
    assert [name for name in names(path.parent) if "restoring" in name] == []


# What customers wrote and wish


def customers(store: SqliteStore, entry: Make, now: datetime) -> None:
    """Have somebody opt out, CI360 be owed that, and a chore and a stray be there."""
    tenant_id = entry().tenant_id
    key = inbound_key(tenant_id, "SM1")
    heard = Heard(sid="SM1", sender="+12015550142", to="+15005550006", body="STOP")
    inbound = Inbound(
        key=key,
        tenant_id=tenant_id,
        heard=heard,
        heard_at=now,
        purge_at=now + timedelta(days=9),
        tells=(Outcome.OPT_OUT,),
    )
    evidence = Evidence(sign=Sign.OUT, source=Source.TEXT, heard_at=now, sid="SM1")
    hearing = Hearing(inbound, Subject(tenant_id, heard.sender), evidence)
    store.hear_many([hearing], now=now)
    store.add_chores(["hear:a"], due_at=now)
    store.end_chore("hear:a", due_at=now, mark="SM1")
    stray = Stray(tenant_id=tenant_id, sid="SM9", status="sent", first_at=now, last_at=now)
    store.keep_strays([stray])


def told_of(store: SqliteStore, entry: Make, now: datetime) -> list[object]:
    """Give all that a ledger holds of customers, chores and strays."""
    tenant_id = entry().tenant_id
    return [
        store.find_inbound(InboundQuery()),
        store.list_consents(tenant_id, limit=9),
        store.verify_consents(limit=9),
        store.owing(now, most=9),
        store.take_chore("hear", now=now, until=now),
        store.strays(9),
    ]


def test_a_backup_holds_what_customers_wrote_and_wish(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """With reports, chores and strays; it is sound, and its wishes count."""
    store = open_store()
    customers(store, entry, now)
    backup(path, target)
    assert check(target).problems == ()
    with closing(reopened(target)) as copy:
        assert told_of(copy, entry, now) == told_of(store, entry, now)
        assert all(told_of(copy, entry, now))
        message = Message(to="+12015550142", sender="+15005550006")
        [inserted] = copy.insert_many([entry("new", message=message)])
        assert inserted.entry.status is Status.SUPPRESSED


def test_a_restore_into_nothing_brings_back_what_customers_wrote_and_wish(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """All of it is as it was in the backup."""
    store = open_store()
    customers(store, entry, now)
    before = told_of(store, entry, now)
    backup(path, target)
    store.close()
    path.unlink()
    assert restore(target, path, hash_key=HASH_KEY, now=now) is None
    assert told_of(open_store(), entry, now) == before
    assert check(path).problems == ()


@pytest.mark.parametrize("is_open", [True, False])
def test_a_restore_undoes_no_wish_and_no_text(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime, is_open: bool
) -> None:
    """What customers wrote and wish since the backup is known afterwards, and what was before."""
    store = open_store()
    store.insert_many([entry("saved")])
    backup(path, target)
    customers(store, entry, now)
    since = told_of(store, entry, now)
    if not is_open:
        store.close()
    restore(target, path, hash_key=HASH_KEY, now=now)
    store = store if is_open else open_store()
    assert told_of(store, entry, now)[:-1] == since[:-1]
    assert store.strays(9) == []
    assert guids(store) == {"saved"}
    assert check(path).problems == ()


def test_a_restore_undoes_no_erasure(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime
) -> None:
    """Entries, texts and numbers stay gone, and the same event stays known; so do purged ones."""
    store = open_store()
    customers(store, entry, now)
    gone = entry("gone")
    store.insert_many([gone, entry("saved")])
    store.write_note(Note(at=now, by="ada", action="cancel", subject="x", detail="for 12015550142"))
    backup(path, target)
    told = Note(at=now + timedelta(hours=1), by="ada", action="erase", subject="demo")
    text = inbound_key(entry().tenant_id, "SM1")
    store.erase(
        entry().tenant_id,
        entries=[gone.key],
        inbound=[text],
        recipients=["+12015550142"],
        words=["12015550142"],
        note=told,
    )
    restore(target, path, hash_key=HASH_KEY, now=now)
    assert guids(store) == {"saved"}
    assert store.find_inbound(InboundQuery()) == []
    assert store.is_heard([text]) == [True]
    [consent], _ = store.list_consents(entry().tenant_id, limit=9)
    assert (consent.recipient, consent.blocked) == (None, True)
    assert [inserted.created for inserted in store.insert_many([gone])] == [False]
    assert [(one.action, one.detail) for one in store.notes(9)] == [
        ("erase", None),
        ("cancel", None),
    ]
    assert b"2015550142" not in path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE inbound SET data = x'7b'",
        "UPDATE consents SET data = x'ff'",
        "UPDATE consents SET state = 'in'",
        "UPDATE inbound SET report_at = NULL",
    ],
)
def test_a_backup_whose_customers_cannot_be_read_is_not_restored(
    entry: Make, open_store: Open, path: Path, target: Path, now: datetime, damage: str
) -> None:
    """Somebody's wish would be lost with it; the ledger stays as it is."""
    store = open_store()
    customers(store, entry, now)
    before = told_of(store, entry, now)
    backup(path, target)
    with closing(sqlite3.connect(target)) as db, db:
        db.execute(damage)
    assert len(check(target).problems) == 1
    with pytest.raises(LedgerUnusable, match="cannot be read"):
        restore(target, path, hash_key=HASH_KEY, now=now)
    assert told_of(store, entry, now) == before
