"""``check``: is everything set up, and if not, what to do."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ci360_twilio.clients.tenants import Folder
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.message import parse_sender
from ci360_twilio.core.tenant import Tenant, parse_tenant_id
from ci360_twilio.edge.cli.screen import printable
from ci360_twilio.errors import ConnectorError, SendFailed, SettingsError
from ci360_twilio.settings import Settings, read_settings, unknown_names
from ci360_twilio.wiring import ledger_path, make_documents, make_store, make_tenants, utc_now


class Finding(NamedTuple):
    """One thing that was looked at; ``advice`` where something is to be done."""

    good: bool
    subject: str
    words: str
    advice: str = ""


def add_check(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``check``."""
    command.add_argument(
        "--tenant", action="append", default=[], help="look at this tenant; all files if not given"
    )
    command.add_argument("--offline", action="store_true", help="do not ask Twilio")
    command.epilog = "Ends with 0 if nothing is to be done."
    return _check


def _check(options: argparse.Namespace) -> int:
    findings = list(_look(options))
    for found in findings:
        print(
            f"{'ok  ' if found.good else 'FIX '} {printable(found.subject)}: {printable(found.words)}"
        )
        if found.advice:
            print(f"     {found.advice}")
    wrong = sum(not found.good for found in findings)
    print(f"\n{wrong} thing{'' if wrong == 1 else 's'} to do." if wrong else "\nAll is well.")
    return 1 if wrong else 0


def _look(options: argparse.Namespace) -> Iterator[Finding]:
    try:
        settings = read_settings()
    except SettingsError as exc:
        for issue in exc.issues:
            yield Finding(False, issue.field, issue, "Correct the variable, or unset it.")
        return
    yield Finding(True, "settings", "can be read")
    for name in unknown_names():
        yield Finding(
            False, name, "is no setting", "Look for a misspelling; docs/settings.md lists all."
        )
    if settings.default_sender and parse_sender(settings.default_sender) is None:
        advice = (
            "Set default_sender to +E.164, a short code, a name of up to 11 characters or MG..."
        )
        yield Finding(False, "default_sender", "is no sender Twilio knows", advice)
    yield _look_at_ledger(settings)
    yield from _look_at_tenants(settings, options)


def _look_at_ledger(settings: Settings) -> Finding:
    subject = f"ledger {ledger_path(settings) or settings.ledger}"
    try:
        store = make_store(settings)
        try:
            store.probe()
            summary = store.summary(utc_now())
        finally:
            store.close()
    except ConnectorError as exc:
        return Finding(
            False, subject, exc.message, "Check the path, its owner, and the free space."
        )
    if summary.paused:
        advice = "Look through the unknown ones, then: ci360-twilio ledger restore --resume"
        return Finding(False, subject, "was restored and sends nothing", advice)
    if summary.outdated:
        return Finding(False, subject, "belongs to a newer version", "Update this installation.")
    counts = ", ".join(f"{count:,} {status}" for status, count in summary.unfinished.items())
    return Finding(True, subject, f"can be written; unfinished: {counts or 'none'}")


def _look_at_tenants(settings: Settings, options: argparse.Namespace) -> Iterator[Finding]:
    try:
        documents, tenants = make_documents(settings), make_tenants(settings)
    except SettingsError as exc:
        yield Finding(False, "tenants", "none are set up", exc.message)
        return
    names = options.tenant or (documents.ids() if isinstance(documents, Folder) else [])
    if not names:
        if isinstance(documents, Folder):
            advice = "Put a <tenant id>.json into the folder; docs/tenants.md shows one."
            yield Finding(False, "tenants", "the folder holds none", advice)
        else:
            advice = "Secrets cannot be listed; name the tenant: ci360-twilio check --tenant ID"
            yield Finding(True, "tenants", f"in Secrets Manager. {advice}")
        return
    client = TwilioClient(connections=1)
    for name in names:
        subject = f"tenant {name}"
        try:
            tenant = tenants.get(parse_tenant_id(name))
        except ConnectorError as exc:
            yield Finding(False, subject, exc.message, "Correct the tenant's document.")
            continue
        yield from _look_at_tenant(subject, tenant)
        if not options.offline:
            yield _ask_twilio(subject, tenant, client)
    client.close()


def _look_at_tenant(subject: str, tenant: Tenant) -> Iterator[Finding]:
    if tenant.default_sender and parse_sender(tenant.default_sender) is None:
        advice = "Use +E.164, a short code, a name of up to 11 characters or MG..."
        yield Finding(False, subject, "its default_sender is none Twilio knows", advice)
    if not tenant.has_credentials:
        words = "document is sound; CI360 need present nothing, so it is served on loopback only"
        yield Finding(True, subject, words)
    else:
        yield Finding(True, subject, "document is sound, and callers must present a credential")


def _ask_twilio(subject: str, tenant: Tenant, client: TwilioClient) -> Finding:
    try:
        client.probe(tenant)
    except SendFailed as exc:
        advice = (
            "Check account, token or API key in Twilio's console, and the way out (HTTPS_PROXY)."
        )
        return Finding(False, subject, f"{exc.message} ({exc.reason})", advice)
    return Finding(True, subject, "Twilio lets it in")
