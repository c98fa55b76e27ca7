"""The functions of the AWS stack: each a verb or two over the same ledger, and none knows of another.

=========== ======================================== ============================================
function    invoked by                               does
=========== ======================================== ============================================
``receive`` the REST API, for CI360's events         accept, then say the key in the queue
``bulk``    the REST API, for CI360's bulk tasks     accept, then say the job in the jobs' queue
``jobs``    the jobs' queue, and a schedule          bring files, check them, say their chunks; enter a
                                                     chunk; settle
``deliver`` the queues of messages                   send what they name, many at one time
``webhook`` the REST API, for Twilio                 settle and hear
``report``  a schedule                               tell CI360 what is owed
``sweep``   a schedule                               send what a lost nudge left or what waits in a
                                                     sender's queue; ask, list, purge, measure
=========== ======================================== ============================================

A lost nudge costs time, never a message. A bulk job of many rows fits into functions that end soon: it goes
on where its record says that it has come to, and its chunks are entered each by an invocation of its own.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import msgspec

from ci360_twilio.clients.nudge import Nudge
from ci360_twilio.core.entry import Entry, Fact, Key, Status
from ci360_twilio.edge.aws import (
    MARGIN_SECONDS,
    answer_of,
    parse_invocation,
    request_id_of,
    seconds_left,
)
from ci360_twilio.edge.http import (
    BULK,
    Request,
    Response,
    Routes,
    failure,
    respond,
    respond_to_task,
)
from ci360_twilio.edge.rounds import (
    attend_to_customers,
    look_after_messages,
    plan_for_customers,
)
from ci360_twilio.errors import ConnectorError, LedgerUnavailable
from ci360_twilio.flow.accept import Accepted
from ci360_twilio.flow.addresses import INBOUND, STATUS
from ci360_twilio.flow.patience import ATTEMPT_SECONDS, TELL_SECONDS
from ci360_twilio.logs import LEDGER_PURGED, Log, capture_foreign
from ci360_twilio.ports import Summary
from ci360_twilio.settings import Settings, read_settings
from ci360_twilio.wiring import REPORTS_AT_ONCE, Parts, wire

if TYPE_CHECKING:
    from ci360_twilio.core.job import Job, JobKey
    from ci360_twilio.flow.send import Begun

AT_ONCE = 100
"""Requests to Twilio that an instance has open at one time."""
SHORTEST_ATTEMPT = 3.0
"""Seconds that must be left of an invocation for an attempt to be begun."""
LOOK_SECONDS = 1.0
"""How often the sweep looks whether a queue has its turn."""
PLAN_SECONDS = 55.0
"""How long ``report`` and ``sweep``, which are invoked every minute, take things up. What they have taken
up may last longer."""
ROUNDS_SECONDS = 25.0
"""How much of that the sweep spends on rounds, so that sending always has its turn."""
PURGE_BATCH = 500
SAID_AT_ONCE = 200
"""Entries of a chunk that one thread says: ten at one time are as many connections as a client has."""
LAG_SECONDS = 1.0
"""How long a job that was just written may be missing in the list by which it is found."""
CORS = (
    ("Access-Control-Allow-Methods", "POST"),
    ("Access-Control-Allow-Headers", "content-type,x-api-key,authorization"),
    ("Vary", "Origin"),
)
"""What a browser is told that asks (Fetch standard, "CORS protocol")."""
NAMESPACE = "ci360-twilio"


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the jobs' queue says of a chunk that is to be entered: where it stands, never what it holds."""

    job: str
    chunk: int


_decode_said = msgspec.json.Decoder(Said).decode
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}/.{1,256}", re.DOTALL)
_ROUTE = re.compile(f".*({re.escape(STATUS)}|{re.escape(INBOUND)})", re.DOTALL)


