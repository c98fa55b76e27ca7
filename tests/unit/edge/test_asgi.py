"""The ASGI application: bodies that come in pieces, and events that share one commit."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import json
import threading
import uuid
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.event import MAX_BYTES
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.asgi import MAX_BATCH, MAX_CALLBACKS, MAX_WAITING, App, Gatherer
from ci360_twilio.edge.http import EVENTS, Request, Response, Routes
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.accept import Acceptance
from ci360_twilio.flow.addresses import STATUS
from ci360_twilio.flow.settle import Settlement
from ci360_twilio.flow.webhook import MAX_WEBHOOK, Doorkeeper
from ci360_twilio.logs import Log
from ci360_twilio.ports import Inserted, Mark, Query
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.wiring import Parts, utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
PUBLIC = "https://sms.example.com"
Message = MutableMapping[str, Any]
PATIENCE = 10.0


class Slow(MemoryStore):
    """A ledger in memory whose commits are counted, and held up until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.away = False
        self.reads: list[int] = []
        self.callbacks_open = threading.Event()
        self.callbacks_open.set()
        self.callbacks_entered = threading.Event()

    def insert_many(self, entries: Sequence[Entry], **options: Any) -> list[Inserted]:
        """Write, once it may."""
        self.commits.append(len(entries))
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if self.away:
            raise LedgerUnavailable("Away.")
        return super().insert_many(entries, **options)

    def marked(self, marks: Sequence[Mark]) -> list[Entry | None]:
        """Find, once it may."""
        self.reads.append(len(marks))
        self.callbacks_entered.set()
        assert self.callbacks_open.wait(PATIENCE)
        if self.away:
            raise LedgerUnavailable("Away.")
        return super().marked(marks)


class Server(NamedTuple):
    """An application with its ledger."""

    app: App
    store: Slow


@pytest.fixture
def serve(connector: Callable[..., Parts]) -> Iterator[Callable[..., Server]]:
    """Give a function that makes an application on loopback."""
    parts = connector(ledger="memory:")
    made: list[App] = []

    def make(log: Log | None = None) -> Server:
        store = Slow()
        log = log or parts.log
        acceptance = Acceptance(store, parts.tenants, utc_now, log)
        doorkeeper = Doorkeeper(parts.tenants, public_url=PUBLIC)
        settlement = Settlement(store, store, doorkeeper, utc_now, log)
        app = App(Routes(acceptance, store, log, settlement=settlement, on_loopback=True))
        made.append(app)
        return Server(app, store)

    yield make
    for app in made:
        asyncio.run(shut(app))


async def shut(app: App) -> None:
    """End an application's threads."""
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return next(events)

    async def send(_: Message) -> None:
        pass

    await app({"type": "lifespan"}, receive, send)


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """An application with nothing special about it."""
    return serve()


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def read(self) -> dict[str, Any]:
        """Read the body."""
        read: dict[str, Any] = json.loads(self.body)
        return read


class Client:
    """A connection to the application: what it sends is given, what it gets is kept."""

    def __init__(self, *chunks: bytes, leaves: bool = False) -> None:
        self._chunks = list(chunks) or [b""]
        self._leaves = leaves
        self.received = 0
        self.got: list[Message] = []

    async def receive(self) -> Message:
        """Give the next piece of the body, or that the client has left."""
        if not self._chunks:
            return {"type": "http.disconnect"}
        self.received += 1
        chunk = self._chunks.pop(0)
        more = bool(self._chunks) or self._leaves
        return {"type": "http.request", "body": chunk, "more_body": more}

    async def send(self, message: Message) -> None:
        """Take a piece of the answer."""
        self.got.append(message)

    @property
    def answer(self) -> Answer:
        """The answer as a whole."""
        start, *rest = self.got
        assert start["type"] == "http.response.start"
        assert [one["type"] for one in rest] == ["http.response.body"] * len(rest)
        assert not rest[-1].get("more_body", False)
        headers = dict(start["headers"])
        assert all(name == name.lower() for name in headers)
        return Answer(start["status"], headers, b"".join(one["body"] for one in rest))


