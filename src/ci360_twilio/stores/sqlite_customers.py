"""A SQLite ledger as far as customers and CI360 go: inbound messages, wishes, reports, privacy, chores."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec

from ci360_twilio.core.consent import Consent, Evidence, Subject
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.report import Answer
from ci360_twilio.core.seal import key_check
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.ports import (
    About,
    Chore,
    Conversation,
    Erased,
    Hearing,
    InboundQuery,
    Note,
    Owed,
    Owing,
    Received,
    Stray,
    Verified,
)
from ci360_twilio.stores import attesting, erasing, reporting
from ci360_twilio.stores import sqlite_customer_reads as reads
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.sqlite_file import BUSY_SECONDS, SqliteFile
from ci360_twilio.stores.sqlite_rows import SqliteRows
from ci360_twilio.stores.sqlite_wishes import encode

_KEY_CHECK = "key_check"
"""The name in the ledger's state of what tells its hash key from others."""


class SqliteCustomers:
    """See :mod:`ci360_twilio.ports` for the contracts; :class:`SqliteStore` is the whole."""

    def __init__(
        self,
        path: Path,
        *,
        hash_key: bytes,
        busy_seconds: float = BUSY_SECONDS,
        writes_many: bool = False,
    ) -> None:
        """Open the ledger, making or migrating it where needed.

        Args:
            path: the file; it and its folder are made where they are not there.
            hash_key: the key of tombstones, and of consents and their seals.
            busy_seconds: how long a write waits for another process's.
            writes_many: whether this process writes a great many rows at one go.

        Raises:
            LedgerUnavailable: it cannot be opened just now.
            LedgerUnusable: it is no ledger, damaged, or on a network file system.
        """
        self._file = SqliteFile(path, busy_seconds=busy_seconds, writes_many=writes_many)
        self._hash_key = hash_key
        try:
            self._check_key()
        except LedgerUnusable:
            self._file.close()
            raise

    def _check_key(self) -> None:
        """See that the key is the one of this ledger: under another, no opt-out would be found."""
        mine = key_check(self._hash_key)
        known = self._file.read(reads.key_check)
        if known is None:
            with suppress(LedgerUnavailable), self._file.writing() as db:
                db.execute("INSERT OR IGNORE INTO state VALUES (?, ?)", (_KEY_CHECK, mine))
        elif known != mine:
            raise LedgerUnusable(
                "The ledger's opt-outs and deleted events are kept under another hash key: put "
                "back the .key file beside it, or the CI360_TWILIO_HASH_KEY that it had."
            )

    def _rows(self, db: sqlite3.Connection, *, trial: bool = False) -> SqliteRows:
        return SqliteRows(db, self._hash_key, trial=trial)

    @contextmanager
    def _writing(self) -> Iterator[SqliteRows]:
        """Run one write transaction on the rows, which gather some of what is to be written."""
        with self._file.writing() as db:
            rows = self._rows(db)
            yield rows
            rows.settle()

    # Inbox

    def conversations(self, asked: Sequence[Conversation]) -> list[Entry | None]:
        """Find what customers answer."""
        return self._file.read(lambda db: [reads.conversation(db, one) for one in asked])

    def is_heard(self, keys: Sequence[Key]) -> list[bool]:
        """Tell which inbound messages are known."""

        def read(db: sqlite3.Connection) -> list[bool]:
            rows = self._rows(db)
            return [rows.inbound(key) is not None or rows.is_buried(key) for key in keys]

        return self._file.read(read)

    def hear_many(self, hearings: Sequence[Hearing], *, now: datetime) -> list[Received]:
        """Write inbound messages and what they say of consent, in one commit."""
        with self._writing() as rows:
            return attesting.hear(rows, hearings, now)

    def find_inbound(self, query: InboundQuery) -> list[Inbound]:
        """List inbound messages."""
        return self._file.read(lambda db: reads.find_inbound(db, query))

    # Consents

    def consents(self, subjects: Sequence[Subject]) -> list[Consent | None]:
        """Read consents."""

        def read(db: sqlite3.Connection) -> list[Consent | None]:
            rows = self._rows(db)
            return [rows.consent(subject) for subject in subjects]

        return self._file.read(read)

    def attest_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Add evidence, in one commit."""
        with self._writing() as rows, rows.gathering(subject for subject, _ in changes):
            return [attesting.attested(rows, subject, one, now) for subject, one in changes]

    def date_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Write dates, in one commit."""
        with self._writing() as rows:
            return [attesting.dated(rows, subject, one, now) for subject, one in changes]

    def judge(
        self, subject: Subject, sid: str, *, is_out: bool, now: datetime, by: str
    ) -> Consent | None:
        """Write what a person found in a text."""
        with self._writing() as rows:
            return attesting.judged(rows, subject, sid, now, is_out=is_out, by=by)

    def take_undated(self, *, now: datetime, limit: int) -> list[Consent]:
        """Take consents that hang on dates; where there are none the file is only read."""
        if not self._file.read(lambda db: reads.has_undated(db, now)):
            return []
        with self._file.writing() as db:
            return reads.take_undated(db, now, limit)

    def list_consents(
        self, tenant_id: TenantId, *, states: Collection[str] = (), after: int = 0, limit: int
    ) -> tuple[list[Consent], int | None]:
        """List consents, a page at a time."""
        return self._file.read(lambda db: reads.list_consents(db, tenant_id, states, after, limit))

    def verify_consents(self, *, after: int = 0, limit: int) -> Verified:
        """Check seals."""
        key = self._hash_key
        return self._file.read(lambda db: reads.verify_consents(db, key, after, limit))

    # Reports

    def owing(self, now: datetime, *, most: int) -> list[Owing]:
        """List tenants of whom something is due to be told."""
        return self._file.read(lambda db: reads.owing(db, now, most))

    def take_reports(
        self, tenant_id: TenantId, *, now: datetime, until: datetime, limit: int
    ) -> list[Owed]:
        """Take reports, in one commit."""
        with self._writing() as rows:
            return reporting.take(rows, tenant_id, now=now, until=until, limit=limit)

    def answer_reports(self, answers: Sequence[tuple[Key, str, Answer]]) -> None:
        """Write what came of attempts, in one commit."""
        if answers:
            with self._writing() as rows:
                reporting.answer(rows, answers)

    def aside(self, tenant_id: TenantId | None, limit: int) -> list[Owed]:
        """List what was set aside."""

        def read(db: sqlite3.Connection) -> list[Owed]:
            documents = reads.aside(self._rows(db), tenant_id, limit)
            return [Owed(one, reporting.set_aside(one)) for one in documents]

        return self._file.read(read)

    def owe_again(self, tenant_id: TenantId | None, *, now: datetime) -> int:
        """Have what was set aside sent once more, in one commit."""
        with self._writing() as rows:
            return reporting.owe_again(rows, reads.aside(rows, tenant_id, -1), now)

    # Privacy

    def about(
        self,
        tenant_id: TenantId,
        *,
        recipients: Collection[str] = (),
        identities: Collection[tuple[str, str]] = (),
    ) -> About:
        """Find all that names a person; reads everything."""
        return self._file.read(lambda db: reads.about(db, tenant_id, {*recipients}, {*identities}))

    def erase(
        self,
        tenant_id: TenantId,
        *,
        entries: Iterable[Key],
        inbound: Iterable[Key],
        recipients: Collection[str],
        words: Collection[str],
        note: Note,
    ) -> Erased:
        """Replace documents by tombstones, in one commit; what they held is overwritten."""
        with self._writing() as rows:
            erased = erasing.erase(
                rows,
                tenant_id,
                entries=entries,
                inbound=inbound,
                recipients=recipients,
                words=words,
                note=note,
            )
        self._file.rewrite()
        if not self._file.fold(wait=True):
            raise LedgerUnavailable(
                "The ledger's log is being read and still holds what was erased; erase again."
            )
        return erased

    # Chores

    def add_chores(self, names: Iterable[str], *, due_at: datetime) -> None:
        """Write chores that are new."""
        rows = [(name, ms(due_at)) for name in names]
        if rows:
            with self._file.writing() as db:
                db.executemany("INSERT OR IGNORE INTO chores (name, due_at) VALUES (?, ?)", rows)

    def take_chore(self, kind: str, *, now: datetime, until: datetime) -> Chore | None:
        """Take a chore; where none is due the file is only read."""
        if self._file.read(lambda db: reads.due_chore(db, kind, now)) is None:
            return None
        with self._file.writing() as db:
            chore = reads.due_chore(db, kind, now)
            if chore is not None:
                db.execute("UPDATE chores SET due_at = ? WHERE name = ?", (ms(until), chore.name))
            return chore

    def end_chore(self, name: str, *, due_at: datetime, mark: str | None) -> None:
        """Write when a chore is due next."""
        with self._file.writing() as db:
            sql = "UPDATE chores SET due_at = ?, mark = ? WHERE name = ?"
            db.execute(sql, (ms(due_at), mark, name))

    def drop_chores(self, names: Iterable[str]) -> None:
        """Remove chores."""
        with self._file.writing() as db:
            db.executemany("DELETE FROM chores WHERE name = ?", [(name,) for name in names])

    # Strays

    def keep_strays(self, strays: Sequence[Stray]) -> None:
        """Write receipts that belong to nothing, in one commit."""
        if not strays:
            return
        with self._file.writing() as db:
            for stray in strays:
                known = reads.stray(db, stray)
                merged = known and msgspec.structs.replace(
                    stray, first_at=known.first_at, times=known.times + stray.times
                )
                values = (stray.sid, stray.tenant_id, ms(stray.last_at), encode(merged or stray))
                sql = (
                    "INSERT OR REPLACE INTO strays (sid, tenant, last_at, data) VALUES (?, ?, ?, ?)"
                )
                db.execute(sql, values)

    def strays(self, limit: int) -> list[Stray]:
        """List them, latest heard first."""
        return self._file.read(lambda db: reads.strays(db, limit))
