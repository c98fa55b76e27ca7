"""``twin``: what its options set up, in a process of its own; and what cannot be set up."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Home, Parrot, Run

TENANT = "af5af6b8f500013eb0c90001"
TO, SENDER = "+12015550142", "+15005550006"
PATIENCE = 20.0


class Twin:
    """A running twin, and what it said of itself."""

    def __init__(self, process: subprocess.Popen[str], screen: IO[str]) -> None:
        self._process, self._screen = process, screen
        self.said = ""
        for line in screen:
            self.said += line
            if line.startswith("Stop with Ctrl-C."):
                break
        else:
            pytest.fail("the twin did not start")
        self.url = self.said.partition("listens on ")[2].partition(". ")[0]
        self.document: dict[str, Any] = json.loads(
            self.said[self.said.index("{") : self.said.rindex("}") + 1]
        )

    def hosts(self, name: str) -> str:
        """Give a setting that the twin names."""
        return self.said.partition(f"CI360_TWILIO_{name}_HOSTS=")[2].split()[0]

    def call(self, method: str, path: str, order: object = None, url: str = "") -> Any:
        """Ask one of the twins for something of its own."""
        host = urlsplit(url or self.url).netloc
        with closing(http.client.HTTPConnection(host, timeout=PATIENCE)) as caller:
            caller.request(method, path, None if order is None else json.dumps(order))
            return json.loads(caller.getresponse().read() or b"null")

    def write(self, body: str) -> Any:
        """Have the customer write."""
        order = {"account": self.document["twilio_account_sid"], "from": TO, "to": SENDER}
        return self.call("POST", "/twin/letters", {**order, "body": body})

    def stop(self) -> str:
        """End it as Ctrl-C does; gives what it says then."""
        self._process.send_signal(signal.SIGINT)
        last = self._screen.read()
        assert self._process.wait(PATIENCE) == 0
        return last


@pytest.fixture
def start() -> Iterator[Callable[..., Twin]]:
    """Give a function that starts a twin; what is left is ended after the test."""
    with ExitStack() as running:

        def run(*options: str) -> Twin:
            process = running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "ci360_twilio", "twin", "--port", "0", *options],
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": "src"},
                )
            )
            running.callback(process.kill)
            assert process.stdout is not None
            return Twin(process, process.stdout)

        yield run


def use(home: Home, twin: Twin, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Set the connector up as the twin says."""
    (home.tenants / f"{TENANT}.json").write_text(json.dumps(twin.document | changes))
    for name in ("TWILIO", "CI360", "BULK"):
        if f"CI360_TWILIO_{name}_HOSTS=" in twin.said:
            monkeypatch.setenv(f"CI360_TWILIO_{name}_HOSTS", twin.hosts(name))


def until(look: Callable[[], Any]) -> Any:
    """Look again until something is seen, with patience."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
    return found


def test_what_a_twin_prints_is_enough_to_use_it(
    run: Run, home: Home, start: Callable[..., Twin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document and the settings for it; at its end it says how much it made."""
    twin = start()
    use(home, twin, monkeypatch)
    assert "phone" not in twin.said
    assert "CI360's twin" not in twin.said
    assert run("check").code == 0
    assert run("send", home.event()).out == "sent\n"
    [message] = twin.call("GET", "/twin/messages")["messages"]
    assert (message["to"], message["status"]) == (TO, "queued")
    assert twin.stop() == "1 messages were made.\n"


def test_ci360_runs_beside_it(
    run: Run, home: Home, start: Callable[..., Twin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the tenants that are named, with a secret that the document has."""
    twin = start("--ci360", TENANT, "--ci360", "second", "--publish", "twilio_sms_refused")
    use(home, twin, monkeypatch)
    assert twin.document["ci360_api_url"].endswith("/marketingGateway/events")
    done = run("check")
    assert f"ok   tenant {TENANT}: CI360 lets it in" in done.out
    use(home, twin, monkeypatch, ci360_client_secret="another")
    assert "CI360 answered 401" in run("check").out
    gateway = twin.document["ci360_api_url"].removesuffix("/marketingGateway/events")
    assert twin.call("GET", "/twin/events", url=gateway) == {"events": []}
    assert twin.stop() == "0 messages were made.\n0 events were taken by CI360.\n"


def test_what_customers_write_is_posted(
    start: Callable[..., Twin], parrot: Callable[[int, bytes], Parrot]
) -> None:
    """To the address that is named, signed; Advanced Opt-Out says what it was taken for."""
    server = parrot(200, b"<Response/>")
    twin = start("--inbound-url", f"{server.url}/in#rc=5&rp=all", "--advanced-opt-out")
    assert "A customer's phone: ci360-twilio phone" in twin.said
    twin.write("Stop")
    [request] = until(lambda: server.requests)
    form = parse_qs(request.body.decode())
    assert (request.path, form["Body"], form["OptOutType"]) == ("/in", ["Stop"], ["STOP"])
    assert "x-twilio-signature" in request.headers


@pytest.mark.parametrize("blocks", [True, False])
def test_who_wrote_stop_may_be_left_to_the_connector(
    run: Run,
    home: Home,
    start: Callable[..., Twin],
    monkeypatch: pytest.MonkeyPatch,
    blocks: bool,
) -> None:
    """With ``--no-blocks`` nothing else stops the message."""
    twin = start(*([] if blocks else ["--no-blocks"]))
    use(home, twin, monkeypatch)
    twin.write("STOP")
    said = run("send", home.event()).out
    assert said == ("refused: twilio_21610\n" if blocks else "sent\n")


@pytest.mark.parametrize(
    ("options", "statuses"),
    [(("--deliver",), ("sent", "delivered")), (("--fate", "failed:30007=1"), ("failed",))],
    ids=["deliver", "fate"],
)
def test_messages_may_live(
    run: Run,
    home: Home,
    start: Callable[..., Twin],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    statuses: tuple[str, ...],
) -> None:
    """They are sent, or end as is asked for."""
    twin = start(*options)
    assert "Delivered callbacks: " in twin.said
    use(home, twin, monkeypatch)
    run("send", home.event())
    until(lambda: twin.call("GET", "/twin/messages")["messages"][0]["status"] in statuses)


@pytest.fixture
def bounded() -> Iterator[None]:
    """End a twin that starts in this process after all; it would wait for ever."""
    ending = threading.Timer(PATIENCE, os.kill, (os.getpid(), signal.SIGTERM))
    ending.start()
    yield
    ending.cancel()


@pytest.mark.parametrize(
    "options",
    [
        ("--fate", "vanished=0.1"),
        ("--fate", "delivered=2"),
        ("--fate", "delivered=often"),
        ("--fate", "undelivered:x=0.1"),
        ("--rate", "0"),
        ("--rate", "nan"),
        ("--queue-seconds", "-1"),
        ("--latency", "-1"),
        ("--latency", "nan"),
        ("--fault", "late:x=0.1"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_set_up_so_is_told(
    run: Run, bounded: None, options: tuple[str, ...]
) -> None:
    """Exit code 2, before anything listens."""
    done = run("twin", "--port", "0", *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("ci360-twilio: The twin cannot be set up so: ")


def test_a_port_of_ci360s_that_is_taken_is_told(run: Run, bounded: None) -> None:
    """It is the next one; nothing is left listening."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = run("twin", "--port", port - 1, "--ci360", TENANT)
    assert (done.code, done.out) == (2, "")
    assert f"cannot listen on port {port - 1} and the next one" in done.err
