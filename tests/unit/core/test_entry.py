"""The life of an entry: the table, leases, answers, receipts, expiry, restore, history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.entry import (
    TRANSITIONS,
    UNFINISHED,
    Due,
    Entry,
    Fact,
    Kind,
    Lease,
    Status,
    Work,
    admit,
    advance,
    due,
    key_of,
    purged,
    sweep,
    take,
    validity,
)
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId

S, K = Status, Kind
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=s) for s in (1, 60, 3600, 86_400))
LEASE = Lease(token="mine", until=NOW + MINUTE)
ENDS = {str(kind): kind for kind in (K.DELIVERED, K.READ, K.UNDELIVERED, K.FAILED, K.CANCELED)}
SID = "SM" + "0" * 32


def entry(**changes: Any) -> Entry:
    """Give an entry that was accepted just now and lives for a day."""
    members: dict[str, Any] = {
        "key": key_of(TenantId("demo"), "g"),
        "tenant_id": TenantId("demo"),
        "guid": "g",
        "status": S.ACCEPTED,
        "created_at": NOW,
        "due_at": NOW,
        "expires_at": NOW + DAY,
        "purge_at": NOW + 90 * DAY,
        "message": Message(to="+12015550123", sender="Acme", body="Hi"),
    }
    return Entry(**(members | changes))


def fact(kind: Kind, at: datetime = NOW, **members: Any) -> Fact:
    """Give a fact, under the lease unless told."""
    return Fact(kind=kind, at=at, **({"lease": LEASE} | members))


def receipt(status: str, error_code: int | None = None, sid: str = SID) -> Receipt:
    """Give a receipt for the entry's message."""
    return Receipt(sid=sid, status=status, error_code=error_code)


def made(status: str = "queued", at: datetime = NOW, **members: Any) -> Fact:
    """Give the fact that Twilio made the message."""
    return fact(K.MADE, at, receipt=receipt(status), **members)


def told(status: str, error_code: int | None = None, at: datetime = NOW) -> Fact:
    """Give the fact that a receipt states; other states than ends are progress."""
    return Fact(kind=ENDS.get(status, K.PROGRESSED), at=at, receipt=receipt(status, error_code))


def after(start: Entry, *facts: Fact) -> Entry:
    """Apply facts that all count."""
    for one in facts:
        following = advance(start, one)
        assert following is not None, one
        start = following
    return start


ACCEPTED = entry()
CLAIMED = after(ACCEPTED, fact(K.CLAIMED))
SENDING = after(CLAIMED, fact(K.STARTED))
UNKNOWN = after(SENDING, fact(K.LOST, reason="read_timeout"))
SENT = after(SENDING, made())


# The table

ARRIVED = {K.DELIVERED: S.DELIVERED, K.READ: S.READ}
EXPECTED: Mapping[Status, Mapping[Kind, Status | None]] = {
    S.ACCEPTED: {
        K.CLAIMED: S.ACCEPTED,
        K.POSTPONED: S.ACCEPTED,
        K.STARTED: S.SENDING,
        K.LEASE_ENDED: S.ACCEPTED,
        K.EXPIRED: S.EXPIRED,
        K.RESTORED: S.UNKNOWN,
        K.HELD: S.HELD,
    },
    S.SENDING: {
        K.MADE: S.SENT,
        K.RETRIED: S.ACCEPTED,
        K.REFUSED: S.REFUSED,
        K.LOST: S.UNKNOWN,
        K.LEASE_ENDED: S.UNKNOWN,
        K.RESTORED: S.UNKNOWN,
    },
    S.UNKNOWN: {
        K.MADE: S.SENT,
        K.RETRIED: S.ACCEPTED,
        K.REFUSED: S.REFUSED,
        K.HELD: S.HELD,
    },
    S.HELD: {K.MADE: S.SENT},
    S.SENT: {
        K.PROGRESSED: None,
        K.CANCELED: S.CANCELED,
        K.FAILED: S.FAILED,
        K.UNDELIVERED: S.UNDELIVERED,
        **ARRIVED,
    },
    S.FAILED: {K.PROGRESSED: None, K.UNDELIVERED: S.UNDELIVERED, **ARRIVED},
    S.UNDELIVERED: {K.PROGRESSED: None, **ARRIVED},
    S.DELIVERED: {K.PROGRESSED: None, K.READ: S.READ},
    S.READ: {K.PROGRESSED: None},
}
"""What each status can become; ``None`` leaves it. What is not listed changes nothing."""


