"""What every ledger does, sentence by sentence of the docstrings in :mod:`ci360_twilio.ports`.

Times are whole milliseconds wherever one is compared with another: a store need keep no finer ones
to search by. What an entry holds comes back to the microsecond.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import purged
from ci360_twilio.core.entry import UNFINISHED, Entry, Fact, Key, Kind, Lease, Status, Step, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Claimed, Query, Store

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TENANT, OTHER = TenantId("af5af6b8f500013eb0c90001"), TenantId("other")
MESSAGE = Message(to="+12015550101", sender="+15005550006", body="See you at nine!")
SID = "SM" + "0" * 32
KEY = key_of(TENANT, "g1")
"""The key of an entry whose guid is not given."""
NOTHING = Claimed([], [], [])
FINISHED = sorted(set(Status) - UNFINISHED)


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def entry(guid: str = "g1", *, tenant: TenantId = TENANT, **changes: Any) -> Entry:
    """Make an entry as ``accept`` would at ``NOW``, with changes."""
    members: dict[str, Any] = {
        "status": Status.ACCEPTED,
        "created_at": NOW,
        "generated_at": NOW,
        "due_at": NOW,
        "expires_at": at(86_400),
        "purge_at": at(90 * 86_400),
        "message": MESSAGE,
        "history": (Step(at=NOW, step="accept", decision="accepted"),),
    }
    return Entry(key=key_of(tenant, guid), tenant_id=tenant, guid=guid, **members | changes)


def entries(number: int, **changes: Any) -> list[Entry]:
    """Make entries that differ in their guid."""
    return [entry(f"g{index}", **changes) for index in range(number)]


def keys(of: Iterable[Entry]) -> list[Key]:
    """Give the keys of entries, in order."""
    return [one.key for one in of]


def lease(worker: str = "worker", *, until: float = 60.0) -> Lease:
    """Make a lease that ends that many seconds after the morning."""
    return Lease(token=worker, until=at(until))


def leased(status: Status = Status.SENDING, *, until: float = 60.0, **changes: Any) -> Entry:
    """Make an entry that is under a lease."""
    return entry(status=status, lease=lease(until=until), **changes)


def read(store: Store, key: Key = KEY) -> Entry:
    """Read an entry that must be there."""
    [found] = store.get_many([key])
    assert found is not None
    return found


def made(second: float = 1.0, *, worker: str = "worker", sid: str = SID) -> Fact:
    """Make the fact that Twilio made the message."""
    receipt = Receipt(sid=sid, status="queued")
    return Fact(kind=Kind.MADE, at=at(second), lease=lease(worker), receipt=receipt)


def receipt(kind: Kind, status: str, second: float = 2.0, *, code: int | None = None) -> Fact:
    """Make the fact that Twilio told of the message again."""
    told = Receipt(sid=SID, status=status, error_code=code)
    return Fact(kind=kind, at=at(second), receipt=told)


def purge_all(store: Store, now: datetime) -> int:
    """Purge until nothing is left to purge."""
    return sum(iter(lambda: store.purge(now=now, limit=100), 0))


def lift(store: Store) -> int:
    """Lift every pause."""
    return store.resume([pause.name for pause in store.pauses()])


def everything(store: Store) -> list[Entry]:
    """List all entries."""
    return store.find(Query(limit=10_000))


def together(number: int, act: Callable[[int], list[Any]]) -> list[Any]:
    """Run a function in threads that start at one moment; give all that they returned."""
    gate = threading.Barrier(number)

    def run(index: int) -> list[Any]:
        gate.wait(10)
        return act(index)

    with ThreadPoolExecutor(number) as pool:
        return [one for result in pool.map(run, range(number)) for one in result]


# insert_many


def test_a_new_entry_is_written_and_given_back(store: Store) -> None:
    """As it is, and so it is read."""
    [inserted] = store.insert_many([entry()])
    assert inserted == (entry(), True)
    assert read(store) == entry()


def test_every_member_of_an_entry_is_kept(store: Store) -> None:
    """Texts of every script, times to the microsecond, an empty and a full history."""
    moment = at(0.123456)
    whole = entry(
        status=Status.UNDELIVERED,
        reason="twilio_30003",
        created_at=moment,
        generated_at=at(-0.000001),
        due_at=at(1.5),
        expires_at=at(3600.000007),
        purge_at=at(99_999.9),
        not_before=moment,
        not_after=at(50),
        lease=lease(),
        attempts=3,
        repeats=2,
        message=Message(
            to="whatsapp:+12015550102",
            sender="whatsapp:+15005550006",
            body="Zoë – 日本 👩‍👩‍👧 \t\n\"'\\ €",
            media_urls=("https://www.example.com/a,b.jpg?x=1&y=%20", "https://example.org/"),
        ),
        origin=Origin(event_name="Ünïcode", task_code="TSK_1", identities={"datahub_id": "d'1"}),
        sid=SID,
        provider_status="undelivered",
        error_code=30003,
        problems=(("impression.creativeContent", "line 1: wrong"),),
        history=(Step(at=moment, step="accept", decision="accepted", reason="x"),) * 3,
        history_dropped=7,
    )
    store.insert_many([whole, entry("g2", history=(), message=None, generated_at=None)])
    assert read(store) == whole
    assert read(store, key_of(TENANT, "g2")).message is None


def test_a_written_entry_is_seen_by_whoever_opens_the_ledger(
    open_ledger: Callable[[], Store],
) -> None:
    """It is durable before the call returns, not when the store is closed."""
    open_ledger().insert_many([entry()])
    assert read(open_ledger()) == entry()


def test_a_known_key_is_not_overwritten(store: Store) -> None:
    """What stands there has come again; that is dated with the repeat."""
    store.insert_many([entry()])
    again = entry(created_at=at(5), status=Status.REFUSED, reason="no_sender", message=None)
    [inserted] = store.insert_many([again])
    expected = advance(entry(), Fact(kind=Kind.REPEATED, at=at(5)))
    assert inserted == (expected, False)
    assert read(store) == expected
    assert read(store).repeats == 1
    assert read(store).history[-1] == Step(at=at(5), step="accept", decision="duplicate")


def test_a_repeat_leaves_every_status_as_it_is(store: Store) -> None:
    """Whatever has become of the message, its event coming again changes nothing about it."""
    known = [entry(f"g{status}", status=status) for status in Status]
    store.insert_many(known)
    again = store.insert_many([msgspec.structs.replace(one, created_at=at(9)) for one in known])
    assert [one.created for one in again] == [False] * len(known)
    assert [one.entry.status for one in again] == list(Status)
    assert [one.entry.repeats for one in again] == [1] * len(known)


def test_a_repeat_keeps_the_lease_and_the_due_time(store: Store) -> None:
    """An event that comes again while its message is being sent does not free the message."""
    store.insert_many([leased()])
    [again] = store.insert_many([entry(created_at=at(1), due_at=at(1))])
    assert (again.entry.lease, again.entry.due_at) == (lease(), NOW)
    assert store.claim(now=at(1), lease=lease("second"), limit=9) == NOTHING


def test_a_key_twice_in_a_batch_is_written_once(store: Store) -> None:
    """The first of them; the others count as repeats."""
    other = Message(to="+12015550199", sender="+15005550006", body="Another text")
    batch = [entry(), entry(message=other), entry("g2"), entry(message=other)]
    results = store.insert_many(batch)
    assert [one.created for one in results] == [True, False, True, False]
    assert [one.entry.repeats for one in results] == [0, 1, 0, 2]
    assert read(store).message == MESSAGE
    assert read(store).repeats == 2


def test_results_come_in_the_order_of_the_entries(store: Store) -> None:
    """New, known and purged ones mixed."""
    gone = entry("gone", status=Status.SENT, purge_at=at(1))
    store.insert_many([gone, entry("known")])
    purge_all(store, at(2))
    batch = [entry("c"), entry("gone"), entry("a"), entry("known"), entry("b")]
    results = store.insert_many(batch)
    assert keys(one.entry for one in results) == keys(batch)
    assert [one.created for one in results] == [True, False, True, False, True]


def test_an_event_whose_entry_was_purged_is_not_written_again(store: Store) -> None:
    """The tombstone answers, with an entry that is not kept, however often it is asked."""
    store.insert_many([entry(status=Status.SENT, sid=SID, purge_at=at(1))])
    assert purge_all(store, at(2)) == 1
    again = entry(created_at=at(3), message=MESSAGE)
    assert store.insert_many([again]) == [(purged(again), False)]
    [answer, same] = store.insert_many([again, again])
    assert (answer.entry.status, answer.entry.reason) == (Status.EXPIRED, "purged")
    assert answer.entry.message is None
    assert same == answer
    assert store.get_many([again.key]) == [None]
    assert everything(store) == []
    assert store.claim(now=at(9), lease=lease(), limit=9, keys=[again.key]) == NOTHING


def test_tenants_do_not_share_guids(store: Store) -> None:
    """Neither entries nor tombstones of one stop another's events."""
    store.insert_many([entry(status=Status.SENT, purge_at=at(1))])
    [theirs] = store.insert_many([entry(tenant=OTHER)])
    assert theirs.created
    purge_all(store, at(2))
    third = TenantId("third")
    [inserted] = store.insert_many([entry(tenant=third)])
    assert inserted.created
    assert {one.tenant_id for one in everything(store)} == {OTHER, third}


