"""A whole connector for the acceptance tests: real processes, real sockets, a twin for Twilio.

Whatever a test sends is remembered, and when all is over the logs of every process, written at
DEBUG, are searched for each number, text and secret.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, quote_plus

import pytest
import urllib3

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.addresses import inbound_address
from ci360_twilio.ports import InboundQuery, Query
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.ci360 import Ci360Twin, TakenEvent
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

ACCOUNT = f"AC{'7c' * 16}"
ROTATING = f"AC{'9e' * 16}"
"""A second account, whose token a test changes."""
TOKEN = "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c"
SENDER = "+12015550199"
API_KEY = "key-for-acceptance-3f9a7c1e5b2d"
SECRET = "secret-for-acceptance-1b7d3f5a9c2e"
OPEN, GUARDED, OTHER = "open-tenant", "guarded-tenant", "other-tenant"
PATIENCE = 20.0
HASH_KEY = "acceptance"
FINGERPRINT = 7
"""Characters of a secret by which it is looked for at first."""

_Found = TypeVar("_Found")


_ON_ITS_WAY = (Status.ACCEPTED, Status.SENDING)


class Exposed:
    """What must never be logged, gathered as it is used."""

    def __init__(self) -> None:
        self.values: set[str] = {TOKEN, API_KEY, SECRET}

    def add(self, *values: str) -> None:
        """Remember values that the logs may not hold."""
        self.values.update(value for value in values if len(value) >= FINGERPRINT)

    def found_in(self, text: str) -> list[str]:
        """List the kinds of leaks in a text, without showing what leaked.

        Thousands of numbers begin alike: what several begin with is looked for once.
        """
        forms: dict[str, list[tuple[str, str]]] = {}
        for value in sorted(self.values):
            for kind, form in _forms(value):
                words = f"{kind} of a value of {len(value)} characters"
                forms.setdefault(form[:FINGERPRINT], []).append((form, words))
        return [
            words
            for start, alike in forms.items()
            if (places := [found.start() for found in re.finditer(re.escape(start), text)])
            for form, words in alike
            if any(text.startswith(form, place) for place in places)
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


class Ci360:
    """CI360's look-alike, for the tenants whose documents name it."""

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self.twin = Ci360Twin(
            tenants=dict.fromkeys((OPEN, GUARDED, OTHER), SECRET),
            clock=lambda: datetime.now(UTC),
            base=lambda: self.server.url,
        )
        self.server = Ci360Server(self.twin, self.faults)

    @property
    def members(self) -> dict[str, str]:
        """What a tenant's document says of it."""
        url = f"{self.server.url}/marketingGateway/events"
        return {"ci360_api_url": url, "ci360_client_secret": SECRET}

    def told(self, name: str = "", **attributes: str) -> list[TakenEvent]:
        """List the events of a name, or all, that have these attributes."""
        return [
            one
            for one in self.twin.events
            if one.name.endswith(name)
            and all(one.attributes.get(key) == value for key, value in attributes.items())
        ]

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()


