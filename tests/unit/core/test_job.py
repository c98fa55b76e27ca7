"""Bulk jobs: what they are called by, how fast they are, and when they are over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.event import Origin
from ci360_twilio.core.job import (
    ENDED,
    BadRow,
    Chunk,
    Job,
    State,
    job_id,
    job_key,
    row_name,
)
from ci360_twilio.core.tenant import TenantId

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO = TenantId("demo")


def job(**changes: Any) -> Job:
    """Make a job as it is when it comes."""
    members: dict[str, Any] = {
        "id": job_id("occ-1", "v-1"),
        "tenant_id": DEMO,
        "occurrence_id": "occ-1",
        "state": State.RECEIVED,
        "created_at": NOW,
        "updated_at": NOW,
        "purge_at": NOW + timedelta(days=90),
    }
    return Job(**members | changes)


def running(seconds: float, **changes: Any) -> Job:
    """Make a job that runs for so long."""
    members = {"state": State.RUNNING, "running_at": NOW, "rows": 1000} | changes
    return job(updated_at=NOW + timedelta(seconds=seconds), **members)


# What it is called by


def test_the_same_task_has_the_same_id_for_ever() -> None:
    """Whoever asks: a task that CI360 posts again is the one that is known."""
    assert job_id("occ-1", "v-1") == "3f4270282c4c6600"
    assert job_id("occ-1", None) == job_id("occ-1", "") == "c9c69c04a7bc5b74"
    assert job_id("Zoë \udcff", "\ud800") == "c33215f8d313dde0"


def test_other_tasks_have_other_ids() -> None:
    """Another occurrence, another version, or none."""
    tasks = [("a", None), ("a", "b"), ("a", "c"), ("b", None), ("b", "a"), ("ab", None), ("A", "b")]
    for one, other in combinations(tasks, 2):
        assert job_id(*one) != job_id(*other)


@given(occurrence=st.text(), version=st.none() | st.text())
@settings(max_examples=100, deadline=None)
def test_an_id_is_sixteen_hexadecimal_digits(occurrence: str, version: str | None) -> None:
    """Whatever the task is called."""
    made = job_id(occurrence, version)
    assert len(made) == 16
    assert set(made) <= set("0123456789abcdef")


def test_tenants_do_not_share_jobs() -> None:
    """Neither keys nor folders, were the tasks called the same."""
    one, other = job(), job(tenant_id=TenantId("other"))
    assert one.key == job_key(DEMO, one.id) == f"demo/{one.id}"
    assert other.key == f"other/{one.id}"
    assert (one.folder, other.folder) == (f"demo/{one.id}", f"other/{one.id}")


def test_a_row_has_a_name_of_its_own() -> None:
    """By its job, its customer and its number, wherever it stands in the file."""
    one, other = job(), job(id="0" * 16)
    names = {
        row_name(made, identity, number)
        for made in (one, other)
        for identity in ("dh-1", "dh-2", "")
        for number in ("+12015550101", "+12015550102", "")
    }
    assert len(names) == 18
    assert row_name(one, "dh-1", "+12015550101") == f"{one.key}\ndh-1\n+12015550101"


# How far it is


@pytest.mark.parametrize("state", State)
def test_a_job_has_ended_or_not(state: State) -> None:
    """Done, failed and canceled ones have."""
    is_over = state in ("done", "failed", "canceled")
    assert job(state=state).ended is is_over
    assert (state in ENDED) is is_over


@pytest.mark.parametrize("state", State)
def test_a_job_that_failed_before_it_ran_may_begin_anew(state: State) -> None:
    """No other: once it ran, messages may have been sent."""
    assert job(state=state).is_restartable is (state == "failed")
    assert not job(state=state, running_at=NOW).is_restartable


@pytest.mark.parametrize(
    ("made", "rate", "left"),
    [
        (job(), 0.0, None),
        (job(state=State.CHECKING, rows=1000), 0.0, None),
        (running(0), 0.0, None),
        (running(0, settled_rows=5), 0.0, None),
        (running(-3, settled_rows=5), 0.0, None),
        (running(10), 0.0, None),
        (running(10, settled_rows=100), 10.0, timedelta(seconds=90)),
        (running(200, settled_rows=100), 0.5, timedelta(minutes=30)),
        (running(0.5, settled_rows=500), 1000.0, timedelta(seconds=0.5)),
        (running(10, settled_rows=1000), 100.0, timedelta(0)),
        (running(10, settled_rows=1000, state=State.DONE), 100.0, None),
        (running(10, settled_rows=100, state=State.CANCELED), 10.0, None),
        (running(10, settled_rows=100, state=State.FAILED), 10.0, None),
    ],
)
def test_how_fast_a_job_is_tells_how_long_it_will_take(
    made: Job, rate: float, left: timedelta | None
) -> None:
    """By the rows that were settled since it runs; nobody can tell before the first, nor need to after."""
    assert (made.rate(), made.left()) == (rate, left)


# How it is written


def test_a_job_is_written_and_read() -> None:
    """All of it, to the microsecond; what is as usual takes no room."""
    whole = running(
        1.234567,
        origin=Origin(task_code="TSK_1", response_tracking_code="rtc-1"),
        parameters={"to": "{{mobile}}", "body": "Zoë 😀"},
        columns=("identity_id", "mobile"),
        checked={"accepted": 3},
        bad_rows=(BadRow(2, 3, "no_recipient", "Nobody is named."),),
        outcomes={"delivered": 3},
        canceled_by="ann",
        version=7,
    )
    read = msgspec.json.decode(msgspec.json.encode(whole), type=Job)
    assert read == whole
    least = msgspec.json.decode(msgspec.json.encode(job()))
    assert least.keys() == {
        "id",
        "tenant_id",
        "occurrence_id",
        "state",
        "created_at",
        "updated_at",
        "purge_at",
    }


def test_a_chunk_is_written_and_read() -> None:
    """With the rows that repeat earlier ones."""
    chunk = Chunk(number=3, start=10, end=99, row=7, line=9, rows=5, again={8: 1, 9: 7}, same=(9,))
    assert msgspec.json.decode(msgspec.json.encode(chunk), type=Chunk) == chunk
    bare = Chunk(number=0, start=0, end=9, row=1, line=1, rows=2)
    assert b"again" not in msgspec.json.encode(bare)
    assert msgspec.json.decode(msgspec.json.encode(bare), type=Chunk) == bare
