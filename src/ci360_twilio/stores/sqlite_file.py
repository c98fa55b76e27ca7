"""The file under a SQLite ledger: opening, migrating, transactions, and what can go wrong with it.

Several processes may share the file; the kernel's locks keep them apart. A write transaction is
opened with ``BEGIN IMMEDIATE``, so what is read in it cannot change before it commits.

Schema versions expand before they contract: a newer version first adds what it needs, and older
processes go on accepting but stop claiming; only when ``writes_from`` is raised do they stop.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.stores.sqlite_traits import adopt_all

SCHEMA = 5
"""The schema this code writes; ``sqlite_000N.sql`` beside this file makes version N of N-1."""

APPLICATION_ID = 0x43333630
"""Marks a SQLite file as a ledger of ours (sqlite.org/pragma.html#pragma_application_id)."""

MANY_PAGES = 64_000
"""Of the WAL, that a process folds in at one time which writes a great many rows: 256 MB."""

BUSY_SECONDS = 5.0
"""How long a write waits for another process's lock before it gives up."""

MOUNTS = Path("/proc/self/mountinfo")
"""Where Linux tells what file systems are mounted where."""

_HOPELESS = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_NETWORK = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "ceph",
        "glusterfs",
        "lustre",
        "afs",
        "fuse.sshfs",
    )
)

_STEPS = {5: adopt_all}
"""What a version needs besides its script."""

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How ``mountinfo`` writes white space and backslashes."""

T = TypeVar("T")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's own state, as a transaction finds it."""

    restored_at: datetime | None
    outdated: bool
    """A newer version has changed the schema."""
    writes_from: int
    """The lowest schema that may still write."""


