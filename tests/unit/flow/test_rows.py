"""The rows of a data file: what is read, what is broken, and where each begins."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci360_twilio.flow.rows import BOM, MAX_LINES, MAX_ROW, Broken, Row, Rows

MEGABYTE = 1_000_000


class Step(NamedTuple):
    """A row, and where the next one begins."""

    row: Row | Broken
    offset: int
    line: int
    number: int


def steps(data: bytes, columns: int = 2) -> list[Step]:
    """Read a whole file."""
    rows = Rows(io.BytesIO(data), columns)
    return [Step(row, rows.offset, rows.line, rows.number) for row in rows]


def read(data: bytes, columns: int = 2) -> list[Row | Broken]:
    """Read the rows of a whole file."""
    return [step.row for step in steps(data, columns)]


def cells(data: bytes, columns: int = 2) -> list[list[str]]:
    """Read a file that has good rows only."""
    found = read(data, columns)
    assert all(isinstance(row, Row) for row in found)
    return [row.cells for row in found if isinstance(row, Row)]


def told(data: bytes, columns: int = 2) -> list[tuple[int, int, str]]:
    """Give number and line of each row, and what is wrong with it or its cells, put together."""
    return [
        (row.number, row.line, row.reason if isinstance(row, Broken) else "|".join(row.cells))
        for row in read(data, columns)
    ]


def after(step: Step) -> tuple[int, int, int]:
    """Give where the next row begins: offset, line and number."""
    return step.offset, step.line, step.number


# Good rows


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", []),
        (b"a,b\n", [["a", "b"]]),
        (b"a,b", [["a", "b"]]),
        (b"a,b\nc,d", [["a", "b"], ["c", "d"]]),
        (b"a,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]),
        (b"a,b\r\nc,d\n", [["a", "b"], ["c", "d"]]),
        (b",\n", [["", ""]]),
        (b" a , b \n", [[" a ", " b "]]),
        (b'"a",b\n', [["a", "b"]]),
        (b'"a,1",b\n', [["a,1", "b"]]),
        (b'"say ""hi""",b\n', [['say "hi"', "b"]]),
        (b'"",""\n', [["", ""]]),
        (b'"a\nb","c\r\nd"\n', [["a\nb", "c\r\nd"]]),
        (b'"\n\n\n",b\nc,d\n', [["\n\n\n", "b"], ["c", "d"]]),
        (b'"a",b', [["a", "b"]]),
        (b'6" tall,b\n', [['6" tall', "b"]]),
        ("Zoë,日本 😀\n".encode(), [["Zoë", "日本 😀"]]),
        (b"a,b\n\n\r\n\nc,d\n\n", [["a", "b"], ["c", "d"]]),
        (b"a;b,c\td\n", [["a;b", "c\td"]]),
        (b"'a,b'\n", [["'a", "b'"]]),
    ],
)
def test_rows_are_read_as_csv(data: bytes, expected: list[list[str]]) -> None:
    """As Python and SAS write it: whatever ends the lines, and whether or not the last one ends."""
    assert cells(data) == expected


def test_numbers_and_lines_count_from_one() -> None:
    """A row that holds line breaks is one row on several lines; a blank line is no row."""
    data = b'a,b\n\n"c\nc\nc",d\r\n\r\ne,f'
    assert told(data) == [(1, 1, "a|b"), (2, 3, "c\nc\nc|d"), (3, 7, "e|f")]


def test_where_the_next_row_begins_is_told_after_each() -> None:
    """In bytes, not characters; blank lines before it belong to it."""
    data = 'é,b\n\n"c\nc",d\r\n\ne,f'.encode()
    assert [after(step) for step in steps(data)] == [(5, 2, 2), (15, 5, 3), (19, 7, 4)]
    assert len(data) == 19


def test_one_column_has_no_commas() -> None:
    """An empty cell is written with quotes; without them its line is a blank one."""
    assert cells(b'a\n\n""\nb\n', columns=1) == [["a"], [""], ["b"]]


def test_a_line_of_blanks_is_a_row() -> None:
    """Only one without anything is none."""
    assert told(b"a,b\n  \n") == [(1, 1, "a|b"), (2, 2, "wrong_column_count")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (BOM + b"a,b\n", [["a", "b"]]),
        (BOM + b'"a,1",b\n', [["a,1", "b"]]),
        (BOM, []),
        (BOM + b"\na,b\n", [["a", "b"]]),
        (b"a,b\n" + BOM + b"c,d\n", [["a", "b"], ["\ufeffc", "d"]]),
        (b"\n" + BOM + b"c,d\n", [["\ufeffc", "d"]]),
        (BOM + BOM + b"c,d\n", [["\ufeffc", "d"]]),
    ],
)
def test_a_byte_order_mark_is_passed_over(data: bytes, expected: list[list[str]]) -> None:
    """At the very beginning, where it hides no quote; elsewhere it is a character like others."""
    assert cells(data) == expected


