"""Twilio's Messages resource: one request per call, every answer and failure mapped once."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any
from urllib.parse import quote_plus, urlsplit

import msgspec

from ci360_twilio import __version__
from ci360_twilio.clients.connections import Connections, HttpAnswer, NoAnswer, NotConnected
from ci360_twilio.core.codes import explain, failure_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt, parse_resource
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import AnswerLost, Failure, NotReached, TwilioRefused

Address = tuple[str, str, int | None]


class TwilioClient:
    """Sends messages; keeps one pool of connections per address, safe for many threads."""

    def __init__(self, *, connections: int = 100) -> None:
        """Make a client that holds up to ``connections`` connections per address."""
        self._connections = connections
        self._pools: dict[Address, Connections] = {}
        self._headers: dict[tuple[str, str], dict[str, str]] = {}

    def send(self, message: Message, tenant: Tenant, *, validity: int, timeout: float) -> Receipt:
        """Post one message; see :class:`ci360_twilio.ports.Sender` for the contract."""
        form = encode_form(message, validity=validity).encode()
        return read_answer(self._request("POST", tenant.messages_url, tenant, form, timeout))

    def probe(self, tenant: Tenant, *, timeout: float = 10.0) -> None:
        """Ask for one message of the list, to see whether the credentials fit.

        Raises:
            NotReached, TwilioRefused, AnswerLost: as :meth:`send`.
        """
        answer = self._request("GET", f"{tenant.messages_url}?PageSize=1", tenant, None, timeout)
        if answer.status != 200:
            raise _refused(answer)

    def close(self) -> None:
        """Close all connections that rest; needed before a freeze."""
        for pool in list(self._pools.values()):
            pool.close()

    def _request(
        self, method: str, url: str, tenant: Tenant, form: bytes | None, timeout: float
    ) -> HttpAnswer:
        parts = urlsplit(url)
        address = (parts.scheme, parts.hostname or "", parts.port)
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools.setdefault(address, Connections(*address, keep=self._connections))
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            return pool.request(method, target, self._headers_of(tenant), form, timeout)
        except NotConnected as exc:
            raise NotReached("Twilio could not be reached.", reason=str(exc)) from exc
        except NoAnswer as exc:
            raise AnswerLost("Twilio's answer was lost.", reason=str(exc)) from exc

    def _headers_of(self, tenant: Tenant) -> dict[str, str]:
        credentials = (tenant.user, tenant.password)
        headers = self._headers.get(credentials)
        if headers is None:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            headers = {
                "Authorization": f"Basic {token}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "User-Agent": f"ci360-twilio-connector/{__version__}",
            }
            if len(self._headers) > 1000:  # rotated credentials are not kept for ever
                self._headers.clear()
            self._headers[credentials] = headers
        return headers


def encode_form(message: Message, *, validity: int) -> str:
    """Encode a message as Twilio's form (docs/messaging/api/message-resource)."""
    sender = "MessagingServiceSid" if message.is_service else "From"
    fields = [f"To={quote_plus(message.to)}", f"{sender}={quote_plus(message.sender)}"]
    if message.body:
        fields.append(f"Body={quote_plus(message.body)}")
    fields.extend(f"MediaUrl={quote_plus(url)}" for url in message.media_urls)
    fields.append(f"ValidityPeriod={validity}")
    return "&".join(fields)


def read_answer(answer: HttpAnswer) -> Receipt:
    """Read the answer to a create request.

    Raises:
        TwilioRefused: an error answer; ``failure`` says of which kind.
        AnswerLost: a 5xx, or a success that names no message.
    """
    if answer.status not in (200, 201):
        raise _refused(answer)
    receipt = parse_resource(_json(answer.body))
    if receipt is None:
        raise AnswerLost("Twilio's answer names no message.", reason="unreadable_answer")
    return receipt


def _refused(answer: HttpAnswer) -> TwilioRefused | AnswerLost:
    status, code = answer.status, _json(answer.body).get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) else None
    failure = failure_of(code, status)
    if failure is Failure.AMBIGUOUS:
        return AnswerLost(f"Twilio answered {status}.", reason=f"twilio_http_{status}")
    words = explain(code).meaning if code else f"Twilio answered {status}."
    return TwilioRefused(
        words,
        failure=failure,
        status=status,
        twilio_code=code,
        retry_after=_seconds(answer.headers.get("Retry-After")),
    )


def _json(body: bytes) -> dict[str, Any]:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = msgspec.json.decode(body)
        if isinstance(decoded, dict):
            return decoded
    return {}


def _seconds(value: str | None) -> float | None:
    """Read ``Retry-After`` in seconds; a date there is not followed."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
