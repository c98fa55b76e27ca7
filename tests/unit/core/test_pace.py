"""Budgets of senders: what may go now, and what has to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.pace import LATE, MOST_SEGMENTS, Rate, spend

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Give the moment that many seconds later."""
    return NOW + timedelta(seconds=seconds)


def spent(rate: Rate, *calls: tuple[float, int]) -> list[bool]:
    """Tell which calls got what they asked for, each a time and a number of segments."""
    full_at, got = None, []
    for second, segments in calls:
        after = spend(full_at, at(second), rate, segments)
        got.append(after is not None)
        full_at = after or full_at
    return got


def test_a_fresh_budget_holds_what_a_second_yields() -> None:
    """No more goes at once."""
    assert spent(Rate("a", 5.0), *[(0, 1)] * 7) == [True] * 5 + [False] * 2


def test_a_budget_fills_with_time() -> None:
    """A fifth of a second for each of five segments; never beyond what it holds."""
    calls = [(0, 5), (0.19, 1), (0.2, 1), (0.3, 1), (0.4, 1), (600, 5), (600, 1)]
    assert spent(Rate("a", 5.0), *calls) == [True, False, True, False, True, True, False]


def test_a_slow_budget_holds_one_segment() -> None:
    """Whatever a second yields."""
    calls = [(0, 1), (9.9, 1), (10, 1), (20, 1)]
    assert spent(Rate("a", 0.1), *calls) == [True, False, True, True]


def test_a_long_message_goes_when_the_budget_is_full() -> None:
    """And what it overdraws is waited for: ten segments cost ten seconds."""
    calls = [(0, 1), (0.5, 10), (1, 10), (10.9, 1), (11, 1)]
    assert spent(Rate("a", 1.0), *calls) == [True, False, True, False, True]


def test_a_budget_is_kept_as_one_moment() -> None:
    """When it will be full again."""
    assert spend(None, NOW, Rate("a", 4.0), 2) == at(0.5)
    assert spend(at(0.5), NOW, Rate("a", 4.0), 1) == at(0.75)
    assert spend(at(-60), NOW, Rate("a", 4.0), 1) == at(0.25)


@pytest.mark.parametrize("per_second", [0.01, 1.0, 100.0, 10_000.0])
def test_a_clock_that_was_set_back_does_not_stop_a_sender(per_second: float) -> None:
    """What was written beyond the wait for the longest message is of a time that is to come."""
    rate = Rate("a", per_second)
    wait = timedelta(seconds=(max(per_second, 1.0) + MOST_SEGMENTS) / per_second)
    assert spend(NOW + wait, NOW, rate, 1) is None
    assert spend(NOW + 2 * wait, NOW, rate, 1) == spend(None, NOW, rate, 1)


def test_budgets_are_told_apart_by_their_name() -> None:
    """Senders may share one; its rate is no part of it."""
    assert Rate("a", 1.0).place == Rate("a", 2.0).place
    assert Rate("a", 1.0).place != Rate("b", 1.0).place


@given(
    per_second=st.sampled_from([0.01, 0.5, 1.0, 3.0, 100.0, 10_000.0]),
    calls=st.lists(
        st.tuples(st.floats(0, 5, allow_nan=False), st.integers(1, MOST_SEGMENTS)), max_size=60
    ),
)
@settings(max_examples=200, deadline=None)
def test_a_budget_is_never_overdrawn_beyond_one_message(
    per_second: float, calls: list[tuple[float, int]]
) -> None:
    """In no span goes more than it yields, what it holds, and one message's overdraft.

    A bucket that was full a moment ago counts from then: once in a span that yields more.
    """
    rate = Rate("a", per_second)
    now, full_at, went = 0.0, None, list[tuple[float, int]]()
    for pause, segments in calls:
        now += pause
        after = spend(full_at, at(now), rate, segments)
        if after is not None:
            went.append((now, segments))
            full_at = after
    holds = max(per_second, 1.0)
    for first, (start, _) in enumerate(went):
        for last in range(first, len(went)):
            span = went[last][0] - start + LATE.total_seconds()
            overdraft = max(went[last][1] - holds, 0)
            total = sum(segments for _, segments in went[first : last + 1])
            assert total <= holds + span * per_second + overdraft + 0.01 * (last + 1)
