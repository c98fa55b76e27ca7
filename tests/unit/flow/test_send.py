"""Attempts: what each end of a request becomes in the ledger, and when it is tried again."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Status, Step, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import (
    AnswerLost,
    ConnectorError,
    Failure,
    LedgerUnavailable,
    NotReached,
    TenantBroken,
    TenantUnavailable,
    TenantUnknown,
    TwilioRefused,
)
from ci360_twilio.flow.patience import ATTEMPT_SECONDS
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.flow.send import Begun, Sending
from ci360_twilio.logs import Log
from ci360_twilio.ports import NO_LIMITS
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.conftest import SetClock, Twilio

ONE, TWO = TenantId("one"), TenantId("two")
GUID = "5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77"


class NoJitter(random.Random):
    """Chance that always says the same, so that waits are known."""

    def random(self) -> float:
        """Give the waits whole."""
        return 0.0


class Call:
    """One call of the sender."""

    def __init__(
        self,
        message: Message,
        tenant: Tenant,
        validity: int,
        timeout: float,
        callback: str | None,
    ) -> None:
        self.message, self.tenant, self.validity, self.timeout = message, tenant, validity, timeout
        self.callback = callback


class Script:
    """Twilio that ends as it is told, per tenant, and makes messages when nothing is told."""

    def __init__(self) -> None:
        self.password: str | None = None
        """The one that the account takes; any where there is none."""
        self.asked = 0
        self.ends: dict[str, list[Exception]] = {}
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def fail(self, *ends: Exception, tenant_id: TenantId = ONE) -> None:
        """Plan the ends of a tenant's next requests."""
        self.ends.setdefault(tenant_id, []).extend(ends)

    def send(
        self,
        message: Message,
        tenant: Tenant,
        *,
        validity: int,
        timeout: float,
        callback: str | None = None,
    ) -> Receipt:
        """Make a message, or raise what is planned."""
        with self._lock:
            self.calls.append(Call(message, tenant, validity, timeout, callback))
            number = len(self.calls)
            planned = self.ends.get(tenant.id)
            end = planned.pop(0) if planned else None
        if end is not None:
            raise end
        return Receipt(sid=f"SM{number:032}", status="queued")

    def probe(self, tenant: Tenant, *, timeout: float = 10.0) -> None:
        """Look at the account."""
        assert timeout > 0
        self.asked += 1
        if self.password not in (None, tenant.password):
            raise bad_login()


class Register:
    """Tenants whose tokens can be rotated; a rotated one is seen when the document is read anew."""

    def __init__(self) -> None:
        self.now: dict[TenantId, Tenant | ConnectorError] = {}
        self.kept: dict[TenantId, Tenant] = {}
        self.reread_count = 0
        for tenant_id in (ONE, TWO):
            self.rotate(tenant_id, "first")

    def rotate(self, tenant_id: TenantId, token: str, **members: Any) -> None:
        """Write a document with another token, and with further members."""
        document = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": "AC" + "e5" * 16,
            "twilio_auth_token": token,
            **members,
        }
        self.now[tenant_id] = parse_tenant(json.dumps(document), tenant_id)

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give the tenant that was read last, as a cache does."""
        return self.kept.get(tenant_id) or self.reread(tenant_id)

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give the tenant as it is now."""
        self.reread_count += 1
        found = self.now[tenant_id]
        if not isinstance(found, Tenant):
            raise found
        self.kept[tenant_id] = found
        return found


class Ledger(MemoryStore):
    """A ledger in memory that counts commits, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.away = False

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Write, or say that nothing can be written."""
        self.commits.append(len(facts))
        if self.away:
            raise LedgerUnavailable("The ledger is away.")
        return super().record_many(facts, hourly_limits=hourly_limits)


