"""An OpenID Connect provider, as the console calls it: what it says of itself, its keys, its answers.

Calls are short, follow no redirect, and read no more than an answer may have. Sources: OpenID Connect
Discovery 1.0, section 4; RFC 9207 (``iss`` in the answer).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard
from urllib.parse import urlsplit

import msgspec

from ci360_twilio.clients.connections import proxy_of
from ci360_twilio.edge.http import is_loopback
from ci360_twilio.ports import Clock

if TYPE_CHECKING:  # an extra: the module is read without it
    import httpx
    from joserfc.jwk import KeySet

CALL_SECONDS = 5.0
"""How long one call to the provider may take from its beginning to its end."""
MOST_BYTES = 262_144
"""Bytes of a provider's answer that are read."""
DISCOVERY_SECONDS = 3600
KEYS_SECONDS = 3600
KEYS_REST_SECONDS = 30
"""How long the keys rest after they were fetched, even if a token names one that is not known."""

AWAY = "The identity provider cannot be reached just now; try again in a minute."
UNUSABLE = (
    "The identity provider's answer cannot be used; the console's administrator must look into it."
)


class SignInRefused(Exception):
    """Nobody is signed in; the message is for whoever tried, ``reason`` is for the log."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class Announced(NamedTuple):
    """What discovery has told."""

    authorization: str
    token: str
    keys: str
    userinfo: str | None
    takes_basic: bool
    names_itself: bool


class _Keys(NamedTuple):
    keys: KeySet
    fetched_at: float


class Provider:
    """One provider. For one event loop at a time; it keeps no connection open."""

    def __init__(self, issuer: str, clock: Clock) -> None:
        """Name it; nothing is fetched yet."""
        self._issuer = issuer
        self._clock = clock
        self._announced: tuple[Announced, float] | None = None
        self._keys: _Keys | None = None

    async def announced(self) -> Announced:
        """Give what the provider says of itself, an hour old at most."""
        now = self._clock().timestamp()
        if self._announced is None or now >= self._announced[1]:
            address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self.ask("discovery", "GET", address)
            provider = announced_of(found, self._issuer)
            self._announced = provider, now + DISCOVERY_SECONDS
        return self._announced[0]

    async def keys(self, provider: Announced, most_age: float = KEYS_SECONDS) -> KeySet:
        """Give the provider's keys, so many seconds old at most."""
        now = self._clock().timestamp()
        if self._keys is None or now - self._keys.fetched_at >= most_age:
            found = await self.ask("keys", "GET", provider.keys)
            self._keys = _Keys(_key_set(found), now)
        return self._keys.keys

    async def ask(self, step: str, method: str, address: str, **request: Any) -> dict[str, Any]:
        """Give the JSON object that the provider answers with."""
        status, body = await self._call(step, method, address, **request)
        if status != 200:
            words = AWAY if status >= 500 else UNUSABLE
            raise SignInRefused(words, reason=f"{step}_http_{status}")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise SignInRefused(UNUSABLE, reason=f"{step}_not_json") from exc

    async def _call(
        self, step: str, method: str, address: str, **request: Any
    ) -> tuple[int, bytes]:
        """Call the provider; no redirect is followed, and no more is read than an answer may have."""
        import httpx

        body = bytearray()
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._client(address) as client,
                client.stream(method, address, **request) as answer,
            ):
                if answer.headers.get("content-encoding", "identity").lower() != "identity":
                    raise SignInRefused(UNUSABLE, reason=f"{step}_encoded")
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise SignInRefused(UNUSABLE, reason=f"{step}_too_large")
                return answer.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as exc:
            raise SignInRefused(AWAY, reason=f"{step}_away") from exc

    def _client(self, address: str) -> httpx.AsyncClient:
        """Make a client for one call; https goes through ``HTTPS_PROXY`` where that is set."""
        import httpx

        parts = urlsplit(address)
        secure = parts.scheme == "https"
        proxy = proxy_of(parts.hostname or "") if secure else None
        return httpx.AsyncClient(
            verify=self._tls if secure else False,
            proxy=proxy.geturl() if proxy else None,
            trust_env=False,
            timeout=CALL_SECONDS,
            follow_redirects=False,
            # an answer that is not packed cannot grow while it is read
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def is_safe(address: object, *, on_loopback: bool = True) -> bool:
    """Tell whether something is an https address, or one on loopback where that is allowed."""
    if not is_plain(address, 2048) or " " in address or "\\" in address:
        return False
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc or "#" in address:
        return False
    if parts.scheme == "https":
        return True
    return parts.scheme == "http" and on_loopback and is_loopback(parts.hostname)


def announced_of(found: Mapping[str, Any], issuer: str) -> Announced:
    """Read a discovery document; it must be the issuer's own, and name safe addresses only."""
    if found.get("issuer") != issuer:
        raise SignInRefused(UNUSABLE, reason="discovery_issuer")
    on_loopback = is_loopback(urlsplit(issuer).hostname or "")
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    named = [name for name in (*needed, "userinfo_endpoint") if name in needed or found.get(name)]
    for name in named:
        if not is_safe(found.get(name), on_loopback=on_loopback):
            raise SignInRefused(UNUSABLE, reason=f"discovery_{name}")
    # what is not said is client_secret_basic (Discovery, section 3), which is also what clients
    # are registered for unless somebody says otherwise
    methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list):
        methods = []
    if "client_secret_basic" not in methods and "client_secret_post" not in methods:
        raise SignInRefused(UNUSABLE, reason="discovery_auth_methods")
    return Announced(
        authorization=found["authorization_endpoint"],
        token=found["token_endpoint"],
        keys=found["jwks_uri"],
        userinfo=found.get("userinfo_endpoint") or None,
        takes_basic="client_secret_basic" in methods,
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _key_set(found: Mapping[str, Any]) -> KeySet:
    """Read the keys that signatures may be checked with; others are passed over."""
    from joserfc.jwk import KeySet, import_key

    listed = found.get("keys")
    keys = []
    for data in listed if isinstance(listed, list) else []:
        if not isinstance(data, dict) or data.get("kty") not in ("RSA", "EC"):
            continue
        try:
            keys.append(import_key(data))
        except Exception:  # noqa: BLE001, S112 - one odd key does not spoil the others
            continue
    if not keys:
        raise SignInRefused(UNUSABLE, reason="keys_none")
    return KeySet(keys)


def is_plain(value: object, most: int) -> TypeGuard[str]:
    """Tell whether something is a text of printable ASCII, and not too long."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= most
        and value.isascii()
        and value.isprintable()
    )
