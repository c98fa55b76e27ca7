"""The load generator: a closed loop, or a paced one, over kept connections, in its own process.

Requests are rendered beforehand and patched; answers are framed, counted and timed, nothing more.
Memory is bounded: latencies go into buckets of 10 microseconds. With ``--rate`` requests are due
at fixed times, and a late one counts from when it was due.
"""

import argparse
import asyncio
import gc
import re
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import uvloop

from bench.child import ROOT, BenchFailed, bench_module, own_environment
from bench.event import FormTemplate, event_template

_BUCKETS_PER_SECOND = 100_000
_LONGEST_SECONDS = 10
_GRACE_SECONDS = 20.0
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one run gave; ``broken`` counts requests that never got a whole answer.

    ``ended`` is when the last answer came, in seconds of the machine's monotonic clock.
    """

    requests: int
    seconds: float
    ended: float
    per_second: float
    statuses: dict[str, int]
    broken: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    def only(self, status: int) -> bool:
        """Tell whether every request was answered, and with this status."""
        return not self.broken and set(self.statuses) == {str(status)}


class Renders(Protocol):
    """A template of requests."""

    def fill(self, number: int) -> bytes:
        """Return request ``number``."""


class Recorded:
    """Requests that were rendered beforehand, each to be sent once."""

    def __init__(self, file: Path) -> None:
        self._requests = msgspec.msgpack.decode(file.read_bytes(), type=list[bytes])

    def __len__(self) -> int:
        """Tell how many there are."""
        return len(self._requests)

    def fill(self, number: int) -> bytes:
        """Return request ``number``, counted from 1."""
        return self._requests[number - 1]


class Latencies:
    """A histogram of fixed size."""

    def __init__(self) -> None:
        self._buckets = array("L", [0]) * (_BUCKETS_PER_SECOND * _LONGEST_SECONDS)
        self._count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Record one; what is longer than the histogram falls into its last bucket."""
        at = min(int(seconds * _BUCKETS_PER_SECOND), len(self._buckets) - 1)
        self._buckets[at] += 1
        self._count += 1
        if seconds > self.longest:
            self.longest = seconds

    def quantile(self, share: float) -> float:
        """Return the upper edge, in seconds, of the bucket that holds this share of them."""
        wanted, seen = share * self._count, 0
        for at, count in enumerate(self._buckets):
            seen += count
            if count and seen >= wanted:
                return (at + 1) / _BUCKETS_PER_SECOND
        return 0.0