class Stack:
    """The parts of an instance, made once; every method answers one invocation."""

    def __init__(
        self,
        parts: Parts,
        nudge: Nudge | None,
        *,
        foreman: Nudge | None = None,
        seconds: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Make it.

        Args:
            parts: the process's implementations.
            nudge: the queue before ``deliver``; without one the sweep sends everything.
            foreman: the queue before ``jobs``; without one chunks are entered where jobs are worked on.
            seconds: gives seconds that only grow, by which an invocation ends in time.
            sleep: lets seconds pass.
        """
        self._parts = parts
        self._nudge = nudge
        self._foreman = foreman
        if foreman is not None:
            parts.elsewhere = self._have_entered
        self._seconds = seconds
        self._sleep = sleep
        self._log = parts.log
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="out")

    @cached_property
    def _events(self) -> Routes:
        """Answers CI360, and needs little for it."""
        parts, upstream = self._parts, self._parts.settings.authenticated_upstream
        return Routes(parts.acceptance, parts.store, parts.log, authenticated_upstream=upstream)

    @cached_property
    def _tasks(self) -> Routes:
        """Answers CI360's bulk tasks."""
        parts, upstream = self._parts, self._parts.settings.authenticated_upstream
        return Routes(
            parts.acceptance,
            parts.store,
            parts.log,
            intake=parts.intake,
            authenticated_upstream=upstream,
        )

    @cached_property
    def _webhooks(self) -> Routes:
        """Answers Twilio."""
        parts = self._parts
        return Routes(
            parts.acceptance,
            parts.store,
            parts.log,
            settlement=parts.settlement,
            listening=parts.listening,
            dating=parts.dating,
        )

    def begin(self, context: object) -> None:
        """Have the log say whose invocation this is."""
        self._log.carry(aws_request_id=request_id_of(context))

    def close(self) -> None:
        """Let threads and connections go, where an instance ends before its process."""
        self._pool.shutdown()
        self._parts.close()

    def receive(self, event: object, context: object) -> dict[str, Any]:
        """Answer an event of CI360's, or a browser that asks whether a page may post one."""
        if isinstance(event, dict) and event.get("httpMethod") == "OPTIONS":
            response = Response(status=204)
        else:
            response = self._receive(event, request_id_of(context))
        if origin := self._parts.settings.cors_origin:
            headers = (("Access-Control-Allow-Origin", origin), *CORS, *response.headers)
            response = msgspec.structs.replace(response, headers=headers)
        return answer_of(response)

    def _receive(self, event: object, request_id: str) -> Response:
        request = parse_invocation(event, request_id)
        if isinstance(request, Response):
            return request
        answer = self._events.accept([request])[0]
        if isinstance(answer, Accepted) and answer.entry.status is Status.ACCEPTED:
            self._say([answer.entry])
        return respond(answer, request.request_id)

    def bulk(self, event: object, context: object) -> dict[str, Any]:
        """Answer a bulk task of CI360's."""
        from ci360_twilio.flow.intake import Booked

        request = parse_invocation(event, request_id_of(context))
        if isinstance(request, Response):
            return answer_of(request)
        request = msgspec.structs.replace(request, path=BULK)
        answer = self._tasks.take(request, self._parts.intake)
        if isinstance(answer, Booked) and not answer.job.ended:
            self._call_foreman([(answer.job.key, LAG_SECONDS)])
        return answer_of(respond_to_task(answer, request.request_id))

    def jobs(self, event: object, context: object) -> dict[str, Any]:
        """Do what a batch of the jobs' queue says or, invoked by the schedule, what is due.

        A chunk that could not be entered comes again, by its message or because the job sees that it
        is missing.
        """
        until, end = self._until(context), self._end(context)
        records = _records(event)
        is_called, again = not records, []
        for number, record in enumerate(records):
            message, body = str(record.get("messageId", number)), str(record.get("body"))
            said = _said(body)
            if said is not None:
                if not self._enter(cast("JobKey", said.job), said.chunk):
                    again.append(message)
            elif _KEY.fullmatch(body):
                is_called = True
            elif not self._set_aside(message, body):
                again.append(message)
        if is_called:
            self._work_on_jobs(until, end)
        return {"batchItemFailures": [{"itemIdentifier": message} for message in again]}

    def _work_on_jobs(self, until: float, end: float) -> None:
        """Take up jobs as long as one has something to do; what was taken up may last until the end."""
        try:
            while self._seconds() < until and self._parts.bulk.work(lambda: self._seconds() > end):
                pass
        except LedgerUnavailable as exc:
            self._log.error("jobs.ledger", error=exc.code, message=exc.message)

    def _enter(self, job: JobKey, chunk: int) -> bool:
        """Enter a chunk, and say what of it is there to be sent; tells whether nothing is left of it."""
        try:
            entries = self._parts.bulk.enter_said(job, chunk)
        except (ConnectorError, OSError) as exc:
            code = exc.code if isinstance(exc, ConnectorError) else type(exc).__name__
            self._log.error("jobs.chunk", error=code, job=job.partition("/")[2], chunk=chunk)
            return False
        pieces = range(0, len(entries), SAID_AT_ONCE)
        list(self._pool.map(self._say, (entries[one : one + SAID_AT_ONCE] for one in pieces)))
        return True

    def _have_entered(self, job: Job, chunks: Sequence[int]) -> None:
        """Say which chunks of a job are to be entered."""
        encode = msgspec.json.Encoder().encode
        self._call_foreman([(encode(Said(job.key, chunk)).decode(), 0.0) for chunk in chunks])

    def _call_foreman(self, words: Sequence[tuple[str, float]]) -> None:
        """Say what is to be done on jobs; what is lost is found by the schedule."""
        unsaid = self._foreman.say(words) if self._foreman is not None else 0
        if unsaid:
            self._log.warning("nudge.lost", jobs=unsaid)

    def webhook(self, event: object, context: object) -> dict[str, Any]:
        """Answer a webhook of Twilio's."""
        request = parse_webhook(event, request_id_of(context))
        if isinstance(request, Response):
            return answer_of(request)
        return answer_of(self._webhooks.handle(request))

    def deliver(self, event: object, context: object) -> dict[str, Any]:
        """Send what a batch of the queue names; gives the messages that are to come again.

        One that names nothing is set aside with its reason, and keeps no other; where it cannot be,
        it comes again until the queue itself sets it aside.
        """
        until = self._end(context)
        named: dict[str, Key] = {}
        again: list[str] = []
        for number, record in enumerate(_records(event)):
            message, body = str(record.get("messageId", number)), record.get("body")
            if isinstance(body, str) and _KEY.fullmatch(body):
                named[message] = Key(body)
            elif not self._set_aside(message, str(body)):
                again.append(message)
        try:
            self._send(list(dict.fromkeys(named.values())), until)
        except LedgerUnavailable as exc:
            self._log.error("deliver.ledger", error=exc.code, message=exc.message)
            again.extend(named)
        return {"batchItemFailures": [{"itemIdentifier": message} for message in again]}

    def _set_aside(self, message: str, body: str) -> bool:
        """Set aside what names nothing, for a person to look at; tells whether that is done."""
        self._log.error("deliver.refused", reason="no_key", message=message)
        return self._nudge is not None and self._nudge.set_aside(body, "no_key")

    def report(self, _event: object, context: object) -> dict[str, Any]:
        """Tell CI360 of what is owed, until that is nothing or the time is nearly over."""
        until = self._until(context, TELL_SECONDS)
        reporting, told = self._parts.reporting, 0
        try:
            while self._seconds() < until:
                tasks = reporting.take(REPORTS_AT_ONCE)
                if not tasks:
                    break
                reporting.record(list(self._pool.map(reporting.tell, tasks)))
                told += sum(len(task.owed) for task in tasks)
        except LedgerUnavailable as exc:
            self._log.error("report.ledger", error=exc.code, message=exc.message)
        finally:
            self._parts.ci360.close()
        return {"reports": told}

    def sweep(self, _event: object, context: object) -> dict[str, Any]:
        """Do the rounds, send what is due, and measure."""
        until, end = self._until(context), self._end(context)
        parts, rounds_until = self._parts, min(self._seconds() + ROUNDS_SECONDS, until)

        def is_over() -> bool:
            return self._seconds() > rounds_until

        rounds: tuple[Callable[[], object], ...] = (
            lambda: look_after_messages(parts, is_over, self._pool.map),
            lambda: attend_to_customers(parts, is_over, self._pool.map),
            lambda: self._purge(is_over),
            lambda: self._send_due(until, end),
        )
        for work in rounds:
            try:
                work()
            except ConnectorError as exc:
                self._log.error("sweep.failed", error=exc.code, message=exc.message)
            except Exception as exc:  # noqa: BLE001 - the other rounds go on
                self._log.error("sweep.unexpected", error=type(exc).__name__)
        parts.client.close()
        now = parts.clock()
        try:
            summary = parts.store.summary(now)
        except LedgerUnavailable:
            return {"due": None}
        stack = parts.settings.stack or NAMESPACE
        sys.stdout.write(metrics_line(summary, now.timestamp(), stack) + "\n")
        return {"due": summary.due}

    def _until(self, context: object, last: float = 0.0) -> float:
        """Tell until when something may be taken up that lasts so many seconds."""
        return min(self._end(context) - last, self._seconds() + PLAN_SECONDS)

    def _end(self, context: object) -> float:
        """Tell when all must be written."""
        return self._seconds() + seconds_left(context) - MARGIN_SECONDS

    def _send_due(self, until: float, end: float) -> None:
        """Send what is due and what has its turn, as long as anything waits and time is left.

        Args:
            until: until when something may be taken up.
            end: until when what was taken up must be written.
        """
        while self._seconds() < until:
            entries = self._parts.sending.claim(AT_ONCE)
            if entries:
                self._send_claimed(entries, end)
            elif self._parts.store.is_queued():
                self._sleep(LOOK_SECONDS)
            else:
                return

    def _send(self, keys: Sequence[Key], until: float) -> None:
        if not keys:
            return
        entries = self._parts.sending.claim(len(keys), keys, in_turn=True)
        try:
            self._send_claimed(entries, until)
            plan_for_customers(self._parts)
        finally:
            # Between invocations the instance may be frozen; a connection that outlives that may be
            # dead, and a request lost on it would be an unknown outcome.
            self._parts.client.close()

    def _send_claimed(self, entries: Sequence[Entry], end: float) -> None:
        """Make one attempt for each, all at one time, and write what came of them."""
        sending = self._parts.sending
        for start in range(0, len(entries), AT_ONCE):
            some = entries[start : start + AT_ONCE]
            if end - self._seconds() < SHORTEST_ATTEMPT:
                sending.release(entries[start:])
                self._say(entries[start:])
                return
            begun = self._begin(some)
            timeout = min(ATTEMPT_SECONDS, max(end - self._seconds(), SHORTEST_ATTEMPT))

            def attempt(one: Begun, timeout: float = timeout) -> tuple[Key, Fact]:
                return one.entry.key, sending.attempt(one, timeout=timeout)

            self._record(list(self._pool.map(attempt, begun)))

    def _begin(self, entries: Sequence[Entry]) -> list[Begun]:
        """Commit that these are about to leave: once more, where part of it may have been written.

        What stayed in ``sending`` without having left would be left to a person.
        """
        try:
            return self._parts.sending.begin(entries)
        except LedgerUnavailable:
            return self._parts.sending.begin(entries)

    def _record(self, facts: Sequence[tuple[Key, Fact]]) -> None:
        """Write what came of attempts; what cannot be written is ``unknown`` when its lease ends."""
        if not facts:
            return
        try:
            results = self._parts.sending.record(facts)
        except LedgerUnavailable:
            results = self._parts.sending.record(facts)  # once more: Twilio has made these
        again = [one for one in results if one is not None and one.status is Status.ACCEPTED]
        self._say(again)

    def _say(self, entries: Sequence[Entry]) -> None:
        """Say what is there to be sent, and when it is due."""
        now = self._parts.clock()
        due = [
            (entry.key, (entry.due_at - now).total_seconds())
            for entry in entries
            if entry.place is None
        ]
        unsaid = self._nudge.say(due) if self._nudge is not None and due else 0
        if unsaid:
            self._log.warning("nudge.lost", entries=unsaid)

    def _purge(self, is_over: Callable[[], bool]) -> None:
        """Delete what is past its retention, as far as there is time for that; some each time."""
        purged = PURGE_BATCH
        while purged == PURGE_BATCH:
            purged = self._parts.store.purge(now=self._parts.clock(), limit=PURGE_BATCH)
            if purged:
                self._log.info(LEDGER_PURGED, entries=purged)
            if is_over():
                return


def parse_webhook(event: object, request_id: str) -> Request | Response:
    """Read a webhook that API Gateway hands over: REST API (v1) or HTTP API (v2).

    A stage, or the base path of a domain, may stand in front of our route; what Twilio has signed is
    the public address and our route.
    """
    request = parse_invocation(event, request_id)
    if isinstance(request, Response):
        return request
    members: Mapping[str, Any] = event if isinstance(event, dict) else {}
    http = _member(_member(members, "requestContext"), "http")
    path = str(members.get("rawPath") or members.get("path") or "")
    in_front = _ROUTE.match(path)
    if in_front is None:
        return failure(404, "not_found", "There is nothing here.", request_id)
    query = members.get("rawQueryString")
    if not isinstance(query, str):
        several = _member(members, "multiValueQueryStringParameters")
        query = urlencode(several or _member(members, "queryStringParameters"), doseq=True)
    return msgspec.structs.replace(
        request,
        method=str(members.get("httpMethod") or http.get("method") or "POST"),
        path=path[in_front.start(1) :],
        query=query,
    )


def metrics_line(summary: Summary, now: float, stack: str) -> str:
    """Write the state of the ledger as CloudWatch takes metrics out of a log (embedded metric format).

    Args:
        summary: the state.
        now: seconds since 1970.
        stack: whose ledger it is; the one dimension.
    """
    oldest = [
        0.0 if at is None else max(now - at.timestamp(), 0.0)
        for at in (summary.oldest_due_at, summary.oldest_owed_at)
    ]
    values: dict[str, float] = {
        "Due": summary.due,
        "OldestDueSeconds": round(oldest[0], 1),
        "Waiting": summary.waiting,
        "Unknown": summary.unfinished.get(Status.UNKNOWN, 0),
        "Held": summary.unfinished.get(Status.HELD, 0),
        "ReportsOwed": summary.owed,
        "OldestReportSeconds": round(oldest[1], 1),
        "ReportsAside": summary.aside,
        "ToReview": summary.review,
        "Paused": len(summary.pauses),
    }
    units = {"OldestDueSeconds": "Seconds", "OldestReportSeconds": "Seconds"}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Stack"]],
        "Metrics": [{"Name": name, "Unit": units.get(name, "Count")} for name in values],
    }
    about = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": about, "Stack": stack, **values})


