"""Files put to signed addresses and fetched from them, over real sockets."""

from __future__ import annotations

import errno
import io
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.clients import signed
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.errors import AddressRefused, Ci360Failed, Trouble
from ci360_twilio.twin.faults import Ending

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Web

SECRET = "c0ffee5ec2e7c0ffee5ec2e7"
TARGET = f"/files/events.csv?X-Amz-Expires=900&X-Amz-Signature={SECRET}"
KIND = "application/octet-stream"
LARGE = bytes(range(256)) * 12_288

pytestmark = pytest.mark.usefixtures("no_proxies")

MakeWeb = Callable[..., "Web"]
Move = Callable[[str], object]


def at(authority: str, scheme: str = "http") -> str:
    """Give the address of a file on a server."""
    return f"{scheme}://{authority}{TARGET}"


def allowing(authority: str, *found: str) -> SignedAddresses:
    """Allow one host; its name leads where it is told, one address after the other."""
    answers = iter(found or ["127.0.0.1"])
    return SignedAddresses((authority,), resolve=lambda *_: [next(answers)])


def put(url: str, body: bytes = b"x", *, timeout: float = 10.0) -> None:
    """Put a file."""
    allowing(authority_of(url)).put(url, body, KIND, timeout=timeout)


def fetch(url: str, into: io.BytesIO | None = None, *, timeout: float = 10.0) -> int:
    """Fetch a file."""
    return allowing(authority_of(url)).fetch(url, into or io.BytesIO(), timeout=timeout)


def authority_of(url: str) -> str:
    """Give the host and port of an address."""
    return url.partition("://")[2].partition("/")[0]


MOVES: list[Move] = [put, fetch]


def failed(move: Callable[[], object]) -> Ci360Failed:
    """Give the error that a transfer ends with; neither it nor what it came from holds the address."""
    with pytest.raises(Ci360Failed) as caught:
        move()
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told + caught.value.said + caught.value.reason
    return caught.value


# Putting and fetching


@pytest.mark.parametrize("body", [b"", b"a", b"\r\n\r\n\x00\xff", LARGE], ids=len)
def test_a_file_is_put_as_it_is(web: MakeWeb, body: bytes) -> None:
    """To the very address; nobody is told who we are, but for the program."""
    served = web().say(200)
    put(at(served.authority), body)
    (request,) = served.requests
    assert (request.method, f"{request.path}?{request.query}") == ("PUT", TARGET)
    assert request.body == body
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("ci360-twilio-connector/")
    assert headers.pop("accept-encoding") == "identity"
    assert headers == {
        "host": served.authority,
        "content-type": KIND,
        "content-length": str(len(body)),
    }


@pytest.mark.parametrize("body", [b"", b"a", b"\r\n\r\n\x00\xff", LARGE], ids=len)
def test_a_file_is_fetched_as_it_is(web: MakeWeb, body: bytes) -> None:
    """Its size is told."""
    served, into = web().say(200, body), io.BytesIO()
    assert fetch(at(served.authority), into) == len(body)
    assert into.getvalue() == body
    (request,) = served.requests
    assert (request.method, f"{request.path}?{request.query}") == ("GET", TARGET)
    assert request.headers["host"] == served.authority
    assert not {"authorization", "cookie", "referer"} & request.headers.keys()


def test_a_file_in_chunks_is_put_together(web: MakeWeb) -> None:
    """Whoever stands between may change how it is framed."""
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    served, into = web().say_raw(whole), io.BytesIO()
    assert fetch(at(served.authority), into) == 4
    assert into.getvalue() == b"abcd"


def test_a_file_without_an_announced_length_ends_with_its_connection(web: MakeWeb) -> None:
    """There is nothing else to go by."""
    whole = b"HTTP/1.1 200 OK\r\n\r\nabcd"
    served, into = web(Ending.CUT).say_raw(whole + bytes(len(whole))), io.BytesIO()
    assert fetch(at(served.authority), into) == 4


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("status", [200, 201, 204])
def test_these_answers_mean_that_it_was_done(web: MakeWeb, move: Move, status: int) -> None:
    """Storages differ in them."""
    served = web().say(status)
    move(at(served.authority))
    assert len(served.requests) == 1


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "address_expired"),
        (404, "address_expired"),
        (410, "address_expired"),
        (202, "http_202"),
        (206, "http_206"),
        (304, "http_304"),
        (400, "http_400"),
        (401, "http_401"),
        (405, "http_405"),
        (407, "http_407"),
        (411, "http_411"),
        (413, "http_413"),
        (429, "http_429"),
        (500, "http_500"),
        (503, "http_503"),
        (599, "http_599"),
    ],
)
def test_any_other_answer_is_a_failure(web: MakeWeb, move: Move, status: int, reason: str) -> None:
    """It is tried again, with a fresh address; what the storage says is not repeated."""
    served = web().say(status, f"<Error>{SECRET}</Error>".encode() if status != 304 else b"")
    error = failed(lambda: move(at(served.authority)))
    assert (error.trouble, error.reason) == (Trouble.AWAY, reason)
    assert len(served.requests) == 1


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(web: MakeWeb, move: Move, status: int) -> None:
    """It could lead into the private network, whatever was checked before."""
    elsewhere = web().say(200)
    served = web().say(status, b"", f"Location: {elsewhere.url}/x")
    assert failed(lambda: move(at(served.authority))).reason == f"http_{status}"
    assert elsewhere.requests == []