def test_guids_that_look_alike_are_different(store: Store) -> None:
    """Case, white space, digits, accents and slashes all count; so does a zero byte."""
    guids = ["a", "A", "a ", " a", "1", "01", "1.0", "1e0", "é", "e\u0301", "a/b", "/", "a\0", "\0"]
    guids += ["'; DROP TABLE entries; --", "%", "_", "a" * 256, "a" * 255 + "b", "\U0001f600" * 256]
    batch = [entry(guid, message=Message(to="+12015550101", sender=guid[:3])) for guid in guids]
    assert [one.created for one in store.insert_many(batch)] == [True] * len(guids)
    assert store.get_many(keys(batch)) == batch
    for one in batch:
        assert store.find(Query(guid=one.guid)) == [one]


def test_writing_a_batch_again_changes_nothing_but_repeats(store: Store) -> None:
    """So the same call may be made again when its answer was lost."""
    batch = [entry("a"), entry("b", status=Status.REFUSED, reason="no_sender")]
    store.insert_many(batch)
    store.insert_many(batch)
    for one in batch:
        found = read(store, one.key)
        assert found.repeats == 1
        assert msgspec.structs.replace(found, repeats=0, history=one.history) == one


def test_an_empty_batch_is_no_error(store: Store) -> None:
    """And does nothing; a claim of no keys takes nothing, though something is due."""
    store.insert_many([entry()])
    assert store.insert_many([]) == []
    assert store.record_many([]) == []
    assert store.get_many([]) == []
    assert store.claim(now=at(1), lease=lease(), limit=9, keys=[]) == NOTHING
    assert read(store) == entry()


# insert_many after a restore


def test_an_event_older_than_the_restore_is_held(store: Store) -> None:
    """The lost part of the ledger may have sent it; the fact is dated with the entry."""
    store.mark_restored(NOW)
    lift(store)
    late = entry(created_at=at(7), generated_at=at(-0.001))
    fact = Fact(kind=Kind.HELD, at=at(7), reason="older_than_restore")
    [inserted] = store.insert_many([late])
    assert inserted == (advance(late, fact), True)
    assert (inserted.entry.status, inserted.entry.reason) == (Status.HELD, "older_than_restore")
    assert inserted.entry.history[-1].at == at(7)
    assert read(store) == inserted.entry
    assert store.claim(now=at(8), lease=lease(), limit=9) == NOTHING
    assert store.claim(now=at(8), lease=lease(), limit=9, keys=[late.key]) == NOTHING


