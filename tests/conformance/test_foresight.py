"""What a ledger foresees is what it then does. What every ledger does about it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Entry, Key, Status, Step, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Foreseen, Inserted, Note, Query, Store

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO = TenantId("demo")
LIMITS = {DEMO: 2}


def entry(guid: str, to: int, **changes: object) -> Entry:
    """Make an entry that is new."""
    made = Entry(
        key=key_of(DEMO, guid),
        tenant_id=DEMO,
        guid=guid,
        status=Status.ACCEPTED,
        created_at=NOW,
        due_at=NOW,
        expires_at=NOW + timedelta(days=1),
        purge_at=NOW + timedelta(days=90),
        message=Message(to=f"+1201555{to:04}", sender="+12015550199", body="Hi"),
        history=(Step(at=NOW, step="accept", decision="accepted"),),
    )
    return msgspec.structs.replace(made, **changes)


def opt_out(store: Store, to: int) -> None:
    """Have a recipient opt out."""
    out = Evidence(sign=Sign.OUT, source=Source.PERSON, heard_at=NOW, dated_at=NOW)
    store.attest_many([(Subject(DEMO, f"+1201555{to:04}"), out)], now=NOW)


def seen(found: Inserted) -> tuple[Key, Status, str | None, bool]:
    """Give what counts of a result."""
    one, created = found
    return one.key, one.status, one.reason, created


def test_what_is_foreseen_is_what_is_then_written(store: Store) -> None:
    """Opt-outs, limits, repetitions and what was deleted, in any order, in one batch or several."""
    chance = random.Random(7)
    opt_out(store, 3)
    store.insert_many([entry("before", 1), entry("other", 2)], recipient_limits=LIMITS)
    old = entry("old", 4, status=Status.EXPIRED, purge_at=NOW)
    store.insert_many([old])
    store.purge(now=NOW + timedelta(days=1), limit=10)
    guids = ["before", "old", *(f"new-{n}" for n in range(12))]
    batches = [
        [entry(chance.choice(guids), chance.randrange(6)) for _ in range(8)] for _ in range(3)
    ]
    so_far = Foreseen()
    foreseen = [
        seen(one)
        for batch in batches
        for one in store.foresee(batch, recipient_limits=LIMITS, so_far=so_far)
    ]
    written = [
        seen(one) for batch in batches for one in store.insert_many(batch, recipient_limits=LIMITS)
    ]
    assert [(key, created) for key, _, _, created in foreseen] == [
        (key, created) for key, _, _, created in written
    ]
    assert [one for one in foreseen if one[3]] == [one for one in written if one[3]]


def test_foreseeing_writes_nothing(store: Store) -> None:
    """Neither an entry nor that it came again."""
    store.insert_many([entry("before", 1)])
    for _ in range(3):
        [known, fresh] = store.foresee([entry("before", 1), entry("fresh", 1)])
        assert (known.created, fresh.created) == (False, True)
    assert [one.guid for one in store.find(Query())] == ["before"]
    assert store.find(Query())[0].repeats == 0


def test_without_a_memory_each_is_foreseen_for_itself(store: Store) -> None:
    """What would have been written before is not taken into account."""
    found = store.foresee([entry("a", 1), entry("a", 1), entry("b", 1)], recipient_limits={DEMO: 1})
    assert [one.created for one in found] == [True, True, True]
    assert {one.entry.status for one in found} == {Status.ACCEPTED}


@pytest.mark.parametrize("days", [0, 2])
def test_a_restored_ledger_foresees_that_it_will_hold(store: Store, days: int) -> None:
    """An event that may have been sent before the restore is held, and one of later is not."""
    store.mark_restored(NOW)
    later = NOW + timedelta(days=days)
    one = entry("a", 1, created_at=later, due_at=later, expires_at=later + timedelta(days=1))
    [found] = store.foresee([one])
    assert found.entry.status is (Status.ACCEPTED if days else Status.HELD)


def test_an_erased_event_is_foreseen_as_known(store: Store) -> None:
    """Its tombstone answers, as it would when it comes again."""
    store.insert_many([entry("a", 1)])
    note = Note(at=NOW, by="test", action="erase", subject="someone")
    store.erase(DEMO, entries=[key_of(DEMO, "a")], inbound=[], recipients=[], words=[], note=note)
    [found] = store.foresee([entry("a", 1)])
    assert (found.created, found.entry.status, found.entry.reason) == (
        False,
        Status.EXPIRED,
        "purged",
    )
