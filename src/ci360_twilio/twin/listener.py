"""A server on a socket of this machine, a thread per connection; what it answers is its heirs' business.

Nothing is logged. Bodies are limited, and whoever says nothing is left.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Self

from ci360_twilio.twin.faults import Ending, Outcome
from ci360_twilio.twin.loopback import is_loopback
from ci360_twilio.twin.wire import MAX_BODY, BadRequest, Request, Trace, only_head, read_request

IDLE_SECONDS = 60.0
"""How long a connection may be silent, between requests or within one."""
STOP_SECONDS = 5.0
"""How long requests under way may take to end when the server is stopped."""


class Listener:
    """Serves on loopback until it is stopped.

    It keeps its port when it is stopped and started again, so that an outage can be rehearsed.

    Args:
        host: a loopback address, or ``localhost``.
        port: 0 for any free one.
        max_body: bytes of a request's body.

    Raises:
        ValueError: the host is not this machine alone.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, max_body: int = MAX_BODY) -> None:
        host = "127.0.0.1" if host.lower() == "localhost" else host
        if not is_loopback(host):
            raise ValueError("the twin serves this machine only: host must be a loopback address")
        self._host, self._port, self._max_body = host, port, max_body
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._busy = 0
        self._stopping = threading.Event()
        self._acceptor: threading.Thread | None = None

    def play(self, request: Request) -> Outcome:
        """Let one request happen; never raises."""
        raise NotImplementedError

    def render(self, request: Request, outcome: Outcome, trace: Trace, *, stays: bool) -> bytes:
        """Write the answer; ``stays`` tells whether the connection is kept."""
        raise NotImplementedError

    def refuse(self, status: int) -> bytes:
        """Write the answer to a request that cannot be read to its end."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The base address, ``http://127.0.0.1:8361``, without a slash at its end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def authority(self) -> str:
        """Host and port, as the settings take them."""
        return self.url.removeprefix("http://")

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
            request = read_request(connection, stream, self._max_body)
        except BadRequest as exc:
            connection.sendall(self.refuse(exc.status))
            _drain(connection)
            return False
        if request is None:
            return False
        with self._changed:
            self._busy += 1
            trace = Trace(busy=self._busy)
        try:
            outcome = self.play(request)
            self._wait(connection, outcome)
        finally:
            with self._changed:
                self._busy -= 1
        return self._end(connection, request, outcome, trace)

    def _wait(self, connection: socket.socket, outcome: Outcome) -> None:
        """Let the time pass before the answer; of one that never comes, until the client leaves."""
        if outcome.ending is not Ending.SILENT:
            if outcome.delay:
                self._stopping.wait(outcome.delay)
            return
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        until = time.monotonic() + outcome.delay
        while time.monotonic() < until and not self._stopping.wait(0.02):
            if poll.poll(0) and not connection.recv(1, socket.MSG_PEEK):
                return

    def _end(
        self, connection: socket.socket, request: Request, outcome: Outcome, trace: Trace
    ) -> bool:
        if outcome.ending in (Ending.RESET, Ending.UNREACHABLE):
            _reset(connection)
        if outcome.answer is None:
            return False
        stays = request.keep_alive and not self._stopping.is_set()
        response = self.render(request, outcome, trace, stays=stays)
        if request.method == "HEAD":
            response = only_head(response)
        if outcome.ending is Ending.CUT:
            connection.sendall(response[: len(response) // 2])
            return False
        connection.sendall(response)
        return stays


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
