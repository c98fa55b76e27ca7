"""Events: what is read out of CI360's body, and what of it is wrong."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci360_twilio.core.event import (
    MAX_GUID,
    OUTBOUND,
    Event,
    Payload,
    parse_event,
    parse_payload,
)
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotJson, Unprocessable
from ci360_twilio.twin.events import outbound_body, outbound_event

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TENANT = TenantId("af5af6b8f500013eb0c90001")
LEAST = {"guid": "g", "eventType": OUTBOUND}


def event(**changes: Any) -> Event:
    """Read the least event with changes."""
    return read(LEAST | changes)


def read(members: dict[str, Any]) -> Event:
    """Read an event from its members, through JSON."""
    payload = parse_payload(json.dumps(members).encode())
    assert payload is not None
    return parse_event(payload, TENANT, NOW)


def issues(found: Event) -> list[tuple[str, str]]:
    """Give what is wrong, by field."""
    return [(issue.field, str(issue)) for issue in found.issues]


# The body


@pytest.mark.parametrize("body", [b"", b"{}", b" \r\n", b" { }\n", b"{\n\t}"])
def test_an_empty_body_is_the_endpoints_test(body: bytes) -> None:
    """CI360's *Test Endpoint* may send either."""
    assert parse_payload(body) is None


@pytest.mark.parametrize("member", ["a", "guid", "externalTenantId"])
def test_an_object_with_a_member_is_no_test(member: str) -> None:
    """Even where nothing of it is known, or all is null."""
    assert parse_payload(json.dumps({member: None}).encode()) == Payload()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"[{}]",
        b'[{"guid":"g"}]',
        b"null",
        b"1",
        b'"{}"',
        b"{",
        b'{"guid":"g"',
        b'{"guid":"g"}}',
        b'{"guid":"g"}{"guid":"h"}',
        b'{"guid":"g",}',
        b"{guid:'g'}",
        b'{"guid":"g"} x',
        b'{"guid":"g"}\x00',
        b"guid=g&eventType=outboundSystem",
        b"<event/>",
        b"\x00",
    ],
)
def test_what_is_not_exactly_one_json_object_is_refused(body: bytes) -> None:
    """Lists too: CI360 posts one object, whatever its agent's log shows."""
    with pytest.raises(NotJson):
        parse_payload(body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x1"])
@pytest.mark.parametrize("member", ["date", "guid", "other"])
def test_a_number_that_json_does_not_know_is_refused(member: str, number: str) -> None:
    """Wherever it stands, also where nobody looks."""
    with pytest.raises(NotJson):
        parse_payload(f'{{"guid":"g","{member}":{number}}}'.encode())


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b'{"guid":"g"}'),
        '{"guid":"g"}'.encode("utf-16"),
        '{"guid":"é"}'.encode("latin-1"),
        b'{"guid":"\xed\xa0\x80"}',
        b'{"guid":"g","other":"\xff"}',
    ],
    ids=["gzip", "utf-16", "latin-1", "a surrogate", "in a member nobody reads"],
)
def test_a_body_that_is_not_utf8_is_refused(body: bytes) -> None:
    """Compressed ones are not unpacked."""
    with pytest.raises(NotJson):
        parse_payload(body)


@pytest.mark.parametrize(
    "body",
    [
        rb'{"guid":"\ud800"}',
        rb'{"guid":"\udc00\ud800"}',
        rb'{"guid":"g","other":"\ud83d"}',
        rb'{"other":{"\ud83d":1}}',
        rb'{"date":{"generatedTimestamp":1e999},"guid":"\ud800"}',
        rb'{"properties":{"a":1e999,"b":"\udfff"},"guid":"g"}',
    ],
    ids=["guid", "swapped", "unread", "a name", "behind a huge number", "within its object"],
)
def test_an_escape_of_a_lone_surrogate_is_refused(body: bytes) -> None:
    """It is no character, and nothing that holds it could be written down."""
    with pytest.raises(NotJson):
        parse_payload(body)


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    """So is JSON's way beyond the first plane."""
    payload = parse_payload(rb'{"guid":"\ud83d\ude00"}')
    assert payload
    assert payload.guid == "😀"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
@pytest.mark.parametrize("before", [b'{"other":', b'{"guid":"g","other":', b'{"date":', b""])
def test_a_depth_bomb_is_refused(before: bytes, opening: bytes) -> None:
    """Where it would be read, where it would be skipped, and as the body itself."""
    with pytest.raises(NotJson):
        parse_payload(before + opening * 200_000)


def test_no_depth_is_a_failure_of_ours() -> None:
    """Some depth is the last that can be read; the first beyond it is refused, at every step."""
    for depth in range(1, 1200):
        try:
            parse_payload(b'{"other":' + b"[" * depth + b"]" * depth + b"}")
        except NotJson:
            continue


