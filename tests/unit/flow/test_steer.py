"""What a person does to the ledger: each deed, what it leaves alone, and what is written of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import ConnectorError, LedgerUnavailable, NotKnown, TenantUnknown
from ci360_twilio.flow.decision import Resolution, Target, target_of
from ci360_twilio.flow.selection import PAGE, Named, Selection
from ci360_twilio.flow.steer import Steering
from ci360_twilio.logs import Log
from ci360_twilio.ports import NO_LIMITS
from ci360_twilio.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import SetClock

ONE, TWO = TenantId("one"), TenantId("two")
TO, SENDER = "+12015550142", "+12015550199"
ME = "anna"
EVERYTHING = Target(Scope.ALL)
TASK = Target(Scope.TASK, value="TSK_1")


class Ledger(MemoryStore):
    """A ledger in memory that can be away after some commits, and hears what is about to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.commits_left = 1_000_000
        self.before_record: Callable[[], object] = lambda: None

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Write, or say that nothing can be written."""
        before, self.before_record = self.before_record, lambda: None
        before()
        if self.commits_left <= 0:
            raise LedgerUnavailable("The ledger is away.")
        self.commits_left -= 1
        return super().record_many(facts, hourly_limits=hourly_limits)


class Register:
    """The tenants' documents."""

    def __init__(self) -> None:
        self.found: dict[TenantId, Tenant | ConnectorError] = {}
        self.write(ONE)
        self.write(TWO)

    def write(self, tenant_id: TenantId, **changes: Any) -> None:
        """Write a document."""
        document = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": "AC" + "e5" * 16,
            "twilio_auth_token": "token",
        }
        self.found[tenant_id] = parse_tenant(json.dumps(document | changes), tenant_id)

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant."""
        found = self.found[tenant_id]
        if not isinstance(found, Tenant):
            raise found
        return found

    reread = get


class Desk:
    """A steering with its ledger, tenants, log and clock."""

    def __init__(self, clock: SetClock) -> None:
        self.clock, self.ledger, self.tenants = clock, Ledger(), Register()
        self.stream = io.StringIO()
        self.steering = Steering(
            self.ledger, self.tenants, clock, Log(self.stream, level="debug"), event_ttl=3600
        )

    def add(
        self,
        guid: str,
        tenant_id: TenantId = ONE,
        *,
        task: str | None = "TSK_1",
        to: str = TO,
        sender: str = SENDER,
        **changes: Any,
    ) -> Key:
        """Write an entry that is due, a day before it expires."""
        now, key = self.clock.now, key_of(tenant_id, guid)
        members: dict[str, Any] = {
            "key": key,
            "tenant_id": tenant_id,
            "guid": guid,
            "status": Status.ACCEPTED,
            "created_at": now,
            "due_at": now,
            "expires_at": now + timedelta(days=1),
            "purge_at": now + timedelta(days=90),
            "message": Message(to=to, sender=sender, body="Hello Anna"),
            "origin": Origin(task_code=task),
        }
        self.ledger.insert_many([Entry(**(members | changes))])
        return key

    def ended(self, guid: str, code: int | None = None, **changes: Any) -> Key:
        """Write an entry that Twilio refused."""
        reason = f"twilio_{code}"
        return self.add(guid, status=Status.REFUSED, error_code=code, reason=reason, **changes)

    def unknown(self, guid: str, **changes: Any) -> Key:
        """Write an entry whose answer was lost."""
        return self.add(guid, status=Status.UNKNOWN, attempts=1, **changes)

    def claim(self) -> list[Entry]:
        """Take what is due."""
        now = self.clock.now
        lease = Lease(token="t", until=now + timedelta(minutes=1))
        return self.ledger.claim(now=now, lease=lease, limit=100).entries

    def start(self, entry: Entry) -> Entry | None:
        """Let an entry that was claimed start."""
        fact = Fact(kind=Kind.STARTED, at=self.clock.now, lease=entry.lease)
        return self.ledger.record_many([(entry.key, fact)])[0]

    def set(self, scope: Scope, cause: Cause = Cause.LIMIT, **members: Any) -> Pause:
        """Write a pause that no person set."""
        pause = Pause(
            scope=scope, cause=cause, reason="hourly_limit", since=self.clock.now, **members
        )
        assert self.ledger.pause(pause)
        return pause

    def __getitem__(self, key: Key) -> Entry:
        entry = self.ledger.get_many([key])[0]
        assert entry is not None
        return entry

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def notes(self) -> list[tuple[str, str, str, int | None, str | None]]:
        """The audit, oldest first."""
        return [
            (note.by, note.action, note.subject, note.entries, note.detail)
            for note in self.ledger.notes(100)[::-1]
        ]


@pytest.fixture
def desk(clock: SetClock) -> Desk:
    """A desk with two tenants and an empty ledger."""
    return Desk(clock)


# Pause


@pytest.mark.parametrize(
    ("target", "covered", "words"),
    [
        (EVERYTHING, "abc", "everything"),
        (Target(Scope.TENANT, TWO), "c", "tenant two"),
        (TASK, "ac", "task TSK_1"),
        (Target(Scope.TASK, ONE, "TSK_1"), "a", "task TSK_1 of tenant one"),
        (Target(Scope.SENDER, value="Acme"), "b", "sender Acme"),
        (Target(Scope.COUNTRY, value="GB"), "c", "country GB"),
    ],
    ids=str,
)
def test_nothing_starts_any_more_that_is_paused(
    desk: Desk, target: Target, covered: str, words: str
) -> None:
    """Whoever has claimed it already; the rest goes on."""
    desk.add("a")
    desk.add("b", task="TSK_2", sender="Acme")
    desk.add("c", TWO, to="+447400123456")
    claimed = desk.claim()
    assert len(claimed) == 3
    assert desk.steering.covered(target) == {Status.ACCEPTED: len(covered)}
    pause, new = desk.steering.pause(target, by=ME, text="wrong text")
    assert new
    started = [desk.start(entry) for entry in claimed]
    kept = [one.guid for one in started if one is not None and one.status is Status.ACCEPTED]
    assert sorted(kept) == list(covered)
    assert (pause.cause, pause.by, pause.since) == (Cause.PERSON, ME, desk.clock.now)
    assert desk.notes == [(ME, "pause", words, None, "wrong text")]
    (line,) = desk.lines
    assert (line["event"], line["by"], line["scope"]) == ("steer.pause", ME, target.scope)
    assert "wrong text" not in desk.stream.getvalue()


def test_what_is_being_sent_is_told_apart(desk: Desk) -> None:
    """A pause cannot stop it."""
    desk.add("a")
    (entry,) = desk.claim()
    desk.start(entry)
    desk.add("b")
    assert desk.steering.covered(TASK) == {Status.SENDING: 1, Status.ACCEPTED: 1}


def test_an_equal_pause_of_a_person_stays_as_it_is(desk: Desk) -> None:
    """Nothing is written a second time."""
    first = desk.steering.pause(TASK, by=ME)
    desk.clock.advance(hours=1)
    assert desk.steering.pause(TASK, by="bert") == (first.pause, False)
    assert len(desk.notes) == len(desk.lines) == 1
    assert desk.steering.pause(Target(Scope.TASK, ONE, "TSK_1"), by="bert").new


def test_a_pause_of_another_cause_does_not_stand_in_for_a_persons(desk: Desk) -> None:
    """That one may be lifted by itself."""
    desk.set(Scope.TENANT, Cause.CONFIG, tenant_id=ONE)
    assert desk.steering.pause(Target(Scope.TENANT, ONE), by=ME).new


def test_pauses_are_listed_with_what_waits_behind_them(desk: Desk) -> None:
    """As far as it has been met by a claim; what has expired is told apart."""
    desk.add("a")
    desk.add("b", expires_at=desk.clock.now + timedelta(minutes=1))
    desk.steering.pause(TASK, by=ME)
    desk.steering.pause(Target(Scope.COUNTRY, value="GB"), by=ME)
    assert desk.claim() == []
    desk.clock.advance(minutes=2)
    listed = [(str(target_of(one.pause)), one.valid, one.expired) for one in desk.steering.pauses()]
    assert sorted(listed) == [("country GB", 0, 0), ("task TSK_1", 1, 1)]


def test_what_has_expired_behind_a_pause_is_told_though_it_is_gone(desk: Desk) -> None:
    """Whether a worker has come by or not; what expired before or elsewhere does not count."""
    soon = desk.clock.now + timedelta(minutes=1)
    desk.add("before", expires_at=soon)
    desk.clock.advance(minutes=2)
    assert desk.claim() == []
    desk.clock.advance(seconds=1)
    desk.steering.pause(TASK, by=ME)
    for number in range(2):
        desk.add(f"aged {number}", expires_at=desk.clock.now + timedelta(minutes=1))
    desk.add(
        "elsewhere",
        task="TSK_2",
        not_before=desk.clock.now + timedelta(hours=1),
        expires_at=desk.clock.now + timedelta(minutes=1),
    )
    desk.add("too old", status=Status.EXPIRED)
    desk.add("young")
    assert desk.claim() == []
    desk.clock.advance(minutes=2)
    assert [(one.valid, one.expired) for one in desk.steering.standing(TASK)] == [(1, 2)]
    assert desk.claim() == []
    assert [(one.valid, one.expired) for one in desk.steering.standing(TASK)] == [(1, 2)]


# Resume


def test_resume_lifts_every_pause_of_that_target(desk: Desk) -> None:
    """A person's and a limit's; others stay."""
    tenant = Target(Scope.TENANT, ONE)
    desk.set(Scope.TENANT, tenant_id=ONE)
    desk.steering.pause(tenant, by=ME)
    desk.steering.pause(TASK, by=ME)
    desk.add("a", task=None)
    assert desk.claim() == []
    lifted = desk.steering.resume(tenant, by="bert", text="limit raised")
    assert {one.pause.cause for one in lifted} == {Cause.PERSON, Cause.LIMIT}
    assert sum(one.valid for one in lifted) == 1
    assert [target_of(one.pause) for one in desk.steering.pauses()] == [TASK]
    assert len(desk.claim()) == 1
    assert desk.notes[-1] == ("bert", "resume", "tenant one", 1, "limit raised")
    assert (desk.lines[-1]["event"], desk.lines[-1]["entries"]) == ("steer.resume", 1)


def test_resume_of_some_causes_leaves_the_others(desk: Desk) -> None:
    """A restore is over, and a person's pause is not."""
    desk.ledger.mark_restored(desk.clock.now)
    desk.steering.pause(EVERYTHING, by=ME)
    only = frozenset({Cause.RESTORE})
    desk.steering.resume(EVERYTHING, by=ME, causes=only)
    assert [one.pause.cause for one in desk.steering.pauses()] == [Cause.PERSON]
    with pytest.raises(NotKnown):
        desk.steering.resume(EVERYTHING, by=ME, causes=only)