@pytest.mark.parametrize("second", [0.0, 0.001, 60.0])
def test_an_event_generated_at_the_restore_or_after_it_is_accepted(
    store: Store, second: float
) -> None:
    """The restored ledger is the only one that can have seen it."""
    store.mark_restored(NOW)
    [inserted] = store.insert_many([entry(created_at=at(60), generated_at=at(second))])
    assert inserted.entry.status is Status.ACCEPTED


def test_events_from_before_the_restore_are_held_days_later(store: Store) -> None:
    """The rule has no end: CI360 may deliver an event again whenever it likes."""
    store.mark_restored(NOW)
    days = 30 * 86_400
    late = entry(created_at=at(days), expires_at=at(days + 1), generated_at=at(-1))
    assert store.insert_many([late])[0].entry.status is Status.HELD


@pytest.mark.parametrize(
    ("second", "status"),
    [(0.0, Status.HELD), (86_399.0, Status.HELD), (86_400.0, Status.ACCEPTED)],
)
def test_an_event_without_a_time_is_held_as_long_as_it_could_be_a_repeat(
    store: Store, second: float, status: Status
) -> None:
    """Within the span in which it would be sent, it may be from before the restore."""
    store.mark_restored(NOW)
    timeless = entry(generated_at=None, created_at=at(second), expires_at=at(second + 86_400))
    assert store.insert_many([timeless])[0].entry.status is status


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.ACCEPTED}))
def test_only_accepted_entries_are_held(store: Store, status: Status) -> None:
    """What is not to be sent anyway is written as it is."""
    store.mark_restored(at(1))
    old = entry(status=status, generated_at=at(-1))
    assert store.insert_many([old]) == [(old, True)]


def test_a_known_key_is_not_held_by_its_repeat(store: Store) -> None:
    """An entry that the restored ledger knows has its own status already."""
    store.insert_many([entry(status=Status.SENT, sid=SID)])
    store.mark_restored(at(1))
    [again] = store.insert_many([entry(created_at=at(2))])
    assert (again.entry.status, again.created) == (Status.SENT, False)


def test_the_last_restore_counts(store: Store) -> None:
    """What came between two restores is older than the second."""
    store.mark_restored(NOW)
    store.mark_restored(at(100))
    between = entry("a", generated_at=at(50), created_at=at(101))
    after = entry("b", generated_at=at(100), created_at=at(101))
    results = store.insert_many([between, after])
    assert [one.entry.status for one in results] == [Status.HELD, Status.ACCEPTED]


def test_without_a_restore_old_events_are_accepted(store: Store) -> None:
    """How old an event may be is not the ledger's business."""
    [inserted] = store.insert_many([entry(generated_at=at(-80_000))])
    assert inserted.entry.status is Status.ACCEPTED


# claim


def test_a_claim_takes_what_is_due_under_its_lease(store: Store) -> None:
    """The status stays; the lease is written."""
    store.insert_many([entry()])
    assert store.claim(now=at(1), lease=lease(), limit=9) == Claimed([entry(lease=lease())], [], [])
    assert read(store) == entry(lease=lease())


def test_an_entry_is_due_at_its_due_time_and_not_before(store: Store) -> None:
    """To the millisecond."""
    store.insert_many([entry(due_at=at(10))])
    assert store.claim(now=at(9.999), lease=lease(), limit=9) == NOTHING
    assert len(store.claim(now=at(10), lease=lease(), limit=9).entries) == 1


def test_an_entry_waits_for_its_not_before(store: Store) -> None:
    """Due or not; then it is taken."""
    store.insert_many([entry(not_before=at(10))])
    assert store.claim(now=at(9.999), lease=lease(), limit=9) == NOTHING
    assert keys(store.claim(now=at(10), lease=lease(), limit=9).entries) == [KEY]


def test_the_oldest_due_time_comes_first(store: Store) -> None:
    """In whatever order they were written, and a not_before counts as a due time."""
    batch = [entry(f"g{second}", due_at=at(second)) for second in range(8)]
    batch.append(entry("g8", due_at=at(0), not_before=at(8)))
    shuffled = random.Random(7).sample(batch, k=len(batch))
    store.insert_many(shuffled[:5])
    store.insert_many(shuffled[5:])
    assert keys(store.claim(now=at(60), lease=lease(), limit=99).entries) == keys(batch)


def test_a_claim_takes_no_more_than_its_limit(store: Store) -> None:
    """The oldest ones; the next claim takes the next."""
    batch = [entry(f"g{second}", due_at=at(second)) for second in range(5)]
    store.insert_many(batch)
    taken = [keys(store.claim(now=at(9), lease=lease(), limit=2).entries) for _ in range(4)]
    assert taken == [keys(batch[0:2]), keys(batch[2:4]), keys(batch[4:5]), []]


def test_a_claim_of_keys_takes_no_more_than_its_limit(store: Store) -> None:
    """Whoever claims has room for no more, however many are named."""
    batch = entries(5)
    store.insert_many(batch)
    assert len(store.claim(now=at(1), lease=lease(), limit=2, keys=keys(batch)).entries) == 2
    assert sum(one.lease is not None for one in everything(store)) == 2


def test_no_entry_is_under_two_leases(store: Store) -> None:
    """Until the first one ends nobody else gets it, by time or by key."""
    store.insert_many([entry()])
    store.claim(now=NOW, lease=lease("first", until=60), limit=9)
    second = lease("second", until=120)
    assert store.claim(now=at(59.999), lease=second, limit=9) == NOTHING
    assert store.claim(now=at(59.999), lease=second, limit=9, keys=[KEY]) == NOTHING
    [taken] = store.claim(now=at(60), lease=second, limit=9).entries
    assert taken.lease == second