def test_a_byte_order_mark_counts_as_bytes() -> None:
    """The next row's offset is that in the file."""
    assert [after(step) for step in steps(BOM + b"a,b\nc,d\n")] == [(7, 2, 2), (11, 3, 3)]


# Broken ones


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        (b"a\n", "wrong_column_count", "The row has 1 cells; there are 2 columns."),
        (b"a,b,c\n", "wrong_column_count", "The row has 3 cells; there are 2 columns."),
        (b"a,b,\n", "wrong_column_count", "The row has 3 cells; there are 2 columns."),
        (b'"a,b"\n', "wrong_column_count", "The row has 1 cells; there are 2 columns."),
        (b"a;b\r\n", "wrong_column_count", "The row has 1 cells; there are 2 columns."),
        (b"a,\xff\n", "bad_encoding", "The line is not UTF-8."),
        (b"Zo\xeb,b\r\n", "bad_encoding", "The line is not UTF-8."),
        (b"\xed\xa0\x80,b\n", "bad_encoding", "The line is not UTF-8."),
        (b"\xff\xfea,b\n", "bad_encoding", "The line is not UTF-8."),
        (b"a,\0\n", "nul_byte", "The line holds a NUL byte."),
        (b"\0\n", "nul_byte", "The line holds a NUL byte."),
        (b'"a\0",b\n', "nul_byte", "The line holds a NUL byte."),
        (b"a\rb,c\n", "row_unreadable", "The line is no CSV."),
        (
            b'"a,b\n',
            "quote_not_closed",
            "A quote is opened on this line and not closed at the end of a cell.",
        ),
        (
            b'a,"b\r\n',
            "quote_not_closed",
            "A quote is opened on this line and not closed at the end of a cell.",
        ),
    ],
)
def test_a_broken_row_costs_its_line_alone(line: bytes, reason: str, words: str) -> None:
    """It is counted; what stands before and behind it is read."""
    data = b"a,1\n" + line + b"b,2\r\nc,3"
    first, broken, *others = steps(data)
    assert first.row == Row(1, 1, ["a", "1"])
    assert broken.row == Broken(2, 2, reason, words)
    assert after(broken) == (4 + len(line), 3, 3)
    assert [step.row for step in others] == [Row(3, 3, ["b", "2"]), Row(4, 4, ["c", "3"])]
    assert after(others[-1]) == (len(data), 5, 5)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a", "wrong_column_count"),
        (b"a,\xc3", "bad_encoding"),
        (b"a,\0", "nul_byte"),
        (b'a,"b', "quote_not_closed"),
        (b'"', "quote_not_closed"),
    ],
)
def test_the_last_row_may_be_broken(line: bytes, reason: str, end: bytes) -> None:
    """Whether its line ends or not."""
    [first, last] = steps(b"a,1\n" + line + end)
    assert isinstance(last.row, Broken)
    assert (first.row.number, last.row.number, last.row.line, last.row.reason) == (1, 2, 2, reason)
    assert after(last) == (4 + len(line + end), 3, 3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"c,\xff\n", "bad_encoding"), (b"c,\0\n", "nul_byte"), (b"c\rd,e\n", "row_unreadable")],
)
def test_what_is_wrong_within_an_open_quote_is_told_of_its_own_line_too(
    line: bytes, reason: str
) -> None:
    """The line that opens the quote cannot be read for it; what is between the two is read."""
    found = told(b'a,"b\nx,y\n' + line + b"d,1\n")
    numbers = [(number, line) for number, line, _ in found]
    assert numbers == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert [what for _, _, what in found[1:]] == ["x|y", reason, "d|1"]
    assert found[0][2] in (reason, "quote_not_closed")


def test_quotes_that_are_never_closed_cost_their_lines() -> None:
    """Each its own; the quote of another customer's row never ends a cell of this one's."""
    data = b'a,"1\nb,2\nc,"3\nd,4\ne,5\n'
    assert told(data) == [
        (1, 1, "quote_not_closed"),
        (2, 2, "b|2"),
        (3, 3, "quote_not_closed"),
        (4, 4, "d|4"),
        (5, 5, "e|5"),
    ]
    data = b'a,"1\nb,2\n'
    assert told(data) == [(1, 1, "quote_not_closed"), (2, 2, "b|2")]


