"""A message that Twilio made, and how it shows it."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

import msgspec

from ci360_twilio.core.segments import count_segments, smart_encode
from ci360_twilio.twin.answer import API_VERSION, Resource, collection
from ci360_twilio.twin.weather import CALM, Lot, Mishap

_LINK = re.compile(r"https?://\S+")
_SHORT_LINK = "https://twil.example/Ab3dEf"


class MessageStatus(StrEnum):
    """What has become of a message."""

    QUEUED = "queued"
    ACCEPTED = "accepted"
    """By a Messaging Service, which has not chosen a sender yet."""
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    RECEIVED = "received"
    """A customer's."""
    UNDELIVERED = "undelivered"
    FAILED = "failed"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was made, with its text as it was given.

    Attributes:
        number: counts the messages of all accounts.
        at: when it was made, in UTC.
        sender: as ``From`` had it; ``None`` where a Messaging Service chooses.
        via: the sender that the Messaging Service has chosen, from the message's turn on.
        sent_at: when it was sent, for those that were.
        stranger: whether somebody else made it, who is not the client under test.
        inbound: whether a customer sent it, to a number of the account's.
        lot: what befalls it in lists.
    """

    number: int
    sid: str
    account: str
    to: str
    sender: str | None
    service: str | None
    body: str
    media: tuple[str, ...]
    status: MessageStatus
    at: datetime
    updated_at: datetime
    status_callback: str | None = None
    validity_period: int | None = None
    error_code: int | None = None
    via: str | None = None
    sent_at: datetime | None = None
    stranger: bool = False
    inbound: bool = False
    lot: Lot = CALM

    @property
    def resource(self) -> Resource:
        """The message as Twilio shows it."""
        uri = f"{collection(self.account)}/{self.sid}"
        made_at = format_datetime(self.at)
        sent_at = made_at if self.sent_at is None else format_datetime(self.sent_at)
        return {
            "account_sid": self.account,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": made_at,
            "date_sent": sent_at,
            "date_updated": format_datetime(self.updated_at),
            "direction": "inbound" if self.inbound else "outbound-api",
            "error_code": self.error_code,
            "error_message": self.error_code
            and f"The twin was told to fail with {self.error_code}.",
            "from": self.sender or self.via,
            "messaging_service_sid": self.service,
            "num_media": str(len(self.media)),
            "num_segments": "0" if self.service and not self.via else str(self.segments),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }

    @property
    def customer(self) -> str:
        """Whose phone it is on: the one who is not an account's number."""
        return (self.sender or "") if self.inbound else self.to

    @property
    def ours(self) -> str:
        """The account's number, or the service that has not chosen one yet."""
        return self.to if self.inbound else self.sender or self.via or self.service or ""

    @property
    def dated(self) -> datetime:
        """The date it is listed by: of being sent, until then of being made."""
        return self.sent_at or self.at

    @property
    def shown(self) -> Resource:
        """The message as Twilio shows it afterwards, with what befalls it there."""
        resource, lot = self.resource, self.lot
        if lot.blank and self.service:
            resource["from"] = None
            if self.sent_at is None:
                resource["date_sent"] = None
        match lot.body:
            case Mishap.ENCODED:
                resource["body"] = smart_encode(self.body)
            case Mishap.SHORTENED:
                resource["body"] = _LINK.sub(_SHORT_LINK, self.body)
            case Mishap.REDACTED:
                resource["body"] = ""
        return resource

    @property
    def segments(self) -> int:
        """The parts it is sent in."""
        return 1 if self.media else count_segments(self.body).count
