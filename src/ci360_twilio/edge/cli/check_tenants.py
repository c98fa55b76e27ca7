"""``check``: each tenant's document, and what Twilio, CI360 and the public address say to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ci360_twilio.clients.ci360 import Ci360Client
from ci360_twilio.clients.reach import reach
from ci360_twilio.clients.tenants import Folder
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.message import parse_sender
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant_id
from ci360_twilio.edge.cli.finding import Finding
from ci360_twilio.errors import Ci360Failed, ConnectorError, SendFailed, SettingsError, Trouble
from ci360_twilio.flow.addresses import OVERRIDES, inbound_address
from ci360_twilio.settings import Settings
from ci360_twilio.wiring import make_ci360, make_documents, make_tenants, utc_now

SKEW = 60.0
"""Seconds by which our clock may differ from Twilio's: dates of consents are compared across both."""


def look_at_tenants(
    settings: Settings, wanted: Sequence[str], *, offline: bool
) -> Iterator[Finding]:
    """Look at tenants; all that there are, if none is wanted and they can be listed."""
    try:
        documents, tenants = make_documents(settings), make_tenants(settings)
    except SettingsError as exc:
        yield Finding(False, "tenants", "none are set up", exc.message)
        return
    names = list(wanted) or (documents.ids() if isinstance(documents, Folder) else [])
    if not names:
        if isinstance(documents, Folder):
            advice = "Put a <tenant id>.json into the folder; docs/tenants.md shows one."
            yield Finding(False, "tenants", "the folder holds none", advice)
        else:
            advice = "Secrets cannot be listed; name the tenant: ci360-twilio check --tenant ID"
            yield Finding(True, "tenants", f"in Secrets Manager. {advice}")
        return
    found: list[Tenant] = []
    with closing(TwilioClient(connections=1)) as twilio, closing(make_ci360(settings)) as ci360:
        for name in names:
            subject = f"tenant {name}"
            try:
                tenant = tenants.get(parse_tenant_id(name))
            except ConnectorError as exc:
                yield Finding(False, subject, exc.message, "Correct the tenant's document.")
                continue
            found.append(tenant)
            yield from _look_at_document(subject, tenant, settings)
            if not offline:
                yield from _ask_twilio(subject, tenant, twilio, settings)
                yield from _ask_ci360(subject, tenant, ci360)
                yield from _call_ourselves(subject, tenant, settings)
    yield from _shared(found, settings)


def _look_at_document(subject: str, tenant: Tenant, settings: Settings) -> Iterator[Finding]:
    if tenant.default_sender and parse_sender(tenant.default_sender) is None:
        advice = "Use +E.164, a short code, a name of up to 11 characters or MG..."
        yield Finding(False, subject, "its default_sender is none Twilio knows", advice)
    if not all(parse_sender(name) == name for name in tenant.sender_rates):
        advice = "Write them as in FROM: +E.164, a short code, a name or MG..."
        yield Finding(False, subject, "its sender_rates name what is no sender", advice)
    if tenant.has_credentials:
        yield Finding(True, subject, "document is sound, and callers must present a credential")
    elif settings.public_url and not settings.authenticated_upstream:
        words = "has no credential for CI360 to present, so that it is answered 401"
        advice = "Add api_keys (docs/tenants.md), or say that a gateway in front checks callers."
        yield Finding(False, subject, words, advice)
    else:
        words = "document is sound; CI360 need present nothing, so it is served on loopback only"
        yield Finding(True, subject, words)
    if tenant.ci360 is None:
        words = "names no ci360_api_url: nothing is told to CI360, and no opt-out reaches it"
        yield Finding(True, subject, words)


def _senders(tenant: Tenant, settings: Settings) -> list[str]:
    """List the senders that are known from the document and the settings."""
    default = tenant.default_sender or settings.default_sender
    every = [default or "", *tenant.sender_rates, *tenant.consent_groups]
    return [sender for sender in dict.fromkeys(every) if parse_sender(sender)]


def _ask_twilio(
    subject: str, tenant: Tenant, client: TwilioClient, settings: Settings
) -> Iterator[Finding]:
    try:
        date = client.probe(tenant)
        yield Finding(True, subject, "Twilio lets it in")
        yield from _skew(date, utc_now())
        for sender in _senders(tenant, settings):
            if client.lookup_sender(tenant, sender) is False:
                words = f"sender {sender} is none of the account's numbers"
                yield Finding(False, subject, words, "Correct it, or the account.")
            elif settings.public_url is not None:
                yield from _look_at_webhook(subject, tenant, client, sender, settings.public_url)
    except SendFailed as exc:
        advice = (
            "Check account, token or API key in Twilio's console, and the way out (HTTPS_PROXY)."
        )
        yield Finding(False, subject, f"{exc.message} ({exc.reason})", advice)


