"""Twilio's signatures through a proxy with another scheme, host, port and base path.

The oracle is Twilio's own package, and the values are those that its tests use. The connector sees
only the proxy's address; what Twilio signed is the public one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.signature import is_signed, signed

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

TOKEN = "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c"
ACCOUNT = f"AC{'7c' * 16}"
TENANT = "guarded-tenant"
PUBLIC = "https://sms.example.com:8443/some/base"
"""What Twilio is told; the proxy is at plain http, another host and port, and strips the base path."""


class Vector(NamedTuple):
    """One of the cases that Twilio's package tests its own validator with (tests/unit)."""

    url: str
    signature: str
    form: dict[str, list[str]]
    body: bytes | None = None


CALL = {
    "CallSid": ["CA1234567890ABCDE"],
    "Digits": ["1234"],
    "From": ["+14158675309"],
    "To": ["+18005551212"],
    "Caller": ["+14158675309"],
}
ADDRESS = "https://mycompany.com/myapp.php?foo=1&bar=2"
JSON = b'{"property": "value", "boolean": true}'
HASH = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
VECTORS = {
    "a form": Vector(ADDRESS, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", CALL),
    "values that repeat": Vector(
        ADDRESS, "IK+Dwps556ElfBT0I3Rgjkr1wJU=", {"Sid": ["CA123"], "SidAccount": ["AC123"],
        "Digits": ["5678", "1234", "1234"]},
    ),
    "another port": Vector(
        "http://mycompany.com:1234/myapp.php?foo=1&bar=2", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=", CALL
    ),
    "the port of https": Vector(
        "https://mycompany.com:443/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w=", CALL
    ),
    "the port of http": Vector(
        "http://mycompany.com:80/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4=", CALL
    ),
    "a hash of the body": Vector(f"{ADDRESS}&bodySHA256={HASH}", "a9nBmqA0ju/hNViExpshrM61xv4=", {}, JSON),
}  # fmt: skip


def body_of(vector: Vector) -> tuple[bytes, str]:
    """Give a vector's body and its Content-Type."""
    if vector.body is not None:
        return vector.body, "application/json"
    return urlencode(vector.form, doseq=True).encode(), "application/x-www-form-urlencoded"


def fits(vector: Vector, signature: str, **changes: Any) -> bool:
    """Tell whether a signature fits a vector, some of it changed."""
    changed = vector._replace(**changes)
    body, kind = body_of(changed)
    headers = {"x-twilio-signature": signature, "content-type": kind}
    return is_signed(url=changed.url, body=body, headers=headers, tokens=["12345"])


@pytest.mark.parametrize("name", VECTORS)
def test_every_vector_of_twilios_own_package_is_taken(name: str) -> None:
    """And none in which any byte of the address, the form, the body or the signature is another."""
    vector = VECTORS[name]
    assert fits(vector, vector.signature)
    plain = vector.url.partition("?")
    for place, character in enumerate(vector.signature):
        other = "A" if character != "A" else "B"
        wrong = f"{vector.signature[:place]}{other}{vector.signature[place + 1 :]}"
        assert not fits(vector, wrong)
    for place in range(plain[0].index("mycompany"), len(vector.url)):
        url = f"{vector.url[:place]}~{vector.url[place + 1 :]}"
        assert vector.url[place] in "~:" or not fits(vector, vector.signature, url=url)
    for key, values in vector.form.items():
        for number, value in enumerate(values):
            forged = [*values[:number], f"{value}x", *values[number + 1 :]]
            assert not fits(vector, vector.signature, form=vector.form | {key: forged})
        renamed = {f"{key}x" if one == key else one: known for one, known in vector.form.items()}
        assert not fits(vector, vector.signature, form=renamed)
    for place in range(len(vector.body or b"")):
        body = bytearray(vector.body or b"")
        body[place] ^= 1
        assert not fits(vector, vector.signature, body=bytes(body))


class Proxy:
    """Plain http on another port; strips the base path, and tells of itself as proxies do."""

    def __init__(self, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                target = self.path.removeprefix("/some/base")
                headers = dict(self.headers.items()) | {
                    "Host": "inner.internal",
                    "X-Forwarded-Host": "evil.example",
                    "X-Forwarded-Proto": "http",
                }
                with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as inner:
                    inner.request("POST", target, body, headers)
                    answer = inner.getresponse()
                    said = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture(scope="module")
def proxied(
    run_connector: Callable[..., AbstractContextManager[Running]],
) -> Iterator[Callable[[str, bytes, str, str], int]]:
    """Run a connector behind a proxy; give a function that posts through it as Twilio would."""
    with run_connector(public_url=PUBLIC) as running:
        running.tenant(TENANT, api_keys=["k"])
        proxy = Proxy(running.port)
        thread = threading.Thread(target=proxy.server.serve_forever, args=(0.01,))
        thread.start()

        def post(target: str, body: bytes, kind: str, signature: str) -> int:
            headers = {"Content-Type": kind, "X-Twilio-Signature": signature}
            url = f"{proxy.url}/some/base{target}"
            return int(
                running.pool.request("POST", url, body=body, headers=headers, timeout=30).status
            )

        yield post
        proxy.server.shutdown()
        thread.join()
        proxy.server.server_close()


class Repeated(dict[str, list[str]]):
    """A form as frameworks hand it to Twilio's package."""

    def getall(self, name: str) -> list[str]:
        """Give all values of a name."""
        return self[name]


ROUTES = (f"/twilio/status/{TENANT}", f"/twilio/inbound/{TENANT}")
SPELLINGS = {"as told": PUBLIC, "without the port": PUBLIC.replace(":8443", "")}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", [name for name in VECTORS if VECTORS[name].body is None])
def test_forms_that_twilio_signs_for_the_public_address_get_through(
    proxied: Callable[[str, bytes, str, str], int], name: str, route: str, spelling: str
) -> None:
    """Whatever the request says its host is; with any byte changed they do not."""
    query = VECTORS[name].url.partition("?")[2]
    target = f"{route}?{query}"
    form: dict[str, list[str]] = VECTORS[name].form | {
        "AccountSid": [ACCOUNT],
        "MessageSid": [f"SM{'1' * 32}"],
        "MessageStatus": ["unheard of"],
    }
    address = f"{SPELLINGS[spelling]}{target}"
    signature = RequestValidator(TOKEN).compute_signature(address, Repeated(form))
    body, kind = urlencode(form, doseq=True).encode(), "application/x-www-form-urlencoded"
    assert proxied(target, body, kind, signature) in (200, 204)
    for wrong_target, wrong_body, wrong in (
        (f"{target}0", body, signature),
        (target.replace("foo", "fop"), body, signature),
        (target, body.replace(b"SM1", b"SM2"), signature),
        (target, body + b"&more=1", signature),
        (target, body, signature[:-2] + ("A=" if signature[-2:] != "A=" else "B=")),
        (target.replace(TENANT, "other-tenant"), body, signature),
    ):
        assert proxied(wrong_target, wrong_body, kind, wrong) == 403


@pytest.mark.parametrize("route", ROUTES)
def test_json_that_twilio_signs_by_its_hash_gets_through(
    proxied: Callable[[str, bytes, str, str], int], route: str
) -> None:
    """Any byte of the body is covered by the hash, and the hash by the signature."""
    body = f'{{"AccountSid": "{ACCOUNT}", "MessageSid": "SM{"1" * 32}", "MessageStatus": "x"}}'.encode()
    digest = RequestValidator(TOKEN).compute_hash(body.decode())
    target = f"{route}?foo=1&bodySHA256={digest}"
    signature = signed(f"{PUBLIC}{target}", (), TOKEN)
    assert RequestValidator(TOKEN).validate(f"{PUBLIC}{target}", body.decode(), signature)
    kind = "application/json"
    assert proxied(target, body, kind, signature) in (200, 204)
    for place in range(0, len(body), 7):
        forged = bytearray(body)
        forged[place] ^= 1
        assert proxied(target, bytes(forged), kind, signature) == 403
    assert proxied(target.replace("foo=1", "foo=2"), body, kind, signature) == 403
