"""The server and the functions give the same answer to whatever comes, and never a 5xx.

Nor does the server where Twilio's callbacks come in: there nothing that is not signed changes
anything.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from ci360_twilio.clients.tenants import CachedTenants
from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.event import MAX_BYTES
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.edge.asgi import App
from ci360_twilio.edge.aws import Direct
from ci360_twilio.edge.functions import Stack
from ci360_twilio.edge.http import EVENTS, Request, Routes
from ci360_twilio.errors import TenantUnavailable, TenantUnknown
from ci360_twilio.flow.accept import Acceptance
from ci360_twilio.flow.addresses import STATUS
from ci360_twilio.flow.settle import Settlement
from ci360_twilio.flow.webhook import Doorkeeper
from ci360_twilio.logs import Log
from ci360_twilio.settings import Settings
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.wiring import Parts

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
OPEN, GUARDED, AWAY = TenantId("open"), TenantId("guarded"), TenantId("away")

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
    """One tenant without credentials, one with, and one whose document cannot be read just now."""

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
        if tenant_id == AWAY:
            raise TenantUnavailable("The tenant's document cannot be read.")
        if tenant_id not in self._tenants:
            raise TenantUnknown("There is no such tenant.")
        return self._tenants[tenant_id]

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant."""
        return self.get(tenant_id)


def make_parts() -> Parts:
    """Make the parts of a process, with a ledger of their own, at a time that stands still."""
    log, tenants = Log(io.StringIO(), level="error"), cast("CachedTenants", Register())
    return Parts(Settings(), log, MemoryStore(), tenants, trips=False, clock=lambda: NOW)


class Answer(NamedTuple):
    """Status, body without what differs by nature, and the headers but for the connection's."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def said(self) -> str:
        """The word that says why: an error's code, a reason, or a status."""
        if error := self.body.get("error"):
            return str(error["code"])
        return str(self.body.get("reason") or self.body["status"])


def _comparable(status: int, body: bytes, headers: dict[str, str]) -> Answer:
    read = json.loads(body)
    if "error" in read:
        del read["error"]["timestamp"], read["error"]["requestId"]
    named = {name.lower(): value for name, value in headers.items()}
    for name in ("connection", "content-length"):
        named.pop(name, None)
    return Answer(status, read, named)


class Ending:
    """An invocation that ends too soon for anything to be sent."""

    aws_request_id = "7d0c1a52-0000-4000-8000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Give what is left of it."""
        return 0


class Edges:
    """The same thing thrice: the ASGI application, and the two functions that take events.

    Each has a ledger of its own.
    """

    def __init__(self) -> None:
        parts = make_parts()
        routes = Routes(parts.acceptance, parts.store, parts.log, on_loopback=True)
        self._app = App(routes)
        self._stack = Stack(make_parts(), None)
        self._direct = Direct(make_parts())
        self._runner = asyncio.Runner()

    def server(
        self, body: bytes, headers: Mapping[str, str], cut: int, *, vouched: bool = True
    ) -> Answer:
        """Post a body in two pieces, from this machine; a loopback name vouches for the caller."""
        pieces = [body[:cut], body[cut:]]
        got: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: MutableMapping[str, Any]) -> None:
            got.append(message)

        given = {"host": "127.0.0.1:8360" if vouched else "sms.example.com", **headers}
        named = [(name.lower().encode(), value.encode()) for name, value in given.items()]
        scope = {"type": "http", "method": "POST", "path": EVENTS, "headers": named}
        self._runner.run(asyncio.wait_for(self._app(scope, receive, send), 20))
        told = {name.decode(): value.decode() for name, value in got[0]["headers"]}
        return _comparable(got[0]["status"], got[1]["body"], told)

    def function(self, invocation: Mapping[str, Any]) -> Answer:
        """Hand an invocation to the function of the stack."""
        answer = self._stack.receive(invocation, Ending())
        return _comparable(answer["statusCode"], answer["body"].encode(), answer["headers"])

    def direct(self, invocation: Mapping[str, Any]) -> Answer:
        """Hand an invocation to the function that replaces SAS's sample."""
        answer = self._direct.handle(invocation, Ending())
        return _comparable(answer["statusCode"], answer["body"].encode(), answer["headers"])

    def close(self) -> None:
        """End the threads and the loop."""
        events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> MutableMapping[str, Any]:
            return next(events)

        async def send(_: MutableMapping[str, Any]) -> None:
            pass

        self._runner.run(self._app({"type": "lifespan"}, receive, send))
        self._runner.close()
        self._stack.close()


