"""The stores that the suite holds for. One that is added here must pass all of it, unchanged."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import boto3
import pytest
from moto import mock_aws

from ci360_twilio.core.consent import EVERY_SENDER, Evidence, Sign, Source, Subject, person_of
from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound, inbound_key
from ci360_twilio.core.message import Message
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Hearing, Store
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.stores.dynamodb_table import Table, definition
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.table import TwinTable


class Backend(Protocol):
    """Where one ledger lives: all that a store brings along to be tested."""

    def make(self) -> Store:
        """Open the ledger; a second call opens the same one, as another process would."""
        ...

    def flush(self) -> None:
        """Empty the ledger, its state and its tombstones; nothing is open."""
        ...

    def close(self) -> None:
        """Close what was opened."""
        ...


class Memory:
    """A ledger of this process; whoever opens it shares the one object."""

    def __init__(self, _folder: Path) -> None:
        self.flush()

    def make(self) -> Store:
        """Give the object."""
        return self._store

    def flush(self) -> None:
        """Start with another."""
        self._store = MemoryStore()

    def close(self) -> None:
        """Let it go."""
        self._store.close()


class Sqlite:
    """A ledger in a file; every store has connections of its own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "conformance.db"
        self._open: list[SqliteStore] = []

    def make(self) -> Store:
        """Open the file."""
        store = SqliteStore(self._path, hash_key=b"k" * 32)
        self._open.append(store)
        return store

    def flush(self) -> None:
        """Delete the file and what stands beside it."""
        for file in self._path.parent.glob(f"{self._path.name}*"):
            file.unlink()

    def close(self) -> None:
        """Close every store."""
        for store in self._open:
            store.close()


class OneAtATime:
    """A client of moto, which does not check and write in one step where threads call it."""

    _lock = threading.RLock()

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name in ("exceptions", "close"):
            return found

        def call(**request: Any) -> Any:
            with self._lock:
                return found(**request)

        return call


class Dynamo:
    """A table in moto, in this process; every store has a client and threads of its own."""

    def __init__(self, _folder: Path) -> None:
        self._mock = mock_aws()
        self._mock.start()
        self._open: list[DynamoStore] = []

    def _client(self) -> Any:
        client = boto3.session.Session().client(
            "dynamodb",
            region_name="us-east-1",
            aws_access_key_id="none",
            aws_secret_access_key="none",
        )
        return OneAtATime(client)

    def make(self) -> Store:
        """Open the table."""
        table = Table(self._client(), "ledger", shards=2, clock=lambda: 1_772_443_800.0)
        store = DynamoStore(table, hash_key=b"k" * 32)
        self._open.append(store)
        return store

    def flush(self) -> None:
        """Make the table."""
        self._client().create_table(**definition("ledger"))

    def close(self) -> None:
        """Close every store."""
        for store in self._open:
            store.close()
        self._mock.stop()


class Twin:
    """The twin's table, whose indexes are up to date here; every store shares it."""

    def __init__(self, _folder: Path) -> None:
        self.flush()

    def make(self) -> Store:
        """Open it."""
        return DynamoStore(self._table, hash_key=b"k" * 32)

    def flush(self) -> None:
        """Start with another."""
        now = 1_772_443_800.0
        self._table = TwinTable(clock=lambda: now, chance=random.Random(1), lag=0.0)

    def close(self) -> None:
        """Let it go."""
        self._table.close()


BACKENDS: Mapping[str, Callable[[Path], Backend]] = {
    "memory": Memory,
    "sqlite": Sqlite,
    "dynamodb": Dynamo,
    "table": Twin,
}


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        "table",
        pytest.param("dynamodb", marks=pytest.mark.slow),  # moto takes a hundred times as long
    ]
)
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Give a function that opens the ledger, empty at first; each call as another process would."""
    backend = BACKENDS[request.param](tmp_path)
    backend.flush()
    yield backend.make
    backend.close()


@pytest.fixture
def store(open_ledger: Callable[[], Store]) -> Store:
    """Give a store on an empty ledger."""
    return open_ledger()


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """Give a function that makes an entry as ``accept`` would, a short text of task ``TSK_1``.

    Besides members of an entry it takes the tenant, the recipient (``to``), the sender, the text
    (``body``) and the task.
    """
    now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

    def make(
        guid: str = "g1", *, tenant: str = "demo", task: str = "TSK_1", **changes: Any
    ) -> Entry:
        text: dict[str, Any] = {
            "to": "+12015550101",
            "sender": "+15005550006",
            "body": "See you at nine!",
        }
        text |= {name: changes.pop(name) for name in text if name in changes}
        members: dict[str, Any] = {
            "status": Status.ACCEPTED,
            "created_at": now,
            "due_at": now,
            "expires_at": now + timedelta(days=1),
            "purge_at": now + timedelta(days=90),
            "message": Message(**text),
            "origin": Origin(task_code=task),
        }
        tenant_id = TenantId(tenant)
        key = key_of(tenant_id, guid)
        return Entry(key=key, tenant_id=tenant_id, guid=guid, **members | changes)

    return make


@pytest.fixture
def hearing() -> Callable[..., Hearing]:
    """Give a function that makes a hearing: what the recipient of an ``entry`` wrote to its sender.

    It takes the message's SID; with a ``sign`` the text is evidence, for a group of senders where
    one is told. Besides members of an inbound message it takes the tenant, the customer's address,
    ours (``to``), the text (``body``), and when Twilio says that it was made (``dated_at``). All
    that can be told of it is told.
    """
    now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

    def make(
        sid: str = "SM1",
        sign: Sign | None = None,
        *,
        tenant: str = "demo",
        customer: str = "+12015550101",
        to: str = "+15005550006",
        body: str = "",
        group: str = EVERY_SENDER,
        dated_at: datetime | None = None,
        **changes: Any,
    ) -> Hearing:
        tenant_id = TenantId(tenant)
        members: dict[str, Any] = {
            "heard_at": now,
            "purge_at": now + timedelta(days=90),
            "tells": (Outcome.REPLY, Outcome.OPT_OUT, Outcome.OPT_IN),
        }
        inbound = Inbound(
            key=inbound_key(tenant_id, sid),
            tenant_id=tenant_id,
            heard=Heard(sid=sid, sender=customer, to=to, body=body, dated_at=dated_at),
            **members | changes,
        )
        subject = Subject(tenant_id, person_of(customer), group)
        if sign is None:
            return Hearing(inbound, subject)
        evidence = Evidence(
            sign=sign, source=Source.TEXT, heard_at=inbound.heard_at, dated_at=dated_at, sid=sid
        )
        return Hearing(inbound, subject, evidence)

    return make