class Office:
    """A sending with its ledger, tenants, sender, log and clock."""

    def __init__(self, clock: SetClock, *, trips: bool = True, **options: Any) -> None:
        self.clock = clock
        self.ledger, self.sender, self.tenants = Ledger(), Script(), Register()
        self.stream = io.StringIO()
        log = Log(self.stream, level="debug")
        self.pausing = Pausing(self.ledger, self.tenants, clock, log, trips=trips, rng=NoJitter())
        self.sending = Sending(
            self.ledger,
            self.sender,
            self.tenants,
            self.pausing,
            clock,
            log,
            rng=NoJitter(),
            **options,
        )

    def add(self, guid: str = GUID, tenant_id: TenantId = ONE, **changes: Any) -> Key:
        """Write an entry that is due, a day before it expires."""
        now = self.clock.now
        members: dict[str, Any] = {
            "key": key_of(tenant_id, guid),
            "tenant_id": tenant_id,
            "guid": guid,
            "status": Status.ACCEPTED,
            "created_at": now,
            "due_at": now,
            "expires_at": now + timedelta(days=1),
            "purge_at": now + timedelta(days=90),
            "message": Message(to="+12015550142", sender="+12015550199", body="Hello Anna"),
            "history": (Step(at=now, step="accept", decision="accepted"),),
        }
        self.ledger.insert_many([Entry(**(members | changes))])
        return key_of(tenant_id, guid)

    def begin(self, limit: int = 100) -> list[Begun]:
        """Claim what is due and begin it."""
        return self.sending.begin(self.sending.claim(limit))

    def run(self, limit: int = 100) -> list[Fact]:
        """Claim, begin, attempt and record what is due; gives the facts."""
        facts = [(begun.entry.key, self.sending.attempt(begun)) for begun in self.begin(limit)]
        self.sending.record(facts)
        return [fact for _, fact in facts]

    @property
    def pauses(self) -> list[tuple[str, str | None, str]]:
        """What is paused: scope, value and reason."""
        return [(one.scope, one.value, one.reason) for one in self.ledger.pauses()]

    def __getitem__(self, key: Key) -> Entry:
        entry = self.ledger.get_many([key])[0]
        assert entry is not None
        return entry

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def office(clock: SetClock) -> Office:
    """An office with two tenants and nothing to do."""
    return Office(clock)


def refused(
    failure: Failure, status: int = 400, code: int | None = 21211, after: float | None = None
) -> TwilioRefused:
    """Make an error answer of Twilio's."""
    return TwilioRefused(
        "Refused.", failure=failure, status=status, twilio_code=code, retry_after=after
    )


def bad_login(status: int = 401, code: int | None = 20003) -> TwilioRefused:
    """Make the answer to wrong credentials."""
    return refused(Failure.CONFIG, status, code)


# The usual way


def test_a_due_entry_is_sent_once(office: Office) -> None:
    """With its SID and Twilio's word for where it stands."""
    key = office.add()
    (fact,) = office.run()
    entry = office[key]
    assert fact.kind is Kind.MADE
    assert (entry.status, entry.sid, entry.provider_status) == (
        Status.SENT,
        f"SM{1:032}",
        "queued",
    )
    assert (entry.attempts, entry.lease, entry.reason) == (1, None, None)
    assert [(step.step, step.decision) for step in entry.history] == [
        ("accept", "accepted"),
        ("send", "sending"),
        ("send", "sent"),
    ]
    assert office.run() == []
    assert len(office.sender.calls) == 1


def test_sending_is_committed_before_bytes_leave(office: Office) -> None:
    """Whatever ends the process then, the ledger knows that a message may exist."""
    key = office.add()
    (begun,) = office.begin()
    assert office.sender.calls == []
    assert office[key].status is Status.SENDING
    assert begun.entry == office[key]


def test_a_group_begins_in_one_commit(office: Office) -> None:
    """And so do the facts that are written with it."""
    keys = [office.add(f"g{number}") for number in range(5)]
    first = office.begin(2)
    facts = [(begun.entry.key, office.sending.attempt(begun)) for begun in first]
    office.ledger.commits.clear()
    rest = office.sending.begin(office.sending.claim(100), facts)
    assert office.ledger.commits == [5]
    assert [begun.entry.key for begun in rest] == keys[2:]
    assert [office[key].status for key in keys] == [Status.SENT] * 2 + [Status.SENDING] * 3


def test_the_sender_is_told_message_tenant_and_time(office: Office) -> None:
    """The tenant of the entry, and the time-out of the edge."""
    office.add(tenant_id=TWO)
    (begun,) = office.begin()
    office.sending.attempt(begun, timeout=7.5)
    (call,) = office.sender.calls
    assert (call.tenant.id, call.timeout) == (TWO, 7.5)
    assert call.message == begun.entry.message


def test_an_attempt_has_less_time_than_its_lease(office: Office) -> None:
    """All time-outs of one attempt together are shorter than the shortest lease allowed."""
    office.add()
    office.run()
    assert office.sender.calls[0].timeout == ATTEMPT_SECONDS < 40


@pytest.mark.parametrize(
    ("left", "validity"),
    [(86_400, 36_000), (36_000, 36_000), (35_999.9, 35_999), (61.5, 61), (1.0, 1), (0.2, 1)],
)
def test_the_validity_is_what_is_left_of_the_entry(
    office: Office, left: float, validity: int
) -> None:
    """In whole seconds, at least one and at most what Twilio takes."""
    office.add(expires_at=office.clock.now + timedelta(seconds=left))
    office.run()
    assert office.sender.calls[0].validity == validity


