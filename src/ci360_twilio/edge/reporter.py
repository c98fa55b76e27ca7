"""The reporter: a loop over ``report`` with many requests to CI360 open at one time.

It is a part of the worker. One thread talks to the ledger; the others only talk to CI360, and are
started when there is something to tell.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.report import Done, Task
from ci360_twilio.wiring import REPORTS_AT_ONCE, Parts

IDLE_SECONDS = 0.5
"""How often an idle reporter looks for what is due."""
GATHER_SECONDS = 0.02
"""How long answers are gathered, so that one commit serves several; nobody waits for them."""
BACKOFF_SECONDS = 1.0


class Reporter:
    """Tells CI360 what is due until it is told to stop, then finishes what is under way."""

    def __init__(self, parts: Parts, *, at_once: int = REPORTS_AT_ONCE) -> None:
        self._reporting = parts.reporting
        self._log = parts.log
        self._most = self._free = at_once
        self._going: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._back: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._unrecorded: list[Done] = []
        self._tellers: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take nothing new; wait for what is under way, and write what came of it."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._try(self._round)
            while self._free < self._most or self._unrecorded:
                self._gather(IDLE_SECONDS)
                if not self._try(self._record) and self._free == self._most:
                    break  # what cannot be written now is told once more, under the same key
        finally:
            for _ in self._tellers:
                self._going.put(None)

    def _try(self, work: Callable[[], None]) -> bool:
        """Do a piece of work; tell whether the ledger was there for it."""
        try:
            work()
        except LedgerUnavailable as exc:
            self._log.error("reporter.ledger", error=exc.code, message=exc.message)
        except Exception as exc:  # noqa: BLE001 - the next round tries again
            self._log.error("reporter.unexpected", error=type(exc).__name__)
        else:
            return True
        self._stopping.wait(BACKOFF_SECONDS)
        return False

    def _round(self) -> None:
        """Write what came back, and send out what is due."""
        self._record()
        tasks = self._reporting.take(self._free)
        for task in tasks:
            self._hire()
            self._free -= 1
            self._going.put(task)
        self._gather(GATHER_SECONDS if tasks else IDLE_SECONDS)

    def _record(self) -> None:
        if self._unrecorded:
            self._reporting.record(self._unrecorded)
            self._unrecorded = []

    def _gather(self, seconds: float) -> None:
        """Wait for an answer; take what comes close behind it."""
        try:
            self._take(self._back.get(timeout=seconds))
        except queue.Empty:
            return
        time.sleep(GATHER_SECONDS)
        while True:
            try:
                self._take(self._back.get_nowait())
            except queue.Empty:
                return

    def _take(self, done: Done) -> None:
        self._unrecorded.append(done)
        self._free += 1

    def _hire(self) -> None:
        """Have a thread for each request that may be open."""
        if len(self._tellers) < self._most - self._free + 1:
            teller = threading.Thread(target=self._tell, name="tell", daemon=True)
            self._tellers.append(teller)
            teller.start()

    def _tell(self) -> None:
        """Tell CI360, one task after the other, until there is nothing more to come."""
        while (task := self._going.get()) is not None:
            self._back.put(self._reporting.tell(task))
