"""A server on a socket of this machine, with answers of a test's own."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.faults import Ending, Outcome
from ci360_twilio.twin.listener import Listener
from ci360_twilio.twin.wire import Request, Trace

FINE = Outcome(answer=Answer(200, None))
PATIENCE = 10.0


class Echo(Listener):
    """Answers with what it was asked, as it is told; ``asked`` holds the requests."""

    def __init__(self, outcome: Outcome = FINE, *, max_body: int = 1000, host: str = "127.0.0.1"):
        super().__init__(host=host, max_body=max_body)
        self._outcome = outcome
        self.asked: queue.Queue[Request] = queue.Queue()
        self.hold: threading.Event | None = None
        """Requests wait for it, where it is set."""

    def play(self, request: Request) -> Outcome:
        """Take a request."""
        self.asked.put(request)
        if self.hold is not None:
            assert self.hold.wait(PATIENCE)
        return self._outcome

    def render(self, request: Request, outcome: Outcome, trace: Trace, *, stays: bool) -> bytes:
        """Write what was asked."""
        assert outcome is self._outcome
        busy = trace.headers()[1]
        told = f"{request.method} {request.path}".encode() + request.body
        head = f"HTTP/1.1 200 OK\r\nStays: {stays}\r\n{busy}\r\nContent-Length: {len(told)}\r\n\r\n"
        return head.encode() + told

    def refuse(self, status: int) -> bytes:
        """Say that it cannot be read."""
        return f"HTTP/1.1 {status} No\r\n\r\n".encode()


Serve = Callable[..., Echo]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a function that starts such a server; it is stopped after the test."""
    with ExitStack() as running:

        def start(
            outcome: Outcome = FINE, *, max_body: int = 1000, host: str = "127.0.0.1"
        ) -> Echo:
            return running.enter_context(Echo(outcome, max_body=max_body, host=host))

        yield start


def connect(served: Listener) -> socket.socket:
    """Open a connection."""
    host, _, port = served.authority.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server has nothing more to say."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def exchange(served: Listener, sent: bytes) -> bytes:
    """Send what is to be said, say that nothing more comes, and read what is answered."""
    with connect(served) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def post(path: str, body: bytes = b"", *headers: str) -> bytes:
    """Write a request."""
    lines = [f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


# Requests and answers


def test_a_request_is_read_as_it_is(serve: Serve) -> None:
    """Names of headers in lower case, and the body whole."""
    served = serve()
    assert exchange(served, post("/a/b?c=d&e=%2F", b"\x00\xff", "X-Some: One ")).endswith(
        b"POST /a/b\x00\xff"
    )
    request = served.asked.get(timeout=PATIENCE)
    assert (request.method, request.path, request.query) == ("POST", "/a/b", "c=d&e=%2F")
    assert request.body == b"\x00\xff"
    assert request.headers == {"content-length": "2", "x-some": "One"}


def test_a_connection_serves_one_request_after_another(serve: Serve) -> None:
    """They may be sent ahead; the answers come in order."""
    said = exchange(serve(), b"".join(post(f"/{number}") for number in range(3)))
    assert [part[:1] for part in said.split(b"POST /")[1:]] == [b"0", b"1", b"2"]
    assert said.count(b"Stays: True") == 3


@pytest.mark.parametrize(
    "sent",
    [
        post("/1", b"", "Connection: close"),
        post("/1", b"", "connection: Close, TE"),
        post("/1").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_connection_ends_where_the_client_wants_it(serve: Serve, sent: bytes) -> None:
    """What comes behind is not read any more."""
    served = serve()
    with connect(served) as connection:
        connection.sendall(sent + post("/2"))
        said = read_all(connection)
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"Stays: False" in said
    assert served.asked.qsize() == 1


def test_a_head_request_gets_no_body(serve: Serve) -> None:
    """Only how long it would be."""
    said = exchange(serve(), b"HEAD /x HTTP/1.1\r\n\r\n")
    assert said.endswith(b"Content-Length: 7\r\n\r\n")


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (10**12, 413)])
def test_a_body_has_a_limit(serve: Serve, size: int, status: int) -> None:
    """One that is too long is not waited for."""
    served = serve(max_body=1000)
    head = f"PUT /x HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode()
    said = exchange(served, head + b"x" * min(size, 2000))
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert served.asked.qsize() == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"hello\r\n\r\n", b"HTTP/1.1 400 No\r\n\r\n"),
        (b"GET / HTTP/3\r\n\r\n", b"HTTP/1.1 400 No\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 411 No\r\n\r\n"),
        (b"GET /" + b"x" * 20_000, b"HTTP/1.1 431 No\r\n\r\n"),
        (b"", b""),
        (b"GET", b"HTTP/1.1 400 No\r\n\r\n"),
        (post("/x", b"abc")[:-1], b""),
    ],
    ids=["no HTTP", "another version", "chunks", "long line", "nothing", "a part", "cut"],
)
def test_what_cannot_be_read_is_no_request(serve: Serve, sent: bytes, said: bytes) -> None:
    """It is refused where the client still hears it; others are served on."""
    served = serve()
    assert exchange(served, sent) == said
    assert served.asked.qsize() == 0
    assert b"200 OK" in exchange(served, post("/x"))


def test_a_client_that_is_refused_hears_it_while_it_still_sends(serve: Serve) -> None:
    """What it sends is read and thrown away, up to a limit."""
    with connect(serve(max_body=10)) as connection:
        connection.sendall(post("/x", b"x" * 4_000_000))
        assert read_all(connection) == b"HTTP/1.1 413 No\r\n\r\n"


