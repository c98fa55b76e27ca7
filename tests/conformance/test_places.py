"""Where entries wait: behind pauses and in senders' queues. What every ledger does about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import PROBE, Claimed, Query, RateOf, Store, unpaced

Make = Callable[..., Entry]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO = TenantId("demo")
SENDER, OTHER_SENDER = "+15005550006", "+15005550007"
NOTHING = Claimed([], [], [])
HALF_A_SECOND = 0.5


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def key(guid: str) -> Key:
    """Give the key of an entry."""
    return key_of(DEMO, guid)


def lease(second: float, worker: str = "worker") -> Lease:
    """Make a lease of a minute."""
    return Lease(token=f"{worker}-{second}", until=at(second + 60))


def claim(
    store: Store,
    second: float = 1.0,
    *,
    limit: int = 9,
    worker: str = "worker",
    keys: Iterable[Key] | None = None,
    rate_of: RateOf = unpaced,
) -> Claimed:
    """Claim as a worker would at that second; how many were put aside has a test of its own."""
    taken = lease(second, worker)
    claimed = store.claim(now=at(second), lease=taken, limit=limit, keys=keys, rate_of=rate_of)
    return claimed._replace(placed=0)


def guids(entries: Iterable[Entry]) -> list[str]:
    """Give the guids of entries, in order."""
    return [one.guid for one in entries]


def read(store: Store, guid: str = "g1") -> Entry:
    """Read an entry that must be there."""
    [found] = store.get_many([key(guid)])
    assert found is not None
    return found


def paused(scope: Scope = Scope.ALL, value: str | None = None, **members: Any) -> Pause:
    """Give a pause that a person set in the morning."""
    known: dict[str, Any] = {"cause": Cause.PERSON, "reason": "paused", "since": NOW}
    return Pause(scope=scope, value=value, **(known | members))


def probed(probe_at: float, scope: Scope = Scope.SENDER, value: str | None = SENDER) -> Pause:
    """Give a pause after a configuration error, to be probed by an entry at that second."""
    reason = "twilio_21606"
    return paused(scope, value, cause=Cause.CONFIG, reason=reason, probe_at=at(probe_at))


def start(entry: Entry, second: float) -> tuple[Key, Fact]:
    """Make the fact that an entry's bytes are about to leave."""
    return entry.key, Fact(kind=Kind.STARTED, at=at(second), lease=entry.lease)


def one_per_second(entry: Entry) -> Rate:
    """Give every sender a budget of its own, of one segment a second."""
    assert entry.message is not None
    return Rate(f"demo/{entry.message.sender}", 1.0)


def all_taken(store: Store, seconds: Iterable[float], **how: Any) -> list[tuple[float, str]]:
    """Claim at each second; give what was taken when."""
    return [(second, one.guid) for second in seconds for one in claim(store, second, **how).entries]


# Behind a pause


@pytest.mark.parametrize(
    "pause",
    [
        paused(),
        paused(Scope.TENANT, tenant_id=DEMO),
        paused(Scope.TASK, "TSK_1"),
        paused(Scope.SENDER, SENDER, tenant_id=DEMO),
        paused(Scope.COUNTRY, "US"),
        paused(Scope.TENANT, tenant_id=DEMO, cause=Cause.LIMIT, reason="hourly_limit"),
        probed(60),
    ],
    ids=lambda pause: pause.name,
)
def test_what_a_pause_covers_is_placed_and_not_taken(
    store: Store, entry: Make, pause: Pause
) -> None:
    """Whatever its scope and its cause; the fact tells where the entry waits and why."""
    store.insert_many([entry(), entry("bulk", bulk=True)])
    assert store.pause(pause)
    assert claim(store) == NOTHING
    for guid in ("g1", "bulk"):
        found = read(store, guid)
        assert (found.status, found.place, found.reason) == (
            Status.ACCEPTED,
            pause.place,
            pause.reason,
        )
        assert (found.history[-1].decision, found.history[-1].at) == ("waits", at(1))
    assert claim(store, 2) == NOTHING
    assert len(read(store).history) == 1


