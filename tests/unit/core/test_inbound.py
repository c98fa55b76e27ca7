"""Inbound messages: what Twilio posts and lists of them, and what they answer and owe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import (
    MOST_MEDIA,
    Heard,
    Inbound,
    Medium,
    answering,
    inbound_key,
    owing,
    parse_inbound,
    parse_listed_inbound,
)
from ci360_twilio.core.report import Outcome, report_key
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.wish import Wish

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO = TenantId("demo")
SID = "SM" + "0a" * 16
SERVICE = "MG" + "c3" * 16
CUSTOMER, OURS = "+12015550142", "+12015550199"


def form(**changes: str | None) -> dict[str, str]:
    """Give the form of an inbound webhook; ``None`` removes a member."""
    members = {
        "ToCountry": "US",
        "SmsMessageSid": SID,
        "NumMedia": "0",
        "SmsSid": SID,
        "SmsStatus": "received",
        "Body": "Hello",
        "To": OURS,
        "NumSegments": "1",
        "MessageSid": SID,
        "AccountSid": "AC" + "b2" * 16,
        "From": CUSTOMER,
        "ApiVersion": "2010-04-01",
    }
    return {name: value for name, value in (members | changes).items() if value is not None}


def row(**changes: Any) -> dict[str, Any]:
    """Give an inbound message as Twilio's list has it."""
    members = {
        "sid": SID,
        "direction": "inbound",
        "from": CUSTOMER,
        "to": OURS,
        "body": "Hello",
        "num_media": "0",
        "messaging_service_sid": None,
        "date_created": "Mon, 02 Mar 2026 09:30:00 +0000",
    }
    return members | changes


HELLO = Heard(sid=SID, sender=CUSTOMER, to=OURS, body="Hello")


def inbound(**changes: Any) -> Inbound:
    """Give an inbound message that was heard just now."""
    members: dict[str, Any] = {
        "key": inbound_key(DEMO, SID),
        "tenant_id": DEMO,
        "heard": HELLO,
        "heard_at": NOW,
        "purge_at": NOW + timedelta(days=90),
        "tells": (Outcome.REPLY, Outcome.OPT_OUT),
    }
    return Inbound(**(members | changes))


# Posted


def test_an_inbound_webhook_is_read() -> None:
    """Members that are not known are left aside."""
    assert parse_inbound(form()) == HELLO
    assert parse_inbound(form(Tomorrow="x")) == HELLO


def test_whatever_may_be_told_is_read() -> None:
    """Pictures, buttons, the service, and what Twilio took the text for."""
    found = parse_inbound(
        form(
            From=f"whatsapp:{CUSTOMER}",
            MessagingServiceSid=SERVICE,
            NumMedia="2",
            MediaUrl0="https://api.twilio.com/a",
            MediaContentType0="image/jpeg",
            MediaUrl1="https://api.twilio.com/b",
            ButtonText="Yes",
            ButtonPayload="yes-1",
            OptOutType="STOP",
        )
    )
    assert found == Heard(
        sid=SID,
        sender=f"whatsapp:{CUSTOMER}",
        to=OURS,
        service=SERVICE,
        body="Hello",
        media=(
            Medium("https://api.twilio.com/a", "image/jpeg"),
            Medium("https://api.twilio.com/b", ""),
        ),
        media_count=2,
        button_text="Yes",
        button_payload="yes-1",
        opt_out_type="STOP",
    )


def test_a_picture_needs_no_text() -> None:
    """Nor has every message one."""
    assert parse_inbound(form(Body=None)) == parse_inbound(form(Body=""))
    assert parse_inbound(form(Body="", ButtonText="", ButtonPayload="")) == Heard(
        sid=SID, sender=CUSTOMER, to=OURS
    )


@pytest.mark.parametrize("name", ["MessageSid", "SmsSid", "SmsMessageSid"])
def test_any_of_the_names_of_the_sid_will_do(name: str) -> None:
    """The newest goes first; an empty one is as if it were missing."""
    names = ("MessageSid", "SmsSid", "SmsMessageSid")
    for nothing in (None, ""):
        assert parse_inbound(form(**{one: SID if one == name else nothing for one in names})) == HELLO  # fmt: skip
    assert parse_inbound(form(SmsSid="SM1", SmsMessageSid="SM2")) == HELLO


@pytest.mark.parametrize(
    "changes",
    [
        {"MessageSid": "SM/../x"},
        {"MessageSid": "x" * 65},
        {"MessageSid": "SM\n"},
        {"MessageSid": None, "SmsSid": None, "SmsMessageSid": None},
        {"From": None},
        {"From": ""},
        {"From": f"{CUSTOMER}\n"},
        {"From": "\ud800"},
        {"From": "+" + "1" * 320},
        {"To": None},
        {"To": ""},
        {"To": "\x00"},
    ],
    ids=ascii,
)
def test_a_form_that_names_too_little_is_no_message(changes: dict[str, str | None]) -> None:
    """Without a SID, a customer or a number of ours nothing can be kept."""
    assert parse_inbound(form(**changes)) is None


@pytest.mark.parametrize(
    ("count", "media"),
    [("0", 0), ("1", 1), ("10", 10), ("11", 10), ("9" * 5000, 10), ("", 0), ("-1", 0), ("x", 0), ("\u0663", 0), ("\u00b2", 0), (None, 0)],
    ids=lambda value: ascii(value)[:10],
)  # fmt: skip
def test_as_many_pictures_are_read_as_twilio_counts(count: str | None, media: int) -> None:
    """Up to ten; that many a message may have."""
    urls: dict[str, str | None] = {f"MediaUrl{n}": f"https://example.com/{n}" for n in range(20)}
    found = parse_inbound(form(**(urls | {"NumMedia": count})))
    assert found
    assert [medium.url for medium in found.media] == [urls[f"MediaUrl{n}"] for n in range(media)]
    assert 0 <= found.media_count <= 1000
    assert MOST_MEDIA == 10


