"""External events: what CI360 is told of an outcome, of whom, and within which limits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.ci360 import IDENTITY_KEYS, Ci360
from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound, Medium, inbound_key
from ci360_twilio.core.outcome import (
    MOST_IDENTITY,
    MOST_MEDIA,
    NO_IDENTITY,
    UNMATCHED,
    ExternalEvent,
    attributes_of,
    external_event,
    plain,
)
from ci360_twilio.core.report import Outcome, Report, owe
from ci360_twilio.core.tenant import TenantId

NOW = datetime(2026, 3, 2, 9, 30, 59, 999_999, tzinfo=UTC)
DEMO = TenantId("demo")
SID = "SM" + "0a" * 16
CUSTOMER, OURS = "+12015550142", "+12015550199"
RTC = "ff5faf2b-a3a5-4d40-af9e-0a0e9a0e9a0e"
ORIGIN = Origin(
    task_code="TSK_101",
    response_tracking_code=RTC,
    identities={"datahub_id": "D", "subject_id": "S"},
)
CI360 = Ci360(events_url="https://demo.ci360.sas.com", bearer="t", names={})
WISHES = (Outcome.OPT_OUT, Outcome.OPT_IN)


def entry(**changes: Any) -> Entry:
    """Give an entry whose message has a SID."""
    members: dict[str, Any] = {
        "key": key_of(DEMO, "g-1"),
        "tenant_id": DEMO,
        "guid": "g-1",
        "status": Status.SENT,
        "created_at": NOW,
        "due_at": NOW,
        "expires_at": NOW,
        "purge_at": NOW,
        "origin": ORIGIN,
    }
    return Entry(**(members | changes))


def inbound(origin: Origin = ORIGIN, answers: str | None = "demo/g-1", **heard: Any) -> Inbound:
    """Give an inbound message; the heard members replace what is heard by default."""
    members: dict[str, Any] = {"sid": SID, "sender": CUSTOMER, "to": OURS, "body": "Hello"}
    return Inbound(
        key=inbound_key(DEMO, SID),
        tenant_id=DEMO,
        heard=Heard(**(members | heard)),
        heard_at=NOW,
        purge_at=NOW + timedelta(days=90),
        answers=Key(answers) if answers else None,
        origin=origin,
    )


def report(outcome: Outcome, **members: Any) -> Report:
    """Give the report of an outcome."""
    (one,) = owe((), "demo/g-1", outcome, NOW, **({"sid": SID} | members))
    return one


def event(
    of: Entry | Inbound, outcome: Outcome, ci360: Ci360 = CI360, **members: Any
) -> ExternalEvent:
    """Give the event of an outcome, which there is."""
    found = external_event(of, report(outcome, **members), f"acme_{outcome}", ci360)
    assert isinstance(found, ExternalEvent)
    return found


def reason(of: Entry | Inbound, ci360: Ci360 = CI360) -> str:
    """Give why there is no event."""
    found = external_event(of, report(Outcome.REPLY), "acme_reply", ci360)
    assert isinstance(found, str)
    return found


# Attributes


def test_a_delivered_message_is_told_with_all_that_leads_back_to_it() -> None:
    """To the task and its contact in CI360, to the event, and to Twilio."""
    found = event(entry(), Outcome.DELIVERED)
    assert found == ExternalEvent(
        name="acme_delivered",
        identity=("datahub_id", "D"),
        attributes={
            "responseTrackingCode": RTC,
            "externalCode": "TSK_101",
            "twilio_report_key": report(Outcome.DELIVERED).key,
            "twilio_at": "2026-03-02T09:30:59Z",
            "twilio_message_sid": SID,
            "twilio_guid": "g-1",
        },
    )


def test_a_failure_is_told_with_its_reason() -> None:
    """As it was when it came about; what the entry says since is another report's."""
    since = entry(status=Status.DELIVERED, reason=None, error_code=None)
    told = event(since, Outcome.UNDELIVERED, reason="twilio_30005", error_code=30005).attributes
    assert (told["twilio_reason"], told["twilio_error_code"]) == ("twilio_30005", "30005")


def test_what_is_not_known_is_not_told() -> None:
    """No attribute is empty."""
    found = event(
        entry(origin=Origin(identities={"datahub_id": "D"})), Outcome.SUPPRESSED, sid=None
    )
    assert [*found.attributes] == ["twilio_report_key", "twilio_at", "twilio_guid"]
    bare = event(inbound(Origin(identities={"login_id": "L"}), body=" \n"), Outcome.REPLY)
    assert "twilio_text" not in bare.attributes
    assert "externalCode" not in bare.attributes