def test_the_validity_is_counted_when_the_request_is_made(office: Office) -> None:
    """Time that passes between claim and request is not given back."""
    office.add(expires_at=office.clock.now + timedelta(seconds=100))
    (begun,) = office.begin()
    office.clock.advance(seconds=30)
    office.sending.attempt(begun)
    assert office.sender.calls[0].validity == 70


def test_the_validity_ends_with_not_after(office: Office) -> None:
    """Whichever comes first."""
    office.add(not_after=office.clock.now + timedelta(seconds=50))
    office.run()
    assert office.sender.calls[0].validity == 50


# Failures


WAITS = {
    Failure.RETRY_SAFE: (0.5, 60.0),
    Failure.RETRY_LATER: (60.0, 1800.0),
    Failure.TRANSIENT: (60.0, 1800.0),
    Failure.CONFIG: (15.0, 900.0),
}


@pytest.mark.parametrize("failure", list(Failure))
def test_each_class_of_refusal_has_its_end(office: Office, failure: Failure) -> None:
    """Retried where another attempt makes sense, refused where not, unknown where in doubt."""
    key = office.add()
    office.sender.fail(refused(failure, code=21999))
    (fact,) = office.run()
    entry = office[key]
    if failure in WAITS:
        assert (fact.kind, entry.status, entry.lease) == (Kind.RETRIED, Status.ACCEPTED, None)
        assert entry.due_at == office.clock.now + timedelta(seconds=WAITS[failure][0])
        assert entry.error_code == 21999
    elif failure is Failure.AMBIGUOUS:
        assert (fact.kind, entry.status) == (Kind.LOST, Status.UNKNOWN)
    else:
        assert (fact.kind, entry.status) == (Kind.REFUSED, Status.REFUSED)
        assert entry.error_code == 21999
    assert entry.reason == "twilio_21999"
    assert entry.history[-1].reason == "twilio_21999"


@pytest.mark.parametrize("failure", WAITS)
def test_the_waits_double_up_to_a_most(office: Office, failure: Failure) -> None:
    """Attempts are counted over all failures of the entry."""
    key = office.add(expires_at=office.clock.now + timedelta(days=300))
    first, most = WAITS[failure]
    for attempt in range(1, 12):
        office.sender.fail(refused(failure))
        office.run()
        wait = office[key].due_at - office.clock.now
        assert wait.total_seconds() == min(first * 2 ** (attempt - 1), most)
        assert office[key].attempts == attempt
        office.clock.now = office[key].due_at


def test_chance_shortens_a_wait_by_half_at_most(clock: SetClock) -> None:
    """What failed together does not come back together."""
    waits = set()
    for seed in range(20):
        office = Office(clock)
        office.sending = Sending(
            office.ledger,
            office.sender,
            office.tenants,
            office.pausing,
            clock,
            Log(office.stream),
            rng=random.Random(seed),
        )
        key = office.add()
        office.sender.fail(refused(Failure.RETRY_LATER))
        office.run()
        waits.add((office[key].due_at - clock.now).total_seconds())
    assert all(30 <= wait <= 60 for wait in waits)
    assert len(waits) == 20


def test_what_did_not_reach_twilio_is_tried_again_when_it_is_due(office: Office) -> None:
    """Not before; then it may succeed."""
    key = office.add()
    office.sender.fail(NotReached("Away.", reason="connect_refused"))
    office.run()
    assert (office[key].status, office[key].reason) == (Status.ACCEPTED, "connect_refused")
    assert office.run() == []
    office.clock.advance(seconds=0.5)
    office.run()
    assert (office[key].status, office[key].attempts) == (Status.SENT, 2)
    assert office[key].reason is None


def test_a_lost_answer_is_never_tried_again(office: Office) -> None:
    """Not after its lease, not ever."""
    key = office.add()
    office.sender.fail(AnswerLost("Lost.", reason="read_timeout"))
    office.run()
    for _ in range(5):
        office.clock.advance(hours=7)
        assert office.run() == []
    assert (office[key].status, office[key].reason) == (Status.UNKNOWN, "read_timeout")
    assert len(office.sender.calls) == 1


@pytest.mark.parametrize(
    ("asked", "wait"), [(None, 0.5), (0.0, 0.5), (0.1, 0.5), (120.0, 120.0), (86_400.0, 3600.0)]
)
def test_what_twilio_asks_for_makes_a_wait_longer_only(
    office: Office, asked: float | None, wait: float
) -> None:
    """And no longer than an hour."""
    key = office.add()
    office.sender.fail(refused(Failure.RETRY_SAFE, 429, 20429, asked))
    office.run()
    assert office[key].due_at == office.clock.now + timedelta(seconds=wait)


