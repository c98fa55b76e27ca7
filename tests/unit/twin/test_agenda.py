"""What is to happen, in the order of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.twin.agenda import Agenda

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def at(second: int) -> datetime:
    """Give a time after noon."""
    return NOON + timedelta(seconds=second)


@given(seconds=st.lists(st.integers(0, 5)), now=st.integers(0, 5))
def test_items_come_by_time_and_then_as_they_were_put(seconds: list[int], now: int) -> None:
    """What is due comes in a stable order, and the rest stays."""
    agenda: Agenda[int] = Agenda()
    for number, second in enumerate(seconds):
        agenda.put(at(second), number)
    due = [number for _, number in agenda.until(at(now))]
    assert due == sorted(
        (n for n in range(len(seconds)) if seconds[n] <= now), key=seconds.__getitem__
    )
    later = [second for second in seconds if second > now]
    assert len(agenda) == len(later)
    assert agenda.next_at == (at(min(later)) if later else None)


def test_what_is_put_down_meanwhile_comes_too() -> None:
    """An item may lead to others that are due at once."""
    agenda: Agenda[str] = Agenda()
    agenda.put(at(0), "first")
    seen = []
    for due, item in agenda.until(at(9)):
        seen.append(item)
        if item == "first":
            agenda.put(due + timedelta(seconds=1), "second")
            agenda.put(at(10), "third")
    assert seen == ["first", "second"]
