"""The event that is posted: one fixture, rendered once, patched per request."""

import secrets
import time
from pathlib import Path

TENANT = "bench0a1b2c3d4e5f6071829"
API_KEY = "bench-key-of-no-worth"
ACCOUNT = "AC" + "0123456789abcdef" * 2
AUTH_TOKEN = "0123456789abcdef" * 2
SENDER = "+19085550100"
EVENT_PATH = "/ci360/events"
MESSAGES_PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"

_FIXTURE = Path(__file__).with_name("event.json")
_GUID = b"00000000-0000-4000-8000-000000000000"
_TIME = b"1000000000000"
_RECIPIENT = b"+12015550100"
_SCRAMBLE = 0x9E3779B97F4A7C15


class Template:
    """A request whose guid, time and recipient change and whose length does not."""

    def __init__(self, request: bytes) -> None:
        at = [request.find(marker) for marker in (_GUID, _TIME, _RECIPIENT)]
        if at != sorted(at) or at[0] < 0:
            raise ValueError("the fixture holds guid, time and recipient, in this order")
        guid, moment, recipient = at
        self._head = request[:guid]
        self._before_time = request[guid + len(_GUID) : moment]
        self._before_recipient = request[moment + len(_TIME) : recipient]
        self._tail = request[recipient + len(_RECIPIENT) :]
        self._run = secrets.token_hex(6).encode()

    def fill(self, number: int) -> bytes:
        """Return request ``number`` of this run: a guid of its own, made now."""
        return b"".join(
            (
                self._head,
                _guid(number, self._run),
                self._before_time,
                b"%013d" % (time.time() * 1000),
                self._before_recipient,
                b"+1%03d555%04d" % (201 + number // 10_000 % 700, number % 10_000),
                self._tail,
            )
        )


def event_body() -> bytes:
    """Return the fixture as it stands, with its markers."""
    return _FIXTURE.read_bytes()


def fresh_event() -> bytes:
    """Return one event with a guid of its own, made now."""
    return Template(event_body()).fill(0)


def event_template(port: int) -> Template:
    """Return the template of ``POST /ci360/events`` with the tenant's key."""
    return Template(post(EVENT_PATH, port, "text/plain", event_body(), f"x-api-key: {API_KEY}\r\n"))


class FormTemplate:
    """The form of one Twilio message, the same each time."""

    def __init__(self, port: int) -> None:
        form = b"To=%2B12015550100&From=%2B19085550100&Body=Hello+Robin%2C+see+you+tomorrow"
        self._request = post(MESSAGES_PATH, port, "application/x-www-form-urlencoded", form)

    def fill(self, number: int) -> bytes:  # noqa: ARG002 - the shape of a template
        """Return the request."""
        return self._request


def post(path: str, port: int, kind: str, body: bytes, headers: str = "") -> bytes:
    """Render a request; ``headers`` are whole lines."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: bench\r\n"
        f"content-type: {kind}\r\n{headers}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _guid(number: int, run: bytes) -> bytes:
    """Return a unique guid whose order looks random, as that of real ones does."""
    mixed = b"%016x" % (number * _SCRAMBLE % 2**64)
    return b"-".join((mixed[:8], mixed[8:12], mixed[12:], b"8000", run))
