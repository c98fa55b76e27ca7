"""The rows of a data file, one after the other, in flat memory: good ones, and what is wrong with others.

The file is CSV as Python and SAS read it: commas, ``"`` around what holds commas, quotes or line breaks.
A row that cannot be read does not spoil what follows: a quote that is never closed, or closed where none may
be, costs its line, and is never taken for a cell that goes on in the next customer's row.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAX_ROW = 131_072
"""Bytes of a row, as many as :mod:`csv` takes for a cell; all that a message can hold fits many times."""
MAX_LINES = 200
"""Lines of a row, whose cells may hold line breaks."""
BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A row as it stands in the file."""

    number: int
    """The first is 1; blank lines do not count."""
    line: int
    """The line on which it begins; the first is 1."""
    cells: list[str]


class Broken(NamedTuple):
    """A row that cannot be read."""

    number: int
    line: int
    reason: str
    words: str


class _Bad(Exception):
    """What is wrong with the line that was just taken."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


_WORDS = {
    "bad_encoding": "The line is not UTF-8.",
    "nul_byte": "The line holds a NUL byte.",
    "quote_not_closed": "A quote is opened on this line and not closed at the end of a cell.",
    "row_too_long": f"The row is longer than {MAX_ROW:,} bytes.",
    "row_unreadable": "The line is no CSV.",
}


class Rows:
    """Reads rows from a stream. ``offset`` and ``line`` tell where the next one begins."""

    def __init__(
        self,
        stream: BinaryIO,
        columns: int,
        *,
        offset: int = 0,
        line: int = 1,
        number: int = 1,
        end: int | None = None,
    ) -> None:
        """Make it.

        Args:
            stream: stands at ``offset``.
            columns: how many cells a row has.
            offset: of the first byte that is read.
            line: on which that is.
            number: of the first row that is read.
            end: before which byte reading ends; of the file where it is not told.
        """
        self._stream = stream
        self._columns = columns
        self._end = end
        self.offset = offset
        self.line = line
        self.number = number
        self._back: deque[bytes] = deque()
        self._taken: list[bytes] = []
        self._size = 0

    def __iter__(self) -> Iterator[Row | Broken]:
        """Go through the rows."""
        lines = _Lines(self)
        reader = csv.reader(lines, strict=True)
        while self._end is None or self.offset < self._end:
            self._taken, self._size = [], 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (_Bad, csv.Error, UnicodeDecodeError) as exc:
                reader = csv.reader(
                    lines, strict=True
                )  # this one may still wait for the end of a cell
                yield self._broken(_reason(exc))
                continue
            number, line = self.number, self.line
            self._past(len(self._taken))
            if not cells:
                continue  # a blank line
            self.number += 1
            if len(cells) == self._columns:
                yield Row(number, line, cells)
            else:
                words = f"The row has {len(cells)} cells; there are {self._columns} columns."
                yield Broken(number, line, "wrong_column_count", words)

    def take_line(self) -> str:
        """Give the next line of a row. Raises ``StopIteration`` at the end of the file."""
        taken = self._taken
        raw = self._back.popleft() if self._back else self._stream.readline(MAX_ROW + 1)
        if not raw:
            if taken:
                raise _Bad("quote_not_closed")
            raise StopIteration
        taken.append(raw)
        self._size += len(raw)
        if len(raw) > MAX_ROW and len(taken) == 1:
            if not raw.endswith(b"\n"):
                self._skip_line()
            raise _Bad("row_too_long")
        if len(taken) > MAX_LINES or self._size > MAX_ROW:
            raise _Bad("quote_not_closed")
        if b"\0" in raw:
            raise _Bad("nul_byte")
        if self.offset == 0 and len(taken) == 1 and raw.startswith(BOM):
            raw = raw[len(BOM) :]
        return raw.decode()

    def _broken(self, reason: str) -> Broken:
        """Leave a row at its first line; what was read beyond it is read again."""
        broken = Broken(self.number, self.line, reason, _WORDS[reason])
        self._back.extendleft(reversed(self._taken[1:]))
        self._past(1)
        self.number += 1
        return broken

    def _past(self, lines: int) -> None:
        self.offset += sum(map(len, self._taken[:lines]))
        self.line += lines

    def _skip_line(self) -> None:
        """Read a line that is too long to its end, without keeping it."""
        while True:
            more = self._stream.readline(MAX_ROW)
            self.offset += len(more)
            if not more or more.endswith(b"\n"):
                return


class _Lines:
    """The lines of a file as :mod:`csv` asks for them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        return self._rows.take_line()


def _reason(exc: Exception) -> str:
    if isinstance(exc, _Bad):
        return exc.reason
    if isinstance(exc, UnicodeDecodeError):
        return "bad_encoding"
    # csv has no codes; this is what it says of a quote that is closed in the middle of a cell
    return "quote_not_closed" if "expected after" in str(exc) else "row_unreadable"