def test_what_a_pause_does_not_cover_is_taken(store: Store, entry: Make) -> None:
    """Other tenants, tasks, senders and countries go on."""
    others = [
        entry("tenant", tenant="other"),
        entry("task", task="TSK_2"),
        entry("sender", sender=OTHER_SENDER),
        entry("country", to="+447700900123"),
    ]
    for second, (other, scope, value) in enumerate(
        zip(
            others,
            (Scope.TENANT, Scope.TASK, Scope.SENDER, Scope.COUNTRY),
            (None, "TSK_1", SENDER, "US"),
            strict=True,
        )
    ):
        tenant_id = DEMO if scope is Scope.TENANT else None
        pause = paused(scope, value, tenant_id=tenant_id)
        store.pause(pause)
        store.insert_many([other, entry(f"covered-{scope}")])
        assert guids(claim(store, second).entries) == [other.guid]
        store.resume([pause.name])
        claim(store, second)


def test_a_claim_says_how_many_it_put_aside(store: Store, entry: Make) -> None:
    """Once: whoever claims knows that there may be more behind them."""
    store.insert_many([entry("a"), entry("b"), entry("c", task="TSK_2")])
    assert store.pause(paused(Scope.TASK, "TSK_1"))
    first = store.claim(now=at(1), lease=lease(1), limit=9)
    assert (guids(first.entries), first.placed) == (["c"], 2)
    assert store.claim(now=at(2), lease=lease(2), limit=9).placed == 0


