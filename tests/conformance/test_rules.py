"""Limits, SIDs, receipts, looks and what a person steers by. What every ledger does about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import MOST_FETCHES, next_fetch, next_look
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Inserted, Mark, Note, Query, Store, Waiting

Make = Callable[..., Entry]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
DAY = 86_400
NOT_COUNTED = [Status.REFUSED, Status.SUPPRESSED, Status.EXPIRED, Status.CANCELED]


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def key(guid: str) -> Key:
    """Give the key of an entry."""
    return key_of(DEMO, guid)


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


def note(subject: str = "all", second: float = 0.0, **members: Any) -> Note:
    """Give a line of the audit."""
    return Note(at=at(second), by="ada", action="pause", subject=subject, **members)


# recipient_limits


def accept(store: Store, *entries: Entry, limit: int = 2) -> list[Inserted]:
    """Write entries, with a limit for the first tenant."""
    return store.insert_many(entries, recipient_limits={DEMO: limit})


def statuses(inserted: list[Inserted]) -> list[Status]:
    """Give the statuses that entries were written in."""
    return [one.entry.status for one in inserted]


def test_a_recipient_gets_no_more_than_its_limit(store: Store, entry: Make) -> None:
    """What is beyond it is suppressed; the fact is dated with the entry."""
    accept(store, entry("a"), entry("b"))
    late = entry("c", created_at=at(60))
    fact = Fact(kind=Kind.SUPPRESSED, at=at(60), reason="recipient_limit")
    assert accept(store, late) == [Inserted(advance(late, fact) or late, True)]
    found = read(store, "c")
    assert (found.status, found.reason) == (Status.SUPPRESSED, "recipient_limit")
    assert (found.history[-1].at, found.history[-1].step) == (at(60), "accept")
    assert statuses(accept(store, entry("d", to="+12015550199"))) == [Status.ACCEPTED]


def test_what_stands_before_it_in_the_batch_counts(store: Store, entry: Make) -> None:
    """In the order of the batch."""
    batch = [entry(f"g{n}") for n in range(4)]
    assert statuses(accept(store, *batch)) == ["accepted", "accepted", "suppressed", "suppressed"]


def test_a_limit_is_for_the_last_24_hours(store: Store, entry: Make) -> None:
    """Counted back from the entry's own time; what was suppressed does not count."""
    accept(store, entry("a"), entry("b", created_at=at(100)), entry("c", created_at=at(200)))
    early = entry("d", created_at=at(DAY - 0.001))
    assert statuses(accept(store, early)) == [Status.SUPPRESSED]
    assert statuses(accept(store, entry("e", created_at=at(DAY)))) == [Status.ACCEPTED]
    assert statuses(accept(store, entry("f", created_at=at(DAY + 99)))) == [Status.SUPPRESSED]
    assert statuses(accept(store, entry("g", created_at=at(DAY + 100)))) == [Status.ACCEPTED]


@pytest.mark.parametrize("status", Status)
def test_what_nobody_has_had_does_not_count(store: Store, entry: Make, status: Status) -> None:
    """Refused, suppressed, expired and canceled ones; all others may have been sent."""
    accept(store, entry("a", status=status), limit=1)
    expected = Status.ACCEPTED if status in NOT_COUNTED else Status.SUPPRESSED
    assert statuses(accept(store, entry("b"), limit=1)) == [expected]


def test_what_was_refused_later_does_not_count_any_more(store: Store, entry: Make) -> None:
    """Nor what expired while it waited."""
    store.insert_many([entry("a", expires_at=at(5)), entry("b", due_at=at(9))])
    assert statuses(accept(store, entry("c"))) == [Status.SUPPRESSED]
    store.claim(now=at(6), lease=Lease(token="w", until=at(60)), limit=9)
    assert statuses(accept(store, entry("d"), entry("e"))) == [Status.ACCEPTED, Status.SUPPRESSED]


def test_tenants_without_a_limit_have_none(store: Store, entry: Make) -> None:
    """And one's messages do not count for another."""
    others = [entry(f"o{n}", tenant="other") for n in range(9)]
    assert set(statuses(accept(store, *others))) == {Status.ACCEPTED}
    assert statuses(accept(store, entry("a"), entry("b"))) == [Status.ACCEPTED] * 2
    assert statuses(store.insert_many([entry("c")])) == [Status.ACCEPTED]
    assert statuses(accept(store, entry("d"), limit=3)) == [Status.SUPPRESSED]


