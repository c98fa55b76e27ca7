"""``check``: our own public address, called as Twilio would call it."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
import uvicorn

from ci360_twilio.edge.asgi import App
from ci360_twilio.edge.http import Routes
from ci360_twilio.logs import Log
from ci360_twilio.ports import InboundQuery
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import wire

if TYPE_CHECKING:
    from tests.conftest import Twilio
    from tests.unit.edge.cli.conftest import Connect, Home, Parrot, Run

TENANT = "af5af6b8f500013eb0c90001"
PUBLIC = "CI360_TWILIO_PUBLIC_URL"
PATIENCE = 20.0

Serve = Callable[..., str]


@pytest.fixture
def serve(home: Home) -> Iterator[Serve]:
    """Give a function that runs the server, with its own address or another as the public one."""
    with ExitStack() as running:

        def start(public_url: str = "") -> str:
            listener = running.enter_context(socket.create_server(("127.0.0.1", 0)))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            settings = read_settings({**os.environ, PUBLIC: public_url or url})
            parts = wire(settings, Log(io.StringIO()))
            running.callback(parts.close)
            routes = Routes(
                parts.acceptance,
                parts.store,
                parts.log,
                settlement=parts.settlement,
                listening=parts.listening,
            )
            server = uvicorn.Server(uvicorn.Config(App(routes), log_config=None, ws="none"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            running.callback(thread.join, PATIENCE)
            running.callback(setattr, server, "should_exit", True)
            until = time.monotonic() + PATIENCE
            while not server.started:
                assert time.monotonic() < until, "the server did not start"
                time.sleep(0.01)
            return url

        yield start


def found(run: Run) -> str:
    """Give what is found of the public address, and what to do about it."""
    lines = run("check").out.splitlines()
    words = ("webhook", "public address")
    [number] = [
        number
        for number, line in enumerate(lines)
        if f"tenant {TENANT}: " in line and any(word in line for word in words)
    ]
    advice = lines[number + 1] if lines[number].startswith("FIX") else ""
    return (lines[number] + advice).replace(f"tenant {TENANT}: ", "")


def test_a_running_server_is_found_to_be_reached(
    run: Run, home: Home, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signed webhook gets through and a forged one does not; neither leaves anything behind."""
    monkeypatch.setenv(PUBLIC, serve())
    assert found(run) == "ok   webhooks get through, and forged ones do not"
    with connect() as parts:
        assert parts.store.find_inbound(InboundQuery()) == []
        assert parts.store.strays(10) == []


def test_a_server_with_another_public_address_refuses_every_webhook(
    run: Run, home: Home, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twilio signs the address that it is given; the advice says what must be alike."""
    monkeypatch.setenv(PUBLIC, serve("https://sms.example.com"))
    assert found(run) == (
        "FIX  webhooks are refused: the signature does not fit what the server is told"
        "     Have the server run with this very CI360_TWILIO_PUBLIC_URL and document."
    )


@pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 502])
def test_an_address_that_leads_elsewhere_is_told(
    run: Run,
    home: Home,
    parrot: Callable[[int, bytes], Parrot],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """Also one that lets everything through, and a gateway that asks for a login."""
    monkeypatch.setenv(PUBLIC, parrot(status, b"").url)
    assert found(run) == (
        f"FIX  the public address answers {status}, and {status} if forged"
        "     Lead /twilio/... to the server as it is; nothing in between may ask for a login."
    )


def test_the_two_webhooks_are_as_twilio_posts_them(
    run: Run,
    home: Home,
    parrot: Callable[[int, bytes], Parrot],
    monkeypatch: pytest.MonkeyPatch,
    twilio: Twilio,
) -> None:
    """Below the path of the address, for the tenant's account; one is signed, and they hold no text."""
    server = parrot(403, b"")
    monkeypatch.setenv(PUBLIC, f"{server.url}/below")
    assert found(run).startswith("FIX  webhooks are refused")
    signed, forged = server.requests
    assert signed.path == forged.path == f"/below/twilio/inbound/{TENANT}"
    assert signed.body == forged.body
    assert parse_qs(signed.body.decode()) == {
        "MessageSid": [f"SM{'0' * 32}"],
        "MessageStatus": ["check"],
        "AccountSid": [twilio.account],
    }
    assert "x-twilio-signature" in signed.headers
    assert "x-twilio-signature" not in forged.headers


def test_a_server_that_does_not_run_is_told(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to look for."""
    monkeypatch.setenv(PUBLIC, "http://127.0.0.1:1")
    assert found(run) == (
        "FIX  The public address could not be reached. (connect_refused)"
        "     Is the server running, and does the address lead to it?"
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "https://sms.example.invalid:https"])
def test_an_address_whose_port_is_none_is_told(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Nothing is called, nor anything else looked at."""
    monkeypatch.setenv(PUBLIC, url)
    done = run("check")
    assert done.code == 1
    assert done.out.startswith("FIX  CI360_TWILIO_PUBLIC_URL: is no address")


def test_nothing_is_called_offline_or_without_an_address(
    run: Run,
    home: Home,
    parrot: Callable[[int, bytes], Parrot],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``--offline`` asks nobody at all."""
    assert "webhooks" not in run("check").out
    server = parrot(200, b"")
    monkeypatch.setenv(PUBLIC, server.url)
    assert "webhooks" not in run("check", "--offline").out
    assert server.requests == []


def test_every_tenant_is_tried(
    run: Run, home: Home, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has an address and a signature of its own."""
    home.write("second", default_sender="+12015550198")
    monkeypatch.setenv(PUBLIC, serve())
    out = run("check").out
    for tenant_id in (TENANT, "second"):
        assert f"ok   tenant {tenant_id}: webhooks get through, and forged ones do not" in out