def _said(body: str) -> Said | None:
    """Read which chunk a message names, if it names one."""
    try:
        return _decode_said(body)
    except msgspec.MsgspecError:
        return None


def _records(event: object) -> list[Mapping[str, Any]]:
    members: Mapping[str, Any] = event if isinstance(event, dict) else {}
    records = members.get("Records")
    return [one for one in (records if isinstance(records, list) else []) if isinstance(one, dict)]


def _member(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = members.get(name)
    return found if isinstance(found, dict) else {}


_lock = threading.Lock()
_stack: Stack | None = None


def _make_nudge(settings: Settings) -> Nudge | None:
    if settings.queue_url is None:
        return None
    return Nudge(settings.queue_url, aside=settings.dead_letters_url)


def _make_foreman(settings: Settings) -> Nudge | None:
    return None if settings.jobs_url is None else Nudge(settings.jobs_url)


def _instance(context: object) -> Stack:
    global _stack
    with _lock:
        if _stack is None:
            settings = read_settings()
            log = Log(level=settings.log_level)
            capture_foreign(log)
            parts = wire(settings, log, lazily=True)
            _stack = Stack(parts, _make_nudge(settings), foreman=_make_foreman(settings))
        _stack.begin(context)
        return _stack


def receive(event: object, context: object) -> dict[str, Any]:
    """Answer an event of CI360's, through API Gateway."""
    return _answered(lambda stack: stack.receive(event, context), context)


def webhook(event: object, context: object) -> dict[str, Any]:
    """Answer a webhook of Twilio's, through API Gateway."""
    return _answered(lambda stack: stack.webhook(event, context), context)


def bulk(event: object, context: object) -> dict[str, Any]:
    """Answer a bulk task of CI360's, through API Gateway."""
    return _answered(lambda stack: stack.bulk(event, context), context)


def jobs(event: object, context: object) -> dict[str, Any]:
    """Work on bulk jobs."""
    return _instance(context).jobs(event, context)


def deliver(event: object, context: object) -> dict[str, Any]:
    """Send what a batch of the queue names."""
    return _instance(context).deliver(event, context)


def report(event: object, context: object) -> dict[str, Any]:
    """Tell CI360 what it is owed."""
    return _instance(context).report(event, context)


def sweep(event: object, context: object) -> dict[str, Any]:
    """Send what is due, and do the rounds."""
    return _instance(context).sweep(event, context)


def _answered(work: Callable[[Stack], dict[str, Any]], context: object) -> dict[str, Any]:
    try:
        stack = _instance(context)
    except ConnectorError as exc:
        Log().error("function.start", error=exc.code, message=exc.message)
        words = "The function is not set up; its log says why."
        return answer_of(failure(503, exc.code, words, request_id_of(context)))
    return work(stack)
