"""The documents say what the code does: parts of them are generated from it, and compared here.

``make docs`` writes the generated parts anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ci360_twilio.core.creative import parse_creative
from ci360_twilio.core.entry import TRANSITIONS, UNFINISHED, Kind, Status
from ci360_twilio.core.message import compose
from ci360_twilio.core.reasons import STATUS_WORDS
from ci360_twilio.core.tenant import parse_tenant, parse_tenant_id
from ci360_twilio.edge.cli import COMMANDS, parser
from ci360_twilio.settings import PREFIX, SETTINGS, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def settings() -> str:
    """Give the table of settings."""
    defaults = {name: getattr(Settings(), name) for name in SETTINGS}
    defaults["ledger"] = "a SQLite file in the user's data folder"
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, setting in SETTINGS.items():
        bare = f", `{name}`" if setting.bare else ""
        default = defaults[name]
        shown = f"{default:g}" if isinstance(default, float) else str(default).lower()
        shown = shown if default not in (None, ()) else ""
        rows.append(f"| `{PREFIX}{name.upper()}`{bare} | {shown} | {setting.help} |")
    return "\n".join(rows)


def diagram() -> str:
    """Give the diagram of an entry's life; facts that change nothing are left out."""
    moves: dict[tuple[Status, Status], list[Kind]] = {}
    for (status, kind), target in TRANSITIONS.items():
        if target is not None and target is not status:
            moves.setdefault((status, target), []).append(kind)
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [
        f"    [*] --> {status}" for status in ("accepted", "refused", "expired", "suppressed")
    ]
    lines += [
        f"    {source} --> {target}: {', '.join(kinds)}"
        for (source, target), kinds in moves.items()
    ]
    return "\n".join([*lines, "```"])


def statuses() -> str:
    """Give the table of statuses."""
    rows = ["| status | meaning | an end |", "|---|---|---|"]
    rows += [
        f"| `{status}` | {STATUS_WORDS[status]} | {'no' if status in UNFINISHED else 'yes'} |"
        for status in Status
    ]
    return "\n".join(rows)


GENERATED: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "settings.md": {"settings": settings},
    "life.md": {"diagram": diagram, "statuses": statuses},
}


@pytest.mark.parametrize("page", GENERATED)
def test_generated_parts_are_as_the_code_says(page: str) -> None:
    """If this fails, run ``make docs``."""
    path = DOCS / page
    text = path.read_text()
    fresh = text
    for name, make in GENERATED[page].items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        assert len(pattern.findall(text)) == 1, f"{page} has no part {name}"
        part = f"{begin}\n{make()}\n{end}"
        fresh = part.join(pattern.split(fresh))
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(fresh)
    assert text == fresh or os.environ.get("UPDATE_DOCS"), "run make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_commands_shows_each_with_its_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page lists every command and option that there is."""
    monkeypatch.setenv("COLUMNS", "90")
    with pytest.raises(SystemExit):
        parser().parse_args([name, "--help"])
    page = (DOCS / "cli.md").read_text()
    assert f"## {name}" in page
    assert COMMANDS[name].help in page
    section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert {option for option in options if option not in section} == set()


def test_every_refusal_of_the_creatives_page_is_one_of_the_code() -> None:
    """The page names each code that composing a message can give, and no other."""
    source = "".join(
        (ROOT / "src" / "ci360_twilio" / "core" / f"{name}.py").read_text()
        for name in ("creative", "message")
    )
    given = set(re.findall(r'Problem\(\s*"([a-z_]+)"', source)) - {"channel_mismatch"}
    table = (DOCS / "creative.md").read_text().partition("## What is refused")[2]
    told = set(re.findall(r"`([a-z]+_[a-z_]+)`", table.partition("\n## ")[0])) - {
        "recipient_check",
        "recipient_from",
    }
    assert told == given


def test_the_creative_of_the_page_can_be_sent() -> None:
    """The example is what the parser takes."""
    example = re.search(r"```\n(TO:.*?)\n```", (DOCS / "creative.md").read_text(), re.DOTALL)
    assert example is not None
    text = example[1].replace("{{phone}}", "+12015550101").replace("{{firstname}}", "Anna")
    document = '{"twilio_api_url":"https://api.twilio.com","twilio_account_sid":"AC1","twilio_auth_token":"x"}'
    tenant = parse_tenant(document, parse_tenant_id("tenant"))
    message, problems = compose(parse_creative(text), {}, tenant)
    assert problems == ()
    assert message is not None
    assert message.body == "Anna, thank you for registering; see you there!"


def test_the_documents_of_the_page_of_tenants_can_be_read() -> None:
    """Its JSON is what the parser takes."""
    blocks = re.findall(r"```json\n(.*?)```", (DOCS / "tenants.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    login, callers = blocks
    parse_tenant(login, parse_tenant_id("tenant"))
    joined = f"{login.rstrip().rstrip('}').rstrip()},{callers.strip().lstrip('{')}"
    assert parse_tenant(joined, parse_tenant_id("tenant")).jwt is not None


def test_every_promise_is_linked_to_a_test_that_exists() -> None:
    """A promise without its test is a hope."""
    page = (DOCS / "guarantees.md").read_text()
    promises = [line for line in page.partition("## What each")[0].splitlines() if "| " in line][2:]
    assert len(promises) > 10
    for promise in promises:
        links = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(test_[a-z_]+))?`", promise)
        assert links, promise
        for file, name in links:
            source = (ROOT / file).read_text()
            assert not name or f"def {name}(" in source, f"{file} has no {name}"
