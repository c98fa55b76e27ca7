"""What is taken to be worked on: one algorithm for all stores, over a :class:`Transaction`.

An entry that is found goes one of these ways, and by each it leaves the list it was found in::

    found ─┬─ time has overtaken it ──────────────► swept
           ├─ a pause covers it ──────────────────► placed behind it, or taken as its probe
           ├─ its sender is paced ─┬─ no budget ──► placed in the sender's queue
           │                       └─ budget ─┐
           └──────────────────────────────────┴───► taken
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

import msgspec

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import Work, due, next_look, sweep, take
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease
from ci360_twilio.core.pace import Rate, spend
from ci360_twilio.core.pause import Pause
from ci360_twilio.ports import PROBE, Claimed, RateOf
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.transaction import Transaction

MOST_PUT_ASIDE = 128
"""Entries of one kind of work that a claim handles without taking them: milliseconds' worth."""
MOST_OF_A_PLACE = 32
"""The same for each place, so that a crowd in one does not stop the others."""
CANDIDATES = 16
"""Entries behind a pause that are looked at for one that may be its probe."""
MOST_AT_ONCE = 32
"""Entries of a sender's queue that are read together."""
_NEVER = datetime.min.replace(tzinfo=UTC)


def claim(
    tx: Transaction,
    *,
    now: datetime,
    lease: Lease,
    limit: int,
    keys: Iterable[Key] | None,
    rate_of: RateOf,
) -> Claimed:
    """Take entries; see :meth:`ci360_twilio.ports.Ledger.claim`."""
    claiming = _Claiming(tx, now, lease, limit, rate_of)
    if keys is not None:
        claiming.take_named(keys)
    else:
        claiming.take_due()
    return claiming.claimed()


def look(tx: Transaction, *, now: datetime, limit: int) -> list[Entry]:
    """Take entries to be asked about; see :meth:`ci360_twilio.ports.Ledger.look`."""
    found = [*tx.due(Work.FIND, now, limit), *tx.due(Work.FETCH, now, limit)]
    looked = []
    for entry in sorted(found, key=lambda one: ms(due(one).at))[:limit]:
        fact = Fact(kind=Kind.LOOKED, at=now, due_at=next_look(entry, now))
        if changed := advance(entry, fact):
            tx.write(changed)
            looked.append(changed)
    return looked


