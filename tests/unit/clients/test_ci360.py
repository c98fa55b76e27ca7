"""The client for CI360's gateway: what it sends, and what the twin makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.clients.ci360 import Ci360Client
from ci360_twilio.core.ci360 import EVENTS_PATH, bearer_of
from ci360_twilio.core.outcome import ExternalEvent
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import Trouble
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Gateway, Web

MakeWeb = Callable[..., "Web"]
AWAY, THROTTLED, DENIED, REFUSED = (
    Trouble.AWAY,
    Trouble.THROTTLED,
    Trouble.DENIED,
    Trouble.REFUSED,
)

pytestmark = pytest.mark.usefixtures("no_proxies")


# What is sent


def test_an_event_arrives_as_it_was_made(gateway: Gateway) -> None:
    """With its name, its identity, and every attribute."""
    gateway.tell()
    (taken,) = gateway.twin.events
    assert (taken.tenant_id, taken.name, taken.by_file) == ("demo", gateway.event.name, False)
    assert (taken.identity, taken.attributes) == (gateway.event.identity, gateway.event.attributes)


@pytest.mark.parametrize("path", ["", "/base"])
def test_the_request_is_that_of_sass_own_samples(gateway: Gateway, web: MakeWeb, path: str) -> None:
    """JSON, with the token, to the address as it stands."""
    served = web().say(200, b"{}")
    tenant = gateway.tenant(served, ci360_api_url=f"{served.url}{path}{EVENTS_PATH}")
    gateway.client.tell(tenant, gateway.event)
    (request,) = served.requests
    assert (request.method, request.path, request.query) == ("POST", f"{path}{EVENTS_PATH}", "")
    assert json.loads(request.body) == {
        "eventName": gateway.event.name,
        "datahub_id": "D-4711",
        **gateway.event.attributes,
    }
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("ci360-twilio-connector/")
    assert headers == {
        "host": served.authority,
        "authorization": f"Bearer {gateway.token}",
        "content-type": "application/json",
        "accept": "application/json",
        "content-length": str(len(request.body)),
    }


def test_a_token_that_was_handed_out_is_sent_as_it_is(gateway: Gateway, web: MakeWeb) -> None:
    """Where the tenant has one, no other is made."""
    served = web().say(200)
    gateway.client.tell(gateway.tenant(served, ci360_token="handed.out.token"), gateway.event)
    assert served.requests[0].headers["authorization"] == "Bearer handed.out.token"


def test_two_tenants_at_one_address_keep_their_tokens_apart(gateway: Gateway, web: MakeWeb) -> None:
    """Connections are shared, tokens never."""
    served = web().say(200)
    for token in ("first", "second", "first"):
        gateway.client.tell(gateway.tenant(served, ci360_token=token), gateway.event)
    sent = [request.headers["authorization"] for request in served.requests]
    assert sent == ["Bearer first", "Bearer second", "Bearer first"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_success_acknowledges_an_event(gateway: Gateway, web: MakeWeb, status: int) -> None:
    """What it says beside that is not documented, and not looked at."""
    served = web().say(status, b"" if status == 204 else b"<anything>\xff")
    gateway.tell(served)
    assert len(served.requests) == 1


def test_a_client_that_was_closed_can_be_used_again(gateway: Gateway) -> None:
    """Only connections that rest are closed."""
    gateway.tell()
    gateway.client.close()
    gateway.tell()
    assert len(gateway.twin.events) == 2


# The twin's faults


@pytest.mark.parametrize(
    ("fault", "trouble", "reason", "heard"),
    [
        (Fault.HTTP_400, REFUSED, "ci360_http_400", 0),
        (Fault.HTTP_401, DENIED, "ci360_http_401", 0),
        (Fault.HTTP_429, THROTTLED, "ci360_http_403", 0),
        (Fault.HTTP_500, AWAY, "ci360_http_500", 0),
        (Fault.HTTP_500_MADE, AWAY, "ci360_http_500", 1),
        (Fault.HTTP_503, AWAY, "ci360_http_503", 0),
        (Fault.HTTP_503_MADE, AWAY, "ci360_http_503", 1),
        (Fault.RESET, AWAY, "connection_lost", 1),
        (Fault.REFUSE, AWAY, "connection_lost", 0),
        (Fault.UNREACHABLE, AWAY, "connection_lost", 0),
        ("slow:30", AWAY, "read_timeout", 1),
        ("hang:30", AWAY, "read_timeout", 1),
    ],
)
def test_the_twins_faults_are_what_they_look_like(
    gateway: Gateway, fault: str, trouble: Trouble, reason: str, heard: int
) -> None:
    """Whether it heard of the event, the client cannot know; the next attempt is fine."""
    gateway.faults.burst(fault, requests=1)
    error = gateway.failure(lambda: gateway.tell(timeout=0.5))
    assert (error.trouble, error.reason) == (trouble, reason)
    assert len(gateway.twin.events) == heard
    gateway.tell()
    assert len(gateway.twin.events) == heard + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ci360_client_secret": "another"}, "MKTCMN74261"),
        ({"ci360_token": bearer_of("stranger", "s3cret-Xyzzy")}, "MKTCMN74248"),
        ({"ci360_token": "no-token-at-all"}, "MKTCMN74224"),
    ],
)
def test_a_token_that_does_not_fit_is_denied(
    gateway: Gateway, changes: dict[str, Any], words: str
) -> None:
    """With CI360's own id for the reason."""
    error = gateway.failure(lambda: gateway.client.tell(gateway.tenant(**changes), gateway.event))
    assert (error.trouble, error.reason) == (DENIED, "ci360_http_401")
    assert words in error.said


def test_an_event_that_is_not_published_is_refused_with_ci360s_words(gateway: Gateway) -> None:
    """They name it, so that somebody can publish it."""
    gateway.twin.publish(["twilio_sms_delivered"])
    error = gateway.failure(lambda: gateway.tell())
    assert (error.trouble, error.reason) == (REFUSED, "ci360_http_400")
    assert gateway.event.name in error.said


EVENT = ExternalEvent(name="x", identity=("datahub_id", "1"), attributes={})
CALLS: dict[str, Callable[[Ci360Client, Tenant], object]] = {
    "tell": lambda client, tenant: client.tell(tenant, EVENT),
    "tell_many": lambda client, tenant: client.tell_many(tenant, [EVENT]),
    "bulk_location": lambda client, tenant: client.bulk_location(tenant),
    "upload_preferences": lambda client, tenant: client.upload_preferences(tenant, b"x"),
    "start_job": lambda client, tenant: client.start_job(tenant, "X"),
    "ask_job": lambda client, tenant: client.ask_job(tenant, "1"),
}


@pytest.mark.parametrize("call", CALLS)
def test_without_a_ci360_nothing_is_asked(gateway: Gateway, call: str) -> None:
    """The tenant's document names none."""
    error = gateway.failure(lambda: CALLS[call](gateway.client, gateway.tenant(ci360_api_url="")))
    assert (error.trouble, error.reason) == (DENIED, "not_set_up")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [Fault.HTTP_401, Fault.HTTP_429, Fault.HTTP_503, Fault.RESET])
def test_every_call_fails_alike(gateway: Gateway, call: str, fault: Fault) -> None:
    """With the same trouble for the same answer."""
    gateway.faults.burst(fault)
    error = gateway.failure(lambda: CALLS[call](gateway.client, gateway.tenant()))
    expected = {Fault.HTTP_401: DENIED, Fault.HTTP_429: THROTTLED}
    assert error.trouble is expected.get(fault, AWAY)
