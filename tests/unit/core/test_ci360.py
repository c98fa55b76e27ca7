"""A tenant's CI360: its address, the token that lets us in, and the names of the events it is told."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.ci360 import (
    BULK_THRESHOLD,
    EVENTS_PATH,
    IDENTITY_KEYS,
    Ci360,
    Ci360Document,
    bearer_of,
    default_name,
    parse_ci360,
)
from ci360_twilio.core.report import QUIET, Outcome
from ci360_twilio.errors import Issue

HOST = "https://extapigwservice-demo.ci360.sas.com"
URL = f"{HOST}{EVENTS_PATH}"
SECRET = "s3cret-Xyzzy-0123456789abcdef"


def read(*hosts: str, **members: Any) -> tuple[Ci360 | None, list[Issue]]:
    """Read a document with an address and a secret, unless told; also what is wrong with it."""
    issues: list[Issue] = []
    given = {"ci360_api_url": URL, "ci360_client_secret": SECRET} | members
    return parse_ci360(Ci360Document(**given), "demo", hosts, issues), issues


def ci360(*hosts: str, **members: Any) -> Ci360:
    """Read a document that nothing is wrong with."""
    found, issues = read(*hosts, **members)
    assert not issues
    assert found
    return found


def fields(*hosts: str, **members: Any) -> set[str]:
    """Give the fields that are wrong, and see that no words hold a value."""
    _, issues = read(*hosts, **members)
    words = json.dumps([[issue.field, str(issue)] for issue in issues])
    assert SECRET not in words
    return {issue.field for issue in issues}


# The document


def test_an_address_and_a_secret_are_enough() -> None:
    """All else has a default."""
    assert ci360() == Ci360(
        events_url=URL,
        bearer=bearer_of("demo", SECRET),
        names={one: f"twilio_sms_{one}" for one in Outcome if one not in QUIET},
        rtc_key="responseTrackingCode",
        identity_key="datahub_id",
        reply_identity_key=None,
        reply_identity_format="e164",
        bulk_threshold=BULK_THRESHOLD,
        application_id="ci360-twilio-connector",
        preferences_hours=None,
    )


def test_every_member_is_read() -> None:
    """As it is written."""
    found = ci360(
        ci360_token="static.token",
        ci360_events={"sent": "SMS sent", "failed": None},
        ci360_rtc_key="response_tracking_code",
        ci360_identity_key="subject_id",
        ci360_reply_identity_key="mobile",
        ci360_reply_identity_format="digits",
        ci360_bulk_threshold=0,
        ci360_application_id="acme",
        ci360_preferences_hours=6,
    )
    names = {one: default_name(one) for one in Outcome if one not in QUIET}
    names[Outcome.SENT] = "SMS sent"
    del names[Outcome.FAILED]
    assert found == Ci360(
        events_url=URL,
        bearer="static.token",
        names=names,
        rtc_key="response_tracking_code",
        identity_key="subject_id",
        reply_identity_key="mobile",
        reply_identity_format="digits",
        bulk_threshold=0,
        application_id="acme",
        preferences_hours=6,
    )


def test_without_an_address_there_is_no_ci360() -> None:
    """Then nothing is told."""
    assert read(ci360_api_url=None) == (None, [])


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_secret_and_a_token_nobody_lets_us_in(nothing: str | None) -> None:
    """One of them is needed."""
    assert fields(ci360_client_secret=nothing, ci360_token=nothing) == {"ci360_api_url"}
    assert ci360(ci360_client_secret=nothing, ci360_token="t").bearer == "t"


@pytest.mark.parametrize(
    "token",
    ["a b", f"Bearer {SECRET}", "a\nX-Evil: 1", "a\r", "\u00e4", "\x7f", "a\u2028"],
    ids=ascii,
)
def test_a_token_that_would_break_its_header_is_refused(token: str) -> None:
    """It is sent as it is."""
    assert fields(ci360_token=token) == {"ci360_token"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ci360_rtc_key", ["", "1a", "a\n", "a:b", "\u00e4", "x" * 101, "a{b}"]),
        ("ci360_identity_key", ["", "1a", "a\n", "a,b", "x" * 101]),
        ("ci360_reply_identity_key", ["", "1a", "a\n", 'a"b', "x" * 101]),
        ("ci360_bulk_threshold", [-1, 5_001]),
        ("ci360_preferences_hours", [0, 0.2, -1, 8761, float("nan"), float("inf")]),
        ("ci360_events", [{"sends": "x"}, {"": "x"}, {"sent": "x" * 257}, {"sent": "a\nb"}, {"sent": " "}]),
    ],
)  # fmt: skip
def test_a_wrong_member_is_told_by_its_name(name: str, values: list[object]) -> None:
    """So that somebody can find it in the document."""
    for value in values:
        assert fields(**{name: value}) == {name}


@pytest.mark.parametrize("name", ["eventName", "externalCode", "twilio_text", "twilio_x"])
@pytest.mark.parametrize(
    "member", ["ci360_rtc_key", "ci360_identity_key", "ci360_reply_identity_key"]
)
def test_no_name_is_taken_that_an_event_has_for_something_else(member: str, name: str) -> None:
    """One would overwrite the other."""
    assert fields(**{member: name}) == {member}


def test_the_tracking_code_is_not_told_in_place_of_an_identity() -> None:
    """Whichever identity that is."""
    for key in IDENTITY_KEYS:
        assert fields(ci360_rtc_key=key) == {"ci360_rtc_key"}
    for member in ("ci360_identity_key", "ci360_reply_identity_key"):
        assert fields(ci360_rtc_key="own", **{member: "own"}) == {"ci360_rtc_key"}
        assert fields(**{member: "responseTrackingCode"}) == {"ci360_rtc_key"}


# What is told


def test_every_outcome_is_told_but_the_quiet_ones() -> None:
    """In the order of their definition."""
    assert ci360().tells == tuple(one for one in Outcome if one not in QUIET)


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_told_under_the_tenants_name_or_not_at_all(outcome: Outcome) -> None:
    """``null`` and an empty name turn it off, whether or not it is quiet."""
    named = ci360(ci360_events={outcome: "x" * 256})
    assert named.names[outcome] == "x" * 256
    for nothing in (None, ""):
        assert outcome not in ci360(ci360_events={outcome: nothing}).tells


def test_no_outcome_may_be_told() -> None:
    """Contact preferences can be pulled all the same."""
    assert ci360(ci360_events=dict.fromkeys(map(str, Outcome))).tells == ()


# The address


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        (URL, URL),
        (HOST, URL),
        (f"{HOST}/", URL),
        (f"{URL}/", URL),
        (f" {URL}\n", URL),
        (f"{HOST}:443", f"{HOST}:443{EVENTS_PATH}"),
        (f"{HOST}/eu{EVENTS_PATH}", f"{HOST}/eu{EVENTS_PATH}"),
        ("HTTPS://Demo.CI360.sas.com", f"https://Demo.CI360.sas.com{EVENTS_PATH}"),
    ],
)
def test_the_address_is_used_as_it_stands_or_completed(url: str, whole: str) -> None:
    """A bare host gets the path of the events."""
    assert ci360(ci360_api_url=url).events_url == whole


def test_the_other_addresses_follow_from_that_of_the_events() -> None:
    """For files of events, and for contact preferences."""
    for base in (HOST, f"{HOST}/eu"):
        found = ci360(ci360_api_url=f"{base}{EVENTS_PATH}")
        assert found.bulk_url == f"{base}/marketingGateway/bulkEventsFileLocation"
        assert found.data_url == f"{base}/marketingData"


@pytest.mark.parametrize(
    "base",
    [
        "https://demo.ci360.sas.com.evil.com",
        "https://evilci360.sas.com",
        "https://ci360.sas.com",
        "https://sas.com",
        "https://demo.ci360.sas.com@evil.com",
        "https://evil.com\\@demo.ci360.sas.com",
        "https://evil.com#.ci360.sas.com",
        "https://evil.com?.ci360.sas.com",
        "https://evil.com%2f.ci360.sas.com",
        "https://demo.ci360.sas.com.",
        "https://demo.ci360\u3002sas.com",
        "https://demo.c\u0131360.sas.com",
        "https://demo.ci360.sas.com:8443",
        "https://demo.ci360.sas.com:99999",
        "https://demo.ci360.sas.com:x",
        "https://user:pass@demo.ci360.sas.com",
        "https://[::1]",
        "https://localhost",
        "https://169.254.169.254",
        "http://demo.ci360.sas.com",
        "ftp://demo.ci360.sas.com",
        "https://",
        "//demo.ci360.sas.com",
        "demo.ci360.sas.com",
        "",
    ],
    ids=ascii,
)
def test_no_trick_leads_to_another_host(base: str) -> None:
    """The token goes there."""
    assert fields(ci360_api_url=base) == {"ci360_api_url"}
    assert fields(ci360_api_url=f"{base}{EVENTS_PATH}") == {"ci360_api_url"}


@pytest.mark.parametrize(
    "url",
    [
        f"{URL}?x=1",
        f"{URL}#x",
        f"{HOST}/marketingGateway",
        f"{HOST}/marketingGateway/bulkEventsFileLocation",
        f"{HOST}/marketingGateway/events/x",
        f"{HOST}/a b{EVENTS_PATH}",
        f"{HOST}/%2e{EVENTS_PATH}",
        f"{HOST}/\u00e4{EVENTS_PATH}",
    ],
    ids=ascii,
)
def test_an_address_that_is_not_that_of_the_events_is_refused(url: str) -> None:
    """Others follow from it."""
    assert fields(ci360_api_url=url) == {"ci360_api_url"}


@pytest.mark.parametrize(
    ("base", "hosts"),
    [
        ("http://127.0.0.1:8362", ["127.0.0.1:8362"]),
        ("https://127.0.0.1:8362", ["other:1", "127.0.0.1:8362"]),
        ("http://Mock.Example.com", ["mock.example.com"]),
        ("http://mock.example.com", ["MOCK.example.com"]),
        ("http://mock.example.com:80", ["mock.example.com"]),
        ("https://mock.example.com:443", ["mock.example.com"]),
        ("http://[::1]:8362", ["[::1]:8362"]),
        ("https://demo.ci360.sas.com:8443", ["demo.ci360.sas.com:8443"]),
    ],
)
def test_hosts_that_the_settings_name_may_be_called(base: str, hosts: list[str]) -> None:
    """Over plain http too; the port counts unless it is the scheme's own."""
    assert ci360(*hosts, ci360_api_url=base).events_url == f"{base}{EVENTS_PATH}"


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://127.0.0.1:8362", "127.0.0.1"),
        ("http://127.0.0.1", "127.0.0.1:8362"),
        ("http://mock.example.com.evil.com", "mock.example.com"),
        ("http://evil.mock.example.com", "mock.example.com"),
        ("http://user@mock.example.com", "mock.example.com"),
        ("ftp://mock.example.com", "mock.example.com"),
        ("https://example.com", ""),
    ],
)
def test_a_named_host_opens_the_door_for_no_other(base: str, host: str) -> None:
    """Nor for another port, nor for the hosts below it."""
    assert fields(host, ci360_api_url=base) == {"ci360_api_url"}