def test_resume_of_what_is_not_paused_is_refused(desk: Desk) -> None:
    """It names what is; a pause of a part is not a pause of the whole."""
    with pytest.raises(NotKnown, match="There is no such pause"):
        desk.steering.resume(TASK, by=ME)
    desk.steering.pause(Target(Scope.TASK, ONE, "TSK_1"), by=ME)
    with pytest.raises(NotKnown, match="There is no such pause"):
        desk.steering.resume(TASK, by=ME)
    assert len(desk.notes) == len(desk.steering.pauses()) == 1


# Cancel


def test_cancel_takes_back_what_is_not_sent(desk: Desk) -> None:
    """Also what a worker has claimed: it does not start any more."""
    key, other = desk.add("a"), desk.add("b", task="TSK_2")
    claimed = {entry.key: entry for entry in desk.claim()}
    done = desk.steering.cancel(Selection(task="TSK_1"), by=ME, text="wrong price")
    assert (done.entries, dict(done.left)) == (1, {})
    assert desk.start(claimed[key]) is None
    assert (desk[key].status, desk[key].reason) == (Status.CANCELED, "withdrawn")
    assert desk[other].status is Status.ACCEPTED
    assert desk.notes == [(ME, "cancel", "task TSK_1", 1, "wrong price")]
    (line,) = desk.lines
    assert (line["event"], line["task"], line["entries"]) == ("steer.cancel", "TSK_1", 1)


