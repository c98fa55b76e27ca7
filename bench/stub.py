"""A stub of Twilio: makes every message, says 201 after a while, and counts.

``GET /made`` answers with the latest messages that callbacks are wanted of. ``GET /count`` answers how many messages were asked for, when the first request came and when the
last answer left, in seconds of the machine's monotonic clock.
"""

import argparse
import json
import re
import secrets
import time
from collections import deque
from email.utils import formatdate
from urllib.parse import parse_qs

import msgspec

from bench.http1 import response, serve

_MESSAGE = re.compile(rb"/2010-04-01/Accounts/(\w+)/Messages/(\w+)\.json")
_NOT_FOUND = response(b"404 Not Found", b'{"code":20404,"message":"not found","status":404}')


class Count(msgspec.Struct):
    """What the stub has seen."""

    count: int = 0
    answered: int = 0
    first: float = 0.0
    last: float = 0.0


class Stub:
    """Answers for one Twilio account after another."""

    def __init__(self) -> None:
        self._seen = Count()
        self._made: deque[dict[str, str]] = deque(maxlen=1_000)

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Make a message, or tell the count."""
        method, path, _ = head.split(b" ", 2)
        if method == b"POST" and path.endswith(b"/Messages.json"):
            return self._created(path, body)
        if path == b"/count":
            return response(b"200 OK", msgspec.json.encode(self._seen))
        if path == b"/made":
            return response(b"200 OK", msgspec.json.encode(list(self._made)))
        if asked := _MESSAGE.fullmatch(path):
            account, sid = (part.decode() for part in asked.groups())
            return response(b"200 OK", message_body(account, {}, sid, "received"))
        return _NOT_FOUND

    def answered(self) -> None:
        """Note that an answer leaves."""
        self._seen.answered += 1
        self._seen.last = time.monotonic()

    def _created(self, path: bytes, body: bytes) -> bytes:
        if not self._seen.count:
            self._seen.first = time.monotonic()
        self._seen.count += 1
        account = path.decode().split("/")[3]
        form, sid = parse_qs(body.decode()), f"SM{secrets.token_hex(16)}"
        if callback := form.get("StatusCallback"):
            self._made.append({"sid": sid, "callback": callback[0]})
        message = message_body(account, form, sid)
        return response(b"201 Created", message, b"twilio-concurrent-requests: 1\r\n")


def message_body(
    account: str, form: dict[str, list[str]], sid: str, status: str = "queued"
) -> bytes:
    """Render the resource that Twilio answers with: a message that was made just now."""
    uri = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
    now = formatdate(usegmt=False)
    fields: dict[str, object] = {
        "sid": sid,
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": form.get("Body", [""])[0],
        "date_created": now,
        "date_updated": now,
        "date_sent": None,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": form.get("From", [None])[0],
        "messaging_service_sid": form.get("MessagingServiceSid", [None])[0],
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "status": status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": form.get("To", [None])[0],
        "uri": f"{uri}.json",
    }
    return json.dumps(fields).encode()


def main() -> None:
    """Serve on a port with a latency."""
    parser = argparse.ArgumentParser(prog="bench.stub", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    stub = Stub()
    serve(options.port, stub.answer, options.latency_ms / 1000, stub.answered)


if __name__ == "__main__":
    main()
