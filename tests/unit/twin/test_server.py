"""The twin on a real socket."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
import urllib3

from ci360_twilio.twin import server
from ci360_twilio.twin.faults import Fault, FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

ACCOUNT = TwinAccount(sid="AC" + "a" * 32, auth_token="token", api_keys={"SK" + "1" * 32: "secret"})
TEST = TwinAccount(sid="AC" + "d" * 32, auth_token="test", test=True)
TO = "+19085551212"
MESSAGE = {"To": TO, "From": "+19085550000", "Body": "Grüße & more; 50% off 👍"}
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT.sid}/Messages"


class Client:
    """A caller with one account's credentials, that waits ten seconds at most."""

    def __init__(self, url: str, pool: urllib3.PoolManager) -> None:
        self.url = url
        self._pool = pool

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request, once."""
        return self._pool.request(
            method,
            self.url + path,
            body=body,
            headers=basic(ACCOUNT.sid, "token") | dict(headers or {}),
            retries=False,
            timeout=timeout,
        )

    def post(
        self, fields: Any = MESSAGE, path: str = f"{MESSAGES}.json", **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send a form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        headers |= options.pop("headers", {})
        return self.call("POST", path, urlencode(fields).encode(), headers, **options)

    def control(self, path: str, order: object, **headers: str) -> urllib3.BaseHTTPResponse:
        """Tell the twin what to do."""
        return self.call("POST", path, json.dumps(order).encode(), headers)


def basic(user: str, password: str) -> dict[str, str]:
    """Make the header of Basic authentication."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def raw_request(fields: Mapping[str, str] = MESSAGE) -> bytes:
    """Write a request to make a message."""
    body = urlencode(fields)
    lines = [
        f"POST {MESSAGES}.json HTTP/1.1",
        "Host: localhost",
        f"Authorization: {basic(ACCOUNT.sid, 'token')['Authorization']}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


def xml(text: bytes) -> ET.Element:
    """Read XML that the twin wrote."""
    return ET.fromstring(text)  # noqa: S314


def connect(served: TwinServer) -> socket.socket:
    """Open a bare connection."""
    url = urlsplit(served.url)
    assert url.hostname
    assert url.port
    return socket.create_connection((url.hostname, url.port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server has nothing more to say."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
def made() -> threading.Event:
    """Set once the twin is at making a message."""
    return threading.Event()


@pytest.fixture
def twin(made: threading.Event) -> TwilioTwin:
    """A twin with an ordinary account and one of test credentials."""

    def clock() -> datetime:
        made.set()
        return datetime.now(UTC)

    return TwilioTwin(accounts=[ACCOUNT, TEST], clock=clock)


@pytest.fixture
def faults() -> FaultPlan:
    """A plan that can be changed while the twin serves."""
    return FaultPlan()


@pytest.fixture
def served(twin: TwilioTwin, faults: FaultPlan) -> Iterator[TwinServer]:
    """The twin on a free port."""
    with TwinServer(twin, faults) as running:
        yield running


@pytest.fixture
def client(served: TwinServer) -> Iterator[Client]:
    """A caller of the twin."""
    with urllib3.PoolManager() as pool:
        yield Client(served.url, pool)


def test_a_message_is_made_fetched_redacted_and_deleted(client: Client, twin: TwilioTwin) -> None:
    """The resource of a message answers every method that Twilio's description has."""
    made = client.post()
    assert made.status == 201
    assert made.headers["Content-Type"] == "application/json"
    resource = made.json()
    assert resource["body"] == MESSAGE["Body"]
    fetched = client.call("GET", resource["uri"])
    assert (fetched.status, fetched.json()) == (200, resource)
    assert client.post({"Body": ""}, resource["uri"]).json()["body"] == ""
    gone = client.call("DELETE", resource["uri"])
    assert (gone.status, gone.data) == (204, b"")
    assert client.call("GET", resource["uri"]).json()["code"] == 20404
    assert twin.messages == ()


def test_repeated_media_arrive_in_order(client: Client) -> None:
    """Each ``MediaUrl`` of a form is one of the media, commas and all."""
    urls = ["https://www.example.com/a,b.jpg", "https://www.example.com/?x=1&y=%2F"]
    client.post([*MESSAGE.items(), *(("MediaUrl", url) for url in urls)])
    (shown,) = client.call("GET", "/twin/messages").json()["messages"]
    assert shown["media"] == urls


def test_a_list_is_filtered_by_the_query(client: Client) -> None:
    """Filters are read from the address, however its characters are escaped."""
    client.post()
    client.post(MESSAGE | {"To": "+19085551313"})
    for query in (
        "To=%2B19085551212",
        "To=%2B19085551212&DateSent>=2020-01-01&DateSent%3C=2999-01-01",
    ):
        listed = client.call("GET", f"{MESSAGES}.json?{query}")
        assert [message["to"] for message in listed.json()["messages"]] == [TO]
    assert client.call("GET", f"{MESSAGES}.json?PageSize=x").json()["code"] == 20422


def test_every_answer_carries_twilios_headers(client: Client) -> None:
    """The id of the request, the load and the time stand on successes and on errors."""
    answers = [client.post(), client.post({}), client.call("GET", "/nowhere")]
    for answer in answers:
        assert re.fullmatch(r"RQ[0-9a-f]{32}", answer.headers["Twilio-Request-Id"])
        assert answer.headers["Twilio-Concurrent-Requests"] == "1"
        assert float(answer.headers["Twilio-Request-Duration"]) >= 0
    assert len({answer.headers["Twilio-Request-Id"] for answer in answers}) == 3


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (basic("SK" + "1" * 32, "secret"), 201),
        ({"Authorization": ""}, 401),
        (basic(ACCOUNT.sid, "wrong"), 401),
        ({"Authorization": "Basic !"}, 401),
        ({"Authorization": "Bearer token"}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()}, 401),
        (basic(TEST.sid, "test"), 404),
    ],
)
def test_credentials_decide(client: Client, authorization: dict[str, str], status: int) -> None:
    """Account and API key are let in; all else is 401, or 404 for another's account."""
    answer = client.post(headers=authorization)
    assert answer.status == status
    assert answer.json().get("code") == {201: None, 401: 20003, 404: 20404}[status]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_test_credentials_cannot_list(client: Client) -> None:
    """The error of test credentials has its own status."""
    path = f"/2010-04-01/Accounts/{TEST.sid}/Messages.json"
    answer = client.call("GET", path, headers=basic(TEST.sid, "test"))
    assert (answer.status, answer.json()["code"]) == (403, 20008)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("PUT", f"{MESSAGES}.json", 405, 20004),
        ("DELETE", f"{MESSAGES}.json", 405, 20004),
        ("PATCH", f"{MESSAGES}/SM1.json", 405, 20004),
        ("GET", f"{MESSAGES}/SM1.json", 404, 20404),
        ("GET", f"{MESSAGES}/SM1/Media.json", 404, 20404),
        ("GET", "/2010-04-01/Accounts.json", 404, 20404),
        ("GET", "/", 404, 20404),
    ],
)
def test_other_resources_and_methods_are_not_there(
    client: Client, method: str, path: str, status: int, code: int
) -> None:
    """What the twin does not have is answered with Twilio's errors."""
    answer = client.call(method, path)
    assert (answer.status, answer.json()["code"]) == (status, code)


