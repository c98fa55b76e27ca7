"""A DynamoDB ledger as far as bulk jobs go; see :class:`ci360_twilio.ports.Jobs`."""

from __future__ import annotations

from itertools import islice
from typing import Any, Protocol, TypeVar

from ci360_twilio.core.job import Job, JobKey
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Added
from ci360_twilio.stores import jobbing
from ci360_twilio.stores.dynamodb_items import JOBS, OPEN_JOBS, job_pk
from ci360_twilio.stores.dynamodb_rows import Rows
from ci360_twilio.stores.dynamodb_table import Table

T = TypeVar("T")


class _Ledger(Protocol):
    """What the rest of the store gives."""

    _table: Table
    _hash_key: bytes

    def _rows(self) -> Rows: ...

    def _whole(self, work: Any) -> Any: ...


class DynamoJobs:
    """See :class:`DynamoStore` for the whole."""

    def add_job(self: _Ledger, job: Job) -> Added:
        """Write a job under a new key."""

        def work(rows: Rows) -> Added:
            found = jobbing.added(rows.document(job_pk(job.key)), job)
            rows.put(job_pk(job.key), found.job)
            return found

        added: Added = self._whole(work)
        return added

    def job(self: _Ledger, key: JobKey) -> Job | None:
        """Read a job."""
        found: Job | None = self._rows().document(job_pk(key))
        return found

    def jobs(
        self: _Ledger,
        *,
        tenant_id: TenantId | None = None,
        is_open: bool = False,
        limit: int = 100,
    ) -> list[Job]:
        """List jobs, newest first."""
        index, name = ("ended", OPEN_JOBS) if is_open else ("place", JOBS)
        rows = self._rows()
        listed = (
            rows.document(found.pk) for found in self._table.listed(index, name, backward=True)
        )
        found = (
            job
            for job in listed
            if job is not None
            and tenant_id in (None, job.tenant_id)
            and not (is_open and job.ended)
        )
        return list(islice(found, limit))

    def keep_job(self: _Ledger, job: Job) -> Job | None:
        """Write a job, if nobody has written it since it was read."""

        def work(rows: Rows) -> Job | None:
            kept = jobbing.kept(rows.document(job_pk(job.key)), job)
            if kept is not None:
                rows.put(job_pk(job.key), kept)
            return kept

        kept: Job | None = self._whole(work)
        return kept

    def keyed(self: _Ledger, text: str) -> str:
        """Give a keyed hash of a text."""
        return jobbing.keyed(text, self._hash_key)
