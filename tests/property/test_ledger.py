"""Two ledgers, one in memory and one in a file, live through the same days and never differ.

Hypothesis chooses what happens: events that come again, workers that claim and fall silent, answers
under leases that are gone, pauses and probes, budgets and limits, guesses at SIDs, purges, restores,
clocks that jump, files that are closed and opened; customers who write and wish this and that,
reports that are taken and answered, chores, erasures. After each step the answers and the whole
contents are compared, and held against a simple model of what is guaranteed. Times are whole
milliseconds, the finest that a store need search by.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
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

from ci360_twilio.core.consent import EVERY_SENDER, Consent, Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import UNFINISHED, Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound, inbound_key, owing
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import LATE, Rate
from ci360_twilio.core.pause import Cause, Pause, Scope, paused_by
from ci360_twilio.core.receipt import ProviderStatus, Receipt
from ci360_twilio.core.report import Answer, Outcome, Report, Verdict
from ci360_twilio.core.segments import count_segments
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import (
    PROBE,
    Claimed,
    Conversation,
    Counted,
    Hearing,
    InboundQuery,
    Inserted,
    Mark,
    Note,
    Owed,
    Query,
    Store,
    Stray,
    unpaced,
)
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
JOBS = ["job-1", "job-2"]
BODIES = ["Hello", "Hello" * 80]
GROUPS = [EVERY_SENDER, "shop"]
SUBJECTS = [Subject(t, person, group) for t in TENANTS for person in RECIPIENTS for group in GROUPS]
LETTERS = ["IN1", "IN2", "IN3", "IN4"]
CHORES = ["hear:1", "hear:2", "pull:1"]
IDENTITIES = ["d-1", "d-2"]
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
        "job": st.none() | st.sampled_from(JOBS),
        "identity": st.sampled_from(IDENTITIES),
        "group": st.sampled_from([None, None, "shop"]),
        "tells": st.sampled_from([(), tuple(Outcome), (Outcome.SENT, Outcome.OPT_OUT)]),
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
        "error_code": st.sampled_from([None, 30003, 21610]),
        "made": st.sampled_from([None, -60_000, 0]),
        "receipt": st.none()
        | st.builds(
            Receipt,
            sid=st.sampled_from(SIDS),
            status=st.sampled_from([*ProviderStatus, "novel"]),
            error_code=st.sampled_from([None, 30003, 21610]),
        ),
    }
)

queries = st.fixed_dictionaries(
    {
        "tenant_id": st.none() | st.sampled_from(TENANTS),
        "guid": st.none() | st.sampled_from(GUIDS),
        "sid": st.none() | st.sampled_from(SIDS),
        "recipient": st.none() | st.none() | st.sampled_from(RECIPIENTS),
        "identity": st.none() | st.none() | st.sampled_from(IDENTITIES),
        "task": st.none() | st.sampled_from(TASKS),
        "job": st.none() | st.none() | st.sampled_from(JOBS),
        "sender": st.none() | st.sampled_from(SENDERS),
        "country": st.none() | st.none() | st.sampled_from(["US", "GB"]),
        "reason": st.none() | st.none() | st.sampled_from(["because", "opted_out", "paused"]),
        "error_code": st.none() | st.none() | st.sampled_from([30003, 21610]),
        "statuses": st.frozensets(st.sampled_from(sorted(Status)), max_size=3)
        | st.frozensets(st.sampled_from(sorted(UNFINISHED)), max_size=3),
        "limit": st.integers(1, 20),
    }
)

signs = st.sampled_from([Sign.OUT, Sign.OUT, Sign.IN, Sign.IN, Sign.MAYBE])
subjects = st.sampled_from(SUBJECTS)

texts = st.fixed_dictionaries(
    {
        "sid": st.sampled_from(LETTERS),
        "subject": subjects,
        "channel": st.sampled_from(["", "whatsapp:"]),
        "to": st.sampled_from(SENDERS),
        "sign": st.none() | signs,
        "dated_at": maybe,
        "identity": st.sampled_from(IDENTITIES),
        "tells": st.sampled_from([(), tuple(Outcome)]),
        "purge_at": st.sampled_from([60_000, 400_000, 90_000_000]),
    }
)
"""Messages that customers send; times are milliseconds from the moment at which they are heard."""

pieces = st.fixed_dictionaries(
    {
        "subject": subjects,
        "sign": signs,
        "source": st.sampled_from(sorted(Source)),
        "dated_at": maybe,
        "sid": st.none() | st.sampled_from(LETTERS),
    }
)
"""Evidence from elsewhere."""

answers = st.fixed_dictionaries(
    {
        "number": st.integers(0, 20),
        "verdict": st.sampled_from(sorted(Verdict)),
        "due_at": maybe,
        "words": st.none() | st.just("not published"),
    }
)

strays = st.fixed_dictionaries(
    {
        "tenant_id": st.sampled_from(TENANTS),
        "sid": st.sampled_from(SIDS),
        "status": st.sampled_from(sorted(ProviderStatus)),
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


def consents_of(tenant: TenantId, store: Store) -> tuple[list[Consent], int | None]:
    """List a tenant's consents."""
    return store.list_consents(tenant, limit=1000)


