"""What the tests of the clients share: a server that says what it is told, CI360's twin, no proxies."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pytest

from ci360_twilio.clients.ci360 import Ci360Client
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.ci360 import EVENTS_PATH, bearer_of
from ci360_twilio.core.outcome import ExternalEvent
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import Ci360Failed
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.faults import Ending, FaultPlan, Outcome
from ci360_twilio.twin.listener import Listener
from ci360_twilio.twin.wire import Request

MAX_BODY = 8 * 1024**2


class Web(Listener):
    """A server on loopback that gives its answers in order, the last one for all further requests.

    ``requests`` holds what it was asked.
    """

    def __init__(self, ending: Ending = Ending.ANSWERED) -> None:
        super().__init__(max_body=MAX_BODY)
        self.requests: list[Request] = []
        self._ending = ending
        self._answers: list[bytes] = []

    def say(self, status: int, body: bytes = b"", *headers: str) -> Web:
        """Add an answer."""
        lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(body)}", *headers, "", ""]
        return self.say_raw("\r\n".join(lines).encode() + body)

    def say_raw(self, whole: bytes) -> Web:
        """Add an answer as it is on the wire."""
        self._answers.append(whole)
        return self

    def play(self, request: Request) -> Outcome:
        """Take a request."""
        self.requests.append(request)
        answer = Answer(200, None) if self._answers else None
        delay = 60.0 if self._ending is Ending.SILENT else 0.0
        return Outcome(answer=answer, delay=delay, ending=self._ending)

    def render(self, *_: object, stays: bool) -> bytes:  # noqa: ARG002 - it says what it is told
        """Give the next answer."""
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def refuse(self, status: int) -> bytes:
        """Say that a request cannot be read."""
        return f"HTTP/1.1 {status} Unreadable\r\n\r\n".encode()


@pytest.fixture
def web() -> Iterator[Callable[..., Web]]:
    """Give a function that starts such a server; it is stopped after the test."""
    with ExitStack() as running:

        def make(ending: Ending = Ending.ANSWERED) -> Web:
            return running.enter_context(Web(ending))

        yield make


@pytest.fixture
def client() -> Iterator[TwilioClient]:
    """A client of Twilio, closed afterwards."""
    made = TwilioClient()
    yield made
    made.close()


@pytest.fixture
def tenant_at() -> Callable[[str], Tenant]:
    """Give a function that makes the tenant whose Twilio is at an address."""

    def make(url: str) -> Tenant:
        members = {
            "twilio_api_url": url,
            "twilio_account_sid": f"AC{'b2' * 16}",
            "twilio_auth_token": "a-token",
        }
        hosts = (url.partition("://")[2],)
        return parse_tenant(json.dumps(members), TenantId("tenant"), hosts)

    return make


class Gateway:
    """CI360's twin on loopback, what goes wrong there, a client of it, and an event to tell."""

    event = ExternalEvent(
        name="twilio_sms_failed",
        identity=("datahub_id", "D-4711"),
        attributes={"twilio_report_key": "0a" * 16, "twilio_reason": 'a,b; "c"\n\u00fc \U0001f44d'},
    )
    token = bearer_of("demo", "s3cret-Xyzzy")

    def __init__(self) -> None:
        now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
        self.twin = Ci360Twin(
            tenants={"demo": "s3cret-Xyzzy"}, clock=lambda: now, base=lambda: self.server.url
        )
        self.faults = FaultPlan()
        self.server = Ci360Server(self.twin, self.faults)

    @cached_property
    def client(self) -> Ci360Client:
        """A client that may move files here."""
        return self.client_for(self.server)

    def client_for(self, *servers: Listener) -> Ci360Client:
        """Make a client that may move files at these servers."""
        return Ci360Client(SignedAddresses(tuple(served.authority for served in servers)))

    def tenant(self, server: Listener | None = None, **changes: Any) -> Tenant:
        """Make the tenant whose CI360 is at a server, the twin's by default."""
        url = (server or self.server).url
        members = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": f"AC{'a1' * 16}",
            "twilio_auth_token": "a-token",
            "ci360_api_url": f"{url}{EVENTS_PATH}",
            "ci360_client_secret": "s3cret-Xyzzy",
        }
        document = json.dumps(members | changes)
        return parse_tenant(document, TenantId("demo"), (), (url.removeprefix("http://"),))

    def tell(self, server: Listener | None = None, *, timeout: float = 10.0) -> None:
        """Tell a server of the event, the twin by default."""
        self.client.tell(self.tenant(server), self.event, timeout=timeout)

    def failure(self, call: Callable[[], object]) -> Ci360Failed:
        """Give the error that a call ends with; nothing of it holds the token or the customer."""
        with pytest.raises(Ci360Failed) as caught:
            call()
        told = "".join(traceback.format_exception(caught.value))
        for secret in (self.token, self.token.rpartition(".")[2], "s3cret", "D-4711", "Bearer"):
            assert secret not in told + caught.value.said + caught.value.reason
        return caught.value


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Run a CI360 twin whose files are at the same place."""
    made = Gateway()
    with made.server:
        yield made
        made.client.close()


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the proxies of the machine that the tests run on."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
