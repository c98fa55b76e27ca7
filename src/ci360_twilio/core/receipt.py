"""What Twilio says of a message it made -> :class:`Receipt`.

Sources: Twilio's Messages resource (docs/messaging/api/message-resource) and its guide to outbound
message status; callbacks come late, twice and out of order, so every status has a rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class ProviderStatus(StrEnum):
    """Twilio's own states of an outbound message."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    CANCELED = "canceled"
    PARTIALLY_DELIVERED = "partially_delivered"
    DELIVERED = "delivered"
    READ = "read"


RANKS: Mapping[str, int] = {
    ProviderStatus.ACCEPTED: 0,
    ProviderStatus.SCHEDULED: 1,
    ProviderStatus.QUEUED: 2,
    ProviderStatus.SENDING: 3,
    ProviderStatus.SENT: 4,
    ProviderStatus.PARTIALLY_DELIVERED: 4,
    # A failure may be followed by proof of delivery, never the other way round: carriers report
    # the segments of one message apart, and one that arrived has arrived.
    ProviderStatus.CANCELED: 5,
    ProviderStatus.FAILED: 5,
    ProviderStatus.UNDELIVERED: 6,
    ProviderStatus.DELIVERED: 7,
    ProviderStatus.READ: 8,
}


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One statement of Twilio's about one message."""

    sid: str
    status: str
    """Twilio's word; one we do not know has the lowest rank."""
    error_code: int | None = None

    @property
    def rank(self) -> int:
        """Where the status stands; a receipt of a lower rank changes nothing."""
        return RANKS.get(self.status, -1)


def parse_resource(resource: Mapping[str, Any]) -> Receipt | None:
    """Read a message resource as Twilio answers it; ``None`` if it names no message."""
    sid, status, code = (resource.get(name) for name in ("sid", "status", "error_code"))
    if not isinstance(sid, str) or not sid or len(sid) > 64 or not sid.isalnum():
        return None
    return Receipt(
        sid=sid,
        status=status if isinstance(status, str) and status.isidentifier() else "accepted",
        error_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
    )
