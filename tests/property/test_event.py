"""Any body: it is read, or refused by one of the two errors that say so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ci360_twilio.core.event import OUTBOUND, Event, parse_event, parse_payload
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotJson, Unprocessable
from ci360_twilio.twin.events import outbound_body, outbound_event

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TENANT = TenantId("demo")

HUGE = "a number beyond floating point"
numbers = st.one_of(
    st.integers(),
    st.integers(-(10**420), 10**420),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(HUGE),
)
leaves = (
    st.none() | st.booleans() | numbers | st.text() | st.sampled_from(["", "0", "177244380000"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def members(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Give an object in which known members may be missing, null or of any type."""
    return st.fixed_dictionaries({}, optional={name: one | values for name, one in known.items()})


events = members(
    guid=st.text(min_size=1),
    eventType=st.just(OUTBOUND),
    eventName=st.text(),
    identityId=st.text(),
    date=members(generatedTimestamp=numbers | st.just(1772443800000)),
    properties=members(subject_id=leaves, externalCode=leaves),
    outboundProperties=members(properties=members(To=leaves, media_urls=leaves)),
    contactResponse=members(responseTrackingCode=st.text()),
    impression=members(creativeContent=st.text(), isControlGroup=st.booleans(), taskId=st.text()),
    other=values,
)


def written(value: Any) -> bytes:
    """Write JSON, with a number out of range for what stands for one."""
    return json.dumps(value).replace(f'"{HUGE}"', "1e999").encode()


def read(body: bytes) -> Event | None:
    """Read a body to the end; ``None`` where it is refused or asks for nothing."""
    try:
        payload = parse_payload(body)
        return None if payload is None else parse_event(payload, TENANT, NOW)
    except (NotJson, Unprocessable):
        return None


@given(body=st.binary() | st.text().map(str.encode))
@settings(max_examples=200, deadline=None)
def test_no_bytes_fail(body: bytes) -> None:
    """Whatever is posted."""
    read(body)


@given(event=events)
@settings(max_examples=200, deadline=None)
@example({"other": HUGE})
@example({"guid": "g", "date": {"generatedTimestamp": 10**400}})
@example({"guid": "g", "properties": {"subject_id": HUGE}})
def test_no_object_fails(event: dict[str, Any]) -> None:
    """Whatever its members are; and what is read of it can be written down and read again."""
    found = read(written(event))
    if found is not None:
        assert found.guid == event["guid"]
        assert msgspec.json.decode(msgspec.json.encode(found.origin)) is not None
        assert found.generated_at is None or found.generated_at <= NOW.replace(hour=10)


def strictly(body: bytes) -> object:
    """Decode JSON as RFC 8259 has it, without lone surrogates."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    decoded = json.loads(body.decode(), parse_constant=refuse)
    json.dumps(decoded, ensure_ascii=False).encode()
    return decoded


SPLICES = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\ud800", b"\\u", b"NaN", b"1e999"]
splices = st.sampled_from([*SPLICES, b"\x00", b"\xff", b"-", b"0", b"//", b"1", b"null"])


@given(event=events, at=st.integers(0, 400), cut=st.integers(0, 3), splice=splices)
@settings(max_examples=200, deadline=None)
@example({"date": 0, "guid": "\ud800"}, 9, 1, b"1e999")
def test_what_is_taken_is_one_json_object(
    event: dict[str, Any], at: int, cut: int, splice: bytes
) -> None:
    """A body with an error anywhere, also where nobody looks, is refused."""
    whole = written(event)
    body = whole[:at] + splice + whole[at + cut :]
    try:
        payload = parse_payload(body)
    except NotJson:
        return
    decoded = strictly(body) if body.strip(b" \t\r\n") else {}
    assert isinstance(decoded, dict)
    assert (payload is None) is (decoded == {})


def without_nothing(value: Any) -> Any:
    """Leave out members that are null or empty strings."""
    if not isinstance(value, dict):
        return value
    return {
        name: without_nothing(member)
        for name, member in value.items()
        if member is not None and member != ""
    }


@given(event=events)
@settings(max_examples=200, deadline=None)
def test_null_the_empty_string_and_a_missing_member_are_the_same(event: dict[str, Any]) -> None:
    """At every depth that is looked at."""
    found = read(written(event))
    assume(found is not None)
    assert read(written(without_nothing(event))) == found


@given(
    guid=st.text(min_size=1, max_size=256),
    creative=st.text(),
    attributes=st.dictionaries(st.text("abcTo_", min_size=1), st.text(min_size=1), max_size=3),
    control=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_what_ci360_writes_is_what_is_read(
    guid: str, creative: str, attributes: dict[str, str], control: bool
) -> None:
    """Text arrives as it was written, in whatever script."""
    event = outbound_event(
        guid=guid,
        tenant_id=TENANT,
        creative=creative,
        generated_at=NOW,
        attributes=attributes or {"a": "b"},
        control_group=control,
    )
    body = json.dumps(event, ensure_ascii=False).encode()
    found = read(body)
    assert found
    assert found.issues == ()
    assert (found.guid, found.creative or "", found.control_group) == (guid, creative, control)
    assert found.generated_at == NOW
    assert set(found.attributes) == {name.lower() for name in attributes or "a"}
    assert read(json.dumps(event).encode()) == found


def test_the_factory_makes_what_ci360_sends() -> None:
    """As bytes."""
    found = read(outbound_body(guid="g", tenant_id=TENANT, creative="Hi", generated_at=NOW))
    assert found
    assert (found.guid, found.issues) == ("g", ())