def invoked(
    body: bytes, headers: Mapping[str, str], *, plain: bool, vouched: bool = True
) -> dict[str, Any]:
    """Make what a REST API hands over that has checked a key, or an HTTP API that has not.

    The body is handed over as text where it is text and that is wanted.
    """
    try:
        text = body.decode() if plain else ""
    except UnicodeDecodeError:
        plain = False
    about = {
        "headers": {name.title(): value for name, value in headers.items()},
        "requestContext": {"identity": {"apiKeyId": "k"}},
        "body": text if plain else base64.b64encode(body).decode(),
        "isBase64Encoded": not plain,
    }
    if vouched:
        return about | {"httpMethod": "POST", "path": EVENTS}
    return about | {"version": "2.0", "rawPath": EVENTS, "requestContext": {"http": {}}}


@pytest.fixture(scope="module")
def edges() -> Iterator[Edges]:
    """All edges, through all examples: what one has seen, the others have seen too."""
    made = Edges()
    yield made
    made.close()


keys = st.sampled_from([None, "key", "wrong"])


def agree(edges: Edges, body: bytes, key: str | None, cut: int, *, plain: bool) -> Answer:
    """Give the answer of both edges, which must be one and no 5xx."""
    headers = {"content-type": "text/plain"} | ({"x-api-key": key} if key else {})
    server = edges.server(body, headers, cut)
    assert server == edges.function(invoked(body, headers, plain=plain))
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


# Requests that are known to be odd


class Odd(NamedTuple):
    """A request, and what it gets."""

    body: bytes
    status: int
    said: str
    headers: Mapping[str, str]
    elsewhere: tuple[int, str]
    """What it gets where nothing in front vouches for who calls."""


