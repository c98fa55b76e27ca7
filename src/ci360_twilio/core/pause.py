"""What is not sent for now: a pause of everything, a tenant, a task, a sender or a country.

A pause is set by a person, by a limit, by a configuration error or by a restore; it lasts until it
is lifted, over restarts. What it covers stays ``accepted`` and expires in its time. A pause of
*reports* keeps no message from being sent: it keeps CI360 from being told of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from ci360_twilio.core.country import country_of
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.tenant import TenantId


class Scope(StrEnum):
    """How much a pause covers."""

    ALL = "all"
    TENANT = "tenant"
    TASK = "task"
    SENDER = "sender"
    COUNTRY = "country"
    JOB = "job"
    REPORTS = "reports"
    """What CI360 is told of a tenant's messages; never the messages."""


class Cause(StrEnum):
    """Who or what set a pause."""

    PERSON = "person"
    LIMIT = "limit"
    """A tenant's messages in an hour; lifted by a person."""
    CONFIG = "config"
    """Twilio refuses for a setting; probed, and lifted by itself."""
    RESTORE = "restore"
    """The ledger is another's past; lifted by a person."""


_PLACE = "paused:"


class Pause(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One pause. ``tenant_id`` narrows it to one tenant; ``ALL`` and a bare value concern every one."""

    scope: Scope
    tenant_id: TenantId | None = None
    value: str | None = None
    """The task's code, the sender, the country's two letters, or the job's id."""
    cause: Cause
    reason: str
    """A code, as an entry carries it: ``paused``, ``hourly_limit``, ``twilio_20003``, ``restored``."""
    since: datetime
    by: str | None = None
    """Who set it, as the operating system knows them."""
    probe_at: datetime | None = None
    """When to try whether its cause is gone; only after a configuration error."""
    failures: int = 0
    """Probes that failed in a row."""
    probe: Key | None = None
    """The entry that is let through to try."""
    by_account: bool = False
    """Whether asking Twilio for the account tells: the credentials do not fit."""
    by_receipt: bool = False
    """Whether only the final status of the probe tells: receipts set the pause, not answers."""

    @property
    def name(self) -> str:
        """What tells it from others: its cause and what it covers."""
        return f"{self.cause}:{self.scope}:{self.tenant_id or '*'}:{self.value or '*'}"

    @property
    def place(self) -> str:
        """Where the entries wait that it covers."""
        return f"{_PLACE}{self.name}"

    @property
    def needs_entry(self) -> bool:
        """Whether it is probed by one real message; else by asking Twilio for the account."""
        return (
            self.cause is Cause.CONFIG and not self.by_account and self.scope is not Scope.REPORTS
        )

    def covers(self, entry: Entry) -> bool:
        """Tell whether an entry may not be sent while the pause lasts."""
        if self.scope is Scope.REPORTS:
            return False
        if self.tenant_id is not None and self.tenant_id != entry.tenant_id:
            return False
        if self.scope is Scope.TASK:
            return entry.origin.task_code == self.value
        if self.scope is Scope.JOB:
            return entry.job == self.value
        if self.scope is Scope.SENDER:
            return entry.message is not None and entry.message.sender == self.value
        if self.scope is Scope.COUNTRY:
            return entry.message is not None and country_of(entry.message.to) == self.value
        return True

    def silences(self, tenant_id: TenantId) -> bool:
        """Tell whether CI360 is told nothing of a tenant while the pause lasts."""
        return self.scope is Scope.REPORTS and self.tenant_id in (None, tenant_id)

    def probe_is_due(self, now: datetime) -> bool:
        """Tell whether it is time to try again."""
        return self.probe_at is not None and self.probe_at <= now


def is_paused_place(place: str | None) -> bool:
    """Tell whether an entry that waits there waits for the end of a pause."""
    return place is not None and place.startswith(_PLACE)


def paused_by(entry: Entry, pauses: Iterable[Pause]) -> Pause | None:
    """Give the first pause that keeps an entry from being sent; the probe of one is let through."""
    return next((one for one in pauses if one.probe != entry.key and one.covers(entry)), None)
