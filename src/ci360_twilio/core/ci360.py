"""A tenant's CI360: where its gateway is, how we are let in, and what it is told: :class:`Ci360`.

Addresses, claims and names are those that SAS's own samples use (sassoftware/ci360-extensions:
``ci360-scr-gateway``, ``ci-360-manage-contact-preferences``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from ci360_twilio.core.report import QUIET, Outcome
from ci360_twilio.errors import Issue

IDENTITY_KEYS = ("datahub_id", "subject_id", "customer_id", "login_id")
"""Identities that CI360 knows, in the order in which they are taken where the wished one is missing."""
EVENTS_PATH = "/marketingGateway/events"
FILE_REPORTS = 5_000
"""Reports in one file, and how many are counted at the most of what is due."""
BULK_THRESHOLD = 2_000
"""Reports of a tenant that are due at one time from which on they go as a file."""

_HOST = re.compile(r"(?:[a-z0-9-]+\.)+ci360\.sas\.com", re.IGNORECASE | re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ .\-]{0,99}")
_LONGEST_NAME = 256
"""Characters of an event's name (``EVENT_NM`` in CI360's data model)."""


class Ci360Document(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a tenant's document that concern CI360, as they are written."""

    ci360_api_url: str | None = None
    ci360_token: str | None = None
    ci360_client_secret: str | None = None
    ci360_events: dict[str, str | None] | None = None
    ci360_rtc_key: str | None = None
    ci360_identity_key: str | None = None
    ci360_reply_identity_key: str | None = None
    ci360_reply_identity_format: Literal["e164", "digits"] | None = None
    ci360_bulk_threshold: int | None = None
    ci360_application_id: str | None = None
    ci360_preferences_hours: float | None = None


class Ci360(msgspec.Struct, frozen=True, kw_only=True):
    """How a tenant's outcomes reach CI360."""

    events_url: str
    """The whole address of ``.../marketingGateway/events``."""
    bearer: str
    names: dict[Outcome, str]
    """The external event of each outcome that is told; the others are not."""
    rtc_key: str = "responseTrackingCode"
    identity_key: str = "datahub_id"
    reply_identity_key: str | None = None
    """The identity under which a reply is told whose customer is not known: its number."""
    reply_identity_format: Literal["e164", "digits"] = "e164"
    bulk_threshold: int = BULK_THRESHOLD
    """0: never as a file."""
    application_id: str = "ci360-twilio-connector"
    preferences_hours: float | None = None
    """How often CI360's contact preferences are pulled; not by itself where there is none."""

    @property
    def tells(self) -> tuple[Outcome, ...]:
        """The outcomes that are told, in the order of their definition."""
        return tuple(outcome for outcome in Outcome if outcome in self.names)

    @property
    def bulk_url(self) -> str:
        """Where an address for a file of events is asked for."""
        return f"{self.events_url.removesuffix('/events')}/bulkEventsFileLocation"

    @property
    def data_url(self) -> str:
        """The base of the addresses for contact preferences."""
        return f"{self.events_url.removesuffix(EVENTS_PATH)}/marketingData"


def default_name(outcome: Outcome) -> str:
    """Give the name of an outcome's external event, where the tenant has no other."""
    return f"twilio_sms_{outcome}"


