"""Contact preferences: who is pulled from, and when; a step at a time, whoever does the step."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import (
    Ci360Failed,
    ConnectorError,
    TenantBroken,
    TenantUnavailable,
    Trouble,
)
from ci360_twilio.flow.preferences import (
    AFTER_FAILURE,
    EXPORT,
    GIVEN_UP,
    KIND,
    LONGEST,
    STEP,
    Preferences,
)
from ci360_twilio.logs import CONSENT_CHANGED
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
ONE, TWO = "+12015550142", "+12015550143"
HOURS = 6.0
LATER = timedelta(seconds=301)
"""After which a document is read again."""


def process(world: World) -> Preferences:
    """Give what another process has."""
    return Preferences(world.store, world.gateway, world.tenants, world.clock, world.log)


def pull(world: World, preferences: Preferences, steps: int = 20) -> int:
    """Do what is due, step by step, until there is nothing more; gives the number of steps."""
    for step in range(steps):
        if not preferences.pull_due():
            return step
        world.clock.advance(seconds=STEP.total_seconds())
    return steps


@pytest.fixture
def preferences(world: World) -> Preferences:
    """Give a process that pulls one tenant's wishes; the other one's document does not want that."""
    world.papers.write(ACME, ci360_preferences_hours=HOURS)
    made = process(world)
    made.schedule(world.tenant())
    return made


# Who is pulled from, and when


def test_only_those_are_pulled_from_whose_document_says_so(
    world: World, preferences: Preferences
) -> None:
    """However often they are scheduled, by whichever process."""
    for made in (preferences, process(world), preferences):
        for tenant_id in (ACME, OTHER):
            made.schedule(world.tenant(tenant_id))
    world.papers.write(OTHER, ci360_api_url=None, ci360_preferences_hours=1)
    preferences.schedule(world.fresh_tenants().get(OTHER))
    assert world.chores(KIND) == [f"{KIND}:{ACME}"]
    assert world.store.commits.count("add_chores") == 2


def test_a_pull_is_done_in_steps(world: World, preferences: Preferences) -> None:
    """One starts a job, others ask for it, the last one takes what it made."""
    world.ci360.prefer(ONE, opted_out=True)
    steps = []
    while preferences.pull_due():
        assert preferences.pull_due() is False
        steps.append(world.states(ONE))
        world.clock.advance(seconds=STEP.total_seconds())
    assert steps == [[None], [None], [None], ["out"]]
    assert world.gateway.started == [(ACME, EXPORT, {"includeSourceAndTimestamp": True})]


def test_a_pull_is_repeated_after_its_hours(world: World, preferences: Preferences) -> None:
    """Counted from its end."""
    assert pull(world, preferences) == 4
    world.clock.advance(hours=HOURS, seconds=-STEP.total_seconds() - 1)
    assert pull(world, preferences) == 0
    world.clock.advance(seconds=1)
    world.ci360.prefer(ONE, opted_out=True)
    assert pull(world, preferences) == 4
    assert (world.states(ONE), len(world.gateway.started)) == (["out"], 2)


def test_another_process_goes_on_where_one_was_stopped(
    world: World, preferences: Preferences
) -> None:
    """Between steps the job is in the ledger; one that died at a step is waited for."""
    world.ci360.prefer(ONE, opted_out=True)
    pull(world, preferences, 2)
    now = world.clock.now
    assert world.store.take_chore(KIND, now=now, until=now + LONGEST) is not None
    preferences = process(world)
    assert pull(world, preferences) == 0
    world.clock.advance(seconds=LONGEST.total_seconds())
    assert pull(world, preferences) == 2
    assert (world.states(ONE), len(world.gateway.started)) == (["out"], 1)


def test_a_step_is_one_processs_at_a_time(world: World, preferences: Preferences) -> None:
    """No job is started twice."""
    others: list[bool] = []
    other = process(world)
    world.clock.advance(seconds=LATER.total_seconds())
    world.papers.meanwhile = lambda: others.append(other.pull_due())
    assert preferences.pull_due() is True
    assert (others, len(world.gateway.started)) == ([False], 1)


def test_a_job_that_takes_too_long_is_started_anew(world: World, preferences: Preferences) -> None:
    """CI360 may have forgotten it."""
    world.gateway.says = [{"status": "PROCESSING"}] * 3
    pull(world, preferences, 3)
    world.clock.advance(seconds=GIVEN_UP.total_seconds())
    assert pull(world, preferences, 2) == 2
    assert len(world.gateway.started) == 2


# What goes wrong


FAULTS = {
    Fault.HTTP_401: "ci360_http_401",
    Fault.HTTP_429: "ci360_http_403",
    Fault.HTTP_503: "ci360_http_503",
    Fault.UNREACHABLE: "connect_refused",
}


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize(("fault", "reason"), FAULTS.items(), ids=FAULTS)
def test_a_step_that_fails_has_the_pull_begun_anew_after_a_while(
    world: World, preferences: Preferences, fault: Fault, reason: str, step: int
) -> None:
    """A line tells of it; no wish is changed meanwhile."""
    world.ci360.prefer(ONE, opted_out=True)
    assert pull(world, preferences, step) == step
    world.ci360_faults.burst(fault, requests=1)
    assert pull(world, preferences) == 1
    failed = [line for line in world.lines if line.get("decision") == "failed"]
    assert [(line["level"], line["reason"]) for line in failed] == [("warning", reason)]
    assert world.states(ONE) == [None]
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds())
    assert (pull(world, preferences), world.states(ONE)) == (4, ["out"])


@pytest.mark.parametrize("words", ["Failed", "error", "Cancelled", "Failed Validation"])
def test_a_job_that_failed_is_begun_anew_after_a_while(
    world: World, preferences: Preferences, words: str
) -> None:
    """As any step that fails."""
    world.gateway.says = [{"status": words}]
    assert pull(world, preferences) == 2
    assert world.told(CONSENT_CHANGED, "reason") == ["job_failed"]
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds())
    assert pull(world, preferences) == 4


def test_a_file_that_cannot_be_fetched_loses_none_of_the_others(
    world: World, preferences: Preferences
) -> None:
    """What was taken stays; the next pull takes the rest."""
    pull(world, preferences, 1)
    away = Ci360Failed("Away.", trouble=Trouble.AWAY, reason="http_503")
    world.gateway.files = {"a": f"sms_id,{ONE},OPT-OUT,true\n".encode(), "b": away}
    files = [{"path": "part-0.csv", "url": "a"}, {"path": "part-1.csv", "url": "b"}]
    world.gateway.says = [{"status": "EXPORTED", "downloadItemList": files}] * 2
    assert pull(world, preferences) == 1
    assert world.told(CONSENT_CHANGED) == ["import", "failed"]
    world.gateway.files["b"] = f"sms_id,{TWO},OPT-OUT,true\n".encode()
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds())
    pull(world, preferences)
    assert world.states(ONE, TWO) == ["out", "out"]


@pytest.mark.parametrize("error", [TenantUnavailable, TenantBroken])
def test_where_a_document_cannot_be_read_its_wishes_are_pulled_later(
    world: World, error: type[ConnectorError]
) -> None:
    """CI360 is asked nothing."""
    world.papers.write(ACME, ci360_preferences_hours=HOURS)
    preferences = process(world)
    preferences.schedule(world.fresh_tenants().get(ACME))
    world.papers.errors[ACME] = error("No.")
    assert pull(world, preferences) == 1
    assert (world.gateway.started, world.told(CONSENT_CHANGED, "reason")) == ([], [error.code])
    world.papers.errors.clear()
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds())
    assert pull(world, preferences) == 4


def test_a_ledger_that_cannot_be_written_has_the_pull_begun_anew(
    world: World, preferences: Preferences
) -> None:
    """Wishes are few enough to be pulled once more."""
    world.ci360.prefer(ONE, opted_out=True)
    pull(world, preferences, 3)
    world.store.away = {"attest_many"}
    assert pull(world, preferences) == 1
    assert world.told(CONSENT_CHANGED, "reason") == ["ledger_unavailable"]
    world.store.away = set()
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds())
    pull(world, preferences)
    assert world.states(ONE) == ["out"]


def test_a_tenant_that_is_gone_is_pulled_from_no_more(
    world: World, preferences: Preferences
) -> None:
    """CI360 is asked nothing more for it."""
    del world.papers.documents[ACME]
    world.clock.advance(seconds=LATER.total_seconds())
    assert pull(world, preferences) == 1
    assert (world.chores(KIND), world.gateway.started) == ([], [])


@pytest.mark.parametrize("change", ["gone", "unwanted"])
def test_a_tenant_that_wants_it_again_is_pulled_from_again(
    world: World, preferences: Preferences, change: str
) -> None:
    """Its document was not there for a moment, or said otherwise."""
    document = world.papers.documents.pop(ACME)
    if change == "unwanted":
        world.papers.documents[ACME] = {**document, "ci360_preferences_hours": None}
    world.clock.advance(seconds=LATER.total_seconds())
    assert (pull(world, preferences), world.chores(KIND)) == (1, [])
    world.papers.documents[ACME] = document
    world.clock.advance(seconds=LATER.total_seconds())
    preferences.schedule(world.tenant())
    assert pull(world, preferences) == 4


def test_every_process_hears_that_a_tenant_wants_it_no_more(
    world: World, preferences: Preferences
) -> None:
    """So that whichever comes first begins anew, not only the one that ended it."""
    other = process(world)
    other.schedule(world.tenant())
    world.papers.write(ACME, ci360_preferences_hours=None)
    world.clock.advance(seconds=LATER.total_seconds())
    pull(world, preferences)
    other.schedule(world.tenant())
    world.papers.write(ACME, ci360_preferences_hours=HOURS)
    world.clock.advance(seconds=LATER.total_seconds())
    other.schedule(world.tenant())
    assert world.chores(KIND) == [f"{KIND}:{ACME}"]
