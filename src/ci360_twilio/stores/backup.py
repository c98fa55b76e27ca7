"""Back up, restore and check a SQLite ledger, also while it is in use."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from ci360_twilio.core.entry import Entry
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import SCHEMA


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`check` found; a sound ledger has no ``problems``."""

    entries: int
    tombstones: int
    schema: int
    problems: tuple[str, ...]


def backup(ledger: Path, target: Path) -> None:
    """Copy a ledger, consistently and while it is in use, to a new file that only its owner reads.

    Raises:
        LedgerUnavailable: the ledger cannot be read, or the target exists or cannot be written.
    """
    _require(ledger)
    with _reported(), closing(_open(ledger)) as source, closing(_create(target)) as copy:
        source.backup(copy)


def restore(source: Path, ledger: Path, *, hash_key: bytes, now: datetime) -> Path | None:
    """Put a backup in a ledger's place, also under processes that have it open.

    The restored ledger sends nothing until it is resumed. What was under way in it is ``unknown``
    from then on, and a new event generated before ``now`` will be ``held``.

    Returns:
        Where the ledger as it was has been kept, if there was one.

    Raises:
        LedgerUnusable: the backup is damaged or no ledger.
        LedgerUnavailable: a file cannot be read or written.
    """
    _require(source)
    findings = check(source)
    if findings.problems:
        raise LedgerUnusable(f"The backup cannot be used: {findings.problems[0]}.")
    staged = ledger.with_name(f"{ledger.name}.restoring")
    staged.unlink(missing_ok=True)
    kept = ledger.with_name(f"{ledger.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
    had_one = ledger.exists()
    if had_one:
        backup(ledger, kept)
    ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        backup(source, staged)
        store = SqliteStore(staged, hash_key=hash_key)
        store.mark_restored(now)
        store.close()
        SqliteStore(ledger, hash_key=hash_key).close()
        # One step of SQLite's backup holds the write lock from its first page to its last, so
        # that no process sees the restored entries without the marks.
        with _reported(), closing(_open(staged)) as copy, closing(sqlite3.connect(ledger)) as live:
            copy.backup(live)
    finally:
        for leftover in (staged, *_beside(staged)):
            leftover.unlink(missing_ok=True)
    return kept if had_one else None


def check(ledger: Path) -> Findings:
    """Look through a whole ledger: the file's pages, its schema, and every entry in it.

    Raises:
        LedgerUnavailable: there is no such file, or it cannot be read.
    """
    _require(ledger)
    problems: list[str] = []
    try:
        with closing(_open(ledger)) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                return Findings(
                    entries=0, tombstones=0, schema=0, problems=("the file holds no ledger",)
                )
            if version > SCHEMA:
                problems.append(f"its schema {version} is newer than this version knows ({SCHEMA})")
            pages = [row[0] for row in db.execute("PRAGMA integrity_check(5)")]
            problems.extend(page for page in pages if page != "ok")
            entries, broken = _decode_all(db)
            if broken:
                problems.append(f"{broken} entries cannot be read")
            tombstones = db.execute("SELECT count(*) FROM tombstones").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        name = getattr(exc, "sqlite_errorname", "SQLITE_ERROR")
        words = f"the file is damaged or no ledger ({name})"
        return Findings(entries=0, tombstones=0, schema=0, problems=(words,))
    return Findings(
        entries=entries, tombstones=tombstones, schema=version, problems=tuple(problems)
    )


def _decode_all(db: sqlite3.Connection) -> tuple[int, int]:
    decode = msgspec.json.Decoder(Entry).decode
    entries = broken = 0
    for guid, tenant, status, data in db.execute("SELECT guid, tenant, status, data FROM entries"):
        entries += 1
        try:
            entry = decode(data)
            sound = (entry.guid, entry.tenant_id, entry.status) == (guid, tenant, status)
        except msgspec.MsgspecError:
            sound = False
        broken += not sound
    return entries, broken


def _require(path: Path) -> None:
    if not path.is_file():
        raise LedgerUnavailable(f"There is no ledger at {path}.")


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _create(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise LedgerUnavailable(f"{path} is already there; name another file.") from None
    except OSError as exc:
        raise LedgerUnavailable(f"{path} cannot be written: {exc.strerror}.") from exc
    return sqlite3.connect(path)


def _beside(path: Path) -> list[Path]:
    return [
        path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm", "-journal", "-turn")
    ]


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "SQLITE_ERROR")
        raise LedgerUnavailable(f"The ledger's file cannot be copied ({name}).") from exc
