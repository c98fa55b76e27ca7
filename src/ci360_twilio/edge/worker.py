"""The worker: a loop over ``send`` with many requests to Twilio open at one time.

One thread talks to the ledger; the others only talk to Twilio. What they bring back is committed
in groups, as are the entries that are about to go out.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from ci360_twilio.core.entry import Fact, Key
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.send import ATTEMPT_SECONDS, Begun
from ci360_twilio.logs import LEDGER_PURGED
from ci360_twilio.wiring import Parts, utc_now

IDLE_SECONDS = 0.1
"""How often an idle worker looks for what is due."""
GATHER_SECONDS = 0.002
"""How long results are gathered before they are committed together."""
HOUSEKEEPING_SECONDS = 30.0
BACKOFF_SECONDS = 1.0
"""How long a worker waits after the ledger failed."""
PURGE_BATCH = 500


class Worker:
    """Sends what is due until it is told to stop, then finishes what is under way."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sending = parts.sending
        self._log = parts.log
        self._free = parts.settings.connections
        self._done: queue.SimpleQueue[tuple[Key, Fact]] = queue.SimpleQueue()
        self._unrecorded: list[tuple[Key, Fact]] = []
        self._next_housekeeping = 0.0
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the worker to take nothing new; safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Work until stopped. Requests that are open then are waited for and recorded."""
        most = self._parts.settings.connections
        with ThreadPoolExecutor(most, thread_name_prefix="send") as pool:
            while not self._stop.is_set():
                try:
                    self._round(pool)
                except LedgerUnavailable as exc:
                    self._log.error("worker.ledger", error=exc.code, message=exc.message)
                    self._stop.wait(BACKOFF_SECONDS)
            self._drain(most)

    def _round(self, pool: ThreadPoolExecutor) -> None:
        self._record()
        if self._free:
            for begun in self._sending.begin(self._sending.claim(self._free)):
                self._free -= 1
                pool.submit(self._attempt, begun)
        if time.monotonic() >= self._next_housekeeping:
            self._keep_house(utc_now())
        self._gather()

    def _attempt(self, begun: Begun) -> None:
        fact = self._sending.attempt(begun, timeout=ATTEMPT_SECONDS)
        self._done.put((begun.entry.key, fact))

    def _gather(self) -> None:
        """Wait for a result, or for the next look at the ledger; take what has come with it."""
        try:
            self._take(self._done.get(timeout=IDLE_SECONDS))
        except queue.Empty:
            return
        time.sleep(GATHER_SECONDS)
        while True:
            try:
                self._take(self._done.get_nowait())
            except queue.Empty:
                return

    def _take(self, result: tuple[Key, Fact]) -> None:
        self._unrecorded.append(result)
        self._free += 1

    def _record(self) -> None:
        """Commit results; they are kept and tried again while the ledger cannot write."""
        if self._unrecorded:
            self._sending.record(self._unrecorded)
            self._unrecorded = []

    def _drain(self, most: int) -> None:
        """Finish: a lease outlasts this, so what cannot be recorded becomes ``unknown``."""
        self._log.info("worker.draining", open=most - self._free)
        until = time.monotonic() + ATTEMPT_SECONDS + 10
        while (self._free < most or self._unrecorded) and time.monotonic() < until:
            self._gather()
            try:
                self._record()
            except LedgerUnavailable as exc:
                self._log.error("worker.ledger", error=exc.code, message=exc.message)
                time.sleep(BACKOFF_SECONDS)
        self._log.info("worker.stopped", unrecorded=len(self._unrecorded))

    def _keep_house(self, now: datetime) -> None:
        self._next_housekeeping = time.monotonic() + HOUSEKEEPING_SECONDS
        store = self._parts.store
        if purged := store.purge(now=now, limit=PURGE_BATCH):
            self._log.info(LEDGER_PURGED, entries=purged)
            self._next_housekeeping = 0.0 if purged == PURGE_BATCH else self._next_housekeeping
        summary = store.summary(now)
        if summary.paused:
            words = "the ledger was restored; nothing is sent until: ci360-twilio ledger restore --resume"
            self._log.warning("worker.paused", message=words)
        if summary.outdated:
            words = "a newer version owns the ledger; this worker sends nothing; update it"
            self._log.warning("worker.outdated", message=words)
