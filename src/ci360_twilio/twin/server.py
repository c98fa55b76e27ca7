"""The Twilio twin on a socket of this machine.

``/2010-04-01/Accounts/{Sid}/Messages`` is answered as Twilio does, with ``.json`` in JSON, without
in XML (https://www.twilio.com/docs/usage/twilios-response). Three resources are for people and
tests: ``GET /twin/messages``, ``POST /twin/faults`` and ``POST /twin/token``.

HTTP is read and written here rather than by ``http.server``: faults need the bare socket, and a
rehearsal of a campaign needs a thousand messages a second. Nothing is logged.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

from ci360_twilio.twin.faults import FaultPlan, Outcome
from ci360_twilio.twin.twilio import Answer, ApiError, Form, Resource, TwilioTwin, TwinAccount

MAX_LINE = 16_384
MAX_HEADERS = 100
MAX_BODY = 1_048_576
IDLE_SECONDS = 60.0
"""How long a connection may be silent, between requests or within one."""
STOP_SECONDS = 5.0
"""How long requests under way may take to end when the server is stopped."""

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_PATH = re.compile(
    r"/2010-04-01/Accounts/(?P<account>[^/.]+)/Messages(?:/(?P<sid>[^/.]+))?(?P<json>\.json)?"
)
_FORM = "application/x-www-form-urlencoded"


class TwinServer:
    """Serves a twin on loopback, a thread per connection, until it is stopped.

    It keeps its port when it is stopped and started again, so that an outage can be rehearsed.

    Args:
        twin: whose messages they are.
        faults: what goes wrong; nothing by default.
        host: a loopback address, or ``localhost``.
        port: 0 for any free one.
        latency: seconds that every answer of the API takes.

    Raises:
        ValueError: the host is not this machine alone.
    """

    def __init__(
        self,
        twin: TwilioTwin,
        faults: FaultPlan | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
    ) -> None:
        host = "127.0.0.1" if host.lower() == "localhost" else host
        if not _is_loopback(host):
            raise ValueError("the twin serves this machine only: host must be a loopback address")
        self._routes = _Routes(twin, faults or FaultPlan(), latency)
        self._host, self._port = host, port
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._busy = 0
        self._stopping = threading.Event()
        self._acceptor: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base address, ``http://127.0.0.1:8361``, without a slash at its end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def start(self) -> None:
        """Listen, and serve in threads of its own.

        Raises:
            OSError: the port is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=512)
        self._port = listener.getsockname()[1]
        self._stopping.clear()
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening, let requests under way end, and close every connection."""
        if self._acceptor is None:
            return
        self._stopping.set()
        with suppress(OSError):  # wakes the acceptor
            socket.create_connection((self._host, self._port), timeout=1.0).close()
        self._acceptor.join()
        self._acceptor = None
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            with self._changed:
                for connection in self._connections:
                    with suppress(OSError):
                        connection.shutdown(how)
                self._changed.wait_for(lambda: not self._connections, STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # no file descriptor is free, or the client has gone again
                    if self._stopping.wait(0.01):
                        return
                    continue
                if self._stopping.is_set():
                    connection.close()
                    return
                with self._changed:
                    self._connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            # OSError: the client has gone, or says nothing any more
            with suppress(OSError), connection, connection.makefile("rb") as stream:
                connection.settimeout(IDLE_SECONDS)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._exchange(connection, stream):
                    pass
        finally:
            with self._changed:
                self._connections.discard(connection)
                self._changed.notify_all()

    def _exchange(self, connection: socket.socket, stream: BinaryIO) -> bool:
        """Serve one request; tell whether the connection stays open."""
        try:
            request = _read_request(connection, stream)
        except _BadRequest as exc:
            answer = ApiError(20001, status=exc.status).answer
            connection.sendall(_response(answer, _Trace(), stays=False))
            _drain(connection)
            return False
        if request is None:
            return False
        with self._changed:
            self._busy += 1
            trace = _Trace(busy=self._busy)
        try:
            outcome = self._routes.play(request)
            if outcome.delay:
                self._stopping.wait(outcome.delay)
        finally:
            with self._changed:
                self._busy -= 1
        if outcome.answer is None:
            _reset(connection)
            return False
        stays = request.keep_alive and not self._stopping.is_set()
        response = _response(outcome.answer, trace, stays=stays, as_xml=_wants_xml(request.path))
        connection.sendall(response if request.method != "HEAD" else _head(response))
        return stays


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_loopback(authority: str) -> bool:
    """Tell whether a ``Host`` header is for this machine."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or _is_loopback(host)


