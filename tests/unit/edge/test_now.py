"""Sending one entry now, and waiting for what becomes of it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.now import send_now
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.accept import Acceptance, Accepted
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.send import Sending
from ci360_twilio.ports import NO_LIMITS
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import Fault
from ci360_twilio.wiring import Parts, utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO = "+12015550142"


class Ledger(MemoryStore):
    """A ledger in memory that goes away before a commit that is named, counted from one."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.away_at: frozenset[int] = frozenset()

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Write, or say that nothing can be written."""
        self.commits += 1
        if self.commits in self.away_at:
            raise LedgerUnavailable("Away.")
        return super().record_many(facts, hourly_limits=hourly_limits)


@pytest.fixture
def ledger() -> Ledger:
    """A ledger that is there."""
    return Ledger()


@pytest.fixture
def parts(connector: Callable[..., Parts], ledger: Ledger) -> Parts:
    """A connector on that ledger, whose tenants do not wait."""
    made = connector(trips=False, ledger="memory:")
    made.store = ledger
    made.acceptance = Acceptance(ledger, made.tenants, utc_now, made.log)
    made.sending = Sending(ledger, made.client, made.tenants, made.pausing, utc_now, made.log)
    return made


@pytest.fixture
def entry(parts: Parts) -> Entry:
    """An event that was just accepted."""
    event = outbound_event(
        guid=str(uuid.uuid4()),
        tenant_id=TENANT,
        creative=f"TO:{TO};\nHello",
        generated_at=datetime.now(UTC),
    )
    arrival = Arrival(body=json.dumps(event).encode(), trusted=True)
    (answer,) = parts.acceptance.accept_many([arrival])
    assert isinstance(answer, Accepted)
    return answer.entry


def within(parts: Parts, entry: Entry, seconds: float) -> Entry:
    """Send an entry, and be back in time."""
    started = time.monotonic()
    done = send_now(parts, entry, started + seconds)
    assert time.monotonic() - started < max(seconds, 0) + 1
    return done


def stored(parts: Parts, entry: Entry) -> Entry:
    """Give an entry as the ledger has it."""
    found = parts.store.get_many([entry.key])[0]
    assert found is not None
    return found


def test_an_entry_is_sent_and_given_back_as_it_stands(
    parts: Parts, entry: Entry, twilio: Twilio
) -> None:
    """The ledger says the same."""
    done = within(parts, entry, 20)
    assert done.status is Status.SENT
    assert done == stored(parts, entry)
    assert done.sid == twilio.twin.messages[0].sid


def test_a_short_wait_is_waited_for(parts: Parts, entry: Entry, twilio: Twilio) -> None:
    """Twilio was busy, and let us in the next time."""
    twilio.faults.for_recipient(TO, [Fault.HTTP_429])
    done = within(parts, entry, 20)
    assert (done.status, done.attempts) == (Status.SENT, 2)
    assert twilio.made_for(TO) == 1


def test_a_long_wait_is_left_to_others(parts: Parts, entry: Entry, twilio: Twilio) -> None:
    """The entry comes back as accepted, without a lease and with its reason."""
    twilio.faults.for_recipient(TO, ["http_400:21611"])
    done = within(parts, entry, 20)
    assert (done.status, done.lease, done.reason) == (Status.ACCEPTED, None, "twilio_21611")
    assert done.due_at > datetime.now(UTC) + timedelta(seconds=20)
    assert twilio.faults.attempts == {TO: 1}


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 0.9])
def test_without_time_for_an_attempt_none_is_made(
    parts: Parts, entry: Entry, twilio: Twilio, seconds: float
) -> None:
    """Bytes that leave with no time for the answer would be an unknown outcome."""
    done = within(parts, entry, seconds)
    assert (done.status, done.lease, done.attempts) == (Status.ACCEPTED, None, 0)
    assert twilio.faults.attempts == {}


def test_an_answer_that_does_not_come_in_time_is_written_as_lost(
    parts: Parts, entry: Entry, twilio: Twilio
) -> None:
    """And is in the ledger before the caller's time is over."""
    twilio.faults.for_recipient(TO, ["slow:30"])
    done = within(parts, entry, 1.2)
    assert (done.status, done.reason) == (Status.UNKNOWN, "read_timeout")
    assert stored(parts, entry).status is Status.UNKNOWN
    assert within(parts, done, 20).status is Status.UNKNOWN
    assert twilio.faults.attempts == {TO: 1}


