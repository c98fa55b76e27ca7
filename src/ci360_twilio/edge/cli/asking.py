"""What the commands share by which people change the ledger: who it is, what is meant, whether to."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.edge.cli.given import open_ledger
from ci360_twilio.edge.cli.serve import make_log
from ci360_twilio.errors import SettingsError, TenantUnavailable
from ci360_twilio.flow.steer import Steering
from ci360_twilio.logs import Log
from ci360_twilio.ports import Store, Tenants
from ci360_twilio.settings import Settings, read_settings
from ci360_twilio.wiring import make_tenants, utc_now


def add_asking(command: argparse.ArgumentParser) -> None:
    """Declare what all commands have that ask before they act."""
    command.add_argument("--dry-run", action="store_true", help="only say what would be done")
    command.add_argument("--yes", action="store_true", help="do not ask")


def add_reason(command: argparse.ArgumentParser) -> None:
    """Declare what all commands have that are written into the audit."""
    command.add_argument("--reason", metavar="TEXT", help="why, for the audit; it is not logged")


@contextmanager
def steering(*, sends: bool = False) -> Iterator[Steering]:
    """Open the ledger to change it; only what sends needs the tenants to be set up."""
    settings = read_settings()
    tenants: Tenants | None = make_tenants(settings) if sends else None
    store = open_ledger()
    try:
        log = make_log(settings, "steer")
        yield steering_of(store, settings, log, tenants)
    finally:
        store.close()


def steering_of(
    store: Store, settings: Settings, log: Log, tenants: Tenants | None = None
) -> Steering:
    """Make what changes a ledger that is open."""
    return Steering(store, tenants or _NoTenants(), utc_now, log, event_ttl=settings.event_ttl)


class _NoTenants:
    """Tenants where none are asked for."""

    def get(self, tenant_id: TenantId) -> Tenant:
        """Know none."""
        raise TenantUnavailable(f"The document of tenant {tenant_id} is not read here.")

    reread = get


def who() -> str:
    """Name whoever runs this, as the operating system knows them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask on a terminal, unless that is waived; says that nothing was changed where the answer is no.

    Raises:
        SettingsError: there is no terminal to ask on.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise SettingsError("This changes something, and nobody can be asked; add --yes.")
    with suppress(EOFError):
        if input(f"{question} [y/N] ").strip().lower() in ("y", "yes"):
            return True
    print("Nothing was changed.")
    return False


def counted(number: int, noun: str = "message", several: str = "") -> str:
    """Give a number with its noun: ``1 message``, ``2,000 messages``."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"