def test_every_status_and_fact_is_decided() -> None:
    """No pair is left out, and none is made up."""
    assert set(TRANSITIONS) == set(product(Status, Kind))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("status", Status)
def test_the_table_is_the_life_of_an_entry(status: Status, kind: Kind) -> None:
    """A repeat is counted in every status."""
    if kind is K.REPEATED:
        expected: Status | None = status
    else:
        row = EXPECTED.get(status, {})
        expected = (row[kind] or status) if kind in row else None
    assert TRANSITIONS[status, kind] is expected


def test_only_four_statuses_wait_for_an_end() -> None:
    """Nothing leads back to them from an end."""
    assert {S.ACCEPTED, S.SENDING, S.UNKNOWN, S.HELD} == UNFINISHED
    for (status, _), target in TRANSITIONS.items():
        assert status in UNFINISHED or target not in UNFINISHED


def test_no_fact_leads_from_a_sid_back_to_sending() -> None:
    """Nor from a lost answer, but for the answer itself: nothing was made."""
    for (status, kind), target in TRANSITIONS.items():
        if target is S.SENDING and status is not S.SENDING:
            assert (status, kind) == (S.ACCEPTED, K.STARTED)
        if status is S.UNKNOWN and target is S.ACCEPTED:
            assert kind is K.RETRIED


def test_a_key_is_the_tenant_and_the_guid() -> None:
    """A tenant id holds no slash, so no two pairs make the same key."""
    assert key_of(TenantId("demo"), "a/b") == "demo/a/b"


# Leases


def test_a_claim_takes_a_lease_and_leaves_the_status() -> None:
    """It is no attempt yet, and nothing to remember."""
    assert entry(lease=LEASE) == CLAIMED


def test_a_claimed_entry_cannot_be_claimed_before_its_lease_has_run_out() -> None:
    """Then it can, by anybody."""
    other = Lease(token="other", until=NOW + HOUR)
    late = LEASE.until - timedelta(microseconds=1)
    assert advance(CLAIMED, fact(K.CLAIMED, late, lease=other)) is None
    assert after(CLAIMED, fact(K.CLAIMED, LEASE.until, lease=other)).lease == other


def test_an_attempt_begins_under_its_lease() -> None:
    """It is counted before bytes leave, and what went wrong before is no longer the reason."""
    retried = msgspec.structs.replace(CLAIMED, attempts=2, reason="connect_refused")
    sending = after(retried, fact(K.STARTED))
    assert (sending.status, sending.attempts, sending.reason) == (S.SENDING, 3, None)
    assert sending.lease == LEASE


UNDER_LEASE = [K.POSTPONED, K.STARTED, K.RETRIED, K.REFUSED, K.LOST]


@pytest.mark.parametrize("kind", UNDER_LEASE)
@pytest.mark.parametrize(
    "lease", [None, Lease(token="other", until=NOW + HOUR)], ids=["none", "another"]
)
def test_a_fact_under_a_wrong_lease_changes_nothing(kind: Kind, lease: Lease | None) -> None:
    """Another worker may be at it."""
    for start in (CLAIMED, SENDING, UNKNOWN):
        assert advance(start, fact(kind, lease=lease)) is None


@pytest.mark.parametrize("kind", UNDER_LEASE)
def test_a_fact_of_an_attempt_changes_nothing_where_there_is_no_lease(kind: Kind) -> None:
    """The entry was given back since."""
    for status in (S.ACCEPTED, S.SENDING, S.UNKNOWN):
        assert advance(entry(status=status), fact(kind)) is None