def _skew(date: str | None, now: datetime) -> Iterator[Finding]:
    """Compare our clock with that of whoever answered just now."""
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return
    there = there if there.tzinfo else there.replace(tzinfo=UTC)
    seconds = (now - there).total_seconds()
    if abs(seconds) > SKEW:
        words = f"is {abs(seconds):,.0f} seconds {'ahead of' if seconds > 0 else 'behind'} Twilio's"
        yield Finding(False, "clock", words, "Have it set by NTP: events and consents go by dates.")


def _look_at_webhook(
    subject: str, tenant: Tenant, client: TwilioClient, sender: str, public_url: str
) -> Iterator[Finding]:
    """Compare where Twilio posts customers' texts with where they should come."""
    known = client.inbound_webhook(tenant, sender)
    if known is None:
        return
    ours = inbound_address(public_url, tenant.id)
    bare = ours.removesuffix(OVERRIDES)
    advice = f"Enter in Twilio, for {sender}: {ours}"
    if known.url.partition("#")[0] != bare:
        words = f"texts to {sender} are not posted here, and are listed every few minutes only"
        yield Finding(False, subject, words, advice)
    elif known.url != ours:
        words = f"the address for texts to {sender} has no {OVERRIDES}: Twilio tries them once"
        yield Finding(False, subject, words, advice)
    elif not known.fallback:
        fallback = inbound_address(public_url, tenant.id, fallback=True)
        words = f"texts to {sender} have no fallback address"
        yield Finding(True, subject, f"{words}; it would be {fallback}")
    else:
        yield Finding(True, subject, f"texts to {sender} are posted here")


def _ask_ci360(subject: str, tenant: Tenant, client: Ci360Client) -> Iterator[Finding]:
    """Ask CI360 for something that changes nothing, to see whether it lets us in."""
    if tenant.ci360 is None:
        return
    try:
        client.bulk_location(tenant)
    except Ci360Failed as exc:
        said = f" CI360 says: {exc.said}" if exc.said not in ("", exc.message) else ""
        yield Finding(False, subject, f"{exc.message} ({exc.reason}){said}", _ADVICE[exc.trouble])
    else:
        names = ", ".join(tenant.ci360.names.values())
        yield Finding(True, subject, f"CI360 lets it in; publish there, if not done: {names}")


_ADVICE = {
    Trouble.DENIED: "Check ci360_api_url, and the access point's client secret and tenant id.",
    Trouble.THROTTLED: "It may be asked too much, or deny the token: try again in five minutes.",
    Trouble.AWAY: "Check ci360_api_url and the way out (HTTPS_PROXY), or try again later.",
    Trouble.REFUSED: "CI360 knows us and would not; events may be taken all the same.",
}


def _call_ourselves(subject: str, tenant: Tenant, settings: Settings) -> Iterator[Finding]:
    """See whether a webhook that the tenant's account has signed gets through, and no other."""
    if settings.public_url is None:
        return
    url = inbound_address(settings.public_url, tenant.id).removesuffix(OVERRIDES)
    try:
        answers = reach(url, tenant)
    except SendFailed as exc:
        advice = "Is the server running, and does the address lead to it?"
        yield Finding(False, subject, f"{exc.message} ({exc.reason})", advice)
        return
    if answers.signed == 200 and answers.unsigned == 403:
        yield Finding(True, subject, "webhooks get through, and forged ones do not")
    elif answers.signed == 403:
        words = "webhooks are refused: the signature does not fit what the server is told"
        advice = "Have the server run with this very CI360_TWILIO_PUBLIC_URL and document."
        yield Finding(False, subject, words, advice)
    else:
        words = f"the public address answers {answers.signed}, and {answers.unsigned} if forged"
        advice = "Lead /twilio/... to the server as it is; nothing in between may ask for a login."
        yield Finding(False, subject, words, advice)


def _shared(tenants: Sequence[Tenant], settings: Settings) -> Iterator[Finding]:
    """Refuse tenants that share a number: whose customer wrote to it nobody could tell."""
    owners: dict[tuple[str, str], list[TenantId]] = {}
    for tenant in tenants:
        for sender in _senders(tenant, settings):
            owners.setdefault((tenant.account, sender), []).append(tenant.id)
    for (_, sender), ids in owners.items():
        if len(ids) > 1:
            words = f"{', '.join(ids)} send from {sender} of one account: replies reach only one"
            advice = "Give each a number of its own, or a subaccount."
            yield Finding(False, "tenants", words, advice)
