"""One process's work on a large ledger, operation by operation; prints what each call took."""

import argparse
import gc
import os
import random
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from bench.ledger_fill import (
    EMPTY,
    FULL,
    PACED_SENDER,
    SWEEPS,
    TENANT,
    Moments,
    correlation_of,
    entries,
    guid_of,
    moments,
    pause_at,
    sid_of,
)
from bench.proc import memory_of
from bench.product import HASH_KEY
from ci360_twilio.core.entry import Entry, Lease, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Mark, Query
from ci360_twilio.stores.claiming import MOST_PUT_ASIDE
from ci360_twilio.stores.sqlite import SqliteStore

BATCH = 32
"""What the worker takes at once."""
CALLBACKS = 64
"""What arrives together from 64 connections."""


class Worked(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of every call by operation, and resident memory in KiB, opened and at the end."""

    calls: dict[str, list[float]]
    opened: int
    ended: int


class Round:
    """The operations, in an order in which none disturbs the next."""

    def __init__(self, path: Path, size: int, begin: datetime) -> None:
        self._path = path
        self._size = size
        self._when: Moments = moments(begin)
        self._pause = pause_at(begin)
        self._store = SqliteStore(path, hash_key=HASH_KEY)
        self._chance = random.Random(size)
        self._calls: dict[str, list[float]] = {}

    def work(self) -> Worked:
        """Do it all."""
        opened = memory_of(os.getpid()).resident
        for operations in (self._read, self._add, self._pace, self._steer, self._take, self._end):
            operations()
        ended = memory_of(os.getpid()).resident
        self._store.close()
        return Worked(calls=self._calls, opened=opened, ended=ended)

    def _time(self, name: str, count: int, call: Callable[[], object], expected: object) -> None:
        """Call, take the time, and see that it did what it should."""
        for _ in range(count):
            began = time.perf_counter()
            result = call()
            self._calls.setdefault(name, []).append((time.perf_counter() - began) * 1000)
            if result != expected:
                raise SystemExit(f"{name} gave {result}, not {expected}")

    def _read(self) -> None:
        when = self._when.begin
        self._time("trace: open, find by guid, close", 50, self._trace, 1)
        self._time("find by guid, opened", 100, self._find, 1)
        self._time("marked, 64 by correlation id", 100, lambda: self._marked(True), CALLBACKS)
        self._time("marked, 64 by SID", 100, lambda: self._marked(False), CALLBACKS)
        self._time("summary", 20, lambda: self._store.summary(when).outdated, False)
        self._time("waiting", 20, lambda: len(self._store.waiting(when)), 2)

    def _add(self) -> None:
        like = next(iter(entries(10_000, self._when.begin)))
        later = self._when.begin + timedelta(hours=20)
        fresh = msgspec.structs.replace(
            like, status=Status.ACCEPTED, attempts=0, sid=None, correlation=None, due_at=later
        )
        self._time("insert of 64", 50, lambda: self._inserted(fresh, {}), CALLBACKS)
        limits = {TENANT: 3}
        name = "insert of 64, with a recipient limit"
        self._time(name, 50, lambda: self._inserted(fresh, limits), CALLBACKS)

    def _pace(self) -> None:
        when = self._when.begin
        self._claim(when, EMPTY)  # what the budget held
        name = "claim behind a queue without budget"
        self._time(name, 100, lambda: self._claim(when, EMPTY), 0)
        self._time("claim of 32 from a queue", 20, lambda: self._claim(when, FULL), BATCH)

    def _steer(self) -> None:
        for _ in range(20):
            self._time("resume", 1, lambda: self._store.resume([self._pause.name]), 1)
            name = "claim of 32 that a pause let go"
            self._time(name, 1, lambda: self._claim(self._when.begin, EMPTY), BATCH)
            self._time("pause", 1, lambda: self._store.pause(self._pause), True)

    def _take(self) -> None:
        look, claim = self._when.look, self._when.claim
        self._time("look, 32", 20, lambda: len(self._store.look(now=look, limit=BATCH)), BATCH)
        self._time("claim of 32 due", 40, lambda: self._claim(claim, EMPTY), BATCH)

    def _end(self) -> None:
        when = self._when
        self._time("sweep of what expired", SWEEPS, self._sweep, 2 * MOST_PUT_ASIDE)
        self._time("purge of 50", 10, lambda: self._store.purge(now=when.purge, limit=50), 50)

    def _any(self) -> int:
        """Choose an entry that has a SID and is not purged."""
        return self._chance.randrange(500, self._size // 4)

    def _trace(self) -> int:
        with closing(SqliteStore(self._path, hash_key=HASH_KEY)) as store:
            store.pauses()
            return len(store.find(Query(guid=guid_of(self._any()), limit=10)))

    def _find(self) -> int:
        return len(self._store.find(Query(guid=guid_of(self._any()), limit=10)))

    def _marked(self, named: bool) -> int:
        numbers = [self._any() for _ in range(CALLBACKS)]
        marks = [
            Mark(TENANT, correlation_of(number) if named else None, sid_of(number))
            for number in numbers
        ]
        return sum(entry is not None for entry in self._store.marked(marks))

    def _inserted(self, like: Entry, limits: dict[TenantId, int]) -> int:
        guids = [secrets.token_hex(16) for _ in range(CALLBACKS)]
        made = [
            msgspec.structs.replace(
                like, guid=guid, key=key_of(TENANT, guid), message=self._to_somebody(like)
            )
            for guid in guids
        ]
        inserted = self._store.insert_many(made, recipient_limits=limits)
        return sum(one.created for one in inserted)

    def _to_somebody(self, like: Entry) -> Message | None:
        to = f"+1{201 + self._chance.randrange(700)}555{self._chance.randrange(10_000):04}"
        return like.message and msgspec.structs.replace(like.message, to=to)

    def _claim(self, now: datetime, rate: Rate, limit: int = BATCH) -> int:
        return len(self._claimed(now, rate, limit)[0])

    def _sweep(self) -> int:
        return len(self._claimed(self._when.sweep, EMPTY, 0)[1])

    def _claimed(self, now: datetime, rate: Rate, limit: int) -> tuple[list[Entry], list[Entry]]:
        lease = Lease(token=secrets.token_hex(8), until=self._when.begin + timedelta(days=2))

        def rate_of(entry: Entry) -> Rate | None:
            message = entry.message
            return rate if message is not None and message.sender == PACED_SENDER else None

        return self._store.claim(now=now, lease=lease, limit=limit, rate_of=rate_of)[:2]


def main() -> None:
    """Work on a ledger, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="bench.ledger_round", description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--entries", type=int, required=True)
    parser.add_argument("--begin", type=datetime.fromisoformat, required=True)
    options = parser.parse_args()
    gc.freeze()  # as the server and the worker do
    worked = Round(options.ledger, options.entries, options.begin).work()
    sys.stdout.write(msgspec.json.encode(worked).decode() + "\n")


if __name__ == "__main__":
    main()
