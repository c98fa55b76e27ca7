"""A clock that a simulation sets."""

from __future__ import annotations

from datetime import datetime, timedelta


class VirtualClock:
    """A clock that the simulation sets, and that an answer may keep waiting."""

    def __init__(self, now: datetime) -> None:
        """Set it."""
        self.now = now

    def __call__(self) -> datetime:
        """Give the moment."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time go by for one request."""
        self.now += timedelta(seconds=seconds)
