"""Processes that are killed, stopped and started again while messages are on their way.

Real processes, a twin on loopback, SIGKILL at moments that nobody chose. However it goes: no
recipient gets two messages, and no event is without an entry that says what became of it. Leases
are not waited for: what a dead worker left is looked at with a clock that is ahead.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from ci360_twilio.core.entry import Entry, Status, sweep
from ci360_twilio.flow.accept import Accepted, Arrival
from ci360_twilio.flow.send import Sending
from ci360_twilio.ports import Query
from ci360_twilio.stores.backup import backup, check
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin
from ci360_twilio.wiring import Parts, ledger_path, utc_now

PATIENCE = 20.0
"""The longest wait for anything, in seconds."""
MODULE = "ci360_twilio"


class Twilio(Protocol):
    """The fixture of that name."""

    server: TwinServer
    twin: TwilioTwin
    faults: FaultPlan
    tenant_id: str
    host: str


Connect = Callable[..., Parts]


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


def is_running(pid: int) -> bool:
    """Tell whether a process of this package has that id."""
    return state_of(pid) != ""


class Process:
    """A command of the connector, running."""

    def __init__(self, log: Path, environ: dict[str, str], *arguments: str) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, *arguments],
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
                wait_for(lambda pid=pid: not is_running(pid), "the worker's end", 2.0)  # type: ignore[misc]
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def start(
    tmp_path: Path, twilio: Twilio, tenants_folder: Callable[..., Path]
) -> Iterator[Callable[..., Process]]:
    """Give a function that starts a command on the ledger that ``connector`` opens."""
    started: list[Process] = []
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CI360_TWILIO_TENANTS": str(tenants_folder()),
        "CI360_TWILIO_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
        "CI360_TWILIO_TWILIO_HOSTS": twilio.host,
        "CI360_TWILIO_LEASE": "40",
    }

    def run(*arguments: str, connections: int = 8) -> Process:
        log = tmp_path / f"process-{len(started)}.log"
        settings = {"CI360_TWILIO_CONNECTIONS": str(connections)}
        started.append(Process(log, environ | settings, *arguments))
        return started[-1]

    yield run
    for process in started:
        process.clear_away()


def number_of(index: int) -> str:
    """Give one of 300 fictional numbers."""
    return f"+1{201 + index // 100 % 3}55501{index % 100:02}"


def body_of(index: int, twilio: Twilio, guid: str = "") -> bytes:
    """Make the event that asks for a message to that number."""
    creative = f"TO:{number_of(index)};\n\nHello number {index}"
    return outbound_body(
        guid=guid or f"guid-{index}",
        tenant_id=twilio.tenant_id,
        creative=creative,
        generated_at=utc_now(),
    )


def accept(parts: Parts, twilio: Twilio, number: int, *, first: int = 0) -> None:
    """Accept that many events; up to 300 of them are each for a recipient of its own."""
    bodies = [body_of(index, twilio) for index in range(first, first + number)]
    arrivals = [Arrival(body=body, trusted=True) for body in bodies]
    answers = parts.acceptance.accept_many(arrivals)
    assert all(isinstance(one, Accepted) and not one.duplicate for one in answers)


def entries(parts: Parts) -> list[Entry]:
    """Give all entries."""
    return parts.store.find(Query(limit=10_000))


def in_status(parts: Parts, *statuses: Status) -> int:
    """Count the entries that stand so."""
    return len(parts.store.find(Query(statuses=frozenset(statuses), limit=10_000)))


def is_sent(parts: Parts, number: int) -> Callable[[], bool]:
    """Give a condition: that many entries are sent."""
    return lambda: in_status(parts, Status.SENT) == number


def has_made(twilio: Twilio, number: int) -> Callable[[], bool]:
    """Give a condition: Twilio has made that many messages."""
    return lambda: len(twilio.twin.messages) >= number


class Ahead:
    """A clock that is ten minutes ahead, and a minute more each time it is moved."""

    def __init__(self) -> None:
        self._ahead = timedelta(minutes=10)

    def __call__(self) -> datetime:
        """Give the moment."""
        return utc_now() + self._ahead

    def move(self) -> None:
        """Let a minute go by."""
        self._ahead += timedelta(minutes=1)


def finish(parts: Parts) -> None:
    """Do what a worker would in the time to come: sweep what is left, and send what may be sent."""
    clock = Ahead()
    sending = Sending(
        parts.store, parts.client, parts.tenants, clock, parts.log, lease_seconds=40.0
    )
    for _ in range(200):
        begun = sending.begin(sending.claim(1000))
        sending.record([(one.entry.key, sending.attempt(one)) for one in begun])
        if not in_status(parts, Status.ACCEPTED, Status.SENDING):
            return
        clock.move()
    raise AssertionError("there is still something to be sent")


def check_books(parts: Parts, twilio: Twilio, number: int) -> Counter[Status]:
    """Compare what Twilio made with what the ledger says; give the entries by status."""
    made = {message.sid: message.to for message in twilio.twin.messages}
    assert [to for to, times in Counter(made.values()).items() if times > 1] == []
    stand = {one.guid: sweep(one, utc_now() + timedelta(days=2)) for one in entries(parts)}
    assert sorted(stand) == sorted(f"guid-{index}" for index in range(number))
    counts = Counter(one.status for one in stand.values())
    assert set(counts) <= {Status.SENT, Status.UNKNOWN, Status.REFUSED}
    recipients = {one.message.to: one for one in stand.values() if one.message}
    for sid, to in made.items():
        assert recipients[to].sid == sid or recipients[to].status is Status.UNKNOWN
    for one in stand.values():
        assert one.status is not Status.SENT or one.sid in made
    ledger = ledger_path(parts.settings)
    assert ledger is not None
    assert check(ledger).problems == ()
    return counts


# The worker


def test_a_worker_that_is_killed_again_and_again_sends_nothing_twice(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """And loses nothing: what was open when it died is unknown, everything else is sent."""
    parts = connector()
    accept(parts, twilio, 80)
    twilio.faults.set_share({"slow:0.15": 1.0})
    for made in (4, 20, 40):
        worker = start("worker")
        wait_for(has_made(twilio, made), f"{made} messages")
        worker.kill()
    worker = start("worker")
    waits = Query(statuses=frozenset({Status.ACCEPTED}), limit=1000)
    wait_for(lambda: all(one.lease for one in parts.store.find(waits)), "what is free to be sent")
    assert worker.ask_to_end() == 0, worker.words[-1000:]
    twilio.faults.set_share({})
    finish(parts)
    counts = check_books(parts, twilio, 80)
    assert counts[Status.UNKNOWN] <= 3 * 8


def test_a_worker_that_is_killed_among_faults_sends_nothing_twice(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """Whatever Twilio does at the same time; and each refusal, loss and retry ends in the books."""
    parts = connector()
    accept(parts, twilio, 120)
    faults = ("http_400:21614", "http_429", "http_500", "http_500_made", "reset", "refuse")
    twilio.faults.set_share({"slow:0.1": 0.4} | dict.fromkeys(faults, 0.08), seed=7)
    for made in (5, 25, 45):
        worker = start("worker")
        wait_for(has_made(twilio, made), f"{made} messages")
        worker.kill()
    finish(parts)
    counts = check_books(parts, twilio, 120)
    assert counts[Status.REFUSED] > 0
    assert counts[Status.SENT] > 20


def test_a_worker_that_is_asked_to_end_records_every_open_request(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """It takes nothing new, waits for the answers, and leaves the rest as it was."""
    parts = connector()
    accept(parts, twilio, 40)
    twilio.faults.set_share({"slow:1": 1.0})
    worker = start("worker", connections=10)
    wait_for(has_made(twilio, 10), "ten open requests")
    assert worker.ask_to_end() == 0, worker.words[-1000:]
    assert Counter(one.status for one in entries(parts)) == {Status.SENT: 10, Status.ACCEPTED: 30}
    assert len(twilio.twin.messages) == 10
    assert all(one.lease is None for one in entries(parts))


def stop_while_it_sends(worker: Process, parts: Parts) -> None:
    """Stop a worker when it has requests open and no lock on the ledger."""
    ledger = ledger_path(parts.settings)
    assert ledger is not None

    def stopped() -> bool:
        worker.signal(signal.SIGSTOP)
        wait_for(lambda: state_of(worker.pid) == "T", "the worker's stop")
        with (
            closing(sqlite3.connect(ledger, isolation_level=None, timeout=0)) as db,
            suppress(sqlite3.OperationalError),
        ):
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
            if in_status(parts, Status.SENDING):
                return True
        worker.signal(signal.SIGCONT)
        return False

    wait_for(stopped, "a moment at which the worker only waits for Twilio")


def test_a_worker_that_was_stopped_for_long_does_not_send_what_others_sent(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """Its leases are over and everything is taken from it; then it goes on where it stood."""
    parts = connector()
    accept(parts, twilio, 60)
    twilio.faults.set_share({"slow:0.1": 1.0})
    worker = start("worker", connections=4)
    wait_for(has_made(twilio, 10), "ten messages")
    stop_while_it_sends(worker, parts)
    twilio.faults.set_share({})
    finish(parts)
    assert in_status(parts, Status.UNKNOWN) > 0
    worker.signal(signal.SIGCONT)
    wait_for(lambda: in_status(parts, Status.UNKNOWN) == 0, "answers that come late")
    assert worker.ask_to_end() == 0, worker.words[-1000:]
    assert check_books(parts, twilio, 60) == {Status.SENT: 60}
    assert len(twilio.twin.messages) == 60


def test_two_workers_on_one_ledger_send_no_message_twice(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """Three hundred events, each sent once by one of them."""
    parts = connector()
    workers = [start("worker"), start("worker")]
    for worker in workers:
        worker.wait_until("worker.running")
    twilio.faults.set_share({"slow:0.02": 1.0})
    accept(parts, twilio, 300)
    wait_for(is_sent(parts, 300), "300 messages")
    assert [worker.ask_to_end() for worker in workers] == [0, 0]
    assert check_books(parts, twilio, 300) == {Status.SENT: 300}
    assert len(twilio.twin.messages) == 300
    shares = [len(worker.told("message.sent")) for worker in workers]
    assert sum(shares) == 300
    assert min(shares) > 0


# The server


def serve(start: Callable[..., Process], *options: str) -> tuple[Process, int]:
    """Start a server, wait until it answers, and give it with its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = start("serve", "--port", str(port), *options)
    wait_for(lambda: answers(port), "the server")
    return server, port


