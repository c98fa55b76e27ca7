"""What ``demo`` runs on: a connector of its own, with look-alikes of Twilio and CI360, on loopback."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ci360_twilio.core.tenant import parse_tenant_id
from ci360_twilio.errors import SettingsError
from ci360_twilio.flow.addresses import inbound_address
from ci360_twilio.settings import PREFIX
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.wiring import utc_now

TENANT = parse_tenant_id("demo")
ACCOUNT, TOKEN = f"AC{'d' * 32}", "demo-token"
SECRET, KEY = "demo-secret", "demo-key"
SENDER = "+15005550006"
LIFE = Life(until_sent=0.2, until_final=0.5)
PATIENCE = 20.0
"""Seconds in which each step must have come to its end."""
_HASH_KEY = "demo"

T = TypeVar("T")


class Stage:
    """A running connector, and the world around it."""

    def __init__(
        self, address: str, ledger: Path, twilio: TwilioTwin, ci360: Ci360Twin, faults: FaultPlan
    ) -> None:
        self.address = address
        self.twilio = twilio
        self.ci360 = ci360
        self.faults = faults
        self.store = SqliteStore(ledger, hash_key=_HASH_KEY.encode())

    def post(self, body: bytes) -> str:
        """Post an event as CI360 does; gives the answer in words."""
        status, answer = _call("POST", self.address, "/ci360/events", body)
        said: dict[str, Any] = json.loads(answer)
        return f"{status} {said.get('status')}" + (", again" if said.get("duplicate") else "")

    def write(self, customer: str, text: str) -> str:
        """Have a customer write back; gives the SID of the text."""
        return self.twilio.write(ACCOUNT, Letter(sender=customer, to=SENDER, body=text)).sid

    def until(self, look: Callable[[], T], patience: float = PATIENCE) -> T:
        """Look until something is there, or patience ends; gives what was seen last."""
        end = time.monotonic() + patience
        while not (found := look()) and time.monotonic() < end:
            time.sleep(0.05)
        return found


@contextmanager
def stage(folder: Path, *, port: int = 0, life: Life = LIFE) -> Iterator[Stage]:
    """Start everything, and end it.

    Args:
        folder: for the ledger, the tenant's document and the log.
        port: of the connector; any that is free unless told.
        life: what becomes of messages.
    """
    port = port or _free_port()
    address = f"http://127.0.0.1:{port}"
    account = TwinAccount(
        sid=ACCOUNT,
        auth_token=TOKEN,
        life=life,
        inbound_url=inbound_address(address, TENANT),
    )
    twilio, faults = TwilioTwin(accounts=[account], clock=utc_now), FaultPlan()
    ci360 = Ci360Twin(tenants={TENANT: SECRET}, clock=utc_now)
    with (
        TwinServer(twilio, faults) as twilio_server,
        Ci360Server(ci360) as ci360_server,
        _connector(folder, port, twilio_server.authority, ci360_server.authority),
    ):
        set_up = Stage(address, folder / "ledger.db", twilio, ci360, faults)
        try:
            yield set_up
        finally:
            set_up.store.close()


@contextmanager
def _connector(folder: Path, port: int, twilio: str, ci360: str) -> Iterator[None]:
    """Run ``serve`` with a tenant of its own."""
    tenants = folder / "tenants"
    tenants.mkdir()
    document = {
        "twilio_api_url": f"http://{twilio}",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "default_sender": SENDER,
        "api_keys": [KEY],
        "ci360_api_url": f"http://{ci360}/marketingGateway/events",
        "ci360_client_secret": SECRET,
    }
    (tenants / f"{TENANT}.json").write_text(json.dumps(document))
    address = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    environment |= {
        f"{PREFIX}TENANTS": str(tenants),
        f"{PREFIX}LEDGER": f"sqlite:///{folder / 'ledger.db'}",
        f"{PREFIX}HASH_KEY": _HASH_KEY,
        f"{PREFIX}PUBLIC_URL": address,
        f"{PREFIX}TWILIO_HOSTS": twilio,
        f"{PREFIX}CI360_HOSTS": ci360,
    }
    command = [sys.executable, "-m", "ci360_twilio", "serve", "--port", str(port)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stderr=output)  # noqa: S603 - ours
        try:
            _wait_until_ready(address, process, log)
            yield
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            if _call("GET", address, "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    said = log.read_text().strip() or "it said nothing"
    raise SettingsError(f"The server did not start:\n{said}")


def _call(method: str, address: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)) as caller:
        caller.request(method, path, body, {"X-Api-Key": KEY})
        answer = caller.getresponse()
        return answer.status, answer.read()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_setting(name: str) -> bool:
    return name.upper().startswith(PREFIX) or name.lower() in {
        "event_ttl",
        "default_sender",
        "sm_secret_id_prefix",
    }
