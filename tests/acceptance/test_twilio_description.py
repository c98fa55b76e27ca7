"""What goes over the wire satisfies Twilio's own OpenAPI description of its Messages resource.

The description is not part of this repository. It is looked for beside it, at
``../shared/data/twilio/messages_openapi.json``; without it these tests are skipped.

:func:`validate_request` and :func:`validate_response` take what was on the wire and raise where the
description does not allow it. They are stricter than it in one point: names it does not have are
refused too, since Twilio ignores misspelt parameters.
"""

from __future__ import annotations

import base64
import functools
import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import urllib3
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import parse_tenant, parse_tenant_id
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT.parent / "shared" / "data" / "twilio" / "messages_openapi.json"

pytestmark = pytest.mark.skipif(
    not DESCRIPTION.is_file(),
    reason=f"Twilio's OpenAPI description is not at {DESCRIPTION}; it is not part of the repository",
)

NEWER_PARAMETERS = {"MessageIntent"}
"""Parameters that Twilio's documentation has and its description of 2026-04 has not."""


class _Request:
    """A request on the wire, as openapi-core asks for it, sent to Twilio's own host."""

    host_url = "https://api.twilio.com"

    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True, errors="strict")
        self.method = method.lower()
        self.path = parts.path
        self.headers = Headers(dict(headers))
        self.content_type = self.headers.get("Content-Type", "")
        self.body = body or None
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(query), header=self.headers, cookie=ImmutableMultiDict()
        )


class _Response:
    """An answer on the wire, as openapi-core asks for it."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status_code = status
        self.headers = Headers(dict(headers))
        self.content_type = self.headers.get("Content-Type", "")
        self.data = body or None


@functools.cache
def _description() -> OpenAPI:
    return OpenAPI.from_file_path(str(DESCRIPTION))


@functools.cache
def _schemas() -> dict[str, Any]:
    description: dict[str, Any] = json.loads(DESCRIPTION.read_bytes())
    return description


def _known_parameters(path: str) -> set[str]:
    """Name the parameters of a form that is posted to a path."""
    place = "Messages.json" if path.endswith("/Messages.json") else "Messages/{Sid}.json"
    operation = _schemas()["paths"][f"/2010-04-01/Accounts/{{AccountSid}}/{place}"]["post"]
    form = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]
    return set(form["schema"]["properties"]) | NEWER_PARAMETERS


def validate_request(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> None:
    """Check a request as it was sent; its host does not matter.

    Args:
        method: ``POST``, ``GET`` or ``DELETE``.
        url: the whole address, or its path and query.
        headers: as sent; Basic credentials must be among them.
        body: as sent.

    Raises:
        OpenAPIError: the description does not allow it.
        AssertionError: the form has a parameter that Twilio does not know.
    """
    request = _Request(method, url, headers, body)
    _description().validate_request(request)
    if method == "POST":
        sent = parse_qs(body.decode(), keep_blank_values=True, errors="strict")
        unknown = set(sent) - _known_parameters(request.path)
        assert not unknown, f"Twilio knows no {', '.join(sorted(unknown))}"


def validate_response(
    method: str, url: str, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    """Check an answer as it was received; errors are not described, and so not allowed.

    Args:
        method: of the request.
        url: of the request: the whole address, or its path and query.
        status: of the answer.
        headers: of the answer.
        body: of the answer.

    Raises:
        OpenAPIError: the description does not allow it.
        AssertionError: a message has a field too many or too few.
    """
    request = _Request(method, url, {}, b"")
    _description().validate_response(request, _Response(status, headers, body))
    if body:
        answer = json.loads(body)
        fields = _schemas()["components"]["schemas"]["api.v2010.account.message"]["properties"]
        for message in answer.get("messages", [answer]):
            assert set(message) == set(fields)


ACCOUNT = TwinAccount(sid="AC" + "a" * 32, auth_token="token")
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT.sid}/Messages"
HEADERS = {
    "Authorization": f"Basic {base64.b64encode(f'{ACCOUNT.sid}:token'.encode()).decode()}",
    "Content-Type": "application/x-www-form-urlencoded",
}
FORMS: dict[str, Mapping[str, str | list[str]]] = {
    "text": {"To": "+19085551212", "From": "+19085550000", "Body": "Grüße & more 👍"},
    "service": {"To": "+19085551212", "MessagingServiceSid": "MG" + "5" * 32, "Body": "Hello"},
    "media": {
        "To": "+19085551212",
        "From": "12345",
        "MediaUrl": ["https://www.example.com/a.jpg", "https://www.example.com/b.jpg"],
    },
    "options": {
        "To": "whatsapp:+19085551212",
        "From": "whatsapp:+19085550000",
        "Body": "Hello",
        "ValidityPeriod": "60",
        "StatusCallback": "https://example.com/status?m=1#rc=5&rp=all",
        "ProvideFeedback": "true",
        "MessageIntent": "marketing",
    },
}


class Wire:
    """A twin, and the check of all that goes to it and comes from it."""

    def __init__(self, url: str, pool: urllib3.PoolManager) -> None:
        self._url, self._pool = url, pool

    def call(self, method: str, path: str, form: Mapping[str, str | list[str]] = {}) -> Any:
        """Send a request that the description allows, check the answer, and give what it holds."""
        url, body = self._url + path, urlencode(form, doseq=True).encode()
        headers = HEADERS if method == "POST" else {"Authorization": HEADERS["Authorization"]}
        validate_request(method, url, headers, body)
        answer = self._pool.request(
            method, url, body=body, headers=headers, retries=False, timeout=10
        )
        validate_response(method, url, answer.status, answer.headers, answer.data)
        return answer.json() if answer.data else None


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A twin on loopback."""
    twin = TwilioTwin(accounts=[ACCOUNT], clock=lambda: datetime.now(UTC))
    with TwinServer(twin) as served, urllib3.PoolManager() as pool:
        yield Wire(served.url, pool)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_messages_are_as_described(wire: Wire, form: Mapping[str, str | list[str]]) -> None:
    """A message that is made, fetched, redacted and deleted keeps to the description throughout."""
    made = wire.call("POST", f"{MESSAGES}.json", form)
    assert wire.call("GET", made["uri"]) == made
    assert wire.call("POST", made["uri"], {"Body": ""})["body"] == ""
    assert wire.call("DELETE", made["uri"]) is None


