"""``preview``: what a creative would send, in words and as JSON."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci360_twilio.edge.cli import main

GOOD = "TO:+12015550142;\nFROM:+12015550199;\nHello Anna, see you on Thursday!"
MEMBERS = {"to", "from", "body", "media_urls", "encoding", "segments", "characters", "problems"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Give an environment without settings."""
    for name in list(os.environ):
        if "CI360_TWILIO" in name.upper() or name.lower() in ("default_sender", "event_ttl"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


Preview = Callable[..., tuple[int, str]]


@pytest.fixture
def preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Preview:
    """Give a function that previews a text; gives the exit code and what was printed."""

    def run(text: str | bytes, *options: str) -> tuple[int, str]:
        file = tmp_path / "creative.txt"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        code = main(["preview", *options, str(file)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out or captured.err

    return run


@pytest.fixture
def shown(preview: Preview) -> Callable[..., dict[str, Any]]:
    """Give a function that previews a text as JSON, having looked at the exit code."""

    def run(text: str, *options: str) -> dict[str, Any]:
        code, out = preview(text, "--json", *options)
        read: dict[str, Any] = json.loads(out)
        assert code == (1 if read["problems"] else 0)
        return read

    return run


Shown = Callable[..., dict[str, Any]]


def test_json_has_the_shape_of_the_contract(shown: Shown) -> None:
    """Whoever scripts it goes by these members."""
    read = shown(GOOD)
    assert set(read) >= MEMBERS
    assert {name: read[name] for name in MEMBERS} == {
        "to": "+12015550142",
        "from": "+12015550199",
        "body": "Hello Anna, see you on Thursday!",
        "media_urls": [],
        "encoding": "GSM-7",
        "segments": 1,
        "characters": 32,
        "problems": [],
    }


def test_a_problem_has_code_words_and_line(shown: Shown) -> None:
    """And the exit code says no."""
    read = shown("TO:{{phone}};\nFROM:+12015550199;\nHi {{name}}")
    assert all(set(problem) == {"code", "message", "line"} for problem in read["problems"])
    assert [(one["code"], one["line"]) for one in read["problems"]] == [
        ("merge_tag", 1),
        ("merge_tag", 3),
    ]


def test_what_is_missing_is_null(shown: Shown) -> None:
    """No recipient, no sender, nothing to send."""
    read = shown("")
    assert (read["to"], read["from"], read["body"], read["segments"]) == (None, None, "", 0)
    assert {problem["code"] for problem in read["problems"]} == {
        "no_recipient",
        "no_sender",
        "empty_message",
    }


def test_merge_tags_are_filled(shown: Shown) -> None:
    """With spaces inside the braces or not; a value is taken as it is."""
    read = shown(
        "TO:{{phone}};\nFROM:+12015550199;\n{{ name }} and {{name}}: {{x.y}}",
        "--set",
        "phone=+12015550142",
        "--set",
        r"name=\1 {{a=b}",
        "--set",
        "x.y=",
    )
    assert read["to"] == "+12015550142"
    assert read["body"] == r"\1 {{a=b} and \1 {{a=b}:"


def test_an_empty_value_leaves_nothing(shown: Shown) -> None:
    """CI360 renders nothing for an attribute that a customer lacks."""
    assert shown("TO:{{phone}};\nHi", "--set", "phone=")["to"] is None


def test_attributes_stand_in_for_directives(shown: Shown) -> None:
    """Names in any case, as the event would bring them."""
    read = shown("Hello", "--attribute", "TO=+12015550142", "--attribute", "From=+12015550199")
    assert (read["to"], read["from"], read["problems"]) == ("+12015550142", "+12015550199", [])


def test_the_default_sender_of_the_settings_is_used(
    shown: Shown, environment: pytest.MonkeyPatch
) -> None:
    """SAS's bare name among them."""
    environment.setenv("default_sender", "MyBrand")
    assert shown("TO:+12015550142;\nHi")["from"] == "MyBrand"


def test_a_tenants_document_is_used_when_it_is_named(
    shown: Shown, environment: pytest.MonkeyPatch, tenants_folder: Callable[..., Path],
    twilio: Any,
) -> None:  # fmt: skip
    """Its default sender, region and checks."""
    folder = tenants_folder("acme", default_sender="Acme", default_region="US")
    environment.setenv("CI360_TWILIO_TENANTS", str(folder))
    environment.setenv("CI360_TWILIO_TWILIO_HOSTS", twilio.host)
    read = shown("TO:(201) 555-0142;\nHi", "--tenant", "acme")
    assert (read["to"], read["from"]) == ("+12015550142", "Acme")


def test_a_number_outside_the_numbering_plan_is_a_warning_only(preview: Preview) -> None:
    """It would be sent: the plan's data age."""
    code, out = preview("TO:+10005550142;\nFROM:+12015550199;\nHi")
    assert code == 0
    assert "numbering plan" in out


def test_words_tell_what_would_be_sent(preview: Preview) -> None:
    """Recipient, sender, media, size and text."""
    picture = "https://www.example.com/a.png"
    code, out = preview(f"TO:+12015550142;\nFROM:+12015550199;\nMEDIA_URLS:{picture};\nOne\n\nTwo")
    assert code == 0
    for words in ("+12015550142", "+12015550199", picture, "8 characters", "1 segment", "  | One"):
        assert words in out
    assert out.rstrip().endswith("This would be sent.")


def test_words_tell_what_is_wrong(preview: Preview) -> None:
    """With the line."""
    code, out = preview("TO:+12015550142\nHello")
    assert code == 1
    assert "Problem: line 1:" in out
    assert out.rstrip().endswith("This would be refused.")


def test_words_tell_what_costs(preview: Preview) -> None:
    """One character turns the text into UCS-2; what would cost less is named."""
    text = "TO:+12015550142;\nFROM:+12015550199;\n" + "x" * 100 + "\u2019"
    code, out = preview(text)
    assert code == 0
    assert "2 segments" in out
    assert "U+2019" in out
    assert "1 instead of 2 segments" in out


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_control_characters_do_not_reach_the_terminal(
    preview: Preview, options: tuple[str, ...]
) -> None:
    """Wherever they stand in the creative."""
    esc = "\x1b]0;x\x07\x9b31m\u202e\x85"
    for text in (
        f"TO:+12015550142{esc};\nFROM:+12015550199;\nHi{esc}",
        f"TO:{{{{{esc}}}}};\nFROM:{esc};\nHi",
        f"X{esc}:1;\nTO:+12015550142;\nMEDIA_URLS:https://e.com/{esc};\nHi",
    ):
        _, out = preview(text, *options)
        assert not [c for c in out if c in "\x1b\x07\x9b\u202e\x85"]


@pytest.mark.parametrize("character", ["\x1b", "\u202e"])
def test_a_hint_does_not_print_a_character_that_steers(preview: Preview, character: str) -> None:
    """It is named by its number."""
    _, out = preview(f"TO:+12015550142;\nFROM:+12015550199;\nHi{character}")
    assert character not in out


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (b"\xff\xfe", (), 2),
        (GOOD, ("--set", "phone"), 2),
        (GOOD, ("--attribute", "\x1b[31m"), 2),
        (GOOD, ("--tenant", "acme"), 2),
        (GOOD, ("--tenant", "../acme"), 2),
    ],
)
def test_what_cannot_be_previewed_is_told_without_a_traceback(
    preview: Preview, text: str | bytes, options: tuple[str, ...], code: int
) -> None:
    """Not UTF-8, options that cannot be read, and no folder of tenants."""
    done, out = preview(text, *options)
    assert done == code
    assert out.startswith("ci360-twilio: ")
    assert "\x1b" not in out


def test_a_tenant_that_is_not_there_is_told(
    preview: Preview, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 1."""
    (tmp_path / "tenants").mkdir()
    environment.setenv("CI360_TWILIO_TENANTS", str(tmp_path / "tenants"))
    assert preview(GOOD, "--tenant", "acme")[0] == 1
    assert preview(GOOD, "--tenant", "../acme")[0] == 1


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With its name, which may hold anything."""
    assert main(["preview", "/nonexistent/\x1b[31mfile"]) == 2
    err = capsys.readouterr().err
    assert "No such file" in err
    assert "\x1b" not in err


def test_standard_input_is_read_for_a_dash(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that it can stand in a pipe."""
    environment.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert main(["preview", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["to"] == "+12015550142"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_does_not_speak_utf_8_gets_an_answer(
    environment: pytest.MonkeyPatch, tmp_path: Path, encoding: str
) -> None:
    """What it cannot show is shown in another way."""
    file = tmp_path / "creative.txt"
    file.write_text("TO:+12015550142;\nFROM:+12015550199;\nHi \U0001f44d", encoding="utf-8")
    written = io.BytesIO()
    environment.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert main(["preview", str(file)]) == 0
    sys.stdout.flush()
    assert b"This would be sent." in written.getvalue()
