"""The CI360 twin on a socket of this machine, and within a process.

The files that it hands out addresses for are at the same place. ``GET /twin/events`` shows what was
taken; ``POST /twin/published``, ``/twin/faults`` and ``/twin/preferences`` change and plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import msgspec

from ci360_twilio.clients.ci360 import Ci360Client
from ci360_twilio.clients.connections import NoAnswer, NotConnected
from ci360_twilio.clients.signed import SignedAddresses, check_status
from ci360_twilio.core.ci360 import EVENTS_PATH
from ci360_twilio.errors import Ci360Failed, Trouble
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.ci360 import Ci360Twin, Refusal, refusal
from ci360_twilio.twin.faults import FaultPlan, Outcome
from ci360_twilio.twin.inside import Everywhere, Inside, Waiting
from ci360_twilio.twin.listener import Listener
from ci360_twilio.twin.loopback import names_loopback
from ci360_twilio.twin.wire import Request, Trace, write_response

MAX_FILE = 64 * 1024**2
BULK_PATH = "/marketingGateway/bulkEventsFileLocation"
_LOCATION = "/marketingData/fileTransferLocation"
_JOBS = re.compile(r"/marketingData/tableJobs/?(?P<job>[A-Za-z0-9_-]*)")
_FILES = re.compile(r"/files/(?P<token>[0-9a-f]{32})")

Act = Callable[[], Answer]


class _FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/faults``: shares of chance, or a burst; see :class:`FaultPlan`."""

    share: dict[str, float] | None = None
    seed: int = 0
    burst: str | None = None
    requests: int | None = None