def test_channels_of_a_recipient_are_apart(store: Store, entry: Make) -> None:
    """The address counts, with its prefix."""
    accept(store, entry("a"), entry("b"))
    assert statuses(accept(store, entry("c", to="whatsapp:+12015550101"))) == [Status.ACCEPTED]


def test_a_repeat_asks_for_no_limit(store: Store, entry: Make) -> None:
    """It is no message more; a purged one stays purged."""
    accept(store, entry("a"), entry("b"), entry("gone", status=Status.SENT, purge_at=at(1)))
    store.purge(now=at(2), limit=9)
    again = accept(store, entry("a"), entry("gone"))
    assert [(one.entry.status, one.created) for one in again] == [
        (Status.ACCEPTED, False),
        (Status.EXPIRED, False),
    ]


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.ACCEPTED}))
def test_only_what_would_be_sent_is_suppressed(store: Store, entry: Make, status: Status) -> None:
    """Everything else has its own reason."""
    accept(store, entry("a"), entry("b"))
    assert statuses(accept(store, entry("c", status=status))) == [status]


def test_what_is_older_than_a_restore_is_held_and_not_suppressed(store: Store, entry: Make) -> None:
    """A person decides on it."""
    accept(store, entry("a"), entry("b"))
    store.mark_restored(at(10))
    late = entry("c", created_at=at(20), generated_at=at(5))
    assert statuses(accept(store, late)) == [Status.HELD]