def counted_in(store: Store, since: datetime, before: datetime) -> list[Counted]:
    """Count entries, in an order."""
    found = store.counts(since=since, before=before)
    assert found.whole_since is None
    return sorted(found.counted, key=str)


def is_disowned(document: Entry | Inbound, report: Report) -> bool:
    """Tell whether a report is of a message that is not the entry's any more."""
    return isinstance(document, Entry) and report.sid not in (None, document.sid)


class Start(NamedTuple):
    """A message that was started for the first time."""

    tenant_id: TenantId
    at: datetime


class Twins(RuleBasedStateMachine):
    """A ledger in memory, and one in a file that two processes have open: what all days have in common."""

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
        self.heard: set[Key] = set()
        self.erased: set[Key] = set()
        """Inbound messages that are gone, too."""
        self.told: dict[Key, dict[str, Report]] = {}
        """All reports that a document has ever had, as they were last."""
        self.taken: list[tuple[Key, str]] = []
        """Reports that somebody has taken, and may still answer."""

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

    def letters(self) -> dict[Key, Inbound]:
        """Give every inbound message by its key."""
        found = self.memory.find_inbound(InboundQuery(limit=1000))
        return {one.key: one for one in found}

    def documents(self) -> dict[Key, Entry | Inbound]:
        """Give every document by its key."""
        return {**self.listed(), **self.letters()}

    def is_blocked(self, entry: Entry) -> bool:
        """Tell whether an entry's recipient wants no messages from its sender."""
        if entry.message is None:
            return False
        groups = {EVERY_SENDER, entry.consent_group or EVERY_SENDER}
        of = [Subject(entry.tenant_id, entry.message.to, group) for group in groups]
        return any(one is not None and one.blocked for one in self.memory.consents(of))

    def entry(
        self,
        key: Key,
        status: Status,
        bulk: bool,
        message: Message,
        task: str,
        job: str | None,
        identity: str,
        group: str | None,
        tells: tuple[Outcome, ...],
        **times: int | None,
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
            origin=Origin(task_code=task, identities={"datahub_id": identity}),
            job=job,
            consent_group=group,
            tells=tells,
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
            if result.created and entry.status is Status.ACCEPTED:
                assert (result.entry.reason == "opted_out") == self.is_blocked(entry)
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

    def dated(self, receipt: Receipt | None, made: int | None) -> Receipt | None:
        """Give a receipt that says when Twilio made the message, or does not."""
        if receipt is None or made is None:
            return receipt
        date = f"{self.moment(made):%a, %d %b %Y %H:%M:%S} +0000"
        return msgspec.structs.replace(receipt, made=date)

    def tell(self, told: list[tuple[Key, Fact]]) -> list[Entry | None]:
        """Record facts, and check that nothing started that must not."""
        standing, pauses = self.listed(), self.memory.pauses()
        blocked = {key for key, entry in standing.items() if self.is_blocked(entry)}
        results = self.both(partial(recorded, told))
        for (key, fact), result in zip(told, results, strict=True):
            if result is None:
                continue
            before = standing[key]
            if fact.kind is Kind.STARTED:
                assert (key not in blocked) or result.status is Status.SUPPRESSED
                if result.status is Status.SUPPRESSED:
                    assert self.is_blocked(before)
                elif before.status is Status.ACCEPTED:
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

    @rule(limit=st.integers(1, 5))
    def purge(self, limit: int) -> None:
        """What is old is deleted, and only what has an end."""
        before, letters = self.listed(), self.letters()
        while self.both(lambda store: store.purge(now=self.now, limit=limit)):
            pass
        gone = before.keys() - self.listed().keys()
        assert all(before[key].finished and before[key].purge_at <= self.now for key in gone)
        self.purged |= gone
        over = {key for key, letter in letters.items() if letter.purge_at <= self.now}
        assert letters.keys() - self.letters().keys() == over
        self.erased |= over

    @rule()
    def reopen(self) -> None:
        """One of the two processes ends and comes back, and asks whether it can write."""
        self.files[0].close()
        self.files[0] = self.open()
        self.both(lambda store: store.probe())

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
    def what_is_counted_is_there(self) -> None:
        """Nothing else, and all of it, by whatever it has in common; and the file need not be set right."""
        since, before = self.now - 1000 * HOUR, self.now + 1000 * HOUR
        counted = self.both(lambda store: counted_in(store, since, before))
        assert sum(one.messages for one in counted) == len(self.listed())
        assert self.files[0].recount() == 0

    @invariant()
    def what_customers_wrote_and_wish_is_equal(self) -> None:
        """By listing and by key; and every consent is as it was sealed."""
        self.both(lambda store: store.find_inbound(InboundQuery(limit=1000)))
        self.both(lambda store: store.consents(SUBJECTS))
        verified = self.both(lambda store: store.verify_consents(limit=1000))
        assert verified.broken == ()
        for tenant in TENANTS:
            self.both(partial(consents_of, tenant))
        self.both(lambda store: store.owing(self.now, most=3))
        self.both(lambda store: store.aside(None, 1000))
        self.both(lambda store: sorted(store.strays(9), key=lambda one: (one.tenant_id, one.sid)))

    @invariant()
    def no_report_is_lost(self) -> None:
        """What was owed once is there as long as its document, and what was told stays told.

        Only what was not told yet of a message that has turned out to be another's is taken back.
        """
        documents = self.documents()
        self.told = {key: told for key, told in self.told.items() if key in documents}
        for key, document in documents.items():
            reports = {report.key: report for report in document.reports}
            assert len(reports) == len(document.reports)
            before = {
                name: report
                for name, report in self.told.get(key, {}).items()
                if name in reports
                or report.told_at is not None
                or not is_disowned(document, report)
            }
            assert before.keys() <= reports.keys()
            for name, report in before.items():
                assert report.told_at in (None, reports[name].told_at)
            self.told[key] = reports
        summary = self.memory.summary(self.now)
        every = [{report.state for report in one.reports} for one in documents.values()]
        assert summary.owed == sum("owed" in states for states in every)
        assert summary.aside == sum("aside" in states for states in every)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Each event's entry is there once, until it is purged; nobody else's SID is on it."""
        listed = self.listed()
        assert listed.keys() == self.seen - self.purged
        assert self.letters().keys() == self.heard - self.erased
        sids = [entry.sid for entry in listed.values() if entry.sid is not None]
        assert len(set(sids)) == len(sids)

    @invariant()
    def an_end_is_an_end(self) -> None:
        """What has reached one never has to be sent again, unless its end was a guess."""
        listed = self.listed().values()
        unfinished = {entry.key for entry in listed if not entry.finished}
        assert not (unfinished & self.ended) - self.guesses
        self.ended |= {entry.key for entry in listed if entry.finished}


class Ledgers(Twins):
    """Days on which workers, people and Twilio do all that they can do to entries."""

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
                    error_code=one["error_code"],
                    receipt=self.dated(one["receipt"], one["made"]),
                    guessed=one["guessed"],
                    correlation=one["correlation"],
                ),
            )
            for one in batch
        ]
        self.tell(told)

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

    @precondition(lambda self: self.since_restore > 12)
    @rule(ago=st.sampled_from([0, 0, 1_000, 60_000]))
    def restore(self, ago: int) -> None:
        """The ledger is marked as restored; not too often, as it leaves little to be sent."""
        self.since_restore = 0
        self.both(lambda store: store.mark_restored(self.moment(-ago)))

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


class Customers(Twins):
    """Days on which customers write and wish this and that, and CI360 is told."""

    @initialize(
        batch=st.lists(drafts, min_size=6, max_size=12),
        heard=st.lists(texts, max_size=4),
    )
    def begin(self, batch: list[dict[str, Any]], heard: list[dict[str, Any]]) -> None:
        """Customers have been written to already, and some have answered."""
        self.insert(batch)
        self.send(8)
        self.hear(heard)

    @rule(
        number=st.integers(0, 20),
        kind=st.sampled_from([Kind.DELIVERED, Kind.READ, Kind.UNDELIVERED, Kind.FAILED]),
        code=st.sampled_from([None, 30003, 21610, 21610]),
        made=st.sampled_from([None, -60_000, -1_000, 0]),
    )
    def settle(self, number: int, kind: Kind, code: int | None, made: int | None) -> None:
        """Twilio tells what became of a message, and perhaps that its recipient has opted out."""
        sent = [one for one in self.listed().values() if one.sid is not None]
        if sent:
            one = sent[number % len(sent)]
            receipt = Receipt(sid=one.sid or "", status=kind.value, error_code=code)
            receipt = self.dated(receipt, made) or receipt
            self.tell([(one.key, Fact(kind=kind, at=self.now, receipt=receipt))])

    @rule(code=st.sampled_from([30003, 21610, 21610, 63014]))
    def refuse(self, code: int) -> None:
        """Twilio makes none of the messages that are being sent."""
        sending = [
            one for one in self.listed().values() if one.status is Status.SENDING and one.lease
        ]
        refused = self.tell(
            [
                (one.key, Fact(kind=Kind.REFUSED, at=self.now, lease=one.lease, error_code=code))
                for one in sending
            ]
        )
        for after in refused:
            assert after is not None
            assert code == 30003 or any(self.memory.consents([self.subject(after)]))

    def subject(self, entry: Entry) -> Subject:
        """Give whose wish Twilio tells of with an entry."""
        assert entry.message is not None
        return Subject(entry.tenant_id, entry.message.to, entry.consent_group or EVERY_SENDER)

    @rule(number=st.integers(0, 20), sign=st.sampled_from([Sign.OUT, Sign.MAYBE, Sign.IN]))
    def change_mind_at_the_last_moment(self, number: int, sign: Sign) -> None:
        """Somebody wishes something whose message a worker has taken, and is about to start."""
        taken = [
            one
            for one in self.listed().values()
            if one.lease is not None and one.status in (Status.ACCEPTED, Status.SENDING)
        ]
        if not taken:
            return
        one = taken[number % len(taken)]
        changes = [(self.subject(one), self.evidence(sign, Source.PERSON, 0, None))]
        self.both(lambda store: store.attest_many(changes, now=self.now))
        start = Fact(kind=Kind.STARTED, at=self.now, lease=one.lease)
        [after] = self.tell([(one.key, start)])
        if after is not None:
            assert (after.status is Status.SUPPRESSED) == self.is_blocked(one)

    @rule(batch=st.lists(texts, min_size=1, max_size=4))
    def hear(self, batch: list[dict[str, Any]]) -> None:
        """Customers write, and Twilio tells of it once or more; each message is heard once."""
        before = self.letters()
        hearings = [self.hearing(**one) for one in batch]
        received = self.both(lambda store: store.hear_many(hearings, now=self.now))
        for hearing, result in zip(hearings, received, strict=True):
            key = hearing.inbound.key
            assert result.created == (key not in self.heard)
            self.heard.add(key)
            if key in self.erased:
                assert (result.inbound, result.consent) == (hearing.inbound, None)
            elif not result.created:
                assert (result.inbound.repeats, result.consent) == (before[key].repeats + 1, None)
            before[key] = result.inbound
        keys = [one.inbound.key for one in hearings]
        assert self.both(lambda store: store.is_heard(keys)) == [True] * len(keys)

    def hearing(
        self,
        sid: str,
        subject: Subject,
        channel: str,
        to: str,
        sign: Sign | None,
        dated_at: int | None,
        identity: str,
        tells: tuple[Outcome, ...],
        purge_at: int,
    ) -> Hearing:
        """Make a hearing; times are milliseconds from now."""
        sender = f"{channel}{subject.recipient}"
        inbound = Inbound(
            key=inbound_key(subject.tenant_id, sid),
            tenant_id=subject.tenant_id,
            heard=Heard(sid=sid, sender=sender, to=to, body=f"{sign} from {sender}"),
            heard_at=self.now,
            purge_at=self.moment(purge_at),
            origin=Origin(identities={"datahub_id": identity}),
            tells=tells,
        )
        inbound = owing(inbound, Outcome.REPLY, self.now)
        if sign is None:
            return Hearing(inbound, subject)
        return Hearing(inbound, subject, self.evidence(sign, Source.TEXT, dated_at, sid))

    def evidence(
        self, sign: Sign, source: Source, dated_at: int | None, sid: str | None
    ) -> Evidence:
        """Make evidence that is heard now; its date is milliseconds from now."""
        moment = None if dated_at is None else self.moment(dated_at)
        return Evidence(sign=sign, source=source, heard_at=self.now, dated_at=moment, sid=sid)

    @rule(batch=st.lists(pieces, min_size=1, max_size=4), only_dates=st.booleans())
    def attest(self, batch: list[dict[str, Any]], only_dates: bool) -> None:
        """Lists, people and CI360 say what somebody wishes, or Twilio when they wrote it."""
        changes = [(one.pop("subject"), self.evidence(**one)) for one in map(dict, batch)]
        before = {subject: self.memory.consents([subject])[0] for subject, _ in changes}
        if only_dates:
            after = self.both(lambda store: store.date_many(changes, now=self.now))
        else:
            after = self.both(lambda store: store.attest_many(changes, now=self.now))
        for (subject, _), consent in zip(changes, after, strict=True):
            known = before[subject]
            if consent is not None:
                assert (consent.tenant_id, consent.group) == (subject.tenant_id, subject.group)
                assert consent.recipient == subject.recipient
                assert not only_dates or known is not None
                lines = known.history if known else ()
                assert consent.history[: len(lines)] == lines
                before[subject] = consent
        now = [self.memory.consents([subject])[0] for subject in before]
        assert now == list(before.values())

    @rule(subject=subjects, sid=st.sampled_from(LETTERS), is_out=st.booleans())
    def judge(self, subject: Subject, sid: str, is_out: bool) -> None:
        """A person reads what somebody wrote."""
        [before] = self.memory.consents([subject])
        waits = before is not None and any(
            one.sid == sid and one.sign is Sign.MAYBE for one in before.against
        )
        after = self.both(
            lambda store: store.judge(subject, sid, is_out=is_out, now=self.now, by="ada")
        )
        assert (after is not None) == waits
        assert after is None or after.history[-1].by == "ada"

    @rule(limit=st.integers(1, 4))
    def take_undated(self, limit: int) -> None:
        """A worker is about to ask Twilio when texts were written."""
        taken = self.both(lambda store: store.take_undated(now=self.now, limit=limit))
        assert len(taken) <= limit
        for consent in taken:
            assert consent.undated
            assert consent.ask_at is not None
            assert consent.ask_at > self.now

    @rule(tenant=st.sampled_from(TENANTS), limit=st.integers(1, 5), ms=st.sampled_from([1, 60_000]))
    def take_reports(self, tenant: TenantId, limit: int, ms: int) -> None:
        """A worker is about to tell CI360 something, and falls silent over it."""
        self.taken += [(owed.of.key, one.key) for owed, one in self.reports(tenant, limit, ms)]
        self.taken = self.taken[-20:]

    @rule(
        tenant=st.sampled_from(TENANTS),
        limit=st.integers(1, 5),
        verdicts=st.lists(st.sampled_from(sorted(Verdict)), min_size=1, max_size=3),
        again=st.sampled_from([0, 1_000, 60_000]),
    )
    def tell_ci360(self, tenant: TenantId, limit: int, verdicts: list[Verdict], again: int) -> None:
        """A worker tells CI360 what is due, and writes down what CI360 says to it."""
        said: list[tuple[Key, str, Answer]] = []
        for verdict, (owed, one) in zip(cycle(verdicts), self.reports(tenant, limit, 60_000)):
            due_at = self.moment(again) if verdict is Verdict.AGAIN else None
            words = "not published" if verdict is Verdict.ASIDE else None
            said.append((owed.of.key, one.key, Answer(verdict, self.now, due_at, words)))
        self.both(lambda store: store.answer_reports(said))
        documents = self.documents()
        for key, name, answer in said:
            [report] = [one for one in documents[key].reports if one.key == name]
            expected = "owed" if answer.verdict is Verdict.AGAIN else answer.verdict.value
            assert report.state == expected

    def reports(self, tenant: TenantId, limit: int, ms: int) -> list[tuple[Owed, Report]]:
        """Take reports, and require that whatever is due is put off, and nothing else is."""
        before, until = self.documents(), self.moment(ms)
        due = {one.key for one in before.values() if one.tenant_id == tenant and self.due(one)}
        taken = self.both(
            lambda store: store.take_reports(tenant, now=self.now, until=until, limit=limit)
        )
        assert {one.of.key for one in taken} <= due
        assert len(taken) == min(limit, len(due))
        for one in taken:
            self.check_taken(before[one.of.key], one, until)
        return [(one, report) for one in taken for report in one.reports]

    def due(self, document: Entry | Inbound) -> list[Report]:
        """Give the reports of a document that are due."""
        return [
            one for one in document.reports if one.due_at is not None and one.due_at <= self.now
        ]

    def check_taken(self, before: Entry | Inbound, owed: Owed, until: datetime) -> None:
        """Require that exactly what was due was taken, and put off, and its attempt counted."""
        expected = [
            msgspec.structs.replace(one, due_at=until, attempts=one.attempts + 1)
            for one in self.due(before)
        ]
        assert [*owed.reports] == expected
        assert {*owed.reports} <= {*owed.of.reports}

    @precondition(lambda self: self.taken)
    @rule(batch=st.lists(answers, min_size=1, max_size=5))
    def answer(self, batch: list[dict[str, Any]]) -> None:
        """CI360 has answered, or not; some answers come twice, or after the document was purged."""
        said: list[tuple[Key, str, Answer]] = []
        for one in batch:
            key, name = self.taken[one["number"] % len(self.taken)]
            due_at = None if one["due_at"] is None else self.moment(one["due_at"])
            answer = Answer(one["verdict"], self.now, due_at, one["words"])
            said.append((key, name, answer))
        self.both(lambda store: store.answer_reports(said))

    @rule(tenant=st.none() | st.sampled_from(TENANTS))
    def owe_again(self, tenant: TenantId | None) -> None:
        """Somebody has put in order what CI360 would not take."""
        aside = self.memory.aside(tenant, 1000)
        number = self.both(lambda store: store.owe_again(tenant, now=self.now))
        assert number == sum(len(one.reports) for one in aside)
        assert self.both(lambda store: store.aside(tenant, 1000)) == []

    @rule(
        names=st.lists(st.sampled_from(CHORES), max_size=3), drop=st.booleans(), due_at=milliseconds
    )
    def write_chores(self, names: list[str], drop: bool, due_at: int) -> None:
        """Something is to be done again and again, or not any more."""
        if drop:
            self.both(lambda store: store.drop_chores(names))
        else:
            self.both(lambda store: store.add_chores(names, due_at=self.moment(due_at)))

    @rule(kind=st.sampled_from(["hear", "pull", "h"]), again=maybe)
    def do_chore(self, kind: str, again: int | None) -> None:
        """A worker does what is due; some fall silent over it."""
        until = self.moment(60_000)
        chore = self.both(lambda store: store.take_chore(kind, now=self.now, until=until))
        assert chore is None or chore.name.startswith(f"{kind}:")
        if chore is not None and again is not None:
            due_at, mark = self.moment(again), f"{chore.mark or ''}+"[-9:]
            self.both(lambda store: store.end_chore(chore.name, due_at=due_at, mark=mark))

    @rule(batch=st.lists(strays, max_size=3))
    def set_aside(self, batch: list[dict[str, Any]]) -> None:
        """Receipts come that belong to nothing."""
        kept = [Stray(first_at=self.now, last_at=self.now, **one) for one in batch]
        self.both(lambda store: store.keep_strays(kept))

    @rule(
        tenant=st.sampled_from(TENANTS),
        people=st.sets(st.sampled_from(RECIPIENTS), max_size=1),
        known_as=st.sets(st.sampled_from(IDENTITIES), max_size=1),
        really=st.booleans(),
    )
    def erase(self, tenant: TenantId, people: set[str], known_as: set[str], really: bool) -> None:
        """Somebody asks what is known of them, and perhaps to have it erased."""
        identities = {("datahub_id", one) for one in known_as}
        about = self.both(
            lambda store: store.about(tenant, recipients=people, identities=identities)
        )
        if not really:
            return
        entries = [one.key for one in about.entries]
        inbound = [one.key for one in about.inbound]
        note = Note(at=self.now, by="ada", action="erase", subject=tenant)
        erased = self.both(
            lambda store: store.erase(
                tenant,
                entries=entries,
                inbound=inbound,
                recipients=people,
                words=[*people, *known_as],
                note=note,
            )
        )
        left = [one for one in about.entries if self.is_leaving(one)]
        gone = len(entries) - len(left), len(inbound), len(about.consents)
        assert (*erased[:3], erased.busy) == (*gone, len(left))
        known = self.memory.about(tenant, recipients=people, identities=identities)
        assert known == (left, [], [])
        self.purged |= {*entries} - {one.key for one in left}
        self.erased |= {*inbound}

    def is_leaving(self, entry: Entry) -> bool:
        """Tell whether a worker is sending an entry's message at this moment."""
        return (
            entry.status is Status.SENDING
            and entry.lease is not None
            and entry.lease.until > self.now
        )

    @rule(
        tenant=st.sampled_from(TENANTS),
        to=st.sampled_from(RECIPIENTS),
        ours=st.sets(st.sampled_from(SENDERS)),
    )
    def answered(self, tenant: TenantId, to: str, ours: set[str]) -> None:
        """A customer has written, and it is asked what that answers."""
        asked = [Conversation(tenant, to, ours)]
        [found] = self.both(lambda store: store.conversations(asked))
        begun = [
            one
            for one in self.listed().values()
            if one.tenant_id == tenant
            and one.started_at is not None
            and self.between(one, to, ours)
        ]
        if begun:
            assert found is not None
            assert found.created_at == max(one.created_at for one in begun)
        assert found is None or found in begun

    def between(self, entry: Entry, to: str, ours: Iterable[str]) -> bool:
        """Tell whether an entry is from one of ours to a customer."""
        return entry.message is not None and entry.message.to == to and entry.message.sender in ours


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)

TestCustomers = Customers.TestCase
TestCustomers.settings = settings(max_examples=60, stateful_step_count=80, deadline=None)
