"""A process that is killed at each step of what it does, and the product that goes on after it.

``killed.py`` runs the real command and ends it with SIGKILL at the step that is named. Whatever was
left is taken up by processes as they are: CI360 posts the same events once more, Twilio repeats its
callbacks, and the books are compared.
"""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.pause import Cause

if TYPE_CHECKING:
    from tests.crash.conftest import Site

# accept


@pytest.mark.parametrize(
    ("step", "written"), [("insert.before", 1), ("insert.within", 1), ("insert.after", 2)]
)
def test_an_event_without_an_answer_is_written_once(site: Site, step: str, written: int) -> None:
    """The server dies over the second of three; CI360 posts all again, to the next server."""
    server = site.serve("--no-worker", at=step, times=2)
    with site.connect() as connection:
        assert site.post(connection, 0)[0] == 202
        with pytest.raises((OSError, http.client.HTTPException)):
            site.post(connection, 1)
    assert server.was_killed()
    assert sorted(one.guid for one in site.entries()) == ["guid-0", "guid-1"][:written]
    answers = site.go_on()
    assert [one.get("duplicate", False) for one in answers] == [True, written == 2, False]
    assert site.check_books(3) == {Status.SENT: 3}
    assert len(site.twilio.twin.messages) == 3


@pytest.mark.parametrize("step", ["insert.within", "insert.after"])
def test_events_of_one_commit_are_written_or_not_together(site: Site, step: str) -> None:
    """Several callers at one time, whose server dies over what it takes up first."""
    server = site.serve("--no-worker", at=step)
    lost = list[int]()

    def post(index: int) -> None:
        with site.connect() as connection:
            try:
                site.post(connection, index)
            except (OSError, http.client.HTTPException):
                lost.append(index)

    callers = [threading.Thread(target=post, args=(index,)) for index in range(8)]
    for caller in callers:
        caller.start()
    assert server.was_killed()
    for caller in callers:
        caller.join()
    assert len(lost) == 8
    assert bool(site.entries()) is (step == "insert.after")
    site.go_on(8)
    assert site.check_books(8) == {Status.SENT: 8}
    assert len(site.twilio.twin.messages) == 8


def test_a_ledger_that_was_half_made_is_made_by_the_next(site: Site) -> None:
    """A server that dies over it leaves an empty file, which is as good as none."""
    server = site.start("serve", "--port", str(site.port), "--no-worker", at="other.within")
    assert server.was_killed(), server.words
    assert site.ledger.exists()
    site.go_on()
    assert site.check_books(3) == {Status.SENT: 3}


# send


@pytest.mark.parametrize(
    ("step", "times", "then", "made", "at_last"),
    [
        ("claim.within", 1, "aaa", 0, "TTT"),
        ("claim.after", 1, "aaa", 0, "TTT"),
        ("start.before", 1, "aaa", 0, "TTT"),
        ("start.within", 1, "aaa", 0, "TTT"),
        ("start.after", 1, "saa", 0, "HTT"),
        # the second starts in the commit that writes what came of the first
        ("start.within", 2, "saa", 1, "TTT"),
        ("start.after", 2, "Tsa", 1, "THT"),
        ("post.before", 2, "Tsa", 1, "THT"),
        ("post.within", 2, "Tsa", 1, "THT"),
        ("post.after", 2, "Tsa", 2, "TTT"),
        ("reply.after", 2, "Tsa", 2, "TTT"),
        ("answer.within", 3, "TTs", 3, "TTT"),
        ("answer.after", 3, "TTT", 3, "TTT"),
    ],
)
def test_a_message_that_may_exist_is_looked_for_and_never_sent_again(
    site: Site, step: str, times: int, then: str, made: int, at_last: str
) -> None:
    """Three events, one request at a time; what was not begun is sent, what was begun is not."""
    site.accept(3)
    worker = site.start("worker", connections=1, at=step, times=times)
    assert worker.was_killed(), worker.words
    site.wait_for(site.has_made(made), "bytes that left")
    assert (site.letters(), len(site.twilio.twin.messages)) == (then, made)
    answers = site.go_on()
    assert [one["duplicate"] for one in answers] == [True] * 3
    site.send_rest()
    assert site.letters() == "".join(
        "u" if was == "s" else is_ for was, is_ in zip(then, at_last, strict=True)
    )
    site.find_rest()
    assert site.letters() == at_last
    site.check_books(3)
    assert len(site.twilio.twin.messages) == at_last.count("T")
    guessed = [site.entry(index).guessed for index in range(3)]
    assert guessed == [was == "s" and is_ == "T" for was, is_ in zip(then, at_last, strict=True)]


