"""Twilio's webhooks, as far as all kinds of them go: who posted this, and what is in it.

Whoever knows the address may post to it. So each must be signed for this very address by its tenant's
account; what it then changes is another step's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from ci360_twilio.core.signature import is_signed
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant_id
from ci360_twilio.errors import (
    BadTenantId,
    ConnectorError,
    Forbidden,
    NotReadable,
    TenantUnknown,
    TooLarge,
)
from ci360_twilio.ports import Tenants

MAX_WEBHOOK = 65_536
"""Largest body of a webhook; real ones have some 500 bytes."""

_FORBIDDEN = "The request is not from this tenant's Twilio account."


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One request of Twilio's, as an edge hands it in; all of it is hostile."""

    tenant_id: str
    """What stands in the path."""
    query: str = ""
    """What follows the ``?``, byte for byte."""
    headers: Mapping[str, str] = {}
    """Names in lower case."""
    body: bytes = b""
    request_id: str = ""


class Admitted(NamedTuple):
    """A webhook of the tenant's account."""

    tenant: Tenant
    form: dict[str, str]


class Refused(NamedTuple):
    """A webhook that is not let in, or that must come again."""

    error: ConnectorError
    reason: str
    """For the log alone."""
    tenant_id: TenantId | None = None


class Doorkeeper:
    """Lets webhooks in. Safe for many threads."""

    def __init__(self, tenants: Tenants, *, public_url: str | None) -> None:
        """Make it.

        Args:
            tenants: whose accounts sign.
            public_url: the address at which Twilio reaches us, without a slash at its end. Without
                one there is nothing that a signature could be compared with.
        """
        self._tenants = tenants
        self._public_url = public_url

    def admit(self, webhook: Webhook, route: str) -> Admitted | Refused:
        """Pass one webhook through the gates that need no ledger.

        Args:
            webhook: as it came.
            route: that it came to, in front of the tenant's id.
        """
        known: TenantId | None = None
        try:
            if len(webhook.body) > MAX_WEBHOOK:
                raise TooLarge(f"The body is over {MAX_WEBHOOK:,} bytes.")
            tenant_id = parse_tenant_id(webhook.tenant_id)
            if self._public_url is None:
                return refused("no_public_url")
            tenant = self._tenants.get(tenant_id)
            known = tenant.id
            if not self._signed_by(tenant, webhook, route):
                tenant = self._tenants.reread(tenant_id)  # its token may have changed
                if not self._signed_by(tenant, webhook, route):
                    return refused("signature", known)
            form = _form(webhook)
        except (BadTenantId, TenantUnknown):
            return refused("tenant")
        except ConnectorError as exc:
            return Refused(exc, exc.code, known)
        if form.get("AccountSid") != tenant.account:
            return refused("account", known)
        return Admitted(tenant, form)

    def _signed_by(self, tenant: Tenant, webhook: Webhook, route: str) -> bool:
        query = f"?{webhook.query}" if webhook.query else ""
        return is_signed(
            url=f"{self._public_url}{route}{tenant.id}{query}",
            body=webhook.body,
            headers=webhook.headers,
            tokens=tenant.webhook_tokens,
            webhook_keys=tenant.webhook_keys,
        )


def refused(reason: str, tenant_id: TenantId | None = None) -> Refused:
    """Refuse in the same words whatever the reason is: nobody learns which tenants there are."""
    return Refused(Forbidden(_FORBIDDEN), reason, tenant_id)


def refusal_fields(refusal: Refused) -> dict[str, Any]:
    """Give what a log line says of a refusal."""
    return {"decision": refusal.error.http_status, "reason": refusal.reason}


def _form(webhook: Webhook) -> dict[str, str]:
    """Read the members of a signed body, a form or JSON.

    Raises:
        NotReadable: it is neither.
    """
    try:
        if "json" not in webhook.headers.get("content-type", "").lower():
            return dict(parse_qsl(webhook.body.decode(), keep_blank_values=True))
        members = msgspec.json.decode(webhook.body, type=dict[str, Any])
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise NotReadable("The body can not be read.") from None
    return {name: value for name, value in members.items() if isinstance(value, str)}
