"""What the tests of the reporter share: CI360's twin, connectors that owe it reports, and patience."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci360_twilio.core.advance import owing
from ci360_twilio.core.ci360 import EVENTS_PATH
from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.report import Outcome, Report
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.reporter import Reporter
from ci360_twilio.flow.report import Reporting
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.wiring import Parts, utc_now

TENANT = TenantId("af5af6b8f500013eb0c90001")
PATIENCE = 20.0


class Stage:
    """CI360's twin on loopback with its faults, and connectors whose reports go there."""

    secret = "s3cret-Xyzzy"

    def __init__(self, connect: Callable[..., Parts], write: Callable[..., Path]) -> None:
        self._connect, self._write = connect, write
        self.twin = Ci360Twin(
            tenants={TENANT: self.secret}, clock=utc_now, base=lambda: self.server.url
        )
        self.faults = FaultPlan()
        self.server = Ci360Server(self.twin, self.faults)

    def connect(
        self, ledger: MemoryStore | None = None, gate: object = None, **changes: Any
    ) -> Parts:
        """Wire a connector, perhaps with another ledger, and with another CI360 than the twin."""
        url = f"{self.server.url}{EVENTS_PATH}"
        self._write(**{"ci360_client_secret": self.secret, "ci360_api_url": url} | changes)
        hosts = {"ci360_hosts": self.server.authority, "bulk_hosts": self.server.authority}
        parts = self._connect(**hosts)
        if ledger is not None:
            parts.store.close()
            parts.store = ledger
        if gate is not None:
            told: Any = gate
            store = parts.store
            parts.reporting = Reporting(store, store, told, parts.tenants, utc_now, parts.log)
        return parts

    @property
    def told(self) -> list[str]:
        """Whom the events are about that CI360 took."""
        return sorted(event.identity[1] for event in self.twin.events)

    def owe(self, parts: Parts, number: int, *, begin: int = 0) -> list[Key]:
        """Write entries that were delivered just now, and owe CI360 the report of it."""
        now, entries = datetime.now(UTC), []
        for one in range(begin, begin + number):
            entry = Entry(
                key=key_of(TENANT, f"g{one}"),
                tenant_id=TENANT,
                guid=f"g{one}",
                status=Status.DELIVERED,
                created_at=now,
                due_at=now,
                expires_at=now + timedelta(days=1),
                purge_at=now + timedelta(days=90),
                message=Message(to=f"+1201555{100 + one:04}", sender="+15005550006", body="Hello"),
                origin=Origin(identities={"datahub_id": f"D{one:03}"}),
                tells=(Outcome.DELIVERED,),
            )
            entries.append(owing(entry, now, Outcome.DELIVERED))
        parts.store.insert_many(entries)
        return [entry.key for entry in entries]

    def reports(self, parts: Parts, keys: Sequence[Key]) -> list[Report]:
        """Give entries' reports."""
        found = parts.store.get_many(keys)
        return [report for entry in found if entry for report in entry.reports]

    def all_are(self, parts: Parts, keys: Sequence[Key], state: str) -> bool:
        """Tell whether all reports have come to a state."""
        return {report.state for report in self.reports(parts, keys)} == {state}

    @contextmanager
    def reporting(self, parts: Parts, at_once: int = 64) -> Iterator[Reporter]:
        """Run a reporter; it is stopped, and must end, when the test is through with it."""
        reporter = Reporter(parts, at_once=at_once)
        reporter.start()
        ending = threading.Thread(target=reporter.stop)
        try:
            yield reporter
        finally:
            ending.start()
            ending.join(PATIENCE)
        assert not ending.is_alive()

    def wait_for(self, done: Callable[[], bool]) -> None:
        """Wait until something is so, with patience."""
        pause, until = threading.Event(), time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < until, "it did not come to that"
            pause.wait(0.01)

    def wait_until(self, parts: Parts, keys: Sequence[Key], state: str) -> None:
        """Wait until all reports have come to a state."""
        self.wait_for(lambda: self.all_are(parts, keys, state))

    def log_of(self, parts: Parts) -> str:
        """Give what the log holds."""
        stream = parts.log._stream
        assert isinstance(stream, io.StringIO)
        return stream.getvalue()


class Gate:
    """A CI360 that holds every request until it is let go, and counts those that are open."""

    def __init__(self) -> None:
        self._let = threading.Semaphore(0)
        self._begun = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._now = self.most = self.calls = 0

    def tell(self, *_: object, **__: object) -> None:
        """Wait, then acknowledge."""
        with self._lock:
            self._now += 1
            self.calls += 1
            self.most = max(self.most, self._now)
        self._begun.release()
        assert self._let.acquire(timeout=PATIENCE)
        with self._lock:
            self._now -= 1

    def wait(self, requests: int) -> None:
        """Wait until so many more requests have begun."""
        for _ in range(requests):
            assert self._begun.acquire(timeout=PATIENCE)

    def let(self, requests: int) -> None:
        """Let so many requests go."""
        self._let.release(requests)


@pytest.fixture
def stage(connector: Callable[..., Parts], tenants_folder: Callable[..., Path]) -> Iterator[Stage]:
    """A gateway, and what reports to it."""
    made = Stage(connector, tenants_folder)
    with made.server:
        yield made


@pytest.fixture
def gate() -> Gate:
    """A CI360 that holds every request."""
    return Gate()
