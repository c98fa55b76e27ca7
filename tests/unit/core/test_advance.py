"""The life of an entry: the table, leases, answers, receipts, places, people, history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.advance import advance, owing
from ci360_twilio.core.due import sweep, take
from ci360_twilio.core.entry import (
    TRANSITIONS,
    UNFINISHED,
    Entry,
    Fact,
    Kind,
    Lease,
    Status,
    key_of,
)
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Outcome, Report
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

WITH_SID = {K.PROGRESSED: None, K.MADE: S.SENT, K.DISOWNED: S.UNKNOWN}
ARRIVED = {K.DELIVERED: S.DELIVERED, K.READ: S.READ}
EXPECTED: Mapping[Status, Mapping[Kind, Status | None]] = {
    S.ACCEPTED: {
        K.MADE: S.SENT,
        K.CLAIMED: S.ACCEPTED,
        K.POSTPONED: S.ACCEPTED,
        K.STARTED: S.SENDING,
        K.LEASE_ENDED: S.ACCEPTED,
        K.EXPIRED: S.EXPIRED,
        K.RESTORED: S.UNKNOWN,
        K.HELD: S.HELD,
        K.PLACED: S.ACCEPTED,
        K.SUPPRESSED: S.SUPPRESSED,
        K.WITHDRAWN: S.CANCELED,
    },
    S.SENDING: {
        K.STARTED: None,
        K.MADE: S.SENT,
        K.RETRIED: S.ACCEPTED,
        K.REFUSED: S.REFUSED,
        K.LOST: S.UNKNOWN,
        K.LEASE_ENDED: S.UNKNOWN,
        K.RESTORED: S.UNKNOWN,
        K.SUPPRESSED: S.SUPPRESSED,
    },
    S.UNKNOWN: {
        K.MADE: S.SENT,
        K.RETRIED: S.ACCEPTED,
        K.REFUSED: S.REFUSED,
        K.HELD: S.HELD,
        K.LOOKED: None,
        K.CLOSED: S.CANCELED,
    },
    S.HELD: {K.MADE: S.SENT, K.CLOSED: S.CANCELED},
    S.SENT: {
        **WITH_SID,
        K.LOOKED: None,
        K.ANSWERED: None,
        K.CANCELED: S.CANCELED,
        K.FAILED: S.FAILED,
        K.UNDELIVERED: S.UNDELIVERED,
        **ARRIVED,
    },
    S.FAILED: {**WITH_SID, K.UNDELIVERED: S.UNDELIVERED, **ARRIVED, K.LINKED: None},
    S.UNDELIVERED: {**WITH_SID, **ARRIVED, K.LINKED: None},
    S.DELIVERED: {**WITH_SID, K.READ: S.READ},
    S.READ: WITH_SID,
    S.CANCELED: {K.MADE: S.SENT, K.DISOWNED: S.UNKNOWN},
    S.REFUSED: {K.LINKED: None, K.MADE: S.SENT},
    S.EXPIRED: {K.MADE: S.SENT},
    S.SUPPRESSED: {K.MADE: S.SENT},
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
    """Nothing leads back to them from an end, but for a SID that turns out to be another's."""
    assert {S.ACCEPTED, S.SENDING, S.UNKNOWN, S.HELD} == UNFINISHED
    for (status, kind), target in TRANSITIONS.items():
        if status not in UNFINISHED and target in UNFINISHED:
            assert (kind, target) == (K.DISOWNED, S.UNKNOWN)


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


# Places


PLACE = "paused:person:all:*:*"


def placed(at: datetime = NOW, **members: Any) -> Fact:
    """Give the fact that the entry waits behind a pause."""
    return Fact(kind=K.PLACED, at=at, **({"place": PLACE, "reason": "paused"} | members))


def test_an_entry_in_a_place_stays_accepted() -> None:
    """With the reason, and a line in its history."""
    waits = after(ACCEPTED, placed())
    assert (waits.status, waits.place, waits.reason) == (S.ACCEPTED, PLACE, "paused")
    assert [(step.step, step.decision) for step in waits.history] == [("steer", "waits")]


