"""What a SQLite ledger keeps beside its entries, to find and count them by.

Of what an older process wrote, traits and names are absent (``NULL``): whoever reads looks at these
entries one by one, until :meth:`SqliteTraits.adopt` has counted them.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from zlib import crc32

import msgspec

from ci360_twilio.core.consent import person_of
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.stores.traits import Traits, slot_of, traits_of

UNREADABLE = 0
"""The number of no traits: an entry has it that cannot be read."""
COLUMNS = "tenant, task, job, sender, country, status, reason, error_code"

_AT_ONCE = 1000
"""Entries that are adopted together while a ledger is migrated."""
_FIND = f"SELECT id FROM traits WHERE {' AND '.join(f'{one} IS ?' for one in COLUMNS.split(', '))}"  # noqa: S608
_MAKE = f"INSERT INTO traits ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_MORE = (
    "INSERT INTO counts (entries, slot, traits) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET entries = entries + excluded.entries"
)
_FEWER = "UPDATE counts SET entries = entries + ? WHERE slot = ? AND traits = ?"
_FORGET = (
    "DELETE FROM traits WHERE tenant = ? AND task IS ? AND job IS ?"
    " AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.traits = traits.id)"
)
_UNCOUNTED = "SELECT id, data FROM entries WHERE traits IS NULL ORDER BY created_at, id LIMIT ?"

_decode = msgspec.json.Decoder(Entry).decode


def hash_of(name: str) -> bytes:
    """Give the hash of a number or identity; what is found by it is looked at."""
    return crc32(name.encode()).to_bytes(4, "big")


def hashes_of(entry: Entry) -> bytes:
    """Give the hashes of whom an entry names: a number, on whatever channel, and identities."""
    names = [*entry.origin.identities.values()]
    if entry.message is not None:
        names.append(person_of(entry.message.to))
    return b"".join([hash_of(name) for name in names])


class SqliteTraits:
    """What one transaction writes beside entries: how many there are of what, only when it ends."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._numbers: dict[Traits, int] = {}
        self._after: dict[tuple[int, Status, str | None, int | None], int] = {}
        """What traits became, by what they were and where their entries stand now."""
        self._more: defaultdict[tuple[int, int], int] = defaultdict(int)
        """By slot and traits, how many entries there are more than before."""

    def number(self, traits: Traits) -> int:
        """Give the number of traits, which are written where they are new."""
        number = self._numbers.get(traits)
        if number is None:
            found = self._db.execute(_FIND, traits).fetchone()
            number = found[0] if found else self._db.execute(_MAKE, traits).lastrowid
            assert number is not None  # noqa: S101 - the table has rowids
            self._numbers[traits] = number
        return number

    def read(self, data: bytes) -> tuple[Entry | None, int, bytes]:
        """Read an entry, if it can be read: gives it, the number of its traits, and hashes of whom it names."""
        try:
            entry = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            return None, UNREADABLE, b""
        return entry, self.number(traits_of(entry)), hashes_of(entry)

    def count(self, slot: int, number: int) -> None:
        """Count an entry that is new."""
        self._more[slot, number] += 1

    def change(self, entry: Entry, before: int) -> int:
        """Count an entry by what it is now and no more by what it was; gives its new traits.

        Only where it stands has changed: what was alike before is alike after the same change.
        """
        change = (before, entry.status, entry.reason, entry.error_code)
        number, slot = self._after.get(change), slot_of(entry.created_at)
        if number is None or before == UNREADABLE:
            number = self._after[change] = self.number(traits_of(entry))
        self._more[slot, before] -= 1
        self._more[slot, number] += 1
        return number

    def settle(self) -> None:
        """Write what was counted."""
        for spot, by in self._more.items():
            if by:
                self._db.execute(_MORE if by > 0 else _FEWER, (by, *spot))
        self._more.clear()

    def forget(self, entries: Iterable[Entry]) -> None:
        """Remove traits like those of entries that were deleted, where no other entry has them."""
        origins = {(one.tenant_id, one.origin.task_code, one.job) for one in entries}
        self._db.executemany(_FORGET, origins)

    def adopt(self, limit: int) -> int:
        """Count and name entries that an older process wrote; gives how many there were."""
        found = self._db.execute(_UNCOUNTED, (limit,)).fetchall()
        for row, data in found:
            entry, number, hashes = self.read(data)
            if entry is not None:
                self.count(slot_of(entry.created_at), number)
            sql = "UPDATE entries SET traits = ?, names = ? WHERE id = ?"
            self._db.execute(sql, (number, hashes, row))
        self.settle()
        return len(found)


def adopt_all(db: sqlite3.Connection) -> None:
    """Count and name all entries of a ledger that is migrated."""
    traits = SqliteTraits(db)
    while traits.adopt(_AT_ONCE):
        pass
