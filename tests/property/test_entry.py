"""Any entry and any facts, in any order: what must never happen does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import Work, admit, due, purged, sweep, take, validity
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
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import RANKS, Receipt
from ci360_twilio.core.tenant import TenantId

S, K = Status, Kind
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
RECEIPTS = {
    "sent": K.PROGRESSED,
    "sending": K.PROGRESSED,
    "partially_delivered": K.PROGRESSED,
    "of_a_later_version": K.PROGRESSED,
    "delivered": K.DELIVERED,
    "read": K.READ,
    "undelivered": K.UNDELIVERED,
    "failed": K.FAILED,
    "canceled": K.CANCELED,
}
RANK_OF = {
    S.SENT: RANKS["sent"],
    S.CANCELED: RANKS["canceled"],
    S.FAILED: RANKS["failed"],
    S.UNDELIVERED: RANKS["undelivered"],
    S.DELIVERED: RANKS["delivered"],
    S.READ: RANKS["read"],
}

PAUSED = Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=NOW).place
PACED = Rate("demo/Acme", 1.0).place

WITHOUT_A_SID = {S.REFUSED, S.EXPIRED, S.SUPPRESSED, S.CANCELED}

times = st.integers(-5, 100).map(lambda seconds: NOW + timedelta(seconds=seconds))
leases = st.builds(Lease, token=st.sampled_from(["a", "b", "c"]), until=times)
sids = st.sampled_from(["SM1", "SM2"])
reasons = st.none() | st.sampled_from(["why", "tls", "twilio_30003"])
codes = st.none() | st.sampled_from([20429, 30003])
places = st.sampled_from([PAUSED, PACED])
initial = st.sampled_from(["accepted", "queued", "scheduled", "sending"])
answered = initial | st.sampled_from(sorted(RECEIPTS))
attempts = [kind for kind in Kind if kind not in RECEIPTS.values() and kind is not K.MADE]

facts = st.one_of(
    st.builds(
        Fact,
        kind=st.sampled_from(attempts),
        at=times,
        lease=st.none() | leases,
        due_at=st.none() | times,
        reason=reasons,
        error_code=codes,
        place=st.none() | places,
        correlation=st.none() | st.sampled_from(["c1", "c2"]),
        link=st.none() | st.just(key_of(TenantId("demo"), "again")),
    ),
    st.builds(
        Fact,
        kind=st.just(K.MADE),
        at=times,
        lease=st.none() | leases,
        receipt=st.builds(Receipt, sid=sids, status=answered, error_code=codes),
        guessed=st.booleans(),
    ),
    st.builds(
        lambda at, sid, status, code: Fact(
            kind=RECEIPTS[status],
            at=at,
            receipt=Receipt(sid=sid, status=status, error_code=code),
        ),
        times,
        sids,
        st.sampled_from(sorted(RECEIPTS)),
        codes,
    ),
)
any_facts = st.builds(
    Fact,
    kind=st.sampled_from(Kind),
    at=times,
    lease=st.none() | leases,
    due_at=st.none() | times,
    reason=reasons,
    error_code=codes,
    receipt=st.none()
    | st.builds(
        Receipt,
        sid=sids,
        status=st.text() | answered | st.sampled_from([str(kind) for kind in Kind]),
        error_code=codes,
    ),
)


def entry(**changes: Any) -> Entry:
    """Give an entry that was accepted just now."""
    members: dict[str, Any] = {
        "key": key_of(TenantId("demo"), "g"),
        "tenant_id": TenantId("demo"),
        "guid": "g",
        "status": S.ACCEPTED,
        "created_at": NOW,
        "due_at": NOW,
        "expires_at": NOW + timedelta(seconds=80),
        "purge_at": NOW + timedelta(days=90),
    }
    return Entry(**(members | changes))


entries = st.builds(
    entry,
    status=st.sampled_from(Status),
    due_at=times,
    expires_at=times,
    generated_at=st.none() | times,
    not_before=st.none() | times,
    not_after=st.none() | times,
    lease=st.none() | leases,
    attempts=st.integers(0, 3),
    reason=reasons,
    error_code=codes,
    bulk=st.booleans(),
    place=st.none() | places,
    started_at=st.none() | times,
    looks=st.integers(0, 5),
    guessed=st.booleans(),
    sid=st.none() | sids,
    provider_status=st.none() | st.sampled_from(sorted(RECEIPTS)),
)


def lives(told: list[Fact]) -> Iterator[tuple[Entry, Fact, Entry]]:
    """Give each fact that counts, with the entry before and after it, from a new entry on."""
    before = entry()
    for fact in told:
        after = advance(before, fact)
        if after is not None:
            yield before, fact, after
            before = after


a_life = st.lists(facts, max_size=60)
a_likely_life = st.lists(facts, max_size=40).map(
    lambda more: [
        Fact(kind=K.CLAIMED, at=NOW, lease=Lease(token="a", until=NOW + timedelta(seconds=60))),
        Fact(kind=K.STARTED, at=NOW, lease=Lease(token="a", until=NOW)),
        *more,
    ]
)


@given(start=entries, fact=any_facts)
@settings(max_examples=200, deadline=None)
def test_no_fact_fails_and_the_table_decides(start: Entry, fact: Fact) -> None:
    """A fact changes nothing, or leads to the status that the table names.

    The answer that names a message may tell of its end as well; then the table is asked twice.
    """
    following = advance(start, fact)
    target = TRANSITIONS[start.status, fact.kind]
    if target is None:
        assert following is None
    if following is not None:
        end = RECEIPTS.get(fact.receipt.status) if fact.receipt and fact.kind is K.MADE else None
        assert following.status is target or (
            target is S.SENT and end and following.status is TRANSITIONS[target, end]
        )
        assert (following.key, following.message) == (start.key, start.message)
        assert following.finished >= start.finished or fact.kind is K.DISOWNED


@given(told=a_life | a_likely_life)
@settings(max_examples=200, deadline=None)
def test_what_has_ended_stays_ended(told: list[Fact]) -> None:
    """Unless its end was a guess; and nobody holds a lease on it, nor does it wait anywhere."""
    for before, fact, after in lives(told):
        assert after.finished >= before.finished or (fact.kind is K.DISOWNED and before.guessed)
        assert not (after.finished and (after.lease or after.place))
        assert after.finished is (after.status not in UNFINISHED)


@given(told=a_life | a_likely_life)
@settings(max_examples=200, deadline=None)
def test_a_sid_that_twilio_named_stays(told: list[Fact]) -> None:
    """At most one message per entry; whoever has a SID is past sending. A guess may be corrected."""
    for before, fact, after in lives(told):
        if after.sid != before.sid:
            assert before.sid is None or before.guessed
            assert (fact.kind, after.sid is None) in ((K.MADE, False), (K.DISOWNED, True))
            assert after.guessed is (after.sid is not None and fact.guessed)
        assert after.sid is None or after.status in RANK_OF
        assert after.sid is not None or after.status in {*UNFINISHED, *WITHOUT_A_SID}


@given(told=a_life | a_likely_life)
@settings(max_examples=200, deadline=None)
def test_bytes_leave_a_second_time_only_after_an_answer_that_nothing_was_made(
    told: list[Fact],
) -> None:
    """The answer to that very attempt: under its lease."""
    token: str | None = None
    answered = True
    for before, fact, after in lives(told):
        if fact.kind is K.STARTED and before.status is S.SENDING:
            assert after == before
        elif fact.kind is K.STARTED:
            assert answered
            assert fact.at < before.deadline
            assert before.lease is not None
            assert fact.at < before.lease.until
            token, answered = before.lease.token, False
            assert after.attempts == before.attempts + 1
        elif after.status is S.ACCEPTED and before.status is not S.ACCEPTED:
            assert fact.kind is K.RETRIED
            assert fact.lease is not None
            assert fact.lease.token == token
            answered = True


@given(told=a_life | a_likely_life)
@settings(max_examples=200, deadline=None)
def test_a_lease_passes_on_only_when_it_has_run_out_or_was_given_back(told: list[Fact]) -> None:
    """No entry is under two leases at one time."""
    for before, fact, after in lives(told):
        if before.lease and after.lease and before.lease != after.lease:
            assert fact.kind is K.CLAIMED
            assert before.lease.until <= fact.at


@given(status=initial, told=st.lists(st.sampled_from(sorted(RECEIPTS)), max_size=12))
@settings(max_examples=200, deadline=None)
def test_receipts_in_any_order_never_lower_a_status(status: str, told: list[str]) -> None:
    """And but for a canceled message they lead to where the highest of them stands."""
    settled = entry(status=S.SENT, sid="SM1", provider_status=status)
    for word in told:
        receipt = Receipt(sid="SM1", status=word)
        following = advance(settled, Fact(kind=RECEIPTS[word], at=NOW, receipt=receipt))
        if following is not None:
            assert RANK_OF[following.status] >= RANK_OF[settled.status]
            assert RANKS[following.provider_status or ""] > RANKS[settled.provider_status or ""]
            settled = following
    known = [word for word in [status, *told] if word in RANKS]
    if "canceled" not in told:
        assert settled.provider_status is not None
        assert RANKS[settled.provider_status] == max(RANKS[word] for word in known)
        assert settled.status == RECEIPTS.get(settled.provider_status, K.PROGRESSED).replace(
            "progressed", "sent"
        )


@given(told=a_life | a_likely_life)
@settings(max_examples=200, deadline=None)
def test_an_entry_can_be_written_at_every_step(told: list[Fact]) -> None:
    """And read again as it was; its history stays short and in order of what happened."""
    for before, _, after in lives(told):
        assert msgspec.json.decode(msgspec.json.encode(after), type=Entry) == after
        assert len(after.history) <= 50
        assert len(after.history) + after.history_dropped >= len(before.history)
        if after.status is not before.status:
            assert after.history[-1] not in before.history[:-1] or after.history_dropped


@given(start=entries, now=times)
@settings(max_examples=200, deadline=None)
def test_time_leaves_nothing_behind_that_it_would_change_again(start: Entry, now: datetime) -> None:
    """A sweep says all there is to say; what it leaves accepted may still be sent."""
    swept = sweep(start, now)
    assert sweep(swept, now) == swept
    assert swept.finished >= start.finished
    if swept.status is S.ACCEPTED:
        assert now < swept.deadline or (swept.lease and now < swept.lease.until)
    if swept.status is S.SENDING and swept.lease:
        assert now < swept.lease.until


@given(start=entries, now=times, lease=leases)
@settings(max_examples=200, deadline=None)
def test_what_is_due_to_be_sent_is_swept_away_or_taken(
    start: Entry, now: datetime, lease: Lease
) -> None:
    """Nothing comes up again and again without anybody being able to do anything about it."""
    swept = sweep(start, now)
    waiting, taken = due(swept), take(swept, now, lease)
    if taken is not None:
        assert taken == msgspec.structs.replace(swept, lease=lease, place=None)
        assert start.not_before is None or start.not_before <= now
    if swept.status is S.ACCEPTED and swept.place and not swept.lease:
        assert waiting.work is (Work.PARKED if swept.place == PAUSED else Work.PACED)
        assert swept.place == PACED or waiting.at > now
    elif swept.status is S.ACCEPTED:
        assert waiting.work is (Work.BULK if swept.bulk and not swept.lease else Work.SEND)
        assert (waiting.at <= now) is (taken is not None) or swept.due_at > now
    assert waiting.at.tzinfo is UTC


@given(start=entries, now=times, restored_at=st.none() | times)
@settings(max_examples=200, deadline=None)
def test_nothing_else_about_an_entry_fails(
    start: Entry, now: datetime, restored_at: datetime | None
) -> None:
    """Whatever its times."""
    assert 1 <= validity(start, now) <= 36_000
    admitted = admit(start, restored_at)
    assert admitted.status in (start.status, S.HELD)
    assert purged(start).finished
