"""``report``: outcomes that are owed -> external events in CI360 -> answers in the ledger.

::

    take ──────► tell ──────► record
    (puts them   (CI360)      (acknowledged, again
    off)                       later, or set aside)

A report is sent until CI360 has acknowledged it, so that CI360 may hear of one outcome twice; its key
is the same then. What CI360 refuses is set aside with CI360's words, and the others go on. Where CI360
does not take the token the tenant's reports wait, and its messages are sent all the same.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec

from ci360_twilio.core.ci360 import FILE_REPORTS, Ci360
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.outcome import ExternalEvent, external_event
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.report import Answer, Report, Verdict, wait
from ci360_twilio.core.retry import Backoff
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import BeforeSending, Ci360Failed, Trouble
from ci360_twilio.flow.patience import TELL_SECONDS
from ci360_twilio.logs import (
    OUTCOME_REPORTED,
    REPORTS_PAUSED,
    REPORTS_RESUMED,
    Log,
    safe_guid,
)
from ci360_twilio.ports import Clock, Controls, Reporter, Reports, Tenants

FILE_SECONDS = 120.0
PUT_OFF = timedelta(seconds=300)
"""For how long what was taken is nobody else's; over all time-outs together."""
PROBES = Backoff(30, 900)
"""Waits until it is tried whether CI360 takes the token, in seconds."""
THROTTLED = Backoff(15, 300)
"""Waits of a whole tenant after CI360 wanted to hear less, in seconds; its window is five minutes."""
NO_FILES = timedelta(hours=1)
"""For how long reports go one by one after CI360 would not take a file."""

Document = Entry | Inbound
Told = tuple[Key, str, Answer]
"""What came of a report: the document's key, the report's, and the answer."""


class Task(NamedTuple):
    """Reports of one tenant that go together: one event, or a file of them."""

    tenant: Tenant
    owed: tuple[tuple[Document, Report], ...]
    is_file: bool = False
    probe: Pause | None = None
    """The pause that this is to try."""


class Done(NamedTuple):
    """What came of a task."""

    told: tuple[Told, ...]
    changes: tuple[Callable[[], object], ...] = ()
    """What else is to be written, each a commit of its own."""