def test_lists_are_as_described(wire: Wire) -> None:
    """Every page of a list keeps to the description, and so do the addresses it gives."""
    for _ in range(3):
        wire.call("POST", f"{MESSAGES}.json", FORMS["text"])
    query = {"To": "+19085551212", "DateSent>": "2020-01-01T00:00:00Z", "PageSize": "2"}
    page = wire.call("GET", f"{MESSAGES}.json?{urlencode(query)}")
    following = wire.call("GET", page["next_page_uri"])
    assert len(page["messages"]) + len(following["messages"]) == 3
    assert following["next_page_uri"] is None
    assert wire.call("GET", following["previous_page_uri"])["messages"] == page["messages"]
    assert wire.call("GET", f"{MESSAGES}.json?To=%2B19085559999")["messages"] == []


def test_living_messages_are_as_described() -> None:
    """Whatever becomes of a message, and whatever befalls it in lists, is in the description."""
    twin = TwilioTwin(accounts=[ACCOUNT], clock=lambda: datetime.now(UTC))
    twin.set_life(ACCOUNT.sid, Life(until_sent=0.0, until_final=0.0))
    mishaps = ["blank", "encoded", "shortened", "redacted", "stranger:-5"]
    fates = ["delivered", "read", "sent", "undelivered:30003", "failed:30007"]
    to = FORMS["text"]["To"]
    assert isinstance(to, str)
    twin.plan_fates(to, fates)
    with TwinServer(twin) as served, urllib3.PoolManager() as pool:
        wire = Wire(served.url, pool)
        for mishap in mishaps:
            twin.weather.for_recipient(to, [mishap])
            wire.call("POST", f"{MESSAGES}.json", FORMS["service"])
        twin.advance(datetime.now(UTC) + timedelta(hours=1))
        listed = wire.call("GET", f"{MESSAGES}.json")["messages"]
        assert {row["status"] for row in listed} == {fate.partition(":")[0] for fate in fates}
        for row in listed:
            assert wire.call("GET", row["uri"]) == row


