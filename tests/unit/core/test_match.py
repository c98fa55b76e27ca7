"""Matching: which rows of Twilio's message list may be a message that is looked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.match import (
    Listed,
    Sought,
    candidates,
    matches,
    parse_listed,
    same_text,
)
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SID, OTHER = "SM" + "0a" * 16, "SM" + "0b" * 16
TO, FROM, SERVICE = "+12015550142", "+12015550199", "MG" + "3c" * 16
PICTURES = ("https://www.example.com/a.png", "https://www.example.com/b.png")
REDACTED = ["", None, " ", "***", "* * *", "\u2022\u2022\u2022", "[redacted]", "REDACTED"]


def row(**changes: Any) -> dict[str, Any]:
    """Give a row of the list as Twilio shows it; ``from_`` stands for ``from``."""
    members = {
        "sid": SID,
        "status": "sent",
        "error_code": None,
        "to": TO,
        "from": FROM,
        "messaging_service_sid": None,
        "body": "Hello",
        "num_media": "0",
        "direction": "outbound-api",
        "date_created": "Mon, 02 Mar 2026 12:00:00 +0000",
    }
    return members | {name.rstrip("_"): value for name, value in changes.items()}


def sought(**changes: Any) -> Sought:
    """Look for a message, made between 11 and 13 o'clock."""
    members = {"to": TO, "sender": FROM, "body": "Hello"} | changes
    hour = timedelta(hours=1)
    return Sought(message=Message(**members), since=NOON - hour, until=NOON + hour)


def found(what: Sought, **changes: Any) -> bool:
    """Tell whether a row may be the message."""
    listed = parse_listed(row(**changes))
    assert listed is not None
    return matches(what, listed)


# Rows


def test_a_row_is_read() -> None:
    """As far as matching needs it."""
    assert parse_listed(row(messaging_service_sid=SERVICE, num_media="2")) == Listed(
        receipt=Receipt(sid=SID, status="sent", sender=FROM, made=row()["date_created"]),
        to=TO,
        sender=FROM,
        service=SERVICE,
        body="Hello",
        media=2,
        created_at=NOON,
        outbound=True,
    )


def test_what_a_row_does_not_show_is_not_known() -> None:
    """A Messaging Service shows no sender at first; other members are missing for nobody's reason."""
    listed = parse_listed({"sid": SID, "to": TO, "from": None})
    assert listed == Listed(receipt=Receipt(sid=SID, status="accepted"), to=TO)


@pytest.mark.parametrize("changes", [{"sid": None}, {"sid": "SM/.."}, {"to": None}, {"to": 5}])
def test_a_row_that_names_no_message_or_no_recipient_is_none(changes: dict[str, Any]) -> None:
    """There is nothing to compare, or nothing to learn."""
    assert parse_listed(row(**changes)) is None


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("Mon, 02 Mar 2026 12:00:00 +0000", NOON),
        ("Mon, 02 Mar 2026 13:00:00 +0100", NOON),
        ("Mon, 02 Mar 2026 12:00:00 -0000", NOON),
        ("Mon, 02 Mar 2026 12:00:00", NOON),
        ("Mon, 02 Mar 2026 12:00:00 GMT", NOON),
        ("2026-03-02T12:00:00Z", None),
        ("Mon, 31 Feb 2026 12:00:00 +0000", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("Mon, 02 Mar 2026 12:00:00 +9999", None),
        ("9" * 5000, None),
        ("(" * 100_000, None),
        ("", None),
        (None, None),
        (1_772_452_800, None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_dates_are_of_rfc_2822_and_given_in_utc(written: object, moment: datetime | None) -> None:
    """Whatever is none is as if it were missing."""
    listed = parse_listed(row(date_created=written))
    assert listed
    assert listed.created_at == moment
    assert listed.created_at is None or listed.created_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("written", "count"),
    [("0", 0), ("3", 3), (3, 3), (None, None), ("", None), ("-1", None), (-1, None),
     ("\u0663", None), ("9" * 5000, None), (True, None), (1.5, None), ([], None)],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_media_are_counted_in_digits(written: object, count: int | None) -> None:
    """Twilio writes them as text."""
    listed = parse_listed(row(num_media=written))
    assert listed
    assert listed.media == count


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    changes=st.dictionaries(st.sampled_from([*row()]), json_values),
    body=st.text(),
    media=st.integers(0, 2),
)
@settings(max_examples=300, deadline=None)
def test_no_row_fails(changes: dict[str, Any], body: str, media: int) -> None:
    """What is read of it is of the types it says, and can be compared."""
    listed = parse_listed(row() | changes)
    if listed is not None:
        assert listed.created_at is None or listed.created_at.tzinfo is UTC
        assert listed.media is None or listed.media >= 0
        assert isinstance(matches(sought(body=body, media_urls=PICTURES[:media]), listed), bool)


# Matching


def test_the_message_itself_matches() -> None:
    """From a number, with everything shown."""
    assert found(sought())


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "+12015550143"},
        {"to": f"whatsapp:{TO}"},
        {"to": "+1201555XXXX"},
        {"from_": "+12015550198"},
        {"from_": SERVICE},
        {"body": "Hello!"},
        {"num_media": "1"},
        {"direction": "inbound"},
        {"date_created": "Mon, 02 Mar 2026 10:59:59 +0000"},
        {"date_created": "Mon, 02 Mar 2026 13:00:01 +0000"},
    ],
    ids=str,
)
def test_what_differs_in_what_is_shown_is_another_message(changes: dict[str, Any]) -> None:
    """Each member alone is enough."""
    assert not found(sought(), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"from_": None},
        {"from_": ""},
        {"body": None},
        {"num_media": None},
        {"direction": None},
        {"direction": "outbound-reply"},
        {"date_created": None},
        {"date_created": "yesterday"},
        {"date_created": "Mon, 02 Mar 2026 11:00:00 +0000"},
        {"date_created": "Mon, 02 Mar 2026 13:00:00 +0000"},
        {"messaging_service_sid": SERVICE},
    ],
    ids=str,
)
def test_what_is_not_shown_may_be_the_message(changes: dict[str, Any]) -> None:
    """Nor does it matter that the number is one of a service's."""
    assert found(sought(), **changes)


