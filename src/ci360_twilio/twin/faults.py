"""What can go wrong on the way to Twilio and back, by plan or by chance.

A fault is written as its name, and where it takes a number as ``name:number``: ``http_400:21610``,
``slow:35``. :data:`EFFECTS` says what each does; a new one is a line there. Nothing here knows of
HTTP or waits, so that the same plan serves a socket and a virtual clock.
"""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from ci360_twilio.twin.answer import Answer, ApiError


class Fault(StrEnum):
    """A way for one request to go wrong."""

    HTTP_400 = "http_400"
    """Refused; the number is Twilio's code (21614 if none is given)."""
    HTTP_401 = "http_401"
    """Refused as if the token were wrong."""
    HTTP_429 = "http_429"
    """Too many requests at a time; nothing is made."""
    HTTP_500 = "http_500"
    """An error inside Twilio; nothing is made, though the answer does not say so."""
    HTTP_500_MADE = "http_500_made"
    """The same answer, and the message exists."""
    HTTP_503 = "http_503"
    """Twilio is not available; nothing is made."""
    HTTP_503_MADE = "http_503_made"
    """The same answer, and the message exists."""
    SLOW = "slow"
    """The message is made at once; the answer comes after that many seconds (5 if not said)."""
    RESET = "reset"
    """The message is made; the connection is reset instead of an answer."""
    HANG = "hang"
    """The message is made; no answer comes for that many seconds (600), then the connection ends."""
    CUT = "cut"
    """The message is made; half of the answer comes, then the connection ends."""
    REFUSE = "refuse"
    """The connection is reset before anything is made."""
    UNREACHABLE = "unreachable"
    """No connection comes about. On a socket, which has been connected by then, like ``refuse``."""

    def numbered(self, number: float) -> str:
        """Write the fault with its number."""
        return f"{self}:{number:g}"


class Ending(StrEnum):
    """How the exchange of a request ends."""

    ANSWERED = "answered"
    CUT = "cut"
    """In the middle of the answer."""
    SILENT = "silent"
    """Without an answer, when nobody waits any more."""
    RESET = "reset"
    UNREACHABLE = "unreachable"
    """Before it has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a fault does to one request.

    Attributes:
        makes: whether the request takes effect.
        status: answered instead of Twilio's own answer; ``None`` leaves that as it is.
        code: Twilio's code in the answer with that status.
        delay: seconds between taking effect and answering.
        ending: of the exchange.
    """

    makes: bool
    status: int | None = None
    code: int = 0
    delay: float = 0.0
    ending: Ending = Ending.ANSWERED


