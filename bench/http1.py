"""A very small HTTP/1.1 server for loopback stubs; it knows no more than they need."""

import asyncio
import re
import sys
from collections.abc import Callable

import uvloop

Answer = Callable[[bytes, bytes], bytes]
"""``(head, body) -> whole response``; the head begins with the request line."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


def response(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    """Render a JSON response that keeps the connection open."""
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, headers, len(body)) + body


class Connection(asyncio.Protocol):
    """One connection; requests come one after another and are answered ``delay`` seconds later.

    Those that only ask (``GET``) are answered at once, and ``answered`` does not hear of them.
    """

    def __init__(self, answer: Answer, delay: float, answered: Callable[[], None]) -> None:
        self._answer = answer
        self._delay = delay
        self._answered = answered
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._buffer = self._buffer + data if self._buffer else data
        while (size := request_size(self._buffer)) is not None:
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            head, _, body = request.partition(_END)
            whole = self._answer(head, body)
            is_question = head.startswith(b"GET")
            if self._delay and not is_question:
                self._loop.call_later(self._delay, self._write, whole, is_question)
            else:
                self._write(whole, is_question)

    def _write(self, whole: bytes, is_question: bool) -> None:
        if not self._transport.is_closing():
            self._transport.write(whole)
            if not is_question:
                self._answered()


def request_size(data: bytes) -> int | None:
    """Return the length of the first request or response in ``data``, or None if it is not whole."""
    end = data.find(_END)
    if end < 0:
        return None
    length = _LENGTH.search(data, 0, end)
    size = end + len(_END) + (int(length[1]) if length else 0)
    return size if len(data) >= size else None


def serve(
    port: int, answer: Answer, delay: float = 0.0, answered: Callable[[], None] = lambda: None
) -> None:
    """Answer on a loopback port until the process is told to end."""

    async def forever() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(answer, delay, answered), "127.0.0.1", port, backlog=1024
        )
        await server.serve_forever()

    try:
        uvloop.run(forever())
    except KeyboardInterrupt:
        sys.exit(0)
