"""A tenant's document -> :class:`Tenant`: its Twilio account, its defaults, and who may call for it."""

from __future__ import annotations

import re
from typing import Literal, NewType
from urllib.parse import urlsplit

import msgspec
import phonenumbers

from ci360_twilio.core.ci360 import Ci360, Ci360Document, parse_ci360
from ci360_twilio.core.e164 import PUNCTUATION
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.report import Outcome
from ci360_twilio.errors import BadTenantId, Issue, TenantBroken

TenantId = NewType("TenantId", str)

RECIPIENT_LIMIT = 20
"""Messages to one recipient in a day, where the tenant does not say: it ends loops of replies."""

_TENANT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_GROUP = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ACCOUNT = re.compile(r"AC[0-9A-Za-z]{1,64}")
_MESSAGES = re.compile(r"/2010-04-01/Accounts/(?P<account>[0-9A-Za-z]+)/Messages(?:\.json)?")
_TWILIO_HOST = re.compile(r"(?:[a-z0-9-]+\.)+twilio\.com", re.IGNORECASE | re.ASCII)


def parse_tenant_id(value: object) -> TenantId:
    """Check a tenant id before it touches a path, a secret's name or a query.

    Raises:
        BadTenantId: it is not 1-64 letters, digits, ``_`` or ``-``.
    """
    if isinstance(value, str) and _TENANT_ID.fullmatch(value):
        return TenantId(value)
    words = "missing" if value in (None, "") else "must be 1 to 64 letters, digits, _ or -"
    raise BadTenantId("externalTenantId is not usable.", Issue("externalTenantId", words))


class Basic(msgspec.Struct, frozen=True, kw_only=True):
    """A user name and password that CI360 presents."""

    username: str
    password: str


class Jwt(msgspec.Struct, frozen=True, kw_only=True):
    """How to verify a JWT that CI360 presents; the algorithm is pinned, ``exp`` required."""

    algorithm: Literal[
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA"
    ]
    key: str
    issuer: str | None = None
    audience: str | None = None
    require_exp: bool = True


class _Document(Ci360Document, frozen=True, kw_only=True):
    """The document as it is written; unknown keys belong to later versions."""

    twilio_api_url: str
    twilio_account_sid: str
    twilio_auth_token: str
    twilio_api_key_sid: str | None = None
    twilio_api_key_secret: str | None = None
    default_sender: str | None = None
    default_region: str | None = None
    recipient_from: Literal["creative", "attributes"] | None = None
    recipient_check: Literal["possible", "valid"] | None = None
    retention_days: float | None = None
    twilio_auth_tokens: tuple[str, ...] | None = None
    twilio_webhook_keys: dict[str, str] | None = None
    sender_rates: dict[str, float] | None = None
    unknown_after_deadline: Literal["hold", "resend"] | None = None
    messages_per_hour: int | None = None
    messages_per_recipient_per_day: int | None = None
    countries: tuple[str, ...] | None = None
    api_keys: tuple[str, ...] | None = None
    basic: Basic | None = None
    bearer_tokens: tuple[str, ...] | None = None
    jwt: Jwt | None = None
    opt_out_words: tuple[str, ...] | None = None
    consent_groups: dict[str, tuple[str, ...]] | None = None


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One CI360 tenant and the Twilio account that sends for it.

    ``messages_url`` is the whole address messages are posted to. ``user`` and ``password`` are the
    API key where the document has one, else the account and its token.
    """

    id: TenantId
    messages_url: str
    account: str
    user: str
    password: str
    default_sender: str | None = None
    default_region: str | None = None
    recipient_from: Literal["creative", "attributes"] = "creative"
    recipient_check: Literal["possible", "valid"] = "possible"
    retention_days: float = 90.0
    webhook_tokens: tuple[str, ...] = ()
    """Auth tokens that may have signed a webhook; the account's own first."""
    webhook_keys: dict[str, str] = {}
    """Shared keys that may have signed a webhook, by their id."""
    sender_rates: dict[str, Rate] = {}
    """How fast a sender may send, by sender; senders that are not named are not paced."""
    unknown_after_deadline: Literal["hold", "resend"] = "hold"
    messages_per_hour: int | None = None
    """More than these pause the tenant."""
    messages_per_recipient_per_day: int | None = RECIPIENT_LIMIT
    """More than these in 24 hours are suppressed; no limit where there is none."""
    countries: frozenset[str] | None = None
    """Countries of recipients, by two letters; any where there are none named."""
    api_keys: tuple[str, ...] = ()
    basic: Basic | None = None
    bearer_tokens: tuple[str, ...] = ()
    jwt: Jwt | None = None
    ci360: Ci360 | None = None
    """How outcomes reach CI360; they do not where there is none."""
    opt_out_words: tuple[str, ...] = ()
    """Words of the tenant's own that a customer opts out by, besides Twilio's."""
    consent_groups: dict[str, str] = {}
    """The group of a sender, for which a customer's wish counts alone; else it counts for all."""

    @property
    def tells(self) -> tuple[Outcome, ...]:
        """What of its messages CI360 is told."""
        return self.ci360.tells if self.ci360 else ()

    def group_of(self, *senders: str | None) -> str | None:
        """Give the group of the first of these senders that is in one."""
        groups = (self.consent_groups.get(sender) for sender in senders if sender)
        return next((group for group in groups if group is not None), None)

    @property
    def has_credentials(self) -> bool:
        """Whether callers must present something."""
        return bool(self.api_keys or self.basic or self.bearer_tokens or self.jwt)


