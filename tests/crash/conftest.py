"""What the crash tests share: a connector whose processes can be killed, and its books."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.edge.http import EVENTS, Request, Routes
from ci360_twilio.flow.accept import Accepted
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.find import Finding
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.flow.send import Sending
from ci360_twilio.flow.settle import Settlement
from ci360_twilio.flow.webhook import Doorkeeper
from ci360_twilio.ports import Clock, Query
from ci360_twilio.stores.backup import check
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import SqliteFile
from ci360_twilio.twin.callback import Callback
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.life import Life
from ci360_twilio.wiring import Parts, utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio

PATIENCE = 20.0
"""The longest wait for anything, in seconds."""
LEASE = 40.0
MODULE = "ci360_twilio"
KILLED = Path(__file__).with_name("killed.py")
API_KEY = "key-for-crashes-2c9e41d7"
LETTERS = {
    Status.ACCEPTED: "a",
    Status.SENDING: "s",
    Status.UNKNOWN: "u",
    Status.HELD: "H",
    Status.SENT: "T",
    Status.DELIVERED: "D",
    Status.REFUSED: "R",
    Status.CANCELED: "C",
    Status.EXPIRED: "E",
}
"""Small ones stand for what processes still have to work on."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again until something is so; fail where it takes too long."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(0.01)


