"""What is done again and again, and receipts that belong to nothing. What every ledger does about it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Chore, Store, Stray

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
OURS = "hear:demo/+15005550006"
DAY = 86_400


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def add(store: Store, *names: str, second: float = 0.0) -> None:
    """Write chores that are due at that second."""
    store.add_chores(names, due_at=at(second))


def take(
    store: Store, second: float, kind: str = "hear", until: float | None = None
) -> Chore | None:
    """Take a chore at that second, for a minute unless told."""
    ends = second + 60 if until is None else until
    return store.take_chore(kind, now=at(second), until=at(ends))


def taken(store: Store, second: float, kind: str = "hear") -> list[str]:
    """Take all chores of a kind that are due, one by one; give their names."""
    found = iter(lambda: take(store, second, kind), None)
    return [chore.name for chore in found]


# chores


def test_a_new_chore_is_taken_when_it_is_due(store: Store) -> None:
    """To the millisecond; nobody has come far with it yet."""
    add(store, OURS, second=5)
    assert take(store, 4.999) is None
    assert take(store, 5) == Chore(OURS, None)


def test_a_chore_that_was_taken_is_put_off(store: Store) -> None:
    """Whoever took it may have ended; then it is taken again."""
    add(store, OURS)
    assert take(store, 1, until=30) == Chore(OURS, None)
    assert take(store, 29.999) is None
    assert take(store, 30) == Chore(OURS, None)


def test_a_chore_that_was_done_is_due_when_its_end_says(store: Store) -> None:
    """Sooner or later than it was put off for; how far it has come is told to the next."""
    add(store, OURS)
    for second, due, mark in ((1.0, 9.0, "SM1"), (9.0, 500.0, "Zoë\n\0"), (500.0, 501.0, None)):
        assert take(store, second) is not None
        store.end_chore(OURS, due_at=at(due), mark=mark)
        assert take(store, due - 0.001) is None
        assert take(store, due, until=due) == Chore(OURS, mark)


def test_a_chore_that_is_known_stays_as_it_is(store: Store) -> None:
    """Neither its time nor its mark changes, were it added every second."""
    add(store, OURS, second=100)
    store.end_chore(OURS, due_at=at(50), mark="SM1")
    add(store, OURS, "hear:demo/other", second=10)
    assert taken(store, 49) == ["hear:demo/other"]
    assert take(store, 50) == Chore(OURS, "SM1")
    add(store, OURS, OURS)
    assert take(store, 51) is None


def test_chores_of_another_kind_are_left_alone(store: Store) -> None:
    """A kind is a whole word, not how a name begins."""
    names = ["hear:a", "hearing:a", "hea:a", "hear", "hear;a", "Hear:a", "pull:hear:a", ":hear:a"]
    add(store, *names)
    assert taken(store, 1) == ["hear:a"]
    assert taken(store, 1, "pull") == ["pull:hear:a"]
    assert taken(store, 1, "he") == []
    assert taken(store, 1, "hearing") == ["hearing:a"]


def test_names_of_every_script_are_kept(store: Store) -> None:
    """Tenants and numbers with whatever they hold."""
    names = [
        f"hear:{rest}"
        for rest in ("", "é", "e\u0301", "日本/+1", "\U0001f600", "%", "_", "a;b", ":")
    ]
    add(store, *names)
    assert sorted(taken(store, 1)) == sorted(names)


def test_those_are_taken_first_that_are_due_longest(store: Store) -> None:
    """In whatever order they were written."""
    names = [f"hear:{n}" for n in range(9)]
    for number in random.Random(5).sample(range(9), k=9):
        add(store, names[number], second=number)
    store.end_chore(names[8], due_at=at(-1), mark=None)
    assert taken(store, 60) == [names[8], *names[:8]]


def test_chores_that_were_dropped_are_gone(store: Store) -> None:
    """Until they are added anew, as if they had never been; unknown ones are no error."""
    add(store, "hear:a", "hear:b", "hear:c")
    store.end_chore("hear:a", due_at=at(0), mark="SM1")
    store.drop_chores(["hear:a", "hear:c", "hear:unknown"])
    assert taken(store, 1) == ["hear:b"]
    add(store, "hear:a", second=2)
    assert take(store, 2) == Chore("hear:a", None)
    store.drop_chores([])


def test_a_chore_that_was_dropped_meanwhile_is_not_made_by_its_end(store: Store) -> None:
    """Its tenant may be gone by the time at which it is done."""
    add(store, OURS)
    assert take(store, 1) is not None
    store.drop_chores([OURS])
    store.end_chore(OURS, due_at=at(5), mark="SM1")
    assert take(store, 99) is None


def test_chores_may_come_from_anything_that_can_be_gone_through(store: Store) -> None:
    """Also none at all."""
    store.add_chores((f"hear:{n}" for n in range(3)), due_at=NOW)
    store.add_chores([], due_at=NOW)
    store.drop_chores(f"hear:{n}" for n in range(2))
    assert taken(store, 1) == ["hear:2"]


def test_chores_are_seen_by_whoever_opens_the_ledger(open_ledger: Callable[[], Store]) -> None:
    """As processes do, one after the other."""
    add(open_ledger(), OURS)
    assert take(open_ledger(), 1) == Chore(OURS, None)
    open_ledger().end_chore(OURS, due_at=at(9), mark="SM1")
    assert take(open_ledger(), 9) == Chore(OURS, "SM1")


def test_eight_that_take_chores_share_none(open_ledger: Callable[[], Store]) -> None:
    """As processes do: every chore is done by one of them."""
    store, names = open_ledger(), [f"hear:{n:02}" for n in range(60)]
    add(store, *names)
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)

    def work(number: int) -> list[str]:
        gate.wait(10)
        return taken(stores[number], 1)

    with ThreadPoolExecutor(8) as pool:
        found = [one for part in pool.map(work, range(8)) for one in part]
    assert sorted(found) == names


def test_of_eight_that_wait_for_one_chore_one_takes_it_each_time(
    open_ledger: Callable[[], Store],
) -> None:
    """Round after round; the mark goes from each to the next."""
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)
    add(stores[0], OURS)

    def work(number: int) -> list[str | None]:
        found: list[str | None] = []
        for turn in range(6):
            gate.wait(10)
            chore = take(stores[number], 100 * turn)
            gate.wait(10)
            if chore is not None:
                found.append(chore.mark)
                stores[number].end_chore(OURS, due_at=at(100 * turn + 90), mark=str(turn))
        return found

    with ThreadPoolExecutor(8) as pool:
        marks = [one for part in pool.map(work, range(8)) for one in part]
    assert sorted(marks, key=str) == ["0", "1", "2", "3", "4", None]


# strays


def stray(sid: str = "SM1", second: float = 0.0, **changes: Any) -> Stray:
    """Make the receipt of a message that we do not know, as it was heard at that second."""
    known: dict[str, Any] = {"tenant_id": DEMO, "status": "sent", "first_at": at(second)}
    return Stray(sid=sid, last_at=at(second), **known | changes)


def test_a_stray_receipt_is_kept(store: Store) -> None:
    """As it is, to the microsecond; and there it is for whoever looks."""
    one = stray(second=0.123456, status="undelivered", error_code=30003)
    store.keep_strays([one])
    assert store.strays(9) == [one]
    assert store.summary(NOW).strays == 1


def test_receipts_of_a_message_that_is_known_are_counted(store: Store) -> None:
    """The last that was heard stands, with when the first one was."""
    store.keep_strays([stray(second=1, error_code=30003)])
    store.keep_strays([stray(second=5, status="delivered")])
    expected = stray(second=5, status="delivered", first_at=at(1), times=2)
    assert store.strays(9) == [expected]
    batch = [stray(second=6, status="read"), stray("SM2", 7), stray(second=8, status="read")]
    store.keep_strays(batch)
    [last, other] = store.strays(9)
    assert last == stray(second=8, status="read", first_at=at(1), times=4)
    assert other == stray("SM2", 7)
    assert store.summary(NOW).strays == 2


def test_tenants_do_not_share_strays(store: Store) -> None:
    """A SID that two of them hear of is two messages."""
    store.keep_strays([stray(second=1), stray(second=2, tenant_id=OTHER)])
    assert [(one.tenant_id, one.times) for one in store.strays(9)] == [(OTHER, 1), (DEMO, 1)]


def test_the_latest_heard_come_first(store: Store) -> None:
    """No more than the limit."""
    for number in random.Random(7).sample(range(12), k=12):
        store.keep_strays([stray(f"SM{number}", number)])
    store.keep_strays([stray("SM3", 99)])
    sids = [one.sid for one in store.strays(99)]
    assert sids == ["SM3", *[f"SM{n}" for n in range(11, -1, -1) if n != 3]]
    assert [one.sid for one in store.strays(2)] == sids[:2]


def test_nothing_set_aside_is_no_error(store: Store) -> None:
    """Neither in writing nor in reading."""
    store.keep_strays([])
    assert store.strays(9) == []
    assert store.summary(NOW).strays == 0


@pytest.mark.parametrize(("days", "kept"), [(29.9, True), (30.0, True), (30.1, False)])
def test_a_stray_is_purged_a_month_after_it_was_heard_last(
    store: Store, days: float, kept: bool
) -> None:
    """Nobody misses it then; a purge tells of documents alone."""
    store.keep_strays([stray("SM1", -DAY), stray("SM2", -90 * DAY), stray("SM1", 0)])
    assert store.purge(now=at(days * DAY), limit=9) == 0
    assert [one.sid for one in store.strays(9)] == (["SM1"] if kept else [])


def test_no_receipt_is_lost_where_many_come_at_once(open_ledger: Callable[[], Store]) -> None:
    """As processes do: every one of them is counted."""
    stores, gate = [open_ledger() for _ in range(6)], threading.Barrier(6)

    def work(number: int) -> None:
        gate.wait(10)
        for _ in range(5):
            stores[number].keep_strays([stray("SM1"), stray(f"SM-{number}")])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    found = {one.sid: one.times for one in stores[0].strays(99)}
    assert found == {"SM1": 30, **{f"SM-{n}": 5 for n in range(6)}}
