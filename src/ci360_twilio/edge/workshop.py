"""Where bulk jobs are worked on: a process of its own, with helpers, while there are any.

Checking and entering a million rows keeps a processor busy for minutes; threads that send would wait for
it. So the worker only looks whether there is something to do, and has it done by ``ci360-twilio jobs work``,
which ends when nothing is left.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from typing import Any, TypeVar

from ci360_twilio.core.job import Chunk, Job
from ci360_twilio.edge.supervised import Supervised
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.chunks import Chunks
from ci360_twilio.logs import Log, capture_foreign
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import Parts, has_files, wire

R = TypeVar("R")

HELPERS = 1
"""Processes beside the one that leads: while one of them writes, the other prepares what is next."""
AHEAD = HELPERS + 1
"""Chunks that helpers have, so that none waits for one."""
LOOK_SECONDS = 0.2
"""How often it is looked whether a job has something to do."""
BACKOFF_SECONDS = 1.0
STOP_SECONDS = 30.0
"""How long the process is waited for when it is to stop."""


class Helpers:
    """Have chunks worked on by further processes; see :class:`ci360_twilio.flow.chunks.Fan`."""

    def __init__(self, make: Callable[[], object]) -> None:
        """Fork them: before this process has opened anything, or started a thread.

        Args:
            make: makes, in each of them, what has the methods that are to be called.
        """
        context = multiprocessing.get_context("fork")
        self._pool: ProcessPoolExecutor | None = ProcessPoolExecutor(
            HELPERS, mp_context=context, initializer=_begin_to_help, initargs=(make,)
        )
        for ready in [self._pool.submit(os.getpid) for _ in range(HELPERS)]:
            ready.result()

    def __call__(
        self, work: Callable[[Job, Chunk], R], job: Job, chunks: Iterable[Chunk]
    ) -> Generator[R, None, None]:
        """Work on chunks here and there; results come in the order of the chunks."""
        going: deque[tuple[Chunk, Future[R]]] = deque()
        for number, chunk in enumerate(chunks):
            there = sum(not future.done() for _, future in going)
            if number == 0 or there >= AHEAD:  # a file of one chunk needs no help
                here: Future[R] = Future()
                here.set_result(work(job, chunk))
                going.append((chunk, here))
            else:
                going.append((chunk, self._submit(work.__name__, job, chunk)))
            while going and going[0][1].done():
                yield self._result(work, job, *going.popleft())
        while going:
            yield self._result(work, job, *going.popleft())

    def close(self) -> None:
        """Let the helpers end."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _submit(self, name: str, job: Job, chunk: Chunk) -> Future[Any]:
        failed: Future[Any] = Future()
        failed.set_exception(BrokenExecutor())
        try:
            return self._pool.submit(_help, name, job, chunk) if self._pool else failed
        except BrokenExecutor:
            return failed

    def _result(
        self, work: Callable[[Job, Chunk], R], job: Job, chunk: Chunk, future: Future[R]
    ) -> R:
        try:
            return future.result()
        except BrokenExecutor:
            self.close()  # one was killed: what they were given is done here, and all that follows
            return work(job, chunk)


_hands: object = None
"""What a helper works with."""


def _begin_to_help(make: Callable[[], object]) -> None:
    """Begin as a helper, for as long as the process lives that asked for it."""
    global _hands
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _hands = make()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(0)


def _help(name: str, job: Job, chunk: Chunk) -> Any:
    return getattr(_hands, name)(job, chunk)


def make_chunks() -> Chunks:
    """Make what helpers of jobs work with."""
    settings = read_settings()
    log = Log(level=settings.log_level, process="jobs")
    capture_foreign(log)
    return wire(settings, log, writes_many=True).chunks


def prepare() -> None:
    """Make a process fit for many short-lived objects, and polite to those that answer callers."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 1_000)
    os.nice(10)


def work_on_jobs(parts: Parts, is_over: Callable[[], bool]) -> None:
    """Work on jobs until none is open any more."""
    while not is_over():
        try:
            if parts.bulk.work(is_over):
                continue
            if not parts.store.jobs(is_open=True, limit=1):
                return
            time.sleep(LOOK_SECONDS)
        except LedgerUnavailable as exc:
            parts.log.error("jobs.ledger", error=exc.code, message=exc.message)
            time.sleep(BACKOFF_SECONDS)
        except Exception as exc:  # noqa: BLE001 - other jobs go on; this one is tried after its lease
            parts.log.error("jobs.unexpected", error=type(exc).__name__)
            time.sleep(BACKOFF_SECONDS)


class Workshop:
    """Sees that jobs are worked on: by a process of its own or, where the ledger is in memory, here."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._process: Supervised | None = None

    def look(self, is_over: Callable[[], bool]) -> None:
        """Have done what is to be done."""
        parts = self._parts
        if not has_files(parts.settings):
            return  # bulk tasks are not taken
        if parts.settings.ledger == "memory:":
            while not is_over() and parts.bulk.work(is_over):
                pass
            return
        if self._process is not None:
            code = self._process.code()
            if code is None:
                return
            self._process = None
            if code:
                parts.log.error("jobs.ended", code=code)
        if parts.store.jobs(is_open=True, limit=1):
            self._start()
        else:
            parts.bulk.work(is_over)  # what a job has left that ended long ago

    def stop(self) -> None:
        """Have the process stop at the next chunk."""
        process = self._process
        if process is not None and not process.end(STOP_SECONDS):
            self._parts.log.error("jobs.killed", pid=process.pid)

    def _start(self) -> None:
        self._process = Supervised("jobs", "work")
        self._parts.log.info("jobs.started", pid=self._process.pid)
