"""A bulk job's workplace in one process: a store, files, a fetcher of local files, and a twin for Twilio."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ci360_twilio.clients.files import FolderFiles
from ci360_twilio.core.job import Job, JobKey
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.audience import Gates
from ci360_twilio.flow.bulk import Bulk
from ci360_twilio.flow.chunks import Chunks, Fan, RowLedger, one_by_one
from ci360_twilio.flow.intake import Booked, Intake
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.flow.send import Sending
from ci360_twilio.logs import Log
from ci360_twilio.ports import Files, Store
from ci360_twilio.stores.firsts import TemporaryFirsts
from ci360_twilio.twin.clock import VirtualClock
from ci360_twilio.twin.inside import InsideTwilio
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

TENANT = TenantId("audience-tenant")
ACCOUNT = f"AC{'3b' * 16}"
TOKEN = "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c"
SENDER = "+12015550199"
PARAMETERS = {"to": "{{mobile}}", "body": "Hello {{first_name}}!"}
COLUMNS = "identity_id,first_name,mobile"
CHUNK = 20
"""Rows of a chunk: few, so that a small file has many."""
START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def tenant(**members: Any) -> Tenant:
    """Make the tenant."""
    document = {
        "twilio_api_url": "https://api.twilio.com",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "default_sender": SENDER,
        **members,
    }
    return parse_tenant(json.dumps(document), TENANT)


class OneTenant:
    """The only tenant that there is."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def get(self, _: TenantId) -> Tenant:
        """Give it."""
        return self.tenant

    reread = get


class LocalFetcher:
    """Fetches files whose addresses are paths, and counts how often."""

    def __init__(self) -> None:
        self.fetched = 0

    def resume(self, url: object, into: Path, *, timeout: float, going: Callable[[], None]) -> int:
        """Copy a file."""
        assert timeout > 0
        going()
        self.fetched += 1
        shutil.copy(str(url), into)
        return into.stat().st_size


class Workplace:
    """All that a job needs, with a clock that is moved by hand."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        fan: Fan = one_by_one,
        ttl: timedelta | None = None,
        **members: Any,
    ) -> None:
        self.folder = folder
        self.clock = VirtualClock(START)
        self.store = store
        self.tenants = OneTenant(tenant(**members))
        self.files: Files = FolderFiles(folder / "jobs")
        self.fetcher = LocalFetcher()
        self.log = Log(level="error")
        self.gates = Gates(ttl or timedelta(days=1))
        self.twin = TwilioTwin(
            accounts=[TwinAccount(sid=ACCOUNT, auth_token=TOKEN)], clock=self.clock
        )
        self.intake = Intake(store, self.tenants, self.clock, self.log, self.gates)
        self.bulk = self.make_bulk(fan)
        client = InsideTwilio(self.twin, clock=self.clock)
        pausing = Pausing(store, self.tenants, self.clock, self.log)
        self.sending = Sending(store, client, self.tenants, pausing, self.clock, self.log)
        self._files = 0

    def make_bulk(self, fan: Fan = one_by_one, store: Any = None, **members: Any) -> Bulk:
        """Make what works on jobs, as a process that has just started would."""
        store, files = store or self.store, members.get("files", self.files)
        return Bulk(
            store,
            files,
            self.make_chunks(fan, store, files),
            members.get("fetcher", self.fetcher),
            self.clock,
            self.log,
            seconds=members.get("seconds", time.monotonic),
        )

    def make_chunks(self, fan: Fan, ledger: RowLedger, files: Files) -> Chunks:
        """Make what works on rows, few at a time."""
        return Chunks(
            ledger,
            files,
            self.tenants,
            self.clock,
            self.gates,
            firsts=TemporaryFirsts,
            fan=fan,
            rows=CHUNK,
        )

    def task(
        self,
        rows: Sequence[Sequence[str]] | bytes,
        *,
        columns: bytes | str = COLUMNS,
        parameters: dict[str, Any] | None = None,
        occurrence: str = "occurrence-1",
    ) -> dict[str, Any]:
        """Make a task's body, its files in the folder."""
        self._files += 1
        data = self.folder / f"data-{self._files}.csv"
        head = self.folder / f"head-{self._files}.csv"
        data.write_bytes(rows if isinstance(rows, bytes) else written(rows))
        head.write_bytes(columns.encode() if isinstance(columns, str) else columns)
        return {
            "occurrenceId": occurrence,
            "taskVersionId": "v1",
            "externalTenantId": TENANT,
            "taskCode": "TSK_101",
            "responseTrackingCode": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "presignedUrls": {"dataFile": str(data), "metadataFile": str(head)},
            "sendParameters": PARAMETERS if parameters is None else parameters,
        }

    def take(self, task: dict[str, Any]) -> Booked:
        """Post a task."""
        answer = self.intake.take(Arrival(body=json.dumps(task).encode(), trusted=True))
        assert isinstance(answer, Booked), answer
        return answer

    def job(self, key: JobKey) -> Job:
        """Read a job."""
        found = self.store.job(key)
        assert found is not None
        return found

    def run(self, task: dict[str, Any], *, until: Callable[[Job], bool] | None = None) -> Job:
        """Post a task and do all that follows, until its job has ended."""
        job = self.take(task).job
        for _ in range(2_000):
            job = self.job(job.key)
            if job.ended or (until is not None and until(job)):
                return job
            self.turn()
        raise AssertionError(f"the job does not end: {job.state}")

    def turn(self, bulk: Bulk | None = None) -> None:
        """Work on jobs once, and send what is due."""
        if not (bulk or self.bulk).work():
            self.clock.wait(1.0)
        self.send()

    def send(self) -> None:
        """Send everything that is due."""
        while entries := self.sending.claim(100):
            begun = self.sending.begin(entries)
            self.sending.record([(one.entry.key, self.sending.attempt(one)) for one in begun])

    @property
    def sent_to(self) -> list[str]:
        """The recipients of the messages that the twin made, in order."""
        return [message.to for message in self.twin.messages]


def written(rows: Sequence[Sequence[str]]) -> bytes:
    """Write rows as CI360 does: quotes where they are needed, no header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
