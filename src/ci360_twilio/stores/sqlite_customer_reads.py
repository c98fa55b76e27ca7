"""What is asked of a SQLite ledger about customers, reports and chores."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import msgspec

from ci360_twilio.core.consent import Consent, put_off
from ci360_twilio.core.entry import Entry
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.seal import is_intact
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import (
    About,
    Chore,
    Conversation,
    InboundQuery,
    Owing,
    Stray,
    Verified,
)
from ci360_twilio.stores.columns import DAY_MS, ms
from ci360_twilio.stores.sqlite_rows import SELECT, SqliteRows, decode
from ci360_twilio.stores.sqlite_wishes import decode_consent, decode_inbound, encode
from ci360_twilio.stores.talking import answers, names

_LONGEST_MEMORY = 400
"""Days that are looked back for what a customer answers."""
_decode_stray = msgspec.json.Decoder(Stray).decode

# The tenants in an index, each found from the one before.
_OWING = """
    WITH RECURSIVE found (tenant) AS (
        SELECT min(tenant) FROM {0} WHERE report_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(tenant) FROM {0} WHERE report_at IS NOT NULL AND tenant > found.tenant)
        FROM found WHERE found.tenant IS NOT NULL
    )
    SELECT tenant FROM found WHERE tenant IS NOT NULL AND EXISTS (
        SELECT 1 FROM {0} AS one WHERE one.tenant = found.tenant AND one.report_at <= ?
    )
"""
_CONVERSATION = (
    f"SELECT data FROM entries WHERE created_at / {DAY_MS} = ? AND recipient = ? AND tenant = ?"  # noqa: S608
    " ORDER BY created_at DESC, id DESC"
)
_OLDEST = "SELECT created_at FROM entries ORDER BY created_at LIMIT 1"
_NEWEST = "SELECT created_at FROM entries ORDER BY created_at DESC LIMIT 1"


def conversation(db: sqlite3.Connection, asked: Conversation) -> Entry | None:
    """Find the latest entry between two numbers, day by day: the index of recipients is one of days."""
    span = [db.execute(sql).fetchone() for sql in (_NEWEST, _OLDEST)]
    if span[0] is None:
        return None
    newest, oldest = span[0][0] // DAY_MS, span[1][0] // DAY_MS
    for day in range(newest, max(oldest, newest - _LONGEST_MEMORY) - 1, -1):
        for (data,) in db.execute(_CONVERSATION, (day, asked.customer, asked.tenant_id)):
            entry = decode(data)
            if answers(asked, entry):
                return entry
    return None


def find_inbound(db: sqlite3.Connection, query: InboundQuery) -> list[Inbound]:
    """List inbound messages, latest heard first."""
    equal = {"tenant": query.tenant_id, "sid": query.sid, "customer": query.customer}
    named = {column: value for column, value in equal.items() if value is not None}
    where = " AND ".join(["1", *(f"{column} = ?" for column in named)])
    sql = f"SELECT data FROM inbound WHERE {where} ORDER BY heard_at DESC, id DESC LIMIT ?"  # noqa: S608
    return [decode_inbound(data) for (data,) in db.execute(sql, (*named.values(), query.limit))]


def key_check(db: sqlite3.Connection) -> str | None:
    """Give what tells the ledger's hash key from others, once that is written."""
    found = db.execute("SELECT value FROM state WHERE name = 'key_check'").fetchone()
    return found[0] if found else None


def has_undated(db: sqlite3.Connection, now: datetime) -> bool:
    """Tell whether a consent hangs on dates that should be asked for now."""
    sql = "SELECT 1 FROM consents WHERE ask_at <= ? LIMIT 1"
    return db.execute(sql, (ms(now),)).fetchone() is not None


def take_undated(db: sqlite3.Connection, now: datetime, limit: int) -> list[Consent]:
    """Take consents that hang on dates."""
    sql = "SELECT id, data FROM consents WHERE ask_at <= ? ORDER BY ask_at LIMIT ?"
    taken = []
    for row, data in db.execute(sql, (ms(now), limit)).fetchall():
        consent = put_off(decode_consent(data), now)
        values = (consent.ask_at and ms(consent.ask_at), encode(consent), row)
        db.execute("UPDATE consents SET ask_at = ?, data = ? WHERE id = ?", values)
        taken.append(consent)
    return taken


def list_consents(
    db: sqlite3.Connection,
    tenant_id: TenantId,
    states: Collection[str],
    after: int,
    limit: int,
) -> tuple[list[Consent], int | None]:
    """List a page of a tenant's consents."""
    values: list[Any] = [after, tenant_id, *sorted(states)]
    among = f" AND state IN ({', '.join('?' * len(states))})" if states else ""
    sql = f"SELECT id, data FROM consents WHERE id > ? AND tenant = ?{among} ORDER BY id LIMIT ?"  # noqa: S608
    rows = db.execute(sql, (*values, limit)).fetchall()
    found = [decode_consent(data) for _, data in rows]
    return found, rows[-1][0] if len(rows) == limit else None


def verify_consents(db: sqlite3.Connection, key: bytes, after: int, limit: int) -> Verified:
    """Check a page of all consents against their seals."""
    sql = "SELECT id, tenant, state, subject, data FROM consents WHERE id > ? ORDER BY id LIMIT ?"
    rows = db.execute(sql, (after, limit)).fetchall()
    broken = []
    for _, tenant, state, hashed, data in rows:
        consent = decode_consent(data)
        sound = (tenant, state) == (consent.tenant_id, consent.state)
        if not sound or not is_intact(consent, hashed, key):
            broken.append(f"{tenant}/{hashed.hex()}")
    return Verified(len(rows), tuple(broken), rows[-1][0] if len(rows) == limit else None)


