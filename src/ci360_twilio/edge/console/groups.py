"""What the members of a provider's groups may do in the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ci360_twilio.core.person import Role
from ci360_twilio.core.tenant import TenantId


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the members of one of the provider's groups may do here."""

    role: Role
    tenants: tuple[TenantId, ...] | None = None
    """Whose messages they see; ``None`` for all tenants'."""


def map_groups(groups: Iterable[str], table: Mapping[str, Group]) -> Group | None:
    """Give the one role and the tenants of somebody in several groups; ``None`` if nothing fits.

    The role is the highest that any of the groups gives. The tenants are those for which a group gives
    that role, and no others: who is operator of one tenant and viewer of another becomes operator of
    the first, and does not see the second. A group of no tenants gives nothing.
    """
    fitting = [table[name] for name in {*groups} if name in table and table[name].tenants != ()]
    if not fitting:
        return None
    order = [*Role]
    role = max((group.role for group in fitting), key=order.index)
    tenants: set[TenantId] = set()
    for group in fitting:
        if group.role == role:
            if group.tenants is None:
                return Group(role)
            tenants.update(group.tenants)
    return Group(role, tuple(sorted(tenants)))
