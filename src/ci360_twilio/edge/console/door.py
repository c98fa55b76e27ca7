"""Who comes in: sessions and cookies, forged forms, and a console without people that only this machine sees."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import NamedTuple

from starlette.datastructures import FormData
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ci360_twilio.core.person import Person, Role
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.sessions import LONGEST, Session, Sessions
from ci360_twilio.edge.http import came_directly, is_loopback
from ci360_twilio.errors import Denied

LOCAL = Person(name="this machine", role=Role.ADMINISTRATOR)
"""Who uses a console that has no people: whoever sits at the machine."""
SECURE_COOKIE, LOCAL_COOKIE = "__Host-console", "console"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""What every page is sent with."""


class Caller(NamedTuple):
    """Whoever makes a request: in a session, and perhaps known."""

    session: Session | None
    token: str
    person: Person | None
    is_new: bool = False
    """Whether the browser does not have the token yet."""


class Door:
    """Tells who makes a request. Holds nothing of its own but how the server is reached."""

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        *,
        on_loopback: bool,
        is_https: bool,
        has_oidc: bool,
        public_origin: str | None = None,
    ) -> None:
        """Make it.

        Args:
            accounts: who may sign in with a password.
            sessions: who has.
            on_loopback: the server is bound to loopback.
            is_https: browsers reach it by an address that begins with ``https``.
            has_oidc: whether people may sign in elsewhere.
            public_origin: where browsers reach it, besides the host that they name.
        """
        self._accounts = accounts
        self._sessions = sessions
        self._on_loopback = on_loopback
        self._is_https = is_https
        self._has_oidc = has_oidc
        self._public_origin = public_origin

    def has_people(self) -> bool:
        """Tell whether anybody can sign in; without anybody the console is this machine's."""
        return self._has_oidc or bool(self._accounts.people())

    def check(self, request: HTTPConnection) -> None:
        """See that the console may be used over this connection at all.

        Raises:
            Denied: it may not; the words say what would be.
        """
        local = self._is_local(request)
        if not self.has_people() and not local:
            raise Denied(
                "Nobody is set up to use the console, so it answers on the machine itself alone. "
                "Add somebody with: ci360-twilio people add NAME --role administrator"
            )
        if not local and not self._is_secure(request):
            raise Denied(
                "Passwords and customers' data are not shown over plain HTTP. Serve the console "
                "with tls_cert and tls_key, or set public_url to the https address in front of it."
            )

    def caller(self, request: HTTPConnection, *, used: bool) -> Caller:
        """Tell who makes a request."""
        token = request.cookies.get(self._cookie(request), "")
        session = self._sessions.get(token, used=used) if token else None
        if session is None and not self.has_people():
            token, session = self._sessions.begin()
            return Caller(session, token, LOCAL, is_new=True)
        return Caller(session, token, self._person(session))

    def is_foreign(self, request: HTTPConnection) -> bool:
        """Tell whether a page of somebody else's makes a request, before any of its body is read."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        origin = request.headers.get("origin")
        if site not in ("same-origin", "none"):
            return True
        host = request.headers.get("host", "")
        return origin not in (None, f"http://{host}", f"https://{host}", self._public_origin)

    def is_forged(self, request: HTTPConnection, form: FormData, session: Session) -> bool:
        """Tell whether a form was not sent by a page of ours."""
        if self.is_foreign(request):
            return True
        given = form.get("csrf", "")
        given = given if isinstance(given, str) else ""
        return not hmac.compare_digest(given.encode(errors="replace"), session.csrf.encode())

    def keep(self, request: HTTPConnection, response: Response, token: str) -> None:
        """Give the browser its session's token."""
        response.set_cookie(
            self._cookie(request),
            token,
            max_age=int(LONGEST.total_seconds()),
            path="/",
            secure=self._is_secure(request),
            httponly=True,
            samesite="lax",  # a sign-in elsewhere comes back from there
        )

    def forget(self, request: HTTPConnection, response: Response) -> None:
        """Take the token from the browser."""
        response.delete_cookie(
            self._cookie(request), secure=self._is_secure(request), httponly=True, samesite="lax"
        )

    def _person(self, session: Session | None) -> Person | None:
        if session is None:
            return None
        if not self.has_people():
            return LOCAL
        if session.account is None:
            return session.person
        account = self._accounts.account(session.account)  # as their rights are now
        if account is None or account.changed_at != session.account_changed_at:
            return None
        return account.person

    def _cookie(self, request: HTTPConnection) -> str:
        return SECURE_COOKIE if self._is_secure(request) else LOCAL_COOKIE

    def _is_secure(self, request: HTTPConnection) -> bool:
        return self._is_https or request.url.scheme == "https"

    def _is_local(self, request: HTTPConnection) -> bool:
        peer = request.client.host if request.client else ""
        headers = {name.lower(): value for name, value in request.headers.items()}
        return self._on_loopback and is_loopback(peer) and came_directly(headers)
