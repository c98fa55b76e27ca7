"""Fixtures that all commands' tests share: a way to run them, and a set-up to run them in."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ci360_twilio.core.ci360 import EVENTS_PATH
from ci360_twilio.core.inbound import Heard
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli import main
from ci360_twilio.logs import Log
from ci360_twilio.settings import read_settings
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import FaultPlan, Outcome
from ci360_twilio.twin.listener import Listener
from ci360_twilio.twin.wire import Request, Trace, write_response
from ci360_twilio.wiring import Parts, utc_now, wire

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO = "+12015550142"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def read(self) -> Any:
        """Read what was printed as JSON."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Start without settings, and put back what commands change in their process."""
    for name in list(os.environ):
        if "CI360_TWILIO" in name.upper() or name.lower() in ("default_sender", "event_ttl"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    root.handlers[:], root.level = handlers, level
    for number, handler in signals.items():
        signal.signal(number, handler)


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs a command; no traceback is ever printed, nor anything that steers."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exc:  # argparse
            code = int(exc.code or 0)
        captured = capsys.readouterr()
        for text in (captured.out, captured.err):
            assert "Traceback" not in text
            assert not [c for c in text if c in "\x1b\x07\x00\x9b\u202e"]
        return Done(code, captured.out, captured.err)

    return call


class Home(NamedTuple):
    """A set-up: the ledger's path, the folder of tenants, and a way to change both."""

    ledger: Path
    tenants: Path
    write: Callable[..., Path]

    def event(
        self,
        creative: str = f"TO:{TO};\nHello Anna",
        *,
        guid: str | None = None,
        tenant_id: str = TENANT,
        age: float = 1,
        datahub_id: str | None = None,
        **members: Any,
    ) -> Path:
        """Write an event to a file; all are of one customer unless ``datahub_id`` names another."""
        guid = guid or str(uuid.uuid4())
        file = self.ledger.with_name(f"{uuid.uuid4()}.json")
        event = outbound_event(
            guid=guid,
            tenant_id=tenant_id,
            creative=creative,
            generated_at=datetime.now(UTC) - timedelta(seconds=age),
            **members,
        )
        if datahub_id is not None:
            event["identityId"] = datahub_id
            del event["properties"]["subject_id"]
        file.write_text(json.dumps(event))
        return file


@pytest.fixture
def home(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tenants_folder: Callable[..., Path],
    twilio: Twilio,
) -> Home:
    """Set up a connector with one tenant, a ledger that is not there yet, and a twin."""
    ledger, folder = tmp_path / "ledger.db", tenants_folder()
    monkeypatch.setenv("CI360_TWILIO_TENANTS", str(folder))
    monkeypatch.setenv("CI360_TWILIO_LEDGER", f"sqlite:///{ledger}")
    monkeypatch.setenv("CI360_TWILIO_TWILIO_HOSTS", twilio.host)
    return Home(ledger, folder, tenants_folder)


Type = Callable[[str | bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Give a function that pipes something into the next command."""

    def give(text: str | bytes) -> None:
        raw = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), "utf-8"))

    return give


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Type]:
    """Give a function that lets somebody type at a pseudo terminal; what follows is its end."""
    opened: list[io.FileIO | io.TextIOBase] = []

    def sit(text: str | bytes) -> None:
        outside, inside = pty.openpty()
        raw = text.encode() if isinstance(text, str) else text
        typed, screen = os.fdopen(inside, "r", encoding="utf-8"), io.FileIO(outside, "r+")
        screen.write(raw + b"\x04" * 8)
        opened.extend((typed, screen))
        monkeypatch.setattr(sys, "stdin", typed)

    yield sit
    for file in opened:
        file.close()


Connect = Callable[[], AbstractContextManager[Parts]]


@pytest.fixture
def connect(home: Home) -> Connect:
    """Give a function that wires a connector as the commands find it; its log goes nowhere."""

    @contextmanager
    def wired() -> Iterator[Parts]:
        parts = wire(read_settings(), Log(io.StringIO()), trips=False)
        try:
            yield parts
        finally:
            parts.close()

    return wired


Hear = Callable[..., str]


@pytest.fixture
def hear(connect: Connect) -> Hear:
    """Give a function that has a customer write; gives Twilio's SID of the text."""

    def write(body: str, *, sender: str = TO, tenant_id: str = TENANT, **members: Any) -> str:
        sid = f"SM{uuid.uuid4().hex}"
        usual = {"sid": sid, "sender": sender, "to": "+15005550006", "body": body}
        with connect() as parts:
            tenant = parts.tenants.get(TenantId(tenant_id))
            parts.listening.hear_listed(tenant, [Heard(**(usual | members))])
        return sid

    return write


class Gateway(NamedTuple):
    """CI360's look-alike, and what a tenant's document says of it."""

    twin: Ci360Twin
    faults: FaultPlan
    server: Ci360Server
    members: dict[str, str]


@pytest.fixture
def gateway(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Run a CI360 that the tenant is set up with."""
    servers: list[Ci360Server] = []
    twin = Ci360Twin(tenants={TENANT: "the-secret"}, clock=utc_now, base=lambda: servers[0].url)
    faults = FaultPlan()
    with Ci360Server(twin, faults) as server:
        servers.append(server)
        members = {
            "ci360_api_url": f"{server.url}{EVENTS_PATH}",
            "ci360_client_secret": "the-secret",
        }
        home.write(**members)
        monkeypatch.setenv("CI360_TWILIO_CI360_HOSTS", server.authority)
        monkeypatch.setenv("CI360_TWILIO_BULK_HOSTS", server.authority)
        yield Gateway(twin, faults, server, members)


class Parrot(Listener):
    """A server that answers everything alike."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._answer = Answer(status, None, body)

    def play(self, request: Request) -> Outcome:
        """Answer; what was asked is kept."""
        self.requests.append(request)
        return Outcome(answer=self._answer)

    def render(self, _request: Request, outcome: Outcome, _trace: Trace, *, stays: bool) -> bytes:
        """Write the answer."""
        return write_response(outcome.answer or self._answer, stays=stays)

    def refuse(self, status: int) -> bytes:
        """Write an error."""
        return write_response(Answer(status, None), stays=False)


@pytest.fixture
def parrot() -> Iterator[Callable[[int, bytes], Parrot]]:
    """Give a function that starts a server which answers everything alike."""
    with ExitStack() as running:
        yield lambda status, body: running.enter_context(Parrot(status, body))
