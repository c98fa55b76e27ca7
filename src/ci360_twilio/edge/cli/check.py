"""``check``: is everything set up, and if not, what to do."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from ci360_twilio.clients.tenants import Folder
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.entry import FIRST_FETCH
from ci360_twilio.core.message import parse_sender
from ci360_twilio.core.pause import Cause, Pause
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.core.tenant import Tenant, parse_tenant_id
from ci360_twilio.edge.cli.pause import resume_words
from ci360_twilio.edge.cli.screen import printable
from ci360_twilio.edge.cli.senders import lasts_words, rate_words, read_queues
from ci360_twilio.edge.http import is_loopback
from ci360_twilio.errors import ConnectorError, SendFailed, SettingsError
from ci360_twilio.flow.decision import target_of
from ci360_twilio.flow.queues import Queue
from ci360_twilio.ports import Store
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
    yield _look_at_public_url(settings)
    yield from _look_at_ledger(settings)
    yield from _look_at_tenants(settings, options)


def _look_at_public_url(settings: Settings) -> Finding:
    """Tell what it costs to run without a public address, or whether Twilio can use it."""
    subject = "public_url"
    if settings.public_url is None:
        held = lasts_words(timedelta(seconds=settings.unknown_deadline))
        words = (
            "is not set, so that Twilio reports nothing: what became of a message is asked for "
            f"{lasts_words(FIRST_FETCH)} after it was sent. One whose answer was lost can only be "
            f"found in Twilio's list, and waits for a person where it is not there after {held}"
        )
        return Finding(True, subject, words)
    parts = urlsplit(settings.public_url)
    host = parts.hostname or ""
    if "_" in host:
        words = "has an underscore in its host, which Twilio does not take (error 21609)"
        return Finding(False, subject, words, "Give the connector a name without one.")
    if is_loopback(host):
        return Finding(True, subject, "is on loopback: only a twin on this machine reaches it")
    if parts.scheme != "https":
        words = "is not https: numbers of recipients would cross the network in clear"
        return Finding(False, subject, words, "Put TLS in front, and write the address with https.")
    return Finding(True, subject, f"Twilio reports to {host}, if that leads here")


def _look_at_ledger(settings: Settings) -> Iterator[Finding]:
    subject = f"ledger {ledger_path(settings) or settings.ledger}"
    try:
        store = make_store(settings)
        try:
            findings = list(_look_into(store, subject, settings))
        finally:
            store.close()
    except ConnectorError as exc:
        advice = "Check the path, its owner, and the free space."
        findings = [Finding(False, subject, exc.message, advice)]
    yield from findings


def _look_into(store: Store, subject: str, settings: Settings) -> Iterator[Finding]:
    now = utc_now()
    store.probe()
    summary = store.summary(now)
    if summary.outdated:
        yield Finding(False, subject, "belongs to a newer version", "Update this installation.")
        return
    counts = ", ".join(f"{count:,} {status}" for status, count in summary.unfinished.items())
    yield Finding(True, subject, f"can be written; unfinished: {counts or 'none'}")
    waiting = {one.place: one for one in store.waiting(now)}
    for pause in summary.pauses:
        place = waiting.get(pause.place)
        yield _paused(pause, place.entries - place.expired if place else 0)
    yield from (_late(queue) for queue in read_queues(store, settings, now) if queue.late)


def _paused(pause: Pause, waiting: int) -> Finding:
    count = f"{waiting:,} waiting"
    if pause.cause is Cause.RESTORE:
        advice = "Look through the unknown ones, then: ci360-twilio ledger restore --resume"
        return Finding(False, "ledger", f"was restored and sends nothing; {count}", advice)
    by = f" by {pause.by}" if pause.by else ""
    words = f"since {pause.since:%Y-%m-%d %H:%M} UTC{by}; {count}. {reason_words(pause.reason)}"
    subject = f"pause of {target_of(pause)}"
    if pause.probe_at is not None:
        advice = "Put right what Twilio objects to; it is lifted by itself then."
        return Finding(False, subject, words, advice)
    return Finding(False, subject, words, f"To send again: {resume_words(pause)}")


def _late(queue: Queue) -> Finding:
    words = (
        f"{queue.late:,} of the {queue.entries:,} messages that wait would expire before their "
        f"turn: they last {lasts_words(queue.lasts)} at {rate_words(queue)}"
    )
    advice = "Send from more senders, such as a Messaging Service, or cancel what matters less."
    return Finding(False, f"sender {', '.join(queue.senders)}", words, advice)


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
            yield from _ask_twilio(subject, tenant, client, settings)
    client.close()


def _look_at_tenant(subject: str, tenant: Tenant) -> Iterator[Finding]:
    if tenant.default_sender and parse_sender(tenant.default_sender) is None:
        advice = "Use +E.164, a short code, a name of up to 11 characters or MG..."
        yield Finding(False, subject, "its default_sender is none Twilio knows", advice)
    if not all(parse_sender(name) == name for name in tenant.sender_rates):
        advice = "Write them as in FROM: +E.164, a short code, a name or MG..."
        yield Finding(False, subject, "its sender_rates name what is no sender", advice)
    if not tenant.has_credentials:
        words = "document is sound; CI360 need present nothing, so it is served on loopback only"
        yield Finding(True, subject, words)
    else:
        yield Finding(True, subject, "document is sound, and callers must present a credential")


def _ask_twilio(
    subject: str, tenant: Tenant, client: TwilioClient, settings: Settings
) -> Iterator[Finding]:
    default = tenant.default_sender or settings.default_sender
    senders = dict.fromkeys([default, *tenant.sender_rates] if default else tenant.sender_rates)
    try:
        client.probe(tenant)
        yield Finding(True, subject, "Twilio lets it in")
        for sender in filter(parse_sender, senders):
            if client.lookup_sender(tenant, sender) is False:
                words = f"sender {sender} is none of the account's numbers"
                yield Finding(False, subject, words, "Correct it, or the account.")
    except SendFailed as exc:
        advice = (
            "Check account, token or API key in Twilio's console, and the way out (HTTPS_PROXY)."
        )
        yield Finding(False, subject, f"{exc.message} ({exc.reason})", advice)