def test_a_head_request_gets_no_body(client: Client) -> None:
    """An answer without a body leaves the connection usable."""
    assert client.call("HEAD", f"{MESSAGES}.json").status == 405
    assert client.post().status == 201


def test_without_json_in_the_path_the_answer_is_xml(client: Client) -> None:
    """Messages, lists and errors have the same fields in XML."""
    made = client.post(path=MESSAGES)
    assert made.headers["Content-Type"] == "application/xml"
    sid = xml(made.data).findtext("Message/Sid")
    assert sid == xml(client.call("GET", MESSAGES).data).findtext("Messages/Message/Sid")
    fetched = xml(client.call("GET", f"{MESSAGES}/{sid}").data)
    assert fetched.findtext("Message/Body") == MESSAGE["Body"]
    assert fetched.findtext("Message/SubresourceUris/Media", "").endswith("/Media.json")
    refused = xml(client.post({}, MESSAGES).data)
    assert refused.findtext("RestException/Code") == "21604"


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", ""])
def test_of_a_body_that_is_no_form_no_parameter_is_seen(client: Client, kind: str) -> None:
    """A client that posts JSON is told that the recipient is missing."""
    answer = client.call("POST", f"{MESSAGES}.json", b'{"To":"+1"}', {"Content-Type": kind})
    assert (answer.status, answer.json()["code"]) == (400, 21604)


def test_the_type_of_a_form_may_have_parameters(client: Client) -> None:
    """A charset and capitals make no difference."""
    kind = "Application/X-WWW-Form-Urlencoded; charset=utf-8"
    assert client.post(headers={"Content-Type": kind}).status == 201


