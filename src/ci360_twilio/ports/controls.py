"""What a person steers by, and what is noted of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

import msgspec

from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports.ledger import Waiting


class Note(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of the audit: what a person did to the ledger."""

    at: datetime
    by: str
    action: str
    """``pause``, ``resume``, ``cancel``, ``replay``, ``resolve``, ``consent``, ``erase``, ``backup``..."""
    subject: str
    """What it concerned: a scope, a key; never a recipient or a text."""
    entries: int | None = None
    detail: str | None = None
    tenant_id: TenantId | None = None
    """Whose it concerned, where it was one tenant's alone."""


class Controls(Protocol):
    """What a person steers by. Every change is one commit, and all processes obey it from then on."""

    def pauses(self) -> list[Pause]:
        """List what is not sent for now, oldest first."""
        ...

    def pause(self, pause: Pause, *, note: Note | None = None, replace: bool = False) -> bool:
        """Write a pause, and the note with it; no message starts that it covers from then on.

        One of the same name is kept as it is, and ``False`` returned, unless ``replace`` is set;
        with ``replace`` one that is gone is not written anew.
        """
        ...

    def resume(self, names: Iterable[str], *, note: Note | None = None) -> int:
        """Lift pauses; gives how many there were. What waited behind them can be claimed."""
        ...

    def take_probe(self, name: str, *, now: datetime, until: datetime) -> Pause | None:
        """Put a pause's ``probe_at`` off, if it is due, so that one process probes; gives it then."""
        ...

    def waiting(self, now: datetime) -> list[Waiting]:
        """Count what waits, by place."""
        ...

    def is_queued(self) -> bool:
        """Tell whether anything waits in a sender's queue; cheaper than to count it."""
        ...

    def write_note(self, note: Note) -> None:
        """Add a line to the audit."""
        ...

    def notes(self, limit: int) -> list[Note]:
        """List the audit, newest first."""
        ...