def _reset(connection: socket.socket) -> None:
    """Have the close of the connection drop it instead of ending it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _drain(connection: socket.socket) -> None:
    """Read what the client still sends: closing before would take the answer from it."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1.0)
    for _ in range(256):
        if not connection.recv(65_536):
            return


class _BadRequest(Exception):
    """A request that cannot be read to its end."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


def _read_request(connection: socket.socket, stream: BinaryIO) -> _Request | None:
    """Read one request; ``None`` where the client has nothing more to say."""
    line = _read_line(stream)
    if line == "":
        return None
    method, _, rest = line.strip().partition(" ")
    target, _, version = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise _BadRequest(400)
    headers: dict[str, str] = {}
    while (line := _read_line(stream)) not in ("\r\n", "\n"):
        name, colon, value = line.partition(":")
        if not colon or len(headers) >= MAX_HEADERS:
            raise _BadRequest(431 if colon else 400)
        headers[name.lower()] = value.strip()
    try:
        url = urlsplit(target)
    except ValueError:
        raise _BadRequest(400) from None
    return _Request(
        method=method,
        path=url.path,
        query=url.query,
        headers=headers,
        body=_read_body(connection, stream, headers),
        keep_alive=version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower(),
    )


def _read_line(stream: BinaryIO) -> str:
    line = stream.readline(MAX_LINE)
    if len(line) == MAX_LINE:
        raise _BadRequest(431)
    return line.decode("latin-1")


def _read_body(connection: socket.socket, stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        raise _BadRequest(411)
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise _BadRequest(400)
    if int(length) > MAX_BODY:
        raise _BadRequest(413)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = stream.read(int(length))
    if len(body) < int(length):
        raise ConnectionError("the client went away within its request")
    return body


def _wants_xml(path: str) -> bool:
    matched = _PATH.fullmatch(path)
    return matched is not None and matched["json"] is None


class _Trace:
    """What Twilio's own headers tell of a request, from its arrival on."""

    def __init__(self, *, busy: int = 1) -> None:
        self._busy, self._begun = busy, time.monotonic()

    def headers(self) -> tuple[str, ...]:
        return (
            f"Twilio-Request-Id: RQ{secrets.token_hex(16)}",
            f"Twilio-Concurrent-Requests: {self._busy}",
            f"Twilio-Request-Duration: {time.monotonic() - self._begun:.3f}",
        )


def _response(answer: Answer, trace: _Trace, *, stays: bool, as_xml: bool = False) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, '')}",
        f"Date: {formatdate(usegmt=True)}",
        f"Connection: {'keep-alive' if stays else 'close'}",
        *trace.headers(),
    ]
    if answer.status == HTTPStatus.UNAUTHORIZED:
        lines.append('WWW-Authenticate: Basic realm="Twilio twin"')
    content = b""
    if answer.body is not None:
        content = _xml(answer.body) if as_xml else msgspec.json.encode(answer.body)
        lines.append(f"Content-Type: application/{'xml' if as_xml else 'json'}")
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + content


