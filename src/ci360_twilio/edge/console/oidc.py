"""Sign-in by OpenID Connect: the authorization code flow, with PKCE, state and nonce.

::

    begin ──► the browser goes to the provider, and comes back with a code ──► finish
                                                                                 │
        discovery (kept an hour) ──► code for tokens ──► ID token checked ──► userinfo, where
                                                          against the keys     a claim is missing

Whatever goes wrong is a :class:`SignInRefused`. Neither its message nor its reason holds anything of a
code, a token, a claim or a secret.

Sources: OpenID Connect Core 1.0, sections 3.1 and 5.3; OpenID Connect Discovery 1.0, section 4;
RFC 6749, section 2.3.1; RFC 7636 (PKCE); RFC 9207 (``iss`` in the answer).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard
from urllib.parse import quote_plus, urlsplit

import msgspec

from ci360_twilio.clients.connections import proxy_of
from ci360_twilio.core.person import Role
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.http import is_loopback
from ci360_twilio.errors import Issue, SettingsError
from ci360_twilio.ports import Clock
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:  # an extra: the module is read without it
    import httpx
    from joserfc.jwk import KeySet
    from joserfc.jwt import Token

SESSION_KEY = "oidc"
"""Where a session keeps the attempts that were begun in it: by state, as JSON has it."""
ATTEMPT_SECONDS = 600
"""How long somebody may take to sign in at the provider."""
MOST_ATTEMPTS = 5
"""Attempts that one session keeps, such as those of several tabs; the oldest give way."""
CALL_SECONDS = 5.0
"""How long one call to the provider may take from its beginning to its end."""
MOST_BYTES = 262_144
"""Bytes of a provider's answer that are read."""
DISCOVERY_SECONDS = 3600
KEYS_SECONDS = 3600
KEYS_REST_SECONDS = 30
"""How long the keys rest after they were fetched, even if a token names one that is not known."""
LEEWAY_SECONDS = 60
"""How far the provider's clock may be from ours."""
ALGORITHMS = ("RS256", "ES256", "PS256")
"""How an ID token may be signed: by a key that only the provider has."""
MOST_NAME, MOST_SUBJECT, MOST_GROUP, MOST_CODE = 200, 255, 256, 8192
"""Characters."""

_BEGIN_AGAIN = (
    "This sign-in was not begun here, is over, or took more than 10 minutes; begin again."
)
_AWAY = "The identity provider cannot be reached just now; try again in a minute."
_UNUSABLE = (
    "The identity provider's answer cannot be used; the console's administrator must look into it."
)
_DECLINED = "The identity provider did not let you in; ask who administers it."
_SAID = {
    "access_denied": "The sign-in was cancelled, or you may not use this application.",
    "temporarily_unavailable": _AWAY,
    "server_error": _AWAY,
    "login_required": _DECLINED,
    "interaction_required": _DECLINED,
    "consent_required": _DECLINED,
    "account_selection_required": _DECLINED,
}
"""What the errors mean that a provider sends people back with (Core, section 3.1.2.6)."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """What is agreed with the provider."""

    issuer: str
    """As the provider's discovery document names it, to the letter."""
    client_id: str
    client_secret: str = field(repr=False)
    groups_claim: str = "groups"
    name_claim: str = "email"
    scopes: tuple[str, ...] = ("openid", "email", "profile")


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the members of one of the provider's groups may do here."""

    role: Role
    tenants: tuple[TenantId, ...] | None = None
    """Whose messages they see; ``None`` for all tenants'."""


class SignedIn(NamedTuple):
    """Somebody whom the provider vouches for."""

    subject: str
    """What tells people apart: the issuer gives it to nobody else."""
    name: str
    """What people call them: for showing only, as others may be called the same."""
    groups: tuple[str, ...]