@pytest.mark.parametrize(
    "body",
    [
        b'{"other":1e999}',
        b'{"other":-1e999,"guid":"g"}',
        b'{"date":{"generatedTimestamp":1e999}}',
        b'{"guid":1e999}',
        b'{"other":' + b"9" * 6000 + b"}",
        b'{"properties":{"a":' + b"9" * 400 + b"}}",
    ],
    ids=["alone", "skipped", "in the date", "as the guid", "6,000 digits", "400 digits"],
)
def test_a_number_out_of_range_fails_nothing(body: bytes) -> None:
    """JSON sets no bounds; such a body is read, or refused as no JSON that we can read."""
    try:
        payload = parse_payload(body)
    except NotJson:
        return
    assert payload is not None


@pytest.mark.parametrize(
    "number",
    ["9" * 1_000_000, "-0." + "1" * 1_000_000, "1e" + "9" * 1_000_000],
    ids=["whole", "part", "power"],
)
@pytest.mark.parametrize("member", ["date", "other"])
def test_a_number_of_a_megabyte_takes_no_time(member: str, number: str) -> None:
    """Nothing is gained by sending one: it is refused or read, not computed with for minutes."""
    with suppress(NotJson):
        parse_payload(f'{{"{member}":{number}}}'.encode())


def test_members_that_are_unknown_or_drifted_are_ignored() -> None:
    """The schema differs from release to release."""
    body = outbound_event(guid="g", tenant_id=TENANT, creative="Hi", generated_at=NOW)
    extra = body | {"brandNew": {"a": [1, 2, {"b": None}]}, "sms": 5, "trace": "x", "date2": []}
    assert read(extra) == read(body)


# The event


def test_an_outbound_event_is_read() -> None:
    """All that reports and people need of it."""
    found = parse_event(
        parse_payload(
            outbound_body(
                guid="8a6f",
                tenant_id=TENANT,
                creative="TO:+12015550123;\nHi",
                generated_at=NOW,
                attributes={"To": "+12015550123", "Seminar": "Autumn"},
            )
        )
        or Payload(),
        TENANT,
        NOW,
    )
    assert found.issues == ()
    assert (found.tenant_id, found.guid, found.generated_at) == (TENANT, "8a6f", NOW)
    assert (found.creative, found.control_group) == ("TO:+12015550123;\nHi", False)
    assert found.attributes == {"to": "+12015550123", "seminar": "Autumn"}
    assert (found.origin.event_name, found.origin.task_code) == ("SeminarReminder", "TSK_101")
    assert found.origin.identities == {
        "datahub_id": "9f1d2c3b-5a6e-3c4d-8e7f-1a2b3c4d5e6f",
        "subject_id": "4711",
    }
    assert found.origin.response_tracking_code == "5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77"
    assert None not in (found.origin.task_id, found.origin.task_version_id)
    assert found.origin.creative_id is not None


def test_nothing_but_guid_and_type_is_required() -> None:
    """A reduced body, or one of an endpoint's own making, has few members."""
    found = event()
    assert found.issues == ()
    assert (found.generated_at, found.creative, found.attributes) == (None, None, {})
    assert found.origin.identities == {}


FIELDS = {
    "date": "object",
    "properties": "object",
    "outboundProperties": "object",
    "outboundProperties.properties": "object",
    "contactResponse": "object",
    "impression": "object",
    "identityId": "text",
    "eventName": "text",
    "contactResponse.responseTrackingCode": "text",
    "impression.creativeContent": "text",
    "impression.creativeId": "text",
    "impression.taskId": "text",
    "impression.taskVersionId": "text",
    "impression.isControlGroup": "flag",
    "date.generatedTimestamp": "number",
}
VALUES = {"object": {"a": 1}, "text": "x", "flag": True, "number": 5, "list": [], "lists": [[1]]}


def nested(field: str, value: object) -> dict[str, Any]:
    """Give the members of an event with one field."""
    head, _, rest = field.partition(".")
    return {head: nested(rest, value) if rest else value}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])
def test_null_and_the_empty_string_are_as_if_missing(field: str, nothing: object) -> None:
    """Real bodies hold plenty of both."""
    assert event(**nested(field, nothing)) == event()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sort", VALUES)
def test_a_field_of_the_wrong_type_is_told_by_its_name(field: str, sort: str) -> None:
    """And the event can still be recorded under its key."""
    found = event(**nested(field, VALUES[sort]))
    assert found.guid == "g"
    assert [name for name, _ in issues(found)] == ([] if FIELDS[field] == sort else [field])


@pytest.mark.parametrize("guid", [None, "", 5, True, [], {"a": 1}, "x" * (MAX_GUID + 1)], ids=ascii)
def test_without_a_usable_guid_nothing_can_be_recorded(guid: object) -> None:
    """So the event is refused as a whole, naming the field."""
    with pytest.raises(Unprocessable) as raised:
        event(guid=guid)
    assert [issue.field for issue in raised.value.issues] == ["guid"]


