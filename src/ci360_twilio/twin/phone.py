"""Customers' phones: what they write to an account's numbers, and whom they want to hear from.

Twilio keeps who wrote STOP to which number, or to which Messaging Service, and sends them nothing from
there (docs/messaging/tutorials/advanced-opt-out).
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.answer import API_VERSION
from ci360_twilio.twin.callback import Callback, parse_retries
from ci360_twilio.twin.message import Message

STOP_WORDS = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"}
)
START_WORDS = frozenset({"START", "UNSTOP", "YES"})
HELP_WORDS = frozenset({"HELP", "INFO"})


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer writes."""

    sender: str
    to: str
    body: str = ""
    media: tuple[str, ...] = ()
    button_text: str = ""
    button_payload: str = ""


def taken_for(body: str) -> str:
    """Tell what Twilio takes a text for: ``STOP``, ``START``, ``HELP``, or nothing."""
    word = body.strip().upper()
    for kind, words in (("STOP", STOP_WORDS), ("START", START_WORDS), ("HELP", HELP_WORDS)):
        if word in words:
            return kind
    return ""


class Blocks:
    """Who gets nothing more, from which number or service."""

    def __init__(self) -> None:
        self._blocked: set[tuple[str, str, str]] = set()

    def read(self, account: str, place: str, customer: str, body: str) -> None:
        """Take note of what a customer wrote to a number, or to the service that it belongs to."""
        kind = taken_for(body)
        if kind == "STOP":
            self._blocked.add((account, place, customer))
        elif kind == "START":
            self._blocked.discard((account, place, customer))

    def block(self, account: str, place: str, customer: str) -> bool:
        """Tell whether a customer gets nothing from there."""
        return (account, place, customer) in self._blocked


def webhook_of(account: TwinAccount, message: Message, letter: Letter, at: datetime) -> Callback:
    """Make the webhook of a customer's message, not signed yet (docs/messaging/guides/webhook-request)."""
    form = {
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "SmsMessageSid": message.sid,
        "AccountSid": account.sid,
        "From": letter.sender,
        "To": letter.to,
        "Body": letter.body,
        "NumMedia": str(len(letter.media)),
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": API_VERSION,
    }
    for number, url in enumerate(letter.media):
        form |= {f"MediaUrl{number}": url, f"MediaContentType{number}": "image/jpeg"}
    if message.service:
        form["MessagingServiceSid"] = message.service
    if letter.button_text:
        form |= {"ButtonText": letter.button_text, "ButtonPayload": letter.button_payload}
    if account.advanced and (kind := taken_for(letter.body)):
        form["OptOutType"] = kind
    url, _, fragment = account.inbound_url.partition("#")
    return Callback(
        at=at,
        url=url,
        form=form,
        signature="",
        retries=parse_retries(fragment),
        fallback=account.fallback_url,
    )
