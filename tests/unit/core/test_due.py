"""What the passing of time does to an entry, and what each entry waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import (
    MOST_FETCHES,
    Due,
    Work,
    admit,
    due,
    next_fetch,
    next_look,
    purged,
    sweep,
    take,
    validity,
)
from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId

S, K = Status, Kind
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=s) for s in (1, 60, 3600, 86_400))
LEASE = Lease(token="mine", until=NOW + MINUTE)
SID = "SM" + "0" * 32
PAUSED = Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=NOW).place
PACED = Rate("demo/Acme", 1.0).place


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


def after(start: Entry, *facts: Fact) -> Entry:
    """Apply facts that all count."""
    for one in facts:
        following = advance(start, one)
        assert following is not None, one
        start = following
    return start


def fact(kind: Kind, at: datetime = NOW, **members: Any) -> Fact:
    """Give a fact, under the lease unless told."""
    return Fact(kind=kind, at=at, **({"lease": LEASE} | members))


def made(status: str = "queued") -> Fact:
    """Give the fact that Twilio made the message."""
    return fact(K.MADE, receipt=Receipt(sid=SID, status=status))


ACCEPTED = entry()
CLAIMED = after(ACCEPTED, fact(K.CLAIMED))
SENDING = after(CLAIMED, fact(K.STARTED))
UNKNOWN = after(SENDING, fact(K.LOST, reason="read_timeout"))
SENT = after(SENDING, made())


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
        (entry(bulk=True, due_at=NOW + HOUR), Due(Work.BULK, NOW + HOUR)),
        (entry(bulk=True, lease=LEASE), Due(Work.SEND, LEASE.until)),
        (entry(place=PACED), Due(Work.PACED, NOW)),
        (entry(place=PACED, bulk=True, due_at=NOW + HOUR), Due(Work.PACED, NOW + HOUR)),
        (entry(place=PACED, not_before=NOW + HOUR), Due(Work.PACED, NOW + HOUR)),
        (entry(place=PAUSED), Due(Work.PARKED, NOW + DAY)),
        (entry(place=PAUSED, not_after=NOW + HOUR), Due(Work.PARKED, NOW + HOUR)),
        (entry(place=PAUSED, lease=LEASE), Due(Work.SEND, LEASE.until)),
        (UNKNOWN, Due(Work.FIND, NOW + 5 * SECOND)),
        (entry(status=S.HELD), Due(Work.DECIDE, NOW)),
        (SENT, Due(Work.FETCH, NOW + 12 * HOUR)),
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


# Asking Twilio


def looked(start: Entry, times: int) -> Entry:
    """Ask for an entry that many times, each when it is due."""
    for _ in range(times):
        at = due(start).at
        start = after(start, Fact(kind=K.LOOKED, at=at, due_at=next_look(start, at)))
    return start


def test_a_lost_message_is_looked_for_in_growing_intervals() -> None:
    """First within ten seconds, at last every hour; for as long as nobody decides."""
    asked = [due(looked(UNKNOWN, times)).at - NOW for times in range(13)]
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert asked[0] == 5 * SECOND
    assert gaps[:3] == [10 * SECOND, 20 * SECOND, 40 * SECOND]
    assert gaps[-3:] == [HOUR] * 3
    assert due(looked(UNKNOWN, 500)).work is Work.FIND


def test_a_message_without_a_final_status_is_asked_for_a_few_times() -> None:
    """Some carriers never say what became of it. Until Twilio has answered it is asked soon again."""
    assert due(looked(SENT, 2)).at - NOW == 12.5 * HOUR
    entry, waits = SENT, []
    for _ in range(MOST_FETCHES):
        then = next_fetch(entry, NOW)
        entry = after(entry, Fact(kind=Kind.ANSWERED, at=NOW, due_at=then))
        waits.append(then - NOW)
    assert waits == [12 * HOUR, 24 * HOUR, 48 * HOUR, 96 * HOUR]
    assert due(entry) == Due(Work.PURGE, NOW + 90 * DAY)


@pytest.mark.parametrize("state", ["delivered", "read", "undelivered", "failed", "canceled"])
def test_a_message_with_a_final_status_is_not_asked_for(state: str) -> None:
    """There is nothing to be learned."""
    assert due(after(SENDING, made(state))).work is Work.PURGE


def test_a_message_is_not_asked_for_beyond_its_retention() -> None:
    """It is deleted then."""
    assert due(msgspec.structs.replace(SENT, purge_at=NOW + HOUR)).work is Work.PURGE


def test_a_message_of_a_version_before_this_one_is_not_asked_for() -> None:
    """It noted neither when it was started nor lost, and there may be millions of them."""
    assert due(msgspec.structs.replace(SENT, started_at=None)).work is Work.PURGE


def test_a_message_that_was_found_is_asked_for() -> None:
    """A restore did not know when it was started."""
    lost = after(ACCEPTED, Fact(kind=K.RESTORED, at=NOW, reason="restored"))
    assert due(after(lost, made())).work is Work.FETCH


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


def test_a_purged_entry_shows_nothing_of_the_new_event() -> None:
    """It is over, and this is a repeat."""
    shown = purged(ACCEPTED)
    assert (shown.status, shown.reason, shown.repeats) == (S.EXPIRED, "purged", 1)
    assert (shown.message, shown.history, shown.finished) == (None, (), True)
