"""A ledger in memory that fails now and then, before it has written and after."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from ci360_twilio.core.consent import Consent, Evidence, Subject
from ci360_twilio.core.entry import Entry, Fact, Key, Lease
from ci360_twilio.core.report import Answer
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.ports import (
    NO_LIMITS,
    Claimed,
    Hearing,
    Inserted,
    Owed,
    RateOf,
    Received,
    unpaced,
)
from ci360_twilio.stores.memory import MemoryStore

T = TypeVar("T")


class FlakyStore(MemoryStore):
    """Raises ``LedgerUnavailable`` for a share of the commits; half of these have happened.

    The contract allows both: nothing of a batch is *known* to be written, and the same call may be
    made again.
    """

    def __init__(self, share: float, chance: random.Random) -> None:
        """Make an empty ledger that fails for ``share`` of its commits, from 0 to 1."""
        super().__init__()
        self._share = share
        self._chance = chance

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int] = NO_LIMITS
    ) -> list[Inserted]:
        """Write entries, or fail."""
        insert = super().insert_many
        return self._perhaps(lambda: insert(entries, recipient_limits=recipient_limits))

    def claim(
        self,
        *,
        now: datetime,
        lease: Lease,
        limit: int,
        keys: Iterable[Key] | None = None,
        rate_of: RateOf = unpaced,
    ) -> Claimed:
        """Take entries, or fail."""
        claim = super().claim
        return self._perhaps(
            lambda: claim(now=now, lease=lease, limit=limit, keys=keys, rate_of=rate_of)
        )

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Apply facts, or fail."""
        record = super().record_many
        return self._perhaps(lambda: record(facts, hourly_limits=hourly_limits))

    def take_reports(
        self, tenant_id: TenantId, *, now: datetime, until: datetime, limit: int
    ) -> list[Owed]:
        """Take reports, or fail."""
        take = super().take_reports
        return self._perhaps(lambda: take(tenant_id, now=now, until=until, limit=limit))

    def answer_reports(self, answers: Sequence[tuple[Key, str, Answer]]) -> None:
        """Write what came of reports, or fail."""
        answer = super().answer_reports
        self._perhaps(lambda: answer(answers))

    def hear_many(self, hearings: Sequence[Hearing], *, now: datetime) -> list[Received]:
        """Write what customers wrote, or fail."""
        hear = super().hear_many
        return self._perhaps(lambda: hear(hearings, now=now))

    def attest_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Add evidence, or fail."""
        attest = super().attest_many
        return self._perhaps(lambda: attest(changes, now=now))

    def look(self, *, now: datetime, limit: int) -> list[Entry]:
        """Take what is to be looked for, or fail."""
        look = super().look
        return self._perhaps(lambda: look(now=now, limit=limit))

    def _perhaps(self, work: Callable[[], T]) -> T:
        dice = self._chance.random()
        if dice < self._share / 2:
            raise LedgerUnavailable("The ledger cannot be used just now.")
        done = work()
        if dice < self._share:
            raise LedgerUnavailable("The ledger's answer was lost.")
        return done