def state_of(pid: int) -> str:
    """Give the state of a process of this package: ``T`` is stopped; nothing where it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return state if MODULE.encode() in command else ""  # Z has no command line any more


class Process:
    """A command of the connector, running."""

    def __init__(self, log: Path, environ: dict[str, str], *arguments: str) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environ,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def words(self) -> str:
        """All that it has written."""
        return self._log.read_text()

    def told(self, event: str) -> list[dict[str, Any]]:
        """Give the whole lines of its log, and of its worker's, that tell of an event."""
        lines = self.words.split("\n")[:-1]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in events if one["event"] == event]

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that it has started."""
        return [line["pid"] for line in self.told("worker.started")]

    def wait_until(self, event: str, times: int = 1) -> None:
        """Wait for a line of its log."""
        wait_for(lambda: len(self.told(event)) >= times or self.has_ended(), event)
        assert len(self.told(event)) >= times, self.words

    def has_ended(self) -> bool:
        """Tell whether it is over."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait for its end; give its exit code."""
        return self._process.wait(PATIENCE)

    def was_killed(self) -> bool:
        """Wait for its end; tell whether it came by surprise."""
        return self.wait() == -signal.SIGKILL

    def kill(self) -> None:
        """Kill it, this very moment."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, as an operator or systemd does; give its exit code."""
        self.signal(number)
        return self._process.wait(PATIENCE)

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or let it go on."""
        self._process.send_signal(number)

    def clear_away(self) -> None:
        """Leave nothing running."""
        if not self.has_ended():
            self.kill()
        for pid in self.workers:
            with suppress(AssertionError):
                wait_for(lambda pid=pid: not state_of(pid), "the worker's end", 2.0)  # type: ignore[misc]
            if state_of(pid):
                os.kill(pid, signal.SIGKILL)


class Jumping:
    """A clock that goes as the true one does, and can be set."""

    def __init__(self, **ahead: float) -> None:
        self._ahead = timedelta(**ahead)

    def __call__(self) -> datetime:
        """Give the moment."""
        return utc_now() + self._ahead

    def move(self, **duration: float) -> None:
        """Set it forward, or back; takes the arguments of ``timedelta``."""
        self._ahead += timedelta(**duration)


def _program(at: str | None, times: int) -> tuple[str, ...]:
    return ("-m", MODULE) if at is None else (str(KILLED), at, str(times))


def _request(callback: Callback) -> Request:
    url = urlsplit(callback.url)
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": callback.signature,
    }
    body = urlencode(callback.form).encode()
    return Request(method="POST", path=url.path, query=url.query, headers=headers, body=body)


def number_of(index: int) -> str:
    """Give one of 300 fictional numbers."""
    return f"+1{201 + index // 100 % 3}55501{index % 100:02}"


class Site:
    """One connector: its ledger, its processes, and the twin that it sends to.

    Leases are not waited for: what a dead process left is looked at with a clock that is ahead.

    Attributes:
        settings: by name, of every process that is started from then on, and of ``parts``.
        document: writes the tenant's document; takes what is different in it.
    """

    def __init__(
        self,
        folder: Path,
        twilio: Twilio,
        connector: Callable[..., Parts],
        tenants_folder: Callable[..., Path],
    ) -> None:
        self.folder, self.twilio = folder, twilio
        self.ledger = folder / "ledger.db"
        self.settings = {"lease": f"{LEASE:g}"}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.document = partial(tenants_folder, api_keys=[API_KEY])
        self.document()
        self._connector, self._parts = connector, list[Parts]()
        self._started: list[Process] = []
        self._bodies: dict[str, bytes] = {}

    @property
    def parts(self) -> Parts:
        """The connector within this process, on the same ledger; opened when first asked for."""
        if not self._parts:
            self._parts.append(self._connector(**self.settings))
        return self._parts[0]

    def wait_for(
        self, condition: Callable[[], object], what: str, seconds: float = PATIENCE
    ) -> None:
        """Look again and again until something is so; fail where it takes too long."""
        wait_for(condition, what, seconds)

    def state_of(self, pid: int) -> str:
        """Give the state of a process of this package; nothing where it has ended."""
        return state_of(pid)

    def call_back(self, *, posted: bool = True) -> None:
        """Let messages live, quickly, and Twilio tell of it; see also :meth:`callbacks`."""
        self.settings["public_url"] = f"http://127.0.0.1:{self.port}"
        server, twin = self.twilio.server, self.twilio.twin
        twin.set_life(self.twilio.account, Life(until_sent=0.1, until_final=0.1))
        if posted:
            server.stop()
            server.start()

    def callbacks(self) -> list[tuple[Callback, Request]]:
        """Take the callbacks of the next minute, where they are not posted, as requests to us."""
        until = utc_now() + timedelta(minutes=1)
        return [(one, _request(one)) for one in self.twilio.twin.advance(until)]

    # Processes

    def start(
        self, *arguments: str, connections: int = 8, at: str | None = None, times: int = 1
    ) -> Process:
        """Start a command, which is killed ``at`` a step of ``killed.py`` where one is given."""
        environ = self._environ(connections=str(connections))
        log = self.folder / f"process-{len(self._started)}.log"
        self._started.append(Process(log, environ, *_program(at, times), *arguments))
        return self._started[-1]

    def command(
        self, *arguments: str, typed: str, at: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, or to a step at which it is killed, with something piped in."""
        return subprocess.run(
            [sys.executable, *_program(at, 1), *arguments],
            env=self._environ(),
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _environ(self, **more: str) -> dict[str, str]:
        settings = {
            "tenants": str(self.folder / "tenants"),
            "ledger": f"sqlite:///{self.ledger}",
            "twilio_hosts": self.twilio.host,
            **more,
            **self.settings,
        }
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "PYTHONPATH": os.pathsep.join(sys.path),
            **{f"CI360_TWILIO_{name.upper()}": value for name, value in settings.items()},
        }

    def serve(self, *options: str, **how: Any) -> Process:
        """Start a server, and wait until it answers."""
        server = self.start("serve", "--port", str(self.port), *options, **how)
        wait_for(lambda: self._answers() or server.has_ended(), "the server")
        assert not server.has_ended(), server.words
        return server

    def clear_away(self) -> None:
        """Leave nothing running."""
        for process in self._started:
            process.clear_away()

    # CI360

    def body(self, index: int, guid: str = "") -> bytes:
        """Give an event, the same each time; up to 300 are each for a recipient of its own."""
        guid = guid or f"guid-{index}"
        if guid not in self._bodies:
            self._bodies[guid] = outbound_body(
                guid=guid,
                tenant_id=self.twilio.tenant_id,
                creative=f"TO:{number_of(index)};\n\nHello number {index}",
                generated_at=utc_now(),
            )
        return self._bodies[guid]

    def connect(self) -> closing[http.client.HTTPConnection]:
        """Give a connection to the server."""
        return closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE))

    def post(
        self, connection: http.client.HTTPConnection, index: int, guid: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Post one event as CI360 does; give the answer's status and body."""
        headers = {"Content-Type": "text/plain", "x-api-key": API_KEY}
        connection.request("POST", "/ci360/events", self.body(index, guid), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def events(self, number: int) -> list[Request]:
        """Give the requests in which that many events come."""
        headers = {"x-api-key": API_KEY}
        return [
            Request(method="POST", path=EVENTS, headers=headers, body=self.body(index))
            for index in range(number)
        ]

    def post_all(self, number: int) -> list[tuple[int, dict[str, Any]]]:
        """Post that many events; give the answers."""
        with self.connect() as connection:
            return [self.post(connection, index) for index in range(number)]

    def _answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException), self.connect() as connection:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False

    def go_on(self, number: int = 3) -> list[dict[str, Any]]:
        """Let a server and its worker do what can be done now, with CI360 posting all again.

        Gives what CI360 was answered.
        """
        server = self.serve()
        answers = self.post_all(number)
        assert {status for status, _ in answers} <= {200, 202, 422}
        server.wait_until("worker.running")
        wait_for(self.is_idle, "what is free to be sent")
        assert server.ask_to_end() == 0, server.words[-1000:]
        return [answer for _, answer in answers]

    # The ledger

    def accept(self, number: int, *, first: int = 0) -> None:
        """Accept that many events in one commit, as a server that is gone by now."""
        bodies = [self.body(index) for index in range(first, first + number)]
        arrivals = [Arrival(body=body, trusted=True) for body in bodies]
        answers = self.parts.acceptance.accept_many(arrivals)
        assert all(isinstance(one, Accepted) and not one.duplicate for one in answers)

    @property
    def store_file(self) -> SqliteFile:
        """The ledger's file as this process has it open."""
        assert isinstance(self.parts.store, SqliteStore)
        return self.parts.store._file

    def entries(self) -> list[Entry]:
        """Give all entries."""
        return self.parts.store.find(Query(limit=10_000))

    def entry(self, index: int) -> Entry:
        """Give the entry of an event."""
        [found] = self.parts.store.find(Query(guid=f"guid-{index}"))
        return found

    def letters(self, number: int = 3) -> str:
        """Give where the first entries stand, a letter of ``LETTERS`` each."""
        return "".join(LETTERS[self.entry(index).status] for index in range(number))

    def recipient(self, index: int) -> str:
        """Give the number that an event's message goes to."""
        return number_of(index)

    def in_status(self, *statuses: Status) -> int:
        """Count the entries that stand so."""
        query = Query(statuses=frozenset(statuses), limit=10_000)
        return len(self.parts.store.find(query))

    def is_sent(self, number: int) -> Callable[[], bool]:
        """Give a condition: that many entries are sent."""
        return lambda: self.in_status(Status.SENT) == number

    def has_made(self, number: int) -> Callable[[], bool]:
        """Give a condition: Twilio has made that many messages."""
        return lambda: len(self.twilio.twin.messages) >= number

    def is_idle(self) -> bool:
        """Tell whether nothing is free to be sent: what is left is leased, or waits in a place."""
        waits = self.parts.store.find(Query(statuses=frozenset({Status.ACCEPTED}), limit=10_000))
        return all(one.lease or one.place for one in waits)

    # The time to come

    def clock(self, **ahead: float) -> Jumping:
        """Give a clock that is ahead, or behind; takes the arguments of ``timedelta``."""
        return Jumping(**ahead)

    def sending(self, clock: Clock, pausing: Pausing | None = None) -> Sending:
        """Give the verb of a process with a clock of its own."""
        parts = self.parts
        return Sending(
            parts.store,
            parts.client,
            parts.tenants,
            pausing or Pausing(parts.store, parts.tenants, clock, parts.log),
            clock,
            parts.log,
            lease_seconds=LEASE,
            public_url=self.settings.get("public_url"),
        )

    def routes(self, clock: Clock) -> Routes:
        """Give the edge of a server with a clock of its own."""
        parts, url = self.parts, self.settings.get("public_url")
        doorkeeper = Doorkeeper(parts.tenants, public_url=url)
        settlement = Settlement(parts.store, parts.store, doorkeeper, clock, parts.log)
        return Routes(parts.acceptance, parts.store, parts.log, settlement=settlement)

    def finding(self, clock: Clock) -> Finding:
        """Give the verb of a process with a clock of its own."""
        parts, ttl = self.parts, self.parts.settings.event_ttl
        return Finding(
            parts.store,
            parts.client,
            parts.tenants,
            clock,
            parts.log,
            event_ttl=ttl,
            lease_seconds=LEASE,
            unknown_deadline=parts.settings.unknown_deadline,
        )

    def send_rest(self, *, minutes: float = 10) -> None:
        """Do what workers will: lift pauses, sweep what is left, and send what may be sent."""
        parts, clock = self.parts, Jumping(minutes=minutes)
        pausing = Pausing(parts.store, parts.tenants, clock, parts.log)
        sending = self.sending(clock, pausing)
        for _ in range(200):
            pausing.ask(parts.client)
            begun = sending.begin(sending.claim(1000))
            sending.record([(one.entry.key, sending.attempt(one)) for one in begun])
            if not self.in_status(Status.ACCEPTED, Status.SENDING):
                return
            clock.move(minutes=1)
        raise AssertionError("there is still something to be sent")

    def find_rest(self) -> None:
        """Do what workers will in the day to come: ask Twilio about what is unknown."""
        clock = Jumping(minutes=15)
        finding = self.finding(clock)
        for _ in range(30):
            finding.find_many(1000)
            if not self.in_status(Status.UNKNOWN):
                return
            clock.move(hours=1)
        raise AssertionError("there is still something unknown")

    def check_books(self, number: int, more: Collection[str] = ()) -> Counter[Status]:
        """Compare what Twilio made with what the ledger says; give the entries by status.

        Args:
            number: of events, each for a recipient of its own.
            more: guids of entries besides theirs, which send a message again.
        """
        made = {message.sid: message.to for message in self.twilio.twin.messages}
        assert [to for to, times in Counter(made.values()).items() if times > 1] == []
        stand = [sweep(one, utc_now() + timedelta(days=2)) for one in self.entries()]
        guids = sorted([*(f"guid-{index}" for index in range(number)), *more])
        assert sorted(one.guid for one in stand) == guids
        assert {one.status for one in stand} <= set(LETTERS) - {Status.ACCEPTED, Status.SENDING}
        named = {one.sid: one for one in stand if one.sid}
        lost = {one.message.to for one in stand if one.message and one.status is Status.UNKNOWN}
        assert set(named) <= set(made)
        assert all(sid in named or to in lost for sid, to in made.items())
        for one in stand:
            assert (one.status in (Status.SENT, Status.DELIVERED)) is (one.sid is not None)
            assert one.sid is None or (one.message and one.message.to == made[one.sid])
        assert check(self.ledger).problems == ()
        return Counter(one.status for one in stand)


@pytest.fixture
def site(
    tmp_path: Path,
    twilio: Twilio,
    connector: Callable[..., Parts],
    tenants_folder: Callable[..., Path],
) -> Iterator[Site]:
    """Give a connector of which nothing runs yet; what was started does not outlive the test."""
    made = Site(tmp_path, twilio, connector, tenants_folder)
    yield made
    made.clear_away()