def test_a_pause_holds_for_whoever_opens_the_ledger(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """Written here, it is obeyed there, also by what is opened later."""
    here, there = open_ledger(), open_ledger()
    here.insert_many([entry()])
    here.pause(paused())
    assert there.pauses() == here.pauses() == [paused()]
    assert claim(there) == claim(open_ledger()) == NOTHING


def test_what_waited_is_taken_when_the_pause_is_lifted(store: Store, entry: Make) -> None:
    """At once and before everything else; single entries first, then whose deadline is next."""
    waited = [
        entry("bulk", bulk=True, expires_at=at(50)),
        entry("late", expires_at=at(90)),
        entry("soon", expires_at=at(80)),
    ]
    store.insert_many(waited)
    store.pause(paused())
    claim(store)
    store.insert_many([entry("older", due_at=at(-60))])
    assert store.resume([paused().name]) == 1
    assert guids(claim(store, 2).entries) == ["soon", "late", "bulk", "older"]
    assert read(store, "soon").place is None


def test_what_waited_is_taken_only_where_its_own_pause_was_lifted(
    store: Store, entry: Make
) -> None:
    """Each has its place."""
    store.insert_many([entry("a", task="TSK_A"), entry("b", task="TSK_B")])
    pauses = [paused(Scope.TASK, "TSK_A"), paused(Scope.TASK, "TSK_B")]
    for pause in pauses:
        store.pause(pause)
    claim(store)
    store.resume([pauses[1].name])
    assert guids(claim(store, 2).entries) == ["b"]
    assert claim(store, 3) == NOTHING


def test_what_another_pause_covers_is_placed_anew(store: Store, entry: Make) -> None:
    """It goes from the one that is gone behind the one that lasts."""
    store.insert_many([entry()])
    first, second = paused(Scope.TASK, "TSK_1"), paused(Scope.SENDER, SENDER)
    store.pause(first)
    claim(store)
    store.pause(second)
    store.resume([first.name])
    assert claim(store, 2) == NOTHING
    assert read(store).place == second.place
    store.resume([second.name])
    assert guids(claim(store, 3).entries) == ["g1"]


def test_what_waits_expires_in_its_time(store: Store, entry: Make) -> None:
    """Behind a pause that lasts, and is told of."""
    store.insert_many([entry("a", expires_at=at(10)), entry("b", not_after=at(20)), entry("c")])
    store.pause(paused())
    claim(store)
    assert claim(store, 9.999) == NOTHING
    claimed = claim(store, 10)
    assert [(one.guid, one.status, one.reason) for one in claimed.swept] == [
        ("a", Status.EXPIRED, "expired")
    ]
    assert read(store, "a").place is None
    assert guids(claim(store, 20).swept) == ["b"]


def test_what_a_pause_covers_and_time_has_overtaken_is_swept(store: Store, entry: Make) -> None:
    """It is not placed first."""
    store.insert_many([entry(expires_at=at(1))])
    store.pause(paused())
    assert guids(claim(store, 2).swept) == ["g1"]
    assert read(store).place is None


def test_entries_that_are_placed_do_not_count_to_the_limit(store: Store, entry: Make) -> None:
    """What is behind them is taken by the same claim."""
    store.insert_many([entry(f"x{n}", task="TSK_X", due_at=at(-9)) for n in range(30)])
    store.insert_many([entry("free")])
    store.pause(paused(Scope.TASK, "TSK_X"))
    assert guids(claim(store, limit=1).entries) == ["free"]


def test_a_crowd_behind_a_pause_does_not_stop_the_rest_for_long(store: Store, entry: Make) -> None:
    """One claim handles a bounded number of them; the next go on from there."""
    store.insert_many([entry(f"x{n}", task="TSK_X", due_at=at(-9)) for n in range(500)])
    store.insert_many([entry("free")])
    store.pause(paused(Scope.TASK, "TSK_X"))
    placed = []
    for second in range(1, 40):
        taken = guids(claim(store, second, limit=4).entries)
        placed.append(sum(one.place is not None for one in store.find(Query(limit=999))))
        if taken == ["free"]:
            break
    assert placed[-1] == 500
    assert 0 < placed[0] < 500


def test_a_crowd_that_waited_is_taken_bit_by_bit(store: Store, entry: Make) -> None:
    """No claim takes more than it asked for; nothing is left, and nothing is taken twice."""
    store.insert_many([entry(f"g{n}") for n in range(300)])
    store.pause(paused())
    while claim(store).entries or not all(one.place for one in store.find(Query(limit=999))):
        pass
    store.resume([paused().name])
    taken = [claim(store, 2, limit=70).entries for _ in range(6)]
    assert [len(found) for found in taken] == [70, 70, 70, 70, 20, 0]
    assert len({one.key for found in taken for one in found}) == 300


def test_an_entry_whose_time_is_to_come_is_not_placed(store: Store, entry: Make) -> None:
    """Neither by time nor by key: behind a pause its due time would be lost."""
    store.insert_many([entry(due_at=at(60))])
    store.pause(paused())
    assert claim(store) == claim(store, keys=[key("g1")]) == NOTHING
    assert read(store) == entry(due_at=at(60))


def test_named_entries_behind_a_pause_are_not_taken(store: Store, entry: Make) -> None:
    """Wherever they wait already; the others are."""
    store.insert_many([entry("placed"), entry("other", task="TSK_2")])
    store.pause(paused(Scope.TASK, "TSK_1"))
    claim(store, limit=1)
    store.insert_many([entry("new")])
    named = [key(guid) for guid in ("placed", "new", "other")]
    claimed = claim(store, 100, keys=named)
    assert guids(claimed.entries) == ["other"]
    assert (
        read(store, "new").place == read(store, "placed").place == paused(Scope.TASK, "TSK_1").place
    )


def test_named_entries_are_taken_from_behind_a_pause_that_is_gone(
    store: Store, entry: Make
) -> None:
    """Unless another covers them."""
    store.insert_many([entry("a"), entry("b", task="TSK_2")])
    store.pause(paused())
    claim(store)
    store.pause(paused(Scope.TASK, "TSK_2"))
    store.resume([paused().name])
    assert guids(claim(store, 2, keys=[key("a"), key("b")]).entries) == ["a"]
    assert read(store, "b").place == paused(Scope.TASK, "TSK_2").place


def test_an_entry_under_a_lease_is_not_placed(store: Store, entry: Make) -> None:
    """Its worker finds the pause when it starts."""
    store.insert_many([entry()])
    [taken] = claim(store).entries
    store.pause(paused())
    assert claim(store, 2) == claim(store, 2, keys=[key("g1")]) == NOTHING
    assert read(store) == taken


# Starting


def test_nothing_starts_once_a_pause_is_written(store: Store, entry: Make) -> None:
    """The worker that was about to gets the entry as it is then, behind the pause."""
    store.insert_many([entry()])
    [taken] = claim(store).entries
    store.pause(paused())
    [after] = store.record_many([start(taken, 2)])
    assert after == read(store)
    assert (after.status, after.place, after.reason) == (Status.ACCEPTED, paused().place, "paused")
    assert (after.lease, after.attempts, after.history[-1].at) == (None, 0, at(2))
    assert claim(store, 3) == NOTHING
    store.resume([paused().name])
    [again] = claim(store, 3).entries
    [sending] = store.record_many([start(again, 3)])
    assert sending is not None
    assert sending.status is Status.SENDING


def test_what_a_pause_does_not_cover_starts(store: Store, entry: Make) -> None:
    """Beside what it covers, in one batch."""
    store.insert_many([entry("a"), entry("b", task="TSK_2")])
    taken = claim(store).entries
    store.pause(paused(Scope.TASK, "TSK_1"))
    results = store.record_many([start(one, 2) for one in taken])
    assert [one and one.status for one in results] == [Status.ACCEPTED, Status.SENDING]


def test_a_start_that_would_change_nothing_places_nothing(store: Store, entry: Make) -> None:
    """Under a lease that is gone, or beyond the deadline."""
    store.insert_many([entry("a"), entry("b", expires_at=at(5))])
    taken = claim(store).entries
    store.pause(paused())
    stale = [(one.key, Fact(kind=Kind.STARTED, at=at(2), lease=lease(77))) for one in taken[:1]]
    assert store.record_many([*stale, start(taken[1], 5)]) == [None, None]
    assert [read(store, guid) for guid in ("a", "b")] == taken


def test_what_has_started_goes_on(store: Store, entry: Make) -> None:
    """A pause does not call back what is under way, nor its start that is written again."""
    store.insert_many([entry()])
    [taken] = claim(store).entries
    [sending] = store.record_many([start(taken, 2)])
    store.pause(paused())
    lost = Fact(kind=Kind.LOST, at=at(4), lease=taken.lease, reason="read_timeout")
    results = store.record_many([start(taken, 3), (taken.key, lost)])
    assert results[0] == sending
    assert read(store).status is Status.UNKNOWN


def test_a_retry_waits_behind_the_pause_when_it_is_due(store: Store, entry: Make) -> None:
    """Its attempt is over; the next does not begin."""
    store.insert_many([entry()])
    [taken] = claim(store).entries
    retried = Fact(kind=Kind.RETRIED, at=at(2), lease=taken.lease, due_at=at(5), reason="tls")
    store.record_many([start(taken, 2), (taken.key, retried)])
    store.pause(paused())
    assert claim(store, 4).entries == []
    assert read(store).place is None
    claim(store, 5)
    assert read(store).place == paused().place


# Probes


def test_one_entry_is_taken_as_the_probe_of_a_pause(store: Store, entry: Make) -> None:
    """When it is due; it is named, and the next is put off for as long as its outcome takes."""
    store.insert_many([entry(f"g{n}", due_at=at(n)) for n in range(5)])
    store.pause(probed(60))
    assert claim(store, 10) == NOTHING
    claimed = claim(store, 60)
    assert guids(claimed.entries) == ["g0"]
    named = msgspec.structs.replace(probed(60), probe=key("g0"), probe_at=at(60) + PROBE)
    assert claimed.probes == store.pauses() == [named]
    assert claim(store, 61) == NOTHING


def test_a_probe_is_found_among_what_comes_where_nothing_waits(store: Store, entry: Make) -> None:
    """The pause had nothing to try with until then."""
    store.pause(probed(60))
    assert claim(store, 100) == NOTHING
    store.insert_many([entry("a"), entry("b")])
    claimed = claim(store, 101)
    assert guids(claimed.entries) == ["a"]
    assert [pause.probe for pause in claimed.probes] == [key("a")]
    assert read(store, "b").place == probed(60).place


def test_a_probe_starts_and_nothing_else_does(store: Store, entry: Make) -> None:
    """Its start is let through the pause."""
    store.insert_many([entry("a"), entry("b")])
    taken = claim(store).entries
    store.pause(probed(2))
    store.insert_many([entry("c", due_at=at(-1))])
    [probe] = claim(store, 2).entries
    assert probe.guid == "c"
    results = store.record_many([start(one, 3) for one in (*taken, probe)])
    assert [one and one.status for one in results] == [
        Status.ACCEPTED,
        Status.ACCEPTED,
        Status.SENDING,
    ]


def test_another_probe_is_taken_when_the_first_has_said_nothing(store: Store, entry: Make) -> None:
    """Only that one is let through then; the first waits like the rest."""
    store.insert_many([entry("a"), entry("b", due_at=at(0.5))])
    store.pause(probed(1))
    [first] = claim(store, 1).entries
    later = 1 + PROBE.total_seconds()
    [second] = claim(store, later).entries
    assert [first.guid, second.guid] == ["a", "b"]
    assert read(store, "a").place == probed(1).place
    assert [pause.probe for pause in store.pauses()] == [key("b")]


def test_a_probe_that_was_not_sent_is_taken_again_as_the_same_probe(
    store: Store, entry: Make
) -> None:
    """Its worker stopped, and gave it back; the pause still lets it through."""
    store.insert_many([entry("a"), entry("b")])
    store.pause(probed(1))
    [probe] = claim(store, 1).entries
    back = Fact(kind=Kind.POSTPONED, at=at(2), lease=probe.lease, due_at=at(2), reason="stopped")
    store.record_many([(probe.key, back)])
    claimed = claim(store, 3)
    assert guids(claimed.entries) == ["a"]
    assert claimed.probes == store.pauses()


def test_a_pause_that_was_written_anew_takes_another_probe(store: Store, entry: Make) -> None:
    """The first failed: it is not let through again, and the next is due when the pause says."""
    store.insert_many([entry("a"), entry("b"), entry("c")])
    store.pause(probed(1))
    [probe] = claim(store, 1).entries
    failed = msgspec.structs.replace(probed(100), failures=1)
    assert store.pause(failed, replace=True)
    [after] = store.record_many([start(probe, 2)])
    assert after is not None
    assert after.place == failed.place
    assert claim(store, 99).entries == []
    claimed = claim(store, 100)
    assert len(claimed.entries) == 1
    assert claimed.probes[0].failures == 1


def test_what_another_pause_keeps_is_no_probe(store: Store, entry: Make) -> None:
    """It goes behind that one; a later entry may be the probe."""
    store.pause(probed(60))
    store.insert_many([entry(f"x{n}", task="TSK_X") for n in range(40)] + [entry("free")])
    while claim(store, 10, limit=99).entries or read(store, "free").place is None:
        pass
    store.pause(paused(Scope.TASK, "TSK_X"))
    taken = [one for second in range(60, 70) for one in claim(store, second).entries]
    assert guids(taken) == ["free"]
    assert {pause.probe for pause in store.pauses()} == {None, key("free")}


def test_an_entry_that_two_pauses_wait_for_is_the_probe_of_both(store: Store, entry: Make) -> None:
    """When both are due: neither alone could be tried with it."""
    store.insert_many([entry("a"), entry("b")])
    pauses = [probed(60), probed(90, Scope.COUNTRY, "US")]
    for pause in pauses:
        store.pause(pause)
    assert claim(store, 60) == claim(store, 89) == NOTHING
    claimed = claim(store, 90)
    assert len(claimed.entries) == 1
    assert {pause.name for pause in claimed.probes} == {pause.name for pause in pauses}
    [sending] = store.record_many([start(claimed.entries[0], 91)])
    assert sending is not None
    assert sending.status is Status.SENDING


def test_no_entry_is_taken_as_a_probe_of_credentials(store: Store, entry: Make) -> None:
    """Twilio is asked for the account instead."""
    pause = msgspec.structs.replace(probed(1, Scope.TENANT, None), tenant_id=DEMO, by_account=True)
    store.insert_many([entry()])
    store.pause(pause)
    assert claim(store, 60) == NOTHING
    assert store.pauses() == [pause]


def test_a_named_entry_may_be_the_probe(store: Store, entry: Make) -> None:
    """Where the pause is due; the next named one is not."""
    store.insert_many([entry("a"), entry("b")])
    store.pause(probed(60))
    assert claim(store, 59, keys=[key("a")]) == NOTHING
    claimed = claim(store, 60, keys=[key("b"), key("a")])
    assert guids(claimed.entries) == ["b"]
    assert [pause.probe for pause in claimed.probes] == [key("b")]


def test_eight_that_claim_at_once_take_one_probe(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """As processes do."""
    stores = [open_ledger() for _ in range(8)]
    stores[0].insert_many([entry(f"g{n}") for n in range(50)])
    stores[0].pause(probed(1))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: claim(stores[n], 60, worker=f"w{n}"), range(8)))
    assert sum(len(claimed.entries) for claimed in found) == 1
    assert sum(len(claimed.probes) for claimed in found) == 1