def test_what_has_left_or_ended_cannot_be_canceled(desk: Desk) -> None:
    """It is told by its status."""
    desk.add("a")
    desk.start(desk.claim()[0])
    desk.add("expired", expires_at=desk.clock.now)
    desk.unknown("lost")
    kept = desk.add("kept")
    named = Named(guids=("a", "expired", "lost", "kept"))
    done = desk.steering.cancel(named, by=ME)
    assert (done.entries, dict(done.left)) == (1, {"sending": 1, "expired": 1, "unknown": 1})
    assert desk[kept].status is Status.CANCELED


def test_what_starts_in_the_same_moment_is_told(desk: Desk) -> None:
    """The plan said otherwise."""
    desk.add("a")
    (claimed,) = desk.claim()
    desk.ledger.before_record = lambda: desk.start(claimed)
    done = desk.steering.cancel(Selection(task="TSK_1"), by=ME)
    assert (done.entries, dict(done.left)) == (0, {"sending": 1})
    assert desk.notes == []
    assert desk.lines == []


def test_one_unknown_guid_keeps_all_from_being_canceled(desk: Desk) -> None:
    """All or nothing for what is named."""
    key = desk.add("a")
    with pytest.raises(NotKnown):
        desk.steering.cancel(Named(guids=("a", "b")), by=ME)
    assert desk[key].status is Status.ACCEPTED
    assert desk.notes == []