def test_an_entry_that_expires_while_it_waits_is_not_sent(office: Office) -> None:
    """Its end is recorded with its reason, and logged."""
    key = office.add(expires_at=office.clock.now + timedelta(seconds=40))
    office.sender.fail(refused(Failure.RETRY_LATER))
    office.run()
    office.clock.advance(seconds=60)
    assert office.run() == []
    assert (office[key].status, office[key].reason) == (Status.EXPIRED, "expired")
    swept = [line for line in office.lines if line["event"] == "entry.swept"]
    assert [(line["guid"], line["decision"]) for line in swept] == [(GUID, "expired")]


class Surprise(Exception):
    """Something that nobody foresaw; its text holds what must not be told."""


def test_an_unforeseen_error_is_a_lost_answer(office: Office) -> None:
    """Bytes may have left: it is not guessed that none did."""
    key = office.add()
    office.sender.fail(Surprise("+12015550142 Hello Anna"))
    (fact,) = office.run()
    assert (fact.kind, fact.reason) == (Kind.LOST, "unexpected_error")
    assert office[key].status is Status.UNKNOWN
    (line,) = [line for line in office.lines if line["event"] == "send.unexpected"]
    assert (line["level"], line["error"]) == ("error", "Surprise")


def test_an_entry_without_a_message_is_refused(office: Office) -> None:
    """The gates write none; should there be one, nothing is sent for it."""
    key = office.add(message=None)
    office.run()
    assert (office[key].status, office[key].reason) == (Status.REFUSED, "no_message")
    assert office.sender.calls == []


# Leases


def test_one_claim_is_one_lease_for_the_time_that_is_set(clock: SetClock) -> None:
    """Nobody else gets the entry meanwhile."""
    office = Office(clock, lease_seconds=90)
    key = office.add()
    (entry,) = office.sending.claim(10)
    assert entry.lease
    assert entry.lease.until == clock.now + timedelta(seconds=90)
    assert office.sending.claim(10) == []
    assert office.sending.claim(10, [key]) == []


def test_two_claims_have_two_tokens(office: Office) -> None:
    """An answer cannot settle another worker's attempt."""
    office.add("g1")
    office.add("g2")
    tokens = {
        entry.lease.token for _ in range(2) for entry in office.sending.claim(1) if entry.lease
    }
    assert len(tokens) == 2


def test_a_key_is_claimed_before_it_is_due(office: Office) -> None:
    """Who asks for one entry, such as the direct Lambda, does not wait for its backoff."""
    key = office.add(due_at=office.clock.now + timedelta(minutes=5))
    assert office.sending.claim(10) == []
    assert [entry.key for entry in office.sending.claim(10, [key])] == [key]


def test_an_entry_whose_lease_is_over_is_not_begun(office: Office) -> None:
    """Its worker slept, and another may own it by now."""
    key = office.add()
    claimed = office.sending.claim(10)
    office.clock.advance(seconds=60)
    assert office.sending.begin(claimed) == []
    assert office[key].status is Status.ACCEPTED
    assert office.run()[0].kind is Kind.MADE
    assert len(office.sender.calls) == 1


def test_an_entry_that_another_worker_took_over_is_not_begun(office: Office) -> None:
    """Nor does the first one's start count under the second one's lease."""
    office.add()
    slow = office.sending.claim(10)
    office.clock.advance(seconds=61)
    quick = office.sending.claim(10)
    assert office.sending.begin(slow) == []
    assert len(office.sending.begin(quick)) == 1


def test_an_entry_that_expires_after_its_claim_is_not_begun(office: Office) -> None:
    """Its time is looked at once more before bytes leave."""
    key = office.add(expires_at=office.clock.now + timedelta(seconds=5))
    claimed = office.sending.claim(10)
    office.clock.advance(seconds=5)
    assert office.sending.begin(claimed) == []
    office.clock.advance(seconds=60)
    office.run()
    assert office[key].status is Status.EXPIRED
    assert office.sender.calls == []


def test_an_answer_after_the_lease_still_settles_the_attempt(office: Office) -> None:
    """Meanwhile it was unknown, and nobody sent it again."""
    key = office.add()
    (begun,) = office.begin()
    office.clock.advance(seconds=61)
    assert office.run() == []
    assert office[key].status is Status.UNKNOWN
    office.sending.record([(key, office.sending.attempt(begun))])
    assert (office[key].status, office[key].sid) == (Status.SENT, f"SM{1:032}")


