"""``ci360-setup``: what is to be entered in CI360 and in Twilio, for one tenant."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from ci360_twilio.core.ci360 import Ci360
from ci360_twilio.core.outcome import attributes_of
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.edge.cli.given import tenant_of
from ci360_twilio.edge.cli.screen import print_json, table
from ci360_twilio.flow.addresses import inbound_address, status_address
from ci360_twilio.settings import Settings, read_settings
from ci360_twilio.wiring import make_tenants

Run = Callable[[argparse.Namespace], int]

TIME_OUT = 30
"""Seconds that CI360 should wait for an answer: a cold start fits into them."""
_WORDS = {
    Outcome.SENT: "Twilio has taken the message",
    Outcome.DELIVERED: "the carrier or the phone has it",
    Outcome.UNDELIVERED: "it was sent and did not arrive",
    Outcome.FAILED: "Twilio could not send it",
    Outcome.READ: "it was read (WhatsApp, RCS)",
    Outcome.EXPIRED: "its time was over before it could be sent",
    Outcome.REFUSED: "it was not sent: creative, recipient, or Twilio's refusal",
    Outcome.SUPPRESSED: "it was not sent on purpose: opted out, control group, a limit",
    Outcome.CANCELED: "a person took it back",
    Outcome.HELD: "it waits for a person's decision",
    Outcome.REPLY: "the customer wrote back",
    Outcome.OPT_OUT: "the customer wants no more messages",
    Outcome.OPT_IN: "the customer wants messages again",
}


def add_ci360_setup(command: argparse.ArgumentParser) -> Run:
    """Declare ``ci360-setup``."""
    command.add_argument("--tenant", required=True, help="whose CI360 it is")
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.epilog = "Prints names and addresses, never a secret."
    return _setup


def _setup(options: argparse.Namespace) -> int:
    settings = read_settings()
    tenant = make_tenants(settings).get(tenant_of(options.tenant))
    if options.json:
        print_json(_as_json(settings, tenant))
        return 0
    print(f"Tenant {tenant.id}\n")
    for words in (*_endpoint(settings, tenant), *_events(tenant), *_twilio(settings, tenant)):
        print(words)
    return 0


def _endpoint(settings: Settings, tenant: Tenant) -> Iterator[str]:
    yield "1. CI360: the connector and its endpoint\n"
    yield f"   URL        {_base(settings)}/ci360/events"
    yield "   Method     POST"
    yield f"   Time-out   {TIME_OUT} seconds or more (CI360 allows up to 60)"
    yield "   Header     Content-Type: application/json"
    for words in _credentials(settings, tenant):
        yield f"   {words}"
    yield "   Body       as CI360 sends it; no custom request body"
    yield f"   Bulk task  a connector of type Bulk of its own, the same with {_base(settings)}/ci360/bulk,"
    yield "              and to, body, ... as its send parameters; see docs/bulk.md\n"


def _credentials(settings: Settings, tenant: Tenant) -> Iterator[str]:
    """Name the ways in which CI360 may present itself, and no secret."""
    if settings.authenticated_upstream:
        yield "Header     x-api-key, or whatever the gateway in front of the connector asks for"
    if tenant.api_keys:
        yield "Header     x-api-key: one of api_keys in the tenant's document"
    if tenant.basic:
        yield "Authorization  Basic, with user and password of `basic` in the tenant's document"
    if tenant.bearer_tokens or tenant.jwt:
        yield "Header     Authorization: Bearer, as the tenant's document has it"
    if not tenant.has_credentials and not settings.authenticated_upstream:
        served = "nobody is" if settings.public_url else "this machine only is"
        yield f"Header     none: the document has no credential, so that {served} served"


def _events(tenant: Tenant) -> Iterator[str]:
    yield "2. CI360: external events to define and to publish\n"
    ci360 = tenant.ci360
    if ci360 is None:
        yield "   The tenant's document names no ci360_api_url, so that nothing is told to CI360."
        yield "   Name it with ci360_client_secret of an access point; see docs/tenants.md.\n"
        return
    head = ("EXTERNAL EVENT", "TOLD WHEN")
    rows = [(ci360.names[outcome], _WORDS[outcome]) for outcome in ci360.tells]
    yield _indented(table(head, rows))
    quiet = [str(outcome) for outcome in Outcome if outcome not in ci360.names]
    if quiet:
        yield f"   Not told: {', '.join(quiet)}; name them in ci360_events to have them told."
    yield "\n   Their attributes, all of them texts:\n"
    columns = ("ATTRIBUTE", "LONGEST", "OF", "WHAT IT IS")
    yield _indented(table(columns, list(_attributes(ci360))))
    yield f"\n   They name the customer by {ci360.identity_key}, or another identity that came."
    if ci360.reply_identity_key:
        yield f"   A text of somebody unknown names its number as {ci360.reply_identity_key}."
    else:
        yield "   A text of somebody unknown is set aside (ci360_reply_identity_key is not set)."
    yield ""


def _attributes(ci360: Ci360) -> Iterator[tuple[object, ...]]:
    """Give each attribute once, with the outcomes that have it."""
    yield ci360.rtc_key, 64, "all", "the response tracking code of the contact"
    found: dict[str, tuple[int, str, list[str]]] = {}
    for outcome in ci360.tells:
        for one in attributes_of(outcome):
            found.setdefault(one.name, (one.longest, one.words, []))[2].append(str(outcome))
    for name, (longest, words, outcomes) in found.items():
        of = "all" if len(outcomes) == len(ci360.tells) else ", ".join(outcomes)
        yield name, longest, of if len(of) <= 30 else "messages", words


def _twilio(settings: Settings, tenant: Tenant) -> Iterator[str]:
    yield "3. Twilio: where customers' texts go (a number's or Messaging Service's configuration)\n"
    if settings.public_url is None:
        yield "   CI360_TWILIO_PUBLIC_URL is not set, so that Twilio cannot reach the connector."
        yield "   Texts are then listed from Twilio every minute; what arrived is asked for later."
        return
    url = settings.public_url
    yield "   A message comes in"
    yield f"      webhook, HTTP POST   {inbound_address(url, tenant.id)}"
    yield f"      fallback, HTTP POST  {inbound_address(url, tenant.id, fallback=True)}"
    yield "   Status callbacks need no entry: each message names its own, such as"
    yield f"      {status_address(url, tenant.id, '...')}"
    yield "   The part from # on has Twilio try again, up to five times; enter it, too."


def _base(settings: Settings) -> str:
    return settings.public_url or "https://<where the connector is reached>"


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.split("\n"))


def _as_json(settings: Settings, tenant: Tenant) -> dict[str, Any]:
    url, ci360 = settings.public_url, tenant.ci360
    return {
        "tenant": tenant.id,
        "endpoint": {
            "url": f"{url}/ci360/events" if url else None,
            "method": "POST",
            "headers": {"Content-Type": "application/json"},
            "credential": tenant.has_credentials or settings.authenticated_upstream,
            "time_out_seconds": TIME_OUT,
        },
        "external_events": [_event(ci360, one) for one in ci360.tells] if ci360 else [],
        "twilio": {
            "inbound_url": inbound_address(url, tenant.id) if url else None,
            "inbound_fallback_url": inbound_address(url, tenant.id, fallback=True) if url else None,
        },
    }


def _event(ci360: Ci360, outcome: Outcome) -> dict[str, Any]:
    attributes = [(ci360.rtc_key, 64), *((one.name, one.longest) for one in attributes_of(outcome))]
    return {
        "name": ci360.names[outcome],
        "outcome": outcome,
        "attributes": [{"name": name, "longest": longest} for name, longest in attributes],
    }
