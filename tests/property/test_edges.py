"""The server and the Lambda give the same answer to whatever comes, and never a 5xx.

Nor does the server where Twilio's callbacks come in: there nothing that is not signed changes
anything.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.edge.asgi import App
from ci360_twilio.edge.aws import parse_invocation
from ci360_twilio.edge.http import EVENTS, Request, Response, Routes
from ci360_twilio.errors import TenantUnknown
from ci360_twilio.flow.accept import Acceptance
from ci360_twilio.flow.addresses import STATUS
from ci360_twilio.flow.settle import Settlement
from ci360_twilio.flow.webhook import Doorkeeper
from ci360_twilio.logs import Log
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_event

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
OPEN, GUARDED = TenantId("open"), TenantId("guarded")

Json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**320)
    | st.floats(allow_nan=True)
    | st.text(st.characters(codec=None), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


class Register:
    """One tenant without credentials, and one with."""

    def __init__(self) -> None:
        document = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": "AC" + "f6" * 16,
            "twilio_auth_token": "token",
            "default_sender": "+12015550199",
        }
        self._tenants = {
            OPEN: parse_tenant(json.dumps(document), OPEN),
            GUARDED: parse_tenant(json.dumps(document | {"api_keys": ["key"]}), GUARDED),
        }

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant, as the port says."""
        if tenant_id not in self._tenants:
            raise TenantUnknown("There is no such tenant.")
        return self._tenants[tenant_id]

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant."""
        return self.get(tenant_id)


def make_routes() -> Routes:
    """Make routes with a ledger of their own, at a time that stands still."""
    store, log = MemoryStore(), Log(io.StringIO(), level="error")
    return Routes(Acceptance(store, Register(), lambda: NOW, log), store, log, on_loopback=True)


class Answer(NamedTuple):
    """Status, body without what differs by nature, and the headers that the routes set."""

    status: int
    body: Any
    headers: dict[str, str]


def _comparable(status: int, body: bytes, headers: dict[str, str]) -> Answer:
    read = json.loads(body)
    if "error" in read:
        del read["error"]["timestamp"], read["error"]["requestId"]
    return Answer(status, read, {name.lower(): value for name, value in headers.items()})


class Edges:
    """The same routes twice: behind the ASGI application, and behind a REST API's invocations."""

    def __init__(self) -> None:
        self._app = App(make_routes())
        self._lambda = make_routes()
        self._runner = asyncio.Runner()

    def server(self, body: bytes, key: str | None, cut: int) -> Answer:
        """Post a body in two pieces, from this machine."""
        pieces = [body[:cut], body[cut:]]
        got: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: MutableMapping[str, Any]) -> None:
            got.append(message)

        headers = [(b"host", b"127.0.0.1:8360")]
        if key is not None:
            headers.append((b"x-api-key", key.encode()))
        scope = {"type": "http", "method": "POST", "path": EVENTS, "headers": headers}
        self._runner.run(asyncio.wait_for(self._app(scope, receive, send), 20))
        named = {name.decode(): value.decode() for name, value in got[0]["headers"]}
        del named["content-type"], named["content-length"]
        return _comparable(got[0]["status"], got[1]["body"], named)

    def function(self, body: bytes, key: str | None, *, plain: bool) -> Answer:
        """Hand a body to the function, as text where it is text and that is wanted."""
        try:
            text = body.decode() if plain else ""
        except UnicodeDecodeError:
            plain = False
        invocation = {
            "headers": {"Content-Type": "text/plain"} | ({"X-Api-Key": key} if key else {}),
            "requestContext": {"identity": {"apiKeyId": "k"}},
            "body": text if plain else base64.b64encode(body).decode(),
            "isBase64Encoded": not plain,
        }
        request = parse_invocation(invocation, "r")
        response = request if isinstance(request, Response) else self._lambda.handle(request)
        return _comparable(response.status, response.body, dict(response.headers))

    def close(self) -> None:
        """End the threads and the loop."""
        events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> MutableMapping[str, Any]:
            return next(events)

        async def send(_: MutableMapping[str, Any]) -> None:
            pass

        self._runner.run(self._app({"type": "lifespan"}, receive, send))
        self._runner.close()