def parse_tenant(
    document: bytes | str,
    tenant_id: TenantId,
    hosts: tuple[str, ...] = (),
    ci360_hosts: tuple[str, ...] = (),
) -> Tenant:
    """Read a tenant's document.

    Args:
        document: the JSON of the file or the secret. ``null`` and ``""`` are as if absent.
        tenant_id: whose document it is.
        hosts: hosts (with port) that may be called besides ``*.twilio.com``.
        ci360_hosts: the same besides ``*.ci360.sas.com``.

    Raises:
        TenantBroken: it cannot be used; the issues name each field, never its value.
    """
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _broken(Issue("document", "is not JSON")) from None
    if not isinstance(raw, dict):
        raise _broken(Issue("document", "is not a JSON object"))
    present = {key: value for key, value in raw.items() if value not in (None, "")}
    try:
        parsed = msgspec.convert(present, _Document)
    except msgspec.ValidationError as exc:
        raise _broken(_issue(exc)) from None
    issues: list[Issue] = []
    ci360 = parse_ci360(parsed, tenant_id, ci360_hosts, issues)
    return _checked(parsed, tenant_id, hosts, ci360, issues)


def _checked(
    doc: _Document,
    tenant_id: TenantId,
    hosts: tuple[str, ...],
    ci360: Ci360 | None,
    issues: list[Issue],
) -> Tenant:
    if not _ACCOUNT.fullmatch(doc.twilio_account_sid):
        issues.append(Issue("twilio_account_sid", "must be AC and 32 hexadecimal digits"))
    if (doc.twilio_api_key_sid is None) != (doc.twilio_api_key_secret is None):
        issues.append(Issue("twilio_api_key_sid", "needs twilio_api_key_secret, and the reverse"))
    if doc.retention_days is not None and not 0 < doc.retention_days <= 36_500:
        issues.append(Issue("retention_days", "must be over 0 and at most 36,500"))
    region = doc.default_region
    if region is not None and region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        issues.append(
            Issue("default_region", "must be a country's two-letter code, such as US or GB")
        )
    for name, keys in (("api_keys", doc.api_keys), ("bearer_tokens", doc.bearer_tokens)):
        if not all(keys or ()):
            issues.append(Issue(name, "holds an empty one"))
    if doc.basic is not None and not (doc.basic.username and doc.basic.password):
        issues.append(Issue("basic", "needs a username and a password"))
    if doc.jwt is not None and not doc.jwt.key:
        issues.append(Issue("jwt.key", "is empty"))
    rates = _sender_rates(doc.sender_rates or {}, tenant_id, issues)
    groups = _consent_groups(doc.consent_groups or {}, issues)
    if not all(any(map(str.isalnum, word)) for word in doc.opt_out_words or ()):
        issues.append(Issue("opt_out_words", "holds one without a letter or digit"))
    issues.extend(_limit_issues(doc))
    url = _messages_url(doc, hosts, issues)
    if issues:
        raise _broken(*issues)
    return Tenant(
        id=tenant_id,
        messages_url=url,
        account=doc.twilio_account_sid,
        user=doc.twilio_api_key_sid or doc.twilio_account_sid,
        password=doc.twilio_api_key_secret or doc.twilio_auth_token,
        default_sender=doc.default_sender,
        default_region=doc.default_region and doc.default_region.upper(),
        recipient_from=doc.recipient_from or "creative",
        recipient_check=doc.recipient_check or "possible",
        retention_days=doc.retention_days or 90.0,
        webhook_tokens=(doc.twilio_auth_token, *(doc.twilio_auth_tokens or ())),
        webhook_keys=doc.twilio_webhook_keys or {},
        sender_rates=rates,
        unknown_after_deadline=doc.unknown_after_deadline or "hold",
        messages_per_hour=doc.messages_per_hour,
        messages_per_recipient_per_day=_recipient_limit(doc.messages_per_recipient_per_day),
        countries=frozenset(map(str.upper, doc.countries)) if doc.countries else None,
        api_keys=doc.api_keys or (),
        basic=doc.basic,
        bearer_tokens=doc.bearer_tokens or (),
        jwt=doc.jwt,
        ci360=ci360,
        opt_out_words=doc.opt_out_words or (),
        consent_groups=groups,
    )


