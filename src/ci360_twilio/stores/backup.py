"""Back up, restore and check a SQLite ledger, also while it is in use."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, key_of
from ci360_twilio.core.inbound import inbound_key
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.stores.columns import columns_of
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import APPLICATION_ID, SCHEMA, SqliteFile, is_busy, unavailable
from ci360_twilio.stores.sqlite_wishes import (
    consent_row,
    decode_consent,
    decode_inbound,
    inbound_row,
)
from ci360_twilio.stores.tombstone import tombstone

T = TypeVar("T")


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`check` found; a sound ledger has no ``problems``."""

    entries: int
    tombstones: int
    schema: int
    problems: tuple[str, ...]


class Kept(NamedTuple):
    """The ledger as it was before a restore."""

    path: Path
    is_carried_over: bool
    """Whether what must not be undone was taken over from it; not from a damaged one."""


def backup(ledger: Path, target: Path) -> None:
    """Copy a ledger, consistently and while it is in use, to a new file that only its owner reads.

    Raises:
        LedgerUnavailable: the ledger cannot be read, or the target exists or cannot be written.
    """
    _require(ledger)
    with _reported(), closing(_open(ledger, "mode=ro")) as source, _new(target) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, readable where nothing is writable


def restore(source: Path, ledger: Path, *, hash_key: bytes, now: datetime) -> Kept | None:
    """Put a backup's content in a ledger's place, also under processes that have it open.

    The restored ledger sends nothing until it is resumed. What was under way in it is ``unknown``
    from then on, and a new event generated before ``now`` will be ``held``. What must not be undone is
    carried over from the ledger that was there, if it can be read: what customers wrote and wish,
    erasures, the audit.

    Returns:
        The ledger as it was, if there was one.

    Raises:
        LedgerUnusable: the backup is damaged or no ledger.
        LedgerUnavailable: a file cannot be read or written.
    """
    findings = check(source)
    if findings.problems:
        raise LedgerUnusable(f"The backup cannot be used: {findings.problems[0]}.")
    staged = ledger.with_name(f"{ledger.name}.restoring")
    try:
        ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = _free_name(ledger.with_name(f"{ledger.name}.before-restore-{now:%Y%m%dT%H%M%SZ}"))
        _remove(staged)
        backup(source, staged)
        with closing(SqliteStore(staged, hash_key=hash_key)) as store:
            store.mark_restored(now)
        if not ledger.exists():
            _remove(ledger)  # a WAL without its file belongs to nothing
            staged.replace(ledger)
            return None
        if check(ledger).problems:
            _swap_damaged(staged, ledger, kept)
            return Kept(kept, is_carried_over=False)
        _swap(staged, ledger, kept, hash_key)
        return Kept(kept, is_carried_over=True)
    except OSError as exc:
        raise LedgerUnavailable(f"A file cannot be read or written: {exc.strerror}.") from exc
    finally:
        with suppress(OSError):
            _remove(staged)


def _swap(staged: Path, ledger: Path, kept: Path, hash_key: bytes) -> None:
    """Keep the ledger as it is and replace its content, while nobody else can write.

    Both happen under one write lock, so that every event that was answered is in one of the two.
    """
    file = SqliteFile(ledger)
    try:
        with file.writing(attached=staged) as db:
            backup(ledger, kept)
            _carry_over(db, hash_key)
            for table in _TABLES:
                db.execute(f"DELETE FROM main.{table}")  # noqa: S608 - the names are ours
                db.execute(f"INSERT INTO main.{table} SELECT * FROM attached.{table}")  # noqa: S608
    finally:
        file.close()


def _carry_over(db: sqlite3.Connection, hash_key: bytes) -> None:
    """Write into the attached ledger what must not be undone of the main one.

    What customers wrote and wish, as it is known now, and how far Twilio's lists were read and bulk jobs have come; what was
    erased, or deleted in its time, is deleted there, too; the audit's lines, in place of the same ones
    that may hold a text which was taken from them since.
    """
    db.create_function(
        "is_entry", 2, lambda tenant, guid: tombstone(key_of(tenant, guid), hash_key)
    )
    db.create_function(
        "is_text", 2, lambda tenant, sid: tombstone(inbound_key(tenant, sid), hash_key)
    )
    for statement in _CARRY:
        db.execute(statement)


