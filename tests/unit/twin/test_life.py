"""The life of a message: turns, queues and ends."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.twin.life import (
    TURN_SECONDS,
    Fate,
    Life,
    QueueFull,
    Queues,
    parse_fate,
    settle,
)
from ci360_twilio.twin.message import MessageStatus

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
PLACE = ("AC1", "+12015550199")
FATES = ["delivered", "read", "sent", "undelivered:30003", "undelivered", "failed:30007"]


def join(queues: Queues, life: Life, segments: int = 1, validity: float = 36_000.0) -> float | None:
    """Join the queue at noon; give the seconds to the turn."""
    turn = queues.join(life, PLACE, NOON, segments=segments, validity=validity)
    return None if turn is None else (turn - NOON).total_seconds()


@pytest.mark.parametrize(
    ("text", "last", "code"),
    [
        ("delivered", MessageStatus.DELIVERED, None),
        ("read", MessageStatus.READ, None),
        ("sent", MessageStatus.SENT, None),
        ("undelivered:30003", MessageStatus.UNDELIVERED, 30003),
        ("undelivered", MessageStatus.UNDELIVERED, 30008),
        ("failed:30007", MessageStatus.FAILED, 30007),
    ],
)
def test_a_fate_is_read(text: str, last: MessageStatus, code: int | None) -> None:
    """It names the last status, and a failure's code."""
    fate = parse_fate(text)
    assert (fate.statuses[-1], fate.code) == (last, code)


@pytest.mark.parametrize("text", ["", "lost", "delivered:30003", "failed:1", "failed:", "sent:"])
def test_what_is_not_a_fate_is_refused(text: str) -> None:
    """A spelling mistake is told."""
    with pytest.raises(ValueError, match=r".+"):
        parse_fate(text)


@pytest.mark.parametrize(
    "members",
    [
        {"rate": 0.0},
        {"rate": float("inf")},
        {"rates": {"+12015550199": -1.0}},
        {"queue_seconds": -1.0},
        {"until_sent": -1.0},
        {"until_final": float("nan")},
        {"fates": {"failed": 1.1}},
        {"fates": {"failed": 0.6, "sent": 0.6}},
        {"fates": {"lost": 0.1}},
    ],
)
def test_a_life_that_cannot_be_is_refused(members: dict[str, Any]) -> None:
    """Rates, times and shares have bounds."""
    with pytest.raises(ValueError, match=r".+"):
        Life(**members)


@given(seed=st.integers(), text=st.sampled_from(FATES), life=st.sampled_from([0.0, 1.5, 60.0]))
def test_steps_follow_each_other_within_their_bounds(seed: int, text: str, life: float) -> None:
    """From the turn on each status comes after the one before, and only the last carries a code."""
    fate, lives = parse_fate(text), Life(until_sent=life, until_final=life)
    steps = settle(lives, fate, NOON, random.Random(seed))
    times = [step.at for step in steps]
    assert times == sorted(times)
    assert NOON <= times[0] <= NOON + timedelta(seconds=TURN_SECONDS)
    assert times[-1] - times[0] <= timedelta(seconds=life * (len(steps) - 1))
    assert tuple(step.status for step in steps) == (MessageStatus.SENDING, *fate.statuses)
    assert [step.code for step in steps] == [None] * (len(steps) - 1) + [fate.code]
    assert settle(lives, fate, NOON, random.Random(seed)) == steps


def test_fates_are_met_as_often_as_their_shares_say() -> None:
    """What is left of the shares is delivered."""
    life, chance = Life(fates={"undelivered:30003": 0.2, "failed": 0.1}), random.Random(1)
    met = [life.draw(chance) for _ in range(4000)]
    assert 690 < met.count(parse_fate("undelivered:30003")) < 910
    assert 320 < met.count(parse_fate("failed")) < 480
    assert met.count(parse_fate("delivered")) > 2600


def test_without_shares_all_are_delivered() -> None:
    """That is the ordinary fate."""
    assert Life().draw(random.Random(1)) == Fate(
        (MessageStatus.SENT, MessageStatus.DELIVERED), None
    )


def test_turns_come_as_fast_as_the_rate_says() -> None:
    """Each message waits for the segments before it; an idle queue makes nobody wait."""
    queues, life = Queues(), Life(rate=2.0)
    assert [join(queues, life, segments) for segments in (1, 3, 1)] == [0.0, 0.5, 2.0]
    assert queues.join(life, ("AC1", "other"), NOON, segments=1, validity=1.0) == NOON
    later = NOON + timedelta(seconds=60)
    assert queues.join(life, PLACE, later, segments=1, validity=1.0) == later


def test_without_a_rate_nobody_waits() -> None:
    """There is no queue then."""
    queues = Queues()
    assert [join(queues, Life(queue_seconds=0.0), 10) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_sender_may_have_a_rate_of_its_own() -> None:
    """It comes before the account's."""
    queues, life = Queues(), Life(rate=1.0, rates={PLACE[1]: 10.0})
    assert [join(queues, life) for _ in range(2)] == [0.0, 0.1]


def test_a_full_queue_takes_no_more_and_counts() -> None:
    """What would wait longer than the queue lasts is turned away; room comes with time."""
    queues, life = Queues(), Life(rate=1.0, queue_seconds=2.0)
    assert [join(queues, life) for _ in range(3)] == [0.0, 1.0, 2.0]
    for _ in range(2):
        with pytest.raises(QueueFull):
            join(queues, life)
    assert queues.overflows == {PLACE[1]: 2}
    later = NOON + timedelta(seconds=1)
    assert queues.join(life, PLACE, later, segments=1, validity=9.0) == NOON + timedelta(seconds=3)


def test_what_expires_before_its_turn_takes_no_room() -> None:
    """Those behind it wait no longer for it."""
    queues, life = Queues(), Life(rate=1.0)
    assert join(queues, life, 5) == 0.0
    assert join(queues, life, validity=4.0) is None
    assert join(queues, life, validity=5.0) == 5.0
