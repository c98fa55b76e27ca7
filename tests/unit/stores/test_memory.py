"""The ledger in memory, beyond what every ledger does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ci360_twilio.core.entry import Entry, Fact, Kind, Status
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.ports import Query
from ci360_twilio.stores.memory import MemoryStore

Make = Callable[..., Entry]


def kept(store: MemoryStore) -> list[str]:
    """Give the guids of what is kept, oldest first."""
    return [one.guid for one in reversed(store.find(Query(limit=1000)))]


def made(entry: Entry) -> tuple[str, Fact]:
    """Make the fact that Twilio made a message."""
    receipt = Receipt(sid=f"SM{entry.guid}", status="queued")
    return entry.key, Fact(kind=Kind.MADE, at=entry.created_at, receipt=receipt)


def test_without_a_limit_everything_is_kept(entry: Make) -> None:
    """Finished or not."""
    store = MemoryStore()
    store.insert_many([entry(f"g{n}", status=Status.SENT) for n in range(500)])
    assert len(kept(store)) == 500


def test_beyond_the_limit_the_oldest_finished_entry_is_forgotten(entry: Make) -> None:
    """Not those that still have to reach an end."""
    store = MemoryStore(most=3)
    store.insert_many([entry("a"), entry("b", status=Status.SENT), entry("c")])
    store.insert_many([entry("d", status=Status.SENT)])
    assert kept(store) == ["a", "c", "d"]
    store.insert_many([entry("e")])
    assert kept(store) == ["a", "c", "e"]


def test_at_the_limit_nothing_is_forgotten(entry: Make) -> None:
    """Nor by an event that comes again."""
    store = MemoryStore(most=2)
    store.insert_many([entry("a", status=Status.SENT), entry("b", status=Status.SENT)])
    store.insert_many([entry("a"), entry("b")])
    assert kept(store) == ["a", "b"]


def test_what_is_unfinished_is_kept_beyond_the_limit(entry: Make) -> None:
    """A message is never lost for the sake of memory."""
    store = MemoryStore(most=2)
    store.insert_many([entry(guid) for guid in "abcde"])
    assert kept(store) == list("abcde")


def test_after_a_crowd_the_ledger_shrinks_to_its_limit(entry: Make) -> None:
    """What could not be forgotten while it was unfinished is forgotten once it is finished."""
    store = MemoryStore(most=3)
    crowd = [entry(f"g{n}", status=Status.UNKNOWN) for n in range(10)]
    store.insert_many(crowd)
    store.record_many([made(one) for one in crowd])  # type: ignore[misc]
    store.insert_many([entry("new")])
    assert kept(store) == ["g8", "g9", "new"]


def test_an_event_that_was_forgotten_is_taken_as_new(entry: Make) -> None:
    """There is no tombstone: a ledger in memory knows its last entries and no more."""
    store = MemoryStore(most=1)
    store.insert_many([entry("a", status=Status.SENT), entry("b", status=Status.SENT)])
    assert store.insert_many([entry("a")])[0].created


def test_two_ledgers_in_memory_share_nothing(entry: Make, now: datetime) -> None:
    """Each is its own; a restart begins with nothing."""
    one, other = MemoryStore(), MemoryStore()
    one.insert_many([entry()])
    assert kept(other) == []
    assert other.summary(now).unfinished == {}


def test_a_probe_of_memory_never_fails() -> None:
    """There is nothing that could."""
    MemoryStore().probe()
