"""The client for Twilio's Messages resource, against a twin and against servers that misbehave."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twilio.base.serialize import iso8601_datetime

from ci360_twilio.clients.connections import IDLE_SECONDS, MAX_ANSWER
from ci360_twilio.clients.twilio import MAX_PAGES, PAGE_SIZE, TwilioClient, encode_form
from ci360_twilio.core.match import Sought, candidates
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import AnswerLost, Failure, NotReached, SendFailed, TwilioRefused
from ci360_twilio.twin.faults import Fault
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

if TYPE_CHECKING:
    from tests.conftest import Twilio

ACCOUNT = "AC" + "b2" * 16
TOKEN = "a-token"
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
TO, FROM, SID = "+12015550142", "+12015550199", "SM" + "0a" * 16
SERVICE = "MG" + "3c" * 16
HELLO = Message(to=TO, sender=FROM, body="Hello")


def tenant_at(url: str, **changes: Any) -> Tenant:
    """Make the tenant whose messages go to an address."""
    document = {
        "twilio_api_url": url,
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        **changes,
    }
    host = url.partition("://")[2].partition("/")[0]
    return parse_tenant(json.dumps(document), TenantId("tenant"), (host,))


def answer(status: str = "201 Created", body: bytes | None = None, *headers: str) -> bytes:
    """Write an answer, by default that of Twilio when it made a message."""
    if body is None:
        body = json.dumps({"sid": SID, "status": "queued", "error_code": None}).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


Behaviour = Callable[[socket.socket], None]


class Stub:
    """A server on loopback that treats each connection as it is told, in order, the last for all.

    ``requests`` holds what was read by :meth:`read`, ``connections`` counts those that were opened.
    """

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = list(behaviours)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._stopping = False
        self.connections = 0
        self.requests: list[bytes] = []
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.closed = threading.Event()
        """Set when a behaviour has ended and its connection is closed."""

    def __enter__(self) -> Stub:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            more = len(self._behaviours) > 1
            behave = self._behaviours.pop(0) if more else self._behaviours[0]
            self._open.append(connection)
            self._start(self._serve, connection, behave)

    def _serve(self, connection: socket.socket, behave: Behaviour) -> None:
        with suppress(OSError), connection:
            connection.settimeout(10)
            behave(connection)
        self.closed.set()

    def read(self, connection: socket.socket) -> bytes:
        """Read one request whole; nothing where the client has closed."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65_536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        while len(body) < length:
            body += connection.recv(65_536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return head + b"\r\n\r\n" + body


def stub(*pieces: bytes, pause: float = 0.0, stays: bool = False, resets: bool = False) -> Stub:
    """Make a server that answers every request with these pieces, and then closes unless it stays."""

    def behave(connection: socket.socket) -> None:
        while served.read(connection):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            if resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if not stays:
                return

    served = Stub(behave)
    return served


@pytest.fixture
def client() -> Iterator[TwilioClient]:
    """A client, closed afterwards."""
    made = TwilioClient()
    yield made
    made.close()


def send(
    client: TwilioClient, host: str, message: Message = HELLO, *, timeout: float = 10.0
) -> Receipt:
    """Send one message to a server on loopback."""
    return client.send(message, tenant_at(f"http://{host}"), validity=60, timeout=timeout)


def failed(client: TwilioClient, host: str, *, timeout: float = 10.0) -> SendFailed:
    """Give the error that sending to a server ends with."""
    with pytest.raises(SendFailed) as caught:
        send(client, host, timeout=timeout)
    return caught.value


# What is sent


def test_the_form_is_exactly_what_twilio_documents(client: TwilioClient) -> None:
    """One POST to the address as it stands, form-encoded, with Basic credentials."""
    pictures = ("https://www.example.com/a.png?x=1&y=2", "https://www.example.com/b,c.png")
    message = Message(to=TO, sender=FROM, body="Grüße & 50% + 👍\nline", media_urls=pictures)
    with stub(answer()) as served:
        assert send(client, served.host, message) == Receipt(sid=SID, status="queued")
    head, _, body = served.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    named = dict(header.lower().split(": ", 1) for header in headers)
    assert line == f"POST {PATH} HTTP/1.1"
    assert named["host"] == served.host
    assert named["content-type"] == "application/x-www-form-urlencoded"
    assert named["accept"] == "application/json"
    assert named["user-agent"].startswith("ci360-twilio-connector/")
    assert "transfer-encoding" not in named
    assert body == (
        b"To=%2B12015550142&From=%2B12015550199"
        b"&Body=Gr%C3%BC%C3%9Fe+%26+50%25+%2B+%F0%9F%91%8D%0Aline"
        b"&MediaUrl=https%3A%2F%2Fwww.example.com%2Fa.png%3Fx%3D1%26y%3D2"
        b"&MediaUrl=https%3A%2F%2Fwww.example.com%2Fb%2Cc.png"
        b"&ValidityPeriod=60"
    )


def test_a_messaging_service_is_named_as_one() -> None:
    """``MG...`` goes into a parameter of its own, and ``From`` stays away."""
    form = encode_form(Message(to=TO, sender=SERVICE, body="x"), validity=1)
    assert form == f"To=%2B12015550142&MessagingServiceSid={SERVICE}&Body=x&ValidityPeriod=1"


def test_a_message_of_media_alone_has_no_body() -> None:
    """An empty parameter is not sent."""
    form = encode_form(
        Message(to=TO, sender=FROM, media_urls=("https://www.example.com/a.png",)), validity=36_000
    )
    assert "Body=" not in form
    assert form.endswith("&ValidityPeriod=36000")


def test_a_channel_stays_in_front_of_both_addresses() -> None:
    """WhatsApp to WhatsApp."""
    form = encode_form(
        Message(to=f"whatsapp:{TO}", sender=f"whatsapp:{FROM}", body="x"), validity=5
    )
    assert form.startswith("To=whatsapp%3A%2B12015550142&From=whatsapp%3A%2B12015550199&")


def test_the_address_for_callbacks_is_sent_whole(client: TwilioClient) -> None:
    """With its query, and its fragment, which says how often Twilio calls again."""
    callback = "https://example.com/twilio/status/t?m=Ab3#rc=5&rp=all"
    with stub(answer()) as served:
        tenant = tenant_at(f"http://{served.host}")
        client.send(HELLO, tenant, validity=60, timeout=10, callback=callback)
    assert served.requests[0].endswith(
        b"&ValidityPeriod=60&StatusCallback="
        b"https%3A%2F%2Fexample.com%2Ftwilio%2Fstatus%2Ft%3Fm%3DAb3%23rc%3D5%26rp%3Dall"
    )
    assert "StatusCallback" not in encode_form(HELLO, validity=60)


@pytest.mark.parametrize(
    ("changes", "user", "password"),
    [
        ({}, ACCOUNT, TOKEN),
        (
            {"twilio_api_key_sid": "SK1", "twilio_api_key_secret": "geheim:ß"},
            "SK1",
            "geheim:ß",
        ),
    ],
    ids=["token", "api key"],
)
def test_credentials_are_basic(
    client: TwilioClient, changes: dict[str, str], user: str, password: str
) -> None:
    """The account with its token, or an API key where the document has one."""
    with stub(answer()) as served:
        client.send(HELLO, tenant_at(f"http://{served.host}", **changes), validity=1, timeout=5)
    encoded = base64.b64encode(f"{user}:{password}".encode())
    assert b"Authorization: Basic " + encoded + b"\r\n" in served.requests[0]


def test_two_tenants_at_one_address_keep_their_credentials_apart(client: TwilioClient) -> None:
    """Connections are shared, credentials never."""
    with stub(answer(), stays=True) as served:
        for token in ("first", "second", "first"):
            tenant = tenant_at(f"http://{served.host}", twilio_auth_token=token)
            client.send(HELLO, tenant, validity=1, timeout=5)
    sent = [
        base64.b64decode(request.partition(b"Basic ")[2].partition(b"\r\n")[0])
        for request in served.requests
    ]
    assert sent == [f"{ACCOUNT}:{token}".encode() for token in ("first", "second", "first")]


def test_twins_and_clients_agree_on_a_whole_message(client: TwilioClient) -> None:
    """What the twin keeps is what was to be sent, with an API key, by a Messaging Service."""
    account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN, api_keys={"SK9": "secret"})
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    message = Message(
        to=TO,
        sender=SERVICE,
        body="Grüße & more; 50% off 👍",
        media_urls=("https://www.example.com/a.jpg", "https://www.example.com/b.jpg"),
    )
    with TwinServer(twin) as served:
        tenant = tenant_at(served.url, twilio_api_key_sid="SK9", twilio_api_key_secret="secret")
        receipt = client.send(message, tenant, validity=77, timeout=5)
    (kept,) = twin.messages
    assert (kept.to, kept.service, kept.sender) == (TO, SERVICE, None)
    assert (kept.body, kept.media) == (message.body, message.media_urls)
    assert kept.validity_period == 77
    assert (receipt.sid, receipt.status) == (kept.sid, "accepted")


