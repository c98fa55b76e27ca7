"""A ledger that cannot be written: 503, nothing sent, and on again without a restart."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.edge.http import EVENTS, Request, Response, Routes
from ci360_twilio.twin.events import outbound_body


def test_a_locked_ledger_is_503_and_recovers_without_a_restart(running: Any) -> None:
    """Another process holds the write lock for longer than a caller should wait."""
    number = running.number()
    event = running.event(f"TO:{number};After the lock")
    with closing(sqlite3.connect(running.ledger, isolation_level=None, timeout=20)) as db:
        db.execute("BEGIN IMMEDIATE")
        answer = running.pool.request(
            "POST", f"{running.url}/ci360/events", body=json.dumps(event), timeout=30
        )
        ready = running.pool.request("GET", f"{running.url}/readyz", timeout=30)
        assert not running.made_for(number)
        db.execute("ROLLBACK")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["error"]["code"] == "ledger_unavailable"
    assert ready.status == 503
    assert running.post(event)[0] == 202
    assert running.settled(event["guid"]).status is Status.SENT
    assert len(running.made_for(number)) == 1


OUTAGES = {"full disk": "PRAGMA max_page_count = 1", "read-only": "PRAGMA query_only = ON"}
"""What keeps one connection from writing, by SQLite's own means: permissions do not bind root."""


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_full_or_read_only_ledger_is_503_and_recovers(
    connector: Callable[..., Any], twilio: Any, outage: str
) -> None:
    """The failed connection is given up, and the next event finds a new one."""
    parts = connector()
    routes = Routes(parts.acceptance, parts.store, parts.log, on_loopback=True)

    def post(guid: str, text: str) -> Response:
        body = outbound_body(
            guid=guid,
            tenant_id=twilio.tenant_id,
            creative=f"TO:+12015550101;{text}",
            generated_at=datetime.now(UTC),
        )
        headers = {"host": "127.0.0.1"}
        return routes.handle(Request(method="POST", path=EVENTS, headers=headers, body=body))

    parts.store._file._writer.execute(OUTAGES[outage])
    answers = [post(str(uuid.uuid4()), "x" * 1500) for _ in range(20)]
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {202, 503}
    assert statuses[-1] == 202
    assert ("Retry-After", "5") in answers[statuses.index(503)].headers
    assert not twilio.twin.messages
    while begun := parts.sending.begin(parts.sending.claim(50)):
        parts.sending.record([(one.entry.key, parts.sending.attempt(one)) for one in begun])
    assert len(twilio.twin.messages) == statuses.count(202)
