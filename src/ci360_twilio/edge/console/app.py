"""The console's application: its routes, what each takes to be let through, and what goes wrong."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ci360_twilio.edge.console.answering import Answering
from ci360_twilio.edge.console.desk import ROOT, Desk, Page
from ci360_twilio.edge.console.door import HEADERS, Door
from ci360_twilio.edge.console.pages import PAGES
from ci360_twilio.edge.console.signing import Signing

STATIC = Path(__file__).with_name("static")
YEAR = "public, max-age=31536000, immutable"


def make_console(desk: Desk, door: Door, signing: Signing) -> ASGIApp:
    """Make the application; paths begin with ``/console``."""
    desk.pages.globals["asset"] = _asset
    answering = Answering(desk, door)
    routes: list[BaseRoute] = [
        Mount(f"{ROOT}/static", StaticFiles(directory=STATIC)),
        *signing.routes(answering),
        *(
            Route(ROOT + page.path, _Endpoint(answering, page), methods=[page.method])
            for page in PAGES
        ),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: answering.nothing_here})
    return _WithHeaders(app)


@cache
def _asset(name: str) -> str:
    """Give the address of a static file, which changes with what is in it."""
    found = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"{ROOT}/static/{quote(name)}?v={found}"


class _WithHeaders:
    """Adds to every response what keeps a browser from doing what no page of ours asks it to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_static = scope["path"].startswith(f"{ROOT}/static/") and scope["query_string"] != b""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if is_static and message["status"] == 200:
                    headers["Cache-Control"] = YEAR
            await send(message)

        await self._app(scope, receive, with_headers)


class _Endpoint:
    """One page as an application of its own."""

    def __init__(self, answering: Answering, page: Page) -> None:
        self._answering, self._page = answering, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = self._answering.answer(request, self._page)
        response = await self._answering.safely(answer, self._page.path)
        await response(scope, receive, send)