def test_a_lease_holds_for_whoever_opens_the_ledger(open_ledger: Callable[[], Store]) -> None:
    """Claimed here, it cannot be claimed there."""
    here, there = open_ledger(), open_ledger()
    here.insert_many([entry()])
    assert len(there.claim(now=NOW, lease=lease("there"), limit=9).entries) == 1
    assert here.claim(now=NOW, lease=lease("here"), limit=9) == NOTHING
    assert read(here).lease == lease("there")


def test_an_accepted_entry_whose_lease_ended_is_taken_anew(store: Store) -> None:
    """Its worker sent nothing; that is no end, so it is not among what was swept."""
    store.insert_many([leased(Status.ACCEPTED, until=60)])
    second = lease("second", until=120)
    claimed = store.claim(now=at(60), lease=second, limit=9)
    assert claimed == Claimed([entry(lease=second)], [], [])


def test_a_sending_entry_whose_lease_ended_becomes_unknown(store: Store) -> None:
    """Its bytes may have left, so it is told of and never taken."""
    store.insert_many([leased(until=60)])
    assert store.claim(now=at(59.999), lease=lease("second"), limit=9) == NOTHING
    claimed = store.claim(now=at(60), lease=lease("second", until=120), limit=9)
    assert claimed.entries == []
    [swept] = claimed.swept
    assert (swept.status, swept.reason) == (Status.UNKNOWN, "lease_ended")
    assert read(store) == swept
    assert store.claim(now=at(999), lease=lease("third"), limit=9) == NOTHING


@pytest.mark.parametrize(
    "times",
    [
        {"expires_at": at(10)},
        {"not_after": at(10)},
        {"not_after": at(10), "due_at": at(500)},
        {"expires_at": at(10), "due_at": at(500)},
        {"expires_at": at(10), "not_before": at(500)},
        {"expires_at": at(10), "lease": lease(until=5)},
    ],
)
def test_an_entry_whose_time_is_over_expires(store: Store, times: dict[str, Any]) -> None:
    """At its deadline, also where it was to be tried again only later."""
    store.insert_many([entry(**times)])
    claimed = store.claim(now=at(10), lease=lease(until=70), limit=9)
    assert claimed.entries == []
    assert [(one.status, one.reason) for one in claimed.swept] == [(Status.EXPIRED, "expired")]
    assert read(store) == claimed.swept[0]
    assert store.claim(now=at(11), lease=lease(until=71), limit=9) == NOTHING


def test_a_leased_entry_does_not_expire_under_its_worker(store: Store) -> None:
    """Only when the lease is over too."""
    store.insert_many([leased(Status.ACCEPTED, until=60, expires_at=at(10))])
    assert store.claim(now=at(30), lease=lease("second"), limit=9) == NOTHING
    claimed = store.claim(now=at(60), lease=lease("second", until=120), limit=9)
    assert [one.status for one in claimed.swept] == [Status.EXPIRED]


def test_what_time_has_overtaken_does_not_stop_the_rest(store: Store) -> None:
    """However small the limit, claim after claim gets to everything that is due."""
    expired = [entry(f"x{n}", due_at=at(n), expires_at=at(10)) for n in range(5)]
    lost = [leased(guid=f"l{n}", until=6 + n) for n in range(3)]
    due = [entry(f"d{n}", due_at=at(10 + n)) for n in range(4)]
    store.insert_many([*due, *lost, *expired])
    taken: list[Entry] = []
    swept: list[Entry] = []
    for _ in range(20):
        claimed = store.claim(now=at(30), lease=lease(until=90), limit=2)
        assert len(claimed.entries) <= 2
        taken += claimed.entries
        swept += claimed.swept
    assert keys(taken) == keys(due)
    assert sorted(keys(swept)) == sorted(keys([*expired, *lost]))


def test_only_what_is_accepted_is_taken(store: Store) -> None:
    """By time and by key, long after every lease and due time."""
    others = [entry(f"g{status}", status=status) for status in Status if status != "accepted"]
    store.insert_many([*others, entry()])
    assert keys(store.claim(now=at(99), lease=lease(), limit=99).entries) == [KEY]
    assert store.claim(now=at(99), lease=lease(), limit=99, keys=keys(others)) == NOTHING


def test_named_entries_are_taken_before_they_are_due(store: Store) -> None:
    """And only those that are named, though others are due."""
    later = entry("later", due_at=at(500))
    store.insert_many([entry(), later])
    claimed = store.claim(now=at(1), lease=lease(), limit=9, keys=iter([later.key]))
    assert keys(claimed.entries) == [later.key]
    assert read(store).lease is None


def test_named_entries_wait_for_their_not_before(store: Store) -> None:
    """A key does not open a window that has not begun."""
    store.insert_many([entry(not_before=at(10))])
    assert store.claim(now=at(9.999), lease=lease(), limit=9, keys=[KEY]) == NOTHING
    assert len(store.claim(now=at(10), lease=lease(), limit=9, keys=[KEY]).entries) == 1


def test_named_entries_are_swept_too(store: Store) -> None:
    """A lease that ended and a deadline that passed count the same by key."""
    lost, late = leased(guid="lost", until=5), entry("late", expires_at=at(5))
    free = leased(Status.ACCEPTED, guid="free", until=5)
    store.insert_many([lost, late, free])
    named = keys([lost, late, free])
    claimed = store.claim(now=at(5), lease=lease("second"), limit=9, keys=named)
    assert keys(claimed.entries) == [free.key]
    swept = {one.guid: one.status for one in claimed.swept}
    assert swept == {"lost": Status.UNKNOWN, "late": Status.EXPIRED}


def test_unknown_and_purged_keys_are_passed_over(store: Store) -> None:
    """A nudge may come late."""
    store.insert_many([entry("gone", status=Status.SENT, purge_at=at(1)), entry()])
    purge_all(store, at(2))
    named = [key_of(TENANT, "never"), key_of(TENANT, "gone"), KEY]
    assert keys(store.claim(now=at(3), lease=lease(), limit=9, keys=named).entries) == [KEY]
    assert len(everything(store)) == 1


