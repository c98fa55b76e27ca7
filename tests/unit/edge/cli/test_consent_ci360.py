"""Wishes taken over from CI360, and by it: jobs that are waited for, and what it says against them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.edge.cli import consent_lists

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Done, Gateway, Hear, Home, Parrot, Run, Type

TENANT = "af5af6b8f500013eb0c90001"
ONE, TWO, THREE = "+12015550101", "+12015550102", "+12015550103"
OF = ("--tenant", TENANT)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask after a job again as soon as a second is over."""
    monkeypatch.setattr(consent_lists, "STEP", timedelta(0))


def wishes(run: Run) -> dict[str, list[str]]:
    """Give everybody's wish, and where it comes from, by number."""
    _, *rows = run("consent", "export", *OF).out.splitlines()
    return {row.split(",")[0]: row.split(",")[1::2] for row in rows}


def clean(done: Done) -> Done:
    """See that neither what is printed nor the log holds a number or a secret."""
    for secret in ("201555", "the-secret", "Bearer", "eyJ"):
        assert secret not in done.out + done.err
    return done


# pull


def test_ci360s_preferences_are_taken_over(run: Run, home: Home, gateway: Gateway) -> None:
    """With its dates; what is there already changes nothing."""
    for number, opted_out in ((ONE, True), (TWO, False), (THREE, True)):
        gateway.twin.prefer(number, opted_out=opted_out)
    done = clean(run("consent", "pull", *OF))
    assert done.code == 0
    first, *rest = done.out.splitlines()
    assert first.startswith("CI360's job ")
    assert first.endswith(" is under way; this takes minutes.")
    assert rest == ["2 rows read, 1 consent changed.", "1 row read, 1 consent changed."]
    assert wishes(run) == {ONE: ["out", "ci360"], THREE: ["out", "ci360"]}
    assert run("send", home.event(f"TO:{ONE};\nHello")).out == "suppressed: opted_out\n"
    assert "0 consents changed" in run("consent", "pull", *OF).out


def test_an_opt_in_at_ci360_lifts_an_earlier_opt_out(
    run: Run, gateway: Gateway, pipe: Type
) -> None:
    """By their dates."""
    pipe("recipient,state,since\n+12015550101,out,2026-03-02\n")
    run("consent", "import", "-", *OF)
    gateway.twin.prefer(ONE, opted_out=False)
    assert run("consent", "pull", *OF).code == 0
    assert wishes(run)[ONE][0] == "in"


def test_rows_of_ci360_that_cannot_be_used_are_told(run: Run, gateway: Gateway) -> None:
    """Exit code 1; the others are taken."""
    gateway.twin.prefer("nobody", opted_out=True)
    gateway.twin.prefer(ONE, opted_out=True)
    done = clean(run("consent", "pull", *OF))
    assert done.code == 1
    assert "1 left out: they hold no number" in done.out
    assert set(wishes(run)) == {ONE}


def test_there_may_be_nothing_to_take_over(run: Run, gateway: Gateway) -> None:
    """Exit code 0."""
    assert run("consent", "pull", *OF).code == 0
    assert wishes(run) == {}


# push


@pytest.fixture
def known(run: Run, gateway: Gateway, pipe: Type, hear: Hear) -> None:
    """One who is out, one who is in again, and one to be read."""
    rows = [f"{ONE},out,2026-03-02", f"{TWO},out,2026-03-02", f"{TWO},in,2026-03-03"]
    pipe("\n".join(["recipient,state,since", *rows]))
    run("consent", "import", "-", *OF)
    hear("please stop texting me", sender=THREE)


def test_ci360_takes_over_what_is_known_here(run: Run, gateway: Gateway, known: None) -> None:
    """Each number's wish; not what a person has yet to read."""
    done = clean(run("consent", "push", *OF, "--yes"))
    assert done.code == 0
    first, job, last = done.out.splitlines()
    assert first == "CI360 will take over 2 wishes."
    assert job.startswith("CI360's job ")
    assert last == "CI360 has taken over 2 wishes."
    taken = {number: one.opted_out for number, one in gateway.twin.preferences.items()}
    assert taken == {ONE: True, TWO: False}