def test_a_long_campaign_is_canceled_page_by_page(desk: Desk) -> None:
    """With one line of audit."""
    keys = [desk.add(str(number)) for number in range(2 * PAGE + 3)]
    plan = desk.steering.cancel(Selection(task="TSK_1"), by=ME, dry_run=True)
    assert desk.steering.cancel(Selection(task="TSK_1"), by=ME) == plan == (len(keys), {})
    assert {desk[key].status for key in keys} == {Status.CANCELED}
    assert desk.notes == [(ME, "cancel", "task TSK_1", len(keys), None)]


def test_what_was_canceled_before_an_outage_is_in_the_audit(desk: Desk) -> None:
    """The error is told, too."""
    for number in range(PAGE + 1):
        desk.add(str(number))
    desk.ledger.commits_left = 1
    with pytest.raises(LedgerUnavailable):
        desk.steering.cancel(Selection(task="TSK_1"), by=ME)
    assert desk.notes == [(ME, "cancel", "task TSK_1", PAGE, None)]


# Replay


def test_replay_sends_a_refused_message_again(desk: Desk) -> None:
    """By a new entry that is linked to the old one, for as long as an event lives."""
    key = desk.ended("a", 21606, expires_at=desk.clock.now)
    desk.clock.advance(days=1)
    done = desk.steering.replay(Selection(task="TSK_1"), by=ME, text="sender bought")
    assert (done.entries, dict(done.left)) == (1, {})
    old, new = desk[key], desk[key_of(ONE, "a~again")]
    assert (old.status, old.replayed_by) == (Status.REFUSED, new.key)
    assert (new.status, new.replay_of, new.message) == (Status.ACCEPTED, key, old.message)
    assert new.expires_at == desk.clock.now + timedelta(hours=1)
    assert [entry.key for entry in desk.claim()] == [new.key]
    assert desk.notes == [(ME, "replay", "task TSK_1", 1, "sender bought")]
    assert desk.lines[0]["event"] == "steer.replay"
    assert [(step.step, step.decision, step.reason) for step in old.history] == [
        ("steer", "replayed", "replayed")
    ]