@pytest.fixture(scope="module")
def edges() -> Iterator[Edges]:
    """Both edges, through all examples: what one has seen, the other has seen too."""
    made = Edges()
    yield made
    made.close()


keys = st.sampled_from([None, "key", "wrong"])


def agree(edges: Edges, body: bytes, key: str | None, cut: int, *, plain: bool) -> Answer:
    """Give the answer of both edges, which must be one and no 5xx."""
    server = edges.server(body, key, cut)
    function = edges.function(body, key, plain=plain)
    assert server == function
    assert server.status < 500, server.body
    return server


def dumped(value: object) -> bytes:
    """Write a value as JSON, lone surrogates as escapes."""
    return json.dumps(value).encode()


few = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(body=st.binary(max_size=200), key=keys, cut=st.integers(0, 200), plain=st.booleans())
@example(body=b"", key=None, cut=0, plain=True)
@example(body=b"\xef\xbb\xbf{}", key=None, cut=1, plain=True)
def test_arbitrary_bytes_get_the_same_answer_everywhere(
    edges: Edges, body: bytes, key: str | None, cut: int, plain: bool
) -> None:
    """However they are cut or encoded on their way."""
    assert agree(edges, body, key, cut, plain=plain).status in (200, 400)


@few
@given(value=Json, key=keys, cut=st.integers(0, 50), plain=st.booleans())
def test_arbitrary_json_gets_the_same_answer_everywhere(
    edges: Edges, value: object, key: str | None, cut: int, plain: bool
) -> None:
    """Numbers out of range, NaN and lone surrogates among it."""
    assert agree(edges, dumped(value), key, cut, plain=plain).status in (200, 400)


@few
@given(
    members=st.fixed_dictionaries(
        {"externalTenantId": st.sampled_from([OPEN, GUARDED, "nobody"]) | Json},
        optional={
            "guid": st.text(max_size=4) | Json,
            "eventType": st.just("outboundSystem") | Json,
            "date": st.fixed_dictionaries({}, optional={"generatedTimestamp": Json}) | Json,
            "impression": st.fixed_dictionaries(
                {}, optional={"creativeContent": Json, "isControlGroup": Json}
            )
            | Json,
            "properties": Json,
            "outboundProperties": Json,
            "contactResponse": Json,
            "identityId": Json,
        },
    ),
    key=keys,
    plain=st.booleans(),
)
def test_bodies_with_the_right_names_and_any_values_get_the_same_answer_everywhere(
    edges: Edges, members: dict[str, Any], key: str | None, plain: bool
) -> None:
    """Every gate is reached."""
    agree(edges, dumped(members), key, 10, plain=plain)


class Mutation(NamedTuple):
    """One change of a real event: a member, found by walking, becomes something else."""

    path: list[int]
    value: Any


def mutate(event: dict[str, Any], mutation: Mutation) -> None:
    """Walk into the event by numbers, and replace or remove what is there."""
    inner: dict[str, Any] = event
    for step in mutation.path[:-1]:
        names = sorted(name for name, value in inner.items() if isinstance(value, dict) and value)
        if not names:
            break
        inner = inner[names[step % len(names)]]
    if not inner:
        return
    name = sorted(inner)[mutation.path[-1] % len(inner)]
    if mutation.value == "remove":
        del inner[name]
    else:
        inner[name] = mutation.value


creatives = st.sampled_from(
    [
        "TO:+12015550142;\nHello",
        "TO:{{phone}};\nHello",
        "no directives",
        "TO:+12015550142;\nFROM:x;y;\n\x00",
        "<html><body>x</body></html>",
    ]
) | st.text(max_size=200).map("TO:+12015550142;".__add__)