def test_eight_that_accept_at_once_keep_a_limit_together(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """As processes do."""
    stores = [open_ledger() for _ in range(8)]

    def write(number: int) -> list[Inserted]:
        batch = [entry(f"{number}-{part}") for part in range(10)]
        return accept(stores[number], *batch, limit=20)

    with ThreadPoolExecutor(8) as pool:
        results = [one for found in pool.map(write, range(8)) for one in found]
    assert statuses(results).count(Status.ACCEPTED) == 20


# hourly_limits


LEASE = Lease(token="worker", until=at(30 * DAY))


def begin(store: Store, second: float, *of: str, limit: int | None = 2) -> list[Entry | None]:
    """Start entries that are under the lease, with a limit for the first tenant."""
    limits = {} if limit is None else {DEMO: limit}
    facts = [(key(guid), Fact(kind=Kind.STARTED, at=at(second), lease=LEASE)) for guid in of]
    return store.record_many(facts, hourly_limits=limits)


def claimed(store: Store, entry: Make, *of: str, **changes: Any) -> None:
    """Write entries that are under the lease and live long."""
    store.insert_many([entry(guid, lease=LEASE, expires_at=at(20 * DAY), **changes) for guid in of])


def test_messages_beyond_a_tenants_hour_pause_it(store: Store, entry: Make) -> None:
    """The pause is written with the fact that would have been one too many, which waits behind it."""
    claimed(store, entry, "a", "b", "c", "d")
    results = begin(store, 5, "a", "b", "c", "d")
    assert [one and one.status for one in results] == [
        Status.SENDING,
        Status.SENDING,
        Status.ACCEPTED,
        Status.ACCEPTED,
    ]
    [pause] = store.pauses()
    assert pause == Pause(
        scope=Scope.TENANT,
        tenant_id=DEMO,
        cause=Cause.LIMIT,
        reason="hourly_limit",
        since=at(5),
    )
    assert [read(store, guid).place for guid in "abcd"] == [None, None, pause.place, pause.place]
    assert read(store, "c").reason == "hourly_limit"


def test_an_hour_is_counted_by_the_minute(store: Store, entry: Make) -> None:
    """What was started in the minute an hour ago still counts, what was before does not."""
    claimed(store, entry, *"abcdef")
    begin(store, 0, "a")
    begin(store, 60, "b")
    begin(store, 60 * 61, "c")
    assert store.pauses() == []
    begin(store, 60 * 61 + 59.999, "d")
    assert [pause.cause for pause in store.pauses()] == [Cause.LIMIT]
    store.resume([pause.name for pause in store.pauses()])
    begin(store, 60 * 62, "e")
    assert store.pauses() == []


def test_a_limit_is_kept_over_calls_and_processes(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """Each sees what the others started; it is asked of whoever starts."""
    stores = [open_ledger() for _ in range(3)]
    claimed(stores[0], entry, "a", "b", "c")
    results = [begin(store, 5, guid) for store, guid in zip(stores, "abc", strict=True)]
    assert [one and one.status for [one] in results] == ["sending", "sending", "accepted"]


def test_tenants_without_a_limit_are_not_counted(store: Store, entry: Make) -> None:
    """A limit that is set later counts from then on; another tenant's is its own."""
    claimed(store, entry, *"abcdef")
    claimed(store, entry, *"xyz", tenant="other")
    begin(store, 5, "a", "b", "c", limit=None)
    facts = [
        (key_of(OTHER, guid), Fact(kind=Kind.STARTED, at=at(5), lease=LEASE)) for guid in "xyz"
    ]
    store.record_many(facts, hourly_limits={DEMO: 2})
    assert store.pauses() == []
    begin(store, 6, "d", "e", "f")
    assert len(store.pauses()) == 1


def test_an_attempt_at_a_message_that_was_counted_is_not_counted_again(
    store: Store, entry: Make
) -> None:
    """A limit is for messages; while Twilio turns them away none has been made."""
    claimed(store, entry, "a")
    for second in range(9):
        begin(store, second, "a")
        back = Fact(kind=Kind.RETRIED, at=at(second), lease=LEASE, due_at=at(second))
        again = Fact(kind=Kind.CLAIMED, at=at(second), lease=LEASE)
        store.record_many([(key("a"), back), (key("a"), again)])
    assert store.pauses() == []
    assert read(store, "a").attempts == 9


def test_a_start_that_changes_nothing_is_not_counted(store: Store, entry: Make) -> None:
    """Nor is one that a pause stopped."""
    claimed(store, entry, *"abc")
    stale = Fact(kind=Kind.STARTED, at=at(1), lease=Lease(token="x", until=at(99)))
    store.record_many([(key("a"), stale)] * 9, hourly_limits={DEMO: 2})
    store.pause(paused(Scope.TASK, "TSK_1"))
    begin(store, 1, "a")
    store.resume([paused(Scope.TASK, "TSK_1").name])
    begin(store, 2, "b", "c")
    assert store.pauses() == []


# Whose a SID is

SID, OTHER_SID = "SM" + "0" * 32, "SM" + "1" * 32


def made(
    guid: str, sid: str = SID, *, guessed: bool = False, second: float = 3.0
) -> tuple[Key, Fact]:
    """Make the fact that Twilio made a message, or that one was found that looks like it."""
    receipt = Receipt(sid=sid, status="sent")
    return key(guid), Fact(
        kind=Kind.MADE, at=at(second), lease=LEASE, receipt=receipt, guessed=guessed
    )


def unknown(store: Store, entry: Make, *of: str) -> None:
    """Write entries whose answer was lost."""
    store.insert_many([entry(guid, status=Status.UNKNOWN, lost_at=NOW, lease=LEASE) for guid in of])


def test_a_guess_at_anothers_sid_changes_nothing(store: Store, entry: Make) -> None:
    """Whether that one guessed it or was told; within a batch and after it."""
    unknown(store, entry, "a", "b", "c")
    results = store.record_many([made("a", guessed=True), made("b", guessed=True)])
    assert [one and one.sid for one in results] == [SID, None]
    assert store.record_many([made("b", guessed=True)]) == [None]
    store.record_many([made("c", OTHER_SID)])
    assert store.record_many([made("b", OTHER_SID, guessed=True)]) == [None]
    assert (read(store, "b").status, read(store, "b").sid) == (Status.UNKNOWN, None)


def test_twilios_word_takes_a_sid_from_whoever_guessed_it(store: Store, entry: Make) -> None:
    """That one is unknown again, in the same commit, and may be found by another SID."""
    unknown(store, entry, "a", "b")
    store.record_many([made("a", guessed=True)])
    [owner] = store.record_many([made("b", second=9)])
    assert owner == read(store, "b")
    assert (owner.sid, owner.guessed) == (SID, False)
    loser = read(store, "a")
    assert (loser.status, loser.sid, loser.reason) == (Status.UNKNOWN, None, "sid_of_another")
    assert loser.history[-1].at == at(9)
    assert guids(store.find(Query(sid=SID))) == ["b"]
    [found] = store.record_many([made("a", OTHER_SID, guessed=True)])
    assert found is not None
    assert found.sid == OTHER_SID


def test_a_sid_that_twilio_named_stays_where_it_is(store: Store, entry: Make) -> None:
    """The later one changes nothing."""
    unknown(store, entry, "a", "b")
    results = store.record_many([made("a"), made("b")])
    assert [one and one.sid for one in results] == [SID, None]
    assert read(store, "b").status is Status.UNKNOWN


def test_twilios_word_corrects_a_guess(store: Store, entry: Make) -> None:
    """The SID it had is free for another."""
    unknown(store, entry, "a", "b")
    results = store.record_many(
        [made("a", guessed=True), made("a", OTHER_SID), made("b", guessed=True)]
    )
    assert [one and one.sid for one in results] == [SID, OTHER_SID, SID]


def test_a_fact_that_changes_nothing_takes_no_sid(store: Store, entry: Make) -> None:
    """An entry that has its own leaves another its guess."""
    unknown(store, entry, "a", "b")
    store.record_many([made("a", guessed=True), made("b", OTHER_SID)])
    assert store.record_many([made("b", SID)]) == [None]
    assert (read(store, "a").sid, read(store, "a").status) == (SID, Status.SENT)


def test_a_sid_belongs_to_one_entry_of_all_tenants(store: Store, entry: Make) -> None:
    """Two of them may send by one account."""
    unknown(store, entry, "a")
    store.insert_many([entry("b", tenant="other", status=Status.UNKNOWN)])
    store.record_many([made("a")])
    _, fact = made("b", guessed=True)
    assert store.record_many([(key_of(OTHER, "b"), fact)]) == [None]


# marked


def test_a_receipt_finds_its_entry_by_correlation_id_or_sid(store: Store, entry: Make) -> None:
    """The id goes first; marks are answered in their order, and one may come twice."""
    store.insert_many(
        [
            entry("a", status=Status.SENT, correlation="one", sid="SM1"),
            entry("b", status=Status.SENT, sid="SM2"),
            entry("c", status=Status.SENDING, correlation="three"),
        ]
    )
    marks = [
        Mark(DEMO, "three", "SM3"),
        Mark(DEMO, "one", "SM2"),
        Mark(DEMO, "nobody's", "SM2"),
        Mark(DEMO, None, "SM1"),
        Mark(DEMO, "nobody's", "SM9"),
        Mark(DEMO, None, None),
        Mark(DEMO, "three", None),
    ]
    found = store.marked(marks)
    assert [one and one.guid for one in found] == ["c", "a", "b", "a", None, None, "c"]
    assert found[0] == read(store, "c")
    assert store.marked([]) == []


def test_a_receipt_finds_only_its_tenants_entries(store: Store, entry: Make) -> None:
    """By neither; two tenants may share an account."""
    store.insert_many([entry("a", status=Status.SENT, correlation="one", sid="SM1")])
    assert store.marked([Mark(OTHER, "one", "SM1"), Mark(OTHER, None, "SM1")]) == [None, None]


def test_a_receipt_finds_its_entry_from_the_start_on(store: Store, entry: Make) -> None:
    """It may come before the answer; afterwards the SID is known, too."""
    claimed(store, entry, "a")
    assert store.marked([Mark(DEMO, "token", SID)]) == [None]
    started = Fact(kind=Kind.STARTED, at=at(1), lease=LEASE, correlation="token")
    store.record_many([(key("a"), started)])
    assert guids(filter(None, store.marked([Mark(DEMO, "token", SID)]))) == ["a"]
    store.record_many([made("a")])
    assert guids(filter(None, store.marked([Mark(DEMO, None, SID)]))) == ["a"]


def test_a_purged_entry_is_not_found_by_a_receipt(store: Store, entry: Make) -> None:
    """It is nowhere."""
    gone = entry("a", status=Status.SENT, correlation="one", sid="SM1", purge_at=at(1))
    store.insert_many([gone])
    assert store.purge(now=at(2), limit=9) == 1
    assert store.marked([Mark(DEMO, "one", "SM1")]) == [None]


# look


def sent(entry: Make, guid: str, due: float, **changes: Any) -> Entry:
    """Give an entry that was sent, and is to be asked for at that second."""
    return entry(
        guid, status=Status.SENT, sid=f"SM-{guid}", started_at=NOW, due_at=at(due), **changes
    )


def test_what_is_unknown_and_what_has_no_final_status_is_looked_for(
    store: Store, entry: Make
) -> None:
    """When it is due, oldest first; each is put off and given as it is then."""
    lost = [entry(f"l{n}", status=Status.UNKNOWN, due_at=at(n)) for n in (1, 3)]
    open_ended = [sent(entry, f"s{n}", n, provider_status="queued") for n in (2, 4)]
    store.insert_many([*lost, *open_ended, sent(entry, "done", 1, provider_status="delivered")])
    looked = store.look(now=at(3), limit=9)
    assert guids(looked) == ["l1", "s2", "l3"]
    for before, after in ((lost[0], looked[0]), (open_ended[0], looked[1])):
        fact = Fact(kind=Kind.LOOKED, at=at(3), due_at=next_look(before, at(3)))
        assert after == advance(before, fact) == read(store, before.guid)
    assert store.look(now=at(3), limit=9) == []
    assert guids(store.look(now=at(4), limit=9)) == ["s4"]


def test_a_look_takes_no_more_than_its_limit(store: Store, entry: Make) -> None:
    """Of both kinds together; the next look takes the next."""
    store.insert_many([entry(f"l{n}", status=Status.UNKNOWN, due_at=at(2 * n)) for n in range(3)])
    store.insert_many([sent(entry, f"s{n}", 2 * n + 1) for n in range(3)])
    looks = [guids(store.look(now=at(9), limit=4)) for _ in range(3)]
    assert looks == [["l0", "s0", "l1", "s1"], ["l2", "s2"], []]


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.UNKNOWN, Status.SENT}))
def test_nothing_else_is_looked_for(store: Store, entry: Make, status: Status) -> None:
    """However old it is."""
    store.insert_many([entry(status=status, sid="SM1", started_at=NOW)])
    assert store.look(now=at(10**6), limit=9) == []


