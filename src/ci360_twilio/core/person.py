"""People who use the console: what each may do, and whose messages they may see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ci360_twilio.core.tenant import TenantId


class Role(StrEnum):
    """What a person is here for; each may do what those before it may."""

    VIEWER = "viewer"
    """Sees what happens; numbers and texts stay masked."""
    MARKETER = "marketer"
    """Tries creatives, sends tests, rehearses campaigns."""
    OPERATOR = "operator"
    """Steers: pauses, cancels, replays, decides about consents; may unmask."""
    ADMINISTRATOR = "administrator"
    """Says who may do what, and to which real numbers tests may go."""


class Right(StrEnum):
    """Something that not everybody may do."""

    SEE = "see"
    CREATE = "create"
    """Try creatives, send tests, rehearse."""
    UNMASK = "unmask"
    STEER = "steer"
    ADMINISTER = "administer"


_FIRST: Mapping[Right, Role] = {
    Right.SEE: Role.VIEWER,
    Right.CREATE: Role.MARKETER,
    Right.UNMASK: Role.OPERATOR,
    Right.STEER: Role.OPERATOR,
    Right.ADMINISTER: Role.ADMINISTRATOR,
}
"""The lowest role that has a right."""

_ORDER = [*Role]

NAME = re.compile(r"[^\W_](?:[\w.@+\- ]{0,98}[\w])?")
"""What people may be called: letters, digits, and what stands in addresses."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who uses the console."""

    name: str
    role: Role
    tenants: tuple[TenantId, ...] | None = None
    """Whose messages they see; ``None`` for all tenants'."""

    def __str__(self) -> str:
        """Say what they may do, and for whom."""
        return (
            f"{self.role} of {'all tenants' if self.tenants is None else ', '.join(self.tenants)}"
        )

    @property
    def only_tenant(self) -> TenantId | None:
        """The tenant whose messages alone they see, if it is one."""
        return self.tenants[0] if self.tenants and len(self.tenants) == 1 else None

    def may(self, right: Right) -> bool:
        """Tell whether the person has a right."""
        return _ORDER.index(self.role) >= _ORDER.index(_FIRST[right])

    def sees(self, tenant_id: TenantId | None) -> bool:
        """Tell whether the person may see, and with the rights for it change, what is a tenant's.

        What belongs to no tenant, or to all, takes a person of all tenants.
        """
        return self.tenants is None or tenant_id in self.tenants
