"""Bulk tasks from CI360 -> jobs in the ledger, and an answer for each.

The gates are those of single events, as far as a task has what they ask for. The answer means that the job
is durably written; its files are fetched at once, since their addresses expire.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Protocol

import msgspec

from ci360_twilio.core.bulk import parse_bulk_payload, parse_job
from ci360_twilio.core.event import MAX_BYTES
from ci360_twilio.core.job import Job, JobKey, State
from ci360_twilio.errors import ConnectorError, TooLarge
from ci360_twilio.flow.accept import Ignored
from ci360_twilio.flow.arrival import Arrival, let_in
from ci360_twilio.flow.audience import Gates
from ci360_twilio.logs import JOB_CHANGED, JOB_REJECTED, Log, safe_task
from ci360_twilio.ports import Chores, Clock, Jobs, Tenants

KIND = "job"


def chore_of(key: JobKey) -> str:
    """Give the name of the chore by which a job is worked on."""
    return f"{KIND}:{key}"


class JobStore(Jobs, Chores, Protocol):
    """Where jobs are, and the list of what is to be done."""


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """A task with a job, new or known; ``job`` is as it stands now."""

    job: Job
    duplicate: bool = False


Answered = Ignored | Booked | ConnectorError


class Intake:
    """Takes bulk tasks through the gates."""

    def __init__(
        self, store: JobStore, tenants: Tenants, clock: Clock, log: Log, gates: Gates
    ) -> None:
        """Make it; ``gates`` are those of the messages that the task will bring."""
        self._store = store
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._gates = gates

    def take(self, arrival: Arrival) -> Answered:
        """Answer one task. What the answer calls received or failed is durably written."""
        started = time.perf_counter()
        try:
            answer = self._take(arrival, self._clock())
        except ConnectorError as exc:
            answer = exc
        took = round((time.perf_counter() - started) * 1000, 3)
        name, fields = _line(arrival, answer)
        self._log.info(name, ms=took, **fields)
        return answer

    def _take(self, arrival: Arrival, now: datetime) -> Answered:
        if len(arrival.body) > MAX_BYTES:
            raise TooLarge(f"The body is over {MAX_BYTES:,} bytes.")
        payload = parse_bulk_payload(arrival.body)
        if payload is None:
            return Ignored(reason="test")
        tenant = let_in(self._tenants, payload.tenant_id, arrival, now)
        gates = self._gates
        job, issues = parse_job(
            payload,
            tenant,
            now,
            gates.ttl,
            default_sender=gates.default_sender,
            names=gates.names,
        )
        if issues:
            words = "; ".join(f"{issue.field} {issue}" for issue in issues)
            job = msgspec.structs.replace(
                job,
                state=State.FAILED,
                reason="invalid_task",
                words=f"The task cannot be used: {words}.",
                ended_at=now,
                data_url=None,
                metadata_url=None,
            )
        added = self._store.add_job(job)
        # Also for a job that is known: whoever wrote it may have ended before this.
        self._store.add_chores([chore_of(job.key)], due_at=now)
        if added.created:
            self._store.end_chore(chore_of(job.key), due_at=now, mark=None)
        return Booked(job=added.job, duplicate=not added.created)


def _line(arrival: Arrival, answer: Answered) -> tuple[str, dict[str, Any]]:
    """Give the log line of one answer: ids and decisions, nothing of the content."""
    fields: dict[str, Any] = {"request_id": arrival.request_id}
    if isinstance(answer, Booked):
        job = answer.job
        return JOB_CHANGED, fields | {
            "tenant": job.tenant_id,
            "job": job.id,
            "decision": "duplicate" if answer.duplicate else job.state,
            "reason": job.reason,
            "task": safe_task(job.origin.task_code),
        }
    if isinstance(answer, Ignored):
        return JOB_REJECTED, fields | {"decision": "ignored", "reason": answer.reason}
    return JOB_REJECTED, fields | {"decision": answer.http_status, "reason": answer.code}