class SignInRefused(Exception):
    """Nobody is signed in; the message is for whoever tried, ``reason`` is for the log."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class _Provider(NamedTuple):
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


def map_groups(groups: Iterable[str], table: Mapping[str, Group]) -> Group | None:
    """Give the one role and the tenants of somebody in several groups; ``None`` if nothing fits.

    The role is the highest that any of the groups gives. The tenants are those for which a group gives
    that role, and no others: who is operator of one tenant and viewer of another becomes operator of
    the first, and does not see the second. A group of no tenants gives nothing.
    """
    fitting = [table[name] for name in {*groups} if name in table and table[name].tenants != ()]
    if not fitting:
        return None
    order = [*Role]
    role = max((group.role for group in fitting), key=order.index)
    tenants: set[TenantId] = set()
    for group in fitting:
        if group.role == role:
            if group.tenants is None:
                return Group(role)
            tenants.update(group.tenants)
    return Group(role, tuple(sorted(tenants)))


class Oidc:
    """Signs people in at one provider. For one event loop at a time; it keeps no connection open."""

    def __init__(
        self, settings: OidcSettings, redirect_uri: str, *, clock: Clock = utc_now
    ) -> None:
        """Make it; nothing is fetched yet.

        Args:
            settings: what is agreed with the provider.
            redirect_uri: where the provider sends people back to; it must be registered there.
            clock: gives the present moment.

        Raises:
            SettingsError: the settings cannot work, or the ``oidc`` extra is not installed.
        """
        try:
            import authlib  # type: ignore[import-untyped]  # noqa: F401
            import httpx  # noqa: F401
            import joserfc  # noqa: F401
        except ImportError as exc:
            words = "Sign-in needs the extra: pip install 'ci360-twilio-connector[oidc]'"
            raise SettingsError(words) from exc
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._provider: tuple[_Provider, float] | None = None
        self._keys: _Keys | None = None
        issues = [*_issues(settings, redirect_uri)]
        if issues:
            raise SettingsError("Sign-in by OpenID Connect is not set up.", *issues)

    async def begin(self, session: dict[str, Any]) -> str:
        """Begin an attempt and give the address that the browser is sent to.

        What must be known when it comes back is kept in the session, which must stay on this side.

        Raises:
            SignInRefused: the provider is away, or says what cannot be used.
        """
        from authlib.oauth2.rfc6749.parameters import (  # type: ignore[import-untyped]
            prepare_grant_uri,
        )
        from authlib.oauth2.rfc7636 import (  # type: ignore[import-untyped]
            create_s256_code_challenge,
        )

        provider = await self._discover()
        state, nonce, verifier = token_urlsafe(32), token_urlsafe(32), token_urlsafe(48)
        attempt = {"nonce": nonce, "verifier": verifier, "until": self._now() + ATTEMPT_SECONDS}
        others = [*session.get(SESSION_KEY, {}).items()][1 - MOST_ATTEMPTS :]
        session[SESSION_KEY] = {**dict(others), state: attempt}
        address: str = prepare_grant_uri(
            provider.authorization,
            self._settings.client_id,
            "code",
            redirect_uri=self._redirect_uri,
            scope=" ".join(self._settings.scopes),
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return address

    async def finish(self, session: dict[str, Any], query: Mapping[str, str]) -> SignedIn:
        """Take somebody back who comes from the provider, and tell who it is.

        The attempt is over in any case: the session is to be kept whether or not this raises.

        Raises:
            SignInRefused: nobody is signed in.
        """
        attempt = self._take(session, query.get("state", ""))
        if query.get("iss", self._settings.issuer) != self._settings.issuer:
            raise SignInRefused(_UNUSABLE, reason="other_issuer")
        if "error" in query:
            said = query["error"]
            reason = said if said in _SAID else "provider_error"
            raise SignInRefused(_SAID.get(said, _UNUSABLE), reason=reason)
        code = query.get("code", "")
        if not _is_plain(code, MOST_CODE):
            raise SignInRefused(_UNUSABLE, reason="no_code")
        provider = await self._discover()
        if provider.names_itself and "iss" not in query:
            raise SignInRefused(_UNUSABLE, reason="other_issuer")
        tokens = await self._exchange(provider, code, attempt["verifier"])
        claims = await self._claims(provider, tokens, attempt["nonce"])
        return await self._signed_in(provider, tokens, claims)

    def _now(self) -> float:
        return self._clock().timestamp()

    def _take(self, session: dict[str, Any], state: str) -> dict[str, Any]:
        """Take an attempt out of the session, for good, and those with it whose time is over."""
        attempts: dict[str, dict[str, Any]] = {**session.pop(SESSION_KEY, {})}
        attempt = attempts.pop(state, None)
        now = self._now()
        left = {name: other for name, other in attempts.items() if now < other["until"]}
        if left:
            session[SESSION_KEY] = left
        if attempt is None or now >= attempt["until"]:
            raise SignInRefused(_BEGIN_AGAIN, reason="state")
        return attempt

    async def _discover(self) -> _Provider:
        """Give what the provider says of itself, an hour old at most."""
        now = self._now()
        if self._provider is None or now >= self._provider[1]:
            address = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self._ask("discovery", "GET", address)
            provider = _provider_of(found, self._settings.issuer)
            self._provider = provider, now + DISCOVERY_SECONDS
        return self._provider[0]

    async def _exchange(self, provider: _Provider, code: str, verifier: str) -> dict[str, Any]:
        """Give the tokens for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        us = self._settings.client_id, self._settings.client_secret
        if not provider.takes_basic:
            form |= {"client_id": us[0], "client_secret": us[1]}
            return await self._ask("token", "POST", provider.token, data=form)
        # RFC 6749, section 2.3.1: both are encoded as in a form before they are joined
        login = quote_plus(us[0]), quote_plus(us[1])
        return await self._ask("token", "POST", provider.token, data=form, auth=login)

    async def _claims(
        self, provider: _Provider, tokens: Mapping[str, Any], nonce: str
    ) -> dict[str, Any]:
        """Give the claims of an ID token that is signed, meant for us, in time, and of this attempt."""
        from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
        from joserfc.errors import ClaimError, InvalidClaimError

        token = await self._verified(provider, tokens.get("id_token"))
        options = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
        }
        known = {
            "nonce": nonce,
            "client_id": self._settings.client_id,
            "access_token": tokens.get("access_token"),
        }
        claims, now = CodeIDToken(token.claims, token.header, options, known), self._now()
        try:
            claims.validate(now=int(now), leeway=LEEWAY_SECONDS)
            if (
                not claims["exp"] > now - LEEWAY_SECONDS
            ):  # NaN, to which joserfc 1.6 has no objection
                raise InvalidClaimError("exp")
        except ClaimError as exc:
            raise SignInRefused(_UNUSABLE, reason=f"id_token_{exc.claim}") from exc
        except Exception as exc:  # a claim of a type that the library does not expect
            raise SignInRefused(_UNUSABLE, reason="id_token") from exc
        if not _is_plain(claims["sub"], MOST_SUBJECT):
            raise SignInRefused(_UNUSABLE, reason="id_token_sub")
        return dict(claims)

    async def _verified(self, provider: _Provider, id_token: object) -> Token:
        """Give an ID token whose signature is right; its claims are not looked at.

        Keys are fetched once more where it names one that is not known, unless they are fresh.
        """
        from joserfc.errors import InvalidKeyIdError

        if not isinstance(id_token, str):
            raise SignInRefused(_UNUSABLE, reason="id_token_missing")
        try:
            try:
                return _decode(id_token, await self._fetch_keys(provider))
            except InvalidKeyIdError:
                return _decode(id_token, await self._fetch_keys(provider, KEYS_REST_SECONDS))
        except InvalidKeyIdError as exc:
            raise SignInRefused(_UNUSABLE, reason="id_token_key") from exc
        except SignInRefused:
            raise
        except Exception as exc:  # whatever libraries make of a text that may be anything
            raise SignInRefused(_UNUSABLE, reason="id_token_signature") from exc

    async def _fetch_keys(self, provider: _Provider, most_age: float = KEYS_SECONDS) -> KeySet:
        """Give the provider's keys, so many seconds old at most."""
        now = self._now()
        if self._keys is None or now - self._keys.fetched_at >= most_age:
            found = await self._ask("keys", "GET", provider.keys)
            self._keys = _Keys(_key_set(found), now)
        return self._keys.keys

    async def _signed_in(
        self, provider: _Provider, tokens: Mapping[str, Any], claims: dict[str, Any]
    ) -> SignedIn:
        """Read name and groups, from userinfo where the ID token lacks one of them."""
        wanted = self._settings.name_claim, self._settings.groups_claim
        info: dict[str, Any] = {}
        if provider.userinfo and not all(name in claims for name in wanted):
            access_token = tokens.get("access_token")
            if not _is_plain(access_token, MOST_BYTES):
                raise SignInRefused(_UNUSABLE, reason="access_token")
            bearer = {"Authorization": f"Bearer {access_token}"}
            info = await self._ask("userinfo", "GET", provider.userinfo, headers=bearer)
            if info.get("sub") != claims["sub"]:
                raise SignInRefused(_UNUSABLE, reason="userinfo_sub")
        names, groups = (claims if name in claims else info for name in wanted)
        return SignedIn(
            subject=claims["sub"],
            name=_name(names, self._settings.name_claim) or claims["sub"],
            groups=_groups(groups.get(self._settings.groups_claim)),
        )

    async def _ask(self, step: str, method: str, address: str, **request: Any) -> dict[str, Any]:
        """Give the JSON object that the provider answers with."""
        status, body = await self._call(step, method, address, **request)
        if status != 200:
            words = _AWAY if status >= 500 else _UNUSABLE
            raise SignInRefused(words, reason=f"{step}_http_{status}")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise SignInRefused(_UNUSABLE, reason=f"{step}_not_json") from exc

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
                    raise SignInRefused(_UNUSABLE, reason=f"{step}_encoded")
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise SignInRefused(_UNUSABLE, reason=f"{step}_too_large")
                return answer.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as exc:
            raise SignInRefused(_AWAY, reason=f"{step}_away") from exc

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