def test_a_message_is_replayed_once(desk: Desk) -> None:
    """Its replay may be replayed."""
    desk.ended("a", 21606)
    assert desk.steering.replay(Named(guids=("a",)), by=ME).entries == 1
    again = desk.steering.replay(Named(guids=("a",)), by=ME)
    assert (again.entries, [one.code for one in again.left]) == (0, ["replayed"])
    assert len(desk.notes) == 1


def test_a_replay_that_was_cut_off_is_finished_by_the_next(desk: Desk) -> None:
    """The new entry was written, the link was not; there is one new entry all the same."""
    key = desk.ended("a", 21606)
    desk.ledger.commits_left = 0
    with pytest.raises(LedgerUnavailable):
        desk.steering.replay(Named(guids=("a",)), by=ME)
    desk.ledger.commits_left = 9
    assert desk.steering.replay(Named(guids=("a",)), by=ME).entries == 1
    assert desk[key].replayed_by == key_of(ONE, "a~again")
    assert len(desk.claim()) == 1


def test_what_arrives_in_the_same_moment_is_not_sent_again(desk: Desk) -> None:
    """A failure may be followed by proof of delivery."""
    key = desk.add("a", status=Status.FAILED, sid="SM1", provider_status="failed")
    proof = Fact(
        kind=Kind.DELIVERED, at=desk.clock.now, receipt=Receipt(sid="SM1", status="delivered")
    )
    desk.ledger.before_record = lambda: desk.ledger.record_many([(key, proof)])
    done = desk.steering.replay(Named(guids=("a",)), by=ME)
    assert (done.entries, [against.code for against in done.left]) == (0, ["not_replayable"])
    assert desk[key_of(ONE, "a~again")].status is Status.CANCELED
    assert desk.claim() == []


@pytest.mark.parametrize(
    ("code", "objections", "insisting"),
    [
        (21606, 0, 0),
        (21211, 1, 0),
        (30007, 1, 0),
        (21610, 1, 1),
        (None, 0, 0),
    ],
)
def test_what_would_fail_again_is_replayed_only_where_somebody_insists(
    desk: Desk, code: int | None, objections: int, insisting: int
) -> None:
    """Who has opted out gets nothing at all."""
    desk.ended("a", code)
    plan = desk.steering.replay(Selection(tenant_id=ONE), by=ME, dry_run=True)
    assert sum(plan.left.values()) == objections
    done = desk.steering.replay(Selection(tenant_id=ONE), by=ME, anyway=True)
    assert (done.entries, sum(done.left.values())) == (1 - insisting, insisting)


def test_statuses_narrow_a_replay(desk: Desk) -> None:
    """Failed ones without the undelivered."""
    for status in Status:
        desk.add(status, status=status)
    failed = Selection(statuses=frozenset({Status.FAILED}))
    assert desk.steering.replay(failed, by=ME, dry_run=True) == (1, {})
    assert desk.steering.replay(Selection(tenant_id=ONE), by=ME, dry_run=True).entries == 3
    named = Named(guids=tuple(Status))
    assert sum(desk.steering.replay(named, by=ME, dry_run=True).left.values()) == 10


