"""How many messages there are of what. What every ledger counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import SLOT, Counted, Note, Store

Make = Callable[..., Entry]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
ALIKE = Counted(NOW, DEMO, "TSK_1", "+15005550006", "US", Status.ACCEPTED, None, None, 1)
"""One entry as the fixture makes it."""


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def counted(
    store: Store, since: float = -3600, before: float = 3600, tenant_id: TenantId | None = None
) -> set[Counted]:
    """Count what was created between two seconds; all of it is counted."""
    found = store.counts(since=at(since), before=at(before), tenant_id=tenant_id)
    assert found.whole_since is None
    assert len(set(found.counted)) == len(found.counted)
    return set(found.counted)


def test_an_empty_ledger_counts_nothing(store: Store) -> None:
    """And says so of all that was asked for."""
    assert counted(store) == set()


def test_what_is_alike_is_counted_together(store: Store, entry: Make) -> None:
    """By all that a message is counted by, and by nothing else."""
    store.insert_many([entry(f"g{n}", to=f"+1201555010{n}", created_at=at(n)) for n in range(5)])
    assert counted(store) == {ALIKE._replace(messages=5)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tenant": "other"}, {"tenant_id": OTHER}),
        ({"task": "TSK_2"}, {"task": "TSK_2"}),
        ({"task": None}, {"task": None}),
        ({"sender": "Acme"}, {"sender": "Acme"}),
        ({"to": "+447700900123"}, {"country": "GB"}),
        ({"to": "whatsapp:+447700900123"}, {"country": "GB"}),
        ({"to": "+14165550123"}, {"country": "CA"}),
        ({"to": "messenger:1234567890"}, {"country": None}),
        ({"message": None}, {"sender": None, "country": None}),
        ({"to": "", "sender": ""}, {"sender": None, "country": None}),
        ({"status": Status.REFUSED}, {"status": Status.REFUSED}),
        (
            {"status": Status.SUPPRESSED, "reason": "opted_out"},
            {"status": Status.SUPPRESSED, "reason": "opted_out"},
        ),
        (
            {"status": Status.FAILED, "error_code": 30008},
            {"status": Status.FAILED, "error_code": 30008},
        ),
        ({"created_at": at(300)}, {"at": at(300)}),
        ({"created_at": at(-0.001)}, {"at": at(-300)}),
    ],
)
def test_what_differs_is_counted_apart(
    store: Store, entry: Make, changes: dict[str, object], expected: dict[str, object]
) -> None:
    """In each of the things that a message is counted by."""
    store.insert_many([entry("a"), entry("b", **changes), entry("c", **changes)])
    assert counted(store) == {ALIKE, ALIKE._replace(**expected, messages=2)}  # type: ignore[arg-type]


def test_jobs_are_not_told_apart(store: Store, entry: Make) -> None:
    """Messages of one task are one thing, whichever job brought them."""
    store.insert_many([entry("a"), entry("b", job="job-1"), entry("c", job="job-2")])
    assert counted(store) == {ALIKE._replace(messages=3)}


@pytest.mark.parametrize(
    ("since", "before", "found"),
    [
        (0, 300, {0}),
        (299, 300, {0}),
        (0, 1, {0}),
        (1, 301, {0, 300}),
        (300, 600, {300}),
        (300, 300, set()),
        (600, 0, set()),
        (900, 1200, set()),
        (-86_400, 86_400, {0, 300, 600}),
    ],
)
def test_slots_are_whole(
    store: Store, entry: Make, since: float, before: float, found: set[float]
) -> None:
    """Those in which anything lies of the time that is asked for."""
    store.insert_many([entry(f"g{n}", created_at=at(n * 300 + 150)) for n in range(3)])
    assert {one.at for one in counted(store, since, before)} == {at(second) for second in found}


def test_slots_are_of_five_minutes(store: Store) -> None:
    """From the hour on."""
    assert timedelta(minutes=5) == SLOT


def test_one_tenants_messages_are_counted_alone(store: Store, entry: Make) -> None:
    """Where its name is told."""
    store.insert_many([entry("a"), entry("a", tenant="other"), entry("b", tenant="other")])
    assert counted(store, tenant_id=DEMO) == {ALIKE}
    assert counted(store, tenant_id=OTHER) == {ALIKE._replace(tenant_id=OTHER, messages=2)}
    assert counted(store, tenant_id=TenantId("nobody")) == set()


def test_what_becomes_of_a_message_is_followed(store: Store, entry: Make) -> None:
    """It is counted once, wherever it stands, in the slot in which it was accepted."""
    one, lease = entry(), Lease(token="worker", until=at(4000))
    store.insert_many([one, entry("another")])

    def tell(kind: Kind, second: float, **more: object) -> None:
        fact = Fact(kind=kind, at=at(second), lease=lease, **more)  # type: ignore[arg-type]
        assert store.record_many([(one.key, fact)]) != [None]

    def expect(status: Status, reason: str | None = None, error_code: int | None = None) -> None:
        now = ALIKE._replace(status=status, reason=reason, error_code=error_code)
        others = {now, ALIKE} if now != ALIKE else {ALIKE._replace(messages=2)}
        assert counted(store) == others

    expect(Status.ACCEPTED)
    store.claim(now=at(400), lease=lease, limit=9, keys=[one.key])
    expect(Status.ACCEPTED)
    tell(Kind.STARTED, 400)
    expect(Status.SENDING)
    tell(Kind.MADE, 401, receipt=Receipt(sid="SM1", status="queued"))
    expect(Status.SENT)
    tell(Kind.PROGRESSED, 402, receipt=Receipt(sid="SM1", status="sent"))
    expect(Status.SENT)
    end = Receipt(sid="SM1", status="undelivered", error_code=30003)
    tell(Kind.UNDELIVERED, 403, receipt=end)
    expect(Status.UNDELIVERED, reason="twilio_30003", error_code=30003)


def test_an_event_that_comes_again_is_not_counted_again(store: Store, entry: Make) -> None:
    """Neither in another batch nor in the same one."""
    store.insert_many([entry(), entry()])
    store.insert_many([entry()])
    assert counted(store) == {ALIKE}


def test_what_is_deleted_is_not_counted_any_more(store: Store, entry: Make) -> None:
    """Whether its time was over or a person was erased."""
    delivered = {"status": Status.DELIVERED}
    store.insert_many(
        [
            entry("a", **delivered, purge_at=at(60)),
            entry("b", **delivered, created_at=at(300)),
            entry("c", **delivered),
            entry("d", purge_at=at(60)),
        ]
    )
    assert store.purge(now=at(61), limit=9) == 1
    done = ALIKE._replace(status=Status.DELIVERED)
    assert counted(store) == {done, done._replace(at=at(300)), ALIKE}
    note = Note(at=NOW, by="ada", action="erase", subject="demo")
    gone = [entry("b").key, entry("c").key]
    store.erase(DEMO, entries=gone, inbound=[], recipients=[], words=[], note=note)
    assert counted(store) == {ALIKE}


def test_what_was_under_way_is_counted_as_unknown_after_a_restore(
    store: Store, entry: Make
) -> None:
    """All of it at once."""
    store.insert_many([entry(f"g{n}") for n in range(5)])
    store.mark_restored(at(60))
    unknown = ALIKE._replace(status=Status.UNKNOWN, reason="restored", messages=5)
    assert counted(store, before=300) == {unknown}


def test_a_ledger_that_is_opened_anew_counts_the_same(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """And another process does, at once."""
    first, second = open_ledger(), open_ledger()
    first.insert_many([entry("a")])
    assert counted(second) == {ALIKE}
    second.insert_many([entry("b")])
    assert counted(first) == counted(open_ledger()) == {ALIKE._replace(messages=2)}


@pytest.mark.parametrize("step", [timedelta(minutes=15), timedelta(hours=3)])
def test_slots_are_added_up_in_steps(store: Store, entry: Make, step: timedelta) -> None:
    """Steps are counted from 1970, like slots; all that is asked for is in one of them."""
    store.insert_many([entry(f"g{n}", created_at=at(400 * n)) for n in range(-20, 20)])
    since, before = at(-7200), at(7200)
    fine = store.counts(since=since, before=before).counted
    coarse = store.counts(since=since, before=before, step=step).counted
    expected = Counter[datetime]()
    for one in fine:
        expected[one.at - (one.at - datetime(1970, 1, 1, tzinfo=UTC)) % step] += one.messages
    assert {one.at: one.messages for one in coarse} == expected
