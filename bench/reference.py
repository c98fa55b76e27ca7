"""The reference of the accept figures: a bare ASGI app that writes durably before it answers.

It decodes the few fields a connector needs, writes one row of the product's size with group
commit, and answers 202: no gates, no parsing of creatives, no log. Nothing that keeps the promise
"accepted means durably written" can do much less.
"""

import argparse
import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

ROW_BYTES = 1200
_FIXED_BYTES = 80
"""What the row holds beside its payload: tenant, guid, status and time."""

Message = MutableMapping[str, Any]
Row = tuple[str, str, str, float, bytes]


class Date(msgspec.Struct, rename="camel"):
    """When the event was made."""

    generated_timestamp: int | None = None


class Impression(msgspec.Struct, rename="camel"):
    """What is to be sent."""

    creative_content: str | None = None
    is_control_group: bool = False


class Event(msgspec.Struct, rename="camel"):
    """The few fields that are needed."""

    guid: str
    event_type: str
    external_tenant_id: str
    date: Date
    impression: Impression


class Rows:
    """Group commit: rows that arrive while one commit is under way share the next."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE entry (tenant TEXT NOT NULL, guid TEXT NOT NULL, status TEXT NOT NULL,"
            " received REAL NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (tenant, guid))"
        )
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._busy = False

    async def write(self, row: Row) -> None:
        """Return when the row is on disk."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if not self._busy:
            self._busy = True
            self._commit_next()
        await written

    def _commit_next(self) -> None:
        batch, self._waiting = self._waiting, []
        rows = [row for row, _ in batch]
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._insert, rows)
        done.add_done_callback(lambda result: self._committed(result, batch))

    def _committed(
        self, result: asyncio.Future[None], batch: list[tuple[Row, asyncio.Future[None]]]
    ) -> None:
        error = result.exception()
        for _, written in batch:
            if written.cancelled():
                continue
            if error:
                written.set_exception(error)
            else:
                written.set_result(None)
        if self._waiting:
            self._commit_next()
        else:
            self._busy = False

    def _insert(self, rows: list[Row]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
        )
        self._database.execute("COMMIT")


class App:
    """The ASGI app."""

    def __init__(self, rows: Rows, row_bytes: int) -> None:
        self._rows = rows
        self._payload = max(row_bytes - _FIXED_BYTES, 1)
        self._decode = msgspec.json.Decoder(Event).decode

    async def __call__(
        self,
        scope: Message,  # noqa: ARG002 - ASGI's signature
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Decode, write, answer."""
        body = await _whole_body(receive)
        try:
            event = self._decode(body)
        except msgspec.MsgspecError:
            await _answer(send, 400, b'{"error":{"code":"bad_request"}}')
            return
        payload = body[: self._payload].ljust(self._payload)
        row = (event.external_tenant_id, event.guid, "accepted", time.time(), payload)
        await self._rows.write(row)
        await _answer(send, 202, b'{"status":"accepted","guid":"%b"}' % event.guid.encode())


async def _whole_body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _answer(send: Callable[[Message], Awaitable[None]], status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve on a port, writing to a file."""
    parser = argparse.ArgumentParser(prog="bench.reference", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--row-bytes", type=int, default=ROW_BYTES)
    options = parser.parse_args()
    uvicorn.run(
        App(Rows(options.ledger), options.row_bytes),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )


if __name__ == "__main__":
    main()
