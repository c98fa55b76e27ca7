"""What Twilio says of a message it made -> :class:`Receipt`.

Sources: Twilio's Messages resource (docs/messaging/api/message-resource) and its guide to outbound
message status; callbacks come late, twice and out of order, so every status has a rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from typing_extensions import TypeIs


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
    sender: str | None = None
    """Who sent it, where Twilio says so: whom a Messaging Service has chosen."""
    made: str | None = None
    """When Twilio made it, by its clock, as it writes dates; see :func:`moment_of`."""
    carrier_done: str | None = None
    """When the carrier was done with it: ``RawDlrDoneDate``, ``YYMMDDhhmm`` without a zone."""

    @property
    def rank(self) -> int:
        """Where the status stands; a receipt of a lower rank changes nothing."""
        return RANKS.get(self.status, -1)


def parse_resource(resource: Mapping[str, Any]) -> Receipt | None:
    """Read a message resource as Twilio answers it; ``None`` if it names no message.

    A status that is no word counts as ``accepted``: the message exists, and that is what matters.
    """
    sid, status, code = (resource.get(name) for name in ("sid", "status", "error_code"))
    if not is_sid(sid):
        return None
    return Receipt(
        sid=sid,
        status=_word(status) or "accepted",
        error_code=_code(code),
        sender=_short(resource.get("from")),
        made=_short(resource.get("date_created")),
    )


def parse_callback(form: Mapping[str, str]) -> Receipt | None:
    """Read a status callback's form; ``None`` if it names no message or no status.

    Parameters that are not known are left aside: Twilio adds some without notice.
    """
    sid = form.get("MessageSid") or form.get("SmsSid")
    status = _word(form.get("MessageStatus") or form.get("SmsStatus"))
    code = form.get("ErrorCode", "")
    if not is_sid(sid) or status is None:
        return None
    is_number = code.isascii() and code.isdecimal() and len(code) < _LONGEST
    done = form.get("RawDlrDoneDate", "")
    return Receipt(
        sid=sid,
        status=status,
        error_code=_code(int(code)) if is_number else None,
        sender=_short(form.get("From")),
        carrier_done=done if _DONE.fullmatch(done) else None,
    )


def moment_of(date: object) -> datetime | None:
    """Read a date of RFC 2822, as Twilio writes them; one without a zone is in UTC."""
    if not isinstance(date, str) or len(date) > _LONGEST_DATE:
        return None
    try:
        moment = parsedate_to_datetime(date)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


_LONGEST = 64
"""Characters of a SID or a status; Twilio's have 34 and 19."""
_LARGEST_CODE = 9_999_999
"""Twilio's codes have five digits."""
_LONGEST_DATE = 100
_DONE = re.compile(r"[0-9]{6,14}")


MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
"""What Twilio's SIDs of messages look like (docs/glossary/what-is-a-sid); for what people type."""


def is_sid(value: object) -> TypeIs[str]:
    """Tell whether a value may be the SID of a message."""
    return isinstance(value, str) and len(value) <= _LONGEST and value.isascii() and value.isalnum()


def _word(value: object) -> str | None:
    """Give a status in lower case; callbacks and resources write it alike."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    return value.lower() if value.isascii() and value.isidentifier() else None


def _short(value: object) -> str | None:
    """Give a text that is neither empty nor longer than what Twilio writes there."""
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_DATE else None


def _code(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= _LARGEST_CODE else None


_FINAL = frozenset(
    {
        ProviderStatus.DELIVERED,
        ProviderStatus.UNDELIVERED,
        ProviderStatus.FAILED,
        ProviderStatus.CANCELED,
        ProviderStatus.READ,
    }
)


def is_final(status: str | None) -> bool:
    """Tell whether Twilio has said the last word on a message, but for a failure it takes back."""
    return status in _FINAL