class Run:
    """What the connections share: what to send next, when to end, what was seen."""

    def __init__(self, template: Renders, connections: int, count: int, seconds: float) -> None:
        self._template = template
        self._open = connections
        self._count = count
        self._until = time.monotonic() + seconds
        self._sent = 0
        self.latencies = Latencies()
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.began = time.monotonic()
        self.ended = self.began
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes | None:
        """Return the next request, or None when count or time has run out."""
        if self._sent >= self._count or time.monotonic() >= self._until:
            return None
        self._sent += 1
        return self._template.fill(self._sent)

    def answered(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.latencies.add(seconds)
        self.ended = time.monotonic()

    def closed(self) -> None:
        """Note that a connection is gone; the last one ends the run."""
        self._open -= 1
        if not self._open and not self.over.done():
            self.over.set_result(None)

    def result(self) -> LoadResult:
        """Sum up."""
        answered = sum(self.statuses.values())
        seconds = max(self.ended - self.began, 1e-9)
        return LoadResult(
            requests=answered,
            seconds=seconds,
            ended=self.ended,
            per_second=answered / seconds,
            statuses={str(status): count for status, count in self.statuses.items()},
            broken=self.broken,
            p50_ms=self.latencies.quantile(0.50) * 1000,
            p99_ms=self.latencies.quantile(0.99) * 1000,
            max_ms=self.latencies.longest * 1000,
        )


class Client(asyncio.Protocol):
    """One connection with one request under way at a time.

    ``interval`` is the pace of this connection in seconds, 0 for a closed loop; ``offset`` delays
    its first request so that the connections of a paced run take turns.
    """

    def __init__(self, run: Run, interval: float, offset: float) -> None:
        self._run = run
        self._interval = interval
        self._due = time.monotonic() + offset
        self._buffer = b""
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take the answer; send the next request."""
        if self._buffer:
            data = self._buffer + data
        status = whole_status(data)
        if not status:
            self._buffer = data
            return
        self._buffer = b""
        self._waiting = False
        self._run.answered(status, time.monotonic() - self._started)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Count a request that was cut off."""
        if self._waiting:
            self._run.broken += 1
        self._run.closed()

    def _next(self) -> None:
        """Send at once, or when the next request of a paced run is due."""
        ahead = self._due - time.monotonic() if self._interval else 0.0
        if ahead > 0:
            asyncio.get_running_loop().call_later(ahead, self._send)
        else:
            self._send()

    def _send(self) -> None:
        request = self._run.next_request()
        if request is None or self._transport.is_closing():
            self._transport.close()
            return
        now = time.monotonic()
        self._started = min(now, self._due) if self._interval else now
        self._due += self._interval
        self._waiting = True
        self._transport.write(request)


def whole_status(data: bytes) -> int:
    """Return the status of the one response in ``data``, or 0 while it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    length = _LENGTH.search(data, 0, end)
    if length:
        return int(data[9:12]) if len(data) >= end + 4 + int(length[1]) else 0
    if _CHUNKED.search(data, 0, end) and not data.endswith(b"0\r\n\r\n"):
        return 0
    return int(data[9:12])


async def drive(template: Renders, options: argparse.Namespace) -> LoadResult:
    """Open the connections and wait until the run is over, or far too long."""
    loop = asyncio.get_running_loop()
    run = Run(template, options.connections, options.count, options.seconds)
    interval = options.connections / options.rate if options.rate else 0.0
    for turn in range(options.connections):
        offset = turn * interval / options.connections
        client = partial(Client, run, interval, offset)
        await loop.create_connection(client, "127.0.0.1", options.port)
    await asyncio.wait({run.over}, timeout=options.seconds + _GRACE_SECONDS)
    return run.result()


def measure(
    port: int,
    *,
    kind: str = "event",
    connections: int = 64,
    count: int = 10_000_000,
    seconds: float = 300.0,
    rate: float = 0.0,
    recorded: Path | None = None,
) -> LoadResult:
    """Run the generator as a process of its own and return what it saw.

    It ends at ``count`` requests or after ``seconds``, whichever comes first. ``rate`` paces it, in
    requests per second over all connections; 0 is a closed loop. ``recorded`` is a file of requests,
    as :func:`record` writes it: then each of these is sent once.

    Raises:
        BenchFailed: it could not do its work.
    """
    arguments = ("--port", port, "--kind", kind, "--connections", connections)
    bounds = ("--count", count, "--seconds", seconds, "--rate", rate)
    given = () if recorded is None else ("--recorded", recorded)
    done = subprocess.run(
        bench_module("load", *arguments, *bounds, *given),
        cwd=ROOT,
        env=own_environment(ROOT),
        capture_output=True,
        timeout=seconds + 2 * _GRACE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"the load generator failed: {done.stderr.decode()[-500:]}")
    return msgspec.json.decode(done.stdout, type=LoadResult)


def record(requests: Sequence[bytes], file: Path) -> None:
    """Write requests for :func:`measure` to send."""
    file.write_bytes(msgspec.msgpack.encode(requests))


def main() -> None:
    """Run, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="bench.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", choices=("event", "form"), default="event")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--recorded", type=Path)
    options = parser.parse_args()
    template = _template(options)
    gc.disable()  # the run is short and makes no cycles worth collecting
    result = uvloop.run(drive(template, options))
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


def _template(options: argparse.Namespace) -> Renders:
    if options.recorded:
        recorded = Recorded(options.recorded)
        options.count = min(options.count, len(recorded))
        return recorded
    if options.kind == "form":
        return FormTemplate(options.port)
    return event_template(options.port)


if __name__ == "__main__":
    main()
