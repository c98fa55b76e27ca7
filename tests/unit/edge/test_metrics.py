"""Metrics: counted from the events of the log, and read from the ledger when asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from ci360_twilio.core.entry import Status
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.edge.metrics import _LedgerCollector, observe
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.logs import (
    ENTRY_SWEPT,
    EVENT_ACCEPTED,
    EVENT_REJECTED,
    INBOUND_HEARD,
    INBOUND_REFUSED,
    LEDGER_PURGED,
    MESSAGE_SENT,
    OUTCOME_REPORTED,
    RECEIPT_REFUSED,
    RECEIPT_SETTLED,
)
from ci360_twilio.ports import Summary
from ci360_twilio.stores.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def counted(name: str, **labels: str) -> float:
    """Give what a counter stands at."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def ours() -> list[Metric]:
    """Give all that is counted here."""
    return [one for one in REGISTRY.collect() if one.name.startswith("ci360_twilio_")]


@pytest.mark.parametrize(
    ("event", "fields", "name", "labels"),
    [
        (
            EVENT_ACCEPTED,
            {"decision": Status.REFUSED, "reason": "merge_tag", "guid": "g"},
            "events",
            {"decision": "refused", "reason": "merge_tag"},
        ),
        (
            EVENT_REJECTED,
            {"decision": 403, "reason": "forbidden"},
            "events",
            {"decision": "403", "reason": "forbidden"},
        ),
        (
            MESSAGE_SENT,
            {"decision": "made", "ms": 12.5},
            "attempts",
            {"outcome": "made", "reason": ""},
        ),
        (
            RECEIPT_SETTLED,
            {"decision": Status.UNDELIVERED, "reason": "twilio_30007", "sid": "SM1"},
            "receipts",
            {"decision": "undelivered", "reason": "twilio_30007"},
        ),
        (
            RECEIPT_SETTLED,
            {"decision": Status.DELIVERED, "reason": None},
            "receipts",
            {"decision": "delivered", "reason": ""},
        ),
        (
            RECEIPT_SETTLED,
            {"decision": "ignored", "reason": "no_entry"},
            "receipts",
            {"decision": "ignored", "reason": "no_entry"},
        ),
        (
            RECEIPT_REFUSED,
            {"decision": 403, "reason": "signature"},
            "receipts",
            {"decision": "403", "reason": "signature"},
        ),
        (ENTRY_SWEPT, {"decision": Status.EXPIRED}, "swept", {"status": "expired"}),
        (
            INBOUND_HEARD,
            {"decision": "taken", "reason": "out", "sid": "SM1"},
            "inbound",
            {"decision": "taken", "reason": "out"},
        ),
        (
            INBOUND_REFUSED,
            {"decision": 403, "reason": "signature"},
            "inbound",
            {"decision": "403", "reason": "signature"},
        ),
        (
            OUTCOME_REPORTED,
            {"decision": "aside", "reason": "ci360_http_400", "outcome": "reply"},
            "reports",
            {"decision": "aside", "reason": "ci360_http_400", "outcome": "reply"},
        ),
    ],
)
def test_events_are_counted_by_decision_and_reason(
    event: str, fields: dict[str, Any], name: str, labels: dict[str, str]
) -> None:
    """By nothing that comes from outside, such as ids."""
    before = counted(f"ci360_twilio_{name}_total", **labels)
    observe(event, fields)
    assert counted(f"ci360_twilio_{name}_total", **labels) == before + 1


def test_other_events_are_not_counted() -> None:
    """Whatever their fields."""
    before = ours()
    observe(LEDGER_PURGED, {"entries": 7})
    observe("library.message", {"decision": "made"})
    assert ours() == before


def pause(scope: Scope, cause: Cause, value: str | None = None) -> Pause:
    """Make a pause."""
    return Pause(scope=scope, cause=cause, value=value, reason="r", since=NOW)


class Told(MemoryStore):
    """A ledger that tells what it is told to."""

    def __init__(self, summary: Summary | None) -> None:
        super().__init__()
        self._told = summary

    def summary(self, *_: object) -> Summary:
        """Give it, or say that the ledger is away."""
        if self._told is None:
            raise LedgerUnavailable("Away.")
        return self._told


def samples(store: MemoryStore) -> Iterable[tuple[str, dict[str, str], float]]:
    """Give what the ledger's metrics are."""
    for metric in _LedgerCollector(store).collect():
        for sample in metric.samples:
            yield sample.name.removeprefix("ci360_twilio_"), sample.labels, sample.value


def test_the_ledgers_state_is_told() -> None:
    """Pauses by what they cover and why, never by whom; senders are numbers."""
    summary = Summary(
        unfinished={Status.ACCEPTED: 5, Status.UNKNOWN: 1},
        due=2,
        oldest_due_at=None,
        waiting=3,
        restored_at=None,
        pauses=(
            pause(Scope.SENDER, Cause.CONFIG, "+12015550199"),
            pause(Scope.SENDER, Cause.CONFIG, "+12015550198"),
            pause(Scope.ALL, Cause.RESTORE),
        ),
        outdated=False,
        owed=4,
        oldest_owed_at=datetime(2026, 3, 2, tzinfo=UTC),
        aside=6,
        review=7,
        strays=8,
    )
    told = [*samples(Told(summary))]
    late = next(value for name, _, value in told if name == "oldest_report_seconds")
    assert late > 86_400
    assert told == [
        ("ledger_up", {}, 1),
        ("unfinished", {"status": "accepted"}, 5),
        ("unfinished", {"status": "unknown"}, 1),
        ("due", {}, 2),
        ("oldest_due_seconds", {}, 0),
        ("waiting", {}, 3),
        ("paused", {"scope": "sender", "cause": "config"}, 2),
        ("paused", {"scope": "all", "cause": "restore"}, 1),
        ("reports_owed", {}, 4),
        ("oldest_report_seconds", {}, late),
        ("reports_aside", {}, 6),
        ("consents_to_review", {}, 7),
        ("strays", {}, 8),
    ]


def test_a_ledger_that_is_away_is_told_of() -> None:
    """And nothing is said of what is in it."""
    assert [*samples(Told(None))] == [("ledger_up", {}, 0)]