def _consent_groups(groups: dict[str, tuple[str, ...]], issues: list[Issue]) -> dict[str, str]:
    """Give each sender its group."""
    found: dict[str, str] = {}
    for group, senders in groups.items():
        spelled = [_spelled(sender) for sender in senders if sender.strip()]
        if not _GROUP.fullmatch(group) or not spelled:
            words = "takes names of 1 to 64 letters, digits, _ or -, each with its senders"
            issues.append(Issue("consent_groups", words))
        if found.keys() & set(spelled) or len(set(spelled)) < len(spelled):
            issues.append(Issue("consent_groups", "names a sender twice"))
        found |= dict.fromkeys(spelled, group)
    return found


def _sender_rates(
    rates: dict[str, float], tenant_id: TenantId, issues: list[Issue]
) -> dict[str, Rate]:
    """Give each sender its budget; senders that stand together, separated by commas, share one."""
    found: dict[str, Rate] = {}
    for names, per_second in rates.items():
        senders = [_spelled(name) for name in names.split(",") if name.strip()]
        if not senders or not 0.01 <= per_second <= 10_000:
            words = "takes senders and their segments per second, from 0.01 to 10,000"
            issues.append(Issue("sender_rates", words))
            continue
        rate = Rate(f"{tenant_id}/{senders[0]}", per_second)
        if found.keys() & set(senders) or len(set(senders)) < len(senders):
            issues.append(Issue("sender_rates", "names a sender twice"))
        found |= dict.fromkeys(senders, rate)
    return found


def _spelled(sender: str) -> str:
    """Write a sender as messages have it: numbers without what people put between digits."""
    sender = sender.strip()
    return PUNCTUATION.sub("", sender) if "+" in sender else sender


def _limit_issues(doc: _Document) -> list[Issue]:
    issues = []
    if doc.messages_per_hour is not None and doc.messages_per_hour < 1:
        issues.append(Issue("messages_per_hour", "must be at least 1"))
    if (doc.messages_per_recipient_per_day or 0) < 0:
        issues.append(Issue("messages_per_recipient_per_day", "must be at least 1, or 0 for none"))
    supported = phonenumbers.SUPPORTED_REGIONS
    if not all(country.upper() in supported for country in doc.countries or ()):
        issues.append(Issue("countries", "must be two-letter codes, such as US or GB"))
    for name, keys in (
        ("twilio_auth_tokens", doc.twilio_auth_tokens or ()),
        ("twilio_webhook_keys", [*(doc.twilio_webhook_keys or {}).values()]),
    ):
        if not all(keys):
            issues.append(Issue(name, "holds an empty one"))
    return issues


def _recipient_limit(said: int | None) -> int | None:
    return RECIPIENT_LIMIT if said is None else said or None


def _messages_url(doc: _Document, hosts: tuple[str, ...], issues: list[Issue]) -> str:
    """Complete and check the address: only Twilio's hosts and those the settings allow."""
    try:
        url = urlsplit(doc.twilio_api_url.strip())
        host, port = (url.hostname or "").lower(), url.port
    except ValueError:
        issues.append(Issue("twilio_api_url", "is not an address"))
        return ""
    scheme = url.scheme.lower()
    default = port is None or port == {"https": 443, "http": 80}.get(scheme)
    spelled = {url.netloc.lower(), host} if default else {url.netloc.lower()}
    allowed = spelled & {entry.lower() for entry in hosts}
    if not allowed and not (_TWILIO_HOST.fullmatch(host) and port in (None, 443)):
        words = "host is neither *.twilio.com nor named in CI360_TWILIO_TWILIO_HOSTS"
        issues.append(Issue("twilio_api_url", words))
    if scheme != "https" and not (scheme == "http" and allowed):
        issues.append(Issue("twilio_api_url", "must be https"))
    if "@" in url.netloc or url.query or url.fragment:
        issues.append(Issue("twilio_api_url", "must hold no user, query or fragment"))
    path = url.path.rstrip("/") or f"/2010-04-01/Accounts/{doc.twilio_account_sid}/Messages.json"
    messages = _MESSAGES.fullmatch(path)
    if messages is None:
        words = "path must be /2010-04-01/Accounts/AC.../Messages.json, or nothing"
        issues.append(Issue("twilio_api_url", words))
    elif messages["account"] != doc.twilio_account_sid:
        issues.append(Issue("twilio_api_url", "account in the path is not twilio_account_sid"))
    return f"{scheme}://{url.netloc}{path.removesuffix('.json')}.json"


def _broken(*issues: Issue) -> TenantBroken:
    listed = "; ".join(f"{issue.field}: {issue}" for issue in issues)
    return TenantBroken(f"The tenant's document cannot be used: {listed}.", *issues)


def _issue(exc: msgspec.ValidationError) -> Issue:
    """Turn msgspec's words into an issue; they name types and paths, never values."""
    words, _, path = str(exc).partition(" - at `$")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", words)
    if missing:
        return Issue(missing[1], "is missing")
    if words.startswith("Invalid enum value"):
        words = "is not one of the allowed values"
    return Issue(path.strip("`.") or "document", words)
