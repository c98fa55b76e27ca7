"""A whole connector for the acceptance tests: real processes, real sockets, a twin for Twilio.

Whatever a test sends is remembered, and when all is over the logs of every process, written at
DEBUG, are searched for each number, text and secret.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import urllib3

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

ACCOUNT = f"AC{'7c' * 16}"
ROTATING = f"AC{'9e' * 16}"
"""A second account, whose token a test changes."""
TOKEN = "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c"
SENDER = "+12015550199"
API_KEY = "key-for-acceptance-3f9a7c1e5b2d"
OPEN, GUARDED, OTHER = "open-tenant", "guarded-tenant", "other-tenant"
PATIENCE = 20.0


class Exposed:
    """What must never be logged, gathered as it is used."""

    def __init__(self) -> None:
        self.values: set[str] = {TOKEN, API_KEY}

    def add(self, *values: str) -> None:
        """Remember values that the logs may not hold."""
        self.values.update(value for value in values if len(value) >= 7)

    def found_in(self, text: str) -> list[str]:
        """List the kinds of leaks in a text, without showing what leaked."""
        return [
            f"{kind} of a value of {len(value)} characters"
            for value in sorted(self.values)
            for kind, form in _forms(value)
            if form in text
        ]


def _forms(value: str) -> Iterator[tuple[str, str]]:
    yield "raw", value
    yield "percent-encoded", quote(value, safe="")
    yield "form-encoded", quote_plus(value)
    yield "json", json.dumps(value)[1:-1]
    yield "base64", base64.b64encode(value.encode()).decode().rstrip("=")
    digits = re.sub(r"\D", "", value)
    if value.startswith("+"):
        yield "digits", digits


class Running:
    """A server with its worker, its ledger and a twin."""

    def __init__(self, folder: Path, twin: TwilioTwin, faults: FaultPlan, url: str) -> None:
        self.folder, self.twin, self.faults, self.twilio_url = folder, twin, faults, url
        self.exposed = Exposed()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tenants = folder / "tenants"
        self.tenants.mkdir()
        self.ledger = folder / "ledger.db"
        self.log = folder / "log"
        self.pool = urllib3.PoolManager(retries=False, maxsize=64)
        self.environ = {
            **{name: value for name, value in os.environ.items() if "CI360" not in name.upper()},
            "CI360_TWILIO_TENANTS": str(self.tenants),
            "CI360_TWILIO_LEDGER": f"sqlite:///{self.ledger}",
            "CI360_TWILIO_HASH_KEY": "acceptance",
            "CI360_TWILIO_TWILIO_HOSTS": url.removeprefix("http://"),
            "CI360_TWILIO_LOG_LEVEL": "debug",
            "CI360_TWILIO_TENANT_CACHE": "300",
        }
        self._number = 0

    def tenant(self, tenant_id: str, **changes: Any) -> None:
        """Write a tenant's document."""
        document = {
            "twilio_api_url": f"{self.twilio_url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            "default_sender": SENDER,
            **changes,
        }
        (self.tenants / f"{tenant_id}.json").write_text(json.dumps(document))

    def number(self) -> str:
        """Give a fictional number that no other test uses."""
        self._number += 1
        number = f"+1201555{self._number:04}"
        self.exposed.add(number)
        return number

    def event(
        self, creative: str, *, tenant_id: str = OPEN, age: float = 1.0, **members: Any
    ) -> Any:
        """Make an event with a new guid."""
        self.exposed.add(
            *(line for line in creative.splitlines() if not line.startswith(("TO:", "FROM:")))
        )
        return outbound_event(
            guid=members.pop("guid", None) or str(uuid.uuid4()),
            tenant_id=tenant_id,
            creative=creative,
            generated_at=datetime.now(UTC) - timedelta(seconds=age),
            **members,
        )

    def post(self, event: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Post an event, or raw bytes, as CI360 does; gives status and body."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.pool.request(
            "POST",
            f"{self.url}/ci360/events",
            body=body,
            headers={"Content-Type": "text/plain;charset=UTF-8", **named},
            timeout=30,
        )
        return answer.status, answer.json()

    def settled(self, guid: str, tenant_id: str = OPEN) -> Entry:
        """Wait until an entry has come as far as it can, and give it."""
        until = time.monotonic() + PATIENCE
        store = SqliteStore(self.ledger, hash_key=b"acceptance")
        try:
            while True:
                entry = store.get_many([key_of(TenantId(tenant_id), guid)])[0]
                if entry is not None and entry.status not in (Status.ACCEPTED, Status.SENDING):
                    return entry
                assert time.monotonic() < until, f"no end in {PATIENCE} s: {entry and entry.status}"
                time.sleep(0.02)
        finally:
            store.close()

    def made_for(self, recipient: str) -> list[Any]:
        """List the messages that the twin made for a recipient."""
        return [message for message in self.twin.messages if message.to == recipient]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``ci360-twilio`` with this connector's settings."""
        return subprocess.run(
            [sys.executable, "-m", "ci360_twilio", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def trace(self, guid: str, *arguments: str) -> dict[str, Any]:
        """Give what ``trace --json`` says."""
        done = self.command("trace", guid, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for ``/readyz``."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and process.poll() is None:
            try:
                if self.pool.request("GET", f"{self.url}/readyz", timeout=2).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
        pytest.fail("the server did not start")


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a connector for all acceptance tests of this process, and search its logs at the end."""
    accounts = [TwinAccount(sid=sid, auth_token=TOKEN) for sid in (ACCOUNT, ROTATING)]
    twin = TwilioTwin(accounts=accounts, clock=lambda: datetime.now(UTC))
    faults = FaultPlan()
    with TwinServer(twin, faults) as server:
        made = Running(tmp_path_factory.mktemp("connector"), twin, faults, server.url)
        made.tenant(OPEN)
        made.tenant(GUARDED, api_keys=[API_KEY])
        made.tenant(OTHER, api_keys=["another-key-9d8c7b6a5f4e"])
        made.exposed.add("another-key-9d8c7b6a5f4e")
        with made.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ci360_twilio", "serve", "--port", str(made.port)],
                env=made.environ,
                stderr=log,
            )
            try:
                made.wait_until_ready(process)
                yield made
            finally:
                process.terminate()
                process.wait(60)
                made.pool.clear()
    leaks = made.exposed.found_in(made.log.read_text())
    assert not leaks, f"the logs hold what they must not: {leaks}"
