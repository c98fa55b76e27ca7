"""Files fetched from signed addresses in several attempts, over real sockets."""

from __future__ import annotations

import re
import socket
import stat
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.clients import signed
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.errors import AddressRefused, Ci360Failed, Trouble
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.faults import Ending, Outcome
from ci360_twilio.twin.listener import Listener
from ci360_twilio.twin.wire import Request

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Web

SECRET = "c0ffee5ec2e7c0ffee5ec2e7"
TARGET = f"/files/data.csv?X-Amz-Expires=900&X-Amz-Signature={SECRET}"
LARGE = bytes(range(256)) * 4_096
TAG = '"a1b2"'

pytestmark = pytest.mark.usefixtures("no_proxies")

MakeWeb = Callable[..., "Web"]


class Shelf(Listener):
    """A storage on loopback with one file, of which it gives a part where it is asked for one.

    ``most`` is how many bytes of an answer's body come before the connection ends; ``asked`` holds
    ``Range`` and ``If-Range`` of every request.
    """

    def __init__(self, content: bytes, tag: str | None = TAG, *, ranges: bool = True) -> None:
        super().__init__()
        self.content, self.tag, self.ranges = content, tag, ranges
        self.most: int | None = None
        self.asked: list[tuple[str | None, str | None]] = []

    def play(self, request: Request) -> Outcome:
        """Take a request."""
        self.asked.append((request.headers.get("range"), request.headers.get("if-range")))
        # what is sent is cut in the middle
        ending = Ending.ANSWERED if self.most is None else Ending.CUT
        return Outcome(answer=Answer(200, None), ending=ending)

    def render(self, request: Request, *_: object, stays: bool) -> bytes:  # noqa: ARG002 - as it is
        """Give the file, or what is asked for of it."""
        start, size = 0, len(self.content)
        status, lines = "200 OK", list[str]()
        wanted = re.fullmatch(r"bytes=([0-9]+)-", request.headers.get("range", ""))
        if self.ranges and wanted and request.headers.get("if-range", self.tag) == self.tag:
            start = int(wanted[1])
            status, lines = "206 Partial", [f"Content-Range: bytes {start}-{size - 1}/{size}"]
            if start >= size:
                status, lines, start = "416 No", [f"Content-Range: bytes */{size}"], size
        if self.tag is not None:
            lines.append(f"ETag: {self.tag}")
        body = self.content[start:]
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""])
        whole = head.encode() + body[: self.most]
        return whole if self.most is None else whole + bytes(len(whole))

    def refuse(self, status: int) -> bytes:
        """Say that a request cannot be read."""
        return f"HTTP/1.1 {status} Unreadable\r\n\r\n".encode()


@pytest.fixture
def shelf() -> Iterator[Callable[..., Shelf]]:
    """Give a function that starts such a storage; it is stopped after the test."""
    with ExitStack() as running:

        def make(content: bytes, tag: str | None = TAG, *, ranges: bool = True) -> Shelf:
            return running.enter_context(Shelf(content, tag, ranges=ranges))

        yield make


