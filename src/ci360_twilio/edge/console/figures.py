"""The figures of the start page, from the ledger's own counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ci360_twilio.core.entry import Status
from ci360_twilio.ports import SLOT, Counted

S = Status


class Range(StrEnum):
    """How far back the start page looks."""

    HOUR = "hour"
    TODAY = "today"
    DAY = "day"
    WEEK = "week"

    @property
    def words(self) -> str:
        """Name it as a button does."""
        return _RANGES[self][0]

    @property
    def step(self) -> timedelta:
        """How much time one bar stands for."""
        return _RANGES[self][1]

    def since(self, now: datetime) -> datetime:
        """Give where it begins: at a border of its steps."""
        if self is Range.TODAY:
            return now.replace(hour=0, minute=0, second=0, microsecond=0)
        return floor(now - _RANGES[self][2], self.step)


_RANGES: Mapping[Range, tuple[str, timedelta, timedelta]] = {
    Range.HOUR: ("Last hour", SLOT, timedelta(hours=1)),
    Range.TODAY: ("Today", timedelta(minutes=15), timedelta(days=1)),
    Range.DAY: ("24 hours", timedelta(minutes=15), timedelta(days=1)),
    Range.WEEK: ("7 days", timedelta(hours=3), timedelta(days=7)),
}


class Group(NamedTuple):
    """Statuses that a chart shows as one."""

    key: str
    words: str
    statuses: tuple[Status, ...]


GROUPS: tuple[Group, ...] = (
    Group("delivered", "Delivered", (S.DELIVERED, S.READ)),
    Group("sent", "Sent, no receipt yet", (S.SENT,)),
    Group("waiting", "Waiting", (S.ACCEPTED, S.SENDING)),
    Group("care", "Held or unknown", (S.HELD, S.UNKNOWN)),
    Group("failed", "Failed or refused", (S.FAILED, S.UNDELIVERED, S.REFUSED)),
    Group("left", "Suppressed, expired, canceled", (S.SUPPRESSED, S.EXPIRED, S.CANCELED)),
)
"""In the order in which a bar is stacked."""
_GROUP_OF = {status: group.key for group in GROUPS for status in group.statuses}


class Row(NamedTuple):
    """What became of a part of the messages."""

    name: str | None
    total: int
    delivered: int
    failed: int


class Cause(NamedTuple):
    """Why messages did not arrive."""

    status: Status
    reason: str | None
    error_code: int | None
    messages: int


class Figures(NamedTuple):
    """All that the start page counts."""

    total: int
    statuses: Mapping[Status, int]
    tasks: list[Row]
    senders: list[Row]
    countries: list[Row]
    causes: list[Cause]
    times: list[datetime]
    """The beginning of each bar."""
    series: Mapping[str, list[int]]
    """By group, a number for each bar."""

    def of(self, *statuses: Status) -> int:
        """Count the messages in some statuses."""
        return sum(self.statuses.get(status, 0) for status in statuses)

    @property
    def accepted(self) -> int:
        """Messages that our gates and Twilio's did not turn away."""
        return self.total - self.of(S.REFUSED, S.SUPPRESSED)

    @property
    def sent(self) -> int:
        """Messages that Twilio made."""
        return self.of(S.SENT, S.DELIVERED, S.READ, S.UNDELIVERED, S.FAILED)

    @property
    def delivered(self) -> int:
        """Messages that arrived."""
        return self.of(S.DELIVERED, S.READ)


MOST_ROWS = 8
_NEEDS_A_REASON = frozenset(
    {S.FAILED, S.UNDELIVERED, S.REFUSED, S.SUPPRESSED, S.EXPIRED, S.HELD, S.UNKNOWN}
)


def figures(counted: Iterable[Counted], of: Range, now: datetime) -> Figures:
    """Add up counts for the start page."""
    statuses, causes = Counter[Status](), Counter[tuple[Status, str | None, int | None]]()
    bars: dict[str, Counter[datetime]] = {group.key: Counter() for group in GROUPS}
    names: dict[str, dict[str | None, Counter[Status]]] = defaultdict(lambda: defaultdict(Counter))
    for one in counted:
        statuses[one.status] += one.messages
        bars[_GROUP_OF[one.status]][floor(one.at, of.step)] += one.messages
        for kind, name in (("task", one.task), ("sender", one.sender), ("country", one.country)):
            names[kind][name][one.status] += one.messages
        if one.status in _NEEDS_A_REASON:
            causes[one.status, one.reason, one.error_code] += one.messages
    times = _times(of, now)
    return Figures(
        total=statuses.total(),
        statuses=statuses,
        tasks=_rows(names["task"]),
        senders=_rows(names["sender"]),
        countries=_rows(names["country"]),
        causes=[Cause(*what, number) for what, number in causes.most_common(MOST_ROWS)],
        times=times,
        series={key: [bar[at] for at in times] for key, bar in bars.items()},
    )


def floor(at: datetime, step: timedelta) -> datetime:
    """Give the border of steps at or before a moment; steps are counted from 1970, UTC."""
    return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % step


def _times(of: Range, now: datetime) -> list[datetime]:
    since = of.since(now)
    return [since + number * of.step for number in range((now - since) // of.step + 1)]


def _rows(found: Mapping[str | None, Counter[Status]]) -> list[Row]:
    rows = [
        Row(
            name,
            counts.total(),
            counts[S.DELIVERED] + counts[S.READ],
            counts[S.FAILED] + counts[S.UNDELIVERED] + counts[S.REFUSED],
        )
        for name, counts in found.items()
    ]

    rows.sort(key=lambda row: (-row.total, row.name or ""))
    return rows[:MOST_ROWS]