def _issues(settings: OidcSettings, redirect_uri: str) -> Iterable[Issue]:
    """List what is wrong with the settings."""
    if not _is_safe(settings.issuer) or urlsplit(settings.issuer).query:
        yield Issue("issuer", "must be an https address without query, or on loopback")
    if not _is_safe(redirect_uri):
        yield Issue("redirect_uri", "must be an https address, or on loopback")
    if not settings.client_id:
        yield Issue("client_id", "is missing")
    if not settings.client_secret:
        yield Issue("client_secret", "is missing")
    if "openid" not in settings.scopes:
        yield Issue("scopes", "must have openid among them")


def _is_safe(address: object, *, on_loopback: bool = True) -> bool:
    """Tell whether something is an https address, or one on loopback where that is allowed."""
    if not _is_plain(address, 2048) or " " in address or "\\" in address:
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


def _provider_of(found: Mapping[str, Any], issuer: str) -> _Provider:
    """Read a discovery document; it must be the issuer's own, and name safe addresses only."""
    if found.get("issuer") != issuer:
        raise SignInRefused(_UNUSABLE, reason="discovery_issuer")
    on_loopback = is_loopback(urlsplit(issuer).hostname or "")
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    named = [name for name in (*needed, "userinfo_endpoint") if name in needed or found.get(name)]
    for name in named:
        if not _is_safe(found.get(name), on_loopback=on_loopback):
            raise SignInRefused(_UNUSABLE, reason=f"discovery_{name}")
    # what is not said is client_secret_basic (Discovery, section 3), which is also what clients
    # are registered for unless somebody says otherwise
    methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list):
        methods = []
    if "client_secret_basic" not in methods and "client_secret_post" not in methods:
        raise SignInRefused(_UNUSABLE, reason="discovery_auth_methods")
    return _Provider(
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
        raise SignInRefused(_UNUSABLE, reason="keys_none")
    return KeySet(keys)


def _decode(id_token: str, keys: KeySet) -> Token:
    """Check a signature; raises what the library raises, InvalidKeyIdError for an unknown key."""
    from joserfc import jwt
    from joserfc.jws import JWSRegistry

    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    return jwt.decode(id_token, keys, registry=registry)


def _name(source: Mapping[str, Any], claim: str) -> str | None:
    """Read what somebody is called; an e-mail address that is not verified is nobody's name."""
    # Cognito's userinfo says "true" where others say true
    if claim == "email" and source.get("email_verified", True) not in (True, "true"):
        return None
    name = source.get(claim)
    if not isinstance(name, str) or not name.isprintable() or len(name) > MOST_NAME:
        return None
    return name.strip() or None


def _groups(value: object) -> tuple[str, ...]:
    """Read the groups; a single one may stand without a list."""
    listed = value if isinstance(value, list) else [value]
    return tuple(
        one
        for one in listed
        if isinstance(one, str) and one.isprintable() and len(one) <= MOST_GROUP
    )


def _is_plain(value: object, most: int) -> TypeGuard[str]:
    """Tell whether something is a text of printable ASCII, and not too long."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= most
        and value.isascii()
        and value.isprintable()
    )
