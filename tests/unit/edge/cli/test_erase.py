"""``erase``: what it asks, what goes, and what stays in force when somebody is gone."""

from __future__ import annotations

import os
import pwd
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Fact, Kind, Lease, key_of
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio
    from tests.unit.edge.cli.conftest import Connect, Gateway, Hear, Home, Run, Type

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO, OTHER, NEIGHBOUR = "+12015550142", "+12015550143", "+12015550145"
ME = pwd.getpwuid(os.getuid()).pw_name
OF = ("--tenant", TENANT)
NOTHING = "ci360-twilio: Nothing is known of that person, or it was erased before.\n"


@pytest.fixture
def two(run: Run, home: Home) -> None:
    """Somebody who got a message, and a neighbour."""
    run("send", home.event(guid="a", datahub_id="D-1"))
    run("send", home.event(f"TO:{NEIGHBOUR};\nHello you", guid="n", datahub_id="D-3"))


def guids(run: Run) -> set[str]:
    """Give the guids of all messages that are known."""
    return {one["guid"] for one in run("messages", "--json").read()}


def test_a_plan_says_what_would_go(
    run: Run, home: Home, pipe: Type, hear: Hear, gateway: Gateway
) -> None:
    """With ``--dry-run`` nothing does, and nobody is asked; no number is in it."""
    run("send", home.event(guid="a"))
    run("send", "--wait", "0", home.event(f"TO:{OTHER};\nSoon", guid="b"))
    hear("Stop")
    pipe(TO)
    done = run("erase", *OF, "--dry-run")
    assert done.code == 0
    known = "2 messages, 1 text of theirs, 1 consent"
    assert done.out.splitlines() == [
        f"Tenant {TENANT} knows of that person: {known}; with 2 numbers and 2 identities.",
        "1 message not sent yet will never be sent.",
        "2 outcomes not told to CI360 yet will never be told.",
        "The opt-out stays in force; only the number goes.",
    ]
    assert done.err == ""
    assert guids(run) == {"a", "b"}
    assert run("audit", "--json").read() == []


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "erase\n"], ids=repr)
def test_whoever_does_not_say_yes_erases_nothing(
    run: Run, two: None, terminal: Type, typed: str
) -> None:
    """Exit code 1."""
    terminal(f"{TO}\n{typed}")
    done = run("erase", *OF)
    assert done.code == 1
    assert "Erase all of it? [y/N] " in done.out
    assert done.out.endswith("Nothing was changed.\n")
    assert guids(run) == {"a", "n"}


def test_where_nobody_can_be_asked_yes_is_needed(run: Run, two: None, pipe: Type) -> None:
    """A number that is piped in is no answer; exit code 2."""
    pipe(f"{TO}\ny\n")
    done = run("erase", *OF)
    assert done.code == 2
    assert "--yes" in done.err
    assert guids(run) == {"a", "n"}


def test_an_erased_person_gets_nothing_by_the_same_events(
    run: Run, home: Home, pipe: Type, hear: Hear, gateway: Gateway, connect: Connect, twilio: Twilio
) -> None:
    """Not what waited, nor what CI360 sends again; CI360 hears nothing more of them."""
    first, second = home.event(guid="a"), home.event(guid="b")
    run("send", first)
    run("send", "--wait", "0", second)
    hear("Call me back")
    pipe(TO)
    done = run("erase", *OF, "--yes")
    assert done.code == 0
    assert "2 messages, 1 text, the number in 0 consents, 0 lines of the audit." in done.out
    assert guids(run) == set()
    assert run("trace", "a").code == 1
    for event in (first, second):
        assert run("send", event).out == "expired: purged (the event was known)\n"
    with connect() as parts:
        assert parts.reporting.report_all(64) == 0
    assert twilio.made_for(TO) == 1
    assert gateway.twin.events == ()
    pipe(TO)
    assert run("erase", *OF, "--yes").err == NOTHING


def test_an_opt_out_outlives_the_person(run: Run, home: Home, pipe: Type, hear: Hear) -> None:
    """By its hash; the list has it no more."""
    hear("Stop")
    pipe(TO)
    assert "the number in 1 consent," in run("erase", *OF, "--yes").out
    assert run("send", home.event()).out == "suppressed: opted_out\n"
    assert run("consent", "verify").code == 0
    pipe(TO)
    assert run("consent", "show", *OF).out.startswith("An erased number, all messages: opted out")


def test_what_is_being_sent_is_left_and_told(
    run: Run, home: Home, pipe: Type, connect: Connect
) -> None:
    """Exit code 1; once it is settled the next try takes it."""
    run("send", "--wait", "0", home.event(guid="a"))
    run("send", "--wait", "0", home.event(guid="b"))
    now = utc_now()
    lease = Lease(token="t", until=now + timedelta(minutes=1))
    key = key_of(TENANT, "a")
    with connect() as parts:
        parts.store.claim(now=now, lease=lease, limit=1, keys=[key])
        parts.store.record_many([(key, Fact(kind=Kind.STARTED, at=now, lease=lease))])
    pipe(TO)
    done = run("erase", *OF, "--yes")
    assert done.code == 1
    assert "Left: 1 message being sent at this moment. Erase again." in done.out
    assert "something like it is still there" in done.out
    assert guids(run) == {"a"}
    made = Receipt(sid=f"SM{'1' * 32}", status="queued")
    with connect() as parts:
        parts.store.record_many([(key, Fact(kind=Kind.MADE, at=now, lease=lease, receipt=made))])
    pipe(TO)
    assert run("erase", *OF, "--yes").code == 0
    assert guids(run) == set()


def test_the_neighbour_keeps_everything(run: Run, two: None, pipe: Type, hear: Hear) -> None:
    """Messages, texts and wishes of others stay."""
    for number in (TO, NEIGHBOUR):
        hear("please stop texting me", sender=number)
    pipe(TO)
    run("erase", *OF, "--yes")
    assert guids(run) == {"n"}
    listed = run("consent", "review", *OF, "--list").out
    assert "+*********45 at 2" in listed
    pipe(NEIGHBOUR)
    assert len(run("export", *OF).read()["replies"]) == 1


def test_an_erasure_is_in_the_audit_and_who_is_not(run: Run, two: None, pipe: Type) -> None:
    """Nor is the log told; the reason is for the audit alone."""
    pipe(TO)
    done = run("erase", *OF, "--yes", "--reason", "her letter of the 2nd")
    [note] = run("audit", "--json").read()
    assert (note["by"], note["action"], note["subject"], note["entries"], note["detail"]) == (
        *(ME, "erase", f"tenant {TENANT}", 1, "her letter of the 2nd"),
    )
    assert '"event":"person.erased"' in done.err
    for secret in ("letter", "2015550142", "D-1", "Hello"):
        assert secret not in done.err
    assert "2015550142" not in done.out


def test_texts_of_the_audit_that_name_the_person_go(run: Run, two: None, pipe: Type) -> None:
    """The lines stay; the reason of the erasure itself is left out, too, if it names them."""
    run("pause", "country", "GB", "--reason", f"{TO} has complained")
    run("pause", "country", "FR", "--reason", "D-1 as well")
    run("pause", "country", "DE", "--reason", "somebody else")
    pipe(TO)
    done = run("erase", *OF, "--yes", "--reason", f"{TO} wants it")
    assert "2 lines of the audit." in done.out
    notes = run("audit", "--json").read()
    assert [(one["action"], one.get("detail")) for one in notes] == [
        *(("erase", None), ("pause", "somebody else"), ("pause", None), ("pause", None)),
    ]
