"""Which entries a person means: :class:`Named` ones, or a :class:`Selection` of all that fit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from ci360_twilio.core.entry import Entry, Key, Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotKnown
from ci360_twilio.ports import Archive, Query

PAGE = 500
"""Entries that are given, and changed in one commit, at one time."""
READ = 10_000
"""Entries that are read at one time: a store may have to look through all for each reading."""
_OVERLAP = timedelta(milliseconds=2)
"""Stores compare milliseconds: pages overlap by more than one, so that none falls in between."""
_SHOWN = 3
"""Guids that are named in words; more are counted."""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """Entries by their guids or SIDs, of one tenant where it is given."""

    guids: tuple[str, ...]
    tenant_id: TenantId | None = None

    def __str__(self) -> str:
        """Name them, the first few by their guids."""
        more = len(self.guids) - _SHOWN
        words = ", ".join(self.guids[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return words + (f" of tenant {self.tenant_id}" if self.tenant_id else "")


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Entries by what they have in common; absent members do not narrow."""

    tenant_id: TenantId | None = None
    task: str | None = None
    sender: str | None = None
    country: str | None = None
    statuses: frozenset[Status] = frozenset()
    since: datetime | None = None

    def __str__(self) -> str:
        """Say what they have in common."""
        said = {
            "tenant": self.tenant_id,
            "task": self.task,
            "sender": self.sender,
            "country": self.country,
            "status": ", ".join(sorted(self.statuses)),
            "since": self.since and f"{self.since:%Y-%m-%dT%H:%M:%SZ}",
        }
        return " ".join(f"{name} {value}" for name, value in said.items() if value) or "all"


Chosen = Named | Selection


def pages(
    archive: Archive, chosen: Chosen, statuses: frozenset[Status], *, read: int = READ
) -> Iterator[list[Entry]]:
    """Read the entries that are meant, newest first, a page at a time.

    Args:
        archive: where they are.
        chosen: which are meant. What comes after the first page was read is left out.
        statuses: those of a selection; named entries are given whatever their status.
        read: how many entries are read at one time.

    Raises:
        NotKnown: a named one is not known, or known of several tenants; before the first page.
    """
    if isinstance(chosen, Named):
        yield named(archive, chosen)
        return
    query = Query(
        tenant_id=chosen.tenant_id,
        task=chosen.task,
        sender=chosen.sender,
        country=chosen.country,
        statuses=(chosen.statuses & statuses) if chosen.statuses else statuses,
        since=chosen.since,
        limit=read,
    )
    if statuses and not query.statuses:
        return
    for found in _all(archive, query):
        for start in range(0, len(found), PAGE):
            yield found[start : start + PAGE]


def named(archive: Archive, chosen: Named) -> list[Entry]:
    """Read entries by their guids, or by their SIDs where there is no such guid.

    Raises:
        NotKnown: one of them is not known, or known of several tenants.
    """
    found, unknown = dict[Key, Entry](), list[str]()
    for guid in chosen.guids:
        entries = archive.find(Query(guid=guid, tenant_id=chosen.tenant_id, limit=10))
        entries = entries or archive.find(Query(sid=guid, tenant_id=chosen.tenant_id, limit=10))
        if len(entries) > 1:
            tenants = ", ".join(sorted(entry.tenant_id for entry in entries))
            raise NotKnown(f"Several tenants have {guid} ({tenants}); add --tenant.")
        if not entries:
            unknown.append(guid)
        found.update((entry.key, entry) for entry in entries)
    if unknown:
        words = ", ".join(unknown[:_SHOWN]) + (", ..." if len(unknown) > _SHOWN else "")
        raise NotKnown(f"Nothing is known of {words}. Nothing was changed.")
    return list(found.values())


def _all(archive: Archive, query: Query) -> Iterator[list[Entry]]:
    """Go through all that fit a query, each once, though only times tell readings apart.

    Where one moment has more entries than are read at one time, more are read.
    """
    most, seen = query.limit, set[Key]()
    while True:
        found = archive.find(query)
        fresh = [entry for entry in found if entry.key not in seen]
        if fresh:
            yield fresh
        if len(found) < query.limit:
            return
        before = found[-1].created_at + _OVERLAP
        if query.before is None or before < query.before:
            query, seen = msgspec.structs.replace(query, before=before, limit=most), set()
        elif not fresh:
            query = msgspec.structs.replace(query, limit=query.limit * 2)
        seen.update(entry.key for entry in found)
