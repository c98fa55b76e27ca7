"""How pages write numbers, times and states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.console import entry

from ci360_twilio.core.entry import Status
from ci360_twilio.edge.console.words import (
    badge,
    message_path,
    moment,
    path_of,
    plural,
    share,
    span,
)

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (1, 2, "50.0 %"),
        (2, 2, "100 %"),
        (0, 2, "0 %"),
        (999_999, 1_000_000, "99.9 %"),
        (1, 1_000_000, "0.1 %"),
        (0, 0, ""),
    ],
)
def test_a_share_is_never_all_or_nothing_unless_it_is(part: int, whole: int, words: str) -> None:
    """One message that failed among a million is to be seen."""
    assert share(part, whole) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (65, "1 min 05 s"), (3_660, "1 h 01 min"), (90_000, "1 d 01 h")],
)
def test_a_span_has_two_units_at_most(seconds: int, words: str) -> None:
    """Nobody needs the seconds of a day."""
    assert span(timedelta(seconds=seconds)) == words


def test_what_is_not_known_is_a_dash() -> None:
    """Not a zero."""
    assert span(None) == "–"
    assert moment(None) == "&ndash;"


def test_a_moment_is_for_people_and_machines() -> None:
    """Both in UTC."""
    assert moment(NOW) == '<time datetime="2026-03-02T09:30:00Z">2026-03-02 09:30:00</time>'


@pytest.mark.parametrize("status", Status)
def test_a_status_is_told_by_its_word(status: Status) -> None:
    """The colour is beside it."""
    assert f">{status}</span>" in badge(status)


def test_a_status_of_a_later_version_is_shown_as_text() -> None:
    """Whatever it holds."""
    assert badge("<b>") == '<span class="badge quiet">&lt;b&gt;</span>'


def test_numbers_agree_with_their_nouns() -> None:
    """One message, two messages."""
    assert (plural(1, "message"), plural(2_000, "message")) == ("1 message", "2,000 messages")


@pytest.mark.parametrize("guid", ["a/b", "a?b=c#d", "a b", "é", "a%2Fb", "&x=1"])
def test_a_guid_of_any_kind_is_one_part_of_an_address(guid: str) -> None:
    """CI360 makes UUIDs; others may make what they like."""
    path = path_of(guid, "mine").removeprefix("/messages/")
    assert set(path.partition("?")[0]) & set("/?#& ") == set()
    assert message_path(entry(guid, NOW)).endswith("?tenant=mine")
