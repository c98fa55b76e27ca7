"""The routes, free of any framework: requests in, responses out; the ASGI and Lambda edges share it."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ci360_twilio import __version__
from ci360_twilio.core.access import parse_credentials
from ci360_twilio.core.entry import UNFINISHED, Entry, Status
from ci360_twilio.errors import ConnectorError, LedgerUnavailable
from ci360_twilio.flow.accept import Acceptance, Accepted, Answer, Ignored
from ci360_twilio.flow.addresses import INBOUND, STATUS
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.webhook import Webhook
from ci360_twilio.logs import EVENT_REJECTED, INBOUND_REFUSED, JOB_REJECTED, RECEIPT_REFUSED, Log
from ci360_twilio.ports import Vitals

if TYPE_CHECKING:  # the direct Lambda has no webhooks, and starts sooner without them
    from ci360_twilio.flow.dating import Dating
    from ci360_twilio.flow.hear import Listening, Taken
    from ci360_twilio.flow.intake import Answered, Intake
    from ci360_twilio.flow.settle import Settlement

EVENTS = "/ci360/events"
BULK = "/ci360/bulk"
RETRY_AFTER = "5"
"""Seconds that a caller is asked to wait after a 503."""
DATING_SECONDS = 4.0
"""How long Twilio is asked, before an inbound message is answered, when a customer wrote; Twilio waits
15 seconds for the answer."""
READY_SECONDS = 1.0
"""How long the answer of ``/readyz`` is kept, so that asking often costs no writes."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    query: str = ""
    """What follows the ``?``, byte for byte as Latin-1: Twilio signs it as it stands."""
    headers: Mapping[str, str]
    body: bytes = b""
    peer: str = ""
    """The address of the caller, as far as it is known."""
    gateway_checked: bool = False
    """Whether a gateway in front has checked an API key of this request."""
    request_id: str = msgspec.field(default_factory=lambda: secrets.token_hex(8))


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


_NO_CONTENT = Response(status=204)
_NO_REPLY = Response(status=200, body=b"<Response/>", content_type="text/xml")
"""TwiML that has nothing sent back (docs/messaging/twiml)."""