async def call(
    app: App,
    client: Client,
    method: str = "POST",
    path: str = EVENTS,
    headers: Sequence[tuple[bytes, bytes]] = (),
    query: bytes = b"",
    peer: tuple[str, int] | None = ("127.0.0.1", 50_000),
) -> Answer:
    """Make one request as a server would hand it on."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8360"), *headers],
        "client": peer,
    }
    await asyncio.wait_for(app(scope, client.receive, client.send), PATIENCE)
    return client.answer


def ask(app: App, *chunks: bytes, **request: Any) -> Answer:
    """Make one request on an event loop of its own."""
    return asyncio.run(call(app, Client(*chunks), **request))


async def turns() -> None:
    """Let every task go as far as it can without the thread that writes."""
    for _ in range(20):
        await asyncio.sleep(0)


recipients = (f"+1201555{number:04}" for number in itertools.cycle(range(10_000)))
"""Each message to another one, since too many to the same are suppressed."""


def event(guid: str | None = None, creative: str | None = None) -> bytes:
    """Make an event's body."""
    return outbound_body(
        guid=guid or str(uuid.uuid4()),
        tenant_id=TENANT,
        creative=creative or f"TO:{next(recipients)};\nHello",
        generated_at=datetime.now(UTC),
    )


# One request


def test_an_event_is_answered_when_it_is_written(server: Server) -> None:
    """With the length of its body and its type."""
    answer = ask(server.app, event("g-1"))
    assert (answer.status, answer.read()) == (202, {"status": "accepted", "guid": "g-1"})
    assert answer.headers == {
        b"content-type": b"application/json",
        b"content-length": str(len(answer.body)).encode(),
    }
    assert [entry.guid for entry in server.store.find(Query())] == ["g-1"]


def test_a_body_may_come_in_pieces(server: Server) -> None:
    """Empty ones among them."""
    body = event()
    pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
    assert ask(server.app, b"", *pieces, b"").status == 202


def test_the_headers_of_an_error_are_sent(server: Server) -> None:
    """``Retry-After``, ``WWW-Authenticate`` and ``Allow``, in lower case as ASGI wants them."""
    server.store.away = True
    assert ask(server.app, event()).headers[b"retry-after"].isdigit()
    foreign = ask(server.app, event(), headers=[(b"x-forwarded-for", b"203.0.113.9")])
    assert foreign.headers[b"www-authenticate"] == b"Bearer"
    assert ask(server.app, method="GET").headers[b"allow"] == b"POST"


def test_the_body_of_a_head_is_left_out(server: Server) -> None:
    """Its length is told."""
    answer = ask(server.app, method="HEAD", path="/healthz")
    whole = ask(server.app, method="GET", path="/healthz")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers[b"content-length"] == whole.headers[b"content-length"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 404),
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("PUT", EVENTS, 405),
        ("HEAD", EVENTS, 405),
        ("POST", "/healthz", 405),
    ],
)
def test_other_requests_are_answered_by_the_routes(
    server: Server, method: str, path: str, status: int
) -> None:
    """A body is read and left alone."""
    assert ask(server.app, b"body", method=method, path=path).status == status


def test_headers_are_whatever_bytes_a_client_sends(server: Server) -> None:
    """They are read as Latin-1, as HTTP has them."""
    headers = [(b"x-api-key", b"\xff\x00\xfc"), (b"authorization", b"\xe9")]
    assert ask(server.app, event(), headers=headers).status == 202


@pytest.mark.parametrize("peer", [None, ("203.0.113.9", 1)])
def test_metrics_go_by_the_peer(server: Server, peer: tuple[str, int] | None) -> None:
    """One that is not known, as on a Unix socket, is not loopback."""
    assert ask(server.app, method="GET", path="/metrics", peer=peer).status == 401


# Size


