"""How fast a sender may send: a token bucket in segments, kept as one moment.

The bucket holds what one second yields. It is kept as the moment at which it will be full again
("generic cell rate algorithm", ITU-T I.371), so that a store keeps one number for each budget.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

BURST_SECONDS = 1.0
MOST_SEGMENTS = 48
"""What the longest text takes: 1,600 characters, each of two units."""
_PLACE = "paced:"


class Rate(NamedTuple):
    """A budget and how many segments it yields in a second; several senders may share one."""

    budget: str
    per_second: float

    @property
    def place(self) -> str:
        """Where the entries wait that are sent from this budget."""
        return f"{_PLACE}{self.budget}"


LATE = timedelta(seconds=0.25)
"""By how much a look at a budget may come late without the sender losing what it would have sent: a
bucket that was full so recently counts from then."""


def is_paced_place(place: str | None) -> bool:
    """Tell whether an entry that waits there waits for its sender's turn."""
    return place is not None and place.startswith(_PLACE)


def spend(full_at: datetime | None, now: datetime, rate: Rate, segments: int) -> datetime | None:
    """Take segments from a budget.

    A message of more segments than the bucket holds may go when the bucket is full; what it
    overdraws is waited for afterwards.

    Args:
        full_at: when the bucket is full again, as the last call gave it; ``None`` at first.
        now: the time.
        rate: of the budget.
        segments: of the message, at least 1.

    Returns:
        When the bucket will be full again, or ``None`` where there is not enough in it.
    """
    holds = max(rate.per_second * BURST_SECONDS, 1.0)
    latest = now + timedelta(seconds=(holds + MOST_SEGMENTS) / rate.per_second)
    if full_at is None or not now - LATE <= full_at <= latest:
        full_at = now  # later than the latest is what was written before the clock was set back
    missing = (full_at - now).total_seconds() * rate.per_second
    if holds - missing + 1e-6 < min(segments, holds):
        return None
    return full_at + timedelta(seconds=segments / rate.per_second)
