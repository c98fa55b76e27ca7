"""Files that commands write: cells that no spreadsheet calculates, and that only their owner reads."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.edge.cli.screen import cell, new_file
from ci360_twilio.errors import NotKnown, SettingsError

# cell


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", ""),
        (None, ""),
        (7, "7"),
        ("+12015550142", "+12015550142"),
        ("+", "'+"),
        ("+1+1", "'+1+1"),
        ("+12015550142 ", "'+12015550142 "),
        ("+１２０１", "'+１２０１"),
        ("+1²", "'+1²"),
        ("=1+1", "'=1+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("=HYPERLINK(\"http://example.com\")", "'=HYPERLINK(\"http://example.com\")"),
        ("＝1+1", "'＝1+1"),
        ("＋1", "'＋1"),
        ("－1", "'－1"),
        ("＠A1", "'＠A1"),
        ("\u200b=1+1", "'=1+1"),
        ("\x00\x1b=1+1", "'=1+1"),
        ("a=1", "a=1"),
        ("a\nb\x1b[31m", "a b[31m"),
        ("'quoted", "'quoted"),
    ],
)  # fmt: skip
def test_a_cell_is_no_formula(value: object, written: str) -> None:
    """A quote in front makes it a text; a number in international form is none and stays."""
    assert cell(value) == written


@given(st.text())
def test_no_text_at_all_is_calculated_or_steers(text: str) -> None:
    """Nor does it end its line, and a spreadsheet reads it back as one cell."""
    written = cell(text)
    assert not written.startswith(("=", "-", "@", "\t", "\r"))
    assert not written.startswith("+") or written[1:].isdecimal()
    assert all(unicodedata.category(c) not in ("Cc", "Cs") for c in written)
    file = io.StringIO()
    csv.writer(file).writerow([written, "x"])
    assert next(csv.reader([file.getvalue()])) == [written, "x"]


# new_file


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """From the start, whatever files usually are here; line ends and letters stay as they are."""
    before = os.umask(0)
    try:
        with new_file(tmp_path / "x") as file:
            assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
            file.write("Zoë\r\n\n")
    finally:
        os.umask(before)
    assert (tmp_path / "x").read_bytes() == "Zoë\r\n\n".encode()


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    """Nor is one that a link leads to."""
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("kept")
    link.symlink_to(there)
    for path in (there, link):
        with pytest.raises(NotKnown, match="is already there"), new_file(path):
            pytest.fail("it was opened")
    assert there.read_text() == "kept"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "target")
    with pytest.raises(NotKnown), new_file(dangling):
        pytest.fail("it was opened")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["gone/x", "file/x", "a" * 300, ""])
def test_a_file_that_cannot_be_made_is_told(tmp_path: Path, name: str) -> None:
    """With the system's own words for why."""
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises((SettingsError, NotKnown)), new_file(path):
        pytest.fail("it was opened")


def write(path: Path, text: str, error: BaseException | None = None) -> None:
    """Write a file; with an error, half of it."""
    with new_file(path) as file:
        file.write(text)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt(), ValueError()], ids=repr)
def test_a_file_that_could_not_be_filled_is_removed(tmp_path: Path, error: BaseException) -> None:
    """Half a list looks like a whole one; the next try finds the place free."""
    with pytest.raises(type(error)):
        write(tmp_path / "x", "half", error)
    assert not (tmp_path / "x").exists()
    write(tmp_path / "x", "whole")
    assert (tmp_path / "x").read_text() == "whole"
