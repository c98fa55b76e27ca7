"""Status callbacks: what Twilio posts when a message changes its status, and how often it tries.

Sources: docs/messaging/guides/outbound-message-status-in-status-callbacks for the parameters,
docs/usage/webhooks/webhooks-connection-overrides for repeating.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from urllib.parse import parse_qs

import msgspec

from ci360_twilio.twin.answer import API_VERSION
from ci360_twilio.twin.message import Message, MessageStatus

MAX_RETRIES = 5
BACKOFF = timedelta(seconds=1)
"""Before the first repetition; doubled for each further one."""


class Failing(StrEnum):
    """How a callback failed, as ``rp`` names it."""

    CONNECT = "ct"
    """No connection came about."""
    READ = "rt"
    """No answer came in time."""
    CLIENT = "4xx"
    SERVER = "5xx"


class Retries(msgspec.Struct, frozen=True):
    """How often a callback is repeated, and after which failures."""

    count: int
    after: frozenset[str]


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a client's ``StatusCallback``.

    Attributes:
        at: when it is made.
        url: without the fragment, which is for Twilio alone.
        form: its parameters.
        signature: the value of ``X-Twilio-Signature``.
        retries: what is done if it fails.
        attempt: counts how often it was made, this time included.
        fallback: the address that is tried when this one is given up, if there is one.
    """

    at: datetime
    url: str
    form: dict[str, str]
    signature: str
    retries: Retries
    attempt: int = 1
    fallback: str = ""


@lru_cache(maxsize=1024)
def parse_retries(fragment: str) -> Retries:
    """Read the connection overrides of an address; what cannot be read is as if absent.

    Twilio repeats once, after failed connections, unless ``rc`` and ``rp`` say else.
    """
    given = {name: values[-1] for name, values in parse_qs(fragment).items()}
    count = given.get("rc", "")
    after = frozenset(given.get("rp", "").split(",")) & {*Failing, "all"}
    if "all" in after:
        after = frozenset(Failing)
    return Retries(
        int(count) if count.isdecimal() and int(count) <= MAX_RETRIES else 1,
        after or frozenset({Failing.CONNECT}),
    )


def callback_of(message: Message, at: datetime, *, carrier_date: bool = False) -> Callback:
    """Make the callback of a message's present status, not signed yet.

    Args:
        message: whose ``status_callback`` is set.
        at: when it is made.
        carrier_date: whether the carrier told when it was done.
    """
    url, _, fragment = (message.status_callback or "").partition("#")
    form = {
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageStatus": str(message.status),
        "SmsStatus": str(message.status),
        "AccountSid": message.account,
        "To": message.to,
        "ApiVersion": API_VERSION,
    }
    if sender := message.sender or message.via:
        form["From"] = sender
    if message.service:
        form["MessagingServiceSid"] = message.service
    if message.error_code:
        form["ErrorCode"] = str(message.error_code)
    if carrier_date and message.status in (MessageStatus.DELIVERED, MessageStatus.UNDELIVERED):
        form["RawDlrDoneDate"] = f"{message.updated_at:%y%m%d%H%M}"
    return Callback(at=at, url=url, form=form, signature="", retries=parse_retries(fragment))


def repeated(callback: Callback, now: datetime, how: Failing) -> Callback | None:
    """Give the next attempt at a callback that failed; ``None`` where it is given up."""
    if callback.attempt > callback.retries.count or how not in callback.retries.after:
        return _fallen_back(callback, now) if callback.fallback else None
    at = now + BACKOFF * 2 ** (callback.attempt - 1)
    return msgspec.structs.replace(callback, at=at, attempt=callback.attempt + 1)


def _fallen_back(callback: Callback, now: datetime) -> Callback:
    """Give the first attempt at the other address."""
    url, _, fragment = callback.fallback.partition("#")
    return msgspec.structs.replace(
        callback, at=now, url=url, retries=parse_retries(fragment), attempt=1, fallback=""
    )