def test_an_entry_named_twice_is_taken_once(store: Store) -> None:
    """Who gets it twice might send it twice."""
    store.insert_many([entry()])
    claimed = store.claim(now=at(1), lease=lease(), limit=9, keys=[KEY, KEY])
    assert keys(claimed.entries) == [KEY]


# record_many


def test_facts_are_applied_as_the_core_says(store: Store) -> None:
    """Every status with every kind of fact, under the right lease and under a wrong one."""
    numbers = count()
    cases: list[tuple[Entry, Fact]] = []
    for status in Status:
        for kind in Kind:
            for token in ("worker", "stale"):
                number = next(numbers)
                sid = f"SM{number}" if status in FINISHED else None
                one = leased(status, guid=f"g{number}", sid=sid, provider_status="queued")
                told = Receipt(sid=f"SM{number}", status="delivered", error_code=30003)
                with_receipt = kind.value in {"made", "delivered", "read", "failed", "undelivered"}
                fact = Fact(
                    kind=kind,
                    at=at(30),
                    lease=lease(token),
                    due_at=at(40),
                    reason="because",
                    receipt=told if with_receipt else None,
                )
                cases.append((one, fact))
    store.insert_many([one for one, _ in cases])
    expected = [advance(one, fact) for one, fact in cases]
    assert store.record_many([(one.key, fact) for one, fact in cases]) == expected
    stand = [after or before for (before, _), after in zip(cases, expected, strict=True)]
    assert store.get_many(keys(stand)) == stand


def test_a_message_goes_from_claim_to_delivery(store: Store) -> None:
    """Each answer is the entry as it then stands."""
    store.insert_many([entry()])
    store.claim(now=NOW, lease=lease(), limit=1)
    facts = [
        Fact(kind=Kind.STARTED, at=at(1), lease=lease()),
        made(2),
        receipt(Kind.PROGRESSED, "sent", 3),
        receipt(Kind.DELIVERED, "delivered", 4),
    ]
    statuses = []
    for fact in facts:
        [after] = store.record_many([(KEY, fact)])
        assert after == read(store)
        statuses.append(after.status if after else None)
    assert statuses == [Status.SENDING, Status.SENT, Status.SENT, Status.DELIVERED]
    assert (read(store).sid, read(store).provider_status) == (SID, "delivered")
    assert read(store).lease is None


def test_facts_of_one_batch_are_applied_in_order(store: Store) -> None:
    """Several on one key follow each other; those of other keys stand between."""
    store.insert_many([leased(Status.ACCEPTED), leased(guid="g2")])
    first, second = KEY, key_of(TENANT, "g2")
    started = Fact(kind=Kind.STARTED, at=at(1), lease=lease())
    facts = [
        (first, started),
        (second, made(sid="SM2")),
        (first, made()),
        (first, started),
        (second, made(sid="SM2")),
    ]
    results = store.record_many(facts)
    statuses = [one and one.status for one in results]
    assert statuses == [Status.SENDING, Status.SENT, Status.SENT, None, None]
    assert [read(store, key).status for key in (first, second)] == [Status.SENT, Status.SENT]
    assert read(store).attempts == 1


def test_facts_in_the_wrong_order_are_not_put_right(store: Store) -> None:
    """An answer before its start changes nothing; the start then counts."""
    store.insert_many([leased(Status.ACCEPTED)])
    started = Fact(kind=Kind.STARTED, at=at(1), lease=lease())
    results = store.record_many([(KEY, made()), (KEY, started)])
    assert [one and one.status for one in results] == [None, Status.SENDING]


def test_a_fact_of_an_unknown_or_purged_key_creates_nothing(store: Store) -> None:
    """It changes nothing, and the facts beside it count."""
    store.insert_many([entry("gone", status=Status.SENT, sid=SID, purge_at=at(1)), leased()])
    purge_all(store, at(2))
    told = receipt(Kind.DELIVERED, "delivered")
    facts = [(key_of(TENANT, "never"), told), (key_of(TENANT, "gone"), told), (KEY, made())]
    assert [one and one.status for one in store.record_many(facts)] == [None, None, Status.SENT]
    assert keys(everything(store)) == [KEY]


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.POSTPONED])
def test_nothing_starts_under_a_lease_that_is_gone(store: Store, kind: Kind) -> None:
    """Neither another worker's nor one that has run out."""
    store.insert_many([leased(Status.ACCEPTED)])
    stale = Fact(kind=kind, at=at(1), lease=lease("another"))
    late = Fact(kind=kind, at=at(60), lease=lease())
    assert store.record_many([(KEY, stale), (KEY, late)]) == [None, None]
    assert read(store) == leased(Status.ACCEPTED)


@pytest.mark.parametrize(
    ("kind", "status"),
    [(Kind.MADE, "sent"), (Kind.REFUSED, "refused"), (Kind.RETRIED, "accepted")],
)
def test_an_answer_after_the_lease_still_settles_the_entry(
    store: Store, kind: Kind, status: str
) -> None:
    """Where nobody has taken it since: it was unknown, now it is known."""
    store.insert_many([leased(until=60)])
    store.claim(now=at(61), lease=lease("second", until=120), limit=9)
    assert read(store).status is Status.UNKNOWN
    fact = msgspec.structs.replace(made(62), kind=kind, due_at=at(63))
    if kind is not Kind.MADE:
        fact = msgspec.structs.replace(fact, receipt=None)
    [after] = store.record_many([(KEY, fact)])
    assert after is not None
    assert after.status == status


def test_a_retry_is_due_again_later(store: Store) -> None:
    """Accepted, under no lease, at the time that the fact names."""
    store.insert_many([leased(attempts=1)])
    retried = Fact(kind=Kind.RETRIED, at=at(2), lease=lease(), due_at=at(30), reason="tls")
    store.record_many([(KEY, retried)])
    assert store.claim(now=at(29.999), lease=lease("next"), limit=9) == NOTHING
    [taken] = store.claim(now=at(30), lease=lease("next"), limit=9).entries
    assert (taken.attempts, taken.reason) == (1, "tls")