def test_a_body_of_just_one_mebibyte_is_read(server: Server) -> None:
    """Announced or not."""
    body = event()
    body += b" " * (MAX_BYTES - len(body))
    announced = [(b"content-length", str(len(body)).encode())]
    assert ask(server.app, body, headers=announced).status == 202
    assert ask(server.app, body[: MAX_BYTES // 2], body[MAX_BYTES // 2 :]).read()["duplicate"]


@pytest.mark.parametrize("length", [str(MAX_BYTES + 1), "9" * 19, "9" * 4000])
def test_a_body_that_is_announced_too_large_is_not_read(server: Server, length: str) -> None:
    """The connection is closed: what still comes on it is no request."""
    client = Client(b"x" * 100)
    headers = [(b"content-length", length.encode())]
    answer = asyncio.run(call(server.app, client, headers=headers))
    assert (answer.status, answer.read()["error"]["code"]) == (413, "too_large")
    assert answer.headers[b"connection"] == b"close"
    assert client.received == 0


@pytest.mark.parametrize("announced", [None, b"100", b"-1", b"abc", b"\xb2", b""])
def test_a_body_that_grows_too_large_is_read_no_further(
    server: Server, announced: bytes | None
) -> None:
    """Whatever its length was said to be."""
    client = Client(*[b"x" * 100_000] * 1000)
    headers = [(b"content-length", announced)] if announced is not None else []
    answer = asyncio.run(call(server.app, client, headers=headers))
    assert (answer.status, answer.headers[b"connection"]) == (413, b"close")
    assert client.received == 11
    assert server.store.commits == []


def test_a_body_over_the_limit_is_413_on_every_path(server: Server) -> None:
    """Nobody may fill the memory through a page."""
    assert ask(server.app, b"x" * (MAX_BYTES + 1), method="GET", path="/healthz").status == 413


def test_a_packed_body_is_not_unpacked(server: Server) -> None:
    """A small gzip may be a large event; CI360 sends none."""
    headers = [(b"content-encoding", b"gzip")]
    answer = ask(server.app, gzip.compress(event()), headers=headers)
    assert (answer.status, answer.read()["error"]["code"]) == (400, "not_json")


# Many requests


def test_events_that_arrive_together_share_commits(server: Server) -> None:
    """The first is on its way; what comes meanwhile is written with one more commit."""

    async def play() -> list[Answer]:
        server.store.open.clear()
        first = asyncio.create_task(call(server.app, Client(event("first"))))
        await asyncio.to_thread(server.store.entered.wait, PATIENCE)
        others = [
            asyncio.create_task(call(server.app, Client(event(f"g{number}"))))
            for number in range(100)
        ]
        await turns()
        server.store.open.set()
        return list(await asyncio.gather(first, *others))

    answers = asyncio.run(play())
    assert [answer.status for answer in answers] == [202] * 101
    guids = [answer.read()["guid"] for answer in answers]
    assert guids == ["first", *(f"g{number}" for number in range(100))]
    assert server.store.commits == [1, 100]


def test_a_batch_has_a_most(server: Server) -> None:
    """So that nobody waits for the parsing of thousands."""

    async def play() -> list[Answer]:
        server.store.open.clear()
        calls = [
            asyncio.create_task(call(server.app, Client(event()))) for _ in range(MAX_BATCH + 50)
        ]
        await asyncio.to_thread(server.store.entered.wait, PATIENCE)
        await turns()
        server.store.open.set()
        return list(await asyncio.gather(*calls))

    assert {answer.status for answer in asyncio.run(play())} == {202}
    assert sum(server.store.commits) == MAX_BATCH + 50
    assert max(server.store.commits) <= MAX_BATCH
    assert len(server.store.commits) <= 3


def test_the_same_event_many_times_at_once_is_one_entry(server: Server) -> None:
    """One is told accepted, the others duplicate."""

    async def play() -> list[Answer]:
        body = event("same")
        return list(await asyncio.gather(*(call(server.app, Client(body)) for _ in range(50))))

    answers = asyncio.run(play())
    assert [answer.read().get("duplicate") for answer in answers].count(None) == 1
    assert len(server.store.find(Query())) == 1


def test_a_batch_with_bad_requests_in_it_answers_each(server: Server) -> None:
    """Its own status to each."""

    async def play() -> list[int]:
        bodies = [event(), b"[]", b"", event(creative="x"), b"{", event()]
        calls = (call(server.app, Client(body)) for body in bodies)
        return [answer.status for answer in await asyncio.gather(*calls)]

    assert asyncio.run(play()) == [202, 400, 200, 422, 400, 202]


def test_a_client_that_goes_away_does_not_disturb_the_others(server: Server) -> None:
    """Its event is written all the same; nobody hears of it."""

    async def play() -> list[Answer]:
        server.store.open.clear()
        first = asyncio.create_task(call(server.app, Client(event())))
        await asyncio.to_thread(server.store.entered.wait, PATIENCE)
        gone = asyncio.create_task(call(server.app, Client(event("gone"))))
        stays = asyncio.create_task(call(server.app, Client(event())))
        await turns()
        gone.cancel()
        first_gone = asyncio.create_task(call(server.app, Client(event())))
        await turns()
        server.store.open.set()
        with suppress(asyncio.CancelledError):
            await gone
        return list(await asyncio.gather(first, stays, first_gone))

    assert [answer.status for answer in asyncio.run(play())] == [202] * 3
    assert len(server.store.find(Query(guid="gone"))) == 1


def test_pages_are_answered_while_a_commit_takes_its_time(server: Server) -> None:
    """A disk that is slow does not make the process look dead."""

    async def play() -> int:
        server.store.open.clear()
        waiting = asyncio.create_task(call(server.app, Client(event())))
        await asyncio.to_thread(server.store.entered.wait, PATIENCE)
        answer = await call(server.app, Client(), method="GET", path="/healthz")
        server.store.open.set()
        await waiting
        return answer.status

    assert asyncio.run(play()) == 200


def test_an_application_serves_on_after_its_ledger_was_away(server: Server) -> None:
    """503 meanwhile."""
    server.store.away = True
    assert ask(server.app, event()).status == 503
    server.store.away = False
    assert ask(server.app, event()).status == 202


class Gone(io.StringIO):
    """Standard error after its reader has gone."""

    def write(self, _text: str) -> int:
        """Fail as the system does."""
        raise BrokenPipeError(32, "Broken pipe")


def test_no_request_hangs_where_the_log_cannot_be_written(serve: Callable[..., Server]) -> None:
    """Neither the first nor any after it."""
    server = serve(Log(Gone()))

    async def play() -> list[int]:
        return [(await call(server.app, Client(event()))).status for _ in range(2)]

    with suppress(BrokenPipeError):  # better told than hung
        assert asyncio.run(asyncio.wait_for(play(), 3)) == [202, 202]


# Twilio's callbacks


def posted(twilio: Twilio, number: int = 0, m: str = "", **form: str) -> dict[str, Any]:
    """Make a callback as Twilio posts it; gives what ``post`` takes."""
    sid = f"SM{number:032x}"
    form = {"AccountSid": twilio.account, "MessageSid": sid, "MessageStatus": "delivered"} | form
    path, query = f"{STATUS}{TENANT}", f"m={m or f'c{number}'}"
    validator = RequestValidator(twilio.token)
    signature = validator.compute_signature(f"{PUBLIC}{path}?{query}", form)
    headers = [
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"x-twilio-signature", signature.encode()),
    ]
    body = urlencode(form).encode()
    return {"body": body, "path": path, "query": query.encode(), "headers": headers}


async def post(app: App, body: bytes, **request: Any) -> Answer:
    """Make one request with a whole body."""
    return await call(app, Client(body), **request)


def on_its_way(store: MemoryStore, number: int = 0) -> Key:
    """Write an entry whose message Twilio has made."""
    now, guid = utc_now(), f"guid-{number}"
    made = Entry(
        key=key_of(TENANT, guid),
        tenant_id=TENANT,
        guid=guid,
        status=Status.SENT,
        created_at=now,
        due_at=now,
        expires_at=now,
        purge_at=now,
        sid=f"SM{number:032x}",
        correlation=f"c{number}",
    )
    store.insert_many([made])
    return made.key


def test_a_callback_is_answered_when_it_is_written(server: Server, twilio: Twilio) -> None:
    """204, and no header that speaks of a body: there is none."""
    key = on_its_way(server.store)
    answer = asyncio.run(post(server.app, **posted(twilio)))
    assert answer == Answer(204, {}, b"")
    (entry,) = server.store.get_many([key])
    assert entry is not None
    assert entry.status is Status.DELIVERED


def test_the_query_reaches_the_routes_byte_for_byte(server: Server, twilio: Twilio) -> None:
    """Any other spelling is not what was signed, whatever it means; nor does it upset anything."""
    on_its_way(server.store)
    good = posted(twilio)
    for query in (b"m=%630", b"m=c0&", b"&m=c0", b"M=c0", b"m=c0\xff", b"\x00", b"", b"?m=c0"):
        assert asyncio.run(post(server.app, **good | {"query": query})).status == 403
    assert asyncio.run(post(server.app, **good)).status == 204


def test_an_edge_that_tells_no_query_has_none(server: Server) -> None:
    """The specification lets a server leave it out."""
    client = Client(b"x")
    scope = {"type": "http", "method": "POST", "path": f"{STATUS}{TENANT}", "headers": []}
    asyncio.run(server.app(scope, client.receive, client.send))
    assert client.answer.status == 403


@pytest.mark.parametrize("announced", [True, False])
def test_a_callback_may_be_64_kib_large(server: Server, twilio: Twilio, announced: bool) -> None:
    """Beyond it nothing more is read, and no tenant is looked up."""
    on_its_way(server.store)
    size = len(posted(twilio, Pad="")["body"])
    for extra, status in ((0, 204), (1, 413)):
        request = posted(twilio, Pad="x" * (MAX_WEBHOOK - size + extra))
        length = (b"content-length", str(len(request["body"])).encode())
        request["headers"] += [length] * announced
        assert asyncio.run(post(server.app, **request)).status == status
    client = Client(*[b"x" * 10_000] * 100)
    answer = asyncio.run(call(server.app, client, path=f"{STATUS}{TENANT}"))
    assert (answer.status, answer.headers[b"connection"]) == (413, b"close")
    assert client.received == 7


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_callbacks_come_by_post_only(server: Server, method: str) -> None:
    """Anything else is a 405."""
    answer = ask(server.app, b"", method=method, path=f"{STATUS}{TENANT}")
    assert (answer.status, answer.headers[b"allow"]) == (405, b"POST")


def test_callbacks_that_arrive_together_share_commits(server: Server, twilio: Twilio) -> None:
    """In the order in which they came, and only so many at a time."""
    number = MAX_CALLBACKS + 20
    keys = [on_its_way(server.store, one) for one in range(number)]

    async def play() -> list[Answer]:
        server.store.callbacks_open.clear()
        first = asyncio.create_task(post(server.app, **posted(twilio, 0)))
        await asyncio.to_thread(server.store.callbacks_entered.wait, PATIENCE)
        others = [
            asyncio.create_task(post(server.app, **posted(twilio, one))) for one in range(1, number)
        ]
        await turns()
        server.store.callbacks_open.set()
        return list(await asyncio.gather(first, *others))

    assert {answer.status for answer in asyncio.run(play())} == {204}
    assert server.store.reads == [1, MAX_CALLBACKS, 19]
    entries = server.store.get_many(keys)
    assert {entry.status for entry in entries if entry} == {Status.DELIVERED}


def test_events_do_not_wait_for_callbacks(server: Server, twilio: Twilio) -> None:
    """Nor the other way round: each has a thread of its own."""
    on_its_way(server.store)

    async def play() -> tuple[int, int]:
        server.store.callbacks_open.clear()
        callback = asyncio.create_task(post(server.app, **posted(twilio)))
        await asyncio.to_thread(server.store.callbacks_entered.wait, PATIENCE)
        accepted = await call(server.app, Client(event()))
        server.store.open.clear()
        server.store.entered.clear()
        waiting = asyncio.create_task(call(server.app, Client(event())))
        await asyncio.to_thread(server.store.entered.wait, PATIENCE)
        server.store.callbacks_open.set()
        settled = await callback
        server.store.open.set()
        await waiting
        return accepted.status, settled.status

    assert asyncio.run(play()) == (202, 204)


def test_callbacks_are_told_to_come_back_while_the_ledger_is_away(
    server: Server, twilio: Twilio
) -> None:
    """Twilio repeats them; then they are written."""
    on_its_way(server.store)
    server.store.away = True
    answer = asyncio.run(post(server.app, **posted(twilio)))
    assert answer.status == 503
    assert answer.headers[b"retry-after"].isdigit()
    server.store.away = False
    assert asyncio.run(post(server.app, **posted(twilio))).status == 204


# What may wait


def request(size: int = 10) -> Request:
    """Make a request with a body of some size."""
    return Request(method="POST", path=EVENTS, headers={}, body=b"x" * size)


class Held:
    """Work that waits until it may go on."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[int] = []

    def __call__(self, requests: list[Request]) -> list[Response]:
        """Answer each with its place in the batch."""
        assert self.open.wait(PATIENCE)
        self.batches.append(len(requests))
        return [Response(status=200 + place) for place in range(len(requests))]


def pile(size: int, number: int) -> tuple[list[Response], Held]:
    """Hand in requests while the work stands still; gives the responses in order."""
    held = Held()
    gatherer = Gatherer(held)

    async def play() -> list[Response]:
        tasks = [asyncio.create_task(gatherer.submit(request(size))) for _ in range(number)]
        await turns()
        held.open.set()
        return list(await asyncio.gather(*tasks))

    responses = asyncio.run(play())
    gatherer.close()
    return responses, held


def test_beyond_a_number_requests_are_told_to_come_back() -> None:
    """503 with ``Retry-After``, at once; those before are served."""
    responses, held = pile(10, MAX_WAITING + 10)
    busy = [response for response in responses if response.status == 503]
    assert len(busy) == 10
    assert all("Retry-After" in dict(response.headers) for response in busy)
    assert json.loads(busy[0].body)["error"]["code"] == "busy"
    assert sum(held.batches) == MAX_WAITING


def test_beyond_a_size_requests_are_told_to_come_back() -> None:
    """Large ones fill the memory sooner."""
    responses, held = pile(MAX_BYTES, 80)
    assert sum(held.batches) == 64
    assert [response.status for response in responses].count(503) == 16


def test_what_waited_is_forgotten_once_it_is_served() -> None:
    """The limit is on what waits, not on what ever came."""
    held = Held()
    held.open.set()
    gatherer = Gatherer(held)

    async def play() -> set[int]:
        return {(await gatherer.submit(request(MAX_BYTES))).status for _ in range(200)}

    assert asyncio.run(play()) == {200}
    gatherer.close()


def test_each_request_gets_the_response_of_its_place() -> None:
    """However many there are in a batch."""
    responses, held = pile(10, 50)
    places = [response.status - 200 for response in responses]
    assert held.batches in ([50], [1, 49])
    assert places in (list(range(50)), [0, *range(49)])


def test_work_that_fails_leaves_nobody_waiting() -> None:
    """Whatever went wrong with one batch: its callers hear of it, and the next batch is served."""
    left = [True]

    def work(requests: list[Request]) -> list[Response]:
        if left:
            left.pop()
            raise MemoryError
        return [Response(status=200) for _ in requests]

    gatherer = Gatherer(work)

    async def play() -> list[Response | BaseException]:
        first = await asyncio.gather(
            *(gatherer.submit(request()) for _ in range(3)), return_exceptions=True
        )
        return [*first, await gatherer.submit(request())]

    *failed, served = asyncio.run(asyncio.wait_for(play(), 3))
    gatherer.close()
    assert isinstance(served, Response)
    assert served.status == 200
    for one in failed:
        assert isinstance(one, MemoryError) or (isinstance(one, Response) and one.status == 503)


def test_between_batches_there_is_a_pause_where_one_is_wanted() -> None:
    """What comes meanwhile is handed on together; the first one does not wait."""
    batches: list[int] = []

    def work(requests: list[Request]) -> list[Response]:
        batches.append(len(requests))
        return [Response(status=200) for _ in requests]

    gatherer = Gatherer(work, most=3, spacing=0.05)

    async def play() -> list[Response]:
        first = await gatherer.submit(request())
        return [first, *await asyncio.gather(*(gatherer.submit(request()) for _ in range(5)))]

    assert len(asyncio.run(play())) == 6
    assert batches == [1, 3, 2]
    assert len(asyncio.run(play())) == 6  # its loop ended in the pause
    assert batches == [1, 3, 2] * 2
    gatherer.close()


# Other protocols


def test_the_lifespan_is_acknowledged(serve: Callable[..., Server]) -> None:
    """Startup and shutdown."""
    app = serve().app
    sent: list[str] = []

    async def play() -> None:
        events = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> Message:
            return {"type": next(events)}

        async def send(message: Message) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)

    asyncio.run(play())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_websocket_is_closed_before_it_opens(server: Server) -> None:
    """There is nothing to talk about."""
    client = Client()
    asyncio.run(server.app({"type": "websocket"}, client.receive, client.send))
    assert [message["type"] for message in client.got] == ["websocket.close"]