def connect(port: int) -> closing[http.client.HTTPConnection]:
    """Give a connection to a server of this machine."""
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE))


def answers(port: int) -> bool:
    """Tell whether a server says that it is well."""
    with suppress(OSError, http.client.HTTPException), connect(port) as connection:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


def post(connection: http.client.HTTPConnection, body: bytes) -> int:
    """Post one event; give the status of the answer."""
    connection.request("POST", "/ci360/events", body, {"Content-Type": "text/plain"})
    response = connection.getresponse()
    response.read()
    return response.status


def post_all(port: int, twilio: Twilio, number: int) -> None:
    """Post that many events."""
    with connect(port) as connection:
        assert {post(connection, body_of(index, twilio)) for index in range(number)} == {202}


def test_every_event_that_was_answered_outlives_the_server(
    connector: Connect, twilio: Twilio, start: Callable[..., Process], tmp_path: Path
) -> None:
    """Killed in the middle of a burst, it has promised nothing that is not in the ledger."""
    server, port = serve(start, "--no-worker")
    answered = dict[str, int]()

    def burst(number: int) -> None:
        with suppress(OSError, http.client.HTTPException), connect(port) as connection:
            for turn in count():
                guid = f"burst-{number}-{turn}"
                answered[guid] = post(connection, body_of(number, twilio, guid))

    threads = [threading.Thread(target=burst, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answered) >= 60, "sixty answers")
    server.kill()
    for thread in threads:
        thread.join(PATIENCE)
    assert set(answered.values()) == {202}
    parts = connector()
    written = {one.guid: one.status for one in entries(parts)}
    assert set(answered) <= set(written)
    assert set(written.values()) == {Status.ACCEPTED}
    assert check(tmp_path / "ledger.db").problems == ()