@pytest.mark.parametrize("lines", [MAX_LINES - 1, MAX_LINES, MAX_LINES + 1, 3 * MAX_LINES])
def test_a_row_has_so_many_lines_at_most(lines: int) -> None:
    """Beyond that its quote counts as never closed, though it is; the rows in it are rows then."""
    data = b'a,"' + b"x,y\n" * (lines - 1) + b'"\nb,2\n'
    found = read(data)
    if lines <= MAX_LINES:
        assert found == [Row(1, 1, ["a", "x,y\n" * (lines - 1)]), Row(2, lines + 1, ["b", "2"])]
        return
    assert isinstance(found[0], Broken)
    assert found[0][:3] == (1, 1, "quote_not_closed")
    assert found[1 : lines - 1] == [Row(at, at, ["x", "y"]) for at in range(2, lines)]
    # the quote that was to close opens one now
    assert told(data)[lines - 1 :] == [
        (lines, lines, "quote_not_closed"),
        (lines + 1, lines + 1, "b|2"),
    ]


def test_a_quote_that_is_never_closed_does_not_hide_a_thousand_rows() -> None:
    """They are read as if it were not there, with their numbers, lines and offsets."""
    head, rows = b'a,"b\n', [f"{number},x\n".encode() for number in range(1000)]
    found = steps(head + b"".join(rows))
    assert found[0].row[:3] == (1, 1, "quote_not_closed")
    offset = len(head)
    for at, (row, step) in enumerate(zip(rows, found[1:], strict=True)):
        offset += len(row)
        assert step.row == Row(at + 2, at + 2, [str(at), "x"])
        assert after(step) == (offset, at + 3, at + 3)


def test_many_quotes_that_are_never_closed_are_many_broken_rows() -> None:
    """An odd one each time, since pairs close one another."""
    good = b"b,2\n" * MAX_LINES
    data = (b'a,"1\n' + good) * 3
    reasons = [row.reason for row in read(data) if isinstance(row, Broken)]
    assert reasons == ["quote_not_closed"] * 3
    assert len(read(data)) == 3 * (MAX_LINES + 1)


# Long ones


@pytest.mark.parametrize("size", [MAX_ROW + 1, 2 * MAX_ROW, 2 * MAX_ROW + 1, MEGABYTE])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_row_that_is_too_long_costs_its_line(size: int, end: bytes) -> None:
    """None of it is kept; the rows around it are read, whose offsets are right."""
    long = b"a," + b"x" * (size - 2 - len(end)) + end
    [first, broken, last] = steps(b"a,1\n" + long + b"b,2\n")
    assert first.row == Row(1, 1, ["a", "1"])
    assert broken.row == Broken(2, 2, "row_too_long", "The row is longer than 131,072 bytes.")
    assert after(broken) == (4 + size, 3, 3)
    assert last.row == Row(3, 3, ["b", "2"])
    assert after(last) == (8 + size, 4, 4)


@pytest.mark.parametrize("size", [MAX_ROW + 1, 2 * MAX_ROW, 2 * MAX_ROW + 1, MEGABYTE])
def test_a_row_that_is_too_long_may_be_the_last(size: int) -> None:
    """Nothing ends its line then."""
    [first, broken] = steps(b"a,1\n" + b"x" * size)
    assert first.row == Row(1, 1, ["a", "1"])
    assert isinstance(broken.row, Broken)
    assert broken.row[:3] == (2, 2, "row_too_long")
    assert after(broken) == (4 + size, 3, 3)


@pytest.mark.parametrize("quotes", [b"", b'"', b'""'])
def test_a_row_that_is_too_long_may_be_the_first_and_the_only(quotes: bytes) -> None:
    """Whatever of it would be quoted."""
    data = BOM + quotes + b"x" * MEGABYTE
    [step] = steps(data)
    assert step.row[:3] == (1, 1, "row_too_long")
    assert after(step) == (len(data), 2, 2)