def odd(
    body: bytes | Mapping[str, Any],
    status: int,
    said: str,
    elsewhere: tuple[int, str] | None = None,
    **headers: str,
) -> Odd:
    """Note a request, with the right key unless told otherwise, and what it gets."""
    raw = body if isinstance(body, bytes) else dumped(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    usual = {"content-type": "text/plain;charset=UTF-8", "x-api-key": "key"}
    return Odd(raw, status, said, usual | named, elsewhere or (status, said))


def noted(guid: str, tenant: str = GUARDED, creative: str = "Hello", age: int = 1) -> Any:
    """Make an event."""
    return outbound_event(
        guid=guid,
        tenant_id=tenant,
        creative=f"TO:+12015550142;\n{creative}",
        generated_at=NOW - timedelta(seconds=age),
    )


def spliced(guid: str, member: bytes) -> bytes:
    """Make an event's body with a member more, as it stands, in front."""
    return b"{" + member + b"," + dumped(noted(guid))[1:]


def padded(guid: str, size: int) -> bytes:
    """Make an event's body of just that many bytes."""
    return dumped(noted(guid)).ljust(size)


def dated(guid: str, timestamp: bytes) -> bytes:
    """Make an event's body with another timestamp, as it stands."""
    event = noted(guid) | {"date": {"generatedTimestamp": "@"}}
    return dumped(event).replace(b'"@"', timestamp)


def grouped(guid: str, *members: bytes) -> bytes:
    """Make an event's body that says several times whether the customer is in the control group."""
    return dumped(noted(guid)).replace(b'"isControlGroup": false', b",".join(members))


NOT_JSON, TEST, IN = (400, "not_json"), (200, "test"), (202, "accepted")
OUT, LOCKED = (403, "forbidden"), (401, "no_credential")
IGNORED, USELESS, INVALID = (200, "event_type"), (422, "unprocessable"), (422, "invalid_event")
FORGED = "Basic !!!"
ODD = {
    "a mebibyte": odd(padded("mebibyte", MAX_BYTES), *IN),
    "a byte too many": odd(padded("many", MAX_BYTES + 1), 413, "too_large"),
    "spaces without end": odd(b" " * (MAX_BYTES + 1), 413, "too_large"),
    "json's type": odd(noted("t1"), *IN, content_type="application/json"),
    "a form's type": odd(noted("t2"), *IN, content_type="application/x-www-form-urlencoded"),
    "a type of several parts": odd(noted("t3"), *IN, content_type="multipart/form-data"),
    "another charset": odd(noted("t4"), *IN, content_type="text/plain; charset=utf-16"),
    "a picture's type": odd(noted("t5"), *IN, content_type="image/png"),
    "no type": odd(noted("t6"), *IN, content_type=""),
    "no body": odd(b"", *TEST, x_api_key=""),
    "an empty object": odd(b"{}", *TEST, x_api_key="wrong"),
    "an empty object in lines": odd(b"\r\n {\t}\n", *TEST),
    "a mark before it": odd(b"\xef\xbb\xbf{}", *NOT_JSON),
    "a list": odd(b"[{}]", *NOT_JSON),
    "nothing": odd(b"null", *NOT_JSON),
    "two objects": odd(dumped(noted("a")) * 2, *NOT_JSON),
    "half an object": odd(dumped(noted("a"))[:-9], *NOT_JSON),
    "a comma too many": odd(b'{"guid":"a",}', *NOT_JSON),
    "not a number": odd(spliced("a", b'"other":NaN'), *NOT_JSON),
    "a form": odd(b"To=%2B12015550142&Body=Hello", *NOT_JSON),
    "markup": odd(b"<?xml version='1.0'?><event/>", *NOT_JSON),
    "a nought at its end": odd(dumped(noted("a")) + b"\x00", *NOT_JSON),
    "compressed": odd(gzip.compress(dumped(noted("a"))), *NOT_JSON, content_encoding="gzip"),
    "two bytes a letter": odd(dumped(noted("a")).decode().encode("utf-16"), *NOT_JSON),
    "latin letters": odd(spliced("a", '"other":"é"'.encode("latin-1")), *NOT_JSON),
    "half a letter": odd(spliced("a", b'"other":"\xc3"'), *NOT_JSON),
    "an overlong letter": odd(spliced("a", b'"other":"\xc0\xaf"'), *NOT_JSON),
    "half a pair": odd(spliced("a", b'"other":"\\ud83d"'), *NOT_JSON),
    "half a pair in utf-8": odd(spliced("a", b'"other":"\xed\xa0\xbd"'), *NOT_JSON),
    "objects without end": odd(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, *NOT_JSON),
    "lists without end": odd(spliced("a", b'"other":' + b"[" * 100_000), *NOT_JSON),
    "lists that end": odd(spliced("a", b'"other":' + b"[" * 100_000 + b"]" * 100_000), *NOT_JSON),
    "some depth": odd(spliced("depth", b'"other":' + b"[" * 50 + b"]" * 50), *IN),
    "two guids": odd(spliced("g1", b'"guid":"g0"'), *IN),
    "two tenants": odd(spliced("g2", b'"externalTenantId":"nobody"'), *IN),
    "two types": odd(spliced("g3", b'"eventType":"customEvent"'), *IN),
    "two types and a huge number": odd(
        spliced("g4", b'"eventType":"customEvent","other":1e999'), *IN
    ),
    "in the control group, and not": odd(
        grouped("g5", b'"isControlGroup":true', b'"isControlGroup":false'), *IN
    ),
    "not in the control group, but in it": odd(
        grouped("g6", b'"isControlGroup":false', b'"isControlGroup":true'), 200, "control_group"
    ),
    "no tenant": odd(noted("a") | {"externalTenantId": None}, 400, "bad_tenant_id"),
    "a tenant that climbs": odd(noted("a", "../guarded"), 400, "bad_tenant_id"),
    "a long tenant": odd(noted("a", "g" * 65), 400, "bad_tenant_id"),
    "a tenant that is a number": odd(noted("a") | {"externalTenantId": 7}, 400, "bad_tenant_id"),
    "a tenant in other letters": odd(noted("a", "gu\u0430rded"), 400, "bad_tenant_id"),
    "an unknown tenant": odd(noted("a", "nobody"), *OUT),
    "an unknown tenant, no key": odd(noted("a", "nobody"), *OUT, LOCKED, x_api_key=""),
    "a tenant that is away": odd(noted("a", AWAY), 503, "tenant_unavailable"),
    "an open tenant": odd(noted("o1", OPEN), *IN, LOCKED, x_api_key=""),
    "an open tenant, some key": odd(noted("o2", OPEN), *IN, OUT),
    "no key": odd(noted("a"), *LOCKED, x_api_key=""),
    "a wrong key": odd(noted("a"), *OUT, x_api_key="wrong"),
    "a key and more": odd(noted("a"), *OUT, x_api_key="key,key"),
    "a key of other letters": odd(noted("a"), *OUT, x_api_key="k\u00e9y"),
    "a forged name": odd(noted("a"), *OUT, x_api_key="", authorization=FORGED),
    "a token of nobody": odd(noted("a"), *OUT, x_api_key="", authorization="Bearer x.y.z"),
    "no token": odd(noted("a"), *LOCKED, x_api_key="", authorization="Bearer "),
    "another scheme": odd(noted("a"), *OUT, x_api_key="", authorization="Digest x"),
    "the key beside a forged name": odd(noted("k1"), *IN, authorization=FORGED),
    **{
        f"an event of type {kind!a}": odd(noted("a") | {"eventType": kind}, *IGNORED)
        for kind in ("customEvent", "external", "OutboundSystem", "outboundSystem ", "\x00")
    },
    "such an event without a guid": odd({"externalTenantId": GUARDED, "eventType": "x"}, *IGNORED),
    "such an event, no key": odd(noted("a") | {"eventType": "x"}, *LOCKED, x_api_key=""),
    "no type of event": odd(noted("e1") | {"eventType": None}, *INVALID),
    "an empty type of event": odd(noted("e2") | {"eventType": ""}, *INVALID),
    "a type that is a number": odd(noted("e3") | {"eventType": 7}, *INVALID),
    "no guid": odd(noted(""), *USELESS),
    "a long guid": odd(noted("g" * 257), *USELESS),
    "a guid that is a list": odd(noted("a") | {"guid": ["a"]}, *USELESS),
    "a guid of anything": odd(noted("\u202e\x00\n/../\U0001f600"), *IN),
    "a huge time": odd(dated("n1", b"9" * 30), *INVALID),
    "a time of 5,000 digits": odd(dated("n2", b"9" * 5_000), *INVALID),
    "an endless time": odd(dated("n3", b"1e999"), *INVALID),
    "a time in digits": odd(dated("n4", b'"1772443799000"'), *IN),
    "a time long before": odd(dated("n5", b"-1e30"), 200, "expired"),
    "a number of a megabyte": odd(spliced("n6", b'"other":' + b"9" * 1_000_000), *IN),
    "a part of a megabyte": odd(spliced("n7", b'"other":0.' + b"1" * 1_000_000), *IN),
    "an endless number nobody reads": odd(spliced("n8", b'"other":-1e999'), *IN),
    "a control group that is a word": odd(
        noted("v1") | {"impression": {"isControlGroup": "yes"}}, *INVALID
    ),
    "an old event": odd(noted("v2", age=90_000), 200, "expired"),
    "an event of tomorrow": odd(noted("v3", age=-90_000), *INVALID),
    "a tag that is left": odd(noted("v4", creative="Hello {{name}}"), 422, "merge_tag"),
    "a page": odd(noted("v5", creative="<html>Hello</html>"), 422, "html_creative"),
    "a control character": odd(noted("v6", creative="Hello\x07"), 422, "control_character"),
}


@pytest.fixture(scope="module")
def quiet() -> Iterator[Edges]:
    """All edges, with nothing in their past but requests of this list."""
    made = Edges()
    yield made
    made.close()


@pytest.mark.parametrize("asked", ODD.values(), ids=ODD)
def test_an_odd_request_gets_the_same_answer_everywhere(quiet: Edges, asked: Odd) -> None:
    """As text and in base64, in front of whom somebody vouches and not, and when it comes again.

    The function that sends at once has another answer only where the others have 202.
    """
    for vouched in (True, False):
        wanted = (asked.status, asked.said) if vouched else asked.elsewhere
        for plain in (True, False):
            server = quiet.server(asked.body, asked.headers, len(asked.body) // 2, vouched=vouched)
            assert (server.status, server.said) == wanted
            assert server.headers["content-type"] == "application/json"
            invocation = invoked(asked.body, asked.headers, plain=plain, vouched=vouched)
            assert quiet.function(invocation) == server
            if server.status != 202:
                assert quiet.direct(invocation) == server


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
