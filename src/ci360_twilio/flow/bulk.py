"""Bulk jobs: files fetched, checked whole, entered into the ledger chunk by chunk, settled, and told of.

Everything here may be done again: a job goes on where its record says that it has come to, whoever worked
on it before. What a chunk is made of is written by the check into the job's plan; which rows have which
entries is written when a chunk is entered, so that the customers' file can be deleted then.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import msgspec

from ci360_twilio.core.audience import parse_options
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Status
from ci360_twilio.core.job import Job, JobKey, State
from ci360_twilio.core.pause import Pause, Scope
from ci360_twilio.errors import (
    AddressRefused,
    AudienceBroken,
    BeforeSending,
    Ci360Failed,
    LedgerUnavailable,
    TenantUnknown,
    Trouble,
)
from ci360_twilio.flow.audience import JOB_CANCELED
from ci360_twilio.flow.chunks import (
    DATA,
    METADATA,
    PARTS,
    PLAN,
    Chunks,
    Mark,
    Standing,
    outcome_of,
    part_of,
    standing,
    why_not,
)
from ci360_twilio.flow.intake import KIND, JobStore, chore_of
from ci360_twilio.logs import JOB_CHANGED, Log
from ci360_twilio.ports import Clock, Files

LEASE = timedelta(seconds=30)
"""For how long whoever works on a job need not be heard of; a chunk, or a piece of a file, takes far less."""
SLICE_SECONDS = 10.0
"""How long one job is worked on before another has its turn."""
FETCH_SECONDS = 600.0
"""How long one attempt at a file may take."""
WAITS = (1, 2, 4, 8, 16, 30, 60, 60)
"""Seconds between attempts at a file that made no progress."""
MOST_METADATA = 1 << 20
"""Bytes of a metadata file."""
GONE = frozenset({"address_expired", "file_too_large"})
"""Why a file cannot be fetched that no other attempt would bring."""
LONGEST_WAIT = 15.0
"""Seconds after which it is looked again whether messages have come to their end."""
SAID_AT_ONCE = 100
"""Chunks that are said before it is looked whether the turn is over."""
LOOK = timedelta(seconds=5)
"""After how long it is looked again which chunks others have entered."""
LOST = timedelta(seconds=120)
"""After how long without a further one those that are missing are said again; twice that the next time."""
CHECKS = 3
"""How often a check is begun where the time is short; one that has not ended then never will."""
FINDING = timedelta(minutes=10)
"""How long a message whose answer was lost counts as on its way; whoever looks longer looks for that alone."""
MOST_LATE = 20
"""One in so many rows of a chunk may be on its way when the others are counted."""
MOST_UNSURE = 200
"""Chunks that are looked at again at the most."""


class Store(JobStore, Standing, Protocol):
    """Where jobs and entries are."""

    def record_many(self, facts: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
        """Apply facts; see :meth:`ci360_twilio.ports.Ledger.record_many`."""
        ...

    def pauses(self) -> list[Pause]:
        """List what is not sent for now."""
        ...

    def resume(self, names: Iterable[str]) -> int:
        """Lift pauses."""
        ...


class Fetcher(Protocol):
    """Fetches files from signed addresses."""

    def resume(self, url: object, into: Path, *, timeout: float, going: Callable[[], None]) -> int:
        """Fetch a file, or what of it is not there yet; gives its size.

        Args:
            url: where it is.
            into: where it, or its beginning, is to be.
            timeout: seconds that it may take.
            going: is called with every piece that came; may raise.

        Raises:
            AddressRefused: the address may not be called.
            Ci360Failed: the file did not come whole; what came of it is kept.
        """
        ...


Elsewhere = Callable[[Job, Sequence[int]], object]
"""Says to others which chunks they are to enter, by their numbers; see :meth:`Bulk.enter_said`."""


class Stopped(Exception):
    """Whoever works was asked to stop; the job goes on later."""


class Bulk:
    """Works on jobs. Safe for several processes: a job is one's at a time."""

    def __init__(
        self,
        store: Store,
        files: Files,
        chunks: Chunks,
        fetcher: Fetcher,
        clock: Clock,
        log: Log,
        *,
        elsewhere: Elsewhere | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make it.

        Args:
            store: where jobs and entries are.
            files: where jobs' files are.
            chunks: works on their rows.
            fetcher: brings files.
            clock: tells the time.
            log: hears of every change of state.
            elsewhere: has chunks entered by others, in a time that is short for each; without it they are
                entered here.
            seconds: gives seconds that only grow.
        """
        self._store = store
        self._files = files
        self._chunks = chunks
        self._fetcher = fetcher
        self._clock = clock
        self._log = log
        self._elsewhere = elsewhere
        self._seconds = seconds

    def work(self, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Work on the job that has waited longest, for a while; tells whether there was one.

        Args:
            is_over: tells whether to stop as soon as that is possible.
        """
        now = self._clock()
        chore = self._store.take_chore(KIND, now=now, until=now + LEASE)
        if chore is None:
            return False
        job = self._store.job(JobKey(chore.name.removeprefix(f"{KIND}:")))
        if job is None:
            self._store.drop_chores([chore.name])
            return True
        turn = _Turn(self._seconds() + SLICE_SECONDS, is_over)
        try:
            due = self._step(job, turn)
        except Stopped:
            due = self._clock()
        except TenantUnknown:
            due = self._fail(job, "tenant_unknown", "There is no such tenant any more.")
        except AudienceBroken as exc:
            due = self._fail(job, exc.reason, exc.message)
        except AddressRefused as exc:
            due = self._fail(job, exc.code, exc.message)
        except FileNotFoundError:
            words = "A file of the job is gone; what was not entered is not sent."
            due = self._fail(job, "file_lost", words)
        except (BeforeSending, OSError) as exc:
            if isinstance(exc, LedgerUnavailable):
                raise
            code = exc.code if isinstance(exc, BeforeSending) else type(exc).__name__
            self._log.warning("job.waits", job=job.id, tenant=job.tenant_id, reason=code)
            due = self._clock() + timedelta(seconds=LONGEST_WAIT)
        if due is None:
            self._store.drop_chores([chore.name])
        else:
            self._store.end_chore(chore.name, due_at=due, mark=None)
            self._see_to_a_new_begin(job, chore.name, due)
        return True

    def _see_to_a_new_begin(self, job: Job, chore: str, due: datetime) -> None:
        """Have a job taken up at once that was posted again while it was being ended."""
        now = self._clock()
        fresh = self._store.job(job.key) if due > now + LEASE else None
        if fresh is not None and not fresh.ended:
            self._store.end_chore(chore, due_at=now, mark=None)

    def _step(self, job: Job, turn: _Turn) -> datetime | None:
        """Do the next thing; gives when something is to be done again, ``None`` for never."""
        if job.ended:
            return self._bury(job)
        if job.canceled_by is not None and job.running_at is None:
            return self._end(job, State.CANCELED)
        if job.state in (State.RECEIVED, State.FETCHING):
            return self._fetch(job, turn)
        if job.state is State.CHECKING:
            return self._check(job, turn)
        if job.entered < job.chunks:
            return self._enter(job, turn)
        if job.canceled_by is not None and job.withdrawn < job.chunks:
            return self._withdraw(job, turn)
        return self._settle(job, turn)

    # Fetching

    def _fetch(self, job: Job, turn: _Turn) -> datetime | None:
        """Fetch both files at once: their addresses expire."""
        job = self._told(job, state=State.FETCHING)
        try:
            self._bring(job, METADATA, job.metadata_url, turn)
            self._bring(job, DATA, job.data_url, turn)
        except Ci360Failed as exc:
            failures = job.failures + 1
            if exc.reason in GONE or exc.trouble is Trouble.REFUSED:
                return self._fail(job, exc.reason, FETCH_WORDS.get(exc.reason, exc.message))
            if failures > len(WAITS):
                words = f"The files could not be fetched in {failures} attempts: {exc.reason}."
                return self._fail(job, exc.reason, words)
            self._kept(job, failures=failures)
            self._log.warning(
                "job.fetch", job=job.id, tenant=job.tenant_id, reason=exc.reason, failures=failures
            )
            return self._clock() + timedelta(seconds=WAITS[failures - 1])
        self._told(job, state=State.CHECKING, data_url=None, metadata_url=None, failures=0)
        return self._clock()

    def _bring(self, job: Job, name: str, url: str | None, turn: _Turn) -> None:
        """Fetch a file, unless it is here already."""
        if name in self._files.names(job.folder):
            return
        place = self._files.scratch(f"{job.folder}/{name}")
        size = self._fetcher.resume(
            url, place, timeout=FETCH_SECONDS, going=lambda: self._stay(job, turn)
        )
        if name == METADATA and size > MOST_METADATA:
            raise AudienceBroken("metadata_unreadable", "The metadata file is longer than any is.")
        self._files.adopt(f"{job.folder}/{name}", place)

    # Checking

    def _check(self, job: Job, turn: _Turn) -> datetime | None:
        """Read the whole file, before anything is sent; write the plan by which it is entered."""
        columns = self._chunks.columns(job)
        if self._elsewhere is not None and job.failures >= CHECKS:
            words = (
                f"The file could not be checked in the time that there is, in {CHECKS} attempts."
            )
            return self._fail(job, "check_unfinished", words)
        job = self._kept(job, columns=columns.names, failures=job.failures + 1)
        found = self._chunks.check(job, lambda: self._stay(job, turn))
        news: dict[str, Any] = {
            "rows": found.rows,
            "bad": found.bad,
            "checked": dict(sorted(found.counts.items())),
            "bad_rows": tuple(found.bad_rows),
        }
        limit = parse_options(job.parameters, []).bad_rows_limit
        if reason := why_not(found, limit):
            return self._fail(job, *reason, **news)
        news |= {"running_at": self._clock(), "chunks": found.chunks, "failures": 0}
        self._told(job, state=State.RUNNING, **news)
        return self._clock()

    # Entering

    def _enter(self, job: Job, turn: _Turn) -> datetime | None:
        """Enter chunks into the ledger, one commit for each."""
        if self._elsewhere is not None:
            return self._have_entered(job, turn, self._elsewhere)
        plan = self._chunks.plan(job, job.entered)
        chunks = itertools.takewhile(lambda _: not turn.is_over(), plan)
        with closing(self._chunks.enter_all(job, chunks)) as entered:
            for number in entered:
                self._stay(job, turn)
                job = self._kept(job, entered=number + 1)
                if job.entered != number + 1:
                    break  # somebody else works on it
        if job.entered == job.chunks:
            self._files.drop(job.folder, keep=PARTS)
        return self._clock()

    def _have_entered(self, job: Job, turn: _Turn, say: Elsewhere) -> datetime | None:
        """Say which chunks are to be entered, look which are, and say again what seems lost.

        A chunk is entered when the file is there that says which entries its rows have.
        """
        there = {int(name) for name in self._files.names(f"{job.folder}/{PARTS}")}
        missing = [one for one in range(job.entered, job.chunks) if one not in there]
        entered = missing[0] if missing else job.chunks
        if (entered, len(there)) != (job.entered, job.there):
            job = self._kept(job, entered=entered, there=len(there), waits=0)
        if not missing:
            if job.entered == job.chunks:
                self._files.drop(job.folder, keep=PARTS)
            return self._clock()
        self._see_that_it_can_be_entered(job)
        while job.said < job.chunks and not turn.is_over():
            fresh = range(job.said, min(job.said + SAID_AT_ONCE, job.chunks))
            say(job, fresh)
            self._stay(job, turn)
            job = self._kept(job, said=fresh.stop)
            if job.said != fresh.stop:
                return self._clock()  # somebody else works on it
        if job.said < job.chunks:
            return self._clock()
        if self._clock() - job.updated_at > LOST * 2 ** min(job.waits, 4):
            say(job, missing)
            self._kept(job, waits=job.waits + 1)
        return self._clock() + LOOK

    def _see_that_it_can_be_entered(self, job: Job) -> None:
        """Raise here what would keep all others from entering chunks of a job."""
        self._chunks.audience(job)
        for name in (PLAN, DATA):
            with self._files.reading(f"{job.folder}/{name}", 0, 1) as file:
                file.read()

    def enter_said(self, key: JobKey, number: int) -> list[Entry]:
        """Enter a chunk that was said; gives the entries of it that are to be sent.

        What was said twice is done once, and what is not to be done any more is left.
        """
        job = self._store.job(key)
        if not _is_to_enter(job, number):
            return []
        with suppress(FileNotFoundError), self._files.reading(part_of(job, number)):
            return []
        try:
            chunk = next(self._chunks.plan(job, number))
            entered = self._chunks.entered(job, chunk)
        except FileNotFoundError:
            if _is_to_enter(self._store.job(key), number):
                raise
            return []  # others were faster, and the file is not needed any more
        found = (one.entry for _, one in entered if one is not None)
        return [entry for entry in found if entry.status is Status.ACCEPTED]

    # Canceling

    def _withdraw(self, job: Job, turn: _Turn) -> datetime | None:
        """Take back what is not sent yet of a job that was canceled; a pause holds it meanwhile."""
        while job.withdrawn < job.chunks and not turn.is_over():
            self._take_back(standing(self._store, self._files, job, job.withdrawn))
            self._stay(job, turn)
            job = self._kept(job, withdrawn=job.withdrawn + 1)
        return self._clock()

    def _take_back(self, rows: Sequence[tuple[Mark, Entry | None]]) -> None:
        fact = Fact(kind=Kind.WITHDRAWN, at=self._clock(), reason=JOB_CANCELED)
        waiting = [entry for _, entry in rows if entry and entry.status is Status.ACCEPTED]
        self._store.record_many([(entry.key, fact) for entry in waiting])

    # Settling

    def _settle(self, job: Job, turn: _Turn) -> datetime | None:
        """Count what became of chunks, as far as their messages are not on their way any more.

        A few that take longer keep no others: their chunk is counted, and looked at again.
        """
        before = job.settled_rows
        for number in list(job.unsure):
            if turn.is_over() or number not in job.unsure:
                break
            job = self._settled(job, turn, number, job.unsure[number])
        while job.settled < job.chunks and len(job.unsure) < MOST_UNSURE and not turn.is_over():
            settled = job.settled
            job = self._settled(job, turn, settled, None)
            if job.settled == settled:
                break
        if job.settled == job.chunks and not job.unsure:
            return self._end(job, State.CANCELED if job.canceled_by else State.DONE)
        if turn.is_over() and job.settled_rows > before:
            return self._clock()
        job = self._kept(job, waits=0 if job.settled_rows > before else job.waits + 1)
        return self._clock() + timedelta(seconds=min(0.5 * 1.5 ** min(job.waits, 20), LONGEST_WAIT))

    def _settled(
        self, job: Job, turn: _Turn, number: int, counted: Mapping[str, int] | None
    ) -> Job:
        """Count what became of a chunk's rows, ``counted`` being what was counted before, if it was."""
        now = self._clock()
        rows = standing(self._store, self._files, job, number)
        if job.canceled_by is not None:
            self._take_back(rows)  # what an attempt has given back since
        closed = [pair for pair in rows if not is_under_way(pair[1], now)]
        left = len(rows) - len(closed)
        if counted is None and left * MOST_LATE > len(rows):
            return job
        counts = Counter(outcome_of(mark, entry) for mark, entry in closed)
        outcomes = Counter(job.outcomes)
        outcomes.update(counts)
        outcomes.subtract(counted or {})
        unsure = {one: known for one, known in job.unsure.items() if one != number}
        if left:
            unsure[number] = dict(counts)
        news: dict[str, Any] = {
            "settled_rows": job.settled_rows + len(closed) - sum((counted or {}).values()),
            "outcomes": dict(sorted((+outcomes).items())),
            "unsure": unsure,
        }
        if counted is None:
            news["settled"] = number + 1
        self._stay(job, turn)
        return self._kept(job, **news)

    # What is common to all

    def _stay(self, job: Job, turn: _Turn) -> None:
        """Keep the job one's own while a long step goes on."""
        if turn.wants_out():
            raise Stopped
        if turn.renew(self._seconds()):
            due = self._clock() + LEASE
            self._store.end_chore(chore_of(job.key), due_at=due, mark=None)

    def _kept(self, job: Job, **changes: Any) -> Job:
        """Write changes; where somebody else has written, give what stands then, with them if they fit."""
        while True:
            fresh = msgspec.structs.replace(job, updated_at=self._clock(), **changes)
            kept = self._store.keep_job(fresh)
            if kept is not None:
                return kept
            now = self._store.job(job.key) or job
            if not _is_as_far(now, job):
                return now
            job = now

    def _told(self, job: Job, **changes: Any) -> Job:
        """Write changes of which the log hears."""
        before = job.state
        job = self._kept(job, **changes)
        if job.state is not before:
            write = self._log.warning if job.state is State.FAILED else self._log.info
            write(
                JOB_CHANGED,
                job=job.id,
                tenant=job.tenant_id,
                decision=job.state,
                reason=job.reason,
                rows=job.rows,
                bad=job.bad,
            )
        return job

    def _fail(self, job: Job, reason: str, words: str, **changes: Any) -> datetime | None:
        now = self._store.job(job.key) or job  # it may have gone on since it was read
        if now.ended or not _is_as_far(now, job):
            return self._clock()  # another process works on it, or it has begun anew
        state = State.FAILED if now.canceled_by is None else State.CANCELED
        return self._end(now, state, reason=reason, words=words, **changes)

    def _end(self, job: Job, state: State, **changes: Any) -> datetime | None:
        """End a job; what it leaves is which entries its rows have."""
        self._files.drop(job.folder, keep=PARTS)  # before it can begin anew, with other files
        ended = {"data_url": None, "metadata_url": None, "ended_at": self._clock()}
        job = self._told(job, state=state, **ended, **changes)
        if not job.ended:
            return self._clock()  # somebody else has written meanwhile: it is looked at anew
        if job.state is not State.FAILED or job.running_at is None:
            pauses = [one for one in self._store.pauses() if one.scope is Scope.JOB]
            mine = [one.name for one in pauses if one.value == job.id]
            if mine:
                self._store.resume(mine)  # nothing is behind it any more
        return job.purge_at

    def _bury(self, job: Job) -> datetime | None:
        """Delete what an old job has left; that it was there is remembered."""
        if self._clock() < job.purge_at:
            self._files.drop(job.folder, keep=PARTS)
            return job.purge_at
        self._files.drop(job.folder)
        bare: dict[str, Any] = {
            "parameters": {},
            "bad_rows": (),
            "words": None,
            "columns": (),
            "task_name": None,
        }
        self._kept(job, **bare)
        return None


def _is_as_far(now: Job, then: Job) -> bool:
    """Tell whether a job has come no further than it had, and has not begun anew since."""
    begins = then.state is State.RECEIVED and now.state is State.FETCHING
    return (
        now.created_at == then.created_at
        and (now.state is then.state or begins)
        and (now.entered, now.settled, now.settled_rows)
        == (then.entered, then.settled, then.settled_rows)
    )


class _Turn:
    """How long a job may be worked on."""

    def __init__(self, until: float, is_stopping: Callable[[], bool]) -> None:
        self._until = until
        self._is_stopping = is_stopping
        self._now = self._renewed = until - SLICE_SECONDS

    def is_over(self) -> bool:
        """Tell whether another job has its turn; time has passed as far as :meth:`renew` was told."""
        return self._now >= self._until or self._is_stopping()

    def wants_out(self) -> bool:
        """Tell whether to stop in the middle of a long step."""
        return self._is_stopping()

    def renew(self, now: float) -> bool:
        """Tell whether the job must be taken for one's own anew."""
        self._now = now
        if now - self._renewed < LEASE.total_seconds() / 4:
            return False
        self._renewed = now
        return True


def _is_to_enter(job: Job | None, number: int) -> TypeGuard[Job]:
    """Tell whether a chunk is still to be entered."""
    if job is None or job.state is not State.RUNNING:
        return False
    return job.entered <= number < job.chunks


def is_under_way(entry: Entry | None, now: datetime) -> bool:
    """Tell whether a message is still on its way to Twilio."""
    if entry is None:
        return False
    if entry.status is Status.UNKNOWN:
        return entry.lost_at is None or now - entry.lost_at < FINDING
    return entry.status in (Status.ACCEPTED, Status.SENDING)


FETCH_WORDS: Mapping[str, str] = {
    "address_expired": "The address of a file is expired or forbidden; have CI360 run the task again.",
    "file_too_large": "A file is larger than is taken.",
}
