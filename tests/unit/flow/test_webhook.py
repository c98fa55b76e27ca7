"""Who may post to us: signed for this very address, by the tenant's own account, and to be read."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.signature import HEADER, SETTINGS, signed
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import (
    ConnectorError,
    Forbidden,
    NotReadable,
    TenantBroken,
    TenantUnavailable,
    TooLarge,
)
from ci360_twilio.flow.addresses import INBOUND, STATUS
from ci360_twilio.flow.webhook import (
    MAX_WEBHOOK,
    Admitted,
    Doorkeeper,
    Refused,
    Webhook,
    refusal_fields,
    refused,
)

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER, NOBODY = TenantId("acme"), TenantId("other"), TenantId("nobody")
CACHED = 301
"""Seconds after which a document is read again."""


def replaced(webhook: Webhook, **changes: Any) -> Webhook:
    """Change a webhook after it was signed."""
    return msgspec.structs.replace(webhook, **changes)


def admitted(world: World, webhook: Webhook, route: str = INBOUND) -> Admitted:
    """Let a webhook in that must be."""
    found = world.doorkeeper.admit(webhook, route)
    assert isinstance(found, Admitted), found
    return found


def turned_away(world: World, webhook: Webhook, route: str = INBOUND) -> Refused:
    """Refuse a webhook that must be."""
    found = world.doorkeeper.admit(webhook, route)
    assert isinstance(found, Refused), found
    return found


def with_json(world: World, body: bytes, *, hashed: bytes | None = None) -> Webhook:
    """Make a webhook with another body than a form: its hash stands in the query that is signed."""
    query = f"bodySHA256={hashlib.sha256(body if hashed is None else hashed).hexdigest()}"
    webhook = world.sign({}, query=query)
    headers = {**webhook.headers, "content-type": "application/json"}
    return replaced(webhook, headers=headers, body=body)


# Who is let in


@pytest.mark.parametrize("route", [INBOUND, STATUS])
def test_a_signed_webhook_is_let_in_with_its_tenant_and_form(world: World, route: str) -> None:
    """Every parameter is given as it came, also one that is empty."""
    form = world.form(Body="Grüße & more = 50% +", Empty="")
    tenant, found = admitted(world, world.sign(form, route=route, query="m=1"), route)
    assert (tenant, found) == (world.tenant(), form)


def test_what_the_twin_signs_is_let_in(world: World) -> None:
    """It signs by itself, not by the package that the other tests use."""
    assert admitted(world, world.post("Hello")).form["Body"] == "Hello"


@pytest.mark.parametrize("token", ["second-token", "third-token"])
def test_every_token_of_the_document_may_have_signed(world: World, token: str) -> None:
    """While a token is changed at Twilio there are two."""
    world.papers.write(ACME, twilio_auth_tokens=["second-token", "third-token"])
    assert admitted(world, world.sign(world.form(), token=token)).tenant.id == ACME


def test_a_shared_key_may_have_signed(world: World) -> None:
    """It is named in a header, with its algorithm."""
    world.papers.write(ACME, twilio_webhook_keys={"WK1": "the-shared-key"})
    webhook, form = world.sign(world.form()), world.form()
    url = f"{world.public}{INBOUND}{ACME}"
    headers = {
        **webhook.headers,
        SETTINGS: "key=WK1,algorithm=HMAC_SHA256",
        HEADER: signed(url, form.items(), "the-shared-key", digest="sha256"),
    }
    assert admitted(world, replaced(webhook, headers=headers)).form == form


@pytest.mark.parametrize("port", [":443", ""])
def test_the_standard_port_may_stand_in_the_address_or_not(world: World, port: str) -> None:
    """Twilio's own parts do not agree on it."""
    webhook = world.sign(world.form(), public_url=f"{world.public}{port}")
    assert admitted(world, webhook).tenant.id == ACME


def test_json_is_read_where_its_hash_is_signed(world: World) -> None:
    """Only members that are text are given, as a form has them."""
    members = {"AccountSid": world.tenant().account, "Body": "Hello", "Number": 1, "Null": None}
    webhook = with_json(world, json.dumps(members).encode())
    assert set(admitted(world, webhook).form) == {"AccountSid", "Body"}


