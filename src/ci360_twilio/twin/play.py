"""How bad a campaign gets: the shares of what goes wrong."""

from __future__ import annotations

import random

import msgspec

from ci360_twilio.twin.life import Life

_WEATHER = {
    "lag:600": (0.0, 0.1, 0.5),
    "lag:100000": (0.0, 0.0, 0.2),
    "flicker": (0.0, 0.1, 0.3),
    "blank": (0.0, 0.5),
    "encoded": (0.0, 0.1),
    "shortened": (0.0, 0.1),
    "redacted": (0.0, 0.1),
    "stranger": (0.0, 0.0, 0.02),
    "stranger:-30": (0.0, 0.0, 0.02),
    "lost": (0.0, 0.1, 0.5, 1.0),
    "repeated": (0.0, 0.1),
    "late": (0.0, 0.1),
    "late:90000": (0.0, 0.0, 0.1),
    "disordered": (0.0, 0.2),
}
"""What may befall lists and callbacks, and how often."""


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong in one campaign; shares are of requests, commits, callbacks or messages."""

    ledger: float = 0.0
    """Commits that fail, half of them after they were written."""
    stalls: float = 0.0
    """Attempts whose process stands still before bytes leave, for seconds or minutes."""
    freezes: float = 0.0
    """Rounds after which a worker stands still as a whole, longer than its leases or shorter."""
    deaths: float = 0.0
    """How often each worker dies, on average."""
    skew: float = 0.0
    """By how many seconds the second worker's clock is off."""
    repeats: float = 0.1
    """Events that CI360 posts again."""
    requests: dict[str, float] = {}
    """Faults of requests, as :class:`FaultPlan` takes them."""
    asking: dict[str, float] = {}
    """The same for requests that only ask."""
    weather: dict[str, float] = {}
    """Faults of lists and callbacks, as :class:`Weather` takes them."""
    life: Life = Life()
    """What becomes of messages, and how fast senders send."""
    latency: float = 0.1
    """Seconds that Twilio takes for an answer."""
    outages: bool = False
    """Whether tokens are changed at Twilio and CI360 first, a country is closed, somebody pauses."""
    ci360: dict[str, float] = {}
    """Faults of requests to CI360, as :class:`FaultPlan` takes them."""
    forgets: float = 0.0
    """Rounds of reports after which whoever told them dies before writing that down."""

    @classmethod
    def by_chance(cls, chance: random.Random) -> Play:
        """Choose: now and then a fair day, mostly foul ones, each foul in its own way."""

        def share(*choices: float) -> float:
            return chance.choice(choices)

        return cls(
            ledger=share(0.0, 0.01, 0.05),
            stalls=share(0.0, 0.005, 0.02),
            freezes=share(0.0, 0.0, 0.01),
            deaths=share(0.0, 1.0, 4.0),
            skew=share(0.0, 0.0, 0.4, -3.0, 90.0),
            repeats=share(0.02, 0.1, 0.3),
            requests={
                name: share(0.0, 0.005, 0.03)
                for name in ("http_429", "http_500", "http_500_made", "http_503_made", "reset")
            }
            | {
                "unreachable": share(0.0, 0.01),
                "hang": share(0.0, 0.002),
                "cut": share(0.0, 0.01),
                "slow:20": share(0.0, 0.01),
                "slow:34": share(0.0, 0.005),
                "http_400:21610": share(0.0, 0.01),
            },
            weather={name: share(*parts) for name, parts in _WEATHER.items()},
            life=Life(
                rate=share(50.0, 200.0),
                queue_seconds=chance.choice((None, 20.0, 36_000.0)),
                fates={"undelivered:30003": 0.02, "failed:30007": 0.01, "read": 0.05, "sent": 0.02},
            ),
            latency=share(0.05, 0.3, 2.0),
            outages=chance.random() < 0.5,
            ci360={
                "http_429": share(0.0, 0.01, 0.1),
                "http_500": share(0.0, 0.02, 0.2),
                "http_503_made": share(0.0, 0.02),
                "reset": share(0.0, 0.02, 0.1),
                "unreachable": share(0.0, 0.02),
                "hang": share(0.0, 0.001),
                "cut": share(0.0, 0.02),
            },
            forgets=share(0.0, 0.01, 0.1),
        )
