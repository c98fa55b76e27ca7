"""Faults by plan and by chance."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.twin.faults import EFFECTS, Ending, Fault, FaultPlan, Outcome, parse_fault
from ci360_twilio.twin.twilio import Answer

TO = "+19085551212"
CREATED = Answer(201, {"sid": "SM"})


@dataclass
class Maker:
    """Stands for a request that takes effect, and counts how often it did."""

    made: int = 0

    def __call__(self) -> Answer:
        """Make."""
        self.made += 1
        return CREATED


def code(outcome: Outcome) -> int | None:
    """Give the code in the answer."""
    assert outcome.answer is not None
    assert outcome.answer.body is not None
    found: int | None = outcome.answer.body.get("code")
    return found


def test_without_faults_a_request_happens() -> None:
    """An empty plan is no plan."""
    assert FaultPlan().play(TO, Maker()) == Outcome(answer=CREATED)


def test_planned_faults_befall_the_first_attempts_in_order() -> None:
    """Each attempt takes one fault; then all is well, and others are not concerned."""
    plan, make = FaultPlan(), Maker()
    plan.for_recipient(TO, [Fault.HTTP_429, "http_400:21610"])
    assert plan.play("+19085551313", make).answer == CREATED
    assert [code(plan.play(TO, make)) for _ in range(2)] == [20429, 21610]
    assert make.made == 1
    assert plan.play(TO, make).answer == CREATED


def test_a_later_plan_replaces_what_is_left_of_the_first() -> None:
    """Planning again does not add to the plan."""
    plan = FaultPlan()
    plan.for_recipient(TO, [Fault.HTTP_429, Fault.HTTP_429])
    plan.for_recipient(TO, [])
    assert plan.play(TO, Maker()).answer == CREATED


@pytest.mark.parametrize(
    ("fault", "makes", "status"),
    [
        (Fault.HTTP_400, False, 400),
        (Fault.HTTP_401, False, 401),
        (Fault.HTTP_429, False, 429),
        (Fault.HTTP_500, False, 500),
        (Fault.HTTP_500_MADE, True, 500),
        (Fault.HTTP_503, False, 503),
        (Fault.HTTP_503_MADE, True, 503),
        (Fault.SLOW, True, 201),
        (Fault.RESET, True, None),
        (Fault.HANG, True, None),
        (Fault.CUT, True, 201),
        (Fault.REFUSE, False, None),
        (Fault.UNREACHABLE, False, None),
    ],
)
def test_each_fault_does_what_it_says(fault: Fault, makes: bool, status: int | None) -> None:
    """A fault decides whether the message exists, and what the client gets to know of it."""
    plan, make = FaultPlan(), Maker()
    plan.for_recipient(TO, [fault])
    outcome = plan.play(TO, make)
    assert make.made == makes
    assert (outcome.answer and outcome.answer.status) == status
    assert (outcome.delay > 0) == (fault in (Fault.SLOW, Fault.HANG))


def test_every_fault_has_an_effect() -> None:
    """The table is complete."""
    assert set(EFFECTS) == set(Fault)


def test_a_fault_may_carry_a_number() -> None:
    """The number is the code of a refusal or the seconds of a delay."""
    assert parse_fault(Fault.HTTP_400.numbered(21610)).code == 21610
    assert parse_fault(Fault.SLOW.numbered(0.25)).delay == 0.25
    assert parse_fault("hang:3").delay == 3.0
    assert parse_fault("http_500:20500") == EFFECTS[Fault.HTTP_500]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http_402",
        "HTTP_429",
        "http_400:",
        "http_400:abc",
        "http_400:1",
        "slow:",
        "slow:-1",
        "slow:nan",
        "slow:inf",
        "reset:5",
        "refuse:0",
        "hang:-1",
        "cut:1",
        "unreachable:1",
    ],
)
def test_what_is_not_a_fault_is_refused(text: str) -> None:
    """A plan with a spelling mistake does not start."""
    with pytest.raises(ValueError, match=r".+"):
        FaultPlan().for_recipient(TO, [text])


@pytest.mark.parametrize(
    "share", [{"http_429": 1.1}, {"http_429": -0.1}, {"http_429": 0.6, "reset": 0.6}, {"no": 0.1}]
)
def test_shares_that_do_not_fit_are_refused(share: dict[str, float]) -> None:
    """Shares are parts of one whole."""
    with pytest.raises(ValueError, match=r".+"):
        FaultPlan(share)


def test_shares_are_kept_on_the_whole() -> None:
    """Over many recipients each fault happens about as often as its share says."""
    plan = FaultPlan({Fault.HTTP_429: 0.1, Fault.HTTP_500: 0.2}, seed=1)
    codes = [code(plan.play(f"+1908555{number:04}", Maker())) for number in range(4000)]
    assert 320 < codes.count(20429) < 480
    assert 690 < codes.count(20500) < 910


def test_chance_can_be_changed_and_ended() -> None:
    """New shares hold from the next request on."""
    plan = FaultPlan({Fault.HTTP_429: 1.0})
    assert code(plan.play(TO, Maker())) == 20429
    plan.set_share({Fault.HTTP_500: 1.0})
    assert code(plan.play(TO, Maker())) == 20500
    plan.set_share({})
    assert plan.play(TO, Maker()).answer == CREATED


@settings(deadline=None)
@given(seed=st.integers(), order=st.permutations([TO, TO, TO, "+19085551313", "+19085551414"]))
def test_the_same_seed_gives_each_recipient_the_same_faults(seed: int, order: list[str]) -> None:
    """The order in which recipients come makes no difference to any of them."""

    def faults(recipients: list[str]) -> dict[str, list[int | None]]:
        plan = FaultPlan({Fault.HTTP_429: 0.5}, seed=seed)
        found: dict[str, list[int | None]] = {}
        for to in recipients:
            found.setdefault(to, []).append(code(plan.play(to, Maker())))
        return found

    assert faults(order) == faults(sorted(order))


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Fault.HTTP_500_MADE, Ending.ANSWERED),
        (Fault.RESET, Ending.RESET),
        (Fault.REFUSE, Ending.RESET),
        (Fault.HANG, Ending.SILENT),
        (Fault.CUT, Ending.CUT),
        (Fault.UNREACHABLE, Ending.UNREACHABLE),
    ],
)
def test_each_fault_ends_in_its_own_way(fault: Fault, ending: Ending) -> None:
    """An exchange is answered, cut, silent, reset, or never begun."""
    plan = FaultPlan({fault: 1.0})
    assert plan.play(TO, Maker()).ending is ending


def test_a_burst_befalls_every_request_in_a_row() -> None:
    """Whoever asks, and whatever for; what was planned waits until it is over."""
    plan = FaultPlan()
    plan.for_recipient(TO, [Fault.HTTP_500])
    plan.burst(Fault.HTTP_429, requests=3)
    outcomes = [
        plan.play(TO, Maker()),
        plan.play("+19085551313", Maker()),
        plan.ask("list", Maker()),
    ]
    assert [code(outcome) for outcome in outcomes] == [20429] * 3
    assert code(plan.play(TO, Maker())) == 20500
    assert plan.ask("list", Maker()).answer == CREATED


def test_a_burst_lasts_until_it_is_ended() -> None:
    """Where no number of requests is said."""
    plan = FaultPlan()
    plan.burst(Fault.UNREACHABLE)
    assert {plan.ask("list", Maker()).ending for _ in range(20)} == {Ending.UNREACHABLE}
    plan.end_burst()
    assert plan.ask("list", Maker()).ending is Ending.ANSWERED


def test_requests_that_ask_have_chances_of_their_own() -> None:
    """Those that make messages are not concerned, nor counted."""
    plan = FaultPlan(asking={Fault.HTTP_503: 0.2}, seed=1)
    codes = [code(plan.ask(f"list {number}", Maker())) for number in range(2000)]
    assert 320 < codes.count(20503) < 480
    again = FaultPlan(asking={Fault.HTTP_503: 0.2}, seed=1)
    assert [code(again.ask(f"list {number}", Maker())) for number in range(2000)] == codes
    assert plan.play(TO, Maker()).answer == CREATED
    assert plan.attempts == {TO: 1}


def test_attempts_are_counted_by_recipient_across_threads() -> None:
    """Every request counts, also those that faults keep from happening."""
    plan = FaultPlan()
    plan.for_recipient(TO, [Fault.REFUSE] * 10)

    def send() -> None:
        for _ in range(100):
            plan.play(TO, Maker())

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert plan.attempts == {TO: 400}
