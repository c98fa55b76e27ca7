"""What people type, and the ledger that they mean."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

import phonenumbers

from ci360_twilio.core.consent import person_of
from ci360_twilio.core.message import parse_recipient, parse_sender
from ci360_twilio.core.tenant import TenantId, parse_tenant_id
from ci360_twilio.errors import BadTenantId, ConnectorError, NotKnown, SettingsError
from ci360_twilio.ports import Store
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import ledger_path, make_store, make_tenants


def open_ledger() -> Store:
    """Open the ledger to look into it; one that is not there is not made."""
    settings = read_settings()
    path = ledger_path(settings)
    if settings.ledger == "memory:":
        raise SettingsError("A ledger in memory can be looked into by its own process only.")
    if path is not None and not path.exists():
        raise NotKnown(f"There is no ledger at {path} yet: no event has come in.")
    return make_store(settings)


def tenant_named(name: str | None) -> TenantId | None:
    """Read a tenant's id as somebody typed it, if they did."""
    return None if name is None else tenant_of(name)


def tenant_of(name: str) -> TenantId:
    """Read a tenant's id as somebody typed it."""
    try:
        return parse_tenant_id(name)
    except BadTenantId as exc:
        raise SettingsError("A tenant's id is 1 to 64 letters, digits, _ or -.") from exc


def age(text: str) -> timedelta:
    """Read an age, such as ``12h``."""
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if match is None:
        raise SettingsError("--since takes a number and s, m, h or d, such as 12h.")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return timedelta(**{unit: int(match[1])})


def sender_named(value: str) -> str:
    """Read a sender as messages have it."""
    sender = parse_sender(value.strip())
    if sender is None:
        raise SettingsError(
            "A sender is a number like +19085551212, a short code, a name, or MG and 32 digits."
        )
    return sender


def country_named(value: str) -> str:
    """Read a country."""
    if value.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise SettingsError("A country is named by two letters, such as US or GB.")
    return value.upper()


def region_of(tenant_id: TenantId) -> str | None:
    """Give the country whose national numbers a tenant's people write; none where nobody knows."""
    try:
        return make_tenants(read_settings()).get(tenant_id).default_region
    except ConnectorError:
        return None


def asked(question: str) -> str:
    """Ask for what must not stand in a command line, or read it as a line of standard input.

    Raises:
        SettingsError: nothing is given.
    """
    try:
        given = input(question) if sys.stdin.isatty() else sys.stdin.readline()
    except EOFError:
        given = ""
    if not given.strip():
        raise SettingsError("Nothing was given; type it when asked, or pipe it in.")
    return given.strip()


def asked_number(region: str | None = None) -> str:
    """Ask for a recipient's number; gives it as messages have it."""
    recipient = parse_recipient(asked("The number: "), region)
    if recipient is None:
        raise SettingsError("That is no number; write it with its country, as +12015550123.")
    return person_of(recipient)