def test_a_message_without_an_end_is_asked_for_a_few_times(store: Store, entry: Make) -> None:
    """Then it is left to its deletion; a question without an answer is asked again soon."""
    store.insert_many([sent(entry, "s", 0)])
    looks = [len(store.look(now=at(minutes * 60), limit=9)) for minutes in (0, 14, 15, 30)]
    assert looks == [1, 0, 1, 1]
    looked = []
    for second in range(DAY, 80 * DAY, DAY // 2):
        for one in store.look(now=at(second), limit=9):
            then = next_fetch(one, at(second))
            looked.append((then - at(second)) / timedelta(hours=12))
            store.record_many([(one.key, Fact(kind=Kind.ANSWERED, at=at(second), due_at=then))])
    assert looked == [1, 2, 4, 8]
    assert len(looked) == MOST_FETCHES


def test_eight_that_look_at_once_share_no_entry(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """No two ask at the same time."""
    stores = [open_ledger() for _ in range(8)]
    stores[0].insert_many([entry(f"g{n}", status=Status.UNKNOWN) for n in range(100)])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda store: store.look(now=at(1), limit=20), stores))
    assert sorted(one.key for looked in found for one in looked) == sorted(
        key(f"g{n}") for n in range(100)
    )


# find and purge


def test_a_query_narrows_by_task_and_sender(store: Store, entry: Make) -> None:
    """With everything else that is asked for."""
    store.insert_many(
        [
            entry("a", created_at=at(0)),
            entry("b", created_at=at(1), task="TSK_2"),
            entry("c", created_at=at(2), sender="Acme", status=Status.SENT),
            entry("d", created_at=at(3), task="TSK_2", sender="Acme"),
            entry("e", created_at=at(4), message=None, status=Status.REFUSED),
        ]
    )
    unfinished = frozenset({Status.ACCEPTED, Status.HELD})
    queries = {
        Query(task="TSK_2"): ["d", "b"],
        Query(sender="Acme"): ["d", "c"],
        Query(task="TSK_1", sender="Acme"): ["c"],
        Query(task="TSK_3"): [],
        Query(sender="Acme", statuses=unfinished): ["d"],
        Query(task="TSK_2", statuses=unfinished, limit=1): ["d"],
        Query(statuses=unfinished, before=at(3), tenant_id=DEMO): ["b", "a"],
        Query(statuses=unfinished, tenant_id=OTHER): [],
    }
    assert {query: guids(store.find(query)) for query in queries} == queries