# Senders' queues


def test_a_paced_sender_sends_as_its_budget_allows(store: Store, entry: Make) -> None:
    """One a second, the oldest due time first; the others wait in its queue."""
    store.insert_many([entry(f"g{n}", due_at=at(-n)) for n in range(4)])
    seconds = [n * HALF_A_SECOND for n in range(9)]
    assert all_taken(store, seconds, rate_of=one_per_second) == [
        (0.0, "g3"),
        (1.0, "g2"),
        (2.0, "g1"),
        (3.0, "g0"),
    ]


def test_what_waits_for_its_sender_says_so(store: Store, entry: Make) -> None:
    """In its place, with a reason; a claim takes it out."""
    store.insert_many([entry("a"), entry("b")])
    claim(store, 0, rate_of=one_per_second)
    waits = read(store, "b")
    assert (waits.place, waits.reason) == (one_per_second(waits).place, "sender_rate")
    assert waits.history[-1].decision == "waits"
    [taken] = claim(store, 1, rate_of=one_per_second).entries
    assert (taken.guid, taken.place) == ("b", None)


def test_a_message_costs_as_many_segments_as_it_has(store: Store, entry: Make) -> None:
    """What it overdraws is waited for; media and other channels cost one."""
    texts = {"a": "x" * 400, "b": "x", "c": "Ж" * 71, "d": "x"}
    store.insert_many(
        [entry(guid, body=body, due_at=at(n - 9)) for n, (guid, body) in enumerate(texts.items())]
    )
    taken = all_taken(store, range(9), rate_of=one_per_second)
    assert taken == [(0, "a"), (3, "b"), (4, "c"), (6, "d")]


