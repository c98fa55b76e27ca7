"""What people do with bulk jobs: find one, see what became of its rows, pause, resume and cancel it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ci360_twilio.core.entry import Entry
from ci360_twilio.core.job import Job
from ci360_twilio.core.pause import Pause, Scope
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotKnown
from ci360_twilio.flow.chunks import PARTS, Mark, outcome_of, standing
from ci360_twilio.flow.decision import Standing, Target
from ci360_twilio.flow.intake import chore_of
from ci360_twilio.flow.steer import Steering
from ci360_twilio.logs import JOB_CHANGED, Log
from ci360_twilio.ports import Clock, Files, Note, Store

LISTED = 1000
"""Jobs among which one is looked for by the beginning of its id."""


class Result(NamedTuple):
    """What became of one row."""

    mark: Mark
    entry: Entry | None
    outcome: str
    """Its status or, where it was not sent to, why not."""


class Foreman:
    """Carries out what a person decides about jobs. Holds nothing between calls."""

    def __init__(self, store: Store, steering: Steering, clock: Clock, log: Log) -> None:
        """Make it; ``steering`` pauses and resumes."""
        self._store = store
        self._steering = steering
        self._clock = clock
        self._log = log

    def find(self, name: str, tenant_id: TenantId | None = None) -> Job:
        """Find a job by its id, the beginning of that, or CI360's occurrence.

        Raises:
            NotKnown: there is none, or more than one.
        """
        return find_job(self._store.jobs(tenant_id=tenant_id, limit=LISTED), name)

    def pauses(self, job: Job) -> list[Pause]:
        """List what keeps a job's messages from being sent, apart from senders and countries."""
        return [pause for pause in self._store.pauses() if holds(pause, job)]

    def pause(self, job: Job, *, by: str, text: str | None = None) -> bool:
        """Pause a job: once this returns none of its messages starts; tells whether it did not before."""
        return self._steering.pause(_target(job), by=by, text=text).new

    def resume(self, job: Job, *, by: str, text: str | None = None) -> list[Standing]:
        """Send a job's messages again.

        Raises:
            NotKnown: it is not paused, or is being canceled, or has ended.
        """
        now = self._store.job(job.key) or job
        if now.canceled_by is not None or now.ended:
            raise NotKnown(f"Job {job.id} is {'canceled' if now.canceled_by else now.state}.")
        return self._steering.resume(_target(job), by=by, text=text)

    def cancel(self, job: Job, *, by: str, text: str | None = None) -> Job:
        """Cancel a job: nothing of it starts any more, and what is not sent is taken back.

        Raises:
            NotKnown: it has ended already.
        """
        now = job
        while not now.ended:
            if now.canceled_by is not None:
                return now
            self._steering.pause(_target(job), by=by, text=text)
            changed = msgspec.structs.replace(now, canceled_by=by, updated_at=self._clock())
            if kept := self._store.keep_job(changed):
                self._store.end_chore(chore_of(job.key), due_at=self._clock(), mark=None)
                note = Note(
                    at=self._clock(),
                    by=by,
                    action="cancel job",
                    subject=job.key,
                    detail=text,
                    tenant_id=job.tenant_id,
                )
                self._store.write_note(note)
                self._log.info(
                    JOB_CHANGED, job=job.id, tenant=job.tenant_id, decision="cancel", by=by
                )
                return kept
            now = self._store.job(job.key) or now
        raise NotKnown(f"Job {job.id} is {now.state} already.")


def find_job(jobs: Sequence[Job], name: str) -> Job:
    """Find a job among others; see :meth:`Foreman.find`."""
    name = name.strip()
    exact = [job for job in jobs if name in (job.id, job.occurrence_id)]
    found = exact or [job for job in jobs if len(name) >= 3 and job.id.startswith(name.lower())]
    if len(found) > 1:
        listed = ", ".join(f"{job.id} of tenant {job.tenant_id}" for job in found[:5])
        raise NotKnown(f"Several jobs are called so: {listed}.")
    if not found:
        raise NotKnown("There is no such job; list them with: ci360-twilio jobs")
    return found[0]


def holds(pause: Pause, job: Job) -> bool:
    """Tell whether a pause keeps all of a job's messages from being sent."""
    if pause.tenant_id not in (None, job.tenant_id):
        return False
    if pause.scope is Scope.JOB:
        return pause.value == job.id
    if pause.scope is Scope.TASK:
        return pause.value == job.origin.task_code
    return pause.scope in (Scope.ALL, Scope.TENANT)


def results(store: Store, files: Files, job: Job) -> Iterator[Result]:
    """Give what became of a job's rows as it stands now, as far as they were entered, in their order."""
    for name in files.names(f"{job.folder}/{PARTS}"):
        for mark, entry in standing(store, files, job, int(name)):
            yield Result(mark, entry, outcome_of(mark, entry))


def _target(job: Job) -> Target:
    return Target(Scope.JOB, job.tenant_id, job.id)
