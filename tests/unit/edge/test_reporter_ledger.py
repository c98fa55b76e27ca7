"""The reporter while its ledger fails: nothing that was told is forgotten, and nothing stops for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Key
from ci360_twilio.core.report import Answer
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.ports import Owing
from ci360_twilio.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.unit.edge.conftest import Gate, Stage


class Flaky(MemoryStore):
    """A ledger in memory that fails, for reading or for writing, as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: Exception | None = None
        self.writing: Exception | None = None
        self.failures = 0

    def owing(self, now: datetime, *, most: int) -> list[Owing]:
        """List, or fail."""
        self._perhaps(self.reading)
        return super().owing(now, most=most)

    def answer_reports(self, answers: Sequence[tuple[Key, str, Answer]]) -> None:
        """Write, or fail."""
        self._perhaps(self.writing)
        super().answer_reports(answers)

    def _perhaps(self, failure: Exception | None) -> None:
        if failure is not None:
            self.failures += 1
            raise failure


@pytest.fixture
def ledger() -> Flaky:
    """A ledger that works until it is told not to."""
    return Flaky()


def test_what_was_told_while_the_ledger_was_away_is_written_later(
    stage: Stage, gate: Gate, ledger: Flaky
) -> None:
    """And not told once more."""
    parts = stage.connect(ledger, gate)
    keys = stage.owe(parts, 5)
    with stage.reporting(parts):
        gate.wait(5)
        ledger.writing = LedgerUnavailable("Away.")
        gate.let(5)
        stage.wait_for(lambda: ledger.failures > 0)
        assert stage.all_are(parts, keys, "owed")
        ledger.writing = None
        stage.wait_until(parts, keys, "told")
    assert gate.calls == 5
    assert '"reporter.ledger"' in stage.log_of(parts)


def test_what_was_told_is_written_by_a_reporter_that_is_stopping(
    stage: Stage, gate: Gate, ledger: Flaky
) -> None:
    """The ledger comes back while another request is still under way."""
    parts = stage.connect(ledger, gate)
    keys = stage.owe(parts, 2)
    with stage.reporting(parts) as reporter:
        gate.wait(2)
        ledger.writing = LedgerUnavailable("Away.")
        reporter._stopping.set()
        gate.let(1)
        stage.wait_for(lambda: ledger.failures > 0)
        ledger.writing = None
        gate.let(1)
    assert stage.all_are(parts, keys, "told")


def test_a_reporter_does_not_wait_for_a_ledger_that_stays_away(
    stage: Stage, gate: Gate, ledger: Flaky
) -> None:
    """What was told is told once more, under the same key, when it is due again."""
    parts = stage.connect(ledger, gate)
    keys = stage.owe(parts, 3)
    with stage.reporting(parts):
        gate.wait(3)
        ledger.writing = LedgerUnavailable("Away.")
        gate.let(3)
    assert ledger.failures > 0
    assert stage.all_are(parts, keys, "owed")


@pytest.mark.parametrize(
    ("failure", "event", "error"),
    [
        (LedgerUnavailable("Away."), "reporter.ledger", "ledger_unavailable"),
        (ZeroDivisionError("+12015550142"), "reporter.unexpected", "ZeroDivisionError"),
    ],
)
def test_a_ledger_that_fails_is_asked_again(
    stage: Stage, ledger: Flaky, failure: Exception, event: str, error: str
) -> None:
    """The log says why, and nothing personal."""
    parts = stage.connect(ledger)
    ledger.reading = failure
    keys = stage.owe(parts, 3)
    with stage.reporting(parts):
        stage.wait_for(lambda: ledger.failures > 0)
        ledger.reading = None
        stage.wait_until(parts, keys, "told")
    written = stage.log_of(parts)
    assert f'"{event}"' in written
    assert f'"{error}"' in written
    assert "2015550142" not in written
