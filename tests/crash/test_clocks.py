"""Clocks that jump by an hour in the middle of a step, and processes whose clocks differ.

In this process, with Twilio's twin on a socket: leases end too early or last too long, and nothing
is sent twice for that.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Status
from ci360_twilio.flow.send import Begun
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.crash.conftest import Jumping, Site

HOUR = 3600.0


class Worker:
    """A worker that goes step by step."""

    def __init__(self, site: Site, clock: Jumping) -> None:
        self.clock = clock
        self._sending = site.sending(clock)
        self._claimed, self._begun = list[Entry](), list[Begun]()
        self._facts = list[tuple[Key, Fact]]()
        self._left = iter((self._claim, self._begin, self._try, self._record))

    def go(self, steps: int = 4) -> None:
        """Take the next steps: claim, begin, try, record."""
        for step in islice(self._left, steps):
            step()

    def _claim(self) -> None:
        self._claimed = self._sending.claim(100)

    def _begin(self) -> None:
        self._begun = self._sending.begin(self._claimed)

    def _try(self) -> None:
        self._facts = [(one.entry.key, self._sending.attempt(one)) for one in self._begun]

    def _record(self) -> None:
        self._sending.record(self._facts)


def end_well(site: Site, number: int) -> None:
    """Let the hours go by; everything was sent once, and nothing is open."""
    site.send_rest(minutes=130)
    site.find_rest()
    assert site.check_books(number) == {Status.SENT: number}
    assert len(site.twilio.twin.messages) == number


@pytest.mark.parametrize("far", [1, 2, 3, 4], ids=["claims", "begins", "tries", "records"])
@pytest.mark.parametrize("moment", [1, 2, 3], ids=["claimed", "begun", "tried"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(HOUR, HOUR), (-HOUR, -HOUR), (0, HOUR), (0, -HOUR), (HOUR, 0), (-HOUR, 0)],
)
def test_a_clock_that_jumps_sends_nothing_twice(
    site: Site, ours: float, theirs: float, moment: int, far: int
) -> None:
    """Between two steps of ours; before we go on another worker goes as far as its clock allows."""
    site.accept(3)
    worker, rival = Worker(site, site.clock()), Worker(site, site.clock(seconds=theirs))
    worker.go(moment)
    worker.clock.move(seconds=ours)
    rival.go(far)
    site.finding(site.clock(seconds=theirs + 20)).find_many(100)
    worker.go()
    rival.go()
    end_well(site, 3)


@pytest.mark.parametrize("seconds", [HOUR - 60, -HOUR])
@pytest.mark.parametrize("steps", ["claimed", "begun", "tried"])
def test_a_worker_that_dies_under_a_wrong_clock_leaves_nothing_for_ever(
    site: Site, seconds: float, steps: str
) -> None:
    """Its leases end an hour late, or have ended before they began.

    Its messages are found as long as it was less than ``MARGIN`` ahead of Twilio's clock.
    """
    site.accept(2)
    clock = site.clock(seconds=seconds)
    sending = site.sending(clock)
    claimed = sending.claim(100, [one.key for one in site.entries()])
    begun = sending.begin(claimed) if steps != "claimed" else []
    if steps == "tried":
        for one in begun:
            sending.attempt(one)
    site.send_rest(minutes=130)
    assert site.letters(2) == ("TT" if steps == "claimed" else "uu")
    site.find_rest()
    assert site.letters(2) == ("HH" if steps == "begun" else "TT")
    site.check_books(2)
    assert len(site.twilio.twin.messages) == (0 if steps == "begun" else 2)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_retry_that_a_wrong_clock_has_put_off_is_made_once(site: Site, seconds: float) -> None:
    """It may come an hour late; what is due since an hour ago is due."""
    site.accept(1)
    site.twilio.faults.for_recipient(site.recipient(0), ["http_429"])
    clock = site.clock(seconds=seconds)
    sending = site.sending(clock)
    begun = sending.begin(sending.claim(1, [one.key for one in site.entries()]))
    sending.record([(one.entry.key, sending.attempt(one)) for one in begun])
    assert site.letters(1) == "a"
    Worker(site, site.clock()).go()
    end_well(site, 1)


@pytest.mark.parametrize(
    ("age", "moment", "seconds", "then"),
    [
        (0, 0, HOUR, "E"),
        (0, 1, HOUR, "E"),
        (1790, 1, 20, "E"),  # within its lease
        (0, 2, HOUR, "T"),
        (0, 3, HOUR, "T"),
    ],
)
def test_what_a_jump_has_made_too_old_stays_so(
    site: Site, age: float, moment: int, seconds: float, then: str
) -> None:
    """Nothing starts any more, and what has started is not stopped; the clock may go back."""
    site.settings["event_ttl"] = "1800"
    site.accept(1)
    worker = Worker(site, site.clock(seconds=age))
    worker.go(moment)
    worker.clock.move(seconds=seconds)
    worker.go()
    Worker(site, site.clock(seconds=HOUR)).go()
    assert site.letters(1) == then
    Worker(site, site.clock()).go()
    assert site.letters(1) == then
    site.check_books(1)
    assert len(site.twilio.twin.messages) == (then == "T")


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
@pytest.mark.parametrize("sent", [True, False], ids=["sent", "sending"])
def test_callbacks_count_whatever_the_clock_says(site: Site, seconds: float, sent: bool) -> None:
    """They are ranked by what they say; also where the answer to the request is still to come."""
    site.call_back(posted=False)
    site.accept(1)
    sending = site.sending(utc_now)
    begun = sending.begin(sending.claim(1))
    facts = [(one.entry.key, sending.attempt(one)) for one in begun]
    if sent:
        sending.record(facts)
    requests = [request for _, request in site.callbacks()]
    answers = site.routes(site.clock(seconds=seconds)).statuses(requests)
    assert {answer.status for answer in answers} == {204}
    assert site.letters(1) == "D"
    sending.record(facts)
    assert site.check_books(1) == {Status.DELIVERED: 1}