def test_a_fact_that_could_not_be_written_is_written_later(office: Office) -> None:
    """Recording again is harmless, also once it has worked."""
    key = office.add()
    (begun,) = office.begin()
    fact = office.sending.attempt(begun)
    office.ledger.away = True
    with pytest.raises(LedgerUnavailable):
        office.sending.record([(key, fact)])
    office.ledger.away = False
    assert office.sending.record([(key, fact)]) == [office[key]]
    assert office.sending.record([(key, fact)]) == [None]
    assert office[key].status is Status.SENT


def test_nothing_is_sent_where_its_beginning_cannot_be_written(office: Office) -> None:
    """No message without its entry saying so."""
    office.add()
    claimed = office.sending.claim(10)
    office.ledger.away = True
    with pytest.raises(LedgerUnavailable):
        office.sending.begin(claimed)
    assert office.sender.calls == []


def test_released_entries_can_be_claimed_at_once(office: Office) -> None:
    """A worker that stops gives back what it did not begin."""
    key = office.add()
    claimed = office.sending.claim(10)
    office.sending.release(claimed)
    assert (office[key].lease, office[key].attempts) == (None, 0)
    assert [entry.key for entry in office.sending.claim(10)] == [key]


# A tenant whose credentials fail


def test_a_rotated_token_is_found_and_used_at_once(office: Office) -> None:
    """The document is read again before anything waits."""
    key = office.add()
    office.tenants.get(ONE)
    office.tenants.rotate(ONE, "second")
    office.sender.fail(bad_login())
    office.run()
    assert office[key].due_at == office.clock.now
    office.run()
    assert office[key].status is Status.SENT
    assert [call.tenant.password for call in office.sender.calls] == ["first", "second"]
    assert "pause.tripped" not in office.stream.getvalue()


@pytest.mark.parametrize("error", [bad_login(), bad_login(401, None), bad_login(403)])
def test_the_whole_tenant_is_paused_while_its_credentials_fail(
    office: Office, error: TwilioRefused
) -> None:
    """A campaign is not burnt through; the other tenant goes on."""
    first = office.add("g1")
    office.sender.fail(error)
    office.run()
    later, other = office.add("g2"), office.add("g3", TWO)
    office.run()
    assert office.pauses == [("tenant", None, error.reason)]
    assert (office[later].reason, office[later].attempts) == (error.reason, 0)
    assert office[first].place == office[later].place == office.ledger.pauses()[0].place
    assert office[other].status is Status.SENT
    (line,) = [line for line in office.lines if line["event"] == "pause.tripped"]
    assert (line["level"], line["tenant"], line["scope"]) == ("error", ONE, "tenant")


def test_those_that_failed_together_are_one_pause(office: Office) -> None:
    """A hundred open requests are one failure and one line."""
    keys = [office.add(f"g{number}") for number in range(10)]
    office.sender.fail(*[bad_login() for _ in keys])
    office.run()
    office.run()
    assert len(office.pauses) == 1
    assert {office[key].attempts for key in keys} == {1}
    assert office.stream.getvalue().count("pause.tripped") == 1


def test_the_account_is_asked_until_it_lets_us_in(office: Office) -> None:
    """At growing intervals, up to a minute; then everything goes, by itself."""
    keys = [office.add(f"g{number}") for number in range(5)]
    office.sender.password = "second"
    office.sender.fail(bad_login())
    office.run(1)
    waits = []
    for _ in range(6):
        (pause,) = office.ledger.pauses()
        assert pause.probe_at is not None
        waits.append((pause.probe_at - office.clock.now).total_seconds())
        office.clock.now = pause.probe_at
        office.pausing.ask(office.sender)
    assert waits == [5, 10, 20, 40, 60, 60]
    assert (office.sender.asked, len(office.sender.calls)) == (6, 1)
    office.tenants.rotate(ONE, "second")
    office.clock.advance(seconds=60)
    office.pausing.ask(office.sender)
    assert office.pauses == []
    office.run()
    assert {office[key].status for key in keys} == {Status.SENT}
    assert "pause.lifted" in office.stream.getvalue()


def test_the_account_is_asked_by_one_process_at_a_time(office: Office) -> None:
    """The others see that it has been."""
    office.add()
    office.sender.password = "second"
    office.sender.fail(bad_login())
    office.run()
    office.run()
    office.clock.advance(seconds=5)
    assert office.ledger.take_probe(
        office.ledger.pauses()[0].name,
        now=office.clock.now,
        until=office.clock.now + timedelta(seconds=40),
    )
    office.pausing.ask(office.sender)
    assert office.sender.asked == 0


