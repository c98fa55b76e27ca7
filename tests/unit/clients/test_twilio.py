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
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ci360_twilio.clients.connections import IDLE_SECONDS, MAX_ANSWER
from ci360_twilio.clients.twilio import TwilioClient, encode_form
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


# Probing


def test_a_probe_sends_nothing(client: TwilioClient, twilio: Twilio) -> None:
    """It asks for a page of the list."""
    tenant = parse_tenant(json.dumps(twilio.document()), TenantId("t"), (twilio.host,))
    client.probe(tenant)
    assert twilio.faults.attempts == {}


def test_a_probe_tells_wrong_credentials(client: TwilioClient, twilio: Twilio) -> None:
    """As sending would."""
    document = json.dumps(twilio.document(twilio_auth_token="wrong"))
    with pytest.raises(TwilioRefused) as caught:
        client.probe(parse_tenant(document, TenantId("t"), (twilio.host,)))
    assert (caught.value.failure, caught.value.twilio_code) == (Failure.CONFIG, 20003)


def test_a_probe_tells_an_outage(client: TwilioClient) -> None:
    """Whether Twilio is away or speaks nonsense."""
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(NotReached):
            client.probe(tenant_at(url), timeout=2)
        served = stack.enter_context(stub(b"SSH-2.0\r\n"))
        with pytest.raises(AnswerLost):
            client.probe(tenant_at(f"http://{served.host}"), timeout=2)
