"""``ci360-setup``: what is to be entered in CI360 and in Twilio, and never a secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.outcome import attributes_of
from ci360_twilio.core.report import Outcome

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Gateway, Home, Run

TENANT = "af5af6b8f500013eb0c90001"
OF = ("--tenant", TENANT)
PUBLIC = "https://sms.example.com/base"
INBOUND = f"{PUBLIC}/twilio/inbound/{TENANT}"
SECRETS = ("s3cret", "the-secret", "eyJ", "0f1e2d3c4b5a")
"""Beginnings of what documents hold: callers' credentials, CI360's, a token made of them, Twilio's."""


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public address, below a path."""
    monkeypatch.setenv("CI360_TWILIO_PUBLIC_URL", PUBLIC)


def told(run: Run) -> str:
    """Give what is printed; no secret is in it, nor does it change anything."""
    done = run("ci360-setup", *OF)
    assert (done.code, done.err) == (0, "")
    for secret in SECRETS:
        assert secret not in done.out
    return done.out


def test_the_endpoint_is_told(run: Run, home: Home, public: None) -> None:
    """Where it is and what CI360 sends; a ledger is not needed."""
    out = told(run)
    assert f"   URL        {PUBLIC}/ci360/events\n" in out
    assert "   Method     POST\n" in out
    assert "   Header     Content-Type: application/json\n" in out
    assert re.search(r"Time-out   30 seconds or more", out)
    assert not home.ledger.exists()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"api_keys": ["s3cret-key"]}, "x-api-key: one of api_keys in the tenant's document"),
        (
            {"basic": {"username": "s3cret-user", "password": "s3cret-word"}},
            "Basic, with user and password of `basic`",
        ),
        ({"bearer_tokens": ["s3cret-bearer"]}, "Authorization: Bearer, as the tenant's document"),
        (
            {"jwt": {"algorithm": "HS256", "key": "s3cret-key"}},
            "Authorization: Bearer, as the tenant's document",
        ),
        ({}, "none: the document has no credential"),
    ],
    ids=["key", "basic", "bearer", "jwt", "none"],
)
def test_what_ci360_must_present_is_told_by_its_name(
    run: Run, home: Home, document: dict[str, Any], words: str
) -> None:
    """Every way that the document has, and no value of it."""
    home.write(**document)
    out = told(run)
    assert words in out
    assert ("none: the document" in out) is (document == {})
    shown = run("ci360-setup", *OF, "--json").read()
    assert shown["endpoint"]["credential"] is (document != {})


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:8360", PUBLIC])
def test_without_a_credential_it_says_who_is_served(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    """Where there is a public address, even this machine is not."""
    if url:
        monkeypatch.setenv("CI360_TWILIO_PUBLIC_URL", url)
    whom = "nobody is served" if url else "this machine only is served"
    assert f"none: the document has no credential, so that {whom}\n" in told(run)


def test_a_gateway_in_front_asks_for_what_it_likes(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the document need have nothing."""
    monkeypatch.setenv("CI360_TWILIO_AUTHENTICATED_UPSTREAM", "true")
    out = told(run)
    assert "whatever the gateway in front of the connector asks for" in out
    assert "none: the document" not in out


def test_the_external_events_are_told_with_their_attributes(run: Run, gateway: Gateway) -> None:
    """Each name once, with what it tells; each attribute once, with its length."""
    out = told(run)
    for outcome in Outcome:
        quiet = outcome in (Outcome.SENT, Outcome.READ)
        assert out.count(f"   twilio_sms_{outcome} ") == (0 if quiet else 1)
        for attribute in () if quiet else attributes_of(outcome):
            [line] = [line for line in out.splitlines() if line.startswith(f"   {attribute.name} ")]
            assert line.split()[1] == str(attribute.longest)
    assert "   Not told: sent, read; name them in ci360_events to have them told.\n" in out
    assert "They name the customer by datahub_id" in out
    assert "A text of somebody unknown is set aside" in out