@pytest.mark.parametrize("kind", [K.RETRIED, K.REFUSED, K.LOST])
def test_an_answer_to_an_earlier_attempt_does_not_settle_the_present_one(kind: Kind) -> None:
    """The lease's token tells them apart."""
    other = Lease(token="other", until=NOW + HOUR)
    again = after(
        SENDING,
        fact(K.RETRIED),
        fact(K.CLAIMED, lease=other),
        fact(K.STARTED, lease=other),
    )
    assert advance(again, fact(kind)) is None
    assert advance(again, fact(kind, lease=other)) is not None


@pytest.mark.parametrize("kind", [K.STARTED, K.POSTPONED])
def test_nothing_begins_or_is_put_off_when_the_lease_has_run_out(kind: Kind) -> None:
    """Another worker may own the entry from that very moment on."""
    assert advance(CLAIMED, fact(kind, LEASE.until)) is None
    assert advance(CLAIMED, fact(kind, LEASE.until - timedelta(microseconds=1))) is not None


@pytest.mark.parametrize("end", ["expires_at", "not_after"])
def test_nothing_begins_at_the_deadline(end: str) -> None:
    """However long the lease."""
    claimed = msgspec.structs.replace(CLAIMED, **{end: NOW + SECOND})
    assert claimed.deadline == NOW + SECOND
    assert advance(claimed, fact(K.STARTED, NOW + SECOND)) is None
    assert advance(claimed, fact(K.STARTED, NOW + SECOND / 2)) is not None


def test_a_deadline_is_never_later_than_the_expiry() -> None:
    """``not_after`` only brings it forward."""
    assert entry(not_after=NOW + 2 * DAY).deadline == NOW + DAY


ANSWERS = [
    (made(at=NOW + HOUR), S.SENT),
    (fact(K.RETRIED, NOW + HOUR, reason="twilio_20429"), S.ACCEPTED),
    (fact(K.REFUSED, NOW + HOUR, reason="twilio_21211"), S.REFUSED),
]


@pytest.mark.parametrize(("answer", "status"), ANSWERS, ids=["made", "retried", "refused"])
def test_an_answer_that_comes_after_the_lease_still_settles_the_entry(
    answer: Fact, status: Status
) -> None:
    """Whether or not somebody has noticed meanwhile that the lease was over."""
    unknown = after(SENDING, fact(K.LEASE_ENDED, LEASE.until))
    assert unknown.status is S.UNKNOWN
    assert after(SENDING, answer).status is status
    assert after(unknown, answer).status is status


def test_an_entry_put_off_is_due_later_without_having_been_tried() -> None:
    """With the reason, and its lease given back."""
    put_off = after(CLAIMED, fact(K.POSTPONED, due_at=NOW + MINUTE, reason="tenant_waits"))
    assert (put_off.status, put_off.attempts, put_off.lease) == (S.ACCEPTED, 0, None)
    assert (put_off.due_at, put_off.reason) == (NOW + MINUTE, "tenant_waits")
    assert [step.decision for step in put_off.history] == ["postponed"]


# What came of an attempt


def test_a_message_that_was_made_is_sent_and_its_sid_known() -> None:
    """That is an end, though receipts may follow."""
    assert (SENT.status, SENT.sid, SENT.provider_status) == (S.SENT, SID, "queued")
    assert (SENT.lease, SENT.finished, SENT.attempts) == (None, True, 1)


def test_a_retry_is_accepted_again_with_a_later_due_time() -> None:
    """The attempt stays counted, its error told."""
    retried = after(
        SENDING,
        fact(K.RETRIED, due_at=NOW + MINUTE, reason="twilio_20429", error_code=20429),
    )
    assert (retried.status, retried.due_at, retried.lease) == (S.ACCEPTED, NOW + MINUTE, None)
    assert (retried.attempts, retried.reason, retried.error_code) == (1, "twilio_20429", 20429)
    assert after(SENDING, fact(K.RETRIED, NOW + HOUR)).due_at == NOW + HOUR


def test_a_message_made_at_the_second_attempt_keeps_no_error() -> None:
    """What went wrong before stands in the history."""
    sent = after(
        SENDING,
        fact(K.RETRIED, reason="twilio_20429", error_code=20429),
        fact(K.CLAIMED),
        fact(K.STARTED),
        made(),
    )
    assert (sent.reason, sent.error_code, sent.attempts) == (None, None, 2)
    assert [step.decision for step in sent.history] == ["sending", "retry", "sending", "sent"]


