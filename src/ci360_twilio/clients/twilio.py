"""Twilio's Messages resource over ``urllib3``: one request per call, no repeats, no redirects."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from ci360_twilio import __version__
from ci360_twilio.core.codes import explain, failure_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt, parse_resource
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import AnswerLost, Failure, NotReached, TwilioRefused

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
IDLE_SECONDS = 4.0
"""A connection that has rested longer is not used again: the other side may have closed it, and a
request lost on it could not be told from one that was served."""
MAX_ANSWER = 1_048_576
"""Bytes of an answer that are read; Twilio's are about 1 KB."""

Address = tuple[str, str, int | None]


class _NotConnected(HTTPError):
    """No connection came about, so no byte of a request has left."""


class _Watched:
    """What urllib3's connections lack: an idle limit, and errors that tell connecting from sending."""

    _used: tuple[float, float] = (0.0, 0.0)

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except (HTTPError, OSError, HTTPException) as exc:
            raise _NotConnected(type(exc).__name__) from exc
        self._used = (time.monotonic(), time.time())

    def getresponse(self) -> Any:
        self._used = (time.monotonic(), time.time())
        return super().getresponse()  # type: ignore[misc]

    @property
    def is_connected(self) -> bool:
        # Both clocks: the monotonic one may stand still while a machine or a function is frozen.
        monotonic, wall = self._used
        rested = max(time.monotonic() - monotonic, abs(time.time() - wall))
        return rested < IDLE_SECONDS and bool(super().is_connected)  # type: ignore[misc]


class _HTTPConnection(_Watched, HTTPConnection):
    pass


class _HTTPSConnection(_Watched, HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class TwilioClient:
    """Sends messages; keeps one pool of connections per address, safe for many threads."""

    def __init__(self, *, connections: int = 100) -> None:
        """Make a client that holds up to ``connections`` connections per address."""
        self._connections = connections
        self._pools: dict[Address, urllib3.HTTPConnectionPool] = {}
        self._headers: dict[tuple[str, str], dict[str, str]] = {}

    def send(self, message: Message, tenant: Tenant, *, validity: int, timeout: float) -> Receipt:
        """Post one message; see :class:`ci360_twilio.ports.Sender` for the contract."""
        form = encode_form(message, validity=validity)
        status, headers, body = self._request("POST", tenant.messages_url, tenant, form, timeout)
        return read_answer(status, headers, body)

    def probe(self, tenant: Tenant, *, timeout: float = 10.0) -> None:
        """Ask for one message of the list, to see whether the credentials fit.

        Raises:
            NotReached, TwilioRefused, AnswerLost: as :meth:`send`.
        """
        url = f"{tenant.messages_url}?PageSize=1"
        status, headers, body = self._request("GET", url, tenant, None, timeout)
        if status != 200:
            raise _refused(status, headers, body)

    def close(self) -> None:
        """Close all connections that rest; needed before a freeze."""
        for pool in list(self._pools.values()):
            pool.close()
        self._pools.clear()

    def _request(
        self, method: str, url: str, tenant: Tenant, form: str | None, timeout: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(url)
        pool = self._pool(parts.scheme, parts.hostname or "", parts.port)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            answer = pool.urlopen(
                method,
                target,
                body=form,
                headers=self._headers_of(tenant),
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=urllib3.Timeout(total=timeout, connect=CONNECT_SECONDS, read=READ_SECONDS),
                preload_content=False,
                decode_content=False,
            )
            return answer.status, answer.headers, _read(answer)
        except _NotConnected as exc:
            raise NotReached("Twilio could not be reached.", reason=_cause(exc)) from exc
        except (HTTPError, OSError) as exc:
            raise AnswerLost("Twilio's answer was lost.", reason=_cause(exc)) from exc

    def _pool(self, scheme: str, host: str, port: int | None) -> urllib3.HTTPConnectionPool:
        address = (scheme, host, port)
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools.setdefault(address, self._make_pool(*address))
        return pool

    def _make_pool(self, scheme: str, host: str, port: int | None) -> urllib3.HTTPConnectionPool:
        kind = _HTTPSPool if scheme == "https" else _HTTPPool
        options: dict[str, Any] = {"maxsize": self._connections, "block": False}
        proxy = getproxies().get("https") if scheme == "https" else None
        if proxy and not proxy_bypass(host):
            manager = urllib3.ProxyManager(proxy, **options)
            manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
            return manager.connection_from_host(host, port, scheme)
        return kind(host, port, **options)

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
    fields = [("To", message.to), (sender, message.sender)]
    if message.body:
        fields.append(("Body", message.body))
    fields.extend(("MediaUrl", url) for url in message.media_urls)
    fields.append(("ValidityPeriod", str(validity)))
    return urlencode(fields)


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Receipt:
    """Read the answer to a create request.

    Raises:
        TwilioRefused: an error answer; ``failure`` says of which kind.
        AnswerLost: a 5xx, or a success that names no message.
    """
    if status not in (200, 201):
        raise _refused(status, headers, body)
    receipt = parse_resource(_json(body))
    if receipt is None:
        raise AnswerLost("Twilio's answer names no message.", reason="unreadable_answer")
    return receipt


def _refused(status: int, headers: Mapping[str, str], body: bytes) -> TwilioRefused | AnswerLost:
    code = _json(body).get("code")
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
        retry_after=_seconds(headers.get("Retry-After")),
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


def _read(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Read the body; the connection goes back to its pool only if that was all of it."""
    try:
        body = answer.read(MAX_ANSWER + 1)
    except BaseException:
        answer.close()
        raise
    if len(body) > MAX_ANSWER:
        answer.close()
    answer.release_conn()
    return body


_CAUSES = {
    "NameResolutionError": "dns",
    "NewConnectionError": "connect_refused",
    "ConnectTimeoutError": "connect_timeout",
    "SSLError": "tls",
    "SSLCertVerificationError": "tls",
    "ProxyError": "proxy",
    "ReadTimeoutError": "read_timeout",
}


def _cause(exc: BaseException) -> str:
    """Name what went wrong; the exception's own text may hold addresses and is not used."""
    name = str(exc) if isinstance(exc, _NotConnected) else type(exc).__name__
    other = "connect_failed" if isinstance(exc, _NotConnected) else "connection_lost"
    return _CAUSES.get(name, other)
