"""``export`` and ``erase``: whom they find, what they ask, what is handed out, and what is left."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.tenant import TenantId

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Gateway, Hear, Home, Run, Type

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO, OTHER, THIRD, NEIGHBOUR = "+12015550142", "+12015550143", "+12015550144", "+12015550145"
ME = pwd.getpwuid(os.getuid()).pw_name
OF = ("--tenant", TENANT)
NOTHING = "ci360-twilio: Nothing is known of that person, or it was erased before.\n"


@pytest.fixture
def family(run: Run, home: Home, hear: Hear) -> None:
    """Somebody with three numbers and two identities, one leading to the next, and a neighbour."""
    known = (("a", TO, "D-1"), ("b", OTHER, "D-1"), ("c", OTHER, "D-2"), ("d", THIRD, "D-2"))
    for guid, number, datahub_id in (*known, ("e", NEIGHBOUR, "D-3")):
        run("send", home.event(f"TO:{number};\nHello {guid}", guid=guid, datahub_id=datahub_id))
    hear("Call me back")
    hear("Not me", sender=NEIGHBOUR)


def exported(run: Run, *options: object, tenant: str = TENANT) -> Any:
    """Give what is handed out."""
    return run("export", "--tenant", tenant, *options).read()


def guids(run: Run) -> set[str]:
    """Give the guids of all messages that are known."""
    return {one["guid"] for one in run("messages", "--json").read()}


# Whom they find


@pytest.mark.parametrize(
    ("typed", "options"),
    [
        (TO, ()),
        ("whatsapp: +1 (201) 555-0143", ()),
        ("D-1", ("--identity", "datahub_id")),
        (" D-2 \n", ("--identity", "datahub_id")),
    ],
)
def test_a_person_is_found_by_whatever_leads_to_them(
    run: Run, family: None, pipe: Type, typed: str, options: tuple[str, ...]
) -> None:
    """Numbers and identities that stand together in a message, and so on; nobody else's."""
    pipe(typed)
    known = exported(run, *options)
    assert known["numbers"] == [TO, OTHER, THIRD]
    assert [one["value"] for one in known["identities"]] == ["D-1", "D-2"]
    assert {one["guid"] for one in known["messages"]} == {"a", "b", "c", "d"}
    assert [one["heard"]["body"] for one in known["replies"]] == ["Call me back"]


@pytest.mark.parametrize(
    ("typed", "options", "found"),
    [
        (TO, (), {"a"}),
        (OTHER, (), {"b", "c"}),
        ("D-2", ("--identity", "datahub_id"), {"c", "d"}),
    ],
)
def test_only_what_names_what_was_asked_for(
    run: Run, family: None, pipe: Type, typed: str, options: tuple[str, ...], found: set[str]
) -> None:
    """Where a number has passed from one person to another, say."""
    pipe(typed)
    known = exported(run, "--only", *options)
    assert {one["guid"] for one in known["messages"]} == found
    pipe(typed)
    assert run("erase", *OF, "--only", "--yes", *options).code == 0
    assert guids(run) == {"a", "b", "c", "d", "e"} - found


@pytest.mark.parametrize("command", [("export",), ("erase", "--yes")], ids=" ".join)
def test_of_a_stranger_nothing_is_known(
    run: Run, family: None, pipe: Type, command: tuple[str, ...], tmp_path: Path
) -> None:
    """Exit code 1; another tenant knows none of these either."""
    to = ("--to", tmp_path / "x.json") if command == ("export",) else ()
    for typed, options in (
        ("+12015550199", OF),
        (TO, ("--tenant", "second")),
        ("D-1", (*OF, "--identity", "login_id")),
    ):
        pipe(typed)
        done = run(*command, *options, *to)
        assert (done.code, done.out) == (1, "")
        assert done.err.endswith(NOTHING)
    assert not (tmp_path / "x.json").exists()
    assert len(guids(run)) == 5