def test_the_tenants_gates_hold_for_what_is_replayed(desk: Desk) -> None:
    """They may have changed since; nobody insists against them."""
    desk.tenants.write(ONE, countries=["GB"])
    desk.tenants.found[TWO] = TenantUnknown("There is no such document.")
    desk.ended("abroad")
    desk.ended("nobody's", tenant_id=TWO)
    desk.ended("too late", to="+447400123456", not_after=desk.clock.now)
    desk.ended("ours", to="+447400123456")
    desk.ended("broken", message=None)
    done = desk.steering.replay(Selection(task="TSK_1"), by=ME, anyway=True)
    assert done.entries == 1
    assert {one.code: number for one, number in done.left.items()} == {
        "country_not_allowed": 1,
        "tenant_unknown": 1,
        "expired": 1,
        "no_message": 1,
    }
    assert all(one.words != one.code for one in done.left)


def test_the_limit_by_recipient_holds_for_what_is_replayed(desk: Desk) -> None:
    """Those beyond it are suppressed, and told."""
    desk.tenants.write(ONE, messages_per_recipient_per_day=2)
    for number in range(3):
        desk.ended(str(number), 21606)
    done = desk.steering.replay(Selection(tenant_id=ONE), by=ME)
    assert done.entries == 2
    assert {one.code: number for one, number in done.left.items()} == {"recipient_limit": 1}


@pytest.mark.parametrize("chosen", [Selection(tenant_id=ONE), Named(guids=("a", "b"))], ids=str)
def test_a_dry_run_writes_nothing(desk: Desk, chosen: Named | Selection) -> None:
    """Whatever it would do."""
    keys = [desk.add("a"), desk.ended("b", 21606)]
    before = [desk[key] for key in keys]
    assert desk.steering.cancel(chosen, by=ME, dry_run=True).entries == 1
    assert desk.steering.replay(chosen, by=ME, dry_run=True).entries == 1
    assert [desk[key] for key in keys] == before
    assert desk.notes == []
    assert desk.lines == []
    assert desk.ledger.get_many([key_of(ONE, "b~again")]) == [None]


# Resolve


def one(guid: str = "a") -> Named:
    """Name one entry."""
    return Named(guids=(guid,))


@pytest.mark.parametrize("status", [Status.HELD, Status.UNKNOWN])
def test_a_message_that_was_made_is_resolved_by_its_sid(desk: Desk, status: Status) -> None:
    """It is no guess, and what Twilio says of its end counts."""
    key = desk.add("a", status=status, attempts=1)
    receipt = Receipt(sid=f"SM{'1' * 32}", status="delivered")
    entry = desk.steering.open_one(one())
    done = desk.steering.resolve(entry, Resolution.SENT, by=ME, receipt=receipt, text="console")
    assert done == (desk[key], None)
    assert (desk[key].status, desk[key].sid, desk[key].guessed) == (
        Status.DELIVERED,
        receipt.sid,
        False,
    )
    assert (desk[key].history[0].step, desk[key].history[0].reason) == ("steer", "resolved_sent")
    assert desk.notes == [(ME, "resolve", key, 1, "sent: console")]
    assert (desk.lines[0]["event"], desk.lines[0]["decision"]) == ("steer.resolve", "sent")


def test_a_sid_of_another_message_is_not_taken(desk: Desk) -> None:
    """Nothing is changed."""
    receipt = Receipt(sid=f"SM{'1' * 32}", status="sent")
    for guid in ("a", "b"):
        desk.unknown(guid)
    desk.steering.resolve(desk.steering.open_one(one("b")), Resolution.SENT, by=ME, receipt=receipt)
    with pytest.raises(NotKnown, match="left as it is"):
        desk.steering.resolve(
            desk.steering.open_one(one("a")), Resolution.SENT, by=ME, receipt=receipt
        )
    assert desk[key_of(ONE, "a")].status is Status.UNKNOWN
    assert len(desk.notes) == 1


