"""What Twilio refuses, and with which code: a form becomes a draft of a message, or an error.

Codes are those of ``https://www.twilio.com/docs/api/errors``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import phonenumbers

from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.answer import MAX_BODY, MAX_MEDIA, MAX_VALIDITY, ApiError, Form, one

# https://www.twilio.com/docs/iam/test-credentials
MAGIC_TO: Mapping[str, int] = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
MAGIC_FROM: Mapping[str, int] = {
    "+15005550001": 21212,
    "+15005550007": 21606,
    "+15005550008": 21611,
}
MAGIC_SENDER = "+15005550006"
"""The only sender that test credentials can use."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER = re.compile(r"[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +\-_&.]{1,11}")
_CHANNEL = re.compile(r"(whatsapp|rcs|messenger):(.+)", re.DOTALL)
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")


def refuse_test(account: TwinAccount) -> None:
    """Keep test credentials from all but making messages.

    Raises:
        ApiError: 20008.
    """
    if account.test:
        raise ApiError(20008)


def is_service(text: str) -> bool:
    """Tell whether a text is the SID of a Messaging Service."""
    return _SERVICE.fullmatch(text) is not None


class Draft(NamedTuple):
    """What a message is made of, checked."""

    to: str
    sender: str | None
    service: str | None
    body: str
    media: tuple[str, ...]
    status_callback: str | None
    validity_period: int | None


def read_draft(account: TwinAccount, form: Form) -> Draft:
    """Read the form of a create request.

    Raises:
        ApiError: the parameters are not a message that this account may send.
    """
    if account.suspended:
        raise ApiError(20005)
    to = _recipient(account, one(form, "To"))
    sender, service = _sender(account, one(form, "From"), one(form, "MessagingServiceSid"))
    if sender and _channel(sender) != _channel(to):
        raise ApiError(21910)
    body, media = _content(form)
    return Draft(
        to=to,
        sender=sender,
        service=service,
        body=body,
        media=media,
        status_callback=_callback(one(form, "StatusCallback")),
        validity_period=_validity(one(form, "ValidityPeriod")),
    )


def _recipient(account: TwinAccount, to: str) -> str:
    if not to:
        raise ApiError(21604)
    if magic := MAGIC_TO.get(to):
        raise ApiError(magic, to)
    channel = _CHANNEL.fullmatch(to)
    number = channel[2] if channel else to
    if not (channel and channel[1] == "messenger") and not _is_number(number):
        raise ApiError(21211, to)
    if any(to.startswith(f"+{code}") for code in account.closed):
        raise ApiError(21408, to)
    return to


@lru_cache(maxsize=65_536)
def _is_number(text: str) -> bool:
    if not _E164.fullmatch(text):
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        return False


def _sender(account: TwinAccount, sender: str, service: str) -> tuple[str | None, str | None]:
    if not sender and not service:
        raise ApiError(21603)
    if service and not is_service(service):
        raise ApiError(21705, service)
    if service and account.services and service not in account.services:
        raise ApiError(21701, service)
    if account.test and sender and sender != MAGIC_SENDER:
        raise ApiError(MAGIC_FROM.get(sender, 21606), sender)
    if sender and not (_E164.fullmatch(sender) or _SENDER.fullmatch(sender) or _channel(sender)):
        raise ApiError(21212, sender)
    if sender and not account.test and account.numbers and sender not in account.numbers:
        raise ApiError(21659 if _E164.fullmatch(sender) else 21606, sender)
    return sender or None, service or None


def _channel(address: str) -> str:
    """Name the channel of an address; a plain number, short code or name has none."""
    channel = _CHANNEL.fullmatch(address)
    return channel[1] if channel else ""


def _content(form: Form) -> tuple[str, tuple[str, ...]]:
    body, media = one(form, "Body"), tuple(url for url in form.get("MediaUrl", ()) if url)
    if not body and not media:
        raise ApiError(21602)
    if len(body) > MAX_BODY:
        raise ApiError(21617)
    if len(media) > MAX_MEDIA:
        raise ApiError(21623)
    if not all(_is_web_address(url) for url in media):
        raise ApiError(21620)
    return body, media


def _callback(url: str) -> str | None:
    if url and (len(url) > 4000 or not _is_web_address(url)):
        raise ApiError(21609)
    return url or None


def _is_web_address(url: str) -> bool:
    """Tell whether Twilio could call it: http(s), and a host without underscores."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(
            parts.port != 0 and _HOST.fullmatch(parts.hostname or "")
        )
    except ValueError:
        return False


def _validity(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_VALIDITY:
        raise ApiError(21624)
    return int(text)