@pytest.mark.parametrize(("status", "code"), [(404, 20404), (403, 20008), (400, 30037)])
def test_what_the_account_cannot_tell_is_tried_with_one_message(
    office: Office, status: int, code: int
) -> None:
    """If it goes out, all go."""
    keys = [office.add(f"g{number}") for number in range(5)]
    office.sender.fail(refused(Failure.CONFIG, status, code))
    office.run(1)
    assert office.run() == []
    office.clock.advance(seconds=15)
    office.pausing.ask(office.sender)
    assert office.sender.asked == 0
    assert [fact.kind for fact in office.run()] == [Kind.MADE]
    assert office.run() != []
    assert {office[key].status for key in keys} == {Status.SENT}
    assert office.pauses == []


def test_while_one_message_is_tried_the_others_wait(office: Office) -> None:
    """Not all at once, however often a worker looks."""
    for number in range(5):
        office.add(f"g{number}")
    office.sender.fail(refused(Failure.CONFIG, 404, 20404))
    office.run(1)
    office.run()
    office.clock.advance(seconds=15)
    assert len(office.begin()) == 1
    office.clock.advance(seconds=4)
    assert office.begin() == []


def test_if_the_message_fails_the_wait_doubles(office: Office) -> None:
    """Up to a quarter of an hour."""
    for guid in ("g1", "g2"):
        office.add(guid, expires_at=office.clock.now + timedelta(days=30))
    error = refused(Failure.CONFIG, 404, 20404)
    office.sender.fail(*[error] * 9)
    office.run(1)
    waits = []
    for _ in range(8):
        office.run()
        (pause,) = office.ledger.pauses()
        assert pause.probe_at is not None
        waits.append((pause.probe_at - office.clock.now).total_seconds())
        office.clock.now = pause.probe_at
        assert len(office.run()) == 1
        office.pausing.write()
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900]


def test_a_message_that_is_never_heard_of_is_replaced(office: Office) -> None:
    """Its process ended; the tenant does not wait for it for ever."""
    office.add("g1")
    office.add("g2")
    office.sender.fail(refused(Failure.CONFIG, 404, 20404))
    office.run(1)
    office.run()
    office.clock.advance(seconds=15)
    assert len(office.begin(1)) == 1
    office.clock.advance(seconds=301)
    assert len(office.run()) == 1


def test_a_sender_is_paused_after_three_in_a_row(office: Office) -> None:
    """Some of these codes may be about one recipient alone; other senders go on."""
    error = refused(Failure.CONFIG, 400, 21606)
    for number in range(3):
        assert office.pauses == []
        office.add(f"g{number}")
        office.sender.fail(error)
        office.run()
    assert office.pauses == [("sender", "+12015550199", "twilio_21606")]
    covered = office.add("g4")
    free = office.add("g5", message=Message(to="+12015550142", sender="+12015550111", body="Hi"))
    office.run()
    assert (office[covered].attempts, office[free].status) == (0, Status.SENT)
    assert "2015550199" not in office.stream.getvalue()


def test_a_message_that_goes_out_clears_its_sender(office: Office) -> None:
    """Two refusals, one success, two refusals: nothing is paused."""
    error = refused(Failure.CONFIG, 400, 21606)
    for number, ends in enumerate([[error], [error], [], [error], [error]]):
        office.add(f"g{number}")
        office.sender.fail(*ends)
        office.run(1)
    office.run()
    assert office.pauses == []


def test_a_country_that_is_switched_off_is_paused(office: Office) -> None:
    """Others are not concerned."""
    british = Message(to="+447700900123", sender="+12015550199", body="Hi")
    office.add("g1", message=british)
    office.sender.fail(refused(Failure.CONFIG, 400, 21408))
    office.run()
    covered, free = office.add("g2", message=british), office.add("g3")
    office.run()
    assert office.pauses == [("country", "GB", "twilio_21408")]
    assert (office[covered].attempts, office[free].status) == (0, Status.SENT)


def test_an_error_about_one_message_pauses_nothing(office: Office) -> None:
    """Media that a sender cannot send, for one."""
    key = office.add()
    office.sender.fail(refused(Failure.CONFIG, 400, 21621))
    office.run()
    assert office.pauses == []
    assert office[key].due_at == office.clock.now + timedelta(seconds=15)


def test_a_document_that_cannot_be_read_again_stays_in_use(office: Office) -> None:
    """The tenant is paused as with an unchanged one."""
    office.add()
    office.tenants.get(ONE)
    office.tenants.now[ONE] = TenantUnavailable("Down.")
    office.sender.fail(bad_login())
    office.run()
    office.run()
    assert len(office.pauses) == 1


