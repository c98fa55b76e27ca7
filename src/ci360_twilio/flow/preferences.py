"""Contact preferences: wishes pulled from CI360 and pushed to it, by CI360's own jobs.

A job takes minutes, so that it is done in steps: each asks or moves something and says when the next
is due. Between steps only the job's id is kept.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple, Protocol

from ci360_twilio.core.consent import Source
from ci360_twilio.core.preference import (
    CI360,
    PREFERENCES,
    Layout,
    preference_row,
    read_head,
)
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import BeforeSending, Ci360Failed, TenantUnknown, Trouble
from ci360_twilio.flow.consenting import Consenting, Imported, Wishes, csv_rows
from ci360_twilio.logs import CONSENT_CHANGED, Log
from ci360_twilio.ports import Chores, Clock, Tenants

KIND = "pull"
STEP = timedelta(seconds=15)
"""How long after one question the next is asked."""
LONGEST = timedelta(minutes=30)
"""How long one process may be at a step before another takes it."""
GIVEN_UP = timedelta(hours=6)
"""A job that takes longer is started anew."""
AFTER_FAILURE = timedelta(minutes=30)
ROWS = 200_000
"""Wishes in one file that is pushed."""
EXPORT, IMPORT = "CONTACT_PREFERENCE_SMS_EXPORT", "CONTACT_PREFERENCE_SMS_IMPORT"


class Jobs(Protocol):
    """CI360, as far as contact preferences go. Every method raises ``Ci360Failed``."""

    def start_job(self, tenant: Tenant, kind: str, **members: Any) -> str:
        """Start a job; gives its id."""
        ...

    def ask_job(self, tenant: Tenant, job: str) -> dict[str, Any]:
        """Ask how a job is doing."""
        ...

    def upload_preferences(self, tenant: Tenant, file: bytes) -> object:
        """Put a file where CI360 says; gives its address."""
        ...

    def fetch_file(self, address: object, into: Any) -> int:
        """Fetch a file; gives its size."""
        ...


class Scheduled(Wishes, Chores, Protocol):
    """Where wishes and chores are."""


class Stage(StrEnum):
    """How far a job is."""

    UNDER_WAY = "under way"
    DONE = "done"
    FAILED = "failed"


class Progress(NamedTuple):
    """What CI360 says of a job."""

    stage: Stage
    words: str
    """Its status, as CI360 writes it."""
    files: tuple[Mapping[str, Any], ...] = ()


class Preferences:
    """Pulls and pushes. Safe for many threads."""

    def __init__(
        self, store: Scheduled, jobs: Jobs, tenants: Tenants, clock: Clock, log: Log
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._consenting = Consenting(store, clock, log)
        self._scheduled: set[TenantId] = set()

    def schedule(self, tenant: Tenant) -> None:
        """Have a tenant's wishes pulled from time to time, if its document says so."""
        wanted = tenant.ci360 is not None and tenant.ci360.preferences_hours is not None
        if not wanted:
            self._scheduled.discard(tenant.id)
        elif tenant.id not in self._scheduled:
            self._store.add_chores([f"{KIND}:{tenant.id}"], due_at=self._clock())
            self._scheduled.add(tenant.id)

    def pull_due(self) -> bool:
        """Do one step for a tenant whose wishes are to be pulled; tells whether there was one."""
        now = self._clock()
        chore = self._store.take_chore(KIND, now=now, until=now + LONGEST)
        if chore is None:
            return False
        tenant_id = TenantId(chore.name.removeprefix(f"{KIND}:"))
        try:
            tenant = self._tenants.get(tenant_id)
            hours = tenant.ci360.preferences_hours if tenant.ci360 else None
            if hours is None:
                self._drop(tenant_id)
                return True
            mark, wait = self._step(tenant, chore.mark, timedelta(hours=hours))
        except TenantUnknown:
            self._drop(tenant_id)
            return True
        except (BeforeSending, Ci360Failed) as exc:
            reason = exc.reason if isinstance(exc, Ci360Failed) else exc.code
            self._tell(tenant_id, "failed", reason=reason)
            mark, wait = None, AFTER_FAILURE
        self._store.end_chore(chore.name, due_at=self._clock() + wait, mark=mark)
        return True

    def start_pull(self, tenant: Tenant) -> str:
        """Have CI360 write its preferences into files; gives the job's id. Raises ``Ci360Failed``."""
        return self._jobs.start_job(tenant, EXPORT, includeSourceAndTimestamp=True)

    def start_push(self, tenant: Tenant, rows: Sequence[tuple[str, ...]]) -> str:
        """Have CI360 take wishes over; gives the job's id. Raises ``Ci360Failed``."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([PREFERENCES, *rows])
        address = self._jobs.upload_preferences(tenant, text.getvalue().encode())
        return self._jobs.start_job(tenant, IMPORT, fileLocation=address, headerRowIncluded=True)

    def to_push(self, tenant_id: TenantId) -> Iterator[list[tuple[str, ...]]]:
        """Give the rows of all wishes that CI360 can take over, a file's worth at a time."""
        rows = (preference_row(consent) for consent in self._consenting.each(tenant_id))
        known = (row for row in rows if row is not None)
        while page := list(islice(known, ROWS)):
            yield page

    def ask(self, tenant: Tenant, job: str) -> Progress:
        """Ask how a job is doing. Raises ``Ci360Failed``."""
        said = self._jobs.ask_job(tenant, job)
        status = said.get("status")
        words = status if isinstance(status, str) else ""
        more = said.get("statusDescription")
        if isinstance(more, str) and more:
            words = f"{words}: {more}"
        stage = _STAGES.get((status if isinstance(status, str) else "").strip().lower())
        files = said.get("downloadItemList")
        found = files if isinstance(files, list) else []
        return Progress(
            stage or Stage.UNDER_WAY,
            words,
            tuple(one for one in found if isinstance(one, dict)),
        )

    def take(
        self,
        tenant: Tenant,
        files: Sequence[Mapping[str, Any]],
        *,
        by: str,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Imported]:
        """Fetch the files of a job, one after the other, and take the wishes in them.

        A file lies on disk while it is read, in a place that only its owner reads and that has no
        name.

        Raises:
            Ci360Failed: one of them cannot be fetched.
        """
        heads = [one for one in files if _is_head(one)]
        layout = self._head(heads[0]) if heads else None
        return [
            self._take(tenant, one, layout or CI360, by, progress)
            for one in files
            if not _is_head(one)
        ]

    def _step(
        self, tenant: Tenant, mark: str | None, every: timedelta
    ) -> tuple[str | None, timedelta]:
        """Start a job, ask for it, or take what it made; gives the mark and when the next step is."""
        now = self._clock()
        if mark is None:
            return f"{self.start_pull(tenant)} {now.isoformat()}", STEP
        job, _, began = mark.partition(" ")
        found = self.ask(tenant, job)
        if found.stage is Stage.UNDER_WAY:
            late = now - datetime.fromisoformat(began) > GIVEN_UP
            return (None if late else mark), STEP
        if found.stage is Stage.FAILED:
            raise Ci360Failed(
                "CI360 could not export its preferences.",
                trouble=Trouble.REFUSED,
                reason="job_failed",
                said=found.words,
            )
        taken = self.take(tenant, found.files, by="worker")
        self._tell(
            tenant.id,
            "pulled",
            rows=sum(one.rows for one in taken),
            consents=sum(one.changed for one in taken),
        )
        return None, every

    def _drop(self, tenant_id: TenantId) -> None:
        """Pull a tenant's wishes no more, until it is scheduled anew."""
        self._store.drop_chores([f"{KIND}:{tenant_id}"])
        self._scheduled.discard(tenant_id)

    def _take(
        self,
        tenant: Tenant,
        file: Mapping[str, Any],
        layout: Layout,
        by: str,
        progress: Callable[[int], None],
    ) -> Imported:
        with tempfile.TemporaryFile() as fetched:
            self._jobs.fetch_file(file.get("url"), fetched)
            fetched.seek(0)
            text = io.TextIOWrapper(fetched, encoding="utf-8-sig", errors="replace", newline="")
            return self._consenting.import_rows(
                tenant.id,
                csv_rows(text),
                by=by,
                source=Source.CI360,
                layout=layout,
                region=tenant.default_region,
                progress=progress,
            )

    def _head(self, file: Mapping[str, Any]) -> Layout | None:
        with tempfile.TemporaryFile() as fetched:
            self._jobs.fetch_file(file.get("url"), fetched)
            fetched.seek(0)
            first = fetched.read(10_000).decode("utf-8-sig", errors="replace").splitlines()
        return read_head(next(csv_rows(first[:1]), [])) if first else None

    def _tell(self, tenant_id: TenantId, decision: str, **fields: object) -> None:
        write = self._log.warning if decision == "failed" else self._log.info
        write(CONSENT_CHANGED, tenant=tenant_id, by="worker", decision=decision, **fields)


_STAGES = {
    "exported": Stage.DONE,
    "imported": Stage.DONE,
    "failed validation": Stage.FAILED,
    "failed": Stage.FAILED,
    "error": Stage.FAILED,
    "cancelled": Stage.FAILED,
    "canceled": Stage.FAILED,
}


def _is_head(file: Mapping[str, Any]) -> bool:
    path = file.get("path")
    return isinstance(path, str) and "header" in path.lower()