_ACTION = "json_extract(CAST({}.data AS TEXT), '$.action')"
_KEPT_LINES = (
    "DELETE FROM attached.audit WHERE EXISTS (SELECT 1 FROM main.audit AS kept WHERE"  # noqa: S608
    f" kept.at = audit.at AND {_ACTION.format('kept')} = {_ACTION.format('audit')})"
)
_UNUSED_TRAITS = (
    "DELETE FROM attached.traits WHERE NOT EXISTS"
    " (SELECT 1 FROM attached.entries WHERE entries.traits = traits.id)"
)
_CARRY = (
    *(
        f"INSERT OR REPLACE INTO attached.{table} ({columns}) SELECT {columns} FROM main.{table}"  # noqa: S608
        for table, columns in (
            ("consents", "subject, tenant, state, recipient, ask_at, data"),
            ("inbound", "tenant, sid, customer, heard_at, purge_at, report_at, aside, data"),
            ("chores", "name, due_at, mark"),
            ("jobs", "key, tenant, created_at, is_open, version, data"),
        )
    ),
    "DELETE FROM attached.entries WHERE is_entry(tenant, guid) IN (SELECT hash FROM main.tombstones)",
    _UNUSED_TRAITS,
    "DELETE FROM attached.inbound WHERE is_text(tenant, sid) IN (SELECT hash FROM main.tombstones)",
    "INSERT OR IGNORE INTO attached.tombstones SELECT hash FROM main.tombstones",
    _KEPT_LINES,
    "INSERT INTO attached.audit (at, data) SELECT at, data FROM main.audit ORDER BY id",
)


def _swap_damaged(staged: Path, ledger: Path, kept: Path) -> None:
    """Put a file in a damaged one's place; nothing can be read from that, so it is kept as it is."""
    for suffix in _SUFFIXES:
        part = ledger.with_name(f"{ledger.name}{suffix}")
        if part.exists():
            part.replace(kept.with_name(f"{kept.name}{suffix}"))
    staged.replace(ledger)


def check(ledger: Path) -> Findings:
    """Look through a whole ledger: the file's pages, its schema, and every document in it.

    Raises:
        LedgerUnavailable: there is no such file, or it cannot be read.
    """
    _require(ledger)
    if not ledger.with_name(f"{ledger.name}-wal").exists():
        found = _look(ledger, "immutable=1")  # at rest, nothing is to be left beside it
        if not found.problems:
            return found
    # in use, or somebody began to use it while it was looked at without locks
    return _look(ledger, "mode=ro")


def _look(ledger: Path, mode: str) -> Findings:
    problems: list[str] = []
    try:
        with closing(_open(ledger, mode)) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                words = "the file holds no ledger"
                return Findings(entries=0, tombstones=0, schema=0, problems=(words,))
            if version > SCHEMA:
                problems.append(f"its schema {version} is newer than this version knows ({SCHEMA})")
            pages = [row[0] for row in db.execute("PRAGMA integrity_check(5)")]
            problems.extend(page for page in pages if page != "ok")
            entries, broken = _decode_all(db, version)
            if broken:
                problems.append(f"{broken} entries cannot be read")
            problems.extend(_customers(db) if version > 2 else ())
            tombstones = db.execute("SELECT count(*) FROM tombstones").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        name = getattr(exc, "sqlite_errorname", "SQLITE_ERROR")
        if is_busy(exc) or name.startswith(_OUT_OF_REACH):
            raise unavailable(exc) from exc
        words = f"the file is damaged or no ledger ({name})"
        return Findings(entries=0, tombstones=0, schema=0, problems=(words,))
    return Findings(
        entries=entries, tombstones=tombstones, schema=version, problems=tuple(problems)
    )