def test_addresses_of_channels_are_compared_whole() -> None:
    """Prefix included."""
    whatsapp = sought(to=f"whatsapp:{TO}", sender=f"whatsapp:{FROM}")
    assert found(whatsapp, to=f"whatsapp:{TO}", from_=f"whatsapp:{FROM}")
    assert not found(whatsapp, to=TO, from_=f"whatsapp:{FROM}")
    assert not found(whatsapp, to=f"whatsapp:{TO}", from_=FROM)


@pytest.mark.parametrize("chosen", [None, "", FROM, "+12015550198", "Shop", "rcs:brand"])
def test_whom_a_messaging_service_chooses_does_not_matter(chosen: str | None) -> None:
    """Nobody has yet, or anybody of its pool."""
    what = sought(sender=SERVICE)
    assert found(what, from_=chosen, messaging_service_sid=SERVICE)
    assert found(what, from_=chosen, messaging_service_sid=None)
    assert not found(what, from_=chosen, messaging_service_sid="MG" + "4d" * 16)


def test_senders_are_the_same_in_either_case() -> None:
    """A SID's digits and a name's letters may be written as the creative does, or as Twilio does."""
    assert found(sought(sender=SERVICE.replace("c", "C")), messaging_service_sid=SERVICE)
    assert found(sought(sender="My Shop"), from_="MY SHOP")


def test_media_are_compared_where_they_are_counted() -> None:
    """A Messaging Service counts none at first; from a number the count stands from the beginning."""
    own = sought(media_urls=PICTURES)
    assert found(own, num_media="2")
    assert found(own, num_media=None)
    assert not found(own, num_media="1")
    assert not found(own, num_media="0")
    service = sought(sender=SERVICE, media_urls=PICTURES)
    assert found(service, num_media="0")
    assert not found(service, num_media="1")


def test_a_message_of_media_alone_is_found() -> None:
    """Its text is empty on both sides."""
    what = sought(body="", media_urls=PICTURES)
    assert found(what, body="", num_media="2")
    assert not found(what, body="Hello", num_media="2")


def test_a_message_that_twilio_lists_twice_is_one() -> None:
    """Pages shift while they are read."""
    rows = [parse_listed(row(sid=sid)) for sid in (SID, OTHER, SID)]
    rows.append(parse_listed(row(sid="SM" + "0c" * 16, body="Another")))
    listed = candidates(sought(), [one for one in rows if one])
    assert [one.receipt.sid for one in listed] == [SID, OTHER]


def test_without_rows_there_is_no_candidate() -> None:
    """A list can be empty."""
    assert candidates(sought(), []) == []


# Texts


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("It\u2019s \u201chere\u201d\u2026", 'It\'s "here"...'),
        ("It's here", "It\u2019s here"),
        ("a\u00a0b\tc", "a b c"),
        ("Two\n\nlines ", "Two lines"),
        ("Caf\u00e9", "Cafe\u0301"),
        ("man\u0303ana", "man~ana"),
        ("zero\u200bwidth", "zerowidth"),
        ("Hi", "Sent from your Twilio trial account - Hi"),
    ],
)
def test_twilio_may_have_altered_characters(ours: str, theirs: str) -> None:
    """Smart Encoding, white space, composition, and what a trial account puts in front."""
    assert same_text(ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Go: https://www.example.com/a?b=c#d now", "Go: https://l.example/Ab3 now"),
        ("Go: https://www.example.com/a", "Go: l.example/Ab3"),
        ("Go (https://www.example.com/a).", "Go (https://l.example/Ab3)."),
        (
            "HTTP://EXAMPLE.COM and http://example.org",
            "https://l.example/1 and https://l.example/2",
        ),
        ("\u898b\u3066https://www.example.com", "\u898b\u3066https://l.example/Ab3"),
        ("seehttps://www.example.com", "seehttps://l.example/Ab3"),
    ],
)
def test_one_link_counts_as_another(ours: str, theirs: str) -> None:
    """Which is shortened, nobody can tell from its looks."""
    assert same_text(ours, theirs)


def test_texts_that_differ_in_a_links_address_alone_are_the_same() -> None:
    """Each customer's own address is shortened beyond recognition; only time and number are left."""
    assert same_text("See https://www.example.com/1 now", "See https://www.example.com/2 now")
    assert not same_text("See https://www.example.com/1", "See https://www.example.com/1 now")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Your code is 1234", "Your code is 1235"),
        ("Hello", "hello"),
        ("Hello", "Hello Anna"),
        ("Rated 4.5/5 by all", "Rated 3.5/5 by all"),
        ("https://l.example/1 yes", "https://l.example/1 no"),
        ("https://l.example/1", "no link"),
        ("", "Hello"),
        ("Hello", "\U0001f44d"),
        ("Hello", "redacted by Anna"),
        ("Hello", "Sent from your Twilio trial account - Bye"),
    ],
)
def test_other_words_are_another_text(ours: str, theirs: str) -> None:
    """One character is enough, outside of links."""
    assert not same_text(ours, theirs)


@pytest.mark.parametrize("theirs", REDACTED, ids=ascii)
def test_a_text_that_was_taken_away_may_have_been_ours(theirs: str | None) -> None:
    """By whatever mark."""
    assert same_text("Hello", theirs)
    assert same_text("", theirs)
