"""A stub of CI360: takes every external event, alone or in a file, after a while, and counts.

``GET /count`` answers how many events came, how many of them were acknowledged, and when the first
came and the last was acknowledged, in seconds of the machine's monotonic clock.
"""

import argparse
import time
from collections import deque

import msgspec

from bench.http1 import response, serve
from bench.stub import Count

_TAKEN = response(b"200 OK", b'{"status":"accepted"}')
_NOT_FOUND = response(b"404 Not Found", b"")


class Ci360Stub:
    """Answers for any tenant."""

    def __init__(self, port: int) -> None:
        """Make it.

        Args:
            port: at which files are taken, too.
        """
        self._seen = Count()
        self._open: deque[int] = deque()
        """The events in each request that is not answered yet; all wait equally long."""
        link = {"rel": "self", "href": f"http://127.0.0.1:{port}/file"}
        self._location = response(b"201 Created", msgspec.json.encode({"links": [link]}))

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Take events, say where a file of them goes, or tell the count."""
        method, path, _ = head.split(b" ", 2)
        if path == b"/count":
            return response(b"200 OK", msgspec.json.encode(self._seen))
        if method == b"GET":
            return _NOT_FOUND
        if method == b"PUT" and path == b"/file":
            return self._take(body.count(b"\n"), _TAKEN)
        if path.endswith(b"/marketingGateway/events"):
            return self._take(1, _TAKEN)
        if path.endswith(b"/marketingGateway/bulkEventsFileLocation"):
            return self._take(0, self._location)
        return self._take(0, _NOT_FOUND)

    def answered(self) -> None:
        """Note that an answer leaves."""
        if events := self._open.popleft():
            self._seen.answered += events
            self._seen.last = time.monotonic()

    def _take(self, events: int, answer: bytes) -> bytes:
        if not self._seen.count:
            self._seen.first = time.monotonic()
        self._seen.count += events
        self._open.append(events)
        return answer


def main() -> None:
    """Serve on a port with a latency."""
    parser = argparse.ArgumentParser(prog="bench.ci360_stub", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    stub = Ci360Stub(options.port)
    serve(options.port, stub.answer, options.latency_ms / 1000, stub.answered)


if __name__ == "__main__":
    main()
