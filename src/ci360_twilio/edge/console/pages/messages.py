"""Messages: the search, and the whole story of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from starlette.responses import Response

from ci360_twilio.core.advice import advice_on
from ci360_twilio.core.consent import person_of
from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.message import parse_recipient
from ci360_twilio.core.person import Right
from ci360_twilio.core.reasons import in_words, reason_words
from ci360_twilio.core.receipt import MESSAGE_SID
from ci360_twilio.core.replay import REPLAYABLE, Objection, objection
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.edge.story import Story, find_entries, gates, standing, step_words, tell
from ci360_twilio.errors import ConnectorError, NotKnown, SettingsError
from ci360_twilio.flow.steer import RESOLVABLE
from ci360_twilio.ports import Query

PER_PAGE = 50
MOST_REGIONS = 10
_NUMBER = re.compile(r"(?:[a-z]{2,12}:)?\+?[0-9 ().\-/]{7,24}")


class Search(NamedTuple):
    """What somebody looks for, as the form has it."""

    find: str = ""
    """A guid, a SID, a number or an identity; never part of an address."""
    task: str = ""
    status: str = ""
    """One, or several with commas between them."""
    sender: str = ""
    country: str = ""
    reason: str = ""
    error_code: str = ""
    since: str = ""
    before: str = ""
    tenant: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it narrows nothing."""
        return not any(self)


def ask(visit: Visit) -> Response:
    """Show the newest messages, perhaps of a task or status that a link names."""
    members = {name: visit.asked(name) for name in Search._fields if name not in ("find", "sender")}
    return _listed(visit, Search(**members))


def look(visit: Visit) -> Response:
    """Show what a search finds; numbers and identities come in its body alone."""
    search = Search(**{name: visit.text(name) for name in Search._fields})
    return _listed(visit, search, Cursor.read(visit.text("older_than")))


class Cursor(NamedTuple):
    """Where a page of a list has ended: all of one commit came in at one moment, which may be many."""

    at: datetime
    seen: int
    """How many of that millisecond were shown."""

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """Read what :meth:`__str__` wrote; raises ``SettingsError`` where that is none."""
        at, _, seen = text.partition(" ")
        moment = _moment(at)
        if moment is None:
            return None
        return cls(moment, int(seen) if seen.isdecimal() and len(seen) < 6 else 0)

    @classmethod
    def after(cls, shown: list[Entry], before: Cursor | None) -> Cursor:
        """Give where a page has ended that began at another's end."""
        at = _millisecond(shown[-1].created_at)
        seen = sum(_millisecond(one.created_at) == at for one in shown)
        return cls(at, seen + (before.seen if before is not None and before.at == at else 0))

    def __str__(self) -> str:
        """Write it into a form."""
        return f"{self.at.isoformat()} {self.seen}"


