"""A ledger in memory: for tests, rehearsals, and the direct Lambda without a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import Work, due, purged
from ci360_twilio.core.entry import UNFINISHED, Entry, Fact, Key, Lease
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import (
    NO_LIMITS,
    SLOT,
    Claimed,
    Counting,
    Foreseen,
    Inserted,
    Mark,
    Note,
    Query,
    RateOf,
    Summary,
    Waiting,
    unpaced,
)
from ci360_twilio.stores import claiming, recording, reporting, steering
from ci360_twilio.stores.columns import report_at
from ci360_twilio.stores.memory_customers import MemoryCustomers
from ci360_twilio.stores.memory_jobs import MemoryJobs
from ci360_twilio.stores.traits import Tally, matches


class MemoryStore(MemoryCustomers, MemoryJobs):
    """Keeps entries in this process; as safe as the process, no safer.

    See :class:`ci360_twilio.ports.Store` for the contract.
    """

    def __init__(self, *, hash_key: bytes = b"memory", most: int | None = None) -> None:
        """Make an empty ledger.

        Args:
            hash_key: the key of tombstones, and of consents and their seals.
            most: how many entries are kept; beyond it the oldest finished ones are forgotten.
        """
        MemoryCustomers.__init__(self, hash_key)
        MemoryJobs.__init__(self, hash_key)
        self._most = most
        self._restored_at: datetime | None = None

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int] = NO_LIMITS
    ) -> list[Inserted]:
        """Write entries under new keys."""
        with self._lock:
            return [self._insert(entry, recipient_limits) for entry in entries]

    def foresee(
        self,
        entries: Sequence[Entry],
        *,
        recipient_limits: Mapping[TenantId, int] = NO_LIMITS,
        so_far: Foreseen | None = None,
    ) -> list[Inserted]:
        """Tell what would come of entries."""
        with self._lock:
            rows = self._rows
            return [
                recording.foreseen(
                    rows,
                    entry,
                    rows.get(entry.key) or (purged(entry) if rows.is_buried(entry.key) else None),
                    self._restored_at,
                    recipient_limits,
                    so_far,
                )
                for entry in entries
            ]

    def _insert(self, entry: Entry, limits: Mapping[TenantId, int]) -> Inserted:
        inserted = recording.inserted(self._rows, entry, self._restored_at, limits)
        self._forget_oldest()
        return inserted

    def _forget_oldest(self) -> None:
        excess = 0 if self._most is None else len(self._rows.entries) - self._most
        if excess > 0:
            for key in list(islice(self._rows.finished(), excess)):
                self._rows.delete(key)

    def claim(
        self,
        *,
        now: datetime,
        lease: Lease,
        limit: int,
        keys: Iterable[Key] | None = None,
        rate_of: RateOf = unpaced,
    ) -> Claimed:
        """Take entries that may be sent now."""
        with self._lock:
            return claiming.claim(
                self._rows, now=now, lease=lease, limit=limit, keys=keys, rate_of=rate_of
            )

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Apply facts in order."""
        with self._lock:
            return recording.record(self._rows, facts, hourly_limits)

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries."""
        with self._lock:
            return [self._rows.get(key) for key in keys]

    def marked(self, marks: Sequence[Mark]) -> list[Entry | None]:
        """Find the entries that receipts belong to."""
        with self._lock:
            return [self._marked(mark) for mark in marks]

    def _marked(self, mark: Mark) -> Entry | None:
        found = self._rows.correlated(mark.correlation) if mark.correlation is not None else []
        found += self._rows.with_sid(mark.sid) if mark.sid is not None else []
        return next((entry for entry in found if entry.tenant_id == mark.tenant_id), None)

    def look(self, *, now: datetime, limit: int) -> list[Entry]:
        """Take entries about which Twilio should be asked now."""
        with self._lock:
            return claiming.look(self._rows, now=now, limit=limit)

    def find(self, query: Query) -> list[Entry]:
        """List entries, newest first."""
        with self._lock:
            arrived_last_first = list(self._rows.entries.values())[::-1]
        newest_first = sorted(arrived_last_first, key=lambda entry: entry.created_at, reverse=True)
        found = [entry for entry in newest_first if matches(entry, query)]
        return found[: query.limit]

    def counts(
        self,
        *,
        since: datetime,
        before: datetime,
        tenant_id: TenantId | None = None,
        step: timedelta = SLOT,
    ) -> Counting:
        """Count all entries that are there."""
        with self._lock:
            entries = list(self._rows.entries.values())
        tally = Tally(step)
        tally.add_entries(entries, since, before, tenant_id)
        return Counting(tally.counted(), whole_since=None)

    def purge(self, *, now: datetime, limit: int) -> int:
        """Replace entries by tombstones, and forget what was counted and noted long ago."""
        with self._lock:
            over = self._rows.due(Work.PURGE, now, limit)
            over += self._rows.ended(Work.FETCH, now, limit - len(over))
            letters = [one.key for one in self._rows.letters.values() if one.purge_at <= now]
            for key in [*(entry.key for entry in over), *letters[:limit]]:
                self._rows.bury_document(key)
            strays_from = now - recording.STRAYS_KEPT
            for name, stray in list(self._rows.strays.items()):
                if stray.last_at < strays_from:
                    del self._rows.strays[name]
            self._rows.forget_starts(recording.oldest_minute(now))
            kept = [note for note in self._rows.notes if note.at >= now - recording.NOTES_KEPT]
            self._rows.notes = kept
        return len(over) + len(letters[:limit])

    def probe(self) -> None:
        """Do nothing: memory can always be written."""

    def summary(self, now: datetime) -> Summary:
        """Count what is unfinished and due."""
        with self._lock:
            entries = list(self._rows.entries.values())
            pauses = self._rows.pauses()
            owed = [report_at(one.reports) for one in self._rows.owing.values()]
            aside = sum(bool(reporting.set_aside(one)) for one in self._rows.owing.values())
            review = sum(
                one.state == "review" and one.recipient is not None
                for one in self._rows.wishes.values()
            )
            strays = len(self._rows.strays)
        owed_at = [at for at in owed if at is not None]
        counts = Counter(entry.status for entry in entries if entry.status in UNFINISHED)
        dues = [due(entry) for entry in entries]
        ready = [at for work, at in dues if work in (Work.SEND, Work.BULK) and at <= now]
        return Summary(
            unfinished=dict(counts),
            due=len(ready),
            oldest_due_at=min(ready, default=None),
            waiting=sum(work in (Work.PACED, Work.PARKED) for work, _ in dues),
            restored_at=self._restored_at,
            pauses=tuple(pauses),
            outdated=False,
            owed=len(owed_at),
            oldest_owed_at=(datetime.fromtimestamp(min(owed_at) / 1000, UTC) if owed_at else None),
            aside=aside,
            review=review,
            strays=strays,
        )

    def mark_restored(self, at: datetime) -> None:
        """Mark as restored, and turn what was under way into ``unknown``."""
        fact, pause = recording.restored(at)
        with self._lock:
            self._restored_at = at
            self._rows.keep_pause(pause)
            for entry in list(self._rows.entries.values()):
                if changed := advance(entry, fact):
                    self._rows.write(changed)

    def close(self) -> None:
        """Do nothing; the entries go with the object."""

    def pauses(self) -> list[Pause]:
        """List what is not sent for now."""
        with self._lock:
            return self._rows.pauses()

    def pause(self, pause: Pause, *, note: Note | None = None, replace: bool = False) -> bool:
        """Write a pause."""
        with self._lock:
            return steering.pause(self._rows, pause, note, replace=replace)

    def resume(self, names: Iterable[str], *, note: Note | None = None) -> int:
        """Lift pauses."""
        with self._lock:
            return steering.resume(self._rows, names, note)

    def take_probe(self, name: str, *, now: datetime, until: datetime) -> Pause | None:
        """Put a pause's probe off, if it is due."""
        with self._lock:
            return steering.take_probe(self._rows, name, now=now, until=until)

    def is_queued(self) -> bool:
        """Tell whether anything waits in a sender's queue."""
        with self._lock:
            return bool(self._rows.places(Work.PACED))

    def waiting(self, now: datetime) -> list[Waiting]:
        """Count what waits, by place."""
        with self._lock:
            entries = list(self._rows.entries.values())
        placed = [one for one in entries if due(one).work in (Work.PACED, Work.PARKED)]
        number = Counter(entry.place for entry in placed)
        expired = Counter(entry.place for entry in placed if entry.deadline <= now)
        return [
            Waiting(place, number[place], expired[place]) for place in sorted(filter(None, number))
        ]

    def write_note(self, note: Note) -> None:
        """Add a line to the audit."""
        with self._lock:
            self._rows.write_note(note)

    def notes(self, limit: int) -> list[Note]:
        """List the audit, newest first."""
        with self._lock:
            return self._rows.notes[::-1][:limit]
