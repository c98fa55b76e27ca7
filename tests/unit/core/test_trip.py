"""The rule of thumb by which a sender's final statuses pause it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.core.codes import SENDER_TROUBLE
from ci360_twilio.core.receipt import ProviderStatus, Receipt
from ci360_twilio.core.trip import LEAST, MOST, PROBES, SPAN, Recent, trouble_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FILTERED, UNREGISTERED = 30007, 30034


def receipt(status: str = "undelivered", code: int | None = FILTERED) -> Receipt:
    """Make a final receipt, of a filtered message unless told."""
    return Receipt(sid="SM" + "0" * 32, status=status, error_code=code)


BAD, GOOD = receipt(), receipt("delivered", None)


def after(receipts: Iterable[Receipt], apart: timedelta = timedelta(seconds=1)) -> Recent:
    """Give what is remembered after some receipts, the first of them at noon."""
    recent = Recent()
    for number, one in enumerate(receipts):
        recent = recent.add(one, NOON + number * apart)
    return recent


def test_nothing_is_concluded_from_few() -> None:
    """Nineteen filtered messages may be chance; with the twentieth it is enough."""
    recent = after([BAD] * (LEAST - 1))
    assert recent.trouble is None
    assert recent.add(BAD, NOON).trouble == FILTERED


@pytest.mark.parametrize(
    ("bad", "good", "trips"),
    [(10, 10, False), (11, 9, True), (20, 20, False), (21, 19, True), (0, 40, False)],
)
def test_more_than_half_must_speak_against_the_sender(bad: int, good: int, trips: bool) -> None:
    """Half is not enough, in whatever order they came."""
    for receipts in ([BAD] * bad + [GOOD] * good, [GOOD] * good + [BAD] * bad):
        assert (after(receipts).trouble is not None) is trips


def test_only_the_last_ones_are_looked_at() -> None:
    """A sender with a long good day is seen as soon as it is filtered; one that recovers, too."""
    assert after([GOOD] * 500 + [BAD] * 20).trouble is None
    assert after([GOOD] * 500 + [BAD] * 21).trouble == FILTERED
    assert after([BAD] * 500 + [GOOD] * 20).trouble is None
    assert len(after([GOOD] * 500).ends) == MOST


def test_old_ones_are_forgotten() -> None:
    """Thirty a day say nothing of today."""
    assert after([BAD] * 40, apart=SPAN / 15).trouble is None
    recent = after([BAD] * 19)
    assert recent.add(BAD, NOON + SPAN).trouble == FILTERED
    assert recent.add(BAD, NOON + SPAN + timedelta(minutes=1)).trouble is None


def test_the_most_frequent_code_is_named() -> None:
    """It is what a person will look up."""
    assert after([BAD] * 9 + [receipt(code=UNREGISTERED)] * 11).trouble == UNREGISTERED


@pytest.mark.parametrize("code", sorted(SENDER_TROUBLE))
@pytest.mark.parametrize("status", ["failed", "undelivered"])
def test_codes_about_the_sender_count(code: int, status: str) -> None:
    """In both final statuses that carry one."""
    assert trouble_of(receipt(status, code)) == code


@pytest.mark.parametrize("code", [None, 30003, 30005, 30008, 21610, 99999])
def test_other_failures_do_not_count_against_the_sender(code: int | None) -> None:
    """A dead handset, an opt-out or a carrier's hiccup is not the sender's."""
    assert trouble_of(receipt(code=code)) is None


@pytest.mark.parametrize("status", sorted(set(ProviderStatus) - {"failed", "undelivered"}))
def test_a_code_beside_another_status_does_not_count(status: str) -> None:
    """What arrived has arrived."""
    assert trouble_of(receipt(status, FILTERED)) is None


def test_a_value_is_not_changed_by_adding_to_it() -> None:
    """It gives another one."""
    recent = Recent()
    assert recent.add(BAD, NOON) != recent
    assert recent.ends == ()


def test_probes_are_a_quarter_of_an_hour_apart_and_up_to_four_hours() -> None:
    """Without jitter."""
    waits = [PROBES.wait(failures + 1, 0) for failures in range(7)]
    assert waits == [timedelta(minutes=minutes) for minutes in (15, 30, 60, 120, 240, 240, 240)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([GOOD, BAD, receipt(code=UNREGISTERED), receipt(code=30003)]),
            st.integers(0, 600),
        ),
        max_size=120,
    )
)
def test_it_trips_just_where_counting_by_hand_says(steps: list[tuple[Receipt, int]]) -> None:
    """Whatever comes in whatever intervals."""
    recent, at, told = Recent(), NOON, list[tuple[datetime, int | None]]()
    for one, seconds in steps:
        at += timedelta(seconds=seconds)
        told.append((at, trouble_of(one)))
        recent = recent.add(one, at)
        window = [code for when, code in told[-MOST:] if at - when <= SPAN]
        against = [code for code in window if code is not None]
        expected = len(window) >= LEAST and len(against) > len(window) / 2
        assert (recent.trouble is not None) is expected
        if expected:
            most = max(map(against.count, against))
            assert recent.trouble in {code for code in against if against.count(code) == most}