def test_what_is_found_by_status_is_found_wherever_it_waits(store: Store, entry: Make) -> None:
    """Due or not, in a place or under a lease, single or bulk; newest first."""
    waits = [
        entry("a", created_at=at(0), place=paused().place),
        entry("b", created_at=at(1), place=Rate("x", 1.0).place),
        entry("c", created_at=at(2), bulk=True),
        entry("d", created_at=at(3), lease=LEASE),
        entry("e", created_at=at(4), due_at=at(999)),
    ]
    store.insert_many(waits)
    assert guids(store.find(Query(statuses=frozenset({Status.ACCEPTED})))) == list("edcba")
    assert guids(store.find(Query(statuses=frozenset({Status.ACCEPTED}), limit=2))) == ["e", "d"]


def test_what_could_still_be_asked_for_is_purged_in_its_time(store: Store, entry: Make) -> None:
    """Whether or not anybody asks; of tenants with different retentions, too."""
    store.insert_many(
        [
            sent(entry, "short", 50, purge_at=at(60)),
            *[sent(entry, f"long{n}", 10, purge_at=at(10**6)) for n in range(5)],
        ]
    )
    assert store.purge(now=at(59), limit=2) == 0
    assert store.purge(now=at(60), limit=2) == 1
    assert store.get_many([key("short")]) == [None]
    [again] = store.insert_many([entry("short")])
    assert again.entry.reason == "purged"


