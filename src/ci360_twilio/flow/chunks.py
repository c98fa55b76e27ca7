"""The rows of a job's file, a chunk of them at a time: judged, entered into the ledger, and found again there.

A launch and a rehearsal share all of this; they differ in the ledger that rows are entered in, and in what comes
of it. A job's folder holds its two files, the *plan* that a check writes (a line for each chunk), and the *parts*:
for each chunk that was entered, which row has which entry.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, Protocol, TypeVar
from zlib import crc32

import msgspec

from ci360_twilio.core.audience import Columns, foreign, foreign_words, parse_columns
from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.job import CHUNK_ROWS, SHOWN_ROWS, BadRow, Chunk, Job
from ci360_twilio.errors import AudienceBroken
from ci360_twilio.flow.accept import Entering
from ci360_twilio.flow.audience import Audience, Gates
from ci360_twilio.flow.rows import Broken, Row, Rows
from ci360_twilio.ports import Clock, Files, Firsts, Inserted, Tenants

DATA, METADATA, PLAN, PARTS = "data", "metadata", "plan", "parts"
"""Files of a job; in the folder ``parts`` one for each chunk."""


class Mark(NamedTuple):
    """What became of one row when its chunk was entered."""

    row: int
    line: int
    guid: str | None
    """Of its entry, or of the entry of the row that it repeats."""
    reason: str | None = None
    """Why it has no entry of its own."""
    words: str | None = None


_Marks = msgspec.json.Decoder(list[Mark])
_decode_chunk = msgspec.json.Decoder(Chunk).decode
_encode = msgspec.json.Encoder().encode


class RowLedger(Entering, Protocol):
    """Where the entries of rows are written, or would be."""

    def keyed(self, text: str) -> str:
        """Hash what a row is called by; see :meth:`ci360_twilio.ports.Jobs.keyed`."""
        ...


class Standing(Protocol):
    """Where entries are read."""

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries as they are committed."""
        ...


class Judged(NamedTuple):
    """What a check found in one chunk."""

    chunk: Chunk
    counts: dict[str, int]
    """Rows by what they are; what repeats earlier rows is not told from them yet."""
    bad: int
    bad_rows: list[BadRow]
    """The first of them."""
    seen: list[tuple[str | int, int, int]]
    """Of every row that could be sent to: its recipient, its number, and a mark of its customer."""


R = TypeVar("R")


class Fan(Protocol):
    """How the chunks of a job are worked on: one after the other, or several at one time."""

    def __call__(
        self, work: Callable[[Job, Chunk], R], job: Job, chunks: Iterable[Chunk]
    ) -> Generator[R, None, None]:
        """Give what ``work`` makes of each chunk, in their order, taking few more than are given.

        Args:
            work: a method of :class:`Chunks`, or of what has the same.
            job: whose chunks they are.
            chunks: of its file.
        """
        ...


def one_by_one(
    work: Callable[[Job, Chunk], R], job: Job, chunks: Iterable[Chunk]
) -> Generator[R, None, None]:
    """Work on chunks in this thread; a :class:`Fan`."""
    return (work(job, chunk) for chunk in chunks)


class Checked:
    """What a check has found so far."""

    def __init__(self) -> None:
        self.rows = self.bad = self.chunks = 0
        self.counts: Counter[str] = Counter()
        self.bad_rows: list[BadRow] = []

    def add(self, judged: Judged, firsts: Firsts) -> Chunk:
        """Count what was found in the next chunk; gives it with the rows that repeat earlier ones."""
        again: dict[int, int] = {}
        same: list[int] = []
        others: list[tuple[str, int, int]] = []
        for (what, row, who), first in zip(judged.seen, firsts.add(judged.seen), strict=True):
            if first is not None:
                again[row] = first[0]
                if first[1] == who:
                    same.append(row)
                else:
                    others.append((f"{what} {who}", row, who))
        # Of other customers with that number each has an entry once, too.
        known = zip(others, firsts.add(others), strict=True)
        same += [row for (_, row, _), first in known if first is not None]
        self.rows += judged.chunk.rows
        self.bad += judged.bad
        self.chunks += 1
        self.bad_rows += judged.bad_rows[: SHOWN_ROWS - len(self.bad_rows)]
        self.counts.update(judged.counts)
        if again:
            self.counts["accepted"] -= len(again)
            self.counts["duplicate"] += len(again)
        return msgspec.structs.replace(judged.chunk, again=again, same=tuple(sorted(same)))


