"""What a store repeats of an entry beside it, to search by; every store searches by the same."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ci360_twilio.core.due import Work, due
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.report import Report, next_due

DAY_MS = 86_400_000
UNCOUNTED = (Status.REFUSED, Status.SUPPRESSED, Status.EXPIRED, Status.CANCELED)
"""Statuses of messages that nobody has had, as far as a limit by recipient goes."""


class Columns(NamedTuple):
    """What an entry is searched by. Times are milliseconds since 1970."""

    status: Status
    work: Work
    due_at: int
    sid: str | None
    correlation: str | None
    place: str | None
    """Where it waits, if it does."""
    lane: int | None
    """In its place: 0 where it is single, 1 where it belongs to an audience's file."""
    ends_at: int | None
    """Of what is paced its deadline, of what may be asked for the time of its deletion."""
    report_at: int | None
    """When the first report that it owes is due."""
    aside: int | None
    """How many of its reports were set aside, if any."""


def columns_of(entry: Entry) -> Columns:
    """Give what an entry is searched by."""
    work, at = due(entry)
    place = lane = ends = None
    if work is Work.PACED or work is Work.PARKED:
        place, lane = entry.place, int(entry.bulk)
    if work is Work.PACED:
        ends = ms(entry.deadline)
    elif work is Work.FETCH:
        ends = ms(entry.purge_at)
    owed = (report_at(entry.reports), count_aside(entry.reports)) if entry.reports else _NOTHING
    return Columns(
        entry.status, work, ms(at), entry.sid, entry.correlation, place, lane, ends, *owed
    )


_NOTHING = (None, None)


def report_at(reports: tuple[Report, ...]) -> int | None:
    """Give when the first of those reports is due that are still owed."""
    due_at = next_due(reports)
    return None if due_at is None else ms(due_at)


def count_aside(reports: tuple[Report, ...]) -> int | None:
    """Count the reports that were set aside, if any were."""
    return sum(one.aside is not None for one in reports) or None


def recipient_of(entry: Entry) -> str | None:
    """Give the recipient for whom a new entry counts, if it counts for one."""
    return entry.message.to if entry.message and entry.status not in UNCOUNTED else None


def ms(moment: datetime) -> int:
    """Give a moment in milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def by_age(pause: Pause) -> tuple[datetime, str]:
    """Give what pauses are sorted by: the oldest first."""
    return pause.since, pause.name