def test_a_message_that_was_not_made_is_closed(desk: Desk) -> None:
    """With its reason, and for good."""
    key = desk.unknown("a")
    desk.steering.resolve(desk.steering.open_one(one()), Resolution.NOT_SENT, by=ME)
    assert (desk[key].status, desk[key].reason) == (Status.CANCELED, "resolved_not_sent")
    assert desk.notes == [(ME, "resolve", key, 1, "not-sent")]
    assert desk.claim() == []


def test_a_message_is_sent_again_by_a_linked_entry(desk: Desk) -> None:
    """The old one is closed."""
    key = desk.unknown("a")
    done = desk.steering.resolve(desk.steering.open_one(one()), Resolution.RESEND, by=ME)
    assert done.again is not None
    assert (done.entry.status, done.entry.reason) == (Status.CANCELED, "resolved_resend")
    assert (done.entry.replayed_by, done.again.replay_of) == (done.again.key, key)
    assert [entry.key for entry in desk.claim()] == [done.again.key]


def test_what_a_gate_keeps_back_is_not_resent_and_stays_open(desk: Desk) -> None:
    """A person may still decide otherwise."""
    desk.tenants.write(ONE, countries=["GB"])
    key = desk.unknown("abroad")
    with pytest.raises(NotKnown, match="country"):
        desk.steering.resolve(desk.steering.open_one(one("abroad")), Resolution.RESEND, by=ME)
    desk.tenants.write(ONE, messages_per_recipient_per_day=1)
    with pytest.raises(NotKnown, match="recipient"):
        desk.steering.resolve(desk.steering.open_one(one("abroad")), Resolution.RESEND, by=ME)
    assert desk[key].status is Status.UNKNOWN
    assert desk.notes == []
    assert desk.claim() == []


def test_what_is_settled_meanwhile_is_not_sent_again(desk: Desk) -> None:
    """The new entry is taken back before anybody takes it up."""
    key = desk.unknown("a")
    entry = desk.steering.open_one(one())
    made = Fact(kind=Kind.MADE, at=desk.clock.now, receipt=Receipt(sid="SM1", status="sent"))
    desk.ledger.before_record = lambda: desk.ledger.record_many([(key, made)])
    with pytest.raises(NotKnown, match="settled meanwhile"):
        desk.steering.resolve(entry, Resolution.RESEND, by=ME)
    assert desk[key].status is Status.SENT
    assert desk[key_of(ONE, "a~again")].status is Status.CANCELED
    assert desk.claim() == []


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.HELD, Status.UNKNOWN}))
def test_only_what_is_held_or_unknown_is_resolved(desk: Desk, status: Status) -> None:
    """All else is on its way, or has its end."""
    desk.add("a", status=status)
    with pytest.raises(NotKnown, match=status):
        desk.steering.open_one(one())


def test_an_unknown_guid_is_not_resolved(desk: Desk) -> None:
    """It says so."""
    with pytest.raises(NotKnown, match="Nothing is known"):
        desk.steering.open_one(one())


# What is told


def test_no_line_holds_a_number_or_a_text(desk: Desk) -> None:
    """Senders are masked, odd guids and tasks hashed; the audit names the sender."""
    desk.steering.pause(Target(Scope.SENDER, value=SENDER), by=ME, text="call +12015550177")
    desk.steering.pause(Target(Scope.TASK, value="call +12015550177"), by=ME)
    desk.add("+12015550177")
    desk.steering.cancel(Named(guids=("+12015550177",)), by=ME)
    desk.add("b")
    desk.steering.cancel(Selection(sender=SENDER, country="US"), by=ME)
    desk.unknown("call me")
    desk.steering.resolve(desk.steering.open_one(one("call me")), Resolution.NOT_SENT, by=ME)
    assert len(desk.lines) == 5
    for secret in ("2015550", "Hello", "call"):
        assert secret not in desk.stream.getvalue()
    assert desk.notes[0][2] == f"sender {SENDER}"
    assert all(msgspec.json.encode(note) for note in desk.ledger.notes(9))
