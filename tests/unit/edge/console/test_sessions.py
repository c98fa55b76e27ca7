"""Sessions, and how often something may happen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import SetClock

from ci360_twilio.core.person import Person, Role
from ci360_twilio.edge.console.sessions import IDLE, LONGEST, MOST, Sessions, Throttle

SOMEBODY = Person(name="ann", role=Role.VIEWER)
MINUTE = timedelta(minutes=1)


def test_a_session_is_found_by_its_token_alone(clock: SetClock) -> None:
    """Two sessions have tokens and secrets of their own, and neither is found by anything else."""
    sessions = Sessions(clock)
    token, session = sessions.begin(person=SOMEBODY, account="ann")
    other, second = sessions.begin()
    assert sessions.get(token) is session
    assert (session.person, session.account, session.began_at) == (SOMEBODY, "ann", clock.now)
    assert sessions.get(other) is second
    assert second.person is None
    assert len({token, other, session.csrf, second.csrf}) == 4
    assert min(map(len, (token, session.csrf))) >= 32
    for wrong in ("", token[:-1], token + "x", token.swapcase(), session.csrf, "\ud800", "\x00"):
        assert sessions.get(wrong) is None


def test_the_token_itself_is_not_kept(clock: SetClock) -> None:
    """Whoever reads the process's memory of sessions can sign in as nobody."""
    sessions = Sessions(clock)
    token, _ = sessions.begin(person=SOMEBODY)
    assert token not in repr(sessions.__dict__)


def test_what_sessions_remember_is_each_ones_own(clock: SetClock) -> None:
    """What one sign-in elsewhere keeps is not seen by another."""
    sessions = Sessions(clock)
    first, second = sessions.begin()[1], sessions.begin()[1]
    first.data["state"] = "of the first"
    assert second.data == {}


def test_a_session_ends_an_hour_after_its_last_use(clock: SetClock) -> None:
    """Each use gives it another hour; once it has ended it stays so."""
    sessions = Sessions(clock)
    token, session = sessions.begin()
    for _ in range(3):
        clock.now += IDLE
        assert sessions.get(token) is session
    clock.now += IDLE + timedelta(microseconds=1)
    assert sessions.get(token) is None
    clock.now -= IDLE
    assert sessions.get(token) is None


def test_a_page_that_refreshes_itself_keeps_no_session_alive(clock: SetClock) -> None:
    """Reading a session without using it does not put its end off."""
    sessions = Sessions(clock)
    token, _ = sessions.begin()
    clock.now += IDLE
    assert sessions.get(token, used=False) is not None
    clock.now += MINUTE
    assert sessions.get(token, used=False) is None


def test_no_session_is_longer_than_half_a_day(clock: SetClock) -> None:
    """However busy somebody is, they sign in again after that."""
    sessions = Sessions(clock)
    token, session = sessions.begin()
    until = session.began_at + LONGEST
    while clock.now < until:
        clock.now = min(clock.now + IDLE, until)
        assert sessions.get(token) is session
    clock.now += timedelta(microseconds=1)
    assert sessions.get(token) is None


def test_a_session_can_be_ended_any_number_of_times(clock: SetClock) -> None:
    """Once is enough, and ending what is none does nothing."""
    sessions = Sessions(clock)
    token, _ = sessions.begin()
    other, kept = sessions.begin()
    sessions.end(token)
    sessions.end(token)
    sessions.end("none")
    assert sessions.get(token) is None
    assert sessions.get(other) is kept


def test_no_more_sessions_are_kept_than_there_is_room_for(clock: SetClock) -> None:
    """However many begin, and however few of them end."""
    sessions = Sessions(clock)
    for _ in range(MOST * 2):
        sessions.begin()
        assert len(sessions._sessions) <= MOST


def test_those_that_have_ended_give_way_first(clock: SetClock) -> None:
    """A session in use stays where there is room once the ended ones are gone."""
    sessions = Sessions(clock)
    for _ in range(MOST - 1):
        sessions.begin()
    clock.now += IDLE + MINUTE
    token, session = sessions.begin(person=SOMEBODY)
    sessions.begin()
    assert sessions.get(token) is session
    assert len(sessions._sessions) == 2


def test_a_flood_of_visitors_ends_no_session_of_who_is_signed_in(clock: SetClock) -> None:
    """Whoever loads the sign-in page ten thousand times throws nobody out."""
    sessions = Sessions(clock)
    token, session = sessions.begin(person=SOMEBODY, account="ann")
    clock.now += MINUTE
    for _ in range(MOST + 1):
        sessions.begin()
    assert sessions.get(token) is session


def test_sessions_begin_and_end_in_many_threads_at_once(clock: SetClock) -> None:
    """Each thread finds its own until it ends it."""
    sessions, at_once = Sessions(clock), threading.Barrier(8)

    def live(number: int) -> bool:
        at_once.wait()
        kept = [sessions.begin(account=str(number)) for _ in range(200)]
        found = all(sessions.get(token) is session for token, session in kept)
        for token, _ in kept:
            sessions.end(token)
        return found and all(sessions.get(token) is None for token, _ in kept)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(live, range(8)))


def test_something_may_happen_so_many_times_in_a_while(clock: SetClock) -> None:
    """Then not, until the first of them is a while ago; each name has its own count."""
    throttle = Throttle(3, MINUTE, clock)
    assert [throttle.admits("ann") for _ in range(5)] == [True, True, True, False, False]
    assert throttle.admits("bob")
    clock.now += MINUTE - timedelta(microseconds=1)
    assert not throttle.admits("ann")
    clock.now += timedelta(microseconds=1)
    assert throttle.admits("ann")


def test_what_was_not_admitted_does_not_count(clock: SetClock) -> None:
    """Who goes on trying is let in again once their while is over."""
    throttle = Throttle(1, MINUTE, clock)
    assert throttle.admits("ann")
    for _ in range(59):
        clock.advance(seconds=1)
        assert not throttle.admits("ann")
    clock.advance(seconds=1)
    assert throttle.admits("ann")


def test_of_too_many_names_those_that_were_counted_longest_ago_are_forgotten(
    clock: SetClock,
) -> None:
    """Memory stays bounded; a name that goes on trying is not forgotten before one that does not."""
    throttle = Throttle(1, MINUTE, clock, most=3)
    for name in ("ann", "bob", "cid"):
        assert throttle.admits(name)
    assert not throttle.admits("ann")
    assert throttle.admits("dan")
    assert not throttle.admits("ann")
    assert throttle.admits("bob")
    assert len(throttle._seen) == 3


@given(st.lists(st.integers(min_value=0, max_value=90), max_size=60), st.integers(1, 5))
def test_no_while_sees_more_than_it_may(waits: list[int], times: int) -> None:
    """In no minute more happens than may, whenever it is tried; and there is always a next time."""
    clock = SetClock()
    throttle = Throttle(times, MINUTE, clock)
    admitted = list[datetime]()
    for seconds in waits:
        clock.advance(seconds=seconds)
        recent = [at for at in admitted if clock.now - at < MINUTE]
        assert throttle.admits("ann") is (len(recent) < times)
        if len(recent) < times:
            admitted.append(clock.now)


def test_many_threads_are_counted_together() -> None:
    """Of all that try at one moment just so many are admitted."""
    throttle, at_once = Throttle(10, MINUTE, SetClock()), threading.Barrier(8)

    def attempt(_: int) -> int:
        at_once.wait()
        return sum(throttle.admits("ann") for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 10
