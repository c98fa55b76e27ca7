"""What the passing of time asks of an entry: what it waits for, since when, and what has overtaken it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from ci360_twilio.core.advance import advance
from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status
from ci360_twilio.core.pace import is_paced_place
from ci360_twilio.core.pause import is_paused_place
from ci360_twilio.core.receipt import is_final

S, K = Status, Kind


MOST_FETCHES = 4
"""How often a message without a final status is asked for; some carriers never give one."""

FIRST_SEARCH, LAST_SEARCH = timedelta(seconds=10), timedelta(hours=1)
"""Between two searches for a message whose SID is not known."""
FIRST_FETCH_AGAIN, LAST_FETCH_AGAIN = timedelta(hours=12), timedelta(days=4)
"""Between two answers about a message whose end is not known."""
SOON = timedelta(minutes=15)
"""When a message's end is asked for once more, where no answer was written down."""


class Work(StrEnum):
    """What an entry waits for; stores index entries by it and by the time."""

    SEND = "send"
    BULK = "bulk"
    """To be sent after what is single."""
    PACED = "paced"
    """To be sent when its sender's budget allows."""
    PARKED = "parked"
    """The end of a pause; or its deadline, which is the time that counts."""
    FIND = "find"
    """What became of it, where the answer was lost."""
    FETCH = "fetch"
    """What became of it, where no final status has come."""
    DECIDE = "decide"
    """A person."""
    PURGE = "purge"


class Due(NamedTuple):
    """What an entry waits for, and since or until when."""

    work: Work
    at: datetime


def due(entry: Entry) -> Due:
    """Tell what an entry waits for, and when it must be looked at again."""
    if entry.status is S.ACCEPTED or entry.status is S.SENDING:
        return _due_to_send(entry)
    if entry.status is S.UNKNOWN:
        return Due(Work.FIND, entry.due_at)
    if entry.status is S.HELD:
        return Due(Work.DECIDE, entry.due_at)
    if entry.status is S.SENT and _may_be_fetched(entry):
        return Due(Work.FETCH, entry.due_at)
    return Due(Work.PURGE, entry.purge_at)


def _due_to_send(entry: Entry) -> Due:
    if entry.lease is not None:
        return Due(Work.SEND, entry.lease.until)
    if is_paused_place(entry.place):
        return Due(Work.PARKED, entry.deadline)
    wanted = max(entry.due_at, entry.not_before) if entry.not_before else entry.due_at
    if is_paced_place(entry.place):
        return Due(Work.PACED, wanted)
    return Due(Work.BULK if entry.bulk else Work.SEND, min(wanted, entry.deadline))


def _may_be_fetched(entry: Entry) -> bool:
    """Tell whether to ask for its end; not of what a version sent that did not note when."""
    if entry.started_at is None and entry.lost_at is None:
        return False
    open_end = not is_final(entry.provider_status) and entry.looks < MOST_FETCHES
    return open_end and entry.due_at < entry.purge_at


def next_look(entry: Entry, now: datetime) -> datetime:
    """Tell when Twilio is asked again about an entry, if it is asked now and nothing comes of it.

    What is unknown is searched for in growing intervals. A message's end is asked for again soon: only
    an answer puts that off, see :func:`next_fetch`.
    """
    if entry.status is S.SENT:
        return now + SOON
    return now + min(FIRST_SEARCH * (1 << min(entry.looks, 20)), LAST_SEARCH)


def next_fetch(entry: Entry, now: datetime) -> datetime:
    """Tell when a message's end is asked for again, after Twilio said that there is none yet."""
    return now + min(FIRST_FETCH_AGAIN * (1 << min(entry.looks, 20)), LAST_FETCH_AGAIN)


def sweep(entry: Entry, now: datetime) -> Entry:
    """Apply what the passing of time alone has done: a lease that ended, an expiry.

    Used when claiming, and when reading an entry that nobody sweeps (the direct Lambda).
    """
    for kind in (K.LEASE_ENDED, K.EXPIRED):
        reason = "lease_ended" if entry.status is S.SENDING else kind.value
        entry = advance(entry, Fact(kind=kind, at=now, reason=reason)) or entry
    return entry


def take(entry: Entry, now: datetime, lease: Lease) -> Entry | None:
    """Give the entry under a lease, or ``None`` where it is not to be sent now or already taken."""
    if entry.status is not S.ACCEPTED or (entry.not_before and entry.not_before > now):
        return None
    return advance(entry, Fact(kind=K.CLAIMED, at=now, lease=lease))


def admit(entry: Entry, restored_at: datetime | None) -> Entry:
    """Hold a new entry whose event may have been sent by the part of a ledger that a restore lost.

    An event without a time of its own counts as older for as long as it could be delivered twice:
    the span in which it would be sent.
    """
    if restored_at is None or entry.status is not Status.ACCEPTED:
        return entry
    span = entry.expires_at - entry.created_at
    made = entry.generated_at or entry.created_at - span
    if made >= restored_at:
        return entry
    fact = Fact(kind=Kind.HELD, at=entry.created_at, reason="older_than_restore")
    return advance(entry, fact) or entry


def purged(entry: Entry) -> Entry:
    """Give what stands for an entry that was deleted, where its event comes again."""
    return msgspec.structs.replace(
        entry, status=Status.EXPIRED, reason="purged", message=None, history=(), repeats=1
    )


def validity(entry: Entry, now: datetime, most: int = 36_000) -> int:
    """Give Twilio's ``ValidityPeriod``: the whole seconds left, 1 to ``most``."""
    left = (entry.deadline - now) // timedelta(seconds=1)
    return max(1, min(most, left))
