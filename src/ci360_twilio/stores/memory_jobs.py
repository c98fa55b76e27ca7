"""A ledger in memory as far as bulk jobs go; see :class:`ci360_twilio.ports.Jobs`."""

from __future__ import annotations

import threading
from itertools import islice

from ci360_twilio.core.job import Job, JobKey
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Added
from ci360_twilio.stores import jobbing


class MemoryJobs:
    """See :class:`MemoryStore` for the whole."""

    _lock: threading.Lock

    def __init__(self, hash_key: bytes) -> None:
        self._jobs: dict[JobKey, Job] = {}
        self._job_key = hash_key

    def add_job(self, job: Job) -> Added:
        """Write a job under a new key."""
        with self._lock:
            found = jobbing.added(self._jobs.get(job.key), job)
            if found.created:
                self._jobs.pop(job.key, None)  # one that begins anew is the newest
            self._jobs[job.key] = found.job
            return found

    def job(self, key: JobKey) -> Job | None:
        """Read a job."""
        with self._lock:
            return self._jobs.get(key)

    def jobs(
        self, *, tenant_id: TenantId | None = None, is_open: bool = False, limit: int = 100
    ) -> list[Job]:
        """List jobs, newest first."""
        with self._lock:
            last_first = [*self._jobs.values()][::-1]
        newest = sorted(last_first, key=lambda one: one.created_at, reverse=True)
        found = (
            job
            for job in newest
            if tenant_id in (None, job.tenant_id) and not (is_open and job.ended)
        )
        return list(islice(found, limit))

    def keep_job(self, job: Job) -> Job | None:
        """Write a job, if nobody has written it since it was read."""
        with self._lock:
            kept = jobbing.kept(self._jobs.get(job.key), job)
            if kept is not None:
                self._jobs[job.key] = kept
            return kept

    def keyed(self, text: str) -> str:
        """Give a keyed hash of a text."""
        return jobbing.keyed(text, self._job_key)
