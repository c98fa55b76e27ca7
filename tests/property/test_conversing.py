"""Customers who write STOP and START while everything goes wrong, judged by who was written to.

Twilio's own blocking is off: nothing but the connector stops a message. The mutations show that the
play would notice.
"""

from __future__ import annotations

from datetime import datetime

import pytest

from ci360_twilio.core.advance import advance
from ci360_twilio.core.consent import Evidence
from ci360_twilio.core.entry import Entry, Fact, Kind
from ci360_twilio.core.pause import paused_by
from ci360_twilio.core.wish import Wish
from ci360_twilio.flow import hear
from ci360_twilio.stores.recording import _Recording
from ci360_twilio.twin.conversing import Conversation

CUSTOMERS = 25
AFTER_STOP = "it was begun after the customer's STOP was answered"


@pytest.mark.parametrize("seed", range(8))
def test_nobody_who_has_opted_out_is_written_to_whatever_goes_wrong(seed: int) -> None:
    """From two numbers, under crashes, disorder and replayed webhooks; after START they go again."""
    play = Conversation(seed, CUSTOMERS)
    verdict = play.run()
    assert verdict.good, f"seed {seed}: {verdict.problems[:10]}"
    assert verdict.statuses["suppressed"] > 5
    assert len(play.answered) > 10


def said(seeds: int = 4) -> list[str]:
    """Play some campaigns and give what is said of them."""
    found: list[str] = []
    for seed in range(seeds):
        problems = Conversation(seed, CUSTOMERS).run().problems
        found += [problem.partition(": ")[2] for problem in problems]
    return found


def test_whoever_looks_at_wishes_only_once_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the event comes in, and not when the message leaves."""

    def kept(self: _Recording, entry: Entry, fact: Fact) -> Entry | None:
        pause = paused_by(entry, self._pauses())
        if pause is None:
            return None
        placed = Fact(
            kind=Kind.PLACED, at=fact.at, lease=fact.lease, place=pause.place, reason=pause.reason
        )
        return advance(entry, placed)

    monkeypatch.setattr(_Recording, "kept", kept)
    assert AFTER_STOP in said(1)


def test_whoever_dates_texts_by_when_they_are_heard_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A START that comes late would undo the STOP that was written after it."""

    def earliest(self: Evidence) -> datetime:
        return self.dated_at or self.heard_at

    monkeypatch.setattr(Evidence, "earliest", property(earliest))
    assert AFTER_STOP in said()


def test_whoever_keeps_wishes_by_the_number_written_to_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A STOP to one number is one to all of them."""
    of = hear.evidence_of

    def by_number(tenant, heard, now):  # type: ignore[no-untyped-def]  # as the one in its place
        subject, evidence = of(tenant, heard, now)
        return subject._replace(group=heard.to), evidence

    monkeypatch.setattr(hear, "evidence_of", by_number)
    assert AFTER_STOP in said(1)


def test_whoever_never_believes_a_start_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Customers may come back."""
    monkeypatch.setitem(hear._SIGNS, Wish.IN, hear._SIGNS[Wish.OUT])
    assert any("the customer wants it" in one for one in said(1))