# The token


def claims_of(token: str, secret: str) -> dict[str, Any]:
    """Have PyJWT verify a token under the secret of an access point."""
    key = base64.b64encode(secret.encode())
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=["HS256"], options={"enforce_minimum_key_length": False}
    )
    return claims


@given(
    tenant_id=st.text(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=64
    ),
    secret=st.text(min_size=24),
)
@settings(max_examples=200, deadline=None)
def test_the_token_is_the_one_that_a_reference_implementation_makes(
    tenant_id: str, secret: str
) -> None:
    """Of the tenant's id alone, under the base64 of the secret as text, with no end."""
    token = bearer_of(tenant_id, secret)
    assert claims_of(token, secret) == {"clientID": tenant_id}
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    made = jwt.encode({"clientID": tenant_id}, base64.b64encode(secret.encode()), algorithm="HS256")
    assert token == made


def test_a_token_is_verified_under_no_other_secret() -> None:
    """Nor under the secret itself."""
    token = bearer_of("demo", SECRET)
    with pytest.raises(jwt.InvalidSignatureError):
        claims_of(token, f"{SECRET}x")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, SECRET.encode() + b" " * 32, algorithms=["HS256"])


def test_a_token_fits_into_a_header() -> None:
    """Whatever the secret."""
    token = bearer_of("demo", "\u00e4\U0001f602 \n")
    assert token.isascii()
    assert token.isprintable()
    assert "=" not in token
    assert token.count(".") == 2
