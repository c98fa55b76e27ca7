"""What is to be done again and again, by one process at a time; and receipts that belong to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from ci360_twilio.core.tenant import TenantId


class Chore(NamedTuple):
    """Something that is due."""

    name: str
    """Its kind, then what it is about: ``hear:<tenant>/<number>``."""
    mark: str | None
    """How far it has come, as whoever did it last wrote."""


class Chores(Protocol):
    """A list of chores."""

    def add_chores(self, names: Iterable[str], *, due_at: datetime) -> None:
        """Write chores that are new; those that are known stay as they are."""
        ...

    def take_chore(self, kind: str, *, now: datetime, until: datetime) -> Chore | None:
        """Take a chore of a kind that is due, longest due first; it is put off ``until`` then."""
        ...

    def end_chore(self, name: str, *, due_at: datetime, mark: str | None) -> None:
        """Write when a chore is due next, and how far it has come."""
        ...

    def drop_chores(self, names: Iterable[str]) -> None:
        """Remove chores that nobody needs any more."""
        ...


class Stray(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Twilio's receipt of a message that we do not know: another program's, or one erased since."""

    tenant_id: TenantId
    sid: str
    status: str
    """The last that was heard."""
    error_code: int | None = None
    first_at: datetime
    last_at: datetime
    times: int = 1


class Strays(Protocol):
    """Receipts that belong to no entry, set aside for a while."""

    def keep_strays(self, strays: Sequence[Stray]) -> None:
        """Write receipts, or count them where the message is known here already, in one commit."""
        ...

    def strays(self, limit: int) -> list[Stray]:
        """List them, latest heard first."""
        ...
