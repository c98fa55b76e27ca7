"""The tables of a SQLite ledger, as the steps of a ledger see them within one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, NamedTuple

import msgspec

from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, Key, Status
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Note
from ci360_twilio.stores.columns import (
    DAY_MS,
    UNCOUNTED,
    by_age,
    columns_of,
    ms,
    recipient_of,
    report_at,
)
from ci360_twilio.stores.sqlite_traits import SqliteTraits, hashes_of
from ci360_twilio.stores.sqlite_wishes import PREFIX, SqliteWishes, Touched, encode
from ci360_twilio.stores.traits import SLOT_MS, Traits, is_alike, traits_of

_COUNTED = " AND ".join(f"status <> '{status}'" for status in UNCOUNTED)
SELECT = "SELECT id, traits, data FROM entries "
_GET = f"{SELECT}WHERE guid = ? AND tenant = ?"
_DUE = f"{SELECT}WHERE work = ? AND due_at <= ? ORDER BY due_at, status, id LIMIT ?"
_ENDED = f"{SELECT}WHERE work = ? AND ends_at <= ? ORDER BY ends_at, id LIMIT ?"
_PARKED = f"{SELECT}WHERE work = 'parked' AND place = ? ORDER BY lane, due_at, id LIMIT ?"
_QUEUED = (
    f"{SELECT}WHERE work = 'paced' AND place = ? AND lane = ? AND due_at <= ?"
    " ORDER BY due_at, id LIMIT ?"
)
_WITH_SID = f"{SELECT}WHERE sid = ? ORDER BY id"
# The names in an index, each found from the one before; not all that stand under them are read.
_PLACES = """
    WITH RECURSIVE found (place) AS (
        SELECT min(place) FROM entries WHERE work = ?1 AND place IS NOT NULL
        UNION ALL
        SELECT (SELECT min(place) FROM entries WHERE work = ?1 AND place > found.place)
        FROM found WHERE found.place IS NOT NULL
    )
    SELECT place FROM found WHERE place IS NOT NULL
