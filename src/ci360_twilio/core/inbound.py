"""One message that a customer sent to a number of ours: :class:`Inbound`.

Twilio posts it (docs/messaging/guides/webhook-request), or lists it with the others (docs/messaging/
api/message-resource); the list tells its date, and neither buttons nor the addresses of media.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.event import Origin
from ci360_twilio.core.receipt import is_sid, moment_of
from ci360_twilio.core.report import Outcome, Report, owe
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.wish import Wish

MOST_MEDIA = 10
_LONGEST_ADDRESS = 320
_LONGEST_TEXT = 8_192
_LONGEST_BUTTON = 256
_LONGEST_URL = 2_000
_LONGEST_KIND = 100


def inbound_key(tenant_id: TenantId, sid: str) -> Key:
    """Give the key of an inbound message; Twilio may post the same one twice. No entry has such a key."""
    return Key(f"inbound:{tenant_id}/{sid}")


class Medium(NamedTuple):
    """A picture or the like, at Twilio."""

    url: str
    kind: str


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What Twilio says of an inbound message."""

    sid: str
    sender: str
    """The customer's address, with a channel's prefix where there is one."""
    to: str
    """Ours."""
    service: str | None = None
    """The Messaging Service that our number belongs to."""
    body: str = ""
    media: tuple[Medium, ...] = ()
    media_count: int = 0
    button_text: str | None = None
    button_payload: str | None = None
    opt_out_type: str = ""
    """What Twilio took it for: ``STOP``, ``START``, ``HELP``."""
    dated_at: datetime | None = None
    """When it was made, by Twilio's clock; only lists tell."""


class Inbound(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One inbound message, the customer it is from as far as that is known, and what CI360 is told."""

    key: Key
    tenant_id: TenantId
    heard: Heard
    heard_at: datetime
    purge_at: datetime
    wish: Wish = Wish.NONE
    answers: Key | None = None
    """The entry whose message it answers: the latest one between the two numbers."""
    origin: Origin = Origin()
    """Where in CI360 that message came from, and so who the customer is."""
    repeats: int = 0
    """How often Twilio posted or listed it again."""
    tells: tuple[Outcome, ...] = ()
    """What of it CI360 is told, as the tenant wished when it came."""
    reports: tuple[Report, ...] = ()


def parse_inbound(form: Mapping[str, str]) -> Heard | None:
    """Read the form of an inbound webhook; ``None`` if it names no message, customer or number.

    Parameters that are not known are left aside: Twilio adds some without notice.
    """
    sid = form.get("MessageSid") or form.get("SmsSid") or form.get("SmsMessageSid")
    sender, to = _address(form.get("From")), _address(form.get("To"))
    if not is_sid(sid) or sender is None or to is None:
        return None
    count = _number(form.get("NumMedia"))
    return Heard(
        sid=sid,
        sender=sender,
        to=to,
        service=_address(form.get("MessagingServiceSid")),
        body=form.get("Body", "")[:_LONGEST_TEXT],
        media=_media(form, count),
        media_count=count,
        button_text=form.get("ButtonText", "")[:_LONGEST_BUTTON] or None,
        button_payload=form.get("ButtonPayload", "")[:_LONGEST_BUTTON] or None,
        opt_out_type=form.get("OptOutType", "")[:20],
    )


def parse_listed_inbound(resource: Mapping[str, Any]) -> Heard | None:
    """Read a row of Twilio's list; ``None`` for one that is not inbound, or names too little."""
    if resource.get("direction") != "inbound":
        return None
    sid, body = resource.get("sid"), resource.get("body")
    sender, to = _address(resource.get("from")), _address(resource.get("to"))
    if not is_sid(sid) or sender is None or to is None:
        return None
    return Heard(
        sid=sid,
        sender=sender,
        to=to,
        service=_address(resource.get("messaging_service_sid")),
        body=body[:_LONGEST_TEXT] if isinstance(body, str) else "",
        media_count=_number(resource.get("num_media")),
        dated_at=moment_of(resource.get("date_created")),
    )


def answering(inbound: Inbound, entry: Entry | None) -> Inbound:
    """Give an inbound message as an answer to an entry's message, and so as from its customer."""
    if entry is None:
        return inbound
    return msgspec.structs.replace(inbound, answers=entry.key, origin=entry.origin)


def owing(inbound: Inbound, outcome: Outcome, at: datetime) -> Inbound:
    """Give an inbound message that owes CI360 the report of an outcome, if that is told at all."""
    if outcome not in inbound.tells:
        return inbound
    reports = owe(inbound.reports, inbound.key, outcome, at, sid=inbound.heard.sid)
    return msgspec.structs.replace(inbound, reports=reports)


def _address(value: object) -> str | None:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ADDRESS:
        return None
    return value if value.isprintable() else None


def _number(value: object) -> int:
    if not isinstance(value, str) or not (value.isascii() and value.isdecimal()):
        return 0
    return min(int(value[:4]), 1_000)


def _media(form: Mapping[str, str], count: int) -> tuple[Medium, ...]:
    numbers = range(min(count, MOST_MEDIA))
    found = (
        Medium(form.get(f"MediaUrl{n}", ""), form.get(f"MediaContentType{n}", "")[:_LONGEST_KIND])
        for n in numbers
    )
    return tuple(one for one in found if 0 < len(one.url) <= _LONGEST_URL)