class Chunks:
    """Works on the rows of jobs. What it is asked may be asked in any order, and again."""

    def __init__(
        self,
        ledger: RowLedger,
        files: Files,
        tenants: Tenants,
        clock: Clock,
        gates: Gates,
        *,
        firsts: Callable[[], Firsts],
        fan: Fan = one_by_one,
        rows: int = CHUNK_ROWS,
    ) -> None:
        """Make it.

        Args:
            ledger: where rows are entered.
            files: where jobs' files are.
            tenants: who sends.
            clock: tells the time.
            gates: what decides about messages besides the tenants' documents.
            firsts: makes a memory for one pass over a file.
            fan: works on several chunks.
            rows: how many are entered in one commit.
        """
        self._ledger = ledger
        self._files = files
        self._tenants = tenants
        self._clock = clock
        self._gates = gates
        self._firsts = firsts
        self._fan = fan
        self._rows = rows
        self._known: tuple[object, Audience | None] = (None, None)

    # Checking

    def columns(self, job: Job) -> Columns:
        """Read the names of a job's columns. Raises ``AudienceBroken``."""
        with self._files.reading(f"{job.folder}/{METADATA}") as stream:
            return parse_columns(stream.read())

    def check(self, job: Job, stay: Callable[[], None] = lambda: None) -> Checked:
        """Check a job's file, and write its plan.

        Args:
            job: whose files are there, and whose columns are known.
            stay: is called now and then; may raise :class:`Stopped`.

        Raises:
            AudienceBroken: the file or the template cannot be used.
        """
        data = f"{job.folder}/{DATA}"
        with self._files.reading(data, 0, 512) as stream:
            if reason := foreign(stream.read(512)):
                raise AudienceBroken(reason, foreign_words(reason))
        self.audience(job)  # an unknown column is told before anything is read
        found, firsts = Checked(), self._firsts()
        try:
            with (
                self._files.making(f"{job.folder}/{PLAN}") as plan,
                closing(self._fan(self.judge, job, self._spans(job))) as judged,
            ):
                for one in judged:
                    plan.write(_encode(found.add(one, firsts)) + b"\n")
                    stay()
        finally:
            firsts.close()
        return found

    def audience(self, job: Job) -> Audience:
        """Give what judges a job's rows; the last one is remembered."""
        tenant = self._tenants.get(job.tenant_id)
        about = job.key, job.created_at, job.columns, job.canceled_by
        known, audience = self._known
        if audience is None or known != about or audience.tenant is not tenant:
            columns = Columns(job.columns)
            audience = Audience(job, tenant, columns, self._gates, self._ledger.keyed)
            self._known = about, audience
        return audience

    def judge(self, job: Job, chunk: Chunk) -> Judged:
        """Judge the rows of a chunk, each for itself."""
        audience = self.audience(job)
        one_each = audience.options.duplicates == "one"
        counts: Counter[str] = Counter()
        bad_rows: list[BadRow] = []
        seen: list[tuple[str | int, int, int]] = []
        bad = 0
        for row in self.rows(job, chunk):
            if isinstance(row, Broken):
                reason, words = row.reason, row.words
            else:
                candidate = audience.judge(row)
                verdict = candidate.verdict
                if verdict.status is Status.ACCEPTED:
                    counts["accepted"] += 1
                    address = candidate.address if one_each else None
                    what = audience.guid(candidate) if address is None else address
                    seen.append((what, row.number, crc32(candidate.who.identity.encode())))
                    continue
                reason = verdict.reason or verdict.status
                if not candidate.is_bad:
                    counts[reason] += 1
                    continue
                words = "; ".join(text for _, text in verdict.problems)
            bad += 1
            counts[reason] += 1
            if len(bad_rows) < SHOWN_ROWS:
                bad_rows.append(BadRow(row.number, row.line, reason, words))
        return Judged(chunk, counts, bad, bad_rows, seen)

    def _spans(self, job: Job) -> Iterator[Chunk]:
        """Go through a data file in chunks, as yet without what repeats earlier rows."""
        data, columns = f"{job.folder}/{DATA}", Columns(job.columns)
        offset, line = self._past_head(data, columns)
        with self._files.reading(data, offset) as stream:
            rows = Rows(stream, len(columns.names), offset=offset, line=line)
            each = iter(rows)
            for number in itertools.count():
                start, row, line = rows.offset, rows.number, rows.line
                size = sum(1 for _ in itertools.islice(each, self._rows))
                if not size:
                    return
                yield Chunk(
                    number=number, start=start, end=rows.offset, row=row, line=line, rows=size
                )

    def _past_head(self, data: str, columns: Columns) -> tuple[int, int]:
        """Tell where the rows begin: a first row that repeats the columns' names is a header."""
        with self._files.reading(data) as stream:
            rows = Rows(stream, len(columns.names))
            first = next(iter(rows), None)
            named = [name.lower() for name in columns.names]
            if isinstance(first, Row) and [c.strip().lower() for c in first.cells] == named:
                return rows.offset, rows.line
        return 0, 1

    # Entering

    def enter_all(self, job: Job, chunks: Iterable[Chunk]) -> Generator[int, None, None]:
        """Enter chunks; gives their numbers, each once it is entered and all before it are."""
        return self._fan(self.enter, job, chunks)

    def plan(self, job: Job, after: int = 0) -> Iterator[Chunk]:
        """Go through the chunks of a job's plan, without the first ones."""
        with self._files.reading(f"{job.folder}/{PLAN}") as plan:
            for line in itertools.islice(plan, after, None):
                yield _decode_chunk(line)

    def enter(self, job: Job, chunk: Chunk) -> int:
        """Enter the rows of a chunk, and write down which entries they have; gives its number.

        Doing so twice writes each entry once.
        """
        self.entered(job, chunk)
        return chunk.number

    def entered(self, job: Job, chunk: Chunk) -> list[tuple[Mark, Inserted | None]]:
        """Enter the rows of a chunk; gives each with its entry, if it has one of its own."""
        now, audience = self._clock(), self.audience(job)
        entries: list[Entry] = []
        marks: list[Mark] = []
        places: list[int | None] = []
        same = frozenset(chunk.same)
        for row in self.rows(job, chunk):
            if isinstance(row, Broken):
                marks.append(Mark(row.number, row.line, None, row.reason, row.words))
                places.append(None)
                continue
            candidate = audience.judge(row)
            first, guid = chunk.again.get(row.number), audience.guid(candidate)
            if row.number in same:
                words = "This customer and number stand on an earlier row."
                marks.append(Mark(row.number, row.line, guid, "duplicate", words))
                places.append(None)
                continue
            marks.append(Mark(row.number, row.line, guid))
            places.append(len(entries))
            entries.append(audience.entry(candidate, guid, now, is_again=first is not None))
        limit = audience.tenant.messages_per_recipient_per_day
        limits = {} if limit is None else {job.tenant_id: limit}
        inserted = self._ledger.insert_many(entries, recipient_limits=limits)
        with self._files.making(part_of(job, chunk.number)) as part:
            part.write(_encode(marks))
        return [
            (mark, None if place is None else inserted[place])
            for mark, place in zip(marks, places, strict=True)
        ]

    def rows(self, job: Job, chunk: Chunk) -> Iterator[Row | Broken]:
        """Read the rows of a chunk."""
        with self._files.reading(f"{job.folder}/{DATA}", chunk.start, chunk.end) as stream:
            yield from Rows(
                stream,
                len(job.columns),
                offset=chunk.start,
                line=chunk.line,
                number=chunk.row,
                end=chunk.end,
            )