class SqliteFile:
    """One file with one connection that writes and one that reads. Safe for many threads."""

    def __init__(
        self, path: Path, *, busy_seconds: float = BUSY_SECONDS, writes_many: bool = False
    ) -> None:
        """Open the file, making or migrating it where needed.

        Args:
            path: of the file.
            busy_seconds: how long a write waits for another process's.
            writes_many: whether this process writes a great many rows at one go: more of the file is
                kept in memory then, and the WAL is folded in less often.

        Raises:
            LedgerUnavailable: it cannot be opened just now.
            LedgerUnusable: it is no ledger, damaged, or on a network file system.
        """
        self._path = path
        self._busy = busy_seconds
        self._writes_many = writes_many
        self._lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._wal_path = path.with_name(f"{path.name}-wal")
        self._inode = self._wal = 0
        self._has_turn = False
        self._turns = -1
        """The folder, whose lock is the turn; see :meth:`_begin`."""
        with self._lock:
            self._open(make=True)

    @contextmanager
    def writing(self, *, attached: Path | None = None) -> Iterator[sqlite3.Connection]:
        """Run one write transaction; a failure leaves nothing behind, and the next starts afresh.

        Args:
            attached: another ledger's file, known in it under the name ``attached``.
        """
        with self._lock:
            db = self._ready()
            with _reported():
                try:
                    if attached is not None:
                        db.execute("ATTACH DATABASE ? AS attached", (str(attached),))
                    self._begin(db)
                    with _commit(db):
                        if read_state(db).writes_from > SCHEMA:
                            words = "The ledger belongs to a newer version; this one may not write."
                            raise LedgerUnusable(words)
                        yield db
                    self._wal = _inode_of(self._wal_path)
                except sqlite3.Error as exc:
                    if not is_busy(exc):
                        with self._read_lock:
                            self._close()
                    raise

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on what is committed."""
        while True:
            if not self._is_current():
                with self._lock:
                    self._ready()
            with self._read_lock:
                if self._reader is not None:  # a write that failed just now may have closed it
                    with _reported():
                        return work(self._reader)

    def fold(self, *, wait: bool = False) -> bool:
        """Write the WAL into the file and cut it to nothing, unless somebody is reading it.

        Args:
            wait: whether to try again for a while where somebody is.

        Returns:
            Whether the WAL is empty now.
        """
        until = time.monotonic() + (self._busy if wait else 0.0)
        while True:
            with self._lock, _reported():
                busy = self._ready().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy or time.monotonic() >= until:
                return not busy
            _wait_a_moment()

    def rewrite(self) -> None:
        """Write the whole file anew, with nothing in it but what is there.

        ``secure_delete`` overwrites what is deleted where it stands. Where SQLite had moved it to
        another page before, to make room, a copy may be left in the unused middle of the old one.
        Writers wait meanwhile, for seconds where there are hundreds of thousands of entries.
        """
        until = time.monotonic() + self._busy
        with self._lock, _reported():
            db = self._ready()
            with self._turn(until):
                while True:
                    try:
                        db.execute("VACUUM")
                    except sqlite3.OperationalError as exc:
                        if not is_busy(exc) or time.monotonic() > until:
                            raise
                        _wait_a_moment()
                    else:
                        return

    def close(self) -> None:
        """Close both connections; the last one to close folds the WAL into the file."""
        with self._lock, self._read_lock:
            self._close()

    def _open(self, *, make: bool) -> None:
        try:
            self._prepare(make=make)
        except OSError as exc:
            self._close()
            raise LedgerUnavailable(f"The ledger's file cannot be opened: {exc.strerror}.") from exc
        with _reported():
            try:
                with self._turn(time.monotonic() + self._busy):
                    self._refuse_foreign()
                    self._writer, self._reader = self._connect(), self._connect()
                    self._migrate(self._writer)
                    self._wal = _inode_of(self._wal_path)
            except BaseException:
                self._close()
                raise

    def _prepare(self, *, make: bool) -> None:
        """Make the file, its owner's alone, and see that it is the one we knew."""
        folder = self._path.parent
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                # Only a new file may be opened and closed here: closing any descriptor of a file
                # drops all of the process's locks on it, SQLite's too.
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        elif not self._path.exists():
            raise LedgerUnusable("The ledger's file is gone; put it back or restore a backup.")
        refuse_network(self._path, MOUNTS)
        inode = self._path.stat().st_ino
        if self._inode not in (0, inode) and self._wal and self._wal == _inode_of(self._wal_path):
            words = (
                "The ledger's file was replaced while it was in use. Stop every process, remove "
                f"{self._wal_path.name}, which belongs to the old one, and start again."
            )
            raise LedgerUnusable(words)
        self._path.chmod(0o600)  # SQLite gives the WAL the same mode
        self._inode = inode
        self._turns = os.open(folder, os.O_RDONLY)

    def _refuse_foreign(self) -> None:
        """Refuse another program's database, before anything is changed in it."""
        with closing(sqlite3.connect(self._path, timeout=self._busy)) as db:
            db.execute("BEGIN")  # both are read of one moment: the file may be in the making
            mark = db.execute("PRAGMA application_id").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark != APPLICATION_ID and (mark or tables):
            raise LedgerUnusable("The ledger's file is the database of another program.")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=self._busy, isolation_level=None, check_same_thread=False
        )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA cache_size = -16000")  # 16 MB; the key's index is read at random
        if self._writes_many:
            db.execute("PRAGMA cache_size = -24000")
            db.execute(f"PRAGMA wal_autocheckpoint = {MANY_PAGES}")
        db.execute("PRAGMA busy_timeout = 0")  # _begin waits, more evenly than SQLite would
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        if _version(db) >= SCHEMA:
            return
        self._begin(db)
        with _commit(db):
            for version in range(_version(db) + 1, SCHEMA + 1):
                script = Path(__file__).with_name(f"sqlite_{version:04}.sql")
                for statement in _statements(script.read_text()):
                    db.execute(statement)
                if version in _STEPS:
                    _STEPS[version](db)
                db.execute(f"PRAGMA user_version = {version}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _begin(self, db: sqlite3.Connection) -> None:
        """Take the write lock, by turns with other processes.

        A process that writes without a pause would keep the others out, as SQLite has no queue.
        So whoever wants to write first takes the turn, and keeps it until it has the lock::

            worker   [turn][lock ........ commit]        [turn][lock ...
            server            [turn .............][lock .. commit]
        """
        until = time.monotonic() + self._busy
        with self._turn(until):
            while True:
                try:
                    db.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as exc:
                    if not is_busy(exc) or time.monotonic() > until:
                        raise
                    _wait_a_moment()
                else:
                    return

    @contextmanager
    def _turn(self, until: float) -> Iterator[None]:
        """Hold the turn; after ``until`` go on without, since SQLite's lock is what counts."""
        if self._has_turn:  # while the file is opened, which migrates it
            yield
            return
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                fcntl.flock(self._turns, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            _wait_a_moment()
        self._has_turn = True
        try:
            yield
        finally:
            self._has_turn = False
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def _is_current(self) -> bool:
        """Tell whether the file that is open is the one at the path."""
        try:
            return self._writer is not None and self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _ready(self) -> sqlite3.Connection:
        """Give the writer, opening the file again if it was closed or replaced."""
        if not self._is_current():
            with self._read_lock:
                self._close()
            self._open(make=False)
        assert self._writer is not None  # noqa: S101 - _open raises or sets it
        return self._writer

    def _close(self) -> None:
        for db in (self._writer, self._reader):
            if db is not None:
                db.close()
        self._writer = self._reader = None
        if self._turns >= 0:
            os.close(self._turns)
            self._turns = -1


def _inode_of(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def read_state(db: sqlite3.Connection) -> State:
    """Read the ledger's own state."""
    found = dict(db.execute("SELECT name, value FROM state WHERE name <> 'probe'"))
    restored = found.get("restored_at")
    return State(
        restored_at=datetime.fromisoformat(restored) if restored else None,
        outdated=_version(db) > SCHEMA,
        writes_from=int(found.get("writes_from", 1)),
    )


def set_state(db: sqlite3.Connection, name: str, value: str) -> None:
    """Write one member of the ledger's own state."""
    db.execute("INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)", (name, value))


def unavailable(exc: sqlite3.Error) -> LedgerUnavailable:
    """Map SQLite's errors to ours; its texts may hold paths and are not used."""
    name = _name(exc)
    if name.startswith(_HOPELESS):
        return LedgerUnusable("The ledger's file is damaged or no ledger; restore a backup.")
    return LedgerUnavailable(f"The ledger cannot be used just now ({name}).")


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise unavailable(exc) from exc
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as exc:
        raise LedgerUnusable("An entry of the ledger cannot be read; restore a backup.") from exc


def refuse_network(path: Path, mounts: Path) -> None:
    """Refuse network file systems: SQLite's locks do not hold there (sqlite.org/faq.html#q5).

    Args:
        path: the ledger.
        mounts: a file in the form of Linux's ``mountinfo``; without one nothing is known.

    Raises:
        LedgerUnusable: the ledger would be on such a file system.
    """
    if not mounts.exists():
        return
    folder = path.resolve().parent
    best, kind = -1, ""
    for line in mounts.read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), fields.split()[4]))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), tail.split()[0]
    if kind in _NETWORK:
        words = f"The ledger is on a network file system ({kind}); SQLite needs a local disk."
        raise LedgerUnusable(words)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """Split a script: ``executescript`` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _wait_a_moment() -> None:
    time.sleep(random.uniform(0.0003, 0.0012))


@contextmanager
def _commit(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def is_busy(exc: sqlite3.Error) -> bool:
    """Tell whether another process was at the file, and nothing is wrong with it."""
    return _name(exc).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _name(exc: sqlite3.Error) -> str:
    return getattr(exc, "sqlite_errorname", None) or "SQLITE_ERROR"
