"""Two ledgers, one in memory and one in a file, live through the same days and never differ.

Hypothesis chooses what happens: events that come again, workers that claim and fall silent, answers
under leases that are gone, purges, restores, files that are closed and opened. After each step the
answers and the whole contents are compared. Times are whole milliseconds, the finest that a store
need search by.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ci360_twilio.core.entry import (
    UNFINISHED,
    Entry,
    Fact,
    Key,
    Kind,
    Lease,
    Status,
    Work,
    due,
    key_of,
)
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import ProviderStatus, Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Claimed, Query, Store
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.stores.sqlite import SqliteStore

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of its own there
"""Where Linux has a file system in memory: no test here is about the disk, and there are many."""
HASH_KEY = b"k" * 32
TENANTS = [TenantId("first"), TenantId("second")]
GUIDS = [f"guid-{number}" for number in range(6)]
KEYS = [key_of(tenant, guid) for tenant in TENANTS for guid in GUIDS]
SIDS = ["SM1", "SM2"]
T = TypeVar("T")

milliseconds = st.sampled_from([0, 0, 0, 1, -1, -1_000, 1_000, 60_000, 200_000])
"""Few, so that things often happen at one moment."""
maybe = st.none() | st.none() | milliseconds
keys = st.sampled_from(KEYS)

drafts = st.fixed_dictionaries(
    {
        "key": keys,
        "status": st.sampled_from([Status.ACCEPTED] * 40 + sorted(Status)),
        "created_at": st.sampled_from([0, 0, 0, -1, 1, -1_000]),
        "generated_at": maybe,
        "due_at": milliseconds,
        "not_before": maybe,
        "not_after": maybe,
        "expires_at": st.sampled_from([1_000, 60_000, 200_000, 400_000]),
        "purge_at": st.sampled_from([0, 60_000, 400_000]),
    }
)
"""Entries to be written; times are milliseconds from the moment at which they are."""

facts = st.fixed_dictionaries(
    {
        "key": keys | st.just(key_of(TENANTS[0], "never seen")),
        "kind": st.sampled_from(
            [*Kind, Kind.STARTED, Kind.STARTED, Kind.STARTED, Kind.MADE, Kind.RETRIED]
        ),
        "lease": st.sampled_from(["own", "own", "own", "stale", "invented", "none"]),
        "due_at": maybe,
        "receipt": st.none()
        | st.builds(
            Receipt,
            sid=st.sampled_from(SIDS),
            status=st.sampled_from([*ProviderStatus, "novel"]),
            error_code=st.sampled_from([None, 30003]),
        ),
    }
)

queries = st.fixed_dictionaries(
    {
        "tenant_id": st.none() | st.sampled_from(TENANTS),
        "guid": st.none() | st.sampled_from(GUIDS),
        "sid": st.none() | st.sampled_from(SIDS),
        "statuses": st.frozensets(st.sampled_from(sorted(Status)), max_size=3),
        "limit": st.integers(1, 20),
    }
)


def recorded(told: list[tuple[Key, Fact]], store: Store) -> list[Entry | None]:
    """Record facts in a store."""
    return store.record_many(told)


class Ledgers(RuleBasedStateMachine):
    """A ledger in memory, and one in a file that two processes have open."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.memory = MemoryStore(hash_key=HASH_KEY)
        self.files = [self.open(), self.open()]
        self.now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
        self.leases: list[Lease] = []
        self.seen: set[Key] = set()
        self.ended: set[Key] = set()
        self.since_restore = 0

    def open(self) -> SqliteStore:
        """Open the file."""
        return SqliteStore(self.folder / "ledger.db", hash_key=HASH_KEY)

    def teardown(self) -> None:
        """Leave nothing behind."""
        for store in self.files:
            store.close()
        shutil.rmtree(self.folder)

    def both(self, act: Callable[[Store], T]) -> T:
        """Do the same to both ledgers, through each process in turn; the answers must be equal."""
        self.files.reverse()
        in_memory, in_file = act(self.memory), act(self.files[0])
        assert in_file == in_memory
        return in_memory

    def moment(self, ms: int) -> datetime:
        """Give the moment that many milliseconds from now."""
        return self.now + timedelta(milliseconds=ms)

    def entry(self, key: Key, status: Status, **times: int | None) -> Entry:
        """Make an entry; times are milliseconds from now."""
        tenant, _, guid = key.partition("/")
        moments: dict[str, Any] = {
            name: None if ms is None else self.moment(ms) for name, ms in times.items()
        }
        return Entry(
            key=key,
            tenant_id=TenantId(tenant),
            guid=guid,
            status=status,
            message=Message(to="+12015550101", sender="+15005550006", body=f"Hello {guid}"),
            **moments,
        )

    def lease_of(self, key: Key, whose: str) -> Lease | None:
        """Give the lease that an entry is under, one that somebody had, one of nobody's, or none."""
        [standing] = self.memory.get_many([key])
        if whose == "own":
            return standing.lease if standing else None
        if whose == "stale" and self.leases:
            return self.leases[len(self.leases) // 2]
        return None if whose == "none" else Lease(token="nobody", until=self.moment(60_000))

    @initialize(batch=st.lists(drafts, min_size=6, max_size=12))
    def begin(self, batch: list[dict[str, Any]]) -> None:
        """The ledger is in use already."""
        self.insert(batch)

    @rule(batch=st.lists(drafts, min_size=2, max_size=6))
    def insert(self, batch: list[dict[str, Any]]) -> None:
        """Events arrive; a key is created once and never again, whatever became of it."""
        written = [self.entry(**draft) for draft in batch]
        results = self.both(lambda store: store.insert_many(written))
        for entry, result in zip(written, results, strict=True):
            assert result.created == (entry.key not in self.seen)
            self.seen.add(entry.key)

    def take(self, limit: int, seconds: int, wanted: Sequence[Key] | None) -> Claimed:
        """Claim, and check that nothing was taken from under a lease, nor twice."""
        lease = Lease(token=f"t{len(self.leases)}", until=self.moment(seconds * 1000))
        self.leases.append(lease)
        before = {entry.key: entry for entry in self.memory.find(Query(limit=1000))}

        def claim(store: Store) -> Claimed:
            claimed = store.claim(now=self.now, lease=lease, limit=limit, keys=wanted)
            if wanted is None:
                times = [due(before[entry.key]).at for entry in claimed.entries]
                assert [*times, self.now] == sorted([*times, self.now])
            return Claimed(*(sorted(part, key=lambda entry: entry.key) for part in claimed))

        claimed = self.both(claim)
        taken = [entry.key for entry in claimed.entries]
        assert len(set(taken)) == len(taken) <= limit
        assert wanted is None or set(taken) <= set(wanted)
        for entry in claimed.entries:
            held = before[entry.key].lease
            assert held is None or held.until <= self.now
            assert (entry.status, entry.lease) == (Status.ACCEPTED, lease)
            assert self.now < entry.deadline
            assert entry.not_before is None or entry.not_before <= self.now
        return claimed

    def apart(self, limit: int) -> int:
        """Give a limit that does not part entries due at one moment: they come in any order."""
        waits = [due(entry) for entry in self.memory.find(Query(limit=1000))]
        times = sorted(at for work, at in waits if work is Work.SEND and at <= self.now)
        while limit < len(times) and times[limit - 1] == times[limit]:
            limit += 1
        return limit

    @rule(limit=st.integers(1, 8), seconds=st.sampled_from([1, 60, 200]))
    def claim_due(self, limit: int, seconds: int) -> None:
        """A worker takes what is due."""
        self.take(self.apart(limit), seconds, None)

    @rule(wanted=st.lists(keys, unique=True, max_size=6), seconds=st.sampled_from([1, 60, 200]))
    def claim_named(self, wanted: list[Key], seconds: int) -> None:
        """A worker is told what to take."""
        self.take(max(1, len(wanted)), seconds, wanted)

    @rule(batch=st.lists(facts, min_size=1, max_size=6))
    def record(self, batch: list[dict[str, Any]]) -> None:
        """Things become known, in whatever order and under whatever lease."""
        told = [
            (
                one["key"],
                Fact(
                    kind=one["kind"],
                    at=self.now,
                    lease=self.lease_of(one["key"], one["lease"]),
                    due_at=None if one["due_at"] is None else self.moment(one["due_at"]),
                    reason="because",
                    receipt=one["receipt"],
                ),
            )
            for one in batch
        ]
        self.both(lambda store: store.record_many(told))

    @rule(limit=st.integers(1, 8))
    def send(self, limit: int) -> None:
        """A worker does its work without a fault."""
        claimed = self.take(self.apart(limit), 60, None)
        lease = self.leases[-1]
        start = Fact(kind=Kind.STARTED, at=self.now, lease=lease)
        receipt = Receipt(sid="SM1", status="queued")
        sent = Fact(kind=Kind.MADE, at=self.now, lease=lease, receipt=receipt)
        for fact, status in ((start, Status.SENDING), (sent, Status.SENT)):
            told = [(entry.key, fact) for entry in claimed.entries]
            results = self.both(partial(recorded, told))
            assert [entry and entry.status for entry in results] == [status] * len(told)

    @rule(ms=st.sampled_from([1, 999, 1_000, 59_000, 60_000, 200_000]))
    def wait(self, ms: int) -> None:
        """Time goes by."""
        self.now = self.moment(ms)

    @rule(limit=st.integers(1, 5))
    def purge(self, limit: int) -> None:
        """What is old is deleted; which of it goes first is the store's own choice."""
        while self.both(lambda store: store.purge(now=self.now, limit=limit)):
            pass

    @precondition(lambda self: self.since_restore > 12)
    @rule(ago=st.sampled_from([0, 0, 1_000, 60_000]))
    def restore(self, ago: int) -> None:
        """The ledger is marked as restored; not too often, as it leaves little to be sent."""
        self.since_restore = 0
        self.both(lambda store: store.mark_restored(self.moment(-ago)))

    @precondition(lambda self: self.since_restore > 2 and self.memory.summary(self.now).paused)
    @rule()
    def resume(self) -> None:
        """Somebody allows claims again."""
        self.both(lambda store: store.resume())

    @rule()
    def reopen(self) -> None:
        """One of the two processes ends and comes back, and asks whether it can write."""
        self.files[0].close()
        self.files[0] = self.open()
        self.both(lambda store: store.probe())

    @rule(query=queries, since=maybe, before=maybe)
    def find(self, query: dict[str, Any], since: int | None, before: int | None) -> None:
        """Somebody looks for entries."""
        asked = Query(
            since=None if since is None else self.moment(-since),
            before=None if before is None else self.moment(-before),
            **query,
        )
        self.both(lambda store: store.find(asked))

    @invariant()
    def contents_are_equal(self) -> None:
        """Every entry, by listing and by key, and the summary."""
        self.since_restore += 1
        listed = self.both(lambda store: store.find(Query(limit=1000)))
        assert {entry.key for entry in listed} <= self.seen
        self.both(lambda store: store.get_many(KEYS))
        self.both(lambda store: store.summary(self.now))
        assert len(self.both(lambda store: store.find(Query(statuses=UNFINISHED)))) == sum(
            self.memory.summary(self.now).unfinished.values()
        )

    @invariant()
    def an_end_is_an_end(self) -> None:
        """What has reached one never has to be sent again."""
        listed = self.memory.find(Query(limit=1000))
        unfinished = {entry.key for entry in listed if not entry.finished}
        assert not unfinished & self.ended
        self.ended |= {entry.key for entry in listed if entry.finished}


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