# pauses


def test_pauses_are_listed_oldest_first(store: Store) -> None:
    """In whatever order they were written."""
    pauses = [paused(Scope.TASK, f"TSK_{n}", since=at(n), by="ada") for n in (2, 0, 1)]
    assert store.pauses() == []
    assert [store.pause(pause) for pause in pauses] == [True] * 3
    assert [pause.value for pause in store.pauses()] == ["TSK_0", "TSK_1", "TSK_2"]
    assert list(store.summary(NOW).pauses) == store.pauses()


def test_a_pause_of_the_same_name_is_kept_as_it_is(store: Store) -> None:
    """Whoever came first; that it was there already is told, and nothing noted."""
    store.pause(paused(by="ada"), note=note("first"))
    assert not store.pause(paused(by="bob", since=at(5)), note=note("second"))
    assert store.pauses() == [paused(by="ada")]
    assert [one.subject for one in store.notes(9)] == ["first"]


def test_pauses_of_different_causes_are_kept_apart(store: Store) -> None:
    """Lifting one leaves the other."""
    causes = [paused(Scope.TENANT, cause=cause, tenant_id=DEMO) for cause in Cause]
    for pause in causes:
        assert store.pause(pause)
    assert store.resume([causes[0].name]) == 1
    assert len(store.pauses()) == len(causes) - 1


def test_a_pause_is_replaced_where_that_is_asked_for(store: Store) -> None:
    """One that somebody has lifted meanwhile is not written anew."""
    first = paused(cause=Cause.CONFIG, probe_at=at(60), probe=key("a"))
    later = paused(cause=Cause.CONFIG, probe_at=at(600), failures=1)
    assert not store.pause(later, replace=True, note=note())
    assert store.pauses() == []
    store.pause(first)
    assert store.pause(later, replace=True, note=note("again"))
    assert store.pauses() == [later]
    assert [one.subject for one in store.notes(9)] == ["again"]


def test_a_resume_tells_how_many_it_lifted(store: Store) -> None:
    """Once each; it may come twice, and is noted where there was something to lift."""
    pauses = [paused(Scope.TASK, f"TSK_{n}") for n in range(3)]
    for pause in pauses:
        store.pause(pause)
    names = [pauses[0].name, pauses[2].name, pauses[0].name, "person:all:*:*"]
    assert store.resume(iter(names), note=note("resumed")) == 2
    assert store.resume(names, note=note("again")) == 0
    assert store.resume([]) == 0
    assert store.pauses() == [pauses[1]]
    assert [one.subject for one in store.notes(9)] == ["resumed"]


def test_one_process_takes_a_probe(open_ledger: Callable[[], Store]) -> None:
    """When it is due; the others find it put off."""
    here, there = open_ledger(), open_ledger()
    pause = paused(Scope.TENANT, tenant_id=DEMO, cause=Cause.CONFIG, probe_at=at(60))
    here.pause(pause)
    assert here.take_probe(pause.name, now=at(59.999), until=at(90)) is None
    taken = there.take_probe(pause.name, now=at(60), until=at(90))
    assert taken == msgspec.structs.replace(pause, probe_at=at(90))
    assert here.pauses() == [taken]
    assert here.take_probe(pause.name, now=at(60), until=at(90)) is None
    assert here.take_probe(pause.name, now=at(90), until=at(120)) is not None