@pytest.mark.parametrize(
    ("fault", "step", "then", "at_last"),
    [
        ("http_400:21614", "answer.within", "TTs", "TTH"),
        ("http_400:21614", "answer.after", "TTR", "TTR"),
        ("http_429", "answer.within", "TTs", "TTH"),
        ("http_429", "answer.after", "TTa", "TTT"),
        ("http_500", "answer.after", "TTu", "TTH"),
        ("http_500_made", "answer.after", "TTu", "TTT"),
        ("reset", "answer.within", "TTs", "TTT"),
        ("refuse", "answer.after", "TTu", "TTH"),
    ],
)
def test_an_error_counts_when_it_is_written(
    site: Site, fault: str, step: str, then: str, at_last: str
) -> None:
    """Before that nobody knows whether there was one, and another attempt would be a guess."""
    site.accept(3)
    site.twilio.faults.for_recipient(site.recipient(2), [fault])
    worker = site.start("worker", connections=1, at=step, times=3)
    assert worker.was_killed(), worker.words
    assert site.letters() == then
    site.go_on()
    site.send_rest()
    site.find_rest()
    assert site.letters() == at_last
    site.check_books(3)
    assert len(site.twilio.twin.messages) == at_last.count("T")


@pytest.mark.parametrize(("step", "pauses"), [("pause.within", 0), ("pause.after", 1)])
def test_a_pause_that_an_error_sets_stands_or_does_not(site: Site, step: str, pauses: int) -> None:
    """It is written before the answer that tells why; it is lifted when the credentials fit."""
    site.accept(3)
    site.twilio.faults.for_recipient(site.recipient(0), ["http_401"])
    worker = site.start("worker", connections=1, at=step)
    assert worker.was_killed(), worker.words
    assert site.letters() == "saa"
    assert [one.cause for one in site.parts.store.pauses()] == [Cause.CONFIG] * pauses
    site.go_on()
    site.send_rest()
    site.find_rest()
    assert site.letters() == "HTT"
    assert site.parts.store.pauses() == []
    site.check_books(3)
    assert len(site.twilio.twin.messages) == 2


@pytest.mark.parametrize(
    ("step", "then", "pauses", "at_last"),
    [
        ("claim.after", "aaa", 1, "TTT"),
        ("start.after", "saa", 1, "HTT"),
        ("reply.after", "saa", 1, "TTT"),
        ("resume.within", "saa", 1, "TTT"),
        ("resume.after", "saa", 0, "TTT"),
    ],
)
def test_a_pause_is_lifted_though_its_probe_died(
    site: Site, step: str, then: str, pauses: int, at_last: str
) -> None:
    """Of messages to a country that was closed one is let through; another is after that one."""
    site.accept(3)
    site.twilio.faults.for_recipient(site.recipient(0), ["http_400:21408"])
    sending = site.sending(site.clock(minutes=-10))
    begun = sending.begin(sending.claim(1, [site.entry(0).key]))
    sending.record([(one.entry.key, sending.attempt(one)) for one in begun])
    [pause] = site.parts.store.pauses()
    assert (pause.value, site.letters()) == ("US", "aaa")
    worker = site.start("worker", connections=1, at=step)
    assert worker.was_killed(), worker.words
    assert (site.letters(), len(site.parts.store.pauses())) == (then, pauses)
    site.go_on()
    site.send_rest()
    site.find_rest()
    assert (site.letters(), site.parts.store.pauses()) == (at_last, [])
    site.check_books(3)
    assert len(site.twilio.twin.messages) == at_last.count("T")


@pytest.mark.parametrize(
    ("step", "times"), [("claim.after", 3), ("start.after", 3), ("post.after", 6)]
)
def test_another_worker_goes_on_where_one_is_killed(site: Site, step: str, times: int) -> None:
    """Two on one ledger; what the dead one had in its hands is all that is left over."""
    site.twilio.faults.set_share({"slow:0.03": 1.0})
    other = site.start("worker", connections=1)
    worker = site.start("worker", connections=4, at=step, times=times)
    for one in (other, worker):
        one.wait_until("worker.running")
    site.accept(60)
    assert worker.was_killed(), worker.words
    site.wait_for(site.is_idle, "what is free to be sent")
    assert other.ask_to_end() == 0, other.words[-1000:]
    assert len(other.told("message.sent")) > 0
    assert site.in_status(Status.ACCEPTED, Status.SENDING) > 0
    site.twilio.faults.set_share({})
    site.send_rest()
    site.find_rest()
    counts = site.check_books(60)
    assert counts[Status.SENT] + counts[Status.HELD] == 60
    assert counts[Status.SENT] == len(site.twilio.twin.messages) >= 56


