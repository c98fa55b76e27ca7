"""The ASGI face of the routes: what arrives together is written with one commit.

Events, status callbacks and customers' messages are gathered apart: a flood of callbacks must not keep
events waiting, nor a question to Twilio about a customer's message the callbacks. A plain ASGI
application; nothing here decides anything about a request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ci360_twilio.core.event import MAX_BYTES
from ci360_twilio.edge.http import EVENTS, Request, Response, Routes, failure
from ci360_twilio.flow.addresses import INBOUND, STATUS
from ci360_twilio.flow.webhook import MAX_WEBHOOK

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BATCH = 256
"""Events that share one commit."""
MAX_CALLBACKS = 128
"""Callbacks that share one commit; an event that comes meanwhile waits for one commit at most."""
SPACING = 0.005
"""Seconds between two commits of callbacks: long enough that events find the ledger free, and next
to nothing of the 15 seconds that Twilio waits for an answer."""
MAX_WAITING = 2_000
MAX_WAITING_BYTES = 64 * MAX_BYTES
"""What may wait for a commit; beyond it requests are told to come back."""


CONSOLE = "/console"
"""Below it answers the console, where there is one."""
Console = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gatherer:
    """Gathers what arrives while a commit is under way, and hands it on as one batch.

    The work runs in one thread of its own, so that the event loop goes on reading.
    """

    def __init__(
        self,
        work: Callable[[list[Request]], list[Response]],
        *,
        name: str = "accept",
        most: int = MAX_BATCH,
        spacing: float = 0.0,
    ) -> None:
        """Make it.

        Args:
            work: answers a batch.
            name: of the thread.
            most: requests that are handed on together.
            spacing: seconds for which nothing is handed on after a batch.
        """
        self._work = work
        self._most = most
        self._spacing = spacing
        self._waiting: deque[tuple[Request, asyncio.Future[Response]]] = deque()
        self._bytes = 0
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def submit(self, request: Request) -> Response:
        """Give the response to a request, once its batch is committed."""
        if len(self._waiting) >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES:
            words = "Too many requests are waiting; come back in a moment."
            return failure(503, "busy", words, request.request_id)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._bytes += len(request.body)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._hand_on()
                if self._spacing:
                    await asyncio.sleep(self._spacing)
        finally:
            self._running = None

    async def _hand_on(self) -> None:
        size = min(len(self._waiting), self._most)
        batch = [self._waiting.popleft() for _ in range(size)]
        requests = [request for request, _ in batch]
        self._bytes -= sum(len(request.body) for request in requests)
        loop = asyncio.get_running_loop()
        try:
            responses = await loop.run_in_executor(self._thread, self._work, requests)
        except Exception:  # noqa: BLE001 - the next batch must still be taken
            words = "This could not be taken just now."
            responses = [failure(503, "unavailable", words, r.request_id) for r in requests]
        for (_, answer), response in zip(batch, responses, strict=True):
            if not answer.done():  # its caller may have gone away
                answer.set_result(response)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown()


class App:
    """The ASGI application."""

    def __init__(self, routes: Routes, console: Console | None = None) -> None:
        """Make it; ``console`` is the application of what is below ``/console``, if there is one."""
        self._routes = routes
        self._console = console
        self._events = Gatherer(routes.events)
        self._statuses = Gatherer(
            routes.statuses, name="settle", most=MAX_CALLBACKS, spacing=SPACING
        )
        self._inbound = Gatherer(routes.inbound, name="hear", most=MAX_CALLBACKS, spacing=SPACING)
        self._others = ThreadPoolExecutor(2, thread_name_prefix="http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request; other protocols than HTTP are refused."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._console and scope["type"] == "http" and _is_of_console(scope["path"]):
            await self._console(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # a WebSocket: close it before it opens
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        path = scope["path"]
        most = MAX_WEBHOOK if path.startswith((STATUS, INBOUND)) else MAX_BYTES
        body = await _body(headers, receive, most)
        client = scope.get("client")
        request = Request(
            method=scope["method"],
            path=path,
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=headers,
            body=body or b"",
            peer=client[0] if client else "",
        )
        close: tuple[tuple[bytes, bytes], ...] = ()
        if body is None:
            response = self._routes.too_large(request, most)
            close = ((b"connection", b"close"),)  # the rest of the body is not read
        else:
            response = await self._respond(request)
        about = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
        ]
        head = [
            *(about if response.status != 204 else ()),  # it has no content to speak of
            *((name.lower().encode(), value.encode()) for name, value in response.headers),
            *close,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        shown = b"" if request.method == "HEAD" else response.body
        await send({"type": "http.response.body", "body": shown})

    async def _respond(self, request: Request) -> Response:
        if request.path == EVENTS and request.method == "POST":
            return await self._events.submit(request)
        if request.path.startswith(STATUS) and request.method == "POST":
            return await self._statuses.submit(request)
        if request.path.startswith(INBOUND) and request.method == "POST":
            return await self._inbound.submit(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._others, self._routes.handle, request)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._events.close()
        self._statuses.close()
        self._inbound.close()
        self._others.shutdown()
        await send({"type": "lifespan.shutdown.complete"})


def _is_of_console(path: str) -> bool:
    return path == CONSOLE or path.startswith(f"{CONSOLE}/")


async def _body(headers: dict[str, str], receive: Receive, most: int) -> bytes | None:
    """Read the body; ``None`` as soon as it is over the limit."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        return None
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most:
            return None
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
