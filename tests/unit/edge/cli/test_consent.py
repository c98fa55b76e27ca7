"""Single wishes by hand: what is told of them, what is written, and what never leaves the command."""

from __future__ import annotations

import os
import pwd
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Hear, Home, Run, Type

TENANT = "af5af6b8f500013eb0c90001"
TO, OTHER = "+12015550142", "+12015550143"
MASKED = "+*********42"
ME = pwd.getpwuid(os.getuid()).pw_name
OF = ("--tenant", TENANT)


def states(run: Run, pipe: Type, number: str = TO) -> dict[str | None, str]:
    """Give what is known of a number, by group."""
    pipe(f"{number}\n")
    return {one["group"]: one["state"] for one in run("consent", "show", *OF, "--json").read()}


def wish(run: Run, pipe: Type, sign: str, *options: str, number: str = TO) -> None:
    """Write a wish by hand."""
    pipe(f"{number}\n")
    assert run("consent", "set", sign, *OF, *options).code == 0


# show and set


def test_an_opt_out_by_hand_holds_until_it_is_lifted(
    run: Run, home: Home, pipe: Type, twilio: Any
) -> None:
    """Nothing is sent meanwhile; both steps stand in the history."""
    pipe(TO)
    done = run("consent", "set", "out", *OF, "--reason", "called us")
    assert done.code == 0
    assert done.out == f"Written: {MASKED}, all messages: opted out; nothing is sent.\n"
    assert run("send", home.event()).out == "suppressed: opted_out\n"
    wish(run, pipe, "in")
    assert run("send", home.event()).out == "sent\n"
    assert twilio.made_for(TO) == 1
    pipe(TO)
    first, head, _, *lines = run("consent", "show", *OF).out.splitlines()
    assert first == f"{MASKED}, all messages: opted in; messages are sent."
    assert head.split()[:3] == ["WRITTEN", "(UTC)", "WHAT"]
    assert [line.split()[2:4] for line in lines] == [["out", ME], ["in", ME]]


def test_of_a_stranger_nothing_is_known(run: Run, home: Home, pipe: Type) -> None:
    """Which means that messages are sent; exit code 0."""
    wish(run, pipe, "out", number=OTHER)
    pipe(TO)
    done = run("consent", "show", *OF)
    assert done.code == 0
    assert done.out == "Nothing is known of that recipient's wish: messages are sent.\n"
    assert states(run, pipe) == {}


def test_an_opt_in_of_somebody_who_never_opted_out_changes_nothing(
    run: Run, home: Home, pipe: Type
) -> None:
    """That is how everybody is; nothing is written of it."""
    pipe(TO)
    done = run("consent", "set", "in", *OF)
    assert done.code == 0
    assert done.out == "That is what is known already; nothing was changed.\n"
    assert states(run, pipe) == {}
    assert run("audit", "--json").read() == []


def test_the_audit_says_who_and_why_and_the_log_does_not(run: Run, home: Home, pipe: Type) -> None:
    """Nor does either say whose wish it is."""
    pipe(TO)
    done = run("consent", "set", "out", *OF, "--reason", "a letter of the 2nd")
    assert '"consent.changed"' in done.err
    assert "letter" not in done.err
    assert "2015550142" not in done.out + done.err
    [note] = run("audit", "--json").read()
    assert (note["by"], note["action"], note["detail"]) == (
        ME,
        "consent set out",
        "a letter of the 2nd",
    )
    assert "2015550142" not in str(note)


def test_a_wish_may_be_about_some_senders_only(run: Run, home: Home, pipe: Type) -> None:
    """Those of a group that the tenant's document names; all groups are shown."""
    home.write(consent_groups={"shop": ["+12015550199"], "news": ["Acme", "+12015550198"]})
    pipe(TO)
    done = run("consent", "set", "out", *OF, "--group", "shop")
    assert done.out == f"Written: {MASKED}, messages of group shop: opted out; nothing is sent.\n"
    wish(run, pipe, "out", "--group", "news")
    wish(run, pipe, "in", "--group", "news")
    assert states(run, pipe) == {"shop": "out", "news": "in"}
    pipe(TO)
    assert "messages of group news: opted in" in run("consent", "show", *OF).out
    for sender, said in (
        ("+12015550199", "suppressed"),
        ("Acme", "sent"),
        ("+12015550197", "sent"),
    ):
        event = home.event(f"TO:{TO};\nFROM:{sender};\nHello")
        assert run("send", event).out.startswith(said)