def test_an_entry_is_placed_by_its_worker_or_by_whoever_finds_it_free() -> None:
    """Not from under another's lease; being placed ends the lease."""
    assert advance(CLAIMED, placed()) is None
    assert advance(CLAIMED, placed(lease=Lease(token="other", until=NOW + HOUR))) is None
    assert after(CLAIMED, placed(lease=LEASE)).lease is None
    assert after(CLAIMED, placed(at=LEASE.until)).place == PLACE


def test_a_claim_takes_an_entry_out_of_its_place() -> None:
    """Nothing else is told of it."""
    waits = after(ACCEPTED, placed())
    claimed = after(waits, fact(K.CLAIMED))
    assert claimed == msgspec.structs.replace(waits, place=None, lease=LEASE)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (K.EXPIRED, S.EXPIRED),
        (K.WITHDRAWN, S.CANCELED),
        (K.RESTORED, S.UNKNOWN),
        (K.HELD, S.HELD),
        (K.SUPPRESSED, S.SUPPRESSED),
    ],
)
def test_whatever_ends_the_wait_takes_the_entry_out_of_its_place(
    kind: Kind, status: Status
) -> None:
    """It would be looked for there else."""
    ended = after(ACCEPTED, placed(), Fact(kind=kind, at=NOW + DAY, reason="why"))
    assert (ended.status, ended.place, ended.reason) == (status, None, "why")


# Looking, guessing, and what people do


def guess(sid: str = SID) -> Fact:
    """Give the fact that a message was found that looks like the entry's."""
    return Fact(kind=K.MADE, at=NOW, receipt=receipt("sent", sid=sid), guessed=True, by="find")


OTHER_SID = "SM" + "1" * 32
FOUND = after(UNKNOWN, guess())


def test_a_start_names_the_entry_for_receipts_once() -> None:
    """And notes when bytes may have left for the first time."""
    first = after(CLAIMED, fact(K.STARTED, correlation="one"))
    retried = after(first, fact(K.RETRIED), fact(K.CLAIMED, NOW + SECOND))
    second = after(retried, fact(K.STARTED, NOW + SECOND, correlation="two"))
    assert (second.correlation, second.started_at, second.attempts) == ("one", NOW, 2)


def test_a_start_that_is_written_again_is_no_second_attempt() -> None:
    """Its worker did not hear of the commit and has sent nothing yet."""
    again = after(SENDING, fact(K.STARTED, NOW + SECOND, correlation="two"))
    assert again == SENDING


def test_an_answer_that_was_lost_is_looked_for_soon() -> None:
    """It is noted when, and each look counts."""
    assert (UNKNOWN.lost_at, UNKNOWN.due_at, UNKNOWN.looks) == (NOW, NOW + 5 * SECOND, 0)
    looked = after(UNKNOWN, Fact(kind=K.LOOKED, at=NOW, due_at=NOW + HOUR))
    assert (looked.status, looked.looks, looked.due_at) == (S.UNKNOWN, 1, NOW + HOUR)
    assert looked.history == UNKNOWN.history


def test_only_an_answer_counts_where_a_messages_end_is_asked_for() -> None:
    """The look puts it off for as long as nobody else is to ask."""
    sent = after(SENDING, fact(K.MADE, receipt=Receipt(sid=SID, status="queued")))
    looked = after(sent, Fact(kind=K.LOOKED, at=NOW + HOUR, due_at=NOW + 2 * HOUR))
    assert (looked.looks, looked.due_at) == (0, NOW + 2 * HOUR)
    said = Fact(kind=K.ANSWERED, at=NOW + HOUR, due_at=NOW + 24 * HOUR)
    asked = after(looked, said)
    assert (asked.looks, asked.due_at, asked.provider_status) == (1, NOW + 24 * HOUR, "queued")
    assert (asked.status, asked.history) == (S.SENT, looked.history)


