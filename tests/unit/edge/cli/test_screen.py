"""What the commands print: plain tables, and nothing that could steer a terminal."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.core.entry import Status
from ci360_twilio.edge.cli.screen import print_json, printable, table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        (None, ""),
        (7, "7"),
        (Status.SENT, "sent"),
        ("one\ntwo\r\nthree\tfour", "one two  three four"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("a\x00b\x08c\x7fd", "abcd"),
        ("\x9b31mC1\x85", "31mC1"),
        ("abc\u202egnp.exe", "abcgnp.exe"),
        ("\u2066left\u2069", "left"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("a\u2028b\u2029c", "abc"),
        ("\ud800 lone", " lone"),
        ("\U000e0041tag", "tag"),
        ("Grüße, 你好, नमस्ते", "Grüße, 你好, नमस्ते"),
        (
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        ),
    ],
)
def test_what_steers_a_terminal_is_left_out(value: object, shown: str) -> None:
    """Line breaks become spaces; letters, and families of emoji, stay whole."""
    assert printable(value) == shown


@given(st.text())
def test_no_text_at_all_can_steer_a_terminal(text: str) -> None:
    """One line, without control, format or line-breaking characters."""
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    bad = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert all(unicodedata.category(c) not in bad for c in shown if c != "\u200d")
    assert printable(shown) == shown


def test_a_table_has_columns_as_wide_as_their_widest_cell() -> None:
    """A rule stands under the head; nothing trails at the ends of lines."""
    assert table(("NAME", "N"), [("a", 1), ("longer", None), ("", 22)]).split("\n") == [
        "NAME    N",
        "------  --",
        "a       1",
        "longer",
        "        22",
    ]


def test_wide_characters_take_two_columns() -> None:
    """As terminals show them."""
    lines = table(("A", "B"), [("你好", "x"), ("ab", "y")]).split("\n")
    assert lines[2:] == ["你好  x", "ab    y"]


def test_a_table_without_rows_is_its_head() -> None:
    """Two lines."""
    assert table(("A", "B"), []) == "A  B\n-  -"


def test_a_cell_cannot_break_out_of_its_row() -> None:
    """Values from outside stand in it."""
    shown = table(("A", "B"), [("x\ny", "\x1b[2J")])
    assert shown.count("\n") == 2
    assert "\x1b" not in shown


def test_json_is_printed_whole_and_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Values of ours among it; control characters are escaped by the format itself."""
    value = {
        "at": datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        "status": Status.SENT,
        "text": "Grüße \x1b[31m\x00\n",
        "none": None,
    }
    print_json(value)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out) == {
        "at": "2026-03-02T09:30:00Z",
        "status": "sent",
        "text": "Grüße \x1b[31m\x00\n",
        "none": None,
    }


@pytest.mark.parametrize("character", ["\x7f", "\x9b", "\x85", "\u202e", "\u2028"])
def test_json_escapes_what_steers_a_terminal_beyond_its_format(
    capsys: pytest.CaptureFixture[str], character: str
) -> None:
    """DEL, the C1 controls and changes of direction need no escape in JSON, but a terminal obeys."""
    print_json({"text": f"a{character}b"})
    out = capsys.readouterr().out
    assert character not in out
    assert json.loads(out) == {"text": f"a{character}b"}


@pytest.mark.parametrize(
    ("encoding", "raw"), [("utf-8", True), ("ascii", False), ("cp1252", False)]
)
def test_json_is_escaped_for_a_terminal_that_does_not_speak_utf_8(
    monkeypatch: pytest.MonkeyPatch, encoding: str, raw: bool
) -> None:
    """Nothing is lost, and nothing fails."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_json({"text": "ü👍"})
    sys.stdout.flush()
    assert ("👍".encode() in written.getvalue()) is raw
    assert json.loads(written.getvalue().decode(encoding)) == {"text": "ü👍"}
