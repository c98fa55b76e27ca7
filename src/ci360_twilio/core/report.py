"""What CI360 is still to be told, and what it has been told: :class:`Report`.

A report is part of the document of what it tells of, and is written with the fact that it reports. It
is owed from then on until CI360 has it, however often it must be sent for that: its key is the same
each time, so that whoever counts can count it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from ci360_twilio.core.retry import Backoff


class Outcome(StrEnum):
    """What a report tells; each is an external event of its own in CI360."""

    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    READ = "read"
    EXPIRED = "expired"
    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    CANCELED = "canceled"
    HELD = "held"
    REPLY = "reply"
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"


QUIET = frozenset({Outcome.SENT, Outcome.READ})
"""Outcomes that are told only where the tenant asks for them."""

BACKOFF = Backoff(1.0, 900.0)
"""Waits between attempts to tell CI360 of one report, in seconds."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One outcome, as CI360 is told of it, with what was known when it came about."""

    outcome: Outcome
    key: str
    """32 hexadecimal digits: what tells a report that comes twice from two reports."""
    at: datetime
    """Of the fact that it reports."""
    due_at: datetime | None
    """When it is sent next; none where it is not owed any more."""
    attempts: int = 0
    sid: str | None = None
    reason: str | None = None
    error_code: int | None = None
    told_at: datetime | None = None
    """When CI360 acknowledged it."""
    aside: str | None = None
    """Why it was set aside: CI360's own words, or a code of ours."""

    @property
    def state(self) -> str:
        """Where it stands, in a word: ``owed``, ``told``, ``aside``, or ``dropped`` as nobody wants it."""
        if self.due_at is not None:
            return "owed"
        if self.told_at is not None:
            return "told"
        return "aside" if self.aside is not None else "dropped"


class Verdict(StrEnum):
    """How an attempt to tell CI360 ended."""

    TOLD = "told"
    AGAIN = "again"
    """CI360 could not be told just now."""
    ASIDE = "aside"
    """CI360 will not have it as it is."""
    DROPPED = "dropped"
    """The tenant does not want this outcome told any more."""


class Answer(NamedTuple):
    """What came of one attempt."""

    verdict: Verdict
    at: datetime
    due_at: datetime | None = None
    """When it is sent again, for ``AGAIN``."""
    words: str | None = None
    """Why it is set aside."""


def report_key(of: str, outcome: Outcome, sid: str | None) -> str:
    """Give the key of a report: it follows from what it tells, so that nothing is told twice."""
    told = f"{of}\n{outcome}\n{sid or ''}".encode(errors="surrogatepass")
    return hashlib.blake2b(told, digest_size=16).hexdigest()


def owe(
    reports: tuple[Report, ...],
    of: str,
    outcome: Outcome,
    at: datetime,
    *,
    sid: str | None = None,
    reason: str | None = None,
    error_code: int | None = None,
) -> tuple[Report, ...]:
    """Add a report that is owed from now on; one that is there already is not owed again.

    Args:
        reports: those that there are.
        of: the key of the document that they belong to.
        outcome: what it tells.
        at: when it came about.
        sid: Twilio's message, where there is one; another message's outcome is another report.
        reason: why, as a code.
        error_code: Twilio's.
    """
    key = report_key(of, outcome, sid)
    if any(report.key == key for report in reports):
        return reports
    fresh = Report(
        outcome=outcome,
        key=key,
        at=at,
        due_at=at,
        sid=sid,
        reason=reason,
        error_code=error_code,
    )
    return (*reports, fresh)


def next_due(reports: Iterable[Report]) -> datetime | None:
    """Tell when the first of those is due that are still owed."""
    return min((one.due_at for one in reports if one.due_at is not None), default=None)


def take_due(
    reports: tuple[Report, ...], now: datetime, until: datetime
) -> tuple[tuple[Report, ...], tuple[Report, ...]]:
    """Take what is due: each is put off, so that nobody else sends it meanwhile.

    Returns:
        The reports as they stand afterwards, and of these the ones that were taken.
    """
    changed = tuple(
        msgspec.structs.replace(one, due_at=until, attempts=one.attempts + 1)
        if one.due_at is not None and one.due_at <= now
        else one
        for one in reports
    )
    taken = (new for old, new in zip(reports, changed, strict=True) if new is not old)
    return changed, tuple(taken)


def answered(reports: tuple[Report, ...], key: str, answer: Answer) -> tuple[Report, ...]:
    """Write down what came of an attempt; an answer to what is not owed any more changes nothing."""
    return tuple(
        _answered(one, answer) if one.key == key and one.due_at is not None else one
        for one in reports
    )


def _answered(report: Report, answer: Answer) -> Report:
    if answer.verdict is Verdict.AGAIN:
        return msgspec.structs.replace(report, due_at=answer.due_at or answer.at)
    told_at = answer.at if answer.verdict is Verdict.TOLD else None
    words = (answer.words or "refused") if answer.verdict is Verdict.ASIDE else None
    return msgspec.structs.replace(report, due_at=None, told_at=told_at, aside=words)


def owed_again(reports: tuple[Report, ...], now: datetime) -> tuple[Report, ...]:
    """Have what was set aside sent once more, as after the event was published in CI360."""
    return tuple(
        msgspec.structs.replace(one, due_at=now, aside=None) if one.aside is not None else one
        for one in reports
    )


def withdrawn(reports: tuple[Report, ...], sid: str | None) -> tuple[Report, ...]:
    """Leave out what is still owed of a message that has turned out to be another's."""
    return tuple(one for one in reports if one.sid != sid or one.told_at is not None)


def wait(report: Report, jitter: float) -> timedelta:
    """Give the wait until the next attempt; ``0 <= jitter < 1``."""
    return BACKOFF.wait(max(report.attempts, 1), jitter)