def test_a_lost_answer_is_never_tried_again_by_itself() -> None:
    """Neither by a claim, nor by time."""
    assert (UNKNOWN.status, UNKNOWN.reason, UNKNOWN.sid) == (S.UNKNOWN, "read_timeout", None)
    assert not UNKNOWN.finished
    assert take(UNKNOWN, NOW + DAY, LEASE) is None
    assert advance(UNKNOWN, fact(K.STARTED)) is None
    assert sweep(UNKNOWN, NOW + 2 * DAY) == UNKNOWN


def test_what_twilio_refuses_is_an_end_without_a_sid() -> None:
    """With its code."""
    refused = after(SENDING, fact(K.REFUSED, reason="twilio_21211", error_code=21211))
    assert (refused.status, refused.finished) == (S.REFUSED, True)
    assert (refused.reason, refused.error_code) == ("twilio_21211", 21211)
    assert (refused.sid, refused.lease) == (None, None)


# Receipts


@pytest.mark.parametrize(
    ("statuses", "status", "provider"),
    [
        (["sending", "sent"], S.SENT, "sent"),
        (["sent", "sending", "queued"], S.SENT, "sent"),
        (["sent", "delivered"], S.DELIVERED, "delivered"),
        (["delivered", "sent", "delivered"], S.DELIVERED, "delivered"),
        (["delivered", "read"], S.READ, "read"),
        (["read", "delivered"], S.READ, "read"),
        (["undelivered", "sent"], S.UNDELIVERED, "undelivered"),
        (["failed", "sending"], S.FAILED, "failed"),
        (["delivered", "undelivered", "failed"], S.DELIVERED, "delivered"),
        (["undelivered", "delivered"], S.DELIVERED, "delivered"),
        (["failed", "undelivered", "delivered", "read"], S.READ, "read"),
        (["scheduled", "canceled"], S.CANCELED, "canceled"),
        (["canceled", "sent"], S.CANCELED, "canceled"),
        (["partially_delivered", "delivered"], S.DELIVERED, "delivered"),
        (["brand_new_state"], S.SENT, "queued"),
        (["sent", "brand_new_state"], S.SENT, "sent"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) else None,
)
def test_receipts_never_lower_a_status(statuses: list[str], status: Status, provider: str) -> None:
    """However late, repeated or out of order they come."""
    settled = SENT
    for word in statuses:
        settled = advance(settled, told(word)) or settled
    assert (settled.status, settled.provider_status) == (status, provider)


@pytest.mark.parametrize("state", ["delivered", "read", "undelivered", "failed", "canceled"])
def test_an_end_that_was_known_when_the_message_was_found_is_not_lost(state: str) -> None:
    """A message that is looked for after a lost answer may have arrived long ago."""
    found = after(UNKNOWN, made(state))
    settled = advance(found, told(state)) or found
    assert (settled.status, settled.provider_status, settled.sid) == (state, state, SID)
    assert advance(settled, told("sending")) is None


@pytest.mark.parametrize("kind", sorted(set(Kind) - set(ENDS.values())))
def test_a_state_that_twilio_calls_as_we_call_a_fact_is_a_state(kind: Kind) -> None:
    """Whatever words Twilio comes up with, the answer is that it made the message, once."""
    sent = after(SENDING, made(kind))
    assert (sent.status, sent.provider_status, sent.repeats) == (S.SENT, kind, 0)
    assert advance(sent, told(kind)) is None


def test_a_receipt_for_another_message_changes_nothing() -> None:
    """Nor does one for an entry whose SID is not known."""
    other = Fact(kind=K.DELIVERED, at=NOW, receipt=receipt("delivered", sid="SM" + "1" * 32))
    assert advance(SENT, other) is None
    for start in (ACCEPTED, SENDING, UNKNOWN):
        assert advance(start, told("delivered")) is None


def test_a_receipts_error_becomes_the_reason() -> None:
    """And goes when the message is proven to have arrived."""
    undelivered = after(SENT, told("undelivered", 30003))
    assert (undelivered.reason, undelivered.error_code) == ("twilio_30003", 30003)
    delivered = after(undelivered, told("delivered"))
    assert (delivered.reason, delivered.error_code) == (None, None)


# Time


@pytest.mark.parametrize(
    ("start", "at", "status", "reason"),
    [
        (ACCEPTED, NOW + DAY - SECOND, S.ACCEPTED, None),
        (ACCEPTED, NOW + DAY, S.EXPIRED, "expired"),
        (entry(not_after=NOW + HOUR), NOW + HOUR, S.EXPIRED, "expired"),
        (CLAIMED, LEASE.until - SECOND, S.ACCEPTED, None),
        (CLAIMED, LEASE.until, S.ACCEPTED, None),
        (CLAIMED, NOW + DAY, S.EXPIRED, "expired"),
        (SENDING, LEASE.until - SECOND, S.SENDING, None),
        (SENDING, LEASE.until, S.UNKNOWN, "lease_ended"),
        (SENDING, NOW + 2 * DAY, S.UNKNOWN, "lease_ended"),
        (SENT, NOW + 2 * DAY, S.SENT, None),
        (entry(status=S.HELD), NOW + 2 * DAY, S.HELD, None),
    ],
)
def test_time_alone_ends_leases_and_lives(
    start: Entry, at: datetime, status: Status, reason: str | None
) -> None:
    """In ``sending`` bytes may have left, so that the end of a lease makes it unknown."""
    swept = sweep(start, at)
    assert (swept.status, swept.reason) == (status, reason)
    assert sweep(swept, at) == swept


def test_an_entry_does_not_expire_under_a_lease() -> None:
    """Its worker may be about to begin, and will be refused at the deadline."""
    claimed = msgspec.structs.replace(CLAIMED, expires_at=NOW + SECOND)
    assert sweep(claimed, NOW + 2 * SECOND) == claimed
    assert sweep(claimed, LEASE.until).status is S.EXPIRED


def test_the_end_of_a_lease_in_accepted_frees_the_entry() -> None:
    """Without a trace: nothing happened."""
    assert sweep(CLAIMED, LEASE.until) == ACCEPTED


@pytest.mark.parametrize("status", sorted(set(Status) - {S.ACCEPTED}))
def test_only_what_is_accepted_is_taken(status: Status) -> None:
    """Every other status has its own way on."""
    assert take(entry(status=status), NOW, LEASE) is None


def test_an_entry_is_not_taken_before_its_time() -> None:
    """Nor under somebody's lease."""
    early = entry(not_before=NOW + HOUR)
    assert take(early, NOW + HOUR - SECOND, LEASE) is None
    assert take(early, NOW + HOUR, LEASE) == entry(not_before=NOW + HOUR, lease=LEASE)
    assert take(CLAIMED, NOW, Lease(token="other", until=NOW + HOUR)) is None


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (entry(due_at=NOW + HOUR), Due(Work.SEND, NOW + HOUR)),
        (entry(due_at=NOW + 2 * DAY), Due(Work.SEND, NOW + DAY)),
        (entry(not_before=NOW + HOUR), Due(Work.SEND, NOW + HOUR)),
        (entry(not_before=NOW + HOUR, not_after=NOW + SECOND), Due(Work.SEND, NOW + SECOND)),
        (CLAIMED, Due(Work.SEND, LEASE.until)),
        (SENDING, Due(Work.SEND, LEASE.until)),
        (UNKNOWN, Due(Work.FIND, NOW)),
        (entry(status=S.HELD), Due(Work.DECIDE, NOW)),
        (SENT, Due(Work.PURGE, NOW + 90 * DAY)),
        (entry(status=S.REFUSED), Due(Work.PURGE, NOW + 90 * DAY)),
    ],
)
def test_every_entry_waits_for_something(waiting: Entry, expected: Due) -> None:
    """To be sent or swept, found, decided on, or deleted."""
    assert due(waiting) == expected


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (DAY, 36_000),
        (10 * HOUR + SECOND, 36_000),
        (10 * HOUR, 36_000),
        (10 * HOUR - timedelta(microseconds=1), 35_999),
        (2 * SECOND, 2),
        (SECOND / 2, 1),
        (timedelta(0), 1),
        (-DAY, 1),
    ],
    ids=str,
)
def test_the_validity_period_is_what_is_left(left: timedelta, seconds: int) -> None:
    """In whole seconds, as Twilio takes them: 1 to 36,000."""
    assert validity(entry(expires_at=NOW + left), NOW) == seconds
    assert validity(entry(not_after=NOW + left), NOW) == seconds