def test_receipts_never_lower_a_status(store: Store) -> None:
    """Late, twice and out of order."""
    store.insert_many([entry(status=Status.SENT, sid=SID, provider_status="queued")])
    facts = [
        receipt(Kind.DELIVERED, "delivered", 5),
        receipt(Kind.PROGRESSED, "sent", 6),
        receipt(Kind.DELIVERED, "delivered", 7),
        receipt(Kind.FAILED, "failed", 8, code=30003),
    ]
    results = store.record_many([(KEY, fact) for fact in facts])
    assert [one is None for one in results] == [False, True, True, True]
    assert read(store).status is Status.DELIVERED


# get_many


def test_entries_are_read_in_the_order_of_the_keys(store: Store) -> None:
    """Unknown ones leave a gap, and one may be asked for twice."""
    batch = entries(3)
    store.insert_many(batch)
    wanted = [batch[2].key, key_of(TENANT, "never"), batch[0].key, batch[2].key]
    assert store.get_many(wanted) == [batch[2], None, batch[0], batch[2]]


def test_what_one_writes_another_reads(open_ledger: Callable[[], Store]) -> None:
    """As soon as the call has returned."""
    one, other = open_ledger(), open_ledger()
    one.insert_many([leased()])
    assert read(other).status is Status.SENDING
    other.record_many([(KEY, made())])
    assert read(one).status is Status.SENT


# find


def test_all_entries_are_listed_newest_first(store: Store) -> None:
    """By the time at which they were created."""
    batch = [entry(f"g{n}", created_at=at(n)) for n in range(6)]
    for one in batch:
        store.insert_many([one])
    assert keys(store.find(Query())) == keys(reversed(batch))


def test_the_newest_comes_first_whenever_it_was_written(store: Store) -> None:
    """Processes that accept at one time write in another order than they began in."""
    batch = [entry(f"g{n}", created_at=at(n)) for n in (3, 0, 4, 1, 2)]
    store.insert_many(batch)
    assert [one.guid for one in store.find(Query())] == ["g4", "g3", "g2", "g1", "g0"]
    assert [one.guid for one in store.find(Query(limit=2))] == ["g4", "g3"]


def test_a_listing_is_cut_at_its_limit(store: Store) -> None:
    """A hundred unless told, and the newest."""
    store.insert_many([entry(f"g{n}", created_at=at(n)) for n in range(105)])
    assert [one.guid for one in store.find(Query(limit=3))] == ["g104", "g103", "g102"]
    assert len(store.find(Query())) == 100
    assert len(store.find(Query(limit=1000))) == 105


def several(store: Store) -> None:
    """Fill a ledger with entries that differ in all that can be asked for."""
    store.insert_many(
        [
            entry("a", created_at=at(0)),
            entry("b", created_at=at(1), status=Status.SENT, sid=SID),
            entry("b", created_at=at(2), tenant=OTHER, status=Status.DELIVERED, sid="SM2"),
            entry("c", created_at=at(3), tenant=OTHER, status=Status.REFUSED),
            entry("d", created_at=at(4), status=Status.UNKNOWN),
        ]
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), ["d", "c", "b", "b", "a"]),
        (Query(tenant_id=OTHER), ["c", "b"]),
        (Query(tenant_id=TenantId("nobody")), []),
        (Query(guid="b"), ["b", "b"]),
        (Query(guid="B"), []),
        (Query(guid="b", tenant_id=OTHER), ["b"]),
        (Query(sid=SID), ["b"]),
        (Query(sid="SM3"), []),
        (Query(statuses=frozenset({Status.SENT})), ["b"]),
        (Query(statuses=frozenset({Status.ACCEPTED, Status.UNKNOWN})), ["d", "a"]),
        (Query(statuses=frozenset({Status.READ})), []),
        (Query(statuses=frozenset(Status)), ["d", "c", "b", "b", "a"]),
        (Query(since=at(2)), ["d", "c", "b"]),
        (Query(before=at(2)), ["b", "a"]),
        (Query(since=at(1), before=at(3)), ["b", "b"]),
        (Query(since=at(3), before=at(3)), []),
        (Query(since=at(1), statuses=frozenset({Status.ACCEPTED, Status.SENT})), ["b"]),
        (Query(tenant_id=TENANT, before=at(4), limit=1), ["b"]),
    ],
)
def test_a_query_narrows_by_each_of_its_members(
    store: Store, query: Query, found: list[str]
) -> None:
    """All that are given must fit; ``since`` is part of the span, ``before`` is not."""
    several(store)
    assert [one.guid for one in store.find(query)] == found


def test_an_entry_is_found_by_what_it_is_now(store: Store) -> None:
    """By the SID it got and the status it has, and no longer by the old ones."""
    store.insert_many([leased(), entry("other")])
    store.record_many([(KEY, made())])
    assert keys(store.find(Query(sid=SID))) == [KEY]
    assert keys(store.find(Query(statuses=frozenset({Status.SENT})))) == [KEY]
    assert store.find(Query(statuses=frozenset({Status.SENDING}))) == []
    store.insert_many([entry(created_at=at(50))])
    assert store.find(Query(since=at(1))) == []


# purge


def test_finished_entries_are_purged_when_their_time_has_come(store: Store) -> None:
    """Not before, and only once."""
    store.insert_many([entry(status=Status.SENT, purge_at=at(10)), entry("g2", purge_at=at(10))])
    assert store.purge(now=at(9.999), limit=9) == 0
    assert store.purge(now=at(10.001), limit=9) == 1
    assert store.purge(now=at(10.001), limit=9) == 0
    assert keys(everything(store)) == [key_of(TENANT, "g2")]