_encode = msgspec.json.Encoder().encode

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Routes:
    """Answers requests. Every method may be called from any thread, and none raises."""

    def __init__(
        self,
        acceptance: Acceptance,
        vitals: Vitals,
        log: Log,
        *,
        intake: Intake | None = None,
        settlement: Settlement | None = None,
        listening: Listening | None = None,
        dating: Dating | None = None,
        on_loopback: bool = False,
        authenticated_upstream: bool = False,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
        metrics_token: str | None = None,
    ) -> None:
        """Make the routes.

        Args:
            acceptance: the verb behind ``POST /ci360/events``.
            vitals: the ledger, for ``/readyz``.
            log: where unexpected errors are told.
            intake: the verb behind ``POST /ci360/bulk``, where bulk tasks are taken.
            settlement: the verb behind ``POST /twilio/status/<tenant id>``, where Twilio may call.
            listening: the verb behind ``POST /twilio/inbound/<tenant id>``, likewise.
            dating: asks when customers wrote, where their consent hangs on it.
            on_loopback: the server is bound to loopback and has no public address.
            authenticated_upstream: a gateway in front authenticates every request.
            metrics: gives the text of ``/metrics`` and its content type.
            metrics_token: the bearer token that opens ``/metrics`` to others than loopback.
        """
        self._acceptance = acceptance
        self._vitals = vitals
        self._log = log
        self._intake = intake
        self._settlement = settlement
        self._listening = listening
        self._dating = dating
        self._on_loopback = on_loopback
        self._upstream = authenticated_upstream
        self._metrics = metrics
        self._metrics_token = metrics_token
        self._ready: tuple[float, Response] | None = None

    def handle(self, request: Request) -> Response:
        """Answer one request of any route."""
        if request.path == EVENTS:
            return self.events([request])[0]
        if request.path == BULK:
            return self.bulk(request)
        if request.path.startswith(STATUS):
            return self.statuses([request])[0]
        if request.path.startswith(INBOUND):
            return self.inbound([request])[0]
        pages = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics_page}
        page = pages.get(request.path)
        if page is None:
            return _not_found(request)
        if request.method not in ("GET", "HEAD"):
            return _method_not_allowed(request, "GET, HEAD")
        try:
            return page(request)
        except Exception as exc:  # noqa: BLE001 - the last line of defence
            return self._unexpected(exc, request)

    def too_large(self, request: Request, most: int) -> Response:
        """Refuse a request whose body was not read to its end, and count it as its route does."""
        refusals = {
            EVENTS: EVENT_REJECTED,
            BULK: JOB_REJECTED,
            STATUS: RECEIPT_REFUSED,
            INBOUND: INBOUND_REFUSED,
        }
        name = next((one for path, one in refusals.items() if request.path.startswith(path)), None)
        if name is not None:
            self._log.info(name, request_id=request.request_id, decision=413, reason="too_large")
        return failure(413, "too_large", f"The body is over {most:,} bytes.", request.request_id)

    def events(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of requests to ``/ci360/events``, with one commit."""
        answers = self.accept([request for request in requests if request.method == "POST"])
        left = iter(answers)
        return [
            respond(next(left), request.request_id)
            if request.method == "POST"
            else _method_not_allowed(request, "POST")
            for request in requests
        ]

    def accept(self, requests: Sequence[Request]) -> list[Answer]:
        """Take requests through the gates; an error of ours becomes a 503 and nothing is sent."""
        arrivals = [self._arrival(request) for request in requests]
        upset = LedgerUnavailable("The event could not be taken just now.")
        return self._answered(self._acceptance.accept_many, arrivals, upset)

    def bulk(self, request: Request) -> Response:
        """Answer a request to ``/ci360/bulk``."""
        if request.method != "POST":
            return _method_not_allowed(request, "POST")
        if self._intake is None:
            words = "Bulk tasks need CI360_TWILIO_FILES with this ledger."
            return failure(503, "not_set_up", words, request.request_id)
        return respond_to_task(self.take(request, self._intake), request.request_id)

    def take(self, request: Request, intake: Intake) -> Answered:
        """Take a bulk task through the gates; an error of ours becomes a 503."""
        upset = LedgerUnavailable("The task could not be taken just now.")

        def take(arrivals: list[Arrival]) -> list[Answered]:
            return [intake.take(arrival) for arrival in arrivals]

        answer: Answered = self._answered(take, [self._arrival(request)], upset)[0]
        return answer

    def statuses(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of status callbacks, with one commit."""
        settle = self._settlement.settle_many if self._settlement else None
        return self._webhooks(requests, STATUS, settle, _NO_CONTENT)

    def inbound(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of customers' messages, with one commit.

        Where a consent hangs on when they were written Twilio is asked before the answer, so that a
        START holds as soon as it is answered.
        """
        hear = self._listening.hear_many if self._listening else None
        return self._webhooks(requests, INBOUND, hear, _NO_REPLY, then=self._date)

    def _webhooks(
        self,
        requests: Sequence[Request],
        route: str,
        verb: Callable[[list[Webhook]], list[_Answer | ConnectorError]] | None,
        done: Response,
        then: Callable[[list[_Answer]], None] = lambda _: None,
    ) -> list[Response]:
        if verb is None:
            return [_not_found(request) for request in requests]
        webhooks = [_webhook(request, route) for request in requests if request.method == "POST"]
        upset = LedgerUnavailable("The request could not be taken just now.")
        answers = self._answered(verb, webhooks, upset)
        then([one for one in answers if not isinstance(one, ConnectorError)])
        left = iter(answers)
        return [
            _taken(next(left), done, request.request_id)
            if request.method == "POST"
            else _method_not_allowed(request, "POST")
            for request in requests
        ]

    def _date(self, taken: list[Taken]) -> None:
        """Ask when customers wrote, where that decides; what is not answered is asked again later."""
        undated = [one.consent for one in taken if one.consent and one.consent.undated]
        if not undated or self._dating is None:
            return
        try:
            self._dating.date_now(undated, seconds=DATING_SECONDS)
        except Exception as exc:  # noqa: BLE001 - what was heard is written, and is answered so
            self._log.error("http.unexpected", error=type(exc).__name__, verb="date_now")

    def _answered(
        self,
        verb: Callable[[list[_Item]], list[Any]],
        items: list[_Item],
        upset: ConnectorError,
    ) -> list[Any]:
        """Do a batch; what upsets the verb gets the answer ``upset`` and takes no others with it."""
        try:
            return verb(items) if items else []
        except Exception as exc:  # noqa: BLE001 - nothing a caller sends yields a 500
            name = getattr(verb, "__name__", "")
            self._log.error(
                "http.unexpected", error=type(exc).__name__, verb=name, batch=len(items)
            )
            if len(items) == 1:
                return [upset]
            return [answer for item in items for answer in self._answered(verb, [item], upset)]

    def _arrival(self, request: Request) -> Arrival:
        return Arrival(
            body=request.body,
            credentials=parse_credentials(request.headers),
            waived=self._upstream or request.gateway_checked or self._is_local(request),
            request_id=request.request_id,
        )

    def _is_local(self, request: Request) -> bool:
        """Tell whether a request was made on this machine, to this machine, without a proxy."""
        return self._on_loopback and came_directly(request.headers)

    def _healthz(self, _: Request) -> Response:
        return Response(status=200, body=_encode({"status": "ok", "version": __version__}))

    def _readyz(self, request: Request) -> Response:
        now = time.monotonic()
        if self._ready is None or now - self._ready[0] > READY_SECONDS:
            try:
                self._vitals.probe()
                answer = Response(status=200, body=_encode({"status": "ready"}))
            except ConnectorError as exc:
                answer = respond(exc, request.request_id)
            self._ready = (now, answer)
        return self._ready[1]

    def _metrics_page(self, request: Request) -> Response:
        bearer = parse_credentials(request.headers).bearer or ""
        token = self._metrics_token
        fits = token is not None and hmac.compare_digest(
            bearer.encode(errors="surrogatepass"), token.encode()
        )
        if not fits and not (is_loopback(request.peer) and came_directly(request.headers)):
            words = "Metrics are for loopback, or for who has the metrics token."
            return failure(401, "no_credential", words, request.request_id)
        if self._metrics is None:
            words = "Metrics need the extra: pip install 'ci360-twilio-connector[server]'"
            return failure(404, "not_found", words, request.request_id)
        body, content_type = self._metrics()
        return Response(status=200, body=body, content_type=content_type)

    def _unexpected(self, exc: Exception, request: Request) -> Response:
        self._log.error("http.unexpected", error=type(exc).__name__, request_id=request.request_id)
        words = "This could not be answered just now."
        return failure(503, "unavailable", words, request.request_id)


def _webhook(request: Request, route: str) -> Webhook:
    return Webhook(
        tenant_id=request.path.removeprefix(route),
        query=request.query,
        body=request.body,
        headers=request.headers,
        request_id=request.request_id,
    )


def _taken(answer: object, done: Response, request_id: str) -> Response:
    return respond(answer, request_id) if isinstance(answer, ConnectorError) else done


def respond(answer: Answer, request_id: str) -> Response:
    """Give the response to an answer of ``accept``."""
    if isinstance(answer, Ignored):
        return _ok(200, {"status": "ignored", "guid": answer.guid, "reason": answer.reason})
    if isinstance(answer, ConnectorError):
        details = [(issue.field, str(issue)) for issue in answer.issues]
        return failure(answer.http_status, answer.code, answer.message, request_id, details)
    status = 202 if answer.entry.status in UNFINISHED else 200
    return outcome(answer, status, request_id)


def outcome(answer: Accepted, status: int, request_id: str) -> Response:
    """Give the response that shows an entry; a refused one is always a 422."""
    entry = answer.entry
    shown = {
        "status": entry.status,
        "guid": entry.guid,
        "reason": entry.reason,
        "sid": entry.sid,
        "duplicate": answer.duplicate or None,
    }
    if entry.status is Status.REFUSED:
        status = 422
    if status < 400:
        return _ok(status, shown)
    code = entry.reason or str(entry.status)
    words = _WORDS.get(entry.status, "The message was not sent; nothing was made.")
    return failure(status, code, words, request_id, _details(entry), shown)


def respond_to_task(answer: Answered, request_id: str) -> Response:
    """Give the response that shows a job: 202 while it is under way, 422 where it failed."""
    from ci360_twilio.core.job import State
    from ci360_twilio.flow.intake import Booked

    if not isinstance(answer, Booked):
        return respond(answer, request_id)
    job = answer.job
    shown = {
        "status": job.state,
        "job": job.id,
        "reason": job.reason,
        "rows": job.rows or None,
        "duplicate": answer.duplicate or None,
    }
    if job.state is State.FAILED:
        words = job.words or "The task has failed."
        return failure(422, job.reason or "failed", words, request_id, shown=shown)
    return _ok(200 if job.ended else 202, shown)


_WORDS = {
    Status.REFUSED: "The message was refused.",
    Status.UNKNOWN: "Twilio's answer was lost; the message may or may not have been made.",
}


def _details(entry: Entry) -> list[tuple[str, str]]:
    if entry.problems:
        return list(entry.problems)
    return [("twilio", entry.reason)] if entry.reason else []


def _ok(status: int, shown: Mapping[str, Any]) -> Response:
    body = {name: value for name, value in shown.items() if value is not None}
    return Response(status=status, body=_encode(body))


def failure(
    status: int,
    code: str,
    message: str,
    request_id: str,
    details: Sequence[tuple[str, str]] = (),
    shown: Mapping[str, Any] | None = None,
) -> Response:
    """Give an error response in the shape that SAS's connector guidelines suggest."""
    error = {
        "code": code,
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "requestId": request_id,
        "details": [{"field": field, "issue": issue} for field, issue in details],
    }
    headers: tuple[tuple[str, str], ...] = ()
    if status == 503:
        headers = (("Retry-After", RETRY_AFTER),)
    elif status == 401:
        headers = (("WWW-Authenticate", "Bearer"),)
    members = {name: value for name, value in (shown or {}).items() if value is not None}
    return Response(status=status, body=_encode({**members, "error": error}), headers=headers)


def _not_found(request: Request) -> Response:
    return failure(404, "not_found", "There is nothing here.", request.request_id)


def _method_not_allowed(request: Request, allowed: str) -> Response:
    answer = failure(405, "method_not_allowed", f"Use {allowed}.", request.request_id)
    return msgspec.structs.replace(answer, headers=(("Allow", allowed),))


def came_directly(headers: Mapping[str, str]) -> bool:
    """Tell whether a request names a loopback host and passed no proxy that says so."""
    if any(name in _FORWARDING or name.startswith("x-forwarded") for name in headers):
        return False
    host = _HOST.fullmatch(headers.get("host", ""))
    return host is not None and is_loopback((host["name"] or host["address"]).lower())


_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]+)?")
_FORWARDING = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-host",
        "true-client-ip",
        "cf-connecting-ip",
    }
)


def is_loopback(address: str) -> bool:
    """Tell whether an address is of this machine."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
