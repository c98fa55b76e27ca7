"""A worker on a virtual clock, that stands still, dies and comes back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from ci360_twilio.core.entry import Entry, Fact, Key
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.patience import ATTEMPT_SECONDS
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.flow.send import Begun, Sending
from ci360_twilio.logs import Log
from ci360_twilio.ports import Store, Tenants
from ci360_twilio.twin.clock import VirtualClock
from ci360_twilio.twin.inside import InsideTwilio
from ci360_twilio.twin.play import Play

LEASE_SECONDS = 60.0
PUBLIC_URL = "https://sms.example.com"
OPEN_AT_ONCE = 64
CLAIMED_AT_ONCE = 32


class Stage(Protocol):
    """What a worker needs of the campaign that it works in."""

    chance: random.Random
    clock: VirtualClock
    log: Log
    play: Play
    store: Store
    tenants: Tenants
    twilio: InsideTwilio

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen later."""

    def look(self, entries: Sequence[Entry]) -> None:
        """Hear that a worker looks now whether these may be sent."""

    def began(self, key: Key) -> None:
        """Hear that bytes of a message may leave now."""

    def leaves(self, key: Key) -> None:
        """Hear that a request is made."""

    def unheard(self, entries: Sequence[Entry]) -> None:
        """Hear that the ledger did not say whether these may be sent."""

    def recorded(self, facts: Sequence[tuple[Key, Fact]]) -> None:
        """Hear that what came of attempts is written down."""


class MortalWorker:
    """Does what the worker at the edge does, without threads; forgets what it knows when it dies."""

    def __init__(self, campaign: Stage, skew: timedelta) -> None:
        self.campaign = campaign
        self.skew = skew
        self.life = 0
        self.start()

    def start(self) -> None:
        """Come (back) to life with nothing in memory."""
        campaign = self.campaign
        self.life += 1
        self.up = True
        self.claimed: list[Entry] = []
        self.unrecorded: list[tuple[Key, Fact]] = []
        self.open = 0
        pausing = Pausing(
            campaign.store, campaign.tenants, self._now, campaign.log, rng=campaign.chance
        )
        self.pausing = pausing
        self.sending = Sending(
            campaign.store,
            campaign.twilio,
            campaign.tenants,
            pausing,
            self._now,
            campaign.log,
            lease_seconds=LEASE_SECONDS,
            public_url=PUBLIC_URL,
            rng=campaign.chance,
        )

    def _now(self) -> datetime:
        return self.campaign.clock.now + self.skew

    def work(self) -> bool:
        """Do one round of the worker's loop; tell whether there was anything to do."""
        going = self.claimed[: OPEN_AT_ONCE - self.open]
        back = list(self.unrecorded)
        self.campaign.look(going)
        try:
            begun = self.sending.begin(going, back) if going or back else []
            del self.claimed[: len(going)]
            del self.unrecorded[: len(back)]
            self.campaign.recorded(back)
            for one in begun:
                self._attempt_later(one)
            found = (
                self.sending.claim(CLAIMED_AT_ONCE) if len(self.claimed) < OPEN_AT_ONCE // 2 else []
            )
            self.claimed.extend(found)
        except LedgerUnavailable:
            self.campaign.unheard(going)
            return True
        return bool(going or back or found)

    def keep(self) -> None:
        """Do one round of its keeper: probe what is paused."""
        with suppress(LedgerUnavailable):
            self.pausing.ask(self.campaign.twilio)
            self.pausing.write()

    def _attempt_later(self, begun: Begun) -> None:
        """Let the bytes leave: at once, or where the process stalls much later."""
        campaign, life = self.campaign, self.life
        campaign.began(begun.entry.key)
        stall = 0.0
        if campaign.chance.random() < campaign.play.stalls:
            stall = campaign.chance.choice((5.0, 50.0, 70.0, 400.0))
        self.open += 1
        campaign.after(stall, lambda: self._attempt(begun, life))

    def _attempt(self, begun: Begun, life: int) -> None:
        if life != self.life or not self.up:
            return  # it died before a byte left
        clock = self.campaign.clock
        left = clock.now
        self.campaign.leaves(begun.entry.key)
        fact = self.sending.attempt(begun, timeout=ATTEMPT_SECONDS)
        took = clock.now - left
        clock.now = left
        self.campaign.after(took.total_seconds(), lambda: self._answered(begun, fact, life))

    def _answered(self, begun: Begun, fact: Fact, life: int) -> None:
        if life == self.life and self.up:
            self.open -= 1
            self.unrecorded.append((begun.entry.key, fact))