# What the twin's faults become


FAULTS = {
    "http_400:21610": (Failure.OPTED_OUT, 400, 21610),
    "http_400:21211": (Failure.PERMANENT_RECIPIENT, 400, 21211),
    "http_400:21617": (Failure.PERMANENT_CONTENT, 400, 21617),
    "http_400:21408": (Failure.CONFIG, 400, 21408),
    "http_400:21611": (Failure.RETRY_LATER, 400, 21611),
    "http_400:29999": (Failure.PERMANENT_REQUEST, 400, 29999),
    "http_401": (Failure.CONFIG, 401, 20003),
    "http_429": (Failure.RETRY_SAFE, 429, 20429),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_twilios_is_refused_with_its_class(
    client: TwilioClient, twilio: Twilio, fault: str
) -> None:
    """The code decides; the request is made once and nothing exists."""
    twilio.faults.for_recipient(TO, [fault])
    tenant = parse_tenant(json.dumps(twilio.document()), TenantId("t"), (twilio.host,))
    with pytest.raises(TwilioRefused) as caught:
        client.send(HELLO, tenant, validity=60, timeout=10)
    error = caught.value
    assert (error.failure, error.status, error.twilio_code) == FAULTS[fault]
    assert error.reason == f"twilio_{error.twilio_code}"
    assert twilio.faults.attempts == {TO: 1}
    assert twilio.made_for(TO) == 0


@pytest.mark.parametrize(
    ("fault", "made", "reason"),
    [
        (Fault.HTTP_500, 0, "twilio_http_500"),
        (Fault.HTTP_500_MADE, 1, "twilio_http_500"),
        (Fault.HTTP_503, 0, "twilio_http_503"),
        (Fault.RESET, 1, "connection_lost"),
        (Fault.REFUSE, 0, "connection_lost"),
        ("slow:30", 1, "read_timeout"),
    ],
)
def test_where_a_message_may_exist_the_answer_is_lost(
    client: TwilioClient, twilio: Twilio, fault: str, made: int, reason: str
) -> None:
    """Whether it does exist, the client cannot know; it asks once and never again."""
    twilio.faults.for_recipient(TO, [fault])
    tenant = parse_tenant(json.dumps(twilio.document()), TenantId("t"), (twilio.host,))
    with pytest.raises(AnswerLost) as caught:
        client.send(HELLO, tenant, validity=60, timeout=0.5)
    assert caught.value.reason == reason
    assert twilio.faults.attempts == {TO: 1}
    assert twilio.made_for(TO) == made


def test_a_wrong_account_is_a_matter_of_configuration(client: TwilioClient, twilio: Twilio) -> None:
    """Twilio answers 404 with 20404; waiting for the operator, not refusing the customer."""
    other = "AC" + "0f" * 16
    url = twilio.document()["twilio_api_url"].replace(twilio.account, other)
    document = twilio.document(
        twilio_account_sid=other,
        twilio_api_url=url,
        twilio_api_key_sid=twilio.account,
        twilio_api_key_secret=twilio.token,
    )
    tenant = parse_tenant(json.dumps(document), TenantId("t"), (twilio.host,))
    with pytest.raises(TwilioRefused) as caught:
        client.send(HELLO, tenant, validity=60, timeout=10)
    assert (caught.value.failure, caught.value.status) == (Failure.CONFIG, 404)


def test_no_error_holds_what_was_sent(client: TwilioClient, twilio: Twilio) -> None:
    """The twin's words quote numbers as Twilio's do; ours never repeat them."""
    for fault in ("http_400:21211", "http_500", "reset"):
        twilio.faults.for_recipient(TO, [fault])
        tenant = parse_tenant(json.dumps(twilio.document()), TenantId("t"), (twilio.host,))
        with pytest.raises(SendFailed) as caught:
            client.send(HELLO, tenant, validity=60, timeout=10)
        told = f"{caught.value} {caught.value.reason}"
        for secret in ("2015550142", "2015550199", "Hello", twilio.token, twilio.account):
            assert secret not in told


# Answers that are not Twilio's


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("3", 3.0), ("0", 0.0), ("1.5", 1.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None),
     ("nan", None), ("1e999", None), ("", None)],
)  # fmt: skip
def test_retry_after_is_read_in_seconds(
    client: TwilioClient, asked: str, seconds: float | None
) -> None:
    """A date, or nonsense, is as if it were not there."""
    with stub(answer("429 Too Many", b'{"code":20429}', f"Retry-After: {asked}")) as served:
        error = failed(client, served.host)
    assert isinstance(error, TwilioRefused)
    assert (error.failure, error.retry_after) == (Failure.RETRY_SAFE, seconds)


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        ("400 Bad", b"", Failure.PERMANENT_REQUEST),
        ("400 Bad", b'{"code":"21610"}', Failure.PERMANENT_REQUEST),
        ("400 Bad", b'{"code":true}', Failure.PERMANENT_REQUEST),
        ("400 Bad", b'{"code":null,"status":400}', Failure.PERMANENT_REQUEST),
        ("400 Bad", b"[" * 5000, Failure.PERMANENT_REQUEST),
        ("400 Bad", b'{"code":99999999999999999999999}', Failure.PERMANENT_REQUEST),
        ("401 No", b"<html>", Failure.CONFIG),
        ("403 No", b"<html>proxy</html>", Failure.CONFIG),
        ("404 No", b"", Failure.CONFIG),
        ("407 No", b"", Failure.PERMANENT_REQUEST),
        ("429 Slow", b"", Failure.RETRY_SAFE),
        ("301 There", b"", Failure.CONFIG),
    ],
)
def test_a_refusal_without_a_code_is_judged_by_its_status(
    client: TwilioClient, status: str, body: bytes, failure: Failure
) -> None:
    """Something in between answered, or Twilio changed its errors."""
    with stub(answer(status, body)) as served:
        error = failed(client, served.host)
    assert isinstance(error, TwilioRefused)
    assert (error.failure, error.status) == (failure, int(status[:3]))


