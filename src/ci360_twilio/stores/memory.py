"""A ledger in memory: for tests, rehearsals, and the direct Lambda without a table."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice

from ci360_twilio.core.entry import (
    UNFINISHED,
    Entry,
    Fact,
    Key,
    Kind,
    Lease,
    Work,
    admit,
    advance,
    due,
    purged,
    sweep,
    take,
)
from ci360_twilio.ports import Claimed, Inserted, Query, Summary
from ci360_twilio.stores.tombstone import tombstone


class MemoryStore:
    """Keeps entries in a dictionary; as safe as the process, no safer."""

    def __init__(self, *, hash_key: bytes = b"memory", most: int | None = None) -> None:
        """Make an empty ledger.

        Args:
            hash_key: the key of the tombstones' hashes.
            most: how many entries are kept; beyond it the oldest finished ones are forgotten.
        """
        self._most = most
        self._entries: dict[Key, Entry] = {}
        self._tombstones: set[bytes] = set()
        self._hash_key = hash_key
        self._restored_at: datetime | None = None
        self._paused = False
        self._lock = threading.Lock()

    def insert_many(self, entries: Sequence[Entry]) -> list[Inserted]:
        """Write entries under new keys; see :class:`ci360_twilio.ports.Ledger`."""
        with self._lock:
            return [self._insert(entry) for entry in entries]

    def _insert(self, entry: Entry) -> Inserted:
        known = self._entries.get(entry.key)
        if known is not None:
            known = advance(known, Fact(kind=Kind.REPEATED, at=entry.created_at)) or known
            self._entries[entry.key] = known
            return Inserted(known, created=False)
        if tombstone(entry.key, self._hash_key) in self._tombstones:
            return Inserted(purged(entry), created=False)
        entry = self._entries[entry.key] = admit(entry, self._restored_at)
        if self._most is not None and len(self._entries) > self._most:
            self._forget_oldest()
        return Inserted(entry, created=True)

    def _forget_oldest(self) -> None:
        excess = len(self._entries) - (self._most or 0)
        finished = (entry.key for entry in self._entries.values() if entry.finished)
        for key in list(islice(finished, excess)):
            del self._entries[key]

    def claim(
        self, *, now: datetime, lease: Lease, limit: int, keys: Iterable[Key] | None = None
    ) -> Claimed:
        """Take due entries; see :class:`ci360_twilio.ports.Ledger`."""
        claimed = Claimed([], [])
        with self._lock:
            if self._paused:
                return claimed
            for entry in self._candidates(now, keys)[:limit]:
                swept = sweep(entry, now)
                if swept.status is not entry.status:
                    claimed.swept.append(swept)
                taken = take(swept, now, lease)
                if taken:
                    claimed.entries.append(taken)
                self._entries[entry.key] = taken or swept
        return claimed

    def _candidates(self, now: datetime, keys: Iterable[Key] | None) -> list[Entry]:
        if keys is not None:
            return [self._entries[key] for key in dict.fromkeys(keys) if key in self._entries]
        waiting = [(due(entry), entry) for entry in self._entries.values()]
        ready = [
            (when.at, entry) for when, entry in waiting if when.work is Work.SEND and when.at <= now
        ]
        return [entry for _, entry in sorted(ready, key=lambda pair: pair[0])]

    def record_many(self, facts: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
        """Apply facts; see :class:`ci360_twilio.ports.Ledger`."""
        with self._lock:
            return [self._record(key, fact) for key, fact in facts]

    def _record(self, key: Key, fact: Fact) -> Entry | None:
        entry = self._entries.get(key)
        changed = advance(entry, fact) if entry is not None else None
        if changed is not None:
            self._entries[key] = changed
        return changed

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries; see :class:`ci360_twilio.ports.Ledger`."""
        with self._lock:
            return [self._entries.get(key) for key in keys]

    def find(self, query: Query) -> list[Entry]:
        """List entries; see :class:`ci360_twilio.ports.Ledger`."""
        with self._lock:
            arrived_last_first = list(self._entries.values())[::-1]
        newest_first = sorted(arrived_last_first, key=lambda entry: entry.created_at, reverse=True)
        found = [entry for entry in newest_first if _matches(entry, query)]
        return found[: query.limit]

    def purge(self, *, now: datetime, limit: int) -> int:
        """Replace entries by tombstones; see :class:`ci360_twilio.ports.Ledger`."""
        with self._lock:
            over = [entry for entry in self._entries.values() if _is_over(entry, now)][:limit]
            for entry in over:
                self._tombstones.add(tombstone(entry.key, self._hash_key))
                del self._entries[entry.key]
        return len(over)

    def probe(self) -> None:
        """Do nothing: memory can always be written."""

    def summary(self, now: datetime) -> Summary:
        """Count; see :class:`ci360_twilio.ports.Vitals`."""
        with self._lock:
            entries = list(self._entries.values())
            ready = self._candidates(now, None)
        dues = [due(entry).at for entry in ready]
        counts = {status: sum(entry.status is status for entry in entries) for status in UNFINISHED}
        return Summary(
            unfinished={status: count for status, count in counts.items() if count},
            due=len(dues),
            oldest_due_at=min(dues, default=None),
            restored_at=self._restored_at,
            paused=self._paused,
            outdated=False,
        )

    def mark_restored(self, at: datetime) -> None:
        """Mark as restored; see :class:`ci360_twilio.ports.Vitals`."""
        with self._lock:
            self._restored_at, self._paused = at, True
            for key in self._entries:
                self._record(key, Fact(kind=Kind.RESTORED, at=at, reason="restored"))

    def resume(self) -> None:
        """Allow claims again."""
        self._paused = False

    def close(self) -> None:
        """Do nothing; the entries go with the object."""


def _is_over(entry: Entry, now: datetime) -> bool:
    when = due(entry)
    return when.work is Work.PURGE and when.at <= now


def _matches(entry: Entry, query: Query) -> bool:
    return (
        query.tenant_id in (None, entry.tenant_id)
        and query.guid in (None, entry.guid)
        and query.sid in (None, entry.sid)
        and (not query.statuses or entry.status in query.statuses)
        and (query.since is None or entry.created_at >= query.since)
        and (query.before is None or entry.created_at < query.before)
    )
