"""Where Twilio reaches us: the addresses that it is given, and the routes that they lead to."""

from __future__ import annotations

from ci360_twilio.core.tenant import TenantId

STATUS = "/twilio/status/"
"""Where status callbacks come in; the tenant's id follows."""
INBOUND = "/twilio/inbound/"
"""Where customers' messages come in; the tenant's id follows."""
OVERRIDES = "#rc=5&rp=all"
"""Has Twilio repeat a webhook that did not get through, up to five times, whatever went wrong; by
itself it does so once, and only where no connection came about. It is no part of what is signed
(docs/usage/webhooks/webhooks-connection-overrides)."""


def status_address(public_url: str, tenant_id: TenantId, correlation: str) -> str:
    """Give the address to which Twilio posts what becomes of one message."""
    return f"{public_url}{STATUS}{tenant_id}?m={correlation}{OVERRIDES}"


def inbound_address(public_url: str, tenant_id: TenantId, *, fallback: bool = False) -> str:
    """Give the address to enter in Twilio for customers' messages, or for where that one fails."""
    return f"{public_url}{INBOUND}{tenant_id}{'?fallback=1' if fallback else ''}{OVERRIDES}"