@pytest.mark.parametrize("body", [b"To=%FF", b"To=\xff", b"&".join([b"a=b"] * 1001)])
def test_a_form_that_cannot_be_read_is_refused(client: Client, body: bytes) -> None:
    """Parameters must be UTF-8, and not thousands."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.call("POST", f"{MESSAGES}.json", body, headers)
    assert (answer.status, answer.json()["code"]) == (400, 20001)


MALFORMED = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "another protocol": (b"GET / HTTP/2.0\r\n\r\n", 400),
    "header without colon": (b"GET / HTTP/1.1\r\nhello\r\n\r\n", 400),
    "bad address": (b"GET //[ HTTP/1.1\r\n\r\n", 400),
    "bytes": (bytes(range(128, 256)) + b"\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    "long line": (b"GET /" + b"x" * server.MAX_LINE, 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"a%d: b\r\n" * 101 % tuple(range(101)), 431),
    "negative length": (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    "no length": (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
    "chunks": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    "large body": (b"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n" + b"x" * 1_048_577, 413),
}


@pytest.mark.parametrize(("request_bytes", "status"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_http_is_answered_and_left(
    served: TwinServer, client: Client, request_bytes: bytes, status: int
) -> None:
    """A malformed request gets an answer and the end of its connection; others are served on."""
    with connect(served) as connection:
        connection.sendall(request_bytes)
        answer = read_all(connection)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nConnection: close\r\n" in answer
    assert client.post().status == 201


@pytest.mark.parametrize("cut", [0, 1, 30, 150, -1])
def test_a_client_that_goes_away_does_no_harm(
    served: TwinServer, client: Client, twin: TwilioTwin, cut: int
) -> None:
    """A request that is cut off makes nothing."""
    with connect(served) as connection:
        connection.sendall(raw_request()[:cut])
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert twin.messages == ()
    assert client.post().status == 201


def test_a_connection_serves_one_request_after_another(served: TwinServer) -> None:
    """Requests may be sent ahead; the answers come in order, and the last one ends it."""
    ending = raw_request().replace(b"Host:", b"Connection: close\r\nHost:")
    with connect(served) as connection:
        connection.sendall(raw_request() * 2 + ending)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 201 Created") == 3
    assert answer.count(b"Connection: keep-alive") == 2


def test_a_client_may_ask_before_it_sends_its_body(served: TwinServer) -> None:
    """``Expect: 100-continue`` is answered before the body is there."""
    head, _, body = raw_request().partition(b"\r\n\r\n")
    with connect(served) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 201 ")


def test_a_hundred_connections_are_served_at_a_time(served: TwinServer, twin: TwilioTwin) -> None:
    """A hundred open connections all get their answers, and again."""
    connections = [connect(served) for _ in range(100)]
    for _ in range(2):
        for connection in connections:
            connection.sendall(raw_request())
        for connection in connections:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 201 ")
    for connection in connections:
        connection.close()
    assert len({message.sid for message in twin.messages}) == 200


def test_a_reset_loses_the_answer_and_not_the_message(
    served: TwinServer, faults: FaultPlan, twin: TwilioTwin
) -> None:
    """The message exists, and the client cannot know."""
    faults.for_recipient(TO, [Fault.RESET])
    with connect(served) as connection:
        connection.sendall(raw_request())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert len(twin.messages) == 1


def test_a_refusal_makes_nothing(served: TwinServer, faults: FaultPlan, twin: TwilioTwin) -> None:
    """The client sees the same reset, and no message exists."""
    faults.for_recipient(TO, [Fault.REFUSE])
    with connect(served) as connection:
        connection.sendall(raw_request())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert twin.messages == ()


def test_an_unreachable_twin_makes_nothing(
    served: TwinServer, faults: FaultPlan, twin: TwilioTwin
) -> None:
    """On a socket, which is connected by then, it looks like a refusal."""
    faults.burst(Fault.UNREACHABLE)
    with connect(served) as connection:
        connection.sendall(raw_request())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert twin.messages == ()


def test_a_cut_answer_is_half_of_one(
    served: TwinServer, faults: FaultPlan, twin: TwilioTwin
) -> None:
    """The message exists; the answer begins, and ends in the middle."""
    faults.for_recipient(TO, [Fault.CUT])
    with connect(served) as connection:
        connection.sendall(raw_request())
        half = read_all(connection)
    head, _, body = half.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    assert head.startswith(b"HTTP/1.1 201 ")
    assert 0 < len(body) < length
    assert len(twin.messages) == 1


def test_a_hanging_request_is_never_answered(
    served: TwinServer, faults: FaultPlan, twin: TwilioTwin
) -> None:
    """The message exists; the connection ends, with nothing said, when the time is over."""
    faults.for_recipient(TO, [Fault.HANG.numbered(0.1), Fault.HANG])
    with connect(served) as connection:
        connection.sendall(raw_request())
        assert read_all(connection) == b""
    with connect(served) as connection:  # and this one when the client gives up
        connection.sendall(raw_request())
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    assert len(twin.messages) == 2


def test_accounts_numbers_and_services_are_looked_up(client: Client) -> None:
    """Each at its own address, with the account's credentials."""
    base, service = f"/2010-04-01/Accounts/{ACCOUNT.sid}", f"/v1/Services/MG{'5' * 32}"
    assert client.call("GET", f"{base}.json").json()["status"] == "active"
    query = "PhoneNumber=%2B19085550000"
    numbers = client.call("GET", f"{base}/IncomingPhoneNumbers.json?{query}").json()
    assert numbers["incoming_phone_numbers"][0]["phone_number"] == "+19085550000"
    assert client.call("GET", service).json()["account_sid"] == ACCOUNT.sid
    assert client.call("GET", f"{service}/PhoneNumbers").json()["phone_numbers"] == []
    for path in (f"{base}.json", f"{base}/IncomingPhoneNumbers.json", service):
        assert client.call("POST", path).json()["code"] == 20004
        wrong = client.call("GET", path, headers=basic(ACCOUNT.sid, "wrong"))
        assert (wrong.status, wrong.json()["code"]) == (401, 20003)
    assert client.call("GET", "/v1/Services/MG1").json()["code"] == 20404