@pytest.mark.parametrize(("told", "known"), [("sent", "sent"), ("accepted", "queued")])
def test_an_answer_without_an_end_tells_how_far_it_has_come(told: str, known: str) -> None:
    """As a receipt would: never back; and it counts all the same."""
    sent = after(SENDING, fact(K.MADE, receipt=Receipt(sid=SID, status="queued")))
    said = Fact(kind=K.ANSWERED, at=NOW, due_at=NOW + HOUR, receipt=receipt(told))
    asked = after(sent, said)
    assert (asked.provider_status, asked.looks, asked.due_at) == (known, 1, NOW + HOUR)
    others = msgspec.structs.replace(said, receipt=receipt(told, sid=OTHER_SID))
    assert advance(sent, others) is None


def test_a_message_that_was_found_says_that_it_is_a_guess() -> None:
    """By whom it was found stands in the history; the looks begin anew."""
    assert (FOUND.status, FOUND.sid, FOUND.guessed, FOUND.looks) == (S.SENT, SID, True, 0)
    assert (FOUND.history[-1].step, FOUND.history[-1].decision) == ("find", "sent")
    assert FOUND.due_at == NOW + 12 * HOUR


def test_twilios_word_replaces_a_guess_at_another_message() -> None:
    """Whatever had been told of the wrong one; not the other way round."""
    arrived = after(FOUND, Fact(kind=K.DELIVERED, at=NOW, receipt=receipt("delivered")))
    right = Fact(kind=K.MADE, at=NOW, receipt=receipt("queued", sid=OTHER_SID))
    for start in (FOUND, arrived):
        known = after(start, right)
        assert (known.status, known.sid, known.guessed) == (S.SENT, OTHER_SID, False)
        assert known.provider_status == "queued"
    assert advance(SENT, guess(OTHER_SID)) is None
    assert advance(FOUND, guess(OTHER_SID)) is None
    assert advance(SENT, right) is None


def test_twilios_word_for_the_guessed_message_changes_nothing() -> None:
    """It is known already."""
    assert advance(FOUND, made()) is None


def test_a_guess_that_was_anothers_message_is_given_up() -> None:
    """The entry is unknown again, and looked for; what Twilio named is never given up."""
    disowned = after(FOUND, Fact(kind=K.DISOWNED, at=NOW + HOUR, reason="sid_of_another"))
    assert (disowned.status, disowned.sid, disowned.provider_status) == (S.UNKNOWN, None, None)
    assert (disowned.guessed, disowned.reason) == (False, "sid_of_another")
    assert (disowned.lost_at, disowned.due_at) == (NOW, NOW + HOUR + 5 * SECOND)
    assert advance(SENT, Fact(kind=K.DISOWNED, at=NOW)) is None


def test_what_a_person_withdraws_is_never_sent() -> None:
    """Not even by the worker that had taken it."""
    for start in (ACCEPTED, CLAIMED):
        canceled = after(start, Fact(kind=K.WITHDRAWN, at=NOW, reason="withdrawn"))
        assert (canceled.status, canceled.lease) == (S.CANCELED, None)
        assert advance(canceled, fact(K.STARTED)) is None
        assert advance(canceled, made()) is None
    assert advance(SENDING, Fact(kind=K.WITHDRAWN, at=NOW)) is None


def test_what_a_person_closed_may_turn_up_yet() -> None:
    """Bytes had left."""
    closed = after(UNKNOWN, Fact(kind=K.CLOSED, at=NOW, reason="resolved"))
    assert (closed.status, closed.finished) == (S.CANCELED, True)
    assert after(closed, made()).status is S.SENT


@pytest.mark.parametrize("end", [K.RETRIED, K.REFUSED])
def test_a_message_that_twilio_was_taken_not_to_have_made_may_turn_up(end: Kind) -> None:
    """Its callback tells: nothing is sent again, whatever the answer was."""
    said = after(SENDING, fact(end, reason="twilio_20429"))
    proof = Fact(kind=K.MADE, at=NOW + MINUTE, receipt=receipt("sent"), by="settle")
    assert after(said, proof).status is S.SENT
    assert advance(said, guess()) is None
    assert advance(after(said, proof), fact(K.STARTED)) is None


