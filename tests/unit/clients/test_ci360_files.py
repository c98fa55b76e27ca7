"""The client for CI360's gateway: files of events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.clients.ci360 import rows
from ci360_twilio.clients.connections import MAX_ANSWER
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.core.outcome import ExternalEvent
from ci360_twilio.errors import Trouble
from ci360_twilio.twin.faults import Ending

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Gateway, Web

MakeWeb = Callable[..., "Web"]
BULK_PATH = "/marketingGateway/bulkEventsFileLocation"
NOT_FOUND = [
    b"",
    b"null",
    b"[]",
    b"7",
    b"\xff",
    b"<html>logged in</html>",
    b"{",
    b"[" * 100_000,
    b'{"links":null}',
    b'{"links":{}}',
    b'{"links":"self"}',
    b'{"links":[]}',
    b'{"links":[null,7,"self",[]]}',
    b'{"links":[{"rel":"next","href":"x"}]}',
    b'{"links":[' + b" " * MAX_ANSWER + b'{"rel":"self","href":"x"}]}',
]
HOSTILE = [None, "", 7, {"href": "x"}, "https://evil.example/5ec2e7", "http://169.254.169.254/x"]

pytestmark = pytest.mark.usefixtures("no_proxies")


def event(number: int, **attributes: str) -> ExternalEvent:
    """Make an event."""
    return ExternalEvent(
        name="twilio_sms_reply", identity=("datahub_id", f"D{number}"), attributes=attributes
    )


def test_a_file_of_events_arrives_whole(gateway: Gateway) -> None:
    """Each event in its order, with whatever a customer writes."""
    texts = [
        "plain",
        'a "quoted", text; ok',
        "two\nlines\r\nor three",
        "",
        "Grüße 👍",
        "=1+2",
        "  ",
    ]
    events = [event(number, twilio_text=text, b="c") for number, text in enumerate(texts)]
    gateway.client.tell_many(gateway.tenant(), events)
    taken = gateway.twin.events
    assert [one.attributes for one in taken] == [one.attributes for one in events]
    assert [one.identity for one in taken] == [one.identity for one in events]
    assert {(one.tenant_id, one.name, one.by_file) for one in taken} == {
        ("demo", "twilio_sms_reply", True)
    }


def test_a_line_of_a_file_is_written_as_sass_own_samples_are() -> None:
    """Name, identity, then names and values by turns; no header, and quotes only where needed."""
    events = [event(1, a="b", c="d,e"), event(2), event(3, a='say "x"\ny')]
    assert rows(events).decode() == (
        'twilio_sms_reply,datahub_id,D1,a,b,c,"d,e"\n'
        "twilio_sms_reply,datahub_id,D2\n"
        'twilio_sms_reply,datahub_id,D3,a,"say ""x""\ny"\n'
    )
    assert rows([]) == b""


def test_a_thousand_events_are_two_requests(gateway: Gateway, web: MakeWeb) -> None:
    """One for an address, one for the file; the address says nothing of the token."""
    storage = web().say(200)
    location = {
        "links": [{"rel": "next", "href": "x"}, {"rel": "self", "href": storage.url + "/f?s=1"}]
    }
    served = web().say(201, json.dumps(location).encode())
    client = gateway.client_for(storage)
    tenant = gateway.tenant(served, ci360_application_id="acme-app")
    events = [event(number, a="b") for number in range(1000)]
    client.tell_many(tenant, events)
    (asked,), (put,) = served.requests, storage.requests
    assert (asked.method, asked.path) == ("POST", BULK_PATH)
    assert json.loads(asked.body) == {"version": 1, "applicationId": "acme-app"}
    assert asked.headers["authorization"] == f"Bearer {gateway.token}"
    assert (put.method, put.path, put.query) == ("PUT", "/f", "s=1")
    assert put.headers["content-type"] == "application/octet-stream"
    assert "authorization" not in put.headers
    assert put.body == rows(events)
    client.close()


@pytest.mark.parametrize("body", NOT_FOUND, ids=range(len(NOT_FOUND)))
def test_an_answer_without_an_address_is_no_answer(
    gateway: Gateway, web: MakeWeb, body: bytes
) -> None:
    """It is asked for once more; so is one that breaks off, or never ends."""
    served = web().say(200, body)
    error = gateway.failure(lambda: gateway.client.tell_many(gateway.tenant(served), [event(1)]))
    assert (error.trouble, error.reason) == (Trouble.AWAY, "unreadable_answer")
    assert len(served.requests) == 1


@pytest.mark.parametrize("ending", [Ending.CUT, Ending.RESET])
def test_an_address_that_breaks_off_is_none(gateway: Gateway, web: MakeWeb, ending: Ending) -> None:
    """Half an address leads elsewhere."""
    body = b'{"links":[{"rel":"self","href":"https://bucket.s3.amazonaws.com/a?b=c"}]}'
    served = web(ending).say(200, body) if ending is Ending.CUT else web(ending)
    error = gateway.failure(lambda: gateway.client.tell_many(gateway.tenant(served), [event(1)]))
    assert error.trouble is Trouble.AWAY


@pytest.mark.parametrize("href", HOSTILE, ids=ascii)
def test_an_address_that_may_not_be_called_is_not_called(
    gateway: Gateway, web: MakeWeb, href: object
) -> None:
    """As if CI360 had given none; events go one by one then. Nobody is shown the address."""
    location = {"links": [{"rel": "self", "href": href}]}
    tenant = gateway.tenant(web().say(200, json.dumps(location).encode()))
    error = gateway.failure(lambda: gateway.client.tell_many(tenant, [event(1)]))
    assert (error.trouble, error.reason) == (Trouble.REFUSED, "address_refused")
    assert "5ec2e7" not in f"{error.message} {error.said}"


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "address_expired"), (500, "http_500"), (302, "http_302")]
)
def test_a_file_that_the_storage_does_not_take_is_sent_again(
    gateway: Gateway, web: MakeWeb, status: int, reason: str
) -> None:
    """With a fresh address."""
    storage = web().say(status, b"<Error/>")
    location = {"links": [{"rel": "self", "href": f"{storage.url}/f?X-Amz-Signature=5ec2e7"}]}
    tenant = gateway.tenant(web().say(200, json.dumps(location).encode()))
    client = gateway.client_for(storage)
    error = gateway.failure(lambda: client.tell_many(tenant, [event(1)]))
    assert (error.trouble, error.reason) == (Trouble.AWAY, reason)
    assert len(storage.requests) == 1
    client.close()


def test_an_address_can_be_asked_for_alone(gateway: Gateway) -> None:
    """To see whether CI360 is there; nothing comes of it."""
    address = gateway.client.bulk_location(gateway.tenant())
    assert str(address).startswith(f"{gateway.server.url}/files/")
    assert gateway.twin.events == ()


def test_an_address_takes_one_file(gateway: Gateway) -> None:
    """A second one is told so."""
    address = gateway.client.bulk_location(gateway.tenant())
    addresses = SignedAddresses((gateway.server.authority,))
    addresses.put(address, b"twilio_sms_sent,datahub_id,D1\n", "text/csv", timeout=10)
    error = gateway.failure(lambda: addresses.put(address, b"x", "text/csv", timeout=10))
    assert error.reason == "address_expired"
    assert len(gateway.twin.events) == 1