# Restore


@pytest.mark.parametrize("status", [S.ACCEPTED, S.SENDING])
def test_a_restored_ledger_does_not_know_what_went_out(status: Status) -> None:
    """Whatever lease the backup holds."""
    restored = after(
        entry(status=status, lease=LEASE), Fact(kind=K.RESTORED, at=NOW, reason="restored")
    )
    assert (restored.status, restored.reason) == (S.UNKNOWN, "restored")
    assert restored.history[-1].step == "restore"


@pytest.mark.parametrize(
    ("generated_at", "restored_at", "status"),
    [
        (NOW - HOUR, None, S.ACCEPTED),
        (NOW - HOUR, NOW - 2 * HOUR, S.ACCEPTED),
        (NOW - HOUR, NOW - HOUR, S.ACCEPTED),
        (NOW - HOUR, NOW - HOUR + SECOND, S.HELD),
        (NOW - HOUR, NOW + HOUR, S.HELD),
        (None, NOW - DAY, S.ACCEPTED),
        (None, NOW - DAY + SECOND, S.HELD),
    ],
)
def test_an_event_older_than_the_restore_is_held(
    generated_at: datetime | None, restored_at: datetime | None, status: Status
) -> None:
    """The lost part of the ledger may have sent it; one without a time counts as old as can be."""
    admitted = admit(entry(generated_at=generated_at), restored_at)
    assert admitted.status is status
    if status is S.HELD:
        assert (admitted.reason, admitted.history[-1].at) == ("older_than_restore", NOW)