@pytest.mark.parametrize("guid", ["x", "x" * MAX_GUID, "é" * MAX_GUID, "a/b\n", " "], ids=ascii)
def test_a_guid_is_any_text_of_up_to_256_characters(guid: str) -> None:
    """It is CI360's business what it looks like."""
    assert event(guid=guid).guid == guid
    assert MAX_GUID == 256


@pytest.mark.parametrize("kind", [None, "", 5, ["outboundSystem"]], ids=ascii)
def test_a_missing_or_broken_type_is_told(kind: object) -> None:
    """It may have been meant to be sent."""
    assert [name for name, _ in issues(event(eventType=kind))] == ["eventType"]


# Its time


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1772443800000, NOW),
        ("1772443800000", NOW),
        (1772443800000.0, NOW),
        (1772443800250, NOW + timedelta(milliseconds=250)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        (-5, datetime(1970, 1, 1, tzinfo=UTC)),
        (-(10**18), datetime(1970, 1, 1, tzinfo=UTC)),
        (1772443800000 + 300_000, NOW + timedelta(minutes=5)),
    ],
)
def test_the_time_is_epoch_milliseconds(value: object, moment: datetime) -> None:
    """As a number or as digits in a string; up to five minutes ahead is a clock's error."""
    found = event(date={"generatedTimestamp": value})
    assert (found.generated_at, found.issues) == (moment, ())


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1772443800000 + 300_001, id="a millisecond"),
        pytest.param("1772444100001", id="in a string"),
        pytest.param(10**15, id="in microseconds"),
        pytest.param(10**18, id="in nanoseconds"),
        pytest.param(10**30, id="30 digits"),
        pytest.param(10**400, id="400 digits"),
        pytest.param(1e300, id="floating"),
        pytest.param("9" * 20, id="20 digits in a string"),
        pytest.param("9" * 5000, id="5,000 digits in a string"),
    ],
)
def test_a_time_over_five_minutes_ahead_is_wrong(value: object) -> None:
    """However far; it counts as no time at all."""
    body = b'{"guid":"g","eventType":"outboundSystem","date":{"generatedTimestamp":%b}}'
    payload = parse_payload(body % json.dumps(value).encode())
    assert payload
    found = parse_event(payload, TENANT, NOW)
    assert found.generated_at is None
    assert [name for name, _ in issues(found)] == ["date.generatedTimestamp"]


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "2026-03-02T09:30:00Z",
        "-5",
        " 1772443800000",
        "1772443800000.5",
        "\u0661\u0662\u0663",
        "²",
        True,
        [1772443800000],
        {"a": 1},
    ],
    ids=ascii,
)
def test_a_time_that_is_no_number_is_wrong(value: object) -> None:
    """Only ASCII digits in a string are one."""
    found = event(date={"generatedTimestamp": value})
    assert issues(found) == [("date.generatedTimestamp", "must be epoch milliseconds")]


def test_a_time_out_of_range_of_floating_point_is_wrong() -> None:
    """``1e999`` is JSON all the same."""
    body = b'{"guid":"g","eventType":"outboundSystem","date":{"generatedTimestamp":1e999}}'
    payload = parse_payload(body)
    assert payload
    found = parse_event(payload, TENANT, NOW)
    assert [name for name, _ in issues(found)] == ["date.generatedTimestamp"]


# Attributes and identities


def test_attributes_are_found_in_any_case() -> None:
    """Numbers count as text, since a body of an endpoint's own making may not quote them."""
    attributes = {"TO": 12015550123, "From": "Acme", "media_URLS": "", "n": None, "Ä": "ä", "z": 0}
    found = event(outboundProperties={"properties": attributes})
    assert found.attributes == {"to": "12015550123", "from": "Acme", "ä": "ä", "z": "0"}
    assert found.issues == ()


@pytest.mark.parametrize("value", [True, 1.5, [1], {"a": "b"}], ids=ascii)
def test_an_attribute_that_is_no_text_is_left_out(value: object) -> None:
    """CI360 writes them all as strings."""
    assert event(outboundProperties={"properties": {"to": value}}).attributes == {}


def test_identities_come_from_their_own_places() -> None:
    """The data hub's from the envelope, others from the properties; nothing else is one."""
    properties = {
        "subject_id": 4711,
        "customer_id": "C1",
        "login_id": "",
        "datahub_id": "x",
        "email": "y",
    }
    found = event(identityId="D1", properties=properties)
    assert found.origin.identities == {
        "datahub_id": "D1",
        "subject_id": "4711",
        "customer_id": "C1",
    }


def test_a_customer_of_the_control_group_is_marked() -> None:
    """True is the only word for it."""
    assert event(impression={"isControlGroup": True}).control_group
    assert not event(impression={"isControlGroup": False}).control_group
    assert issues(event(impression={"isControlGroup": "true"})) == [
        ("impression.isControlGroup", "must be true or false")
    ]