def test_a_reply_is_told_with_what_the_customer_wrote() -> None:
    """And with pictures and buttons, where there are some."""
    told = event(
        inbound(
            media=(Medium("https://example.com/a", "image/png"), Medium("https://b.example", "")),
            media_count=2,
            button_text="Yes",
            button_payload="yes-1",
        ),
        Outcome.REPLY,
    ).attributes
    assert told | {"twilio_report_key": ""} == {
        "responseTrackingCode": RTC,
        "externalCode": "TSK_101",
        "twilio_report_key": "",
        "twilio_at": "2026-03-02T09:30:59Z",
        "twilio_message_sid": SID,
        "twilio_sender": OURS,
        "twilio_text": "Hello",
        "twilio_media": "https://example.com/a https://b.example",
        "twilio_media_count": "2",
        "twilio_button_text": "Yes",
        "twilio_button_payload": "yes-1",
    }


@pytest.mark.parametrize("outcome", WISHES)
def test_a_wish_is_told_without_the_text(outcome: Outcome) -> None:
    """The reply tells that; an entry's says why Twilio refused it."""
    told = event(inbound(button_text="Stop", media_count=1), outcome).attributes
    assert told["twilio_sender"] == OURS
    assert not {"twilio_text", "twilio_button_text", "twilio_media_count"} & set(told)
    refused = event(entry(), outcome, reason="twilio_21610", error_code=21610).attributes
    assert (refused["twilio_guid"], refused["twilio_error_code"]) == ("g-1", "21610")


def full(outcome: Outcome, ci360: Ci360 = CI360) -> list[ExternalEvent]:
    """Give events whose every attribute is as long as it gets."""
    long = "x" * 100_000
    origin = Origin(
        task_code=long, response_tracking_code=long, identities={"datahub_id": "D" * MOST_IDENTITY}
    )
    media = tuple(Medium(f"https://example.com/{n:0>60}", "image/png") for n in range(10))
    members: dict[str, Any] = {"sid": "S" * 64, "reason": long, "error_code": 9_999_999}
    heard: dict[str, Any] = {"to": long, "body": long, "media": media, "media_count": 1000}
    letter = inbound(origin, **heard, button_text=long, button_payload=long)
    return [
        event(entry(guid=long, origin=origin), outcome, ci360, **members),
        event(letter, outcome, ci360, **members),
    ]


@pytest.mark.parametrize("outcome", Outcome)
def test_every_attribute_is_one_that_can_be_defined_in_ci360(outcome: Outcome) -> None:
    """And no longer than is said there; only the key of the tracking code is the tenant's."""
    listed = {one.name: one.longest for one in attributes_of(outcome)}
    assert len(listed) == len(attributes_of(outcome))
    of_entry, of_inbound = full(outcome)
    for found in [of_inbound] if outcome is Outcome.REPLY else [of_entry, of_inbound]:
        if outcome not in (Outcome.REPLY, *WISHES) and found is of_inbound:
            continue
        told = dict(found.attributes)
        assert told.pop("responseTrackingCode")
        assert told.keys() <= listed.keys()
        assert all(len(text) <= listed[name] for name, text in told.items())


@pytest.mark.parametrize("outcome", Outcome)
def test_all_attributes_together_fit_into_ci360(outcome: Outcome) -> None:
    """It keeps them as one text of 4,000 characters; names and quotes count."""
    ci360 = msgspec.structs.replace(CI360, rtc_key="r" * 100)
    for found in full(outcome, ci360):
        assert len(json.dumps(found.attributes, ensure_ascii=False, separators=(",", ":"))) <= 4000


def test_addresses_of_pictures_are_told_whole_or_not_at_all() -> None:
    """As many as there is room for, from the first."""
    urls = [f"https://example.com/{'x' * 300}/{n}" for n in range(5)]
    media = tuple(Medium(url, "") for url in urls)
    told = event(inbound(media=media, media_count=5), Outcome.REPLY).attributes["twilio_media"]
    assert told.split() == urls[:3]
    huge = (Medium("https://example.com/" + "x" * MOST_MEDIA, ""),)
    found = event(inbound(media=huge, media_count=1), Outcome.REPLY).attributes
    assert "twilio_media" not in found
    assert found["twilio_media_count"] == "1"


def test_the_tracking_code_has_the_key_that_the_tenant_names() -> None:
    """Nobody says which one CI360 takes."""
    ci360 = msgspec.structs.replace(CI360, rtc_key="response_tracking_code")
    told = event(entry(), Outcome.FAILED, ci360).attributes
    assert told["response_tracking_code"] == RTC
    assert "responseTrackingCode" not in told


# Who


@pytest.mark.parametrize("wished", [*IDENTITY_KEYS, "own_id"])
@pytest.mark.parametrize("there", IDENTITY_KEYS)
def test_the_identity_is_the_wished_one_or_the_first_that_is_known(wished: str, there: str) -> None:
    """In CI360's own order."""
    ci360 = msgspec.structs.replace(CI360, identity_key=wished)
    alone = entry(origin=Origin(identities={there: "1"}))
    assert event(alone, Outcome.FAILED, ci360).identity == (there, "1")
    every = entry(origin=Origin(identities=dict.fromkeys(reversed(IDENTITY_KEYS), "1")))
    expected = wished if wished in IDENTITY_KEYS else "datahub_id"
    assert event(every, Outcome.FAILED, ci360).identity == (expected, "1")