def test_an_event_whose_answer_was_lost_with_the_server_is_sent_once(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """CI360 delivers all of them again to the next server, and a killed one had sent some."""
    server, port = serve(start)
    twilio.faults.set_share({"slow:0.05": 1.0})
    post_all(port, twilio, 60)
    server.kill()
    [pid] = server.workers
    wait_for(lambda: not is_running(pid), "the worker's end")
    server, port = serve(start)
    with connect(port) as connection:
        again = {post(connection, body_of(index, twilio)) for index in range(100)}
    assert again <= {200, 202}
    parts = connector()
    wait_for(is_sent(parts, 100), "100 messages")
    assert check_books(parts, twilio, 100) == {Status.SENT: 100}


def test_a_server_that_is_killed_takes_its_worker_with_it(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """The worker drains first: every request that was open is recorded."""
    server, port = serve(start)
    twilio.faults.set_share({"slow:1": 1.0})
    post_all(port, twilio, 20)
    wait_for(has_made(twilio, 8), "eight open requests")
    [pid] = server.workers
    assert is_running(pid)
    server.kill()
    wait_for(lambda: not is_running(pid), "the worker's end", 5.0)
    parts = connector()
    assert in_status(parts, Status.SENDING, Status.UNKNOWN) == 0
    assert in_status(parts, Status.SENT) == len(twilio.twin.messages) >= 8
    assert len(server.told("worker.stopped")) == 1


def test_a_killed_worker_is_started_again(
    connector: Connect, twilio: Twilio, start: Callable[..., Process]
) -> None:
    """Its server watches over it, and goes on answering meanwhile."""
    server, port = serve(start)
    server.wait_until("worker.running")
    [pid] = server.workers
    os.kill(pid, signal.SIGKILL)
    post_all(port, twilio, 3)
    parts = connector()
    wait_for(is_sent(parts, 3), "messages of the next worker")
    assert len(server.workers) == 2
    assert not is_running(pid)
    assert [line["code"] for line in server.told("worker.ended")] == [-signal.SIGKILL]


def test_a_server_that_is_asked_to_end_while_its_worker_is_down_ends(
    twilio: Twilio, start: Callable[..., Process]
) -> None:
    """It starts no other one, and waits for none."""
    server, _ = serve(start)
    server.wait_until("worker.running")
    [pid] = server.workers
    os.kill(pid, signal.SIGKILL)
    server.wait_until("worker.ended")
    assert server.ask_to_end() == 0, server.words[-1000:]
    assert server.workers == [pid]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_end_drains_its_worker_and_then_ends(
    connector: Connect,
    twilio: Twilio,
    start: Callable[..., Process],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    """When it is gone everything is: the worker, its open requests, and what lay in /tmp."""
    server, port = serve(start)
    twilio.faults.set_share({"slow:1": 1.0})
    post_all(port, twilio, 20)
    wait_for(has_made(twilio, 8), "eight open requests")
    code = server.ask_to_end(number)
    [pid] = server.workers
    assert not is_running(pid)
    parts = connector()
    assert in_status(parts, Status.SENDING, Status.UNKNOWN) == 0
    assert in_status(parts, Status.SENT) == len(twilio.twin.messages)
    assert list(tmp_path.glob("ci360-twilio-metrics-*")) == []
    assert code == 0, server.words[-1000:]


# The restore


def has_more_than(number: int, folder: Path) -> bool:
    """Tell whether a restore has begun to keep the ledger as it was."""
    return len(list(folder.glob("*.before-restore-*"))) > number


def either(one: Callable[[], bool], other: Callable[[], bool]) -> bool:
    """Tell whether one of two things is so."""
    return one() or other()


def is_past(moment: float) -> bool:
    """Tell whether a moment of the monotonic clock has come."""
    return time.monotonic() >= moment


def test_a_restore_that_is_killed_leaves_one_ledger_or_the_other(
    connector: Connect, twilio: Twilio, start: Callable[..., Process], tmp_path: Path
) -> None:
    """Whole and sound, and marked if it is the restored one; the next restore is not disturbed."""
    parts, copy, ledger = connector(), tmp_path / "copy.db", tmp_path / "ledger.db"
    staged = tmp_path / "ledger.db.restoring"
    accept(parts, twilio, 2000)
    backup(ledger, copy)
    accept(parts, twilio, 2000, first=2000)
    for turn in range(8):
        before, kept = entries(parts), len(list(tmp_path.glob("*.before-restore-*")))
        restore = start("ledger", "restore", str(copy), "--yes")
        if (
            turn % 2
        ):  # while it makes its file, or when it has begun to put that in the other's place
            sign: Callable[[], bool] = staged.exists
        else:
            sign = partial(has_more_than, kept, tmp_path)
        wait_for(partial(either, sign, restore.has_ended), "the restore")
        wait_for(partial(is_past, time.monotonic() + 0.008 * turn), "the moment to kill it")
        restore.kill()
        assert check(ledger).problems == ()
        if len(entries(parts)) == 4000:
            assert entries(parts) == before
        else:
            assert parts.store.summary(utc_now()).paused
            assert Counter(one.status for one in entries(parts)) == {Status.UNKNOWN: 2000}
            accept(parts, twilio, 2000, first=2000)
    last = start("ledger", "restore", str(copy), "--yes")
    assert last.wait() == 0, last.words[-1000:]
    assert Counter(one.status for one in entries(parts)) == {Status.UNKNOWN: 2000}
    assert list(tmp_path.glob("*.restoring*")) == []
