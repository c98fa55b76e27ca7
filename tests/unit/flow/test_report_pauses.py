"""Reports that wait as a whole: for a token that CI360 takes, for its patience, for their turn."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.entry import Lease, Status, key_of
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import Ci360Failed, ConnectorError, TenantUnavailable, Trouble
from ci360_twilio.flow.report import PUT_OFF
from ci360_twilio.logs import OUTCOME_REPORTED, REPORTS_PAUSED, REPORTS_RESUMED
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
NEW = "the-new-secret"
CACHED = 301
"""Seconds after which a document is read again."""


def owe(world: World, *guids: str, tenant_id: TenantId = ACME, **changes: Any) -> None:
    """Write entries that owe a report, oldest first."""
    for guid in guids:
        world.send(guid, owes=Outcome.DELIVERED, tenant_id=tenant_id, **changes)
        world.clock.advance(milliseconds=1)


def told(world: World, tenant_id: TenantId = ACME) -> list[str]:
    """Give what CI360 was told of, by guid and in order."""
    events = world.ci360.events
    return [one.attributes["twilio_guid"] for one in events if one.tenant_id == tenant_id]


def refuse_token(world: World) -> None:
    """Have CI360 know another token than the tenant's document."""
    world.ci360.change_secret(ACME, NEW)


def pause(world: World) -> Pause:
    """Give the only pause."""
    [found] = world.store.pauses()
    return found


# A token that CI360 does not take


def test_a_broken_token_pauses_the_tenants_reports_alone(world: World) -> None:
    """Another tenant's go on. The token of neither is told."""
    refuse_token(world)
    owe(world, "g1", "g2", "g3")
    owe(world, "h1", tenant_id=OTHER)
    world.reporting.report_all(10)
    assert (told(world), told(world, OTHER)) == ([], ["h1"])
    found = pause(world)
    assert (found.scope, found.tenant_id, found.cause) == (Scope.REPORTS, ACME, Cause.CONFIG)
    assert (found.reason, found.since, found.failures) == ("ci360_http_401", world.clock.now, 0)
    assert [line["level"] for line in world.lines if line["event"] == REPORTS_PAUSED] == ["error"]
    world.clock.advance(seconds=20)
    owe(world, "h2", tenant_id=OTHER)
    assert world.reporting.report_all(10) == 1
    assert told(world, OTHER) == ["h1", "h2"]


def test_a_broken_token_never_keeps_a_message_from_being_sent(world: World) -> None:
    """It is claimed and started as ever, and what comes of it is owed."""
    refuse_token(world)
    owe(world, "g1")
    world.reporting.report_all(10)
    key = world.send("g2", status=Status.ACCEPTED, started_at=None)
    lease = Lease(token="worker", until=world.clock.now + timedelta(minutes=1))
    [claimed] = world.store.claim(now=world.clock.now, lease=lease, limit=10).entries
    assert (claimed.key, claimed.place, claimed.reason) == (key, None, None)
    assert world.store.waiting(world.clock.now) == []


def test_while_they_are_paused_one_report_tries_from_time_to_time(world: World) -> None:
    """With growing waits, whoever does it; none of the others is taken."""
    refuse_token(world)
    owe(world, "g1", "g2", "g3")
    world.reporting.report_all(10)
    waits = []
    for failures in range(1, 8):
        probe_at = pause(world).probe_at
        assert probe_at is not None
        waits.append((probe_at - world.clock.now).total_seconds())
        world.clock.now = probe_at - timedelta(seconds=1)
        assert world.fresh_reporting().report_all(10) == 0
        world.clock.advance(seconds=1 + PUT_OFF.total_seconds())
        reporting = world.fresh_reporting()
        [task] = reporting.take(10)
        assert world.fresh_reporting().take(10) == []
        reporting.record([reporting.tell(task)])
        assert pause(world).failures == failures
    assert waits == [30, 60, 120, 240, 480, 900, 900]
    assert len(world.told(REPORTS_PAUSED)) == 1


def test_once_the_token_is_taken_the_reports_go_on(world: World) -> None:
    """The one that tried first, then all; a line tells of it."""
    refuse_token(world)
    owe(world, "g1", "g2", "g3")
    world.reporting.report_all(10)
    world.papers.write(ACME, ci360_client_secret=NEW)
    world.clock.advance(seconds=CACHED)
    assert [world.reporting.report_all(10) for _ in range(3)] == [1, 2, 0]
    assert told(world) == ["g1", "g2", "g3"]
    assert world.store.pauses() == []
    assert world.told(REPORTS_RESUMED, "tenant") == [ACME]