def test_where_an_entry_has_no_later_each_is_tried(clock: SetClock) -> None:
    """The direct Lambda: a failed login of one invocation does not fail the next."""
    office = Office(clock, trips=False)
    office.add("g1")
    office.sender.fail(bad_login())
    office.run()
    key = office.add("g2")
    office.run()
    assert office[key].status is Status.SENT


def test_what_attempts_found_out_is_kept_until_it_can_be_written(office: Office) -> None:
    """A ledger that is away for a moment forgets no pause."""
    office.add()
    office.sender.fail(bad_login())
    begun = office.begin()
    office.sending.attempt(begun[0])
    pause, office.ledger.pause = office.ledger.pause, away  # type: ignore[method-assign]
    with pytest.raises(LedgerUnavailable):
        office.sending.claim(1)
    office.ledger.pause = pause  # type: ignore[method-assign]
    office.sending.claim(1)
    assert len(office.pauses) == 1


def away(*_: object, **__: object) -> bool:
    """Write nothing."""
    raise LedgerUnavailable("The ledger is away.")


# Status callbacks


def test_twilio_is_told_where_to_report(clock: SetClock) -> None:
    """At our public address, by a token of the entry's own, with repeats."""
    office = Office(clock, public_url="https://sms.example.com/base")
    key = office.add()
    office.run()
    token = office[key].correlation
    assert re.fullmatch(r"[0-9a-f]{32}", token or "")
    (call,) = office.sender.calls
    expected = f"https://sms.example.com/base/twilio/status/{ONE}?m={token}#rc=5&rp=all"
    assert call.callback == expected


def test_every_attempt_of_an_entry_has_one_token(clock: SetClock) -> None:
    """However many there are."""
    office = Office(clock, public_url="https://sms.example.com")
    office.add()
    office.sender.fail(refused(Failure.RETRY_SAFE, 429, 20429))
    office.run()
    office.clock.advance(seconds=60)
    office.run()
    assert len({call.callback for call in office.sender.calls}) == 1


def test_without_a_public_address_twilio_is_told_nothing(office: Office) -> None:
    """There is nothing it could reach."""
    key = office.add()
    office.run()
    assert office.sender.calls[0].callback is None
    assert office[key].correlation is None


# Pacing


def test_a_paced_sender_keeps_its_rate(office: Office) -> None:
    """One second's worth at once, then one by one; other senders are not held up.

    What is claimed before the tenant's document has been read goes into the queue when it begins.
    """
    office.tenants.rotate(ONE, "first", sender_rates={"+12015550199": 2})
    for number in range(6):
        office.add(f"g{number}")
    free = office.add("free", message=Message(to="+12015550142", sender="+12015550111", body="Hi"))
    sent = []
    for _ in range(5):
        office.run()
        sent.append(len(office.sender.calls))
        office.clock.advance(seconds=0.5)
    assert office[free].status is Status.SENT
    assert sent == [1, 3, 4, 5, 6]


def test_a_beginning_that_is_written_again_keeps_the_rate(office: Office) -> None:
    """Though what was claimed unpaced was to go into its queue at the first try."""
    office.tenants.rotate(ONE, "first", sender_rates={"+12015550199": 2})
    key = office.add()
    [entry] = office.sending.claim(1, [key], in_turn=True)
    office.ledger.away = True
    with pytest.raises(LedgerUnavailable):
        office.sending.begin([entry])
    office.ledger.away = False
    assert office.sending.begin([entry]) == []
    assert office[key].place is not None


def test_a_campaign_is_paused_at_its_tenants_limit(office: Office) -> None:
    """Beyond the messages of an hour a person must look."""
    office.tenants.rotate(ONE, "first", messages_per_hour=3)
    for number in range(5):
        office.add(f"g{number}")
    office.run(1)
    office.run(10)
    office.clock.advance(hours=2)
    office.run(10)
    assert len(office.sender.calls) == 3
    assert office.pauses == [("tenant", None, "hourly_limit")]


# A tenant that cannot be read


@pytest.mark.parametrize(
    "error",
    [
        TenantUnavailable("Down."),
        TenantUnknown("Gone."),
        TenantBroken("Broken."),
    ],
    ids=lambda error: str(error.code),
)
def test_entries_of_a_tenant_that_cannot_be_read_are_put_off(
    office: Office, error: ConnectorError
) -> None:
    """They are not refused for it, and the other tenant's go out in the same batch."""
    office.tenants.now[ONE] = error
    key, other = office.add("g1"), office.add("g2", TWO)
    office.run()
    assert (office[key].status, office[key].reason) == (Status.ACCEPTED, error.code)
    assert (office[key].attempts, office[key].lease) == (0, None)
    wait = office[key].due_at - office.clock.now
    assert timedelta(seconds=5) <= wait <= timedelta(minutes=1)
    assert office[other].status is Status.SENT
    office.tenants.rotate(ONE, "first")
    office.clock.advance(minutes=1)
    office.run()
    assert office[key].status is Status.SENT


