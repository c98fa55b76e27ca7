"""Who may call for a tenant: what a request presents, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
import math
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import Issue, TenantBroken


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a request presents; every part is optional and hostile."""

    api_key: str | None = None
    basic: str | None = None
    """``user:password``, decoded; undecodable is ``""``, which fits nothing."""
    bearer: str | None = None

    @property
    def sent(self) -> bool:
        """Whether the request presents anything at all."""
        return bool(self.api_key or self.basic is not None or self.bearer)


NONE = Credentials()


def parse_credentials(headers: Mapping[str, str]) -> Credentials:
    """Read ``x-api-key`` and ``Authorization`` from headers with lower-case names."""
    api_key, authorization = headers.get("x-api-key"), headers.get("authorization")
    if not authorization:
        return Credentials(api_key=api_key) if api_key else NONE
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "basic":
        return Credentials(api_key=api_key, basic=_decode_basic(value.strip()))
    if scheme.lower() == "bearer":
        return Credentials(api_key=api_key, bearer=value.strip() or None, basic=None)
    return Credentials(api_key=api_key, basic="")


def fits(credentials: Credentials, tenant: Tenant, now: datetime) -> bool:
    """Tell whether any of what was presented belongs to the tenant.

    Raises:
        TenantBroken: the tenant wants a JWT and the ``jwt`` extra is not installed.
    """
    if credentials.api_key and _any_equal(credentials.api_key, tenant.api_keys):
        return True
    if credentials.basic and tenant.basic:
        wanted = f"{tenant.basic.username}:{tenant.basic.password}"
        if _any_equal(credentials.basic, (wanted,)):
            return True
    if not credentials.bearer:
        return False
    return _any_equal(credentials.bearer, tenant.bearer_tokens) or _jwt_fits(
        credentials.bearer, tenant, now
    )


def _any_equal(sent: str, wanted: Iterable[str]) -> bool:
    """Compare with each, always all of them, each in constant time."""
    mine = sent.encode(errors="surrogatepass")
    return sum(hmac.compare_digest(mine, one.encode()) for one in wanted) > 0


def _decode_basic(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _jwt_fits(token: str, tenant: Tenant, now: datetime) -> bool:
    rule = tenant.jwt
    if rule is None:
        return False
    try:
        import jwt  # an extra, and slow to import: only where a tenant asks for it
    except ImportError as exc:
        words = "needs the extra: pip install 'ci360-twilio-connector[jwt]'"
        raise TenantBroken("The tenant wants a JWT.", Issue("jwt", words)) from exc
    try:
        claims = jwt.decode(
            token,
            rule.key,
            algorithms=[rule.algorithm],
            issuer=rule.issuer,
            audience=rule.audience,
            options={
                "require": ["exp"] if rule.require_exp else [],
                "verify_aud": bool(rule.audience),
                # exp and nbf are checked below against the time we are told
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return _in_time(claims, now.timestamp())


def _in_time(claims: Mapping[str, object], now: float, leeway: float = 60.0) -> bool:
    """Check ``exp`` and ``nbf`` with a minute's leeway for clocks that differ."""
    until, since = claims.get("exp"), claims.get("nbf")
    for claim in (until, since):
        if claim is not None and (isinstance(claim, bool) or not isinstance(claim, int | float)):
            return False
        if isinstance(claim, float) and not math.isfinite(claim):
            return False
    return (not isinstance(until, int | float) or until > now - leeway) and (
        not isinstance(since, int | float) or since <= now + leeway
    )