def test_what_was_never_tried_has_no_message() -> None:
    """Whatever a receipt says of it."""
    for entry in (ACCEPTED, after(ACCEPTED, Fact(kind=K.EXPIRED, at=NOW + 2 * DAY))):
        assert advance(entry, Fact(kind=K.MADE, at=NOW, receipt=receipt("sent"))) is None


def test_a_message_is_sent_again_by_one_entry_at_most() -> None:
    """Whether the old one had ended, or ends with it."""
    first = key_of(TenantId("demo"), "replay-1")
    refused = after(SENDING, fact(K.REFUSED, reason="twilio_21211"))
    linked = after(refused, Fact(kind=K.LINKED, at=NOW, link=first))
    assert (linked.status, linked.replayed_by) == (S.REFUSED, first)
    assert (linked.history[-1].step, linked.history[-1].decision) == ("steer", "replayed")
    assert advance(linked, Fact(kind=K.LINKED, at=NOW, link=key_of(TenantId("demo"), "x"))) is None
    closed = after(UNKNOWN, Fact(kind=K.CLOSED, at=NOW, link=first, by="find"))
    assert (closed.status, closed.replayed_by) == (S.CANCELED, first)


# The recipient's wish


def test_a_wish_ends_what_would_be_sent_again_by_its_own_worker() -> None:
    """Who has not sent it yet; nobody else can know that."""
    wish = fact(K.SUPPRESSED, reason="opted_out")
    suppressed = after(SENDING, wish)
    assert (suppressed.status, suppressed.reason, suppressed.lease) == (
        S.SUPPRESSED,
        "opted_out",
        None,
    )
    other = Lease(token="other", until=NOW + HOUR)
    assert advance(SENDING, fact(K.SUPPRESSED, lease=None)) is None
    assert advance(SENDING, fact(K.SUPPRESSED, lease=other)) is None
    assert advance(SENDING, fact(K.SUPPRESSED, LEASE.until)) is None
    assert advance(msgspec.structs.replace(SENDING, lease=None), wish) is None


def test_nothing_is_sent_after_a_wish_has_ended_it() -> None:
    """Whether or not its worker had begun."""
    for start in (ACCEPTED, CLAIMED, SENDING):
        suppressed = after(start, fact(K.SUPPRESSED, reason="opted_out"))
        assert advance(suppressed, fact(K.CLAIMED)) is None
        assert advance(suppressed, fact(K.STARTED)) is None


def test_what_a_wish_has_ended_may_turn_up_if_it_had_been_tried() -> None:
    """Twilio's word alone tells; a message that looks alike is another's."""
    suppressed = after(SENDING, fact(K.SUPPRESSED, reason="opted_out"))
    assert after(suppressed, made()).status is S.SENT
    assert advance(suppressed, guess()) is None
    assert advance(after(CLAIMED, fact(K.SUPPRESSED)), made()) is None


# What Twilio tells besides


SERVICE = Message(to="+12015550123", sender="MG" + "c3" * 16, body="Hi")
DATE = "Mon, 02 Mar 2026 09:30:00 +0000"


def stated(status: str, sid: str = SID, **members: Any) -> Receipt:
    """Give a receipt that says more than a status."""
    return Receipt(sid=sid, status=status, **members)


def test_the_sender_that_a_service_has_chosen_is_noted() -> None:
    """As soon as Twilio tells; at first it does not."""
    sent = after(msgspec.structs.replace(SENDING, message=SERVICE), made())
    assert sent.via is None
    known = after(sent, fact(K.PROGRESSED, receipt=stated("sent", sender="+12015550199")))
    assert known.via == "+12015550199"
    assert after(known, told("delivered")).via == "+12015550199"


@pytest.mark.parametrize("message", [Message(to="+12015550123", sender="Acme", body="Hi"), None])
def test_any_other_sender_is_known_already(message: Message | None) -> None:
    """It is the message's own."""
    start = msgspec.structs.replace(SENDING, message=message)
    sent = after(start, fact(K.MADE, receipt=stated("queued", sender="Acme")))
    assert sent.via is None


