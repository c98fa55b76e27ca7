"""A request of CI360's, and whether whoever makes it may speak for a tenant."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ci360_twilio.core.access import NONE, Credentials, fits
from ci360_twilio.core.tenant import Tenant, parse_tenant_id
from ci360_twilio.errors import Forbidden, NoCredential, TenantUnknown
from ci360_twilio.ports import Tenants


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One request of CI360's, as an edge hands it in."""

    body: bytes
    credentials: Credentials = NONE
    waived: bool = False
    """Whether a tenant without credentials is served here: loopback, or a gateway checked."""
    trusted: bool = False
    """Whether the caller need not present anything: a person at the command line."""
    request_id: str = ""


def let_in(tenants: Tenants, tenant_id: object, arrival: Arrival, now: datetime) -> Tenant:
    """Let the caller in: no credential 401, a wrong one and an unknown tenant alike 403.

    Args:
        tenants: everybody's documents.
        tenant_id: whose request it says it is.
        arrival: the request.
        now: when it came, by which tokens expire.

    Raises:
        BadTenantId: the id is missing or malformed.
        NoCredential: nothing was presented.
        Forbidden: what was presented does not fit.
        TenantUnavailable: the tenant's document cannot be read just now.
    """
    known = parse_tenant_id(tenant_id)
    sent, trusted = arrival.credentials.sent, arrival.trusted
    if not sent and not arrival.waived and not trusted:
        raise NoCredential("The request carries no credential.")
    try:
        tenant = tenants.get(known)
    except TenantUnknown:
        raise Forbidden(_FORBIDDEN) from None
    if trusted:
        return tenant
    if tenant.has_credentials:
        if not sent:
            raise NoCredential("The request carries no credential.")
        if not fits(arrival.credentials, tenant, now):
            raise Forbidden(_FORBIDDEN)
    elif not arrival.waived:
        raise Forbidden(_FORBIDDEN)
    return tenant


_FORBIDDEN = "The credential does not fit this tenant."
