"""Campaigns in which everything goes wrong, on a ledger in a table whose writes break off midway.

The table is the twin's: indexes lag behind, and of the writes of one unit of work some may have happened
and others not, as where a function is ended.
"""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from tests.property.stage import write_regardless

from ci360_twilio.ports import Store
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.twin.chaos import Campaign
from ci360_twilio.twin.conversing import Conversation
from ci360_twilio.twin.mortal import MortalWorker
from ci360_twilio.twin.oracle import Verdict
from ci360_twilio.twin.table import TwinTable

MESSAGES, CUSTOMERS = 80, 12


class OnATable(Campaign):
    """A campaign on a table."""

    torn = 0.004
    idle = 120.0

    def ledger(self) -> Store:
        """Give a ledger in a table."""
        self.table = TwinTable(
            clock=lambda: self.clock.now.timestamp(),
            chance=random.Random(f"table/{self.seed}"),
        )
        store = DynamoStore(self.table, hash_key=b"key")
        self.table.torn = self.torn
        return store

    def run(self) -> Verdict:
        """Play it, with another worker that gets in between the writes of a unit of work."""
        third = MortalWorker(self, timedelta())
        self.table.meanwhile = lambda: self._get_in_between(third)
        return super().run()

    def _get_in_between(self, third: MortalWorker) -> None:
        third.work()
        self._deliver()


class ConversationOnATable(OnATable, Conversation):
    """The same with customers who write."""


@pytest.mark.parametrize("seed", range(6))
def test_every_promise_is_kept_on_a_table(seed: int) -> None:
    """At most one message for each event, nothing lost, every outcome told."""
    verdict = OnATable(seed, MESSAGES).run()
    assert verdict.good, f"seed {seed}: {verdict.problems[:10]}"


@pytest.mark.parametrize("seed", range(4))
def test_nobody_who_has_opted_out_is_written_to_on_a_table(seed: int) -> None:
    """Though wishes and entries are rows apart."""
    verdict = ConversationOnATable(seed, CUSTOMERS).run()
    assert verdict.good, f"seed {seed}: {verdict.problems[:10]}"


def test_whoever_writes_over_what_others_wrote_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The condition of each write is what keeps two workers from having one entry."""
    write_regardless(monkeypatch)
    verdicts = [OnATable(seed, MESSAGES).run() for seed in range(6)]
    assert sum(verdict.duplicates for verdict in verdicts) > 0
