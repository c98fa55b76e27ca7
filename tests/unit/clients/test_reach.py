"""Our own public address, called as Twilio calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.clients.reach import Reached, reach
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import NotReached
from ci360_twilio.twin.faults import Ending

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Web

PATH = "/below/twilio/inbound/tenant"


@pytest.fixture
def tenant(tenant_at: Callable[[str], Tenant]) -> Tenant:
    """A tenant, whose token signs."""
    return tenant_at("https://api.twilio.com")


def test_the_statuses_of_both_answers_are_given(web: Callable[..., Web], tenant: Tenant) -> None:
    """The signed one's first."""
    server = web().say(200).say(403)
    assert reach(f"{server.url}{PATH}", tenant) == Reached(signed=200, unsigned=403)


def test_twilios_own_package_takes_the_signed_one(web: Callable[..., Web], tenant: Tenant) -> None:
    """For the whole address, and with the account's token; the other one has no signature."""
    server = web().say(200)
    url = f"{server.url}{PATH}"
    reach(url, tenant)
    signed, unsigned = server.requests
    form = dict(parse_qsl(signed.body.decode()))
    signature = signed.headers["x-twilio-signature"]
    assert RequestValidator("a-token").validate(url, form, signature)
    assert not RequestValidator("another").validate(url, form, signature)
    assert "x-twilio-signature" not in unsigned.headers
    assert (signed.method, signed.path, signed.body) == ("POST", PATH, unsigned.body)


def test_the_webhook_names_no_customer(web: Callable[..., Web], tenant: Tenant) -> None:
    """And no message that there is, so that a server changes nothing."""
    server = web().say(200)
    reach(f"{server.url}{PATH}", tenant)
    form = dict(parse_qsl(server.requests[0].body.decode()))
    assert form.keys() == {"MessageSid", "MessageStatus", "AccountSid"}
    assert form["MessageStatus"] != "received"


def test_an_answer_that_does_not_come_is_told(web: Callable[..., Web], tenant: Tenant) -> None:
    """With why, in a word."""
    with pytest.raises(NotReached) as caught:
        reach(f"{web(Ending.RESET).url}{PATH}", tenant)
    assert caught.value.reason == "connection_lost"


def test_an_answer_is_not_waited_for_for_ever(web: Callable[..., Web], tenant: Tenant) -> None:
    """Something else may listen there."""
    server = web(Ending.SILENT).say(200)
    with pytest.raises(NotReached) as caught:
        reach(f"{server.url}{PATH}", tenant, timeout=0.2)
    assert caught.value.reason == "read_timeout"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "connect_refused"),
        ("http://127.0.0.1:99999", "not_an_address"),
        ("http://127.0.0.1:port", "not_an_address"),
        ("https://127.0.0.1:1", "connect_refused"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(tenant: Tenant, url: str, reason: str) -> None:
    """Also one that is none."""
    with pytest.raises(NotReached) as caught:
        reach(f"{url}{PATH}", tenant)
    assert caught.value.reason == reason