def test_media_and_other_channels_are_not_counted_in_segments(store: Store, entry: Make) -> None:
    """Each such message costs one."""
    picture = Message(
        to="+12015550101", sender=SENDER, body="x" * 400, media_urls=("https://example.com/a.jpg",)
    )
    store.insert_many(
        [
            entry("a", message=picture),
            entry("b", to="whatsapp:+12015550101", body="x" * 400),
            entry("c"),
        ]
    )
    taken = all_taken(store, range(4), rate_of=one_per_second)
    assert taken == [(0, "a"), (1, "b"), (2, "c")]


def test_single_entries_go_before_bulk(store: Store, entry: Make) -> None:
    """However old the bulk is: out of a queue, past it, and where nobody is paced."""
    store.insert_many([entry(f"b{n}", bulk=True, due_at=at(-100 + n)) for n in range(5)])
    assert guids(claim(store, 0, limit=1).entries) == ["b0"]
    store.insert_many([entry("s0")])
    assert guids(claim(store, 0, limit=1).entries) == ["s0"]
    assert all_taken(store, [0], rate_of=one_per_second) == [(0, "b1")]
    store.insert_many([entry("s1", due_at=at(1)), entry("s2", due_at=at(1.5))])
    taken = all_taken(store, range(1, 6), rate_of=one_per_second)
    assert taken == [(1, "s1"), (2, "s2"), (3, "b2"), (4, "b3"), (5, "b4")]