@pytest.mark.parametrize("status", FINISHED)
def test_an_entry_of_every_final_status_is_purged(store: Store, status: Status) -> None:
    """Whatever its end was."""
    store.insert_many([entry(status=status, purge_at=at(10))])
    assert store.purge(now=at(11), limit=9) == 1
    assert everything(store) == []


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_an_entry_without_an_end_is_never_purged(store: Store, status: Status) -> None:
    """However old it is."""
    store.insert_many([entry(status=status, purge_at=at(-1))])
    assert store.purge(now=at(10**9), limit=9) == 0
    assert len(everything(store)) == 1


def test_an_entry_that_reaches_its_end_late_is_purged_then(store: Store) -> None:
    """Its time had come long before."""
    store.insert_many([leased(purge_at=at(-1))])
    assert store.purge(now=at(5), limit=9) == 0
    store.record_many([(KEY, made())])
    assert store.purge(now=at(5), limit=9) == 1


def test_a_purge_takes_no_more_than_its_limit(store: Store) -> None:
    """And says how many it took."""
    store.insert_many(entries(5, status=Status.SENT, purge_at=at(1)))
    assert [store.purge(now=at(2), limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_purged_entry_is_nowhere(store: Store) -> None:
    """It is neither read nor found, by key, guid or SID."""
    store.insert_many([entry(status=Status.SENT, sid=SID, purge_at=at(1))])
    purge_all(store, at(2))
    assert store.get_many([KEY]) == [None]
    assert store.find(Query(guid="g1")) + store.find(Query(sid=SID)) == []


def test_tombstones_hold_for_whoever_opens_the_ledger(open_ledger: Callable[[], Store]) -> None:
    """All of them have the same key of the hashes."""
    one = open_ledger()
    one.insert_many([entry(status=Status.SENT, purge_at=at(1))])
    purge_all(one, at(2))
    [again] = open_ledger().insert_many([entry(created_at=at(3))])
    assert (again.created, again.entry.reason) == (False, "purged")


# summary


def test_an_empty_ledger_has_nothing_to_tell(store: Store) -> None:
    """Nothing unfinished, nothing due, never restored."""
    summary = store.summary(NOW)
    assert (summary.unfinished, summary.due, summary.oldest_due_at) == ({}, 0, None)
    assert (summary.waiting, summary.pauses) == (0, ())
    assert (summary.restored_at, summary.outdated) == (None, False)


def test_a_summary_counts_what_has_no_end(store: Store) -> None:
    """By status; those that have none are left out, and what is finished is not counted."""
    store.insert_many([entry(f"a{n}", due_at=at(n)) for n in range(3)])
    store.insert_many([entry(f"u{n}", status=Status.UNKNOWN) for n in range(2)])
    store.insert_many([entry(f"f{status}", status=status) for status in FINISHED])
    store.insert_many([leased()])
    summary = store.summary(at(1))
    assert summary.unfinished == {Status.ACCEPTED: 3, Status.UNKNOWN: 2, Status.SENDING: 1}
    assert (summary.due, summary.oldest_due_at) == (2, NOW)


def test_a_summary_follows_the_facts(store: Store) -> None:
    """What was claimed is not due, what was sent is not unfinished, what was given back is."""
    store.insert_many([entry("a"), entry("b", due_at=at(1)), entry("c", due_at=at(2))])
    [first, second] = store.claim(now=at(2), lease=lease(), limit=2).entries
    assert (store.summary(at(2)).due, store.summary(at(2)).oldest_due_at) == (1, at(2))
    started = Fact(kind=Kind.STARTED, at=at(3), lease=lease())
    back = Fact(kind=Kind.POSTPONED, at=at(3), lease=lease(), due_at=at(5))
    store.record_many([(first.key, started), (first.key, made()), (second.key, back)])
    summary = store.summary(at(6))
    assert summary.unfinished == {Status.ACCEPTED: 2}
    assert (summary.due, summary.oldest_due_at) == (2, at(2))


def test_a_summary_tells_of_the_restore(store: Store) -> None:
    """When it was, and that nothing is sent until somebody resumes."""
    store.mark_restored(at(5))
    summary = store.summary(NOW)
    assert (summary.restored_at, summary.pauses) == (at(5), tuple(store.pauses()))
    lift(store)
    assert (store.summary(NOW).restored_at, store.summary(NOW).pauses) == (at(5), ())


# mark_restored


def test_a_restore_makes_unknown_what_was_under_way(store: Store) -> None:
    """It may have gone out after the backup was made; everything else stays."""
    batch = [entry(f"g{status}", status=status) for status in Status]
    batch += [leased(Status.ACCEPTED, guid="claimed"), leased(guid="leaving")]
    store.insert_many(batch)
    store.mark_restored(at(5))
    for one in batch:
        found = read(store, one.key)
        if one.status in (Status.ACCEPTED, Status.SENDING):
            fact = Fact(kind=Kind.RESTORED, at=at(5), reason="restored")
            assert found == advance(one, fact)
            assert (found.status, found.reason) == (Status.UNKNOWN, "restored")
        else:
            assert found == one


def test_a_restore_pauses_everything(store: Store) -> None:
    """Until a person lifts it; a second restore is of its own time."""
    for second in (5, 7):
        store.mark_restored(at(second))
        [pause] = store.pauses()
        assert pause == Pause(
            scope=Scope.ALL, cause=Cause.RESTORE, reason="restored", since=at(second)
        )


def test_nothing_is_claimed_between_a_restore_and_the_resume(
    open_ledger: Callable[[], Store],
) -> None:
    """By time or by key, from here or from there; what is overtaken by time meanwhile is told."""
    one, other = open_ledger(), open_ledger()
    one.mark_restored(NOW)
    one.insert_many([entry(created_at=at(1)), entry("late", created_at=at(1), expires_at=at(2))])
    swept = []
    for store in (one, other, open_ledger()):
        claimed = store.claim(now=at(5), lease=lease(), limit=9)
        swept += claimed.swept
        assert claimed.entries == []
        assert store.claim(now=at(5), lease=lease(), limit=9, keys=[KEY]) == NOTHING
    assert [(found.guid, found.status) for found in swept] == [("late", Status.EXPIRED)]
    assert (read(one).status, read(one).reason) == (Status.ACCEPTED, "restored")
    assert lift(other) == 1
    assert keys(one.claim(now=at(5), lease=lease(), limit=9).entries) == [KEY]


def test_an_answer_settles_what_a_restore_made_unknown(store: Store) -> None:
    """A worker that was sending hears back; one that was about to send must not."""
    store.insert_many([leased(guid="leaving"), leased(Status.ACCEPTED, guid="claimed")])
    store.mark_restored(at(5))
    started = Fact(kind=Kind.STARTED, at=at(6), lease=lease())
    facts = [(key_of(TENANT, "claimed"), started), (key_of(TENANT, "leaving"), made(6))]
    assert [one and one.status for one in store.record_many(facts)] == [None, Status.SENT]


def test_a_restored_ledger_goes_on_accepting_and_purging(store: Store) -> None:
    """Only claims wait."""
    store.insert_many([entry("old", status=Status.SENT, purge_at=at(1))])
    store.mark_restored(at(5))
    assert store.insert_many([entry(generated_at=at(6), created_at=at(6))])[0].created
    assert store.purge(now=at(7), limit=9) == 1


# probe, close


def test_a_probe_writes_no_entry(store: Store) -> None:
    """However often it is made."""
    store.insert_many([entry()])
    for _ in range(3):
        store.probe()
    assert everything(store) == [entry()]
    assert store.summary(NOW).unfinished == {Status.ACCEPTED: 1}


def test_a_ledger_is_as_it_was_when_it_is_opened_again(open_ledger: Callable[[], Store]) -> None:
    """Entries, leases, tombstones, the restore and the pause."""
    store = open_ledger()
    store.insert_many([leased(), entry("gone", status=Status.SENT, purge_at=at(1))])
    purge_all(store, at(2))
    store.mark_restored(at(3))
    before, summary = everything(store), store.summary(at(4))
    store.close()
    again = open_ledger()
    assert everything(again) == before
    assert again.summary(at(4)) == summary
    assert not again.insert_many([entry("gone", created_at=at(5))])[0].created


# many at a time


def test_of_fifty_that_write_one_key_one_creates_it(store: Store) -> None:
    """The others are repeats, and every one of them is counted."""
    results = together(50, lambda n: store.insert_many([entry(created_at=at(n))]))
    assert sum(one.created for one in results) == 1
    assert sorted(one.entry.repeats for one in results) == list(range(50))
    assert read(store).repeats == 49


def claim_all(store: Store, worker: int, limit: int) -> list[Entry]:
    """Claim until nothing is left."""
    tokens = (lease(f"{worker}-{number}") for number in count())
    claims = iter(lambda: store.claim(now=at(1), lease=next(tokens), limit=limit).entries, [])
    return [one for taken in claims for one in taken]


def check_claims(store: Store, taken: Sequence[Entry], wanted: Sequence[Entry]) -> None:
    """Require that every entry was taken by one claim, the one whose lease it is under."""
    assert sorted(keys(taken)) == sorted(keys(wanted))
    assert {one.key: one for one in everything(store)} == {one.key: one for one in taken}


def test_eight_threads_that_claim_share_no_entry(store: Store) -> None:
    """Every entry ends under exactly one lease."""
    batch = entries(300)
    store.insert_many(batch)
    taken = together(8, lambda worker: claim_all(store, worker, limit=7))
    check_claims(store, taken, batch)


def test_eight_that_opened_the_ledger_for_themselves_share_no_entry(
    open_ledger: Callable[[], Store],
) -> None:
    """As processes do."""
    store, batch = open_ledger(), entries(300)
    store.insert_many(batch)
    stores = [open_ledger() for _ in range(8)]
    taken = together(8, lambda worker: claim_all(stores[worker], worker, limit=7))
    check_claims(store, taken, batch)


def test_eight_that_claim_the_same_keys_share_no_entry(store: Store) -> None:
    """A nudge may be delivered to several."""
    batch = entries(40, due_at=at(500))
    store.insert_many(batch)

    def claim(worker: int) -> list[Entry]:
        order = random.Random(worker).sample(keys(batch), k=len(batch))
        one_by_one = [[key] for key in order]
        claims = [
            store.claim(now=at(1), lease=lease(f"{worker}-{key}"), limit=1, keys=key)
            for key in one_by_one
        ]
        return [one for claimed in claims for one in claimed.entries]

    check_claims(store, together(8, claim), batch)


def test_of_eight_that_record_one_fact_one_changes_the_entry(store: Store) -> None:
    """The others hear that it changed nothing."""
    store.insert_many([leased()])
    results = together(8, lambda n: store.record_many([(KEY, made(sid=f"SM{n}"))]))
    [after] = [one for one in results if one is not None]
    assert read(store) == after


def test_no_change_is_lost_while_others_change_the_same_entry(store: Store) -> None:
    """Repeats are counted while the message is claimed, started and given back, over and over."""
    store.insert_many([entry()])

    def repeat(worker: int) -> list[bool]:
        return [store.insert_many([entry(created_at=at(n))])[0].created for n in range(20)]

    def work(worker: int) -> list[bool]:
        started = 0
        for n in range(20):
            mine = lease(f"{worker}-{n}", until=10**6)
            if store.claim(now=at(1), lease=mine, limit=1).entries:
                start = Fact(kind=Kind.STARTED, at=at(2), lease=mine)
                back = Fact(kind=Kind.RETRIED, at=at(2), lease=mine, due_at=NOW)
                started += store.record_many([(KEY, start)])[0] is not None
                assert store.record_many([(KEY, back)])[0] is not None
        return [True] * started

    outcomes = together(6, lambda n: repeat(n) if n < 3 else work(n))
    found = read(store)
    assert found.repeats == outcomes.count(False) == 60
    assert found.attempts == outcomes.count(True) > 0