@few
@given(
    tenant_id=st.sampled_from([OPEN, GUARDED]),
    guid=st.sampled_from(["g1", "g2", "g3"]) | st.text(min_size=1, max_size=300),
    creative=creatives,
    age=st.integers(-400, 200_000),
    control=st.booleans(),
    mutations=st.lists(
        st.builds(
            Mutation,
            st.lists(st.integers(0, 60), min_size=1, max_size=3),
            Json | st.just("remove"),
        ),
        max_size=3,
    ),
    key=keys,
    cut=st.integers(0, 5000),
    plain=st.booleans(),
)
def test_mutated_events_get_the_same_answer_everywhere(
    edges: Edges,
    tenant_id: TenantId,
    guid: str,
    creative: str,
    age: int,
    control: bool,
    mutations: list[Mutation],
    key: str | None,
    cut: int,
    plain: bool,
) -> None:
    """Duplicates among them; each edge has its own ledger with the same past."""
    event = outbound_event(
        guid=guid,
        tenant_id=tenant_id,
        creative=creative,
        generated_at=NOW - timedelta(seconds=age),
        control_group=control,
    )
    for mutation in mutations:
        mutate(event, mutation)
    agree(edges, dumped(event), key, cut, plain=plain)


@few
@given(
    at=st.integers(0, 5000),
    change=st.sampled_from(["cut", "flip", "insert", "double"]),
    byte=st.integers(0, 255),
    plain=st.booleans(),
)
def test_damaged_events_get_the_same_answer_everywhere(
    edges: Edges, at: int, change: str, byte: int, plain: bool
) -> None:
    """A byte more, a byte less, another byte, or the end missing."""
    body = dumped(
        outbound_event(
            guid="damaged", tenant_id=OPEN, creative="TO:+12015550142;\nHi", generated_at=NOW
        )
    )
    at %= len(body)
    damaged = {
        "cut": body[:at],
        "flip": body[:at] + bytes([byte]) + body[at + 1 :],
        "insert": body[:at] + bytes([byte]) + body[at:],
        "double": body[:at] + body[at:] * 2,
    }[change]
    agree(edges, damaged, None, at, plain=plain)


# Where Twilio's callbacks come in

PUBLIC = "https://sms.example.com"
SID, KEY = "SM" + "1a" * 16, key_of(GUARDED, "g")


class Door:
    """The routes that Twilio can reach, with one message of a tenant's on its way."""

    def __init__(self) -> None:
        self.store, log = MemoryStore(), Log(io.StringIO(), level="error")
        self.entry = Entry(
            key=KEY,
            tenant_id=GUARDED,
            guid="g",
            status=Status.SENT,
            created_at=NOW,
            due_at=NOW,
            expires_at=NOW,
            purge_at=NOW,
            sid=SID,
            correlation="c1",
        )
        self.store.insert_many([self.entry])
        tenants = Register()
        doorkeeper = Doorkeeper(tenants, public_url=PUBLIC)
        settlement = Settlement(self.store, self.store, doorkeeper, lambda: NOW, log)
        acceptance = Acceptance(self.store, tenants, lambda: NOW, log)
        self.routes = Routes(acceptance, self.store, log, settlement=settlement)

    def is_untouched(self) -> bool:
        """Tell whether nothing has changed."""
        return self.store.get_many([KEY]) == [self.entry] and self.store.pauses() == []


FORM = {
    "AccountSid": "AC" + "f6" * 16,
    "From": "+12015550199",
    "MessageSid": SID,
    "MessageStatus": "delivered",
    "SmsSid": SID,
    "To": "+12015550142",
}
GENUINE = urlencode(FORM).encode()
FORM_TYPE = "application/x-www-form-urlencoded"


def signature(query: str = "m=c1", form: dict[str, str] = FORM) -> str:
    """Sign a callback as Twilio does."""
    url = f"{PUBLIC}{STATUS}{GUARDED}?{query}"
    made: str = RequestValidator("token").compute_signature(url, form)
    return made


header_values = st.text(st.characters(codec="latin-1"), max_size=60)
bodies = st.sampled_from([GENUINE, b"", b"{}", b'{"AccountSid":1}'])


