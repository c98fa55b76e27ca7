"""Entries whose message may be on Twilio's list while their SID is not known here, by recipient."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Key, Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Clock, Ledger, Query

OPEN = frozenset({Status.UNKNOWN, Status.SENDING})
PAGE = 2000
"""How many entries are read at a time."""
TICK = timedelta(milliseconds=1)
"""By how much pages overlap: a store may keep no finer times."""
REST = 20
"""For how many times as long as the listing took it is used again."""


class Searched(Ledger, Protocol):
    """A ledger whose entries can be listed by status."""

    def find(self, query: Query) -> list[Entry]:
        """List entries; see :class:`ci360_twilio.ports.Archive`."""
        ...


class _Listing(NamedTuple):
    """What was listed of a tenant, and the span of time in which it is used."""

    since: datetime
    until: datetime
    keys: Mapping[str, Sequence[Key]]


class Unsettled:
    """Knows which recipients have several. Safe for many threads.

    A ledger is not searched by recipient, so all that is open is listed. Where that takes long, as
    after an outage, a list is used for a while: what opens meanwhile is missed.
    """

    def __init__(self, ledger: Searched, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._listings: dict[TenantId, _Listing] = {}
        self._lock = threading.Lock()

    def beside(self, entry: Entry) -> list[Entry]:
        """Give the tenant's other open entries to an entry's recipient, as they are now."""
        if entry.message is None:
            return []
        keys = self._listing(entry.tenant_id).keys.get(entry.message.to, ())
        now = self._clock()
        read = self._ledger.get_many([key for key in keys if key != entry.key])
        swept = [sweep(one, now) for one in read if one is not None]
        return [one for one in swept if one.status in OPEN]

    def _listing(self, tenant_id: TenantId) -> _Listing:
        with self._lock:
            began = self._clock()
            listing = self._listings.get(tenant_id)
            if listing is None or not listing.since <= began < listing.until:
                keys = self._list(tenant_id)
                now = self._clock()
                listing = _Listing(began, now + REST * (now - began), keys)
                self._listings[tenant_id] = listing
        return listing

    def _list(self, tenant_id: TenantId) -> Mapping[str, Sequence[Key]]:
        """List the keys of open entries by recipient, where a recipient has several."""
        keys: dict[str, dict[Key, None]] = {}
        query = Query(tenant_id=tenant_id, statuses=OPEN, limit=PAGE)
        while page := self._ledger.find(query):
            for one in page:
                keys.setdefault(one.message.to if one.message else "", {})[one.key] = None
            if len(page) < PAGE:
                break
            first, last = page[0].created_at, page[-1].created_at
            before = last + TICK if first - last > TICK else last
            query = msgspec.structs.replace(query, before=before)
        return {to: list(found) for to, found in keys.items() if len(found) > 1}