@pytest.mark.parametrize("status", sorted(set(Status) - {S.ACCEPTED}))
def test_only_what_would_be_sent_is_held_after_a_restore(status: Status) -> None:
    """A refused event stays refused."""
    assert admit(entry(status=status), NOW + HOUR) == entry(status=status)


# History and repeats


@pytest.mark.parametrize("status", Status)
def test_a_repeat_is_counted_and_changes_nothing_else(status: Status) -> None:
    """In every status; the history tells of it."""
    known = entry(status=status, lease=LEASE, reason="why")
    repeated = after(known, Fact(kind=K.REPEATED, at=NOW + HOUR))
    assert (repeated.repeats, repeated.history[-1].decision) == (1, "duplicate")
    assert msgspec.structs.replace(repeated, repeats=0, history=()) == known


def test_a_long_history_keeps_its_beginning_and_its_end() -> None:
    """And tells how much was left out of the middle."""
    long = SENDING
    for minute in range(100):
        long = after(long, Fact(kind=K.REPEATED, at=NOW + minute * MINUTE))
    assert (len(long.history), long.history_dropped, long.repeats) == (50, 51, 100)
    assert long.history[0].decision == "sending"
    assert [step.at for step in long.history[1:10]] == [NOW + m * MINUTE for m in range(9)]
    assert [step.at for step in long.history[10:]] == [NOW + m * MINUTE for m in range(60, 100)]


def test_a_purged_entry_shows_nothing_of_the_new_event() -> None:
    """It is over, and this is a repeat."""
    shown = purged(ACCEPTED)
    assert (shown.status, shown.reason, shown.repeats) == (S.EXPIRED, "purged", 1)
    assert (shown.message, shown.history, shown.finished) == (None, (), True)


def test_an_entry_survives_being_written() -> None:
    """It is one document."""
    whole = after(SENT, told("undelivered", 30003))
    whole = msgspec.structs.replace(
        whole,
        origin=Origin(event_name="E", identities={"datahub_id": "D"}),
        problems=(("field", "words"),),
        generated_at=NOW - SECOND,
        not_before=NOW,
        not_after=NOW + HOUR,
    )
    for one in (whole, CLAIMED, UNKNOWN):
        assert msgspec.json.decode(msgspec.json.encode(one), type=Entry) == one
