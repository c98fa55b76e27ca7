"""Kept connections over the standard library's ``http.client``, with what sending needs of them.

That is an idle limit, errors that tell *connecting* from *sending*, no repeats and no redirects.
Why not a pool of a library: see ``docs/adr/0007-twilio-over-http-client.md``.
"""

from __future__ import annotations

import base64
import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Buffer

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
IDLE_SECONDS = 4.0
"""A connection that has rested longer is not used again: the other side may have closed it, and a
request lost on it could not be told from one that was served."""
MAX_ANSWER = 1_048_576
"""Bytes of an answer that are read; Twilio's are about 1 KB."""


class NotConnected(Exception):
    """No connection came about: no byte of a request has left. ``args[0]`` says why, in a word."""


class NoAnswer(Exception):
    """Bytes have left and no whole answer came back. ``args[0]`` says why, in a word."""


class HttpAnswer(NamedTuple):
    """Status, headers and body of an answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class _Rested(NamedTuple):
    connection: http.client.HTTPConnection
    # Both clocks: the monotonic one may stand still while a machine or a function is frozen.
    monotonic: float
    wall: float

    def is_fresh(self) -> bool:
        """Tell whether it may still be used: rested briefly, and nothing has come on it since."""
        rested = max(time.monotonic() - self.monotonic, abs(time.time() - self.wall))
        return rested < IDLE_SECONDS and not _has_something_to_read(self.connection)


class Connections:
    """Connections to one address. Safe for many threads; the one used last is used first."""

    def __init__(self, scheme: str, host: str, port: int | None, *, keep: int) -> None:
        """Make an empty pool.

        Args:
            scheme: ``http`` or ``https``; ``https`` goes through ``HTTPS_PROXY`` where that is set.
            host: the host's name or address, as certificates must name it.
            port: ``None`` for the scheme's own.
            keep: how many connections at most rest here.
        """
        self._secure = scheme == "https"
        self._host, self._port, self._keep = host, port, keep
        name = f"[{host}]" if ":" in host else host
        self._authority = name if port is None else f"{name}:{port}"
        self._context = ssl.create_default_context() if self._secure else None
        self._rested: list[_Rested] = []
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> HttpAnswer:
        """Make one request and read the whole answer.

        Args:
            method: of the request.
            target: path and query.
            headers: of the request.
            body: of the request, if it has one.
            timeout: seconds for connecting and the answer together.

        Raises:
            NotConnected: nothing has left.
            NoAnswer: something may have left, and no whole answer came.
        """
        until = time.monotonic() + timeout
        if timeout <= 0:
            raise NotConnected("connect_timeout")
        connection = self._take() or self._connect(until)
        try:
            connection.sock.settimeout(_left(until))
            # head and body in one write: http.client would make two, and wait for nothing between
            connection.sock.sendall(self._head(method, target, headers, body) + (body or b""))
            response = http.client.HTTPResponse(_Incoming(connection.sock, until), method=method)  # type: ignore[arg-type]
            response.begin()
            received = response.read(MAX_ANSWER + 1)
        except TimeoutError as exc:
            connection.close()
            raise NoAnswer("read_timeout") from exc
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            raise NoAnswer("connection_lost") from exc
        except BaseException:
            connection.close()
            raise
        if response.status < 200:  # an interim answer: the one that counts may still follow
            connection.close()
            raise NoAnswer("unreadable_answer")
        if response.isclosed() and not response.will_close:
            self._give(connection)
        else:
            connection.close()
        return HttpAnswer(response.status, response.headers, received)

    def _head(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def close(self) -> None:
        """Close the connections that rest."""
        with self._lock:
            rested, self._rested = self._rested, []
        for one in rested:
            one.connection.close()

    def _take(self) -> http.client.HTTPConnection | None:
        while True:
            with self._lock:
                if not self._rested:
                    return None
                rested = self._rested.pop()
            if rested.is_fresh():
                return rested.connection
            rested.connection.close()

    def _give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._rested) < self._keep:
                self._rested.append(_Rested(connection, time.monotonic(), time.time()))
                return
        connection.close()

    def _connect(self, until: float) -> http.client.HTTPConnection:
        try:
            connection = self._make(min(CONNECT_SECONDS, _left(until)))
        except TimeoutError as exc:
            raise NotConnected("connect_timeout") from exc
        except ValueError as exc:
            raise NotConnected("proxy") from exc  # HTTPS_PROXY is no address
        try:
            connection.connect()
            _left(until)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            connection.close()
            raise NotConnected(why(exc)) from exc
        return connection

    def _make(self, timeout: float) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        proxy = proxy_of(self._host)
        if proxy is None:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=self._context
            )
        connection = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port or 8080, timeout=timeout, context=self._context
        )
        login = proxy_login(proxy.username, proxy.password)
        connection.set_tunnel(self._host, self._port or 443, login)
        return connection


class _Incoming(io.RawIOBase):
    """What comes on a socket, until a moment: an answer that trickles does not outlast it."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        self._sock.settimeout(_left(self._until))
        return self._sock.recv_into(buffer)


def _left(until: float) -> float:
    """Give the seconds that are left for one step; raises ``TimeoutError`` where there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, READ_SECONDS)


def proxy_of(host: str) -> SplitResult | None:
    """Give the proxy that https to a host goes through, if any; raises ``ValueError`` for no address."""
    from urllib.request import getproxies, proxy_bypass  # five milliseconds that few processes need

    named = getproxies().get("https")
    if not named or proxy_bypass(host):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname or " " in proxy.netloc:
        raise ValueError
    _ = proxy.port  # raises where it is none
    return proxy


def proxy_login(user: str | None, password: str | None) -> dict[str, str]:
    """Give the header by which a proxy lets us in, if it asks for one."""
    if user is None:
        return {}
    login = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}


def _has_something_to_read(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the other side has closed, or says something that nobody asked for."""
    try:
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def why(exc: Exception) -> str:
    """Name what kept a connection from coming about; its own text may hold addresses."""
    if isinstance(exc, ssl.SSLError):
        return "tls"
    if isinstance(exc, TimeoutError):
        return "connect_timeout"
    if isinstance(exc, ConnectionRefusedError):
        return "connect_refused"
    if str(exc).startswith("Tunnel connection failed"):
        return "proxy"
    return "dns" if type(exc).__name__ == "gaierror" else "connect_failed"
