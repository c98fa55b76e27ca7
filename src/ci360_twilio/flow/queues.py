"""What waits for each sender, how long sending it takes, and what would expire meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from ci360_twilio.core.e164 import E164
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.message import Channel, Message
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import is_paused_place
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.selection import Selection, pages
from ci360_twilio.ports import Archive

TWILIO_HOLDS = timedelta(seconds=36_000)
"""How much of a sender's traffic Twilio queues (docs/api/errors/21611)."""

_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_TOLL_FREE = re.compile(r"\+18(?:00|33|44|55|66|77|88)[0-9]{7}")

RateOf = Callable[[Entry], Rate | None]


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one sender, or for several that share a budget."""

    tenant_id: TenantId
    senders: tuple[str, ...]
    entries: int
    paused: int
    """How many of them wait behind a pause."""
    segments: int
    per_second: float | None
    """Segments in a second; ``None`` where nobody can tell."""
    paced: bool
    """Whether the rate is the tenant's own; else it is about what Twilio allows such a sender."""
    late: int
    """How many would expire before their turn came, if all were let go now."""

    @property
    def lasts(self) -> timedelta | None:
        """How long it takes to send them all."""
        return timedelta(seconds=self.segments / self.per_second) if self.per_second else None


def usual_rate(sender: str) -> float | None:
    """Give about how many segments in a second Twilio sends from a sender that is not paced here.

    US numbers, as Twilio's pages on errors 21611 and 63017 have it; what a Messaging Service, a name
    or another channel sends depends on its set-up.
    """
    if _SHORT_CODE.fullmatch(sender):
        return 100.0
    if sender.startswith(f"{Channel.WHATSAPP}:"):
        return 80.0
    if _TOLL_FREE.fullmatch(sender):
        return 3.0
    return 1.0 if E164.fullmatch(sender) else None


def queues(archive: Archive, rate_of: RateOf, now: datetime) -> list[Queue]:
    """Add up what waits to be sent, fullest queue first."""
    found: dict[str, _Line] = {}
    for page in pages(archive, Selection(), frozenset({Status.ACCEPTED})):
        for entry in page:
            if entry.message is None or entry.deadline <= now:
                continue
            rate = rate_of(entry)
            name = rate.budget if rate else f"{entry.tenant_id}/{entry.message.sender}"
            line = found.get(name)
            if line is None:
                line = found[name] = _Line(entry.tenant_id, rate, entry.message.sender)
            line.add(entry, entry.message)
    made = [line.queue(now) for line in found.values()]
    return sorted(made, key=lambda queue: (-queue.segments, queue.tenant_id, queue.senders))


class _Line:
    """One queue, as it is added up."""

    def __init__(self, tenant_id: TenantId, rate: Rate | None, sender: str) -> None:
        self._tenant_id = tenant_id
        self._paced = rate is not None
        self._per_second = rate.per_second if rate else usual_rate(sender)
        self._senders: set[str] = set()
        self._waiting: list[tuple[datetime, datetime, int]] = []
        self._paused = 0

    def add(self, entry: Entry, message: Message) -> None:
        self._senders.add(message.sender)
        self._waiting.append((entry.due_at, entry.deadline, message.segments))
        self._paused += is_paused_place(entry.place)

    def queue(self, now: datetime) -> Queue:
        return Queue(
            tenant_id=self._tenant_id,
            senders=tuple(sorted(self._senders)),
            entries=len(self._waiting),
            paused=self._paused,
            segments=sum(segments for _, _, segments in self._waiting),
            per_second=self._per_second,
            paced=self._paced,
            late=self._late(now),
        )

    def _late(self, now: datetime) -> int:
        """Count what would still wait at its deadline, or longer than Twilio keeps it."""
        if self._per_second is None:
            return 0
        ahead = late = 0
        most = None if self._paced else now + TWILIO_HOLDS
        for _, deadline, segments in sorted(self._waiting):
            ahead += segments
            end = min(deadline, most) if most else deadline
            late += now + timedelta(seconds=ahead / self._per_second) > end
        return late