def test_a_token_that_was_changed_pauses_nothing(world: World) -> None:
    """The document is read again first; the next attempts use the new token."""
    world.tenant()
    refuse_token(world)
    world.papers.write(ACME, ci360_client_secret=NEW)
    owe(world, "g1", "g2")
    world.reporting.report_all(10)
    assert (told(world), world.store.pauses()) == ([], [])
    world.clock.advance(seconds=1)
    world.reporting.report_all(10)
    assert told(world) == ["g1", "g2"]


def test_a_token_that_was_changed_while_reports_wait_is_tried_at_once(world: World) -> None:
    """Where the old one was still in the cache when it was time to try."""
    refuse_token(world)
    owe(world, "g1", "g2")
    world.reporting.report_all(10)
    world.papers.write(ACME, ci360_client_secret=NEW)
    world.clock.advance(seconds=31)
    assert [world.reporting.report_all(10), told(world)] == [1, []]
    world.clock.advance(seconds=2)
    world.reporting.report_all(10)
    world.reporting.report_all(10)
    assert (sorted(told(world)), world.store.pauses()) == (["g1", "g2"], [])


def test_what_is_not_posted_is_no_try(world: World) -> None:
    """It is set aside without CI360; the next report tries instead, and at once."""
    refuse_token(world)
    owe(world, "g1")
    world.reporting.report_all(10)
    owe(world, "nobody", "nobody else", datahub_id=None)
    world.clock.advance(seconds=31)
    assert [world.reporting.report_all(10) for _ in range(4)] == [1, 1, 1, 0]
    assert world.told(OUTCOME_REPORTED) == ["again", "aside", "aside", "again"]
    assert (world.told(REPORTS_RESUMED), pause(world).failures) == ([], 1)


@pytest.mark.parametrize(
    ("fault", "is_over"), [(Fault.HTTP_400, True), (Fault.HTTP_503, False), (Fault.HTTP_429, False)]
)
def test_only_an_answer_to_what_was_sent_shows_that_the_token_is_taken(
    world: World, fault: Fault, is_over: bool
) -> None:
    """A refusal of the event is one; a gateway that is not well says nothing."""
    refuse_token(world)
    owe(world, "g1", "g2")
    world.reporting.report_all(10)
    world.papers.write(ACME, ci360_client_secret=NEW)
    world.clock.advance(seconds=CACHED)
    world.ci360_faults.burst(fault, requests=1)
    world.reporting.report_all(10)
    assert (world.store.pauses() == []) is is_over
    if not is_over:
        assert (pause(world).failures, pause(world).reason) == (1, "ci360_http_401")


def test_many_refusals_at_one_time_are_one_pause(world: World) -> None:
    """Which stays as the first has written it."""
    refuse_token(world)
    owe(world, "g1", "g2", "g3")
    done = [world.reporting.tell(task) for task in world.reporting.take(10)]
    world.reporting.record(done[:1])
    first = pause(world)
    world.clock.advance(seconds=5)
    world.reporting.record(done[1:])
    assert pause(world) == first


@pytest.mark.parametrize("tenant_id", [None, ACME])
def test_what_a_person_pauses_only_a_person_lifts(world: World, tenant_id: TenantId | None) -> None:
    """Nothing is tried meanwhile; of one tenant, or of all."""
    by_person = Pause(
        scope=Scope.REPORTS,
        tenant_id=tenant_id,
        cause=Cause.PERSON,
        reason="paused",
        since=world.clock.now,
        by="anna",
    )
    world.store.pause(by_person)
    owe(world, "g1")
    owe(world, "h1", tenant_id=OTHER)
    world.reporting.report_all(10)
    assert (told(world), told(world, OTHER)) == ([], [] if tenant_id is None else ["h1"])
    world.clock.advance(days=2)
    world.reporting.report_all(10)
    assert told(world) == []
    world.store.resume([by_person.name])
    world.reporting.report_all(10)
    assert told(world) == ["g1"]


def test_a_pause_of_messages_keeps_no_report(world: World) -> None:
    """What became of those that were sent before is told."""
    stop = Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=world.clock.now)
    world.store.pause(stop)
    owe(world, "g1")
    world.reporting.report_all(10)
    assert told(world) == ["g1"]


# A gateway that wants to hear less


