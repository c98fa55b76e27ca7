"""One bulk task's way from its files to the last of its messages: :class:`Job`.

::

    received ──► fetching ──► checking ──► running ──► done
                    │            │            │
                    └──► failed ◄┘            └──► canceled

The whole file is checked before the first message. *Running* rows are entered into the ledger, a chunk at
a time, and settled in the same order: a chunk is settled when none of its messages is still on its way.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

import msgspec

from ci360_twilio.core.event import Origin
from ci360_twilio.core.tenant import TenantId

JobKey = NewType("JobKey", str)

CHUNK_ROWS = 2000
"""Rows that are entered in one commit."""
SHOWN_ROWS = 20
"""Bad rows that a job names itself; its result names them all."""


class State(StrEnum):
    """How far a job is."""

    RECEIVED = "received"
    FETCHING = "fetching"
    CHECKING = "checking"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED = frozenset({State.DONE, State.FAILED, State.CANCELED})


class BadRow(msgspec.Struct, frozen=True):
    """A row that cannot be sent to, and why, without what stands in it."""

    row: int
    line: int
    reason: str
    words: str


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Some consecutive rows of a data file."""

    number: int
    start: int
    """Where its bytes begin in the file."""
    end: int
    row: int
    """The number of its first row; the file's first is 1."""
    line: int
    """The line on which that begins."""
    rows: int
    again: dict[int, int] = {}
    """Rows whose number stands on an earlier row, which gets the message: that row."""
    same: tuple[int, ...] = ()
    """Those of them that are about the same customer, too, and so have no entry of their own."""


class Job(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One bulk task, all times aware and UTC."""

    id: str
    """What people call it by: 16 hexadecimal digits, the same for the same task."""
    tenant_id: TenantId
    occurrence_id: str
    state: State
    created_at: datetime
    updated_at: datetime
    purge_at: datetime
    """When what an ended job has left may be deleted."""
    origin: Origin = Origin()
    task_name: str | None = None
    parameters: dict[str, str] = {}
    """The task's ``sendParameters``, names in lower case."""
    data_url: str | None = None
    """Where the data file is to be fetched; forgotten once it is here."""
    metadata_url: str | None = None
    reason: str | None = None
    """Why it failed, as a code."""
    words: str | None = None
    """The same in words, with the line where there is one."""
    failures: int = 0
    """How often in a row the files could not be fetched, or their check was begun."""
    columns: tuple[str, ...] = ()
    rows: int = 0
    bad: int = 0
    """Rows that cannot be sent to."""
    chunks: int = 0
    checked: dict[str, int] = {}
    """Rows by what the check found: ``accepted``, or why not."""
    bad_rows: tuple[BadRow, ...] = ()
    """The first of them."""
    running_at: datetime | None = None
    entered: int = 0
    """Chunks that are in the ledger."""
    said: int = 0
    """Where others enter chunks: how many of them that was said of."""
    there: int = 0
    """How many of these were there when it was last looked."""
    withdrawn: int = 0
    """Chunks of a canceled job of which nothing waits to be sent any more."""
    settled: int = 0
    """Chunks of which no message is on its way any more, or few."""
    settled_rows: int = 0
    unsure: dict[int, dict[str, int]] = {}
    """Settled chunks of which some messages still are, with what was counted of the others."""
    outcomes: dict[str, int] = {}
    """Settled rows by their status or, where they were not sent to, by why not."""
    waits: int = 0
    """How often in a row nothing more was settled, or what seemed lost was said again."""
    canceled_by: str | None = None
    ended_at: datetime | None = None
    repeats: int = 0
    """How often CI360 has posted the same task again."""
    version: int = 0
    """Grows with every write."""

    @property
    def key(self) -> JobKey:
        """What tells it from all others."""
        return job_key(self.tenant_id, self.id)

    @property
    def folder(self) -> str:
        """Where its files are."""
        return f"{self.tenant_id}/{self.id}"

    @property
    def ended(self) -> bool:
        """Whether nothing more is done for it."""
        return self.state in ENDED

    @property
    def is_restartable(self) -> bool:
        """Whether the same task, posted again, begins anew: it failed before it sent anything."""
        return self.state is State.FAILED and self.running_at is None

    def rate(self) -> float:
        """Give how many rows were settled in a second since it runs."""
        seconds = (self.updated_at - self.running_at).total_seconds() if self.running_at else 0.0
        return self.settled_rows / seconds if seconds > 0 else 0.0

    def left(self) -> timedelta | None:
        """Give how long it will take at that rate; ``None`` where nobody can tell yet."""
        rate = self.rate()
        if self.ended or not rate:
            return None
        return timedelta(seconds=(self.rows - self.settled_rows) / rate)


def job_key(tenant_id: TenantId, job_id: str) -> JobKey:
    """Give the key of a job."""
    return JobKey(f"{tenant_id}/{job_id}")


def job_id(occurrence_id: str, task_version_id: str | None) -> str:
    """Give a job's id: CI360 runs one version of a task once for each occurrence."""
    text = f"{len(occurrence_id)}\n{occurrence_id}\n{task_version_id or ''}"
    encoded = text.encode(errors="surrogatepass")
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()


def row_name(job: Job, identity: str, number: str) -> str:
    """Give what tells a row from all others, whatever its place in the file."""
    return f"{job.key}\n{identity}\n{number}"


def state_of(job: Job, *, is_paused: bool) -> str:
    """Say in a word how far a job is."""
    return "paused" if is_paused and job.state is State.RUNNING else str(job.state)
