"""How many messages there are of what, over time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from ci360_twilio.core.entry import Status
from ci360_twilio.core.tenant import TenantId

SLOT = timedelta(minutes=5)
"""What messages are counted by; slots begin on the hour."""


class Counted(NamedTuple):
    """Messages that were accepted within one slot and have all of this in common."""

    at: datetime
    """When the slot, or the step, begins in which they were created."""
    tenant_id: TenantId
    task: str | None
    sender: str | None
    country: str | None
    """Of the recipient, by its two letters; see :func:`core.country.country_of`."""
    status: Status
    reason: str | None
    error_code: int | None
    messages: int
    """At least one."""


class Counting(NamedTuple):
    """What was counted, in any order."""

    counted: list[Counted]
    whole_since: datetime | None
    """Only entries created from then on are in it; ``None`` where all that were asked for are."""


class Counts(Protocol):
    """The entries of a ledger as numbers, as they are committed at this moment."""

    def counts(
        self,
        *,
        since: datetime,
        before: datetime,
        tenant_id: TenantId | None = None,
        step: timedelta = SLOT,
    ) -> Counting:
        """Count entries by what they have in common and the slot in which they were created.

        What was deleted is not counted any more. A store that keeps no counts reads the newest
        entries only, and tells how far back that goes. May raise ``LedgerUnavailable``.

        Args:
            since: the first slot is the one that this falls in.
            before: the last slot is the last that begins before this.
            tenant_id: whose entries; of all tenants where none is told.
            step: adds up what was created within so long, whole slots, counted from 1970; ``at`` is where
                a step begins.
        """
        ...
