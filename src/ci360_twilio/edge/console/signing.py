"""Signing in and out: with a password, or by OpenID Connect where that is set up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ci360_twilio.core.person import Person
from ci360_twilio.edge.console.accounts import Account
from ci360_twilio.edge.console.answering import FORGED, Answering
from ci360_twilio.edge.console.desk import ROOT, Desk
from ci360_twilio.edge.console.door import Door
from ci360_twilio.edge.console.sessions import Throttle
from ci360_twilio.errors import Denied, LedgerUnavailable
from ci360_twilio.ports import Note

if TYPE_CHECKING:
    from ci360_twilio.edge.console.groups import Group
    from ci360_twilio.edge.console.oidc import Oidc

BY_NAME, BY_ADDRESS, BY_NAME_ANYWHERE = 5, 30, 50
"""Attempts to sign in that fail within five minutes: under one name from one address, from one address,
and under one name from anywhere: else anybody could keep somebody out."""
WITHIN = timedelta(minutes=5)
_WRONG = "Name and password do not fit."
_OFTEN = "That was tried too often; wait five minutes."


class Signing:
    """The routes that need nobody to be signed in."""

    def __init__(
        self,
        desk: Desk,
        door: Door,
        oidc: Oidc | None = None,
        groups: Mapping[str, Group] | None = None,
    ) -> None:
        """Make them.

        Args:
            desk: what pages work with.
            door: tells who makes a request.
            oidc: where people sign in elsewhere, if they may.
            groups: what members of a group there may do here.
        """
        self._desk = desk
        self._door = door
        self._oidc = oidc
        self._groups = groups or {}
        self._by_name = Throttle(BY_NAME, WITHIN, desk.clock)
        self._anywhere = Throttle(BY_NAME_ANYWHERE, WITHIN, desk.clock)
        self._by_address = Throttle(BY_ADDRESS, WITHIN, desk.clock)

    def routes(self, answering: Answering) -> list[BaseRoute]:
        """Give the routes."""
        self._answering = answering

        def route(
            path: str, method: str, answer: Callable[[Request], Awaitable[Response]]
        ) -> BaseRoute:
            async def safely(request: Request) -> Response:
                return await answering.safely(answer(request), path)

            return Route(ROOT + path, safely, methods=[method])

        found = [
            route("/sign-in", "GET", self._ask),
            route("/sign-in", "POST", self._try),
            route("/sign-out", "POST", self._leave),
        ]
        if self._oidc is not None:
            found.append(route("/sign-in/elsewhere", "GET", self._go_elsewhere))
            found.append(route("/sign-in/back", "GET", self._come_back))
        return found

    async def _ask(self, request: Request) -> Response:
        self._door.check(request)
        if not self._door.has_people():
            return RedirectResponse(ROOT, 303)
        return self._page(request, next_=_inside(request.query_params.get("next", "")))

    def _page(
        self, request: Request, *, words: str = "", next_: str = "", status: int = 200
    ) -> Response:
        """Show the form, in a session of its own, so that nobody signs others in as themselves."""
        caller = self._door.caller(request, used=True)
        token, session = caller.token, caller.session
        if session is None:
            token, session = self._desk.sessions.begin()
        template = self._desk.pages.get_template("sign_in.html")
        html = template.render(
            csrf=session.csrf,
            next=next_,
            words=words,
            has_oidc=self._oidc is not None,
            has_passwords=bool(self._desk.accounts.people()),
        )
        response = HTMLResponse(html, status)
        self._door.keep(request, response, token)
        return response

    async def _try(self, request: Request) -> Response:
        self._door.check(request)
        form = await self._answering.texts(request)
        next_ = _inside(_text(form.get("next")))
        session = self._door.caller(request, used=True).session
        if session is None or self._door.is_forged(request, form, session):
            return self._page(request, words=FORGED, next_=next_, status=403)
        name, password = _text(form.get("name")).strip(), _text(form.get("password"))
        address = request.client.host if request.client else ""
        anywhere = name.casefold()[:200]
        tried = f"{address} {anywhere}"
        if not (
            self._by_address.admits(address)
            and self._by_name.admits(tried)
            and self._anywhere.admits(anywhere)
        ):
            return self._refused(request, "too_often", _OFTEN, 429, next_)
        let_in = partial(self._desk.accounts.let_in, name, password)
        account = await self._answering.in_thread(let_in)
        if account is None:
            return self._refused(request, "password", _WRONG, next_=next_)
        self._by_name.forgive(tried)
        self._anywhere.forgive(anywhere)
        self._by_address.forgive(address)
        return await self._enter(request, account.person, next_, account=account)

    async def _enter(
        self,
        request: Request,
        person: Person,
        next_: str,
        *,
        account: Account | None = None,
        detail: str | None = None,
    ) -> Response:
        """Begin the session of somebody who is known now; the one before it has ended."""
        self._desk.sessions.end(self._door.caller(request, used=True).token)
        token, _ = self._desk.sessions.begin(
            person=person,
            account=account.person.name if account else None,
            account_changed_at=account.changed_at if account else None,
        )
        note = Note(
            at=self._desk.clock(),
            by=person.name,
            action="sign in",
            subject="console",
            detail=detail,
            tenant_id=person.only_tenant,
        )
        with suppress(LedgerUnavailable):  # its pages say so themselves, and the log has this
            await self._answering.in_thread(partial(self._desk.store.write_note, note))
        self._desk.log.info("console.signed_in", by=person.name, decision=person.role)
        response = RedirectResponse(ROOT + next_, 303)
        self._door.keep(request, response, token)
        return response

    async def _leave(self, request: Request) -> Response:
        form = await self._answering.texts(request)
        caller = self._door.caller(request, used=True)
        if caller.session is None or self._door.is_forged(request, form, caller.session):
            raise Denied(FORGED)
        self._desk.sessions.end(caller.token)
        response = RedirectResponse(f"{ROOT}/sign-in", 303)
        self._door.forget(request, response)
        return response

    async def _go_elsewhere(self, request: Request) -> Response:
        """Send the browser to the provider; a form could not, as its redirects must stay here."""
        from ci360_twilio.edge.console.provider import SignInRefused

        self._door.check(request)
        caller = self._door.caller(request, used=True)
        token, session = caller.token, caller.session
        if session is None:
            token, session = self._desk.sessions.begin()
        assert self._oidc is not None  # noqa: S101 - the route is there only with it
        session.data["next"] = _inside(request.query_params.get("next", ""))
        try:
            response = RedirectResponse(await self._oidc.begin(session.data), 303)
        except SignInRefused as exc:
            return self._refused(request, exc.reason, exc.message, 503)
        self._door.keep(request, response, token)
        return response

    async def _come_back(self, request: Request) -> Response:
        from ci360_twilio.edge.console.groups import map_groups
        from ci360_twilio.edge.console.provider import SignInRefused

        self._door.check(request)
        session = self._door.caller(request, used=True).session
        assert self._oidc is not None  # noqa: S101 - the route is there only with it
        if session is None:
            return self._refused(request, "no_session", "This took too long; try again.")
        try:
            found = await self._oidc.finish(session.data, request.query_params)
        except SignInRefused as exc:
            return self._refused(request, exc.reason, exc.message)
        group = map_groups(found.groups, self._groups)
        if group is None:
            words = "You are known, but none of your groups may use this console."
            return self._refused(request, "no_group", words)
        taken = self._desk.accounts.account(found.name) is not None
        name = f"{found.name} (elsewhere)" if taken else found.name
        person = Person(name=name, role=group.role, tenants=group.tenants)
        next_ = session.data.get("next", "")
        return await self._enter(request, person, next_, detail=f"as {found.subject}")

    def _refused(
        self, request: Request, reason: str, words: str, status: int = 403, next_: str = ""
    ) -> Response:
        self._desk.log.warning("console.refused", reason=reason)
        return self._page(request, words=words, status=status, next_=next_)


def _text(value: object) -> str:
    return value[:1000] if isinstance(value, str) else ""


def _inside(path: str) -> str:
    """Give the part of an address that stays in the console; nothing of any other."""
    is_plain = path.startswith("/") and path.isascii() and path.isprintable()
    return path if is_plain and not path.startswith(("//", "/sign")) and "\\" not in path else ""
