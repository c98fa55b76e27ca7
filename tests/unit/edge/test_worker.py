"""The worker: sends what is due with many requests open, and ends cleanly."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Status, key_of
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.worker import Worker
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.accept import Accepted
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.send import Sending
from ci360_twilio.ports import NO_LIMITS, Query
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import Fault
from ci360_twilio.wiring import Parts, utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
PATIENCE = 10.0
Connect = Callable[..., Parts]


def accept(parts: Parts, *recipients: str) -> list[Key]:
    """Accept an event for each recipient."""
    arrivals = []
    guids = [str(uuid.uuid4()) for _ in recipients]
    for guid, recipient in zip(guids, recipients, strict=True):
        event = outbound_event(
            guid=guid,
            tenant_id=TENANT,
            creative=f"TO:{recipient};\nHello",
            generated_at=datetime.now(UTC),
        )
        arrivals.append(Arrival(body=json.dumps(event).encode(), trusted=True))
    answers = parts.acceptance.accept_many(arrivals)
    assert all(isinstance(answer, Accepted) for answer in answers)
    return [key_of(TENANT, guid) for guid in guids]


def recipients(number: int) -> list[str]:
    """Give fictional numbers."""
    return [f"+1201555{one:04}" for one in range(100, 100 + number)]


@contextmanager
def working(parts: Parts) -> Iterator[Worker]:
    """Run a worker; it is stopped, and must end, when the test is through with it."""
    worker, failed = Worker(parts), list[BaseException]()

    def run() -> None:
        try:
            worker.run()
        except BaseException as exc:  # noqa: BLE001 - the test is told
            failed.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert failed == []


def wait_for(done: Callable[[], bool]) -> None:
    """Wait until something is so, with patience."""
    until = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


def statuses(parts: Parts) -> list[Status]:
    """Give the statuses of all entries."""
    return [entry.status for entry in parts.store.find(Query(limit=10_000))]


def all_are(parts: Parts, status: Status) -> Callable[[], bool]:
    """Tell whether all entries have come to a status."""
    return lambda: set(statuses(parts)) == {status}


@pytest.mark.parametrize("connections", ["1", "2", "3", "50"])
def test_what_is_due_is_sent_once_each(
    connector: Connect, twilio: Twilio, connections: str
) -> None:
    """However few connections it may use."""
    parts = connector(connections=connections)
    numbers = recipients(60)
    accept(parts, *numbers)
    with working(parts):
        wait_for(all_are(parts, Status.SENT))
    assert sorted(message.to for message in twilio.twin.messages) == numbers


def test_what_comes_later_is_found(connector: Connect, twilio: Twilio) -> None:
    """An idle worker looks again and again."""
    parts = connector()
    with working(parts):
        time.sleep(0.3)
        accept(parts, "+12015550142")
        wait_for(all_are(parts, Status.SENT))
    assert twilio.made_for("+12015550142") == 1


def test_what_failed_is_tried_again_when_it_is_due(connector: Connect, twilio: Twilio) -> None:
    """And what was lost is not."""
    parts = connector()
    busy, lost, refused = "+12015550101", "+12015550102", "+12015550103"
    twilio.faults.for_recipient(busy, [Fault.HTTP_429, Fault.HTTP_429])
    twilio.faults.for_recipient(lost, [Fault.RESET])
    twilio.faults.for_recipient(refused, [Fault.HTTP_400])
    keys = accept(parts, busy, lost, refused)
    with working(parts):
        wait_for(lambda: not {Status.ACCEPTED, Status.SENDING} & set(statuses(parts)))
    found = [entry.status for entry in parts.store.get_many(keys) if entry]
    assert found == [Status.SENT, Status.UNKNOWN, Status.REFUSED]
    assert twilio.faults.attempts == {busy: 3, lost: 1, refused: 1}
    assert [twilio.made_for(number) for number in (busy, lost, refused)] == [1, 1, 0]


def test_two_workers_on_one_ledger_send_everything_once(connector: Connect, twilio: Twilio) -> None:
    """Leases keep them apart, as if in processes of their own."""
    first, second = connector(connections="10"), connector(connections="10")
    numbers = recipients(100)
    accept(first, *numbers)
    with working(first), working(second):
        wait_for(all_are(first, Status.SENT))
    assert sorted(message.to for message in twilio.twin.messages) == numbers
    assert set(twilio.faults.attempts.values()) == {1}


class Gate:
    """A sender that holds every request until it is let go, and counts those that are open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)
        self._lock = threading.Lock()
        self.now = self.most = self.calls = 0

    def send(self, *_: Any, **__: Any) -> Receipt:
        """Wait, then make a message."""
        with self._lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)
            number = self.calls
        self.begun.release()
        assert self.open.wait(PATIENCE)
        with self._lock:
            self.now -= 1
        return Receipt(sid=f"SM{number:032}", status="queued")


def through(parts: Parts, gate: Gate, store: MemoryStore | None = None) -> Parts:
    """Put a gate, and perhaps another ledger, into a connector."""
    ledger = store or parts.store
    parts.sending = Sending(ledger, gate, parts.tenants, parts.pausing, utc_now, parts.log)
    parts.store = ledger
    return parts


