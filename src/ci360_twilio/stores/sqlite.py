"""A ledger in one SQLite file: WAL, ``synchronous=FULL``, one writer at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import Work, purged
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import (
    NO_LIMITS,
    SLOT,
    Claimed,
    Counting,
    Foreseen,
    Inserted,
    Mark,
    Note,
    Query,
    RateOf,
    Summary,
    Waiting,
    unpaced,
)
from ci360_twilio.stores import (
    claiming,
    recording,
    sqlite_find,
    sqlite_reads,
    sqlite_recount,
    steering,
)
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.sqlite_customers import SqliteCustomers
from ci360_twilio.stores.sqlite_file import read_state, set_state
from ci360_twilio.stores.sqlite_jobs import SqliteJobs
from ci360_twilio.stores.sqlite_rows import SqliteRows, prepare
from ci360_twilio.stores.sqlite_wishes import Touched
from ci360_twilio.stores.tombstone import tombstone

_AT_ONCE = 1000
"""Entries of a restore that are read together."""


class SqliteStore(SqliteCustomers, SqliteJobs):
    """Keeps entries in a SQLite file; see :class:`ci360_twilio.ports.Store` for the contract."""

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int] = NO_LIMITS
    ) -> list[Inserted]:
        """Write entries under new keys, in one commit."""
        ready = [prepare(entry) for entry in entries]
        with self._writing() as rows:
            restored_at = read_state(rows.db).restored_at
            buried = self._buried(rows.db, entries)
            rows.count_ahead(entries, recipient_limits)
            results = []
            for entry, prepared in zip(entries, ready, strict=True):
                if entry.key in buried:
                    results.append(Inserted(purged(entry), created=False))
                    continue
                admitted = recording.admitted(rows, entry, restored_at, recipient_limits)
                if rows.add(admitted, prepared if admitted is entry else None):
                    results.append(Inserted(admitted, created=True))
                else:
                    results.append(Inserted(_repeated(rows, entry), created=False))
            return results

    def foresee(
        self,
        entries: Sequence[Entry],
        *,
        recipient_limits: Mapping[TenantId, int] = NO_LIMITS,
        so_far: Foreseen | None = None,
    ) -> list[Inserted]:
        """Tell what would come of entries; the file is only read."""

        def read(db: sqlite3.Connection) -> list[Inserted]:
            restored_at, rows = read_state(db).restored_at, self._rows(db, trial=True)
            buried = self._buried(db, entries)
            rows.count_ahead(entries, recipient_limits)
            return [
                recording.foreseen(
                    rows,
                    entry,
                    purged(entry) if entry.key in buried else rows.get(entry.key),
                    restored_at,
                    recipient_limits,
                    so_far,
                )
                for entry in entries
            ]

        return self._file.read(read)

    def claim(
        self,
        *,
        now: datetime,
        lease: Lease,
        limit: int,
        keys: Iterable[Key] | None = None,
        rate_of: RateOf = unpaced,
    ) -> Claimed:
        """Take entries that may be sent now, in one commit; an idle ledger is only read."""
        named = None if keys is None else list(keys)

        def run(rows: SqliteRows, most: int) -> Claimed:
            return claiming.claim(
                rows, now=now, lease=lease, limit=most, keys=named, rate_of=rate_of
            )

        def is_idle(db: sqlite3.Connection) -> bool:
            """Try with one entry: what that would leave alone, a claim of many would, too."""
            try:
                if not read_state(db).outdated:
                    run(self._rows(db, trial=True), 1)
            except Touched:
                return False
            return True

        if self._file.read(is_idle):
            return Claimed([], [], [])
        with self._writing() as rows:
            if read_state(rows.db).outdated:
                return Claimed([], [], [])
            return run(rows, limit)

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Apply facts in order, in one commit."""
        if not facts:
            return []
        with self._writing() as rows:
            return recording.record(rows, facts, hourly_limits)

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries as they are committed."""

        def read(db: sqlite3.Connection) -> list[Entry | None]:
            rows = self._rows(db)
            return [rows.get(key) for key in keys]

        return self._file.read(read)

    def marked(self, marks: Sequence[Mark]) -> list[Entry | None]:
        """Find the entries that receipts belong to."""
        return self._file.read(lambda db: [sqlite_reads.marked(db, mark) for mark in marks])

    def look(self, *, now: datetime, limit: int) -> list[Entry]:
        """Take entries about which Twilio should be asked now; an idle ledger is only read."""
        if not self._file.read(lambda db: sqlite_reads.has_looks(db, now)):
            return []
        with self._writing() as rows:
            if read_state(rows.db).outdated:
                return []
            return claiming.look(rows, now=now, limit=limit)

    def find(self, query: Query) -> list[Entry]:
        """List entries, newest first."""
        return self._file.read(lambda db: sqlite_find.find(db, query))

    def counts(
        self,
        *,
        since: datetime,
        before: datetime,
        tenant_id: TenantId | None = None,
        step: timedelta = SLOT,
    ) -> Counting:
        """Count entries from what is kept of their numbers."""
        counted = self._file.read(lambda db: sqlite_find.count(db, since, before, tenant_id, step))
        return Counting(counted, whole_since=None)

    def recount(self) -> int:
        """Compare all that is kept beside entries with the entries, and set it right.

        That is nothing of what they are sent by: their traits, their numbers, whom they name. A
        ledger in which this finds anything was written by a process of an older schema, or has a
        fault. Others may use the ledger meanwhile.

        Returns:
            How many figures were wrong.
        """
        wrong = 0
        after: int | None = 0
        while after is not None:
            with self._file.writing() as db:
                found, after = sqlite_recount.entries(db, after)
                wrong += found
        with self._file.writing() as db:
            return wrong + sqlite_recount.rest(db)

    def purge(self, *, now: datetime, limit: int) -> int:
        """Replace entries by tombstones, in one commit; what they held is overwritten.

        What was counted and noted long ago is forgotten with it; and what a process of an older
        schema wrote is counted and named.
        """
        with self._writing() as rows:
            over = rows.due(Work.PURGE, now, limit)
            over += rows.ended(Work.FETCH, now, limit - len(over))
            rows.bury(over)
            letters = rows.bury_inbound(now, limit)
            notes_from = ms(now - recording.NOTES_KEPT)
            notes = rows.db.execute("DELETE FROM audit WHERE at < ?", (notes_from,)).rowcount
            strays_from = ms(now - recording.STRAYS_KEPT)
            rows.db.execute("DELETE FROM strays WHERE last_at < ?", (strays_from,))
            minute = recording.oldest_minute(now)
            rows.db.execute("DELETE FROM tallies WHERE minute < ?", (minute,))
            rows.adopt(limit)
        if over or letters or notes:
            self._file.fold()  # the WAL still holds what was overwritten in the file
        return len(over) + letters

    def probe(self) -> None:
        """Commit one small write."""
        with self._file.writing() as db:
            set_state(db, "probe", datetime.now(UTC).isoformat())

    def summary(self, now: datetime) -> Summary:
        """Count through the index of what is unfinished and due."""
        return self._file.read(lambda db: sqlite_reads.summary(db, self._rows(db).pauses(), now))

    def mark_restored(self, at: datetime) -> None:
        """Mark as restored and turn what was under way into ``unknown``, in one commit."""
        fact, pause = recording.restored(at)
        with self._writing() as rows:
            set_state(rows.db, "restored_at", at.isoformat())
            rows.keep_pause(pause)
            while changes := [
                changed
                for entry in sqlite_reads.under_way(rows, _AT_ONCE)
                if (changed := advance(entry, fact))
            ]:
                for changed in changes:
                    rows.write(changed)

    def close(self) -> None:
        """Close the file; the last process to close it folds the WAL in."""
        self._file.close()

    def pauses(self) -> list[Pause]:
        """List what is not sent for now."""
        return self._file.read(lambda db: self._rows(db).pauses())

    def pause(self, pause: Pause, *, note: Note | None = None, replace: bool = False) -> bool:
        """Write a pause, in one commit with the note."""
        with self._writing() as rows:
            return steering.pause(rows, pause, note, replace=replace)

    def resume(self, names: Iterable[str], *, note: Note | None = None) -> int:
        """Lift pauses, in one commit with the note."""
        with self._writing() as rows:
            return steering.resume(rows, names, note)

    def take_probe(self, name: str, *, now: datetime, until: datetime) -> Pause | None:
        """Put a pause's probe off, if it is due; one that is not is only read."""
        if not any(pause.name == name and pause.probe_is_due(now) for pause in self.pauses()):
            return None
        with self._writing() as rows:
            return steering.take_probe(rows, name, now=now, until=until)

    def is_queued(self) -> bool:
        """Tell whether anything waits in a sender's queue."""
        return self._file.read(lambda db: bool(self._rows(db).places(Work.PACED)))

    def waiting(self, now: datetime) -> list[Waiting]:
        """Count what waits, by place."""
        return self._file.read(lambda db: sqlite_reads.waiting(db, now))

    def write_note(self, note: Note) -> None:
        """Add a line to the audit."""
        with self._writing() as rows:
            rows.write_note(note)

    def notes(self, limit: int) -> list[Note]:
        """List the audit, newest first."""
        return self._file.read(lambda db: sqlite_reads.notes(db, limit))

    def _buried(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> set[Key]:
        """Tell which keys have a tombstone."""
        if not db.execute("SELECT EXISTS (SELECT 1 FROM tombstones)").fetchone()[0]:
            return set()
        hashes = {tombstone(entry.key, self._hash_key): entry.key for entry in entries}
        sql = "SELECT 1 FROM tombstones WHERE hash = ?"
        return {key for hashed, key in hashes.items() if db.execute(sql, (hashed,)).fetchone()}


def _repeated(rows: SqliteRows, entry: Entry) -> Entry:
    """Count that an event came again; give what stands under its key."""
    known = rows.get(entry.key) or entry
    repeated = advance(known, Fact(kind=Kind.REPEATED, at=entry.created_at)) or known
    rows.write(repeated)
    return repeated