def test_all_processes_share_a_budget(open_ledger: Callable[[], Store], entry: Make) -> None:
    """What one spends another does not have."""
    stores = [open_ledger() for _ in range(3)]
    stores[0].insert_many([entry(f"g{n}") for n in range(9)])
    claims = [claim(store, 0, rate_of=one_per_second) for store in stores]
    assert [len(claimed.entries) for claimed in claims] == [1, 0, 0]


def test_senders_may_share_a_budget(store: Store, entry: Make) -> None:
    """Then they share a queue."""
    store.insert_many([entry("a"), entry("b", sender=OTHER_SENDER, due_at=at(-1))])
    seconds = (0, HALF_A_SECOND, 1)
    taken = all_taken(store, seconds, rate_of=lambda _: Rate("demo/shared", 1.0))
    assert taken == [(0, "b"), (1, "a")]


def test_every_queue_gets_its_turn(store: Store, entry: Make) -> None:
    """However fast another's sender is, and however few are asked for at a time."""
    store.insert_many([entry(f"fast{n}") for n in range(60)])
    store.insert_many([entry(f"slow{n}", sender=OTHER_SENDER) for n in range(6)])

    def rate_of(one: Entry) -> Rate:
        return Rate("demo/f", 3.0) if one.guid.startswith("fast") else Rate("demo/s", 1.0)

    first = guids(claim(store, 0, limit=99, rate_of=rate_of).entries)
    assert first == ["fast0", "fast1", "fast2", "slow0"]
    taken = [
        guid
        for n in range(1, 61)
        for _, guid in all_taken(store, [n / 20], limit=1, rate_of=rate_of)
    ]
    assert sum(guid.startswith("slow") for guid in taken) == 3
    assert sum(guid.startswith("fast") for guid in taken) >= 8


