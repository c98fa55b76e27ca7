"""The client for Messaging Services: which numbers belong to one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.clients.twilio import TwilioClient, _messaging_url
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import AnswerLost, Failure, SendFailed, TwilioRefused
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Web

ACCOUNT, TOKEN = f"AC{'b2' * 16}", "a-token"
OURS = "+12015550199"
SERVICE = f"MG{'3c' * 16}"

pytestmark = pytest.mark.usefixtures("no_proxies")

MakeWeb = Callable[..., "Web"]
TenantAt = Callable[[str], Tenant]


def test_a_services_numbers_are_listed(client: TwilioClient, tenant_at: TenantAt) -> None:
    """Its pool, without short codes; of a service that is not the account's there is none."""
    numbers = [OURS, "+12015550198", "12345"]
    account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN, numbers=numbers, services=[SERVICE])
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    with TwinServer(twin) as served:
        tenant = tenant_at(served.url)
        assert client.service_numbers(tenant, SERVICE) == [OURS, "+12015550198"]
        assert client.service_numbers(tenant, f"MG{'4d' * 16}") == []


def test_a_service_is_asked_for_beside_the_messages(
    client: TwilioClient, web: MakeWeb, tenant_at: TenantAt
) -> None:
    """At the same place, where that is not Twilio's own; rows that name no number are left out."""
    rows: list[object] = [None, 7, {}, {"phone_number": None}, {"phone_number": OURS}]
    served = web().say(200, json.dumps({"phone_numbers": rows}).encode())
    assert client.service_numbers(tenant_at(served.url), SERVICE) == [OURS]
    (request,) = served.requests
    assert (request.method, request.path) == ("GET", f"/v1/Services/{SERVICE}/PhoneNumbers")
    assert request.query == "PageSize=1000"
    assert request.headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("api", "url"),
    [
        ("https://api.twilio.com", "https://messaging.twilio.com"),
        ("https://API.Twilio.com", "https://messaging.Twilio.com"),
        ("https://api.twilio.com:443", "https://messaging.twilio.com:443"),
        ("https://api.dublin.ie1.twilio.com", "https://messaging.dublin.ie1.twilio.com"),
        ("https://twilio.example.com", "https://twilio.example.com"),
        ("https://api.twilio.com.example.com", "https://api.twilio.com.example.com"),
        ("https://api.twilio.com:8443", "https://api.twilio.com:8443"),
        ("http://127.0.0.1:8365", "http://127.0.0.1:8365"),
    ],
)
def test_twilios_services_have_a_host_of_their_own(tenant_at: TenantAt, api: str, url: str) -> None:
    """In the same region; elsewhere they are where the messages are."""
    assert _messaging_url(tenant_at(api)) == url


def test_a_service_that_is_not_there_has_no_numbers(
    client: TwilioClient, web: MakeWeb, tenant_at: TenantAt
) -> None:
    """As Twilio's code says; a proxy's 404 says nothing."""
    served = web().say(404, b'{"code":20404}').say(404, b"<html>")
    assert client.service_numbers(tenant_at(served.url), SERVICE) == []
    with pytest.raises(TwilioRefused) as caught:
        client.service_numbers(tenant_at(served.url), SERVICE)
    assert caught.value.failure is Failure.CONFIG


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"", AnswerLost),
        (200, b'{"phone_numbers":7}', AnswerLost),
        (500, b"", AnswerLost),
        (401, b'{"code":20003}', TwilioRefused),
        (403, b'{"code":70051}', TwilioRefused),
    ],
)
def test_numbers_that_cannot_be_listed_are_not_none(
    client: TwilioClient,
    web: MakeWeb,
    tenant_at: TenantAt,
    status: int,
    body: bytes,
    kind: type[SendFailed],
) -> None:
    """Nobody may take that for an empty pool."""
    served = web().say(status, body)
    with pytest.raises(kind):
        client.service_numbers(tenant_at(served.url), SERVICE)
