"""Looking for entries by what they hold. What every ledger finds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ci360_twilio.core.entry import Entry, Fact, Kind, Status
from ci360_twilio.core.event import Origin
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Note, Query, Store

Make = Callable[..., Entry]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
ROBIN, KIM = "+12015550101", "+447700900123"


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def named(task: str, **identities: str) -> Origin:
    """Give where an event came from, and whom it is about."""
    return Origin(task_code=task, identities=identities)


def several(store: Store, entry: Make) -> None:
    """Fill a ledger with entries that differ in all that can be asked for."""
    refused = {"status": Status.REFUSED, "reason": "refused", "error_code": 21610}
    undelivered = {"status": Status.UNDELIVERED, "error_code": 30003}
    suppressed = {"status": Status.SUPPRESSED, "reason": "opted_out"}
    store.insert_many(
        [
            entry("a", created_at=at(0), origin=named("TSK_1", datahub_id="d-1")),
            entry("b", created_at=at(1), to=f"whatsapp:{ROBIN}", sender="Acme", job="job-1"),
            entry("c", created_at=at(2), to=KIM, job="job-1", bulk=True, **undelivered),
            entry("d", created_at=at(3), tenant="other", to=KIM, job="job-2", **suppressed),
            entry("e", created_at=at(4), tenant="other", **refused),
            entry("f", created_at=at(5), message=None, status=Status.REFUSED, reason="no_message"),
            entry(
                "g",
                created_at=at(86_400 * 40),
                origin=named("TSK_2", subject_id="d-1", login_id="r@example.com"),
            ),
            entry("h", created_at=at(6), to="messenger:12015550101"),
        ]
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(recipient=ROBIN), "geba"),
        (Query(recipient=KIM), "dc"),
        (Query(recipient=KIM, tenant_id=DEMO), "c"),
        (Query(recipient=KIM, tenant_id=OTHER), "d"),
        (Query(recipient=ROBIN, tenant_id=DEMO), "gba"),
        (Query(recipient="messenger:12015550101"), "h"),
        (Query(recipient="messenger:12015550101", tenant_id=DEMO), "h"),
        (Query(recipient="+12015550102"), ""),
        (Query(recipient="12015550101"), ""),
        (Query(recipient=ROBIN, limit=2), "ge"),
        (Query(recipient=ROBIN, before=at(4)), "ba"),
        (Query(recipient=ROBIN, since=at(1)), "geb"),
        (Query(recipient=ROBIN, statuses=frozenset({Status.REFUSED})), "e"),
        (Query(identity="d-1"), "ga"),
        (Query(identity="r@example.com"), "g"),
        (Query(identity="d-2"), ""),
        (Query(identity=ROBIN), ""),
        (Query(identity="d-1", recipient=ROBIN, task="TSK_1"), "a"),
        (Query(recipient="d-1"), ""),
        (Query(task="TSK_2"), "g"),
        (Query(job="job-1"), "cb"),
        (Query(job="job-1", statuses=frozenset({Status.UNDELIVERED})), "c"),
        (Query(job="job-3"), ""),
        (Query(sender="Acme"), "b"),
        (Query(country="GB"), "dc"),
        (Query(country="US"), "geba"),
        (Query(country="US", limit=1), "g"),
        (Query(country="FR"), ""),
        (Query(reason="opted_out"), "d"),
        (Query(reason="no_message"), "f"),
        (Query(reason="none"), ""),
        (Query(error_code=30003), "c"),
        (Query(error_code=21610), "e"),
        (Query(error_code=1), ""),
        (Query(country="GB", reason="opted_out", tenant_id=OTHER), "d"),
        (Query(country="GB", reason="opted_out", tenant_id=DEMO), ""),
        (Query(guid="c", country="US"), ""),
        (Query(guid="c", country="GB", error_code=30003), "c"),
        (Query(statuses=frozenset({Status.REFUSED})), "fe"),
        (Query(statuses=frozenset({Status.REFUSED}), since=at(5)), "f"),
        (Query(tenant_id=DEMO, limit=3), "ghf"),
        (Query(tenant_id=DEMO, before=at(1)), "a"),
    ],
)
def test_a_query_narrows_by_all_of_its_members(
    store: Store, entry: Make, query: Query, found: str
) -> None:
    """Newest first, whatever became of the entries."""
    several(store, entry)
    assert "".join(one.guid for one in store.find(query)) == found


def test_what_is_asked_for_is_found_as_it_is_now(store: Store, entry: Make) -> None:
    """By its status and reason of this moment, and no more by those of before."""
    one = entry()
    store.insert_many([one, entry("another")])
    before = Query(task="TSK_1", statuses=frozenset({Status.ACCEPTED}))
    after = Query(task="TSK_1", reason="withdrawn")
    assert len(store.find(before)) == 2
    withdrawn = Fact(kind=Kind.WITHDRAWN, at=NOW, reason="withdrawn")
    [canceled] = store.record_many([(one.key, withdrawn)])
    assert [found.guid for found in store.find(before)] == ["another"]
    assert store.find(after) == [canceled]


def test_many_that_are_alike_are_listed_newest_first(store: Store, entry: Make) -> None:
    """Across all that they differ in, up to the limit, and what is of one moment last written first."""
    senders, statuses = ["Acme", "Bolt", "Cord"], [Status.SENT, Status.FAILED, Status.READ]
    store.insert_many(
        [
            entry(
                f"g{n}",
                created_at=at(n * 7 % 40),
                sender=senders[n % 3],
                status=statuses[n // 3 % 3],
            )
            for n in range(80)
        ]
    )
    expected = sorted(range(80), key=lambda n: (n * 7 % 40, n), reverse=True)
    for limit in (1, 2, 5, 30, 1000):
        found = store.find(Query(tenant_id=DEMO, limit=limit))
        assert [one.guid for one in found] == [f"g{n}" for n in expected][:limit]
        some = store.find(Query(sender="Bolt", limit=limit))
        assert [one.guid for one in some] == [f"g{n}" for n in expected if n % 3 == 1][:limit]


def test_who_was_erased_is_not_found_any_more(store: Store, entry: Make) -> None:
    """By number nor by identity, while others are."""
    several(store, entry)
    note = Note(at=NOW, by="ada", action="erase", subject="demo")
    gone = [one.key for one in store.find(Query(recipient=ROBIN, tenant_id=DEMO))]
    store.erase(DEMO, entries=gone, inbound=[], recipients=[ROBIN], words=[], note=note)
    assert [one.guid for one in store.find(Query(recipient=ROBIN))] == ["e"]
    assert store.find(Query(identity="d-1")) == []
    assert [one.guid for one in store.find(Query(recipient=KIM))] == ["d", "c"]
