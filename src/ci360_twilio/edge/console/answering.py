"""Makes the console's responses: lets requests in, has pages made, and says what went wrong."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Message, Receive

from ci360_twilio.edge.console.desk import ROOT, Desk, Page, Visit
from ci360_twilio.edge.console.door import Door
from ci360_twilio.errors import ConnectorError, Denied, TooLarge

AT_ONCE = 4
"""Pages that are made at one time; events and receipts have threads of their own."""
MOST_FIELD = 1_200_000
"""Bytes of one field, which lies in memory; files do not."""
MOST_TEXTS = 16 * 1024
"""Bytes that are taken of a form by which somebody signs in."""
FORGED = "This form is out of date, or is none of ours. Load its page anew."
Made = TypeVar("Made")


class Answering:
    """Makes responses: of pages, and of what went wrong."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self.desk = desk
        self.door = door
        self._limit = anyio.CapacityLimiter(AT_ONCE)

    async def answer(self, request: Request, page: Page) -> Response:
        """Answer a request for a page."""
        self.door.check(request)
        caller = self.door.caller(request, used=not page.quiet)
        if caller.session is None or caller.person is None:
            return self._to_sign_in(request)
        if not caller.person.may(page.right):
            raise Denied(f"That takes another role than {caller.person.role}.")
        if request.method == "POST" and self.door.is_foreign(request):
            raise Denied(FORGED)
        form = await self.form(request, page.most)
        try:
            if request.method == "POST" and self.door.is_forged(request, form, caller.session):
                raise Denied(FORGED)
            visit = Visit(
                desk=self.desk,
                person=caller.person,
                session=caller.session,
                path=request.path_params,
                query=request.query_params,
                form=form,
            )
            response = await self.in_thread(partial(page.run, visit))
        finally:
            await form.close()
        if caller.is_new:
            self.door.keep(request, response, caller.token)
        return response

    async def in_thread(self, make: Callable[[], Made]) -> Made:
        """Do in a thread what waits for the ledger, or for a hash."""
        return await anyio.to_thread.run_sync(make, limiter=self._limit)

    async def form(self, request: Request, most: int) -> FormData:
        """Read the form of a request, if it has one.

        Raises:
            TooLarge: the body is over the limit.
        """
        if request.method != "POST":
            return FormData()
        kind = request.headers.get("content-type", "").lower()
        charset = parse_options_header(kind)[1].get(b"charset", b"")
        if charset not in (b"", b"utf-8", b"utf8"):
            raise HTTPException(400)
        limited = Request(request.scope, _limited(request.receive, most))
        return await limited.form(max_files=1, max_fields=200, max_part_size=min(most, MOST_FIELD))

    async def texts(self, request: Request) -> FormData:
        """Read a form that is to hold no files, before anybody is signed in; raises as :meth:`form`."""
        form = await self.form(request, MOST_TEXTS)
        await form.close()
        return form

    async def safely(self, answer: Awaitable[Response], path: str) -> Response:
        """Give an answer; whatever goes wrong becomes a page that says so."""
        try:
            return await answer
        except ConnectorError as exc:
            return self.wrong(exc)
        except HTTPException as exc:  # a form that is none
            return self._page(exc.status_code, "This could not be read", "The form is damaged.")
        except Exception as exc:  # noqa: BLE001 - nothing that somebody sends shows a stack trace
            where = traceback.extract_tb(exc.__traceback__)[-1]
            self.desk.log.error(
                "console.unexpected",
                error=type(exc).__name__,
                path=path,
                where=f"{Path(where.filename).name}:{where.lineno}",
            )
            words = "Something unforeseen happened; the log names it."
            return self._page(503, "This cannot be shown just now", words)

    def wrong(self, exc: ConnectorError) -> Response:
        """Make the page of an error."""
        status = exc.http_status if exc.http_status != 500 else 400
        titles = {
            403: "You may not do that",
            404: "Nothing is there",
            413: "That is too large",
            429: "Not so often",
            503: "This cannot be shown just now",
        }
        return self._page(status, titles.get(status, "That did not work"), exc.message)

    async def nothing_here(self, _request: Request, exc: Exception) -> Response:
        """Answer requests for what no page is."""
        status = exc.status_code if isinstance(exc, HTTPException) else 404
        words = "There is no such page." if status == 404 else "That cannot be done to this page."
        return self._page(status, "Nothing is there", words)

    def _page(self, status: int, title: str, words: str) -> Response:
        template = self.desk.pages.get_template("error.html")
        headers = {"Retry-After": "5"} if status == 503 else None
        return HTMLResponse(template.render(title=title, words=words), status, headers)

    def _to_sign_in(self, request: Request) -> Response:
        """Send whoever is not signed in to where they can, and back from there."""
        to = request.url.path.removeprefix(ROOT) if request.method == "GET" else ""
        to += f"?{request.url.query}" if to and request.url.query else ""
        where = f"{ROOT}/sign-in" + (f"?{urlencode({'next': to})}" if to else "")
        if "hx-request" in request.headers:  # a part of a page: the whole goes there
            return Response(status_code=401, headers={"HX-Redirect": f"{ROOT}/sign-in"})
        return RedirectResponse(where, 303)


def _limited(receive: Receive, most: int) -> Receive:
    """Read a body up to so many bytes."""
    left = most

    async def read() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge(f"That is over {most:,} bytes.")
        return message

    return read
