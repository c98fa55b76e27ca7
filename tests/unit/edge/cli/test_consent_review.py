"""Texts that are probably opt-outs: shown to a person, who decides; they block meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.consent import Subject
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Connect, Hear, Home, Run, Type

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO, OTHER, THIRD = "+12015550142", "+12015550143", "+12015550144"
OF = ("--tenant", TENANT)
ASKED = "  [o]pt-out, [n]o opt-out, [s]kip, [q]uit: "


def state(run: Run, pipe: Type, number: str = TO) -> str | None:
    """Give a number's wish in a word, if any is known."""
    pipe(number)
    known = run("consent", "show", *OF, "--json").read()
    return known[0]["state"] if known else None


@pytest.fixture
def three(hear: Hear) -> None:
    """Three customers who wrote something that a person is to read."""
    for number in (TO, OTHER, THIRD):
        hear("please stop texting me", sender=number)


def test_where_there_is_nothing_to_read_it_says_so(run: Run, home: Home, hear: Hear) -> None:
    """Neither an opt-out nor a reply is to be read; exit code 0."""
    hear("Stop")
    hear("Thank you!", sender=OTHER)
    done = run("consent", "review", *OF)
    assert (done.code, done.out) == (0, "There is nothing to read.\n")


@pytest.mark.parametrize("sits", [False, True])
def test_the_texts_are_listed_where_nobody_decides(
    run: Run, three: None, pipe: Type, terminal: Type, sits: bool
) -> None:
    """With ``--list``, or without a terminal; exit code 1, as there is something to do."""
    (terminal if sits else pipe)("o\no\no\n")
    done = run("consent", "review", *OF, *(["--list"] if sits else []))
    assert done.code == 1
    first, second, third, last = done.out.splitlines()
    assert first.startswith("1 of 3: +*********42 at 2")
    assert second.endswith(" UTC: please stop texting me")
    assert "44" in third
    assert "Decide about them in a terminal" in last
    assert "201555" not in done.out
    assert state(run, pipe) == "review"


def test_a_person_decides_about_each(run: Run, home: Home, three: None, terminal: Type) -> None:
    """Opt-out, no opt-out, or later; what was decided is said, and holds."""
    terminal("o\nNO\ns\n")
    done = run("consent", "review", *OF)
    assert done.code == 0
    assert done.out.count(ASKED) == 3
    assert f"{ASKED}  opted out; nothing is sent.\n" in done.out
    assert f"{ASKED}  opted in; messages are sent.\n" in done.out
    said = [run("send", home.event(f"TO:{number};\nHello")).out for number in (TO, OTHER, THIRD)]
    assert said == ["suppressed: opted_out\n", "sent\n", "suppressed: opted_out\n"]
    listed = run("consent", "review", *OF, "--list").out
    assert listed.startswith("1 of 1: +*********44 ")


@pytest.mark.parametrize("typed", ["q\n", "", "s\ns\nq\n", "what?\n\nq\n"], ids=repr)
def test_who_stops_leaves_the_rest_as_it_is(
    run: Run, three: None, pipe: Type, terminal: Type, typed: str
) -> None:
    """By a word, or by ending the input; what is no answer is asked again."""
    terminal(typed)
    done = run("consent", "review", *OF)
    assert done.code == 0
    assert done.out.count(ASKED) == max(typed.count("\n"), 1)
    assert [state(run, pipe, number) for number in (TO, OTHER, THIRD)] == ["review"] * 3


def test_decisions_are_in_the_audit_and_no_text_is_in_the_log(
    run: Run, three: None, terminal: Type
) -> None:
    """A line for each; neither says whose it is."""
    terminal("o\nn\nq\n")
    done = run("consent", "review", *OF)
    assert done.err.count('"decision":"review"') == 2
    for secret in ("stop texting", "201555"):
        assert secret not in done.err
    notes = run("audit", "--json").read()
    assert [(note["action"], note["entries"]) for note in notes] == [("consent review", 1)] * 2
    assert "201555" not in str(notes)