@pytest.mark.parametrize("kind", [Kind.CLAIMED, Kind.STARTED])
def test_while_another_process_is_at_it_the_entry_is_given_back(
    parts: Parts, entry: Entry, twilio: Twilio, kind: Kind
) -> None:
    """With the other's lease, and nothing is sent."""
    (claimed,) = parts.sending.claim(1, [entry.key])
    if kind is Kind.STARTED:
        parts.sending.begin([claimed])
    done = within(parts, entry, 20)
    expected = Status.SENDING if kind is Kind.STARTED else Status.ACCEPTED
    assert (done.status, done.lease) == (expected, claimed.lease)
    assert twilio.faults.attempts == {}


def test_a_process_that_died_before_it_began_is_taken_over(
    parts: Parts, entry: Entry, ledger: Ledger
) -> None:
    """Its lease is over."""
    over = datetime.now(UTC) - timedelta(minutes=2)
    lease = Lease(token="dead", until=over + timedelta(minutes=1))
    assert ledger.claim(now=over, lease=lease, limit=1, keys=[entry.key]).entries
    assert within(parts, entry, 20).status is Status.SENT


def test_a_process_that_died_while_sending_leaves_an_unknown_outcome(
    parts: Parts, entry: Entry, ledger: Ledger, twilio: Twilio
) -> None:
    """Nobody sends it again."""
    over = datetime.now(UTC) - timedelta(minutes=2)
    lease = Lease(token="dead", until=over + timedelta(minutes=1))
    ledger.claim(now=over, lease=lease, limit=1, keys=[entry.key])
    ledger.record_many([(entry.key, Fact(kind=Kind.STARTED, at=over, lease=lease))])
    seen = sweep(stored(parts, entry), datetime.now(UTC))
    assert within(parts, seen, 20).status is Status.UNKNOWN
    assert twilio.faults.attempts == {}


def test_an_entry_with_an_end_is_given_back_as_it_is(
    parts: Parts, entry: Entry, twilio: Twilio
) -> None:
    """Sent is sent."""
    done = within(parts, entry, 20)
    assert within(parts, done, 20) == done
    assert twilio.faults.attempts == {TO: 1}


def test_nothing_is_sent_where_the_beginning_cannot_be_written(
    parts: Parts, entry: Entry, ledger: Ledger, twilio: Twilio
) -> None:
    """The caller hears of it."""
    ledger.away_at = frozenset({1})
    with pytest.raises(LedgerUnavailable):
        send_now(parts, entry, time.monotonic() + 20)
    assert twilio.faults.attempts == {}


def test_where_the_end_cannot_be_written_the_caller_still_hears_the_truth(
    parts: Parts, entry: Entry, ledger: Ledger, twilio: Twilio
) -> None:
    """The ledger will read unknown, and the message is never sent again."""
    ledger.away_at = frozenset({2})
    done = within(parts, entry, 20)
    assert (done.status, done.sid) == (Status.SENT, twilio.twin.messages[0].sid)
    kept = stored(parts, entry)
    assert kept.status is Status.SENDING
    later = datetime.now(UTC) + timedelta(minutes=5)
    assert sweep(kept, later).status is Status.UNKNOWN
    assert twilio.made_for(TO) == 1


def test_a_retry_whose_end_could_not_be_written_is_not_made(
    parts: Parts, entry: Entry, ledger: Ledger, twilio: Twilio
) -> None:
    """The ledger says sending: whoever looks there must not find a second request."""
    ledger.away_at = frozenset({2})
    twilio.faults.for_recipient(TO, [Fault.HTTP_429, Fault.HTTP_429])
    within(parts, entry, 20)
    assert twilio.faults.attempts == {TO: 1}


def test_an_entry_whose_time_is_over_reads_as_expired(
    parts: Parts, entry: Entry, twilio: Twilio
) -> None:
    """It is not sent, also where nobody has swept it."""
    done = within(parts, with_expiry(entry, parts, seconds=-1), 20)
    assert (done.status, done.reason) == (Status.EXPIRED, "expired")
    assert twilio.faults.attempts == {}


def with_expiry(entry: Entry, parts: Parts, *, seconds: float) -> Entry:
    """Write an entry like another that expires at another time."""
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    changed = msgspec.structs.replace(
        entry, key=Key(f"{TENANT}/other"), guid="other", expires_at=expires_at
    )
    return parts.store.insert_many([changed])[0].entry
