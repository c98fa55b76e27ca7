"""A SQLite ledger as far as bulk jobs go; see :class:`ci360_twilio.ports.Jobs`."""

from __future__ import annotations

import sqlite3
from typing import Any

from ci360_twilio.core.job import Job, JobKey
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Added
from ci360_twilio.stores import jobbing
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.sqlite_file import SqliteFile
from ci360_twilio.stores.sqlite_wishes import encode

_WRITE = (
    "INSERT INTO jobs (key, tenant, created_at, is_open, version, data) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET created_at = excluded.created_at,"
    " is_open = excluded.is_open, version = excluded.version, data = excluded.data"
)


class SqliteJobs:
    """See :class:`SqliteStore` for the whole."""

    _file: SqliteFile
    _hash_key: bytes

    def add_job(self, job: Job) -> Added:
        """Write a job under a new key, in one commit."""
        with self._file.writing() as db:
            found = jobbing.added(_read(db, job.key), job)
            _write(db, found.job)
            return found

    def job(self, key: JobKey) -> Job | None:
        """Read a job."""
        return self._file.read(lambda db: _read(db, key))

    def jobs(
        self, *, tenant_id: TenantId | None = None, is_open: bool = False, limit: int = 100
    ) -> list[Job]:
        """List jobs, newest first."""
        where, values = "", list[Any]()
        if is_open:
            where += " AND is_open"
        if tenant_id is not None:
            where += " AND tenant = ?"
            values.append(tenant_id)
        sql = f"SELECT data FROM jobs WHERE 1{where} ORDER BY created_at DESC, id DESC LIMIT ?"  # noqa: S608
        found = self._file.read(lambda db: db.execute(sql, (*values, limit)).fetchall())
        return [jobbing.decode_job(data) for (data,) in found]

    def keep_job(self, job: Job) -> Job | None:
        """Write a job, if nobody has written it since it was read."""
        with self._file.writing() as db:
            kept = jobbing.kept(_read(db, job.key), job)
            if kept is not None:
                _write(db, kept)
            return kept

    def keyed(self, text: str) -> str:
        """Give a keyed hash of a text."""
        return jobbing.keyed(text, self._hash_key)


def _read(db: sqlite3.Connection, key: JobKey) -> Job | None:
    found = db.execute("SELECT data FROM jobs WHERE key = ?", (key,)).fetchone()
    return jobbing.decode_job(found[0]) if found else None


def _write(db: sqlite3.Connection, job: Job) -> None:
    values = (job.key, job.tenant_id, ms(job.created_at), not job.ended, job.version, encode(job))
    db.execute(_WRITE, values)