class _Claiming:
    """One claim under way."""

    def __init__(
        self, tx: Transaction, now: datetime, lease: Lease, limit: int, rate_of: RateOf
    ) -> None:
        self._tx = tx
        self._now = now
        self._lease = lease
        self._limit = limit
        self._rate_of = rate_of
        # Where several cover an entry it waits behind the one that lasts: of those that are probed
        # by an entry, each may let it through.
        self._pauses = sorted(tx.pauses(), key=lambda pause: pause.needs_entry)
        self._taken: list[Entry] = []
        self._swept: list[Entry] = []
        self._placed = 0
        self._full: set[str] = set()
        """Queues in which somebody waits already."""

    def claimed(self) -> Claimed:
        """Give what was taken and found."""
        keys = {entry.key for entry in self._taken}
        probes = [pause for pause in self._tx.pauses() if pause.probe in keys] if keys else []
        return Claimed(self._taken, self._swept, probes, self._placed)

    def take_due(self) -> None:
        """Take what may be sent by its time, in the order of the contract."""
        self._sweep_places()
        self._take_probes()
        self._take_released()
        self._take_queued()
        for work in (Work.SEND, Work.BULK):
            self._take_all(partial(self._tx.due, work, self._now), MOST_PUT_ASIDE)

    def take_named(self, keys: Iterable[Key]) -> None:
        """Take entries by their keys."""
        for key in dict.fromkeys(keys):
            if not self._room:
                return
            entry = self._tx.get(key)
            if entry is not None:
                self._pass_on(entry, named=True)

    @property
    def _room(self) -> int:
        return max(self._limit - len(self._taken), 0)

    def _sweep_places(self) -> None:
        """Sweep what has waited too long, wherever it stands in its place."""
        parked = self._tx.due(Work.PARKED, self._now, MOST_PUT_ASIDE)
        for entry in [*parked, *self._tx.ended(Work.PACED, self._now, MOST_PUT_ASIDE)]:
            self._sweep(entry)

    def _take_probes(self) -> None:
        """Find a probe among what waits behind each pause that is due, longest due first.

        One that several such pauses cover is the probe of all of them; it waits until all are due.
        """
        waiting = [
            (pause.probe_at or _NEVER, pause) for pause in self._pauses if self._probes(pause)
        ]
        for _, pause in sorted(waiting, key=lambda pair: pair[0]):
            if not self._room:
                return
            taken = len(self._taken)
            for entry in self._tx.parked(pause.place, CANDIDATES):
                self._pass_on(entry)
                if len(self._taken) > taken:
                    break

    def _take_released(self) -> None:
        """Take what waited behind pauses that are gone."""
        lasting = {pause.place for pause in self._pauses}
        for place in self._tx.places(Work.PARKED):
            if place not in lasting:
                self._take_all(partial(self._tx.parked, place), MOST_OF_A_PLACE)

    def _take_queued(self) -> None:
        """Take from the queues in turn: next comes the one whose budget is or was full first."""
        queues = {place: self._queue(place) for place in self._tx.places(Work.PACED)}
        if queues:
            self._queue_up(queues.keys())
        turns = [(self._tx.budget(place) or _NEVER, place) for place in queues]
        heapq.heapify(turns)
        aside = dict.fromkeys(queues, 0)
        while turns and self._room:
            _, place = heapq.heappop(turns)
            head, room = next(queues[place], None), self._room
            if head is not None and self._pass_on(head):
                aside[place] += self._room == room
                if aside[place] < MOST_OF_A_PLACE:
                    heapq.heappush(turns, (self._tx.budget(place) or _NEVER, place))

    def _queue_up(self, places: Collection[str]) -> None:
        """Let single entries that have just become due go before the bulk in their queues."""
        for entry in self._tx.due(Work.SEND, self._now, self._room):
            rate = self._rate_of(entry)
            if rate is not None and rate.place in places:
                self._pass_on(entry)

    def _queue(self, place: str) -> Iterator[Entry]:
        """Go through a queue, as long as whatever was given before has left it."""
        size = 1
        while found := self._tx.queued(place, self._now, size):
            yield from found
            size = min(size * 2, MOST_AT_ONCE)

    def _take_all(self, read: Callable[[int], list[Entry]], most: int) -> None:
        """Go through a list from its head, which moves on as entries leave it.

        Ends where ``most`` of them were handled without being taken.
        """
        stay = aside = 0
        while (room := self._room) and aside < most:
            found = read(stay + room)[stay:]
            left = sum([self._pass_on(entry) for entry in found])
            stay += len(found) - left
            aside += len(found) - (room - self._room)
            if len(found) < room:
                return

    def _pass_on(self, entry: Entry, *, named: bool = False) -> bool:
        """Sweep, place or take an entry; tells whether it leaves the list it was found in."""
        free = self._sweep(entry)
        if free is None:
            return True
        taken = take(free, self._now, self._lease)
        if taken is None:
            return self._put_back(entry, free)
        covering = [pause for pause in self._pauses if pause.covers(free)]
        blocking = [pause for pause in covering if pause.probe != free.key]
        if not all(map(self._probes, blocking)):
            if named and free.place is None and free.due_at > self._now:
                return self._put_back(entry, free)  # behind the pause its due time would be lost
            return self._place(free, blocking[0].place, blocking[0].reason)
        rate = None if named else self._rate_of(free)
        if rate is not None and not self._spend(rate, free):
            if blocking:
                return self._place(free, blocking[0].place, blocking[0].reason)
            return self._place(free, rate.place, "sender_rate")
        self._tx.write(taken)
        self._taken.append(taken)
        self._name_probe(taken.key, covering)
        return True

    def _sweep(self, entry: Entry) -> Entry | None:
        """Give an entry without a lease that has ended; ``None`` where it was overtaken by time."""
        swept = sweep(entry, self._now)
        if swept.status is entry.status:
            return swept
        self._tx.write(swept)
        self._swept.append(swept)
        return None

    def _put_back(self, entry: Entry, free: Entry) -> bool:
        """Leave an entry to its time; one that waits in a place leaves that, as its time is to come."""
        if free.place is not None:
            free = advance(free, Fact(kind=Kind.PLACED, at=self._now)) or free
        if free is not entry:
            self._tx.write(free)
        return free is not entry

    def _place(self, free: Entry, place: str, reason: str) -> bool:
        if free.place == place:
            return False
        fact = Fact(kind=Kind.PLACED, at=self._now, place=place, reason=reason)
        placed = advance(free, fact)
        if placed is not None:
            self._tx.write(placed)
            self._placed += 1
        return placed is not None

    def _spend(self, rate: Rate, entry: Entry) -> bool:
        """Take a message's segments from its sender's budget, if it is its turn and they are there."""
        if entry.place != rate.place and self._must_queue(rate.place, entry):
            return False
        segments = entry.message.segments if entry.message else 1
        full_at = spend(self._tx.budget(rate.place), self._now, rate, segments)
        if full_at is None:
            self._full.add(rate.place)
            return False
        self._tx.set_budget(rate.place, full_at)
        return True

    def _must_queue(self, place: str, entry: Entry) -> bool:
        if place in self._full:
            return True
        ahead = self._tx.queued(place, self._now, 1)
        if not ahead or (ahead[0].bulk and not entry.bulk):
            return False
        self._full.add(place)
        return True

    def _probes(self, pause: Pause) -> bool:
        """Tell whether a pause waits for an entry to be tried."""
        return pause.needs_entry and pause.probe_is_due(self._now)

    def _name_probe(self, key: Key, covering: list[Pause]) -> None:
        for pause in filter(self._probes, covering):
            named = msgspec.structs.replace(pause, probe=key, probe_at=self._now + PROBE)
            self._tx.keep_pause(named)
            self._pauses[self._pauses.index(pause)] = named
