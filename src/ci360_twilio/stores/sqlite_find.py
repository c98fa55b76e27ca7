"""How entries of a SQLite ledger are found, and counted.

Few traits tell what there is at all. Those that fit what is asked are found among them; the newest
entries of each stand side by side in an index::

    traits   1 TSK_1 sent      ... 09:58  10:02
             2 TSK_1 failed    ... 09:12           merged: 10:02, 09:58, 09:12, ...
             3 TSK_2 sent      does not fit

So it makes no difference how rare something is, nor how much else there is. Whom
an entry names is looked for in an index that is read as a whole: some 100 ms for a million entries.
What an older process wrote has neither traits nor names yet: it is looked at, too, one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Any

import msgspec

from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Counted, Query
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.sqlite_rows import decode
from ci360_twilio.stores.sqlite_traits import COLUMNS, hash_of
from ci360_twilio.stores.traits import SLOT_MS, Tally, Traits, matches, slots

Place = tuple[int, int]
"""When an entry was created, in milliseconds, and its row; by these they are listed."""

_EVER = (-(2**62), 2**62)
_BY_KEY = (
    "SELECT created_at, id FROM entries WHERE {} = ?"
    " AND +created_at >= ? AND +created_at < ? ORDER BY +created_at DESC, id DESC"
)
_LISTED = (
    "SELECT created_at, id FROM entries WHERE {} created_at >= ? AND created_at < ?"
    " ORDER BY created_at DESC, id DESC"
)
_ALL, _ALIKE, _UNCOUNTED = map(_LISTED.format, ("", "traits = ? AND", "traits IS NULL AND"))
_NEWEST = (
    "SELECT id, (SELECT max(created_at) FROM entries WHERE entries.traits = traits.id"
    " AND created_at >= ? AND created_at < ?) FROM traits WHERE {}"
)
_NAMELESS = _LISTED.format("traits IS NULL AND names IS NULL AND")
# One bound is where it begins; a second one would be compared with a million times.
_NAMING = (
    "SELECT created_at, id FROM entries WHERE instr(names, ?) AND created_at < ?{}"
    " ORDER BY created_at DESC, id DESC"
)
_COUNTS = "FROM counts WHERE slot >= ?1 AND slot < ?2"
_COUNTED = f"SELECT slot - slot % ?3 AS step, traits, sum(entries) {_COUNTS} GROUP BY step, traits"
_TRAITS = f"SELECT id, {COLUMNS} FROM traits WHERE id IN (SELECT traits {_COUNTS})"  # noqa: S608


def find(db: sqlite3.Connection, query: Query) -> list[Entry]:
    """List entries, newest first."""
    rest = msgspec.structs.replace(query, since=None, before=None)  # places are told by times
    with _snapshot(db):
        found = (_read(db, row) for _, row in _places(db, query))
        return list(islice((entry for entry in found if matches(entry, rest)), query.limit))


def count(
    db: sqlite3.Connection,
    since: datetime,
    before: datetime,
    tenant_id: TenantId | None,
    step: timedelta,
) -> list[Counted]:
    """Count entries; see :meth:`ci360_twilio.ports.Counts.counts`."""
    span = slots(since, before)
    times = (span[0] * SLOT_MS, span[1] * SLOT_MS)
    tally = Tally(step)
    with _snapshot(db):
        told = {
            number: tally.number(_traits(*row))
            for number, *row in db.execute(_TRAITS, span)
            if tenant_id in (None, row[0])
        }
        for slot, number, entries in db.execute(_COUNTED, (*span, tally.step)):
            if number in told:
                tally.add(slot, told[number], entries)
        uncounted = (_read(db, row) for _, row in db.execute(_UNCOUNTED, times))
        tally.add_entries(uncounted, since, before, tenant_id)
    return tally.counted()


def _places(db: sqlite3.Connection, query: Query) -> Iterable[Place]:
    """Go through entries, newest first: all that a query asks for, and few others."""
    span = (
        _EVER[0] if query.since is None else ms(query.since),
        _EVER[1] if query.before is None else ms(query.before),
    )
    for column, value in (("guid", query.guid), ("sid", query.sid)):
        if value is not None:
            return db.execute(_BY_KEY.format(column), (value, *span))
    for name in (query.recipient, query.identity):
        if name is not None:
            return merge(_naming(db, name, span), db.execute(_NAMELESS, span), reverse=True)
    clauses, values = _clauses(query)
    if not clauses:
        return db.execute(_ALL, span)
    numbers = _numbers(db, clauses, values, span, query.limit)
    alike = [db.execute(_ALIKE, (number, *span)) for number in numbers]
    return merge(*alike, db.execute(_UNCOUNTED, span), reverse=True)


def _naming(db: sqlite3.Connection, name: str, span: Place) -> Iterable[Place]:
    """Go through the entries that may name somebody so, newest first."""
    first, end = span
    if first == _EVER[0]:
        return db.execute(_NAMING.format(""), (hash_of(name), end))
    return db.execute(_NAMING.format(" AND created_at >= ?"), (hash_of(name), end, first))


def _clauses(query: Query) -> tuple[list[str], list[Any]]:
    """Give the conditions on traits and their values."""
    equal = {
        "tenant": query.tenant_id,
        "task": query.task,
        "job": query.job,
        "sender": query.sender,
        "country": query.country,
        "reason": query.reason,
        "error_code": query.error_code,
    }
    clauses = [f"{column} = ?" for column, value in equal.items() if value is not None]
    values = [value for value in equal.values() if value is not None]
    if query.statuses:
        clauses.append(f"status IN ({', '.join('?' * len(query.statuses))})")
        values.extend(sorted(query.statuses))
    return clauses, values


def _numbers(
    db: sqlite3.Connection, clauses: list[str], values: list[Any], span: Place, limit: int
) -> list[int]:
    """Give the traits of the newest entries.

    What is newest stands among as many traits, at the most, as entries are asked for: those whose own
    newest entries are the newest.
    """
    sql = _NEWEST.format(" AND ".join(clauses))  # the clauses are ours, the values are bound
    found = [(at, number) for number, at in db.execute(sql, (*span, *values)) if at is not None]
    found.sort(reverse=True)
    last = found[limit - 1][0] if 0 < limit <= len(found) else _EVER[0]
    return [number for at, number in found if at >= last]


def _read(db: sqlite3.Connection, row: int) -> Entry:
    return decode(db.execute("SELECT data FROM entries WHERE id = ?", (row,)).fetchone()[0])


def _traits(tenant: str, *others: Any) -> Traits:
    task, job, sender, country, status, reason, error_code = others
    values = (task, job, sender, country, Status(status), reason, error_code)
    return Traits(TenantId(tenant), *values)


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """See one moment of the ledger in several statements: numbers of traits are given again."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")