# The log


ENDS: dict[str, Callable[[], Exception | None]] = {
    "made": lambda: None,
    "retried": lambda: NotReached("Away.", reason="dns"),
    "refused": lambda: refused(Failure.PERMANENT_RECIPIENT),
    "lost": lambda: AnswerLost("Lost.", reason="read_timeout"),
    "login": bad_login,
    "surprise": lambda: Surprise("+12015550142 Hello Anna first"),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_attempt_is_one_line_without_anything_personal(office: Office, end: str) -> None:
    """Ids, decision, attempt and duration; whatever the end was."""
    office.add()
    if error := ENDS[end]():
        office.sender.fail(error)
    (fact,) = office.run()
    (line,) = [line for line in office.lines if line["event"] == "message.sent"]
    assert (line["tenant"], line["guid"], line["attempt"]) == (ONE, GUID, 1)
    assert (line["decision"], line["reason"]) == (fact.kind, fact.reason)
    assert line["sid"] == (fact.receipt.sid if fact.receipt else None)
    assert line["ms"] >= 0
    written = office.stream.getvalue()
    for secret in ("+12015550142", "+12015550199", "Hello Anna", "AC" + "e5" * 16):
        for form in (secret, quote(secret), base64.b64encode(secret.encode()).decode()):
            assert form not in written


def test_a_guid_that_is_no_uuid_is_not_logged(office: Office) -> None:
    """It may be a number or a name."""
    office.add("anna+12015550142")
    office.run()
    assert "anna" not in office.stream.getvalue()
    assert "2015550142" not in office.stream.getvalue()


class Gone(io.StringIO):
    """Standard error after its reader has gone."""

    def write(self, _text: str) -> int:
        """Fail as the system does."""
        raise BrokenPipeError(32, "Broken pipe")


def test_an_attempt_is_recorded_also_where_the_log_cannot_be_written(clock: SetClock) -> None:
    """The SID of a message that was made must not be lost over a line."""
    office = Office(clock)
    key = office.add()
    (begun,) = office.begin()
    office.sending = Sending(
        office.ledger,
        office.sender,
        office.tenants,
        office.pausing,
        clock,
        Log(Gone()),
        rng=NoJitter(),
    )
    office.sending.record([(key, office.sending.attempt(begun))])
    assert office[key].status is Status.SENT


# Many at a time, and a twin


def test_many_threads_attempt_at_once(office: Office) -> None:
    """Each entry is sent once, and each gets its own SID."""
    keys = [office.add(f"g{number}") for number in range(200)]
    begun = office.begin(200)
    with ThreadPoolExecutor(50) as pool:
        facts = list(pool.map(office.sending.attempt, begun))
    office.sending.record([(one.entry.key, fact) for one, fact in zip(begun, facts, strict=True)])
    assert {office[key].status for key in keys} == {Status.SENT}
    assert len({office[key].sid for key in keys}) == 200


@pytest.mark.parametrize(
    ("fault", "status", "made"),
    [
        (None, Status.SENT, 1),
        (Fault.HTTP_400, Status.REFUSED, 0),
        (Fault.HTTP_429, Status.ACCEPTED, 0),
        (Fault.HTTP_500_MADE, Status.UNKNOWN, 1),
        (Fault.RESET, Status.UNKNOWN, 1),
    ],
)
def test_against_a_twin_the_ledger_says_what_is_true(
    clock: SetClock, twilio: Twilio, fault: Fault | None, status: Status, made: int
) -> None:
    """Never more than one message, and none that the ledger does not allow for."""
    office, client = Office(clock), TwilioClient()
    tenant = parse_tenant(json.dumps(twilio.document()), ONE, (twilio.host,))
    office.tenants.now[ONE] = tenant
    office.sending = Sending(
        office.ledger,
        client,
        office.tenants,
        office.pausing,
        clock,
        Log(office.stream),
        rng=NoJitter(),
    )
    if fault:
        twilio.faults.for_recipient("+12015550142", [fault])
    key = office.add()
    office.run()
    client.close()
    assert office[key].status is status
    assert twilio.made_for("+12015550142") == made


def test_the_time_is_the_clocks(office: Office) -> None:
    """Facts are dated by the clock that is given, not by the machine's."""
    office.add()
    (fact,) = office.run()
    assert fact.at == office.clock.now != datetime.now(fact.at.tzinfo)