def test_the_load_is_counted(serve: Serve) -> None:
    """Requests that are under way at one time, the one that asks among them."""
    served = serve()
    served.hold = threading.Event()
    connections = [connect(served) for _ in range(3)]
    for connection in connections:
        connection.sendall(post("/x"))
        served.asked.get(timeout=PATIENCE)
    served.hold.set()
    counts = []
    for connection in connections:
        head = connection.recv(65_536).decode()
        counts.append(int(head.partition("Twilio-Concurrent-Requests: ")[2].split()[0]))
        connection.close()
    assert sorted(counts) == [1, 2, 3]


# Endings


def test_an_outcome_without_an_answer_ends_the_connection(serve: Serve) -> None:
    """Nothing is said."""
    assert exchange(serve(Outcome(answer=None)), post("/x")) == b""


def test_an_answer_that_is_cut_is_half_of_it(serve: Serve) -> None:
    """And the connection ends."""
    whole = exchange(serve(), post("/x"))
    cut = serve(Outcome(answer=Answer(200, None), ending=Ending.CUT))
    assert exchange(cut, post("/x") * 2) == whole[: len(whole) // 2]
    assert cut.asked.qsize() == 1


@pytest.mark.parametrize("ending", [Ending.RESET, Ending.UNREACHABLE])
def test_a_connection_may_be_reset(serve: Serve, ending: Ending) -> None:
    """Instead of an answer."""
    with connect(serve(Outcome(answer=None, ending=ending))) as connection:
        connection.sendall(post("/x"))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize("delay", [0.05, 600.0])
def test_silence_ends_with_its_time_or_with_the_client(serve: Serve, delay: float) -> None:
    """Whichever is first; nothing is said."""
    served = serve(Outcome(answer=None, delay=delay, ending=Ending.SILENT))
    with connect(served) as connection:
        connection.sendall(post("/x"))
        served.asked.get(timeout=PATIENCE)
        if delay > PATIENCE:
            connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""


def test_an_answer_may_take_its_time(serve: Serve) -> None:
    """It comes all the same."""
    served = serve(Outcome(answer=Answer(200, None), delay=0.05))
    assert b"POST /x" in exchange(served, post("/x"))


# Starting and stopping


def test_a_server_keeps_its_port(serve: Serve) -> None:
    """An outage is rehearsed by stopping and starting."""
    served = serve()
    url = served.url
    for _ in range(2):
        assert b"200 OK" in exchange(served, post("/x"))
        served.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(served)
        served.start()
    assert served.url == url


def test_stopping_twice_or_before_the_start_does_nothing() -> None:
    """Nor does it raise."""
    served = Echo()
    served.stop()
    with served:
        served.stop()
    served.stop()


def test_a_port_that_is_taken_is_told(serve: Serve) -> None:
    """At the start; the one who has it is served on."""
    first = serve()
    second = Echo()
    second._port = int(first.authority.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        second.start()
    second.stop()
    assert b"200 OK" in exchange(first, post("/x"))


def test_stopping_closes_whoever_is_silent(serve: Serve) -> None:
    """Between requests, and within one."""
    served = serve()
    idle, half = connect(served), connect(served)
    half.sendall(post("/x", b"abc")[:-1])
    idle.sendall(post("/x"))
    served.asked.get(timeout=PATIENCE)
    served.stop()
    with idle, half:
        assert b"200 OK" in read_all(idle)
        with suppress(ConnectionResetError):  # where nobody had read its half of a request yet
            assert read_all(half) == b""


def test_stopping_lets_a_request_under_way_end(serve: Serve) -> None:
    """It is answered, without its delay, and told that the connection ends."""
    served = serve(Outcome(answer=Answer(200, None), delay=600.0))
    with connect(served) as connection:
        connection.sendall(post("/x"))
        served.asked.get(timeout=PATIENCE)
        served.stop()
        assert b"Stays: False" in read_all(connection)


def test_stopping_ends_a_silence(serve: Serve) -> None:
    """Whoever would have waited is left."""
    served = serve(Outcome(answer=None, delay=600.0, ending=Ending.SILENT))
    with connect(served) as connection:
        connection.sendall(post("/x"))
        served.asked.get(timeout=PATIENCE)
        served.stop()
        assert read_all(connection) == b""


# Where it listens


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:0"),
        ("127.0.0.9", "http://127.0.0.9:0"),
        ("localhost", "http://127.0.0.1:0"),
        ("LocalHost", "http://127.0.0.1:0"),
        ("::1", "http://[::1]:0"),
    ],
)
def test_this_machine_is_served(host: str, url: str) -> None:
    """By whatever address of its own."""
    served = Echo(host=host)
    assert served.url == url
    assert served.authority == url.removeprefix("http://")


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "192.0.2.1", "10.0.0.1", "example.com", "localhost.example.com", "127.0.0.1:80", "2130706433"],  # noqa: S104
)  # fmt: skip
def test_no_other_machine_is_served(host: str) -> None:
    """Nor any that a name might lead to."""
    with pytest.raises(ValueError, match="loopback"):
        Echo(host=host)


def test_an_heir_must_say_what_it_answers() -> None:
    """The listener itself has nothing to say."""
    bare = Listener()
    request = Request(method="GET", path="/", query="", headers={}, body=b"", keep_alive=True)
    with pytest.raises(NotImplementedError):
        bare.play(request)
    with pytest.raises(NotImplementedError):
        bare.render(request, FINE, Trace(), stays=True)
    with pytest.raises(NotImplementedError):
        bare.refuse(400)
