"""The ledger in a file, beyond what every ledger does: the file itself, and what may befall it."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status
from ci360_twilio.core.message import Message
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.ports import Query, Store
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import SCHEMA, refuse_network
from ci360_twilio.stores.tombstone import tombstone
from ci360_twilio.wiring import hash_key_of, make_store

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]


def mode(path: Path) -> int:
    """Give a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(file.name for file in folder.iterdir())


def lease(now: datetime) -> Lease:
    """Make a lease of a minute."""
    return Lease(token="worker", until=now + timedelta(minutes=1))


def claim(store: Store, now: datetime) -> list[Entry]:
    """Claim what is due, as a worker does."""
    return store.claim(now=now, lease=lease(now), limit=100).entries


def other(path: Path) -> closing[sqlite3.Connection]:
    """Open the file as another program would."""
    return closing(sqlite3.connect(path, isolation_level=None, timeout=0))


def run_sql(path: Path, *statements: str) -> None:
    """Change the file as another program would."""
    with other(path) as db:
        for statement in statements:
            db.execute(statement)


def everything(folder: Path) -> bytes:
    """Give the bytes of all files of a folder."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


# The file and its folder


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_the_ledger(
    entry: Make, open_store: Open, path: Path, mask: int
) -> None:
    """The file, what SQLite puts beside it, and the folder, whatever the umask is."""
    before = os.umask(mask)
    try:
        open_store().insert_many([entry()])
    finally:
        os.umask(before)
    assert names(path.parent) == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    assert mode(path.parent) == 0o700


def test_a_ledger_that_others_could_read_is_closed_to_them(open_store: Open, path: Path) -> None:
    """Also where somebody made the file, or copied it there, with open permissions."""
    path.parent.mkdir()
    path.touch(0o644)
    path.chmod(0o644)
    open_store()
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}


def test_a_folder_that_was_there_keeps_its_permissions(open_store: Open, path: Path) -> None:
    """It may be somebody else's."""
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    open_store()
    assert mode(path.parent) == 0o755


def test_the_key_of_the_hashes_is_the_owners_alone(tmp_path: Path) -> None:
    """Made once, beside the ledger and not in it, in a folder of its own."""
    path = tmp_path / "data" / "ledger.db"
    settings = read_settings({"CI360_TWILIO_LEDGER": f"sqlite:///{path}"})
    made = hash_key_of(settings, path)
    assert len(made) == 64
    assert hash_key_of(settings, path) == made
    assert names(path.parent) == ["ledger.db.key"]
    assert mode(path.parent / "ledger.db.key") == 0o600
    assert mode(path.parent) == 0o700
    store = make_store(settings)
    store.probe()
    store.close()
    assert made not in path.read_bytes()


def test_an_empty_key_file_is_not_a_key(tmp_path: Path) -> None:
    """It may be what a power cut left of it; hashes without a key could be guessed."""
    (tmp_path / "ledger.db.key").touch()
    settings = read_settings({"CI360_TWILIO_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}"})
    with pytest.raises(LedgerUnavailable):
        hash_key_of(settings, tmp_path / "ledger.db")


def test_a_tombstone_tells_nothing_without_the_key() -> None:
    """Another key gives another hash, and the hash is short and fixed in length."""
    key = Key("tenant/guid")
    hashes = {tombstone(key, b"a" * 32), tombstone(key, b"b" * 32)}
    assert len(hashes) == 2
    assert {len(one) for one in hashes} == {20}


