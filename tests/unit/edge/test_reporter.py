"""The reporter: tells CI360 what is owed with many requests open, and ends cleanly."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.ci360 import bearer_of
from ci360_twilio.logs import OUTCOME_REPORTED, REPORTS_PAUSED
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.edge.conftest import Gate, Stage

TENANT = "af5af6b8f500013eb0c90001"


# Telling


@pytest.mark.parametrize("at_once", [1, 2, 3, 64])
def test_what_is_owed_is_told_once_each(stage: Stage, at_once: int) -> None:
    """However few requests it may have open."""
    parts = stage.connect()
    keys = stage.owe(parts, 60)
    with stage.reporting(parts, at_once):
        stage.wait_until(parts, keys, "told")
    assert stage.told == [f"D{one:03}" for one in range(60)]
    assert {report.attempts for report in stage.reports(parts, keys)} == {1}


def test_what_comes_later_is_found(stage: Stage) -> None:
    """An idle reporter looks again and again."""
    parts = stage.connect()
    with stage.reporting(parts):
        for begin in range(3):
            stage.wait_until(parts, stage.owe(parts, 1, begin=begin), "told")
    assert stage.told == ["D000", "D001", "D002"]


def test_many_go_as_files(stage: Stage) -> None:
    """From the tenant's threshold on."""
    parts = stage.connect(ci360_bulk_threshold=20)
    keys = stage.owe(parts, 60)
    with stage.reporting(parts):
        stage.wait_until(parts, keys, "told")
    assert stage.told == [f"D{one:03}" for one in range(60)]
    assert {event.by_file for event in stage.twin.events} == {True}


def test_two_reporters_on_one_ledger_tell_everything_once(stage: Stage) -> None:
    """What one has taken is nobody else's, as if in processes of their own."""
    first, second = stage.connect(), stage.connect()
    keys = stage.owe(first, 100)
    with stage.reporting(first, 10), stage.reporting(second, 10):
        stage.wait_until(first, keys, "told")
    assert stage.told == [f"D{one:03}" for one in range(100)]


def test_what_failed_is_told_again_under_the_same_key(stage: Stage) -> None:
    """CI360 may have heard of it; whoever counts can count it once."""
    stage.faults.burst(Fault.HTTP_503_MADE, requests=1)
    parts = stage.connect()
    keys = stage.owe(parts, 1)
    with stage.reporting(parts):
        stage.wait_until(parts, keys, "told")
    first, second = stage.twin.events
    assert (first.identity, first.attributes) == (second.identity, second.attributes)
    (report,) = stage.reports(parts, keys)
    assert (first.attributes["twilio_report_key"], report.attempts) == (report.key, 2)


def test_a_token_that_is_not_taken_pauses_the_reports(stage: Stage) -> None:
    """Once, whatever was under way; nothing is lost, and a person may lift it."""
    stage.twin.change_secret(TENANT, "another")
    parts = stage.connect()
    keys = stage.owe(parts, 10)
    with stage.reporting(parts, 4):
        stage.wait_for(lambda: bool(parts.store.pauses()))
        stage.wait_for(lambda: stage.log_of(parts).count(OUTCOME_REPORTED) >= 4)
        assert stage.log_of(parts).count(REPORTS_PAUSED) == 1
        assert stage.all_are(parts, keys, "owed")
        assert stage.twin.events == ()
        stage.twin.change_secret(TENANT, stage.secret)
        parts.store.resume([pause.name for pause in parts.store.pauses()])
        stage.wait_until(parts, keys, "told")
    assert len(stage.told) == 10


def test_an_unforeseen_error_costs_no_request(stage: Stage) -> None:
    """Each of many is tried, and owed still."""

    class Broken:
        def tell(self, *_: object, **__: object) -> None:
            raise ZeroDivisionError("+12015550142")

    parts = stage.connect(gate=Broken())
    keys = stage.owe(parts, 10)
    with stage.reporting(parts, 2):
        stage.wait_for(lambda: all(one.attempts for one in stage.reports(parts, keys)))
    assert stage.all_are(parts, keys, "owed")
    written = stage.log_of(parts)
    assert '"ZeroDivisionError"' in written
    assert "2015550142" not in written


def test_no_line_of_a_reporter_holds_whom_it_is_about(stage: Stage) -> None:
    """At DEBUG, and whatever CI360 says."""
    stage.twin.publish(["other"])
    parts = stage.connect()
    keys = stage.owe(parts, 2)
    with stage.reporting(parts):
        stage.wait_until(parts, keys, "aside")
    written = stage.log_of(parts)
    assert written.count(OUTCOME_REPORTED) == 2
    token = bearer_of(TENANT, stage.secret)
    for secret in ("2015550", "Hello", "D000", stage.secret, token, token[-20:], "published"):
        assert secret not in written


# Requests at one time


def tellers() -> int:
    """Count the threads that talk to CI360."""
    return sum(thread.name == "tell" for thread in threading.enumerate())


def test_no_more_requests_are_open_than_it_may_have(stage: Stage, gate: Gate) -> None:
    """And there is a thread for each of them, not for more."""
    parts = stage.connect(gate=gate)
    keys = stage.owe(parts, 30)
    with stage.reporting(parts, 4):
        gate.wait(4)
        stage.wait_for(lambda: tellers() == 4)
        gate.let(30)
        stage.wait_until(parts, keys, "told")
        assert tellers() == 4
    assert (gate.most, gate.calls) == (4, 30)
    stage.wait_for(lambda: tellers() == 0)


def test_threads_are_started_when_there_is_something_to_tell(stage: Stage) -> None:
    """One request after the other needs one."""
    parts = stage.connect()
    with stage.reporting(parts, 64):
        stage.wait_for(lambda: tellers() == 0)
        for begin in range(3):
            stage.wait_until(parts, stage.owe(parts, 1, begin=begin), "told")
            assert tellers() == 1
    stage.wait_for(lambda: tellers() == 0)


# Ending


def test_a_reporter_that_is_stopped_finishes_what_is_open(stage: Stage, gate: Gate) -> None:
    """It begins nothing new, and writes what came of the rest."""
    parts = stage.connect(gate=gate)
    keys = stage.owe(parts, 10)
    with stage.reporting(parts, 3) as reporter:
        gate.wait(3)
        reporter._stopping.set()
        gate.let(10)
    assert gate.calls == 3
    states = [(report.state, report.attempts) for report in stage.reports(parts, keys)]
    assert sorted(states) == [("owed", 0)] * 7 + [("told", 1)] * 3


def test_a_reporter_with_nothing_to_do_ends(stage: Stage) -> None:
    """It may be told so more than once."""
    with stage.reporting(stage.connect()) as reporter:
        reporter.stop()
    assert stage.twin.events == ()
