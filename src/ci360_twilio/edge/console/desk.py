"""What all pages of the console work with, and one request of a person: :class:`Desk`, :class:`Visit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ci360_twilio import __version__
from ci360_twilio.core.person import Person, Right
from ci360_twilio.core.prices import LIST_PRICES, Prices
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.rehearsing import Rehearsals
from ci360_twilio.edge.console.sessions import Session, Sessions, Throttle
from ci360_twilio.edge.console.twin_phones import TwinPhones
from ci360_twilio.edge.console.words import FILTERS
from ci360_twilio.errors import (
    BeforeSending,
    ConnectorError,
    Denied,
    NotKnown,
    SettingsError,
    TooOften,
)
from ci360_twilio.flow.consenting import Consenting
from ci360_twilio.flow.jobs import Foreman
from ci360_twilio.flow.steer import Steering
from ci360_twilio.logs import Log
from ci360_twilio.ports import Clock, Note, Store
from ci360_twilio.settings import Settings
from ci360_twilio.wiring import Parts, make_documents

ROOT = "/console"
"""Where all addresses of the console begin."""
TEMPLATES = Path(__file__).with_name("templates")
ENOUGH = 286
"""The status by which htmx stops asking for a part of a page (htmx.org/docs/#polling)."""
MOST_TEXT = 20_000
"""Characters of a field that are taken; a creative is shorter."""
TESTS_PER_HOUR = 30
"""Tests that one person may send in an hour."""
UNMASKED_PER_HOUR = 30
"""Messages and texts that one person may unmask in an hour."""
_LOOKED_AT = 20
"""Tenants among which one with a twin is looked for."""


class Desk:
    """The parts of this process, as pages use them."""

    def __init__(
        self, parts: Parts, accounts: Accounts, sessions: Sessions, prices: Prices = LIST_PRICES
    ) -> None:
        self.parts = parts
        self.prices = prices
        self.rehearsals = Rehearsals(parts.clock)
        self.tests = Throttle(TESTS_PER_HOUR, timedelta(hours=1), parts.clock)
        self.accounts = accounts
        self.sessions = sessions
        self.unmasked = Throttle(UNMASKED_PER_HOUR, timedelta(hours=1), parts.clock)
        self.steering = Steering(
            parts.store, parts.tenants, parts.clock, parts.log, event_ttl=parts.settings.event_ttl
        )
        self.foreman = Foreman(parts.store, self.steering, parts.clock, parts.log)
        self.consenting = Consenting(parts.store, parts.clock, parts.log)

    @property
    def store(self) -> Store:
        """The ledger."""
        return self.parts.store

    @property
    def settings(self) -> Settings:
        """Of this process."""
        return self.parts.settings

    @property
    def log(self) -> Log:
        """Hears of everything."""
        return self.parts.log

    @property
    def clock(self) -> Clock:
        """Tells the time."""
        return self.parts.clock

    @cached_property
    def pages(self) -> jinja2.Environment:
        """The templates; what is put into them is text unless a filter of ours made it."""
        made = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        made.filters |= FILTERS
        made.globals |= {"version": __version__, "Right": Right}
        return made

    def tenant_ids(self) -> list[TenantId]:
        """List the tenants whose documents are known here; a vault of secrets cannot be listed."""
        documents = make_documents(self.settings)
        ids = getattr(documents, "ids", None)
        if ids is not None:
            return sorted(ids())
        return sorted(tenant.id for tenant in self.parts.tenants.known())


class Visit(NamedTuple):
    """One request of a person who may make it."""

    desk: Desk
    person: Person
    session: Session
    path: Mapping[str, str]
    query: QueryParams
    form: FormData

    @property
    def store(self) -> Store:
        """The ledger."""
        return self.desk.store

    def now(self) -> datetime:
        """Tell the time."""
        return self.desk.clock()

    def asked(self, name: str) -> str:
        """Give a member of the query; an absent one is empty."""
        return self.query.get(name, "").strip()[:MOST_TEXT]

    def text(self, name: str) -> str:
        """Give a field of the form without space around it; an absent one is empty."""
        return self.whole(name).strip()

    def whole(self, name: str, most: int = MOST_TEXT) -> str:
        """Give a field of the form as it is, up to so many characters."""
        value = self.form.get(name, "")
        return value[:most] if isinstance(value, str) else ""

    def upload(self, name: str) -> UploadFile | None:
        """Give a file of the form, if there is one."""
        value = self.form.get(name)
        return value if isinstance(value, UploadFile) and value.filename else None

    def tenants(self) -> list[TenantId]:
        """List the tenants that the person may choose from."""
        if self.person.tenants is not None:
            return [*self.person.tenants]
        return self.desk.tenant_ids()

    def scope(self, tenant_id: TenantId | None = None) -> list[TenantId | None]:
        """Give the tenants that the ledger is to be asked for one by one; ``None`` is all of them.

        Raises:
            NotKnown: it is a tenant that the person does not see.
        """
        if tenant_id is not None:
            return [self.tenant_id(tenant_id)]
        return [None] if self.person.tenants is None else [*self.person.tenants]

    def tenant_id(self, name: str) -> TenantId:
        """Take the name of a tenant that the person sees.

        Raises:
            NotKnown: there is none of that name, as far as the person may know.
        """
        found = TenantId(name)
        if not name or not self.person.sees(found):
            raise NotKnown("There is no such tenant.")
        return found

    def tenant(self, name: str) -> Tenant:
        """Give the document of a tenant that the person sees.

        Raises:
            NotKnown: there is none of that name, as far as the person may know.
            SettingsError: its document cannot be used.
        """
        tenant_id = self.tenant_id(name)
        try:
            return self.desk.parts.tenants.get(tenant_id)
        except BeforeSending as exc:
            if exc.http_status == 503:
                raise SettingsError(f"The document of tenant {name} cannot be used now.") from exc
            raise NotKnown("There is no such tenant.") from exc

    def twin_of(self, tenant_id: TenantId) -> TwinPhones | None:
        """Give the phones of a tenant whose messages go to a twin on this machine."""
        try:
            tenant = self.tenant(tenant_id)
        except ConnectorError:
            return None
        return TwinPhones.of(tenant, self.desk.settings.twilio_hosts)

    def has_twin(self) -> bool:
        """Tell whether messages of any tenant that the person sees go to a twin."""
        hosts = self.desk.settings.twilio_hosts
        return bool(hosts) and any(map(self.twin_of, self.tenants()[:_LOOKED_AT]))

    def needs(self, right: Right) -> None:
        """Raise ``Denied`` where the person lacks a right."""
        if not self.person.may(right):
            raise Denied(f"That takes another role than {self.person.role}.")

    def note(self, action: str, subject: str, **more: Any) -> None:
        """Write into the audit what the person did."""
        note = Note(at=self.now(), by=self.person.name, action=action, subject=subject, **more)
        self.store.write_note(note)
        tenant = more.get("tenant_id")
        self.desk.log.info("console.changed", by=self.person.name, decision=action, tenant=tenant)

    def unmask(self, subject: str, tenant_id: TenantId) -> None:
        """Have numbers and texts shown in clear this once, and write that down.

        Raises:
            Denied: the person may not.
            TooOften: they did so too often in the last hour.
        """
        self.needs(Right.UNMASK)
        if not self.desk.unmasked.admits(self.person.name):
            raise TooOften(
                f"You have unmasked {UNMASKED_PER_HOUR} in the last hour; come back later, or "
                "export what you need with: ci360-twilio export"
            )
        self.note("unmask", subject, tenant_id=tenant_id)

    def show(self, template: str, status: int = 200, **about: Any) -> Response:
        """Render a page."""
        shown = {
            "person": self.person,
            "csrf": self.session.csrf,
            "has_twin": self.has_twin(),
            "tenants": [],
            **about,
        }
        html = self.desk.pages.get_template(template).render(shown)
        return HTMLResponse(html, status)

    def go(self, path: str) -> Response:
        """Send the browser to a page after a change, so that going back repeats nothing."""
        return RedirectResponse(f"{ROOT}{path}", 303)


class Page(NamedTuple):
    """One route of the console."""

    method: str
    path: str
    """Behind :data:`ROOT`."""
    right: Right
    run: Callable[[Visit], Response]
    quiet: bool = False
    """Whether it is asked for by a page that refreshes itself."""
    most: int = 64 * 1024
    """Bytes of a body that are taken."""