@pytest.mark.parametrize("size", [MAX_ROW - 1, MAX_ROW])
def test_a_row_may_be_as_long_as_the_limit(size: int) -> None:
    """Its line end counts."""
    row = (b"x" * 999 + b",") * (size // 1000) + b"y" * (size % 1000 - 1) + b"\n"
    assert len(row) == size
    [first, last] = read(row + b",".join([b"z"] * (size // 1000 + 1)), columns=size // 1000 + 1)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert len(first.cells) == len(last.cells) == size // 1000 + 1


@pytest.mark.parametrize("size", [1_000, MAX_ROW - 3])
def test_a_cell_may_be_as_long_as_its_row(size: int) -> None:
    """There is one limit, and its reason tells of it."""
    assert cells(b"a," + b"x" * size + b"\n") == [["a", "x" * size]]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_line_that_is_too_long_within_an_open_quote_costs_both_lines(
    end: bytes, quote: bytes
) -> None:
    """The quote counts as never closed, were it closed behind the megabyte."""
    long = b"x" * MEGABYTE + quote + end
    data = b'a,"b\n' + long + (b"c,3\n" if end else b"")
    found = steps(data)
    assert [step.row[:3] for step in found[:2]] == [
        (1, 1, "quote_not_closed"),
        (2, 2, "row_too_long"),
    ]
    assert [after(step) for step in found[:2]] == [(5, 2, 2), (5 + len(long), 3, 3)]
    assert [step.row for step in found[2:]] == ([Row(3, 3, ["c", "3"])] if end else [])


def test_a_line_that_is_too_long_may_come_as_late_as_a_quote_is_waited_for() -> None:
    """Every line that was read for the first row is read again, the long one last."""
    between = b"x,y\n" * (MAX_LINES - 2)
    data = b'a,"b\n' + between + b"x" * MEGABYTE + b"\nc,3\n"
    found = told(data)
    assert found[0] == (1, 1, "quote_not_closed")
    assert found[1:-2] == [(at, at, "x|y") for at in range(2, MAX_LINES)]
    assert found[-2:] == [
        (MAX_LINES, MAX_LINES, "row_too_long"),
        (MAX_LINES + 1, MAX_LINES + 1, "c|3"),
    ]


def test_what_is_read_again_may_be_read_again_once_more() -> None:
    """Two lines that each leave a quote open, and a long one behind them."""
    data = b'a,"b\n6" x,"z\n' + b"x" * MEGABYTE + b"\nf,6\n"
    assert told(data) == [
        (1, 1, "quote_not_closed"),
        (2, 2, "quote_not_closed"),
        (3, 3, "row_too_long"),
        (4, 4, "f|6"),
    ]


def test_lines_that_are_too_long_together_are_a_quote_that_is_not_closed() -> None:
    """The sum counts, not each; every one of them is read again for itself."""
    line = b"x" * 50_000 + b'","\n'
    data = b'a,"b\n' + line * 3 + b'",c\nd,4\n'
    assert told(data) == [
        (1, 1, "quote_not_closed"),
        (2, 2, "quote_not_closed"),
        (3, 3, "wrong_column_count"),  # two long lines fit
        (4, 6, "d|4"),
    ]


# From the middle on


def test_reading_begins_where_it_is_told() -> None:
    """With the number and the line that the row has in the whole file."""
    data = b'a,1\n"b\nb",2\nc,3\n'
    rows = Rows(io.BytesIO(data[4:]), 2, offset=4, line=2, number=2)
    assert list(rows) == [Row(2, 2, ["b\nb", "2"]), Row(3, 4, ["c", "3"])]
    assert (rows.offset, rows.line, rows.number) == (len(data), 5, 4)


@pytest.mark.parametrize(("end", "count"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (99, 3)])
def test_reading_ends_before_the_byte_that_it_is_told(end: int, count: int) -> None:
    """No row begins there or behind it; one that has begun is read to its end."""
    rows = Rows(io.BytesIO(b"a,1\nb,2\nc,3\n"), 2, end=end)
    assert len(list(rows)) == count
    assert rows.offset == 4 * count


def test_a_byte_order_mark_in_the_middle_is_none() -> None:
    """Though reading begins with it."""
    data = b"a,1\n" + BOM + b"b,2\n"
    rows = Rows(io.BytesIO(data[4:]), 2, offset=4, line=2, number=2)
    assert list(rows) == [Row(2, 2, ["\ufeffb", "2"])]


def test_going_through_the_rows_may_be_interrupted() -> None:
    """What was read ahead within an open quote is not lost by it."""
    rows = Rows(io.BytesIO(b'a,"1\nb,2\nc,3\n'), 2)
    each = iter(rows)
    assert next(each)[:3] == (1, 1, "quote_not_closed")
    assert (rows.offset, rows.line, rows.number) == (5, 2, 2)
    assert list(each) == [Row(2, 2, ["b", "2"]), Row(3, 3, ["c", "3"])]


# Any file

PIECES = [
    *(b"a", b",", b"a,b", b"a,b\n", b"\n", b"\r\n", b"\r", b'"', b'""', b'",', b',"', b'"\n'),
    *(b"\0", b"\xff", b"\xc3", b"\xc3\xa9", b" ", b";", BOM, b'"c\nd",e\n', b"x" * 300),
    *(b"r,s\n" * 70, b"\n" * 70),
]
files = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=40).map(b"".join)


@given(data=files, columns=st.integers(1, 3))
@settings(max_examples=300, deadline=None)
@example(data=b'"' + b"x" * (MAX_ROW + 5), columns=1)
@example(data=b'"\n' + b"x" * (MAX_ROW + 5) + b'\n"\n', columns=1)
@example(data=b'"a\n' * 5 + b"x" * MAX_ROW + b"\n\n", columns=1)
def test_every_row_begins_where_the_one_before_says(data: bytes, columns: int) -> None:
    """Nothing raises, no byte or line is passed over, and whoever begins there reads the same rows."""
    found = steps(data, columns)
    offset = 0
    for at, step in enumerate(found, 1):
        assert (step.row.number, step.number) == (at, at + 1)
        assert offset < step.offset <= len(data)
        assert step.line == 1 + data.count(b"\n", 0, step.offset) + (
            step.offset == len(data) and not data.endswith(b"\n")
        )
        assert step.row.line <= step.line - 1
        offset = step.offset
    assert data[offset:].strip(b"\r\n") in (b"", BOM)
    for step in found[:: max(1, len(found) // 8)]:
        later = Rows(
            io.BytesIO(data[step.offset :]),
            columns,
            offset=step.offset,
            line=step.line,
            number=step.number,
        )
        assert list(later) == [one.row for one in found if one.row.number >= step.number]


@given(data=files, columns=st.integers(1, 3), size=st.integers(1, 9))
@settings(max_examples=300, deadline=None)
@example(data=b'a,"b\nc,d\n', columns=2, size=1)
@example(data=b'a,"b\nc,\xff\nd,"e\n', columns=2, size=1)
def test_chunks_have_the_rows_of_the_whole(data: bytes, columns: int, size: int) -> None:
    """Cut after any number of rows. A quote that is open where a chunk ends is not closed there."""
    whole = steps(data, columns)
    start, line, number = 0, 1, 1
    for at in range(0, len(whole), size):
        last = whole[min(at + size, len(whole)) - 1]
        rows = Rows(
            io.BytesIO(data[start : last.offset]),
            columns,
            offset=start,
            line=line,
            number=number,
            end=last.offset,
        )
        found = list(rows)
        assert (rows.offset, rows.line, rows.number) == after(last)
        for row, expected in zip(found, (one.row for one in whole[at : at + size]), strict=True):
            if isinstance(row, Broken) and row.reason == "quote_not_closed":
                assert isinstance(expected, Broken)
                assert row[:2] == expected[:2]
            else:
                assert row == expected
        start, line, number = after(last)


texts = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12
) | st.sampled_from(
    ['"', "\n", "\r\n", "\r", ",", "", " ", "a,b", '"a\n', "\u2028", "\x1c", "\x85"]
)


@given(
    table=st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.lists(texts, min_size=columns, max_size=columns), min_size=1, max_size=12
        )
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    quotes_all=st.booleans(),
    mark=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_what_is_written_as_csv_is_read_as_python_reads_it(
    table: list[list[str]], end: str, *, quotes_all: bool, mark: bool
) -> None:
    """Whatever the cells hold, as far as a file can hold it."""
    if end == "\n" and not quotes_all:  # some Pythons write a lone CR without quotes then
        table = [[cell.replace("\r", "") for cell in row] for row in table]
    written = io.StringIO(newline="")
    writer = (
        csv.writer(written, lineterminator=end, quoting=csv.QUOTE_ALL)
        if quotes_all
        else csv.writer(written, lineterminator=end)
    )
    writer.writerows(table)
    text = written.getvalue()
    assert list(csv.reader(io.StringIO(text, newline=""))) == table
    # a mark that begins the first cell is the file's, unless another one or a quote is before it
    mark = mark or text.startswith("\ufeff")
    assert cells((BOM if mark else b"") + text.encode(), len(table[0])) == table