def test_nothing_is_probed_that_is_gone_or_never_is(store: Store) -> None:
    """A person's pause has no time to be tried at."""
    store.pause(paused())
    assert store.take_probe(paused().name, now=at(10**6), until=at(10**7)) is None
    assert store.take_probe("config:all:*:*", now=NOW, until=at(1)) is None


def test_of_eight_that_probe_at_once_one_does(open_ledger: Callable[[], Store]) -> None:
    """As processes do."""
    stores = [open_ledger() for _ in range(8)]
    pause = paused(cause=Cause.CONFIG, probe_at=NOW)
    stores[0].pause(pause)
    with ThreadPoolExecutor(8) as pool:
        taken = list(
            pool.map(lambda one: one.take_probe(pause.name, now=at(1), until=at(9)), stores)
        )
    assert sum(one is not None for one in taken) == 1


def test_pauses_and_notes_are_there_when_the_ledger_is_opened_again(
    open_ledger: Callable[[], Store],
) -> None:
    """As they were."""
    store = open_ledger()
    whole = paused(
        Scope.SENDER,
        "Acme",
        tenant_id=DEMO,
        cause=Cause.CONFIG,
        reason="twilio_21606",
        probe_at=at(1.000001),
        probe=key("ü"),
        failures=3,
        by_receipt=True,
        by="ada",
    )
    store.pause(whole, note=note("Acme", entries=3, detail="Ünïcode"))
    store.close()
    again = open_ledger()
    assert again.pauses() == [whole]
    assert again.notes(1) == [note("Acme", entries=3, detail="Ünïcode")]


# waiting, and what the summary says of it


def test_what_waits_is_counted_by_place(store: Store, entry: Make) -> None:
    """With how many have passed their deadline; what is taken or swept is no longer counted."""
    queue, behind = Rate("demo/Acme", 1.0).place, paused().place
    gone = paused(Scope.TASK, "TSK_9").place
    store.insert_many(
        [
            *[entry(f"a{n}", place=behind, expires_at=at(n)) for n in range(3)],
            *[entry(f"b{n}", place=queue, expires_at=at(2 * n), bulk=n > 0) for n in range(4)],
            entry("c", place=gone),
            entry("free"),
            entry("leased", place=behind, lease=LEASE),
        ]
    )
    store.pause(paused())
    assert store.waiting(at(1)) == sorted(
        [Waiting(behind, 3, 2), Waiting(queue, 4, 1), Waiting(gone, 1, 0)]
    )
    summary = store.summary(at(1))
    assert (summary.waiting, summary.due) == (8, 1)
    assert summary.unfinished == {Status.ACCEPTED: 10}
    store.claim(now=at(1), lease=LEASE, limit=99, rate_of=lambda _: Rate("demo/Acme", 1.0))
    assert store.waiting(at(1)) == [Waiting(behind, 6, 0)]


def test_where_nothing_waits_nothing_is_counted(store: Store, entry: Make) -> None:
    """Due ones do not wait, in this sense, nor do bulk ones."""
    store.insert_many([entry("a"), entry("b", bulk=True)])
    assert store.waiting(at(1)) == []
    summary = store.summary(at(1))
    assert (summary.waiting, summary.due, summary.oldest_due_at) == (0, 2, NOW)


# notes


def test_notes_are_listed_newest_first(store: Store) -> None:
    """No more than asked for."""
    for number in range(5):
        store.write_note(note(f"n{number}", number))
    assert [one.subject for one in store.notes(3)] == ["n4", "n3", "n2"]
    assert store.notes(99)[-1] == note("n0")


def test_notes_are_kept_for_over_a_year(store: Store) -> None:
    """Then they go with what else is purged."""
    for days in (0, 10, 401):
        store.write_note(note(f"day {days}", days * DAY))
    store.purge(now=at(400 * DAY), limit=1)
    assert len(store.notes(9)) == 3
    store.purge(now=at(402 * DAY), limit=1)
    assert [one.subject for one in store.notes(9)] == ["day 401", "day 10"]
