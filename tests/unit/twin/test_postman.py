"""Status callbacks over real sockets, on this machine alone."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.twin import postman
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

SID = "AC" + "a" * 32
FAST = Life(until_sent=0.0, until_final=0.0)


class Receiver:
    """A server on loopback that keeps what is posted to it, and answers as it is told."""

    def __init__(self) -> None:
        self.seen: queue.Queue[tuple[str, dict[str, str], dict[str, str]]] = queue.Queue()
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = dict(
                    parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode())
                )
                receiver.seen.put((self.path, dict(self.headers), form))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def next(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """Wait for what is posted next: path, headers and form."""
        return self.seen.get(timeout=20)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of callbacks."""
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


Send = Callable[..., TwinServer]


@pytest.fixture
def send() -> Iterator[Send]:
    """Give a function that makes a message with a callback, on a twin that serves."""
    running: list[TwinServer] = []

    def make(callback: str, life: Life | None = FAST, **changes: Any) -> TwinServer:
        account = TwinAccount(sid=SID, auth_token="token", life=life)
        twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
        running.append(TwinServer(twin))
        running[-1].start()
        form = {"To": "+12015550101", "From": "+12015550199", "Body": "Hello"} | changes
        form["StatusCallback"] = callback
        twin.create(account, {name: [value] for name, value in form.items()})
        return running[-1]

    yield make
    for server in running:
        server.stop()


def wait_for(counted: Callable[[], bool]) -> None:
    """Look until something is so, for twenty seconds at most."""
    pause = threading.Event()
    for _ in range(2000):
        if counted():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


def test_callbacks_are_posted_and_signed(receiver: Receiver, send: Send) -> None:
    """Each is a form that Twilio's own package verifies."""
    send(f"{receiver.url}/twilio/status/tenant?m=a%2Bb#rc=5&rp=all")
    posted = [receiver.next() for _ in range(3)]
    for path, headers, form in posted:
        assert path == "/twilio/status/tenant?m=a%2Bb"
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        validator = RequestValidator("token")
        assert validator.validate(receiver.url + path, form, headers["X-Twilio-Signature"])
    assert {form["MessageStatus"] for _, _, form in posted} == {"sending", "sent", "delivered"}


def test_a_callback_that_is_refused_comes_again(receiver: Receiver, send: Send) -> None:
    """As the fragment of its address says."""
    receiver.answers = [500, 404]
    send(f"{receiver.url}/?m=1#rc=5&rp=all")
    posted = [receiver.next()[2]["MessageStatus"] for _ in range(5)]
    assert sorted(posted).count("delivered") >= 1
    assert {*posted} == {"sending", "sent", "delivered"}


@pytest.mark.parametrize(
    "url", ["http://sms.example.com/", "https://127.0.0.1/", "http://192.0.2.1:8360/"]
)
def test_other_hosts_are_never_called(send: Send, url: str) -> None:
    """They are counted instead."""
    server = send(url)
    wait_for(lambda: server.deliveries().get(postman.NOT_DELIVERABLE) == 3)
    assert {*server.deliveries()} == {postman.NOT_DELIVERABLE}


def test_a_receiver_that_is_not_there_is_counted(receiver: Receiver, send: Send) -> None:
    """A connection that does not come about is tried once more, as Twilio does by itself."""
    receiver.server.server_close()
    server = send(f"{receiver.url}/#rc=0")
    wait_for(lambda: server.deliveries().get(postman.FAILED) == 3)


def test_without_a_life_nothing_is_posted(send: Send) -> None:
    """There is nothing to tell of."""
    server = send("http://127.0.0.1:9/", life=None)
    assert server.deliveries() == {}


def test_texts_are_posted_from_when_they_are_to_be(receiver: Receiver) -> None:
    """Though the account had neither a life nor an address when the server was started."""
    account = TwinAccount(sid=SID, auth_token="token")
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    with TwinServer(twin):
        twin.set_inbound(SID, inbound_url=f"{receiver.url}/in")
        twin.write(SID, Letter(sender="+12015550101", to="+12015550199", body="STOP"))
        path, _, form = receiver.next()
    assert (path, form["Body"]) == ("/in", "STOP")