def test_an_identity_that_is_empty_or_too_long_is_none() -> None:
    """Half an identity would be somebody else's."""
    long = "x" * (MOST_IDENTITY + 1)
    origin = Origin(identities={"datahub_id": long, "subject_id": "", "login_id": long[1:]})
    assert event(entry(origin=origin), Outcome.FAILED).identity == ("login_id", long[1:])


def test_without_an_identity_nobody_would_be_credited() -> None:
    """Neither with a message's outcome, nor with the answer to that message."""
    assert reason(entry(origin=Origin())) == NO_IDENTITY
    ci360 = msgspec.structs.replace(CI360, reply_identity_key="mobile")
    assert reason(entry(origin=Origin()), ci360) == NO_IDENTITY


def test_a_reply_from_nobody_who_is_known_is_told_by_its_number() -> None:
    """Where the tenant says which identity that is."""
    stranger = inbound(Origin(), None)
    assert reason(stranger) == UNMATCHED
    ci360 = msgspec.structs.replace(CI360, reply_identity_key="mobile")
    assert event(stranger, Outcome.REPLY, ci360).identity == ("mobile", CUSTOMER)
    digits = msgspec.structs.replace(ci360, reply_identity_format="digits")
    assert event(stranger, Outcome.OPT_OUT, digits).identity == ("mobile", CUSTOMER[1:])


@pytest.mark.parametrize(
    ("sender", "number"),
    [
        (f"whatsapp:{CUSTOMER}", CUSTOMER),
        ("messenger:4711", "messenger:4711"),
        ("20155", "20155"),
    ],
)
def test_a_number_is_told_without_its_channel(sender: str, number: str) -> None:
    """It is the same customer."""
    ci360 = msgspec.structs.replace(CI360, reply_identity_key="mobile")
    stranger = inbound(Origin(), None, sender=sender)
    assert event(stranger, Outcome.REPLY, ci360).identity == ("mobile", number)


# As it is sent


def test_an_event_is_one_flat_object() -> None:
    """With its name, one identity, and the attributes, all of them text."""
    found = event(entry(), Outcome.FAILED, error_code=30005)
    body = json.loads(found.body)
    assert body == {"eventName": "acme_failed", "datahub_id": "D", **found.attributes}
    assert all(isinstance(value, str) for value in body.values())
    assert not set(body) & {*IDENTITY_KEYS} - {"datahub_id"}


def test_a_line_of_a_file_says_the_same_in_a_row() -> None:
    """Name and identity, then names and values by turns."""
    found = event(entry(), Outcome.FAILED)
    name, kind, value, *pairs = found.row
    assert (name, kind, value) == ("acme_failed", "datahub_id", "D")
    assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == found.attributes


# Texts


@pytest.mark.parametrize(
    ("text", "longest", "shown"),
    [
        ("Hello", 5, "Hello"),
        ("Hello", 4, "Hel\u2026"),
        ("Hello", 1, "\u2026"),
        (" Hello ", 5, "Hello"),
        ("a\nb\r\nc\td\x00e", 20, "a b  c d e"),
        ("a\u2028b\u2029c\ud800d\x85", 20, "a b c d"),
        ("\n\n", 5, ""),
        ("\U0001f468\u200d\U0001f469", 5, "\U0001f468\u200d\U0001f469"),
        ("caf\u00e9\u00a0\u20ac", 9, "caf\u00e9\u00a0\u20ac"),
        ("abc     \n", 3, "abc"),
    ],
    ids=ascii,
)
def test_a_text_is_shown_on_one_line(text: str, longest: int, shown: str) -> None:
    """As much of it as there is room for; where some is missing, that is seen."""
    assert plain(text, longest) == shown


@given(text=st.text(st.characters(codec=None)), longest=st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_any_text_fits_and_steers_nothing(text: str, longest: int) -> None:
    """And can be written in UTF-8; once is enough."""
    shown = plain(text, longest)
    assert len(shown) <= longest
    assert shown.encode().decode() == shown
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert len(shown.splitlines()) <= 1
    assert plain(shown, longest) == shown


any_text = st.text(st.characters(codec=None))


@given(
    body=any_text,
    button=st.none() | any_text,
    origin=st.builds(
        Origin,
        task_code=st.none() | any_text,
        response_tracking_code=st.none() | any_text,
        identities=st.dictionaries(st.sampled_from(IDENTITY_KEYS), st.text(), max_size=4),
    ),
    outcome=st.sampled_from([Outcome.REPLY, *WISHES]),
)
@settings(max_examples=200, deadline=None)
def test_whatever_a_customer_writes_can_be_told(
    body: str, button: str | None, origin: Origin, outcome: Outcome
) -> None:
    """Under names and an identity that no text can replace."""
    ci360 = msgspec.structs.replace(CI360, reply_identity_key="mobile")
    letter = inbound(origin, None, body=body, button_text=button)
    found = event(letter, outcome, ci360)
    told = json.loads(found.body)
    assert told["eventName"] == f"acme_{outcome}"
    assert told[found.identity[0]] == found.identity[1]
    assert len(told) == 2 + len(found.attributes)
