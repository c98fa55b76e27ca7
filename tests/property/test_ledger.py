"""Two ledgers, one in memory and one in a file, live through the same days and never differ.

Hypothesis chooses what happens: events that come again, workers that claim and fall silent, answers
under leases that are gone, pauses and probes, budgets and limits, guesses at SIDs, purges, restores,
clocks that jump, files that are closed and opened. After each step the answers and the whole
contents are compared, and held against a simple model of what is guaranteed. Times are whole
milliseconds, the finest that a store need search by.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ci360_twilio.core.entry import UNFINISHED, Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import LATE, Rate
from ci360_twilio.core.pause import Cause, Pause, Scope, paused_by
from ci360_twilio.core.receipt import ProviderStatus, Receipt
from ci360_twilio.core.segments import count_segments
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import PROBE, Claimed, Inserted, Mark, Note, Query, Store, unpaced
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.stores.sqlite import SqliteStore

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of its own there
"""Where Linux has a file system in memory: no test here is about the disk, and there are many."""
HASH_KEY = b"k" * 32
TENANTS = [TenantId("first"), TenantId("second")]
GUIDS = [f"guid-{number}" for number in range(10)]
KEYS = [key_of(tenant, guid) for tenant in TENANTS for guid in GUIDS]
SIDS = ["SM1", "SM2", "SM3"]
TOKENS = ["one", "two"]
SENDERS = ["Acme", "Bolt"]
RECIPIENTS = ["+12015550101", "+447700900123"]
TASKS = ["TSK_1", "TSK_2"]
BODIES = ["Hello", "Hello" * 80]
RECIPIENT_LIMITS = {TENANTS[0]: 5}
HOURLY_LIMITS = {TENANTS[1]: 1}
HOUR = timedelta(hours=1)
RATE = Rate("first/Acme", 0.5)
T = TypeVar("T")


def paced(entry: Entry) -> Rate | None:
    """Pace one sender."""
    return RATE if entry.message and entry.message.sender == "Acme" else None


milliseconds = st.sampled_from([0, 0, 0, 1, -1, -1_000, 1_000, 60_000, 200_000])
"""Few, so that things often happen at one moment."""
maybe = st.none() | st.none() | milliseconds
keys = st.sampled_from(KEYS)

drafts = st.fixed_dictionaries(
    {
        "key": keys,
        "status": st.sampled_from([Status.ACCEPTED] * 40 + sorted(Status)),
        "bulk": st.booleans(),
        "message": st.builds(
            Message,
            to=st.sampled_from(RECIPIENTS),
            sender=st.sampled_from(SENDERS),
            body=st.sampled_from(BODIES),
        ),
        "task": st.sampled_from(TASKS),
        "created_at": st.sampled_from([0, 0, 0, -1, 1, -1_000]),
        "generated_at": maybe,
        "due_at": milliseconds,
        "not_before": maybe,
        "not_after": maybe,
        "expires_at": st.sampled_from([1_000, 60_000, 400_000, 86_400_000]),
        "purge_at": st.sampled_from([0, 60_000, 400_000, 90_000_000]),
    }
)
"""Entries to be written; times are milliseconds from the moment at which they are."""

facts = st.fixed_dictionaries(
    {
        "key": keys | st.just(key_of(TENANTS[0], "never seen")),
        "kind": st.sampled_from([*Kind, *[Kind.STARTED] * 4, *[Kind.MADE] * 4, Kind.RETRIED]),
        "lease": st.sampled_from(["own", "own", "own", "stale", "invented", "none"]),
        "due_at": maybe,
        "guessed": st.booleans(),
        "correlation": st.none() | st.sampled_from(TOKENS),
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
        "task": st.none() | st.sampled_from(TASKS),
        "sender": st.none() | st.sampled_from(SENDERS),
        "statuses": st.frozensets(st.sampled_from(sorted(Status)), max_size=3)
        | st.frozensets(st.sampled_from(sorted(UNFINISHED)), max_size=3),
        "limit": st.integers(1, 20),
    }
)

coverages = st.sampled_from(
    [
        (Scope.ALL, None),
        (Scope.TENANT, None),
        (Scope.TASK, "TSK_1"),
        (Scope.SENDER, "Acme"),
        (Scope.SENDER, "Bolt"),
        (Scope.COUNTRY, "GB"),
    ]
)

marks = st.builds(
    Mark,
    tenant_id=st.sampled_from(TENANTS),
    correlation=st.none() | st.sampled_from(TOKENS),
    sid=st.none() | st.sampled_from(SIDS),
)


def recorded(told: list[tuple[Key, Fact]], store: Store) -> list[Entry | None]:
    """Record facts in a store."""
    return store.record_many(told, hourly_limits=HOURLY_LIMITS)


class Start(NamedTuple):
    """A message that was started for the first time."""

    tenant_id: TenantId
    at: datetime


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
        self.purged: set[Key] = set()
        self.guesses: set[Key] = set()
        self.ended: set[Key] = set()
        self.starts: list[Start] = []
        self.tokens, self.filled_at = 1.0, self.now
        """A bucket of RATE as one would write it down, and when it was last looked at."""
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

    def listed(self) -> dict[Key, Entry]:
        """Give every entry by its key."""
        found = self.memory.find(Query(limit=1000))
        assert len({entry.key for entry in found}) == len(found)
        return {entry.key: entry for entry in found}

    def entry(
        self, key: Key, status: Status, bulk: bool, message: Message, task: str, **times: int | None
    ) -> Entry:
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
            bulk=bulk,
            message=message,
            origin=Origin(task_code=task),
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
        before = self.listed()
        results = self.both(
            lambda store: store.insert_many(written, recipient_limits=RECIPIENT_LIMITS)
        )
        for entry, result in zip(written, results, strict=True):
            assert result.created == (entry.key not in self.seen)
            self.seen.add(entry.key)
            self.check_recipient(before, result)

    def check_recipient(self, before: dict[Key, Entry], result: Inserted) -> None:
        """Require that a message is suppressed where its recipient has had enough, and only there."""
        entry, limit = result.entry, RECIPIENT_LIMITS.get(result.entry.tenant_id)
        if result.created and limit is not None and entry.message is not None:
            had = [
                one
                for one in before.values()
                if one.tenant_id == entry.tenant_id
                and one.message is not None
                and one.message.to == entry.message.to
                and one.created_at > entry.created_at - 24 * HOUR
                and one.created_at.date() <= entry.created_at.date()
                and one.status
                not in (Status.REFUSED, Status.SUPPRESSED, Status.EXPIRED, Status.CANCELED)
            ]
            if entry.status is Status.ACCEPTED:
                assert len(had) < limit
            if entry.reason == "recipient_limit":
                assert len(had) >= limit
        if result.created:
            before[entry.key] = entry

    def take(
        self, limit: int, seconds: int, wanted: Sequence[Key] | None, *, pace: bool = True
    ) -> Claimed:
        """Claim, and check that nothing was taken that must not be."""
        lease = Lease(token=f"t{len(self.leases)}", until=self.moment(seconds * 1000))
        self.leases.append(lease)
        before, pauses = self.listed(), {pause.name: pause for pause in self.memory.pauses()}
        rate_of = paced if pace else unpaced
        claimed = self.both(
            lambda store: store.claim(
                now=self.now, lease=lease, limit=limit, keys=wanted, rate_of=rate_of
            )
        )
        taken = [entry.key for entry in claimed.entries]
        assert len(set(taken)) == len(taken) <= limit
        assert wanted is None or set(taken) <= set(wanted)
        for entry in claimed.entries:
            held = before[entry.key].lease
            assert held is None or held.until <= self.now
            assert (entry.status, entry.lease, entry.place) == (Status.ACCEPTED, lease, None)
            assert self.now < entry.deadline
            assert entry.not_before is None or entry.not_before <= self.now
            if wanted is None and pace and paced(entry):
                self.spend(entry)
        self.check_probes(pauses, claimed)
        return claimed

    def check_probes(self, before: dict[str, Pause], claimed: Claimed) -> None:
        """Require that what a pause covers was taken only as its probe, and one at a time."""
        after = self.memory.pauses()
        taken = {entry.key for entry in claimed.entries}
        assert [pause for pause in after if pause.probe in taken] == claimed.probes
        for entry in claimed.entries:
            assert paused_by(entry, after) is None
        for pause in after:
            if pause != before[pause.name]:
                assert before[pause.name].needs_entry
                assert before[pause.name].probe_is_due(self.now)
                assert pause.probe in taken
                assert pause.probe_at == self.now + PROBE

    def spend(self, entry: Entry) -> None:
        """Take a message's segments from the bucket, which may overdraw it only when it is full."""
        assert entry.message is not None
        segments = count_segments(entry.message.body).count
        gone = (self.now - self.filled_at).total_seconds()
        most = 1.0 + LATE.total_seconds() * RATE.per_second
        self.tokens = min(self.tokens + gone * RATE.per_second, most)
        self.filled_at = self.now
        assert self.tokens > min(segments, 1.0) - 0.001
        self.tokens -= segments

    @rule(limit=st.integers(1, 8), seconds=st.sampled_from([1, 60, 200]), pace=st.booleans())
    def claim_due(self, limit: int, seconds: int, pace: bool) -> None:
        """A worker takes what is due."""
        self.take(limit, seconds, None, pace=pace)

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
                    guessed=one["guessed"],
                    correlation=one["correlation"],
                ),
            )
            for one in batch
        ]
        self.tell(told)

    def tell(self, told: list[tuple[Key, Fact]]) -> list[Entry | None]:
        """Record facts, and check that nothing started that must not."""
        standing, pauses = self.listed(), self.memory.pauses()
        results = self.both(partial(recorded, told))
        for (key, fact), result in zip(told, results, strict=True):
            if result is None:
                continue
            before = standing[key]
            if fact.kind is Kind.STARTED and before.status is Status.ACCEPTED:
                assert (result.status is Status.SENDING) or result.place is not None
                if result.status is Status.SENDING:
                    assert paused_by(before, pauses) is None
                    self.count(before)
            if fact.kind is Kind.MADE and fact.guessed:
                self.guesses.add(key)
            standing[key] = result
        return results

    def count(self, entry: Entry) -> None:
        """Require that a tenant starts no more in an hour than it allows itself."""
        limit = HOURLY_LIMITS.get(entry.tenant_id)
        if limit is not None and entry.started_at is None:
            self.starts.append(Start(entry.tenant_id, self.now))
            last = [start for start in self.starts if start.at > self.now - HOUR]
            assert sum(start.tenant_id == entry.tenant_id for start in last) <= limit

    @rule()
    def start(self) -> None:
        """Workers begin with all that they have taken, whatever has happened since."""
        taken = [
            one for one in self.listed().values() if one.status is Status.ACCEPTED and one.lease
        ]
        self.tell(
            [(one.key, Fact(kind=Kind.STARTED, at=self.now, lease=one.lease)) for one in taken]
        )

    @rule(sid=st.sampled_from(SIDS), guesses=st.lists(st.booleans(), min_size=1, max_size=3))
    def find_lost(self, sid: str, guesses: list[bool]) -> None:
        """Messages are found for entries whose answer was lost, some of them wrongly."""
        lost = [one for one in self.listed().values() if one.status is Status.UNKNOWN]
        receipt = Receipt(sid=sid, status="sent")
        self.tell(
            [
                (one.key, Fact(kind=Kind.MADE, at=self.now, receipt=receipt, guessed=guessed))
                for one, guessed in zip(lost, guesses, strict=False)
            ]
        )

    @rule(limit=st.integers(1, 8))
    def send(self, limit: int) -> None:
        """A worker does its work without a fault."""
        claimed = self.take(limit, 60, None)
        lease = self.leases[-1]
        begun = self.tell(
            [
                (entry.key, Fact(kind=Kind.STARTED, at=self.now, lease=lease))
                for entry in claimed.entries
            ]
        )
        sending = [entry for entry in begun if entry and entry.status is Status.SENDING]
        answers = [
            Receipt(sid=f"SM-{entry.key}-{entry.attempts}", status="queued") for entry in sending
        ]
        sent = self.tell(
            [
                (entry.key, Fact(kind=Kind.MADE, at=self.now, lease=lease, receipt=receipt))
                for entry, receipt in zip(sending, answers, strict=True)
            ]
        )
        assert all(entry and entry.status is Status.SENT for entry in sent)

    @rule(ms=st.sampled_from([1, 999, 1_000, 59_000, 60_000, 200_000, 300_000, 3_600_000]))
    def wait(self, ms: int) -> None:
        """Time goes by, or the clock is set forward."""
        self.now = self.moment(ms)

    @rule(ms=st.sampled_from([1, 1_000, 60_000, 3_600_000]))
    def set_back(self, ms: int) -> None:
        """The clock is set back: what was counted before is of a time to come."""
        self.now = self.moment(-ms)
        self.starts = []
        self.tokens, self.filled_at = 1.0, self.now

    @rule(
        coverage=coverages,
        tenant=st.none() | st.sampled_from(TENANTS),
        cause=st.sampled_from([Cause.PERSON, Cause.CONFIG, Cause.CONFIG, Cause.CONFIG]),
        probe_in=st.sampled_from([0, 0, 1_000, 60_000]),
        replace=st.booleans(),
        by_account=st.sampled_from([False, False, False, True]),
    )
    def pause(
        self,
        coverage: tuple[Scope, str | None],
        tenant: TenantId | None,
        cause: Cause,
        probe_in: int,
        replace: bool,
        by_account: bool,
    ) -> None:
        """Somebody, or an error, pauses what covers few or many."""
        pause = Pause(
            scope=coverage[0],
            value=coverage[1],
            tenant_id=tenant,
            cause=cause,
            reason="paused",
            since=self.now,
            probe_at=self.moment(probe_in) if cause is Cause.CONFIG else None,
            by_account=by_account,
        )
        there = {one.name for one in self.memory.pauses()}
        note = Note(at=self.now, by="ada", action="pause", subject=pause.name)
        written = self.both(lambda store: store.pause(pause, note=note, replace=replace))
        assert written == ((pause.name in there) == replace)

    @precondition(lambda self: self.since_restore > 2 and self.memory.pauses())
    @rule(number=st.integers(0, 5), everything=st.booleans())
    def resume(self, number: int, everything: bool) -> None:
        """Somebody, or a probe, lifts what is paused."""
        names = [pause.name for pause in self.memory.pauses()]
        lifted = names if everything else [names[number % len(names)]]
        assert self.both(lambda store: store.resume(lifted)) == len(lifted)

    @precondition(lambda self: self.memory.pauses())
    @rule(number=st.integers(0, 5))
    def take_probe(self, number: int) -> None:
        """A worker is about to ask Twilio whether a pause can be lifted."""
        pauses = self.memory.pauses()
        pause, until = pauses[number % len(pauses)], self.moment(40_000)
        taken = self.both(lambda store: store.take_probe(pause.name, now=self.now, until=until))
        due = pause.probe_is_due(self.now)
        assert taken == (msgspec.structs.replace(pause, probe_at=until) if due else None)

    @rule(limit=st.integers(1, 5))
    def look(self, limit: int) -> None:
        """A worker is about to ask Twilio what became of messages."""
        before = self.listed()
        looked = self.both(lambda store: store.look(now=self.now, limit=limit))
        assert len({entry.key for entry in looked}) == len(looked) <= limit
        for entry in looked:
            assert before[entry.key].due_at <= self.now < entry.due_at
            assert entry.status in (Status.UNKNOWN, Status.SENT)

    @rule(batch=st.lists(marks, max_size=4))
    def marked(self, batch: list[Mark]) -> None:
        """Receipts come, and their entries are looked for."""
        found = self.both(lambda store: store.marked(batch))
        for mark, entry in zip(batch, found, strict=True):
            if entry is not None:
                assert entry.tenant_id == mark.tenant_id
                assert mark.correlation == entry.correlation or mark.sid == entry.sid

    @rule(limit=st.integers(1, 5))
    def purge(self, limit: int) -> None:
        """What is old is deleted, and only what has an end."""
        before = self.listed()
        while self.both(lambda store: store.purge(now=self.now, limit=limit)):
            pass
        gone = before.keys() - self.listed().keys()
        assert all(before[key].finished and before[key].purge_at <= self.now for key in gone)
        self.purged |= gone

    @precondition(lambda self: self.since_restore > 12)
    @rule(ago=st.sampled_from([0, 0, 1_000, 60_000]))
    def restore(self, ago: int) -> None:
        """The ledger is marked as restored; not too often, as it leaves little to be sent."""
        self.since_restore = 0
        self.both(lambda store: store.mark_restored(self.moment(-ago)))

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

    @precondition(lambda self: self.since_restore > 2)
    @rule()
    def drain(self) -> None:
        """Once nothing is paused, everything that may be sent is taken before long."""
        names = [pause.name for pause in self.memory.pauses()]
        self.both(lambda store: store.resume(names))
        for _ in range(120):
            self.now = self.moment(5_000)  # a budget may lie minutes ahead: clocks were set back
            self.take(50, 3600, None)
        for entry in self.listed().values():
            if entry.status is Status.ACCEPTED:
                wanted = max(entry.due_at, entry.not_before or entry.due_at)
                leased = entry.lease is not None and entry.lease.until > self.now
                assert leased or wanted > self.now - timedelta(minutes=5)
        self.both(lambda store: store.waiting(self.now))

    @invariant()
    def contents_are_equal(self) -> None:
        """Every entry, by listing and by key, and what else can be asked."""
        self.since_restore += 1
        self.both(lambda store: store.find(Query(limit=1000)))
        self.both(lambda store: store.get_many(KEYS))
        summary = self.both(lambda store: store.summary(self.now))
        waiting = self.both(lambda store: store.waiting(self.now))
        self.both(lambda store: store.pauses())
        self.both(lambda store: store.notes(5))
        unfinished = self.both(lambda store: store.find(Query(statuses=UNFINISHED)))
        assert len(unfinished) == sum(summary.unfinished.values())
        assert sum(place.entries for place in waiting) == summary.waiting

    @invariant()
    def nothing_is_lost(self) -> None:
        """Each event's entry is there once, until it is purged; nobody else's SID is on it."""
        listed = self.listed()
        assert listed.keys() == self.seen - self.purged
        sids = [entry.sid for entry in listed.values() if entry.sid is not None]
        assert len(set(sids)) == len(sids)

    @invariant()
    def an_end_is_an_end(self) -> None:
        """What has reached one never has to be sent again, unless its end was a guess."""
        listed = self.listed().values()
        unfinished = {entry.key for entry in listed if not entry.finished}
        assert not (unfinished & self.ended) - self.guesses
        self.ended |= {entry.key for entry in listed if entry.finished}


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
