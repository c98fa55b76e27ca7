"""A console without a server, and browsers without a screen that use it: for tests of its pages."""

from __future__ import annotations

import asyncio
import html
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher

from ci360_twilio.core.entry import Entry, Status, Step, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard
from ci360_twilio.core.message import Message
from ci360_twilio.core.person import Person, Role
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.app import make_console
from ci360_twilio.edge.console.desk import Desk
from ci360_twilio.edge.console.door import LOCAL_COOKIE, SECURE_COOKIE, Door
from ci360_twilio.edge.console.sessions import Sessions
from ci360_twilio.edge.console.signing import Signing
from ci360_twilio.wiring import Parts, utc_now

MINE, OTHERS = TenantId("mine"), TenantId("others")
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes in no time: what passwords cost to guess is not what most tests are about."""
PASSWORD = "correct horse battery"
HERE = "http://127.0.0.1:8360"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Later:
    """A clock that runs with this machine's, and can be moved ahead of it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """Tell the time."""
        return utc_now() + self._ahead

    def advance(self, **duration: float) -> None:
        """Move it; takes the arguments of ``timedelta``."""
        self._ahead += timedelta(**duration)


class Browser:
    """One browser: keeps cookies, follows redirects, and brings forms' tokens back."""

    def __init__(self, console: Console, *, peer: str = "127.0.0.1", base: str = HERE) -> None:
        transport = httpx.ASGITransport(console.app, client=(peer, 40_000))
        self._client = httpx.AsyncClient(transport=transport, base_url=base)
        self._run = console.runner.run
        self.csrf = ""

    def get(self, path: str = "", *, follow: bool = True, **headers: str) -> httpx.Response:
        """Load a page."""
        answer = self._run(
            self._client.get(f"/console{path}", headers=headers, follow_redirects=follow)
        )
        return self._seen(answer)

    def post(
        self,
        path: str,
        form: Mapping[str, Any] | None = None,
        *,
        follow: bool = True,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a form, with the token of the page that was loaded last unless it has one."""
        answer = self._run(
            self._client.post(
                f"/console{path}",
                data={"csrf": self.csrf, **(form or {})},
                files=files,
                headers=headers,
                follow_redirects=follow,
            )
        )
        return self._seen(answer)

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Sign in."""
        self.get("/sign-in")
        return self.post("/sign-in", {"name": name, "password": password})

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send any request."""
        return self._run(self._client.request(method, path, **options))

    @property
    def cookies(self) -> httpx.Cookies:
        """What it keeps."""
        return self._client.cookies

    def _seen(self, answer: httpx.Response) -> httpx.Response:
        if found := _CSRF.search(answer.text):
            self.csrf = found[1]
        return answer

    def close(self) -> None:
        """Close it."""
        self._run(self._client.aclose())


class Console:
    """A console over a connector's parts; people are added with one password."""

    def __init__(
        self,
        parts: Parts,
        folder: Path,
        *,
        on_loopback: bool = True,
        is_https: bool = False,
        public_origin: str | None = None,
        accounts: Accounts | None = None,
    ) -> None:
        """Open it; with ``accounts`` that many tests share."""
        self.parts = parts
        self.accounts = accounts or Accounts(folder / "people", CHEAP)
        self.sessions = Sessions(parts.clock)
        self.desk = Desk(parts, self.accounts, self.sessions)
        self.door = Door(
            self.accounts,
            self.sessions,
            on_loopback=on_loopback,
            is_https=is_https,
            has_oidc=False,
            public_origin=public_origin,
        )
        self.app = make_console(self.desk, self.door, Signing(self.desk, self.door))
        self.runner = asyncio.Runner()
        self._browsers: list[Browser] = []

    def browser(self, **options: Any) -> Browser:
        """Open a browser."""
        made = Browser(self, **options)
        self._browsers.append(made)
        return made

    def add(self, name: str, role: Role, *tenants: TenantId) -> None:
        """Let somebody sign in; of all tenants where none is named."""
        if not self.accounts.people() and (role, tenants) != (Role.ADMINISTRATOR, ()):
            self.add("root", Role.ADMINISTRATOR)
        self.accounts.add(Person(name=name, role=role, tenants=tenants or None), PASSWORD)

    def signed_in(self, role: Role, *tenants: TenantId, name: str = "") -> Browser:
        """Give the browser of somebody new who has signed in."""
        name = name or f"{role} {len(self._browsers)}"
        self.add(name, role, *tenants)
        browser = self.browser()
        answer = browser.sign_in(name)
        assert answer.status_code == 200, answer.text
        return browser

    def known(self, role: Role, *tenants: TenantId, name: str = "", **options: Any) -> Browser:
        """Give the browser of somebody who has signed in elsewhere, which costs no hash of a password."""
        if not self.accounts.people():
            self.add("root", Role.ADMINISTRATOR)
        person = Person(name=name or f"{role} elsewhere", role=role, tenants=tenants or None)
        token, session = self.sessions.begin(person=person)
        browser = self.browser(**options)
        for name in (SECURE_COOKIE, LOCAL_COOKIE):
            browser.cookies.set(name, token)
        browser.csrf = session.csrf
        return browser

    def hear(self, body: str, sender: str, tenant_id: TenantId = MINE) -> str:
        """Have a customer write; gives the SID of the text."""
        sid = f"SM{uuid.uuid4().hex}"
        heard = Heard(sid=sid, sender=sender, to="+15005550006", body=body)
        self.parts.listening.hear_listed(self.parts.tenants.get(tenant_id), [heard])
        return sid

    def close(self) -> None:
        """End it all."""
        for browser in self._browsers:
            browser.close()
        self.desk.rehearsals.close()
        self.runner.close()


@contextmanager
def opened(parts: Parts, folder: Path, **options: Any) -> Iterator[Console]:
    """Open a console for one test."""
    console = Console(parts, folder, **options)
    try:
        yield console
    finally:
        console.close()


def text_of(page: str) -> str:
    """Give what a page says, without its markup."""
    bare = re.sub(r"<script.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())


def entry(
    guid: str,
    now: datetime,
    *,
    tenant_id: TenantId = MINE,
    status: Status = Status.DELIVERED,
    reason: str | None = None,
    to: str = "+12015550123",
    body: str = "Hello Anna",
    task: str | None = "TSK_101",
    **changes: Any,
) -> Entry:
    """Make an entry as the ledger may hold it."""
    members: dict[str, Any] = {
        "key": key_of(tenant_id, guid),
        "tenant_id": tenant_id,
        "guid": guid,
        "status": status,
        "reason": reason,
        "created_at": now,
        "due_at": now,
        "expires_at": now + timedelta(days=1),
        "purge_at": now + timedelta(days=90),
        "message": Message(to=to, sender="+15005550006", body=body),
        "origin": Origin(task_code=task, identities={"datahub_id": f"D-{guid}"}),
        "history": (Step(at=now, step="accept", decision=str(status), reason=reason),),
    }
    return Entry(**(members | changes))
