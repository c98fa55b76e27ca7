"""What the commands print: plain tables, and nothing that could steer a terminal."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from ci360_twilio.errors import NotKnown, SettingsError


def printable(value: object) -> str:
    """Give a value as one line of text without control or direction-changing characters."""
    text = "" if value is None else str(value)
    return "".join(" " if c in "\r\n\t" else c for c in text if c in "\r\n\t" or not _steers(c))


def cell(value: object) -> str:
    """Give a value as a cell of a CSV file: none that a spreadsheet would take for a formula.

    A number in international form stays as it is.
    """
    text = printable(value)
    is_number = text[:1] == "+" and text[1:].isascii() and text[1:].isdecimal()
    return f"'{text}" if text.startswith(_FORMULAS) and not is_number else text


_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _steers(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character != "\u200d"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows under a head; every column as wide as its widest cell."""
    cells = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(_pad(cell, width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:]])


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def print_json(value: Any) -> None:
    """Print a value as JSON; what could steer a terminal is escaped."""
    utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=not utf_8)
    print("".join(_escaped(c) if c != "\n" and _steers(c) else c for c in text))


def _escaped(character: str) -> str:
    return "".join(f"\\u{unit:04x}" for unit in memoryview(character.encode("utf-16-le")).cast("H"))


@contextmanager
def new_file(path: Path) -> Iterator[IO[str]]:
    """Make a file that only its owner reads; one that could not be filled is removed again.

    Raises:
        NotKnown: it is there already.
        SettingsError: it cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise NotKnown(f"{path} is already there; name another file.") from None
    except OSError as exc:
        raise SettingsError(f"{path} cannot be written: {exc.strerror}.") from exc
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)  # half a list looks like a whole one
        raise
