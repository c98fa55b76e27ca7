"""A ledger that cannot be written in the middle of what is done: locked, full, or read-only.

Whoever asks is told to come again, no byte leaves that is not written down before, and what Twilio
has said is kept until it can be written.
"""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.edge.http import Response
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.twin.callback import Failing
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.crash.conftest import Process, Site

MANY = 150
"""Entries whose SIDs do not fit into one page of an index."""


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """Let another program hold the write lock for longer than is waited for."""
    site.store_file._busy = 0.05
    with closing(sqlite3.connect(site.ledger, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def full(site: Site) -> Iterator[None]:
    """Let no file of this process grow: a disk that is full, to whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(sqlite3.connect(site.ledger)) as db:  # as other processes have it open
        db.execute("SELECT count(*) FROM entries").fetchone()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def limited(site: Site, *statements: str) -> Iterator[None]:
    """Put a limit of SQLite's own on every connection of this process."""
    file = site.store_file
    connect = file._connect

    def connect_limited() -> sqlite3.Connection:
        db = connect()
        for statement in statements:
            db.execute(statement)
        return db

    file.close()
    file._connect = connect_limited  # type: ignore[method-assign]
    try:
        yield
    finally:
        file._connect = connect  # type: ignore[method-assign]
        file.close()


def read_only(site: Site) -> AbstractContextManager[None]:
    """Let nothing be written."""
    return limited(site, "PRAGMA query_only = ON")


def paged_out(site: Site) -> AbstractContextManager[None]:
    """Let there be no page more than what is written fills."""
    return limited(site, "VACUUM", "PRAGMA max_page_count = 1")


OUTAGES = {"locked": locked, "full": full, "read-only": read_only}


@pytest.fixture(params=list(OUTAGES.values()), ids=list(OUTAGES))
def away(request: pytest.FixtureRequest, site: Site) -> Callable[[], AbstractContextManager[None]]:
    """Give a function that keeps the ledger from being written for a while."""
    return lambda: request.param(site)


Away = Callable[[], AbstractContextManager[None]]


def come_again(answers: list[Response]) -> bool:
    """Tell whether all callers are told to come again."""
    wait = ("Retry-After", "5")
    return all(one.status == 503 and wait in one.headers for one in answers)


def test_events_are_answered_503_and_taken_when_they_come_again(site: Site, away: Away) -> None:
    """Nothing of the batch is written, and what was there goes on to be answered as it stands."""
    routes = site.routes(utc_now)
    assert {one.status for one in routes.events(site.events(2))} == {202}
    with away():
        assert come_again(routes.events(site.events(MANY)))
        assert come_again(routes.events(site.events(MANY)))
        assert len(site.entries()) == 2
    answers = routes.events(site.events(MANY))
    assert {one.status for one in answers} == {202}
    assert [b'"duplicate":true' in one.body for one in answers] == [True] * 2 + [False] * (MANY - 2)
    site.send_rest()
    assert site.check_books(MANY) == {Status.SENT: MANY}


def test_nothing_is_sent_whose_start_could_not_be_written(site: Site, away: Away) -> None:
    """Neither claimed nor begun; the same may be tried until it succeeds."""
    site.accept(MANY)
    sending = site.sending(utc_now)
    with away():
        for _ in range(2):
            with pytest.raises(LedgerUnavailable) as raised:
                sending.claim(MANY)
            assert not isinstance(raised.value, LedgerUnusable)
    claimed = sending.claim(MANY)
    assert len(claimed) == MANY
    with away():
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                sending.begin(claimed)
        assert site.in_status(Status.ACCEPTED) == MANY
    assert site.twilio.twin.messages == ()
    begun = sending.begin(claimed)
    assert len(begun) == MANY
    sending.record([(one.entry.key, sending.attempt(one)) for one in begun])
    assert site.check_books(MANY) == {Status.SENT: MANY}
    assert len(site.twilio.twin.messages) == MANY


@pytest.mark.parametrize("away", [*OUTAGES.values(), paged_out], indirect=True)
@pytest.mark.parametrize("late", [False, True], ids=["in time", "after the lease"])
def test_answers_that_could_not_be_written_are_written_later(
    site: Site, away: Away, late: bool
) -> None:
    """Refusals and retries with them; after the lease others know only that they do not know."""
    site.accept(MANY)
    for index, fault in enumerate(("http_400:21614", "http_429", "reset", "http_500")):
        site.twilio.faults.for_recipient(site.recipient(index), [fault])
    sending = site.sending(utc_now)
    begun = sending.begin(sending.claim(MANY))
    facts = [(one.entry.key, sending.attempt(one)) for one in begun]
    with away():
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                sending.record(facts)
        assert site.in_status(Status.SENDING) == MANY
    if late:
        other = site.sending(site.clock(minutes=2))
        assert other.claim(MANY) == []
        assert site.in_status(Status.UNKNOWN) == MANY
    sending.record(facts)
    assert site.letters(5) == "RauuT"
    site.send_rest()
    site.find_rest()
    assert site.letters(5) == "RTTHT"
    counts = site.check_books(MANY)
    assert counts == {Status.SENT: MANY - 2, Status.REFUSED: 1, Status.HELD: 1}
    assert len(site.twilio.twin.messages) == MANY - 2


def test_callbacks_are_answered_503_and_settled_when_they_come_again(
    site: Site, away: Away
) -> None:
    """Twilio repeats what was not answered well; nobody asks it."""
    site.call_back(posted=False)
    site.accept(MANY)
    sending = site.sending(utc_now)
    begun = sending.begin(sending.claim(MANY))
    sending.record([(one.entry.key, sending.attempt(one)) for one in begun])
    before, routes, twin = site.entries(), site.routes(utc_now), site.twilio.twin
    callbacks = site.callbacks()
    assert len(callbacks) >= 2 * MANY
    with away():
        assert come_again(routes.statuses([request for _, request in callbacks]))
        assert site.entries() == before
    assert all(twin.failed(callback, utc_now(), Failing.SERVER) for callback, _ in callbacks)
    again = [request for _, request in site.callbacks()]
    assert len(again) >= len(callbacks)  # the last of a message may come in this minute only
    assert {one.status for one in routes.statuses(again)} == {204}
    assert site.check_books(MANY) == {Status.DELIVERED: MANY}


def test_what_twilio_was_asked_is_asked_again_where_it_could_not_be_written(
    site: Site, away: Away
) -> None:
    """A look that is not written is not made; what was found is found at the next look."""
    site.twilio.faults.set_share({"reset": 1.0})
    site.accept(MANY)
    site.send_rest(minutes=0)
    assert site.in_status(Status.UNKNOWN) == MANY
    finding = site.finding(site.clock(minutes=1))
    with away(), pytest.raises(LedgerUnavailable):
        finding.take(MANY)
    entries = finding.take(MANY)
    assert {one.looks for one in entries} == {1}
    learned = [finding.ask(one) for one in entries]
    with away(), pytest.raises(LedgerUnavailable):
        finding.record(learned)
    assert site.in_status(Status.UNKNOWN) == MANY
    site.find_rest()
    assert site.check_books(MANY) == {Status.SENT: MANY}
    assert len(site.twilio.twin.messages) == MANY


LOG_ONLY = 65_536
"""Bytes that a log of these tests does not reach, and that the ledger's WAL has passed."""


@contextmanager
def no_room(site: Site, *processes: Process) -> Iterator[None]:
    """Let the disk be full for other processes."""
    assert site.ledger.with_name("ledger.db-wal").stat().st_size > LOG_ONLY
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for process in processes:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LOG_ONLY, hard))
    try:
        yield
    finally:
        for process in processes:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_real_processes_and_ends_none_of_them(site: Site) -> None:
    """The server answers 503, the worker keeps what Twilio says; both go on when there is room."""
    site.accept(12)
    site.twilio.faults.set_share({"slow:0.5": 1.0})
    server, worker = site.serve("--no-worker"), site.start("worker", connections=4)
    site.wait_for(site.has_made(4), "four open requests")
    with no_room(site, server, worker):
        worker.wait_until("worker.ledger", 2)
        made = len(site.twilio.twin.messages)
        with site.connect() as connection:
            assert site.post(connection, 12)[0] == 503
        assert len(site.twilio.twin.messages) == made
    with site.connect() as connection:
        assert site.post(connection, 12)[0] == 202
    site.wait_for(site.is_sent(13), "everything")
    assert [server.ask_to_end(), worker.ask_to_end()] == [0, 0]
    assert site.check_books(13) == {Status.SENT: 13}
    assert len(site.twilio.twin.messages) == 13


def test_a_worker_that_ends_on_a_full_disk_waits_until_it_can_write(site: Site) -> None:
    """It takes nothing new; every answer that it has is recorded when there is room again."""
    site.accept(20)
    site.twilio.faults.set_share({"slow:0.5": 1.0})
    worker = site.start("worker", connections=4)
    site.wait_for(site.has_made(4), "four open requests")
    with no_room(site, worker):
        worker.signal(signal.SIGTERM)
        worker.wait_until("worker.ledger")
        assert not worker.has_ended()
    assert worker.wait() == 0
    made = len(site.twilio.twin.messages)
    assert site.in_status(Status.SENT) == made < 20
    assert site.in_status(Status.ACCEPTED) == 20 - made
    assert all(one.lease is None for one in site.entries())