def test_no_more_requests_are_open_than_connections(connector: Connect) -> None:
    """And no more entries say that bytes may be leaving."""
    gate = Gate()
    parts = through(connector(connections="4"), gate)
    accept(parts, *recipients(30))
    with working(parts):
        for _ in range(4):
            assert gate.begun.acquire(timeout=PATIENCE)
        assert statuses(parts).count(Status.SENDING) <= 4
        gate.open.set()
        wait_for(all_are(parts, Status.SENT))
    assert gate.most == 4


def test_a_worker_that_is_stopped_finishes_what_is_open(connector: Connect) -> None:
    """It begins nothing new, and gives back what it had claimed."""
    gate = Gate()
    parts = through(connector(connections="3"), gate)
    accept(parts, *recipients(10))
    with working(parts) as worker:
        for _ in range(3):
            assert gate.begun.acquire(timeout=PATIENCE)
        worker.stop()
        time.sleep(0.3)
        gate.open.set()
    assert gate.calls == 3
    entries = parts.store.find(Query())
    assert [entry.status for entry in entries].count(Status.SENT) == 3
    rest = [entry for entry in entries if entry.status is Status.ACCEPTED]
    assert len(rest) == 7
    assert [entry.lease for entry in rest] == [None] * 7
    assert all(entry.due_at <= datetime.now(UTC) for entry in rest)


class Flaky(MemoryStore):
    """A ledger in memory that can go away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = threading.Event()

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Write, or say that nothing can be written."""
        if self.away.is_set():
            raise LedgerUnavailable("Away.")
        return super().record_many(facts, hourly_limits=hourly_limits)


def test_what_came_back_while_the_ledger_was_away_is_written_later(connector: Connect) -> None:
    """No message is forgotten, and none is sent twice."""
    gate, store = Gate(), Flaky()
    made = connector(connections="5")
    keys = accept(made, *recipients(5))
    store.insert_many([entry for entry in made.store.get_many(keys) if entry])
    parts = through(made, gate, store)
    with working(parts):
        for _ in range(5):
            assert gate.begun.acquire(timeout=PATIENCE)
        store.away.set()
        gate.open.set()
        time.sleep(0.5)
        assert Status.SENT not in statuses(parts)
        store.away.clear()
        wait_for(all_are(parts, Status.SENT))
    assert gate.calls == 5


def test_what_came_back_is_written_by_a_worker_that_is_stopping(connector: Connect) -> None:
    """The ledger comes back while it drains."""
    gate, store = Gate(), Flaky()
    made = connector(connections="2")
    keys = accept(made, *recipients(2))
    store.insert_many([entry for entry in made.store.get_many(keys) if entry])
    parts = through(made, gate, store)
    with working(parts) as worker:
        for _ in range(2):
            assert gate.begun.acquire(timeout=PATIENCE)
        store.away.set()
        gate.open.set()
        worker.stop()
        time.sleep(0.3)
        store.away.clear()
    assert statuses(parts) == [Status.SENT] * 2


def test_a_restored_ledger_sends_nothing_and_says_so(connector: Connect, twilio: Twilio) -> None:
    """Until a person resumes it; then what came since goes out."""
    parts = connector()
    parts.store.mark_restored(datetime.now(UTC) - timedelta(hours=1))
    accept(parts, "+12015550142")
    with working(parts):
        wait_for(lambda: "worker.paused" in log_of(parts))
        time.sleep(0.3)
        assert statuses(parts) == [Status.ACCEPTED]
        assert twilio.twin.messages == ()
        parts.store.resume([pause.name for pause in parts.store.pauses()])
        wait_for(all_are(parts, Status.SENT))


def log_of(parts: Parts) -> str:
    """Give what the log holds."""
    stream = parts.log._stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_a_worker_keeps_house(connector: Connect) -> None:
    """Entries past their time are deleted, and counted in the log."""
    parts = connector(ledger="memory:")
    (key,) = accept(parts, "+12015550142")
    with working(parts):
        wait_for(all_are(parts, Status.SENT))
    worker = Worker(parts)
    worker._keep_house(datetime.now(UTC) + timedelta(days=91))
    assert parts.store.get_many([key]) == [None]
    assert '"ledger.purged"' in log_of(parts)


def test_no_line_of_a_worker_holds_a_number_or_a_text(connector: Connect, twilio: Twilio) -> None:
    """At DEBUG."""
    parts = connector()
    twilio.faults.for_recipient("+12015550143", ["http_400:21211"])
    accept(parts, "+12015550142", "+12015550143")
    with working(parts):
        wait_for(lambda: set(statuses(parts)) == {Status.SENT, Status.REFUSED})
    written = log_of(parts)
    assert written.count("message.sent") == 2
    for secret in ("2015550142", "2015550143", "Hello", twilio.token, twilio.account):
        assert secret not in written


def test_an_unforeseen_error_of_the_sender_costs_no_connection(connector: Connect) -> None:
    """Each of many is written as unknown, and the worker goes on."""

    class Broken:
        def send(self, *_: Any, **__: Any) -> Receipt:
            raise ZeroDivisionError

    parts = connector(connections="2")
    parts.sending = Sending(parts.store, Broken(), parts.tenants, parts.pausing, utc_now, parts.log)
    accept(parts, *recipients(10))
    with working(parts):
        wait_for(all_are(parts, Status.UNKNOWN))
