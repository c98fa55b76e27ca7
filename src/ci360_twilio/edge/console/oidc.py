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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus, urlsplit

from ci360_twilio.edge.console.provider import (
    AWAY,
    KEYS_REST_SECONDS,
    MOST_BYTES,
    UNUSABLE,
    Announced,
    Provider,
    SignInRefused,
    is_plain,
    is_safe,
)
from ci360_twilio.errors import Issue, SettingsError
from ci360_twilio.ports import Clock
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:  # an extra: the module is read without it
    from joserfc.jwk import KeySet
    from joserfc.jwt import Token

SESSION_KEY = "oidc"
"""Where a session keeps the attempts that were begun in it: by state, as JSON has it."""
ATTEMPT_SECONDS = 600
"""How long somebody may take to sign in at the provider."""
MOST_ATTEMPTS = 5
"""Attempts that one session keeps, such as those of several tabs; the oldest give way."""
LEEWAY_SECONDS = 60
"""How far the provider's clock may be from ours."""
ALGORITHMS = ("RS256", "ES256", "PS256")
"""How an ID token may be signed: by a key that only the provider has."""
MOST_NAME, MOST_SUBJECT, MOST_GROUP, MOST_CODE = 200, 255, 256, 8192
"""Characters."""

_BEGIN_AGAIN = (
    "This sign-in was not begun here, is over, or took more than 10 minutes; begin again."
)
_DECLINED = "The identity provider did not let you in; ask who administers it."
_SAID = {
    "access_denied": "The sign-in was cancelled, or you may not use this application.",
    "temporarily_unavailable": AWAY,
    "server_error": AWAY,
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


class SignedIn(NamedTuple):
    """Somebody whom the provider vouches for."""

    subject: str
    """What tells people apart: the issuer gives it to nobody else."""
    name: str
    """What people call them: for showing only, as others may be called the same."""
    groups: tuple[str, ...]


class Oidc:
    """Signs people in at one provider. For one event loop at a time."""

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
        self._provider = Provider(settings.issuer, clock)
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

        provider = await self._provider.announced()
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
            raise SignInRefused(UNUSABLE, reason="other_issuer")
        if "error" in query:
            said = query["error"]
            reason = said if said in _SAID else "provider_error"
            raise SignInRefused(_SAID.get(said, UNUSABLE), reason=reason)
        code = query.get("code", "")
        if not is_plain(code, MOST_CODE):
            raise SignInRefused(UNUSABLE, reason="no_code")
        provider = await self._provider.announced()
        if provider.names_itself and "iss" not in query:
            raise SignInRefused(UNUSABLE, reason="other_issuer")
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

    async def _exchange(self, provider: Announced, code: str, verifier: str) -> dict[str, Any]:
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
            return await self._provider.ask("token", "POST", provider.token, data=form)
        # RFC 6749, section 2.3.1: both are encoded as in a form before they are joined
        login = quote_plus(us[0]), quote_plus(us[1])
        return await self._provider.ask("token", "POST", provider.token, data=form, auth=login)

    async def _claims(
        self, provider: Announced, tokens: Mapping[str, Any], nonce: str
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
            raise SignInRefused(UNUSABLE, reason=f"id_token_{exc.claim}") from exc
        except Exception as exc:  # a claim of a type that the library does not expect
            raise SignInRefused(UNUSABLE, reason="id_token") from exc
        if not is_plain(claims["sub"], MOST_SUBJECT):
            raise SignInRefused(UNUSABLE, reason="id_token_sub")
        return dict(claims)

    async def _verified(self, provider: Announced, id_token: object) -> Token:
        """Give an ID token whose signature is right; its claims are not looked at.

        Keys are fetched once more where it names one that is not known, unless they are fresh.
        """
        from joserfc.errors import InvalidKeyIdError

        if not isinstance(id_token, str):
            raise SignInRefused(UNUSABLE, reason="id_token_missing")
        try:
            try:
                return _decode(id_token, await self._provider.keys(provider))
            except InvalidKeyIdError:
                return _decode(id_token, await self._provider.keys(provider, KEYS_REST_SECONDS))
        except InvalidKeyIdError as exc:
            raise SignInRefused(UNUSABLE, reason="id_token_key") from exc
        except SignInRefused:
            raise
        except Exception as exc:  # whatever libraries make of a text that may be anything
            raise SignInRefused(UNUSABLE, reason="id_token_signature") from exc

    async def _signed_in(
        self, provider: Announced, tokens: Mapping[str, Any], claims: dict[str, Any]
    ) -> SignedIn:
        """Read name and groups, from userinfo where the ID token lacks one of them."""
        wanted = self._settings.name_claim, self._settings.groups_claim
        info: dict[str, Any] = {}
        if provider.userinfo and not all(name in claims for name in wanted):
            access_token = tokens.get("access_token")
            if not is_plain(access_token, MOST_BYTES):
                raise SignInRefused(UNUSABLE, reason="access_token")
            bearer = {"Authorization": f"Bearer {access_token}"}
            info = await self._provider.ask("userinfo", "GET", provider.userinfo, headers=bearer)
            if info.get("sub") != claims["sub"]:
                raise SignInRefused(UNUSABLE, reason="userinfo_sub")
        names, groups = (claims if name in claims else info for name in wanted)
        return SignedIn(
            subject=claims["sub"],
            name=_name(names, self._settings.name_claim) or claims["sub"],
            groups=_groups(groups.get(self._settings.groups_claim)),
        )


def _issues(settings: OidcSettings, redirect_uri: str) -> Iterable[Issue]:
    """List what is wrong with the settings."""
    if not is_safe(settings.issuer) or urlsplit(settings.issuer).query:
        yield Issue("issuer", "must be an https address without query, or on loopback")
    if not is_safe(redirect_uri):
        yield Issue("redirect_uri", "must be an https address, or on loopback")
    if not settings.client_id:
        yield Issue("client_id", "is missing")
    if not settings.client_secret:
        yield Issue("client_secret", "is missing")
    if "openid" not in settings.scopes:
        yield Issue("scopes", "must have openid among them")


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