"""
_RECEIVED = (
    f"SELECT count(*) FROM entries WHERE created_at / {DAY_MS} IN (?, ?) AND recipient = ?"  # noqa: S608
    f" AND created_at > ? AND tenant = ? AND {_COUNTED}"
)
_RECEIVED_BY = (
    f"SELECT recipient, count(*) FROM entries WHERE created_at / {DAY_MS} IN (?, ?)"  # noqa: S608
    f" AND recipient IN ({{}}) AND created_at > ? AND tenant = ? AND {_COUNTED} GROUP BY recipient"
)
_MANY, _AT_ONCE = 8, 1000
"""Recipients from which on they are counted ahead, and of how many at one time."""
_INSERT = (
    "INSERT INTO entries"
    " (tenant, guid, created_at, recipient, data, status, work, due_at, sid, names, traits)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (guid, tenant) DO NOTHING"
)
_USE = (
    "UPDATE entries SET correlation = ?, place = ?, lane = ?, ends_at = ?, report_at = ?, aside = ?"
    " WHERE id = ?"
)
_UNUSED = (None, None, None, None, None, None)
_NAMES = ", sid = ?, correlation = ?"
_WAITS = ", place = ?, lane = ?, ends_at = ?"
_OWES = ", report_at = ?, aside = ?"
_TRAITS = ", traits = ?"
_UPDATES = {
    (named, waits, owes, differs): (
        f"UPDATE entries SET status = ?, work = ?, due_at = ?{_NAMES * named}"  # noqa: S608
        f"{_WAITS * waits}{_OWES * owes}{_TRAITS * differs}, data = ? WHERE id = ?"
    )
    for named, waits, owes, differs in product((False, True), repeat=4)
}
"""By whether names, waits, reports and traits change: an index costs nothing while none of its columns is set."""
_REPORTS = "WHERE tenant = ? AND report_at <= ? ORDER BY report_at, id LIMIT ?"
_ENTRY_REPORTS = f"{SELECT}{_REPORTS}"
_INBOUND_REPORTS = f"SELECT id, data FROM inbound {_REPORTS}"  # noqa: S608
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

decode = msgspec.json.Decoder(Entry).decode
_decode_pause = msgspec.json.Decoder(Pause).decode
_decode_note = msgspec.json.Decoder(Note).decode


class Prepared(NamedTuple):
    """A new entry as its table takes it."""

    row: tuple[Any, ...]
    use: tuple[Any, ...]
    traits: Traits


def prepare(entry: Entry) -> Prepared:
    """Write out a new entry: half of the work, for which no lock is needed."""
    columns = columns_of(entry)
    made = ms(entry.created_at)
    about = (entry.tenant_id, entry.guid, made, recipient_of(entry), encode(entry))
    return Prepared((*about, *columns[:4], hashes_of(entry)), columns[4:], traits_of(entry))


class SqliteRows(SqliteWishes):
    """One transaction; see :class:`ci360_twilio.stores.transaction.Transaction`."""

    def __init__(self, db: sqlite3.Connection, hash_key: bytes, *, trial: bool = False) -> None:
        """Begin with a connection; see :class:`SqliteWishes`."""
        super().__init__(db, hash_key, trial=trial)
        self.db = db
        self._counts: dict[tuple[TenantId, str, int], int] = {}
        """Messages that were counted ahead, by whose and whom they are to and at what time."""
        self._known: dict[Key, tuple[int, int | None, Entry]] = {}
        """The row of each entry that was read, its traits, and what stands in it."""
        self._traits = SqliteTraits(db)

    def get(self, key: Key) -> Entry | None:
        """Read an entry."""
        tenant, _, guid = key.partition("/")
        found = self.entries(_GET, (guid, tenant))
        return found[0] if found else None

    def add(self, entry: Entry, prepared: Prepared | None = None) -> bool:
        """Write an entry, if its key is new; tells whether it was.

        Args:
            entry: new, or as new as it seems.
            prepared: what :func:`prepare` gave for this very entry, outside of the transaction.
        """
        row, use, traits = prepared or prepare(entry)
        number = self._traits.number(traits)
        inserted = self._db.execute(_INSERT, (*row, number))
        if inserted.rowcount != 1:
            return False
        self._traits.count(row[2] // SLOT_MS, number)
        counted = row[0], row[3], row[2]  # tenant, recipient, time
        if counted in self._counts:
            self._counts[counted] += 1
        if use != _UNUSED:  # none of an entry that is as new as its event
            self._db.execute(_USE, (*use, inserted.lastrowid))
        return True

    def write(self, entry: Entry, *, owes: bool = False) -> None:
        """Write an entry that was read; with ``owes`` the columns of its reports in any case."""
        if self._trial:
            raise Touched
        number, traits, before = self._known[entry.key]
        columns = columns_of(entry)
        named = (entry.sid, entry.correlation) != (before.sid, before.correlation)
        waits = columns.ends_at is not None or columns.place is not None or _may_wait(before)
        owes = owes or entry.reports is not before.reports
        differs = traits is not None and not is_alike(entry, before)
        values = columns[:3] + columns[3:5] * named + columns[5:8] * waits + columns[8:] * owes
        if differs and traits is not None:
            traits = self._traits.change(entry, traits)
            values += (traits,)
        self._db.execute(_UPDATES[named, waits, owes, differs], (*values, encode(entry), number))
        self._known[entry.key] = number, traits, entry

    def bury(self, entries: Sequence[Entry]) -> None:
        """Delete entries that were read, leaving tombstones."""
        self.settle()  # what is deleted is counted down at once
        self._bury("entries", [(one.key, self._known[one.key][0]) for one in entries])
        self._traits.forget(entries)

    def settle(self) -> None:
        """Write what was only gathered so far; the last thing in a transaction that writes entries."""
        self._traits.settle()

    def adopt(self, limit: int) -> int:
        """Count and name entries that an older process wrote; gives how many there were."""
        return self._traits.adopt(limit)

    def bury_document(self, key: Key) -> None:
        """Delete a document of either kind, leaving a tombstone."""
        [document] = self.documents([key])
        if isinstance(document, Entry):
            self.bury([document])
        elif document is not None:
            self._bury("inbound", [(key, self._letters[key])])

    def clear_notes(self, words: Collection[str]) -> int:
        """Take texts that hold one of these words from the audit; gives how many there were."""
        cleared = 0
        for number, data in self._db.execute("SELECT id, data FROM audit").fetchall():
            note = _decode_note(data)
            if any(word in (note.detail or "") for word in words):
                bare = encode(msgspec.structs.replace(note, detail=None))
                self._write("UPDATE audit SET data = ? WHERE id = ?", (bare, number))
                cleared += 1
        return cleared

    def due(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what is due."""
        return self.entries(_DUE, (work, ms(now), limit))

    def ended(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what has reached its end."""
        return self.entries(_ENDED, (work, ms(now), limit))

    def places(self, work: Work) -> list[str]:
        """List places."""
        return [place for (place,) in self._db.execute(_PLACES, (work,))]

    def parked(self, place: str, limit: int) -> list[Entry]:
        """List what waits behind a pause."""
        return self.entries(_PARKED, (place, limit))

    def queued(self, place: str, now: datetime, limit: int) -> list[Entry]:
        """List what waits in a queue."""
        single = self.entries(_QUEUED, (place, 0, ms(now), limit))
        if len(single) == limit:
            return single
        return single + self.entries(_QUEUED, (place, 1, ms(now), limit - len(single)))

    def with_sid(self, sid: str) -> list[Entry]:
        """List the entries that have a SID."""
        return self.entries(_WITH_SID, (sid,))

    def count_ahead(self, entries: Sequence[Entry], tenants: Collection[TenantId]) -> None:
        """Count messages to the recipients of many new entries at one go, for :meth:`received`."""
        asked: dict[tuple[TenantId, int], dict[str, None]] = {}
        for entry in entries:
            recipient = recipient_of(entry)
            if recipient is not None and entry.tenant_id in tenants:
                about = entry.tenant_id, ms(entry.created_at)
                asked.setdefault(about, {})[recipient] = None
        for (tenant_id, now), named in asked.items():
            if len(named) < _MANY:
                continue
            days = now // DAY_MS - 1, now // DAY_MS
            recipients = [*named]
            for start in range(0, len(recipients), _AT_ONCE):
                some = recipients[start : start + _AT_ONCE]
                sql = _RECEIVED_BY.format(", ".join("?" * len(some)))
                found = self._db.execute(sql, (*days, *some, now - DAY_MS, tenant_id))
                self._counts |= {(tenant_id, recipient, now): 0 for recipient in some}
                self._counts |= {(tenant_id, one, now): number for one, number in found}

    def received(self, tenant_id: TenantId, recipient: str, at: datetime, _most: int) -> int:
        """Count messages to a recipient."""
        now = ms(at)
        counted = self._counts.get((tenant_id, recipient, now))
        if counted is not None:
            return counted
        days = now // DAY_MS - 1, now // DAY_MS
        return self._number(_RECEIVED, (*days, recipient, now - DAY_MS, tenant_id))

    def pauses(self) -> list[Pause]:
        """List the pauses."""
        found = self._db.execute("SELECT data FROM pauses").fetchall()
        return sorted([_decode_pause(data) for (data,) in found], key=by_age)

    def keep_pause(self, pause: Pause) -> None:
        """Write a pause."""
        sql = "INSERT OR REPLACE INTO pauses (name, data) VALUES (?, ?)"
        self._write(sql, (pause.name, encode(pause)))

    def drop_pause(self, name: str) -> bool:
        """Remove a pause."""
        return self._db.execute("DELETE FROM pauses WHERE name = ?", (name,)).rowcount > 0

    def write_note(self, note: Note) -> None:
        """Add a note."""
        self._write("INSERT INTO audit (at, data) VALUES (?, ?)", (ms(note.at), encode(note)))

    def budget(self, place: str) -> datetime | None:
        """Tell when a budget is full again."""
        sql = "SELECT full_at FROM budgets WHERE place = ?"
        found = self._db.execute(sql, (place,)).fetchone()
        return _EPOCH + found[0] * _MICROSECOND if found else None

    def set_budget(self, place: str, full_at: datetime) -> None:
        """Write when a budget is full again."""
        sql = "INSERT OR REPLACE INTO budgets (place, full_at) VALUES (?, ?)"
        self._write(sql, (place, (full_at - _EPOCH) // _MICROSECOND))

    def started(self, tenant_id: TenantId, since: int) -> int:
        """Count messages that a tenant has started."""
        sql = "SELECT coalesce(sum(started), 0) FROM tallies WHERE tenant = ? AND minute >= ?"
        return self._number(sql, (tenant_id, since))

    def count_start(self, tenant_id: TenantId, minute: int) -> None:
        """Count a message."""
        sql = (
            "INSERT INTO tallies (tenant, minute, started) VALUES (?, ?, 1)"
            " ON CONFLICT DO UPDATE SET started = started + 1"
        )
        self._write(sql, (tenant_id, minute))

    def entries(self, sql: str, values: tuple[Any, ...]) -> list[Entry]:
        """Read entries by a statement that begins as :data:`SELECT` does."""
        found = []
        for number, traits, data in self._db.execute(sql, values).fetchall():
            entry = decode(data)
            self._known[entry.key] = number, traits, entry
            found.append(entry)
        return found

    def due_reports(self, tenant_id: TenantId, now: datetime, limit: int) -> list[Entry | Inbound]:
        """List documents with reports that are due."""
        values = (tenant_id, ms(now), limit)
        found: list[Entry | Inbound] = [*self.entries(_ENTRY_REPORTS, values)]
        found += self.letters(_INBOUND_REPORTS, values)
        return sorted(found, key=lambda one: report_at(one.reports) or 0)[:limit]

    def documents(self, keys: Sequence[Key]) -> list[Entry | Inbound | None]:
        """Read documents of either kind."""
        return [self.inbound(key) if key.startswith(PREFIX) else self.get(key) for key in keys]

    def keep(self, document: Entry | Inbound) -> None:
        """Write a document that was read."""
        if isinstance(document, Entry):
            self.write(document, owes=True)
        else:
            self.keep_inbound(document)

    def _number(self, sql: str, values: tuple[Any, ...]) -> int:
        return int(self._db.execute(sql, values).fetchone()[0])


def _may_wait(entry: Entry) -> bool:
    """Tell whether the row of an entry may have a place or an end."""
    return entry.place is not None or entry.status is Status.SENT
