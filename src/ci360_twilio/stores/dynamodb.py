"""A ledger in a DynamoDB table, for any number of functions and processes at one time.

How it keeps its promises without transactions is told in :mod:`dynamodb_rows`: what is written rests on
what was read strongly, and is written only if that is still so. The one thing that two rows decide
together, *no message starts once a pause or an opt-out is written*, is kept by looking twice: the start is
written first, then pauses and wishes are read once more, and a start that would not be made any more is
taken back before bytes leave.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import methodcaller

import msgspec

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import Work, purged
from ci360_twilio.core.entry import UNFINISHED, Entry, Fact, Key, Kind, Lease, Status
from ci360_twilio.core.message import Channel
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable
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
from ci360_twilio.stores import attesting, claiming, recording, steering
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.dynamodb_customers import ATTEMPTS, DynamoCustomers, give_way
from ci360_twilio.stores.dynamodb_items import (
    INBOUND_DUE,
    NOTES,
    PAUSES,
    PLACED,
    SCHEMA,
    STATE,
    STRAYS,
    decode,
    moment,
    place_list,
    recipient_list,
    uncounted_list,
)
from ci360_twilio.stores.dynamodb_jobs import DynamoJobs
from ci360_twilio.stores.dynamodb_rows import Rows
from ci360_twilio.stores.dynamodb_table import THREADS, Found, Row, Table
from ci360_twilio.stores.traits import Tally, matches, slots

_WAITING = (Work.SEND, Work.BULK, Work.PACED, Work.PARKED)
_UNFINISHED = (*_WAITING, Work.FIND, Work.DECIDE)
_COUNTED = 1_000
"""Entries that are read to be counted."""


class DynamoStore(DynamoCustomers, DynamoJobs):
    """Keeps entries in a DynamoDB table; see :class:`ci360_twilio.ports.Store` for the contract."""

    def __init__(self, table: Table, *, hash_key: bytes, lazily: bool = False) -> None:
        """Open a ledger.

        Args:
            table: where it is, or is to be.
            hash_key: the key of tombstones, and of consents and their seals; the same for all.
            lazily: whether it is opened when something is first written, which saves a request.

        Raises:
            LedgerUnavailable: the table cannot be used.
            LedgerUnusable: the ledger was kept under another key.
        """
        super().__init__(table, hash_key)
        if not lazily:
            self._whole(lambda _: None)

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int] = NO_LIMITS
    ) -> list[Inserted]:
        """Write entries under new keys."""
        return self._each(
            entries,
            lambda entry: f"E#{entry.key}",
            lambda rows, some: self._inserted(rows, some, recipient_limits),
        )

    def _inserted(
        self, rows: Rows, entries: Sequence[Entry], limits: Mapping[TenantId, int]
    ) -> list[Inserted]:
        restored_at = self._read_about(rows, entries)
        return [recording.inserted(rows, entry, restored_at, limits) for entry in entries]

    def _read_about(self, rows: Rows, entries: Sequence[Entry]) -> datetime | None:
        """Read all that decides about new entries; gives when the ledger was last restored."""
        subjects = [one for entry in entries for one in attesting.subjects_of(entry)]
        rows.load(
            [
                STATE,
                *(f"E#{entry.key}" for entry in entries),
                *(rows.tombstone_pk(entry.key) for entry in entries),
                *map(rows.consent_pk, subjects),
                *(pk for entry in entries for pk in rows.latest_pks(entry)),
            ]
        )
        return self._state(rows).restored_at

    def foresee(
        self,
        entries: Sequence[Entry],
        *,
        recipient_limits: Mapping[TenantId, int] = NO_LIMITS,
        so_far: Foreseen | None = None,
    ) -> list[Inserted]:
        """Tell what would come of entries."""
        rows = self._rows()
        restored_at = self._read_about(rows, entries)
        found = []
        for entry in entries:
            known = rows.get(entry.key)
            if known is None and rows.is_buried(entry.key):
                known = purged(entry)
            limits = recipient_limits
            found.append(recording.foreseen(rows, entry, known, restored_at, limits, so_far))
        return found

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
        named = None if keys is None else list(keys)
        taken = Claimed([], [], [])
        for attempt in range(ATTEMPTS):
            room = limit - len(taken.entries)
            claimed, lost = self._tried(partial(self._claimed, now, lease, room, named, rate_of))
            taken = Claimed(
                [*taken.entries, *(one for one in claimed.entries if f"E#{one.key}" not in lost)],
                [*taken.swept, *(one for one in claimed.swept if f"E#{one.key}" not in lost)],
                [*taken.probes, *(one for one in claimed.probes if f"E#{one.probe}" not in lost)],
                taken.placed + claimed.placed,
            )
            # What was named and changed meanwhile need not be another's: a repeated event is noted, too.
            named = [key for key in named or () if f"E#{key}" in lost]
            if not named:
                break
            give_way(attempt)
        return taken

    def _claimed(
        self,
        now: datetime,
        lease: Lease,
        limit: int,
        keys: Sequence[Key] | None,
        rate_of: RateOf,
        rows: Rows,
    ) -> Claimed:
        rows.load([STATE, PAUSES, *(f"E#{key}" for key in keys or ())])
        if self._state(rows).schema > SCHEMA:
            return Claimed([], [], [])
        return claiming.claim(rows, now=now, lease=lease, limit=limit, keys=keys, rate_of=rate_of)

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Apply facts in order."""
        begun: dict[Key, tuple[Entry, Row]] = {}
        seen: dict[str, int | None] = {}
        """The versions of pauses and consents by which it was decided."""

        def work(rows: Rows, some: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
            sids = [f"sid#{fact.receipt.sid}" for _, fact in some if fact.receipt]
            rows.load([PAUSES, *(f"E#{key}" for key, _ in some), *sids])
            found = {key: rows.get(key) for key, _ in some}
            starting = {key for key, fact in some if fact.kind is Kind.STARTED}
            rules = _rules(rows, [one for key, one in found.items() if one and key in starting])
            rows.load(rules if starting else ())
            results = recording.record(rows, some, hourly_limits)
            seen.update({pk: rows.version(pk) for pk in rules})
            for (key, fact), result in zip(some, results, strict=True):
                before, row = found[key], rows.row(f"E#{key}")
                if fact.kind is Kind.STARTED and result and before is not None and row is not None:
                    begun[key] = before, row
            return results

        results = self._each(facts, lambda pair: f"E#{pair[0]}", work)
        starts = [
            number
            for number, ((key, fact), result) in enumerate(zip(facts, results, strict=True))
            if fact.kind is Kind.STARTED
            and result is not None
            and result.status is Status.SENDING
            and begun[key][0].status is Status.ACCEPTED
        ]
        if starts:
            kept = self._kept_from_starting([facts[number] for number in starts], begun, seen)
            for number in starts:
                results[number] = kept.get(facts[number][0], results[number])
        return results

    def _kept_from_starting(
        self,
        facts: Sequence[tuple[Key, Fact]],
        begun: Mapping[Key, tuple[Entry, Row]],
        seen: Mapping[str, int | None],
    ) -> dict[Key, Entry]:
        """Look a second time at what has been started, and take back what may not be any more.

        Only its worker has a lease on it, and has sent nothing yet: the entry is written as it would be
        had it not been started.
        """

        def work(rows: Rows) -> dict[Key, Entry]:
            rows.load(_rules(rows, [begun[key][0] for key, _ in facts]))
            kept = {}
            for key, fact in facts:
                before, row = begun[key]
                if all(rows.version(pk) == seen[pk] for pk in _rules(rows, [before])):
                    continue
                rows.assume(f"E#{key}", before, row._replace(version=row.version + 1))
                if other := recording.kept_from_starting(rows, before, fact):
                    rows.write(other)
                    kept[key] = other
            return kept

        kept, lost = self._tried(work)
        if lost:
            raise LedgerUnavailable("Somebody else has changed what was just started.")
        return kept

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries."""
        rows = self._rows()
        rows.load([f"E#{key}" for key in keys])
        return [rows.get(key) for key in keys]

    def marked(self, marks: Sequence[Mark]) -> list[Entry | None]:
        """Find the entries that receipts belong to."""
        rows = self._rows()
        rows.load([pk for mark in marks for pk in _pointers(mark)])
        keys = [[rows.document(pk) for pk in _pointers(mark)] for mark in marks]
        rows.load([f"E#{key}" for some in keys for key in some if key])
        return [
            next((one for key in some if key and (one := _of(rows.get(Key(key)), mark))), None)
            for mark, some in zip(marks, keys, strict=True)
        ]

    def look(self, *, now: datetime, limit: int) -> list[Entry]:
        """Take entries about which Twilio should be asked now."""
        taken: list[Entry] = []
        for _ in range(ATTEMPTS):
            looked, lost = self._tried(partial(claiming.look, now=now, limit=limit - len(taken)))
            taken += [entry for entry in looked if f"E#{entry.key}" not in lost]
            if not lost:
                break
        return taken

    def find(self, query: Query) -> list[Entry]:
        """List entries, newest first.

        Reads everything where neither key nor SID is told, nor a tenant's recipient, nor statuses that
        are not final: those are found by an index, which may lag behind by a moment.
        """
        pks: list[str] | None = None
        if query.sid is not None:
            rows = self._rows()
            key = rows.document(f"sid#{query.sid}")
            pks = [f"E#{key}"] if key else []
        elif query.guid is not None and query.tenant_id is not None:
            pks = [f"E#{query.tenant_id}/{query.guid}"]
        elif query.recipient is not None and query.tenant_id is not None:
            pks = self._written_to(query.tenant_id, query.recipient)
        elif query.statuses and query.statuses <= UNFINISHED:
            listed = self._waiting_for(_UNFINISHED)
            pks = [found.pk for _, found in listed if _status(found) in query.statuses]
        if pks is not None:
            found = [row for row in self._table.read(pks).values() if row is not None]
        else:
            found = list(self._table.everything("E#"))
        entries = [(row.sequence, decode(row)) for row in found]
        kept = [pair for pair in entries if matches(pair[1], query)]
        kept.sort(key=lambda pair: (pair[1].created_at, pair[0]), reverse=True)
        return [entry for _, entry in kept[: query.limit]]

    def _written_to(self, tenant_id: TenantId, person: str) -> list[str]:
        """List the rows of a tenant's entries to a person, on whatever channel."""
        addresses = {person, *(f"{channel}:{person}" for channel in Channel)}
        names = [
            list_of(tenant_id, address)
            for address in sorted(addresses)
            for list_of in (recipient_list, uncounted_list)
        ]
        found = self._table.each(lambda name: list(self._table.listed("person", name)), names)
        return [one.pk for some in found for one in some]

    def counts(
        self,
        *,
        since: datetime,
        before: datetime,
        tenant_id: TenantId | None = None,
        step: timedelta = SLOT,
    ) -> Counting:
        """Count the newest entries: there are no counts in the table, and no list by age.

        Every entry is listed by what it waits for: those that have reached their end, by when they are
        deleted, which is in the order of their age as long as they are kept equally long.
        """
        whole_since = None
        newest = dict[str, int]()
        for work in Work:
            listed = self._heads("due", work, _COUNTED + 1, backward=True)
            newest |= {one.pk: _sequence(one) for one in listed}
        pks = sorted(newest, key=newest.__getitem__, reverse=True)
        found = [one for one in self._read(pks[:_COUNTED]) if isinstance(one, Entry)]
        if len(pks) > _COUNTED:
            whole_since = min((entry.created_at for entry in found), default=None)
        tally = Tally(step)
        tally.add_entries(found, since, before, tenant_id)
        is_whole = whole_since is None or slots(since, before)[0] > slots(whole_since, before)[0]
        return Counting(tally.counted(), None if is_whole else whole_since)

    def _waiting_for(self, works: Iterable[Work]) -> Iterator[tuple[Work, Found]]:
        """Go through what the index lists of entries, by what they wait for."""
        for work in works:
            for part in self._table.parts(work):
                for found in self._table.listed("due", part):
                    yield work, found

    def purge(self, *, now: datetime, limit: int) -> int:
        """Replace entries by tombstones, and forget what was counted and noted long ago."""
        self._settle_restored()
        rows = self._rows()
        over = rows.due(Work.PURGE, now, limit)
        over += rows.ended(Work.FETCH, now, limit - len(over))
        letters = self._heads("due", INBOUND_DUE, limit, upto=moment(ms(now)) + "~")
        keys = [
            *(entry.key for entry in over),
            *(one.key for one in self._read([f.pk for f in letters])),
        ]
        for key in keys:
            self._whole(methodcaller("bury_document", key))
        self._forget(now)
        self._forget_names()
        return len(keys)

    def _forget(self, now: datetime) -> None:
        """Delete strays and notes whose time is over."""
        for name, kept in ((STRAYS, recording.STRAYS_KEPT), (NOTES, recording.NOTES_KEPT)):
            for found in self._table.listed("place", name):
                row = self._table.read([found.pk])[found.pk]
                document = decode(row) if row is not None else None
                if document is None or row is None:
                    continue
                if (document.last_at if name == STRAYS else document.at) >= now - kept:
                    break
                self._table.delete(found.pk, before=row.version)

    def _forget_names(self) -> None:
        """Delete names of places in which nothing waits, and that were not written for a day.

        A name is written before anything is put into its place, and again every hour. Its version is the
        time of that, so that one which was written meanwhile is not deleted.
        """
        day_ago = time.time_ns() // 1_000_000 - 86_400_000
        for work in PLACED:
            for found in list(self._table.listed("place", f"names/{work}")):
                row = self._table.read([found.pk])[found.pk]
                parts = self._table.parts(place_list(work, found.at))
                is_old = row is not None and row.version < day_ago
                if is_old and row and not any(self._table.count("place", p, most=1) for p in parts):
                    self._table.delete(found.pk, before=row.version)

    def probe(self) -> None:
        """Write something."""
        self._table.overwrite([Row("probe", 0, b"probe")])

    def summary(self, now: datetime) -> Summary:
        """Count what is unfinished and due, from indexes alone."""
        statuses: Counter[Status] = Counter()
        due = waiting = 0
        oldest: int | None = None
        for work, found in self._waiting_for(_UNFINISHED):
            at = int(found.at[:20])
            statuses[_status(found)] += 1
            waiting += work in PLACED
            if work in (Work.SEND, Work.BULK) and at <= ms(now):
                due += 1
                oldest = at if oldest is None else min(oldest, at)
        rows = self._rows()
        rows.load([STATE, PAUSES])
        state = self._state(rows)
        set_aside = Counter(pk[0] for pk in self._table.everything_in("aside"))
        owed = [place for tenant in self._owing() for place in tenant]
        return Summary(
            unfinished={status: statuses[status] for status in UNFINISHED if statuses[status]},
            due=due,
            oldest_due_at=_at(oldest),
            waiting=waiting,
            restored_at=state.restored_at,
            pauses=tuple(rows.pauses()),
            outdated=state.schema > SCHEMA,
            owed=len(owed),
            oldest_owed_at=_at(min(owed, default=None)),
            aside=set_aside["E"] + set_aside["I"],
            review=set_aside["W"],
            strays=self._table.count("place", STRAYS),
        )

    def _owing(self) -> Iterable[list[int]]:
        """Give when reports are due, tenant by tenant."""
        for tenant in self._table.listed("place", "names/owed"):
            parts = self._table.parts(f"owed/{tenant.at}")
            yield [
                int(found.at[:20]) for part in parts for found in self._table.listed("owed", part)
            ]

    def mark_restored(self, at: datetime) -> None:
        """Mark as restored, and turn what was under way into ``unknown``."""
        self.begin_again(at)
        self._settle_restored()

    def _settle_restored(self) -> None:
        """Turn what was under way before a restore into ``unknown``, if that is still to be done.

        Nothing starts meanwhile: the pause is lifted only once it is done.
        """
        state = self._state(self._rows())
        if not state.is_settling or state.restored_at is None:
            return
        fact, _ = recording.restored(state.restored_at)

        def restore(pk: str) -> None:
            def work(rows: Rows) -> None:
                entry = rows.document(pk)
                was_there = entry is not None and entry.created_at <= fact.at
                if was_there and (changed := advance(entry, fact)):
                    rows.write(changed)

            self._whole(work)

        under_way = [found.pk for _, found in self._waiting_for(_WAITING)]
        with ThreadPoolExecutor(THREADS) as pool:  # the table's own threads write for these
            list(pool.map(restore, under_way))

        def done(rows: Rows) -> None:
            rows.put(STATE, msgspec.structs.replace(self._state(rows), is_settling=False))

        self._whole(done)

    def close(self) -> None:
        """Let go of connections."""
        self._table.close()

    def pauses(self) -> list[Pause]:
        """List what is not sent for now."""
        return self._rows().pauses()

    def pause(self, pause: Pause, *, note: Note | None = None, replace: bool = False) -> bool:
        """Write a pause."""
        return self._whole(lambda rows: steering.pause(rows, pause, note, replace=replace))

    def resume(self, names: Iterable[str], *, note: Note | None = None) -> int:
        """Lift pauses."""
        self._settle_restored()
        lifted = list(names)
        return self._whole(lambda rows: steering.resume(rows, lifted, note))

    def take_probe(self, name: str, *, now: datetime, until: datetime) -> Pause | None:
        """Put a pause's probe off, if it is due."""
        return self._whole(lambda rows: steering.take_probe(rows, name, now=now, until=until))

    def waiting(self, now: datetime) -> list[Waiting]:
        """Count what waits, by place."""
        rows = self._rows()
        found = []
        for work in PLACED:
            for place in rows.places(work):
                parts = self._table.parts(place_list(work, place))
                number = sum(self._table.count("place", part) for part in parts)
                waits = rows.in_place(work, place, None, number)
                over = sum(entry.deadline <= now for entry in waits)
                found.append(Waiting(place, len(waits), over))
        return sorted(found)

    def is_queued(self) -> bool:
        """Tell whether anything waits in a sender's queue."""
        return any(
            self._table.count("place", part, most=1)
            for place in self._rows().places(Work.PACED)
            for part in self._table.parts(place_list(Work.PACED, place))
        )

    def write_note(self, note: Note) -> None:
        """Add a line to the audit."""
        self._whole(lambda rows: rows.write_note(note))

    def notes(self, limit: int) -> list[Note]:
        """List the audit, newest first."""
        listed = self._table.listed("place", NOTES, backward=True)
        pks = [found.pk for _, found in zip(range(limit), listed, strict=False)]
        found: list[Note] = self._read(pks)
        return found


def _rules(rows: Rows, entries: Sequence[Entry]) -> list[str]:
    """Give the keys of what decides whether entries may start: pauses and wishes."""
    subjects = [one for entry in entries for one in attesting.subjects_of(entry)]
    return [PAUSES, *map(rows.consent_pk, subjects)]


def _status(found: Found) -> Status:
    """Give the status that the index of what is due shows; it may lag behind."""
    return Status(found.at[20:-20])


def _pointers(mark: Mark) -> list[str]:
    named = (("cor", mark.correlation), ("sid", mark.sid))
    return [f"{kind}#{value}" for kind, value in named if value is not None]


def _of(entry: Entry | None, mark: Mark) -> Entry | None:
    """Give an entry that a pointer names, if it still is what was pointed at."""
    if entry is None or entry.tenant_id != mark.tenant_id:
        return None
    is_it = mark.correlation is not None and entry.correlation == mark.correlation
    return entry if is_it or (mark.sid is not None and entry.sid == mark.sid) else None


def _sequence(found: Found) -> int:
    """Give when an entry was made, as the index of what is due shows it."""
    return int(found.at[-20:])


def _at(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