def _millisecond(at: datetime) -> datetime:
    """Give a moment as ledgers compare it."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _listed(visit: Visit, search: Search, begin: Cursor | None = None) -> Response:
    words, found = "", list[Entry]()
    try:
        found = _found(visit, search, begin)
    except (NotKnown, SettingsError) as exc:
        words = exc.message
    now = visit.now()
    shown = [sweep(entry, now) for entry in found[:PER_PAGE]]
    more = str(Cursor.after(shown, begin)) if len(found) > PER_PAGE else ""
    return visit.show(
        "messages.html",
        400 if words else 200,
        search=search,
        statuses=[*Status],
        found=[(entry, reason_words(entry.reason) if entry.reason else "") for entry in shown],
        older_than=more,
        words=words,
        tenants=visit.tenants(),
        now=now,
    )


def _found(visit: Visit, search: Search, begin: Cursor | None) -> list[Entry]:
    """Ask the ledger, once for each way in which the text may be meant, until one finds something."""
    before = _moment(search.before)
    seen = 0 if begin is None else begin.seen
    if begin is not None:
        before = begin.at + timedelta(milliseconds=1)
    query = Query(
        task=search.task or None,
        statuses=frozenset(map(_status, filter(None, search.status.split(",")))),
        error_code=_code(search.error_code),
        sender=search.sender or None,
        country=search.country.upper() or None,
        reason=search.reason or None,
        since=_moment(search.since),
        before=before,
        limit=seen + PER_PAGE + 1,
    )
    scope = visit.scope(TenantId(search.tenant) if search.tenant else None)
    for meant in _meant(search.find, visit):
        narrowed = msgspec.structs.replace(query, **meant)
        found: list[Entry] = []
        for tenant_id in scope:
            found += visit.store.find(msgspec.structs.replace(narrowed, tenant_id=tenant_id))
        if found:
            found.sort(key=lambda one: _millisecond(one.created_at), reverse=True)
            return found[seen : seen + PER_PAGE + 1]
    return []


def _meant(text: str, visit: Visit) -> Iterator[dict[str, str]]:
    """Give the ways in which the one field may be meant, likeliest first."""
    if not text:
        yield {}
        return
    if MESSAGE_SID.fullmatch(text):
        yield {"sid": text}
        return
    if _NUMBER.fullmatch(text):
        numbers = (parse_recipient(text, region) for region in _regions(visit))
        yield from ({"recipient": person_of(one)} for one in dict.fromkeys(filter(None, numbers)))
    yield {"guid": text}
    yield {"identity": text}


def _regions(visit: Visit) -> Iterator[str | None]:
    """Give the countries whose national numbers may be meant: none, then those of the tenants."""
    yield None
    for tenant_id in visit.tenants()[:MOST_REGIONS]:
        with suppress(ConnectorError):
            yield visit.tenant(tenant_id).default_region


def _code(text: str) -> int | None:
    if text and not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise SettingsError("Twilio's error codes are numbers.")
    return int(text) if text else None


def _status(text: str) -> Status:
    if text not in {*Status}:
        raise SettingsError("There is no such status.")
    return Status(text)


def _moment(text: str) -> datetime | None:
    """Read a moment as browsers write it; it is UTC unless it says else."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise SettingsError("A time is written like 2026-03-01T09:30.") from None


def one(visit: Visit) -> Response:
    """Tell the story of one message."""
    return _told(visit, _story(visit))


def unmask(visit: Visit) -> Response:
    """Tell it with number and texts in clear, this once."""
    story = _story(visit)
    visit.unmask(story.entry.key, story.entry.tenant_id)
    return _told(visit, story, is_clear=True)


def _story(visit: Visit) -> Story:
    """Find the message that the address names; one of another's tenant is not known.

    Raises:
        NotKnown: there is none that the person may see.
    """
    tenant = visit.asked("tenant")
    found = [
        entry
        for tenant_id in visit.scope(TenantId(tenant) if tenant else None)
        for entry in _entries(visit, tenant_id)
    ]
    if not found:
        raise NotKnown(
            "Nothing is known of this event: it never passed the door, or its entry was deleted "
            "after its retention, or erased, or it is of a tenant that you do not see."
        )
    return tell(visit.store, found[0], visit.now())


def _entries(visit: Visit, tenant_id: TenantId | None) -> list[Entry]:
    try:
        return find_entries(visit.store, visit.path["guid"], tenant_id)
    except NotKnown:
        return []


def _told(visit: Visit, story: Story, *, is_clear: bool = False) -> Response:
    entry = story.entry
    return visit.show(
        "message.html",
        entry=entry,
        words=in_words(entry),
        advice=advice_on(entry),
        standing=[*standing(story)],
        gates=gates(entry),
        steps=[(step, step_words(step)) for step in entry.history],
        reports=[(report, reason_words(report.aside or "")) for report in story.reports],
        replies=story.replies,
        is_clear=is_clear,
        may_cancel=entry.status is Status.ACCEPTED,
        objection=_objection(entry),
        may_resolve=entry.status in RESOLVABLE,
        identities=sorted(entry.origin.identities.items()),
    )


def _objection(entry: Entry) -> Objection | None:
    """Tell what speaks against sending an entry again; for those that cannot be, that it cannot."""
    if entry.message is None or entry.status not in REPLAYABLE:
        return Objection("not_replayable", "")
    return objection(entry)


PAGES = (
    Page("GET", "/messages", Right.SEE, ask),
    Page("POST", "/messages", Right.SEE, look),
    Page("GET", "/messages/{guid:path}", Right.SEE, one),
    Page("POST", "/messages/{guid:path}", Right.UNMASK, unmask),
)
