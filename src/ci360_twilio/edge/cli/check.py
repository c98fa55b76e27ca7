"""``check``: is everything set up, and if not, what to do."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from ci360_twilio.core.advance import FIRST_FETCH
from ci360_twilio.core.message import parse_sender
from ci360_twilio.edge.cli.check_ledger import look_at_ledger
from ci360_twilio.edge.cli.check_tenants import look_at_tenants
from ci360_twilio.edge.cli.finding import Finding
from ci360_twilio.edge.cli.screen import printable
from ci360_twilio.edge.cli.senders import lasts_words
from ci360_twilio.edge.http import is_loopback
from ci360_twilio.errors import NotKnown, SettingsError
from ci360_twilio.settings import Settings, read_settings, unknown_names

TIME_OUT = 30.0
"""Seconds that a function needs for one event: a cold start, and Twilio's answer."""


def add_check(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``check``."""
    command.add_argument(
        "--tenant", action="append", default=[], help="look at this tenant; all files if not given"
    )
    command.add_argument(
        "--offline", action="store_true", help="ask nobody: not Twilio, CI360 or the public address"
    )
    command.add_argument(
        "--function", metavar="NAME", help="look at this AWS Lambda function's time-out, too"
    )
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
    yield from look_at_ledger(settings)
    yield from look_at_tenants(settings, options.tenant, offline=options.offline)
    if options.function:
        yield _look_at_function(options.function, settings)


def _look_at_function(name: str, settings: Settings) -> Finding:
    from ci360_twilio.clients.functions import time_out_of

    subject = f"function {name}"
    try:
        seconds = time_out_of(name, settings.secrets_region)
    except NotKnown as exc:
        return Finding(False, subject, exc.message, "Check its name, the region and the login.")
    words = f"ends after {seconds:g} seconds"
    if seconds >= TIME_OUT:
        return Finding(True, subject, words)
    advice = (
        f"Set its time-out to {TIME_OUT:g} seconds or more: what is cut off may have been sent."
    )
    return Finding(False, subject, words, advice)


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