class Running:
    """A server with its worker, its ledger and a twin.

    Args:
        folder: where everything is kept.
        server: the twin, started.
        twin: its messages.
        faults: what goes wrong there.
        settings: of the connector, by name.
    """

    def __init__(
        self,
        folder: Path,
        server: TwinServer,
        twin: TwilioTwin,
        faults: FaultPlan,
        settings: dict[str, str],
    ) -> None:
        self.folder, self.twin, self.faults = folder, twin, faults
        self.server, self.twilio_url = server, server.url
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
            "TMPDIR": str(folder),  # a server that is killed leaves things there
            "CI360_TWILIO_TENANTS": str(self.tenants),
            "CI360_TWILIO_LEDGER": f"sqlite:///{self.ledger}",
            "CI360_TWILIO_HASH_KEY": HASH_KEY,
            "CI360_TWILIO_TWILIO_HOSTS": server.url.removeprefix("http://"),
            "CI360_TWILIO_LOG_LEVEL": "debug",
            "CI360_TWILIO_TENANT_CACHE": "300",
            **{f"CI360_TWILIO_{name.upper()}": value for name, value in settings.items()},
        }
        self.ci360 = Ci360()
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, which starts its worker, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ci360_twilio", "serve", "--port", str(self.port)],
                env=self.environ,
                stderr=log,
            )
        self.wait_until_ready(self._process)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the server with a signal; wait for it, and for its worker, which ends after it."""
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(60)
        self._process = None
        self.pool.clear()
        self.until(lambda: self._logged("worker.stopped") == self._logged("worker.started"))

    def _logged(self, event: str) -> int:
        return self.log.read_bytes().count(f'"event":"{event}"'.encode())

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

    def post_many(self, events: Sequence[Any], **headers: str) -> list[int]:
        """Post events, several at a time; gives the statuses in their order."""
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda event: self.post(event, **headers)[0], events))

    def until(self, look: Callable[[], _Found], seconds: float = PATIENCE) -> _Found:
        """Look again and again until something true is seen, and give it."""
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, f"not seen in {seconds:g} s"
            time.sleep(0.05)
        return found

    def store(self) -> closing[SqliteStore]:
        """Open the ledger to look into it."""
        return closing(SqliteStore(self.ledger, hash_key=HASH_KEY.encode()))

    def entries(self, *statuses: Status, **members: Any) -> list[Entry]:
        """List what the ledger holds; members as :class:`Query` takes them."""
        query = Query(statuses=frozenset(statuses), **({"limit": 100_000} | members))
        with self.store() as store:
            return store.find(query)

    def settled(self, guid: str, tenant_id: str = OPEN) -> Entry:
        """Wait until an entry has come as far as it can, and give it."""
        return self.reached(guid, lambda entry: entry.status not in _ON_ITS_WAY, tenant_id)

    def reached(self, guid: str, there: Callable[[Entry], object], tenant_id: str = OPEN) -> Entry:
        """Wait until an entry is as it is wanted, and give it."""
        end = time.monotonic() + PATIENCE
        with self.store() as store:
            while True:
                entry = store.get_many([key_of(TenantId(tenant_id), guid)])[0]
                if entry is not None and there(entry):
                    return entry
                last = entry and (entry.status, entry.provider_status, entry.reason)
                assert time.monotonic() < end, f"not there in {PATIENCE} s: {last}"
                time.sleep(0.02)

    def write(self, customer: str, text: str, *, to: str = SENDER, **members: Any) -> str:
        """Have a customer write to a number; gives the text's SID."""
        self.exposed.add(text)
        return self.twin.write(ACCOUNT, Letter(sender=customer, to=to, body=text, **members)).sid

    def heard(self, sid: str) -> Inbound:
        """Wait until a text is heard, and give it."""

        def look() -> list[Inbound]:
            with self.store() as store:
                return store.find_inbound(InboundQuery(sid=sid))

        return self.until(look)[0]

    def made_for(self, recipient: str) -> list[Any]:
        """List the messages that the twin made for a recipient."""
        return [message for message in self.twin.messages if message.to == recipient]

    def command(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``ci360-twilio`` with this connector's settings, and something piped in."""
        return subprocess.run(
            [sys.executable, "-m", "ci360_twilio", *arguments],
            env=self.environ,
            input=typed,
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


@contextmanager
def connector(folder: Path, life: Life | None = None, **settings: str) -> Iterator[Running]:
    """Run a connector with a twin of its own; its logs are searched at the end.

    Args:
        folder: where everything is kept.
        life: what becomes of the twin's messages.
        settings: by name; ``public_url="own"`` stands for the server's own address.
    """
    accounts = [TwinAccount(sid=sid, auth_token=TOKEN, life=life) for sid in (ACCOUNT, ROTATING)]
    twin = TwilioTwin(accounts=accounts, clock=lambda: datetime.now(UTC))
    faults = FaultPlan()
    with TwinServer(twin, faults) as server, Ci360() as ci360:
        made = Running(folder, server, twin, faults, settings)
        made.ci360 = ci360
        for name in ("CI360_HOSTS", "BULK_HOSTS"):
            made.environ[f"CI360_TWILIO_{name}"] = ci360.server.authority
        if settings.get("public_url") == "own":
            made.environ["CI360_TWILIO_PUBLIC_URL"] = made.url
        try:
            made.start()
            yield made
        finally:
            made.stop()
    leaks = made.exposed.found_in(made.log.read_text())
    assert not leaks, f"the logs hold what they must not: {leaks}"


@pytest.fixture(scope="session")
def run_connector(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., AbstractContextManager[Running]]:
    """Give a function that runs a connector; arguments as :func:`connector` takes them."""
    return lambda **options: connector(tmp_path_factory.mktemp("connector"), **options)


@pytest.fixture(scope="session")
def running(
    run_connector: Callable[..., AbstractContextManager[Running]],
) -> Iterator[Running]:
    """Run a connector for all acceptance tests of this process that need no other."""
    with run_connector() as made:
        made.tenant(OPEN)
        made.tenant(GUARDED, api_keys=[API_KEY])
        made.tenant(OTHER, api_keys=["another-key-9d8c7b6a5f4e"])
        made.exposed.add("another-key-9d8c7b6a5f4e")
        yield made


@pytest.fixture(scope="session")
def called_back(
    run_connector: Callable[..., AbstractContextManager[Running]],
) -> Iterator[Running]:
    """Run a connector that has a public address, to which the twin posts what becomes of messages."""
    life = Life(until_sent=0.2, until_final=0.3)
    with run_connector(life=life, public_url="own") as made:
        made.tenant(GUARDED, api_keys=[API_KEY])
        yield made


@pytest.fixture(scope="session")
def looped(
    run_connector: Callable[..., AbstractContextManager[Running]],
) -> Iterator[Running]:
    """Run a connector whose loop is closed: receipts and texts come in, and CI360 is told."""
    with run_connector(life=Life(until_sent=0.1, until_final=0.2), public_url="own") as made:
        made.tenant(GUARDED, api_keys=[API_KEY], **made.ci360.members)
        address = inbound_address(made.url, TenantId(GUARDED))
        made.twin.set_inbound(ACCOUNT, inbound_url=address)
        yield made
