"""Processes that are killed, stopped and started again while messages are on their way.

Real processes, a twin on loopback, SIGKILL at moments that nobody chose. However it goes: no
recipient gets two messages, and no event is without an entry that says what became of it.
"""

from __future__ import annotations

import http.client
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.stores.backup import backup, check
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.crash.conftest import Process, Site

PATIENCE = 20.0


# The worker


def test_a_worker_that_is_killed_again_and_again_sends_nothing_twice(site: Site) -> None:
    """And loses nothing: what was open when it died is unknown, everything else is sent."""
    site.accept(80)
    site.twilio.faults.set_share({"slow:0.15": 1.0})
    for made in (4, 20, 40):
        worker = site.start("worker")
        site.wait_for(site.has_made(made), f"{made} messages")
        worker.kill()
    worker = site.start("worker")
    site.wait_for(site.is_idle, "what is free to be sent")
    assert worker.ask_to_end() == 0, worker.words[-1000:]
    site.twilio.faults.set_share({})
    site.send_rest()
    assert site.check_books(80)[Status.UNKNOWN] <= 3 * 8
    site.find_rest()
    counts = site.check_books(80)
    assert counts[Status.SENT] + counts[Status.HELD] == 80
    assert counts[Status.SENT] == len(site.twilio.twin.messages)


def test_a_worker_that_is_killed_among_faults_sends_nothing_twice(site: Site) -> None:
    """Whatever Twilio does at the same time; and each refusal, loss and retry ends in the books."""
    site.accept(120)
    faults = ("http_400:21614", "http_429", "http_500", "http_500_made", "reset", "refuse")
    site.twilio.faults.set_share({"slow:0.1": 0.4} | dict.fromkeys(faults, 0.08), seed=7)
    for made in (5, 25, 45):
        worker = site.start("worker")
        site.wait_for(site.has_made(made), f"{made} messages")
        worker.kill()
    site.send_rest()
    site.find_rest()
    counts = site.check_books(120)
    assert counts[Status.REFUSED] > 0
    assert counts[Status.SENT] == len(site.twilio.twin.messages) > 40


def test_a_worker_that_is_asked_to_end_records_every_open_request(site: Site) -> None:
    """It takes nothing new, waits for the answers, and leaves the rest as it was."""
    site.accept(40)
    site.twilio.faults.set_share({"slow:1": 1.0})
    worker = site.start("worker", connections=10)
    site.wait_for(site.has_made(10), "ten open requests")
    assert worker.ask_to_end() == 0, worker.words[-1000:]
    assert Counter(one.status for one in site.entries()) == {Status.SENT: 10, Status.ACCEPTED: 30}
    assert len(site.twilio.twin.messages) == 10
    assert all(one.lease is None for one in site.entries())


def stop_while_it_sends(site: Site, worker: Process) -> None:
    """Stop a worker when it has requests open and no lock on the ledger."""

    def stopped() -> bool:
        worker.signal(signal.SIGSTOP)
        site.wait_for(lambda: site.state_of(worker.pid) == "T", "the worker's stop")
        with (
            closing(sqlite3.connect(site.ledger, isolation_level=None, timeout=0)) as db,
            suppress(sqlite3.OperationalError),
        ):
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
            if site.in_status(Status.SENDING):
                return True
        worker.signal(signal.SIGCONT)
        return False

    site.wait_for(stopped, "a moment at which the worker only waits for Twilio")


def test_a_worker_that_was_stopped_for_long_does_not_send_what_others_sent(site: Site) -> None:
    """Its leases are over and everything is taken from it; then it goes on where it stood."""
    site.accept(60)
    site.twilio.faults.set_share({"slow:0.1": 1.0})
    worker = site.start("worker", connections=4)
    site.wait_for(site.has_made(10), "ten messages")
    stop_while_it_sends(site, worker)
    site.twilio.faults.set_share({})
    site.send_rest()
    assert site.in_status(Status.UNKNOWN) > 0
    worker.signal(signal.SIGCONT)
    site.wait_for(lambda: site.in_status(Status.UNKNOWN) == 0, "answers that come late")
    assert worker.ask_to_end() == 0, worker.words[-1000:]
    assert site.check_books(60) == {Status.SENT: 60}
    assert len(site.twilio.twin.messages) == 60


def test_two_workers_on_one_ledger_send_no_message_twice(site: Site) -> None:
    """Three hundred events, each sent once by one of them."""
    workers = [site.start("worker"), site.start("worker")]
    for worker in workers:
        worker.wait_until("worker.running")
    site.twilio.faults.set_share({"slow:0.02": 1.0})
    site.accept(300)
    site.wait_for(site.is_sent(300), "300 messages")
    assert [worker.ask_to_end() for worker in workers] == [0, 0]
    assert site.check_books(300) == {Status.SENT: 300}
    assert len(site.twilio.twin.messages) == 300
    shares = [len(worker.told("message.sent")) for worker in workers]
    assert sum(shares) == 300
    assert min(shares) > 0


# The server


