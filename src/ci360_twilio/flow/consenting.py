"""What people do to consents: lists that they bring and take, single wishes, and the review list."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

from ci360_twilio.core.consent import (
    EVERY_SENDER,
    LATEST,
    Consent,
    Evidence,
    Sign,
    Source,
    Subject,
)
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.preference import (
    Bad,
    Layout,
    Wished,
    guess_layout,
    read_head,
    read_row,
)
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.logs import CONSENT_CHANGED, Log
from ci360_twilio.ports import Clock, Consents, Controls, InboundQuery, Inbox, Note

BATCH = 10_000
"""Rows in one commit."""
PAGE = 2_000
SHOWN = 20
"""Rows that were left out and are named."""


class Wishes(Consents, Controls, Inbox, Protocol):
    """Where wishes are, what customers wrote, and the audit."""


class Imported(NamedTuple):
    """What came of a list."""

    rows: int
    changed: int
    bad: Counter[Bad]
    lines: tuple[tuple[int, Bad], ...]
    """The first rows that were left out, by their line."""
    stateless: bool = False
    """Whether the list has several columns and none that says in or out."""


class ToReview(NamedTuple):
    """A recipient who is blocked until a person has read a text, and that text if it is still there."""

    consent: Consent
    sid: str
    inbound: Inbound | None


class Consenting:
    """Carries out what a person decides of wishes. Holds nothing between calls."""

    def __init__(self, store: Wishes, clock: Clock, log: Log) -> None:
        """Make it.

        Args:
            store: where wishes are.
            clock: tells the time.
            log: hears of every change, never of whose wish it is.
        """
        self._store = store
        self._clock = clock
        self._log = log

    def import_rows(
        self,
        tenant_id: TenantId,
        rows: Iterable[Sequence[str]],
        *,
        by: str,
        source: Source = Source.IMPORT,
        layout: Layout | None = None,
        group: str = EVERY_SENDER,
        region: str | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Imported:
        """Take a list of wishes, in commits of many rows.

        What the list says without a date, or with one that is yet to come, counts as of now for an
        opt-out, and not at all for an opt-in where an opt-out stands. CI360 dates a wish by when it
        took it over, perhaps from us: an opt-in of CI360's overrules what is a day older at least.

        Args:
            tenant_id: whose recipients they are.
            rows: of the file, its head too, if it has one.
            by: who does it.
            source: where the list comes from.
            layout: of a list that has no head; else its first row tells.
            group: of senders that the wishes are about.
            region: the country of national numbers.
            progress: hears after each commit how many rows were read.
        """
        reading = _Reading(rows, layout, region, group)
        read = changed = 0
        while batch := reading.take(BATCH):
            now = self._clock()
            changes = [
                (
                    Subject(tenant_id, one.person, group),
                    Evidence(
                        sign=one.sign,
                        source=source,
                        heard_at=now,
                        dated_at=_dated(one, source, now),
                        by=by,
                    ),
                )
                for one in batch
                if isinstance(one, Wished)
            ]
            changed += sum(one is not None for one in self._store.attest_many(changes, now=now))
            read += len(batch)
            progress(read)
        if changed:
            words = f"{source} of {read:,} rows"
            self._tell(tenant_id, by, "import", changed, words)
        return Imported(read, changed, reading.bad, tuple(reading.lines), reading.stateless)

    def set(
        self, subject: Subject, sign: Sign, *, by: str, text: str | None = None
    ) -> Consent | None:
        """Write one recipient's wish as of now; ``None`` where that is what stands already."""
        now = self._clock()
        evidence = Evidence(sign=sign, source=Source.PERSON, heard_at=now, dated_at=now, by=by)
        [changed] = self._store.attest_many([(subject, evidence)], now=now)
        if changed is not None:
            self._tell(subject.tenant_id, by, f"set {sign}", 1, text)
        return changed

    def known(self, tenant_id: TenantId, person: str, groups: Iterable[str]) -> list[Consent]:
        """Give a recipient's consents: for all senders, and for each group that has one."""
        subjects = [Subject(tenant_id, person, group) for group in (EVERY_SENDER, *groups)]
        return [one for one in self._store.consents(subjects) if one is not None]

    def each(self, tenant_id: TenantId, states: Sequence[str] = ()) -> Iterator[Consent]:
        """Go through a tenant's consents, page by page."""
        after: int | None = 0
        while after is not None:
            page, after = self._store.list_consents(
                tenant_id, states=states, after=after, limit=PAGE
            )
            yield from page

    def to_review(self, tenant_id: TenantId) -> Iterator[ToReview]:
        """Give what is to be read, with the texts."""
        for consent in self.each(tenant_id, ("review",)):
            for evidence in consent.standing:
                if evidence.sign is Sign.MAYBE and evidence.sid is not None:
                    query = InboundQuery(tenant_id=tenant_id, sid=evidence.sid, limit=1)
                    found = self._store.find_inbound(query)
                    yield ToReview(consent, evidence.sid, found[0] if found else None)

    def judge(
        self, found: ToReview, *, is_out: bool, by: str, text: str | None = None
    ) -> Consent | None:
        """Write what a person found in a text; ``None`` where somebody has done so before."""
        consent = found.consent
        if consent.recipient is None:
            return None
        subject = Subject(consent.tenant_id, consent.recipient, consent.group)
        changed = self._store.judge(subject, found.sid, is_out=is_out, now=self._clock(), by=by)
        if changed is not None:
            self._tell(consent.tenant_id, by, "review", 1, text)
        return changed

    def verify(self) -> tuple[int, list[str]]:
        """Check the seals of all consents; gives how many there are, and which are broken."""
        checked, broken, after = 0, list[str](), 0
        while True:
            found = self._store.verify_consents(after=after, limit=PAGE)
            checked += found.checked
            broken += found.broken
            if found.after is None:
                return checked, broken
            after = found.after

    def _tell(
        self, tenant_id: TenantId, by: str, action: str, number: int, text: str | None
    ) -> None:
        note = Note(
            at=self._clock(),
            by=by,
            action=f"consent {action}",
            subject=f"tenant {tenant_id}",
            entries=number,
            detail=text,
            tenant_id=tenant_id,
        )
        self._store.write_note(note)
        self._log.info(CONSENT_CHANGED, tenant=tenant_id, by=by, decision=action, consents=number)