def test_a_tombstone_is_a_hash_and_nothing_else(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Its row has one column."""
    store = open_store()
    store.insert_many([entry(status=Status.SENT)])
    store.purge(now=now + timedelta(days=99), limit=9)
    with other(path) as db:
        assert db.execute("SELECT * FROM tombstones").fetchall() == [
            (tombstone(entry().key, b"k" * 32),)
        ]


def test_every_commit_reaches_the_disk(open_store: Open) -> None:
    """The journal is a WAL, and each commit waits for it: a power cut takes nothing answered."""
    store = open_store()
    for db in (store._file._writer, store._file._reader):
        assert db is not None
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_a_closed_ledger_is_one_file(entry: Make, open_store: Open, path: Path) -> None:
    """The last to close folds the WAL into it, so that it can be copied."""
    one, two = open_store(), open_store()
    one.insert_many([entry()])
    one.close()
    two.close()
    assert names(path.parent) == ["ledger.db"]
    assert open_store().get_many([entry().key]) == [entry()]


def test_a_commit_is_seen_whole_or_not_at_all(entry: Make, open_store: Open, now: datetime) -> None:
    """Entries that are written in one call are never seen apart, nor are facts."""
    writer, reader = open_store(busy_seconds=5), open_store()
    done = threading.Event()

    def write() -> None:
        for number in range(40):
            batch = [entry(f"{number}-{part}") for part in range(5)]
            writer.insert_many(batch)
            claimed = claim(writer, now)
            start = Fact(kind=Kind.STARTED, at=now, lease=lease(now))
            writer.record_many([(one.key, start) for one in claimed])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    counts = []
    while not done.wait(0.001):
        summary = reader.summary(now)
        counts += [summary.due, *summary.unfinished.values()]
    thread.join()
    assert [count for count in counts if count % 5] == []


def test_an_idle_worker_does_not_write(open_store: Open, path: Path, now: datetime) -> None:
    """A claim that finds nothing needs no lock, so it cannot be in anybody's way."""
    store = open_store()
    with other(path) as db:
        db.execute("BEGIN IMMEDIATE")
        assert claim(store, now) == []


# Files that cannot be a ledger


@pytest.mark.parametrize(
    "content",
    [b"no database, just words " * 500, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 8192],
)
def test_a_file_that_is_no_database_is_refused(
    open_store: Open, path: Path, content: bytes
) -> None:
    """And left as it is."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerUnusable):
        open_store()
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("table", "version"),
    [("customers", 0), ("entries", 0), ("customers", SCHEMA), ("state", SCHEMA + 5)],
)
def test_another_programs_database_is_refused(
    open_store: Open, path: Path, table: str, version: int
) -> None:
    """It is no ledger: nothing is made in it, whatever it calls its tables and its version."""
    path.parent.mkdir()
    make = (f"CREATE TABLE {table} (a)", f"PRAGMA user_version = {version}")
    run_sql(path, *make)
    before = path.read_bytes()
    with pytest.raises(LedgerUnusable):
        open_store().probe()
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_ledger(entry: Make, open_store: Open, path: Path) -> None:
    """Somebody made it beforehand, with the permissions they wanted."""
    path.parent.mkdir()
    path.touch()
    assert open_store().insert_many([entry()])[0].created


@pytest.mark.parametrize("start", [0, 16, 100, 4096])
def test_a_damaged_ledger_is_called_so(
    entry: Make, open_store: Open, path: Path, start: int
) -> None:
    """Whether its head, its schema or its pages are broken, and whatever is asked of it."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(50)])
    store.close()
    sound = path.read_bytes()
    damaged = sound[:start] + b"\xff" * (len(sound) - start)
    path.write_bytes(damaged)
    for ask in (
        lambda store: store.get_many([entry("g1").key]),
        lambda store: store.find(Query()),
        lambda store: store.insert_many([entry("new")]),
        lambda store: claim(store, entry().due_at),
    ):
        with pytest.raises(LedgerUnusable, match="damaged"):
            ask(open_store())


def test_a_ledger_that_lost_its_end_is_called_damaged(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Half a file may still have a sound head."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(50)])
    store.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(LedgerUnusable, match="damaged"):
        open_store().find(Query())


@pytest.mark.parametrize("act", ["claim", "get_many", "find", "insert_many", "record_many"])
def test_an_entry_that_cannot_be_read_is_called_damage(
    entry: Make, open_store: Open, path: Path, now: datetime, act: str
) -> None:
    """SQLite does not notice a wrong byte within a value; whoever calls hears of it as of others."""
    fact = Fact(kind=Kind.CANCELED, at=now)
    acts: dict[str, Callable[[Store], object]] = {
        "claim": lambda store: claim(store, now),
        "get_many": lambda store: store.get_many([entry().key]),
        "find": lambda store: store.find(Query()),
        "insert_many": lambda store: store.insert_many([entry()]),
        "record_many": lambda store: store.record_many([(entry().key, fact)]),
    }
    store = open_store()
    store.insert_many([entry()])
    store.close()
    content = path.read_bytes()
    for sound, broken in ((b'"accepted"', b'"acceptex"'), (b"See you", b"See\xffyou")):
        assert content.count(sound) == 1
        path.write_bytes(content.replace(sound, broken))
        store = open_store()
        with pytest.raises(LedgerUnavailable):
            acts[act](store)
        store.close()


def test_a_path_that_is_no_file_is_told_of(tmp_path: Path) -> None:
    """A folder, or a file where a folder should be."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "ledger.db"):
        with pytest.raises(LedgerUnavailable):
            SqliteStore(path, hash_key=b"k" * 32)


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 0:28 / {share} rw,relatime shared:2 - {kind} server:/share rw
32 31 254:1 / {share}/local rw,relatime shared:3 - xfs /dev/vdb rw
33 22 0:30 / {share}xyz rw - tmpfs tmpfs rw
"""


def mount_table(folder: Path, kind: str, share: Path) -> Path:
    """Write a table as Linux shows it, where one folder is of some kind of file system."""
    written = "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in str(share))
    table = folder / "mountinfo"
    table.write_text(MOUNTS.format(kind=kind, share=written))
    return table


@pytest.mark.parametrize(
    ("kind", "place", "refused"),
    [
        ("nfs4", "share", True),
        ("nfs", "share/deep/below", True),
        ("cifs", "share", True),
        ("9p", "share", True),
        ("fuse.sshfs", "share", True),
        ("ext4", "share", False),
        ("nfs4", "share/local", False),
        ("nfs4", "shar", False),
        ("nfs4", "sharexyz", False),
        ("nfs4", "with space", True),
        ("nfs4", "with\ttab", True),
        ("nfs4", "back\\slash", True),
    ],
)
def test_a_network_file_system_is_refused(
    tmp_path: Path, kind: str, place: str, refused: bool
) -> None:
    """The mount nearest to the file decides; SQLite's locks do not hold on such."""
    share = tmp_path / (place if refused and "/" not in place else "share")
    mounts = mount_table(tmp_path, kind, share)
    path = tmp_path / place / "ledger.db"
    if refused:
        with pytest.raises(LedgerUnusable, match="network file system"):
            refuse_network(path, mounts)
    else:
        refuse_network(path, mounts)


def test_a_link_to_a_network_file_system_is_refused(tmp_path: Path) -> None:
    """Where the file itself is the link, it is the target that counts."""
    path = tmp_path / "ledger.db"
    path.symlink_to(tmp_path / "share" / "ledger.db")
    with pytest.raises(LedgerUnusable, match="network file system"):
        refuse_network(path, mount_table(tmp_path, "nfs4", tmp_path / "share"))


def test_without_a_table_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    """Other systems than Linux have none."""
    refuse_network(tmp_path / "ledger.db", tmp_path / "no such file")


# Versions of the schema

WRITES_FROM = "INSERT INTO state (name, value) VALUES ('writes_from', '1000')"
"""What a newer version says when older ones may not write any more."""


def test_a_newer_schema_is_still_written_and_not_claimed(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Accepting goes on while a newer version takes over; the summary says so."""
    store = open_store()
    store.insert_many([entry()])
    run_sql(path, f"PRAGMA user_version = {SCHEMA + 1}")
    for one in (store, open_store()):
        assert claim(one, now) == []
        assert one.claim(now=now, lease=lease(now), limit=9, keys=[entry().key])[:3] == ([], [], [])
        assert one.summary(now).outdated
        assert one.insert_many([entry(f"new-{id(one)}")])[0].created
    [found] = store.get_many([entry().key])
    assert found == entry()


def test_a_newer_schema_is_not_migrated_back(open_store: Open, path: Path) -> None:
    """Opening it changes nothing about it."""
    open_store().close()
    run_sql(path, f"PRAGMA user_version = {SCHEMA + 1}")
    open_store().probe()
    with other(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)


def test_a_newer_column_does_not_disturb(entry: Make, open_store: Open, path: Path) -> None:
    """A schema expands before it contracts: what is added has a default."""
    store = open_store()
    run_sql(
        path,
        "ALTER TABLE entries ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        f"PRAGMA user_version = {SCHEMA + 1}",
    )
    assert store.insert_many([entry()]) == [(entry(), True)]


def test_a_ledger_of_a_newer_version_alone_is_not_written(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """By nobody who does not know it, open or opened anew; reading goes on."""
    store = open_store()
    store.insert_many([entry()])
    run_sql(path, f"PRAGMA user_version = {SCHEMA + 1}", WRITES_FROM)
    refused: list[Callable[[Store], object]] = [
        lambda one: one.insert_many([entry("new")]),
        lambda one: one.record_many([(entry().key, Fact(kind=Kind.HELD, at=now))]),
        lambda one: one.purge(now=now + timedelta(days=999), limit=9),
        lambda one: one.probe(),
        lambda one: one.mark_restored(now),
    ]
    for act in refused:
        with pytest.raises(LedgerUnusable, match="newer version"):
            act(store)
        with pytest.raises(LedgerUnusable):
            act(open_store())
    assert store.get_many([entry().key, entry("new").key]) == [entry(), None]


def test_a_newer_version_may_give_the_ledger_back(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Nobody has to restart for it."""
    store = open_store()
    run_sql(path, WRITES_FROM)
    with pytest.raises(LedgerUnusable):
        store.insert_many([entry()])
    run_sql(path, "DELETE FROM state WHERE name = 'writes_from'")
    assert store.insert_many([entry()])[0].created


# What may befall an open ledger


def test_a_locked_ledger_is_unavailable_after_the_busy_time(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Nothing of the batch is written; reading goes on; afterwards it works without a restart."""
    store = open_store(busy_seconds=0.2)
    store.insert_many([entry()])
    with other(path) as db:
        db.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable) as raised:
            store.insert_many([entry("a"), entry("b")])
        waited = time.monotonic() - started
        assert not isinstance(raised.value, LedgerUnusable)
        with pytest.raises(LedgerUnavailable):
            claim(store, now)
        assert store.get_many([entry().key]) == [entry()]
        assert store.summary(now).due == 1
    assert 0.2 <= waited < 2
    assert [one.created for one in store.insert_many([entry("a"), entry("b")])] == [True, True]
    assert len(claim(store, now)) == 3


def test_a_lock_that_is_given_back_in_time_is_waited_for(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Another process's commit delays, and nothing more."""
    store = open_store(busy_seconds=10)
    waiting = threading.Event()
    with other(path) as db:
        db.execute("BEGIN IMMEDIATE")

        def write() -> bool:
            waiting.set()
            return store.insert_many([entry()])[0].created

        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(write()))
        thread.start()
        assert waiting.wait(5)
        thread.join(0.1)
        assert thread.is_alive()
        db.execute("ROLLBACK")
        thread.join(5)
    assert results == [True]


def test_a_process_that_keeps_its_turn_keeps_nobody_out(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Processes take turns by a lock of their own; only SQLite's lock is waited for to the end."""
    store = open_store(busy_seconds=0.2)
    with ExitStack() as stack:
        turn = os.open(path.parent, os.O_RDONLY)
        stack.callback(os.close, turn)
        fcntl.flock(turn, fcntl.LOCK_EX)
        assert store.insert_many([entry()])[0].created


def test_a_ledger_that_is_locked_whole_comes_back(
    entry: Make, open_store: Open, path: Path
) -> None:
    """Not even reading is possible while another program has it for itself."""
    store = open_store(busy_seconds=0.1)
    store.insert_many([entry()])
    store.close()
    with other(path) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable) as raised:
            store.insert_many([entry("a")])
        assert not isinstance(raised.value, LedgerUnusable)
        with pytest.raises(LedgerUnavailable):
            store.get_many([entry().key])
    assert store.insert_many([entry("a")])[0].created
    assert store.get_many([entry().key]) == [entry()]


def writer(store: SqliteStore) -> sqlite3.Connection:
    """Give the connection that a store writes with, to put SQLite's own limits on it."""
    assert store._file._writer is not None
    return store._file._writer


def test_a_ledger_that_became_read_only_comes_back(entry: Make, open_store: Open) -> None:
    """Refused while it lasts, with nothing written; the next call tries afresh."""
    store = open_store()
    store.insert_many([entry()])
    writer(store).execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerUnavailable, match="READONLY"):
        store.insert_many([entry("a")])
    assert store.get_many([entry("a").key]) == [None]
    assert store.insert_many([entry("a")])[0].created


def test_a_full_ledger_writes_nothing_of_a_batch_and_comes_back(
    entry: Make, open_store: Open
) -> None:
    """By SQLite's own limit on pages."""
    store = open_store()
    store.insert_many([entry()])
    pages = writer(store).execute("PRAGMA page_count").fetchone()[0]
    writer(store).execute(f"PRAGMA max_page_count = {pages}")
    batch = [entry(f"g{n}") for n in range(100, 200)]
    with pytest.raises(LedgerUnavailable, match="FULL"):
        store.insert_many(batch)
    assert store.find(Query()) == [entry()]
    assert all(one.created for one in store.insert_many(batch))


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: a disk that is full, to whoever writes."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_breaks_off_leaves_nothing_and_comes_back(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """The operating system refuses in the middle of a commit; reading goes on meanwhile."""
    store = open_store()
    store.insert_many([entry(f"old-{n}") for n in range(300)])
    batch = [entry(f"new-{n}", problems=(("field", "x" * 2000),)) for n in range(400)]
    largest = max(file.stat().st_size for file in path.parent.iterdir())
    with files_limited_to(largest):
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                store.insert_many(batch)
            assert store.summary(now).unfinished == {Status.ACCEPTED: 300}
    assert all(one.created for one in store.insert_many(batch))
    assert store.summary(now).unfinished == {Status.ACCEPTED: 700}
    with other(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_purge_that_cannot_be_folded_in_is_our_error(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Whatever the disk refuses, and whenever: the caller knows one kind of error."""
    store = open_store()
    store.insert_many([entry(f"g{n}", problems=(("f", "x" * 900),)) for n in range(300)])
    with files_limited_to(4096), pytest.raises(LedgerUnavailable):
        store._file.fold()
    store._file.fold()
    assert store.summary(now).due == 300


def test_a_full_disk_still_lets_answers_be_recorded_again(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """The same call may be made until it succeeds, and then counts once."""
    store = open_store()
    store.insert_many([entry(f"g{n}") for n in range(300)])
    claimed = store.claim(now=now, lease=lease(now), limit=300).entries
    start = Fact(kind=Kind.STARTED, at=now, lease=lease(now))
    told = [(one.key, start) for one in claimed]
    with files_limited_to(1):
        for _ in range(3):
            with pytest.raises(LedgerUnavailable):
                store.record_many(told)
    results = store.record_many(told)
    assert {one and (one.status, one.attempts) for one in results} == {(Status.SENDING, 1)}


def test_a_deleted_ledger_is_not_made_anew_by_itself(
    entry: Make, open_store: Open, path: Path, tmp_path: Path
) -> None:
    """An empty one would accept every event a second time; put back, it works again."""
    store = open_store()
    store.insert_many([entry()])
    store.close()
    path.rename(tmp_path / "elsewhere.db")
    for _ in range(2):
        with pytest.raises(LedgerUnusable, match="gone"):
            store.insert_many([entry("a")])
        with pytest.raises(LedgerUnusable, match="gone"):
            store.get_many([entry().key])
    assert names(path.parent) == []
    (tmp_path / "elsewhere.db").rename(path)
    assert store.insert_many([entry()])[0].created is False


def test_a_ledger_deleted_while_open_is_missed_by_every_call(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Nobody goes on with a file that is not there any more."""
    asks: list[Callable[[Store], object]] = [
        lambda one: one.insert_many([entry("a")]),
        lambda one: one.get_many([entry().key]),
        lambda one: one.find(Query()),
        lambda one: one.summary(now),
        lambda one: claim(one, now + timedelta(days=-1)),
        lambda one: claim(one, now),
    ]
    stores = [open_store() for _ in asks]
    stores[0].insert_many([entry()])
    for file in path.parent.iterdir():
        file.unlink()
    for store, ask in zip(stores, asks, strict=True):
        with pytest.raises(LedgerUnusable, match="gone"):
            ask(store)


def sound_copy(path: Path, *, of: list[Entry]) -> Path:
    """Make a ledger beside the first, with other entries."""
    store = SqliteStore(path.with_name("copy.db"), hash_key=b"k" * 32)
    store.insert_many(of)
    store.close()
    return path.with_name("copy.db")


def test_a_replaced_ledger_is_opened_anew(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """By whichever call comes next: an idle worker finds what is due in the new file."""
    acts: list[Callable[[Store], object]] = [
        lambda one: claim(one, now),
        lambda one: one.get_many([entry("new").key]) != [None],
        lambda one: one.find(Query()),
        lambda one: one.summary(now).unfinished,
        lambda one: not one.insert_many([entry("new")])[0].created,
    ]
    stores = [open_store() for _ in acts]
    stores[0].probe()
    for leftover in path.parent.glob("ledger.db-*"):
        leftover.unlink()
    sound_copy(path, of=[entry("new", due_at=now - timedelta(hours=1))]).replace(path)
    assert [bool(act(store)) for store, act in zip(stores, acts, strict=True)] == [True] * 5


@pytest.mark.parametrize("has_written", [True, False])
def test_a_replaced_ledger_is_not_mixed_with_the_old_one(
    entry: Make, open_store: Open, path: Path, has_written: bool
) -> None:
    """The old one's WAL still lies there; it must not be read into the new file unnoticed."""
    writer, idle = open_store(), open_store()
    writer.insert_many([entry("old")])
    sound_copy(path, of=[entry("new")]).replace(path)
    store = writer if has_written else idle
    try:
        store.insert_many([entry("next")])
    except LedgerUnavailable:
        return  # refusing is as good: a person then looks
    assert {one.guid for one in store.find(Query())} == {"new", "next"}


def test_a_folder_that_was_closed_to_us_is_unavailable(entry: Make, unprivileged: Path) -> None:
    """An open ledger whose folder cannot be entered any more, until it can."""
    path = unprivileged / "data" / "ledger.db"
    with closing(SqliteStore(path, hash_key=b"k" * 32)) as store:
        store.insert_many([entry()])
        path.parent.chmod(0o000)
        try:
            with pytest.raises(LedgerUnavailable):
                SqliteStore(path, hash_key=b"k" * 32)
            with pytest.raises(LedgerUnavailable):
                store.insert_many([entry("a")])
        finally:
            path.parent.chmod(0o700)
        assert store.insert_many([entry("a")])[0].created


def test_a_file_that_may_not_be_written_is_unavailable(entry: Make, unprivileged: Path) -> None:
    """It belongs to somebody else, or lies in a folder that is closed for writing."""
    path = unprivileged / "data" / "ledger.db"
    path.parent.mkdir()
    path.parent.chmod(0o500)
    with pytest.raises(LedgerUnavailable):
        SqliteStore(path, hash_key=b"k" * 32)


# Several processes

OPEN_MANY = """
import sys
from pathlib import Path
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import make_store
print("ready", flush=True)
stores = []
for path in sys.stdin:
    stores.append(make_store(read_settings({"CI360_TWILIO_LEDGER": "sqlite:///" + path.strip()})))
    stores[-1].probe()
    print(Path(path.strip() + ".key").read_text(), flush=True)
for store in stores:
    store.close()
"""


def test_processes_may_make_the_ledger_at_one_moment(tmp_path: Path) -> None:
    """All of them get it, with one key of the hashes, whoever was first; over and over."""
    paths = [tmp_path / f"{number}" / "ledger.db" for number in range(50)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_MANY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        for _ in range(4)
    ]
    assert [process.stdout and process.stdout.readline() for process in processes] == [
        "ready\n"
    ] * 4
    answers: list[set[object]] = []
    for path in paths:
        for process in processes:
            if process.stdin and process.poll() is None:
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
        answers.append({process.stdout and process.stdout.readline() for process in processes})
        if "" in answers[-1]:
            break  # one has ended, and says why below
    errors = [process.communicate(timeout=20)[1] for process in processes]
    assert errors == [""] * 4
    assert {len(keys) for keys in answers} == {1}
    assert {name for path in paths for name in names(path.parent)} == {"ledger.db", "ledger.db.key"}


TRY_TO_WRITE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    db.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as exc:
    print(exc.sqlite_errorname)
"""


def test_opening_the_ledger_again_in_one_process_gives_up_no_lock(
    entry: Make, open_store: Open, path: Path
) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of it."""
    store = open_store()
    writer(store).execute("BEGIN IMMEDIATE")
    open_store().close()
    command = [sys.executable, "-c", TRY_TO_WRITE, str(path)]
    tried = subprocess.run(command, capture_output=True, check=True, text=True)
    writer(store).execute("ROLLBACK")
    assert tried.stdout.strip() == "SQLITE_BUSY"


def test_reading_goes_on_while_writes_fail(entry: Make, open_store: Open, now: datetime) -> None:
    """A failed write closes the connections; a reader that comes just then opens them again."""
    store = open_store()
    store.insert_many([entry()])
    stop = threading.Event()

    def read(_: int) -> set[int]:
        return {store.summary(now).due for _ in iter(stop.is_set, True)}

    def write() -> None:
        try:
            for number in range(60):
                store.probe()
                writer(store).execute("PRAGMA query_only = ON")
                with pytest.raises(LedgerUnavailable):
                    store.insert_many([entry(f"g{number}")])
        finally:
            stop.set()

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, number) for number in range(2)]
        pool.submit(write).result()
        assert [reader.result() for reader in readers] == [{1}] * 2


# What is deleted is gone

NUMBER, TEXT = "+12015550142", "A text that nobody may read again"


def secret(entry: Make, guid: str, now: datetime) -> Entry:
    """Make an entry whose number and text can be looked for."""
    message = Message(to=NUMBER, sender="+15005550006", body=TEXT)
    return entry(guid, purge_at=now + timedelta(days=1), message=message)


def send(store: Store, entries: list[Entry], now: datetime) -> None:
    """Bring entries to their end, so that each is written several times."""
    store.insert_many(entries)
    start = Fact(kind=Kind.STARTED, at=now, lease=lease(now))
    refused = Fact(kind=Kind.REFUSED, at=now, lease=lease(now), reason="twilio_21610")
    while taken := claim(store, now):
        store.record_many([(one.key, start) for one in taken])
        store.record_many([(one.key, refused) for one in taken])


def test_nothing_of_a_purged_entry_is_left_in_a_closed_ledger(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Neither number nor text nor guid, in any file; entries of others stay."""
    store = open_store()
    send(store, [secret(entry, f"guid-of-old-{n}", now) for n in range(200)], now)
    store.insert_many([entry("guid-that-stays")])
    assert TEXT.encode() in everything(path.parent)
    assert store.purge(now=now + timedelta(days=2), limit=1000) == 200
    store.close()
    left = everything(path.parent)
    assert b"guid-that-stays" in left
    assert [text for text in (NUMBER, TEXT, "guid-of-old") if text.encode() in left] == []


def test_nothing_of_a_purged_entry_is_left_while_the_ledger_is_open(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """A server runs for months: the WAL must not keep what was deleted."""
    store = open_store()
    send(store, [secret(entry, f"guid-of-old-{n}", now) for n in range(200)], now)
    assert store.purge(now=now + timedelta(days=2), limit=1000) == 200
    left = everything(path.parent)
    assert [text for text in (NUMBER, TEXT, "guid-of-old") if text.encode() in left] == []


def test_after_a_checkpoint_the_file_itself_holds_nothing_of_a_purged_entry(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Its pages were overwritten, not only set free."""
    store = open_store()
    send(store, [secret(entry, f"guid-of-old-{n}", now) for n in range(200)], now)
    run_sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert TEXT.encode() in path.read_bytes()
    store.purge(now=now + timedelta(days=2), limit=1000)
    run_sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    left = everything(path.parent)
    assert [text for text in (NUMBER, TEXT, "guid-of-old") if text.encode() in left] == []