def test_faults_befall_lookups_too(client: Client, faults: FaultPlan) -> None:
    """Those that are for requests that ask."""
    faults.set_share({}, asking={Fault.HTTP_503: 1.0})
    assert client.call("GET", f"/2010-04-01/Accounts/{ACCOUNT.sid}.json").status == 503
    assert client.call("GET", f"{MESSAGES}.json").status == 503
    assert client.post().status == 201


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("http_400:21610", 400, 21610),
        ("http_400:99999", 400, 99999),
        ("http_401", 401, 20003),
        ("http_429", 429, 20429),
        ("http_500", 500, 20500),
        ("http_503", 503, 20503),
    ],
)
def test_planned_answers_come_from_the_control_resource(
    client: Client, fault: str, status: int, code: int
) -> None:
    """A person can plan what the next attempt gets; the one after it is fine."""
    assert client.control("/twin/faults", {"to": TO, "faults": [fault]}).status == 204
    answer = client.post()
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert client.post().status == 201
    assert client.call("GET", "/twin/messages").json()["requests"] == {TO: 2}


def test_a_slow_answer_comes_too_late(
    client: Client, faults: FaultPlan, twin: TwilioTwin, made: threading.Event
) -> None:
    """The message is made at once; who does not wait never hears of it, nor does the stop wait."""
    faults.for_recipient(TO, [Fault.SLOW.numbered(600)])
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        client.post(timeout=0.3)
    assert made.wait(10)
    assert len(twin.messages) == 1


def test_latency_holds_for_every_answer(twin: TwilioTwin) -> None:
    """An answer takes at least as long as it was told to."""
    with TwinServer(twin, latency=0.05) as served, urllib3.PoolManager() as pool:
        begun = time.monotonic()
        answer = Client(served.url, pool).post()
        assert time.monotonic() - begun >= 0.05
    assert float(answer.headers["Twilio-Request-Duration"]) >= 0.05


def test_chance_is_set_by_the_control_resource(client: Client) -> None:
    """Shares replace each other, and an empty one ends them."""
    client.control("/twin/faults", {"share": {"http_429": 1.0}, "seed": 3})
    assert client.post().status == 429
    client.control("/twin/faults", {"share": {}})
    assert client.post().status == 201


def test_the_token_is_rotated_by_the_control_resource(client: Client) -> None:
    """From then on only the new token is let in."""
    order = {"account": ACCOUNT.sid, "token": "fresh"}
    assert client.control("/twin/token", order).status == 204
    assert client.post().status == 401
    assert client.post(headers=basic(ACCOUNT.sid, "fresh")).status == 201
    assert client.control("/twin/token", {"account": "AC1", "token": "x"}).status == 404


