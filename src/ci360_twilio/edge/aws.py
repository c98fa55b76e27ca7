"""The direct Lambda: SAS's sample replaced. It accepts and sends within one invocation.

``direct`` is the handler; ``lambda_function.lambda_handler`` is the name an installation of the
sample knows it by. The event may come from a REST API (v1), an HTTP API (v2) or a function URL.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Mapping
from typing import Any

from ci360_twilio.core.entry import Status
from ci360_twilio.edge.http import EVENTS, Request, Response, Routes, failure, outcome, respond
from ci360_twilio.errors import BeforeSending, LedgerUnavailable, SettingsError
from ci360_twilio.flow.accept import Accepted
from ci360_twilio.logs import Log, capture_foreign
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import Parts, wire

MARGIN_SECONDS = 1.5
"""What is left of an invocation for writing down what came of it."""
ENOUGH_SECONDS = 28.0
"""How long a whole invocation should be able to take, at least: of 30 seconds some may be over."""
UNLIMITED_SECONDS = 60.0
"""How long an invocation may take that does not say when it ends."""


class Direct:
    """The handler's parts: made once per instance, at its first event."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._routes = Routes(
            parts.acceptance,
            parts.store,
            parts.log,
            authenticated_upstream=parts.settings.authenticated_upstream,
        )

    def begin(self, context: object) -> None:
        """Have the log say whose invocation this is."""
        self._parts.log.carry(aws_request_id=request_id_of(context))

    def handle(self, event: object, context: object) -> dict[str, Any]:
        """Answer one invocation; never raises."""
        until = time.monotonic() + seconds_left(context) - MARGIN_SECONDS
        request = parse_invocation(event, request_id_of(context))
        if isinstance(request, Response):
            return answer_of(request)
        try:
            return answer_of(self._respond(request, until))
        finally:
            # Between invocations the instance may be frozen; a connection that outlives that
            # may be dead, and a request lost on it would be an unknown outcome.
            self._parts.client.close()

    def _respond(self, request: Request, until: float) -> Response:
        # The stack's functions import this module, too, and do without what sends at once.
        from ci360_twilio.edge.now import send_now

        answer = self._routes.accept([request])[0]
        if not isinstance(answer, Accepted):
            return respond(answer, request.request_id)
        entry = answer.entry
        if entry.status is Status.ACCEPTED:
            try:
                entry = send_now(self._parts, entry, until)
            except LedgerUnavailable as exc:
                return respond(exc, request.request_id)
        shown = Accepted(entry=entry, duplicate=answer.duplicate)
        failed = entry.status is Status.UNKNOWN or (
            entry.status is Status.ACCEPTED and entry.lease is None
        )
        if failed:
            return outcome(shown, 502, request.request_id)
        return respond(shown, request.request_id)


def parse_invocation(event: object, request_id: str) -> Request | Response:
    """Read what API Gateway or a function URL hands to a function.

    An event without a body is a request with an empty one, as SAS's sample takes it.
    """
    members: Mapping[str, Any] = event if isinstance(event, dict) else {}
    context = members.get("requestContext")
    context = context if isinstance(context, dict) else {}
    body = members.get("body")
    raw = b""
    if isinstance(body, str):
        try:
            encoded = members.get("isBase64Encoded") is True
            raw = base64.b64decode(body, validate=True) if encoded else body.encode()
        except (binascii.Error, UnicodeEncodeError, ValueError):
            return failure(400, "not_json", "The body cannot be decoded.", request_id)
    elif body is not None:
        return failure(400, "not_json", "The body is not text.", request_id)
    headers = members.get("headers")
    return Request(
        method="POST",
        path=EVENTS,
        headers={
            str(name).lower(): value
            for name, value in (headers if isinstance(headers, dict) else {}).items()
            if isinstance(value, str)
        },
        body=raw,
        gateway_checked=members.get("version") != "2.0" and _key_was_checked(context),
        request_id=request_id,
    )


def _key_was_checked(context: Mapping[str, Any]) -> bool:
    """Tell whether a REST API says that it checked an API key; no caller can write this part."""
    identity = context.get("identity")
    return isinstance(identity, dict) and bool(identity.get("apiKeyId"))


def answer_of(response: Response) -> dict[str, Any]:
    """Give a response as API Gateway takes it from a function."""
    headers = {"Content-Type": response.content_type, **dict(response.headers)}
    return {
        "statusCode": response.status,
        "headers": headers,
        "body": response.body.decode(),
        "isBase64Encoded": False,
    }


def seconds_left(context: object) -> float:
    """Tell what is left of an invocation."""
    left = getattr(context, "get_remaining_time_in_millis", None)
    return left() / 1000 if callable(left) else UNLIMITED_SECONDS


def request_id_of(context: object) -> str:
    """Give AWS's id of an invocation."""
    return str(getattr(context, "aws_request_id", None) or "local")


_lock = threading.Lock()
_direct: Direct | None = None


def _instance(context: object) -> Direct:
    global _direct
    with _lock:
        if _direct is None:
            settings = read_settings(ledger="memory:")
            log = Log(level=settings.log_level)
            capture_foreign(log)
            _direct = Direct(wire(settings, log, trips=False, lazily=True))
            if settings.ledger == "memory:":
                words = (
                    "no ledger table is set: the same event is recognised by this warm instance "
                    "only; set CI360_TWILIO_LEDGER to recognise it everywhere"
                )
                log.warning("direct.no_ledger", message=words)
            if (seconds := seconds_left(context)) < ENOUGH_SECONDS:
                words = (
                    "the function may be ended before Twilio has answered; what is cut off may have "
                    "been sent: set its time-out to 30 seconds or more"
                )
                log.warning("direct.short_time_out", seconds=round(seconds, 1), message=words)
        _direct.begin(context)
        return _direct


def direct(event: object, context: object) -> dict[str, Any]:
    """Handle one invocation: accept an event and send its message."""
    try:
        instance = _instance(context)
    except (SettingsError, BeforeSending) as exc:
        Log().error("direct.start", error=exc.code, message=exc.message)
        words = "The function is not set up; its log says why."
        return answer_of(failure(503, exc.code, words, request_id_of(context)))
    return instance.handle(event, context)