def test_a_picture_without_a_usable_address_is_only_counted() -> None:
    """The others are there."""
    found = parse_inbound(
        form(NumMedia="3", MediaUrl0="", MediaUrl1="x" * 2001, MediaUrl2="https://example.com")
    )
    assert found
    assert found.media == (Medium("https://example.com", ""),)
    assert found.media_count == 3


def test_long_values_are_cut() -> None:
    """A form may hold a megabyte of them."""
    many = "x" * 100_000
    found = parse_inbound(
        form(
            Body=many,
            ButtonText=many,
            ButtonPayload=many,
            OptOutType=many,
            NumMedia="1",
            MediaUrl0="https://example.com",
            MediaContentType0=many,
            MessagingServiceSid=many,
        )
    )
    assert found
    assert found.service is None
    assert len(msgspec.json.encode(found)) < 10_000


@given(
    members=st.dictionaries(
        st.sampled_from([*form(), "OptOutType", "MediaUrl0", "ButtonText"]) | st.text(),
        st.text(st.characters(codec=None)),
    )
)
@settings(max_examples=200, deadline=None)
def test_no_form_fails(members: dict[str, str]) -> None:
    """What is read out of it names a message and two addresses."""
    found = parse_inbound(form(NumMedia="1") | members)
    if found is not None:
        assert found.sid.isalnum()
        assert found.sender.isprintable()
        assert found.to.isprintable()


# Listed


def test_a_listed_message_is_read_with_its_date() -> None:
    """Which no webhook tells."""
    assert parse_listed_inbound(row()) == msgspec.structs.replace(HELLO, dated_at=NOW)
    found = parse_listed_inbound(row(num_media="2", messaging_service_sid=SERVICE))
    assert found
    assert (found.media_count, found.media, found.service) == (2, (), SERVICE)


@pytest.mark.parametrize("direction", ["outbound-api", "outbound-reply", "Inbound", "", None, 5])
def test_a_listed_message_of_ours_is_not_inbound(direction: object) -> None:
    """Lists hold both."""
    assert parse_listed_inbound(row(direction=direction)) is None


@pytest.mark.parametrize("name", ["sid", "from", "to"])
@pytest.mark.parametrize("value", [None, "", 5, ["x"], "\x00", "x" * 400], ids=ascii)
def test_a_row_that_names_too_little_is_no_message(name: str, value: object) -> None:
    """A redacted number cannot be answered, nor can it opt out."""
    assert parse_listed_inbound(row(**{name: value})) is None


@pytest.mark.parametrize("value", [None, 5, ["x"], {}, True], ids=ascii)
def test_what_else_is_no_text_is_left_out(value: object) -> None:
    """The message came all the same."""
    found = parse_listed_inbound(
        row(body=value, num_media=value, messaging_service_sid=value, date_created=value)
    )
    assert found == msgspec.structs.replace(HELLO, body="")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    members=st.dictionaries(st.sampled_from([*row()]), json_values),
    date=st.text("Mon, 02 Mar 2026:+-09GMT\n", max_size=40) | st.text(max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_no_row_fails(members: dict[str, object], date: str) -> None:
    """Whatever Twilio lists; a date that is one is in UTC."""
    found = parse_listed_inbound(row(date_created=date) | members)
    if found is not None and found.dated_at is not None:
        assert found.dated_at.tzinfo is UTC


# What it answers, and owes


def test_the_key_of_an_inbound_message_is_no_entrys() -> None:
    """A tenant id holds no colon."""
    assert inbound_key(DEMO, SID) == f"inbound:demo/{SID}"
    assert inbound_key(DEMO, SID) != key_of(DEMO, SID)


def test_an_answer_is_from_the_customer_of_the_message_it_answers() -> None:
    """Which CI360 knows; nobody else's answer says who it is from."""
    origin = Origin(task_code="TSK_1", identities={"datahub_id": "D"})
    entry = Entry(
        key=key_of(DEMO, "g"),
        tenant_id=DEMO,
        guid="g",
        status=Status.SENT,
        created_at=NOW,
        due_at=NOW,
        expires_at=NOW,
        purge_at=NOW,
        origin=origin,
    )
    answer = answering(inbound(), entry)
    assert answer == inbound(answers=Key("demo/g"), origin=origin)
    assert answering(inbound(), None) == inbound()


def test_an_inbound_message_owes_what_the_tenant_wants_told() -> None:
    """Each outcome once, from when it came about."""
    one = owing(owing(inbound(), Outcome.REPLY, NOW), Outcome.OPT_OUT, NOW)
    assert [(report.outcome, report.due_at, report.sid) for report in one.reports] == [
        ("reply", NOW, SID),
        ("opt_out", NOW, SID),
    ]
    assert one.reports[0].key == report_key(inbound_key(DEMO, SID), Outcome.REPLY, SID)
    assert owing(one, Outcome.REPLY, NOW + timedelta(hours=1)) == one
    assert owing(one, Outcome.OPT_IN, NOW) == one


def test_an_inbound_message_survives_being_written() -> None:
    """It is one document."""
    heard = parse_inbound(form(NumMedia="1", MediaUrl0="https://example.com", Body="\U0001f602\n"))
    assert heard
    whole = owing(inbound(heard=heard, wish=Wish.MAYBE_OUT, repeats=2), Outcome.REPLY, NOW)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Inbound) == whole
