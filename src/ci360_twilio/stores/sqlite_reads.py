"""What is asked of a SQLite ledger without changing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.pause import Pause
from ci360_twilio.ports import Mark, Note, Summary, Waiting
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.sqlite_customer_reads import counts
from ci360_twilio.stores.sqlite_file import read_state
from ci360_twilio.stores.sqlite_rows import SELECT, SqliteRows, decode

_TO_SEND = (Work.SEND, Work.BULK, Work.PACED, Work.PARKED)
_WORK: dict[Status, tuple[Work, ...]] = {
    Status.ACCEPTED: _TO_SEND,
    Status.SENDING: (Work.SEND,),
    Status.UNKNOWN: (Work.FIND,),
    Status.HELD: (Work.DECIDE,),
}
"""What entries without an end wait for; they are few, and found by it."""


def _in(works: Iterable[Work]) -> str:
    """Give a condition; the names are ours."""
    names = sorted({f"'{work}'" for work in works})
    return f"work IN ({', '.join(names)})"


_UNFINISHED = _in(work for works in _WORK.values() for work in works)
_UNDER_WAY = f"{SELECT}WHERE {_in(_TO_SEND)} LIMIT ?"
_decode_note = msgspec.json.Decoder(Note).decode


def summary(db: sqlite3.Connection, pauses: list[Pause], now: datetime) -> Summary:
    """Count what is unfinished and due, through the index of both."""
    found = db.execute(
        f"SELECT status, count(*) FROM entries WHERE {_UNFINISHED} GROUP BY status"  # noqa: S608
    ).fetchall()
    due, oldest = db.execute(
        "SELECT count(*), min(due_at) FROM entries WHERE work IN ('send', 'bulk') AND due_at <= ?",
        (ms(now),),
    ).fetchone()
    sql = "SELECT count(*) FROM entries WHERE work IN ('paced', 'parked')"
    state = read_state(db)
    return Summary(
        unfinished={Status(status): count for status, count in found},
        due=due,
        oldest_due_at=None if oldest is None else datetime.fromtimestamp(oldest / 1000, UTC),
        waiting=db.execute(sql).fetchone()[0],
        restored_at=state.restored_at,
        pauses=tuple(pauses),
        outdated=state.outdated,
        **counts(db),
    )


def marked(db: sqlite3.Connection, mark: Mark) -> Entry | None:
    """Find the entry that a receipt belongs to: by correlation id, else by SID."""
    for column, value in (("correlation", mark.correlation), ("sid", mark.sid)):
        if value is not None:
            sql = f"SELECT data FROM entries WHERE {column} = ? AND tenant = ? ORDER BY id LIMIT 1"  # noqa: S608
            if found := db.execute(sql, (value, mark.tenant_id)).fetchone():
                return decode(found[0])
    return None


def has_looks(db: sqlite3.Connection, now: datetime) -> bool:
    """Tell whether there is anything that Twilio should be asked about."""
    sql = "SELECT 1 FROM entries WHERE work IN ('find', 'fetch') AND due_at <= ? LIMIT 1"
    return db.execute(sql, (ms(now),)).fetchone() is not None


def under_way(rows: SqliteRows, limit: int) -> list[Entry]:
    """List what is to be sent, or is being sent, in any order."""
    return rows.entries(_UNDER_WAY, (limit,))


def waiting(db: sqlite3.Connection, now: datetime) -> list[Waiting]:
    """Count what waits, by place."""
    sql = (
        "SELECT place, count(*), sum(due_at <= ?) FROM entries"
        " WHERE work = ? AND place IS NOT NULL GROUP BY place"
    )
    parked = [Waiting(*row) for row in db.execute(sql, (ms(now), Work.PARKED))]
    sql = (
        "SELECT place, count(*) FROM entries WHERE work = ? AND ends_at <= ?"
        " AND place IS NOT NULL GROUP BY place"
    )
    expired = dict(db.execute(sql, (Work.PACED, ms(now))).fetchall())
    sql = "SELECT place, count(*) FROM entries WHERE work = ? AND place IS NOT NULL GROUP BY place"
    found = db.execute(sql, (Work.PACED,)).fetchall()
    paced = [Waiting(place, count, expired.get(place, 0)) for place, count in found]
    return sorted([*parked, *paced])


def notes(db: sqlite3.Connection, limit: int) -> list[Note]:
    """List the audit, newest first."""
    sql = "SELECT data FROM audit ORDER BY id DESC LIMIT ?"
    return [_decode_note(data) for (data,) in db.execute(sql, (limit,))]
