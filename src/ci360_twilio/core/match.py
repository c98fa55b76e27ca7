"""Which rows of Twilio's message list may be a message whose answer was lost.

Twilio shows a message otherwise than it was given: in part at first, altered, or redacted. A row that
shows nothing of something may be the message as far as that goes. What Twilio has put ``XXXX`` into
(redacted numbers) cannot be told from others and is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt, moment_of, parse_resource
from ci360_twilio.core.segments import smart_encode


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the list, as far as matching needs it."""

    receipt: Receipt
    to: str
    sender: str | None = None
    """``None`` where a Messaging Service has not chosen it yet."""
    service: str | None = None
    body: str | None = None
    media: int | None = None
    created_at: datetime | None = None
    """In UTC, whole seconds."""
    outbound: bool = True


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is looked for, and the span in which it may have been made.

    Margins are part of the span already.
    """

    message: Message
    since: datetime
    until: datetime


def parse_listed(resource: Mapping[str, Any]) -> Listed | None:
    """Read a row of the list; ``None`` if it names no message. Nulls and odd types are as absent."""
    receipt = parse_resource(resource)
    to = _text(resource.get("to"))
    if receipt is None or to is None:
        return None
    return Listed(
        receipt=receipt,
        to=to,
        sender=_text(resource.get("from")) or None,
        service=_text(resource.get("messaging_service_sid")) or None,
        body=_text(resource.get("body")),
        media=_number(resource.get("num_media")),
        created_at=moment_of(resource.get("date_created")),
        outbound=(_text(resource.get("direction")) or "outbound").startswith("outbound"),
    )


def candidates(sought: Sought, rows: Iterable[Listed]) -> list[Listed]:
    """Give the rows that may be the message, each SID once."""
    found = {row.receipt.sid: row for row in rows if matches(sought, row)}
    return list(found.values())


def matches(sought: Sought, row: Listed) -> bool:
    """Tell whether a row may be the message; what the row does not show is not compared.

    Of a Messaging Service the service is compared, since whom it chooses is its own affair. Its rows
    may count no media at first, as they count no segments then (our judgement). From a sender of
    ours the number of media stands from the beginning.
    """
    message = sought.message
    return (
        row.outbound
        and row.to == message.to
        and _is_from(message, row)
        and (row.created_at is None or sought.since <= row.created_at <= sought.until)
        and _has_media_of(message, row)
        and same_text(message.body, row.body)
    )


def _is_from(message: Message, row: Listed) -> bool:
    shown = row.service if message.is_service else row.sender
    # SIDs and names of senders mean the same in either case
    return shown is None or shown.lower() == message.sender.lower()


def _has_media_of(message: Message, row: Listed) -> bool:
    if row.media is None or (row.media == 0 and message.is_service):
        return True
    return row.media == len(message.media_urls)


def same_text(ours: str, theirs: str | None) -> bool:
    """Tell whether a text that Twilio shows may be ours.

    Known of Twilio: Smart Encoding replaces characters, and may have done so or not
    (docs/messaging/services#smart-encoding); a link that is shortened is another link, at a domain
    of the account's; a redacted text is empty (docs/messaging/api/message-resource). Seen by users:
    trial accounts put a sentence in front. Our judgement: white space counts as one blank; any link, also one
    without ``https://`` but with a path, counts as any other; composed and decomposed characters
    are the same; a text of nothing but asterisks, or that says ``redacted``, has been redacted, too.
    """
    if theirs is None or ours == theirs or _REDACTED.fullmatch(theirs[:_LONGEST]):
        return True
    # Twilio may have replaced characters before they were composed, or after
    return not _forms(ours).isdisjoint(_forms(theirs.removeprefix(_TRIAL)))


_LONGEST = 4_000
"""Characters that are compared; a message has at most 1,600."""
_TRIAL = "Sent from your Twilio trial account - "
_REDACTED = re.compile(r"[\s*\u2022\u25cf\u25a0\u2588]*|\s*\W?redacted\W?\s*", re.IGNORECASE)
_LINK = re.compile(
    r"https?://\S+|(?<![a-z0-9.-])(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,63}/\S+", re.IGNORECASE
)
_SPACE = re.compile(r"\s+")


def _forms(text: str) -> set[str]:
    text = text[:_LONGEST]
    return {_plain(text), _plain(unicodedata.normalize("NFC", text))}


def _plain(text: str) -> str:
    text = smart_encode(unicodedata.normalize("NFC", smart_encode(text)))
    return _SPACE.sub(" ", _LINK.sub("\ufffc", text)).strip()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 8:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