def why_not(found: Checked, limit: float) -> tuple[str, str] | None:
    """Tell why a checked file is not sent to at all: code and words; ``None`` where it is.

    Args:
        found: what the check found.
        limit: the share of bad rows that is still sent to, in percent.
    """
    if not found.rows:
        return "empty_file", "The data file holds no rows."
    share = found.bad * 100 / found.rows
    if share <= limit:
        return None
    first = found.bad_rows[0]
    words = (
        f"{found.bad:,} of {found.rows:,} rows ({share:.1f} %) cannot be sent to; the limit is"
        f" {limit:g} %. The first: line {first.line}: {first.words}"
    )
    return "too_many_bad_rows", words


def standing(
    store: Standing, files: Files, job: Job, number: int
) -> list[tuple[Mark, Entry | None]]:
    """Give the rows of a chunk with their entries as they stand now."""
    with files.reading(part_of(job, number)) as part:
        marks = _Marks.decode(part.read())
    keys = [key_of(job.tenant_id, mark.guid) for mark in marks if mark.guid]
    known = dict(zip(keys, store.get_many(keys), strict=True))
    return [
        (mark, known[key_of(job.tenant_id, mark.guid)] if mark.guid else None) for mark in marks
    ]


def part_of(job: Job, number: int) -> str:
    """Name the file that says which entries the rows of a chunk have."""
    return f"{job.folder}/{PARTS}/{number:06}"


def outcome_of(mark: Mark, entry: Entry | None) -> str:
    """Say in a word what became of a row."""
    if mark.reason is not None:
        return mark.reason
    if entry is None:
        return "erased"
    if entry.status in (Status.REFUSED, Status.SUPPRESSED) and entry.reason:
        return entry.reason
    return entry.status
