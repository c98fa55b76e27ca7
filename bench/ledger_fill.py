"""A large ledger, made fast: the store's own schema and columns, loaded before the indexes.

Most entries have reached their end. The others wait for one operation each, at a moment of its own,
so that none is in another's way: see :class:`Moments`.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.event import SENDER
from bench.product import HASH_KEY
from ci360_twilio.core.entry import Entry, Status, Step, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.stores.claiming import MOST_PUT_ASIDE
from ci360_twilio.stores.columns import Columns, columns_of, ms, recipient_of
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_traits import SqliteTraits, hashes_of
from ci360_twilio.stores.traits import slot_of, traits_of

TENANT = TenantId("bench0a1b2c3d4e5f6071829")
PAUSED_TASK = "TSK_PAUSED"
PACED_SENDER = "+19085550101"
FULL = Rate("bench", 1_000_000.0)
EMPTY = Rate("bench", 0.00001)
"""Yields a segment in a day, so that whoever asks twice finds nothing."""
SWEEPS = 10

_NAMES = (
    "id",
    "tenant",
    "guid",
    "created_at",
    "recipient",
    "data",
    "traits",
    "names",
    *Columns._fields,
)
_INSERT = f"INSERT INTO entries ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608
BODY = "Hello Robin, your appointment is tomorrow at 10:30. Reply C to confirm."
_encode = msgspec.json.Encoder().encode


class Moments(NamedTuple):
    """When what is asked for; whatever comes earlier is not disturbed by what comes later."""

    begin: datetime
    """What is behind the pause and in the queue is there."""
    look: datetime
    claim: datetime
    sweep: datetime
    purge: datetime


class Shares(NamedTuple):
    """How many entries wait for what."""

    due: int
    looked: int
    parked: int
    parked_over: int
    """Behind the pause, too, and soon over time: what leaves first when the pause ends."""
    queued: int
    queued_over: int
    sent: int
    purged: int


def moments(begin: datetime) -> Moments:
    """Give the moments of a ledger that was made then."""
    return Moments(begin, *(begin + timedelta(hours=hour) for hour in (1, 2, 3, 4)))


def shares(size: int) -> Shares:
    """Give each operation a tenth of the entries to work behind, and enough for all its calls."""
    tenth = size // 10
    return Shares(
        due=max(tenth, 1_400),
        looked=640,
        parked=max(tenth, 1_000),
        parked_over=640 + SWEEPS * MOST_PUT_ASIDE,
        queued=max(tenth, 1_000),
        queued_over=SWEEPS * MOST_PUT_ASIDE,
        sent=size // 50,
        purged=500,
    )


def pause_at(moment: datetime) -> Pause:
    """Give the pause behind which entries wait."""
    return Pause(
        scope=Scope.TASK,
        tenant_id=TENANT,
        value=PAUSED_TASK,
        cause=Cause.PERSON,
        reason="paused",
        since=moment,
    )


def guid_of(number: int) -> str:
    """Give the guid of an entry; their order looks random, as that of real ones does."""
    text = token_of("guid", number)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def correlation_of(number: int) -> str:
    """Give its correlation id."""
    return token_of("correlation", number)


def sid_of(number: int) -> str:
    """Give its SID."""
    return f"SM{token_of('sid', number)}"


def token_of(kind: str, number: int) -> str:
    """Give what looks random, and is the same each time."""
    return hashlib.blake2b(f"{kind} {number}".encode(), digest_size=16).hexdigest()


def fill(path: Path, size: int, begin: datetime) -> None:
    """Make a ledger of ``size`` entries to work on."""
    load(path, entries(size, begin), begin)


def load(path: Path, made: Iterable[Entry], begin: datetime) -> None:
    """Make a ledger of entries, with a pause."""
    store = SqliteStore(path, hash_key=HASH_KEY)
    store.pause(pause_at(begin))
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -256000")
        sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'entries'"
        indexes = [row for row in db.execute(sql).fetchall() if row[1]]
        db.execute("BEGIN IMMEDIATE")
        for name, _ in indexes:
            db.execute(f'DROP INDEX "{name}"')
        traits = SqliteTraits(db)
        db.executemany(_INSERT, _rows(traits, made))
        traits.settle()
        for _, statement in indexes:
            db.execute(statement)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb") as file:
        os.fsync(file.fileno())  # or the first commit would wait for all of it


def _rows(traits: SqliteTraits, made: Iterable[Entry]) -> Iterator[tuple[Any, ...]]:
    for row, entry in enumerate(made, start=1):
        number = traits.number(traits_of(entry))
        traits.count(slot_of(entry.created_at), number)
        about = (row, entry.tenant_id, entry.guid, ms(entry.created_at), recipient_of(entry))
        yield (*about, _encode(entry), number, hashes_of(entry), *columns_of(entry))


def entries(size: int, begin: datetime) -> Iterator[Entry]:
    """Yield entries, oldest first: what has reached its end, then what waits."""
    between, at = timedelta(days=1) / size, begin - timedelta(days=2)
    number = 0
    for count, like in _groups(size, begin):
        for _ in range(count):
            yield _entry(number, at + number * between, like)
            number += 1


def _groups(size: int, begin: datetime) -> list[tuple[int, Entry]]:
    """Give how many entries are made, and like what."""
    share, when, next_day = shares(size), moments(begin), begin + timedelta(days=1)
    waiting = [
        (share.sent, _sent(begin)),
        (share.looked, _like(begin, Status.UNKNOWN, attempts=1, due_at=when.look)),
        (share.parked, _parked(begin, next_day)),
        (share.parked_over, _parked(begin, when.sweep)),
        (share.queued, _queued(begin, next_day)),
        (share.queued_over, _queued(begin, when.sweep)),
        (share.due, _like(begin, Status.ACCEPTED, due_at=when.claim)),
    ]
    finished = size - share.purged - sum(count for count, _ in waiting)
    over = msgspec.structs.replace(_delivered(begin), purge_at=when.purge)
    return [(share.purged, over), (finished, _delivered(begin)), *waiting]


def _entry(number: int, at: datetime, like: Entry) -> Entry:
    guid, message = guid_of(number), like.message
    to = f"+1{201 + number // 10_000 % 700}555{number % 10_000:04}"
    return msgspec.structs.replace(
        like,
        key=key_of(TENANT, guid),
        guid=guid,
        created_at=at,
        generated_at=at,
        message=message and msgspec.structs.replace(message, to=to),
        correlation=correlation_of(number) if like.attempts else None,
        sid=sid_of(number) if like.provider_status else None,
    )


def _delivered(begin: datetime) -> Entry:
    return _like(begin, Status.DELIVERED, attempts=1, provider_status="delivered")


def _sent(begin: datetime) -> Entry:
    later = begin + timedelta(hours=12)
    return _like(begin, Status.SENT, attempts=1, provider_status="sent", due_at=later)


def _parked(begin: datetime, until: datetime) -> Entry:
    place = pause_at(begin).place
    return _like(begin, task=PAUSED_TASK, place=place, reason="paused", expires_at=until)


def _queued(begin: datetime, until: datetime) -> Entry:
    place = FULL.place
    return _like(begin, sender=PACED_SENDER, place=place, reason="sender_rate", expires_at=until)


def _like(
    begin: datetime,
    status: Status = Status.ACCEPTED,
    *,
    task: str = "TSK_9001",
    sender: str = SENDER,
    **members: Any,
) -> Entry:
    """Give what the entries of a group have in common."""
    steps = [("accept", "accepted")]
    if status is not Status.ACCEPTED:
        steps += [("send", "sent"), ("settle", str(status))]
    common: dict[str, Any] = {
        "due_at": begin,
        "expires_at": begin + timedelta(days=1),
        "purge_at": begin + timedelta(days=90),
    }
    return Entry(
        key=key_of(TENANT, ""),
        tenant_id=TENANT,
        guid="",
        status=status,
        created_at=begin,
        started_at=begin if status is not Status.ACCEPTED else None,
        message=Message(to="", sender=sender, body=BODY),
        origin=Origin(task_code=task, identities={"datahub_id": token_of("identity", 0)}),
        history=tuple(Step(at=begin, step=step, decision=end) for step, end in steps),
        **common | members,
    )