# Who is not


FORGED: dict[str, dict[str, Any]] = {
    "no signature": {"headers": {"content-type": "application/x-www-form-urlencoded"}},
    "an empty signature": {"headers": {HEADER: ""}},
    "another body": {"body": b"Body=Hi"},
    "no body": {"body": b""},
    "another query": {"query": "m=other"},
    "another tenant": {"tenant_id": "other"},
    "an unknown tenant": {"tenant_id": "nobody"},
    "a tenant that is none": {"tenant_id": "../acme"},
    "an empty tenant": {"tenant_id": ""},
    "a body that is no text": {"body": b"\xff\xfe"},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
def test_what_was_changed_after_it_was_signed_is_refused(
    world: World, changes: dict[str, Any]
) -> None:
    """In the same words whatever it was, so that nobody learns which tenants there are."""
    webhook = world.sign(world.form(), query="m=1")
    refusal = turned_away(world, replaced(webhook, **changes))
    assert isinstance(refusal.error, Forbidden)
    assert str(refusal.error) == str(refused("anything").error)


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "guessed"},
        {"token": "the-token-of-other"},
        {"token": ""},
        {"route": STATUS},
        {"public_url": "https://attacker.example"},
        {"public_url": "http://sms.example.com"},
        {"public_url": "https://sms.example.com:8443"},
    ],
    ids=lambda changes: "=".join(*changes.items()),
)
def test_what_was_signed_otherwise_is_refused(world: World, changes: dict[str, str]) -> None:
    """Compared with our own address, never with the host that the request claims to be for."""
    webhook = world.sign(world.form(), **changes)  # type: ignore[arg-type]
    headers = {**webhook.headers, "host": "attacker.example", "x-forwarded-host": "sms.example.com"}
    refusal = turned_away(world, replaced(webhook, headers=headers))
    assert (refusal.reason, refusal.tenant_id) == ("signature", ACME)


@pytest.mark.parametrize("account", [None, "", "AC" + "e5" * 16, "ac" + "d4" * 16])
def test_another_account_in_the_body_is_refused(world: World, account: str | None) -> None:
    """Also one that is signed with our token: two tenants may have written down the same."""
    refusal = turned_away(world, world.sign(world.form(AccountSid=account)))
    assert (refusal.error.http_status, refusal.reason) == (403, "account")


def test_json_whose_hash_does_not_fit_is_refused(world: World) -> None:
    """The signature covers the query alone; the hash in it covers the body."""
    members = json.dumps({"AccountSid": world.tenant().account}).encode()
    assert turned_away(world, with_json(world, members, hashed=b"{}")).reason == "signature"


def test_json_without_a_hash_is_refused(world: World) -> None:
    """Nothing would cover it."""
    webhook = world.sign({})
    headers = {**webhook.headers, "content-type": "application/json"}
    body = json.dumps({"AccountSid": world.tenant().account}).encode()
    assert turned_away(world, replaced(webhook, headers=headers, body=body)).reason == "signature"


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"", b"{" * 5_000, b'{"a": "\xff"}'])
def test_a_signed_body_that_cannot_be_read_is_told_so(world: World, body: bytes) -> None:
    """It is Twilio's, so that the answer may say what is wrong."""
    refusal = turned_away(world, with_json(world, body))
    assert isinstance(refusal.error, NotReadable)
    assert (refusal.reason, refusal.tenant_id) == ("malformed", ACME)


def test_a_body_may_be_as_long_as_the_limit_and_no_longer(world: World) -> None:
    """What is longer is refused before anything is done with it."""
    size = len(urlencode(world.form(Body="")))
    longest = world.sign(world.form(Body="x" * (MAX_WEBHOOK - size)))
    assert len(longest.body) == MAX_WEBHOOK
    admitted(world, longest)
    reads = world.papers.reads
    refusal = turned_away(world, replaced(longest, tenant_id=OTHER, body=longest.body + b"x"))
    assert isinstance(refusal.error, TooLarge)
    assert (refusal.tenant_id, world.papers.reads) == (None, reads)


