"""What a person decides, and what came of it: values of :mod:`ci360_twilio.flow.steer`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from ci360_twilio.core.entry import Entry
from ci360_twilio.core.pause import Pause, Scope
from ci360_twilio.core.replay import Objection
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.selection import Chosen, Named
from ci360_twilio.logs import mask_number, safe_guid, safe_task


class Target(NamedTuple):
    """What a pause covers."""

    scope: Scope
    tenant_id: TenantId | None = None
    value: str | None = None
    """The task's code, the sender, the country's two letters, or the job's id."""

    def __str__(self) -> str:
        """Name it: ``task TSK_101 of tenant T``."""
        if self.scope is Scope.ALL:
            return "everything"
        of = f"tenant {self.tenant_id}" if self.tenant_id else ""
        if self.scope is Scope.TENANT:
            return of
        what = f"{self.scope} {self.value}" if self.value else str(self.scope)
        return what + (f" of {of}" if of else "")


def target_of(pause: Pause) -> Target:
    """Give what an existing pause covers."""
    return Target(pause.scope, pause.tenant_id, pause.value)


class Paused(NamedTuple):
    """The pause that stands, and whether this call wrote it."""

    pause: Pause
    new: bool


class Standing(NamedTuple):
    """A pause, how much of what it covers may still be sent, and how much has expired since."""

    pause: Pause
    valid: int = 0
    expired: int = 0


class Canceled(NamedTuple):
    """How many entries are taken back, and how many cannot be, by their status."""

    entries: int
    left: Mapping[str, int]


class Replayed(NamedTuple):
    """How many messages are sent again, and how many are not, by what speaks against it."""

    entries: int
    left: Mapping[Objection, int]


class Resolution(StrEnum):
    """How a person ends what could not be found out."""

    SENT = "sent"
    """Twilio made the message; its SID is given."""
    NOT_SENT = "not-sent"
    """It was not made, or it does not matter any more."""
    RESEND = "resend"
    """It is sent again, by a new entry; the customer may get it twice."""


class Resolved(NamedTuple):
    """An entry as it is afterwards, and the new one where its message is sent again."""

    entry: Entry
    again: Entry | None = None


def about(what: Target | Chosen) -> dict[str, Any]:
    """Give what a log line says of it: a sender's number is masked, of guids one at most is shown."""
    if isinstance(what, Target):
        masked = what.value and mask_number(what.value)
        value = safe_task(what.value) if what.scope is Scope.TASK else masked
        return {"scope": what.scope, "tenant": what.tenant_id, "value": value}
    if isinstance(what, Named):
        guid = safe_guid(what.guids[0]) if len(what.guids) == 1 else None
        return {"tenant": what.tenant_id, "guid": guid}
    return {
        "tenant": what.tenant_id,
        "task": safe_task(what.task),
        "sender": what.sender and mask_number(what.sender),
        "country": what.country,
    }