def _dated(one: Wished, source: Source, now: datetime) -> datetime | None:
    """Give the date of a wish, as far as it can be relied on; one that is yet to come is none."""
    if one.dated_at is None or one.dated_at > now:
        return None
    is_late = source is Source.CI360 and one.sign is Sign.IN
    return one.dated_at - LATEST if is_late else one.dated_at


class _Reading:
    """Rows of a file, as they are read."""

    def __init__(
        self,
        rows: Iterable[Sequence[str]],
        layout: Layout | None,
        region: str | None,
        group: str,
    ) -> None:
        self._rows = enumerate(rows, start=1)
        self._layout = layout
        self._region = region
        self._group = group
        self.bad: Counter[Bad] = Counter()
        self.stateless = False
        self.lines: list[tuple[int, Bad]] = []

    def take(self, most: int) -> list[Wished | Bad]:
        """Read up to so many rows; those that are empty are left out."""
        return list(islice(self._read(), most))

    def _read(self) -> Iterator[Wished | Bad]:
        for line, fields in self._rows:
            if not any(map(str.strip, fields)):
                continue
            if self._layout is None:
                self._layout = read_head(fields)
                if self._layout is not None:
                    self.stateless = self._layout.state is None and len(fields) > 1
                    continue
                self._layout = guess_layout(fields)
            wished = read_row(self._layout, fields, self._region, self._group)
            if isinstance(wished, Bad):
                self.bad[wished] += 1
                if len(self.lines) < SHOWN:
                    self.lines.append((line, wished))
            yield wished


def csv_rows(text: Iterable[str]) -> Iterator[list[str]]:
    """Read the rows of a CSV file; one that cannot be read is a row of nothing usable."""
    reader = csv.reader(text)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield [_UNREADABLE]


_UNREADABLE = "unreadable"


def moment_words(moment: datetime | None) -> str:
    """Write a moment as lists have it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""