# What goes wrong


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("ending", [Ending.ANSWERED, Ending.RESET, Ending.SILENT])
def test_a_lost_answer_is_a_failure(web: MakeWeb, move: Move, ending: Ending) -> None:
    """The connection ends, is reset, or says nothing until the time is over."""
    served = web(ending)
    timeout = 0.3 if ending is Ending.SILENT else 10.0
    authority = served.authority
    mover = put if move is put else fetch
    error = failed(lambda: mover(at(authority), timeout=timeout))
    assert (error.trouble, error.reason) == (Trouble.AWAY, "connection_lost")
    assert len(served.requests) == 1


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(
    "whole",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
    ids=["another protocol", "no status", "long header", "many headers"],
)
def test_an_answer_that_is_no_http_is_a_failure(web: MakeWeb, move: Move, whole: bytes) -> None:
    """Whatever it is."""
    served = web().say_raw(whole)
    assert failed(lambda: move(at(served.authority))).reason == "connection_lost"


@pytest.mark.parametrize(
    "whole",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"x" * 3_999,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + b"x" * 3_999,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["length", "within a chunk", "before the last chunk", "no chunk"],
)
def test_a_file_that_breaks_off_is_none(web: MakeWeb, whole: bytes) -> None:
    """Half a list of wishes must not be taken for all of it."""
    served = web(Ending.CUT).say_raw(whole + bytes(len(whole)))
    error = failed(lambda: fetch(at(served.authority)))
    assert (error.trouble, error.reason) == (Trouble.AWAY, "connection_lost")


def test_a_file_that_is_too_large_is_refused(web: MakeWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit it is taken; no later attempt would make a larger one fit."""
    monkeypatch.setattr(signed, "MOST_BYTES", 100_000)
    whole = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_001
    served = web().say(200, b"x" * 100_000).say(200, b"x" * 100_001)
    endless = web(Ending.CUT).say_raw(whole + bytes(len(whole)))
    assert fetch(at(served.authority)) == 100_000
    for server in (served, endless):
        error = failed(lambda server=server: fetch(at(server.authority)))  # type: ignore[misc]
        assert (error.trouble, error.reason) == (Trouble.REFUSED, "file_too_large")


@pytest.mark.parametrize(
    "whole",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n" + LARGE,
        b"HTTP/1.1 201 Created\r\n\r\n<xml/>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["long", "no length", "no chunk"],
)
def test_of_the_answer_to_a_file_that_was_taken_nothing_more_is_read(
    web: MakeWeb, whole: bytes
) -> None:
    """Its status says enough."""
    served = web().say_raw(whole)
    put(at(served.authority))
    assert len(served.requests) == 1


@pytest.fixture
def trickling() -> Iterator[str]:
    """Run a server that answers with a file, byte by byte and without end; gives its authority."""

    def trickle() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.005):
                connection.sendall(b"x")

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join(10)


def test_a_file_that_trickles_is_given_up(trickling: str) -> None:
    """The time is for all of it, not for each byte."""
    into = io.BytesIO()
    error = failed(lambda: fetch(at(trickling), into, timeout=0.5))
    assert (error.trouble, error.reason) == (Trouble.AWAY, "connection_lost")
    assert 0 < len(into.getvalue()) < 1_000_000


@pytest.mark.parametrize("move", MOVES)
def test_where_nobody_listens_nothing_is_moved(move: Move) -> None:
    """The reason is a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
    error = failed(lambda: move(at(authority)))
    assert (error.trouble, error.reason) == (Trouble.AWAY, "connect_refused")


def test_a_full_disk_is_not_ci360s_fault(web: MakeWeb) -> None:
    """It is told as what it is."""

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    served = web().say(200, b"abcd")
    with pytest.raises(OSError, match="No space left"):
        fetch(at(served.authority), Full())


@pytest.mark.parametrize("move", MOVES)
def test_what_may_not_be_called_is_not_called(web: MakeWeb, move: Move) -> None:
    """Not even connected to."""
    served = web().say(200)
    with pytest.raises(AddressRefused):
        SignedAddresses().put(at(served.authority), b"x", KIND, timeout=5)
    with pytest.raises(AddressRefused):
        SignedAddresses().fetch(at(served.authority), io.BytesIO(), timeout=5)
    assert served.requests == []