EFFECTS: Mapping[Fault, Effect] = {
    Fault.HTTP_400: Effect(makes=False, status=400, code=21614),
    Fault.HTTP_401: Effect(makes=False, status=401, code=20003),
    Fault.HTTP_429: Effect(makes=False, status=429, code=20429),
    Fault.HTTP_500: Effect(makes=False, status=500, code=20500),
    Fault.HTTP_500_MADE: Effect(makes=True, status=500, code=20500),
    Fault.HTTP_503: Effect(makes=False, status=503, code=20503),
    Fault.HTTP_503_MADE: Effect(makes=True, status=503, code=20503),
    Fault.SLOW: Effect(makes=True, delay=5.0),
    Fault.RESET: Effect(makes=True, ending=Ending.RESET),
    Fault.HANG: Effect(makes=True, delay=600.0, ending=Ending.SILENT),
    Fault.CUT: Effect(makes=True, ending=Ending.CUT),
    Fault.REFUSE: Effect(makes=False, ending=Ending.RESET),
    Fault.UNREACHABLE: Effect(makes=False, ending=Ending.UNREACHABLE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ends, ``delay`` seconds later; ``answer`` is what was said, whole or in part."""

    answer: Answer | None
    delay: float = 0.0
    ending: Ending = Ending.ANSWERED


def parse_fault(text: str) -> Effect:
    """Read a fault as it is written.

    Raises:
        ValueError: there is no such fault, or it takes no such number.
    """
    name, colon, number = text.partition(":")
    try:
        effect = EFFECTS[Fault(name)]
    except ValueError:
        raise ValueError(f"no such fault; known are {', '.join(Fault)}") from None
    if not colon:
        return effect
    if effect.status is not None and number.isascii() and number.isdecimal() and len(number) == 5:
        return replace(effect, code=int(number))
    if effect.delay and 0 <= (seconds := float(number)) < math.inf:
        return replace(effect, delay=seconds)
    raise ValueError(f"{name} takes no such number")


class FaultPlan:
    """Decides for each request which fault befalls it, if any.

    A burst comes first: it befalls every request while it lasts. For requests to make a message
    comes next what is planned for the recipient, one fault per attempt, in order. Then chance
    decides. It depends on the seed, the recipient and the number of the attempt alone: however
    requests to many recipients overlap, the same seed gives each the same faults.

    May be called from many threads.

    Args:
        share: how often each fault happens by chance to requests to make a message,
            ``{Fault.HTTP_429: 0.1}``.
        asking: the same for all other requests.
        seed: of chance.

    Raises:
        ValueError: a fault is not known, or the shares do not fit between 0 and 1.
    """

    def __init__(
        self,
        share: Mapping[str, float] | None = None,
        *,
        asking: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self._lock = threading.Lock()
        self._planned: dict[str, deque[Effect]] = {}
        self._attempts: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._burst: Effect | None = None
        self._left: int | None = None
        self.set_share(share or {}, asking=asking, seed=seed)

    @property
    def attempts(self) -> dict[str, int]:
        """How many requests to make a message have been seen, by recipient as it was written."""
        with self._lock:
            return dict(self._attempts)

    def set_share(
        self,
        share: Mapping[str, float],
        *,
        asking: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        """Replace what happens by chance; nothing for empty mappings."""
        making, others = _parse_share(share), _parse_share(asking or {})
        with self._lock:
            self._share, self._asking, self._seed = making, others, seed

    def for_recipient(self, to: str, faults: Iterable[str]) -> None:
        """Plan the faults of the next attempts to a recipient, in place of those still planned."""
        effects = deque(parse_fault(fault) for fault in faults)
        with self._lock:
            self._planned[to] = effects

    def burst(self, fault: str, *, requests: int | None = None) -> None:
        """Let a fault befall every request from now on, whatever it is.

        Args:
            fault: as it is written.
            requests: for how many requests; ``None``: until :meth:`end_burst`.
        """
        effect = parse_fault(fault)
        with self._lock:
            self._burst, self._left = effect, requests

    def end_burst(self) -> None:
        """End a burst."""
        with self._lock:
            self._burst = None

    def play(self, to: str, make: Callable[[], Answer]) -> Outcome:
        """Let one request to make a message happen, or half happen.

        Args:
            to: the recipient as the request has it.
            make: does what is asked for, and gives the answer.
        """
        with self._lock:
            attempt = self._attempts[to] = self._attempts.get(to, 0) + 1
            effect = self._next_of_burst()
            if effect is None and (planned := self._planned.get(to)):
                effect = planned.popleft()
            share, seed = self._share, self._seed
        return _apply(effect or _draw(share, f"{seed}/{to}/{attempt}"), to, make)

    def ask(self, what: str, show: Callable[[], Answer]) -> Outcome:
        """Let any other request happen, or half happen.

        Args:
            what: it asks for, as a name.
            show: does what is asked for, and gives the answer.
        """
        with self._lock:
            effect, share, seed = self._next_of_burst(), self._asking, self._seed
            attempt = 0
            if share:
                attempt = self._asked[what] = self._asked.get(what, 0) + 1
        return _apply(effect or _draw(share, f"{seed}/ask/{what}/{attempt}"), what, show)

    def _next_of_burst(self) -> Effect | None:
        effect = self._burst
        if effect is not None and self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._burst = effect = None
        return effect


def _parse_share(share: Mapping[str, float]) -> list[tuple[Effect, float]]:
    effects = [(parse_fault(fault), part) for fault, part in share.items()]
    parts = [part for _, part in effects]
    if not all(0 <= part <= 1 for part in parts) or math.fsum(parts) > 1:
        raise ValueError("shares must be between 0 and 1, together too")
    return effects


def _draw(share: list[tuple[Effect, float]], name: str) -> Effect | None:
    if not share:
        return None
    chance = random.Random(name).random()
    for effect, part in share:
        if chance < part:
            return effect
        chance -= part
    return None


def _apply(effect: Effect | None, value: str, act: Callable[[], Answer]) -> Outcome:
    if effect is None:
        return Outcome(answer=act())
    answer = act() if effect.makes else None
    if effect.status is not None:
        answer = ApiError(effect.code, value, status=effect.status).answer
    said = effect.ending in (Ending.ANSWERED, Ending.CUT)
    return Outcome(answer=answer if said else None, delay=effect.delay, ending=effect.ending)