class _PreferenceOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/preferences``."""

    number: str
    opted_out: bool


class Ci360Routes:
    """Answers the requests for a twin; never raises.

    Args:
        twin: what it is about.
        faults: what goes wrong; those of Twilio's codes have CI360's words.
        latency: seconds that every answer takes.
    """

    def __init__(self, twin: Ci360Twin, faults: FaultPlan, latency: float = 0.0) -> None:
        self._twin, self._faults, self._latency = twin, faults, latency

    def play(self, request: Request) -> Outcome:
        """Let one request happen."""
        try:
            if request.path.startswith("/twin/"):
                return Outcome(answer=self._controlled(request))
            return self._gateway(request)
        except Exception:  # noqa: BLE001 - an edge: a thread must not end with a traceback
            return Outcome(answer=refusal(500, "something went wrong inside the twin"))

    def _gateway(self, request: Request) -> Outcome:
        act = self._action(request)
        if act is None:
            return Outcome(answer=Answer(404, None, b""))
        outcome = self._faults.ask(request.path, partial(_answered, act))
        if outcome.answer is not None and "more_info" in (outcome.answer.body or {}):
            status = outcome.answer.status
            words = "the twin was told to answer so"
            # CI360 answers more than it takes with a bare 403
            said = Answer(403, None, b"") if status == 429 else refusal(status, words)
            outcome = replace(outcome, answer=said)
        return replace(outcome, delay=outcome.delay + self._latency)

    def _action(self, request: Request) -> Act | None:
        """Find what a request asks for; ``None`` where there is nothing of that kind."""
        twin, method, path = self._twin, request.method, request.path
        if file := _FILES.fullmatch(path):
            if method == "PUT":
                return partial(twin.put, file["token"], request.body)
            return partial(twin.fetch, file["token"]) if method == "GET" else None
        acts: dict[tuple[str, str], Callable[[str], Answer]] = {
            ("POST", EVENTS_PATH): lambda tenant: twin.take_event(tenant, request.body),
            ("POST", BULK_PATH): self._bulk_location,
            ("POST", _LOCATION): self._location,
        }
        act = acts.get((method, path))
        if jobs := _JOBS.fullmatch(path):
            job = jobs["job"]
            if method == "POST":
                act = lambda tenant: twin.start_job(tenant, request.body)  # noqa: E731
            elif method == "GET":
                act = lambda tenant: twin.ask_job(tenant, job)  # noqa: E731
        return None if act is None else partial(self._authorized, request, act)

    def _authorized(self, request: Request, act: Callable[[str], Answer]) -> Answer:
        return act(self._twin.authorize(request.headers.get("authorization", "")))

    def _bulk_location(self, tenant_id: str) -> Answer:
        href = self._twin.hand_out(tenant_id, "events")
        return Answer(200, {"links": [{"rel": "self", "href": href, "method": "PUT"}]})

    def _location(self, tenant_id: str) -> Answer:
        return Answer(200, {"signedURL": self._twin.hand_out(tenant_id, "preferences")})

    def _controlled(self, request: Request) -> Answer:
        if "origin" in request.headers or not names_loopback(request.headers.get("host", "")):
            return Answer(403, {"error": "only for this machine, and not for web pages"})
        actions: dict[tuple[str, str], Callable[[bytes], Answer]] = {
            ("GET", "/twin/events"): self._show,
            ("GET", "/twin/preferences"): self._show_preferences,
            ("POST", "/twin/preferences"): self._prefer,
            ("POST", "/twin/published"): self._publish,
            ("POST", "/twin/faults"): self._plan,
        }
        action = actions.get((request.method, request.path))
        if action is None:
            return Answer(404, {"error": "no such resource or method"})
        try:
            return action(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
            return Answer(400, {"error": str(exc)})

    def _show(self, _: bytes) -> Answer:
        return Answer(200, {"events": msgspec.to_builtins(self._twin.events)})

    def _show_preferences(self, _: bytes) -> Answer:
        return Answer(200, {"preferences": msgspec.to_builtins(self._twin.preferences)})

    def _prefer(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_PreferenceOrder)
        self._twin.prefer(order.number, opted_out=order.opted_out)
        return Answer(204, None)

    def _publish(self, body: bytes) -> Answer:
        self._twin.publish(msgspec.json.decode(body, type=list[str] | None))
        return Answer(204, None)

    def _plan(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_FaultOrder)
        if order.share is not None:
            self._faults.set_share({}, asking=order.share, seed=order.seed)
        if order.burst:
            self._faults.burst(order.burst, requests=order.requests)
        elif order.burst is not None:
            self._faults.end_burst()
        return Answer(204, None)


class Ci360Server(Listener):
    """Serves a CI360 twin; see :class:`Listener`.

    Args:
        twin: what it is about.
        faults: what goes wrong; nothing by default.
        host: a loopback address, or ``localhost``.
        port: 0 for any free one.
        latency: seconds that every answer takes.
    """

    def __init__(
        self,
        twin: Ci360Twin,
        faults: FaultPlan | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
    ) -> None:
        super().__init__(host=host, port=port, max_body=MAX_FILE)
        self._routes = Ci360Routes(twin, faults or FaultPlan(), latency)

    def play(self, request: Request) -> Outcome:
        """Let one request happen."""
        return self._routes.play(request)

    def render(self, _request: Request, outcome: Outcome, _trace: Trace, *, stays: bool) -> bytes:
        """Write the answer."""
        return write_response(outcome.answer or Answer(204, None), stays=stays)

    def refuse(self, status: int) -> bytes:
        """Write an error."""
        return write_response(refusal(status, "the request cannot be read"), stays=False)


class InsideCi360(Ci360Client):
    """The connector's client of CI360, whose every request goes to a twin in the same process."""

    def __init__(
        self,
        twin: Ci360Twin,
        faults: FaultPlan | None = None,
        *,
        clock: Waiting,
        latency: float = 0.0,
    ) -> None:
        inside = Inside(Ci360Routes(twin, faults or FaultPlan(), latency).play, clock)
        super().__init__(_InsideAddresses(inside))
        self._pools = Everywhere(inside)


class _InsideAddresses(SignedAddresses):
    """Addresses that lead to the twin."""

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self._inside = inside

    def put(self, url: object, body: bytes, content_type: str, *, timeout: float) -> None:
        """Put a file."""
        self._move("PUT", url, {"Content-Type": content_type}, body, timeout)

    def fetch(self, url: object, into: BinaryIO, *, timeout: float) -> int:
        """Fetch a file."""
        return into.write(self._move("GET", url, {}, None, timeout))

    def _move(
        self, method: str, url: object, headers: dict[str, str], body: bytes | None, timeout: float
    ) -> bytes:
        path = str(url).partition("?")[0]
        try:
            answer = self._inside.request(method, path, headers, body, timeout)
        except (NotConnected, NoAnswer) as exc:
            reason = str(exc) if isinstance(exc, NotConnected) else "connection_lost"
            words = "The file could not be moved."
            raise Ci360Failed(words, trouble=Trouble.AWAY, reason=reason) from exc
        check_status(answer.status)
        return answer.body


def _answered(act: Act) -> Answer:
    try:
        return act()
    except Refusal as exc:
        return exc.answer
