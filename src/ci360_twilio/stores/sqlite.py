"""A ledger in one SQLite file: WAL, ``synchronous=FULL``, one writer at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

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
from ci360_twilio.ports import Claimed, Inserted, Query, Summary
from ci360_twilio.stores.sqlite_file import BUSY_SECONDS, SqliteFile, read_state, set_state
from ci360_twilio.stores.tombstone import tombstone

_DUE = "SELECT id, data FROM entries WHERE work = ? AND due_at <= ? ORDER BY due_at LIMIT ?"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class _Row(NamedTuple):
    id: int
    entry: Entry


class SqliteStore:
    """Keeps entries in a SQLite file; see :class:`ci360_twilio.ports.Store` for the contract."""

    def __init__(self, path: Path, *, hash_key: bytes, busy_seconds: float = BUSY_SECONDS) -> None:
        """Open the ledger, making or migrating it where needed.

        Args:
            path: the file; it and its folder are made where they are not there.
            hash_key: the key of the tombstones' hashes.
            busy_seconds: how long a write waits for another process's.

        Raises:
            LedgerUnavailable: it cannot be opened just now.
            LedgerUnusable: it is no ledger, damaged, or on a network file system.
        """
        self._file = SqliteFile(path, busy_seconds=busy_seconds)
        self._hash_key = hash_key

    def insert_many(self, entries: Sequence[Entry]) -> list[Inserted]:
        """Write entries under new keys, in one commit."""
        with self._file.writing() as db:
            restored_at = read_state(db).restored_at
            buried = self._buried(db, entries)
            return [
                Inserted(purged(entry), created=False)
                if entry.key in buried
                else _insert(db, entry, restored_at)
                for entry in entries
            ]

    def claim(
        self, *, now: datetime, lease: Lease, limit: int, keys: Iterable[Key] | None = None
    ) -> Claimed:
        """Take due entries, in one commit; an idle ledger is only read."""
        if keys is None and not self._file.read(lambda db: _due(db, Work.SEND, now, 1)):
            return Claimed([], [])
        claimed = Claimed([], [])
        with self._file.writing() as db:
            state = read_state(db)
            if state.paused or state.outdated:
                return claimed
            rows = _due(db, Work.SEND, now, limit) if keys is None else _rows(db, keys)[:limit]
            for row in rows:
                swept = sweep(row.entry, now)
                if swept.status is not row.entry.status:
                    claimed.swept.append(swept)
                taken = take(swept, now, lease)
                if taken:
                    claimed.entries.append(taken)
                if (taken or swept) is not row.entry:
                    _update(db, row.id, taken or swept)
        return claimed

    def record_many(self, facts: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
        """Apply facts in order, in one commit."""
        if not facts:
            return []
        with self._file.writing() as db:
            return [_record(db, key, fact) for key, fact in facts]

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries as they are committed."""
        rows = self._file.read(lambda db: [_row(db, key) for key in keys])
        return [row.entry if row else None for row in rows]

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
        where = " AND ".join(clauses)  # the clauses are ours, the values are bound
        sql = f"SELECT data FROM entries WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?"  # noqa: S608

        def read(db: sqlite3.Connection) -> list[Entry]:
            return [_decode(data) for (data,) in db.execute(sql, (*values, query.limit))]

        return self._file.read(read)

    def purge(self, *, now: datetime, limit: int) -> int:
        """Replace entries by tombstones, in one commit; what they held is overwritten."""
        with self._file.writing() as db:
            rows = _due(db, Work.PURGE, now, limit)
            hashes = [(tombstone(row.entry.key, self._hash_key),) for row in rows]
            db.executemany("INSERT OR IGNORE INTO tombstones (hash) VALUES (?)", hashes)
            db.executemany("DELETE FROM entries WHERE id = ?", [(row.id,) for row in rows])
        if rows:
            self._file.fold()  # the WAL still holds what was overwritten in the file
        return len(rows)

    def probe(self) -> None:
        """Commit one small write."""
        with self._file.writing() as db:
            set_state(db, "probe", datetime.now(UTC).isoformat())

    def summary(self, now: datetime) -> Summary:
        """Count through the index of what is unfinished and due."""

        def read(db: sqlite3.Connection) -> Summary:
            counts = db.execute(
                "SELECT status, count(*) FROM entries WHERE work IN (?, ?, ?) GROUP BY status",
                (Work.SEND, Work.FIND, Work.DECIDE),
            ).fetchall()
            number, oldest = db.execute(
                "SELECT count(*), min(due_at) FROM entries WHERE work = ? AND due_at <= ?",
                (Work.SEND, _ms(now)),
            ).fetchone()
            state = read_state(db)
            return Summary(
                unfinished={Status(status): count for status, count in counts},
                due=number,
                oldest_due_at=None
                if oldest is None
                else datetime.fromtimestamp(oldest / 1000, UTC),
                restored_at=state.restored_at,
                paused=state.paused,
                outdated=state.outdated,
            )

        return self._file.read(read)

    def mark_restored(self, at: datetime) -> None:
        """Mark as restored and turn what was under way into ``unknown``, in one commit."""
        with self._file.writing() as db:
            set_state(db, "restored_at", at.isoformat())
            set_state(db, "paused", "1")
            rows = db.execute("SELECT id, data FROM entries WHERE work = ?", (Work.SEND,))
            fact = Fact(kind=Kind.RESTORED, at=at, reason="restored")
            for number, data in rows.fetchall():
                if changed := advance(_decode(data), fact):
                    _update(db, number, changed)

    def resume(self) -> None:
        """Allow claims again."""
        with self._file.writing() as db:
            db.execute("DELETE FROM state WHERE name = 'paused'")

    def close(self) -> None:
        """Close the file; the last process to close it folds the WAL in."""
        self._file.close()

    def _buried(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> set[Key]:
        """Tell which keys have a tombstone."""
        if not db.execute("SELECT EXISTS (SELECT 1 FROM tombstones)").fetchone()[0]:
            return set()
        hashes = {tombstone(entry.key, self._hash_key): entry.key for entry in entries}
        sql = "SELECT 1 FROM tombstones WHERE hash = ?"
        return {key for hashed, key in hashes.items() if db.execute(sql, (hashed,)).fetchone()}


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def columns(entry: Entry) -> tuple[str, str, int, str | None, bytes]:
    """Give status, work, due time, SID and data of an entry, in the order they are written."""
    work, at = due(entry)
    return entry.status, work, _ms(at), entry.sid, _encode(entry)


def _insert(db: sqlite3.Connection, entry: Entry, restored_at: datetime | None) -> Inserted:
    admitted = admit(entry, restored_at)
    written = db.execute(
        "INSERT INTO entries (tenant, guid, created_at, status, work, due_at, sid, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (guid, tenant) DO NOTHING",
        (entry.tenant_id, entry.guid, _ms(entry.created_at), *columns(admitted)),
    )
    if written.rowcount == 1:
        return Inserted(admitted, created=True)
    fact = Fact(kind=Kind.REPEATED, at=entry.created_at)
    return Inserted(_record(db, entry.key, fact) or entry, created=False)


def _update(db: sqlite3.Connection, number: int, entry: Entry) -> None:
    db.execute(
        "UPDATE entries SET status = ?, work = ?, due_at = ?, sid = ?, data = ? WHERE id = ?",
        (*columns(entry), number),
    )


def _record(db: sqlite3.Connection, key: Key, fact: Fact) -> Entry | None:
    row = _row(db, key)
    changed = advance(row.entry, fact) if row else None
    if row and changed:
        _update(db, row.id, changed)
    return changed


def _row(db: sqlite3.Connection, key: Key) -> _Row | None:
    tenant, _, guid = key.partition("/")
    found = db.execute(
        "SELECT id, data FROM entries WHERE guid = ? AND tenant = ?", (guid, tenant)
    ).fetchone()
    return _Row(found[0], _decode(found[1])) if found else None


def _rows(db: sqlite3.Connection, keys: Iterable[Key]) -> list[_Row]:
    return [row for key in dict.fromkeys(keys) if (row := _row(db, key))]


def _due(db: sqlite3.Connection, work: Work, now: datetime, limit: int) -> list[_Row]:
    found = db.execute(_DUE, (work, _ms(now), limit)).fetchall()
    return [_Row(number, _decode(data)) for number, data in found]