def test_several_texts_of_one_customer_are_read_one_by_one(
    run: Run, hear: Hear, pipe: Type, terminal: Type
) -> None:
    """The customer is blocked until the last is."""
    hear("please stop texting me")
    hear("unsubscribe me now please")
    terminal("n\nq\n")
    done = run("consent", "review", *OF)
    assert "1 of 2: " in done.out
    assert "wrote something that is probably an opt-out" in done.out
    assert state(run, pipe) == "review"
    terminal("n\n")
    run("consent", "review", *OF)
    assert state(run, pipe) == "in"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("please stop texting me \x1b[2J\x1b]0;gone\x07", "please stop texting me [2J]0;gone"),
        ("please stop texting me\r\n  [o]pt-out: o", "please stop texting me    [o]pt-out: o"),
        ("please stop texting me \u202egnp\u2028", "please stop texting me gnp"),
    ],
)
def test_a_text_cannot_steer_the_terminal_that_it_is_read_at(
    run: Run, hear: Hear, text: str, shown: str
) -> None:
    """It is one line, whatever the customer wrote; ``run`` looks for the rest."""
    hear(text)
    first, _ = run("consent", "review", *OF, "--list").out.splitlines()
    assert first.endswith(f"UTC: {shown}")


def test_a_text_that_is_deleted_can_still_be_decided_about(
    run: Run, hear: Hear, connect: Connect, pipe: Type, terminal: Type
) -> None:
    """It is named by Twilio's SID, under which Twilio may still have it."""
    sid = hear("please stop texting me")
    with connect() as parts:
        assert parts.store.purge(now=utc_now() + timedelta(days=91), limit=10) == 1
    terminal("o\n")
    done = run("consent", "review", *OF)
    assert f"1 of 1: +*********42: the text is gone; Twilio has it as {sid}" in done.out
    assert state(run, pipe) == "out"


def test_about_an_erased_person_nobody_is_asked(
    run: Run, hear: Hear, pipe: Type, terminal: Type
) -> None:
    """Without a number nothing can be written; the block stays, and the next one is asked about."""
    hear("please stop texting me")
    hear("please stop texting me", sender=OTHER)
    pipe(TO)
    assert run("erase", *OF, "--yes").code == 0
    terminal("n\n")
    done = run("consent", "review", *OF)
    assert done.code == 0
    assert "1 of 2: an erased number: the text is gone" in done.out
    assert "It cannot be decided any more, and they stay blocked." in done.out
    assert done.out.count(ASKED) == 1
    assert state(run, pipe, OTHER) == "in"


class Interrupted:
    """Somebody at a terminal, who answers after something else has happened."""

    def __init__(self, text: str, happens: Callable[[], object]) -> None:
        self._text, self._happens = text, happens

    def isatty(self) -> bool:
        """Be a terminal."""
        return True

    def readline(self) -> str:
        """Let it happen, then answer."""
        self._happens()
        return self._text


def test_what_somebody_else_decided_meanwhile_stands(
    run: Run, hear: Hear, connect: Connect, pipe: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who comes second is told."""
    sid = hear("please stop texting me")

    def decide() -> None:
        with connect() as parts:
            subject = Subject(TENANT, TO)
            parts.store.judge(subject, sid, is_out=True, now=utc_now(), by="somebody else")

    monkeypatch.setattr(sys, "stdin", Interrupted("n\n", decide))
    done = run("consent", "review", *OF)
    assert "somebody has decided it before." in done.out
    assert state(run, pipe) == "out"
    assert run("audit", "--json").read() == []


def test_only_one_tenants_texts_are_shown(run: Run, home: Home, hear: Hear) -> None:
    """Whoever reads for one need not see another's."""
    home.write("second")
    hear("please stop texting me", tenant_id="second")
    assert run("consent", "review", *OF).out == "There is nothing to read.\n"
    assert "1 of 1" in run("consent", "review", "--tenant", "second").out