@pytest.mark.parametrize("tenant_id", ["", "../acme", "a/b", "x" * 65, "acme ", "ac\0me"])
def test_an_id_is_checked_before_it_is_looked_up(world: World, tenant_id: str) -> None:
    """It would become part of a path, or of a secret's name."""
    refusal = turned_away(world, replaced(world.sign(world.form()), tenant_id=tenant_id))
    assert (refusal.reason, refusal.error.http_status) == ("tenant", 403)
    assert world.papers.reads == 0


def test_without_a_public_address_nobody_is_let_in(world: World) -> None:
    """There is nothing that a signature could be compared with."""
    doorkeeper = Doorkeeper(world.tenants, public_url=None)
    webhook = world.sign(world.form(), public_url="None")
    found = doorkeeper.admit(webhook, INBOUND)
    assert isinstance(found, Refused)
    assert (found.reason, found.error.http_status) == ("no_public_url", 403)
    assert world.papers.reads == 0


# Tenants' documents


def test_a_token_that_was_changed_is_found_at_once(world: World) -> None:
    """The document is read again before a signature is refused."""
    world.tenant()
    world.papers.write(ACME, twilio_auth_token="the-new-token")
    webhook = world.sign(world.form(), token="the-new-token")
    assert admitted(world, webhook).tenant.webhook_tokens == ("the-new-token",)
    assert world.papers.reads == 2


def test_forgeries_have_a_document_read_once_in_a_while(world: World) -> None:
    """Whoever posts them cannot have it read for each."""
    forged = world.sign(world.form(), token="guessed")
    assert {turned_away(world, forged).reason for _ in range(20)} == {"signature"}
    assert world.papers.reads == 2


def test_an_account_that_was_changed_is_compared_as_it_is_now(world: World) -> None:
    """With the document that the signature was found to fit."""
    world.tenant()
    world.papers.write(ACME, twilio_auth_token="new", twilio_account_sid="AC" + "f6" * 16)
    old = world.sign(world.form(), token="new")
    new = world.sign(world.form(AccountSid="AC" + "f6" * 16), token="new")
    assert turned_away(world, old).reason == "account"
    assert admitted(world, new).tenant.account == "AC" + "f6" * 16


@pytest.mark.parametrize("error", [TenantUnavailable, TenantBroken])
def test_where_a_document_cannot_be_read_the_webhook_may_come_again(
    world: World, error: type[ConnectorError]
) -> None:
    """Twilio repeats it; a document that is in the cache stays in use meanwhile."""
    world.papers.errors[ACME] = error("The document is away.")
    refusal = turned_away(world, world.sign(world.form()))
    assert (refusal.error.http_status, refusal.reason) == (503, error.code)
    del world.papers.errors[ACME]
    world.clock.advance(seconds=CACHED)
    admitted(world, world.sign(world.form()))
    world.papers.errors[ACME] = TenantUnavailable("The document is away.")
    world.clock.advance(seconds=CACHED)
    admitted(world, world.sign(world.form()))


def test_a_tenant_that_is_gone_is_unknown(world: World) -> None:
    """Also where only the second look finds it gone; the answer is that of a wrong signature."""
    world.tenant()
    del world.papers.documents[ACME]
    refusal = turned_away(world, world.sign(world.form(), token="guessed"))
    assert (refusal.reason, refusal.error.http_status) == ("tenant", 403)


def test_a_refusal_is_logged_by_its_status_and_reason(world: World) -> None:
    """Of what was posted nothing is."""
    refusal = turned_away(world, world.sign(world.form(), token="guessed"))
    assert refusal_fields(refusal) == {"decision": 403, "reason": "signature"}


def test_the_packages_signature_is_that_of_this_address(world: World) -> None:
    """So that the tests above prove something: the package itself finds it right."""
    webhook, form = world.sign(world.form(), query="m=1"), world.form()
    url = f"{world.public}{INBOUND}{ACME}?m=1"
    validator = RequestValidator(world.tenant().webhook_tokens[0])
    assert validator.validate(url, form, webhook.headers[HEADER])
