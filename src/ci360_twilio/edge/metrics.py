"""Prometheus metrics, counted from the same events that the log tells of.

The server and its worker are processes of their own; the client library's multi-process mode adds
them up through files in ``PROMETHEUS_MULTIPROC_DIR``, which must be set before it is imported.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.logs import (
    ENTRY_SWEPT,
    EVENT_ACCEPTED,
    EVENT_REJECTED,
    INBOUND_HEARD,
    INBOUND_REFUSED,
    JOB_CHANGED,
    JOB_REJECTED,
    MESSAGE_SENT,
    OUTCOME_REPORTED,
    RECEIPT_REFUSED,
    RECEIPT_SETTLED,
)
from ci360_twilio.ports import Summary, Vitals

_EVENTS = Counter("ci360_twilio_events", "Requests from CI360 by decision.", ["decision", "reason"])
_ATTEMPTS = Counter("ci360_twilio_attempts", "Attempts to send by outcome.", ["outcome", "reason"])
_RECEIPTS = Counter(
    "ci360_twilio_receipts", "Status callbacks by decision.", ["decision", "reason"]
)
_INBOUND = Counter(
    "ci360_twilio_inbound", "Customers' messages by decision.", ["decision", "reason"]
)
_REPORTS = Counter(
    "ci360_twilio_reports", "Attempts to tell CI360 by decision.", ["outcome", "decision", "reason"]
)
_JOBS = Counter(
    "ci360_twilio_jobs",
    "Bulk tasks by decision, and jobs by the state they came to.",
    ["decision", "reason"],
)
_SWEPT = Counter("ci360_twilio_swept", "Entries overtaken by time.", ["status"])
_SECONDS = Histogram(
    "ci360_twilio_attempt_seconds",
    "Time of one attempt to send.",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30),
)


def observe(event: str, fields: dict[str, Any]) -> None:
    """Count an event of the log; reasons are codes of ours or Twilio's, never content."""
    if event in (EVENT_ACCEPTED, EVENT_REJECTED):
        _EVENTS.labels(str(fields["decision"]), fields.get("reason") or "").inc()
    elif event == MESSAGE_SENT:
        _ATTEMPTS.labels(str(fields["decision"]), fields.get("reason") or "").inc()
        _SECONDS.observe(fields["ms"] / 1000)
    elif event in (RECEIPT_SETTLED, RECEIPT_REFUSED):
        _RECEIPTS.labels(str(fields["decision"]), fields.get("reason") or "").inc()
    elif event in (INBOUND_HEARD, INBOUND_REFUSED):
        _INBOUND.labels(str(fields["decision"]), fields.get("reason") or "").inc()
    elif event == OUTCOME_REPORTED:
        outcome, decision = str(fields.get("outcome") or ""), str(fields["decision"])
        _REPORTS.labels(outcome, decision, fields.get("reason") or "").inc()
    elif event in (JOB_CHANGED, JOB_REJECTED):
        _JOBS.labels(str(fields["decision"]), fields.get("reason") or "").inc()
    elif event == ENTRY_SWEPT:
        _SWEPT.labels(str(fields["decision"])).inc()


class _LedgerCollector(Collector):
    """Reads the ledger when it is asked."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> list[Metric]:
        up = GaugeMetricFamily("ci360_twilio_ledger_up", "Whether the ledger can be read.")
        now = datetime.now(UTC)
        try:
            summary = self._vitals.summary(now)
        except LedgerUnavailable:
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        unfinished = GaugeMetricFamily(
            "ci360_twilio_unfinished", "Entries without an end, by status.", labels=["status"]
        )
        for status, count in summary.unfinished.items():
            unfinished.add_metric([status], count)
        due = GaugeMetricFamily("ci360_twilio_due", "Entries whose time to be sent has come.")
        due.add_metric([], summary.due)
        age = GaugeMetricFamily(
            "ci360_twilio_oldest_due_seconds", "How long the oldest of them has been due."
        )
        oldest = summary.oldest_due_at
        age.add_metric([], (now - oldest).total_seconds() if oldest else 0)
        waiting = GaugeMetricFamily(
            "ci360_twilio_waiting", "Entries behind a pause or in a sender's queue."
        )
        waiting.add_metric([], summary.waiting)
        paused = GaugeMetricFamily(
            "ci360_twilio_paused", "Pauses, by what they cover and why.", labels=["scope", "cause"]
        )
        for (scope, cause), count in Counted((p.scope, p.cause) for p in summary.pauses).items():
            paused.add_metric([scope, cause], count)
        return [up, unfinished, due, age, waiting, paused, *_of_customers(summary, now)]


def _of_customers(summary: Summary, now: datetime) -> Iterator[Metric]:
    """Give what is owed to CI360, and what waits for a person."""
    oldest = summary.oldest_owed_at
    late = max((now - oldest).total_seconds(), 0) if oldest else 0
    for name, words, value in (
        (
            "reports_owed",
            "Messages and texts with an outcome that CI360 is still owed.",
            summary.owed,
        ),
        ("oldest_report_seconds", "For how long the next of these has been due.", late),
        ("reports_aside", "Messages and texts with an outcome that CI360 refused.", summary.aside),
        ("consents_to_review", "Recipients blocked until a person reads a text.", summary.review),
        ("strays", "Receipts of messages that are not known here.", summary.strays),
    ):
        gauge = GaugeMetricFamily(f"ci360_twilio_{name}", words)
        gauge.add_metric([], value)
        yield gauge


def exporter(vitals: Vitals) -> Callable[[], tuple[bytes, str]]:
    """Give a function that renders all metrics, and their content type."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_LedgerCollector(vitals))
    return lambda: (generate_latest(registry), CONTENT_TYPE_LATEST)