def _decode_all(db: sqlite3.Connection, version: int) -> tuple[int, int]:
    decode = msgspec.json.Decoder(Entry).decode
    entries = broken = 0
    newer = "recipient, correlation, place, lane, ends_at" if version > 1 else "NULL" + ", NULL" * 4
    newest = "report_at, aside" if version > 2 else "NULL, NULL"
    columns = f"guid, tenant, data, status, work, due_at, sid, {newer}, {newest}"
    sql = f"SELECT {columns} FROM entries"  # noqa: S608 - the names are ours
    for guid, tenant, data, *repeated in db.execute(sql):
        entries += 1
        try:
            entry = decode(data)
            sound = entry.key == f"{tenant}/{guid}" and _is_repeated(entry, version, *repeated)
            broken += not sound
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            broken += 1
    return entries, broken


def _is_repeated(
    entry: Entry, version: int, status: str, work: str, due_at: int, sid: str | None, *newer: Any
) -> bool:
    """Tell whether a row's columns say what its entry says.

    A process of an older schema writes the older ones only: of an entry that it changed the newer
    ones may tell of what is no more, and of one that it made they tell nothing.
    """
    expected = columns_of(entry)
    if (status, work, due_at, sid) != expected[:4]:
        return False
    if version == 1:
        return True
    recipient, correlation, *waits, report_at, aside = newer
    known = entry.message.to if entry.message else None
    waiting = [*expected[5:8]] if expected.work in (Work.PACED, Work.PARKED, Work.FETCH) else []
    return (
        recipient in (None, known)
        and expected.correlation in (None, correlation)
        and (not waiting or waits == waiting)
        and (not entry.reports or (report_at, aside) == (expected.report_at, expected.aside))
    )


def _customers(db: sqlite3.Connection) -> Iterator[str]:
    """Tell of rows of inbound messages and consents that cannot be read, or contradict themselves."""
    inbound = "tenant, sid, customer, heard_at, purge_at, report_at, aside"
    rows = db.execute(f"SELECT data, {inbound} FROM inbound")  # noqa: S608 - the names are ours
    if broken := sum(not _says(inbound_row, decode_inbound, *row) for row in rows):
        yield f"{broken} inbound messages cannot be read"
    rows = db.execute("SELECT data, tenant, state, recipient, ask_at FROM consents")
    if broken := sum(not _says(consent_row, decode_consent, *row) for row in rows):
        yield f"{broken} consents cannot be read"


def _says(
    row_of: Callable[[T], tuple[Any, ...]],
    decode: Callable[[bytes], T],
    data: bytes,
    *repeated: Any,
) -> bool:
    try:
        return row_of(decode(data))[:-1] == repeated
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return False


_TABLES = (
    *("entries", "tombstones", "state", "pauses", "budgets", "tallies", "audit"),
    *("inbound", "consents", "chores", "strays", "jobs", "traits", "counts"),
)
_OUT_OF_REACH = ("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_PERM")
"""Errors that say nothing of what the file holds."""
_SUFFIXES = ("", "-wal", "-shm", "-journal")


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())


def _require(path: Path) -> None:
    try:
        found = path.is_file()
    except OSError as exc:
        raise LedgerUnavailable(f"{path} cannot be looked at: {exc.strerror}.") from exc
    if not found:
        raise LedgerUnavailable(f"There is no ledger at {path}.")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)


@contextmanager
def _new(path: Path) -> Iterator[sqlite3.Connection]:
    """Make a file that only its owner reads; one that could not be filled is removed again."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise LedgerUnavailable(f"{path} is already there; name another file.") from None
    except OSError as exc:
        raise LedgerUnavailable(f"{path} cannot be written: {exc.strerror}.") from exc
    try:
        with closing(sqlite3.connect(path)) as db:
            yield db
    except BaseException:
        _remove(path)
        raise


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise unavailable(exc) from exc
