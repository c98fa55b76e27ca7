"""Fixtures that many tests share: a clock that is set, a twin on loopback, a wired connector."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci360_twilio import aws
from ci360_twilio.logs import Log
from ci360_twilio.settings import read_settings
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.wiring import Parts, wire

ACCOUNT = f"AC{'a1' * 16}"
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SENDER = "+15005550006"
TENANT = "af5af6b8f500013eb0c90001"


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Give the moment it is set to."""
        return self.now

    def advance(self, **duration: float) -> datetime:
        """Move it; takes the arguments of ``timedelta``."""
        self.now += timedelta(**duration)
        return self.now


class Twilio:
    """A twin on loopback with one account, its faults, and the tenant's document for it."""

    def __init__(self, server: TwinServer, twin: TwilioTwin, faults: FaultPlan) -> None:
        self.server, self.twin, self.faults = server, twin, faults
        self.account, self.token, self.sender, self.tenant_id = ACCOUNT, TOKEN, SENDER, TENANT

    @property
    def host(self) -> str:
        """The host with its port, as CI360_TWILIO_TWILIO_HOSTS takes it."""
        return self.server.url.removeprefix("http://")

    def document(self, **changes: Any) -> dict[str, Any]:
        """Give a tenant's document; ``None`` removes a member."""
        members = {
            "twilio_api_url": f"{self.server.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            "default_sender": SENDER,
        }
        return {name: value for name, value in (members | changes).items() if value is not None}

    def made_for(self, recipient: str) -> int:
        """Count the messages that exist for a recipient."""
        return sum(message.to == recipient for message in self.twin.messages)


@pytest.fixture(autouse=True)
def a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no test find a session of AWS's that another test's environment was read into."""
    monkeypatch.setattr(aws, "_session", None)


@pytest.fixture
def clock() -> SetClock:
    """Give a clock that stands at a morning in March 2026."""
    return SetClock()


@pytest.fixture
def twilio() -> Iterator[Twilio]:
    """Run a twin on loopback for one test."""
    account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN)
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    faults = FaultPlan()
    with TwinServer(twin, faults) as server:
        yield Twilio(server, twin, faults)


@pytest.fixture
def tenants_folder(tmp_path: Path, twilio: Twilio) -> Callable[..., Path]:
    """Give a function that writes a tenant's document; changes as ``Twilio.document`` takes them."""
    folder = tmp_path / "tenants"
    folder.mkdir()

    def write(tenant_id: str = TENANT, **changes: Any) -> Path:
        (folder / f"{tenant_id}.json").write_text(json.dumps(twilio.document(**changes)))
        return folder

    return write


@pytest.fixture
def connector(
    tmp_path: Path, twilio: Twilio, tenants_folder: Callable[..., Path]
) -> Iterator[Callable[..., Parts]]:
    """Give a function that wires a connector against the twin, on a SQLite ledger.

    Keyword arguments are settings by name (``event_ttl="60"``, ``ledger="memory:"``). Log lines go
    to ``parts.log``'s stream, a ``StringIO``.
    """
    made: list[Parts] = []
    folder = tenants_folder()

    def make(*, trips: bool = True, **settings: str) -> Parts:
        environ = {
            "CI360_TWILIO_TENANTS": str(folder),
            "CI360_TWILIO_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
            "CI360_TWILIO_TWILIO_HOSTS": twilio.host,
            "CI360_TWILIO_LOG_LEVEL": "debug",
            **{f"CI360_TWILIO_{name.upper()}": value for name, value in settings.items()},
        }
        parts = wire(read_settings(environ), Log(io.StringIO(), level="debug"), trips=trips)
        made.append(parts)
        return parts

    yield make
    for parts in made:
        parts.close()