# settle


@pytest.mark.parametrize(
    ("step", "worker_at", "then"),
    [
        ("settle.within", "post.after", "s"),
        ("settle.after", "post.after", "TD"),
        ("settle.within", None, "sT"),
        ("settle.after", None, "TD"),
    ],
)
def test_a_callback_without_an_answer_is_settled_when_it_comes_again(
    site: Site, step: str, worker_at: str | None, then: str
) -> None:
    """Of a message whose worker died over it, too: the callback alone names its SID."""
    site.call_back()
    server = site.serve("--no-worker", at=step)
    assert [status for status, _ in site.post_all(1)] == [202]
    worker = site.start("worker", connections=1, at=worker_at)
    assert server.was_killed(), server.words
    assert worker.was_killed() if worker_at else worker.ask_to_end() == 0, worker.words
    assert site.letters(1) in then
    server = site.serve()
    assert [answer["duplicate"] for _, answer in site.post_all(1)] == [True]
    site.wait_for(lambda: site.letters(1) == "D", "callbacks that come again")
    assert server.ask_to_end() == 0, server.words[-1000:]
    assert site.check_books(1) == {Status.DELIVERED: 1}
    assert len(site.twilio.twin.messages) == 1
    entry = site.entry(0)
    assert not entry.guessed
    assert decisions(entry, "settle").count("delivered") == 1
    assert (decisions(entry, "settle") + decisions(entry, "send")).count("sent") == 1


def decisions(entry: Entry, verb: str) -> list[str]:
    """Give what a verb decided about an entry, in order."""
    return [one.decision for one in entry.history if one.step == verb]


# find


def lose(site: Site, *faults: str) -> None:
    """Send messages ten minutes ago, and lose what Twilio said to them."""
    site.accept(len(faults))
    for index, fault in enumerate(faults):
        site.twilio.faults.for_recipient(site.recipient(index), [fault])
    sending = site.sending(site.clock(minutes=-10))
    begun = sending.begin(sending.claim(10, [one.key for one in site.entries()]))
    sending.record([(one.entry.key, sending.attempt(one)) for one in begun])
    assert site.letters(len(faults)) == "u" * len(faults)


@pytest.mark.parametrize(
    ("step", "then"),
    [
        ("look.within", "uu"),
        ("look.after", "uu"),
        ("search.after", "uu"),
        ("find.within", "uu"),
        ("find.after", "Tu"),
    ],
)
def test_what_was_not_found_for_good_is_looked_for_again(site: Site, step: str, then: str) -> None:
    """One of two messages was made; its SID is found once, and the other is held at last."""
    lose(site, "reset", "http_500")
    worker = site.start("worker", at=step)
    assert worker.was_killed(), worker.words
    assert site.letters(2) == then
    site.go_on(2)
    site.find_rest()
    assert site.letters(2) == "TH"
    assert [site.entry(index).guessed for index in range(2)] == [True, False]
    site.check_books(2)
    assert len(site.twilio.twin.messages) == 1


@pytest.mark.parametrize(
    ("step", "then", "entries"),
    [
        ("insert.within", "uu", 2),
        ("insert.after", "uu", 3),
        ("find.within", "uu", 3),
        ("find.after", "TC", 3),
    ],
)
def test_what_is_sent_again_at_the_deadline_is_sent_again_once(
    site: Site, step: str, then: str, entries: int
) -> None:
    """The tenant wants it so; the new entry is written before the old one is closed."""
    site.settings["unknown_deadline"] = "60"
    site.document(unknown_after_deadline="resend")
    lose(site, "reset", "http_500")
    worker = site.start("worker", at=step)
    assert worker.was_killed(), worker.words
    assert site.letters(2) == then
    assert len(site.entries()) == entries
    site.go_on(2)
    site.find_rest()
    site.send_rest(minutes=20)
    assert site.letters(2) == "TC"
    assert site.entry(1).replayed_by == f"{site.twilio.tenant_id}/guid-1~again"
    counts = site.check_books(2, ["guid-1~again"])
    assert counts == {Status.SENT: 2, Status.CANCELED: 1}
    assert len(site.twilio.twin.messages) == 2
