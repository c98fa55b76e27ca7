"""What befalls a message after it was made: in Twilio's lists and on the way of its callbacks.

A mishap is written as its name, and where it takes seconds as ``name:seconds``: ``lag:600``,
``late:7200``. Requests have faults of their own, in :mod:`ci360_twilio.twin.faults`.

Lists lag (twilio/twilio-java#442: 10 to 15 minutes; twilio/twilio-node#647: hours, on and off), and
callbacks come late, twice and in any order (docs/usage/webhooks).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

FLICKER_SECONDS = 60.0
"""How long a message that comes and goes is seen or not seen at a stretch."""


class Mishap(StrEnum):
    """Something that befalls a message."""

    LAG = "lag"
    """Lists do not show it for that many seconds (600 if not said)."""
    FLICKER = "flicker"
    """For that many seconds (3600), lists show it now and then."""
    BLANK = "blank"
    """A Messaging Service's row names no sender, and no date before it was sent."""
    ENCODED = "encoded"
    """Its text is shown after Smart Encoding."""
    SHORTENED = "shortened"
    """The links in its text are shown shortened."""
    REDACTED = "redacted"
    """Its text is shown as empty."""
    STRANGER = "stranger"
    """Somebody else made an equal message that many seconds later (20); earlier, if negative."""
    LOST = "lost"
    """A callback never comes."""
    REPEATED = "repeated"
    """A callback comes twice."""
    LATE = "late"
    """A callback comes that many seconds late (7200)."""
    DISORDERED = "disordered"
    """A callback comes after the next one."""


SECONDS: Mapping[Mishap, float] = {
    Mishap.LAG: 600.0,
    Mishap.FLICKER: 3600.0,
    Mishap.STRANGER: 20.0,
    Mishap.LATE: 7200.0,
}
"""Mishaps that take a number, with the one that holds if none is given."""

ON_THE_WAY = frozenset({Mishap.LOST, Mishap.REPEATED, Mishap.LATE, Mishap.DISORDERED})
"""Mishaps of callbacks; the others are those of lists."""

_LONGEST = 604_800.0


class Befalling(NamedTuple):
    """A mishap with its seconds."""

    mishap: Mishap
    seconds: float


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """What befalls one message in lists.

    Attributes:
        lag: seconds for which no list shows it.
        flicker: seconds for which it comes and goes.
        dice: decides when it is seen while it comes and goes.
        blank: whether sender and date are missing.
        body: how its text is changed, if it is.
        stranger: seconds between it and somebody else's equal message, if there is one.
    """

    lag: float = 0.0
    flicker: float = 0.0
    dice: str = ""
    blank: bool = False
    body: Mishap | None = None
    stranger: float | None = None

    def is_seen(self, age: float) -> bool:
        """Tell whether lists show the message that many seconds after it was made."""
        if age < self.lag:
            return False
        if age >= self.flicker:
            return True
        return random.Random(f"{self.dice}/{age // FLICKER_SECONDS:g}").random() < 0.5


class Carriage(NamedTuple):
    """How one callback comes: not at all, twice, late by ``late`` seconds, after the next one."""

    lost: bool = False
    repeated: bool = False
    late: float = 0.0
    disordered: bool = False


CALM = Lot()
SWIFT = Carriage()


def parse_mishap(text: str) -> Befalling:
    """Read a mishap as it is written.

    Raises:
        ValueError: there is no such mishap, or it takes no such number.
    """
    name, colon, number = text.partition(":")
    try:
        mishap = Mishap(name)
    except ValueError:
        raise ValueError(f"no such mishap; known are {', '.join(Mishap)}") from None
    if not colon:
        return Befalling(mishap, SECONDS.get(mishap, 0.0))
    lowest = -_LONGEST if mishap is Mishap.STRANGER else 0.0
    if mishap in SECONDS and lowest <= (seconds := float(number)) <= _LONGEST:
        return Befalling(mishap, seconds)
    raise ValueError(f"{name} takes no such number")


class Weather:
    """Decides for each message and each callback what befalls it, if anything.

    What is planned for a recipient holds for all messages to it. For the others chance decides,
    from the seed, the recipient, the number of the message among those to the recipient and, for a
    callback, its status alone: however things overlap, the same seed gives the same mishaps.

    May be called from many threads.

    Args:
        share: how often each mishap happens by chance, ``{"lag:600": 0.1}``. Each is decided on its
            own, so that several may befall one message.
        seed: of chance.

    Raises:
        ValueError: a mishap is not known, or a share is not between 0 and 1.
    """

    def __init__(self, share: Mapping[str, float] | None = None, *, seed: int = 0) -> None:
        self._planned: dict[str, tuple[Befalling, ...]] = {}
        self.set_share(share or {}, seed=seed)

    def set_share(self, share: Mapping[str, float], *, seed: int = 0) -> None:
        """Replace what happens by chance; nothing for an empty mapping."""
        parsed = [(parse_mishap(text), part) for text, part in share.items()]
        if not all(0 <= part <= 1 for _, part in parsed):
            raise ValueError("shares must be between 0 and 1")
        rows = [one for one in parsed if one[0].mishap not in ON_THE_WAY]
        callbacks = [one for one in parsed if one[0].mishap in ON_THE_WAY]
        self._chance = rows, callbacks, seed

    def for_recipient(self, to: str, mishaps: Iterable[str]) -> None:
        """Plan what befalls all messages to a recipient from now on, in place of chance."""
        self._planned[to] = tuple(parse_mishap(text) for text in mishaps)

    def lot(self, to: str, nth: int) -> Lot:
        """Decide what befalls the ``nth`` message to a recipient in lists."""
        rows, _, seed = self._chance
        befalls = self._planned.get(to)
        name = f"{seed}/{to}/{nth}"
        if befalls is None:
            befalls = _draw(rows, name)
        return _lot(befalls, name) if befalls else CALM

    def carriage(self, to: str, nth: int, status: str) -> Carriage:
        """Decide how the callback of a status comes, of the ``nth`` message to a recipient."""
        _, callbacks, seed = self._chance
        befalls = self._planned.get(to)
        if befalls is None:
            befalls = _draw(callbacks, f"{seed}/{to}/{nth}/{status}")
        if not befalls:
            return SWIFT
        found = dict(befalls)
        return Carriage(
            lost=Mishap.LOST in found,
            repeated=Mishap.REPEATED in found,
            late=found.get(Mishap.LATE, 0.0),
            disordered=Mishap.DISORDERED in found,
        )


def _draw(share: list[tuple[Befalling, float]], name: str) -> tuple[Befalling, ...]:
    if not share:
        return ()
    chance = random.Random(name)
    return tuple(one for one, part in share if chance.random() < part)


def _lot(befalls: tuple[Befalling, ...], name: str) -> Lot:
    found = dict(befalls)
    bodies = (Mishap.REDACTED, Mishap.SHORTENED, Mishap.ENCODED)
    return Lot(
        lag=found.get(Mishap.LAG, 0.0),
        flicker=found.get(Mishap.FLICKER, 0.0),
        dice=name if Mishap.FLICKER in found else "",
        blank=Mishap.BLANK in found,
        body=next((one for one in bodies if one in found), None),
        stranger=found.get(Mishap.STRANGER),
    )