@pytest.mark.parametrize(
    ("typed", "options"),
    [
        ("", ()),
        ("Anna", ()),
        (" \n", ("--identity", "datahub_id")),
        ("D-1", ("--identity", "datahubid")),
        (TO, ("--tenant", "../x")),
    ],
)
@pytest.mark.parametrize("command", [("export",), ("erase", "--yes")], ids=" ".join)
def test_a_person_who_cannot_be_meant_ends_with_2(
    run: Run,
    family: None,
    pipe: Type,
    command: tuple[str, ...],
    typed: str,
    options: tuple[str, ...],
) -> None:
    """A kind of identity that is misspelt would else look as if nothing were known."""
    pipe(typed)
    assert run(*command, *OF, *options).code == 2
    assert len(guids(run)) == 5


@pytest.mark.parametrize("command", [("export",), ("erase", "--yes")], ids=" ".join)
def test_a_ledger_that_is_not_there_holds_nobody(
    run: Run, home: Home, pipe: Type, command: tuple[str, ...]
) -> None:
    """Exit code 1, and none is made."""
    pipe(TO)
    assert run(*command, *OF).code == 1
    assert not home.ledger.exists()


# export


def test_what_is_known_is_handed_out_whole(
    run: Run, home: Home, pipe: Type, hear: Hear, gateway: Gateway
) -> None:
    """With texts, numbers, wishes, and what CI360 was told; the log holds nothing of it."""
    run("send", home.event(guid="a", datahub_id="D-1"))
    sid = hear("Stop")
    pipe(TO)
    done = run("export", *OF)
    known = done.read()
    assert set(known) == {
        *("tenant", "exported_at", "numbers", "identities", "messages", "replies", "consents")
    }
    [message], [reply], [consent] = known["messages"], known["replies"], known["consents"]
    assert message["message"] == {"to": TO, "sender": "+15005550006", "body": "Hello Anna"}
    assert message["history"][0]["step"] == "accept"
    assert reply["heard"]["sid"] == sid
    assert {one["outcome"] for one in reply["reports"]} == {"reply", "opt_out"}
    assert (consent["recipient"], consent["state"], consent["blocked"]) == (TO, "out", True)
    assert consent["history"][0]["act"] == "out"
    assert done.err == ""


def test_what_is_handed_out_in_a_file_is_its_owners_alone(
    run: Run, family: None, pipe: Type, tmp_path: Path
) -> None:
    """The screen tells only where it is; one that is there is not overwritten."""
    file = tmp_path / "person.json"
    pipe(TO)
    done = run("export", *OF, "--to", file)
    assert done.out == f"Written to {file}, which only you can read. It holds texts and numbers.\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["numbers"] == [TO, OTHER, THIRD]
    pipe(NEIGHBOUR)
    assert run("export", *OF, "--to", file).code == 1
    assert json.loads(file.read_text())["numbers"] == [TO, OTHER, THIRD]


def test_nothing_that_is_handed_out_can_steer_the_terminal(
    run: Run, home: Home, pipe: Type, hear: Hear
) -> None:
    """Texts and identities are whatever somebody wrote; as JSON they are whole all the same."""
    hostile = "\x1b[2J\u202ex\x9b31m"
    run("send", home.event(datahub_id=hostile))
    hear(f"Hello {hostile}")
    pipe(TO)
    known = exported(run)
    assert known["identities"] == [{"kind": "datahub_id", "value": hostile}]
    assert known["replies"][0]["heard"]["body"] == f"Hello {hostile}"


def test_at_a_terminal_the_person_is_asked_for(run: Run, family: None, terminal: Type) -> None:
    """By the kind of identity, if there is one; then whether to erase."""
    terminal(f"{TO}\n")
    assert run("export", *OF).out.startswith("The number: {")
    terminal("D-1\ny\n")
    done = run("erase", *OF, "--identity", "datahub_id")
    assert done.code == 0
    assert done.out.startswith("The datahub_id: Tenant ")
    assert guids(run) == {"e"}
