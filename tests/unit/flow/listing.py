"""What the tests of listed inbound messages have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.catchup import CatchingUp

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME = TenantId("acme")
OURS, OURS_TOO = "+12015550199", "+12015550198"
EVERY = 600.0


def process(world: World) -> CatchingUp:
    """Give what another process has."""
    return CatchingUp(
        world.store,
        world.client,
        world.listening,
        world.tenants,
        world.clock,
        world.log,
        every=EVERY,
    )


def add(catching_up: CatchingUp, *senders: str, tenant_id: TenantId = ACME) -> None:
    """Have numbers listed from now on."""
    catching_up.add((tenant_id, sender) for sender in senders)


def list_all(catching_up: CatchingUp) -> int:
    """List all that is due; gives how many chores that were."""
    count = 0
    while catching_up.list_due():
        count += 1
    return count