def test_dates_of_twilio_and_the_carrier_are_kept() -> None:
    """What a later receipt does not say stays as it was known."""
    sent = after(SENDING, fact(K.MADE, receipt=stated("queued", made=DATE)))
    assert (sent.made, sent.carrier_done) == (DATE, None)
    done = stated("undelivered", carrier_done="2603021031")
    undelivered = after(sent, fact(K.UNDELIVERED, receipt=done))
    assert (undelivered.made, undelivered.carrier_done) == (DATE, "2603021031")
    delivered = after(undelivered, told("delivered"))
    assert (delivered.made, delivered.carrier_done) == (DATE, "2603021031")


def test_what_was_told_of_another_message_goes_with_it() -> None:
    """Whether a guess is given up, or replaced by what Twilio names."""
    wrong = stated("sent", sender="+12015550199", made=DATE, carrier_done="2603021031")
    start = msgspec.structs.replace(UNKNOWN, message=SERVICE)
    found = after(start, Fact(kind=K.MADE, at=NOW, receipt=wrong, guessed=True))
    assert (found.via, found.made, found.carrier_done) == ("+12015550199", DATE, "2603021031")
    disowned = after(found, Fact(kind=K.DISOWNED, at=NOW))
    named = after(found, Fact(kind=K.MADE, at=NOW, receipt=stated("sent", OTHER_SID)))
    for one in (disowned, named):
        assert (one.via, one.made, one.carrier_done) == (None, None, None)


# Reports


EVERYTHING = tuple(Outcome)


def telling(start: Entry, *outcomes: Outcome) -> Entry:
    """Give an entry of which these outcomes are told; all, unless some are named."""
    return msgspec.structs.replace(start, tells=outcomes or EVERYTHING)


def outcomes(of: Entry) -> list[tuple[Outcome, str | None]]:
    """Give what is told of an entry, and of which message."""
    return [(report.outcome, report.sid) for report in of.reports]


@pytest.mark.parametrize(
    ("start", "one", "outcome"),
    [
        (SENDING, made(), Outcome.SENT),
        (SENT, told("delivered"), Outcome.DELIVERED),
        (SENT, told("read"), Outcome.READ),
        (SENT, told("undelivered", 30003), Outcome.UNDELIVERED),
        (SENT, told("failed", 30008), Outcome.FAILED),
        (SENT, told("canceled"), Outcome.CANCELED),
        (SENDING, fact(K.REFUSED, reason="twilio_21211", error_code=21211), Outcome.REFUSED),
        (ACCEPTED, fact(K.EXPIRED, NOW + DAY, reason="expired"), Outcome.EXPIRED),
        (ACCEPTED, fact(K.SUPPRESSED, reason="opted_out"), Outcome.SUPPRESSED),
        (ACCEPTED, fact(K.WITHDRAWN, reason="withdrawn"), Outcome.CANCELED),
        (ACCEPTED, fact(K.HELD, reason="restored"), Outcome.HELD),
        (UNKNOWN, fact(K.HELD, reason="not_found"), Outcome.HELD),
        (UNKNOWN, fact(K.CLOSED, reason="resolved"), Outcome.CANCELED),
    ],
    ids=lambda value: value.value if isinstance(value, Outcome) else "",
)
def test_an_outcome_is_owed_with_the_fact_that_brought_it_about(
    start: Entry, one: Fact, outcome: Outcome
) -> None:
    """With the message, the reason and the code as they are from then on; not where it is not told."""
    ended = after(telling(start), one)
    (report,) = ended.reports
    assert (report.outcome, report.at, report.due_at) == (outcome, one.at, one.at)
    assert (report.sid, report.reason, report.error_code) == (
        ended.sid,
        ended.reason,
        ended.error_code,
    )
    assert after(telling(start, outcome), one).reports == ended.reports
    others = [other for other in Outcome if other is not outcome]
    assert after(telling(start, *others), one).reports == ()