def owing(db: sqlite3.Connection, now: datetime, most: int) -> list[Owing]:
    """List tenants of whom something is due to be told."""
    found: Counter[TenantId] = Counter()
    for table in ("entries", "inbound"):
        for (tenant,) in db.execute(_OWING.format(table), (ms(now),)).fetchall():
            found[tenant] += _count_due(db, table, tenant, now, most)
    return [Owing(tenant, min(found[tenant], most)) for tenant in sorted(found)]


def _count_due(
    db: sqlite3.Connection, table: str, tenant: TenantId, now: datetime, most: int
) -> int:
    sql = (
        f"SELECT count(*) FROM (SELECT 1 FROM {table}"  # noqa: S608 - the names are ours
        " WHERE tenant = ? AND report_at <= ? LIMIT ?)"
    )
    return int(db.execute(sql, (tenant, ms(now), most)).fetchone()[0])


def aside(rows: SqliteRows, tenant_id: TenantId | None, limit: int) -> list[Entry | Inbound]:
    """List documents with reports that were set aside."""
    mine, values = ("AND tenant = ?", (tenant_id,)) if tenant_id else ("", ())
    where = f"WHERE aside IS NOT NULL {mine} ORDER BY tenant, id LIMIT ?"
    found: list[Entry | Inbound] = []
    found += rows.entries(f"{SELECT}{where}", (*values, limit))
    found += rows.letters(f"SELECT id, data FROM inbound {where}", (*values, limit))  # noqa: S608
    return found if limit < 0 else found[:limit]


def about(
    db: sqlite3.Connection,
    tenant_id: TenantId,
    people: set[str],
    identities: set[tuple[str, str]],
) -> About:
    """Find all that names a person, by looking through everything that the tenant has."""
    words = [*people, *(value for _, value in identities)]
    if not words:
        return About([], [], [])
    like = " OR ".join(["instr(data, ?)"] * len(words))
    values = (tenant_id, *(word.encode() for word in map(_escaped, words)))

    def read(table: str) -> list[bytes]:
        sql = f"SELECT data FROM {table} WHERE tenant = ? AND ({like}) ORDER BY id"  # noqa: S608
        return [data for (data,) in db.execute(sql, values)]

    entries = [decode(data) for data in read("entries")]
    letters = [decode_inbound(data) for data in read("inbound")]
    marks = ", ".join("?" * len(people)) or "NULL"
    sql = f"SELECT data FROM consents WHERE tenant = ? AND recipient IN ({marks}) ORDER BY id"  # noqa: S608
    consents = [decode_consent(data) for (data,) in db.execute(sql, (tenant_id, *people))]
    return About(
        [one for one in entries if names(one, tenant_id, people, identities)],
        [one for one in letters if names(one, tenant_id, people, identities)],
        consents,
    )


def _escaped(word: str) -> str:
    """Write a word as it stands within JSON."""
    return msgspec.json.encode(word).decode()[1:-1]


def due_chore(db: sqlite3.Connection, kind: str, now: datetime) -> Chore | None:
    """Find the chore of a kind that has been due longest."""
    sql = (
        "SELECT name, mark FROM chores WHERE name >= ? AND name < ? AND due_at <= ?"
        " ORDER BY due_at, name LIMIT 1"
    )
    found = db.execute(sql, (f"{kind}:", f"{kind};", ms(now))).fetchone()
    return Chore(*found) if found else None


def stray(db: sqlite3.Connection, like: Stray) -> Stray | None:
    """Find what was kept of a message."""
    sql = "SELECT data FROM strays WHERE sid = ? AND tenant = ?"
    found = db.execute(sql, (like.sid, like.tenant_id)).fetchone()
    return _decode_stray(found[0]) if found else None


def strays(db: sqlite3.Connection, limit: int) -> list[Stray]:
    """List what was kept, latest heard first."""
    sql = "SELECT data FROM strays ORDER BY last_at DESC LIMIT ?"
    return [_decode_stray(data) for (data,) in db.execute(sql, (limit,))]


def counts(db: sqlite3.Connection) -> dict[str, Any]:
    """Count what a summary says of reports, reviews and strays."""
    owed = [
        db.execute(
            f"SELECT count(*), min(report_at) FROM {table} WHERE report_at IS NOT NULL"  # noqa: S608
        ).fetchone()
        for table in ("entries", "inbound")
    ]
    oldest = min((at for _, at in owed if at is not None), default=None)

    def number(sql: str) -> int:
        return int(db.execute(sql).fetchone()[0])

    return {
        "owed": sum(count for count, _ in owed),
        "oldest_owed_at": None if oldest is None else datetime.fromtimestamp(oldest / 1000, UTC),
        "aside": number("SELECT count(*) FROM entries WHERE aside IS NOT NULL")
        + number("SELECT count(*) FROM inbound WHERE aside IS NOT NULL"),
        "review": number(
            "SELECT count(*) FROM consents WHERE state = 'review' AND recipient IS NOT NULL"
        ),
        "strays": number("SELECT count(*) FROM strays"),
    }