def test_a_bare_403_may_mean_too_much_and_leaves_ci360_alone_for_a_while(world: World) -> None:
    """The report is told again; the tenant's others wait with it, and other tenants' do not."""
    owe(world, "g1", "g2")
    owe(world, "h1", tenant_id=OTHER)
    world.ci360_faults.burst(Fault.HTTP_429, requests=1)
    world.reporting.report_all(10)
    assert world.told(OUTCOME_REPORTED, "reason")[0] == "ci360_http_403"
    assert (told(world), told(world, OTHER)) == (["g2"], ["h1"])
    assert world.store.pauses() == []
    owe(world, "g3")
    world.clock.advance(seconds=14)
    assert world.reporting.report_all(10) == 0
    world.clock.advance(seconds=1)
    assert world.reporting.report_all(10) == 2
    assert sorted(told(world)) == ["g1", "g2", "g3"]


def test_it_is_left_alone_for_longer_each_time(world: World) -> None:
    """Until it listens again: then the waits begin anew."""
    owe(world, "g1")
    world.ci360_faults.burst(Fault.HTTP_429, requests=7)
    began, attempts = world.clock.now, list[float]()
    while not told(world):
        if world.reporting.report_all(10):
            attempts.append(round((world.clock.now - began).total_seconds()))
        world.clock.advance(seconds=1)
    assert [b - a for a, b in pairwise(attempts)] == [15, 30, 60, 120, 240, 300, 300]
    owe(world, "g2")
    world.ci360_faults.burst(Fault.HTTP_429, requests=1)
    world.reporting.report_all(10)
    world.clock.advance(seconds=15)
    world.reporting.report_all(10)
    assert told(world) == ["g1", "g2"]


@pytest.mark.parametrize(("asked", "wait"), [(None, 15), (5.0, 15), (600.0, 600)])
def test_what_ci360_asks_for_is_waited_for(world: World, asked: float | None, wait: int) -> None:
    """It never shortens a wait."""
    less = Ci360Failed(
        "Less.", trouble=Trouble.THROTTLED, reason="ci360_http_429", retry_after=asked
    )
    world.gateway.ends = [less]
    owe(world, "g1")
    world.reporting.report_all(10)
    world.clock.advance(seconds=wait - 0.5)
    assert world.reporting.report_all(10) == 0
    world.clock.advance(seconds=0.5)
    assert world.reporting.report_all(10) == 1
    assert told(world) == ["g1"]


# Tenants among each other


def test_tenants_share_the_requests_evenly(world: World) -> None:
    """One that needs less leaves the rest to the others."""
    owe(world, *(f"g{number}" for number in range(9)))
    owe(world, "h1", "h2", tenant_id=OTHER)
    tasks = world.reporting.take(8)
    counts = {one: sum(task.tenant.id == one for task in tasks) for one in (ACME, OTHER)}
    assert counts == {ACME: 4, OTHER: 2}
    assert len(world.reporting.take(8)) == 5


def test_where_one_request_gets_free_at_a_time_every_tenant_has_its_turn(world: World) -> None:
    """However much another one owes."""
    owe(world, *(f"g{number}" for number in range(9)))
    owe(world, "h1", "h2", tenant_id=OTHER)
    tasks = [task for _ in range(4) for task in world.reporting.take(1)]
    assert [task.tenant.id for task in tasks] == [ACME, OTHER, ACME, OTHER]


def test_the_longest_due_are_told_first(world: World) -> None:
    """As far as there are requests free."""
    owe(world, *(f"g{number}" for number in range(5)))
    assert world.reporting.report_all(2) == 2
    assert told(world) == ["g0", "g1"]


@pytest.mark.parametrize("error", [TenantUnavailable, None], ids=["away", "gone"])
def test_where_a_document_cannot_be_read_its_reports_wait(
    world: World, error: type[ConnectorError] | None
) -> None:
    """Others are told; it is not asked for again at every turn."""
    owe(world, "g1")
    owe(world, "h1", tenant_id=OTHER)
    document = world.papers.documents.pop(ACME)
    if error is not None:
        world.papers.errors[ACME] = error("The document is away.")
    for _ in range(3):
        world.reporting.report_all(10)
    assert (told(world), told(world, OTHER)) == ([], ["h1"])
    failed = [line for line in world.lines if line.get("decision") == "failed"]
    assert [(line["level"], line["tenant"]) for line in failed] == [("warning", ACME)]
    world.papers.errors.clear()
    world.papers.documents[ACME] = document
    world.clock.advance(seconds=CACHED)
    world.reporting.report_all(10)
    assert told(world) == ["g1"]
    assert world.entry(key_of(ACME, "g1")).reports[0].attempts == 1
