"""What becomes of a message, as a clock tells it: its sender's queue, its turn, its end.

Nothing here waits. A message's whole future is settled when it is made; somebody with a clock then
applies it step by step.

Queue, overflow and validity are Twilio's (docs/api/errors/21611, 30001 and 30036).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from ci360_twilio.twin.answer import MAX_VALIDITY
from ci360_twilio.twin.message import MessageStatus

QUEUE_OVERFLOW, VALIDITY_EXPIRED = 30001, 30036
TURN_SECONDS = 0.5
"""How long it takes at most from a message's turn until it is being sent."""

_ENDS = {
    "delivered": (MessageStatus.SENT, MessageStatus.DELIVERED),
    "read": (MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ),
    "undelivered": (MessageStatus.SENT, MessageStatus.UNDELIVERED),
    "sent": (MessageStatus.SENT,),
    "failed": (MessageStatus.FAILED,),
}


class Fate(NamedTuple):
    """How a message ends once it is being sent: the further statuses, and a failure's code."""

    statuses: tuple[MessageStatus, ...]
    code: int | None


class Step(NamedTuple):
    """A change of a message's status."""

    at: datetime
    status: MessageStatus
    code: int | None = None


@lru_cache(maxsize=1024)
def parse_fate(text: str) -> Fate:
    """Read a fate as it is written: ``delivered``, ``read``, ``sent``, ``undelivered:30003``, ``failed:30007``.

    ``sent`` is a message of which nothing more is heard. Failures may go without a code: 30008.

    Raises:
        ValueError: there is no such fate, or it takes no such code.
    """
    name, colon, code = text.partition(":")
    statuses = _ENDS.get(name)
    if statuses is None:
        raise ValueError(f"no such fate; known are {', '.join(_ENDS)}")
    fails = statuses[-1] in (MessageStatus.FAILED, MessageStatus.UNDELIVERED)
    if colon and not (fails and code.isascii() and code.isdecimal() and len(code) == 5):
        raise ValueError(f"{name} takes no such code")
    return Fate(statuses, int(code or 30008) if fails else None)


DELIVERED = parse_fate("delivered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How the messages of an account live.

    Attributes:
        rate: segments per second of each sender; ``None``: no queue at all.
        rates: the same by sender, as ``From`` or ``MessagingServiceSid`` has it; these come first.
        queue_seconds: how long a message may have to wait for its turn; ``None``: for ever.
            Twilio's is 36,000.
        fates: how often each fate is met, ``{"undelivered:30003": 0.02}``; the others are delivered.
        until_sent: seconds from being sent to sent, at most.
        until_final: seconds between later steps, at most.

    Raises:
        ValueError: a rate or time is out of bounds, a fate is not known, or the shares do not fit
            between 0 and 1.
    """

    rate: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    queue_seconds: float | None = None
    fates: Mapping[str, float] = field(default_factory=dict)
    until_sent: float = 2.0
    until_final: float = 30.0

    def __post_init__(self) -> None:
        parts = [*self.fates.values()]
        for text in self.fates:
            parse_fate(text)
        if not all(0 <= part <= 1 for part in parts) or math.fsum(parts) > 1:
            raise ValueError("shares of fates must be between 0 and 1, together too")
        rates = [*self.rates.values(), *([] if self.rate is None else [self.rate])]
        if not all(0 < rate < math.inf for rate in rates):
            raise ValueError("rates must be over 0")
        times = (self.queue_seconds or 0.0, self.until_sent, self.until_final)
        if not all(0 <= seconds < 10_000_000 for seconds in times):
            raise ValueError("times must be 0 or more seconds")

    def rate_of(self, sender: str) -> float | None:
        """Give the segments per second of one sender."""
        return self.rates.get(sender, self.rate)

    def draw(self, chance: random.Random) -> Fate:
        """Choose a fate."""
        if not self.fates:
            return DELIVERED
        left = chance.random()
        for text, part in self.fates.items():
            if left < part:
                return parse_fate(text)
            left -= part
        return DELIVERED


class QueueFull(Exception):
    """A message would have to wait longer for its turn than its sender's queue lasts."""


class Queues:
    """The senders' queues: for each, when everything in it will be sent."""

    def __init__(self) -> None:
        self._empty_at: dict[tuple[str, str], datetime] = {}
        self.overflows: Counter[str] = Counter()
        """How often each sender's queue was full."""

    def join(
        self, life: Life, place: tuple[str, str], now: datetime, *, segments: int, validity: float
    ) -> datetime | None:
        """Put a message in a queue and give its turn; ``None`` where it expires before.

        Args:
            life: of the account.
            place: the account and the sender.
            now: the time.
            segments: of the message.
            validity: seconds for which it waits.

        Raises:
            QueueFull: there is no room for it; counted in ``overflows``.
        """
        rate = life.rate_of(place[1])
        if rate is None:
            return now
        turn = max(self._empty_at.get(place, now), now)
        wait = (turn - now).total_seconds()
        if life.queue_seconds is not None and wait > life.queue_seconds:
            self.overflows[place[1]] += 1
            raise QueueFull
        if wait > validity:  # it will not be sent, and so takes no time from those behind it
            return None
        self._empty_at[place] = turn + timedelta(seconds=segments / rate)
        return turn


def settle(
    life: Life, fate: Fate | None, turn: datetime, chance: random.Random
) -> tuple[Step, ...]:
    """Settle the steps of a message from its turn on.

    Args:
        life: of its account.
        fate: planned for it; ``None`` leaves it to chance.
        turn: when its sender's queue comes to it.
        chance: decides the rest.
    """
    fate = fate or life.draw(chance)
    at = turn + timedelta(seconds=chance.random() * TURN_SECONDS)
    steps = [Step(at, MessageStatus.SENDING)]
    for number, status in enumerate(fate.statuses):
        longest = life.until_final if number else life.until_sent
        at += timedelta(seconds=chance.random() * longest)
        last = number == len(fate.statuses) - 1
        steps.append(Step(at, status, fate.code if last else None))
    return tuple(steps)


def give_up(at: datetime, code: int) -> tuple[Step, ...]:
    """Settle that a message is never sent."""
    return (Step(at, MessageStatus.FAILED, code),)


def patience(validity_period: int | None) -> float:
    """Give the seconds for which a message waits; Twilio's longest where it does not say."""
    return float(validity_period or MAX_VALIDITY)
