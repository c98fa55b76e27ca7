"""From a request to its outcome: which resource it is for, who asks, and what goes wrong."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from urllib.parse import parse_qs

from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.answer import Answer, ApiError, Form
from ci360_twilio.twin.controls import Controls
from ci360_twilio.twin.faults import FaultPlan, Outcome
from ci360_twilio.twin.lookups import (
    list_numbers,
    list_service_numbers,
    show_account,
    show_service,
)
from ci360_twilio.twin.twilio import TwilioTwin
from ci360_twilio.twin.wire import Request

_MESSAGES = re.compile(
    r"/2010-04-01/Accounts/(?P<account>[^/.]+)/Messages(?:/(?P<sid>[^/.]+))?(?P<json>\.json)?"
)
_ACCOUNT = re.compile(
    r"/2010-04-01/Accounts/(?P<account>[^/.]+)(?P<numbers>/IncomingPhoneNumbers)?\.json"
)
_SERVICE = re.compile(r"/v1/Services/(?P<sid>[^/.]+)(?P<numbers>/PhoneNumbers)?")
_FORM = "application/x-www-form-urlencoded"


def _no_deliveries() -> Mapping[str, int]:
    return {}


class Routes:
    """Answers the requests for a twin; never raises.

    Args:
        twin: whose messages they are.
        faults: what goes wrong.
        latency: seconds that every answer of the API takes.
        deliveries: counts what became of callbacks.
    """

    def __init__(
        self,
        twin: TwilioTwin,
        faults: FaultPlan,
        latency: float = 0.0,
        deliveries: Callable[[], Mapping[str, int]] = _no_deliveries,
    ) -> None:
        self._twin, self._faults, self._latency = twin, faults, latency
        self._controls = Controls(twin, faults, deliveries)

    def play(self, request: Request) -> Outcome:
        """Let one request happen."""
        try:
            if request.path.startswith("/twin/"):
                return Outcome(answer=self._controls.answer(request))
            outcome = self._api(request)
            if self._latency:
                outcome = replace(outcome, delay=outcome.delay + self._latency)
            return outcome
        except Exception:  # noqa: BLE001 - an edge: a thread must not end with a traceback
            return Outcome(answer=ApiError(20500).answer)

    def _api(self, request: Request) -> Outcome:
        act = self._action(request)
        if act is None:
            return Outcome(answer=ApiError(20404, request.path).answer)
        if request.method == "POST" and request.path.removesuffix(".json").endswith("/Messages"):
            return self._faults.play(_recipient(request), act)
        what = f"{request.method} {request.path} {_recipient(request)}"
        return self._faults.ask(what, act)

    def _action(self, request: Request) -> Callable[[], Answer] | None:
        """Find what a request asks for; ``None`` where there is no such resource."""
        if path := _MESSAGES.fullmatch(request.path):
            return partial(self._act, request, path["account"], self._messages, path["sid"])
        if path := _ACCOUNT.fullmatch(request.path):
            look = _numbers if path["numbers"] else _account
            return partial(self._act, request, path["account"], look)
        if path := _SERVICE.fullmatch(request.path):
            look_in = _service_numbers if path["numbers"] else _service
            return partial(self._act, request, None, look_in, path["sid"])
        return None

    def _act(
        self,
        request: Request,
        account_sid: str | None,
        do: Callable[..., Answer],
        *names: str | None,
    ) -> Answer:
        try:
            user, password = _credentials(request.headers.get("authorization", ""))
            return do(request, self._twin.authorize(user, password, account_sid), *names)
        except ApiError as exc:
            return exc.answer

    def _messages(self, request: Request, account: TwinAccount, sid: str | None) -> Answer:
        return self._one(request, account, sid) if sid else self._all(request, account)

    def _all(self, request: Request, account: TwinAccount) -> Answer:
        if request.method == "POST":
            return Answer(201, self._twin.create(account, _form(request)))
        if request.method == "GET":
            return Answer(200, self._twin.list_messages(account, _parameters(request.query)))
        raise ApiError(20004)

    def _one(self, request: Request, account: TwinAccount, sid: str) -> Answer:
        if request.method == "GET":
            return Answer(200, self._twin.fetch(account, sid))
        if request.method == "POST":
            return Answer(200, self._twin.update(account, sid, _form(request)))
        if request.method == "DELETE":
            self._twin.delete(account, sid)
            return Answer(204, None)
        raise ApiError(20004)


def wants_xml(path: str) -> bool:
    """Tell whether a resource is asked for in XML (docs/usage/twilios-response)."""
    matched = _MESSAGES.fullmatch(path)
    return matched is not None and matched["json"] is None


def _account(request: Request, account: TwinAccount) -> Answer:
    _only_get(request)
    return Answer(200, show_account(account))


def _numbers(request: Request, account: TwinAccount) -> Answer:
    _only_get(request)
    return Answer(200, list_numbers(account, _parameters(request.query)))


def _service(request: Request, account: TwinAccount, sid: str) -> Answer:
    _only_get(request)
    return Answer(200, show_service(account, sid))


def _service_numbers(request: Request, account: TwinAccount, sid: str) -> Answer:
    _only_get(request)
    return Answer(200, list_service_numbers(account, sid, _parameters(request.query)))


def _only_get(request: Request) -> None:
    if request.method != "GET":
        raise ApiError(20004)


def _recipient(request: Request) -> str:
    """Name whom a request is about, as far as it can be read."""
    try:
        form = _form(request) if request.method == "POST" else _parameters(request.query)
    except ApiError:
        return ""
    recipients = form.get("To", [])
    return recipients[-1] if recipients else ""


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, value = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise ApiError(20003) from None
    if scheme.lower() != "basic" or not colon:
        raise ApiError(20003)
    return user, password


def _form(request: Request) -> Form:
    """Read the parameters of a form; of any other body Twilio sees none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        return _parameters(request.body.decode()) if kind == _FORM else {}
    except UnicodeDecodeError:
        raise ApiError(20001) from None


@lru_cache(maxsize=8)
def _parameters(text: str) -> Form:
    """Decode parameters; those of one request are asked for twice."""
    try:
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise ApiError(20001) from None