@pytest.mark.parametrize("group", ["shp", "+12015550199", "Acme", "../x"])
@pytest.mark.parametrize("command", [("set", "out"), ("import", "-")], ids=" ".join)
def test_a_group_that_the_tenant_does_not_have_is_refused(
    run: Run, home: Home, pipe: Type, command: tuple[str, ...], group: str
) -> None:
    """Nobody would ever look there; a sender is no group. Those that there are, are named."""
    home.write(consent_groups={"shop": ["+12015550199"], "news": ["Acme"]})
    pipe(TO)
    done = run("consent", *command, *OF, "--group", group)
    assert done.code == 2
    assert "it has news, shop." in done.err
    assert not home.ledger.exists()


@pytest.mark.parametrize(
    "written",
    [
        TO,
        " +1 (201) 555-0142 \n",
        "12015550142",
        "whatsapp:+12015550142",
        "WhatsApp: +1 201 555 0142",
    ],
)
def test_a_number_may_be_written_as_people_do(
    run: Run, home: Home, pipe: Type, written: str
) -> None:
    """A wish is a person's, on whatever channel."""
    wish(run, pipe, "out", number=written)
    assert states(run, pipe) == {None: "out"}


@pytest.mark.parametrize("written", ["", "\n", "Anna", "+1", "+1201555014x", "\x1b[31m"])
def test_what_is_no_number_ends_with_2(run: Run, home: Home, pipe: Type, written: str) -> None:
    """Nothing is made or written, and it is not repeated."""
    for command in (("set", "out"), ("show",)):
        pipe(written)
        done = run("consent", *command, *OF)
        assert done.code == 2
        assert done.err.startswith("ci360-twilio: ")
        assert "Anna" not in done.err
    assert not home.ledger.exists()


def test_at_a_terminal_the_number_is_asked_for(run: Run, home: Home, terminal: Type) -> None:
    """Who ends the input has given none."""
    terminal(f"{TO}\n")
    done = run("consent", "set", "out", *OF)
    assert (done.code, done.out[:12]) == (0, "The number: ")
    terminal("")
    done = run("consent", "show", *OF)
    assert done.code == 2
    assert "Nothing was given" in done.err


