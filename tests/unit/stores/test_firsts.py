"""What was seen first on which row of a file: in one batch, over many, and nothing left of it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.stores.firsts import TemporaryFirsts

NUMBER, OTHER = 12015550101, 12015550102


@pytest.fixture
def firsts() -> Iterator[TemporaryFirsts]:
    """Give an empty memory, closed after the test."""
    made = TemporaryFirsts()
    yield made
    made.close()


def test_what_is_seen_for_the_first_time_was_not_there_before(firsts: TemporaryFirsts) -> None:
    """Each of its kind."""
    assert firsts.add([(NUMBER, 1, 7), (OTHER, 2, 7), ("g", 3, 7)]) == [None, None, None]


def test_what_stands_twice_in_a_batch_is_known_the_second_time(firsts: TemporaryFirsts) -> None:
    """By the row and the mark of the first."""
    batch = [(NUMBER, 1, 7), (OTHER, 2, 8), (NUMBER, 3, 9), (NUMBER, 4, 7), (OTHER, 5, 5)]
    assert firsts.add(batch) == [None, None, (1, 7), (1, 7), (2, 8)]


def test_what_stands_in_a_later_batch_is_known(firsts: TemporaryFirsts) -> None:
    """The first one stays the first."""
    assert firsts.add([(NUMBER, 1, 7)]) == [None]
    assert firsts.add([(NUMBER, 2, 8), (OTHER, 3, 9)]) == [(1, 7), None]
    assert firsts.add([(NUMBER, 4, 0), (OTHER, 5, 0)]) == [(1, 7), (3, 9)]
    assert firsts.add([(OTHER, 6, 0), (OTHER + 1, 7, 1), (OTHER + 1, 8, 2)]) == [
        (3, 9),
        None,
        (7, 1),
    ]


def test_a_number_is_no_text(firsts: TemporaryFirsts) -> None:
    """Though it is written the same; texts are told apart to the letter."""
    seen: list[str | int] = [
        NUMBER,
        str(NUMBER),
        f"+{NUMBER}",
        "g",
        "G",
        "g ",
        "é",
        "e\u0301",
        "",
        "\0",
        "g\0",
    ]
    assert firsts.add([(what, row, 0) for row, what in enumerate(seen, 1)]) == [None] * len(seen)
    again = firsts.add([(what, row, 0) for row, what in enumerate(seen, 100)])
    assert again == [(row, 0) for row in range(1, len(seen) + 1)]


def test_long_numbers_are_kept_to_the_last_digit(firsts: TemporaryFirsts) -> None:
    """E.164 has fifteen; marks have 32 bits."""
    most = 999_999_999_999_999
    assert firsts.add([(most, 1, 2**32 - 1), (most - 1, 2, 0)]) == [None, None]
    assert firsts.add([(most - 1, 10**9, 5), (most, 10**9 + 1, 5)]) == [(2, 0), (1, 2**32 - 1)]


def test_an_empty_batch_is_none(firsts: TemporaryFirsts) -> None:
    """Nothing is seen in it."""
    assert firsts.add([]) == []
    assert firsts.add([(NUMBER, 1, 0)]) == [None]
    assert firsts.add([]) == []


def test_two_memories_share_nothing(firsts: TemporaryFirsts) -> None:
    """Each is for one pass over one file."""
    firsts.add([(NUMBER, 1, 0)])
    other = TemporaryFirsts()
    assert other.add([(NUMBER, 2, 0)]) == [None]
    other.close()
    assert firsts.add([(NUMBER, 3, 0)]) == [(1, 0)]


def test_nobody_else_can_look_at_it(firsts: TemporaryFirsts) -> None:
    """Its folder is its owner's."""
    firsts.add([(NUMBER, 1, 0)])
    folder = Path(firsts._folder.name)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_left_of_it() -> None:
    """Neither the file nor its folder, whatever it held; closing it twice is no error."""
    firsts = TemporaryFirsts()
    folder = Path(firsts._folder.name)
    for start in range(0, 50_000, 5_000):
        batch = [(f"guid-{number}" * 4, number, 0) for number in range(start, start + 5_000)]
        assert firsts.add(batch) == [None] * 5_000
    assert [*folder.iterdir()]
    firsts.close()
    assert not folder.exists()
    firsts.close()


seen = st.integers(1, 9) | st.sampled_from(["1", "2", "a", "A", "é", "\0", ""])


@given(
    whats=st.lists(seen, max_size=40),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=9),
    marks=st.lists(st.integers(0, 2**32 - 1), min_size=40, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_it_remembers_as_a_dictionary_does(
    whats: list[int | str], sizes: list[int], marks: list[int]
) -> None:
    """In whatever batches the rows come."""
    rows = iter([(what, row, marks[row]) for row, what in enumerate(whats)])
    firsts, known = TemporaryFirsts(), dict[int | str, tuple[int, int]]()
    try:
        for size in [*sizes, len(whats)]:
            batch = [*islice(rows, size)]
            expected: list[tuple[int, int] | None] = []
            for what, row, mark in batch:
                expected.append(known.get(what))
                known.setdefault(what, (row, mark))
            assert firsts.add(batch) == expected
    finally:
        firsts.close()