def test_a_wish_about_some_senders_stays_here(
    run: Run, home: Home, gateway: Gateway, pipe: Type
) -> None:
    """CI360 knows one wish for each number; there is nothing else to push."""
    home.write(**gateway.members, consent_groups={"shop": ["+12015550199"]})
    pipe(ONE)
    run("consent", "set", "out", *OF, "--group", "shop")
    done = run("consent", "push", *OF)
    assert (done.code, done.out) == (0, "There is no wish that CI360 could take over.\n")


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "perhaps\n"], ids=repr)
def test_whoever_does_not_say_yes_pushes_nothing(
    run: Run, gateway: Gateway, known: None, terminal: Type, typed: str
) -> None:
    """Exit code 1."""
    terminal(typed)
    done = run("consent", "push", *OF)
    assert done.code == 1
    assert "Push? [y/N] " in done.out
    assert done.out.endswith("Nothing was changed.\n")
    assert gateway.twin.preferences == {}


def test_whoever_says_yes_pushes(
    run: Run, gateway: Gateway, known: None, terminal: Type, pipe: Type
) -> None:
    """Without a terminal that is said by an option; standard input is not read."""
    pipe("y\n")
    assert run("consent", "push", *OF).code == 2
    assert gateway.twin.preferences == {}
    terminal("y\n")
    assert run("consent", "push", *OF).code == 0
    assert len(gateway.twin.preferences) == 2


# What CI360 has against it


@pytest.mark.parametrize("command", [("pull",), ("push", "--yes")], ids=" ".join)
def test_a_tenant_without_ci360_is_told_so(run: Run, home: Home, command: tuple[str, ...]) -> None:
    """Exit code 2; no ledger is made."""
    done = run("consent", *command, *OF)
    assert done.code == 2
    assert "names no ci360_api_url" in done.err
    assert not home.ledger.exists()


@pytest.mark.parametrize("command", [("pull",), ("push", "--yes")], ids=" ".join)
def test_a_token_that_does_not_fit_is_told_with_ci360s_words(
    run: Run, gateway: Gateway, known: None, command: tuple[str, ...]
) -> None:
    """Exit code 1; the token is not."""
    gateway.twin.change_secret(TENANT, "another")
    done = clean(run("consent", *command, *OF))
    assert done.code == 1
    assert "CI360 answered 401. (ci360_http_401) CI360 says: MKTCMN74261" in done.err


def test_an_address_that_may_not_be_called_is_told_once(
    run: Run, gateway: Gateway, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words are ours, not CI360's; the file is not moved."""
    monkeypatch.delenv("CI360_TWILIO_BULK_HOSTS")
    done = run("consent", "push", *OF, "--yes")
    assert done.code == 1
    assert done.err.count("CI360_TWILIO_BULK_HOSTS") == 1
    assert "CI360 says" not in done.err
    assert gateway.twin.preferences == {}


def test_a_ci360_that_is_away_is_told(run: Run, gateway: Gateway, known: None) -> None:
    """Exit code 1."""
    gateway.server.stop()
    done = run("consent", "pull", *OF)
    assert done.code == 1
    assert "CI360 could not be reached, or its answer was lost. (connect_refused)" in done.err


@pytest.mark.parametrize("command", [("pull",), ("push", "--yes")], ids=" ".join)
@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (
            400,
            {"message": "no \x1b[31m\x9b31mlicence\u202e\u2028"},
            "CI360 says: no [31m31mlicence",
        ),
        (200, {"id": "\x1b[31m"}, "CI360's answer cannot be read."),
        (
            200,
            {"id": "j1", "status": "Failed", "statusDescription": "no \x1b]0;x\x07 space"},
            "Failed: no ]0;x space.",
        ),
    ],
    ids=["refused", "no job", "failed"],
)
def test_what_ci360_says_cannot_steer_the_terminal(
    run: Run,
    home: Home,
    known: None,
    parrot: Callable[[int, bytes], Parrot],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    status: int,
    said: dict[str, str],
    told: str,
) -> None:
    """It is told in one line, and nothing of it is obeyed; exit code 1."""
    files = parrot(200, b"")
    body = json.dumps(said | {"signedURL": f"{files.url}/put"}).encode()
    server = parrot(status, body)
    monkeypatch.setenv("CI360_TWILIO_CI360_HOSTS", server.authority)
    monkeypatch.setenv("CI360_TWILIO_BULK_HOSTS", files.authority)
    home.write(ci360_api_url=f"{server.url}/marketingGateway/events", ci360_token="a-token")
    done = run("consent", *command, *OF)
    assert done.code == 1
    assert told in done.err
