"""Dates in lists of wishes, as programs and spreadsheets write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.preference import read_date

DAY = datetime(2026, 3, 2, tzinfo=UTC)
MOMENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-02", DAY),
        ("20260302", DAY),
        ("2026-W10-1", DAY),
        (" 2026-03-02 ", DAY),
        ("2026-03-02T09:30", MOMENT),
        ("2026-03-02 09:30:00", MOMENT),
        ("2026-03-02T09:30:00Z", MOMENT),
        ("2026-03-02T09:30:00+0000", MOMENT),
        ("2026-03-02T10:30:00+01:00", MOMENT),
        ("2026-03-02T00:30:00.000-09:00", MOMENT),
        ("20260302T093000Z", MOMENT),
        ("2026-03-02T09:30:00.123456789Z", MOMENT + timedelta(microseconds=123_456)),
        ("1772443800", MOMENT),
        ("1772443800.0", MOMENT),
        ("1772443800000", MOMENT),
        ("1772443800123", MOMENT + timedelta(milliseconds=123)),
        ("1.7724438e9", MOMENT),
        ("946684800", datetime(2000, 1, 1, tzinfo=UTC)),
        ("946684800000", datetime(2000, 1, 1, tzinfo=UTC)),
        ("9999-12-31", datetime(9999, 12, 31, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_date_is_iso_8601_or_a_number_since_1970(text: str, moment: datetime) -> None:
    """Without a zone it is in UTC; seconds and milliseconds are told apart by their size."""
    found = read_date(text)
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", " ", "yesterday", "03/02/2026", "02.03.2026", "2026-02-30", "2026-13-01", "09:30", "2026", "202603",
     "Mon, 02 Mar 2026 09:30:00 +0000", "2026-03-02T25:00", "2026_03_02", "0", "1", "-1", "-1772443800", "46083",
     "46083.4", "20261301", "20260302093000", "1772443800123456", "1e300", "-1e300", "1e400", "inf", "-inf", "nan",
     "NaN", "0x69a5", "\uff11", "null", "2026-03-02T09:30:00Z[UTC]", "9999-12-31T23:59:59-01:00",
     "0001-01-01T00:00:00+01:00", "2026-03-02\x00"],
)  # fmt: skip
def test_what_is_no_date_is_none(text: str) -> None:
    """Years, spreadsheets' days, other orders, and what lies outside all calendars: nothing is guessed."""
    assert read_date(text) is None


@given(text=st.text() | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_date_or_none(text: str) -> None:
    """And never an error."""
    found = read_date(text)
    assert found is None or found.tzinfo is UTC
