"""Delivers the twin's status callbacks over HTTP, to this machine alone."""

from __future__ import annotations

import http.client
import queue
import threading
from collections import Counter
from contextlib import closing, suppress
from typing import Final
from urllib.parse import urlencode, urlsplit

from ci360_twilio.twin.callback import Callback, Failing
from ci360_twilio.twin.loopback import is_loopback
from ci360_twilio.twin.twilio import TwilioTwin

TICK_SECONDS = 0.02
"""How often the twin is asked for what is due."""
ANSWER_SECONDS = 15.0
"""How long an answer is waited for; Twilio's own limit (docs/usage/webhooks)."""
MAX_WAITING = 1000
CARRIERS: Final = 8

DELIVERED, FAILED, NOT_DELIVERABLE = "delivered", "failed", "not_deliverable"


class Postman:
    """Lets a twin's messages live, and posts their callbacks, in threads of its own.

    A callback to any host but this machine is counted and never called.
    """

    def __init__(self, twin: TwilioTwin) -> None:
        self._twin = twin
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def counts(self) -> dict[str, int]:
        """Give how many attempts were delivered, failed, or could not be made at all."""
        with self._lock:
            return dict(self._counts)

    def start(self) -> None:
        """Begin; while no account of the twin has a life there is nothing to do."""
        self._stopping.clear()
        waiting: queue.Queue[Callback | None] = queue.Queue(MAX_WAITING)
        self._threads = [threading.Thread(target=self._collect, args=(waiting,), daemon=True)]
        self._threads += [
            threading.Thread(target=self._carry, args=(waiting,), daemon=True)
            for _ in range(CARRIERS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; callbacks under way have the time of one answer to do so, the others are left."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS + 1)
        self._threads = []

    def _collect(self, waiting: queue.Queue[Callback | None]) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            if not self._twin.lives:
                continue
            for callback in self._twin.advance(self._twin.now()):
                self._hand_over(waiting, callback)
        for _ in range(CARRIERS):
            self._hand_over(waiting, None)

    def _hand_over(self, waiting: queue.Queue[Callback | None], callback: Callback | None) -> None:
        """Put a callback in the queue, as soon as there is room; nothing more is when it ends."""
        while callback is None or not self._stopping.is_set():
            with suppress(queue.Full):
                waiting.put(callback, timeout=0.1)
                return

    def _carry(self, waiting: queue.Queue[Callback | None]) -> None:
        while (callback := waiting.get()) is not None:
            if not self._stopping.is_set():
                self._deliver(callback)

    def _deliver(self, callback: Callback) -> None:
        address = _address(callback.url)
        if address is None:
            self._count(NOT_DELIVERABLE)
            return
        failing = _post(callback, *address)
        self._count(DELIVERED if failing is None else FAILED)
        if failing is not None:
            self._twin.failed(callback, self._twin.now(), failing)

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def _address(url: str) -> tuple[str, int, str] | None:
    """Give host, port and target of an address on this machine; ``None`` for any other."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return None
    if parts.scheme != "http" or not (host == "localhost" or is_loopback(host)):
        return None
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _post(callback: Callback, host: str, port: int, target: str) -> Failing | None:
    """Post a callback once, and follow nothing; tell how it failed, if it did."""
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": callback.signature,
        "User-Agent": "TwilioProxy/1.1",
        "Connection": "close",
    }
    with closing(http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)) as connection:
        try:
            connection.connect()
        except OSError:
            return Failing.CONNECT
        try:
            connection.request("POST", target, urlencode(callback.form).encode(), headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError):
            return Failing.READ
    if status < 400:
        return None
    return Failing.CLIENT if status < 500 else Failing.SERVER