class Reporting:
    """Tells CI360. Safe for many threads."""

    def __init__(
        self,
        reports: Reports,
        controls: Controls,
        reporter: Reporter,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        rng: random.Random | None = None,
    ) -> None:
        """Make it.

        Args:
            reports: what is owed.
            controls: where reporting is paused.
            reporter: posts to CI360.
            tenants: whose CI360 it is.
            clock: tells the time.
            log: hears of every report.
            rng: gives the jitter.
        """
        self._reports = reports
        self._controls = controls
        self._reporter = reporter
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._rng = rng or random.Random()
        self._lock = threading.Lock()
        self._quiet: dict[TenantId, tuple[datetime, int]] = {}
        """Until when a tenant's CI360 is left alone, and how often in a row that was so."""
        self._one_by_one: dict[TenantId, datetime] = {}
        self._last = TenantId("")
        """Whose turn it was last."""
        self._lines: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()

    def take(self, limit: int) -> list[Task]:
        """Take what is due, as tasks for up to ``limit`` requests at one time.

        Tenants share these evenly, and where there are fewer requests than tenants they take turns.
        Of a tenant whose reports are paused nothing is taken, unless it is time to try whether CI360
        takes its token again: then one is.
        """
        now = self._clock()
        owing = self._reports.owing(now, most=FILE_REPORTS)
        if not owing or limit <= 0:
            return []
        pauses = [one for one in self._controls.pauses() if one.scope is Scope.REPORTS]
        tasks: list[Task] = []
        owing.sort(key=lambda one: (one.tenant_id <= self._last, one.tenant_id))
        for number, one in enumerate(owing):
            share = max((limit - len(tasks)) // (len(owing) - number), 1)
            if len(tasks) >= limit:
                break
            tasks += self._take_of(one.tenant_id, one.documents, share, pauses, now)
            self._last = one.tenant_id
        return tasks

    def tell(self, task: Task) -> Done:
        """Tell CI360 of one task. Never raises for what the world does; talks to CI360 alone."""
        started = time.perf_counter()
        ci360 = task.tenant.ci360
        events: list[tuple[Document, Report, ExternalEvent]] = []
        told: list[Told] = []
        for document, report in task.owed:
            made = _event(document, report, ci360)
            if isinstance(made, Answer):
                told.append((document.key, report.key, made))
                self._note(task, document, report, made, started, made.words)
            else:
                events.append((document, report, made))
        if not events:
            return Done(tuple(told), self._untried(task))
        failed = self._post(task, [event for _, _, event in events])
        for document, report, _ in events:
            answer = self._answer(task, report, failed)
            told.append((document.key, report.key, answer))
            self._note(task, document, report, answer, started, failed.reason if failed else None)
        return Done(tuple(told), self._tried(task, failed))

    def record(self, done: Iterable[Done]) -> None:
        """Write what came of tasks, in one commit; may be called again after a failure."""
        ended = list(done)
        lines = []
        with suppress(queue.Empty):
            while True:
                lines.append(self._lines.get_nowait())
        self._log.info_many(lines)
        self._reports.answer_reports([one for task in ended for one in task.told])
        for change in (change for task in ended for change in task.changes):
            change()

    def report_all(self, limit: int) -> int:
        """Tell of what is due now, one task after the other; gives how many reports that were."""
        tasks = self.take(limit)
        self.record([self.tell(task) for task in tasks])
        return sum(len(task.owed) for task in tasks)

    def _take_of(
        self,
        tenant_id: TenantId,
        documents: int,
        share: int,
        pauses: Sequence[Pause],
        now: datetime,
    ) -> list[Task]:
        until, _ = self._quiet.get(tenant_id, (now, 0))
        if until > now:
            return []
        try:
            tenant = self._tenants.get(tenant_id)
        except BeforeSending as exc:
            self._leave_alone(tenant_id, None)
            self._log.warning(
                OUTCOME_REPORTED, tenant=tenant_id, decision="failed", reason=exc.code
            )
            return []
        probe = None
        for pause in (one for one in pauses if one.silences(tenant_id)):
            if not pause.probe_is_due(now):
                return []
            probe = self._controls.take_probe(pause.name, now=now, until=now + PUT_OFF)
            if probe is None:
                return []
        is_file = probe is None and self._goes_as_file(tenant, documents, now)
        size = FILE_REPORTS if is_file else 1 if probe else share
        taken = self._reports.take_reports(tenant_id, now=now, until=now + PUT_OFF, limit=size)
        owed = [(one.of, report) for one in taken for report in one.reports]
        if is_file:
            return [Task(tenant, tuple(owed), is_file=True)] if owed else []
        return [Task(tenant, (one,), probe=probe) for one in owed]

    def _goes_as_file(self, tenant: Tenant, documents: int, now: datetime) -> bool:
        ci360 = tenant.ci360
        if ci360 is None or not ci360.bulk_threshold or documents < ci360.bulk_threshold:
            return False
        return self._one_by_one.get(tenant.id, now) <= now

    def _post(self, task: Task, events: Sequence[ExternalEvent]) -> Ci360Failed | None:
        try:
            if task.is_file:
                self._reporter.tell_many(task.tenant, events, timeout=FILE_SECONDS)
            else:
                self._reporter.tell(task.tenant, events[0], timeout=TELL_SECONDS)
        except Ci360Failed as exc:
            return exc
        except Exception as exc:  # noqa: BLE001 - a report is never lost for a mistake of ours
            self._log.error("report.unexpected", error=type(exc).__name__, tenant=task.tenant.id)
            words = "Something unforeseen happened."
            return Ci360Failed(words, trouble=Trouble.AWAY, reason="unexpected_error")
        return None

    def _answer(self, task: Task, report: Report, failed: Ci360Failed | None) -> Answer:
        now = self._clock()
        if failed is None:
            return Answer(Verdict.TOLD, now)
        if failed.trouble is Trouble.REFUSED and not task.is_file:
            return Answer(Verdict.ASIDE, now, words=failed.said or failed.reason)
        if failed.trouble is Trouble.REFUSED:
            return Answer(Verdict.AGAIN, now, now)  # one by one
        asked = timedelta(seconds=failed.retry_after or 0.0)
        return Answer(Verdict.AGAIN, now, now + max(wait(report, self._rng.random()), asked))

    def _tried(self, task: Task, failed: Ci360Failed | None) -> tuple[Callable[[], object], ...]:
        """Draw the conclusions for the tenant as a whole."""
        tenant_id, trouble = task.tenant.id, failed and failed.trouble
        if failed is not None and trouble is Trouble.DENIED:
            if self._has_changed(task.tenant):
                return self._untried(task)
            return (partial(self._pause, tenant_id, failed.reason, task.probe),)
        if failed is not None and trouble is Trouble.REFUSED and task.is_file:
            self._one_by_one[tenant_id] = self._clock() + NO_FILES
            return ()
        if failed is not None and trouble is Trouble.THROTTLED:
            self._leave_alone(tenant_id, failed.retry_after)
        else:
            self._listen_again(tenant_id)
        if task.probe is None:
            return ()
        if failed is not None and trouble is not Trouble.REFUSED:
            return (partial(self._pause, tenant_id, task.probe.reason, task.probe),)
        return (partial(self._resume, task.probe),)

    def _untried(self, task: Task) -> tuple[Callable[[], object], ...]:
        """Have the next report try in place of one that showed nothing of the token."""
        if task.probe is None:
            return ()
        again = msgspec.structs.replace(task.probe, probe_at=self._clock())
        return (partial(self._controls.pause, again, replace=True),)

    def _leave_alone(self, tenant_id: TenantId, seconds: float | None) -> None:
        """Leave a tenant's CI360 alone for a while, for longer each time."""
        now = self._clock()
        with self._lock:
            until, times = self._quiet.get(tenant_id, (now, 0))
            if until > now:  # another request of the same moment has said so already
                return
            pause = THROTTLED.wait(times + 1, self._rng.random())
            asked = timedelta(seconds=seconds or 0.0)
            self._quiet[tenant_id] = now + max(pause, asked), times + 1

    def _listen_again(self, tenant_id: TenantId) -> None:
        """Forget that a tenant's CI360 was to be left alone, if that is over."""
        with self._lock:
            if tenant_id in self._quiet and self._quiet[tenant_id][0] <= self._clock():
                del self._quiet[tenant_id]

    def _has_changed(self, used: Tenant) -> bool:
        """Read the tenant's document again; tell whether it names another token or address by now."""
        try:
            return self._tenants.reread(used.id).ci360 != used.ci360
        except BeforeSending:
            return False

    def _pause(self, tenant_id: TenantId, reason: str, probe: Pause | None) -> None:
        now = self._clock()
        failures = probe.failures + 1 if probe else 0
        pause = Pause(
            scope=Scope.REPORTS,
            tenant_id=tenant_id,
            cause=Cause.CONFIG,
            reason=reason,
            since=probe.since if probe else now,
            probe_at=now + PROBES.wait(failures + 1, self._rng.random()),
            failures=failures,
        )
        if self._controls.pause(pause, replace=probe is not None) and probe is None:
            self._log.error(REPORTS_PAUSED, tenant=tenant_id, reason=reason)

    def _resume(self, pause: Pause) -> None:
        if self._controls.resume([pause.name]):
            self._log.info(REPORTS_RESUMED, tenant=pause.tenant_id)

    def _note(
        self,
        task: Task,
        document: Document,
        report: Report,
        answer: Answer,
        started: float,
        reason: str | None,
    ) -> None:
        of = {"guid": safe_guid(document.guid)} if isinstance(document, Entry) else {}
        fields = {
            "tenant": task.tenant.id,
            **of,
            "sid": report.sid,
            "outcome": report.outcome,
            "decision": answer.verdict,
            "reason": reason,
            "attempt": report.attempts,
            "file": task.is_file,
            "ms": round((time.perf_counter() - started) * 1000, 3),
        }
        self._lines.put((OUTCOME_REPORTED, fields))


def _event(document: Document, report: Report, ci360: Ci360 | None) -> ExternalEvent | Answer:
    """Make the event of a report, or say at once what becomes of it."""
    name = ci360.names.get(report.outcome) if ci360 else None
    if ci360 is None or name is None:
        return Answer(Verdict.DROPPED, report.at)
    made = external_event(document, report, name, ci360)
    return made if isinstance(made, ExternalEvent) else Answer(Verdict.ASIDE, report.at, words=made)