def test_a_wish_is_one_of_a_tenant_that_there_is(
    run: Run, home: Home, pipe: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped one would hold for nobody; what is known can be shown without a document."""
    wish(run, pipe, "out")
    pipe(TO)
    done = run("consent", "set", "out", "--tenant", "mistyped")
    assert (done.code, done.err) == (1, "ci360-twilio: There is no such tenant.\n")
    (home.tenants / f"{TENANT}.json").unlink()
    assert states(run, pipe) == {None: "out"}
    monkeypatch.delenv("CI360_TWILIO_TENANTS")
    assert states(run, pipe) == {None: "out"}


def test_national_numbers_are_those_of_the_tenants_country(
    run: Run, home: Home, pipe: Type
) -> None:
    """Else ten digits would be a number of another country's."""
    home.write(default_region="US")
    pipe("(201) 555-0142")
    assert run("consent", "set", "out", "--tenant", TENANT).code == 0
    assert states(run, pipe) == {None: "out"}


def test_a_wish_is_one_tenants(run: Run, home: Home, pipe: Type) -> None:
    """Another one knows nothing of it."""
    wish(run, pipe, "out")
    pipe(TO)
    assert run("consent", "show", "--tenant", "second", "--json").read() == []


@pytest.mark.parametrize(
    "command", ["show", "set out", "review", "export", "import -", "pull", "push --yes"]
)
def test_a_tenant_id_that_is_none_is_refused(
    run: Run, home: Home, pipe: Type, command: str
) -> None:
    """Before it touches anything."""
    wish(run, pipe, "out")
    pipe(TO)
    done = run("consent", *command.split(), "--tenant", "../\x1b[31m")
    assert done.code == 2
    assert "1 to 64 letters" in done.err


@pytest.mark.parametrize("command", ["show", "review", "verify", "export"])
def test_a_ledger_that_is_not_there_is_not_made_to_look(
    run: Run, home: Home, pipe: Type, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in memory is another process's."""
    of = () if command == "verify" else OF
    pipe(TO)
    done = run("consent", command, *of)
    assert done.code == 1
    assert not home.ledger.exists()
    monkeypatch.setenv("CI360_TWILIO_LEDGER", "memory:")
    pipe(TO)
    assert run("consent", command, *of).code == 2


def test_nothing_is_written_into_a_ledger_that_ends_with_the_command(
    run: Run, home: Home, pipe: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An opt-out would seem to be kept."""
    monkeypatch.setenv("CI360_TWILIO_LEDGER", "memory:")
    pipe(TO)
    assert run("consent", "set", "out", *OF).code == 2
    pipe(TO)
    assert run("consent", "import", "-", *OF).code == 2


def test_what_customers_wrote_is_told_with_its_message(
    run: Run, home: Home, pipe: Type, hear: Hear
) -> None:
    """An opt-in whose date is not known is told to be in doubt."""
    out = hear("Stop")
    pipe(TO)
    shown = run("consent", "show", *OF).out
    assert f"{MASKED}, all messages: opted out; nothing is sent." in shown
    assert shown.splitlines()[-1].split()[2:] == ["out", "text", "not", "known", "yes", out]
    hear("Start")
    pipe(TO)
    done = run("consent", "show", *OF)
    assert "opted out; nothing is sent." in done.out
    assert "An opt-in came; when it was written is being asked of Twilio" in done.out


def test_a_wish_is_told_to_scripts_without_its_number(
    run: Run, home: Home, pipe: Type, hear: Hear
) -> None:
    """With every line of its history."""
    sid = hear("please stop texting me")
    pipe(TO)
    done = run("consent", "show", *OF, "--json")
    [shown] = done.read()
    assert set(shown) == {"to", "group", "state", "blocked", "since", "history"}
    assert (shown["to"], shown["state"], shown["blocked"]) == (MASKED, "review", True)
    [line] = shown["history"]
    assert set(line) == {"at", "act", "source", "by", "dated_at", "blocked", "sid"}
    assert (line["act"], line["source"], line["sid"]) == ("maybe", "text", sid)
    assert "2015550142" not in done.out
    assert "texting" not in done.out


# verify


def test_histories_as_they_were_written_pass(run: Run, home: Home, pipe: Type) -> None:
    """Exit code 0; none at all is in order, too."""
    run("send", home.event())
    assert run("consent", "verify").out.startswith("0 consents checked; every history is as ")
    for number in (TO, OTHER):
        wish(run, pipe, "out", number=number)
    done = run("consent", "verify")
    assert (done.code, done.out[:18]) == (0, "2 consents checked")


@pytest.mark.parametrize(
    "change",
    [
        'data = CAST(replace(CAST(data AS TEXT), \'"act":"out"\', \'"act":"in"\') AS BLOB)',
        "data = CAST(replace(CAST(data AS TEXT), '\"by\":', '\"sid\":') AS BLOB)",
        "state = 'in'",
        "tenant = 'second'",
    ],
)
def test_a_history_that_somebody_changed_is_found(
    run: Run, home: Home, pipe: Type, change: str
) -> None:
    """By tenant and hash, never by its number; exit code 1."""
    for number in (TO, OTHER):
        wish(run, pipe, "out", number=number)
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute(f"UPDATE consents SET {change} WHERE recipient = '{TO}'")  # noqa: S608
        db.commit()
    done = run("consent", "verify")
    assert done.code == 1
    assert done.out.startswith("2 consents checked; 1 were changed by something else:\n  ")
    assert "2015550142" not in done.out


def test_with_another_key_no_history_holds(
    run: Run, home: Home, pipe: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the key that proves them."""
    wish(run, pipe, "out")
    monkeypatch.setenv("CI360_TWILIO_HASH_KEY", "another key")
    assert run("consent", "verify").code == 1