@few
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "PUT", "post", ""]),
    tail=st.sampled_from([GUARDED, OPEN, "nobody", "", "../guarded", "guarded/"])
    | st.text(max_size=80),
    query=st.sampled_from(["m=c1", "", "m=c1&bodySHA256=" + "0" * 64]) | header_values,
    headers=st.dictionaries(
        st.sampled_from(
            [
                "content-type",
                "host",
                "x-api-key",
                "x-forwarded-host",
                "x-twilio-signature",
                "x-twilio-webhooks-signature-settings",
            ]
        ),
        st.sampled_from([FORM_TYPE, "application/json", "key", signature("m=c2"), "a=b,algorithm="])
        | header_values,
    ),
    body=bodies | st.binary(max_size=300),
)
@example("POST", GUARDED, "m=c1", {"x-twilio-signature": signature("m=c2")}, GENUINE)
@example("POST", GUARDED, "m=c1", {"x-twilio-signature": signature()}, b"x" * 70_000)
@example("POST", OPEN, "m=c1", {"x-twilio-signature": signature()}, GENUINE)
def test_strangers_change_nothing(
    method: str, tail: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    """Whatever they post to whatever tenant: 403, or it is no callback at all."""
    door = Door()
    request = Request(
        method=method, path=f"{STATUS}{tail}", query=query, headers=headers, body=body
    )
    response = door.routes.handle(request)
    assert response.status in ((403, 413) if method == "POST" else (405,))
    assert door.is_untouched()


@few
@given(
    part=st.sampled_from(["body", "query", "signature"]),
    at=st.integers(0, 1000),
    change=st.sampled_from(["cut", "flip", "insert", "double"]),
    byte=st.integers(0, 255),
)
@example(part="body", at=0, change="flip", byte=GENUINE[0])
@example(part="body", at=0, change="insert", byte=ord("&"))
@example(part="signature", at=0, change="insert", byte=ord(" "))
def test_damaged_callbacks_change_nothing(part: str, at: int, change: str, byte: int) -> None:
    """Unless they still say just what was signed, in another spelling."""
    parts = {"body": GENUINE, "query": b"m=c1", "signature": signature().encode()}
    whole = parts[part]
    at %= len(whole)
    parts[part] = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([byte]) + whole[at + 1 :],
        "insert": whole[:at] + bytes([byte]) + whole[at:],
        "double": whole[:at] + whole[at:] * 2,
    }[change]
    query, signed = parts["query"].decode("latin-1"), parts["signature"].decode("latin-1")
    try:
        pairs = set(parse_qsl(parts["body"].decode(), keep_blank_values=True))
    except UnicodeDecodeError:
        pairs = set()
    genuine = (
        pairs == set(FORM.items())
        and signed.strip() == signature()
        and query.partition("#")[0] == "m=c1"
    )
    door = Door()
    request = Request(
        method="POST",
        path=f"{STATUS}{GUARDED}",
        query=query,
        headers={"content-type": FORM_TYPE, "x-twilio-signature": signed},
        body=parts["body"],
    )
    assert door.routes.handle(request).status == (204 if genuine else 403)
    assert door.is_untouched() is not genuine


@few
@given(
    statuses=st.lists(
        st.sampled_from(["queued", "sending", "sent", "delivered", "read", "failed", "flying"]),
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 6), max_size=3),
)
def test_callbacks_end_alike_however_they_arrive(statuses: list[str], cuts: list[int]) -> None:
    """In any order, repeated, one by one or in batches."""
    requests = []
    for status in statuses:
        form = FORM | {"MessageStatus": status}
        headers = {"content-type": FORM_TYPE, "x-twilio-signature": signature(form=form)}
        requests.append(
            Request(
                method="POST",
                path=f"{STATUS}{GUARDED}",
                query="m=c1",
                headers=headers,
                body=urlencode(form).encode(),
            )
        )
    ends = []
    for order in (requests, requests[::-1], sorted(requests, key=lambda one: one.body)):
        door, at = Door(), 0
        for cut in [*sorted(cuts), len(order)]:
            batch = order[at : max(cut, at)]
            assert [one.status for one in door.routes.statuses(batch)] == [204] * len(batch)
            at = max(cut, at)
        (entry,) = door.store.get_many([KEY])
        assert entry is not None
        ends.append((entry.status, entry.provider_status))
    assert len(set(ends)) == 1
