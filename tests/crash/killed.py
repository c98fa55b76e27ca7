"""Runs a command of the connector as it is, and kills its process at one step of it.

::

    python killed.py STEP TIMES COMMAND [ARGUMENT ...]

A step is *what* is done and *when*, such as ``start.within``; it is the last one when it has been
reached that many times.

========  ===================================================================================
what      commits by what is in them: ``insert`` (entries), ``claim``, ``start``, ``answer``,
          ``settle`` (callbacks), ``look``, ``find`` (what Twilio said), ``pause``, ``resume``,
          ``withdraw``, ``link``, ``steer`` (a resolution), ``hear`` (customers' texts), ``take``
          and ``told`` (reports), ``erase``, ``other`` (the making of the ledger); ``post`` (the
          request to Twilio), ``reply`` (its answer), ``search`` (its list), ``tell`` (the request to
          CI360), ``heard`` (its answer)
before    nothing is written, not a byte has left
within    everything is written and the commit is about to be made; half of the request has left
after     it is committed, it has left, it has been read: and nobody has heard of it yet
========  ===================================================================================
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

from ci360_twilio.clients.ci360 import Ci360Client
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.entry import Fact, Key, Kind
from ci360_twilio.core.receipt import is_final
from ci360_twilio.edge.cli import main
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.stores.sqlite_file import SqliteFile

_NAMES = {
    Kind.STARTED: "start",
    Kind.PROGRESSED: "settle",
    Kind.WITHDRAWN: "withdraw",
    Kind.LINKED: "link",
}


_OTHER = ("other",)


class Step:
    """The last step of this process."""

    def __init__(self, name: str, times: int) -> None:
        self.what, _, self.when = name.partition(".")
        self._left = times
        self._lock = threading.Lock()

    def reached(self, whats: Collection[str], when: str) -> None:
        """Count a step; there is no return from the last one."""
        if when == self.when and self.what in whats:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)


class _Commit(threading.local):
    """The commit that a thread is at."""

    whats: Collection[str] = _OTHER
    made = False


def _by_facts(facts: Sequence[tuple[Key, Fact]]) -> set[str]:
    return {_name(fact) for _, fact in facts}


def _name(fact: Fact) -> str:
    if fact.by is not None:
        return fact.by
    return _NAMES.get(fact.kind) or ("settle" if is_final(fact.kind) else "answer")


_WRITES: dict[str, Callable[..., Collection[str]]] = {
    "insert_many": lambda *_: ("insert",),
    "claim": lambda *_: ("claim",),
    "record_many": _by_facts,
    "look": lambda *_: ("look",),
    "pause": lambda *_: ("pause",),
    "resume": lambda *_: ("resume",),
    "hear_many": lambda *_: ("hear",),
    "take_reports": lambda *_: ("take",),
    "answer_reports": lambda *_: ("told",),
    "erase": lambda *_: ("erase",),
}


def watch_commits(step: Step) -> None:
    """Count the steps of every commit; one is *within* when SQLite begins with its last word."""
    commit = _Commit()

    def watched(real: Callable[..., Any], whats_of: Callable[..., Collection[str]]) -> Any:
        def write(store: SqliteStore, *given: Any, **named: Any) -> Any:
            commit.whats, commit.made = whats_of(*given), False
            step.reached(commit.whats, "before")
            result = real(store, *given, **named)
            if commit.made:
                step.reached(commit.whats, "after")
            commit.whats = _OTHER
            return result

        return write

    def traced(statement: str) -> None:
        if statement == "COMMIT":
            commit.made = True
            step.reached(commit.whats, "within")

    connect = SqliteFile._connect

    def connect_traced(file: SqliteFile) -> sqlite3.Connection:
        db = connect(file)
        db.set_trace_callback(traced)
        return db

    for name, whats_of in _WRITES.items():
        setattr(SqliteStore, name, watched(getattr(SqliteStore, name), whats_of))
    SqliteFile._connect = connect_traced  # type: ignore[assignment,method-assign]


def watch_requests(step: Step) -> None:
    """Count the steps of every request to Twilio and CI360, on its very socket."""

    class Watched(socket.socket):
        def sendall(self, data: Any, flags: int = 0) -> None:
            if not data.startswith(b"POST"):
                return super().sendall(data, flags)
            what = "tell" if b"/marketingGateway/" in data[:200] else "post"
            step.reached((what,), "before")
            half = len(data) // 2 if step.what == what else 0
            super().sendall(data[:half], flags)
            step.reached((what,), "within")
            super().sendall(data[half:], flags)
            return step.reached((what,), "after")

    connect = http.client.HTTPConnection.connect

    def connect_watched(connection: http.client.HTTPConnection) -> None:
        connect(connection)
        connection.sock = Watched(fileno=connection.sock.detach())

    def read(real: Callable[..., Any], what: str) -> Callable[..., Any]:
        def ask(client: object, *given: Any, **named: Any) -> Any:
            try:
                return real(client, *given, **named)
            finally:
                step.reached((what,), "after")

        return ask

    http.client.HTTPConnection.connect = connect_watched  # type: ignore[assignment,method-assign]
    for client, name, what in (
        (TwilioClient, "send", "reply"),
        (TwilioClient, "search", "search"),
        (Ci360Client, "tell", "heard"),
    ):
        setattr(client, name, read(getattr(client, name), what))


if __name__ == "__main__":
    last = Step(sys.argv[1], int(sys.argv[2]))
    watch_commits(last)
    watch_requests(last)
    sys.exit(main(sys.argv[3:]))
