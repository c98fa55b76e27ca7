"""What to do after an attempt that made no message: one decision, from values to a value."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from ci360_twilio.errors import Failure


class Verdict(StrEnum):
    """What becomes of the entry."""

    RETRY = "retry"
    REFUSE = "refuse"
    UNKNOWN = "unknown"


class Decision(NamedTuple):
    """A verdict, and for a retry the time to wait."""

    verdict: Verdict
    wait: timedelta = timedelta(0)


class Backoff(NamedTuple):
    """Waits that double from ``first`` to ``most`` seconds, each shortened by up to a half."""

    first: float
    most: float

    def wait(self, attempt: int, jitter: float) -> timedelta:
        """Give the wait after the ``attempt``-th failure in a row.

        Args:
            attempt: 1 for the first.
            jitter: 0 <= jitter < 1, evenly spread; it keeps those that failed together apart.
        """
        full = min(self.first * 2.0 ** min(attempt - 1, 40), self.most)
        return timedelta(seconds=full * (1 - jitter / 2))


BACKOFF: dict[Failure, Backoff] = {
    Failure.RETRY_SAFE: Backoff(0.5, 60),
    Failure.RETRY_LATER: Backoff(60, 1800),
    Failure.TRANSIENT: Backoff(60, 1800),
    Failure.CONFIG: Backoff(15, 900),
}
"""Failures after which nothing was made and another attempt makes sense, in seconds."""

MOST_ASKED = 3600.0
"""The longest ``Retry-After`` that is followed, in seconds."""


def decide(
    failure: Failure, attempt: int, jitter: float, retry_after: float | None = None
) -> Decision:
    """Decide what becomes of an entry after a failed attempt.

    Whether it has expired meanwhile is checked when it is claimed again, not here.

    Args:
        failure: the class of the error.
        attempt: how many attempts have been made, this one included.
        jitter: 0 <= jitter < 1, evenly spread.
        retry_after: seconds that Twilio asked to wait; never shortens the wait.
    """
    if failure is Failure.AMBIGUOUS:
        return Decision(Verdict.UNKNOWN)
    backoff = BACKOFF.get(failure)
    if backoff is None:
        return Decision(Verdict.REFUSE)
    asked = timedelta(seconds=min(max(retry_after or 0.0, 0.0), MOST_ASKED))
    return Decision(Verdict.RETRY, max(backoff.wait(attempt, jitter), asked))
