"""The console of a running server: by ``make console``, and by ``serve``."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from tests.acceptance.conftest import free_port

COMMAND = [sys.executable, "-m", "ci360_twilio"]


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command, and end it as Ctrl-C does."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def call(
    address: str, method: str, path: str, form: dict[str, str] | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    """Make one request; gives status, headers and page."""
    with closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)) as caller:
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        caller.request(method, path, None if form is None else urlencode(form), headers)
        answer = caller.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read().decode()


def csrf(page: str) -> str:
    """Find the token of a page's forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


def test_the_console_is_shown_with_a_campaign_and_nothing_set_up() -> None:
    """It prints address, name and password, plays until it is stopped, and leaves nothing behind."""
    before, port = folders(), free_port()
    with running("console", "--port", str(port)) as process:
        assert process.stdout is not None
        said = ""
        while "Stop with Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        address = re.findall(r"http://\S+", said)[0].removesuffix("/console")
        password = re.findall(r"Password\s+(\S+)", said)[0]
        status, headers, page = call(address, "GET", "/console/sign-in")
        assert status == 200
        cookie = headers["set-cookie"].partition(";")[0]
        form = {"csrf": csrf(page), "name": "admin", "password": password}
        status, headers, _ = call(address, "POST", "/console/sign-in", form, Cookie=cookie)
        assert (status, headers["location"]) == (303, "/console")
        cookie = headers["set-cookie"].partition(";")[0]
        status, _, page = call(address, "GET", "/console?range=hour", Cookie=cookie)
        assert status == 200
        came = re.findall(r"<b>([\d,]+)</b><span>events came in", page)
        assert int(came[0]) >= 150
    assert process.returncode == 0
    assert folders() == before


def folders() -> set[Path]:
    """List what such a command may leave behind."""
    return set(Path(tempfile.gettempdir()).glob("ci360-twilio-console-*"))


def test_without_people_the_console_is_for_this_machine_alone(tmp_path: Path) -> None:
    """A loopback name, and no proxy on the way."""
    port = free_port()
    (tmp_path / "tenants").mkdir()
    environment = {
        "CI360_TWILIO_TENANTS": str(tmp_path / "tenants"),
        "CI360_TWILIO_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    with running("serve", "--no-worker", "--port", str(port), **environment) as process:
        address = f"http://127.0.0.1:{port}"
        assert process.stdout is not None
        while "server.starting" not in process.stdout.readline():
            assert process.poll() is None
        until_ready(address)
        assert call(address, "GET", "/console")[0] == 200
        assert call(address, "GET", "/console", Host="sms.example.com")[0] == 403
        assert call(address, "GET", "/console", Via="1.1 proxy")[0] == 403
        assert call(address, "GET", "/console/no-such-page")[0] == 404
        assert call(address, "GET", "/consoles")[0] == 404


def until_ready(address: str) -> None:
    """Wait until it answers."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if call(address, "GET", "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail("the server does not answer")