@pytest.mark.parametrize(
    "whole",
    [
        answer("201 Created", b""),
        answer("201 Created", b"<html>logged in</html>"),
        answer("201 Created", b"[]"),
        answer("201 Created", b"null"),
        answer("201 Created", b"\xff\xfe"),
        answer("201 Created", b"[" * 100_000),
        answer("201 Created", b'{"status":"queued"}'),
        answer("201 Created", b'{"sid":""}'),
        answer("201 Created", b'{"sid":7}'),
        answer("201 Created", b'{"sid":"SM\\u001b[31m"}'),
        answer("200 OK", b"{}"),
        answer("202 Accepted", b"{}"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        answer("408 Time-out", b""),
        answer("500 Oops", b'{"code":21211}'),
        answer("502 Bad Gateway", b"<html>"),
        answer("504 Time-out", b""),
        answer("599 What", b""),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n" + b'{"sid":"SM1"',
        b"HTTP/1.1 201 Created\r\nContent-Le",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"si",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"",
    ],
)  # fmt: skip
def test_an_answer_that_names_no_message_is_lost(client: TwilioClient, whole: bytes) -> None:
    """Nothing, a part, another protocol, a gateway's page: the message may exist all the same."""
    with stub(whole) as served:
        error = failed(client, served.host)
    assert isinstance(error, AnswerLost)
    assert len(served.requests) == 1


def test_a_reset_after_the_request_is_lost(client: TwilioClient) -> None:
    """The request had arrived."""
    with stub(b"HTTP/1.1 201", resets=True) as served:
        assert isinstance(failed(client, served.host), AnswerLost)


@pytest.mark.parametrize("status", ["301 A", "302 B", "303 C", "307 D", "308 E"])
def test_a_redirect_is_not_followed(client: TwilioClient, status: str) -> None:
    """Credentials and text would go where nobody allowed; somebody has to look."""
    with stub(answer()) as elsewhere:
        location = f"Location: http://{elsewhere.host}/x"
        with stub(answer(status, b"", location)) as served:
            error = failed(client, served.host)
        assert elsewhere.connections == 0
    assert isinstance(error, TwilioRefused)
    assert error.failure is Failure.CONFIG
    assert len(served.requests) == 1


@pytest.mark.parametrize("status", ["101 Switching Protocols", "103 Early Hints"])
def test_an_answer_that_is_still_to_come_is_never_taken_for_the_next_one(
    client: TwilioClient, status: str
) -> None:
    """After an interim answer the connection is no good: the real one may follow at any time."""

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if served.read(connection):
            connection.sendall(answer("201 Late", b'{"sid":"SMofthefirst"}'))

    def afresh(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(answer())

    with Stub(behave, afresh) as served:
        assert isinstance(failed(client, served.host), AnswerLost)
        assert send(client, served.host).sid == SID


def test_a_huge_answer_is_not_read_to_its_end(client: TwilioClient) -> None:
    """The rest is dropped with its connection, and the next request has another."""
    length = 50 * MAX_ANSWER
    head = f"HTTP/1.1 201 Created\r\nContent-Length: {length}\r\n\r\n".encode()

    def flood(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(head)
        for _ in range(length // 65_536):
            connection.sendall(b" " * 65_536)

    def behave(connection: socket.socket) -> None:
        while served.read(connection):
            connection.sendall(answer())

    with Stub(flood, behave) as served:
        error = failed(client, served.host)
        assert isinstance(error, AnswerLost)
        assert send(client, served.host).sid == SID
        assert served.connections == 2


def test_an_answer_in_pieces_is_put_together(client: TwilioClient) -> None:
    """A slow line is no error."""
    whole = answer()
    pieces = [whole[at : at + 40] for at in range(0, len(whole), 40)]
    with stub(*pieces, pause=0.01) as served:
        assert send(client, served.host).sid == SID


def test_an_answer_in_chunks_is_put_together(client: TwilioClient) -> None:
    """Whoever stands between may change how the body is framed."""
    body = json.dumps({"sid": SID, "status": "queued"}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, bytes([byte])) for byte in body) + b"0\r\n\r\n"
    head = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
    with stub(head + chunks) as served:
        assert send(client, served.host).sid == SID


def test_an_interim_answer_is_stepped_over(client: TwilioClient) -> None:
    """``100 Continue`` may come unasked."""
    with stub(b"HTTP/1.1 100 Continue\r\n\r\n" + answer()) as served:
        assert send(client, served.host).sid == SID


def test_an_answer_that_trickles_does_not_outlast_the_time_out(client: TwilioClient) -> None:
    """The time is for connecting and waiting together: a lease and an invocation hang on it."""
    pieces = [bytes([byte]) for byte in answer("201 Made", b'{"sid":"SM1"}')]
    with stub(*pieces, pause=0.05) as served:
        error = failed(client, served.host, timeout=0.4)
    assert isinstance(error, AnswerLost)  # read to its end, it would have been a message


def test_an_answer_that_never_comes_is_lost_in_time(client: TwilioClient) -> None:
    """Also one of which only a part comes."""
    for part in (b"", b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"):
        with stub(part, stays=True) as served:
            error = failed(client, served.host, timeout=0.3)
        assert isinstance(error, AnswerLost)
        assert error.reason == "read_timeout"


# No connection


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_refused_connection_made_nothing(client: TwilioClient) -> None:
    """A retry is safe."""
    error = failed(client, f"127.0.0.1:{free_port()}")
    assert isinstance(error, NotReached)
    assert error.reason == "connect_refused"


@pytest.mark.parametrize("host", ["twilio.localhost.invalid:80", f"{'a' * 64}.invalid:80"])
def test_a_name_that_cannot_be_resolved_made_nothing(client: TwilioClient, host: str) -> None:
    """``.invalid`` is reserved for names that never exist (RFC 2606)."""
    started = time.monotonic()
    error = failed(client, host, timeout=5)
    assert isinstance(error, NotReached)
    assert error.reason in ("dns", "connect_failed")
    assert time.monotonic() - started < 30


def test_a_client_goes_on_after_an_outage(client: TwilioClient) -> None:
    """Refused, then served: the pool holds nothing against the address."""
    port = free_port()
    host = f"127.0.0.1:{port}"
    assert isinstance(failed(client, host), NotReached)
    twin = TwilioTwin(
        accounts=[TwinAccount(sid=ACCOUNT, auth_token=TOKEN)], clock=lambda: datetime.now(UTC)
    )
    with TwinServer(twin, port=port):
        assert send(client, host).sid == twin.messages[0].sid


# TLS


class Certificate:
    """A certificate that signed itself, on loopback addresses or for a name."""

    def __init__(self, folder: Path, *names: str, days: int = 1) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        alternatives = [
            x509.IPAddress(ip_address(one)) if one[0].isdigit() else x509.DNSName(one)
            for one in names
        ]
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.path = folder / "server.pem"
        self.path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.path)


def speaking_tls(certificate: Certificate, behave: Behaviour) -> Behaviour:
    """Do the handshake before behaving; a client that breaks it off is left alone."""

    def behave_in_tls(connection: socket.socket) -> None:
        with certificate.context.wrap_socket(connection, server_side=True) as secured:
            behave(secured)

    return behave_in_tls


def send_secured(client: TwilioClient, host: str, *, timeout: float = 10.0) -> Receipt:
    """Send one message to a server that speaks TLS, or should."""
    return client.send(HELLO, tenant_at(f"https://{host}"), validity=60, timeout=timeout)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_proxies: None) -> Certificate:
    """A certificate for loopback and for Twilio's host that this process trusts."""
    made = Certificate(tmp_path, "127.0.0.1", "api.twilio.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    return made


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the proxies of the machine that the tests run on."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_message_goes_over_tls(client: TwilioClient, trusted: Certificate) -> None:
    """Twilio itself is reached so."""

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(answer())

    with Stub(speaking_tls(trusted, behave)) as served:
        assert send_secured(client, served.host).sid == SID
    assert served.requests[0].startswith(f"POST {PATH} HTTP/1.1\r\n".encode())


def test_plain_http_where_tls_was_expected_made_nothing(
    client: TwilioClient, no_proxies: None
) -> None:
    """The handshake fails before a byte of the request has left."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer("400 Bad Request", b""))

    with Stub(behave) as served, pytest.raises(NotReached) as caught:
        send_secured(client, served.host)
    assert caught.value.reason == "tls"


@pytest.mark.parametrize("wrong", ["not trusted", "another name", "over"])
def test_a_certificate_that_does_not_hold_made_nothing(
    client: TwilioClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_proxies: None,
    wrong: str,
) -> None:
    """Neither credentials nor text are shown to a stranger."""
    name = "sms.example.com" if wrong == "another name" else "127.0.0.1"
    certificate = Certificate(tmp_path, name, days=-1 if wrong == "over" else 1)
    if wrong != "not trusted":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))

    def behave(connection: socket.socket) -> None:
        served.read(connection)

    with Stub(speaking_tls(certificate, behave)) as served, pytest.raises(NotReached) as caught:
        send_secured(client, served.host)
    assert caught.value.reason == "tls"
    assert served.requests == []


def test_a_handshake_that_never_ends_made_nothing(client: TwilioClient, no_proxies: None) -> None:
    """It is given up in time."""

    def behave(connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass

    with Stub(behave) as served:
        started = time.monotonic()
        with pytest.raises(NotReached):
            send_secured(client, served.host, timeout=0.3)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("garbage", [b"not a record of TLS at all", b""], ids=["garbage", "cut"])
def test_a_tls_error_after_the_request_has_left_is_a_lost_answer(
    client: TwilioClient, trusted: Certificate, garbage: bytes
) -> None:
    """Twilio may have read the request before its side of the connection broke."""

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        with socket.socket(fileno=connection.detach()) as bare:
            bare.sendall(garbage)
            bare.shutdown(socket.SHUT_WR)
            bare.settimeout(5)
            while bare.recv(65_536):
                pass

    with Stub(speaking_tls(trusted, behave)) as served, pytest.raises(AnswerLost):
        send_secured(client, served.host)
    assert len(served.requests) == 1


# Proxies


@contextmanager
def proxy(target: str = "", answered: bytes | None = None, *, pause: float = 0.0) -> Iterator[Stub]:
    """Run a proxy that leads every ``CONNECT`` to one server on loopback, or answers as told."""

    def behave(connection: socket.socket) -> None:
        if not served.read(connection):
            return
        time.sleep(pause)
        if answered is not None:
            connection.sendall(answered)
            return
        host, _, port = target.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, connection), daemon=True)
            back.start()
            pump(connection, onward)
            back.join(10)

    with Stub(behave) as served:
        yield served


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way until there are no more."""
    with suppress(OSError):
        while part := source.recv(65_536):
            sink.sendall(part)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def test_https_proxy_is_honoured(
    client: TwilioClient, trusted: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy learns the host and nothing else; credentials stay inside the tunnel."""

    def behave(connection: socket.socket) -> None:
        while served.read(connection):
            connection.sendall(answer())

    tenant = tenant_at("https://api.twilio.com")
    with Stub(speaking_tls(trusted, behave)) as served, proxy(served.host) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{between.host}")
        for _ in range(2):
            assert client.send(HELLO, tenant, validity=60, timeout=10).sid == SID
        client.close()
    (asked,) = between.requests
    assert asked.startswith(b"CONNECT api.twilio.com:443 HTTP/1.")
    assert b"authorization" not in asked.lower()
    assert len(served.requests) == 2
    assert b"Authorization: Basic " in served.requests[0]


def test_credentials_in_the_proxys_address_are_presented_to_it(
    client: TwilioClient, trusted: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``http://user:password@proxy`` is how HTTPS_PROXY names them everywhere."""

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(answer())

    with Stub(speaking_tls(trusted, behave)) as served, proxy(served.host) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s%40cret@{between.host}")
        client.send(HELLO, tenant_at("https://api.twilio.com"), validity=60, timeout=10)
        client.close()
    expected = base64.b64encode(b"me:s@cret")
    assert b"proxy-authorization: basic " + expected.lower() in between.requests[0].lower()


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 X"])
def test_a_proxy_that_opens_no_tunnel_made_nothing(
    client: TwilioClient, no_proxies: None, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """A retry is safe, and the reason names the proxy."""
    with proxy(answered=answer(status, b"no")) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{between.host}")
        with pytest.raises(NotReached) as caught:
            client.send(HELLO, tenant_at("https://api.twilio.com"), validity=60, timeout=10)
    assert caught.value.reason == "proxy"


@pytest.mark.parametrize("scheme", ["http://", ""], ids=["with scheme", "without"])
def test_a_proxy_that_is_not_there_made_nothing(
    client: TwilioClient, trusted: Certificate, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Nobody goes past it: a proxy may be the only way out that is allowed."""
    with Stub(speaking_tls(trusted, lambda _: None)) as served:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}127.0.0.1:{free_port()}")
        with pytest.raises(NotReached):
            send_secured(client, served.host)
        assert served.connections == 0


def test_a_proxy_named_without_scheme_is_used(
    client: TwilioClient, trusted: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``proxy.example.com:3128`` is how many write it, and other programs take it."""

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(answer())

    with Stub(speaking_tls(trusted, behave)) as served, proxy(served.host) as between:
        monkeypatch.setenv("HTTPS_PROXY", between.host)
        assert send_secured(client, served.host).sid == SID
        client.close()
        assert between.connections == 1


@pytest.mark.parametrize(
    "address", ["socks5://127.0.0.1:9", "http://127.0.0.1:99999", "http://[::1", "no proxy"]
)
def test_a_proxy_that_cannot_be_used_made_nothing(
    client: TwilioClient, trusted: Certificate, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A mistake in the environment neither goes past the proxy nor makes messages unknown."""
    with Stub(speaking_tls(trusted, lambda _: None)) as served:
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises(NotReached):
            send_secured(client, served.host)
        assert served.connections == 0


def test_time_that_runs_out_before_the_request_has_left_made_nothing(
    client: TwilioClient, trusted: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxy and handshake each took most of it: what was never sent is not an unknown outcome."""

    def slowly(connection: socket.socket) -> None:
        time.sleep(0.4)
        with trusted.context.wrap_socket(connection, server_side=True) as secured:
            served.read(secured)

    with Stub(slowly) as served, proxy(served.host, pause=0.4) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{between.host}")
        with pytest.raises(NotReached):
            send_secured(client, served.host, timeout=0.6)
        assert served.requests == []


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_without_any_time_nothing_is_made(client: TwilioClient, timeout: float) -> None:
    """Neither on a new connection nor on one that rested; the error is one that the flow knows."""
    with stub(answer(), stays=True) as served:
        assert isinstance(failed(client, served.host, timeout=timeout), NotReached)
        send(client, served.host)
        assert isinstance(failed(client, served.host, timeout=timeout), NotReached)
        assert len(served.requests) == 1


def test_no_proxy_is_honoured(
    client: TwilioClient, trusted: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is exempt is called directly."""

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(answer())

    with Stub(speaking_tls(trusted, behave)) as served, proxy(answered=b"") as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{between.host}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert send_secured(client, served.host).sid == SID
        assert between.connections == 0


# Connections


def test_a_connection_is_used_again_at_once(client: TwilioClient) -> None:
    """A campaign does not pay for a handshake per message."""
    with stub(answer(), stays=True) as served:
        for _ in range(5):
            send(client, served.host)
        assert served.connections == 1


def test_an_error_answer_does_not_cost_the_connection(client: TwilioClient) -> None:
    """Its body has been read to the end."""
    with stub(answer("429 Slow", b'{"code":20429}'), stays=True) as served:
        for _ in range(3):
            failed(client, served.host)
        assert served.connections == 1


def test_a_connection_that_rested_is_not_used_again(client: TwilioClient) -> None:
    """The other side may have closed it just now, and a request on it would be a lost one."""
    with stub(answer(), stays=True) as served:
        send(client, served.host)
        time.sleep(IDLE_SECONDS)
        send(client, served.host)
        assert served.connections == 2


def test_a_connection_that_the_server_closed_is_not_used_again(client: TwilioClient) -> None:
    """It said keep-alive and changed its mind while the connection rested."""
    with stub(answer()) as served:
        send(client, served.host)
        assert served.closed.wait(5)
        assert send(client, served.host).sid == SID
        assert served.connections == 2


def test_close_drops_connections_and_the_client_goes_on(client: TwilioClient) -> None:
    """Before a freeze nothing may stay open; afterwards new connections are made."""
    with stub(answer(), stays=True) as served:
        send(client, served.host)
        client.close()
        assert served.closed.wait(5)
        send(client, served.host)
        assert served.connections == 2


@pytest.mark.parametrize(
    "part",
    [
        b"SSH-2.0\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n{",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n" + b" " * (MAX_ANSWER + 2),
    ],
    ids=["no http", "cut", "cut, to be closed", "broken", "huge"],
)
def test_a_connection_that_failed_is_closed_at_once(client: TwilioClient, part: bytes) -> None:
    """Not when the error is forgotten: an outage must not use up the file descriptors."""
    ended = threading.Event()

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        connection.sendall(part)
        with suppress(ConnectionError):
            while connection.recv(65_536):
                pass
        ended.set()

    with Stub(behave) as served:
        error = failed(client, served.host, timeout=0.5)
        assert ended.wait(1), error


def test_close_leaves_requests_under_way_alone(client: TwilioClient) -> None:
    """Only what rests is closed; an open request gets its answer."""
    arrived, leave = threading.Event(), threading.Event()

    def behave(connection: socket.socket) -> None:
        served.read(connection)
        arrived.set()
        leave.wait(5)
        connection.sendall(answer())

    with Stub(behave) as served, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send, client, served.host)
        assert arrived.wait(5)
        client.close()
        leave.set()
        assert sent.result(10).sid == SID


def test_closing_while_others_send_loses_no_answer(client: TwilioClient) -> None:
    """A request that finds its pool closed has not left: it is not an unknown outcome."""
    over = threading.Event()

    def close_all_the_time() -> None:
        while not over.is_set():
            client.close()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns in the middle of everything
    try:
        with stub(answer(), stays=True) as served, ThreadPoolExecutor(5) as pool:
            closing = pool.submit(close_all_the_time)
            sent = [pool.submit(send, client, served.host) for _ in range(100)]
            errors = [exc for one in sent if (exc := one.exception(60))]
            over.set()
            closing.result(60)
            client.close()
    finally:
        sys.setswitchinterval(interval)
    assert [error for error in errors if not isinstance(error, NotReached)] == []


def test_an_address_of_version_six_is_called(client: TwilioClient) -> None:
    """``[::1]``, with its port."""
    twin = TwilioTwin(
        accounts=[TwinAccount(sid=ACCOUNT, auth_token=TOKEN)], clock=lambda: datetime.now(UTC)
    )
    with TwinServer(twin, host="::1") as served:
        host = served.url.removeprefix("http://")
        assert send(client, host).sid == twin.messages[0].sid


def test_a_hundred_threads_send_at_once(client: TwilioClient, twilio: Twilio) -> None:
    """Each gets the receipt of its own message."""
    tenant = parse_tenant(json.dumps(twilio.document()), TenantId("t"), (twilio.host,))
    barrier = threading.Barrier(100)

    def one(number: int) -> tuple[str, Receipt]:
        message = Message(to=f"+1201555{number:04}", sender=FROM, body=str(number))
        barrier.wait(20)
        return message.to, client.send(message, tenant, validity=60, timeout=20)

    with ThreadPoolExecutor(100) as pool:
        receipts = dict(pool.map(one, range(100, 200)))
    assert {message.to: message.sid for message in twilio.twin.messages} == {
        to: receipt.sid for to, receipt in receipts.items()
    }


# Questions


def tenant_of(twilio: Twilio, **changes: Any) -> Tenant:
    """Make the tenant of the twin's account."""
    return parse_tenant(json.dumps(twilio.document(**changes)), TenantId("t"), (twilio.host,))


def answering(*answers: bytes) -> Stub:
    """Make a server that gives one answer after the other, the last for all that follow."""
    left = list(answers)

    def behave(connection: socket.socket) -> None:
        while served.read(connection):
            connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    served = Stub(behave)
    return served


def page(*sids: str, following: object = None) -> bytes:
    """Write a page of the list; its messages were made at noon of 2 March."""
    made = "Mon, 02 Mar 2026 12:00:00 +0000"
    rows = [{"sid": sid, "status": "sent", "to": TO, "date_created": made} for sid in sids]
    return answer("200 OK", json.dumps({"messages": rows, "next_page_uri": following}).encode())


def targets(served: Stub) -> list[str]:
    """Give what was asked for."""
    return [request.split(b" ")[1].decode() for request in served.requests]


QUESTIONS: dict[str, Callable[[TwilioClient, Tenant], object]] = {
    "search": lambda client, tenant: client.search(tenant, TO, timeout=2),
    "fetch": lambda client, tenant: client.fetch(tenant, SID, timeout=2),
    "probe": lambda client, tenant: client.probe(tenant, timeout=2),
    "lookup_sender": lambda client, tenant: client.lookup_sender(tenant, FROM, timeout=2),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_that_does_not_reach_twilio_says_so(client: TwilioClient, question: str) -> None:
    """As sending does."""
    with pytest.raises(NotReached):
        QUESTIONS[question](client, tenant_at(f"http://127.0.0.1:{free_port()}"))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "whole",
    [
        b"",
        b"SSH-2.0\r\n",
        answer("200 OK", b""),
        answer("200 OK", b"<html>logged in</html>"),
        answer("200 OK", b"[]"),
        answer("200 OK", b"{}"),
        answer("200 OK", b"[" * 100_000),
        answer("200 OK", b'{"messages":null,"sid":null,"incoming_phone_numbers":"x"}'),
        answer("200 OK", b'{"messages":{},"sid":"AC1","incoming_phone_numbers":{}}'),
        answer("200 OK", b'{"messages":[{"sid":"SM1"'),
        answer("500 Oops", b'{"code":20500}'),
        answer("503 Busy", b""),
    ],
    ids=range(12),
)
def test_an_answer_that_is_not_to_the_question_is_lost(
    client: TwilioClient, question: str, whole: bytes
) -> None:
    """A proxy's page is not an empty list: what is not found may be sent again some day."""
    with stub(whole) as served, pytest.raises(AnswerLost):
        QUESTIONS[question](client, tenant_at(f"http://{served.host}"))


@pytest.mark.parametrize("question", ["search", "fetch", "probe"])
def test_a_refused_question_has_its_class(
    client: TwilioClient, twilio: Twilio, question: str
) -> None:
    """Wrong credentials, as where sending; nothing of what was asked is told."""
    with pytest.raises(TwilioRefused) as caught:
        QUESTIONS[question](client, tenant_of(twilio, twilio_auth_token="wrong"))
    assert (caught.value.failure, caught.value.twilio_code) == (Failure.CONFIG, 20003)
    assert "2015550142" not in str(caught.value)
    with stub(answer("429 Slow", b'{"code":20429}')) as served:
        with pytest.raises(TwilioRefused) as caught:
            QUESTIONS[question](client, tenant_at(f"http://{served.host}"))
        assert caught.value.failure is Failure.RETRY_SAFE


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_are_answered_by_the_twin_and_make_nothing(
    client: TwilioClient, twilio: Twilio, question: str
) -> None:
    """No attempt, no message."""
    QUESTIONS[question](client, tenant_of(twilio))
    assert not twilio.faults.attempts
    assert not twilio.twin.messages


# Searching


def test_what_was_sent_is_found(client: TwilioClient, twilio: Twilio) -> None:
    """Every message to the recipient, and no other's, as matching needs them."""
    tenant = tenant_of(twilio)
    receipts = [client.send(HELLO, tenant, validity=60, timeout=10) for _ in range(2)]
    other = Message(to="+12015550143", sender=FROM, body="Hello")
    client.send(other, tenant, validity=60, timeout=10)
    rows = client.search(tenant, TO)
    assert {row.receipt.sid for row in rows} == {receipt.sid for receipt in receipts}
    assert {(row.to, row.sender, row.body, row.media) for row in rows} == {(TO, FROM, "Hello", 0)}
    now = datetime.now(UTC)
    sought = Sought(message=HELLO, since=now - timedelta(hours=1), until=now + timedelta(hours=1))
    assert candidates(sought, rows) == rows


def test_addresses_of_channels_are_searched_for(client: TwilioClient, twilio: Twilio) -> None:
    """Prefix and plus sign arrive as they are."""
    message = Message(to=f"whatsapp:{TO}", sender=f"whatsapp:{FROM}", body="Hello")
    client.send(message, tenant_of(twilio), validity=60, timeout=10)
    (row,) = client.search(tenant_of(twilio), message.to)
    assert row.to == message.to
    assert client.search(tenant_of(twilio), TO) == []


def test_all_pages_are_read(client: TwilioClient, twilio: Twilio) -> None:
    """Two whole ones and a part."""
    tenant = tenant_of(twilio)
    for _ in range(2 * PAGE_SIZE + 5):
        client.send(HELLO, tenant, validity=60, timeout=10)
    found = [row.receipt.sid for row in client.search(tenant, TO, since=datetime.now(UTC))]
    assert sorted(found) == sorted(message.sid for message in twilio.twin.messages)


NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ASKED = f"{PATH}?To=%2B12015550142&PageSize={PAGE_SIZE}"


def test_a_search_asks_for_recipient_and_day(client: TwilioClient) -> None:
    """From the day before on: a message may be sent, and our clock be wrong, across midnight."""
    with answering(page(SID)) as served:
        tenant = tenant_at(f"http://{served.host}")
        client.search(tenant, TO, since=datetime(2026, 3, 2, 0, 30, tzinfo=UTC))
        east = timezone(timedelta(hours=10))
        client.search(tenant, TO, since=datetime(2026, 3, 2, 9, 0, tzinfo=east))
        client.search(tenant, TO)
    assert targets(served) == [
        f"{ASKED}&DateSent%3E=2026-03-01T00%3A00%3A00Z",
        f"{ASKED}&DateSent%3E=2026-02-28T00%3A00%3A00Z",
        ASKED,
    ]
    assert served.requests[0].startswith(b"GET ")


def test_a_day_is_written_as_the_official_client_writes_it(client: TwilioClient) -> None:
    """Twilio's description calls it a date-time."""
    day = datetime(2026, 3, 1, tzinfo=UTC)
    written = quote_plus(iso8601_datetime(day))
    with answering(page(SID)) as served:
        client.search(tenant_at(f"http://{served.host}"), TO, since=day + timedelta(days=1))
    assert targets(served) == [f"{ASKED}&DateSent%3E={written}"]


@pytest.mark.parametrize(
    ("since", "listed"),
    [
        (NOON, [SID]),
        (NOON - timedelta(hours=1), [SID]),
        (NOON + timedelta(seconds=1), [SID, "SM2"]),
    ],
    ids=["just then", "later", "before"],
)
def test_what_has_no_date_of_sending_yet_is_searched_for_without_one(
    client: TwilioClient, since: datetime, listed: list[str]
) -> None:
    """Where the filter shows nothing that was made since then; each message is given once."""
    with answering(page(SID), page(SID, "SM2", following="?Page=1")) as served:
        rows = client.search(tenant_at(f"http://{served.host}"), TO, since=since)
    assert [row.receipt.sid for row in rows] == listed
    assert targets(served)[1:] == [ASKED] * (len(listed) - 1)


def test_a_message_without_any_date_is_searched_for_twice(client: TwilioClient) -> None:
    """It may be of any time."""
    bare = answer("200 OK", json.dumps({"messages": [{"sid": SID, "to": TO}]}).encode())
    with answering(bare, page("SM2")) as served:
        rows = client.search(tenant_at(f"http://{served.host}"), TO, since=NOON)
    assert [row.receipt.sid for row in rows] == [SID, "SM2"]


def test_what_the_twin_hides_of_a_service_is_found(client: TwilioClient, twilio: Twilio) -> None:
    """Whatever was made a moment ago is found at once, with a date or without."""
    tenant = tenant_of(twilio)
    message = Message(to=TO, sender=SERVICE, body="Hello")
    receipt = client.send(message, tenant, validity=60, timeout=10)
    (row,) = client.search(tenant, TO, since=datetime.now(UTC) - timedelta(minutes=1))
    assert (row.receipt.sid, row.service) == (receipt.sid, SERVICE)


@pytest.mark.parametrize(
    ("uri", "query"),
    [
        (f"{PATH}?To=%2B1&PageToken=PA1", "To=%2B1&PageToken=PA1"),
        (f"https://evil.example.com{PATH}?Page=1", "Page=1"),
        ("//evil.example.com/x?Page=1", "Page=1"),
        ("/2010-04-01/Accounts/AC0/Calls.json?Page=1", "Page=1"),
        ("?To=whatsapp:+1&DateSent>=2026-03-01", "To=whatsapp%3A+1&DateSent%3E=2026-03-01"),
        (
            "?Page=1 HTTP/1.1\r\nHost: evil\r\n\r\nDELETE /",
            "Page=1+HTTP%2F1.1%0D%0AHost%3A+evil%0D%0A%0D%0ADELETE+%2F",
        ),
        ("?a=1#b", "a=1%23b"),
        ("?a=%zz%ff", "a=%25zz%EF%BF%BD"),
        ("?\u00e4=1", "%C3%A4=1"),
    ],
    ids=range(9),
)
def test_of_the_next_pages_address_only_the_query_is_taken(
    client: TwilioClient, uri: str, query: str
) -> None:
    """No answer makes us call another host, another path, or two requests at once."""
    with answering(page(SID, following=uri), page("SM2")) as served:
        rows = client.search(tenant_at(f"http://{served.host}"), TO)
    assert [row.receipt.sid for row in rows] == [SID, "SM2"]
    assert targets(served)[1:] == [f"{PATH}?{query}"]


@pytest.mark.parametrize("uri", [None, ""])
def test_without_a_next_page_the_list_is_at_its_end(client: TwilioClient, uri: object) -> None:
    """Twilio says ``null``, or nothing at all."""
    with answering(page(SID, following=uri)) as served:
        (row,) = client.search(tenant_at(f"http://{served.host}"), TO)
    assert row.receipt.sid == SID
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    "uri", [PATH, f"{PATH}?", "?&&", "?" + "a&" * 500, "?a=" + "b" * 2000, 7, True, [], {}],
    ids=lambda uri: ascii(uri)[:30],
)  # fmt: skip
def test_a_next_page_that_cannot_be_asked_for_is_no_end(client: TwilioClient, uri: object) -> None:
    """There is more, and nobody knows what."""
    with answering(page(SID, following=uri)) as served, pytest.raises(AnswerLost):
        client.search(tenant_at(f"http://{served.host}"), TO)
    assert len(served.requests) == 1


def test_a_list_without_end_is_no_list(client: TwilioClient) -> None:
    """Each page names the next one for ever; what was not seen may be the message all the same."""
    with answering(page(SID, following="?Page=1")) as served:
        with pytest.raises(AnswerLost) as caught:
            client.search(tenant_at(f"http://{served.host}"), TO)
        assert len(served.requests) == MAX_PAGES
    assert caught.value.reason == "list_too_long"


def test_the_last_page_that_is_read_may_be_the_last_one(client: TwilioClient) -> None:
    """Then nothing is missing."""
    pages = [page(f"SM{number}", following="?Page=1") for number in range(MAX_PAGES - 1)]
    with answering(*pages, page(SID)) as served:
        assert len(client.search(tenant_at(f"http://{served.host}"), TO)) == MAX_PAGES


def test_rows_that_name_no_message_are_left_out(client: TwilioClient) -> None:
    """Whatever they are."""
    rows: list[object] = [
        None,
        5,
        "x",
        [],
        {},
        {"sid": SID},
        {"sid": 5, "to": TO},
        {"sid": SID, "to": TO},
    ]
    with stub(answer("200 OK", json.dumps({"messages": rows}).encode())) as served:
        (row,) = client.search(tenant_at(f"http://{served.host}"), TO)
    assert row.receipt.sid == SID


def test_a_list_that_breaks_off_is_no_list(client: TwilioClient) -> None:
    """What was read so far is not all there is."""
    with answering(page(SID, following="?Page=1"), answer("503 Busy", b"")) as served:
        with pytest.raises(AnswerLost):
            client.search(tenant_at(f"http://{served.host}"), TO)
        assert len(served.requests) == 2


# Fetching


def test_a_message_is_fetched_by_its_sid(client: TwilioClient, twilio: Twilio) -> None:
    """As it is now."""
    tenant = tenant_of(twilio)
    receipt = client.send(HELLO, tenant, validity=60, timeout=10)
    assert client.fetch(tenant, receipt.sid) == receipt
    assert client.fetch(tenant, "SM" + "0" * 32) is None


def test_a_fetch_asks_below_the_list(client: TwilioClient) -> None:
    """At the tenant's own address."""
    body = json.dumps({"sid": SID, "status": "undelivered", "error_code": 30003}).encode()
    with stub(answer("200 OK", body)) as served:
        receipt = client.fetch(tenant_at(f"http://{served.host}"), SID)
    assert receipt == Receipt(sid=SID, status="undelivered", error_code=30003)
    assert targets(served) == [f"{PATH.removesuffix('.json')}/{SID}.json"]


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        ("404 No", b"<html>proxy</html>", Failure.CONFIG),
        ("403 No", b'{"code":20003}', Failure.CONFIG),
        ("429 Slow", b'{"code":20429}', Failure.RETRY_SAFE),
    ],
)
def test_only_twilio_can_say_that_there_is_no_such_message(
    client: TwilioClient, status: str, body: bytes, failure: Failure
) -> None:
    """By its code; a proxy's 404 says nothing."""
    with stub(answer(status, body)) as served, pytest.raises(TwilioRefused) as caught:
        client.fetch(tenant_at(f"http://{served.host}"), SID)
    assert caught.value.failure is failure


@pytest.mark.parametrize("sid", ["", "..", "SM/x", "SM?x=1", "SM 1", "SM\r\n", "SM\u00e4", "SM%2e"])
def test_what_is_no_sid_never_touches_a_path(client: TwilioClient, sid: str) -> None:
    """There is no message of that name, and nobody is asked."""
    with stub(answer()) as served:
        assert client.fetch(tenant_at(f"http://{served.host}"), sid) is None
        assert served.connections == 0


def test_another_message_than_was_asked_for_is_no_answer(client: TwilioClient) -> None:
    """Its status would be written to the wrong entry."""
    other = answer("200 OK", b'{"sid":"SM1","status":"delivered"}')
    with stub(other) as served, pytest.raises(AnswerLost):
        client.fetch(tenant_at(f"http://{served.host}"), SID)


# Looking up senders


def test_a_number_belongs_to_the_account_or_does_not(client: TwilioClient) -> None:
    """As the list of its numbers says."""
    account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN, numbers=[FROM, "12345"])
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    with TwinServer(twin) as served:
        tenant = tenant_at(served.url)
        assert client.lookup_sender(tenant, FROM) is True
        assert client.lookup_sender(tenant, "+12015550198") is False


def test_a_number_that_contains_the_one_asked_for_is_another(client: TwilioClient) -> None:
    """Twilio's filter takes parts of numbers, too."""
    rows = [None, {}, {"phone_number": f"{FROM}0"}]
    body = json.dumps({"incoming_phone_numbers": rows}).encode()
    with stub(answer("200 OK", body)) as served:
        assert client.lookup_sender(tenant_at(f"http://{served.host}"), FROM) is False
    assert targets(served) == [
        f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers.json?PhoneNumber=%2B12015550199"
    ]


@pytest.mark.parametrize("sender", [SERVICE, "12345", "My Shop", f"whatsapp:{FROM}", ""])
def test_other_senders_are_not_looked_up(client: TwilioClient, sender: str) -> None:
    """They stand elsewhere, each kind at a place of its own."""
    with stub(answer()) as served:
        assert client.lookup_sender(tenant_at(f"http://{served.host}"), sender) is None
        assert served.connections == 0


@pytest.mark.parametrize("status", ["401 No", "403 No", "404 No", "429 Slow"])
def test_where_numbers_may_not_be_seen_nothing_is_told(client: TwilioClient, status: str) -> None:
    """A restricted key is no reason to call a sender wrong."""
    with stub(answer(status, b'{"code":20003}')) as served:
        assert client.lookup_sender(tenant_at(f"http://{served.host}"), FROM) is None


# Probing


KEY = {"twilio_api_key_sid": "SK" + "1c" * 16, "twilio_api_key_secret": "secret"}
ACCOUNT_PATH = f"/2010-04-01/Accounts/{ACCOUNT}.json"


def test_a_probe_with_the_token_asks_for_the_account(client: TwilioClient) -> None:
    """Which must be the one that was asked for."""
    with stub(answer("200 OK", json.dumps({"sid": ACCOUNT}).encode())) as served:
        client.probe(tenant_at(f"http://{served.host}"))
    assert targets(served) == [ACCOUNT_PATH]


def test_a_probe_with_an_api_key_asks_for_a_message(client: TwilioClient) -> None:
    """The account is for main keys alone: to others Twilio says 401, as to a wrong secret."""
    refusal = b'{"code":20003,"message":"Authentication Error - invalid username","status":401}'

    def behave(connection: socket.socket) -> None:
        while request := served.read(connection):
            is_account = ACCOUNT_PATH.encode() in request
            connection.sendall(answer("401 No", refusal) if is_account else page())

    with Stub(behave) as served:
        client.probe(tenant_at(f"http://{served.host}", **KEY))
    assert targets(served) == [f"{PATH}?PageSize=1"]


@pytest.mark.parametrize("changes", [{}, KEY], ids=["token", "key"])
@pytest.mark.parametrize("code", [20003, 20008, 70051])
def test_credentials_that_may_not_look_fit(
    client: TwilioClient, changes: dict[str, str], code: int
) -> None:
    """A restricted key may be for sending alone, test credentials are for nothing else."""
    with stub(answer("403 No", json.dumps({"code": code}).encode())) as served:
        client.probe(tenant_at(f"http://{served.host}", **changes))


@pytest.mark.parametrize("changes", [{}, KEY], ids=["token", "key"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("401 No", b'{"code":20003}'),
        ("401 No", b'{"code":70051}'),
        ("403 No", b'{"code":20005}'),
        ("403 No", b'{"code":20403}'),
        ("403 No", b"<html>proxy</html>"),
        ("404 No", b'{"code":20404}'),
        ("302 There", b""),
    ],
)
def test_a_probe_that_is_refused_says_so(
    client: TwilioClient, changes: dict[str, str], status: str, body: bytes
) -> None:
    """Wrong, suspended, or not Twilio at all: nothing could be sent."""
    with stub(answer(status, body)) as served, pytest.raises(TwilioRefused) as caught:
        client.probe(tenant_at(f"http://{served.host}", **changes))
    assert caught.value.failure is Failure.CONFIG


@pytest.mark.parametrize("status", ["suspended", "closed"])
def test_an_account_that_may_not_send_is_refused(client: TwilioClient, status: str) -> None:
    """As sending would be, though it can be seen."""
    body = json.dumps({"sid": ACCOUNT, "status": status}).encode()
    with stub(answer("200 OK", body)) as served, pytest.raises(TwilioRefused) as caught:
        client.probe(tenant_at(f"http://{served.host}"))
    assert (caught.value.failure, caught.value.twilio_code) == (Failure.CONFIG, 20005)


def test_a_suspended_account_is_refused_by_probe_and_sending_alike(client: TwilioClient) -> None:
    """A pause that a probe would lift is not made again by the next message."""
    account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN, suspended=True)
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    with TwinServer(twin) as served:
        tenant, codes = tenant_at(served.url), []
        for ask in (client.probe, lambda tenant: client.send(HELLO, tenant, validity=1, timeout=5)):
            with pytest.raises(TwilioRefused) as caught:
                ask(tenant)
            codes.append(caught.value.twilio_code)
    assert codes == [20005, 20005]


def test_a_probe_of_another_account_is_no_answer(client: TwilioClient) -> None:
    """Nor is any page with status 200."""
    for changes in ({}, KEY):
        with stub(answer("200 OK", b'{"sid":"AC1"}')) as served, pytest.raises(AnswerLost):
            client.probe(tenant_at(f"http://{served.host}", **changes))