def test_unpaced_senders_do_not_wait_for_paced_ones(store: Store, entry: Make) -> None:
    """A crowd in one's queue is nobody else's concern."""
    store.insert_many([entry(f"g{n}", due_at=at(-9)) for n in range(200)])
    store.insert_many([entry(f"free{n}", sender=OTHER_SENDER) for n in range(2)])

    def rate_of(one: Entry) -> Rate | None:
        return None if one.guid.startswith("free") else one_per_second(one)

    taken = [guid for n in range(4) for _, guid in all_taken(store, [n / 100], rate_of=rate_of)]
    assert sorted(taken) == ["free0", "free1", "g0"]


def test_a_crowd_that_leaves_one_queue_does_not_stop_another(store: Store, entry: Make) -> None:
    """A pause covers all of the one: what waits in the other is taken meanwhile."""
    store.insert_many([entry(f"x{n}", task="TSK_X") for n in range(150)])
    store.insert_many([entry(f"b{n}", sender=OTHER_SENDER) for n in range(2)])
    while store.summary(at(0)).due:
        claim(store, 0, rate_of=one_per_second)
    store.pause(paused(Scope.TASK, "TSK_X"))
    assert guids(claim(store, 1, limit=1, rate_of=one_per_second).entries) == ["b1"]


def test_a_crowd_that_leaves_one_place_does_not_stop_another(store: Store, entry: Make) -> None:
    """Two pauses are lifted; what another covers of the one does not keep the other's back."""
    store.insert_many([entry(f"a{n}", task="TSK_A") for n in range(150)])
    store.insert_many([entry("b", task="TSK_B")])
    first, second = paused(Scope.TASK, "TSK_A"), paused(Scope.TASK, "TSK_B")
    for pause in (first, second):
        store.pause(pause)
    while store.summary(at(1)).due:
        claim(store, 1)
    store.pause(paused(Scope.TASK, "TSK_A", cause=Cause.LIMIT))
    assert store.resume([first.name, second.name]) == 2
    assert guids(claim(store, 2, limit=1).entries) == ["b"]


def test_what_waited_for_a_sender_that_is_no_longer_paced_is_taken_at_once(
    store: Store, entry: Make
) -> None:
    """Somebody changed the tenant's document."""
    store.insert_many([entry(f"g{n}") for n in range(5)])
    claim(store, 0, rate_of=one_per_second)
    assert len(claim(store, 0).entries) == 4


def test_what_waited_in_a_budget_that_was_renamed_waits_in_the_new_one(
    store: Store, entry: Make
) -> None:
    """Nothing is left behind."""
    store.insert_many([entry(f"g{n}") for n in range(4)])
    claim(store, 0, rate_of=one_per_second)
    renamed = Rate("demo/renamed", 1.0)
    taken = all_taken(store, range(5), rate_of=lambda _: renamed)
    assert [second for second, _ in taken] == [0, 1, 2]


def test_what_waits_in_a_queue_expires_in_its_time(store: Store, entry: Make) -> None:
    """Single or bulk, whether or not the budget would allow it; that costs nothing."""
    store.insert_many(
        [
            entry("a"),
            entry("single", expires_at=at(0.4)),
            entry("bulk", bulk=True, expires_at=at(0.4)),
            entry("last", due_at=at(0.1)),
            entry("deep", bulk=True, due_at=at(0.2), expires_at=at(0.45)),
        ]
    )
    claim(store, 0, rate_of=one_per_second)
    claim(store, 0.3, rate_of=one_per_second)
    claimed = claim(store, 0.5, rate_of=one_per_second)
    assert claimed.entries == []
    assert sorted(guids(claimed.swept)) == ["bulk", "deep", "single"]
    assert all_taken(store, [1.0], rate_of=one_per_second) == [(1.0, "last")]


