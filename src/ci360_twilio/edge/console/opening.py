"""Opens the console of a server, by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp

from ci360_twilio.core.prices import LIST_PRICES, Prices, parse_prices
from ci360_twilio.core.tenant import parse_tenant_id
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.app import make_console
from ci360_twilio.edge.console.desk import ROOT, Desk
from ci360_twilio.edge.console.door import Door
from ci360_twilio.edge.console.sessions import Sessions
from ci360_twilio.edge.console.signing import Signing
from ci360_twilio.errors import BadTenantId, PeopleUnreadable, SettingsError
from ci360_twilio.settings import Settings, data_folder
from ci360_twilio.wiring import Parts, ledger_path

if TYPE_CHECKING:
    from ci360_twilio.edge.console.groups import Group
    from ci360_twilio.edge.console.oidc import Oidc


class Opened:
    """A console that answers."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self.app = app
        self._desk = desk

    def close(self) -> None:
        """End what it has started."""
        self._desk.rehearsals.close()


def open_console(parts: Parts, *, on_loopback: bool) -> Opened:
    """Open the console.

    Args:
        parts: of the server's process.
        on_loopback: whether the server is bound to loopback.

    Raises:
        SettingsError: its people, prices or groups cannot be read, or the sign-in elsewhere is not set up.
    """
    settings = parts.settings
    accounts = Accounts(people_path(settings))
    try:
        accounts.people()
    except PeopleUnreadable as exc:
        raise SettingsError(f"{accounts.path} cannot be read as the console's people.") from exc
    sessions = Sessions(parts.clock)
    desk = Desk(parts, accounts, sessions, _prices(settings))
    oidc, groups = _elsewhere(settings)
    public = settings.public_url or ""
    door = Door(
        accounts,
        sessions,
        on_loopback=on_loopback,
        is_https=settings.tls_cert is not None or public.startswith("https://"),
        has_oidc=oidc is not None,
        public_origin=_origin(public),
    )
    parts.log.info(
        "console.opened",
        people=len(accounts.people()),
        elsewhere=oidc is not None,
        local=on_loopback,
    )
    return Opened(make_console(desk, door, Signing(desk, door, oidc, groups)), desk)


def _origin(address: str) -> str | None:
    """Give what browsers call the origin of an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


def people_path(settings: Settings) -> Path:
    """Give the file of who may sign in."""
    if settings.console_people is not None:
        return Path(settings.console_people).expanduser().absolute()
    ledger = ledger_path(settings)
    if ledger is not None:
        return ledger.with_name(f"{ledger.name}.people")
    return data_folder() / "console.people"


def _prices(settings: Settings) -> Prices:
    if settings.prices is None:
        return LIST_PRICES
    try:
        with settings.prices.open(encoding="utf-8-sig", newline="") as file:
            return parse_prices(file, settings.prices.name)
    except (OSError, UnicodeDecodeError) as exc:
        words = f"{settings.prices} cannot be read as a price table."
        raise SettingsError(words) from exc


def _elsewhere(settings: Settings) -> tuple[Oidc | None, dict[str, Group]]:
    """Make what signs people in elsewhere, if that is set up."""
    if (
        settings.oidc_issuer is None
        or settings.oidc_client_id is None
        or settings.oidc_client_secret is None
        or settings.oidc_groups is None
    ):
        return None, {}
    from ci360_twilio.edge.console.groups import Group
    from ci360_twilio.edge.console.oidc import Oidc, OidcSettings

    if settings.public_url is None:
        raise SettingsError("Signing in elsewhere needs CI360_TWILIO_PUBLIC_URL to come back to.")
    try:
        groups = msgspec.json.decode(settings.oidc_groups.read_bytes(), type=dict[str, Group])
        for group in groups.values():
            for name in group.tenants or ():
                parse_tenant_id(name)
    except (OSError, msgspec.MsgspecError, BadTenantId) as exc:
        words = f"{settings.oidc_groups} does not say what groups may do: {exc}"
        raise SettingsError(words) from exc
    of = OidcSettings(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        groups_claim=settings.oidc_groups_claim,
        name_claim=settings.oidc_name_claim,
    )
    return Oidc(of, f"{settings.public_url}{ROOT}/sign-in/back"), groups
