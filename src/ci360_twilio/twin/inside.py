"""Twilio in process: the connector's own client, with the twin where its connections would be.

What the client sends is what would be on the wire, and it reads answers with its own functions;
only sockets and the time are left out.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from ci360_twilio.clients.connections import (
    MAX_ANSWER,
    READ_SECONDS,
    Connections,
    HttpAnswer,
    NoAnswer,
    NotConnected,
)
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.faults import Ending, FaultPlan, Outcome
from ci360_twilio.twin.routes import Routes
from ci360_twilio.twin.twilio import TwilioTwin
from ci360_twilio.twin.wire import Request, Trace, write_response

_NO_HEADERS = http.client.HTTPMessage()


class Waiting(Protocol):
    """A clock that moves while somebody waits."""

    def wait(self, seconds: float) -> None:
        """Let that many seconds pass."""
        ...


class InsideTwilio(TwilioClient):
    """The connector's client, whose every request goes to a twin in the same process.

    Args:
        twin: whose messages they are; its clock is to go with ``clock``.
        faults: what goes wrong with requests; nothing by default.
        clock: is moved while an answer is waited for.
        latency: seconds that every answer takes.
    """

    def __init__(
        self,
        twin: TwilioTwin,
        faults: FaultPlan | None = None,
        *,
        clock: Waiting,
        latency: float = 0.0,
    ) -> None:
        super().__init__()
        routes = Routes(twin, faults or FaultPlan(), latency)
        self._pools = Everywhere(Inside(routes.play, clock))


class Everywhere(dict[tuple[str, str, int | None], Connections]):
    """Gives the same connections for every address."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._same = connections

    def get(self, *_: object) -> Connections:
        """Give them."""
        return self._same


class Inside(Connections):
    """Connections that end in this process."""

    def __init__(self, play: Callable[[Request], Outcome], clock: Waiting) -> None:
        self._play, self._clock = play, clock

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> HttpAnswer:
        """Make one request; an answer that takes too long is waited for as long as on a socket."""
        if timeout <= 0:
            raise NotConnected("connect_timeout")
        url = urlsplit(target)
        request = Request(
            method=method,
            path=url.path,
            query=url.query,
            headers={name.lower(): value for name, value in headers.items()},
            body=body or b"",
            keep_alive=True,
        )
        outcome = self._play(request)
        if outcome.ending is Ending.UNREACHABLE:
            raise NotConnected("connect_refused")
        longest = min(timeout, READ_SECONDS)
        if outcome.delay >= longest:
            self._clock.wait(longest)
            raise NoAnswer("read_timeout")
        if outcome.delay:
            self._clock.wait(outcome.delay)
        return _read(outcome)


def _read(outcome: Outcome) -> HttpAnswer:
    """Read what came of an answer."""
    answer = outcome.answer
    if answer is None:
        raise NoAnswer("connection_lost")
    if outcome.ending is Ending.CUT:
        return _read_half(answer)
    body = answer.content or b""
    if answer.body is not None:
        body = msgspec.json.encode(answer.body)
    return HttpAnswer(answer.status, _NO_HEADERS, body)


def _read_half(answer: Answer) -> HttpAnswer:
    """Read the first half of an answer as it would come on a socket."""
    whole = write_response(answer, Trace().headers(), stays=True)
    response = http.client.HTTPResponse(_Half(whole[: len(whole) // 2]))  # type: ignore[arg-type]
    try:
        response.begin()
        return HttpAnswer(response.status, response.headers, response.read(MAX_ANSWER + 1))
    except (OSError, http.client.HTTPException) as exc:
        raise NoAnswer("connection_lost") from exc


class _Half:
    """A socket on which nothing more comes."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)
