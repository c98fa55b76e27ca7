"""A provider of OpenID Connect on loopback, which can be told to misbehave in every way we know."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

DISCOVERY = "/.well-known/openid-configuration"
TOKEN, KEYS, USERINFO = "/token", "/keys", "/userinfo"
CLIENT = "console"
SECRET = "s3cret: a+b%c~"
"""With characters that a client must encode before it sends them."""
PUBLISHED = b"p" * 32
"""A secret that a provider publishes by mistake."""


class Answer(NamedTuple):
    """What is answered instead of what would be right."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()


class Call(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


class Key(NamedTuple):
    """A key pair and its name."""

    kid: str
    private: Any

    def jwk(self) -> dict[str, str]:
        """Give the public half."""
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            rsa_numbers = public.public_numbers()
            modulus, exponent = rsa_numbers.n.to_bytes(256), rsa_numbers.e.to_bytes(3)
            members = {"kty": "RSA", "n": b64(modulus), "e": b64(exponent)}
        else:
            point = public.public_numbers()
            x, y = point.x.to_bytes(32), point.y.to_bytes(32)
            members = {"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)}
        return {"kid": self.kid, "use": "sig", **members}

    def pem(self) -> bytes:
        """Give the public half as text, which a confused verifier may take for a shared secret."""
        public: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return public


@cache
def rsa_key(kid: str) -> Key:
    """Give an RSA key, the same for a name every time, as making one takes a while."""
    return Key(kid, rsa.generate_private_key(public_exponent=65537, key_size=2048))


@cache
def ec_key(kid: str) -> Key:
    """Give a key on P-256."""
    return Key(kid, ec.generate_private_key(ec.SECP256R1()))


def b64(raw: bytes) -> str:
    """Encode as JOSE does."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def rs256(key: Key, message: bytes) -> bytes:
    """Sign with RSA as most providers do."""
    signed: bytes = key.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return signed


def ps256(key: Key, message: bytes) -> bytes:
    """Sign with RSA-PSS."""
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    signed: bytes = key.private.sign(message, pss, hashes.SHA256())
    return signed


def es256(key: Key, message: bytes) -> bytes:
    """Sign with an elliptic curve."""
    r, s = decode_dss_signature(key.private.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def hs256_of_public_key(key: Key, message: bytes) -> bytes:
    """Forge: take the public key for a shared secret."""
    return hmac.digest(key.pem(), message, "sha256")


def hs256_of_published_key(key: Key, message: bytes) -> bytes:
    """Forge: take a shared secret that stands among the public keys."""
    return hmac.digest(PUBLISHED, message, "sha256")


def hs256_of_client_secret(key: Key, message: bytes) -> bytes:
    """Sign with the client's secret, which the standard allows and we do not."""
    return hmac.digest(SECRET.encode(), message, "sha256")


def unsigned(key: Key, message: bytes) -> bytes:
    """Do not sign at all."""
    return b""


class Provider:
    """Answers as a provider does; what is set on it changes the answers.

    The browser is left out: :meth:`let_in` takes the address that somebody is sent to and gives the
    query that they come back with.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.instead: dict[str, Answer] = {}
        """Answers by path."""
        self.discovery: dict[str, Any] = {}
        """Members of the discovery document to be changed; ``None`` leaves one out."""
        self.claims: dict[str, Any] = {}
        """Claims of the ID token to be changed; ``None`` leaves one out."""
        self.userinfo: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        """Members of the token answer to be changed; ``None`` leaves one out."""
        self.sign: Callable[[Key, bytes], bytes] = rs256
        self.key = rsa_key("first")
        self.published: list[Any] | None = None
        self.hold = threading.Event()
        """Where it is cleared, answers trickle and do not end."""
        self.hold.set()
        self.now: Callable[[], float] = time.time
        self._codes: dict[str, dict[str, str]] = {}
        self._access_token = secrets.token_urlsafe(16)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        if self._thread.is_alive():
            self.stop()

    def stop(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def let_in(self, address: str) -> dict[str, str]:
        """Let somebody in who comes with an address, and give the query that they go back with."""
        assert address.startswith(f"{self.issuer}/authorize?")
        asked = dict(parse_qsl(urlsplit(address).query, strict_parsing=True))
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def count(self, path: str) -> int:
        """Count the calls of a path."""
        return sum(call.path == path for call in self.calls)

    def answer(self, call: Call) -> Answer:
        """Answer a request."""
        self.calls.append(call)
        if call.path in self.instead:
            return self.instead[call.path]
        pages = {
            DISCOVERY: self._discovery,
            KEYS: self._jwks,
            TOKEN: self._token,
            USERINFO: self._info,
        }
        if call.path not in pages:
            return Answer(404)
        return pages[call.path](call)

    def _discovery(self, _: Call) -> Answer:
        return _json(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}{TOKEN}",
                "jwks_uri": f"{self.issuer}{KEYS}",
                "userinfo_endpoint": f"{self.issuer}{USERINFO}",
                **self.discovery,
            }
        )

    def _jwks(self, _: Call) -> Answer:
        return _json({"keys": [self.key.jwk()] if self.published is None else self.published})

    def _token(self, call: Call) -> Answer:
        form = {name: values[0] for name, values in parse_qs(call.body).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        if self._client(call, form) != (CLIENT, SECRET):
            return _json({"error": "invalid_client"}, 401)
        if asked is None or asked["redirect_uri"] != form["redirect_uri"]:
            return _json({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if asked["code_challenge_method"] != "S256" or asked["code_challenge"] != b64(digest):
            return _json({"error": "invalid_grant"}, 400)
        return _json(
            {
                "access_token": self._access_token,
                "token_type": "Bearer",
                "id_token": self._id_token(asked["nonce"]),
                **self.tokens,
            }
        )

    def _client(self, call: Call, form: dict[str, str]) -> tuple[str, str]:
        if "client_secret" in form:
            return form["client_id"], form["client_secret"]
        joined = base64.b64decode(call.headers["authorization"].removeprefix("Basic ")).decode()
        name, _, secret = joined.partition(":")
        return unquote_plus(name), unquote_plus(secret)

    def _id_token(self, nonce: str) -> str:
        now = int(self.now())
        claims = {
            "iss": self.issuer,
            "sub": "u-1",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": "ann@example.com",
            "groups": ["sms-operators"],
            **self.claims,
        }
        algorithm = self.sign.__name__.partition("_")[0].upper()
        alg = "none" if self.sign is unsigned else algorithm
        header = {"alg": alg, "kid": self.key.kid, **self.header}
        message = f"{_part(header)}.{_part(claims)}"
        return f"{message}.{b64(self.sign(self.key, message.encode()))}"

    def _info(self, call: Call) -> Answer:
        if call.headers.get("authorization") != f"Bearer {self._access_token}":
            return Answer(401)
        return _json({"sub": "u-1", **self.userinfo})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length).decode()
                answer = provider.answer(Call(self.command, self.path, headers, body))
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(answer.body[:1])
                    while not provider.hold.wait(0.02):
                        self.wfile.write(b" ")
                    self.wfile.write(answer.body[1:])
                except OSError:
                    self.close_connection = True  # who asked has had enough

            def do_POST(self) -> None:
                self.do_GET()

            def do_CONNECT(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _json(members: dict[str, Any], status: int = 200) -> Answer:
    kept = {name: value for name, value in members.items() if value is not None}
    return Answer(status, json.dumps(kept).encode())


def _part(members: dict[str, Any]) -> str:
    kept = {name: value for name, value in members.items() if value is not None}
    return b64(json.dumps(kept).encode())
