"""A ledger in one SQLite file: WAL, ``synchronous=FULL``, one writer at a time.

Several processes may share the file; the kernel's locks keep them apart. A write transaction is
opened with ``BEGIN IMMEDIATE``, so what is read in it cannot change before it commits.

Schema versions expand before they contract: a newer version first adds what it needs, and older
processes go on accepting but stop claiming; only when ``writes_from`` is raised do they stop.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ci360_twilio.core.entry import (
    Entry,
    Fact,
    Key,
    Kind,
    Lease,
    Status,
    Work,
    admit,
    advance,
    due,
    purged,
    sweep,
    take,
)
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.ports import Claimed, Inserted, Query, Summary
from ci360_twilio.stores.tombstone import tombstone

SCHEMA = 1
"""The schema this code writes; ``sqlite_000N.sql`` beside this file makes version N of N-1."""

BUSY_SECONDS = 5.0
"""How long a write waits for another process's lock before it gives up."""

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

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode
T = TypeVar("T")


class SqliteStore:
    """Keeps entries in a SQLite file; see :class:`ci360_twilio.ports.Store` for the contract."""

    def __init__(self, path: Path, *, hash_key: bytes, busy_seconds: float = BUSY_SECONDS) -> None:
        """Open the ledger, making or migrating it where needed.

        Raises:
            LedgerUnavailable: it cannot be opened just now.
            LedgerUnusable: it is no ledger, damaged, too new, or on a network file system.
        """
        self._path = path
        self._hash_key = hash_key
        self._busy = busy_seconds
        self._lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._inode = 0
        with self._lock:
            self._open(make=True)

    # Ledger

    def insert_many(self, entries: Sequence[Entry]) -> list[Inserted]:
        """Write entries under new keys, in one commit."""
        with self._writing() as db:
            restored_at = _state(db).restored_at
            buried = self._buried(db, entries)
            return [
                Inserted(purged(entry), created=False)
                if entry.key in buried
                else _insert(db, entry, restored_at)
                for entry in entries
            ]

    def _buried(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> set[Key]:
        """Tell which keys have a tombstone."""
        if not db.execute("SELECT EXISTS (SELECT 1 FROM tombstones)").fetchone()[0]:
            return set()
        hashes = {tombstone(entry.key, self._hash_key): entry.key for entry in entries}
        sql = f"SELECT hash FROM tombstones WHERE hash IN ({', '.join('?' * len(hashes))})"  # noqa: S608
        return {hashes[found] for (found,) in db.execute(sql, list(hashes))}

    def claim(
        self, *, now: datetime, lease: Lease, limit: int, keys: Iterable[Key] | None = None
    ) -> Claimed:
        """Take due entries, in one commit; an idle ledger is only read."""
        if keys is None and not self._read(lambda db: _due_rows(db, now, 1)):
            return Claimed([], [])
        claimed = Claimed([], [])
        with self._writing() as db:
            state = _state(db)
            if state.paused or state.outdated:
                return claimed
            rows = _due_rows(db, now, limit) if keys is None else _rows_of(db, keys)
            for number, entry in rows:
                swept = sweep(entry, now)
                if swept.status is not entry.status:
                    claimed.swept.append(swept)
                taken = take(swept, now, lease)
                if taken:
                    claimed.entries.append(taken)
                if (taken or swept) is not entry:
                    _update(db, number, taken or swept)
        return claimed

    def record_many(self, facts: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
        """Apply facts in order, in one commit."""
        with self._writing() as db:
            return [_record(db, key, fact) for key, fact in facts]

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries as they are committed."""

        def read(db: sqlite3.Connection) -> list[Entry | None]:
            found = [_row_of(db, key) for key in keys]
            return [row[1] if row else None for row in found]

        return self._read(read)

    def find(self, query: Query) -> list[Entry]:
        """List entries, newest first."""
        clauses, values = ["1"], list[Any]()
        columns = {"tenant": query.tenant_id, "guid": query.guid, "sid": query.sid}
        for column, value in columns.items():
            if value is not None:
                clauses.append(f"{column} = ?")
                values.append(value)
        if query.statuses:
            clauses.append(f"status IN ({', '.join('?' * len(query.statuses))})")
            values.extend(sorted(query.statuses))
        for clause, moment in (("created_at >= ?", query.since), ("created_at < ?", query.before)):
            if moment is not None:
                clauses.append(clause)
                values.append(_ms(moment))
        sql = f"SELECT data FROM entries WHERE {' AND '.join(clauses)} ORDER BY id DESC LIMIT ?"  # noqa: S608 - clauses are ours
        rows = self._read(lambda db: db.execute(sql, (*values, query.limit)).fetchall())
        return [_decode(data) for (data,) in rows]

    def purge(self, *, now: datetime, limit: int) -> int:
        """Replace entries by tombstones, in one commit; their pages are overwritten."""
        with self._writing() as db:
            rows = db.execute(
                "SELECT id, data FROM entries WHERE work = ? AND due_at <= ? ORDER BY due_at LIMIT ?",
                (Work.PURGE, _ms(now), limit),
            ).fetchall()
            for number, data in rows:
                hashed = tombstone(_decode(data).key, self._hash_key)
                db.execute("INSERT OR IGNORE INTO tombstones (hash) VALUES (?)", (hashed,))
                db.execute("DELETE FROM entries WHERE id = ?", (number,))
        return len(rows)

    # Vitals

    def probe(self) -> None:
        """Commit one small write."""
        with self._writing() as db:
            _set_state(db, "probe", datetime.now(UTC).isoformat())

    def summary(self, now: datetime) -> Summary:
        """Count through the indexes of what is unfinished and due."""

        def read(db: sqlite3.Connection) -> Summary:
            counts = db.execute(
                "SELECT status, count(*) FROM entries WHERE work IN (?, ?, ?) GROUP BY status",
                (Work.SEND, Work.FIND, Work.DECIDE),
            ).fetchall()
            number, oldest = db.execute(
                "SELECT count(*), min(due_at) FROM entries WHERE work = ? AND due_at <= ?",
                (Work.SEND, _ms(now)),
            ).fetchone()
            state = _state(db)
            return Summary(
                unfinished={Status(status): count for status, count in counts},
                due=number,
                oldest_due_at=_moment(oldest) if oldest is not None else None,
                restored_at=state.restored_at,
                paused=state.paused,
                outdated=state.outdated,
            )

        return self._read(read)

    def mark_restored(self, at: datetime) -> None:
        """Mark as restored and turn what was under way into ``unknown``, in one commit."""
        with self._writing() as db:
            _set_state(db, "restored_at", at.isoformat())
            _set_state(db, "paused", "1")
            rows = db.execute(
                "SELECT id, data FROM entries WHERE status IN (?, ?)",
                (Status.ACCEPTED, Status.SENDING),
            ).fetchall()
            for number, data in rows:
                fact = Fact(kind=Kind.RESTORED, at=at, reason="restored")
                if changed := advance(_decode(data), fact):
                    _update(db, number, changed)

    def resume(self) -> None:
        """Allow claims again."""
        with self._writing() as db:
            db.execute("DELETE FROM state WHERE name = 'paused'")

    def close(self) -> None:
        """Close both connections; the last one to close folds the WAL into the file."""
        with self._lock, self._read_lock:
            self._close()

    # The file

    def _open(self, *, make: bool) -> None:
        if not make and not self._path.exists():
            raise LedgerUnusable("The ledger's file is gone; put it back or restore a backup.")
        _refuse_network(self._path)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._path.chmod(0o600)  # SQLite gives the WAL the same mode
            self._inode = self._path.stat().st_ino
        except PermissionError as exc:
            raise LedgerUnavailable("The ledger's file cannot be written.") from exc
        except OSError as exc:
            raise LedgerUnavailable(f"The ledger's file cannot be opened: {exc.strerror}.") from exc
        try:
            self._writer, self._reader = self._connect(), self._connect()
            self._migrate(self._writer)
        except sqlite3.Error as exc:
            self._close()
            raise _unavailable(exc) from exc

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=self._busy, isolation_level=None, check_same_thread=False
        )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA cache_size = -16000")  # 16 MB; the key's index is read at random
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
                db.execute(f"PRAGMA user_version = {version}")

    def _begin(self, db: sqlite3.Connection) -> None:
        """Take the write lock, trying every millisecond or so: fair between two busy processes."""
        until = time.monotonic() + self._busy
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as exc:
                if not exc.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                    raise
                if time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.0003, 0.0015))
            else:
                return

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction; a failure leaves nothing behind and the next call starts afresh."""
        with self._lock:
            db = self._ready()
            try:
                self._begin(db)
                with _commit(db):
                    if _state(db).writes_from > SCHEMA:
                        words = "The ledger belongs to a newer version; this one may not write it."
                        raise LedgerUnusable(words)
                    yield db
            except sqlite3.Error as exc:
                if not _is_busy(exc):
                    with self._read_lock:
                        self._close()
                raise _unavailable(exc) from exc

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._read_lock:
            if self._reader is not None:
                try:
                    return work(self._reader)
                except sqlite3.Error as exc:
                    raise _unavailable(exc) from exc
        with self._lock:
            self._ready()
        return self._read(work)

    def _ready(self) -> sqlite3.Connection:
        """Give the writer, opening the file again if it was closed or replaced."""
        if self._writer is not None:
            try:
                if self._path.stat().st_ino == self._inode:
                    return self._writer
            except OSError:
                pass
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


class _State(msgspec.Struct, frozen=True, kw_only=True):
    restored_at: datetime | None
    paused: bool
    outdated: bool
    writes_from: int


def _state(db: sqlite3.Connection) -> _State:
    found = dict(db.execute("SELECT name, value FROM state WHERE name <> 'probe'"))
    restored = found.get("restored_at")
    return _State(
        restored_at=datetime.fromisoformat(restored) if restored else None,
        paused="paused" in found,
        outdated=_version(db) > SCHEMA,
        writes_from=int(found.get("writes_from", 1)),
    )


def _set_state(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)", (name, value))


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


@contextmanager
def _commit(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _columns(entry: Entry) -> tuple[str, str, int, str | None, bytes]:
    """Give status, work, due time, SID and data of an entry, in the order they are written."""
    work, at = due(entry)
    return entry.status, work, _ms(at), entry.sid, _encode(entry)


def _insert(db: sqlite3.Connection, entry: Entry, restored_at: datetime | None) -> Inserted:
    admitted = admit(entry, restored_at)
    row = (entry.tenant_id, entry.guid, _ms(entry.created_at), *_columns(admitted))
    written = db.execute(
        "INSERT INTO entries (tenant, guid, created_at, status, work, due_at, sid, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (guid, tenant) DO NOTHING",
        row,
    )
    if written.rowcount == 1:
        return Inserted(admitted, created=True)
    fact = Fact(kind=Kind.REPEATED, at=entry.created_at)
    return Inserted(_record(db, entry.key, fact) or entry, created=False)


def _update(db: sqlite3.Connection, number: int, entry: Entry) -> None:
    db.execute(
        "UPDATE entries SET status = ?, work = ?, due_at = ?, sid = ?, data = ? WHERE id = ?",
        (*_columns(entry), number),
    )


def _record(db: sqlite3.Connection, key: Key, fact: Fact) -> Entry | None:
    row = _row_of(db, key)
    changed = advance(row[1], fact) if row else None
    if row and changed:
        _update(db, row[0], changed)
    return changed


def _row_of(db: sqlite3.Connection, key: Key) -> tuple[int, Entry] | None:
    tenant, _, guid = key.partition("/")
    row = db.execute(
        "SELECT id, data FROM entries WHERE guid = ? AND tenant = ?", (guid, tenant)
    ).fetchone()
    return (row[0], _decode(row[1])) if row else None


def _rows_of(db: sqlite3.Connection, keys: Iterable[Key]) -> list[tuple[int, Entry]]:
    return [row for key in keys if (row := _row_of(db, key))]


def _due_rows(db: sqlite3.Connection, now: datetime, limit: int) -> list[tuple[int, Entry]]:
    rows = db.execute(
        "SELECT id, data FROM entries WHERE work = ? AND due_at <= ? ORDER BY due_at LIMIT ?",
        (Work.SEND, _ms(now), limit),
    ).fetchall()
    return [(number, _decode(data)) for number, data in rows]


def _is_busy(exc: sqlite3.Error) -> bool:
    return _name(exc).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _name(exc: sqlite3.Error) -> str:
    return getattr(exc, "sqlite_errorname", None) or "SQLITE_ERROR"


def _unavailable(exc: sqlite3.Error) -> LedgerUnavailable:
    name = _name(exc)
    if name.startswith(_HOPELESS):
        return LedgerUnusable("The ledger's file is damaged or no ledger; restore a backup.")
    return LedgerUnavailable(f"The ledger cannot be used just now ({name}).")


def _refuse_network(path: Path) -> None:
    """SQLite's locks do not hold on network file systems (sqlite.org/faq.html#q5)."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return
    folder = path.parent.resolve()
    best, kind = -1, ""
    for line in mounts.read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        point = Path(fields.split()[4].replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), tail.split()[0]
    if kind in _NETWORK:
        words = f"The ledger is on a network file system ({kind}); SQLite needs a local disk."
        raise LedgerUnusable(words)