@pytest.mark.parametrize(
    ("start", "one"),
    [
        (ACCEPTED, fact(K.CLAIMED)),
        (CLAIMED, fact(K.STARTED)),
        (CLAIMED, fact(K.POSTPONED)),
        (ACCEPTED, fact(K.PLACED)),
        (SENDING, fact(K.RETRIED)),
        (SENDING, fact(K.LOST)),
        (SENDING, fact(K.LEASE_ENDED, LEASE.until)),
        (UNKNOWN, fact(K.LOOKED)),
        (SENT, fact(K.REPEATED)),
        (SENT, told("sending")),
        (after(SENT, told("failed")), fact(K.LINKED, link=key_of(TenantId("demo"), "again"))),
    ],
    ids=lambda value: value.kind if isinstance(value, Fact) else "",
)
def test_what_is_no_outcome_is_not_told(start: Entry, one: Fact) -> None:
    """Nothing has been decided yet, or nothing has changed."""
    assert after(telling(start), one).reports == ()


def test_outcomes_are_told_one_after_the_other() -> None:
    """What was owed before stays owed, also when it turns out otherwise."""
    arrived = after(telling(SENDING), made(), told("undelivered", 30003), told("delivered"))
    assert outcomes(arrived) == [(Outcome(word), SID) for word in ("sent", "undelivered", "delivered")]  # fmt: skip
    assert [report.reason for report in arrived.reports] == [None, "twilio_30003", None]


def test_a_message_that_had_arrived_when_it_was_found_owes_both() -> None:
    """One answer tells of two outcomes."""
    for start in (SENDING, UNKNOWN):
        found = after(telling(start), made("delivered"))
        assert outcomes(found) == [(Outcome.SENT, SID), (Outcome.DELIVERED, SID)]


def test_an_outcome_that_comes_about_again_is_told_once() -> None:
    """Of the same message; another message's is another."""
    guessed = after(telling(UNKNOWN), guess(), told("delivered"))
    again = after(guessed, Fact(kind=K.DISOWNED, at=NOW), guess(), told("delivered"))
    assert again.reports == guessed.reports
    other = after(guessed, Fact(kind=K.MADE, at=NOW, receipt=receipt("delivered", sid=OTHER_SID)))
    assert outcomes(other)[2:] == [(Outcome.SENT, OTHER_SID), (Outcome.DELIVERED, OTHER_SID)]


def test_an_entry_may_owe_what_is_not_its_status() -> None:
    """As when Twilio's refusal tells of a wish; what is not told is not owed either."""
    refused = after(telling(SENDING), fact(K.REFUSED, reason="twilio_21610", error_code=21610))
    wish = owing(refused, NOW + SECOND, Outcome.OPT_OUT)
    assert [report.outcome for report in wish.reports] == [Outcome.REFUSED, Outcome.OPT_OUT]
    assert (wish.reports[1].at, wish.reports[1].error_code) == (NOW + SECOND, 21610)
    assert owing(wish, NOW + DAY, Outcome.OPT_OUT) == wish
    assert owing(telling(refused, Outcome.SENT), NOW, Outcome.OPT_OUT).reports == refused.reports


@pytest.mark.parametrize("status", Status)
def test_an_entry_that_begins_at_its_end_owes_its_report(status: Status) -> None:
    """Our gates may end it before it is written; what is open owes nothing but that it is held."""
    owed = outcomes(owing(telling(entry(status=status)), NOW))
    is_open = status in (S.ACCEPTED, S.SENDING, S.UNKNOWN)
    assert owed == ([] if is_open else [(Outcome(status.value), None)])


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
        consent_group="ads",
        via="+12015550199",
        made=DATE,
        carrier_done="2603021031",
        tells=EVERYTHING,
        reports=(Report(outcome=Outcome.SENT, key="0" * 32, at=NOW, due_at=None, told_at=NOW),),
    )
    for one in (whole, CLAIMED, UNKNOWN):
        assert msgspec.json.decode(msgspec.json.encode(one), type=Entry) == one
