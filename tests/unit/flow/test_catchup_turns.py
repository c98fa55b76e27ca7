"""Lists of inbound messages: from when on, how often, and what becomes of one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.flow.listing import ACME, EVERY, OURS, OURS_TOO, add, list_all, process

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import ConnectorError, LedgerUnavailable, TenantBroken, TenantUnavailable
from ci360_twilio.flow.catchup import AFTER_FAILURE, FIRST, KIND, LONGEST, OVERLAP, CatchingUp
from ci360_twilio.logs import INBOUND_LISTED
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

NOBODY = TenantId("nobody")
CACHED = 301
"""Seconds after which a document is read again."""


# From when on, and how often


def test_the_first_list_of_a_number_reaches_back_a_day(
    world: World, catching_up: CatchingUp
) -> None:
    """What is older stays with Twilio."""
    world.miss("Long ago")
    world.clock.advance(seconds=FIRST.total_seconds())
    world.miss("Lately")
    list_all(catching_up)
    assert world.heard == ["Lately"]
    assert world.client.listed == [(ACME, OURS, world.clock.now - FIRST)]


def test_after_a_downtime_the_list_reaches_back_to_before_it(
    world: World, catching_up: CatchingUp
) -> None:
    """Over the last list that was whole, by as much as Twilio's lists may lag."""
    list_all(catching_up)
    last = world.clock.now
    world.miss("On the first day")
    world.clock.advance(days=5)
    world.miss("On the last day")
    catching_up = process(world)
    assert list_all(catching_up) == 1
    assert world.heard == ["On the first day", "On the last day"]
    assert world.client.listed[-1] == (ACME, OURS, last - OVERLAP)


def test_a_number_is_listed_again_after_its_time(world: World, catching_up: CatchingUp) -> None:
    """By whichever process comes first."""
    assert [list_all(catching_up), list_all(catching_up)] == [1, 0]
    world.clock.advance(seconds=EVERY - 1)
    assert list_all(catching_up) == 0
    world.clock.advance(seconds=1)
    assert process(world).list_due() is True
    assert list_all(catching_up) == 0


def test_a_clock_that_was_set_back_makes_no_gap(world: World, catching_up: CatchingUp) -> None:
    """The list then begins before the moment that it is now."""
    list_all(catching_up)
    ahead = world.clock.now
    now = world.clock.advance(days=-1)
    world.store.end_chore(f"{KIND}:{ACME}/{OURS}", due_at=now, mark=ahead.isoformat())
    list_all(catching_up)
    assert world.client.listed[-1] == (ACME, OURS, now - OVERLAP)


FAILURES = {
    Fault.HTTP_503: "twilio_http_503",
    Fault.HTTP_429: "twilio_20429",
    Fault.HTTP_401: "twilio_20003",
    Fault.UNREACHABLE: "connect_refused",
    Fault.RESET: "connection_lost",
}


@pytest.mark.parametrize(("fault", "reason"), FAILURES.items(), ids=FAILURES)
def test_where_twilio_does_not_answer_the_number_is_listed_later(
    world: World, catching_up: CatchingUp, fault: Fault, reason: str
) -> None:
    """From where it was left, and after a longer while; others are listed meanwhile."""
    add(catching_up, OURS_TOO)
    list_all(catching_up)
    mark = world.clock.now
    world.miss("Hello", to=OURS_TOO)
    world.clock.advance(seconds=EVERY)
    world.faults.burst(fault, requests=1)
    assert list_all(catching_up) == 2
    failed = [line for line in world.lines if line.get("decision") == "failed"]
    assert [(line["level"], line["reason"]) for line in failed] == [("warning", reason)]
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds() - 1)
    assert (list_all(catching_up), world.heard) == (1, [])
    world.clock.advance(seconds=1)
    assert (list_all(catching_up), world.heard) == (1, ["Hello"])
    assert world.client.listed[-1] == (ACME, OURS_TOO, mark - OVERLAP)


@pytest.mark.parametrize(("fault", "reads"), [(Fault.HTTP_401, 2), (Fault.HTTP_503, 1)])
def test_refused_credentials_have_the_tenant_read_again(
    world: World, catching_up: CatchingUp, fault: Fault, reads: int
) -> None:
    """They may have been changed; the next list uses the new ones."""
    world.faults.burst(fault)
    list_all(catching_up)
    assert world.papers.reads == reads


@pytest.mark.parametrize("error", [TenantUnavailable, TenantBroken])
def test_where_a_document_cannot_be_read_its_numbers_are_listed_later(
    world: World, catching_up: CatchingUp, error: type[ConnectorError]
) -> None:
    """Nothing is asked of Twilio."""
    world.miss("Hello")
    world.papers.errors[ACME] = error("No.")
    list_all(catching_up)
    assert (world.heard, world.client.listed) == ([], [])
    assert world.told(INBOUND_LISTED, "reason") == [error.code]
    world.papers.errors.clear()
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds())
    list_all(catching_up)
    assert world.heard == ["Hello"]


def test_a_tenant_that_is_gone_has_its_numbers_forgotten(
    world: World, catching_up: CatchingUp
) -> None:
    """Nobody may ask for them."""
    add(catching_up, OURS, tenant_id=NOBODY)
    assert world.chores(KIND) == [f"{KIND}:{ACME}/{OURS}", f"{KIND}:{NOBODY}/{OURS}"]
    world.clock.advance(days=500)
    list_all(catching_up)
    assert world.chores(KIND) == [f"{KIND}:{ACME}/{OURS}"]


def test_the_numbers_of_a_tenant_that_comes_back_are_listed_again(
    world: World, catching_up: CatchingUp
) -> None:
    """Its document was put in place anew, and was not there for a moment."""
    document = world.papers.documents.pop(ACME)
    list_all(catching_up)
    assert world.chores(KIND) == []
    world.papers.documents[ACME] = document
    world.clock.advance(seconds=CACHED)
    world.miss("Hello")
    add(catching_up, OURS)
    list_all(catching_up)
    assert world.heard == ["Hello"]


@pytest.mark.parametrize("verb", ["hear_many", "conversations"])
def test_a_ledger_that_cannot_be_written_is_the_callers_to_know(
    world: World, catching_up: CatchingUp, verb: str
) -> None:
    """The number is listed again when its turn is over, from where it was left."""
    world.miss("Hello")
    world.store.away = {verb}
    with pytest.raises(LedgerUnavailable):
        list_all(catching_up)
    world.store.away = set()
    assert list_all(catching_up) == 0
    world.clock.advance(seconds=LONGEST.total_seconds())
    assert list_all(catching_up) == 1
    assert world.heard == ["Hello"]
