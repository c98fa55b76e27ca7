"""Where bulk jobs are worked on: helpers in processes of their own, and the process that has them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ci360_twilio.core.job import Chunk, Job, State
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.workshop import Helpers

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
JOB = Job(
    id="0" * 16,
    tenant_id=TenantId("demo"),
    occurrence_id="o",
    state=State.CHECKING,
    created_at=NOW,
    updated_at=NOW,
    purge_at=NOW,
)


class Hands:
    """What works on chunks; the same here and in a helper."""

    def double(self, _: Job, chunk: Chunk) -> tuple[int, int]:
        """Give twice a chunk's number, and who did it."""
        return chunk.number * 2, os.getpid()

    def fail(self, _: Job, chunk: Chunk) -> int:
        """Fail at one chunk."""
        if chunk.number == 7:
            raise OSError("no such chunk")
        return chunk.number


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    """Fork helpers."""
    made = Helpers(Hands)
    yield made
    made.close()


def chunks(count: int) -> Iterator[Chunk]:
    """Give chunks."""
    return (Chunk(number=n, start=n, end=n + 1, row=n, line=n, rows=1) for n in range(count))


def test_results_come_in_the_order_of_the_chunks(helpers: Helpers) -> None:
    """Whoever was faster; both had something to do."""
    found = list(helpers(Hands().double, JOB, chunks(200)))
    assert [number for number, _ in found] == [2 * n for n in range(200)]
    who = {pid for _, pid in found}
    assert os.getpid() in who
    assert len(who) > 1


def test_one_chunk_needs_no_help(helpers: Helpers) -> None:
    """It is done here."""
    assert list(helpers(Hands().double, JOB, chunks(1))) == [(0, os.getpid())]
    assert list(helpers(Hands().double, JOB, chunks(0))) == []


def test_a_helper_that_is_killed_costs_nothing(helpers: Helpers) -> None:
    """What it had is done here, and so is all that follows."""
    work = helpers(Hands().double, JOB, chunks(100))
    found = [next(work) for _ in range(10)]
    for pid in {pid for _, pid in helpers(Hands().double, JOB, chunks(50))} - {os.getpid()}:
        os.kill(pid, signal.SIGKILL)
    found += work
    assert [number for number, _ in found] == [2 * n for n in range(100)]
    again = list(helpers(Hands().double, JOB, chunks(5)))
    assert {pid for _, pid in again} == {os.getpid()}


def test_what_fails_in_a_helper_fails_here(helpers: Helpers) -> None:
    """With the error as it was, behind the results before it."""
    found: list[int] = []
    with pytest.raises(OSError, match="no such chunk"):
        found.extend(helpers(Hands().fail, JOB, chunks(50)))


def test_helpers_end_when_they_are_let_go() -> None:
    """Nobody is left behind."""
    made = Helpers(Hands)
    (pid,) = {pid for _, pid in made(Hands().double, JOB, chunks(50))} - {os.getpid()}
    made.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
