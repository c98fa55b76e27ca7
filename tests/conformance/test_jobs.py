"""Bulk jobs: what is known of each. What every ledger does about it."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.event import Origin
from ci360_twilio.core.job import BadRow, Job, State, job_id, job_key
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Added, Store

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
OPEN = [State.RECEIVED, State.FETCHING, State.CHECKING, State.RUNNING]
ENDED = [State.DONE, State.FAILED, State.CANCELED]


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def job(
    occurrence: str = "occ-1", second: float = 0.0, *, tenant_id: TenantId = DEMO, **changes: Any
) -> Job:
    """Make a job as it is when its task comes, at that second."""
    members: dict[str, Any] = {
        "state": State.RECEIVED,
        "created_at": at(second),
        "updated_at": at(second),
        "purge_at": at(second) + timedelta(days=90),
    }
    made = job_id(occurrence, None)
    return Job(id=made, tenant_id=tenant_id, occurrence_id=occurrence, **members | changes)


def changed(one: Job, **changes: Any) -> Job:
    """Give a job with changes."""
    return msgspec.structs.replace(one, **changes)


def add(store: Store, *jobs: Job) -> list[Job]:
    """Write jobs that are new; gives them as they stand then."""
    found = [store.add_job(one) for one in jobs]
    assert all(one.created for one in found)
    return [one.job for one in found]


def keep(store: Store, one: Job, **changes: Any) -> Job:
    """Write changes that nobody is in the way of."""
    kept = store.keep_job(changed(one, **changes))
    assert kept is not None
    return kept


def names(jobs: list[Job]) -> list[str]:
    """Give the occurrences of jobs."""
    return [one.occurrence_id for one in jobs]


WHOLE = job(
    second=0.123456,
    state=State.RUNNING,
    origin=Origin(event_name="Bulk", task_code="TSK_1", identities={"datahub_id": "dh-1"}),
    task_name="Zoë's 😀",
    parameters={"to": "{{mobile}}", "body": "Hi\n\0{{name}}"},
    columns=("identity_id", "mobile"),
    rows=3,
    checked={"accepted": 2, "no_recipient": 1},
    bad_rows=(BadRow(2, 3, "no_recipient", "Nobody is named."),),
    running_at=at(1.000001),
    outcomes={"delivered": 1},
    canceled_by="ann",
)
"""A job with all kinds of members."""


# Adding


def test_a_new_job_is_written_down(store: Store) -> None:
    """As it is, to the microsecond."""
    assert store.add_job(WHOLE) == Added(changed(WHOLE, version=1), created=True)
    assert store.job(WHOLE.key) == changed(WHOLE, version=1)


def test_a_job_that_was_not_added_is_not_known(store: Store) -> None:
    """Another one's key is no help, nor the same id of another tenant's."""
    add(store, job())
    assert store.job(job("occ-2").key) is None
    assert store.job(job(tenant_id=OTHER).key) is None
    assert store.job(job_key(TenantId(""), job().id)) is None


@pytest.mark.parametrize("state", [*OPEN, State.DONE, State.CANCELED])
def test_a_job_that_is_known_stays_as_it_is(store: Store, state: State) -> None:
    """However far it is; that its task was posted again is counted."""
    [first] = add(store, job(state=state, task_name="first"))
    found = store.add_job(job(second=60, task_name="second"))
    assert found == Added(changed(first, repeats=1, version=2), created=False)
    assert store.add_job(job(second=99)).job == changed(first, repeats=2, version=3)
    assert store.job(first.key) == changed(first, repeats=2, version=3)


def test_a_job_that_failed_before_it_ran_begins_anew(store: Store) -> None:
    """Nothing was sent for it; what is left of the first is the count."""
    add(store, job(state=State.FAILED, reason="address_expired", rows=5))
    found = store.add_job(job(second=60, task_name="second"))
    second = job(second=60, task_name="second", repeats=1, version=2)
    assert found == Added(second, created=True)
    assert store.job(second.key) == second
    keep(store, second, state=State.FAILED)
    third = store.add_job(job(second=99))
    assert third == Added(job(second=99, repeats=2, version=4), created=True)
    assert store.add_job(job()).created is False


def test_a_job_that_failed_after_it_ran_does_not(store: Store) -> None:
    """Messages may have been sent."""
    [first] = add(store, job(state=State.FAILED, running_at=NOW))
    assert store.add_job(job(second=60)) == Added(
        changed(first, repeats=1, version=2), created=False
    )


def test_tenants_do_not_share_jobs(store: Store) -> None:
    """A task of the same name is another."""
    add(store, job(), job(tenant_id=OTHER), job("occ-2"))
    assert store.job(job().key) == job(version=1)
    assert store.job(job(tenant_id=OTHER).key) == job(tenant_id=OTHER, version=1)


# Writing


def test_a_job_that_was_read_is_written(store: Store) -> None:
    """Its version grows each time; all of it is as it was given."""
    [one] = add(store, job())
    for number in range(3):
        one = keep(store, one, rows=number, state=OPEN[number], outcomes={"sent": number})
        assert one == job(
            rows=number, state=OPEN[number], outcomes={"sent": number}, version=number + 2
        )
        assert store.job(one.key) == one


def test_a_job_that_somebody_else_has_written_is_not(store: Store) -> None:
    """Who comes second reads it again first."""
    [one] = add(store, job())
    first = keep(store, one, rows=1)
    assert store.keep_job(changed(one, rows=2)) is None
    assert store.job(one.key) == first
    assert keep(store, first, rows=2).rows == 2


def test_a_task_that_is_posted_again_is_a_write_like_others(store: Store) -> None:
    """Who read the job before it reads it again."""
    [one] = add(store, job())
    store.add_job(job())
    assert store.keep_job(changed(one, rows=1)) is None
    found = store.job(one.key)
    assert found is not None
    assert keep(store, found, rows=1).repeats == 1


def test_a_job_that_began_anew_is_not_overwritten_by_who_read_it_before(store: Store) -> None:
    """Though the first one had come as far."""
    [one] = add(store, job(state=State.FAILED))
    store.add_job(job(second=5))
    assert store.keep_job(changed(one, rows=1)) is None
    assert store.job(one.key) == job(second=5, repeats=1, version=2)


@pytest.mark.parametrize("version", [0, 1, 5])
def test_a_job_that_is_not_known_is_not_written(store: Store, version: int) -> None:
    """It is added first."""
    assert store.keep_job(job(version=version)) is None
    assert store.job(job().key) is None
    assert store.jobs() == []


@pytest.mark.parametrize("version", [0, 2, 9])
def test_a_version_that_never_was_is_not_written(store: Store, version: int) -> None:
    """Whether it is before or after the one that stands."""
    [one] = add(store, job())
    assert store.keep_job(changed(one, rows=1, version=version)) is None
    assert store.job(one.key) == one


# Listing


def test_the_newest_jobs_come_first(store: Store) -> None:
    """In whatever order they were added; no more than the limit."""
    for number in random.Random(7).sample(range(12), k=12):
        add(store, job(f"occ-{number}", number))
    expected = [f"occ-{number}" for number in range(11, -1, -1)]
    assert names(store.jobs()) == expected
    assert names(store.jobs(limit=3)) == expected[:3]
    assert names(store.jobs(limit=12)) == names(store.jobs(limit=13)) == expected


def test_a_hundred_jobs_are_listed_where_nobody_says_how_many(store: Store) -> None:
    """The newest of them."""
    for number in range(103):
        add(store, job(f"occ-{number}", number))
    assert names(store.jobs()) == [f"occ-{number}" for number in range(102, 2, -1)]


def test_jobs_are_listed_as_they_stand(store: Store) -> None:
    """Whole, whenever they were written last; that does not move them."""
    first, second = add(store, job("occ-1", 1), job("occ-2", 2, parameters={"to": "x"}))
    first = keep(store, first, rows=7, updated_at=at(99))
    assert store.jobs() == [second, first]


def test_open_jobs_are_listed_alone(store: Store) -> None:
    """Those that have not ended; one that ends is none of them any more."""
    for number, state in enumerate([*OPEN, *ENDED]):
        add(store, job(f"occ-{state}", number, state=state))
    assert names(store.jobs(is_open=True)) == [f"occ-{state}" for state in OPEN[::-1]]
    assert len(store.jobs()) == len(State)
    running = store.jobs(is_open=True)[0]
    keep(store, running, state=State.DONE)
    assert names(store.jobs(is_open=True)) == [f"occ-{state}" for state in OPEN[2::-1]]
    assert names(store.jobs(is_open=True, limit=2)) == ["occ-checking", "occ-fetching"]


def test_a_job_that_begins_anew_is_open_and_new_again(store: Store) -> None:
    """It stands where it stood when it came last."""
    add(store, job("occ-1", 1, state=State.FAILED), job("occ-2", 2))
    assert names(store.jobs(is_open=True)) == ["occ-2"]
    add(store, job("occ-1", 3))
    assert names(store.jobs()) == names(store.jobs(is_open=True)) == ["occ-1", "occ-2"]


def test_jobs_of_a_tenant_are_listed_alone(store: Store) -> None:
    """The limit counts theirs; a tenant without jobs has none."""
    for number in range(9):
        add(store, job(f"occ-{number}", number, tenant_id=(DEMO, OTHER)[number % 2]))
        add(store, job(f"end-{number}", number, tenant_id=OTHER, state=State.DONE))
    mine = [f"occ-{number}" for number in (8, 6, 4, 2, 0)]
    assert names(store.jobs(tenant_id=DEMO)) == mine
    assert names(store.jobs(tenant_id=DEMO, limit=2)) == mine[:2]
    others = [f"occ-{number}" for number in (7, 5, 3, 1)]
    assert names(store.jobs(tenant_id=OTHER, is_open=True)) == others
    assert names(store.jobs(tenant_id=OTHER, is_open=True, limit=1)) == others[:1]
    assert store.jobs(tenant_id=TenantId("nobody")) == []


def test_no_jobs_are_no_error(store: Store) -> None:
    """Whatever is asked for."""
    assert store.jobs() == store.jobs(is_open=True) == store.jobs(tenant_id=DEMO) == []


# Whoever opens the ledger


def test_jobs_are_seen_by_whoever_opens_the_ledger(open_ledger: Callable[[], Store]) -> None:
    """As processes do, one after the other."""
    add(open_ledger(), WHOLE, job("occ-2", 5, state=State.DONE))
    found = open_ledger().job(WHOLE.key)
    assert found == changed(WHOLE, version=1)
    kept = keep(open_ledger(), found, rows=9)
    assert open_ledger().keep_job(changed(found, rows=8)) is None
    assert open_ledger().job(WHOLE.key) == kept
    assert open_ledger().add_job(WHOLE).created is False
    assert names(open_ledger().jobs()) == ["occ-2", "occ-1"]
    assert names(open_ledger().jobs(is_open=True)) == ["occ-1"]


def test_of_eight_that_add_a_job_one_has_written_it(open_ledger: Callable[[], Store]) -> None:
    """As processes do, were the task posted to each at once; all see the same job."""
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)

    def work(number: int) -> Added:
        gate.wait(10)
        return stores[number].add_job(job(task_name=str(number)))

    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(work, range(8))]
    [written] = [one.job for one in found if one.created]
    assert {one.job.task_name for one in found} == {written.task_name}
    assert sorted(one.job.repeats for one in found) == list(range(8))
    assert stores[0].job(job().key) == changed(written, repeats=7, version=8)


def test_of_eight_that_write_a_job_one_has_written_it_each_time(
    open_ledger: Callable[[], Store],
) -> None:
    """Nobody's count is lost to another's."""
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)
    add(stores[0], job())

    def work(number: int) -> int:
        store, written = stores[number], 0
        gate.wait(10)
        while written < 3:
            found = store.job(job().key)
            assert found is not None
            written += store.keep_job(changed(found, rows=found.rows + 1)) is not None
        return written

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 24
    assert stores[0].job(job().key) == job(rows=24, version=25)


# Hashing


def test_a_text_has_the_same_hash_as_long_as_the_ledger_lives(
    open_ledger: Callable[[], Store],
) -> None:
    """Whoever opens it: 24 hexadecimal digits."""
    texts = ["", "a", "demo/1\ndh-1\n+12015550101", "Zoë 😀", "\0", "x" * 5000]
    first = [open_ledger().keyed(text) for text in texts]
    assert [open_ledger().keyed(text) for text in texts] == first
    assert all(re.fullmatch("[0-9a-f]{24}", one) for one in first)


def test_other_texts_have_other_hashes(store: Store) -> None:
    """Were they nearly the same."""
    texts = [f"demo/1\ndh-1\n+1201555{number:04}" for number in range(1000)]
    texts += ["", "a", "A", "a ", "a\n", "\na", "é", "e\u0301", "\0"]
    assert len({store.keyed(text) for text in texts}) == len(texts)