def parse_ci360(
    doc: Ci360Document, tenant_id: str, hosts: tuple[str, ...], issues: list[Issue]
) -> Ci360 | None:
    """Read what a tenant's document says of CI360; ``None`` where it names no address.

    Args:
        doc: the members.
        tenant_id: the claim in the token.
        hosts: hosts (with port) that may be called besides ``*.ci360.sas.com``.
        issues: gets what is wrong, naming fields and never values.
    """
    if doc.ci360_api_url is None:
        return None
    url = _events_url(doc.ci360_api_url, hosts, issues)
    secret, token = doc.ci360_client_secret, doc.ci360_token
    if not (secret or token):
        words = "needs ci360_client_secret or ci360_token"
        issues.append(Issue("ci360_api_url", words))
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        issues.append(Issue("ci360_token", "is no token"))
    for name, key in (
        ("ci360_rtc_key", doc.ci360_rtc_key),
        ("ci360_identity_key", doc.ci360_identity_key),
        ("ci360_reply_identity_key", doc.ci360_reply_identity_key),
    ):
        if key is not None and not _NAME.fullmatch(key):
            issues.append(Issue(name, "is no name of an attribute"))
        elif key is not None and _is_taken(key):
            issues.append(Issue(name, "is the name of something else that is told"))
    rtc_key = doc.ci360_rtc_key or "responseTrackingCode"
    if rtc_key in (*IDENTITY_KEYS, doc.ci360_identity_key, doc.ci360_reply_identity_key):
        issues.append(Issue("ci360_rtc_key", "is the name of an identity"))
    if not 0 <= (doc.ci360_bulk_threshold or 0) <= FILE_REPORTS:
        words = f"must be 0 for never, or up to {FILE_REPORTS:,}"
        issues.append(Issue("ci360_bulk_threshold", words))
    hours = doc.ci360_preferences_hours
    if hours is not None and not 0.25 <= hours <= 8_760:
        issues.append(Issue("ci360_preferences_hours", "must be from 0.25 to 8,760"))
    return Ci360(
        events_url=url,
        bearer=token or bearer_of(tenant_id, secret or ""),
        names=_names(doc.ci360_events or {}, issues),
        rtc_key=rtc_key,
        identity_key=doc.ci360_identity_key or "datahub_id",
        reply_identity_key=doc.ci360_reply_identity_key,
        reply_identity_format=doc.ci360_reply_identity_format or "e164",
        bulk_threshold=(
            BULK_THRESHOLD if doc.ci360_bulk_threshold is None else doc.ci360_bulk_threshold
        ),
        application_id=doc.ci360_application_id or "ci360-twilio-connector",
        preferences_hours=hours,
    )


def bearer_of(tenant_id: str, secret: str) -> str:
    """Make the JWT of an access point: HS256, the tenant's id as its only claim, no expiry.

    Its key is the base64 of the client secret as text, not what that encodes.
    """
    key = base64.b64encode(secret.encode())
    head = _segment(b'{"alg":"HS256","typ":"JWT"}')
    claims = _segment(msgspec.json.encode({"clientID": tenant_id}))
    mac = hmac.digest(key, f"{head}.{claims}".encode(), hashlib.sha256)
    return f"{head}.{claims}.{_segment(mac)}"


def _is_taken(key: str) -> bool:
    """Tell whether a name is one of those that every event has."""
    return key in ("eventName", "externalCode") or key.startswith("twilio_")


def _segment(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def _names(given: Mapping[str, Any], issues: list[Issue]) -> dict[Outcome, str]:
    names = {one: default_name(one) for one in Outcome if one not in QUIET}
    known = {str(outcome): outcome for outcome in Outcome}
    for name, event in given.items():
        outcome = known.get(name)
        if outcome is None:
            words = f"names what is no outcome; there are {', '.join(Outcome)}"
            issues.append(Issue("ci360_events", words))
        elif event is None or event == "":
            names.pop(outcome, None)
        elif len(event) > _LONGEST_NAME or not event.isprintable() or not event.strip():
            words = f"has a name that is no text of up to {_LONGEST_NAME} characters"
            issues.append(Issue("ci360_events", words))
        else:
            names[outcome] = event
    return names


def _events_url(given: str, hosts: tuple[str, ...], issues: list[Issue]) -> str:
    """Check the address: only CI360's hosts and those that the settings allow."""
    try:
        url = urlsplit(given.strip())
        host, port = (url.hostname or "").lower(), url.port
    except ValueError:
        issues.append(Issue("ci360_api_url", "is not an address"))
        return ""
    default = port is None or port == {"https": 443, "http": 80}.get(url.scheme)
    spelled = {url.netloc.lower(), host} if default else {url.netloc.lower()}
    allowed = spelled & {entry.lower() for entry in hosts}
    if not allowed and not (_HOST.fullmatch(host) and port in (None, 443)):
        words = "host is neither *.ci360.sas.com nor named in CI360_TWILIO_CI360_HOSTS"
        issues.append(Issue("ci360_api_url", words))
    if url.scheme != "https" and not (url.scheme == "http" and allowed):
        issues.append(Issue("ci360_api_url", "must be https"))
    if "@" in url.netloc or url.query or url.fragment:
        issues.append(Issue("ci360_api_url", "must hold no user, query or fragment"))
    path = url.path.rstrip("/") or EVENTS_PATH
    if not path.endswith(EVENTS_PATH) or not _PATH.fullmatch(path):
        issues.append(Issue("ci360_api_url", f"path must end with {EVENTS_PATH}"))
    return f"{url.scheme}://{url.netloc}{path}"


_PATH = re.compile(r"[A-Za-z0-9_.~/\-]+")
