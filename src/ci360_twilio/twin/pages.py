"""Lists of messages: which ones a query asks for, and page by page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from ci360_twilio.twin.answer import ApiError, Form, Resource, one
from ci360_twilio.twin.message import Message


class Filter(NamedTuple):
    """What to list: messages sent in ``[since, until)``."""

    to: str
    sender: str
    since: datetime
    until: datetime

    @classmethod
    def read(cls, query: Form) -> Filter:
        """Read the filters of a query; refuses with 20422 what is no date."""
        since, until = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        if day := one(query, "DateSent"):
            # a client may send midnight for a day, and nobody asks for one second
            since, until = _span("DateSent", day[:10])
        if text := one(query, "DateSent>"):
            since = max(since, _span("DateSent>", text)[0])
        if text := one(query, "DateSent<"):
            until = min(until, _span("DateSent<", text)[1])
        return cls(one(query, "To"), one(query, "From"), since, until)

    def matches(self, message: Message) -> bool:
        """Tell whether a message is asked for, but for its recipient."""
        # dates are shown in whole seconds, so that is what they are compared by
        at = message.dated.replace(microsecond=0)
        return self.since <= at < self.until and self.sender in ("", message.sender or message.via)


def _span(name: str, text: str) -> tuple[datetime, datetime]:
    """Read a date, which is a day, or a date-time, which is a second; UTC unless it says else."""
    try:
        at = datetime.fromisoformat(text).replace(microsecond=0)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        return at, at + (timedelta(days=1) if len(text) <= 10 else timedelta(seconds=1))
    except (ValueError, OverflowError):
        raise ApiError(20422, name) from None


class Page(NamedTuple):
    """Which part of a list to show.

    A token names the message at the edge of the page it was given with: ``PA`` the last one, to be
    followed by older ones, ``PB`` the first one, to be preceded by newer ones.
    """

    page: int
    size: int
    token: str

    @classmethod
    def read(cls, query: Form) -> Page:
        """Read size and place of a page; refuses with 20422 what is out of bounds."""
        size, page = one(query, "PageSize") or "50", one(query, "Page") or "0"
        token = one(query, "PageToken")
        if not re.fullmatch(r"[0-9]{1,4}", size) or not 1 <= int(size) <= 1000:
            raise ApiError(20422, "PageSize")
        if not re.fullmatch(r"[0-9]{1,9}", page):
            raise ApiError(20422, "Page")
        if token and not re.fullmatch(r"P[AB][0-9a-f]{16}", token):
            raise ApiError(20422, "PageToken")
        return cls(int(page), int(size), token)

    def resource(self, collection: str, query: Form, found: Sequence[Message]) -> Resource:
        """Show the page of what was found, with the addresses of its neighbours."""
        start = self._start(found)
        shown = found[start : start + self.size]
        kept = [
            (name, value)
            for name, values in query.items()
            if name in ("To", "From", "DateSent", "DateSent<", "DateSent>")
            for value in values[-1:]
        ]

        def uri(page: int, token: str = "") -> str:
            place = [("PageSize", str(self.size)), ("Page", str(page))]
            tokens = [("PageToken", token)] if token else []
            return f"{collection}.json?{urlencode([*kept, *place, *tokens])}"

        following = start + self.size < len(found)
        before = self.page > 0 and start > 0 and bool(shown)
        first = self.page * self.size
        return {
            "end": first + max(0, len(shown) - 1),
            "first_page_uri": uri(0),
            "messages": [message.shown for message in shown],
            "next_page_uri": uri(self.page + 1, f"PA{shown[-1].number:016x}")
            if following
            else None,
            "page": self.page,
            "page_size": self.size,
            "previous_page_uri": uri(self.page - 1, f"PB{shown[0].number:016x}")
            if before
            else None,
            "start": first,
            "uri": uri(self.page, self.token),
        }

    def _start(self, found: Sequence[Message]) -> int:
        if not self.token:
            return self.page * self.size
        edge = int(self.token[2:], 16)
        newer = sum(message.number > edge for message in found)
        if self.token.startswith("PB"):
            return max(0, newer - self.size)
        return newer + sum(message.number == edge for message in found)