def test_dates_are_rfc_2822_in_gmt(wire: Wire) -> None:
    """The description has a format of its own for dates, which is checked here."""
    made = wire.call("POST", f"{MESSAGES}.json", FORMS["text"])
    for name in ("date_created", "date_updated", "date_sent"):
        assert parsedate_to_datetime(made[name]).utcoffset() is not None
        assert made[name].endswith(" +0000")


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        (f"{MESSAGES}.json", HEADERS, b"Body=Hello"),
        (f"{MESSAGES}.json", HEADERS, b"To=%2B1&ValidityPeriod=soon"),
        (f"{MESSAGES}.json", HEADERS, b"To=%2B1&MessagingServiceSid=MG1"),
        (f"{MESSAGES}.json", HEADERS, b"To=%2B1&validity_period=60"),
        (f"{MESSAGES}.json", HEADERS | {"Content-Type": "application/json"}, b'{"To":"+1"}'),
        (f"{MESSAGES}.json", {"Content-Type": HEADERS["Content-Type"]}, b"To=%2B1"),
        (f"{MESSAGES}/SM1.json", HEADERS, b"Body="),
        ("/2010-04-01/Accounts/AC1/Messages.json", HEADERS, b"To=%2B1"),
        (MESSAGES, HEADERS, b"To=%2B1"),
    ],
)
def test_a_request_that_is_not_described_is_found_out(
    path: str, headers: dict[str, str], body: bytes
) -> None:
    """The check itself tells wrong requests from right ones."""
    with pytest.raises((OpenAPIError, AssertionError)):
        validate_request("POST", f"http://127.0.0.1:1{path}", headers, body)


@pytest.mark.parametrize(
    ("status", "body"),
    [(201, b'{"sid":"XX"}'), (201, b"{}"), (200, b"{}"), (201, b'{"status":"fine"}'), (400, b"{}")],
)
def test_an_answer_that_is_not_described_is_found_out(status: int, body: bytes) -> None:
    """The check itself tells wrong answers from right ones."""
    headers = {"Content-Type": "application/json"}
    with pytest.raises((OpenAPIError, AssertionError)):
        validate_response("POST", f"{MESSAGES}.json", status, headers, body)


class _Recorder(BaseHTTPRequestHandler):
    """Keeps each request as it was on the wire, and answers as Twilio does."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        self._answer(201, {"sid": f"SM{'0b' * 16}", "status": "queued"})

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path, dict(self.headers), b""))
        self._answer(200, {"messages": [], "sid": f"SM{'0b' * 16}"})

    def _answer(self, status: int, members: dict[str, Any]) -> None:
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


SENT = {
    "plain": Message(to="+12015550101", sender="+12015550199", body="Hello & goodbye; 50% off+"),
    "unicode": Message(to="+447700900123", sender="Acme", body="Grüße 👋🏽\nこんにちは"),
    "media": Message(
        to="+12015550101",
        sender="20155",
        media_urls=("https://example.com/a,b.jpg", "https://example.com/c.jpg?x=1&y=2"),
    ),
    "service": Message(to="+12015550101", sender=f"MG{'0c' * 16}", body="Hi"),
    "whatsapp": Message(to="whatsapp:+12015550101", sender="whatsapp:+12015550199", body="Hi"),
}


@pytest.mark.parametrize("name", SENT)
def test_what_the_connector_sends_is_as_described(name: str) -> None:
    """The client's requests, read off the wire, are what Twilio's description allows."""
    _Recorder.seen.clear()
    account = f"AC{'0d' * 16}"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        document = json.dumps(
            {
                "twilio_api_url": f"http://{host}",
                "twilio_account_sid": account,
                "twilio_auth_token": "a-token",
            }
        )
        tenant = parse_tenant(document, parse_tenant_id("tenant"), (host,))
        client = TwilioClient(connections=1)
        try:
            callback = "https://sms.example.com/twilio/status/tenant?m=abc#rc=5&rp=all"
            client.send(SENT[name], tenant, validity=36_000, timeout=10, callback=callback)
            client.search(tenant, SENT[name].to)
            client.fetch(tenant, f"SM{'0b' * 16}")
        finally:
            client.close()
            server.shutdown()
            thread.join()
    assert [method for method, *_ in _Recorder.seen] == ["POST", "GET", "GET"]
    for method, path, headers, body in _Recorder.seen:
        assert path.startswith(f"/2010-04-01/Accounts/{account}/Messages")
        validate_request(method, path, headers, body)