def test_every_event_that_was_answered_outlives_the_server(site: Site) -> None:
    """Killed in the middle of a burst, it has promised nothing that is not in the ledger."""
    server = site.serve("--no-worker")
    answered = dict[str, int]()

    def burst(number: int) -> None:
        with suppress(OSError, http.client.HTTPException), site.connect() as connection:
            for turn in count():
                guid = f"burst-{number}-{turn}"
                answered[guid], _ = site.post(connection, number, guid)

    threads = [threading.Thread(target=burst, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    site.wait_for(lambda: len(answered) >= 60, "sixty answers")
    server.kill()
    for thread in threads:
        thread.join(PATIENCE)
    assert set(answered.values()) == {202}
    written = {one.guid: one.status for one in site.entries()}
    assert set(answered) <= set(written)
    assert set(written.values()) == {Status.ACCEPTED}
    assert check(site.ledger).problems == ()


def test_an_event_whose_answer_was_lost_with_the_server_is_sent_once(site: Site) -> None:
    """CI360 delivers all of them again to the next server, and a killed one had sent some."""
    server = site.serve()
    site.twilio.faults.set_share({"slow:0.05": 1.0})
    site.post_all(60)
    server.kill()
    [pid] = server.workers
    site.wait_for(lambda: not site.state_of(pid), "the worker's end")
    server = site.serve()
    with site.connect() as connection:
        again = {site.post(connection, index)[0] for index in range(100)}
    assert again <= {200, 202}
    site.wait_for(site.is_sent(100), "100 messages")
    assert site.check_books(100) == {Status.SENT: 100}


def test_a_server_that_is_killed_takes_its_worker_with_it(site: Site) -> None:
    """The worker drains first: every request that was open is recorded."""
    server = site.serve()
    site.twilio.faults.set_share({"slow:1": 1.0})
    site.post_all(20)
    site.wait_for(site.has_made(8), "eight open requests")
    [pid] = server.workers
    assert site.state_of(pid)
    server.kill()
    site.wait_for(lambda: not site.state_of(pid), "the worker's end", 5.0)
    assert site.in_status(Status.SENDING, Status.UNKNOWN) == 0
    assert site.in_status(Status.SENT) == len(site.twilio.twin.messages) >= 8
    assert len(server.told("worker.stopped")) == 1


def test_a_killed_worker_is_started_again(site: Site) -> None:
    """Its server watches over it, and goes on answering meanwhile."""
    server = site.serve()
    server.wait_until("worker.running")
    [pid] = server.workers
    os.kill(pid, signal.SIGKILL)
    site.post_all(3)
    site.wait_for(site.is_sent(3), "messages of the next worker")
    assert len(server.workers) == 2
    assert not site.state_of(pid)
    assert [line["code"] for line in server.told("worker.ended")] == [-signal.SIGKILL]


def test_a_server_that_is_asked_to_end_while_its_worker_is_down_ends(site: Site) -> None:
    """It starts no other one, and waits for none."""
    server = site.serve()
    server.wait_until("worker.running")
    [pid] = server.workers
    os.kill(pid, signal.SIGKILL)
    server.wait_until("worker.ended")
    assert server.ask_to_end() == 0, server.words[-1000:]
    assert server.workers == [pid]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_end_drains_its_worker_and_then_ends(
    site: Site, number: signal.Signals
) -> None:
    """When it is gone everything is: the worker, its open requests, and what lay in /tmp."""
    server = site.serve()
    site.twilio.faults.set_share({"slow:1": 1.0})
    site.post_all(20)
    site.wait_for(site.has_made(8), "eight open requests")
    code = server.ask_to_end(number)
    [pid] = server.workers
    assert not site.state_of(pid)
    assert site.in_status(Status.SENDING, Status.UNKNOWN) == 0
    assert site.in_status(Status.SENT) == len(site.twilio.twin.messages)
    assert list(site.folder.glob("ci360-twilio-metrics-*")) == []
    assert code == 0, server.words[-1000:]


# The restore


def has_more_than(number: int, folder: Path) -> bool:
    """Tell whether a restore has begun to keep the ledger as it was."""
    return len(list(folder.glob("*.before-restore-*"))) > number


def either(one: Callable[[], bool], other: Callable[[], bool]) -> bool:
    """Tell whether one of two things is so."""
    return one() or other()


def is_past(moment: float) -> bool:
    """Tell whether a moment of the monotonic clock has come."""
    return time.monotonic() >= moment


def test_a_restore_that_is_killed_leaves_one_ledger_or_the_other(site: Site) -> None:
    """Whole and sound, and marked if it is the restored one; the next restore is not disturbed."""
    folder, ledger = site.folder, site.ledger
    copy, staged = folder / "copy.db", folder / "ledger.db.restoring"
    site.accept(2000)
    backup(ledger, copy)
    site.accept(2000, first=2000)
    for turn in range(8):
        before, kept = site.entries(), len(list(folder.glob("*.before-restore-*")))
        restore = site.start("ledger", "restore", str(copy), "--yes")
        if turn % 2:  # while it makes its file, or has begun to put that in the other's place
            sign: Callable[[], bool] = staged.exists
        else:
            sign = partial(has_more_than, kept, folder)
        site.wait_for(partial(either, sign, restore.has_ended), "the restore")
        site.wait_for(partial(is_past, time.monotonic() + 0.008 * turn), "the moment to kill it")
        restore.kill()
        assert check(ledger).problems == ()
        if len(site.entries()) == 4000:
            assert site.entries() == before
        else:
            assert site.parts.store.summary(utc_now()).pauses
            assert Counter(one.status for one in site.entries()) == {Status.UNKNOWN: 2000}
            site.accept(2000, first=2000)
    last = site.start("ledger", "restore", str(copy), "--yes")
    assert last.wait() == 0, last.words[-1000:]
    assert Counter(one.status for one in site.entries()) == {Status.UNKNOWN: 2000}
    assert list(folder.glob("*.restoring*")) == []
