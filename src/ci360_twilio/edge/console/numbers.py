"""Real numbers to which tests may go, as pages name them: by a hash, since numbers stay masked."""

from __future__ import annotations

from typing import NamedTuple

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.accounts import TestNumber
from ci360_twilio.edge.console.desk import Visit


class Allowed(NamedTuple):
    """A number that is allowed."""

    which: str
    """What forms call it by."""
    of: TestNumber


def allowed_numbers(visit: Visit, tenant_id: TenantId) -> list[Allowed]:
    """List a tenant's."""
    found = visit.desk.accounts.test_numbers(tenant_id)
    return [Allowed(visit.store.keyed(f"test number {one.number}"), one) for one in found]


def number_of(visit: Visit, tenant_id: TenantId, which: str) -> str | None:
    """Give the number that a form means, if it is still allowed."""
    found = (one.of.number for one in allowed_numbers(visit, tenant_id) if one.which == which)
    return next(found, None)
