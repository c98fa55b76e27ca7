"""Sending a message again, by a new entry: what keeps it from that, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ci360_twilio.core.country import country_of
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.core.replay import Objection, again
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import BeforeSending
from ci360_twilio.ports import Ledger, Tenants

_KEPT_BACK = frozenset({Status.SUPPRESSED, Status.EXPIRED, Status.CANCELED})


class Resending:
    """Writes entries that send messages again. Holds nothing between calls."""

    def __init__(self, ledger: Ledger, tenants: Tenants, ttl: timedelta) -> None:
        """Make it; what is sent again may be sent for ``ttl``."""
        self._ledger = ledger
        self._tenants = tenants
        self._ttl = ttl

    def gate(self, entry: Entry, now: datetime) -> Objection | None:
        """Tell which gate would not let a message through now; the recipient's limit comes later."""
        if entry.message is None:
            return _objection("no_message")
        if entry.not_after is not None and entry.not_after <= now:
            return _objection("expired")
        try:
            tenant = self._tenants.get(entry.tenant_id)
        except BeforeSending as exc:
            return _objection(exc.code)
        if tenant.countries is not None and country_of(entry.message.to) not in tenant.countries:
            return _objection("country_not_allowed")
        return None

    def write(self, entries: Sequence[Entry], now: datetime, reason: str) -> list[Entry]:
        """Write the new entries, in one commit; gives each as it stands.

        Doing so twice writes one. Limits by recipient are the tenants' own.
        """
        tenants = {entry.tenant_id: self._tenants.get(entry.tenant_id) for entry in entries}
        fresh = [
            again(entry, now=now, ttl=self._ttl, step="steer", reason=reason) for entry in entries
        ]
        inserted = self._ledger.insert_many(fresh, recipient_limits=_limits(tenants))
        return [one.entry for one in inserted]


def kept_back(fresh: Entry) -> Objection | None:
    """Tell what keeps a new entry from being sent, as it was written."""
    return _objection(fresh.reason or fresh.status) if fresh.status in _KEPT_BACK else None


def _objection(code: str) -> Objection:
    return Objection(code, reason_words(code))


def _limits(tenants: dict[TenantId, Tenant]) -> dict[TenantId, int]:
    limits = {name: tenant.messages_per_recipient_per_day for name, tenant in tenants.items()}
    return {name: limit for name, limit in limits.items() if limit is not None}