def test_names_are_those_of_the_tenants_document(run: Run, home: Home, gateway: Gateway) -> None:
    """Also of the tracking code, and of identities; what is switched off is not told."""
    changes: dict[str, Any] = {
        "ci360_events": {"read": "SMS read", "failed": None, "reply": "SMS answer"},
        "ci360_rtc_key": "rtc",
        "ci360_identity_key": "subject_id",
        "ci360_reply_identity_key": "mobile",
    }
    home.write(**gateway.members | changes)
    out = told(run)
    assert re.search(r"^   SMS read +it was read", out, re.MULTILINE)
    assert re.search(r"^   SMS answer +the customer wrote back", out, re.MULTILINE)
    assert re.search(r"^   rtc +64 +all +the response tracking code", out, re.MULTILINE)
    assert "twilio_sms_failed" not in out
    assert "Not told: sent, failed;" in out
    assert "by subject_id" in out
    assert "names its number as mobile." in out


def test_without_ci360_it_says_what_is_missing(run: Run, home: Home) -> None:
    """Nothing is told to it then."""
    out = told(run)
    assert "names no ci360_api_url, so that nothing is told to CI360." in out
    assert "EXTERNAL EVENT" not in out


def test_twilios_addresses_are_told(run: Run, home: Home, public: None) -> None:
    """With the part that has Twilio try again."""
    out = told(run)
    assert f"webhook, HTTP POST   {INBOUND}#rc=5&rp=all\n" in out
    assert f"fallback, HTTP POST  {INBOUND}?fallback=1#rc=5&rp=all\n" in out
    assert f"{PUBLIC}/twilio/status/{TENANT}?m=...#rc=5&rp=all\n" in out


def test_without_a_public_address_it_says_what_that_means(run: Run, home: Home) -> None:
    """Twilio cannot reach us; no address is made up."""
    out = told(run)
    assert "CI360_TWILIO_PUBLIC_URL is not set" in out
    assert "<where the connector is reached>/ci360/events" in out
    assert "/twilio/inbound" not in out


def test_scripts_get_all_of_it(run: Run, gateway: Gateway, public: None) -> None:
    """As JSON, without a secret."""
    done = run("ci360-setup", *OF, "--json")
    shown = done.read()
    assert set(shown) == {"tenant", "endpoint", "external_events", "twilio"}
    assert shown["endpoint"]["url"] == f"{PUBLIC}/ci360/events"
    assert shown["twilio"] == {
        "inbound_url": f"{INBOUND}#rc=5&rp=all",
        "inbound_fallback_url": f"{INBOUND}?fallback=1#rc=5&rp=all",
    }
    events = {event["outcome"]: event for event in shown["external_events"]}
    assert set(events) == {*map(str, Outcome)} - {"sent", "read"}
    names = [attribute["name"] for attribute in events["reply"]["attributes"]]
    assert names[0] == "responseTrackingCode"
    assert names[1:] == [attribute.name for attribute in attributes_of(Outcome.REPLY)]
    assert not [secret for secret in SECRETS if secret in done.out]


def test_scripts_are_told_what_is_missing(run: Run, home: Home) -> None:
    """By null, or an empty list."""
    shown = run("ci360-setup", *OF, "--json").read()
    assert shown["external_events"] == []
    assert shown["endpoint"]["url"] is None
    assert shown["twilio"] == {"inbound_url": None, "inbound_fallback_url": None}


@pytest.mark.parametrize(
    ("tenant", "code"), [("nobody", 1), ("broken", 1), ("../\x1b[31m", 2)], ids=repr
)
def test_a_tenant_that_cannot_be_read_is_told(run: Run, home: Home, tenant: str, code: int) -> None:
    """No document, one that is wrong, or no name at all."""
    home.write("broken", twilio_account_sid="x")
    done = run("ci360-setup", "--tenant", tenant)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("ci360-twilio: ")
