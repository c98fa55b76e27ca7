"""Inbound messages and consents of a SQLite ledger, as the steps see them within one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from ci360_twilio.core.consent import Consent, Subject, nameless, person_of
from ci360_twilio.core.entry import Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.seal import sealed, subject_hash
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.stores.columns import count_aside, ms, report_at
from ci360_twilio.stores.tombstone import tombstone

PREFIX = "inbound:"
"""How keys of inbound messages begin; see :func:`ci360_twilio.core.inbound.inbound_key`."""

_CONSENT = "SELECT id, data FROM consents WHERE subject = ?"
_INBOUND = "SELECT id, data FROM inbound WHERE sid = ? AND tenant = ?"
_ADD_INBOUND = (
    "INSERT INTO inbound (tenant, sid, customer, heard_at, purge_at, report_at, aside, data)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_KEEP_CONSENT = (
    "UPDATE consents SET tenant = ?, state = ?, recipient = ?, ask_at = ?, data = ? WHERE id = ?"
)
_AT_ONCE = 500
"""Consents that one statement reads."""
_ADD_CONSENT = (
    "INSERT INTO consents (subject, tenant, state, recipient, ask_at, data)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)

encode = msgspec.json.Encoder().encode
decode_inbound = msgspec.json.Decoder(Inbound).decode
decode_consent = msgspec.json.Decoder(Consent).decode


class Touched(Exception):
    """Something would have been written on trial."""


class SqliteWishes:
    """See :class:`ci360_twilio.stores.transaction.Wishes`."""

    def __init__(self, db: sqlite3.Connection, hash_key: bytes, *, trial: bool = False) -> None:
        """Begin with a connection.

        Args:
            db: within a transaction, unless nothing is written.
            hash_key: of tombstones and consents.
            trial: whether :class:`Touched` is raised instead of writing.
        """
        self._db = db
        self._hash_key = hash_key
        self._trial = trial
        self._consents: dict[Subject, tuple[int | None, Consent | None]] = {}
        self._letters: dict[Key, int] = {}
        """The row of each inbound message that was read or written."""
        self._any_consents: bool | None = None
        self._gathered: dict[Subject, bytes] | None = None
        """Consents that are written later, by their hashes."""

    def has_consents(self) -> bool:
        """Tell whether there is any consent; asked once."""
        if self._any_consents is None:
            sql = "SELECT EXISTS (SELECT 1 FROM consents)"
            self._any_consents = bool(self._db.execute(sql).fetchone()[0])
        return self._any_consents

    def consent(self, subject: Subject) -> Consent | None:
        """Read a consent; once."""
        if subject not in self._consents:
            hashed = subject_hash(subject, self._hash_key)
            found = self._db.execute(_CONSENT, (hashed,)).fetchone()
            known = (found[0], decode_consent(found[1])) if found else (None, None)
            self._consents[subject] = known
        return self._consents[subject][1]

    def keep_consent(self, subject: Subject, consent: Consent) -> Consent:
        """Seal and write a consent."""
        self.consent(subject)
        row, before = self._consents[subject]
        hashed = subject_hash(subject, self._hash_key)
        consent = sealed(consent, before, hashed, self._hash_key)
        self._any_consents = True
        if self._gathered is not None:
            self._gathered[subject] = hashed
        elif row is None:
            row = self._write(_ADD_CONSENT, (hashed, *consent_row(consent))).lastrowid
        else:
            self._write(_KEEP_CONSENT, (*consent_row(consent), row))
        self._consents[subject] = row, consent
        return consent

    @contextmanager
    def gathering(self, subjects: Iterable[Subject]) -> Iterator[None]:
        """Read many consents in few statements, and write what becomes of them in few at the end."""
        self._read_many(subjects)
        self._gathered = {}
        yield
        changed, self._gathered = self._gathered, None
        fresh, kept = [], []
        for subject, hashed in changed.items():
            row, consent = self._consents.pop(subject)  # a new row's number is not known
            if consent is not None and row is None:
                fresh.append((hashed, *consent_row(consent)))
            elif consent is not None:
                kept.append((*consent_row(consent), row))
        self._db.executemany(_ADD_CONSENT, fresh)
        self._db.executemany(_KEEP_CONSENT, kept)

    def _read_many(self, subjects: Iterable[Subject]) -> None:
        by_hash = {subject_hash(one, self._hash_key): one for one in subjects}
        self._consents |= dict.fromkeys(by_hash.values(), (None, None))
        ordered = sorted(by_hash)  # as in the index
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT subject, id, data FROM consents WHERE subject IN ({marks})"  # noqa: S608
            for hashed, row, data in self._db.execute(sql, some):
                self._consents[by_hash[hashed]] = row, decode_consent(data)

    def inbound(self, key: Key) -> Inbound | None:
        """Read an inbound message."""
        tenant, _, sid = key.removeprefix(PREFIX).partition("/")
        found = self._db.execute(_INBOUND, (sid, tenant)).fetchone()
        if found is None:
            return None
        self._letters[key] = found[0]
        return decode_inbound(found[1])

    def add_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message that is new."""
        number = self._write(_ADD_INBOUND, inbound_row(inbound)).lastrowid
        assert number is not None  # noqa: S101 - the table has rowids
        self._letters[inbound.key] = number

    def keep_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message that was read."""
        sql = "UPDATE inbound SET report_at = ?, aside = ?, data = ? WHERE id = ?"
        self._write(sql, (*_owed(inbound), encode(inbound), self._letters[inbound.key]))

    def heard_again(self, inbound: Inbound) -> Inbound | None:
        """Count that a message came again."""
        known = self.inbound(inbound.key)
        if known is None:
            return inbound if self.is_buried(inbound.key) else None
        known = msgspec.structs.replace(known, repeats=known.repeats + 1)
        self.keep_inbound(known)
        return known

    def letters(self, sql: str, values: tuple[Any, ...]) -> list[Inbound]:
        """Read inbound messages by a statement that gives their number and data."""
        found = []
        for number, data in self._db.execute(sql, values).fetchall():
            inbound = decode_inbound(data)
            self._letters[inbound.key] = number
            found.append(inbound)
        return found

    def bury_inbound(self, now: datetime, limit: int) -> int:
        """Delete inbound messages whose time is over, leaving tombstones; gives their number."""
        sql = "SELECT id, data FROM inbound WHERE purge_at <= ? ORDER BY purge_at LIMIT ?"
        over = self.letters(sql, (ms(now), limit))
        self._bury("inbound", [(one.key, self._letters[one.key]) for one in over])
        return len(over)

    def forget_number(self, tenant_id: TenantId, person: str) -> int:
        """Take a person's number from all consents to a tenant; gives how many lose it."""
        sql = "SELECT id, data FROM consents WHERE tenant = ? AND recipient = ?"
        found = self._db.execute(sql, (tenant_id, person)).fetchall()
        for row, data in found:
            bare = encode(nameless(decode_consent(data)))
            sql = "UPDATE consents SET recipient = NULL, ask_at = NULL, data = ? WHERE id = ?"
            self._write(sql, (bare, row))
        return len(found)

    def _bury(self, table: str, found: Sequence[tuple[Key, int]]) -> None:
        """Delete rows by their keys and numbers, leaving tombstones."""
        hashes = [(tombstone(key, self._hash_key),) for key, _ in found]
        self._db.executemany("INSERT OR IGNORE INTO tombstones (hash) VALUES (?)", hashes)
        sql = f"DELETE FROM {table} WHERE id = ?"  # noqa: S608 - the names are ours
        self._db.executemany(sql, [(number,) for _, number in found])

    def is_buried(self, key: Key) -> bool:
        """Tell whether a tombstone stands for a key."""
        sql = "SELECT 1 FROM tombstones WHERE hash = ?"
        return self._db.execute(sql, (tombstone(key, self._hash_key),)).fetchone() is not None

    def _write(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        if self._trial:
            raise Touched
        return self._db.execute(sql, values)


def inbound_row(inbound: Inbound) -> tuple[Any, ...]:
    """Give the columns of an inbound message, and last all of it."""
    heard = inbound.heard
    times = ms(inbound.heard_at), ms(inbound.purge_at)
    ours = (inbound.tenant_id, heard.sid, person_of(heard.sender))
    return (*ours, *times, *_owed(inbound), encode(inbound))


def consent_row(consent: Consent) -> tuple[Any, ...]:
    """Give the columns of a consent, and last all of it."""
    ask_at = ms(consent.ask_at) if consent.ask_at else None
    return (consent.tenant_id, consent.state, consent.recipient, ask_at, encode(consent))


def _owed(inbound: Inbound) -> tuple[int | None, int | None]:
    return report_at(inbound.reports), count_aside(inbound.reports)