def test_the_control_resource_shows_what_was_made(client: Client) -> None:
    """An oracle finds each message with all that it was made of, and the count of attempts."""
    client.post(MESSAGE | {"ValidityPeriod": "60", "StatusCallback": "https://example.com/s"})
    client.post({"To": "nobody"})
    seen = client.call("GET", "/twin/messages").json()
    (message,) = seen["messages"]
    assert datetime.fromisoformat(message.pop("at")).tzinfo is not None
    assert message.pop("sid").startswith("SM")
    assert message == {
        "account": ACCOUNT.sid,
        "to": TO,
        "from": MESSAGE["From"],
        "messaging_service": None,
        "body": MESSAGE["Body"],
        "media": [],
        "status": "queued",
        "status_callback": "https://example.com/s",
        "validity_period": 60,
    }
    assert seen["requests"] == {TO: 1, "nobody": 1}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/twin/faults", b""),
        ("/twin/faults", b"\xff"),
        ("/twin/faults", b"[]"),
        ("/twin/faults", b"{}"),
        ("/twin/faults", b'{"to": "+1", "faults": ["http_402"]}'),
        ("/twin/faults", b'{"to": "+1", "fault": ["http_429"]}'),
        ("/twin/faults", b'{"share": {"http_429": 2}}'),
        ("/twin/token", b'{"account": "AC1"}'),
    ],
)
def test_an_order_that_is_not_understood_is_refused(client: Client, path: str, body: bytes) -> None:
    """A spelling mistake in a rehearsal is told, not ignored."""
    answer = client.call("POST", path, body)
    assert answer.status == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/twin/faults", 405), ("GET", "/twin/x", 404)]
)
def test_other_control_resources_are_not_there(
    client: Client, method: str, path: str, status: int
) -> None:
    """The twin says what it does not have."""
    assert client.call(method, path).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8361"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8361"}, 200),
        ({"Host": "twin.example.com"}, 403),
        ({"Host": "127.0.0.1.example.com"}, 403),
        ({"Host": "["}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://www.example.com"}, 403),
    ],
)
def test_control_is_for_this_machine_only(
    client: Client, headers: dict[str, str], status: int
) -> None:
    """A web page that points its own name at loopback cannot read or steer the twin."""
    assert client.call("GET", "/twin/messages", headers=headers).status == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])  # noqa: S104
def test_only_loopback_is_served(twin: TwilioTwin, host: str) -> None:
    """The twin never listens where others could reach it."""
    with pytest.raises(ValueError, match="loopback"):
        TwinServer(twin, host=host)


def test_a_stopped_twin_comes_back_at_the_same_address(twin: TwilioTwin) -> None:
    """An outage is rehearsed by stopping and starting; messages outlive it."""
    served = TwinServer(twin, host="localhost")
    served.stop()
    with urllib3.PoolManager() as pool:
        for _ in range(2):
            with served:
                assert Client(served.url, pool).post().status == 201
            with pytest.raises(urllib3.exceptions.NewConnectionError):
                Client(served.url, pool).post()
    assert len(twin.messages) == 2


def test_stopping_lets_a_request_under_way_end(
    twin: TwilioTwin, faults: FaultPlan, made: threading.Event
) -> None:
    """A request that was taken is answered, and silent connections are closed."""
    faults.for_recipient(TO, [Fault.SLOW.numbered(600)])
    with TwinServer(twin, faults) as served:
        silent, busy = connect(served), connect(served)
        busy.sendall(raw_request())
        assert made.wait(10)
    with silent, busy:
        answer = read_all(busy)
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert b"Connection: close" in answer
        assert read_all(silent) == b""


def test_a_mistake_in_the_twin_is_an_answer_and_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Even a broken clock ends in Twilio's 500, and nothing is printed."""
    broken = TwilioTwin(accounts=[ACCOUNT], clock=lambda: datetime.fromisoformat("never"))
    with TwinServer(broken) as served, urllib3.PoolManager() as pool:
        answer = Client(served.url, pool).post()
    assert (answer.status, answer.json()["code"]) == (500, 20500)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed(
    served: TwinServer, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither numbers nor texts nor anything else reach the terminal."""
    client.post()
    client.post({"To": "nobody"})
    with connect(served) as connection, suppress(OSError):
        connection.sendall(b"hello\r\n\r\n")
        read_all(connection)
    assert capfd.readouterr() == ("", "")
