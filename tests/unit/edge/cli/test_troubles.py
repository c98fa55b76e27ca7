"""Commands on consents, people and reports where the set-up or the ledger is not as it should be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Gateway, Hear, Home, Run, Type

TENANT = "af5af6b8f500013eb0c90001"
TO = "+12015550142"
LOOKING = (
    f"consent show --tenant {TENANT}",
    f"consent review --tenant {TENANT}",
    "consent verify",
    f"consent export --tenant {TENANT}",
    f"export --tenant {TENANT}",
    f"erase --tenant {TENANT} --yes",
    "reports",
    "reports --retry --yes",
)
WRITING = (
    f"consent set out --tenant {TENANT}",
    f"consent import - --tenant {TENANT}",
    f"consent pull --tenant {TENANT}",
    f"consent push --tenant {TENANT} --yes",
)


@pytest.mark.parametrize("command", [*LOOKING, *WRITING, f"ci360-setup --tenant {TENANT}"])
def test_wrong_settings_are_all_told_and_end_with_2(
    run: Run, pipe: Type, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Without a value in them."""
    pipe(TO)
    monkeypatch.setenv("CI360_TWILIO_LEASE", "s3cr3t")
    monkeypatch.setenv("CI360_TWILIO_LEDGER", "s3cr3t")
    done = run(*command.split())
    assert done.code == 2
    assert "CI360_TWILIO_LEASE" in done.err
    assert "CI360_TWILIO_LEDGER" in done.err
    assert "s3cr3t" not in done.err


@pytest.mark.parametrize("command", [*LOOKING, *WRITING])
def test_a_damaged_ledger_is_told(
    run: Run, home: Home, gateway: Gateway, pipe: Type, command: str
) -> None:
    """Exit code 1, and it stays as it is."""
    content = b"this is no database at all, but a note somebody left here" * 50
    home.ledger.write_bytes(content)
    pipe(TO)
    done = run(*command.split())
    assert done.code == 1
    assert "damaged" in done.err
    assert home.ledger.read_bytes() == content


@pytest.mark.parametrize("command", WRITING[:2])
def test_a_ledger_of_a_newer_version_is_not_written(
    run: Run, home: Home, pipe: Type, command: str
) -> None:
    """Exit code 1."""
    pipe(TO)
    run("consent", "set", "out", "--tenant", TENANT)
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute("INSERT OR REPLACE INTO state (name, value) VALUES ('writes_from', '99')")
        db.commit()
    pipe(TO)
    done = run(*command.split())
    assert done.code == 1
    assert "newer version" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("consent",),
        ("consent", "show"),
        ("consent", "set", "--tenant", TENANT),
        ("consent", "set", "maybe", "--tenant", TENANT),
        ("consent", "import", "--tenant", TENANT),
        ("consent", "export", "--tenant", TENANT, "--state", "gone"),
        ("consent", "burn", "--tenant", TENANT),
        ("export",),
        ("erase",),
        ("erase", "--tenant", TENANT, "--identity", "name"),
        ("reports", "--limit", "many"),
        ("ci360-setup",),
        ("phone",),
    ],
    ids=" ".join,
)
def test_a_command_that_cannot_be_read_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    """And says how it is used."""
    done = run(*arguments)
    assert done.code == 2
    assert "usage: ci360-twilio" in done.err


@pytest.mark.parametrize(
    "action", ["import", "export", "show", "set", "review", "verify", "pull", "push"]
)
def test_every_action_on_consents_has_help(run: Run, action: str) -> None:
    """``consent import --help``."""
    done = run("consent", action, "--help")
    assert done.code == 0
    assert f"ci360-twilio consent {action}" in done.out


HOSTILE = ["\x1b]0;x\x07", "\u202egnp", "\x9b31m", "a\nb", "=1+1"]


@pytest.mark.parametrize("words", HOSTILE)
def test_nothing_that_customers_or_ci360_write_steers_a_terminal_or_is_logged(
    run: Run, home: Home, gateway: Gateway, hear: Hear, pipe: Type, words: str
) -> None:
    """In no command; ``run`` looks for it. Nor is a number, a text or an identity in a log line."""
    text = f"please stop texting me {words}"
    run("send", home.event(guid=words, task_code=words, datahub_id=f"D-4711{words}"))
    hear(text, button_text=words, button_payload=words)
    of = ("--tenant", TENANT)
    for command in (
        *(
            ("consent", "review", *of, "--list"),
            ("consent", "show", *of),
            ("consent", "export", *of),
        ),
        *(("consent", "show", *of, "--json"), ("export", *of), ("trace", words), ("reports",)),
        *(("trace", words, "--json"), ("check", "--offline"), ("erase", *of, "--dry-run")),
        *(("consent", "set", "out", *of, "--reason", words), ("erase", *of, "--yes"), ("audit",)),
    ):
        pipe(TO)
        done = run(*command)
        assert done.code in (0, 1)
        for secret in ("2015550142", "stop texting", "D-4711"):
            assert secret not in done.err
