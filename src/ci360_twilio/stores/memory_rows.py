"""The contents of a ledger in memory, sorted by all that is searched for."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Note
from ci360_twilio.stores.columns import (
    DAY_MS,
    UNCOUNTED,
    Columns,
    by_age,
    columns_of,
    ms,
    recipient_of,
)
from ci360_twilio.stores.memory_wishes import MemoryWishes

Item = tuple[Any, ...]
"""What an entry is sorted by, then its number and its key."""
Index = defaultdict[Any, list[Item]]
"""Sorted lists by what they are searched for; an empty one is not kept."""


class MemoryRows(MemoryWishes):
    """A whole ledger; see :class:`ci360_twilio.stores.transaction.Transaction` for what is asked."""

    def __init__(self, hash_key: bytes) -> None:
        super().__init__(hash_key)
        self.entries: dict[Key, Entry] = {}
        """By key, in the order in which they were written."""
        self.notes: list[Note] = []
        self._columns: dict[Key, Columns] = {}
        self._due = Index(list)
        self._ended = Index(list)
        self._waiting: dict[Work, Index] = {Work.PACED: Index(list), Work.PARKED: Index(list)}
        self._received = Index(list)
        self._finished = Index(list)
        self._sids = Index(list)
        self._correlations = Index(list)
        self._pauses: dict[str, Pause] = {}
        self._budgets: dict[str, datetime] = {}
        self._tallies: defaultdict[TenantId, dict[int, int]] = defaultdict(dict)

    def get(self, key: Key) -> Entry | None:
        """Read an entry."""
        return self.entries.get(key)

    def add(self, entry: Entry) -> None:
        """Write an entry under a new key."""
        self.number(entry.key)
        self._columns[entry.key] = columns_of(entry)
        self.entries[entry.key] = entry
        self._sort_in(entry.key)
        self.note_owing(entry)
        if recipient := recipient_of(entry):
            insort(self._received[entry.tenant_id, recipient], self._made(entry))

    def write(self, entry: Entry) -> None:
        """Write an entry over what stands under its key."""
        columns = columns_of(entry)
        self.entries[entry.key] = entry
        self.note_owing(entry)
        if columns != self._columns[entry.key]:
            self._take_out(entry.key)
            self._columns[entry.key] = columns
            self._sort_in(entry.key)

    def delete(self, key: Key) -> None:
        """Forget an entry."""
        entry = self.entries.pop(key)
        self.owing.pop(key, None)
        self._take_out(key)
        if entry.message is not None:
            _discard(self._received, (entry.tenant_id, entry.message.to), self._made(entry))
        del self._columns[key], self._numbers[key]

    def due(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what is due."""
        return self._span(self._due.get(work), (), (ms(now) + 1,), limit)

    def ended(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what has reached its end."""
        return self._span(self._ended.get(work), (), (ms(now) + 1,), limit)

    def places(self, work: Work) -> list[str]:
        """List places."""
        return sorted(self._waiting[work])

    def parked(self, place: str, limit: int) -> list[Entry]:
        """List what waits behind a pause."""
        return self._span(self._waiting[Work.PARKED].get(place), (), (2,), limit)

    def queued(self, place: str, now: datetime, limit: int) -> list[Entry]:
        """List what waits in a queue."""
        queue, until = self._waiting[Work.PACED].get(place), ms(now) + 1
        single = self._span(queue, (), (0, until), limit)
        return single + self._span(queue, (1,), (1, until), limit - len(single))

    def with_sid(self, sid: str) -> list[Entry]:
        """List the entries that have a SID."""
        return self._span(self._sids.get(sid), (), None, len(self.entries))

    def correlated(self, correlation: str) -> list[Entry]:
        """List the entries that have a correlation id."""
        return self._span(self._correlations.get(correlation), (), None, len(self.entries))

    def received(self, tenant_id: TenantId, recipient: str, at: datetime, most: int) -> int:
        """Count messages to a recipient."""
        made, now = self._received.get((tenant_id, recipient), []), ms(at)
        first = bisect_left(made, (now - DAY_MS + 1,))
        last = bisect_left(made, ((now // DAY_MS + 1) * DAY_MS,))
        keys = (made[index][-1] for index in range(last - 1, first - 1, -1))
        counted = (key for key in keys if self.entries[key].status not in UNCOUNTED)
        return sum(1 for _ in islice(counted, most))

    def received_by(self, tenant_id: TenantId, recipient: str) -> Iterator[Entry]:
        """Go through the messages that count for a recipient, latest first."""
        made = self._received.get((tenant_id, recipient), [])
        return (self.entries[item[-1]] for item in reversed(made))

    def documents(self, keys: Sequence[Key]) -> list[Entry | Inbound | None]:
        """Read documents of either kind."""
        return [self.entries.get(key) or self.letters.get(key) for key in keys]

    def keep(self, document: Entry | Inbound) -> None:
        """Write a document that was read."""
        if isinstance(document, Entry):
            self.write(document)
        else:
            self.keep_inbound(document)

    def bury_document(self, key: Key) -> None:
        """Delete a document of either kind, leaving a tombstone."""
        [document] = self.documents([key])
        if isinstance(document, Entry):
            self.delete(key)
        elif document is not None:
            del self.letters[key], self._numbers[key]
        if document is not None:
            self.bury(key)

    def clear_notes(self, words: Collection[str]) -> int:
        """Take texts that hold one of these words from the audit."""
        cleared = 0
        for index, note in enumerate(self.notes):
            if any(word in (note.detail or "") for word in words):
                self.notes[index] = msgspec.structs.replace(note, detail=None)
                cleared += 1
        return cleared

    def finished(self) -> Iterator[Key]:
        """Go through what may be forgotten, in the order in which it was written."""
        return (item[-1] for item in self._finished.get(True, ()))

    def pauses(self) -> list[Pause]:
        """List the pauses."""
        return sorted(self._pauses.values(), key=by_age)

    def keep_pause(self, pause: Pause) -> None:
        """Write a pause."""
        self._pauses[pause.name] = pause

    def drop_pause(self, name: str) -> bool:
        """Remove a pause."""
        return self._pauses.pop(name, None) is not None

    def write_note(self, note: Note) -> None:
        """Add a note."""
        self.notes.append(note)

    def budget(self, place: str) -> datetime | None:
        """Tell when a budget is full again."""
        return self._budgets.get(place)

    def set_budget(self, place: str, full_at: datetime) -> None:
        """Write when a budget is full again."""
        self._budgets[place] = full_at

    def started(self, tenant_id: TenantId, since: int) -> int:
        """Count messages that a tenant has started."""
        counts = self._tallies.get(tenant_id, {})
        return sum(count for minute, count in counts.items() if minute >= since)

    def count_start(self, tenant_id: TenantId, minute: int) -> None:
        """Count a message."""
        counts = self._tallies[tenant_id]
        counts[minute] = counts.get(minute, 0) + 1

    def forget_starts(self, before: int) -> None:
        """Forget what was counted before a minute."""
        for counts in self._tallies.values():
            for minute in [minute for minute in counts if minute < before]:
                del counts[minute]

    def _span(
        self, items: list[Item] | None, start: Item, end: Item | None, limit: int
    ) -> list[Entry]:
        """Give the first entries of a sorted list from ``start`` to before ``end``."""
        if not items or limit <= 0:
            return []
        first = bisect_left(items, start)
        last = len(items) if end is None else bisect_left(items, end)
        return [self.entries[item[-1]] for item in items[first : min(last, first + limit)]]

    def _sort_in(self, key: Key) -> None:
        for index, name, item in self._spots(key):
            insort(index[name], item)

    def _take_out(self, key: Key) -> None:
        for index, name, item in self._spots(key):
            _discard(index, name, item)

    def _spots(self, key: Key) -> Iterator[tuple[Index, Any, Item]]:
        """Give the lists in which an entry stands, and as what."""
        number, columns = self._numbers[key], self._columns[key]
        status, work, due_at, sid, correlation, place, lane, ends_at, *_ = columns
        yield self._due, work, (due_at, status, number, key)
        if sid is not None:
            yield self._sids, sid, (number, key)
        if correlation is not None:
            yield self._correlations, correlation, (number, key)
        if place is not None:
            yield self._waiting[work], place, (lane, due_at, number, key)
        if ends_at is not None:
            yield self._ended, work, (ends_at, number, key)
        if work in (Work.FETCH, Work.PURGE):
            yield self._finished, True, (number, key)

    def _made(self, entry: Entry) -> Item:
        return ms(entry.created_at), self._numbers[entry.key], entry.key


def _discard(index: Index, name: Any, item: Item) -> None:
    """Remove an entry from a list, if it is there."""
    items = index.get(name, [])
    where = bisect_left(items, item)
    if items[where : where + 1] == [item]:
        del items[where]
        if not items:
            del index[name]
