"""Inbound messages that no webhook brought: whose numbers are listed, and what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.flow.listing import ACME, EVERY, OURS, OURS_TOO, add, list_all, process

from ci360_twilio.core.entry import Key
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.catchup import AFTER_FAILURE, KIND, CatchingUp
from ci360_twilio.logs import INBOUND_LISTED

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

CUSTOMER, OTHER = "+12015550142", TenantId("other")
SERVICE = f"MG{'c3' * 16}"


# What is heard


def test_what_was_missed_is_heard_with_its_date(world: World, catching_up: CatchingUp) -> None:
    """As if its webhook had come: with its customer, its wish, and what CI360 is owed."""
    began, key = world.clock.now, world.send()
    world.miss("STOP")
    assert list_all(catching_up) == 1
    letter, consent = world.letter, world.consent()
    assert letter.answers == key
    assert (letter.heard.body, letter.heard.dated_at) == ("STOP", began)
    assert [one.outcome for one in letter.reports] == [Outcome.REPLY, Outcome.OPT_OUT]
    assert consent is not None
    assert (consent.state, consent.since, consent.undated) == ("out", began, ())


def test_what_was_heard_by_a_webhook_is_not_heard_twice(
    world: World, catching_up: CatchingUp
) -> None:
    """Neither counted as a repetition."""
    world.listen("One")
    world.miss("Two")
    world.listen("Three")
    list_all(catching_up)
    world.clock.advance(seconds=EVERY)
    list_all(catching_up)
    assert sorted(world.heard) == ["One", "Three", "Two"]
    assert {one.repeats for one in world.inbound} == {0}
    assert world.told(INBOUND_LISTED, "missed") == [1, 0]


def test_a_webhook_that_comes_after_the_list_is_a_duplicate(
    world: World, catching_up: CatchingUp
) -> None:
    """Twilio repeats it for some minutes."""
    webhook = world.post("STOP")
    list_all(catching_up)
    assert world.hear(webhook) == ["duplicate"]
    assert world.letter.repeats == 1


def test_what_was_written_last_is_heard_last(world: World, catching_up: CatchingUp) -> None:
    """Twilio lists the newest first."""
    world.miss("One", "Two", "Three")
    list_all(catching_up)
    assert world.heard == ["One", "Two", "Three"]


def test_what_was_sent_is_not_heard(world: World, catching_up: CatchingUp) -> None:
    """Of a number that we may write to, Twilio lists messages in both directions."""
    account = world.twilio.authorize(
        world.tenant().account, "the-token-of-acme", world.tenant().account
    )
    world.twilio.create(account, {"To": [OURS], "From": [OURS_TOO], "Body": ["A test"]})
    world.miss("Hello")
    list_all(catching_up)
    assert world.heard == ["Hello"]


def test_pages_are_followed_to_the_end(world: World, catching_up: CatchingUp) -> None:
    """A thousand messages are one page."""
    for number in range(2_001):
        world.write(str(number))
    world.posted()
    list_all(catching_up)
    assert world.client.pages == 3
    assert sorted(map(int, world.heard)) == list(range(2_001))


def test_what_was_listed_before_an_answer_was_lost_is_heard(
    world: World, catching_up: CatchingUp
) -> None:
    """The next list begins where this one began, and doubles nothing."""
    world.miss(*map(str, range(5)))
    for number in range(5, 1_005):
        world.write(str(number))
    world.posted()
    world.client.lost_after = 1
    list_all(catching_up)
    assert (len(world.heard), world.told(INBOUND_LISTED)) == (1_000, ["failed"])
    world.client.lost_after = None
    world.clock.advance(seconds=AFTER_FAILURE.total_seconds())
    list_all(catching_up)
    assert sorted(map(int, world.heard)) == list(range(1_005))


# Dates


def test_the_list_tells_the_dates_of_what_webhooks_brought(
    world: World, catching_up: CatchingUp
) -> None:
    """So that a START frees without a further question."""
    for body in ("Hello", "STOP", "START"):
        world.listen(body)
        world.clock.advance(minutes=1)
    assert world.state() == "out"
    list_all(catching_up)
    assert world.state() == "in"
    assert world.told(INBOUND_LISTED, "missed") == [0]


@pytest.mark.parametrize(("bodies", "state"), [("STOP START", "in"), ("START STOP", "out")])
def test_wishes_that_were_missed_count_in_the_order_in_which_they_were_written(
    world: World, catching_up: CatchingUp, bodies: str, state: str
) -> None:
    """However late they are heard of."""
    world.miss(*bodies.split())
    list_all(catching_up)
    assert world.state() == state


def test_a_missed_start_that_is_older_than_a_stop_frees_nobody(
    world: World, catching_up: CatchingUp
) -> None:
    """The STOP came by webhook in time."""
    world.miss("START")
    world.listen("STOP")
    world.clock.advance(hours=3)
    list_all(catching_up)
    assert world.state() == "out"


# Which numbers


@pytest.mark.parametrize(
    ("sender", "is_listed"),
    [
        (OURS, True),
        ("40404", True),
        (f"whatsapp:{OURS}", True),
        (f"rcs:{OURS}", True),
        (SERVICE, True),
        ("ACME Shop", False),
        ("messenger:4711", False),
        ("MG123", False),
        ("+1201555019x", False),
        ("", False),
    ],
)
def test_only_what_can_be_written_to_is_listed(world: World, sender: str, is_listed: bool) -> None:
    """Nobody can answer a name."""
    add(process(world), sender)
    assert world.chores(KIND) == ([f"{KIND}:{ACME}/{sender}"] if is_listed else [])


def test_a_number_that_is_known_keeps_its_turn(world: World, catching_up: CatchingUp) -> None:
    """It is added again and again, by every process; each writes it once."""
    list_all(catching_up)
    add(catching_up, OURS, OURS)
    other = process(world)
    add(other, OURS)
    add(other, OURS)
    assert (list_all(catching_up), list_all(other)) == (0, 0)
    assert world.store.commits.count("add_chores") == 2
    assert world.chores(KIND) == [f"{KIND}:{ACME}/{OURS}"]


def test_numbers_are_listed_with_their_own_tenants_account(
    world: World, catching_up: CatchingUp
) -> None:
    """Two tenants' messages are kept apart."""
    add(catching_up, OURS, tenant_id=OTHER)
    world.miss("To acme")
    world.miss("To other", tenant_id=OTHER)
    assert list_all(catching_up) == 2
    found = {(one.tenant_id, one.heard.body) for one in world.inbound}
    assert found == {(ACME, "To acme"), (OTHER, "To other")}


def test_of_a_messaging_service_all_numbers_are_listed(
    world: World, catching_up: CatchingUp
) -> None:
    """Customers answer the one that it chose; which that was need not be known."""
    key = world.send(sender=SERVICE, via=OURS_TOO)
    add(catching_up, SERVICE)
    world.miss("To the first")
    world.miss("To the second", to=OURS_TOO)
    list_all(catching_up)
    found: dict[str, Key | None] = {one.heard.body: one.answers for one in world.inbound}
    assert found == {"To the first": None, "To the second": key}


def test_lines_tell_how_much_was_missed_and_no_number(
    world: World, catching_up: CatchingUp
) -> None:
    """A list that found nothing is told to those only who look closely."""
    world.miss("Call me back")
    list_all(catching_up)
    world.clock.advance(seconds=EVERY)
    list_all(catching_up)
    listed = [line for line in world.lines if line["event"] == INBOUND_LISTED]
    assert [(line["level"], line["missed"]) for line in listed] == [("info", 1), ("debug", 0)]
    assert {line["sender"] for line in listed} == {"+*********99"}
    written = world.stream.getvalue()
    assert [one for one in (CUSTOMER[1:], OURS[1:], "Call me back") if one in written] == []
