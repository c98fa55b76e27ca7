"""CI360's gateway as the twin keeps it: who is let in, events, and files of them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from ci360_twilio.core.ci360 import bearer_of
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.ci360 import (
    MOST_ATTRIBUTES,
    Ci360Twin,
    Refusal,
    TakenEvent,
)

if TYPE_CHECKING:
    from tests.conftest import SetClock

TENANT, SECRET = "demo", "s3cret-Xyzzy-abcdefghijklmnopqrstuvwxyz"
BASE = "http://127.0.0.1:8361"


@pytest.fixture
def twin(clock: SetClock) -> Ci360Twin:
    """A twin with two tenants."""
    secrets = {TENANT: SECRET, "other": "another-secret"}
    return Ci360Twin(tenants=secrets, clock=clock, base=lambda: BASE)


def refused(act: Callable[[], object]) -> tuple[int, str]:
    """Give the status and the words with which a request is refused."""
    with pytest.raises(Refusal) as caught:
        act()
    body = caught.value.answer.body
    assert body is not None
    assert body["httpStatusCode"] == caught.value.answer.status
    return caught.value.answer.status, body["message"]


def take(twin: Ci360Twin, **members: Any) -> Answer:
    """Have the twin take an event; members that are ``...`` are left out."""
    given = {"eventName": "twilio_sms_failed", "datahub_id": "D1"} | members
    body = {name: value for name, value in given.items() if value is not ...}
    return twin.take_event(TENANT, json.dumps(body).encode())


def token_of(address: str) -> str:
    """Give the token in an address that was handed out."""
    return address.removeprefix(f"{BASE}/files/").partition("?")[0]


# Who is let in


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_token_of_an_access_point_lets_its_tenant_in(twin: Ci360Twin, scheme: str) -> None:
    """Ours, and one that a library made."""
    key = base64.b64encode(SECRET.encode())
    for token in (
        bearer_of(TENANT, SECRET),
        jwt.encode({"clientID": TENANT}, key, algorithm="HS256"),
        jwt.encode({"clientID": TENANT, "iat": 0}, key, algorithm="HS256"),
    ):
        assert twin.authorize(f"{scheme} {token}") == TENANT
    assert twin.authorize(f"Bearer {bearer_of('other', 'another-secret')}") == "other"


def encoded(*parts: object) -> str:
    """Write the segments of a token."""
    written = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in written)


HEAD, CLAIMS = {"alg": "HS256", "typ": "JWT"}, {"clientID": TENANT}
GOOD = bearer_of(TENANT, SECRET)


@pytest.mark.parametrize(
    ("authorization", "error_id"),
    [
        ("", "MKTCMN74224"),
        ("Bearer", "MKTCMN74224"),
        ("Bearer ", "MKTCMN74224"),
        ("Bearer x", "MKTCMN74224"),
        ("Bearer ..", "MKTCMN74224"),
        (f"Basic {GOOD}", "MKTCMN74224"),
        (GOOD, "MKTCMN74224"),
        ("Bearer \xff.\xff.\xff", "MKTCMN74224"),
        (f"Bearer {encoded(b'[' * 100_000, CLAIMS, b'x')}", "MKTCMN74224"),
        (f"Bearer {encoded([], CLAIMS, b'x')}", "MKTCMN74224"),
        (f"Bearer {encoded({'alg': 'none'}, CLAIMS)}.", "MKTCMN74224"),
        (f"Bearer {encoded({'alg': 'HS384'}, CLAIMS, b'x')}", "MKTCMN74224"),
        (f"Bearer {encoded(HEAD, {}, b'x')}", "MKTCMN74248"),
        (f"Bearer {encoded(HEAD, b'[' * 100_000, b'x')}", "MKTCMN74248"),
        (f"Bearer {encoded(HEAD, {'clientID': None}, b'x')}", "MKTCMN74248"),
        (f"Bearer {encoded(HEAD, {'clientID': [TENANT]}, b'x')}", "MKTCMN74248"),
        (f"Bearer {encoded(HEAD, {'clientID': 'stranger'}, b'x')}", "MKTCMN74248"),
        (f"Bearer {bearer_of('stranger', SECRET)}", "MKTCMN74248"),
        (f"Bearer {bearer_of(TENANT, 'another-secret')}", "MKTCMN74261"),
        (f"Bearer {bearer_of('other', SECRET)}", "MKTCMN74261"),
        (f"Bearer {encoded(HEAD, CLAIMS)}", "MKTCMN74261"),
        (f"Bearer {GOOD[:-1]}", "MKTCMN74261"),
        (f"Bearer {GOOD}x", "MKTCMN74261"),
        (f"Bearer {GOOD}.x", "MKTCMN74261"),
        (f"Bearer {GOOD[:-2]}\xe4\xf6", "MKTCMN74261"),
        (f"Bearer {jwt.encode(CLAIMS, SECRET, algorithm='HS256')}", "MKTCMN74261"),
    ],
    ids=lambda value: ascii(value)[:60],
)  # fmt: skip
def test_any_other_token_is_refused_with_the_agents_error_ids(
    twin: Ci360Twin, authorization: str, error_id: str
) -> None:
    """Bad, of no tenant, or of no access point; the key is the base64 of the secret as text."""
    status, words = refused(lambda: twin.authorize(authorization))
    assert status == 401
    assert words.startswith(f"{error_id}: ")


def test_a_secret_can_be_changed(twin: Ci360Twin) -> None:
    """Tokens made with the old one stop working at once."""
    twin.change_secret(TENANT, "fresh")
    assert refused(lambda: twin.authorize(f"Bearer {GOOD}"))[0] == 401
    assert twin.authorize(f"Bearer {bearer_of(TENANT, 'fresh')}") == TENANT


# Events


def test_an_event_is_kept_as_it_came(twin: Ci360Twin, clock: SetClock) -> None:
    """Flat or nested, with either spelling of its name; values become text."""
    take(twin, twilio_reason="opted_out", twilio_error_code=30005)
    take(twin, eventName=..., eventname="old", attributes={"a": "b"}, applicationId="x")
    assert twin.events == (
        TakenEvent(
            at=clock.now,
            tenant_id=TENANT,
            name="twilio_sms_failed",
            identity=("datahub_id", "D1"),
            attributes={"twilio_reason": "opted_out", "twilio_error_code": "30005"},
        ),
        TakenEvent(
            at=clock.now,
            tenant_id=TENANT,
            name="old",
            identity=("datahub_id", "D1"),
            attributes={"a": "b", "applicationId": "x"},
        ),
    )


@pytest.mark.parametrize("kind", ["datahub_id", "subject_id", "customer_id", "login_id"])
def test_an_event_has_one_identity_of_any_kind(twin: Ci360Twin, kind: str) -> None:
    """Also one that is a number."""
    take(twin, **{"datahub_id": ..., kind: 4711})
    assert twin.events[0].identity == (kind, "4711")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"eventName": ...}, "no eventName"),
        ({"eventName": ""}, "no eventName"),
        ({"eventName": None}, "no eventName"),
        ({"eventName": 7}, "no eventName"),
        ({"datahub_id": ...}, "no identity"),
        ({"datahub_id": ""}, "no identity"),
        ({"datahub_id": None}, "no identity"),
        ({"datahub_id": ..., "identity_id": "D1"}, "no identity"),
        ({"subject_id": "4711"}, "or several"),
        ({"a": "x" * MOST_ATTRIBUTES}, "too long"),
        ({"a": "x" * 2000, "attributes": {"b": "x" * 2000}}, "too long"),
        ({"x" * MOST_ATTRIBUTES: "a"}, "too long"),
    ],
    ids=str,
)  # fmt: skip
def test_an_event_that_ci360_cannot_use_is_refused(
    twin: Ci360Twin, members: dict[str, Any], words: str
) -> None:
    """With words for a person."""
    status, said = refused(lambda: take(twin, **members))
    assert status == 400
    assert words in said
    assert twin.events == ()


def test_attributes_may_be_as_long_as_ci360_keeps(twin: Ci360Twin) -> None:
    """To the character."""
    take(twin, a="x" * (MOST_ATTRIBUTES - 1))
    assert len(twin.events) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"7", b'"x"', b"[]", b'[{"eventName":"x","datahub_id":"1"}]', b"{", b"\xff", b"{}{}",
     b"[" * 100_000, b'{"a":' * 100_000, b'{"eventName":"\\ud800","datahub_id":"1"}',
     b'{"eventName":NaN}', b'{"eventName":"\xff","datahub_id":"1"}', b"9" * 5000],
    ids=lambda body: ascii(body)[:40],
)  # fmt: skip
def test_what_is_not_one_event_is_refused(twin: Ci360Twin, body: bytes) -> None:
    """However deep, or in whatever characters."""
    assert refused(lambda: twin.take_event(TENANT, body))[0] == 400
    assert twin.events == ()


def test_only_published_events_are_taken(twin: Ci360Twin) -> None:
    """Until all are, again."""
    twin.publish(["twilio_sms_reply"])
    status, words = refused(lambda: take(twin))
    assert (status, "twilio_sms_failed" in words) == (400, True)
    take(twin, eventName="twilio_sms_reply")
    twin.publish(None)
    take(twin)
    assert [one.name for one in twin.events] == ["twilio_sms_reply", "twilio_sms_failed"]


def test_many_threads_lose_no_event(twin: Ci360Twin) -> None:
    """Each is kept once."""
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        barrier.wait(10)
        for one in range(20):
            take(twin, datahub_id=f"{number}-{one}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert len({one.identity for one in twin.events}) == 320


# Files


def test_an_address_is_for_one_file(twin: Ci360Twin) -> None:
    """No two are alike; what was put there can be fetched, and nothing is put over it."""
    addresses = [twin.hand_out(TENANT, "preferences") for _ in range(10)]
    assert len(set(addresses)) == 10
    token = token_of(addresses[0])
    assert refused(lambda: twin.fetch(token))[0] == 403
    assert twin.put(token, b"\x00\xff").status == 200
    assert twin.fetch(token).content == b"\x00\xff"
    assert refused(lambda: twin.put(token, b"y"))[0] == 403
    assert refused(lambda: twin.put("0" * 32, b"y"))[0] == 403
    assert twin.fetch(token).content == b"\x00\xff"


def test_every_line_of_a_file_is_an_event(twin: Ci360Twin) -> None:
    """Quotes and line breaks included; a last name without a value is nothing."""
    file = 'a,datahub_id,1\nb,subject_id,"2, ""3""",x,"y\nz",w,\nc,login_id,4,x\n'
    twin.put(token_of(twin.hand_out(TENANT, "events")), file.encode())
    assert [(one.name, one.identity, one.attributes) for one in twin.events] == [
        ("a", ("datahub_id", "1"), {}),
        ("b", ("subject_id", '2, "3"'), {"x": "y\nz", "w": ""}),
        ("c", ("login_id", "4"), {}),
    ]
    assert {(one.tenant_id, one.by_file) for one in twin.events} == {(TENANT, True)}


def test_of_a_line_that_is_no_event_nobody_hears(twin: Ci360Twin) -> None:
    """The others are taken: CI360 answers before it has read them."""
    twin.publish(["a"])
    file = f"a,datahub_id,1\n\na\na,datahub_id\nb,datahub_id,2\n,datahub_id,3\na,datahub_id,\na,datahub_id,4,x,{'y' * 4000}\na,datahub_id,5\n"
    assert twin.put(token_of(twin.hand_out(TENANT, "events")), file.encode()).status == 200
    assert [one.identity[1] for one in twin.events] == ["1", "5"]


@pytest.mark.parametrize(
    "file", [b"", b"\xff\xfe", b"a,datahub_id,1\rb", b'"', b"x" * 200_000, b"\x00"]
)
def test_of_a_file_that_cannot_be_read_nobody_hears(twin: Ci360Twin, file: bytes) -> None:
    """It was taken all the same."""
    assert twin.put(token_of(twin.hand_out(TENANT, "events")), file).status == 200
    assert twin.events == ()
