"""A command by which a person steers, killed before it has said what it did.

Whoever sees no answer gives the command once more: what was done is not done twice, and what was
not done is done now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.crash.conftest import Site


def killed(site: Site, step: str, *command: str) -> None:
    """Give a command that dies at a step."""
    process = site.start(*command, at=step)
    assert process.was_killed(), process.words


def repeated(site: Site, *command: str) -> tuple[int, str]:
    """Give a command; gives its exit code and what it printed."""
    process = site.start(*command)
    return process.wait(), process.words


def actions(site: Site) -> list[str]:
    """Give what the audit says was done, oldest first."""
    return [note.action for note in reversed(site.parts.store.notes(100))]


@pytest.mark.parametrize(("step", "pauses"), [("pause.within", 0), ("pause.after", 1)])
def test_a_pause_stands_with_its_line_in_the_audit_or_not_at_all(
    site: Site, step: str, pauses: int
) -> None:
    """Once it is committed nothing starts, not even what is claimed; given again it is there once."""
    site.accept(3)
    sending = site.sending(utc_now)
    claimed = sending.claim(2)
    pause = ("pause", "tenant", site.twilio.tenant_id)
    killed(site, step, *pause)
    assert len(site.parts.store.pauses()) == len(actions(site)) == pauses
    code, words = repeated(site, *pause)
    assert (code, "is paused already" in words) == (0, bool(pauses))
    assert (len(site.parts.store.pauses()), actions(site)) == (1, ["pause"])
    assert (sending.begin(claimed), sending.claim(100)) == ([], [])
    assert site.letters() == "aaa"
    assert repeated(site, "resume", *pause[1:], "--yes")[0] == 0
    site.go_on()
    assert site.check_books(3) == {Status.SENT: 3}


@pytest.mark.parametrize(("step", "pauses"), [("resume.within", 1), ("resume.after", 0)])
def test_what_is_resumed_goes_out_or_waits_on(site: Site, step: str, pauses: int) -> None:
    """Given again, the command says that there is no such pause, where the first one got through."""
    site.accept(3)
    assert repeated(site, "pause", "all")[0] == 0
    assert site.sending(utc_now).claim(100) == []
    killed(site, step, "resume", "all", "--yes")
    assert len(site.parts.store.pauses()) == pauses
    code, words = repeated(site, "resume", "all", "--yes")
    assert (code, "no such pause" in words) == (1 - pauses, not pauses)
    assert actions(site) == ["pause", "resume"]
    site.go_on()
    assert site.check_books(3) == {Status.SENT: 3}


@pytest.mark.parametrize(
    ("step", "then"),
    [("withdraw.within", "aaa"), ("withdraw.after", "CCC")],
)
def test_what_is_canceled_is_not_sent(site: Site, step: str, then: str) -> None:
    """All of it, or nothing yet; in the end CI360's events have made no message."""
    site.accept(3)
    killed(site, step, "cancel", "--all", "--yes")
    assert site.letters() == then
    repeated(site, "cancel", "--all", "--yes")
    assert site.letters() == "CCC"
    answers = site.go_on()
    assert {one["status"] for one in answers} == {"canceled"}
    assert site.check_books(3) == {Status.CANCELED: 3}
    assert site.twilio.twin.messages == ()


@pytest.mark.parametrize(
    ("step", "entries", "linked", "again"),
    [
        ("insert.within", 2, 0, True),
        ("insert.after", 4, 0, False),
        ("insert.after", 4, 0, True),
        ("link.after", 4, 2, True),
    ],
)
def test_what_is_replayed_is_sent_once(
    site: Site, step: str, entries: int, linked: int, again: bool
) -> None:
    """Also where the new entries are written, and the old ones do not know of them yet."""
    site.accept(2)
    for index in range(2):
        site.twilio.faults.for_recipient(site.recipient(index), ["http_400:21614"])
    site.send_rest(minutes=0)
    assert site.letters(2) == "RR"
    replay = ("replay", "--status", "refused", "--anyway", "--yes")
    killed(site, step, *replay)
    assert len(site.entries()) == entries
    assert sum(one.replayed_by is not None for one in site.entries()) == linked
    if again:
        assert repeated(site, *replay)[0] == bool(linked)
        assert sum(one.replayed_by is not None for one in site.entries()) == 2
    site.go_on(2)
    counts = site.check_books(2, ["guid-0~again", "guid-1~again"])
    assert counts == {Status.REFUSED: 2, Status.SENT: 2}
    assert len(site.twilio.twin.messages) == 2


@pytest.mark.parametrize("step", ["insert.after", "steer.within"])
def test_what_is_resolved_by_sending_it_again_is_sent_once_more(site: Site, step: str) -> None:
    """The first message was not made, as the person knows; the second is made once."""
    site.accept(1)
    site.twilio.faults.for_recipient(site.recipient(0), ["http_500"])
    site.send_rest(minutes=0)
    site.find_rest()
    assert site.letters(1) == "H"
    resolve = ("resolve", "guid-0", "resend", "--yes")
    killed(site, step, *resolve)
    assert (len(site.entries()), site.letters(1)) == (2, "H")
    assert repeated(site, *resolve)[0] == 0
    assert site.letters(1) == "C"
    site.go_on(1)
    assert site.check_books(1, ["guid-0~again"]) == {Status.CANCELED: 1, Status.SENT: 1}
    assert len(site.twilio.twin.messages) == 1