def _head(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _xml(body: Resource) -> bytes:
    root = Element("TwilioResponse")
    if "more_info" in body:
        _fill(SubElement(root, "RestException"), body)
    elif "messages" in body:
        place = {
            name.replace("_", ""): "" if value is None else str(value)
            for name, value in body.items()
            if name != "messages"
        }
        messages = SubElement(root, "Messages", place)
        for message in body["messages"]:
            _fill(SubElement(messages, "Message"), message)
    else:
        _fill(SubElement(root, "Message"), body)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _fill(element: Element, fields: Resource) -> None:
    for name, value in fields.items():
        child = SubElement(element, "".join(part.capitalize() for part in name.split("_")))
        if isinstance(value, dict):
            _fill(child, value)
        elif value is not None:
            child.text = str(value)


class _FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/faults``: faults of one recipient, or shares of chance."""

    to: str = ""
    faults: list[str] = []
    share: dict[str, float] | None = None
    seed: int = 0


class _TokenOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/token``."""

    account: str
    token: str


class _Routes:
    """From a request to its outcome; never raises."""

    def __init__(self, twin: TwilioTwin, faults: FaultPlan, latency: float) -> None:
        self._twin, self._faults, self._latency = twin, faults, latency

    def play(self, request: _Request) -> Outcome:
        try:
            if request.path.startswith("/twin/"):
                return Outcome(answer=self._control(request))
            outcome = self._api(request)
            return replace(outcome, delay=outcome.delay + self._latency)
        except Exception:  # noqa: BLE001 - an edge: a thread must not end with a traceback
            return Outcome(answer=ApiError(20500).answer)

    def _api(self, request: _Request) -> Outcome:
        path = _PATH.fullmatch(request.path)
        if path is None:
            return Outcome(answer=ApiError(20404, request.path).answer)
        act = partial(self._act, request, path["account"], path["sid"])
        if request.method != "POST" or path["sid"]:
            return Outcome(answer=act())
        try:
            recipients = _form(request).get("To", [])
        except ApiError:
            recipients = []
        return self._faults.play(recipients[-1] if recipients else "", act)

    def _act(self, request: _Request, account_sid: str, sid: str | None) -> Answer:
        try:
            user, password = _credentials(request.headers.get("authorization", ""))
            account = self._twin.authorize(user, password, account_sid)
            return self._one(request, account, sid) if sid else self._all(request, account)
        except ApiError as exc:
            return exc.answer

    def _all(self, request: _Request, account: TwinAccount) -> Answer:
        if request.method == "POST":
            return Answer(201, self._twin.create(account, _form(request)))
        if request.method == "GET":
            return Answer(200, self._twin.list_messages(account, _parameters(request.query)))
        raise ApiError(20004)

    def _one(self, request: _Request, account: TwinAccount, sid: str) -> Answer:
        if request.method == "GET":
            return Answer(200, self._twin.fetch(account, sid))
        if request.method == "POST":
            return Answer(200, self._twin.update(account, sid, _form(request)))
        if request.method == "DELETE":
            self._twin.delete(account, sid)
            return Answer(204, None)
        raise ApiError(20004)

    def _control(self, request: _Request) -> Answer:
        # A page in somebody's browser must not steer the twin, under whatever name it knows it.
        if "origin" in request.headers or not _names_loopback(request.headers.get("host", "")):
            return _problem(403, "only for this machine, and not for web pages")
        actions: dict[tuple[str, str], Callable[[bytes], Answer]] = {
            ("GET", "/twin/messages"): self._show,
            ("POST", "/twin/faults"): self._plan,
            ("POST", "/twin/token"): self._rotate,
        }
        action = actions.get((request.method, request.path))
        if action is None:
            known = any(path == request.path for _, path in actions)
            return _problem(405 if known else 404, "no such resource or method")
        try:
            return action(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
            return _problem(400, str(exc))

    def _show(self, _body: bytes) -> Answer:
        messages = [
            {
                "sid": message.sid,
                "account": message.account,
                "to": message.to,
                "from": message.sender,
                "messaging_service": message.service,
                "body": message.body,
                "media": message.media,
                "status": message.status,
                "status_callback": message.status_callback,
                "validity_period": message.validity_period,
                "at": message.at,
            }
            for message in self._twin.messages
        ]
        return Answer(200, {"messages": messages, "requests": self._faults.attempts})

    def _plan(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_FaultOrder)
        if not order.to and order.share is None:
            return _problem(400, "wants to and faults, or share")
        if order.to:
            self._faults.for_recipient(order.to, order.faults)
        if order.share is not None:
            self._faults.set_share(order.share, seed=order.seed)
        return Answer(204, None)

    def _rotate(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_TokenOrder)
        try:
            self._twin.rotate(order.account, order.token)
        except KeyError:
            return _problem(404, "no such account")
        return Answer(204, None)


def _problem(status: int, words: str) -> Answer:
    return Answer(status, {"error": words})


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, value = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise ApiError(20003) from None
    if scheme.lower() != "basic" or not colon:
        raise ApiError(20003)
    return user, password


def _form(request: _Request) -> Form:
    """Read the parameters of a form; of any other body Twilio sees none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        return _parameters(request.body.decode()) if kind == _FORM else {}
    except UnicodeDecodeError:
        raise ApiError(20001) from None


def _parameters(text: str) -> Form:
    try:
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise ApiError(20001) from None