MakeShelf = Callable[..., Shelf]


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Give a place for a file; nothing is there yet."""
    return tmp_path / "data"


def resume(server: Listener, into: Path, *, timeout: float = 10.0) -> int:
    """Fetch what is not there yet of a file."""
    addresses = SignedAddresses((server.authority,), resolve=lambda *_: ["127.0.0.1"])
    return addresses.resume(f"http://{server.authority}{TARGET}", into, timeout=timeout)


def failed(server: Listener, into: Path) -> tuple[Trouble, str]:
    """Tell why a file did not come; no error holds the address."""
    with pytest.raises(Ci360Failed) as caught:
        resume(server, into)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told + caught.value.said + caught.value.reason
    return caught.value.trouble, caught.value.reason


LOST = (Trouble.AWAY, "connection_lost")


def beside(into: Path) -> list[str]:
    """Name what is in the folder of a file besides it."""
    return [path.name for path in into.parent.iterdir() if path != into]


# Whole files


@pytest.mark.parametrize("content", [b"", b"a", b"\r\n\r\n\x00\xff", LARGE], ids=len)
def test_a_file_is_fetched_as_it_is(shelf: MakeShelf, into: Path, content: bytes) -> None:
    """Its size is told; nothing is asked for but all of it, and nothing is left beside it."""
    served = shelf(content)
    assert resume(served, into) == len(content)
    assert into.read_bytes() == content
    assert served.asked == [(None, None)]
    assert beside(into) == []


def test_a_file_is_asked_for_at_its_very_address(web: MakeWeb, into: Path) -> None:
    """Nobody is told who we are, but for the program."""
    served = web().say(200, b"abcd")
    assert resume(served, into) == 4
    (request,) = served.requests
    assert (request.method, f"{request.path}?{request.query}") == ("GET", TARGET)
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("ci360-twilio-connector/")
    assert headers == {"host": served.authority, "accept-encoding": "identity"}


def test_a_file_that_was_whole_is_fetched_anew(shelf: MakeShelf, into: Path) -> None:
    """It may be another by now."""
    served = shelf(b"a longer one")
    resume(served, into)
    served.content, served.tag = b"short", '"c3"'
    assert resume(served, into) == 5
    assert into.read_bytes() == b"short"
    assert served.asked[1] == (None, None)


def test_what_stood_at_the_place_before_is_no_part_of_the_file(
    shelf: MakeShelf, into: Path
) -> None:
    """Nobody knows of which file it is."""
    into.write_bytes(b"something that is longer than the file")
    served = shelf(b"abcd")
    assert resume(served, into) == 4
    assert into.read_bytes() == b"abcd"
    assert served.asked == [(None, None)]


@pytest.mark.parametrize("content", [None, b""])
def test_a_note_without_a_part_of_the_file_is_none(
    shelf: MakeShelf, into: Path, content: bytes | None
) -> None:
    """There is nothing to go on with."""
    into.with_name("data.etag").write_text(TAG)
    if content is not None:
        into.write_bytes(content)
    served = shelf(b"abcd")
    assert resume(served, into) == 4
    assert served.asked == [(None, None)]
    assert beside(into) == []


def test_a_file_is_its_owners_alone(shelf: MakeShelf, into: Path) -> None:
    """Whether it is whole or not."""
    served = shelf(LARGE)
    served.most = 1000
    failed(served, into)
    assert stat.S_IMODE(into.stat().st_mode) == 0o600
    served.most = None
    resume(served, into)
    assert stat.S_IMODE(into.stat().st_mode) == 0o600


# Files in parts


@pytest.mark.parametrize("most", [1, 1000, 65_536, 65_537, len(LARGE) - 1])
def test_a_file_that_broke_off_is_gone_on_with(shelf: MakeShelf, into: Path, most: int) -> None:
    """From the byte at which it broke off, if it is the same; the whole of it is the file."""
    served = shelf(LARGE)
    served.most = most
    assert failed(served, into) == LOST
    assert into.read_bytes() == LARGE[:most]
    served.most = None
    assert resume(served, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert served.asked == [(None, None), (f"bytes={most}-", TAG)]
    assert beside(into) == []


def test_a_file_may_break_off_many_times(shelf: MakeShelf, into: Path) -> None:
    """Each attempt brings it further."""
    served = shelf(LARGE)
    served.most = 100_000
    for number in range(1, 11):
        assert failed(served, into) == LOST
        assert into.stat().st_size == number * 100_000
    assert resume(served, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert [start for start, _ in served.asked[1:]] == [
        f"bytes={number}00000-" for number in range(1, 11)
    ]


def test_the_attempts_may_have_different_addresses(shelf: MakeShelf, into: Path) -> None:
    """A fresh one leads to the same file."""
    one, other = shelf(LARGE), shelf(LARGE)
    one.most = 5000
    assert failed(one, into) == LOST
    assert resume(other, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert other.asked == [("bytes=5000-", TAG)]


def test_a_file_that_has_changed_is_fetched_anew(shelf: MakeShelf, into: Path) -> None:
    """All of it, also where the new one is shorter than what was there."""
    served = shelf(LARGE)
    served.most = 5000
    failed(served, into)
    served.content, served.tag, served.most = b"the new one", '"c3"', None
    assert resume(served, into) == 11
    assert into.read_bytes() == b"the new one"
    assert served.asked == [(None, None), ("bytes=5000-", TAG)]


def test_a_file_that_has_changed_may_break_off_too(shelf: MakeShelf, into: Path) -> None:
    """What is gone on with is the new one then."""
    served = shelf(b"x" * 50_000)
    served.most = 5000
    failed(served, into)
    served.content, served.tag, served.most = LARGE, '"c3"', 7
    assert failed(served, into) == LOST
    assert into.read_bytes() == LARGE[:7]
    served.most = None
    assert resume(served, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert served.asked[2] == ("bytes=7-", '"c3"')


def test_where_parts_are_not_given_the_file_is_fetched_anew(shelf: MakeShelf, into: Path) -> None:
    """Its storage answers with all of it."""
    served = shelf(LARGE, ranges=False)
    served.most = 5000
    failed(served, into)
    served.most = None
    assert resume(served, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert served.asked[1] == ("bytes=5000-", TAG)


@pytest.mark.parametrize("tag", [None, "", 'W/"a1b2"', "a1b2", '"a\tb"'])
def test_a_file_whose_storage_does_not_tell_it_apart_is_fetched_anew(
    shelf: MakeShelf, into: Path, tag: str | None
) -> None:
    """Two of the same weak mark may differ in bytes."""
    served = shelf(LARGE, tag)
    served.most = 5000
    assert failed(served, into) == LOST
    assert beside(into) == []
    served.most = None
    assert resume(served, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert served.asked == [(None, None), (None, None)]


def test_a_mark_that_gets_lost_is_not_gone_on_with(shelf: MakeShelf, into: Path) -> None:
    """That of an earlier attempt is of another file."""
    served = shelf(b"x" * 50_000)
    served.most = 5000
    failed(served, into)
    served.content, served.tag = LARGE, None
    assert failed(served, into) == LOST
    assert into.read_bytes() == LARGE[:5000]
    assert beside(into) == []
    served.most = None
    resume(served, into)
    assert into.read_bytes() == LARGE
    assert served.asked[2] == (None, None)


def test_a_file_that_is_all_there_is_fetched_anew(shelf: MakeShelf, into: Path) -> None:
    """Whoever fetched it ended before it could say so: there is no part behind its end."""
    into.write_bytes(LARGE)
    into.with_name("data.etag").write_text(TAG)
    served = shelf(LARGE)
    assert failed(served, into) == (Trouble.AWAY, "file_changed")
    assert resume(served, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert served.asked == [(f"bytes={len(LARGE)}-", TAG), (None, None)]


def test_a_part_that_nobody_has_asked_for_is_a_failure(web: MakeWeb, into: Path) -> None:
    """It is not the file; nor is what says that there is no such part."""
    for status in (206, 416):
        assert failed(web().say(status, b"abcd", f"ETag: {TAG}"), into) == (
            Trouble.AWAY,
            f"http_{status}",
        )
    assert not into.exists()


def part(content: bytes, tag: str, told: str) -> bytes:
    """Write an answer with a part of a file."""
    lines = (
        "HTTP/1.1 206 Partial",
        f"Content-Length: {len(content)}",
        f"ETag: {tag}",
        f"Content-Range: {told}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + content


def test_a_part_of_another_file_is_no_part_of_this_one(web: MakeWeb, into: Path) -> None:
    """Not every storage knows If-Range: it gives a part of whatever is there now."""
    into.write_bytes(b"0123")
    into.with_name("data.etag").write_text(TAG)
    served = web().say_raw(part(b"efgh", '"c3"', "bytes 4-7/8")).say(200, b"abcdefgh")
    try:
        resume(served, into)
    except Ci360Failed:
        resume(served, into)
    assert into.read_bytes() == b"abcdefgh"


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"45", "bytes 4-5/8"), (b"67", "bytes 6-7/8"), (b"01234567", "bytes 0-7/8")],
    ids=["too short", "too late", "too early"],
)
def test_a_part_that_does_not_fit_is_not_taken_for_the_rest(
    web: MakeWeb, into: Path, content: bytes, told: str
) -> None:
    """A storage may give less than it was asked for, and says which bytes it gives."""
    into.write_bytes(b"0123")
    into.with_name("data.etag").write_text(TAG)
    served = web().say_raw(part(content, TAG, told)).say(200, b"01234567", f"ETag: {TAG}")
    try:
        resume(served, into)
    except Ci360Failed:
        resume(served, into)
    assert into.read_bytes() == b"01234567"


# What goes wrong


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "address_expired"),
        (404, "address_expired"),
        (410, "address_expired"),
        (202, "http_202"),
        (304, "http_304"),
        (400, "http_400"),
        (412, "http_412"),
        (429, "http_429"),
        (500, "http_500"),
        (503, "http_503"),
    ],
)
def test_any_other_answer_is_a_failure(
    web: MakeWeb, shelf: MakeShelf, into: Path, status: int, reason: str
) -> None:
    """What came before stays, and is gone on with; what the storage says is no part of it."""
    served = shelf(LARGE)
    served.most = 5000
    failed(served, into)
    body = f"<Error>{SECRET}</Error>".encode() if status != 304 else b""
    assert failed(web().say(status, body), into) == (Trouble.AWAY, reason)
    assert into.read_bytes() == LARGE[:5000]
    served.most = None
    assert resume(served, into) == len(LARGE)
    assert into.read_bytes() == LARGE
    assert served.asked[1] == ("bytes=5000-", TAG)


def test_an_address_that_is_expired_brings_nothing(web: MakeWeb, into: Path) -> None:
    """There is not even an empty file."""
    assert failed(web().say(403, b"<Error/>"), into) == (Trouble.AWAY, "address_expired")
    assert [*into.parent.iterdir()] == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(web: MakeWeb, into: Path, status: int) -> None:
    """It could lead into the private network, whatever was checked before."""
    elsewhere = web().say(200, b"abcd")
    served = web().say(status, b"", f"Location: {elsewhere.url}/x")
    assert failed(served, into) == (Trouble.AWAY, f"http_{status}")
    assert elsewhere.requests == []
    assert not into.exists()


@pytest.mark.parametrize(
    ("whole", "came"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"x" * 3_999, b"x" * 3_999),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b""),
    ],
    ids=["length", "before the last chunk", "no chunk"],
)
def test_a_file_that_breaks_off_is_none(
    web: MakeWeb, into: Path, whole: bytes, came: bytes
) -> None:
    """What came of it stays at its place."""
    served = web(Ending.CUT).say_raw(whole + bytes(len(whole)))
    assert failed(served, into) == LOST
    assert into.read_bytes() == came


@pytest.mark.parametrize("ending", [Ending.ANSWERED, Ending.RESET])
def test_a_lost_answer_is_a_failure(web: MakeWeb, into: Path, ending: Ending) -> None:
    """The connection ends, or is reset, before anything comes."""
    assert failed(web(ending), into) == LOST
    assert not into.exists()


def test_a_silent_storage_is_given_up(web: MakeWeb, into: Path) -> None:
    """When the time is over."""
    served = web(Ending.SILENT)
    with pytest.raises(Ci360Failed) as caught:
        resume(served, into, timeout=0.3)
    assert (caught.value.trouble, caught.value.reason) == LOST


def test_where_nobody_listens_nothing_comes(into: Path) -> None:
    """The reason is a word; what was there stays."""
    into.write_bytes(b"0123")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
    addresses = SignedAddresses((authority,))
    with pytest.raises(Ci360Failed) as caught:
        addresses.resume(f"http://{authority}{TARGET}", into, timeout=5)
    assert (caught.value.trouble, caught.value.reason) == (Trouble.AWAY, "connect_refused")
    assert into.read_bytes() == b"0123"


def test_a_file_that_is_too_large_is_refused(
    shelf: MakeShelf, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was there before; at the limit it is taken."""
    monkeypatch.setattr(signed, "MOST_BYTES", 100_000)
    served = shelf(LARGE[:100_000])
    served.most = 60_000
    failed(served, into)
    served.most = None
    assert resume(served, into) == 100_000
    served.content, served.most = LARGE[:100_001], 60_000
    into.unlink()
    failed(served, into)
    served.most = None
    assert failed(served, into) == (Trouble.REFUSED, "file_too_large")


def test_what_may_not_be_called_is_not_called(shelf: MakeShelf, into: Path) -> None:
    """Not even connected to; what was there stays."""
    served = shelf(b"abcd")
    into.write_bytes(b"0123")
    with pytest.raises(AddressRefused):
        SignedAddresses().resume(f"http://{served.authority}{TARGET}", into, timeout=5)
    assert served.asked == []
    assert into.read_bytes() == b"0123"


def test_a_place_that_cannot_be_written_is_not_ci360s_fault(
    shelf: MakeShelf, tmp_path: Path
) -> None:
    """It is told as what it is."""
    with pytest.raises(FileNotFoundError):
        resume(shelf(b"abcd", None), tmp_path / "nowhere" / "data")