def test_what_a_pause_covers_leaves_the_queue(store: Store, entry: Make) -> None:
    """And comes back into it when the pause is lifted."""
    store.insert_many([entry(f"g{n}") for n in range(3)])
    claim(store, 0, rate_of=one_per_second)
    store.pause(paused())
    assert claim(store, 1, rate_of=one_per_second) == NOTHING
    assert {read(store, guid).place for guid in ("g1", "g2")} == {paused().place}
    store.resume([paused().name])
    assert all_taken(store, range(2, 6), rate_of=one_per_second) == [(2, "g1"), (3, "g2")]


def test_a_probe_of_a_paced_sender_waits_for_its_budget(store: Store, entry: Make) -> None:
    """No error makes a sender send faster than it may."""
    store.insert_many([entry("a"), entry("b"), entry("other", task="TSK_2", due_at=at(-1))])
    store.pause(probed(10, Scope.TASK, "TSK_1"))
    claim(store, 0, rate_of=one_per_second)
    store.insert_many([entry("late", task="TSK_2", due_at=at(9.5))])
    assert guids(claim(store, 9.5, rate_of=one_per_second).entries) == ["late"]
    assert claim(store, 10, rate_of=one_per_second) == NOTHING
    claimed = claim(store, 10.5, rate_of=one_per_second)
    assert (len(claimed.entries), len(claimed.probes)) == (1, 1)


def test_named_entries_ask_for_no_budget(store: Store, entry: Make) -> None:
    """Nor do they spend any; wherever they waited."""
    store.insert_many([entry(f"g{n}") for n in range(4)])
    claim(store, 0, rate_of=one_per_second)
    named = [key("g2"), key("g3")]
    assert guids(claim(store, 0, keys=named, rate_of=one_per_second).entries) == ["g2", "g3"]
    assert all_taken(store, [1], rate_of=one_per_second) == [(1, "g1")]


def test_a_clock_that_was_set_back_stops_no_queue(store: Store, entry: Make) -> None:
    """Nobody waits for the hours that were lived twice."""
    store.insert_many([entry(f"g{n}", due_at=at(-9999)) for n in range(9)])
    claim(store, 3600, rate_of=one_per_second)
    taken = all_taken(store, range(50), rate_of=one_per_second)
    assert len(taken) == 8


def test_an_entry_is_not_taken_before_its_time_after_the_clock_was_set_back(
    store: Store, entry: Make
) -> None:
    """From no place; then it is."""
    store.insert_many([entry("a", not_before=at(100)), entry("b", not_before=at(100))])
    claim(store, 100, rate_of=one_per_second)
    store.pause(paused())
    claim(store, 101, rate_of=one_per_second)
    store.resume([paused().name])
    assert claim(store, 50, rate_of=one_per_second) == claim(store, 50) == NOTHING
    assert len(claim(store, 200).entries) == 2


# The whole order


def test_a_claim_goes_by_the_order_of_the_contract(store: Store, entry: Make) -> None:
    """What was released, what is queued, what is single, what is bulk."""
    store.insert_many([entry("released", task="TSK_2", due_at=at(0))])
    store.pause(paused(Scope.TASK, "TSK_2"))
    claim(store, 0)
    store.insert_many([entry("spends"), entry("queued", due_at=at(0.1))])

    def rate_of(one: Entry) -> Rate | None:
        return one_per_second(one) if one.guid in ("spends", "queued") else None

    assert guids(claim(store, 0.5, rate_of=rate_of).entries) == ["spends"]
    store.resume([paused(Scope.TASK, "TSK_2").name])
    store.insert_many(
        [
            entry("bulk", bulk=True, due_at=at(-99)),
            entry("second", due_at=at(-8)),
            entry("first", due_at=at(-9)),
        ]
    )
    expected = ["released", "queued", "first", "second", "bulk"]
    assert [
        guid for _ in range(6) for guid in guids(claim(store, 5, limit=1, rate_of=rate_of).entries)
    ] == expected


def test_it_is_told_whether_anything_waits_in_a_queue(store: Store, entry: Make) -> None:
    """What waits behind a pause does not count: nobody has a turn there."""
    slow = Rate("paced:demo:slow", 1.0)
    assert not store.is_queued()
    store.insert_many([entry(), entry("g2")])
    claim(store, limit=1, rate_of=lambda _: slow)
    claim(store, limit=9, rate_of=lambda _: slow)
    assert store.is_queued()
