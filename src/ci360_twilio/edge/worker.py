"""The worker: a loop over ``send`` with many requests to Twilio open at one time.

One thread talks to the ledger; the others only talk to Twilio. What they bring back is committed
in groups, as are the entries that are about to go out. Beside that loop threads of their own ask what
became of messages, attend to what customers wrote, and tell CI360.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

from ci360_twilio.core.entry import Entry, Fact, Key
from ci360_twilio.core.pause import Cause
from ci360_twilio.edge.reporter import Reporter
from ci360_twilio.edge.rounds import attend_to_customers, look_after_messages
from ci360_twilio.edge.workshop import Workshop
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.patience import ATTEMPT_SECONDS
from ci360_twilio.flow.send import Begun
from ci360_twilio.logs import LEDGER_PURGED
from ci360_twilio.wiring import Parts, utc_now

IDLE_SECONDS = 0.1
"""How often an idle worker looks for what is due."""
AT_ONCE = 32
"""Entries claimed, begun and recorded in one commit: a server that accepts waits behind it."""
GATHER_SECONDS = 0.002
"""How long results are gathered, so that one commit serves several."""
KEEP_SECONDS = 1.0
"""How often it is looked whether something is to be asked of Twilio."""
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
        self._most = self._free = parts.settings.connections
        self._claimed: deque[Entry] = deque()
        self._going: queue.SimpleQueue[Begun | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Key, Fact]] = queue.SimpleQueue()
        self._unrecorded: list[tuple[Key, Fact]] = []
        self._next_claim = self._next_housekeeping = 0.0
        self._stopping = False
        self._kept = threading.Event()
        self._reporter = Reporter(parts)
        self._workshop = Workshop(parts)

    def stop(self) -> None:
        """Ask the worker to take nothing new; safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Work until stopped. Requests that are open then are waited for and recorded."""
        senders = [threading.Thread(target=self._send, name="send") for _ in range(self._most)]
        keepers = [
            threading.Thread(target=self._keep, args=(look_after_messages,), name="keep"),
            threading.Thread(target=self._keep, args=(attend_to_customers,), name="attend"),
            threading.Thread(target=self._keep, args=(self._see_to_jobs,), name="jobs"),
        ]
        for thread in (*senders, *keepers):
            thread.start()
        self._reporter.start()
        try:
            while not self._stopping:
                try:
                    self._round()
                except LedgerUnavailable as exc:
                    self._log.error("worker.ledger", error=exc.code, message=exc.message)
                    time.sleep(BACKOFF_SECONDS)
            self._drain()
        finally:
            self._kept.set()
            for _ in senders:
                self._going.put(None)
            for thread in keepers:
                thread.join()
            self._reporter.stop()
            self._workshop.stop()

    def _see_to_jobs(self, _: Parts, is_over: Callable[[], bool]) -> None:
        self._workshop.look(is_over)

    def _send(self) -> None:
        """Make attempts, one after the other, until there is nothing more to come."""
        while (begun := self._going.get()) is not None:
            fact = self._sending.attempt(begun, timeout=ATTEMPT_SECONDS)
            self._done.put((begun.entry.key, fact))

    def _keep(self, work: Callable[[Parts, Callable[[], bool]], None]) -> None:
        """Do something again and again until the worker stops; its failures keep nothing else."""
        while not self._kept.wait(KEEP_SECONDS):
            try:
                work(self._parts, self._kept.is_set)
            except LedgerUnavailable as exc:
                self._log.error("worker.ledger", error=exc.code, message=exc.message)
                self._kept.wait(BACKOFF_SECONDS)
            except Exception as exc:  # noqa: BLE001 - sending goes on; the next round tries again
                self._log.error("worker.keep", error=type(exc).__name__)

    def _round(self) -> None:
        """Write what came back and begin what goes out in one commit; then look for more."""
        size = min(self._free, len(self._claimed), AT_ONCE)
        going = [self._claimed.popleft() for _ in range(size)]
        back = self._unrecorded[:AT_ONCE]
        if going or back:
            try:
                begun = self._sending.begin(going, back)
            except LedgerUnavailable:
                self._claimed.extendleft(reversed(going))
                raise
            del self._unrecorded[: len(back)]
            self._free -= len(begun)
            for one in begun:
                self._going.put(one)
        if len(self._claimed) < max(self._most // 2, 1) and time.monotonic() >= self._next_claim:
            self._claim()
        if time.monotonic() >= self._next_housekeeping:
            self._keep_house(utc_now())
        if not (self._unrecorded or (self._free and self._claimed)):
            self._gather()

    def _claim(self) -> None:
        """Claim ahead, so that a connection that gets free need not wait for it."""
        found = self._sending.claim(min(self._most, AT_ONCE))
        self._claimed.extend(found)
        if not found:
            self._next_claim = time.monotonic() + IDLE_SECONDS

    def _gather(self) -> None:
        """Wait for a result, or for the next look at the ledger; take what comes close behind it."""
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

    def _drain(self) -> None:
        """Finish: a lease outlasts this, so what cannot be recorded becomes ``unknown``."""
        self._log.info("worker.draining", open=self._most - self._free)
        until = time.monotonic() + ATTEMPT_SECONDS + 10
        while time.monotonic() < until:
            try:
                self._sending.release(self._claimed)
                self._claimed.clear()
                self._sending.record(self._unrecorded)
                self._unrecorded = []
                if self._free == self._most:
                    break
            except LedgerUnavailable as exc:
                self._log.error("worker.ledger", error=exc.code, message=exc.message)
                time.sleep(BACKOFF_SECONDS)
            self._gather()
        self._log.info("worker.stopped", unrecorded=len(self._unrecorded))

    def _keep_house(self, now: datetime) -> None:
        self._next_housekeeping = time.monotonic() + HOUSEKEEPING_SECONDS
        store = self._parts.store
        if purged := store.purge(now=now, limit=PURGE_BATCH):
            self._log.info(LEDGER_PURGED, entries=purged)
            self._next_housekeeping = 0.0 if purged == PURGE_BATCH else self._next_housekeeping
        summary = store.summary(now)
        if any(pause.cause is Cause.RESTORE for pause in summary.pauses):
            words = "the ledger was restored; nothing is sent until: ci360-twilio ledger restore --resume"
            self._log.warning("worker.paused", message=words)
        if summary.outdated:
            words = "a newer version owns the ledger; this worker sends nothing; update it"
            self._log.warning("worker.outdated", message=words)
