"""Campaigns in which everything goes wrong, judged by an oracle that knows what really happened.

Each campaign is one seed. The mutations show that the play would notice: each breaks one rule of
the product, and the oracle must object.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import msgspec
import pytest

from ci360_twilio.core import advance as life
from ci360_twilio.core import due
from ci360_twilio.core import report as reports
from ci360_twilio.core.ci360 import Ci360
from ci360_twilio.core.entry import Entry, Fact, Kind
from ci360_twilio.core.outcome import ExternalEvent, external_event
from ci360_twilio.core.report import Answer, Report
from ci360_twilio.core.retry import Decision, Verdict, decide
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import Failure
from ci360_twilio.flow import find, send
from ci360_twilio.flow import report as report_flow
from ci360_twilio.flow.find import Finding, Found
from ci360_twilio.flow.report import Reporting, Task
from ci360_twilio.twin.chaos import Campaign
from ci360_twilio.twin.play import Play

MESSAGES = 150

FOUL = Play(
    ledger=0.05,
    stalls=0.03,
    freezes=0.02,
    deaths=3.0,
    requests={
        "http_429": 0.1,
        "http_500": 0.03,
        "http_500_made": 0.05,
        "reset": 0.05,
        "slow:20": 0.2,
        "slow:34": 0.02,
    },
    weather={"lag:100": 0.5, "lost": 0.5, "late": 0.2, "repeated": 0.2, "disordered": 0.2},
    ci360={"http_500": 0.1, "http_503_made": 0.1, "http_429": 0.05, "reset": 0.1, "cut": 0.1},
    forgets=0.1,
)
"""A day on which every rule is needed."""


@pytest.mark.parametrize("seed", range(24))
def test_every_promise_is_kept_whatever_goes_wrong(seed: int) -> None:
    """At most one message for each event, none lost, and held exactly where nobody can know."""
    verdict = Campaign(seed, MESSAGES).run()
    assert verdict.good, f"seed {seed}: {verdict.problems[:10]}"
    assert verdict.events == MESSAGES


def test_one_seed_is_one_play() -> None:
    """What was seen once can be seen again."""
    assert Campaign(7, MESSAGES).run() == Campaign(7, MESSAGES).run()


def test_a_fair_day_ends_with_everything_delivered() -> None:
    """Without trouble there is nothing to explain."""
    verdict = Campaign(1, MESSAGES, Play(repeats=0.0)).run()
    assert (verdict.good, verdict.messages, verdict.statuses) == (
        True,
        MESSAGES,
        {"delivered": MESSAGES},
    )
    assert (verdict.reports, verdict.again) == (MESSAGES, 0)


def test_an_outcome_that_is_told_again_is_told_under_the_same_key() -> None:
    """CI360 fails after it has taken an event, and who told it dies before writing that down."""
    verdict = Campaign(3, MESSAGES, FOUL).run()
    assert verdict.good, verdict.problems[:10]
    assert verdict.again > 20


FROZEN = Play(freezes=0.3, requests={"slow:25": 0.9}, weather={"lost": 1.0})
"""A day on which workers stand still while others take over, answers take their time, and no
callback comes that would tell before them."""


def foul(play: Play = FOUL) -> list[str]:
    """Play foul days and give what the oracle says; bounded, and enough for any one mutation."""
    said: list[str] = []
    for seed in range(8):
        verdict = Campaign(seed, 80, play).run()
        said += [problem.partition(": ")[2] for problem in verdict.problems]
        said += ["a second message"] * verdict.duplicates
    return said


@pytest.mark.parametrize("play", [FOUL, FROZEN])
def test_a_foul_day_is_borne(play: Play) -> None:
    """The plays that the mutations fail are ones that the product passes."""
    assert foul(play) == []


def test_whoever_resends_what_is_unknown_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual way of clients: try again after a time-out."""

    def resend(
        failure: Failure, attempt: int, jitter: float, retry_after: float | None = None
    ) -> Decision:
        if failure is Failure.AMBIGUOUS:
            return Decision(Verdict.RETRY, timedelta(seconds=1))
        return decide(failure, attempt, jitter, retry_after)

    monkeypatch.setattr(send, "decide", resend)
    assert "a second message" in foul()


def test_whoever_holds_everything_unknown_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comfortable way: leave it all to a person."""

    def hold(self: Finding, entry: Entry) -> Found:
        fact = Fact(kind=Kind.HELD, at=self._clock(), reason="not_found")
        return Found(entry=entry, decision="deadline", fact=fact)

    monkeypatch.setattr(find.Finding, "_searched", lambda self, entry, _: hold(self, entry))
    assert "it is held, and could have been known" in foul()


def test_whoever_takes_a_miss_for_a_proof_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists lag: what is not listed may have been sent all the same."""

    def not_sent(self: Finding, entry: Entry, _: Tenant) -> Found:
        fact = Fact(kind=Kind.RETRIED, at=self._clock(), lease=entry.lease)
        return Found(entry=entry, decision="none", fact=fact)

    monkeypatch.setattr(find.Finding, "_missed", not_sent)
    assert "a second message" in foul()


def test_whoever_forgets_the_lease_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that wakes up begins what another has taken over."""
    monkeypatch.setattr(life, "_UNDER_LEASE", frozenset[Kind]())
    assert "a second message" in foul(FROZEN)


def test_whoever_takes_a_failure_of_ci360_for_an_acknowledgement_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fire and forget."""

    def acknowledged(_: Reporting, task: Task, report: Report, failed: object) -> Answer:
        del task, failed
        return Answer(reports.Verdict.TOLD, report.at)

    monkeypatch.setattr(Reporting, "_answer", acknowledged)
    assert "a report is said to be told, and CI360 has no such event" in said_of(foul())


def test_whoever_makes_a_key_for_each_attempt_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CI360 could not tell one outcome from two."""
    numbers = count()

    def anew(of: Entry, report: Report, name: str, ci360: Ci360) -> ExternalEvent | str:
        fresh = msgspec.structs.replace(report, key=f"{next(numbers)}")
        return external_event(of, fresh, name, ci360)

    monkeypatch.setattr(report_flow, "external_event", anew)
    assert any("nothing knows of this event" in one for one in said_of(foul()))


def test_whoever_asks_only_once_what_became_of_a_message_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Callbacks get lost, and Twilio is away when it is asked."""
    monkeypatch.setattr(due, "MOST_FETCHES", 0)
    assert any("Twilio's last word is" in one for one in said_of(foul()))


def said_of(problems: list[str]) -> list[str]:
    """Leave out which outcome it is."""
    return [problem.rpartition(" (")[0] or problem for problem in problems]
