"""Fixtures that all commands' tests share: a way to run them, and a set-up to run them in."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli import main
from ci360_twilio.twin.events import outbound_body

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
        **members: Any,
    ) -> Path:
        """Write an event to a file that is named by its guid."""
        guid = guid or str(uuid.uuid4())
        file = self.ledger.with_name(f"{uuid.uuid4()}.json")
        body = outbound_body(
            guid=guid,
            tenant_id=tenant_id,
            creative=creative,
            generated_at=datetime.now(UTC) - timedelta(seconds=age),
            **members,
        )
        file.write_bytes(body)
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
