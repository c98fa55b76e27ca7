"""``people``: who may sign in to the console."""

from __future__ import annotations

import stat
from collections.abc import Callable

import pytest
from tests.unit.edge.cli.conftest import Connect, Done, Home, Type

from ci360_twilio.core.person import Role
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.opening import people_path
from ci360_twilio.settings import read_settings

PASSWORD = "correct horse battery"
Run = Callable[..., Done]


@pytest.fixture
def accounts(home: Home) -> Accounts:
    """Give the accounts that the commands change."""
    assert home.ledger
    return Accounts(people_path(read_settings()))


@pytest.fixture
def add(run: Run, pipe: Type) -> Run:
    """Give a function that adds somebody with a password."""

    def call(*arguments: object) -> Done:
        pipe(f"{PASSWORD}\n")
        return run("people", "add", *arguments)

    return call


def test_the_first_person_is_added_by_a_command(run: Run, add: Run, accounts: Accounts) -> None:
    """Beside the ledger, for its owner alone; the password is piped in, and never printed."""
    assert "this machine alone" in run("people").out
    done = add("root", "--role", "administrator")
    assert (done.code, done.out) == (0, "root may sign in at /console, as administrator.\n")
    assert accounts.path.name == "ledger.db.people"
    assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600
    assert accounts.let_in("root", PASSWORD) is not None
    assert PASSWORD not in done.out + done.err + accounts.path.read_text()


def test_somebody_of_some_tenants_is_listed_so(run: Run, add: Run) -> None:
    """Those of all tenants are listed as such."""
    add("root", "--role", "administrator")
    add("ben", "--role", "marketer", "--tenant", "one", "--tenant", "two")
    assert run("people").out.splitlines()[2:] == [
        "ben   marketer       one, two",
        "root  administrator  all",
    ]


def test_rights_and_passwords_are_changed_and_people_removed(
    run: Run, add: Run, pipe: Type, accounts: Accounts
) -> None:
    """Each with a word of what is so now."""
    add("root", "--role", "administrator")
    add("ben", "--role", "viewer")
    assert run("people", "rights", "ben", "--role", "operator", "--tenant", "one").code == 0
    found = accounts.account("ben")
    assert found is not None
    assert (found.person.role, found.person.tenants) == (Role.OPERATOR, ("one",))
    pipe("another long password\n")
    assert "their sessions have ended" in run("people", "password", "ben").out
    assert accounts.let_in("ben", "another long password") is not None
    assert run("people", "remove", "ben").code == 0
    assert accounts.account("ben") is None


def test_what_people_do_stands_in_the_audit(
    run: Run, add: Run, connect: Connect, home: Home
) -> None:
    """By whom, and what for; where there is no ledger yet none is made for it."""
    add("root", "--role", "administrator")
    assert not home.ledger.exists()
    with connect() as parts:
        parts.store.probe()
    add("ben", "--role", "viewer", "--tenant", "one")
    run("people", "remove", "ben")
    with connect() as parts:
        notes = parts.store.notes(9)
    assert [(note.action, note.subject, note.detail) for note in notes] == [
        ("remove person", "ben", None),
        ("add person", "ben", "viewer of one"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "ben", "--role", "viewer"), "administrator of all tenants"),
        (("add", "<b>", "--role", "administrator"), "A name is"),
        (("add", "ben", "--role", "administrator", "--tenant", "../x"), "A tenant's id"),
        (("remove", "nobody"), "nobody named nobody"),
        (("rights", "nobody", "--role", "viewer"), "nobody named nobody"),
    ],
)
def test_what_cannot_be_is_not_done(
    run: Run, pipe: Type, home: Home, arguments: tuple[str, ...], words: str
) -> None:
    """The first must be able to administer all; names are names."""
    assert home.ledger
    pipe(f"{PASSWORD}\n")
    done = run("people", *arguments)
    assert done.code != 0
    assert words in done.err


def test_a_short_password_is_refused(run: Run, pipe: Type, accounts: Accounts) -> None:
    """As is none at all."""
    for typed in ("short\n", ""):
        pipe(typed)
        assert run("people", "add", "root", "--role", "administrator").code == 2
    assert not accounts.path.exists()


def test_whoever_administers_last_stays(run: Run, add: Run) -> None:
    """Else the console would be open to whoever sits at the machine."""
    add("root", "--role", "administrator")
    done = run("people", "remove", "root")
    assert done.code == 2
    assert "Somebody must be left" in done.err
    assert run("people", "rights", "root", "--role", "viewer").code == 2
