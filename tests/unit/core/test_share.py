"""Messages that look alike and entries that do: who gets which, and when nobody does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.match import Listed
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.share import MOST_ALIKE, Verdict, Wish, assign, share
from ci360_twilio.core.tenant import TenantId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ONE = TenantId("one")


def row(name: str, minute: int | None = 0) -> Listed:
    """Give a row of Twilio's list, made a minute after noon, or without a date."""
    made = None if minute is None else NOON + timedelta(minutes=minute)
    return Listed(receipt=Receipt(sid=name, status="sent"), to="+12015550142", created_at=made)


def wish(guid: str, *rows: Listed, status: Status = Status.UNKNOWN, minute: int = 0) -> Wish:
    """Give an entry that was first sent a minute after noon, with what may be its own."""
    entry = Entry(
        key=key_of(ONE, guid),
        tenant_id=ONE,
        guid=guid,
        status=status,
        created_at=NOON,
        due_at=NOON,
        expires_at=NOON + timedelta(days=1),
        purge_at=NOON + timedelta(days=90),
        started_at=NOON + timedelta(minutes=minute),
    )
    return Wish(entry, rows)


def got(wishes: Sequence[Wish], who: int, *, last: bool = False) -> str:
    """Give the SID that one of them gets, or the verdict."""
    others = [one for number, one in enumerate(wishes) if number != who]
    verdict, receipt = share(wishes[who], others, last=last)
    return receipt.sid if receipt else verdict


def test_the_only_message_goes_to_the_only_entry() -> None:
    """Nothing else looks like either."""
    assert got([wish("a", row("R1"))], 0) == "R1"


def test_several_messages_for_one_entry_are_left_to_a_person() -> None:
    """One is a stranger's, and it could be either."""
    alone = [wish("a", row("R1"), row("R2"))]
    assert got(alone, 0) == Verdict.SEVERAL
    assert got(alone, 0, last=True) == Verdict.SEVERAL


def test_as_many_messages_as_entries_are_given_out_by_age() -> None:
    """Whoever asks, the assignment is the same, so that nothing is taken twice."""
    rows = row("R9", 1), row("R1", 2), row("R5", 3)
    wishes = [wish("c", *rows, minute=1), wish("a", *rows, minute=2), wish("b", *rows, minute=2)]
    assert [got(wishes, who) for who in range(3)] == ["R9", "R1", "R5"]


def test_messages_without_a_date_are_given_out_last() -> None:
    """They may be of any time."""
    rows = row("R1", None), row("R2", 5)
    wishes = [wish("a", *rows, minute=1), wish("b", *rows, minute=2)]
    assert [got(wishes, who) for who in range(2)] == ["R2", "R1"]


def test_who_may_have_either_leaves_the_other_what_it_needs() -> None:
    """The older one may have both, the younger one only the first."""
    wishes = [wish("a", row("R1", 1), row("R2", 2)), wish("b", row("R1", 1), minute=1)]
    assert [got(wishes, who) for who in range(2)] == ["R2", "R1"]


def test_with_fewer_messages_than_entries_nobody_takes_any_yet() -> None:
    """The list may lag; the one message may be the other's."""
    wishes = [wish("a", row("R1")), wish("b", row("R1"), minute=1)]
    assert [got(wishes, who) for who in range(2)] == [Verdict.TOO_FEW] * 2


def test_at_last_the_oldest_take_what_there_is() -> None:
    """One message exists, so that one entry has it; the other gets none."""
    wishes = [wish("a", row("R1")), wish("b", row("R1"), minute=1)]
    assert got(wishes, 0, last=True) == "R1"
    assert got(wishes, 1, last=True) == Verdict.NONE


def test_more_messages_than_entries_are_left_to_a_person() -> None:
    """Two entries, three messages: one is a stranger's."""
    rows = row("R1"), row("R2"), row("R3")
    wishes = [wish("a", *rows), wish("b", *rows)]
    assert [got(wishes, who) for who in range(2)] == [Verdict.SEVERAL] * 2


def test_who_may_have_only_one_takes_it_though_there_are_more_for_others() -> None:
    """If its message was made at all it is that one."""
    wishes = [wish("a", row("R1")), wish("b", row("R1"), row("R2"), row("R3"))]
    assert got(wishes, 0) == "R1"
    assert got(wishes, 1) == Verdict.SEVERAL


def test_while_an_equal_is_being_sent_everybody_waits() -> None:
    """What is listed may be the one under way; soon its answer tells. Even the last time waits."""
    wishes = [wish("a", row("R1")), wish("b", row("R1"), status=Status.SENDING)]
    assert got(wishes, 0) == got(wishes, 0, last=True) == Verdict.TOO_FEW


def test_entries_that_look_different_do_not_count() -> None:
    """Same recipient, another text: their messages are no candidates of each other's."""
    other = wish("b", row("R2"), status=Status.SENDING)
    assert got([wish("a", row("R1")), other, wish("c")], 0) == "R1"


def test_equals_of_equals_count() -> None:
    """Three entries in a chain have three messages, though the first may have only two of them."""
    wishes = [
        wish("a", row("R1", 1), row("R2", 2), minute=1),
        wish("b", row("R2", 2), row("R3", 3), minute=2),
        wish("c", row("R3", 3), minute=3),
    ]
    assert [got(wishes, who) for who in range(3)] == ["R1", "R2", "R3"]


def test_a_crowd_is_left_to_a_person_in_the_end() -> None:
    """Whoever sends one text a hundred times to one recipient tests something."""
    rows = [row(f"R{number}") for number in range(MOST_ALIKE + 1)]
    wishes = [wish(f"{number}", *rows) for number in range(MOST_ALIKE + 1)]
    assert got(wishes, 0) == Verdict.TOO_FEW
    assert got(wishes, 0, last=True) == Verdict.SEVERAL


def test_a_crowd_of_the_most_is_served() -> None:
    """Each gets its own."""
    rows = [row(f"R{number:03}", number) for number in range(MOST_ALIKE)]
    wishes = [wish(f"{number:03}", *rows, minute=number) for number in range(MOST_ALIKE)]
    assert [got(wishes, who) for who in (0, 50, 99)] == ["R000", "R050", "R099"]


@given(st.lists(st.lists(st.sampled_from("vwxy"), unique=True, max_size=4), max_size=4))
def test_as_many_as_possible_are_served_and_nothing_is_given_twice(wishes: list[list[str]]) -> None:
    """Compared with every other way of giving out."""
    served = assign(wishes)
    things = [thing for thing in served if thing]
    assert len(set(things)) == len(things)
    assert all(thing is None or thing in mine for thing, mine in zip(served, wishes, strict=True))
    ways = permutations([*"vwxy", *[None] * len(wishes)], len(wishes))
    best = max(sum(thing in mine for thing, mine in zip(way, wishes, strict=True)) for way in ways)
    assert len(things) == best


@given(st.lists(st.lists(st.sampled_from("vwxyz"), unique=True, max_size=5), max_size=6))
def test_who_comes_later_never_takes_what_an_earlier_one_needs(wishes: list[list[str]]) -> None:
    """Who is served among the first few is served among all."""
    everybody = [thing is not None for thing in assign(wishes)]
    for number in range(len(wishes)):
        first = [thing is not None for thing in assign(wishes[:number])]
        assert everybody[:number] == first
