"""Messages: the search, and the whole story of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
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
from ci360_twilio.core.replay import REPLAYABLE
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.edge.story import Story, find_entries, gates, standing, step_words, tell
from ci360_twilio.errors import NotKnown, SettingsError
from ci360_twilio.flow.steer import RESOLVABLE
from ci360_twilio.ports import Query

PER_PAGE = 50
_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"(?:[a-z]{2,12}:)?\+?[0-9 ().\-/]{7,24}")


class Search(NamedTuple):
    """What somebody looks for, as the form has it."""

    find: str = ""
    """A guid, a SID, a number or an identity; never part of an address."""
    task: str = ""
    status: str = ""
    sender: str = ""
    country: str = ""
    reason: str = ""
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
    return _listed(visit, search, older_than=visit.text("older_than"))


def _listed(visit: Visit, search: Search, older_than: str = "") -> Response:
    words, found = "", list[Entry]()
    try:
        found = _found(visit, search, older_than)
    except (NotKnown, SettingsError) as exc:
        words = exc.message
    now = visit.now()
    shown = [sweep(entry, now) for entry in found[:PER_PAGE]]
    more = shown[-1].created_at.isoformat() if len(found) > PER_PAGE else ""
    return visit.show(
        "messages.html",
        search=search,
        statuses=[*Status],
        found=[(entry, reason_words(entry.reason) if entry.reason else "") for entry in shown],
        older_than=more,
        words=words,
        tenants=visit.tenants(),
        now=now,
    )


def _found(visit: Visit, search: Search, older_than: str) -> list[Entry]:
    """Ask the ledger, once for each way in which the text may be meant, until one finds something."""
    before = _moment(older_than) or _moment(search.before)
    query = Query(
        task=search.task or None,
        statuses=frozenset({_status(search.status)} if search.status else ()),
        sender=search.sender or None,
        country=search.country.upper() or None,
        reason=search.reason or None,
        since=_moment(search.since),
        before=before,
        limit=PER_PAGE + 1,
    )
    scope = visit.scope(TenantId(search.tenant) if search.tenant else None)
    for meant in _meant(search.find):
        narrowed = msgspec.structs.replace(query, **meant)
        found: list[Entry] = []
        for tenant_id in scope:
            found += visit.store.find(msgspec.structs.replace(narrowed, tenant_id=tenant_id))
        if found:
            return sorted(found, key=lambda one: one.created_at, reverse=True)[: PER_PAGE + 1]
    return []


def _meant(text: str) -> Iterator[dict[str, str]]:
    """Give the ways in which the one field may be meant, likeliest first."""
    if not text:
        yield {}
        return
    if _SID.fullmatch(text):
        yield {"sid": text}
        return
    recipient = parse_recipient(text) if _NUMBER.fullmatch(text) else None
    if recipient is not None:
        yield {"recipient": person_of(recipient)}
    yield {"guid": text}
    yield {"identity": text}


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
        may_replay=entry.status in REPLAYABLE,
        may_resolve=entry.status in RESOLVABLE,
        identities=sorted(entry.origin.identities.items()),
    )


PAGES = (
    Page("GET", "/messages", Right.SEE, ask),
    Page("POST", "/messages", Right.SEE, look),
    Page("GET", "/messages/{guid:path}", Right.SEE, one),
    Page("POST", "/messages/{guid:path}", Right.UNMASK, unmask),
)
