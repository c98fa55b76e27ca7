"""What the tests of the stores share: entries, and a store in a file of the test's own folder."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.stores.sqlite import SqliteStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TENANT = TenantId("af5af6b8f500013eb0c90001")


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """Give a function that makes an entry as ``accept`` would on a morning in March 2026."""

    def make(guid: str = "g1", **changes: Any) -> Entry:
        members: dict[str, Any] = {
            "status": Status.ACCEPTED,
            "created_at": NOW,
            "generated_at": NOW,
            "due_at": NOW,
            "expires_at": NOW + timedelta(days=1),
            "purge_at": NOW + timedelta(days=90),
            "message": Message(to="+12015550101", sender="+15005550006", body="See you at nine!"),
        }
        return Entry(key=key_of(TENANT, guid), tenant_id=TENANT, guid=guid, **members | changes)

    return make


@pytest.fixture
def now() -> datetime:
    """Give the moment at which every entry is made."""
    return NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the ledger's file; nothing is there yet."""
    return tmp_path / "data" / "ledger.db"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[..., SqliteStore]]:
    """Give a function that opens the ledger, and closes it after the test."""
    opened: list[SqliteStore] = []

    def make(*, busy_seconds: float = 0.2) -> SqliteStore:
        opened.append(SqliteStore(path, hash_key=b"k" * 32, busy_seconds=busy_seconds))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Give a folder of somebody to whom permissions apply, and be that user during the test."""
    privileged = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        if privileged:
            nobody = pwd.getpwnam("nobody").pw_uid
            os.chown(folder, nobody, -1)
            os.seteuid(nobody)
        try:
            yield Path(folder)
        finally:
            if privileged:
                os.seteuid(0)
