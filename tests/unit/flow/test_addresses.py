"""The addresses that Twilio is given: where they lead, and what stands in them for Twilio alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.addresses import INBOUND, OVERRIDES, STATUS, inbound_address, status_address
from ci360_twilio.flow.settle import Settlement
from ci360_twilio.flow.webhook import Admitted
from ci360_twilio.twin.callback import Failing, parse_retries

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

PUBLIC = "https://sms.example.com"
ACME = TenantId("acme")
M = "c0rrelat10nOfOneMessage"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (status_address(PUBLIC, ACME, M), f"{PUBLIC}/twilio/status/acme?m={M}#rc=5&rp=all"),
        (inbound_address(PUBLIC, ACME), f"{PUBLIC}/twilio/inbound/acme#rc=5&rp=all"),
        (
            inbound_address(PUBLIC, ACME, fallback=True),
            f"{PUBLIC}/twilio/inbound/acme?fallback=1#rc=5&rp=all",
        ),
    ],
    ids=["status", "inbound", "fallback"],
)
def test_an_address_is_the_public_one_with_our_route_and_the_tenant(
    given: str, address: str
) -> None:
    """What Twilio is to do about failures stands behind the hash."""
    assert given == address


@pytest.mark.parametrize("public_url", [f"{PUBLIC}/connector/v1", "http://127.0.0.1:8360"])
def test_a_path_or_port_of_the_public_address_stays_in_front(public_url: str) -> None:
    """Where a gateway gives us a part of its own address."""
    assert status_address(public_url, ACME, M).startswith(f"{public_url}{STATUS}acme?")
    assert inbound_address(public_url, ACME).startswith(f"{public_url}{INBOUND}acme#")


def test_twilio_repeats_a_webhook_five_times_whatever_went_wrong() -> None:
    """As Twilio reads what stands behind the hash of each address."""
    for address in (status_address(PUBLIC, ACME, M), inbound_address(PUBLIC, ACME)):
        retries = parse_retries(urlsplit(address).fragment)
        assert (retries.count, retries.after) == (5, frozenset(Failing))


def test_the_overrides_are_all_that_stands_behind_the_hash() -> None:
    """They are no part of what is signed, so nothing else may be there."""
    addresses = [status_address(PUBLIC, ACME, M), inbound_address(PUBLIC, ACME, fallback=True)]
    assert {f"#{urlsplit(one).fragment}" for one in addresses} == {OVERRIDES}


def test_the_address_and_its_fallback_are_two() -> None:
    """Twilio takes no fallback that is the address itself; both lead to one route."""
    first, second = (inbound_address(PUBLIC, ACME, fallback=one) for one in (False, True))
    assert first != second
    assert urlsplit(first).path == urlsplit(second).path


@pytest.mark.parametrize("fallback", [False, True])
def test_what_a_customer_writes_comes_in_at_the_inbound_address(
    world: World, fallback: bool
) -> None:
    """Signed for the very address, with its query and without what stands behind the hash."""
    address = inbound_address(PUBLIC, ACME, fallback=fallback)
    world.twilio.set_inbound(world.tenant().account, inbound_url=address)
    assert isinstance(world.doorkeeper.admit(world.post("Hello"), INBOUND), Admitted)
    assert world.listen("Hello again") == "taken"


def test_what_becomes_of_a_message_comes_in_at_the_status_address(world: World) -> None:
    """The correlation in its query finds the entry."""
    key = world.send(correlation=M, sid=f"SM{'1a' * 16}")
    form = world.form(MessageStatus="delivered", From=world.ours, To=world.customer)
    query = urlsplit(status_address(PUBLIC, ACME, M)).query
    webhook = world.sign(form, route=STATUS, query=query)
    settlement = Settlement(world.store, world.store, world.doorkeeper, world.clock, world.log)
    settlement.settle_many([webhook])
    assert world.entry(key).status == "delivered"
