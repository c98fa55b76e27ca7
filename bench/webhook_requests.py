"""Webhooks as Twilio posts them, for messages that are in a ledger."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from bench.child import BenchFailed
from bench.event import ACCOUNT, AUTH_TOKEN, post
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.flow.addresses import INBOUND, STATUS
from ci360_twilio.ports import Ledger
from ci360_twilio.twin.signature import sign

PUBLIC_URL = "https://bench.example"
_FORM = "application/x-www-form-urlencoded; charset=UTF-8"
_AT_ONCE = 500
_TEXTS = ("C", "Thank you, see you then!", "Can we make it 11:00 instead?", "ok \U0001f44d", "STOP")
"""What customers answer; every fifth opts out."""


def send_accepted(ledger: Ledger, count: int) -> list[Entry]:
    """Take accepted entries through the facts of sending; no request is made.

    Raises:
        BenchFailed: there are fewer than ``count``.
    """
    sent: list[Entry] = []
    while len(sent) < count:
        now = datetime.now(UTC)
        lease = Lease(token=secrets.token_hex(8), until=now + timedelta(minutes=1))
        size = min(_AT_ONCE, count - len(sent))
        taken = ledger.claim(now=now, lease=lease, limit=size).entries
        if not taken:
            raise BenchFailed(f"only {len(sent)} of {count} messages are there to be sent")
        facts = [pair for entry in taken for pair in _facts(entry, now, lease)]
        results = ledger.record_many(facts)[1::2]
        sent.extend(entry for entry in results if entry is not None)
    return sent


def _facts(entry: Entry, now: datetime, lease: Lease) -> list[tuple[Key, Fact]]:
    correlation = secrets.token_hex(16)
    receipt = Receipt(sid=f"SM{secrets.token_hex(16)}", status="queued")
    started = Fact(kind=Kind.STARTED, at=now, lease=lease, correlation=correlation)
    made = Fact(kind=Kind.MADE, at=now, lease=lease, receipt=receipt)
    return [(entry.key, started), (entry.key, made)]


def callbacks_of(entries: Sequence[Entry], status: str) -> list[bytes]:
    """Render the callbacks that tell one status of each message."""
    return [_callback(entry, status) for entry in entries]


def texts_of(entries: Sequence[Entry]) -> list[bytes]:
    """Render an answer to each message, from its recipient."""
    return [_text(entry, _TEXTS[at % len(_TEXTS)]) for at, entry in enumerate(entries)]


def _callback(entry: Entry, status: str) -> bytes:
    if entry.message is None or entry.sid is None:
        raise BenchFailed("a callback tells of a message that was sent")
    form = {
        "ApiVersion": "2010-04-01",
        "SmsSid": entry.sid,
        "SmsStatus": status,
        "MessageSid": entry.sid,
        "MessageStatus": status,
        "AccountSid": ACCOUNT,
        "To": entry.message.to,
        "From": entry.message.sender,
    }
    if status == "delivered":
        form["RawDlrDoneDate"] = "2603021200"
    return _signed(f"{STATUS}{entry.tenant_id}?m={entry.correlation}", form)


def _text(entry: Entry, text: str) -> bytes:
    if entry.message is None:
        raise BenchFailed("a text answers a message")
    sid = f"SM{secrets.token_hex(16)}"
    form = {
        "ToCountry": "US",
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "SmsSid": sid,
        "SmsStatus": "received",
        "Body": text,
        "FromCountry": "US",
        "To": entry.message.sender,
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": ACCOUNT,
        "From": entry.message.to,
        "ApiVersion": "2010-04-01",
    }
    if text == "STOP":
        form["OptOutType"] = "STOP"
    return _signed(f"{INBOUND}{entry.tenant_id}", form)


def _signed(path: str, form: dict[str, str]) -> bytes:
    signature = sign(AUTH_TOKEN, f"{PUBLIC_URL}{path}", form)
    headers = (
        f"x-twilio-signature: {signature}\r\n"
        f"i-twilio-idempotency-token: {secrets.token_hex(16)}\r\n"
        "accept: */*\r\n"
    )
    return post(path, 80, _FORM, urlencode(form).encode(), headers)
